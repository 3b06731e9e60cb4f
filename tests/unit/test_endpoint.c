/*
 * test_endpoint.c - pauses, probes and concurrency of one endpoint, on a clock of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "worker/endpoint.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const int64_t S = 1000 * 1000;
static const struct decision nothing = {0};

/* A call that begins and ends at once. */
static bool call(struct endpoint *e, enum class class, int64_t now_us, uint64_t seed)
{
    endpoint_begin(e, now_us);
    return endpoint_end(e, class, &nothing, now_us, now_us, seed);
}

static void test_concurrency(void **state)
{
    (void)state;
    struct endpoint e;
    endpoint_init(&e, 2);
    endpoint_begin(&e, 0);
    assert_true(endpoint_can_run(&e, 0));
    endpoint_begin(&e, 0);
    assert_false(endpoint_can_run(&e, 0));
    assert_int_equal(endpoint_free_at(&e, 7), 7); /* busy, not paused */
    endpoint_cancel(&e, 0);
    assert_true(endpoint_can_run(&e, 0));
    assert_false(endpoint_end(&e, CLASS_OK, &nothing, 0, 0, 1));
    assert_int_equal(e.in_flight, 0);
}

/* An operator's hold: nothing starts, what runs ends, and all else is as it was before. */
static void test_hold(void **state)
{
    (void)state;
    struct endpoint e;
    endpoint_init(&e, 2);
    endpoint_begin(&e, 0);
    endpoint_begin(&e, 0);
    assert_false(endpoint_can_run(&e, 7) || endpoint_is_closed(&e, 7)); /* it is only full */
    endpoint_cancel(&e, 0);
    endpoint_hold(&e, true);
    assert_false(endpoint_can_run(&e, 7));
    assert_true(endpoint_is_closed(&e, 7));
    assert_true(endpoint_free_at(&e, 7) > 7 + 60 * S); /* past any wait in memory */
    assert_int_equal(endpoint_due_at(&e, 7), 7);       /* what is parked may come when it ends */
    assert_false(endpoint_end(&e, CLASS_OK, &nothing, 0, 7, 1));
    assert_false(endpoint_can_run(&e, 7));
    endpoint_hold(&e, false);
    assert_true(endpoint_can_run(&e, 7));
    assert_false(endpoint_is_closed(&e, 7));
    assert_int_equal(endpoint_free_at(&e, 7), 7);

    assert_true(call(&e, CLASS_UNSENT, 10, 4)); /* a pause of its own goes on under a hold */
    int64_t until = endpoint_free_at(&e, 10);
    endpoint_hold(&e, true);
    assert_int_equal(endpoint_due_at(&e, 10), until);
    assert_true(endpoint_is_closed(&e, until));
    endpoint_hold(&e, false);
    assert_int_equal(endpoint_free_at(&e, 10), until);
    assert_false(endpoint_can_run(&e, 10));
    assert_true(endpoint_is_closed(&e, 10));
    endpoint_begin(&e, until);
    assert_false(endpoint_can_run(&e, until) ||
                 endpoint_is_closed(&e, until)); /* its probe is out */
}

/* Another credential: what the old one paused is probed at once; other pauses run their course. */
static void test_renewed(void **state)
{
    (void)state;
    static const enum class classes[] = {CLASS_CREDENTIAL, CLASS_BILLING};
    struct decision long_pause = {.pause_us = 60 * S};
    struct endpoint e;
    for (size_t i = 0; i < COUNT(classes); i++) {
        endpoint_init(&e, 2);
        assert_false(endpoint_renew(&e, 5)); /* it is not paused */
        endpoint_begin(&e, 0);
        endpoint_begin(&e, 0);
        assert_true(endpoint_end(&e, classes[i], &long_pause, 0, 10, 1));
        assert_false(endpoint_end(&e, classes[i], &long_pause, 0, 10, 1));
        assert_false(endpoint_can_run(&e, 20));
        assert_true(endpoint_renew(&e, 20));
        assert_true(endpoint_can_run(&e, 20));
        endpoint_begin(&e, 20);
        assert_false(endpoint_can_run(&e, 20)); /* one probe alone */
        assert_false(endpoint_end(&e, CLASS_OK, &nothing, 20, 30, 1));
        assert_true(endpoint_can_run(&e, 30));
        assert_false(endpoint_renew(&e, 30));
    }
    endpoint_init(&e, 2);
    endpoint_begin(&e, 0);
    assert_true(endpoint_end(&e, CLASS_OVERLOADED, &long_pause, 0, 10, 1));
    assert_false(endpoint_renew(&e, 20));
    assert_false(endpoint_can_run(&e, 20));
}

