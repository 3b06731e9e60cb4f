/*
 * top_ask.c - the questions of `inferq top`.
 *
 * None reads a whole big table: `call` and `result` are read from where their BRIN indexes on time
 * say that the last seconds lie (calls in flight may be as old as the longest timeout), `parked` by
 * a loose walk over its keys with a bounded count of each, `batch` from its newest end, `worker` by
 * the partial index of those alive. Failure: a connection that breaks is replaced at the next look.
 */

#include "admin/cmd.h"
#include "admin/fleet.h"
#include "admin/top.h"
#include "common/clock.h"
#include "common/codes.h"

/* $1 window in seconds. One row per worker, per endpoint and class, as the grouping says. */
static const char calls_sql[] =
    "SELECT c.worker_id, c.endpoint_id, c.class, count(*) FILTER (WHERE c.done_at IS NULL), "
    "count(*) FILTER (WHERE c.done_at > now() - $1 * interval '1 second'), "
    "(sum(c.cost_nusd) FILTER (WHERE c.done_at > now() - $1 * interval '1 second'))::int8, "
    "count(*) FILTER (WHERE c.done_at > now() - $1 * interval '1 second' AND c.cost_nusd IS NULL), "
    "grouping(c.worker_id) "
    "FROM call c WHERE c.claimed_at > " CALLS_LIVE_SINCE " "
    "GROUP BY GROUPING SETS ((c.worker_id), (c.endpoint_id, c.class))";

static const char lanes_sql[] =
    "SELECT code, name FROM lane WHERE removed_at IS NULL ORDER BY code LIMIT $1";

/* $1 window */
static const char results_sql[] =
    "SELECT r.priority, r.batch_id, count(*), grouping(r.priority) FROM result r "
    "WHERE r.finished_at > now() - $1 * interval '1 second' "
    "GROUP BY GROUPING SETS ((r.priority), (r.batch_id))";

/* $1 the most that is counted of one key and priority */
static const char parked_sql[] =
    "WITH RECURSIVE k AS ("
    " (SELECT wait_key, priority FROM parked WHERE taken_by IS NULL "
    "   ORDER BY wait_key, priority, next_at LIMIT 1) "
    " UNION ALL SELECT n.wait_key, n.priority FROM k, LATERAL ("
    "   SELECT p.wait_key, p.priority FROM parked p WHERE p.taken_by IS NULL "
    "   AND (p.wait_key, p.priority) > (k.wait_key, k.priority) "
    "   ORDER BY p.wait_key, p.priority, p.next_at LIMIT 1) n) "
    "SELECT k.wait_key, k.priority, (SELECT count(*) FROM ("
    "   SELECT FROM parked p WHERE p.taken_by IS NULL AND p.wait_key = k.wait_key "
    "   AND p.priority = k.priority LIMIT $1) w), (SELECT count(*) FROM ("
    "   SELECT FROM parked p WHERE p.taken_by IS NULL AND p.wait_key = k.wait_key "
    "   AND p.priority = k.priority AND p.next_at <= now() LIMIT $1) d), "
    "k.wait_key < 0 OR EXISTS (SELECT FROM endpoint e JOIN endpoint_pause q "
    "   ON q.name = e.name AND q.version IN (0, e.version) WHERE e.endpoint_id = k.wait_key) "
    "FROM k";

static const char endpoints_sql[] =
    "SELECT e.endpoint_id, e.name || CASE WHEN e.version > 1 THEN '@' || e.version ELSE '' END, "
    "e.max_in_flight, (SELECT q.actor FROM endpoint_pause q "
    " WHERE q.name = e.name AND q.version IN (0, e.version) ORDER BY q.version LIMIT 1), "
    "coalesce(l.probing, false), "
    "greatest(0, (extract(epoch FROM l.paused_until - now()) * 1000)::int8), l.paused_for "
    "FROM endpoint e LEFT JOIN limit_learned l ON l.endpoint = e.name || '@' || e.version "
    "ORDER BY e.name, e.version DESC LIMIT $1";

static const char workers_sql[] =
    "SELECT w.worker_id, w.host, w.build, " WORKER_STATE ", w.pid, "
    "(extract(epoch FROM w.lease_until - now()) * 1000)::int8 "
    "FROM worker w WHERE NOT w.fenced ORDER BY w.worker_id DESC LIMIT $1";

