/*
 * test_retry_budget.c - how many calls may be retries: the floor, the share, what answers bring,
 * and the bound in every minute of long random runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "worker/retry_budget.h"

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define BEGIN (INT64_C(1000) * SECOND + 7)

static int take_all(struct retry_budget *b, int64_t now_us)
{
    int taken = 0;
    while (retry_budget_take(b, now_us))
        taken++;
    return taken;
}

static void test_floor(void **state)
{
    (void)state;
    struct retry_budget b = {0};
    assert_int_equal(take_all(&b, BEGIN), RETRY_BUDGET_FLOOR);
    assert_int_equal(take_all(&b, BEGIN + MINUTE), 0); /* not before a whole minute is over */
    assert_int_equal(take_all(&b, BEGIN + MINUTE + 10 * SECOND), RETRY_BUDGET_FLOOR);
    assert_int_equal(take_all(&b, BEGIN + INT64_C(86400) * SECOND), RETRY_BUDGET_FLOOR);
}

static void test_share(void **state)
{
    static const struct {
        int firsts, permille, retries;
    } rows[] = {
        {0, 200, 0},
        {1, 200, 0},
        {5, 200, 1},
        {9, 200, 1},
        {1000, 200, 200},
        {1000, 0, 0},
        {1000, 1, 1},
        {999, 1, 0},
        {50, 1000, 50},
        {3, 333, 0},
        {4, 250, 1},
        {1000, 5, 5},
        {100000, 1000, 100000},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct retry_budget b = {0};
        for (int n = 0; n < rows[i].firsts; n++)
            retry_budget_first(&b, rows[i].permille, BEGIN);
        if (take_all(&b, BEGIN) != rows[i].retries + RETRY_BUDGET_FLOOR)
            fail_msg("row %zu", i);
    }
}

/* What first calls earned is gone with their minute. */
static void test_nothing_is_saved_up(void **state)
{
    (void)state;
    struct retry_budget b = {0};
    for (int i = 0; i < 1000; i++)
        retry_budget_first(&b, 200, BEGIN);
    assert_int_equal(take_all(&b, BEGIN + MINUTE + 10 * SECOND), RETRY_BUDGET_FLOOR);
}

static void test_answers_bring_more(void **state)
{
    (void)state;
    struct retry_budget b = {0};
    int calls = take_all(&b, BEGIN), went = calls;
    for (int round = 1; round <= 5; round++) { /* all of them are answered */
        for (int i = 0; i < went; i++)
            retry_budget_answered(&b, BEGIN + round);
        went = take_all(&b, BEGIN + round);
        calls += went;
        assert_int_equal(went, RETRY_BUDGET_FLOOR << round);
    }
}

static void test_given_back(void **state)
{
    (void)state;
    struct retry_budget b = {0};
    assert_int_equal(take_all(&b, BEGIN), RETRY_BUDGET_FLOOR);
    retry_budget_give_back(&b, BEGIN + 30 * SECOND);
    assert_int_equal(take_all(&b, BEGIN + 30 * SECOND), 1);
    for (int i = 0; i < 100; i++) /* never more than what was taken */
        retry_budget_give_back(&b, BEGIN + 31 * SECOND);
    assert_int_equal(take_all(&b, BEGIN + 31 * SECOND), RETRY_BUDGET_FLOOR);
    struct retry_budget early = {0};
    retry_budget_give_back(&early, 3);
    assert_int_equal(take_all(&early, 4), RETRY_BUDGET_FLOOR);
}

/* What is called without having been paid for, later retries wait for. */
static void test_charged(void **state)
{
    (void)state;
    struct retry_budget b = {0};
    for (int i = 0; i < RETRY_BUDGET_FLOOR + 5; i++)
        retry_budget_charge(&b, BEGIN);
    for (int i = 0; i < 5; i++)
        retry_budget_first(&b, 1000, BEGIN);
    assert_false(retry_budget_take(&b, BEGIN));
    retry_budget_first(&b, 1000, BEGIN);
    assert_true(retry_budget_take(&b, BEGIN));
}

