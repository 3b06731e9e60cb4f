/*
 * test_lanes.c - dispatch by weight, minimum shares, age, idle lanes, blocked endpoints, full
 * lanes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "worker/job.h"
#include "worker/lanes.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum { ENDPOINTS_MAX = 130 };

struct blocked {
    bool on[ENDPOINTS_MAX];
    int asked;
};

static bool can_run(void *arg, int endpoint)
{
    struct blocked *b = arg;
    b->asked++;
    return !b->on[endpoint];
}

static struct lanes *make(const struct lane_conf *conf, int lanes, int endpoints)
{
    struct lanes *l = NULL;
    struct err err = {0};
    enum rc rc = lanes_new(conf, lanes, endpoints, &l, &err);
    if (rc != RC_OK)
        fail_msg("%s", err.text);
    return l;
}

static const struct lane_conf three[] = {
    {"high", 60, 0, 100000, 1 << 30, 0},
    {"normal", 30, 0, 100000, 1 << 30, 0},
    {"low", 10, 0, 100000, 1 << 30, 0},
};

static void push(struct lanes *l, struct job *job, int lane, int endpoint, int64_t since_us)
{
    *job = (struct job){.lane = lane,
                        .endpoint = endpoint,
                        .payload_bytes = 10,
                        .waiting_since_us = since_us,
                        .msg.app = {"app", 3},
                        .heap_index = -1};
    lanes_push(l, job);
}

static struct job *next_job(struct lanes *l, struct blocked *b)
{
    return lanes_next(l, can_run, &(struct flow_ask){.arg = b});
}

/* One dispatch; -1: nothing could run. The job goes back behind the others of its lane. */
static int turn(struct lanes *l, struct blocked *b)
{
    struct job *job = next_job(l, b);
    if (!job)
        return -1;
    lanes_remove(l, job);
    lanes_push(l, job);
    return job->lane;
}

static void clear(void *arg, struct job *job)
{
    lanes_remove(arg, job);
}

static void done(struct lanes *l)
{
    lanes_walk(l, clear, l);
    lanes_free(l);
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        struct lane_conf conf[2];
        int lanes, endpoints;
    } rows[] = {
        {{{"a", 1, 0, 1, 1, 0}}, 0, 1},    {{{"a", 1, 0, 1, 1, 0}}, LANES_MAX + 1, 1},
        {{{"a", 1, 0, 1, 1, 0}}, 1, -1},   {{{"a", 0, 0, 1, 1, 0}}, 1, 1},
        {{{"a", 1001, 0, 1, 1, 0}}, 1, 1}, {{{"a", 1, -1, 1, 1, 0}}, 1, 1},
        {{{"a", 1, 1001, 1, 1, 0}}, 1, 1}, {{{"a", 1, 0, 0, 1, 0}}, 1, 1},
        {{{"a", 1, 0, 1, 0, 0}}, 1, 1},    {{{"a", 1, 501, 1, 1, 0}, {"b", 1, 500, 1, 1, 0}}, 2, 1},
        {{{"a", 1, 0, 1, 1, -1}}, 1, 1},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct lanes *l = NULL;
        struct err err = {0};
        assert_int_equal(lanes_new(rows[i].conf, rows[i].lanes, rows[i].endpoints, &l, &err),
                         RC_REJECT);
        assert_null(l);
        assert_true(err.text[0]);
    }
    lanes_free(NULL);
}

/* Shares of many dispatches while every lane has work, by weight and minimum: within 2 % of each.
 */
