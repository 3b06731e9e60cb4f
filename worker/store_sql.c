/*
 * store_sql.c - see store_sql.h. Statements name the parents of partitions, join every key column
 * to the arrays, and never add range parameters; a test EXPLAINs each on big tables.
 *
 * The hot ones unnest their arrays side by side in a target list, which yields row by row;
 * unnest(a, b, ...) in FROM would fill and read a tuple store for each array: 10 % more of
 * Postgres's CPU a job.
 */
#include "worker/store_sql.h"

#define PLANNER                                                                                   \
    "SET plan_cache_mode = force_generic_plan", "SET enable_seqscan = off",                       \
        "SET enable_hashjoin = off", "SET enable_mergejoin = off", "SET enable_bitmapscan = off", \
        "SET enable_material = off", "SET jit = off", "SET enable_partitionwise_join = off"

const char *const store_settings_sync[] = {PLANNER, "SET synchronous_commit = on", NULL};
const char *const store_settings_keep[] = {PLANNER, "SET synchronous_commit = off",
                                           "LISTEN inferq_cancel", "LISTEN inferq_endpoint", NULL};

/* $1 worker; arrays $2 job, $3 number, $4 kind, $5 batch, $6 model version, $7 endpoint, $8 price,
 * $9 estimated, $10 upper, $11 from_parked */
/* `parked` is joined, not asked by EXISTS: within an OR that became a scan of all parked rows. */
#define CLAIM_HEAD                                                                           \
    "INSERT INTO inferq.call (job_id, number, worker_id, kind, batch_id, model_version_id,"  \
    " endpoint_id, price_id, estimated_nusd, upper_nusd)"                                    \
    " SELECT u.job_id, u.number, $1, u.kind, u.batch_id, u.model_version_id, u.endpoint_id," \
    " u.price_id, u.estimated_nusd, u.upper_nusd"                                            \
    " FROM (SELECT unnest($2::uuid[]) AS job_id, unnest($3::int2[]) AS number,"              \
    " unnest($4::int2[]) AS kind, unnest($5::uuid[]) AS batch_id,"                           \
    " unnest($6::int4[]) AS model_version_id, unnest($7::int4[]) AS endpoint_id,"            \
    " unnest($8::int4[]) AS price_id, unnest($9::int8[]) AS estimated_nusd,"                 \
    " unnest($10::int8[]) AS upper_nusd, unnest($11::bool[]) AS from_parked) AS u"           \
    " LEFT JOIN inferq.parked p ON p.job_id = u.job_id"                                      \
    " WHERE EXISTS (SELECT FROM inferq.worker w"                                             \
    "   WHERE w.worker_id = $1 AND w.lease_until > now() AND NOT w.fenced)"                  \
    " AND NOT EXISTS (SELECT FROM inferq.result r WHERE r.job_id = u.job_id)"                \
    " AND (u.from_parked OR p.job_id IS NULL)"

#define CLAIM_TAIL \
    " ORDER BY u.job_id ON CONFLICT (job_id, number) DO NOTHING RETURNING job_id, number"

/* $1 jobs: their open calls of fenced owners are lost. */
#define LOSE                                                                                      \
    {                                                                                             \
        "lose",                                                                                   \
            "UPDATE inferq.call c SET done_at = now(), class = 46, cost_nusd = c.estimated_nusd," \
            " certainty = CASE WHEN c.estimated_nusd IS NULL THEN 3 ELSE 2 END"                   \
            " FROM unnest($1::uuid[]) AS u (job_id), inferq.worker w"                             \
            " WHERE c.job_id = u.job_id AND c.done_at IS NULL AND w.worker_id = c.worker_id"      \
            " AND w.fenced"                                                                       \
    }

/* After LOSE: what is open now is live, or its owner was fenced since; then LOSE comes again. Were
 * only live calls asked for, a fence that commits between the two would leave one open for ever. */
#define NO_OPEN_CALL \
    "NOT EXISTS (SELECT FROM inferq.call k WHERE k.job_id = u.job_id AND k.done_at IS NULL)"

