/*
 * test_path_limits.c - shared limits in the path: a limit holds back its own jobs alone, a call
 * takes and settles, what can never go is refused, and what waits too long waits in Postgres.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/path_world.h"
#include "worker/admission.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

#define RULE(id, scope, key, dimension, amount)                                        \
    {                                                                                  \
        id, scope, {key, sizeof(key) - 1}, dimension, INT64_C(amount), INT64_C(amount) \
    }

enum { MINUTE_TURNS = 60 * SECOND_US / TURN_US };

static void set_rules(struct world *w, const struct admission_rule *rules, size_t n)
{
    struct err err = {0};
    assert_int_equal(admission_rules(w->admission, rules, n, 0, w->now_us, &err), RC_OK);
    path_limits_moved(w->path);
}

/* The fleet's answer: so much of every limit. */
static void give(struct world *w, int64_t share)
{
    const struct admission_say *says;
    size_t n;
    int64_t number;
    struct err err = {0};
    assert_int_equal(admission_exchange(w->admission, w->now_us, &says, &n, &number, &err), RC_OK);
    for (size_t i = 0; i < n; i++)
        admission_answer(w->admission, number, says[i].limit_id, share, w->now_us);
    path_limits_moved(w->path);
}

/* So many turns with a share; calls to the first endpoint that began meanwhile. */
static int run(struct world *w, int turns, int64_t share)
{
    int before = w->ended;
    for (int i = 0; i < turns; i++) {
        if (share >= 0 && i % (SECOND_US / TURN_US) == 0)
            give(w, share);
        world_turn(w);
    }
    return w->ended - before;
}

static const struct admission_rule six_a_minute[] = {
    RULE(7, LIMIT_MODEL, "m0", LIMIT_REQUESTS_PER_MINUTE, 6),
};

static void test_a_limit_holds_back_its_own_jobs_alone(void **state)
{
    struct world *w = *state;
    w->call_us = TURN_US;
    set_rules(w, six_a_minute, 1);
    for (int i = 0; i < 40; i++)
        world_add_record(w, 0); /* first, and all before the others */
    for (int i = 0; i < 40; i++)
        world_add_record(w, 1);
    assert_int_equal(run(w, 200, -1), 40); /* without a lease none of the first */
    assert_int_equal(path_lane_jobs(w->path, 0), 40);
    int first = run(w, MINUTE_TURNS, 6);
    assert_in_range(first, 5, 6);
    assert_in_range(first + run(w, MINUTE_TURNS, 6), 11, 12);
    assert_in_range(run(w, MINUTE_TURNS, 0), 0, 1); /* its share is gone */
    assert_int_equal(w->refused, 0);
    set_rules(w, NULL, 0); /* and so is the limit */
    assert_in_range(run(w, 200, -1), 27, 29);
    assert_int_equal(w->ended, 80);
    assert_int_equal(w->watermark, 80);
}

/* One at a time: the next goes when the one before has ended, at once. */
static void test_calls_in_flight(void **state)
{
    static const struct admission_rule one[] = {RULE(3, LIMIT_APP, "app", LIMIT_IN_FLIGHT, 1)};
    struct world *w = *state;
    set_rules(w, one, 1);
    for (int i = 0; i < 6; i++)
        world_add_record(w, i % 2);
    world_turn(w);
    give(w, 1);
    world_turn_until_called(w, 1);
    for (int i = 0; i < 6; i++) {
        for (int turn = 0; turn < 10; turn++)
            world_turn(w);
        assert_int_equal(w->call_count, i < 6 ? 1 : 0);
        world_end_call(w, 0, 200, "y");
        give(w, 1);
        world_turn(w);
        world_turn(w);
    }
    world_turn(w);
    assert_int_equal(w->ended, 6);
}

