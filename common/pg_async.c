/*
 * pg_async.c - the worker's connection: libpq in pipeline mode on a libuv loop.
 *
 * Happy path: DOWN -> CONNECTING -> PREPARING -> UP. The settings and the preparation of all
 * statements are one pipelined transaction like any other (its `done` is on_setup); after it on_up
 * is called, and from then on pg_txn appends steps and one Sync, any number of transactions in
 * flight. Answers come in order; a transaction is settled by its Sync and by nothing before it, so
 * a step that fails ends its own transaction and leaves the next one alone.
 *
 * Failure modes. A connection that breaks, whose server stays silent past the watchdog, or that
 * cannot be set up goes through `lost`: everything pending is answered RC_RETRY, and a new attempt
 * is timed. Nothing that the user calls ever comes to `lost` itself: what breaks in pg_txn is noted
 * (BROKEN) and handled in the loop's next turn. Every callback may call pg_free; so after each one
 * the state is looked at again before the connection is touched, and the memory goes with the
 * timer's close callback, at the end of the turn.
 *
 * A host name is looked up by libpq, blocking; of several hosts in one connection string those are
 * tried that answer within the connect timeout.
 */
#include "common/pg.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <uv.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/pg_internal.h"

enum {
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 5000,
    GRACE_MS = 5000, /* past statement_timeout, until the server counts as lost */
    WATCHDOG_TICK_MS = 1000,
};

enum state { DOWN, CONNECTING, PREPARING, UP, BROKEN, CLOSED };

struct step_rows {
    struct pg_rows rows;
    int statement; /* -1: a step of the set-up */
};

/* A transaction between its sending and its Sync; the pending ones are a list, oldest first. */
struct txn {
    struct txn *next;
    pg_done done;
    void *arg;
    int answered; /* steps */
    bool failed;
    struct pg_answer answer;
    const struct pg_rows **list; /* answer.rows */
    struct step_rows step[];
};

struct prepared {
    int param_count;
    Oid types[PG_PARAMS_MAX];
};

struct pg {
    struct pg_conf conf;
    uv_loop_t *loop;
    uv_timer_t timer; /* what it is for depends on the state */
    uv_poll_t *poll;  /* NULL: no socket is watched */
    int poll_events;
    enum state state;
    PGconn *conn; /* NULL when DOWN and CLOSED */
    struct txn *oldest, *newest;
    int pending;
    int backoff_ms;
    int64_t up_since_us; /* 0: on_up has not been called for this connection */
    int64_t heard_us;    /* when the server last said anything, or was first asked */
    struct err fatal;    /* the server's own last words, if any */
    int statement_count;
    int setting_count;
    struct prepared *prepared; /* one per statement */
};

static void on_timer(uv_timer_t *timer);
static void on_poll(uv_poll_t *poll, int status, int events);

/* ---- transactions as a list --------------------------------------------------------------- */

static struct txn *txn_new(int step_count, pg_done done, void *arg)
{
    size_t n = (size_t)step_count;
    struct txn *t = calloc(1, sizeof *t + n * sizeof t->step[0] + n * sizeof t->list[0]);
    if (!t)
        return NULL;
    t->done = done;
    t->arg = arg;
    t->list = (const struct pg_rows **)(void *)&t->step[n];
    for (size_t i = 0; i < n; i++)
        t->list[i] = &t->step[i].rows;
    t->answer.step_count = step_count;
    return t;
}

static void txn_free(struct txn *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->answer.step_count; i++)
        PQclear(t->step[i].rows.res);
    free(t);
}

static void append(struct pg *pg, struct txn *t)
{
    t->answer.sent_us = clock_mono_us();
    if (pg->pending++ == 0) {
        pg->oldest = t;
        pg->heard_us = t->answer.sent_us;
    } else {
        pg->newest->next = t;
    }
    pg->newest = t;
}

