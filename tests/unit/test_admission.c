/*
 * test_admission.c - a worker's own view of the limits: which a call has, may it go, leases,
 * settling. A day's budget: test_days. What the fleet is told: test_admission_fleet; how it works
 * in a fleet: test_fleet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/admission_given.h"
#include "tests/unit/no_memory.h"
#include "worker/admission.h"
#include "worker/window.h"

static void test_without_limits(void **state)
{
    (void)state;
    struct admission *a = given_admission(NULL, 0, 0);
    assert_false(admission_on(a));
    int gate = admission_gate(a, 0, SPAN_LIT("app"));
    assert_true(admission_may(a, gate, &one, 5));
    assert_null(admission_over(a, gate, &one));
    struct admission_call call;
    admission_take(a, gate, 0, &one, 5, &call);
    assert_true(admission_leave(a, &call, 6));
    admission_settle(a, &call, &one, 7);
    assert_int_equal(admission_exchange_at(a, 8), INT64_MAX);
    assert_int_equal(given_exchange(a, 1, 9), 0);
    admission_free(a);
    admission_free(NULL);
}

/* Of an endpoint, of a version there, of an app anywhere. */
static void test_which_limits_a_call_has(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_REQUESTS_PER_MINUTE, 10),
        RULE(2, LIMIT_MODEL, "n@1", LIMIT_INPUT_TOKENS_PER_MINUTE, 20),
        RULE(3, LIMIT_APP, "x", LIMIT_OUTPUT_TOKENS_PER_MINUTE, 30),
        RULE(4, LIMIT_APP, "y", LIMIT_IN_FLIGHT, 40),
        RULE(5, LIMIT_ENDPOINT, "e", LIMIT_IN_FLIGHT, 50), /* no endpoint is called so */
        RULE(6, LIMIT_MODEL, "e@1", LIMIT_IN_FLIGHT, 60),
    };
    static const struct {
        int model;
        const char *app;
        int32_t limits[4];
    } rows[] = {
        {0, "x", {1, 3}}, {0, "z", {1}}, {1, "x", {1, 2, 3}}, {1, "y", {1, 2, 4}},
        {2, "x", {3}},    {2, "", {0}},  {2, "e@1", {0}},     {0, "x", {1, 3}},
    };
    struct admission *a = given_admission(r, COUNT(r), 0);
    assert_true(admission_on(a));
    int first = -1;
    for (size_t i = 0; i < COUNT(rows); i++) {
        int gate = admission_gate(a, rows[i].model, span_of(rows[i].app));
        first = i == 0 ? gate : first;
        for (int k = 0; k < 4; k++) {
            const struct admission_rule *has = admission_bound(a, gate, k);
            assert_int_equal(has ? has->limit_id : 0, rows[i].limits[k]);
            if (!has)
                break;
        }
        if (i == COUNT(rows) - 1)
            assert_int_equal(gate, first); /* the same gate every time */
    }
    for (int i = 0; i < 1000; i++) { /* many apps, each its own gate */
        char name[16];
        snprintf(name, sizeof name, "app%d", i);
        int gate = admission_gate(a, i % 3, span_of(name));
        assert_int_equal(admission_gate(a, i % 3, span_of(name)), gate);
    }
    assert_int_equal(admission_gate(a, 0, SPAN_LIT("x")), first);
    admission_free(a);
}

