/*
 * test_race_pg.c - the workers' statements against each other, at once, on the real server: some
 * workers claim, take over, park, pull, retry and end the same few jobs, each with connections of
 * its own, while their leases of a second end now and then. Each follows the protocol (PROTOCOL.md)
 * with the text of worker/store_sql.c, and sends whatever comes to its mind next.
 *
 * While they run, and at the end, one statement's snapshot shows: no job has two open calls of
 * workers that nobody fenced; progress is what the results are; letters are the dead results; and
 * no call was granted twice. A deadlock may happen and is retried, anything else that fails is a
 * failure. INFERQ_RACE_SEED repeats what the workers want, though not how they meet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

#include "common/clock.h"
#include "common/log.h"
#include "tests/live/scratch.h"
#include "worker/store_sql.h"

enum {
    WORKERS = 4,
    JOBS = 4000,
    WINDOW = 6, /* jobs that are fought over at a time */
    HELD_MAX = 64,
    ROWS_MAX = 4,
    NUMBERS = 16, /* calls per job that are watched for a second grant */
    RUN_MS = 9000,
    CHECK_MS = 150,
    BEAT_MS = 250,
    ENOUGH_RESULTS = 400,
};

/* A job in somebody's hands: its open call, or the one to make next. */
struct hold {
    int job;
    int64_t number, worker_id;
    bool parked; /* its row of `parked` is ours */
};

struct actor {
    struct pg *claim, *store;
    struct pg_params *params[4];
    int64_t worker_id; /* 0: not registered */
    bool registering;
    bool claim_busy, store_busy;
    int64_t asleep_until_us, beat_at_us;
    struct hold held[HELD_MAX], retry[HELD_MAX], slow[HELD_MAX]; /* open calls; next; refused */
    int held_count, retry_count, slow_count;
    struct hold sent[ROWS_MAX]; /* on the claim connection */
    int sent_count;
    struct hold ending; /* on the store connection */
    bool ends;          /* it is stored, not retried */
};

static struct scratch scratch;
static uv_loop_t loop;
static struct pg *keep;
static struct pg_params *keep_params;
static struct actor actors[WORKERS];
static struct jobid jobs[JOBS], batch;
static uint8_t grants[JOBS][NUMBERS];
static bool done[JOBS];
static int first; /* all before it are done */
static uint64_t random_state;
static int results, dead, takeovers, deadlocks, pulls, checks, fences;
static bool stopping;

/* ---- chance and lists --------------------------------------------------------------------- */

static int64_t below(int64_t n) /* splitmix64 */
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (int64_t)((z ^ z >> 31) % (uint64_t)n);
}

/* One of the first jobs that have no result yet. */
static int some_job(void)
{
    int64_t skip = below(WINDOW);
    while (first < JOBS - WINDOW && done[first])
        first++;
    for (int job = first; job < JOBS; job++)
        if (!done[job] && skip-- == 0)
            return job;
    return JOBS - 1;
}

static void push(struct hold *list, int *count, struct hold hold)
{
    if (*count < HELD_MAX) /* else it is forgotten, as by a worker that died */
        list[(*count)++] = hold;
}

static struct hold pop(struct hold *list, int *count)
{
    int at = (int)below(*count);
    struct hold hold = list[at];
    list[at] = list[--*count];
    return hold;
}

static bool knows(const struct actor *a, int job)
{
    for (int i = 0; i < a->held_count; i++)
        if (a->held[i].job == job)
            return true;
    for (int i = 0; i < a->retry_count; i++)
        if (a->retry[i].job == job)
            return true;
    for (int i = 0; i < a->slow_count; i++)
        if (a->slow[i].job == job)
            return true;
    return a->store_busy && a->ending.job == job;
}

static int job_of(const struct pg_rows *rows, int row)
{
    struct jobid id = pg_get_uuid(rows, row, 0);
    for (int i = 0; i < JOBS; i++)
        if (jobid_eq(&id, &jobs[i]))
            return i;
    fail_msg("a job that nobody made");
    return -1;
}

