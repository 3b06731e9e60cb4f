/*
 * test_days.c - a day's budget, as a worker keeps its part of it: taken in chunks, owed, given back
 * when it is not used; and what a fleet makes of a day.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/admission_given.h"

static void test_a_days_budget(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(9, LIMIT_MODEL, "m@1", LIMIT_TOKENS_PER_DAY, 1000000)};
    struct admission *a = given_admission(r, 1, 0);
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    struct admission_chunk c[2];
    struct admission_call call;
    int64_t now = SECOND, midnight = 3600 * SECOND;
    assert_int_equal(admission_day_wants(a, c, 2, now), 0); /* nobody asked */
    assert_false(admission_may(a, gate, &one, now));
    assert_int_equal(admission_day_wants(a, c, 2, now), 1);
    assert_int_equal(c[0].limit_id, 9);
    assert_int_equal(c[0].units, 8 * 150);
    assert_int_equal(admission_day_wants(a, c, 2, now), 0); /* it is asked for */
    admission_day_failed(a, 9, now);
    assert_int_equal(admission_day_wants(a, c, 2, now), 0);
    now += 5 * SECOND;
    assert_int_equal(admission_day_wants(a, c, 2, now), 1);
    admission_day_comes(a, &(struct admission_chunk){9, 100, 400}, midnight, now);
    admission_day_comes(a, &(struct admission_chunk){8, 100, 400}, midnight, now);
    assert_true(admission_may(a, gate, &one, now));
    admission_take(a, gate, 0, &one, now, &call);
    assert_true(admission_leave(a, &call, now));
    assert_int_equal(admission_day_wants(a, c, 2, now), 1); /* 250 are left: few */
    admission_day_comes(a, &(struct admission_chunk){9, 100, 0}, midnight, now); /* none are */
    admission_settle(a, &call, &(struct admission_units){100, 0}, now);
    assert_false(admission_may(a, gate, &(struct admission_units){301, 0}, now));
    assert_true(admission_may(a, gate, &(struct admission_units){300, 0}, now));
    admission_take(a, gate, 0, &one, now, &call);
    assert_true(admission_leave(a, &call, now));
    assert_false(admission_may(a, gate, &one, midnight)); /* the day is over */
    assert_int_equal(admission_day_wants(a, c, 2, midnight), 1);
    admission_day_comes(a, &(struct admission_chunk){9, 101, 500}, 2 * midnight, midnight);
    admission_settle(a, &call, &(struct admission_units){0, 0}, midnight + 1);
    assert_int_equal(admission_day_rest(a, c, 2, midnight + 2), 1); /* not yesterday's rest */
    assert_int_equal(c[0].units, 500);
    assert_int_equal(c[0].day, 101);
    assert_int_equal(admission_day_rest(a, c, 2, midnight + 2), 0);
    assert_false(admission_may(a, gate, &one, midnight + 2));
    admission_free(a);
}

/* A chunk is as large as what waits and what goes in a minute, within bounds. */
static void test_chunks_are_as_large_as_what_is_wanted(void **state)
{
    (void)state;
    static const struct admission_rule r = RULE(9, LIMIT_APP, "x", LIMIT_TOKENS_PER_DAY, 1000000);
    static const struct {
        int waiting;
        int64_t units;
    } rows[] = {{0, 1200}, {5, 1200}, {20, 3000}, {1000, 1000000 / 256}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct admission *a = given_admission(&r, 1, 0);
        struct admission_chunk c;
        int gate = admission_gate(a, 0, SPAN_LIT("x"));
        for (int k = 0; k < rows[i].waiting; k++)
            admission_waits(a, gate, 0, &one, 1);
        assert_false(admission_may(a, gate, &one, SECOND));
        assert_int_equal(admission_day_wants(a, &c, 1, SECOND), 1);
        assert_int_equal(c.units, rows[i].units);
        admission_free(a);
    }
}

