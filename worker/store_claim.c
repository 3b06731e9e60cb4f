/*
 * store_claim.c - claims, and the rows of `parked` and of dead letters without a job.
 *
 * A claim goes out in a batch; the granted come back. The others take the slow path: owners of
 * their open calls are fenced if their lease is over, the ledger says how each job stands
 * (claim_rule.c), and what is free is taken with the next number after the fenced owner's call was
 * marked lost.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/failpoint.h"
#include "common/kept_headers.h"
#include "common/log.h"
#include "worker/claim_rule.h"
#include "worker/policy.h"
#include "worker/store_internal.h"

/* ---- the fast path --------------------------------------------------------------------------- */

static void add_nusd(struct pg_params *p, int64_t nusd)
{
    if (nusd < 0)
        pg_elem_null(p);
    else
        pg_elem_int(p, nusd);
}

/* $1 worker, then the arrays of CLAIM and TAKE. */
static void claim_params(struct store *s, struct pg_params *p, struct job *const *rows, int n)
{
    pg_params_reset(p);
    pg_add_int(p, PG_INT8, s->worker_id);
    pg_array(p, PG_UUID);
    for (int i = 0; i < n; i++)
        pg_elem_uuid(p, &rows[i]->msg.job_id);
    pg_array(p, PG_INT2);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->number);
    pg_array(p, PG_INT2);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->kind);
    pg_array(p, PG_UUID);
    for (int i = 0; i < n; i++)
        pg_elem_uuid(p, &rows[i]->msg.batch_id);
    pg_array(p, PG_INT4);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->mv->db_id);
    pg_array(p, PG_INT4);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->endpoint_id);
    pg_array(p, PG_INT4);
    for (int i = 0; i < n; i++) {
        if (rows[i]->price)
            pg_elem_int(p, rows[i]->price->db_id);
        else
            pg_elem_null(p);
    }
    pg_array(p, PG_INT8);
    for (int i = 0; i < n; i++)
        add_nusd(p, rows[i]->estimated_nusd);
    pg_array(p, PG_INT8);
    for (int i = 0; i < n; i++)
        add_nusd(p, rows[i]->upper_nusd);
    pg_array(p, PG_BOOL);
    for (int i = 0; i < n; i++)
        pg_elem_bool(p, rows[i]->from_parked);
}

/* Splits rows by what RETURNING gave: both are in the order of job ids. */
static void answer_granted(struct store *s, struct store_batch *b, const struct pg_rows *granted)
{
    int rows = b->row_count, next = 0, count = pg_row_count(granted);
    store_batch_done(b);
    for (int i = 0; i < rows; i++) {
        struct job *job = b->rows[i];
        struct jobid id = next < count ? pg_get_uuid(granted, next, 0) : (struct jobid){0};
        if (next < count && jobid_eq(&id, &job->msg.job_id)) {
            next++;
            store_answer_claim(s, job, CLAIM_GRANTED, b->worker_id);
        } else {
            job_queue_push(&s->slow.waiting, job);
        }
    }
}

static void claims_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    struct store_batch *b = &s->claims;
    FAILPOINT("claim.answered");
    if (answer->rc == RC_OK) {
        answer_granted(s, b, answer->rows[0]);
        return;
    }
    if (answer->sqlstate[0]) {
        store_batch_again(b, answer, "claim");
        return;
    }
    /* The connection broke: the claims may stand. The ledger is asked, job by job. */
    for (int i = 0; i < b->row_count; i++) {
        b->rows[i]->claim_sent = true;
        job_queue_push(&s->slow.waiting, b->rows[i]);
    }
    store_batch_done(b);
}

static bool send(struct store *s, struct pg *conn, const struct pg_step *steps, int count,
                 pg_done done, struct store_batch *b)
{
    struct err err = {0};
    enum rc rc = pg_txn(conn, steps, count, done, s, &err);
    if (rc == RC_OK)
        return true;
    struct pg_answer failed = {.rc = rc, .err = err};
    store_batch_again(b, &failed, "unsent");
    return false;
}

/* Not once the lease is given back: a claim that overtakes the good-bye would leave an open row of
 * a call that was never made, and its job pay for it. */
