/*
 * skip_record.c - `inferq skip --topic T --partition P --offset O`: one record, by its place.
 *
 * For a record that crashes whoever decodes it: no worker gets as far as to know its job. Workers
 * pass over it undecoded; its bytes become a dead letter, and its offset is done. They read the
 * rows of record_skip before they look at the first record of partitions that they are given, and
 * when the notification comes.
 *
 * The place must be one where a record can be in the way: in a lane's topic, not below what the
 * group has committed, not beyond the end. It may be asked for again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "admin/audit.h"
#include "admin/lane_topics.h"
#include "admin/out.h"
#include "admin/skip.h"

enum { SKIPS_MAX = 1000, NAMES_BYTES = 300, SUBJECT_BYTES = KAFKA_TOPIC_BYTES + 48 };

static const struct table_col cols[] = {{"topic", "TOPIC", 60},      {"partition", "PARTITION", 0},
                                        {"offset", "OFFSET", 0},     {"state", "STATE", 0},
                                        {"group_at", "GROUP AT", 0}, {0}};

struct place {
    struct ctx *ctx;
    const char *topic;
    int32_t partition;
    int64_t offset;
    bool dry_run;
    int64_t group_at; /* -1: it has committed nothing yet */
};

static enum rc read_place(struct place *p, struct err *err)
{
    const struct opts *o = &p->ctx->opts;
    if (!opts_set(o, "topic") || !opts_set(o, "partition") || !opts_set(o, "offset"))
        return err_set(err, RC_REJECT,
                       "--topic, --partition and --offset go together: the three "
                       "name one record");
    if (o->arg_count > 0)
        return err_set(err, RC_REJECT, "either jobs, or --topic, --partition and --offset");
    p->topic = opts_text(o, "topic", "");
    p->partition = (int32_t)opts_int(o, "partition", 0);
    p->offset = opts_int(o, "offset", 0);
    p->dry_run = opts_set(o, "dry-run");
    return skip_check_reason(o, err);
}

/* ---- is it there? ------------------------------------------------------------------------- */

static enum rc no_topic(const struct place *p, const struct kafka_parts *parts, struct err *err)
{
    char names[NAMES_BYTES] = "";
    for (int i = 0; i < parts->count; i++) {
        size_t n = strlen(names);
        if (i == 0 || strcmp(parts->all[i].topic, parts->all[i - 1].topic) != 0)
            (void)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", parts->all[i].topic);
    }
    return err_set(err, RC_REJECT,
                   "'%.200s' is no lane's topic; there are %s (--prefix says "
                   "which are meant)",
                   p->topic, names);
}

static enum rc check_offset(struct place *p, const struct kafka_part *part, struct err *err)
{
    p->group_at = part->committed;
    if (p->offset < part->low)
        return err_set(err, RC_REJECT,
                       "offset %" PRId64 " is gone: partition %" PRId32 " of %s begins at %" PRId64,
                       p->offset, p->partition, p->topic, part->low);
    if (p->offset < part->committed)
        return err_set(err, RC_REJECT,
                       "offset %" PRId64 " is done: group %s stands at %" PRId64
                       " in partition %" PRId32 " of %s; `inferq skip JOB` is for a job that waits",
                       p->offset, config_text(p->ctx->config, "group"), part->committed,
                       p->partition, p->topic);
    if (p->offset >= part->high)
        return err_set(err, RC_REJECT,
                       "there is no offset %" PRId64 " yet: partition %" PRId32
                       " of %s ends before %" PRId64 "; a worker's log and `inferq top` say where "
                       "it stands",
                       p->offset, p->partition, p->topic, part->high);
    return RC_OK;
}

static enum rc check_place(struct place *p, const struct kafka_parts *parts, struct err *err)
{
    int partitions = 0;
    for (int i = 0; i < parts->count; i++) {
        const struct kafka_part *part = &parts->all[i];
        if (strcmp(part->topic, p->topic) != 0)
            continue;
        if (part->partition == p->partition)
            return check_offset(p, part, err);
        partitions++;
    }
    if (partitions == 0)
        return no_topic(p, parts, err);
    return err_set(err, RC_REJECT, "topic %s has no partition %" PRId32 ": they are 0 to %d",
                   p->topic, p->partition, partitions - 1);
}

