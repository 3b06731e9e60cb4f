/*
 * fake_pg_job.c - the fake Postgres's statements about calls and results. Each function does what
 * the statement of its name in worker/store_sql.c does: first all conditions, on the rows as they
 * stood (a statement does not see its own writes), then the writes, in the statement's order.
 */
#include "tests/sim/fake_pg.h"

#include <string.h>

#include "common/codes.h"
#include "tests/sim/fake_pg_impl.h"

/* ---- what the conditions ask --------------------------------------------------------------- */

static bool is_fenced(const struct fake_pg *db, int64_t worker_id)
{
    const struct fake_worker_row *w = fake_pg_worker(db, worker_id);
    return w && w->fenced;
}

static bool has_open_call(const struct fake_pg *db, const struct jobid *job_id)
{
    for (const struct fake_call_row *c = fake_pg_calls(db, job_id); c; c = c->next)
        if (c->done_at == FAKE_NULL)
            return true;
    return false;
}

static struct fake_pick *new_picks(struct fake_pg *db, int n)
{
    return fake_take(&db->scratch, (size_t)n * sizeof(struct fake_pick));
}

static struct fake_pick pick(const struct fake_stmt *s, int param, int u)
{
    return (struct fake_pick){fake_arg_id(s, param, u), fake_arg_null(s, param, u), u};
}

/* ---- claim, take --------------------------------------------------------------------------- */

enum { CLAIM_JOB = 2, CLAIM_LAST = 11, CLAIM_COLUMNS = 9 };

static const struct fake_field claim_fields[] = {{"job_id", PG_UUID}, {"number", PG_INT2}};

#define C(field) offsetof(struct fake_call_row, field)
static const size_t claim_at[CLAIM_COLUMNS] = {C(job_id),   C(number),           C(kind),
                                               C(batch_id), C(model_version_id), C(endpoint_id),
                                               C(price_id), C(estimated_nusd),   C(upper_nusd)};

static bool may_claim(const struct fake_pg *db, const struct fake_stmt *s,
                      const struct fake_pick *p, bool take)
{
    if (p->null)
        return true; /* joins nothing; the insert refuses it */
    if (fake_pg_result(db, &p->id) || (take && has_open_call(db, &p->id)))
        return false;
    return fake_arg_int(s, CLAIM_LAST, p->u) == 1 || !fake_pg_parked(db, &p->id);
}

/* One row; *ret_done: it was inserted. */
static enum rc claim_row(struct fake_txn *t, const struct fake_stmt *s, int u, bool *ret_done)
{
    struct fake_call_row *row = fake_blank(t->db, FAKE_CALL);
    fake_arg_fill(s, CLAIM_JOB, claim_at, CLAIM_COLUMNS, u, row);
    row->worker_id = fake_arg_int(s, 1, 0);
    row->claimed_at = t->now_us;
    enum rc rc = fake_check_span(t, &row->job_id);
    if (rc == RC_OK)
        rc = fake_check_row(t, FAKE_CALL, row);
    if (rc != RC_OK)
        return rc;
    *ret_done = !fake_pg_call(t->db, &row->job_id, row->number);
    if (*ret_done)
        fake_insert(t->db, FAKE_CALL, row);
    return RC_OK;
}

static enum rc claim(struct fake_txn *t, const struct fake_stmt *s, bool take, struct pg_rows **ret)
{
    int n = fake_unnest(s, CLAIM_JOB, CLAIM_LAST), picked = 0, granted = 0;
    struct fake_pick *picks = new_picks(t->db, n);
    for (int u = 0; u < n && fake_lease(t, fake_arg_int(s, 1, 0)); u++) {
        struct fake_pick p = pick(s, CLAIM_JOB, u);
        if (may_claim(t->db, s, &p, take))
            picks[picked++] = p;
    }
    fake_pick_sort(picks, picked);
    *ret = fake_rows_new(claim_fields, 2);
    for (int i = 0; i < picked; i++) {
        bool inserted = false;
        enum rc rc = claim_row(t, s, picks[i].u, &inserted);
        if (rc != RC_OK)
            return rc;
        if (!inserted)
            continue;
        fake_rows_id(*ret, granted, 0, &picks[i].id);
        fake_rows_int(*ret, granted++, 1, fake_arg_int(s, CLAIM_JOB + 1, picks[i].u));
    }
    return RC_OK;
}

