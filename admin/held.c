/*
 * held.c - see held.h. Everything is read from what workers tell each other anyway, and counted no
 * further than people care to know.
 */
#include "admin/held.h"

#include <inttypes.h>

#include "admin/fmt.h"
#include "admin/table.h"

/* $1 an endpoint's name or NULL, $2 how far parked rows are counted, $3 the most rows. That another
 * of the largest calls would not fit is as good as that all is used. */
static const char held_sql[] =
    "WITH n AS (SELECT l.*, r.dimension AS code, CASE r.scope WHEN 1 THEN l.key WHEN 2 THEN "
    "  (SELECT e.name || '@' || e.version FROM model_version v JOIN endpoint e "
    "   USING (endpoint_id) WHERE v.label = l.key) ELSE '' END AS at, "
    " (SELECT count(*) FROM (SELECT FROM parked p WHERE p.wait_key = -l.limit_id "
    "   AND p.taken_by IS NULL LIMIT $2) w) AS parked, "
    " (SELECT coalesce(max(s.need), 0) FROM limit_share s WHERE s.limit_id = l.limit_id) AS need "
    " FROM limit_now l JOIN limit_rule r USING (limit_id)) "
    "SELECT n.scope || ':' || n.key, n.at, n.code, n.amount, coalesce(n.used_today, n.in_use), "
    "n.wanted, n.parked, CASE WHEN n.code = 5 THEN (SELECT coalesce(sum(p.pending), 0)::int8 "
    " FROM (SELECT b.batch_id FROM batch b WHERE n.scope <> 'app' OR b.app = n.key "
    "  ORDER BY b.batch_id DESC LIMIT 200) b JOIN batch_progress p USING (batch_id)) END, "
    "(86400000 - (extract(epoch FROM now()) * 1000)::int8 % 86400000)::int8 "
    "FROM n WHERE ($1::text IS NULL OR n.at = '' OR split_part(n.at, '@', 1) = $1) "
    "AND CASE n.code WHEN 5 THEN n.used_today >= n.amount "
    " ELSE n.wanted + n.parked > n.usable AND (n.in_use * 10 >= n.usable * 9 OR n.in_use + n.need "
    "> n.usable "
    "  OR n.parked > 0) END "
    "ORDER BY n.code <> 5, n.scope, n.key, n.code LIMIT $3";

enum { LIMIT, AT, DIMENSION, AMOUNT, USED, WANTED, PARKED, PENDING, LEFT_MS };

static int64_t number(const struct pg_rows *rows, int row, int col)
{
    return pg_null(rows, row, col) ? 0 : pg_get_int(rows, row, col);
}

static void take(const struct pg_rows *rows, struct held_list *ret)
{
    int count = pg_row_count(rows);
    *ret =
        (struct held_list){.count = count < HELD_MAX ? count : HELD_MAX, .more = count > HELD_MAX};
    for (int i = 0; i < ret->count; i++) {
        struct held *h = &ret->all[i];
        span_copy(pg_get_span(rows, i, LIMIT), h->limit, sizeof h->limit);
        span_copy(pg_get_span(rows, i, AT), h->endpoint, sizeof h->endpoint);
        h->dimension = (enum limit_dimension)pg_get_int(rows, i, DIMENSION);
        h->amount = number(rows, i, AMOUNT);
        h->used = number(rows, i, USED);
        h->wanted = number(rows, i, WANTED);
        h->parked = number(rows, i, PARKED);
        h->pending = number(rows, i, PENDING);
        h->left_ms = number(rows, i, LEFT_MS);
    }
}

enum rc held_ask(struct ctx *ctx, const char *endpoint, struct held_list *ret, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc == RC_OK) {
        pg_add_text(p, span_of(endpoint));
        pg_add_int(p, PG_INT8, HELD_COUNT_MAX);
        pg_add_int(p, PG_INT8, HELD_MAX + 1);
        rc = ctx_exec(ctx, held_sql, p, &rows, err);
    }
    if (rc == RC_OK)
        take(rows, ret);
    pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}

/* ---- a line ---------------------------------------------------------------------------------- */

/* So many jobs may wait for it, or so many are known to. */
static void add_waiting(const struct held *h, struct buf *out)
{
    const char *more = h->parked >= HELD_COUNT_MAX ? "+" : "";
    if (h->pending > 0)
        buf_addf(out, ", up to %" PRId64 " job%s", h->pending,
                 h->pending == 1 ? " waits" : "s wait");
    if (h->pending > 0 && h->parked > 0)
        buf_addf(out, ", %" PRId64 "%s of them parked", h->parked, more);
    else if (h->parked > 0)
        buf_addf(out, ", %" PRId64 "%s job%s parked for it", h->parked, more,
                 h->parked == 1 ? "" : "s");
}

void held_line(const struct held *h, struct buf *out)
{
    char left[FMT_BYTES];
    int64_t minutes = (h->left_ms + 59999) / 60000;
    (void)table_clean(span_of(h->limit), 0, out);
    buf_addf(out, " %s %" PRId64 ": ", limit_dimension_name(h->dimension), h->amount);
    if (h->dimension == LIMIT_TOKENS_PER_DAY)
        buf_addf(out, "all taken, more at 00:00 UTC (%s)", fmt_duration(minutes * 60000000, left));
    else if (h->dimension == LIMIT_IN_FLIGHT)
        buf_addf(out, "%" PRId64 " in flight of %" PRId64 " wanted, the next as one ends", h->used,
                 h->wanted);
    else
        buf_addf(out, "%" PRId64 " in the last minute of %" PRId64 " wanted, more within seconds",
                 h->used, h->wanted);
    add_waiting(h, out);
    buf_add_text(out, "; inferq limit show");
}
