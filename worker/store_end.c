/*
 * store_end.c - endings and outcomes: one transaction a batch.
 *
 * Happy path: `result` rows for jobs that end (with their dead letters, progress and the deletion
 * of their parked rows, all from the rows really inserted), and the outcome of every call, in one
 * Sync. Lost reply: the same batch is sent again, and all of it is a no-op.
 */
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/failpoint.h"
#include "common/kept_headers.h"
#include "worker/store_internal.h"

enum { INT4_MAX = 2147483647 };

static const struct span absent = {NULL, 0};

static void add_known(struct pg_params *p, int64_t value) /* -1: not known, NULL */
{
    if (value < 0)
        pg_elem_null(p);
    else
        pg_elem_int(p, value);
}

static int64_t tokens(int64_t count)
{
    return count > INT4_MAX ? INT4_MAX : count;
}

static int64_t status_or_none(const struct outcome *o)
{
    return o->http_status ? o->http_status : -1;
}

static struct span text_or_null(const char *text)
{
    return text && text[0] ? span_of(text) : absent;
}

/* One column over the rows. */
#define COLUMN(p, type, rows, n, add)           \
    do {                                        \
        pg_array((p), (type));                  \
        for (int i_ = 0; i_ < (n); i_++) {      \
            const struct job *job = (rows)[i_]; \
            add;                                \
        }                                       \
    } while (0)

/* The trace id within "00-<32 hex>-<16 hex>-<flags>". */
static struct span trace_id(const struct job *job)
{
    return job->traceparent.n >= 35 ? (struct span){job->traceparent.p + 3, 32} : absent;
}

/* The outcome that gave the verdict; that of no call where none did. */
static const struct outcome *verdict_of(const struct job *job)
{
    static const struct outcome none = {
        .usage = {.input = -1, .cached = -1, .output = -1, .reasoning = -1}};
    return job->verdict_call && job->call ? &job->call->outcome : &none;
}

static struct span reply_body(const struct job *job)
{
    if (!job->verdict_call || !job->call || job->bare || !job->call->http.facts.body.n)
        return absent;
    return job->call->http.facts.body;
}

static void result_numbers(const struct store *s, struct pg_params *p, struct job *const *rows,
                           int n, int64_t now)
{
    COLUMN(p, PG_UUID, rows, n, pg_elem_uuid(p, &job->msg.job_id));
    COLUMN(p, PG_UUID, rows, n, pg_elem_uuid(p, &job->msg.batch_id));
    COLUMN(p, PG_TIMESTAMPTZ, rows, n, pg_elem_time_ms(p, job->msg.created_at_ms));
    COLUMN(p, PG_INT8, rows, n, add_known(p, job->spent_nusd));
    COLUMN(p, PG_INT8, rows, n, pg_elem_int(p, job->queue_us));
    COLUMN(p, PG_INT8, rows, n, pg_elem_int(p, job->throttle_us));
    COLUMN(p, PG_INT8, rows, n, add_known(p, job->held.us ? job->held.us : -1));
    COLUMN(p, PG_INT4, rows, n, add_known(p, job->held.us ? waits_most(&job->held) : -1));
    COLUMN(p, PG_INT8, rows, n, pg_elem_int(p, job->model_us));
    COLUMN(p, PG_INT8, rows, n, pg_elem_int(p, now - job->outcome_us));
    COLUMN(p, PG_INT4, rows, n, add_known(p, tokens(verdict_of(job)->usage.input)));
    COLUMN(p, PG_INT4, rows, n, add_known(p, tokens(verdict_of(job)->usage.cached)));
    COLUMN(p, PG_INT4, rows, n, add_known(p, tokens(verdict_of(job)->usage.output)));
    COLUMN(p, PG_INT4, rows, n, add_known(p, tokens(verdict_of(job)->usage.reasoning)));
    COLUMN(p, PG_INT4, rows, n, add_known(p, job->mv ? job->mv->db_id : -1));
    COLUMN(p, PG_INT4, rows, n, pg_elem_int(p, (int32_t)job->msg.generation));
    COLUMN(p, PG_INT2, rows, n, pg_elem_int(p, job->status));
    COLUMN(p, PG_INT2, rows, n, pg_elem_int(p, job->class));
    COLUMN(p, PG_INT2, rows, n, add_known(p, job->verdict_call ? job->verdict_call : -1));
    COLUMN(p, PG_INT2, rows, n, add_known(p, status_or_none(verdict_of(job))));
    COLUMN(p, PG_INT2, rows, n, pg_elem_int(p, job->validation));
    COLUMN(p, PG_INT2, rows, n, pg_elem_int(p, s->conf.lane_codes[job->lane]));
}

