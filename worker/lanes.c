/*
 * lanes.c - which waiting job is called next (pure).
 *
 * Happy path: jobs wait in one list per (lane, endpoint), in the order of their coming, and in
 * their lane's flows. lanes_next asks once per endpoint with waiting jobs whether it can run, meets
 * that set with each lane's set of endpoints that have jobs (one bit each), takes the lane with the
 * least pass among those that meet, and lets its flows say which job. A lane that could not run a
 * moment ago, because it was empty or its endpoints were busy, comes back at the pass of the lane
 * dispatched last at the earliest: what it did not use is gone. Where limits are asked, that lane
 * says at which endpoint something goes, and the passes of that endpoint which lane's.
 *
 * Failure modes: only lanes_new can fail. Whether a lane is full is for the caller to ask; a push
 * beyond the cap is taken (records that were already fetched have nowhere else to go).
 */
#include "worker/lanes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "worker/job.h"
#include "worker/flows.h"

enum {
    SHARE_WHOLE = 1000000,
    SHARE_LEAST = 100,
    WEIGHT_MAX = 1000,
    PERMILLE = 1000,
    AGE_BOOST_MAX = 8
};

/* A pass moves by STRIDE_ONE / share a dispatch: at 100,000 dispatches a second 64 bits last for
 * more than a thousand years. */
#define STRIDE_ONE (UINT64_C(1) << 32)

struct lane {
    struct lane_conf conf;
    struct job_list *of_endpoint; /* oldest first */
    struct flows *flows;
    uint64_t *waiting; /* bit i: endpoint i has jobs here */
    size_t jobs, bytes;
    uint64_t stride, pass;
    uint64_t *pass_at; /* by endpoint: of its dispatches there, where limits are shared */
    bool runnable;     /* at the last look */
    bool full;
};

struct lanes {
    int lane_count, endpoint_count;
    size_t words;          /* of an endpoint set */
    uint64_t *can_run;     /* lanes_next's scratch: an endpoint set */
    size_t *endpoint_jobs; /* of all lanes */
    uint64_t pass;         /* of the lane dispatched last, before its charge */
    uint64_t *pass_at;     /* the same by endpoint */
    struct lane lanes[LANES_MAX];
};

/* ---- making and unmaking ------------------------------------------------------------------ */

static enum rc check(const struct lane_conf *conf, int lane_count, int endpoint_count,
                     struct err *err)
{
    int shares = 0;
    if (lane_count < 1 || lane_count > LANES_MAX)
        return err_set(err, RC_REJECT, "%d lanes: 1 to %d are possible", lane_count,
                       (int)LANES_MAX);
    if (endpoint_count < 0)
        return err_set(err, RC_REJECT, "%d endpoints", endpoint_count);
    for (int i = 0; i < lane_count; i++) {
        const struct lane_conf *c = &conf[i];
        if (c->weight < 1 || c->weight > WEIGHT_MAX)
            return err_set(err, RC_REJECT, "lane %s: weight %d is not within 1 to %d", c->name,
                           c->weight, (int)WEIGHT_MAX);
        if (c->min_share_permille < 0 || c->min_share_permille > PERMILLE)
            return err_set(err, RC_REJECT, "lane %s: minimum share %d is not within 0 to %d",
                           c->name, c->min_share_permille, (int)PERMILLE);
        if (!c->max_jobs || !c->max_bytes)
            return err_set(err, RC_REJECT, "lane %s: it must hold at least one job and one byte",
                           c->name);
        if (c->age_boost_us < 0)
            return err_set(err, RC_REJECT, "lane %s: the age that boosts it is negative", c->name);
        shares += c->min_share_permille;
    }
    if (shares > PERMILLE)
        return err_set(err, RC_REJECT, "minimum shares add up to %d permille: %d at most", shares,
                       (int)PERMILLE);
    return RC_OK;
}

