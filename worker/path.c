/*
 * path.c - the job's path, read from top to bottom.
 *
 *   FETCHED -> ADMIT -> ROUTE -> THROTTLE -> CLAIM -> CALL -> PARSE -> CHECK -> STORE -> SETTLED
 *                                   ^                                     |
 *                                   +------------- RETRY <----------------+---> PARK -> SETTLED
 *
 * A job is in one state at a time, and the state is the list that holds it; only `path_move`
 * changes it. `path_advance` takes a job as far as it can go now and leaves it where it waits: in a
 * lane (THROTTLE), with an edge (CLAIM, CALL, STORE, PARK, BURY) or for a time (RETRY, WAIT). Edges
 * hand it back through the path_* events (path_flow.c). Above each state stands what happens if the
 * process dies there.
 *
 * What makes that safe is outside this process: the record stays at or above the watermark in Kafka
 * (or its payload in `parked`) until the job is SETTLED, and the ledger (`call`) and `result` in
 * Postgres say what was done. Nothing here needs to survive.
 *
 * What stands beside the path: path_flow.c (events, time, lanes), path_route.c (who serves a job),
 * path_output.c (is an answer what was asked for?), path_catalogue.c, path_state.c (the arrows).
 */
#include "worker/path.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/failpoint.h"
#include "worker/outcome_table.h"
#include "worker/path_internal.h"
#include "worker/policy.h"

enum {
    CLOCK_AHEAD_MS = 5 * 60 * 1000, /* ids may be so far ahead of our clock */
    LIVE_WAIT_US = 2 * 1000 * 1000, /* another worker has it: ask again after */
    CALL_OVERHEAD_BYTES = 24 << 10, /* a transfer's memory besides the bodies */
    SKIP_REASON_BYTES = 1024,       /* who left a record out, and why: at most */
};

void path_wait_until(struct path *p, struct job *job, int64_t due_us)
{
    job->due_us = due_us;
    if (!deadlines_set(p->due, job, due_us))
        p->not_in_heap = true; /* no memory: path_tick tries again */
}

void path_reserve(struct path *p, struct job *job, size_t bytes)
{
    job->reserved_bytes += bytes;
    p->memory_used += (int64_t)bytes;
}

/* What its call took of memory goes back; what is kept for a re-ask stays. */
void path_end_call(struct path *p, struct job *job)
{
    size_t kept = path_record_bytes(job) + job->answer.cap;
    call_pool_give(&p->calls, job->call);
    job->call = NULL;
    if (job->reserved_bytes > kept) {
        p->memory_used -= (int64_t)(job->reserved_bytes - kept);
        job->reserved_bytes = kept;
    }
}

void path_job_free(struct path *p, struct job *job)
{
    p->memory_used -= (int64_t)job->reserved_bytes;
    path_unserve(p, job);
    call_pool_give(&p->calls, job->call);
    buf_done(&job->answer);
    free(job->complaint);
    free(job->reason);
    free(job);
}

/* Ends a job here. `done`: its record needs no further look, so the watermark may pass it. */
void path_leave(struct path *p, struct job *job, bool done)
{
    path_move(p, job, JOB_SETTLED);
    deadlines_clear(p->due, job);
    int64_t next = done ? partitions_finish(p->partitions, job) : -1;
    if (next >= 0)
        p->edges.store_offset(p->edges.arg, job->lane, job->partition, job->epoch, next);
    if (!job->parking) /* else its payload is on the way to `parked`, and its answer ends it */
        path_forget(p, job);
}

void path_forget(struct path *p, struct job *job)
{
    if (job->in_table)
        jobtable_remove(p->table, job);
    job_list_remove(&p->in_state[JOB_SETTLED], job);
    path_job_free(p, job);
}

/* A verdict: how the job ends. STORE writes it. Returns what `path_advance` goes on with. */
static bool verdict(struct path *p, struct job *job, enum status status, enum class class,
                    const char *reason)
{
    job->status = status;
    job->class = class;
    free(job->reason);
    job->reason = reason ? strdup(reason) : NULL;
    job->after_store = AFTER_NOTHING;
    job->outcome_us = p->edges.mono_us(p->edges.arg);
    path_move(p, job, JOB_STORE);
    p->edges.store(p->edges.arg, job);
    return false;
}