static int cmp_sent(const void *a, const void *b)
{
    const struct hold *x = a, *y = b;
    return jobid_cmp(&jobs[x->job], &jobs[y->job]);
}

/* As workers do: sorted by id. */
static void sort_sent(struct actor *a)
{
    qsort(a->sent, (size_t)a->sent_count, sizeof a->sent[0], cmp_sent);
}

/* ---- parameters --------------------------------------------------------------------------- */

static void ids(struct pg_params *p, const struct hold *rows, int n)
{
    pg_array(p, PG_UUID);
    for (int i = 0; i < n; i++)
        pg_elem_uuid(p, &jobs[rows[i].job]);
}

static void numbers(struct pg_params *p, const struct hold *rows, int n)
{
    pg_array(p, PG_INT2);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, rows[i].number);
}

static void ints(struct pg_params *p, enum pg_type type, int64_t v, int n)
{
    pg_array(p, type);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, v);
}

static void no_ints(struct pg_params *p, enum pg_type type, int n)
{
    pg_array(p, type);
    for (int i = 0; i < n; i++)
        pg_elem_null(p);
}

static void texts(struct pg_params *p, enum pg_type type, const char *text, int n)
{
    pg_array(p, type);
    for (int i = 0; i < n; i++)
        pg_elem_span(p, span_of(text));
}

static void batches(struct pg_params *p, int n)
{
    pg_array(p, PG_UUID);
    for (int i = 0; i < n; i++)
        pg_elem_uuid(p, &batch);
}

static void times(struct pg_params *p, int n)
{
    pg_array(p, PG_TIMESTAMPTZ);
    for (int i = 0; i < n; i++)
        pg_elem_time_ms(p, INT64_C(1763726400000));
}

static void claim_params(const struct actor *a, struct pg_params *p)
{
    int n = a->sent_count;
    pg_params_reset(p);
    pg_add_int(p, PG_INT8, a->worker_id);
    ids(p, a->sent, n);
    numbers(p, a->sent, n);
    ints(p, PG_INT2, 1, n);
    batches(p, n);
    ints(p, PG_INT4, 1, n);
    ints(p, PG_INT4, 1, n);
    no_ints(p, PG_INT4, n);
    ints(p, PG_INT8, 7, n);
    ints(p, PG_INT8, 70, n);
    pg_array(p, PG_BOOL);
    for (int i = 0; i < n; i++)
        pg_elem_bool(p, a->sent[i].parked);
}

static void park_params(const struct actor *a, struct pg_params *p)
{
    int n = a->sent_count;
    pg_params_reset(p);
    pg_add_int(p, PG_INT8, a->worker_id);
    ids(p, a->sent, n);
    batches(p, n);
    ints(p, PG_INT8, below(100 * 1000), n);
    no_ints(p, PG_TIMESTAMPTZ, n);
    pg_array(p, PG_BOOL);
    for (int i = 0; i < n; i++)
        pg_elem_bool(p, false);
    ints(p, PG_INT4, 1, n);
    ints(p, PG_INT2, 1, n);
    numbers(p, a->sent, n);
    ints(p, PG_INT2, 0, n);
    ints(p, PG_INT2, 0, n);
    for (int i = 0; i < 3; i++)
        ints(p, PG_INT8, 0, n);
    ints(p, PG_INT4, 0, n);
    ints(p, PG_INT8, 0, n);
    ints(p, PG_INT2, 0, n);
    texts(p, PG_TEXT, "t", n);
    ints(p, PG_INT4, 0, n);
    ints(p, PG_INT8, 0, n);
    times(p, n);
    texts(p, PG_BYTEA, "payload", n);
    texts(p, PG_BYTEA, "", n);
    texts(p, PG_TEXT, "a", n);
    texts(p, PG_TEXT, NULL, n);
}

