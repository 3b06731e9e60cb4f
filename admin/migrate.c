/*
 * migrate.c - `inferq migrate`: brings the database to this program's schema.
 *
 * Each file is applied once, in one transaction with the row in inferq.migration that says so. A
 * session lock (an advisory one, so that it needs no table) lets one program work at a time; the
 * others wait and then find nothing to do. A failing file leaves the database at the one before it,
 * and the whole thing may be run again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/cmd.h"
#include "admin/migrations.h"
#include "admin/out.h"

#define LOCK_KEY "hashtextextended('inferq migrate', 0)"

static enum rc run(struct ctx *ctx, const char *sql, struct err *err)
{
    return pgc_script(ctx->conn, sql, err);
}

/* ---- where the files are ------------------------------------------------------------------ */

static bool beside_program(const char *relative, char *out, size_t out_bytes)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return false;
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    if (!slash)
        return false;
    *slash = '\0';
    int used = snprintf(out, out_bytes, "%s/%s", self, relative);
    return used > 0 && (size_t)used < out_bytes && access(out, R_OK | X_OK) == 0;
}

/* The flag, the environment, then what was compiled in, then what lies beside the program. */
static const char *sql_dir(const struct ctx *ctx, char *out, size_t out_bytes)
{
    const char *given = opts_text(&ctx->opts, "sql-dir", getenv("INFERQ_SQL_DIR"));
    if (given && *given) {
        (void)snprintf(out, out_bytes, "%s", given);
        return out;
    }
    (void)snprintf(out, out_bytes, "%s/sql", INFERQ_DATADIR);
    if (access(out, R_OK | X_OK) == 0 || beside_program("../share/inferq/sql", out, out_bytes) ||
        beside_program("../../schemas/sql", out, out_bytes))
        return out;
    (void)snprintf(out, out_bytes, "%s/sql", INFERQ_DATADIR);
    return out;
}

/* ---- what the database has ---------------------------------------------------------------- */

static enum rc table_exists(struct ctx *ctx, bool *ret, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc =
        ctx_exec(ctx, "SELECT to_regclass('inferq.migration') IS NOT NULL", NULL, &rows, err);
    if (rc == RC_OK)
        *ret = pg_get_bool(rows, 0, 0);
    pg_rows_free(rows);
    return rc;
}

static enum rc match_rows(struct migrations *m, const struct pg_rows *rows, struct err *err)
{
    int count = pg_row_count(rows);
    struct migration_row *applied = calloc((size_t)count + 1, sizeof *applied);
    if (!applied)
        return err_set(err, RC_NOMEM, "no memory for %d migrations", count);
    for (int i = 0; i < count; i++)
        applied[i] = (struct migration_row){
            .number = (int)pg_get_int(rows, i, 0),
            .name = pg_get_span(rows, i, 1),
            .sha256 = pg_get_span(rows, i, 2),
            .applied_ms = pg_get_time_ms(rows, i, 3),
        };
    enum rc rc = migrations_match(m, applied, count, err);
    free(applied);
    return rc;
}

static enum rc match(struct ctx *ctx, struct migrations *m, struct err *err)
{
    bool exists = false;
    struct pg_rows *rows = NULL;
    enum rc rc = table_exists(ctx, &exists, err);
    if (rc != RC_OK || !exists)
        return rc;
    rc = ctx_exec(ctx,
                  "SELECT number, name, sha256, applied_at FROM inferq.migration ORDER BY number",
                  NULL, &rows, err);
    if (rc == RC_OK)
        rc = match_rows(m, rows, err);
    pg_rows_free(rows);
    return rc;
}

enum rc migrate_compare(struct ctx *ctx, struct migrations *ret, struct err *err)
{
    char dir[4096];
    struct migrations m = {0};
    enum rc rc = migrations_read(sql_dir(ctx, dir, sizeof dir), &m, err);
    if (rc == RC_OK)
        rc = match(ctx, &m, err);
    if (rc == RC_OK)
        *ret = m;
    else
        migrations_done(&m);
    return rc;
}

/* ---- applying ----------------------------------------------------------------------------- */

static enum rc lock(struct ctx *ctx, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = ctx_exec(ctx, "SELECT pg_try_advisory_lock(" LOCK_KEY ")", NULL, &rows, err);
    bool taken = rc == RC_OK && pg_get_bool(rows, 0, 0);
    pg_rows_free(rows);
    if (rc != RC_OK || taken)
        return rc;
    out_note("another migrate is at work on this database; waiting for it");
    return ctx_exec(ctx, "SELECT pg_advisory_lock(" LOCK_KEY ")::text", NULL, NULL, err);
}

static enum rc make_table(struct ctx *ctx, struct err *err)
{
    return run(ctx,
               "CREATE SCHEMA IF NOT EXISTS inferq;"
               "CREATE TABLE IF NOT EXISTS inferq.migration ("
               "    number int PRIMARY KEY, name text NOT NULL, sha256 bytea NOT NULL,"
               "    applied_at timestamptz NOT NULL DEFAULT now())",
               err);
}

static enum rc record(struct ctx *ctx, const struct migration *m, struct err *err)
{
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_int(p, PG_INT4, m->number);
    pg_add_text(p, span_of(m->name));
    pg_add_bytea(p, (struct span){(const char *)m->sha256, sizeof m->sha256});
    rc = ctx_exec(ctx, "INSERT INTO inferq.migration (number, name, sha256) VALUES ($1, $2, $3)", p,
                  NULL, err);
    pg_params_free(p);
    return rc;
}

