/*
 * sim_pg.c - the asynchronous connection of common/pg.h, replaced at link time: packets take time,
 * get lost, and commits are slow; behind it is the fake Postgres.
 *
 * Happy path: pg_txn -> (network) -> the server runs it -> (commit) -> the answer, in order. Each
 * connection is served one transaction after the other, as a backend does.
 *
 * What can be lost: the request (it never ran), the answer (it ran), or the whole connection with
 * everything on it; of what was on its way then, a part may still run: from the oldest on, up to
 * a point that chance names. A silent network holds back both; after 35 s the client gives up, as
 * the real one's watchdog does.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "tests/sim/sim.h"
#include "worker/store_internal.h"

enum {
    STEPS = 8,
    WATCHDOG_US = 35 * 1000 * 1000,
    BACKOFF_MIN_US = 100 * 1000,
    BACKOFF_MAX_US = 5 * 1000 * 1000,
    LATE_US = 5 * 1000 * 1000,
};

struct txn {
    struct txn *next;
    struct pg *pg;
    struct txn *next_late;
    int64_t session, sent_us, left_us; /* on the worker's clock; on the world's */
    struct fake_stmt *steps[STEPS];
    int count;
    pg_done done;
    void *arg;
    bool ran, lose_request, lose_reply, poisoned, watched, arrived, stuck, buried;
    enum rc rc;
    struct pg_rows *rows[STEPS];
    char sqlstate[6];
    struct err err;
};

struct pg {
    struct pg_conf conf;
    struct sim_worker *w;
    int index;
    bool up;
    int64_t session, up_since_us, backoff_us, server_free_us, answer_us;
    int64_t stuck_from_us, stuck_until_us; /* its backend hangs: what came runs later */
    int64_t late_from_us, late_until_us;   /* what runs now is answered then */
    int64_t ended_session; /* the server has ended it, and the client may not know yet */
    struct txn *oldest, *newest;
    int pending;
    bool cut_request, cut_reply; /* the next one's */
};

struct pg *__wrap_pg_new(struct uv_loop_s *loop, const struct pg_conf *conf, struct err *err);
void __wrap_pg_free(struct pg *pg);
bool __wrap_pg_is_up(const struct pg *pg);
int64_t __wrap_pg_up_since_us(const struct pg *pg);
int __wrap_pg_pending(const struct pg *pg);
enum rc __wrap_pg_txn(struct pg *pg, const struct pg_step *steps, int step_count, pg_done done,
                      void *arg, struct err *err);

static const char no_sqlstate[6];

static void connect_again(struct pg *pg, int64_t in_us);

/* ---- transactions ----------------------------------------------------------------------- */

static void free_txn(struct txn *t)
{
    for (int i = 0; i < t->count; i++) {
        fake_stmt_free(t->steps[i]);
        pg_rows_free(t->rows[i]);
        t->steps[i] = NULL;
        t->rows[i] = NULL;
    }
}

static struct txn *take_oldest(struct pg *pg)
{
    struct txn *t = pg->oldest;
    pg->oldest = t->next;
    if (!pg->oldest)
        pg->newest = NULL;
    pg->pending--;
    return t;
}

static void answer(struct txn *t, enum rc rc, const char *sqlstate)
{
    const struct pg_rows *rows[STEPS];
    struct pg_answer a = {.rc = rc, .err = t->err, .step_count = t->count, .sent_us = t->sent_us};
    for (int i = 0; i < t->count; i++)
        rows[i] = t->rows[i];
    memcpy(a.sqlstate, sqlstate, sizeof a.sqlstate);
    a.rows = rc == RC_OK ? rows : NULL;
    a.answered_us = sim_worker_mono(t->pg->w);
    t->done(t->arg, &a);
}

/* ---- losing a connection ---------------------------------------------------------------- */

/* The server has it and hangs: it may still run when its client is long gone. */
static void keep_late(struct sim *s, struct txn *t)
{
    t->next_late = s->late;
    s->late = t;
}

void sim_pg_done(struct sim *s)
{
    for (struct txn *t = s->late; t; t = t->next_late)
        free_txn(t);
    s->late = NULL;
}

static void free_or_keep(struct txn *t)
{
    if (t->stuck && !t->ran)
        keep_late(t->pg->w->sim, t);
    else
        free_txn(t);
}