/* Which classes pause at the first sight, after DOUBTS in a row, or never. */
static void test_classes(void **state)
{
    (void)state;
    static const struct {
        enum class class;
        int calls_to_pause; /* 0: never */
    } rows[] = {
        {CLASS_UNSENT, 1},     {CLASS_OVERLOADED, 1},        {CLASS_THROTTLED, 1},
        {CLASS_CREDENTIAL, 1}, {CLASS_BILLING, 1},           {CLASS_TLS_CONFIG, 1},
        {CLASS_AMBIGUOUS, 8},  {CLASS_NO_UPSTREAM_MODEL, 0}, {CLASS_SERVER_ERROR, 8},
        {CLASS_BAD_REPLY, 8},  {CLASS_UNKNOWN_STATUS, 8},    {CLASS_OK, 0},
        {CLASS_REFUSED, 0},    {CLASS_BAD_OUTPUT, 0},        {CLASS_INVALID, 0},
        {CLASS_ABORTED, 0},    {CLASS_CONFLICT, 0},          {CLASS_CONTEXT_TOO_LONG, 0},
    };
    for (size_t row = 0; row < COUNT(rows); row++) {
        struct endpoint e;
        endpoint_init(&e, 100);
        int paused_at = 0;
        for (int i = 1; i <= 20 && !paused_at; i++)
            paused_at = call(&e, rows[row].class, S, 1) ? i : 0;
        if (paused_at != rows[row].calls_to_pause)
            fail_msg("%s: paused at call %d", class_name(rows[row].class), paused_at);
        if (paused_at)
            assert_int_equal(e.paused_for, rows[row].class);
        assert_int_equal(e.probing, paused_at > 0);
    }
}

static void test_our_own_trouble(void **state)
{
    (void)state;
    struct endpoint e;
    endpoint_init(&e, 2);
    const struct decision ours = {.ours = true};
    for (int i = 0; i < 20; i++) {
        endpoint_begin(&e, 0);
        assert_false(endpoint_end(&e, CLASS_UNSENT, &ours, 0, S, 1));
    }
    assert_true(endpoint_can_run(&e, S));
    assert_int_equal(e.in_flight, 0);
}

static void test_pause_and_probe(void **state)
{
    (void)state;
    struct endpoint e;
    endpoint_init(&e, 100);
    assert_true(call(&e, CLASS_UNSENT, 10 * S, 5));
    int64_t until = e.paused_until_us;
    assert_in_range(until, 10 * S, 11 * S); /* a first fault: a second at most */
    if (until > 10 * S) {
        assert_false(endpoint_can_run(&e, until - 1));
        assert_int_equal(endpoint_free_at(&e, 10 * S), until);
    }
    assert_true(endpoint_can_run(&e, until));
    endpoint_begin(&e, until); /* the probe goes alone */
    assert_false(endpoint_can_run(&e, until));
    assert_int_equal(endpoint_free_at(&e, until), until);
    endpoint_cancel(&e, until); /* it never left: another may */
    assert_true(endpoint_can_run(&e, until));
    assert_false(call(&e, CLASS_OK, until, 5));
    assert_false(e.probing);
    assert_int_equal(e.faults, 0);
    assert_int_equal(e.paused_for, CLASS_NONE);
    endpoint_begin(&e, until);
    assert_true(endpoint_can_run(&e, until)); /* open: for two, and more with each success */
    endpoint_begin(&e, until);
    assert_false(endpoint_can_run(&e, until));
}

