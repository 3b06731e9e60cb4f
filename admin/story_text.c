/*
 * story_text.c - a job's story for people: who it is, what happened in order, where its time and
 * money went, why it ended so, what can be done.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "admin/fmt.h"
#include "admin/story.h"
#include "admin/table.h"
#include "common/clock.h"
#include "common/codes.h"

enum { EVENT_TEXT_BYTES_MAX = 64 << 20 };

/* One thing that happened; events are told in the order of their times, and of being added. */
struct event {
    int64_t at_ms;
    int order;
    size_t at, n; /* its words, in events.text */
};

struct events {
    struct event *all;
    int count, cap;
    struct buf text;
};

static void event_begin(struct events *e, int64_t at_ms)
{
    if (e->count >= e->cap) {
        e->text.failed = true;
        return;
    }
    e->all[e->count] = (struct event){.at_ms = at_ms, .order = e->count, .at = e->text.n};
}

static void event_end(struct events *e)
{
    if (e->count >= e->cap)
        return;
    e->all[e->count].n = e->text.n - e->all[e->count].at;
    e->count++;
}

static int by_time(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* ---- pieces ------------------------------------------------------------------------------- */

static void add_time(struct buf *out, int64_t unix_ms)
{
    char at[CLOCK_RFC3339_BYTES];
    clock_rfc3339(unix_ms, at, sizeof at);
    buf_add_text(out, at);
}

static void add_id(struct buf *out, const struct jobid *id)
{
    char text[ID_TEXT_BYTES];
    jobid_text(id, text);
    buf_add_text(out, text);
}

static void add_span(struct buf *out, struct span s)
{
    table_clean(s.p ? s : SPAN_LIT("?"), 0, out);
}

static void field(struct buf *out, const char *name, struct span value)
{
    if (!value.p)
        return;
    buf_addf(out, "%-12s ", name);
    table_clean(value, 0, out);
    buf_add_byte(out, '\n');
}

/* ", NAME VALUE USD" unless it is not known */
static void add_usd(struct buf *out, const char *name, const struct pg_rows *rows, int row, int col)
{
    char usd[FMT_BYTES];
    if (!pg_null(rows, row, col))
        buf_addf(out, ", %s %s USD", name, fmt_usd(pg_get_int(rows, row, col), usd));
}

static void add_count(struct buf *out, const char *name, const struct pg_rows *rows, int row,
                      int col)
{
    if (!pg_null(rows, row, col))
        buf_addf(out, ", %s %" PRId64, name, pg_get_int(rows, row, col));
}

/* ---- calls -------------------------------------------------------------------------------- */

static void add_price(struct buf *out, const struct pg_rows *c, int i)
{
    char usd[FMT_BYTES];
    if (pg_null(c, i, SC_PRICE_FROM)) {
        buf_add_text(out, ", no price known");
        return;
    }
    buf_add_text(out, ", price since ");
    add_time(out, pg_get_time_ms(c, i, SC_PRICE_FROM));
    buf_add_text(out, ":");
    if (!pg_null(c, i, SC_PRICE_INPUT))
        buf_addf(out, " %s in,", fmt_usd_per_million(pg_get_int(c, i, SC_PRICE_INPUT), usd));
    if (!pg_null(c, i, SC_PRICE_OUTPUT))
        buf_addf(out, " %s out", fmt_usd_per_million(pg_get_int(c, i, SC_PRICE_OUTPUT), usd));
    buf_add_text(out, " USD per million tokens");
    if (pg_get_int(c, i, SC_PRICE_REQUEST))
        buf_addf(out, ", %s per million requests",
                 fmt_usd_per_million(pg_get_int(c, i, SC_PRICE_REQUEST), usd));
}

static void call_claimed(struct events *e, const struct pg_rows *c, int i)
{
    struct buf *out = &e->text;
    event_begin(e, pg_get_time_ms(c, i, SC_CLAIMED));
    buf_addf(out, "call %" PRId64 " (%s) claimed by worker %" PRId64, pg_get_int(c, i, SC_NUMBER),
             call_kind_name((int)pg_get_int(c, i, SC_KIND)), pg_get_int(c, i, SC_WORKER));
    if (!pg_null(c, i, SC_HOST)) {
        buf_add_text(out, " (");
        add_span(out, pg_get_span(c, i, SC_HOST));
        buf_addf(out, ", pid %" PRId64 ", build ", pg_get_int(c, i, SC_PID));
        add_span(out, pg_get_span(c, i, SC_BUILD));
        buf_add_byte(out, ')');
    }
    buf_add_text(out, ": ");
    add_span(out, pg_get_span(c, i, SC_MODEL));
    buf_add_text(out, " at ");
    add_span(out, pg_get_span(c, i, SC_ENDPOINT));
    buf_addf(out, " version %" PRId64 " <", pg_get_int(c, i, SC_ENDPOINT_VERSION));
    add_span(out, pg_get_span(c, i, SC_URL));
    buf_add_byte(out, '>');
    add_price(out, c, i);
    add_usd(out, "at most", c, i, SC_UPPER);
    event_end(e);
}

static void add_tokens(struct buf *out, const struct pg_rows *c, int i)
{
    add_count(out, "input tokens", c, i, SC_INPUT);
    add_count(out, "of them cached", c, i, SC_CACHED);
    add_count(out, "output tokens", c, i, SC_OUTPUT);
    add_count(out, "of them reasoning", c, i, SC_REASONING);
}

static void call_ended(struct events *e, const struct pg_rows *c, int i)
{
    struct buf *out = &e->text;
    char took[FMT_BYTES];
    event_begin(e, pg_get_time_ms(c, i, SC_DONE));
    buf_addf(out, "call %" PRId64 " ended: %s", pg_get_int(c, i, SC_NUMBER),
             class_name((int)pg_get_int(c, i, SC_CLASS)));
    add_count(out, "HTTP", c, i, SC_HTTP);
    if (pg_get_int(c, i, SC_CURL))
        add_count(out, "libcurl error", c, i, SC_CURL);
    if (!pg_null(c, i, SC_MODEL_US))
        buf_addf(out, ", took %s", fmt_duration(pg_get_int(c, i, SC_MODEL_US), took));
    add_tokens(out, c, i);
    add_usd(out, "cost", c, i, SC_COST);
    if (!pg_null(c, i, SC_CERTAINTY))
        buf_addf(out, " (cost: %s)", certainty_name((int)pg_get_int(c, i, SC_CERTAINTY)));
    if (!pg_null(c, i, SC_REPORTED)) {
        buf_add_text(out, ", the server says ");
        add_span(out, pg_get_span(c, i, SC_REPORTED));
    }
    if (!pg_null(c, i, SC_REQUEST_ID)) {
        buf_add_text(out, ", its request id ");
        add_span(out, pg_get_span(c, i, SC_REQUEST_ID));
    }
    if (!pg_null(c, i, SC_ERROR)) {
        buf_add_text(out, ", error: ");
        add_span(out, pg_get_span(c, i, SC_ERROR));
    }
    event_end(e);
}

/* ---- the other things that happen --------------------------------------------------------- */

static void batch_events(struct events *e, const struct story *s)
{
    const struct pg_rows *b = s->batch;
    if (!b || !pg_row_count(b))
        return;
    const struct {
        int64_t at_ms;
        const char *what;
    } times[] = {{pg_get_int(b, 0, SB_CREATED_MS), "batch created: its jobs' ids carry this time"},
                 {pg_get_time_ms(b, 0, SB_REGISTERED), "batch registered in the database"},
                 {pg_get_time_ms(b, 0, SB_SEALED), "batch sealed: the number of its jobs is known"},
                 {pg_get_time_ms(b, 0, SB_CANCEL), "batch cancelled"}};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        if (times[i].at_ms == 0)
            continue;
        event_begin(e, times[i].at_ms);
        buf_add_text(&e->text, times[i].what);
        event_end(e);
    }
}

