/*
 * topics.c - `inferq topics`: makes the lanes' topics and the dead-letter topic.
 *
 * Records must outlive any backlog, so nothing is deleted by age: retention.ms and retention.bytes
 * are -1 (below the committed watermark records are deleted on purpose, not by a clock).
 *
 * The lanes are those of the table in Postgres; where that cannot be asked, the three that are
 * always there, and it is said. Existing topics are left as they are, and it is said how many
 * partitions they have; only who asks for a number of partitions is refused when there are fewer,
 * and then nothing is made.
 */
#include <stdio.h>
#include <string.h>

#include "admin/cmd.h"
#include "admin/lanes.h"
#include "admin/out.h"
#include "admin/topic_sizes.h"
#include "common/kafka_producer.h"

enum {
    PARTITIONS_DEFAULT = 12,
    TIMEOUT_MS = 30000, /* to make the topics */
    PING_TIMEOUT_MS = 10000,
    TOPICS_MAX = LANE_SET_MAX + 1, /* the lanes in their order, then the dead letters */
    TOPIC_NAME_BYTES = 256,
    NUMBER_BYTES = 16,
    SETTINGS_MAX = 13,
};
/* What kafka_topics_ensure borrows. */
struct plan {
    int count;
    char names[TOPICS_MAX][TOPIC_NAME_BYTES];
    char max_bytes[TOPICS_MAX][NUMBER_BYTES];
    const char *settings[TOPICS_MAX][SETTINGS_MAX];
    struct kafka_topic topics[TOPICS_MAX];
};

/* lane NULL: of the dead letters. */
static void plan_topic(struct plan *plan, const char *lane, const struct ctx *ctx)
{
    int i = plan->count++;
    (void)snprintf(plan->names[i], TOPIC_NAME_BYTES, "%s.%s%s", config_text(ctx->config, "prefix"),
                   lane ? "jobs." : "dead", lane ? lane : "");
    (void)snprintf(plan->max_bytes[i], NUMBER_BYTES, "%d",
                   lane ? TOPIC_LANE_BYTES : TOPIC_DEAD_BYTES);
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
    for (int i = 0; rc == RC_OK && i < plan->count; i++) {
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

static enum rc ensure(struct ctx *ctx, const struct plan *plan, struct kafka_topic_state *ret,
                      struct err *err)
{
    struct kafka_producer *producer = NULL;
    enum rc rc =
        kafka_producer_new(ctx->config, "inferq-topics", nothing_is_produced, NULL, &producer, err);
    if (rc == RC_OK)
        rc = kafka_producer_ping(producer, PING_TIMEOUT_MS, err);
    if (rc == RC_OK)
        rc = kafka_topics_ensure(producer, plan->topics, plan->count, TIMEOUT_MS, ret, err);
    ctx_kafka_free(ctx, producer);
    return rc;
}

enum rc lane_topic_ensure(struct ctx *ctx, const char *lane, struct kafka_topic_state *ret_state,
                          struct err *err)
{
    struct plan plan = {0};
    plan_topic(&plan, lane, ctx);
    return ensure(ctx, &plan, ret_state, err);
}

enum rc topics(struct ctx *ctx, struct err *err)
{
    struct plan plan = {0};
    struct lane_set lanes;
    struct kafka_topic_state states[TOPICS_MAX];
    bool known = lanes_read_or_default(ctx, &lanes);
    for (int i = 0; i < lanes.count; i++)
        plan_topic(&plan, lanes.lanes[i].name, ctx);
    plan_topic(&plan, NULL, ctx);
    enum rc rc = ensure(ctx, &plan, states, err);
    if (rc == RC_OK && !known)
        (void)fputs("inferq: Postgres could not be asked for lanes that were added: run this again "
                    "if there are any\n",
                    stderr);
    return rc == RC_OK ? print_states(ctx, &plan, states, err) : rc;
}
