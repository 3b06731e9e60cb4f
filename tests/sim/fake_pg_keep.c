/*
 * fake_pg_keep.c - the fake Postgres's statements of housekeeping: workers, batches, progress,
 * partitions, and who is the keeper; see fake_pg_job.c for how statements are written here.
 */
#include "tests/sim/fake_pg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/fake_pg_impl.h"

#define DAY_MS INT64_C(86400000)

/* ---- workers ------------------------------------------------------------------------------- */

static const struct fake_field worker_fields[] = {
    {"worker_id", PG_INT8}, {"int8", PG_INT8}, {"drain", PG_BOOL}};

static void worker_row(struct fake_txn *t, const struct fake_worker_row *w, struct pg_rows *rows)
{
    fake_rows_int(rows, 0, 0, w->worker_id);
    fake_rows_int(rows, 0, 1, (t->now_us + 500) / 1000); /* numeric to int8 rounds */
    fake_rows_int(rows, 0, 2, w->drain_requested_at != FAKE_NULL);
}

FAKE_RUN(register)
{
    struct fake_worker_row row = {
        .worker_id = ++t->db->last_worker_id, /* drawn, whatever comes of the row */
        .host = fake_arg_span(s, 1, 0),
        .pid = fake_arg_int(s, 2, 0),
        .build = fake_arg_span(s, 3, 0),
        .started_at = t->now_us,
        .stopped_at = FAKE_NULL,
        .drain_requested_at = FAKE_NULL,
    };
    enum rc rc = fake_later(t, fake_arg_int(s, 4, 0), 1000000, &row.lease_until);
    if (rc == RC_OK)
        rc = fake_check_row(t, FAKE_WORKER, &row);
    if (rc != RC_OK)
        return rc;
    fake_insert(t->db, FAKE_WORKER, &row);
    *ret = fake_rows_new(worker_fields, 3);
    worker_row(t, &row, *ret);
    return RC_OK;
}

FAKE_RUN(heartbeat)
{
    *ret = fake_rows_new(worker_fields, 3);
    const struct fake_worker_row *w = fake_pg_worker(t->db, fake_arg_int(s, 1, 0));
    if (!w || w->fenced)
        return RC_OK;
    int64_t lease_until = 0;
    enum rc rc = fake_later(t, fake_arg_int(s, 2, 0), 1000000, &lease_until);
    if (rc != RC_OK)
        return rc;
    struct fake_worker_row *row = fake_change(t->db, FAKE_WORKER, w);
    row->lease_until = lease_until;
    worker_row(t, row, *ret);
    return fake_check_row(t, FAKE_WORKER, row);
}

FAKE_RUN(stop)
{
    (void)ret;
    const struct fake_worker_row *w = fake_pg_worker(t->db, fake_arg_int(s, 1, 0));
    if (!w)
        return RC_OK;
    struct fake_worker_row *row = fake_change(t->db, FAKE_WORKER, w);
    row->stopped_at = t->now_us;
    row->fenced = true;
    return RC_OK;
}

FAKE_RUN(fence_dead)
{
    enum rc rc = RC_OK;
    (void)ret;
    for (int i = 0; i < fake_pg_count(t->db, FAKE_WORKER) && rc == RC_OK; i++) {
        const struct fake_worker_row *w = fake_pg_worker_at(t->db, i);
        bool over = false;
        if (!w->fenced)
            rc = fake_lease_over(t, w, fake_arg_int(s, 1, 0), &over);
        if (!over)
            continue;
        struct fake_worker_row *row = fake_change(t->db, FAKE_WORKER, w);
        row->fenced = true;
    }
    return rc;
}

FAKE_RUN(elect)
{
    static const struct fake_field field = {"pg_try_advisory_lock", PG_BOOL};
    struct fake_pg *db = t->db;
    (void)s;
    if (!db->keeper_held) { /* of the session: it outlives the transaction, whatever comes of it */
        db->keeper_held = true;
        db->keeper_session = t->session;
    }
    *ret = fake_rows_new(&field, 1);
    fake_rows_int(*ret, 0, 0, db->keeper_session == t->session);
    return RC_OK;
}

/* ---- batches ------------------------------------------------------------------------------- */

FAKE_RUN(cancelled)
{
    static const struct fake_field fields[] = {{"id", PG_UUID}, {"looked_at", PG_TIMESTAMPTZ}};
    int64_t from_us = fake_arg_int(s, 1, 0);
    int row = 1;
    if (from_us == FAKE_NULL)
        from_us = t->now_us - 90 * DAY_MS * 1000;
    *ret = fake_rows_new(fields, 2);
    fake_rows_int(*ret, 0, 0, FAKE_NULL);
    fake_rows_int(*ret, 0, 1, t->now_us);
    for (int i = 0; i < fake_pg_count(t->db, FAKE_BATCH); i++) {
        const struct fake_batch_row *b = fake_pg_batch_at(t->db, i);
        if (b->cancel_requested_at == FAKE_NULL || b->cancel_requested_at <= from_us)
            continue;
        fake_rows_id(*ret, row, 0, &b->batch_id);
        fake_rows_int(*ret, row++, 1, FAKE_NULL);
    }
    return RC_OK;
}

