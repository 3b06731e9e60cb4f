/*
 * fake_pg_park.c - the fake Postgres's statements about parked jobs and dead letters; see
 * fake_pg_job.c for how statements are written here.
 */
#include "tests/sim/fake_pg.h"

#include <stdlib.h>
#include <string.h>

#include "common/codes.h"
#include "tests/sim/fake_pg_impl.h"

FAKE_RUN(drop_done)
{
    (void)ret;
    for (int u = 0; u < fake_unnest(s, 1, 1); u++) {
        struct jobid id = fake_arg_id(s, 1, u);
        const struct fake_parked_row *parked = fake_pg_parked(t->db, &id);
        if (parked && fake_pg_result(t->db, &id))
            fake_delete(t->db, FAKE_PARKED, parked);
    }
    return RC_OK;
}

/* ---- park ---------------------------------------------------------------------------------- */

enum { PARK_JOB = 2, PARK_WAIT = 4, PARK_DEADLINE, PARK_RUNS, PARK_KEY, PARK_LAST = 25 };
enum { PARK_COLUMNS = PARK_LAST - PARK_KEY + 1 };

#define P(field) offsetof(struct fake_parked_row, field)
static const size_t park_at[PARK_COLUMNS] = {
    P(wait_key),   P(priority),  P(number),    P(attempts),      P(reasks),
    P(spent_nusd), P(waited_us), P(limit_us),  P(limit_id),      P(model_us),
    P(reason),     P(topic),     P(partition), P(record_offset), P(record_at),
    P(payload),    P(headers),   P(app),       P(limit_waits)};

static enum rc park_row(struct fake_txn *t, const struct fake_stmt *s, int u,
                        struct fake_parked_row *row)
{
    row->job_id = fake_arg_id(s, PARK_JOB, u);
    row->batch_id = fake_arg_id(s, PARK_JOB + 1, u);
    row->deadline_at = fake_arg_int(s, PARK_DEADLINE, u);
    row->taken_by = fake_arg_int(s, PARK_RUNS, u) == 1 ? fake_arg_int(s, 1, 0) : FAKE_NULL;
    row->parked_at = t->now_us;
    fake_arg_fill(s, PARK_KEY, park_at, PARK_COLUMNS, u, row);
    return fake_later(t, fake_arg_int(s, PARK_WAIT, u), 1, &row->next_at);
}

/* ON CONFLICT DO UPDATE ... WHERE q.taken_by = $1 */
static enum rc park_again(struct fake_txn *t, int from, const struct fake_parked_row *there,
                          const struct fake_parked_row *row, int64_t me)
{
    for (int i = from; i < t->db->change_count; i++)
        if (t->db->changes[i].row == there)
            return fake_fail(t, "21000", "cannot affect row a second time");
    if (me == FAKE_NULL || there->taken_by != me)
        return RC_OK;
    struct fake_parked_row *q = fake_change(t->db, FAKE_PARKED, there);
    q->next_at = row->next_at;
    q->parked_at = t->now_us;
    q->taken_by = row->taken_by;
    q->wait_key = row->wait_key;
    q->number = row->number;
    q->attempts = row->attempts;
    q->reasks = row->reasks;
    q->spent_nusd = row->spent_nusd;
    q->waited_us = row->waited_us;
    q->limit_us = row->limit_us;
    q->limit_id = row->limit_id;
    q->limit_waits = fake_keep(t->db, row->limit_waits);
    q->model_us = row->model_us;
    q->reason = row->reason;
    return RC_OK;
}

static bool sees_result(const struct fake_pg *db, const struct jobid *id)
{
    const struct fake_result_row *result = fake_pg_result(db, id);
    return result && (!db->blind_since_us || result->finished_at < db->blind_since_us);
}

FAKE_RUN(park)
{
    (void)ret;
    int n = fake_unnest(s, PARK_JOB, PARK_LAST), picked = 0, from = t->db->change_count;
    struct fake_pick *picks = fake_take(&t->db->scratch, (size_t)n * sizeof *picks);
    struct fake_parked_row **rows = fake_take(&t->db->scratch, (size_t)n * sizeof(void *));
    enum rc rc = RC_OK;
    for (int u = 0; u < n && rc == RC_OK; u++) {
        struct fake_pick p = {fake_arg_id(s, PARK_JOB, u), fake_arg_null(s, PARK_JOB, u), u};
        if (!p.null && sees_result(t->db, &p.id))
            continue;
        picks[picked++] = p;
        rows[u] = fake_blank(t->db, FAKE_PARKED);
        rc = park_row(t, s, u, rows[u]);
    }
    fake_pick_sort(picks, picked);
    for (int i = 0; i < picked && rc == RC_OK; i++) {
        const struct fake_parked_row *row = rows[picks[i].u];
        rc = fake_check_row(t, FAKE_PARKED, row);
        if (rc != RC_OK)
            break;
        const struct fake_parked_row *there = fake_pg_parked(t->db, &row->job_id);
        if (there)
            rc = park_again(t, from, there, row, fake_arg_int(s, 1, 0));
        else
            fake_insert(t->db, FAKE_PARKED, row);
    }
    return rc;
}

