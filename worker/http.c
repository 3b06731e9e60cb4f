/*
 * http.c - libcurl's multi handles on the loop: descriptors, timers, starts and ends.
 *
 * Happy path: http_start puts a call in a queue, from which each turn of the loop begins some (a
 * batch of claims may grant hundreds); its transfer goes to the pool with the least to do; libcurl
 * names the descriptors and the time it waits for; libuv wakes it (on_ready, on_timer); each time,
 * `reap` takes what has ended off its multi handle and calls `done`.
 *
 * Why an epoll of our own, which libuv watches as one descriptor: what is ready is taken a little
 * at a time, so that a turn stays short; and libuv's own watching costs six kernel calls a
 * connection instead of two, and 200 bytes.
 *
 * Why several multi handles: each searches its connections one by one, for every start and for
 * every end, so that with 10,000 in flight on one handle nearly all time goes into that search; and
 * with thousands each look is at memory that no cache holds any more, so that handles are smaller
 * then. (Smaller still costs more memory than it saves time: a handle's tables take 35 KiB.)
 *
 * Failure modes: no descriptor or no memory for a connection ends that call alone
 * (HTTP_FAULT_LOCAL). A socket in error is handed to libcurl for reading: what the server said
 * before it broke off is then still read. `done` may start and abort calls: it is never called
 * from within libcurl.
 */
#include "worker/http.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/failpoint.h"
#include "worker/http_internal.h"

enum {
    CALLS_PER_POOL = 256, /* while all their connections fit a core's cache */
    CALLS_PER_POOL_COLD = 64,
    CALLS_COLD = 1024,
    POOLS_MAX = 512,
    SOCKS_MAX = 1 << 20,
    FIRST_SOCKS = 256,
    STARTS_PER_TURN = 32, /* each costs about 20 us, with a new connection 60: most of it later in
                             the turn, when libcurl's timer fires */
    EVENTS_AT_ONCE = 32,
    EVENTS_TURN_US = 1000,
    WARN_EVERY_US = 10 * 1000 * 1000,
};

static void reap(struct pool *pool);

/* ---- memory goes with libuv's last handle ---------------------------------------------------- */

static void free_memory(struct http *h)
{
    if (h->epoll_fd >= 0)
        close(h->epoll_fd);
    free(h->socks);
    free(h->pools);
    free(h);
    curl_global_cleanup();
}

static void handle_closed(struct http *h)
{
    if (--h->open_handles == 0 && h->closing)
        free_memory(h);
}

static void on_handle_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static struct sock *sock_find(const struct http *h, curl_socket_t fd)
{
    return (size_t)fd < h->sock_cap && h->socks[fd].pool ? &h->socks[fd] : NULL;
}

static bool sock_room(struct http *h, curl_socket_t fd)
{
    if ((size_t)fd < h->sock_cap)
        return true;
    if ((size_t)fd >= SOCKS_MAX) /* no descriptor (-1) too */
        return false;
    size_t cap = h->sock_cap ? h->sock_cap : FIRST_SOCKS;
    while (cap <= (size_t)fd)
        cap *= 2;
    struct sock *grown = realloc(h->socks, cap * sizeof *grown);
    if (!grown)
        return false;
    memset(grown + h->sock_cap, 0, (cap - h->sock_cap) * sizeof *grown);
    h->socks = grown;
    h->sock_cap = cap;
    return true;
}

static struct sock *sock_new(struct pool *pool, curl_socket_t fd)
{
    struct http *h = pool->http;
    if (!sock_room(h, fd))
        return NULL;
    struct sock *sock = &h->socks[fd];
    *sock = (struct sock){.pool = pool, .life = ++h->sock_lives};
    return sock;
}

/* `events` 0: out of the epoll. libcurl may have closed the descriptor behind our back, and another
 * may have its number by now: so the kernel's word on what is there counts more than ours. */
