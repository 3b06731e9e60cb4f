/*
 * test_pg_async_live.c - the pipelined connection against a real server, which the PG* environment
 * names: transactions, failures of one among many, a backend that is killed, a network that fails.
 * Works in a schema of its own, which it drops again.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>

#include "common/clock.h"
#include "common/pg.h"
#include "tests/live/loop.h"
#include "tests/live/proxy.h"

enum { TICK_MS = 5, SOON_MS = 60000, REPLIES_MAX = 1200 };

enum { INSERT, ANSWER, SLEEP, FAIL, PID, UNPLACED, MISMATCH };

static const struct pg_stmt statements[] = {
    [INSERT] = {"insert", "INSERT INTO t SELECT * FROM unnest($1::int8[], $2::text[])"},
    [ANSWER] = {"echo", "SELECT * FROM unnest($1::int8[], $2::text[])"},
    [SLEEP] = {"sleep", "SELECT 1::int8 FROM pg_sleep($1::int8 / 1000.0)"},
    [FAIL] = {"fail", "SELECT fail($1)"},
    [PID] = {"pid", "SELECT pg_backend_pid(), current_setting('statement_timeout')"},
    [UNPLACED] = {"unplaced", "INSERT INTO unplaced VALUES ($1)"},
    [MISMATCH] = {"mismatch", "SELECT $1::int8, $2::text, $3::uuid[]"},
    {NULL, NULL},
};

static char schema[64];
static char set_path[96];
static struct err last;
static struct pgc *admin;

#define assert_rc(call, want)                                       \
    do {                                                            \
        enum rc got = (call);                                       \
        if (got != (want))                                          \
            fail_msg("%s: %s: %s", #call, rc_name(got), last.text); \
    } while (0)

/* ---- the fixture -------------------------------------------------------------------------- */

/* What came of one transaction. */
struct reply {
    struct live *live;
    int calls;
    int order; /* the how-manieth answer of all */
    enum rc rc;
    char sqlstate[6];
    char text[ERR_TEXT_BYTES];
    int step_count;
    int64_t value; /* row 0, column 0 of the last step, if a number */
    int64_t rows;  /* of the last step */
    int64_t took_us;
};

/* What a test wants done from within a callback. */
enum when { NEVER, IN_UP, IN_DOWN, IN_DONE, IN_NOTIFY };

struct live {
    uv_loop_t loop;
    uv_timer_t tick;
    struct pg *pg;
    int ups, downs, notifies, answers;
    char why[ERR_TEXT_BYTES];
    char payload[64];
    enum when free_when;
    const char *settings[4];
    struct reply replies[REPLIES_MAX];
};

static void on_tick(uv_timer_t *tick)
{
    (void)tick;
}

static void maybe_free(struct live *l, enum when now)
{
    if (l->free_when == now) {
        pg_free(l->pg);
        l->pg = NULL;
    }
}

static void on_up(void *arg)
{
    struct live *l = arg;
    l->ups++;
    maybe_free(l, IN_UP);
}

static void on_down(void *arg, const char *why)
{
    struct live *l = arg;
    l->downs++;
    snprintf(l->why, sizeof l->why, "%s", why);
    maybe_free(l, IN_DOWN);
}

static void on_notify(void *arg, const char *channel, const char *payload)
{
    struct live *l = arg;
    assert_string_equal(channel, "live_test");
    snprintf(l->payload, sizeof l->payload, "%s", payload);
    l->notifies++;
    maybe_free(l, IN_NOTIFY);
}

static void on_done(void *arg, const struct pg_answer *answer)
{
    struct reply *r = arg;
    r->calls++;
    r->order = r->live->answers++;
    r->rc = answer->rc;
    r->step_count = answer->step_count;
    r->took_us = answer->answered_us - answer->sent_us;
    memcpy(r->sqlstate, answer->sqlstate, sizeof r->sqlstate);
    memcpy(r->text, answer->err.text, sizeof r->text);
    assert_int_equal(answer->rows != NULL, answer->rc == RC_OK);
    if (answer->rows) {
        const struct pg_rows *rows = answer->rows[answer->step_count - 1];
        r->rows = pg_col_count(rows) ? pg_row_count(rows) : pg_affected(rows);
        if (pg_col_count(rows) > 0 && pg_row_count(rows) > 0)
            r->value = pg_get_int(rows, 0, 0);
    }
    maybe_free(r->live, IN_DONE);
}

