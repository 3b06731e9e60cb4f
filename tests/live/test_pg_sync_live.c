/*
 * test_pg_sync_live.c - the blocking connection against a real server, which the PG* environment
 * names. Uses temporary objects only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/pg.h"

static struct err last; /* of the last call that failed */

enum { BIG_BYTES = 300 * 1000 };

static int setup(void **state)
{
    struct pgc *c = NULL;
    if (pgc_open("", "inferq-test", &c, &last) != RC_OK) {
        print_error("no Postgres server to test with: %s\n", last.text);
        return -1;
    }
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    pgc_close(*state);
    return 0;
}

#define assert_rc(call, want)                                       \
    do {                                                            \
        enum rc got = (call);                                       \
        if (got != (want))                                          \
            fail_msg("%s: %s: %s", #call, rc_name(got), last.text); \
    } while (0)

static struct pg_rows *ask(struct pgc *c, const char *sql, const struct pg_params *params)
{
    struct pg_rows *rows = NULL;
    assert_rc(pgc_exec(c, sql, params, &rows, &last), RC_OK);
    assert_non_null(rows);
    return rows;
}

static int64_t ask_int(struct pgc *c, const char *sql)
{
    struct pg_rows *rows = ask(c, sql, NULL);
    int64_t v = pg_get_int(rows, 0, 0);
    pg_rows_free(rows);
    return v;
}

static const struct jobid some_id = {
    {0x01, 0x8f, 2, 3, 4, 5, 0x76, 7, 0x88, 9, 10, 11, 12, 13, 14, 0xff}};

static char *big_text(void)
{
    char *text = malloc(BIG_BYTES);
    assert_non_null(text);
    for (int i = 0; i < BIG_BYTES; i++)
        text[i] = (char)('a' + i % 26);
    return text;
}

/* ---- values there and back ---------------------------------------------------------------- */

static void scalars(void **state)
{
    char *big = big_text();
    struct pg_params *p = pg_params_new();
    pg_add_bool(p, true);
    pg_add_int(p, PG_INT2, INT16_MIN);
    pg_add_int(p, PG_INT4, INT32_MAX);
    pg_add_int(p, PG_INT8, INT64_MIN);
    pg_add_text(p, (struct span){big, BIG_BYTES});
    pg_add_bytea(p, (struct span){"\0\xff\0", 3});
    pg_add_uuid(p, &some_id);
    pg_add_time_ms(p, INT64_C(1763721780123));
    pg_add_time_ms(p, -1);
    pg_add_text(p, SPAN_LIT(""));
    struct pg_rows *r = ask(*state,
                            "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10,"
                            " $8 = '2025-11-21 10:43:00.123Z', $7::text, $9 < '1970-01-01Z'",
                            p);
    assert_true(pg_get_bool(r, 0, 0));
    assert_int_equal(pg_get_int(r, 0, 1), INT16_MIN);
    assert_int_equal(pg_get_int(r, 0, 2), INT32_MAX);
    assert_true(pg_get_int(r, 0, 3) == INT64_MIN);
    assert_true(span_eq(pg_get_span(r, 0, 4), (struct span){big, BIG_BYTES}));
    assert_true(span_eq(pg_get_span(r, 0, 5), (struct span){"\0\xff\0", 3}));
    struct jobid id = pg_get_uuid(r, 0, 6);
    assert_memory_equal(id.b, some_id.b, ID_BYTES);
    assert_true(pg_get_time_ms(r, 0, 7) == INT64_C(1763721780123));
    assert_int_equal(pg_get_time_ms(r, 0, 8), -1);
    assert_true(pg_get_span(r, 0, 9).p && pg_get_span(r, 0, 9).n == 0);
    assert_true(pg_get_bool(r, 0, 10));
    assert_true(span_is(pg_get_span(r, 0, 11), "018f0203-0405-7607-8809-0a0b0c0d0eff"));
    assert_true(pg_get_bool(r, 0, 12));
    pg_rows_free(r);
    pg_params_free(p);
    free(big);
}

static void nulls(void **state)
{
    struct pg_params *p = pg_params_new();
    const enum pg_type types[] = {PG_BOOL, PG_INT2,  PG_INT4, PG_INT8,
                                  PG_TEXT, PG_BYTEA, PG_UUID, PG_TIMESTAMPTZ};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        pg_add_null(p, types[i]);
    struct pg_rows *r = ask(*state,
                            "SELECT $1::bool, $2::int2, $3::int4, $4::int8, $5::text, $6::bytea,"
                            " $7::uuid, $8::timestamptz",
                            p);
    for (int i = 0; i < pg_col_count(r); i++)
        assert_true(pg_null(r, 0, i));
    pg_rows_free(r);
    pg_params_free(p);
}

/* Each array has its element, a NULL, and an element again; 300 KB among them. */
static void arrays(void **state)
{
    char *big = big_text();
    struct pg_params *p = pg_params_new();
    pg_array(p, PG_BOOL);
    pg_elem_bool(p, true), pg_elem_null(p), pg_elem_bool(p, false);
    pg_array(p, PG_INT2);
    pg_elem_int(p, -7), pg_elem_null(p), pg_elem_int(p, 7);
    pg_array(p, PG_INT4);
    pg_elem_int(p, -70000), pg_elem_null(p), pg_elem_int(p, 70000);
    pg_array(p, PG_INT8);
    pg_elem_int(p, INT64_MIN), pg_elem_null(p), pg_elem_int(p, INT64_MAX);
    pg_array(p, PG_TEXT);
    pg_elem_span(p, (struct span){big, BIG_BYTES}), pg_elem_null(p), pg_elem_span(p, SPAN_LIT(""));
    pg_array(p, PG_BYTEA);
    pg_elem_span(p, (struct span){"\0", 1}), pg_elem_null(p);
    pg_elem_span(p, (struct span){big, BIG_BYTES});
    pg_array(p, PG_UUID);
    pg_elem_uuid(p, &some_id), pg_elem_uuid(p, NULL), pg_elem_uuid(p, &some_id);
    pg_array(p, PG_TIMESTAMPTZ);
    pg_elem_time_ms(p, 1), pg_elem_time_ms(p, 0), pg_elem_time_ms(p, INT64_C(1763721780123));
    struct pg_rows *r = ask(*state,
                            "SELECT * FROM unnest($1::bool[], $2::int2[], $3::int4[], $4::int8[],"
                            " $5::text[], $6::bytea[], $7::uuid[], $8::timestamptz[])",
                            p);
    assert_int_equal(pg_row_count(r), 3);
    for (int col = 0; col < 8; col++)
        for (int row = 0; row < 3; row++)
            assert_int_equal(pg_null(r, row, col), row == 1);
    assert_true(pg_get_bool(r, 0, 0) && !pg_get_bool(r, 2, 0));
    assert_int_equal(pg_get_int(r, 0, 1), -7);
    assert_int_equal(pg_get_int(r, 2, 2), 70000);
    assert_true(pg_get_int(r, 2, 3) == INT64_MAX);
    assert_true(span_eq(pg_get_span(r, 0, 4), (struct span){big, BIG_BYTES}));
    assert_int_equal(pg_get_span(r, 2, 4).n, 0);
    assert_true(span_eq(pg_get_span(r, 2, 5), (struct span){big, BIG_BYTES}));
    struct jobid id = pg_get_uuid(r, 2, 6);
    assert_memory_equal(id.b, some_id.b, ID_BYTES);
    assert_int_equal(pg_get_time_ms(r, 0, 7), 1);
    pg_rows_free(r);

    pg_params_reset(p); /* an empty one is an empty array, not NULL */
    pg_array(p, PG_UUID);
    r = ask(*state, "SELECT $1::uuid[] = '{}', cardinality($1)", p);
    assert_true(pg_get_bool(r, 0, 0));
    assert_int_equal(pg_get_int(r, 0, 1), 0);
    pg_rows_free(r);
    pg_params_free(p);
    free(big);
}

static void affected_and_names(void **state)
{
    assert_rc(pgc_script(*state, "CREATE TEMP TABLE a (n int8)", &last), RC_OK);
    struct pg_rows *r = ask(*state, "INSERT INTO a SELECT generate_series(1, 1234)", NULL);
    assert_int_equal(pg_affected(r), 1234);
    assert_int_equal(pg_row_count(r), 0);
    pg_rows_free(r);
    r = ask(*state, "SELECT n AS first, n FROM a WHERE false", NULL);
    assert_int_equal(pg_row_count(r), 0);
    assert_string_equal(pg_col_name(r, 0), "first");
    pg_rows_free(r);
    r = ask(*state, "SHOW search_path", NULL);
    assert_true(span_is(pg_get_span(r, 0, 0), "inferq"));
    pg_rows_free(r);
    r = ask(*state, "SHOW application_name", NULL);
    assert_true(span_is(pg_get_span(r, 0, 0), "inferq-test"));
    pg_rows_free(r);
}

/* ---- refusals ----------------------------------------------------------------------------- */

static void refused(struct pgc *c, const char *sql, const struct pg_params *params, enum rc want,
                    const char *sqlstate)
{
    struct pg_rows *rows = NULL;
    assert_int_equal(pgc_exec(c, sql, params, &rows, &last), want);
    assert_null(rows);
    assert_string_equal(pgc_sqlstate(c), sqlstate);
    assert_non_null(strstr(last.text, sqlstate));
    assert_int_equal(ask_int(c, "SELECT 7"), 7); /* the connection is none the worse */
    assert_string_equal(pgc_sqlstate(c), "");
}

static void refusals(void **state)
{
    struct pgc *c = *state;
    assert_rc(pgc_script(c,
                         "CREATE TEMP TABLE u (n int8 PRIMARY KEY, secret text NOT NULL);"
                         "INSERT INTO u VALUES (1, 'x')",
                         &last),
              RC_OK);
    refused(c, "SELEKT 1", NULL, RC_REJECT, "42601");
    refused(c, "SELECT * FROM no_such_table", NULL, RC_REJECT, "42P01");
    refused(c, "INSERT INTO u VALUES (1, 'y')", NULL, RC_REJECT, "23505");
    assert_non_null(strstr(last.text, "u_pkey"));
    /* The detail would show the row. */
    refused(c, "INSERT INTO u VALUES (2, NULL), (3, 'payload')", NULL, RC_REJECT, "23502");
    assert_null(strstr(last.text, "payload"));
    refused(c, "DO $$ BEGIN RAISE 'no' USING ERRCODE = '40001'; END $$", NULL, RC_RETRY, "40001");
    /* As a timeout would end it, but this statement alone. */
    refused(c, "SELECT 1 FROM pg_sleep(pg_cancel_backend(pg_backend_pid())::int * 60)", NULL,
            RC_RETRY, "57014");

    struct pg_params *p = pg_params_new();
    pg_add_text(p, SPAN_LIT("not \xff text"));
    refused(c, "SELECT $1::text", p, RC_REJECT, "22021");
    pg_params_reset(p);
    pg_add_text(p, (struct span){"nul \0 nul", 9});
    refused(c, "SELECT $1::text", p, RC_REJECT, "22021");
    pg_params_free(p);
}

static void script_names_the_line(void **state)
{
    assert_int_equal(
        pgc_script(*state, "SELECT 1;\n-- h\xc3\xa9h\xc3\xa9\nSELECT 2;\n  SELECT oops;\n", &last),
        RC_REJECT);
    assert_non_null(strstr(last.text, "line 4: "));
    assert_string_equal(pgc_sqlstate(*state), "42703");
}

static void script_is_one_transaction(void **state)
{
    assert_rc(pgc_script(*state, "CREATE TEMP TABLE s (n int8)", &last), RC_OK);
    assert_int_equal(pgc_script(*state, "INSERT INTO s VALUES (1); SELECT 1 / 0", &last),
                     RC_REJECT);
    assert_int_equal(ask_int(*state, "SELECT count(*) FROM s"), 0);
}

static void copy_is_refused(void **state)
{
    assert_int_equal(pgc_exec(*state, "COPY (SELECT 1) TO STDOUT", NULL, NULL, &last), RC_REJECT);
    assert_int_equal(ask_int(*state, "SELECT 7"), 7);
}

static void failed_params(void **state)
{
    struct pg_params *p = pg_params_new();
    pg_add_int(p, PG_INT2, 1 << 20);
    assert_int_equal(pgc_exec(*state, "SELECT $1::int2", p, NULL, &last), RC_NOMEM);
    assert_int_equal(pgc_stream(*state, "SELECT $1::int2", p, NULL, NULL, &last), RC_NOMEM);
    pg_params_free(p);
}

/* ---- row by row --------------------------------------------------------------------------- */

struct walk {
    int64_t rows, bytes, sum, stop_at;
};

static enum rc take_row(void *arg, const struct pg_rows *one, struct err *err)
{
    struct walk *w = arg;
    assert_int_equal(pg_row_count(one), 1);
    w->sum += pg_get_int(one, 0, 0);
    w->bytes += (int64_t)pg_get_span(one, 0, 1).n;
    if (++w->rows == w->stop_at)
        return err_set(err, RC_FULL, "enough");
    return RC_OK;
}

static long resident_kib(void)
{
    char line[128];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    fclose(f);
    return kib;
}

static void stream_in_bounded_memory(void **state)
{
    struct walk w = {0};
    struct pg_params *p = pg_params_new();
    pg_add_int(p, PG_INT8, 200 * 1000);
    long before = resident_kib();
    assert_rc(pgc_stream(*state, "SELECT n, repeat('x', 500) FROM generate_series(1, $1::int8) n",
                         p, take_row, &w, &last),
              RC_OK);
    assert_int_equal(w.rows, 200000);
    assert_int_equal(w.sum, INT64_C(200000) * 200001 / 2);
    assert_int_equal(w.bytes, INT64_C(500) * 200000);
#ifndef __SANITIZE_ADDRESS__                      /* which holds back what is freed */
    assert_true(resident_kib() - before < 20000); /* of 100 MB */
#else
    (void)before;
#endif
    pg_params_free(p);
}

static void stream_stops(void **state)
{
    struct walk w = {.stop_at = 10};
    assert_int_equal(pgc_stream(*state, "SELECT generate_series(1::int8, 100000000), 'x'", NULL,
                                take_row, &w, &last),
                     RC_FULL);
    assert_int_equal(w.rows, 10);
    assert_string_equal(last.text, "enough");
    assert_int_equal(ask_int(*state, "SELECT 7"), 7);
}

static void stream_fails_midway(void **state)
{
    struct walk w = {0};
    assert_int_equal(pgc_stream(*state,
                                "SELECT n, 'x' FROM generate_series(1::int8, 1000) n"
                                " WHERE 1 / (n - 500) < 2",
                                NULL, take_row, &w, &last),
                     RC_REJECT);
    assert_string_equal(pgc_sqlstate(*state), "22012");
    assert_int_equal(w.rows, 499);
    assert_int_equal(ask_int(*state, "SELECT 7"), 7);
}

/* ---- no connection ------------------------------------------------------------------------ */

static void killed(void **state)
{
    struct pgc *c = NULL;
    struct pg_params *p = pg_params_new();
    assert_rc(pgc_open("", "inferq-test", &c, &last), RC_OK);
    pg_add_int(p, PG_INT4, ask_int(c, "SELECT pg_backend_pid()"));
    pg_rows_free(ask(*state, "SELECT pg_terminate_backend($1, 5000)", p));
    assert_int_equal(pgc_exec(c, "SELECT 1", NULL, NULL, &last), RC_RETRY);
    assert_int_equal(pgc_exec(c, "SELECT 1", NULL, NULL, &last), RC_RETRY); /* and stays so */
    assert_string_equal(pgc_sqlstate(c), "");
    assert_non_null(strstr(last.text, "lost"));
    struct walk w = {0};
    assert_int_equal(pgc_stream(c, "SELECT 1::int8, ''", NULL, take_row, &w, &last), RC_RETRY);
    assert_int_equal(pgc_script(c, "SELECT 1", &last), RC_RETRY);
    pg_params_free(p);
    pgc_close(c);
}

static void cannot_connect(const char *conninfo, const char *const words[])
{
    struct pgc *c = NULL;
    assert_int_equal(pgc_open(conninfo, "inferq-test", &c, &last), RC_RETRY);
    assert_null(c);
    for (int i = 0; words[i]; i++)
        if (!strstr(last.text, words[i]))
            fail_msg("\"%s\" does not say %s", last.text, words[i]);
    assert_null(strstr(last.text, "hunter2"));
}

static void connect_errors(void **state)
{
    (void)state;
    cannot_connect("host=127.0.0.1 port=1 dbname=d1 user=u1 password=hunter2hunter2",
                   (const char *const[]){"127.0.0.1:1", "d1", "u1", "refused", NULL});
    cannot_connect("dbname=no_such_database_here",
                   (const char *const[]){"no_such_database_here", "does not exist", NULL});
    cannot_connect("host=no-such-host.invalid",
                   (const char *const[]){"no-such-host.invalid", NULL});
    cannot_connect("user=no_such_role_here password=hunter2hunter2",
                   (const char *const[]){"no_such_role_here", NULL});
    cannot_connect("host=/nonexistent/socket port=7777",
                   (const char *const[]){"/nonexistent/socket:7777", NULL});
}

static void connect_refused_text(void **state)
{
    (void)state;
    struct pgc *c = NULL;
    assert_int_equal(pgc_open("postgresql://u:hunter2@h/d?nosuch=hunter2", "t", &c, &last),
                     RC_REJECT);
    assert_null(c);
    assert_null(strstr(last.text, "hunter2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars),
        cmocka_unit_test(nulls),
        cmocka_unit_test(arrays),
        cmocka_unit_test(affected_and_names),
        cmocka_unit_test(refusals),
        cmocka_unit_test(script_names_the_line),
        cmocka_unit_test(script_is_one_transaction),
        cmocka_unit_test(copy_is_refused),
        cmocka_unit_test(failed_params),
        cmocka_unit_test(stream_in_bounded_memory),
        cmocka_unit_test(stream_stops),
        cmocka_unit_test(stream_fails_midway),
        cmocka_unit_test(killed),
        cmocka_unit_test(connect_errors),
        cmocka_unit_test(connect_refused_text),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