void store_flush_claims(struct store *s)
{
    struct store_batch *b = &s->claims;
    if (s->stopping || !s->worker_id || !store_batch_take(b, s->claim_conn))
        return;
    if (FAILPOINT_FAILS("claim.skip", FAILPOINT_NO_JOB)) { /* would the witness catch it? */
        int rows = b->row_count;
        store_batch_done(b);
        for (int i = 0; i < rows; i++)
            store_answer_claim(s, b->rows[i], CLAIM_GRANTED, b->worker_id);
        return;
    }
    claim_params(s, s->params, b->rows, b->row_count);
    struct pg_step step = {SQL_CLAIM, s->params};
    (void)send(s, s->claim_conn, &step, 1, claims_answered, b);
    FAILPOINT("claim.sent");
}

/* ---- the slow path --------------------------------------------------------------------------- */

static void job_ids(struct pg_params *p, struct job *const *rows, int n)
{
    pg_array(p, PG_UUID);
    for (int i = 0; i < n; i++)
        pg_elem_uuid(p, &rows[i]->msg.job_id);
}

static enum claim_answer judge(const struct pg_rows *r, int row, struct job *job)
{
    struct claim_facts facts = {
        .done = pg_get_bool(r, row, 1),
        .parked = pg_get_bool(r, row, 2),
        .parked_mine = pg_get_bool(r, row, 3),
        .mine = (int)pg_get_int(r, row, 5),
        .live = pg_get_bool(r, row, 6),
        .attempts = (int)pg_get_int(r, row, 7),
        .lease = pg_get_bool(r, row, 9),
        .unknown = pg_get_bool(r, row, 10),
        .larger = (int)pg_get_int(r, row, 11),
    };
    struct claim_ask ask = {
        .ask_only = job->ask_only,
        .from_parked = job->from_parked,
        .calls_once = !job->ask_only && (policy_ending(job->retry, CLASS_LOST) != CLASS_NONE ||
                                         (policy_pays(job->retry) && !job->settled)),
        .claim_sent = job->claim_sent,
        .number = job->number,
        .larger = job->larger,
        .max_attempts = job->max_attempts,
    };
    enum claim_answer answer = claim_rule(&facts, &ask);
    if (answer == CLAIM_LARGER)
        job->larger = facts.larger;
    int last = (int)pg_get_int(r, row, 4);
    if (answer == CLAIM_FREE && !ask.ask_only && last > 0) {
        job->number = last + 1;
        if (job->kind != CALL_REASK)
            job->kind = CALL_RETRY;
        job->attempts = facts.attempts;
        job->spent_nusd = pg_null(r, row, 8) ? -1 : pg_get_int(r, row, 8);
    }
    return answer;
}

static void took(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    struct store_batch *b = &s->slow;
    FAILPOINT("take.answered");
    if (answer->rc != RC_OK) {
        for (int i = 0; i < b->row_count && !answer->sqlstate[0]; i++)
            b->rows[i]->claim_sent = true;
        store_batch_again(b, answer, "take");
        return;
    }
    s->figures.lost += pg_affected(answer->rows[0]);
    answer_granted(s, b, answer->rows[1]); /* who lost a race asks again */
}

static void dropped(void *arg, const struct pg_answer *answer)
{
    (void)arg;
    if (answer->rc != RC_OK)
        log_event(LOG_WARN, "left a parked row of an ended job", LF_STR("why", answer->err.text));
}

/* Parked rows of jobs that ended are left over from a crossing: nobody waits for this to be done.
 */
static void drop_done(struct store *s, const struct pg_rows *r)
{
    int ids = 0;
    pg_params_reset(s->params);
    pg_array(s->params, PG_UUID);
    for (int row = 0; row < pg_row_count(r); row++) {
        struct jobid id = pg_get_uuid(r, row, 0);
        if (!pg_get_bool(r, row, 1) || !pg_get_bool(r, row, 2))
            continue;
        pg_elem_uuid(s->params, &id);
        ids++;
    }
    struct err err = {0};
    struct pg_step step = {SQL_DROP_DONE, s->params};
    if (ids && pg_txn(s->claim_conn, &step, 1, dropped, NULL, &err) != RC_OK)
        log_event(LOG_WARN, "left a parked row of an ended job", LF_STR("why", err.text));
}

