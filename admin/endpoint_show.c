/*
 * endpoint_show.c - `inferq endpoint show`: where models are called, whether an operator has paused
 * it, what waits for it, and how its calls of the last minute went.
 *
 * What calls taught the fleet of it stands here, too: until when and for what it is closed, which
 * worker sends the probe after that, how far throttling has lowered its limits; and so does each
 * limit of the fleet that holds its jobs. A pause of a single
 * worker, which cannot reach it, is that worker's: its metrics say so.
 */
#include <stdio.h>

#include "admin/cmd.h"
#include "admin/fleet.h"
#include "admin/held.h"
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
                                        {"closed_until", NULL, 0},
                                        {"closed_for", NULL, 0},
                                        {"probe_worker", NULL, 0},
                                        {"multiplier_permille", NULL, 0},
                                        {"concurrency", NULL, 0},
                                        {"limited_by", NULL, 0},
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
    "e.credential, p.at, p.actor, p.reason, coalesce(l.probing, false), "
    "CASE WHEN l.paused_until > now() THEN l.paused_until END, "
    "CASE WHEN l.probing OR l.paused_until > now() THEN l.paused_for END, "
    "CASE WHEN l.probe_until > now() THEN l.probe_worker END, coalesce(l.multiplier, 1000::int2), "
    "l.concurrency, round(extract(epoch FROM l.paused_until - now()))::int8 "
    "FROM endpoint e LEFT JOIN limit_learned l ON l.endpoint = e.name || '@' || e.version "
    "LEFT JOIN k USING (endpoint_id) LEFT JOIN w ON w.wait_key = e.endpoint_id "
    "LEFT JOIN LATERAL (SELECT q.at, q.actor, q.reason FROM endpoint_pause q "
    " WHERE q.name = e.name AND q.version IN (0, e.version) ORDER BY q.version LIMIT 1) p ON true "
    "WHERE $1::text IS NULL OR e.name = $1 ORDER BY e.name, e.version";

enum { NAME, VERSION, PAUSED, OPEN, CALLS, FAILED, WAITING, REASON, URL, MODELS, ID };
enum { MAX_IN_FLIGHT = ID + 1, TIMEOUT, CREDENTIAL, PAUSED_AT, PAUSED_BY, PAUSED_WHY, PROBING };
enum { CLOSED_UNTIL = PROBING + 1, CLOSED_FOR, PROBE_WORKER, MULTIPLIER, CONCURRENCY, CLOSED_S };
enum { ONE_PERMILLE = 1000, HELD_BYTES_MAX = 1 << 16 };

static const char *state_of(const struct pg_rows *rows, int row)
{
    if (pg_get_bool(rows, row, PAUSED))
        return "paused";
    if (!pg_null(rows, row, CLOSED_UNTIL))
        return "closed";
    return pg_get_bool(rows, row, PROBING) ? "probed" : "open";
}

static void add_class(struct table *t, const struct pg_rows *rows, int row, int col)
{
    int class = (int)pg_get_int(rows, row, col);
    if (pg_null(rows, row, col) || class == CLASS_NONE)
        table_null(t);
    else
        table_text(t, span_of(class_name(class)));
}

static void add_int(struct table *t, const struct pg_rows *rows, int row, int col)
{
    if (pg_null(rows, row, col))
        table_null(t);
    else
        table_int(t, pg_get_int(rows, row, col));
}

/* Its limits and its models' that hold it: "endpoint:eu@1 tokens_per_day, ..."; else null. */
static void add_limits(struct table *t, const struct pg_rows *rows, int row,
                       const struct held_list *held)
{
    struct buf text, key;
    struct span name = pg_get_span(rows, row, NAME);
    buf_init(&text, HELD_BYTES_MAX);
    buf_init(&key, HELD_BYTES_MAX);
    buf_addf(&key, "%.*s@%d", (int)name.n, name.p, (int)pg_get_int(rows, row, VERSION));
    for (int i = 0; i < held->count; i++)
        if (span_is(buf_span(&key), held->all[i].endpoint))
            buf_addf(&text, "%s%s %s", text.n ? ", " : "", held->all[i].limit,
                     limit_dimension_name(held->all[i].dimension));
    table_text(t, text.n ? buf_span(&text) : (struct span){0});
    buf_done(&text);
    buf_done(&key);
}

