/*
 * fake_pg_impl.h - what the files of the fake Postgres share.
 *
 *   fake_pg.c        transactions: the list of statements, all or nothing
 *   fake_pg_table.c  rows: kept, found, changed, and put back when a transaction fails
 *   fake_pg_wire.c   parameters in and rows out, in libpq's forms: the only file that knows libpq
 *   fake_pg_job.c    statements about calls and results
 *   fake_pg_queue.c  what waits in `parked`, in order
 *   fake_pg_park.c   statements about parked jobs and dead letters
 *   fake_pg_keep.c   statements about workers, batches, progress and partitions
 *   fake_pg_limit.c  statements about shared limits
 *   fake_pg_learned.c  statements about what calls taught of endpoints
 */
#ifndef INFERQ_TESTS_SIM_FAKE_PG_IMPL_H
#define INFERQ_TESTS_SIM_FAKE_PG_IMPL_H

#include "tests/sim/fake_pg.h"

/* ---- memory (fake_pg_table.c) ------------------------------------------------------------- */

/* Bytes for keeps, freed all at once; 16-aligned, zeroed. Without memory the process ends. */
struct fake_chunk;
struct fake_arena {
    struct fake_chunk *chunk;
};
void *fake_take(struct fake_arena *arena, size_t bytes);
void fake_arena_reset(struct fake_arena *arena); /* forgets all that was taken */
void fake_arena_done(struct fake_arena *arena);

/* ---- the database ------------------------------------------------------------------------- */

struct fake_head;

struct fake_store {
    void **rows;
    int n, cap;
    struct fake_head **buckets; /* by key; of calls: the first of each job */
    size_t bucket_count, hashed;
    void *blank; /* a row of NULLs */
};

/* What waits in `parked` for a key, of one lane and app (fake_pg_queue.c). */
struct fake_queue {
    int64_t wait_key, priority;
    struct span app;
    const struct fake_parked_row **rows; /* that nobody has: by next_at, then by id */
    int n, cap;
};

struct fake_queues {
    struct fake_queue **list; /* empty ones, too */
    int n, cap;
    const struct fake_parked_row **noted; /* to be looked at again */
    int noted_count, noted_cap;
    bool deadlines; /* some row has, or had, one */
};

struct fake_pg {
    struct fake_queues queues;
    int64_t blind_since_us;    /* fake_pg_cross; 0: never asked for */
    struct fake_arena kept;    /* rows and their texts */
    struct fake_arena scratch; /* the current transaction's */
    struct fake_store tables[FAKE_TABLES];
    struct fake_change *changes; /* of the current transaction, or of the last one */
    void **changed;              /* the row of each, deleted ones too */
    int change_count, change_cap;
    int64_t last_worker_id, last_dead_id, last_limit_id; /* sequences: what was drawn is gone */
    int64_t statements;                                  /* so far */
    bool keeper_held;                                    /* advisory lock 'inferq keeper' */
    int64_t keeper_session;
    bool told;                 /* the transaction notifies `inferq_learned` */
    bool held[FAKE_ENDPOINTS]; /* endpoint_pause, by the endpoints' ids */
};

/* Begins to record changes, forgetting those of the transaction before. */
void fake_begin(struct fake_pg *db);
void fake_undo(struct fake_pg *db); /* all changes since fake_begin */

/* A row of NULLs, to be filled in and inserted; lives in scratch. */
void *fake_blank(struct fake_pg *db, enum fake_table table);
/* Copies the row with its texts. Keys must be free. Returns the row in the table. */
void *fake_insert(struct fake_pg *db, enum fake_table table, const void *row);
/* The row, about to be changed in anything but its key. Texts put in must come from fake_keep. */
void *fake_change(struct fake_pg *db, enum fake_table table, const void *row);
void fake_delete(struct fake_pg *db, enum fake_table table, const void *row);
struct span fake_keep(struct fake_pg *db, struct span text); /* a copy for keeps */
const struct fake_letter_row *fake_letter_by_source(const struct fake_pg *db, struct span source);
/* By the key that `at` of a share or a day is made of; NULL: none. */
struct jobid fake_key(int64_t limit_id, int64_t second);
const void *fake_by_key(const struct fake_pg *db, enum fake_table table, const struct jobid *key);
const struct fake_letter_row *fake_letter_by_id(const struct fake_pg *db, int64_t dead_id);

