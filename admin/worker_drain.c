/*
 * worker_drain.c - `inferq worker drain`: tells workers, through Postgres, to take no more jobs and
 * to leave when their calls have ended, as SIGTERM does.
 *
 * One transaction: all are known and alive, or none is told. The wish stands in the worker's row,
 * and the answer to its next heartbeat carries it. --wait watches until each is gone.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "admin/audit.h"
#include "admin/cmd.h"
#include "admin/fleet.h"
#include "admin/out.h"
#include "common/clock.h"

enum { SUBJECT_BYTES = 160, POLL_MS = 200 };

static const struct table_col cols[] = {
    {"worker_id", "ID", 0}, {"host", "HOST", 40}, {"pid", "PID", 0}, {"state", "STATE", 0}, {0}};

static enum rc read_ids(const struct opts *o, struct pg_params *p, struct err *err)
{
    pg_array(p, PG_INT8);
    for (int i = 0; i < o->arg_count; i++) {
        int64_t id = 0;
        enum rc rc = opts_number(o->args[i], &id);
        if (rc != RC_OK)
            return err_set(err, rc,
                           "'%.80s' is no worker's id: a number, as `inferq worker list` "
                           "shows",
                           o->args[i]);
        pg_elem_int(p, id);
    }
    return RC_OK;
}

/* worker_id, host, pid, state */
static enum rc look(struct ctx *ctx, const struct pg_params *ids, bool lock, struct pg_rows **ret,
                    struct err *err)
{
#define LOOK                                                             \
    "SELECT w.worker_id, w.host, w.pid, " WORKER_STATE " FROM worker w " \
    "WHERE w.worker_id = ANY ($1) ORDER BY w.worker_id"
    return ctx_exec(ctx, lock ? LOOK " FOR UPDATE" : LOOK, ids, ret, err);
#undef LOOK
}

/* ---- telling ------------------------------------------------------------------------------ */

static bool is_over(struct span state)
{
    return span_is(state, "stopped") || span_is(state, "fenced");
}

static enum rc check(const struct opts *o, const struct pg_rows *rows, struct err *err)
{
    for (int i = 0; i < o->arg_count; i++) {
        int64_t id = 0;
        struct span state = {0};
        if (opts_number(o->args[i], &id) != RC_OK)
            continue; /* read_ids has seen them all */
        for (int row = 0; row < pg_row_count(rows); row++)
            if (pg_get_int(rows, row, 0) == id)
                state = pg_get_span(rows, row, 3);
        if (!state.p)
            return err_set(err, RC_REJECT, "there is no worker %" PRId64 "; nobody was told", id);
        if (is_over(state))
            return err_set(err, RC_REJECT, "worker %" PRId64 " is %.*s already; nobody was told",
                           id, (int)state.n, state.p);
    }
    return RC_OK;
}

static enum rc write_audit(struct ctx *ctx, const struct pg_rows *rows, struct err *err)
{
    enum rc rc = RC_OK;
    for (int row = 0; rc == RC_OK && row < pg_row_count(rows); row++) {
        char subject[SUBJECT_BYTES];
        struct span host = pg_get_span(rows, row, 1);
        (void)snprintf(subject, sizeof subject, "worker %" PRId64 " (%.*s, pid %" PRId64 ")",
                       pg_get_int(rows, row, 0), (int)host.n, host.p, pg_get_int(rows, row, 2));
        rc = audit(ctx, "worker drain", subject, opts_text(&ctx->opts, "reason", ""), err);
    }
    return rc;
}

static enum rc tell(struct ctx *ctx, const struct pg_params *ids, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = ctx_begin(ctx, err);
    if (rc != RC_OK)
        return rc;
    rc = look(ctx, ids, true, &rows, err);
    if (rc == RC_OK)
        rc = check(&ctx->opts, rows, err);
    if (rc == RC_OK)
        rc = ctx_exec(ctx,
                      "UPDATE worker SET drain_requested_at = coalesce(drain_requested_at, now()) "
                      "WHERE worker_id = ANY ($1)",
                      ids, NULL, err);
    if (rc == RC_OK)
        rc = write_audit(ctx, rows, err);
    pg_rows_free(rows);
    return ctx_end(ctx, rc, err);
}

/* ---- waiting ------------------------------------------------------------------------------ */

/* One whose lease ran out will not hear of anything: it counts as gone, and as not told. */
static int still_there(const struct pg_rows *rows)
{
    int n = 0;
    for (int row = 0; row < pg_row_count(rows); row++) {
        struct span state = pg_get_span(rows, row, 3);
        n += !is_over(state) && !span_is(state, "silent");
    }
    return n;
}

static enum rc wait_for_end(struct ctx *ctx, const struct pg_params *ids, struct err *err)
{
    const struct timespec nap = {.tv_nsec = POLL_MS * 1000000L};
    int64_t until_us =
        clock_mono_us() + opts_int(&ctx->opts, "timeout", INT32_MAX) * (int64_t)1000000;
    for (;;) {
        struct pg_rows *rows = NULL;
        enum rc rc = look(ctx, ids, false, &rows, err);
        int left = rc == RC_OK ? still_there(rows) : 0;
        pg_rows_free(rows);
        if (rc != RC_OK || left == 0)
            return rc;
        if (clock_mono_us() >= until_us) {
            out_note("%d of them are still there", left);
            ctx->exit_code = EXIT_JOBS_FAILED;
            return RC_OK;
        }
        (void)nanosleep(&nap, NULL);
    }
}

static enum rc show(struct ctx *ctx, const struct pg_params *ids, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct table *t = table_new(cols);
    enum rc rc = cmd_have(t, err);
    if (rc == RC_OK)
        rc = look(ctx, ids, false, &rows, err);
    for (int row = 0; rc == RC_OK && row < pg_row_count(rows); row++) {
        table_int(t, pg_get_int(rows, row, 0));
        table_text(t, pg_get_span(rows, row, 1));
        table_int(t, pg_get_int(rows, row, 2));
        table_text(t, pg_get_span(rows, row, 3));
    }
    if (rc == RC_OK)
        rc = ctx_print_table(ctx, t, err);
    pg_rows_free(rows);
    table_free(t);
    return rc;
}

enum rc worker_drain(struct ctx *ctx, struct err *err)
{
    struct pg_params *ids = pg_params_new();
    enum rc rc = cmd_have(ids, err);
    if (rc == RC_OK)
        rc = read_ids(&ctx->opts, ids, err);
    if (rc == RC_OK)
        rc = tell(ctx, ids, err);
    if (rc == RC_OK && opts_set(&ctx->opts, "wait"))
        rc = wait_for_end(ctx, ids, err);
    if (rc == RC_OK)
        rc = show(ctx, ids, err);
    pg_params_free(ids);
    return rc;
}