/* ---- endpoints ----------------------------------------------------------------------------- */

FAKE_RUN(held)
{
    static const struct fake_field field = {"endpoint_id", PG_INT4};
    int row = 0;
    (void)s;
    *ret = fake_rows_new(&field, 1);
    for (int id = 0; id < FAKE_ENDPOINTS; id++)
        if (t->db->held[id])
            fake_rows_int(*ret, row++, 0, id);
    return RC_OK;
}

/* Nobody here leaves out records; that workers wait to be told so is what is played. */
FAKE_RUN(skips)
{
    static const struct fake_field fields[] = {{"topic", PG_TEXT},
                                               {"partition", PG_INT4},
                                               {"record_offset", PG_INT8},
                                               {"reason", PG_TEXT}};
    (void)t, (void)s;
    *ret = fake_rows_new(fields, sizeof fields / sizeof fields[0]);
    return RC_OK;
}

static bool has_batch(const struct fake_pg *db, const struct fake_batch_row *row)
{
    if (fake_pg_batch(db, &row->batch_id))
        return true;
    for (int i = 0; i < fake_pg_count(db, FAKE_BATCH); i++) {
        const struct fake_batch_row *b = fake_pg_batch_at(db, i);
        if (span_eq(b->app, row->app) && span_eq(b->name, row->name))
            return true;
    }
    return false;
}

static int64_t ended_jobs(const struct fake_pg *db, const struct jobid *batch_id)
{
    int64_t n = 0;
    for (int i = 0; i < fake_pg_count(db, FAKE_PROGRESS); i++) {
        const struct fake_progress_row *g = fake_pg_progress_at(db, i);
        n += jobid_eq(&g->batch_id, batch_id) ? g->n : 0;
    }
    return n;
}

FAKE_RUN(others_wait)
{
    static const struct fake_field field = {"exists", PG_BOOL};
    int64_t priority = fake_arg_int(s, 1, 0), after = fake_arg_int(s, 3, 0);
    bool wait = false, none = priority == FAKE_NULL || fake_arg_null(s, 2, 0);
    for (int i = 0; !none && i < fake_pg_count(t->db, FAKE_BATCH); i++) {
        const struct fake_batch_row *b = fake_pg_batch_at(t->db, i);
        if (b->priority != priority || span_eq(b->app, fake_arg_span(s, 2, 0)))
            continue;
        if (b->sealed_at == FAKE_NULL)
            wait |= b->registered_at > t->now_us - (int64_t)3600 * 1000 * 1000;
        else
            wait |= after != FAKE_NULL && b->sealed_at > after &&
                    b->total + b->requeued > ended_jobs(t->db, &b->batch_id);
    }
    *ret = fake_rows_new(&field, 1);
    fake_rows_int(*ret, 0, 0, wait);
    return RC_OK;
}

FAKE_RUN(batch_seen)
{
#define B(field) offsetof(struct fake_batch_row, field)
    enum { COLUMNS = 7 };
    static const size_t at[COLUMNS] = {B(batch_id), B(app),      B(name),      B(task),
                                       B(team),     B(priority), B(created_ms)};
    (void)ret;
    for (int u = 0; u < fake_unnest(s, 1, COLUMNS); u++) {
        struct fake_batch_row *row = fake_blank(t->db, FAKE_BATCH);
        fake_arg_fill(s, 1, at, COLUMNS, u, row);
        row->requeued = 0;
        row->registered_at = t->now_us;
        enum rc rc = fake_check_row(t, FAKE_BATCH, row);
        if (rc != RC_OK)
            return rc;
        if (!has_batch(t->db, row))
            fake_insert(t->db, FAKE_BATCH, row);
    }
    return RC_OK;
}

/* ---- progress ------------------------------------------------------------------------------ */

enum { ROLL_UP_BATCHES = 20 };