static void facts_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    struct store_batch *b = &s->slow;
    FAILPOINT("facts.answered");
    if (answer->rc != RC_OK) {
        store_batch_again(b, answer, "facts");
        return;
    }
    const struct pg_rows *r = answer->rows[answer->step_count - 1];
    struct job *lost[STORE_ROWS_MAX];
    enum claim_answer answers[STORE_ROWS_MAX];
    struct job *all[STORE_ROWS_MAX];
    int count = b->row_count, free_count = 0, lost_count = 0;
    int64_t asked_as = b->worker_id;
    for (int i = 0; i < count; i++) {
        all[i] = b->rows[i]; /* `facts` keeps the order of the ids it was given */
        answers[i] = judge(r, i, all[i]);
        if (answers[i] == CLAIM_SPENT || answers[i] == CLAIM_UNKNOWN ||
            (answers[i] == CLAIM_FREE && !all[i]->ask_only))
            lost[lost_count++] = all[i];
        if (answers[i] == CLAIM_FREE && !all[i]->ask_only)
            b->rows[free_count++] = all[i];
    }
    drop_done(s, r);
    b->row_count = free_count;
    if (lost_count) {
        pg_params_reset(s->more_params);
        job_ids(s->more_params, lost, lost_count);
        claim_params(s, s->params, b->rows, free_count);
        b->worker_id = s->worker_id;
        struct pg_step steps[] = {{SQL_LOSE, s->more_params}, {SQL_TAKE, s->params}};
        (void)send(s, s->claim_conn, steps, 2, took, b);
        FAILPOINT("take.sent");
    } else {
        store_batch_done(b);
    }
    for (int i = 0; i < count; i++)
        if (!(answers[i] == CLAIM_FREE && !all[i]->ask_only))
            store_answer_claim(s, all[i], answers[i], asked_as);
}

/* $1 jobs, $2 worker, $3 classes that do not count, $4 those of which nobody knows what came */
static void facts_params(struct store *s, struct job *const *rows, int n)
{
    pg_params_reset(s->params);
    job_ids(s->params, rows, n);
    pg_add_int(s->params, PG_INT8, s->worker_id);
    pg_array(s->params, PG_INT2);
    for (int i = 0; i < s->uncounted_count; i++)
        pg_elem_int(s->params, s->uncounted[i]);
    pg_array(s->params, PG_INT2);
    for (int i = 0; i < s->unknown_count; i++)
        pg_elem_int(s->params, s->unknown[i]);
}

void store_flush_slow(struct store *s)
{
    struct store_batch *b = &s->slow;
    if (s->stopping || !s->worker_id || !store_batch_take(b, s->claim_conn))
        return;
    pg_params_reset(s->more_params);
    job_ids(s->more_params, b->rows, b->row_count);
    pg_add_int(s->more_params, PG_INT8, s->conf.fence_after_us / 1000000);
    facts_params(s, b->rows, b->row_count);
    struct pg_step steps[] = {{SQL_FENCE, s->more_params}, {SQL_FACTS, s->params}};
    /* After an outage owners come first: only a connection that stood long enough may fence. */
    int64_t up_since = pg_up_since_us(s->claim_conn);
    bool may_fence = up_since && clock_mono_us() - up_since >= s->conf.unbroken_us;
    (void)send(s, s->claim_conn, may_fence ? steps : steps + 1, may_fence ? 2 : 1, facts_answered,
               b);
    FAILPOINT("facts.sent");
}

/* ---- what is known already? ------------------------------------------------------------------ */

static void known_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->asking_known = false;
    if (answer->rc != RC_OK)
        return; /* their claims ask again */
    const struct pg_rows *r = answer->rows[0];
    drop_done(s, r);
    for (int row = 0; row < pg_row_count(r); row++) {
        struct jobid id = pg_get_uuid(r, row, 0);
        if (pg_get_bool(r, row, 1) || pg_get_bool(r, row, 2))
            s->conf.known(s->conf.arg, &id);
    }
}

bool store_ask_known(struct store *s, struct job *const *jobs, int n)
{
    struct err err = {0};
    if (s->asking_known || !s->worker_id || !pg_is_up(s->claim_conn))
        return false;
    facts_params(s, jobs, n);
    struct pg_step step = {SQL_FACTS, s->params};
    s->asking_known = pg_txn(s->claim_conn, &step, 1, known_answered, s, &err) == RC_OK;
    return s->asking_known;
}

/* ---- parking --------------------------------------------------------------------------------- */

