/*
 * test_path_retry.c - retries within their route's budget: what goes beyond it waits in Postgres
 * and is not lost, whoever has a budget of its own goes on, and another catalogue takes budgets
 * over. And jobs that are too long for a version's context: on to the next one, which the ledger
 * remembers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/path_world.h"
#include "worker/retry_budget.h"

enum { NOT_YET = 409 /* called again, and nobody is blamed */ };

struct counts {
    int first, again, waiting;
};

/* As the world's, but for the room for retries that wait in memory. */
static int setup(void **state)
{
    struct path_conf conf = {.max_in_flight = JOBS_MAX,
                             .max_attempts = 3,
                             .memory_bytes = INT64_C(1) << 30,
                             .reply_max_bytes = 1 << 20,
                             .short_wait_us = SHORT_WAIT_US,
                             .parked_max = PARKED_JOBS,
                             .offset_span = 100000};
    struct err err = {0};
    conf.lanes[0] = (struct lane_conf){
        .name = "normal", .weight = 1, .max_jobs = LANE_JOBS, .max_bytes = 64 << 20};
    if (world_setup(state) != 0)
        return -1;
    return path_configure(((struct world *)*state)->path, &conf, &err) == RC_OK ? 0 : -1;
}

/* Answers every call with this status until nothing moves any more within so many turns. */
static struct counts answer_all(struct world *w, int status, int turns)
{
    struct counts n = {0};
    for (int i = 0; i < turns; i++) {
        while (w->call_count) {
            n.first += w->calls[0]->number == 1;
            n.again += w->calls[0]->number > 1;
            world_end_call(w, 0, status, "y");
        }
        for (int k = 0; k < w->park_count; k++) {
            assert_int_equal(w->parks[k]->park_reason, CLASS_RETRY_BUDGET);
            assert_true(w->parks[k]->retry_at_us > w->now_us);
            n.waiting++;
        }
        world_turn(w);
    }
    return n;
}

/* Nothing gets well: five first calls allow one retry, and there is the floor. */
static void test_beyond_the_budget_jobs_wait(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 100; i++)
        world_add_record(w, 0);
    struct counts n = answer_all(w, NOT_YET, 3000);
    assert_int_equal(n.first, 100);
    assert_int_equal(n.again, 100 / 5 + RETRY_BUDGET_FLOOR);
    assert_true(n.waiting >= 100 - n.again);
    assert_int_equal(w->ended, 0);
    assert_int_equal(w->parked, n.waiting);
}

/* Every retry is answered: what was short is earned, and all end. */
static void test_what_gets_well_is_not_held_up(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 100; i++)
        world_add_record(w, 0);
    for (int turns = 0; turns < 6000 && w->ended < 100; turns++) {
        while (w->call_count)
            world_end_call(w, 0, w->calls[0]->number > 1 ? 200 : NOT_YET, "y");
        world_turn(w);
    }
    assert_int_equal(w->ended + w->parked, 100);
    assert_true(w->ended > 100 / 5 + RETRY_BUDGET_FLOOR + 20);
}

/* Without routes each model version has a budget of its own. */
static void test_budgets_are_the_routes(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 100; i++)
        world_add_record(w, 0);
    (void)answer_all(w, NOT_YET, 3000);
    for (int i = 0; i < 5; i++)
        world_add_record(w, 1);
    struct counts n = answer_all(w, NOT_YET, 200);
    assert_int_equal(n.first, 5);
    assert_true(n.again > 5);
}

/* A route's share, and what it has spent when the catalogue is read again. */
static void test_another_catalogue_takes_over(void **state)
{
    static char any[] = "*", app[] = "app";
    struct cat_route routes[2] = {{any, any, 0, CATALOGUE_RETRY_DEFAULT},
                                  {app, any, -1, CATALOGUE_RETRY_DEFAULT}};
    struct world *w = *state;
    struct err err = {0};
    routes[1].retry.budget_permille = 0;
    struct catalogue first = w->catalogue, second = w->catalogue;
    first.routes = &routes[1];
    first.route_count = 1;
    second.routes = routes;
    second.route_count = 2;
    assert_int_equal(path_prepare(w->path, &second, &err), RC_OK); /* and is not taken after all */
    assert_int_equal(path_prepare(w->path, &first, &err), RC_OK);
    path_take(w->path, &first);
    for (int i = 0; i < 50; i++)
        world_add_record(w, 0);
    struct counts n = answer_all(w, NOT_YET, 3000);
    assert_int_equal(n.again, RETRY_BUDGET_FLOOR);
    assert_int_equal(path_prepare(w->path, &second, &err), RC_OK);
    path_take(w->path, &second);
    world_add_record(w, 1);
    n = answer_all(w, NOT_YET, 1500);
    assert_int_equal(n.first, 1);
    assert_int_equal(n.again, 0); /* the app's is used up, also in another place */
    path_free(w->path);           /* whose catalogues are this test's */
    w->path = NULL;
}