void path_end_dead(struct path *p, struct job *job, enum class class, const char *why)
{
    verdict(p, job, STATUS_DEAD, class, why);
}

/* No job can be made of the record: a dead letter without one. */
static bool bury(struct path *p, struct job *job, enum class class, const char *reason)
{
    job->class = class;
    free(job->reason);
    job->reason = strdup(reason);
    path_move(p, job, JOB_BURY);
    p->edges.bury(p->edges.arg, job);
    return false;
}

bool path_park(struct path *p, struct job *job, int32_t key, enum class reason, int64_t next_us)
{
    job->park_key = key;
    job->park_reason = reason;
    job->retry_at_us = next_us;
    job->throttle_us += p->edges.mono_us(p->edges.arg) - job->waiting_since_us;
    path_parking_sent(p, job);
    path_move(p, job, JOB_PARK);
    deadlines_clear(p->due, job);
    if (!job->parking) /* else it is in the edge's queue already: its answer hands it over again */
        p->edges.park(p->edges.arg, job);
    return false;
}

/* Its partition of `result` and `call` is dropped, or will be: it has no place any more. */
static bool too_old(const struct path *p, const struct job *job)
{
    return jobid_ms(&job->msg.job_id) < p->oldest_live_ms;
}

static bool bury_old(struct path *p, struct job *job)
{
    return bury(p, job, CLASS_FORGED_ID,
                "the id's time is older than the oldest results kept: submit it under a new "
                "batch name");
}

/* An operator leaves the record out: nobody looks into its bytes, which may be what crashed others.
 * (One that waits in `parked` was decoded, and is a job: that one is skipped by its id.) */
static bool bury_skipped(struct path *p, struct job *job, const struct skip *skip)
{
    char reason[SKIP_REASON_BYTES];
    (void)snprintf(reason, sizeof reason, "%.*s", (int)skip->reason.n, skip->reason.p);
    return bury(p, job, CLASS_SKIPPED, reason);
}

/* ---- FETCHED: are these bytes a job, and is it itself? -------------------------------------- *
 * Dies here: nothing was done. The record is above the watermark and is delivered again; a pulled
 * row is `taken_by` a worker that will be fenced, and is freed. */

/* The parked row that was pulled is now the twin's: should the twin have to wait, nobody else would
 * look at a row that this worker has taken. */
static void adopt_row(struct path *p, struct job *twin)
{
    twin->from_parked = true;
    twin->adopted = twin->state == JOB_CLAIM;
    int64_t next = partitions_finish(p->partitions, twin);
    if (next >= 0)
        p->edges.store_offset(p->edges.arg, twin->lane, twin->partition, twin->epoch, next);
}

static bool fetched(struct path *p, struct job *job)
{
    struct err err = {0};
    int class = CLASS_NONE;
    struct jobid row_id = job->msg.job_id;
    const struct skip *skip = skips_find(&p->skips, job->lane, job->partition, job->offset);
    if (skip && !job->from_parked)
        return bury_skipped(p, job, skip);
    FAILPOINT_OF("record.decode", ((struct span){job->payload, job->payload_bytes}));
    if (job_msg_decode(job->payload, job->payload_bytes, &job->msg, &class, &err) != RC_OK) {
        job->msg.job_id = row_id;
        return bury(p, job, (enum class) class, err.text);
    }
    if (!job_msg_id_matches(&job->msg))
        return bury(p, job, CLASS_FORGED_ID,
                    "the job id does not follow from app, batch, custom_id and generation");
    if (too_old(p, job))
        return bury_old(p, job);
    if (!job->from_parked && /* else it was accepted, whatever this clock says */
        jobid_ms(&job->msg.job_id) > p->edges.wall_ms(p->edges.arg) + CLOCK_AHEAD_MS)
        return bury(p, job, CLASS_FORGED_ID, "the id's time is more than 5 minutes ahead");

    struct job *twin = jobtable_find(p->table, &job->msg.job_id);
    if (twin && (twin->from_parked || job->from_parked)) {
        if (job->from_parked)
            adopt_row(p, twin);
        path_leave(p, job, true); /* its payload stands in `parked` until the twin ends */
        return false;
    }
    if (twin || !jobtable_add(p->table, job)) {
        path_move(p, job, JOB_WAIT);
        path_wait_until(p, job, p->edges.mono_us(p->edges.arg) + LIVE_WAIT_US);
        return false;
    }
    job->in_table = true;
    path_move(p, job, JOB_ADMIT);
    return true;
}

