/*
 * test_store_sql.c - single statements of the worker, asked on the real server.
 *
 * Those that take at most so many rows take no more, whatever the planner thought of the tables
 * when it planned them. A pull takes of each app what it names, through the crowd of another.
 * A LIMIT in a subquery that is joined holds only as long as the subquery runs once: as the inner
 * side of a nested loop it runs again for each outer row, skips what it has locked itself, and
 * takes the next ones. That plan looks cheap to a planner that has seen the table with one row.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/live/scratch.h"
#include "worker/store_sql.h"

enum { ROWS = 40 };

static struct scratch scratch;

/* `n` rows of this app that wait for key 1, their time and deadline over since `ago_s` and longer,
 * each at another moment. */
static void park_of(const char *app, int n, int ago_s)
{
    char sql[512];
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO parked (job_id, batch_id, next_at, deadline_at, wait_key, priority,"
                   " number, attempts, reasks, waited_us, model_us, reason, payload, app)"
                   " SELECT gen_random_uuid(), gen_random_uuid(), t, t, 1, 1, 1, 0, 0, 0, 0, 0, '',"
                   " '%s' FROM (SELECT now() - (i + %d) * interval '1 s' AS t"
                   "   FROM generate_series(1, %d) i) s",
                   app, ago_s, n);
    scratch_run(&scratch, sql);
}

static void park(int n)
{
    park_of("a", n, 0);
}

/* The worker's statement, planned when one row was parked, under the worker's settings. */
static void prepare_at_one_row(const struct pg_stmt *stmt, const char *const *settings,
                               const char *first)
{
    static char sql[16384];
    scratch_run(&scratch, "DEALLOCATE ALL; TRUNCATE parked");
    for (; *settings; settings++)
        scratch_run(&scratch, *settings);
    park(1);
    scratch_run(&scratch, "ANALYZE parked");
    (void)snprintf(sql, sizeof sql, "PREPARE %s AS %s", stmt->name, stmt->sql);
    scratch_run(&scratch, sql);
    pg_rows_free(scratch_ask(&scratch, first, NULL)); /* it is planned when it first runs */
    park(ROWS);
}

static int64_t taken_of(const char *app)
{
    char sql[128];
    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*) FROM parked WHERE app = '%s'"
                   " AND taken_by IS NOT NULL",
                   app);
    return scratch_int(&scratch, sql);
}

/* No more than that, the oldest, and in their order. */
static void pull_takes_what_was_asked_for(void **state)
{
    (void)state;
    prepare_at_one_row(&store_sql_claim[SQL_PULL], store_settings_sync,
                       "EXECUTE pull (1, 2, 1::int2, '{a}', '{20}')");
    struct pg_rows *want =
        scratch_ask(&scratch, "SELECT job_id FROM parked ORDER BY next_at LIMIT 20", NULL);
    struct pg_rows *rows =
        scratch_ask(&scratch, "EXECUTE pull (1, 1, 1::int2, '{a}', '{20}')", NULL);
    assert_int_equal(pg_row_count(rows), 20);
    assert_int_equal(scratch_int(&scratch, "SELECT count(*) FROM parked WHERE taken_by = 1"), 20);
    for (int i = 0; i < 20; i++) {
        struct jobid id = pg_get_uuid(rows, i, 0), oldest = pg_get_uuid(want, i, 0);
        assert_true(jobid_eq(&id, &oldest));
    }
    pg_rows_free(want);
    pg_rows_free(rows);
}

/* Of each app as many as are named, as far as they are there and due, whose rows came first or not;
 * all in the order in which they became due. */
