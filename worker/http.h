/*
 * http.h - the HTTP edge: libcurl's multi interface on the loop.
 *
 * One request per call, sent once: each time libcurl is about to send, it asks us first, and a
 * second time it hears no (its silent re-sends end there); redirects are not followed; HTTP/1.1
 * only. Transfers are spread over several multi handles (one per 64 to 256 in flight). A gate is
 * asked right before the first byte of each request. A connection on which an error (status 400 or
 * more) or a failure came is not used again: many servers reset or hang the request behind it.
 */
#ifndef INFERQ_WORKER_HTTP_H
#define INFERQ_WORKER_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/secret.h"
#include "common/span.h"
#include "worker/outcome.h"

struct uv_loop_s;
struct http;
struct http_target; /* one endpoint: base URL, credential, CA, timeouts */

struct http_target_conf {
    const char *base_url;
    const struct secret *credential; /* borrowed for the target's life; NULL: none */
    const char *ca_file;             /* "": the system's */
    int64_t timeout_us, connect_timeout_us;
    bool send_ids;        /* x-inferq-job, x-inferq-call */
    bool idempotency_key; /* Idempotency-Key: the job id's text and the call's number */
};

/* A request and what came of it. Embedded in a job's call; zeroed before first use. */
struct http_call {
    /* set by the caller; borrowed until done */
    struct http_target *target;
    struct span url_path; /* "/v1/chat/completions", appended to the base URL */
    struct span request;  /* the body */
    size_t reply_max_bytes;
    char job_text[37]; /* UUID text */
    int number;
    struct span traceparent; /* absent: none */
    void *arg;               /* for the callbacks: the job */
    /* filled in by the edge */
    struct http_facts facts;                    /* facts.body points into `reply` */
    struct buf reply;                           /* owned by the call; buf_done by the caller */
    int64_t started_us, first_byte_us, done_us; /* monotonic; first_byte_us: request's, 0 unsent */
    /* the edge's own */
    void *transfer;
};

struct http_conf {
    int expected_in_flight; /* decides the number of multi handles */
    /* Right before a request's first byte. false: it does not leave (HTTP_FAULT_GATE). */
    bool (*gate)(void *arg, struct http_call *call);
    /* Exactly once per started call, from the loop, never from within http_start. */
    void (*done)(void *arg, struct http_call *call);
    void *arg;
};

enum rc http_new(struct uv_loop_s *loop, const struct http_conf *conf, struct http **ret_http,
                 struct err *err) MUST_CHECK;
/* All calls must be done or aborted. Closes; memory goes at the end of the loop's turn. */
void http_free(struct http *h);

/* RC_REJECT: the URL or the CA file is unusable. returns owned */
enum rc http_target_new(struct http *h, const struct http_target_conf *conf,
                        struct http_target **ret_target, struct err *err) MUST_CHECK;
void http_target_free(struct http_target *t);

/* RC_NOMEM, RC_RETRY (closing), RC_REJECT (url_path is no path): nothing was started, `done` will
 * not be called. Out of descriptors: `done` comes with HTTP_FAULT_LOCAL. */
enum rc http_start(struct http *h, struct http_call *call, struct err *err) MUST_CHECK;
/* Ends it with HTTP_FAULT_ABORTED; `done` comes from the loop. */
void http_abort(struct http *h, struct http_call *call);
int http_in_flight(const struct http *h);

#endif
