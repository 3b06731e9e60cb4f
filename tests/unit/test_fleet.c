/*
 * test_fleet.c - the fleet under shared limits: never more than a limit arrives in any 60 s, nearly
 * all of it while there is work, fair parts of it. FLEET_SEED=n plays one seed, FLEET_TEST=pattern
 * some of the tests.
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

#include "tests/unit/fleet_world.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct limit draw_limit(struct fleet *dice, const struct plan *p)
{
    static const enum limit_dimension dimensions[] = {LIMIT_REQUESTS_PER_MINUTE,
                                                      LIMIT_INPUT_TOKENS_PER_MINUTE,
                                                      LIMIT_TOKENS_PER_MINUTE, LIMIT_IN_FLIGHT};
    enum limit_dimension d = dimensions[fleet_draw(dice, COUNT(dimensions))];
    int64_t few = fleet_between(dice, 1, 10), calls = few + 1;
    if (fleet_draw(dice, 3))
        calls = few * fleet_between(dice, 1, 10) * fleet_between(dice, 1, 10) + 5;
    return (struct limit){d, limit_is_tokens(d) ? calls * p->units_max : calls};
}

static struct plan draw_plan(struct fleet *dice)
{
    struct plan p = {
        .workers = 1 + (int)fleet_draw(dice, 1 + (int64_t)fleet_draw(dice, 24)),
        .limits = 1 + (int)fleet_draw(dice, LIMITS),
        .sources = 1 + (int)fleet_draw(dice, SOURCES),
        .units_min = fleet_between(dice, 1, 500),
        .lasts_us = fleet_between(dice, 100 * MS, 3 * SECOND),
        .jitter_us = fleet_draw(dice, 2) ? 1100 * MS : fleet_between(dice, 0, 1000 * MS),
        .claim_us = fleet_between(dice, MS, 200 * MS),
        .minutes = 8,
        .lose_permille = fleet_draw(dice, 3) ? 0 : (int)fleet_draw(dice, 100),
        .mishap_every_us = fleet_draw(dice, 4) ? fleet_between(dice, 2, 30) * SECOND : 0};
    p.units_max = p.units_min * fleet_between(dice, 1, 10);
    for (int l = 0; l < p.limits; l++)
        p.limit[l] = draw_limit(dice, &p);
    return p;
}

/* Is this limit large enough for all its workers to have several of the largest call a minute? */
static bool is_large(const struct fleet *w, int limit)
{
    int64_t alive = 0,
            call = limit_is_tokens(w->plan.limit[limit].dimension) ? w->plan.units_max : 1;
    for (int i = 0; i < w->worker_count; i++)
        alive += !w->workers[i].dead;
    return w->witness[limit].amount >= alive * call * 40;
}

/* The fullest of the limits binds the others. */
static void check_used(const struct fleet *w, uint64_t seed)
{
    int64_t most = 0;
    bool alive = false;
    for (int i = 0; i < w->worker_count; i++)
        alive = alive || (!w->workers[i].dead && !w->workers[i].idle);
    for (int l = 0; l < w->plan.limits; l++) {
        int64_t used = fleet_used(w, l, 2 * MINUTE);
        if (!is_large(w, l) || w->plan.limit[l].dimension == LIMIT_IN_FLIGHT)
            return;
        most = used > most ? used : most;
    }
    if (alive && w->plan.lose_permille == 0 && most < 950)
        fail_msg("seed %llu: %lld permille used", (unsigned long long)seed, (long long)most);
}

static void test_never_above_a_limit(void **state)
{
    (void)state;
    const char *only = getenv("FLEET_SEED");
    uint64_t from = only ? strtoull(only, NULL, 10) : 1;
    for (uint64_t seed = from; seed <= (only ? from : 300); seed++) {
        struct fleet dice = {.seed = seed};
        struct plan p = draw_plan(&dice);
        struct fleet *w = fleet_begin(seed, &p);
        fleet_play(w, w->end_us);
        check_used(w, seed);
        fleet_end(w);
    }
}

