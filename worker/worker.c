/*
 * worker.c - the process: edges, path and loop put together.
 *
 * Happy path: the catalogue is applied, the edges are made, the loop turns; after every turn the
 * path is told that time has passed and the store edge sends what was handed to it. SIGTERM: intake
 * stops, what waits is let go, calls in flight end (drain.timeout at most), results are stored, the
 * worker's row says stopped, exit 0. A second SIGTERM gives up the calls in flight. SIGHUP reads
 * settings, keys, credentials and the catalogue anew, or says why not and changes nothing. Postgres
 * or Kafka away while running: work waits, nothing is lost. At start Postgres must answer, because
 * the catalogue's rows are needed before any call.
 */
#include "worker/worker.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/pg.h"
#include "worker/admission.h"
#include "worker/process.h"
#include "worker/settings.h"
#include "worker/worker_internal.h"

#ifndef INFERQ_VERSION
#define INFERQ_VERSION "unknown"
#endif

enum {
    CLOSE_KAFKA_MS = 10 * 1000,
    ABORT_WAIT_US = 10 * 1000 * 1000, /* after the drain's time: for stores of aborted calls */
};

/* ---- the end begins -------------------------------------------------------------------------- */

void worker_drain(struct worker *w)
{
    w->phase = DRAINING;
    w->drain_until_us = clock_mono_us() + config_int(w->config, "drain.timeout");
    consumer_stop(w->consumer);
    path_drain(w->path);
}

void worker_fails(struct worker *w, const char *what, const char *why)
{
    log_event(LOG_ERROR, what, LF_STR("why", why));
    w->exit_code = EXIT_BROKEN;
    if (w->phase == RUNNING)
        worker_drain(w);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer)
{
    (void)timer; /* it only ends the wait: work is done in before_wait */
}

static void on_store_stopped(void *arg)
{
    struct worker *w = arg;
    w->phase = STOPPED;
    uv_stop(&w->loop);
}

/* Moves the shutdown on when the phase it is in is over. */
static void step_shutdown(struct worker *w, int64_t now)
{
    if (w->phase == DRAINING && now >= w->drain_until_us) {
        log_event(LOG_WARN, "the drain's time is over; calls in flight are given up",
                  LF_INT("in_flight", path_in_flight(w->path)));
        w->phase = ABORTING;
        w->drain_until_us = now + ABORT_WAIT_US;
        path_abort_calls(w->path);
    }
    bool over = path_idle(w->path) || (w->phase == ABORTING && now >= w->drain_until_us);
    if ((w->phase == DRAINING || w->phase == ABORTING) && over) {
        w->phase = STOPPING;
        store_stop(w->store, on_store_stopped, w);
    }
}

/* The turn's callbacks have run: let time pass for the path, send what was handed over, and sleep
 * until something is due. */
static void on_before_wait(uv_prepare_t *handle)
{
    struct worker *w = handle->data;
    int64_t next = path_tick(w->path);
    int64_t now = clock_mono_us();
    if (w->phase != RUNNING)
        step_shutdown(w, now);
    store_flush(w->store);
    targets_sweep(w->targets);
    if (w->phase != RUNNING && next > w->drain_until_us)
        next = w->drain_until_us;
    if (next != INT64_MAX) {
        uint64_t wait_ms = next > now ? (uint64_t)(next - now + 999) / 1000 : 0;
        uv_timer_start(&w->timer, on_timer, wait_ms ? wait_ms : 1, 0);
    }
    if (w->phase == RUNNING)
        turns_nap(&w->turns, path_in_flight(w->path));
    int64_t busy_us = turns_end(&w->turns);
    if (busy_us >= 0)
        watch_turn(w->watch, busy_us);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct worker *w = handle->data;
    if (w->phase == RUNNING) {
        log_event(LOG_INFO, "draining", LF_INT("signal", signum),
                  LF_INT("in_flight", path_in_flight(w->path)));
        worker_drain(w);
    } else if (w->phase == DRAINING) {
        w->drain_until_us = clock_mono_us(); /* step_shutdown goes on from there */
    }
}

