#include "tests/modelsim/ledger.h"

/*
 * Purpose: batched lookups in inferq.call. Happy path: connect, prepare, then one batch in flight
 * while the next gathers. Failure: any fault drops the connection and puts the batch back at the
 * head of the queue; a new connection is tried every 200 ms.
 */
#include "tests/modelsim/buf.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BATCH_MAX 500
#define RETRY_US 200000
#define CONNECT_US 5000000

/* A scalar subquery per row: the planner may not turn it into a hash over the whole ledger. */
static const char lookup_sql[] =
    "SELECT (SELECT count(*) FROM inferq.call c WHERE c.job_id = u.job_id AND c.number = u.number)"
    " FROM unnest($1::uuid[], $2::smallint[]) WITH ORDINALITY AS u(job_id, number, place)"
    " ORDER BY place";

/* The plan must hold when the table was empty at first and is large later. */
static const char settings_sql[] = "SET enable_seqscan = off; SET enable_bitmapscan = off;"
                                   "SET plan_cache_mode = force_generic_plan";

enum state { AWAY, CONNECTING, SETTING, PREPARING, IDLE, ASKING };

struct queue {
    struct lookup *head;
    struct lookup **tail;
};

struct ledger {
    char *conninfo;
    int epoll_fd;
    void *tag;
    ledger_answer_fn *answer;
    ledger_release_fn *release;
    void *context;
    PGconn *conn;
    enum state state;
    int watched_fd;
    bool watched_write;
    int64_t due_us; /* of a reconnect, or the end of patience with a connect or a batch */
    struct queue waiting;
    struct lookup *batch;
    struct lookup *released_to; /* last of waiting that is known to be released; NULL: unknown */
    size_t open;
    bool complained; /* an outage lasts and was told */
    struct buf ids;
    struct buf numbers;
};

struct ledger *ledger_new(const char *conninfo, int epoll_fd, void *tag, ledger_answer_fn *answer,
                          ledger_release_fn *release, void *context)
{
    struct ledger *ledger = base_calloc(1, sizeof *ledger);
    char *copy = strdup(conninfo);
    if (copy == NULL)
        base_die("no memory");
    *ledger = (struct ledger){.conninfo = copy,
                              .epoll_fd = epoll_fd,
                              .tag = tag,
                              .answer = answer,
                              .release = release,
                              .context = context,
                              .watched_fd = -1};
    ledger->waiting.tail = &ledger->waiting.head;
    return ledger;
}

static void unwatch(struct ledger *l)
{
    if (l->watched_fd >= 0)
        (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, l->watched_fd, NULL);
    l->watched_fd = -1;
}

