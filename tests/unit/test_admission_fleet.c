/*
 * test_admission_fleet.c - a worker's own view of the limits: what the fleet is told of what it
 * wants, and when; which answers count. How it works in a fleet: test_fleet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/admission_given.h"

/* What is said follows from what waits, what went, what is held; it ends a minute after the last
 * of it. */
static void test_what_is_said(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_REQUESTS_PER_MINUTE, 600),
        RULE(2, LIMIT_ENDPOINT, "e@1", LIMIT_TOKENS_PER_MINUTE, 10000),
        RULE(3, LIMIT_ENDPOINT, "e@1", LIMIT_IN_FLIGHT, 100),
        RULE(4, LIMIT_ENDPOINT, "e@1", LIMIT_TOKENS_PER_DAY, 100000),
        RULE(5, LIMIT_ENDPOINT, "other@1", LIMIT_REQUESTS_PER_MINUTE, 600),
    };
    struct admission *a = given_admission(r, COUNT(r), 0);
    int x = admission_gate(a, 0, SPAN_LIT("x")), y = admission_gate(a, 1, SPAN_LIT("y"));
    const struct admission_say *says;
    size_t n;
    int64_t number, before;
    struct err err = {0};
    admission_waits(a, x, 2, &one, 3);
    admission_waits(a, y, 0, &(struct admission_units){1000, 0}, 1);
    assert_false(admission_may(a, y, &(struct admission_units){1000, 0}, SECOND));
    assert_int_equal(admission_exchange_at(a, SECOND), SECOND);
    assert_int_equal(admission_exchange(a, SECOND, &says, &n, &before, &err), RC_OK);
    assert_int_equal(n, 3); /* no day's budget, and nothing of another endpoint's */
    static const int64_t wants[3][2] = {{3, 1}, {450, 1000}, {3, 1}};
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(says[i].limit_id, i + 1);
        assert_int_equal(says[i].holds, 0);
        assert_int_equal(says[i].in_use, 0);
        assert_int_equal(says[i].want_count, 2);
        for (size_t k = 0; k < 2; k++) {
            assert_int_equal(says[i].wants[k].lane, k ? 0 : 2);
            assert_int_equal(says[i].wants[k].units, wants[i][k]);
        }
        assert_int_not_equal(says[i].wants[0].app, says[i].wants[1].app);
    }
    assert_int_equal(says[0].need, 1);
    assert_int_equal(says[1].need, 1000); /* though it was the first that held it back */
    assert_int_equal(admission_exchange_at(a, SECOND), 2 * SECOND);
    for (int32_t id = 1; id <= 3; id++)
        admission_answer(a, before, id, 60, SECOND);
    int64_t now = given_minute(a, x, 60, 2 * SECOND);
    struct admission_call call;
    admission_take(a, x, 2, &one, now, &call);
    assert_true(admission_leave(a, &call, now));
    admission_waits(a, x, 2, &one, -3);
    admission_waits(a, y, 0, &(struct admission_units){1000, 0}, -1);
    assert_int_equal(admission_exchange(a, now, &says, &n, &number, &err), RC_OK);
    assert_true(number > before);
    assert_int_equal(n, 3);
    assert_int_equal(says[0].in_use, 1);
    assert_int_equal(says[1].in_use, 150);
    assert_int_equal(says[1].need, 1000);
    assert_in_range(says[1].wants[0].units, 300, 600); /* a call in 15 to 30 s: so many a minute */
    assert_int_equal(says[2].in_use, 1);
    assert_int_equal(says[2].holds, 60);
    admission_settle(a, &call, &one, now);
    assert_int_equal(admission_exchange_at(a, now + 3 * MINUTE), INT64_MAX);
    assert_int_equal(given_exchange(a, 60, now + 3 * MINUTE), 0);
    admission_free(a);
}

