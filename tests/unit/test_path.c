/*
 * test_path.c - which jobs the path keeps in memory and which it sends to `parked`, and how many it
 * takes back; what a re-ask says, whatever comes between it and its answer; jobs whose partition is
 * dropped; rows that are refused; memory that runs out at each allocation in turn. On a virtual
 * clock with edges of the test's own (path_world.h). What happens to jobs when other things break
 * is the simulation's matter (tests/sim).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/no_memory.h"
#include "tests/unit/path_world.h"

/* ---- what is parked, and what is pulled ------------------------------------------------------ */

/* A lane full of one endpoint's jobs, that it works through in ten seconds. */
static void test_a_busy_endpoint_keeps_its_jobs(void **state)
{
    struct world *w = *state;
    w->call_us = SECOND_US / 10;
    world_fill_lane(w);
    while (w->ended + w->parked < w->offset)
        world_busy_turn(w);
    assert_int_equal(w->parked, 0);
    assert_int_equal(w->ended, JOBS_MAX);
}

/* One that takes calls and never answers gives way after the short wait. */
static void test_an_endpoint_that_hangs_gives_way(void **state)
{
    struct world *w = *state;
    world_fill_lane(w);
    world_run_for(w, SHORT_WAIT_US - SECOND_US);
    assert_int_equal(w->parked, 0);
    world_run_for(w, 2 * SECOND_US);
    assert_true(w->parked > LANE_JOBS / 8);
}

/* One that works, but would take minutes for what waits, gives way in the end. */
static void test_a_slow_endpoint_gives_way_later(void **state)
{
    struct world *w = *state;
    w->call_us = 2 * SECOND_US;
    world_fill_lane(w);
    world_run_for(w, 5 * SHORT_WAIT_US);
    assert_int_equal(w->parked, 0);
    world_run_for(w, 2 * SHORT_WAIT_US);
    assert_true(w->parked > 0);
}

/* One app fills the lane: while others wait behind it, its last jobs give way to theirs. */
static void test_a_crowd_makes_room_for_others(void **state)
{
    struct world *w = *state;
    w->call_us = 2 * SECOND_US;
    world_fill_lane(w);
    world_run_for(w, SHORT_WAIT_US - SECOND_US);
    assert_int_equal(w->others_asked, 0); /* it might move on by itself */
    world_run_for(w, 2 * SHORT_WAIT_US);
    assert_true(w->others_asked >= 1 && w->others_asked <= 3);
    assert_int_equal(w->parked, 0); /* nobody is there to make room for */
    int before = w->offset;
    w->others_wait = true;
    world_run_for(w, SHORT_WAIT_US + SECOND_US);
    assert_true(w->parked > LANE_JOBS / 4);
    assert_true(w->offset > before); /* records are read again */
}

/* Rows are pulled before an endpoint idles: also while all its calls are out. */
static void test_pulls_ahead_of_a_busy_endpoint(void **state)
{
    struct world *w = *state;
    world_due(w, 1, 1000);
    assert_int_equal(w->pulled_rows, 2 * AT_ONCE);
    for (int i = 0; i < AT_ONCE + 1; i++)
        world_add_record(w, 0);
    world_turn(w);
    world_turn(w);
    assert_int_equal(w->call_count, AT_ONCE);
    w->pulled_rows = 0;
    world_due(w, 1, 1000);
    assert_int_equal(w->pulled_rows, AT_ONCE - 1); /* one waits already */
    world_due(w, 77, 10); /* an endpoint of another catalogue: routing decides anew */
    assert_int_equal(w->pulled_rows, AT_ONCE - 1 + 10);
}

/* One app's jobs fill the lane, and its rows would go on: another's few come all the same, as many
 * as are its part of what the lane pulls, or of what the endpoint can take. */
