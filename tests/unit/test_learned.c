/*
 * test_learned.c - what a worker tells the fleet of an endpoint, and what it takes over, on a clock
 * of its own; the row that Postgres would hold is written by the tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "worker/learned.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const int64_t S = 1000 * 1000;
static const int64_t LEASE = 15 * 1000 * 1000;
static const struct decision nothing = {0};

/* One worker's view. */
struct side {
    struct endpoint e;
    struct learned l;
    struct learned_say say;
};

static void begin(struct side *k)
{
    endpoint_init(&k->e, 16);
    k->e.fleet = true;
    learned_init(&k->l, LEASE);
}

static bool says(struct side *k, int64_t now)
{
    return learned_says(&k->l, &k->e, now, &k->say);
}

static void send(struct side *k, int64_t now)
{
    learned_sent(&k->l, &k->e, says(k, now) ? &k->say : NULL, now);
}

static void hear(struct side *k, struct learned_row row, int64_t sent, int64_t now)
{
    learned_heard(&k->l, &k->e, &row, sent, now);
}

/* An exchange that takes no time. */
static void exchange(struct side *k, struct learned_row row, int64_t now)
{
    send(k, now);
    hear(k, row, now, now);
}

static bool fail_with(struct side *k, enum class class, struct decision d, int64_t now)
{
    endpoint_begin(&k->e, now);
    return endpoint_end(&k->e, class, &d, now, now, 1);
}

static void succeed(struct side *k, int64_t begun, int64_t now)
{
    assert_false(endpoint_end(&k->e, CLASS_OK, &nothing, begun, now, 1));
}

static struct learned_row paused(int64_t left_us)
{
    return (struct learned_row){
        .left_us = left_us, .class = CLASS_OVERLOADED, .probing = true, .faults = 1};
}

static struct learned_row lent(bool mine, int64_t left_us)
{
    return (struct learned_row){
        .probing = true, .faults = 1, .probe_mine = mine, .probe_left_us = left_us};
}

/* ---- what is told ---------------------------------------------------------------------------- */

/* What a server says of itself is for all; what may be this worker's network is its own. */
static void test_whose_faults(void **state)
{
    static const struct {
        enum class class;
        bool answered;
        int calls; /* until it pauses */
        bool told;
    } rows[] = {
        {CLASS_THROTTLED, true, 1, true},      {CLASS_OVERLOADED, true, 1, true},
        {CLASS_CREDENTIAL, true, 1, true},     {CLASS_BILLING, true, 1, true},
        {CLASS_UNSENT, false, 1, false},       {CLASS_TLS_CONFIG, false, 1, false},
        {CLASS_SERVER_ERROR, true, 8, true},   {CLASS_AMBIGUOUS, true, 8, true},
        {CLASS_AMBIGUOUS, false, 8, false},    {CLASS_BAD_REPLY, false, 8, false},
        {CLASS_UNKNOWN_STATUS, true, 8, true},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct side k;
        struct decision d = {.answered = rows[i].answered, .pause_us = 3 * S};
        begin(&k);
        for (int n = 1; n <= rows[i].calls; n++) {
            assert_false(says(&k, S));
            assert_int_equal(fail_with(&k, rows[i].class, d, S), n == rows[i].calls);
        }
        if (says(&k, S) != rows[i].told)
            fail_msg("%s, answered %d", class_name((int)rows[i].class), rows[i].answered);
        assert_int_equal(endpoint_needs_leave(&k.e, S), rows[i].told);
        if (!rows[i].told)
            continue;
        assert_true(k.say.pauses && k.say.probing);
        assert_int_equal(k.say.class, rows[i].class);
        assert_int_equal(k.say.faults, 1);
        assert_int_equal(k.say.pause_us, k.e.paused_until_us - S);
        assert_int_equal(k.say.probe, PROBE_NONE);
    }
}

static void test_nothing_is_said_where_nothing_is_shared(void **state)
{
    (void)state;
    struct side k;
    begin(&k);
    k.e.fleet = false;
    (void)fail_with(&k, CLASS_THROTTLED, nothing, 0);
    assert_false(says(&k, 0));
    assert_false(endpoint_needs_leave(&k.e, 0));
}

/* Until it was heard that it stands there. */
static void test_what_was_lost_is_said_again(void **state)
{
    (void)state;
    struct side k;
    struct decision d = {.pause_us = 4 * S, .answered = true};
    begin(&k);
    (void)fail_with(&k, CLASS_OVERLOADED, d, 0);
    send(&k, 0);
    learned_lost(&k.l);
    assert_true(says(&k, S) && k.say.pauses);
    assert_int_equal(k.say.pause_us, 3 * S);
    exchange(&k, paused(3 * S), S);
    assert_false(says(&k, S));
    endpoint_begin(&k.e, S); /* a call from before, and the server names a longer time */
    d.pause_us = 10 * S;
    (void)endpoint_end(&k.e, CLASS_THROTTLED, &d, S, S, 1);
    assert_true(says(&k, S) && k.say.pauses);
    assert_int_equal(k.say.pause_us, 10 * S);
}

