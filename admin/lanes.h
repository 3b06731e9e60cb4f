/*
 * lanes.h - the lanes that there are, for the commands that look at all of them.
 */
#ifndef INFERQ_ADMIN_LANES_H
#define INFERQ_ADMIN_LANES_H

#include <stdbool.h>

#include "admin/cmd.h"
#include "common/kafka_producer.h"
#include "common/lane_set.h"

/* RC_REJECT: with its remedy, as ctx_exec. */
enum rc lanes_read(struct ctx *ctx, struct lane_set *ret, struct err *err) MUST_CHECK;
/* For commands about Kafka that are to work without Postgres: false: it could not be asked, and
 * `ret` has the lanes that are always there. */
bool lanes_read_or_default(struct ctx *ctx, struct lane_set *ret);

/* Makes the topic of one lane unless it is there, with --partitions and --replication. */
enum rc lane_topic_ensure(struct ctx *ctx, const char *lane, struct kafka_topic_state *ret_state,
                          struct err *err) MUST_CHECK;

#endif