/* Shares by weight; a lane that would get less than its minimum gets that, and the others share
 * what is left by weight, until no lane falls below. */
static void set_strides(struct lanes *l)
{
    bool fixed[LANES_MAX] = {false};
    int64_t share[LANES_MAX] = {0};
    for (bool again = true; again;) {
        int64_t rest = SHARE_WHOLE, weights = 0;
        for (int i = 0; i < l->lane_count; i++) {
            rest -= fixed[i] ? share[i] : 0;
            weights += fixed[i] ? 0 : l->lanes[i].conf.weight;
        }
        again = false;
        for (int i = 0; i < l->lane_count; i++) {
            int64_t least = (int64_t)l->lanes[i].conf.min_share_permille * (SHARE_WHOLE / PERMILLE);
            if (fixed[i])
                continue;
            share[i] = rest * l->lanes[i].conf.weight / weights;
            if (share[i] >= least)
                continue;
            share[i] = least;
            fixed[i] = again = true;
            break; /* the rest has changed: begin again */
        }
    }
    for (int i = 0; i < l->lane_count; i++)
        l->lanes[i].stride =
            STRIDE_ONE / (uint64_t)(share[i] > SHARE_LEAST ? share[i] : SHARE_LEAST);
}

static size_t words_for(int endpoint_count)
{
    return (size_t)endpoint_count / 64 + 1;
}

/* As it was, and longer by zeros. false: no memory, and as it was. */
static bool lengthen(uint64_t **list, size_t old_words, size_t words)
{
    uint64_t *grown = realloc(*list, words * sizeof *grown);
    if (!grown)
        return false;
    memset(grown + old_words, 0, (words - old_words) * sizeof *grown);
    *list = grown;
    return true;
}

static bool grow_lane(struct lane *lane, const struct lanes *l, int endpoint_count)
{
    size_t old = (size_t)l->endpoint_count, count = (size_t)endpoint_count;
    struct job_list *lists = realloc(lane->of_endpoint, (count + 1) * sizeof *lists);
    if (!lists)
        return false;
    memset(lists + old, 0, (count + 1 - old) * sizeof *lists);
    lane->of_endpoint = lists;
    return lengthen(&lane->waiting, l->words, words_for(endpoint_count)) &&
           lengthen(&lane->pass_at, old, count + 1) && flows_grow(lane->flows, endpoint_count);
}

static bool grow(struct lanes *l, int endpoint_count)
{
    size_t old = (size_t)l->endpoint_count, count = (size_t)endpoint_count;
    if (!lengthen(&l->can_run, l->words, words_for(endpoint_count)) ||
        !lengthen(&l->pass_at, old, count + 1))
        return false;
    size_t *jobs = realloc(l->endpoint_jobs, (count + 1) * sizeof *jobs);
    if (!jobs)
        return false;
    memset(jobs + old, 0, (count + 1 - old) * sizeof *jobs);
    l->endpoint_jobs = jobs;
    for (int i = 0; i < l->lane_count; i++)
        if (!grow_lane(&l->lanes[i], l, endpoint_count))
            return false;
    return true;
}

/* What has grown when the memory ends is merely larger than needed: the counts, which rule, are
 * raised at the end. */
enum rc lanes_grow(struct lanes *l, int endpoint_count, struct err *err)
{
    if (l->words > 0 && endpoint_count <= l->endpoint_count)
        return RC_OK;
    if (!grow(l, endpoint_count))
        return err_set(err, RC_NOMEM, "no memory for %d endpoints in the lanes", endpoint_count);
    l->endpoint_count = endpoint_count;
    l->words = words_for(endpoint_count);
    return RC_OK;
}

