/*
 * list.c - see list.h. Nothing here can fail; a job is on one list at a time.
 */
#include "worker/list.h"

#include <assert.h>

#include "worker/job.h"

void job_list_push(struct job_list *l, struct job *job)
{
    assert(!job->next && !job->prev && l->head != job);
    job->prev = l->tail;
    if (l->tail)
        l->tail->next = job;
    else
        l->head = job;
    l->tail = job;
    l->count++;
}

void job_list_remove(struct job_list *l, struct job *job)
{
    assert(l->count > 0 && (job->prev || l->head == job) && (job->next || l->tail == job));
    if (job->prev)
        job->prev->next = job->next;
    else
        l->head = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        l->tail = job->prev;
    job->next = job->prev = NULL;
    l->count--;
}

struct job *job_list_pop(struct job_list *l)
{
    struct job *job = l->head;
    if (job)
        job_list_remove(l, job);
    return job;
}