/* The catalogue grows under a worker: what it knows of older versions stays. */
static void test_more_models(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_MODEL, "m@1", LIMIT_REQUESTS_PER_MINUTE, 10),
        RULE(2, LIMIT_MODEL, "o@1", LIMIT_REQUESTS_PER_MINUTE, 20),
    };
    struct err err = {0};
    for (int nth = 0, failed = 1; failed; nth++) {
        struct admission *a = admission_new(given_models, 1);
        assert_non_null(a);
        given_rules(a, r, COUNT(r), 0);
        int old = admission_gate(a, 0, SPAN_LIT("x"));
        no_memory_at(nth);
        enum rc rc = admission_models(a, given_models, GIVEN_MODELS, &err);
        failed = no_memory_over();
        assert_int_equal(rc, failed ? RC_NOMEM : RC_OK);
        assert_int_equal(admission_models(a, given_models, GIVEN_MODELS, &err), RC_OK);
        assert_int_equal(admission_gate(a, 0, SPAN_LIT("x")), old);
        assert_int_equal(admission_bound(a, old, 0)->limit_id, 1);
        int new = admission_gate(a, 2, SPAN_LIT("x"));
        assert_int_equal(admission_bound(a, new, 0)->limit_id, 2);
        admission_free(a);
    }
}

static void test_larger_than_a_limit(void **state)
{
    (void)state;
    static const struct {
        struct admission_rule rule;
        struct admission_units units;
        bool over;
    } rows[] = {
        {RULE(1, LIMIT_MODEL, "m@1", LIMIT_REQUESTS_PER_MINUTE, 1), {INT64_MAX, INT64_MAX}, false},
        {RULE(1, LIMIT_MODEL, "m@1", LIMIT_IN_FLIGHT, 1), {1, 1}, false},
        {RULE(1, LIMIT_MODEL, "m@1", LIMIT_INPUT_TOKENS_PER_MINUTE, 100), {100, 999}, false},
        {RULE(1, LIMIT_MODEL, "m@1", LIMIT_INPUT_TOKENS_PER_MINUTE, 100), {101, 0}, true},
        {RULE(1, LIMIT_MODEL, "m@1", LIMIT_OUTPUT_TOKENS_PER_MINUTE, 100), {999, 100}, false},
        {RULE(1, LIMIT_MODEL, "m@1", LIMIT_OUTPUT_TOKENS_PER_MINUTE, 100), {0, 101}, true},
        {RULE(1, LIMIT_MODEL, "m@1", LIMIT_TOKENS_PER_MINUTE, 100), {50, 50}, false},
        {RULE(1, LIMIT_MODEL, "m@1", LIMIT_TOKENS_PER_MINUTE, 100), {50, 51}, true},
        {RULE(1, LIMIT_MODEL, "m@1", LIMIT_TOKENS_PER_DAY, 100), {50, 51}, true},
        {RULE(1, LIMIT_MODEL, "m@1", LIMIT_TOKENS_PER_MINUTE, 10000000000), {INT64_MAX, 0}, true},
        {RULE(1, LIMIT_MODEL, "m@1", LIMIT_TOKENS_PER_MINUTE, 100), {-5, INT64_MIN}, false},
        {RULE(1, LIMIT_MODEL, "n@1", LIMIT_TOKENS_PER_MINUTE, 100), {500, 500}, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct admission *a = given_admission(&rows[i].rule, 1, 0);
        int gate = admission_gate(a, 0, SPAN_LIT("x"));
        const struct admission_rule *over = admission_over(a, gate, &rows[i].units);
        if (rows[i].over != (over != NULL))
            fail_msg("row %zu", i);
        if (over)
            assert_int_equal(over->limit_id, 1);
        admission_free(a);
    }
}

/* Calls of about one size go in the order in which they are asked: whose turn it is, lanes and apps
 * have settled. Here x is asked first and refused whenever one has gone, and it is y's turn then.
 */
static void test_a_refusal_is_no_turn(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_REQUESTS_PER_MINUTE, 60),
    };
    static const struct admission_units units[2] = {{12, 0}, {10, 0}};
    struct admission *a = given_admission(r, COUNT(r), 0);
    int gates[2] = {admission_gate(a, 0, SPAN_LIT("x")), admission_gate(a, 0, SPAN_LIT("y"))};
    int64_t now = SECOND;
    int went[2] = {0}, turn = 0;
    struct admission_call call;
    for (int i = 0; i < 600; i++, now += SECOND / 10) {
        if (i % 10 == 0)
            given_exchange(a, 60, now);
        int goes = admission_may(a, gates[turn], &units[turn], now)     ? turn
                   : admission_may(a, gates[!turn], &units[!turn], now) ? !turn
                                                                        : -1;
        if (goes < 0)
            continue;
        admission_take(a, gates[goes], 0, &units[goes], now, &call);
        assert_true(admission_leave(a, &call, now));
        admission_settle(a, &call, &units[goes], now);
        assert_false(admission_may(a, gates[0], &units[0], now));
        assert_false(admission_may(a, gates[1], &units[1], now));
        went[goes]++;
        turn = !goes;
    }
    assert_in_range(went[0], 25, 30);
    assert_in_range(went[1], 25, 30);
    admission_free(a);
}

