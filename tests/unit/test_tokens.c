/*
 * test_tokens.c - what is learned of a model version's tokens, and what is not.
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
#include "worker/tokens.h"

/* As good a stream of numbers as any, and always the same. */
static uint64_t next(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

/* Before anything is reported: as the producers' estimate, and 512 or the job's own bound. */
static void test_first(void **state)
{
    (void)state;
    struct tokens t;
    tokens_init(&t);
    for (int64_t bytes = -1; bytes < 5000; bytes++)
        assert_int_equal(tokens_input(&t, bytes), price_estimate_tokens(bytes));
    assert_int_equal(tokens_output(&t, -1), 512);
    assert_int_equal(tokens_output(&t, 511), 511);
    assert_int_equal(tokens_output(&t, 513), 512);
    assert_int_equal(tokens_output(&t, 0), 0);
}

static void test_input_is_followed(void **state)
{
    (void)state;
    static const int64_t bytes_per_token[] = {1, 2, 3, 4, 6, 10, 100};
    for (size_t i = 0; i < sizeof bytes_per_token / sizeof bytes_per_token[0]; i++) {
        struct tokens t;
        uint64_t seed = 7;
        tokens_init(&t);
        for (int n = 0; n < 300; n++) {
            int64_t tokens = 50 + (int64_t)(next(&seed) % 1000);
            tokens_learn(&t, tokens * bytes_per_token[i], tokens, -1);
        }
        int64_t estimate = tokens_input(&t, 100000 * bytes_per_token[i]);
        assert_in_range(estimate, 99000, 101000);
    }
}

/* One in fifty counts a picture, or counts oddly: the others' factor stands, within a fifth. */
static void test_outliers(void **state)
{
    (void)state;
    static const int64_t odd[] = {1, 100000000, INT64_MAX};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        struct tokens t;
        tokens_init(&t);
        for (int n = 0; n < 1000; n++) {
            tokens_learn(&t, 4000, n % 50 == 25 ? odd[i] : 1000, -1);
            assert_in_range(tokens_input(&t, 4000), 900, 1100);
        }
    }
}

static void test_absurd(void **state)
{
    (void)state;
    struct tokens t, first;
    tokens_init(&t);
    tokens_init(&first);
    tokens_learn(&t, 0, 10, -1);
    tokens_learn(&t, -5, 10, -1);
    tokens_learn(&t, 100, 0, -1);
    tokens_learn(&t, 100, -1, -1);
    assert_memory_equal(&t, &first, sizeof t);
    for (int n = 0; n < 1000; n++)
        tokens_learn(&t, 1, INT64_MAX, INT64_MAX);
    assert_int_equal(tokens_input(&t, 10), 40); /* four tokens a byte at most */
    assert_in_range(tokens_output(&t, -1), 1 << 20, 1 << 24);
    for (int n = 0; n < 3000; n++)
        tokens_learn(&t, INT64_C(10) << 20, 1, 0);
    assert_in_range(tokens_input(&t, 1000000), 1, 100);
    assert_in_range(tokens_output(&t, -1), 0, 1);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Against the true percentile: never below it, and at most a quarter above. */
static void test_output_percentile(void **state)
{
    (void)state;
    for (int shape = 0; shape < 4; shape++) {
        for (int count = 20; count < 1000; count += 97) {
            struct tokens t;
            int64_t said[1000];
            uint64_t seed = (uint64_t)count;
            tokens_init(&t);
            for (int n = 0; n < count; n++) {
                uint64_t draw = next(&seed);
                said[n] = shape == 0   ? 40
                          : shape == 1 ? (int64_t)(draw % 300)
                          : shape == 2 ? (int64_t)1 << draw % 16
                                       : (int64_t)(draw % 10 ? 5 : 2000 + draw % 100);
                tokens_learn(&t, 0, -1, said[n]);
            }
            qsort(said, (size_t)count, sizeof said[0], compare);
            int64_t p95 = said[count - 1 - count * 5 / 100];
            int64_t most = p95 + p95 / 4 + 1;
            if (tokens_output(&t, -1) < p95 || tokens_output(&t, -1) > most)
                fail_msg("shape %d, %d reports: %lld, and it is %lld", shape, count,
                         (long long)tokens_output(&t, -1), (long long)p95);
            assert_int_equal(tokens_output(&t, 3), p95 < 3 ? tokens_output(&t, -1) : 3);
        }
    }
}

/* Nineteen reports are too few; and what was long ago fades. */
static void test_output_begins_and_fades(void **state)
{
    (void)state;
    struct tokens t;
    tokens_init(&t);
    for (int n = 0; n < 19; n++)
        tokens_learn(&t, 0, -1, 30);
    assert_int_equal(tokens_output(&t, -1), 512);
    tokens_learn(&t, 0, -1, 30);
    assert_int_equal(tokens_output(&t, -1), 31);
    for (int n = 0; n < 100000; n++)
        tokens_learn(&t, 0, -1, 30);
    assert_int_equal(tokens_output(&t, -1), 31);
    int until = 0;
    for (; tokens_output(&t, -1) < 900 && until < 10000; until++)
        tokens_learn(&t, 0, -1, 900);
    assert_in_range(until, 10, 100);
    for (int n = 0; n < 2000; n++)
        tokens_learn(&t, 0, -1, 900);
    for (until = 0; tokens_output(&t, -1) > 31 && until < 10000; until++)
        tokens_learn(&t, 0, -1, 30);
    assert_in_range(until, 100, 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first),
        cmocka_unit_test(test_input_is_followed),
        cmocka_unit_test(test_outliers),
        cmocka_unit_test(test_absurd),
        cmocka_unit_test(test_output_percentile),
        cmocka_unit_test(test_output_begins_and_fades),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
