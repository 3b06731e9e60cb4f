/*
 * dead_filter.c - reads the filter's options.
 */
#include "admin/dead_filter.h"

#include <stdio.h>

#include "common/clock.h"
#include "common/codes.h"

_Static_assert(DEAD_REQUEUED == 3 && DEAD_EDITED == 4, "as DEAD_RUNS_AGAIN says");

int64_t dead_since_parse(const char *text, int64_t now_ms)
{
    char relative[64];
    if (text[0] != '+') { /* what lies as far ahead lies as far behind */
        int n = snprintf(relative, sizeof relative, "+%s", text[0] == '-' ? text + 1 : text);
        int64_t ahead = n < (int)sizeof relative ? clock_parse(relative, now_ms) : -1;
        if (ahead >= 0)
            return 2 * now_ms - ahead > 0 ? 2 * now_ms - ahead : 1;
    }
    int64_t at = text[0] == '+' ? -1 : clock_parse(text, now_ms);
    return at > 0 ? at : -1;
}

enum rc dead_id_parse(const char *text, int64_t *ret, struct err *err)
{
    if (opts_number(text, ret) != RC_OK)
        return err_set(err, RC_REJECT,
                       "'%.80s' is no dead letter's id: a number, as `inferq dead list` shows",
                       text);
    return RC_OK;
}

enum rc dead_filter_read(struct ctx *ctx, int state, struct dead_filter *ret, struct err *err)
{
    const struct opts *o = &ctx->opts;
    struct dead_filter f = {.class = -1, .state = state, .app = opts_text(o, "app", NULL)};
    const char *class = opts_text(o, "class", NULL), *since = opts_text(o, "since", NULL);
    if (class && (f.class = class_parse(class)) < 0)
        return err_set(err, RC_REJECT, "--class: no class '%.80s' (refused, invalid, ...)", class);
    if (since && (f.since_ms = dead_since_parse(since, clock_wall_ms())) < 0)
        return err_set(err, RC_REJECT, "--since: '%.80s' is neither a time nor 24h, 7d, ...",
                       since);
    f.by_batch = opts_set(o, "batch");
    if (f.by_batch) {
        enum rc rc = batch_find(ctx, opts_text(o, "batch", ""), &f.batch, NULL, err);
        if (rc != RC_OK)
            return rc;
    }
    *ret = f;
    return RC_OK;
}

void dead_filter_done(struct dead_filter *f)
{
    batch_done(&f->batch);
}

bool dead_filter_is_empty(const struct dead_filter *f)
{
    return !f->by_batch && f->class < 0 && !f->app && !f->since_ms;
}

static void code(struct pg_params *p, int v)
{
    if (v < 0)
        pg_add_null(p, PG_INT2);
    else
        pg_add_int(p, PG_INT2, v);
}

void dead_filter_params(struct pg_params *p, const struct dead_filter *f)
{
    pg_add_uuid(p, f->by_batch ? &f->batch.id : NULL);
    code(p, f->class);
    code(p, f->state);
    pg_add_text(p, f->app ? span_of(f->app) : (struct span){0});
    pg_add_time_ms(p, f->since_ms);
}
