/*
 * deadlines.h - a binary heap of jobs by their due times (pure).
 *
 * Each job has a slot in one heap at most (job->heap_index, -1 when absent): that of the path's
 * timer while it waits for a time, that of a lane's queue while it waits there. Of jobs that are
 * due at the same time the longest waiting one comes first (job->waiting_since_us, not to change
 * meanwhile).
 */
#ifndef INFERQ_WORKER_DEADLINES_H
#define INFERQ_WORKER_DEADLINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct job;
struct deadlines;

struct deadlines *deadlines_new(void); /* returns owned; NULL: no memory */
void deadlines_free(struct deadlines *d);
/* Sets or moves the job's due time (job->due_us). false: no memory. */
bool deadlines_set(struct deadlines *d, struct job *job, int64_t due_us);
void deadlines_clear(struct deadlines *d, struct job *job);     /* harmless when absent */
int64_t deadlines_next(const struct deadlines *d);              /* INT64_MAX: none */
struct job *deadlines_first(const struct deadlines *d);         /* due next, stays; NULL: none */
struct job *deadlines_pop(struct deadlines *d, int64_t now_us); /* one that is due; NULL: none */
size_t deadlines_count(const struct deadlines *d);

#endif