static void test_shares(void **state)
{
    (void)state;
    static const struct {
        int lanes;
        int weight[4], least[4];
        double share[4];
    } rows[] = {
        {3, {60, 30, 10}, {0}, {.6, .3, .1}},
        {3, {1000, 1, 1}, {0}, {1000. / 1002, 1. / 1002, 1. / 1002}},
        {2, {1, 1}, {0}, {.5, .5}},
        {3, {98, 1, 1}, {0, 0, 50}, {.95 * 98 / 99, .95 / 99, .05}},
        {3, {98, 1, 1}, {0, 100, 50}, {.85, .1, .05}},
        {4, {1, 1, 1, 1}, {400, 300, 200, 100}, {.4, .3, .2, .1}},
        {1, {7}, {1000}, {1}},
    };
    enum { TURNS = 100000, JOBS = 40 };
    for (size_t row = 0; row < COUNT(rows); row++) {
        struct lane_conf conf[4];
        struct job jobs[JOBS];
        struct blocked b = {0};
        int turns[4] = {0};
        for (int i = 0; i < rows[row].lanes; i++)
            conf[i] =
                (struct lane_conf){"x", rows[row].weight[i], rows[row].least[i], 100, 10000, 0};
        struct lanes *l = make(conf, rows[row].lanes, 2);
        for (int i = 0; i < JOBS; i++)
            push(l, &jobs[i], i % rows[row].lanes, i / 8 % 2, i);
        for (int i = 0; i < TURNS; i++)
            turns[turn(l, &b)]++;
        for (int i = 0; i < rows[row].lanes; i++) {
            double share = turns[i] / (double)TURNS, want = rows[row].share[i];
            if (share < want * .98 || share > want * 1.02)
                fail_msg("row %zu lane %d: share %f, wanted %f", row, i, share, want);
        }
        done(l);
    }
}

/* high always has young jobs; low's have waited for so long already. Its weight of 10 beside 60
 * counts once more for each 100 s, up to 8 times. */
static void test_age_boosts(void **state)
{
    (void)state;
    static const struct {
        int64_t age_us, boost_us;
        double share; /* of low */
    } rows[] = {
        {0, 100000000, 10. / 70},          {99999999, 100000000, 10. / 70},
        {100000000, 100000000, 20. / 80},  {500000000, 100000000, 60. / 120},
        {700000000, 100000000, 80. / 140}, {INT64_MAX / 2, 100000000, 80. / 140},
        {INT64_MAX / 2, 0, 10. / 70},      {-5, 100000000, 10. / 70}, /* a clock behind */
    };
    enum { TURNS = 10000 };
    for (size_t row = 0; row < COUNT(rows); row++) {
        const struct lane_conf conf[] = {{"high", 60, 0, 100, 10000, rows[row].boost_us},
                                         {"low", 10, 0, 100, 10000, rows[row].boost_us}};
        struct lanes *l = make(conf, 2, 1);
        struct job jobs[2];
        struct blocked b = {0};
        int turns[2] = {0};
        push(l, &jobs[0], 0, 0, 0);
        push(l, &jobs[1], 1, 0, 0);
        jobs[1].queue_us = rows[row].age_us / 2; /* in Kafka, then in a lane: both are its age */
        jobs[1].throttle_us = rows[row].age_us - jobs[1].queue_us;
        for (int i = 0; i < TURNS; i++)
            turns[turn(l, &b)]++;
        double share = turns[1] / (double)TURNS;
        if (share < rows[row].share * .98 || share > rows[row].share * 1.02)
            fail_msg("row %zu: share %f, wanted %f", row, share, rows[row].share);
        done(l);
    }
}

/* Any window of dispatches, not only the long run: low is never without a turn for long. */
static void test_no_starving(void **state)
{
    (void)state;
    static const struct lane_conf conf[] = {
        {"high", 1000, 0, 100, 10000, 0}, {"low", 1, 50, 100, 10000, 0}, /* a twentieth */
    };
    struct lanes *l = make(conf, 2, 1);
    struct job jobs[4];
    struct blocked b = {0};
    for (int i = 0; i < 4; i++)
        push(l, &jobs[i], i % 2, 0, i);
    for (int i = 0, since = 0; i < 10000; i++) {
        since = turn(l, &b) == 1 ? 0 : since + 1;
        assert_true(since <= 21);
    }
    done(l);
}

