/*
 * watch.c - see watch.h. Labels are lanes, classes, endpoint and catalogue names, and limits: small
 * closed sets.
 */
#include "worker/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/hex.h"
#include "common/log.h"
#include "worker/admission.h"
#include "worker/process.h"
#include "worker/watch_metrics.h"

#ifndef INFERQ_VERSION
#define INFERQ_VERSION "unknown"
#endif

enum { CATALOGUE_HEX_DIGITS = 12 };

/* Series that most jobs touch are looked up by their labels once, when they are first seen. */
struct endpoint_series {
    struct metric_series *calls_ok, *call_seconds;
    bool limit_told; /* that its rate limit was used up: the log hears of it once */
};

struct version_series {
    struct metric_series *cost;
    struct token_series {
        struct metric_series *reported, *estimated, *error;
    } input, output;
};

struct shown_limit {
    enum limit_scope scope;
    enum limit_dimension dimension;
    char key[METRIC_VALUE_BYTES];
};

struct watch {
    struct metrics *metrics;
    struct shown_limit *limits; /* that have series */
    size_t limit_count;
    const struct catalogue *catalogue;
    const char *const *lanes;
    int lane_count;
    struct metric_series *fetched[LANES_MAX], *queue[LANES_MAX], *job_seconds[LANES_MAX];
    struct metric_series *succeeded[LANES_MAX], *wasted[LANES_MAX];
    struct metric_series *turn;
    struct endpoint_series *endpoints; /* by the catalogue's index */
    struct version_series *versions;
    size_t endpoint_room, version_room;
};

static void set(struct watch *w, int def, const char *label, double value)
{
    metric_set(metrics_series(w->metrics, def, label, NULL, NULL), value);
}

/* A counter that somebody else counts. */
static void count_up_to(struct metric_series *series, double total)
{
    if (total > metric_value(series))
        metric_add(series, total - metric_value(series));
}

/* What does not change while it runs. */
static void start_info(struct watch *w)
{
    struct process_facts process;
    process_facts(&process);
    set(w, M_BUILD, INFERQ_VERSION, 1);
    set(w, M_PROCESS_START, NULL, process.started_s);
}

/* The beginning of the file's hash. */
static void catalogue_hex(const struct catalogue *cat, char out[2 * HASH_BYTES + 1])
{
    hex_encode(cat->sha256, sizeof cat->sha256, out);
    out[CATALOGUE_HEX_DIGITS] = '\0';
}

void watch_take(struct watch *w, const struct catalogue *next)
{
    char hex[2 * HASH_BYTES + 1];
    if (w->catalogue) {
        catalogue_hex(w->catalogue, hex);
        metrics_drop(w->metrics, M_CATALOGUE, hex, NULL, NULL);
    }
    catalogue_hex(next, hex);
    w->catalogue = next;
    set(w, M_CATALOGUE, hex, 1);
    set(w, M_CATALOGUE_LOADED, NULL, (double)clock_wall_ms() / 1e3);
}

enum rc watch_prepare(struct watch *w, const struct catalogue *next, struct err *err)
{
    size_t endpoints = (size_t)next->endpoint_count + 1, versions = (size_t)next->version_count + 1;
    struct endpoint_series *e = w->endpoints;
    struct version_series *v = w->versions;
    if (endpoints > w->endpoint_room && (e = realloc(e, endpoints * sizeof *e))) {
        memset(e + w->endpoint_room, 0, (endpoints - w->endpoint_room) * sizeof *e);
        w->endpoints = e;
        w->endpoint_room = endpoints;
    }
    if (versions > w->version_room && (v = realloc(v, versions * sizeof *v))) {
        memset(v + w->version_room, 0, (versions - w->version_room) * sizeof *v);
        w->versions = v;
        w->version_room = versions;
    }
    return e && v ? RC_OK : err_set(err, RC_NOMEM, "no memory for the catalogue's metrics");
}

struct watch *watch_new(const struct catalogue *catalogue, const char *const *lane_names,
                        int lane_count)
{
    struct watch *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->metrics = metrics_new(watch_defs);
    if (!w->metrics || watch_prepare(w, catalogue, NULL) != RC_OK) {
        watch_free(w);
        return NULL;
    }
    w->lanes = lane_names;
    w->lane_count = lane_count;
    for (int i = 0; i < lane_count; i++) {
        w->fetched[i] = metrics_series(w->metrics, M_FETCHED, lane_names[i], NULL, NULL);
        w->queue[i] = metrics_series(w->metrics, M_QUEUE_SECONDS, lane_names[i], NULL, NULL);
        w->job_seconds[i] = metrics_series(w->metrics, M_JOB_SECONDS, lane_names[i], NULL, NULL);
        w->wasted[i] = metrics_series(w->metrics, M_WASTED, lane_names[i], NULL, NULL);
    }
    w->turn = metrics_series(w->metrics, M_TURN, NULL, NULL, NULL);
    start_info(w);
    watch_take(w, catalogue);
    watch_reload(w, true, 0);
    return w;
}