/* Who waits asks one after the other, when there is something again. */
static void test_line(void **state)
{
    (void)state;
    struct retry_budget b = {0};
    take_all(&b, BEGIN);
    int64_t before = BEGIN, first = 0;
    for (int i = 0; i < 20; i++) {
        int64_t at = retry_budget_ask_at(&b, BEGIN, (uint64_t)i);
        assert_true(at > before && at <= BEGIN + RETRY_BUDGET_WAIT_MAX_US);
        first = first ? first : at;
        before = at;
    }
    assert_true(first >= BEGIN + MINUTE);
    assert_int_equal(before - first, 19 * MINUTE / RETRY_BUDGET_FLOOR);
    assert_true(retry_budget_take(&b, first));
    for (int i = 0; i < 1000;
         i++) { /* the line is full: nobody waits for longer, nor all as long */
        int64_t at = retry_budget_ask_at(&b, BEGIN, (uint64_t)i * 7919 * 104729);
        assert_true(at > BEGIN + RETRY_BUDGET_WAIT_MAX_US / 2 - SECOND);
        assert_true(at <= BEGIN + RETRY_BUDGET_WAIT_MAX_US);
    }
}

/* A busy route has a fast line, but nobody asks all the time. */
static void test_fast_line(void **state)
{
    (void)state;
    struct retry_budget b = {0};
    for (int i = 0; i < 600000; i++)
        retry_budget_first(&b, 200, BEGIN);
    int64_t at = 0;
    for (int i = 0; i < 2000; i++)
        at = retry_budget_ask_at(&b, BEGIN, 1);
    assert_true(at >= BEGIN + SECOND && at < BEGIN + 2 * SECOND);
}

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

/*
 * A route under random load for hours, its calls written down: in the minute before any retry no
 * more of them than the floor, the share of the first calls of that minute and of the ten seconds
 * before it, and two for each that was answered then. Judged by what went, never by the books.
 */
static void test_bound_in_every_minute(void **state)
{
    enum { STEPS = 6000, KINDS = 3 };
    static struct {
        int64_t at_us;
        enum { FIRST, RETRY, ANSWER } what;
    } log[STEPS];
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        uint64_t draw = seed;
        struct retry_budget b = {0};
        int count = 0, permille = (int)(next(&draw) % 1001);
        int answered = (int)(next(&draw) % 3) * 30; /* percent */
        int64_t now = BEGIN;
        while (count < STEPS - KINDS) {
            now += (int64_t)(next(&draw) % (next(&draw) % 50 ? 300000 : 40 * SECOND));
            if (next(&draw) % 2) {
                retry_budget_first(&b, permille, now);
                log[count].at_us = now;
                log[count++].what = FIRST;
            }
            if (!retry_budget_take(&b, now))
                continue;
            log[count].at_us = now;
            log[count++].what = RETRY;
            if ((int)(next(&draw) % 100) >= answered)
                continue;
            retry_budget_answered(&b, now);
            log[count].at_us = now;
            log[count++].what = ANSWER;
        }
        for (int i = 0; i < count; i++) {
            if (log[i].what != RETRY) /* a minute without one at its end ends with an earlier one */
                continue;
            int64_t may = RETRY_BUDGET_FLOOR * 1000, went = 0;
            for (int j = i; j >= 0 && log[j].at_us > log[i].at_us - MINUTE - 10 * SECOND; j--) {
                may += log[j].what == FIRST ? permille : log[j].what == ANSWER ? 2000 : 0;
                went += log[j].what == RETRY && log[j].at_us > log[i].at_us - MINUTE ? 1000 : 0;
            }
            if (went > may)
                fail_msg("seed %d: %d retries in a minute, and %d may go", (int)seed,
                         (int)went / 1000, (int)may / 1000);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floor),
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_nothing_is_saved_up),
        cmocka_unit_test(test_answers_bring_more),
        cmocka_unit_test(test_given_back),
        cmocka_unit_test(test_charged),
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_fast_line),
        cmocka_unit_test(test_bound_in_every_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
