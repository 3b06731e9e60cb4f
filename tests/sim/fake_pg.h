/*
 * fake_pg.h - Postgres for the simulation: the tables of schemas/sql that workers write, and every
 * statement of worker/store_sql.c, in memory, deterministic, with the constraints of the schema.
 *
 * One transaction at a time, all or nothing, on a clock that the caller gives. What a transaction
 * answers is what the real server answers to the same text and parameters on the same rows:
 * tests/live/test_fake_pg runs random histories on both and compares answers and tables. Where SQL
 * leaves an order open, the fake takes that of ids, or of arrival. Concurrent
 * transactions, locks held over time, lost replies and restarts are the caller's to play.
 *
 * Memory: rows deleted and texts overwritten are kept until fake_pg_free. Running out of memory
 * ends the process: this is a test's tool.
 */
#ifndef INFERQ_TESTS_SIM_FAKE_PG_H
#define INFERQ_TESTS_SIM_FAKE_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/jobid.h"
#include "common/pg.h"
#include "common/span.h"

/* ---- the database ------------------------------------------------------------------------- */

struct fake_pg;

/* An empty database: migrated, without partitions (statement `partitions` makes them). */
struct fake_pg *fake_pg_new(void); /* returns owned */
void fake_pg_free(struct fake_pg *db);

/* ---- statements and transactions ---------------------------------------------------------- */

/* One statement with its parameters, decoded. */
struct fake_stmt;

/* `name` as in store_sql.c: "claim". `params` may be NULL: none; they are copied. Number and types
 * of the parameters are asserted. NULL: no such statement, or the set has failed. returns owned */
struct fake_stmt *fake_stmt_new(const char *name, const struct pg_params *params);
void fake_stmt_free(struct fake_stmt *stmt);
const char *fake_stmt_name(const struct fake_stmt *stmt);

/*
 * One transaction: all or nothing. now_us: the server's clock, Unix us, for now() and
 * clock_timestamp(). session: names the connection, for advisory locks.
 * RC_OK: ret_rows[i], returns owned (pg_rows_free), with the columns of the real answer; without
 * rows where the statement returns none. pg_affected says 0 on them, always.
 * RC_REJECT, RC_RETRY: `sqlstate` says why, by the rule of pg_txn; nothing changed but sequences,
 * as in Postgres; ret_rows untouched.
 */
enum rc fake_pg_txn(struct fake_pg *db, int64_t session, int64_t now_us,
                    struct fake_stmt *const *steps, int n, struct pg_rows **ret_rows,
                    char sqlstate[6], struct err *err) MUST_CHECK;

/* The connection is gone: its advisory locks are free. */
void fake_pg_session_end(struct fake_pg *db, int64_t session);

/* Did the last transaction notify those who listen for what is learned? */
bool fake_pg_told(const struct fake_pg *db);

/* From now on `park` does not see results younger than `since_us` (INT64_MAX: it sees all): as on a
 * server where its snapshot is older than the transaction that inserted them. */
void fake_pg_cross(struct fake_pg *db, int64_t since_us);

/* What `inferq batch cancel` writes: the batch is cancelled unless it was, its parked jobs wake.
 * Counts as a transaction (fake_pg_changes). False: there is no such batch. */
bool fake_pg_cancel(struct fake_pg *db, const struct jobid *batch_id, int64_t now_us);

/* What `inferq worker drain` writes. Counts as a transaction. False: there is no such worker. */
bool fake_pg_drain(struct fake_pg *db, int64_t worker_id, int64_t now_us);

/* What `inferq endpoint pause` and `resume` come to: the endpoint, by its id below FAKE_ENDPOINTS,
 * is paused or not. */
enum { FAKE_ENDPOINTS = 32 };
void fake_pg_hold(struct fake_pg *db, int endpoint_id, bool on);

/* What a catalogue or `inferq limit` writes: the limit's row with both amounts (FAKE_NULL: none);
 * codes as in common/limits.h. Counts as a transaction. Returns its id. */
