/*
 * fake_pg_limit.c - the fake Postgres's statements about shared limits; see fake_pg_job.c for how
 * statements are written here.
 *
 * A row of limits that one statement would write twice: an INSERT ... ON CONFLICT DO UPDATE fails,
 * an UPDATE ... FROM keeps the first and still checks the others. `statement` of a row tells.
 */
#include "tests/sim/fake_pg.h"

#include <stdlib.h>
#include <string.h>

#include "common/limits.h"
#include "tests/sim/fake_pg_impl.h"

enum { HEADROOM_PERMILLE = 20, MULTIPLIER_ONE = 1000 };
#define DAY_US INT64_C(86400000000)

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static enum rc violates_check(struct fake_txn *t, enum fake_table table)
{
    return fake_fail(t, "23514", "new row for relation \"%s\" violates check constraint",
                     fake_pg_table_name(table));
}

static enum rc twice(struct fake_txn *t)
{
    return fake_fail(t, "21000", "ON CONFLICT DO UPDATE command cannot affect row a second time");
}

/* ---- what others write -------------------------------------------------------------------- */

static const struct fake_limit_row *find_limit(const struct fake_pg *db, int64_t limit_id)
{
    for (int i = 0; i < fake_pg_count(db, FAKE_LIMIT); i++)
        if (fake_pg_limit_at(db, i)->limit_id == limit_id)
            return fake_pg_limit_at(db, i);
    return NULL;
}

int64_t fake_pg_limit(struct fake_pg *db, int scope, struct span key, int dimension,
                      int64_t of_catalogue, int64_t of_operator, int64_t now_us)
{
    struct fake_limit_row *row = NULL;
    fake_begin(db);
    for (int i = 0; i < fake_pg_count(db, FAKE_LIMIT) && !row; i++) {
        const struct fake_limit_row *r = fake_pg_limit_at(db, i);
        if (r->scope == scope && r->dimension == dimension && span_eq(r->key, key))
            row = fake_change(db, FAKE_LIMIT, r);
    }
    if (!row) {
        struct fake_limit_row fresh = {.limit_id = ++db->last_limit_id,
                                       .scope = scope,
                                       .key = key,
                                       .dimension = dimension,
                                       .changed_by = SPAN_LIT("t")};
        row = fake_insert(db, FAKE_LIMIT, &fresh);
    }
    row->of_catalogue = of_catalogue;
    row->of_operator = of_operator;
    row->changed_at = now_us;
    return row->limit_id;
}

void fake_pg_learned(struct fake_pg *db, struct span endpoint, int multiplier, int64_t now_us)
{
    struct fake_learned_row *row = NULL;
    fake_begin(db);
    for (int i = 0; i < fake_pg_count(db, FAKE_LEARNED) && !row; i++)
        if (span_eq(fake_pg_learned_at(db, i)->endpoint, endpoint))
            row = fake_change(db, FAKE_LEARNED, fake_pg_learned_at(db, i));
    if (!row) {
        struct fake_learned_row *fresh = fake_blank(db, FAKE_LEARNED);
        fresh->endpoint = endpoint;
        fresh->faults = fresh->probing = 0;
        fresh->ceiling = MULTIPLIER_ONE;
        row = fake_insert(db, FAKE_LEARNED, fresh);
    }
    row->multiplier = multiplier;
    row->changed_at = now_us;
}

/* ---- limits ------------------------------------------------------------------------------- */

FAKE_RUN(durable)
{
    static const struct fake_field field = {"set_config", PG_TEXT};
    (void)t, (void)s;
    *ret = fake_rows_new(&field, 1);
    fake_rows_span(*ret, 0, 0, SPAN_LIT("on"));
    return RC_OK;
}

/* FAKE_NULL: it is none. */
static int64_t amount_of(const struct fake_limit_row *r)
{
    return r->of_operator != FAKE_NULL ? r->of_operator : r->of_catalogue;
}

