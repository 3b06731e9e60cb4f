/*
 * endpoint_pause.c - `inferq endpoint pause` and `resume`: no calls for an endpoint, on the whole
 * fleet, until it is resumed.
 *
 * One transaction: the row of endpoint_pause, which workers read when they start and every few
 * seconds, the audit row, and the notification at which they read it at once. Calls in flight end
 * by themselves; jobs wait in Postgres and spend no attempt. What calls taught the fleet, a resume
 * ends as well: the pause is over, and no probe is waited for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin/audit.h"
#include "admin/cmd.h"
#include "admin/jsonw.h"
#include "admin/out.h"

enum { NAME_BYTES = 160, REASON_BYTES_MAX = 4096 };

struct target {
    char name[NAME_BYTES];
    int64_t version; /* 0: all */
    const char *said;
};

/* NAME or NAME@VERSION. */
static enum rc read_target(const struct opts *o, struct target *ret, struct err *err)
{
    const char *said = o->args[0], *at = strrchr(said, '@');
    size_t n = at ? (size_t)(at - said) : strlen(said);
    struct target t = {.said = said};
    char *end = NULL;
    errno = 0;
    if (at)
        t.version = strtoll(at + 1, &end, 10);
    if (n == 0 || n >= sizeof t.name ||
        (at && (end == at + 1 || *end || errno || t.version < 1 || t.version > INT32_MAX)))
        return err_set(err, RC_REJECT, "'%.160s' is no endpoint: NAME, or NAME@VERSION", said);
    if (strlen(opts_text(o, "reason", "")) > REASON_BYTES_MAX)
        return err_set(err, RC_REJECT, "--reason: at most %d bytes", REASON_BYTES_MAX);
    memcpy(t.name, said, n);
    *ret = t;
    return RC_OK;
}

static void add_target(struct pg_params *p, const struct target *t)
{
    pg_add_text(p, span_of(t->name));
    pg_add_int(p, PG_INT4, t->version);
}

/* RC_REJECT: the catalogue has no such endpoint. */
static enum rc find(struct ctx *ctx, const struct pg_params *target, const char *said,
                    struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc =
        ctx_exec(ctx,
                 "SELECT EXISTS (SELECT FROM endpoint WHERE name = $1 "
                 "AND $2::int4 IN (0, version)), "
                 "(SELECT coalesce(string_agg(DISTINCT name, ', '), 'none') FROM endpoint)",
                 target, &rows, err);
    if (rc == RC_OK && !pg_get_bool(rows, 0, 0)) {
        struct span known = pg_get_span(rows, 0, 1);
        rc = err_set(err, RC_REJECT, "the catalogue has no endpoint '%.160s'; it has: %.*s", said,
                     (int)known.n, known.p);
    }
    pg_rows_free(rows);
    return rc;
}

static enum rc insert(struct ctx *ctx, const struct target *t, bool *ret_changed, struct err *err)
{
    char actor[ACTOR_BYTES];
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    add_target(p, t);
    pg_add_text(p, span_of(ctx_actor(ctx, actor)));
    pg_add_text(p, span_of(opts_text(&ctx->opts, "reason", "")));
    rc = ctx_exec(ctx,
                  "INSERT INTO endpoint_pause (name, version, actor, reason) "
                  "VALUES ($1, $2, $3, $4) ON CONFLICT (name, version) DO NOTHING",
                  p, &rows, err);
    if (rc == RC_OK)
        *ret_changed = pg_affected(rows) == 1;
    pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}

/* NAME takes back every pause of the name; NAME@VERSION its own, and says what else holds. */
static enum rc delete (struct ctx *ctx, const struct target *t, const struct pg_params *target,
                       bool *ret_changed, struct err *err) {
    struct pg_rows *rows = NULL;
    enum rc rc = ctx_exec(ctx,
                          "WITH gone AS (DELETE FROM endpoint_pause WHERE name = $1 "
                          " AND $2::int4 IN (0, version) RETURNING version) "
                          "SELECT (SELECT count(*) FROM gone), EXISTS (SELECT FROM endpoint_pause "
                          " WHERE name = $1 AND version = 0)",
                          target, &rows, err);
    if (rc == RC_OK && t->version && pg_get_bool(rows, 0, 1))
        rc = err_set(err, RC_REJECT,
                     "all versions of '%s' are paused together: `inferq endpoint resume %s`",
                     t->name, t->name);
    else if (rc == RC_OK) *ret_changed = pg_get_int(rows, 0, 0) > 0;
    pg_rows_free(rows);
    return rc;
}

