/*
 * test_price.c - costs by hand-made sums, unknowns that stay unknown, amounts taken exactly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/price.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void test_cost(void **state)
{
    (void)state;
    static const int64_t most = INT64_MAX;
    const struct {
        struct price p;
        struct usage u;
        int64_t nusd;
    } rows[] = {
        /* 2.50 / 10.00 USD per million: 1000 * 2.5 + 200 * 10 microUSD */
        {{2500000, -1, 10000000, -1, 0}, {1000, -1, 200, -1}, 4500000},
        {{2500000, -1, 10000000, -1, 0}, {1000, 400, 200, 50}, 4500000},
        {{2500000, 1250000, 10000000, -1, 0}, {1000, 400, 200, -1}, 4000000},
        {{2500000, 1250000, 10000000, 20000000, 0}, {1000, 400, 200, 50}, 4500000},
        {{2500000, 0, 10000000, 0, 0}, {1000, 1000, 200, 200}, 0},
        {{2500000, -1, 10000000, -1, 7000}, {0, 0, 0, 0}, 7},
        /* rounded once, half up */
        {{1, -1, 0, -1, 0}, {499, -1, 0, -1}, 0},
        {{1, -1, 0, -1, 0}, {500, -1, 0, -1}, 1},
        {{1, -1, 0, -1, 0}, {1499, -1, 0, -1}, 1},
        {{1, -1, 1, -1, 0}, {250, -1, 250, -1}, 1}, /* two halves of a half */
        {{0, -1, 0, -1, 0}, {1, 1, 1, 1}, 0},
        /* not needed, so not missed */
        {{20000, -1, 0, -1, 0}, {8, -1, -1, -1}, 160}, /* embeddings */
        {{0, -1, 0, -1, 5000}, {-1, -1, -1, -1}, 5},
        {{20000, -1, -1, -1, 0}, {8, -1, 0, -1}, 160},
        {{-1, -1, 20000, -1, 0}, {0, -1, 8, -1}, 160},
        {{20000, 20000, 0, -1, 0}, {8, -1, 0, -1}, 160}, /* cached costs the same */
        {{-1, 1000, 0, -1, 0}, {8, 8, 0, -1}, 8},        /* all of it cached */
        /* absent is not zero */
        {{-1, -1, 10, -1, 0}, {1, -1, 1, -1}, -1},
        {{10, -1, -1, -1, 0}, {1, -1, 1, -1}, -1},
        {{10, -1, 10, -1, 0}, {-1, -1, 1, -1}, -1},
        {{10, -1, 10, -1, 0}, {1, -1, -1, -1}, -1},
        {{10, 5, 10, -1, 0}, {1, -1, 1, -1}, -1},
        {{10, -1, 10, 20, 0}, {1, -1, 1, -1}, -1},
        {{10, -1, 10, -1, -1}, {1, -1, 1, -1}, -1},
        {{-1, 1000, 0, -1, 0}, {9, 8, 0, -1}, -1},
        /* counts that contradict each other */
        {{10, -1, 10, -1, 0}, {1, 2, 1, -1}, -1},
        {{10, 5, 10, -1, 0}, {1, 2, 1, -1}, -1},
        {{10, 5, 10, 20, 0}, {1, 0, 1, 2}, -1},
        /* the ends of the range */
        {{most, -1, 0, -1, 0}, {1000, -1, 0, -1}, most},
        {{most, -1, 0, -1, 499}, {1000, -1, 0, -1}, most},
        {{most, -1, 0, -1, 500}, {1000, -1, 0, -1}, -1},
        {{most, most - 1, most, most - 1, most}, {most, 1, most, 1}, -1},
        {{most, -1, most, -1, most}, {most, -1, most, -1}, -1},
        {{0, -1, 0, -1, most}, {1, -1, 1, -1}, INT64_C(9223372036854776)},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t nusd = price_cost_nusd(&rows[i].p, &rows[i].u);
        if (nusd != rows[i].nusd)
            fail_msg("row %zu: %lld", i, (long long)nusd);
    }
}

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t per, pusd;
    } rows[] = {
        {"2.50", 1000000, 2500000},
        {"2.5", 1000000, 2500000},
        {"10", 1000000, 10000000},
        {"0.000003", 1, 3000000},
        {"1.35e-05", 1, 13500000},
        {"1.35E-5", 1, 13500000},
        {"1.35e+1", 1000000, 13500000},
        {"0.00000135e1", 1, 13500000},
        {"135e-7", 1, 13500000},
        {"0", 1, 0},
        {"0.0", 1000000, 0},
        {"0e999999999999", 1, 0},
        {"0e-999999999999", 1000000, 0},
        {"000.000001", 1000000, 1},
        {"1e-12", 1, 1},
        {"1e-6", 1000000, 1},
        {"0.000000000001000000000000000000000000000000000000000000000000", 1, 1},
        {"100000000000000000000000000000e-29", 1000000, 1000000},
        {".5", 1, INT64_C(500000000000)},
        {"5.", 1, INT64_C(5000000000000)},
        {"9223372.036854775807", 1, INT64_MAX},
        {"9223372036854.775807", 1000000, INT64_MAX},
        {"9223372036854775.807", 1000000000, INT64_MAX},
        {"0.1", 1, INT64_C(100000000000)},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t pusd = -7;
        struct err err = {0};
        if (price_parse_pusd(rows[i].text, rows[i].per, &pusd, &err) != RC_OK)
            fail_msg("'%s': %s", rows[i].text, err.text);
        assert_int_equal(pusd, rows[i].pusd);
    }
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t per;
        const char *says;
    } rows[] = {
        {"", 1, "not an amount"},
        {".", 1, "not an amount"},
        {"e5", 1, "not an amount"},
        {"1e", 1, "not an amount"},
        {"1e+", 1, "not an amount"},
        {"1e5.0", 1, "not an amount"},
        {"1.2.3", 1, "not an amount"},
        {"1,5", 1, "not an amount"},
        {"$1", 1, "not an amount"},
        {"+1", 1, "not an amount"},
        {" 1", 1, "not an amount"},
        {"1 ", 1, "not an amount"},
        {"0x10", 1, "not an amount"},
        {"nan", 1, "not an amount"},
        {"inf", 1, "not an amount"},
        {"-1", 1, "negative"},
        {"-0", 1, "negative"},
        {"1e-13", 1, "finer"},
        {"1e-7", 1000000, "finer"},
        {"0.0000001", 1000000, "finer"},
        {"1.0000001", 1000000, "finer"},
        {"3e-999999999999", 1, "finer"},
        {"0.3333333333333333333333333333333333333333333333333", 1, "finer"},
        {"9223372.036854775808", 1, "too large"},
        {"9223372036854.775808", 1000000, "too large"},
        {"1e999999999999", 1, "too large"},
        {"1e99", 1000000, "too large"},
        {"123456789012345678901234567890123456789012345678", 1, "too large"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t pusd = -7;
        struct err err = {0};
        assert_int_equal(price_parse_pusd(rows[i].text, rows[i].per, &pusd, &err), RC_REJECT);
        assert_int_equal(pusd, -7);
        if (!strstr(err.text, rows[i].says))
            fail_msg("'%s': %s", rows[i].text, err.text);
    }
    char longest[400];
    int64_t pusd;
    memset(longest, '0', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(price_parse_pusd(longest, 1, &pusd, NULL), RC_REJECT);
}

static void test_text(void **state)
{
    (void)state;
    static const struct {
        int64_t nusd;
        const char *text;
    } rows[] = {
        {0, "0.00"},
        {1, "0.000000001"},
        {12345000, "0.012345"},
        {10000000, "0.01"},
        {100000000, "0.10"},
        {1000000000, "1.00"},
        {INT64_C(123450000000), "123.45"},
        {INT64_C(1000000000000), "1000.00"},
        {-1, "unknown"},
        {INT64_MIN, "unknown"},
        {INT64_MAX, "9223372036.854775807"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char out[32];
        assert_ptr_equal(price_usd_text(rows[i].nusd, out, sizeof out), out);
        assert_string_equal(out, rows[i].text);
    }
}

static void test_estimate(void **state)
{
    (void)state;
    static const int64_t rows[][2] = {{0, 0}, {1, 1}, {4, 1}, {5, 2}, {4000, 1000}, {-5, 0}};
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(price_estimate_tokens(rows[i][0]), rows[i][1]);
    assert_int_equal(price_estimate_tokens(INT64_MAX), INT64_MAX / 4 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cost),          cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_refuses), cmocka_unit_test(test_text),
        cmocka_unit_test(test_estimate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
