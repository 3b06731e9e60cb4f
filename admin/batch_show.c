/*
 * batch_show.c - `inferq batch show`: one batch with the conservation line, what became of its
 * jobs, where the pending ones are, and what its calls cost.
 *
 * Every number is read in one repeatable-read transaction, so that they fit together while workers
 * go on.
 */
#include <inttypes.h>
#include <stdio.h>

#include "admin/batch_ref.h"
#include "admin/cmd.h"
#include "admin/fmt.h"
#include "admin/jsonw.h"
#include "admin/out.h"
#include "common/clock.h"
#include "common/codes.h"

enum { JSON_BYTES_MAX = 16 << 20 };

/* What is asked of the database; released by facts_done. */
struct facts {
    struct batch batch;
    struct progress progress;
    struct pg_rows *outcomes; /* status, class, n, cost, unpriced, first, last */
    struct pg_rows *calls;    /* model version, kind, class, certainty, n, wasted, cost, upper */
    struct pg_rows *waiting;  /* one row: parked, due, next, oldest, live calls, oldest live */
    struct pg_rows *letters;  /* state, n */
};

static const char outcomes_sql[] =
    "SELECT status, class, count(*), sum(cost_nusd)::bigint, "
    "count(*) FILTER (WHERE cost_nusd IS NULL), min(finished_at), max(finished_at) FROM result "
    "WHERE batch_id = $1 AND job_id >= $2 AND job_id < $3 GROUP BY 1, 2 ORDER BY 1, 3 DESC";

static const char calls_sql[] =
    "SELECT mv.label, c.kind, c.class, c.certainty, count(*), "
    "count(*) FILTER (WHERE r.job_id IS NOT NULL AND r.call_number IS DISTINCT FROM c.number), "
    "sum(c.cost_nusd)::bigint, sum(c.upper_nusd)::bigint FROM call c "
    "LEFT JOIN result r ON r.job_id = c.job_id AND r.job_id >= $2 AND r.job_id < $3 "
    "LEFT JOIN model_version mv ON mv.model_version_id = c.model_version_id "
    "WHERE c.batch_id = $1 AND c.job_id >= $2 AND c.job_id < $3 "
    "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 5 DESC";

static const char waiting_sql[] =
    "SELECT p.n, p.due, p.next_at, p.oldest, c.n, c.oldest FROM "
    "(SELECT count(*) AS n, count(*) FILTER (WHERE next_at <= now()) AS due, min(next_at) AS "
    "next_at, "
    " min(parked_at) AS oldest FROM parked "
    " WHERE batch_id = $1 AND job_id >= $2 AND job_id < $3) p, "
    "(SELECT count(*) AS n, min(claimed_at) AS oldest FROM call "
    " WHERE batch_id = $1 AND job_id >= $2 AND job_id < $3 AND done_at IS NULL) c";

static enum rc read_facts(struct ctx *ctx, struct facts *f, struct err *err)
{
    struct pg_params *range = pg_params_new(), *id = pg_params_new();
    enum rc rc = cmd_have(range && id ? range : NULL, err);
    if (rc != RC_OK)
        goto out;
    batch_params(range, &f->batch);
    pg_add_uuid(id, &f->batch.id);
    rc = batch_progress(ctx, &f->batch, &f->progress, err);
    if (rc == RC_OK)
        rc = ctx_exec(ctx, outcomes_sql, range, &f->outcomes, err);
    if (rc == RC_OK)
        rc = ctx_exec(ctx, calls_sql, range, &f->calls, err);
    if (rc == RC_OK)
        rc = ctx_exec(ctx, waiting_sql, range, &f->waiting, err);
    if (rc == RC_OK)
        rc = ctx_exec(ctx,
                      "SELECT state, count(*) FROM dead_letter WHERE batch_id = $1 GROUP BY 1 "
                      "ORDER BY 1",
                      id, &f->letters, err);
out:
    pg_params_free(range);
    pg_params_free(id);
    return rc;
}

static void facts_done(struct facts *f)
{
    batch_done(&f->batch);
    pg_rows_free(f->outcomes);
    pg_rows_free(f->calls);
    pg_rows_free(f->waiting);
    pg_rows_free(f->letters);
}

/* ---- for people --------------------------------------------------------------------------- */

static enum rc field(const char *name, struct span value, struct err *err)
{
    struct buf line;
    buf_init(&line, 1 << 16);
    buf_addf(&line, "%-12s ", name);
    table_clean(value.p ? value : SPAN_LIT("-"), 0, &line);
    buf_add_byte(&line, '\n');
    enum rc rc = out_write(buf_span(&line), err);
    buf_done(&line);
    return rc;
}

static enum rc time_field(const char *name, int64_t unix_ms, struct err *err)
{
    char text[CLOCK_RFC3339_BYTES];
    if (unix_ms == 0)
        return RC_OK;
    clock_rfc3339(unix_ms, text, sizeof text);
    return field(name, span_of(text), err);
}

