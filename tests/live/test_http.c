/*
 * test_http.c - the HTTP edge against modelsim, whose witness says what really arrived.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>
#include <uv.h>

#include "common/clock.h"
#include "common/secret.h"
#include "tests/live/child.h"
#include "tests/live/loop.h"
#include "tests/live/plain.h"
#include "worker/http.h"

enum { CALLS = 600, PATIENCE_MS = 60000, REPLY_MAX = 64 << 10 };

static struct child sim;
static uv_loop_t loop;
static uv_timer_t late;
static struct http *http;
static struct http_target *target;
static struct http_call calls[CALLS];
static struct buf bodies[CALLS]; /* of their requests */
static int done_count, gate_count, start_next;
static bool gate_open = true, starting;

/* ---- the edge's user ------------------------------------------------------------------------- */

static bool on_gate(void *arg, struct http_call *call)
{
    (void)arg;
    assert_int_equal(call->first_byte_us, 0);
    gate_count++;
    return gate_open;
}

static void begin(struct http_call *call, const char *words, size_t padding);

static void on_done(void *arg, struct http_call *call)
{
    (void)arg;
    assert_false(starting); /* never from within http_start or http_abort */
    assert_null(call->arg); /* once */
    call->arg = call;
    done_count++;
    uv_stop(&loop); /* it may have ended in the timers' turn, before the loop sleeps */
    if (start_next > 0) {
        start_next--;
        begin(&calls[CALLS - 1 - start_next], "", 10);
    }
}

static struct http_target *make_target(const char *base_url, int64_t timeout_ms, bool ids)
{
    struct http_target_conf conf = {.base_url = base_url,
                                    .ca_file = "",
                                    .timeout_us = timeout_ms * 1000,
                                    .connect_timeout_us = PATIENCE_MS * 1000,
                                    .send_ids = ids};
    struct http_target *made = NULL;
    struct err err = {0};
    if (http_target_new(http, &conf, &made, &err) != RC_OK)
        fail_msg("%s", err.text);
    return made;
}

static const char *sim_url(void)
{
    static char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/", sim.port);
    return url;
}

static int setup(void **state)
{
    struct http_conf conf = {.expected_in_flight = 300, .gate = on_gate, .done = on_done};
    struct err err = {0};
    (void)state;
    done_count = gate_count = start_next = 0;
    gate_open = true;
    memset(calls, 0, sizeof calls);
    uv_loop_init(&loop);
    uv_timer_init(&loop, &late);
    if (http_new(&loop, &conf, &http, &err) != RC_OK)
        return -1;
    target = make_target(sim_url(), PATIENCE_MS, true);
    child_ask(sim.port, "POST", "/witness/reset", "");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < CALLS; i++) {
        buf_done(&bodies[i]);
        buf_done(&calls[i].reply);
    }
    http_target_free(target);
    http_free(http);
    uv_close((uv_handle_t *)&late, NULL);
    return loop_end(&loop);
}

/* `words`: modelsim's, for this request alone. */
static void begin(struct http_call *call, const char *words, size_t padding)
{
    struct err err = {0};
    call->target = call->target ? call->target : target;
    call->url_path = SPAN_LIT("/v1/chat/completions");
    call->reply_max_bytes = REPLY_MAX;
    call->number = 1;
    (void)snprintf(call->job_text, sizeof call->job_text, "018f0000-0000-7000-8000-%012d",
                   (int)(call - calls));
    call->arg = NULL;
    struct buf *body = &bodies[call - calls];
    buf_done(body);
    buf_init(body, 1 << 20);
    bool fits = buf_addf(body,
                         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\","
                         "\"content\":\"%s%s%s hello ",
                         *words ? "[[sim: " : "", words, *words ? "]]" : "");
    for (size_t i = 0; i < padding && fits; i++)
        fits = buf_add_byte(body, 'x');
    assert_true(fits && buf_add_text(body, "\"}]}"));
    call->request = buf_span(body);
    starting = true;
    if (http_start(http, call, &err) != RC_OK)
        fail_msg("%s", err.text);
    starting = false;
}

