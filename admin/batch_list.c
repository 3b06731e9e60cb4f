/*
 * batch_list.c - `inferq batch list`: the latest batches and how far they are.
 */
#include "admin/batch_ref.h"
#include "admin/cmd.h"

enum { LIMIT_DEFAULT = 50 };

static const struct table_col cols[] = {{"batch_id", "BATCH", 0},
                                        {"batch", "NAME", 48},
                                        {"accepted", "ACCEPTED", 0},
                                        {"succeeded", "SUCCEEDED", 0},
                                        {"dead", "DEAD", 0},
                                        {"cancelled", "CANCELLED", 0},
                                        {"expired", "EXPIRED", 0},
                                        {"pending", "PENDING", 0},
                                        {"cost_usd", "USD", 0},
                                        {"unpriced", NULL, 0},
                                        {"app", NULL, 0},
                                        {"name", NULL, 0},
                                        {"task", NULL, 0},
                                        {"team", NULL, 0},
                                        {"state", "STATE", 0},
                                        {"registered_at", "REGISTERED", 0},
                                        {"last_result_at", NULL, 0},
                                        {0}};

static const char *state_of(const struct progress *p)
{
    if (p->accepted < 0)
        return p->cancel_ms ? "cancelling" : "open";
    if (p->pending <= 0)
        return "done";
    return p->cancel_ms ? "cancelling" : "running";
}

static void count(struct table *t, int64_t v)
{
    if (v < 0)
        table_null(t);
    else
        table_int(t, v);
}

static void add_row(struct table *t, const struct pg_rows *rows, int row)
{
    enum { PROGRESS = 7 };
    struct jobid id = pg_get_uuid(rows, row, 0);
    struct progress p = progress_read(rows, row, PROGRESS);
    table_id(t, &id);
    table_text(t, pg_get_span(rows, row, 1));
    count(t, p.accepted);
    table_int(t, p.succeeded);
    table_int(t, p.dead);
    table_int(t, p.cancelled);
    table_int(t, p.expired);
    count(t, p.pending);
    if (p.cost_nusd < 0)
        table_null(t);
    else
        table_usd(t, p.cost_nusd);
    table_int(t, p.unpriced);
    for (int col = 2; col <= 5; col++) /* app, name, task, team */
        table_text(t, pg_get_span(rows, row, col));
    table_text(t, span_of(state_of(&p)));
    table_time(t, pg_get_time_ms(rows, row, 6));
    table_time(t, p.last_ms);
}

static enum rc select_rows(struct ctx *ctx, struct pg_params *p, struct pg_rows **ret_rows,
                           struct err *err)
{
    const char *app = opts_text(&ctx->opts, "app", NULL);
    pg_add_text(p, app ? span_of(app) : (struct span){0});
    pg_add_int(p, PG_INT8, opts_int(&ctx->opts, "limit", LIMIT_DEFAULT));
    if (opts_set(&ctx->opts, "active"))
        return ctx_exec(ctx,
                        "SELECT batch_id, app || '/' || name, app, name, task, team, "
                        "registered_at, " PROGRESS_COLUMNS " FROM batch_progress "
                        "WHERE ($1::text IS NULL OR app = $1) AND pending IS DISTINCT FROM 0 "
                        "ORDER BY registered_at DESC, batch_id DESC LIMIT $2",
                        p, ret_rows, err);
    /* First which, then how far: progress is summed for what is shown only. */
    return ctx_exec(ctx,
                    "SELECT v.batch_id, v.app || '/' || v.name, v.app, v.name, v.task, v.team, "
                    "v.registered_at, " PROGRESS_COLUMNS
                    " FROM batch_progress v WHERE v.batch_id IN "
                    "(SELECT batch_id FROM batch WHERE $1::text IS NULL OR app = $1 "
                    " ORDER BY registered_at DESC, batch_id DESC LIMIT $2) "
                    "ORDER BY v.registered_at DESC, v.batch_id DESC",
                    p, ret_rows, err);
}

enum rc batch_list(struct ctx *ctx, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct table *t = table_new(cols);
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(t && p ? t : NULL, err);
    if (rc == RC_OK)
        rc = select_rows(ctx, p, &rows, err);
    for (int row = 0; rc == RC_OK && row < pg_row_count(rows); row++)
        add_row(t, rows, row);
    if (rc == RC_OK)
        rc = ctx_print_table(ctx, t, err);
    pg_rows_free(rows);
    pg_params_free(p);
    table_free(t);
    return rc;
}
