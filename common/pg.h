/*
 * pg.h - the Postgres edge: values in and out, a blocking connection for commands, and an
 * asynchronous, pipelined one for the worker.
 *
 * libpq stays behind this header. All values travel in binary format, parameters are always bound.
 * So SQL sent through it takes and returns only the types of enum pg_type (arrays of them as
 * parameters), and whatever has the same binary form: varchar, name, json and enums are read as
 * text. Others are cast in the SQL: numeric::text, jsonb::text, date::text, float8::text, intervals
 * as (extract(epoch from i) * 1000)::bigint; $1::text::jsonb on the way in. Reading a column as
 * another type than it has is a slip in the SQL and ends in an assertion.
 */
#ifndef INFERQ_COMMON_PG_H
#define INFERQ_COMMON_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/jobid.h"
#include "common/span.h"

/* ---- parameters ------------------------------------------------------------------------- */

enum pg_type { PG_BOOL, PG_INT2, PG_INT4, PG_INT8, PG_TEXT, PG_BYTEA, PG_UUID, PG_TIMESTAMPTZ };

/*
 * The parameters of one statement, $1 first. Scalars are added one by one; an array parameter is
 * opened, filled, and ends when the next parameter begins. Reusable: pg_params_reset keeps memory.
 * An append that runs out of memory (or past PG_PARAMS_BYTES_MAX), or a number that does not fit
 * its type, marks the set failed, and the statement is then refused with RC_NOMEM.
 */
struct pg_params;
enum { PG_PARAMS_MAX = 64, PG_PARAMS_BYTES_MAX = 256 << 20 };

struct pg_params *pg_params_new(void); /* returns owned; NULL: no memory */
void pg_params_free(struct pg_params *p);
void pg_params_reset(struct pg_params *p);
size_t pg_params_bytes(const struct pg_params *p);

void pg_add_null(struct pg_params *p, enum pg_type type);
void pg_add_bool(struct pg_params *p, bool v);
void pg_add_int(struct pg_params *p, enum pg_type type, int64_t v); /* INT2, INT4, INT8 */
void pg_add_text(struct pg_params *p, struct span s);               /* absent span: NULL */
void pg_add_bytea(struct pg_params *p, struct span s);              /* absent span: NULL */
void pg_add_uuid(struct pg_params *p, const struct jobid *id);      /* NULL: NULL */
void pg_add_time_ms(struct pg_params *p, int64_t unix_ms);          /* 0: NULL */

void pg_array(struct pg_params *p, enum pg_type type); /* opens the next parameter, an array */
void pg_elem_null(struct pg_params *p);
void pg_elem_bool(struct pg_params *p, bool v);
void pg_elem_int(struct pg_params *p, int64_t v);
void pg_elem_span(struct pg_params *p, struct span s); /* TEXT, BYTEA; absent: NULL */
void pg_elem_uuid(struct pg_params *p, const struct jobid *id);
void pg_elem_time_ms(struct pg_params *p, int64_t unix_ms); /* 0: NULL */

/* ---- rows ------------------------------------------------------------------------------- */

struct pg_rows; /* one statement's result, binary */

int pg_row_count(const struct pg_rows *r);
int64_t pg_affected(const struct pg_rows *r); /* rows an INSERT, UPDATE or DELETE touched */
int pg_col_count(const struct pg_rows *r);
const char *pg_col_name(const struct pg_rows *r, int col);
bool pg_null(const struct pg_rows *r, int row, int col);
bool pg_get_bool(const struct pg_rows *r, int row, int col);
int64_t pg_get_int(const struct pg_rows *r, int row, int col);       /* int2, int4, int8; NULL: 0 */
struct span pg_get_span(const struct pg_rows *r, int row, int col);  /* text, bytea; NULL: absent */
struct jobid pg_get_uuid(const struct pg_rows *r, int row, int col); /* NULL: zero */
int64_t pg_get_time_ms(const struct pg_rows *r, int row, int col);   /* timestamptz; NULL: 0;
                                                         rounds down; infinity: INT64_MAX, _MIN */

/* ---- blocking connection (commands) ------------------------------------------------------- */

struct pgc;

/* `conninfo` may be "" (the PG* environment decides). RC_RETRY: the server cannot be reached or
 * refuses the login; the message says host, port, database and user, never the password. RC_REJECT:
 * it is no connection string.
 * Sets search_path to inferq and application_name to `program`. returns owned */
enum rc pgc_open(const char *conninfo, const char *program, struct pgc **ret_conn,
                 struct err *err) MUST_CHECK;
void pgc_close(struct pgc *c);

