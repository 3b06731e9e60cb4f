/*
 * jobtable.h - the jobs this process holds, by id: a second copy of one waits for the first (pure).
 */
#ifndef INFERQ_WORKER_JOBTABLE_H
#define INFERQ_WORKER_JOBTABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/jobid.h"

struct job;
struct jobtable;

struct jobtable *jobtable_new(void); /* returns owned; NULL: no memory */
void jobtable_free(struct jobtable *t);
/* The job of this id that is in the table; NULL: none. */
struct job *jobtable_find(const struct jobtable *t, const struct jobid *id);
/* By job->msg.job_id, chained through job->table_next. false: no memory; must not be there yet. */
bool jobtable_add(struct jobtable *t, struct job *job);
void jobtable_remove(struct jobtable *t, struct job *job);
size_t jobtable_count(const struct jobtable *t);

#endif
