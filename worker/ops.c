/*
 * ops.c - see ops.h. libmicrohttpd with an epoll of its own, which the loop watches.
 *
 * Happy path: the epoll descriptor becomes readable, MHD_run serves what is ready; its own timeouts
 * are kept by a timer. Slow or many clients are bounded (connections, memory, seconds each) and
 * never hold up the loop.
 */
#include "worker/ops.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "common/buf.h"

enum {
    CONNECTIONS_MAX = 64,
    CONNECTION_BYTES = 16 << 10,
    CONNECTION_SECONDS = 10,
    PAGE_BYTES_MAX = 8 << 20,
    WHY_BYTES = 128,
    HOST_BYTES = 256,
    TIMER_MS = 1000,
};

struct ops {
    struct ops_conf conf;
    struct MHD_Daemon *daemon;
    uv_poll_t *poll;
    uv_timer_t *timer;
};

/* ---- pages --------------------------------------------------------------------------------------
 */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              const void *body, size_t n)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(n, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result text(struct MHD_Connection *connection, unsigned status, const char *line)
{
    return answer(connection, status, "text/plain; charset=utf-8", line, strlen(line));
}

static enum MHD_Result metrics_page(struct ops *o, struct MHD_Connection *connection)
{
    struct buf page;
    buf_init(&page, PAGE_BYTES_MAX);
    o->conf.before_metrics(o->conf.arg);
    enum MHD_Result result =
        metrics_render(o->conf.metrics, &page)
            ? answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", page.p,
                     page.n)
            : text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "the page is too large\n");
    buf_done(&page);
    return result;
}

static enum MHD_Result ready_page(struct ops *o, struct MHD_Connection *connection)
{
    char why[WHY_BYTES] = "", line[WHY_BYTES + 2];
    bool ready = o->conf.ready(o->conf.arg, why, sizeof why);
    snprintf(line, sizeof line, "%s\n", ready ? "ready" : why);
    return text(connection, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, line);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_bytes, void **request)
{
    struct ops *o = arg;
    (void)version, (void)upload, (void)upload_bytes, (void)request;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    if (strcmp(url, "/metrics") == 0)
        return metrics_page(o, connection);
    if (strcmp(url, "/readyz") == 0)
        return ready_page(o, connection);
    if (strcmp(url, "/livez") == 0)
        return o->conf.live(o->conf.arg)
                   ? text(connection, MHD_HTTP_OK, "alive\n")
                   : text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "stopping\n");
    return text(connection, MHD_HTTP_NOT_FOUND, "there are /metrics, /livez and /readyz\n");
}

/* ---- the loop
 * ------------------------------------------------------------------------------------- */

static void run(struct ops *o)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms = TIMER_MS;
    MHD_run(o->daemon);
    if (MHD_get_timeout(o->daemon, &timeout_ms) != MHD_YES || timeout_ms > TIMER_MS)
        timeout_ms = TIMER_MS;
    uv_timer_start(o->timer, o->timer->timer_cb, timeout_ms, 0);
}

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    run(poll->data);
}

/* ---- making
 * ------------------------------------------------------------------------------------------ */

/* "host:port", "[v6]:port", ":port" into its parts. */
static enum rc split(const char *listen, char host[HOST_BYTES], const char **ret_port,
                     struct err *err)
{
    const char *colon = strrchr(listen, ':');
    size_t n = colon ? (size_t)(colon - listen) : 0;
    if (!colon || !colon[1] || n >= HOST_BYTES)
        return err_set(err, RC_REJECT, "listen = %s: write HOST:PORT, [IPv6]:PORT or :PORT",
                       listen);
    const char *from = listen;
    if (n >= 2 && from[0] == '[' && from[n - 1] == ']') {
        from++;
        n -= 2;
    }
    memcpy(host, from, n);
    host[n] = '\0';
    *ret_port = colon + 1;
    return RC_OK;
}

static enum rc bind_to(const char *listen_at, int *ret_fd, struct err *err)
{
    char host[HOST_BYTES];
    const char *port = NULL;
    enum rc rc = split(listen_at, host, &port, err);
    if (rc != RC_OK)
        return rc;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *at = NULL;
    int looked_up = getaddrinfo(host[0] ? host : NULL, port, &hints, &at);
    if (looked_up != 0)
        return err_set(err, RC_REJECT, "listen = %s: %s", listen_at, gai_strerror(looked_up));
    int one = 1;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, CONNECTIONS_MAX) != 0) {
        rc = err_set(err, RC_REJECT, "listen = %s: %s", listen_at, strerror(errno));
        if (fd >= 0)
            close(fd);
    } else {
        *ret_fd = fd;
    }
    freeaddrinfo(at);
    return rc;
}

static enum rc watch(struct ops *o, struct uv_loop_s *loop, struct err *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(o->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    uv_poll_t *poll = calloc(1, sizeof *poll);
    uv_timer_t *timer = calloc(1, sizeof *timer);
    if (!info || !poll || !timer || uv_poll_init(loop, poll, info->epoll_fd) != 0) {
        free(poll);
        free(timer);
        return err_set(err, RC_NOMEM, "no memory for the metrics server");
    }
    o->poll = poll;
    o->timer = timer;
    uv_timer_init(loop, timer);
    poll->data = timer->data = o;
    uv_poll_start(poll, UV_READABLE, on_poll);
    uv_timer_start(timer, on_timer, 0, 0);
    return RC_OK;
}

enum rc ops_new(struct uv_loop_s *loop, const struct ops_conf *conf, struct ops **ret_ops,
                struct err *err)
{
    int fd = -1;
    struct ops *o = calloc(1, sizeof *o);
    if (!o)
        return err_set(err, RC_NOMEM, "no memory for the metrics server");
    o->conf = *conf;
    enum rc rc = bind_to(conf->listen, &fd, err);
    if (rc == RC_OK) {
        o->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, o,
                                     MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                                     (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                     (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
                                     (unsigned)CONNECTION_SECONDS, MHD_OPTION_END);
        if (!o->daemon) {
            close(fd);
            rc = err_set(err, RC_FATAL, "the metrics server cannot be started");
        }
    }
    if (rc == RC_OK)
        rc = watch(o, loop, err);
    if (rc == RC_OK)
        *ret_ops = o;
    else
        ops_free(o);
    return rc;
}

int ops_port(const struct ops *o)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(o->daemon, MHD_DAEMON_INFO_LISTEN_FD);
    struct sockaddr_storage at;
    socklen_t n = sizeof at;
    char port[NI_MAXSERV] = "0";
    if (info && getsockname(info->listen_fd, (struct sockaddr *)&at, &n) == 0)
        (void)getnameinfo((struct sockaddr *)&at, n, NULL, 0, port, sizeof port, NI_NUMERICSERV);
    return (int)strtol(port, NULL, 10);
}

static void handle_closed(uv_handle_t *handle)
{
    free(handle);
}

void ops_free(struct ops *o)
{
    if (!o)
        return;
    if (o->poll)
        uv_close((uv_handle_t *)o->poll, handle_closed);
    if (o->timer)
        uv_close((uv_handle_t *)o->timer, handle_closed);
    if (o->daemon)
        MHD_stop_daemon(o->daemon);
    free(o);
}