/* ---- what is taken over ---------------------------------------------------------------------- */

static void test_others_pauses_are_kept(void **state)
{
    (void)state;
    struct side k;
    begin(&k);
    endpoint_begin(&k.e, 0);
    exchange(&k, paused(5 * S), 0);
    assert_false(endpoint_can_run(&k.e, 5 * S - 1));
    assert_int_equal(endpoint_free_at(&k.e, 0), 5 * S);
    assert_int_equal(endpoint_bears(&k.e, 0), 0);
    assert_false(endpoint_can_run(&k.e, 6 * S)); /* the probe is not its to send */
    assert_int_equal(endpoint_room(&k.e, 6 * S), 0);
    assert_false(says(&k, S));      /* it has nothing to add */
    exchange(&k, paused(2 * S), S); /* the last word counts, if it is a shorter one */
    assert_int_equal(endpoint_free_at(&k.e, S), 3 * S);
}

/* The answer was on its way when a call here failed. */
static void test_an_older_answer_undoes_nothing(void **state)
{
    (void)state;
    struct side k;
    struct decision d = {.pause_us = 9 * S, .answered = true};
    begin(&k);
    send(&k, 0);
    (void)fail_with(&k, CLASS_OVERLOADED, d, 10);
    hear(&k, (struct learned_row){0}, 0, 20);
    assert_false(endpoint_can_run(&k.e, 20));
    assert_true(says(&k, 20) && k.say.pauses);
    exchange(&k, paused(9 * S), 20);
    exchange(&k, (struct learned_row){0}, 30); /* an operator has resumed it */
    assert_true(endpoint_can_run(&k.e, 30));
}

/* Its own network is another matter. */
static void test_a_pause_of_its_own_goes_on(void **state)
{
    (void)state;
    struct side k;
    begin(&k);
    exchange(&k, paused(S), 0);
    struct decision d = {.pause_us = 30 * S};
    endpoint_begin(&k.e, 0); /* one that was on its way */
    (void)endpoint_end(&k.e, CLASS_UNSENT, &d, 0, 10, 1);
    assert_false(says(&k, 10) && k.say.pauses);
    exchange(&k, (struct learned_row){0}, 2 * S);
    assert_false(endpoint_can_run(&k.e, 30 * S));
    assert_true(endpoint_can_run(&k.e, 30 * S + 10)); /* then it probes without leave */
    endpoint_begin(&k.e, 31 * S);
    assert_false(endpoint_can_run(&k.e, 31 * S));
    succeed(&k, 31 * S, 32 * S);
    assert_false(says(&k, 32 * S));
}

/* What replies said of rate limits needs no probe. */
static void test_used_up_limits(void **state)
{
    (void)state;
    struct side k, other;
    struct rate_told told = {{{100, 0, 7 * S}, {-1, -1, -1}, {-1, -1, -1}, {-1, -1, -1}}};
    static const int64_t used[RATE_DIMENSIONS] = {1, 10, 10, 20};
    begin(&k);
    begin(&other);
    assert_true(endpoint_told(&k.e, &told, used, 1000, 0));
    assert_true(says(&k, 0) && k.say.pauses && !k.say.probing);
    assert_int_equal(k.say.class, CLASS_THROTTLED);
    struct learned_row row = {.left_us = 7 * S, .class = CLASS_THROTTLED};
    exchange(&k, row, 0);
    exchange(&other, row, 0);
    assert_false(endpoint_can_run(&other.e, 7 * S - 1));
    assert_true(endpoint_can_run(&other.e, 7 * S));
    assert_int_equal(endpoint_bears(&other.e, 7 * S), 16);
    exchange(&other, (struct learned_row){0}, S); /* an operator's word ends it as well */
    assert_true(endpoint_can_run(&other.e, S));
}

/* ---- the probe ------------------------------------------------------------------------------- */