static bool sock_watch(struct http *h, curl_socket_t fd, uint32_t events)
{
    struct sock *sock = &h->socks[fd];
    struct epoll_event event = {.events = events,
                                .data.u64 = (uint64_t)sock->life << 32 | (uint32_t)fd};
    if (sock->events == events)
        return true;
    int op = !events ? EPOLL_CTL_DEL : sock->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int result = epoll_ctl(h->epoll_fd, op, fd, &event);
    if (result != 0 && events && (errno == EEXIST || errno == ENOENT))
        result =
            epoll_ctl(h->epoll_fd, errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    sock->events = result == 0 ? events : 0;
    return result == 0 || !events;
}

static void sock_drop(struct http *h, curl_socket_t fd)
{
    (void)sock_watch(h, fd, 0);
    h->socks[fd].pool = NULL;
}

static void on_event(struct http *h, const struct epoll_event *event)
{
    curl_socket_t fd = (curl_socket_t)(uint32_t)event->data.u64;
    struct sock *sock = sock_find(h, fd);
    int running = 0;
    if (!sock || sock->life != event->data.u64 >> 32)
        return;          /* closed earlier in this turn */
    if (!sock->wanted) { /* an idle connection: libcurl finds out that it is dead before use */
        (void)sock_watch(h, fd, 0);
        return;
    }
    uint32_t what = event->events;
    if (what & (EPOLLERR | EPOLLHUP)) /* what the server said before is read first */
        what |= EPOLLIN;
    int mask = (what & EPOLLIN ? CURL_CSELECT_IN : 0) | (what & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               (what & EPOLLERR ? CURL_CSELECT_ERR : 0);
    struct pool *pool = sock->pool;
    curl_multi_socket_action(pool->multi, fd, mask, &running);
    reap(pool);
}

/* What is left over is ready in the next turn as well. */
static void on_ready(uv_poll_t *handle, int status, int events)
{
    struct http *h = handle->data;
    struct epoll_event ready[EVENTS_AT_ONCE];
    int64_t until_us = clock_mono_us() + EVENTS_TURN_US;
    int count;
    (void)status, (void)events;
    do {
        count = epoll_wait(h->epoll_fd, ready, EVENTS_AT_ONCE, 0);
        for (int i = 0; i < count; i++)
            on_event(h, &ready[i]);
    } while (count == EVENTS_AT_ONCE && clock_mono_us() < until_us);
}

/* Once in a while: thousands of calls may find it out at once. */
static void warn_no_descriptor(struct http *h, int error)
{
    int64_t now = clock_mono_us();
    if (now < h->next_warning_us)
        return;
    h->next_warning_us = now + WARN_EVERY_US;
    log_event(
        LOG_ERROR,
        "no socket for a call, it is made again: raise the limit of descriptors (ulimit -n) or "
        "lower max_in_flight",
        LF_STR("why", strerror(error)), LF_INT("in_flight", h->in_flight));
}

curl_socket_t http_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct transfer *t = arg;
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd >= 0)
        return fd;
    t->no_fd = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
    if (t->no_fd)
        warn_no_descriptor(t->http, errno);
    return CURL_SOCKET_BAD;
}

/* Only now: a socket whose connection never stood is closed without http_close_socket (7.88). */
void http_keep_socket(struct pool *pool, curl_socket_t fd, int local_port)
{
    struct sock *sock = fd >= 0 ? sock_find(pool->http, fd) : NULL;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {0};
    socklen_t bytes = sizeof at;
    if (!sock || sock->kept || getsockname(fd, &at.any, &bytes) != 0)
        return;
    in_port_t port = at.any.sa_family == AF_INET    ? at.v4.sin_port
                     : at.any.sa_family == AF_INET6 ? at.v6.sin6_port
                                                    : 0;
    sock->kept = ntohs(port) == local_port; /* of two addresses tried at once, this one won */
}

int http_close_socket(void *arg, curl_socket_t fd)
{
    struct http *h = arg;
    if (sock_find(h, fd))
        h->socks[fd].pool = NULL; /* the kernel takes it out of the epoll */
    return close(fd);
}

/* libcurl says what it waits for on this descriptor. */
static int on_interest(CURL *easy, curl_socket_t fd, int what, void *arg, void *sock_arg)
{
    struct pool *pool = arg;
    struct http *h = pool->http;
    struct sock *sock = sock_find(h, fd);
    (void)sock_arg;
    if (what == CURL_POLL_REMOVE) {
        if (sock && sock->kept)
            sock->wanted = 0;
        else if (sock)
            sock_drop(h, fd);
        return 0;
    }
    if (!sock || sock->pool != pool)
        sock = sock_new(pool, fd);
    if (!sock)
        return -1;
    struct transfer *t = NULL;
    if (!sock->kept && curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t) == CURLE_OK && t)
        t->fd = fd;
    sock->wanted = (what & CURL_POLL_IN ? EPOLLIN : 0U) | (what & CURL_POLL_OUT ? EPOLLOUT : 0U);
    return sock_watch(h, fd, sock->wanted) ? 0 : -1;
}

