/*
 * fake_pg_table.c - the rows of the fake Postgres: what each table's columns are, where rows lie,
 * how they are found by key, and how a failed transaction's changes are taken back.
 *
 * A row is allocated once and never moves; a table is an array of pointers to its rows (a deleted
 * one's place is taken by the last) and a hash of their keys. Calls of one job hang together, by
 * number, and the first of them is hashed. Every change is recorded with a copy of the row from
 * before, so undoing in reverse brings back exactly what stood, the order of rows included.
 */
#include "tests/sim/fake_pg.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/fake_pg_impl.h"

/* ---- memory ------------------------------------------------------------------------------- */

enum { CHUNK_BYTES = 64 << 10, ALIGN = 16 };

struct fake_chunk {
    struct fake_chunk *before;
    size_t used, bytes;
    _Alignas(ALIGN) char data[];
};

static void *must(void *p)
{
    if (!p) {
        fputs("fake Postgres: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *fake_take(struct fake_arena *arena, size_t bytes)
{
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    struct fake_chunk *c = arena->chunk;
    if (!c || c->bytes - c->used < bytes) {
        size_t room = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        c = must(malloc(sizeof *c + room));
        *c = (struct fake_chunk){.before = arena->chunk, .bytes = room};
        arena->chunk = c;
    }
    char *at = c->data + c->used;
    c->used += bytes;
    memset(at, 0, bytes);
    return at;
}

void fake_arena_reset(struct fake_arena *arena)
{
    while (arena->chunk && arena->chunk->before) {
        struct fake_chunk *before = arena->chunk->before;
        free(arena->chunk);
        arena->chunk = before;
    }
    if (arena->chunk)
        arena->chunk->used = 0;
}

void fake_arena_done(struct fake_arena *arena)
{
    fake_arena_reset(arena);
    free(arena->chunk);
    arena->chunk = NULL;
}

struct span fake_keep(struct fake_pg *db, struct span text)
{
    if (!text.p)
        return text;
    char *copy = fake_take(&db->kept, text.n);
    if (text.n > 0)
        memcpy(copy, text.p, text.n);
    return (struct span){copy, text.n};
}

/* ---- columns ------------------------------------------------------------------------------ */

#define AT(row, type, field, not_null)                      \
    {                                                       \
#field, type, not_null, offsetof(struct row, field) \
    }

#define B(type, field, not_null) AT(fake_batch_row, type, field, not_null)
static const struct fake_column batch_columns[] = {
    B(PG_UUID, batch_id, true),
    B(PG_TEXT, app, true),
    B(PG_TEXT, name, true),
    B(PG_TEXT, task, false),
    B(PG_TEXT, team, false),
    B(PG_INT2, priority, false),
    B(PG_INT8, created_ms, true),
    B(PG_TIMESTAMPTZ, deadline_at, false),
    B(PG_INT8, total, false),
    B(PG_INT8, requeued, true),
    B(PG_BYTEA, input_sha256, false),
    B(PG_TIMESTAMPTZ, registered_at, true),
    B(PG_TIMESTAMPTZ, sealed_at, false),
    B(PG_TIMESTAMPTZ, cancel_requested_at, false),
};

#define G(type, field, not_null) AT(fake_progress_row, type, field, not_null)
static const struct fake_column progress_columns[] = {
    G(PG_UUID, batch_id, true), G(PG_INT2, status, true),     G(PG_INT4, model_version_id, false),
    G(PG_INT8, n, true),        G(PG_INT8, cost_nusd, false), G(PG_TIMESTAMPTZ, at, true),
};

#define R(type, field, not_null) AT(fake_result_row, type, field, not_null)
static const struct fake_column result_columns[] = {
    R(PG_UUID, job_id, true),
    R(PG_UUID, batch_id, true),
    R(PG_TIMESTAMPTZ, finished_at, true),
    R(PG_TIMESTAMPTZ, created_at, true),
    R(PG_INT8, cost_nusd, false),
    R(PG_INT8, queue_us, false),
    R(PG_INT8, throttle_us, false),
    R(PG_INT8, model_us, false),
    R(PG_INT8, store_us, false),
    R(PG_INT4, input_tokens, false),
    R(PG_INT4, cached_tokens, false),
    R(PG_INT4, output_tokens, false),
    R(PG_INT4, reasoning_tokens, false),
    R(PG_INT4, model_version_id, false),
    R(PG_INT4, generation, true),
    R(PG_INT2, status, true),
    R(PG_INT2, class, true),
    R(PG_INT2, call_number, false),
    R(PG_INT2, http_status, false),
    R(PG_INT2, validation, true),
    R(PG_INT2, priority, true),
    R(PG_TEXT, app, true),
    R(PG_TEXT, task, false),
    R(PG_TEXT, team, false),
    R(PG_TEXT, custom_id, true),
    R(PG_TEXT, url, true),
    R(PG_TEXT, finish_reason, false),
    R(PG_TEXT, model_reported, false),
    R(PG_TEXT, prompt_version, false),
    R(PG_TEXT, context_version, false),
    R(PG_TEXT, trace_id, false),
    R(PG_BYTEA, body, false),
    R(PG_INT8, limit_us, false),
    R(PG_INT4, limit_id, false),
    R(PG_TEXT, limit_waits, false),
};

#define C(type, field, not_null) AT(fake_call_row, type, field, not_null)
static const struct fake_column call_columns[] = {
    C(PG_UUID, job_id, true),
    C(PG_UUID, batch_id, true),
    C(PG_INT8, worker_id, true),
    C(PG_TIMESTAMPTZ, claimed_at, true),
    C(PG_INT8, estimated_nusd, false),
    C(PG_INT8, upper_nusd, false),
    C(PG_INT4, model_version_id, true),
    C(PG_INT4, endpoint_id, true),
    C(PG_INT4, price_id, false),
    C(PG_INT2, number, true),
    C(PG_INT2, kind, true),
    C(PG_TIMESTAMPTZ, done_at, false),
    C(PG_INT8, cost_nusd, false),
    C(PG_INT8, model_us, false),
    C(PG_INT4, input_tokens, false),
    C(PG_INT4, cached_tokens, false),
    C(PG_INT4, output_tokens, false),
    C(PG_INT4, reasoning_tokens, false),
    C(PG_INT2, class, false),
    C(PG_INT2, certainty, false),
    C(PG_INT2, curl_code, false),
    C(PG_INT2, http_status, false),
    C(PG_TEXT, provider_request_id, false),
    C(PG_TEXT, model_reported, false),
    C(PG_TEXT, error, false),
};

#define W(type, field, not_null) AT(fake_worker_row, type, field, not_null)
static const struct fake_column worker_columns[] = {
    W(PG_INT8, worker_id, true),
    W(PG_TEXT, host, true),
    W(PG_INT4, pid, true),
    W(PG_TEXT, build, true),
    W(PG_TIMESTAMPTZ, started_at, true),
    W(PG_TIMESTAMPTZ, lease_until, true),
    W(PG_TIMESTAMPTZ, stopped_at, false),
    W(PG_BOOL, fenced, true),
    W(PG_TIMESTAMPTZ, drain_requested_at, false),
};

#define P(type, field, not_null) AT(fake_parked_row, type, field, not_null)
static const struct fake_column parked_columns[] = {
    P(PG_UUID, job_id, true),
    P(PG_UUID, batch_id, true),
    P(PG_TIMESTAMPTZ, next_at, true),
    P(PG_TIMESTAMPTZ, parked_at, true),
    P(PG_TIMESTAMPTZ, deadline_at, false),
    P(PG_INT8, taken_by, false),
    P(PG_INT4, wait_key, true),
    P(PG_INT2, priority, true),
    P(PG_INT2, number, true),
    P(PG_INT2, attempts, true),
    P(PG_INT2, reasks, true),
    P(PG_INT8, spent_nusd, false),
    P(PG_INT8, waited_us, true),
    P(PG_INT8, model_us, true),
    P(PG_INT2, reason, true),
    P(PG_TEXT, topic, false),
    P(PG_INT4, partition, false),
    P(PG_INT8, record_offset, false),
    P(PG_TIMESTAMPTZ, record_at, false),
    P(PG_BYTEA, payload, true),
    P(PG_BYTEA, headers, false),
    P(PG_INT8, limit_us, true),
    P(PG_INT4, limit_id, true),
    P(PG_TEXT, app, true),
    P(PG_TEXT, limit_waits, false),
};

#define L(type, field, not_null) AT(fake_letter_row, type, field, not_null)
static const struct fake_column letter_columns[] = {
    L(PG_INT8, dead_id, true),
    L(PG_BYTEA, source, true),
    L(PG_UUID, job_id, false),
    L(PG_UUID, batch_id, false),
    L(PG_TIMESTAMPTZ, created_at, true),
    L(PG_TIMESTAMPTZ, published_at, false),
    L(PG_TIMESTAMPTZ, record_at, false),
    L(PG_INT8, record_offset, false),
    L(PG_INT4, partition, false),
    L(PG_INT4, generation, false),
    L(PG_INT2, class, true),
    L(PG_INT2, state, true),
    L(PG_INT2, attempts, true),
    L(PG_TEXT, topic, false),
    L(PG_TEXT, app, false),
    L(PG_TEXT, task, false),
    L(PG_TEXT, team, false),
    L(PG_TEXT, custom_id, false),
    L(PG_TEXT, model_version, false),
    L(PG_TEXT, reason, true),
    L(PG_BYTEA, payload, true),
    L(PG_BYTEA, headers, false),
};

#define S(type, field) AT(fake_span_row, type, field, true)
static const struct fake_column span_columns[] = {
    S(PG_INT8, lower_ms),
    S(PG_INT8, upper_ms),
    S(PG_TEXT, suffix),
};

#define M(type, field, not_null) AT(fake_limit_row, type, field, not_null)
static const struct fake_column limit_columns[] = {
    M(PG_INT4, limit_id, true),
    M(PG_INT2, scope, true),
    M(PG_TEXT, key, true),
    M(PG_INT2, dimension, true),
    M(PG_INT8, of_catalogue, false),
    M(PG_INT8, of_operator, false),
    M(PG_TIMESTAMPTZ, changed_at, true),
    M(PG_TEXT, changed_by, true),
};

#define H(type, field) AT(fake_share_row, type, field, true)
static const struct fake_column share_columns[] = {
    H(PG_INT4, limit_id), H(PG_INT8, worker_id), H(PG_INT8, asks),
    H(PG_INT8, want),     H(PG_INT8, need),      H(PG_INT8, in_use),
    H(PG_INT8, share),    H(PG_INT8, seen),      H(PG_BYTEA, wants),
};

#define D(type, field) AT(fake_day_row, type, field, true)
static const struct fake_column day_columns[] = {
    D(PG_INT4, limit_id), D(PG_INT4, day), D(PG_INT8, used), D(PG_INT8, taken), D(PG_INT8, amount),
};

#define E(type, field, not_null) AT(fake_learned_row, type, field, not_null)
static const struct fake_column learned_columns[] = {
    E(PG_TEXT, endpoint, true),
    E(PG_INT2, multiplier, true),
    E(PG_INT2, ceiling, true),
    E(PG_TIMESTAMPTZ, lowered_at, false),
    E(PG_TIMESTAMPTZ, throttled_at, false),
    E(PG_INT4, concurrency, false),
    E(PG_TIMESTAMPTZ, paused_until, false),
    E(PG_INT2, paused_for, false),
    E(PG_INT2, faults, true),
    E(PG_BOOL, probing, true),
    E(PG_INT8, probe_worker, false),
    E(PG_TIMESTAMPTZ, probe_until, false),
    E(PG_TIMESTAMPTZ, changed_at, true),
};

#define O(type, field) AT(fake_cost_row, type, field, true)
static const struct fake_column cost_columns[] = {O(PG_TEXT, route), O(PG_INT4, day),
                                                  O(PG_INT8, used_nusd), O(PG_INT8, taken_nusd),
                                                  O(PG_INT8, amount_nusd)};

#define NO_KEY SIZE_MAX

static const struct {
    const char *name;
    const struct fake_column *columns;
    int column_count;
    size_t row_bytes;
    size_t key_at; /* of the hashed column, an id or a bytea */
} infos[FAKE_TABLES] = {
#define INFO(name, what, key)                                                   \
    {                                                                           \
        name, what##_columns, sizeof what##_columns / sizeof what##_columns[0], \
            sizeof(struct fake_##what##_row), key                               \
    }
    [FAKE_BATCH] = INFO("batch", batch, offsetof(struct fake_batch_row, batch_id)),
    [FAKE_PROGRESS] = INFO("progress", progress, NO_KEY),
    [FAKE_RESULT] = INFO("result", result, offsetof(struct fake_result_row, job_id)),
    [FAKE_CALL] = INFO("call", call, offsetof(struct fake_call_row, job_id)),
    [FAKE_WORKER] = INFO("worker", worker, NO_KEY), /* ids rise: found by halving */
    [FAKE_PARKED] = INFO("parked", parked, offsetof(struct fake_parked_row, job_id)),
    [FAKE_LETTER] = INFO("dead_letter", letter, offsetof(struct fake_letter_row, source)),
    [FAKE_SPAN] = INFO("partition_span", span, NO_KEY),
    [FAKE_LIMIT] = INFO("limit_rule", limit, NO_KEY), /* few */
    [FAKE_SHARE] = INFO("limit_share", share, offsetof(struct fake_share_row, at)),
    [FAKE_DAY] = INFO("limit_day", day, offsetof(struct fake_day_row, at)),
    [FAKE_LEARNED] = INFO("limit_learned", learned, NO_KEY),
    [FAKE_COST] = INFO("retry_cost", cost, NO_KEY),
};

const struct fake_column *fake_pg_columns(enum fake_table table, int *ret_n)
{
    *ret_n = infos[table].column_count;
    return infos[table].columns;
}

const char *fake_pg_table_name(enum fake_table table)
{
    return infos[table].name;
}

static bool is_span(enum pg_type type)
{
    return type == PG_TEXT || type == PG_BYTEA;
}

/* ---- the hash of keys --------------------------------------------------------------------- */

/* Stands before each row. */
struct fake_head {
    struct fake_head *chain; /* next in the same bucket */
    int at;                  /* index in the table */
};

enum { HEAD_BYTES = (sizeof(struct fake_head) + ALIGN - 1) / ALIGN * ALIGN };

static struct fake_head *head_of(void *row)
{
    return (struct fake_head *)(void *)((char *)row - HEAD_BYTES);
}

static void *row_of(struct fake_head *head)
{
    return (char *)head + HEAD_BYTES;
}

static struct span key_of(enum fake_table table, const void *row)
{
    const char *field = (const char *)row + infos[table].key_at;
    if (table == FAKE_LETTER)
        return *(const struct span *)(const void *)field;
    return (struct span){field, ID_BYTES};
}

static uint64_t hash_of(struct span key)
{
    uint64_t h = 0xcbf29ce484222325; /* FNV-1a */
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (unsigned char)key.p[i]) * 0x100000001b3;
    return h ^ h >> 32;
}

static struct fake_head **bucket_of(const struct fake_store *store, struct span key)
{
    return &store->buckets[hash_of(key) & (store->bucket_count - 1)];
}

static void *hash_find(const struct fake_pg *db, enum fake_table table, struct span key)
{
    const struct fake_store *store = &db->tables[table];
    if (store->bucket_count == 0)
        return NULL;
    for (struct fake_head *h = *bucket_of(store, key); h; h = h->chain)
        if (span_eq(key_of(table, row_of(h)), key))
            return row_of(h);
    return NULL;
}

static void hash_grow(struct fake_store *store, enum fake_table table)
{
    size_t count = store->bucket_count, more = count ? count * 4 : 256;
    struct fake_head **old = store->buckets;
    store->buckets = must(calloc(more, sizeof(struct fake_head *)));
    store->bucket_count = more;
    for (size_t i = 0; i < count; i++)
        for (struct fake_head *h = old[i], *next; h; h = next) {
            struct fake_head **bucket = bucket_of(store, key_of(table, row_of(h)));
            next = h->chain;
            h->chain = *bucket;
            *bucket = h;
        }
    free(old);
}

static void hash_add(struct fake_pg *db, enum fake_table table, void *row)
{
    struct fake_store *store = &db->tables[table];
    if (store->hashed >= store->bucket_count)
        hash_grow(store, table);
    struct fake_head **bucket = bucket_of(store, key_of(table, row));
    head_of(row)->chain = *bucket;
    *bucket = head_of(row);
    store->hashed++;
}

static void hash_drop(struct fake_pg *db, enum fake_table table, void *row)
{
    struct fake_store *store = &db->tables[table];
    struct fake_head **at = bucket_of(store, key_of(table, row));
    while (*at != head_of(row))
        at = &(*at)->chain;
    *at = head_of(row)->chain;
    store->hashed--;
}

/* ---- rows in and out of a table ------------------------------------------------------------ */

/* Calls of one job: a list by number, whose first is hashed. */
static void link_call(struct fake_pg *db, struct fake_call_row *call)
{
    struct fake_call_row *first = hash_find(db, FAKE_CALL, key_of(FAKE_CALL, call));
    if (!first || call->number < first->number) {
        if (first)
            hash_drop(db, FAKE_CALL, first);
        call->next = first;
        hash_add(db, FAKE_CALL, call);
        return;
    }
    while (first->next && first->next->number < call->number)
        first = first->next;
    call->next = first->next;
    first->next = call;
}

static void unlink_call(struct fake_pg *db, struct fake_call_row *call)
{
    struct fake_call_row *first = hash_find(db, FAKE_CALL, key_of(FAKE_CALL, call));
    if (first == call) {
        hash_drop(db, FAKE_CALL, call);
        if (call->next)
            hash_add(db, FAKE_CALL, call->next);
        return;
    }
    while (first->next != call)
        first = first->next;
    first->next = call->next;
}

static void index_row(struct fake_pg *db, enum fake_table table, void *row)
{
    if (table == FAKE_CALL)
        link_call(db, row);
    else if (infos[table].key_at != NO_KEY)
        hash_add(db, table, row);
}

static void unindex_row(struct fake_pg *db, enum fake_table table, void *row)
{
    if (table == FAKE_CALL)
        unlink_call(db, row);
    else if (infos[table].key_at != NO_KEY)
        hash_drop(db, table, row);
}

static void *grown(void *array, int *cap, size_t each)
{
    *cap = *cap ? *cap * 2 : 64;
    return must(realloc(array, (size_t)*cap * each));
}

/* Puts a row in at index `at`; the one there goes to the end. */
static void put_row(struct fake_pg *db, enum fake_table table, void *row, int at)
{
    struct fake_store *store = &db->tables[table];
    if (store->n == store->cap)
        store->rows = grown(store->rows, &store->cap, sizeof(void *));
    if (at < store->n) {
        store->rows[store->n] = store->rows[at];
        head_of(store->rows[at])->at = store->n;
    }
    store->rows[at] = row;
    store->n++;
    head_of(row)->at = at;
    index_row(db, table, row);
    if (table == FAKE_PARKED)
        fake_queue_note(db, row);
}

static void take_row(struct fake_pg *db, enum fake_table table, void *row)
{
    struct fake_store *store = &db->tables[table];
    int at = head_of(row)->at;
    unindex_row(db, table, row);
    if (table == FAKE_PARKED)
        fake_queue_gone(row);
    void *last = store->rows[--store->n];
    store->rows[at] = last;
    head_of(last)->at = at;
    head_of(row)->at = at;
}

/* ---- changes ------------------------------------------------------------------------------ */

static void record(struct fake_pg *db, enum fake_table table, void *row, bool stays,
                   const void *before)
{
    if (db->change_count == db->change_cap) {
        int cap = db->change_cap;
        db->changes = grown(db->changes, &cap, sizeof *db->changes);
        db->changed = grown(db->changed, &db->change_cap, sizeof *db->changed);
    }
    db->changes[db->change_count] = (struct fake_change){table, stays ? row : NULL, before};
    db->changed[db->change_count++] = row;
}

static void *copy_before(struct fake_pg *db, enum fake_table table, const void *row)
{
    void *copy = fake_take(&db->scratch, infos[table].row_bytes);
    memcpy(copy, row, infos[table].row_bytes);
    return copy;
}

void fake_begin(struct fake_pg *db)
{
    db->change_count = 0;
    db->told = false;
    fake_arena_reset(&db->scratch);
}

void fake_undo(struct fake_pg *db)
{
    while (db->change_count > 0) {
        const struct fake_change *change = &db->changes[--db->change_count];
        void *row = db->changed[db->change_count];
        if (!change->before)
            take_row(db, change->table, row);
        else if (!change->row)
            put_row(db, change->table, row, head_of(row)->at);
        else
            memcpy(row, change->before, infos[change->table].row_bytes);
        if (change->table == FAKE_PARKED && change->before)
            fake_queue_note(db, row);
    }
}

void *fake_blank(struct fake_pg *db, enum fake_table table)
{
    return copy_before(db, table, db->tables[table].blank);
}

void *fake_insert(struct fake_pg *db, enum fake_table table, const void *row)
{
    char *kept = (char *)fake_take(&db->kept, HEAD_BYTES + infos[table].row_bytes) + HEAD_BYTES;
    memcpy(kept, row, infos[table].row_bytes);
    for (int i = 0; i < infos[table].column_count; i++) {
        const struct fake_column *col = &infos[table].columns[i];
        struct span *text = (struct span *)(void *)(kept + col->at);
        if (is_span(col->type))
            *text = fake_keep(db, *text);
    }
    put_row(db, table, kept, db->tables[table].n);
    record(db, table, kept, true, NULL);
    return kept;
}

/* The row that a pointer to const points at: rows are changed here only. */
static void *own(const struct fake_pg *db, enum fake_table table, const void *row)
{
    int at = ((const struct fake_head *)(const void *)((const char *)row - HEAD_BYTES))->at;
    assert(db->tables[table].rows[at] == row);
    return db->tables[table].rows[at];
}

void *fake_change(struct fake_pg *db, enum fake_table table, const void *row)
{
    void *mine = own(db, table, row);
    record(db, table, mine, true, copy_before(db, table, row));
    if (table == FAKE_PARKED)
        fake_queue_note(db, mine);
    return mine;
}

void fake_delete(struct fake_pg *db, enum fake_table table, const void *row)
{
    void *mine = own(db, table, row);
    record(db, table, mine, false, copy_before(db, table, row));
    take_row(db, table, mine);
}

const struct fake_change *fake_pg_changes(const struct fake_pg *db, int *ret_n)
{
    *ret_n = db->change_count;
    return db->changes;
}

/* ---- the database ------------------------------------------------------------------------- */

static void *blank_row(struct fake_pg *db, enum fake_table table)
{
    char *row = fake_take(&db->kept, infos[table].row_bytes);
    for (int i = 0; i < infos[table].column_count; i++) {
        const struct fake_column *col = &infos[table].columns[i];
        if (col->type != PG_UUID && !is_span(col->type))
            *(int64_t *)(void *)(row + col->at) = FAKE_NULL;
    }
    return row;
}

struct fake_pg *fake_pg_new(void)
{
    struct fake_pg *db = must(calloc(1, sizeof *db));
    for (enum fake_table table = 0; table < FAKE_TABLES; table++)
        db->tables[table].blank = blank_row(db, table);
    return db;
}

void fake_pg_free(struct fake_pg *db)
{
    if (!db)
        return;
    for (enum fake_table table = 0; table < FAKE_TABLES; table++) {
        free(db->tables[table].rows);
        free(db->tables[table].buckets);
    }
    free(db->changes);
    free(db->changed);
    fake_queues_done(db);
    fake_arena_done(&db->scratch);
    fake_arena_done(&db->kept);
    free(db);
}

/* ---- looking ------------------------------------------------------------------------------ */

int fake_pg_count(const struct fake_pg *db, enum fake_table table)
{
    return db->tables[table].n;
}

static const void *row_at(const struct fake_pg *db, enum fake_table table, int index)
{
    assert(index >= 0 && index < db->tables[table].n);
    return db->tables[table].rows[index];
}

const struct fake_batch_row *fake_pg_batch_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_BATCH, index);
}

const struct fake_progress_row *fake_pg_progress_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_PROGRESS, index);
}