/* Workers begin anew, with a call each, and with what was parked until the pause would have been
 * over. Whoever has the probe gives it back. */
static enum rc forget(struct ctx *ctx, const struct pg_params *target, bool *ret_forgot,
                      struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = ctx_exec(ctx,
                          "UPDATE limit_learned l SET paused_until = NULL, paused_for = NULL, "
                          "probing = false, faults = 0, changed_at = now() FROM endpoint e "
                          "WHERE e.name = $1 AND $2::int4 IN (0, e.version) "
                          "AND l.endpoint = e.name || '@' || e.version "
                          "AND (l.probing OR l.paused_until > now()) "
                          "RETURNING pg_notify('inferq_learned', '')::text",
                          target, &rows, err);
    if (rc == RC_OK)
        *ret_forgot = pg_affected(rows) > 0;
    pg_rows_free(rows);
    if (rc != RC_OK || !*ret_forgot)
        return rc;
    return ctx_exec(ctx,
                    "UPDATE parked p SET next_at = now() FROM endpoint e WHERE e.name = $1 "
                    "AND $2::int4 IN (0, e.version) AND p.wait_key = e.endpoint_id "
                    "AND p.taken_by IS NULL AND p.next_at > now()",
                    target, NULL, err);
}

struct done {
    bool changed; /* the operator's own pause */
    bool forgot;  /* that of what calls taught */
};

static enum rc change(struct ctx *ctx, const struct target *t, bool pause, struct done *ret,
                      struct err *err)
{
    struct pg_params *target = pg_params_new();
    enum rc rc = cmd_have(target, err);
    if (rc != RC_OK)
        return rc;
    add_target(target, t);
    rc = find(ctx, target, t->said, err);
    if (rc == RC_OK)
        rc = pause ? insert(ctx, t, &ret->changed, err)
                   : delete (ctx, t, target, &ret->changed, err);
    if (rc == RC_OK && !pause)
        rc = forget(ctx, target, &ret->forgot, err);
    if (rc == RC_OK && (ret->changed || ret->forgot))
        rc = audit(ctx, pause ? "endpoint pause" : "endpoint resume", t->said,
                   opts_text(&ctx->opts, "reason", ""), err);
    if (rc == RC_OK) /* also when nothing changed: a worker may have missed it */
        rc = ctx_exec(ctx, "SELECT pg_notify('inferq_endpoint', '')::text", NULL, NULL, err);
    pg_params_free(target);
    return rc;
}

static enum rc say(struct ctx *ctx, const struct target *t, bool pause, const struct done *did,
                   struct err *err)
{
    const char *done = pause ? "paused" : "resumed";
    if (opts_set(&ctx->opts, "json")) {
        struct buf out;
        buf_init(&out, 4096);
        struct jsonw w = {.out = &out};
        jsonw_open(&w, '{');
        jsonw_key(&w, "endpoint");
        jsonw_text(&w, span_of(t->said));
        jsonw_key(&w, "state");
        jsonw_text(&w, pause ? SPAN_LIT("paused") : SPAN_LIT("open"));
        jsonw_key(&w, "changed");
        jsonw_bool(&w, did->changed);
        jsonw_key(&w, "forgot");
        jsonw_bool(&w, did->forgot);
        jsonw_close(&w, '}');
        buf_add_byte(&out, '\n');
        enum rc rc = out_write(buf_span(&out), err);
        buf_done(&out);
        return rc;
    }
    if (did->forgot)
        return out_writef(err, "%s: %s; what calls had taught of it is forgotten\n", t->said, done);
    if (!did->changed)
        return out_writef(err, "%s %s; workers were told once more\n", t->said,
                          pause ? "is paused already" : "was not paused");
    return out_writef(err, "%s: %s\n", t->said, done);
}

static enum rc run(struct ctx *ctx, bool pause, struct err *err)
{
    struct target t;
    struct done did = {0};
    enum rc rc = read_target(&ctx->opts, &t, err);
    if (rc == RC_OK)
        rc = ctx_begin(ctx, err);
    if (rc != RC_OK)
        return rc;
    rc = ctx_end(ctx, change(ctx, &t, pause, &did, err), err);
    return rc == RC_OK ? say(ctx, &t, pause, &did, err) : rc;
}

enum rc endpoint_pause(struct ctx *ctx, struct err *err)
{
    return run(ctx, true, err);
}

enum rc endpoint_resume(struct ctx *ctx, struct err *err)
{
    return run(ctx, false, err);
}
