/*
 * requeue_msg.h - a dead job's message made anew, as its next generation (pure).
 */
#ifndef INFERQ_ADMIN_REQUEUE_MSG_H
#define INFERQ_ADMIN_REQUEUE_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/job_msg.h"
#include "common/jobid.h"
#include "common/span.h"

enum { DEADLINE_KEEP = -1, DEADLINE_NONE = 0 }; /* else Unix ms */

struct requeue_change {
    int64_t deadline_ms; /* DEADLINE_KEEP, DEADLINE_NONE, or Unix ms */
    struct span body;    /* a new one; absent: it stays */
    bool other_prompt;   /* the new body is not what the job's prompt version made: it is dropped */
};

/* Appends to `out` the message `payload` with generation + 1, the id that follows from it, and the
 * changes; every other key, known here or not, is kept byte for byte. *ret_msg borrows from `out`.
 * RC_REJECT: not a job, the id does not follow from its fields or is not `job_id`, the new message
 * is too large, or its deadline (kept or new) is not after `now_ms`. */
enum rc requeue_msg(struct span payload, const struct jobid *job_id,
                    const struct requeue_change *change, int64_t now_ms, struct buf *out,
                    struct job_msg *ret_msg, struct err *err) MUST_CHECK;

/* The code of the lane that it goes to: its own (-1: that is no lane any more), then what its
 * message says, then normal. */
int requeue_lane(int lane, int msg_priority);

#endif