static enum rc head(const struct facts *f, struct err *err)
{
    const struct batch *b = &f->batch;
    char id[ID_TEXT_BYTES];
    jobid_text(&b->id, id);
    enum rc rc = field("batch", span_of(id), err);
    const struct {
        const char *name;
        struct span value;
    } fields[] = {{"app", b->app},
                  {"name", b->name},
                  {"task", b->task},
                  {"team", b->team},
                  {"priority", b->lane}};
    for (size_t i = 0; rc == RC_OK && i < sizeof fields / sizeof *fields; i++)
        rc = field(fields[i].name, fields[i].value, err);
    const struct {
        const char *name;
        int64_t unix_ms;
    } times[] = {{"created", b->created_ms},  {"registered", b->registered_ms},
                 {"sealed", b->sealed_ms},    {"deadline", b->deadline_ms},
                 {"cancelled", b->cancel_ms}, {"last result", f->progress.last_ms}};
    for (size_t i = 0; rc == RC_OK && i < sizeof times / sizeof *times; i++)
        rc = time_field(times[i].name, times[i].unix_ms, err);
    return rc;
}

static enum rc conservation(const struct progress *p, struct err *err)
{
    if (p->accepted < 0)
        return out_writef(err,
                          "\nnot sealed: %" PRId64 " ended = %" PRId64 " succeeded + %" PRId64
                          " dead + %" PRId64 " cancelled + %" PRId64 " expired\n",
                          p->ended, p->succeeded, p->dead, p->cancelled, p->expired);
    enum rc rc =
        out_writef(err,
                   "\n%" PRId64 " accepted = %" PRId64 " succeeded + %" PRId64 " dead + %" PRId64
                   " cancelled + %" PRId64 " expired + %" PRId64 " pending\n",
                   p->accepted, p->succeeded, p->dead, p->cancelled, p->expired, p->pending);
    if (rc == RC_OK && p->requeued > 0)
        rc =
            out_writef(err,
                       "%" PRId64 " of the dead ran again: each is accepted once more, as a job of "
                       "the next generation\n",
                       p->requeued);
    return rc;
}

static enum rc cost_line(const struct progress *p, struct err *err)
{
    char usd[FMT_BYTES];
    enum rc rc =
        out_writef(err, "cost: %s USD", p->cost_nusd < 0 ? "unknown" : fmt_usd(p->cost_nusd, usd));
    if (rc == RC_OK && p->unpriced)
        rc = out_writef(err, ", and %" PRId64 " results whose cost is not known", p->unpriced);
    return rc == RC_OK ? out_writef(err, "\n") : rc;
}

static enum rc waiting_lines(const struct facts *f, struct err *err)
{
    const struct pg_rows *w = f->waiting;
    char at[CLOCK_RFC3339_BYTES];
    int64_t parked = pg_get_int(w, 0, 0), live = pg_get_int(w, 0, 4);
    enum rc rc = RC_OK;
    if (parked) {
        clock_rfc3339(pg_get_time_ms(w, 0, 2), at, sizeof at);
        rc = out_writef(err, "parked: %" PRId64 ", of which due %" PRId64 "; the next at %s",
                        parked, pg_get_int(w, 0, 1), at);
        clock_rfc3339(pg_get_time_ms(w, 0, 3), at, sizeof at);
        if (rc == RC_OK)
            rc = out_writef(err, "; the oldest since %s\n", at);
    }
    if (rc == RC_OK && live) {
        clock_rfc3339(pg_get_time_ms(w, 0, 5), at, sizeof at);
        rc = out_writef(err, "calls without an outcome: %" PRId64 "; the oldest since %s\n", live,
                        at);
    }
    if (rc == RC_OK && f->progress.pending > parked + live)
        rc = out_writef(err, "in the queue or waiting in a worker: %" PRId64 "\n",
                        f->progress.pending - parked - live);
    return rc;
}

static void usd_cell(struct table *t, const struct pg_rows *rows, int row, int col)
{
    if (pg_null(rows, row, col))
        table_null(t);
    else
        table_usd(t, pg_get_int(rows, row, col));
}

static enum rc print(const struct table *t, struct err *err)
{
    struct buf out;
    buf_init(&out, TABLE_BYTES_MAX);
    buf_add_byte(&out, '\n');
    enum rc rc = table_print(t, &out, err);
    if (rc == RC_OK)
        rc = out_write(buf_span(&out), err);
    buf_done(&out);
    return rc;
}

