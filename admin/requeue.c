/*
 * requeue.c - the next generation of a dead job, put among the parked ones: what `dead requeue` and
 * `dead edit` do alike.
 *
 * In the letter's transaction: the new generation is parked (due at once), the batch counts one
 * more requeue, the letter is marked and the review event is written. So conservation holds at
 * every moment, and a letter that several people requeue at once is requeued once.
 */
#include "admin/requeue.h"

#include <string.h>

#include "common/clock.h"
#include "common/kept_headers.h"
#include "common/secret.h"

enum { MESSAGE_BYTES_MAX = JOB_MSG_BYTES_MAX + 4096 };

const struct table_col requeue_cols[] = {
    {"dead_id", "ID", 0},         {"custom_id", "CUSTOM ID", 40},  {"job_id", NULL, 0},
    {"new_job_id", "NEW JOB", 0}, {"generation", "GENERATION", 0}, {0}};

/* ---- what it needs ------------------------------------------------------------------------ */

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

enum rc requeue_init(struct requeue *q, struct ctx *ctx, struct err *err)
{
    *q = (struct requeue){.ctx = ctx};
    buf_init(&q->message, MESSAGE_BYTES_MAX);
    enum rc rc = read_deadline(&ctx->opts, &q->deadline_ms, err);
    return rc == RC_OK ? load_key(q, err) : rc;
}

void requeue_done(struct requeue *q)
{
    buf_done(&q->message);
    sign_key_wipe(&q->key);
}

/* ---- one letter --------------------------------------------------------------------------- */

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

static enum rc park(struct requeue *q, const struct letter *l, const struct job_msg *msg,
                    struct err *err)
{
    struct pg_rows *parked = NULL;
    struct buf headers;
    buf_init(&headers, KEPT_HEADERS_BYTES_MAX);
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        goto out;
    pg_add_uuid(p, &msg->job_id);
    pg_add_uuid(p, &msg->batch_id);
    pg_add_time_ms(p, msg->deadline_ms);
    pg_add_int(p, PG_INT2, requeue_lane(l->lane, msg->priority));
    pg_add_bytea(p, buf_span(&q->message));
    pg_add_bytea(p, new_headers(q, l->headers, &headers));
    pg_add_text(p, msg->app);
    rc = ctx_exec(
        q->ctx,
        "INSERT INTO parked (job_id, batch_id, next_at, deadline_at, wait_key, priority, "
        "number, attempts, reasks, spent_nusd, waited_us, model_us, reason, payload, headers, app) "
        "SELECT $1, $2, now(), $3, 0, $4, 1, 0, 0, 0, 0, 0, 0, $5, $6, $7::text "
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

static enum rc count(struct ctx *ctx, const struct jobid *batch_id, struct err *err)
{
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_uuid(p, batch_id);
    rc =
        ctx_exec(ctx, "UPDATE batch SET requeued = requeued + 1 WHERE batch_id = $1", p, NULL, err);
    pg_params_free(p);
    return rc;
}

static void add_row(struct table *t, const struct letter *l, const struct job_msg *msg)
{
    table_int(t, l->dead_id);
    table_text(t, msg->custom_id);
    table_id(t, &l->job_id);
    table_id(t, &msg->job_id);
    table_int(t, msg->generation);
}

enum rc requeue_letter(struct requeue *q, const struct letter *l, const struct requeue_edit *edit,
                       struct table *t, struct jobid *ret_job, struct err *err)
{
    struct job_msg msg;
    struct requeue_change change = {.deadline_ms = q->deadline_ms};
    if (edit) {
        change.body = edit->body;
        change.other_prompt = edit->other_prompt;
    }
    buf_reset(&q->message);
    enum rc rc =
        requeue_msg(l->payload, &l->job_id, &change, clock_wall_ms(), &q->message, &msg, err);
    if (rc == RC_OK)
        rc = park(q, l, &msg, err);
    if (rc == RC_OK)
        rc = count(q->ctx, &msg.batch_id, err);
    if (rc == RC_OK)
        rc = letter_mark(q->ctx, l, edit ? DEAD_EDITED : DEAD_REQUEUED, edit ? "edit" : "requeue",
                         &msg.job_id, err);
    if (rc != RC_OK)
        return rc;
    add_row(t, l, &msg);
    *ret_job = msg.job_id;
    return RC_OK;
}
