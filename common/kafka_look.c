/*
 * kafka_look.c - see kafka_look.h.
 *
 * Happy path: the list of all topics (asking for one by name could create it), DescribeConfigs for
 * those that are there, the two ends of each partition's log, DescribeConsumerGroups,
 * ListConsumerGroupOffsets. One after the other, each bounded by what is left of the time.
 *
 * Failure modes: only the first of these fails the whole. A partition without a leader is not asked
 * for its ends, which would wait for one.
 */
#include "common/kafka_look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/kafka_producer_internal.h"

enum {
    REASON_BYTES = 200,
    REQUEST_MS = 5000, /* for an answer */
    COORDINATOR_WAIT_MS = 5000,
    AGAIN_MS = 200,
};

struct asking {
    struct kafka_producer *p;
    struct kafka_look *look;
    const char *group;
    int64_t until_us;
};

static int left_ms(const struct asking *a)
{
    int64_t ms = (a->until_us - clock_mono_us()) / 1000;
    return ms < 1 ? 1 : (int)ms;
}

/* A broker may drop what it does not know, and librdkafka asks again. */
static int request_ms(const struct asking *a)
{
    int ms = left_ms(a);
    return ms < REQUEST_MS ? ms : REQUEST_MS;
}

/* ---- answers ------------------------------------------------------------------------------ */

static enum kafka_answer_how how_of(rd_kafka_resp_err_t code)
{
    static const rd_kafka_resp_err_t refusals[] = {
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR__AUTHENTICATION,
    };
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return KAFKA_ANSWERED;
    if (code == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE ||
        code == RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION)
        return KAFKA_TOO_OLD;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (code == refusals[i])
            return KAFKA_NOT_ALLOWED;
    return KAFKA_NO_ANSWER;
}

/* Returns whether it was an answer. `why` may be NULL. */
static bool note(struct kafka_answer *answer, const char *request, rd_kafka_resp_err_t code,
                 const char *why)
{
    answer->how = how_of(code);
    if (answer->how != KAFKA_ANSWERED)
        (void)snprintf(answer->why, sizeof answer->why, "%s: %.*s", request, REASON_BYTES,
                       why && *why ? why : rd_kafka_err2str(code));
    return answer->how == KAFKA_ANSWERED;
}

/* The event of an admin request that was sent to `queue`; NULL: there was no answer. Owned. */
static rd_kafka_event_t *wait_for(struct asking *a, rd_kafka_queue_t *queue, const char *request,
                                  struct kafka_answer *answer)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, request_ms(a) + 500);
    rd_kafka_resp_err_t code = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (note(answer, request, code, event ? rd_kafka_event_error_string(event) : NULL))
        return event;
    if (answer->how == KAFKA_NO_ANSWER) /* what else is asked of it may abort librdkafka 2.0 */
        a->look->unanswered = true;
    if (event)
        rd_kafka_event_destroy(event);
    return NULL;
}

static rd_kafka_AdminOptions_t *options_for(struct asking *a, rd_kafka_admin_op_t op)
{
    char why[128];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(a->p->rk, op);
    /* Cannot fail: it is in the range. */
    (void)rd_kafka_AdminOptions_set_request_timeout(options, KAFKA_ADMIN_PATIENCE_MS, why,
                                                    sizeof why);
    return options;
}

/* ---- topics and partitions ---------------------------------------------------------------- */

static const rd_kafka_metadata_topic_t *find(const rd_kafka_metadata_t *metadata, const char *name)
{
    for (int i = 0; i < metadata->topic_cnt; i++)
        if (strcmp(metadata->topics[i].topic, name) == 0)
            return &metadata->topics[i];
    return NULL;
}