/* Small and large fleets, with nothing going wrong: what is used of one limit. */
static void test_uses_what_is_allowed(void **state)
{
    (void)state;
    static const struct {
        int workers;
        enum limit_dimension dimension;
        int64_t amount, units_max, least_permille, minutes;
    } rows[] = {
        {1, LIMIT_REQUESTS_PER_MINUTE, 10, 1, 950, 10},
        {1, LIMIT_REQUESTS_PER_MINUTE, 5000, 1, 950, 4},
        {4, LIMIT_REQUESTS_PER_MINUTE, 500, 1, 950, 6},
        {20, LIMIT_REQUESTS_PER_MINUTE, 500, 1, 950, 6},
        {20, LIMIT_INPUT_TOKENS_PER_MINUTE, 200000, 200, 950, 6},
        {100, LIMIT_REQUESTS_PER_MINUTE, 3000, 1, 950, 5},
        {1000, LIMIT_REQUESTS_PER_MINUTE, 5000, 1, 950, 4},
        /* Few calls a worker and minute: half a call of each is lost, and turns take their time. */
        {4, LIMIT_INPUT_TOKENS_PER_MINUTE, 200000, 2000, 930, 6},
        {4, LIMIT_INPUT_TOKENS_PER_MINUTE, 20000, 4000, 500, 30},
        {1, LIMIT_INPUT_TOKENS_PER_MINUTE, 10000, 8000, 400, 30},
        {3, LIMIT_INPUT_TOKENS_PER_MINUTE, 10000, 8000, 300, 60},
        {100, LIMIT_REQUESTS_PER_MINUTE, 50, 1, 600, 60},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct plan p = {.workers = rows[i].workers,
                         .limits = 1,
                         .limit = {{rows[i].dimension, rows[i].amount}},
                         .sources = 1,
                         .units_min = (rows[i].units_max + 1) / 2,
                         .units_max = rows[i].units_max,
                         .lasts_us = SECOND,
                         .jitter_us = 800 * MS,
                         .claim_us = 20 * MS,
                         .minutes = rows[i].minutes};
        struct fleet *w = fleet_begin(i + 1, &p);
        fleet_play(w, w->end_us);
        int64_t used = fleet_used(w, 0, (rows[i].minutes - 2) * MINUTE);
        print_message("%4d workers, %lld %s, calls of up to %lld: %.1f %%\n", rows[i].workers,
                      (long long)rows[i].amount, limit_dimension_name((int)rows[i].dimension),
                      (long long)rows[i].units_max, (double)used / 10);
        if (used < rows[i].least_permille || used > 1000)
            fail_msg("%lld permille used", (long long)used);
        fleet_end(w);
    }
}

static void near(const char *what, int64_t part, int64_t all, double expected)
{
    double has = (double)part / (double)all;
    if (has < expected * .95 || has > expected * 1.05)
        fail_msg("%s: %.3f of all, not %.3f", what, has, expected);
}

static const struct plan fair_plan = {.workers = 6,
                                      .limits = 1,
                                      .limit = {{LIMIT_REQUESTS_PER_MINUTE, 1200}},
                                      .sources = 1,
                                      .units_min = 1,
                                      .units_max = 1,
                                      .lasts_us = SECOND,
                                      .jitter_us = 500 * MS,
                                      .claim_us = 20 * MS,
                                      .minutes = 12};

static void test_shares_fairly(void **state)
{
    (void)state;
    struct plan p = fair_plan;
    p.shape = BY_LANE;
    struct fleet *w = fleet_begin(1, &p);
    fleet_play(w, w->end_us);
    int64_t all = w->by_lane[0] + w->by_lane[1] + w->by_lane[2];
    assert_true(all > 9 * 1100);
    near("lane of weight 60", w->by_lane[0], all, .6);
    near("lane of weight 30", w->by_lane[1], all, .3);
    near("lane of weight 10", w->by_lane[2], all, .1);
    fleet_end(w);

    p.shape = BY_APP;
    p.workers = 20;
    w = fleet_begin(2, &p);
    fleet_play(w, w->end_us);
    all = w->by_app[0] + w->by_app[1] + w->by_app[2];
    assert_true(all > 9 * 1100);
    near("an app on 18 workers", w->by_app[0], all, 1 / 3.);
    near("an app on one", w->by_app[1], all, 1 / 3.);
    near("another", w->by_app[2], all, 1 / 3.);
    fleet_end(w);
}