/* One result, and the letter of one that is dead. */
static void store_params(struct pg_params *p, const struct hold *h, int status)
{
    int letters = status == 2;
    char source[32];
    pg_params_reset(p);
    ids(p, h, 1);
    batches(p, 1);
    times(p, 1);
    ints(p, PG_INT8, 11, 1);
    for (int i = 0; i < 3; i++)
        no_ints(p, PG_INT8, 1);
    no_ints(p, PG_INT4, 1);
    for (int i = 0; i < 2; i++)
        no_ints(p, PG_INT8, 1);
    for (int i = 0; i < 4; i++)
        no_ints(p, PG_INT4, 1);
    ints(p, PG_INT4, 1, 1);
    ints(p, PG_INT4, 0, 1);
    ints(p, PG_INT2, status, 1);
    ints(p, PG_INT2, 1, 1);
    if (h->number > 0)
        numbers(p, h, 1);
    else
        no_ints(p, PG_INT2, 1);
    no_ints(p, PG_INT2, 1);
    ints(p, PG_INT2, 0, 1);
    ints(p, PG_INT2, 1, 1);
    for (int i = 0; i < 10; i++)
        texts(p, PG_TEXT, "x", 1);
    texts(p, PG_BYTEA, "{}", 1);
    texts(p, PG_TEXT, NULL, 1);
    (void)snprintf(source, sizeof source, "%d", h->job);
    ids(p, h, letters);
    texts(p, PG_BYTEA, source, letters);
    batches(p, letters);
    ints(p, PG_INT4, 0, letters);
    ints(p, PG_INT2, 40, letters);
    ints(p, PG_INT2, 1, letters);
    for (int i = 0; i < 7; i++)
        texts(p, PG_TEXT, "x", letters);
    ints(p, PG_INT4, 0, letters);
    ints(p, PG_INT8, 0, letters);
    times(p, letters);
    texts(p, PG_BYTEA, "payload", letters);
    texts(p, PG_BYTEA, "", letters);
}

static void outcome_params(struct pg_params *p, const struct hold *h, int class)
{
    pg_params_reset(p);
    ids(p, h, 1);
    numbers(p, h, 1);
    ints(p, PG_INT8, h->worker_id, 1);
    ints(p, PG_INT2, class, 1);
    ints(p, PG_INT2, 1, 1);
    ints(p, PG_INT8, 11, 1);
    ints(p, PG_INT8, 1, 1);
    for (int i = 0; i < 4; i++)
        no_ints(p, PG_INT4, 1);
    for (int i = 0; i < 2; i++)
        no_ints(p, PG_INT2, 1);
    for (int i = 0; i < 3; i++)
        texts(p, PG_TEXT, NULL, 1);
}

/* ---- what the server answers --------------------------------------------------------------- */

/* False: a deadlock, which is retried by whoever comes next. */
static bool well(const struct pg_answer *answer, const char *what)
{
    if (answer->rc == RC_OK)
        return true;
    if (strcmp(answer->sqlstate, "40P01") != 0 && strcmp(answer->sqlstate, "40001") != 0)
        fail_msg("%s: %s %s", what, answer->sqlstate, answer->err.text);
    deadlocks++;
    return false;
}

static void send_txn(struct pg *pg, const struct pg_step *steps, int n, pg_done then, void *arg)
{
    struct err err = {""};
    if (pg_txn(pg, steps, n, then, arg, &err) != RC_OK)
        fail_msg("%s", err.text);
}

/* Splits what was sent into granted and refused; `rows` are the granted. */
static int take_grants(struct actor *a, const struct pg_rows *rows)
{
    int granted = pg_row_count(rows);
    for (int row = 0; row < granted; row++) {
        int job = job_of(rows, row);
        int64_t number = pg_get_int(rows, row, 1);
        if (number < NUMBERS && grants[job][number]++ > 0)
            fail_msg("call %d of a job was granted twice", (int)number);
        for (int i = 0; i < a->sent_count; i++)
            if (a->sent[i].job == job) {
                push(a->held, &a->held_count,
                     (struct hold){job, number, a->worker_id, a->sent[i].parked});
                a->sent[i] = a->sent[--a->sent_count];
                break;
            }
    }
    for (int i = 0; i < a->sent_count; i++)
        push(a->slow, &a->slow_count, a->sent[i]);
    return granted;
}