const struct pg_stmt store_sql_claim[] = {
    [SQL_CLAIM] = {"claim", CLAIM_HEAD CLAIM_TAIL},
    /* $1 jobs, $2 seconds past the lease */
    [SQL_FENCE] = {"fence",
                   "UPDATE inferq.worker w SET fenced = true"
                   " WHERE NOT w.fenced AND w.lease_until < now() - $2::int8 * interval '1 second'"
                   " AND w.worker_id IN (SELECT c.worker_id FROM inferq.call c"
                   "   WHERE c.job_id = ANY ($1::uuid[]) AND c.done_at IS NULL)"},
    /* $1 jobs, $2 worker, $3 classes that do not count as attempts, $4 those of calls of which
     * nobody knows what came */
    [SQL_FACTS] =
        {"facts",
         "SELECT u.job_id, r.job_id IS NOT NULL AS done, p.job_id IS NOT NULL AS parked,"
         " coalesce(p.taken_by = $2, false) AS parked_mine, coalesce(k.last, 0::int2) AS last,"
         " k.mine, coalesce(k.live, false) AS live, coalesce(k.attempts, 0) AS attempts, k.spent,"
         " EXISTS (SELECT FROM inferq.worker w WHERE w.worker_id = $2 AND w.lease_until > now()"
         "   AND NOT w.fenced) AS lease, coalesce(k.unknown, false) AS unknown"
         " FROM unnest($1::uuid[]) AS u (job_id)"
         " LEFT JOIN inferq.result r ON r.job_id = u.job_id"
         " LEFT JOIN inferq.parked p ON p.job_id = u.job_id"
         " LEFT JOIN LATERAL (SELECT max(c.number) AS last,"
         "   max(c.number) FILTER (WHERE c.done_at IS NULL AND c.worker_id = $2) AS mine,"
         "   bool_or(c.done_at IS NULL AND c.worker_id <> $2 AND NOT w.fenced) AS live,"
         "   bool_or(c.class = ANY ($4::int2[]) OR (c.done_at IS NULL AND w.fenced)) AS unknown,"
         "   count(*) FILTER (WHERE c.class IS NULL OR NOT c.class = ANY ($3::int2[])) AS attempts,"
         /* A call that ended cost what its row says, NULL included; an open one will be lost. */
         "   CASE WHEN bool_or(CASE WHEN c.done_at IS NULL THEN c.estimated_nusd"
         "       ELSE c.cost_nusd END IS NULL) THEN NULL"
         "     ELSE sum(CASE WHEN c.done_at IS NULL THEN c.estimated_nusd"
         "       ELSE c.cost_nusd END)::int8 END AS spent"
         "   FROM inferq.call c LEFT JOIN inferq.worker w ON w.worker_id = c.worker_id"
         "   WHERE c.job_id = u.job_id) k ON true ORDER BY u.job_id"},
    [SQL_LOSE] = LOSE,
    [SQL_TAKE] = {"take", CLAIM_HEAD " AND " NO_OPEN_CALL CLAIM_TAIL},
    /* $1 jobs */
    [SQL_DROP_DONE] = {"drop_done",
                       "DELETE FROM inferq.parked p USING unnest($1::uuid[]) AS u (job_id)"
                       " WHERE p.job_id = u.job_id"
                       " AND EXISTS (SELECT FROM inferq.result r WHERE r.job_id = p.job_id)"},
    /* $1 worker; arrays $2 job .. $21 taken. A row that somebody else holds is left as it is. */
    [SQL_PARK] =
        {"park",
         "INSERT INTO inferq.parked AS q (job_id, batch_id, next_at, deadline_at, taken_by, "
         "wait_key,"
         " priority, number, attempts, reasks, spent_nusd, waited_us, model_us, reason, topic,"
         " partition, record_offset, record_at, payload, headers)"
         " SELECT u.job_id, u.batch_id, now() + u.wait_us * interval '1 microsecond', "
         "u.deadline_at,"
         " CASE WHEN u.runs THEN $1::int8 END, u.wait_key, u.priority, u.number, u.attempts, "
         "u.reasks,"
         " u.spent_nusd, u.waited_us, u.model_us, u.reason, u.topic, u.partition, u.record_offset,"
         " u.record_at, u.payload, u.headers"
         " FROM unnest($2::uuid[], $3::uuid[], $4::int8[], $5::timestamptz[], $6::bool[],"
         " $7::int4[], $8::int2[], $9::int2[], $10::int2[], $11::int2[], $12::int8[], $13::int8[],"
         " $14::int8[], $15::int2[], $16::text[], $17::int4[], $18::int8[], $19::timestamptz[],"
         " $20::bytea[], $21::bytea[])"
         " AS u (job_id, batch_id, wait_us, deadline_at, runs, wait_key, priority, number, "
         "attempts,"
         " reasks, spent_nusd, waited_us, model_us, reason, topic, partition, record_offset,"
         " record_at, payload, headers)"
         " WHERE NOT EXISTS (SELECT FROM inferq.result r WHERE r.job_id = u.job_id)"
         " ORDER BY u.job_id ON CONFLICT (job_id) DO UPDATE SET next_at = excluded.next_at,"
         " parked_at = now(),"
         " taken_by = excluded.taken_by, wait_key = excluded.wait_key, number = excluded.number,"
         " attempts = excluded.attempts, reasks = excluded.reasks, spent_nusd = "
         "excluded.spent_nusd,"
         " waited_us = excluded.waited_us, model_us = excluded.model_us, reason = excluded.reason"
         " WHERE q.taken_by = $1"},
    /* $1 worker, $2 key, $3 priority, $4 rows. The rows are picked in an ARRAY, which is made once:
     * joined, they were picked again for each row of the table (a plan made while it held one
     * row), and more were taken than asked for. */
    [SQL_PULL] =
        {"pull",
         "WITH d AS (UPDATE inferq.parked p SET taken_by = $1"
         " WHERE p.job_id = ANY (ARRAY(SELECT q.job_id FROM inferq.parked q"
         "   WHERE q.taken_by IS NULL AND q.wait_key = $2"
         "   AND q.priority = $3 AND q.next_at <= now()"
         "   AND EXISTS (SELECT FROM inferq.worker w WHERE w.worker_id = $1 AND NOT w.fenced"
         "     AND w.lease_until > now())"
         "   ORDER BY q.wait_key, q.priority, q.next_at LIMIT $4 FOR UPDATE SKIP LOCKED))"
         " RETURNING p.*)"
         " SELECT job_id, number, attempts, reasks, spent_nusd,"
         " waited_us + (extract(epoch FROM now() - parked_at) * 1000000)::int8 AS waited_us,"
         " model_us, topic, partition, record_offset, record_at, payload, headers, priority"
         " FROM d ORDER BY next_at, job_id"},
    /* arrays $1 source .. $9 headers */
    [SQL_BURY] =
        {"bury",
         "WITH moved AS (DELETE FROM inferq.parked p USING unnest($10::uuid[]) u (job_id)"
         " WHERE p.job_id = u.job_id)"
         " INSERT INTO inferq.dead_letter (source, class, reason, topic, partition, record_offset,"
         " record_at, payload, headers)"
         " SELECT * FROM unnest($1::bytea[], $2::int2[], $3::text[], $4::text[], $5::int4[],"
         " $6::int8[], $7::timestamptz[], $8::bytea[], $9::bytea[])"
         " ON CONFLICT (source) DO NOTHING"},
    {0},
};