/* ---- larger contexts ------------------------------------------------------------------------- */

static void end_too_long(struct world *w)
{
    struct job *job = w->calls[0];
    struct http_call *http = &job->call->http;
    w->call_count--;
    w->calls[0] = w->calls[w->call_count];
    w->ends_at_us[0] = w->ends_at_us[w->call_count];
    http->facts = (struct http_facts){
        .status = 400, .body = SPAN_LIT("{\"error\":{\"code\":\"context_length_exceeded\"}}")};
    http->done_us = w->now_us;
    path_called(w->path, job);
}

static void until_called(struct world *w)
{
    for (int i = 0; i < 100 && !w->call_count; i++)
        world_turn(w);
    assert_int_equal(w->call_count, 1);
}

static void until_ended(struct world *w)
{
    for (int i = 0; i < 10 && !w->ended; i++)
        world_turn(w);
    assert_int_equal(w->ended, 1);
}

static void test_too_long_goes_on(void **state)
{
    struct world *w = *state;
    w->versions[0].larger = 2;
    world_add_record(w, 0);
    until_called(w);
    assert_int_equal(w->calls[0]->mv->index, 0);
    end_too_long(w);
    until_called(w);
    const struct job *job = w->calls[0];
    assert_int_equal(job->mv->index, 1);
    assert_int_equal(job->endpoint, 1);
    assert_int_equal(job->number, 2);
    assert_int_equal(job->kind, CALL_FALLBACK);
    assert_int_equal(job->attempts, 0);
    world_end_call(w, 0, 200, "y");
    until_ended(w);
    assert_int_equal(w->class, CLASS_OK);
}

static void test_too_long_for_the_last(void **state)
{
    struct world *w = *state;
    w->versions[0].larger = 2;
    world_add_record(w, 0);
    for (int i = 0; i < ENDPOINTS; i++) {
        until_called(w);
        end_too_long(w);
    }
    until_ended(w);
    assert_int_equal(w->class, CLASS_CONTEXT_TOO_LONG);
    assert_non_null(strstr(w->reason, "context_length_exceeded"));
}

/* It was parked: whoever pulls it goes on where its calls had led it. */
static void test_the_way_is_remembered(void **state)
{
    struct world *w = *state;
    struct buf value;
    struct job_msg msg;
    struct err err = {0};
    int class = 0;
    w->versions[0].larger = 2;
    world_make_record(0, 0, (struct span){NULL, 0}, &value);
    assert_int_equal(job_msg_decode(value.p, value.n, &msg, &class, &err), RC_OK);
    struct parked_row row = {.job_id = msg.job_id,
                             .number = 2,
                             .larger = 1,
                             .partition = -1,
                             .payload = buf_span(&value)};
    path_pulled(w->path, &row);
    until_called(w);
    assert_int_equal(w->calls[0]->mv->index, 1);
    assert_int_equal(w->calls[0]->number, 2);
    buf_done(&value);
}

/* A claim tells that the ledger knows better. */
static void test_a_claim_tells_the_way(void **state)
{
    struct world *w = *state;
    w->versions[0].larger = 2;
    world_add_record(w, 0);
    (void)path_tick(w->path);
    assert_int_equal(w->claim_count, 1);
    struct job *job = w->claims[0];
    w->claim_count = 0;
    assert_int_equal(path_endpoint_in_flight(w->path, 0), 1);
    job->larger = 1;
    job->claim_answer = CLAIM_LARGER;
    path_claimed(w->path, job);
    assert_int_equal(path_endpoint_in_flight(w->path, 0), 0);
    until_called(w);
    assert_int_equal(w->calls[0]->mv->index, 1);
}

/* Nothing is called at a version that is not served any more. */
static void test_larger_is_not_live(void **state)
{
    struct world *w = *state;
    w->versions[0].larger = 2;
    w->versions[1].state = VERSION_RETIRED;
    world_add_record(w, 0);
    until_called(w);
    end_too_long(w);
    until_ended(w);
    assert_int_equal(w->class, CLASS_MODEL_NOT_LIVE);
}

/* ---- money ----------------------------------------------------------------------------------- */

/* The world's, with a price and a route that may pay so much in a day. */
struct priced {
    struct catalogue catalogue;
    struct cat_route route;
    struct cat_price price;
};

