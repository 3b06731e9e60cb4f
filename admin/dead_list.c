/*
 * dead_list.c - `inferq dead list`: the latest dead letters that a filter finds.
 */
#include <string.h>

#include "admin/cmd.h"
#include "admin/dead_filter.h"
#include "common/codes.h"

enum { LIMIT_DEFAULT = 50 };

static const struct table_col cols[] = {
    {"dead_id", "ID", 0},      {"died_at", "DIED", 0},
    {"batch", "BATCH", 40},    {"custom_id", "CUSTOM ID", 40},
    {"class", "CLASS", 0},     {"state", "STATE", 0},
    {"attempts", "CALLS", 0},  {"model_version", "MODEL VERSION", 40},
    {"reason", "REASON", 80},  {"job_id", NULL, 0},
    {"app", NULL, 0},          {"task", NULL, 0},
    {"team", NULL, 0},         {"topic", NULL, 0},
    {"partition", NULL, 0},    {"offset", NULL, 0},
    {"published_at", NULL, 0}, {0}};

static int state_parse(const char *name)
{
    const char *known;
    int state;
    for (int i = 0; codes_entry("dead_state", i, &state, &known); i++)
        if (strcmp(name, known) == 0)
            return state;
    return -1;
}

static enum rc read_state(const struct opts *o, int *ret, struct err *err)
{
    const char *name = opts_text(o, "state", "open");
    int state = state_parse(name);
    if (state < 0 && strcmp(name, "all") != 0)
        return err_set(err, RC_REJECT,
                       "--state: one of open, claimed, requeued, edited, accepted, "
                       "discarded, all; not '%.80s'",
                       name);
    *ret = state;
    return RC_OK;
}

static void number(struct table *t, const struct pg_rows *rows, int row, int col)
{
    if (pg_null(rows, row, col))
        table_null(t);
    else
        table_int(t, pg_get_int(rows, row, col));
}

static void add_row(struct table *t, const struct pg_rows *rows, int row)
{
    struct jobid job = pg_get_uuid(rows, row, 9);
    table_int(t, pg_get_int(rows, row, 0));
    table_time(t, pg_get_time_ms(rows, row, 1));
    table_text(t, pg_get_span(rows, row, 2));
    table_text(t, pg_get_span(rows, row, 3));
    table_text(t, span_of(class_name((int)pg_get_int(rows, row, 4))));
    table_text(t, span_of(dead_state_name((int)pg_get_int(rows, row, 5))));
    table_int(t, pg_get_int(rows, row, 6));
    table_text(t, pg_get_span(rows, row, 7));
    table_text(t, pg_get_span(rows, row, 8));
    if (pg_null(rows, row, 9))
        table_null(t);
    else
        table_id(t, &job);
    for (int col = 10; col <= 13; col++) /* app, task, team, topic */
        table_text(t, pg_get_span(rows, row, col));
    number(t, rows, row, 14);
    number(t, rows, row, 15);
    table_time(t, pg_get_time_ms(rows, row, 16));
}

static enum rc select_rows(struct ctx *ctx, const struct dead_filter *f, struct pg_rows **ret_rows,
                           struct err *err)
{
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    dead_filter_params(p, f);
    pg_add_int(p, PG_INT8, opts_int(&ctx->opts, "limit", LIMIT_DEFAULT));
    rc =
        ctx_exec(ctx,
                 "SELECT d.dead_id, d.created_at, b.app || '/' || b.name, d.custom_id, d.class, "
                 "d.state, d.attempts, d.model_version, d.reason, d.job_id, d.app, d.task, d.team, "
                 "d.topic, d.partition, d.record_offset, d.published_at "
                 "FROM dead_letter d LEFT JOIN batch b USING (batch_id) "
                 "WHERE " DEAD_FILTER " ORDER BY d.dead_id DESC LIMIT $6",
                 p, ret_rows, err);
    pg_params_free(p);
    return rc;
}

enum rc dead_list(struct ctx *ctx, struct err *err)
{
    struct dead_filter f = {0};
    struct pg_rows *rows = NULL;
    struct table *t = table_new(cols);
    int state = -1;
    enum rc rc = cmd_have(t, err);
    if (rc == RC_OK)
        rc = read_state(&ctx->opts, &state, err);
    if (rc == RC_OK)
        rc = dead_filter_read(ctx, state, &f, err);
    if (rc == RC_OK)
        rc = select_rows(ctx, &f, &rows, err);
    for (int row = 0; rc == RC_OK && row < pg_row_count(rows); row++)
        add_row(t, rows, row);
    if (rc == RC_OK)
        rc = ctx_print_table(ctx, t, err);
    pg_rows_free(rows);
    dead_filter_done(&f);
    table_free(t);
    return rc;
}