/* Probes that fail: the pause doubles, jittered, up to 60 s; doubt is enough to fail a probe. */
static void test_backoff_grows(void **state)
{
    (void)state;
    static const struct {
        enum class first, then;
        int64_t cap_us;
    } rows[] = {
        {CLASS_UNSENT, CLASS_UNSENT, 60 * 1000000},
        {CLASS_OVERLOADED, CLASS_OVERLOADED, 60 * 1000000},
        {CLASS_UNSENT, CLASS_AMBIGUOUS, 60 * 1000000},
        {CLASS_THROTTLED, CLASS_THROTTLED, 30 * 1000000}, /* its minute is over soon */
        {CLASS_UNSENT, CLASS_OVERLOADED, 5 * 1000000}, /* it listens again, and loads its model */
    };
    for (size_t c = 0; c < COUNT(rows); c++) {
        int64_t longest[10] = {0}, most = rows[c].cap_us;
        for (uint64_t seed = 0; seed < 400; seed++) {
            struct endpoint e;
            int64_t now = S;
            endpoint_init(&e, 100);
            call(&e, CLASS_OK, now, seed);
            call(&e, rows[c].first, now, seed);
            for (int i = 0; i < 10; i++) {
                now = e.paused_until_us;
                assert_true(call(&e, rows[c].then, now, seed * 31 + (uint64_t)i));
                int64_t pause = e.paused_until_us - now, cap = (2 * S) << i;
                assert_true(pause >= 0 && pause <= (cap < most ? cap : most));
                longest[i] = pause > longest[i] ? pause : longest[i];
            }
        }
        for (int i = 0; i < 10; i++) {
            int64_t cap = (2 * S) << i;
            assert_true(longest[i] > (cap < most ? cap : most) * 9 / 10);
        }
    }
}

static void test_server_s_wish(void **state)
{
    (void)state;
    const struct decision wish = {.pause_us = 20 * S}, longer = {.pause_us = 60 * S};
    struct endpoint e;
    endpoint_init(&e, 100);
    endpoint_begin(&e, 0);
    endpoint_begin(&e, 0);
    endpoint_begin(&e, 0);
    assert_true(endpoint_end(&e, CLASS_THROTTLED, &wish, 0, S, 1));
    assert_int_equal(e.paused_until_us, 21 * S);
    assert_false(endpoint_end(&e, CLASS_THROTTLED, &wish, 0, 2 * S, 1)); /* later, and so longer */
    assert_int_equal(e.paused_until_us, 22 * S);
    assert_int_equal(e.faults, 1); /* calls that were cut together are one fault */
    assert_false(endpoint_end(&e, CLASS_CREDENTIAL, &longer, 0, 2 * S, 1));
    assert_int_equal(e.paused_until_us, 62 * S);
    assert_int_equal(e.paused_for, CLASS_CREDENTIAL);

    /* Small wishes that prove too short: the backoff takes over. */
    const struct decision small = {.pause_us = 1000};
    int64_t now = 62 * S, longest = 0;
    for (uint64_t i = 0; i < 30; i++) {
        endpoint_begin(&e, 0);
        endpoint_end(&e, CLASS_THROTTLED, &small, 0, now, i);
        assert_true(e.paused_until_us - now >= 1000);
        longest = e.paused_until_us - now > longest ? e.paused_until_us - now : longest;
        now = e.paused_until_us;
    }
    assert_true(longest > 20 * S && longest <= 30 * S);
}

/* 256 calls in flight when a fault comes: those that began before it end during the pause. */
static void test_calls_from_before(void **state)
{
    (void)state;
    struct endpoint e;
    endpoint_init(&e, 1000);
    for (int i = 0; i < 256; i++)
        endpoint_begin(&e, 0);
    const struct decision ten = {.pause_us = 10 * S};
    assert_true(endpoint_end(&e, CLASS_OVERLOADED, &ten, 0, S, 1));
    for (int i = 0; i < 200; i++) /* faults, doubts and successes: neither longer nor over */
        assert_false(endpoint_end(&e,
                                  i % 3 == 0   ? CLASS_UNSENT
                                  : i % 3 == 1 ? CLASS_AMBIGUOUS
                                               : CLASS_OK,
                                  &nothing, 0, 2 * S, 1));
    assert_int_equal(e.paused_until_us, 11 * S);
    assert_false(endpoint_can_run(&e, 11 * S - 1));
    assert_true(e.probing);
    endpoint_begin(&e, 11 * S); /* the probe; 55 old calls are still out */
    assert_false(endpoint_can_run(&e, 11 * S));
    endpoint_cancel(&e, 0); /* an old one that never left: the probe is out yet */
    assert_false(endpoint_can_run(&e, 11 * S));
    assert_false(
        endpoint_end(&e, CLASS_OK, &nothing, 0, 11 * S, 1)); /* whose life it is, is all one */
    assert_true(endpoint_can_run(&e, 11 * S));
    assert_int_equal(e.in_flight, 54);
}

