/*
 * worker_list.c - `inferq worker list`: the starts of workers that live, and with --all those that
 * are over: lease, build, state, calls in flight, and jobs that they ended within the last minute.
 */
#include "admin/cmd.h"
#include "admin/fleet.h"

enum { LIMIT_DEFAULT = 1000 };

static const struct table_col cols[] = {{"worker_id", "ID", 0},
                                        {"host", "HOST", 40},
                                        {"pid", "PID", 0},
                                        {"state", "STATE", 0},
                                        {"in_flight", "IN FLIGHT", 0},
                                        {"jobs_per_minute", "JOBS/MIN", 0},
                                        {"started_at", "STARTED", 0},
                                        {"lease_until", "LEASE UNTIL", 0},
                                        {"build", "BUILD", 40},
                                        {"drain_requested_at", NULL, 0},
                                        {"stopped_at", NULL, 0},
                                        {0}};

static const char list_sql[] =
    "WITH k AS (SELECT c.worker_id, count(*) FILTER (WHERE c.done_at IS NULL) AS open, "
    " count(*) FILTER (WHERE " CALL_GAVE_RESULT ") AS jobs "
    " FROM call c WHERE c.claimed_at > " CALLS_LIVE_SINCE " GROUP BY 1) "
    "SELECT w.worker_id, w.host, w.pid, " WORKER_STATE ", coalesce(k.open, 0), "
    "coalesce(k.jobs, 0), w.started_at, w.lease_until, w.build, w.drain_requested_at, w.stopped_at "
    "FROM (SELECT * FROM worker WHERE $1 OR NOT fenced ORDER BY worker_id DESC LIMIT $2) w "
    "LEFT JOIN k USING (worker_id) ORDER BY w.worker_id";

static void add_row(struct table *t, const struct pg_rows *rows, int row)
{
    table_int(t, pg_get_int(rows, row, 0));
    table_text(t, pg_get_span(rows, row, 1));
    table_int(t, pg_get_int(rows, row, 2));
    table_text(t, pg_get_span(rows, row, 3));
    table_int(t, pg_get_int(rows, row, 4));
    table_int(t, pg_get_int(rows, row, 5));
    table_time(t, pg_get_time_ms(rows, row, 6));
    table_time(t, pg_get_time_ms(rows, row, 7));
    table_text(t, pg_get_span(rows, row, 8));
    table_time(t, pg_get_time_ms(rows, row, 9));
    table_time(t, pg_get_time_ms(rows, row, 10));
}

enum rc worker_list(struct ctx *ctx, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct table *t = table_new(cols);
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(t && p ? t : NULL, err);
    if (rc == RC_OK) {
        pg_add_bool(p, opts_set(&ctx->opts, "all"));
        pg_add_int(p, PG_INT8, opts_int(&ctx->opts, "limit", LIMIT_DEFAULT));
        rc = ctx_exec(ctx, list_sql, p, &rows, err);
    }
    for (int row = 0; rc == RC_OK && row < pg_row_count(rows); row++)
        add_row(t, rows, row);
    if (rc == RC_OK)
        rc = ctx_print_table(ctx, t, err);
    pg_rows_free(rows);
    pg_params_free(p);
    table_free(t);
    return rc;
}