/* Results: arrays $1 .. $31; `cost` is what the column says. */
#define STORE_HEAD(cost)                                                                        \
    "WITH done AS (INSERT INTO inferq.result (job_id, batch_id, created_at, cost_nusd,"         \
    " queue_us, throttle_us, model_us, store_us, input_tokens, cached_tokens, output_tokens,"   \
    " reasoning_tokens, model_version_id, generation, status, class, call_number, http_status," \
    " validation, priority, app, task, team, custom_id, url, finish_reason, model_reported,"    \
    " prompt_version, context_version, trace_id, body)"                                         \
    " SELECT u.job_id, u.batch_id, u.created_at, " cost ","                                     \
    " u.queue_us, u.throttle_us, u.model_us, u.store_us, u.input_tokens, u.cached_tokens,"      \
    " u.output_tokens, u.reasoning_tokens, u.model_version_id, u.generation, u.status,"         \
    " u.class, u.call_number, u.http_status, u.validation, u.priority, u.app, u.task,"          \
    " u.team, u.custom_id, u.url, u.finish_reason, u.model_reported, u.prompt_version,"         \
    " u.context_version, u.trace_id, u.body"                                                    \
    " FROM (SELECT unnest($1::uuid[]) AS job_id, unnest($2::uuid[]) AS batch_id,"               \
    " unnest($3::timestamptz[]) AS created_at, unnest($4::int8[]) AS cost_nusd,"                \
    " unnest($5::int8[]) AS queue_us, unnest($6::int8[]) AS throttle_us,"                       \
    " unnest($7::int8[]) AS model_us, unnest($8::int8[]) AS store_us,"                          \
    " unnest($9::int4[]) AS input_tokens, unnest($10::int4[]) AS cached_tokens,"                \
    " unnest($11::int4[]) AS output_tokens, unnest($12::int4[]) AS reasoning_tokens,"           \
    " unnest($13::int4[]) AS model_version_id, unnest($14::int4[]) AS generation,"              \
    " unnest($15::int2[]) AS status, unnest($16::int2[]) AS class,"                             \
    " unnest($17::int2[]) AS call_number, unnest($18::int2[]) AS http_status,"                  \
    " unnest($19::int2[]) AS validation, unnest($20::int2[]) AS priority,"                      \
    " unnest($21::text[]) AS app, unnest($22::text[]) AS task,"                                 \
    " unnest($23::text[]) AS team, unnest($24::text[]) AS custom_id,"                           \
    " unnest($25::text[]) AS url, unnest($26::text[]) AS finish_reason,"                        \
    " unnest($27::text[]) AS model_reported, unnest($28::text[]) AS prompt_version,"            \
    " unnest($29::text[]) AS context_version, unnest($30::text[]) AS trace_id,"                 \
    " unnest($31::bytea[]) AS body) AS u"                                                       \
    " WHERE u.call_number IS NOT NULL"

