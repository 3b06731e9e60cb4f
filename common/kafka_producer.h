/*
 * kafka_producer.h - the producing edge of Kafka: idempotent, delivery reports decide.
 *
 * A record counts as written when its delivery callback says RC_OK, and at no other moment. A fatal
 * error of the producer is handled inside: flush, destroy, make anew; the records concerned are
 * reported RC_RETRY. To be used from one thread. Timeouts are >= 0.
 */
#ifndef INFERQ_COMMON_KAFKA_PRODUCER_H
#define INFERQ_COMMON_KAFKA_PRODUCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/err.h"
#include "common/span.h"

struct kafka_producer;

struct kafka_header {
    const char *name;
    struct span value;
};

struct kafka_out {
    const char *topic;
    struct span key, value; /* copied */
    const struct kafka_header *headers;
    int header_count;
    int64_t timestamp_ms; /* 0: now */
    void *opaque;         /* handed to the delivery callback */
};

/* rc: RC_OK written; RC_RETRY not known to be written; RC_REJECT will never be (too large, unknown
 * topic). Called from kafka_producer_poll / _flush only. */
typedef void (*kafka_delivered)(void *arg, void *opaque, enum rc rc, const char *why);

/* `config`'s kafka.* keys pass through (security and all); ours win where a guarantee needs it:
 * enable.idempotence, acks=all, partitioner=murmur2_random. Unless set there: linger.ms=5, lz4, a
 * queue of at most 32 MiB, records of at most 16 MiB (topics take less). RC_REJECT: no brokers
 * named, or a setting that librdkafka refuses. returns owned */
enum rc kafka_producer_new(const struct config *config, const char *client_id,
                           kafka_delivered delivered, void *arg,
                           struct kafka_producer **ret_producer, struct err *err) MUST_CHECK;
/* Flushes at most `timeout_ms`, then drops the rest (each reported RC_RETRY). False: nothing was
 * freed. A request about topics or groups was never answered, and librdkafka 2.0 then hangs or
 * aborts in its end: the process is to leave by _exit. */
bool kafka_producer_free(struct kafka_producer *p, int timeout_ms);

/* Copies; may be called from a delivery callback. RC_FULL: the local queue (queue.buffering.max.*)
 * is full: poll, then send again. RC_REJECT: too large, or no such topic. RC_RETRY: not now. Unless
 * RC_OK, no report will come. */
enum rc kafka_producer_send(struct kafka_producer *p, const struct kafka_out *out,
                            struct err *err) MUST_CHECK;
/* Serves delivery callbacks; waits up to timeout_ms for one. Returns how many were served. */
int kafka_producer_poll(struct kafka_producer *p, int timeout_ms);
/* RC_RETRY: not all were reported within timeout_ms. */
enum rc kafka_producer_flush(struct kafka_producer *p, int timeout_ms, struct err *err) MUST_CHECK;
int kafka_producer_pending(const struct kafka_producer *p);

/* Are the brokers there? Asks for metadata. RC_RETRY names the bootstrap servers. */
enum rc kafka_producer_ping(struct kafka_producer *p, int timeout_ms, struct err *err) MUST_CHECK;

/* Topics, through the admin API. */
struct kafka_topic {
    const char *name;
    int partitions;            /* of one that is made here, >= 1 */
    int partitions_min;        /* one that exists must have as many; 0: whatever it has will do */
    int replication;           /* of one that is made here; -1: the broker's default */
    const char *const *config; /* name, value, name, value ... NULL; may be NULL */
};
struct kafka_topic_state {
    bool created;   /* by this call; false: it existed */
    int partitions; /* that it has */
};
/* Creates those that are missing; ret_states[i] says how topics[i] stands. Returns when every
 * partition has a leader. RC_REJECT with the remedy: one that exists has fewer than partitions_min;
 * nothing is created then. */
enum rc kafka_topics_ensure(struct kafka_producer *p, const struct kafka_topic *topics, int count,
                            int timeout_ms, struct kafka_topic_state *ret_states,
                            struct err *err) MUST_CHECK;

#endif
