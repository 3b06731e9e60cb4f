/*
 * test_window.c - what a share lets through: tables of the simple cases, and the rule itself, held
 * by another count over random lives of a share.
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

#include "common/limits.h"
#include "worker/window.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define SECOND INT64_C(1000000)
__extension__ typedef __int128 i128;

static const int64_t start_us = INT64_C(77) * 24 * 3600 * 1000 * 1000 + 12345;

static void window_send(struct window *w, int64_t units, int64_t now_us)
{
    window_take(w, units, now_us);
    window_leave(w, units, now_us);
}

/* A window that has had this share for so long. */
static struct window *with(int64_t share, int64_t for_us)
{
    struct window *w = malloc(sizeof *w);
    assert_non_null(w);
    window_init(w, window_minute_us(20), start_us - for_us);
    window_share(w, share, start_us - for_us);
    return w;
}

static void test_minutes(void **state)
{
    (void)state;
    assert_int_equal(window_minute_us(0), 60000225); /* in whole slots */
    assert_int_equal(window_minute_us(20), 61224735);
    assert_int_equal(window_minute_us(500), 120000195);
    for (int i = 0; i <= 500; i++) {
        int64_t us = window_minute_us(i);
        assert_int_equal(us % 255, 0);
        assert_true(us * (1000 - i) >= 60 * SECOND * 1000);
    }
}

static void test_nothing_without_a_share(void **state)
{
    (void)state;
    struct window *w = with(0, 0);
    assert_false(window_has(w, 1, start_us));
    assert_true(window_has(w, 0, start_us));
    assert_int_equal(window_when(w, 1, start_us), INT64_MAX);
    assert_false(window_has(w, 1, start_us + 3600 * SECOND));
    free(w);
}

/* A share starts empty, gains evenly, and never holds more than a minute of itself. */
static void test_gains(void **state)
{
    (void)state;
    int64_t minute = window_minute_us(20);
    static const int64_t shares[] = {1, 2, 3, 60, 499, 100000, LIMIT_PER_MINUTE_MAX};
    for (size_t i = 0; i < COUNT(shares); i++) {
        int64_t share = shares[i];
        struct window *w = with(share, 0);
        int64_t first = start_us + (minute + share - 1) / share;
        assert_false(window_has(w, 1, first - 1));
        assert_true(window_has(w, 1, first + minute / 255)); /* its first slot was no whole one */
        for (int day = 0; day < 3; day++) {
            int64_t at = start_us + 2 * minute + day * 86400 * SECOND + day * 1234567;
            assert_true(window_has(w, share, at));
            assert_false(window_has(w, share + 1, at));
        }
        free(w);
    }
}

/* All of a minute's units at once, when nothing was sent before; then again when they are over. */
static void test_sent_units_count_for_a_minute(void **state)
{
    (void)state;
    int64_t minute = window_minute_us(20);
    struct window *w = with(10, minute);
    window_send(w, 10, start_us);
    assert_int_equal(window_sent(w, start_us), 10);
    assert_false(window_has(w, 1, start_us + minute));
    int64_t again = window_when(w, 10, start_us);
    assert_true(again > start_us + minute && again <= start_us + minute + minute / 255);
    assert_false(window_has(w, 10, again - 1));
    assert_true(window_has(w, 10, again));
    assert_int_equal(window_sent(w, again), 0);
    free(w);
}

/* The first comes when its unit is gained, the others one by one at the pace of the share. */
static void test_pace(void **state)
{
    (void)state;
    int64_t minute = window_minute_us(20), now = start_us;
    struct window *w = with(60, minute);
    int at_once = 0;
    while (window_has(w, 1, now)) {
        window_send(w, 1, now);
        at_once++;
    }
    assert_int_equal(at_once, WINDOW_PACE_US * 60 / minute + 1); /* what was saved up, and one */
    int sent = 0;
    for (int64_t end = now + 50 * SECOND; now < end; now = window_when(w, 1, now)) {
        if (!window_has(w, 1, now))
            continue;
        window_send(w, 1, now);
        assert_false(window_has(w, 1, now));
        sent++;
    }
    assert_in_range(sent, 48, 50);
    free(w);
}

