/*
 * path_flow.c - what moves jobs along: records coming in, edges' answers, time, partitions coming
 * and going, lanes filling up. What happens to one job is in path.c.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/outspec.h"
#include "worker/path.h"
#include "worker/path_internal.h"

enum {
    REVOKE_WAIT_US = 3 * 1000 * 1000, /* calls in flight may end before partitions go */
    BEHIND_CHECK_US = 100 * 1000,     /* how often spans are looked at */
    UNREAD_MAX = 1000,                /* records that wait to be told which are left out */
    LOOK_OVER_US = 5 * 1000 * 1000,   /* how often lanes that stand still are looked over */
};

/* ---- making and unmaking ------------------------------------------------------------------ */

enum rc path_new(const struct path_conf *conf, const struct path_edges *edges,
                 struct path **ret_path, struct err *err)
{
    struct path *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(err, RC_NOMEM, "no memory for the path");
    p->conf = *conf;
    p->edges = *edges;
    p->conf.catalogue = NULL; /* path_take's */
    p->limits_ask_at_us = INT64_MAX;
    buf_init(&p->spec_key, JOB_MSG_BYTES_MAX);
    call_pool_init(&p->calls, conf->max_in_flight);
    enum rc rc =
        lanes_new(conf->lanes, conf->lane_count, conf->catalogue->endpoint_count, &p->lanes, err);
    if (rc == RC_OK)
        rc = path_prepare(p, conf->catalogue, err);
    p->partitions = partitions_new();
    p->due = deadlines_new();
    p->table = jobtable_new();
    if (rc == RC_OK && (!p->partitions || !p->due || !p->table))
        rc = err_set(err, RC_NOMEM, "no memory for the path");
    if (rc != RC_OK) {
        path_free(p);
        return rc;
    }
    path_take(p, conf->catalogue);
    *ret_path = p;
    return RC_OK;
}

enum rc path_may_configure(const struct path *p, const struct path_conf *conf, struct err *err)
{
    return lanes_may_configure(p->lanes, conf->lanes, err);
}

enum rc path_configure(struct path *p, const struct path_conf *conf, struct err *err)
{
    enum rc rc = lanes_configure(p->lanes, conf->lanes, err);
    if (rc != RC_OK)
        return rc;
    struct path_conf next = *conf;
    next.lane_count = p->conf.lane_count;
    next.catalogue = p->conf.catalogue;
    next.admission = p->conf.admission;
    next.takeover_us = p->conf.takeover_us;
    next.fleet_lease_us = p->conf.fleet_lease_us;
    p->conf = next;
    return RC_OK;
}

void path_renewed(struct path *p, int endpoint)
{
    if (endpoint_renew(&p->endpoints[endpoint], p->edges.mono_us(p->edges.arg)))
        learned_renewed(&p->learned[endpoint], &p->endpoints[endpoint]);
}

static void free_visited(void *arg, struct job *job)
{
    struct path *p = arg;
    path_leave_lane(p, job);
    path_job_free(p, job);
}

void path_free(struct path *p)
{
    if (!p)
        return;
    if (p->lanes)
        lanes_walk(p->lanes, free_visited, p);
    for (int state = 0; state < JOB_STATE_COUNT; state++)
        for (struct job *job; (job = job_list_pop(&p->in_state[state]));)
            path_job_free(p, job);
    call_pool_done(&p->calls);
    lanes_free(p->lanes);
    partitions_free(p->partitions);
    deadlines_free(p->due);
    jobtable_free(p->table);
    outspec_free(p->spec);
    buf_done(&p->spec_key);
    jobids_done(&p->cancelled);
    skips_done(&p->skips);
    free(p->served ? p->served->budgets : NULL);
    free(p->served);
    free(p->next_served ? p->next_served->budgets : NULL);
    free(p->next_served);
    free(p->model_paused);
    free(p->tokens);
    free(p->endpoints);
    free(p->parking);
    free(p->limit_parking);
    free(p->learned);
    free(p);
}

