/*
 * store.c - the Postgres edge: three connections, batches, and the flush after each loop turn.
 *
 * Happy path: the path hands over jobs during a turn of the loop; store_flush (called by main when
 * the turn is over) sends one batch of each kind that has none under way. Postgres away: batches
 * come back with RC_RETRY, go to the front of their queues, and are sent again when the connection
 * stands. A row that Postgres refuses for its data is hunted by halving the batch.
 */
#include "worker/store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/hash.h"
#include "common/kept_headers.h"
#include "common/log.h"
#include "worker/policy.h"
#include "worker/store_internal.h"
#include "worker/store_learned.h"
#include "worker/store_limits.h"

enum {
    HOLD_US = 1000 * 1000, /* after Postgres refused a batch for no fault of its rows */
    STATEMENT_TIMEOUT_MS = 30 * 1000,
};

#define NO_PARTITION "23514"

/* ---- queues and batches ---------------------------------------------------------------------- */

static struct job **link_of(const struct job_queue *q, struct job *job)
{
    return (struct job **)((char *)job + q->link);
}

void job_queue_push(struct job_queue *q, struct job *job)
{
    *link_of(q, job) = NULL;
    if (q->tail)
        *link_of(q, q->tail) = job;
    else
        q->head = job;
    q->tail = job;
    q->count++;
}

void job_queue_push_front(struct job_queue *q, struct job *job)
{
    *link_of(q, job) = q->head;
    q->head = job;
    if (!q->tail)
        q->tail = job;
    q->count++;
}

struct job *job_queue_pop(struct job_queue *q)
{
    struct job *job = q->head;
    if (!job)
        return NULL;
    q->head = *link_of(q, job);
    if (!q->head)
        q->tail = NULL;
    q->count--;
    return job;
}

static void batch_init(struct store_batch *b, struct store *s, size_t link)
{
    b->waiting.link = link;
    b->limit = STORE_ROWS_MAX;
    b->store = s;
}

static int by_job_id(const void *a, const void *b)
{
    const struct job *const *x = a, *const *y = b;
    return jobid_cmp(&(*x)->msg.job_id, &(*y)->msg.job_id);
}

/* What a job adds to a statement at most, but for small columns. */
static size_t row_bytes(const struct job *job)
{
    return job->payload_bytes + (job->call ? job->call->http.reply.n : 0);
}

bool store_batch_take(struct store_batch *b, const struct pg *conn)
{
    size_t bytes = 0;
    if (b->under_way || !b->waiting.count || !pg_is_up(conn) || clock_mono_us() < b->hold_until_us)
        return false;
    b->row_count = 0;
    while (b->row_count < b->limit && b->waiting.count) {
        bytes += row_bytes(b->waiting.head);
        if (b->row_count > 0 && bytes > STORE_BYTES_MAX)
            break;
        b->rows[b->row_count++] = job_queue_pop(&b->waiting);
    }
    qsort(b->rows, (size_t)b->row_count, sizeof b->rows[0], by_job_id);
    b->under_way = true;
    b->worker_id = b->store->worker_id;
    return true;
}

/* Postgres has no partition for one of the rows. Those whose span was dropped while they were here
 * would be refused for ever, and hold up all others; the rest wait for a partition to be made. */
static int take_gone(struct store_batch *b, const struct pg_answer *answer, struct job **ret_gone)
{
    struct store *s = b->store;
    int gone = 0, kept = 0;
    if (strcmp(answer->sqlstate, NO_PARTITION) != 0)
        return 0;
    s->next_slow_us = 0; /* what is the oldest span now? */
    for (int i = 0; i < b->row_count; i++) {
        if (jobid_ms(&b->rows[i]->msg.job_id) < s->oldest_live_ms)
            ret_gone[gone++] = b->rows[i];
        else
            b->rows[kept++] = b->rows[i];
    }
    b->row_count = kept;
    return gone;
}

void store_batch_again(struct store_batch *b, const struct pg_answer *answer, const char *what)
{
    struct job *gone[STORE_ROWS_MAX];
    int gone_count = take_gone(b, answer, gone);
    for (int i = b->row_count; i-- > 0;)
        job_queue_push_front(&b->waiting, b->rows[i]);
    if (answer->rc == RC_REJECT && b->row_count > 1)
        b->limit = b->row_count / 2;
    else if (answer->sqlstate[0] || answer->rc != RC_RETRY)
        b->hold_until_us = clock_mono_us() + HOLD_US;
    if (answer->sqlstate[0])
        log_event(LOG_ERROR, "postgres refused a batch; it is sent again", LF_STR("batch", what),
                  LF_STR("sqlstate", answer->sqlstate), LF_STR("why", answer->err.text),
                  LF_INT("rows", b->row_count));
    b->under_way = false;
    b->row_count = 0;
    for (int i = 0; i < gone_count; i++)
        b->store->conf.gone(b->store->conf.arg, gone[i]);
}