/* ---- what waits in `parked` (fake_pg_queue.c) ---------------------------------------------- */

/* The row is new, is about to change, or is as it was; it is gone. */
void fake_queue_note(struct fake_pg *db, struct fake_parked_row *row);
void fake_queue_gone(const struct fake_parked_row *row);
/* As the table is now; they stay as they are until the next call. */
const struct fake_queues *fake_queues(struct fake_pg *db);
int fake_queue_due(const struct fake_queue *q, int64_t now_us); /* so many from the first on */
void fake_queues_done(struct fake_pg *db);

/* ---- parameters and rows (fake_pg_wire.c) ------------------------------------------------- */

struct fake_txn;
typedef enum rc (*fake_run)(struct fake_txn *t, const struct fake_stmt *s,
                            struct pg_rows **ret_rows);

/* types: one letter per parameter: b bool, s int2, i int4, l int8, t text, y bytea, u uuid,
 * z timestamptz; in capitals, an array of them. */
struct fake_verb {
    const char *name, *types;
    fake_run run;
};
const struct fake_verb *fake_verb_find(const char *name); /* NULL: none */

const struct fake_verb *fake_stmt_verb(const struct fake_stmt *s);
/* Does every text go into the server's encoding? */
bool fake_stmt_text_ok(const struct fake_stmt *s);
/* Rows of unnest over parameters first .. last ($1 is 1): the longest array's length. */
int fake_unnest(const struct fake_stmt *s, int first, int last);
/* $param, or its element `row` (past its end: NULL). Times in Unix us. */
bool fake_arg_null(const struct fake_stmt *s, int param, int row);
bool fake_arg_absent(const struct fake_stmt *s, int param);          /* the array itself is NULL */
int64_t fake_arg_int(const struct fake_stmt *s, int param, int row); /* FAKE_NULL: NULL */
struct jobid fake_arg_id(const struct fake_stmt *s, int param, int row);  /* zero: NULL */
struct span fake_arg_span(const struct fake_stmt *s, int param, int row); /* borrowed */
/* Element `row` of parameters first .. first + n - 1 into the fields at offsets `at`. Texts stay
 * borrowed from the statement. */
void fake_arg_fill(const struct fake_stmt *s, int first, const size_t *at, int n, int row,
                   void *into);

struct fake_field {
    const char *name;
    enum pg_type type;
};
/* An answer of n columns and no rows yet; n == 0: of a statement that returns none. */
struct pg_rows *fake_rows_new(const struct fake_field *fields, int n);
/* The value of a column; rows are begun by setting their first column, in order. */
void fake_rows_int(struct pg_rows *rows, int row, int col, int64_t v); /* FAKE_NULL: NULL */
void fake_rows_id(struct pg_rows *rows, int row, int col, const struct jobid *id); /* zero: NULL */
void fake_rows_span(struct pg_rows *rows, int row, int col, struct span s);

enum rc fake_sqlstate_rc(const char *sqlstate); /* what the real edge makes of it */

/* ---- transactions (fake_pg.c) ------------------------------------------------------------- */

struct fake_txn {
    struct fake_pg *db;
    int64_t session, now_us;
    char *sqlstate;
    struct err *err;
};