/* A call that needs half a minute's worth of a limit goes, though another app's small ones are
 * asked before it every time; and those go on. */
static void test_small_calls_do_not_starve_a_large_one(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_TOKENS_PER_MINUTE, 100),
    };
    static const struct admission_units small = {1, 0}, large = {50, 0};
    struct admission *a = given_admission(r, COUNT(r), 0);
    int x = admission_gate(a, 0, SPAN_LIT("x")), y = admission_gate(a, 0, SPAN_LIT("y"));
    int64_t now = given_minute(a, x, 100, SECOND), large_at = 0;
    int smalls = 0, larges = 0;
    struct admission_call call;
    for (int i = 0; i < 4 * 600; i++, now += SECOND / 10) {
        if (i % 10 == 0)
            given_exchange(a, 100, now);
        for (int k = 0; k < 2; k++) {
            const struct admission_units *units = k ? &large : &small;
            if (!admission_may(a, k ? y : x, units, now))
                continue;
            admission_take(a, k ? y : x, 0, units, now, &call);
            assert_true(admission_leave(a, &call, now));
            admission_settle(a, &call, units, now);
            smalls += !k;
            larges += k;
            large_at = k && !large_at ? now : large_at;
        }
    }
    assert_in_range(larges, 3, 7); /* of eight, if they had it for themselves */
    assert_in_range(smalls, 40, 300);
    assert_in_range(smalls + 50 * larges, 290, 500); /* a large one needs half of it at once */
    assert_true(large_at < now - 2 * 60 * SECOND);
    admission_free(a);
}

/* All or none: a limit that has no room keeps the others untouched, and says for how long. */
static void test_a_call_needs_all_its_limits(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_REQUESTS_PER_MINUTE, 600),
        RULE(2, LIMIT_APP, "x", LIMIT_IN_FLIGHT, 600),
    };
    struct admission *a = given_admission(r, COUNT(r), 0);
    int x = admission_gate(a, 0, SPAN_LIT("x")), y = admission_gate(a, 0, SPAN_LIT("y"));
    int64_t now = given_minute(a, x, 2, SECOND);
    struct admission_call calls[3];
    for (int i = 0; i < 2; i++, now += 31 * SECOND) {
        now = given_minute(a, x, 2, now);
        assert_true(admission_may(a, x, &one, now));
        admission_take(a, x, 0, &one, now, &calls[i]);
        assert_true(admission_leave(a, &calls[i], now));
    }
    now = given_minute(a, x, 2, now);
    assert_false(admission_may(a, x, &one, now)); /* two are in flight */
    assert_int_equal(admission_when(a, x, &one, now), INT64_MAX);
    assert_true(admission_may(a, y, &one, now)); /* another app goes on */
    assert_false(admission_may(a, x, &one, now + 2 * SECOND));
    assert_int_equal(admission_blocker(a, x)->limit_id, 2);
    assert_int_equal(admission_blocked_us(a, x, now + 3 * SECOND), 3 * SECOND);
    assert_null(admission_blocker(a, y));
    assert_int_equal(admission_blocked_us(a, y, now + 3 * SECOND), 0);
    admission_settle(a, &calls[0], &one, now + 3 * SECOND);
    assert_true(admission_may(a, x, &one, now + 3 * SECOND));
    given_rules(a, r, COUNT(r), now + 4 * SECOND); /* the same again */
    assert_int_equal(admission_blocked_us(a, x, now + 9 * SECOND), 3 * SECOND);
    assert_int_equal(admission_blocker(a, x)->limit_id, 2); /* it was that one */
    admission_settle(a, &calls[1], &one, now + 3 * SECOND);
    admission_free(a);
}