FAKE_RUN(claim)
{
    return claim(t, s, false, ret);
}

FAKE_RUN(take)
{
    return claim(t, s, true, ret);
}

/* ---- fence, lose --------------------------------------------------------------------------- */

/* The owner of an open call, if nobody fenced it: only then is its lease looked at. */
static enum rc fence_owner(struct fake_txn *t, const struct fake_call_row *c, int64_t past_s)
{
    const struct fake_worker_row *w = fake_pg_worker(t->db, c->worker_id);
    bool over = false;
    if (c->done_at != FAKE_NULL || !w || w->fenced)
        return RC_OK;
    enum rc rc = fake_lease_over(t, w, past_s, &over);
    if (rc == RC_OK && over) {
        struct fake_worker_row *fenced = fake_change(t->db, FAKE_WORKER, w);
        fenced->fenced = true;
    }
    return rc;
}

FAKE_RUN(fence)
{
    enum rc rc = RC_OK;
    (void)ret;
    for (int u = 0; u < fake_unnest(s, 1, 1); u++) {
        struct jobid id = fake_arg_id(s, 1, u);
        const struct fake_call_row *c = fake_pg_calls(t->db, &id);
        for (; c && rc == RC_OK; c = c->next)
            rc = fence_owner(t, c, fake_arg_int(s, 2, 0));
    }
    return rc;
}

FAKE_RUN(lose)
{
    (void)ret;
    for (int u = 0; u < fake_unnest(s, 1, 1); u++) {
        struct jobid id = fake_arg_id(s, 1, u);
        for (const struct fake_call_row *c = fake_pg_calls(t->db, &id); c; c = c->next) {
            if (c->done_at != FAKE_NULL || !is_fenced(t->db, c->worker_id))
                continue;
            struct fake_call_row *lost = fake_change(t->db, FAKE_CALL, c);
            lost->done_at = t->now_us;
            lost->class = CLASS_LOST;
            lost->cost_nusd = lost->estimated_nusd;
            lost->certainty =
                lost->estimated_nusd == FAKE_NULL ? CERTAINTY_UNKNOWN : CERTAINTY_ESTIMATED;
        }
    }
    return RC_OK;
}

/* ---- facts --------------------------------------------------------------------------------- */

static const struct fake_field facts_fields[] = {
    {"job_id", PG_UUID}, {"done", PG_BOOL},  {"parked", PG_BOOL},  {"parked_mine", PG_BOOL},
    {"last", PG_INT2},   {"mine", PG_INT2},  {"live", PG_BOOL},    {"attempts", PG_INT8},
    {"spent", PG_INT8},  {"lease", PG_BOOL}, {"unknown", PG_BOOL}, {"larger", PG_INT8}};
enum { FACTS_FIELDS = sizeof facts_fields / sizeof facts_fields[0] };

/* class = ANY ($4) is true: what is not known is not */
static bool is_unknown(const struct fake_stmt *s, int64_t class)
{
    for (int i = 0; class != FAKE_NULL && !fake_arg_absent(s, 4) && i < fake_unnest(s, 4, 4); i++)
        if (!fake_arg_null(s, 4, i) && fake_arg_int(s, 4, i) == class)
            return true;
    return false;
}

/* class IS NULL OR NOT class = ANY ($3), by SQL's three values: what is not known is not counted */
static bool counts(const struct fake_stmt *s, int64_t class)
{
    if (class == FAKE_NULL)
        return true;
    if (fake_arg_absent(s, 3))
        return false;
    for (int i = 0; i < fake_unnest(s, 3, 3); i++)
        if (fake_arg_null(s, 3, i) || fake_arg_int(s, 3, i) == class)
            return false;
    return true;
}

static bool was_too_long(const struct fake_call_row *c)
{
    return c->class == CLASS_CONTEXT_TOO_LONG && c->model_version_id != FAKE_NULL;
}

int64_t fake_too_long_for(const struct fake_pg *db, const struct jobid *job_id)
{
    int64_t versions = 0;
    for (const struct fake_call_row *c = fake_pg_calls(db, job_id); c; c = c->next) {
        bool first = was_too_long(c);
        for (const struct fake_call_row *o = fake_pg_calls(db, job_id); o != c; o = o->next)
            first = first && !(was_too_long(o) && o->model_version_id == c->model_version_id);
        versions += first;
    }
    return versions;
}

