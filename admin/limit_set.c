/*
 * limit_set.c - `inferq limit set` and `inferq limit clear`: an operator's amount of a limit, which
 * goes before the catalogue's, and its end.
 *
 * One transaction: the row of limit_rule, the audit row, and the notification at which workers read
 * limits again. --dry-run does it all and takes it back.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "admin/audit.h"
#include "admin/limit_ref.h"
#include "admin/out.h"

enum { REASON_BYTES_MAX = 4096, DETAIL_BYTES = REASON_BYTES_MAX + 64, NUMBER_BYTES = 24 };

static const struct table_col cols[] = {{"limit", "LIMIT", 60},
                                        {"dimension", "DIMENSION", 0},
                                        {"was", "WAS", 0},
                                        {"amount", "NOW", 0},
                                        {"source", "FROM", 0},
                                        {"state", "STATE", 0},
                                        {0}};

struct act {
    struct ctx *ctx;
    struct limit_ref ref;
    enum limit_dimension dimension; /* 0: all */
    int64_t amount;                 /* 0: the operators' goes */
    bool dry_run;
    struct table *table;
};

/* ---- what was asked for --------------------------------------------------------------------- */

static enum rc read_act(struct act *a, struct err *err)
{
    const struct opts *o = &a->ctx->opts;
    enum rc rc = limit_ref_parse(o->args[0], true, &a->ref, err);
    if (rc == RC_OK && o->arg_count > 1)
        rc = limit_dimension_ref(o->args[1], &a->dimension, err);
    if (rc == RC_OK && o->arg_count > 2)
        rc = limit_amount_parse(span_of(o->args[2]), a->dimension, &a->amount, err);
    if (rc == RC_OK && strlen(opts_text(o, "reason", "")) > REASON_BYTES_MAX)
        rc = err_set(err, RC_REJECT, "--reason: at most %d bytes", REASON_BYTES_MAX);
    a->dry_run = opts_set(o, "dry-run");
    return rc;
}

/* ---- the rows ------------------------------------------------------------------------------- */

/* The rows that it may change, locked: dimension, the catalogue's amount, the operators'. */
static const char look_sql[] =
    "SELECT dimension, coalesce(of_catalogue, 0), coalesce(of_operator, 0) FROM limit_rule "
    "WHERE scope = $1 AND key = $2 AND ($3::int2 = 0 OR dimension = $3::int2) "
    "ORDER BY dimension FOR UPDATE";

static const char write_sql[] =
    "INSERT INTO limit_rule AS r (scope, key, dimension, of_operator, changed_by) "
    "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (scope, key, dimension) DO UPDATE SET "
    "of_operator = excluded.of_operator, changed_at = now(), changed_by = excluded.changed_by";

static void add_limit(struct pg_params *p, const struct act *a, int dimension)
{
    pg_add_int(p, PG_INT2, (int64_t)a->ref.scope);
    pg_add_text(p, span_of(a->ref.key));
    pg_add_int(p, PG_INT2, dimension);
}

static enum rc write_rule(struct act *a, int dimension, struct err *err)
{
    char actor[ACTOR_BYTES];
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    add_limit(p, a, dimension);
    if (a->amount)
        pg_add_int(p, PG_INT8, a->amount);
    else
        pg_add_null(p, PG_INT8);
    pg_add_text(p, span_of(ctx_actor(a->ctx, actor)));
    rc = ctx_exec(a->ctx, write_sql, p, NULL, err);
    pg_params_free(p);
    return rc;
}

static const char *amount_text(int64_t amount, char out[NUMBER_BYTES])
{
    if (!amount)
        return "none";
    (void)snprintf(out, NUMBER_BYTES, "%" PRId64, amount);
    return out;
}

/* What an operator had said, what says one now, why. */
static enum rc write_audit(struct act *a, int dimension, int64_t before, struct err *err)
{
    char ref[LIMIT_REF_BYTES], subject[LIMIT_REF_BYTES + 32], detail[DETAIL_BYTES];
    char was[NUMBER_BYTES], is[NUMBER_BYTES];
    const char *reason = opts_text(&a->ctx->opts, "reason", "");
    (void)snprintf(subject, sizeof subject, "%s %s", limit_ref_text(&a->ref, ref),
                   limit_dimension_name(dimension));
    (void)snprintf(detail, sizeof detail, "%s -> %s%s%s", amount_text(before, was),
                   amount_text(a->amount, is), *reason ? ": " : "", reason);
    return audit(a->ctx, a->amount ? "limit set" : "limit clear", subject, detail, err);
}