static void test_a_large_job_goes_when_a_minute_has_room(void **state)
{
    (void)state;
    int64_t minute = window_minute_us(20);
    struct window *w = with(10000, 0);
    int64_t at = window_when(w, 8000, start_us);
    assert_in_range(at - start_us, minute * 8 / 10, minute * 8 / 10 + 1);
    assert_true(window_has(w, 8000, at));
    window_send(w, 8000, at);
    assert_int_equal(window_when(w, 10001, at), INT64_MAX);
    int64_t second = window_when(w, 8000, at);
    assert_in_range(second - at, minute, minute + minute / 255);
    assert_true(window_has(w, 8000, second));
    free(w);
}

/* A lower share is held only once the last call is paid for; nothing goes meanwhile. */
static void test_a_lower_share_waits_for_what_was_sent(void **state)
{
    (void)state;
    int64_t minute = window_minute_us(20), slot = minute / 255;
    static const struct {
        int64_t share, units, lower;
    } rows[] = {{100, 10, 50}, {100, 10, 0}, {100, 100, 99}, {100, 0, 1}, {5000, 1, 4000}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct window *w = with(rows[i].share, 2 * minute);
        window_send(w, rows[i].units, start_us);
        window_share(w, rows[i].lower, start_us);
        int64_t paid = start_us + minute * rows[i].units / rows[i].share, at = start_us;
        assert_int_equal(window_holds(w, paid), rows[i].share);
        while (window_holds(w, at) == rows[i].share) {
            assert_false(window_has(w, 1, at));
            at = window_when(w, 1, at);
            assert_true(at <= paid + 2 * slot + 1);
        }
        assert_int_equal(window_holds(w, at), rows[i].lower);
        /* What it had not used is gone: the lower share begins with nothing. */
        assert_false(window_has(w, 1, at));
        assert_false(window_has(w, rows[i].lower / 2 + 1, at + minute / 2));
        assert_true(window_has(w, rows[i].lower / 2 - 1, at + minute / 2 + slot));
        free(w);
    }
}

/* When it holds what it was lowered to. */
static int64_t lowered_at(struct window *w, int64_t share, int64_t now)
{
    window_share(w, share, now);
    while (window_holds(w, now) != share)
        now = window_when(w, 1, now);
    return now;
}

/* What was paid for when the share fell is not paid for again when it falls further: others have
 * had their part of it since. What was sent in between is. */
static void test_what_is_paid_is_paid_once(void **state)
{
    (void)state;
    int64_t minute = window_minute_us(20), slot = minute / 255;
    struct window *w = with(1000, 2 * minute);
    window_send(w, 500, start_us);
    int64_t at = lowered_at(w, 800, start_us);
    assert_in_range(at - start_us, minute / 2, minute / 2 + 2 * slot + 1);
    int64_t again = lowered_at(w, 500, at);
    assert_in_range(again - at, 0, slot + 1);
    assert_true(window_is_paid(w, again));
    at = again + minute / 2;
    assert_true(window_has(w, 240, at));
    window_send(w, 100, at);
    assert_false(window_is_paid(w, at + slot));
    again = lowered_at(w, 400, at);
    assert_in_range(again - at, minute / 5, minute / 5 + 2 * slot + 1);
    free(w);
}

/* As soon as it may, until then; returns when it may again. */
static int64_t keep_sending(struct window *w, int64_t units, int64_t now, int64_t until)
{
    for (; now < until; now = window_when(w, units, now))
        while (window_has(w, units, now))
            window_send(w, units, now);
    return now;
}

/* A worker that uses all of its share at its pace owes a call at most, and what it had saved up: it
 * is silent for little more than the rest of a slot. */
