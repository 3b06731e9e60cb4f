/*
 * results_failed.c - dead jobs, written as a file that can be submitted again.
 *
 * The request lies in the dead letter's payload. Jobs that expired or were cancelled left no
 * payload behind: they are counted, and named as such on standard error. The custom ids are kept,
 * so a new batch needs a new name.
 */
#include "admin/results_failed.h"

#include <inttypes.h>

#include "admin/dead_filter.h"
#include "admin/jsonw.h"
#include "admin/out.h"
#include "common/codes.h"
#include "common/job_msg.h"
#include "common/json_scan.h"

enum { LINE_BYTES_MAX = 64 << 20 };

struct failed {
    struct buf line;
    int64_t written, expired, cancelled, discarded, unreadable;
    bool other_output; /* a job asked for json or a label: the file cannot say that */
};

static bool read_job(struct span payload, struct job_msg *msg)
{
    struct err scratch;
    int class;
    enum json_type type;
    return payload.p && job_msg_decode(payload.p, payload.n, msg, &class, &scratch) == RC_OK &&
           json_check(msg->body, &type, &scratch) == RC_OK && type == JSON_TYPE_OBJECT;
}

static enum rc write_request(struct failed *f, const struct job_msg *msg, struct err *err)
{
    struct jsonw w = {.out = &f->line};
    buf_reset(&f->line);
    jsonw_open(&w, '{');
    jsonw_key(&w, "custom_id");
    jsonw_text(&w, msg->custom_id);
    jsonw_key(&w, "method");
    jsonw_text(&w, SPAN_LIT("POST"));
    jsonw_key(&w, "url");
    jsonw_text(&w, msg->url);
    jsonw_key(&w, "body");
    jsonw_raw(&w, msg->body);
    jsonw_close(&w, '}');
    buf_add_byte(&f->line, '\n');
    if (f->line.failed)
        return err_set(err, RC_NOMEM, "no memory for one line of %d MiB", LINE_BYTES_MAX >> 20);
    f->written++;
    f->other_output |= msg->output_kind != OUTPUT_TEXT;
    return out_write(buf_span(&f->line), err);
}

/* status, payload, the letter's state */
static enum rc one(void *arg, const struct pg_rows *row, struct err *err)
{
    struct failed *f = arg;
    struct job_msg msg;
    int status = (int)pg_get_int(row, 0, 0);
    if (status == STATUS_EXPIRED)
        f->expired++;
    else if (status == STATUS_CANCELLED)
        f->cancelled++;
    else if (pg_get_int(row, 0, 2) == DEAD_DISCARDED)
        f->discarded++;
    else if (read_job(pg_get_span(row, 0, 1), &msg))
        return write_request(f, &msg, err);
    else
        f->unreadable++;
    return RC_OK;
}

static void say(const struct failed *f, const struct batch *b)
{
    if (f->expired)
        out_note("not written: %" PRId64
                 " expired jobs, whose requests are not kept; take them from "
                 "the file that was submitted",
                 f->expired);
    if (f->cancelled)
        out_note("not written: %" PRId64 " cancelled jobs, whose requests are not kept; take them "
                 "from the file that was submitted",
                 f->cancelled);
    if (f->discarded)
        out_note("not written: %" PRId64 " dead jobs that a reviewer discarded", f->discarded);
    if (f->unreadable)
        out_note("not written: %" PRId64 " dead jobs whose letter holds no readable request",
                 f->unreadable);
    if (f->written == 0) {
        out_note("no failed job of this batch can be written");
        return;
    }
    out_note(
        "%" PRId64 " request%s; submit them under a new name, `inferq submit --app %.*s --batch "
        "NEW_NAME FILE`: the custom ids are the same, so as '%.*s' nothing would run",
        f->written, f->written == 1 ? "" : "s", (int)b->app.n, b->app.p, (int)b->name.n, b->name.p);
    if (f->other_output)
        out_note("some asked for json or label output: give --output again");
}

enum rc results_failed(struct ctx *ctx, const struct batch *b, struct err *err)
{
    struct failed f = {0};
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    buf_init(&f.line, LINE_BYTES_MAX);
    batch_params(p, b);
    pg_add_int(p, PG_INT2, STATUS_SUCCEEDED);
    pg_add_int(p, PG_INT2, DEAD_ACCEPTED);
    rc = ctx_exec(ctx,
                  "SELECT set_config(s, 'off', false) FROM unnest(ARRAY['enable_sort', "
                  "'enable_seqscan', 'enable_bitmapscan', 'jit']) s",
                  NULL, NULL, err);
    if (rc == RC_OK)
        rc = ctx_stream(ctx,
                        "SELECT r.status, d.payload, d.state FROM result r LEFT JOIN LATERAL "
                        "(SELECT q.payload, q.state FROM dead_letter q WHERE q.job_id = r.job_id "
                        " LIMIT 1) d ON true "
                        "WHERE r.batch_id = $1 AND r.job_id >= $2 AND r.job_id < $3 "
                        "AND r.status <> $4 AND d.state IS DISTINCT FROM $5 "
                        "AND (d.state " DEAD_RUNS_AGAIN ") IS NOT TRUE ORDER BY r.job_id",
                        p, one, &f, err);
    if (rc == RC_OK)
        say(&f, b);
    buf_done(&f.line);
    pg_params_free(p);
    return rc;
}