/* A limit of calls in flight comes while calls run, be it the first limit of all: they count. */
static void test_calls_that_run_count(void **state)
{
    static const struct admission_rule one[] = {RULE(3, LIMIT_APP, "app", LIMIT_IN_FLIGHT, 1)};
    struct world *w = *state;
    struct admission_state is;
    for (int i = 0; i < 10; i++)
        world_add_record(w, 0);
    world_turn_until_called(w, AT_ONCE);
    set_rules(w, one, 1);
    assert_true(admission_state(w->admission, 0, w->now_us, &is));
    assert_int_equal(is.used, AT_ONCE);
    for (int i = 1; i < AT_ONCE + 2; i++) {
        world_end_call(w, 0, 200, "y");
        give(w, 1);
        world_turn(w);
        world_turn(w);
        assert_int_equal(w->call_count, i < AT_ONCE ? AT_ONCE - i : 1);
    }
    set_rules(w, NULL, 0); /* none, and then one again: what began in between, and what did not */
    world_turn_until_called(w, AT_ONCE);
    set_rules(w, one, 1);
    assert_true(admission_state(w->admission, 0, w->now_us, &is));
    assert_int_equal(is.used, AT_ONCE);
    for (int i = 0; i < AT_ONCE; i++)
        world_end_call(w, 0, 200, "y");
    world_turn(w);
    assert_true(admission_state(w->admission, 0, w->now_us, &is));
    assert_int_equal(is.used, 0);
}

/* Limits come while jobs wait and run: those that run are not theirs, those that wait are. */
static void test_limits_come_while_jobs_wait(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 10; i++)
        world_add_record(w, 0);
    world_turn_until_called(w, AT_ONCE);
    set_rules(w, six_a_minute, 1);
    w->call_us = TURN_US;
    for (int i = 0; i < 300; i++)
        world_turn(w);
    assert_int_equal(w->ended, AT_ONCE);
    assert_int_equal(path_lane_jobs(w->path, 0), 10 - AT_ONCE);
    assert_in_range(run(w, MINUTE_TURNS, 6), 5, 6);
}

/* The lease ends while the claim is on its way: nothing leaves, and what was taken comes back. */
static void test_nothing_leaves_without_a_lease(void **state)
{
    struct world *w = *state;
    w->call_us = TURN_US;
    set_rules(w, six_a_minute, 1);
    world_add_record(w, 0);
    (void)path_tick(w->path);
    for (int s = 0; s < 12 && !w->claim_count; s++) {
        give(w, 6);
        (void)path_tick(w->path);
        if (!w->claim_count)
            w->now_us += SECOND_US;
    }
    assert_int_equal(w->claim_count, 1);
    w->now_us += SHARES_LEASE_US;
    world_turn(w);
    world_turn(w);
    assert_int_equal(w->refused, 1);
    assert_int_equal(w->ended, 0);
    assert_int_equal(run(w, MINUTE_TURNS, 6), 1); /* it is called after all */
    assert_int_equal(w->watermark, 1);
}

static void test_what_can_never_go_is_refused(void **state)
{
    static const struct admission_rule few[] = {
        RULE(4, LIMIT_ENDPOINT, "m1@1", LIMIT_TOKENS_PER_DAY, 5)};
    /* Lowered by what was learned: it may pass again. */
    static const struct admission_rule lowered[] = {
        {5, LIMIT_ENDPOINT, {"m1@1", 4}, LIMIT_INPUT_TOKENS_PER_MINUTE, 1, 100000}};
    struct world *w = *state;
    set_rules(w, lowered, 1);
    world_add_record(w, 1);
    world_turn(w);
    assert_int_equal(path_lane_jobs(w->path, 0), 1);
    set_rules(w, few, 1); /* of those that wait, too */
    world_add_record(w, 1);
    world_turn(w);
    world_turn(w);
    assert_int_equal(w->ended, 2);
    assert_int_equal(w->class, CLASS_OVER_LIMIT);
    assert_non_null(strstr(w->reason, "tokens_per_day of endpoint m1@1"));
    world_add_record(w, 0);
    w->call_us = TURN_US;
    for (int i = 0; i < 10; i++)
        world_turn(w);
    assert_int_equal(w->ended, 3); /* others are not touched by it */
}

