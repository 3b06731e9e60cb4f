/*
 * dead_requeue.c - `inferq dead requeue`: runs dead jobs again, each as the next generation of
 * itself, with an id of its own.
 *
 * One transaction a letter: the letter is locked and judged, the new generation is put among the
 * parked jobs (due at once), the batch counts one more requeue, the letter is marked and
 * the review event is written. So conservation holds at every moment, and a letter that several
 * people requeue at once is requeued once. A letter that is refused does not stop the others.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin/cmd.h"
#include "admin/dead_filter.h"
#include "admin/out.h"
#include "admin/requeue_msg.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/kept_headers.h"
#include "common/secret.h"
#include "common/sign.h"

enum { PAGE = 500, MESSAGE_BYTES_MAX = JOB_MSG_BYTES_MAX + 4096 };

struct requeue {
    struct ctx *ctx;
    bool dry_run;
    int64_t deadline_ms; /* DEADLINE_KEEP, DEADLINE_NONE, or Unix ms */
    bool sign;
    struct sign_key key;
    struct buf message;
    struct table *table;
    int64_t done, refused;
};

/* ---- one letter --------------------------------------------------------------------------- */

enum { JOB_ID, BATCH_ID, STATE, TOPIC, PAYLOAD, HEADERS, BATCH_PRIORITY, CANCELLED };

static enum rc lock_letter(struct ctx *ctx, int64_t dead_id, struct pg_rows **ret, struct err *err)
{
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_int(p, PG_INT8, dead_id);
    rc = ctx_exec(ctx,
                  "SELECT d.job_id, d.batch_id, d.state, d.topic, d.payload, d.headers, "
                  "b.priority, b.cancel_requested_at FROM dead_letter d "
                  "LEFT JOIN batch b USING (batch_id) WHERE d.dead_id = $1 FOR UPDATE OF d",
                  p, ret, err);
    pg_params_free(p);
    return rc;
}

static enum rc requeued_before(struct ctx *ctx, int64_t dead_id, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_int(p, PG_INT8, dead_id);
    rc = ctx_exec(ctx,
                  "SELECT actor, new_job_id, at FROM review_event WHERE dead_id = $1 "
                  "AND new_job_id IS NOT NULL ORDER BY event_id DESC LIMIT 1",
                  p, &rows, err);
    pg_params_free(p);
    if (rc == RC_OK && pg_row_count(rows) == 1) {
        char at[CLOCK_RFC3339_BYTES], id[ID_TEXT_BYTES];
        struct jobid new_job = pg_get_uuid(rows, 0, 1);
        struct span actor = pg_get_span(rows, 0, 0);
        clock_rfc3339(pg_get_time_ms(rows, 0, 2), at, sizeof at);
        jobid_text(&new_job, id);
        rc = err_set(err, RC_REJECT, "it was requeued already, as job %s, by %.*s at %s", id,
                     (int)actor.n, actor.p, at);
    } else if (rc == RC_OK) {
        rc = err_set(err, RC_REJECT, "it was requeued already");
    }
    pg_rows_free(rows);
    return rc;
}

