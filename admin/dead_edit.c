/*
 * dead_edit.c - `inferq dead edit`: runs dead jobs again with another body: members set by --set,
 * one body from --body FILE, or one that a person changes in an editor.
 *
 * The new body is judged before anything is written: a JSON object that differs from the old one,
 * for a model that the catalogue has. It is kept in `edited`; all else is as in dead_requeue.c. The
 * editor runs outside of any transaction; a body that is refused afterwards stays in its file.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin/body_edit.h"
#include "admin/cmd.h"
#include "admin/dead_act.h"
#include "admin/dead_filter.h"
#include "admin/dead_walk.h"
#include "admin/editor.h"
#include "admin/file.h"
#include "admin/requeue.h"
#include "common/json_scan.h"

enum { MODEL_BYTES_MAX = 1024 };

struct edit {
    struct requeue q;
    struct buf given;       /* the whole new body, from --body or the editor */
    struct buf steps[2];    /* --set: the body after each, in turn */
    char path[EDITOR_PATH]; /* of the editor's file; "": there is none */
};

/* ---- the new body ------------------------------------------------------------------------- */

static enum rc read_body(const struct letter *l, struct span *ret, struct err *err)
{
    struct job_msg msg;
    int class;
    enum rc rc = job_msg_decode(l->payload.p, l->payload.n, &msg, &class, err);
    if (rc != RC_OK)
        return err_prefix(err, rc, "its payload is no job");
    *ret = msg.body;
    return RC_OK;
}

static enum rc apply_sets(struct edit *e, const struct opts *o, struct span *body, struct err *err)
{
    enum rc rc = body_edit_check(*body, err);
    const char *assignment;
    for (int i = 0; rc == RC_OK && (assignment = opts_each(o, "set", i)); i++) {
        struct buf *out = &e->steps[i % 2];
        buf_reset(out);
        rc = body_edit_set(*body, assignment, out, err);
        *body = buf_span(out);
    }
    return rc;
}

/* A body for a model that no worker knows would only die again. */
static enum rc check_model(struct ctx *ctx, struct span body, struct err *err)
{
    char scratch[MODEL_BYTES_MAX];
    struct span text;
    enum json_type type;
    struct pg_rows *rows = NULL;
    if (json_member(body, "model", &text, &type) != RC_OK)
        return err_set(err, RC_REJECT, "the body's \"model\" stands there twice");
    if (type == JSON_TYPE_ABSENT)
        return RC_OK; /* a default of the catalogue serves it */
    struct span model = {0};
    if (type == JSON_TYPE_STRING)
        model = json_unquote(text, scratch, sizeof scratch);
    if (!model.p)
        return err_set(err, RC_REJECT, "the body's \"model\" is no name");
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_text(p, model);
    rc = ctx_exec(ctx,
                  "SELECT EXISTS (SELECT FROM model WHERE name = $1) OR "
                  "EXISTS (SELECT FROM model_version WHERE label = $1), "
                  "(SELECT coalesce(string_agg(name, ', ' ORDER BY name), 'none') FROM model)",
                  p, &rows, err);
    if (rc == RC_OK && !pg_get_bool(rows, 0, 0)) {
        struct span known = pg_get_span(rows, 0, 1);
        rc = err_set(err, RC_REJECT, "the catalogue has no model '%.*s'; it has: %.*s",
                     (int)model.n, model.p, (int)known.n, known.p);
    }
    pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}

/* What the letter's job is to run with. */
static enum rc make_body(struct edit *e, struct ctx *ctx, const struct letter *l,
                         struct requeue_edit *ret, struct err *err)
{
    struct span old, body;
    enum rc rc = read_body(l, &old, err);
    if (rc != RC_OK)
        return rc;
    body = old;
    if (e->given.n) {
        body = buf_span(&e->given);
        rc = body_edit_check(body, err);
    } else {
        rc = apply_sets(e, &ctx->opts, &body, err);
    }
    if (rc == RC_OK && span_eq(body, old))
        rc = err_set(err, RC_REJECT,
                     "nothing would be changed; `inferq dead requeue %" PRId64
                     "` runs it again as it is",
                     l->dead_id);
    if (rc == RC_OK)
        rc = check_model(ctx, body, err);
    if (rc == RC_OK)
        *ret = (struct requeue_edit){body, body_edit_asks_otherwise(old, body)};
    return rc;
}

/* ---- one letter --------------------------------------------------------------------------- */

static enum rc keep(struct ctx *ctx, const struct letter *l, const struct jobid *new_job,
                    struct span body, struct err *err)
{
    char actor[ACTOR_BYTES];
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_uuid(p, new_job);
    pg_add_int(p, PG_INT8, l->dead_id);
    pg_add_text(p, span_of(ctx_actor(ctx, actor)));
    pg_add_bytea(p, body);
    rc = ctx_exec(ctx,
                  "INSERT INTO edited (new_job_id, dead_id, actor, body) VALUES ($1, $2, $3, $4)",
                  p, NULL, err);
    pg_params_free(p);
    return rc;
}