/* ---- time ------------------------------------------------------------------------------------ */

static void on_timer(uv_timer_t *timer)
{
    struct pool *pool = timer->data;
    int running = 0;
    curl_multi_socket_action(pool->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    reap(pool);
}

static int on_timeout(CURLM *multi, long timeout_ms, void *arg)
{
    struct pool *pool = arg;
    (void)multi;
    if (timeout_ms < 0)
        uv_timer_stop(&pool->timer);
    else
        uv_timer_start(&pool->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

/* ---- ends ------------------------------------------------------------------------------------ */

/* Calls keep the loop alive, idle connections do not. */
static void count_in_flight(struct http *h, int change)
{
    h->in_flight += change;
    if (h->in_flight > 0)
        uv_ref((uv_handle_t *)&h->ready);
    else
        uv_unref((uv_handle_t *)&h->ready);
}

static void finish(struct transfer *t, CURLcode code)
{
    struct http *h = t->http;
    struct http_call *call = t->call;
    transfer_report(t, code);
    count_in_flight(h, -1);
    call->transfer = NULL;
    transfer_give(h, t);
    h->conf.done(h->conf.arg, call);
}

static void reap(struct pool *pool)
{
    CURLMsg *message;
    int left = 0;
    while ((message = curl_multi_info_read(pool->multi, &left)) != NULL) {
        struct transfer *t = NULL;
        CURLcode code = message->data.result; /* gone once the handle is removed */
        if (message->msg != CURLMSG_DONE ||
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t) != CURLE_OK || !t)
            continue;
        curl_multi_remove_handle(pool->multi, t->easy);
        pool->in_flight--;
        finish(t, code);
    }
}

static void end_aborted(struct http *h)
{
    struct transfer *t;
    while ((t = h->aborted) != NULL) {
        h->aborted = t->next;
        finish(t, CURLE_ABORTED_BY_CALLBACK);
    }
}

static void on_deferred(uv_timer_t *timer)
{
    end_aborted(timer->data);
}

static void leave_queue(struct http *h, struct transfer *t)
{
    struct transfer **at = &h->waiting;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    if (h->waiting_end == &t->next)
        h->waiting_end = at;
}

void http_abort(struct http *h, struct http_call *call)
{
    struct transfer *t = call->transfer;
    if (!t || t->aborted)
        return;
    t->aborted = true;
    if (t->pool) {
        curl_multi_remove_handle(t->pool->multi, t->easy);
        t->pool->in_flight--;
    } else {
        leave_queue(h, t);
    }
    t->next = h->aborted;
    h->aborted = t;
    uv_timer_start(&h->deferred, on_deferred, 0, 0);
}

/* ---- starts ---------------------------------------------------------------------------------- */

/* Of equals the first: few calls then share few, warm connections. */
static struct pool *least_loaded(struct http *h)
{
    struct pool *least = &h->pools[0];
    for (int i = 1; i < h->pool_count && least->in_flight > 0; i++)
        if (h->pools[i].in_flight < least->in_flight)
            least = &h->pools[i];
    return least;
}

static void begin(struct transfer *t)
{
    t->pool = least_loaded(t->http);
    t->call->started_us = clock_mono_us();
    if (curl_multi_add_handle(t->pool->multi, t->easy) == CURLM_OK)
        t->pool->in_flight++;
    else
        finish(t, CURLE_OUT_OF_MEMORY);
}

static void on_start(uv_idle_t *idle)
{
    struct http *h = idle->data;
    for (int i = 0; i < STARTS_PER_TURN && h->waiting; i++) {
        struct transfer *t = h->waiting;
        leave_queue(h, t);
        begin(t);
    }
    if (!h->waiting)
        uv_idle_stop(&h->starter);
}

enum rc http_start(struct http *h, struct http_call *call, struct err *err)
{
    if (h->closing)
        return err_set(err, RC_RETRY, "no more requests: closing");
    struct transfer *t = transfer_take(h);
    if (!t)
        return err_set(err, RC_NOMEM, "no memory for a request");
    enum rc rc = transfer_set(t, call, err);
    if (rc != RC_OK) {
        transfer_give(h, t);
        return rc;
    }
    t->pool = NULL;
    t->next = NULL;
    *h->waiting_end = t;
    h->waiting_end = &t->next;
    uv_idle_start(&h->starter, on_start);
    count_in_flight(h, 1);
    call->transfer = t;
    return RC_OK;
}

int http_in_flight(const struct http *h)
{
    return h->in_flight;
}

/* ---- the edge's life ------------------------------------------------------------------------- */

static int connections_kept(const struct http *h)
{
    int share = h->conf.expected_in_flight / h->pool_count + 1;
    return share + share / 4 + 8;
}

static bool pool_init(struct http *h, struct pool *pool)
{
    pool->http = h;
    pool->multi = curl_multi_init();
    if (!pool->multi)
        return false;
    curl_multi_setopt(pool->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, (long)connections_kept(h));
    curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, on_interest);
    curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool);
    curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool);
    uv_timer_init(h->loop, &pool->timer);
    pool->timer.data = pool;
    return true;
}

