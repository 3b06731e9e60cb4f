/*
 * test_flows.c - apps take turns, deadlines come first, blocked endpoints are passed over, and more
 * apps than can be told apart share a place.
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
#include "worker/flows.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum { ENDPOINTS = 70 };

static const uint64_t all[2] = {UINT64_MAX, UINT64_MAX};

static struct flows *make(void)
{
    struct flows *t = flows_new(ENDPOINTS);
    assert_non_null(t);
    return t;
}

static void set(struct job *job, const char *app, int endpoint, int64_t deadline_ms, int64_t since)
{
    *job = (struct job){
        .msg = {.app = {app, strlen(app)}, .deadline_ms = deadline_ms},
        .endpoint = endpoint,
        .waiting_since_us = since,
        .heap_index = -1,
    };
}

/* The next one leaves; NULL: none. */
static struct job *take(struct flows *t, const uint64_t *endpoints)
{
    struct job *job = flows_next(t, endpoints, NULL);
    if (job) {
        flows_turn(t, job);
        flows_remove(t, job);
    }
    return job;
}

/* Letters are apps, in the order of their jobs' coming; then the order in which they are served. */
static void test_apps_take_turns(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", ""},
        {"aaa", "aaa"},
        {"aaab", "abaa"},
        {"aaaaabb", "ababaaa"},
        {"aaabbbccc", "abcabcabc"},
        {"abcabcaaa", "abcabcaaa"},
        {"caaaaaaaab", "cabaaaaaaa"},
    };
    for (size_t row = 0; row < COUNT(rows); row++) {
        struct flows *t = make();
        struct job jobs[16];
        char served[17] = "";
        for (size_t i = 0; rows[row][0][i]; i++) {
            const char app[2] = {rows[row][0][i]};
            set(&jobs[i], app, (int)i % 3, 0, (int64_t)i);
            flows_push(t, &jobs[i]);
            jobs[i].msg.app.p = rows[row][0] + i; /* the name was copied, or lasts */
        }
        for (struct job *job; (job = take(t, all));)
            served[strlen(served)] = job->msg.app.p[0];
        assert_string_equal(served, rows[row][1]);
        flows_free(t);
    }
}

/* A hundred thousand ahead of ten: these ten are among the first twenty. */
static void test_many_do_not_delay_few(void **state)
{
    (void)state;
    enum { MANY = 100000, FEW = 10 };
    struct flows *t = make();
    struct job *jobs = calloc(MANY + FEW, sizeof *jobs);
    assert_non_null(jobs);
    for (int i = 0; i < MANY + FEW; i++) {
        set(&jobs[i], i < MANY ? "big" : "small", 0, 0, i);
        flows_push(t, &jobs[i]);
    }
    int small = 0;
    for (int i = 0; i < 2 * FEW; i++)
        small += take(t, all) >= jobs + MANY;
    assert_int_equal(small, FEW);
    for (int i = 0; i < MANY - FEW; i++)
        assert_ptr_equal(take(t, all), &jobs[FEW + i]); /* in order */
    assert_null(take(t, all));
    flows_free(t);
    free(jobs);
}

/* Digits are deadlines, '-' is none, in the order of coming; then the places, served one by one. */
static void test_deadlines_come_first(void **state)
{
    (void)state;
    static const struct {
        const char *deadlines, *order;
    } rows[] = {
        {"-----", "01234"}, {"11111", "01234"}, {"123", "012"},         {"321", "210"},
        {"-1-1", "1302"},   {"3131", "1302"},   {"9191911", "1356024"}, {"213-3-1", "1602435"},
    };
    for (size_t row = 0; row < COUNT(rows); row++) {
        struct flows *t = make();
        struct job jobs[8];
        char served[9] = "";
        for (size_t i = 0; rows[row].deadlines[i]; i++) {
            char digit = rows[row].deadlines[i];
            set(&jobs[i], "app", (int)i % 2 * 65, digit == '-' ? 0 : digit - '0', (int64_t)i);
            flows_push(t, &jobs[i]);
        }
        for (struct job *job; (job = take(t, all));)
            served[strlen(served)] = (char)('0' + (job - jobs));
        assert_string_equal(served, rows[row].order);
        flows_free(t);
    }
}