void store_add_waits(struct pg_params *p, struct job *const *rows, int n, int least)
{
    struct buf text;
    buf_init(&text, WAITS_BYTES_MAX);
    pg_array(p, PG_TEXT);
    for (int i = 0; i < n; i++) {
        buf_reset(&text);
        waits_pack(&rows[i]->held, least, &text);
        pg_elem_span(p, text.n && !text.failed ? buf_span(&text) : absent);
    }
    buf_done(&text);
}

static void result_texts(struct pg_params *p, struct job *const *rows, int n)
{
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->msg.app));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->msg.task));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->msg.team));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->msg.custom_id));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->msg.url));
    COLUMN(p, PG_TEXT, rows, n,
           pg_elem_span(p, job->bare ? absent : text_or_null(verdict_of(job)->finish_reason)));
    COLUMN(p, PG_TEXT, rows, n,
           pg_elem_span(p, job->bare ? absent : text_or_null(verdict_of(job)->model_reported)));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->msg.prompt_version));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->msg.context_version));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->bare ? absent : trace_id(job)));
    COLUMN(p, PG_BYTEA, rows, n, pg_elem_span(p, reply_body(job)));
    store_add_waits(p, rows, n, 2);
}

static void letter_source(const struct store *s, struct pg_params *p, struct job *const *rows,
                          int n)
{
    unsigned char source[32];
    pg_array(p, PG_BYTEA);
    for (int i = 0; i < n; i++) {
        store_source_of(s, rows[i], source);
        pg_elem_span(p, (struct span){(const char *)source, sizeof source});
    }
}

static struct span letter_reason(const struct job *job)
{
    return job->reason && job->reason[0] ? span_of(job->reason)
                                         : span_of(class_name((int)job->class));
}

/* The dead among the rows: what the review needs, payload included. */
static void letters(const struct store *s, struct pg_params *p, struct job *const *rows, int n)
{
    struct buf headers;
    buf_init(&headers, KEPT_HEADERS_BYTES_MAX);
    COLUMN(p, PG_UUID, rows, n, pg_elem_uuid(p, &job->msg.job_id));
    letter_source(s, p, rows, n);
    COLUMN(p, PG_UUID, rows, n, pg_elem_uuid(p, &job->msg.batch_id));
    COLUMN(p, PG_INT4, rows, n, pg_elem_int(p, (int32_t)job->msg.generation));
    COLUMN(p, PG_INT2, rows, n, pg_elem_int(p, job->class));
    COLUMN(p, PG_INT2, rows, n, pg_elem_int(p, job->attempts));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->msg.app));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->msg.task));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->msg.team));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->msg.custom_id));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, job->mv ? span_of(job->mv->label) : absent));
    COLUMN(p, PG_TEXT, rows, n, pg_elem_span(p, letter_reason(job)));
    COLUMN(p, PG_TEXT, rows, n,
           pg_elem_span(p, job->partition < 0 ? absent : span_of(s->conf.topics[job->lane])));
    COLUMN(p, PG_INT4, rows, n, add_known(p, job->partition));
    COLUMN(p, PG_INT8, rows, n, add_known(p, job->partition < 0 ? -1 : job->offset));
    COLUMN(p, PG_TIMESTAMPTZ, rows, n, pg_elem_time_ms(p, job->timestamp_ms));
    COLUMN(p, PG_BYTEA, rows, n, pg_elem_span(p, (struct span){job->payload, job->payload_bytes}));
    COLUMN(p, PG_BYTEA, rows, n, pg_elem_span(p, store_headers(job, &headers)));
    buf_done(&headers);
}

static void outcomes(struct pg_params *p, struct job *const *rows, int n)
{
    COLUMN(p, PG_UUID, rows, n, pg_elem_uuid(p, &job->msg.job_id));
    COLUMN(p, PG_INT2, rows, n, pg_elem_int(p, job->number));
    COLUMN(p, PG_INT8, rows, n, pg_elem_int(p, job->claimed_by));
    COLUMN(p, PG_INT2, rows, n, pg_elem_int(p, job->call->outcome.class));
    COLUMN(p, PG_INT2, rows, n, pg_elem_int(p, job->call->outcome.certainty));
    COLUMN(p, PG_INT8, rows, n, add_known(p, job->call->outcome.cost_nusd));
    COLUMN(p, PG_INT8, rows, n,
           pg_elem_int(p, job->call->http.done_us - job->call->http.started_us));
    COLUMN(p, PG_INT4, rows, n, add_known(p, tokens(job->call->outcome.usage.input)));
    COLUMN(p, PG_INT4, rows, n, add_known(p, tokens(job->call->outcome.usage.cached)));
    COLUMN(p, PG_INT4, rows, n, add_known(p, tokens(job->call->outcome.usage.output)));
    COLUMN(p, PG_INT4, rows, n, add_known(p, tokens(job->call->outcome.usage.reasoning)));
    COLUMN(p, PG_INT2, rows, n, pg_elem_int(p, job->call->outcome.curl_code));
    COLUMN(p, PG_INT2, rows, n, add_known(p, status_or_none(&job->call->outcome)));
    COLUMN(p, PG_TEXT, rows, n,
           pg_elem_span(p, job->bare ? absent : text_or_null(job->call->outcome.request_id)));
    COLUMN(p, PG_TEXT, rows, n,
           pg_elem_span(p, job->bare ? absent : text_or_null(job->call->outcome.model_reported)));
    COLUMN(p, PG_TEXT, rows, n,
           pg_elem_span(p, job->bare ? absent : text_or_null(job->call->outcome.error)));
}

