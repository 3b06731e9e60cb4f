/*
 * upkeep_rows.c - rows that nobody would touch any more: calls that stand open for good, progress
 * rows of batches that rest, workers of long ago.
 *
 * Each act works in transactions of a bounded number of rows; a crash between two leaves the rest
 * to the next run.
 */
#include <inttypes.h>
#include <stdio.h>

#include "admin/fmt.h"
#include "admin/upkeep.h"

enum { ROWS_MAX = 500 };

/* ---- calls -------------------------------------------------------------------------------- */

/* A call stands open for good when its job has ended and its worker is gone: a predecessor, fenced
 * and yet alive, gave the result while its successor's call ran, and then the successor died. No
 * record comes back for it, so no worker looks at it. It becomes what a worker's takeover makes of
 * such a call: lost, at its estimated cost. Should its owner live after all, it still corrects that
 * to the truth, once.
 *
 * $1: how many ms ago it was claimed and its worker's lease ended, at least. calls_swept_ms keeps
 * what is read of the ledger to its youngest part. */
#define LEFT_OPEN                                                              \
    "FROM call c LEFT JOIN worker w USING (worker_id) WHERE c.done_at IS NULL" \
    " AND c.claimed_at >= (SELECT to_timestamp(value / 1000.0) FROM setting"   \
    "   WHERE name = 'calls_swept_ms')"                                        \
    " AND c.claimed_at < now() - $1 * interval '1 millisecond'"                \
    " AND (w.worker_id IS NULL OR w.fenced"                                    \
    "   OR w.lease_until < now() - $1 * interval '1 millisecond')"             \
    " AND EXISTS (SELECT FROM result r WHERE r.job_id = c.job_id)"

#define SWEEP                                                                                  \
    "WITH left_open AS (SELECT c.job_id, c.number " LEFT_OPEN                                  \
    "   ORDER BY c.job_id LIMIT $2 FOR UPDATE OF c SKIP LOCKED)"                               \
    " , lost AS (UPDATE call c SET done_at = now(), class = 46, cost_nusd = c.estimated_nusd," \
    "   certainty = CASE WHEN c.estimated_nusd IS NULL THEN 3 ELSE 2 END FROM left_open l"     \
    "   WHERE c.job_id = l.job_id AND c.number = l.number AND c.done_at IS NULL"               \
    "   RETURNING c.cost_nusd)"                                                                \
    " SELECT count(*), coalesce(sum(cost_nusd), 0)::int8 FROM lost"
#define WOULD_SWEEP "SELECT count(*), coalesce(sum(c.estimated_nusd), 0)::int8 " LEFT_OPEN

static enum rc sweep(struct upkeep *u, int64_t *ret_count, int64_t *ret_nusd, struct err *err)
{
    int64_t params[] = {u->lost_after_ms, ROWS_MAX}, n;
    do {
        struct pg_rows *rows = NULL;
        enum rc rc = upkeep_query(u, u->dry_run ? WOULD_SWEEP : SWEEP, params, u->dry_run ? 1 : 2,
                                  &rows, err);
        if (rc != RC_OK)
            return rc;
        n = pg_get_int(rows, 0, 0);
        *ret_count += n;
        *ret_nusd += pg_get_int(rows, 0, 1);
        pg_rows_free(rows);
    } while (n == ROWS_MAX && !u->dry_run);
    return RC_OK;
}

/* The next run begins at the first call that is still open, if one is. */
static enum rc keep_mark(struct upkeep *u, struct err *err)
{
    return upkeep_query(
        u,
        "UPDATE setting s SET value = greatest(s.value, floor(extract(epoch FROM least("
        "   now() - $1 * interval '1 millisecond', (SELECT min(c.claimed_at) FROM call c"
        "   WHERE c.done_at IS NULL AND c.claimed_at >= to_timestamp(s.value / 1000.0)))) * 1000)"
        "   ::int8) WHERE s.name = 'calls_swept_ms'",
        &u->lost_after_ms, 1, NULL, err);
}

enum rc upkeep_calls(struct upkeep *u, struct err *err)
{
    int64_t count = 0, nusd = 0;
    enum rc rc = sweep(u, &count, &nusd, err);
    if (rc == RC_OK && !u->dry_run)
        rc = keep_mark(u, err);
    if (rc == RC_OK && count == 0)
        upkeep_line(u, "calls", "call", "nothing", 0, "none is left open for good");
    if (rc != RC_OK || count == 0)
        return rc;
    char usd[FMT_BYTES], detail[UPKEEP_DETAIL_BYTES];
    (void)snprintf(detail, sizeof detail, "left open by workers that are gone: lost, at %s USD",
                   fmt_usd(nusd, usd));
    return upkeep_did(u, "calls", "call", count, detail, err);
}

/* ---- progress ----------------------------------------------------------------------------- */