/* Who does not hear from Postgres knows limits that may be others by now: nothing ends for them. */
static void test_old_limits_refuse_nothing(void **state)
{
    static const struct admission_rule few[] = {
        RULE(4, LIMIT_ENDPOINT, "m1@1", LIMIT_TOKENS_PER_DAY, 5)};
    static const struct admission_rule more[] = {
        RULE(4, LIMIT_ENDPOINT, "m1@1", LIMIT_TOKENS_PER_DAY, 1000000)};
    struct world *w = *state;
    set_rules(w, few, 1);
    w->cut_off = true;
    world_add_record(w, 1);
    world_turn(w);
    world_turn(w);
    assert_int_equal(w->ended, 0);
    assert_int_equal(path_lane_jobs(w->path, 0), 1);
    set_rules(w, more, 1);
    w->cut_off = false;
    world_turn(w);
    assert_int_equal(w->ended, 0);
    set_rules(w, few, 1);
    world_turn(w);
    world_turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(w->class, CLASS_OVER_LIMIT);
}

/* Nor does one wait for ever that was between two calls when the limit came. */
static void test_what_can_never_go_again_is_refused(void **state)
{
    static const struct admission_rule few[] = {
        RULE(4, LIMIT_ENDPOINT, "m1@1", LIMIT_TOKENS_PER_DAY, 5)};
    struct world *w = *state;
    world_add_record(w, 1);
    world_turn_until_called(w, 1);
    world_end_call(w, 0, 500, "");
    world_turn(w);
    assert_int_equal(path_jobs(w->path, JOB_RETRY), 1);
    set_rules(w, few, 1);
    run(w, MINUTE_TURNS, -1);
    assert_int_equal(w->ended, 1);
    assert_int_equal(w->class, CLASS_OVER_LIMIT);
}

/* A limit's jobs fill a lane that stands still: the last ones make room, wait for the limit, and
 * are pulled as it has something to give. */
static void test_what_waits_for_a_limit_makes_room(void **state)
{
    struct world *w = *state;
    set_rules(w, six_a_minute, 1);
    world_fill_lane(w);
    give(w, 0);
    (void)path_tick(w->path);
    int oldest_parked = 0;
    for (int i = 0; i < SHORT_WAIT_US / TURN_US - 20; i++)
        world_turn(w);
    assert_int_equal(w->parked, 0); /* it might move on by itself */
    for (int i = 0; i < 50; i++)
        world_turn(w);
    assert_in_range(w->parked, LANE_JOBS / 2, LANE_JOBS * 3 / 4);
    assert_int_equal(w->park_key, -7);
    for (int i = 0; i < LANE_JOBS / 4; i++)
        oldest_parked += w->is_over[i];
    assert_int_equal(oldest_parked, 0); /* those that are to go soon stay */
    assert_false(path_lane_paused(w->path, 0));
}

static void test_rows_of_a_limit_are_pulled_as_there_is_room(void **state)
{
    static const struct admission_rule rules[] = {
        RULE(7, LIMIT_MODEL, "m0", LIMIT_REQUESTS_PER_MINUTE, 6000),
        RULE(9, LIMIT_APP, "app", LIMIT_TOKENS_PER_DAY, 6000),
    };
    struct world *w = *state;
    set_rules(w, rules, 2);
    world_due(w, -7, 1000);
    assert_in_range(w->pulled_rows, 1, 10); /* to ask for a share with */
    assert_int_equal(w->pull_key, -7);
    world_due(w, -8, 20); /* no such limit any more: routing decides anew */
    assert_in_range(w->pulled_rows, 21, 30);
    w->pulled_rows = 0;
    world_add_record(w, 0);
    world_turn(w);
    give(w, 120);
    world_due(w, -7, 1000);
    assert_in_range(w->pulled_rows, 10, 20); /* five seconds of it, and a few */
    struct admission_chunk wants, spent = {9, 1, 0};
    for (int i = 0; i < 4; i++) {
        give(w, 120);
        for (int turn = 0; turn < SECOND_US / TURN_US; turn++)
            world_turn(w);
    }
    assert_int_equal(path_lane_jobs(w->path, 0), 1); /* the day has not given anything yet */
    for (int i = 0; i < 10; i++)
        world_add_record(w, 0);
    w->pulled_rows = 0;
    world_due(w, -9, 1000);
    assert_int_equal(w->pulled_rows, 0); /* more wait than there is to ask with */
    assert_int_equal(admission_day_wants(w->admission, &wants, 1, w->now_us), 1);
    admission_day_comes(w->admission, &spent, w->now_us + 3600 * INT64_C(1000000), w->now_us);
    w->pulled_rows = 0;
    world_due(w, -9, 1000);
    assert_int_equal(w->pulled_rows, 0); /* nothing is left today */
}

