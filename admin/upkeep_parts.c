/*
 * upkeep_parts.c - partitions of `result` and `call`: made ahead, and dropped when they are older
 * than the retention.
 *
 * A span leaves in steps, each of which may be the last before a crash; the next run goes on:
 *   closed    its row moves from partition_span to partition_leaving, in one transaction. Workers
 *             hear of it within seconds, and then refuse jobs of that age (a dead letter keeps the
 *             payload). So it is waited that long, where workers live.
 *   detached  ALTER TABLE ... DETACH PARTITION ... CONCURRENTLY: readers and writers go on.
 *   dropped   with the letters of that age whose review is over, and the bodies kept beside them.
 * Spans leave oldest first and none is passed over: workers know only where the oldest begins.
 *
 * What may not be lost keeps a span: jobs that have not ended, parked rows, letters under review,
 * calls in flight. A lock that somebody holds is waited for 2 s, five times; so long a statement of
 * the workers may wait behind us, and no longer.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admin/upkeep.h"
#include "admin/audit.h"
#include "admin/fmt.h"

enum {
    LOCK_TRIES = 5,
    HEAR_S = 12, /* workers ask every 5 s which span is the oldest */
    ROWS_MAX = 500,
    NAME_BYTES = 160,
    SQL_BYTES = 512,
    SPANS_MAX = 400,
};

struct span_part {
    int64_t lower_ms, upper_ms;
    char suffix[64];
    char result[NAME_BYTES], call[NAME_BYTES]; /* its tables, as SQL names them */
};

static void nap(void)
{
    const struct timespec t = {.tv_sec = 1};
    (void)nanosleep(&t, NULL);
}

/* A statement that may have to wait for a lock, with bounded patience. */
static enum rc patiently(struct upkeep *u, const char *sql, struct pg_rows **ret_rows,
                         struct err *err)
{
    for (int try = 1;; try++) {
        enum rc rc = ctx_exec(u->ctx, sql, NULL, ret_rows, err);
        if (rc == RC_OK || strcmp(pgc_sqlstate(u->ctx->conn), "55P03") != 0)
            return rc;
        if (try == LOCK_TRIES)
            return err_prefix(err, rc, "somebody holds a lock on it; the next run tries again");
        nap();
    }
}

/* ---- making ------------------------------------------------------------------------------- */

/* As ensure_partitions counts. */
#define MISSING                                                                                    \
    "WITH s AS (SELECT (SELECT value FROM setting WHERE name = 'partition_days') * 86400000 AS w," \
    " (SELECT value FROM setting WHERE name = 'partitions_ahead') AS ahead,"                       \
    " (SELECT value FROM setting WHERE name = 'partitions_behind') AS behind,"                     \
    " (extract(epoch FROM clock_timestamp()) * 1000)::int8 AS now_ms),"                            \
    " n AS (SELECT w, now_ms + ahead * w AS until_ms, greatest(coalesce("                          \
    "   (SELECT max(upper_ms) FROM partition_span), 0), (now_ms / w - behind) * w) AS next_ms"     \
    "   FROM s)"                                                                                   \
    " SELECT CASE WHEN next_ms > until_ms THEN 0 ELSE (until_ms - next_ms) / w + 1 END FROM n"

enum rc upkeep_make(struct upkeep *u, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc =
        patiently(u, u->dry_run ? MISSING : "SELECT ensure_partitions()::int8", &rows, err);
    int64_t made = rc == RC_OK ? pg_get_int(rows, 0, 0) : 0;
    pg_rows_free(rows);
    if (rc == RC_OK && made > 0)
        return upkeep_did(u, "partitions", "result, call", made, "made ahead", err);
    if (rc == RC_OK)
        upkeep_line(u, "partitions", "result, call", "nothing", 0, "enough stand ready");
    return rc;
}

/* ---- what keeps a span -------------------------------------------------------------------- */