/* Who waits here while rows of his app and lane are due in Postgres wants as much for each. */
static void test_what_waits_behind_is_wanted(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_TOKENS_PER_MINUTE, 60000)};
    struct admission *a = given_admission(r, 1, 0);
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    const struct admission_say *says;
    size_t n;
    int64_t number, each = one.input_tokens + one.output_tokens;
    struct err err = {0};
    static const struct {
        int lane;
        const char *app;
        int64_t rows, at_us, more;
    } told[] = {{1, "x", 900, SECOND, 0},    /* of another lane */
                {0, "y", 900, SECOND, 0},    /* of another app */
                {0, "x", 40, SECOND, 40},    /* of one key ... */
                {0, "x", 25, SECOND, 40},    /* ... and of another */
                {0, "x", 7, 5 * SECOND, 7},  /* later */
                {0, "x", 0, 9 * SECOND, 0}}; /* nothing was told for some seconds */
    admission_waits(a, gate, 0, &one, 3);
    for (size_t i = 0; i < COUNT(told); i++) {
        if (told[i].rows)
            admission_due(a, told[i].lane, span_of(told[i].app), told[i].rows, told[i].at_us);
        assert_int_equal(admission_exchange(a, told[i].at_us, &says, &n, &number, &err), RC_OK);
        assert_int_equal(n, 1);
        assert_int_equal(says[0].wants[0].units, (3 + told[i].more) * each);
    }
    admission_free(a);
}

/* What goes back to Kafka in a rebalance is wanted on for some seconds, as it comes back; one more
 * rebalance right after, in which next to nothing had come back yet, changes nothing. Once
 * partitions are dealt it is wanted for less long: another worker may have it now. */
static void test_what_comes_back_after_a_rebalance_stays_wanted(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_REQUESTS_PER_MINUTE, 60)};
    static const struct {
        int64_t at_us;
        enum { QUIET, REVOKED, DEALT } what;
        int waits; /* from then on */
        int64_t wanted;
    } steps[] = {
        {1 * SECOND, QUIET, 50, 50},  {2 * SECOND, REVOKED, 0, 50}, {6 * SECOND, QUIET, 2, 50},
        {7 * SECOND, REVOKED, 0, 50}, {14 * SECOND, QUIET, 0, 50},  {15 * SECOND, QUIET, 0, 0},
        {16 * SECOND, QUIET, 4, 4},   {17 * SECOND, REVOKED, 0, 4}, {18 * SECOND, QUIET, 70, 70},
        {19 * SECOND, QUIET, 0, 4},   {30 * SECOND, QUIET, 50, 50}, {31 * SECOND, REVOKED, 0, 50},
        {32 * SECOND, DEALT, 0, 50},  {33 * SECOND, DEALT, 5, 50},  {34 * SECOND, QUIET, 6, 50},
        {35 * SECOND, QUIET, 7, 7},   {41 * SECOND, REVOKED, 0, 7}, {48 * SECOND, DEALT, 0, 7},
        {49 * SECOND, QUIET, 0, 0}};
    struct admission *a = given_admission(r, 1, 0);
    int gate = admission_gate(a, 0, SPAN_LIT("x")), waits = 0;
    const struct admission_say *says;
    size_t n;
    int64_t number;
    struct err err = {0};
    for (size_t i = 0; i < COUNT(steps); i++) {
        if (steps[i].what == REVOKED)
            admission_expect_back(a, steps[i].at_us);
        else if (steps[i].what == DEALT)
            admission_dealt(a, steps[i].at_us);
        for (; waits != steps[i].waits; waits += waits < steps[i].waits ? 1 : -1)
            admission_waits(a, gate, 0, &one, waits < steps[i].waits ? 1 : -1);
        assert_int_equal(admission_exchange(a, steps[i].at_us, &says, &n, &number, &err), RC_OK);
        assert_int_equal(n, 1);
        assert_int_equal(says[0].want_count ? says[0].wants[0].units : 0, steps[i].wanted);
    }
    admission_free(a);
}

static bool is_second(void *arg, int model)
{
    return *(bool *)arg && model == 1;
}

/* What waits for a model version that takes no calls is not wanted; once it does, it is at once. */
static void test_what_cannot_go_is_not_wanted(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_APP, "x", LIMIT_REQUESTS_PER_MINUTE, 60)};
    struct admission *a = given_admission(r, 1, 0);
    int open = admission_gate(a, 0, SPAN_LIT("x")), shut = admission_gate(a, 1, SPAN_LIT("x"));
    const struct admission_say *says;
    size_t n;
    int64_t number;
    struct err err = {0};
    bool closed = true;
    admission_waits(a, open, 0, &one, 3);
    admission_waits(a, shut, 0, &one, 500);
    admission_close(a, is_second, &closed);
    assert_int_equal(admission_exchange(a, SECOND, &says, &n, &number, &err), RC_OK);
    assert_int_equal(says[0].want_count, 1);
    assert_int_equal(says[0].wants[0].units, 3);
    assert_int_equal(admission_exchange_at(a, SECOND), 2 * SECOND);
    closed = false;
    admission_close(a, is_second, &closed);
    assert_true(admission_exchange_at(a, SECOND) < 2 * SECOND);
    assert_int_equal(admission_exchange(a, 2 * SECOND, &says, &n, &number, &err), RC_OK);
    assert_int_equal(says[0].want_count, 2);
    admission_close(a, is_second, &closed); /* nothing new */
    assert_int_equal(admission_exchange_at(a, 2 * SECOND), 3 * SECOND);
    admission_free(a);
}