/* ---- records and rows in -------------------------------------------------------------------- */

static struct span keep(char **at, struct span from)
{
    if (!from.p)
        return from;
    if (from.n)
        memcpy(*at, from.p, from.n);
    struct span kept = {*at, from.n};
    *at += from.n;
    return kept;
}

/* Copies what lasts: the payload and the headers behind the job, in one piece. NULL: no memory. */
static struct job *make_job(struct path *p, struct span payload, struct span signature,
                            struct span traceparent)
{
    struct job *job = malloc(sizeof *job + payload.n + signature.n + traceparent.n);
    if (!job)
        return NULL;
    *job = (struct job){.state = JOB_FETCHED,
                        .payload = (char *)(job + 1),
                        .payload_bytes = payload.n,
                        .heap_index = -1,
                        .endpoint = -1,
                        .gate = -1,
                        .kind = CALL_PRIMARY,
                        .number = 1};
    char *at = job->payload;
    keep(&at, payload);
    job->signature = keep(&at, signature);
    job->traceparent = keep(&at, traceparent);
    job->fetched_us = job->waiting_since_us = p->edges.mono_us(p->edges.arg);
    path_reserve(p, job, path_record_bytes(job));
    return job;
}

static void begin(struct path *p, struct job *job)
{
    job_list_push(&p->in_state[JOB_FETCHED], job);
    p->edges.seen(p->edges.arg, SIGHT_FETCHED, job);
    if (p->skips_known || job->from_parked)
        path_advance(p, job); /* else when path_skips tells */
}

void path_record(struct path *p, const struct record *record)
{
    struct job nobody = {0}; /* without memory its ticket still stands, and holds the watermark */
    struct job *job = make_job(p, record->value, record->signature, record->traceparent);
    struct job *source = job ? job : &nobody;
    source->lane = record->lane;
    source->partition = record->partition;
    source->epoch = record->epoch;
    source->offset = record->offset;
    source->timestamp_ms = record->timestamp_ms;
    struct err err = {0};
    bool tracked = partitions_track(p->partitions, source, &err) == RC_OK;
    if (!job)
        return;
    if (tracked && !p->draining && !p->revoking)
        begin(p, job);
    else
        path_job_free(p, job); /* not ours any more: it comes again, here or elsewhere */
}

void path_pulled(struct path *p, const struct parked_row *row)
{
    struct job *job = make_job(p, row->payload, row->signature, row->traceparent);
    if (!job)
        return; /* taken, and freed when this worker stops or is fenced */
    job->from_parked = true;
    job->msg.job_id = row->job_id; /* also of bytes that are no job: its letter replaces the row */
    job->lane = row->lane;
    job->partition = row->partition;
    job->offset = row->offset;
    job->timestamp_ms = row->timestamp_ms;
    job->number = row->number;
    job->attempts = row->attempts;
    job->reasks = row->reasks;
    job->larger = row->larger;
    job->spent_nusd = row->spent_nusd;
    job->throttle_us = row->waited_us;
    waits_unpack(row->limit_waits, row->limit_us, row->limit_id, &job->held);
    job->model_us = row->model_us;
    job->kind = row->number > 1 ? CALL_RETRY : CALL_PRIMARY;
    if (p->draining)
        path_job_free(p, job);
    else
        begin(p, job);
}

/* ---- answers of edges ------------------------------------------------------------------------ */

void path_claimed(struct path *p, struct job *job)
{
    path_advance(p, job);
}

void path_called(struct path *p, struct job *job)
{
    path_move(p, job, JOB_PARSE);
    path_advance(p, job);
}

void path_stored(struct path *p, struct job *job)
{
    path_advance(p, job);
}

/* Postgres refuses this very row. It ends as a dead letter without the reply's texts; should even
 * that be refused, the record stays above the watermark and an operator must look. Its call is over
 * all the same: left open, its own row would answer a later claim whose reply is lost. */