static void pull_takes_of_each_app(void **state)
{
    (void)state;
    prepare_at_one_row(&store_sql_claim[SQL_PULL], store_settings_sync,
                       "EXECUTE pull (1, 2, 1::int2, '{a}', '{20}')");
    park_of("b", 4, 0);
    park_of("c", 6, 0);
    park_of("c", 4, -1000); /* these are not due */
    park_of("d", 10, 0);
    struct pg_rows *rows = scratch_ask(
        &scratch, "EXECUTE pull (1, 1, 1::int2, '{b,a,c,none,e}', '{10,7,9,3,-1}')", NULL);
    assert_int_equal(pg_row_count(rows), 4 + 7 + 6);
    assert_int_equal(taken_of("a"), 7);
    assert_int_equal(taken_of("b"), 4);
    assert_int_equal(taken_of("c"), 6);
    assert_int_equal(scratch_int(&scratch, "SELECT count(*) FROM parked p WHERE taken_by IS NULL"
                                           " AND app = 'a' AND next_at < (SELECT max(next_at)"
                                           "   FROM parked WHERE app = 'a' AND taken_by = 1)"),
                     0);
    pg_rows_free(rows);
    rows = scratch_ask(&scratch, "EXECUTE pull (9, 1, 1::int2, '{a}', '{5}')", NULL);
    assert_int_equal(pg_row_count(rows), 0); /* there is no such worker */
    pg_rows_free(rows);
}

/* What another session holds is passed over, not waited for, and others of the app come instead. */
static void pull_passes_over_what_others_hold(void **state)
{
    struct scratch other = scratch;
    struct err err = {""};
    (void)state;
    prepare_at_one_row(&store_sql_claim[SQL_PULL], store_settings_sync,
                       "EXECUTE pull (1, 2, 1::int2, '{a}', '{20}')");
    assert_int_equal(pgc_open(scratch.conninfo, "inferq-test", &other.conn, &err), RC_OK);
    scratch_run(&other, "BEGIN");
    pg_rows_free(scratch_ask(
        &other, "SELECT FROM inferq.parked ORDER BY next_at LIMIT 30 FOR UPDATE", NULL));
    struct pg_rows *rows =
        scratch_ask(&scratch, "EXECUTE pull (1, 1, 1::int2, '{a}', '{20}')", NULL);
    assert_int_equal(pg_row_count(rows), ROWS + 1 - 30);
    pg_rows_free(rows);
    scratch_run(&other, "ROLLBACK");
    pgc_close(other.conn);
}

/* Rows and apps that a statement's plan reads, of all tables: what EXPLAIN ANALYZE counted. */
static int64_t rows_read(const char *execute)
{
    char sql[512];
    int64_t sum = 0;
    (void)snprintf(sql, sizeof sql, "EXPLAIN (ANALYZE, COSTS off, TIMING off) %s", execute);
    struct pg_rows *rows = scratch_ask(&scratch, sql, NULL);
    for (int i = 0; i < pg_row_count(rows); i++) {
        char line[512];
        struct span text = pg_get_span(rows, i, 0);
        (void)snprintf(line, sizeof line, "%.*s", (int)text.n, text.p);
        const char *actual = strstr(line, "(actual rows="), *loops = strstr(line, " loops=");
        const char *removed = strstr(line, "Rows Removed by Filter: ");
        assert_null(strstr(line, "Seq Scan"));
        assert_null(strstr(line, "parked_waiting"));
        if (actual && loops && strstr(line, " on parked"))
            sum += strtoll(actual + 13, NULL, 10) * strtoll(loops + 7, NULL, 10);
        if (removed)
            sum += strtoll(removed + 24, NULL, 10);
    }
    pg_rows_free(rows);
    return sum;
}

/* Planned when there were none, or when all were one app's, and analyzed since: rows are found by
 * app, and counted up to what was asked for, whatever others have there, due or not. */
static void a_crowd_is_not_in_the_way(void **state)
{
    static char sql[16384];
    enum { MANY = 20000 };
    static const char pull[] = "EXECUTE pull (1, 1, 1::int2, '{a,b}', '{10,10}')";
    (void)state;
    for (int analyzed = 0; analyzed < 2; analyzed++) {
        prepare_at_one_row(&store_sql_claim[SQL_PULL], store_settings_sync,
                           "EXECUTE pull (1, 2, 1::int2, '{a}', '{20}')");
        (void)snprintf(sql, sizeof sql, "PREPARE due AS %s", store_sql_keep[SQL_DUE].sql);
        scratch_run(&scratch, sql);
        pg_rows_free(scratch_ask(&scratch, "EXECUTE due (1000)", NULL));
        park_of("a", MANY, 0);
        park_of("b", MANY, -MANY - 1000); /* not due for long */
        if (analyzed)
            scratch_run(&scratch, "ANALYZE parked");
        park_of("b", 5, 0);
        assert_in_range(rows_read("EXECUTE due (100)"), 50 + 5, 200);
        assert_in_range(rows_read(pull), 15, 100);
        assert_int_equal(taken_of("a"), 10);
        assert_int_equal(taken_of("b"), 5);
    }
}