/* One broken connection among many good calls costs at most a second and a probe, every time. */
static void test_single_fault_is_cheap(void **state)
{
    (void)state;
    struct endpoint e;
    endpoint_init(&e, 64);
    int64_t now = S, lost = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        if (i % 100 == 50) {
            call(&e, CLASS_UNSENT, now, i);
            assert_true(e.paused_until_us - now <= S);
            lost += e.paused_until_us - now;
            now = e.paused_until_us > now ? e.paused_until_us : now;
        }
        assert_true(endpoint_can_run(&e, now));
        call(&e, CLASS_OK, now, i);
    }
    assert_true(lost <= 10 * S);
    for (int i = 0; i < 100; i++) /* and doubts among successes cost nothing */
        assert_false(call(&e, i % 2 ? CLASS_OK : CLASS_SERVER_ERROR, now, 1));
}

/* ---- what it bears --------------------------------------------------------------------------- */

/* As many calls as may begin now begin. Returns how many. */
static int fill(struct endpoint *e, int64_t now_us)
{
    int begun = 0;
    for (; endpoint_can_run(e, now_us); begun++)
        endpoint_begin(e, now_us);
    return begun;
}

/* A round trip: all that runs since `begun_us` succeeds, one after another, and others follow. */
static int round_trip(struct endpoint *e, int calls, int64_t begun_us, int64_t now_us)
{
    int begun = 0;
    for (int i = 0; i < calls; i++) {
        assert_false(endpoint_end(e, CLASS_OK, &nothing, begun_us, now_us, 1));
        begun += fill(e, now_us);
    }
    return begun;
}

/* What has no faults is given what is configured, from the first call on. */
static void test_no_fault_no_ramp(void **state)
{
    (void)state;
    struct endpoint e;
    endpoint_init(&e, 256);
    assert_int_equal(endpoint_bears(&e, S), 256);
    assert_int_equal(endpoint_room(&e, S), 512);
    assert_int_equal(fill(&e, S), 256);
    assert_int_equal(round_trip(&e, 256, S, 2 * S), 256);
    assert_int_equal(endpoint_room(&e, 2 * S), 256);
    e.max_in_flight = 300; /* set anew: it holds at once */
    assert_int_equal(endpoint_bears(&e, S), 300);
    assert_int_equal(fill(&e, 2 * S), 44);
}

/* How many there are at once, round trip by round trip, after faults of several kinds. */
static void test_recovery(void **state)
{
    (void)state;
    static const struct {
        enum class class;
        bool lived;
        int probes_fail;
        int at_once[12]; /* ends with 0 */
    } rows[] = {
        /* a lone fault: as many as before, a tenth less after an overload */
        {CLASS_UNSENT, true, 0, {2, 4, 8, 16, 32, 64, 100}},
        {CLASS_OVERLOADED, true, 0, {2, 4, 8, 16, 32, 64, 90, 92, 94, 96, 98}},
        /* an outage: half, then slowly */
        {CLASS_UNSENT, true, 1, {2, 4, 8, 16, 32, 50, 52, 54, 56}},
        {CLASS_UNSENT, true, 9, {2, 4, 8, 16, 32, 50, 52, 54, 56}},
        {CLASS_OVERLOADED, true, 2, {2, 4, 8, 16, 32, 45, 47, 49}},
        /* it loads its model, or its rate is limited, or its key is wrong: all of it */
        {CLASS_OVERLOADED, false, 9, {2, 4, 8, 16, 32, 64, 100}},
        {CLASS_THROTTLED, true, 3, {2, 4, 8, 16, 32, 64, 100}},
        {CLASS_CREDENTIAL, true, 3, {2, 4, 8, 16, 32, 64, 100}},
    };
    for (size_t row = 0; row < COUNT(rows); row++) {
        struct endpoint e;
        int64_t now = S;
        endpoint_init(&e, 100);
        if (rows[row].lived)
            call(&e, CLASS_OK, now, 1);
        for (int i = 0; i <= rows[row].probes_fail; i++) {
            call(&e, rows[row].class, now, 1);
            assert_int_equal(endpoint_bears(&e, now), 0);
            assert_int_equal(endpoint_room(&e, now), 0);
            now = e.paused_until_us;
            assert_int_equal(endpoint_bears(&e, now), 1);
            assert_int_equal(endpoint_room(&e, now), 1);
        }
        assert_int_equal(fill(&e, now), 1);
        assert_int_equal(endpoint_room(&e, now), 0);
        int calls = 1;
        for (int i = 0; rows[row].at_once[i]; i++, now += S) {
            round_trip(&e, calls, now, now + S);
            calls = e.in_flight;
            if (calls != rows[row].at_once[i] || endpoint_bears(&e, now + S) != calls)
                fail_msg("row %zu: round trip %d has %d calls of %d", row, i, calls,
                         endpoint_bears(&e, now + S));
        }
    }
}