/* What a job cost that ends without a call of this worker's, the ledger knows: others may have
 * called for it. */
#define STORE_COST                                                   \
    "CASE WHEN u.call_number IS NOT NULL THEN u.cost_nusd"           \
    " ELSE (SELECT CASE WHEN bool_or(k.cost_nusd IS NULL) THEN NULL" \
    " ELSE coalesce(sum(k.cost_nusd), 0)::int8 END"                  \
    " FROM inferq.call k WHERE k.job_id = u.job_id) END"

/* It yields to a call elsewhere. */
#define STORE_YIELDS " OR " NO_OPEN_CALL

#define STORE_DONE                                       \
    " ORDER BY u.job_id ON CONFLICT (job_id) DO NOTHING" \
    " RETURNING job_id, batch_id, status, model_version_id, cost_nusd),"

/* Dead letters of those that die: arrays $32 .. $49. */
#define STORE_LETTERS                                                                             \
    " dl AS (INSERT INTO inferq.dead_letter (job_id, source, batch_id, generation, class,"        \
    " attempts, app, task, team, custom_id, model_version, reason, topic, partition,"             \
    " record_offset, record_at, payload, headers, state)" /* Who is given up needs no review: its \
                                                             letter is discarded from the start.  \
                                                           */                                     \
    " SELECT d.*, CASE WHEN d.class = 25 THEN 6 ELSE 1 END"                                       \
    " FROM (SELECT unnest($32::uuid[]) AS job_id, unnest($33::bytea[]) AS source,"                \
    " unnest($34::uuid[]) AS batch_id, unnest($35::int4[]) AS generation,"                        \
    " unnest($36::int2[]) AS class, unnest($37::int2[]) AS attempts,"                             \
    " unnest($38::text[]) AS app, unnest($39::text[]) AS task, unnest($40::text[]) AS team,"      \
    " unnest($41::text[]) AS custom_id, unnest($42::text[]) AS model_version,"                    \
    " unnest($43::text[]) AS reason, unnest($44::text[]) AS topic,"                               \
    " unnest($45::int4[]) AS partition, unnest($46::int8[]) AS record_offset,"                    \
    " unnest($47::timestamptz[]) AS record_at, unnest($48::bytea[]) AS payload,"                  \
    " unnest($49::bytea[]) AS headers) AS d"                                                      \
    " WHERE d.job_id IN (SELECT done.job_id FROM done) ON CONFLICT (source) DO NOTHING),"

#define STORE_TAIL                                                                          \
    " p AS (DELETE FROM inferq.parked USING done WHERE parked.job_id = done.job_id),"       \
    " g AS (INSERT INTO inferq.progress (batch_id, status, model_version_id, n, cost_nusd)" \
    " SELECT batch_id, status, model_version_id, count(*), sum(cost_nusd)::int8 FROM done"  \
    " GROUP BY batch_id, status, model_version_id, cost_nusd IS NULL)"                      \
    " SELECT job_id FROM done"

