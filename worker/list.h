/*
 * list.h - intrusive doubly linked lists of jobs. The state of a job is the list that holds it.
 */
#ifndef INFERQ_WORKER_LIST_H
#define INFERQ_WORKER_LIST_H

#include <stddef.h>

struct job;

struct job_list {
    struct job *head, *tail;
    size_t count;
};

void job_list_push(struct job_list *l, struct job *job); /* at the tail; job must be on no list */
void job_list_remove(struct job_list *l, struct job *job);
struct job *job_list_pop(struct job_list *l); /* from the head; NULL: empty */

#endif
