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
const char *const store_settings_keep[] = {PLANNER,
                                           "SET synchronous_commit = off",
                                           "LISTEN inferq_cancel",
                                           "LISTEN inferq_endpoint",
                                           "LISTEN inferq_limit",
                                           "LISTEN inferq_learned",
                                           NULL};

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
         "   AND NOT w.fenced) AS lease, coalesce(k.unknown, false) AS unknown,"
         " coalesce(k.larger, 0) AS larger"
         " FROM unnest($1::uuid[]) AS u (job_id)"
         " LEFT JOIN inferq.result r ON r.job_id = u.job_id"
         " LEFT JOIN inferq.parked p ON p.job_id = u.job_id"
         " LEFT JOIN LATERAL (SELECT max(c.number) AS last,"
         "   max(c.number) FILTER (WHERE c.done_at IS NULL AND c.worker_id = $2) AS mine,"
         "   bool_or(c.done_at IS NULL AND c.worker_id <> $2 AND NOT w.fenced) AS live,"
         "   bool_or(c.class = ANY ($4::int2[]) OR (c.done_at IS NULL AND w.fenced)) AS unknown,"
         "   count(*) FILTER (WHERE c.class IS NULL OR NOT c.class = ANY ($3::int2[])) AS attempts,"
         /* versions whose context it was too long for */
         "   count(DISTINCT c.model_version_id) FILTER (WHERE c.class = 34) AS larger,"
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
    /* $1 worker; arrays $2 job .. $25 limit_waits. A row that somebody else holds is left as it is.
     */
    [SQL_PARK] =
        {"park",
         "INSERT INTO inferq.parked AS q (job_id, batch_id, next_at, deadline_at, taken_by, "
         "wait_key,"
         " priority, number, attempts, reasks, spent_nusd, waited_us, limit_us, limit_id, "
         "model_us, reason, topic,"
         " partition, record_offset, record_at, payload, headers, app, limit_waits)"
         " SELECT u.job_id, u.batch_id, now() + u.wait_us * interval '1 microsecond', "
         "u.deadline_at,"
         " CASE WHEN u.runs THEN $1::int8 END, u.wait_key, u.priority, u.number, u.attempts, "
         "u.reasks,"
         " u.spent_nusd, u.waited_us, u.limit_us, u.limit_id, u.model_us, u.reason, u.topic, "
         "u.partition, u.record_offset,"
         " u.record_at, u.payload, u.headers, u.app, u.limit_waits"
         " FROM unnest($2::uuid[], $3::uuid[], $4::int8[], $5::timestamptz[], $6::bool[],"
         " $7::int4[], $8::int2[], $9::int2[], $10::int2[], $11::int2[], $12::int8[], $13::int8[],"
         " $14::int8[], $15::int4[], $16::int8[], $17::int2[], $18::text[], $19::int4[], "
         "$20::int8[], $21::timestamptz[],"
         " $22::bytea[], $23::bytea[], $24::text[], $25::text[])"
         " AS u (job_id, batch_id, wait_us, deadline_at, runs, wait_key, priority, number, "
         "attempts,"
         " reasks, spent_nusd, waited_us, limit_us, limit_id, model_us, reason, topic, partition, "
         "record_offset,"
         " record_at, payload, headers, app, limit_waits)"
         " WHERE NOT EXISTS (SELECT FROM inferq.result r WHERE r.job_id = u.job_id)"
         " ORDER BY u.job_id ON CONFLICT (job_id) DO UPDATE SET next_at = excluded.next_at,"
         " parked_at = now(),"
         " taken_by = excluded.taken_by, wait_key = excluded.wait_key, number = excluded.number,"
         " attempts = excluded.attempts, reasks = excluded.reasks, spent_nusd = "
         "excluded.spent_nusd,"
         " waited_us = excluded.waited_us, limit_us = excluded.limit_us,"
         " limit_id = excluded.limit_id, limit_waits = excluded.limit_waits,"
         " model_us = excluded.model_us, reason = excluded.reason"
         " WHERE q.taken_by = $1"},
    /* $1 worker, $2 key, $3 priority; arrays $4 app, each once, $5 rows. The oldest of each app's
     * rows are picked in an ARRAY, which is made once: joined, they were picked again for each row
     * of the table (a plan made while it held one row), and more were taken than asked for. That
     * nobody has taken them is said in the words of the index `parked_apps`, for no other leads to
     * an app's rows. Of a job that was called the ledger says for how many versions' contexts it
     * was too long. */
    [SQL_PULL] =
        {"pull",
         "WITH d AS (UPDATE inferq.parked p SET taken_by = $1"
         " WHERE p.job_id = ANY (ARRAY(SELECT q.job_id"
         "   FROM unnest($4::text[], $5::int8[]) AS u (app, rows), LATERAL ("
         "     SELECT r.job_id FROM inferq.parked r WHERE coalesce(r.taken_by, 0) = 0"
         "     AND r.wait_key = $2 AND r.priority = $3 AND r.app = u.app AND r.next_at <= now()"
         "     ORDER BY r.wait_key, r.priority, r.app, r.next_at LIMIT greatest(u.rows, 0)"
         "     FOR UPDATE SKIP LOCKED) q"
         "   WHERE EXISTS (SELECT FROM inferq.worker w WHERE w.worker_id = $1 AND NOT w.fenced"
         "     AND w.lease_until > now())))"
         " RETURNING p.*)"
         " SELECT job_id, number, attempts, reasks, spent_nusd,"
         " waited_us + (extract(epoch FROM now() - parked_at) * 1000000)::int8 AS waited_us,"
         /* a key below 0 is a limit's, which it was parked for */
         " CASE WHEN wait_key < 0 THEN limit_us"
         "   + (extract(epoch FROM now() - parked_at) * 1000000)::int8 ELSE limit_us END AS "
         "limit_us,"
         " CASE WHEN wait_key < 0 THEN -wait_key ELSE limit_id END AS limit_id,"
         " model_us, topic, partition, record_offset, record_at, payload, headers, priority,"
         " CASE WHEN number > 1 THEN (SELECT count(DISTINCT c.model_version_id)"
         "   FROM inferq.call c"
         "   WHERE c.job_id = d.job_id AND c.class = 34) ELSE 0 END AS larger, limit_waits"
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
    /* arrays $1 route, $2 nano-USD, $3 what the route may pay in a day: as much of it as is left.
     * Returns a row for each route of which anything was. */
    [SQL_PAY] =
        {"pay",
         "WITH w AS (SELECT u.route, sum(u.want)::int8 AS want, max(u.amount) AS amount"
         "   FROM unnest($1::text[], $2::int8[], $3::int8[]) AS u (route, want, amount)"
         "   WHERE u.route IS NOT NULL AND u.want > 0 AND u.amount > 0 GROUP BY u.route)"
         " INSERT INTO inferq.retry_cost AS c (route, day, used_nusd, taken_nusd, amount_nusd)"
         " SELECT w.route, floor(extract(epoch FROM now()) / 86400)::int4,"
         " least(w.want, w.amount), least(w.want, w.amount), w.amount"
         " FROM w ORDER BY w.route COLLATE \"C\""
         " ON CONFLICT (route, day) DO UPDATE SET amount_nusd = excluded.amount_nusd,"
         " used_nusd = c.used_nusd + least(excluded.taken_nusd, excluded.amount_nusd -"
         "   c.used_nusd),"
         " taken_nusd = least(excluded.taken_nusd, excluded.amount_nusd - c.used_nusd)"
         " WHERE c.used_nusd < excluded.amount_nusd RETURNING route, taken_nusd"},
    {0},
};

