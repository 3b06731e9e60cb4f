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
#include <uv.h>

#include "common/catalogue.h"
#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/pg.h"
#include "worker/consumer.h"
#include "worker/http.h"
#include "worker/letters.h"
#include "worker/ops.h"
#include "worker/path.h"
#include "worker/process.h"
#include "worker/reload.h"
#include "worker/served.h"
#include "worker/settings.h"
#include "worker/store.h"
#include "worker/targets.h"
#include "worker/turns.h"
#include "worker/watch.h"

#ifndef INFERQ_VERSION
#define INFERQ_VERSION "unknown"
#endif

enum {
    NAME_BYTES = 256,
    CLOSE_KAFKA_MS = 10 * 1000,
    ABORT_WAIT_US = 10 * 1000 * 1000, /* after the drain's time: for stores of aborted calls */
};

enum phase { RUNNING, DRAINING, ABORTING, STOPPING, STOPPED };

struct worker {
    struct config *config;
    worker_reread reread;
    void *reread_arg;
    uv_loop_t loop;
    uv_prepare_t before_wait;
    uv_timer_t timer;
    uv_signal_t sigterm, sigint, sighup;

    struct served served;
    char dead_topic[NAME_BYTES], host[NAME_BYTES];
    struct catalogue *catalogue;
    struct targets *targets;
    struct sign_ring *ring;
    int64_t oldest_live_ms; /* at start; the store edge tells of changes */

    struct consumer *consumer;
    struct http *http;
    struct store *store;
    struct letters *letters;
    struct ops *ops;
    struct path *path;
    struct watch *watch;
    struct reload *reload;

    enum phase phase;
    int64_t drain_until_us;
    struct turns turns;
    uint64_t random_state[2];
    int exit_code;
};

/* ---- the path's edges ---------------------------------------------------------------------------
 */

static void edge_pause_lane(void *arg, int lane, bool on)
{
    consumer_pause(((struct worker *)arg)->consumer, lane, on);
}

static void edge_store_offset(void *arg, int lane, int32_t partition, uint32_t epoch, int64_t next)
{
    consumer_store(((struct worker *)arg)->consumer, lane, partition, epoch, next);
}

static void edge_release(void *arg)
{
    consumer_release(((struct worker *)arg)->consumer);
}

static bool edge_may_claim(void *arg)
{
    return store_may_claim(((struct worker *)arg)->store);
}

static void edge_claim(void *arg, struct job *job)
{
    struct worker *w = arg;
    if (job->in_table)
        store_batch_seen(w->store, &job->msg, job->lane);
    store_claim(w->store, job);
}

static void edge_store(void *arg, struct job *job)
{
    struct worker *w = arg;
    store_batch_seen(w->store, &job->msg, job->lane);
    store_end(w->store, job);
}

static void edge_park(void *arg, struct job *job)
{
    store_park(((struct worker *)arg)->store, job);
}

static void edge_bury(void *arg, struct job *job)
{
    store_bury(((struct worker *)arg)->store, job);
}

static void edge_pull(void *arg, int32_t wait_key, int lane, int max_rows)
{
    store_pull(((struct worker *)arg)->store, wait_key, lane, max_rows);
}

static void edge_count_parked(void *arg, int32_t wait_key, int64_t most)
{
    store_count_parked(((struct worker *)arg)->store, wait_key, most);
}

static void edge_others_wait(void *arg, int lane, const struct job *job)
{
    store_others_wait(((struct worker *)arg)->store, lane, job);
}

static void edge_ask_skips(void *arg)
{
    store_ask_skips(((struct worker *)arg)->store);
}

static enum rc edge_call(void *arg, struct job *job, struct err *err)
{
    struct worker *w = arg;
    if (FAILPOINT_FAILS("call.start", job->msg.custom_id))
        return err_set(err, RC_NOMEM, "a failpoint");
    targets_take(w->targets, job->endpoint, &job->call->http);
    enum rc rc = http_start(w->http, &job->call->http, err);
    if (rc != RC_OK)
        targets_done(w->targets, job->endpoint, &job->call->http);
    return rc;
}

static void edge_abort(void *arg, struct job *job)
{
    http_abort(((struct worker *)arg)->http, &job->call->http);
}

static void edge_scrub(void *arg, int endpoint, char *text, size_t n)
{
    targets_scrub(((struct worker *)arg)->targets, endpoint, text, n);
}