static void ending_events(struct events *e, const struct story *s)
{
    if (pg_row_count(s->parked)) {
        event_begin(e, pg_get_time_ms(s->parked, 0, SP_PARKED));
        buf_addf(&e->text, "parked, before call %" PRId64, pg_get_int(s->parked, 0, SP_NUMBER));
        event_end(e);
    }
    if (pg_row_count(s->result)) {
        event_begin(e, pg_get_time_ms(s->result, 0, SR_FINISHED));
        buf_addf(&e->text, "%s (%s)", status_name((int)pg_get_int(s->result, 0, SR_STATUS)),
                 class_name((int)pg_get_int(s->result, 0, SR_CLASS)));
        add_usd(&e->text, "cost of all calls", s->result, 0, SR_COST);
        event_end(e);
    }
    for (int i = 0; i < pg_row_count(s->letters); i++) {
        event_begin(e, pg_get_time_ms(s->letters, i, SL_DIED));
        buf_addf(&e->text, "dead letter %" PRId64 ": ", pg_get_int(s->letters, i, SL_ID));
        add_span(&e->text, pg_get_span(s->letters, i, SL_REASON));
        event_end(e);
    }
    for (int i = 0; i < pg_row_count(s->events); i++) {
        struct jobid new_job = pg_get_uuid(s->events, i, SE_NEW_JOB);
        event_begin(e, pg_get_time_ms(s->events, i, SE_AT));
        add_span(&e->text, pg_get_span(s->events, i, SE_ACTION));
        buf_add_text(&e->text, " by ");
        add_span(&e->text, pg_get_span(s->events, i, SE_ACTOR));
        if (!pg_null(s->events, i, SE_NEW_JOB)) {
            buf_add_text(&e->text, ", as job ");
            add_id(&e->text, &new_job);
        }
        event_end(e);
    }
}

