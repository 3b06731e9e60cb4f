/*
 * upkeep.c - `inferq upkeep`: what must be done every day so that the system can run for years.
 *
 * One run at a time on a database (an advisory lock of the session); a second one says so and is
 * done. The acts stand on their own: one that fails is reported, the others are still done, and the
 * exit code is that of the first failure. Only a lost connection to Postgres ends the run.
 */
#include "admin/upkeep.h"

#include <stdio.h>
#include <string.h>

#include "admin/audit.h"
#include "admin/out.h"
#include "common/clock.h"

static const struct act {
    const char *name;
    enum rc (*run)(struct upkeep *u, struct err *err);
} acts[] = {
    {"partitions", upkeep_make},   {"drop", upkeep_drop},       {"calls", upkeep_calls},
    {"progress", upkeep_progress}, {"workers", upkeep_workers}, {"records", upkeep_records},
};
enum { ACT_COUNT = sizeof acts / sizeof acts[0] };

static const struct table_col cols[] = {{"act", "ACT", 0},         {"subject", "SUBJECT", 60},
                                        {"state", "STATE", 0},     {"count", "COUNT", 0},
                                        {"detail", "DETAIL", 160}, {0}};

/* ---- what the acts share ------------------------------------------------------------------ */

void upkeep_line(struct upkeep *u, const char *act, const char *subject, const char *state,
                 int64_t count, const char *detail)
{
    table_text(u->table, span_of(act));
    table_text(u->table, span_of(subject));
    table_text(u->table, span_of(state));
    table_int(u->table, count);
    table_text(u->table, detail && *detail ? span_of(detail) : (struct span){0});
}

enum rc upkeep_did(struct upkeep *u, const char *act, const char *subject, int64_t count,
                   const char *detail, struct err *err)
{
    char action[64], text[UPKEEP_DETAIL_BYTES + 32];
    upkeep_line(u, act, subject, u->dry_run ? "would do" : "done", count, detail);
    if (u->dry_run)
        return RC_OK;
    (void)snprintf(action, sizeof action, "upkeep %s", act);
    (void)snprintf(text, sizeof text, "%lld%s%s", (long long)count, detail && *detail ? ": " : "",
                   detail ? detail : "");
    return audit(u->ctx, action, subject, text, err);
}

enum rc upkeep_query(struct upkeep *u, const char *sql, const int64_t *params, int count,
                     struct pg_rows **ret_rows, struct err *err)
{
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    for (int i = 0; i < count; i++)
        pg_add_int(p, PG_INT8, params[i]);
    rc = ctx_exec(u->ctx, sql, p, ret_rows, err);
    pg_params_free(p);
    return rc;
}

/* ---- options ------------------------------------------------------------------------------ */

static enum rc read_duration(const struct opts *o, const char *name, int64_t *ret, struct err *err)
{
    char relative[64];
    const char *text = opts_text(o, name, NULL);
    if (!text)
        return RC_OK;
    int64_t now_ms = clock_wall_ms();
    int n = snprintf(relative, sizeof relative, "+%s", text);
    int64_t at = n < (int)sizeof relative ? clock_parse(relative, now_ms) : -1;
    if (at < now_ms)
        return err_set(err, RC_REJECT, "--%s: '%.40s' is no duration: 90s, 30m, 24h, 7d", name,
                       text);
    *ret = at - now_ms;
    return RC_OK;
}

static bool is_act(const char *name)
{
    for (int i = 0; i < ACT_COUNT; i++)
        if (strcmp(acts[i].name, name) == 0)
            return true;
    return false;
}

static enum rc check_only(const struct opts *o, struct err *err)
{
    const char *name;
    for (int i = 0; (name = opts_each(o, "only", i)) != NULL; i++)
        if (!is_act(name))
            return err_set(err, RC_REJECT,
                           "--only: no act '%.40s'; there are partitions, drop, calls, progress, "
                           "workers, records",
                           name);
    return RC_OK;
}

static bool is_wanted(const struct opts *o, const char *act)
{
    const char *name;
    bool none = true;
    for (int i = 0; (name = opts_each(o, "only", i)) != NULL; i++, none = false)
        if (strcmp(name, act) == 0)
            return true;
    return none;
}