void store_batch_done(struct store_batch *b)
{
    b->under_way = false;
    b->limit = b->limit * 2 < STORE_ROWS_MAX ? b->limit * 2 : STORE_ROWS_MAX;
}

/* ---- what several batches need --------------------------------------------------------------- */

void store_source_of(const struct store *s, const struct job *job, unsigned char out[32])
{
    struct buf name;
    buf_init(&name, 4096);
    /* A record that is buried is no job, whatever id it shows: named by it, a forged one would take
     * the place of the letter that the real job may need. */
    if (job->in_table && job->state != JOB_BURY) {
        buf_add_text(&name, "job:");
        buf_add(&name, job->msg.job_id.b, ID_BYTES);
    } else {
        buf_addf(&name, "record:%s:%s:%d:%lld:%lld", s->conf.cluster, s->conf.topics[job->lane],
                 (int)job->partition, (long long)job->offset, (long long)job->timestamp_ms);
    }
    struct span whole = buf_span(&name);
    hash_sha256(&whole, 1, out);
    buf_done(&name);
}

struct span store_headers(const struct job *job, struct buf *scratch)
{
    buf_reset(scratch);
    kept_headers_pack((struct kept_headers){job->signature, job->traceparent}, scratch);
    return buf_span(scratch);
}

/* ---- handing over ---------------------------------------------------------------------------- */

void store_claim(struct store *s, struct job *job)
{
    bool slow = job->ask_only || job->claim_sent;
    job_queue_push(slow ? &s->slow.waiting : &s->claims.waiting, job);
}

void store_end(struct store *s, struct job *job)
{
    job_queue_push(&s->ends.waiting, job);
}

void store_park(struct store *s, struct job *job)
{
    job_queue_push(&s->parks.waiting, job);
}

void store_bury(struct store *s, struct job *job)
{
    job_queue_push(&s->buries.waiting, job);
}

void store_pay(struct store *s, struct job *job)
{
    job_queue_push(&s->pays.waiting, job);
}

int store_lane_of(const struct store *s, int64_t code)
{
    for (int lane = 0; lane < s->conf.lane_count; lane++)
        if (s->conf.lane_codes[lane] == code)
            return lane;
    return -1;
}

void store_answer_claim(struct store *s, struct job *job, enum claim_answer answer,
                        int64_t worker_id)
{
    job->claim_answer = answer;
    if (answer == CLAIM_GRANTED)
        job->claimed_by = worker_id;
    s->conf.claimed(s->conf.arg, job);
}

void store_flush(struct store *s)
{
    store_flush_ends(s);
    store_flush_slow(s);
    store_flush_claims(s);
    store_flush_parks(s);
    store_flush_buries(s);
    store_flush_pays(s);
    store_flush_pulls(s);
}

/* ---- the lease ------------------------------------------------------------------------------- */

bool store_is_up(const struct store *s)
{
    return pg_is_up(s->claim_conn) && pg_is_up(s->store_conn) && pg_is_up(s->keep_conn);
}

int64_t store_worker_id(const struct store *s)
{
    return s->worker_id;
}

int64_t store_lease_left_us(const struct store *s)
{
    int64_t left = s->worker_id ? s->lease_until_us - clock_boot_us() : 0;
    return left > 0 ? left : 0;
}

bool store_may_claim(const struct store *s)
{
    return !s->stopping && pg_is_up(s->claim_conn) && pg_is_up(s->store_conn) &&
           store_limits_known(s) && store_lease_left_us(s) > s->conf.lease_margin_us;
}

bool store_may_send(const struct store *s, int64_t worker_id)
{
    return !s->stopping && worker_id == s->worker_id &&
           store_lease_left_us(s) > s->conf.lease_margin_us;
}

int64_t store_clock_offset_ms(const struct store *s)
{
    return s->clock_offset_ms;
}

int64_t store_parked_due(const struct store *s)
{
    return s->parked_due;
}

const struct store_figures *store_figures(const struct store *s)
{
    return &s->figures;
}

size_t store_queued(const struct store *s)
{
    return s->claims.waiting.count + s->slow.waiting.count + s->ends.waiting.count +
           s->parks.waiting.count + s->buries.waiting.count + s->pays.waiting.count;
}

