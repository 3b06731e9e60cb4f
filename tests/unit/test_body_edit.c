/*
 * test_body_edit.c - a job's body with members set, made readable, and judged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/body_edit.h"
#include "common/json_scan.h"

enum { OUT_MAX = 4096 };

static void test_check(void **state)
{
    (void)state;
    const struct {
        const char *body, *said;
    } rows[] = {
        {"{}", NULL},
        {" {\"a\":1}\n", NULL},
        {"[1]", "the body is no JSON object"},
        {"{\"a\":}", "the body is no JSON: byte 5"},
        {"", "the body is no JSON"},
        {"{\"a\":\"\xff\"}", "not UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err err = {0};
        assert_int_equal(body_edit_check(span_of(rows[i].body), &err),
                         rows[i].said ? RC_REJECT : RC_OK);
        if (rows[i].said)
            assert_non_null(strstr(err.text, rows[i].said));
    }
    struct err err;
    assert_int_equal(body_edit_check((struct span){"{}\0", 3}, &err), RC_REJECT);
}

static void test_set(void **state)
{
    (void)state;
    const struct {
        const char *body, *assignment, *want;
    } rows[] = {
        {"{\"a\": 1 ,\"b\":2}", "a=7", "{\"a\": 7 ,\"b\":2}"},
        {"{\"a\": 1 ,\"b\":2}", "b=x y", "{\"a\": 1 ,\"b\":\"x y\"}"},
        {"{\"a\": {\"b\": [1, 2]}}", "a=null", "{\"a\": null}"},
        {"{\"a\":{\"b\":1},\"b\":2}", "b={\"c\":[]}", "{\"a\":{\"b\":1},\"b\":{\"c\":[]}}"},
        {"{\"\\u0061\":1}", "a=2", "{\"\\u0061\":2}"}, /* the same key, written otherwise */
        {"{\"a\":1}", "b=2", "{\"b\":2,\"a\":1}"},
        {" { } ", "b=2", " {\"b\":2 } "},
        {"{}", "b=", "{\"b\":\"\"}"},
        {"{}", "b=\"3\"", "{\"b\":\"3\"}"},
        {"{}", "b=say \"hi\"=\\", "{\"b\":\"say \\\"hi\\\"=\\\\\"}"},
        {"{}", "\"=1", "{\"\\\"\":1}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err err = {0};
        struct buf out;
        buf_init(&out, OUT_MAX);
        assert_int_equal(body_edit_set(span_of(rows[i].body), rows[i].assignment, &out, &err),
                         RC_OK);
        assert_true(span_is(buf_span(&out), rows[i].want));
        assert_int_equal(body_edit_check(buf_span(&out), &err), RC_OK);
        buf_done(&out);
    }
}

static void test_set_refuses(void **state)
{
    (void)state;
    char long_key[JSON_KEY_BYTES_MAX + 4] = "";
    memset(long_key, 'k', JSON_KEY_BYTES_MAX + 1);
    memcpy(long_key + JSON_KEY_BYTES_MAX + 1, "=1", 3);
    const struct {
        const char *body, *assignment, *said;
    } rows[] = {
        {"{}", "a", "'a' is not KEY=VALUE"},  {"{}", "=1", "'=1' is not KEY=VALUE"},
        {"{}", long_key, "is not KEY=VALUE"}, {"{}", "a=\xff", "not UTF-8"},
        {"{\"a\":1,\"a\":2}", "a=3", "byte"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err err = {0};
        struct buf out;
        buf_init(&out, OUT_MAX);
        assert_int_equal(body_edit_set(span_of(rows[i].body), rows[i].assignment, &out, &err),
                         RC_REJECT);
        assert_non_null(strstr(err.text, rows[i].said));
        buf_done(&out);
    }
    struct err err = {0};
    struct buf out;
    buf_init(&out, 8);
    assert_int_equal(body_edit_set(span_of("{\"a\":1}"), "b=23456", &out, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "larger than a job may be"));
    buf_done(&out);
}

static void test_pretty(void **state)
{
    (void)state;
    const struct {
        const char *body, *want;
    } rows[] = {
        {"{}", "{}\n"},
        {"{\"a\":1,\"b\":[],\"c\":{ }}", "{\n  \"a\": 1,\n  \"b\": [],\n  \"c\": {}\n}\n"},
        {"[[1,2],{\"x\":\"{[,:\\\"]}\"}]",
         "[\n  [\n    1,\n    2\n  ],\n  {\n    \"x\": \"{[,:\\\"]}\"\n  }\n]\n"},
        {"{\"a\":-1.5e-3,\r\n\t\"b\" : null}", "{\n  \"a\": -1.5e-3,\n  \"b\": null\n}\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf once, twice;
        buf_init(&once, OUT_MAX);
        buf_init(&twice, OUT_MAX);
        body_edit_pretty(span_of(rows[i].body), &once);
        assert_true(span_is(buf_span(&once), rows[i].want));
        body_edit_pretty(buf_span(&once), &twice);
        assert_true(span_eq(buf_span(&once), buf_span(&twice)));
        buf_done(&once);
        buf_done(&twice);
    }
}

static void test_asks_otherwise(void **state)
{
    (void)state;
    const char *body = "{\"model\":\"m\",\"messages\":[1]}";
    assert_false(body_edit_asks_otherwise(span_of(body), span_of("{\"messages\":[1],\"n\":2}")));
    assert_true(body_edit_asks_otherwise(span_of(body), span_of("{\"messages\":[2]}")));
    assert_true(body_edit_asks_otherwise(span_of(body), span_of("{}")));
    assert_true(
        body_edit_asks_otherwise(span_of("{\"prompt\":\"a\"}"), span_of("{\"prompt\":\"b\"}")));
    assert_true(body_edit_asks_otherwise(span_of("{\"input\":1}"), span_of("{\"input\":2}")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),          cmocka_unit_test(test_set),
        cmocka_unit_test(test_set_refuses),    cmocka_unit_test(test_pretty),
        cmocka_unit_test(test_asks_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