static void test_no_lease_no_calls(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_REQUESTS_PER_MINUTE, 600)};
    struct admission *a = given_admission(r, 1, 0);
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    assert_false(admission_may(a, gate, &one, SECOND));
    assert_int_equal(admission_when(a, gate, &one, SECOND), INT64_MAX);
    int64_t now = given_minute(a, gate, 100, SECOND);
    int64_t last = now - SECOND; /* when the last exchange was sent */
    struct admission_call call, late;
    assert_true(admission_may(a, gate, &one, last + SHARES_LEASE_US - 1));
    admission_take(a, gate, 0, &one, last + SHARES_LEASE_US - 1, &call);
    assert_true(admission_leave(a, &call, last + SHARES_LEASE_US - 1));
    admission_take(a, gate, 0, &one, last + SHARES_LEASE_US - 1, &late);
    assert_false(admission_leave(a, &late, last + SHARES_LEASE_US)); /* and gives back */
    assert_false(admission_may(a, gate, &one, last + SHARES_LEASE_US));
    admission_settle(a, &call, &one, last + 2 * SHARES_LEASE_US);
    admission_free(a);
}

/* Apps come and go by the thousand: gates that rest are given on, those that work are not. */
static void test_gates_that_rest_are_given_on(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_REQUESTS_PER_MINUTE, 60),
        RULE(2, LIMIT_APP, "app 7", LIMIT_REQUESTS_PER_MINUTE, 60)};
    enum { APPS = 20000, GATES = 5000 };
    struct admission *a = given_admission(r, 2, 0);
    int seventh = -1, last = -1;
    char name[32];
    for (int i = 0; i < APPS; i++) {
        (void)snprintf(name, sizeof name, "app %d", i);
        last = admission_gate(a, 0, span_of(name));
        assert_in_range(last, 0, GATES);
        if (i == 7)
            seventh = last;
        if (i == 7)
            admission_waits(a, seventh, 0, &one, 1);
        assert_true(i == 7 || last != seventh);
        assert_int_equal(admission_gate(a, 0, span_of(name)), last);
    }
    assert_int_equal(admission_gate(a, 0, SPAN_LIT("app 7")), seventh);
    assert_int_equal(admission_bound(a, seventh, 1)->limit_id, 2);
    assert_null(admission_bound(a, last, 1)); /* it is not what its place was before */
    given_rules(a, r, 2, SECOND);
    assert_int_equal(admission_bound(a, seventh, 1)->limit_id, 2);
    admission_free(a);
}

/* What a limit is, has given, and is owed: for the metrics. */
static void test_state(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_TOKENS_PER_MINUTE, 60000)};
    static const struct {
        struct admission_units used;
        int64_t excess; /* in all, from then on */
    } calls[] = {{{100, 50}, 0}, {{100, 10}, 0}, {{130, 50}, 30}, {{-1, -1}, 30}, {{100, 90}, 70}};
    struct admission *a = given_admission(r, 1, 0);
    struct admission_state at;
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    int64_t now = given_minute(a, gate, 60000, SECOND);
    assert_false(admission_state(a, 1, now, &at));
    for (size_t i = 0; i < COUNT(calls); i++) {
        struct admission_call call;
        admission_take(a, gate, 0, &one, now, &call);
        assert_true(admission_leave(a, &call, now));
        admission_settle(a, &call, &calls[i].used, now);
        assert_true(admission_state(a, 0, now, &at));
        assert_int_equal(at.excess, calls[i].excess);
    }
    assert_int_equal(at.share, 60000);
    assert_int_equal(at.used, 150 + 110 + 180 + 150 + 190);
    assert_int_equal(at.waiting, 0);
    admission_free(a);
}