static void claimed(void *arg, const struct pg_answer *answer)
{
    struct actor *a = arg;
    a->claim_busy = false;
    if (well(answer, "claim"))
        (void)take_grants(a, answer->rows[0]);
}

static void taken(void *arg, const struct pg_answer *answer)
{
    struct actor *a = arg;
    a->claim_busy = false;
    if (!well(answer, "lose, take"))
        return;
    takeovers += take_grants(a, answer->rows[1]);
    a->slow_count = 0; /* what was refused again comes again by itself */
}

/* The slow path's second half: what is free is taken with the next number. */
static void judged(void *arg, const struct pg_answer *answer)
{
    struct actor *a = arg;
    a->claim_busy = false;
    a->sent_count = 0;
    if (!well(answer, "fence, facts"))
        return;
    fences += (int)pg_affected(answer->rows[0]);
    const struct pg_rows *r = answer->rows[1];
    for (int i = 0; i < pg_row_count(r); i++) {
        bool ended = pg_get_bool(r, i, 1), parked = pg_get_bool(r, i, 2);
        bool mine_parked = pg_get_bool(r, i, 3), live = pg_get_bool(r, i, 6);
        if (ended || live || !pg_null(r, i, 5) || (parked && !mine_parked))
            continue;
        a->sent[a->sent_count++] =
            (struct hold){job_of(r, i), pg_get_int(r, i, 4) + 1, a->worker_id, mine_parked};
    }
    if (a->sent_count == 0 || stopping)
        return;
    sort_sent(a);
    pg_params_reset(a->params[1]);
    ids(a->params[1], a->sent, a->sent_count);
    claim_params(a, a->params[0]);
    struct pg_step steps[] = {{SQL_LOSE, a->params[1]}, {SQL_TAKE, a->params[0]}};
    a->claim_busy = true;
    send_txn(a->claim, steps, 2, taken, a);
}

static void was_parked(void *arg, const struct pg_answer *answer)
{
    struct actor *a = arg;
    a->claim_busy = false;
    (void)well(answer, "park");
}

static void pulled(void *arg, const struct pg_answer *answer)
{
    struct actor *a = arg;
    a->claim_busy = false;
    if (!well(answer, "pull"))
        return;
    for (int i = 0; i < pg_row_count(answer->rows[0]); i++) {
        int job = job_of(answer->rows[0], i);
        int64_t number = pg_get_int(answer->rows[0], i, 1);
        pulls++;
        if (!knows(a, job))
            push(a->retry, &a->retry_count, (struct hold){job, number, a->worker_id, true});
    }
}

static void ended(void *arg, const struct pg_answer *answer)
{
    struct actor *a = arg;
    struct hold h = a->ending;
    a->store_busy = false;
    if (!well(answer, "store, outcome")) {
        push(a->held, &a->held_count, h);
        return;
    }
    for (int i = 0; a->ends && i < pg_row_count(answer->rows[0]); i++) {
        done[job_of(answer->rows[0], i)] = true;
        results++;
    }
    if (!a->ends && h.worker_id == a->worker_id)
        push(a->retry, &a->retry_count, (struct hold){h.job, h.number + 1, h.worker_id, h.parked});
}

/* ---- what workers do next ------------------------------------------------------------------ */

static void send_claims(struct actor *a)
{
    sort_sent(a);
    claim_params(a, a->params[0]);
    struct pg_step step = {SQL_CLAIM, a->params[0]};
    a->claim_busy = true;
    send_txn(a->claim, &step, 1, claimed, a);
}