/* ---- making and unmaking
 * -------------------------------------------------------------------------- */

static void conn_up(void *arg)
{
    struct store *s = arg;
    if (pg_is_up(s->claim_conn) && pg_is_up(s->store_conn))
        log_event(LOG_INFO, "postgres is reached");
}

static void conn_down(void *arg, const char *why)
{
    (void)arg;
    log_event(LOG_WARN, "postgres is away; work waits", LF_STR("why", why));
}

static void keep_up(void *arg)
{
    store_keep_up(arg);
}

static void keep_down(void *arg, const char *why)
{
    conn_down(arg, why);
    store_keep_down(arg);
    store_limits_down(arg);
    store_learned_down(arg);
}

static void keep_notify(void *arg, const char *channel, const char *payload)
{
    (void)payload;
    if (strcmp(channel, "inferq_learned") == 0) { /* of failing calls: the rest is as it was */
        store_learned_notify(arg);
        return;
    }
    store_keep_notify(arg);
    store_limits_notify(arg);
}

static void list_classes(struct store *s)
{
    const char *name;
    int code;
    for (int i = 0; codes_entry("class", i, &code, &name); i++) {
        if (!outcome_counts((enum class)code) && s->uncounted_count < STORE_UNCOUNTED_MAX)
            s->uncounted[s->uncounted_count++] = (int16_t)code;
        if (policy_unknown((enum class)code) && s->unknown_count < STORE_UNCOUNTED_MAX)
            s->unknown[s->unknown_count++] = (int16_t)code;
    }
}

static enum rc connect_all(struct store *s, struct uv_loop_s *loop, struct err *err)
{
    struct pg_conf conf = {
        .conninfo = s->conf.conninfo,
        .statement_timeout_ms = STATEMENT_TIMEOUT_MS,
        .arg = s,
        .name = "inferq-worker claim",
        .statements = store_sql_claim,
        .settings = store_settings_sync,
        .on_up = conn_up,
        .on_down = conn_down,
        .on_notify = NULL,
    };
    s->claim_conn = pg_new(loop, &conf, err);
    conf.name = "inferq-worker store";
    conf.statements = store_sql_store;
    s->store_conn = s->claim_conn ? pg_new(loop, &conf, err) : NULL;
    conf.name = "inferq-worker keep";
    conf.statements = store_sql_keep;
    conf.settings = store_settings_keep;
    conf.on_up = keep_up;
    conf.on_down = keep_down;
    conf.on_notify = keep_notify;
    s->keep_conn = s->store_conn ? pg_new(loop, &conf, err) : NULL;
    return s->keep_conn ? RC_OK : RC_FATAL;
}

enum rc store_new(struct uv_loop_s *loop, const struct store_conf *conf, struct store **ret_store,
                  struct err *err)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, RC_NOMEM, "no memory for the store edge");
    s->conf = *conf;
    batch_init(&s->claims, s, offsetof(struct job, store_next));
    batch_init(&s->slow, s, offsetof(struct job, store_next));
    batch_init(&s->ends, s, offsetof(struct job, store_next));
    batch_init(&s->buries, s, offsetof(struct job, store_next));
    batch_init(&s->pays, s, offsetof(struct job, store_next));
    batch_init(&s->parks, s, offsetof(struct job, park_next));
    list_classes(s);
    s->params = pg_params_new();
    s->more_params = pg_params_new();
    s->lose_params = pg_params_new();
    s->seen = calloc(STORE_SEEN_MAX, sizeof *s->seen);
    enum rc rc = RC_OK;
    if (!s->params || !s->more_params || !s->lose_params || !s->seen)
        rc = err_set(err, RC_NOMEM, "no memory for the store edge");
    if (rc == RC_OK)
        rc = connect_all(s, loop, err);
    if (rc == RC_OK)
        rc = store_limits_start(s, err);
    if (rc == RC_OK)
        rc = store_learned_start(s, err);
    if (rc == RC_OK)
        rc = store_keep_start(s, loop, err);
    if (rc == RC_OK)
        *ret_store = s;
    else
        store_free(s);
    return rc;
}

void store_free(struct store *s)
{
    if (!s)
        return;
    store_keep_free(s);
    pg_free(s->claim_conn);
    pg_free(s->store_conn);
    pg_free(s->keep_conn);
    store_limits_free(s);
    store_learned_free(s);
    pg_params_free(s->params);
    pg_params_free(s->more_params);
    pg_params_free(s->lose_params);
    free(s->seen);
    free(s->held);
    free(s->wakes);
    store_drop_pulls(s);
    free(s);
}
