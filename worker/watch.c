/*
 * watch.c - see watch.h. Labels are lanes, classes, endpoint and catalogue names: small closed
 * sets.
 */
#include "worker/watch.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/hex.h"
#include "common/log.h"
#include "worker/process.h"

#ifndef INFERQ_VERSION
#define INFERQ_VERSION "unknown"
#endif

enum { CATALOGUE_HEX_DIGITS = 12 };

enum {
    M_FETCHED,
    M_ENDED,
    M_REDELIVERED,
    M_PARKED,
    M_BURIED,
    M_QUEUE_SECONDS,
    M_JOB_SECONDS,
    M_CALLS,
    M_CALL_SECONDS,
    M_COST,
    M_UNPRICED,
    M_TOKENS,
    M_TOKENS_ESTIMATED,
    M_TOKENS_ERROR,
    M_ALERTS,
    M_PAUSES,
    M_LIMITED,
    M_LETTERS,
    M_IN_STATE,
    M_LANE_JOBS,
    M_LANE_PAUSED,
    M_LAG,
    M_ENDPOINT_IN_FLIGHT,
    M_ENDPOINT_BEARS,
    M_ENDPOINT_PAUSED,
    M_PARKING_FULL,
    M_IN_FLIGHT,
    M_MEMORY,
    M_PARKED_DUE,
    M_STORE_QUEUED,
    M_LEASE,
    M_CLOCK,
    M_POSTGRES,
    M_KAFKA,
    M_TURN,
    M_BUILD,
    M_LANE_OLDEST,
    M_PARTITIONS_FROZEN,
    M_WASTED,
    M_LOST,
    M_FENCED,
    M_LETTERS_OPEN,
    M_LETTERS_UNPUBLISHED,
    M_BATCHES_LATE,
    M_CATALOGUE,
    M_CATALOGUE_LOADED,
    M_RELOAD_OK,
    M_RELOADED,
    M_RELOAD_FAILURES,
    M_RESTART_NEEDED,
    M_PROCESS_START,
    M_PROCESS_CPU,
    M_PROCESS_RESIDENT,
    M_PROCESS_FDS,
    M_PROCESS_FDS_MAX,
};