static enum rc take_topic(struct kafka_topic_look *topic, const rd_kafka_metadata_topic_t *have,
                          struct err *err)
{
    if (!have || have->partition_cnt <= 0)
        return RC_OK;
    topic->partitions = calloc((size_t)have->partition_cnt, sizeof *topic->partitions);
    if (!topic->partitions)
        return err_set(err, RC_NOMEM, "no memory for %d partitions", have->partition_cnt);
    topic->partition_count = have->partition_cnt;
    for (int i = 0; i < have->partition_cnt; i++)
        topic->partitions[i] = (struct kafka_partition_look){-1, 0, 0, -1, -1, -1};
    for (int i = 0; i < have->partition_cnt; i++) {
        const rd_kafka_metadata_partition_t *from = &have->partitions[i];
        if (from->id < 0 || from->id >= have->partition_cnt)
            continue;
        topic->partitions[from->id].leader = from->leader;
        topic->partitions[from->id].replicas = from->replica_cnt;
        topic->partitions[from->id].in_sync = from->isr_cnt;
    }
    return RC_OK;
}

static enum rc ask_topics(struct asking *a, struct err *err)
{
    const rd_kafka_metadata_t *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(a->p->rk, 1, NULL, &metadata, left_ms(a));
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_err_away(a->p, code, "its topics cannot be listed", err);
    enum rc rc = RC_OK;
    a->look->broker_count = metadata->broker_cnt;
    for (int i = 0; rc == RC_OK && i < a->look->topic_count; i++) {
        struct kafka_topic_look *topic = &a->look->topics[i];
        rc = take_topic(topic, find(metadata, topic->name), err);
    }
    rd_kafka_metadata_destroy(metadata);
    return rc;
}

static void ask_ends(struct asking *a, struct kafka_topic_look *topic)
{
    for (int i = 0; i < topic->partition_count; i++) {
        struct kafka_partition_look *partition = &topic->partitions[i];
        int64_t low, high;
        if (partition->leader < 0 ||
            rd_kafka_query_watermark_offsets(a->p->rk, topic->name, i, &low, &high, left_ms(a)) !=
                RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        partition->low = low;
        partition->high = high;
    }
}

/* ---- settings of topics ------------------------------------------------------------------- */

static void take_setting(struct kafka_topic_look *topic, const char *name, const char *value)
{
    const struct {
        const char *name;
        int64_t *number;
    } numbers[] = {{"retention.ms", &topic->retention_ms},
                   {"retention.bytes", &topic->retention_bytes},
                   {"max.message.bytes", &topic->max_message_bytes},
                   {"min.insync.replicas", &topic->min_insync}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(name, numbers[i].name) == 0)
            *numbers[i].number = strtoll(value, NULL, 10);
    if (strcmp(name, "cleanup.policy") == 0)
        (void)snprintf(topic->cleanup_policy, sizeof topic->cleanup_policy, "%s", value);
    if (strcmp(name, "unclean.leader.election.enable") == 0)
        topic->unclean_election = strcmp(value, "true") == 0;
}

static void take_resource(struct kafka_look *look, const rd_kafka_ConfigResource_t *resource)
{
    const char *name = rd_kafka_ConfigResource_name(resource);
    for (int i = 0; i < look->topic_count; i++) {
        struct kafka_topic_look *topic = &look->topics[i];
        size_t n = 0;
        if (strcmp(topic->name, name) != 0 ||
            !note(&topic->settings, "DescribeConfigs", rd_kafka_ConfigResource_error(resource),
                  rd_kafka_ConfigResource_error_string(resource)))
            continue;
        const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &n);
        for (size_t e = 0; e < n; e++) {
            const char *value = rd_kafka_ConfigEntry_value(entries[e]);
            if (value)
                take_setting(topic, rd_kafka_ConfigEntry_name(entries[e]), value);
        }
    }
}

/* All at once; an answer that fails as a whole is each topic's. */
static void describe(struct asking *a, rd_kafka_ConfigResource_t **wanted, size_t count)
{
    struct kafka_answer whole = {0};
    rd_kafka_queue_t *queue = rd_kafka_queue_new(a->p->rk);
    rd_kafka_AdminOptions_t *options = options_for(a, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_DescribeConfigs(a->p->rk, wanted, count, options, queue);
    rd_kafka_event_t *event = wait_for(a, queue, "DescribeConfigs", &whole);
    for (int i = 0; i < a->look->topic_count; i++)
        if (a->look->topics[i].partition_count > 0)
            a->look->topics[i].settings = whole;
    if (event) {
        size_t n = 0;
        const rd_kafka_ConfigResource_t **found = rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(event), &n);
        for (size_t i = 0; i < n; i++)
            take_resource(a->look, found[i]);
        rd_kafka_event_destroy(event);
    }
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
}