static void edge_unused(void *arg, struct catalogue *catalogue)
{
    (void)arg;
    catalogue_free(catalogue); /* a reload has put another in its place */
}

static uint64_t edge_random(void *arg)
{
    return process_random(((struct worker *)arg)->random_state);
}

static int64_t edge_mono_us(void *arg)
{
    (void)arg;
    return clock_mono_us();
}

static int64_t edge_wall_ms(void *arg)
{
    return clock_wall_ms() + store_clock_offset_ms(((struct worker *)arg)->store);
}

static void edge_seen(void *arg, enum path_sight what, const struct job *job)
{
    watch_sight(((struct worker *)arg)->watch, what, job, clock_mono_us());
}

/* ---- what edges tell the path
 * --------------------------------------------------------------------- */

static void on_record(void *arg, const struct record *record)
{
    path_record(((struct worker *)arg)->path, record);
}

static void on_assigned(void *arg, int lane, int32_t partition, uint32_t epoch)
{
    path_assigned(((struct worker *)arg)->path, lane, partition, epoch);
}

static void on_revoke(void *arg, bool lost)
{
    path_revoke(((struct worker *)arg)->path, lost);
}

static void on_kafka_error(void *arg, const char *what)
{
    (void)arg;
    log_event(LOG_WARN, "kafka trouble; it mends itself or waits", LF_STR("why", what));
}

/* Nothing new starts; what is under way ends, within drain.timeout. */
static void begin_drain(struct worker *w)
{
    w->phase = DRAINING;
    w->drain_until_us = clock_mono_us() + config_int(w->config, "drain.timeout");
    consumer_stop(w->consumer);
    path_drain(w->path);
}

/* The process cannot go on: calls in flight may still end, then it exits non-zero. */
static void fatal(struct worker *w, const char *what, const char *why)
{
    log_event(LOG_ERROR, what, LF_STR("why", why));
    w->exit_code = EXIT_BROKEN;
    if (w->phase == RUNNING)
        begin_drain(w);
}

static void on_kafka_fatal(void *arg, const char *what)
{
    fatal(arg, "kafka: a fatal error", what);
}

static void on_claimed(void *arg, struct job *job)
{
    path_claimed(((struct worker *)arg)->path, job);
}

static void on_stored(void *arg, struct job *job)
{
    path_stored(((struct worker *)arg)->path, job);
}

static void on_refused(void *arg, struct job *job, const char *why)
{
    path_store_refused(((struct worker *)arg)->path, job, why);
}

static void on_park_refused(void *arg, struct job *job, const char *why)
{
    path_park_refused(((struct worker *)arg)->path, job, why);
}

static void on_gone(void *arg, struct job *job)
{
    path_gone(((struct worker *)arg)->path, job);
}

static void on_parked(void *arg, struct job *job)
{
    path_parked(((struct worker *)arg)->path, job);
}

static void on_buried(void *arg, struct job *job)
{
    path_buried(((struct worker *)arg)->path, job);
}

static void on_pulled(void *arg, const struct parked_row *row)
{
    path_pulled(((struct worker *)arg)->path, row);
}

static void on_due(void *arg, int32_t wait_key, int lane, int64_t rows)
{
    path_due(((struct worker *)arg)->path, wait_key, lane, rows);
}

static bool on_cancelled(void *arg, const struct jobid *batch_id)
{
    return path_cancelled(((struct worker *)arg)->path, batch_id);
}

static void on_skips(void *arg, const struct skip *list, int count)
{
    path_skips(((struct worker *)arg)->path, list, count);
}

static void on_parked_count(void *arg, int32_t wait_key, int64_t rows)
{
    struct worker *w = arg;
    if (!path_parked_count(w->path, wait_key, rows))
        return;
    for (int i = 0; i < w->catalogue->endpoint_count; i++) {
        bool full = path_parking_full(w->path, i);
        if (w->catalogue->endpoints[i].db_id == wait_key)
            log_event(full ? LOG_WARN : LOG_INFO,
                      full ? "parking is full: lanes with jobs of the endpoint will block"
                           : "parking has room again",
                      LF_STR("endpoint", w->catalogue->endpoints[i].name), LF_INT("counted", rows));
    }
}

static void on_others_wait(void *arg, int lane)
{
    path_others_wait(((struct worker *)arg)->path, lane);
}

static void on_held(void *arg, const int32_t *endpoint_ids, int count)
{
    path_held(((struct worker *)arg)->path, endpoint_ids, count);
}