static void claim_fresh(struct actor *a)
{
    int n = 1 + (int)below(ROWS_MAX);
    a->sent_count = 0;
    for (int i = 0; i < n; i++) {
        int job = some_job();
        bool again = knows(a, job);
        for (int k = 0; k < a->sent_count; k++)
            again = again || a->sent[k].job == job;
        if (!again)
            a->sent[a->sent_count++] = (struct hold){job, 1, a->worker_id, false};
    }
    if (a->sent_count > 0)
        send_claims(a);
}

static void claim_next(struct actor *a)
{
    a->sent[0] = pop(a->retry, &a->retry_count);
    a->sent_count = 1;
    send_claims(a);
}

static void park_one(struct actor *a)
{
    a->sent[0] = pop(a->retry, &a->retry_count);
    a->sent_count = 1;
    park_params(a, a->params[0]);
    struct pg_step step = {SQL_PARK, a->params[0]};
    a->claim_busy = true;
    send_txn(a->claim, &step, 1, was_parked, a);
}

static void judge(struct actor *a)
{
    a->sent_count = 0;
    while (a->slow_count > 0 && a->sent_count < ROWS_MAX)
        a->sent[a->sent_count++] = pop(a->slow, &a->slow_count);
    sort_sent(a);
    for (int i = 0; i < 2; i++) {
        pg_params_reset(a->params[i]);
        ids(a->params[i], a->sent, a->sent_count);
    }
    pg_add_int(a->params[0], PG_INT8, 0);
    pg_add_int(a->params[1], PG_INT8, a->worker_id);
    pg_array(a->params[1], PG_INT2);
    pg_array(a->params[1], PG_INT2);
    struct pg_step steps[] = {{SQL_FENCE, a->params[0]}, {SQL_FACTS, a->params[1]}};
    a->claim_busy = true;
    send_txn(a->claim, steps, 2, judged, a);
}

static void pull(struct actor *a)
{
    pg_params_reset(a->params[0]);
    pg_add_int(a->params[0], PG_INT8, a->worker_id);
    pg_add_int(a->params[0], PG_INT4, 1);
    pg_add_int(a->params[0], PG_INT2, 1);
    texts(a->params[0], PG_TEXT, "a", 1);
    ints(a->params[0], PG_INT8, 2, 1);
    struct pg_step step = {SQL_PULL, a->params[0]};
    a->claim_busy = true;
    send_txn(a->claim, &step, 1, pulled, a);
}

static void next_claim(struct actor *a)
{
    int64_t what = below(10);
    if (a->slow_count > 0 && what < 4)
        judge(a);
    else if (a->retry_count > 0 && what < 6)
        claim_next(a);
    else if (a->retry_count > 0 && what < 8)
        park_one(a);
    else if (what < 9)
        claim_fresh(a);
    else
        pull(a);
}

/* Ends a call, well or for another try; or decides about a job without one. */
static void next_store(struct actor *a)
{
    int status = below(3) == 0 ? 2 : 1;
    bool verdict = below(40) == 0;
    if (a->held_count == 0 && !verdict)
        return;
    if (verdict)
        a->ending = (struct hold){.job = some_job()};
    else
        a->ending = pop(a->held, &a->held_count);
    a->ends = verdict || below(3) > 0;
    if (!verdict && below(25) == 0)
        return; /* forgotten: the call stays open until its worker is fenced */
    store_params(a->params[2], &a->ending, status);
    outcome_params(a->params[3], &a->ending, a->ends ? 1 : 40);
    struct pg_step steps[] = {{SQL_STORE, a->params[2]}, {SQL_OUTCOME, a->params[3]}};
    a->store_busy = true;
    send_txn(a->store, a->ends ? steps : steps + 1, verdict ? 1 : a->ends ? 2 : 1, ended, a);
}

static void registered(void *arg, const struct pg_answer *answer)
{
    struct actor *a = arg;
    a->registering = false;
    if (well(answer, "register"))
        a->worker_id = pg_get_int(answer->rows[0], 0, 0);
}

static void beaten(void *arg, const struct pg_answer *answer)
{
    struct actor *a = arg;
    if (well(answer, "heartbeat") && pg_row_count(answer->rows[0]) == 0) {
        a->worker_id = 0; /* this incarnation is dead; its open calls may still end */
        a->retry_count = 0;
        a->slow_count = 0;
    }
}

