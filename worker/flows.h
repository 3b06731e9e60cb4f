/*
 * flows.h - whose turn it is inside a lane: apps take turns, and an app's turn goes to its job with
 * the earliest deadline (pure).
 *
 * An app is in the rotation while it has jobs; its place there does not depend on how many, so an
 * app with a million jobs delays another's next one by a single dispatch. Jobs without a deadline
 * come after those with one; equal deadlines go in the order of arrival. At most FLOWS_APPS apps
 * are told apart at a time; jobs of further ones share a place in the rotation.
 *
 * An app's jobs for one endpoint that are bound by the same limits (job->gate) stand in one flow. A
 * flow whose next job may not go yet (struct flow_ask) is passed over until it is worth asking
 * again: it holds back neither the app's other jobs nor other apps'. Apps that wait for the limits
 * of one endpoint take turns there (flows_next_at).
 * Source: equal-weight round robin over backlogged flows (Nagle, RFC 970, 1985), earliest deadline
 * first within a flow (Liu and Layland, 1973).
 */
#ifndef INFERQ_WORKER_FLOWS_H
#define INFERQ_WORKER_FLOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

enum { FLOWS_APPS = 256 };

struct job;
struct flows;

/* For endpoints 0 .. endpoint_count - 1. returns owned; NULL: no memory. */
struct flows *flows_new(int endpoint_count);
/* For so many endpoints, at least; those that there are stay. false: no memory, try again. */
bool flows_grow(struct flows *t, int endpoint_count);
void flows_free(struct flows *t); /* the jobs must be gone */

/* Uses job->msg.app, job->msg.deadline_ms, job->endpoint, job->gate, job->waiting_since_us; takes
 * job->flow*, job->heap_index and job->due_us until flows_remove. Cannot fail: without memory jobs
 * share the place of further apps, and keep the order of arrival. */
void flows_push(struct flows *t, struct job *job);
void flows_remove(struct flows *t, struct job *job);

/* May this job go now, as far as its limits say? */
struct flow_ask {
    /* ask.now_us or before: it may. Else when its flow is worth asking again; INT64_MAX: when
     * flows_wake says. */
    int64_t (*free_at)(void *arg, struct job *job);
    void *arg;
    int64_t now_us;
    int64_t next_us; /* set: the earliest such time of the flows that were passed over, if before */
};

/* The next job for one of `endpoints` (a set: bit i % 64 of word i / 64) that may go. It stays
 * until flows_remove, and next until its app has had its turn. `ask` NULL: all may go. NULL: none.
 */
struct job *flows_next(struct flows *t, const uint64_t *endpoints, struct flow_ask *ask);
/* The next job for this one endpoint that may go: of the app whose last turn there is longest ago,
 * however busy it is elsewhere. */
struct job *flows_next_at(struct flows *t, int endpoint, struct flow_ask *ask);
/* This job goes: its app has had its turn. */
void flows_turn(struct flows *t, const struct job *job);
/* Flows that are passed over are asked again: all of them, or those that wait for this. */
void flows_wake(struct flows *t, bool all);
/* Of the flow with the most jobs among those that were passed over when they were asked last: its
 * next job, or one that would come among its last. NULL: there is none. ret_jobs: jobs of all
 * such flows. */
struct job *flows_blocked(const struct flows *t, bool last, size_t *ret_jobs);
/* Jobs for an endpoint in flows that are not passed over. */
size_t flows_ready(const struct flows *t, int endpoint);
/* Those of one app. */
size_t flows_app_ready(const struct flows *t, int endpoint, struct span app);
/* Each app that has jobs, and how many; further ones as one, without a name. The name is lent. */
void flows_apps(const struct flows *t, void (*tell)(void *arg, struct span app, size_t jobs),
                void *arg);
/* Of the app that has at least three quarters of all jobs: one that would come among its last.
 * NULL: there is no such app. */
struct job *flows_crowd(const struct flows *t);

#endif
