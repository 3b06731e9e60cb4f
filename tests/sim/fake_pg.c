/*
 * fake_pg.c - see fake_pg.h. Transactions: each statement runs in turn on the tables themselves;
 * the first that fails has everything undone, and its SQLSTATE is what the caller gets.
 */
#include "tests/sim/fake_pg.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/fake_pg_impl.h"

static const struct fake_verb verbs[] = {
    {"claim", "lUSSUIIILLB", fake_run_claim},
    {"fence", "Ul", fake_run_fence},
    {"facts", "UlSS", fake_run_facts},
    {"lose", "U", fake_run_lose},
    {"take", "lUSSUIIILLB", fake_run_take},
    {"drop_done", "U", fake_run_drop_done},
    {"park", "lUULZBISSSSLLLILSTILZYYTT", fake_run_park},
    {"pull", "lisTL", fake_run_pull},
    {"bury", "YSTTILZYYU", fake_run_bury},
    {"pay", "TLL", fake_run_pay},
    {"store", "UUZLLLLILLIIIIIISSSSSSTTTTTTTTTTYTUYUISSTTTTTTTILZYY", fake_run_store},
    {"store_called", "UUZLLLLILLIIIIIISSSSSSTTTTTTTTTTYT", fake_run_store_called},
    {"outcome", "USLSSLLIIIISSTTT", fake_run_outcome},
    {"register", "titl", fake_run_register},
    {"heartbeat", "ll", fake_run_heartbeat},
    {"stop", "l", fake_run_stop},
    {"stop_free", "l", fake_run_stop_free},
    {"fence_dead", "l", fake_run_fence_dead},
    {"free_taken", "", fake_run_free_taken},
    {"due", "l", fake_run_due},
    {"wake_expired", "l", fake_run_wake_expired},
    {"wake_key", "isl", fake_run_wake_key},
    {"cancelled", "z", fake_run_cancelled},
    {"held", "", fake_run_held},
    {"skips", "", fake_run_skips},
    {"others_wait", "stz", fake_run_others_wait},
    {"parked_count", "il", fake_run_parked_count},
    {"batch_seen", "UTTTTSL", fake_run_batch_seen},
    {"elect", "", fake_run_elect},
    {"partitions", "", fake_run_partitions},
    {"oldest_live", "", fake_run_oldest_live},
    {"roll_up", "l", fake_run_roll_up},
    {"figures", "l", fake_run_figures},
    {"letters", "l", fake_run_letters},
    {"published", "L", fake_run_published},
    {"durable", "", fake_run_durable},
    {"limits", "", fake_run_limits},
    {"exchange", "llIYLLLL", fake_run_exchange},
    {"leave", "lI", fake_run_leave},
    {"shares", "", fake_run_shares},
    {"share", "ILL", fake_run_share},
    {"share_dead", "ILL", fake_run_share_dead},
    {"day_take", "lIL", fake_run_day_take},
    {"day_give", "IIL", fake_run_day_give},
    {"learned", "l", fake_run_learned},
    {"learned_pause", "TLSSB", fake_run_learned_pause},
    {"learned_open", "lT", fake_run_learned_open},
    {"learned_probe", "llTB", fake_run_learned_probe},
    {"learned_leave", "lT", fake_run_learned_leave},
    {"learned_bears", "TI", fake_run_learned_bears},
    {"learned_lower", "lTL", fake_run_learned_lower},
    {"learned_raise", "l", fake_run_learned_raise},
};