static void on_sighup(uv_signal_t *handle, int signum)
{
    (void)signum;
    reload_now(((struct worker *)handle->data)->reload);
}

/* ---- /metrics, /readyz
 * ---------------------------------------------------------------------------- */

static void before_metrics(void *arg)
{
    struct worker *w = arg;
    struct watch_gauges gauges = {
        .path = w->path,
        .admission = w->admission,
        .boot_us = clock_boot_us(),
        .store = store_figures(w->store),
        .parked_due = store_parked_due(w->store),
        .lease_left_us = store_lease_left_us(w->store),
        .clock_offset_ms = store_clock_offset_ms(w->store),
        .worker_id = store_worker_id(w->store),
        .store_queued = store_queued(w->store),
        .postgres_up = store_is_up(w->store),
        .kafka_up = consumer_connected(w->consumer),
    };
    for (int i = 0; i < w->served.count; i++)
        gauges.lag[i] = consumer_lag(w->consumer, i);
    watch_refresh(w->watch, &gauges);
}

static bool is_live(void *arg)
{
    return ((struct worker *)arg)->phase != STOPPED;
}

static bool is_ready(void *arg, char *why, int why_bytes)
{
    struct worker *w = arg;
    const char *reason = NULL;
    if (w->phase != RUNNING)
        reason = "draining";
    else if (!store_is_up(w->store))
        reason = "postgres is away";
    else if (!store_may_claim(w->store))
        reason = "no lease yet";
    else if (!consumer_connected(w->consumer))
        reason = "kafka is away";
    if (reason)
        snprintf(why, (size_t)why_bytes, "%s", reason);
    return !reason;
}

/* ---- making ---------------------------------------------------------------------------------- */

static void name_things(struct worker *w)
{
    (void)snprintf(w->dead_topic, sizeof w->dead_topic, "%s.dead",
                   config_text(w->config, "prefix"));
    process_host(w->host, sizeof w->host);
}

/* Known before the first record comes: an older id has no partition to be stored in. */
static enum rc ask_oldest_live(struct worker *w, struct pgc *conn, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = pgc_exec(conn, "SELECT inferq.oldest_live_ms()", NULL, &rows, err);
    if (rc == RC_OK)
        w->oldest_live_ms = pg_get_int(rows, 0, 0);
    pg_rows_free(rows);
    return rc;
}

static enum rc load_catalogue(struct worker *w, struct err *err)
{
    enum rc rc = catalogue_load(config_text(w->config, "catalogue"), &w->catalogue, err);
    if (rc != RC_OK)
        return rc;
    struct pgc *conn = NULL;
    rc = pgc_open(config_text(w->config, "postgres"), "inferq-worker", &conn, err);
    if (rc != RC_OK)
        return rc;
    int made = 0;
    rc = ask_oldest_live(w, conn, err);
    if (rc == RC_REJECT) /* nothing else can be wrong with that statement */
        err_prefix(err, rc, "the database is not migrated: run `inferq migrate`");
    if (rc == RC_OK)
        rc = served_read(&w->served, conn, w->config, err);
    if (rc == RC_OK)
        rc = catalogue_apply(w->catalogue, conn, "inferq-worker", &made, err);
    pgc_close(conn);
    if (rc == RC_OK)
        log_event(LOG_INFO, "catalogue applied", LF_STR("name", w->catalogue->name),
                  LF_INT("new", made));
    return rc;
}

static enum rc make_http(struct worker *w, struct err *err)
{
    struct http_conf conf = {
        .expected_in_flight = (int)config_int(w->config, "max_in_flight"),
    };
    worker_hear_http(w, &conf);
    enum rc rc = http_new(&w->loop, &conf, &w->http, err);
    return rc == RC_OK ? targets_new(w->http, w->catalogue, &w->targets, err) : rc;
}

