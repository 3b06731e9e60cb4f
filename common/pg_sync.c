/*
 * pg_sync.c - the blocking connection of the commands: one statement at a time, binary in and out.
 *
 * The happy path is pgc_open, pgc_exec or pgc_stream as often as wanted, pgc_close. A statement
 * that the server refuses leaves the connection usable; a connection that breaks stays broken
 * (every later call says RC_RETRY), and the command decides whether to open another.
 */
#include "common/pg.h"

#include <stdlib.h>

#include "common/pg_internal.h"

struct pgc {
    PGconn *conn;
    char sqlstate[6];
};

static void on_notice(void *arg, const PGresult *res)
{
    (void)arg;
    pg_log_notice(res, "command");
}

/* The line, from 1, of the server's character position, from 1. */
static int line_of(const char *sql, long position)
{
    int line = 1;
    for (long at = 1; *sql && at < position; sql++) {
        line += *sql == '\n';
        at += ((unsigned char)sql[1] & 0xc0) != 0x80; /* a character begins next */
    }
    return line;
}

/* ---- opening ------------------------------------------------------------------------------ */

enum rc pgc_open(const char *conninfo, const char *program, struct pgc **ret_conn, struct err *err)
{
    struct pg_connect_keys keys;
    enum rc rc = pg_connect_keys(conninfo, program, &keys, err);
    if (rc != RC_OK)
        return rc;
    struct pgc *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, RC_NOMEM, "no memory for a Postgres connection");

    c->conn = PQconnectdbParams(keys.keys, keys.values, 1);
    if (PQstatus(c->conn) != CONNECTION_OK) {
        rc = pg_err_connect(c->conn, NULL, err);
        goto out;
    }
    PQsetNoticeReceiver(c->conn, on_notice, NULL);
    rc = pgc_script(c, "SET search_path = inferq", err);
    if (rc != RC_OK)
        goto out;
    *ret_conn = c;
    c = NULL;
out:
    pgc_close(c);
    return rc;
}

void pgc_close(struct pgc *c)
{
    if (!c)
        return;
    PQfinish(c->conn);
    free(c);
}

const char *pgc_sqlstate(const struct pgc *c)
{
    return c->sqlstate;
}

/* ---- statements --------------------------------------------------------------------------- */

/* What a failed result means; `res` may be NULL: libpq could not even ask. */
static enum rc explain(struct pgc *c, const PGresult *res, struct err *err)
{
    pg_sqlstate_of(res, c->sqlstate);
    if (!*c->sqlstate && PQstatus(c->conn) != CONNECTION_OK)
        return pg_err_lost(c->conn, err);
    if (!*c->sqlstate)
        return err_set(err, RC_NOMEM, "no memory for a statement or its answer");
    pg_err_result(res, err);
    return pg_sqlstate_passing(c->sqlstate) ? RC_RETRY : RC_REJECT;
}

static enum rc judge(struct pgc *c, const PGresult *res, struct err *err)
{
    c->sqlstate[0] = '\0';
    switch (PQresultStatus(res)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_SINGLE_TUPLE:
    case PGRES_EMPTY_QUERY:
        return RC_OK;
    case PGRES_COPY_IN: /* libpq ends it with the next statement */
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        return err_set(err, RC_REJECT, "COPY cannot be used here");
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_FATAL_ERROR:
    case PGRES_PIPELINE_SYNC:
    case PGRES_PIPELINE_ABORTED:
    default:
        return explain(c, res, err);
    }
}

enum rc pgc_exec(struct pgc *c, const char *sql, const struct pg_params *params,
                 struct pg_rows **ret_rows, struct err *err)
{
    struct pg_wire wire;
    enum rc rc = pg_params_wire(params, &wire, err);
    if (rc != RC_OK)
        return rc;
    PGresult *res = PQexecParams(c->conn, sql, wire.count, wire.types, wire.values, wire.lengths,
                                 wire.formats, 1);
    rc = judge(c, res, err);
    if (rc != RC_OK || !ret_rows)
        goto out;
    struct pg_rows *rows = malloc(sizeof *rows);
    if (!rows) {
        rc = err_set(err, RC_NOMEM, "no memory for a statement's rows");
        goto out;
    }
    rows->res = res;
    res = NULL;
    *ret_rows = rows;
out:
    PQclear(res);
    return rc;
}

enum rc pgc_script(struct pgc *c, const char *sql, struct err *err)
{
    PGresult *res = PQexec(c->conn, sql);
    enum rc rc = judge(c, res, err);
    const char *position = PQresultErrorField(res, PG_DIAG_STATEMENT_POSITION);
    if (rc == RC_REJECT && position)
        rc = err_prefix(err, rc, "line %d", line_of(sql, strtol(position, NULL, 10)));
    PQclear(res);
    return rc;
}

/* ---- row by row --------------------------------------------------------------------------- */

/* Ends the statement that runs: asks the server to stop, and reads what is on its way. */
static void abandon(struct pgc *c)
{
    char why[256];
    PGcancel *cancel = PQgetCancel(c->conn);
    if (cancel)
        (void)PQcancel(cancel, why, sizeof why); /* if it fails we only read longer */
    PQfreeCancel(cancel);
    for (PGresult *res = PQgetResult(c->conn); res; res = PQgetResult(c->conn))
        PQclear(res);
}

static enum rc one_result(struct pgc *c, PGresult *res, pgc_row row, void *arg, struct err *err)
{
    struct pg_rows one = {res};
    enum rc rc = judge(c, res, err);
    if (rc == RC_OK && PQresultStatus(res) == PGRES_SINGLE_TUPLE)
        rc = row(arg, &one, err);
    return rc;
}

enum rc pgc_stream(struct pgc *c, const char *sql, const struct pg_params *params, pgc_row row,
                   void *arg, struct err *err)
{
    struct pg_wire wire;
    enum rc rc = pg_params_wire(params, &wire, err);
    if (rc != RC_OK)
        return rc;
    if (!PQsendQueryParams(c->conn, sql, wire.count, wire.types, wire.values, wire.lengths,
                           wire.formats, 1))
        return explain(c, NULL, err);
    if (!PQsetSingleRowMode(c->conn)) {
        abandon(c);
        return err_set(err, RC_FATAL, "libpq refuses to give a statement's rows one by one");
    }
    while (rc == RC_OK) {
        PGresult *res = PQgetResult(c->conn);
        if (!res)
            return RC_OK;
        rc = one_result(c, res, row, arg, err);
        PQclear(res);
    }
    abandon(c);
    return rc;
}
