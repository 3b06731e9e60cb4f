/*
 * worker_edges.c - who tells whom what: the path's edges, and what Kafka, Postgres and the models
 * tell the path.
 *
 * Happy path: each function hands one word on. What happens to a job is in path.c; what the process
 * does with its time is in worker.c.
 */
#include <string.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "worker/process.h"
#include "worker/worker_internal.h"

/* ---- the path's edges ------------------------------------------------------------------------ */

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

static void edge_pay(void *arg, struct job *job)
{
    store_pay(((struct worker *)arg)->store, job);
}

static void edge_pull(void *arg, int32_t wait_key, int lane, const struct pull_app *apps, int count)
{
    store_pull(((struct worker *)arg)->store, wait_key, lane, apps, count);
}

static void edge_count_parked(void *arg, int32_t wait_key, int64_t most)
{
    store_count_parked(((struct worker *)arg)->store, wait_key, most);
}

static void edge_others_wait(void *arg, int lane, const struct job *job)
{
    store_others_wait(((struct worker *)arg)->store, lane, job);
}

static bool edge_ask_known(void *arg, struct job *const *jobs, int n)
{
    return store_ask_known(((struct worker *)arg)->store, jobs, n);
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

static int64_t edge_boot_us(void *arg)
{
    (void)arg;
    return clock_boot_us();
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

static void on_kafka_fatal(void *arg, const char *what)
{
    worker_fails(arg, "kafka: a fatal error", what);
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

static void on_paid(void *arg, struct job *job)
{
    path_paid(((struct worker *)arg)->path, job);
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

static void on_due(void *arg, int32_t wait_key, int lane, const struct pull_app *apps, int count)
{
    path_due(((struct worker *)arg)->path, wait_key, lane, apps, count);
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
    bool full = path_parking_full(w->path, wait_key);
    const char *what = full ? "parking is full: lanes with jobs of the endpoint or limit will block"
                            : "parking has room again";
    const char *name = "";
    for (int i = 0; i < w->catalogue->endpoint_count; i++)
        if (w->catalogue->endpoints[i].db_id == wait_key)
            name = w->catalogue->endpoints[i].name;
    if (wait_key < 0)
        log_event(full ? LOG_WARN : LOG_INFO, what, LF_INT("limit", -wait_key),
                  LF_INT("counted", rows));
    else
        log_event(full ? LOG_WARN : LOG_INFO, what, LF_STR("endpoint", name),
                  LF_INT("counted", rows));
}

static void on_limits_moved(void *arg)
{
    path_limits_moved(((struct worker *)arg)->path);
}

static void on_others_wait(void *arg, int lane)
{
    path_others_wait(((struct worker *)arg)->path, lane);
}

static void on_known(void *arg, const struct jobid *id)
{
    path_known(((struct worker *)arg)->path, id);
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

void worker_published(void *arg, int64_t dead_id, bool ok)
{
    struct worker *w = arg;
    watch_letter(w->watch, ok);
    store_published(w->store, dead_id, ok);
}

static bool on_gate(void *arg, struct http_call *call)
{
    struct worker *w = arg;
    struct job *job = call->arg;
    if (FAILPOINT_FAILS("gate.ask", job->msg.custom_id))
        return false;
    return store_may_send(w->store, job->claimed_by) && path_may_leave(w->path, job);
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

/* `inferq worker drain`: as a first SIGTERM. */
static void on_drain(void *arg)
{
    struct worker *w = arg;
    if (w->phase != RUNNING)
        return;
    log_event(LOG_INFO, "draining: an operator asked for it",
              LF_INT("in_flight", path_in_flight(w->path)));
    worker_drain(w);
}

/* ---- put together ---------------------------------------------------------------------------- */

void worker_path_edges(struct worker *w, struct path_edges *ret)
{
    *ret = (struct path_edges){
        .arg = w,
        .pause_lane = edge_pause_lane,
        .store_offset = edge_store_offset,
        .release = edge_release,
        .may_claim = edge_may_claim,
        .claim = edge_claim,
        .store = edge_store,
        .park = edge_park,
        .bury = edge_bury,
        .pay = edge_pay,
        .pull = edge_pull,
        .others_wait = edge_others_wait,
        .count_parked = edge_count_parked,
        .ask_known = edge_ask_known,
        .ask_skips = edge_ask_skips,
        .call = edge_call,
        .abort = edge_abort,
        .scrub = edge_scrub,
        .unused = edge_unused,
        .random = edge_random,
        .mono_us = edge_mono_us,
        .boot_us = edge_boot_us,
        .wall_ms = edge_wall_ms,
        .seen = edge_seen,
    };
}

void worker_hear_store(struct worker *w, struct store_conf *conf)
{
    conf->arg = w;
    conf->limits_moved = on_limits_moved;
    conf->claimed = on_claimed;
    conf->stored = on_stored;
    conf->refused = on_refused;
    conf->park_refused = on_park_refused;
    conf->gone = on_gone;
    conf->parked = on_parked;
    conf->buried = on_buried;
    conf->paid = on_paid;
    conf->pulled = on_pulled;
    conf->due = on_due;
    conf->cancelled = on_cancelled;
    conf->skips = on_skips;
    conf->held = on_held;
    conf->others_wait = on_others_wait;
    conf->known = on_known;
    conf->parked_count = on_parked_count;
    conf->drain = on_drain;
    conf->oldest_live = on_oldest_live;
    conf->publish = on_publish;
}

void worker_hear_kafka(struct worker *w, struct consumer_conf *conf)
{
    conf->arg = w;
    conf->on_record = on_record;
    conf->on_assigned = on_assigned;
    conf->on_revoke = on_revoke;
    conf->on_error = on_kafka_error;
    conf->on_fatal = on_kafka_fatal;
}

void worker_hear_http(struct worker *w, struct http_conf *conf)
{
    conf->arg = w;
    conf->gate = on_gate;
    conf->done = on_called;
}