static void lost(struct pg *pg, const char *why)
{
    if (!pg->up)
        return;
    TELL(pg->w->sim, pg->w, "loses its connection \"%s\": %s", pg->conf.name, why);
    pg->up = false;
    pg->session = 0;
    pg->up_since_us = 0;
    int64_t wait = pg->backoff_us;
    pg->backoff_us = wait * 2 < BACKOFF_MAX_US ? wait * 2 : BACKOFF_MAX_US;
    connect_again(pg, sim_range(sim_draw(pg->w), wait / 2, wait));
    if (pg->conf.on_down)
        pg->conf.on_down(pg->conf.arg, why);
    struct txn *t = pg->oldest;
    pg->oldest = pg->newest = NULL;
    pg->pending = 0;
    for (struct txn *next; t; t = next) {
        next = t->next;
        err_set(&t->err, RC_RETRY, "%s", why);
        answer(t, RC_RETRY, no_sqlstate);
        free_or_keep(t);
    }
}

static void hears_loss(struct sim *s, struct sim_worker *w, void *arg)
{
    struct txn *t = arg;
    (void)s, (void)w;
    if (t->pg->session == t->session)
        lost(t->pg, "reset by peer");
}

/* The server's end of a session: its locks are free, and nothing runs on it any more. */
static void end_session(struct sim *s, struct pg *pg)
{
    pg->ended_session = pg->session;
    fake_pg_session_end(s->db, pg->session);
}

/* ---- the server's side ------------------------------------------------------------------ */

/* Rows that the plan says Postgres refuses. The store's own batches tell which jobs are in it. */
static bool refuses(const struct sim *s, const struct store_batch *b, enum job_poison poison)
{
    for (int i = 0; i < b->row_count; i++) {
        int job = sim_job_of(s, &b->rows[i]->msg.job_id);
        enum job_poison has = job < 0 ? POISON_NONE : s->plan->jobs[job].poison;
        if (has == poison && !(poison == POISON_TEXTS && b->rows[i]->bare))
            return true;
    }
    return false;
}

static bool is_poisoned(const struct sim *s, const struct txn *t)
{
    const struct store *store = t->pg->w->store;
    const char *name = fake_stmt_name(t->steps[0]);
    if (s->calm || !store)
        return false;
    if (strcmp(name, "outcome") == 0)
        return refuses(s, &store->ends, POISON_TEXTS);
    if (strcmp(name, "store") == 0 || strcmp(name, "store_called") == 0)
        return refuses(s, &store->ends, POISON_TEXTS) || refuses(s, &store->ends, POISON_ROW);
    return strcmp(name, "park") == 0 &&
           (refuses(s, &store->parks, POISON_PARK) || refuses(s, &store->parks, POISON_ROW));
}

static void notify(struct sim *s, const char *channel);

static void run_on_server(struct sim *s, struct txn *t)
{
    t->ran = true;
    if (t->poisoned) {
        t->rc = err_set(&t->err, RC_REJECT, "invalid byte sequence");
        memcpy(t->sqlstate, "22021", 6);
        s->counts->refused++;
        return;
    }
    if (s->pg_error_until_us > s->now_us &&
        draw_mix(s->plan->seed, 0x657272, (uint64_t)t->session, s->seq) % 2) {
        t->rc = err_set(&t->err, RC_RETRY, "too many clients, or so");
        memcpy(t->sqlstate, "53300", 6);
        return;
    }
    /* It was under way when a result was committed: its snapshot may be the older one. */
    fake_pg_cross(s->db, s->seq % 2 ? SIM_WALL_US + t->left_us : INT64_MAX);
    t->rc = fake_pg_txn(s->db, t->session, sim_wall_us(s), t->steps, t->count, t->rows, t->sqlstate,
                        &t->err);
    sim_note(s, (uint64_t)t->session, (uint64_t)t->rc, (uint64_t)t->count);
    if (t->rc != RC_OK) {
        sim_break(s, "PG", "statement %s failed: %s %s", fake_stmt_name(t->steps[0]), t->sqlstate,
                  t->err.text);
        return;
    }
    check_txn(s, t->pg->w);
    if (fake_pg_told(s->db))
        notify(s, "inferq_learned");
}

