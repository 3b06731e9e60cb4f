/*
 * kafka_group.h - a consumer group seen from outside it: where it stands in its topics, who its
 * members are, its offsets moved, and records deleted that nobody needs any more.
 *
 * Through a producer's connection (kafka_producer.h), used from one thread; nothing here joins the
 * group. Timeouts are of one call, >= 1 ms.
 */
#ifndef INFERQ_COMMON_KAFKA_GROUP_H
#define INFERQ_COMMON_KAFKA_GROUP_H

#include <stdint.h>

#include "common/err.h"
#include "common/kafka_producer.h"

enum { KAFKA_TOPIC_BYTES = 256, KAFKA_WHY_BYTES = 160, KAFKA_NAME_BYTES = 128 };

struct kafka_part {
    char topic[KAFKA_TOPIC_BYTES];
    int32_t partition;
    int64_t low, high;         /* the first offset it holds, and one past its last */
    int64_t committed;         /* by the group: the next that it reads; -1: nothing yet */
    int64_t at;                /* set by kafka_parts_at; else -1 */
    int64_t to;                /* for the caller to set, -1: leave this one alone */
    char why[KAFKA_WHY_BYTES]; /* "", or why the last call could not do it here */
};
struct kafka_parts {
    struct kafka_part *all; /* by topic, then partition; owned */
    int count;
};
struct kafka_member {
    char client_id[KAFKA_NAME_BYTES], host[KAFKA_NAME_BYTES];
};

/* Every partition of every topic whose name begins with `topic_prefix`. RC_REJECT: there is no such
 * topic, or the broker does not let us; RC_RETRY: no answer. */
enum rc kafka_parts_read(struct kafka_producer *p, const char *group, const char *topic_prefix,
                         int timeout_ms, struct kafka_parts *ret, struct err *err) MUST_CHECK;
void kafka_parts_done(struct kafka_parts *parts);

/* Sets `at`: the first offset whose record is of `unix_ms` or later, `high` where there is none. */
enum rc kafka_parts_at(struct kafka_producer *p, struct kafka_parts *parts, int64_t unix_ms,
                       int timeout_ms, struct err *err) MUST_CHECK;

/* Deletes the records below `to` where it is set. RC_OK also where a partition was refused: its
 * `why` says so; elsewhere `low` is what the broker now says. RC_RETRY: no answer, perhaps done. */
enum rc kafka_parts_trim(struct kafka_producer *p, struct kafka_parts *parts, int timeout_ms,
                         struct err *err) MUST_CHECK;

/* Makes `to` the group's committed offset where it is set. RC_REJECT: the group has members, which
 * Kafka refuses, or a partition was refused (its `why`); RC_RETRY: no answer, perhaps done. */
enum rc kafka_parts_move(struct kafka_producer *p, const char *group, struct kafka_parts *parts,
                         int timeout_ms, struct err *err) MUST_CHECK;

/* The group's members, at most `max` of them; *ret_count is how many there are. A group that does
 * not exist has none. */
enum rc kafka_group_members(struct kafka_producer *p, const char *group, int timeout_ms,
                            struct kafka_member *members, int max, int *ret_count,
                            struct err *err) MUST_CHECK;

#endif
