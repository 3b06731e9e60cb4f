/*
 * test_store_limits.c - the workers' statements about shared limits, asked on the real server: what
 * an exchange answers and writes, what the keeper may take back and when, and a day's budget that
 * several take from at once.
 *
 * The last test plays workers whose answers get lost against a keeper that hands out whatever is
 * free by its count, and holds what the workers really go by against the limit after every step.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

#include "common/log.h"
#include "tests/live/loop.h"
#include "tests/live/scratch.h"
#include "worker/store_sql.h"

enum { NO_ROW = -1, WORKERS = 4 };

static struct scratch scratch;

static const char *sql_of(int statement)
{
    return store_sql_keep[statement].sql;
}

/* ---- a worker's side ------------------------------------------------------------------------- */

struct ask {
    int64_t worker, asks, limit, want, need, in_use, holds;
};

static struct pg_params *exchange_params(struct ask a)
{
    struct pg_params *p = pg_params_new();
    const int64_t values[] = {a.want, a.need, a.in_use, a.holds};
    pg_add_int(p, PG_INT8, a.worker);
    pg_add_int(p, PG_INT8, a.asks);
    pg_array(p, PG_INT4);
    pg_elem_int(p, a.limit);
    pg_array(p, PG_BYTEA);
    pg_elem_span(p, SPAN_LIT("wants"));
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        pg_array(p, PG_INT8);
        pg_elem_int(p, values[i]);
    }
    return p;
}

/* The share that is returned, or NO_ROW. */
static int64_t exchange(struct ask a)
{
    struct pg_params *p = exchange_params(a);
    struct pg_rows *rows = scratch_ask(&scratch, sql_of(SQL_EXCHANGE), p);
    int64_t share = NO_ROW;
    if (pg_row_count(rows) == 1) {
        assert_int_equal(pg_get_int(rows, 0, 0), a.limit);
        share = pg_get_int(rows, 0, 1);
    }
    pg_rows_free(rows);
    pg_params_free(p);
    return share;
}

/* ---- the keeper's side ----------------------------------------------------------------------- */

static int64_t keeper_writes(int statement, int64_t limit, int64_t worker, int64_t value)
{
    struct pg_params *p = pg_params_new();
    pg_array(p, PG_INT4);
    pg_elem_int(p, limit);
    pg_array(p, PG_INT8);
    pg_elem_int(p, worker);
    pg_array(p, PG_INT8);
    pg_elem_int(p, value);
    struct pg_rows *rows = scratch_ask(&scratch, sql_of(statement), p);
    int64_t n = pg_affected(rows);
    pg_rows_free(rows);
    pg_params_free(p);
    return n;
}

static void set_share(int64_t limit, int64_t worker, int64_t share)
{
    assert_int_equal(keeper_writes(SQL_SHARE, limit, worker, share), 1);
}

static int64_t drop_dead(int64_t limit, int64_t worker, int64_t asks)
{
    return keeper_writes(SQL_SHARE_DEAD, limit, worker, asks);
}

static int64_t column(const char *name, int64_t limit, int64_t worker)
{
    char sql[160];
    (void)snprintf(sql, sizeof sql,
                   "SELECT coalesce((SELECT %s FROM limit_share WHERE limit_id = %d"
                   " AND worker_id = %d), -1)",
                   name, (int)limit, (int)worker);
    return scratch_int(&scratch, sql);
}

static void expect_seen(int64_t limit, int64_t worker, int64_t seen)
{
    assert_int_equal(column("seen", limit, worker), seen);
}

/* ---- exchange -------------------------------------------------------------------------------- */

static void an_exchange_says_and_learns(void **state)
{
    (void)state;
    struct ask a = {.worker = 1, .asks = 1, .limit = 1, .want = 50, .need = 7, .in_use = 3};
    assert_int_equal(exchange(a), 0); /* who is new has nothing */
    assert_int_equal(column("want", 1, 1), 50);
    assert_int_equal(column("need", 1, 1), 7);
    assert_int_equal(column("in_use", 1, 1), 3);
    assert_int_equal(column("length(wants)", 1, 1), 5);
    expect_seen(1, 1, 0);
    set_share(1, 1, 30);
    a.asks = 2;
    assert_int_equal(exchange(a), 30);
    expect_seen(1, 1, 30); /* it may go by that from now on */
    assert_int_equal(column("asks", 1, 1), 2);
}

