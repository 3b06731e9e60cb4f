/*
 * batch_ref.c - finds a batch by what a person calls it, and reads where its jobs stand.
 */
#include "admin/batch_ref.h"

#include <string.h>

enum rc batch_ref_parse(const char *text, struct batch_ref *ret, struct err *err)
{
    struct batch_ref ref = {0};
    const char *slash = strchr(text, '/');
    if (jobid_parse(text, &ref.id)) {
        ref.by_id = true;
    } else if (slash && slash != text && slash[1]) {
        ref.app = (struct span){text, (size_t)(slash - text)};
        ref.name = span_of(slash + 1);
    } else {
        return err_set(err, RC_REJECT, "'%.80s' is no batch: give its id, or APP/NAME", text);
    }
    *ret = ref;
    return RC_OK;
}

void batch_range(int64_t created_ms, struct jobid *ret_first, struct jobid *ret_past)
{
    *ret_first = *ret_past = (struct jobid){0};
    for (int i = 0; i < 6; i++) {
        int shift = 8 * (5 - i);
        ret_first->b[i] = (uint8_t)((uint64_t)created_ms >> shift);
        ret_past->b[i] = (uint8_t)(((uint64_t)created_ms + 1) >> shift);
    }
}

void batch_params(struct pg_params *p, const struct batch *b)
{
    pg_add_uuid(p, &b->id);
    pg_add_uuid(p, &b->first);
    pg_add_uuid(p, &b->past);
}

static void read_batch(struct batch *b, struct pg_rows *rows)
{
    *b = (struct batch){
        .id = pg_get_uuid(rows, 0, 0),
        .app = pg_get_span(rows, 0, 1),
        .name = pg_get_span(rows, 0, 2),
        .task = pg_get_span(rows, 0, 3),
        .team = pg_get_span(rows, 0, 4),
        .lane = pg_get_span(rows, 0, 5),
        .created_ms = pg_get_int(rows, 0, 6),
        .registered_ms = pg_get_time_ms(rows, 0, 7),
        .deadline_ms = pg_get_time_ms(rows, 0, 8),
        .sealed_ms = pg_get_time_ms(rows, 0, 9),
        .cancel_ms = pg_get_time_ms(rows, 0, 10),
        .total = pg_null(rows, 0, 11) ? -1 : pg_get_int(rows, 0, 11),
        .rows = rows,
    };
    batch_range(b->created_ms, &b->first, &b->past);
}

#define BATCH_COLUMNS                                                                   \
    "batch_id, app, name, task, team, lane_name(priority), created_ms, registered_at, " \
    "deadline_at, "                                                                     \
    "sealed_at, "                                                                       \
    "cancel_requested_at, total"

static enum rc select_batch(struct ctx *ctx, const struct batch_ref *ref, struct pg_rows **ret_rows,
                            struct err *err)
{
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    if (ref->by_id) {
        pg_add_uuid(p, &ref->id);
        rc = ctx_exec(ctx, "SELECT " BATCH_COLUMNS " FROM batch WHERE batch_id = $1", p, ret_rows,
                      err);
    } else {
        pg_add_text(p, ref->app);
        pg_add_text(p, ref->name);
        rc = ctx_exec(ctx, "SELECT " BATCH_COLUMNS " FROM batch WHERE app = $1 AND name = $2", p,
                      ret_rows, err);
    }
    pg_params_free(p);
    return rc;
}

enum rc batch_find(struct ctx *ctx, const char *text, struct batch *ret, bool *ret_found,
                   struct err *err)
{
    struct batch_ref ref;
    struct pg_rows *rows = NULL;
    if (ret_found)
        *ret_found = true;
    enum rc rc = batch_ref_parse(text, &ref, err);
    if (rc == RC_OK)
        rc = select_batch(ctx, &ref, &rows, err);
    if (rc != RC_OK)
        return rc;
    if (pg_row_count(rows) == 1) {
        read_batch(ret, rows);
        return RC_OK;
    }
    pg_rows_free(rows);
    if (ret_found)
        *ret_found = false;
    return err_set(err, RC_REJECT, "the database knows no batch %s; `inferq batch list` shows them",
                   text);
}

const char *batch_shown(const struct batch *b, char out[BATCH_SHOWN_BYTES])
{
    return batchid_shown(&b->id, b->app, b->name, out);
}

void batch_done(struct batch *b)
{
    pg_rows_free(b->rows);
    *b = (struct batch){0};
}

struct progress progress_read(const struct pg_rows *rows, int row, int col)
{
    struct progress p = {
        .succeeded = pg_get_int(rows, row, col),
        .dead = pg_get_int(rows, row, col + 1),
        .cancelled = pg_get_int(rows, row, col + 2),
        .expired = pg_get_int(rows, row, col + 3),
        .accepted = pg_null(rows, row, col + 4) ? -1 : pg_get_int(rows, row, col + 4),
        .pending = pg_null(rows, row, col + 5) ? -1 : pg_get_int(rows, row, col + 5),
        .cost_nusd = pg_null(rows, row, col + 6) ? -1 : pg_get_int(rows, row, col + 6),
        .unpriced = pg_get_int(rows, row, col + 7),
        .last_ms = pg_get_time_ms(rows, row, col + 8),
        .cancel_ms = pg_get_time_ms(rows, row, col + 9),
        .requeued = pg_get_int(rows, row, col + 10),
        .dead_accepted = pg_get_int(rows, row, col + 11),
    };
    p.ended = p.succeeded + p.dead + p.cancelled + p.expired;
    return p;
}

enum rc batch_progress(struct ctx *ctx, const struct batch *b, struct progress *ret,
                       struct err *err)
{
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_uuid(p, &b->id);
    rc = ctx_exec(ctx, "SELECT " PROGRESS_COLUMNS " FROM batch_progress WHERE batch_id = $1", p,
                  &rows, err);
    if (rc == RC_OK && pg_row_count(rows) != 1)
        rc = err_set(err, RC_REJECT, "the batch is no longer in the database");
    if (rc == RC_OK)
        *ret = progress_read(rows, 0, 0);
    pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}
