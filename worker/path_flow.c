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
    PULL_MAX = 500,                   /* rows of one pull */
    OTHERS_ASK_US = 5 * 1000 * 1000,
    PARKED_LOOK_US = 5 * 1000 * 1000, /* how often rows of `parked` are counted, at most */
    UNREAD_MAX = 1000,                /* records that wait to be told which are left out */
    LOOK_OVER_US = 5 * 1000 * 1000,   /* how often lanes that stand still are looked over */
    BUSY_WAITS = 6, /* short waits after which a busy endpoint's jobs make room for others */
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
    next.takeover_us = p->conf.takeover_us;
    p->conf = next;
    return RC_OK;
}

void path_renewed(struct path *p, int endpoint)
{
    (void)endpoint_renew(&p->endpoints[endpoint], p->edges.mono_us(p->edges.arg));
}

static void free_visited(void *arg, struct job *job)
{
    struct path *p = arg;
    lanes_remove(p->lanes, job);
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
    free(p->served);
    free(p->next_served);
    free(p->model_paused);
    free(p->tokens);
    free(p->endpoints);
    free(p->parking);
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
    job->spent_nusd = row->spent_nusd;
    job->throttle_us = row->waited_us;
    job->model_us = row->model_us;
    job->kind = row->number > 1 ? CALL_RETRY : CALL_PRIMARY;
    if (p->draining)
        path_job_free(p, job);
    else
        begin(p, job);
}

/* `rows` of this key are due: pull what there is room for. An endpoint that this catalogue does not
 * know, that left it, or that new jobs have moved off holds nobody back: routing decides anew. */
void path_due(struct path *p, int32_t wait_key, int lane, int64_t rows)
{
    int64_t now = p->edges.mono_us(p->edges.arg);
    size_t half = (p->conf.lanes[lane].max_jobs + 1) / 2; /* a lane of one job pulls, too */
    size_t waiting = lanes_jobs(p->lanes, lane);
    if (p->draining || p->revoking || waiting >= half)
        return;
    size_t room = half - waiting;
    for (int i = 0; i < p->conf.catalogue->endpoint_count; i++) {
        const struct endpoint *e = &p->endpoints[i];
        if (p->conf.catalogue->endpoints[i].db_id != wait_key ||
            p->conf.catalogue->endpoints[i].left || p->parking[i].moved_off)
            continue;
        /* As many again as it can run at once stand ready, so that it does not wait for rows. */
        size_t can_take = (size_t)endpoint_room(e, now);
        size_t queued = lanes_waiting(p->lanes, -1, i);
        if (can_take <= queued)
            return;
        room = can_take - queued < room ? can_take - queued : room;
    }
    room = room < PULL_MAX ? room : PULL_MAX;
    int max_rows = (int64_t)room < rows ? (int)room : (int)rows;
    if (max_rows > 0)
        p->edges.pull(p->edges.arg, wait_key, lane, max_rows);
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
    }
    if (partitions_assign(p->partitions, lane, partition, epoch, &err) != RC_OK)
        return; /* its records are refused by partitions_track: no offset moves, none is lost */
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
    p->revoking = true;
    p->release_at_us = p->edges.mono_us(p->edges.arg) + (lost ? 0 : REVOKE_WAIT_US);
    drop_unstarted(p);
    if (lost)
        release(p);
}

/* ---- time ------------------------------------------------------------------------------------ */

/* ---- how much may wait in Postgres? --------------------------------------------------------- */

bool path_parking_full(const struct path *p, int endpoint)
{
    return p->parking[endpoint].rows >= p->conf.parked_max;
}

bool path_may_park(const struct path *p, const struct job *job)
{
    return job->from_parked || !path_parking_full(p, job->endpoint);
}

bool path_parked_count(struct path *p, int32_t wait_key, int64_t rows)
{
    bool changed = false;
    for (int i = 0; i < p->conf.catalogue->endpoint_count; i++) {
        struct parking *k = &p->parking[i];
        if (p->conf.catalogue->endpoints[i].db_id != wait_key)
            continue;
        k->counted = rows;
        k->rows = rows + k->missed;
        changed = k->told_full != path_parking_full(p, i);
        k->told_full = path_parking_full(p, i);
    }
    return changed;
}

/* Rows that a count may or may not find. */
static int64_t on_the_way(const struct path *p, int endpoint)
{
    int64_t jobs = 0;
    for (const struct job *job = p->in_state[JOB_PARK].head; job; job = job->next)
        jobs += job->endpoint == endpoint && job->park_key && !job->from_parked;
    return jobs;
}

/* The other workers park, too, and pulls make room: what was sent there is counted anew now and
 * then, and what is full until it is not. Between two looks the fleet may go beyond. */