/* Results: arrays $1 .. $34; `cost` is what the column says. */
#define STORE_HEAD(cost)                                                                           \
    "WITH done AS (INSERT INTO inferq.result (job_id, batch_id, created_at, cost_nusd,"            \
    " queue_us, throttle_us, limit_us, limit_id, model_us, store_us, input_tokens, "               \
    "cached_tokens, output_tokens,"                                                                \
    " reasoning_tokens, model_version_id, generation, status, class, call_number, http_status,"    \
    " validation, priority, app, task, team, custom_id, url, finish_reason, model_reported,"       \
    " prompt_version, context_version, trace_id, body, limit_waits)"                               \
    " SELECT u.job_id, u.batch_id, u.created_at, " cost ","                                        \
    " u.queue_us, u.throttle_us, u.limit_us, u.limit_id, u.model_us, u.store_us, u.input_tokens, " \
    "u.cached_tokens,"                                                                             \
    " u.output_tokens, u.reasoning_tokens, u.model_version_id, u.generation, u.status,"            \
    " u.class, u.call_number, u.http_status, u.validation, u.priority, u.app, u.task,"             \
    " u.team, u.custom_id, u.url, u.finish_reason, u.model_reported, u.prompt_version,"            \
    " u.context_version, u.trace_id, u.body, u.limit_waits"                                        \
    " FROM (SELECT unnest($1::uuid[]) AS job_id, unnest($2::uuid[]) AS batch_id,"                  \
    " unnest($3::timestamptz[]) AS created_at, unnest($4::int8[]) AS cost_nusd,"                   \
    " unnest($5::int8[]) AS queue_us, unnest($6::int8[]) AS throttle_us,"                          \
    " unnest($7::int8[]) AS limit_us, unnest($8::int4[]) AS limit_id,"                             \
    " unnest($9::int8[]) AS model_us, unnest($10::int8[]) AS store_us,"                            \
    " unnest($11::int4[]) AS input_tokens, unnest($12::int4[]) AS cached_tokens,"                  \
    " unnest($13::int4[]) AS output_tokens, unnest($14::int4[]) AS reasoning_tokens,"              \
    " unnest($15::int4[]) AS model_version_id, unnest($16::int4[]) AS generation,"                 \
    " unnest($17::int2[]) AS status, unnest($18::int2[]) AS class,"                                \
    " unnest($19::int2[]) AS call_number, unnest($20::int2[]) AS http_status,"                     \
    " unnest($21::int2[]) AS validation, unnest($22::int2[]) AS priority,"                         \
    " unnest($23::text[]) AS app, unnest($24::text[]) AS task,"                                    \
    " unnest($25::text[]) AS team, unnest($26::text[]) AS custom_id,"                              \
    " unnest($27::text[]) AS url, unnest($28::text[]) AS finish_reason,"                           \
    " unnest($29::text[]) AS model_reported, unnest($30::text[]) AS prompt_version,"               \
    " unnest($31::text[]) AS context_version, unnest($32::text[]) AS trace_id,"                    \
    " unnest($33::bytea[]) AS body, unnest($34::text[]) AS limit_waits) AS u"                      \
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

