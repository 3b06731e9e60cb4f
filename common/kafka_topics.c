/*
 * kafka_topics.c - topics made to stand: what is missing is created, what is there is checked.
 *
 * Happy path: the list of all topics (asking for one by name could create it by itself, with the
 * broker's defaults), CreateTopics for the missing, then the list again until every partition has a
 * leader. Safe when several programs do it at once: "exists already" is fine, and the last look
 * judges whoever made it.
 *
 * Failure modes: an existing topic with fewer partitions than the caller insists on is refused
 * before anything is created, because more partitions move keys and are the operator's decision:
 * whoever only wants the topic to exist does not insist. librdkafka's mock cluster, which may stand
 * in for Kafka, has no admin API and makes topics when asked for by name: there, and only there,
 * that is done.
 */
#include "common/kafka_producer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/kafka_producer_internal.h"

enum { LOOK_AGAIN_MS = 100, REQUEST_MAX_MS = 60 * 60 * 1000 };

struct ensure {
    struct kafka_producer *p;
    const struct kafka_topic *topics;
    int count;
    int64_t until_us;
    struct kafka_topic_state *states; /* one per topic, as last seen; no partitions: missing */
    int missing_count;
};

static int left_ms(const struct ensure *e)
{
    int64_t ms = (e->until_us - clock_mono_us()) / 1000;
    if (ms > REQUEST_MAX_MS)
        ms = REQUEST_MAX_MS;
    return ms < 1 ? 1 : (int)ms;
}

/* ---- looking ------------------------------------------------------------------------------ */

static const rd_kafka_metadata_topic_t *find(const rd_kafka_metadata_t *metadata, const char *name)
{
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *topic = &metadata->topics[i];
        if (strcmp(topic->topic, name) == 0)
            return topic->partition_cnt > 0 ? topic : NULL;
    }
    return NULL;
}

static bool all_led(const rd_kafka_metadata_topic_t *topic)
{
    for (int i = 0; i < topic->partition_cnt; i++)
        if (topic->partitions[i].leader < 0)
            return false;
    return true;
}

/* Marks the missing. *ret_ready: all topics stand, and each of their partitions has a leader. */
static enum rc compare(struct ensure *e, const rd_kafka_metadata_t *metadata, bool *ret_ready,
                       struct err *err)
{
    bool ready = true;
    e->missing_count = 0;
    for (int i = 0; i < e->count; i++) {
        const struct kafka_topic *want = &e->topics[i];
        const rd_kafka_metadata_topic_t *have = find(metadata, want->name);
        e->states[i].partitions = have ? have->partition_cnt : 0;
        if (!have) {
            e->missing_count++;
            ready = false;
            continue;
        }
        ready = ready && all_led(have);
        if (have->partition_cnt < want->partitions_min)
            return err_set(err, RC_REJECT,
                           "topic %s has %d partitions, %d are asked for: add them with "
                           "kafka-topics.sh --alter --topic %s --partitions %d, or ask for %d",
                           want->name, have->partition_cnt, want->partitions_min, want->name,
                           want->partitions_min, have->partition_cnt);
    }
    *ret_ready = ready;
    return RC_OK;
}

static enum rc look(struct ensure *e, bool *ret_ready, struct err *err)
{
    const rd_kafka_metadata_t *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(e->p->rk, 1, NULL, &metadata, left_ms(e));
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_err_away(e->p, code, "its topics cannot be listed", err);
    enum rc rc = compare(e, metadata, ret_ready, err);
    rd_kafka_metadata_destroy(metadata);
    return rc;
}

/* ---- creating ----------------------------------------------------------------------------- */

enum rc kafka_err_judge(rd_kafka_resp_err_t code)
{
    /* Not a switch: the enum has some two hundred values, and new ones come. */
    static const rd_kafka_resp_err_t lasting[] = {
        RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_INVALID_PARTITIONS,
        RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR,
        RD_KAFKA_RESP_ERR_INVALID_CONFIG,
        RD_KAFKA_RESP_ERR_INVALID_REQUEST,
        RD_KAFKA_RESP_ERR_INVALID_GROUP_ID,
        RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP,
        RD_KAFKA_RESP_ERR_GROUP_SUBSCRIBED_TO_TOPIC,
        RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
        RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
    };
    for (size_t i = 0; i < sizeof lasting / sizeof lasting[0]; i++)
        if (code == lasting[i])
            return RC_REJECT;
    return RC_RETRY;
}

static void note_created(struct ensure *e, const char *name)
{
    for (int i = 0; i < e->count; i++)
        if (strcmp(e->topics[i].name, name) == 0)
            e->states[i].created = true;
}

static enum rc take_results(struct ensure *e, rd_kafka_event_t *event, struct err *err)
{
    size_t n = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[i]);
        if (code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            continue;
        const char *name = rd_kafka_topic_result_name(results[i]);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            const char *why = rd_kafka_topic_result_error_string(results[i]);
            return err_set(err, kafka_err_judge(code), "topic %s cannot be created: %s", name,
                           why ? why : rd_kafka_err2str(code));
        }
        note_created(e, name);
    }
    return RC_OK;
}