static void count_parked(struct path *p, int64_t now)
{
    for (int i = 0; i < p->conf.catalogue->endpoint_count; i++) {
        struct parking *k = &p->parking[i];
        if (now < k->look_at_us || (k->rows == k->counted && !path_parking_full(p, i)))
            continue;
        k->look_at_us = now + PARKED_LOOK_US;
        k->missed = on_the_way(p, i);
        p->edges.count_parked(p->edges.arg, p->conf.catalogue->endpoints[i].db_id,
                              p->conf.parked_max);
    }
}

/* Jobs whose endpoint is paused for long leave for `parked`, a bounded number at a time. Where that
 * is full they stay: their lane fills, and Kafka keeps the rest. */
static void park_paused(struct path *p, int64_t now)
{
    for (int i = 0; i < p->conf.catalogue->endpoint_count; i++) {
        struct job *job;
        while (endpoint_free_at(&p->endpoints[i], now) - now > p->conf.short_wait_us &&
               p->in_state[JOB_PARK].count < PARKING_MAX &&
               (job = lanes_peek(p->lanes, -1, i)) != NULL && path_may_park(p, job))
            path_advance(p, job);
    }
}

/* The head of a lane that its endpoint cannot take for long, while others could use the lane or its
 * record holds back too many: it waits in Postgres. An endpoint that works, and only has more to do
 * than it can, is given longer: what is parked costs Postgres twice. */
static void park_stuck(struct path *p, int lane, int endpoint, int64_t now)
{
    int64_t short_us = p->conf.short_wait_us, half = p->conf.offset_span / 2;
    bool neighbours = p->lane[lane].paused && p->conf.catalogue->endpoint_count > 1 &&
                      lanes_waiting(p->lanes, lane, endpoint) * 4 > lanes_jobs(p->lanes, lane) * 3;
    bool works = now - p->endpoints[endpoint].begun_us <= short_us;
    struct job *job;
    while (p->in_state[JOB_PARK].count < PARKING_MAX &&
           (job = lanes_peek(p->lanes, lane, endpoint)) != NULL && path_may_park(p, job)) {
        int64_t waited_us = now - job->waiting_since_us;
        bool in_the_way = neighbours && waited_us > (works ? BUSY_WAITS * short_us : short_us);
        bool holds_back = partitions_behind(p->partitions, job) > half && waited_us > short_us;
        if (!in_the_way && !holds_back)
            return;
        path_park(p, job, job->endpoint_id, CLASS_NONE, now);
    }
}

/* One app fills a lane that stands still, and Kafka holds others' jobs behind: the app's last ones
 * wait in Postgres, so that partitions are read on and the others have their turns. A lane that
 * moves on within a short wait is left alone, and so is an app that nobody waits behind: what is
 * parked costs Postgres twice. Once somebody is known to wait, the crowd is parked as fast as it is
 * read. */
static void park_crowd(struct path *p, int lane, int64_t now)
{
    bool somebody_waits = now < p->lane[lane].crowd_until_us;
    if (p->draining || p->revoking || !lanes_full(p->lanes, lane) || !p->lane[lane].paused ||
        (!somebody_waits && now - p->lane[lane].paused_us <= p->conf.short_wait_us))
        return;
    struct job *job = lanes_crowd(p->lanes, lane);
    if (job && now >= p->lane[lane].ask_at_us) {
        p->lane[lane].ask_at_us = now + OTHERS_ASK_US;
        p->edges.others_wait(p->edges.arg, lane, job);
    }
    while (job && somebody_waits && path_may_park(p, job) &&
           p->in_state[JOB_PARK].count < PARKING_MAX && lanes_full(p->lanes, lane)) {
        path_park(p, job, job->endpoint_id, CLASS_NONE, now);
        job = lanes_crowd(p->lanes, lane);
    }
}

void path_others_wait(struct path *p, int lane)
{
    p->lane[lane].crowd_until_us = p->edges.mono_us(p->edges.arg) + 2 * OTHERS_ASK_US;
}

static void park_behind(struct path *p, int64_t now)
{
    for (int lane = 0; lane < p->conf.lane_count; lane++)
        park_crowd(p, lane, now);
    for (int lane = 0; lane < p->conf.lane_count; lane++)
        for (int i = 0; i < p->conf.catalogue->endpoint_count; i++)
            if (!endpoint_can_run(&p->endpoints[i], now))
                park_stuck(p, lane, i, now);
    if (partitions_span(p->partitions) <= p->conf.offset_span / 2)
        return;
    for (struct job *job = p->in_state[JOB_CALL].head; job; job = job->next) {
        if (job->parking || partitions_behind(p->partitions, job) <= p->conf.offset_span / 2)
            continue;
        job->parking = true; /* and runs on */
        p->edges.park(p->edges.arg, job);
    }
}

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
    park_paused(p, now);
    if (now >= p->next_behind_check_us) {
        p->next_behind_check_us = now + BEHIND_CHECK_US;
        end_waiting(p, now);
        park_behind(p, now);
        count_parked(p, now);
    }
    path_dispatch(p);
    pause_full_lanes(p, now);
    int64_t next = earlier(deadlines_next(p->due), next_unpause(p, now));
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