/* However often its probes fail, and whatever else is heard meanwhile, an outage halves once: a
 * call from before it that ends well starts the backoff over, and the count of faults with it. */
static void test_an_outage_halves_once(void **state)
{
    (void)state;
    const struct decision ten = {.pause_us = 10 * S};
    struct endpoint e;
    int64_t now = S;
    endpoint_init(&e, 64);
    call(&e, CLASS_OK, S, 1);
    fill(&e, S);
    assert_true(endpoint_end(&e, CLASS_OVERLOADED, &nothing, S, now, 1));
    for (int i = 0; i < 8; i++) {
        now = e.paused_until_us;
        endpoint_begin(&e, now);
        assert_true(endpoint_end(&e, CLASS_OVERLOADED, &ten, now, now, 1));
        assert_false(endpoint_end(&e, CLASS_OK, &nothing, S, now + S, 1)); /* one from before */
        assert_int_equal(e.faults, 0);
        assert_int_equal(e.goal, (64 - 6) / 2);
    }
    now = e.paused_until_us;
    while (e.in_flight)
        endpoint_cancel(&e, S);
    call(&e, CLASS_OK, now, 1);
    fill(&e, now);
    for (int i = 0; i < 8; i++, now += S)
        round_trip(&e, e.in_flight, now, now + S);
    int half = endpoint_bears(&e, now); /* known to be good: the next outage halves that */
    assert_in_range(half, 29, 40);
    call(&e, CLASS_UNSENT, now, 1);
    for (int i = 0; i < 3; i++)
        call(&e, CLASS_UNSENT, e.paused_until_us, 1);
    assert_int_equal(e.goal, half / 2);
}

/* A 429 speaks of the rate only while calls flow, and of a call that began since they do. */
static void test_what_shows_the_rate(void **state)
{
    (void)state;
    const struct decision ten = {.pause_us = 10 * S};
    struct endpoint e;
    endpoint_init(&e, 8);
    e.fleet = true;
    for (int i = 0; i < 4; i++)
        endpoint_begin(&e, S);
    assert_true(endpoint_shows_rate(&e, S, 2 * S));
    (void)endpoint_end(&e, CLASS_THROTTLED, &ten, S, 2 * S, 1);
    assert_false(endpoint_shows_rate(&e, S, 2 * S));  /* it left before the pause began */
    assert_false(endpoint_shows_rate(&e, S, 13 * S)); /* the pause is over, and nothing is known */
    e.may_probe_us = INT64_MAX;
    endpoint_begin(&e, 13 * S);
    assert_false(endpoint_shows_rate(&e, 13 * S, 14 * S)); /* its probe: too early yet */
    (void)endpoint_end(&e, CLASS_OK, &nothing, 13 * S, 14 * S, 1);
    endpoint_begin(&e, 14 * S);
    assert_true(endpoint_shows_rate(&e, 14 * S, 15 * S)); /* they flow again, */
    assert_false(endpoint_shows_rate(&e, S, 15 * S));     /* and one from before is late */
    endpoint_fleet_pauses(&e, 20 * S, CLASS_THROTTLED, true, 1, 15 * S); /* another's was refused */
    assert_false(endpoint_shows_rate(&e, 14 * S, 16 * S));
    endpoint_fleet_opens(&e, 21 * S);
    assert_false(endpoint_shows_rate(&e, 14 * S, 21 * S));
    assert_true(endpoint_shows_rate(&e, 21 * S, 22 * S));
}