/* One app's jobs wait here for all that the limit has for the next seconds: another's rows come all
 * the same, up to half of it, and no more of its own. */
static void test_rows_of_a_limit_are_pulled_by_app(void **state)
{
    static const struct admission_rule rules[] = {
        RULE(7, LIMIT_MODEL, "m0", LIMIT_REQUESTS_PER_MINUTE, 6000)};
    const struct pull_app due[] = {{.app = SPAN_LIT("app"), .rows = 1000},
                                   {.app = SPAN_LIT("late"), .rows = 1000}};
    struct world *w = *state;
    set_rules(w, rules, 1);
    for (int i = 0; i < 50; i++)
        world_add_record(w, 0);
    world_turn(w);
    give(w, 120);
    path_due(w->path, -7, 0, due, 1);
    assert_int_equal(w->pulled_rows, 0);
    path_due(w->path, -7, 0, due, 2);
    assert_in_range(w->pulled_of_others, 5, 10); /* half of five seconds of it, and a few */
    assert_int_equal(w->pulled_rows, w->pulled_of_others);
}

/* Rows that wait for an endpoint come as its own limits let them go, and not as many as it could
 * have at once: they would fill the lane that others' rows are to come into. */
static void test_rows_of_an_endpoint_are_pulled_as_its_limits_have_room(void **state)
{
    static const struct admission_rule rules[] = {
        RULE(7, LIMIT_ENDPOINT, "m0@1", LIMIT_REQUESTS_PER_MINUTE, 6000),
        RULE(8, LIMIT_ENDPOINT, "m0@1", LIMIT_INPUT_TOKENS_PER_MINUTE, 6000),
        RULE(9, LIMIT_ENDPOINT, "m1@1", LIMIT_REQUESTS_PER_MINUTE, 6000),
    };
    struct world *w = *state;
    struct err err = {0};
    for (int i = 0; i < ENDPOINTS; i++)
        w->endpoints[i].max_in_flight = 64;
    path_free(w->path);
    assert_int_equal(world_make_path(w, &err), RC_OK);
    path_assigned(w->path, 0, 0, 1);
    path_skips(w->path, NULL, 0);
    world_due(w, 1, 1000);
    assert_int_equal(w->pulled_rows, LANE_JOBS / 2); /* as the lane has room */
    set_rules(w, rules, 3);
    w->pulled_rows = 0;
    world_due(w, 1, 1000);
    assert_in_range(w->pulled_rows, 1, 10); /* to ask for a share with */
    w->pulled_rows = 0;
    world_add_record(w, 1);
    world_turn(w);
    give(w, 240);
    world_due(w, 2, 1000);
    assert_in_range(w->pulled_rows, 20, 30); /* five seconds of it, and a few */
}

/* Where limits have held it back stands in what it waited for. */
static void test_what_a_job_waited_for(void **state)
{
    struct world *w = *state;
    set_rules(w, six_a_minute, 1);
    world_add_record(w, 0);
    for (int i = 0; i < 300; i++)
        world_turn(w);
    give(w, 6);
    for (int s = 0; s < 20 && !w->call_count; s++) {
        give(w, 6);
        for (int i = 0; i < SECOND_US / TURN_US; i++)
            world_turn(w);
    }
    assert_int_equal(w->call_count, 1);
    const struct job *job = w->calls[0];
    assert_int_equal(waits_most(&job->held), 7);
    assert_in_range(job->held.us, 3 * SECOND_US, 20 * SECOND_US);
    assert_true(job->held.us <= job->throttle_us);
    world_end_call(w, 0, 200, "y");
}

/* Several limits, one after the other: each has its part, also one that is no more when the job
 * goes on. */