static int64_t multiplier_of(const struct fake_pg *db, const struct fake_limit_row *r)
{
    for (int i = 0; i < fake_pg_count(db, FAKE_LEARNED) && r->scope == LIMIT_ENDPOINT; i++)
        if (span_eq(fake_pg_learned_at(db, i)->endpoint, r->key))
            return fake_pg_learned_at(db, i)->multiplier;
    return MULTIPLIER_ONE;
}

/* Rows of limits are never deleted: they lie in the order of their ids. */
FAKE_RUN(limits)
{
    static const struct fake_field fields[] = {{"limit_id", PG_INT4}, {"scope", PG_INT2},
                                               {"key", PG_TEXT},      {"dimension", PG_INT2},
                                               {"amount", PG_INT8},   {"multiplier", PG_INT2},
                                               {"headroom", PG_INT8}};
    int row = 0;
    (void)s;
    *ret = fake_rows_new(fields, 7);
    for (int i = 0; i < fake_pg_count(t->db, FAKE_LIMIT); i++) {
        const struct fake_limit_row *r = fake_pg_limit_at(t->db, i);
        if (amount_of(r) == FAKE_NULL)
            continue;
        fake_rows_int(*ret, row, 0, r->limit_id);
        fake_rows_int(*ret, row, 1, r->scope);
        fake_rows_span(*ret, row, 2, r->key);
        fake_rows_int(*ret, row, 3, r->dimension);
        fake_rows_int(*ret, row, 4, amount_of(r));
        fake_rows_int(*ret, row, 5, multiplier_of(t->db, r));
        fake_rows_int(*ret, row++, 6, HEADROOM_PERMILLE);
    }
    return RC_OK;
}

/* ---- exchange ----------------------------------------------------------------------------- */

static bool unfenced(const struct fake_txn *t, int64_t worker_id)
{
    const struct fake_worker_row *w = fake_pg_worker(t->db, worker_id);
    return w && !w->fenced;
}

/* Rows of an unnest whose limit is known, in the order of their limits, equal ones as they came. */
struct picked {
    const struct fake_limit_row *limit;
    int u;
};

static int cmp_picked(const void *a, const void *b)
{
    const struct picked *x = a, *y = b;
    if (x->limit != y->limit)
        return x->limit->limit_id < y->limit->limit_id ? -1 : 1;
    return x->u - y->u;
}

/* by_day: of days' budgets alone. */
static struct picked *pick(struct fake_txn *t, const struct fake_stmt *s, int param, int last,
                           bool by_day, int *ret_n)
{
    int rows = fake_unnest(s, param, last), n = 0;
    struct picked *all = fake_take(&t->db->scratch, ((size_t)rows + 1) * sizeof *all);
    for (int u = 0; u < rows; u++) {
        const struct fake_limit_row *limit = find_limit(t->db, fake_arg_int(s, param, u));
        if (limit && (!by_day ||
                      (limit->dimension == LIMIT_TOKENS_PER_DAY && amount_of(limit) != FAKE_NULL)))
            all[n++] = (struct picked){limit, u};
    }
    qsort(all, (size_t)n, sizeof *all, cmp_picked);
    *ret_n = n;
    return all;
}

static enum rc check_share(struct fake_txn *t, const struct fake_share_row *row)
{
    const int64_t counts[] = {row->want, row->need, row->in_use, row->share, row->seen};
    enum rc rc = fake_check_row(t, FAKE_SHARE, row);
    for (size_t i = 0; rc == RC_OK && i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i] < 0)
            rc = violates_check(t, FAKE_SHARE);
    return rc;
}

/* The row as the statement would insert it. */
static struct fake_share_row proposed(const struct fake_stmt *s, int64_t limit_id, int u)
{
    return (struct fake_share_row){
        .limit_id = limit_id,
        .worker_id = fake_arg_int(s, 1, 0),
        .asks = fake_arg_int(s, 2, 0),
        .wants = fake_arg_span(s, 4, u),
        .want = fake_arg_int(s, 5, u),
        .need = fake_arg_int(s, 6, u),
        .in_use = fake_arg_int(s, 7, u),
        .seen = fake_arg_int(s, 8, u),
        .at = fake_key(limit_id, fake_arg_int(s, 1, 0)),
    };
}