/* Three workers want 100 : 1 : 0; the first one dies, and the third has work then. */
static void test_hundred_one_none(void **state)
{
    (void)state;
    struct plan p = fair_plan;
    p.shape = HUNDRED_ONE_NONE;
    p.workers = 3;
    struct fleet *w = fleet_begin(3, &p);
    fleet_play(w, w->now_us + 4 * MINUTE);
    assert_true(fleet_used(w, 0, MINUTE) >= 950);
    w->workers[0].dead = true;
    fleet_busy(w, 2, &w->workers[2].sources[0]);
    fleet_wake(w, 2, w->now_us + 1);
    fleet_play(w, w->now_us + SHARES_DEAD_US + 6 * SECOND);
    fleet_play(w, w->now_us + MINUTE);
    int64_t used = fleet_used(w, 0, MINUTE);
    if (used < 950)
        fail_msg("%lld permille used once the dead one's share was free", (long long)used);
    fleet_end(w);
}

/* A worker whose small wants come and go beside one that has nearly all: each time that the large
 * share is lowered its worker is silent for a moment, which must not be more than the small one
 * gains. */
static void test_small_wants_that_flicker_cost_little(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct plan p = fair_plan;
        p.shape = HUNDRED_ONE_NONE;
        p.workers = 3;
        p.limit[0].amount = 1800;
        struct fleet *w = fleet_begin(seed, &p);
        fleet_play(w, w->now_us + MINUTE);
        for (int i = 0; i < 40; i++) {
            w->workers[1].sources[0].every_us = fleet_between(w, 1, 8) * SECOND;
            fleet_play(w, w->now_us + 3 * SECOND);
        }
        int64_t used = fleet_used(w, 0, 2 * MINUTE);
        if (used < 962)
            fail_msg("seed %llu: %lld permille used", (unsigned long long)seed, (long long)used);
        fleet_end(w);
    }
}

/* One that has made a large call stops: who gets its share begins with nothing, but the minute of
 * that call is not over. */
static void test_who_stops_leaves_what_is_paid(void **state)
{
    (void)state;
    enum { AMOUNT = 1000, LARGE = 900 };
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct plan p = fair_plan;
        p.workers = 2;
        p.limit[0] = (struct limit){LIMIT_INPUT_TOKENS_PER_MINUTE, AMOUNT};
        p.units_min = p.units_max = 5;
        struct fleet *w = fleet_begin(seed, &p);
        struct source *s = &w->workers[0].sources[0];
        s->units_min = s->units_max = s->next_units = LARGE;
        fleet_play(w, w->now_us + 2 * MINUTE + (int64_t)seed * SECOND);
        w->workers[0].stopping = true;
        fleet_wake(w, 0, w->now_us + 1);
        fleet_play(w, w->now_us + 3 * MINUTE);
        assert_true(w->workers[0].dead);
        assert_true(fleet_used(w, 0, MINUTE) >= 950);
        fleet_end(w);
    }
}

/* Its calls were small; then one is large, and it dies before it has said so again. */
static void test_a_large_call_right_before_the_end(void **state)
{
    (void)state;
    enum { AMOUNT = 1000, SMALL = 5, LARGE = 400 };
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct plan p = fair_plan;
        p.workers = 2;
        p.limit[0] = (struct limit){LIMIT_INPUT_TOKENS_PER_MINUTE, AMOUNT};
        p.units_min = p.units_max = SMALL;
        struct fleet *w = fleet_begin(seed, &p);
        for (int i = 0; i < 2; i++)
            fleet_seldom(w, i, 10 * SECOND);
        fleet_play(w, w->now_us + 3 * MINUTE + (int64_t)seed * 100 * MS);
        struct source *s = &w->workers[0].sources[0];
        s->units_min = s->units_max = s->next_units = LARGE;
        while (w->witness[0].sum < LARGE)
            fleet_play(w, w->now_us + 10 * MS);
        w->workers[0].dead = true;
        fleet_busy(w, 1, &w->workers[1].sources[0]);
        fleet_wake(w, 1, w->now_us + 1);
        fleet_play(w, w->now_us + 2 * MINUTE);
        fleet_end(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_above_a_limit),
        cmocka_unit_test(test_uses_what_is_allowed),
        cmocka_unit_test(test_shares_fairly),
        cmocka_unit_test(test_hundred_one_none),
        cmocka_unit_test(test_small_wants_that_flicker_cost_little),
        cmocka_unit_test(test_who_stops_leaves_what_is_paid),
        cmocka_unit_test(test_a_large_call_right_before_the_end),
    };
    cmocka_set_test_filter(getenv("FLEET_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