void watch_free(struct watch *w)
{
    if (!w)
        return;
    metrics_free(w->metrics);
    free(w->endpoints);
    free(w->versions);
    free(w->limits);
    free(w);
}

const struct metrics *watch_metrics(const struct watch *w)
{
    return w->metrics;
}

static const char *endpoint_name(const struct watch *w, const struct job *job)
{
    return w->catalogue->endpoints[job->endpoint].name;
}

static void count(struct watch *w, int def, const char *l0, const char *l1, const char *l2)
{
    metric_add(metrics_series(w->metrics, def, l0, l1, l2), 1);
}

/* `slot` holds the series from its first use on. */
static struct metric_series *held(struct watch *w, struct metric_series **slot, int def,
                                  const char *l0, const char *l1, const char *l2)
{
    if (!*slot)
        *slot = metrics_series(w->metrics, def, l0, l1, l2);
    return *slot;
}

static void tokens(struct watch *w, struct token_series *s, const char *label, const char *kind,
                   int64_t reported, int64_t estimated)
{
    int64_t off = estimated > reported ? estimated - reported : reported - estimated;
    metric_add(held(w, &s->reported, M_TOKENS, label, kind, NULL), (double)reported);
    metric_add(held(w, &s->estimated, M_TOKENS_ESTIMATED, label, kind, NULL), (double)estimated);
    metric_add(held(w, &s->error, M_TOKENS_ERROR, label, kind, NULL), (double)off);
}

static void call_paid(struct watch *w, const struct job *job)
{
    const struct outcome *o = &job->call->outcome;
    const char *label = job->mv->label;
    struct version_series *v = &w->versions[job->mv->index];
    if (o->cost_nusd < 0)
        count(w, M_UNPRICED, label, NULL, NULL);
    else
        metric_add(held(w, &v->cost, M_COST, label, NULL, NULL), (double)o->cost_nusd / 1e9);
    if (o->usage.input > 0)
        tokens(w, &v->input, label, "input", o->usage.input, job->estimated_input);
    if (o->usage.output > 0)
        tokens(w, &v->output, label, "output", o->usage.output, job->estimated_output);
}

static void call_ended(struct watch *w, const struct job *job)
{
    const struct outcome *o = &job->call->outcome;
    const char *endpoint = endpoint_name(w, job), *class = class_name((int)o->class);
    struct endpoint_series *e = &w->endpoints[job->endpoint];
    if (o->class == CLASS_OK)
        metric_add(held(w, &e->calls_ok, M_CALLS, endpoint, class, NULL), 1);
    else
        count(w, M_CALLS, endpoint, class, NULL);
    metric_observe(held(w, &e->call_seconds, M_CALL_SECONDS, endpoint, NULL, NULL),
                   (double)(job->call->http.done_us - job->call->http.started_us) / 1e6);
    call_paid(w, job);
    if (o->class != CLASS_OK)
        log_event(LOG_INFO, "call failed", LF_ID("job", &job->msg.job_id),
                  LF_INT("number", job->number), LF_STR("endpoint", endpoint_name(w, job)),
                  LF_STR("class", class), LF_INT("status", o->http_status),
                  LF_INT("curl", o->curl_code), LF_INT("attempts", job->attempts));
}

/* What its calls cost beside the one that gave the result; an unknown cost counts nowhere. */
static void waste(struct watch *w, const struct job *job)
{
    int64_t result_nusd = job->verdict_call && job->call ? job->call->outcome.cost_nusd : 0;
    if (job->spent_nusd > result_nusd && result_nusd >= 0)
        metric_add(w->wasted[job->lane], (double)(job->spent_nusd - result_nusd) / 1e9);
}

static void ended(struct watch *w, const struct job *job, int64_t now_us)
{
    const char *lane = w->lanes[job->lane], *status = status_name((int)job->status);
    const char *class = class_name((int)job->class);
    if (job->status == STATUS_SUCCEEDED) /* always with class ok */
        metric_add(held(w, &w->succeeded[job->lane], M_ENDED, lane, status, class), 1);
    else
        count(w, M_ENDED, lane, status, class);
    metric_observe(w->job_seconds[job->lane], (double)(now_us - job->fetched_us) / 1e6);
    metric_observe(w->queue[job->lane], (double)job->queue_us / 1e6);
    waste(w, job);
    if (job->status == STATUS_DEAD)
        log_event(LOG_WARN, "job died", LF_ID("job", &job->msg.job_id), LF_STR("class", class),
                  LF_INT("attempts", job->attempts), LF_STR("lane", lane),
                  LF_INT("partition", job->partition), LF_INT("offset", job->offset));
}

