/*
 * skip.c - `inferq skip JOB...`: jobs that are to be left out, such as one that crashes whoever
 * calls for it, or one whose answer nobody wants any more.
 *
 * One transaction: the rows of job_skip, which workers read when they start and every few seconds,
 * the parked rows made due, so that a worker picks them up, the audit rows, and the notification at
 * which workers look at once. A worker ends such a job before its next call, wherever it waits:
 * dead, with a letter that holds the request, so that nothing is lost and a requeue is one command
 * away. A call in flight ends by itself, and its answer counts.
 *
 * A job whose record no worker has read yet is not in any table: its id is taken on trust.
 */
#include "admin/skip.h"

#include <inttypes.h>
#include <string.h>

#include "admin/audit.h"
#include "admin/out.h"
#include "common/jobid.h"

enum { REASON_BYTES_MAX = 4096 };

static const struct table_col cols[] = {
    {"job_id", "JOB", 0}, {"state", "STATE", 0}, {"was", "WAS", 0}, {0}};

enum rc skip_check_reason(const struct opts *o, struct err *err)
{
    if (strlen(opts_text(o, "reason", "")) > REASON_BYTES_MAX)
        return err_set(err, RC_REJECT, "--reason: at most %d bytes", REASON_BYTES_MAX);
    return RC_OK;
}

enum rc skip_notify(struct ctx *ctx, struct err *err)
{
    return ctx_exec(ctx, "SELECT pg_notify('inferq_cancel', '')::text", NULL, NULL, err);
}

static enum rc read_ids(const struct opts *o, struct pg_params *p, struct err *err)
{
    struct jobid id;
    enum rc rc = skip_check_reason(o, err);
    if (rc != RC_OK)
        return rc;
    if (o->arg_count == 0)
        return err_set(err, RC_REJECT,
                       "JOB... is missing, or --topic, --partition and --offset; --help says more");
    pg_array(p, PG_UUID);
    for (int i = 0; i < o->arg_count; i++) {
        if (!jobid_parse(o->args[i], &id))
            return err_set(err, RC_REJECT,
                           "'%.80s' is no job id; `inferq explain BATCH CUSTOM_ID` shows it",
                           o->args[i]);
        pg_elem_uuid(p, &id);
    }
    return RC_OK;
}

/* job, how it stands, whether it has ended, whether it is skipped already */
static enum rc look(struct ctx *ctx, const struct pg_params *ids, struct pg_rows **ret,
                    struct err *err)
{
    return ctx_exec(ctx,
                    "SELECT u.job_id, CASE WHEN r.job_id IS NOT NULL THEN"
                    "   coalesce(code_name('status', r.status), '?')"
                    "  WHEN EXISTS (SELECT FROM call c WHERE c.job_id = u.job_id"
                    "   AND c.done_at IS NULL) THEN 'calling'"
                    "  WHEN p.job_id IS NOT NULL THEN 'parked' ELSE 'queued, or unknown' END,"
                    " r.job_id IS NOT NULL, s.job_id IS NOT NULL"
                    " FROM (SELECT DISTINCT unnest($1::uuid[]) AS job_id) u"
                    " LEFT JOIN result r ON r.job_id = u.job_id"
                    " LEFT JOIN parked p ON p.job_id = u.job_id"
                    " LEFT JOIN job_skip s ON s.job_id = u.job_id ORDER BY u.job_id",
                    ids, ret, err);
}

static enum rc insert(struct ctx *ctx, const struct jobid *id, struct err *err)
{
    char actor[ACTOR_BYTES];
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_uuid(p, id);
    pg_add_text(p, span_of(ctx_actor(ctx, actor)));
    pg_add_text(p, span_of(opts_text(&ctx->opts, "reason", "")));
    rc = ctx_exec(ctx,
                  "INSERT INTO job_skip (job_id, actor, reason) VALUES ($1, $2, $3)"
                  " ON CONFLICT (job_id) DO NOTHING",
                  p, NULL, err);
    pg_params_free(p);
    return rc;
}

/* Also one that is skipped already is told once more: a worker may have missed it. */
static enum rc one(struct ctx *ctx, const struct pg_rows *rows, int row, struct table *t,
                   int *refused, struct err *err)
{
    char text[ID_TEXT_BYTES];
    struct jobid id = pg_get_uuid(rows, row, 0);
    bool ended = pg_get_bool(rows, row, 2), again = pg_get_bool(rows, row, 3);
    bool dry_run = opts_set(&ctx->opts, "dry-run"), asks = !ended && !again && !dry_run;
    enum rc rc = RC_OK;
    jobid_text(&id, text);
    if (asks)
        rc = insert(ctx, &id, err);
    if (rc == RC_OK && asks)
        rc = audit(ctx, "skip", text, opts_text(&ctx->opts, "reason", ""), err);
    table_id(t, &id);
    table_text(t, ended     ? SPAN_LIT("has ended")
                  : again   ? SPAN_LIT("asked already")
                  : dry_run ? SPAN_LIT("would ask")
                            : SPAN_LIT("asked"));
    table_text(t, pg_get_span(rows, row, 1));
    *refused += ended;
    return rc;
}

static enum rc tell(struct ctx *ctx, const struct pg_params *ids, struct err *err)
{
    enum rc rc = ctx_exec(ctx,
                          "UPDATE parked SET next_at = least(next_at, now()), wait_key = 0"
                          " WHERE job_id = ANY ($1)",
                          ids, NULL, err);
    return rc == RC_OK ? skip_notify(ctx, err) : rc;
}

static enum rc skip_all(struct ctx *ctx, const struct pg_params *ids, struct table *t, int *refused,
                        struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = ctx_begin(ctx, err);
    if (rc != RC_OK)
        return rc;
    rc = look(ctx, ids, &rows, err);
    for (int i = 0; rc == RC_OK && i < pg_row_count(rows); i++)
        rc = one(ctx, rows, i, t, refused, err);
    if (rc == RC_OK && !opts_set(&ctx->opts, "dry-run"))
        rc = tell(ctx, ids, err);
    pg_rows_free(rows);
    return ctx_end(ctx, rc, err);
}

enum rc skip_jobs(struct ctx *ctx, struct err *err)
{
    int refused = 0;
    if (opts_set(&ctx->opts, "topic") || opts_set(&ctx->opts, "partition") ||
        opts_set(&ctx->opts, "offset"))
        return skip_record(ctx, err);
    struct table *t = table_new(cols);
    struct pg_params *ids = pg_params_new();
    enum rc rc = cmd_have(t && ids ? t : NULL, err);
    if (rc == RC_OK)
        rc = read_ids(&ctx->opts, ids, err);
    if (rc == RC_OK)
        rc = skip_all(ctx, ids, t, &refused, err);
    if (rc == RC_OK)
        rc = ctx_print_table(ctx, t, err);
    if (rc == RC_OK && refused == table_rows(t))
        rc = err_set(err, RC_REJECT, "nothing was skipped: what has ended stays as it is");
    else if (rc == RC_OK && refused)
        ctx->exit_code = EXIT_JOBS_FAILED;
    pg_params_free(ids);
    table_free(t);
    return rc;
}
