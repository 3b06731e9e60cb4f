/*
 * call_pool.c - see call_pool.h. Why: most of a job's memory would be its call, and nearly all jobs
 * in a worker wait in lanes; and the few that are called use the same, warm memory in turn.
 */
#include "worker/call_pool.h"

#include <assert.h>
#include <stdlib.h>

#include "common/job_msg.h"

void call_pool_init(struct call_pool *pool, int keep)
{
    assert(keep >= 0);
    *pool = (struct call_pool){.keep = keep};
}

void call_pool_done(struct call_pool *pool)
{
    for (struct job_call *call; (call = pool->idle);) {
        pool->idle = call->next;
        free(call);
    }
    pool->idle_count = 0;
}

struct job_call *call_pool_take(struct call_pool *pool)
{
    struct job_call *call = pool->idle;
    if (call) {
        pool->idle = call->next;
        pool->idle_count--;
    } else {
        call = malloc(sizeof *call);
    }
    if (!call)
        return NULL;
    *call = (struct job_call){0};
    buf_init(&call->written, JOB_MSG_BYTES_MAX);
    outcome_init(&call->outcome);
    return call;
}

void call_pool_give(struct call_pool *pool, struct job_call *call)
{
    if (!call)
        return;
    buf_done(&call->http.reply);
    buf_done(&call->written);
    outcome_done(&call->outcome);
    if (pool->idle_count >= pool->keep) {
        free(call);
        return;
    }
    call->next = pool->idle;
    pool->idle = call;
    pool->idle_count++;
}
