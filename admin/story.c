/*
 * story.c - reads a job's rows.
 *
 * Every statement finds its rows by an index: the primary keys of result, call and parked, the
 * letter by its job, its reviews by the letter.
 */
#include "admin/story.h"

#include "admin/table.h"
#include "admin/why.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/job_msg.h"

/* "requests_per_minute of app sales"; NULL: no such limit. */
#define LIMIT_NAME(id)                                                          \
    "(SELECT code_name('limit_dimension', l.dimension) || ' of ' || code_name(" \
    "'limit_scope', l.scope) || ' ' || l.key FROM limit_rule l WHERE l.limit_id = " id ")"

static const char result_sql[] =
    "SELECT r.status, r.class, r.finished_at, r.cost_nusd, r.queue_us, r.throttle_us, r.model_us, "
    "r.store_us, r.call_number, r.http_status, r.validation, r.finish_reason, mv.label, "
    "r.model_reported, r.prompt_version, r.context_version, r.trace_id, r.custom_id, r.generation, "
    "r.batch_id, r.input_tokens, r.cached_tokens, r.output_tokens, r.reasoning_tokens, r.task, "
    "r.team, r.url, r.limit_us, " LIMIT_NAME(
        "r.limit_id") " "
                      "FROM result r LEFT JOIN model_version mv USING (model_version_id) WHERE "
                      "r.job_id = $1";

static const char calls_sql[] =
    "SELECT c.number, c.kind, c.worker_id, w.host, w.pid, w.build, w.lease_until, w.fenced, "
    "mv.label, e.name, e.version, e.base_url, c.claimed_at, c.done_at, c.class, c.http_status, "
    "c.curl_code, c.input_tokens, c.cached_tokens, c.output_tokens, c.reasoning_tokens, "
    "c.cost_nusd, c.estimated_nusd, c.upper_nusd, c.certainty, c.error, c.provider_request_id, "
    "c.model_reported, c.model_us, c.batch_id, p.valid_from, p.input_pusd, p.output_pusd, "
    "p.request_pusd "
    "FROM call c LEFT JOIN worker w USING (worker_id) "
    "LEFT JOIN model_version mv ON mv.model_version_id = c.model_version_id "
    "LEFT JOIN endpoint e ON e.endpoint_id = c.endpoint_id "
    "LEFT JOIN price p ON p.price_id = c.price_id WHERE c.job_id = $1 ORDER BY c.number";

/* Since it was parked; 0: a worker has it. */
#define PARKED_US                                                                 \
    "CASE WHEN coalesce(p.taken_by, 0) = 0 THEN greatest(0, (extract(epoch FROM " \
    "clock_timestamp() - p.parked_at) * 1000000)::int8) ELSE 0 END"

static const char parked_sql[] = "SELECT p.next_at, p.parked_at, p.taken_by, w.lease_until, "
                                 "p.wait_key, e.name, p.number, "
                                 "p.attempts, p.reason, p.waited_us, p.model_us, p.batch_id, "
                                 "p.topic, p.partition, "
                                 "p.record_offset, p.payload, p.deadline_at, h.actor, "
                                 "h.reason, " LIMIT_NAME("-p.wait_key") ", p.limit_us, " LIMIT_NAME(
                                     "p.limit_id") ", " PARKED_US ", p.next_at <= now() "
                                                   "FROM parked p LEFT JOIN worker w ON "
                                                   "w.worker_id = p.taken_by "
                                                   "LEFT JOIN endpoint e ON e.endpoint_id = "
                                                   "p.wait_key "
                                                   "LEFT JOIN LATERAL (SELECT q.actor, q.reason "
                                                   "FROM endpoint_pause q WHERE q.name = e.name "
                                                   "  AND q.version IN (0, e.version) ORDER BY "
                                                   "q.version LIMIT 1) h ON true WHERE p.job_id = "
                                                   "$1";

