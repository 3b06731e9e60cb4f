/*
 * test_table.c - aligned tables, their JSON, and what a terminal must not be given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <locale.h>

#include "admin/jsonw.h"
#include "admin/table.h"
#include "common/buf.h"

static const struct table_col cols[] = {{"name", "NAME", 6}, {"n", "COUNT", 0}, {"usd", "USD", 0},
                                        {"hidden", NULL, 0}, {"at", "AT", 0},   {0}};

static struct table *sample(void)
{
    struct table *t = table_new(cols);
    assert_non_null(t);
    table_text(t, SPAN_LIT("short"));
    table_int(t, 7);
    table_usd(t, 1500000000);
    table_bool(t, true);
    table_time(t, 0);
    table_text(t, SPAN_LIT("much too long"));
    table_null(t);
    table_usd(t, 25);
    table_bool(t, false);
    table_time(t, 1795000000123);
    return t;
}

static void print(const struct table *t, bool json, char *out, size_t out_bytes)
{
    struct err err;
    struct buf text;
    buf_init(&text, 1 << 20);
    assert_int_equal(json ? table_json(t, &text, &err) : table_print(t, &text, &err), RC_OK);
    assert_true(text.n < out_bytes);
    memcpy(out, buf_span(&text).p, text.n);
    out[text.n] = '\0';
    buf_done(&text);
}

static void test_for_people(void **state)
{
    (void)state;
    char text[1024];
    struct table *t = sample();
    assert_int_equal(table_rows(t), 2);
    print(t, false, text, sizeof text);
    assert_string_equal(text, "NAME    COUNT          USD  AT\n"
                              "short       7          1.5  -\n"
                              "much \xe2\x80\xa6      -  0.000000025  2026-11-18T11:06:40.123Z\n");
    table_free(t);
}

static void test_for_programs(void **state)
{
    (void)state;
    char text[1024];
    struct table *t = sample();
    print(t, true, text, sizeof text);
    assert_string_equal(text, "[\n {\"name\":\"short\",\"n\":7,\"usd\":\"1.5\",\"hidden\":true,"
                              "\"at\":null},\n {\"name\":\"much too long\",\"n\":null,"
                              "\"usd\":\"0.000000025\",\"hidden\":false,"
                              "\"at\":\"2026-11-18T11:06:40.123Z\"}\n]\n");
    table_free(t);
}

static void test_csv(void **state)
{
    (void)state;
    struct err err;
    struct buf out;
    static const struct table_col two[] = {{"a,b", "A", 3}, {"n", NULL, 0}, {0}};
    struct table *t = table_new(two);
    table_text(t, SPAN_LIT("say \"hi\", please"));
    table_int(t, -7);
    table_text(t, SPAN_LIT(""));
    table_null(t);
    table_bool(t, true);
    table_usd(t, 1);
    buf_init(&out, 1024);
    assert_int_equal(table_csv(t, &out, &err), RC_OK);
    assert_true(span_is(buf_span(&out), "\"a,b\",n\r\n\"say \"\"hi\"\", please\",-7\r\n"
                                        "\"\",\r\nyes,0.000000001\r\n"));
    buf_done(&out);
    table_free(t);
}

static void test_no_rows(void **state)
{
    (void)state;
    char text[256];
    struct table *t = table_new(cols);
    print(t, false, text, sizeof text);
    assert_string_equal(text, "NAME  COUNT  USD  AT\n");
    print(t, true, text, sizeof text);
    assert_string_equal(text, "[]\n");
    table_free(t);
}

static void check_clean(const char *in, int width, const char *want, int columns)
{
    struct buf out;
    buf_init(&out, 1024);
    assert_int_equal(table_clean(span_of(in), width, &out), columns);
    assert_int_equal(out.n, strlen(want));
    assert_memory_equal(buf_span(&out).p, want, out.n);
    buf_done(&out);
}

static void test_what_a_terminal_gets(void **state)
{
    (void)state;
    check_clean("plain", 0, "plain", 5);
    check_clean("\x1b[31mred\x07\n\t", 0, "?[31mred???", 11);
    check_clean("\xc2\x9b"
                "31m",
                0, "?31m", 4); /* C1: another escape */
    check_clean("a\xe2\x80\xae"
                "b",
                0, "a?b", 3); /* turns the writing round */
    check_clean("a\xff"
                "b",
                0,
                "a\xef\xbf\xbd"
                "b",
                3); /* not UTF-8 */
    check_clean("gr\xc3\xbc\xc3\x9f", 0, "gr\xc3\xbc\xc3\x9f", 4);
    check_clean("abcdef", 6, "abcdef", 6);
    check_clean("abcdefg", 6, "abcde\xe2\x80\xa6", 6);
    check_clean("", 6, "", 0);
}

static void test_wide_and_zero_width_characters(void **state)
{
    (void)state;
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        skip();
    assert_int_equal(table_width(SPAN_LIT("\xe6\x96\x87\xe5\xad\x97")), 4);
    assert_int_equal(table_width(SPAN_LIT("e\xcc\x81")), 1);
    check_clean("\xe6\x96\x87\xe5\xad\x97", 3, "\xe6\x96\x87\xe2\x80\xa6", 3);
}

static void test_json_of_odd_texts(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1024);
    struct jsonw w = {.out = &out};
    jsonw_open(&w, '[');
    jsonw_text(&w, (struct span){"a\xff\0\"", 4});
    jsonw_text(&w, (struct span){0});
    jsonw_raw(&w, SPAN_LIT("{\"x\":\n1}"));
    jsonw_usd(&w, -1);
    jsonw_open(&w, '{');
    jsonw_key(&w, "k");
    jsonw_bool(&w, false);
    jsonw_close(&w, '}');
    jsonw_int(&w, INT64_MIN);
    jsonw_close(&w, ']');
    buf_add_byte(&out, '\0');
    assert_false(out.failed);
    assert_string_equal(out.p, "[\"a\xef\xbf\xbd\\u0000\\\"\",null,{\"x\": 1},\"-0.000000001\","
                               "{\"k\":false},-9223372036854775808]");
    buf_done(&out);
}

static void test_a_full_buffer_is_said(void **state)
{
    (void)state;
    struct err err;
    struct buf tiny;
    struct table *t = sample();
    buf_init(&tiny, 16);
    assert_int_equal(table_print(t, &tiny, &err), RC_NOMEM);
    buf_reset(&tiny);
    assert_int_equal(table_json(t, &tiny, &err), RC_NOMEM);
    buf_reset(&tiny);
    assert_int_equal(table_csv(t, &tiny, &err), RC_NOMEM);
    buf_done(&tiny);
    table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_for_people),
        cmocka_unit_test(test_for_programs),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_no_rows),
        cmocka_unit_test(test_what_a_terminal_gets),
        cmocka_unit_test(test_wide_and_zero_width_characters),
        cmocka_unit_test(test_json_of_odd_texts),
        cmocka_unit_test(test_a_full_buffer_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