/* A lower share is said as held until it is paid; who waits for it hears so soon. */
static void test_shares_that_fall(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_REQUESTS_PER_MINUTE, 600)};
    struct admission *a = given_admission(r, 1, 0);
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    int64_t now = given_minute(a, gate, 60, SECOND), number;
    const struct admission_say *says;
    size_t n;
    struct err err = {0};
    struct admission_call call;
    admission_take(a, gate, 0, &one, now, &call);
    assert_true(admission_leave(a, &call, now));
    admission_waits(a, gate, 0, &one, 10);
    assert_int_equal(admission_exchange(a, now, &says, &n, &number, &err), RC_OK);
    assert_int_equal(says[0].holds, 60);
    admission_answer(a, number - 1, 1, 600, now); /* an earlier one: dropped */
    admission_answer(a, number, 1, 30, now);
    int64_t soon = admission_exchange_at(a, now);
    assert_true(soon > now && soon < now + SECOND);
    assert_int_equal(admission_exchange(a, soon, &says, &n, &number, &err), RC_OK);
    assert_int_equal(says[0].holds, 60);
    admission_answer(a, number, 1, 30, soon);
    assert_int_equal(admission_exchange(a, now + 2 * SECOND, &says, &n, &number, &err), RC_OK);
    assert_int_equal(says[0].holds, 30);
    admission_answer(a, number, 1, 30, now + 2 * SECOND);
    assert_int_equal(admission_exchange_at(a, now + 2 * SECOND), now + 3 * SECOND);
    admission_settle(a, &call, &one, now + 3 * SECOND);
    admission_free(a);
}

/* An answer that comes when its lease is over, or to no limit that is known, changes nothing. */
/* Who stops leaves at once what is paid for: of a limit of which its last call took half a minute's
 * share, only half a minute after that call. */
static void test_what_is_unpaid_at_the_end(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_REQUESTS_PER_MINUTE, 600),
        RULE(2, LIMIT_MODEL, "m@1", LIMIT_INPUT_TOKENS_PER_MINUTE, 200),
        RULE(3, LIMIT_MODEL, "m@1", LIMIT_IN_FLIGHT, 200),
    };
    static const struct {
        int64_t after_us;
        size_t unpaid;
    } rows[] = {{SECOND / 100, 2}, {SECOND, 1}, {25 * SECOND, 1}, {35 * SECOND, 0}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct admission *a = given_admission(r, COUNT(r), 0);
        int gate = admission_gate(a, 0, SPAN_LIT("x"));
        int64_t now = given_minute(a, gate, 200, 0);
        struct admission_call call;
        int32_t ids[2] = {0};
        given_exchange(a, 200, now);
        admission_take(a, gate, 0, &one, now, &call); /* 100 tokens */
        assert_true(admission_leave(a, &call, now));
        admission_settle(a, &call, &one, now);
        for (int64_t t = SECOND; t <= rows[i].after_us; t += SECOND)
            given_exchange(a, 200, now + t);
        size_t unpaid = admission_unpaid(a, ids, 1, now + rows[i].after_us);
        if (unpaid != rows[i].unpaid)
            fail_msg("row %zu: %zu are unpaid", i, unpaid);
        assert_int_equal(ids[1], 0); /* no more than there is room for */
        assert_int_equal(ids[0], rows[i].unpaid == 2 ? 1 : rows[i].unpaid == 1 ? 2 : 0);
        admission_free(a);
    }
}