/* ---- pull, due, wake_expired ---------------------------------------------------------------- */

/* Rows as they are wanted: by key, then by id. */
struct want {
    int64_t key[3];
    const struct fake_parked_row *row;
};

static int cmp_wants(const void *a, const void *b)
{
    const struct want *x = a, *y = b;
    for (int i = 0; i < 3; i++)
        if (x->key[i] != y->key[i])
            return x->key[i] < y->key[i] ? -1 : 1;
    return jobid_cmp(&x->row->job_id, &y->row->job_id);
}

static void sort_wants(struct want *wants, int n)
{
    if (n > 1)
        qsort(wants, (size_t)n, sizeof *wants, cmp_wants);
}

static struct want *new_wants(struct fake_pg *db)
{
    return fake_take(&db->scratch, (size_t)fake_pg_count(db, FAKE_PARKED) * sizeof(struct want));
}

static const struct fake_field pull_fields[] = {
    {"job_id", PG_UUID},           {"number", PG_INT2},
    {"attempts", PG_INT2},         {"reasks", PG_INT2},
    {"spent_nusd", PG_INT8},       {"waited_us", PG_INT8},
    {"limit_us", PG_INT8},         {"limit_id", PG_INT4},
    {"model_us", PG_INT8},         {"topic", PG_TEXT},
    {"partition", PG_INT4},        {"record_offset", PG_INT8},
    {"record_at", PG_TIMESTAMPTZ}, {"payload", PG_BYTEA},
    {"headers", PG_BYTEA},         {"priority", PG_INT2},
    {"larger", PG_INT8},           {"limit_waits", PG_TEXT}};
enum { PULL_FIELDS = sizeof pull_fields / sizeof pull_fields[0] };

static enum rc pull_row(struct fake_txn *t, const struct fake_parked_row *p, struct pg_rows *rows,
                        int row)
{
    int64_t waited_us = 0, limit_us = p->limit_us, limit_id = p->limit_id;
    enum rc rc = fake_int8(t, (fake_wide)p->waited_us + t->now_us - p->parked_at, &waited_us);
    if (rc == RC_OK && p->wait_key < 0) {
        rc = fake_int8(t, (fake_wide)p->limit_us + t->now_us - p->parked_at, &limit_us);
        limit_id = -p->wait_key;
    }
    if (rc != RC_OK)
        return rc;
    fake_rows_id(rows, row, 0, &p->job_id);
    fake_rows_int(rows, row, 1, p->number);
    fake_rows_int(rows, row, 2, p->attempts);
    fake_rows_int(rows, row, 3, p->reasks);
    fake_rows_int(rows, row, 4, p->spent_nusd);
    fake_rows_int(rows, row, 5, waited_us);
    fake_rows_int(rows, row, 6, limit_us);
    fake_rows_int(rows, row, 7, limit_id);
    fake_rows_int(rows, row, 8, p->model_us);
    fake_rows_span(rows, row, 9, p->topic);
    fake_rows_int(rows, row, 10, p->partition);
    fake_rows_int(rows, row, 11, p->record_offset);
    fake_rows_int(rows, row, 12, p->record_at);
    fake_rows_span(rows, row, 13, p->payload);
    fake_rows_span(rows, row, 14, p->headers);
    fake_rows_int(rows, row, 15, p->priority);
    fake_rows_int(rows, row, 16, p->number > 1 ? fake_too_long_for(t->db, &p->job_id) : 0);
    fake_rows_span(rows, row, 17, p->limit_waits);
    return RC_OK;
}

static const struct fake_queue *find_queue(struct fake_pg *db, int64_t key, int64_t priority,
                                           struct span app)
{
    const struct fake_queues *all = fake_queues(db);
    for (int i = 0; i < all->n; i++) {
        const struct fake_queue *q = all->list[i];
        if (q->wait_key == key && q->priority == priority && span_eq(q->app, app))
            return q;
    }
    return NULL;
}