/* Dead letters of those that die: arrays $35 .. $52. */
#define STORE_LETTERS                                                                             \
    " dl AS (INSERT INTO inferq.dead_letter (job_id, source, batch_id, generation, class,"        \
    " attempts, app, task, team, custom_id, model_version, reason, topic, partition,"             \
    " record_offset, record_at, payload, headers, state)" /* Who is given up needs no review: its \
                                                             letter is discarded from the start.  \
                                                           */                                     \
    " SELECT d.*, CASE WHEN d.class = 25 THEN 6 ELSE 1 END"                                       \
    " FROM (SELECT unnest($35::uuid[]) AS job_id, unnest($36::bytea[]) AS source,"                \
    " unnest($37::uuid[]) AS batch_id, unnest($38::int4[]) AS generation,"                        \
    " unnest($39::int2[]) AS class, unnest($40::int2[]) AS attempts,"                             \
    " unnest($41::text[]) AS app, unnest($42::text[]) AS task, unnest($43::text[]) AS team,"      \
    " unnest($44::text[]) AS custom_id, unnest($45::text[]) AS model_version,"                    \
    " unnest($46::text[]) AS reason, unnest($47::text[]) AS topic,"                               \
    " unnest($48::int4[]) AS partition, unnest($49::int8[]) AS record_offset,"                    \
    " unnest($50::timestamptz[]) AS record_at, unnest($51::bytea[]) AS payload,"                  \
    " unnest($52::bytea[]) AS headers) AS d"                                                      \
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

