/*
 * fake_pg_learned.c - the fake Postgres's statements about what calls taught of endpoints; see
 * fake_pg_job.c for how statements are written here.
 */
#include "tests/sim/fake_pg.h"

#include <stdlib.h>
#include <string.h>

#include "common/limits.h"
#include "tests/sim/fake_pg_impl.h"

enum { ONE = 1000 /* a multiplier that lowers nothing */ };
#define PAUSE_MAX_US INT64_C(86400000000)
#define SPAN_MAX_US INT64_C(3600000000)
#define MINUTE_US INT64_C(60000000)

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* FAKE_NULL is the least of all: as greatest() takes NULL. */
static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

const struct fake_learned_row *fake_pg_learned_of(const struct fake_pg *db, struct span endpoint)
{
    for (int i = 0; i < fake_pg_count(db, FAKE_LEARNED); i++)
        if (endpoint.p && span_eq(fake_pg_learned_at(db, i)->endpoint, endpoint))
            return fake_pg_learned_at(db, i);
    return NULL;
}

bool fake_pg_told(const struct fake_pg *db)
{
    return db->told;
}

static struct fake_learned_row fresh_row(struct fake_txn *t, struct span endpoint)
{
    struct fake_learned_row row = *(const struct fake_learned_row *)fake_blank(t->db, FAKE_LEARNED);
    row.endpoint = endpoint;
    row.multiplier = row.ceiling = ONE;
    row.faults = row.probing = 0;
    row.changed_at = t->now_us;
    return row;
}

static void tell(struct fake_txn *t, struct pg_rows *rows, int *row)
{
    fake_rows_span(rows, (*row)++, 0, SPAN_LIT(""));
    t->db->told = true;
}

static const struct fake_field told_field = {"told", PG_TEXT};

/* The row of the statement's endpoint `u`, unless the statement has changed it. */
static struct fake_learned_row *change(struct fake_txn *t, const struct fake_learned_row *there)
{
    struct fake_learned_row *row = fake_change(t->db, FAKE_LEARNED, there);
    row->statement = t->db->statements;
    return row;
}

static bool is_open(const struct fake_txn *t, int64_t until)
{
    return until == FAKE_NULL || until <= t->now_us;
}

/* ---- what there is ------------------------------------------------------------------------ */

static int cmp_learned(const void *a, const void *b)
{
    const struct fake_learned_row *x = *(const struct fake_learned_row *const *)a;
    const struct fake_learned_row *y = *(const struct fake_learned_row *const *)b;
    size_t n = x->endpoint.n < y->endpoint.n ? x->endpoint.n : y->endpoint.n;
    int order = memcmp(x->endpoint.p, y->endpoint.p, n);
    return order ? order : (x->endpoint.n > y->endpoint.n) - (x->endpoint.n < y->endpoint.n);
}

static int64_t left_of(const struct fake_txn *t, int64_t until)
{
    return until == FAKE_NULL ? 0 : most(0, until - t->now_us);
}

FAKE_RUN(learned)
{
    static const struct fake_field fields[] = {
        {"endpoint", PG_TEXT},      {"left_us", PG_INT8},    {"paused_for", PG_INT2},
        {"probing", PG_BOOL},       {"faults", PG_INT2},     {"probe_mine", PG_BOOL},
        {"probe_left_us", PG_INT8}, {"concurrency", PG_INT4}};
    enum { COLUMNS = sizeof fields / sizeof fields[0] };
    int n = fake_pg_count(t->db, FAKE_LEARNED);
    int64_t worker_id = fake_arg_int(s, 1, 0);
    const struct fake_learned_row **all =
        fake_take(&t->db->scratch, ((size_t)n + 1) * sizeof(struct fake_learned_row *));
    for (int i = 0; i < n; i++)
        all[i] = fake_pg_learned_at(t->db, i);
    qsort(all, (size_t)n, sizeof *all, cmp_learned);
    *ret = fake_rows_new(fields, COLUMNS);
    for (int i = 0; i < n; i++) {
        const struct fake_learned_row *r = all[i];
        bool mine = r->probe_worker != FAKE_NULL && r->probe_worker == worker_id;
        const int64_t values[COLUMNS] = {
            0,    left_of(t, r->paused_until), r->paused_for, r->probing, r->faults,
            mine, left_of(t, r->probe_until),  r->concurrency};
        fake_rows_span(*ret, i, 0, r->endpoint);
        for (int col = 1; col < COLUMNS; col++)
            fake_rows_int(*ret, i, col, values[col]);
    }
    return RC_OK;
}