int64_t fake_pg_limit(struct fake_pg *db, int scope, struct span key, int dimension,
                      int64_t of_catalogue, int64_t of_operator, int64_t now_us);
/* What was learned: the endpoint's multiplier, in permille. Counts as a transaction. */
void fake_pg_learned(struct fake_pg *db, struct span endpoint, int multiplier, int64_t now_us);

/* ---- rows to look at ---------------------------------------------------------------------- */

/* Integers, booleans and times (Unix us) are int64_t: FAKE_NULL where NULL. Texts and bytea: the
 * absent span. Ids that may be NULL: zero. */
#define FAKE_NULL INT64_MIN

struct fake_batch_row {
    struct jobid batch_id;
    struct span app, name, task, team;
    int64_t priority, created_ms, deadline_at, total, requeued;
    struct span input_sha256;
    int64_t registered_at, sealed_at, cancel_requested_at;
};

struct fake_progress_row {
    struct jobid batch_id;
    int64_t status, model_version_id, n, cost_nusd, at;
};

struct fake_result_row {
    struct jobid job_id, batch_id;
    int64_t finished_at, created_at, cost_nusd, queue_us, throttle_us, limit_us, limit_id, model_us,
        store_us;
    int64_t input_tokens, cached_tokens, output_tokens, reasoning_tokens;
    int64_t model_version_id, generation, status, class, call_number, http_status, validation;
    int64_t priority;
    struct span app, task, team, custom_id, url, finish_reason, model_reported, prompt_version;
    struct span context_version, trace_id, body, limit_waits;
};

struct fake_call_row {
    struct jobid job_id, batch_id;
    int64_t worker_id, claimed_at, estimated_nusd, upper_nusd, model_version_id, endpoint_id;
    int64_t price_id, number, kind;
    int64_t done_at, cost_nusd, model_us; /* NULL until the outcome, as all that follows */
    int64_t input_tokens, cached_tokens, output_tokens, reasoning_tokens;
    int64_t class, certainty, curl_code, http_status;
    struct span provider_request_id, model_reported, error;
    struct fake_call_row *next; /* of the same job, by number */
};

struct fake_worker_row {
    int64_t worker_id;
    struct span host;
    int64_t pid;
    struct span build;
    int64_t started_at, lease_until, stopped_at, fenced, drain_requested_at;
};

struct fake_parked_row {
    struct jobid job_id, batch_id;
    int64_t next_at, parked_at, deadline_at, taken_by, wait_key, priority, number, attempts, reasks;
    int64_t spent_nusd, waited_us, limit_us, limit_id, model_us, reason;
    struct span topic;
    int64_t partition, record_offset, record_at;
    struct span payload, headers, app, limit_waits;
    struct fake_place *place; /* no column: where it stands in its queue */
};

struct fake_letter_row {
    int64_t dead_id;
    struct span source;
    struct jobid job_id, batch_id; /* zero: NULL */
    int64_t created_at, published_at, record_at, record_offset, partition, generation, class;
    int64_t state, attempts;
    struct span topic, app, task, team, custom_id, model_version, reason, payload, headers;
};

struct fake_span_row {
    int64_t lower_ms, upper_ms;
    struct span suffix;
};

struct fake_limit_row {
    int64_t limit_id, scope;
    struct span key;
    int64_t dimension, of_catalogue, of_operator, changed_at;
    struct span changed_by;
};

struct fake_share_row {
    int64_t limit_id, worker_id, asks, want, need, in_use, share, seen;
    struct span wants;
    struct jobid at;   /* no column: limit and worker as one key */
    int64_t statement; /* no column: the last that changed it */
};

struct fake_day_row {
    int64_t limit_id, day, used, taken, amount;
    struct jobid at; /* no columns, as above */
    int64_t statement;
};

struct fake_cost_row {
    struct span route;
    int64_t day, used_nusd, taken_nusd, amount_nusd;
};

struct fake_learned_row {
    struct span endpoint;
    int64_t multiplier, ceiling, lowered_at, throttled_at, concurrency, paused_until, paused_for,
        faults;
    int64_t probing, probe_worker, probe_until, changed_at;
    int64_t statement; /* no column */
};