static void rolled(void *arg, const struct pg_answer *answer)
{
    (void)arg;
    (void)well(answer, "free_taken, roll_up");
}

static void house(struct actor *a, int64_t now)
{
    struct pg_step step = {a->worker_id ? SQL_HEARTBEAT : SQL_REGISTER, keep_params};
    if (now < a->beat_at_us || now < a->asleep_until_us || a->registering)
        return;
    a->beat_at_us = now + BEAT_MS * 1000;
    pg_params_reset(keep_params);
    if (a->worker_id) {
        pg_add_int(keep_params, PG_INT8, a->worker_id);
    } else {
        pg_add_text(keep_params, SPAN_LIT("h"));
        pg_add_int(keep_params, PG_INT4, 1);
        pg_add_text(keep_params, SPAN_LIT("b"));
    }
    pg_add_int(keep_params, PG_INT8, 1);
    a->registering = a->worker_id == 0;
    send_txn(keep, &step, 1, a->worker_id ? beaten : registered, a);
    if (below(8) == 0)
        a->asleep_until_us = now + 1500 * 1000;
}

static void keep_house(void)
{
    static struct pg_params *params;
    params = params ? params : pg_params_new();
    pg_params_reset(params);
    pg_add_int(params, PG_INT8, 5);
    struct pg_step steps[] = {{SQL_FREE_TAKEN, NULL}, {SQL_ROLL_UP, params}};
    send_txn(keep, steps, 2, rolled, NULL);
    if (stopping) {
        pg_params_free(params);
        params = NULL;
    }
}

/* ---- what must hold ------------------------------------------------------------------------ */

static const char invariants[] =
    "SELECT (SELECT count(*) FROM (SELECT c.job_id FROM call c JOIN worker w USING (worker_id)"
    "    WHERE c.done_at IS NULL AND NOT w.fenced GROUP BY c.job_id HAVING count(*) > 1) x),"
    " (SELECT count(*) FROM result) - (SELECT coalesce(sum(n), 0)::int8 FROM progress),"
    " (SELECT coalesce(sum(cost_nusd), 0)::int8 FROM result)"
    "    - (SELECT coalesce(sum(cost_nusd), 0)::int8 FROM progress),"
    " (SELECT count(*) FROM result WHERE status = 2) - (SELECT count(*) FROM dead_letter),"
    " (SELECT count(*) FROM result r WHERE call_number IS NOT NULL AND NOT EXISTS"
    "    (SELECT FROM call c WHERE c.job_id = r.job_id AND c.number = r.call_number)),"
    " (SELECT count(*) FROM call c LEFT JOIN worker w USING (worker_id) WHERE w IS NULL),"
    " (SELECT count(*) - count(DISTINCT job_id) FROM result)";

static void check(void)
{
    static const char *const meanings[] = {"jobs with two live open calls",
                                           "results without progress",
                                           "cost of results without progress",
                                           "dead results without a letter",
                                           "results without their call",
                                           "calls of nobody",
                                           "second results"};
    struct pg_rows *rows = scratch_ask(&scratch, invariants, NULL);
    for (int i = 0; i < pg_col_count(rows); i++)
        if (pg_get_int(rows, 0, i) != 0)
            fail_msg("%s: %lld, after %d results", meanings[i], (long long)pg_get_int(rows, 0, i),
                     results);
    pg_rows_free(rows);
    checks++;
}

/* ---- the run ------------------------------------------------------------------------------- */

static void on_up(void *arg)
{
    (void)arg;
}

static void on_down(void *arg, const char *why)
{
    (void)arg, (void)why;
}

static void on_notify(void *arg, const char *channel, const char *payload)
{
    (void)arg, (void)channel, (void)payload;
}