enum rc lanes_new(const struct lane_conf *conf, int lane_count, int endpoint_count,
                  struct lanes **ret_lanes, struct err *err)
{
    enum rc rc = check(conf, lane_count, endpoint_count, err);
    if (rc != RC_OK)
        return rc;
    struct lanes *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, RC_NOMEM, "no memory for the lanes");
    l->lane_count = lane_count;
    bool ok = true;
    for (int i = 0; i < lane_count; i++) {
        l->lanes[i].conf = conf[i];
        ok = (l->lanes[i].flows = flows_new(endpoint_count)) && ok;
    }
    rc =
        ok ? lanes_grow(l, endpoint_count, err) : err_set(err, RC_NOMEM, "no memory for the lanes");
    if (rc != RC_OK) {
        lanes_free(l);
        return rc;
    }
    set_strides(l);
    *ret_lanes = l;
    return RC_OK;
}

enum rc lanes_may_configure(const struct lanes *l, const struct lane_conf *conf, struct err *err)
{
    return check(conf, l->lane_count, l->endpoint_count, err);
}

enum rc lanes_configure(struct lanes *l, const struct lane_conf *conf, struct err *err)
{
    enum rc rc = lanes_may_configure(l, conf, err);
    if (rc != RC_OK)
        return rc;
    for (int i = 0; i < l->lane_count; i++)
        l->lanes[i].conf = conf[i];
    set_strides(l);
    return RC_OK;
}

void lanes_free(struct lanes *l)
{
    if (!l)
        return;
    for (int i = 0; i < l->lane_count; i++) {
        assert(l->lanes[i].jobs == 0);
        free(l->lanes[i].of_endpoint);
        free(l->lanes[i].waiting);
        free(l->lanes[i].pass_at);
        flows_free(l->lanes[i].flows);
    }
    free(l->can_run);
    free(l->pass_at);
    free(l->endpoint_jobs);
    free(l);
}

/* ---- in and out ------------------------------------------------------------------------------ */

static struct lane *lane_of(struct lanes *l, const struct job *job)
{
    assert(job->lane >= 0 && job->lane < l->lane_count);
    assert(job->endpoint >= 0 && job->endpoint < l->endpoint_count);
    return &l->lanes[job->lane];
}

static uint64_t bit(int endpoint)
{
    return UINT64_C(1) << (endpoint % 64);
}

/* A lane that comes back to an endpoint has lost what it did not use there. */
static void catch_up(const struct lanes *l, struct lane *lane, int endpoint)
{
    if (lane->pass_at[endpoint] < l->pass_at[endpoint])
        lane->pass_at[endpoint] = l->pass_at[endpoint];
}

void lanes_push(struct lanes *l, struct job *job)
{
    struct lane *lane = lane_of(l, job);
    if (!lane->of_endpoint[job->endpoint].count)
        catch_up(l, lane, job->endpoint);
    job_list_push(&lane->of_endpoint[job->endpoint], job);
    flows_push(lane->flows, job);
    lane->waiting[job->endpoint / 64] |= bit(job->endpoint);
    lane->jobs++;
    lane->bytes += job->payload_bytes;
    l->endpoint_jobs[job->endpoint]++;
}

void lanes_remove(struct lanes *l, struct job *job)
{
    struct lane *lane = lane_of(l, job);
    struct job_list *list = &lane->of_endpoint[job->endpoint];
    job_list_remove(list, job);
    flows_remove(lane->flows, job);
    if (!list->count)
        lane->waiting[job->endpoint / 64] &= ~bit(job->endpoint);
    assert(lane->bytes >= job->payload_bytes);
    lane->jobs--;
    lane->bytes -= job->payload_bytes;
    l->endpoint_jobs[job->endpoint]--;
}

/* ---- whose turn is it? ----------------------------------------------------------------------- */

static void ask_endpoints(struct lanes *l, bool (*can_run)(void *arg, int endpoint), void *arg)
{
    for (size_t w = 0; w < l->words; w++)
        l->can_run[w] = 0;
    for (int i = 0; i < l->endpoint_count; i++) {
        if (!l->endpoint_jobs[i] || !can_run(arg, i))
            continue;
        l->can_run[i / 64] |= bit(i);
    }
}