enum fake_table {
    FAKE_BATCH,
    FAKE_PROGRESS,
    FAKE_RESULT,
    FAKE_CALL,
    FAKE_WORKER,
    FAKE_PARKED,
    FAKE_LETTER,
    FAKE_SPAN,  /* partition_span */
    FAKE_LIMIT, /* limit_rule */
    FAKE_SHARE, /* limit_share */
    FAKE_DAY,   /* limit_day */
    FAKE_LEARNED,
    FAKE_COST, /* retry_cost */
    FAKE_TABLES,
};

/* Rows of a table, and the row at an index: 0 .. count - 1. The order is one of arrival until a row
 * is deleted, whose place the last one takes. Row pointers are good until the row is deleted (and
 * readable until fake_pg_free). */
int fake_pg_count(const struct fake_pg *db, enum fake_table table);
const struct fake_batch_row *fake_pg_batch_at(const struct fake_pg *db, int index);
const struct fake_progress_row *fake_pg_progress_at(const struct fake_pg *db, int index);
const struct fake_result_row *fake_pg_result_at(const struct fake_pg *db, int index);
const struct fake_call_row *fake_pg_call_at(const struct fake_pg *db, int index);
const struct fake_worker_row *fake_pg_worker_at(const struct fake_pg *db, int index);
const struct fake_parked_row *fake_pg_parked_at(const struct fake_pg *db, int index);
const struct fake_letter_row *fake_pg_letter_at(const struct fake_pg *db, int index);
const struct fake_span_row *fake_pg_span_at(const struct fake_pg *db, int index);
const struct fake_limit_row *fake_pg_limit_at(const struct fake_pg *db, int index);
const struct fake_share_row *fake_pg_share_at(const struct fake_pg *db, int index);
const struct fake_day_row *fake_pg_day_at(const struct fake_pg *db, int index);
const struct fake_cost_row *fake_pg_cost_at(const struct fake_pg *db, int index);
const struct fake_learned_row *fake_pg_learned_at(const struct fake_pg *db, int index);

/* By key; NULL: none. */
const struct fake_batch_row *fake_pg_batch(const struct fake_pg *db, const struct jobid *batch_id);
const struct fake_result_row *fake_pg_result(const struct fake_pg *db, const struct jobid *job_id);
const struct fake_parked_row *fake_pg_parked(const struct fake_pg *db, const struct jobid *job_id);
const struct fake_worker_row *fake_pg_worker(const struct fake_pg *db, int64_t worker_id);
const struct fake_share_row *fake_pg_share(const struct fake_pg *db, int64_t limit_id,
                                           int64_t worker_id);
const struct fake_learned_row *fake_pg_learned_of(const struct fake_pg *db, struct span endpoint);
/* The job's call with the lowest number; the others follow by `next`. */
const struct fake_call_row *fake_pg_calls(const struct fake_pg *db, const struct jobid *job_id);
const struct fake_call_row *fake_pg_call(const struct fake_pg *db, const struct jobid *job_id,
                                         int64_t number);

/* What the last committed transaction wrote, each row once per write, in order. `row` points at a
 * struct fake_*_row of the table as it stands now; `before` at a copy from before the write. */
struct fake_change {
    enum fake_table table;
    const void *row;    /* NULL: deleted */
    const void *before; /* NULL: inserted */
};
/* Good until the next transaction (one that fails included: it leaves none). */
const struct fake_change *fake_pg_changes(const struct fake_pg *db, int *ret_n);

/* ---- what the tables look like ------------------------------------------------------------ */

struct fake_column {
    const char *name;
    enum pg_type type;
    bool not_null;
    size_t at; /* of its field in the row: int64_t, struct jobid or struct span */
};
/* In the order of the schema. */
const struct fake_column *fake_pg_columns(enum fake_table table, int *ret_n);
const char *fake_pg_table_name(enum fake_table table); /* "dead_letter" */

#endif