static void watchdog(struct sim *s, struct sim_worker *w, void *arg)
{
    struct txn *t = arg;
    if (t->pg->session != t->session || t->pg->oldest != t)
        return;
    (void)w;
    end_session(s, t->pg);
    lost(t->pg, "no answer within 35 s");
}

/* The network is silent: the packet comes later, and the client's patience runs. */
static void postpone(struct sim *s, struct txn *t, sim_fn fn)
{
    struct sim_worker *w = t->pg->w;
    if (!t->watched)
        sim_after_for(w, WATCHDOG_US, watchdog, t);
    t->watched = true;
    if (fn)
        sim_after_for(w, w->pg_silent_until_us - s->now_us, fn, t);
}

static void reply_arrives(struct sim *s, struct sim_worker *w, void *arg)
{
    struct txn *t = arg;
    struct pg *pg = t->pg;
    if (pg->session != t->session)
        return; /* the connection was lost meanwhile */
    if (w->pg_silent_until_us > s->now_us) {
        postpone(s, t, reply_arrives);
        return;
    }
    t->arrived = true; /* one that was held up holds up those behind it */
    while (pg->oldest && pg->oldest->arrived) {
        t = take_oldest(pg);
        pg->backoff_us = BACKOFF_MIN_US;
        answer(t, t->rc, t->sqlstate);
        free_txn(t);
    }
}

static int64_t commit_us(const struct sim *s, struct sim_worker *w)
{
    uint64_t draw = sim_draw(w);
    if (s->pg_slow_until_us > s->now_us)
        return sim_range(draw, 100 * 1000, 8 * 1000 * 1000);
    return draw % 50 == 0 ? sim_range(draw >> 8, 10000, 300000) : sim_range(draw >> 8, 200, 4000);
}

static void request_arrives(struct sim *s, struct sim_worker *nobody, void *arg)
{
    struct txn *t = arg;
    struct pg *pg = t->pg;
    struct sim_worker *w = pg->w;
    (void)nobody;
    bool late = t->stuck && pg->session != t->session && !t->buried;
    if (t->ran || (!late && (pg->session != t->session || pg->ended_session == t->session)))
        return;
    if (pg->stuck_from_us <= s->now_us && pg->stuck_until_us > s->now_us) {
        t->stuck = true;
        postpone(s, t, NULL);
        sim_after(s, pg->stuck_until_us - s->now_us, request_arrives, t);
        return;
    }
    if (late) {
        TELL(s, NULL, "%s of a connection long lost runs late", fake_stmt_name(t->steps[0]));
        run_on_server(s, t);
        fake_pg_session_end(s->db, t->session);
        return;
    }
    if (w->pg_silent_until_us > s->now_us) {
        postpone(s, t, NULL);
        sim_after(s, w->pg_silent_until_us - s->now_us, request_arrives, t);
        return;
    }
    if (!t->lose_request)
        run_on_server(s, t);
    if (t->lose_request || t->lose_reply) {
        TELL(s, w, "connection \"%s\" is cut %s %s", pg->conf.name,
             t->lose_request ? "before" : "after", fake_stmt_name(t->steps[0]));
        end_session(s, pg);
        sim_after_for(w, sim_range(sim_draw(w), 100, 5000), hears_loss, t);
        return;
    }
    int64_t at = s->now_us + commit_us(s, w);
    if (pg->late_from_us <= s->now_us && at < pg->late_until_us)
        at = pg->late_until_us;
    pg->answer_us = at > pg->answer_us ? at : pg->answer_us + 1;
    pg->server_free_us = pg->answer_us;
    sim_after_for(w, pg->answer_us - s->now_us, reply_arrives, t);
}

/* ---- the client's side ------------------------------------------------------------------ */

static void connects(struct sim *s, struct sim_worker *w, void *arg)
{
    struct pg *pg = arg;
    if (pg->up)
        return;
    if (s->pg_down_until_us > s->now_us || w->pg_silent_until_us > s->now_us) {
        int64_t wait = pg->backoff_us;
        pg->backoff_us = wait * 2 < BACKOFF_MAX_US ? wait * 2 : BACKOFF_MAX_US;
        connect_again(pg, sim_range(sim_draw(w), wait / 2, wait));
        return;
    }
    pg->up = true;
    pg->session = ++s->sessions;
    pg->up_since_us = sim_worker_mono(w);
    pg->server_free_us = pg->answer_us = s->now_us;
    pg->cut_request = pg->cut_reply = false;
    if (pg->conf.on_up)
        pg->conf.on_up(pg->conf.arg);
}