static void on_oldest_live(void *arg, int64_t oldest_live_ms)
{
    path_oldest_live(((struct worker *)arg)->path, oldest_live_ms);
}

static void on_publish(void *arg, const struct store_letter *letter)
{
    letters_send(((struct worker *)arg)->letters, letter);
}

static void on_published(void *arg, int64_t dead_id, bool ok)
{
    struct worker *w = arg;
    watch_letter(w->watch, ok);
    store_published(w->store, dead_id, ok);
}

static bool on_gate(void *arg, struct http_call *call)
{
    const struct job *job = call->arg;
    if (FAILPOINT_FAILS("gate.ask", job->msg.custom_id))
        return false;
    return store_may_send(((struct worker *)arg)->store, job->claimed_by);
}

static void on_called(void *arg, struct http_call *call)
{
    struct worker *w = arg;
    struct job *job = call->arg;
    turns_called(&w->turns, call->done_us - call->started_us);
    targets_hide(w->targets, job->endpoint, call);
    targets_done(w->targets, job->endpoint, call);
    path_called(w->path, job);
}

/* ---- the loop -----------------------------------------------------------------------------------
 */

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

/* `inferq worker drain`: as a first SIGTERM. */
static void on_drain(void *arg)
{
    struct worker *w = arg;
    if (w->phase != RUNNING)
        return;
    log_event(LOG_INFO, "draining: an operator asked for it",
              LF_INT("in_flight", path_in_flight(w->path)));
    begin_drain(w);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct worker *w = handle->data;
    if (w->phase == RUNNING) {
        log_event(LOG_INFO, "draining", LF_INT("signal", signum),
                  LF_INT("in_flight", path_in_flight(w->path)));
        begin_drain(w);
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

/* ---- making -------------------------------------------------------------------------------------
 */

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
        .gate = on_gate,
        .done = on_called,
        .arg = w,
    };
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
        .arg = w,
        .claimed = on_claimed,
        .stored = on_stored,
        .refused = on_refused,
        .park_refused = on_park_refused,
        .gone = on_gone,
        .parked = on_parked,
        .buried = on_buried,
        .pulled = on_pulled,
        .due = on_due,
        .cancelled = on_cancelled,
        .skips = on_skips,
        .held = on_held,
        .others_wait = on_others_wait,
        .parked_count = on_parked_count,
        .drain = on_drain,
        .oldest_live = on_oldest_live,
        .publish = on_publish,
    };
    return store_new(&w->loop, &conf, &w->store, err);
}

static enum rc make_path(struct worker *w, struct err *err)
{
    struct path_conf conf = {.catalogue = w->catalogue, .ring = w->ring};
    settings_path(w->config, w->served.names, w->served.count, &conf);
    struct path_edges edges = {
        .arg = w,
        .pause_lane = edge_pause_lane,
        .store_offset = edge_store_offset,
        .release = edge_release,
        .may_claim = edge_may_claim,
        .claim = edge_claim,
        .store = edge_store,
        .park = edge_park,
        .bury = edge_bury,
        .pull = edge_pull,
        .others_wait = edge_others_wait,
        .count_parked = edge_count_parked,
        .ask_skips = edge_ask_skips,
        .call = edge_call,
        .abort = edge_abort,
        .scrub = edge_scrub,
        .unused = edge_unused,
        .random = edge_random,
        .mono_us = edge_mono_us,
        .wall_ms = edge_wall_ms,
        .seen = edge_seen,
    };
    enum rc rc = path_new(&conf, &edges, &w->path, err);
    if (rc == RC_OK)
        path_oldest_live(w->path, w->oldest_live_ms);
    return rc;
}

static enum rc make_kafka(struct worker *w, struct err *err)
{
    enum rc rc = letters_new(&w->loop, w->config, w->dead_topic, config_text(w->config, "group"),
                             on_published, w, &w->letters, err);
    if (rc != RC_OK)
        return rc;
    struct consumer_conf conf = {
        .config = w->config,
        .group = config_text(w->config, "group"),
        .client_id = "inferq-worker",
        .topics = w->served.topics,
        .topic_count = w->served.count,
        .arg = w,
        .on_record = on_record,
        .on_assigned = on_assigned,
        .on_revoke = on_revoke,
        .on_error = on_kafka_error,
        .on_fatal = on_kafka_fatal,
    };
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

/* ---- unmaking -----------------------------------------------------------------------------------
 */

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
