/*
 * limit_ref.c - see limit_ref.h. Limits are of versions, which people need not name while there is
 * one; nothing is guessed where there are several.
 */
#include "admin/limit_ref.h"

#include <stdio.h>
#include <string.h>

#include "admin/out.h"
#include "admin/suggest.h"

#define FORMS "endpoint:NAME[@VERSION], model:NAME[@VERSION] or app:NAME"

/* ---- words ---------------------------------------------------------------------------------- */

enum rc limit_ref_parse(const char *said, bool whole, struct limit_ref *ret, struct err *err)
{
    const char *colon = strchr(said, ':');
    size_t n = colon ? (size_t)(colon - said) : strlen(said);
    int scope = limit_scope_parse((struct span){said, n});
    struct suggest near = {0};
    char word[SUGGEST_WORD_MAX + 1];
    (void)snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : 0), said);
    for (int i = 1; scope < 0 && i < LIMIT_SCOPE_END; i++)
        suggest_offer(&near, word, limit_scope_name(i));
    if (scope < 0)
        return err_set(err, RC_REJECT, "'%.80s' is none of " FORMS "%s%s%s", said,
                       near.best ? ": did you mean '" : "", near.best ? near.best : "",
                       near.best ? "'?" : "");
    if ((colon || whole) && (!colon || !colon[1]))
        return err_set(err, RC_REJECT, "'%.80s': which? " FORMS, said);
    if (colon && strlen(colon + 1) >= sizeof ret->key)
        return err_set(err, RC_REJECT, "'%.80s...' is too long for a name", said);
    ret->scope = (enum limit_scope)scope;
    (void)snprintf(ret->key, sizeof ret->key, "%s", colon ? colon + 1 : "");
    return RC_OK;
}

enum rc limit_dimension_ref(const char *said, enum limit_dimension *ret, struct err *err)
{
    int dimension = limit_dimension_parse(span_of(said));
    struct suggest near = {0};
    for (int i = 1; dimension < 0 && i < LIMIT_DIMENSION_END; i++)
        suggest_offer(&near, said, limit_dimension_name(i));
    if (dimension < 0 && near.best)
        return err_set(err, RC_REJECT, "'%.80s' is no dimension: did you mean %s?", said,
                       near.best);
    if (dimension < 0)
        return err_set(err, RC_REJECT,
                       "'%.80s' is no dimension; there are requests_per_minute, "
                       "input_tokens_per_minute, output_tokens_per_minute, tokens_per_minute, "
                       "tokens_per_day and in_flight",
                       said);
    *ret = (enum limit_dimension)dimension;
    return RC_OK;
}

const char *limit_ref_text(const struct limit_ref *ref, char out[LIMIT_REF_BYTES])
{
    (void)snprintf(out, LIMIT_REF_BYTES, "%s:%s", limit_scope_name((int)ref->scope), ref->key);
    return out;
}

/* ---- the catalogue -------------------------------------------------------------------------- */

/* $1 name, $2 scope, $3 whether rules count: how many keys it can be, the first, all of them, what
 * else there is. */
static const char find_sql[] =
    "WITH known AS (SELECT name || '@' || version AS key, name FROM endpoint WHERE $2::int2 = 1 "
    " UNION ALL SELECT label, model FROM model_version WHERE $2::int2 = 2), "
    "fits AS (SELECT key FROM known WHERE key = $1 OR name = $1 "
    " UNION SELECT key FROM limit_rule WHERE $3::bool AND scope = $2::int2 AND key = $1) "
    "SELECT count(*), min(key), coalesce(string_agg(key, ', ' ORDER BY key), ''), "
    "(SELECT coalesce(string_agg(key, ', ' ORDER BY key), 'none') "
    " FROM (SELECT key FROM known ORDER BY key LIMIT 20) k) FROM fits";

static enum rc judge_known(const struct pg_rows *rows, const struct limit_ref *ref, struct err *err)
{
    struct span known = pg_get_span(rows, 0, 3);
    if (pg_get_int(rows, 0, 0) > 0)
        return RC_OK;
    return err_set(err, RC_REJECT, "the catalogue has no %s '%.160s'; it has: %.*s",
                   limit_scope_name((int)ref->scope), ref->key, (int)known.n, known.p);
}

static enum rc judge_one(const struct pg_rows *rows, struct limit_ref *ref, struct err *err)
{
    struct span fits = pg_get_span(rows, 0, 2);
    enum rc rc = judge_known(rows, ref, err);
    if (rc != RC_OK)
        return rc;
    if (pg_get_int(rows, 0, 0) > 1)
        return err_set(err, RC_REJECT,
                       "%s '%.160s' has several versions, with limits of their own: which of %.*s?",
                       limit_scope_name((int)ref->scope), ref->key, (int)fits.n, fits.p);
    (void)snprintf(ref->key, sizeof ref->key, "%.*s", (int)pg_get_span(rows, 0, 1).n,
                   pg_get_span(rows, 0, 1).p);
    return RC_OK;
}

static void judge_app(const struct pg_rows *rows, const struct limit_ref *ref)
{
    if (!pg_get_bool(rows, 0, 0))
        out_note("no job of an app '%.160s' has been seen so far: is it spelled so?", ref->key);
}

/* Of an endpoint or a model: find_sql's one row. Of an app: whether it has batches. */
static enum rc find(struct ctx *ctx, const struct limit_ref *ref, bool rules_too,
                    struct pg_rows **ret_rows, struct err *err)
{
    bool app = ref->scope == LIMIT_APP;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_text(p, span_of(ref->key));
    if (!app)
        pg_add_int(p, PG_INT2, (int64_t)ref->scope);
    if (!app)
        pg_add_bool(p, rules_too);
    rc = ctx_exec(ctx, app ? "SELECT EXISTS (SELECT FROM batch WHERE app = $1)" : find_sql, p,
                  ret_rows, err);
    pg_params_free(p);
    return rc;
}

enum rc limit_ref_resolve(struct ctx *ctx, struct limit_ref *ref, bool rules_too, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = find(ctx, ref, rules_too, &rows, err);
    if (rc == RC_OK && ref->scope != LIMIT_APP)
        rc = judge_one(rows, ref, err);
    else if (rc == RC_OK && !rules_too)
        judge_app(rows, ref);
    pg_rows_free(rows);
    return rc;
}

enum rc limit_ref_known(struct ctx *ctx, const struct limit_ref *ref, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = find(ctx, ref, true, &rows, err);
    if (rc == RC_OK && ref->scope != LIMIT_APP)
        rc = judge_known(rows, ref, err);
    else if (rc == RC_OK)
        judge_app(rows, ref);
    pg_rows_free(rows);
    return rc;
}