void path_store_refused(struct path *p, struct job *job, const char *why)
{
    if (job->bare && job->outcome_open && job->status != STATUS_NONE) {
        job->status = STATUS_NONE;
        path_move(p, job, JOB_STORE);
        p->edges.store(p->edges.arg, job);
        return;
    }
    if (job->bare) {
        p->edges.seen(p->edges.arg, SIGHT_ALERT, job);
        path_leave(p, job, false);
        return;
    }
    job->bare = true;
    job->status = STATUS_DEAD;
    job->class = CLASS_UNSTORABLE;
    job->after_store = AFTER_NOTHING;
    free(job->reason);
    job->reason = strdup(why);
    path_move(p, job, JOB_STORE);
    p->edges.store(p->edges.arg, job);
}

/* A job that cannot wait in Postgres cannot end there as it is either. One that is parked while it
 * runs just runs on; its record stays above the watermark. */
void path_park_refused(struct path *p, struct job *job, const char *why)
{
    if (!job->parking) {
        path_store_refused(p, job, why);
        return;
    }
    job->parking = false;
    if (job->state == JOB_PARK)
        p->edges.park(p->edges.arg, job);
    else if (job->state == JOB_SETTLED)
        path_forget(p, job);
}

void path_parked(struct path *p, struct job *job)
{
    if (!job->parking) { /* it waits in Postgres from here on */
        p->edges.seen(p->edges.arg, SIGHT_PARKED, job);
        path_leave(p, job, true);
        return;
    }
    job->parking = false; /* its payload is safe while it runs on: the watermark may pass it */
    job->from_parked = true;
    job->crossed = job->state == JOB_STORE;
    int64_t next = partitions_finish(p->partitions, job);
    if (next >= 0)
        p->edges.store_offset(p->edges.arg, job->lane, job->partition, job->epoch, next);
    if (job->state == JOB_PARK)
        p->edges.park(p->edges.arg, job); /* it has to wait meanwhile: the row must say so */
    if (job->state != JOB_SETTLED)
        return;
    job->ask_only = true; /* it ended meanwhile: asking deletes a row that crossed its result */
    path_move(p, job, JOB_CLAIM);
    p->edges.claim(p->edges.arg, job);
}

void path_buried(struct path *p, struct job *job)
{
    p->edges.seen(p->edges.arg, SIGHT_BURIED, job);
    path_leave(p, job, true);
}

bool path_cancelled(struct path *p, const struct jobid *id)
{
    size_t before = p->cancelled.count;
    bool added = jobids_add(&p->cancelled, id);
    p->cancelled_anew = p->cancelled_anew || p->cancelled.count > before;
    return added;
}

void path_skips(struct path *p, const struct skip *list, int count)
{
    struct err err = {0};
    if (skips_set(&p->skips, list, count, &err) != RC_OK)
        return; /* the store edge tells it again at its next look */
    p->skips_known = true;
    for (struct job *job; (job = p->in_state[JOB_FETCHED].head);)
        path_advance(p, job);
}

void path_held(struct path *p, const int32_t *endpoint_ids, int count)
{
    for (int i = 0; i < p->conf.catalogue->endpoint_count; i++) {
        bool held = false;
        for (int j = 0; j < count; j++)
            held |= p->conf.catalogue->endpoints[i].db_id == endpoint_ids[j];
        endpoint_hold(&p->endpoints[i], held);
    }
}

void path_oldest_live(struct path *p, int64_t oldest_live_ms)
{
    p->oldest_live_ms = oldest_live_ms;
}

/* ---- partitions come and go ------------------------------------------------------------------ */

void path_assigned(struct path *p, int lane, int32_t partition, uint32_t epoch)
{
    struct err err = {0};
    if (epoch != p->skips_epoch) { /* the one that brought us these may be left out by now */
        p->skips_epoch = epoch;
        p->skips_known = false;
        p->edges.ask_skips(p->edges.arg);
        path_limits_dealt(p);
    }
    if (partitions_assign(p->partitions, lane, partition, epoch, &err) != RC_OK)
        return; /* its records are refused by partitions_track: no offset moves, none is lost */
    path_expect_known(p);
}