/* By key, priority and app, what is due of each, an equal part of the most for each app. */
static void due_tells_by_app(void **state)
{
    static const struct {
        int most;
        const char *due;
    } cases[] = {
        {1000, "1 1 a 41, 1 1 b 4, 1 1 c 0, 2 1 a 1"},
        {30, "1 1 a 10, 1 1 b 4, 1 1 c 0, 2 1 a 1"},
        {2, "1 1 a 1, 1 1 b 1, 1 1 c 0, 2 1 a 1"},
    };
    (void)state;
    prepare_at_one_row(&store_sql_keep[SQL_DUE], store_settings_keep, "EXECUTE due (10)");
    park_of("b", 4, 0);
    park_of("c", 3, -100);
    scratch_run(&scratch, "UPDATE parked SET taken_by = 1 WHERE app = 'b'");
    park_of("b", 4, 50);
    scratch_run(&scratch, "INSERT INTO parked (job_id, batch_id, next_at, wait_key, priority,"
                          " number, attempts, reasks, waited_us, model_us, reason, payload, app)"
                          " SELECT gen_random_uuid(), batch_id, next_at, 2, 1, 1, 0, 0, 0, 0, 0,"
                          " '', 'a' FROM parked LIMIT 1");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char sql[64], told[256] = "";
        (void)snprintf(sql, sizeof sql, "EXECUTE due (%d)", cases[i].most);
        struct pg_rows *rows = scratch_ask(&scratch, sql, NULL);
        for (int r = 0, n = 0; r < pg_row_count(rows); r++)
            n += snprintf(told + n, sizeof told - (size_t)n, "%s%d %d %.*s %d", r ? ", " : "",
                          (int)pg_get_int(rows, r, 0), (int)pg_get_int(rows, r, 1),
                          (int)pg_get_span(rows, r, 3).n, pg_get_span(rows, r, 3).p,
                          (int)pg_get_int(rows, r, 2));
        assert_string_equal(told, cases[i].due);
        pg_rows_free(rows);
    }
}

static void waking_stops_where_it_should(void **state)
{
    (void)state;
    prepare_at_one_row(&store_sql_keep[SQL_WAKE_EXPIRED], store_settings_keep,
                       "EXECUTE wake_expired (0)");
    pg_rows_free(scratch_ask(&scratch, "EXECUTE wake_expired (20)", NULL));
    assert_int_equal(scratch_int(&scratch, "SELECT count(*) FROM parked WHERE wait_key = 0"), 20);
}

/* Behind jobs of this app that were put in an hour ago, at priority 1. */
static bool others_wait(const char *app)
{
    struct pg_params *p = pg_params_new();
    pg_add_int(p, PG_INT2, 1);
    pg_add_text(p, span_of(app));
    pg_add_time_ms(
        p, scratch_int(&scratch, "SELECT extract(epoch FROM now() - interval '1 h')::int8 * 1000"));
    struct pg_rows *rows = scratch_ask(&scratch, store_sql_keep[SQL_OTHERS_WAIT].sql, p);
    bool wait = pg_get_bool(rows, 0, 0);
    pg_rows_free(rows);
    pg_params_free(p);
    return wait;
}

