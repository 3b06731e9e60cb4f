/*
 * limit_show.c - `inferq limit show`: the limits in force, who said them, what is left of them to
 * use, how much of that workers hold and want, and what was used.
 */
#include <inttypes.h>

#include "admin/cmd.h"
#include "admin/fleet.h"
#include "admin/limit_ref.h"
#include "admin/out.h"

static const struct table_col cols[] = {{"limit", "LIMIT", 60},
                                        {"dimension", "DIMENSION", 0},
                                        {"amount", "AMOUNT", 0},
                                        {"source", "FROM", 0},
                                        {"usable", "USABLE", 0},
                                        {"held", "HELD", 0},
                                        {"workers", "WORKERS", 0},
                                        {"wanted", "WANTED", 0},
                                        {"used", "USED", 0},
                                        {"waiting", "WAITING", 0},
                                        {"scope", NULL, 0},
                                        {"key", NULL, 0},
                                        {"multiplier_permille", NULL, 0},
                                        {"of_catalogue", NULL, 0},
                                        {"of_operator", NULL, 0},
                                        {"changed_at", NULL, 0},
                                        {"changed_by", NULL, 0},
                                        {"limit_id", NULL, 0},
                                        {0}};

/* What the key of limit `n` is of calls at endpoint e, of version v, of this app. */
#define LIMIT_KEY(app)                                                                        \
    "CASE n.scope WHEN 'endpoint' THEN e.name || '@' || e.version WHEN 'model' THEN v.label " \
    "ELSE " app " END"

/* $1 scope or NULL, $2 key or its name without a version or NULL. `used` is of the last minute, of
 * calls in flight now, of a day's budget today; tokens count when their call has ended. Of a day
 * what workers have taken and calls have not used is held by them; today's calls are read only
 * where a day's budget is shown. */
static const char show_sql[] =
    "WITH n AS (SELECT n.*, r.scope AS scope_code, r.dimension AS code FROM limit_now n "
    " JOIN limit_rule r USING (limit_id) WHERE ($1::text IS NULL OR n.scope = $1) "
    " AND ($2::text IS NULL OR n.key = $2 "
    "  OR (n.scope <> 'app' AND split_part(n.key, '@', 1) = $2))), "
    "t AS (SELECT c.endpoint_id, c.model_version_id, b.app, "
    " sum(coalesce(c.input_tokens, 0)::int8 + coalesce(c.output_tokens, 0)) AS tokens "
    " FROM call c LEFT JOIN batch b USING (batch_id) "
    " WHERE c.claimed_at >= date_trunc('day', now(), 'UTC') "
    " AND EXISTS (SELECT FROM n WHERE n.used_today > 0) GROUP BY 1, 2, 3), "
    "d AS (SELECT n.limit_id, least(n.used_today, coalesce(sum(t.tokens), 0))::int8 AS used "
    " FROM n LEFT JOIN (t LEFT JOIN endpoint e USING (endpoint_id) "
    "  LEFT JOIN model_version v USING (model_version_id)) ON n.key = " LIMIT_KEY(
        "t.app") " "
                 " WHERE n.used_today IS NOT NULL GROUP BY n.limit_id, n.used_today), "
                 "k AS (SELECT c.endpoint_id, c.model_version_id, b.app, "
                 " count(*) FILTER (WHERE c.done_at IS NULL) AS open, "
                 " count(*) FILTER (WHERE c.claimed_at > now() - interval '1 minute') AS calls, "
                 " coalesce(sum(c.input_tokens) FILTER (WHERE c.done_at > now() - interval '1 "
                 "minute'), 0) "
                 "  AS input, "
                 " coalesce(sum(c.output_tokens) FILTER (WHERE c.done_at > now() - interval '1 "
                 "minute'), 0) "
                 "  AS output FROM call c LEFT JOIN batch b USING (batch_id) "
                 " WHERE c.claimed_at > " CALLS_LIVE_SINCE " GROUP BY 1, 2, 3), "
                 "u AS (SELECT n.limit_id, CASE n.dimension WHEN 'requests_per_minute' THEN "
                 "sum(k.calls) "
                 "  WHEN 'input_tokens_per_minute' THEN sum(k.input) "
                 "  WHEN 'output_tokens_per_minute' THEN sum(k.output) "
                 "  WHEN 'tokens_per_minute' THEN sum(k.input + k.output) "
                 "  WHEN 'in_flight' THEN sum(k.open) END AS used "
                 " FROM n JOIN (k LEFT JOIN endpoint e USING (endpoint_id) "
                 "  LEFT JOIN model_version v USING (model_version_id)) ON n.key = " LIMIT_KEY(
                     "k.app") " "
                              " GROUP BY n.limit_id, n.dimension), "
                              "w AS (SELECT -p.wait_key AS limit_id, count(*) AS n FROM parked p "
                              " WHERE p.wait_key < 0 GROUP BY 1) "
                              "SELECT n.scope || ':' || n.key, n.dimension, n.amount, n.source, "
                              "n.usable, "
                              "coalesce(n.used_today - d.used, n.held), "
                              "CASE WHEN d.limit_id IS NULL THEN n.workers END, "
                              "CASE WHEN d.limit_id IS NULL THEN n.wanted END, coalesce(d.used, "
                              "u.used::int8, 0), "
                              "coalesce(w.n, 0), n.scope, n.key, n.multiplier, "
                              "n.of_catalogue, n.of_operator, n.changed_at, n.changed_by, "
                              "n.limit_id "
                              "FROM n LEFT JOIN u USING (limit_id) LEFT JOIN w USING (limit_id) "
                              " LEFT JOIN d USING (limit_id) ORDER BY n.scope_code, n.key, n.code";