static void test_blocked_endpoints(void **state)
{
    (void)state;
    struct flows *t = make();
    static const uint64_t none[2], only_1[2] = {1U << 1}, only_66[2] = {0, 1U << 2};
    struct job jobs[4];
    set(&jobs[0], "a", 0, 1, 0);
    set(&jobs[1], "a", 66, 0, 1);
    set(&jobs[2], "b", 1, 0, 2);
    set(&jobs[3], "b", 66, 0, 3);
    for (int i = 0; i < 4; i++)
        flows_push(t, &jobs[i]);
    assert_null(flows_next(t, none, NULL));
    assert_ptr_equal(take(t, only_1), &jobs[2]);
    assert_null(flows_next(t, only_1, NULL));
    assert_ptr_equal(flows_next(t, only_66, NULL), &jobs[1]); /* it had no turn yet ... */
    flows_turn(t, &jobs[1]);
    assert_ptr_equal(flows_next(t, only_66, NULL), &jobs[3]); /* ... and now had one */
    flows_turn(t, &jobs[3]);
    assert_ptr_equal(take(t, all), &jobs[0]);
    assert_ptr_equal(take(t, all), &jobs[3]);
    assert_ptr_equal(take(t, all), &jobs[1]);
    assert_null(flows_next(t, all, NULL));
    flows_free(t);
}

/* ---- limits hold some back ------------------------------------------------------------------- */

struct gates {
    int64_t free_at[8];
    int asked;
};

static int64_t free_at(void *arg, struct job *job)
{
    struct gates *g = arg;
    g->asked++;
    return g->free_at[job->gate];
}

static struct job *next_at(struct flows *t, struct gates *g, int64_t now, int64_t *ret_next)
{
    struct flow_ask ask = {free_at, g, now, INT64_MAX};
    struct job *job = flows_next(t, all, &ask);
    if (job)
        flows_turn(t, job);
    *ret_next = ask.next_us;
    return job;
}

static void test_gates_hold_back_their_own_jobs_alone(void **state)
{
    (void)state;
    struct flows *t = make();
    struct job jobs[5];
    static const int gates[] = {1, 1, 2, 3, 3};
    static const char *const apps[] = {"a", "a", "a", "b", "b"};
    for (int i = 0; i < 5; i++) {
        set(&jobs[i], apps[i], 0, 0, i);
        jobs[i].gate = gates[i];
        flows_push(t, &jobs[i]);
    }
    struct gates g = {.free_at = {0, 100, 0, INT64_MAX}};
    int64_t next;
    size_t held;
    assert_ptr_equal(next_at(t, &g, 10, &next), &jobs[2]); /* the older ones of its app wait */
    assert_ptr_equal(next_at(t, &g, 10, &next), &jobs[2]); /* b has nothing that may go */
    flows_remove(t, &jobs[2]);
    assert_null(next_at(t, &g, 10, &next));
    assert_int_equal(next, 100); /* then it is worth asking again, */
    int asked = g.asked;
    assert_null(next_at(t, &g, 99, &next));
    assert_int_equal(g.asked, asked); /* and not before */
    assert_ptr_equal(flows_blocked(t, false, &held), &jobs[3]);
    assert_ptr_equal(flows_blocked(t, true, &held), &jobs[4]);
    assert_int_equal(held, 4);
    assert_int_equal(flows_ready(t, 0), 0);
    g.free_at[1] = 100;
    assert_ptr_equal(next_at(t, &g, 100, &next), &jobs[0]);
    assert_int_equal(flows_ready(t, 0), 2);
    flows_remove(t, &jobs[0]);
    g.free_at[1] = 500;
    assert_null(next_at(t, &g, 100, &next));
    g.free_at[1] = g.free_at[3] = 0;
    flows_wake(t, false); /* what waits for no time: b */
    assert_ptr_equal(next_at(t, &g, 101, &next), &jobs[3]);
    flows_remove(t, &jobs[3]);
    g.free_at[3] = 700;
    assert_null(next_at(t, &g, 101, &next));
    assert_int_equal(next, 500);
    flows_wake(t, true);
    assert_ptr_equal(next_at(t, &g, 102, &next), &jobs[1]);
    flows_remove(t, &jobs[1]);
    struct job early;
    set(&early, "b", 0, 5, 9); /* before the one that waits until 700: another call to ask for */
    early.gate = 3;
    flows_push(t, &early);
    g.free_at[3] = 0;
    assert_ptr_equal(next_at(t, &g, 102, &next), &early);
    flows_remove(t, &early);
    flows_remove(t, &jobs[4]);
    assert_null(flows_blocked(t, true, &held));
    assert_int_equal(held, 0);
    flows_free(t);
}