static void park_when(const struct store *s, struct pg_params *p, struct job *const *rows, int n)
{
    int64_t now = clock_mono_us();
    pg_array(p, PG_INT8);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->retry_at_us > now ? rows[i]->retry_at_us - now : 0);
    pg_array(p, PG_TIMESTAMPTZ);
    for (int i = 0; i < n; i++)
        pg_elem_time_ms(p, rows[i]->msg.deadline_ms);
    pg_array(p, PG_BOOL);
    for (int i = 0; i < n; i++)
        pg_elem_bool(p, rows[i]->parking);
    pg_array(p, PG_INT4);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->parking ? 0 : rows[i]->park_key);
    pg_array(p, PG_INT2);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, s->conf.lane_codes[rows[i]->lane]);
}

static void park_counts(struct pg_params *p, struct job *const *rows, int n)
{
    pg_array(p, PG_INT2);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->number);
    pg_array(p, PG_INT2);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->attempts);
    pg_array(p, PG_INT2);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->reasks);
    pg_array(p, PG_INT8);
    for (int i = 0; i < n; i++)
        add_nusd(p, rows[i]->spent_nusd);
    pg_array(p, PG_INT8);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->throttle_us);
    pg_array(p, PG_INT8);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->held.us);
    pg_array(p, PG_INT4);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, waits_most(&rows[i]->held));
    pg_array(p, PG_INT8);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->model_us);
    pg_array(p, PG_INT2);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i]->park_reason);
}

/* topic, partition, offset, timestamp: NULLs where the job never was a record of ours. */
static void coordinates(struct store *s, struct pg_params *p, struct job *const *rows, int n)
{
    pg_array(p, PG_TEXT);
    for (int i = 0; i < n; i++)
        pg_elem_span(p, rows[i]->partition < 0 ? (struct span){NULL, 0}
                                               : span_of(s->conf.topics[rows[i]->lane]));
    pg_array(p, PG_INT4);
    for (int i = 0; i < n; i++) {
        if (rows[i]->partition < 0)
            pg_elem_null(p);
        else
            pg_elem_int(p, rows[i]->partition);
    }
    pg_array(p, PG_INT8);
    for (int i = 0; i < n; i++) {
        if (rows[i]->partition < 0)
            pg_elem_null(p);
        else
            pg_elem_int(p, rows[i]->offset);
    }
    pg_array(p, PG_TIMESTAMPTZ);
    for (int i = 0; i < n; i++)
        pg_elem_time_ms(p, rows[i]->timestamp_ms);
}

static void payloads(struct pg_params *p, struct job *const *rows, int n)
{
    struct buf headers;
    buf_init(&headers, KEPT_HEADERS_BYTES_MAX);
    pg_array(p, PG_BYTEA);
    for (int i = 0; i < n; i++)
        pg_elem_span(p, (struct span){rows[i]->payload, rows[i]->payload_bytes});
    pg_array(p, PG_BYTEA);
    for (int i = 0; i < n; i++)
        pg_elem_span(p, store_headers(rows[i], &headers));
    buf_done(&headers);
}

static void parks_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    struct store_batch *b = &s->parks;
    FAILPOINT("park.answered");
    if (answer->rc == RC_REJECT && b->row_count == 1) {
        store_batch_done(b);
        s->conf.park_refused(s->conf.arg, b->rows[0], answer->err.text);
    } else if (answer->rc != RC_OK) {
        store_batch_again(b, answer, "park");
    } else {
        int rows = b->row_count;
        store_batch_done(b);
        for (int i = 0; i < rows; i++)
            s->conf.parked(s->conf.arg, b->rows[i]);
    }
}

/* Not while we are nobody: a row that runs would be taken by nobody, and nobody would free it. */
void store_flush_parks(struct store *s)
{
    struct store_batch *b = &s->parks;
    if (!s->worker_id || !store_batch_take(b, s->claim_conn))
        return;
    struct pg_params *p = s->params;
    pg_params_reset(p);
    pg_add_int(p, PG_INT8, s->worker_id);
    job_ids(p, b->rows, b->row_count);
    pg_array(p, PG_UUID);
    for (int i = 0; i < b->row_count; i++)
        pg_elem_uuid(p, &b->rows[i]->msg.batch_id);
    park_when(s, p, b->rows, b->row_count);
    park_counts(p, b->rows, b->row_count);
    coordinates(s, p, b->rows, b->row_count);
    payloads(p, b->rows, b->row_count);
    pg_array(p, PG_TEXT);
    for (int i = 0; i < b->row_count; i++)
        pg_elem_span(p, b->rows[i]->msg.app);
    store_add_waits(p, b->rows, b->row_count, 1);
    struct pg_step step = {SQL_PARK, p};
    (void)send(s, s->claim_conn, &step, 1, parks_answered, b);
    FAILPOINT("park.sent");
}