const struct pg_stmt store_sql_store[] = {
    [SQL_STORE_LOSE] = LOSE,
    [SQL_STORE] = {"store",
                   STORE_HEAD(STORE_COST) STORE_YIELDS STORE_DONE STORE_LETTERS STORE_TAIL},
    /* The same where each ending is that of a call and nobody dies, as nearly always. What `store`
     * has beside it is made ready at every execution, used or not: 190 us a transaction. */
    [SQL_STORE_CALLED] = {"store_called", STORE_HEAD("u.cost_nusd") STORE_DONE STORE_TAIL},
    /* arrays $1 job, $2 number, $3 worker, then what came of the call */
    [SQL_OUTCOME] =
        {"outcome",
         "UPDATE inferq.call c SET done_at = now(), class = u.class, certainty = u.certainty,"
         " cost_nusd = u.cost_nusd, model_us = u.model_us, input_tokens = u.input_tokens,"
         " cached_tokens = u.cached_tokens, output_tokens = u.output_tokens,"
         " reasoning_tokens = u.reasoning_tokens, curl_code = u.curl_code,"
         " http_status = u.http_status, provider_request_id = u.provider_request_id,"
         " model_reported = u.model_reported, error = u.error"
         " FROM (SELECT unnest($1::uuid[]) AS job_id, unnest($2::int2[]) AS number,"
         " unnest($3::int8[]) AS worker_id, unnest($4::int2[]) AS class,"
         " unnest($5::int2[]) AS certainty, unnest($6::int8[]) AS cost_nusd,"
         " unnest($7::int8[]) AS model_us, unnest($8::int4[]) AS input_tokens,"
         " unnest($9::int4[]) AS cached_tokens, unnest($10::int4[]) AS output_tokens,"
         " unnest($11::int4[]) AS reasoning_tokens, unnest($12::int2[]) AS curl_code,"
         " unnest($13::int2[]) AS http_status, unnest($14::text[]) AS provider_request_id,"
         " unnest($15::text[]) AS model_reported, unnest($16::text[]) AS error) AS u"
         " WHERE c.job_id = u.job_id AND c.number = u.number AND c.worker_id = u.worker_id"
         " AND (c.done_at IS NULL OR c.class = 46)"},
    {0},
};