static void job_ids(struct pg_params *p, struct job *const *rows, int n)
{
    COLUMN(p, PG_UUID, rows, n, pg_elem_uuid(p, &job->msg.job_id));
}

/* Marks what was inserted: the answer's ids come in the order of the rows, which are sorted. */
static void mark_stored(struct store_batch *b, const struct pg_rows *inserted)
{
    int next = 0, count = inserted ? pg_row_count(inserted) : 0;
    for (int i = 0; i < b->row_count; i++) {
        struct jobid id = next < count ? pg_get_uuid(inserted, next, 0) : (struct jobid){0};
        b->rows[i]->stored = next < count && jobid_eq(&id, &b->rows[i]->msg.job_id);
        next += b->rows[i]->stored;
    }
}

static void ends_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    struct store_batch *b = &s->ends;
    if (s->ends_with_results)
        FAILPOINT("store.answered");
    else
        FAILPOINT("outcome.answered");
    if (answer->rc == RC_REJECT && b->row_count == 1) {
        store_batch_done(b);
        s->conf.refused(s->conf.arg, b->rows[0], answer->err.text);
        return;
    }
    if (answer->rc != RC_OK) {
        store_batch_again(b, answer, "store");
        return;
    }
    if (s->loses)
        s->figures.lost += pg_affected(answer->rows[0]);
    mark_stored(b, s->ends_with_results ? answer->rows[s->result_step] : NULL);
    int rows = b->row_count;
    store_batch_done(b);
    for (int i = 0; i < rows; i++)
        s->conf.stored(s->conf.arg, b->rows[i]);
}

void store_flush_ends(struct store *s)
{
    struct store_batch *b = &s->ends;
    if (!store_batch_take(b, s->store_conn))
        return;
    struct job *ending[STORE_ROWS_MAX], *dead[STORE_ROWS_MAX], *called[STORE_ROWS_MAX];
    struct job *uncalled[STORE_ROWS_MAX];
    int endings = 0, deads = 0, calls = 0, uncalls = 0;
    for (int i = 0; i < b->row_count; i++) {
        struct job *job = b->rows[i];
        if (job->status != STATUS_NONE)
            ending[endings++] = job;
        if (job->status == STATUS_DEAD)
            dead[deads++] = job;
        if (job->outcome_open)
            called[calls++] = job;
        if (job->status != STATUS_NONE && !job->verdict_call)
            uncalled[uncalls++] = job;
    }
    struct pg_step steps[3];
    int count = 0;
    if (uncalls) { /* a call by a worker that is gone may stand open: it is lost now */
        pg_params_reset(s->lose_params);
        job_ids(s->lose_params, uncalled, uncalls);
        steps[count++] = (struct pg_step){SQL_STORE_LOSE, s->lose_params};
    }
    s->loses = uncalls > 0;
    s->result_step = count;
    if (endings) {
        pg_params_reset(s->params);
        result_numbers(s, s->params, ending, endings, clock_mono_us());
        result_texts(s->params, ending, endings);
        if (deads || uncalls)
            letters(s, s->params, dead, deads);
        steps[count++] =
            (struct pg_step){deads || uncalls ? SQL_STORE : SQL_STORE_CALLED, s->params};
    }
    if (calls) {
        pg_params_reset(s->more_params);
        outcomes(s->more_params, called, calls);
        steps[count++] = (struct pg_step){SQL_OUTCOME, s->more_params};
    }
    s->ends_with_results = endings > 0;
    struct err err = {0};
    enum rc rc = count ? pg_txn(s->store_conn, steps, count, ends_answered, s, &err) : RC_OK;
    FAILPOINT("store.sent");
    if (rc != RC_OK)
        store_batch_again(b, &(struct pg_answer){.rc = rc, .err = err}, "store");
}