const struct fake_result_row *fake_pg_result_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_RESULT, index);
}

const struct fake_call_row *fake_pg_call_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_CALL, index);
}

const struct fake_worker_row *fake_pg_worker_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_WORKER, index);
}

const struct fake_parked_row *fake_pg_parked_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_PARKED, index);
}

const struct fake_letter_row *fake_pg_letter_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_LETTER, index);
}

const struct fake_span_row *fake_pg_span_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_SPAN, index);
}

const struct fake_limit_row *fake_pg_limit_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_LIMIT, index);
}

const struct fake_share_row *fake_pg_share_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_SHARE, index);
}

const struct fake_day_row *fake_pg_day_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_DAY, index);
}

const struct fake_cost_row *fake_pg_cost_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_COST, index);
}

const struct fake_learned_row *fake_pg_learned_at(const struct fake_pg *db, int index)
{
    return row_at(db, FAKE_LEARNED, index);
}

static struct span id_key(const struct jobid *id)
{
    return (struct span){(const char *)id->b, ID_BYTES};
}

const struct fake_batch_row *fake_pg_batch(const struct fake_pg *db, const struct jobid *batch_id)
{
    return hash_find(db, FAKE_BATCH, id_key(batch_id));
}

const struct fake_result_row *fake_pg_result(const struct fake_pg *db, const struct jobid *job_id)
{
    return hash_find(db, FAKE_RESULT, id_key(job_id));
}

