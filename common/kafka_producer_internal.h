/*
 * kafka_producer_internal.h - what kafka_producer.c (records), kafka_topics.c, kafka_group.c and
 * kafka_look.c (requests of the admin interface) share. Nobody else includes it.
 */
#ifndef INFERQ_COMMON_KAFKA_PRODUCER_INTERNAL_H
#define INFERQ_COMMON_KAFKA_PRODUCER_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "common/kafka_producer.h"

/* How long librdkafka itself waits for answers of its admin interface: longer than any caller, who
 * looks at the clock instead. Where its own time ran out while the group's coordinator was asked
 * for, librdkafka 2.0 aborts when that answer, or the end of the connection, comes after all. */
enum { KAFKA_ADMIN_PATIENCE_MS = 3600 * 1000 };

struct kafka_producer {
    rd_kafka_t *rk;        /* NULL: a rebuild failed and is due again */
    rd_kafka_conf_t *conf; /* from which each instance is made */
    kafka_delivered delivered;
    void *arg;
    int pending;             /* handed to librdkafka, not reported */
    int served;              /* reports since the last poll began */
    bool ending;             /* the instance is given up: takes nothing more */
    bool unanswered;         /* a request of the admin interface got no answer */
    int64_t next_rebuild_us; /* CLOCK_MONOTONIC */
    char bootstrap[512];     /* for messages; may be cut */
    pthread_mutex_t lock;    /* for what follows: written by librdkafka's threads */
    char complaint[256];     /* its last error or warning */
};

/* "Kafka at BROKERS: what: why (its last complaint)". Returns RC_RETRY. */
enum rc kafka_err_away(struct kafka_producer *p, rd_kafka_resp_err_t code, const char *what,
                       struct err *err);
/* RC_REJECT: what a broker says again however often it is asked about topics, records or a group's
 * offsets; else RC_RETRY. */
enum rc kafka_err_judge(rd_kafka_resp_err_t code);

#endif
