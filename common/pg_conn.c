/*
 * pg_conn.c - what the blocking and the asynchronous connection do alike: how to connect, how to
 * say what went wrong, and what a SQLSTATE means for the caller.
 *
 * Errors are written for a person and for a log that others read. So a connection string that
 * libpq cannot read is never quoted (it may hold a password in an unexpected place), passwords are
 * taken out of libpq's messages, and of a refused statement only the primary message and names are
 * given: the server's detail shows the contents of rows.
 */
#include "common/pg_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

static enum rc check_conninfo(const char *conninfo, struct err *err)
{
    char *why = NULL;
    if (!*conninfo)
        return RC_OK;
    PQconninfoOption *options = PQconninfoParse(conninfo, &why);
    PQfreemem(why); /* quotes the string */
    if (!options)
        return err_set(err, RC_REJECT,
                       "the Postgres connection string cannot be read (and is not shown, as it may "
                       "hold a password): write host=... port=... dbname=... user=..., or "
                       "postgresql://user@host:port/dbname");
    PQconninfoFree(options);
    return RC_OK;
}

enum rc pg_connect_keys(const char *conninfo, const char *program, struct pg_connect_keys *ret_keys,
                        struct err *err)
{
    enum rc rc = check_conninfo(conninfo, err);
    if (rc != RC_OK)
        return rc;
    /* Of two equal keys libpq takes the later: what stands before the string is a default. */
    const char *timeout = getenv("PGCONNECT_TIMEOUT") ? NULL : "10";
    _Static_assert(PG_CONNECT_TIMEOUT_S == 10, "the text above");
    *ret_keys = (struct pg_connect_keys){
        {"connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "dbname",
         "application_name", "client_encoding", NULL},
        {timeout, "30", "10", "3", conninfo, program, "UTF8", NULL},
    };
    return RC_OK;
}

/* ---- words -------------------------------------------------------------------------------- */

static void mask(char *text, const char *secret)
{
    size_t n = secret ? strlen(secret) : 0;
    if (n < 4) /* would only spoil the message */
        return;
    for (char *at = strstr(text, secret); at; at = strstr(at + n, secret))
        memset(at, '*', n);
}

static void mask_passwords(PGconn *conn, char *text)
{
    PQconninfoOption *options = conn ? PQconninfo(conn) : NULL;
    for (PQconninfoOption *o = options; o && o->keyword; o++)
        if (strstr(o->keyword, "password") && strcmp(o->keyword, "passfile") != 0)
            mask(text, o->val);
    PQconninfoFree(options);
    if (conn)
        mask(text, PQpass(conn)); /* may come from a password file */
}

void pg_clean_text(PGconn *conn, const char *text, char *out, size_t out_bytes)
{
    size_t n = 0;
    for (; *text && n + 1 < out_bytes; text++) {
        bool blank = (unsigned char)*text <= ' ';
        if (blank && (n == 0 || out[n - 1] == ' '))
            continue;
        out[n++] = blank ? ' ' : *text;
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
    mask_passwords(conn, out);
}

/* What libpq last complained of, without its guess at why a connection was closed. */
static void last_complaint(PGconn *conn, char *out, size_t out_bytes)
{
    pg_clean_text(conn, PQerrorMessage(conn), out, out_bytes);
    char *guess = strstr(out, " This probably means the server terminated");
    if (guess)
        *guess = '\0';
}

enum rc pg_err_connect(PGconn *conn, const char *why, struct err *err)
{
    char text[ERR_TEXT_BYTES];
    if (!conn)
        return err_set(err, RC_RETRY, "cannot connect to Postgres: out of memory");
    last_complaint(conn, text, sizeof text);
    why = why ? why : text;
    /* libpq repeats the address, which is said already. */
    if (why == text && strncmp(text, "connection to server", strlen("connection to server")) == 0) {
        const char *failed = strstr(text, " failed: ");
        why = failed ? failed + strlen(" failed: ") : text;
    }
    const char *host = PQhost(conn), *port = PQport(conn), *db = PQdb(conn), *user = PQuser(conn);
    /* Nobody named a server, so libpq tried this machine's own. */
    bool unnamed = host && *host == '/' && !getenv("PGHOST") && !getenv("PGSERVICE");
    return err_set(err, RC_RETRY, "cannot connect to Postgres at %s:%s, database %s, user %s: %s%s",
                   host && *host ? host : "(no host)", port ? port : "", db ? db : "",
                   user ? user : "", *why ? why : "no answer",
                   unnamed ? " (a server elsewhere is named by PGHOST, or by the setting postgres)"
                           : "");
}

enum rc pg_err_lost(PGconn *conn, struct err *err)
{
    char text[ERR_TEXT_BYTES];
    last_complaint(conn, text, sizeof text);
    return err_set(err, RC_RETRY, "connection to Postgres lost: %s",
                   *text ? text : "the server closed it");
}

void pg_sqlstate_of(const PGresult *res, char out[6])
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    snprintf(out, 6, "%s", state ? state : "");
}

static const char *field(const PGresult *res, int code)
{
    const char *text = PQresultErrorField(res, code);
    return text ? text : "";
}

enum rc pg_err_result(const PGresult *res, struct err *err)
{
    char text[ERR_TEXT_BYTES];
    const char *table = field(res, PG_DIAG_TABLE_NAME);
    const char *constraint = field(res, PG_DIAG_CONSTRAINT_NAME);
    const char *state = field(res, PG_DIAG_SQLSTATE);
    const char *primary = field(res, PG_DIAG_MESSAGE_PRIMARY);
    pg_clean_text(NULL, *primary ? primary : PQresultErrorMessage(res), text, sizeof text);
    return err_set(err, pg_sqlstate_rc(state), "Postgres %s: %s%s%s%s%s%s",
                   *state ? state : PQresStatus(PQresultStatus(res)), text,
                   *table ? " (table " : "", table, *constraint ? ", constraint " : "", constraint,
                   *table ? ")" : "");
}

void pg_log_notice(const PGresult *res, const char *connection)
{
    char text[ERR_TEXT_BYTES];
    if (!log_on(LOG_DEBUG))
        return;
    pg_clean_text(NULL, field(res, PG_DIAG_MESSAGE_PRIMARY), text, sizeof text);
    log_event(LOG_DEBUG, "postgres notice", LF_STR("connection", connection),
              LF_STR("severity", field(res, PG_DIAG_SEVERITY_NONLOCALIZED)),
              LF_STR("sqlstate", field(res, PG_DIAG_SQLSTATE)), LF_STR("text", text));
}

/* ---- SQLSTATEs ---------------------------------------------------------------------------- */

enum rc pg_sqlstate_rc(const char *sqlstate)
{
    bool data = strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0;
    /* 23514: a row without a partition, which is made later; 22P03: binary data of another type
     * than the statement wants, which is a fault of ours and no row's. */
    if (strcmp(sqlstate, "23514") == 0 || strcmp(sqlstate, "22P03") == 0)
        data = false;
    return data ? RC_REJECT : RC_RETRY;
}

bool pg_sqlstate_passing(const char *sqlstate)
{
    /* connection, transaction rollback, resources, object in use, operator intervention */
    static const char *const classes[] = {"08", "40", "53", "55", "57", "58"};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (strncmp(sqlstate, classes[i], 2) == 0)
            return true;
    return false;
}