/* The statement fails; returns what it shall return. */
enum rc fake_fail(struct fake_txn *t, const char *sqlstate, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* 23502 where a column that must not be NULL is. */
enum rc fake_check_row(struct fake_txn *t, enum fake_table table, const void *row) MUST_CHECK;
/* 23514 where no partition holds the id. */
enum rc fake_check_span(struct fake_txn *t, const struct jobid *id) MUST_CHECK;
/* The worker has a lease and nobody fenced it. */
bool fake_lease(const struct fake_txn *t, int64_t worker_id);
/* lease_until < now() - past_s * interval '1 second' */
enum rc fake_lease_over(struct fake_txn *t, const struct fake_worker_row *w, int64_t past_s,
                        bool *ret_over) MUST_CHECK;
/* now + v * unit_us, as now() + v * interval computes it: 22008 out of range. FAKE_NULL: NULL. */
enum rc fake_later(struct fake_txn *t, int64_t v, int64_t unit_us, int64_t *ret_us) MUST_CHECK;
/* What sums are made in, as Postgres makes them in numeric. */
__extension__ typedef __int128 fake_wide;
/* A sum as int8: 22003 out of range. */
enum rc fake_int8(struct fake_txn *t, fake_wide v, int64_t *ret) MUST_CHECK;
/* LIMIT: 2201W when negative; NULL is none. */
enum rc fake_limit(struct fake_txn *t, int64_t limit, int64_t *ret) MUST_CHECK;

/* The letter gets its id and what else is the server's; ON CONFLICT (source) DO NOTHING. */
enum rc fake_letter_insert(struct fake_txn *t, struct fake_letter_row *letter) MUST_CHECK;

/* Rows u of an unnest, in the order of their ids; NULLs last, equal ones as they came. */
struct fake_pick {
    struct jobid id;
    bool null;
    int u;
};
void fake_pick_sort(struct fake_pick *picks, int n);

/* ---- the statements ----------------------------------------------------------------------- */

#define FAKE_RUN(name) \
    enum rc fake_run_##name(struct fake_txn *t, const struct fake_stmt *s, struct pg_rows **ret)

FAKE_RUN(claim);
FAKE_RUN(fence);
FAKE_RUN(facts);
FAKE_RUN(lose);
FAKE_RUN(take);
FAKE_RUN(drop_done);
FAKE_RUN(park);
FAKE_RUN(pull);
FAKE_RUN(bury);
FAKE_RUN(store);
FAKE_RUN(store_called);
FAKE_RUN(outcome);
FAKE_RUN(register);
FAKE_RUN(heartbeat);
FAKE_RUN(stop);
FAKE_RUN(stop_free);
FAKE_RUN(fence_dead);
FAKE_RUN(free_taken);
FAKE_RUN(due);
FAKE_RUN(wake_expired);
FAKE_RUN(wake_key);
FAKE_RUN(cancelled);
FAKE_RUN(held);
FAKE_RUN(skips);
FAKE_RUN(others_wait);
FAKE_RUN(parked_count);
FAKE_RUN(batch_seen);
FAKE_RUN(elect);
FAKE_RUN(partitions);
FAKE_RUN(oldest_live);
FAKE_RUN(roll_up);
FAKE_RUN(figures);
FAKE_RUN(letters);
FAKE_RUN(published);
FAKE_RUN(durable);
FAKE_RUN(limits);
FAKE_RUN(exchange);
FAKE_RUN(leave);
FAKE_RUN(shares);
FAKE_RUN(share);
FAKE_RUN(share_dead);
FAKE_RUN(day_take);
FAKE_RUN(pay);
FAKE_RUN(day_give);
FAKE_RUN(learned);
FAKE_RUN(learned_pause);
FAKE_RUN(learned_open);
FAKE_RUN(learned_probe);
FAKE_RUN(learned_leave);
FAKE_RUN(learned_bears);
FAKE_RUN(learned_lower);
FAKE_RUN(learned_raise);

/* Versions whose context the job was too long for: count(DISTINCT model_version_id) of class 34. */
int64_t fake_too_long_for(const struct fake_pg *db, const struct jobid *job_id);

#endif