/* $1 so many: of the newest ones those with something left. */
static const char batches_sql[] =
    "SELECT p.batch_id, p.app || '/' || p.name, p.accepted, "
    "p.succeeded + p.dead + p.cancelled + p.expired, p.dead, p.pending, now() "
    "FROM (SELECT b.batch_id FROM batch b ORDER BY b.batch_id DESC LIMIT 200) n "
    "JOIN batch_progress p USING (batch_id) WHERE p.pending IS NULL OR p.pending > 0 "
    "ORDER BY p.batch_id DESC LIMIT $1";

/* What the rows of one look refer to. */
struct look {
    struct ctx *ctx;
    struct top_facts *facts;
    int64_t endpoint_ids[TOP_ENDPOINTS];
    struct jobid batch_ids[TOP_BATCHES];
    struct err *err;
};

typedef void (*take_rows)(struct look *look, const struct pg_rows *rows);

static enum rc ask(struct look *look, const char *sql, int64_t number, take_rows take)
{
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, look->err);
    if (rc == RC_OK) {
        pg_add_int(p, PG_INT8, number);
        rc = ctx_exec(look->ctx, sql, p, &rows, look->err);
    }
    if (rc == RC_OK)
        take(look, rows);
    pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}

static struct top_lane *lane_of(struct look *look, int64_t code)
{
    for (int i = 0; i < look->facts->lane_count; i++)
        if (look->facts->lanes[i].code == code)
            return &look->facts->lanes[i];
    return NULL;
}

static struct top_endpoint *endpoint_of(struct look *look, int64_t id)
{
    for (int i = 0; i < look->facts->endpoint_count; i++)
        if (look->endpoint_ids[i] == id)
            return &look->facts->endpoints[i];
    return NULL;
}

static struct top_worker *worker_of(struct look *look, int64_t id)
{
    for (int i = 0; i < look->facts->worker_count; i++)
        if (look->facts->workers[i].id == id)
            return &look->facts->workers[i];
    return NULL;
}

static void take_endpoints(struct look *look, const struct pg_rows *rows)
{
    for (int i = 0; i < pg_row_count(rows) && i < TOP_ENDPOINTS; i++) {
        struct top_endpoint *e = &look->facts->endpoints[look->facts->endpoint_count];
        look->endpoint_ids[look->facts->endpoint_count++] = pg_get_int(rows, i, 0);
        span_copy(pg_get_span(rows, i, 1), e->name, sizeof e->name);
        e->max_in_flight = (int)pg_get_int(rows, i, 2);
        if (!pg_null(rows, i, 3))
            span_copy(pg_get_span(rows, i, 3), e->paused_by, sizeof e->paused_by);
        e->probed = pg_get_bool(rows, i, 4);
        e->closed_ms = pg_null(rows, i, 5) ? 0 : pg_get_int(rows, i, 5);
        e->closed_for = pg_null(rows, i, 6) ? CLASS_NONE : (int)pg_get_int(rows, i, 6);
    }
}

static void take_workers(struct look *look, const struct pg_rows *rows)
{
    for (int i = 0; i < pg_row_count(rows) && i < TOP_WORKERS; i++) {
        struct top_worker *w = &look->facts->workers[look->facts->worker_count++];
        w->id = pg_get_int(rows, i, 0);
        span_copy(pg_get_span(rows, i, 1), w->host, sizeof w->host);
        span_copy(pg_get_span(rows, i, 2), w->build, sizeof w->build);
        span_copy(pg_get_span(rows, i, 3), w->state, sizeof w->state);
        w->pid = (int)pg_get_int(rows, i, 4);
        w->lease_left_ms = pg_get_int(rows, i, 5);
    }
}

static void take_batches(struct look *look, const struct pg_rows *rows)
{
    for (int i = 0; i < pg_row_count(rows) && i < TOP_BATCHES; i++) {
        struct top_batch *b = &look->facts->batches[look->facts->batch_count];
        look->batch_ids[look->facts->batch_count++] = pg_get_uuid(rows, i, 0);
        span_copy(pg_get_span(rows, i, 1), b->name, sizeof b->name);
        b->accepted = pg_null(rows, i, 2) ? -1 : pg_get_int(rows, i, 2);
        b->ended = pg_get_int(rows, i, 3);
        b->dead = pg_get_int(rows, i, 4);
        b->pending = pg_null(rows, i, 5) ? -1 : pg_get_int(rows, i, 5);
    }
}

static void count_class(struct top_facts *f, int class, int64_t calls)
{
    int i = 0;
    while (i < f->class_count && f->classes[i].class != class)
        i++;
    if (i == TOP_CLASSES || calls == 0)
        return;
    if (i == f->class_count)
        f->classes[f->class_count++] = (struct top_class){.class = class};
    f->classes[i].calls += calls;
}

