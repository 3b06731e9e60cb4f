/*
 * test_path_catalogue.c - another catalogue under a path with jobs in it: what waits is routed
 * anew, what is being called stays, what is not needed any more is given back; each allocation
 * failing in turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/no_memory.h"
#include "tests/unit/path_world.h"

/* The world's catalogue with a third endpoint, and a second version of m0 there. */
struct wider {
    struct catalogue catalogue;
    struct cat_endpoint endpoints[ENDPOINTS + 1];
    struct cat_model_version versions[ENDPOINTS + 1];
    struct cat_model models[ENDPOINTS];
};

enum { NEW = ENDPOINTS, NEW_ID = 77 };

static void make_wider(struct wider *to, const struct world *w)
{
    memcpy(to->endpoints, w->endpoints, sizeof w->endpoints);
    memcpy(to->versions, w->versions, sizeof w->versions);
    memcpy(to->models, w->models, sizeof w->models);
    to->endpoints[NEW] = w->endpoints[0];
    to->endpoints[NEW].index = NEW;
    to->endpoints[NEW].db_id = NEW_ID;
    to->versions[NEW] = w->versions[0];
    to->versions[NEW].index = NEW;
    to->versions[NEW].endpoint = NEW;
    to->models[0].current = NEW;
    to->catalogue = w->catalogue;
    to->catalogue.endpoints = to->endpoints;
    to->catalogue.versions = to->versions;
    to->catalogue.models = to->models;
    to->catalogue.endpoint_count = to->catalogue.version_count = ENDPOINTS + 1;
}

static void take(struct world *w, struct catalogue *next)
{
    struct err err = {0};
    if (path_prepare(w->path, next, &err) != RC_OK)
        fail_msg("%s", err.text);
    path_take(w->path, next);
}

static int calls_to(const struct world *w, int endpoint)
{
    int calls = 0;
    for (int i = 0; i < w->call_count; i++)
        calls += w->calls[i]->endpoint == endpoint;
    return calls;
}

static void end_all_calls(struct world *w)
{
    while (w->call_count)
        world_end_call(w, 0, 200, "y");
    world_turn(w);
}

static void test_what_waits_is_routed_anew(void **state)
{
    struct world *w = *state;
    struct wider wider;
    make_wider(&wider, w);
    for (int i = 0; i < 6; i++)
        world_add_record(w, 0);
    world_add_record(w, 1);
    world_turn_until_called(w, AT_ONCE + 1);
    const struct cat_model_version *old = &w->versions[0];
    take(w, &wider.catalogue);
    assert_null(w->unused); /* calls refer to it */
    assert_int_equal(path_lane_jobs(w->path, 0), 6 - AT_ONCE);
    world_turn(w);
    world_turn(w);
    assert_int_equal(calls_to(w, 0), AT_ONCE);
    assert_int_equal(calls_to(w, NEW),
                     1); /* there is room for one more; though the old endpoint was full */
    for (int i = 0; i < w->call_count; i++)
        if (w->calls[i]->endpoint == 0)
            assert_ptr_equal(w->calls[i]->mv, old);
    w->call_us = TURN_US;
    while (w->call_count)
        end_all_calls(w);
    for (int i = 0; i < 100 && w->ended < 7; i++)
        world_turn(w);
    assert_int_equal(w->ended, 7);
    assert_ptr_equal(w->unused, &w->catalogue);
}

/* Nothing refers to it: it is given back at once. */
static void test_an_idle_catalogue_is_given_back(void **state)
{
    struct world *w = *state;
    struct wider wider;
    make_wider(&wider, w);
    take(w, &wider.catalogue);
    assert_ptr_equal(w->unused, &w->catalogue);
    world_add_record(w, 0);
    world_turn_until_called(w, 1);
    assert_int_equal(calls_to(w, NEW), 1);
}

/* A job whose call failed is called again as the catalogue then says. */
static void test_a_retry_goes_by_the_new_one(void **state)
{
    struct world *w = *state;
    struct wider wider;
    make_wider(&wider, w);
    world_add_record(w, 0);
    world_turn_until_called(w, 1);
    take(w, &wider.catalogue);
    world_end_call(w, 0, 500, "sorry");
    world_turn_until_called(w, 1);
    assert_int_equal(w->calls[0]->number, 2);
    assert_int_equal(w->calls[0]->endpoint, NEW);
    assert_int_equal(w->calls[0]->endpoint_id, NEW_ID);
    assert_ptr_equal(w->calls[0]->mv, &wider.versions[NEW]);
    assert_ptr_equal(w->unused, &w->catalogue);
}

static void test_a_retired_version_gets_no_new_call(void **state)
{
    struct world *w = *state;
    struct wider wider;
    make_wider(&wider, w);
    wider.models[0].current = 0;
    wider.versions[0].state = VERSION_RETIRED;
    for (int i = 0; i < 5; i++)
        world_add_record(w, 0);
    world_turn_until_called(w, AT_ONCE);
    take(w, &wider.catalogue);
    world_turn(w);
    assert_int_equal(w->call_count, AT_ONCE); /* they end by themselves */
    assert_int_equal(w->ended, 5 - AT_ONCE);
    assert_int_equal(w->class, CLASS_MODEL_NOT_LIVE);
    end_all_calls(w);
    assert_int_equal(w->ended, 5);
    assert_int_equal(w->class, CLASS_OK);
}