static void test_what_a_job_waited_for_in_turn(void **state)
{
    static const struct admission_rule both[] = {
        RULE(7, LIMIT_MODEL, "m0", LIMIT_REQUESTS_PER_MINUTE, 600),
        RULE(8, LIMIT_MODEL, "m0", LIMIT_TOKENS_PER_DAY, 100000)};
    struct world *w = *state;
    set_rules(w, both, 2);
    world_add_record(w, 0);
    assert_int_equal(run(w, 4 * SECOND_US / TURN_US, -1), 0);  /* nobody has a share of the first */
    assert_int_equal(run(w, 6 * SECOND_US / TURN_US, 600), 0); /* no chunk of the day has come */
    set_rules(w, both, 1);
    for (int i = 0; i < 5 * SECOND_US / TURN_US && !w->call_count; i++)
        (void)run(w, 1, 600);
    assert_int_equal(w->call_count, 1);
    const struct waits *held = &w->calls[0]->held;
    assert_int_equal(held->all[0].limit_id, 7);
    assert_in_range(held->all[0].us, 3 * SECOND_US, 6 * SECOND_US);
    assert_int_equal(held->all[1].limit_id, 8);
    assert_in_range(held->all[1].us, 4 * SECOND_US, 7 * SECOND_US);
    assert_int_equal(held->us, held->all[0].us + held->all[1].us);
    assert_true(held->us <= w->calls[0]->throttle_us);
    world_end_call(w, 0, 200, "y");
}

enum { KNOWN = 50, SOON_TURNS = 30 };

/* Records that were here before, and one that was not behind them. */
static void come_again(struct world *w)
{
    for (int i = 0; i < KNOWN; i++) {
        w->is_over[w->offset] = true;
        world_add_record(w, 0);
    }
    world_add_record(w, 0);
}

/* So many turns, with a share; how many claims there were. */
static int claims_in(struct world *w, int turns, int64_t share)
{
    int claims = 0;
    for (int i = 0; i < turns; i++) {
        if (share >= 0 && i % (SECOND_US / TURN_US) == 0)
            give(w, share);
        world_turn(w);
        claims += w->claim_count;
    }
    return claims;
}

/* A limit that lets one call go in a while is for those that are to be called. */
static void test_what_is_known_takes_no_turns(void **state)
{
    struct world *w = *state;
    set_rules(w, six_a_minute, 1);
    come_again(w);
    assert_int_equal(claims_in(w, SOON_TURNS, -1), 0);
    assert_int_equal(path_lane_jobs(w->path, 0), 1);
    assert_int_equal(w->watermark, KNOWN);
    assert_int_equal(claims_in(w, 12 * SECOND_US / TURN_US, 6), 1);
    assert_int_equal(w->call_count, 1);
    assert_int_equal(w->times_asked, 1); /* what is not known is asked for once */
    world_end_call(w, 0, 200, "y");
    world_turn(w);
    assert_int_equal(w->watermark, KNOWN + 1);
}

/* Long after partitions came nothing is expected, until a claim is told so. */
static void test_one_that_is_known_tells_of_more(void **state)
{
    struct world *w = *state;
    w->call_us = TURN_US;
    set_rules(w, six_a_minute, 1);
    world_add_record(w, 0);
    assert_int_equal(claims_in(w, 12 * SECOND_US / TURN_US, 6), 1);
    assert_int_equal(claims_in(w, 5 * SECOND_US / TURN_US, 6), 0);
    assert_int_equal(w->ended, 1);
    w->times_asked = 0;
    world_add_record(w, 0);
    world_add_record(w, 0);
    assert_int_equal(claims_in(w, 5 * SECOND_US / TURN_US, 6), 1);
    assert_int_equal(w->times_asked, 0); /* one waits, and is not thought to be known */
    come_again(w);
    assert_in_range(claims_in(w, 40 * SECOND_US / TURN_US, 6), 3, 12);
    assert_int_equal(w->watermark, KNOWN + 4);
    assert_int_equal(w->ended, 4);
}