static enum rc kept_by(struct upkeep *u, const struct span_part *s, char *out, size_t out_bytes,
                       struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = upkeep_query(
        u,
        "WITH s AS (SELECT uuid_floor($1) AS lo, uuid_floor($2) AS hi)"
        " SELECT (SELECT count(*) FROM dead_letter WHERE state IN (1, 2) AND job_id >= lo"
        "   AND job_id < hi),"
        " (SELECT count(*) FROM parked WHERE job_id >= lo AND job_id < hi),"
        " (SELECT coalesce(sum(p.pending), 0)::int8 FROM batch_progress p"
        "   WHERE p.batch_id >= lo AND p.batch_id < hi AND p.pending > 0) FROM s",
        (int64_t[]){s->lower_ms, s->upper_ms}, 2, &rows, err);
    out[0] = '\0';
    if (rc == RC_OK) {
        int64_t letters = pg_get_int(rows, 0, 0), parked = pg_get_int(rows, 0, 1);
        int64_t pending = pg_get_int(rows, 0, 2);
        if (letters || parked || pending)
            (void)snprintf(out, out_bytes,
                           "jobs that have not ended: %" PRId64 ", of them parked: %" PRId64
                           "; dead letters under review: %" PRId64,
                           pending > parked ? pending : parked, parked, letters);
    }
    pg_rows_free(rows);
    return rc;
}

/* Calls of its jobs that a living worker has in flight. */
static enum rc count_running(struct upkeep *u, const struct span_part *s, int64_t *ret,
                             struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = upkeep_query(u,
                              "SELECT count(*) FROM call c JOIN worker w USING (worker_id)"
                              " WHERE c.job_id >= uuid_floor($1) AND c.job_id < uuid_floor($2)"
                              " AND c.done_at IS NULL AND NOT w.fenced",
                              (int64_t[]){s->lower_ms, s->upper_ms}, 2, &rows, err);
    if (rc == RC_OK)
        *ret = pg_get_int(rows, 0, 0);
    pg_rows_free(rows);
    return rc;
}

/* ---- closing ------------------------------------------------------------------------------ */

static enum rc move_row(struct upkeep *u, const struct span_part *s, struct err *err)
{
    return upkeep_query(u,
                        "WITH gone AS (DELETE FROM partition_span WHERE lower_ms = $1"
                        "   RETURNING suffix, lower_ms, upper_ms)"
                        " INSERT INTO partition_leaving (suffix, lower_ms, upper_ms)"
                        " SELECT suffix, lower_ms, upper_ms FROM gone",
                        &s->lower_ms, 1, NULL, err);
}

static enum rc close_span(struct upkeep *u, const struct span_part *s, struct err *err)
{
    char bytes[UPKEEP_DETAIL_BYTES];
    struct pg_rows *rows = NULL;
    char sql[SQL_BYTES];
    (void)snprintf(sql, sizeof sql,
                   "SELECT coalesce(pg_total_relation_size(to_regclass('%s')), 0)"
                   " + coalesce(pg_total_relation_size(to_regclass('%s')), 0)",
                   s->result, s->call);
    enum rc rc = ctx_exec(u->ctx, sql, NULL, &rows, err);
    if (rc != RC_OK)
        return rc;
    (void)snprintf(bytes, sizeof bytes, "%" PRId64 " MiB of results and calls",
                   pg_get_int(rows, 0, 0) >> 20);
    pg_rows_free(rows);
    if (u->dry_run)
        return upkeep_did(u, "drop", s->suffix, 1, bytes, err);
    rc = ctx_begin(u->ctx, err);
    if (rc != RC_OK)
        return rc;
    rc = move_row(u, s, err);
    if (rc == RC_OK)
        rc = audit(u->ctx, "upkeep drop", s->suffix, bytes, err);
    return ctx_end(u->ctx, rc, err);
}

static int take_spans(const struct pg_rows *rows, struct span_part *out)
{
    int n = pg_row_count(rows) < SPANS_MAX ? pg_row_count(rows) : SPANS_MAX;
    for (int i = 0; i < n; i++) {
        out[i] = (struct span_part){.lower_ms = pg_get_int(rows, i, 0),
                                    .upper_ms = pg_get_int(rows, i, 1)};
        span_copy(pg_get_span(rows, i, 2), out[i].suffix, sizeof out[i].suffix);
        span_copy(pg_get_span(rows, i, 3), out[i].result, sizeof out[i].result);
        span_copy(pg_get_span(rows, i, 4), out[i].call, sizeof out[i].call);
    }
    return n;
}

#define SPAN_COLUMNS                                                             \
    "lower_ms, upper_ms, suffix, 'inferq.' || quote_ident('result_' || suffix)," \
    " 'inferq.' || quote_ident('call_' || suffix)"