/* ON CONFLICT DO UPDATE */
static struct fake_share_row *heard(struct fake_pg *db, const struct fake_share_row *there,
                                    const struct fake_share_row *says)
{
    struct fake_share_row *row = fake_change(db, FAKE_SHARE, there);
    row->asks = says->asks;
    row->wants = fake_keep(db, says->wants);
    row->want = says->want;
    row->need = says->need;
    row->in_use = says->in_use;
    row->seen = most(row->share, least(row->seen, says->seen));
    return row;
}

FAKE_RUN(exchange)
{
    static const struct fake_field fields[] = {{"limit_id", PG_INT4}, {"share", PG_INT8}};
    int n = 0, row = 0;
    struct picked *all = pick(t, s, 3, 8, false, &n);
    *ret = fake_rows_new(fields, 2);
    for (int i = 0; i < n && unfenced(t, fake_arg_int(s, 1, 0)); i++) {
        struct fake_share_row says = proposed(s, all[i].limit->limit_id, all[i].u), *is = NULL;
        const struct fake_share_row *there = fake_pg_share(t->db, says.limit_id, says.worker_id);
        enum rc rc = check_share(t, &says);
        if (rc == RC_OK && there && there->statement == t->db->statements)
            rc = twice(t);
        if (rc != RC_OK)
            return rc;
        if (there && there->asks >= says.asks)
            continue;
        is = there ? heard(t->db, there, &says) : fake_insert(t->db, FAKE_SHARE, &says);
        is->statement = t->db->statements;
        fake_rows_int(*ret, row, 0, is->limit_id);
        fake_rows_int(*ret, row++, 1, is->share);
    }
    return RC_OK;
}

FAKE_RUN(leave)
{
    int64_t worker_id = fake_arg_int(s, 1, 0);
    (void)ret;
    for (int i = fake_pg_count(t->db, FAKE_SHARE);
         i-- > 0;) { /* the last takes a deleted one's place */
        const struct fake_share_row *row = fake_pg_share_at(t->db, i);
        bool stays = row->worker_id != worker_id;
        for (int u = 0; u < fake_unnest(s, 2, 2); u++)
            stays = stays || fake_arg_int(s, 2, u) == row->limit_id;
        if (!stays)
            fake_delete(t->db, FAKE_SHARE, row);
    }
    return RC_OK;
}

/* ---- the keeper --------------------------------------------------------------------------- */

static int cmp_shares(const void *a, const void *b)
{
    const struct fake_share_row *x = *(const struct fake_share_row *const *)a;
    const struct fake_share_row *y = *(const struct fake_share_row *const *)b;
    if (x->limit_id != y->limit_id)
        return x->limit_id < y->limit_id ? -1 : 1;
    return (x->worker_id > y->worker_id) - (x->worker_id < y->worker_id);
}

FAKE_RUN(shares)
{
    static const struct fake_field fields[] = {
        {"limit_id", PG_INT4}, {"worker_id", PG_INT8}, {"asks", PG_INT8},
        {"wants", PG_BYTEA},   {"want", PG_INT8},      {"need", PG_INT8},
        {"in_use", PG_INT8},   {"share", PG_INT8},     {"seen", PG_INT8}};
    enum { COLUMNS = sizeof fields / sizeof fields[0], WANTS = 3 };
    int n = fake_pg_count(t->db, FAKE_SHARE);
    const struct fake_share_row **all =
        fake_take(&t->db->scratch, ((size_t)n + 1) * sizeof(struct fake_share_row *));
    (void)s;
    for (int i = 0; i < n; i++)
        all[i] = fake_pg_share_at(t->db, i);
    qsort(all, (size_t)n, sizeof *all, cmp_shares);
    *ret = fake_rows_new(fields, COLUMNS);
    for (int i = 0; i < n; i++) {
        const struct fake_share_row *r = all[i];
        const int64_t values[COLUMNS] = {r->limit_id, r->worker_id, r->asks,  0,      r->want,
                                         r->need,     r->in_use,    r->share, r->seen};
        for (int col = 0; col < COLUMNS; col++)
            if (col == WANTS)
                fake_rows_span(*ret, i, col, r->wants);
            else
                fake_rows_int(*ret, i, col, values[col]);
    }
    return RC_OK;
}

