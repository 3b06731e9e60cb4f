/*
 * kafka_group.c - see kafka_group.h.
 *
 * Happy path: one list of all topics, then for the partitions found the ends from their leaders and
 * the group's offsets from its coordinator; each change is one request of librdkafka's admin
 * interface, answered on a queue of its own.
 *
 * Failure modes: a server that does not answer is RC_RETRY with librdkafka's last complaint. An
 * answer may be lost after the broker did what was asked: all of it may be asked again.
 */
#include "common/kafka_group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/kafka_producer_internal.h"

typedef rd_kafka_topic_partition_list_t part_list;

static enum rc refused(struct kafka_producer *p, rd_kafka_resp_err_t code, const char *what,
                       struct err *err)
{
    if (kafka_err_judge(code) == RC_RETRY) {
        p->unanswered = true;
        return kafka_err_away(p, code, what, err);
    }
    return err_set(err, RC_REJECT, "Kafka at %s: %s: %s", p->bootstrap, what,
                   rd_kafka_err2str(code));
}

static enum rc is_there(const struct kafka_producer *p, struct err *err)
{
    return p->rk ? RC_OK : err_set(err, RC_RETRY, "the Kafka producer is being made anew");
}

/* ---- requests ----------------------------------------------------------------------------- */

struct request {
    rd_kafka_AdminOptions_t *options;
    rd_kafka_queue_t *queue;
    int timeout_ms;
};

static struct request request_new(struct kafka_producer *p, rd_kafka_admin_op_t op, int timeout_ms)
{
    char why[128];
    struct request r = {.options = rd_kafka_AdminOptions_new(p->rk, op),
                        .queue = rd_kafka_queue_new(p->rk),
                        .timeout_ms = timeout_ms};
    /* Cannot fail: it is in the range. */
    (void)rd_kafka_AdminOptions_set_request_timeout(r.options, KAFKA_ADMIN_PATIENCE_MS, why,
                                                    sizeof why);
    return r;
}

/* Waits for the answer and ends the request. *ret_event: returns owned */
static enum rc request_end(struct kafka_producer *p, struct request *r, const char *what,
                           rd_kafka_event_t **ret_event, struct err *err)
{
    enum { GRACE_MS = 1000 };
    rd_kafka_event_t *event = rd_kafka_queue_poll(r->queue, r->timeout_ms + GRACE_MS);
    rd_kafka_queue_destroy(r->queue);
    rd_kafka_AdminOptions_destroy(r->options);
    rd_kafka_resp_err_t code = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (event)
            rd_kafka_event_destroy(event);
        return refused(p, code, what, err);
    }
    *ret_event = event;
    return RC_OK;
}

/* ---- partitions --------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    const struct kafka_part *x = a, *y = b;
    int order = strcmp(x->topic, y->topic);
    return order ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

static bool begins(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static enum rc take_topics(const rd_kafka_metadata_t *metadata, const char *prefix,
                           struct kafka_parts *ret, struct err *err)
{
    int count = 0;
    for (int i = 0; i < metadata->topic_cnt; i++)
        if (begins(metadata->topics[i].topic, prefix))
            count += metadata->topics[i].partition_cnt;
    if (count == 0)
        return err_set(err, RC_REJECT,
                       "Kafka has no topic %s*: is the prefix right? `inferq topics` makes them",
                       prefix);
    struct kafka_part *all = calloc((size_t)count, sizeof *all), *next = all;
    if (!all)
        return err_set(err, RC_NOMEM, "no memory for %d partitions", count);
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *t = &metadata->topics[i];
        for (int k = 0; begins(t->topic, prefix) && k < t->partition_cnt; k++, next++) {
            *next = (struct kafka_part){
                .partition = t->partitions[k].id, .committed = -1, .at = -1, .to = -1};
            (void)snprintf(next->topic, sizeof next->topic, "%s", t->topic);
        }
    }
    qsort(all, (size_t)count, sizeof *all, by_name);
    *ret = (struct kafka_parts){all, count};
    return RC_OK;
}

static enum rc read_ends(struct kafka_producer *p, struct kafka_parts *parts, int timeout_ms,
                         struct err *err)
{
    for (int i = 0; i < parts->count; i++) {
        struct kafka_part *part = &parts->all[i];
        rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
            p->rk, part->topic, part->partition, &part->low, &part->high, timeout_ms);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return refused(p, code, part->topic, err);
    }
    return RC_OK;
}

/* All, or those whose `to` is set. */
static part_list *list_new(const struct kafka_parts *parts, bool with_to)
{
    part_list *list = rd_kafka_topic_partition_list_new(parts->count);
    for (int i = 0; i < parts->count; i++) {
        const struct kafka_part *part = &parts->all[i];
        if (with_to && part->to < 0)
            continue;
        rd_kafka_topic_partition_t *t =
            rd_kafka_topic_partition_list_add(list, part->topic, part->partition);
        if (with_to)
            t->offset = part->to;
    }
    return list;
}