static void test_pulls_leave_each_app_its_part(void **state)
{
    static const struct pull_app due[] = {{.app = {"app", 3}, .rows = 1000},
                                          {.app = {"few", 3}, .rows = 10},
                                          {.app = {"many", 4}, .rows = 1000}};
    struct world *w = *state;
    path_due(w->path, 77, 0, due, 2);
    assert_int_equal(w->pulled_rows, LANE_JOBS / 2);
    assert_int_equal(w->pulled_of_others, 10);
    w->call_us = 100 * SECOND_US;
    world_fill_lane(w);
    world_turn(w);
    w->pulled_rows = w->pulled_of_others = 0;
    path_due(w->path, 77, 0, due, 1);
    assert_int_equal(w->pulled_rows, 0);
    path_due(w->path, 77, 0, due, 2);
    assert_int_equal(w->pulled_rows, 10);
    path_due(w->path, 77, 0, due + 2, 1);
    assert_int_equal(w->pulled_rows, 10 + LANE_JOBS / 4);
    w->pulled_rows = 0;
    path_due(w->path, 1, 0, due, 3); /* all at its endpoint: AT_ONCE may stand ready */
    assert_in_range(w->pulled_rows, AT_ONCE - AT_ONCE / 3 - 1, AT_ONCE - AT_ONCE / 3);
    assert_int_equal(w->pulled_of_others, 10 + LANE_JOBS / 4 + w->pulled_rows);
}

/* Rows that do not say whose they are take what room is left, and no more. */
static void test_rows_of_no_app_come_last(void **state)
{
    static const struct pull_app due[] = {{.app = {"", 0}, .rows = 1000}};
    struct world *w = *state;
    w->call_us = 100 * SECOND_US;
    path_due(w->path, 77, 0, due, 1);
    assert_int_equal(w->pulled_rows, LANE_JOBS / 2);
    world_fill_lane(w);
    world_turn(w);
    w->pulled_rows = 0;
    path_due(w->path, 77, 0, due, 1);
    assert_int_equal(w->pulled_rows, 0);
}

/* An operator pauses an endpoint: its calls end, its other jobs leave for `parked`, and the other
 * endpoint is served on. Resumed, it takes jobs again. */
static void test_a_held_endpoint_is_left_alone(void **state)
{
    struct world *w = *state;
    static const int32_t held[] = {77, 1}; /* 77: of another catalogue */
    world_add_record(w, 0);
    world_turn_until_called(w, 1);
    path_held(w->path, held, 2);
    world_add_record(w, 0);
    world_add_record(w, 1);
    world_turn_until_called(w, 2);
    assert_int_equal(w->calls[1]->endpoint, 1);
    world_end_call(w, 0, 200, "y");
    world_turn(w);
    world_turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(w->parked, 1);
    w->pulled_rows = 0;
    world_due(w, 1, 10);
    assert_int_equal(w->pulled_rows, 0);
    path_held(w->path, NULL, 0);
    world_due(w, 1, 10);
    assert_true(w->pulled_rows > 0);
    world_add_record(w, 0);
    world_turn_until_called(w, 2);
}

/* ---- parking is capped ---------------------------------------------------------------------- */

/* An endpoint that an operator holds: its jobs leave for Postgres up to the cap, and then fill the
 * lane. Who counts the rows says when there is room again. */
static void test_parking_is_full(void **state)
{
    struct world *w = *state;
    static const int32_t held[] = {1};
    path_held(w->path, held, 1);
    for (int i = 0; i < 5; i++)
        world_add_record(w, 0);
    world_turn(w);
    world_turn(w);
    assert_int_equal(w->parked, 5);
    assert_int_equal(w->counts_asked, 1);
    assert_int_equal(w->count_key, 1);
    assert_true(path_parked_count(w->path, 1, PARKED_JOBS)); /* others had parked, too */
    assert_false(path_parked_count(w->path, 1, PARKED_JOBS));
    assert_true(path_parking_full(w->path, 1));
    assert_false(path_parking_full(w->path, 2));
    world_fill_lane(w);
    world_turn(w);
    assert_int_equal(w->parked, 5);
    assert_int_equal(path_lane_jobs(w->path, 0), LANE_JOBS);
    assert_true(path_parked_count(w->path, 1, PARKED_JOBS - 3));
    for (int i = 0; i < 3; i++)
        world_turn(w);
    assert_int_equal(w->parked, 5 + 3); /* what there was room for */
    assert_true(path_parking_full(w->path, 1));
    assert_int_equal(path_lane_jobs(w->path, 0), LANE_JOBS - 3);
}