static void connect_again(struct pg *pg, int64_t in_us)
{
    sim_after_for(pg->w, in_us + sim_range(sim_draw(pg->w), 500, 30000), connects, pg);
}

/* The loop that the store edge is given is the worker itself. */
struct pg *__wrap_pg_new(struct uv_loop_s *loop, const struct pg_conf *conf, struct err *err)
{
    struct sim_worker *w = (struct sim_worker *)(void *)loop;
    struct pg *pg = sim_alloc(w->sim, sizeof *pg);
    (void)err;
    pg->conf = *conf;
    pg->w = w;
    pg->index = w->conn_count;
    pg->backoff_us = BACKOFF_MIN_US;
    w->conns[w->conn_count++] = pg;
    connect_again(pg, 0);
    return pg;
}

void __wrap_pg_free(struct pg *pg)
{
    if (!pg)
        return;
    struct txn *t = pg->oldest;
    if (pg->up)
        end_session(pg->w->sim, pg);
    pg->up = false;
    pg->session = 0;
    pg->oldest = pg->newest = NULL;
    pg->pending = 0;
    for (struct txn *next; t; t = next) {
        next = t->next;
        if (!pg->w->dying)
            answer(t, RC_RETRY, no_sqlstate);
        free_or_keep(t);
    }
}

bool __wrap_pg_is_up(const struct pg *pg)
{
    return pg->up;
}

int64_t __wrap_pg_up_since_us(const struct pg *pg)
{
    return pg->up_since_us;
}

int __wrap_pg_pending(const struct pg *pg)
{
    return pg->pending;
}

static void append(struct pg *pg, struct txn *t)
{
    if (pg->newest)
        pg->newest->next = t;
    else
        pg->oldest = t;
    pg->newest = t;
    pg->pending++;
}

enum rc __wrap_pg_txn(struct pg *pg, const struct pg_step *steps, int step_count, pg_done done,
                      void *arg, struct err *err)
{
    struct sim *s = pg->w->sim;
    assert(step_count > 0 && step_count <= STEPS);
    if (!pg->up)
        return err_set(err, RC_RETRY, "the connection to Postgres is down");
    struct txn *t = sim_alloc(s, sizeof *t);
    *t = (struct txn){.pg = pg,
                      .session = pg->session,
                      .sent_us = sim_worker_mono(pg->w),
                      .left_us = s->now_us,
                      .done = done,
                      .arg = arg};
    for (; t->count < step_count; t->count++) {
        const struct pg_step *step = &steps[t->count];
        t->steps[t->count] = fake_stmt_new(pg->conf.statements[step->statement].name, step->params);
        if (t->steps[t->count])
            continue;
        free_txn(t);
        return err_set(err, RC_NOMEM, "a number does not fit its column");
    }
    append(pg, t);
    if (pg->w->dying)
        return RC_OK; /* it is dead: nothing leaves it any more */
    t->poisoned = is_poisoned(s, t);
    t->lose_request = pg->cut_request;
    t->lose_reply = pg->cut_reply;
    pg->cut_request = pg->cut_reply = false;
    int64_t at = s->now_us + sim_range(sim_draw(pg->w), 50, 1500);
    if (at < pg->server_free_us)
        at = pg->server_free_us + 1;
    pg->server_free_us = at;
    sim_after(s, at - s->now_us, request_arrives, t);
    faults_sent(pg->w);
    return RC_OK;
}

/* ---- faults ----------------------------------------------------------------------------- */

void sim_pg_cut(struct sim_worker *w, int conn, bool reply)
{
    if (conn >= w->conn_count)
        return;
    if (reply)
        w->conns[conn]->cut_reply = true;
    else
        w->conns[conn]->cut_request = true;
}

void sim_pg_stick(struct sim_worker *w, int64_t for_us, int64_t later_us)
{
    int64_t now = w->sim->now_us;
    for (int i = 0; i < w->conn_count; i += 2) { /* claims are the first, heartbeats the last */
        struct pg *pg = w->conns[i];
        pg->stuck_from_us = now + (i == 0 && later_us < for_us ? later_us : 0);
        pg->stuck_until_us = now + for_us + (i > 0 ? 1000 * 1000 : 0); /* claims run first */
    }
}