/* More apps than are told apart: all are served, those with a place of their own in turn. */
static void test_further_apps(void **state)
{
    (void)state;
    enum { APPS = FLOWS_APPS + 50 };
    struct flows *t = make();
    static struct job jobs[APPS][2];
    char names[APPS][16];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < APPS; i++) {
            (void)snprintf(names[i], sizeof names[i], "app%d", i);
            set(&jobs[i][round], names[i], i % ENDPOINTS, 0, i);
            flows_push(t, &jobs[i][round]);
        }
    }
    for (int i = 0; i < FLOWS_APPS; i++)
        assert_ptr_equal(take(t, all), &jobs[i][0]);
    assert_in_range(take(t, all) - &jobs[0][0], 2 * FLOWS_APPS, 2 * APPS - 1);
    int left = 2 * APPS - FLOWS_APPS - 1;
    while (take(t, all))
        left--;
    assert_int_equal(left, 0);
    /* All are idle now: a new name takes the memory of the longest idle one, and its turn. */
    struct job fresh, old;
    set(&old, names[1], 0, 0, 0);
    set(&fresh, "fresh", 0, 0, 0);
    flows_push(t, &old);
    flows_push(t, &fresh);
    assert_ptr_equal(take(t, all), &old);
    assert_ptr_equal(take(t, all), &fresh);
    flows_free(t);
}

/* Jobs that leave without their turn: cancelled, parked, at random; nobody is lost or served twice,
 * and no app is served twice while another waits. */
/* An app with three quarters of the jobs is a crowd; what it would do last is what is named. */
static void test_a_crowd(void **state)
{
    (void)state;
    struct flows *t = make();
    struct job jobs[9];
    assert_null(flows_crowd(t));
    for (int i = 0; i < 6; i++)
        set(&jobs[i], "many", i % 2 * 3, i < 4 ? 0 : 100 + i, i);
    for (int i = 6; i < 9; i++)
        set(&jobs[i], i < 8 ? "few" : "one", 0, 0, i);
    for (int i = 0; i < 8; i++)
        flows_push(t, &jobs[i]);
    struct job *last = flows_crowd(t); /* 6 of 8, no deadline and the latest of its endpoint */
    assert_true(last == &jobs[2] || last == &jobs[3]);
    flows_push(t, &jobs[8]);
    assert_null(flows_crowd(t)); /* 6 of 9 */
    flows_remove(t, &jobs[8]);
    for (int i = 0; i < 8; i++)
        flows_remove(t, &jobs[i]);
    assert_null(flows_crowd(t));
    flows_free(t);
}

static void test_leaving_at_random(void **state)
{
    (void)state;
    enum { JOBS = 500, STEPS = 200000 };
    static struct job jobs[JOBS];
    static const char *const apps[] = {"a", "b", "c", "d"};
    struct flows *t = make();
    uint32_t random = 1;
    int waiting = 0;
    for (int step = 0; step < STEPS; step++) {
        random = random * 1664525U + 1013904223U;
        struct job *job = &jobs[(random >> 8) % JOBS];
        if (job->flow && random >> 30 == 0) {
            flows_remove(t, job);
            waiting--;
        } else if (random >> 31) {
            bool taken = take(t, all) != NULL;
            assert_int_equal(taken, waiting > 0);
            waiting -= taken;
        } else if (!job->flow) {
            set(job, apps[random % COUNT(apps)], (int)(random >> 4) % ENDPOINTS, (random >> 20) % 5,
                step);
            flows_push(t, job);
            waiting++;
        }
    }
    while (take(t, all))
        waiting--;
    assert_int_equal(waiting, 0);
    flows_free(t);
    flows_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apps_take_turns),
        cmocka_unit_test(test_many_do_not_delay_few),
        cmocka_unit_test(test_deadlines_come_first),
        cmocka_unit_test(test_blocked_endpoints),
        cmocka_unit_test(test_gates_hold_back_their_own_jobs_alone),
        cmocka_unit_test(test_further_apps),
        cmocka_unit_test(test_a_crowd),
        cmocka_unit_test(test_leaving_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