/* ---- pulling --------------------------------------------------------------------------------- */

static void pulled(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->pulling--;
    FAILPOINT("pull.answered");
    if (answer->rc != RC_OK) {
        s->pull_lost = s->pull_lost || !answer->sqlstate[0];
        return;
    }
    const struct pg_rows *r = answer->rows[0];
    if (pg_row_count(r) > 0)
        s->next_second_us = 0; /* there may be more: look at once, not in a second */
    for (int i = 0; i < pg_row_count(r); i++) {
        struct kept_headers headers = kept_headers_unpack(pg_get_span(r, i, 14));
        struct parked_row row = {
            .job_id = pg_get_uuid(r, i, 0),
            .number = (int)pg_get_int(r, i, 1),
            .attempts = (int)pg_get_int(r, i, 2),
            .reasks = (int)pg_get_int(r, i, 3),
            .spent_nusd = pg_null(r, i, 4) ? -1 : pg_get_int(r, i, 4),
            .waited_us = pg_get_int(r, i, 5),
            .limit_us = pg_get_int(r, i, 6),
            .limit_id = (int32_t)pg_get_int(r, i, 7),
            .model_us = pg_get_int(r, i, 8),
            .topic = pg_get_span(r, i, 9),
            .partition = pg_null(r, i, 10) ? -1 : (int32_t)pg_get_int(r, i, 10),
            .offset = pg_get_int(r, i, 11),
            .timestamp_ms = pg_get_time_ms(r, i, 12),
            .payload = pg_get_span(r, i, 13),
            .signature = headers.signature,
            .traceparent = headers.traceparent,
            .lane = store_lane_of(s, pg_get_int(r, i, 15)), /* it was asked for by lane */
            .larger = (int)pg_get_int(r, i, 16),
            .limit_waits = pg_get_span(r, i, 17),
        };
        s->conf.pulled(s->conf.arg, &row);
    }
}

void store_pull(struct store *s, int32_t wait_key, int lane, const struct pull_app *apps, int count)
{
    size_t bytes = (size_t)count * sizeof *apps;
    for (int i = 0; i < count; i++)
        bytes += apps[i].app.n;
    struct pull_app *kept = s->pull_count < STORE_PULLS_MAX ? malloc(bytes) : NULL;
    if (!kept)
        return;
    char *at = (char *)(kept + count);
    for (int i = 0; i < count; i++) {
        kept[i] = (struct pull_app){.app = {at, apps[i].app.n}, .rows = apps[i].rows};
        if (apps[i].app.n)
            memcpy(at, apps[i].app.p, apps[i].app.n);
        at += apps[i].app.n;
    }
    s->pulls[s->pull_count++] = (struct store_pull){wait_key, lane, count, kept};
}

void store_drop_pulls(struct store *s)
{
    while (s->pull_count)
        free(s->pulls[--s->pull_count].apps);
}

void store_flush_pulls(struct store *s)
{
    struct err err = {0};
    for (int i = 0; i < s->pull_count && s->worker_id && !s->stopping; i++) {
        pg_params_reset(s->params);
        pg_add_int(s->params, PG_INT8, s->worker_id);
        pg_add_int(s->params, PG_INT4, s->pulls[i].wait_key);
        pg_add_int(s->params, PG_INT2, s->conf.lane_codes[s->pulls[i].lane]);
        pg_array(s->params, PG_TEXT);
        for (int k = 0; k < s->pulls[i].count; k++)
            pg_elem_span(s->params, s->pulls[i].apps[k].app);
        pg_array(s->params, PG_INT8);
        for (int k = 0; k < s->pulls[i].count; k++)
            pg_elem_int(s->params, s->pulls[i].apps[k].rows);
        struct pg_step step = {SQL_PULL, s->params};
        if (pg_txn(s->claim_conn, &step, 1, pulled, s, &err) == RC_OK)
            s->pulling++;
        FAILPOINT("pull.sent");
    }
    store_drop_pulls(s); /* what could not be sent is told again a second later */
}