static enum rc ask_settings(struct asking *a, struct err *err)
{
    size_t n = 0;
    rd_kafka_ConfigResource_t **wanted =
        calloc((size_t)a->look->topic_count + 1, sizeof(rd_kafka_ConfigResource_t *));
    if (!wanted)
        return err_set(err, RC_NOMEM, "no memory for a list of topics");
    for (int i = 0; i < a->look->topic_count; i++)
        if (a->look->topics[i].partition_count > 0)
            wanted[n++] =
                rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, a->look->topics[i].name);
    if (n > 0)
        describe(a, wanted, n);
    rd_kafka_ConfigResource_destroy_array(wanted, n);
    free(wanted);
    return RC_OK;
}

/* ---- the group ---------------------------------------------------------------------------- */

static void take_group(struct kafka_look *look, const rd_kafka_ConsumerGroupDescription_t *group)
{
    const rd_kafka_error_t *error = rd_kafka_ConsumerGroupDescription_error(group);
    if (error && !note(&look->group, "DescribeGroups", rd_kafka_error_code(error),
                       rd_kafka_error_string(error)))
        return;
    (void)snprintf(
        look->group_state, sizeof look->group_state, "%s",
        rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupDescription_state(group)));
    look->member_count = (int)rd_kafka_ConsumerGroupDescription_member_count(group);
}

/* Whether the group's coordinator is only being found: a cluster that had no group yet makes the
 * topic of offsets at the first question. */