/* A call from before the pause that is refused while the probe is out does not make the probe one
 * of those that are not counted: when another worker's call opens the endpoint for the fleet, the
 * probe is the one call that it opens for. */
static void test_the_probe_counts(void **state)
{
    (void)state;
    const struct decision one = {.pause_us = S};
    struct endpoint e;
    endpoint_init(&e, 8);
    e.fleet = true;
    e.may_probe_us = INT64_MAX;
    for (int i = 0; i < 3; i++)
        endpoint_begin(&e, S);
    assert_true(endpoint_end(&e, CLASS_THROTTLED, &one, S, 2 * S, 1));
    endpoint_begin(&e, 4 * S);                                         /* the probe */
    assert_true(endpoint_end(&e, CLASS_THROTTLED, &one, S, 5 * S, 1)); /* one from before it */
    endpoint_fleet_opens(&e, 10 * S); /* another's call has shown that it works */
    assert_false(endpoint_can_run(&e, 10 * S));
    endpoint_cancel(&e, S); /* the last from before: the probe goes on */
    assert_false(endpoint_can_run(&e, 11 * S));
    endpoint_cancel(&e, 4 * S);
    assert_true(endpoint_can_run(&e, 12 * S));
    endpoint_begin(&e, 12 * S);
    assert_false(endpoint_can_run(&e, 12 * S));
}

/* 256 timeouts of one burst are one sign; those begun after it was heeded are another. */
static void test_timeouts_cut_once_a_burst(void **state)
{
    (void)state;
    const struct decision late = {.late = true};
    struct endpoint e;
    endpoint_init(&e, 100);
    fill(&e, S);
    for (int i = 0; i < 6; i++)
        assert_false(endpoint_end(&e, CLASS_AMBIGUOUS, &late, S, 2 * S, 1));
    assert_int_equal(endpoint_bears(&e, 2 * S), 90);
    assert_false(endpoint_can_run(&e, 2 * S)); /* 94 run */
    assert_false(endpoint_end(&e, CLASS_OK, &nothing, S, 2 * S, 1));
    while (e.in_flight > 80)
        endpoint_cancel(&e, S);
    fill(&e, 3 * S);
    assert_false(endpoint_end(&e, CLASS_AMBIGUOUS, &late, S, 4 * S, 1));
    assert_int_equal(endpoint_bears(&e, 4 * S), 90);
    assert_false(endpoint_end(&e, CLASS_AMBIGUOUS, &late, 3 * S, 4 * S, 1));
    assert_int_equal(endpoint_bears(&e, 4 * S), 81);
    endpoint_end(&e, CLASS_OK, &nothing, 3 * S, 4 * S, 1);
    endpoint_end(&e, CLASS_AMBIGUOUS, &nothing, 4 * S, 5 * S, 1); /* reset, not late */
    assert_int_equal(endpoint_bears(&e, 5 * S), 81);
    for (int64_t i = 5; i < 200; i++) { /* it ends at one, and no endpoint bears less */
        endpoint_end(&e, CLASS_OK, &nothing, S, i * S, 1);
        endpoint_begin(&e, i * S);
        assert_false(endpoint_end(&e, CLASS_AMBIGUOUS, &late, i * S, i * S, 1));
        endpoint_begin(&e, i * S);
    }
    assert_int_equal(endpoint_bears(&e, 200 * S), 1);
}

/* It grows only while it really has as many calls as it may have. */
static void test_grows_only_when_used(void **state)
{
    (void)state;
    struct endpoint e;
    int64_t now = S;
    endpoint_init(&e, 1000);
    call(&e, CLASS_UNSENT, now, 1);
    now = e.paused_until_us;
    call(&e, CLASS_OK, now, 1);
    for (int i = 0; i < 100; i++, now += S) /* one call at a time proves nothing of more */
        call(&e, CLASS_OK, now, 1);
    assert_int_equal(endpoint_bears(&e, now), 2);
    for (int i = 0; i < 3; i++, now += S) {
        int calls = fill(&e, now);
        for (int j = 0; j < calls; j++) /* all end before others begin: in one turn of the loop */
            endpoint_end(&e, CLASS_OK, &nothing, now, now + 1, 1);
    }
    assert_int_equal(endpoint_bears(&e, now), 16);
}