/* ---- paying for calls again
 * ---------------------------------------------------------------------- */

/* What was taken for a route goes to its jobs in the order that they have; what is left of it is
 * less than one costs. */
static void paid(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    struct store_batch *b = &s->pays;
    if (answer->rc != RC_OK) { /* also one whose answer was lost: at worst it is paid for twice */
        store_batch_again(b, answer, "pay");
        return;
    }
    const struct pg_rows *r = answer->rows[0];
    int rows = b->row_count;
    store_batch_done(b);
    for (int i = 0; i < rows; i++) {
        int64_t left = 0;
        for (int k = 0; k < pg_row_count(r); k++)
            if (span_is(pg_get_span(r, k, 0), b->rows[i]->retry->route))
                left = pg_get_int(r, k, 1);
        for (int k = 0; k < i; k++)
            if (b->rows[k]->granted &&
                strcmp(b->rows[k]->retry->route, b->rows[i]->retry->route) == 0)
                left -= b->rows[k]->owed_nusd;
        b->rows[i]->granted = b->rows[i]->owed_nusd <= left;
    }
    for (int i = 0; i < rows; i++)
        s->conf.paid(s->conf.arg, b->rows[i]);
}

void store_flush_pays(struct store *s)
{
    struct store_batch *b = &s->pays;
    struct pg_params *p = s->params;
    if (!store_batch_take(b, s->claim_conn))
        return;
    pg_params_reset(p);
    pg_array(p, PG_TEXT);
    for (int i = 0; i < b->row_count; i++)
        pg_elem_span(p, span_of(b->rows[i]->retry->route));
    pg_array(p, PG_INT8);
    for (int i = 0; i < b->row_count; i++)
        pg_elem_int(p, b->rows[i]->owed_nusd);
    pg_array(p, PG_INT8);
    for (int i = 0; i < b->row_count; i++)
        pg_elem_int(p, b->rows[i]->retry->ambiguous_nusd_per_day);
    struct pg_step step = {SQL_PAY, p};
    (void)send(s, s->claim_conn, &step, 1, paid, b);
}

/* ---- dead letters without a job
 * ------------------------------------------------------------------- */

static void buries_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    struct store_batch *b = &s->buries;
    FAILPOINT("bury.answered");
    if (answer->rc == RC_REJECT && b->row_count == 1)
        b->rows[0]->bare = true; /* its reason's text it was: the class says enough */
    if (answer->rc != RC_OK) {
        store_batch_again(b, answer, "bury");
        return;
    }
    int rows = b->row_count;
    store_batch_done(b);
    for (int i = 0; i < rows; i++)
        s->conf.buried(s->conf.arg, b->rows[i]);
}

void store_flush_buries(struct store *s)
{
    struct store_batch *b = &s->buries;
    if (!store_batch_take(b, s->claim_conn))
        return;
    struct pg_params *p = s->params;
    unsigned char source[32];
    pg_params_reset(p);
    pg_array(p, PG_BYTEA);
    for (int i = 0; i < b->row_count; i++) {
        store_source_of(s, b->rows[i], source);
        pg_elem_span(p, (struct span){(const char *)source, sizeof source});
    }
    pg_array(p, PG_INT2);
    for (int i = 0; i < b->row_count; i++)
        pg_elem_int(p, b->rows[i]->class);
    pg_array(p, PG_TEXT);
    for (int i = 0; i < b->row_count; i++)
        pg_elem_span(p, span_of(b->rows[i]->bare || !b->rows[i]->reason
                                    ? class_name((int)b->rows[i]->class)
                                    : b->rows[i]->reason));
    coordinates(s, p, b->rows, b->row_count);
    payloads(p, b->rows, b->row_count);
    pg_array(p, PG_UUID); /* whose row in `parked` the letter replaces */
    for (int i = 0; i < b->row_count; i++)
        if (b->rows[i]->from_parked)
            pg_elem_uuid(p, &b->rows[i]->msg.job_id);
        else
            pg_elem_null(p);
    struct pg_step step = {SQL_BURY, p};
    (void)send(s, s->claim_conn, &step, 1, buries_answered, b);
    FAILPOINT("bury.sent");
}