static enum rc edit_one(struct dead_walk *w, int64_t dead_id, struct err *err)
{
    struct edit *e = w->arg;
    struct letter l = {0};
    struct requeue_edit edit;
    struct jobid new_job;
    enum rc rc = letter_read(w->ctx, dead_id, true, &l, err);
    if (rc == RC_OK)
        rc = letter_check_runnable(w->ctx, &l, err);
    if (rc == RC_OK)
        rc = make_body(e, w->ctx, &l, &edit, err);
    if (rc == RC_OK)
        rc = requeue_letter(&e->q, &l, &edit, w->table, &new_job, err);
    if (rc == RC_OK)
        rc = keep(w->ctx, &l, &new_job, edit.body, err);
    letter_done(&l);
    return rc;
}

/* ---- where the new body comes from ----------------------------------------------------------- */

/* Before the editor starts: a letter whose review is over is not worth anybody's typing. */
static enum rc ask_person(struct edit *e, struct ctx *ctx, struct err *err)
{
    int64_t dead_id = 0;
    struct letter l = {0};
    struct span body = {0};
    struct buf pretty;
    buf_init(&pretty, 2 * JOB_MSG_BYTES_MAX);
    enum rc rc = dead_id_parse(ctx->opts.args[0], &dead_id, err);
    if (rc == RC_OK)
        rc = letter_read(ctx, dead_id, false, &l, err);
    if (rc == RC_OK)
        rc = letter_check_runnable(ctx, &l, err);
    if (rc == RC_OK)
        rc = read_body(&l, &body, err);
    if (rc == RC_OK && body_edit_check(body, err) == RC_OK)
        body_edit_pretty(body, &pretty);
    else if (rc == RC_OK) /* it may have died of that */
        buf_add_span(&pretty, body);
    if (rc == RC_OK)
        rc = editor_run(buf_span(&pretty), e->path, &e->given, err);
    if (rc == RC_OK && span_eq(buf_span(&e->given), buf_span(&pretty))) {
        editor_forget(e->path);
        rc = err_set(err, RC_REJECT, "nothing was changed in the editor, so nothing was done");
    }
    letter_done(&l);
    buf_done(&pretty);
    return rc == RC_OK ? rc : err_prefix(err, rc, "dead letter %s", ctx->opts.args[0]);
}

static enum rc read_new(struct edit *e, struct ctx *ctx, struct err *err)
{
    const struct opts *o = &ctx->opts;
    const char *file = opts_text(o, "body", NULL);
    if (file && opts_set(o, "set"))
        return err_set(err, RC_REJECT, "--body is the whole body: it does not go with --set");
    if (opts_set(o, "set"))
        return RC_OK;
    if (o->arg_count != 1)
        return err_set(err, RC_REJECT,
                       "give one ID (with --body FILE, or without for the editor), or "
                       "--set KEY=VALUE for any number of letters");
    if (!file && opts_set(o, "dry-run"))
        return err_set(err, RC_REJECT, "--dry-run goes with --set or --body, not with the editor");
    if (!file)
        return ask_person(e, ctx, err);
    enum rc rc = file_read(file, &e->given, err);
    if (rc == RC_OK && e->given.n == 0)
        rc = err_set(err, RC_REJECT, "%s is empty", file);
    return rc == RC_OK ? rc : err_prefix(err, rc, "--body");
}

/* Nobody loses what was typed. */
static enum rc say_file(const struct edit *e, const struct opts *o, enum rc rc, struct err *err)
{
    if (rc == RC_OK || !e->path[0])
        return rc;
    return err_set(err, rc, "%s; what you wrote is in %s: `inferq dead edit %s --body FILE`",
                   err->text, e->path, o->args[0]);
}

enum rc dead_edit(struct ctx *ctx, struct err *err)
{
    struct edit e = {0};
    struct dead_walk w = {.ctx = ctx,
                          .verb = "edit",
                          .done_word = "edited and requeued",
                          .cols = requeue_cols,
                          .jobs_only = true,
                          .act = edit_one,
                          .arg = &e};
    buf_init(&e.given, JOB_MSG_BYTES_MAX);
    buf_init(&e.steps[0], JOB_MSG_BYTES_MAX);
    buf_init(&e.steps[1], JOB_MSG_BYTES_MAX);
    enum rc rc = requeue_init(&e.q, ctx, err);
    if (rc == RC_OK)
        rc = read_new(&e, ctx, err);
    if (rc == RC_OK)
        rc = say_file(&e, &ctx->opts, dead_walk(&w, err), err);
    if (rc == RC_OK)
        editor_forget(e.path);
    requeue_done(&e.q);
    buf_done(&e.given);
    buf_done(&e.steps[0]);
    buf_done(&e.steps[1]);
    return rc;
}
