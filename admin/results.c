/*
 * results.c - `inferq results`: streams a batch's results, in the order of their ids, as JSON lines
 * or CSV.
 *
 * One row is in memory at a time, on both sides: the server walks the primary key's index (sorts
 * are switched off for the session, as they would spill every body to disk), and a line is built in
 * one buffer that is used again. A reader that leaves ends the walk.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "admin/batch_ref.h"
#include "admin/cmd.h"
#include "admin/csv.h"
#include "admin/dead_filter.h"
#include "admin/fmt.h"
#include "admin/jsonw.h"
#include "admin/out.h"
#include "admin/results_failed.h"
#include "admin/results_fields.h"
#include "common/clock.h"
#include "common/codes.h"

enum { LINE_BYTES_MAX = 256 << 20, SQL_BYTES_MAX = 1 << 16 };

struct writer {
    const struct field_list *fields;
    bool csv;
    struct buf line;
    int64_t rows;
};

/* ---- one line ----------------------------------------------------------------------------- */

static void json_value(struct jsonw *w, const struct field *f, const struct pg_rows *row, int col)
{
    if (pg_null(row, 0, col)) {
        jsonw_null(w);
        return;
    }
    struct jobid id = f->type == FIELD_ID ? pg_get_uuid(row, 0, col) : (struct jobid){0};
    switch (f->type) {
    case FIELD_TEXT:
        jsonw_text(w, pg_get_span(row, 0, col));
        return;
    case FIELD_INT:
        jsonw_int(w, pg_get_int(row, 0, col));
        return;
    case FIELD_USD:
        jsonw_usd(w, pg_get_int(row, 0, col));
        return;
    case FIELD_TIME:
        jsonw_time(w, pg_get_time_ms(row, 0, col));
        return;
    case FIELD_ID:
        jsonw_id(w, &id);
        return;
    case FIELD_CODE:
    default:
        jsonw_text(w, span_of(f->code_name((int)pg_get_int(row, 0, col))));
        return;
    }
}

static void csv_value(struct buf *line, const struct field *f, const struct pg_rows *row, int col)
{
    enum { SCRATCH = 64 };
    char text[SCRATCH];
    if (pg_null(row, 0, col))
        return;
    struct jobid id = f->type == FIELD_ID ? pg_get_uuid(row, 0, col) : (struct jobid){0};
    switch (f->type) {
    case FIELD_TEXT:
        csv_add(line, pg_get_span(row, 0, col));
        return;
    case FIELD_INT:
        buf_addf(line, "%" PRId64, pg_get_int(row, 0, col));
        return;
    case FIELD_USD:
        buf_add_text(line, fmt_usd(pg_get_int(row, 0, col), text));
        return;
    case FIELD_TIME:
        clock_rfc3339(pg_get_time_ms(row, 0, col), text, sizeof text);
        buf_add_text(line, text);
        return;
    case FIELD_ID:
        jobid_text(&id, text);
        buf_add_text(line, text);
        return;
    case FIELD_CODE:
    default:
        csv_add(line, span_of(f->code_name((int)pg_get_int(row, 0, col))));
        return;
    }
}

static void json_line(struct writer *w, const struct pg_rows *row)
{
    struct jsonw j = {.out = &w->line};
    jsonw_open(&j, '{');
    for (int i = 0; i < w->fields->count; i++) {
        jsonw_key(&j, w->fields->all[i]->name);
        json_value(&j, w->fields->all[i], row, i);
    }
    jsonw_close(&j, '}');
    buf_add_byte(&w->line, '\n');
}

static void csv_line(struct writer *w, const struct pg_rows *row)
{
    for (int i = 0; i < w->fields->count; i++) {
        if (i)
            buf_add_byte(&w->line, ',');
        csv_value(&w->line, w->fields->all[i], row, i);
    }
    buf_add_text(&w->line, "\r\n");
}

static enum rc write_row(void *arg, const struct pg_rows *row, struct err *err)
{
    struct writer *w = arg;
    buf_reset(&w->line);
    if (w->csv)
        csv_line(w, row);
    else
        json_line(w, row);
    if (w->line.failed)
        return err_set(err, RC_NOMEM, "no memory for one line of %d MiB", LINE_BYTES_MAX >> 20);
    w->rows++;
    return out_write(buf_span(&w->line), err);
}

static enum rc csv_header(struct writer *w, struct err *err)
{
    buf_reset(&w->line);
    for (int i = 0; i < w->fields->count; i++)
        buf_addf(&w->line, "%s%s", i ? "," : "", w->fields->all[i]->name);
    buf_add_text(&w->line, "\r\n");
    return out_write(buf_span(&w->line), err);
}

/* ---- the walk ----------------------------------------------------------------------------- */