/* Asked for by who has a job, when nobody else has it; one call goes, and its success is told. */
static void test_one_probe(void **state)
{
    (void)state;
    struct side k;
    begin(&k);
    exchange(&k, paused(S), 0);
    learned_wants(&k.l, 0);
    assert_false(says(&k, S - 1)); /* not before its time */
    learned_wants(&k.l, S);
    assert_true(says(&k, S) && k.say.probe == PROBE_ASK);
    assert_false(says(&k, 4 * S)); /* the job is gone */
    learned_wants(&k.l, 4 * S);
    exchange(&k, lent(false, 20 * S), 4 * S);
    learned_wants(&k.l, 23 * S);
    assert_false(says(&k, 23 * S)); /* another's */
    learned_wants(&k.l, 24 * S);
    assert_true(says(&k, 24 * S) && k.say.probe == PROBE_ASK);
    exchange(&k, lent(true, 2 * LEASE), 24 * S);
    assert_true(endpoint_can_run(&k.e, 24 * S));
    assert_int_equal(endpoint_room(&k.e, 24 * S), 1);
    assert_int_equal(endpoint_bears(&k.e, 24 * S), 1);
    endpoint_begin(&k.e, 24 * S);
    assert_false(endpoint_can_run(&k.e, 24 * S));
    assert_false(says(&k, 25 * S)); /* it runs, and need not be asked for again yet, */
    assert_true(says(&k, 29 * S) && k.say.probe == PROBE_ASK); /* but soon, job or no job */
    succeed(&k, 24 * S, 30 * S);
    assert_true(endpoint_can_run(&k.e, 30 * S));
    assert_true(says(&k, 30 * S) && k.say.opens && !k.say.pauses);
    exchange(&k, (struct learned_row){0}, 30 * S);
    assert_false(says(&k, 30 * S));
}

/* Half a lease from when it was asked for: what Postgres gives is longer than that by more than a
 * lease, for as long as the machine may sleep unnoticed. */
static void test_how_long_it_is_lent(void **state)
{
    (void)state;
    struct side k;
    begin(&k);
    exchange(&k, paused(0), 0);
    learned_wants(&k.l, 0);
    send(&k, S);
    hear(&k, lent(true, 2 * LEASE), S, 3 * S); /* the answer took its time */
    assert_true(endpoint_can_run(&k.e, S + LEASE / 2 - 1));
    assert_false(endpoint_can_run(&k.e, S + LEASE / 2));
    send(&k, 5 * S); /* a look that does not prolong it */
    hear(&k, lent(true, 2 * LEASE - 4 * S), 5 * S, 5 * S);
    assert_false(endpoint_can_run(&k.e, S + LEASE / 2));
    learned_forget_probe(&k.l, &k.e);
    assert_false(endpoint_can_run(&k.e, 5 * S));
}

static void test_who_has_no_job_leaves_it(void **state)
{
    (void)state;
    struct side k;
    begin(&k);
    exchange(&k, paused(0), 0);
    learned_wants(&k.l, 0);
    exchange(&k, lent(true, 2 * LEASE), 0);
    assert_false(says(&k, 2 * S));
    assert_true(says(&k, 2 * S + 1) && k.say.probe == PROBE_LEAVE);
    send(&k, 2 * S + 1);
    assert_false(endpoint_can_run(&k.e, 2 * S + 1)); /* another's already, for all it knows */
}

/* A probe that fails: a longer pause for all, and the probe is for whoever comes first then. */
static void test_a_probe_that_fails(void **state)
{
    (void)state;
    struct side k;
    struct decision d = {.pause_us = 8 * S, .answered = true};
    begin(&k);
    exchange(&k, paused(0), 0);
    learned_wants(&k.l, 0);
    exchange(&k, lent(true, 2 * LEASE), 0);
    assert_true(fail_with(&k, CLASS_THROTTLED, d, S));
    learned_wants(&k.l, S);
    assert_true(says(&k, S) && k.say.pauses && k.say.probe == PROBE_LEAVE);
    assert_int_equal(k.say.faults, 2); /* it counts on where the fleet was */
    assert_true(k.say.pause_us >= 8 * S);
}

/* One that was not reached says nothing to the others: they may try. */
static void test_a_probe_that_does_not_arrive(void **state)
{
    (void)state;
    struct side k;
    struct decision d = {.pause_us = 8 * S};
    begin(&k);
    exchange(&k, paused(0), 0);
    learned_wants(&k.l, 0);
    exchange(&k, lent(true, 2 * LEASE), 0);
    assert_true(fail_with(&k, CLASS_UNSENT, d, S));
    learned_wants(&k.l, S);
    assert_true(says(&k, S) && !k.say.pauses && k.say.probe == PROBE_LEAVE);
}

