/*
 * pg_internal.h - what the files of the Postgres edge share. Nobody else includes it: it is the one
 * place where libpq's types are seen.
 */
#ifndef INFERQ_COMMON_PG_INTERNAL_H
#define INFERQ_COMMON_PG_INTERNAL_H

#include <libpq-fe.h>

#include "common/pg.h"

struct pg_rows {
    PGresult *res;
};

/* ---- values (pg_value.c) ------------------------------------------------------------------ */

/* A parameter set as libpq wants it. Points into the set: valid until the set next changes. */
struct pg_wire {
    int count;
    Oid types[PG_PARAMS_MAX];
    const char *values[PG_PARAMS_MAX];
    int lengths[PG_PARAMS_MAX];
    int formats[PG_PARAMS_MAX];
};

/* `params` may be NULL: none. RC_NOMEM when the set has failed; `ret_wire` is then untouched. */
enum rc pg_params_wire(const struct pg_params *params, struct pg_wire *ret_wire,
                       struct err *err) MUST_CHECK;

/* "int8", "text[]"...; "" for a type that no parameter here can have. */
const char *pg_oid_name(Oid oid);

/* ---- what both connections do alike (pg_conn.c) ------------------------------------------- */

enum { PG_CONNECT_TIMEOUT_S = 10, PG_CONNECT_KEYS_MAX = 12 };

/* Key words and values for PQconnectStartParams with expand_dbname. */
struct pg_connect_keys {
    const char *keys[PG_CONNECT_KEYS_MAX];
    const char *values[PG_CONNECT_KEYS_MAX];
};

/* RC_REJECT when `conninfo` is neither empty nor a connection string that libpq can read. Borrows
 * both texts. */
enum rc pg_connect_keys(const char *conninfo, const char *program, struct pg_connect_keys *ret_keys,
                        struct err *err) MUST_CHECK;

/* "cannot connect to Postgres at HOST:PORT, database D, user U: why". `why`: NULL for
 * what libpq says. Returns RC_RETRY. */
enum rc pg_err_connect(PGconn *conn, const char *why, struct err *err);
/* "connection to Postgres lost: why". Returns RC_RETRY. */
enum rc pg_err_lost(PGconn *conn, struct err *err);
/* What the server said of a statement: SQLSTATE, message, table and constraint; never its detail,
 * which shows row contents. Returns RC_RETRY or RC_REJECT by pg_sqlstate_rc. */
enum rc pg_err_result(const PGresult *res, struct err *err);
/* Copies the SQLSTATE, "" when the result has none. */
void pg_sqlstate_of(const PGresult *res, char out[6]);

/* Bad data (22xxx and 23xxx, except 23514 and 22P03): RC_REJECT; everything else: RC_RETRY. */
enum rc pg_sqlstate_rc(const char *sqlstate);
/* Will the same statement work later without anybody's help? */
bool pg_sqlstate_passing(const char *sqlstate);

/* One line, control characters as blanks, without the connection's passwords. */
void pg_clean_text(PGconn *conn, const char *text, char *out, size_t out_bytes);

/* Notices of the server, to the log at debug. */
void pg_log_notice(const PGresult *res, const char *connection);

#endif
