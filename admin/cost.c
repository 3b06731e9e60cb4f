/*
 * cost.c - `inferq cost`: what model calls cost, told apart by app, task, team, model version, day.
 *
 * One statement over the ledger. Amounts are integers of nano-USD to the end. A call whose cost is
 * not known is counted apart and adds nothing; a group of which no cost is known at all has none,
 * which is not zero. A call is wasted when its job ended and another call, or none, gave the
 * result. Calls that have not ended are counted as open.
 */
#include "admin/cost.h"

#include <inttypes.h>

#include "admin/batch_ref.h"
#include "admin/cmd.h"
#include "admin/dead_filter.h"
#include "admin/out.h"
#include "common/clock.h"

enum { SQL_BYTES_MAX = 1 << 14, DAY_MS = 24 * 3600 * 1000, DAYS_DEFAULT = 30 };

struct cost {
    struct cost_by by;
    int64_t since_ms, until_ms; /* 0: open */
    bool by_batch;
    struct batch batch; /* by_batch; owned */
};

/* Behind the dimensions. */
enum { TOTAL, CALLS, INPUT, OUTPUT, COST, ESTIMATED, UNPRICED, WASTED, WASTED_COST, OPEN, FACTS };

static const struct table_col fact_cols[] = {
    {"calls", "CALLS", 0},
    {"input_tokens", "TOKENS IN", 0},
    {"output_tokens", "OUT", 0},
    {"cost_usd", "USD", 0},
    {"cost_nusd", NULL, 0},
    {"estimated_usd", "ESTIMATED", 0},
    {"estimated_nusd", NULL, 0},
    {"unpriced_calls", "UNPRICED CALLS", 0},
    {"wasted_calls", "WASTED CALLS", 0},
    {"wasted_usd", "WASTED USD", 0},
    {"wasted_nusd", NULL, 0},
    {"open_calls", "OPEN", 0},
};
enum { FACT_COLS = sizeof fact_cols / sizeof *fact_cols };

/* ---- the statement ------------------------------------------------------------------------ */

#define IS_WASTED "(r.job_id IS NOT NULL AND r.call_number IS DISTINCT FROM c.number)"

static void build_facts(struct buf *sql)
{
    buf_add_text(sql, "count(*), coalesce(sum(c.input_tokens), 0)::int8, "
                      "coalesce(sum(c.output_tokens), 0)::int8, "
                      "sum(c.cost_nusd)::int8, "
                      "coalesce(sum(c.cost_nusd) FILTER (WHERE c.certainty = 2), 0)::int8, "
                      "count(*) FILTER (WHERE c.done_at IS NOT NULL AND c.cost_nusd IS NULL), "
                      "count(*) FILTER (WHERE " IS_WASTED "), "
                      "CASE WHEN count(*) FILTER (WHERE " IS_WASTED ") = 0 THEN 0 "
                      "ELSE sum(c.cost_nusd) FILTER (WHERE " IS_WASTED ") END::int8, "
                      "count(*) FILTER (WHERE c.done_at IS NULL)");
}

/* Texts of our own tables only; every value is bound. */
static void build_sql(const struct cost *q, struct buf *sql)
{
    buf_add_text(sql, "SELECT ");
    for (int i = 0; i < q->by.count; i++)
        buf_addf(sql, "%s, ", q->by.dims[i]->sql);
    buf_addf(sql, "grouping(%s) <> 0, ", q->by.dims[0]->sql);
    build_facts(sql);
    buf_add_text(sql, " FROM call c LEFT JOIN batch b ON b.batch_id = c.batch_id"
                      " LEFT JOIN result r ON r.job_id = c.job_id");
    if (q->by_batch)
        buf_add_text(sql, " AND r.job_id >= $4 AND r.job_id < $5");
    buf_add_text(sql, " LEFT JOIN model_version v ON v.model_version_id = c.model_version_id"
                      " LEFT JOIN endpoint e ON e.endpoint_id = c.endpoint_id"
                      " WHERE ($1::timestamptz IS NULL OR c.claimed_at >= $1)"
                      " AND ($2::timestamptz IS NULL OR c.claimed_at < $2)");
    if (q->by_batch)
        buf_add_text(sql, " AND c.batch_id = $3 AND c.job_id >= $4 AND c.job_id < $5");
    buf_add_text(sql, " GROUP BY GROUPING SETS ((");
    for (int i = 0; i < q->by.count; i++)
        buf_addf(sql, "%s%s", i ? ", " : "", q->by.dims[i]->sql);
    buf_addf(sql, "), ()) ORDER BY %d", q->by.count + TOTAL + 1);
    bool days = false;
    for (int i = 0; i < q->by.count; i++)
        days |= span_is(span_of(q->by.dims[i]->name), "day");
    if (!days) /* what costs most comes first; days follow each other */
        buf_addf(sql, ", %d DESC NULLS LAST", q->by.count + COST + 1);
    for (int i = 0; i < q->by.count; i++)
        buf_addf(sql, ", %d", i + 1);
    buf_add_byte(sql, '\0');
}

static enum rc select_rows(struct ctx *ctx, const struct cost *q, struct pg_rows **ret_rows,
                           struct err *err)
{
    struct buf sql;
    struct pg_params *p = pg_params_new();
    buf_init(&sql, SQL_BYTES_MAX);
    build_sql(q, &sql);
    enum rc rc = cmd_have(sql.failed ? NULL : p, err);
    if (rc == RC_OK) {
        pg_add_time_ms(p, q->since_ms);
        pg_add_time_ms(p, q->until_ms);
        if (q->by_batch)
            batch_params(p, &q->batch);
        rc = ctx_exec(ctx, sql.p, p, ret_rows, err);
    }
    buf_done(&sql);
    pg_params_free(p);
    return rc;
}