static void drop_waiting(void *arg, struct job *job)
{
    struct path *p = arg;
    if (p->draining || job->has_ticket)
        path_leave(p, job, false);
}

static void drop_list(struct path *p, enum job_state state)
{
    for (struct job *job = p->in_state[state].head, *next; job; job = next) {
        next = job->next;
        drop_waiting(p, job);
    }
}

/* Lets go of what has not started: it is delivered again. Parked rows stay ours unless draining. */
static void drop_unstarted(struct path *p)
{
    lanes_walk(p->lanes, drop_waiting, p);
    drop_list(p, JOB_FETCHED);
    drop_list(p, JOB_RETRY);
    drop_list(p, JOB_WAIT);
}

static bool holds_tickets(const struct path *p)
{
    for (int state = 0; state < JOB_STATE_COUNT; state++)
        for (const struct job *job = p->in_state[state].head; job; job = job->next)
            if (job->has_ticket)
                return true;
    return false;
}

static void release(struct path *p)
{
    p->revoking = false;
    partitions_revoke_all(p->partitions);
    p->edges.release(p->edges.arg);
}

void path_revoke(struct path *p, bool lost)
{
    if (!p->revoking)
        path_limits_expect_back(p);
    p->revoking = true;
    p->release_at_us = p->edges.mono_us(p->edges.arg) + (lost ? 0 : REVOKE_WAIT_US);
    drop_unstarted(p);
    if (lost)
        release(p);
}

/* ---- time ------------------------------------------------------------------------------------ */

/* While Postgres does not say which records are left out, more are not asked for. */
static bool too_many_unread(const struct path *p)
{
    size_t unread = p->in_state[JOB_FETCHED].count;
    return unread >= UNREAD_MAX || (unread && p->memory_used > p->conf.memory_bytes / 2);
}

static void end_visited(void *arg, struct job *job)
{
    (void)path_ended_by_time_or_hand(arg, job);
}

/* What moves on is looked at when its turn comes. But behind an endpoint that takes no calls, and
 * for which no more may be parked, jobs whose batch is cancelled or whose time is over would wait
 * as long as the others. */
static void end_waiting(struct path *p, int64_t now)
{
    bool stands_still = false;
    for (int lane = 0; lane < p->conf.lane_count; lane++)
        stands_still = stands_still || p->lane[lane].paused;
    if (!p->cancelled_anew && (!stands_still || now < p->look_over_us))
        return;
    p->cancelled_anew = false;
    p->look_over_us = now + LOOK_OVER_US;
    lanes_walk(p->lanes, end_visited, p);
}

static void pause_full_lanes(struct path *p, int64_t now)
{
    for (int lane = 0; lane < p->conf.lane_count; lane++) {
        bool full = lanes_full(p->lanes, lane) || too_many_unread(p) ||
                    partitions_span(p->partitions) > p->conf.offset_span;
        if (full == p->lane[lane].paused)
            continue;
        p->lane[lane].paused = full;
        p->lane[lane].paused_us = now;
        p->edges.pause_lane(p->edges.arg, lane, full);
    }
}