/* The next `rows` of what is due. Returns how many there were. */
static int take_due(struct fake_txn *t, int64_t me, const struct fake_queue *q, int64_t rows,
                    struct want *ret)
{
    int due = fake_queue_due(q, t->now_us), taken = 0;
    for (; taken < due && taken < rows; taken++) {
        struct fake_parked_row *row = fake_change(t->db, FAKE_PARKED, q->rows[taken]);
        row->taken_by = me;
        ret[taken] = (struct want){{row->next_at}, row};
    }
    return taken;
}

FAKE_RUN(pull)
{
    int taken = 0, room = 0;
    int64_t me = fake_arg_int(s, 1, 0);
    enum rc rc = RC_OK;
    struct want *all = NULL;
    for (int u = 0; u < fake_unnest(s, 4, 5) && fake_lease(t, me); u++) {
        int64_t rows = fake_arg_int(s, 5, u); /* NULL: the least number, and none of them */
        const struct fake_queue *q =
            find_queue(t->db, fake_arg_int(s, 2, 0), fake_arg_int(s, 3, 0), fake_arg_span(s, 4, u));
        if (fake_arg_null(s, 4, u) || !q)
            continue;
        struct want *before = all;
        room = taken + (int)(rows < q->n ? (rows > 0 ? rows : 0) : q->n);
        all = fake_take(&t->db->scratch, (size_t)room * sizeof *all);
        if (taken > 0)
            memcpy(all, before, (size_t)taken * sizeof *all);
        taken += take_due(t, me, q, rows, all + taken);
    }
    sort_wants(all, taken);
    *ret = fake_rows_new(pull_fields, PULL_FIELDS);
    for (int i = 0; i < taken && rc == RC_OK; i++)
        rc = pull_row(t, all[i].row, *ret, i);
    return rc;
}

/* Texts as the collation "C" has them. */
static int cmp_queues(const void *a, const void *b)
{
    const struct fake_queue *x = *(const struct fake_queue *const *)a;
    const struct fake_queue *y = *(const struct fake_queue *const *)b;
    if (x->wait_key != y->wait_key)
        return x->wait_key < y->wait_key ? -1 : 1;
    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    size_t n = x->app.n < y->app.n ? x->app.n : y->app.n;
    int cmp = n ? memcmp(x->app.p, y->app.p, n) : 0;
    return cmp ? cmp : (x->app.n > y->app.n) - (x->app.n < y->app.n);
}

/* $1 by the apps of the key and priority, 1 at least. */
static int64_t most_of(int64_t limit, const struct fake_queue *const *list, int count,
                       const struct fake_queue *q)
{
    int64_t apps = 1; /* its own */
    for (int i = 0; i < count; i++)
        apps +=
            list[i] != q && list[i]->wait_key == q->wait_key && list[i]->priority == q->priority;
    return limit / apps < 1 ? 1 : limit / apps; /* NULL: the least number */
}

FAKE_RUN(due)
{
    static const struct fake_field fields[] = {
        {"wait_key", PG_INT4}, {"priority", PG_INT2}, {"due", PG_INT8}, {"app", PG_TEXT}};
    const struct fake_queues *all = fake_queues(t->db);
    const struct fake_queue **list =
        fake_take(&t->db->scratch, ((size_t)all->n + 1) * sizeof(struct fake_queue *));
    int count = 0;
    for (int i = 0; i < all->n; i++)
        if (all->list[i]->n > 0)
            list[count++] = all->list[i];
    qsort(list, (size_t)count, sizeof(struct fake_queue *), cmp_queues);
    *ret = fake_rows_new(fields, 4);
    for (int i = 0; i < count; i++) {
        int64_t most = most_of(fake_arg_int(s, 1, 0), list, count, list[i]);
        int64_t due = fake_queue_due(list[i], t->now_us);
        fake_rows_int(*ret, i, 0, list[i]->wait_key);
        fake_rows_int(*ret, i, 1, list[i]->priority);
        fake_rows_int(*ret, i, 2, due < most ? due : most);
        fake_rows_span(*ret, i, 3, list[i]->app);
    }
    return RC_OK;
}

FAKE_RUN(parked_count)
{
    static const struct fake_field field = {"count", PG_INT8};
    int64_t limit = 0, count = 0;
    const struct fake_queues *all = fake_queues(t->db);
    enum rc rc = fake_limit(t, fake_arg_int(s, 2, 0), &limit);
    for (int i = 0; i < all->n; i++)
        count += all->list[i]->wait_key == fake_arg_int(s, 1, 0) ? all->list[i]->n : 0;
    *ret = fake_rows_new(&field, 1);
    fake_rows_int(*ret, 0, 0, count < limit ? count : limit);
    return rc;
}

