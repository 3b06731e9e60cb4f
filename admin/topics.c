/*
 * topics.c - `inferq topics`: makes the lanes' topics and the dead-letter topic.
 *
 * Records must outlive any backlog, so nothing is deleted by age: retention.ms and retention.bytes
 * are -1 (below the committed watermark records are deleted on purpose, not by a clock).
 *
 * Existing topics are left as they are, and it is said how many partitions they have; only who asks
 * for a number of partitions is refused when there are fewer, and then nothing is made.
 */
#include <stdio.h>
#include <string.h>

#include "admin/cmd.h"
#include "admin/out.h"
#include "admin/topic_sizes.h"
#include "common/codes.h"
#include "common/kafka_producer.h"

enum {
    PARTITIONS_DEFAULT = 12,
    TIMEOUT_MS = 30000, /* to make the topics */
    PING_TIMEOUT_MS = 10000,
    TOPIC_COUNT = PRIORITY_COUNT + 1, /* the lanes in their order, then the dead letters */
    TOPIC_NAME_BYTES = 256,
    NUMBER_BYTES = 16,
    SETTINGS_MAX = 13,
};
/* What kafka_topics_ensure borrows. */
struct plan {
    char names[TOPIC_COUNT][TOPIC_NAME_BYTES];
    char max_bytes[TOPIC_COUNT][NUMBER_BYTES];
    const char *settings[TOPIC_COUNT][SETTINGS_MAX];
    struct kafka_topic topics[TOPIC_COUNT];
};

static void plan_topic(struct plan *plan, int i, const struct ctx *ctx)
{
    const char *prefix = config_text(ctx->config, "prefix");
    bool dead = i == PRIORITY_COUNT;
    if (dead)
        (void)snprintf(plan->names[i], TOPIC_NAME_BYTES, "%s.dead", prefix);
    else
        (void)snprintf(plan->names[i], TOPIC_NAME_BYTES, "%s.jobs.%s", prefix, priority_name(i));
    (void)snprintf(plan->max_bytes[i], NUMBER_BYTES, "%d",
                   dead ? TOPIC_DEAD_BYTES : TOPIC_LANE_BYTES);
    int replication = (int)opts_int(&ctx->opts, "replication", -1);
    const char *const settings[SETTINGS_MAX] = {
        "retention.ms", "-1", "retention.bytes", "-1", "cleanup.policy", "delete",
        "max.message.bytes", plan->max_bytes[i], "unclean.leader.election.enable", "false",
        /* with three copies, an acknowledged record is on two of them; else the broker decides */
        replication >= 3 ? "min.insync.replicas" : NULL, "2", NULL};
    memcpy(plan->settings[i], settings, sizeof settings);
    plan->topics[i] = (struct kafka_topic){
        .name = plan->names[i],
        .partitions = (int)opts_int(&ctx->opts, "partitions", PARTITIONS_DEFAULT),
        .partitions_min = (int)opts_int(&ctx->opts, "partitions", 0),
        .replication = replication,
        .config = plan->settings[i],
    };
}

static enum rc print_states(struct ctx *ctx, const struct plan *plan,
                            const struct kafka_topic_state *states, struct err *err)
{
    static const struct table_col cols[] = {
        {"topic", "TOPIC", 0}, {"state", "STATE", 0}, {"partitions", "PARTITIONS", 0}, {0}};
    struct table *t = table_new(cols);
    enum rc rc = cmd_have(t, err);
    for (int i = 0; rc == RC_OK && i < TOPIC_COUNT; i++) {
        table_text(t, span_of(plan->names[i]));
        table_text(t, states[i].created ? SPAN_LIT("created") : SPAN_LIT("exists"));
        table_int(t, states[i].partitions);
    }
    if (rc == RC_OK)
        rc = ctx_print_table(ctx, t, err);
    table_free(t);
    return rc;
}

static void nothing_is_produced(void *arg, void *opaque, enum rc rc, const char *why)
{
    (void)arg;
    (void)opaque;
    (void)rc;
    (void)why;
}

static enum rc ensure_all(struct ctx *ctx, struct kafka_producer *producer, struct err *err)
{
    struct plan plan;
    struct kafka_topic_state states[TOPIC_COUNT];
    for (int i = 0; i < TOPIC_COUNT; i++)
        plan_topic(&plan, i, ctx);
    enum rc rc = kafka_topics_ensure(producer, plan.topics, TOPIC_COUNT, TIMEOUT_MS, states, err);
    return rc == RC_OK ? print_states(ctx, &plan, states, err) : rc;
}

enum rc topics(struct ctx *ctx, struct err *err)
{
    struct kafka_producer *producer = NULL;
    enum rc rc =
        kafka_producer_new(ctx->config, "inferq-topics", nothing_is_produced, NULL, &producer, err);
    if (rc == RC_OK)
        rc = kafka_producer_ping(producer, PING_TIMEOUT_MS, err);
    if (rc == RC_OK)
        rc = ensure_all(ctx, producer, err);
    ctx_kafka_free(ctx, producer);
    return rc;
}