static enum rc transaction_id(struct ctx *ctx, int64_t *ret, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = ctx_exec(ctx, "SELECT pg_current_xact_id()::text::bigint", NULL, &rows, err);
    if (rc == RC_OK)
        *ret = pg_get_int(rows, 0, 0);
    pg_rows_free(rows);
    return rc;
}

/* The file, and a check that it did not end the transaction that it runs in. */
static enum rc apply_sql(struct ctx *ctx, const struct migration *m, struct err *err)
{
    int64_t before = 0, after = 0;
    enum rc rc = transaction_id(ctx, &before, err);
    if (rc == RC_OK)
        rc = run(ctx, m->sql, err);
    if (rc == RC_OK)
        rc = transaction_id(ctx, &after, err);
    if (rc == RC_OK && before != after)
        rc = err_set(err, RC_REJECT,
                     "it ends its transaction itself, so a part of it may stand: "
                     "take COMMIT and ROLLBACK out of it, and mend the database");
    return rc;
}

static enum rc apply(struct ctx *ctx, const struct migration *m, struct err *err)
{
    enum rc rc = ctx_begin(ctx, err);
    if (rc != RC_OK)
        return rc;
    rc = apply_sql(ctx, m, err);
    if (rc == RC_OK) /* a file may have left a search_path of its own */
        rc = run(ctx, "SET LOCAL search_path = inferq", err);
    if (rc == RC_OK)
        rc = record(ctx, m, err);
    rc = ctx_end(ctx, rc, err);
    return rc == RC_OK ? RC_OK : err_prefix(err, rc, "%s: not applied", m->file);
}

static enum rc apply_missing(struct ctx *ctx, struct migrations *m, struct err *err)
{
    int applied = 0;
    for (int i = 0; i < m->count; i++) {
        if (m->all[i].applied_ms)
            continue;
        enum rc rc = apply(ctx, &m->all[i], err);
        if (rc == RC_OK)
            rc = out_writef(err, "applied %s\n", m->all[i].file);
        if (rc != RC_OK)
            return rc;
        applied++;
    }
    if (applied)
        return out_writef(err, "the database is at migration %d\n", m->count);
    return out_writef(err, "the database is at migration %d already\n", m->count);
}

static enum rc partitions(struct ctx *ctx, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = ctx_exec(ctx, "SELECT inferq.ensure_partitions()", NULL, &rows, err);
    int64_t made = rc == RC_OK ? pg_get_int(rows, 0, 0) : 0;
    pg_rows_free(rows);
    if (rc == RC_OK && made)
        rc = out_writef(err, "made %lld partitions of result and of call\n", (long long)made);
    return rc;
}

static enum rc migrate_all(struct ctx *ctx, struct migrations *m, struct err *err)
{
    enum rc rc = lock(ctx, err); /* released when the session ends */
    if (rc == RC_OK)
        rc = match(ctx, m, err);
    if (rc == RC_OK)
        rc = make_table(ctx, err);
    if (rc == RC_OK)
        rc = apply_missing(ctx, m, err);
    if (rc == RC_OK)
        rc = partitions(ctx, err);
    return rc;
}

/* ---- status ------------------------------------------------------------------------------- */

static const char *state_of(const struct migration *m)
{
    return m->changed ? "changed" : m->applied_ms ? "applied" : "pending";
}

static enum rc print_status(struct ctx *ctx, const struct migrations *m, struct err *err)
{
    static const struct table_col cols[] = {{"number", "NUMBER", 0},
                                            {"name", "NAME", 0},
                                            {"state", "STATE", 0},
                                            {"applied_at", "APPLIED", 0},
                                            {0}};
    struct table *t = table_new(cols);
    enum rc rc = cmd_have(t, err);
    if (rc != RC_OK)
        return rc;
    for (int i = 0; i < m->count; i++) {
        table_int(t, m->all[i].number);
        table_text(t, span_of(m->all[i].name));
        table_text(t, span_of(state_of(&m->all[i])));
        table_time(t, m->all[i].applied_ms);
    }
    rc = ctx_print_table(ctx, t, err);
    table_free(t);
    return rc;
}

/* The table first, then what is wrong with it. */
static enum rc status(struct ctx *ctx, struct migrations *m, struct err *err)
{
    enum rc matched = match(ctx, m, err);
    if (matched != RC_OK && matched != RC_REJECT)
        return matched;
    struct err print_err;
    enum rc rc = print_status(ctx, m, &print_err);
    if (rc != RC_OK && matched == RC_OK)
        return err_set(err, rc, "%s", print_err.text);
    return matched;
}

enum rc migrate(struct ctx *ctx, struct err *err)
{
    char dir[4096];
    struct migrations m = {0};
    enum rc rc = migrations_read(sql_dir(ctx, dir, sizeof dir), &m, err);
    if (rc != RC_OK)
        return rc;
    rc = ctx_connect(ctx, err);
    if (rc == RC_OK && *ctx->login)
        rc = err_set(err, RC_REJECT,
                     "the tables are there, and login %s may not use them: migrate with the login "
                     "that owns schema inferq",
                     ctx->login);
    if (rc == RC_OK)
        rc = opts_set(&ctx->opts, "status") ? status(ctx, &m, err) : migrate_all(ctx, &m, err);
    migrations_done(&m);
    return rc;
}