static struct pg *connect_one(const struct pg_stmt *statements, const char *const *settings)
{
    struct err err = {""};
    struct pg_conf conf = {.conninfo = scratch.conninfo,
                           .name = "race-test",
                           .statements = statements,
                           .settings = settings,
                           .on_up = on_up,
                           .on_down = on_down,
                           .on_notify = on_notify};
    struct pg *pg = pg_new(&loop, &conf, &err);
    if (!pg)
        fail_msg("%s", err.text);
    while (!pg_is_up(pg))
        uv_run(&loop, UV_RUN_ONCE);
    return pg;
}

static void on_tick(uv_timer_t *tick)
{
    (void)tick;
}

static bool busy(void)
{
    for (int i = 0; i < WORKERS; i++)
        if (actors[i].claim_busy || actors[i].store_busy)
            return true;
    return pg_pending(keep) > 0;
}

static void act(int64_t now)
{
    for (int i = 0; i < WORKERS; i++) {
        struct actor *a = &actors[i];
        house(a, now);
        if (a->worker_id && !a->claim_busy)
            next_claim(a);
        if (!a->store_busy)
            next_store(a);
    }
}

static void race(void **state)
{
    int64_t start = clock_mono_us(), check_at = start;
    (void)state;
    while (clock_mono_us() - start < RUN_MS * 1000 && results < ENOUGH_RESULTS) {
        int64_t now = clock_mono_us();
        act(now);
        if (now >= check_at) {
            check();
            keep_house();
            check_at = clock_mono_us() + CHECK_MS * 1000;
        }
        uv_run(&loop, UV_RUN_ONCE);
    }
    stopping = true;
    keep_house();
    while (busy())
        uv_run(&loop, UV_RUN_ONCE);
    check();
    dead = (int)scratch_int(&scratch, "SELECT count(*) FROM result WHERE status = 2");
    assert_int_equal(scratch_int(&scratch, "SELECT count(*) FROM result"), results);
    print_message("%d results (%d dead), %d takeovers, %d fenced, %d pulled, %d deadlocks, "
                  "%d checks\n",
                  results, dead, takeovers, fences, pulls, deadlocks, checks);
    assert_true(results > WINDOW && checks > 1);
}

static int open_all(void **state)
{
    static uv_timer_t tick;
    const char *seed = getenv("INFERQ_RACE_SEED");
    (void)state;
    if (!scratch_open(&scratch, "race"))
        return -1;
    scratch_run(&scratch, "SELECT ensure_partitions()");
    random_state = seed && *seed ? strtoull(seed, NULL, 10) : 1;
    int64_t made_ms = scratch_int(&scratch, "SELECT (extract(epoch FROM now()) * 1000)::int8");
    batch = batchid_make(made_ms, SPAN_LIT("a"), SPAN_LIT("b"));
    for (uint32_t i = 0; i < JOBS; i++)
        jobs[i] = jobid_make(made_ms, SPAN_LIT("a"), SPAN_LIT("b"), SPAN_LIT("c"), i);
    uv_loop_init(&loop);
    uv_timer_init(&loop, &tick);
    uv_timer_start(&tick, on_tick, 5, 5);
    keep_params = pg_params_new();
    keep = connect_one(store_sql_keep, store_settings_keep);
    for (int i = 0; i < WORKERS; i++) {
        actors[i].claim = connect_one(store_sql_claim, store_settings_sync);
        actors[i].store = connect_one(store_sql_store, store_settings_sync);
        for (int k = 0; k < 4; k++)
            actors[i].params[k] = pg_params_new();
    }
    return 0;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static int close_all(void **state)
{
    (void)state;
    for (int i = 0; i < WORKERS; i++) {
        pg_free(actors[i].claim);
        pg_free(actors[i].store);
        for (int k = 0; k < 4; k++)
            pg_params_free(actors[i].params[k]);
    }
    pg_free(keep);
    pg_params_free(keep_params);
    uv_run(&loop, UV_RUN_NOWAIT);
    uv_walk(&loop, close_handle, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    scratch_close(&scratch);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(race)};
    log_setup("race-test", LOG_ERROR, LOG_KV);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
