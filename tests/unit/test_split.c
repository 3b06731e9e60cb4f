/*
 * test_split.c - fair divisions, minimum shares, whole numbers.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "worker/split.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void same(double a, double b)
{
    if (fabs(a - b) > 1e-6 * (1 + fabs(b)))
        fail_msg("%f instead of %f", a, b);
}

static void test_fair(void **state)
{
    (void)state;
    static const struct {
        double amount, demand[4], weight[4], gets[4];
    } rows[] = {
        {100, {100, 100, 100, 100}, {1, 1, 1, 1}, {25, 25, 25, 25}},
        {100, {10, 20, 30, 40}, {1, 1, 1, 1}, {10, 20, 30, 40}},
        {100, {10, 20, 300, 400}, {1, 1, 1, 1}, {10, 20, 35, 35}},
        {100, {0, 0, 0, 7}, {1, 1, 1, 1}, {0, 0, 0, 7}},
        {100, {0, 0, 0, 700}, {1, 1, 1, 1}, {0, 0, 0, 100}},
        {100, {900, 900, 900, 0}, {60, 30, 10, 5}, {60, 30, 10, 0}},
        {100, {900, 10, 900, 0}, {60, 30, 10, 5}, {90 * 6 / 7., 10, 90 / 7., 0}},
        {0, {1, 2, 3, 4}, {1, 1, 1, 1}, {0, 0, 0, 0}},
        {1e10,
         {1e10, 1, 1e10, 1e10},
         {1, 1, 1, 1},
         {(1e10 - 1) / 3, 1, (1e10 - 1) / 3, (1e10 - 1) / 3}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        double gets[4];
        split_fair(rows[i].amount, rows[i].demand, rows[i].weight, gets, 4);
        for (int k = 0; k < 4; k++)
            same(gets[k], rows[i].gets[k]);
    }
    split_fair(5, NULL, NULL, NULL, 0);
}

static void test_minimum(void **state)
{
    (void)state;
    static const struct {
        int weight[3], least[3];
        double gets[3];
    } rows[] = {
        {{60, 30, 10}, {0, 0, 0}, {600, 300, 100}},
        {{98, 1, 1}, {0, 0, 50}, {950 * 98 / 99., 950 / 99., 50}},
        {{98, 1, 1}, {0, 100, 50}, {850, 100, 50}},
        {{98, 0, 1}, {0, 100, 50}, {950, 0, 50}}, /* who takes no part needs no minimum */
        {{0, 0, 7}, {300, 300, 300}, {0, 0, 1000}},
        {{0, 0, 0}, {300, 300, 300}, {0, 0, 0}},
        {{1, 1, 1}, {500, 300, 200}, {500, 300, 200}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        double gets[3];
        split_minimum(rows[i].weight, rows[i].least, gets, 3);
        for (int k = 0; k < 3; k++)
            same(gets[k], rows[i].gets[k]);
    }
}

static void test_whole(void **state)
{
    (void)state;
    static const struct {
        int64_t amount;
        double target[3];
        int64_t now[3], gets[3];
    } rows[] = {
        {10, {3.4, 3.5, 3.1}, {0, 0, 0}, {3, 4, 3}},
        {10, {3.4, 3.5, 3.1}, {4, 3, 3}, {4, 3, 3}}, /* who has it keeps it */
        {11, {3.4, 3.5, 4.1}, {9, 0, 0}, {4, 3, 4}},
        {3, {1, 1, 1}, {0, 0, 9}, {1, 1, 1}},
        {1, {1 / 3., 1 / 3., 1 / 3.}, {0, 1, 0}, {0, 1, 0}},
        {2, {1 / 3., 1 / 3., 1 / 3.}, {0, 0, 0}, {1, 1, 0}},
        {0, {0, 0, 0}, {5, 5, 5}, {0, 0, 0}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t gets[3];
        size_t scratch[3];
        split_whole(rows[i].amount, rows[i].target, rows[i].now, gets, scratch, 3);
        for (int k = 0; k < 3; k++)
            if (gets[k] != rows[i].gets[k])
                fail_msg("row %zu, %d: %lld", i, k, (long long)gets[k]);
    }
}

static void test_what_is_free(void **state)
{
    (void)state;
    static const struct {
        int64_t free, deficit[3];
        size_t turn;
        int64_t gets[3], left;
    } rows[] = {
        {10, {5, 5, 0}, 0, {5, 5, 0}, 0},
        {12, {5, 5, 0}, 0, {5, 5, 0}, 2},
        {6, {100, 200, 0}, 0, {2, 4, 0}, 0},
        {1, {7, 7, 7}, 0, {1, 0, 0}, 0},
        {1, {7, 7, 7}, 2, {0, 0, 1}, 0},
        {2, {7, 7, 7}, 2, {1, 0, 1}, 0},
        {0, {7, 7, 7}, 0, {0, 0, 0}, 0},
        {-5, {7, 7, 7}, 0, {0, 0, 0}, -5},
        {5, {0, 0, 0}, 1, {0, 0, 0}, 5},
        {2, {1, 0, 9}, 1, {0, 0, 2}, 0},
        {INT64_MAX / 2, {INT64_MAX / 2, INT64_MAX / 2, 0}, 0, {INT64_MAX / 4, INT64_MAX / 4, 0}, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t gets[3] = {0};
        int64_t left = split_free(rows[i].free, rows[i].deficit, gets, 3, rows[i].turn);
        assert_int_equal(left, rows[i].left);
        int64_t all = 0;
        for (int k = 0; k < 3; k++) {
            assert_true(gets[k] <= rows[i].deficit[k]);
            assert_in_range(gets[k] - rows[i].gets[k] + 1, 0, 2);
            all += gets[k];
        }
        assert_int_equal(all, rows[i].free > 0 ? rows[i].free - left : 0);
        if (i < COUNT(rows) - 1)
            assert_memory_equal(gets, rows[i].gets, sizeof gets);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fair),
        cmocka_unit_test(test_minimum),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_what_is_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