/* ---- ADMIT: may it run at all? --------------------------------------------------------------- *
 * Dies here: as FETCHED. */

/* Also asked right before a claim, and of lanes that stand still: time may have passed. */
bool path_ended_by_time_or_hand(struct path *p, struct job *job)
{
    if (too_old(p, job)) {
        bury_old(p, job);
        return true;
    }
    if (jobids_has(&p->cancelled, &job->msg.batch_id)) {
        verdict(p, job, STATUS_CANCELLED, CLASS_CANCELLED, NULL);
        return true;
    }
    if (jobids_has(&p->cancelled, &job->msg.job_id)) {
        verdict(p, job, STATUS_DEAD, CLASS_SKIPPED, "an operator left it out (inferq skip)");
        return true;
    }
    if (job->msg.deadline_ms && p->edges.wall_ms(p->edges.arg) >= job->msg.deadline_ms) {
        verdict(p, job, STATUS_EXPIRED, CLASS_EXPIRED, NULL);
        return true;
    }
    return false;
}

static bool admit(struct path *p, struct job *job)
{
    if (p->conf.ring && !sign_verify(p->conf.ring, job->msg.app, job->signature,
                                     (struct span){job->payload, job->payload_bytes}))
        return bury(p, job, CLASS_BAD_SIGNATURE, "no valid signature by a key of the job's app");
    if (path_ended_by_time_or_hand(p, job))
        return false;
    path_move(p, job, JOB_ROUTE);
    return true;
}

/* ---- ROUTE: which model version, where, at which price? -------------------------------------- *
 * Dies here: as FETCHED. */

static bool route(struct path *p, struct job *job)
{
    struct err err = {0};
    int class = CLASS_NONE;
    if (api_of_url(job->msg.url, &job->api, &err) != RC_OK ||
        request_read(job->api, job->msg.body, &job->request, &err) != RC_OK)
        return verdict(p, job, STATUS_DEAD, CLASS_INVALID_JOB, err.text);
    if (!path_choose(p, job, &class, &err))
        return verdict(p, job, STATUS_DEAD, (enum class) class, err.text);
    job->waiting_since_us = p->edges.mono_us(p->edges.arg);
    /* A parked job comes by again: what it waited and ran meanwhile is told apart. */
    int64_t age_us = (p->edges.wall_ms(p->edges.arg) - job->msg.created_at_ms) * 1000;
    int64_t queue_us = age_us - job->throttle_us - job->model_us;
    job->queue_us = queue_us > 0 ? queue_us : 0;
    path_move(p, job, JOB_THROTTLE);
    return true;
}

/* ---- THROTTLE: it waits in its lane until its endpoint can take it --------------------------- *
 * Dies here: as FETCHED. A wait longer than a few seconds leaves through PARK, so that a blocked
 * endpoint holds back neither its neighbours nor the watermark. */

/* Its endpoint, or its model version there, takes no calls for longer than memory is for. */
static bool park_if_long(struct path *p, struct job *job, int64_t now)
{
    const struct endpoint *e = &p->endpoints[job->endpoint];
    int64_t model_at = p->model_paused[job->mv->index];
    if (p->in_state[JOB_PARK].count >= PARKING_MAX)
        return false;
    if (endpoint_free_at(e, now) - now > p->conf.short_wait_us && path_may_park(p, job)) {
        path_park(p, job, job->endpoint_id, e->paused_for, endpoint_due_at(e, now));
        return true;
    }
    if (model_at <= now)
        return false;
    path_park(p, job, 0, CLASS_NO_UPSTREAM_MODEL, model_at);
    return true;
}

