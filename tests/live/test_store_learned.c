/*
 * test_store_learned.c - the workers' statements about what calls taught of endpoints, asked on the
 * real server: whose pause counts, who gets the probe and when, how far throttling lowers a limit
 * and how it comes back. In the last test many workers ask for one probe at once.
 *
 * Time passes by setting the rows' times back.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/log.h"
#include "tests/live/scratch.h"
#include "worker/store_sql.h"

enum { ASKERS = 8, ROUNDS = 25 };
#define S INT64_C(1000000)
#define LEASE (30 * S)

static struct scratch scratch;

static const char *sql_of(int statement)
{
    return store_sql_keep[statement].sql;
}

/* Returns how many rows it touched. */
static int64_t run(int statement, struct pg_params *p)
{
    struct pg_rows *rows = scratch_ask(&scratch, sql_of(statement), p);
    int64_t n = pg_affected(rows);
    pg_rows_free(rows);
    pg_params_free(p);
    return n;
}

static void add_endpoint(struct pg_params *p)
{
    pg_array(p, PG_TEXT);
    pg_elem_span(p, SPAN_LIT("eu@1"));
}

static struct pg_params *of_worker(int64_t worker)
{
    struct pg_params *p = pg_params_new();
    pg_add_int(p, PG_INT8, worker);
    return p;
}

static void pauses(int64_t left_us, int class, int faults, bool probing)
{
    struct pg_params *p = pg_params_new();
    add_endpoint(p);
    pg_array(p, PG_INT8);
    pg_elem_int(p, left_us);
    pg_array(p, PG_INT2);
    pg_elem_int(p, class);
    pg_array(p, PG_INT2);
    pg_elem_int(p, faults);
    pg_array(p, PG_BOOL);
    pg_elem_bool(p, probing);
    assert_int_equal(run(SQL_LEARNED_PAUSE, p), 1);
}

static int64_t opens(int64_t worker)
{
    struct pg_params *p = of_worker(worker);
    add_endpoint(p);
    return run(SQL_LEARNED_OPEN, p);
}

static struct pg_params *probe_params(int64_t worker, bool renewed)
{
    struct pg_params *p = of_worker(worker);
    pg_add_int(p, PG_INT8, LEASE);
    add_endpoint(p);
    pg_array(p, PG_BOOL);
    pg_elem_bool(p, renewed);
    return p;
}

static int64_t probes(int64_t worker)
{
    return run(SQL_LEARNED_PROBE, probe_params(worker, false));
}

static int64_t leaves(int64_t worker, bool all)
{
    struct pg_params *p = of_worker(worker);
    if (all)
        pg_array(p, PG_TEXT);
    else
        add_endpoint(p);
    return run(SQL_LEARNED_LEAVE, p);
}

static int64_t throttled(int64_t before_us)
{
    struct pg_params *p = of_worker(10 * S); /* a step's time to show its effect */
    add_endpoint(p);
    pg_array(p, PG_INT8);
    pg_elem_int(p, before_us);
    return run(SQL_LEARNED_LOWER, p);
}

static void time_passes(int seconds)
{
    char sql[400];
    (void)snprintf(sql, sizeof sql,
                   "UPDATE limit_learned SET paused_until = paused_until - i, probe_until ="
                   " probe_until - i, lowered_at = lowered_at - i, throttled_at = throttled_at - i,"
                   " changed_at = changed_at - i FROM (SELECT %d * interval '1 second' AS i) n",
                   seconds);
    scratch_run(&scratch, sql);
}

static int64_t multiplier(void)
{
    return scratch_int(&scratch, "SELECT multiplier::int8 FROM limit_learned");
}

struct view {
    int64_t left_us, class, faults, probe_left_us;
    bool probing, mine;
};

static struct view look(int64_t worker)
{
    struct pg_params *p = of_worker(worker);
    struct pg_rows *r = scratch_ask(&scratch, sql_of(SQL_LEARNED), p);
    assert_int_equal(pg_row_count(r), 1);
    assert_true(span_is(pg_get_span(r, 0, 0), "eu@1"));
    struct view v = {pg_get_int(r, 0, 1), pg_get_int(r, 0, 2),  pg_get_int(r, 0, 4),
                     pg_get_int(r, 0, 6), pg_get_bool(r, 0, 3), pg_get_bool(r, 0, 5)};
    pg_rows_free(r);
    pg_params_free(p);
    return v;
}

