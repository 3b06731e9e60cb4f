/*
 * endpoint_show.c - `inferq endpoint show`: where models are called, whether an operator has paused
 * it, what waits for it, and how its calls of the last minute went.
 *
 * What a single worker does about an endpoint that fails (a pause of its own, probes) is that
 * worker's: its metrics say so. Here it shows as jobs that wait, and for what.
 */
#include "admin/cmd.h"
#include "admin/fleet.h"
#include "admin/out.h"
#include "common/codes.h"

static const struct table_col cols[] = {{"endpoint", "ENDPOINT", 40},
                                        {"version", "VERSION", 0},
                                        {"state", "STATE", 0},
                                        {"in_flight", "IN FLIGHT", 0},
                                        {"calls_per_minute", "CALLS/MIN", 0},
                                        {"failed_per_minute", "FAILED", 0},
                                        {"waiting", "WAITING", 0},
                                        {"waiting_for", "FOR", 0},
                                        {"base_url", "URL", 60},
                                        {"models", "MODELS", 40},
                                        {"endpoint_id", NULL, 0},
                                        {"max_in_flight", NULL, 0},
                                        {"timeout_ms", NULL, 0},
                                        {"credential", NULL, 0},
                                        {"paused_at", NULL, 0},
                                        {"paused_by", NULL, 0},
                                        {"paused_reason", NULL, 0},
                                        {0}};

/* A pause of one version stands beside one of all of them: either does. */
static const char show_sql[] =
    "WITH k AS (SELECT c.endpoint_id, count(*) FILTER (WHERE c.done_at IS NULL) AS open, "
    " count(*) FILTER (WHERE c.done_at > now() - interval '1 minute') AS calls, "
    " count(*) FILTER (WHERE c.done_at > now() - interval '1 minute' AND c.class <> $2) AS failed "
    " FROM call c WHERE c.claimed_at > " CALLS_LIVE_SINCE " GROUP BY 1), "
    "w AS (SELECT wait_key, count(*) AS n, mode() WITHIN GROUP (ORDER BY reason) AS reason "
    " FROM parked WHERE wait_key <> 0 GROUP BY 1) "
    "SELECT e.name, e.version, p.at IS NOT NULL, coalesce(k.open, 0), coalesce(k.calls, 0), "
    "coalesce(k.failed, 0), coalesce(w.n, 0), w.reason, e.base_url, "
    "(SELECT string_agg(v.label, ', ' ORDER BY v.label) FROM model_version v "
    " WHERE v.endpoint_id = e.endpoint_id), e.endpoint_id, e.max_in_flight, e.timeout_ms, "
    "e.credential, p.at, p.actor, p.reason "
    "FROM endpoint e LEFT JOIN k USING (endpoint_id) LEFT JOIN w ON w.wait_key = e.endpoint_id "
    "LEFT JOIN LATERAL (SELECT q.at, q.actor, q.reason FROM endpoint_pause q "
    " WHERE q.name = e.name AND q.version IN (0, e.version) ORDER BY q.version LIMIT 1) p ON true "
    "WHERE $1::text IS NULL OR e.name = $1 ORDER BY e.name, e.version";

enum { NAME, VERSION, PAUSED, OPEN, CALLS, FAILED, WAITING, REASON, URL, MODELS, ID };
enum { MAX_IN_FLIGHT = ID + 1, TIMEOUT, CREDENTIAL, PAUSED_AT, PAUSED_BY, PAUSED_WHY };

static void add_row(struct table *t, const struct pg_rows *rows, int row)
{
    bool paused = pg_get_bool(rows, row, PAUSED);
    int reason = (int)pg_get_int(rows, row, REASON);
    table_text(t, pg_get_span(rows, row, NAME));
    table_int(t, pg_get_int(rows, row, VERSION));
    table_text(t, paused ? SPAN_LIT("paused") : SPAN_LIT("open"));
    for (int col = OPEN; col <= WAITING; col++)
        table_int(t, pg_get_int(rows, row, col));
    if (pg_null(rows, row, REASON) || reason == CLASS_NONE)
        table_null(t);
    else
        table_text(t, span_of(class_name(reason)));
    table_text(t, pg_get_span(rows, row, URL));
    table_text(t, pg_get_span(rows, row, MODELS));
    for (int col = ID; col <= TIMEOUT; col++)
        table_int(t, pg_get_int(rows, row, col));
    table_text(t, pg_get_span(rows, row, CREDENTIAL));
    table_time(t, pg_get_time_ms(rows, row, PAUSED_AT));
    table_text(t, pg_get_span(rows, row, PAUSED_BY));
    table_text(t, pg_get_span(rows, row, PAUSED_WHY));
}

static void say_pause(const struct pg_rows *rows, int row)
{
    struct span name = pg_get_span(rows, row, NAME), by = pg_get_span(rows, row, PAUSED_BY);
    struct span why = pg_get_span(rows, row, PAUSED_WHY);
    struct buf line;
    if (!pg_get_bool(rows, row, PAUSED))
        return;
    buf_init(&line, 1 << 14);
    table_clean(name, 0, &line);
    buf_add_text(&line, " was paused by ");
    table_clean(by, 0, &line);
    if (why.n) {
        buf_add_text(&line, ": ");
        table_clean(why, 0, &line);
    }
    out_note("%.*s", (int)line.n, buf_span(&line).p);
    buf_done(&line);
}

enum rc endpoint_show(struct ctx *ctx, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct table *t = table_new(cols);
    struct pg_params *p = pg_params_new();
    const char *name = ctx->opts.arg_count ? ctx->opts.args[0] : NULL;
    enum rc rc = cmd_have(t && p ? t : NULL, err);
    if (rc == RC_OK) {
        pg_add_text(p, span_of(name));
        pg_add_int(p, PG_INT2, CLASS_OK);
        rc = ctx_exec(ctx, show_sql, p, &rows, err);
    }
    if (rc == RC_OK && name && pg_row_count(rows) == 0)
        rc = err_set(err, RC_REJECT,
                     "the catalogue has no endpoint '%.128s'; `inferq endpoint show` lists them",
                     name);
    for (int row = 0; rc == RC_OK && row < pg_row_count(rows); row++)
        add_row(t, rows, row);
    if (rc == RC_OK)
        rc = ctx_print_table(ctx, t, err);
    for (int row = 0; rc == RC_OK && row < pg_row_count(rows); row++)
        say_pause(rows, row);
    pg_rows_free(rows);
    pg_params_free(p);
    table_free(t);
    return rc;
}