/* What waits in Postgres is wanted by each worker that it waits behind; how much of it is told, so
 * that people can count it once. */
static void test_what_others_want_as_well(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_APP, "x", LIMIT_REQUESTS_PER_MINUTE, 60),
        RULE(2, LIMIT_APP, "x", LIMIT_INPUT_TOKENS_PER_MINUTE, 60000)};
    struct admission *a = given_admission(r, 2, 0);
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    const struct admission_say *says;
    size_t n;
    int64_t number;
    struct err err = {0};
    admission_waits(a, gate, 0, &one, 3);
    admission_waits(a, gate, 1, &one, 2);
    admission_due(a, 0, SPAN_LIT("x"), 40, SECOND);
    assert_int_equal(admission_exchange(a, SECOND, &says, &n, &number, &err), RC_OK);
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++) {
        int64_t each = i ? one.input_tokens : 1;
        assert_int_equal(says[i].wants[0].units, 43 * each);
        assert_int_equal(says[i].wants[1].units, 2 * each);
        assert_int_equal(says[i].behind, 40 * each);
    }
    assert_int_equal(admission_exchange(a, 20 * SECOND, &says, &n, &number, &err), RC_OK);
    assert_int_equal(says[0].behind, 0); /* nobody has told lately */
    admission_free(a);
}

static void test_answers_that_are_too_late(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_IN_FLIGHT, 600)};
    struct admission *a = given_admission(r, 1, 0);
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    const struct admission_say *says;
    size_t n;
    int64_t number;
    struct err err = {0};
    admission_waits(a, gate, 0, &one, 1);
    assert_int_equal(admission_exchange(a, SECOND, &says, &n, &number, &err), RC_OK);
    admission_answer(a, number, 99, 5, SECOND);
    admission_answer(a, number, 1, 5, SECOND + SHARES_LEASE_US);
    assert_false(admission_may(a, gate, &one, SECOND + SHARES_LEASE_US));
    assert_int_equal(admission_exchange(a, 9 * SECOND, &says, &n, &number, &err), RC_OK);
    admission_answer(a, number, 1, -5, 9 * SECOND); /* absurd */
    assert_false(admission_may(a, gate, &one, 9 * SECOND));
    admission_answer(a, number, 1, INT64_MAX, 9 * SECOND);
    assert_true(admission_may(a, gate, &one, 9 * SECOND));
    assert_int_equal(admission_exchange(a, 10 * SECOND, &says, &n, &number, &err), RC_OK);
    assert_int_equal(says[0].holds, 600); /* never more than there is */
    admission_free(a);
}

/* A call that runs is said for as long as it runs, also when nothing could be said for minutes: the
 * fleet has taken this worker for dead meanwhile, and forgotten it. */
static void test_a_long_call_is_said_again(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {RULE(1, LIMIT_APP, "x", LIMIT_IN_FLIGHT, 5)};
    struct admission *a = given_admission(r, 1, 0);
    struct admission_call call;
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    int64_t now = SECOND;
    admission_waits(a, gate, 0, &one, 1);
    assert_int_equal(given_exchange(a, 5, now), 1);
    admission_waits(a, gate, 0, &one, -1);
    admission_take(a, gate, 0, &one, now, &call);
    assert_true(admission_leave(a, &call, now));
    now += 5 * MINUTE;
    assert_true(admission_exchange_at(a, now) <= now);
    assert_int_equal(given_exchange(a, 0, now), 1);
    admission_settle(a, &call, &one, now);
    assert_int_equal(given_exchange(a, 0, now + 2 * MINUTE), 0);
    assert_int_equal(admission_exchange_at(a, now + 2 * MINUTE), INT64_MAX);
    admission_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_said),
        cmocka_unit_test(test_what_waits_behind_is_wanted),
        cmocka_unit_test(test_what_comes_back_after_a_rebalance_stays_wanted),
        cmocka_unit_test(test_what_cannot_go_is_not_wanted),
        cmocka_unit_test(test_what_others_want_as_well),
        cmocka_unit_test(test_answers_that_are_too_late),
        cmocka_unit_test(test_a_long_call_is_said_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