/* There a batch that is cancelled ends all the same, and at once: nothing of it is called, and
 * the lane has room for others. */
static void test_a_cancelled_batch_ends_in_a_lane_that_stands_still(void **state)
{
    struct world *w = *state;
    static const int32_t held[] = {1};
    path_held(w->path, held, 1);
    path_parked_count(w->path, 1, PARKED_JOBS);
    world_fill_lane(w);
    world_run_for(w, SECOND_US);
    assert_int_equal(w->ended, 0);
    assert_int_equal(path_lane_jobs(w->path, 0), LANE_JOBS);
    const struct jobid batch = batchid_make(WALL_MS, SPAN_LIT("app"), SPAN_LIT("b"));
    assert_true(path_cancelled(w->path, &batch));
    for (int i = 0; i < SECOND_US / TURN_US; i++)
        world_turn(w);
    assert_int_equal(w->ended, LANE_JOBS);
    assert_int_equal(w->class, CLASS_CANCELLED);
    assert_int_equal(path_lane_jobs(w->path, 0), 0);
    assert_int_equal(w->call_count, 0);
}

/* ---- routes -------------------------------------------------------------------------------- */

static struct cat_route hold = {.model = -1, .retry = {.ambiguous = AMBIGUOUS_HOLD}};

static void route_holds(struct world *w)
{
    static char any[] = "*";
    hold.app = hold.task = any;
    w->catalogue.routes = &hold;
    w->catalogue.route_count = 1;
}

/* Nobody knows what came of its call: it ends, and says so. One that is known to have failed is
 * called again. */
static void test_a_job_is_held_by_its_route(void **state)
{
    struct world *w = *state;
    route_holds(w);
    world_add_record(w, 0);
    world_turn_until_called(w, 1);
    world_end_call(w, 0, 408, "");
    world_turn_until_called(w, 1);
    world_end_call(w, 0, 504, "");
    for (int i = 0; i < SHORT_WAIT_US / TURN_US; i++)
        world_turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(w->class, CLASS_HELD);
    assert_non_null(strstr(w->reason, "holds jobs for review"));
    assert_non_null(strstr(w->reason, "HTTP 504"));
    assert_int_equal(w->call_count, 0);
}

/* Its worker died with the call open: the ledger says so, in the claim's answer. */
static void test_a_lost_call_is_held_by_its_route(void **state)
{
    struct world *w = *state;
    route_holds(w);
    world_add_record(w, 0);
    for (int i = 0; i < 100 && !w->claim_count; i++)
        (void)path_tick(w->path);
    assert_int_equal(w->claim_count, 1);
    struct job *job = w->claims[--w->claim_count];
    job->claim_answer = CLAIM_UNKNOWN;
    path_claimed(w->path, job);
    world_turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(w->class, CLASS_HELD);
    assert_non_null(strstr(w->reason, "a worker died"));
    assert_int_equal(w->call_count, 0);
}

/* ---- re-asks: an answer that is none of the labels is complained of, once ------------------ */

static const struct span labels = {"\x92\xa1y\xa1n", 5};

/* The call's request holds the first answer and what was wrong with it, or neither. */
static void check_complains(const struct job *job, bool wanted)
{
    struct span request = job->call->http.request;
    assert_int_equal(memmem(request.p, request.n, "perhaps", 7) != NULL, wanted);
    assert_int_equal(job->kind == CALL_REASK, wanted);
}