static void on_pool_timer_closed(uv_handle_t *handle)
{
    struct pool *pool = handle->data;
    handle_closed(pool->http);
}

void http_free(struct http *h)
{
    if (!h)
        return;
    end_aborted(h);
    assert(h->in_flight == 0);
    FAILPOINT_LOAD(NULL);
    h->closing = true;
    while (h->idle) {
        struct transfer *t = h->idle;
        h->idle = t->next;
        transfer_free(t);
    }
    for (int i = 0; i < h->pool_count; i++) {
        curl_multi_cleanup(h->pools[i].multi); /* closes connections: the callbacks fire */
        uv_close((uv_handle_t *)&h->pools[i].timer, on_pool_timer_closed);
    }
    uv_close((uv_handle_t *)&h->ready, on_handle_closed);
    uv_close((uv_handle_t *)&h->deferred, on_handle_closed);
    uv_close((uv_handle_t *)&h->starter, on_handle_closed);
}

static int pools_for(int in_flight)
{
    int calls = in_flight > CALLS_COLD ? CALLS_PER_POOL_COLD : CALLS_PER_POOL;
    int count = (in_flight + calls - 1) / calls;
    return count < 1 ? 1 : count > POOLS_MAX ? POOLS_MAX : count;
}

enum rc http_new(struct uv_loop_s *loop, const struct http_conf *conf, struct http **ret_http,
                 struct err *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, RC_FATAL, "libcurl cannot be set up");
    struct http *h = calloc(1, sizeof *h);
    int count = pools_for(conf->expected_in_flight);
    struct pool *pools = calloc((size_t)count, sizeof *pools);
    if (!h || !pools) {
        free(pools);
        free(h);
        curl_global_cleanup();
        return err_set(err, RC_NOMEM, "no memory for the HTTP edge");
    }
    *h = (struct http){.loop = loop, .conf = *conf, .pools = pools, .epoll_fd = -1};
    h->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (h->epoll_fd < 0 || uv_poll_init(loop, &h->ready, h->epoll_fd) != 0) {
        free_memory(h);
        return err_set(err, RC_RETRY, "no descriptor for the HTTP edge");
    }
    h->open_handles = 3;
    h->ready.data = h;
    uv_poll_start(&h->ready, UV_READABLE, on_ready);
    uv_unref((uv_handle_t *)&h->ready); /* while there are no calls */
    uv_timer_init(loop, &h->deferred);
    h->deferred.data = h;
    uv_idle_init(loop, &h->starter);
    h->starter.data = h;
    h->waiting_end = &h->waiting;
    FAILPOINT_LOAD(&h->in_flight);
    for (int i = 0; i < count; i++) {
        h->pool_count = count; /* what connections_kept divides by */
        if (!pool_init(h, &pools[i])) {
            h->pool_count = i;
            http_free(h);
            return err_set(err, RC_NOMEM, "no memory for the HTTP edge");
        }
        h->open_handles++;
    }
    *ret_http = h;
    return RC_OK;
}