static void test_who_keeps_the_pace_owes_little(void **state)
{
    (void)state;
    int64_t minute = window_minute_us(20), slot = minute / 255;
    static const struct {
        int64_t share, units;
    } rows[] = {{1800, 1}, {600, 1}, {100000, 100}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct window *w = with(rows[i].share, minute);
        int64_t pace = minute * rows[i].units / rows[i].share;
        int64_t now = keep_sending(w, rows[i].units, start_us, start_us + 3 * minute);
        for (int k = 0; k < 20; k++) {
            int64_t at = lowered_at(w, rows[i].share - k - 1, now);
            int64_t saved_up = k ? 0 : WINDOW_PACE_US;
            assert_in_range(at - now, 0, slot + pace + saved_up + 1);
            now = keep_sending(w, rows[i].units, at, at + 5 * SECOND);
        }
        free(w);
    }
}

static void test_a_share_that_came_has_gained_nothing(void **state)
{
    (void)state;
    int64_t minute = window_minute_us(20);
    struct window *w = with(100, 2 * minute);
    window_send(w, 100, start_us);
    window_share(w, 200, start_us);
    assert_int_equal(window_holds(w, start_us), 200);
    assert_false(window_has(w, 1, start_us));
    assert_true(window_has(w, 49, start_us + minute / 2));
    assert_false(window_has(w, 51, start_us + minute / 2));
    free(w);
}

/* While a call is still to leave, a lower share waits; what comes meanwhile is held afterwards. */
static void test_a_call_that_has_not_left_holds_its_share(void **state)
{
    (void)state;
    int64_t minute = window_minute_us(20), at = start_us;
    struct window *w = with(100, 2 * minute);
    window_take(w, 1, at);
    window_share(w, 10, at);
    assert_int_equal(window_holds(w, at + 10 * minute), 100);
    window_share(w, 30, at + 10 * minute);
    assert_int_equal(window_holds(w, at + 11 * minute), 100);
    window_give_back(w, 1, at + 11 * minute);
    assert_int_equal(window_holds(w, at + 12 * minute), 30);
    assert_int_equal(window_sent(w, at + 12 * minute), 0);
    free(w);
}

static void test_settles(void **state)
{
    (void)state;
    int64_t minute = window_minute_us(20), at = start_us, later = start_us + 20 * SECOND;
    static const struct {
        int64_t used, after_us, left_then, left_after_minute;
    } rows[] = {
        {500, 20, 500, 1000},     {0, 20, 1000, 1000}, {200, 20, 800, 1000}, {700, 20, 300, 800},
        {2500, 20, -1500, -1000}, {0, 70, 1000, 1000}, {700, 70, 800, 800},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct window *w = with(1000, minute);
        window_send(w, 500, at);
        int64_t then = at + rows[i].after_us * SECOND;
        window_settle(w, 500, rows[i].used, at, then);
        int64_t left = 1000 - window_sent(w, then);
        if (left != rows[i].left_then)
            fail_msg("row %zu: %lld are left", i, (long long)left);
        if (rows[i].after_us < 60)
            assert_int_equal(1000 - window_sent(w, at + minute + SECOND),
                             rows[i].left_after_minute);
        free(w);
    }
    struct window *w = with(1000, minute);
    window_send(w, 1000, at);
    window_settle(w, 1000, LIMIT_PER_MINUTE_MAX * 5, at, later); /* absurd usage is cut */
    assert_int_equal(window_sent(w, later), 1000 + LIMIT_PER_MINUTE_MAX);
    for (int i = 0; i < 1000; i++)
        window_settle(w, 0, INT64_MAX / 2, at, later);
    assert_false(window_has(w, 1, later + 50 * SECOND));
    assert_false(window_has(w, 1, later + minute + SECOND)); /* the pace remembers */
    free(w);
}

/* Taken units count until they leave, and for a minute after that. */
static void test_a_slow_claim(void **state)
{
    (void)state;
    int64_t minute = window_minute_us(20);
    struct window *w = with(10, 2 * minute);
    window_take(w, 10, start_us);
    for (int i = 0; i < 4; i++)
        assert_false(window_has(w, 1, start_us + i * minute));
    assert_int_equal(window_when(w, 1, start_us), INT64_MAX); /* nothing else makes room */
    window_leave(w, 10, start_us + 4 * minute);
    assert_int_equal(window_sent(w, start_us + 5 * minute), 10);
    assert_false(window_has(w, 1, start_us + 5 * minute));
    assert_int_equal(window_sent(w, start_us + 5 * minute + SECOND), 0);
    free(w);
}