/* Another worker's probe succeeded: one call, then with each success one more. */
static void test_opening_ramps_up(void **state)
{
    (void)state;
    struct side k;
    begin(&k);
    exchange(&k, paused(S), 0);
    exchange(&k, (struct learned_row){0}, 2 * S);
    for (int64_t bears = 1, now = 2 * S; bears < 16; bears++, now += S) {
        assert_int_equal(endpoint_bears(&k.e, now), bears);
        while (endpoint_can_run(&k.e, now))
            endpoint_begin(&k.e, now);
        assert_int_equal(k.e.in_flight, bears);
        succeed(&k, now, now + 1);
        assert_int_equal(endpoint_bears(&k.e, now + 1), bears + 1);
    }
}

/* Its key is another: it may probe at once, though the pause runs yet. */
static void test_renewed(void **state)
{
    (void)state;
    struct side k;
    struct learned_row row = paused(60 * S);
    row.class = CLASS_CREDENTIAL;
    begin(&k);
    learned_renewed(&k.l, &k.e); /* nothing is paused */
    assert_false(says(&k, 0));
    exchange(&k, row, 0);
    assert_true(endpoint_renew(&k.e, S));
    learned_renewed(&k.l, &k.e);
    assert_true(says(&k, S) && k.say.renewed && k.say.probe == PROBE_ASK);
    exchange(&k, lent(true, 2 * LEASE), S);
    assert_true(endpoint_can_run(&k.e, S));
    endpoint_begin(&k.e, S);
    assert_false(says(&k, S + 1));
}

/* ---- how much it bears, and how often it throttles ------------------------------------------- */

static void test_concurrency(void **state)
{
    (void)state;
    struct side k, fresh;
    struct decision late = {.late = true};
    begin(&k);
    begin(&fresh);
    exchange(&k, (struct learned_row){0}, 0);
    for (int i = 0; i < 8; i++) { /* 16, 15 ... */
        int64_t at = (i + 1) * 10;
        endpoint_begin(&k.e, at);
        (void)endpoint_end(&k.e, CLASS_AMBIGUOUS, &late, at, at, 1);
        endpoint_begin(&k.e, at + 1);
        succeed(&k, at + 1, at + 1);
    }
    int bears = endpoint_bears(&k.e, 100);
    assert_true(bears < 12);
    assert_true(says(&k, 100));
    assert_int_equal(k.say.concurrency, bears);
    send(&k, 100);
    hear(&k, (struct learned_row){.concurrency = bears}, 100, 100);
    assert_false(says(&k, 100));
    k.e.bears = 1;
    assert_false(says(&k, 100 + 5 * S - 1)); /* not with every call */
    assert_true(says(&k, 100 + 5 * S));
    assert_int_equal(k.say.concurrency, 1);

    exchange(&fresh, (struct learned_row){.concurrency = bears}, 0);
    assert_int_equal(endpoint_bears(&fresh.e, 0), bears);
    assert_false(says(&fresh, 0));
    exchange(&fresh, (struct learned_row){.concurrency = 2}, 0); /* its own is better by now */
    assert_int_equal(endpoint_bears(&fresh.e, 0), bears);
}

static void test_throttled(void **state)
{
    (void)state;
    struct side k;
    begin(&k);
    learned_throttled(&k.l, 2 * S);
    learned_throttled(&k.l, S);
    assert_true(says(&k, 5 * S));
    assert_int_equal(k.say.throttled_before_us, 3 * S);
    send(&k, 5 * S);
    learned_lost(&k.l);
    assert_true(says(&k, 6 * S));
    assert_int_equal(k.say.throttled_before_us, 4 * S);
    send(&k, 6 * S);
    learned_throttled(&k.l, 4 * S); /* meanwhile */
    hear(&k, (struct learned_row){0}, 6 * S, 6 * S);
    assert_true(says(&k, 7 * S));
    assert_int_equal(k.say.throttled_before_us, 3 * S);
    exchange(&k, (struct learned_row){0}, 7 * S);
    assert_false(says(&k, 7 * S));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whose_faults),
        cmocka_unit_test(test_nothing_is_said_where_nothing_is_shared),
        cmocka_unit_test(test_what_was_lost_is_said_again),
        cmocka_unit_test(test_others_pauses_are_kept),
        cmocka_unit_test(test_an_older_answer_undoes_nothing),
        cmocka_unit_test(test_a_pause_of_its_own_goes_on),
        cmocka_unit_test(test_used_up_limits),
        cmocka_unit_test(test_one_probe),
        cmocka_unit_test(test_how_long_it_is_lent),
        cmocka_unit_test(test_who_has_no_job_leaves_it),
        cmocka_unit_test(test_a_probe_that_fails),
        cmocka_unit_test(test_a_probe_that_does_not_arrive),
        cmocka_unit_test(test_opening_ramps_up),
        cmocka_unit_test(test_renewed),
        cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_throttled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
