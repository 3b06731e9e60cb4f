/*
 * test_limits_edge.c - three workers' store edges and one limit, on the real server: they agree on
 * what each may hold, one dies without a word, the limit changes, one leaves. Who they are is on
 * disk before they are told.
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
#include <uv.h>

#include "common/clock.h"
#include "tests/live/loop.h"
#include "tests/live/scratch.h"
#include "worker/admission.h"
#include "worker/store.h"

enum { WORKERS = 3, BOUND_US = 60 * 1000 * 1000, LOOK_MS = 100 };

static struct scratch scratch;

struct worker {
    struct admission *admission;
    struct store *store;
    int gate, moved;
};

static void on_moved(void *arg)
{
    struct worker *k = arg;
    k->moved++;
}

static void on_due(void *arg, int32_t wait_key, int priority, const struct pull_app *apps,
                   int count)
{
    (void)arg, (void)wait_key, (void)priority, (void)apps, (void)count;
}

static void on_held(void *arg, const int32_t *ids, int count)
{
    (void)arg, (void)ids, (void)count;
}

static void on_skips(void *arg, const struct skip *list, int count)
{
    (void)arg, (void)list, (void)count;
}

static void on_oldest_live(void *arg, int64_t oldest_live_ms)
{
    (void)arg, (void)oldest_live_ms;
}

static void start(struct worker *k, uv_loop_t *loop)
{
    static const struct lane_conf lane = {"all", 1, 0, 1, 1, 0};
    static const struct admission_model model = {"e@1", "m@1"};
    static const struct admission_units one = {1, 1};
    static const char *const topics[] = {"jobs"};
    struct err err = {0};
    k->admission = admission_new(&model, 1);
    assert_non_null(k->admission);
    k->gate = admission_gate(k->admission, 0, SPAN_LIT("app"));
    admission_waits(k->admission, k->gate, 0, &one, 1000000);
    struct store_conf conf = {.conninfo = scratch.conninfo,
                              .host = "here",
                              .build = "test",
                              .cluster = "none",
                              .topics = topics,
                              .lane_count = 1,
                              .lease_us = 15 * 1000 * 1000,
                              .heartbeat_us = 3 * 1000 * 1000,
                              .lease_margin_us = 3 * 1000 * 1000,
                              .fence_after_us = 5 * 1000 * 1000,
                              .unbroken_us = 20 * 1000 * 1000,
                              .admission = k->admission,
                              .lanes = &lane,
                              .arg = k,
                              .limits_moved = on_moved,
                              .due = on_due,
                              .held = on_held,
                              .skips = on_skips,
                              .oldest_live = on_oldest_live};
    if (store_new(loop, &conf, &k->store, &err) != RC_OK)
        fail_msg("%s", err.text);
}

/* Says of each row of `worker` whether who made it waited for the disk. */
static void watch_registrations(void)
{
    scratch_run(&scratch, "CREATE TABLE registered (durable text)");
    scratch_run(&scratch, "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                          " INSERT INTO inferq.registered"
                          " VALUES (current_setting('synchronous_commit'));"
                          " RETURN NEW; END $$");
    scratch_run(&scratch, "CREATE TRIGGER tell BEFORE INSERT ON worker FOR EACH ROW"
                          " EXECUTE FUNCTION tell()");
}

static void on_stopped(void *arg)
{
    *(bool *)arg = true;
}

/* It is gone without a word. */
static void die(struct worker *k)
{
    store_free(k->store);
    admission_free(k->admission);
    k->store = NULL;
    k->admission = NULL;
}

static void nothing(uv_timer_t *timer)
{
    (void)timer;
}

/* Turns the loop until so many rows have been given, and say that they hold, so much. */
static void wait_for(uv_loop_t *loop, int rows, int share)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT (count(*) = %d AND bool_and(share = %d AND seen = %d))::int::int8"
             " FROM limit_share",
             rows, share, share);
    uv_timer_t timer;
    uv_timer_init(loop, &timer);
    uv_timer_start(&timer, nothing, LOOK_MS, LOOK_MS);
    int64_t end = clock_mono_us() + BOUND_US;
    bool held = false;
    while (!held && clock_mono_us() < end) {
        uv_run(loop, UV_RUN_ONCE);
        assert_true(scratch_int(&scratch, "SELECT coalesce(sum(greatest(share, seen)), 0)::int8"
                                          " FROM limit_share") <= 600);
        held = scratch_int(&scratch, sql) == 1;
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    if (!held)
        fail_msg("%d rows do not come to hold %d each", rows, share);
}

/* Its own word for what it holds may have come to the server before the answer has come to it. */
static void hears(const struct worker *k, uv_loop_t *loop)
{
    uv_timer_t timer;
    uv_timer_init(loop, &timer);
    uv_timer_start(&timer, nothing, LOOK_MS, LOOK_MS);
    int64_t end = clock_mono_us() + BOUND_US;
    while (!(admission_on(k->admission) && k->moved > 0) && clock_mono_us() < end)
        uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    assert_true(admission_on(k->admission) && k->moved > 0);
}

static void three_workers_share_a_limit(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct worker workers[WORKERS] = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    scratch_run(&scratch, "INSERT INTO limit_rule (scope, key, dimension, of_operator, changed_by)"
                          " VALUES (1, 'e@1', 1, 600, 'test'), (1, 'e@1', 5, 1000000, 'test')");
    watch_registrations();
    for (int i = 0; i < WORKERS; i++)
        start(&workers[i], &loop);
    wait_for(&loop, 3, 200);
    assert_int_equal(scratch_int(&scratch, "SELECT count(*) FROM registered"), WORKERS);
    assert_int_equal(scratch_int(&scratch, "SELECT count(*) FROM registered WHERE durable = 'on'"),
                     WORKERS);
    for (int i = 0; i < WORKERS; i++)
        hears(&workers[i], &loop);
    die(&workers[1]);
    wait_for(&loop, 2, 300);
    scratch_run(&scratch, "UPDATE limit_rule SET of_operator = 60 WHERE dimension = 1");
    scratch_run(&scratch, "NOTIFY inferq_limit");
    wait_for(&loop, 2, 30);
    bool stopped = false; /* who leaves by himself is waited for by nobody */
    int64_t id = store_worker_id(workers[0].store);
    assert_true(store_may_send(workers[0].store, id));
    store_stop(workers[0].store, on_stopped, &stopped);
    assert_false(store_may_send(workers[0].store, id)); /* before Postgres has even heard of it */
    while (!stopped)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(scratch_int(&scratch, "SELECT count(*) FROM limit_share"), 1);
    die(&workers[0]);
    wait_for(&loop, 1, 60);
    die(&workers[2]);
    assert_int_equal(loop_end(&loop), 0);
}

static int open_scratch(void **state)
{
    (void)state;
    return scratch_open(&scratch, "limits_edge") ? 0 : -1;
}

static int close_scratch(void **state)
{
    (void)state;
    scratch_close(&scratch);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(three_workers_share_a_limit)};
    return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