static enum rc look(struct place *p, struct err *err)
{
    struct kafka_producer *producer = NULL;
    struct kafka_parts parts = {0};
    enum rc rc = lane_topics_open(p->ctx, "inferq-skip", &producer, err);
    if (rc == RC_OK)
        rc = lane_topics_read(p->ctx, producer, NULL, &parts, err);
    if (rc == RC_OK)
        rc = check_place(p, &parts, err);
    kafka_parts_done(&parts);
    ctx_kafka_free(p->ctx, producer);
    return rc;
}

/* ---- the row ------------------------------------------------------------------------------ */

static struct pg_params *place_params(const struct place *p)
{
    struct pg_params *params = pg_params_new();
    if (!params)
        return NULL;
    pg_add_text(params, span_of(p->topic));
    pg_add_int(params, PG_INT4, p->partition);
    pg_add_int(params, PG_INT8, p->offset);
    return params;
}

/* *ret_again: it is skipped already. Who locks the table counts rightly, and nobody else inserts
 * meanwhile. */
static enum rc look_at_rows(struct place *p, bool *ret_again, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct pg_params *params = place_params(p);
    enum rc rc = cmd_have(params, err);
    if (rc == RC_OK && !p->dry_run)
        rc = ctx_exec(p->ctx, "SELECT pg_advisory_xact_lock(hashtext('inferq record_skip'))::text",
                      NULL, NULL, err);
    if (rc == RC_OK)
        rc = ctx_exec(p->ctx,
                      "SELECT count(*), count(*) FILTER (WHERE topic = $1 AND partition = $2"
                      " AND record_offset = $3) FROM record_skip",
                      params, &rows, err);
    if (rc == RC_OK) {
        *ret_again = pg_get_int(rows, 0, 1) > 0;
        if (!*ret_again && pg_get_int(rows, 0, 0) >= SKIPS_MAX)
            rc = err_set(err, RC_REJECT,
                         "%d records are skipped already, and workers know no more; `inferq upkeep "
                         "--only records` forgets those that Kafka does not hold any more",
                         SKIPS_MAX);
    }
    pg_rows_free(rows);
    pg_params_free(params);
    return rc;
}

static enum rc insert(struct place *p, struct err *err)
{
    char actor[ACTOR_BYTES], subject[SUBJECT_BYTES];
    const char *reason = opts_text(&p->ctx->opts, "reason", "");
    struct pg_params *params = place_params(p);
    enum rc rc = cmd_have(params, err);
    if (rc != RC_OK)
        return rc;
    pg_add_text(params, span_of(ctx_actor(p->ctx, actor)));
    pg_add_text(params, span_of(reason));
    rc = ctx_exec(p->ctx,
                  "INSERT INTO record_skip (topic, partition, record_offset, actor, reason)"
                  " VALUES ($1, $2, $3, $4, $5)",
                  params, NULL, err);
    pg_params_free(params);
    (void)snprintf(subject, sizeof subject, "%s/%" PRId32 "/%" PRId64, p->topic, p->partition,
                   p->offset);
    return rc == RC_OK ? audit(p->ctx, "skip", subject, reason, err) : rc;
}

/* One that is skipped already is told once more: a worker may have missed it. */
static enum rc skip(struct place *p, bool *ret_again, struct err *err)
{
    enum rc rc = ctx_begin(p->ctx, err);
    if (rc != RC_OK)
        return rc;
    rc = look_at_rows(p, ret_again, err);
    if (rc == RC_OK && !*ret_again && !p->dry_run)
        rc = insert(p, err);
    if (rc == RC_OK && !p->dry_run)
        rc = skip_notify(p->ctx, err);
    return ctx_end(p->ctx, rc, err);
}

static enum rc show(const struct place *p, bool again, struct err *err)
{
    struct table *t = table_new(cols);
    enum rc rc = cmd_have(t, err);
    if (rc != RC_OK)
        return rc;
    table_text(t, span_of(p->topic));
    table_int(t, p->partition);
    table_int(t, p->offset);
    table_text(t, span_of(again ? "asked already" : p->dry_run ? "would ask" : "asked"));
    if (p->group_at < 0)
        table_null(t);
    else
        table_int(t, p->group_at);
    rc = ctx_print_table(p->ctx, t, err);
    table_free(t);
    return rc;
}

enum rc skip_record(struct ctx *ctx, struct err *err)
{
    struct place place = {.ctx = ctx};
    bool again = false;
    enum rc rc = read_place(&place, err);
    if (rc == RC_OK)
        rc = ctx_connect(ctx, err);
    if (rc == RC_OK)
        rc = look(&place, err);
    if (rc == RC_OK)
        rc = skip(&place, &again, err);
    return rc == RC_OK ? show(&place, again, err) : rc;
}