static enum rc outcome_table(const struct facts *f, struct err *err)
{
    static const struct table_col cols[] = {{"status", "STATUS", 0},
                                            {"class", "CLASS", 0},
                                            {"n", "JOBS", 0},
                                            {"cost", "USD", 0},
                                            {"first", "FIRST", 0},
                                            {"last", "LAST", 0},
                                            {0}};
    struct table *t = table_new(cols);
    enum rc rc = cmd_have(t, err);
    for (int i = 0; rc == RC_OK && i < pg_row_count(f->outcomes); i++) {
        table_text(t, span_of(status_name((int)pg_get_int(f->outcomes, i, 0))));
        table_text(t, span_of(class_name((int)pg_get_int(f->outcomes, i, 1))));
        table_int(t, pg_get_int(f->outcomes, i, 2));
        usd_cell(t, f->outcomes, i, 3);
        table_time(t, pg_get_time_ms(f->outcomes, i, 5));
        table_time(t, pg_get_time_ms(f->outcomes, i, 6));
    }
    if (rc == RC_OK && table_rows(t))
        rc = print(t, err);
    table_free(t);
    return rc;
}

static const char *call_class(const struct pg_rows *rows, int row)
{
    return pg_null(rows, row, 2) ? "(no outcome)" : class_name((int)pg_get_int(rows, row, 2));
}

static enum rc call_table(const struct facts *f, struct err *err)
{
    static const struct table_col cols[] = {{"model_version", "MODEL VERSION", 0},
                                            {"kind", "CALL", 0},
                                            {"class", "OUTCOME", 0},
                                            {"certainty", "COST IS", 0},
                                            {"n", "CALLS", 0},
                                            {"wasted", "WASTED", 0},
                                            {"cost", "USD", 0},
                                            {0}};
    struct table *t = table_new(cols);
    enum rc rc = cmd_have(t, err);
    for (int i = 0; rc == RC_OK && i < pg_row_count(f->calls); i++) {
        bool open = pg_null(f->calls, i, 3);
        table_text(t, pg_get_span(f->calls, i, 0));
        table_text(t, span_of(call_kind_name((int)pg_get_int(f->calls, i, 1))));
        table_text(t, span_of(call_class(f->calls, i)));
        table_text(t, span_of(open ? NULL : certainty_name((int)pg_get_int(f->calls, i, 3))));
        table_int(t, pg_get_int(f->calls, i, 4));
        table_int(t, pg_get_int(f->calls, i, 5));
        usd_cell(t, f->calls, i, 6);
    }
    if (rc == RC_OK && table_rows(t))
        rc = print(t, err);
    table_free(t);
    return rc;
}

static enum rc letter_lines(const struct facts *f, struct err *err)
{
    enum rc rc = RC_OK;
    for (int i = 0; rc == RC_OK && i < pg_row_count(f->letters); i++)
        rc = out_writef(err, "%s%" PRId64 " %s",
                        i ? ", " : "\ndead letters: ", pg_get_int(f->letters, i, 1),
                        dead_state_name((int)pg_get_int(f->letters, i, 0)));
    char shown[BATCH_SHOWN_BYTES];
    if (rc == RC_OK && pg_row_count(f->letters))
        rc =
            out_writef(err, "; see `inferq dead list --batch %s`\n", batch_shown(&f->batch, shown));
    return rc;
}

static enum rc show_text(const struct facts *f, struct err *err)
{
    enum rc rc = head(f, err);
    if (rc == RC_OK)
        rc = conservation(&f->progress, err);
    if (rc == RC_OK)
        rc = cost_line(&f->progress, err);
    if (rc == RC_OK)
        rc = waiting_lines(f, err);
    if (rc == RC_OK)
        rc = outcome_table(f, err);
    if (rc == RC_OK)
        rc = call_table(f, err);
    return rc == RC_OK ? letter_lines(f, err) : rc;
}

/* ---- for programs ------------------------------------------------------------------------- */

static void json_int(struct jsonw *w, const char *key, int64_t v, bool null)
{
    jsonw_key(w, key);
    if (null)
        jsonw_null(w);
    else
        jsonw_int(w, v);
}

static void json_col(struct jsonw *w, const char *key, const struct pg_rows *rows, int row, int col)
{
    json_int(w, key, pg_get_int(rows, row, col), pg_null(rows, row, col));
}

static void json_text(struct jsonw *w, const char *key, struct span s)
{
    jsonw_key(w, key);
    jsonw_text(w, s);
}

static void json_time(struct jsonw *w, const char *key, int64_t unix_ms)
{
    jsonw_key(w, key);
    jsonw_time(w, unix_ms);
}