static void on_late(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void wait_done(int count)
{
    uv_timer_start(&late, on_late, PATIENCE_MS, 0);
    while (done_count < count && uv_is_active((uv_handle_t *)&late))
        uv_run(&loop, UV_RUN_DEFAULT);
    uv_timer_stop(&late);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(done_count, count);
}

static struct http_call *one(const char *words, size_t padding)
{
    static int next;
    struct http_call *call = &calls[next++ % 100];
    struct http_target *to = call->target;
    buf_done(&call->reply);
    *call = (struct http_call){.target = to};
    int before = done_count;
    begin(call, words, padding);
    wait_done(before + 1);
    call->target = NULL;
    return call;
}

static void expect(const struct http_call *call, enum http_fault fault, int status)
{
    if (call->facts.fault != fault || call->facts.status != status)
        fail_msg("fault %d, status %d (curl %d) instead of %d, %d", (int)call->facts.fault,
                 call->facts.status, call->facts.curl_code, (int)fault, status);
}

/* Turns the loop until modelsim has so many requests. */
static void wait_witnessed(long in_flight)
{
    int64_t until_us = clock_mono_us() + PATIENCE_MS * INT64_C(1000);
    while (child_witness(sim.port, "in_flight") != in_flight) {
        if (clock_mono_us() > until_us)
            fail_msg("not %ld in flight", in_flight);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
}

static long connections(void)
{
    const char *at = strstr(child_ask(sim.port, "GET", "/healthz", ""), "\"connections\":");
    return at ? strtol(at + 14, NULL, 10) : -1;
}

/* ---- one call of the server in plain.h
 * ----------------------------------------------------------- */

/* Of that server, or of another through it. */
static void ask_plain(struct http_call *call, struct http_target_conf conf)
{
    struct http_target *to = NULL;
    struct err err = {0};
    conf.ca_file = "";
    conf.timeout_us = conf.connect_timeout_us = PATIENCE_MS * 1000;
    if (http_target_new(http, &conf, &to, &err) != RC_OK)
        fail_msg("%s", err.text);
    int before = done_count;
    call->target = to;
    begin(call, "", 10);
    wait_done(before + 1);
    expect(call, HTTP_FAULT_NONE, 200);
    http_target_free(to);
    plain_end(&loop);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_a_call(void **state)
{
    (void)state;
    struct http_call *call = one("", 10);
    expect(call, HTTP_FAULT_NONE, 200);
    assert_true(call->facts.body.n > 50);
    assert_ptr_equal(call->facts.body.p, call->reply.p);
    assert_non_null(memmem(call->facts.body.p, call->facts.body.n, "\"choices\"", 9));
    assert_true(call->started_us > 0 && call->first_byte_us >= call->started_us);
    assert_true(call->done_us >= call->first_byte_us);
    assert_null(call->transfer);
    assert_int_equal(http_in_flight(http), 0);
    assert_int_equal(child_witness(sim.port, "requests"), 1);
    assert_int_equal(child_witness(sim.port, "without_job"), 0);
}

static void test_many_at_once_and_connections_kept(void **state)
{
    (void)state;
    start_next = CALLS / 2; /* the second half is started from within `done` */
    for (int i = 0; i < CALLS / 2; i++)
        begin(&calls[i], i % 2 ? "" : "latency=20ms", 200);
    assert_int_equal(http_in_flight(http), CALLS / 2);
    wait_done(CALLS);
    for (int i = 0; i < CALLS; i++)
        expect(&calls[i], HTTP_FAULT_NONE, 200);
    assert_int_equal(child_witness(sim.port, "requests"), CALLS);
    assert_int_equal(child_witness(sim.port, "jobs_repeated"), 0);
    long before = connections();
    assert_in_range(before, 2, CALLS / 2 + 2);
    for (int i = 0; i < 50; i++)
        expect(one("", 10), HTTP_FAULT_NONE, 200);
    assert_true(connections() <= before);
}

/* Twice as many as were expected: all of them go, and what is idle afterwards is not all kept. */
static void test_more_at_once_than_expected(void **state)
{
    (void)state;
    for (int i = 0; i < CALLS; i++)
        begin(&calls[i], "latency=300ms", 10);
    wait_done(CALLS);
    for (int i = 0; i < CALLS; i++)
        expect(&calls[i], HTTP_FAULT_NONE, 200);
    assert_int_equal(child_witness(sim.port, "requests"), CALLS);
}

static void test_gate_closed(void **state)
{
    (void)state;
    gate_open = false;
    struct http_call *call = one("", 10);
    expect(call, HTTP_FAULT_GATE, 0);
    assert_int_equal(gate_count, 1);
    assert_int_equal(call->first_byte_us, 0);
    assert_int_equal(child_witness(sim.port, "requests"), 0);
    gate_open = true;
    expect(one("", 10), HTTP_FAULT_NONE, 200);
}

static void test_faults_after_sending(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        enum http_fault fault;
        int status;
    } rows[] = {
        {"fault=reset-before", HTTP_FAULT_SENT, 0},
        {"fault=close-before", HTTP_FAULT_SENT, 0},
        {"fault=reset-within size=3000", HTTP_FAULT_SENT, 200},
        {"fault=close-within size=3000", HTTP_FAULT_SENT, 200},
        {"truncate=10", HTTP_FAULT_SENT, 200},
        {"size=100k", HTTP_FAULT_OVERSIZED, 200},
        {"size=100k chunked=1", HTTP_FAULT_OVERSIZED, 200},
        {"size=60k chunked=1", HTTP_FAULT_NONE, 200},
        {"drip=50/1ms", HTTP_FAULT_NONE, 200},
        {"fault=close-after", HTTP_FAULT_NONE, 200},
        {"status=503", HTTP_FAULT_NONE, 503},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http_call *call = one(rows[i].words, 10);
        expect(call, rows[i].fault, rows[i].status);
        assert_true(call->first_byte_us > 0);
        assert_true(call->reply.cap <= REPLY_MAX);
        assert_int_equal(child_witness(sim.port, "requests"), (long)i + 1);
    }
}

static void test_timeouts(void **state)
{
    (void)state;
    /* So long that the half of an answer has come in any case. */
    struct http_target *hasty = make_target(sim_url(), 4000, true);
    calls[0].target = calls[1].target = hasty;
    begin(&calls[0], "fault=hang", 10);
    begin(&calls[1], "fault=hang-within", 10);
    wait_done(2);
    expect(&calls[0], HTTP_FAULT_TIMEOUT, 0);
    expect(&calls[1], HTTP_FAULT_TIMEOUT, 200);
    assert_in_range(calls[0].done_us - calls[0].started_us, 3900000, PATIENCE_MS * 1000);
    http_target_free(hasty);
}

/* A server that accepts nobody: the connection never stands. */
static void test_connect_timeout(void **state)
{
    char url[64];
    int fds[3];
    (void)state;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    for (int i = 0; i < 3; i++)
        assert_true((fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
    assert_int_equal(bind(fds[0], (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(fds[0], 0), 0);
    assert_int_equal(getsockname(fds[0], (struct sockaddr *)&at, &n), 0);
    (void)connect(fds[1], (struct sockaddr *)&at, n); /* these two fill its queue */
    (void)connect(fds[2], (struct sockaddr *)&at, n);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(at.sin_port));
    struct http_target *deaf = make_target(url, 300, false);
    calls[0].target = deaf;
    begin(&calls[0], "", 10);
    wait_done(1);
    expect(&calls[0], HTTP_FAULT_UNSENT, 0);
    assert_int_equal(gate_count, 0);
    http_target_free(deaf);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

static void test_unsent(void **state)
{
    char tls[64];
    (void)state;
    (void)snprintf(tls, sizeof tls, "https://127.0.0.1:%d", sim.port); /* speaks no TLS */
    const char *urls[] = {"http://127.0.0.1:1", "http://nowhere.invalid", tls};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct http_target *wrong = make_target(urls[i], PATIENCE_MS, false);
        calls[i].target = wrong;
        begin(&calls[i], "", 10);
        wait_done((int)i + 1);
        expect(&calls[i], HTTP_FAULT_UNSENT, 0);
        assert_int_equal(calls[i].first_byte_us, 0);
        assert_true(calls[i].facts.curl_code != 0);
        http_target_free(wrong);
    }
    assert_int_equal(gate_count, 0);
}

static void test_hints(void **state)
{
    (void)state;
    struct http_call *call = one("status=429 retry-after=7s", 10);
    expect(call, HTTP_FAULT_NONE, 429);
    assert_string_equal(call->facts.retry_after, "7");
    call = one("status=429 retry-after=1500ms retry-form=ms", 10);
    assert_string_equal(call->facts.retry_after_ms, "1500");
    call = one("status=429 retry-after=8s retry-form=date", 10);
    assert_non_null(strstr(call->facts.retry_after, "GMT"));
    call = one("status=429 retry-after=9s retry-form=provider", 10);
    assert_string_equal(call->facts.retry_after, "9");
    call = one("status=429 retry-after=2s retry-form=reset", 10);
    assert_int_equal(call->facts.rate.count, 2);
    assert_int_equal(call->facts.rate.slots[0].remaining, 0);
    assert_int_equal(call->facts.rate.slots[0].reset.us, 2000 * 1000);
    call = one("header=\\\"X-Request-ID: abc-123\\\"", 10);
    assert_string_equal(call->facts.request_id, "abc-123");
    call = one("header=\\\"date: Sat, 21 Nov 2026 10:00:00 GMT\\\"", 10);
    assert_string_equal(call->facts.date, "Sat, 21 Nov 2026 10:00:00 GMT");
    call = one("", 10);
    assert_memory_equal(call->facts.request_id, "req-", 4);
    assert_string_equal(call->facts.date, ""); /* nothing stays from the call before */
    assert_int_equal(call->facts.rate.count, 0);
    assert_string_equal(call->facts.retry_after, "");
}

/* An error's connection is not used again, so the server's death behind it hurts nobody. */
static void test_error_connections_are_dropped(void **state)
{
    (void)state;
    static const char *const words[] = {"status=500 fault=die-reset", "status=400 fault=die-close",
                                        "status=429 fault=die-hang"};
    long sent = 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        for (int again = 0; again < 3; again++) {
            assert_true(one(words[i], 10)->facts.status >= 400);
            expect(one("", 10), HTTP_FAULT_NONE, 200);
            assert_int_equal(child_witness(sim.port, "requests"), sent += 2);
        }
}

/* The connection of a good answer dies under the next request: that one is not sent again, whether
 * its body leaves with its head (small) or behind it (large). */
static void test_no_second_sending(void **state)
{
    (void)state;
    static const char *const words[] = {"fault=die-reset", "fault=die-close"};
    static const size_t paddings[] = {10, 70 << 10, 300 << 10};
    long sent = 0;
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof paddings / sizeof paddings[0]; k++) {
            int gates = gate_count;
            expect(one(words[i], 10), HTTP_FAULT_NONE, 200);
            expect(one("content=ok", paddings[k]), HTTP_FAULT_SENT, 0);
            assert_int_equal(child_witness(sim.port, "requests"), sent += 2);
            assert_int_equal(gate_count, gates + 2); /* the second sending never got that far */
            expect(one("content=ok", paddings[k]), HTTP_FAULT_NONE, 200);
            sent++;
        }
    assert_int_equal(child_witness(sim.port, "jobs_repeated"), 0);
}

static void test_abort(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        begin(&calls[i], "latency=4s", 10);
    wait_witnessed(10);
    for (int i = 10; i < 13; i++)
        begin(&calls[i], "", 10); /* these have not left yet */
    starting = true;
    http_abort(http, &calls[3]);
    http_abort(http, &calls[3]);
    http_abort(http, &calls[4]);
    http_abort(http, &calls[11]);
    http_abort(http, &calls[12]);
    starting = false;
    assert_int_equal(done_count, 0);
    wait_done(13);
    for (int i = 0; i < 13; i++) {
        bool aborted = i == 3 || i == 4 || i == 11 || i == 12;
        expect(&calls[i], aborted ? HTTP_FAULT_ABORTED : HTTP_FAULT_NONE, aborted ? 0 : 200);
    }
    assert_int_equal(calls[12].first_byte_us, 0);
    assert_int_equal(child_witness(sim.port, "requests"), 11);
    http_abort(http, &calls[0]); /* over: nothing to do */
    expect(one("", 10), HTTP_FAULT_NONE, 200);
    assert_int_equal(http_in_flight(http), 0);
}

static void test_free_after_abort(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        begin(&calls[i], "latency=1000s", 10);
    wait_witnessed(5);
    for (int i = 0; i < 5; i++)
        http_abort(http, &calls[i]);
    http_free(http); /* says so of each */
    assert_int_equal(done_count, 5);
    uv_run(&loop, UV_RUN_DEFAULT);
    struct http_conf conf = {.expected_in_flight = 1, .gate = on_gate, .done = on_done};
    struct err err = {0};
    assert_int_equal(http_new(&loop, &conf, &http, &err), RC_OK);
}

/* A key of its own for each call, and only where the endpoint declares that it takes one. */
static void test_idempotency_key(void **state)
{
    (void)state;
    plain_begin(&loop, false, "");
    ask_plain(&calls[7],
              (struct http_target_conf){.base_url = plain_url(), .idempotency_key = true});
    assert_non_null(
        strstr(plain_head(), "\r\nIdempotency-Key: 018f0000-0000-7000-8000-000000000007-1\r\n"));
    assert_null(strcasestr(plain_head(), "x-inferq-"));
    plain_begin(&loop, false, "");
    ask_plain(&calls[8], (struct http_target_conf){.base_url = plain_url(), .send_ids = true});
    assert_null(strcasestr(plain_head(), "idempotency"));
    assert_non_null(
        strstr(plain_head(), "\r\nx-inferq-job: 018f0000-0000-7000-8000-000000000008\r\n"));
    assert_non_null(strstr(plain_head(), "\r\nx-inferq-call: 1\r\n"));
}

/* The trace goes on as it came; what is no token would be a header of somebody else's making. */
static void test_trace_headers(void **state)
{
    (void)state;
    plain_begin(&loop, false, "");
    calls[0].traceparent = SPAN_LIT("00-abc-def-01");
    ask_plain(&calls[0], (struct http_target_conf){.base_url = plain_url()});
    assert_non_null(strstr(plain_head(), "\r\ntraceparent: 00-abc-def-01\r\n"));
    plain_begin(&loop, false, "");
    calls[1].traceparent = SPAN_LIT("00-abc\r\nx-evil: 1");
    ask_plain(&calls[1], (struct http_target_conf){.base_url = plain_url()});
    assert_null(strcasestr(plain_head(), "traceparent"));
    assert_null(strcasestr(plain_head(), "x-evil"));
}

/* In any case of letters, and from every place where the edge looks for one. */
static void test_rate_limit_headers(void **state)
{
    (void)state;
    static const struct {
        const char *headers;
        enum rate_dimension dimension;
        int64_t remaining, reset_us;
    } rows[] = {
        {"X-RateLimit-Remaining-Requests: 3\r\nx-ratelimit-reset-requests: 1s\r\n", RATE_REQUESTS,
         3, 1000000},
        {"Anthropic-RateLimit-Output-Tokens-Remaining: 0\r\n", RATE_OUTPUT, 0, -1},
        {"RateLimit: \"default\";r=50;t=30\r\n", RATE_REQUESTS, 50, 30000000},
        {"llm_provider-x-ratelimit-remaining-tokens: 5\r\n", RATE_TOKENS, 5, -1},
        {"Retry-After: 5\r\nx-request-id: ratelimit\r\nx-: 1\r\nr: 1\r\n", RATE_REQUESTS, -1, -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rate_told told;
        plain_begin(&loop, false, rows[i].headers);
        ask_plain(&calls[i], (struct http_target_conf){.base_url = plain_url()});
        rate_headers_read(&calls[i].facts.rate, "", 0, &told);
        assert_int_equal(told.of[rows[i].dimension].remaining, rows[i].remaining);
        assert_int_equal(told.of[rows[i].dimension].reset_us, rows[i].reset_us);
    }
}

static void test_proxy(void **state)
{
    (void)state;
    plain_begin(&loop, false, "");
    setenv("http_proxy", plain_url(), 1);
    ask_plain(&calls[0], (struct http_target_conf){.base_url = "http://model.invalid"});
    unsetenv("http_proxy");
    assert_memory_equal(plain_head(), "POST http://model.invalid/v1/chat/completions ", 46);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

static void test_ipv6(void **state)
{
    (void)state;
    if (!has_ipv6())
        skip(); /* some containers have no ::1 */
    plain_begin(&loop, true, "");
    ask_plain(&calls[1], (struct http_target_conf){.base_url = plain_url()});
    assert_memory_equal(plain_head(), "POST /v1/chat/completions ", 26);
}

static void test_credential(void **state)
{
    (void)state;
    const char *argv[] = {"modelsim",      "--port",        "0", "--port-file", "@PORT",
                          "--require-key", "k-123456789-z", NULL};
    struct child strict = child_start(argv);
    struct secret *secret = NULL;
    struct err err = {0};
    char url[64];
    setenv("INFERQ_TEST_KEY", "k-123456789-z", 1);
    assert_int_equal(secret_load("env:INFERQ_TEST_KEY", &secret, &err), RC_OK);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", strict.port);
    struct http_target_conf conf = {.base_url = url,
                                    .ca_file = "",
                                    .timeout_us = PATIENCE_MS * 1000,
                                    .connect_timeout_us = PATIENCE_MS * 1000,
                                    .credential = secret};
    struct http_target *with = NULL;
    assert_int_equal(http_target_new(http, &conf, &with, &err), RC_OK);
    struct http_target *without = make_target(url, PATIENCE_MS, false);
    calls[0].target = with;
    calls[1].target = without;
    begin(&calls[0], "", 10);
    begin(&calls[1], "", 10);
    wait_done(2);
    expect(&calls[0], HTTP_FAULT_NONE, 200);
    expect(&calls[1], HTTP_FAULT_NONE, 401);
    calls[2].target = without; /* the handle that bore the key bears it no more */
    calls[3].target = without;
    begin(&calls[2], "", 10);
    begin(&calls[3], "", 10);
    wait_done(4);
    expect(&calls[2], HTTP_FAULT_NONE, 401);
    expect(&calls[3], HTTP_FAULT_NONE, 401);
    http_target_free(with);
    http_target_free(without);
    secret_free(secret);
    child_stop(&strict);
}

static void test_certificates(void **state)
{
    (void)state;
    static const char server[] =
        "import http.server, os, ssl, subprocess, sys, tempfile, signal\n"
        "signal.signal(signal.SIGTERM, lambda *a: os._exit(0))\n"
        "pem = sys.argv[2]\n"
        "subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', "
        "'2',\n"
        " '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', pem,\n"
        " '-out', pem + '.crt'], check=True, stderr=subprocess.DEVNULL)\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    protocol_version = 'HTTP/1.1'\n"
        "    def log_message(self, *a): pass\n"
        "    def do_POST(self):\n"
        "        self.rfile.read(int(self.headers['content-length']))\n"
        "        self.send_response(200)\n"
        "        self.send_header('content-length', '2')\n"
        "        self.end_headers()\n"
        "        self.wfile.write(b'{}')\n"
        "s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)\n"
        "c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        "c.load_cert_chain(pem + '.crt', pem)\n"
        "s.socket = c.wrap_socket(s.socket, server_side=True)\n"
        "open(sys.argv[1], 'w').write(str(s.server_port))\n"
        "s.serve_forever()\n";
    char directory[] = "/tmp/inferq-live-XXXXXX", key[64], crt[64], url[64];
    assert_non_null(mkdtemp(directory));
    (void)snprintf(key, sizeof key, "%s/key", directory);
    (void)snprintf(crt, sizeof crt, "%s/key.crt", directory);
    const char *argv[] = {"/usr/bin/python3", "-c", server, "@PORT", key, NULL};
    struct child tls = child_start(argv);
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%d", tls.port);
    struct http_target *stranger = make_target(url, PATIENCE_MS, false), *known = NULL;
    struct http_target_conf conf = {.base_url = url,
                                    .ca_file = crt,
                                    .timeout_us = PATIENCE_MS * 1000,
                                    .connect_timeout_us = PATIENCE_MS * 1000};
    struct err err = {0};
    assert_int_equal(http_target_new(http, &conf, &known, &err), RC_OK);
    for (int i = 0; i < 6; i++) { /* the same easy handles serve both in turn */
        calls[i].target = i % 2 ? known : stranger;
        begin(&calls[i], "", 10);
        wait_done(i + 1);
        expect(&calls[i], i % 2 ? HTTP_FAULT_NONE : HTTP_FAULT_TLS_CONFIG, i % 2 ? 200 : 0);
    }
    assert_int_equal(gate_count, 3);
    http_target_free(stranger);
    http_target_free(known);
    child_stop(&tls);
    unlink(key);
    unlink(crt);
    rmdir(directory);
}

static void test_out_of_descriptors(void **state)
{
    struct rlimit old, none;
    (void)state;
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(lowest >= 0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    begin(&calls[0], "", 10);
    begin(&calls[1], "", 10);
    wait_done(2);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    expect(&calls[0], HTTP_FAULT_LOCAL, 0);
    expect(&calls[1], HTTP_FAULT_LOCAL, 0);
    expect(one("", 10), HTTP_FAULT_NONE, 200);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "", "ftp://x", "http://u:p@host", "http://host/?a=b", "no url at all", "http://"};
    struct err err = {0};
    struct http_target *none = NULL;
    struct http_target_conf conf = {.ca_file = "", .timeout_us = 1, .connect_timeout_us = 1};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        conf.base_url = urls[i];
        assert_int_equal(http_target_new(http, &conf, &none, &err), RC_REJECT);
        assert_null(strstr(err.text, "u:p"));
    }
    conf.base_url = "https://host";
    conf.ca_file = "/nonexistent/ca.pem";
    assert_int_equal(http_target_new(http, &conf, &none, &err), RC_REJECT);
    struct secret *secret = NULL; /* it would end its header */
    setenv("INFERQ_TEST_KEY", "k-1\rx-evil: 1", 1);
    assert_int_equal(secret_load("env:INFERQ_TEST_KEY", &secret, &err), RC_OK);
    conf = (struct http_target_conf){
        .base_url = "http://host", .ca_file = "", .credential = secret, .timeout_us = 1};
    assert_int_equal(http_target_new(http, &conf, &none, &err), RC_REJECT);
    assert_null(strstr(err.text, "k-1"));
    secret_free(secret);
    assert_null(none);
    http_target_free(none);

    static const char *const paths[] = {"", "v1", "/v1 HTTP/1.1", "/v1\r\nx: y", "/\xc3\xa4"};
    struct http_call call = {.target = target, .reply_max_bytes = 100};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        call.url_path = span_of(paths[i]);
        assert_int_equal(http_start(http, &call, &err), RC_REJECT);
    }
    assert_int_equal(http_in_flight(http), 0);
}

static int start_sim(void **state)
{
    const char *argv[] = {"modelsim", "--port", "0", "--port-file", "@PORT", NULL};
    (void)state;
    sim = child_start(argv);
    return 0;
}

static int stop_sim(void **state)
{
    (void)state;
    child_stop(&sim);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_call),
        TEST(test_many_at_once_and_connections_kept),
        TEST(test_more_at_once_than_expected),
        TEST(test_gate_closed),
        TEST(test_faults_after_sending),
        TEST(test_timeouts),
        TEST(test_connect_timeout),
        TEST(test_unsent),
        TEST(test_hints),
        TEST(test_error_connections_are_dropped),
        TEST(test_no_second_sending),
        TEST(test_abort),
        TEST(test_free_after_abort),
        TEST(test_idempotency_key),
        TEST(test_trace_headers),
        TEST(test_rate_limit_headers),
        TEST(test_proxy),
        TEST(test_ipv6),
        TEST(test_credential),
        TEST(test_certificates),
        TEST(test_out_of_descriptors),
        TEST(test_refused),
    };
    if (getenv("INFERQ_TEST_ONLY"))
        cmocka_set_test_filter(getenv("INFERQ_TEST_ONLY"));
    return cmocka_run_group_tests(tests, start_sim, stop_sim);
}