static void alert(struct watch *w, const struct job *job)
{
    const char *class = class_name((int)(job->bare ? job->class : job->call->outcome.class));
    const char *endpoint = job->endpoint >= 0 ? endpoint_name(w, job) : "none";
    count(w, M_ALERTS, endpoint, class, NULL);
    log_event(LOG_ERROR, "an operator is needed", LF_STR("endpoint", endpoint),
              LF_STR("class", class), LF_ID("job", &job->msg.job_id));
}

/* It may happen every few seconds for hours, and is no fault. */
static void limited(struct watch *w, const struct job *job)
{
    struct endpoint_series *e = &w->endpoints[job->endpoint];
    count(w, M_LIMITED, endpoint_name(w, job), NULL, NULL);
    if (!e->limit_told)
        log_event(LOG_INFO,
                  "an endpoint's rate limit is used up, as its replies say; calls wait for its "
                  "reset, here and from now on without another line",
                  LF_STR("endpoint", endpoint_name(w, job)));
    e->limit_told = true;
}

void watch_sight(struct watch *w, enum path_sight what, const struct job *job, int64_t now_us)
{
    const char *lane = w->lanes[job->lane];
    switch (what) {
    case SIGHT_FETCHED:
        metric_add(w->fetched[job->lane], 1);
        break;
    case SIGHT_BURIED:
        count(w, M_BURIED, lane, class_name((int)job->class), NULL);
        log_event(LOG_WARN, "a record is no job; kept as a dead letter",
                  LF_STR("class", class_name((int)job->class)), LF_STR("lane", lane),
                  LF_INT("partition", job->partition), LF_INT("offset", job->offset));
        break;
    case SIGHT_CALL_ENDED:
        call_ended(w, job);
        break;
    case SIGHT_ENDED:
        ended(w, job, now_us);
        break;
    case SIGHT_NOTHING_NEW:
        count(w, M_REDELIVERED, lane, NULL, NULL);
        break;
    case SIGHT_PARKED:
        count(w, M_PARKED, lane, class_name((int)job->park_reason), NULL);
        break;
    case SIGHT_PAUSED:
        count(w, M_PAUSES, endpoint_name(w, job), class_name((int)job->call->outcome.class), NULL);
        log_event(LOG_WARN, "endpoint paused", LF_STR("endpoint", endpoint_name(w, job)),
                  LF_STR("class", class_name((int)job->call->outcome.class)));
        break;
    case SIGHT_LIMITED:
        limited(w, job);
        break;
    case SIGHT_ALERT:
        alert(w, job);
        break;
    }
}

void watch_turn(struct watch *w, int64_t turn_us)
{
    metric_observe(w->turn, (double)turn_us / 1e6);
}

void watch_letter(struct watch *w, bool published)
{
    count(w, M_LETTERS, published ? "written" : "again", NULL, NULL);
}

void watch_reload(struct watch *w, bool taken, int restart_needed)
{
    set(w, M_RELOAD_OK, NULL, taken);
    if (!taken) {
        count(w, M_RELOAD_FAILURES, NULL, NULL, NULL);
        return;
    }
    set(w, M_RELOADED, NULL, (double)clock_wall_ms() / 1e3);
    set(w, M_RESTART_NEEDED, NULL, restart_needed);
}

static void raise_to(struct watch *w, int def, const char *label, double value)
{
    struct metric_series *series = metrics_series(w->metrics, def, label, NULL, NULL);
    if (value > metric_value(series))
        metric_set(series, value);
}

/* Versions of an endpoint share its name: their calls together, and the worst of the rest. */
static void refresh_endpoints(struct watch *w, const struct path *path)
{
    static const int defs[] = {M_ENDPOINT_IN_FLIGHT, M_ENDPOINT_BEARS, M_PARKING_FULL,
                               M_ENDPOINT_PAUSED};
    const struct cat_endpoint *endpoints = w->catalogue->endpoints;
    int count = w->catalogue->endpoint_count;
    for (int i = 0; i < count; i++)
        for (size_t k = 0; k < sizeof defs / sizeof *defs; k++)
            set(w, defs[k], endpoints[i].name, 0);
    for (int i = 0; i < count; i++) {
        const char *name = endpoints[i].name;
        metric_add(metrics_series(w->metrics, M_ENDPOINT_IN_FLIGHT, name, NULL, NULL),
                   path_endpoint_in_flight(path, i));
        if (endpoints[i].left)
            continue;
        metric_add(metrics_series(w->metrics, M_ENDPOINT_BEARS, name, NULL, NULL),
                   path_endpoint_bears(path, i));
        raise_to(w, M_PARKING_FULL, name, path_parking_full(path, endpoints[i].db_id));
        raise_to(w, M_ENDPOINT_PAUSED, name, (double)path_endpoint_paused_us(path, i) / 1e6);
    }
}

