#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* accept4 */
#endif
#include "tests/modelsim/server.h"

/*
 * Purpose: one connection's life: bytes in, requests out of them one after the other, reply bytes
 * out, and every way of dying that a rule may order.
 * Happy path: one recv holds a whole request; it is answered from the shared buffer, one send.
 * Failure: a client that leaves ends its request as client_gone; nothing else is lost.
 * Sockets are edge-triggered: reading goes on until the socket is empty or `unread` says it is not.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 65536
#define FILL_BYTES 16384
/* Reply storage that an idle connection may keep. */
#define KEEP_BYTES 8192
/* Lets the last bytes travel before an RST overtakes them. */
#define RESET_AFTER_US 3000
#define LINGER_US 1000000

struct conn *conn_of_timer(struct timer *timer)
{
    _Static_assert(offsetof(struct conn, timer) == 0, "the timer comes first");
    return (struct conn *)(void *)timer;
}

void conn_ready(struct server *server, struct conn *conn)
{
    if (conn->queued)
        return;
    conn->queued = true;
    conn->next_ready = NULL;
    *server->ready_tail = conn;
    server->ready_tail = &conn->next_ready;
}

/* ---- ends ---- */

static void forget_lookup(struct conn *conn)
{
    if (conn->lookup != NULL)
        conn->lookup->asker = NULL;
    conn->lookup = NULL;
}

static void end_request(struct server *server, struct conn *conn, enum outcome outcome)
{
    forget_lookup(conn);
    script_release(server->script, &conn->slots);
    free(conn->sim);
    conn->sim = NULL;
    if (conn->begun) {
        conn->request.bytes_out = conn->sent_bytes;
        if (conn->sent_bytes == 0)
            conn->request.status = 0;
        witness_end(server->witness, &conn->request, outcome, server->unix_us);
    }
    conn->begun = false;
}

static void close_conn(struct server *server, struct conn *conn, bool reset)
{
    if (conn->state == CONN_CLOSED)
        return;
    end_request(server, conn, OUTCOME_CLIENT_GONE);
    timers_drop(&server->timers, &conn->timer);
    if (reset) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    server->all[conn->fd] = NULL;
    server->connections--;
    (void)close(conn->fd);
    conn->state = CONN_CLOSED;
    conn->next_dead = server->dead;
    server->dead = conn;
}

/* Says FIN (or, a moment later, RST) and waits for the client to leave. */
static void linger(struct server *server, struct conn *conn, bool reset)
{
    conn->state = CONN_LINGER;
    conn->reset = reset;
    if (!reset)
        (void)shutdown(conn->fd, SHUT_WR);
    timers_arm(&server->timers, &conn->timer,
               server->now_us + (reset ? RESET_AFTER_US : LINGER_US));
}

void conn_bury(struct server *server)
{
    while (server->dead != NULL) {
        struct conn *conn = server->dead;
        server->dead = conn->next_dead;
        buf_done(&conn->in);
        buf_done(&conn->body);
        buf_done(&conn->reply.out);
        free(conn);
    }
}

void conn_shutdown_all(struct server *server)
{
    for (size_t fd = 0; fd < server->all_cap; fd++) {
        struct conn *conn = server->all[fd];
        if (conn == NULL)
            continue;
        end_request(server, conn, OUTCOME_SHUTDOWN);
        close_conn(server, conn, false);
    }
    conn_bury(server);
}

/* ---- requests in ---- */

static size_t take_head(struct server *server, struct conn *conn, const char *data, size_t len)
{
    struct http_head head;
    int status;
    switch (http_head_parse(data, len, &head, &status)) {
    case HTTP_MORE:
        return 0;
    case HTTP_BAD:
        serve_bad(server, conn, status);
        return len;
    case HTTP_DONE:
        break;
    }
    serve_head(server, conn, &head);
    if (conn->state == CONN_BODY && conn->length > (int64_t)SERVER_BODY_MAX)
        serve_bad(server, conn, 413);
    return head.len;
}

static size_t take_chunks(struct server *server, struct conn *conn, const char *data, size_t len)
{
    size_t used;
    enum http_step step =
        http_chunks_decode(&conn->chunks, data, len, SERVER_BODY_MAX, &conn->body, &used);
    if (step == HTTP_BAD)
        serve_bad(server, conn, 400);
    else if (step == HTTP_DONE)
        serve_body(server, conn, conn->body.data == NULL ? "" : conn->body.data, conn->body.len);
    return used;
}