static void write_events(const struct story *s, struct buf *out)
{
    int most = 2 * pg_row_count(s->calls) + pg_row_count(s->letters) + pg_row_count(s->events) + 8;
    struct events e = {.cap = most};
    buf_init(&e.text, EVENT_TEXT_BYTES_MAX);
    e.all = calloc((size_t)most, sizeof *e.all);
    if (!e.all) {
        out->failed = true;
        return;
    }
    batch_events(&e, s);
    for (int i = 0; i < pg_row_count(s->calls); i++) {
        call_claimed(&e, s->calls, i);
        if (!pg_null(s->calls, i, SC_DONE))
            call_ended(&e, s->calls, i);
    }
    ending_events(&e, s);
    if (e.count)
        qsort(e.all, (size_t)e.count, sizeof *e.all, by_time);
    for (int i = 0; i < e.count; i++) {
        buf_add_text(out, i ? "" : "\n");
        add_time(out, e.all[i].at_ms);
        buf_add_text(out, "  ");
        buf_add(out, buf_span(&e.text).p + e.all[i].at, e.all[i].n);
        buf_add_byte(out, '\n');
    }
    out->failed |= e.text.failed;
    buf_done(&e.text);
    free(e.all);
}

/* ---- head and foot ------------------------------------------------------------------------ */

static void write_head(const struct story *s, struct buf *out)
{
    buf_addf(out, "%-12s ", "job");
    add_id(out, &s->job);
    buf_add_byte(out, '\n');
    field(out, "custom id", s->custom_id);
    if (s->generation >= 0)
        buf_addf(out, "%-12s %" PRId64 "\n", "generation", s->generation);
    if (s->has_batch) {
        buf_addf(out, "%-12s ", "batch");
        add_id(out, &s->batch_id);
        buf_add_byte(out, '\n');
    }
    if (s->batch && pg_row_count(s->batch)) {
        field(out, "app", pg_get_span(s->batch, 0, SB_APP));
        field(out, "batch name", pg_get_span(s->batch, 0, SB_NAME));
        field(out, "task", pg_get_span(s->batch, 0, SB_TASK));
        field(out, "team", pg_get_span(s->batch, 0, SB_TEAM));
    }
    if (pg_row_count(s->result)) {
        field(out, "model", pg_get_span(s->result, 0, SR_MODEL));
        field(out, "prompt", pg_get_span(s->result, 0, SR_PROMPT));
        field(out, "context", pg_get_span(s->result, 0, SR_CONTEXT));
        field(out, "finish", pg_get_span(s->result, 0, SR_FINISH_REASON));
        field(out, "validation",
              span_of(validation_name((int)pg_get_int(s->result, 0, SR_VALIDATION))));
        field(out, "trace", pg_get_span(s->result, 0, SR_TRACE));
    }
}