/* Of one step: not below an eighteenth of the multiplier, nor, within a minute of the last one
 * (what was sent in a minute does not yet speak of that), seven ninths. */
#define CEILING                                                                                  \
    "greatest(1, least(l.multiplier, coalesce(nullif(u.used, 0), l.multiplier * 7 / 9)),"        \
    " l.multiplier * CASE WHEN l.lowered_at > now() - interval '1 minute' THEN 14 ELSE 1 END / " \
    "18)"

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
    /* A loose walk over the keys and apps that are there, and how many rows of each are due: up to
     * $1 of a key and priority, an equal part of that for each app, and 1 at least. The index is
     * the pull's. */
    [SQL_DUE] =
        {"due",
         "WITH RECURSIVE k AS ("
         " (SELECT wait_key, priority, app FROM inferq.parked WHERE coalesce(taken_by, 0) = 0"
         "   ORDER BY wait_key, priority, app, next_at LIMIT 1)"
         " UNION ALL SELECT n.wait_key, n.priority, n.app FROM k, LATERAL ("
         "   SELECT p.wait_key, p.priority, p.app FROM inferq.parked p"
         "   WHERE coalesce(p.taken_by, 0) = 0"
         "   AND (p.wait_key, p.priority, p.app) > (k.wait_key, k.priority, k.app)"
         "   ORDER BY p.wait_key, p.priority, p.app, p.next_at LIMIT 1) n)"
         " SELECT g.wait_key, g.priority, (SELECT count(*) FROM ("
         "   SELECT FROM inferq.parked p WHERE coalesce(p.taken_by, 0) = 0"
         "   AND p.wait_key = g.wait_key AND p.priority = g.priority AND p.app = g.app"
         "   AND p.next_at <= now()"
         "   ORDER BY p.wait_key, p.priority, p.app, p.next_at LIMIT g.most) d) AS due, g.app"
         " FROM (SELECT k.wait_key, k.priority, k.app, greatest($1::int8"
         "     / count(*) OVER (PARTITION BY k.wait_key, k.priority), 1) AS most FROM k) g"
         " ORDER BY g.wait_key, g.priority, g.app"},
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
    /* This connection does not wait for the disk; the transaction that begins with this does. */
    [SQL_DURABLE] = {"durable", "SELECT set_config('synchronous_commit', 'on', true)"},
    /* The limits in force; multiplier and headroom in permille, for limits of units a minute. */
    [SQL_LIMITS] =
        {"limits",
         "SELECT r.limit_id, r.scope, r.key, r.dimension,"
         " coalesce(r.of_operator, r.of_catalogue) AS amount,"
         " coalesce((SELECT l.multiplier FROM inferq.limit_learned l"
         "   WHERE r.scope = 1 AND l.endpoint = r.key), 1000::int2) AS multiplier,"
         " coalesce((SELECT s.value FROM inferq.setting s"
         "   WHERE s.name = 'limit_headroom_permille'), 0) AS headroom"
         " FROM inferq.limit_rule r WHERE coalesce(r.of_operator, r.of_catalogue) IS NOT NULL"
         " ORDER BY r.limit_id"},
    /* $1 worker, $2 its count of these; arrays $3 limit, $4 wants by group, $5 want in all,
     * $6 need, $7 in use, $8 the share that it goes by now.
     *
     * Until its next ask the worker goes by what it went by, should this answer be late or lost, or
     * by what is returned here: so `seen` is the larger of the two, and falls by what the worker
     * says alone, never to a share that it may not have heard of. It rises to none but `share`. An
     * ask that comes after a later one (its connection was given up, and the server had it still)
     * changes nothing and returns nothing. */
    [SQL_EXCHANGE] =
        {"exchange",
         "INSERT INTO inferq.limit_share AS s (limit_id, worker_id, asks, wants, want, need,"
         " in_use, seen) SELECT r.limit_id, $1, $2, u.wants, u.want, u.need, u.in_use, u.share"
         " FROM unnest($3::int4[], $4::bytea[], $5::int8[], $6::int8[], $7::int8[], $8::int8[])"
         " AS u (limit_id, wants, want, need, in_use, share)"
         " JOIN inferq.limit_rule r ON r.limit_id = u.limit_id"
         " WHERE EXISTS (SELECT FROM inferq.worker w WHERE w.worker_id = $1 AND NOT w.fenced)"
         " ORDER BY r.limit_id"
         " ON CONFLICT (limit_id, worker_id) DO UPDATE SET asks = excluded.asks,"
         " wants = excluded.wants, want = excluded.want, need = excluded.need,"
         " in_use = excluded.in_use, seen = greatest(s.share, least(s.seen, excluded.seen))"
         " WHERE s.asks < excluded.asks RETURNING limit_id, share"},
    /* $1 worker, $2 limits whose rows stay. It comes when its calls have ended: nothing of its
     * shares is in use, but of these others may not go on from at once (admission_unpaid). */
    [SQL_LEAVE] = {"leave", "DELETE FROM inferq.limit_share WHERE worker_id = $1"
                            " AND NOT limit_id = ANY ($2::int4[])"},
    [SQL_SHARES] = {"shares",
                    "SELECT limit_id, worker_id, asks, wants, want, need, in_use, share, seen"
                    " FROM inferq.limit_share ORDER BY limit_id, worker_id"},
    /* arrays $1 limit, $2 worker, $3 share. Since the keeper read, others have lowered `seen` or
     * come with nothing: what was free is free. */
    [SQL_SHARE] = {"share", "UPDATE inferq.limit_share s SET share = u.share"
                            " FROM unnest($1::int4[], $2::int8[], $3::int8[])"
                            " AS u (limit_id, worker_id, share)"
                            " WHERE s.limit_id = u.limit_id AND s.worker_id = u.worker_id"},
    /* arrays $1 limit, $2 worker, $3 its asks when it was last seen. One that asked meanwhile lives
     * and keeps its row: so what a dead one held is free when its row is seen to be gone, and not
     * in the transaction of this statement. */
    [SQL_SHARE_DEAD] =
        {"share_dead",
         "DELETE FROM inferq.limit_share s USING unnest($1::int4[], $2::int8[], $3::int8[])"
         " AS u (limit_id, worker_id, asks)"
         " WHERE s.limit_id = u.limit_id AND s.worker_id = u.worker_id AND s.asks = u.asks"},
    /* $1 worker; arrays $2 limit, $3 units: as much of each as there is left, for the day that it
     * is. A row is what was taken, the day, and how long it lasts; none: nothing is left. Sent
     * once: after a lost answer the chunk is lost as well, and never handed out twice. */
    [SQL_DAY_TAKE] =
        {"day_take",
         "INSERT INTO inferq.limit_day AS d (limit_id, day, used, taken, amount)"
         " SELECT r.limit_id, floor(extract(epoch FROM now()) / 86400)::int4,"
         " least(u.units, r.amount), least(u.units, r.amount), r.amount"
         " FROM unnest($2::int4[], $3::int8[]) AS u (limit_id, units)"
         " JOIN (SELECT limit_id, coalesce(of_operator, of_catalogue) AS amount"
         "   FROM inferq.limit_rule WHERE dimension = 5) r ON r.limit_id = u.limit_id"
         " WHERE u.units > 0 AND r.amount > 0"
         " AND EXISTS (SELECT FROM inferq.worker w WHERE w.worker_id = $1 AND NOT w.fenced)"
         " ORDER BY r.limit_id"
         " ON CONFLICT (limit_id, day) DO UPDATE SET amount = excluded.amount,"
         " used = d.used + least(excluded.taken, excluded.amount - d.used),"
         " taken = least(excluded.taken, excluded.amount - d.used)"
         " WHERE d.used < excluded.amount RETURNING limit_id, day, taken,"
         " ((day + 1) * 86400000::int8 - (extract(epoch FROM now()) * 1000)::int8) AS left_ms"},
    /* arrays $1 limit, $2 day, $3 units. Sent once, as a take: never again after a lost answer. */
    [SQL_DAY_GIVE] = {"day_give",
                      "UPDATE inferq.limit_day d SET used = greatest(0, d.used - u.units)"
                      " FROM unnest($1::int4[], $2::int4[], $3::int8[])"
                      " AS u (limit_id, day, units)"
                      " WHERE d.limit_id = u.limit_id AND d.day = u.day AND u.units > 0"},
    /* $1 worker */
    [SQL_LEARNED] =
        {"learned",
         "SELECT endpoint, coalesce(greatest(0,"
         "   (extract(epoch FROM paused_until - now()) * 1000000)::int8), 0) AS left_us,"
         " paused_for, probing, faults, coalesce(probe_worker = $1::int8, false) AS probe_mine,"
         " coalesce(greatest(0,"
         "   (extract(epoch FROM probe_until - now()) * 1000000)::int8), 0) AS probe_left_us,"
         " concurrency FROM inferq.limit_learned ORDER BY endpoint COLLATE \"C\""},
    /* Arrays $1 endpoint, $2 how long yet, $3 for what, $4 faults, $5 is it to be probed then? By
     * this clock; the longest counts. */
    [SQL_LEARNED_PAUSE] =
        {"learned_pause",
         "INSERT INTO inferq.limit_learned AS l (endpoint, paused_until, paused_for, faults,"
         " probing) SELECT u.endpoint, now() + u.left_us * interval '1 microsecond', u.class,"
         " u.faults, u.probing"
         " FROM unnest($1::text[], $2::int8[], $3::int2[], $4::int2[], $5::bool[])"
         " AS u (endpoint, left_us, class, faults, probing)"
         " WHERE u.left_us BETWEEN 0 AND 86400000000 ORDER BY u.endpoint"
         " ON CONFLICT (endpoint) DO UPDATE SET changed_at = now(),"
         " paused_until = greatest(l.paused_until, excluded.paused_until),"
         " paused_for = CASE WHEN l.paused_until >= excluded.paused_until THEN l.paused_for"
         "   ELSE excluded.paused_for END,"
         " faults = greatest(l.faults, excluded.faults), probing = l.probing OR excluded.probing"
         " RETURNING pg_notify('inferq_learned', '')::text AS told"},
    /* $1 worker, $2 endpoints. What has paused it since goes on, and so does another's probe. */
    [SQL_LEARNED_OPEN] =
        {"learned_open",
         "UPDATE inferq.limit_learned l SET paused_until = NULL, paused_for = NULL, faults = 0,"
         " probing = false, changed_at = now(),"
         " probe_worker = nullif(l.probe_worker, $1::int8),"
         " probe_until = CASE WHEN l.probe_worker <> $1::int8 THEN l.probe_until END"
         " FROM unnest($2::text[]) AS u (endpoint) WHERE l.endpoint = u.endpoint AND l.probing"
         " AND coalesce(l.paused_until <= now(), true)"
         " RETURNING pg_notify('inferq_learned', '')::text AS told"},
    /* $1 worker, $2 for how long; arrays $3 endpoint, $4 does it know that what the pause rested on
     * has changed? One at a time has it; who has it keeps it while it asks. */
    [SQL_LEARNED_PROBE] =
        {"learned_probe",
         "UPDATE inferq.limit_learned l SET probe_worker = $1::int8,"
         " probe_until = now() + $2::int8 * interval '1 microsecond',"
         " paused_until = CASE WHEN u.renewed THEN least(l.paused_until, now())"
         "   ELSE l.paused_until END"
         " FROM unnest($3::text[], $4::bool[]) AS u (endpoint, renewed)"
         " WHERE l.endpoint = u.endpoint AND l.probing AND (l.probe_worker = $1::int8"
         "   OR ((u.renewed OR coalesce(l.paused_until <= now(), true))"
         "     AND coalesce(l.probe_until <= now(), true)))"
         " AND EXISTS (SELECT FROM inferq.worker w WHERE w.worker_id = $1::int8 AND NOT w.fenced)"},
    /* $1 worker, $2 endpoints; none: all of its own */
    [SQL_LEARNED_LEAVE] =
        {"learned_leave",
         "UPDATE inferq.limit_learned l SET probe_worker = NULL, probe_until = NULL"
         " WHERE l.probe_worker = $1::int8"
         " AND (cardinality($2::text[]) = 0 OR l.endpoint = ANY ($2::text[]))"
         " RETURNING pg_notify('inferq_learned', '')::text AS told"},
    /* arrays $1 endpoint, $2 calls at once; 0: all that are configured */
    [SQL_LEARNED_BEARS] =
        {"learned_bears",
         "INSERT INTO inferq.limit_learned AS l (endpoint, concurrency)"
         " SELECT u.endpoint, nullif(u.calls, 0) FROM unnest($1::text[], $2::int4[])"
         " AS u (endpoint, calls) WHERE u.calls >= 0 ORDER BY u.endpoint"
         " ON CONFLICT (endpoint) DO UPDATE SET concurrency = excluded.concurrency"},
    /* $1 how long a step is to show its effect; arrays $2 endpoint, $3 how long ago the call began.
     * Calls from before the last step say nothing of it. The ceiling is what was really sent of
     * late, of the limit that is used most; a step down ends a tenth below it (learned.h: why). */
    [SQL_LEARNED_LOWER] =
        {"learned_lower",
         "UPDATE inferq.limit_learned l SET throttled_at = now(),"
         " ceiling = CASE WHEN coalesce(l.lowered_at < u.since, true)"
         "   THEN " CEILING " ELSE l.ceiling END,"
         " multiplier = CASE WHEN coalesce(l.lowered_at < u.since, true)"
         "   THEN greatest(1, " CEILING " * 9 / 10) ELSE l.multiplier END,"
         " lowered_at = CASE WHEN coalesce(l.lowered_at < u.since, true)"
         "   THEN now() ELSE l.lowered_at END"
         " FROM (SELECT v.endpoint, now() - least(greatest(v.before_us, $1::int8, 0), 3600000000)"
         "   * interval '1 microsecond' AS since,"
         "   (SELECT least(1000, coalesce(max(div(s.sent * 1000,"
         "       coalesce(r.of_operator, r.of_catalogue))), 0))::int8"
         "     FROM inferq.limit_rule r CROSS JOIN LATERAL (SELECT sum(t.in_use) AS sent"
         "       FROM inferq.limit_share t WHERE t.limit_id = r.limit_id) s"
         "     WHERE r.scope = 1 AND r.key = v.endpoint AND r.dimension <= 4) AS used"
         "   FROM unnest($2::text[], $3::int8[]) AS v (endpoint, before_us)) u"
         " WHERE l.endpoint = u.endpoint AND EXISTS (SELECT FROM inferq.limit_rule r"
         "   WHERE r.scope = 1 AND r.key = l.endpoint AND r.dimension <= 4"
         "   AND coalesce(r.of_operator, r.of_catalogue) IS NOT NULL)"
         " RETURNING CASE WHEN l.lowered_at = now()"
         "   THEN pg_notify('inferq_limit', '')::text END AS told"},
    /* $1 how long nothing was throttled. Half of the way to the ceiling; past it as far again as
     * it is past, or, while it is closed and nobody knows more, slowly (a job that needs more might
     * be its probe), and with the ceiling. */
    [SQL_LEARNED_RAISE] =
        {"learned_raise",
         "UPDATE inferq.limit_learned l SET ceiling = CASE WHEN l.multiplier >= l.ceiling"
         "   AND (l.probing OR l.paused_until > now())"
         "   THEN least(1000, l.multiplier + greatest(1, l.multiplier / 100)) ELSE l.ceiling END,"
         " multiplier = least(1000, l.multiplier"
         "   + greatest(1, l.multiplier / 100, CASE WHEN l.multiplier < l.ceiling"
         "     THEN (l.ceiling - l.multiplier) / 2 WHEN l.probing OR l.paused_until > now() THEN 0"
         "     ELSE l.multiplier - l.ceiling END)) WHERE l.multiplier < 1000"
         " AND coalesce(l.throttled_at, l.changed_at) <= now()"
         "   - least(greatest($1::int8, 0), 3600000000) * interval '1 microsecond'"},
    {0},
};