static void add_row(struct table *t, const struct pg_rows *rows, int row,
                    const struct held_list *held)
{
    table_text(t, pg_get_span(rows, row, NAME));
    table_int(t, pg_get_int(rows, row, VERSION));
    table_text(t, span_of(state_of(rows, row)));
    for (int col = OPEN; col <= WAITING; col++)
        table_int(t, pg_get_int(rows, row, col));
    add_class(t, rows, row, REASON);
    table_text(t, pg_get_span(rows, row, URL));
    table_text(t, pg_get_span(rows, row, MODELS));
    for (int col = ID; col <= TIMEOUT; col++)
        table_int(t, pg_get_int(rows, row, col));
    table_text(t, pg_get_span(rows, row, CREDENTIAL));
    table_time(t, pg_get_time_ms(rows, row, PAUSED_AT));
    table_text(t, pg_get_span(rows, row, PAUSED_BY));
    table_text(t, pg_get_span(rows, row, PAUSED_WHY));
    table_time(t, pg_get_time_ms(rows, row, CLOSED_UNTIL));
    add_class(t, rows, row, CLOSED_FOR);
    for (int col = PROBE_WORKER; col <= CONCURRENCY; col++)
        add_int(t, rows, row, col);
    add_limits(t, rows, row, held);
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

static void note(const struct pg_rows *rows, int row, const char *what, int64_t n, const char *more)
{
    struct buf line;
    buf_init(&line, 1 << 14);
    table_clean(pg_get_span(rows, row, NAME), 0, &line);
    out_note("%.*s@%d %s%lld%s", (int)line.n, buf_span(&line).p,
             (int)pg_get_int(rows, row, VERSION), what, (long long)n, more);
    buf_done(&line);
}

static void say_learned(const struct pg_rows *rows, int row)
{
    char text[160];
    int64_t multiplier = pg_get_int(rows, row, MULTIPLIER);
    const char *class = class_name((int)pg_get_int(rows, row, CLOSED_FOR));
    if (!pg_null(rows, row, CLOSED_UNTIL)) {
        (void)snprintf(text, sizeof text, " s yet (%s): so calls taught; `inferq endpoint resume`",
                       class);
        note(rows, row, "is closed for ", pg_get_int(rows, row, CLOSED_S), text);
    } else if (pg_get_bool(rows, row, PROBING) && !pg_null(rows, row, PROBE_WORKER)) {
        note(rows, row, "is probed by worker ", pg_get_int(rows, row, PROBE_WORKER), "");
    }
    if (multiplier < ONE_PERMILLE)
        note(rows, row, "throttles: its limits a minute are at ", multiplier,
             " permille of what was said");
    if (!pg_null(rows, row, CONCURRENCY))
        note(rows, row, "bears ", pg_get_int(rows, row, CONCURRENCY),
             " calls of one worker at once");
}

static void say_limits(const struct held_list *held)
{
    for (int i = 0; i < held->count; i++) {
        struct buf line;
        buf_init(&line, HELD_BYTES_MAX);
        held_line(&held->all[i], &line);
        out_note("%.*s", (int)line.n, buf_span(&line).p);
        buf_done(&line);
    }
    if (held->more)
        out_note("and other limits hold jobs: inferq limit show");
}

enum rc endpoint_show(struct ctx *ctx, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct held_list held;
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
    if (rc == RC_OK)
        rc = held_ask(ctx, name, &held, err);
    for (int row = 0; rc == RC_OK && row < pg_row_count(rows); row++)
        add_row(t, rows, row, &held);
    if (rc == RC_OK)
        rc = ctx_print_table(ctx, t, err);
    for (int row = 0; rc == RC_OK && row < pg_row_count(rows); row++) {
        say_pause(rows, row);
        say_learned(rows, row);
    }
    if (rc == RC_OK)
        say_limits(&held);
    pg_rows_free(rows);
    pg_params_free(p);
    table_free(t);
    return rc;
}