/* ---- pauses ---------------------------------------------------------------------------------- */

static void the_longest_pause_counts(void **state)
{
    (void)state;
    pauses(20 * S, 39, 1, false);
    struct view v = look(1);
    assert_true(v.left_us > 19 * S && v.left_us <= 20 * S && v.class == 39 && !v.probing);
    pauses(10 * S, 43, 3, true); /* shorter, but it is to be probed now */
    v = look(1);
    assert_true(v.left_us > 19 * S && v.class == 39 && v.faults == 3 && v.probing);
    pauses(40 * S, 43, 2, false);
    v = look(1);
    assert_true(v.left_us > 39 * S && v.class == 43 && v.faults == 3 && v.probing);
    time_passes(60);
    assert_true(look(1).left_us == 0 && look(1).probing);
}

static void what_paused_it_since_goes_on(void **state)
{
    (void)state;
    pauses(20 * S, 39, 1, true);
    assert_int_equal(opens(1), 0);
    assert_true(look(1).probing);
    time_passes(20);
    assert_int_equal(opens(1), 1);
    struct view v = look(1);
    assert_true(!v.probing && v.left_us == 0 && v.faults == 0);
    assert_int_equal(opens(1), 0); /* nobody is told twice */
}

/* ---- the probe ------------------------------------------------------------------------------- */

static void one_worker_has_the_probe_until_its_time_is_over(void **state)
{
    (void)state;
    pauses(20 * S, 43, 1, true);
    assert_int_equal(probes(1), 0); /* it is paused yet */
    time_passes(20);
    assert_int_equal(probes(1), 1);
    assert_int_equal(probes(2), 0);
    assert_true(look(1).mine && look(1).probe_left_us > LEASE - S);
    assert_true(!look(2).mine && look(2).probe_left_us > LEASE - S);
    time_passes(20);
    assert_int_equal(probes(1), 1); /* it runs yet */
    time_passes(20);
    assert_int_equal(probes(2), 0);
    time_passes(10);
    assert_int_equal(probes(2), 1); /* its worker is dead */
    assert_int_equal(leaves(1, true), 0);
    assert_int_equal(leaves(2, false), 1);
    assert_int_equal(probes(1), 1);
    assert_int_equal(leaves(1, true), 1);
    scratch_run(&scratch, "UPDATE worker SET fenced = true WHERE worker_id = 1");
    assert_int_equal(probes(1), 0);
    assert_int_equal(probes(99), 0);
}

/* Another's old call has shown that it works, while a probe is on its way: should the endpoint be
 * closed again at once, there is still no other. */
static void a_probe_under_way_is_not_forgotten(void **state)
{
    (void)state;
    pauses(0, 43, 1, true);
    assert_int_equal(probes(1), 1);
    assert_int_equal(opens(2), 1);
    pauses(0, 43, 1, true);
    assert_int_equal(probes(2), 0);
    assert_int_equal(leaves(1, false), 1);
    assert_int_equal(probes(2), 1);
    assert_int_equal(opens(2), 1); /* its own success gives it back */
    assert_int_equal(look(2).probe_left_us, 0);
}

/* Who has another credential need not wait. */
static void a_renewed_credential_ends_the_pause(void **state)
{
    (void)state;
    pauses(60 * S, 35, 1, true);
    assert_int_equal(run(SQL_LEARNED_PROBE, probe_params(2, true)), 1);
    struct view v = look(2);
    assert_true(v.mine && v.left_us == 0 && v.probing);
}

/* ---- the multiplier -------------------------------------------------------------------------- */

static int64_t ceiling(void)
{
    return scratch_int(&scratch, "SELECT ceiling::int8 FROM limit_learned");
}

/* The fleet has sent so many calls within the last minute, of the hundred that are allowed. */
static void sent(int calls)
{
    char sql[400];
    (void)snprintf(sql, sizeof sql,
                   "UPDATE limit_rule SET of_catalogue = 100; DELETE FROM limit_share;"
                   " INSERT INTO limit_share (limit_id, worker_id, asks, wants, want, need, seen,"
                   " in_use) SELECT limit_id, w, 1, '', 0, 1, 0, CASE w WHEN 1 THEN 1 ELSE %d END"
                   " FROM limit_rule, generate_series(1, 2) AS w",
                   calls - 1);
    scratch_run(&scratch, sql);
}