static void json_head(struct jsonw *w, const struct facts *f)
{
    const struct batch *b = &f->batch;
    const struct progress *p = &f->progress;
    jsonw_key(w, "batch_id");
    jsonw_id(w, &b->id);
    json_text(w, "app", b->app);
    json_text(w, "name", b->name);
    json_text(w, "task", b->task);
    json_text(w, "team", b->team);
    json_text(w, "priority", b->lane);
    json_time(w, "created_at", b->created_ms);
    json_time(w, "registered_at", b->registered_ms);
    json_time(w, "sealed_at", b->sealed_ms);
    json_time(w, "deadline_at", b->deadline_ms);
    json_time(w, "cancel_requested_at", b->cancel_ms);
    json_time(w, "last_result_at", p->last_ms);
    json_int(w, "accepted", p->accepted, p->accepted < 0);
    json_int(w, "succeeded", p->succeeded, false);
    json_int(w, "dead", p->dead, false);
    json_int(w, "cancelled", p->cancelled, false);
    json_int(w, "expired", p->expired, false);
    json_int(w, "pending", p->pending, p->accepted < 0);
    json_int(w, "cost_nusd", p->cost_nusd, p->cost_nusd < 0);
    json_int(w, "unpriced", p->unpriced, false);
}

static void json_waiting(struct jsonw *w, const struct pg_rows *rows)
{
    json_col(w, "parked", rows, 0, 0);
    json_col(w, "parked_due", rows, 0, 1);
    json_time(w, "parked_next_at", pg_get_time_ms(rows, 0, 2));
    json_time(w, "parked_oldest_at", pg_get_time_ms(rows, 0, 3));
    json_col(w, "calls_open", rows, 0, 4);
    json_time(w, "calls_open_oldest_at", pg_get_time_ms(rows, 0, 5));
}

static void json_outcomes(struct jsonw *w, const struct pg_rows *rows)
{
    jsonw_key(w, "outcomes");
    jsonw_open(w, '[');
    for (int i = 0; i < pg_row_count(rows); i++) {
        jsonw_open(w, '{');
        json_text(w, "status", span_of(status_name((int)pg_get_int(rows, i, 0))));
        json_text(w, "class", span_of(class_name((int)pg_get_int(rows, i, 1))));
        json_col(w, "jobs", rows, i, 2);
        json_col(w, "cost_nusd", rows, i, 3);
        json_col(w, "unpriced", rows, i, 4);
        json_time(w, "first_at", pg_get_time_ms(rows, i, 5));
        json_time(w, "last_at", pg_get_time_ms(rows, i, 6));
        jsonw_close(w, '}');
    }
    jsonw_close(w, ']');
}

static void json_calls(struct jsonw *w, const struct pg_rows *rows)
{
    jsonw_key(w, "calls");
    jsonw_open(w, '[');
    for (int i = 0; i < pg_row_count(rows); i++) {
        bool open = pg_null(rows, i, 2);
        jsonw_open(w, '{');
        json_text(w, "model_version", pg_get_span(rows, i, 0));
        json_text(w, "kind", span_of(call_kind_name((int)pg_get_int(rows, i, 1))));
        json_text(w, "class", span_of(open ? NULL : class_name((int)pg_get_int(rows, i, 2))));
        json_text(w, "certainty",
                  span_of(open ? NULL : certainty_name((int)pg_get_int(rows, i, 3))));
        json_col(w, "calls", rows, i, 4);
        json_col(w, "wasted", rows, i, 5);
        json_col(w, "cost_nusd", rows, i, 6);
        json_col(w, "upper_nusd", rows, i, 7);
        jsonw_close(w, '}');
    }
    jsonw_close(w, ']');
}

static enum rc show_json(const struct facts *f, struct err *err)
{
    struct buf out;
    buf_init(&out, JSON_BYTES_MAX);
    struct jsonw w = {.out = &out};
    jsonw_open(&w, '{');
    json_head(&w, f);
    json_waiting(&w, f->waiting);
    json_outcomes(&w, f->outcomes);
    json_calls(&w, f->calls);
    jsonw_key(&w, "dead_letters");
    jsonw_open(&w, '{');
    for (int i = 0; i < pg_row_count(f->letters); i++)
        json_col(&w, dead_state_name((int)pg_get_int(f->letters, i, 0)), f->letters, i, 1);
    jsonw_close(&w, '}');
    jsonw_close(&w, '}');
    buf_add_byte(&out, '\n');
    enum rc rc = out.failed ? err_set(err, RC_NOMEM, "no memory to print the batch")
                            : out_write(buf_span(&out), err);
    buf_done(&out);
    return rc;
}

enum rc batch_show(struct ctx *ctx, struct err *err)
{
    struct facts f = {0};
    enum rc rc = ctx_exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, NULL, err);
    if (rc == RC_OK)
        rc = batch_find(ctx, ctx->opts.args[0], &f.batch, NULL, err);
    if (rc == RC_OK)
        rc = read_facts(ctx, &f, err);
    if (rc == RC_OK)
        rc = opts_set(&ctx->opts, "json") ? show_json(&f, err) : show_text(&f, err);
    facts_done(&f);
    return rc;
}