const struct pg_stmt store_sql_keep[] = {
    /* $1 host, $2 pid, $3 build, $4 lease seconds */
    [SQL_REGISTER] = {"register",
                      "INSERT INTO inferq.worker (host, pid, build, lease_until)"
                      " VALUES ($1, $2, $3, now() + $4::int8 * interval '1 second')"
                      " RETURNING worker_id, (extract(epoch FROM clock_timestamp()) * 1000)::int8,"
                      " drain_requested_at IS NOT NULL AS drain"},
    /* $1 worker, $2 lease seconds */
    [SQL_HEARTBEAT] = {"heartbeat",
                       "UPDATE inferq.worker SET lease_until ="
                       " now() + $2::int8 * interval '1 second'"
                       " WHERE worker_id = $1 AND NOT fenced"
                       " RETURNING worker_id, (extract(epoch FROM clock_timestamp()) * 1000)::int8,"
                       " drain_requested_at IS NOT NULL AS drain"},
    [SQL_STOP] =
        {"stop", "UPDATE inferq.worker SET stopped_at = now(), fenced = true WHERE worker_id = $1"},
    [SQL_STOP_FREE] = {"stop_free", "UPDATE inferq.parked SET taken_by = NULL WHERE taken_by = $1"},
    /* $1 seconds past the lease */
    [SQL_FENCE_DEAD] = {"fence_dead", "UPDATE inferq.worker SET fenced = true WHERE NOT fenced"
                                      " AND lease_until < now() - $1::int8 * interval '1 second'"},
    /* A subquery and no join: from the rows taken to their owners, never from all workers ever. */
    [SQL_FREE_TAKEN] = {"free_taken",
                        "UPDATE inferq.parked p SET taken_by = NULL WHERE p.taken_by IS NOT NULL"
                        " AND (SELECT w.fenced FROM inferq.worker w"
                        "   WHERE w.worker_id = p.taken_by)"},
    /* A loose walk over the keys that are there, and how many rows of each are due, up to $1. */
    [SQL_DUE] =
        {"due",
         "WITH RECURSIVE k AS ("
         " (SELECT wait_key, priority FROM inferq.parked WHERE taken_by IS NULL"
         "   ORDER BY wait_key, priority, next_at LIMIT 1)"
         " UNION ALL SELECT n.wait_key, n.priority FROM k, LATERAL ("
         "   SELECT p.wait_key, p.priority FROM inferq.parked p WHERE p.taken_by IS NULL"
         "   AND (p.wait_key, p.priority) > (k.wait_key, k.priority)"
         "   ORDER BY p.wait_key, p.priority, p.next_at LIMIT 1) n)"
         " SELECT k.wait_key, k.priority, (SELECT count(*) FROM ("
         "   SELECT FROM inferq.parked p WHERE p.taken_by IS NULL AND p.wait_key = k.wait_key"
         "   AND p.priority = k.priority AND p.next_at <= now()"
         "   ORDER BY p.wait_key, p.priority, p.next_at LIMIT $1::int8) d) AS due FROM k"},
    /* A parked job whose deadline is over waits for nothing any more. $1 rows */
    [SQL_WAKE_EXPIRED] = {"wake_expired",
                          "UPDATE inferq.parked p SET wait_key = 0, next_at = now()"
                          " WHERE p.job_id = ANY (ARRAY(SELECT q.job_id FROM inferq.parked q"
                          "   WHERE q.taken_by IS NULL"
                          "   AND q.deadline_at IS NOT NULL AND q.deadline_at <= now()"
                          "   AND (q.wait_key <> 0 OR q.next_at > now())"
                          "   ORDER BY q.deadline_at LIMIT $1::int8 FOR UPDATE SKIP LOCKED))"},
    /* What was parked for want of a good credential or of money (classes 35, 37) is due at once.
     * $1 wait key, $2 priority, $3 rows; how many that were */
    [SQL_WAKE_KEY] =
        {"wake_key",
         "WITH woken AS (UPDATE inferq.parked p SET next_at = now()"
         " WHERE p.job_id = ANY (ARRAY(SELECT q.job_id FROM inferq.parked q"
         "   WHERE q.taken_by IS NULL AND q.wait_key = $1::int4 AND q.priority = $2::int2"
         "   AND q.next_at > now() AND q.reason IN (35, 37)"
         "   ORDER BY q.next_at, q.job_id LIMIT $3::int8 FOR UPDATE SKIP LOCKED))"
         " RETURNING p.job_id) SELECT count(*) AS woken FROM woken"},
    [SQL_CANCELLED] = {"cancelled",
                       /* $1 from when on; NULL: of 90 days */
                       "SELECT NULL::uuid AS id, now() AS looked_at"
                       " UNION ALL SELECT batch_id, NULL FROM inferq.batch"
                       " WHERE cancel_requested_at IS NOT NULL AND cancel_requested_at"
                       " > coalesce($1::timestamptz, now() - interval '90 days')"
                       /* and the jobs that an operator leaves out: a batch's id is no job's */
                       " UNION ALL SELECT s.job_id, NULL FROM inferq.job_skip s"
                       " WHERE s.at > coalesce($1::timestamptz, now() - interval '90 days')"
                       " AND NOT EXISTS (SELECT FROM inferq.result r WHERE r.job_id = s.job_id)"},
    /* Endpoints that an operator has paused. */
    [SQL_HELD] = {"held", "SELECT e.endpoint_id FROM inferq.endpoint e WHERE EXISTS ("
                          "   SELECT FROM inferq.endpoint_pause p"
                          "   WHERE p.name = e.name AND p.version IN (0, e.version))"
                          " ORDER BY e.endpoint_id"},
    /* Records that an operator leaves out: there are no more than a thousand (inferq skip). */
    [SQL_SKIPS] = {"skips", "SELECT s.topic, s.partition, s.record_offset, left(s.actor ||"
                            " ' left it out (inferq skip)' || CASE WHEN s.reason = '' THEN ''"
                            "   ELSE ': ' || s.reason END, 250) AS reason"
                            " FROM inferq.record_skip s"
                            " ORDER BY s.topic, s.partition, s.record_offset LIMIT 1000"},
    /* $1 key, $2 rows at most: an index-only walk, of so many entries at most */
    [SQL_PARKED_COUNT] = {"parked_count", "SELECT count(*) FROM (SELECT FROM inferq.parked p"
                                          "   WHERE p.taken_by IS NULL AND p.wait_key = $1::int4"
                                          "   LIMIT $2::int8) c"},
    /* $1 priority, $2 app, $3 time: were jobs of another app put into the topic after it, and
     * are not all done yet? A sealed batch's came before its sealing; one that nobody seals counts
     * for an hour. Of the newest thousand batches. */
    [SQL_OTHERS_WAIT] =
        {"others_wait",
         "SELECT EXISTS (SELECT FROM (SELECT * FROM inferq.batch ORDER BY registered_at DESC"
         "   LIMIT 1000) b WHERE b.priority = $1::int2 AND b.app <> $2::text AND CASE"
         "   WHEN b.sealed_at IS NULL THEN b.registered_at > now() - interval '1 hour'"
         "   ELSE b.sealed_at > $3::timestamptz AND b.total + b.requeued >"
         "     (SELECT coalesce(sum(g.n), 0) FROM inferq.progress g WHERE g.batch_id = b.batch_id)"
         "   END)"},
    /* arrays $1 batch, $2 app, $3 name, $4 task, $5 team, $6 priority, $7 created_ms */
    [SQL_BATCH_SEEN] = {"batch_seen",
                        "INSERT INTO inferq.batch (batch_id, app, name, task, team, priority,"
                        " created_ms) SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[],"
                        " $4::text[], $5::text[], $6::int2[], $7::int8[]) ON CONFLICT DO NOTHING"},
    [SQL_ELECT] = {"elect", "SELECT pg_try_advisory_lock(hashtext('inferq keeper'))"},
    [SQL_PARTITIONS] = {"partitions", "SELECT inferq.ensure_partitions()"},
    [SQL_OLDEST_LIVE] = {"oldest_live", "SELECT inferq.oldest_live_ms()"},
    /* $1: batches with more rows than this are rolled up */
    [SQL_ROLL_UP] =
        {"roll_up",
         "WITH many AS (SELECT batch_id FROM inferq.progress GROUP BY batch_id"
         "   HAVING count(*) > $1::int8 ORDER BY batch_id LIMIT 20),"
         " gone AS (DELETE FROM inferq.progress g USING many WHERE g.batch_id = many.batch_id"
         "   RETURNING g.*)"
         " INSERT INTO inferq.progress (batch_id, status, model_version_id, n, cost_nusd, at)"
         " SELECT batch_id, status, model_version_id, sum(n)::int8, sum(cost_nusd)::int8, max(at)"
         " FROM gone GROUP BY batch_id, status, model_version_id, cost_nusd IS NULL"},
    /* For those who watch the fleet: dead letters that nobody has reviewed, those that are not on
     * their topic yet (each counted up to $1), and sealed batches that are past their deadline and
     * have jobs that have not ended. */
    [SQL_FIGURES] =
        {"figures",
         "SELECT (SELECT count(*) FROM (SELECT FROM inferq.dead_letter WHERE state = 1"
         "   ORDER BY dead_id LIMIT $1::int8) o) AS open,"
         " (SELECT count(*) FROM (SELECT FROM inferq.dead_letter WHERE published_at IS NULL"
         "   ORDER BY dead_id LIMIT $1::int8) u) AS unpublished,"
         " (SELECT count(*) FROM inferq.batch b WHERE b.deadline_at < now()"
         "   AND b.deadline_at > now() - interval '7 days' AND b.total + b.requeued >"
         "   (SELECT coalesce(sum(g.n), 0) FROM inferq.progress g"
         "     WHERE g.batch_id = b.batch_id)) AS late"},
    /* $1 rows */
    [SQL_LETTERS] =
        {"letters",
         "SELECT dead_id, job_id, class, attempts, reason, app, task, custom_id, model_version,"
         " topic, partition, record_offset, record_at, created_at, payload"
         " FROM inferq.dead_letter WHERE published_at IS NULL ORDER BY dead_id LIMIT $1::int8"},
    /* $1 ids */
    [SQL_PUBLISHED] = {"published",
                       "UPDATE inferq.dead_letter d SET published_at = now()"
                       " FROM unnest($1::int8[]) AS u (dead_id) WHERE d.dead_id = u.dead_id"},
    {0},
};
