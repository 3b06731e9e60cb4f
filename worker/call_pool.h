/*
 * call_pool.h - what jobs have only while a model is called for them: taken at CLAIM, given back
 * when the call's outcome is stored, and used again for the next.
 */
#ifndef INFERQ_WORKER_CALL_POOL_H
#define INFERQ_WORKER_CALL_POOL_H

#include <stdbool.h>

#include "common/buf.h"
#include "worker/admission.h"
#include "worker/http.h"
#include "worker/outcome.h"

/* One call of one job. */
struct job_call {
    struct job_call *next; /* in the pool */
    struct http_call http;
    struct buf written;          /* the request, where it is not the job's own body */
    struct outcome outcome;      /* once it ended */
    struct admission_call taken; /* of shared limits, ... */
    bool has_taken;              /* ... if it has */
};

struct call_pool {
    struct job_call *idle;
    int idle_count, keep; /* so many stay for the next calls */
};

void call_pool_init(struct call_pool *pool, int keep);
void call_pool_done(struct call_pool *pool); /* what was taken must be given back */
/* returns owned, as good as new; NULL: no memory */
struct job_call *call_pool_take(struct call_pool *pool);
/* Takes `call` (NULL: nothing); frees what it owns. */
void call_pool_give(struct call_pool *pool, struct job_call *call);

#endif