/* Calls that began under other rules give back only what they took. */
static void test_rules_change_under_a_call(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_TOKENS_PER_MINUTE, 60000),
        RULE(2, LIMIT_APP, "x", LIMIT_IN_FLIGHT, 7),
        RULE(3, LIMIT_APP, "x", LIMIT_REQUESTS_PER_MINUTE, 60),
    };
    struct admission *a = given_admission(r, 2, 0);
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    int64_t now = given_minute(a, gate, 7, SECOND);
    struct admission_call waits, leaves;
    admission_take(a, gate, 0, &one, now, &waits);
    admission_take(a, gate, 0, &one, now, &leaves);
    assert_true(admission_leave(a, &leaves, now));
    given_rules(a, r + 1, 2, now); /* the first goes, the last comes */
    admission_settle(a, &leaves, &(struct admission_units){9000, -1}, now);
    admission_give_back(a, &waits, now);
    given_rules(a, r, 3, now);
    assert_int_equal(admission_bound(a, gate, 2)->limit_id, 3);
    assert_null(admission_bound(a, gate, 3));
    assert_false(admission_may(a, gate, &one, now)); /* the new ones have no lease */
    assert_int_equal(given_exchange(a, 7, now), 3); /* what went lately is wanted of them as well */
    assert_false(admission_may(a, gate, &one, now)); /* and have gained nothing */
    given_rules(a, NULL, 0, now);
    assert_false(admission_on(a));
    assert_true(admission_may(a, gate, &one, now));
    admission_free(a);
}

/* What a call used beyond what was reckoned is charged once that is known. */
/* A limit of calls in flight that comes while calls run counts these, once each; and those that
 * began when there were no limits at all. */
static void test_calls_that_run_count(void **state)
{
    (void)state;
    static const struct admission_rule rate[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_REQUESTS_PER_MINUTE, 600)};
    static const struct admission_rule both[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_REQUESTS_PER_MINUTE, 600),
        RULE(2, LIMIT_APP, "x", LIMIT_IN_FLIGHT, 2)};
    struct admission *a = given_admission(rate, 1, 0);
    struct admission_call calls[3];
    struct admission_state is;
    int x = admission_gate(a, 0, SPAN_LIT("x")), y = admission_gate(a, 0, SPAN_LIT("y"));
    int64_t now = given_minute(a, x, 600, 0);
    admission_take(a, x, 0, &one, now, &calls[0]);
    assert_true(admission_leave(a, &calls[0], now));
    admission_take(a, y, 0, &one, now, &calls[1]); /* another app's */
    admission_running(a, x, 0, now, &calls[2]);
    given_rules(a, both, 2, now);
    assert_true(admission_state(a, 1, now, &is));
    assert_int_equal(is.used, 2);
    given_exchange(a, 600, now);
    assert_false(admission_may(a, x, &one, now));
    assert_true(admission_leave(a, &calls[2], now)); /* it runs: no limit takes it back */
    admission_settle(a, &calls[2], &one, now);
    assert_true(admission_may(a, x, &one, now));
    admission_settle(a, &calls[0], &one, now);
    admission_give_back(a, &calls[1], now);
    assert_true(admission_state(a, 1, now, &is));
    assert_int_equal(is.used, 0);
    assert_true(admission_state(a, 0, now, &is));
    assert_int_equal(is.used, 1); /* of units only what took them */
    admission_free(a);
}

static void test_more_than_reckoned_is_owed(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_TOKENS_PER_MINUTE, 1500)};
    struct admission *a = given_admission(r, 1, 0);
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    for (int owes = 0; owes < 2; owes++) {
        int64_t now = given_minute(a, gate, 1500, (1 + 200 * owes) * SECOND);
        struct admission_call call;
        assert_false(admission_may(a, gate, &one, now)); /* larger than the fleet knows of */
        assert_int_equal(admission_when(a, gate, &one, now), INT64_MAX);
        assert_true(admission_exchange_at(a, now) <= now + SECOND / 5);
        given_exchange(a, 1500, now);
        assert_true(admission_may(a, gate, &one, now));
        admission_take(a, gate, 0, &one, now, &call);
        assert_true(admission_leave(a, &call, now));
        admission_settle(a, &call, &(struct admission_units){owes ? 1400 : 100, 50}, now);
        for (int s = 0; s < 10; s++) /* by then its pace lets the next one go */
            given_exchange(a, 1500, now += SECOND);
        assert_int_equal(admission_may(a, gate, &one, now), !owes);
    }
    admission_free(a);
}