static int setup(void **state)
{
    struct live *l = calloc(1, sizeof *l);
    assert_non_null(l);
    uv_loop_init(&l->loop);
    uv_timer_init(&l->loop, &l->tick);
    uv_timer_start(&l->tick, on_tick, TICK_MS, TICK_MS);
    l->settings[0] = set_path;
    for (int i = 0; i < REPLIES_MAX; i++)
        l->replies[i].live = l;
    *state = l;
    return 0;
}

/* Everything that libuv was given is closed and freed, or uv_loop_close says so. */
static int teardown(void **state)
{
    struct live *l = *state;
    pg_free(l->pg);
    uv_close((uv_handle_t *)&l->tick, NULL);
    int result = loop_end(&l->loop);
    for (int i = 0; i < REPLIES_MAX; i++)
        assert_true(l->replies[i].calls <= 1);
    free(l);
    return result;
}

static void open_pg(struct live *l, const char *conninfo, int statement_timeout_ms)
{
    const struct pg_conf conf = {
        .conninfo = conninfo,
        .name = "live-test",
        .statements = statements,
        .settings = l->settings,
        .statement_timeout_ms = statement_timeout_ms,
        .arg = l,
        .on_up = on_up,
        .on_down = on_down,
        .on_notify = on_notify,
    };
    l->pg = pg_new(&l->loop, &conf, &last);
    if (!l->pg)
        fail_msg("%s", last.text);
    assert_false(pg_is_up(l->pg));
}

#define run_until(l, condition)                                       \
    do {                                                              \
        int64_t until_us = clock_mono_us() + SOON_MS * INT64_C(1000); \
        while (!(condition) && clock_mono_us() < until_us)            \
            uv_run(&(l)->loop, UV_RUN_ONCE);                          \
        if (!(condition))                                             \
            fail_msg("not within %d ms: %s", SOON_MS, #condition);    \
    } while (0)

static void run_for(struct live *l, int ms)
{
    int64_t until_us = clock_mono_us() + ms * INT64_C(1000);
    while (clock_mono_us() < until_us)
        uv_run(&l->loop, UV_RUN_ONCE);
}

static void open_up(struct live *l, const char *conninfo, int statement_timeout_ms)
{
    open_pg(l, conninfo, statement_timeout_ms);
    run_until(l, pg_is_up(l->pg));
    assert_int_equal(l->ups, 1);
    assert_true(pg_up_since_us(l->pg) > 0);
}

/* ---- transactions for tests --------------------------------------------------------------- */

static enum rc send1(struct live *l, int reply, int statement, const struct pg_params *params)
{
    const struct pg_step step = {statement, params};
    return pg_txn(l->pg, &step, 1, on_done, &l->replies[reply], &last);
}

static void send_int(struct live *l, int reply, int statement, int64_t v)
{
    struct pg_params *p = pg_params_new();
    pg_add_int(p, PG_INT8, v);
    assert_rc(send1(l, reply, statement, p), RC_OK);
    pg_params_free(p); /* copied: may go at once */
}

static void send_fail(struct live *l, int reply, const char *sqlstate)
{
    struct pg_params *p = pg_params_new();
    pg_add_text(p, span_of(sqlstate));
    assert_rc(send1(l, reply, FAIL, p), RC_OK);
    pg_params_free(p);
}

/* `n` rows from `first` on, all with `text`. */
static struct pg_params *some_rows(int64_t first, int n, struct span text)
{
    struct pg_params *p = pg_params_new();
    pg_array(p, PG_INT8);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, first + i);
    pg_array(p, PG_TEXT);
    for (int i = 0; i < n; i++)
        pg_elem_span(p, text);
    return p;
}

static void send_rows(struct live *l, int reply, int statement, int64_t first, int n)
{
    struct pg_params *p = some_rows(first, n, SPAN_LIT("x"));
    assert_rc(send1(l, reply, statement, p), RC_OK);
    pg_params_free(p);
}

static int64_t count_rows(int64_t from, int64_t to)
{
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    pg_add_int(p, PG_INT8, from);
    pg_add_int(p, PG_INT8, to);
    assert_rc(pgc_exec(admin, "SELECT count(*) FROM t WHERE n BETWEEN $1 AND $2", p, &rows, &last),
              RC_OK);
    int64_t n = pg_get_int(rows, 0, 0);
    pg_rows_free(rows);
    pg_params_free(p);
    return n;
}

