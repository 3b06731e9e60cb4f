/*
 * test_pulls.c - rows are pulled in equal parts by app, as far as each has any.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/pulls.h"

enum { APPS = 4 };

static void test_parts(void **state)
{
    static const struct {
        int64_t most, rows[APPS], here[APPS], part[APPS];
    } cases[] = {
        {100, {1000000, 10}, {0}, {90, 10}}, /* ten go at once */
        {100, {1000, 1000, 1000, 1000}, {0}, {25, 25, 25, 25}},
        {100, {5, 1000, 20, 1000}, {0}, {5, 38, 20, 37}}, /* what one leaves is the others' */
        {100, {3, 4}, {0}, {3, 4}},
        {100, {1000, 1000}, {90, 0}, {0, 50}}, /* no more than its part is taken away */
        {100, {1000, 1000}, {300, 0}, {0, 50}},
        {100, {1000, 1000}, {20, 0}, {30, 50}},
        {100, {1000, 0}, {0, 70}, {50, 0}}, /* who has no rows keeps its part */
        {100, {1000, 0}, {0, 20}, {80, 0}},
        {100, {1000}, {100}, {0}},
        {101, {1000, 1000}, {300, 0}, {0, 50}}, /* the odd one is among what it has */
        {1, {1000, 1000}, {1, 0}, {0, 0}},
        {1, {1000, 1000, 1000}, {0}, {1, 0, 0}},
        {0, {1000, 10}, {0}, {0, 0}},
        {-5, {1000, 10}, {0}, {0, 0}},
        {INT32_MAX, {1000, 10}, {0}, {1000, 10}},
    };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct pull_app apps[APPS];
        for (int i = 0; i < APPS; i++)
            apps[i] = (struct pull_app){.rows = cases[c].rows[i], .here = cases[c].here[i]};
        pulls_share(apps, APPS, cases[c].most, 0);
        for (int i = 0; i < APPS; i++)
            if (apps[i].rows != cases[c].part[i])
                fail_msg("case %zu: app %d has %lld", c, i, (long long)apps[i].rows);
    }
}

/* Where there is room for one, it is not always the same one's. */
static void test_what_is_left_goes_around(void **state)
{
    int got[APPS] = {0};
    (void)state;
    for (uint64_t turn = 0; turn < 2 * APPS; turn++) {
        struct pull_app apps[APPS];
        for (int i = 0; i < APPS; i++)
            apps[i] = (struct pull_app){.rows = 10};
        pulls_share(apps, APPS, 5, turn);
        for (int i = 0; i < APPS; i++)
            got[i] += apps[i].rows == 2;
    }
    for (int i = 0; i < APPS; i++)
        assert_int_equal(got[i], 2);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Whatever comes: all the room is used that can be, none twice, and nobody who could have had more
 * has less than another got. */
static void test_any_parts_are_fair(void **state)
{
    uint64_t seed = 1;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct pull_app apps[APPS];
        int64_t rows[APPS], most = (int64_t)(next_random(&seed) % 60), sum = 0, wanted = 0, all = 0;
        for (int i = 0; i < APPS; i++) {
            rows[i] = (int64_t)(next_random(&seed) % 30);
            apps[i] =
                (struct pull_app){.rows = rows[i], .here = (int64_t)(next_random(&seed) % 3 * 10)};
            wanted += rows[i];
            all += apps[i].here + rows[i];
        }
        pulls_share(apps, APPS, most, next_random(&seed));
        for (int i = 0; i < APPS; i++) {
            sum += apps[i].rows;
            assert_in_range(apps[i].rows, 0, rows[i]);
            for (int k = 0; k < APPS; k++)
                if (apps[i].rows < rows[i] && apps[k].rows > 0)
                    assert_true(apps[i].here + apps[i].rows + 1 >= apps[k].here + apps[k].rows);
        }
        assert_true(sum <= most);
        if (all <= most)
            assert_int_equal(sum, wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_what_is_left_goes_around),
        cmocka_unit_test(test_any_parts_are_fair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
