/*
 * kafka_look.h - how Kafka stands, for who examines it: topics, their partitions and settings, the
 * group and its offsets. Only asks; changes nothing.
 *
 * Each kind of question has an answer of its own, because brokers grant rights one by one and old
 * ones lack requests: what could not be asked says so, and the rest is still known.
 */
#ifndef INFERQ_COMMON_KAFKA_LOOK_H
#define INFERQ_COMMON_KAFKA_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/kafka_producer.h"

enum { KAFKA_WHY_BYTES = 256, KAFKA_WORD_BYTES = 64 };

enum kafka_answer_how {
    KAFKA_ANSWERED,
    KAFKA_NOT_ASKED,   /* the topic is not there, or a request before got no answer */
    KAFKA_NOT_ALLOWED, /* authorization */
    KAFKA_TOO_OLD,     /* the broker has no such request */
    KAFKA_NO_ANSWER,   /* anything else */
};
struct kafka_answer {
    enum kafka_answer_how how;
    char why[KAFKA_WHY_BYTES]; /* unless answered */
};

struct kafka_partition_look {
    int32_t leader; /* -1: none */
    int replicas, in_sync;
    int64_t low, high; /* offsets of the oldest record and after the newest; -1: not known */
    int64_t committed; /* by the group; -1: none, or not known */
};

struct kafka_topic_look {
    char *name;
    int partition_count; /* 0: the topic is not there */
    struct kafka_partition_look *partitions;
    struct kafka_answer settings; /* whether those below are known */
    char cleanup_policy[KAFKA_WORD_BYTES];
    int64_t retention_ms, retention_bytes; /* -1: without end */
    int64_t max_message_bytes, min_insync;
    bool unclean_election;
};

struct kafka_look {
    int broker_count;
    int topic_count; /* as asked, in that order */
    struct kafka_topic_look *topics;
    struct kafka_answer group;   /* whether its state and members are known */
    struct kafka_answer offsets; /* whether the partitions' `committed` are */
    char group_state[KAFKA_WORD_BYTES];
    int member_count;
    bool unanswered; /* a request of these got no answer */
};

/* RC_RETRY: not even the list of topics could be had; the message names the brokers. Takes at most
 * about `timeout_ms` in all. returns owned */
enum rc kafka_look(struct kafka_producer *p, const char *const *topics, int topic_count,
                   const char *group, int timeout_ms, struct kafka_look **ret_look,
                   struct err *err) MUST_CHECK;
void kafka_look_free(struct kafka_look *look);

#endif