/* Of an older catalogue. A claim whose answer was lost may stand in the ledger with the version
 * that it named: that job keeps it. */
static bool is_outdated(const struct path *p, const struct job *job)
{
    return job->served != p->served && !job->claim_sent && !job->ask_only;
}

void path_reroute(struct path *p, struct job *job)
{
    struct err err = {0};
    int class = CLASS_NONE;
    if (!is_outdated(p, job))
        return;
    path_leave_lane(p, job); /* while its endpoint may change */
    bool found = path_choose(p, job, &class, &err);
    path_enter_lane(p, job);
    if (found)
        (void)park_if_long(p, job, p->edges.mono_us(p->edges.arg));
    else
        (void)verdict(p, job, STATUS_DEAD, (enum class) class, err.text);
}

static bool throttle(struct path *p, struct job *job)
{
    if (is_outdated(p, job)) {
        path_reroute(p, job);
        return false;
    }
    (void)park_if_long(p, job, p->edges.mono_us(p->edges.arg));
    return false; /* in its lane dispatch takes it up, from `parked` it is pulled */
}

static bool can_run(void *arg, int endpoint)
{
    const struct look *look = arg;
    return endpoint_can_run(&look->p->endpoints[endpoint], look->now_us);
}

/* Room for the largest call there can be: a job once taken from its lane never has to go back. */
static bool has_room(const struct path *p)
{
    size_t busy = p->in_state[JOB_CLAIM].count + p->in_state[JOB_CALL].count;
    return busy < (size_t)p->conf.max_in_flight &&
           p->in_state[JOB_STORE].count < 2 * (size_t)p->conf.max_in_flight &&
           p->memory_used + CALL_OVERHEAD_BYTES + JOB_MSG_BYTES_MAX + p->conf.reply_max_bytes <=
               p->conf.memory_bytes;
}

/* false: no memory for its call; it stays in its lane. Its bytes count from here on, or jobs that
 * are being claimed would all find the same room. */
static bool claim(struct path *p, struct job *job)
{
    job->call = call_pool_take(&p->calls);
    if (!job->call)
        return false;
    size_t cap = job->call->http.reply_max_bytes = path_reply_cap(p, job);
    /* A re-ask's request holds the answer, too. */
    path_reserve(p, job, CALL_OVERHEAD_BYTES + job->msg.body.n + job->answer.n + cap);
    int64_t now = p->edges.mono_us(p->edges.arg);
    job->throttle_us += now - job->waiting_since_us;
    job->dispatched_us = now;
    endpoint_begin(&p->endpoints[job->endpoint], now);
    path_limits_take(p, job);
    p->parking[job->endpoint].moved_off = false;
    job->begun = true;
    path_move(p, job, JOB_CLAIM);
    p->edges.claim(p->edges.arg, job);
    return true;
}

void path_dispatch(struct path *p)
{
    struct look look = {p, p->edges.mono_us(p->edges.arg)};
    struct flow_ask ask = {
        .free_at = p->limited ? path_limits_free_at : NULL, .arg = &look, .now_us = look.now_us};
    struct err err = {0};
    p->limits_ask_at_us = INT64_MAX;
    while (!p->draining && !p->revoking && has_room(p) && p->edges.may_claim(p->edges.arg)) {
        struct job *job = lanes_next(p->lanes, can_run, &ask);
        if (!job) {
            p->limits_ask_at_us = ask.next_us;
            return;
        }
        if (is_outdated(p, job)) { /* it was being claimed when the catalogue changed */
            path_reroute(p, job);
            continue;
        }
        if (path_ended_by_time_or_hand(p, job) || park_if_long(p, job, look.now_us))
            continue;
        if (path_over_cost(job))
            verdict(p, job, STATUS_DEAD, CLASS_OVER_COST, path_over_cost_reason);
        else if (path_over_limit(p, job, &err)) /* a limit that came while it waited */
            verdict(p, job, STATUS_DEAD, CLASS_OVER_LIMIT, err.text);
        else if (path_may_call(p, job) ? !claim(p, job) : !path_hold_retry(p, job))
            return;
    }
}