/* Oldest first, up to the first that is kept. */
static enum rc close_old(struct upkeep *u, struct err *err)
{
    struct span_part spans[SPANS_MAX];
    struct pg_rows *rows = NULL;
    enum rc rc = upkeep_query(u,
                              "SELECT " SPAN_COLUMNS " FROM partition_span WHERE upper_ms <="
                              " (extract(epoch FROM now()) * 1000)::int8 - $1 ORDER BY lower_ms",
                              &u->retention_ms, 1, &rows, err);
    int n = rc == RC_OK ? take_spans(rows, spans) : 0;
    pg_rows_free(rows);
    for (int i = 0; rc == RC_OK && i < n; i++) {
        char why[UPKEEP_DETAIL_BYTES] = "";
        if (!opts_set(&u->ctx->opts, "drop-unfinished"))
            rc = kept_by(u, &spans[i], why, sizeof why, err);
        if (rc == RC_OK && *why) {
            upkeep_line(u, "drop", spans[i].suffix, "kept", n - i, why);
            break;
        }
        if (rc == RC_OK)
            rc = close_span(u, &spans[i], err);
    }
    return rc;
}

/* Until every worker that lives has heard of the youngest span that was closed. */
static enum rc wait_for_workers(struct upkeep *u, struct err *err)
{
    for (int i = 0; i <= HEAR_S; i++) {
        struct pg_rows *rows = NULL;
        enum rc rc = upkeep_query(
            u,
            "SELECT EXISTS (SELECT FROM worker WHERE NOT fenced AND lease_until > now())"
            " AND EXISTS (SELECT FROM partition_leaving"
            "   WHERE closed_at > now() - $1 * interval '1 second')",
            (int64_t[]){HEAR_S}, 1, &rows, err);
        bool wait = rc == RC_OK && pg_get_bool(rows, 0, 0);
        pg_rows_free(rows);
        if (!wait)
            return rc;
        nap();
    }
    return RC_OK;
}

/* ---- dropping ----------------------------------------------------------------------------- */

enum stand { STAND_GONE, STAND_ALONE, STAND_PENDING, STAND_ATTACHED };

static enum rc how_it_stands(struct upkeep *u, const char *parent, const char *child,
                             enum stand *ret, struct err *err)
{
    struct pg_rows *rows = NULL;
    char sql[SQL_BYTES];
    (void)snprintf(sql, sizeof sql,
                   "SELECT to_regclass('%s') IS NOT NULL, i.inhrelid IS NOT NULL,"
                   " coalesce(i.inhdetachpending, false) FROM (SELECT) one LEFT JOIN pg_inherits i"
                   " ON i.inhparent = '%s'::regclass AND i.inhrelid = to_regclass('%s')",
                   child, parent, child);
    enum rc rc = ctx_exec(u->ctx, sql, NULL, &rows, err);
    if (rc == RC_OK)
        *ret = !pg_get_bool(rows, 0, 0)   ? STAND_GONE
               : !pg_get_bool(rows, 0, 1) ? STAND_ALONE
               : pg_get_bool(rows, 0, 2)  ? STAND_PENDING
                                          : STAND_ATTACHED;
    pg_rows_free(rows);
    return rc;
}

static enum rc drop_child(struct upkeep *u, const char *parent, const char *child, struct err *err)
{
    enum stand stand = STAND_GONE;
    char sql[SQL_BYTES];
    for (int step = 0; step < LOCK_TRIES + 2; step++) {
        enum rc rc = how_it_stands(u, parent, child, &stand, err);
        if (rc != RC_OK || stand == STAND_GONE)
            return rc;
        if (stand == STAND_ALONE)
            (void)snprintf(sql, sizeof sql, "DROP TABLE %s", child);
        else
            (void)snprintf(sql, sizeof sql, "ALTER TABLE %s DETACH PARTITION %s %s", parent, child,
                           stand == STAND_PENDING ? "FINALIZE" : "CONCURRENTLY");
        /* A detaching that could not wait for a reader any longer is pending: it is finalized. */
        rc = ctx_exec(u->ctx, sql, NULL, NULL, err);
        if (rc != RC_OK && strcmp(pgc_sqlstate(u->ctx->conn), "55P03") != 0)
            return rc;
        if (rc != RC_OK)
            nap();
    }
    return err_set(err, RC_RETRY, "somebody holds a lock on %s; the next run goes on", child);
}