static void test_idling_earns_nothing(void **state)
{
    (void)state;
    struct lanes *l = make(three, 3, 1);
    struct job jobs[3];
    struct blocked b = {0};
    push(l, &jobs[2], 2, 0, 0);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(turn(l, &b), 2); /* alone, low has everything */
    push(l, &jobs[0], 0, 0, 0);           /* and owes nothing for it: high wakes */
    int turns[3] = {0};
    for (int i = 0; i < 700; i++)
        turns[turn(l, &b)]++;
    assert_in_range(turns[0], 594, 606); /* 6 to 1 from the first turn on */
    assert_in_range(turns[2], 94, 106);
    done(l);
}

/* ---- limits ---------------------------------------------------------------------------------- */

struct limited {
    struct blocked endpoints; /* none */
    int64_t free_at[3];       /* by gate */
};

static int64_t free_at(void *arg, struct job *job)
{
    return ((struct limited *)arg)->free_at[job->gate];
}

static struct job *next_limited(struct lanes *l, struct limited *m, int64_t now, int64_t *ret_next)
{
    struct flow_ask ask = {.free_at = free_at, .arg = m, .now_us = now};
    struct job *job = lanes_next(l, can_run, &ask);
    *ret_next = ask.next_us;
    return job;
}

static void put(struct lanes *l, struct job *job, int lane, int gate)
{
    push(l, job, lane, 0, gate);
    lanes_remove(l, job);
    job->gate = gate;
    lanes_push(l, job);
}

/* A lane that its limit holds back leaves its turns to others, and has none to make good. */
static void test_a_limit_holds_back_a_lane(void **state)
{
    (void)state;
    struct lanes *l = make(three, 3, 1);
    static struct job jobs[30];
    for (int i = 0; i < 30; i++)
        put(l, &jobs[i], i % 3, i % 3);
    struct limited m = {.free_at = {50, 0, 0}};
    int turns[3] = {0};
    int64_t next;
    for (int i = 0; i < 400; i++)
        turns[next_limited(l, &m, 10, &next)->lane]++;
    assert_int_equal(turns[0], 0);
    assert_in_range(turns[1], 298, 302); /* 3 to 1 */
    size_t held;
    assert_non_null(lanes_blocked(l, 0, true, &held));
    assert_int_equal(held, 10);
    assert_null(lanes_blocked(l, 1, true, &held));
    assert_int_equal(lanes_ready(l, 0), 20);
    m.free_at[0] = 0;
    memset(turns, 0, sizeof turns);
    for (int i = 0; i < 1000; i++)
        turns[next_limited(l, &m, 50, &next)->lane]++;
    assert_in_range(turns[0], 594, 606);
    m = (struct limited){.free_at = {90, 80, INT64_MAX}};
    assert_null(next_limited(l, &m, 60, &next));
    assert_int_equal(next, 80);
    m.free_at[2] = 0;
    lanes_wake(l, false);
    assert_int_equal(next_limited(l, &m, 60, &next)->lane, 2);
    done(l);
}

/* All lanes wait for one limit that lets one call go at a time: it goes by weight. */
static void test_lanes_share_a_limit(void **state)
{
    (void)state;
    struct lanes *l = make(three, 3, 1);
    static struct job jobs[3];
    for (int i = 0; i < 3; i++)
        put(l, &jobs[i], i, 0);
    struct limited m = {0};
    int turns[3] = {0};
    int64_t next;
    for (int64_t now = 0; now < 1000; now++) {
        m.free_at[0] = 0;
        turns[next_limited(l, &m, now, &next)->lane]++;
        m.free_at[0] = now + 1;
        assert_null(next_limited(l, &m, now, &next));
        assert_int_equal(next, now + 1);
    }
    assert_in_range(turns[0], 594, 606);
    assert_in_range(turns[2], 96, 104);
    done(l);
}

/* One lane, and in it one app, have far more to do elsewhere. That is no reason to have less of a
 * limit that others wait for as well. */