static void test_a_reask_complains(void **state)
{
    struct world *w = *state;
    world_add_job(w, 0, labels);
    world_turn_until_called(w, 1);
    check_complains(w->calls[0], false);
    world_end_call(w, 0, 200, "perhaps");
    world_turn_until_called(w, 1);
    check_complains(w->calls[0], true);
    world_end_call(w, 0, 200, "y");
    world_turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(w->validation, VALIDATION_REASKED);
}

/* Nobody answers it: what is sent again is the complaint. */
static void test_a_failed_reask_is_sent_as_it_was(void **state)
{
    struct world *w = *state;
    world_add_job(w, 0, labels);
    world_turn_until_called(w, 1);
    world_end_call(w, 0, 200, "perhaps");
    world_turn_until_called(w, 1);
    world_end_call(w, 0, 502, "");
    world_turn_until_called(w, 1);
    check_complains(w->calls[0], true);
    world_end_call(w, 0, 200, "perhaps not");
    world_turn(w);
    assert_int_equal(w->ended, 1); /* complained of once */
    assert_int_equal(w->validation, VALIDATION_FAILED);
}

/* A reply that cannot be read has nothing to complain of; it is asked again all the same, once. */
static void test_an_unreadable_reply_is_reasked_once(void **state)
{
    struct world *w = *state;
    world_add_job(w, 0, labels);
    world_turn_until_called(w, 1);
    world_end_call(w, 0, 200, "\"");
    world_turn_until_called(w, 1);
    assert_int_equal(w->calls[0]->kind, CALL_REASK);
    assert_null(memmem(w->calls[0]->call->http.request.p, w->calls[0]->call->http.request.n,
                       "assistant", 9));
    world_end_call(w, 0, 200, "\"");
    world_turn(w);
    assert_int_equal(w->ended, 1);
}

/* Its endpoint is paused before the re-ask is sent: the complaint is gone with the job, and who
 * pulls the row may make one. */
static void test_a_reask_that_was_parked_is_still_to_be_made(void **state)
{
    struct world *w = *state;
    struct buf value;
    world_add_job(w, 0, labels);
    world_add_record(w, 0);
    world_turn_until_called(w, 2);
    int asked = w->calls[0]->offset == 0 ? 0 : 1;
    struct job *other = w->calls[1 - asked];
    world_end_call(w, asked, 200, "perhaps");
    assert_ptr_equal(w->calls[0], other);
    world_end_call(w, 0, 401, "");
    world_turn(w);
    world_turn(w);
    assert_int_equal(w->parked, 2); /* the other, too, waits for its endpoint */
    w->now_us += 3600 * (int64_t)SECOND_US;
    world_make_record(0, 0, labels, &value);
    w->row.payload = buf_span(&value);
    w->row.offset = 2; /* of no record: nothing stands for it yet */
    path_pulled(w->path, &w->row);
    buf_done(&value);
    world_turn_until_called(w, 1);
    check_complains(w->calls[0], false);
    world_end_call(w, 0, 200, "perhaps");
    world_turn_until_called(w, 1);
    check_complains(w->calls[0], true);
    world_end_call(w, 0, 200, "n");
    world_turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(w->validation, VALIDATION_REASKED);
}

/* ---- memory: the text that was read out of a reply, to be checked ---------------------------- */

/* What is stored is the reply; its text would only take as much memory again. */
static void test_an_answer_waits_once_for_its_store(void **state)
{
    struct world *w = *state;
    world_add_record(w, 0);
    world_turn_until_called(w, 1);
    world_end_call(w, 0, 200, "y");
    assert_int_equal(w->store_count, 1);
    assert_int_equal(w->stores[0]->status, STATUS_SUCCEEDED);
    assert_true(w->stores[0]->call->http.reply.n > 0);
    assert_null(w->stores[0]->answer.p);
}