/* Takes the oldest off the list, tells its owner, frees it. */
static void answer_oldest(struct pg *pg)
{
    struct txn *t = pg->oldest;
    pg->oldest = t->next;
    pg->pending--;
    t->answer.rows = t->answer.rc == RC_OK ? t->list : NULL;
    t->answer.answered_us = clock_mono_us();
    t->done(t->arg, &t->answer);
    txn_free(t);
}

static void fail_pending(struct pg *pg, const char *why)
{
    while (pg->pending > 0) {
        struct pg_answer *answer = &pg->oldest->answer;
        answer->rc = err_set(&answer->err, RC_RETRY, "%s", why);
        answer->sqlstate[0] = '\0';
        answer_oldest(pg);
    }
}

/* ---- the socket on the loop --------------------------------------------------------------- */

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

static void unwatch(struct pg *pg)
{
    if (pg->poll)
        uv_close((uv_handle_t *)pg->poll, free_handle);
    pg->poll = NULL;
    pg->poll_events = 0;
}

/* False: the loop cannot take the socket. */
static bool watch(struct pg *pg, int events)
{
    if (!pg->poll) {
        uv_poll_t *poll = calloc(1, sizeof *poll);
        if (!poll || uv_poll_init(pg->loop, poll, PQsocket(pg->conn)) != 0) {
            free(poll);
            return false;
        }
        poll->data = pg;
        pg->poll = poll;
    }
    if (pg->poll_events == events)
        return true;
    pg->poll_events = events;
    return uv_poll_start(pg->poll, events, on_poll) == 0;
}

static void set_timer(struct pg *pg, int64_t in_ms)
{
    uv_update_time(pg->loop); /* a name look-up may have taken long */
    (void)uv_timer_start(&pg->timer, on_timer, (uint64_t)in_ms, 0);
}

/* The connection is of no use any more, but callbacks must wait for the loop's next turn. */
static void broken(struct pg *pg)
{
    pg->state = BROKEN;
    set_timer(pg, 0);
}

static void flush(struct pg *pg)
{
    int left = PQflush(pg->conn);
    if (left < 0 || !watch(pg, left ? UV_READABLE | UV_WRITABLE : UV_READABLE))
        broken(pg);
}

static bool running(const struct pg *pg)
{
    return pg->state == PREPARING || pg->state == UP;
}

/* ---- losing it ---------------------------------------------------------------------------- */

static int next_wait_ms(struct pg *pg, int64_t stood_us)
{
    uint32_t random = 0;
    if (stood_us / 1000 >= BACKOFF_MAX_MS)
        pg->backoff_ms = BACKOFF_MIN_MS;
    int base_ms = pg->backoff_ms;
    pg->backoff_ms = base_ms * 2 < BACKOFF_MAX_MS ? base_ms * 2 : BACKOFF_MAX_MS;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
        random = 0; /* without jitter, then */
    return base_ms - (int)(random % (uint32_t)(base_ms / 2 + 1));
}

/* Ends in DOWN with an attempt timed, or in CLOSED when a callback called pg_free. Takes `why` by
 * value: it often stands in what is taken down here. */
static void lost(struct pg *pg, struct err why)
{
    bool was_up = pg->up_since_us != 0;
    int wait_ms = next_wait_ms(pg, was_up ? clock_mono_us() - pg->up_since_us : 0);
    unwatch(pg); /* before libpq closes the socket */
    PQfinish(pg->conn);
    pg->conn = NULL;
    pg->state = DOWN;
    pg->up_since_us = 0;
    set_timer(pg, wait_ms);
    log_event(LOG_WARN, "postgres connection down", LF_STR("connection", pg->conf.name),
              LF_STR("why", why.text), LF_INT("pending", pg->pending),
              LF_INT("retry_in_ms", wait_ms));
    if (was_up && pg->conf.on_down)
        pg->conf.on_down(pg->conf.arg, why.text);
    fail_pending(pg, why.text);
}