/* The model has left the file, and its endpoint with it. */
static void test_a_model_that_left(void **state)
{
    struct world *w = *state;
    struct wider wider;
    make_wider(&wider, w);
    wider.endpoints[1].left = wider.versions[1].left = true;
    wider.catalogue.model_count = 1;
    for (int i = 0; i < 4; i++)
        world_add_record(w, 1);
    world_turn_until_called(w, AT_ONCE);
    take(w, &wider.catalogue);
    world_turn(w);
    assert_int_equal(w->ended, 4 - AT_ONCE);
    assert_int_equal(w->class, CLASS_NO_MODEL);
    world_due(w, w->endpoints[1].db_id, 1000); /* nothing of it holds rows back */
    assert_int_equal(w->pulled_rows, LANE_JOBS / 2);
    end_all_calls(w);
    assert_int_equal(w->class, CLASS_OK);
}

/* An endpoint that is down: its jobs go elsewhere as soon as somebody says where, also those that
 * wait in `parked`, which no probe has to let go first. */
static void test_jobs_leave_a_dead_endpoint(void **state)
{
    struct world *w = *state;
    struct wider wider;
    make_wider(&wider, w);
    for (int i = 0; i < 20; i++)
        world_add_record(w, 0);
    while (!path_endpoint_paused_us(w->path, 0)) {
        world_turn(w);
        while (w->call_count)
            world_end_call(w, 0, 503, "down");
    }
    w->pulled_rows = 0;
    world_due(w, w->endpoints[0].db_id, 1000);
    assert_int_equal(w->pulled_rows, 0);
    take(w, &wider.catalogue);
    world_due(w, w->endpoints[0].db_id, 1000);
    assert_in_range(w->pulled_rows, LANE_JOBS / 2 - 20, LANE_JOBS / 2);
    w->pulled_rows = 0;
    take(w, &w->catalogue); /* and back: its pause counts again */
    world_due(w, w->endpoints[0].db_id, 1000);
    assert_int_equal(w->pulled_rows, 0);
    take(w, &wider.catalogue);
    w->call_us = TURN_US;
    for (int i = 0; i < 1000 && w->ended + w->parked < 20; i++)
        world_turn(w);
    assert_int_equal(w->ended + w->parked, 20);
    assert_true(w->ended > 10);
    assert_int_equal(calls_to(w, 0), 0);
}

/* While jobs come and go. */
static void test_back_and_forth(void **state)
{
    struct world *w = *state;
    struct wider wider;
    make_wider(&wider, w);
    struct catalogue narrow = wider.catalogue; /* as merged: the new entries stay, and have left */
    struct cat_endpoint endpoints[ENDPOINTS + 1];
    struct cat_model_version versions[ENDPOINTS + 1];
    memcpy(endpoints, wider.endpoints, sizeof endpoints);
    memcpy(versions, wider.versions, sizeof versions);
    endpoints[NEW].left = versions[NEW].left = true;
    narrow.endpoints = endpoints;
    narrow.versions = versions;
    narrow.models = w->models;
    w->call_us = TURN_US;
    for (int i = 0; i < 60; i++) {
        world_add_record(w, i % ENDPOINTS);
        take(w, i % 2 ? &narrow : &wider.catalogue);
        world_turn(w);
    }
    for (int i = 0; i < 100 && w->ended < 60; i++)
        world_turn(w);
    assert_int_equal(w->ended, 60);
}

static void test_memory_runs_out(void **state)
{
    struct world *w = *state;
    struct wider wider;
    make_wider(&wider, w);
    for (int i = 0; i < 6; i++)
        world_add_record(w, 0);
    bool failed = true;
    int n = 0;
    for (; failed; n++) {
        no_memory_at(n);
        enum rc rc = path_prepare(w->path, &wider.catalogue, NULL);
        failed = no_memory_over();
        assert_int_equal(rc, failed ? RC_NOMEM : RC_OK);
        world_turn(w);
        assert_int_equal(calls_to(w, NEW), 0);
    }
    assert_true(n > 5);
    path_take(w->path, &wider.catalogue);
    w->call_us = TURN_US;
    for (int i = 0; i < 100 && w->ended < 6; i++)
        world_turn(w);
    end_all_calls(w);
    assert_int_equal(w->ended, 6);
    assert_int_equal(path_prepare(w->path, &wider.catalogue, NULL), RC_OK); /* and not taken */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_waits_is_routed_anew),
        TEST(test_an_idle_catalogue_is_given_back),
        TEST(test_a_retry_goes_by_the_new_one),
        TEST(test_a_retired_version_gets_no_new_call),
        TEST(test_a_model_that_left),
        TEST(test_jobs_leave_a_dead_endpoint),
        TEST(test_back_and_forth),
        TEST(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