/* What a re-ask repeats is held until that is answered, and is of the byte budget. */
static void test_an_answer_to_be_repeated_is_of_the_budget(void **state)
{
    struct world *w = *state;
    world_add_job(w, 0, labels);
    world_turn_until_called(w, 1);
    int64_t before = path_memory_used(w->path);
    world_end_call(w, 0, 200, "perhaps");
    const struct job *job = w->stores[0];
    assert_int_equal(job->answer.n, 7);
    assert_int_equal(path_memory_used(w->path), before + (int64_t)job->answer.cap);
    world_turn_until_called(w, 1);
    world_end_call(w, 0, 200, "n");
    assert_null(job->answer.p);
    world_turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(path_memory_used(w->path), 0);
}

/* ---- partitions that are dropped ------------------------------------------------------------ */

/* Claimed or stored for a span that is no more: a letter, and its slot is free again. */
static void test_jobs_of_a_dropped_span_make_room(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < AT_ONCE; i++)
        world_add_record(w, 0);
    world_turn(w);
    assert_int_equal(w->claim_count, AT_ONCE);
    struct job *gone = w->claims[--w->claim_count];
    path_gone(w->path, gone);
    assert_int_equal(path_endpoint_in_flight(w->path, 0), AT_ONCE - 1);
    world_turn_until_called(w, AT_ONCE - 1);
    assert_int_equal(w->buried, 1);
    world_end_call(w, 0, 200, "y");
    assert_int_equal(w->store_count, 1);
    gone = w->stores[--w->store_count];
    path_gone(w->path, gone);
    world_turn(w);
    world_turn(w);
    assert_int_equal(w->buried, 2);
    assert_int_equal(w->ended, 0);
    assert_int_equal(w->watermark, 2);
    assert_int_equal(path_memory_used(w->path), 0);
}

/* Heard of before they are claimed: they are not called. */
static void test_jobs_of_a_dropped_span_are_not_called(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < AT_ONCE + 3; i++)
        world_add_record(w, 0);
    world_turn_until_called(w, AT_ONCE);
    path_oldest_live(w->path, WALL_MS + 1);
    world_add_record(w, 1);
    for (int i = 0; i < AT_ONCE; i++)
        world_end_call(w, 0, 200, "y");
    for (int i = 0; i < 5; i++)
        world_turn(w);
    assert_int_equal(w->call_count, 0);
    assert_int_equal(w->buried, 3 + 1);
    assert_int_equal(w->ended, AT_ONCE);
}

/* ---- parked while it runs -------------------------------------------------------------------- */

/* A job is called, and delivered once more: its payload goes to `parked` while it runs. Returns it,
 * with the row on its way. */
static struct job *park_running(struct world *w)
{
    struct buf value;
    world_make_record(0, 0, (struct span){NULL, 0}, &value);
    world_deliver(w, 0, 1, buf_span(&value));
    world_deliver(w, 1, 1, buf_span(&value));
    buf_done(&value);
    for (int i = 0; i < SHORT_WAIT_US / TURN_US && !w->park_count; i++)
        world_turn(w);
    assert_int_equal(w->park_count, 1);
    assert_true(w->parks[0]->parking);
    assert_ptr_equal(w->parks[0], w->calls[0]);
    w->is_over[0] = w->is_over[1] = true; /* once the row stands, which it does by its answer */
    return w->parks[0];
}

/* It has to wait, and its row on the way says that it runs: another must follow. */
static void test_a_job_that_waits_as_it_is_parked(void **state)
{
    struct world *w = *state;
    struct job *job = park_running(w);
    world_end_call(w, 0, 401, "");
    world_turn(w);
    assert_int_equal(w->park_count, 1);
    assert_ptr_equal(w->parks[0], job);
    assert_false(job->parking);
    assert_int_equal(job->park_key, 1);
    assert_int_equal(w->parked, 0);
    world_turn(w);
    assert_int_equal(w->parked, 1);
    for (int i = 0; i < SHORT_WAIT_US / TURN_US && path_memory_used(w->path); i++)
        world_turn(w); /* until the other copy hears of it */
    assert_int_equal(w->watermark, 2);
    assert_int_equal(path_memory_used(w->path), 0);
}