static void test_no_memory(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(1, LIMIT_ENDPOINT, "e@1", LIMIT_REQUESTS_PER_MINUTE, 600),
        RULE(2, LIMIT_ENDPOINT, "e@1", LIMIT_IN_FLIGHT, 600),
    };
    for (int nth = 0, failed = 1; failed; nth++) {
        const struct admission_say *says;
        size_t n = 0;
        int64_t number;
        struct err err = {0};
        no_memory_at(nth);
        struct admission *a = admission_new(given_models, GIVEN_MODELS);
        int gate = a ? admission_gate(a, 0, SPAN_LIT("x")) : -1;
        enum rc rc = a ? admission_rules(a, r, 2, 20, 0, &err) : RC_NOMEM;
        if (gate >= 0)
            admission_waits(a, gate, 0, &one, 1);
        enum rc said = a ? admission_exchange(a, SECOND, &says, &n, &number, &err) : RC_NOMEM;
        failed = no_memory_over();
        assert_int_equal(failed, gate < 0 || rc != RC_OK || said != RC_OK);
        if (a && gate >= 0) {
            given_rules(a, r, 2, SECOND);
            assert_int_equal(given_exchange(a, 5, SECOND), 2);
        }
        admission_free(a);
    }
}

/* Each limit's part of the time that a gate was blocked, also of one that is in force no more. */
static void test_who_has_blocked(void **state)
{
    (void)state;
    static const struct admission_rule r[] = {
        RULE(5, LIMIT_APP, "x", LIMIT_REQUESTS_PER_MINUTE, 60),
        RULE(6, LIMIT_ENDPOINT, "e@1", LIMIT_TOKENS_PER_DAY, 60000)};
    struct admission *a = given_admission(r, 2, 0);
    int gate = admission_gate(a, 0, SPAN_LIT("x"));
    struct admission_held was, is;
    struct err err = {0};
    int64_t held_ms[8] = {0};
    admission_held(a, gate, SECOND, &was);
    assert_false(admission_may(a, gate, &one, SECOND)); /* neither has given anything */
    int64_t now = given_minute(a, gate, 60, 4 * SECOND);
    int64_t first_ms = (now - SECOND) / 1000;
    assert_false(admission_may(a, gate, &one, now)); /* the day's is what lacks */
    assert_int_equal(admission_blocker(a, gate)->limit_id, 6);
    assert_int_equal(admission_rules(a, r, 1, 0, now + 10 * SECOND, &err), RC_OK);
    assert_null(admission_blocker(a, gate)); /* nobody has asked since */
    admission_held(a, gate, now + 10 * SECOND, &is);
    for (int i = 0; i < ADMISSION_GATE_LIMITS; i++)
        if (is.ms[i] != was.ms[i])
            held_ms[admission_held_by(a, gate, i)] += is.ms[i] - was.ms[i];
    assert_int_equal(held_ms[5], first_ms);
    assert_int_equal(held_ms[6], 10 * 1000);
    admission_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_limits),
        cmocka_unit_test(test_which_limits_a_call_has),
        cmocka_unit_test(test_more_models),
        cmocka_unit_test(test_larger_than_a_limit),
        cmocka_unit_test(test_a_refusal_is_no_turn),
        cmocka_unit_test(test_small_calls_do_not_starve_a_large_one),
        cmocka_unit_test(test_a_call_needs_all_its_limits),
        cmocka_unit_test(test_no_lease_no_calls),
        cmocka_unit_test(test_gates_that_rest_are_given_on),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_shares_that_fall),
        cmocka_unit_test(test_what_is_unpaid_at_the_end),
        cmocka_unit_test(test_rules_change_under_a_call),
        cmocka_unit_test(test_calls_that_run_count),
        cmocka_unit_test(test_more_than_reckoned_is_owed),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_who_has_blocked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