/* A lone fault among many long calls: as those end well, others take their places. */
static void test_long_calls_carry_it_over(void **state)
{
    (void)state;
    struct endpoint e;
    endpoint_init(&e, 200);
    fill(&e, S);
    assert_true(endpoint_end(&e, CLASS_UNSENT, &nothing, S, 2 * S, 1));
    int64_t now = e.paused_until_us;
    for (int old = 199; old > 0; old--) {
        endpoint_end(&e, CLASS_OK, &nothing, S, now, 1);
        fill(&e, now);
        assert_in_range(e.in_flight, 199, 200);
    }
    assert_int_equal(e.in_flight, 200);
    assert_int_equal(e.old, 0);
}

/* Calls that hang since before an outage keep nobody out. */
static void test_hanging_calls_are_not_counted(void **state)
{
    (void)state;
    struct endpoint e;
    endpoint_init(&e, 100);
    for (int i = 0; i < 60; i++)
        endpoint_begin(&e, S);
    endpoint_end(&e, CLASS_OVERLOADED, &nothing, S, 2 * S, 1);
    int64_t now = e.paused_until_us + S;
    call(&e, CLASS_OK, now, 1);
    assert_int_equal(fill(&e, now), 2);
    assert_int_equal(round_trip(&e, 2, now, now + S), 4);
    assert_int_equal(round_trip(&e, 4, now + S, now + 2 * S), 8);
    assert_int_equal(e.in_flight, 59 + 8);
    for (int i = 0; i < 60; i++) /* what is configured bounds them all */
        round_trip(&e, 1, now + 2 * S, now + 3 * S);
    assert_in_range(e.in_flight, 90, 100);
    assert_int_equal(fill(&e, now + 3 * S), 0);
}

/* ---- what replies say of rate limits --------------------------------------------------------- */

static const int64_t one_call[RATE_DIMENSIONS] = {1, 100, 20, 120};

static bool told(struct endpoint *e, enum rate_dimension dimension, struct rate_limit said,
                 int64_t took_us, int64_t now_us)
{
    struct rate_told all;
    for (int i = 0; i < RATE_DIMENSIONS; i++)
        all.of[i] = (struct rate_limit){-1, -1, -1};
    all.of[dimension] = said;
    return endpoint_told(e, &all, one_call, took_us, now_us);
}