/* In bites, so that no transaction is long. */
static enum rc delete_rows(struct upkeep *u, const struct span_part *s, const char *sql,
                           struct err *err)
{
    for (;;) {
        struct pg_rows *rows = NULL;
        enum rc rc =
            upkeep_query(u, sql, (int64_t[]){s->lower_ms, s->upper_ms, ROWS_MAX}, 3, &rows, err);
        int64_t n = rc == RC_OK ? pg_affected(rows) : 0;
        pg_rows_free(rows);
        if (rc != RC_OK || n < ROWS_MAX)
            return rc;
    }
}

#define OF_SPAN(id) id " >= uuid_floor($1) AND " id " < uuid_floor($2) LIMIT $3)"

static enum rc drop_span(struct upkeep *u, const struct span_part *s, struct err *err)
{
    enum rc rc = drop_child(u, "inferq.call", s->call, err);
    if (rc == RC_OK)
        rc = drop_child(u, "inferq.result", s->result, err);
    if (rc == RC_OK)
        rc = delete_rows(u, s,
                         "DELETE FROM dead_letter WHERE dead_id IN (SELECT dead_id FROM dead_letter"
                         " WHERE state NOT IN (1, 2) AND " OF_SPAN("job_id"),
                         err);
    if (rc == RC_OK)
        rc = delete_rows(u, s,
                         "DELETE FROM edited WHERE new_job_id IN (SELECT new_job_id FROM edited"
                         " WHERE " OF_SPAN("new_job_id"),
                         err);
    if (rc == RC_OK) /* the count of what was accepted stays */
        rc = delete_rows(u, s,
                         "UPDATE accepted SET answer = NULL WHERE job_id IN (SELECT job_id"
                         " FROM accepted WHERE answer IS NOT NULL AND " OF_SPAN("job_id"),
                         err);
    if (rc == RC_OK)
        rc = upkeep_query(u, "DELETE FROM partition_leaving WHERE lower_ms = $1", &s->lower_ms, 1,
                          NULL, err);
    if (rc == RC_OK)
        upkeep_line(u, "drop", s->suffix, "done", 1, "");
    return rc;
}

static enum rc drop_closed(struct upkeep *u, struct err *err)
{
    struct span_part spans[SPANS_MAX];
    struct pg_rows *rows = NULL;
    enum rc rc =
        ctx_exec(u->ctx, "SELECT " SPAN_COLUMNS " FROM partition_leaving ORDER BY lower_ms", NULL,
                 &rows, err);
    int n = rc == RC_OK ? take_spans(rows, spans) : 0;
    pg_rows_free(rows);
    for (int i = 0; rc == RC_OK && i < n; i++) {
        int64_t running = 0;
        rc = count_running(u, &spans[i], &running, err);
        if (rc == RC_OK && (running || u->dry_run))
            upkeep_line(u, "drop", spans[i].suffix, running ? "closed" : "would do", 1,
                        running ? "calls of its jobs run; the next run goes on" : "");
        else if (rc == RC_OK)
            rc = drop_span(u, &spans[i], err);
    }
    return rc;
}

static enum rc drop_all(struct upkeep *u, struct err *err)
{
    enum rc rc = u->retention_ms ? close_old(u, err) : RC_OK;
    if (rc == RC_OK && !u->dry_run)
        rc = wait_for_workers(u, err);
    return rc == RC_OK ? drop_closed(u, err) : rc;
}

enum rc upkeep_drop(struct upkeep *u, struct err *err)
{
    struct err scratch = {0};
    int before = table_rows(u->table);
    enum rc rc = ctx_exec(u->ctx, "SET lock_timeout = '2s'", NULL, NULL, err);
    if (rc != RC_OK)
        return rc;
    rc = drop_all(u, err);
    (void)!pgc_exec(u->ctx->conn, "RESET lock_timeout", NULL, NULL, &scratch);
    if (rc == RC_OK && table_rows(u->table) == before)
        upkeep_line(u, "drop", "result, call", "nothing", 0,
                    u->retention_ms ? "none is older than the retention"
                                    : "setting retention_days is 0: all are kept");
    return rc;
}