static void take_calls(struct look *look, const struct pg_rows *rows)
{
    struct top_facts *f = look->facts;
    for (int i = 0; i < pg_row_count(rows); i++) {
        int64_t open = pg_get_int(rows, i, 3), calls = pg_get_int(rows, i, 4);
        if (pg_get_int(rows, i, 7) == 0) {
            struct top_worker *w = worker_of(look, pg_get_int(rows, i, 0));
            if (w) {
                w->in_flight = open;
                w->calls = calls;
                f->in_flight += open; /* what the dead left open is in flight nowhere */
            }
            continue;
        }
        int class = pg_null(rows, i, 2) ? CLASS_NONE : (int)pg_get_int(rows, i, 2);
        struct top_endpoint *e = endpoint_of(look, pg_get_int(rows, i, 1));
        if (e) {
            e->in_flight += open;
            e->calls += calls;
            e->failed += class == CLASS_OK ? 0 : calls;
        }
        f->calls += calls;
        f->cost_nusd += pg_null(rows, i, 5) ? 0 : pg_get_int(rows, i, 5);
        f->unpriced += pg_get_int(rows, i, 6);
        count_class(f, class, calls);
    }
}

static void take_lanes(struct look *look, const struct pg_rows *rows)
{
    look->facts->lane_count = pg_row_count(rows);
    for (int i = 0; i < pg_row_count(rows); i++) {
        struct top_lane *lane = &look->facts->lanes[i];
        lane->code = (int)pg_get_int(rows, i, 0);
        span_copy(pg_get_span(rows, i, 1), lane->name, sizeof lane->name);
    }
}

static void take_results(struct look *look, const struct pg_rows *rows)
{
    for (int i = 0; i < pg_row_count(rows); i++) {
        int64_t n = pg_get_int(rows, i, 2);
        if (pg_get_int(rows, i, 3) == 0) {
            struct top_lane *lane = lane_of(look, pg_get_int(rows, i, 0));
            look->facts->ended += n;
            if (lane)
                lane->ended += n;
            continue;
        }
        struct jobid id = pg_get_uuid(rows, i, 1);
        for (int b = 0; b < look->facts->batch_count; b++)
            if (jobid_eq(&look->batch_ids[b], &id))
                look->facts->batches[b].recent = n;
    }
}

static void take_parked(struct look *look, const struct pg_rows *rows)
{
    for (int i = 0; i < pg_row_count(rows); i++) {
        struct top_lane *lane = lane_of(look, pg_get_int(rows, i, 1));
        int64_t waiting = pg_get_int(rows, i, 2);
        struct top_endpoint *e = endpoint_of(look, pg_get_int(rows, i, 0));
        if (e)
            e->waiting += waiting;
        if (!lane)
            continue;
        lane->waiting += waiting;
        if (!pg_get_bool(rows, i, 4)) /* a limit, an operator's pause: due, but they cannot run */
            lane->due += pg_get_int(rows, i, 3);
    }
}

enum rc top_look(struct ctx *ctx, struct top_facts *ret, struct err *err)
{
    static const struct {
        const char *sql;
        int64_t number;
        take_rows take;
    } questions[] = {
        {lanes_sql, TOP_LANES, take_lanes},       {endpoints_sql, TOP_ENDPOINTS, take_endpoints},
        {workers_sql, TOP_WORKERS, take_workers}, {batches_sql, TOP_BATCHES, take_batches},
        {calls_sql, TOP_WINDOW_S, take_calls},    {results_sql, TOP_WINDOW_S, take_results},
        {parked_sql, TOP_COUNT_MAX, take_parked},
    };
    struct top_facts facts = {.at_ms = clock_wall_ms()};
    struct look look = {.ctx = ctx, .facts = &facts, .err = err};
    int64_t begun_us = clock_mono_us();
    enum rc rc = RC_OK;
    for (size_t i = 0; i < sizeof questions / sizeof *questions && rc == RC_OK; i++)
        rc = ask(&look, questions[i].sql, questions[i].number, questions[i].take);
    if (rc == RC_OK)
        rc = held_ask(ctx, NULL, &facts.limits, err);
    if (rc == RC_RETRY) {
        pgc_close(ctx->conn);
        ctx->conn = NULL;
    }
    if (rc != RC_OK)
        return rc;
    facts.took_us = clock_mono_us() - begun_us;
    *ret = facts;
    return RC_OK;
}