/* Saturated with jobs of one unit: nearly all of the share, at any size, for hours. */
static void test_uses_its_share(void **state)
{
    (void)state;
    static const int64_t shares[] = {1, 2, 7, 60, 499, 5000};
    int64_t minute = window_minute_us(20);
    for (size_t i = 0; i < COUNT(shares); i++) {
        struct window *w = with(shares[i], minute);
        int64_t now = start_us, end = start_us + 60 * minute, sent = 0;
        while (now < end) {
            while (window_has(w, 1, now)) {
                window_send(w, 1, now);
                sent++;
            }
            now = window_when(w, 1, now);
        }
        if (sent < shares[i] * 60 * 985 / 1000 || sent > shares[i] * 61)
            fail_msg("share %lld: %lld sent", (long long)shares[i], (long long)sent);
        free(w);
    }
}

/* ---- the rule, counted again ----------------------------------------------------------------- */

enum { EVENTS = 3000 };

struct life {
    uint64_t seed;
    struct window w;
    int64_t now_us;
    struct sent {
        int64_t at_us, units;
    } sent[EVENTS];
    struct share {
        int64_t from_us, share;
    } shares[EVENTS];
    int sent_count, share_count;
    int waiting; /* the last so many of `sent` are taken and have not left */
    int64_t units, may;
    bool exceeds; /* calls may take more than was reserved */
};

static uint64_t draw(struct life *l, uint64_t below)
{
    l->seed += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    uint64_t z = l->seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (z ^ (z >> 31)) % below;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* What others must leave to it, from when on: what it says that it holds, and what it may. */
static void note(struct life *l)
{
    int64_t share = larger(window_holds(&l->w, l->now_us), l->may);
    if (share != l->shares[l->share_count - 1].share)
        l->shares[l->share_count++] = (struct share){l->now_us, share};
}

/* Of the minute that ends now: what was sent, times its length, and what was held. */
static void check(struct life *l)
{
    int64_t from = l->now_us - l->w.minute_us, end = l->now_us;
    i128 sent = 0, held = 0;
    for (int i = 0; i < l->sent_count - l->waiting; i++)
        if (l->sent[i].at_us > from)
            sent += l->sent[i].units;
    for (int i = l->share_count - 1; i >= 0 && end > from; i--) {
        held += (i128)l->shares[i].share * (end - larger(l->shares[i].from_us, from));
        end = l->shares[i].from_us;
    }
    if (sent * l->w.minute_us > held)
        fail_msg("seed %llu: %lld units in a minute that held %lld", (unsigned long long)l->seed,
                 (long long)sent, (long long)(held / l->w.minute_us));
}

static void take_some(struct life *l)
{
    int64_t units = (int64_t)draw(l, (uint64_t)l->units / (1 + draw(l, 30)) + 1);
    if (!window_has(&l->w, units, l->now_us))
        return;
    window_take(&l->w, units, l->now_us);
    l->sent[l->sent_count++] = (struct sent){l->now_us, units};
    l->waiting++;
}

/* Those that were taken leave, or one does not. */
static void leave_some(struct life *l)
{
    if (l->waiting && draw(l, 5) == 0) {
        window_give_back(&l->w, l->sent[--l->sent_count].units, l->now_us);
        l->waiting--;
    }
    for (; l->waiting; l->waiting--) {
        struct sent *s = &l->sent[l->sent_count - l->waiting];
        window_leave(&l->w, s->units, l->now_us);
        s->at_us = l->now_us;
    }
}

/* A call ends: it took less, or more. */
static void end_some(struct life *l)
{
    if (l->sent_count == l->waiting)
        return;
    uint64_t left = (uint64_t)(l->sent_count - l->waiting);
    struct sent *s = &l->sent[left - 1 - draw(l, left < 9 ? 1 : 9)];
    int64_t used = (int64_t)draw(l, (uint64_t)s->units + 1);
    if (draw(l, 3) || !l->exceeds) {
        window_settle(&l->w, s->units, used, s->at_us, l->now_us);
        s->units = used;
    } else {
        window_settle(&l->w, s->units, s->units + used, s->at_us, l->now_us);
    }
}

static void live(uint64_t seed)
{
    static struct life l; /* large */
    memset(&l, 0, sizeof l);
    static const int64_t units[] = {2, 5, 60, 1000, 200000, LIMIT_PER_MINUTE_MAX};
    l.seed = seed;
    l.units = units[draw(&l, COUNT(units))];
    l.exceeds = draw(&l, 2);
    l.now_us = (int64_t)draw(&l, 1000000) * SECOND;
    window_init(&l.w, window_minute_us((int)draw(&l, 50)), l.now_us);
    l.shares[l.share_count++] = (struct share){l.now_us, 0};
    uint64_t calm = 1 + draw(&l, 40);
    static const uint64_t steps[] = {2, 1000, 300000, 5 * 1000000, 200 * 1000000};
    while (l.sent_count < EVENTS - 1 && l.share_count < EVENTS && draw(&l, 2000)) {
        l.now_us += (int64_t)draw(&l, steps[draw(&l, draw(&l, 20) ? 4 : 5)]);
        note(&l);
        if (draw(&l, calm) == 0) {
            l.may = draw(&l, 4) ? (int64_t)draw(&l, (uint64_t)l.units) : 0;
            window_share(&l.w, l.may, l.now_us);
        }
        if (draw(&l, 3) == 0)
            leave_some(&l);
        else if (draw(&l, 5))
            take_some(&l);
        else
            end_some(&l);
        note(&l);
        check(&l);
    }
}

static void test_no_minute_has_more_than_it_gained(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++)
        live(seed);
}