/* ---- CLAIM: its ledger row is committed before any byte is sent ------------------------------ *
 * Dies here: the row may stand without a call; the record is delivered again, and whoever gets it
 * finds the row, waits until this worker is fenced, marks the row `lost` and claims the next
 * number, or ends the job where its route wants no second call then. Reply lost but process alive:
 * the store edge asks the ledger (job->claim_sent). */

static void unbegin(struct path *p, struct job *job)
{
    if (job->begun)
        endpoint_cancel(&p->endpoints[job->endpoint], job->dispatched_us);
    job->begun = false;
    path_limits_give_back(p, job);
    path_unpay(p, job);
}

void path_gone(struct path *p, struct job *job)
{
    unbegin(p, job);
    bury_old(p, job);
}

/* Nobody knows what came of a call, and its route wants no other. */
static bool dead_by_route(struct path *p, struct job *job, enum class class, const char *what)
{
    char reason[OUTCOME_ERROR_BYTES + 128];
    (void)snprintf(reason, sizeof reason, "%s: %s", policy_reason(class), what ? what : "");
    return verdict(p, job, STATUS_DEAD, class, reason);
}

static bool start_call(struct path *p, struct job *job);

static bool claimed(struct path *p, struct job *job)
{
    enum claim_answer answer = job->claim_answer;
    bool adopted = job->adopted;
    job->claim_answer = CLAIM_NONE;
    job->adopted = false;
    if (answer == CLAIM_GRANTED)
        return start_call(p, job);
    if (answer == CLAIM_PARKED && adopted) { /* it looked before the row became ours */
        p->edges.claim(p->edges.arg, job);
        return false;
    }
    unbegin(p, job);
    job->waiting_since_us = p->edges.mono_us(p->edges.arg);
    switch (answer) {
    case CLAIM_DONE:
    case CLAIM_PARKED:
        if (!job->from_parked)
            path_expect_known(p);
        p->edges.seen(p->edges.arg, SIGHT_NOTHING_NEW, job);
        path_leave(p, job, true);
        return false;
    case CLAIM_LIVE:
        if (job->waits++ > 0)
            return path_park(p, job, 0, CLASS_NONE, job->waiting_since_us + p->conf.takeover_us);
        path_move(p, job, JOB_WAIT);
        path_wait_until(p, job, job->waiting_since_us + LIVE_WAIT_US);
        return false;
    case CLAIM_SPENT:
        job->ask_only = false;
        return verdict(p, job, STATUS_DEAD, CLASS_ATTEMPTS_SPENT,
                       "max_attempts calls stand in the ledger without a result");
    case CLAIM_UNKNOWN:
        if (path_owes(job, CLASS_LOST))
            return path_pay(p, job);
        return dead_by_route(p, job, policy_ending(job->retry, CLASS_LOST),
                             "a worker died with a call open, or no whole reply came");
    case CLAIM_FREE: /* a verdict yielded to a call that is over by now: say it again */
        job->ask_only = false;
        if (job->status == STATUS_NONE) /* let go while it was being parked: its row is ours */
            return path_park(p, job, 0, CLASS_NONE, job->waiting_since_us);
        path_move(p, job, JOB_STORE);
        p->edges.store(p->edges.arg, job);
        return false;
    case CLAIM_LARGER: /* as a call by another worker has shown */
        path_move(p, job, JOB_ROUTE);
        return true;
    case CLAIM_NO_LEASE:
        path_move(p, job, JOB_THROTTLE); /* dispatch waits until the lease is back */
        return false;
    case CLAIM_NONE:
    case CLAIM_GRANTED:
        break;
    }
    assert(!"an answer that CLAIM does not give");
    return false;
}

/* ---- CALL: the request is with the HTTP edge ------------------------------------------------- *
 * Dies here: outcome unknown. The ledger row stays open until the worker is fenced; then it says
 * `lost` with estimated and upper cost, counts as an attempt, and the job is called again, held or
 * given up, as its route says. While this worker renews its lease nobody else calls. */