const struct metric_def watch_defs[] = {
    [M_FETCHED] = {"inferq_jobs_fetched_total",
                   METRIC_COUNTER,
                   {"lane"},
                   NULL,
                   "Records and parked rows taken up"},
    [M_ENDED] = {"inferq_jobs_ended_total",
                 METRIC_COUNTER,
                 {"lane", "status", "class"},
                 NULL,
                 "Jobs whose one result row was inserted by this worker"},
    [M_REDELIVERED] = {"inferq_jobs_redelivered_total",
                       METRIC_COUNTER,
                       {"lane"},
                       NULL,
                       "Jobs delivered again that had ended or were parked: nothing was done"},
    [M_PARKED] = {"inferq_jobs_parked_total",
                  METRIC_COUNTER,
                  {"lane", "class"},
                  NULL,
                  "Jobs that left for Postgres to wait there, by what they wait for"},
    [M_BURIED] = {"inferq_records_buried_total",
                  METRIC_COUNTER,
                  {"lane", "class"},
                  NULL,
                  "Records that are no job, kept as dead letters without one"},
    [M_QUEUE_SECONDS] = {"inferq_queue_seconds",
                         METRIC_HISTOGRAM,
                         {"lane"},
                         metric_seconds_buckets,
                         "From a batch's creation to a job's first dispatch"},
    [M_JOB_SECONDS] = {"inferq_job_seconds",
                       METRIC_HISTOGRAM,
                       {"lane"},
                       metric_seconds_buckets,
                       "From a job's fetch by this worker to its stored end"},
    [M_CALLS] = {"inferq_calls_total",
                 METRIC_COUNTER,
                 {"endpoint", "class"},
                 NULL,
                 "Model calls that ended, by outcome"},
    [M_CALL_SECONDS] = {"inferq_call_seconds",
                        METRIC_HISTOGRAM,
                        {"endpoint"},
                        metric_seconds_buckets,
                        "From a call's start to its outcome"},
    [M_COST] = {"inferq_cost_usd_total",
                METRIC_COUNTER,
                {"model_version"},
                NULL,
                "Cost of calls, estimates of ambiguous ones included"},
    [M_UNPRICED] = {"inferq_calls_unpriced_total",
                    METRIC_COUNTER,
                    {"model_version"},
                    NULL,
                    "Calls whose cost is not known: no price in force or no usage"},
    [M_TOKENS] = {"inferq_tokens_total",
                  METRIC_COUNTER,
                  {"model_version", "kind"},
                  NULL,
                  "Tokens reported by models, by kind (input, output)"},
    [M_TOKENS_ESTIMATED] = {"inferq_tokens_estimated_total",
                            METRIC_COUNTER,
                            {"model_version", "kind"},
                            NULL,
                            "Tokens estimated before the calls that inferq_tokens_total counts; "
                            "output at its 95th percentile of late"},
    [M_TOKENS_ERROR] = {"inferq_tokens_error_total",
                        METRIC_COUNTER,
                        {"model_version", "kind"},
                        NULL,
                        "How far those estimates were off, too high and too low added up"},
    [M_ALERTS] = {"inferq_alerts_total",
                  METRIC_COUNTER,
                  {"endpoint", "class"},
                  NULL,
                  "Outcomes that an operator must mend: credential, billing, certificate, model"},
    [M_PAUSES] = {"inferq_endpoint_pauses_total",
                  METRIC_COUNTER,
                  {"endpoint", "class"},
                  NULL,
                  "Times an endpoint was paused"},
    [M_LIMITED] = {"inferq_endpoint_limit_pauses_total",
                   METRIC_COUNTER,
                   {"endpoint"},
                   NULL,
                   "Times an endpoint was paused because a reply said that its rate limit is used "
                   "up"},
    [M_LETTERS] = {"inferq_dead_letters_published_total",
                   METRIC_COUNTER,
                   {"outcome"},
                   NULL,
                   "Dead letters sent to the dead topic (outcome written or again)"},
    [M_IN_STATE] = {"inferq_jobs",
                    METRIC_GAUGE,
                    {"state"},
                    NULL,
                    "Jobs in this process, by where they are on the path"},
    [M_LANE_JOBS] = {"inferq_lane_jobs", METRIC_GAUGE, {"lane"}, NULL, "Jobs waiting in a lane"},
    [M_LANE_PAUSED] = {"inferq_lane_paused",
                       METRIC_GAUGE,
                       {"lane"},
                       NULL,
                       "1 while a full lane's partitions are paused"},
    [M_LAG] = {"inferq_lag_records",
               METRIC_GAUGE,
               {"lane"},
               NULL,
               "Records of the held partitions that are not done"},
    [M_ENDPOINT_IN_FLIGHT] = {"inferq_endpoint_in_flight",
                              METRIC_GAUGE,
                              {"endpoint"},
                              NULL,
                              "Calls claimed or in flight at an endpoint"},
    [M_ENDPOINT_BEARS] = {"inferq_endpoint_concurrency",
                          METRIC_GAUGE,
                          {"endpoint"},
                          NULL,
                          "Calls that an endpoint is given at once now: its max_in_flight, less "
                          "after faults and timeouts, 1 while it is probed, 0 while it is paused"},
    [M_ENDPOINT_PAUSED] =
        {"inferq_endpoint_paused_seconds",
         METRIC_GAUGE,
         {"endpoint"},
         NULL,
         "How long an endpoint stays paused yet; 0: it is not; 3600: until an operator resumes it"},
    [M_PARKING_FULL] = {"inferq_parking_full",
                        METRIC_GAUGE,
                        {"endpoint"},
                        NULL,
                        "1 while parked.max_jobs jobs wait in Postgres for an endpoint"},
    [M_IN_FLIGHT] =
        {"inferq_calls_in_flight", METRIC_GAUGE, {0}, NULL, "Calls claimed or in flight"},
    [M_MEMORY] = {"inferq_memory_reserved_bytes",
                  METRIC_GAUGE,
                  {0},
                  NULL,
                  "Part of memory.max_bytes that is reserved"},
    [M_PARKED_DUE] =
        {"inferq_parked_due",
         METRIC_GAUGE,
         {0},
         NULL,
         "Parked jobs of the lanes served that could run now, up to 1000 per key, fleet-wide"},
    [M_STORE_QUEUED] = {"inferq_store_queued",
                        METRIC_GAUGE,
                        {0},
                        NULL,
                        "Jobs waiting for a statement of Postgres"},
    [M_LEASE] = {"inferq_lease_left_seconds",
                 METRIC_GAUGE,
                 {0},
                 NULL,
                 "What is left of this worker's lease; no calls below 3"},
    [M_CLOCK] = {"inferq_clock_offset_seconds",
                 METRIC_GAUGE,
                 {0},
                 NULL,
                 "Postgres's clock minus this machine's"},
    [M_POSTGRES] = {"inferq_postgres_up",
                    METRIC_GAUGE,
                    {0},
                    NULL,
                    "1 while all connections to Postgres stand"},
    [M_KAFKA] = {"inferq_kafka_up", METRIC_GAUGE, {0}, NULL, "1 while some broker is connected"},
    [M_TURN] = {"inferq_loop_turn_seconds",
                METRIC_HISTOGRAM,
                {0},
                metric_seconds_buckets,
                "Time one turn of the event loop took: everything else waits so long"},
    [M_BUILD] = {"inferq_build_info", METRIC_GAUGE, {"version"}, NULL, "1, labelled by the build"},
    [M_LANE_OLDEST] =
        {"inferq_lane_oldest_seconds",
         METRIC_GAUGE,
         {"lane"},
         NULL,
         "Age, since its batch was made, of the job that has waited longest in a lane; 0: none"},
    [M_PARTITIONS_FROZEN] =
        {"inferq_partitions_frozen",
         METRIC_GAUGE,
         {0},
         NULL,
         "Held partitions that stand still for want of memory until they are assigned anew"},
    [M_WASTED] = {"inferq_wasted_usd_total",
                  METRIC_COUNTER,
                  {"lane"},
                  NULL,
                  "Known cost of ended jobs' calls that did not give their result"},
    [M_LOST] = {"inferq_calls_lost_total",
                METRIC_COUNTER,
                {0},
                NULL,
                "Calls of workers that were gone, marked as lost by this one: outcome unknown"},
    [M_FENCED] = {"inferq_fenced_total",
                  METRIC_COUNTER,
                  {0},
                  NULL,
                  "Times this worker was fenced by another, after a silence longer than its lease"},
    [M_LETTERS_OPEN] = {"inferq_dead_letters_open",
                        METRIC_GAUGE,
                        {0},
                        NULL,
                        "Dead letters that nobody has reviewed, up to 10000: fleet-wide, by the "
                        "worker that keeps house; 0 in the others"},
    [M_LETTERS_UNPUBLISHED] = {"inferq_dead_letters_unpublished",
                               METRIC_GAUGE,
                               {0},
                               NULL,
                               "Dead letters not yet on their topic, counted as the open ones"},
    [M_BATCHES_LATE] = {"inferq_batches_late",
                        METRIC_GAUGE,
                        {0},
                        NULL,
                        "Sealed batches past their deadline, for a week at most, whose jobs have "
                        "not all ended; by the worker that keeps house"},
    [M_CATALOGUE] = {"inferq_catalogue_info",
                     METRIC_GAUGE,
                     {"sha256"},
                     NULL,
                     "1 for the catalogue file in use, by the first 12 digits of its hash"},
    [M_CATALOGUE_LOADED] = {"inferq_catalogue_load_timestamp_seconds",
                            METRIC_GAUGE,
                            {0},
                            NULL,
                            "When that file was read, Unix time"},
    [M_RELOAD_OK] = {"inferq_config_last_reload_successful",
                     METRIC_GAUGE,
                     {0},
                     NULL,
                     "1 unless the last SIGHUP found something wrong and changed nothing"},
    [M_RELOADED] = {"inferq_config_last_reload_success_timestamp_seconds",
                    METRIC_GAUGE,
                    {0},
                    NULL,
                    "When settings were last taken over, at the start or by SIGHUP, Unix time"},
    [M_RELOAD_FAILURES] = {"inferq_config_reload_failures_total",
                           METRIC_COUNTER,
                           {0},
                           NULL,
                           "Reloads that changed nothing because something was wrong"},
    [M_RESTART_NEEDED] = {"inferq_config_restart_needed",
                          METRIC_GAUGE,
                          {0},
                          NULL,
                          "Settings that have changed and hold after a restart only"},
    [M_PROCESS_START] = {"process_start_time_seconds",
                         METRIC_GAUGE,
                         {0},
                         NULL,
                         "When the process started, Unix time"},
    [M_PROCESS_CPU] = {"process_cpu_seconds_total",
                       METRIC_COUNTER,
                       {0},
                       NULL,
                       "CPU time of the process, user and system"},
    [M_PROCESS_RESIDENT] = {"process_resident_memory_bytes",
                            METRIC_GAUGE,
                            {0},
                            NULL,
                            "Memory of the process that is in RAM"},
    [M_PROCESS_FDS] = {"process_open_fds", METRIC_GAUGE, {0}, NULL, "File descriptors in use"},
    [M_PROCESS_FDS_MAX] =
        {"process_max_fds", METRIC_GAUGE, {0}, NULL, "File descriptors that there may be"},
    {0},
};

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

