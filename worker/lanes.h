/*
 * lanes.h - which waiting job is called next (pure).
 *
 * A lane is the in-memory queue of one priority, bounded in jobs. Inside it jobs wait per endpoint,
 * so that an endpoint that cannot take more never blocks its neighbours, and per app (flows.h).
 * Lanes share dispatches by weight (stride scheduling: each dispatch moves a lane's pass on by
 * 1/share; the runnable lane with the least pass is next; a lane that wakes starts at the current
 * pass, so idling earns nothing); a lane's share is at least `min_share_permille` of the whole, and
 * grows with the age of its jobs. In the chosen lane the apps with runnable jobs take turns, and
 * the app's job with the earliest deadline goes. Source: Waldspurger and Weihl, "Stride
 * scheduling", 1995.
 *
 * Where there are limits, what is short is not this worker's next call but the endpoint's: the
 * lanes with jobs for the chosen one's endpoint share its dispatches by a pass of that endpoint,
 * and apps take turns there. So who has much to do elsewhere has no less of a limit.
 */
#ifndef INFERQ_WORKER_LANES_H
#define INFERQ_WORKER_LANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "worker/flows.h"
#include "worker/list.h"

enum { LANES_MAX = 16 };

struct lane_conf {
    const char *name;       /* "high" */
    int weight;             /* 1 .. 1000 */
    int min_share_permille; /* 0 .. 1000; all together <= 1000 */
    size_t max_jobs;        /* the lane is full at this many */
    size_t max_bytes;       /* or at so many payload bytes */
    int64_t age_boost_us;   /* each such age of a job, since it was made, counts the lane's weight
                               once more for it, up to 8 times; 0: never */
};

struct lanes;

/* returns owned; RC_REJECT: bad configuration. */
enum rc lanes_new(const struct lane_conf *conf, int lane_count, int endpoint_count,
                  struct lanes **ret_lanes, struct err *err) MUST_CHECK;
/* Other weights, shares, bounds and boosts for the same lanes, from the next dispatch on; jobs stay
 * where they are, also beyond a lower bound. RC_REJECT: bad configuration, and nothing changed. */
enum rc lanes_configure(struct lanes *l, const struct lane_conf *conf, struct err *err) MUST_CHECK;
/* What lanes_configure would answer. */
enum rc lanes_may_configure(const struct lanes *l, const struct lane_conf *conf,
                            struct err *err) MUST_CHECK;
/* Room for so many endpoints, at least; jobs and the endpoints that there are stay as they are.
 * RC_NOMEM: nothing changed, try again. */
enum rc lanes_grow(struct lanes *l, int endpoint_count, struct err *err) MUST_CHECK;
void lanes_free(struct lanes *l); /* the jobs must be gone */

/* Uses job->lane, job->endpoint, job->payload_bytes, job->waiting_since_us, and what flows_push
 * does. */
void lanes_push(struct lanes *l, struct job *job);
void lanes_remove(struct lanes *l, struct job *job);
/* The next job whose endpoint `can_run` and whose limits let it go (`ask`, whose now_us is the
 * time; ask->free_at NULL: there are none); its lane is charged one dispatch, the job stays in it
 * until lanes_remove. NULL: none; ask->next_us says when it is worth asking again for what its
 * limits hold back, INT64_MAX: not before lanes_wake. */
struct job *lanes_next(struct lanes *l, bool (*can_run)(void *arg, int endpoint),
                       struct flow_ask *ask);
/* What limits hold back is asked again: all of it, or what waits for this. */
void lanes_wake(struct lanes *l, bool all);
/* Of what limits hold back in a lane, the next or the last job of the largest flow (flows_blocked).
 */
struct job *lanes_blocked(const struct lanes *l, int lane, bool last, size_t *ret_jobs);
/* Jobs for an endpoint that limits do not hold back, in all lanes. */
size_t lanes_ready(const struct lanes *l, int endpoint);
/* Those of one app in one lane. */
size_t lanes_app_ready(const struct lanes *l, int lane, int endpoint, struct span app);
/* Each app that has jobs in a lane (flows_apps); FLOWS_APPS + 1 of them at most. */
void lanes_apps(const struct lanes *l, int lane,
                void (*tell)(void *arg, struct span app, size_t jobs), void *arg);
/* Any one waiting job of this lane (or -1: any) and endpoint (or -1: any), oldest first; stays. */
struct job *lanes_peek(const struct lanes *l, int lane, int endpoint);
/* Of the app that has at least three quarters of the lane's jobs: one that would come among its
 * last; stays. NULL: there is no such app. */
struct job *lanes_crowd(const struct lanes *l, int lane);

/* Visits every waiting job, oldest first within a lane and endpoint; `visit` may remove the job
 * that it is given, and no other. */
void lanes_walk(struct lanes *l, void (*visit)(void *arg, struct job *job), void *arg);

/* Wide hysteresis: full at the cap, not full again before it fell to half of it. */
bool lanes_full(struct lanes *l, int lane);
size_t lanes_jobs(const struct lanes *l, int lane);
size_t lanes_bytes(const struct lanes *l, int lane);
size_t lanes_waiting(const struct lanes *l, int lane, int endpoint);

#endif