/* What a worker does not use it gives back, once; and asks anew only for a job that asks. */
static void test_what_is_not_used_goes_back(void **state)
{
    (void)state;
    static const struct admission_rule r = RULE(9, LIMIT_APP, "x", LIMIT_TOKENS_PER_DAY, 1000000);
    struct admission *a = given_admission(&r, 1, 0);
    struct admission_chunk c;
    struct admission_call call;
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    int64_t now = SECOND, midnight = 86400 * SECOND;
    assert_false(admission_may(a, gate, &one, now));
    assert_int_equal(admission_day_wants(a, &c, 1, now), 1);
    assert_int_equal(admission_day_spare(a, &c, 1, now), 0); /* there is nothing yet */
    admission_day_comes(a, &(struct admission_chunk){9, 100, 1200}, midnight, now);
    admission_take(a, gate, 0, &one, now, &call);
    assert_true(admission_leave(a, &call, now));
    for (int64_t end = now + 10 * SECOND; now < end; now += SECOND)
        assert_int_equal(admission_day_spare(a, &c, 1, now), 0); /* it was used just now */
    now += MINUTE;
    assert_int_equal(admission_day_spare(a, &c, 1, now), 1);
    assert_int_equal(c.limit_id, 9);
    assert_int_equal(c.day, 100);
    assert_int_equal(c.units, 1050); /* all but what the call took */
    assert_int_equal(admission_day_wants(a, &(struct admission_chunk){0}, 1, now), 0);
    assert_int_equal(admission_day_rest(a, &(struct admission_chunk){0}, 1, now), 0);
    admission_day_back(a, &c); /* it could not be sent */
    now += MINUTE;
    assert_int_equal(admission_day_spare(a, &c, 1, now), 1);
    assert_int_equal(c.units, 1050);
    admission_settle(a, &call, &(struct admission_units){20, 10}, now); /* so 120 come back */
    assert_int_equal(admission_day_wants(a, &c, 1, now), 0);
    assert_int_equal(admission_day_spare(a, &c, 1, now), 0); /* not a statement for each */
    now += MINUTE;
    assert_int_equal(admission_day_spare(a, &c, 1, now), 1);
    assert_int_equal(c.units, 120);
    assert_false(admission_may(a, gate, &one, now));
    assert_int_equal(admission_day_wants(a, &c, 1, now), 1);
    admission_day_comes(a, &(struct admission_chunk){9, 100, 1200}, midnight, now);
    assert_int_equal(admission_day_spare(a, &c, 1, midnight), 0); /* that day is over */
    admission_free(a);
}

/* Who uses little of a large chunk keeps little. */
static void test_who_becomes_slow_gives_back(void **state)
{
    (void)state;
    static const struct admission_rule r = RULE(9, LIMIT_APP, "x", LIMIT_TOKENS_PER_DAY, 1000000);
    struct admission *a = given_admission(&r, 1, 0);
    struct admission_chunk c;
    struct admission_call call;
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    int64_t now = SECOND, given = 0;
    admission_day_comes(a, &(struct admission_chunk){9, 100, 3906}, 86400 * SECOND, now);
    for (int i = 0; i < 60; i++, now += SECOND) { /* a call in twenty seconds */
        if (i % 20 == 0) {
            admission_take(a, gate, 0, &one, now, &call);
            assert_true(admission_leave(a, &call, now));
            admission_settle(a, &call, &one, now);
        }
        if (admission_day_spare(a, &c, 1, now))
            given += c.units;
    }
    assert_int_equal(given, 3906 - 150 - 1200); /* once, but for eight calls */
    assert_true(admission_may(a, gate, &one, now));
    admission_free(a);
}

/* ---- a fleet --------------------------------------------------------------------------------- */

enum { WORKERS = 600, AMOUNT = 300000 };

/* The row of the day, as the statements keep it. */
struct day {
    int64_t used;
};

static void take(struct day *day, struct admission *a, int64_t now)
{
    struct admission_chunk c;
    if (!admission_day_wants(a, &c, 1, now))
        return;
    int64_t left = AMOUNT - day->used;
    c.units = c.units < left ? c.units : left;
    day->used += c.units;
    c.day = 100;
    admission_day_comes(a, &c, 86400 * SECOND, now);
}

static void give(struct day *day, struct admission *a, int64_t now)
{
    struct admission_chunk c;
    if (admission_day_spare(a, &c, 1, now))
        day->used -= c.units;
    assert_in_range(day->used, 0, AMOUNT);
}

static int64_t call_one(struct day *day, struct admission *a, int64_t now)
{
    struct admission_call call;
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    if (!admission_may(a, gate, &one, now))
        take(day, a, now);
    if (!admission_may(a, gate, &one, now))
        return 0;
    admission_take(a, gate, 0, &one, now, &call);
    assert_true(admission_leave(a, &call, now));
    admission_settle(a, &call, &one, now);
    return one.input_tokens + one.output_tokens;
}

/* Many workers have had a job of the day; none of them keeps the rest of it from one that has
 * more, and together they never take more than there is. */
static void test_idle_workers_leave_the_day_to_others(void **state)
{
    (void)state;
    static const struct admission_rule r = RULE(9, LIMIT_APP, "x", LIMIT_TOKENS_PER_DAY, 300000);
    static struct admission *all[WORKERS];
    struct day day = {0};
    int64_t now = SECOND, sent = 0;
    for (int i = 0; i < WORKERS; i++, now += SECOND / 100) {
        all[i] = given_admission(&r, 1, 0);
        sent += call_one(&day, all[i], now);
    }
    assert_in_range(sent, 200 * 150, 300 * 150); /* the first ones hold all of it */
    for (int s = 0; s < 60; s++, now += SECOND)
        for (int i = 0; i < WORKERS; i++)
            give(&day, all[i], now);
    for (int calls = 0; calls < AMOUNT / 150; calls++, now += SECOND / 10)
        sent += call_one(&day, all[0], now);
    assert_in_range(sent, AMOUNT * 99 / 100, AMOUNT);
    for (int i = 0; i < WORKERS; i++)
        admission_free(all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_days_budget),
        cmocka_unit_test(test_chunks_are_as_large_as_what_is_wanted),
        cmocka_unit_test(test_what_is_not_used_goes_back),
        cmocka_unit_test(test_who_becomes_slow_gives_back),
        cmocka_unit_test(test_idle_workers_leave_the_day_to_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