/* One step: consumes a head, a body, or nothing. */
static size_t take(struct server *server, struct conn *conn, const char *data, size_t len)
{
    if (conn->state == CONN_HEAD)
        return len == 0 ? 0 : take_head(server, conn, data, len);
    if (conn->state != CONN_BODY)
        return 0;
    if (conn->chunked)
        return take_chunks(server, conn, data, len);
    if ((int64_t)len < conn->length)
        return 0;
    size_t used = (size_t)conn->length;
    serve_body(server, conn, data, used);
    return used;
}

/* Takes as many steps as the bytes allow; returns what was consumed. */
static size_t consume(struct server *server, struct conn *conn, const char *data, size_t len)
{
    size_t at = 0;
    for (;;) {
        enum conn_state before = conn->state;
        size_t used = take(server, conn, data + at, len - at);
        at += used;
        if (used == 0 && conn->state == before)
            return at;
    }
}

/* Bytes that have just arrived lie in data; what is not consumed is kept. */
static void feed(struct server *server, struct conn *conn, const char *data, size_t len)
{
    if (conn->state == CONN_LINGER)
        return;
    if (conn->in.len == 0) {
        size_t used = consume(server, conn, data, len);
        if (conn->state == CONN_BODY && !conn->chunked && used < len)
            buf_reserve(&conn->in, (size_t)conn->length);
        buf_add(&conn->in, data + used, len - used);
        return;
    }
    buf_add(&conn->in, data, len);
    buf_consume(&conn->in, consume(server, conn, conn->in.data, conn->in.len));
    if (conn->in.len == 0)
        buf_done(&conn->in);
}

static bool reads_on(const struct conn *conn)
{
    bool busy = conn->state == CONN_SERVING || conn->state == CONN_WRITING;
    return !(busy && conn->in.len > SERVER_AHEAD_MAX);
}

static void read_socket(struct server *server, struct conn *conn, bool to_the_end)
{
    static char shared[READ_BYTES];
    while (conn->state != CONN_CLOSED) {
        conn->unread = !reads_on(conn);
        if (conn->unread)
            return;
        ssize_t n = recv(conn->fd, shared, sizeof shared, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close_conn(server, conn, false);
            return;
        }
        feed(server, conn, shared, (size_t)n);
        if ((size_t)n < sizeof shared && !to_the_end)
            return;
    }
}

void conn_event(struct server *server, struct conn *conn, uint32_t events)
{
    bool over = (events & (uint32_t)(EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if (conn->state == CONN_CLOSED)
        return;
    if ((events & (uint32_t)EPOLLOUT) != 0 && conn->state == CONN_WRITING && conn->timer.slot == 0)
        conn_ready(server, conn);
    if ((events & (uint32_t)EPOLLIN) != 0 || over)
        read_socket(server, conn, over);
    if (over && conn->state != CONN_CLOSED && conn->unread)
        close_conn(server, conn, false);
}

static struct conn *conn_new(struct server *server, int fd)
{
    struct conn *conn = base_calloc(1, sizeof *conn);
    conn->fd = fd;
    if ((size_t)fd >= server->all_cap) {
        size_t cap = ((size_t)fd + 1024) * 2;
        struct conn **all = base_realloc(server->all, cap * sizeof(struct conn *));
        memset(all + server->all_cap, 0, (cap - server->all_cap) * sizeof(struct conn *));
        server->all = all;
        server->all_cap = cap;
    }
    server->all[fd] = conn;
    server->connections++;
    return conn;
}

/* No descriptor is left: turns one client away, so that the listener does not spin. */
static void turn_away(struct server *server)
{
    (void)close(server->spare_fd);
    int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        (void)close(fd);
    server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void conn_accept(struct server *server)
{
    for (;;) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE))
            turn_away(server);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return;
        int on = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct conn *conn = conn_new(server, fd);
        struct epoll_event event = {.events = (uint32_t)EPOLLIN | EPOLLOUT | EPOLLRDHUP |
                                              (uint32_t)EPOLLET};
        event.data.ptr = conn;
        if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
            close_conn(server, conn, true);
    }
}

/* ---- replies out ---- */

/* Goes on when neither the delay nor the ledger holds the reply back. */
static void release_reply(struct server *server, struct conn *conn)
{
    if (conn->state != CONN_SERVING || !conn->delay_over || conn->lookup != NULL)
        return;
    if (conn->fault != FAULT_HANG)
        conn_ready(server, conn);
}

void conn_schedule(struct server *server, struct conn *conn, int64_t delay_us)
{
    conn->state = CONN_SERVING;
    conn->delay_over = delay_us == 0;
    if (delay_us > 0)
        timers_arm(&server->timers, &conn->timer, server->now_us + delay_us);
    release_reply(server, conn);
}

