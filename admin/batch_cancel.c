/*
 * batch_cancel.c - `inferq batch cancel`: asks that no waiting job of a batch be called any more.
 *
 * One transaction: the request's time (the first one stands), the parked jobs made due, so that a
 * worker picks them up and ends them as cancelled, the audit row, and the notification that
 * workers listen to. Calls in flight end by themselves.
 */
#include <inttypes.h>

#include "admin/audit.h"
#include "admin/batch_ref.h"
#include "admin/cmd.h"
#include "admin/jsonw.h"
#include "admin/out.h"
#include "common/clock.h"

struct cancel {
    struct batch batch;
    struct progress progress;
    int64_t woken;
};

static enum rc request(struct ctx *ctx, struct cancel *c, struct err *err)
{
    char id[ID_TEXT_BYTES];
    jobid_text(&c->batch.id, id);
    struct pg_params *range = pg_params_new(), *one = pg_params_new();
    struct pg_rows *woken = NULL;
    enum rc rc = cmd_have(range && one ? range : NULL, err);
    if (rc != RC_OK)
        goto out;
    pg_add_uuid(one, &c->batch.id);
    batch_params(range, &c->batch);
    rc = ctx_exec(ctx,
                  "UPDATE batch SET cancel_requested_at = now() "
                  "WHERE batch_id = $1 AND cancel_requested_at IS NULL",
                  one, NULL, err);
    if (rc == RC_OK)
        rc = ctx_exec(ctx,
                      "UPDATE parked SET next_at = least(next_at, now()), wait_key = 0 "
                      "WHERE batch_id = $1 AND job_id >= $2 AND job_id < $3",
                      range, &woken, err);
    if (rc == RC_OK)
        c->woken = pg_affected(woken);
    if (rc == RC_OK)
        rc = audit(ctx, "batch cancel", id, "", err);
    if (rc == RC_OK)
        rc = ctx_exec(ctx, "SELECT pg_notify('inferq_cancel', $1::uuid::text)::text", one, NULL,
                      err);
out:
    pg_rows_free(woken);
    pg_params_free(range);
    pg_params_free(one);
    return rc;
}

static enum rc cancel(struct ctx *ctx, struct cancel *c, struct err *err)
{
    enum rc rc = ctx_begin(ctx, err);
    if (rc != RC_OK)
        return rc;
    rc = batch_find(ctx, ctx->opts.args[0], &c->batch, NULL, err);
    if (rc == RC_OK)
        rc = batch_progress(ctx, &c->batch, &c->progress, err);
    if (rc == RC_OK)
        rc = request(ctx, c, err);
    return ctx_end(ctx, rc, err);
}

static enum rc say_json(const struct cancel *c, struct err *err)
{
    struct buf out;
    buf_init(&out, 4096);
    struct jsonw w = {.out = &out};
    jsonw_open(&w, '{');
    jsonw_key(&w, "batch_id");
    jsonw_id(&w, &c->batch.id);
    jsonw_key(&w, "already_requested_at");
    jsonw_time(&w, c->batch.cancel_ms);
    jsonw_key(&w, "pending");
    if (c->progress.accepted < 0)
        jsonw_null(&w);
    else
        jsonw_int(&w, c->progress.pending);
    jsonw_key(&w, "parked_woken");
    jsonw_int(&w, c->woken);
    jsonw_close(&w, '}');
    buf_add_byte(&out, '\n');
    enum rc rc = out_write(buf_span(&out), err);
    buf_done(&out);
    return rc;
}

static enum rc say(const struct cancel *c, struct err *err)
{
    char at[CLOCK_RFC3339_BYTES];
    if (c->progress.accepted >= 0 && c->progress.pending <= 0)
        return out_writef(err, "all its jobs have ended: there is nothing left to cancel\n");
    if (c->batch.cancel_ms) {
        clock_rfc3339(c->batch.cancel_ms, at, sizeof at);
        return out_writef(err, "cancelled already, at %s; workers were told once more\n", at);
    }
    enum rc rc = out_writef(err, "cancel requested; parked jobs woken: %" PRId64, c->woken);
    if (rc == RC_OK && c->progress.accepted >= 0)
        rc = out_writef(err, "; pending: %" PRId64, c->progress.pending);
    return rc == RC_OK ? out_writef(err, "\n") : rc;
}

enum rc batch_cancel(struct ctx *ctx, struct err *err)
{
    struct cancel c = {0};
    enum rc rc = cancel(ctx, &c, err);
    if (rc == RC_OK)
        rc = opts_set(&ctx->opts, "json") ? say_json(&c, err) : say(&c, err);
    batch_done(&c.batch);
    return rc;
}
