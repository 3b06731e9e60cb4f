/*
 * rewind.c - `inferq rewind`: sets the workers' group back, so that records are read again.
 *
 * For Postgres restored from a backup: its rows are those of the backup's time, while the group's
 * offsets in Kafka are those of the disaster, and the jobs between the two would never be run. Read
 * again, a job that has its result is settled without a call; one whose result was lost runs.
 *
 * Backwards only: an offset moved forward would pass jobs that have neither ended nor stand in
 * Postgres. Kafka takes offsets for a group without members alone, so the workers are stopped
 * first; who is still there is said. The audit row and the move stand or fall together but for a
 * crash between the two, which leaves a move without a row; it may then be asked for again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/audit.h"
#include "admin/dead_filter.h"
#include "admin/lane_topics.h"
#include "admin/out.h"
#include "common/clock.h"

enum { TIMEOUT_MS = 15000, MEMBERS_MAX = 20, DETAIL_BYTES = 512, REASON_BYTES_MAX = 4096 };

static const struct table_col cols[] = {{"topic", "TOPIC", 60},
                                        {"partition", "PARTITION", 0},
                                        {"from", "FROM", 0},
                                        {"to", "TO", 0},
                                        {"records", "RECORDS", 0},
                                        {"state", "STATE", 0},
                                        {0}};

struct rewind {
    struct ctx *ctx;
    struct kafka_producer *producer;
    struct kafka_parts parts;
    const char *lane; /* NULL: all */
    int64_t to_ms;    /* 0: the first record that Kafka has kept */
    bool dry_run;
    int64_t records; /* read again */
    int cut;         /* partitions whose records of that time may have been deleted */
};

static enum rc read_opts(struct rewind *r, struct err *err)
{
    const struct opts *o = &r->ctx->opts;
    const char *to = opts_text(o, "to", NULL);
    if (!to)
        return err_set(err, RC_REJECT, "--to TIME is missing; --help says which");
    r->to_ms = strcmp(to, "start") == 0 ? 0 : dead_since_parse(to, clock_wall_ms());
    if (r->to_ms < 0 || r->to_ms > clock_wall_ms())
        return err_set(err, RC_REJECT,
                       "--to: '%.80s' is no time that is past: 2026-11-21T10:43:00Z, 90m, 24h, 7d "
                       "(ago), or start",
                       to);
    if (strlen(opts_text(o, "reason", "")) > REASON_BYTES_MAX)
        return err_set(err, RC_REJECT, "--reason: at most %d bytes", REASON_BYTES_MAX);
    r->lane = opts_text(o, "lane", NULL);
    r->dry_run = opts_set(o, "dry-run");
    return RC_OK;
}

/* ---- where to ----------------------------------------------------------------------------- */

static void set_targets(struct rewind *r)
{
    for (int i = 0; i < r->parts.count; i++) {
        struct kafka_part *part = &r->parts.all[i];
        int64_t to = r->to_ms && part->at > part->low ? part->at : part->low;
        part->to = part->committed > to ? to : -1;
        if (part->to < 0)
            continue;
        r->records += part->committed - part->to;
        r->cut += part->to == part->low && part->low > 0;
    }
}

static enum rc plan(struct rewind *r, struct err *err)
{
    enum rc rc = lane_topics_read(r->ctx, r->producer, r->lane, &r->parts, err);
    if (rc == RC_OK && r->to_ms)
        rc = kafka_parts_at(r->producer, &r->parts, r->to_ms, TIMEOUT_MS, err);
    if (rc == RC_OK)
        set_targets(r);
    return rc;
}

static const char *state_of(const struct rewind *r, const struct kafka_part *part)
{
    if (part->committed < 0)
        return "never read";
    if (part->to < 0)
        return "not past it";
    return r->dry_run ? "would move" : "moved";
}

/* `from` are the offsets before the move, by partition. */
static enum rc show(struct rewind *r, const int64_t *from, struct err *err)
{
    struct table *t = table_new(cols);
    enum rc rc = cmd_have(t, err);
    for (int i = 0; rc == RC_OK && i < r->parts.count; i++) {
        const struct kafka_part *part = &r->parts.all[i];
        table_text(t, span_of(part->topic));
        table_int(t, part->partition);
        if (from[i] < 0)
            table_null(t);
        else
            table_int(t, from[i]);
        if (part->to < 0)
            table_null(t);
        else
            table_int(t, part->to);
        table_int(t, part->to < 0 ? 0 : from[i] - part->to);
        table_text(t, span_of(state_of(r, part)));
    }
    if (rc == RC_OK)
        rc = ctx_print_table(r->ctx, t, err);
    table_free(t);
    return rc;
}

/* ---- who is still there ------------------------------------------------------------------- */