void conn_ledger_over(struct server *server, struct conn *conn)
{
    conn->lookup = NULL;
    release_reply(server, conn);
}

void conn_timer(struct server *server, struct conn *conn)
{
    if (conn->state == CONN_LINGER) {
        close_conn(server, conn, conn->reset);
    } else if (conn->state == CONN_WRITING) {
        conn_ready(server, conn);
    } else if (conn->state == CONN_SERVING) {
        conn->delay_over = true;
        release_reply(server, conn);
    }
}

/* The reply is out and the connection lives: the next request may be waiting already. */
static void next_request(struct server *server, struct conn *conn)
{
    conn->reply.out.len = 0;
    if (conn->reply.out.cap > KEEP_BYTES)
        buf_done(&conn->reply.out);
    if (conn->body.cap > KEEP_BYTES)
        buf_done(&conn->body);
    struct buf storage = conn->reply.out;
    conn->reply = (struct reply){.out = storage};
    conn->state = CONN_HEAD;
    if (conn->in.len > 0)
        buf_consume(&conn->in, consume(server, conn, conn->in.data, conn->in.len));
    if (conn->unread)
        read_socket(server, conn, false);
}

/* Everything that was to be sent has been: does what the fault says. */
static void reply_over(struct server *server, struct conn *conn)
{
    bool close = conn->reply.close;
    switch (conn->fault) {
    case FAULT_RESET_BEFORE:
    case FAULT_RESET_WITHIN:
        end_request(server, conn, OUTCOME_CUT);
        linger(server, conn, true);
        return;
    case FAULT_CLOSE_BEFORE:
    case FAULT_CLOSE_WITHIN:
        end_request(server, conn, OUTCOME_CUT);
        linger(server, conn, false);
        return;
    case FAULT_HANG:
    case FAULT_HANG_WITHIN:
        return; /* until the client leaves */
    case FAULT_RESET_AFTER:
        end_request(server, conn, OUTCOME_REPLIED);
        linger(server, conn, true);
        return;
    case FAULT_CLOSE_AFTER:
        close = true;
        break;
    case FAULT_DIE_RESET:
    case FAULT_DIE_HANG:
    case FAULT_DIE_CLOSE:
        conn->doom = conn->fault;
        break;
    case FAULT_NONE:
        break;
    }
    end_request(server, conn, OUTCOME_REPLIED);
    if (close)
        linger(server, conn, false);
    else
        next_request(server, conn);
}

/* Sends one piece, at most `most` bytes, of the reply from sent_bytes on. Returns send's result. */
static ssize_t send_piece(struct conn *conn, int64_t most)
{
    static char filler[FILL_BYTES];
    const struct reply *reply = &conn->reply;
    int64_t at = conn->sent_bytes;
    int64_t fill_at = (int64_t)reply->fill_at;
    const char *from;
    int64_t len;
    if (reply->fill_bytes == 0 || at < fill_at) {
        from = reply->out.data + at;
        len = (reply->fill_bytes == 0 ? (int64_t)reply->out.len : fill_at) - at;
    } else if (at < fill_at + reply->fill_bytes) {
        if (filler[0] == '\0')
            memset(filler, 'x', sizeof filler);
        from = filler;
        len = fill_at + reply->fill_bytes - at;
        len = len < FILL_BYTES ? len : FILL_BYTES;
    } else {
        from = reply->out.data + (at - reply->fill_bytes);
        len = (int64_t)reply->out.len - (at - reply->fill_bytes);
    }
    return send(conn->fd, from, (size_t)(len < most ? len : most), MSG_NOSIGNAL);
}

void conn_write(struct server *server, struct conn *conn)
{
    if (conn->state != CONN_SERVING && conn->state != CONN_WRITING)
        return;
    conn->state = CONN_WRITING;
    int64_t stop = conn->stop_bytes;
    if (conn->drip_bytes > 0 && conn->sent_bytes + conn->drip_bytes < stop)
        stop = conn->sent_bytes + conn->drip_bytes;
    while (conn->sent_bytes < stop) {
        ssize_t n = send_piece(conn, stop - conn->sent_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            close_conn(server, conn, false);
            return;
        }
        conn->sent_bytes += n;
    }
    if (conn->sent_bytes < conn->stop_bytes)
        timers_arm(&server->timers, &conn->timer, server->now_us + conn->drip_us);
    else
        reply_over(server, conn);
}