struct sums {
    int64_t last, mine, live, attempts, larger;
    bool known, any, unknown;
    fake_wide spent;
};

static struct sums sum_calls(struct fake_txn *t, const struct fake_stmt *s, const struct jobid *id)
{
    struct sums k = {.mine = FAKE_NULL, .known = true, .larger = fake_too_long_for(t->db, id)};
    int64_t me = fake_arg_int(s, 2, 0);
    for (const struct fake_call_row *c = fake_pg_calls(t->db, id); c; c = c->next) {
        bool open = c->done_at == FAKE_NULL;
        int64_t cost = open ? c->estimated_nusd : c->cost_nusd;
        k.last = c->number > k.last || !k.any ? c->number : k.last;
        k.any = true;
        if (open && c->worker_id == me && me != FAKE_NULL)
            k.mine = c->number;
        if (open && c->worker_id != me && me != FAKE_NULL && fake_pg_worker(t->db, c->worker_id) &&
            !is_fenced(t->db, c->worker_id))
            k.live = true;
        k.attempts += counts(s, c->class);
        k.unknown =
            k.unknown || is_unknown(s, c->class) || (open && is_fenced(t->db, c->worker_id));
        k.known = k.known && cost != FAKE_NULL;
        k.spent += cost == FAKE_NULL ? 0 : cost;
    }
    return k;
}

static enum rc facts_row(struct fake_txn *t, const struct fake_stmt *s, const struct fake_pick *p,
                         struct pg_rows *rows, int row)
{
    static const struct sums nothing = {.mine = FAKE_NULL};
    const struct fake_parked_row *parked = p->null ? NULL : fake_pg_parked(t->db, &p->id);
    struct sums k = p->null ? nothing : sum_calls(t, s, &p->id);
    int64_t me = fake_arg_int(s, 2, 0), spent = FAKE_NULL;
    if (k.any && k.known) {
        enum rc rc = fake_int8(t, k.spent, &spent);
        if (rc != RC_OK)
            return rc;
    }
    fake_rows_id(rows, row, 0, &p->id);
    fake_rows_int(rows, row, 1, !p->null && fake_pg_result(t->db, &p->id));
    fake_rows_int(rows, row, 2, parked != NULL);
    fake_rows_int(rows, row, 3, parked && me != FAKE_NULL && parked->taken_by == me);
    fake_rows_int(rows, row, 4, k.last);
    fake_rows_int(rows, row, 5, k.mine);
    fake_rows_int(rows, row, 6, k.live);
    fake_rows_int(rows, row, 7, k.attempts);
    fake_rows_int(rows, row, 8, spent);
    fake_rows_int(rows, row, 9, fake_lease(t, me));
    fake_rows_int(rows, row, 10, k.unknown);
    fake_rows_int(rows, row, 11, k.larger);
    return RC_OK;
}