struct watch {
    struct metrics *metrics;
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
static void count_up_to(struct watch *w, int def, double total)
{
    struct metric_series *series = metrics_series(w->metrics, def, NULL, NULL, NULL);
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
        raise_to(w, M_PARKING_FULL, name, path_parking_full(path, i));
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

static void refresh_process(struct watch *w)
{
    struct process_facts process;
    process_facts(&process);
    count_up_to(w, M_PROCESS_CPU, process.cpu_s);
    set(w, M_PROCESS_RESIDENT, NULL, (double)process.resident_bytes);
    set(w, M_PROCESS_FDS, NULL, (double)process.open_descriptors);
    set(w, M_PROCESS_FDS_MAX, NULL, (double)process.descriptors_max);
}

static void refresh_store(struct watch *w, const struct store_figures *figures)
{
    count_up_to(w, M_FENCED, (double)figures->fenced);
    count_up_to(w, M_LOST, (double)figures->lost);
    set(w, M_LETTERS_OPEN, NULL, (double)figures->letters_open);
    set(w, M_LETTERS_UNPUBLISHED, NULL, (double)figures->letters_unpublished);
    set(w, M_BATCHES_LATE, NULL, (double)figures->batches_late);
}

void watch_refresh(struct watch *w, const struct watch_gauges *g)
{
    refresh_path(w, g->path);
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