FAKE_RUN(wake_expired)
{
    (void)ret;
    int wanted = 0;
    int64_t limit = 0;
    int rows = t->db->queues.deadlines ? fake_pg_count(t->db, FAKE_PARKED) : 0;
    struct want *wants = rows ? new_wants(t->db) : NULL;
    for (int i = 0; i < rows; i++) {
        const struct fake_parked_row *p = fake_pg_parked_at(t->db, i);
        if (p->taken_by == FAKE_NULL && p->deadline_at != FAKE_NULL &&
            p->deadline_at <= t->now_us && (p->wait_key != 0 || p->next_at > t->now_us))
            wants[wanted++] = (struct want){{p->deadline_at}, p};
    }
    sort_wants(wants, wanted);
    enum rc rc = fake_limit(t, fake_arg_int(s, 1, 0), &limit);
    for (int i = 0; i < wanted && i < limit && rc == RC_OK; i++) {
        struct fake_parked_row *woken = fake_change(t->db, FAKE_PARKED, wants[i].row);
        woken->wait_key = 0;
        woken->next_at = t->now_us;
    }
    return rc;
}

FAKE_RUN(wake_key)
{
    static const struct fake_field field = {"woken", PG_INT8};
    int64_t key = fake_arg_int(s, 1, 0), priority = fake_arg_int(s, 2, 0), limit = 0;
    int wanted = 0, woken = 0;
    struct want *wants = new_wants(t->db);
    for (int i = 0; i < fake_pg_count(t->db, FAKE_PARKED); i++) {
        const struct fake_parked_row *p = fake_pg_parked_at(t->db, i);
        if (p->taken_by == FAKE_NULL && p->wait_key == key && p->priority == priority &&
            p->next_at > t->now_us && (p->reason == CLASS_CREDENTIAL || p->reason == CLASS_BILLING))
            wants[wanted++] = (struct want){{p->next_at}, p};
    }
    sort_wants(wants, wanted);
    enum rc rc = fake_limit(t, fake_arg_int(s, 3, 0), &limit);
    for (; woken < wanted && woken < limit && rc == RC_OK; woken++) {
        struct fake_parked_row *row = fake_change(t->db, FAKE_PARKED, wants[woken].row);
        row->next_at = t->now_us;
    }
    *ret = fake_rows_new(&field, 1);
    fake_rows_int(*ret, 0, 0, woken);
    return rc;
}

/* ---- whom parked rows belong to ------------------------------------------------------------- */

static void free_row(struct fake_txn *t, const struct fake_parked_row *p)
{
    struct fake_parked_row *freed = fake_change(t->db, FAKE_PARKED, p);
    freed->taken_by = FAKE_NULL;
}

FAKE_RUN(stop_free)
{
    (void)ret;
    int64_t worker = fake_arg_int(s, 1, 0);
    for (int i = 0; i < fake_pg_count(t->db, FAKE_PARKED) && worker != FAKE_NULL; i++) {
        const struct fake_parked_row *p = fake_pg_parked_at(t->db, i);
        if (p->taken_by == worker)
            free_row(t, p);
    }
    return RC_OK;
}

FAKE_RUN(free_taken)
{
    (void)s, (void)ret;
    for (int i = 0; i < fake_pg_count(t->db, FAKE_PARKED); i++) {
        const struct fake_parked_row *p = fake_pg_parked_at(t->db, i);
        const struct fake_worker_row *w = fake_pg_worker(t->db, p->taken_by);
        if (w && w->fenced)
            free_row(t, p);
    }
    return RC_OK;
}

/* ---- dead letters --------------------------------------------------------------------------- */

enum rc fake_letter_insert(struct fake_txn *t, struct fake_letter_row *letter)
{
    letter->dead_id = ++t->db->last_dead_id; /* drawn, whatever comes of the row */
    letter->created_at = t->now_us;
    enum rc rc = fake_check_row(t, FAKE_LETTER, letter);
    if (rc == RC_OK && !fake_letter_by_source(t->db, letter->source))
        fake_insert(t->db, FAKE_LETTER, letter);
    return rc;
}

#define L(field) offsetof(struct fake_letter_row, field)