static void take_priced(struct world *w, struct priced *to, int64_t nusd_per_day)
{
    static char any[] = "*", key[] = "app=* task=* model=*";
    struct err err = {0};
    to->price = (struct cat_price){
        .price = {.input_pusd = 0, .cached_pusd = -1, .output_pusd = 1000, .reasoning_pusd = -1}};
    to->route = (struct cat_route){any, any, -1, CATALOGUE_RETRY_DEFAULT};
    to->route.retry.ambiguous_nusd_per_day = nusd_per_day;
    to->route.retry.route = key;
    for (int i = 0; i < ENDPOINTS; i++) {
        w->versions[i].prices = &to->price;
        w->versions[i].price_count = 1;
    }
    to->catalogue = w->catalogue;
    to->catalogue.routes = &to->route;
    to->catalogue.route_count = 1;
    assert_int_equal(path_prepare(w->path, &to->catalogue, &err), RC_OK);
    path_take(w->path, &to->catalogue);
}

static struct job *until_it_owes(struct world *w)
{
    until_called(w);
    world_end_call(w, 0, 502, "y");
    for (int i = 0; i < 10 && !w->pay_count && !w->ended; i++)
        world_turn(w);
    return w->pay_count ? w->pays[--w->pay_count] : NULL;
}

static void done_with(struct world *w)
{
    path_free(w->path); /* whose catalogue is the test's */
    w->path = NULL;
}

/* Nine output tokens at a nano-USD each are what the call may have cost. */
static void test_a_call_again_is_paid_for(void **state)
{
    struct world *w = *state;
    struct priced priced;
    take_priced(w, &priced, 9);
    world_add_record(w, 0);
    struct job *job = until_it_owes(w);
    assert_non_null(job);
    assert_int_equal(job->owed_nusd, 9);
    assert_int_equal(w->call_count, 0);
    job->granted = true;
    path_paid(w->path, job);
    until_called(w);
    assert_int_equal(w->calls[0]->number, 2);
    job = until_it_owes(w); /* each time */
    assert_non_null(job);
    job->granted = false;
    path_paid(w->path, job);
    until_ended(w);
    assert_int_equal(w->class, CLASS_HELD);
    assert_non_null(strstr(w->reason, "does not cover it"));
    done_with(w);
}

static void test_less_than_a_call_is_nothing(void **state)
{
    struct world *w = *state;
    struct priced priced;
    take_priced(w, &priced, 8);
    world_add_record(w, 0);
    assert_null(until_it_owes(w));
    until_ended(w);
    assert_int_equal(w->class, CLASS_HELD);
    done_with(w);
}

/* Without a price nobody knows what it may have cost. */
static void test_what_is_not_known_is_too_much(void **state)
{
    struct world *w = *state;
    struct priced priced;
    take_priced(w, &priced, INT64_C(1000000000000));
    w->versions[0].price_count = 0;
    world_add_record(w, 0);
    assert_null(until_it_owes(w));
    until_ended(w);
    assert_int_equal(w->class, CLASS_HELD);
    done_with(w);
}

/* Its worker died with the call open, or its record comes again: the ledger says so. */
static void test_a_lost_call_is_paid_for(void **state)
{
    struct world *w = *state;
    struct priced priced;
    take_priced(w, &priced, 100);
    for (int granted = 0; granted < 2; granted++) {
        world_add_record(w, 0);
        (void)path_tick(w->path);
        assert_int_equal(w->claim_count, 1);
        struct job *job = w->claims[0];
        w->claim_count = 0;
        job->claim_answer = CLAIM_UNKNOWN;
        path_claimed(w->path, job);
        assert_int_equal(w->pay_count, 1);
        assert_int_equal(path_endpoint_in_flight(w->path, 0), 0);
        w->pay_count = 0;
        job->granted = granted;
        path_paid(w->path, job);
        if (granted) {
            until_called(w);
            world_end_call(w, 0, 200, "y");
        }
        for (int i = 0; i < 10 && w->ended <= granted; i++)
            world_turn(w);
        assert_int_equal(w->ended, granted + 1);
        assert_int_equal(w->class, granted ? CLASS_OK : CLASS_HELD);
    }
    done_with(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_beyond_the_budget_jobs_wait, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_what_gets_well_is_not_held_up, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_budgets_are_the_routes, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_another_catalogue_takes_over, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_too_long_goes_on, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_call_again_is_paid_for, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_less_than_a_call_is_nothing, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_known_is_too_much, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_lost_call_is_paid_for, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_too_long_for_the_last, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_the_way_is_remembered, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_claim_tells_the_way, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_larger_is_not_live, setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