/* Watches whatever socket libpq uses now (it may change while connecting). */
static void watch(struct ledger *l, bool write)
{
    int fd = PQsocket(l->conn);
    struct epoll_event event = {.events = EPOLLIN | (write ? (uint32_t)EPOLLOUT : 0)};
    event.data.ptr = l->tag;
    l->watched_write = write;
    if (fd >= 0 && fd == l->watched_fd && epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0)
        return;
    unwatch(l);
    if (fd >= 0 && epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
        l->watched_fd = fd;
}

static void free_list(struct lookup *lookup)
{
    while (lookup != NULL) {
        struct lookup *next = lookup->next;
        free(lookup);
        lookup = next;
    }
}

void ledger_free(struct ledger *l)
{
    if (l == NULL)
        return;
    unwatch(l);
    PQfinish(l->conn);
    free_list(l->waiting.head);
    free_list(l->batch);
    buf_done(&l->ids);
    buf_done(&l->numbers);
    free(l->conninfo);
    free(l);
}

/* Says once per outage why, on stderr; the text is libpq's and holds no password. */
static void complain(struct ledger *l, const char *what)
{
    if (!l->complained)
        (void)fprintf(stderr, "modelsim: ledger: %s\n", what);
    l->complained = true;
}

/* The batch goes back in front of what waits. */
static void put_back(struct ledger *l)
{
    struct lookup **end = &l->batch;
    while (*end != NULL)
        end = &(*end)->next;
    if (l->waiting.head == NULL)
        l->waiting.tail = l->batch == NULL ? &l->waiting.head : end;
    *end = l->waiting.head;
    l->waiting.head = l->batch;
    l->batch = NULL;
    l->released_to = NULL;
}

static void lose(struct ledger *l, int64_t now_us)
{
    complain(l, l->conn == NULL ? "no memory" : PQerrorMessage(l->conn));
    unwatch(l);
    PQfinish(l->conn);
    l->conn = NULL;
    put_back(l);
    l->state = AWAY;
    l->due_us = now_us + RETRY_US;
}

static void connect_start(struct ledger *l, int64_t now_us)
{
    l->conn = PQconnectStart(l->conninfo);
    if (l->conn == NULL || PQstatus(l->conn) == CONNECTION_BAD) {
        lose(l, now_us);
        return;
    }
    l->state = CONNECTING;
    l->due_us = now_us + CONNECT_US;
    watch(l, true);
}

/* Sends what libpq still holds and watches for the rest. */
static bool push(struct ledger *l)
{
    int left = PQflush(l->conn);
    if ((left == 1) != l->watched_write || l->watched_fd != PQsocket(l->conn))
        watch(l, left == 1);
    return left >= 0;
}

static void connect_go_on(struct ledger *l, int64_t now_us)
{
    PostgresPollingStatusType step = PQconnectPoll(l->conn);
    if (step == PGRES_POLLING_OK) {
        bool ok =
            PQsetnonblocking(l->conn, 1) == 0 && PQsendQuery(l->conn, settings_sql) == 1 && push(l);
        l->state = SETTING;
        if (!ok)
            lose(l, now_us);
    } else if (step == PGRES_POLLING_FAILED) {
        lose(l, now_us);
    } else {
        watch(l, step == PGRES_POLLING_WRITING);
    }
}

struct lookup *ledger_ask(struct ledger *l, const uint8_t job[16], int32_t call, uint64_t n,
                          void *asker, int64_t now_us)
{
    struct lookup *lookup = base_calloc(1, sizeof *lookup);
    memcpy(lookup->job, job, 16);
    lookup->call = call;
    lookup->n = n;
    lookup->asker = asker;
    lookup->asked_us = now_us;
    *l->waiting.tail = lookup;
    l->waiting.tail = &lookup->next;
    l->open++;
    return lookup;
}

static void take_batch(struct ledger *l)
{
    struct lookup **end = &l->waiting.head;
    l->batch = l->waiting.head;
    l->ids.len = 0;
    l->numbers.len = 0;
    for (int i = 0; i < BATCH_MAX && *end != NULL; i++) {
        buf_add_char(&l->ids, i == 0 ? '{' : ',');
        buf_add_uuid(&l->ids, (*end)->job);
        buf_add_char(&l->numbers, i == 0 ? '{' : ',');
        buf_add_int(&l->numbers, (*end)->call);
        end = &(*end)->next;
    }
    struct lookup *rest = *end;
    *end = NULL;
    l->released_to = NULL;
    l->waiting.head = rest;
    if (rest == NULL)
        l->waiting.tail = &l->waiting.head;
    buf_add(&l->ids, "}", 2); /* with the NUL that libpq wants */
    buf_add(&l->numbers, "}", 2);
}

static void send_batch(struct ledger *l, int64_t now_us)
{
    take_batch(l);
    const char *values[2] = {l->ids.data, l->numbers.data};
    l->state = ASKING;
    l->due_us = now_us + LEDGER_PATIENCE_US;
    if (PQsendQueryPrepared(l->conn, "lookup", 2, values, NULL, NULL, 0) != 1 || !push(l))
        lose(l, now_us);
}

/* Hands out the answers, in the order of the questions. */
static void settle(struct ledger *l, const PGresult *result)
{
    int row = 0;
    while (l->batch != NULL) {
        struct lookup *lookup = l->batch;
        l->batch = lookup->next;
        l->open--;
        l->answer(l->context, lookup, strcmp(PQgetvalue(result, row++, 0), "0") != 0);
        free(lookup);
    }
}

static int batch_length(const struct ledger *l)
{
    int n = 0;
    for (const struct lookup *lookup = l->batch; lookup != NULL; lookup = lookup->next)
        n++;
    return n;
}

/* One result of the present state. Returns false when the connection is to be dropped. */
static bool take_result(struct ledger *l, const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (l->state != ASKING)
        return status == PGRES_COMMAND_OK;
    if (status != PGRES_TUPLES_OK || PQntuples(result) != batch_length(l))
        return false;
    settle(l, result);
    l->complained = false;
    return true;
}

/* The present command has no more results: on to the next state. */
static bool command_over(struct ledger *l)
{
    if (l->state == SETTING) {
        l->state = PREPARING;
        return PQsendPrepare(l->conn, "lookup", lookup_sql, 0, NULL) == 1 && push(l);
    }
    bool answered = l->state != ASKING || l->batch == NULL;
    l->state = IDLE;
    return answered;
}

/* Takes the results that have arrived. Returns false when the connection is to be dropped. */
static bool receive(struct ledger *l)
{
    if (PQconsumeInput(l->conn) != 1 || !push(l))
        return false;
    while (l->state != IDLE && !PQisBusy(l->conn)) {
        PGresult *result = PQgetResult(l->conn);
        bool ok = result == NULL ? command_over(l) : take_result(l, result);
        PQclear(result);
        if (!ok)
            return false;
    }
    return true;
}

/* Whoever waits in vain is let go. Questions wait in order, so the released are a prefix. */
static void release(struct ledger *l, bool all, int64_t now_us)
{
    struct lookup *lookup = l->released_to == NULL ? l->waiting.head : l->released_to->next;
    for (; lookup != NULL; lookup = lookup->next) {
        if (!lookup->released && !all && now_us - lookup->asked_us < LEDGER_PATIENCE_US)
            break;
        if (!lookup->released && lookup->asker != NULL)
            l->release(l->context, lookup);
        lookup->released = true;
        lookup->asker = NULL;
        l->released_to = lookup;
    }
}

void ledger_step(struct ledger *l, int64_t now_us)
{
    if (l->state == AWAY && now_us >= l->due_us)
        connect_start(l, now_us);
    else if (l->state == CONNECTING)
        connect_go_on(l, now_us);
    else if (l->state != AWAY && !receive(l))
        lose(l, now_us);
    if (l->state != AWAY && l->state != IDLE && now_us >= l->due_us)
        lose(l, now_us);
    if (l->state == IDLE && l->waiting.head != NULL)
        send_batch(l, now_us);
    bool away = l->state == AWAY || (l->complained && l->state < IDLE);
    release(l, away, now_us);
}

int64_t ledger_due(const struct ledger *l)
{
    if (l->state == IDLE)
        return l->waiting.head == NULL ? INT64_MAX : 0;
    return l->due_us;
}

size_t ledger_open(const struct ledger *l)
{
    return l->open;
}