/* Of its row in `result`, or in `parked` and since then: what its list names, and the rest, which
 * is that of others; without a list, all is that of limit_id; and the limit (above 0) or endpoint
 * that it waits for now. */
static const char waits_sql[] =
    "WITH j AS (SELECT limit_waits, limit_us, limit_id, 0 AS key, 0::int8 AS us FROM result "
    " WHERE job_id = $1 UNION ALL SELECT limit_waits, limit_us, limit_id, -wait_key, " PARKED_US
    " FROM parked p WHERE job_id = $1 "
    " AND NOT EXISTS (SELECT FROM result r WHERE r.job_id = p.job_id)), "
    "l AS (SELECT t.key::int AS key, t.value::int8 AS us FROM j, "
    " json_each_text(coalesce(limit_waits, '{}')::json) t), "
    "w AS (SELECT key, us FROM l "
    " UNION ALL SELECT CASE WHEN limit_waits IS NULL THEN coalesce(limit_id, 0) ELSE 0 END, "
    "limit_us - "
    "  (SELECT coalesce(sum(us), 0) FROM l)::int8 FROM j "
    " UNION ALL SELECT key, us FROM j WHERE key <> 0) "
    "SELECT coalesce(" LIMIT_NAME(
        "w.key") ", (SELECT 'endpoint ' || e.name FROM endpoint e "
                 " WHERE e.endpoint_id = -w.key)), sum(w.us)::int8 FROM w WHERE w.us > 0 "
                 "GROUP BY w.key ORDER BY 2 DESC, 1";

static const char letters_sql[] =
    "SELECT dead_id, created_at, class, state, reason, topic, partition, record_offset, batch_id, "
    "custom_id, generation FROM dead_letter WHERE job_id = $1 ORDER BY dead_id";

static const char events_sql[] =
    "SELECT v.at, v.actor, v.action, v.new_job_id, v.dead_id FROM review_event v "
    "WHERE v.dead_id IN (SELECT d.dead_id FROM dead_letter d WHERE d.job_id = $1) "
    "ORDER BY v.event_id";

static const char batch_sql[] =
    "SELECT app, name, task, team, created_ms, registered_at, sealed_at, deadline_at, "
    "cancel_requested_at FROM batch WHERE batch_id = $1";

static enum rc select_id(struct ctx *ctx, const char *sql, const struct jobid *id,
                         struct pg_rows **ret, struct err *err)
{
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_uuid(p, id);
    rc = ctx_exec(ctx, sql, p, ret, err);
    pg_params_free(p);
    return rc;
}

static enum rc select_all(struct ctx *ctx, struct story *s, struct err *err)
{
    const struct {
        const char *sql;
        struct pg_rows **rows;
    } parts[] = {{result_sql, &s->result}, {calls_sql, &s->calls},     {parked_sql, &s->parked},
                 {waits_sql, &s->waits},   {letters_sql, &s->letters}, {events_sql, &s->events}};
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < sizeof parts / sizeof *parts; i++)
        rc = select_id(ctx, parts[i].sql, &s->job, parts[i].rows, err);
    return rc;
}

/* The first row set that has a row names the batch. */
static void find_batch(struct story *s)
{
    const struct {
        const struct pg_rows *rows;
        int col;
    } places[] = {{s->result, SR_BATCH_ID},
                  {s->letters, SL_BATCH_ID},
                  {s->parked, SP_BATCH_ID},
                  {s->calls, SC_BATCH_ID}};
    for (size_t i = 0; i < sizeof places / sizeof *places && !s->has_batch; i++)
        if (pg_row_count(places[i].rows) && !pg_null(places[i].rows, 0, places[i].col)) {
            s->batch_id = pg_get_uuid(places[i].rows, 0, places[i].col);
            s->has_batch = true;
        }
}

