/*
 * batch_seal.c - `inferq batch seal`: says how many jobs a batch has, where no submit did, so that
 * conservation can be checked and the batch can be done.
 *
 * The total counts jobs as they were put in; requeues are counted apart, so they may come before or
 * after. A total that contradicts the one that stands, or what has ended already, is refused. A
 * batch that the database has never seen is made from its id, which proves app and name.
 */
#include <inttypes.h>
#include <stdio.h>

#include "admin/audit.h"
#include "admin/batch_ref.h"
#include "admin/cmd.h"
#include "admin/out.h"

/* Where the row was not inserted, a worker may have made it since we looked, from the batch's first
 * records: then it is this one. Else the name belongs to another batch. */
static enum rc check_made(struct ctx *ctx, const struct jobid *id, const char *app,
                          const char *name, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_uuid(p, id);
    rc = ctx_exec(ctx, "SELECT 1 FROM batch WHERE batch_id = $1", p, &rows, err);
    if (rc == RC_OK && pg_row_count(rows) == 0)
        rc =
            err_set(err, RC_REJECT, "%s/%s is another batch already: see `inferq batch show %s/%s`",
                    app, name, app, name);
    pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}

static enum rc make_batch(struct ctx *ctx, struct err *err)
{
    const char *app = opts_text(&ctx->opts, "app", ""), *name = opts_text(&ctx->opts, "name", "");
    struct batch_ref ref;
    enum rc rc = batch_ref_parse(ctx->opts.args[0], &ref, err);
    if (rc != RC_OK)
        return rc;
    if (!ref.by_id || !*app || !*name)
        return err_set(err, RC_REJECT,
                       "the database does not know this batch; give its id with --app and --name");
    struct jobid want = batchid_make(jobid_ms(&ref.id), span_of(app), span_of(name));
    if (!jobid_eq(&want, &ref.id))
        return err_set(err, RC_REJECT, "app '%s' and name '%s' do not make this batch id", app,
                       name);

    struct pg_params *p = pg_params_new();
    rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_uuid(p, &ref.id);
    pg_add_text(p, span_of(app));
    pg_add_text(p, span_of(name));
    pg_add_int(p, PG_INT8, jobid_ms(&ref.id));
    rc = ctx_exec(ctx,
                  "INSERT INTO batch (batch_id, app, name, created_ms) VALUES ($1, $2, $3, $4) "
                  "ON CONFLICT DO NOTHING",
                  p, NULL, err);
    pg_params_free(p);
    return rc == RC_OK ? check_made(ctx, &ref.id, app, name, err) : rc;
}

static enum rc check_names(struct ctx *ctx, const struct batch *b, struct err *err)
{
    const char *app = opts_text(&ctx->opts, "app", NULL),
               *name = opts_text(&ctx->opts, "name", NULL);
    if ((app && !span_is(b->app, app)) || (name && !span_is(b->name, name)))
        return err_set(err, RC_REJECT, "this batch is %.*s/%.*s, not what --app and --name say",
                       (int)b->app.n, b->app.p, (int)b->name.n, b->name.p);
    return RC_OK;
}

/* Sets the total unless one stands; *ret_total: what stands now. The row is then locked, so what is
 * read of the batch afterwards holds every requeue that was under way. */
static enum rc set_total(struct ctx *ctx, const struct batch *b, int64_t total, int64_t *ret_total,
                         struct err *err)
{
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_uuid(p, &b->id);
    pg_add_int(p, PG_INT8, total);
    rc = ctx_exec(ctx,
                  "UPDATE batch SET sealed_at = coalesce(sealed_at, now()), "
                  "total = coalesce(total, $2) WHERE batch_id = $1 RETURNING total",
                  p, &rows, err);
    if (rc == RC_OK)
        *ret_total = pg_get_int(rows, 0, 0);
    pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}

static enum rc check_total(const struct progress *p, int64_t total, int64_t stands, struct err *err)
{
    if (stands != total)
        return err_set(err, RC_REJECT,
                       "it is sealed already, with %" PRId64 " jobs, not %" PRId64
                       ": a total never changes",
                       stands, total);
    if (p->pending < 0)
        return err_set(err, RC_REJECT,
                       "%" PRId64 " of its jobs have ended already: %" PRId64 " is too few",
                       p->ended - p->requeued, total);
    return RC_OK;
}

static enum rc seal(struct ctx *ctx, struct batch *b, int64_t total, struct err *err)
{
    bool found = false;
    int64_t stands = 0;
    struct progress progress;
    char id[ID_TEXT_BYTES], detail[64];
    enum rc rc = batch_find(ctx, ctx->opts.args[0], b, &found, err);
    if (rc != RC_OK && !found) {
        rc = make_batch(ctx, err);
        if (rc == RC_OK)
            rc = batch_find(ctx, ctx->opts.args[0], b, NULL, err);
    }
    if (rc == RC_OK)
        rc = check_names(ctx, b, err);
    if (rc == RC_OK)
        rc = set_total(ctx, b, total, &stands, err);
    if (rc == RC_OK)
        rc = batch_progress(ctx, b, &progress, err);
    if (rc == RC_OK)
        rc = check_total(&progress, total, stands, err);
    if (rc != RC_OK || b->total >= 0)
        return rc;
    jobid_text(&b->id, id);
    (void)snprintf(detail, sizeof detail, "total %" PRId64, total);
    return audit(ctx, "batch seal", id, detail, err);
}

enum rc batch_seal(struct ctx *ctx, struct err *err)
{
    struct batch b = {0};
    if (!opts_set(&ctx->opts, "total"))
        return err_set(err, RC_REJECT, "--total N is missing: how many jobs were put into it");
    int64_t total = opts_int(&ctx->opts, "total", 0);
    enum rc rc = ctx_begin(ctx, err);
    if (rc == RC_OK)
        rc = ctx_end(ctx, seal(ctx, &b, total, err), err);
    if (rc == RC_OK)
        rc = out_writef(err,
                        b.total < 0 ? "sealed with %" PRId64 " jobs\n"
                                    : "sealed already, with %" PRId64 " jobs\n",
                        total);
    batch_done(&b);
    return rc;
}
