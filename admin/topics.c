/*
 * topics.c - `inferq topics`: makes the lanes' topics and the dead-letter topic.
 *
 * Records must outlive any backlog, so nothing is deleted by age: retention.ms and retention.bytes
 * are -1 (below the committed watermark records are deleted on purpose, not by a clock). Existing
 * topics are left as they are.
 */
#include <stdio.h>

#include "admin/cmd.h"
#include "admin/out.h"
#include "common/codes.h"
#include "common/job_msg.h"
#include "common/kafka_producer.h"

enum {
    PARTITIONS_DEFAULT = 12,
    TIMEOUT_MS = 30000, /* to make a topic */
    PING_TIMEOUT_MS = 10000,
    TOPIC_COUNT = PRIORITY_COUNT + 1,
    TOPIC_NAME_BYTES = 256,
};
/* The largest job, and around it what a record batch and a dead letter add. */
enum { RECORD_BYTES_MAX = JOB_MSG_BYTES_MAX + (256 << 10) };

static void topic_name(const char *prefix, int i, char out[TOPIC_NAME_BYTES])
{
    if (i < PRIORITY_COUNT)
        (void)snprintf(out, TOPIC_NAME_BYTES, "%s.jobs.%s", prefix, priority_name(i));
    else
        (void)snprintf(out, TOPIC_NAME_BYTES, "%s.dead", prefix);
}

static enum rc ensure_one(struct ctx *ctx, struct kafka_producer *producer, const char *name,
                          struct table *t, struct err *err)
{
    char max_bytes[16];
    (void)snprintf(max_bytes, sizeof max_bytes, "%d", RECORD_BYTES_MAX);
    int replication = (int)opts_int(&ctx->opts, "replication", -1);
    const char *const settings[] = {
        "retention.ms", "-1", "retention.bytes", "-1", "cleanup.policy", "delete",
        "max.message.bytes", max_bytes, "unclean.leader.election.enable", "false",
        /* with three copies, an acknowledged record is on two of them; else the broker decides */
        replication >= 3 ? "min.insync.replicas" : NULL, "2", NULL};
    struct kafka_topic topic = {
        .name = name,
        .partitions = (int)opts_int(&ctx->opts, "partitions", PARTITIONS_DEFAULT),
        .replication = replication,
        .config = settings,
    };
    int created = 0;
    enum rc rc = kafka_topics_ensure(producer, &topic, 1, TIMEOUT_MS, &created, err);
    if (rc != RC_OK)
        return rc;
    table_text(t, span_of(name));
    table_text(t, created ? SPAN_LIT("created") : SPAN_LIT("exists"));
    return RC_OK;
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
    static const struct table_col cols[] = {{"topic", "TOPIC", 0}, {"state", "STATE", 0}, {0}};
    struct table *t = table_new(cols);
    enum rc rc = cmd_have(t, err);
    for (int i = 0; rc == RC_OK && i < TOPIC_COUNT; i++) {
        char name[TOPIC_NAME_BYTES];
        topic_name(config_text(ctx->config, "prefix"), i, name);
        rc = ensure_one(ctx, producer, name, t, err);
    }
    if (rc == RC_OK)
        rc = ctx_print_table(ctx, t, err);
    table_free(t);
    return rc;
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
    kafka_producer_free(producer, 0);
    return rc;
}