static void lost_as_libpq_says(struct pg *pg)
{
    struct err why = pg->fatal;
    if (!*why.text)
        pg_err_lost(pg->conn, &why);
    lost(pg, why);
}

/* ---- results ------------------------------------------------------------------------------ */

static bool is_last_word(const PGresult *res)
{
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
    return severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* Also called for what the server says unasked, such as why it shuts down. */
static void on_notice(void *arg, const PGresult *res)
{
    struct pg *pg = arg;
    if (is_last_word(res))
        pg_err_result(res, &pg->fatal);
    pg_log_notice(res, pg->conf.name);
}

/* The first failure of a transaction is its answer; the steps after it are only skipped. */
static void take_failure(struct pg *pg, struct txn *t, const PGresult *res)
{
    if (is_last_word(res))
        pg_err_result(res, &pg->fatal);
    if (t->failed)
        return;
    t->failed = true;
    pg_sqlstate_of(res, t->answer.sqlstate);
    t->answer.rc = pg_err_result(res, &t->answer.err);
    int statement = t->answered < t->answer.step_count ? t->step[t->answered].statement : -1;
    if (statement >= 0)
        err_prefix(&t->answer.err, t->answer.rc, "statement %s",
                   pg->conf.statements[statement].name);
}

/* Takes `res`. */
static void take_result(struct pg *pg, PGresult *res)
{
    struct txn *t = pg->oldest;
    pg->heard_us = clock_mono_us();
    switch (PQresultStatus(res)) {
    case PGRES_PIPELINE_SYNC:
        PQclear(res);
        answer_oldest(pg);
        return;
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_EMPTY_QUERY:
        if (t->answered < t->answer.step_count) {
            t->step[t->answered++].rows.res = res;
            return;
        }
        break;
    case PGRES_COPY_OUT:
    case PGRES_COPY_IN:
    case PGRES_COPY_BOTH:
    case PGRES_SINGLE_TUPLE:
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_FATAL_ERROR:
    case PGRES_PIPELINE_ABORTED:
    default:
        take_failure(pg, t, res);
        t->answered++;
    }
    PQclear(res);
}

static void take_answers(struct pg *pg)
{
    bool gap = false; /* libpq gives one NULL between the results of two steps */
    while (running(pg) && pg->pending > 0 && !PQisBusy(pg->conn)) {
        PGresult *res = PQgetResult(pg->conn);
        if (!res && gap)
            return;
        gap = !res;
        if (res)
            take_result(pg, res);
    }
}

static void take_notifies(struct pg *pg)
{
    while (running(pg)) {
        PGnotify *notify = PQnotifies(pg->conn);
        if (!notify)
            return;
        if (pg->conf.on_notify)
            pg->conf.on_notify(pg->conf.arg, notify->relname, notify->extra);
        PQfreemem(notify);
    }
}

/* Reads what there is, answers what it settles, writes what waits. */
static void turn(struct pg *pg, bool socket_failed)
{
    bool alive = PQconsumeInput(pg->conn) && !socket_failed;
    take_answers(pg);
    take_notifies(pg);
    if (!running(pg))
        return;
    if (!alive || PQstatus(pg->conn) != CONNECTION_OK)
        lost_as_libpq_says(pg);
    else
        flush(pg);
}

/* ---- setting up --------------------------------------------------------------------------- */

/* Statement i was prepared and described by the last 2 * statement_count steps. */
static void keep_types(struct pg *pg, const struct pg_answer *answer)
{
    int first = answer->step_count - 2 * pg->statement_count;
    for (int i = 0; i < pg->statement_count; i++) {
        const PGresult *described = answer->rows[first + 2 * i + 1]->res;
        struct prepared *prepared = &pg->prepared[i];
        prepared->param_count = PQnparams(described);
        for (int k = 0; k < prepared->param_count && k < PG_PARAMS_MAX; k++)
            prepared->types[k] = PQparamtype(described, k);
    }
}

static void on_setup(void *arg, const struct pg_answer *answer)
{
    struct pg *pg = arg;
    if (pg->state != PREPARING) /* lost meanwhile, which is being handled */
        return;
    if (answer->rc != RC_OK) {
        struct err why = answer->err;
        err_prefix(&why, RC_RETRY, "cannot set the connection up");
        lost(pg, why);
        return;
    }
    keep_types(pg, answer);
    pg->state = UP;
    pg->up_since_us = clock_mono_us();
    (void)uv_timer_stop(&pg->timer);
    log_event(LOG_INFO, "postgres connection up", LF_STR("connection", pg->conf.name),
              LF_STR("host", PQhost(pg->conn)), LF_STR("port", PQport(pg->conn)),
              LF_STR("database", PQdb(pg->conn)), LF_STR("user", PQuser(pg->conn)),
              LF_INT("server_version", PQserverVersion(pg->conn)));
    if (pg->conf.on_up)
        pg->conf.on_up(pg->conf.arg);
}

static bool send_text(struct pg *pg, const char *sql)
{
    return PQsendQueryParams(pg->conn, sql, 0, NULL, NULL, NULL, NULL, 1);
}

static bool send_setup(struct pg *pg, struct txn *t)
{
    char sql[64];
    int step = 0;
    snprintf(sql, sizeof sql, "SET statement_timeout = %d", pg->conf.statement_timeout_ms);
    bool sent = send_text(pg, sql);
    t->step[step++].statement = -1;
    for (int i = 0; sent && i < pg->setting_count; i++) {
        t->step[step++].statement = -1;
        sent = send_text(pg, pg->conf.settings[i]);
    }
    for (int i = 0; sent && i < pg->statement_count; i++) {
        const struct pg_stmt *statement = &pg->conf.statements[i];
        t->step[step++].statement = i;
        t->step[step++].statement = i;
        sent = PQsendPrepare(pg->conn, statement->name, statement->sql, 0, NULL) &&
               PQsendDescribePrepared(pg->conn, statement->name);
    }
    return sent && PQpipelineSync(pg->conn);
}

static void start_setup(struct pg *pg)
{
    int steps = 1 + pg->setting_count + 2 * pg->statement_count;
    struct txn *t = txn_new(steps, on_setup, pg);
    pg->state = PREPARING;
    PQsetNoticeReceiver(pg->conn, on_notice, pg);
    if (!t || PQsetnonblocking(pg->conn, 1) != 0 || !PQenterPipelineMode(pg->conn) ||
        !send_setup(pg, t)) {
        txn_free(t);
        lost_as_libpq_says(pg);
        return;
    }
    append(pg, t);
    set_timer(pg, PG_CONNECT_TIMEOUT_S * 1000);
    flush(pg);
}

/* ---- connecting --------------------------------------------------------------------------- */

/* `text`: NULL for what libpq says. */
static void connect_failed(struct pg *pg, const char *text)
{
    struct err why;
    pg_err_connect(pg->conn, text, &why);
    lost(pg, why);
}

/* The socket may have changed since the last step, even under the same number: so libpq is asked
 * with nothing watched, and what it names then is watched anew. */
static void connect_step(struct pg *pg)
{
    unwatch(pg);
    bool watched = true;
    switch (PQconnectPoll(pg->conn)) {
    case PGRES_POLLING_READING:
        watched = watch(pg, UV_READABLE);
        break;
    case PGRES_POLLING_WRITING:
        watched = watch(pg, UV_WRITABLE);
        break;
    case PGRES_POLLING_OK:
        start_setup(pg);
        break;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE:
    default:
        connect_failed(pg, NULL);
    }
    if (!watched)
        connect_failed(pg, "the event loop cannot watch its socket");
}

static void start_connecting(struct pg *pg)
{
    struct pg_connect_keys keys;
    struct err why;
    pg->state = CONNECTING;
    pg->fatal = (struct err){0};
    if (pg_connect_keys(pg->conf.conninfo, pg->conf.name, &keys, &why) != RC_OK) {
        lost(pg, why);
        return;
    }
    pg->conn = PQconnectStartParams(keys.keys, keys.values, 1);
    if (PQstatus(pg->conn) == CONNECTION_BAD) {
        connect_failed(pg, NULL);
        return;
    }
    set_timer(pg, PG_CONNECT_TIMEOUT_S * 1000);
    if (!watch(pg, UV_WRITABLE))
        connect_failed(pg, "the event loop cannot watch its socket");
}

/* ---- the loop's callbacks ----------------------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct pg *pg = poll->data;
    if (events & UV_READABLE)
        pg->heard_us = clock_mono_us();
    if (pg->state == CONNECTING)
        connect_step(pg); /* a failed socket too: libpq finds out why, and tries the next address */
    else if (running(pg))
        turn(pg, status < 0);
}