/* A lowered share is free when its holder says that it goes by it, and not when it was sent. */
static void a_lowered_share_is_free_once_its_holder_says_so(void **state)
{
    (void)state;
    struct ask a = {.worker = 1, .asks = 1, .limit = 1, .want = 50};
    (void)exchange(a);
    set_share(1, 1, 30);
    a.asks = 2;
    assert_int_equal(exchange(a), 30);
    set_share(1, 1, 10);
    for (a.asks = 3, a.holds = 30; a.asks < 6; a.asks++) { /* answers that get lost */
        assert_int_equal(exchange(a), 10);
        expect_seen(1, 1, 30);
    }
    a.holds = 10;
    assert_int_equal(exchange(a), 10);
    expect_seen(1, 1, 10);
}

/* Whatever it says, its word lowers what is counted, to no less than what stands there for it. */
static void nobody_raises_his_own_share(void **state)
{
    (void)state;
    struct ask a = {.worker = 1, .asks = 1, .limit = 1};
    (void)exchange(a);
    set_share(1, 1, 30);
    a.asks = 2, a.holds = 1000;
    assert_int_equal(exchange(a), 30);
    expect_seen(1, 1, 30);
    a.asks = 3, a.holds = 0; /* its lease ended: it goes by nothing */
    assert_int_equal(exchange(a), 30);
    expect_seen(1, 1, 30); /* but has been told of these again */
}

/* One that its worker gave up on, and the server runs it after a later one. */
static void a_late_exchange_changes_nothing(void **state)
{
    (void)state;
    struct ask a = {.worker = 1, .asks = 5, .limit = 1, .want = 50};
    (void)exchange(a);
    set_share(1, 1, 30);
    a.asks = 7;
    assert_int_equal(exchange(a), 30);
    set_share(1, 1, 10);
    struct ask late = {.worker = 1, .asks = 6, .limit = 1, .want = 1};
    assert_int_equal(exchange(late), NO_ROW);
    expect_seen(1, 1, 30);
    assert_int_equal(column("want", 1, 1), 50);
    assert_int_equal(column("asks", 1, 1), 7);
}

static void the_fenced_and_the_unknown_get_nothing(void **state)
{
    (void)state;
    struct ask a = {.worker = 1, .asks = 1, .limit = 1};
    (void)exchange(a);
    set_share(1, 1, 30);
    scratch_run(&scratch, "UPDATE worker SET fenced = true WHERE worker_id = 1");
    a.asks = 2;
    assert_int_equal(exchange(a), NO_ROW);
    assert_int_equal(column("asks", 1, 1), 1); /* so the keeper finds it dead */
    struct ask nobody = {.worker = 99, .asks = 1, .limit = 1};
    assert_int_equal(exchange(nobody), NO_ROW);
    struct ask no_limit = {.worker = 2, .asks = 1, .limit = 99};
    assert_int_equal(exchange(no_limit), NO_ROW);
}