static enum rc make_store(struct worker *w, struct err *err)
{
    struct store_conf conf = {
        .conninfo = config_text(w->config, "postgres"),
        .host = w->host,
        .build = INFERQ_VERSION,
        .cluster = config_text(w->config, "prefix"),
        .topics = w->served.topics,
        .lane_codes = w->served.codes,
        .lane_count = w->served.count,
        .lease_us = config_int(w->config, "lease.time"),
        .heartbeat_us = config_int(w->config, "lease.heartbeat"),
        .lease_margin_us = config_int(w->config, "lease.time") / 5,
        .fence_after_us = config_int(w->config, "lease.time") / 3,
        .unbroken_us = config_int(w->config, "lease.time") * 4 / 3,
        .admission = w->admission,
        .lanes = path_lanes(w->path),
        .learns = w->path,
    };
    worker_hear_store(w, &conf);
    return store_new(&w->loop, &conf, &w->store, err);
}

static enum rc make_path(struct worker *w, struct err *err)
{
    w->admission = admission_new(NULL, 0);
    if (!w->admission)
        return err_set(err, RC_NOMEM, "no memory for shared limits");
    struct path_conf conf = {.catalogue = w->catalogue, .ring = w->ring, .admission = w->admission};
    settings_path(w->config, w->served.names, w->served.count, &conf);
    struct path_edges edges;
    worker_path_edges(w, &edges);
    conf.fleet_lease_us = config_int(w->config, "lease.time");
    enum rc rc = path_new(&conf, &edges, &w->path, err);
    if (rc == RC_OK)
        path_oldest_live(w->path, w->oldest_live_ms);
    return rc;
}

static enum rc make_kafka(struct worker *w, struct err *err)
{
    enum rc rc = letters_new(&w->loop, w->config, w->dead_topic, config_text(w->config, "group"),
                             worker_published, w, &w->letters, err);
    if (rc != RC_OK)
        return rc;
    struct consumer_conf conf = {
        .config = w->config,
        .group = config_text(w->config, "group"),
        .client_id = "inferq-worker",
        .topics = w->served.topics,
        .topic_count = w->served.count,
    };
    worker_hear_kafka(w, &conf);
    return consumer_new(&w->loop, &conf, &w->consumer, err);
}

static enum rc make_ops(struct worker *w, struct err *err)
{
    struct ops_conf conf = {
        .listen = config_text(w->config, "listen"),
        .arg = w,
        .before_metrics = before_metrics,
        .live = is_live,
        .ready = is_ready,
        .metrics = watch_metrics(w->watch),
    };
    enum rc rc = ops_new(&w->loop, &conf, &w->ops, err);
    if (rc == RC_OK)
        log_event(LOG_INFO, "listening", LF_INT("port", ops_port(w->ops)));
    return rc;
}

static enum rc make_reload(struct worker *w, struct err *err)
{
    struct reload_conf conf = {
        .loop = &w->loop,
        .config = w->config,
        .ring = &w->ring,
        .catalogue = &w->catalogue,
        .path = w->path,
        .store = w->store,
        .targets = w->targets,
        .watch = w->watch,
        .served = &w->served,
        .arg = w->reread_arg,
        .reread = w->reread,
    };
    w->reload = reload_new(&conf);
    return w->reload ? RC_OK : err_set(err, RC_NOMEM, "no memory for reloads");
}

static void make_loop(struct worker *w)
{
    uv_prepare_init(&w->loop, &w->before_wait);
    uv_loop_configure(&w->loop, UV_METRICS_IDLE_TIME);
    uv_timer_init(&w->loop, &w->timer);
    uv_signal_init(&w->loop, &w->sigterm);
    uv_signal_init(&w->loop, &w->sigint);
    uv_signal_init(&w->loop, &w->sighup);
    w->before_wait.data = w->timer.data = w->sigterm.data = w->sigint.data = w->sighup.data = w;
}