enum { LIMIT, DIMENSION, AMOUNT, SOURCE, USABLE, HELD, USED = 8, WAITING, SCOPE, KEY, MULTIPLIER };
enum { OF_CATALOGUE = MULTIPLIER + 1, OF_OPERATOR, CHANGED_AT, CHANGED_BY, LIMIT_ID };

static void add_int(struct table *t, const struct pg_rows *rows, int row, int col)
{
    if (pg_null(rows, row, col))
        table_null(t);
    else
        table_int(t, pg_get_int(rows, row, col));
}

static void add_row(struct table *t, const struct pg_rows *rows, int row)
{
    table_text(t, pg_get_span(rows, row, LIMIT));
    table_text(t, pg_get_span(rows, row, DIMENSION));
    add_int(t, rows, row, AMOUNT);
    table_text(t, pg_get_span(rows, row, SOURCE));
    for (int col = USABLE; col <= WAITING; col++)
        add_int(t, rows, row, col);
    table_text(t, pg_get_span(rows, row, SCOPE));
    table_text(t, pg_get_span(rows, row, KEY));
    for (int col = MULTIPLIER; col <= OF_OPERATOR; col++)
        add_int(t, rows, row, col);
    table_time(t, pg_get_time_ms(rows, row, CHANGED_AT));
    table_text(t, pg_get_span(rows, row, CHANGED_BY));
    add_int(t, rows, row, LIMIT_ID);
}

/* What the numbers alone do not say. */
static void say_more(struct ctx *ctx, const struct pg_rows *rows)
{
    if (pg_row_count(rows) == 0)
        out_note("no limit is in force%s%s", ctx->opts.arg_count ? " for " : "",
                 ctx->opts.arg_count ? ctx->opts.args[0] : "");
    for (int row = 0; row < pg_row_count(rows); row++) {
        struct span limit = pg_get_span(rows, row, LIMIT), of = pg_get_span(rows, row, DIMENSION);
        int permille = (int)pg_get_int(rows, row, MULTIPLIER);
        if (permille < 1000)
            out_note("%.*s %.*s: throttling has lowered it to %d.%d %%", (int)limit.n, limit.p,
                     (int)of.n, of.p, permille / 10, permille % 10);
        int64_t held = pg_get_int(rows, row, HELD);
        if (limit_dimension_parse(of) != LIMIT_TOKENS_PER_DAY ||
            pg_get_int(rows, row, USED) + held < pg_get_int(rows, row, USABLE))
            continue;
        if (held > 0)
            out_note("%.*s %.*s: all of it is taken; %" PRId64
                     " of it is left to workers, for calls "
                     "that are small enough; more at midnight UTC, or when more is set",
                     (int)limit.n, limit.p, (int)of.n, of.p, held);
        else
            out_note("%.*s %.*s: used up; no more calls before midnight UTC, or until more is set",
                     (int)limit.n, limit.p, (int)of.n, of.p);
    }
}

static enum rc add_filter(struct ctx *ctx, struct pg_params *p, struct limit_ref *ret,
                          struct err *err)
{
    enum rc rc = RC_OK;
    if (ctx->opts.arg_count)
        rc = limit_ref_parse(ctx->opts.args[0], false, ret, err);
    pg_add_text(p, span_of(ret->scope ? limit_scope_name((int)ret->scope) : NULL));
    pg_add_text(p, span_of(ret->key[0] ? ret->key : NULL));
    return rc;
}

enum rc limit_show(struct ctx *ctx, struct err *err)
{
    struct limit_ref ref = {0};
    struct pg_rows *rows = NULL;
    struct table *t = table_new(cols);
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(t && p ? t : NULL, err);
    if (rc == RC_OK)
        rc = add_filter(ctx, p, &ref, err);
    if (rc == RC_OK)
        rc = ctx_exec(ctx, show_sql, p, &rows, err);
    if (rc == RC_OK && ref.key[0] && pg_row_count(rows) == 0) /* none in force, or no such name? */
        rc = limit_ref_known(ctx, &ref, err);
    for (int row = 0; rc == RC_OK && row < pg_row_count(rows); row++)
        add_row(t, rows, row);
    if (rc == RC_OK)
        rc = ctx_print_table(ctx, t, err);
    if (rc == RC_OK)
        say_more(ctx, rows);
    pg_rows_free(rows);
    pg_params_free(p);
    table_free(t);
    return rc;
}