static enum rc write_request(struct job *job, struct err *err)
{
    struct job_call *call = job->call;
    if (job->kind != CALL_REASK || !job->complaint)
        return request_write(job->msg.body, &job->request, job->mv->upstream_model, &call->written,
                             &call->http.request, err);
    enum rc rc = request_write_reask(job->msg.body, job->mv->upstream_model, buf_span(&job->answer),
                                     job->complaint, &call->written, err);
    call->http.request = buf_span(&call->written);
    return rc;
}

/* The row is claimed but nothing can be sent: the ledger must say so, and the job comes again. */
static bool unsent(struct path *p, struct job *job, enum http_fault fault)
{
    struct http_call *http = &job->call->http;
    http->facts = (struct http_facts){.fault = fault};
    http->started_us = http->done_us = p->edges.mono_us(p->edges.arg);
    path_move(p, job, JOB_PARSE);
    return true;
}

static bool start_call(struct path *p, struct job *job)
{
    struct err err = {0};
    struct http_call *http = &job->call->http;
    path_move(p, job, JOB_CALL);
    if (p->gave_up) {
        path_count_call(p, job, false);
        return unsent(p, job, HTTP_FAULT_GATE);
    }
    enum rc rc = write_request(job, &err);
    if (rc == RC_OK) {
        jobid_text(&job->msg.job_id, http->job_text);
        http->number = job->number;
        http->url_path = job->msg.url;
        http->traceparent = job->traceparent;
        http->arg = job;
        rc = p->edges.call(p->edges.arg, job, &err);
    }
    path_count_call(p, job, rc == RC_OK);
    return rc == RC_OK ? false : unsent(p, job, HTTP_FAULT_LOCAL);
}

/* ---- PARSE: what came of the call ------------------------------------------------------------ *
 * Dies here: as CALL. */

static bool parse(struct path *p, struct job *job)
{
    struct http_call *http = &job->call->http;
    struct outcome *o = &job->call->outcome;
    buf_done(&job->call->written);
    outcome_classify(&http->facts, p->edges.wall_ms(p->edges.arg), o);
    if (o->class == CLASS_OK) {
        buf_done(&job->answer);
        buf_init(&job->answer, http->reply_max_bytes);
        reply_read(job->api, http->facts.body, job->msg.output_kind != OUTPUT_TEXT, o,
                   &job->answer);
    }
    /* A re-ask that nobody answered is sent again as it was, or parked as not made. */
    enum outcome_step step = outcome_rule(o->class)->step;
    job->reasks += job->kind == CALL_REASK && step != STEP_RETRY && step != STEP_LARGER;
    outcome_price(o, job->price ? &job->price->price : NULL, job->estimated_nusd);
    if (o->error)
        p->edges.scrub(p->edges.arg, job->endpoint, o->error, strlen(o->error));
    if (o->class == CLASS_OK && job->kind != CALL_REASK) /* whose request is another */
        tokens_learn(&p->tokens[job->mv->index], (int64_t)job->msg.body.n, o->usage.input,
                     job->api == API_EMBEDDINGS ? -1 : o->usage.output);
    job->outcome_open = true;
    job->outcome_us = http->done_us;
    job->model_us += http->done_us - http->started_us;
    job->spent_nusd = o->cost_nusd < 0 || job->spent_nusd < 0 ? -1 : job->spent_nusd + o->cost_nusd;
    bool counts = outcome_counts(o->class);
    job->attempts += counts;
    job->uncounted = counts ? 0 : job->uncounted + 1;
    job->server_errors += o->class == CLASS_SERVER_ERROR;
    path_move(p, job, JOB_CHECK);
    return true;
}

/* ---- CHECK: is the output what the job asked for, and what happens next? --------------------- *
 * Dies here: as CALL. */

static int64_t deadline_us(struct path *p, const struct job *job, int64_t now_us)
{
    if (!job->msg.deadline_ms)
        return INT64_MAX;
    return now_us + (job->msg.deadline_ms - p->edges.wall_ms(p->edges.arg)) * 1000;
}