FAKE_RUN(share)
{
    (void)ret;
    for (int u = 0; u < fake_unnest(s, 1, 3); u++) {
        const struct fake_share_row *there =
            fake_pg_share(t->db, fake_arg_int(s, 1, u), fake_arg_int(s, 2, u));
        if (!there)
            continue;
        struct fake_share_row says = *there;
        says.share = fake_arg_int(s, 3, u);
        enum rc rc = check_share(t, &says);
        if (rc != RC_OK)
            return rc;
        if (there->statement == t->db->statements)
            continue;
        struct fake_share_row *row = fake_change(t->db, FAKE_SHARE, there);
        row->share = says.share;
        row->statement = t->db->statements;
    }
    return RC_OK;
}

FAKE_RUN(share_dead)
{
    (void)ret;
    for (int u = 0; u < fake_unnest(s, 1, 3); u++) {
        const struct fake_share_row *there =
            fake_pg_share(t->db, fake_arg_int(s, 1, u), fake_arg_int(s, 2, u));
        if (there && there->asks == fake_arg_int(s, 3, u))
            fake_delete(t->db, FAKE_SHARE, there);
    }
    return RC_OK;
}

/* ---- a day's budget ----------------------------------------------------------------------- */

static void day_row(struct fake_txn *t, struct pg_rows *rows, int row,
                    const struct fake_day_row *is)
{
    fake_rows_int(rows, row, 0, is->limit_id);
    fake_rows_int(rows, row, 1, is->day);
    fake_rows_int(rows, row, 2, is->taken);
    fake_rows_int(rows, row, 3, (is->day + 1) * (DAY_US / 1000) - (t->now_us + 500) / 1000);
}

/* What is there to take goes; NULL: nothing is. */
static struct fake_day_row *take_of_day(struct fake_txn *t, const struct fake_limit_row *limit,
                                        int64_t units)
{
    int64_t day = t->now_us / DAY_US, limit_id = limit->limit_id, amount = amount_of(limit);
    struct jobid at = fake_key(limit_id, day);
    const struct fake_day_row *there = fake_by_key(t->db, FAKE_DAY, &at);
    int64_t taken = least(units, amount);
    if (!there) {
        struct fake_day_row fresh = {limit_id, day, taken, taken, amount, at, 0};
        return fake_insert(t->db, FAKE_DAY, &fresh);
    }
    if (there->used >= amount)
        return NULL;
    struct fake_day_row *row = fake_change(t->db, FAKE_DAY, there);
    row->amount = amount;
    row->taken = least(taken, amount - row->used);
    row->used += row->taken;
    return row;
}

static bool changed_already(const struct fake_txn *t, int64_t limit_id)
{
    struct jobid at = fake_key(limit_id, t->now_us / DAY_US);
    const struct fake_day_row *there = fake_by_key(t->db, FAKE_DAY, &at);
    return there && there->statement == t->db->statements;
}

FAKE_RUN(day_take)
{
    static const struct fake_field fields[] = {
        {"limit_id", PG_INT4}, {"day", PG_INT4}, {"taken", PG_INT8}, {"left_ms", PG_INT8}};
    int n = 0, row = 0;
    struct picked *all = pick(t, s, 2, 3, true, &n);
    *ret = fake_rows_new(fields, 4);
    for (int i = 0; i < n && unfenced(t, fake_arg_int(s, 1, 0)); i++) {
        int64_t units = fake_arg_int(s, 3, all[i].u);
        if (units == FAKE_NULL || units <= 0)
            continue;
        if (changed_already(t, all[i].limit->limit_id))
            return twice(t);
        struct fake_day_row *is = take_of_day(t, all[i].limit, units);
        if (!is)
            continue;
        is->statement = t->db->statements;
        day_row(t, *ret, row++, is);
    }
    return RC_OK;
}