static struct kafka_part *find(struct kafka_parts *parts, const rd_kafka_topic_partition_t *t)
{
    for (int i = 0; i < parts->count; i++)
        if (parts->all[i].partition == t->partition && strcmp(parts->all[i].topic, t->topic) == 0)
            return &parts->all[i];
    return NULL;
}

/* The one group of an answer about offsets. */
static enum rc take_group(struct kafka_producer *p, const rd_kafka_group_result_t **groups,
                          size_t count, const char *what, const part_list **ret, struct err *err)
{
    const rd_kafka_error_t *error = count ? rd_kafka_group_result_error(groups[0]) : NULL;
    const part_list *list = count ? rd_kafka_group_result_partitions(groups[0]) : NULL;
    if (error)
        return refused(p, rd_kafka_error_code(error), what, err);
    if (!list)
        return refused(p, RD_KAFKA_RESP_ERR__BAD_MSG, what, err);
    *ret = list;
    return RC_OK;
}

static enum rc take_committed(struct kafka_producer *p, struct kafka_parts *parts,
                              const part_list *list, struct err *err)
{
    for (int i = 0; i < list->cnt; i++) {
        struct kafka_part *part = find(parts, &list->elems[i]);
        if (list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return refused(p, list->elems[i].err, "the group's offsets cannot be read", err);
        if (part && list->elems[i].offset >= 0)
            part->committed = list->elems[i].offset;
    }
    return RC_OK;
}

static enum rc read_committed(struct kafka_producer *p, const char *group,
                              struct kafka_parts *parts, int timeout_ms, struct err *err)
{
    static const char what[] = "the group's offsets cannot be read";
    part_list *list = list_new(parts, false);
    rd_kafka_ListConsumerGroupOffsets_t *asked = rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_event_t *event = NULL;
    struct request r = request_new(p, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, timeout_ms);
    rd_kafka_ListConsumerGroupOffsets(p->rk, &asked, 1, r.options, r.queue);
    enum rc rc = request_end(p, &r, what, &event, err);
    if (rc == RC_OK) {
        size_t count = 0;
        const part_list *found = NULL;
        const rd_kafka_group_result_t **groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
            rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
        rc = take_group(p, groups, count, what, &found, err);
        if (rc == RC_OK && found)
            rc = take_committed(p, parts, found, err);
        rd_kafka_event_destroy(event);
    }
    rd_kafka_ListConsumerGroupOffsets_destroy(asked);
    rd_kafka_topic_partition_list_destroy(list);
    return rc;
}

enum rc kafka_parts_read(struct kafka_producer *p, const char *group, const char *topic_prefix,
                         int timeout_ms, struct kafka_parts *ret, struct err *err)
{
    const rd_kafka_metadata_t *metadata = NULL;
    struct kafka_parts parts = {0};
    enum rc rc = is_there(p, err);
    if (rc != RC_OK)
        return rc;
    rd_kafka_resp_err_t code = rd_kafka_metadata(p->rk, 1, NULL, &metadata, timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return refused(p, code, "its topics cannot be listed", err);
    rc = take_topics(metadata, topic_prefix, &parts, err);
    rd_kafka_metadata_destroy(metadata);
    if (rc == RC_OK)
        rc = read_ends(p, &parts, timeout_ms, err);
    if (rc == RC_OK)
        rc = read_committed(p, group, &parts, timeout_ms, err);
    if (rc == RC_OK)
        *ret = parts;
    else
        kafka_parts_done(&parts);
    return rc;
}

void kafka_parts_done(struct kafka_parts *parts)
{
    free(parts->all);
    *parts = (struct kafka_parts){0};
}

enum rc kafka_parts_at(struct kafka_producer *p, struct kafka_parts *parts, int64_t unix_ms,
                       int timeout_ms, struct err *err)
{
    static const char what[] = "the offsets of that time cannot be read";
    enum rc rc = is_there(p, err);
    if (rc != RC_OK)
        return rc;
    part_list *list = list_new(parts, false);
    for (int i = 0; i < list->cnt; i++)
        list->elems[i].offset = unix_ms; /* so the interface wants it */
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(p->rk, list, timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rc = refused(p, code, what, err);
    for (int i = 0; rc == RC_OK && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *t = &list->elems[i];
        struct kafka_part *part = find(parts, t);
        if (t->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            rc = refused(p, t->err, what, err);
        else if (part)
            part->at = t->offset >= 0 ? t->offset : part->high;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return rc;
}

/* ---- changes ------------------------------------------------------------------------------ */

/* Notes each refusal beside its partition; returns how many there were. */
static int take_answers(struct kafka_parts *parts, const part_list *list, bool trimmed)
{
    int refusals = 0;
    for (int i = 0; i < list->cnt; i++) {
        struct kafka_part *part = find(parts, &list->elems[i]);
        if (!part)
            continue;
        part->why[0] = '\0';
        if (list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            (void)snprintf(part->why, sizeof part->why, "%s", rd_kafka_err2str(list->elems[i].err));
            refusals++;
        } else if (trimmed) {
            part->low = list->elems[i].offset;
        } else {
            part->committed = part->to;
        }
    }
    return refusals;
}

/* One request about the partitions whose `to` is set. librdkafka copies what it is given. */
struct change {
    rd_kafka_admin_op_t op;
    const char *what; /* is not so, where there is no answer */
    void (*send)(rd_kafka_t *rk, const char *group, const part_list *list, const struct request *r);
    enum rc (*take)(struct kafka_producer *p, struct kafka_parts *parts, rd_kafka_event_t *event,
                    struct err *err);
};

static enum rc change(struct kafka_producer *p, const char *group, struct kafka_parts *parts,
                      const struct change *c, int timeout_ms, struct err *err)
{
    rd_kafka_event_t *event = NULL;
    enum rc rc = is_there(p, err);
    if (rc != RC_OK)
        return rc;
    part_list *list = list_new(parts, true);
    if (list->cnt > 0) {
        struct request r = request_new(p, c->op, timeout_ms);
        c->send(p->rk, group, list, &r);
        rc = request_end(p, &r, c->what, &event, err);
    }
    if (event) {
        rc = c->take(p, parts, event, err);
        rd_kafka_event_destroy(event);
    }
    rd_kafka_topic_partition_list_destroy(list);
    return rc;
}

static void send_trim(rd_kafka_t *rk, const char *group, const part_list *list,
                      const struct request *r)
{
    (void)group;
    rd_kafka_DeleteRecords_t *asked = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(rk, &asked, 1, r->options, r->queue);
    rd_kafka_DeleteRecords_destroy(asked);
}

static enum rc take_trimmed(struct kafka_producer *p, struct kafka_parts *parts,
                            rd_kafka_event_t *event, struct err *err)
{
    (void)p, (void)err;
    (void)take_answers(
        parts, rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event)),
        true);
    return RC_OK;
}

enum rc kafka_parts_trim(struct kafka_producer *p, struct kafka_parts *parts, int timeout_ms,
                         struct err *err)
{
    static const struct change trim = {RD_KAFKA_ADMIN_OP_DELETERECORDS, "records are not deleted",
                                       send_trim, take_trimmed};
    return change(p, NULL, parts, &trim, timeout_ms, err);
}

static void send_move(rd_kafka_t *rk, const char *group, const part_list *list,
                      const struct request *r)
{
    rd_kafka_AlterConsumerGroupOffsets_t *asked =
        rd_kafka_AlterConsumerGroupOffsets_new(group, list);
    rd_kafka_AlterConsumerGroupOffsets(rk, &asked, 1, r->options, r->queue);
    rd_kafka_AlterConsumerGroupOffsets_destroy(asked);
}

static enum rc take_moved(struct kafka_producer *p, struct kafka_parts *parts,
                          rd_kafka_event_t *event, struct err *err)
{
    size_t count = 0;
    const part_list *list = NULL;
    const rd_kafka_group_result_t **groups = rd_kafka_AlterConsumerGroupOffsets_result_groups(
        rd_kafka_event_AlterConsumerGroupOffsets_result(event), &count);
    enum rc rc = take_group(p, groups, count, "the group's offsets are not moved", &list, err);
    if (rc != RC_OK || !list || take_answers(parts, list, false) == 0)
        return rc;
    for (int i = 0; i < parts->count; i++)
        if (parts->all[i].why[0])
            return err_set(err, RC_REJECT, "Kafka at %s: the offset of %s, partition %d: %s",
                           p->bootstrap, parts->all[i].topic, (int)parts->all[i].partition,
                           parts->all[i].why);
    return rc;
}

enum rc kafka_parts_move(struct kafka_producer *p, const char *group, struct kafka_parts *parts,
                         int timeout_ms, struct err *err)
{
    static const struct change move = {RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS,
                                       "the group's offsets are not moved", send_move, take_moved};
    return change(p, group, parts, &move, timeout_ms, err);
}

/* ---- members ------------------------------------------------------------------------------ */

static enum rc take_members(struct kafka_producer *p, const rd_kafka_event_t *event,
                            struct kafka_member *members, int max, int *ret_count, struct err *err)
{
    size_t groups = 0;
    const rd_kafka_ConsumerGroupDescription_t **all =
        rd_kafka_DescribeConsumerGroups_result_groups(event, &groups);
    if (groups == 0)
        return refused(p, RD_KAFKA_RESP_ERR__BAD_MSG, "the group cannot be described", err);
    const rd_kafka_error_t *error = rd_kafka_ConsumerGroupDescription_error(all[0]);
    rd_kafka_resp_err_t code = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
    if (code == RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND) { /* Kafka 4 says so, older ones do not */
        *ret_count = 0;
        return RC_OK;
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return refused(p, code, "the group cannot be described", err);
    size_t count = rd_kafka_ConsumerGroupDescription_member_count(all[0]);
    for (size_t i = 0; i < count && i < (size_t)max; i++) {
        const rd_kafka_MemberDescription_t *m = rd_kafka_ConsumerGroupDescription_member(all[0], i);
        const char *id = rd_kafka_MemberDescription_client_id(m);
        const char *host = rd_kafka_MemberDescription_host(m);
        (void)snprintf(members[i].client_id, sizeof members[i].client_id, "%s", id ? id : "");
        (void)snprintf(members[i].host, sizeof members[i].host, "%s", host ? host : "");
    }
    *ret_count = (int)count;
    return RC_OK;
}

enum rc kafka_group_members(struct kafka_producer *p, const char *group, int timeout_ms,
                            struct kafka_member *members, int max, int *ret_count, struct err *err)
{
    rd_kafka_event_t *event = NULL;
    enum rc rc = is_there(p, err);
    if (rc != RC_OK)
        return rc;
    struct request r = request_new(p, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, timeout_ms);
    rd_kafka_DescribeConsumerGroups(p->rk, &group, 1, r.options, r.queue);
    rc = request_end(p, &r, "the group cannot be described", &event, err);
    if (rc == RC_OK) {
        rc = take_members(p, rd_kafka_event_DescribeConsumerGroups_result(event), members, max,
                          ret_count, err);
        rd_kafka_event_destroy(event);
    }
    return rc;
}