/* A batch nothing of which has ended for an hour is brought to one row per kind of ending; the
 * keeper among the workers does it only where a batch has many. */
#define RESTING                                                                              \
    "SELECT g.batch_id FROM progress g WHERE g.batch_id > $1::uuid GROUP BY g.batch_id"      \
    " HAVING count(*) > count(DISTINCT (g.status, g.model_version_id, g.cost_nusd IS NULL))" \
    " AND max(g.at) < now() - interval '1 hour' ORDER BY g.batch_id LIMIT 50"
#define ROLL_UP                                                                                    \
    "WITH many AS (" RESTING "),"                                                                  \
    " gone AS (DELETE FROM progress g USING many WHERE g.batch_id = many.batch_id RETURNING g.*)," \
    " kept AS (INSERT INTO progress (batch_id, status, model_version_id, n, cost_nusd, at)"        \
    "   SELECT batch_id, status, model_version_id, sum(n)::int8, sum(cost_nusd)::int8, max(at)"    \
    "   FROM gone GROUP BY batch_id, status, model_version_id, cost_nusd IS NULL RETURNING 1)"     \
    " SELECT (SELECT count(*) FROM many), (SELECT count(*) FROM gone) - (SELECT count(*)"          \
    "   FROM kept), (SELECT batch_id FROM many ORDER BY batch_id DESC LIMIT 1)"
#define WOULD_ROLL_UP                                                                        \
    "WITH many AS (" RESTING ")"                                                             \
    " SELECT (SELECT count(*) FROM many), (SELECT coalesce(sum(k), 0)::int8 FROM (SELECT"    \
    "   count(*) - count(DISTINCT (g.status, g.model_version_id, g.cost_nusd IS NULL)) AS k" \
    "   FROM progress g JOIN many USING (batch_id) GROUP BY g.batch_id) x),"                 \
    " (SELECT batch_id FROM many ORDER BY batch_id DESC LIMIT 1)"

static enum rc roll_up(struct upkeep *u, struct jobid *past, int64_t *ret_batches,
                       int64_t *ret_rows, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_uuid(p, past);
    rc = ctx_exec(u->ctx, u->dry_run ? WOULD_ROLL_UP : ROLL_UP, p, &rows, err);
    if (rc == RC_OK) {
        *ret_batches = pg_get_int(rows, 0, 0);
        *ret_rows = pg_get_int(rows, 0, 1);
        *past = pg_get_uuid(rows, 0, 2);
    }
    pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}

enum rc upkeep_progress(struct upkeep *u, struct err *err)
{
    struct jobid past = {0};
    int64_t batches = 0, rows = 0, n = 0, fewer = 0;
    do {
        enum rc rc = roll_up(u, &past, &n, &fewer, err);
        if (rc != RC_OK)
            return rc;
        batches += n;
        rows += fewer;
    } while (n > 0);
    char detail[UPKEEP_DETAIL_BYTES];
    (void)snprintf(detail, sizeof detail, "rows fewer, of %" PRId64 " batches rolled up", batches);
    if (rows > 0)
        return upkeep_did(u, "progress", "progress", rows, detail, err);
    upkeep_line(u, "progress", "progress", "nothing", 0, "no resting batch has rows to roll up");
    return RC_OK;
}

/* ---- workers ------------------------------------------------------------------------------ */

/* A worker that ended before the oldest span that lives began has no call in the ledger any more:
 * nothing names it. A day more, for clocks. */
#define LONG_GONE                                                 \
    "FROM worker w WHERE w.fenced AND w.lease_until <"            \
    " to_timestamp(oldest_live_ms() / 1000.0) - interval '1 day'" \
    " AND NOT EXISTS (SELECT FROM parked p WHERE p.taken_by = w.worker_id)"

enum rc upkeep_workers(struct upkeep *u, struct err *err)
{
    int64_t count = 0, n, max = ROWS_MAX;
    do {
        struct pg_rows *rows = NULL;
        enum rc rc = u->dry_run
                         ? upkeep_query(u, "SELECT count(*) " LONG_GONE, NULL, 0, &rows, err)
                         : upkeep_query(u,
                                        "WITH gone AS (DELETE FROM worker WHERE worker_id IN"
                                        " (SELECT w.worker_id " LONG_GONE " LIMIT $1) RETURNING 1)"
                                        " SELECT count(*) FROM gone",
                                        &max, 1, &rows, err);
        if (rc != RC_OK)
            return rc;
        n = pg_get_int(rows, 0, 0);
        count += n;
        pg_rows_free(rows);
    } while (n == ROWS_MAX && !u->dry_run);
    if (count > 0)
        return upkeep_did(u, "workers", "worker", count, "gone before the oldest call", err);
    upkeep_line(u, "workers", "worker", "nothing", 0, "none is older than the oldest call");
    return RC_OK;
}