/* Whoever moved on before the answer came is not touched by it. */
static void test_known_too_late(void **state)
{
    struct world *w = *state;
    struct buf value;
    set_rules(w, six_a_minute, 1);
    world_add_record(w, 0);
    world_add_record(w, 0);
    (void)claims_in(w, 12 * SECOND_US / TURN_US, 6);
    assert_int_equal(w->call_count, 1);
    path_known(w->path, &w->calls[0]->msg.job_id); /* it is being called */
    assert_int_equal(path_jobs(w->path, JOB_CALL), 1);
    struct jobid waits = w->asked[1];
    assert_int_equal(w->asked_offsets[1], 1);
    world_make_record(1, 0, (struct span){NULL, 0}, &value);
    path_revoke(w->path, true); /* the other is let go ... */
    assert_int_equal(path_lane_jobs(w->path, 0), 0);
    path_known(w->path, &waits); /* ... and nobody has it */
    world_end_call(w, 0, 200, "y");
    world_turn(w);
    path_assigned(w->path, 0, 0, 2);
    path_skips(w->path, NULL, 0);
    world_deliver(w, 1, 2, buf_span(&value)); /* it comes back */
    buf_done(&value);
    w->is_over[1] = true;
    (void)claims_in(w, SOON_TURNS, -1);
    assert_int_equal(path_lane_jobs(w->path, 0), 0);
    assert_int_equal(w->watermark, 2);
}

/* Postgres is away: they are asked for when it is back. What no limit holds back is not. */
static void test_what_is_asked_for(void **state)
{
    struct world *w = *state;
    set_rules(w, six_a_minute, 1);
    w->no_asks = true;
    come_again(w);
    world_add_record(w, 1);
    assert_int_equal(claims_in(w, SOON_TURNS, -1), 1);
    assert_int_equal(path_lane_jobs(w->path, 0), KNOWN + 1);
    w->no_asks = false;
    for (int i = 0; i < SOON_TURNS && !w->asked_count; i++)
        (void)path_tick(w->path), w->now_us += TURN_US;
    assert_int_equal(w->asked_count, KNOWN + 1);
    world_turn(w);
    assert_int_equal(path_lane_jobs(w->path, 0), 1);
    path_drain(w->path);
    assert_int_equal(path_lane_jobs(w->path, 0), 0);
}

/* What a worker wants of its one limit. */
static int64_t wants(struct world *w)
{
    const struct admission_say *says;
    size_t n;
    int64_t number;
    struct err err = {0};
    assert_int_equal(admission_exchange(w->admission, w->now_us, &says, &n, &number, &err), RC_OK);
    return n && says[0].want_count ? says[0].wants[0].units : 0;
}

/* Partitions go and come: what waited is let go of, and wanted still. */
static void test_a_rebalance_moves_no_wants(void **state)
{
    struct world *w = *state;
    set_rules(w, six_a_minute, 1);
    for (int i = 0; i < 20; i++)
        world_add_record(w, 0);
    (void)run(w, 10, -1);
    assert_int_equal(wants(w), 20);
    path_revoke(w->path, false);
    assert_int_equal(path_lane_jobs(w->path, 0), 0);
    assert_int_equal(wants(w), 20);
    w->now_us += 10 * SECOND_US;
    assert_int_equal(wants(w), 0);
}

static void test_who_stops_wants_nothing(void **state)
{
    struct world *w = *state;
    set_rules(w, six_a_minute, 1);
    for (int i = 0; i < 20; i++)
        world_add_record(w, 0);
    (void)run(w, 10, -1);
    path_drain(w->path);
    path_revoke(w->path, false);
    assert_int_equal(wants(w), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_limit_holds_back_its_own_jobs_alone),
        TEST(test_calls_in_flight),
        TEST(test_calls_that_run_count),
        TEST(test_limits_come_while_jobs_wait),
        TEST(test_nothing_leaves_without_a_lease),
        TEST(test_what_can_never_go_is_refused),
        TEST(test_what_can_never_go_again_is_refused),
        TEST(test_old_limits_refuse_nothing),
        TEST(test_what_waits_for_a_limit_makes_room),
        TEST(test_rows_of_a_limit_are_pulled_as_there_is_room),
        TEST(test_rows_of_a_limit_are_pulled_by_app),
        TEST(test_rows_of_an_endpoint_are_pulled_as_its_limits_have_room),
        TEST(test_what_a_job_waited_for),
        TEST(test_what_a_job_waited_for_in_turn),
        TEST(test_what_is_known_takes_no_turns),
        TEST(test_one_that_is_known_tells_of_more),
        TEST(test_known_too_late),
        TEST(test_what_is_asked_for),
        TEST(test_a_rebalance_moves_no_wants),
        TEST(test_who_stops_wants_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