static void terminate(int64_t pid)
{
    struct pg_params *p = pg_params_new();
    pg_add_int(p, PG_INT4, pid);
    assert_rc(pgc_exec(admin, "SELECT pg_terminate_backend($1, 5000)", p, NULL, &last), RC_OK);
    pg_params_free(p);
}

static int64_t backend_pid(struct live *l, int reply)
{
    assert_rc(send1(l, reply, PID, NULL), RC_OK);
    run_until(l, l->replies[reply].calls);
    assert_int_equal(l->replies[reply].rc, RC_OK);
    return l->replies[reply].value;
}

/* ---- transactions ------------------------------------------------------------------------- */

static void commits(void **state)
{
    struct live *l = *state;
    struct reply *r = l->replies;
    open_up(l, "", 5000);
    send_rows(l, 0, INSERT, 1000, 500);
    assert_int_equal(r[0].calls, 0); /* never from within */
    assert_int_equal(pg_pending(l->pg), 1);
    run_until(l, r[0].calls);
    assert_int_equal(r[0].rc, RC_OK);
    assert_int_equal(r[0].rows, 500);
    assert_true(r[0].took_us > 0);
    assert_int_equal(pg_pending(l->pg), 0);
    assert_int_equal(count_rows(1000, 1499), 500);
}

static void steps_of_one_transaction(void **state)
{
    struct live *l = *state;
    open_up(l, "", 5000);
    struct pg_params *p = some_rows(2000, 3, SPAN_LIT("x"));
    struct pg_params *q = some_rows(2003, 3, (struct span){0}); /* NULL: refused by the table */
    const struct pg_step good[] = {{INSERT, p}, {PID, NULL}, {ANSWER, p}};
    const struct pg_step bad[] = {{INSERT, p}, {INSERT, q}, {PID, NULL}};
    assert_rc(pg_txn(l->pg, bad, 3, on_done, &l->replies[0], &last), RC_OK);
    assert_rc(pg_txn(l->pg, good, 3, on_done, &l->replies[1], &last), RC_OK);
    pg_params_free(p);
    pg_params_free(q);
    run_until(l, l->replies[1].calls);
    assert_int_equal(l->replies[0].rc, RC_REJECT); /* and its first step undone: */
    assert_string_equal(l->replies[0].sqlstate, "23502");
    assert_non_null(strstr(l->replies[0].text, "statement insert"));
    assert_int_equal(l->replies[1].rc, RC_OK);
    assert_int_equal(l->replies[1].step_count, 3);
    assert_int_equal(l->replies[1].value, 2000);
    assert_int_equal(l->replies[1].rows, 3);
    assert_int_equal(count_rows(2000, 2010), 3);
}

/* Many in flight; some fail; all are answered in order, each with its own outcome. */
static void failures_among_many(void **state)
{
    struct live *l = *state;
    open_up(l, "", 5000);
    for (int i = 0; i < 1000; i++) {
        if (i % 7 == 3)
            send_fail(l, i, "22000");
        else if (i % 7 == 5)
            send_fail(l, i, "40001");
        else
            send_rows(l, i, INSERT, 10000 + i, 1);
    }
    assert_int_equal(pg_pending(l->pg), 1000);
    run_until(l, l->answers == 1000);
    for (int i = 0; i < 1000; i++) {
        const struct reply *r = &l->replies[i];
        assert_int_equal(r->calls, 1);
        assert_int_equal(r->order, i);
        assert_int_equal(r->rc, i % 7 == 3 ? RC_REJECT : i % 7 == 5 ? RC_RETRY : RC_OK);
        assert_string_equal(r->sqlstate, i % 7 == 3 ? "22000" : i % 7 == 5 ? "40001" : "");
        assert_int_equal(count_rows(10000 + i, 10000 + i), r->rc == RC_OK);
    }
    assert_int_equal(l->downs, 0);
}

