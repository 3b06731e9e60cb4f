/*
 * ctx.c - what commands share: the connection, transactions, who acts, printing.
 */
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "admin/cmd.h"
#include "admin/out.h"
#include "common/buf.h"
#include "common/kafka_producer.h"

enum rc cmd_have(const void *p, struct err *err)
{
    return p ? RC_OK : err_set(err, RC_NOMEM, "no memory");
}

/* A schema that a login may not use looks to it as one that is not there: asked about while nothing
 * has failed yet, as a failed transaction answers no question. */
static enum rc look_at_rights(struct ctx *ctx, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = pgc_exec(ctx->conn,
                          "SELECT quote_ident(current_user) FROM pg_catalog.pg_namespace"
                          " WHERE nspname = 'inferq' AND NOT has_schema_privilege(oid, 'USAGE')",
                          NULL, &rows, err);
    if (rc == RC_OK && pg_row_count(rows) > 0) {
        struct span login = pg_get_span(rows, 0, 0);
        (void)snprintf(ctx->login, sizeof ctx->login, "%.*s", (int)login.n, login.p);
    }
    pg_rows_free(rows);
    return rc;
}

enum rc ctx_connect(struct ctx *ctx, struct err *err)
{
    if (ctx->conn)
        return RC_OK;
    enum rc rc = pgc_open(config_text(ctx->config, "postgres"), "inferq", &ctx->conn, err);
    if (rc == RC_OK)
        rc = pgc_script(ctx->conn, "SET client_min_messages = warning", err);
    return rc == RC_OK ? look_at_rights(ctx, err) : rc;
}

/* Adds the remedy where the SQLSTATE names one. */
static enum rc remedy(struct ctx *ctx, enum rc rc, struct err *err)
{
    static const struct {
        const char *sqlstate, *text;
    } remedies[] = {
        {"42P01", "the database lacks a table of this program: run `inferq migrate`"},
        {"3F000", "the database has no inferq tables: run `inferq migrate`"},
        {"42703", "the database's tables are of another release: run `inferq migrate`"},
        {"42883", "the database's functions are of another release: run `inferq migrate`"},
        {"42501", "this login may not do that: grant it inferq_operator or inferq_reviewer"},
    };
    if (rc != RC_REJECT)
        return rc;
    for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++) {
        if (strcmp(pgc_sqlstate(ctx->conn), remedies[i].sqlstate) != 0)
            continue;
        if (!*ctx->login)
            return err_prefix(err, rc, "%s", remedies[i].text);
        return err_prefix(err, rc,
                          "the tables are there, and this login may not use them: GRANT "
                          "inferq_reader TO %s to look, inferq_operator to act, inferq_reviewer "
                          "for dead letters",
                          ctx->login);
    }
    return rc;
}

enum rc ctx_exec(struct ctx *ctx, const char *sql, const struct pg_params *params,
                 struct pg_rows **ret_rows, struct err *err)
{
    enum rc rc = ctx_connect(ctx, err);
    return rc == RC_OK ? remedy(ctx, pgc_exec(ctx->conn, sql, params, ret_rows, err), err) : rc;
}

enum rc ctx_stream(struct ctx *ctx, const char *sql, const struct pg_params *params, pgc_row row,
                   void *arg, struct err *err)
{
    enum rc rc = ctx_connect(ctx, err);
    if (rc != RC_OK)
        return rc;
    return remedy(ctx, pgc_stream(ctx->conn, sql, params, row, arg, err), err);
}

enum rc ctx_begin(struct ctx *ctx, struct err *err)
{
    return ctx_exec(ctx, "BEGIN", NULL, NULL, err);
}

enum rc ctx_end(struct ctx *ctx, enum rc rc, struct err *err)
{
    struct err scratch;
    if (rc == RC_OK)
        return ctx_exec(ctx, "COMMIT", NULL, NULL, err);
    (void)!pgc_exec(ctx->conn, "ROLLBACK", NULL, NULL,
                    &scratch); /* the first failure is the news */
    return rc;
}

void ctx_kafka_free(struct ctx *ctx, struct kafka_producer *producer)
{
    if (!kafka_producer_free(producer, 0))
        ctx->kafka_stays = true;
}

const char *ctx_actor(const struct ctx *ctx, char out[ACTOR_BYTES])
{
    char host[64] = "";
    const struct passwd *user = getpwuid(geteuid());
    const char *given = opts_text(&ctx->opts, "actor", NULL);
    (void)gethostname(host, sizeof host - 1);
    if (given)
        (void)snprintf(out, ACTOR_BYTES, "%s", given);
    else if (user)
        (void)snprintf(out, ACTOR_BYTES, "%s@%s", user->pw_name, host);
    else
        (void)snprintf(out, ACTOR_BYTES, "uid %u@%s", (unsigned)geteuid(), host);
    return out;
}

enum rc ctx_print_table(struct ctx *ctx, const struct table *t, struct err *err)
{
    struct buf out;
    buf_init(&out, TABLE_BYTES_MAX);
    enum rc rc =
        opts_set(&ctx->opts, "json") ? table_json(t, &out, err) : table_print(t, &out, err);
    if (rc == RC_OK)
        rc = out_write(buf_span(&out), err);
    buf_done(&out);
    return rc;
}