static bool meets(const struct lanes *l, const struct lane *lane)
{
    for (size_t w = 0; w < l->words; w++)
        if (lane->waiting[w] & l->can_run[w])
            return true;
    return false;
}

/* Its pass if it comes to run. A lane that wakes has lost what it did not use. */
static uint64_t pass_of(const struct lanes *l, const struct lane *lane)
{
    return !lane->runnable && lane->pass < l->pass ? l->pass : lane->pass;
}

/* Among the lanes of the set `left` (bit i: lane i). */
static int least_pass(const struct lanes *l, uint32_t left)
{
    int least = -1;
    for (int i = 0; i < l->lane_count; i++)
        if ((left >> i & 1) &&
            (least < 0 || pass_of(l, &l->lanes[i]) < pass_of(l, &l->lanes[least])))
            least = i;
    return least;
}

/* What a dispatch of this job is charged: the older it is, the less, so that the lane's weight
 * grows by itself with each age_boost_us, up to AGE_BOOST_MAX times. */
static uint64_t charge(const struct lane *lane, const struct job *job, int64_t now_us)
{
    if (!lane->conf.age_boost_us)
        return lane->stride;
    int64_t age_us = job->queue_us + job->throttle_us + now_us - job->waiting_since_us;
    int64_t times = age_us > 0 ? 1 + age_us / lane->conf.age_boost_us : 1;
    return lane->stride / (uint64_t)(times < AGE_BOOST_MAX ? times : AGE_BOOST_MAX);
}

/* Lanes that meet an endpoint that can run; all are seen to be idle or not. */
static uint32_t meeting(struct lanes *l)
{
    uint32_t left = 0;
    for (int i = 0; i < l->lane_count; i++) {
        if (meets(l, &l->lanes[i]))
            left |= UINT32_C(1) << i;
        else
            l->lanes[i].runnable = false;
    }
    return left;
}

/* Of the lanes with jobs for this endpoint, that with the least pass there; -1: none. */
static int least_at(const struct lanes *l, int endpoint, uint32_t left)
{
    int least = -1;
    for (int i = 0; i < l->lane_count; i++)
        if ((left >> i & 1) && l->lanes[i].of_endpoint[endpoint].count &&
            (least < 0 || l->lanes[i].pass_at[endpoint] < l->lanes[least].pass_at[endpoint]))
            least = i;
    return least;
}

/* This job may go: whose turn is it at its endpoint? */
static struct job *next_there(struct lanes *l, struct job *job, struct flow_ask *ask)
{
    int endpoint = job->endpoint;
    uint32_t left = UINT32_MAX;
    for (int i; (i = least_at(l, endpoint, left)) >= 0; left &= ~(UINT32_C(1) << i)) {
        struct lane *lane = &l->lanes[i];
        struct job *next = flows_next_at(lane->flows, endpoint, ask);
        if (next)
            return next;
        catch_up(l, lane, endpoint);
    }
    return job;
}

/* Its lane and app have had their turn. */
static struct job *dispatch(struct lanes *l, struct job *job, int64_t now_us)
{
    struct lane *lane = &l->lanes[job->lane];
    uint64_t stride = charge(lane, job, now_us);
    lane->pass += stride;
    l->pass_at[job->endpoint] = lane->pass_at[job->endpoint];
    lane->pass_at[job->endpoint] += stride;
    flows_turn(lane->flows, job);
    return job;
}