static void close_endpoint(struct path *p, struct job *job, const struct decision *d, int64_t now)
{
    struct endpoint *e = &p->endpoints[job->endpoint];
    if (job->call->outcome.class == CLASS_THROTTLED &&
        endpoint_shows_rate(e, job->dispatched_us, now))
        learned_throttled(&p->learned[job->endpoint], job->dispatched_us);
    bool paused = endpoint_end(e, job->call->outcome.class, d, job->dispatched_us, now,
                               p->edges.random(p->edges.arg));
    job->begun = false;
    path_limits_settle(p, job);
    path_count_answer(p, job);
    if (d->pause_model_us > 0)
        p->model_paused[job->mv->index] = now + d->pause_model_us;
    p->edges.seen(p->edges.arg, SIGHT_CALL_ENDED, job);
    if (paused)
        p->edges.seen(p->edges.arg, SIGHT_PAUSED, job);
    if (d->alert)
        p->edges.seen(p->edges.arg, SIGHT_ALERT, job);
    if (outcome_rule(job->call->outcome.class)->sign == SIGN_LIFE &&
        path_heed_rate_limits(p, job, now))
        p->edges.seen(p->edges.arg, SIGHT_LIMITED, job);
}

/* The answer's text is held beside its reply for a re-ask alone, and then is of the budget. */
static void keep_answer(struct path *p, struct job *job, enum action action)
{
    if (action == ACTION_REASK)
        path_reserve(p, job, job->answer.cap);
    else if (action != ACTION_RETRY || job->kind != CALL_REASK)
        buf_done(&job->answer);
}

static bool check(struct path *p, struct job *job)
{
    path_check_output(p, job);
    int64_t now = p->edges.mono_us(p->edges.arg);
    struct job_facts facts = {
        .calls = job->number,
        .attempts = job->attempts,
        .max_attempts = job->max_attempts,
        .retry = job->retry,
        .uncounted = job->uncounted,
        .server_errors = job->server_errors,
        .reasks = job->reasks,
        .can_reask = job->api == API_CHAT,
        .has_larger = job->mv->larger > 0,
        .now_us = now,
        .deadline_us = deadline_us(p, job, now),
        .seed = p->edges.random(p->edges.arg),
    };
    struct decision d = outcome_decide(&job->call->outcome, &facts);
    close_endpoint(p, job, &d, now);
    keep_answer(p, job, d.action);
    job->verdict_call = job->number;
    job->waiting_since_us = now;
    switch (d.action) {
    case ACTION_SUCCEED:
        return verdict(p, job, STATUS_SUCCEEDED, CLASS_OK, NULL);
    case ACTION_DEAD:
        if (policy_reason(d.why))
            return dead_by_route(p, job, d.why, job->call->outcome.error);
        return verdict(p, job, STATUS_DEAD, d.why, job->call->outcome.error);
    case ACTION_EXPIRE:
        return verdict(p, job, STATUS_EXPIRED, CLASS_EXPIRED, NULL);
    case ACTION_REASK:
        job->after_store = AFTER_REASK;
        break;
    case ACTION_LARGER:
        job->after_store = AFTER_LARGER;
        break;
    case ACTION_RETRY:
        job->owes = path_owes(job, job->call->outcome.class);
        job->retry_at_us = now + d.delay_us;
        job->park_key =
            endpoint_free_at(&p->endpoints[job->endpoint], now) > now ? job->endpoint_id : 0;
        job->park_reason = job->call->outcome.class;
        job->after_store = AFTER_RETRY;
        break;
    }
    job->verdict_call = 0;
    path_move(p, job,
              JOB_STORE); /* this call's outcome, before anything else is done for the job */
    p->edges.store(p->edges.arg, job);
    return false;
}

/* ---- STORE: every ending, and every call's outcome, is this one transaction ------------------ *
 * Dies here before the commit: as CALL. Commit done, reply lost or watermark not stored: the record
 * comes again and CLAIM answers `done`; or, for a stored outcome without an ending, the ledger
 * knows the attempts and the next worker claims the next number. */

size_t path_record_bytes(const struct job *job)
{
    return sizeof *job + job->payload_bytes + job->signature.n + job->traceparent.n;
}