/* When the first paused endpoint with waiting jobs may be looked at again. */
static int64_t next_unpause(const struct path *p, int64_t now)
{
    int64_t next = INT64_MAX;
    for (int i = 0; i < p->conf.catalogue->endpoint_count; i++) {
        int64_t at = endpoint_free_at(&p->endpoints[i], now);
        if (at > now && at < next && lanes_waiting(p->lanes, -1, i) > 0)
            next = at;
    }
    return next;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void put_in_heap(struct path *p, enum job_state state)
{
    for (struct job *job = p->in_state[state].head; job; job = job->next)
        if (job->heap_index < 0)
            path_wait_until(p, job, job->due_us);
}

int64_t path_tick(struct path *p)
{
    int64_t now = p->edges.mono_us(p->edges.arg);
    if (p->not_in_heap) {
        p->not_in_heap = false;
        put_in_heap(p, JOB_RETRY);
        put_in_heap(p, JOB_WAIT);
    }
    for (struct job *job; (job = deadlines_pop(p->due, now));) {
        if (path_due_job(p, job))
            path_advance(p, job);
    }
    if (p->draining)
        drop_unstarted(p);
    if (p->revoking && (now >= p->release_at_us || !holds_tickets(p)))
        release(p);
    path_park_paused(p, now);
    if (now >= p->next_behind_check_us) {
        p->next_behind_check_us = now + BEHIND_CHECK_US;
        end_waiting(p, now);
        path_ask_known(p, now);
        path_limits_close(p, now);
        path_park_behind(p, now);
        path_count_parked(p, now);
    }
    path_dispatch(p);
    pause_full_lanes(p, now);
    int64_t next = earlier(deadlines_next(p->due), next_unpause(p, now));
    next = earlier(next, p->limits_ask_at_us);
    if (p->revoking)
        next = earlier(next, p->release_at_us);
    return earlier(next, p->next_behind_check_us);
}

void path_drain(struct path *p)
{
    p->draining = true;
    drop_unstarted(p);
}

void path_abort_calls(struct path *p)
{
    p->gave_up = true;
    for (struct job *job = p->in_state[JOB_CALL].head, *next; job; job = next) {
        next = job->next;
        p->edges.abort(p->edges.arg, job);
    }
}

bool path_idle(const struct path *p)
{
    static const enum job_state busy[] = {JOB_CLAIM, JOB_CALL, JOB_STORE,
                                          JOB_PARK,  JOB_BURY, JOB_SETTLED};
    for (size_t i = 0; i < sizeof busy / sizeof busy[0]; i++)
        if (p->in_state[busy[i]].count)
            return false;
    return true;
}

/* ---- gauges ---------------------------------------------------------------------------------- */

size_t path_jobs(const struct path *p, enum job_state state)
{
    if (state != JOB_THROTTLE)
        return p->in_state[state].count;
    size_t jobs = 0;
    for (int lane = 0; lane < p->conf.lane_count; lane++)
        jobs += lanes_jobs(p->lanes, lane);
    return jobs;
}

const struct lane_conf *path_lanes(const struct path *p)
{
    return p->conf.lanes;
}

size_t path_lane_jobs(const struct path *p, int lane)
{
    return lanes_jobs(p->lanes, lane);
}

bool path_lane_paused(const struct path *p, int lane)
{
    return p->lane[lane].paused;
}

int path_in_flight(const struct path *p)
{
    return (int)(p->in_state[JOB_CLAIM].count + p->in_state[JOB_CALL].count);
}

int path_endpoint_in_flight(const struct path *p, int endpoint)
{
    return p->endpoints[endpoint].in_flight;
}

int path_endpoint_bears(const struct path *p, int endpoint)
{
    return endpoint_bears(&p->endpoints[endpoint], p->edges.mono_us(p->edges.arg));
}

int64_t path_endpoint_paused_us(const struct path *p, int endpoint)
{
    int64_t now = p->edges.mono_us(p->edges.arg);
    return endpoint_free_at(&p->endpoints[endpoint], now) - now;
}

int64_t path_memory_used(const struct path *p)
{
    return p->memory_used;
}

int64_t path_lane_oldest_us(const struct path *p, int lane)
{
    const struct job *job = lanes_peek(p->lanes, lane, -1);
    if (!job)
        return 0;
    int64_t waited_us = p->edges.mono_us(p->edges.arg) - job->waiting_since_us;
    return job->queue_us + job->throttle_us + job->model_us + waited_us;
}

int path_partitions_frozen(const struct path *p)
{
    return partitions_frozen(p->partitions);
}