static void find_names(struct story *s)
{
    struct err scratch;
    struct job_msg msg;
    int class;
    if (pg_row_count(s->result)) {
        s->custom_id = pg_get_span(s->result, 0, SR_CUSTOM_ID);
        s->generation = pg_get_int(s->result, 0, SR_GENERATION);
    } else if (pg_row_count(s->letters)) {
        s->custom_id = pg_get_span(s->letters, 0, SL_CUSTOM_ID);
        s->generation = pg_get_int(s->letters, 0, SL_GENERATION);
    } else if (pg_row_count(s->parked)) {
        struct span payload = pg_get_span(s->parked, 0, SP_PAYLOAD);
        if (job_msg_decode(payload.p, payload.n, &msg, &class, &scratch) == RC_OK) {
            s->custom_id = msg.custom_id;
            s->generation = msg.generation;
        }
    }
}

static void find_previous(struct story *s)
{
    if (s->generation < 1 || !s->custom_id.p || !s->batch || !pg_row_count(s->batch))
        return;
    s->previous =
        jobid_make(jobid_ms(&s->job), pg_get_span(s->batch, 0, SB_APP),
                   pg_get_span(s->batch, 0, SB_NAME), s->custom_id, (uint32_t)s->generation - 1);
    s->has_previous = true;
}

static bool has_open_call(const struct story *s)
{
    for (int i = 0; i < pg_row_count(s->calls); i++)
        if (pg_null(s->calls, i, SC_DONE))
            return true;
    return false;
}

static enum story_state find_state(const struct story *s)
{
    if (pg_row_count(s->result))
        return STORY_ENDED;
    if (has_open_call(s))
        return STORY_CALLED;
    if (pg_row_count(s->parked))
        return pg_null(s->parked, 0, SP_TAKEN_BY) ? STORY_PARKED : STORY_TAKEN;
    return pg_row_count(s->calls) ? STORY_BETWEEN : STORY_UNKNOWN;
}

enum rc story_read(struct ctx *ctx, const struct jobid *job, const struct jobid *batch_id,
                   struct span custom_id, struct story *ret, struct err *err)
{
    *ret = (struct story){.job = *job, .custom_id = custom_id, .generation = -1};
    enum rc rc = select_all(ctx, ret, err);
    if (rc != RC_OK)
        return rc;
    ret->state = find_state(ret);
    find_batch(ret);
    if (!ret->has_batch && batch_id) {
        ret->batch_id = *batch_id;
        ret->has_batch = true;
    }
    find_names(ret);
    if (ret->has_batch)
        rc = select_id(ctx, batch_sql, &ret->batch_id, &ret->batch, err);
    if (rc == RC_OK)
        find_previous(ret);
    return rc;
}

void story_done(struct story *s)
{
    pg_rows_free(s->result);
    pg_rows_free(s->calls);
    pg_rows_free(s->parked);
    pg_rows_free(s->waits);
    pg_rows_free(s->letters);
    pg_rows_free(s->events);
    pg_rows_free(s->batch);
    *s = (struct story){0};
}

/* ---- one sentence ------------------------------------------------------------------------- */

static void ended(const struct story *s, struct buf *out)
{
    struct why why = {
        .status = (int)pg_get_int(s->result, 0, SR_STATUS),
        .class_code = (int)pg_get_int(s->result, 0, SR_CLASS),
        .validation = (int)pg_get_int(s->result, 0, SR_VALIDATION),
        .call_number = (int)pg_get_int(s->result, 0, SR_CALL),
        .call_count = pg_row_count(s->calls),
    };
    if (pg_row_count(s->letters))
        why.reason = pg_get_span(s->letters, 0, SL_REASON);
    why_sentence(&why, out);
}

static void add_time(struct buf *out, int64_t unix_ms)
{
    char at[CLOCK_RFC3339_BYTES];
    clock_rfc3339(unix_ms, at, sizeof at);
    buf_add_text(out, at);
}