struct job *lanes_next(struct lanes *l, bool (*can_run)(void *arg, int endpoint),
                       struct flow_ask *ask)
{
    uint32_t left;
    ask->next_us = INT64_MAX;
    ask_endpoints(l, can_run, ask->arg);
    left = meeting(l);
    for (int i; (i = least_pass(l, left)) >= 0; left &= ~(UINT32_C(1) << i)) {
        struct lane *lane = &l->lanes[i];
        struct job *job = flows_next(lane->flows, l->can_run, ask->free_at ? ask : NULL);
        assert(job || ask->free_at); /* the lane's set of endpoints met those that can run */
        lane->pass = pass_of(l, lane);
        lane->runnable = job != NULL;
        if (!job)
            continue;
        l->pass = lane->pass;
        return dispatch(l, ask->free_at ? next_there(l, job, ask) : job, ask->now_us);
    }
    return NULL;
}

void lanes_wake(struct lanes *l, bool all)
{
    for (int i = 0; i < l->lane_count; i++)
        flows_wake(l->lanes[i].flows, all);
}

/* ---- looking --------------------------------------------------------------------------------- */

static struct job *older(struct job *a, struct job *b)
{
    return !a || (b && b->waiting_since_us < a->waiting_since_us) ? b : a;
}

static struct job *oldest(const struct lanes *l, const struct lane *lane)
{
    struct job *job = NULL;
    for (size_t w = 0; w < l->words; w++)
        for (uint64_t left = lane->waiting[w]; left; left &= left - 1)
            job = older(job, lane->of_endpoint[w * 64 + (size_t)__builtin_ctzll(left)].head);
    return job;
}

struct job *lanes_peek(const struct lanes *l, int lane, int endpoint)
{
    struct job *job = NULL;
    for (int i = 0; i < l->lane_count; i++) {
        if (lane >= 0 && lane != i)
            continue;
        const struct lane *at = &l->lanes[i];
        job = older(job, endpoint >= 0 ? at->of_endpoint[endpoint].head : oldest(l, at));
    }
    return job;
}

void lanes_walk(struct lanes *l, void (*visit)(void *arg, struct job *job), void *arg)
{
    for (int i = 0; i < l->lane_count; i++) {
        for (int e = 0; e < l->endpoint_count; e++) {
            for (struct job *job = l->lanes[i].of_endpoint[e].head, *next; job; job = next) {
                next = job->next;
                visit(arg, job);
            }
        }
    }
}

struct job *lanes_crowd(const struct lanes *l, int lane)
{
    return flows_crowd(l->lanes[lane].flows);
}

struct job *lanes_blocked(const struct lanes *l, int lane, bool last, size_t *ret_jobs)
{
    return flows_blocked(l->lanes[lane].flows, last, ret_jobs);
}

size_t lanes_ready(const struct lanes *l, int endpoint)
{
    size_t jobs = 0;
    for (int i = 0; i < l->lane_count; i++)
        jobs += flows_ready(l->lanes[i].flows, endpoint);
    return jobs;
}

size_t lanes_app_ready(const struct lanes *l, int lane, int endpoint, struct span app)
{
    return flows_app_ready(l->lanes[lane].flows, endpoint, app);
}

void lanes_apps(const struct lanes *l, int lane,
                void (*tell)(void *arg, struct span app, size_t jobs), void *arg)
{
    flows_apps(l->lanes[lane].flows, tell, arg);
}

bool lanes_full(struct lanes *l, int lane)
{
    struct lane *at = &l->lanes[lane];
    const struct lane_conf *c = &at->conf;
    if (at->jobs >= c->max_jobs || at->bytes >= c->max_bytes)
        at->full = true;
    else if (at->jobs <= c->max_jobs / 2 && at->bytes <= c->max_bytes / 2)
        at->full = false;
    return at->full;
}

size_t lanes_jobs(const struct lanes *l, int lane)
{
    return l->lanes[lane].jobs;
}

size_t lanes_bytes(const struct lanes *l, int lane)
{
    return l->lanes[lane].bytes;
}

size_t lanes_waiting(const struct lanes *l, int lane, int endpoint)
{
    if (lane >= 0)
        return l->lanes[lane].of_endpoint[endpoint].count;
    return l->endpoint_jobs[endpoint];
}