const struct fake_parked_row *fake_pg_parked(const struct fake_pg *db, const struct jobid *job_id)
{
    return hash_find(db, FAKE_PARKED, id_key(job_id));
}

const struct fake_call_row *fake_pg_calls(const struct fake_pg *db, const struct jobid *job_id)
{
    return hash_find(db, FAKE_CALL, id_key(job_id));
}

const struct fake_call_row *fake_pg_call(const struct fake_pg *db, const struct jobid *job_id,
                                         int64_t number)
{
    const struct fake_call_row *call = fake_pg_calls(db, job_id);
    while (call && call->number < number)
        call = call->next;
    return call && call->number == number ? call : NULL;
}

struct jobid fake_key(int64_t limit_id, int64_t second)
{
    struct jobid key;
    memcpy(key.b, &limit_id, sizeof limit_id);
    memcpy(key.b + sizeof limit_id, &second, sizeof second);
    return key;
}

const void *fake_by_key(const struct fake_pg *db, enum fake_table table, const struct jobid *key)
{
    return hash_find(db, table, id_key(key));
}

const struct fake_share_row *fake_pg_share(const struct fake_pg *db, int64_t limit_id,
                                           int64_t worker_id)
{
    struct jobid key = fake_key(limit_id, worker_id);
    return fake_by_key(db, FAKE_SHARE, &key);
}