/* Rows of a batch lie together, those of one group too, and among them by age. */
static int cmp_progress(const void *a, const void *b)
{
    const struct fake_progress_row *x = *(const struct fake_progress_row *const *)a;
    const struct fake_progress_row *y = *(const struct fake_progress_row *const *)b;
    int order = jobid_cmp(&x->batch_id, &y->batch_id);
    if (order != 0)
        return order;
    const int64_t keys[][2] = {{x->status, y->status},
                               {x->model_version_id, y->model_version_id},
                               {x->cost_nusd == FAKE_NULL, y->cost_nusd == FAKE_NULL}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (keys[i][0] != keys[i][1])
            return keys[i][0] < keys[i][1] ? -1 : 1;
    return 0;
}

/* Is `b` of the same group as `a`, which cmp_progress puts side by side? */
static bool same_group(const struct fake_progress_row *a, const struct fake_progress_row *b)
{
    return cmp_progress(&a, &b) == 0;
}

/* One batch's rows, sorted, become one row per group. */
static enum rc roll_up(struct fake_txn *t, const struct fake_progress_row **rows, int n)
{
    for (int i = 0; i < n; i++)
        fake_delete(t->db, FAKE_PROGRESS, rows[i]);
    for (int first = 0, end = 0; first < n; first = end) {
        struct fake_progress_row sum = *rows[first];
        fake_wide count = 0, cost = 0;
        for (end = first; end < n && same_group(rows[first], rows[end]); end++) {
            count += rows[end]->n;
            cost += rows[end]->cost_nusd;
            sum.at = rows[end]->at > sum.at ? rows[end]->at : sum.at;
        }
        enum rc rc = fake_int8(t, count, &sum.n);
        if (rc == RC_OK && sum.cost_nusd != FAKE_NULL)
            rc = fake_int8(t, cost, &sum.cost_nusd);
        if (rc != RC_OK)
            return rc;
        fake_insert(t->db, FAKE_PROGRESS, &sum);
    }
    return RC_OK;
}

FAKE_RUN(roll_up)
{
    int n = fake_pg_count(t->db, FAKE_PROGRESS), batches = 0;
    int64_t most = fake_arg_int(s, 1, 0);
    const struct fake_progress_row **rows =
        fake_take(&t->db->scratch, (size_t)n * sizeof(struct fake_progress_row *));
    (void)ret;
    for (int i = 0; i < n; i++)
        rows[i] = fake_pg_progress_at(t->db, i);
    if (n > 1)
        qsort(rows, (size_t)n, sizeof *rows, cmp_progress);
    for (int first = 0, end = 0; first < n && most != FAKE_NULL; first = end) {
        while (end < n && jobid_eq(&rows[end]->batch_id, &rows[first]->batch_id))
            end++;
        if (end - first <= most || ++batches > ROLL_UP_BATCHES)
            continue;
        enum rc rc = roll_up(t, rows + first, end - first);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

/* ---- partitions ---------------------------------------------------------------------------- */

enum { PARTITION_DAYS = 7, PARTITIONS_AHEAD = 2, PARTITIONS_BEHIND = 1 };

static void add_span(struct fake_txn *t, int64_t lower_ms, int64_t upper_ms)
{
    char tag[9];
    struct tm day;
    time_t at_s = (time_t)(lower_ms / 1000);
    gmtime_r(&at_s, &day);
    (void)strftime(tag, sizeof tag, "%Y%m%d", &day);
    struct fake_span_row row = {lower_ms, upper_ms, span_of(tag)};
    fake_insert(t->db, FAKE_SPAN, &row);
}

FAKE_RUN(partitions)
{
    static const struct fake_field field = {"ensure_partitions", PG_INT4};
    const int64_t width_ms = PARTITION_DAYS * DAY_MS;
    int64_t now_ms = (t->now_us + 500) / 1000, next_ms = 0, made = 0;
    (void)s;
    for (int i = 0; i < fake_pg_count(t->db, FAKE_SPAN); i++) {
        int64_t upper_ms = fake_pg_span_at(t->db, i)->upper_ms;
        next_ms = upper_ms > next_ms ? upper_ms : next_ms;
    }
    int64_t first_ms = (now_ms / width_ms - PARTITIONS_BEHIND) * width_ms;
    next_ms = first_ms > next_ms ? first_ms : next_ms;
    for (; next_ms <= now_ms + PARTITIONS_AHEAD * width_ms; made++) {
        add_span(t, next_ms, next_ms + width_ms);
        next_ms += width_ms;
    }
    *ret = fake_rows_new(&field, 1);
    fake_rows_int(*ret, 0, 0, made);
    return RC_OK;
}

FAKE_RUN(oldest_live)
{
    static const struct fake_field field = {"oldest_live_ms", PG_INT8};
    int64_t oldest_ms = 0;
    (void)s;
    for (int i = 0; i < fake_pg_count(t->db, FAKE_SPAN); i++) {
        int64_t lower_ms = fake_pg_span_at(t->db, i)->lower_ms;
        oldest_ms = i == 0 || lower_ms < oldest_ms ? lower_ms : oldest_ms;
    }
    *ret = fake_rows_new(&field, 1);
    fake_rows_int(*ret, 0, 0, oldest_ms);
    return RC_OK;
}
