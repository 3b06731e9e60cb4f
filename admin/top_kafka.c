/*
 * top_kafka.c - how far the workers' group is behind, by lane, for `inferq top`.
 *
 * Happy path: every ten seconds topics, ends and committed offsets are asked for, and what lies
 * between is the lag. Failure: Kafka away, no right, no such topic: the lag is not known, and the
 * rest of the view does not suffer but for a wait of two seconds.
 */
#include <stdio.h>
#include <stdlib.h>

#include "admin/cmd.h"
#include "admin/top.h"
#include "common/clock.h"
#include "common/kafka_look.h"
#include "common/kafka_producer.h"

enum { NAME_BYTES = 256, TIMEOUT_MS = 2000, EVERY_US = 10 * 1000 * 1000 };

struct top_kafka {
    struct ctx *ctx;
    struct kafka_producer *producer;
    const char *group;
    const char *prefix;
    int64_t asked_us; /* 0: never */
    int lane_count;   /* then */
    int64_t lag[TOP_LANES];
};

static void nothing_is_produced(void *arg, void *opaque, enum rc rc, const char *why)
{
    (void)arg;
    (void)opaque;
    (void)rc;
    (void)why;
}

struct top_kafka *top_kafka_new(struct ctx *ctx)
{
    struct err err = {0};
    struct top_kafka *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->ctx = ctx;
    k->group = config_text(ctx->config, "group");
    k->prefix = config_text(ctx->config, "prefix");
    if (kafka_producer_new(ctx->config, "inferq-top", nothing_is_produced, NULL, &k->producer,
                           &err) == RC_OK)
        return k;
    free(k);
    return NULL;
}

void top_kafka_free(struct top_kafka *k)
{
    if (!k)
        return;
    ctx_kafka_free(k->ctx, k->producer);
    free(k);
}

/* What nobody has committed anything of yet waits from its oldest record on. */
static int64_t lag_of(const struct kafka_topic_look *topic)
{
    int64_t lag = 0;
    for (int i = 0; i < topic->partition_count; i++) {
        const struct kafka_partition_look *p = &topic->partitions[i];
        int64_t from = p->committed > p->low ? p->committed : p->low;
        if (p->high < 0)
            return -1;
        lag += p->high > from ? p->high - from : 0;
    }
    return topic->partition_count ? lag : -1;
}

static void ask(struct top_kafka *k, const struct top_facts *facts)
{
    char names[TOP_LANES][NAME_BYTES];
    const char *list[TOP_LANES];
    for (int i = 0; i < facts->lane_count; i++) {
        (void)snprintf(names[i], NAME_BYTES, "%s.jobs.%s", k->prefix, facts->lanes[i].name);
        list[i] = names[i];
    }
    struct kafka_look *look = NULL;
    struct err err = {0};
    enum rc rc =
        kafka_look(k->producer, list, facts->lane_count, k->group, TIMEOUT_MS, &look, &err);
    bool known = rc == RC_OK && look->offsets.how == KAFKA_ANSWERED;
    k->lane_count = facts->lane_count;
    for (int i = 0; i < facts->lane_count; i++)
        k->lag[i] = known ? lag_of(&look->topics[i]) : -1;
    kafka_look_free(look);
}

void top_kafka_look(struct top_kafka *k, struct top_facts *facts)
{
    int64_t now_us = clock_mono_us();
    if (k &&
        (!k->asked_us || now_us - k->asked_us >= EVERY_US || k->lane_count != facts->lane_count)) {
        ask(k, facts);
        k->asked_us = clock_mono_us();
    }
    for (int i = 0; i < facts->lane_count; i++)
        facts->lanes[i].lag = k ? k->lag[i] : -1;
}