static void sqlstates(void **state)
{
    struct live *l = *state;
    const struct {
        const char *sqlstate;
        enum rc rc;
    } table[] = {
        {"22021", RC_REJECT}, {"23505", RC_REJECT}, {"23514", RC_RETRY}, {"40P01", RC_RETRY},
        {"57P01", RC_RETRY},  {"53100", RC_RETRY},  {"XX000", RC_RETRY}, {"P0001", RC_RETRY},
    };
    const int n = (int)(sizeof table / sizeof table[0]);
    open_up(l, "", 5000);
    for (int i = 0; i < n; i++)
        send_fail(l, i, table[i].sqlstate);
    run_until(l, l->answers == n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(l->replies[i].rc, table[i].rc);
        assert_string_equal(l->replies[i].sqlstate, table[i].sqlstate);
    }
}

/* A row that no partition takes is not the row's fault: the partition comes later. */
static void no_partition(void **state)
{
    struct live *l = *state;
    open_up(l, "", 5000);
    send_int(l, 0, UNPLACED, 1);
    run_until(l, l->replies[0].calls);
    assert_int_equal(l->replies[0].rc, RC_RETRY);
    assert_string_equal(l->replies[0].sqlstate, "23514");
}

static void bad_text(void **state)
{
    struct live *l = *state;
    open_up(l, "", 5000);
    struct pg_params *p = some_rows(3000, 1, (struct span){"a\0b", 3});
    assert_rc(send1(l, 0, INSERT, p), RC_OK);
    pg_params_free(p);
    send_rows(l, 1, INSERT, 3001, 1);
    run_until(l, l->replies[1].calls);
    assert_int_equal(l->replies[0].rc, RC_REJECT);
    assert_string_equal(l->replies[0].sqlstate, "22021");
    assert_int_equal(l->replies[1].rc, RC_OK);
}

static void statement_timeout(void **state)
{
    struct live *l = *state;
    open_up(l, "", 3000);
    send_int(l, 0, SLEEP, 60000);
    send_int(l, 1, SLEEP, 0);
    run_until(l, l->replies[1].calls);
    assert_int_equal(l->replies[0].rc, RC_RETRY);
    assert_string_equal(l->replies[0].sqlstate, "57014");
    assert_int_equal(l->replies[1].rc, RC_OK);
    assert_int_equal(l->downs, 0);
}

/* Refused before anything is sent: the data would be blamed for what is a slip in the program. */
static void wrong_params(void **state)
{
    struct live *l = *state;
    struct pg_params *p = pg_params_new();
    open_up(l, "", 5000);
    assert_int_equal(send1(l, 0, MISMATCH, NULL), RC_FATAL);
    assert_non_null(strstr(last.text, "mismatch takes 3 parameters, 0 were given"));
    pg_add_int(p, PG_INT4, 1);
    pg_add_text(p, SPAN_LIT("x"));
    pg_array(p, PG_UUID);
    assert_int_equal(send1(l, 0, MISMATCH, p), RC_FATAL);
    assert_non_null(strstr(last.text, "$1 is int8"));
    pg_params_reset(p);
    pg_add_int(p, PG_INT2, 1 << 20);
    assert_int_equal(send1(l, 0, SLEEP, p), RC_NOMEM);
    pg_params_free(p);
    assert_int_equal(pg_pending(l->pg), 0);
    backend_pid(l, 1); /* unharmed */
    assert_int_equal(l->replies[0].calls, 0);
    assert_int_equal(l->downs, 0);
}

/* More in both directions at once than any socket buffer holds. */
static void big_values(void **state)
{
    enum { N = 40, BIG = 300 * 1000 };
    struct live *l = *state;
    char *text = malloc(BIG);
    assert_non_null(text);
    memset(text, 'b', BIG);
    open_up(l, "", 20000);
    struct pg_params *p = some_rows(1, 4, (struct span){text, BIG});
    for (int i = 0; i < N; i++)
        assert_rc(send1(l, i, ANSWER, p), RC_OK);
    pg_params_free(p);
    free(text);
    run_until(l, l->answers == N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(l->replies[i].rc, RC_OK);
        assert_int_equal(l->replies[i].rows, 4);
    }
}

static void notifications(void **state)
{
    struct live *l = *state;
    l->settings[1] = "LISTEN live_test";
    open_up(l, "", 5000);
    assert_rc(pgc_script(admin, "NOTIFY live_test, 'hello'", &last), RC_OK);
    run_until(l, l->notifies == 1);
    assert_string_equal(l->payload, "hello");
    terminate(backend_pid(l, 0));
    run_until(l, l->ups == 2);
    assert_rc(pgc_script(admin, "NOTIFY live_test, 'again'", &last), RC_OK); /* listens again */
    run_until(l, l->notifies == 2);
    assert_string_equal(l->payload, "again");
}

