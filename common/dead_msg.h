/*
 * dead_msg.h - the dead-letter message, version 1 (schemas/messages/dead.md): what the dead topic
 * carries. The original record's value travels untouched inside it.
 */
#ifndef INFERQ_COMMON_DEAD_MSG_H
#define INFERQ_COMMON_DEAD_MSG_H

#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/jobid.h"
#include "common/span.h"

struct dead_msg {
    int64_t dead_id;     /* dead_letter.dead_id */
    struct jobid job_id; /* all zero: the record had no job */
    struct span app, task, custom_id;
    int class_code;     /* enum class */
    struct span reason; /* for people, scrubbed */
    int attempts;
    struct span model_version; /* "name@version"; absent allowed */
    struct span topic;
    int partition;
    int64_t offset, timestamp_ms;
    int64_t died_at_ms;
    struct span payload; /* the record's value, byte for byte */
};

enum rc dead_msg_encode(const struct dead_msg *msg, struct buf *out, struct err *err) MUST_CHECK;
enum rc dead_msg_decode(const void *p, size_t n, struct dead_msg *ret, struct err *err) MUST_CHECK;

#endif