static void refresh_path(struct watch *w, const struct path *path)
{
    for (int state = 0; state < JOB_STATE_COUNT; state++)
        set(w, M_IN_STATE, job_state_name((enum job_state)state),
            (double)path_jobs(path, (enum job_state)state));
    refresh_endpoints(w, path);
    for (int i = 0; i < w->lane_count; i++) {
        set(w, M_LANE_JOBS, w->lanes[i], (double)path_lane_jobs(path, i));
        set(w, M_LANE_PAUSED, w->lanes[i], path_lane_paused(path, i));
        set(w, M_LANE_OLDEST, w->lanes[i], (double)path_lane_oldest_us(path, i) / 1e6);
    }
    set(w, M_IN_FLIGHT, NULL, path_in_flight(path));
    set(w, M_MEMORY, NULL, (double)path_memory_used(path));
    set(w, M_PARTITIONS_FROZEN, NULL, path_partitions_frozen(path));
}

static void show_limit(struct watch *w, const struct admission_state *at)
{
    struct shown_limit *more = realloc(w->limits, (w->limit_count + 1) * sizeof *more);
    if (!more)
        return;
    w->limits = more;
    struct shown_limit *l = &more[w->limit_count++];
    l->scope = at->rule->scope;
    l->dimension = at->rule->dimension;
    (void)snprintf(l->key, sizeof l->key, "%.*s", (int)at->rule->key.n, at->rule->key.p);
    const char *scope = limit_scope_name(l->scope), *dimension = limit_dimension_name(l->dimension);
    metric_set(metrics_series(w->metrics, M_LIMIT_SHARE, scope, l->key, dimension),
               (double)at->share);
    metric_set(metrics_series(w->metrics, M_LIMIT_USED, scope, l->key, dimension),
               (double)at->used);
    metric_set(metrics_series(w->metrics, M_LIMIT_WAITING, scope, l->key, dimension),
               (double)at->waiting);
    count_up_to(metrics_series(w->metrics, M_LIMIT_EXCESS, scope, l->key, dimension),
                (double)at->excess);
}

/* Limits come and go: each look shows those in force. */
static void refresh_limits(struct watch *w, struct admission *a, int64_t boot_us)
{
    static const int defs[] = {M_LIMIT_SHARE, M_LIMIT_USED, M_LIMIT_WAITING, M_LIMIT_EXCESS};
    struct admission_state at;
    for (size_t i = 0; i < w->limit_count; i++)
        for (size_t k = 0; k < sizeof defs / sizeof *defs; k++)
            metrics_drop(w->metrics, defs[k], limit_scope_name(w->limits[i].scope),
                         w->limits[i].key, limit_dimension_name(w->limits[i].dimension));
    w->limit_count = 0;
    for (size_t n = 0; admission_state(a, n, boot_us, &at); n++)
        show_limit(w, &at);
}

static void refresh_process(struct watch *w)
{
    struct process_facts process;
    process_facts(&process);
    count_up_to(metrics_series(w->metrics, M_PROCESS_CPU, NULL, NULL, NULL), process.cpu_s);
    set(w, M_PROCESS_RESIDENT, NULL, (double)process.resident_bytes);
    set(w, M_PROCESS_FDS, NULL, (double)process.open_descriptors);
    set(w, M_PROCESS_FDS_MAX, NULL, (double)process.descriptors_max);
}

static void refresh_store(struct watch *w, const struct store_figures *figures)
{
    count_up_to(metrics_series(w->metrics, M_FENCED, NULL, NULL, NULL), (double)figures->fenced);
    count_up_to(metrics_series(w->metrics, M_LOST, NULL, NULL, NULL), (double)figures->lost);
    set(w, M_LETTERS_OPEN, NULL, (double)figures->letters_open);
    set(w, M_LETTERS_UNPUBLISHED, NULL, (double)figures->letters_unpublished);
    set(w, M_BATCHES_LATE, NULL, (double)figures->batches_late);
}

void watch_refresh(struct watch *w, const struct watch_gauges *g)
{
    refresh_path(w, g->path);
    refresh_limits(w, g->admission, g->boot_us);
    refresh_process(w);
    refresh_store(w, g->store);
    for (int i = 0; i < w->lane_count; i++)
        if (g->lag[i] >= 0)
            set(w, M_LAG, w->lanes[i], (double)g->lag[i]);
    set(w, M_PARKED_DUE, NULL, (double)g->parked_due);
    set(w, M_STORE_QUEUED, NULL, (double)g->store_queued);
    set(w, M_LEASE, NULL, (double)g->lease_left_us / 1e6);
    set(w, M_CLOCK, NULL, (double)g->clock_offset_ms / 1e3);
    set(w, M_POSTGRES, NULL, g->postgres_up);
    set(w, M_KAFKA, NULL, g->kafka_up);
}