/* ---- losing the connection ---------------------------------------------------------------- */

static void killed_with_pending(void **state)
{
    enum { N = 50 };
    struct live *l = *state;
    open_up(l, "", 30000);
    int64_t pid = backend_pid(l, N);
    send_int(l, 0, SLEEP, 20000);
    for (int i = 1; i < N; i++)
        send_rows(l, i, INSERT, 20000 + i, 1);
    run_for(l, 50);
    terminate(pid);
    run_until(l, l->answers == N + 1);
    for (int i = 0; i < N; i++) {
        assert_int_equal(l->replies[i].calls, 1);
        assert_int_equal(l->replies[i].rc, RC_RETRY);
        assert_string_equal(l->replies[i].sqlstate, "");
        assert_non_null(strstr(l->replies[i].text, "57P01"));
    }
    assert_int_equal(l->downs, 1);
    assert_non_null(strstr(l->why, "57P01"));
    assert_false(pg_is_up(l->pg));
    assert_int_equal(pg_up_since_us(l->pg), 0);
    assert_int_equal(pg_pending(l->pg), 0);
    assert_int_equal(send1(l, N + 1, PID, NULL), RC_RETRY);

    run_until(l, l->ups == 2); /* prepared again, and another backend */
    assert_true(backend_pid(l, N + 2) != pid);
    send_rows(l, N + 3, INSERT, 21000, 1);
    run_until(l, l->replies[N + 3].calls);
    assert_int_equal(l->replies[N + 3].rc, RC_OK);
    assert_int_equal(l->replies[N + 1].calls, 0);
    assert_int_equal(l->downs, 1);
    assert_int_equal(count_rows(20000, 20999), 0);
}

/* Nobody waits for an answer: the loss is noticed all the same. */
static void killed_while_idle(void **state)
{
    struct live *l = *state;
    open_up(l, "", 5000);
    terminate(backend_pid(l, 0));
    run_until(l, l->ups == 2);
    assert_int_equal(l->downs, 1);
    assert_non_null(strstr(l->why, "57P01"));
}

static const char *through(const struct proxy *proxy, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "host=127.0.0.1 port=%d sslmode=disable gssencmode=disable",
             proxy_port(proxy));
    return out;
}

static void close_through(struct live *l, struct proxy *proxy)
{
    pg_free(l->pg);
    l->pg = NULL;
    proxy_free(proxy);
}

static void server_comes_later(void **state)
{
    struct live *l = *state;
    char conninfo[128];
    struct proxy *proxy = proxy_new(PROXY_REFUSE);
    open_pg(l, through(proxy, conninfo, sizeof conninfo), 5000);
    run_for(l, 700);
    assert_int_equal(l->ups + l->downs, 0);
    assert_int_equal(send1(l, 0, PID, NULL), RC_RETRY);
    proxy_set(proxy, PROXY_PASS);
    run_until(l, l->ups == 1);
    backend_pid(l, 1);
    assert_int_equal(l->replies[0].calls, 0);
    close_through(l, proxy);
}

/* The classic: committed, and the answer lost. RC_RETRY, and the row is there. */
static void answer_lost(void **state)
{
    struct live *l = *state;
    char conninfo[128];
    struct proxy *proxy = proxy_new(PROXY_PASS);
    open_up(l, through(proxy, conninfo, sizeof conninfo), 5000);
    proxy_set(proxy, PROXY_MUTE);
    send_rows(l, 0, INSERT, 30000, 10);
    run_until(l, count_rows(30000, 30009) == 10);
    assert_int_equal(l->replies[0].calls, 0);
    proxy_cut(proxy);
    proxy_set(proxy, PROXY_PASS);
    run_until(l, l->replies[0].calls && l->ups == 2);
    assert_int_equal(l->replies[0].rc, RC_RETRY);
    assert_string_equal(l->replies[0].sqlstate, "");
    assert_int_equal(l->downs, 1);
    close_through(l, proxy);
}