/* What the command line says stands before what the database says. */
static enum rc read_settings(struct upkeep *u, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = ctx_exec(u->ctx,
                          "SELECT (SELECT value FROM setting WHERE name = 'retention_days'),"
                          " (SELECT value FROM setting WHERE name = 'kafka_keep_days')",
                          NULL, &rows, err);
    if (rc == RC_OK && (pg_null(rows, 0, 0) || pg_null(rows, 0, 1)))
        rc = err_set(err, RC_REJECT,
                     "the database's tables are of another release: run `inferq migrate`");
    if (rc == RC_OK) {
        if (u->retention_ms < 0)
            u->retention_ms = pg_get_int(rows, 0, 0) * DAY_MS;
        if (u->kafka_keep_ms < 0)
            u->kafka_keep_ms = pg_get_int(rows, 0, 1) * DAY_MS;
    }
    pg_rows_free(rows);
    return rc;
}

/* Partitions are detached by their owner alone. */
static enum rc check_owner(struct upkeep *u, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = ctx_exec(u->ctx,
                          "SELECT pg_has_role(c.relowner, 'USAGE') FROM pg_class c"
                          " WHERE c.oid = 'inferq.result'::regclass",
                          NULL, &rows, err);
    if (rc == RC_OK && !pg_get_bool(rows, 0, 0))
        rc = err_set(err, RC_REJECT,
                     "this login does not own inferq's tables, which `inferq upkeep` needs: use "
                     "the login of `inferq migrate` (--only records does without)");
    pg_rows_free(rows);
    return rc;
}

static bool needs_owner(const struct opts *o)
{
    for (int i = 0; i < ACT_COUNT; i++)
        if (acts[i].run != upkeep_records && is_wanted(o, acts[i].name))
            return true;
    return false;
}

static enum rc lock(struct upkeep *u, bool *ret_mine, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc =
        ctx_exec(u->ctx, "SELECT pg_try_advisory_lock(hashtextextended('inferq upkeep', 0))", NULL,
                 &rows, err); /* released when the session ends */
    if (rc == RC_OK)
        *ret_mine = pg_get_bool(rows, 0, 0);
    pg_rows_free(rows);
    return rc;
}

/* ---- running ------------------------------------------------------------------------------ */

static bool is_lost(struct upkeep *u)
{
    struct err scratch = {0};
    return pgc_exec(u->ctx->conn, "SELECT 1", NULL, NULL, &scratch) != RC_OK;
}

/* Returns the first failure; the others stand in the report. */
static enum rc run_acts(struct upkeep *u, struct err *err)
{
    enum rc first = RC_OK;
    for (int i = 0; i < ACT_COUNT; i++) {
        struct err why = {0};
        if (!is_wanted(&u->ctx->opts, acts[i].name))
            continue;
        enum rc rc = acts[i].run(u, &why);
        if (rc == RC_OK)
            continue;
        upkeep_line(u, acts[i].name, "", "failed", 0, why.text);
        if (first == RC_OK)
            first = err_set(err, rc, "%s: %s", acts[i].name, why.text);
        if (is_lost(u))
            break;
    }
    return first;
}

/* What was done is told whether or not the rest failed. */
static enum rc report(struct upkeep *u, enum rc rc, struct err *err)
{
    struct err print_err = {0};
    enum rc printed = ctx_print_table(u->ctx, u->table, &print_err);
    if (rc == RC_OK && printed != RC_OK)
        return err_set(err, printed, "%s", print_err.text);
    return rc;
}

static enum rc run_locked(struct upkeep *u, struct err *err)
{
    bool mine = false;
    enum rc rc = lock(u, &mine, err);
    if (rc != RC_OK)
        return rc;
    if (mine)
        return report(u, run_acts(u, err), err);
    out_note("another upkeep is at work on this database; nothing was done");
    return opts_set(&u->ctx->opts, "json") ? report(u, RC_OK, err) : RC_OK;
}

enum rc upkeep(struct ctx *ctx, struct err *err)
{
    struct upkeep u = {.ctx = ctx,
                       .dry_run = opts_set(&ctx->opts, "dry-run"),
                       .retention_ms = -1,
                       .kafka_keep_ms = -1,
                       .lost_after_ms = HOUR_MS,
                       .table = table_new(cols)};
    enum rc rc = cmd_have(u.table, err);
    if (rc == RC_OK)
        rc = check_only(&ctx->opts, err);
    if (rc == RC_OK)
        rc = read_duration(&ctx->opts, "retention", &u.retention_ms, err);
    if (rc == RC_OK)
        rc = read_duration(&ctx->opts, "kafka-keep", &u.kafka_keep_ms, err);
    if (rc == RC_OK)
        rc = read_duration(&ctx->opts, "lost-after", &u.lost_after_ms, err);
    if (rc == RC_OK)
        rc = read_settings(&u, err);
    if (rc == RC_OK && needs_owner(&ctx->opts))
        rc = check_owner(&u, err);
    if (rc == RC_OK)
        rc = run_locked(&u, err);
    table_free(u.table);
    return rc;
}