static bool group_once(struct asking *a)
{
    size_t n = 0;
    const rd_kafka_error_t *error = NULL;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(a->p->rk);
    rd_kafka_AdminOptions_t *options = options_for(a, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    rd_kafka_DescribeConsumerGroups(a->p->rk, &a->group, 1, options, queue);
    rd_kafka_event_t *event = wait_for(a, queue, "DescribeGroups", &a->look->group);
    if (event) {
        const rd_kafka_ConsumerGroupDescription_t **groups =
            rd_kafka_DescribeConsumerGroups_result_groups(
                rd_kafka_event_DescribeConsumerGroups_result(event), &n);
        if (n > 0) {
            take_group(a->look, groups[0]);
            error = rd_kafka_ConsumerGroupDescription_error(groups[0]);
            code = error ? rd_kafka_error_code(error) : code;
        }
        rd_kafka_event_destroy(event);
    }
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return code == RD_KAFKA_RESP_ERR_NOT_COORDINATOR ||
           code == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE ||
           code == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
}

static void ask_group(struct asking *a)
{
    int64_t until_us = clock_mono_us() + COORDINATOR_WAIT_MS * INT64_C(1000);
    while (group_once(a) && clock_mono_us() < until_us && clock_mono_us() < a->until_us) {
        struct timespec pause = {.tv_nsec = AGAIN_MS * 1000L * 1000L};
        (void)nanosleep(&pause, NULL);
    }
}

static void take_offset(struct kafka_look *look, const rd_kafka_topic_partition_t *from)
{
    for (int i = 0; i < look->topic_count; i++) {
        struct kafka_topic_look *topic = &look->topics[i];
        if (strcmp(topic->name, from->topic) == 0 && from->partition >= 0 &&
            from->partition < topic->partition_count && from->offset >= 0)
            topic->partitions[from->partition].committed = from->offset;
    }
}

static void take_offsets(struct kafka_look *look, const rd_kafka_group_result_t *group)
{
    const rd_kafka_error_t *error = rd_kafka_group_result_error(group);
    const rd_kafka_topic_partition_list_t *list = rd_kafka_group_result_partitions(group);
    if (error && !note(&look->offsets, "OffsetFetch", rd_kafka_error_code(error),
                       rd_kafka_error_string(error)))
        return;
    for (int i = 0; list && i < list->cnt; i++)
        take_offset(look, &list->elems[i]);
}

static void ask_offsets(struct asking *a)
{
    size_t n = 0;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    for (int i = 0; i < a->look->topic_count; i++)
        for (int j = 0; j < a->look->topics[i].partition_count; j++)
            (void)rd_kafka_topic_partition_list_add(list, a->look->topics[i].name, j);
    if (list->cnt == 0) {
        a->look->offsets.how = KAFKA_NOT_ASKED;
        rd_kafka_topic_partition_list_destroy(list);
        return;
    }
    rd_kafka_ListConsumerGroupOffsets_t *request =
        rd_kafka_ListConsumerGroupOffsets_new(a->group, list);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(a->p->rk);
    rd_kafka_AdminOptions_t *options = options_for(a, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_ListConsumerGroupOffsets(a->p->rk, &request, 1, options, queue);
    rd_kafka_event_t *event = wait_for(a, queue, "OffsetFetch", &a->look->offsets);
    if (event) {
        const rd_kafka_group_result_t **groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
            rd_kafka_event_ListConsumerGroupOffsets_result(event), &n);
        if (n > 0)
            take_offsets(a->look, groups[0]);
        rd_kafka_event_destroy(event);
    }
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ListConsumerGroupOffsets_destroy(request);
    rd_kafka_topic_partition_list_destroy(list);
}

/* ---- all of it ---------------------------------------------------------------------------- */

static enum rc look_new(const char *const *topics, int topic_count, struct kafka_look **ret_look,
                        struct err *err)
{
    struct kafka_look *look = calloc(1, sizeof *look);
    if (look)
        look->topics = calloc((size_t)topic_count, sizeof *look->topics);
    if (!look || !look->topics)
        goto fail;
    look->topic_count = topic_count;
    for (int i = 0; i < topic_count; i++) {
        look->topics[i].settings.how = KAFKA_NOT_ASKED;
        look->topics[i].name = strdup(topics[i]);
        if (!look->topics[i].name)
            goto fail;
    }
    *ret_look = look;
    return RC_OK;
fail:
    kafka_look_free(look);
    return err_set(err, RC_NOMEM, "no memory for a list of topics");
}

enum rc kafka_look(struct kafka_producer *p, const char *const *topics, int topic_count,
                   const char *group, int timeout_ms, struct kafka_look **ret_look, struct err *err)
{
    struct asking a = {
        .p = p, .group = group, .until_us = clock_mono_us() + timeout_ms * INT64_C(1000)};
    if (!p->rk)
        return err_set(err, RC_RETRY, "the Kafka producer is being made anew");
    enum rc rc = look_new(topics, topic_count, &a.look, err);
    if (rc == RC_OK)
        rc = ask_topics(&a, err);
    if (rc == RC_OK)
        rc = ask_settings(&a, err);
    if (rc != RC_OK) {
        kafka_look_free(a.look);
        return rc;
    }
    for (int i = 0; i < topic_count; i++)
        ask_ends(&a, &a.look->topics[i]);
    a.look->group = a.look->offsets =
        (struct kafka_answer){KAFKA_NOT_ASKED, "not asked, for an earlier request got no answer"};
    if (!a.look->unanswered)
        ask_group(&a);
    a.look->unanswered = a.look->unanswered || a.look->group.how == KAFKA_NO_ANSWER;
    if (!a.look->unanswered)
        ask_offsets(&a);
    p->unanswered = p->unanswered || a.look->unanswered || a.look->offsets.how == KAFKA_NO_ANSWER;
    *ret_look = a.look;
    return RC_OK;
}

void kafka_look_free(struct kafka_look *look)
{
    for (int i = 0; look && look->topics && i < look->topic_count; i++) {
        free(look->topics[i].name);
        free(look->topics[i].partitions);
    }
    if (look)
        free(look->topics);
    free(look);
}
