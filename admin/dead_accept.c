/*
 * dead_accept.c - `inferq dead accept`: a reviewer takes what the model said as the answer of a job
 * that died of it, or gives the answer with --output FILE.
 *
 * The job stays dead and its result row as it is; one row of `accepted` says that reports may use
 * the answer, and what it is where it is not the model's own. Refused: a letter whose job has no
 * answer to take, and a given answer that the job's output rule does not allow.
 */
#include <string.h>

#include "admin/cmd.h"
#include "admin/dead_act.h"
#include "admin/dead_walk.h"
#include "admin/file.h"
#include "common/outspec.h"
#include "common/utf8.h"

enum { ANSWER_BYTES_MAX = 8 << 20 };

/* The model's own answer, as reports read it: absent where there is none, or no result. */
static enum rc read_own(struct ctx *ctx, const struct letter *l, struct pg_rows **ret_rows,
                        struct err *err)
{
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_uuid(p, &l->job_id);
    rc = ctx_exec(ctx, "SELECT reply_text(url, body) FROM result WHERE job_id = $1", p, ret_rows,
                  err);
    pg_params_free(p);
    return rc;
}

/* The answer in the form that the job asked for: a label as its list spells it. */
static enum rc check_given(const struct letter *l, struct span *answer, struct outspec **ret_spec,
                           struct err *err)
{
    struct job_msg msg;
    int class;
    enum rc rc = job_msg_decode(l->payload.p, l->payload.n, &msg, &class, err);
    if (rc != RC_OK)
        return err_prefix(err, rc, "its payload is no job");
    rc = outspec_of_job(&msg, ret_spec, err);
    if (rc == RC_OK)
        rc = outspec_check(*ret_spec, *answer, err);
    if (rc != RC_OK)
        return err_prefix(err, rc, "--output is not what the job asked for");
    struct span label = outspec_label(*ret_spec, *answer);
    if (label.p)
        *answer = label;
    return RC_OK;
}

static enum rc insert(struct ctx *ctx, const struct letter *l, struct span given, struct err *err)
{
    char actor[ACTOR_BYTES];
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_uuid(p, &l->job_id);
    pg_add_int(p, PG_INT8, l->dead_id);
    pg_add_uuid(p, &l->batch_id);
    pg_add_text(p, span_of(ctx_actor(ctx, actor)));
    pg_add_text(p, given);
    rc = ctx_exec(ctx,
                  "INSERT INTO accepted (job_id, dead_id, batch_id, actor, answer) "
                  "VALUES ($1, $2, $3, $4, $5)",
                  p, NULL, err);
    pg_params_free(p);
    return rc;
}

static enum rc check_acceptable(struct ctx *ctx, const struct letter *l, struct err *err)
{
    enum rc rc = letter_check_open(ctx, l, err);
    if (rc == RC_OK && !l->has_job)
        rc = err_set(err, RC_REJECT,
                     "it holds no job, so there is no answer to accept; "
                     "`inferq dead discard` ends its review");
    return rc;
}

static enum rc accept_letter(struct dead_walk *w, const struct letter *l, struct span given,
                             struct err *err)
{
    struct pg_rows *own = NULL;
    struct outspec *spec = NULL;
    enum rc rc = read_own(w->ctx, l, &own, err);
    if (rc != RC_OK)
        return rc;
    if (pg_row_count(own) == 0) {
        rc = err_set(err, RC_REJECT, "its result is gone with its partition");
        goto out;
    }
    struct span answer = given.p ? given : pg_get_span(own, 0, 0);
    if (given.p)
        rc = check_given(l, &answer, &spec, err);
    else if (answer.n == 0)
        rc = err_set(err, RC_REJECT,
                     "the model gave no answer to accept (class %s): give one, --output FILE",
                     class_name(l->class));
    if (rc == RC_OK)
        rc = insert(w->ctx, l, given.p ? answer : given, err);
    if (rc == RC_OK)
        rc = letter_mark(w->ctx, l, DEAD_ACCEPTED, "accept", NULL, err);
    if (rc == RC_OK) {
        table_int(w->table, l->dead_id);
        table_text(w->table, l->custom_id);
        table_id(w->table, &l->job_id);
        table_text(w->table, answer);
    }
out:
    outspec_free(spec);
    pg_rows_free(own);
    return rc;
}

static enum rc accept_one(struct dead_walk *w, int64_t dead_id, struct err *err)
{
    struct letter l = {0};
    const struct span *given = w->arg;
    enum rc rc = letter_read(w->ctx, dead_id, true, &l, err);
    if (rc == RC_OK)
        rc = check_acceptable(w->ctx, &l, err);
    if (rc == RC_OK)
        rc = accept_letter(w, &l, *given, err);
    letter_done(&l);
    return rc;
}

/* The given answer, without the line's end that an editor puts behind it; absent: none. */
static enum rc read_given(struct ctx *ctx, struct buf *file, struct span *ret, struct err *err)
{
    const char *path = opts_text(&ctx->opts, "output", NULL);
    if (!path)
        return RC_OK;
    if (ctx->opts.arg_count != 1)
        return err_set(err, RC_REJECT, "--output is the answer of one job: give one ID with it");
    enum rc rc = file_read(path, file, err);
    if (rc != RC_OK)
        return err_prefix(err, rc, "--output");
    struct span text = buf_span(file);
    if (text.n && text.p[text.n - 1] == '\n')
        text.n--;
    if (text.n == 0 || !utf8_text(text))
        return err_set(err, RC_REJECT, "--output: %s %s", path,
                       text.n ? "is not UTF-8 text" : "is empty");
    *ret = text;
    return RC_OK;
}

enum rc dead_accept(struct ctx *ctx, struct err *err)
{
    static const struct table_col cols[] = {{"dead_id", "ID", 0},
                                            {"custom_id", "CUSTOM ID", 40},
                                            {"job_id", NULL, 0},
                                            {"answer", "ANSWER", 80},
                                            {0}};
    struct span given = {0};
    struct buf file;
    struct dead_walk w = {.ctx = ctx,
                          .verb = "accept",
                          .done_word = "accepted",
                          .cols = cols,
                          .jobs_only = true,
                          .act = accept_one,
                          .arg = &given};
    buf_init(&file, ANSWER_BYTES_MAX);
    enum rc rc = read_given(ctx, &file, &given, err);
    if (rc == RC_OK)
        rc = dead_walk(&w, err);
    buf_done(&file);
    return rc;
}
