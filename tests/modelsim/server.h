#ifndef MODELSIM_SERVER_H
#define MODELSIM_SERVER_H
/*
 * Purpose: the data dictionary of the running stand-in: the server, its connections and what the
 * files conn.c (bytes in and out), serve.c (what to answer) and control.c (tests' questions and
 * orders) do with them. One thread; nothing here blocks.
 */
#include "tests/modelsim/ask.h"
#include "tests/modelsim/base.h"
#include "tests/modelsim/dist.h"
#include "tests/modelsim/http.h"
#include "tests/modelsim/ledger.h"
#include "tests/modelsim/prices.h"
#include "tests/modelsim/reply.h"
#include "tests/modelsim/rule.h"
#include "tests/modelsim/script.h"
#include "tests/modelsim/timers.h"
#include "tests/modelsim/witness.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVER_BODY_MAX (64u << 20)
/* Pipelined bytes kept while a request is served; beyond it the socket is left unread. */
#define SERVER_AHEAD_MAX (1u << 20)

enum endpoint {
    ENDPOINT_CHAT,
    ENDPOINT_COMPLETIONS,
    ENDPOINT_EMBEDDINGS,
    ENDPOINT_MODELS,
    ENDPOINT_UNKNOWN, /* the last one that the witness records */
    ENDPOINT_CONTROL, /* the tests' own: /witness, /control, /healthz */
};

enum conn_state {
    CONN_HEAD,    /* between requests, or a head is arriving */
    CONN_BODY,    /* head complete; the body is arriving */
    CONN_SERVING, /* the reply is known and waits for its delay and the ledger, or hangs */
    CONN_WRITING, /* the reply is leaving */
    CONN_LINGER,  /* nothing more is said; waiting for the client's end or the timer */
    CONN_CLOSED,  /* freed at the end of the loop's turn */
};

struct conn {
    struct timer timer; /* delay, drip or linger, by state */
    int fd;
    enum conn_state state;
    struct buf in; /* bytes not consumed yet */
    bool unread;   /* the socket may hold more than we took */
    struct conn *next_ready;
    struct conn *next_dead;
    bool queued; /* in the ready list */

    /* the request */
    enum endpoint endpoint;
    enum http_method method;
    bool append;     /* control: ?mode=append */
    bool change;     /* control: ?mode=change */
    char target[40]; /* control: the path */
    bool keep_alive;
    bool chunked;
    int64_t length;
    struct http_chunks chunks;
    struct buf body; /* of a chunked request */
    bool key_ok;
    char authorization[128];
    char *sim;  /* x-sim's text, owned; NULL: none */
    bool begun; /* the witness knows it and waits for its end */
    struct request request;
    struct slots slots;
    struct lookup *lookup; /* the reply waits for this verdict */
    bool delay_over;

    /* the reply */
    struct reply reply;
    int64_t sent_bytes;
    int64_t stop_bytes; /* send no more than this, then do what fault says */
    enum fault fault;
    int64_t drip_bytes;
    int64_t drip_us;
    bool reset;      /* CONN_LINGER ends by RST */
    enum fault doom; /* what the next request on this connection meets */
};

struct server {
    /* configuration */
    const char *const *models; /* NULL-terminated; NULL: any model */
    const char *require_key;   /* NULL: none */
    struct dist latency;

    int epoll_fd;
    int listen_fd;
    int spare_fd; /* given up for a moment when descriptors run out */
    int64_t now_us;
    int64_t unix_us;
    struct rng rng;
    struct timers timers;
    struct script *script;
    struct witness *witness;
    struct ledger *ledger; /* NULL: not asked for */
    struct prices prices;
    struct ask ask;       /* of the request being computed */
    struct answer answer; /* its answer */
    struct conn *ready;   /* have something to send */
    struct conn **ready_tail;
    struct conn *dead;
    size_t connections;
    struct conn **all; /* by descriptor, for the end of the process */
    size_t all_cap;
};

/* ---- conn.c ---- */
/* Takes all waiting connections. */
void conn_accept(struct server *server);
/* Epoll reported events. */
void conn_event(struct server *server, struct conn *conn, uint32_t events);
/* Its timer fired. */
void conn_timer(struct server *server, struct conn *conn);
/* Its reply may leave: sends what fits. Only after witness_flush. */
void conn_write(struct server *server, struct conn *conn);
/* Puts it into the ready list. */
void conn_ready(struct server *server, struct conn *conn);
/* Computed reply, delay known: waits or becomes ready. */
void conn_schedule(struct server *server, struct conn *conn, int64_t delay_us);
/* Its ledger verdict is there or not worth waiting for. */
void conn_ledger_over(struct server *server, struct conn *conn);
/* The connection in whose struct this timer lies. */
struct conn *conn_of_timer(struct timer *timer);
/* Frees the connections closed in this turn. */
void conn_bury(struct server *server);
/* Ends what is open with outcome shutdown and closes all. */
void conn_shutdown_all(struct server *server);

/* ---- serve.c ---- */
/* A head is complete: fills in the connection's request, begins it at witness and ledger. */
void serve_head(struct server *server, struct conn *conn, const struct http_head *head);
/* The body is complete: computes the reply and schedules it. */
void serve_body(struct server *server, struct conn *conn, const char *body, size_t len);
/* An answer to something that is no request (400, 413, ...); the connection ends behind it. */
void serve_bad(struct server *server, struct conn *conn, int status);

/* ---- control.c ---- */
/* Answers /witness, /witness/reset, /control, /healthz into conn->reply. */
void control_answer(struct server *server, struct conn *conn, const char *body, size_t len);

#endif
