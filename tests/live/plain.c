/*
 * plain.c - see plain.h.
 */
#include "tests/live/plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <uv.h>

static struct {
    uv_tcp_t listener, peer;
    uv_write_t written;
    char url[64], head[8192], reply[512];
    size_t n;
} plain;

static void on_room(uv_handle_t *peer, size_t wanted, uv_buf_t *ret)
{
    (void)peer, (void)wanted;
    *ret = uv_buf_init(plain.head + plain.n, (unsigned)(sizeof plain.head - 1 - plain.n));
}

static void on_request(uv_stream_t *peer, ssize_t n, const uv_buf_t *at)
{
    (void)at;
    plain.n += n > 0 ? (size_t)n : 0;
    plain.head[plain.n] = '\0';
    char *end = strstr(plain.head, "\r\n\r\n");
    if (!end || n <= 0)
        return;
    uv_read_stop(peer);
    end[2] = '\0';
    uv_buf_t reply = uv_buf_init(plain.reply, (unsigned)strlen(plain.reply));
    uv_write(&plain.written, peer, &reply, 1, NULL);
}

static void on_peer(uv_stream_t *listener, int status)
{
    if (status == 0 && uv_accept(listener, (uv_stream_t *)&plain.peer) == 0)
        uv_read_start((uv_stream_t *)&plain.peer, on_room, on_request);
}

void plain_begin(struct uv_loop_s *loop, bool v6, const char *headers)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {0};
    int n = sizeof at;
    plain.n = 0;
    (void)snprintf(plain.reply, sizeof plain.reply,
                   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%s\r\n{}", headers);
    uv_tcp_init(loop, &plain.listener);
    uv_tcp_init(loop, &plain.peer);
    assert_int_equal(v6 ? uv_ip6_addr("::1", 0, &at.v6) : uv_ip4_addr("127.0.0.1", 0, &at.v4), 0);
    assert_int_equal(uv_tcp_bind(&plain.listener, &at.any, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&plain.listener, 1, on_peer), 0);
    assert_int_equal(uv_tcp_getsockname(&plain.listener, &at.any, &n), 0);
    (void)snprintf(plain.url, sizeof plain.url, v6 ? "http://[::1]:%d" : "http://127.0.0.1:%d",
                   ntohs(v6 ? at.v6.sin6_port : at.v4.sin_port));
}

const char *plain_url(void)
{
    return plain.url;
}

const char *plain_head(void)
{
    return plain.head;
}

void plain_end(struct uv_loop_s *loop)
{
    uv_close((uv_handle_t *)&plain.listener, NULL);
    uv_close((uv_handle_t *)&plain.peer, NULL);
    uv_run(loop, UV_RUN_NOWAIT); /* closed: they may be made anew */
}
