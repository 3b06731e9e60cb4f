/*
 * explain.c - `inferq explain`: finds the job that is meant, and tells its story.
 *
 * A job is named by its id, or by its batch and custom id; then the latest generation is meant: ids
 * follow from the fields, so each generation's id is computed, and one that was requeued has a
 * next. A job that left no trace is told as such (exit 2 when the id cannot be one of a live
 * batch).
 */
#include <inttypes.h>

#include "admin/batch_ref.h"
#include "admin/cmd.h"
#include "admin/dead_filter.h"
#include "admin/out.h"
#include "admin/story.h"
#include "common/codes.h"

enum { OUTPUT_BYTES_MAX = 96 << 20, TOLD_ID_BYTES = 120 };

static enum rc was_requeued(struct ctx *ctx, const struct jobid *id, bool *ret, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_uuid(p, id);
    rc = ctx_exec(ctx,
                  "SELECT EXISTS (SELECT FROM dead_letter WHERE job_id = $1 "
                  "AND state " DEAD_RUNS_AGAIN ")",
                  p, &rows, err);
    if (rc == RC_OK)
        *ret = pg_get_bool(rows, 0, 0);
    pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}

static enum rc by_custom_id(struct ctx *ctx, struct batch *b, struct span custom_id,
                            struct jobid *ret, struct err *err)
{
    enum rc rc = batch_find(ctx, ctx->opts.args[0], b, NULL, err);
    bool more = rc == RC_OK;
    bool given = opts_set(&ctx->opts, "generation");
    uint32_t generation = (uint32_t)opts_int(&ctx->opts, "generation", 0);
    while (more) {
        *ret = jobid_make(b->created_ms, b->app, b->name, custom_id, generation++);
        more = false;
        if (!given)
            rc = was_requeued(ctx, ret, &more, err);
    }
    return rc;
}

static enum rc by_id(struct ctx *ctx, struct jobid *ret, struct err *err)
{
    const char *text = ctx->opts.args[0];
    if (opts_set(&ctx->opts, "generation"))
        return err_set(err, RC_REJECT, "--generation goes with BATCH CUSTOM_ID; a job id has one");
    if (!jobid_parse(text, ret))
        return err_set(err, RC_REJECT, "'%.80s' is no job id; or give BATCH CUSTOM_ID", text);
    return RC_OK;
}

static enum rc tell(struct ctx *ctx, const struct story *s, struct err *err)
{
    struct buf out;
    buf_init(&out, OUTPUT_BYTES_MAX);
    if (opts_set(&ctx->opts, "json"))
        story_json(s, &out);
    else
        story_text(s, &out);
    enum rc rc = out.failed ? err_set(err, RC_NOMEM, "no memory to tell the story")
                            : out_write(buf_span(&out), err);
    buf_done(&out);
    return rc;
}

/* A job id that nothing knows is most often a typing error. */
static enum rc check_known(const struct story *s, struct err *err)
{
    char id[ID_TEXT_BYTES];
    if (s->state != STORY_UNKNOWN || pg_row_count(s->letters))
        return RC_OK;
    jobid_text(&s->job, id);
    return err_set(err, RC_REJECT,
                   "nothing is known of job %s: it waits in the queue, or there is no "
                   "such job",
                   id);
}

/* While a batch has pending jobs, one without a trace may be among them; later it cannot be. */
static enum rc check_in_batch(struct ctx *ctx, const struct story *s, const struct batch *b,
                              struct err *err)
{
    struct progress p;
    char shown[BATCH_SHOWN_BYTES];
    if (s->state != STORY_UNKNOWN || pg_row_count(s->letters))
        return RC_OK;
    enum rc rc = batch_progress(ctx, b, &p, err);
    if (rc != RC_OK || p.accepted < 0 || p.pending > 0)
        return rc;
    return err_set(err, RC_REJECT,
                   "the batch has no job '%.*s', and all that it has have ended; `inferq results "
                   "%s --fields custom_id` lists them",
                   (int)(s->custom_id.n < TOLD_ID_BYTES ? s->custom_id.n : TOLD_ID_BYTES),
                   s->custom_id.p, batch_shown(b, shown));
}

enum rc explain(struct ctx *ctx, struct err *err)
{
    struct batch b = {0};
    struct story s = {0};
    struct jobid id;
    bool two = ctx->opts.arg_count == 2;
    struct span custom_id = two ? span_of(ctx->opts.args[1]) : (struct span){0};
    enum rc rc = ctx_exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, NULL, err);
    if (rc == RC_OK)
        rc = two ? by_custom_id(ctx, &b, custom_id, &id, err) : by_id(ctx, &id, err);
    if (rc == RC_OK)
        rc = story_read(ctx, &id, two ? &b.id : NULL, custom_id, &s, err);
    if (rc == RC_OK)
        rc = two ? check_in_batch(ctx, &s, &b, err) : check_known(&s, err);
    if (rc == RC_OK)
        rc = tell(ctx, &s, err);
    story_done(&s);
    batch_done(&b);
    return rc;
}