FAKE_RUN(facts)
{
    int n = fake_unnest(s, 1, 1);
    struct fake_pick *picks = new_picks(t->db, n);
    for (int u = 0; u < n; u++)
        picks[u] = pick(s, 1, u);
    fake_pick_sort(picks, n);
    *ret = fake_rows_new(facts_fields, FACTS_FIELDS);
    for (int i = 0; i < n; i++) {
        enum rc rc = facts_row(t, s, &picks[i], *ret, i);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

/* ---- store --------------------------------------------------------------------------------- */

enum {
    STORE_RESULT = 1,
    STORE_RESULT_COLUMNS = 34,
    STORE_RESULT_LAST = STORE_RESULT + STORE_RESULT_COLUMNS - 1,
    STORE_CALL_NUMBER = 19,
    STORE_LETTER = 35,
    STORE_LETTER_COLUMNS = 18,
    STORE_LETTER_LAST = STORE_LETTER + STORE_LETTER_COLUMNS - 1,
};

#define R(field) offsetof(struct fake_result_row, field)
static const size_t result_at[STORE_RESULT_COLUMNS] = {R(job_id),
                                                       R(batch_id),
                                                       R(created_at),
                                                       R(cost_nusd),
                                                       R(queue_us),
                                                       R(throttle_us),
                                                       R(limit_us),
                                                       R(limit_id),
                                                       R(model_us),
                                                       R(store_us),
                                                       R(input_tokens),
                                                       R(cached_tokens),
                                                       R(output_tokens),
                                                       R(reasoning_tokens),
                                                       R(model_version_id),
                                                       R(generation),
                                                       R(status),
                                                       R(class),
                                                       R(call_number),
                                                       R(http_status),
                                                       R(validation),
                                                       R(priority),
                                                       R(app),
                                                       R(task),
                                                       R(team),
                                                       R(custom_id),
                                                       R(url),
                                                       R(finish_reason),
                                                       R(model_reported),
                                                       R(prompt_version),
                                                       R(context_version),
                                                       R(trace_id),
                                                       R(body),
                                                       R(limit_waits)};

#define L(field) offsetof(struct fake_letter_row, field)
static const size_t letter_at[STORE_LETTER_COLUMNS] = {
    L(job_id), L(source),    L(batch_id),      L(generation), L(class),         L(attempts),
    L(app),    L(task),      L(team),          L(custom_id),  L(model_version), L(reason),
    L(topic),  L(partition), L(record_offset), L(record_at),  L(payload),       L(headers)};

/* What `done` returns: results that this very statement inserted. */
struct done {
    const struct fake_result_row **row;
    int n;
};

/* All calls of the job together; NULL where one's cost is. */
static enum rc cost_in_ledger(struct fake_txn *t, const struct jobid *id, int64_t *ret_nusd)
{
    fake_wide sum = 0;
    bool known = true;
    for (const struct fake_call_row *c = fake_pg_calls(t->db, id); c; c = c->next) {
        known = known && c->cost_nusd != FAKE_NULL;
        sum += c->cost_nusd == FAKE_NULL ? 0 : c->cost_nusd;
    }
    if (known)
        return fake_int8(t, sum, ret_nusd);
    *ret_nusd = FAKE_NULL;
    return RC_OK;
}

static enum rc store_results(struct fake_txn *t, const struct fake_stmt *s, bool called,
                             struct done *done)
{
    int n = fake_unnest(s, STORE_RESULT, STORE_RESULT_LAST), picked = 0;
    struct fake_pick *picks = new_picks(t->db, n);
    for (int u = 0; u < n; u++) {
        struct fake_pick p = pick(s, STORE_RESULT, u);
        if (!fake_arg_null(s, STORE_CALL_NUMBER, u) ||
            (!called && (p.null || !has_open_call(t->db, &p.id))))
            picks[picked++] = p;
    }
    fake_pick_sort(picks, picked);
    done->row = fake_take(&t->db->scratch, (size_t)picked * sizeof(struct fake_result_row *));
    for (int i = 0; i < picked; i++) {
        struct fake_result_row *row = fake_blank(t->db, FAKE_RESULT);
        fake_arg_fill(s, STORE_RESULT, result_at, STORE_RESULT_COLUMNS, picks[i].u, row);
        row->finished_at = t->now_us;
        enum rc rc = RC_OK;
        if (row->call_number == FAKE_NULL)
            rc = cost_in_ledger(t, &row->job_id, &row->cost_nusd);
        if (rc == RC_OK)
            rc = fake_check_span(t, &row->job_id);
        if (rc == RC_OK)
            rc = fake_check_row(t, FAKE_RESULT, row);
        if (rc != RC_OK)
            return rc;
        if (!fake_pg_result(t->db, &row->job_id))
            done->row[done->n++] = fake_insert(t->db, FAKE_RESULT, row);
    }
    return RC_OK;
}

static bool is_done(const struct done *done, const struct jobid *job_id)
{
    for (int i = 0; i < done->n; i++)
        if (jobid_eq(&done->row[i]->job_id, job_id))
            return true;
    return false;
}

static enum rc store_letters(struct fake_txn *t, const struct fake_stmt *s, const struct done *done)
{
    for (int u = 0; u < fake_unnest(s, STORE_LETTER, STORE_LETTER_LAST); u++) {
        struct jobid id = fake_arg_id(s, STORE_LETTER, u);
        if (fake_arg_null(s, STORE_LETTER, u) || !is_done(done, &id))
            continue;
        struct fake_letter_row *row = fake_blank(t->db, FAKE_LETTER);
        fake_arg_fill(s, STORE_LETTER, letter_at, STORE_LETTER_COLUMNS, u, row);
        row->state = row->class == CLASS_GIVEN_UP ? DEAD_DISCARDED : DEAD_OPEN;
        enum rc rc = fake_letter_insert(t, row);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

/* The statement's own rows of progress: one per batch, status, version, and whether a cost is
 * known. */
static enum rc store_progress(struct fake_txn *t, const struct done *done)
{
    bool *counted = fake_take(&t->db->scratch, (size_t)done->n * sizeof(bool));
    for (int i = 0; i < done->n; i++) {
        const struct fake_result_row *a = done->row[i];
        fake_wide cost = 0;
        if (counted[i])
            continue;
        struct fake_progress_row row = {a->batch_id, a->status, a->model_version_id,
                                        0,           FAKE_NULL, t->now_us};
        for (int j = i; j < done->n; j++) {
            const struct fake_result_row *b = done->row[j];
            if (!jobid_eq(&a->batch_id, &b->batch_id) || a->status != b->status ||
                a->model_version_id != b->model_version_id ||
                (a->cost_nusd == FAKE_NULL) != (b->cost_nusd == FAKE_NULL))
                continue;
            counted[j] = true;
            row.n++;
            cost += b->cost_nusd;
        }
        enum rc rc = RC_OK;
        if (a->cost_nusd != FAKE_NULL)
            rc = fake_int8(t, cost, &row.cost_nusd);
        if (rc != RC_OK)
            return rc;
        fake_insert(t->db, FAKE_PROGRESS, &row);
    }
    return RC_OK;
}

static enum rc store(struct fake_txn *t, const struct fake_stmt *s, bool called,
                     struct pg_rows **ret)
{
    static const struct fake_field field = {"job_id", PG_UUID};
    struct done done = {0};
    enum rc rc = store_results(t, s, called, &done);
    if (rc == RC_OK)
        rc = store_progress(t, &done);
    if (rc == RC_OK && !called) /* what the statement itself does not read runs after it */
        rc = store_letters(t, s, &done);
    if (rc != RC_OK)
        return rc;
    *ret = fake_rows_new(&field, 1);
    for (int i = 0; i < done.n; i++) {
        const struct jobid *id = &done.row[i]->job_id;
        const struct fake_parked_row *parked = fake_pg_parked(t->db, id);
        if (parked)
            fake_delete(t->db, FAKE_PARKED, parked);
        fake_rows_id(*ret, i, 0, id);
    }
    return RC_OK;
}

FAKE_RUN(store)
{
    return store(t, s, false, ret);
}

FAKE_RUN(store_called)
{
    return store(t, s, true, ret);
}

/* ---- outcome ------------------------------------------------------------------------------- */

enum { OUTCOME_FIRST = 4, OUTCOME_COLUMNS = 13, OUTCOME_LAST = 16 };

static const size_t outcome_at[OUTCOME_COLUMNS] = {
    C(class),        C(certainty),     C(cost_nusd),           C(model_us),
    C(input_tokens), C(cached_tokens), C(output_tokens),       C(reasoning_tokens),
    C(curl_code),    C(http_status),   C(provider_request_id), C(model_reported),
    C(error)};

/* Was the call written by this statement, which began at change `from`? A row is updated once. */
static bool written(const struct fake_pg *db, int from, const struct fake_call_row *call)
{
    for (int i = from; i < db->change_count; i++)
        if (db->changes[i].row == call)
            return true;
    return false;
}

FAKE_RUN(outcome)
{
    (void)ret;
    int from = t->db->change_count;
    for (int u = 0; u < fake_unnest(s, 1, OUTCOME_LAST); u++) {
        struct jobid id = fake_arg_id(s, 1, u);
        const struct fake_call_row *call = fake_pg_call(t->db, &id, fake_arg_int(s, 2, u));
        if (!call || call->worker_id != fake_arg_int(s, 3, u) ||
            (call->done_at != FAKE_NULL && call->class != CLASS_LOST) || written(t->db, from, call))
            continue;
        struct fake_call_row *row = fake_change(t->db, FAKE_CALL, call);
        fake_arg_fill(s, OUTCOME_FIRST, outcome_at, OUTCOME_COLUMNS, u, row);
        row->done_at = t->now_us;
        row->provider_request_id = fake_keep(t->db, row->provider_request_id);
        row->model_reported = fake_keep(t->db, row->model_reported);
        row->error = fake_keep(t->db, row->error);
    }
    return RC_OK;
}
