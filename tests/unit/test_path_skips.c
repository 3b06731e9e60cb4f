/*
 * test_path_skips.c - records that an operator leaves out: none is looked at before it is known
 * which, with each assignment anew; those left out become letters of their bytes; while it is not
 * known the wait is bounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/path_world.h"

#define WHY "ann left it out: it crashes"
static const struct skip second = {.offset = 1, .reason = {WHY, sizeof WHY - 1}};

static int unread(const struct world *w)
{
    return (int)path_jobs(w->path, JOB_FETCHED);
}

static void deliver(struct world *w, int64_t offset, uint32_t epoch)
{
    struct buf value;
    world_make_record((int)offset, 0, (struct span){NULL, 0}, &value);
    world_deliver(w, offset, epoch, buf_span(&value));
    buf_done(&value);
}

/* The second of three is left out, and so is one that is no job at all. */
static void test_left_out_unseen(void **state)
{
    struct world *w = *state;
    const struct skip list[] = {second, {.offset = 3, .reason = SPAN_LIT("bob")}};
    w->call_us = TURN_US;
    path_assigned(w->path, 0, 0, 2);
    assert_int_equal(w->skips_asked, 2);
    for (int64_t offset = 0; offset < 3; offset++)
        deliver(w, offset, 2);
    world_deliver(w, 3, 2, SPAN_LIT("\xc1 is no msgpack"));
    world_turn(w);
    assert_int_equal(unread(w), 4);
    path_skips(w->path, list, 2);
    assert_int_equal(unread(w), 0);
    assert_int_equal(w->bury_count, 2);
    assert_string_equal(w->buries[0]->reason, WHY);
    assert_string_equal(w->buries[1]->reason, "bob");
    assert_int_equal(w->buries[0]->class, CLASS_SKIPPED);
    assert_int_equal(w->buries[1]->class, CLASS_SKIPPED);
    assert_int_equal(w->buries[0]->msg.app.n, 0); /* nobody looked into it */
    for (int i = 0; i < 10; i++)
        world_turn(w);
    assert_int_equal(w->buried, 2);
    assert_int_equal(w->ended, 2);
    assert_int_equal(w->watermark, 4);
}

/* Told while it runs: what comes later is left out. Told without it: it is not any more. */
static void test_told_between_records(void **state)
{
    struct world *w = *state;
    deliver(w, 0, 1);
    assert_int_equal(unread(w), 0);
    path_skips(w->path, &second, 1);
    deliver(w, 1, 1);
    assert_int_equal(w->bury_count, 1);
    path_skips(w->path, NULL, 0);
    path_revoke(w->path, true);
    path_assigned(w->path, 0, 0, 2);
    path_skips(w->path, NULL, 0);
    deliver(w, 1, 2);
    assert_int_equal(w->bury_count, 1);
}

/* Several partitions of one assignment ask once. Another partition's record, or another lane's, of
 * the same offset is not left out. */
static void test_asked_once_an_assignment(void **state)
{
    struct world *w = *state;
    path_assigned(w->path, 0, 0, 2);
    path_assigned(w->path, 0, 1, 2);
    path_assigned(w->path, 0, 2, 2);
    assert_int_equal(w->skips_asked, 2);
    const struct skip other = {.partition = 1, .offset = 0, .reason = SPAN_LIT("x")};
    path_skips(w->path, &other, 1);
    deliver(w, 0, 2);
    assert_int_equal(w->bury_count, 0);
}

/* A parked job has been decoded: its coordinates are no reason to lose it. */
static void test_parked_jobs_stay(void **state)
{
    struct world *w = *state;
    struct buf value;
    world_make_record(1, 0, (struct span){NULL, 0}, &value);
    struct parked_row row = {.number = 1, .offset = 1, .payload = buf_span(&value)};
    path_skips(w->path, &second, 1);
    path_pulled(w->path, &row);
    path_assigned(w->path, 0, 0, 2); /* nor do they wait to be told */
    path_pulled(w->path, &row);
    assert_int_equal(w->bury_count, 0);
    assert_int_equal(unread(w), 0);
    assert_int_equal(path_lane_jobs(w->path, 0), 1);
    buf_done(&value);
}

/* Nobody tells: lanes are paused at some point, and a revoke lets go of all. */
static void test_the_wait_is_bounded(void **state)
{
    enum { MANY = 1000 };
    struct world *w = *state;
    path_assigned(w->path, 0, 0, 2);
    deliver(w, 0, 2);
    (void)path_tick(w->path);
    assert_false(path_lane_paused(w->path, 0));
    for (int i = 1; i < MANY; i++)
        deliver(w, i, 2);
    (void)path_tick(w->path);
    assert_true(path_lane_paused(w->path, 0));
    path_revoke(w->path, false);
    assert_int_equal(unread(w), 0);
    (void)path_tick(w->path);
    assert_false(path_lane_paused(w->path, 0));
    assert_int_equal(path_memory_used(w->path), 0);
    assert_int_equal(w->watermark, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_left_out_unseen),          TEST(test_told_between_records),
        TEST(test_asked_once_an_assignment), TEST(test_parked_jobs_stay),
        TEST(test_the_wait_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
