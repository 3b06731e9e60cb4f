/*
 * test_ops.c - the port for watchers, asked with plain sockets while the loop turns.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <uv.h>

#include "common/clock.h"
#include "tests/live/loop.h"
#include "worker/ops.h"

enum { PATIENCE_US = 60 * 1000 * 1000 };

static const struct metric_def defs[] = {
    {.name = "inferq_test_total", .type = METRIC_COUNTER, .labels = {"kind"}, .help = "Tests."},
    {.name = "inferq_big", .type = METRIC_GAUGE, .labels = {"n"}, .help = "Many."},
    {0},
};

static uv_loop_t loop;
static struct metrics *metrics;
static struct ops *ops;
static bool ready, live;
static int refreshed;

static void before_metrics(void *arg)
{
    refreshed++;
    metric_add(metrics_series(arg, 0, "seen", NULL, NULL), 1);
}

static bool is_live(void *arg)
{
    (void)arg;
    return live;
}

static bool is_ready(void *arg, char *why, int why_bytes)
{
    (void)arg;
    if (!ready)
        (void)snprintf(why, (size_t)why_bytes, "Kafka is away");
    return ready;
}

static struct ops_conf conf_for(const char *listen)
{
    return (struct ops_conf){.listen = listen,
                             .arg = metrics,
                             .before_metrics = before_metrics,
                             .live = is_live,
                             .ready = is_ready,
                             .metrics = metrics};
}

static int setup(void **state)
{
    struct err err = {0};
    (void)state;
    ready = live = true;
    refreshed = 0;
    uv_loop_init(&loop);
    metrics = metrics_new(defs);
    struct ops_conf conf = conf_for("127.0.0.1:0");
    return ops_new(&loop, &conf, &ops, &err) == RC_OK && ops_port(ops) > 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    ops_free(ops);
    int result = loop_end(&loop);
    metrics_free(metrics);
    return result;
}

static int dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* The whole reply to these bytes; the server must close in the end. */
static char *say(int port, const char *bytes, size_t n)
{
    enum { REPLY_BYTES = 1 << 20 };
    char *reply = calloc(1, REPLY_BYTES);
    size_t got = 0;
    int64_t until = clock_mono_us() + PATIENCE_US;
    int fd = dial(port);
    for (size_t sent = 0; sent < n;) {
        ssize_t k = send(fd, bytes + sent, n - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k < 0 && errno != EAGAIN)
            break; /* closed on us: what it said is read below */
        sent += k > 0 ? (size_t)k : 0;
        if (clock_mono_us() > until)
            fail_msg("it takes no more than %zu bytes", sent);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    for (;;) {
        ssize_t k = recv(fd, reply + got, REPLY_BYTES - 1 - got, MSG_DONTWAIT);
        if (k == 0 || (k < 0 && errno == ECONNRESET))
            break;
        got += k > 0 ? (size_t)k : 0;
        if (clock_mono_us() > until)
            fail_msg("no end of the reply: %s", reply);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    close(fd);
    return reply;
}

static char *ask(const char *line)
{
    char request[256];
    int n = snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                     line);
    return say(ops_port(ops), request, (size_t)n);
}

static void expect(const char *line, const char *status, const char *part)
{
    char *reply = ask(line);
    if (strncmp(reply, status, strlen(status)) != 0 || !strstr(reply, part))
        fail_msg("%s: %s", line, reply);
    free(reply);
}

static void test_answers(void **state)
{
    (void)state;
    expect("GET /metrics", "HTTP/1.1 200", "\ninferq_test_total{kind=\"seen\"} 1\n");
    expect("GET /metrics", "HTTP/1.1 200", "\ninferq_test_total{kind=\"seen\"} 2\n");
    expect("GET /metrics", "HTTP/1.1 200", "text/plain; version=0.0.4");
    assert_int_equal(refreshed, 3);
    expect("GET /livez", "HTTP/1.1 200", "\r\n\r\nlive\n");
    expect("GET /readyz", "HTTP/1.1 200", "\r\n\r\nready\n");
    ready = live = false;
    expect("GET /livez", "HTTP/1.1 503", "\r\n\r\nnot live\n");
    expect("GET /readyz", "HTTP/1.1 503", "\r\n\r\nKafka is away\n");
    expect("GET /", "HTTP/1.1 404", "/readyz");
    expect("GET /metrics/", "HTTP/1.1 404", "/readyz");
    expect("DELETE /metrics", "HTTP/1.1 405", "Allow: GET, HEAD");
    char *head = ask("HEAD /readyz");
    assert_non_null(strstr(head, "HTTP/1.1 503"));
    assert_null(strstr(head, "away"));
    free(head);
}

static void test_post_with_a_body(void **state)
{
    (void)state;
    static const char request[] = "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                  "Content-Length: 5\r\n\r\nhello";
    char *reply = say(ops_port(ops), request, sizeof request - 1);
    assert_non_null(strstr(reply, "HTTP/1.1 405"));
    free(reply);
    assert_int_equal(refreshed, 0);
}

static void test_nonsense(void **state)
{
    (void)state;
    static char noise[64 << 10];
    memset(noise, 'x', sizeof noise);
    memcpy(noise, "GET /metrics HTTP/1.1\r\nX: ", 26);
    free(say(ops_port(ops), noise, sizeof noise)); /* headers past the memory of a connection */
    assert_int_equal(refreshed, 0);
    expect("GET /livez", "HTTP/1.1 200", "live");
}

/* More connections than are served: those past the limit are closed, the next is served again. */
static void test_too_many_connections(void **state)
{
    (void)state;
    int fds[100];
    for (int i = 0; i < 100; i++) {
        fds[i] = dial(ops_port(ops));
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    for (int i = 0; i < 100; i++)
        close(fds[i]);
    for (int i = 0; i < 200; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    expect("GET /livez", "HTTP/1.1 200", "live");
}

static void test_listen(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",       "9464",  "host:1",     "127.0.0.1:x",  "127.0.0.1:65536",
        "[::1:5", "::1:5", "127.0.0.1:", "[127.0.0.1]:0"};
    struct err err = {0};
    struct ops *other = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct ops_conf conf = conf_for(wrong[i]);
        if (ops_new(&loop, &conf, &other, &err) != RC_REJECT)
            fail_msg("%s is accepted", wrong[i]);
    }
    char taken[32];
    (void)snprintf(taken, sizeof taken, "127.0.0.1:%d", ops_port(ops));
    struct ops_conf conf = conf_for(taken);
    assert_int_equal(ops_new(&loop, &conf, &other, &err), RC_REJECT);
    assert_non_null(strstr(err.text, taken));

    conf = conf_for(":0");
    assert_int_equal(ops_new(&loop, &conf, &other, &err), RC_OK);
    char *reply = say(ops_port(other), "GET /livez HTTP/1.0\r\n\r\n", 23);
    assert_non_null(strstr(reply, "200"));
    free(reply);
    ops_free(other);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers), TEST(test_post_with_a_body),     TEST(test_nonsense),
        TEST(test_listen),  TEST(test_too_many_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
