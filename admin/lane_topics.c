/*
 * lane_topics.c - see lane_topics.h.
 */
#include "admin/lane_topics.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

enum { PING_TIMEOUT_MS = 10000, TIMEOUT_MS = 10000, NAP_MS = 500 };

static void nothing_is_produced(void *arg, void *opaque, enum rc rc, const char *why)
{
    (void)arg;
    (void)opaque;
    (void)rc;
    (void)why;
}

enum rc lane_topics_open(struct ctx *ctx, const char *client_id, struct kafka_producer **ret,
                         struct err *err)
{
    struct kafka_producer *producer = NULL;
    enum rc rc =
        kafka_producer_new(ctx->config, client_id, nothing_is_produced, NULL, &producer, err);
    if (rc == RC_OK)
        rc = kafka_producer_ping(producer, PING_TIMEOUT_MS, err);
    if (rc == RC_OK)
        *ret = producer;
    else
        ctx_kafka_free(ctx, producer);
    return rc;
}

/* A lane's name may begin with another's: those go that are only like it. */
static void keep_topic(struct kafka_parts *parts, const char *topic)
{
    int kept = 0;
    for (int i = 0; i < parts->count; i++)
        if (strcmp(parts->all[i].topic, topic) == 0)
            parts->all[kept++] = parts->all[i];
    parts->count = kept;
}

/* A broker that has just started, or a partition that has just been given to another, refuses for a
 * moment. One that does not answer at all has had its time with the first try. */
static enum rc read_patiently(struct kafka_producer *producer, const char *group, const char *topic,
                              struct kafka_parts *ret, struct err *err)
{
    const struct timespec nap = {.tv_nsec = NAP_MS * 1000000L};
    int64_t until_us = clock_mono_us() + TIMEOUT_MS * INT64_C(1000);
    for (;;) {
        enum rc rc = kafka_parts_read(producer, group, topic, TIMEOUT_MS, ret, err);
        if (rc != RC_RETRY || clock_mono_us() >= until_us)
            return rc;
        (void)nanosleep(&nap, NULL);
    }
}

enum rc lane_topics_read(struct ctx *ctx, struct kafka_producer *producer, const char *lane,
                         struct kafka_parts *ret, struct err *err)
{
    char topic[KAFKA_TOPIC_BYTES];
    int n = snprintf(topic, sizeof topic, "%s.jobs.%s", config_text(ctx->config, "prefix"),
                     lane ? lane : "");
    if (n >= (int)sizeof topic)
        return err_set(err, RC_REJECT, "'%.40s...' is no lane: its name is too long", lane);
    struct kafka_parts parts = {0};
    enum rc rc = read_patiently(producer, config_text(ctx->config, "group"), topic, &parts, err);
    if (rc != RC_OK)
        return rc;
    if (lane)
        keep_topic(&parts, topic);
    if (parts.count == 0) {
        kafka_parts_done(&parts);
        return err_set(err, RC_REJECT, "there is no topic %s", topic);
    }
    *ret = parts;
    return RC_OK;
}
