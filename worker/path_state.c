/*
 * path_state.c - the states of a job and the arrows between them.
 *
 * A file of its own, so that a simulation can watch the one function through which every job goes
 * from state to state. An arrow that the table does not have is a slip of ours, and asserted.
 */
#include <assert.h>

#include "common/failpoint.h"
#include "worker/path_internal.h"

#define TO(state) (1U << JOB_##state)

static const unsigned legal_next[JOB_STATE_COUNT] = {
    [JOB_FETCHED] = TO(ADMIT) | TO(BURY) | TO(WAIT) | TO(SETTLED),
    [JOB_ADMIT] = TO(ROUTE) | TO(STORE) | TO(BURY),
    [JOB_ROUTE] = TO(THROTTLE) | TO(STORE),
    [JOB_THROTTLE] = TO(CLAIM) | TO(STORE) | TO(PARK) | TO(BURY) | TO(SETTLED),
    [JOB_CLAIM] = TO(CALL) | TO(SETTLED) | TO(WAIT) | TO(STORE) | TO(THROTTLE) | TO(PARK) |
                  TO(BURY) | TO(ROUTE),
    [JOB_CALL] = TO(PARSE),
    [JOB_PARSE] = TO(CHECK),
    [JOB_CHECK] = TO(STORE),
    [JOB_STORE] = TO(SETTLED) | TO(RETRY) | TO(PARK) | TO(THROTTLE) | TO(CLAIM) | TO(STORE) |
                  TO(BURY) | TO(ROUTE),
    [JOB_RETRY] = TO(THROTTLE) | TO(SETTLED),
    [JOB_WAIT] = TO(FETCHED) | TO(THROTTLE) | TO(CLAIM) | TO(SETTLED),
    [JOB_PARK] = TO(SETTLED) | TO(STORE),
    [JOB_BURY] = TO(SETTLED),
    [JOB_SETTLED] = TO(CLAIM), /* parked while it ran, and ended meanwhile: asks, then leaves */
};

/* The states in which a job has its call, if it is one that is called. */
static const unsigned with_call = TO(CLAIM) | TO(CALL) | TO(PARSE) | TO(CHECK) | TO(STORE);

bool path_may_move(enum job_state from, enum job_state to)
{
    return (legal_next[from] & (1U << to)) != 0;
}

/* The one place where a job changes its state, and so its list. */
void path_move(struct path *p, struct job *job, enum job_state next)
{
    assert(path_may_move(job->state, next));
    FAILPOINT_ARROW("path", job_state_name(job->state), job_state_name(next), job->msg.custom_id);
    if (job->state == JOB_THROTTLE)
        path_leave_lane(p, job);
    else
        job_list_remove(&p->in_state[job->state], job);
    job->state = next;
    if (job->call && !(with_call & (1U << next)))
        path_end_call(p, job);
    if (next == JOB_THROTTLE)
        path_enter_lane(p, job);
    else
        job_list_push(&p->in_state[next], job);
}

const char *job_state_name(enum job_state state)
{
    static const char *const names[JOB_STATE_COUNT] = {
        [JOB_FETCHED] = "fetched",   [JOB_ADMIT] = "admit",     [JOB_ROUTE] = "route",
        [JOB_THROTTLE] = "throttle", [JOB_CLAIM] = "claim",     [JOB_CALL] = "call",
        [JOB_PARSE] = "parse",       [JOB_CHECK] = "check",     [JOB_RETRY] = "retry",
        [JOB_PARK] = "park",         [JOB_STORE] = "store",     [JOB_WAIT] = "wait",
        [JOB_BURY] = "bury",         [JOB_SETTLED] = "settled",
    };
    return names[state];
}