/* Neither an answer nor an end: after statement_timeout + 5 s it counts as lost. */
static void silent_server(void **state)
{
    struct live *l = *state;
    char conninfo[128];
    struct proxy *proxy = proxy_new(PROXY_PASS);
    open_up(l, through(proxy, conninfo, sizeof conninfo), 500);
    proxy_set(proxy, PROXY_STALL);
    int64_t sent_us = clock_mono_us();
    assert_rc(send1(l, 0, PID, NULL), RC_OK);
    run_until(l, l->replies[0].calls);
    int64_t waited_us = clock_mono_us() - sent_us;
    assert_in_range(waited_us / 1000, 5400, SOON_MS);
    assert_int_equal(l->replies[0].rc, RC_RETRY);
    assert_int_equal(l->downs, 1);
    proxy_cut(proxy);
    proxy_set(proxy, PROXY_PASS);
    run_until(l, l->ups == 2);
    close_through(l, proxy);
}

/* It takes the connection and then says nothing. */
static void silent_at_connect(void **state)
{
    struct live *l = *state;
    char conninfo[128];
    struct proxy *proxy = proxy_new(PROXY_STALL);
    int64_t begun_us = clock_mono_us();
    open_pg(l, through(proxy, conninfo, sizeof conninfo), 200);
    run_for(l, 9000);
    assert_int_equal(l->ups, 0);
    run_for(l, 1500); /* given up meanwhile: the next attempt gets through */
    proxy_cut(proxy);
    proxy_set(proxy, PROXY_PASS);
    run_until(l, l->ups == 1);
    assert_in_range((clock_mono_us() - begun_us) / 1000, 10000, SOON_MS);
    assert_int_equal(l->downs, 0);
    close_through(l, proxy);
}

/* The loop has not heard of the loss yet: what is sent is taken, and answered as lost. */
static void sent_into_a_dead_socket(void **state)
{
    struct live *l = *state;
    char conninfo[128];
    struct proxy *proxy = proxy_new(PROXY_PASS);
    open_up(l, through(proxy, conninfo, sizeof conninfo), 5000);
    proxy_cut(proxy);
    int taken = 0;
    for (int i = 0; i < 20; i++) {
        taken += send1(l, i, PID, NULL) == RC_OK;
        usleep(2000);
    }
    assert_int_equal(l->answers, 0);
    run_until(l, l->ups == 2);
    assert_int_equal(l->answers, taken);
    for (int i = 0; i < 20; i++)
        assert_true(!l->replies[i].calls || l->replies[i].rc == RC_RETRY);
    assert_int_equal(l->downs, 1);
    close_through(l, proxy);
}

/* It was us who stood still (a stopped process): the answer lies in the socket, and counts. */
static void we_slept(void **state)
{
    struct live *l = *state;
    open_up(l, "", 500);
    assert_rc(send1(l, 0, PID, NULL), RC_OK);
    (void)poll(NULL, 0, 5700);
    run_until(l, l->replies[0].calls);
    assert_int_equal(l->replies[0].rc, RC_OK);
    assert_int_equal(l->downs, 0);
}

/* Statements that cannot be prepared yet (no tables) are tried again, and never half used. */
static void tables_come_later(void **state)
{
    struct live *l = *state;
    char drop[128], create[128];
    snprintf(drop, sizeof drop, "ALTER TABLE %s.t RENAME TO t_away", schema);
    snprintf(create, sizeof create, "ALTER TABLE %s.t_away RENAME TO t", schema);
    assert_rc(pgc_script(admin, drop, &last), RC_OK);
    open_pg(l, "", 5000);
    run_for(l, 500);
    int ups = l->ups;
    assert_rc(pgc_script(admin, create, &last), RC_OK);
    assert_int_equal(ups, 0);
    run_until(l, l->ups == 1);
    assert_int_equal(l->downs, 0);
}

/* ---- closing ------------------------------------------------------------------------------ */