static void held(const struct pg_rows *p, struct buf *out)
{
    struct span endpoint = pg_get_span(p, 0, SP_ENDPOINT), why = pg_get_span(p, 0, SP_PAUSED_WHY);
    buf_addf(out, "It is parked: endpoint %.*s was paused by ", (int)endpoint.n, endpoint.p);
    table_clean(pg_get_span(p, 0, SP_PAUSED_BY), 0, out);
    if (why.n) {
        buf_add_text(out, " (");
        table_clean(why, 0, out);
        buf_add_byte(out, ')');
    }
    buf_addf(out, ", until `inferq endpoint resume %.*s`", (int)endpoint.n, endpoint.p);
}

/* What it waits for now. */
static void parked(const struct story *s, struct buf *out)
{
    const struct pg_rows *p = s->parked;
    struct span endpoint = pg_get_span(p, 0, SP_ENDPOINT), limit = pg_get_span(p, 0, SP_LIMIT);
    int reason = (int)pg_get_int(p, 0, SP_REASON);
    if (!pg_null(p, 0, SP_PAUSED_BY)) {
        held(p, out);
        buf_addf(out, ". Its next call is number %d.", (int)pg_get_int(p, 0, SP_NUMBER));
        return;
    }
    buf_add_text(out, "It is parked");
    if (!pg_get_bool(p, 0, SP_DUE)) {
        buf_add_text(out, " until ");
        add_time(out, pg_get_time_ms(p, 0, SP_NEXT));
        buf_add_text(out, endpoint.p || limit.p ? ", then" : "");
    }
    if (endpoint.p)
        buf_addf(out, " until endpoint %.*s has room", (int)endpoint.n, endpoint.p);
    if (limit.p) {
        buf_add_text(out, " until the limit ");
        table_clean(limit, 0, out);
        buf_add_text(out, " has room (inferq limit show)");
    }
    if (!endpoint.p && !limit.p && pg_get_bool(p, 0, SP_DUE))
        buf_add_text(out, ", and due: a worker with room takes it");
    if (reason)
        buf_addf(out, "; it waits because %s", why_class(reason));
    buf_addf(out, ". Its next call is number %d.", (int)pg_get_int(p, 0, SP_NUMBER));
}

static void called(const struct story *s, struct buf *out)
{
    for (int i = 0; i < pg_row_count(s->calls); i++) {
        if (!pg_null(s->calls, i, SC_DONE))
            continue;
        buf_addf(out, "Call %d is open, or its outcome not stored yet; its worker %lld ",
                 (int)pg_get_int(s->calls, i, SC_NUMBER),
                 (long long)pg_get_int(s->calls, i, SC_WORKER));
        if (pg_null(s->calls, i, SC_LEASE)) {
            buf_add_text(out, "is not known any more.");
            return;
        }
        buf_add_text(out, pg_get_bool(s->calls, i, SC_FENCED) ? "was fenced; its lease ended "
                                                              : "has a lease until ");
        add_time(out, pg_get_time_ms(s->calls, i, SC_LEASE));
        buf_add_byte(out, '.');
        return;
    }
}

void story_sentence(const struct story *s, struct buf *out)
{
    switch (s->state) {
    case STORY_ENDED:
        ended(s, out);
        return;
    case STORY_CALLED:
        called(s, out);
        return;
    case STORY_TAKEN:
        buf_addf(out, "Worker %lld has it, taken from the parked jobs.",
                 (long long)pg_get_int(s->parked, 0, SP_TAKEN_BY));
        return;
    case STORY_PARKED:
        parked(s, out);
        return;
    case STORY_BETWEEN:
        buf_add_text(out, "It waits in its worker between two calls, or for its record to be "
                          "delivered again.");
        return;
    case STORY_UNKNOWN:
    default:
        buf_add_text(out,
                     "No worker has written anything about it: it waits in the queue, or it was "
                     "never submitted.");
        return;
    }
}