static void who_leaves_leaves_nothing(void **state)
{
    (void)state;
    struct pg_params *p = pg_params_new();
    for (int worker = 1; worker <= 2; worker++)
        for (int limit = 1; limit <= 2; limit++)
            (void)exchange((struct ask){.worker = worker, .asks = 1, .limit = limit});
    for (int unpaid = 1; unpaid >= 0; unpaid--) {
        pg_params_reset(p);
        pg_add_int(p, PG_INT8, 1);
        pg_array(p, PG_INT4);
        if (unpaid)
            pg_elem_int(p, 2);
        pg_rows_free(scratch_ask(&scratch, sql_of(SQL_LEAVE), p));
        assert_int_equal(scratch_int(&scratch, "SELECT count(*) FROM limit_share"), 2 + unpaid);
        assert_int_equal(scratch_int(&scratch, "SELECT min(worker_id) FROM limit_share"),
                         2 - unpaid);
    }
    pg_params_free(p);
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* The operator's amount goes before the catalogue's; what was learned lowers the endpoint's. */
static void limits_are_what_was_said_last_and_learned(void **state)
{
    static const int64_t want[][6] = {
        /* limit, scope, dimension, amount, multiplier, headroom */
        {1, 1, 1, 100, 700, 20},
        {2, 3, 6, 8, 1000, 20},
        {3, 2, 5, 1000, 1000, 20},
    };
    (void)state;
    scratch_run(&scratch, "UPDATE limit_rule SET of_operator = 100 WHERE limit_id = 1;"
                          "UPDATE limit_rule SET of_catalogue = NULL WHERE limit_id = 4;"
                          "INSERT INTO limit_learned (endpoint, multiplier) VALUES ('eu@1', 700)");
    struct pg_rows *rows = scratch_ask(&scratch, sql_of(SQL_LIMITS), NULL);
    assert_int_equal(pg_row_count(rows), 3);
    for (int i = 0; i < 3; i++) {
        static const int cols[] = {0, 1, 3, 4, 5, 6};
        for (int j = 0; j < 6; j++)
            assert_int_equal(pg_get_int(rows, i, cols[j]), want[i][j]);
    }
    assert_true(span_is(pg_get_span(rows, 0, 2), "eu@1"));
    pg_rows_free(rows);
}

/* The view that people read says the same, and what is handed out. */
static void the_view_agrees(void **state)
{
    (void)state;
    struct ask a = {.worker = 1, .asks = 1, .limit = 1, .want = 50};
    (void)exchange(a);
    set_share(1, 1, 30);
    a.asks = 2;
    (void)exchange(a);
    set_share(1, 1, 10); /* counted as it was, until the worker says so */
    (void)exchange((struct ask){.worker = 2, .asks = 1, .limit = 1, .want = 5, .in_use = 2});
    scratch_run(&scratch, "INSERT INTO limit_learned (endpoint, multiplier) VALUES ('eu@1', 500)");
    struct pg_rows *rows = scratch_ask(&scratch,
                                       "SELECT amount, multiplier, usable, workers, holders, held,"
                                       " in_use, wanted FROM limit_now WHERE limit_id = 1",
                                       NULL);
    static const int64_t want[] = {200, 500, 98, 2, 1, 30, 2, 55};
    for (int i = 0; i < 8; i++)
        assert_int_equal(pg_get_int(rows, 0, i), want[i]);
    pg_rows_free(rows);
    assert_int_equal(scratch_int(&scratch, "SELECT usable FROM limit_now WHERE limit_id = 2"), 8);
    assert_int_equal(scratch_int(&scratch, "SELECT sum(share)::int8 FROM limit_holder"
                                           " WHERE key = 'eu@1' AND host = 'h'"),
                     10);
}

/* ---- the dead -------------------------------------------------------------------------------- */

struct statement_of_another {
    const char *sql;
    struct pg_params *params;
    int64_t affected; /* rows; of what returns some, the first's share or chunk */
    pthread_t thread;
};

static void *run_elsewhere(void *arg)
{
    struct statement_of_another *s = arg;
    struct pgc *conn = NULL;
    struct pg_rows *rows = NULL;
    s->affected = -1;
    if (pgc_open(scratch.conninfo, "inferq-test", &conn, NULL) == RC_OK &&
        pgc_exec(conn, s->sql, s->params, &rows, NULL) == RC_OK)
        s->affected = pg_row_count(rows) ? pg_get_int(rows, 0, pg_col_count(rows) > 2 ? 2 : 1)
                                         : pg_affected(rows);
    pg_rows_free(rows);
    pgc_close(conn);
    return NULL;
}

/* Starts it, and waits until it waits for what the open transaction of `scratch` has locked. */
static void start_elsewhere(struct statement_of_another *s)
{
    assert_int_equal(pthread_create(&s->thread, NULL, run_elsewhere, s), 0);
    while (scratch_int(&scratch, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type ="
                                 " 'Lock' AND datname = current_database()") == 0)
        scratch_run(&scratch, "SELECT pg_sleep(0.001); SELECT pg_stat_clear_snapshot()");
}

static int64_t end_elsewhere(struct statement_of_another *s)
{
    scratch_run(&scratch, "COMMIT");
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    pg_params_free(s->params);
    return s->affected;
}

static void the_dead_go_and_who_asked_meanwhile_stays(void **state)
{
    (void)state;
    (void)exchange((struct ask){.worker = 1, .asks = 3, .limit = 1});
    (void)exchange((struct ask){.worker = 2, .asks = 3, .limit = 1});
    assert_int_equal(drop_dead(1, 1, 2), 0);
    assert_int_equal(drop_dead(1, 1, 3), 1);
    assert_int_equal(column("asks", 1, 1), -1);
    /* It asks while the keeper, who saw 3, drops it. */
    struct statement_of_another keeper = {.sql = sql_of(SQL_SHARE_DEAD), .params = pg_params_new()};
    pg_array(keeper.params, PG_INT4);
    pg_elem_int(keeper.params, 1);
    pg_array(keeper.params, PG_INT8);
    pg_elem_int(keeper.params, 2);
    pg_array(keeper.params, PG_INT8);
    pg_elem_int(keeper.params, 3);
    scratch_run(&scratch, "BEGIN");
    (void)exchange((struct ask){.worker = 2, .asks = 4, .limit = 1});
    start_elsewhere(&keeper);
    assert_int_equal(end_elsewhere(&keeper), 0);
    assert_int_equal(column("asks", 1, 2), 4);
}

/* The other way round: it is dropped first, and what it gets then is nothing. */
static void who_was_dropped_starts_anew(void **state)
{
    (void)state;
    (void)exchange((struct ask){.worker = 1, .asks = 3, .limit = 1});
    set_share(1, 1, 30);
    struct statement_of_another late = {
        .sql = sql_of(SQL_EXCHANGE),
        .params = exchange_params((struct ask){.worker = 1, .asks = 4, .limit = 1})};
    scratch_run(&scratch, "BEGIN");
    assert_int_equal(drop_dead(1, 1, 3), 1);
    start_elsewhere(&late);
    assert_int_equal(end_elsewhere(&late), 0);
    assert_int_equal(column("share", 1, 1), 0);
    expect_seen(1, 1, 0);
}

/* ---- a day's budget -------------------------------------------------------------------------- */

static struct pg_params *take_params(int64_t worker, int64_t units)
{
    struct pg_params *p = pg_params_new();
    pg_add_int(p, PG_INT8, worker);
    pg_array(p, PG_INT4);
    pg_elem_int(p, 1); /* not by the day: nothing */
    pg_elem_int(p, 3);
    pg_array(p, PG_INT8);
    pg_elem_int(p, units);
    pg_elem_int(p, units);
    return p;
}

struct chunk {
    int64_t day, taken, left_ms;
};

static struct chunk take(int64_t worker, int64_t units)
{
    struct chunk chunk = {0};
    struct pg_params *p = take_params(worker, units);
    struct pg_rows *rows = scratch_ask(&scratch, sql_of(SQL_DAY_TAKE), p);
    assert_true(pg_row_count(rows) <= 1);
    if (pg_row_count(rows) == 1) {
        assert_int_equal(pg_get_int(rows, 0, 0), 3);
        chunk =
            (struct chunk){pg_get_int(rows, 0, 1), pg_get_int(rows, 0, 2), pg_get_int(rows, 0, 3)};
    }
    pg_rows_free(rows);
    pg_params_free(p);
    return chunk;
}

static void give(int64_t day, int64_t units)
{
    struct pg_params *p = pg_params_new();
    pg_array(p, PG_INT4);
    pg_elem_int(p, 3);
    pg_array(p, PG_INT4);
    pg_elem_int(p, day);
    pg_array(p, PG_INT8);
    pg_elem_int(p, units);
    pg_rows_free(scratch_ask(&scratch, sql_of(SQL_DAY_GIVE), p));
    pg_params_free(p);
}

static int64_t used(void)
{
    return scratch_int(&scratch, "SELECT coalesce(sum(used), 0)::int8 FROM limit_day");
}

static void chunks_end_where_the_budget_ends(void **state)
{
    (void)state;
    assert_int_equal(take(1, 600).taken, 600);
    struct chunk last = take(2, 600);
    assert_int_equal(last.taken, 400);
    assert_true(last.left_ms > 0 && last.left_ms <= 86400000);
    assert_int_equal(take(1, 1).taken, 0);
    give(last.day, 150);
    assert_int_equal(used(), 850);
    assert_int_equal(take(1, 600).taken, 150);
    scratch_run(&scratch, "UPDATE limit_rule SET of_operator = 1100 WHERE limit_id = 3");
    assert_int_equal(take(1, 600).taken, 100);
    scratch_run(&scratch, "UPDATE limit_rule SET of_operator = 500 WHERE limit_id = 3");
    assert_int_equal(take(1, 1).taken, 0);
    give(last.day - 1, 100); /* of yesterday: there was none */
    give(last.day, 5000);    /* no more than was taken */
    assert_int_equal(used(), 0);
    assert_int_equal(take(1, 9000).taken, 500);
    assert_int_equal(take(1, 0).taken + take(1, -5).taken, 0);
    scratch_run(&scratch, "UPDATE limit_rule SET of_operator = NULL WHERE limit_id = 3;"
                          "UPDATE worker SET fenced = true WHERE worker_id = 1");
    assert_int_equal(take(1, 1).taken, 0);
    assert_int_equal(take(2, 1).taken, 1);
}

static void two_at_once_never_take_more_than_there_is(void **state)
{
    (void)state;
    struct statement_of_another other = {.sql = sql_of(SQL_DAY_TAKE),
                                         .params = take_params(2, 700)};
    assert_int_equal(take(1, 100).taken, 100); /* the day's row is there */
    scratch_run(&scratch, "BEGIN");
    assert_int_equal(take(1, 700).taken, 700);
    start_elsewhere(&other);
    assert_int_equal(end_elsewhere(&other), 200);
    assert_int_equal(used(), 1000);
}

/* The same where neither finds a row. */
static void the_days_first_two_never_take_more_than_there_is(void **state)
{
    (void)state;
    struct statement_of_another other = {.sql = sql_of(SQL_DAY_TAKE),
                                         .params = take_params(2, 700)};
    scratch_run(&scratch, "BEGIN");
    assert_int_equal(take(1, 700).taken, 700);
    start_elsewhere(&other);
    assert_int_equal(end_elsewhere(&other), 300);
    assert_int_equal(used(), 1000);
}

/* By the server's clock, in UTC, wherever the session thinks that it is. */
static void a_new_day_has_a_new_budget(void **state)
{
    (void)state;
    scratch_run(&scratch, "SET timezone = 'Pacific/Auckland'");
    struct pg_rows *rows =
        scratch_ask(&scratch, "SELECT floor(extract(epoch FROM now()) / 86400)::int4", NULL);
    int64_t today = pg_get_int(rows, 0, 0);
    pg_rows_free(rows);
    struct chunk chunk = take(1, 1000);
    assert_true(chunk.day == today || chunk.day == today + 1); /* midnight passes now and then */
    scratch_run(&scratch, "UPDATE limit_day SET day = day - 1; SET timezone = 'UTC'");
    assert_int_equal(take(1, 1000).taken, 1000);
    assert_int_equal(scratch_int(&scratch, "SELECT count(*) FROM limit_day"), 2);
}

/* ---- durable --------------------------------------------------------------------------------- */

/* As workers send it: a pipeline with one Sync. */
enum { DURABLE, ASK };
static const struct pg_stmt durable_statements[] = {
    [DURABLE] = {"durable", NULL}, /* the workers' */
    [ASK] = {"ask", "SELECT current_setting('synchronous_commit')"},
    {0},
};

struct told {
    bool up, done;
    char says[16]; /* the last statement's answer */
};

static void on_up(void *arg)
{
    ((struct told *)arg)->up = true;
}

static void on_down(void *arg, const char *why)
{
    (void)arg, (void)why;
}

static void on_notify(void *arg, const char *channel, const char *payload)
{
    (void)arg, (void)channel, (void)payload;
}

static void on_done(void *arg, const struct pg_answer *answer)
{
    struct told *told = arg;
    told->done = true;
    assert_int_equal(answer->rc, RC_OK);
    struct span says = pg_get_span(answer->rows[answer->step_count - 1], 0, 0);
    (void)snprintf(told->says, sizeof told->says, "%.*s", (int)says.n, says.p);
}

static void expect_told(struct pg *pg, uv_loop_t *loop, struct told *told,
                        const struct pg_step *steps, int count, const char *want)
{
    struct err err = {""};
    told->done = false;
    if (pg_txn(pg, steps, count, on_done, told, &err) != RC_OK)
        fail_msg("%s", err.text);
    while (!told->done)
        uv_run(loop, UV_RUN_ONCE);
    assert_string_equal(told->says, want);
}

static void durable_holds_for_its_transaction(void **state)
{
    (void)state;
    static const struct pg_step steps[] = {{DURABLE, NULL}, {ASK, NULL}};
    struct pg_stmt statements[sizeof durable_statements / sizeof durable_statements[0]];
    struct told told = {0};
    struct err err = {""};
    uv_loop_t loop;
    memcpy(statements, durable_statements, sizeof statements);
    statements[DURABLE].sql = sql_of(SQL_DURABLE);
    uv_loop_init(&loop);
    struct pg_conf conf = {.conninfo = scratch.conninfo,
                           .name = "limits-test",
                           .statements = statements,
                           .settings = store_settings_keep,
                           .arg = &told,
                           .on_up = on_up,
                           .on_down = on_down,
                           .on_notify = on_notify};
    struct pg *pg = pg_new(&loop, &conf, &err);
    if (!pg)
        fail_msg("%s", err.text);
    while (!told.up)
        uv_run(&loop, UV_RUN_ONCE);
    expect_told(pg, &loop, &told, steps + ASK, 1, "off");
    expect_told(pg, &loop, &told, steps, 2, "on");
    expect_told(pg, &loop, &told, steps + ASK, 1, "off");
    pg_free(pg);
    assert_int_equal(loop_end(&loop), 0);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int64_t below(uint64_t *random, int64_t n) /* splitmix64 */
{
    uint64_t z = *random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (int64_t)((z ^ z >> 31) % (uint64_t)n);
}

/* A worker, and what it really goes by. */
struct holder {
    int64_t asks, by;
    bool late; /* an ask that it gave up on has not come to the server yet */
    struct ask given_up;
};

/* Of three answers one is lost; now and then an ask is given up, and comes after later ones. */
static void ask_again(struct holder *h, int64_t worker, uint64_t *random)
{
    struct ask a = {.worker = worker, .asks = ++h->asks, .limit = 1, .holds = h->by};
    if (!h->late && below(random, 8) == 0) {
        h->late = true;
        h->given_up = a;
        return;
    }
    int64_t share = exchange(a);
    assert_int_not_equal(share, NO_ROW);
    if (below(random, 3) > 0)
        h->by = share;
    if (h->late && below(random, 2) == 0) {
        assert_int_equal(exchange(h->given_up), NO_ROW);
        h->late = false;
    }
}

static int64_t counted(const struct pg_rows *rows, int row)
{
    int64_t share = pg_get_int(rows, row, 7), seen = pg_get_int(rows, row, 8);
    return share > seen ? share : seen;
}

/* Moves a share: down as it likes, up by what is free. */
static void keep(int64_t amount, uint64_t *random)
{
    struct pg_rows *rows = scratch_ask(&scratch, sql_of(SQL_SHARES), NULL);
    int n = pg_row_count(rows), row = n ? (int)below(random, n) : 0;
    int64_t all = 0;
    for (int i = 0; i < n; i++)
        all += counted(rows, i);
    assert_true(all <= amount);
    if (n) {
        int64_t share = below(random, pg_get_int(rows, row, 7) + 1);
        if (below(random, 2) == 0)
            share = counted(rows, row) + amount - all;
        set_share(1, pg_get_int(rows, row, 1), share);
    }
    pg_rows_free(rows);
}

static void nobody_goes_by_more_than_there_is(void **state)
{
    enum { STEPS = 1500, AMOUNT = 100 };
    struct holder holders[WORKERS + 1] = {0};
    uint64_t random = 6;
    int64_t most = 0;
    (void)state;
    scratch_run(&scratch, "SET synchronous_commit = off"); /* nothing is cut off here */
    for (int step = 0; step < STEPS; step++) {
        int worker = 1 + (int)below(&random, WORKERS);
        if (below(&random, 3) == 0)
            keep(AMOUNT, &random);
        else
            ask_again(&holders[worker], worker, &random);
        int64_t all = 0;
        for (int i = 1; i <= WORKERS; i++)
            all += holders[i].by;
        if (all > AMOUNT)
            fail_msg("step %d: workers go by %d of %d", step, (int)all, AMOUNT);
        most = all > most ? all : most;
    }
    assert_true(most > AMOUNT * 9 / 10);
}

/* ---- the run --------------------------------------------------------------------------------- */

static int open_scratch(void **state)
{
    (void)state;
    return scratch_open(&scratch, "store_limits") ? 0 : -1;
}

static int close_scratch(void **state)
{
    (void)state;
    scratch_close(&scratch);
    return 0;
}

/* Under the workers' settings: four workers; limits 1 and 4 of an endpoint, 2 of an app, 3 of a
 * model by the day. */
static int fill(void **state)
{
    (void)state;
    scratch_run(&scratch,
                "TRUNCATE limit_rule, limit_share, limit_day, limit_learned, worker"
                " RESTART IDENTITY CASCADE;"
                "INSERT INTO worker (host, pid, build, lease_until) SELECT 'h', i, 'b',"
                " now() + interval '1 h' FROM generate_series(1, 4) i;"
                "INSERT INTO limit_rule (scope, key, dimension, of_catalogue, changed_by) VALUES"
                " (1, 'eu@1', 1, 200, 't'), (3, 'nightly', 6, 8, 't'), (2, 'm@1', 5, 1000, 't'),"
                " (1, 'eu@1', 4, 7, 't')");
    for (const char *const *s = store_settings_keep; *s; s++)
        scratch_run(&scratch, *s);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, fill)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_exchange_says_and_learns),
        TEST(a_lowered_share_is_free_once_its_holder_says_so),
        TEST(nobody_raises_his_own_share),
        TEST(a_late_exchange_changes_nothing),
        TEST(the_fenced_and_the_unknown_get_nothing),
        TEST(who_leaves_leaves_nothing),
        TEST(limits_are_what_was_said_last_and_learned),
        TEST(the_view_agrees),
        TEST(the_dead_go_and_who_asked_meanwhile_stays),
        TEST(who_was_dropped_starts_anew),
        TEST(chunks_end_where_the_budget_ends),
        TEST(two_at_once_never_take_more_than_there_is),
        TEST(the_days_first_two_never_take_more_than_there_is),
        TEST(a_new_day_has_a_new_budget),
        TEST(durable_holds_for_its_transaction),
        TEST(nobody_goes_by_more_than_there_is),
    };
    log_setup("limits-test", LOG_ERROR, LOG_KV);
    return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
