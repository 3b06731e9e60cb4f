/*
 * upkeep_kafka.c - records that are settled leave Kafka: topics keep everything until somebody says
 * that it is not needed (retention.ms is -1, for a backlog must never be eaten by a clock).
 *
 * Below the group's committed offset every record's job has ended or waits in Postgres. They are
 * kept for some days nevertheless (kafka_keep_days): should Postgres be restored from a backup,
 * `inferq rewind` reads them again. So a record leaves when it is below both, and where it was
 * skipped by its place, that is forgotten.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/lane_topics.h"
#include "admin/upkeep.h"
#include "common/clock.h"

enum { TIMEOUT_MS = 15000 };

static int64_t set_targets(struct kafka_parts *parts)
{
    int64_t records = 0;
    for (int i = 0; i < parts->count; i++) {
        struct kafka_part *part = &parts->all[i];
        int64_t to = part->at < part->committed ? part->at : part->committed;
        part->to = to > part->low ? to : -1;
        if (part->to >= 0)
            records += part->to - part->low;
    }
    return records;
}

static enum rc note(struct upkeep *u, const struct kafka_part *part, int64_t low_before,
                    struct err *err)
{
    char subject[KAFKA_TOPIC_BYTES + 16], detail[UPKEEP_DETAIL_BYTES];
    int64_t low = u->dry_run ? part->to : part->low;
    (void)snprintf(subject, sizeof subject, "%s/%" PRId32, part->topic, part->partition);
    if (part->why[0]) {
        upkeep_line(u, "records", subject, "failed", 0, part->why);
        return RC_OK;
    }
    (void)snprintf(detail, sizeof detail,
                   "offsets %" PRId64 " to %" PRId64 "; the group stands at %" PRId64, low_before,
                   low - 1, part->committed);
    return upkeep_did(u, "records", subject, low - low_before, detail, err);
}

/* The refusal of one partition is the act's. */
static enum rc first_refusal(const struct kafka_parts *parts, struct err *err)
{
    for (int i = 0; i < parts->count; i++)
        if (parts->all[i].why[0])
            return err_set(err, RC_REJECT, "topic %s, partition %" PRId32 ": %s",
                           parts->all[i].topic, parts->all[i].partition, parts->all[i].why);
    return RC_OK;
}

static enum rc trim(struct upkeep *u, struct kafka_producer *producer, struct kafka_parts *parts,
                    struct err *err)
{
    enum rc rc = RC_OK;
    int64_t *low = calloc((size_t)parts->count, sizeof *low);
    if (!low)
        return err_set(err, RC_NOMEM, "no memory for %d partitions", parts->count);
    for (int i = 0; i < parts->count; i++)
        low[i] = parts->all[i].low;
    if (!u->dry_run)
        rc = kafka_parts_trim(producer, parts, TIMEOUT_MS, err);
    for (int i = 0; rc == RC_OK && i < parts->count; i++)
        if (parts->all[i].to >= 0)
            rc = note(u, &parts->all[i], low[i], err);
    free(low);
    return rc == RC_OK ? first_refusal(parts, err) : rc;
}

/* Rows of `inferq skip --topic ...` whose record is gone, or was of a topic that was made anew. As
 * long as Kafka holds the record, a rewind may bring it to a worker again. */
static enum rc forget_skips(struct upkeep *u, const struct kafka_parts *parts, struct err *err)
{
#define GONE                                                                                  \
    "FROM record_skip s WHERE starts_with(s.topic, $5) AND NOT EXISTS (SELECT FROM"           \
    " unnest($1::text[], $2::int4[], $3::int8[], $4::int8[]) p (topic, partition, low, high)" \
    " WHERE p.topic = s.topic AND p.partition = s.partition AND s.record_offset >= p.low"     \
    " AND s.record_offset < p.high)"
    char lanes[KAFKA_TOPIC_BYTES];
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    (void)snprintf(lanes, sizeof lanes, "%s.jobs.", config_text(u->ctx->config, "prefix"));
    pg_array(p, PG_TEXT);
    for (int i = 0; i < parts->count; i++)
        pg_elem_span(p, span_of(parts->all[i].topic));
    pg_array(p, PG_INT4);
    for (int i = 0; i < parts->count; i++)
        pg_elem_int(p, parts->all[i].partition);
    pg_array(p, PG_INT8);
    for (int i = 0; i < parts->count; i++)
        pg_elem_int(p, parts->all[i].low);
    pg_array(p, PG_INT8);
    for (int i = 0; i < parts->count; i++)
        pg_elem_int(p, parts->all[i].high);
    pg_add_text(p, span_of(lanes));
    rc = ctx_exec(u->ctx,
                  u->dry_run ? "SELECT count(*) " GONE
                             : "WITH gone AS (DELETE " GONE " RETURNING 1)"
                               " SELECT count(*) FROM gone",
                  p, &rows, err);
    int64_t count = rc == RC_OK ? pg_get_int(rows, 0, 0) : 0;
    pg_rows_free(rows);
    pg_params_free(p);
#undef GONE
    if (count == 0)
        return rc;
    return upkeep_did(u, "records", "record_skip", count,
                      "places of skipped records that Kafka does not hold any more", err);
}

enum rc upkeep_records(struct upkeep *u, struct err *err)
{
    struct kafka_producer *producer = NULL;
    struct kafka_parts parts = {0};
    enum rc rc = lane_topics_open(u->ctx, "inferq-upkeep", &producer, err);
    if (rc == RC_OK)
        rc = lane_topics_read(u->ctx, producer, NULL, &parts, err);
    if (rc == RC_OK)
        rc = kafka_parts_at(producer, &parts, clock_wall_ms() - u->kafka_keep_ms, TIMEOUT_MS, err);
    if (rc == RC_OK && set_targets(&parts) > 0)
        rc = trim(u, producer, &parts, err);
    else if (rc == RC_OK)
        upkeep_line(u, "records", "", "nothing", 0,
                    "no settled record is older than is to be kept");
    if (rc == RC_OK)
        rc = forget_skips(u, &parts, err);
    kafka_parts_done(&parts);
    ctx_kafka_free(u->ctx, producer);
    return rc;
}