static void add_wait(struct buf *out, const char *name, const struct pg_rows *rows, int col,
                     const char *separator)
{
    char text[FMT_BYTES];
    buf_addf(out, "%s%s %s", separator, name,
             pg_null(rows, 0, col) ? "unknown" : fmt_duration(pg_get_int(rows, 0, col), text));
}

/* "(38 s of it for requests_per_minute of app sales, 4 s for tokens_per_day of app sales)" */
static void add_causes(const struct story *s, struct buf *out)
{
    char text[FMT_BYTES];
    for (int i = 0; i < pg_row_count(s->waits); i++) {
        struct span what = pg_get_span(s->waits, i, SW_FOR);
        fmt_duration(pg_get_int(s->waits, i, SW_US), text);
        buf_addf(out, i ? ", %s for " : " (%s of it for ", text);
        if (what.p)
            table_clean(what, 0, out);
        else
            buf_add_text(out, i ? "other limits" : "a limit");
    }
    if (pg_row_count(s->waits))
        buf_add_byte(out, ')');
}

/* Before it was parked, and since then. */
static void add_parked(const struct pg_rows *p, struct buf *out)
{
    char text[FMT_BYTES];
    int64_t us = pg_get_int(p, 0, SP_WAITED_US) + pg_get_int(p, 0, SP_PARKED_US);
    buf_addf(out, "\ntime: throttled, backing off or parked %s", fmt_duration(us, text));
}

static void write_waits(const struct story *s, struct buf *out)
{
    if (pg_row_count(s->result)) {
        add_wait(out, "in the queue", s->result, SR_QUEUE_US, "\ntime: ");
        add_wait(out, "throttled, backing off or parked", s->result, SR_THROTTLE_US, ", ");
        add_causes(s, out);
        add_wait(out, "in the model", s->result, SR_MODEL_US, ", ");
        add_wait(out, "being stored", s->result, SR_STORE_US, ", ");
        buf_add_byte(out, '\n');
    } else if (pg_row_count(s->parked)) {
        add_parked(s->parked, out);
        add_causes(s, out);
        add_wait(out, "in the model", s->parked, SP_MODEL_US, ", ");
        buf_add_byte(out, '\n');
    }
}

static void write_next(const struct story *s, struct buf *out)
{
    for (int i = 0; i < pg_row_count(s->letters); i++) {
        int state = (int)pg_get_int(s->letters, i, SL_STATE);
        buf_addf(out, "Dead letter %" PRId64 " is %s.", pg_get_int(s->letters, i, SL_ID),
                 dead_state_name(state));
        if (state == DEAD_OPEN || state == DEAD_CLAIMED)
            buf_addf(out, " To run the job again: inferq dead requeue %" PRId64,
                     pg_get_int(s->letters, i, SL_ID));
        buf_add_byte(out, '\n');
    }
    if (s->has_previous) {
        buf_add_text(out, "The generation before: inferq explain ");
        add_id(out, &s->previous);
        buf_add_byte(out, '\n');
    }
}

void story_text(const struct story *s, struct buf *out)
{
    write_head(s, out);
    write_events(s, out);
    write_waits(s, out);
    buf_add_byte(out, '\n');
    story_sentence(s, out);
    buf_add_byte(out, '\n');
    write_next(s, out);
}