/* There is one batch, of app `b`. */
static void others_wait_while_a_batch_is_open(void **state)
{
    static const struct {
        const char *batch, *app;
        int done;
        bool wait;
    } cases[] = {
        {"10, now()", "a", 0, true}, /* total and sealed_at */
        {"10, now()", "a", 9, true},
        {"10, now()", "a", 10, false},
        {"10, now()", "b", 0, false},                     /* its own */
        {"10, now() - interval '61 min'", "a", 0, false}, /* it came before */
        {"NULL, NULL", "a", 10, true},                    /* nobody knows yet */
    };
    char sql[512];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)snprintf(sql, sizeof sql,
                       "TRUNCATE batch, progress;"
                       "INSERT INTO batch (batch_id, app, name, priority, created_ms, total,"
                       " sealed_at) SELECT gen_random_uuid(), 'b', 'n', 1, 1, %s;"
                       "INSERT INTO progress (batch_id, status, n) SELECT batch_id, 1, %d"
                       " FROM batch",
                       cases[i].batch, cases[i].done);
        scratch_run(&scratch, sql);
        if (others_wait(cases[i].app) != cases[i].wait)
            fail_msg("case %zu", i);
    }
    scratch_run(&scratch, "UPDATE batch SET registered_at = now() - interval '61 min'");
    assert_false(others_wait("a")); /* never sealed: not for ever */
}

/* The owner of a job's open call is fenced after LOSE looked and before TAKE does: nothing is
 * taken, or the call would stay open beside the next one. With LOSE once more it is. */
static void nothing_is_taken_past_an_open_call(void **state)
{
    static char sql[16384];
    char lose[128], take[512];
    (void)state;
    pg_rows_free(scratch_ask(&scratch, "SELECT ensure_partitions()", NULL));
    scratch_run(&scratch, "INSERT INTO worker (host, pid, build, lease_until)"
                          " VALUES ('h', 2, 'b', now() - interval '1 h');"
                          "INSERT INTO call (job_id, batch_id, worker_id, model_version_id,"
                          " endpoint_id, number, kind) SELECT uuid_floor(extract(epoch FROM"
                          " now())::int8 * 1000), gen_random_uuid(), 2, 1, 1, 1, 1");
    struct pg_rows *rows = scratch_ask(&scratch, "SELECT job_id::text FROM call", NULL);
    struct span id = pg_get_span(rows, 0, 0);
    (void)snprintf(lose, sizeof lose, "EXECUTE lose ('{%.*s}')", (int)id.n, id.p);
    (void)snprintf(take, sizeof take,
                   "EXECUTE take (1, '{%.*s}', '{2}', '{2}', '{%.*s}', '{1}', '{1}', '{1}', '{1}',"
                   " '{1}', '{f}')",
                   (int)id.n, id.p, (int)id.n, id.p);
    pg_rows_free(rows);
    for (int i = SQL_LOSE; i <= SQL_TAKE; i++) {
        (void)snprintf(sql, sizeof sql, "PREPARE %s AS %s", store_sql_claim[i].name,
                       store_sql_claim[i].sql);
        scratch_run(&scratch, sql);
    }
    scratch_run(&scratch, lose);
    scratch_run(&scratch, "UPDATE worker SET fenced = true WHERE worker_id = 2");
    rows = scratch_ask(&scratch, take, NULL);
    assert_int_equal(pg_row_count(rows), 0);
    pg_rows_free(rows);
    scratch_run(&scratch, lose);
    rows = scratch_ask(&scratch, take, NULL);
    assert_int_equal(pg_row_count(rows), 1);
    pg_rows_free(rows);
    assert_int_equal(scratch_int(&scratch, "SELECT count(*) FROM call WHERE done_at IS NULL"), 1);
}

static int open_scratch(void **state)
{
    (void)state;
    if (!scratch_open(&scratch, "store_sql"))
        return -1;
    scratch_run(&scratch, "INSERT INTO worker (host, pid, build, lease_until)"
                          " VALUES ('h', 1, 'b', now() + interval '1 h'); ANALYZE worker");
    return 0;
}

static int close_scratch(void **state)
{
    (void)state;
    scratch_close(&scratch);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pull_takes_what_was_asked_for),
        cmocka_unit_test(pull_takes_of_each_app),
        cmocka_unit_test(pull_passes_over_what_others_hold),
        cmocka_unit_test(a_crowd_is_not_in_the_way),
        cmocka_unit_test(due_tells_by_app),
        cmocka_unit_test(waking_stops_where_it_should),
        cmocka_unit_test(nothing_is_taken_past_an_open_call),
        cmocka_unit_test(others_wait_while_a_batch_is_open),
    };
    return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
