/*
 * ops.c - the port for people and machines that watch: GET /metrics, /livez, /readyz.
 *
 * Happy path: libmicrohttpd keeps its connections in an epoll of its own, which the loop watches;
 * when it wakes, or a connection's time is over, MHD_run serves what there is. Answers are made
 * whole in memory. Failure: other paths 404, other methods 405; a client that is slow, idle or one
 * too many is closed; metrics past their cap are 500, never a part of them.
 */
#include "worker/ops.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include <microhttpd.h>

#include "common/buf.h"

enum {
    CONNECTIONS_MAX = 64,
    CONNECTION_BYTES = 16 << 10,
    IDLE_S = 15,
    RUN_EVERY_MS = 1000, /* at the limit of connections it listens again only when run */
    METRICS_MAX_BYTES = 4 << 20,
    WHY_BYTES = 256,
    HOST_BYTES = 64,
};

struct ops {
    struct ops_conf conf;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    int open_handles;
    int port;
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* ---- answers --------------------------------------------------------------------------------- */

/* `body` is copied. */
static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *body)
{
    char line[WHY_BYTES + 2];
    int n = snprintf(line, sizeof line, "%s\n", body);
    struct MHD_Response *response =
        MHD_create_response_from_buffer((size_t)n, line, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "text/plain; charset=utf-8");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, "Allow", "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_metrics(struct ops *o, struct MHD_Connection *connection)
{
    struct buf out;
    size_t n = 0;
    buf_init(&out, METRICS_MAX_BYTES);
    o->conf.before_metrics(o->conf.arg);
    char *text = metrics_render(o->conf.metrics, &out) ? buf_take(&out, &n) : NULL;
    buf_done(&out);
    if (!text)
        return answer_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "metrics do not fit");
    struct MHD_Response *response = MHD_create_response_from_buffer(n, text, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    enum MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_ready(struct ops *o, struct MHD_Connection *connection)
{
    char why[WHY_BYTES] = "";
    bool ready = o->conf.ready(o->conf.arg, why, (int)sizeof why);
    return answer_text(connection, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
                       ready ? "ready" : why);
}

static enum MHD_Result answer_live(struct ops *o, struct MHD_Connection *connection)
{
    bool live = o->conf.live(o->conf.arg);
    return answer_text(connection, live ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
                       live ? "live" : "not live");
}

/* libmicrohttpd calls it with the head, with each piece of a body, and at the end. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *piece,
                                  size_t *piece_bytes, void **request)
{
    static char head_seen;
    struct ops *o = arg;
    (void)version, (void)piece;
    if (!*request) {
        *request = &head_seen;
        return MHD_YES;
    }
    if (*piece_bytes > 0) {
        *piece_bytes = 0; /* thrown away */
        return MHD_YES;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
    if (strcmp(path, "/metrics") == 0)
        return answer_metrics(o, connection);
    if (strcmp(path, "/readyz") == 0)
        return answer_ready(o, connection);
    if (strcmp(path, "/livez") == 0)
        return answer_live(o, connection);
    return answer_text(connection, MHD_HTTP_NOT_FOUND, "only /metrics, /livez and /readyz");
}

/* ---- the loop's side ------------------------------------------------------------------------- */

static void serve(struct ops *o);

static void on_timer(uv_timer_t *timer)
{
    serve(timer->data);
}

static void serve(struct ops *o)
{
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    MHD_run(o->daemon);
    if (MHD_get_timeout(o->daemon, &wait_ms) != MHD_YES || wait_ms > RUN_EVERY_MS)
        wait_ms = RUN_EVERY_MS;
    uv_timer_start(&o->timer, on_timer, wait_ms, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    serve(poll->data);
}

/* ---- where to listen ------------------------------------------------------------------------- */

static bool parse_port(const char *text, uint16_t *ret_port)
{
    char *end;
    errno = 0;
    long port = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || port < 0 || port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

/* "HOST:PORT", "[HOST]:PORT", ":PORT". */
static bool parse_listen(const char *text, union address *ret_address)
{
    char host[HOST_BYTES] = "";
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : sizeof host;
    uint16_t port;
    if (n >= sizeof host || !parse_port(colon + 1, &port))
        return false;
    bool brackets = n >= 2 && text[0] == '[' && text[n - 1] == ']';
    memcpy(host, brackets ? text + 1 : text, brackets ? n - 2 : n);
    *ret_address = (union address){.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};
    if (n == 0 || (brackets && inet_pton(AF_INET6, host, &ret_address->v6.sin6_addr) == 1))
        return true; /* in6addr_any is all zero */
    *ret_address = (union address){.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};
    return !brackets && inet_pton(AF_INET, host, &ret_address->v4.sin_addr) == 1;
}

static struct MHD_Daemon *start_daemon(struct ops *o, const union address *address, bool dual)
{
    unsigned flags = MHD_USE_EPOLL;
    if (address->any.sa_family == AF_INET6)
        flags |= dual ? MHD_USE_DUAL_STACK : MHD_USE_IPv6;
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, o, MHD_OPTION_SOCK_ADDR,
                            &address->any, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_END);
}

static enum rc start(struct ops *o, struct err *err)
{
    union address address;
    if (!parse_listen(o->conf.listen, &address))
        return err_set(err, RC_REJECT, "listen = %.64s: write ADDRESS:PORT, [IPV6]:PORT or :PORT",
                       o->conf.listen);
    bool all = o->conf.listen[0] == ':';
    o->daemon = start_daemon(o, &address, all);
    if (!o->daemon && all) { /* no IPv6 in this kernel or container */
        address.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = address.v6.sin6_port};
        o->daemon = start_daemon(o, &address, false);
    }
    if (!o->daemon)
        return err_set(err, RC_REJECT, "cannot listen on %.64s: %s%s", o->conf.listen,
                       strerror(errno),
                       errno == EADDRINUSE ? ": each worker of a machine wants a port of its own, "
                                             "such as --listen 127.0.0.1:9465 (0 takes a free one)"
                                           : "");
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(o->daemon, MHD_DAEMON_INFO_BIND_PORT);
    o->port = info ? info->port : 0;
    return RC_OK;
}

static enum rc join_loop(struct ops *o, struct uv_loop_s *loop, struct err *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(o->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || uv_poll_init(loop, &o->poll, info->epoll_fd) != 0)
        return err_set(err, RC_FATAL, "the port %d cannot be watched", o->port);
    uv_timer_init(loop, &o->timer);
    o->poll.data = o->timer.data = o;
    o->open_handles = 2;
    uv_poll_start(&o->poll, UV_READABLE, on_poll);
    uv_timer_start(&o->timer, on_timer, RUN_EVERY_MS, 0);
    return RC_OK;
}

enum rc ops_new(struct uv_loop_s *loop, const struct ops_conf *conf, struct ops **ret_ops,
                struct err *err)
{
    struct ops *o = calloc(1, sizeof *o);
    if (!o)
        return err_set(err, RC_NOMEM, "no memory for the port %.64s", conf->listen);
    o->conf = *conf;
    enum rc rc = start(o, err);
    if (rc == RC_OK)
        rc = join_loop(o, loop, err);
    if (rc != RC_OK) {
        if (o->daemon)
            MHD_stop_daemon(o->daemon);
        free(o);
        return rc;
    }
    *ret_ops = o;
    return RC_OK;
}

int ops_port(const struct ops *o)
{
    return o->port;
}

static void on_closed(uv_handle_t *handle)
{
    struct ops *o = handle->data;
    if (--o->open_handles == 0)
        free(o);
}

void ops_free(struct ops *o)
{
    if (!o)
        return;
    uv_close((uv_handle_t *)&o->poll, on_closed); /* first, as the daemon's epoll goes with it */
    uv_close((uv_handle_t *)&o->timer, on_closed);
    MHD_stop_daemon(o->daemon);
}
