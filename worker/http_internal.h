/*
 * http_internal.h - what http.c (the loop's side) and http_transfer.c (one request) share. Nobody
 * else includes it.
 */
#ifndef INFERQ_WORKER_HTTP_INTERNAL_H
#define INFERQ_WORKER_HTTP_INTERNAL_H

#include <curl/curl.h>
#include <uv.h>

#include "worker/http.h"

enum { CALL_HEADERS = 4, HEADER_LINE_BYTES = 160 };

struct transfer;

/* One multi handle: its connections, its timer. */
struct pool {
    struct http *http;
    CURLM *multi;
    uv_timer_t timer;
    int in_flight;
};

/* A descriptor of libcurl's, as it stands in our epoll. Once its connection has carried a request
 * it stays watched for reading while it idles, which saves the kernel calls of taking it out and
 * putting it back. */
struct sock {
    struct pool *pool; /* NULL: none has this number */
    uint32_t life;     /* tells it from those that had the number before */
    uint32_t wanted;   /* EPOLLIN | EPOLLOUT as libcurl wants it; 0: idle */
    uint32_t events;   /* as epoll has it; 0: not there */
    bool kept;         /* until http_close_socket, not only until libcurl loses interest */
};

struct http {
    struct uv_loop_s *loop;
    struct http_conf conf;
    struct pool *pools;
    int pool_count;
    int in_flight;
    int epoll_fd; /* the connections', watched as one descriptor by libuv */
    uv_poll_t ready;
    struct sock *socks; /* by descriptor */
    size_t sock_cap;
    uint32_t sock_lives;
    struct transfer *idle; /* easy handles to use again */
    int idle_count;
    struct transfer *aborted; /* their `done` comes from the loop */
    uv_timer_t deferred;
    struct transfer *waiting, **waiting_end; /* to be begun, a bounded number a turn */
    uv_idle_t starter;                       /* runs while some wait */
    int open_handles;                        /* of libuv's: memory goes with the last */
    bool closing;
    uint64_t target_count;
    int64_t next_warning_us; /* that descriptors are short */
};

struct http_target {
    uint64_t serial; /* tells it from another at the same address */
    char *base_url;
    char *ca_file; /* NULL: the system's */
    struct curl_slist *headers;
    long timeout_ms, connect_timeout_ms;
    bool send_ids, idempotency_key;
};

/* Header lines that differ from call to call, in front of the target's. */
struct own_headers {
    struct curl_slist list[CALL_HEADERS];
    char lines[CALL_HEADERS][HEADER_LINE_BYTES];
};

/* An easy handle and the request it carries. */
struct transfer {
    struct transfer *next; /* in `idle`, `waiting` or `aborted` */
    struct http *http;
    CURL *easy;
    struct pool *pool;      /* NULL: not begun */
    struct http_call *call; /* NULL: idle */
    uint64_t target_serial; /* whose options it bears */
    struct buf url;
    struct curl_slist *headers; /* as libcurl has them */
    struct own_headers *own;    /* of the call itself; NULL until one has some */
    curl_socket_t fd;           /* that libcurl named last for it while it connects; -1 */
    size_t reply_hint;          /* Content-Length */
    bool released;              /* the gate said yes: a byte may have left */
    bool refused;               /* the gate said no */
    bool oversized;             /* the reply passed its limit */
    bool no_fd;                 /* we had no descriptor for its connection */
    bool forbids;               /* its connection is not used again */
    bool aborted;
};

/* An idle easy handle or a new one; NULL: no memory. */
struct transfer *transfer_take(struct http *h);
void transfer_give(struct http *h, struct transfer *t); /* or frees it, where enough are idle */
void transfer_free(struct transfer *t);

/* Makes it ready to carry `call`. RC_REJECT: the path is no path. RC_NOMEM. */
enum rc transfer_set(struct transfer *t, struct http_call *call, struct err *err) MUST_CHECK;
/* Writes what came of it into the call's facts. */
void transfer_report(struct transfer *t, CURLcode code);

/* Callbacks of libcurl that belong to the loop's side. */
curl_socket_t http_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
int http_close_socket(void *arg, curl_socket_t fd);
/* The connection from local_port carries a request from now on; `fd` may be its descriptor. */
void http_keep_socket(struct pool *pool, curl_socket_t fd, int local_port);

#endif