/* Let go in between, it finds itself the holder of a row that nobody else would look at. */
static void test_a_job_let_go_as_it_is_parked(void **state)
{
    struct world *w = *state;
    struct job *job = park_running(w);
    w->park_count = 0; /* the answer takes its time */
    world_end_call(w, 0, 409, "");
    world_turn(w);
    assert_int_equal(path_jobs(w->path, JOB_RETRY), 1);
    path_revoke(w->path, true);
    assert_int_equal(path_jobs(w->path, JOB_SETTLED), 1);
    path_parked(w->path, job);
    assert_int_equal(w->claim_count, 1);
    assert_true(job->ask_only);
    w->claim_count = 0;
    job->claim_answer = CLAIM_FREE;
    path_claimed(w->path, job);
    assert_int_equal(w->park_count, 1);
    assert_false(job->parking);
    world_turn(w);
    assert_int_equal(w->parked, 1);
    assert_true(path_idle(w->path));
    assert_int_equal(path_memory_used(w->path), 0);
}

/* Its record came again, and CLAIM looked before this worker pulled the row that stands for it; but
 * the pull's answer overtook CLAIM's. Nobody else looks at a row that we have taken. */
static void test_a_row_is_pulled_while_its_record_is_being_claimed(void **state)
{
    struct world *w = *state;
    struct buf value;
    world_add_record(w, 0);
    (void)path_tick(w->path);
    assert_int_equal(w->claim_count, 1);
    struct job *job = w->claims[0];
    world_make_record(0, 0, (struct span){NULL, 0}, &value);
    struct parked_row row = {.number = 1, .partition = -1, .payload = buf_span(&value)};
    w->is_over[0] = true; /* its payload stands in `parked` */
    path_pulled(w->path, &row);
    buf_done(&value);
    w->is_over[0] = false;
    job->claim_answer = CLAIM_PARKED;
    w->claim_count = 0;
    path_claimed(w->path, job);
    assert_int_equal(w->claim_count, 1); /* it asks again: the row is ours now */
    assert_ptr_equal(w->claims[0], job);
    world_turn(w);
    assert_int_equal(w->call_count, 1);
    world_end_call(w, 0, 200, "y");
    world_turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(path_memory_used(w->path), 0);
}

/* A clock that was set back makes no forgery of a job that had been believed. */
static void test_a_parked_job_is_no_forgery(void **state)
{
    struct world *w = *state;
    struct buf value;
    world_make_record(0, 0, (struct span){NULL, 0}, &value);
    struct parked_row row = {.number = 1, .partition = -1, .payload = buf_span(&value)};
    w->now_us = -600 * (int64_t)SECOND_US;
    path_pulled(w->path, &row);
    assert_int_equal(w->bury_count, 0);
    assert_int_equal(path_lane_jobs(w->path, 0) + (size_t)w->park_count, 1);
    buf_done(&value);
}

/* Fenced meanwhile, we have no row of our own any more: whoever pulls it goes on. */
static void test_a_row_that_is_not_ours_any_more_is_left(void **state)
{
    struct world *w = *state;
    struct buf value;
    world_make_record(0, 0, (struct span){NULL, 0}, &value);
    struct parked_row row = {.number = 1, .partition = -1, .payload = buf_span(&value)};
    path_pulled(w->path, &row);
    buf_done(&value);
    (void)path_tick(w->path);
    assert_int_equal(w->claim_count, 1);
    w->claims[0]->claim_answer = CLAIM_PARKED;
    w->claim_count = 0;
    path_claimed(w->path, w->claims[0]);
    assert_int_equal(w->claim_count, 0);
    assert_int_equal(path_memory_used(w->path), 0);
}