const struct fake_verb *fake_verb_find(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

/* ---- failing ------------------------------------------------------------------------------ */

enum rc fake_fail(struct fake_txn *t, const char *sqlstate, const char *fmt, ...)
{
    va_list args;
    char text[ERR_TEXT_BYTES];
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    memcpy(t->sqlstate, sqlstate, 6);
    return err_set(t->err, fake_sqlstate_rc(sqlstate), "Postgres %s: %s", sqlstate, text);
}

static bool is_null(const struct fake_column *col, const void *row)
{
    static const struct jobid zero;
    const char *field = (const char *)row + col->at;
    if (col->type == PG_UUID)
        return memcmp(field, &zero, sizeof zero) == 0;
    if (col->type == PG_TEXT || col->type == PG_BYTEA)
        return !((const struct span *)(const void *)field)->p;
    return *(const int64_t *)(const void *)field == FAKE_NULL;
}

enum rc fake_check_row(struct fake_txn *t, enum fake_table table, const void *row)
{
    int n = 0;
    const struct fake_column *cols = fake_pg_columns(table, &n);
    for (int i = 0; i < n; i++)
        if (cols[i].not_null && is_null(&cols[i], row))
            return fake_fail(t, "23502", "null value in column \"%s\" of relation \"%s\"",
                             cols[i].name, fake_pg_table_name(table));
    return RC_OK;
}

enum rc fake_check_span(struct fake_txn *t, const struct jobid *id)
{
    static const struct jobid null;
    int64_t ms = jobid_ms(id);
    for (int i = 0; i < fake_pg_count(t->db, FAKE_SPAN) && !jobid_eq(id, &null); i++) {
        const struct fake_span_row *span = fake_pg_span_at(t->db, i);
        if (ms >= span->lower_ms && ms < span->upper_ms)
            return RC_OK;
    }
    return fake_fail(t, "23514", "no partition of relation found for row");
}

/* ---- what several statements compute ------------------------------------------------------ */

bool fake_lease(const struct fake_txn *t, int64_t worker_id)
{
    const struct fake_worker_row *w = fake_pg_worker(t->db, worker_id);
    return w && w->lease_until > t->now_us && !w->fenced;
}

enum rc fake_later(struct fake_txn *t, int64_t v, int64_t unit_us, int64_t *ret_us)
{
    /* timestamptz ends in the year 294276 */
    const int64_t end_us = INT64_C(9223371331200000000) - INT64_C(946684800000000);
    int64_t at = FAKE_NULL;
    if (v != FAKE_NULL) {
        double us = rint((double)v * (double)unit_us);
        if (us < -0x1p63 || us >= 0x1p63)
            return fake_fail(t, "22008", "interval out of range");
        if (__builtin_add_overflow(t->now_us, (int64_t)us, &at) || at >= end_us ||
            at < -INT64_C(210866803200000000))
            return fake_fail(t, "22008", "timestamp out of range");
    }
    *ret_us = at;
    return RC_OK;
}

enum rc fake_lease_over(struct fake_txn *t, const struct fake_worker_row *w, int64_t past_s,
                        bool *ret_over)
{
    int64_t latest_us = FAKE_NULL;
    enum rc rc = fake_later(t, past_s == FAKE_NULL ? past_s : -past_s, 1000000, &latest_us);
    if (rc == RC_OK)
        *ret_over = latest_us != FAKE_NULL && w->lease_until < latest_us;
    return rc;
}

enum rc fake_int8(struct fake_txn *t, fake_wide v, int64_t *ret)
{
    if (v > INT64_MAX || v < INT64_MIN)
        return fake_fail(t, "22003", "bigint out of range");
    *ret = (int64_t)v;
    return RC_OK;
}

enum rc fake_limit(struct fake_txn *t, int64_t limit, int64_t *ret)
{
    if (limit != FAKE_NULL && limit < 0)
        return fake_fail(t, "2201W", "LIMIT must not be negative");
    *ret = limit == FAKE_NULL ? INT64_MAX : limit;
    return RC_OK;
}

static int cmp_picks(const void *a, const void *b)
{
    const struct fake_pick *x = a, *y = b;
    if (x->null != y->null)
        return x->null ? 1 : -1;
    int order = jobid_cmp(&x->id, &y->id);
    return order != 0 ? order : x->u - y->u;
}

void fake_pick_sort(struct fake_pick *picks, int n)
{
    if (n > 1)
        qsort(picks, (size_t)n, sizeof *picks, cmp_picks);
}

/* ---- transactions ------------------------------------------------------------------------- */

static enum rc run(struct fake_txn *t, const struct fake_stmt *s, struct pg_rows **ret_rows)
{
    if (!fake_stmt_text_ok(s))
        return fake_fail(t, "22021", "invalid byte sequence for encoding \"UTF8\"");
    struct pg_rows *rows = NULL;
    t->db->statements++;
    enum rc rc = fake_stmt_verb(s)->run(t, s, &rows);
    if (rc != RC_OK) {
        pg_rows_free(rows);
        return rc;
    }
    *ret_rows = rows ? rows : fake_rows_new(NULL, 0);
    return RC_OK;
}

enum rc fake_pg_txn(struct fake_pg *db, int64_t session, int64_t now_us,
                    struct fake_stmt *const *steps, int n, struct pg_rows **ret_rows,
                    char sqlstate[6], struct err *err)
{
    struct fake_txn t = {db, session, now_us, sqlstate, err};
    enum rc rc = RC_OK;
    int done = 0;
    sqlstate[0] = '\0';
    fake_begin(db);
    struct pg_rows **rows = fake_take(&db->scratch, (size_t)n * sizeof(struct pg_rows *));
    while (rc == RC_OK && done < n) {
        rc = run(&t, steps[done], &rows[done]);
        done += rc == RC_OK;
    }
    if (rc == RC_OK) {
        memcpy(ret_rows, rows, (size_t)n * sizeof(struct pg_rows *));
        return RC_OK;
    }
    err_prefix(err, rc, "%s", fake_stmt_name(steps[done]));
    for (int i = 0; i < done; i++)
        pg_rows_free(rows[i]);
    fake_undo(db);
    return rc;
}

void fake_pg_cross(struct fake_pg *db, int64_t since_us)
{
    db->blind_since_us = since_us;
}

void fake_pg_session_end(struct fake_pg *db, int64_t session)
{
    if (db->keeper_held && db->keeper_session == session)
        db->keeper_held = false;
}

bool fake_pg_cancel(struct fake_pg *db, const struct jobid *batch_id, int64_t now_us)
{
    const struct fake_batch_row *batch = fake_pg_batch(db, batch_id);
    fake_begin(db);
    if (!batch)
        return false;
    if (batch->cancel_requested_at == FAKE_NULL) {
        struct fake_batch_row *row = fake_change(db, FAKE_BATCH, batch);
        row->cancel_requested_at = now_us;
    }
    for (int i = 0; i < fake_pg_count(db, FAKE_PARKED); i++) {
        const struct fake_parked_row *parked = fake_pg_parked_at(db, i);
        if (!jobid_eq(&parked->batch_id, batch_id) ||
            jobid_ms(&parked->job_id) != batch->created_ms)
            continue;
        struct fake_parked_row *row = fake_change(db, FAKE_PARKED, parked);
        row->next_at = row->next_at < now_us ? row->next_at : now_us;
        row->wait_key = 0;
    }
    return true;
}

bool fake_pg_drain(struct fake_pg *db, int64_t worker_id, int64_t now_us)
{
    const struct fake_worker_row *worker = fake_pg_worker(db, worker_id);
    fake_begin(db);
    if (!worker)
        return false;
    struct fake_worker_row *row = fake_change(db, FAKE_WORKER, worker);
    row->drain_requested_at = now_us;
    return true;
}

void fake_pg_hold(struct fake_pg *db, int endpoint_id, bool on)
{
    assert(endpoint_id >= 0 && endpoint_id < FAKE_ENDPOINTS);
    db->held[endpoint_id] = on;
}
