/*
 * test_waits.c - for how long which limits held a job back: sums by limit, their list in a row, and
 * what of a row is believed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/waits.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void assert_packs(const struct waits *w, int least, const char *text)
{
    struct buf out;
    buf_init(&out, WAITS_BYTES_MAX);
    waits_pack(w, least, &out);
    assert_true(buf_add_byte(&out, 0));
    assert_string_equal(out.p, text);
    buf_done(&out);
}

static void test_sums_by_limit(void **state)
{
    struct waits w = {0};
    (void)state;
    assert_int_equal(waits_most(&w), 0);
    assert_packs(&w, 1, "");
    waits_add(&w, 7, 30);
    waits_add(&w, 7, 0);
    waits_add(&w, 7, -5);
    assert_packs(&w, 1, "{\"7\":30}");
    assert_packs(&w, 2, "");
    waits_add(&w, 9, 25);
    waits_add(&w, 9, 25);
    assert_int_equal(waits_most(&w), 9);
    assert_int_equal(w.us, 80);
    assert_packs(&w, 2, "{\"7\":30,\"9\":50}");
    for (int i = 0; i < WAITS_MAX; i++)
        waits_add(&w, 100 + i, INT64_C(1000000000000)); /* more than there are places */
    waits_add(&w, 0, 3);                                /* nobody knows for what */
    assert_int_equal(w.us, 83 + WAITS_MAX * INT64_C(1000000000000));
    assert_packs(&w, 2, "{\"7\":30,\"9\":50,\"100\":1000000000000,\"101\":1000000000000}");
    assert_int_equal(waits_most(&w), 100);
    waits_add(&w, 7, INT64_MAX);
    assert_int_equal(w.all[0].us, 30); /* it would be more than can be told */
}

/* The longest list fits. */
static void test_the_largest(void **state)
{
    struct waits w = {0};
    struct buf out;
    (void)state;
    for (int i = 0; i < WAITS_MAX; i++)
        waits_add(&w, INT32_MAX - i, INT64_MAX / WAITS_MAX);
    buf_init(&out, WAITS_BYTES_MAX);
    waits_pack(&w, 1, &out);
    assert_false(out.failed);
    buf_done(&out);
}

static void test_rows(void **state)
{
    static const struct {
        const char *list;
        int64_t us;
        int32_t limit_id;
        const char *is;
    } rows[] = {
        {"", 0, 0, ""},
        {"", 50, 0, ""},
        {"", 50, 7, "{\"7\":50}"}, /* of a build that kept the last one */
        {"{\"7\":30,\"9\":50}", 80, 9, "{\"7\":30,\"9\":50}"},
        {"{\"7\": 30, \"9\": 50}", 100, 8, "{\"7\":30,\"9\":50,\"8\":20}"},
        {"{\"7\":30}", 100, 7, "{\"7\":100}"}, /* and then it was parked for it */
        {"{\"7\":30}", 20, 9, "{\"9\":20}"},   /* more than there was */
        {"{\"0\":30,\"99999999999\":5}", 40, 3, "{\"3\":40}"},
        {"{\"7\":99999999999999999999}", 40, 3, "{\"3\":40}"},
        {"{\"7\":", 40, 3, "{\"3\":40}"},
        {"7", 40, 3, "{\"3\":40}"},
        {"none", 40, 3, "{\"3\":40}"},
        {"", -40, 3, ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct waits w;
        waits_unpack(span_of(rows[i].list), rows[i].us, rows[i].limit_id, &w);
        assert_packs(&w, 1, rows[i].is);
        assert_int_equal(w.us, rows[i].us > 0 ? rows[i].us : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_by_limit),
        cmocka_unit_test(test_the_largest),
        cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
