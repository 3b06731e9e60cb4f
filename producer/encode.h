/*
 * encode.h - from a draft to the bytes of a job message (pure).
 */
#ifndef INFERQ_PRODUCER_ENCODE_H
#define INFERQ_PRODUCER_ENCODE_H

#include <stddef.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/job_msg.h"
#include "common/span.h"
#include "producer/prepare.h"

/* What a Kafka record needs beside the message: key, headers, the batch's framing. */
enum { ENCODE_HEADROOM_BYTES = 1024 };

struct encoder {
    struct job_msg msg;     /* what all jobs of the batch share is set by the caller */
    size_t value_bytes_max; /* of one message */
    struct buf out;
};

/* `record_bytes_max` counts the whole Kafka record. */
void encoder_init(struct encoder *e, size_t record_bytes_max);
void encoder_done(struct encoder *e);

/* The message of this job; e->msg.job_id is its id. *ret_value lives until the next call.
 * RC_REJECT: too large (by how much is said), or a field out of bounds. */
enum rc encoder_job(struct encoder *e, const struct draft *draft, struct span *ret_value,
                    struct err *err) MUST_CHECK;

#endif