static bool silent(const struct pg *pg)
{
    int64_t limit_us = ((int64_t)pg->conf.statement_timeout_ms + GRACE_MS) * 1000;
    return pg->pending > 0 && clock_mono_us() - pg->heard_us > limit_us;
}

static void watchdog(struct pg *pg)
{
    if (silent(pg))
        turn(pg, false); /* if it was us who slept, the answer lies in the socket */
    if (pg->state != UP)
        return;
    if (silent(pg)) {
        struct err why;
        err_set(&why, RC_RETRY, "connection to Postgres given up: no answer within %d ms",
                pg->conf.statement_timeout_ms + GRACE_MS);
        lost(pg, why);
    } else if (pg->pending > 0) {
        set_timer(pg, WATCHDOG_TICK_MS);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct pg *pg = timer->data;
    switch (pg->state) {
    case DOWN:
        start_connecting(pg);
        break;
    case CONNECTING:
    case PREPARING:
        connect_failed(pg, "not connected and set up within 10 s");
        break;
    case UP:
        watchdog(pg);
        break;
    case BROKEN:
        lost_as_libpq_says(pg);
        break;
    case CLOSED:
        break;
    }
}

/* ---- public ------------------------------------------------------------------------------- */

static int count_statements(const struct pg_stmt *statements)
{
    int n = 0;
    while (statements && statements[n].name)
        n++;
    return n;
}

static int count_settings(const char *const *settings)
{
    int n = 0;
    while (settings && settings[n])
        n++;
    return n;
}

struct pg *pg_new(struct uv_loop_s *loop, const struct pg_conf *conf, struct err *err)
{
    struct pg_connect_keys keys;
    if (pg_connect_keys(conf->conninfo, conf->name, &keys, err) != RC_OK)
        return NULL;
    int statement_count = count_statements(conf->statements);
    struct pg *pg = calloc(1, sizeof *pg);
    struct prepared *prepared = calloc((size_t)statement_count + 1, sizeof *prepared);
    if (!pg || !prepared || uv_timer_init(loop, &pg->timer) != 0) {
        free(prepared);
        free(pg);
        err_set(err, RC_NOMEM, "no memory for the Postgres connection %s", conf->name);
        return NULL;
    }
    pg->timer.data = pg;
    pg->conf = *conf;
    pg->loop = loop;
    pg->prepared = prepared;
    pg->statement_count = statement_count;
    pg->setting_count = count_settings(conf->settings);
    pg->backoff_ms = BACKOFF_MIN_MS;
    set_timer(pg, 0); /* DOWN: connects at the loop's next turn */
    return pg;
}

static void free_closed(uv_handle_t *timer)
{
    struct pg *pg = timer->data;
    free(pg->prepared);
    free(pg);
}

void pg_free(struct pg *pg)
{
    if (!pg || pg->state == CLOSED)
        return;
    pg->state = CLOSED;
    unwatch(pg);
    PQfinish(pg->conn);
    pg->conn = NULL;
    fail_pending(pg, "the connection to Postgres was closed");
    uv_close((uv_handle_t *)&pg->timer, free_closed);
}

bool pg_is_up(const struct pg *pg)
{
    return pg->state == UP;
}

int64_t pg_up_since_us(const struct pg *pg)
{
    return pg->state == UP ? pg->up_since_us : 0;
}

int pg_pending(const struct pg *pg)
{
    return pg->up_since_us ? pg->pending : 0; /* the set-up is nobody's */
}

/* Held against what the server itself says the statement takes: a slip here would else come back
 * as an error of the data, and the data's owner would pay for it. */
static enum rc check_params(const struct pg *pg, int statement, const struct pg_wire *wire,
                            struct err *err)
{
    const struct prepared *prepared = &pg->prepared[statement];
    const char *name = pg->conf.statements[statement].name;
    if (wire->count != prepared->param_count)
        return err_set(err, RC_FATAL, "statement %s takes %d parameters, %d were given", name,
                       prepared->param_count, wire->count);
    for (int i = 0; i < wire->count; i++) {
        const char *want = pg_oid_name(prepared->types[i]);
        const char *given = pg_oid_name(wire->types[i]);
        if (wire->types[i] == prepared->types[i])
            continue;
        if (!*want && strcmp(given, "text") == 0) /* varchar, name, json, an enum */
            continue;
        return err_set(err, RC_FATAL, "statement %s: $%d is %s (type %u) there, %s was given", name,
                       i + 1, *want ? want : "of a type not supported here", prepared->types[i],
                       given);
    }
    return RC_OK;
}

static enum rc check_steps(const struct pg *pg, const struct pg_step *steps, int step_count,
                           struct err *err)
{
    enum rc rc = RC_OK;
    for (int i = 0; rc == RC_OK && i < step_count; i++) {
        struct pg_wire wire;
        assert(steps[i].statement >= 0 && steps[i].statement < pg->statement_count);
        rc = pg_params_wire(steps[i].params, &wire, err);
        if (rc == RC_OK)
            rc = check_params(pg, steps[i].statement, &wire, err);
    }
    return rc;
}

static bool send_step(struct pg *pg, const struct pg_step *step)
{
    struct pg_wire wire;
    return pg_params_wire(step->params, &wire, NULL) == RC_OK &&
           PQsendQueryPrepared(pg->conn, pg->conf.statements[step->statement].name, wire.count,
                               wire.values, wire.lengths, wire.formats, 1);
}

enum rc pg_txn(struct pg *pg, const struct pg_step *steps, int step_count, pg_done done, void *arg,
               struct err *err)
{
    assert(step_count > 0 && done);
    if (pg->state != UP)
        return err_set(err, RC_RETRY, "the connection to Postgres is down");
    enum rc rc = check_steps(pg, steps, step_count, err);
    if (rc != RC_OK)
        return rc;
    struct txn *t = txn_new(step_count, done, arg);
    if (!t)
        return err_set(err, RC_NOMEM, "no memory for a transaction");

    bool sent = true;
    for (int i = 0; sent && i < step_count; i++) {
        t->step[i].statement = steps[i].statement;
        sent = send_step(pg, &steps[i]);
    }
    if (!sent || !PQpipelineSync(pg->conn)) {
        /* Steps without a Sync would join the next transaction: only the connection's end, which
         * rolls them back, takes them out again. */
        txn_free(t);
        broken(pg);
        return err_set(err, RC_RETRY, "the transaction could not be sent whole");
    }
    append(pg, t);
    if (pg->conf.statement_timeout_ms > 0 && !uv_is_active((const uv_handle_t *)&pg->timer))
        set_timer(pg, WATCHDOG_TICK_MS);
    flush(pg);
    return RC_OK;
}
