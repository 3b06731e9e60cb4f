/*
 * topic_sizes.h - max.message.bytes as the topics need it.
 */
#ifndef INFERQ_ADMIN_TOPIC_SIZES_H
#define INFERQ_ADMIN_TOPIC_SIZES_H

#include "common/job_msg.h"

/* Of a lane: the largest job, and what its key, its headers and a record batch add
 * (max_message_bytes, which holds submit back, is at most JOB_MSG_BYTES_MAX with all of them). Of
 * the dead letters: whatever a lane took, and the letter around it (schemas/messages/dead.md). */
enum {
    TOPIC_LANE_BYTES = JOB_MSG_BYTES_MAX + (256 << 10),
    TOPIC_DEAD_BYTES = TOPIC_LANE_BYTES + (64 << 10),
};

#endif