const struct fake_letter_row *fake_letter_by_source(const struct fake_pg *db, struct span source)
{
    return hash_find(db, FAKE_LETTER, source);
}

/* Workers and letters are never deleted and their ids rise. Index of the first with id >= `id`. */
static int halve(const struct fake_pg *db, enum fake_table table, int64_t id)
{
    int low = 0, high = db->tables[table].n;
    while (low < high) {
        int mid = low + (high - low) / 2;
        int64_t there = table == FAKE_WORKER ? fake_pg_worker_at(db, mid)->worker_id
                                             : fake_pg_letter_at(db, mid)->dead_id;
        if (there < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const struct fake_worker_row *fake_pg_worker(const struct fake_pg *db, int64_t worker_id)
{
    int at = halve(db, FAKE_WORKER, worker_id);
    if (at == db->tables[FAKE_WORKER].n)
        return NULL;
    const struct fake_worker_row *w = fake_pg_worker_at(db, at);
    return w->worker_id == worker_id ? w : NULL;
}

const struct fake_letter_row *fake_letter_by_id(const struct fake_pg *db, int64_t dead_id)
{
    int at = halve(db, FAKE_LETTER, dead_id);
    if (at == db->tables[FAKE_LETTER].n)
        return NULL;
    const struct fake_letter_row *letter = fake_pg_letter_at(db, at);
    return letter->dead_id == dead_id ? letter : NULL;
}