static enum rc judge(struct ctx *ctx, int64_t dead_id, const struct pg_rows *rows, struct err *err)
{
    if (pg_row_count(rows) == 0)
        return err_set(err, RC_REJECT, "there is no such dead letter");
    int state = (int)pg_get_int(rows, 0, STATE);
    if (state == DEAD_REQUEUED)
        return requeued_before(ctx, dead_id, err);
    if (state != DEAD_OPEN && state != DEAD_CLAIMED)
        return err_set(err, RC_REJECT, "it is %s: its review is over", dead_state_name(state));
    if (pg_null(rows, 0, JOB_ID))
        return err_set(err, RC_REJECT,
                       "it holds no job that can be trusted, so there is nothing to "
                       "run again; `inferq dead show %" PRId64 " --payload`",
                       dead_id);
    if (!pg_null(rows, 0, CANCELLED))
        return err_set(err, RC_REJECT,
                       "its batch was cancelled; submit it again in a new one "
                       "(`inferq results BATCH --failed`)");
    return RC_OK;
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

/* The trace goes on; the old signature does not fit the new message. */
static struct span new_headers(struct requeue *q, struct span old_headers, struct buf *out)
{
    char header[SIGN_HEADER_BYTES];
    struct kept_headers headers = {.traceparent = kept_headers_unpack(old_headers).traceparent};
    if (q->sign)
        headers.signature =
            (struct span){header, sign_header(&q->key, buf_span(&q->message), header)};
    kept_headers_pack(headers, out);
    return buf_span(out);
}

static enum rc park(struct requeue *q, const struct pg_rows *rows, const struct job_msg *msg,
                    struct err *err)
{
    struct pg_rows *parked = NULL;
    struct buf headers;
    buf_init(&headers, KEPT_HEADERS_BYTES_MAX);
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        goto out;
    int batch_priority =
        pg_null(rows, 0, BATCH_PRIORITY) ? -1 : (int)pg_get_int(rows, 0, BATCH_PRIORITY);
    pg_add_uuid(p, &msg->job_id);
    pg_add_uuid(p, &msg->batch_id);
    pg_add_time_ms(p, msg->deadline_ms);
    pg_add_int(p, PG_INT2,
               requeue_priority(pg_get_span(rows, 0, TOPIC), msg->priority, batch_priority));
    pg_add_bytea(p, buf_span(&q->message));
    pg_add_bytea(p, new_headers(q, pg_get_span(rows, 0, HEADERS), &headers));
    rc = ctx_exec(
        q->ctx,
        "INSERT INTO parked (job_id, batch_id, next_at, deadline_at, wait_key, priority, "
        "number, attempts, reasks, spent_nusd, waited_us, model_us, reason, payload, headers) "
        "SELECT $1, $2, now(), $3, 0, $4, 1, 0, 0, 0, 0, 0, 0, $5, $6 "
        "WHERE NOT EXISTS (SELECT FROM result r WHERE r.job_id = $1) "
        "ON CONFLICT (job_id) DO NOTHING",
        p, &parked, err);
    if (rc == RC_OK && pg_affected(parked) != 1)
        rc = err_set(err, RC_REJECT, "its next generation is waiting or has ended already");
out:
    pg_rows_free(parked);
    pg_params_free(p);
    buf_done(&headers);
    return rc;
}

static enum rc mark(struct requeue *q, int64_t dead_id, const struct pg_rows *rows,
                    const struct job_msg *msg, struct err *err)
{
    char actor[ACTOR_BYTES];
    struct jobid old = pg_get_uuid(rows, 0, JOB_ID);
    struct pg_params *batch = pg_params_new(), *letter = pg_params_new(), *event = pg_params_new();
    enum rc rc = cmd_have(batch && letter && event ? batch : NULL, err);
    if (rc != RC_OK)
        goto out;
    pg_add_uuid(batch, &msg->batch_id);
    pg_add_int(letter, PG_INT8, dead_id);
    pg_add_int(letter, PG_INT2, DEAD_REQUEUED);
    pg_add_text(event, span_of(ctx_actor(q->ctx, actor)));
    pg_add_int(event, PG_INT8, dead_id);
    pg_add_uuid(event, &old);
    pg_add_uuid(event, &msg->job_id);
    rc = ctx_exec(q->ctx, "UPDATE batch SET requeued = requeued + 1 WHERE batch_id = $1", batch,
                  NULL, err);
    if (rc == RC_OK)
        rc = ctx_exec(q->ctx, "UPDATE dead_letter SET state = $2 WHERE dead_id = $1", letter, NULL,
                      err);
    if (rc == RC_OK)
        rc = ctx_exec(q->ctx,
                      "INSERT INTO review_event (actor, action, dead_id, job_id, new_job_id) "
                      "VALUES ($1, 'requeue', $2, $3, $4)",
                      event, NULL, err);
out:
    pg_params_free(batch);
    pg_params_free(letter);
    pg_params_free(event);
    return rc;
}

static void add_row(struct requeue *q, int64_t dead_id, const struct pg_rows *rows,
                    const struct job_msg *msg)
{
    struct jobid old = pg_get_uuid(rows, 0, JOB_ID);
    table_int(q->table, dead_id);
    table_text(q->table, msg->custom_id);
    table_id(q->table, &old);
    table_id(q->table, &msg->job_id);
    table_int(q->table, msg->generation);
}

/* Within the transaction. */
static enum rc requeue_letter(struct requeue *q, int64_t dead_id, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct job_msg msg;
    enum rc rc = lock_letter(q->ctx, dead_id, &rows, err);
    if (rc == RC_OK)
        rc = judge(q->ctx, dead_id, rows, err);
    if (rc != RC_OK)
        goto out;
    struct jobid job = pg_get_uuid(rows, 0, JOB_ID);
    buf_reset(&q->message);
    rc = requeue_msg(pg_get_span(rows, 0, PAYLOAD), &job, q->deadline_ms, clock_wall_ms(),
                     &q->message, &msg, err);
    if (rc == RC_OK)
        rc = check_age(q->ctx, &job, err);
    if (rc == RC_OK)
        rc = park(q, rows, &msg, err);
    if (rc == RC_OK)
        rc = mark(q, dead_id, rows, &msg, err);
    if (rc == RC_OK)
        add_row(q, dead_id, rows, &msg);
out:
    pg_rows_free(rows);
    return rc;
}

/* One letter, in its transaction. RC_OK also for one that is refused, which is told and counted; a
 * refusal of the database itself (a missing right) is not about this letter and stops the walk. */
static enum rc requeue_one(struct requeue *q, int64_t dead_id, struct err *err)
{
    struct err scratch;
    enum rc rc = ctx_begin(q->ctx, err);
    if (rc != RC_OK)
        return rc;
    rc = requeue_letter(q, dead_id, err);
    bool refused = rc == RC_REJECT && !*pgc_sqlstate(q->ctx->conn);
    if (rc == RC_OK && q->dry_run)
        (void)!ctx_end(q->ctx, RC_REJECT, &scratch); /* it would work: now undo it */
    else
        rc = ctx_end(q->ctx, rc, err);
    if (rc == RC_OK)
        q->done++;
    if (!refused)
        return rc;
    out_note("dead letter %" PRId64 ": %s", dead_id, err->text);
    q->refused++;
    return RC_OK;
}

/* ---- many --------------------------------------------------------------------------------- */

static enum rc by_ids(struct requeue *q, struct err *err)
{
    const struct opts *o = &q->ctx->opts;
    enum rc rc = RC_OK;
    int64_t id = 0;
    for (int i = 0; rc == RC_OK && i < o->arg_count; i++) /* all are read before one is run */
        rc = dead_id_parse(o->args[i], &id, err);
    for (int i = 0; rc == RC_OK && i < o->arg_count; i++) {
        rc = dead_id_parse(o->args[i], &id, err);
        if (rc == RC_OK)
            rc = requeue_one(q, id, err);
    }
    return rc;
}

static enum rc next_page(struct requeue *q, const struct dead_filter *f, int64_t past,
                         int64_t limit, struct pg_rows **ret, struct err *err)
{
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    dead_filter_params(p, f);
    pg_add_int(p, PG_INT8, past);
    pg_add_int(p, PG_INT8, limit < PAGE ? limit : PAGE);
    rc = ctx_exec(q->ctx,
                  "SELECT d.dead_id FROM dead_letter d WHERE " DEAD_FILTER
                  " AND d.job_id IS NOT NULL AND d.dead_id > $6 ORDER BY d.dead_id LIMIT $7",
                  p, ret, err);
    pg_params_free(p);
    return rc;
}

static enum rc by_filter(struct requeue *q, const struct dead_filter *f, struct err *err)
{
    int64_t left = opts_int(&q->ctx->opts, "limit", INT64_MAX), past = 0;
    for (;;) {
        struct pg_rows *rows = NULL;
        enum rc rc = next_page(q, f, past, left, &rows, err);
        int n = rc == RC_OK ? pg_row_count(rows) : 0;
        for (int i = 0; rc == RC_OK && i < n; i++) {
            past = pg_get_int(rows, i, 0);
            rc = requeue_one(q, past, err);
        }
        pg_rows_free(rows);
        left -= n;
        if (rc != RC_OK || n < PAGE || left <= 0)
            return rc;
    }
}

/* ---- the command -------------------------------------------------------------------------- */

static enum rc read_deadline(const struct opts *o, int64_t *ret, struct err *err)
{
    const char *text = opts_text(o, "deadline", NULL);
    int64_t now_ms = clock_wall_ms();
    *ret = DEADLINE_KEEP;
    if (!text)
        return RC_OK;
    *ret = strcmp(text, "none") == 0 ? DEADLINE_NONE : clock_parse(text, now_ms);
    if (*ret < 0 || (*ret != DEADLINE_NONE && *ret <= now_ms))
        return err_set(err, RC_REJECT,
                       "--deadline: '%.80s' is not a time to come: +24h, "
                       "2026-11-21T10:43:00Z, or none",
                       text);
    return RC_OK;
}

static enum rc load_key(struct requeue *q, struct err *err)
{
    const char *ref = config_text(q->ctx->config, "signing.key");
    struct secret *secret = NULL;
    if (!*ref)
        return RC_OK;
    secret_harden_process();
    enum rc rc = secret_load(ref, &secret, err);
    if (rc == RC_OK)
        rc = sign_key_parse(secret_value(secret), &q->key, err);
    secret_free(secret);
    q->sign = rc == RC_OK;
    return rc == RC_OK ? RC_OK : err_prefix(err, rc, "signing.key");
}

static enum rc check(const struct opts *o, const struct dead_filter *f, struct err *err)
{
    bool filter = !dead_filter_is_empty(f) || opts_set(o, "limit");
    if (o->arg_count && filter)
        return err_set(err, RC_REJECT, "give ids or a filter, not both");
    if (o->arg_count)
        return RC_OK;
    if (!filter && !opts_set(o, "yes") && !opts_set(o, "dry-run"))
        return err_set(err, RC_REJECT,
                       "give ids, or a filter (--batch, --class, --app, --since) with "
                       "--yes or --dry-run");
    if (!opts_set(o, "yes") && !opts_set(o, "dry-run"))
        return err_set(err, RC_REJECT,
                       "a filter needs --yes; --dry-run shows what it would requeue");
    return RC_OK;
}

/* What was done is told whether or not the rest failed. */
static enum rc report(struct requeue *q, enum rc rc, struct err *err)
{
    struct err print_err;
    enum rc printed = RC_OK;
    if (table_rows(q->table) || (rc == RC_OK && opts_set(&q->ctx->opts, "json")))
        printed = ctx_print_table(q->ctx, q->table, &print_err);
    if (rc == RC_OK || q->done)
        out_note("%s: %" PRId64 "; refused: %" PRId64,
                 q->dry_run ? "would be requeued" : "requeued", q->done, q->refused);
    if (rc != RC_OK)
        return rc;
    if (printed != RC_OK)
        return err_set(err, printed, "%s", print_err.text);
    if (q->refused && !q->done)
        return err_set(err, RC_REJECT, "nothing was requeued");
    if (q->refused)
        q->ctx->exit_code = EXIT_JOBS_FAILED;
    return RC_OK;
}

enum rc dead_requeue(struct ctx *ctx, struct err *err)
{
    static const struct table_col cols[] = {
        {"dead_id", "ID", 0},         {"custom_id", "CUSTOM ID", 40},  {"job_id", NULL, 0},
        {"new_job_id", "NEW JOB", 0}, {"generation", "GENERATION", 0}, {0}};
    struct requeue q = {.ctx = ctx, .dry_run = opts_set(&ctx->opts, "dry-run")};
    struct dead_filter f = {0};
    buf_init(&q.message, MESSAGE_BYTES_MAX);
    q.table = table_new(cols);
    enum rc rc = cmd_have(q.table, err);
    if (rc == RC_OK)
        rc = read_deadline(&ctx->opts, &q.deadline_ms, err);
    if (rc == RC_OK)
        rc = load_key(&q, err);
    if (rc == RC_OK)
        rc = dead_filter_read(ctx, DEAD_OPEN, &f, err);
    if (rc == RC_OK)
        rc = check(&ctx->opts, &f, err);
    if (rc == RC_OK)
        rc = report(&q, ctx->opts.arg_count ? by_ids(&q, err) : by_filter(&q, &f, err), err);
    dead_filter_done(&f);
    table_free(q.table);
    buf_done(&q.message);
    sign_key_wipe(&q.key);
    return rc;
}