static void free_with_pending(void **state)
{
    struct live *l = *state;
    open_up(l, "", 5000);
    for (int i = 0; i < 10; i++)
        send_int(l, i, SLEEP, 1000);
    pg_free(l->pg);
    l->pg = NULL;
    assert_int_equal(l->answers, 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(l->replies[i].rc, RC_RETRY);
    assert_int_equal(l->downs, 0);
}

static void free_in_callbacks(void **state)
{
    struct live *l = *state;
    l->settings[1] = "LISTEN live_test";
    l->free_when = IN_UP;
    open_pg(l, "", 5000);
    run_until(l, !l->pg);

    l->free_when = IN_DONE; /* with others pending, of which some are answered in the same read */
    l->ups = 0;
    open_up(l, "", 5000);
    for (int i = 0; i < 10; i++)
        send_int(l, i, SLEEP, 0);
    run_until(l, !l->pg);
    assert_int_equal(l->answers, 10);
    assert_int_equal(l->replies[0].rc, RC_OK);
    assert_int_equal(l->replies[9].rc, RC_RETRY);

    l->free_when = IN_NOTIFY;
    l->ups = 0;
    open_up(l, "", 5000);
    assert_rc(pgc_script(admin, "NOTIFY live_test; NOTIFY live_test, 'two'", &last), RC_OK);
    run_until(l, !l->pg);
    assert_int_equal(l->notifies, 1);

    l->free_when = NEVER;
    l->ups = 0;
    open_up(l, "", 5000);
    int64_t pid = backend_pid(l, 20);
    l->free_when = IN_DOWN;
    for (int i = 30; i < 40; i++)
        send_int(l, i, SLEEP, 10000);
    terminate(pid);
    run_until(l, !l->pg);
    for (int i = 30; i < 40; i++)
        assert_int_equal(l->replies[i].rc, RC_RETRY);
    run_for(l, 300); /* and no attempt after that */
    assert_int_equal(l->ups, 1);
}

static void free_before_up(void **state)
{
    struct live *l = *state;
    open_pg(l, "", 5000);
    pg_free(l->pg);
    open_pg(l, "", 5000);
    uv_run(&l->loop, UV_RUN_ONCE);
    uv_run(&l->loop, UV_RUN_ONCE);
    pg_free(l->pg); /* in the middle of it */
    l->pg = NULL;
    run_for(l, 50);
    assert_int_equal(l->ups + l->downs, 0);
}

static void refuses_what_is_no_conninfo(void **state)
{
    struct live *l = *state;
    const struct pg_conf conf = {.conninfo = "hunter2@nowhere", .name = "x"};
    assert_null(pg_new(&l->loop, &conf, &last));
    assert_null(strstr(last.text, "hunter2"));
}

/* ---- all ---------------------------------------------------------------------------------- */

static int setup_group(void **state)
{
    char sql[1024];
    (void)state;
    if (pgc_open("", "inferq-test", &admin, &last) != RC_OK) {
        print_error("no Postgres server to test with: %s\n", last.text);
        return -1;
    }
    snprintf(schema, sizeof schema, "live_test_%ld", (long)getpid());
    snprintf(set_path, sizeof set_path, "SET search_path = %s", schema);
    snprintf(sql, sizeof sql,
             "CREATE SCHEMA %s; SET search_path = %s;"
             "CREATE TABLE t (n int8 PRIMARY KEY, v text NOT NULL);"
             "CREATE TABLE unplaced (n int8) PARTITION BY RANGE (n);"
             "CREATE FUNCTION fail(code text) RETURNS int8 LANGUAGE plpgsql AS"
             " $$ BEGIN RAISE 'as asked' USING ERRCODE = code; END $$",
             schema, schema);
    return pgc_script(admin, sql, &last) == RC_OK ? 0 : -1;
}

static int teardown_group(void **state)
{
    char sql[128];
    (void)state;
    snprintf(sql, sizeof sql, "DROP SCHEMA %s CASCADE", schema);
    int result = pgc_script(admin, sql, &last) == RC_OK ? 0 : -1;
    pgc_close(admin);
    return result;
}

#define LIVE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIVE(commits),
        LIVE(steps_of_one_transaction),
        LIVE(failures_among_many),
        LIVE(sqlstates),
        LIVE(no_partition),
        LIVE(bad_text),
        LIVE(statement_timeout),
        LIVE(wrong_params),
        LIVE(big_values),
        LIVE(notifications),
        LIVE(killed_with_pending),
        LIVE(killed_while_idle),
        LIVE(server_comes_later),
        LIVE(answer_lost),
        LIVE(silent_server),
        LIVE(silent_at_connect),
        LIVE(sent_into_a_dead_socket),
        LIVE(we_slept),
        LIVE(tables_come_later),
        LIVE(free_with_pending),
        LIVE(free_in_callbacks),
        LIVE(free_before_up),
        LIVE(refuses_what_is_no_conninfo),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