static void test_who_is_busy_elsewhere_has_a_part_of_a_limit(void **state)
{
    (void)state;
    struct lanes *l = make(three, 3, 2);
    static struct job jobs[5];
    static const struct {
        int lane, endpoint; /* which is the gate as well */
        const char *app;
    } rows[] = {{1, 0, "app"}, {0, 1, "app"}, {1, 1, "app"}, {2, 1, "app"}, {1, 1, "few"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        jobs[i] = (struct job){.lane = rows[i].lane,
                               .endpoint = rows[i].endpoint,
                               .gate = rows[i].endpoint,
                               .payload_bytes = 10,
                               .msg.app = span_of(rows[i].app),
                               .heap_index = -1};
        lanes_push(l, &jobs[i]);
    }
    struct limited m = {0};
    int turns[COUNT(rows)] = {0};
    for (int64_t now = 0; now < 20000; now++) {
        int64_t next;
        m.free_at[0] = now;
        m.free_at[1] = now % 20 ? now + 1 : now;
        struct job *job = next_limited(l, &m, now, &next);
        assert_non_null(job);
        if (job->endpoint == 1)
            m.free_at[1] = now + 1;
        turns[job - jobs]++;
        lanes_remove(l, job);
        lanes_push(l, job);
    }
    assert_in_range(turns[1], 590, 610); /* of the thousand that the limit let go: 60, 30 and 10 */
    assert_in_range(turns[2] + turns[4], 290, 310);
    assert_in_range(turns[3], 90, 110);
    assert_in_range(turns[4], 140, 160); /* and of the lane's, each app as much */
    assert_in_range(turns[0], 18900, 19100);
    done(l);
}

static void test_blocked_endpoint(void **state)
{
    (void)state;
    struct lanes *l = make(three, 3, 130);
    static struct job jobs[1002];
    struct blocked b = {.on = {[0] = true}};
    for (int i = 0; i < 1000; i++)
        push(l, &jobs[i], 0, 0, i); /* an endpoint that is down, ahead of all */
    push(l, &jobs[1000], 0, 129, 5000);
    push(l, &jobs[1001], 0, 64, 6000);
    struct job *first = next_job(l, &b);
    assert_ptr_equal(first, &jobs[1000]); /* the longest waiting of those that can run */
    assert_int_equal(b.asked, 3);         /* once per endpoint with jobs */
    lanes_remove(l, first);
    assert_ptr_equal(next_job(l, &b), &jobs[1001]);
    lanes_remove(l, &jobs[1001]);
    assert_null(next_job(l, &b));
    b.on[0] = false;
    assert_ptr_equal(next_job(l, &b), &jobs[0]);
    assert_int_equal(lanes_jobs(l, 0), 1000); /* it stays until it is removed */
    done(l);
}

/* A lane whose endpoint is busy most of the time: blocked turns are not saved up, and lanes that
 * stood blocked together keep their shares when the endpoint opens for one call at a time. */
static void test_busy_endpoint_keeps_shares(void **state)
{
    (void)state;
    struct lanes *l = make(three, 3, 1);
    struct job jobs[3];
    struct blocked b = {0};
    int turns[3] = {0};
    for (int i = 0; i < 3; i++)
        push(l, &jobs[i], i, 0, i);
    for (int i = 0; i < 10000; i++) {
        turns[turn(l, &b)]++;
        b.on[0] = true;
        assert_int_equal(turn(l, &b), -1);
        b.on[0] = false;
    }
    assert_in_range(turns[0], 5900, 6100);
    assert_in_range(turns[1], 2940, 3060);
    assert_in_range(turns[2], 980, 1020);
    done(l);
}

static void test_looking(void **state)
{
    (void)state;
    struct lanes *l = make(three, 3, 3);
    struct job jobs[4];
    assert_null(lanes_peek(l, -1, -1));
    push(l, &jobs[0], 0, 0, 30);
    push(l, &jobs[1], 0, 0, 40);
    push(l, &jobs[2], 1, 0, 20);
    push(l, &jobs[3], 1, 2, 10);
    static const struct {
        int lane, endpoint, job;
        size_t waiting;
    } rows[] = {{0, 0, 0, 2},  {1, 0, 2, 1},  {-1, 0, 2, 3}, {1, 2, 3, 1},
                {-1, 2, 3, 1}, {0, 1, -1, 0}, {2, 0, -1, 0}, {-1, 1, -1, 0}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct job *want = rows[i].job < 0 ? NULL : &jobs[rows[i].job];
        assert_ptr_equal(lanes_peek(l, rows[i].lane, rows[i].endpoint), want);
        assert_int_equal(lanes_waiting(l, rows[i].lane, rows[i].endpoint), rows[i].waiting);
    }
    assert_ptr_equal(lanes_peek(l, 0, -1), &jobs[0]);
    assert_ptr_equal(lanes_peek(l, 1, -1), &jobs[3]);
    assert_ptr_equal(lanes_peek(l, -1, -1), &jobs[3]);
    assert_int_equal(lanes_jobs(l, 1), 2);
    assert_int_equal(lanes_bytes(l, 1), 20);
    done(l);
}

static void test_full(void **state)
{
    (void)state;
    static const struct lane_conf conf = {"a", 1, 0, 10, 1000, 0};
    struct lanes *l = make(&conf, 1, 1);
    struct job jobs[10];
    for (int i = 0; i < 10; i++) {
        assert_false(lanes_full(l, 0));
        push(l, &jobs[i], 0, 0, i);
    }
    for (int i = 0; i < 5; i++) {
        assert_true(lanes_full(l, 0));
        lanes_remove(l, &jobs[i]);
    }
    assert_false(lanes_full(l, 0)); /* half is left */
    push(l, &jobs[0], 0, 0, 0);
    assert_false(lanes_full(l, 0));
    lanes_remove(l, &jobs[0]);
    jobs[0].payload_bytes = 950; /* now by bytes */
    lanes_push(l, &jobs[0]);
    assert_true(lanes_full(l, 0));
    lanes_remove(l, &jobs[0]);
    assert_false(lanes_full(l, 0));
    assert_int_equal(lanes_bytes(l, 0), 50);
    done(l);
}

/* Jobs stay where they are; the next dispatches go by the new shares and bounds. */
static void test_configure(void **state)
{
    (void)state;
    struct lanes *l = make(three, 3, 1);
    struct blocked b = {0};
    struct job jobs[60];
    struct err err = {0};
    int turns[3] = {0};
    for (int i = 0; i < 60; i++)
        push(l, &jobs[i], i % 3, 0, i);
    struct lane_conf other[] = {{"high", 10, 0, 10, 1 << 30, 0},
                                {"normal", 10, 0, 50, 1 << 30, 0},
                                {"low", 80, 0, 50, 1 << 30, 0}};
    struct lane_conf bad[] = {other[0], other[1], {"low", 0, 0, 50, 1 << 30, 0}};
    assert_int_equal(lanes_configure(l, bad, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "low"));
    assert_false(lanes_full(l, 0)); /* nothing of it holds */
    assert_int_equal(lanes_configure(l, other, &err), RC_OK);
    assert_true(lanes_full(l, 0)); /* 20 jobs, 10 are the bound: they stay */
    assert_false(lanes_full(l, 1));
    assert_int_equal(lanes_jobs(l, 0), 20);
    for (int i = 0; i < 1000; i++)
        turns[turn(l, &b)]++;
    assert_in_range(turns[2], 790, 810);
    assert_in_range(turns[0], 90, 110);
    done(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_age_boosts),
        cmocka_unit_test(test_no_starving),
        cmocka_unit_test(test_idling_earns_nothing),
        cmocka_unit_test(test_a_limit_holds_back_a_lane),
        cmocka_unit_test(test_lanes_share_a_limit),
        cmocka_unit_test(test_who_is_busy_elsewhere_has_a_part_of_a_limit),
        cmocka_unit_test(test_blocked_endpoint),
        cmocka_unit_test(test_busy_endpoint_keeps_shares),
        cmocka_unit_test(test_looking),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_configure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