FAKE_RUN(bury)
{
    enum { COLUMNS = 9 };
    static const size_t at[COLUMNS] = {L(source),    L(class),     L(reason),
                                       L(topic),     L(partition), L(record_offset),
                                       L(record_at), L(payload),   L(headers)};
    enum rc rc = RC_OK;
    (void)ret;
    for (int u = 0; u < fake_unnest(s, 1, COLUMNS) && rc == RC_OK; u++) {
        struct fake_letter_row *letter = fake_blank(t->db, FAKE_LETTER);
        fake_arg_fill(s, 1, at, COLUMNS, u, letter);
        letter->attempts = 0;
        letter->state = 1;
        rc = fake_letter_insert(t, letter);
    }
    for (int u = 0; u < fake_unnest(s, COLUMNS + 1, COLUMNS + 1) && rc == RC_OK; u++) {
        struct jobid id = fake_arg_id(s, COLUMNS + 1, u);
        const struct fake_parked_row *parked = fake_pg_parked(t->db, &id);
        if (parked)
            fake_delete(t->db, FAKE_PARKED, parked);
    }
    return rc;
}

static const struct fake_field letters_fields[] = {{"dead_id", PG_INT8},
                                                   {"job_id", PG_UUID},
                                                   {"class", PG_INT2},
                                                   {"attempts", PG_INT2},
                                                   {"reason", PG_TEXT},
                                                   {"app", PG_TEXT},
                                                   {"task", PG_TEXT},
                                                   {"custom_id", PG_TEXT},
                                                   {"model_version", PG_TEXT},
                                                   {"topic", PG_TEXT},
                                                   {"partition", PG_INT4},
                                                   {"record_offset", PG_INT8},
                                                   {"record_at", PG_TIMESTAMPTZ},
                                                   {"created_at", PG_TIMESTAMPTZ},
                                                   {"payload", PG_BYTEA}};
enum { LETTERS_FIELDS = sizeof letters_fields / sizeof letters_fields[0] };

static void letters_row(const struct fake_letter_row *letter, struct pg_rows *rows, int row)
{
    fake_rows_int(rows, row, 0, letter->dead_id);
    fake_rows_id(rows, row, 1, &letter->job_id);
    fake_rows_int(rows, row, 2, letter->class);
    fake_rows_int(rows, row, 3, letter->attempts);
    fake_rows_span(rows, row, 4, letter->reason);
    fake_rows_span(rows, row, 5, letter->app);
    fake_rows_span(rows, row, 6, letter->task);
    fake_rows_span(rows, row, 7, letter->custom_id);
    fake_rows_span(rows, row, 8, letter->model_version);
    fake_rows_span(rows, row, 9, letter->topic);
    fake_rows_int(rows, row, 10, letter->partition);
    fake_rows_int(rows, row, 11, letter->record_offset);
    fake_rows_int(rows, row, 12, letter->record_at);
    fake_rows_int(rows, row, 13, letter->created_at);
    fake_rows_span(rows, row, 14, letter->payload);
}

FAKE_RUN(letters)
{
    int row = 0;
    int64_t limit = 0;
    enum rc rc = fake_limit(t, fake_arg_int(s, 1, 0), &limit);
    *ret = fake_rows_new(letters_fields, LETTERS_FIELDS);
    for (int i = 0; i < fake_pg_count(t->db, FAKE_LETTER) && rc == RC_OK && row < limit; i++) {
        const struct fake_letter_row *letter = fake_pg_letter_at(t->db, i);
        if (letter->published_at == FAKE_NULL)
            letters_row(letter, *ret, row++);
    }
    return rc;
}

/* No statement of a worker gives a batch a deadline, so none is late. */
FAKE_RUN(figures)
{
    static const struct fake_field fields[] = {
        {"open", PG_INT8}, {"unpublished", PG_INT8}, {"late", PG_INT8}};
    int64_t limit = 0, open = 0, unpublished = 0;
    enum rc rc = fake_limit(t, fake_arg_int(s, 1, 0), &limit);
    for (int i = 0; i < fake_pg_count(t->db, FAKE_LETTER) && rc == RC_OK; i++) {
        const struct fake_letter_row *letter = fake_pg_letter_at(t->db, i);
        open += letter->state == DEAD_OPEN && open < limit;
        unpublished += letter->published_at == FAKE_NULL && unpublished < limit;
    }
    *ret = fake_rows_new(fields, 3);
    fake_rows_int(*ret, 0, 0, open);
    fake_rows_int(*ret, 0, 1, unpublished);
    fake_rows_int(*ret, 0, 2, 0);
    return rc;
}

FAKE_RUN(published)
{
    (void)ret;
    for (int u = 0; u < fake_unnest(s, 1, 1); u++) {
        const struct fake_letter_row *letter = fake_letter_by_id(t->db, fake_arg_int(s, 1, u));
        if (!letter)
            continue;
        struct fake_letter_row *row = fake_change(t->db, FAKE_LETTER, letter);
        row->published_at = t->now_us;
    }
    return RC_OK;
}
