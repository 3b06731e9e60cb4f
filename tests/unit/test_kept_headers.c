/*
 * test_kept_headers.c - the column `headers`: its bytes, and that what went in comes out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/kept_headers.h"

static void check_pack(struct span signature, struct span traceparent, const char *want)
{
    struct buf out;
    buf_init(&out, KEPT_HEADERS_BYTES_MAX);
    kept_headers_pack((struct kept_headers){signature, traceparent}, &out);
    assert_false(out.failed);
    assert_true(span_is(buf_span(&out), want));
    buf_done(&out);
}

static void check_unpack(struct span column, const char *signature, const char *traceparent)
{
    struct kept_headers headers = kept_headers_unpack(column);
    assert_int_equal(headers.signature.p != NULL, signature != NULL);
    assert_int_equal(headers.traceparent.p != NULL, traceparent != NULL);
    assert_true(span_is(headers.signature, signature));
    assert_true(span_is(headers.traceparent, traceparent));
}

static const struct span absent = {0};

static void packs(void **state)
{
    (void)state;
    check_pack(absent, absent, "\n\n");
    check_pack(SPAN_LIT(""), SPAN_LIT(""), "\n\n");
    check_pack(SPAN_LIT("v1:k:aa"), absent, "v1:k:aa\n\n");
    check_pack(absent, SPAN_LIT("00-trace"), "\n00-trace\n");
    check_pack(SPAN_LIT("v1:k:aa"), SPAN_LIT("00-trace"), "v1:k:aa\n00-trace\n");
}

static void appends(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 64);
    buf_add_text(&out, "before ");
    kept_headers_pack((struct kept_headers){SPAN_LIT("s"), SPAN_LIT("t")}, &out);
    assert_true(span_is(buf_span(&out), "before s\nt\n"));
    buf_done(&out);
}

static void unpacks(void **state)
{
    (void)state;
    check_unpack(absent, NULL, NULL);
    check_unpack(SPAN_LIT(""), NULL, NULL);
    check_unpack(SPAN_LIT("\n\n"), NULL, NULL);
    check_unpack(SPAN_LIT("v1:k:aa\n\n"), "v1:k:aa", NULL);
    check_unpack(SPAN_LIT("\n00-trace\n"), NULL, "00-trace");
    check_unpack(SPAN_LIT("v1:k:aa\n00-trace\n"), "v1:k:aa", "00-trace");
}

static void odd_columns(void **state)
{
    (void)state;
    check_unpack(SPAN_LIT("no line"), NULL, NULL);
    check_unpack(SPAN_LIT("v1:k:aa\ncut off"), "v1:k:aa", NULL);
    check_unpack(SPAN_LIT("v1:k:aa\n"), "v1:k:aa", NULL);
    check_unpack(SPAN_LIT("s\nt\nof a later release\n"), "s", "t");
}

/* A header with a newline in it would move the other's place. */
static void no_header_takes_the_others_place(void **state)
{
    (void)state;
    check_pack(SPAN_LIT("a\nb"), SPAN_LIT("00-trace"), "\n00-trace\n");
    check_pack(SPAN_LIT("v1:k:aa"), SPAN_LIT("a\n"), "v1:k:aa\n\n");
}

static void the_largest_fit(void **state)
{
    (void)state;
    char bytes[KEPT_HEADER_BYTES_MAX + 1];
    memset(bytes, 'x', sizeof bytes);
    struct span largest = {bytes, KEPT_HEADER_BYTES_MAX}, too_large = {bytes, sizeof bytes};
    struct buf out;
    buf_init(&out, KEPT_HEADERS_BYTES_MAX);
    kept_headers_pack((struct kept_headers){largest, largest}, &out);
    assert_false(out.failed);
    assert_int_equal(out.n, KEPT_HEADERS_BYTES_MAX);
    struct kept_headers back = kept_headers_unpack(buf_span(&out));
    assert_true(span_eq(back.signature, largest));
    assert_true(span_eq(back.traceparent, largest));
    buf_done(&out);
    check_pack(too_large, SPAN_LIT("00-trace"), "\n00-trace\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs),           cmocka_unit_test(appends),
        cmocka_unit_test(unpacks),         cmocka_unit_test(odd_columns),
        cmocka_unit_test(the_largest_fit), cmocka_unit_test(no_header_takes_the_others_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
