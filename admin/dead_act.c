/*
 * dead_act.c - one letter of the review desk: locked, judged, marked.
 */
#include "admin/dead_act.h"

#include <inttypes.h>

#include "common/clock.h"

enum { JOB_ID, BATCH_ID, STATE, CLASS, CUSTOM_ID, TOPIC, PAYLOAD, HEADERS, LANE, CANCELLED };

/* The lane of the job's end is that of the topic that it came by; a removed one is none. */
#define READ_LETTER                                                                               \
    "SELECT d.job_id, d.batch_id, d.state, d.class, d.custom_id, d.topic, d.payload, d.headers, " \
    "coalesce((SELECT l.code FROM result r JOIN lane l ON l.code = r.priority "                   \
    "          WHERE r.job_id = d.job_id AND l.removed_at IS NULL), "                             \
    "         (SELECT l.code FROM lane l WHERE l.code = b.priority AND l.removed_at IS NULL)), "  \
    "b.cancel_requested_at FROM dead_letter d LEFT JOIN batch b USING (batch_id) "                \
    "WHERE d.dead_id = $1"

static struct letter take(struct pg_rows *rows, int64_t dead_id)
{
    return (struct letter){
        .dead_id = dead_id,
        .has_job = !pg_null(rows, 0, JOB_ID),
        .job_id = pg_get_uuid(rows, 0, JOB_ID),
        .batch_id = pg_get_uuid(rows, 0, BATCH_ID),
        .state = (int)pg_get_int(rows, 0, STATE),
        .class = (int)pg_get_int(rows, 0, CLASS),
        .custom_id = pg_get_span(rows, 0, CUSTOM_ID),
        .topic = pg_get_span(rows, 0, TOPIC),
        .payload = pg_get_span(rows, 0, PAYLOAD),
        .headers = pg_get_span(rows, 0, HEADERS),
        .lane = pg_null(rows, 0, LANE) ? -1 : (int)pg_get_int(rows, 0, LANE),
        .batch_cancelled = !pg_null(rows, 0, CANCELLED),
        .rows = rows,
    };
}

enum rc letter_read(struct ctx *ctx, int64_t dead_id, bool lock, struct letter *ret,
                    struct err *err)
{
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_int(p, PG_INT8, dead_id);
    rc = ctx_exec(ctx, lock ? READ_LETTER " FOR UPDATE OF d" : READ_LETTER, p, &rows, err);
    if (rc == RC_OK && pg_row_count(rows) == 0)
        rc = err_set(err, RC_REJECT, "there is no such dead letter");
    if (rc == RC_OK)
        *ret = take(rows, dead_id);
    else
        pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}

void letter_done(struct letter *l)
{
    pg_rows_free(l->rows);
    *l = (struct letter){0};
}

/* ---- judging ------------------------------------------------------------------------------ */

/* Who ended the review, when, and which job it runs as now. */
static enum rc say_over(struct ctx *ctx, const struct letter *l, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_int(p, PG_INT8, l->dead_id);
    rc = ctx_exec(ctx,
                  "SELECT actor, new_job_id, at FROM review_event WHERE dead_id = $1 "
                  "ORDER BY event_id DESC LIMIT 1",
                  p, &rows, err);
    pg_params_free(p);
    if (rc != RC_OK)
        return rc;
    const char *state = dead_state_name(l->state);
    if (pg_row_count(rows) == 0) {
        rc = err_set(err, RC_REJECT, "it is %s: its review is over", state);
    } else {
        char at[CLOCK_RFC3339_BYTES], id[ID_TEXT_BYTES];
        struct jobid new_job = pg_get_uuid(rows, 0, 1);
        struct span actor = pg_get_span(rows, 0, 0);
        clock_rfc3339(pg_get_time_ms(rows, 0, 2), at, sizeof at);
        jobid_text(&new_job, id);
        bool again = !pg_null(rows, 0, 1);
        rc = err_set(err, RC_REJECT, "it was %s already, %s%s%sby %.*s at %s", state,
                     again ? "as job " : "", again ? id : "", again ? ", " : "", (int)actor.n,
                     actor.p, at);
    }
    pg_rows_free(rows);
    return rc;
}

enum rc letter_check_open(struct ctx *ctx, const struct letter *l, struct err *err)
{
    if (l->state == DEAD_OPEN || l->state == DEAD_CLAIMED)
        return RC_OK;
    return say_over(ctx, l, err);
}

/* A job whose partition was dropped could not be stored when it ends. */
static enum rc check_age(struct ctx *ctx, const struct jobid *id, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = ctx_exec(ctx, "SELECT oldest_live_ms()", NULL, &rows, err);
    if (rc == RC_OK && jobid_ms(id) < pg_get_int(rows, 0, 0))
        rc = err_set(err, RC_REJECT,
                     "its batch is older than the tables reach; submit it again in a "
                     "new one (`inferq results BATCH --failed`)");
    pg_rows_free(rows);
    return rc;
}

enum rc letter_check_runnable(struct ctx *ctx, const struct letter *l, struct err *err)
{
    enum rc rc = letter_check_open(ctx, l, err);
    if (rc != RC_OK)
        return rc;
    if (!l->has_job)
        return err_set(err, RC_REJECT,
                       "it holds no job that can be trusted, so there is nothing to "
                       "run again; `inferq dead show %" PRId64 " --payload`",
                       l->dead_id);
    if (l->batch_cancelled)
        return err_set(err, RC_REJECT,
                       "its batch was cancelled; submit it again in a new one "
                       "(`inferq results BATCH --failed`)");
    return check_age(ctx, &l->job_id, err);
}

/* ---- marking ------------------------------------------------------------------------------ */

enum rc letter_mark(struct ctx *ctx, const struct letter *l, enum dead_state state,
                    const char *action, const struct jobid *new_job_id, struct err *err)
{
    char actor[ACTOR_BYTES];
    struct span reason = span_of(opts_text(&ctx->opts, "reason", ""));
    struct pg_params *letter = pg_params_new(), *event = pg_params_new();
    enum rc rc = cmd_have(letter && event ? letter : NULL, err);
    if (rc != RC_OK)
        goto out;
    pg_add_int(letter, PG_INT8, l->dead_id);
    pg_add_int(letter, PG_INT2, state);
    pg_add_text(event, span_of(ctx_actor(ctx, actor)));
    pg_add_text(event, span_of(action));
    pg_add_int(event, PG_INT8, l->dead_id);
    pg_add_uuid(event, l->has_job ? &l->job_id : NULL);
    pg_add_uuid(event, new_job_id);
    pg_add_text(event, reason);
    rc = ctx_exec(ctx, "UPDATE dead_letter SET state = $2 WHERE dead_id = $1", letter, NULL, err);
    if (rc == RC_OK)
        rc = ctx_exec(ctx,
                      "INSERT INTO review_event (actor, action, dead_id, job_id, new_job_id, "
                      "detail) VALUES ($1, $2, $3, $4, $5, $6)",
                      event, NULL, err);
out:
    pg_params_free(letter);
    pg_params_free(event);
    return rc;
}