static bool is_mock(struct ensure *e)
{
    char *id = rd_kafka_clusterid(e->p->rk, left_ms(e)); /* known since the first look */
    bool mock = id && strncmp(id, "mockCluster", strlen("mockCluster")) == 0;
    rd_kafka_mem_free(e->p->rk, id);
    return mock;
}

/* Naming a topic makes it, with the mock's number of partitions. */
static enum rc name_missing(struct ensure *e, struct err *err)
{
    for (int i = 0; i < e->count; i++) {
        const rd_kafka_metadata_t *metadata = NULL;
        if (e->states[i].partitions > 0)
            continue;
        rd_kafka_topic_t *topic = rd_kafka_topic_new(e->p->rk, e->topics[i].name, NULL);
        if (!topic)
            return err_set(err, RC_REJECT, "topic %s: not a name for a topic", e->topics[i].name);
        rd_kafka_resp_err_t code = rd_kafka_metadata(e->p->rk, 0, topic, &metadata, left_ms(e));
        rd_kafka_topic_destroy(topic);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return kafka_err_away(e->p, code, "a topic cannot be asked for", err);
        rd_kafka_metadata_destroy(metadata);
        e->states[i].created = true;
    }
    return RC_OK;
}

static enum rc take_event(struct ensure *e, rd_kafka_event_t *event, struct err *err)
{
    rd_kafka_resp_err_t code = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return take_results(e, event, err);
    e->p->unanswered = true;
    return kafka_err_away(e->p, code, "topics not created", err);
}

static enum rc request(struct ensure *e, rd_kafka_NewTopic_t **new_topics, int n, struct err *err)
{
    char why[256];
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(e->p->rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(e->p->rk);
    /* Cannot fail: the range is kept by left_ms. */
    (void)rd_kafka_AdminOptions_set_request_timeout(options, left_ms(e), why, sizeof why);
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, left_ms(e), why, sizeof why);
    rd_kafka_CreateTopics(e->p->rk, new_topics, (size_t)n, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, left_ms(e) + 1000);
    enum rc rc = take_event(e, event, err);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    return rc;
}

static rd_kafka_NewTopic_t *describe(const struct kafka_topic *topic, struct err *err)
{
    char why[256];
    rd_kafka_NewTopic_t *made =
        rd_kafka_NewTopic_new(topic->name, topic->partitions, topic->replication, why, sizeof why);
    if (!made) {
        err_set(err, RC_REJECT, "topic %s: %s", topic->name, why);
        return NULL;
    }
    for (const char *const *c = topic->config; c && c[0]; c += 2)
        (void)rd_kafka_NewTopic_set_config(made, c[0], c[1]); /* the broker judges them */
    return made;
}

static enum rc create_missing(struct ensure *e, struct err *err)
{
    enum rc rc = RC_OK;
    int n = 0;
    rd_kafka_NewTopic_t **made = calloc((size_t)e->missing_count, sizeof(rd_kafka_NewTopic_t *));
    if (!made)
        return err_set(err, RC_NOMEM, "no memory for a list of topics");
    for (int i = 0; rc == RC_OK && i < e->count; i++) {
        if (e->states[i].partitions > 0)
            continue;
        made[n] = describe(&e->topics[i], err);
        if (made[n])
            n++;
        else
            rc = RC_REJECT;
    }
    if (rc == RC_OK)
        rc = request(e, made, n, err);
    rd_kafka_NewTopic_destroy_array(made, (size_t)n);
    free(made);
    return rc;
}

/* ---- both --------------------------------------------------------------------------------- */

static enum rc ensure(struct ensure *e, struct err *err)
{
    bool ready = false;
    enum rc rc = look(e, &ready, err);
    if (rc == RC_OK && e->missing_count > 0)
        rc = is_mock(e) ? name_missing(e, err) : create_missing(e, err);
    while (rc == RC_OK && !ready) {
        rc = look(e, &ready, err);
        if (rc != RC_OK || ready)
            break;
        if (clock_mono_us() >= e->until_us)
            return kafka_err_away(e->p, RD_KAFKA_RESP_ERR__TIMED_OUT,
                                  "topics are not ready (partitions without a leader)", err);
        struct timespec pause = {.tv_nsec = LOOK_AGAIN_MS * 1000L * 1000L};
        (void)nanosleep(&pause, NULL);
    }
    return rc;
}

enum rc kafka_topics_ensure(struct kafka_producer *p, const struct kafka_topic *topics, int count,
                            int timeout_ms, struct kafka_topic_state *ret_states, struct err *err)
{
    struct ensure e = {.p = p,
                       .topics = topics,
                       .count = count,
                       .until_us = clock_mono_us() + timeout_ms * INT64_C(1000)};
    if (!p->rk)
        return err_set(err, RC_RETRY, "the Kafka producer is being made anew");
    if (count == 0)
        return RC_OK;
    e.states = calloc((size_t)count, sizeof *e.states);
    if (!e.states)
        return err_set(err, RC_NOMEM, "no memory for a list of topics");
    enum rc rc = ensure(&e, err);
    if (rc == RC_OK)
        memcpy(ret_states, e.states, (size_t)count * sizeof *e.states);
    free(e.states);
    return rc;
}