/* What window_when says is never late by more than two slots, nor does it ask in a busy loop. */
static void test_when_is_neither_late_nor_busy(void **state)
{
    (void)state;
    struct life l = {.seed = 7};
    struct window *w = with(0, 0), *probe = malloc(sizeof *probe);
    int64_t now = start_us, slot = window_minute_us(20) / 255;
    int asked = 0, reached = 0;
    for (int i = 0; i < 4000; i++) {
        now += (int64_t)draw(&l, 4 * (uint64_t)SECOND);
        if (draw(&l, 10) == 0)
            window_share(w, (int64_t)draw(&l, 1000), now);
        int64_t units = 1 + (int64_t)draw(&l, 100);
        if (window_has(w, units, now)) {
            window_send(w, units, now);
            continue;
        }
        *probe = *w;
        int64_t at = now, when = now;
        for (int tries = 0; !window_has(probe, units, at) && when != INT64_MAX; tries++) {
            when = window_when(probe, units, at);
            assert_true(when > at);
            assert_true(tries < 260);
            at = when == INT64_MAX ? at : when;
            asked++;
        }
        if (when == INT64_MAX || at - now < 3 * slot)
            continue;
        *probe = *w; /* two slots before it could not go */
        assert_false(window_has(probe, units, at - 2 * slot));
        reached++;
    }
    assert_true(reached > 100 && asked < 8 * reached);
    free(w);
    free(probe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_minutes),
        cmocka_unit_test(test_nothing_without_a_share),
        cmocka_unit_test(test_gains),
        cmocka_unit_test(test_sent_units_count_for_a_minute),
        cmocka_unit_test(test_pace),
        cmocka_unit_test(test_a_large_job_goes_when_a_minute_has_room),
        cmocka_unit_test(test_a_lower_share_waits_for_what_was_sent),
        cmocka_unit_test(test_what_is_paid_is_paid_once),
        cmocka_unit_test(test_who_keeps_the_pace_owes_little),
        cmocka_unit_test(test_a_share_that_came_has_gained_nothing),
        cmocka_unit_test(test_a_call_that_has_not_left_holds_its_share),
        cmocka_unit_test(test_settles),
        cmocka_unit_test(test_a_slow_claim),
        cmocka_unit_test(test_uses_its_share),
        cmocka_unit_test(test_no_minute_has_more_than_it_gained),
        cmocka_unit_test(test_when_is_neither_late_nor_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
