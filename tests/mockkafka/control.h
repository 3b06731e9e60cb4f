/* mockkafka: the control language, one line in, one line out. */
#ifndef INFERQ_TESTS_MOCKKAFKA_CONTROL_H
#define INFERQ_TESTS_MOCKKAFKA_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

struct rd_kafka_mock_cluster_s;

enum {
    CONTROL_LINE_MAX_BYTES = 1024,  /* a longer line is refused */
    CONTROL_REPLY_MAX_BYTES = 4096, /* the longest reply is help's */
};

/* Creates a topic of `partitions` partitions, replicated on `replicas` brokers. False, with the
 * reason in reply (CONTROL_REPLY_MAX_BYTES), where the mock refuses. */
bool control_create_topic(struct rd_kafka_mock_cluster_s *cluster, const char *topic,
                          int partitions, int replicas, char *reply);

/* Runs one command; `line` (without its newline) is cut to pieces. The reply, without a newline,
 * goes into reply (CONTROL_REPLY_MAX_BYTES): "ok", "ok VALUE" or "error: REASON". Returns whether
 * it is an "ok". help's reply alone has several lines. */
bool control_run(struct rd_kafka_mock_cluster_s *cluster, char *line, char *reply);

#endif