static void add_amount(struct table *t, int64_t amount)
{
    if (amount)
        table_int(t, amount);
    else
        table_null(t);
}

static void add_row(struct act *a, int dimension, int64_t of_catalogue, int64_t of_operator)
{
    char ref[LIMIT_REF_BYTES];
    bool same = of_operator == a->amount;
    int64_t now = a->amount ? a->amount : of_catalogue;
    table_text(a->table, span_of(limit_ref_text(&a->ref, ref)));
    table_text(a->table, span_of(limit_dimension_name(dimension)));
    add_amount(a->table, of_operator ? of_operator : of_catalogue);
    add_amount(a->table, now);
    table_text(a->table, span_of(a->amount ? "operator" : now ? "catalogue" : NULL));
    table_text(a->table, span_of(same ? "unchanged" : a->dry_run ? "would change" : "changed"));
}

static enum rc change_one(struct act *a, int dimension, int64_t of_catalogue, int64_t of_operator,
                          struct err *err)
{
    enum rc rc = RC_OK;
    if (of_operator != a->amount)
        rc = write_rule(a, dimension, err);
    if (rc == RC_OK && of_operator != a->amount)
        rc = write_audit(a, dimension, of_operator, err);
    if (rc == RC_OK && (a->amount || of_operator))
        add_row(a, dimension, of_catalogue, of_operator);
    return rc;
}

static enum rc look(struct act *a, struct pg_rows **ret_rows, struct err *err)
{
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    add_limit(p, a, (int)a->dimension);
    rc = ctx_exec(a->ctx, look_sql, p, ret_rows, err);
    pg_params_free(p);
    return rc;
}

static enum rc change(struct act *a, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = limit_ref_resolve(a->ctx, &a->ref, a->amount == 0, err);
    if (rc == RC_OK)
        rc = look(a, &rows, err);
    for (int i = 0; rc == RC_OK && i < pg_row_count(rows); i++)
        rc = change_one(a, (int)pg_get_int(rows, i, 0), pg_get_int(rows, i, 1),
                        pg_get_int(rows, i, 2), err);
    if (rc == RC_OK && a->amount && pg_row_count(rows) == 0)
        rc = change_one(a, (int)a->dimension, 0, 0, err);
    if (rc == RC_OK) /* also when nothing changed: a worker may have missed it */
        rc = ctx_exec(a->ctx, "SELECT pg_notify('inferq_limit', '')::text", NULL, NULL, err);
    pg_rows_free(rows);
    return rc;
}

/* ---- commands ------------------------------------------------------------------------------- */

static enum rc run(struct act *a, struct err *err)
{
    struct err scratch;
    enum rc rc = read_act(a, err);
    if (rc == RC_OK)
        rc = ctx_begin(a->ctx, err);
    if (rc != RC_OK)
        return rc;
    rc = change(a, err);
    if (rc == RC_OK && a->dry_run)
        (void)!ctx_end(a->ctx, RC_REJECT, &scratch); /* it would work: now undo it */
    else
        rc = ctx_end(a->ctx, rc, err);
    if (rc == RC_OK)
        rc = ctx_print_table(a->ctx, a->table, err);
    if (rc == RC_OK && table_rows(a->table) == 0)
        out_note("no operator has set a limit there%s",
                 a->dry_run ? "" : "; workers were told once more");
    return rc;
}

enum rc limit_set(struct ctx *ctx, struct err *err)
{
    struct act a = {.ctx = ctx, .table = table_new(cols)};
    enum rc rc = cmd_have(a.table, err);
    if (rc == RC_OK)
        rc = run(&a, err);
    table_free(a.table);
    return rc;
}

enum rc limit_clear(struct ctx *ctx, struct err *err)
{
    return limit_set(ctx, err);
}