/* What of it pauses, and until when. */
static void test_told_pauses(void **state)
{
    (void)state;
    static const struct {
        enum rate_dimension dimension;
        struct rate_limit said;
        int64_t took_us;
        int in_flight;
        int64_t pause_us; /* 0: none */
    } rows[] = {
        {RATE_REQUESTS, {10, 0, 2000000}, 1000, 0, 2000000},
        {RATE_REQUESTS, {10, 1, 2000000}, 1000, 0, 0},
        {RATE_REQUESTS, {10, 3, 2000000}, 1000, 9, 0},
        {RATE_REQUESTS, {10, 0, 2000000}, 9000000, 3, 2000000},
        {RATE_REQUESTS, {10, 0, -1}, 1000, 3, 0}, /* nobody knows until when */
        {RATE_REQUESTS, {10, 0, 0}, 1000, 3, 0},
        {RATE_REQUESTS, {10, -1, 2000000}, 1000, 3, 0},
        {RATE_REQUESTS, {10, 0, 90000000}, 1000, 0, ENDPOINT_TOLD_MAX_US},
        {RATE_TOKENS, {1000, 0, 500000}, 1000, 3, 500000},
        {RATE_TOKENS, {1000, 119, 500000}, 1000, 3, 500000}, /* the next one would not fit */
        {RATE_TOKENS, {1000, 120, 500000}, 1000, 3, 0},
        {RATE_INPUT, {1000, 99, 500000}, 1000, 3, 500000},
        {RATE_OUTPUT, {1000, 20, 500000}, 1000, 3, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct endpoint e;
        endpoint_init(&e, 100);
        for (int j = 0; j < rows[i].in_flight; j++)
            endpoint_begin(&e, S);
        bool paused = told(&e, rows[i].dimension, rows[i].said, rows[i].took_us, S);
        if (paused != (rows[i].pause_us > 0) || endpoint_free_at(&e, S) != S + rows[i].pause_us)
            fail_msg("row %zu: paused %d for %lld us", i, paused,
                     (long long)(endpoint_free_at(&e, S) - S));
        assert_int_equal(e.paused_for, paused ? CLASS_THROTTLED : CLASS_NONE);
        assert_int_equal(e.faults, 0); /* it is none */
        assert_int_equal(e.probing, rows[i].said.reset_us > ENDPOINT_TOLD_MAX_US);
    }
}

/* Those that run may not be counted yet: they are taken off, unless the call that tells ran for
 * longer than the window. */
static void test_told_while_others_run(void **state)
{
    (void)state;
    static const struct {
        int64_t remaining, took_us;
        int may_begin;
    } rows[] = {
        {3, 1000, 0}, {4, 1000, 0}, {5, 1000, 1}, {90, 1000, 86}, {3, 2000000, 96}, {-1, 1000, 96},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct endpoint e;
        endpoint_init(&e, 100);
        for (int j = 0; j < 4; j++)
            endpoint_begin(&e, S);
        struct rate_limit said = {200, rows[i].remaining, 2 * S};
        assert_false(told(&e, RATE_REQUESTS, said, rows[i].took_us, S));
        int begun = fill(&e, S);
        if (begun != rows[i].may_begin)
            fail_msg("row %zu: %d begun", i, begun);
    }
}

/* So many more may begin as are left, then what the limit's next window has, and no more until a
 * reply tells; but one always can, as nobody would ever tell. */
static void test_told_leaves(void **state)
{
    (void)state;
    struct endpoint e;
    int64_t now = S;
    endpoint_init(&e, 100);
    assert_false(told(&e, RATE_REQUESTS, (struct rate_limit){5, 3, 2 * S}, 1000, now));
    for (int i = 0; i < 3; i++) {
        assert_true(endpoint_can_run(&e, now));
        endpoint_begin(&e, now);
    }
    assert_false(endpoint_can_run(&e, now));
    assert_int_equal(endpoint_free_at(&e, now), now); /* busy, not paused */
    now += 2 * S;
    for (int i = 0; i < 5; i++) {
        assert_true(endpoint_can_run(&e, now));
        endpoint_begin(&e, now);
    }
    assert_false(endpoint_can_run(&e, now));
    for (int i = 0; i < 8; i++) { /* all end, and none says anything */
        assert_false(endpoint_can_run(&e, now));
        endpoint_cancel(&e, now);
    }
    assert_true(endpoint_can_run(&e, now));
    struct rate_told nothing_said = {{{-1, -1, -1}, {-1, -1, -1}, {-1, -1, -1}, {-1, -1, -1}}};
    endpoint_begin(&e, now);
    assert_false(endpoint_can_run(&e, now));
    assert_false(endpoint_told(&e, &nothing_said, one_call, 1000, now)); /* not limited any more */
    assert_true(endpoint_can_run(&e, now));
    /* a pause: what follows it has the whole limit */
    assert_true(told(&e, RATE_REQUESTS, (struct rate_limit){2, 0, 3 * S}, 1000, now));
    assert_false(told(&e, RATE_REQUESTS, (struct rate_limit){2, 0, 3 * S}, 1000, now)); /* it is */
    assert_false(endpoint_can_run(&e, now + 3 * S - 1));
    now += 3 * S;
    endpoint_begin(&e, now);
    assert_true(endpoint_can_run(&e, now));
    endpoint_begin(&e, now);
    assert_false(endpoint_can_run(&e, now));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_renewed),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_our_own_trouble),
        cmocka_unit_test(test_pause_and_probe),
        cmocka_unit_test(test_backoff_grows),
        cmocka_unit_test(test_server_s_wish),
        cmocka_unit_test(test_calls_from_before),
        cmocka_unit_test(test_single_fault_is_cheap),
        cmocka_unit_test(test_no_fault_no_ramp),
        cmocka_unit_test(test_recovery),
        cmocka_unit_test(test_an_outage_halves_once),
        cmocka_unit_test(test_what_shows_the_rate),
        cmocka_unit_test(test_the_probe_counts),
        cmocka_unit_test(test_timeouts_cut_once_a_burst),
        cmocka_unit_test(test_grows_only_when_used),
        cmocka_unit_test(test_long_calls_carry_it_over),
        cmocka_unit_test(test_hanging_calls_are_not_counted),
        cmocka_unit_test(test_told_pauses),
        cmocka_unit_test(test_told_leaves),
        cmocka_unit_test(test_told_while_others_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
