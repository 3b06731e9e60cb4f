/*
 * test_pg_value.c - the binary layouts of parameters and results, without a server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/pg_internal.h"

#define BYTES(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})

static int setup(void **state)
{
    *state = pg_params_new();
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    pg_params_free(*state);
    return 0;
}

static void wire_of(const struct pg_params *p, struct pg_wire *wire)
{
    struct err err = {0};
    assert_int_equal(pg_params_wire(p, wire, &err), RC_OK);
}

static void check(const struct pg_wire *wire, int i, Oid type, const uint8_t *want, size_t n)
{
    assert_int_equal(wire->types[i], type);
    assert_int_equal(wire->formats[i], 1);
    assert_non_null(wire->values[i]);
    assert_int_equal(wire->lengths[i], n);
    if (n > 0)
        assert_memory_equal(wire->values[i], want, n);
}

static const struct jobid some_id = {
    {0x01, 0x8f, 2, 3, 4, 5, 0x76, 7, 0x88, 9, 10, 11, 12, 13, 14, 0xff}};

/* ---- parameters --------------------------------------------------------------------------- */

static void scalars(void **state)
{
    struct pg_params *p = *state;
    struct pg_wire w;
    pg_add_bool(p, true);
    pg_add_int(p, PG_INT2, -2);
    pg_add_int(p, PG_INT4, 0x01020304);
    pg_add_int(p, PG_INT8, INT64_MIN);
    pg_add_text(p, SPAN_LIT("h\xc3\xa9"));
    pg_add_bytea(p, (struct span){"a\0b", 3});
    pg_add_uuid(p, &some_id);
    pg_add_time_ms(p, INT64_C(946684800001)); /* 1 ms past 2000-01-01 */
    pg_add_time_ms(p, -1);
    wire_of(p, &w);
    assert_int_equal(w.count, 9);
    check(&w, 0, 16, BYTES(1));
    check(&w, 1, 21, BYTES(0xff, 0xfe));
    check(&w, 2, 23, BYTES(1, 2, 3, 4));
    check(&w, 3, 20, BYTES(0x80, 0, 0, 0, 0, 0, 0, 0));
    check(&w, 4, 25, BYTES('h', 0xc3, 0xa9));
    check(&w, 5, 17, BYTES('a', 0, 'b'));
    check(&w, 6, 2950, some_id.b, ID_BYTES);
    check(&w, 7, 1184, BYTES(0, 0, 0, 0, 0, 0, 3, 0xe8));
    /* -(946684800001 * 1000) */
    check(&w, 8, 1184, BYTES(0xff, 0xfc, 0xa2, 0xfe, 0xc4, 0xc8, 0x1c, 0x18));
}

static void nulls_and_empty(void **state)
{
    struct pg_params *p = *state;
    struct pg_wire w;
    pg_add_text(p, (struct span){0});
    pg_add_bytea(p, (struct span){0});
    pg_add_uuid(p, NULL);
    pg_add_time_ms(p, 0);
    pg_add_null(p, PG_INT8);
    pg_add_text(p, SPAN_LIT(""));
    wire_of(p, &w);
    const Oid want[] = {25, 17, 2950, 1184, 20};
    for (int i = 0; i < 5; i++) {
        assert_null(w.values[i]);
        assert_int_equal(w.types[i], want[i]);
    }
    check(&w, 5, 25, NULL, 0);
    assert_int_equal(pg_params_bytes(p), 0);
}

static void arrays(void **state)
{
    struct pg_params *p = *state;
    struct pg_wire w;
    pg_array(p, PG_INT4);
    pg_elem_int(p, 7);
    pg_elem_null(p);
    pg_elem_int(p, -1);
    pg_array(p, PG_TEXT); /* stays empty */
    pg_array(p, PG_TEXT);
    pg_elem_span(p, SPAN_LIT("ab"));
    pg_elem_span(p, SPAN_LIT(""));
    pg_elem_span(p, (struct span){0});
    pg_array(p, PG_BOOL);
    pg_elem_bool(p, false);
    pg_elem_bool(p, true);
    pg_add_int(p, PG_INT4, 5); /* a scalar ends an array too */
    wire_of(p, &w);
    assert_int_equal(w.count, 5);
    check(&w, 0, 1007,
          BYTES(0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 3, 0, 0, 0, 1, /* header */
                0, 0, 0, 4, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 4, 0xff, 0xff, 0xff,
                0xff));
    check(&w, 1, 1009, BYTES(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25));
    check(&w, 2, 1009,
          BYTES(0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 3, 0, 0, 0, 1, /* header */
                0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff));
    check(&w, 3, 1000,
          BYTES(0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 2, 0, 0, 0, 1, /* header */
                0, 0, 0, 1, 0, 0, 0, 0, 1, 1));
    check(&w, 4, 23, BYTES(0, 0, 0, 5));
}