/* One statement. `params` may be NULL. RC_REJECT: the server refused it (SQLSTATE in the message;
 * see pgc_sqlstate); RC_RETRY: the connection broke (pgc_sqlstate is "": nothing works on it any
 * more), or the server refused for the moment (classes 08, 40, 53, 55, 57, 58: serialization,
 * deadlock, lock not available, timeout, shutdown). *ret_rows: returns owned (pg_rows_free); may be
 * NULL when not wanted. */
enum rc pgc_exec(struct pgc *c, const char *sql, const struct pg_params *params,
                 struct pg_rows **ret_rows, struct err *err) MUST_CHECK;
/* The same, row by row in bounded memory; `row` is called with a one-row set and stops the walk by
 * returning anything but RC_OK (the walk then returns that). `row` uses this connection for nothing
 * else; its rows are gone when it returns. */
typedef enum rc (*pgc_row)(void *arg, const struct pg_rows *one, struct err *err);
enum rc pgc_stream(struct pgc *c, const char *sql, const struct pg_params *params, pgc_row row,
                   void *arg, struct err *err) MUST_CHECK;
/* Many statements in one text without parameters (migrations): one implicit transaction unless the
 * text says BEGIN. RC_REJECT names the line where the server does. */
enum rc pgc_script(struct pgc *c, const char *sql, struct err *err) MUST_CHECK;
const char *pgc_sqlstate(const struct pgc *c); /* of the last failure, "" when none */
void pg_rows_free(struct pg_rows *r);

/* ---- asynchronous connection (worker) ----------------------------------------------------- */

struct uv_loop_s;
struct pg;

struct pg_stmt {
    const char *name; /* "claim": prepared once per connection under this name */
    const char *sql;
};

struct pg_answer {
    enum rc rc;       /* OK: committed. RETRY: lost or refused for the moment, may or may not
                         have committed. REJECT: the statement's data were refused */
    char sqlstate[6]; /* "" when the connection broke before an answer */
    struct err err;
    int step_count;
    /* One per step, valid in the callback only; NULL unless OK. */
    const struct pg_rows *const *rows;
    int64_t sent_us, answered_us; /* CLOCK_MONOTONIC */
};
typedef void (*pg_done)(void *arg, const struct pg_answer *answer);

struct pg_conf {
    const char *conninfo;             /* borrowed for the life of the connection; "" allowed */
    const char *name;                 /* for application_name and the log: "store" */
    const struct pg_stmt *statements; /* borrowed; ends with a NULL name */
    const char *const *settings;      /* "SET ..." texts run at each connect; ends with NULL */
    int statement_timeout_ms;         /* 0: none */
    void *arg;
    void (*on_up)(void *arg);                    /* connected, prepared, ready */
    void (*on_down)(void *arg, const char *why); /* lost; reconnects by itself, 100 ms .. 5 s */
    void (*on_notify)(void *arg, const char *channel, const char *payload);
};

/* Starts connecting on the loop; never blocks except in name look-up of the host. NULL: the
 * connection string cannot be read, or no memory. Until the server is reached, and the settings and
 * statements are taken, it tries again as after a loss (each failure is logged, on_down is not
 * called). A connection silent for statement_timeout + 5 s with transactions pending is lost.
 * returns owned */
struct pg *pg_new(struct uv_loop_s *loop, const struct pg_conf *conf, struct err *err) MUST_CHECK;
/* Fails what is pending with RC_RETRY (their `done` run within this call, and no callback runs
 * after it), closes, frees at the end of the loop's turn: so it may be called from any callback.
 * on_down is not called. NULL is fine. */
void pg_free(struct pg *pg);
bool pg_is_up(const struct pg *pg);
/* Since when this connection has stood unbroken, CLOCK_MONOTONIC us; 0 when down. */
int64_t pg_up_since_us(const struct pg *pg);
int pg_pending(const struct pg *pg); /* transactions sent and not answered */

struct pg_step {
    int statement;                  /* index into conf.statements */
    const struct pg_params *params; /* copied out before pg_txn returns; may be NULL */
};
/* One transaction: the steps in one pipeline with one Sync (an implicit transaction; all or
 * nothing). `done` is called exactly once, from the loop, never from within pg_txn. RC_RETRY:
 * down, nothing was sent and `done` will not be called. RC_NOMEM: so too. RC_FATAL: so too; number
 * or types of the parameters are not what the server says the statement takes. */
enum rc pg_txn(struct pg *pg, const struct pg_step *steps, int step_count, pg_done done, void *arg,
               struct err *err) MUST_CHECK;

#endif