void sim_pg_answer_late(struct sim_worker *w, int64_t for_us)
{
    int64_t now = w->sim->now_us, over_us = now + for_us;
    for (int i = 0; i < w->conn_count; i += 2) {
        struct pg *pg = w->conns[i];
        if (i == 0) {
            pg->late_from_us = now;
            pg->late_until_us = over_us + LATE_US; /* by then it is somebody else */
        } else {
            pg->stuck_from_us = now;
            pg->stuck_until_us = over_us;
        }
    }
}

/* Of what is on its way on this connection, a part still runs. */
static void run_the_rest(struct sim *s, struct pg *pg)
{
    uint64_t draw = sim_draw(pg->w);
    for (struct txn *t = pg->oldest; t; t = t->next, draw = draw * 6364136223846793005U + 1) {
        if (t->ran)
            continue;
        if (pg->ended_session == t->session)
            return;
        if ((draw >> 33) % 2 || t->lose_request || pg->w->pg_silent_until_us > s->now_us)
            return;
        run_on_server(s, t);
    }
}

static void hears_restart(struct sim *s, struct sim_worker *w, void *arg)
{
    struct pg *pg = arg;
    (void)s, (void)w;
    lost(pg, "server closed the connection unexpectedly");
}

void sim_pg_restart(struct sim *s, int64_t down_us)
{
    s->pg_down_until_us = s->now_us + down_us;
    for (struct txn *t = s->late; t; t = t->next_late)
        t->ran = true;
    for (int i = 0; i < s->plan->slots; i++) {
        struct sim_worker *w = &s->workers[i];
        for (int c = 0; w->phase != SIM_DOWN && c < w->conn_count; c++) {
            struct pg *pg = w->conns[c];
            if (!pg->up)
                continue;
            run_the_rest(s, pg);
            end_session(s, pg);
            for (struct txn *t = pg->oldest; t; t = t->next)
                t->buried = t->ran = true; /* what has not run by now never will */
            sim_after_for(w, sim_range(sim_draw(w), 100, 20000), hears_restart, pg);
        }
    }
}

/* Killed: what it had sent may still run, nobody hears of it. */
void sim_pg_freeze(struct sim_worker *w)
{
    for (int c = 0; c < w->conn_count; c++)
        if (w->conns[c]->up)
            run_the_rest(w->sim, w->conns[c]);
}

struct hint {
    struct pg *pg;
    const char *channel;
};

static void hears_notify(struct sim *s, struct sim_worker *w, void *arg)
{
    const struct hint *hint = arg;
    (void)s, (void)w;
    if (hint->pg->up)
        hint->pg->conf.on_notify(hint->pg->conf.arg, hint->channel, "");
}

static void notify(struct sim *s, const char *channel)
{
    for (int i = 0; i < s->plan->slots; i++) {
        struct sim_worker *w = &s->workers[i];
        for (int c = 0; w->phase != SIM_DOWN && c < w->conn_count; c++) {
            if (!w->conns[c]->up || !w->conns[c]->conf.on_notify)
                continue;
            struct hint *hint = sim_alloc(s, sizeof *hint);
            *hint = (struct hint){w->conns[c], channel};
            sim_after_for(w, sim_range(sim_draw(w), 100, 20000), hears_notify, hint);
        }
    }
}

void sim_pg_notify(struct sim *s)
{
    notify(s, "inferq_cancel");
}

void sim_pg_run(struct sim *s, const char *statement)
{
    struct fake_stmt *stmt = fake_stmt_new(statement, NULL);
    struct pg_rows *rows = NULL;
    struct err err = {0};
    char sqlstate[6] = "";
    if (!stmt || fake_pg_txn(s->db, -1, sim_wall_us(s), &stmt, 1, &rows, sqlstate, &err) != RC_OK)
        sim_break(s, "PG", "statement %s: %s %s", statement, sqlstate, err.text);
    pg_rows_free(rows);
    fake_stmt_free(stmt);
}

void sim_pg_begin(struct sim *s)
{
    s->db = fake_pg_new();
    sim_pg_run(s, "partitions");
}