/* Texts of our own table only; every value is bound. */
static void build_sql(const struct field_list *fields, bool all_generations, struct buf *sql)
{
    for (int i = 0; i < fields->count; i++)
        buf_addf(sql, "%s%s", i ? ", " : "SELECT ", fields->all[i]->sql);
    buf_add_text(sql, " FROM result r WHERE r.batch_id = $1 AND r.job_id >= $2 AND r.job_id < $3");
    if (!all_generations)
        buf_addf(sql,
                 " AND NOT (r.status = %d AND EXISTS (SELECT FROM dead_letter q"
                 " WHERE q.job_id = r.job_id AND q.state " DEAD_RUNS_AGAIN "))",
                 STATUS_DEAD);
    buf_add_text(sql, " ORDER BY r.job_id");
    buf_add_byte(sql, '\0');
}

static enum rc stream(struct ctx *ctx, const struct batch *b, struct writer *w, struct err *err)
{
    struct buf sql;
    struct pg_params *p = pg_params_new();
    buf_init(&sql, SQL_BYTES_MAX);
    build_sql(w->fields, opts_set(&ctx->opts, "all-generations"), &sql);
    enum rc rc = cmd_have(sql.failed ? NULL : p, err);
    if (rc == RC_OK) {
        batch_params(p, b);
        rc = ctx_exec(ctx,
                      "SELECT set_config(s, 'off', false) FROM unnest(ARRAY['enable_sort', "
                      "'enable_seqscan', 'enable_bitmapscan', 'jit']) s",
                      NULL, NULL, err);
    }
    if (rc == RC_OK)
        rc = ctx_stream(ctx, sql.p, p, write_row, w, err);
    pg_params_free(p);
    buf_done(&sql);
    return rc;
}

static void say_unfinished(const struct progress *p)
{
    if (p->accepted < 0)
        out_note("the batch is not sealed: more results may follow");
    else if (p->pending > 0)
        out_note("%" PRId64 " of %" PRId64 " jobs have not ended yet", p->pending, p->accepted);
}

static enum rc list_fields(struct err *err)
{
    enum rc rc = RC_OK;
    for (const struct field *f = fields_table; rc == RC_OK && f->name; f++)
        rc = out_writef(err, "%s%s\n", f->name, f->standard ? "" : "  (only when asked for)");
    return rc;
}

static enum rc write_results(struct ctx *ctx, const struct batch *b, bool csv, struct err *err)
{
    struct field_list fields;
    enum rc rc = fields_parse(opts_text(&ctx->opts, "fields", NULL), &fields, err);
    if (rc != RC_OK)
        return rc;
    struct writer w = {.fields = &fields, .csv = csv};
    buf_init(&w.line, LINE_BYTES_MAX);
    if (csv)
        rc = csv_header(&w, err);
    if (rc == RC_OK)
        rc = stream(ctx, b, &w, err);
    buf_done(&w.line);
    return rc;
}

static enum rc check(const struct opts *o, const char *format, struct err *err)
{
    if (strcmp(format, "csv") != 0 && strcmp(format, "jsonl") != 0)
        return err_set(err, RC_REJECT, "--format is jsonl or csv, not '%s'", format);
    if (opts_set(o, "csv") && opts_set(o, "format") && strcmp(format, "csv") != 0)
        return err_set(err, RC_REJECT, "--csv and --format %s contradict each other", format);
    if (opts_set(o, "failed") && (opts_set(o, "format") || opts_set(o, "csv") ||
                                  opts_set(o, "fields") || opts_set(o, "all-generations")))
        return err_set(err, RC_REJECT,
                       "--failed writes requests, not results: it goes with no other "
                       "option");
    return RC_OK;
}

enum rc results(struct ctx *ctx, struct err *err)
{
    const struct opts *o = &ctx->opts;
    const char *format = opts_text(o, "format", "jsonl");
    struct batch b = {0};
    struct progress progress;
    if (strcmp(opts_text(o, "fields", ""), "list") == 0)
        return list_fields(err);
    if (o->arg_count == 0)
        return err_set(err, RC_REJECT, "BATCH is missing; --help says more");
    enum rc rc = check(o, format, err);
    if (rc == RC_OK)
        rc = batch_find(ctx, o->args[0], &b, NULL, err);
    if (rc == RC_OK)
        rc = batch_progress(ctx, &b, &progress, err);
    if (rc != RC_OK)
        goto out;
    if (opts_set(o, "failed"))
        rc = results_failed(ctx, &b, err);
    else
        rc = write_results(ctx, &b, opts_set(o, "csv") || strcmp(format, "csv") == 0, err);
    if (rc == RC_OK)
        say_unfinished(&progress);
out:
    batch_done(&b);
    return rc;
}