static void array_types(void **state)
{
    struct pg_params *p = *state;
    struct pg_wire w;
    pg_array(p, PG_UUID);
    pg_elem_uuid(p, &some_id);
    pg_elem_uuid(p, NULL);
    pg_array(p, PG_TIMESTAMPTZ);
    pg_elem_time_ms(p, INT64_C(946684800000));
    pg_elem_time_ms(p, 0);
    pg_array(p, PG_INT2);
    pg_elem_int(p, INT16_MAX);
    pg_array(p, PG_INT8);
    pg_elem_int(p, -2);
    pg_array(p, PG_BYTEA);
    pg_elem_span(p, (struct span){"\0", 1});
    wire_of(p, &w);
    const Oid want[] = {2951, 1185, 1005, 1016, 1001};
    const int length[] = {20 + 4 + 16 + 4, 20 + 4 + 8 + 4, 20 + 4 + 2, 20 + 4 + 8, 20 + 4 + 1};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(w.types[i], want[i]);
        assert_int_equal(w.lengths[i], length[i]);
    }
    assert_memory_equal(w.values[0] + 24, some_id.b, ID_BYTES);
    assert_memory_equal(w.values[1] + 24, "\0\0\0\0\0\0\0\0\xff\xff\xff\xff", 12);
}

static void reset_reuses(void **state)
{
    struct pg_params *p = *state;
    struct pg_wire w;
    for (int round = 0; round < 3; round++) {
        pg_params_reset(p);
        assert_int_equal(pg_params_bytes(p), 0);
        pg_array(p, PG_INT8);
        for (int i = 0; i < 500 * (round + 1); i++)
            pg_elem_int(p, i);
        pg_add_text(p, SPAN_LIT("x"));
        wire_of(p, &w);
        assert_int_equal(w.count, 2);
        assert_int_equal(w.lengths[0], 20 + 12 * 500 * (round + 1));
        check(&w, 1, 25, BYTES('x'));
    }
}

static void refused(struct pg_params *p)
{
    struct pg_wire w = {.count = 77};
    struct err err = {0};
    assert_int_equal(pg_params_wire(p, &w, &err), RC_NOMEM);
    assert_int_equal(w.count, 77);
    assert_true(strlen(err.text) > 0);
    pg_params_reset(p);
    pg_add_int(p, PG_INT2, 1);
    wire_of(p, &w);
    check(&w, 0, 21, BYTES(0, 1));
    pg_params_reset(p);
}

static void failed_sets(void **state)
{
    struct pg_params *p = *state;
    pg_add_int(p, PG_INT2, 32768);
    refused(p);
    pg_add_int(p, PG_INT4, INT64_C(2147483648));
    refused(p);
    pg_array(p, PG_INT2);
    pg_elem_int(p, -32769);
    pg_elem_int(p, 1); /* goes on quietly */
    refused(p);
    pg_add_time_ms(p, INT64_MAX);
    refused(p);
    pg_array(p, PG_TIMESTAMPTZ);
    pg_elem_time_ms(p, INT64_MIN);
    refused(p);
}

static void too_many_bytes(void **state)
{
    struct pg_params *p = *state;
    /* Never read: the length alone is past the bound. */
    pg_array(p, PG_BYTEA);
    pg_elem_span(p, (struct span){"x", (size_t)PG_PARAMS_BYTES_MAX + 1});
    refused(p);
    pg_add_bytea(p, (struct span){"x", (size_t)PG_PARAMS_BYTES_MAX + 1});
    refused(p);
    pg_add_text(p, (struct span){"x", SIZE_MAX});
    refused(p);
}

/* ---- rows --------------------------------------------------------------------------------- */

enum { COLS = 10 };

static void set(PGresult *res, int row, int col, const char *bytes, int n)
{
    char copy[32];
    memcpy(copy, bytes, (size_t)(n > 0 ? n : 0));
    assert_true(PQsetvalue(res, row, col, n < 0 ? NULL : copy, n));
}

/* One row of values and one of NULLs. */
static PGresult *make_result(void)
{
    static char name[] = "c";
    const Oid oids[COLS] = {16, 21, 23, 20, 25, 17, 2950, 1184, 1184, 114};
    PGresAttDesc cols[COLS] = {0};
    PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    for (int i = 0; i < COLS; i++)
        cols[i] = (PGresAttDesc){.name = name, .format = 1, .typid = oids[i]};
    assert_true(PQsetResultAttrs(res, COLS, cols));
    set(res, 0, 0, "\1", 1);
    set(res, 0, 1, "\xff\xfe", 2);
    set(res, 0, 2, "\x80\0\0\0", 4);
    set(res, 0, 3, "\x7f\xff\xff\xff\xff\xff\xff\xff", 8);
    set(res, 0, 4, "", 0);
    set(res, 0, 5, "a\0b", 3);
    set(res, 0, 6, (const char *)some_id.b, 16);
    set(res, 0, 7, "\xff\xff\xff\xff\xff\xff\xff\xff", 8); /* 1 us before 2000 */
    set(res, 0, 8, "\x7f\xff\xff\xff\xff\xff\xff\xff", 8); /* infinity */
    set(res, 0, 9, "{}", 2);
    for (int i = 0; i < COLS; i++)
        set(res, 1, i, "", -1);
    return res;
}