static void start_loop(struct worker *w)
{
    uv_prepare_start(&w->before_wait, on_before_wait);
    uv_signal_start(&w->sigterm, on_signal, SIGTERM);
    uv_signal_start(&w->sigint, on_signal, SIGINT);
    uv_signal_start(&w->sighup, on_sighup, SIGHUP);
}

/* In the order in which each needs the others. */
static enum rc make_all(struct worker *w, struct err *err)
{
    enum rc rc = process_descriptors(config_int(w->config, "max_in_flight"), err);
    if (rc == RC_OK)
        rc = reload_ring(w->config, &w->ring, err);
    if (rc == RC_OK)
        rc = load_catalogue(w, err);
    if (rc != RC_OK)
        return rc;
    name_things(w);
    w->watch = watch_new(w->catalogue, w->served.names, w->served.count);
    if (!w->watch)
        return err_set(err, RC_NOMEM, "no memory for metrics");
    rc = make_path(w, err);
    if (rc == RC_OK)
        rc = make_http(w, err);
    if (rc == RC_OK)
        rc = make_store(w, err);
    if (rc == RC_OK)
        rc = make_kafka(w, err);
    if (rc == RC_OK)
        rc = make_reload(w, err);
    return rc == RC_OK ? make_ops(w, err) : rc;
}

/* ---- unmaking -------------------------------------------------------------------------------- */

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Each edge closes its own handles; ours and the loop go last. */
static void unmake(struct worker *w)
{
    uv_prepare_stop(&w->before_wait);
    if (w->path)
        path_abort_calls(w->path);
    ops_free(w->ops);
    reload_free(w->reload);
    consumer_free(w->consumer, CLOSE_KAFKA_MS);
    letters_free(w->letters);
    http_free(w->http);
    store_free(w->store);
    uv_close((uv_handle_t *)&w->before_wait, NULL);
    uv_close((uv_handle_t *)&w->timer, NULL);
    uv_close((uv_handle_t *)&w->sigterm, NULL);
    uv_close((uv_handle_t *)&w->sigint, NULL);
    uv_close((uv_handle_t *)&w->sighup, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&w->loop) != 0)
        uv_walk(&w->loop, close_handle, NULL);
    path_free(w->path);
    admission_free(w->admission);
    targets_free(w->targets); /* after the loop: a call that ends in it asks for its own */
    sign_ring_free(w->ring);
    watch_free(w->watch);
    catalogue_free(w->catalogue);
}

int worker_run(struct config *config, worker_reread reread, void *reread_arg)
{
    struct worker *w = calloc(1, sizeof *w);
    struct err err = {0};
    if (!w || uv_loop_init(&w->loop) != 0 ||
        getrandom(w->random_state, sizeof w->random_state, 0) != sizeof w->random_state) {
        log_event(LOG_ERROR, "cannot start: no memory, descriptors or randomness");
        free(w);
        return EXIT_BROKEN;
    }
    w->config = config;
    w->reread = reread;
    w->reread_arg = reread_arg;
    w->turns.loop = &w->loop;
    make_loop(w);
    enum rc rc = make_all(w, &err);
    if (rc == RC_OK) {
        log_event(LOG_INFO, "started", LF_STR("build", INFERQ_VERSION), LF_STR("host", w->host),
                  LF_INT("pid", getpid()));
        start_loop(w);
        uv_run(&w->loop, UV_RUN_DEFAULT);
    } else {
        log_event(LOG_ERROR, "cannot start", LF_STR("why", err.text));
        w->exit_code = rc == RC_RETRY ? EXIT_UNREACHABLE : EXIT_USAGE;
    }
    int exit_code = w->exit_code;
    unmake(w);
    free(w);
    log_event(LOG_INFO, "stopped", LF_INT("exit", exit_code));
    return exit_code;
}