/* ---- printing ----------------------------------------------------------------------------- */

static void money(struct table *t, const struct pg_rows *rows, int row, int col)
{
    if (pg_null(rows, row, col)) {
        table_null(t);
        table_null(t);
        return;
    }
    table_usd(t, pg_get_int(rows, row, col));
    table_int(t, pg_get_int(rows, row, col));
}

static void add_row(struct table *t, const struct cost *q, const struct pg_rows *rows, int row)
{
    int at = q->by.count;
    bool total = pg_get_bool(rows, row, at + TOTAL);
    for (int i = 0; i < at; i++)
        table_text(t, total && i == 0 ? SPAN_LIT("total") : pg_get_span(rows, row, i));
    for (int col = CALLS; col <= OUTPUT; col++)
        table_int(t, pg_get_int(rows, row, at + col));
    money(t, rows, row, at + COST);
    money(t, rows, row, at + ESTIMATED);
    table_int(t, pg_get_int(rows, row, at + UNPRICED));
    table_int(t, pg_get_int(rows, row, at + WASTED));
    money(t, rows, row, at + WASTED_COST);
    table_int(t, pg_get_int(rows, row, at + OPEN));
}

static enum rc print(struct ctx *ctx, const struct table *t, struct err *err)
{
    if (!opts_set(&ctx->opts, "csv"))
        return ctx_print_table(ctx, t, err);
    struct buf out;
    buf_init(&out, TABLE_BYTES_MAX);
    enum rc rc = table_csv(t, &out, err);
    if (rc == RC_OK)
        rc = out_write(buf_span(&out), err);
    buf_done(&out);
    return rc;
}

/* The total is for people only: a program that adds up would have everything twice. */
static enum rc show(struct ctx *ctx, const struct cost *q, const struct pg_rows *rows,
                    struct err *err)
{
    struct table_col cols[COST_DIMS_MAX + FACT_COLS + 1] = {0};
    bool people = !opts_set(&ctx->opts, "csv") && !opts_set(&ctx->opts, "json");
    int at = q->by.count, last = pg_row_count(rows) - 1;
    for (int i = 0; i < at; i++)
        cols[i] = (struct table_col){q->by.dims[i]->key, q->by.dims[i]->title, 48};
    for (int i = 0; i < FACT_COLS; i++)
        cols[at + i] = fact_cols[i];
    struct table *t = table_new(cols);
    enum rc rc = cmd_have(t, err);
    for (int row = 0; rc == RC_OK && row <= last; row++)
        if (row < last || (people && last > 1))
            add_row(t, q, rows, row);
    if (rc == RC_OK)
        rc = print(ctx, t, err);
    table_free(t);
    return rc;
}

/* What the figures do not hold. */
static void say(const struct cost *q, const struct pg_rows *rows)
{
    char since[CLOCK_RFC3339_BYTES] = "the beginning", until[CLOCK_RFC3339_BYTES] = "now";
    int last = pg_row_count(rows) - 1, at = q->by.count;
    if (q->since_ms)
        clock_rfc3339(q->since_ms, since, sizeof since);
    if (q->until_ms)
        clock_rfc3339(q->until_ms, until, sizeof until);
    out_note("calls begun from %s to %s", since, until);
    int64_t unpriced = last >= 0 ? pg_get_int(rows, last, at + UNPRICED) : 0;
    if (unpriced)
        out_note("the cost of %" PRId64 " calls is not known, and in no sum (no price in force, or "
                 "no usage reported)",
                 unpriced);
}

/* ---- the command -------------------------------------------------------------------------- */

static enum rc read_time(const struct opts *o, const char *name, int64_t *ret, struct err *err)
{
    const char *text = opts_text(o, name, NULL);
    if (text && (*ret = dead_since_parse(text, clock_wall_ms())) < 0)
        return err_set(err, RC_REJECT, "--%s: '%.80s' is neither a time nor 24h, 7d, ...", name,
                       text);
    return RC_OK;
}

static enum rc read_query(struct ctx *ctx, struct cost *q, struct err *err)
{
    const struct opts *o = &ctx->opts;
    const char *names = opts_each(o, "by", 0);
    enum rc rc = cost_by_add(&q->by, names ? names : "app", err);
    for (int i = 1; rc == RC_OK && (names = opts_each(o, "by", i)); i++)
        rc = cost_by_add(&q->by, names, err);
    if (rc == RC_OK && opts_set(o, "csv") && opts_set(o, "json"))
        rc = err_set(err, RC_REJECT, "--csv or --json, not both");
    if (rc == RC_OK)
        rc = read_time(o, "since", &q->since_ms, err);
    if (rc == RC_OK)
        rc = read_time(o, "until", &q->until_ms, err);
    if (rc != RC_OK)
        return rc;
    q->by_batch = opts_set(o, "batch");
    if (q->by_batch)
        return batch_find(ctx, opts_text(o, "batch", ""), &q->batch, NULL, err);
    if (!q->since_ms)
        q->since_ms = clock_wall_ms() - (int64_t)DAYS_DEFAULT * DAY_MS;
    return RC_OK;
}

enum rc cost(struct ctx *ctx, struct err *err)
{
    struct cost q = {0};
    struct pg_rows *rows = NULL;
    enum rc rc = read_query(ctx, &q, err);
    if (rc == RC_OK && q.until_ms && q.until_ms <= q.since_ms)
        rc = err_set(err, RC_REJECT, "--until is not after --since");
    if (rc == RC_OK)
        rc = select_rows(ctx, &q, &rows, err);
    if (rc == RC_OK)
        rc = show(ctx, &q, rows, err);
    if (rc == RC_OK)
        say(&q, rows);
    pg_rows_free(rows);
    batch_done(&q.batch);
    return rc;
}