static enum rc check_members(struct rewind *r, struct err *err)
{
    struct kafka_member members[MEMBERS_MAX];
    char names[DETAIL_BYTES] = "";
    const char *group = config_text(r->ctx->config, "group");
    int count = 0;
    enum rc rc =
        kafka_group_members(r->producer, group, TIMEOUT_MS, members, MEMBERS_MAX, &count, err);
    if (rc != RC_OK || count == 0)
        return rc;
    for (int i = 0; i < count && i < MEMBERS_MAX; i++) {
        size_t n = strlen(names);
        (void)snprintf(names + n, sizeof names - n, "%s%.60s at %.60s", i ? ", " : "",
                       members[i].client_id, members[i].host);
    }
    return err_set(err, RC_REJECT,
                   "group %s has %d members, and Kafka moves only a group without any: %.400s. "
                   "Stop the workers (scale them to 0; `inferq worker list` and `inferq worker "
                   "drain` where nobody starts them again), then run this again",
                   group, count, names);
}

/* ---- what may stand before that time ------------------------------------------------------ */

/* A record is of the time when it was produced, and may have waited long: jobs of batches that had
 * not ended at the backup may stand before --to. */
static enum rc warn_of_older(struct rewind *r, struct err *err)
{
    char at[CLOCK_RFC3339_BYTES];
    struct pg_rows *rows = NULL;
    if (r->to_ms == 0)
        return RC_OK;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_int(p, PG_INT8, r->to_ms);
    rc = ctx_exec(r->ctx,
                  "SELECT count(*), coalesce(min(b.created_ms), 0) FROM batch b JOIN batch_progress"
                  " p USING (batch_id) WHERE b.created_ms < $1 AND coalesce(p.pending, 1) > 0",
                  p, &rows, err);
    if (rc == RC_OK && pg_get_int(rows, 0, 0) > 0) {
        clock_rfc3339(pg_get_int(rows, 0, 1), at, sizeof at);
        out_note("note: batches older than --to that this database knows as unfinished or not "
                 "sealed: %" PRId64 "; to read all their records again, take --to %s",
                 pg_get_int(rows, 0, 0), at);
    }
    pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}

static void say_notes(const struct rewind *r)
{
    if (r->cut)
        out_note("note: in %d partitions this is the first record that Kafka has kept; what was "
                 "deleted before it cannot be read again",
                 r->cut);
    out_note("%s: %" PRId64 " records; jobs that have ended are not called again",
             r->dry_run ? "would be read again" : "to be read again", r->records);
}

/* ---- moving ------------------------------------------------------------------------------- */

static enum rc write_audit(struct rewind *r, struct err *err)
{
    char detail[DETAIL_BYTES], at[CLOCK_RFC3339_BYTES] = "start";
    const char *reason = opts_text(&r->ctx->opts, "reason", "");
    if (r->to_ms)
        clock_rfc3339(r->to_ms, at, sizeof at);
    (void)snprintf(detail, sizeof detail, "lane %s, to %s: %" PRId64 " records%s%.300s",
                   r->lane ? r->lane : "all", at, r->records, *reason ? "; " : "", reason);
    return audit(r->ctx, "rewind", config_text(r->ctx->config, "group"), detail, err);
}

static enum rc move(struct rewind *r, struct err *err)
{
    enum rc rc = ctx_begin(r->ctx, err);
    if (rc != RC_OK)
        return rc;
    rc = write_audit(r, err);
    if (rc == RC_OK)
        rc = kafka_parts_move(r->producer, config_text(r->ctx->config, "group"), &r->parts,
                              TIMEOUT_MS, err);
    return ctx_end(r->ctx, rc, err);
}

static enum rc move_and_show(struct rewind *r, struct err *err)
{
    int64_t *from = calloc((size_t)r->parts.count, sizeof *from);
    if (!from)
        return err_set(err, RC_NOMEM, "no memory for %d partitions", r->parts.count);
    for (int i = 0; i < r->parts.count; i++)
        from[i] = r->parts.all[i].committed;
    enum rc rc = r->dry_run || r->records == 0 ? RC_OK : move(r, err);
    if (rc == RC_OK)
        rc = show(r, from, err);
    if (rc == RC_OK)
        say_notes(r);
    free(from);
    return rc;
}

enum rc rewind_group(struct ctx *ctx, struct err *err)
{
    struct rewind r = {.ctx = ctx};
    struct err members = {0};
    enum rc rc = read_opts(&r, err);
    if (rc == RC_OK)
        rc = ctx_connect(ctx, err);
    if (rc == RC_OK)
        rc = lane_topics_open(ctx, "inferq-rewind", &r.producer, err);
    if (rc == RC_OK)
        rc = plan(&r, err);
    if (rc == RC_OK)
        rc = warn_of_older(&r, err);
    enum rc alone = rc == RC_OK ? check_members(&r, &members) : RC_OK;
    if (rc == RC_OK && alone != RC_OK && !r.dry_run)
        rc = err_set(err, alone, "%s", members.text);
    if (rc == RC_OK)
        rc = move_and_show(&r, err);
    if (rc == RC_OK && alone != RC_OK)
        out_note("note: as things stand it would be refused: %s", members.text);
    kafka_parts_done(&r.parts);
    ctx_kafka_free(ctx, r.producer);
    return rc;
}