FAKE_RUN(day_give)
{
    (void)ret;
    for (int u = 0; u < fake_unnest(s, 1, 3); u++) {
        struct jobid at = fake_key(fake_arg_int(s, 1, u), fake_arg_int(s, 2, u));
        int64_t units = fake_arg_int(s, 3, u);
        const struct fake_day_row *there = fake_by_key(t->db, FAKE_DAY, &at);
        if (!there || units == FAKE_NULL || units <= 0 || there->statement == t->db->statements)
            continue;
        struct fake_day_row *row = fake_change(t->db, FAKE_DAY, there);
        row->used = most(0, row->used - units);
        row->statement = t->db->statements;
    }
    return RC_OK;
}

/* ---- pay ----------------------------------------------------------------------------------- */

static int by_bytes(struct span a, struct span b)
{
    int order = a.n && b.n ? memcmp(a.p, b.p, a.n < b.n ? a.n : b.n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

/* Routes in the order of their bytes, each once. */
static int paying_routes(const struct fake_stmt *s, struct span *ret_routes, int n)
{
    int count = 0;
    for (int u = 0; u < n; u++) {
        int64_t want = fake_arg_int(s, 2, u), amount = fake_arg_int(s, 3, u);
        struct span route = fake_arg_span(s, 1, u);
        int at = 0;
        if (fake_arg_null(s, 1, u) || want == FAKE_NULL || want <= 0 || amount == FAKE_NULL ||
            amount <= 0)
            continue;
        while (at < count && by_bytes(ret_routes[at], route) < 0)
            at++;
        if (at < count && span_eq(ret_routes[at], route))
            continue;
        memmove(ret_routes + at + 1, ret_routes + at, (size_t)(count++ - at) * sizeof *ret_routes);
        ret_routes[at] = route;
    }
    return count;
}

static const struct fake_cost_row *find_cost(const struct fake_pg *db, struct span route,
                                             int64_t day)
{
    for (int i = 0; i < fake_pg_count(db, FAKE_COST); i++)
        if (fake_pg_cost_at(db, i)->day == day && span_eq(fake_pg_cost_at(db, i)->route, route))
            return fake_pg_cost_at(db, i);
    return NULL;
}

/* NULL: nothing is left. */
static const struct fake_cost_row *take_cost(struct fake_txn *t, struct span route, int64_t want,
                                             int64_t amount)
{
    int64_t day = t->now_us / DAY_US;
    const struct fake_cost_row *there = find_cost(t->db, route, day);
    int64_t taken = least(want, amount);
    if (!there) {
        struct fake_cost_row fresh = {fake_keep(t->db, route), day, taken, taken, amount};
        return fake_insert(t->db, FAKE_COST, &fresh);
    }
    if (there->used_nusd >= amount)
        return NULL;
    struct fake_cost_row *row = fake_change(t->db, FAKE_COST, there);
    row->amount_nusd = amount;
    row->taken_nusd = least(taken, amount - row->used_nusd);
    row->used_nusd += row->taken_nusd;
    return row;
}

FAKE_RUN(pay)
{
    static const struct fake_field fields[] = {{"route", PG_TEXT}, {"taken_nusd", PG_INT8}};
    int n = fake_unnest(s, 1, 3), row = 0;
    struct span *routes = fake_take(&t->db->scratch, ((size_t)n + 1) * sizeof *routes);
    int count = paying_routes(s, routes, n);
    *ret = fake_rows_new(fields, 2);
    for (int i = 0; i < count; i++) {
        int64_t want = 0, amount = 0;
        for (int u = 0; u < n; u++) {
            int64_t one = fake_arg_int(s, 2, u), most_of = fake_arg_int(s, 3, u);
            if (fake_arg_null(s, 1, u) || !span_eq(fake_arg_span(s, 1, u), routes[i]) ||
                one == FAKE_NULL || one <= 0 || most_of == FAKE_NULL || most_of <= 0)
                continue;
            want += one;
            amount = most(amount, most_of);
        }
        const struct fake_cost_row *is = take_cost(t, routes[i], want, amount);
        if (!is)
            continue;
        fake_rows_span(*ret, row, 0, is->route);
        fake_rows_int(*ret, row++, 1, is->taken_nusd);
    }
    return RC_OK;
}
