/*
 * lane_topics.h - the lanes' topics and where the workers' group stands in them, for the commands
 * that see to Kafka.
 */
#ifndef INFERQ_ADMIN_LANE_TOPICS_H
#define INFERQ_ADMIN_LANE_TOPICS_H

#include "admin/cmd.h"
#include "common/kafka_group.h"

/* A connection to the brokers of the configuration, which answer. returns owned */
enum rc lane_topics_open(struct ctx *ctx, const char *client_id, struct kafka_producer **ret,
                         struct err *err) MUST_CHECK;

/* The partitions of every lane's topic (PREFIX.jobs.*), or of one `lane`'s (NULL: all), as the
 * configured group sees them. ret: kafka_parts_done */
enum rc lane_topics_read(struct ctx *ctx, struct kafka_producer *producer, const char *lane,
                         struct kafka_parts *ret, struct err *err) MUST_CHECK;

#endif