/* ORDER BY u.endpoint, which decides which of two errors comes first; no name is last. */
struct said {
    struct span endpoint;
    int u;
};

static int cmp_said(const void *a, const void *b)
{
    const struct span *x = &((const struct said *)a)->endpoint,
                      *y = &((const struct said *)b)->endpoint;
    if (!x->p || !y->p)
        return !x->p - !y->p;
    size_t n = x->n < y->n ? x->n : y->n;
    int order = memcmp(x->p, y->p, n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

static const struct said *in_order(struct fake_txn *t, const struct fake_stmt *s, int endpoints,
                                   int n)
{
    struct said *list = fake_take(&t->db->scratch, ((size_t)n + 1) * sizeof *list);
    for (int u = 0; u < n; u++)
        list[u] = (struct said){fake_arg_span(s, endpoints, u), u};
    qsort(list, (size_t)n, sizeof *list, cmp_said);
    return list;
}

/* ---- pauses and probes -------------------------------------------------------------------- */

static enum rc twice(struct fake_txn *t)
{
    return fake_fail(t, "21000", "ON CONFLICT DO UPDATE command cannot affect row a second time");
}

static enum rc pause(struct fake_txn *t, const struct fake_learned_row *says)
{
    enum rc rc = fake_check_row(t, FAKE_LEARNED, says);
    const struct fake_learned_row *there = fake_pg_learned_of(t->db, says->endpoint);
    if (rc == RC_OK && there && there->statement == t->db->statements)
        rc = twice(t);
    if (rc != RC_OK)
        return rc;
    if (!there) {
        struct fake_learned_row *row = fake_insert(t->db, FAKE_LEARNED, says);
        row->statement = t->db->statements;
        return RC_OK;
    }
    struct fake_learned_row *row = change(t, there);
    if (row->paused_until < says->paused_until) /* NULL is the least */
        row->paused_for = says->paused_for;
    row->paused_until = most(row->paused_until, says->paused_until);
    row->faults = most(row->faults, says->faults);
    row->probing = row->probing || says->probing;
    row->changed_at = t->now_us;
    return RC_OK;
}

FAKE_RUN(learned_pause)
{
    int told = 0;
    *ret = fake_rows_new(&told_field, 1);
    int n = fake_unnest(s, 1, 5);
    const struct said *said = in_order(t, s, 1, n);
    for (int i = 0; i < n; i++) {
        int u = said[i].u;
        int64_t left_us = fake_arg_int(s, 2, u);
        if (left_us < 0 || left_us > PAUSE_MAX_US)
            continue;
        struct fake_learned_row says = fresh_row(t, fake_arg_span(s, 1, u));
        says.paused_until = t->now_us + left_us;
        says.paused_for = fake_arg_int(s, 3, u);
        says.faults = fake_arg_int(s, 4, u);
        says.probing = fake_arg_int(s, 5, u);
        enum rc rc = pause(t, &says);
        if (rc != RC_OK)
            return rc;
        tell(t, *ret, &told);
    }
    return RC_OK;
}

FAKE_RUN(learned_open)
{
    int told = 0;
    *ret = fake_rows_new(&told_field, 1);
    for (int u = 0; u < fake_unnest(s, 2, 2); u++) {
        const struct fake_learned_row *there = fake_pg_learned_of(t->db, fake_arg_span(s, 2, u));
        if (!there || !there->probing || !is_open(t, there->paused_until))
            continue;
        struct fake_learned_row *row = change(t, there);
        row->paused_until = row->paused_for = FAKE_NULL;
        if (row->probe_worker == fake_arg_int(s, 1, 0))
            row->probe_worker = row->probe_until = FAKE_NULL;
        row->faults = row->probing = 0;
        row->changed_at = t->now_us;
        tell(t, *ret, &told);
    }
    return RC_OK;
}

static bool may_probe(const struct fake_txn *t, const struct fake_learned_row *r, int64_t worker_id,
                      bool renewed)
{
    bool free = (renewed || is_open(t, r->paused_until)) && is_open(t, r->probe_until);
    bool mine = r->probe_worker != FAKE_NULL && r->probe_worker == worker_id;
    const struct fake_worker_row *w = fake_pg_worker(t->db, worker_id);
    return r->probing && (mine || free) && w && !w->fenced;
}

FAKE_RUN(learned_probe)
{
    int64_t worker_id = fake_arg_int(s, 1, 0);
    (void)ret;
    for (int u = 0; u < fake_unnest(s, 3, 4); u++) {
        bool renewed = fake_arg_int(s, 4, u) == 1;
        const struct fake_learned_row *there = fake_pg_learned_of(t->db, fake_arg_span(s, 3, u));
        if (!there || !may_probe(t, there, worker_id, renewed))
            continue;
        int64_t until = FAKE_NULL;
        enum rc rc = fake_later(t, fake_arg_int(s, 2, 0), 1, &until);
        if (rc != RC_OK)
            return rc;
        if (until == FAKE_NULL)
            return fake_fail(t, "23514", "new row for relation \"limit_learned\" violates check");
        if (there->statement == t->db->statements)
            continue;
        struct fake_learned_row *row = change(t, there);
        row->probe_worker = worker_id;
        row->probe_until = until;
        if (renewed)
            row->paused_until = is_open(t, row->paused_until) && row->paused_until != FAKE_NULL
                                    ? row->paused_until
                                    : t->now_us;
    }
    return RC_OK;
}

FAKE_RUN(learned_leave)
{
    int64_t worker_id = fake_arg_int(s, 1, 0);
    int n = fake_unnest(s, 2, 2), told = 0;
    *ret = fake_rows_new(&told_field, 1);
    for (int i = 0; i < fake_pg_count(t->db, FAKE_LEARNED); i++) {
        const struct fake_learned_row *there = fake_pg_learned_at(t->db, i);
        bool named = n == 0;
        for (int u = 0; u < n; u++)
            named = named ||
                    (fake_arg_span(s, 2, u).p && span_eq(fake_arg_span(s, 2, u), there->endpoint));
        if (!named || there->probe_worker == FAKE_NULL || there->probe_worker != worker_id)
            continue;
        struct fake_learned_row *row = change(t, there);
        row->probe_worker = row->probe_until = FAKE_NULL;
        tell(t, *ret, &told);
    }
    return RC_OK;
}

/* ---- how much it bears, and how much its limits let through ------------------------------- */

FAKE_RUN(learned_bears)
{
    (void)ret;
    int n = fake_unnest(s, 1, 2);
    const struct said *said = in_order(t, s, 1, n);
    for (int i = 0; i < n; i++) {
        int u = said[i].u;
        int64_t calls = fake_arg_int(s, 2, u);
        if (calls < 0) /* NULL, too */
            continue;
        struct fake_learned_row says = fresh_row(t, fake_arg_span(s, 1, u));
        says.concurrency = calls ? calls : FAKE_NULL;
        enum rc rc = fake_check_row(t, FAKE_LEARNED, &says);
        const struct fake_learned_row *there = fake_pg_learned_of(t->db, says.endpoint);
        if (rc == RC_OK && there && there->statement == t->db->statements)
            rc = twice(t);
        if (rc != RC_OK)
            return rc;
        if (there)
            change(t, there)->concurrency = says.concurrency;
        else
            ((struct fake_learned_row *)fake_insert(t->db, FAKE_LEARNED, &says))->statement =
                t->db->statements;
    }
    return RC_OK;
}

static bool has_rates(const struct fake_pg *db, struct span endpoint)
{
    for (int i = 0; i < fake_pg_count(db, FAKE_LIMIT); i++) {
        const struct fake_limit_row *r = fake_pg_limit_at(db, i);
        if (r->scope == LIMIT_ENDPOINT && span_eq(r->key, endpoint) &&
            r->dimension <= LIMIT_TOKENS_PER_MINUTE &&
            (r->of_operator != FAKE_NULL || r->of_catalogue != FAKE_NULL))
            return true;
    }
    return false;
}

/* In permille, of the limit of units a minute that is used most; 0: nobody knows. */
static int64_t used_of(const struct fake_pg *db, struct span endpoint)
{
    int64_t used = 0;
    for (int i = 0; i < fake_pg_count(db, FAKE_LIMIT); i++) {
        const struct fake_limit_row *r = fake_pg_limit_at(db, i);
        int64_t amount = r->of_operator != FAKE_NULL ? r->of_operator : r->of_catalogue, sent = 0;
        if (r->scope != LIMIT_ENDPOINT || !span_eq(r->key, endpoint) ||
            r->dimension > LIMIT_TOKENS_PER_MINUTE || amount == FAKE_NULL)
            continue;
        for (int k = 0; k < fake_pg_count(db, FAKE_SHARE); k++)
            if (fake_pg_share_at(db, k)->limit_id == r->limit_id)
                sent += least(fake_pg_share_at(db, k)->in_use, amount - sent);
        used = most(used, sent * ONE / amount);
    }
    return used;
}

static int64_t ceiling_of(const struct fake_txn *t, const struct fake_learned_row *l, int64_t used)
{
    bool again = l->lowered_at != FAKE_NULL && l->lowered_at > t->now_us - MINUTE_US;
    int64_t known = used ? used : l->multiplier * 7 / 9;
    return most(most(1, least(l->multiplier, known)), l->multiplier * (again ? 14 : 1) / 18);
}

FAKE_RUN(learned_lower)
{
    int row_count = 0;
    *ret = fake_rows_new(&told_field, 1);
    for (int u = 0; u < fake_unnest(s, 2, 3); u++) {
        const struct fake_learned_row *there = fake_pg_learned_of(t->db, fake_arg_span(s, 2, u));
        int64_t span_us = most(most(fake_arg_int(s, 3, u), fake_arg_int(s, 1, 0)), 0);
        int64_t since = t->now_us - least(span_us, SPAN_MAX_US);
        if (!there || !has_rates(t->db, there->endpoint) || there->statement == t->db->statements)
            continue;
        struct fake_learned_row *row = change(t, there);
        row->throttled_at = t->now_us;
        if (row->lowered_at < since) { /* NULL is the least */
            row->ceiling = ceiling_of(t, row, used_of(t->db, row->endpoint));
            row->multiplier = most(1, row->ceiling * 9 / 10);
            row->lowered_at = t->now_us;
        }
        fake_rows_span(*ret, row_count++, 0,
                       row->lowered_at == t->now_us ? SPAN_LIT("") : (struct span){0});
    }
    return RC_OK;
}

FAKE_RUN(learned_raise)
{
    int64_t quiet_us = least(most(fake_arg_int(s, 1, 0), 0), SPAN_MAX_US);
    (void)ret;
    for (int i = 0; i < fake_pg_count(t->db, FAKE_LEARNED); i++) {
        const struct fake_learned_row *r = fake_pg_learned_at(t->db, i);
        int64_t since = r->throttled_at != FAKE_NULL ? r->throttled_at : r->changed_at;
        if (r->multiplier >= ONE || since > t->now_us - quiet_us)
            continue;
        struct fake_learned_row *row = change(t, r);
        bool closed = row->probing || !is_open(t, row->paused_until);
        int64_t off = row->multiplier - row->ceiling, by = off < 0 ? -off / 2 : closed ? 0 : off;
        row->multiplier = least(ONE, row->multiplier + most(most(1, row->multiplier / 100), by));
        if (closed && off >= 0)
            row->ceiling = row->multiplier;
    }
    return RC_OK;
}