/* Its ending is refused: that says nothing of the row that is being parked. */
static void test_an_ending_is_refused_while_its_job_is_parked(void **state)
{
    struct world *w = *state;
    struct job *job = park_running(w);
    world_end_call(w, 0, 200, "y");
    assert_int_equal(w->store_count, 1);
    path_store_refused(w->path, job, "bad bytes");
    assert_int_equal(w->store_count, 2); /* once more, without the reply's texts */
    assert_ptr_equal(w->stores[1], job);
    assert_int_equal(job->class, CLASS_UNSTORABLE);
    w->store_count = 1;
    w->stores[0] = job;
    world_turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(w->claim_count, 1); /* the row crossed its ending: asking deletes it */
}

/* The row is refused: the job runs on as if it had not been to be parked. */
static void test_a_row_is_refused_while_its_job_runs(void **state)
{
    struct world *w = *state;
    struct job *job = park_running(w);
    w->park_count = 0;
    path_park_refused(w->path, job, "bad bytes");
    assert_int_equal(w->store_count, 0);
    world_end_call(w, 0, 200, "y");
    world_turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(w->parked, 0);
}

/* ---- not ours any more ----------------------------------------------------------------------- */

static void test_what_comes_at_the_end_is_not_begun(void **state)
{
    struct world *w = *state;
    struct buf value;
    world_add_record(w, 0);
    world_turn_until_called(w, 1);
    int64_t used = path_memory_used(w->path);
    path_revoke(w->path, false);
    world_add_record(w, 1); /* it was on its way */
    assert_int_equal(path_memory_used(w->path), used);
    world_end_call(w, 0, 200, "y");
    world_turn(w);
    assert_int_equal(w->ended, 1);
    path_drain(w->path);
    world_make_record(7, 1, (struct span){NULL, 0}, &value);
    struct parked_row row = {.number = 1, .partition = -1, .payload = buf_span(&value)};
    path_pulled(w->path, &row);
    buf_done(&value);
    world_turn(w);
    assert_true(path_idle(w->path));
    assert_int_equal(path_memory_used(w->path), 0);
    assert_int_equal(w->watermark, 1);
}

static void grant(struct world *w, int i)
{
    w->claims[i]->claim_answer = CLAIM_GRANTED;
    path_claimed(w->path, w->claims[i]);
}

/* Its calls in flight were given up; a claim that is answered after that begins no other: it would
 * be open when the worker says good-bye, and somebody else would call beside it. */
static void test_no_call_is_begun_once_calls_were_given_up(void **state)
{
    struct world *w = *state;
    world_add_record(w, 0);
    world_add_record(w, 1);
    (void)path_tick(w->path);
    assert_int_equal(w->claim_count, 2);
    path_drain(w->path);
    grant(w, 0);
    assert_int_equal(w->call_count, 1); /* a drain lets go of nothing that is claimed */
    path_abort_calls(w->path);
    grant(w, 1);
    assert_int_equal(w->call_count, 1);
    assert_int_equal(w->store_count, 1); /* the ledger's row is closed: it was not sent */
    assert_int_equal(w->stores[0]->call->outcome.class, CLASS_UNSENT);
    assert_true(w->stores[0]->call->outcome.ours);
    assert_int_equal(w->stores[0]->attempts, 0);
    w->claim_count = 0;
    world_end_call(w, 0, 200, "y");
    world_turn(w);
    assert_true(path_idle(w->path));
    assert_int_equal(w->ended, 1);
    assert_int_equal(path_memory_used(w->path), 0);
}

/* ---- memory runs out ------------------------------------------------------------------------- */

/* A turn in which the first answer to each job is bad, its second call fails, and the third is
 * good; a job without labels succeeds at once. */