static void rows(void **state)
{
    (void)state;
    struct pg_rows r = {make_result()};
    assert_int_equal(pg_row_count(&r), 2);
    assert_int_equal(pg_col_count(&r), COLS);
    assert_string_equal(pg_col_name(&r, 3), "c");
    assert_true(pg_get_bool(&r, 0, 0));
    assert_int_equal(pg_get_int(&r, 0, 1), -2);
    assert_int_equal(pg_get_int(&r, 0, 2), INT32_MIN);
    assert_true(pg_get_int(&r, 0, 3) == INT64_MAX);
    struct span empty = pg_get_span(&r, 0, 4);
    assert_true(empty.p && empty.n == 0);
    assert_true(span_eq(pg_get_span(&r, 0, 5), (struct span){"a\0b", 3}));
    struct jobid id = pg_get_uuid(&r, 0, 6);
    assert_memory_equal(id.b, some_id.b, ID_BYTES);
    assert_true(pg_get_time_ms(&r, 0, 7) == INT64_C(946684799999));
    assert_true(pg_get_time_ms(&r, 0, 8) == INT64_MAX);
    assert_true(span_is(pg_get_span(&r, 0, 9), "{}"));
    PQclear(r.res);
}

static void null_rows(void **state)
{
    (void)state;
    struct pg_rows r = {make_result()};
    for (int i = 0; i < COLS; i++)
        assert_true(pg_null(&r, 1, i) && !pg_null(&r, 0, i));
    assert_false(pg_get_bool(&r, 1, 0));
    assert_int_equal(pg_get_int(&r, 1, 3), 0);
    assert_null(pg_get_span(&r, 1, 4).p);
    assert_null(pg_get_span(&r, 1, 5).p);
    const struct jobid zero = {0};
    struct jobid id = pg_get_uuid(&r, 1, 6);
    assert_memory_equal(id.b, zero.b, ID_BYTES);
    assert_int_equal(pg_get_time_ms(&r, 1, 7), 0);
    PQclear(r.res);
}

/* ---- words and codes ---------------------------------------------------------------------- */

static void sqlstates(void **state)
{
    (void)state;
    const struct {
        const char *state;
        enum rc rc;
        bool passing;
    } table[] = {
        {"22021", RC_REJECT, false}, {"22001", RC_REJECT, false}, {"23505", RC_REJECT, false},
        {"23502", RC_REJECT, false}, {"23514", RC_RETRY, false},  {"22P03", RC_RETRY, false},
        {"40001", RC_RETRY, true},   {"40P01", RC_RETRY, true},   {"57P01", RC_RETRY, true},
        {"57014", RC_RETRY, true},   {"53300", RC_RETRY, true},   {"55P03", RC_RETRY, true},
        {"42P01", RC_RETRY, false},  {"", RC_RETRY, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(pg_sqlstate_rc(table[i].state), table[i].rc);
        assert_int_equal(pg_sqlstate_passing(table[i].state), table[i].passing);
    }
}

/* Whatever cannot be read as a connection string must not be quoted. */
static void conninfo_refused(void **state)
{
    (void)state;
    const char *const bad[] = {"inferq:hunter2@db/inferq", "password=hunter2 oops hunter2",
                               "postgresql://u:hunter2@h/d?nosuch=1", "host='hunter2"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pg_connect_keys keys;
        struct err err = {0};
        assert_int_equal(pg_connect_keys(bad[i], "test", &keys, &err), RC_REJECT);
        assert_null(strstr(err.text, "hunter2"));
        assert_non_null(strstr(err.text, "dbname="));
    }
}

static void clean_text(void **state)
{
    (void)state;
    char out[16];
    pg_clean_text(NULL, "  a\n\tb  c\r\n", out, sizeof out);
    assert_string_equal(out, "a b c");
    pg_clean_text(NULL, "0123456789abcdefghij", out, sizeof out);
    assert_string_equal(out, "0123456789abcde");
    pg_clean_text(NULL, "", out, sizeof out);
    assert_string_equal(out, "");
}

#define WITH_PARAMS(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PARAMS(scalars),
        WITH_PARAMS(nulls_and_empty),
        WITH_PARAMS(arrays),
        WITH_PARAMS(array_types),
        WITH_PARAMS(reset_reuses),
        WITH_PARAMS(failed_sets),
        WITH_PARAMS(too_many_bytes),
        cmocka_unit_test(rows),
        cmocka_unit_test(null_rows),
        cmocka_unit_test(sqlstates),
        cmocka_unit_test(conninfo_refused),
        cmocka_unit_test(clean_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