static bool ended(struct path *p, struct job *job)
{
    if (job->stored)
        p->edges.seen(p->edges.arg, SIGHT_ENDED, job);
    if (job->crossed || (!job->stored && !job->verdict_call)) {
        /* Its parked row crossed its result: asking deletes it. Or it yielded, to a result that
         * stands or to a live call elsewhere: ask which. */
        job->crossed = false;
        job->ask_only = true;
        path_move(p, job, JOB_CLAIM);
        p->edges.claim(p->edges.arg, job);
        return false;
    }
    path_leave(p, job, true);
    return false;
}

static bool stored(struct path *p, struct job *job)
{
    job->outcome_open = false;
    if (job->status != STATUS_NONE)
        return ended(p, job);
    if (job->after_store == AFTER_NOTHING) { /* only its call's outcome could be stored */
        p->edges.seen(p->edges.arg, SIGHT_ALERT, job);
        path_leave(p, job, false);
        return false;
    }
    if (job->owes)
        return path_pay(p, job);
    int64_t now = p->edges.mono_us(p->edges.arg);
    job->number++;
    job->claim_sent = false;
    if (job->after_store == AFTER_REASK) {
        job->kind = CALL_REASK;
        job->waiting_since_us = now;
        path_move(p, job, JOB_THROTTLE);
        return true;
    }
    if (job->after_store == AFTER_LARGER) {
        job->kind = CALL_FALLBACK;
        job->larger++;
        path_move(p, job, JOB_ROUTE);
        return true;
    }
    if (job->kind != CALL_REASK)
        job->kind = CALL_RETRY;
    job->waiting_since_us = job->outcome_us;
    if (job->retry_at_us - now > p->conf.short_wait_us ||
        p->in_state[JOB_RETRY].count >= (size_t)p->conf.max_in_flight)
        return path_park(p, job, job->park_key, job->park_reason, job->retry_at_us);
    path_move(p, job, JOB_RETRY);
    path_wait_until(p, job, job->retry_at_us);
    return false;
}

/* ---- RETRY, WAIT, PARK, BURY ------------------------------------------------------------------ *
 * Dies in RETRY or WAIT: delivered again (or freed in `parked`); the ledger knows the attempts.
 * Dies in PARK or BURY: before the commit as before it; after, redelivery finds the row. */

bool path_due_job(struct path *p, struct job *job)
{
    if (job->state == JOB_RETRY) {
        path_move(p, job, JOB_THROTTLE);
    } else if (job->ask_only) {
        path_move(p, job, JOB_CLAIM);
        p->edges.claim(p->edges.arg, job);
        return false;
    } else if (job->in_table) {
        path_move(p, job, JOB_THROTTLE); /* it was live elsewhere: claim again */
    } else {
        struct job *twin = jobtable_find(p->table, &job->msg.job_id);
        if (twin && !twin->parking && !twin->from_parked && twin->state == JOB_CALL) {
            twin->parking = true; /* then this copy's offset is free to move */
            p->edges.park(p->edges.arg, twin);
        }
        path_move(p, job, JOB_FETCHED);
    }
    return true;
}

/* Takes a job as far as it can go now. After it returns the job may be gone. */
void path_advance(struct path *p, struct job *job)
{
    bool goes_on = true;
    while (goes_on) {
        switch (job->state) {
        case JOB_FETCHED:
            goes_on = fetched(p, job);
            break;
        case JOB_ADMIT:
            goes_on = admit(p, job);
            break;
        case JOB_ROUTE:
            goes_on = route(p, job);
            break;
        case JOB_THROTTLE:
            goes_on = throttle(p, job);
            break;
        case JOB_CLAIM:
            goes_on = claimed(p, job);
            break;
        case JOB_PARSE:
            goes_on = parse(p, job);
            break;
        case JOB_CHECK:
            goes_on = check(p, job);
            break;
        case JOB_STORE:
            goes_on = stored(p, job);
            break;
        case JOB_CALL:    /* the HTTP edge has it */
        case JOB_RETRY:   /* time */
        case JOB_WAIT:    /* time */
        case JOB_PARK:    /* the store edge has it */
        case JOB_BURY:    /* the store edge has it */
        case JOB_SETTLED: /* the end */
        case JOB_STATE_COUNT:
            goes_on = false;
            break;
        }
    }
}