static void a_step_down_has_time_to_show_its_effect(void **state)
{
    (void)state;
    pauses(0, 39, 1, true);
    assert_int_equal(throttled(0), 1);
    assert_true(multiplier() == 699 && ceiling() == 777); /* nobody knows what was sent */
    (void)throttled(0);                                   /* other workers, the same second */
    assert_int_equal(multiplier(), 699);
    time_passes(11);
    (void)throttled(13 * S); /* it was in flight when the limit was lowered */
    assert_int_equal(multiplier(), 699);
    (void)throttled(1 * S);
    assert_true(multiplier() == 488 && ceiling() == 543);
    for (int i = 0; i < 40; i++) {
        time_passes(11);
        (void)throttled(0);
    }
    assert_int_equal(multiplier(), 1);
}

/* It falls to a tenth below what was sent within a minute, however far off the limit is. */
static void a_step_down_is_to_what_was_sent(void **state)
{
    static const struct {
        int sent, was, is, ceiling;
        bool again; /* within a minute of another step */
    } rows[] = {
        {100, 1000, 900, 1000, false}, {40, 1000, 360, 400, false}, {10, 1000, 90, 100, false},
        {4, 1000, 49, 55, false},   /* a lone call that is refused says less: a twentieth */
        {10, 1000, 699, 777, true}, /* the minute began before that step */
        {95, 1000, 855, 950, true},    {50, 300, 270, 300, false}, /* it was above */
        {1, 1, 1, 1, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char sql[200];
        pauses(0, 39, 1, true);
        (void)snprintf(sql, sizeof sql,
                       "UPDATE limit_learned SET multiplier = %d, ceiling = 1000,"
                       " lowered_at = now() - interval '%d seconds'",
                       rows[i].was, rows[i].again ? 30 : 90);
        scratch_run(&scratch, sql);
        sent(rows[i].sent);
        (void)throttled(0);
        if (multiplier() != rows[i].is || ceiling() != rows[i].ceiling)
            fail_msg("row %zu: multiplier %lld, ceiling %lld", i, (long long)multiplier(),
                     (long long)ceiling());
    }
}

/* Without a limit of units a minute there is nothing to lower. */
static void what_is_not_limited_is_not_lowered(void **state)
{
    (void)state;
    pauses(0, 39, 1, true);
    scratch_run(&scratch, "UPDATE limit_rule SET dimension = 6");
    assert_int_equal(throttled(0), 0);
    scratch_run(&scratch, "UPDATE limit_rule SET dimension = 1, of_catalogue = NULL");
    assert_int_equal(throttled(0), 0);
    scratch_run(&scratch, "UPDATE limit_rule SET of_operator = 7, scope = 2");
    assert_int_equal(throttled(0), 0);
    scratch_run(&scratch, "UPDATE limit_rule SET scope = 1");
    assert_int_equal(throttled(0), 1);
}

static int64_t rises(void)
{
    return run(SQL_LEARNED_RAISE, of_worker(10 * S));
}

/* Half of the way to where it throttled, slowly past that, then ever faster, to no more than was
 * said: near the limit it stays long, and what only seemed to be one is forgotten in minutes. */
static void it_comes_back_to_where_it_throttled_first(void **state)
{
    static const int steps[] = {49, 52, 53, 54,  55,  56,  57,  59,
                                63, 71, 87, 119, 183, 311, 567, 1000};
    (void)state;
    pauses(0, 39, 1, true);
    sent(1);
    (void)throttled(0);
    (void)opens(1);
    assert_int_equal(rises(), 0); /* too soon */
    time_passes(11);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (multiplier() != steps[i])
            fail_msg("step %zu: %lld", i, (long long)multiplier());
        assert_int_equal(rises(), steps[i] < 1000);
    }
}

/* While it is closed nobody knows more of it than before: past where it throttled it rises by the
 * least there is, as a job that needs more may be the one to probe it. */
