/*
 * consumer.h - the consuming edge of Kafka: librdkafka's consumer group on the loop.
 *
 * librdkafka is always drained; each record goes to `on_record` at once. Lanes that are full are
 * paused partition by partition, in pairs tracked here. Offsets are stored only by
 * consumer_store, which the path calls after the Postgres commit; librdkafka commits what is stored
 * every second and at release.
 */
#ifndef INFERQ_WORKER_CONSUMER_H
#define INFERQ_WORKER_CONSUMER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "common/err.h"
#include "common/span.h"

struct uv_loop_s;
struct consumer;

struct record {
    int lane; /* index into conf.topics */
    int32_t partition;
    uint32_t epoch; /* of the assignment that fetched it */
    int64_t offset, timestamp_ms;
    struct span key, value;
    struct span signature, traceparent; /* header values; absent: not there */
};

struct consumer_conf {
    const struct config *config; /* kafka.* pass through; ours win where a guarantee needs it */
    const char *group;           /* this and all below: borrowed for the consumer's life */
    const char *client_id;
    const char *const *topics; /* one per lane */
    int topic_count;
    void *arg;
    /* The record's memory lasts for the call only. */
    void (*on_record)(void *arg, const struct record *record);
    void (*on_assigned)(void *arg, int lane, int32_t partition, uint32_t epoch);
    /* All partitions are to be given back (eager assignor). Drop what has not started, let calls in
     * flight end for a few seconds if not `lost`, store watermarks, then consumer_release. */
    void (*on_revoke)(void *arg, bool lost);
    void (*on_error)(void *arg, const char *what); /* passing trouble; librdkafka mends itself */
    void (*on_fatal)(void *arg, const char *what); /* the process must exit non-zero */
};

enum rc consumer_new(struct uv_loop_s *loop, const struct consumer_conf *conf,
                     struct consumer **ret_consumer, struct err *err) MUST_CHECK;
/* Pauses or resumes a lane's assigned partitions, and those that it will be assigned. */
void consumer_pause(struct consumer *c, int lane, bool on);
/* Everything below `next_offset` is done. Ignored for an older epoch or a partition not held. */
void consumer_store(struct consumer *c, int lane, int32_t partition, uint32_t epoch,
                    int64_t next_offset);
/* Answers on_revoke: resumes the paused, commits stored offsets (waits up to 5 s), unassigns. */
void consumer_release(struct consumer *c);
bool consumer_revoking(const struct consumer *c);
/* Records not handed over yet of the partitions held, per lane; -1: not known yet. As old as the
 * last fetch: it does not grow while a lane is paused. */
int64_t consumer_lag(const struct consumer *c, int lane);
bool consumer_connected(const struct consumer *c); /* some broker is up */
/* Stops intake for good: no record comes any more (drain). */
void consumer_stop(struct consumer *c);
/* Leaves the group, commits, destroys; blocks up to `timeout_ms`. */
void consumer_free(struct consumer *c, int timeout_ms);

#endif
