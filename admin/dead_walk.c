/*
 * dead_walk.c - the walk over the letters that an act is for: ids as they are given, or pages of
 * what a filter finds, oldest first.
 */
#include "admin/dead_walk.h"

#include <inttypes.h>
#include <string.h>

#include "admin/dead_filter.h"
#include "admin/out.h"
#include "common/codes.h"

enum { PAGE = 500, REASON_BYTES_MAX = 4096 };

/* RC_OK also for one that is refused, which is told and counted; a refusal of the database itself
 * (a missing right) is not about this letter and stops the walk. */
static enum rc one(struct dead_walk *w, int64_t dead_id, struct err *err)
{
    struct err scratch;
    enum rc rc = ctx_begin(w->ctx, err);
    if (rc != RC_OK)
        return rc;
    rc = w->act(w, dead_id, err);
    bool refused = rc == RC_REJECT && !*pgc_sqlstate(w->ctx->conn);
    if (rc == RC_OK && w->dry_run)
        (void)!ctx_end(w->ctx, RC_REJECT, &scratch); /* it would work: now undo it */
    else
        rc = ctx_end(w->ctx, rc, err);
    if (rc == RC_OK)
        w->done++;
    if (!refused)
        return rc;
    out_note("dead letter %" PRId64 ": %s", dead_id, err->text);
    w->refused++;
    return RC_OK;
}

static enum rc by_ids(struct dead_walk *w, struct err *err)
{
    const struct opts *o = &w->ctx->opts;
    enum rc rc = RC_OK;
    int64_t id = 0;
    for (int i = 0; rc == RC_OK && i < o->arg_count; i++) /* all are read before one is run */
        rc = dead_id_parse(o->args[i], &id, err);
    for (int i = 0; rc == RC_OK && i < o->arg_count; i++) {
        rc = dead_id_parse(o->args[i], &id, err);
        if (rc == RC_OK)
            rc = one(w, id, err);
    }
    return rc;
}

static enum rc next_page(struct dead_walk *w, const struct dead_filter *f, int64_t past,
                         int64_t limit, struct pg_rows **ret, struct err *err)
{
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    dead_filter_params(p, f);
    pg_add_int(p, PG_INT8, past);
    pg_add_int(p, PG_INT8, limit < PAGE ? limit : PAGE);
    pg_add_bool(p, w->jobs_only);
    rc = ctx_exec(w->ctx,
                  "SELECT d.dead_id FROM dead_letter d WHERE " DEAD_FILTER
                  " AND (d.job_id IS NOT NULL OR NOT $8) AND d.dead_id > $6"
                  " ORDER BY d.dead_id LIMIT $7",
                  p, ret, err);
    pg_params_free(p);
    return rc;
}

static enum rc by_filter(struct dead_walk *w, const struct dead_filter *f, struct err *err)
{
    int64_t left = opts_int(&w->ctx->opts, "limit", INT64_MAX), past = 0;
    for (;;) {
        struct pg_rows *rows = NULL;
        enum rc rc = next_page(w, f, past, left, &rows, err);
        int n = rc == RC_OK ? pg_row_count(rows) : 0;
        for (int i = 0; rc == RC_OK && i < n; i++) {
            past = pg_get_int(rows, i, 0);
            rc = one(w, past, err);
        }
        pg_rows_free(rows);
        left -= n;
        if (rc != RC_OK || n < PAGE || left <= 0)
            return rc;
    }
}

static enum rc check(const struct dead_walk *w, const struct dead_filter *f, struct err *err)
{
    const struct opts *o = &w->ctx->opts;
    bool filter = !dead_filter_is_empty(f) || opts_set(o, "limit");
    if (strlen(opts_text(o, "reason", "")) > REASON_BYTES_MAX)
        return err_set(err, RC_REJECT, "--reason: at most %d bytes", REASON_BYTES_MAX);
    if (o->arg_count && filter)
        return err_set(err, RC_REJECT, "give ids or a filter, not both");
    if (o->arg_count)
        return RC_OK;
    if (!filter && !opts_set(o, "yes") && !opts_set(o, "dry-run"))
        return err_set(err, RC_REJECT,
                       "give ids, or a filter (--batch, --class, --app, --since) with "
                       "--yes or --dry-run");
    if (!opts_set(o, "yes") && !opts_set(o, "dry-run"))
        return err_set(err, RC_REJECT, "a filter needs --yes; --dry-run shows what it would %s",
                       w->verb);
    return RC_OK;
}

/* What was done is told whether or not the rest failed. */
static enum rc report(struct dead_walk *w, enum rc rc, struct err *err)
{
    struct err print_err;
    enum rc printed = RC_OK;
    if (table_rows(w->table) || (rc == RC_OK && opts_set(&w->ctx->opts, "json")))
        printed = ctx_print_table(w->ctx, w->table, &print_err);
    if (rc == RC_OK || w->done)
        out_note("%s%s: %" PRId64 "; refused: %" PRId64, w->dry_run ? "would be " : "",
                 w->done_word, w->done, w->refused);
    if (rc != RC_OK)
        return rc;
    if (printed != RC_OK)
        return err_set(err, printed, "%s", print_err.text);
    if (w->refused && !w->done)
        return err_set(err, RC_REJECT, "nothing was %s", w->done_word);
    if (w->refused)
        w->ctx->exit_code = EXIT_JOBS_FAILED;
    return RC_OK;
}

enum rc dead_walk(struct dead_walk *w, struct err *err)
{
    struct dead_filter f = {0};
    w->dry_run = opts_set(&w->ctx->opts, "dry-run");
    w->table = table_new(w->cols);
    enum rc rc = cmd_have(w->table, err);
    if (rc == RC_OK)
        rc = dead_filter_read(w->ctx, DEAD_OPEN, &f, err);
    if (rc == RC_OK)
        rc = check(w, &f, err);
    if (rc == RC_OK)
        rc = report(w, w->ctx->opts.arg_count ? by_ids(w, err) : by_filter(w, &f, err), err);
    dead_filter_done(&f);
    table_free(w->table);
    w->table = NULL;
    return rc;
}