static void it_rises_slowly_while_it_is_closed(void **state)
{
    static const struct {
        int was, is, ceiling;
        bool probing;
    } rows[] = {
        {500, 550, 600, true}, {600, 606, 606, true},  {640, 646, 646, true}, /* with it */
        {100, 350, 600, true}, {640, 680, 600, false}, {601, 607, 600, false},
    };
    (void)state;
    pauses(20 * S, 39, 1, true);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char sql[200];
        if (!rows[i].probing) {
            time_passes(30);
            (void)opens(1);
        }
        (void)snprintf(sql, sizeof sql,
                       "UPDATE limit_learned SET multiplier = %d, ceiling = 600,"
                       " changed_at = now() - interval '1 hour'",
                       rows[i].was);
        scratch_run(&scratch, sql);
        assert_int_equal(rises(), 1);
        if (multiplier() != rows[i].is || ceiling() != rows[i].ceiling)
            fail_msg("row %zu: %lld of %lld", i, (long long)multiplier(), (long long)ceiling());
    }
    pauses(20 * S, 39, 1, false); /* paused without a probe, as for a reset that was told */
    scratch_run(&scratch, "UPDATE limit_learned SET multiplier = 640, throttled_at = NULL,"
                          " changed_at = now() - interval '1 hour'");
    assert_int_equal(rises(), 1);
    assert_int_equal(multiplier(), 646);
}

/* ---- all at once ----------------------------------------------------------------------------- */

struct asker {
    pthread_t thread;
    int64_t worker;
    int got;
    struct pgc *conn;
};

static void *asks(void *arg)
{
    struct asker *a = arg;
    struct err err = {0};
    struct pg_rows *rows = NULL;
    struct pg_params *p = probe_params(a->worker, false);
    if (pgc_exec(a->conn, sql_of(SQL_LEARNED_PROBE), p, &rows, &err) == RC_OK)
        a->got += (int)pg_affected(rows);
    pg_rows_free(rows);
    pg_params_free(p);
    return NULL;
}

static void of_many_who_ask_at_once_one_gets_it(void **state)
{
    (void)state;
    struct asker askers[ASKERS] = {0};
    struct err err = {0};
    for (int i = 0; i < ASKERS; i++) {
        askers[i].worker = i + 1;
        if (pgc_open(scratch.conninfo, "asker", &askers[i].conn, &err) != RC_OK)
            fail_msg("%s", err.text);
    }
    for (int round = 1; round <= ROUNDS; round++) {
        int got = 0;
        scratch_run(&scratch, "TRUNCATE limit_learned");
        pauses(0, 43, 1, true);
        for (int i = 0; i < ASKERS; i++)
            assert_int_equal(pthread_create(&askers[i].thread, NULL, asks, &askers[i]), 0);
        for (int i = 0; i < ASKERS; i++) {
            (void)pthread_join(askers[i].thread, NULL);
            got += askers[i].got;
        }
        assert_int_equal(got, round);
    }
    for (int i = 0; i < ASKERS; i++)
        pgc_close(askers[i].conn);
}

/* ---- the run --------------------------------------------------------------------------------- */

static int open_scratch(void **state)
{
    (void)state;
    return scratch_open(&scratch, "store_learned") ? 0 : -1;
}

static int close_scratch(void **state)
{
    (void)state;
    scratch_close(&scratch);
    return 0;
}

/* Eight workers, and one endpoint with a limit of requests a minute. */
static int fill(void **state)
{
    (void)state;
    scratch_run(&scratch, "TRUNCATE limit_rule, limit_learned, worker RESTART IDENTITY CASCADE;"
                          "INSERT INTO worker (host, pid, build, lease_until) SELECT 'h', i, 'b',"
                          " now() + interval '1 h' FROM generate_series(1, 8) i;"
                          "INSERT INTO limit_rule (scope, key, dimension, of_catalogue,"
                          " changed_by) VALUES (1, 'eu@1', 1, 200, 't')");
    for (const char *const *s = store_settings_keep; *s; s++)
        scratch_run(&scratch, *s);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, fill)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_longest_pause_counts),
        TEST(what_paused_it_since_goes_on),
        TEST(one_worker_has_the_probe_until_its_time_is_over),
        TEST(a_probe_under_way_is_not_forgotten),
        TEST(a_renewed_credential_ends_the_pause),
        TEST(a_step_down_has_time_to_show_its_effect),
        TEST(a_step_down_is_to_what_was_sent),
        TEST(what_is_not_limited_is_not_lowered),
        TEST(it_comes_back_to_where_it_throttled_first),
        TEST(it_rises_slowly_while_it_is_closed),
        TEST(of_many_who_ask_at_once_one_gets_it),
    };
    log_setup("learned-test", LOG_ERROR, LOG_KV);
    return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
