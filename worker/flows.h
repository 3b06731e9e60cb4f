/*
 * flows.h - whose turn it is inside a lane: apps take turns, and an app's turn goes to its job with
 * the earliest deadline (pure).
 *
 * An app is in the rotation while it has jobs; its place there does not depend on how many, so an
 * app with a million jobs delays another's next one by a single dispatch. Jobs without a deadline
 * come after those with one; equal deadlines go in the order of arrival. At most FLOWS_APPS apps
 * are told apart at a time; jobs of further ones share a place in the rotation.
 * Source: equal-weight round robin over backlogged flows (Nagle, RFC 970, 1985), earliest deadline
 * first within a flow (Liu and Layland, 1973).
 */
#ifndef INFERQ_WORKER_FLOWS_H
#define INFERQ_WORKER_FLOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FLOWS_APPS = 256 };

struct job;
struct flows;

/* For endpoints 0 .. endpoint_count - 1. returns owned; NULL: no memory. */
struct flows *flows_new(int endpoint_count);
/* For so many endpoints, at least; those that there are stay. false: no memory, try again. */
bool flows_grow(struct flows *t, int endpoint_count);
void flows_free(struct flows *t); /* the jobs must be gone */

/* Uses job->msg.app, job->msg.deadline_ms, job->endpoint, job->waiting_since_us; takes job->flow*,
 * job->heap_index and job->due_us until flows_remove. Cannot fail: without memory jobs share the
 * place of further apps, and keep the order of arrival. */
void flows_push(struct flows *t, struct job *job);
void flows_remove(struct flows *t, struct job *job);

/* The next job for one of `endpoints` (a set: bit i % 64 of word i / 64); its app has then had its
 * turn. The job stays until flows_remove. NULL: no job for any of them. */
struct job *flows_next(struct flows *t, const uint64_t *endpoints);
/* Of the app that has at least three quarters of all jobs: one that would come among its last.
 * NULL: there is no such app. */
struct job *flows_crowd(const struct flows *t);

#endif