static void turn_with_answers(struct world *w)
{
    world_turn(w);
    for (int i = w->call_count; i-- > 0;) {
        bool plain = w->calls[i]->msg.output_kind == OUTPUT_TEXT;
        int number = w->calls[i]->number;
        world_end_call(w, i, number == 2 ? 409 : 200, plain || number > 2 ? "y" : "perhaps");
    }
}

static void deliver_from(struct world *w, const struct buf *values, int count, uint32_t epoch)
{
    path_assigned(w->path, 0, 0, epoch);
    path_skips(w->path, NULL, 0);
    for (int64_t i = w->watermark; i < count; i++)
        world_deliver(w, i, epoch, buf_span(&values[i]));
    for (int i = 0; i < 2 * SHORT_WAIT_US / TURN_US && w->watermark < count; i++)
        turn_with_answers(w);
}

/* Whatever allocation fails, no offset passes a job that has not ended (store_offset looks), and
 * once there is memory again all of them end. */
static void test_memory_runs_out(void **state)
{
    enum { COUNT = 80 }; /* more than a new partition has room for */
    struct buf values[COUNT];
    (void)state;
    for (int i = 0; i < COUNT; i++)
        world_make_record(i, i % ENDPOINTS, i % 3 ? (struct span){NULL, 0} : labels, &values[i]);
    int n = 0;
    for (bool failed = true; failed; n++) {
        struct world *w = world_new();
        struct err err = {0};
        no_memory_at(n);
        enum rc rc = world_make_path(w, &err);
        if (rc == RC_OK)
            deliver_from(w, values, COUNT, 1);
        failed = no_memory_over();
        if (rc == RC_OK) {
            path_revoke(w->path, true);
            deliver_from(w, values, COUNT, 2);
            assert_int_equal(w->watermark, COUNT);
            assert_int_equal(w->buried, 0);
            path_free(w->path);
        } else {
            assert_int_equal(rc, RC_NOMEM);
            assert_null(w->path);
        }
        world_free(w);
    }
    assert_true(n > 50);
    for (int i = 0; i < COUNT; i++)
        buf_done(&values[i]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_busy_endpoint_keeps_its_jobs),
        TEST(test_an_endpoint_that_hangs_gives_way),
        TEST(test_a_slow_endpoint_gives_way_later),
        TEST(test_a_crowd_makes_room_for_others),
        TEST(test_pulls_ahead_of_a_busy_endpoint),
        TEST(test_pulls_leave_each_app_its_part),
        TEST(test_rows_of_no_app_come_last),
        TEST(test_a_held_endpoint_is_left_alone),
        TEST(test_parking_is_full),
        TEST(test_a_cancelled_batch_ends_in_a_lane_that_stands_still),
        TEST(test_a_job_is_held_by_its_route),
        TEST(test_a_lost_call_is_held_by_its_route),
        TEST(test_a_reask_complains),
        TEST(test_a_failed_reask_is_sent_as_it_was),
        TEST(test_an_unreadable_reply_is_reasked_once),
        TEST(test_a_reask_that_was_parked_is_still_to_be_made),
        TEST(test_a_row_is_pulled_while_its_record_is_being_claimed),
        TEST(test_a_parked_job_is_no_forgery),
        TEST(test_a_row_that_is_not_ours_any_more_is_left),
        TEST(test_an_ending_is_refused_while_its_job_is_parked),
        TEST(test_a_row_is_refused_while_its_job_runs),
        TEST(test_jobs_of_a_dropped_span_make_room),
        TEST(test_jobs_of_a_dropped_span_are_not_called),
        TEST(test_a_job_that_waits_as_it_is_parked),
        TEST(test_a_job_let_go_as_it_is_parked),
        TEST(test_what_comes_at_the_end_is_not_begun),
        TEST(test_no_call_is_begun_once_calls_were_given_up),
        cmocka_unit_test(test_memory_runs_out),
        TEST(test_an_answer_waits_once_for_its_store),
        TEST(test_an_answer_to_be_repeated_is_of_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
