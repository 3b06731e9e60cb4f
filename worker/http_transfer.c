/*
 * http_transfer.c - one request on an easy handle: its options, its bytes out and in, its facts.
 *
 * Happy path: transfer_set gives a used easy handle what differs from its last request; libcurl
 * connects, asks the gate (on_ready) when the connection stands and no byte has left, sends head
 * and body in one piece, hands over headers and body of the reply; transfer_report names what
 * happened.
 *
 * Failure modes: from the gate's yes on, every failure counts as "a byte may have left". libcurl
 * sends a request again by itself when a kept connection proves dead; every way to the wire passes
 * on_ready first, which lets each request through once. (Feeding the body through a read callback
 * whose seek refuses would do as well, but costs a second packet and a second wake-up of the
 * server: 35 instead of 25 us of our CPU a call, and 16 KiB more memory each.) A server that
 * answers with an error often resets or hangs the next request on the same connection, so the
 * status line of an error ends the connection's use.
 */
#include "worker/http_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/catalogue.h"
#include "common/clock.h"
#include "common/failpoint.h"

enum {
    RECEIVE_BYTES = 2 << 10,   /* per transfer while it runs: libcurl's default is 16 KiB */
    SEND_BYTES = 16 << 10,     /* libcurl's least; its default is 64 KiB */
    HINT_MAX_BYTES = 64 << 10, /* reserved at most because a server says so */
    KEEPALIVE_IDLE_S = 60,
    KEEPALIVE_EVERY_S = 30,
    CONNECTION_IDLE_S = 50, /* balancers drop idle connections after 60 s, silently */
    PATH_MAX_BYTES = 2048,
    URL_MAX_BYTES = 8192,
};

/* ---- callbacks of libcurl: none of them calls the multi interface ---------------------------- */

/* The connection stands and not one byte of the request has left. Asked again when libcurl means to
 * send the request once more on another connection: that never happens here. */
static int on_ready(void *arg, char *to_ip, char *from_ip, int to_port, int from_port)
{
    struct transfer *t = arg;
    struct http *h = t->http;
    (void)to_ip, (void)from_ip, (void)to_port;
    t->refused = t->released || !h->conf.gate(h->conf.arg, t->call);
    if (t->refused)
        return CURL_PREREQFUNC_ABORT;
    http_keep_socket(t->pool, t->fd, from_port);
    t->released = true;
    t->call->first_byte_us = clock_mono_us();
    FAILPOINT("gate.passed");
    return CURL_PREREQFUNC_OK;
}

static size_t on_body(char *from, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    struct buf *reply = &t->call->reply;
    size_t n = size * count;
    t->oversized = n > reply->max_bytes - reply->n;
    if (!reply->p && t->reply_hint > n && t->reply_hint <= reply->max_bytes)
        (void)buf_room(reply, t->reply_hint); /* one allocation; on_body fails below if need be */
    return !t->oversized && buf_add(reply, from, n) ? n : 0;
}

static void keep(char to[HTTP_HINT_BYTES], struct span value)
{
    size_t n = value.n < HTTP_HINT_BYTES - 1 ? value.n : HTTP_HINT_BYTES - 1;
    memcpy(to, value.p, n);
    to[n] = '\0';
}

static bool is(struct span name, const char *lower)
{
    return name.n == strlen(lower) && strncasecmp(name.p, lower, name.n) == 0;
}

static void take_length(struct transfer *t, struct span value)
{
    char digits[HTTP_HINT_BYTES];
    keep(digits, value);
    unsigned long long n = strtoull(digits, NULL, 10);
    t->reply_hint = n < HINT_MAX_BYTES ? (size_t)n : HINT_MAX_BYTES;
}

/* Every reply has a dozen headers, most of them none of ours: the first letter sorts them out. */
static void take_header(struct transfer *t, struct span name, struct span value)
{
    struct http_facts *f = &t->call->facts;
    switch (name.n ? *name.p | 0x20 : 0) {
    case 'a': /* anthropic-ratelimit-* */
        (void)rate_headers_take(&f->rate, name, value);
        break;
    case 'c':
        if (is(name, "content-length"))
            take_length(t, value);
        break;
    case 'd':
        if (is(name, "date"))
            keep(f->date, value);
        break;
    case 'l': /* a proxy's way of passing on what its upstream said */
        if (is(name, "llm_provider-retry-after") && !*f->retry_after)
            keep(f->retry_after, value);
        else
            (void)rate_headers_take(&f->rate, name, value);
        break;
    case 'r':
        if (is(name, "retry-after-ms"))
            keep(f->retry_after_ms, value);
        else if (is(name, "retry-after"))
            keep(f->retry_after, value);
        else if (is(name, "request-id") && !*f->request_id)
            keep(f->request_id, value);
        else
            (void)rate_headers_take(&f->rate, name, value);
        break;
    case 'x':
        if (is(name, "x-request-id"))
            keep(f->request_id, value);
        else
            (void)rate_headers_take(&f->rate, name, value);
        break;
    default:
        break;
    }
}

static void take_status(struct transfer *t, struct span line)
{
    const char *blank = memchr(line.p, ' ', line.n);
    int status = 0;
    for (const char *p = blank ? blank + 1 : line.p + line.n;
         p < line.p + line.n && isdigit((unsigned char)*p) && status < 1000; p++)
        status = status * 10 + (*p - '0');
    FAILPOINT("reply.first_byte");
    /* An interim answer (1xx) came before: its headers are not the reply's. */
    t->call->facts = (struct http_facts){.status = status};
    t->reply_hint = 0;
    if (status < 400 || t->forbids)
        return;
    t->forbids = true; /* libcurl looks at it when the transfer is done */
    curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 1L);
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    struct span left = {line, size * count};
    while (left.n > 0 && isspace((unsigned char)left.p[left.n - 1]))
        left.n--;
    if (left.n > 5 && memcmp(left.p, "HTTP/", 5) == 0) {
        take_status(t, left);
        return size * count;
    }
    const char *colon = left.n > 0 ? memchr(left.p, ':', left.n) : NULL;
    if (!colon)
        return size * count;
    struct span name = {left.p, (size_t)(colon - left.p)};
    struct span value = {colon + 1, left.n - name.n - 1};
    while (value.n > 0 && isblank((unsigned char)*value.p))
        value = (struct span){value.p + 1, value.n - 1};
    take_header(t, name, value);
    return size * count;
}

/* ---- easy handles ---------------------------------------------------------------------------- */

#define SET(option, value) ok = ok && curl_easy_setopt(easy, option, value) == CURLE_OK

static bool set_constants(struct transfer *t)
{
    CURL *easy = t->easy;
    bool ok = true;
    SET(CURLOPT_PRIVATE, t);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* no refused-stream re-sends */
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_IDLE_S);
    SET(CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_EVERY_S);
    SET(CURLOPT_MAXAGE_CONN, (long)CONNECTION_IDLE_S);
    SET(CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES);
    SET(CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BYTES);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_PREREQFUNCTION, on_ready);
    SET(CURLOPT_PREREQDATA, t);
    SET(CURLOPT_OPENSOCKETFUNCTION, http_open_socket);
    SET(CURLOPT_OPENSOCKETDATA, t);
    SET(CURLOPT_CLOSESOCKETFUNCTION, http_close_socket);
    SET(CURLOPT_CLOSESOCKETDATA, t->http); /* a connection outlives its transfer */
    return ok;
}

struct transfer *transfer_take(struct http *h)
{
    struct transfer *t = h->idle;
    if (t) {
        h->idle = t->next;
        h->idle_count--;
        return t;
    }
    t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->http = h;
    buf_init(&t->url, URL_MAX_BYTES);
    t->easy = curl_easy_init();
    if (t->easy && set_constants(t))
        return t;
    transfer_free(t);
    return NULL;
}

void transfer_give(struct http *h, struct transfer *t)
{
    t->call = NULL;
    if (h->idle_count >= h->conf.expected_in_flight) {
        transfer_free(t);
        return;
    }
    t->next = h->idle;
    h->idle = t;
    h->idle_count++;
}

void transfer_free(struct transfer *t)
{
    if (!t)
        return;
    curl_easy_cleanup(t->easy);
    buf_done(&t->url);
    free(t->own);
    free(t);
}

/* ---- one request ----------------------------------------------------------------------------- */

/* It comes from a message and goes into a request line: printable ASCII without blanks. */
static bool is_path(struct span path)
{
    if (path.n == 0 || path.n > PATH_MAX_BYTES || path.p[0] != '/')
        return false;
    for (size_t i = 0; i < path.n; i++)
        if (path.p[i] <= ' ' || path.p[i] > '~')
            return false;
    return true;
}

static bool is_token(struct span s)
{
    if (s.n == 0 || s.n > HEADER_LINE_BYTES / 2)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return true;
}

/* The call's own headers in front of the target's, without copying either. NULL: no memory. */
static struct curl_slist *chain_headers(struct transfer *t, const struct http_call *call)
{
    const struct http_target *target = call->target;
    bool traced = is_token(call->traceparent); /* it came with the record: odd ones stay here */
    size_t n = 0;
    if (!target->send_ids && !target->idempotency_key && !traced)
        return target->headers;
    if (!t->own)
        t->own = calloc(1, sizeof *t->own);
    if (!t->own)
        return NULL;
    struct curl_slist *list = t->own->list;
    char(*lines)[HEADER_LINE_BYTES] = t->own->lines;
    if (target->send_ids) {
        (void)snprintf(lines[n++], HEADER_LINE_BYTES, "x-inferq-job: %s", call->job_text);
        (void)snprintf(lines[n++], HEADER_LINE_BYTES, "x-inferq-call: %d", call->number);
    }
    if (target->idempotency_key)
        (void)snprintf(lines[n++], HEADER_LINE_BYTES, "Idempotency-Key: %s-%d", call->job_text,
                       call->number);
    if (traced)
        (void)snprintf(lines[n++], HEADER_LINE_BYTES, "traceparent: %.*s", (int)call->traceparent.n,
                       call->traceparent.p);
    for (size_t i = 0; i < n; i++)
        list[i] = (struct curl_slist){.data = lines[i],
                                      .next = i + 1 < n ? &list[i + 1] : target->headers};
    return list;
}

/* Asked once per target: libcurl would look at eight variables for each call. */
static bool environment_has_proxy(void)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                        "ALL_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return true;
    }
    return false;
}

static bool set_target(struct transfer *t, const struct http_target *target)
{
    CURL *easy = t->easy;
    bool ok = true;
    if (t->target_serial == target->serial)
        return true;
    t->target_serial = 0;
    const curl_version_info_data *system = curl_version_info(CURLVERSION_NOW);
    SET(CURLOPT_CAINFO, target->ca_file ? target->ca_file : system->cainfo);
    SET(CURLOPT_CAPATH, target->ca_file ? NULL : system->capath);
    SET(CURLOPT_PROXY, environment_has_proxy() ? NULL : ""); /* NULL: as the environment says */
    SET(CURLOPT_TIMEOUT_MS, target->timeout_ms);
    SET(CURLOPT_CONNECTTIMEOUT_MS, target->connect_timeout_ms);
    if (ok)
        t->target_serial = target->serial;
    return ok;
}

static bool set_url(struct transfer *t, const struct http_call *call)
{
    struct span base = span_of(call->target->base_url);
    struct span path = catalogue_path_below(base, call->url_path);
    if (t->url.n == base.n + path.n + 1 && memcmp(t->url.p, base.p, base.n) == 0 &&
        memcmp(t->url.p + base.n, path.p, path.n) == 0)
        return true; /* as last time */
    buf_reset(&t->url);
    bool ok = buf_add_span(&t->url, base) && buf_add_span(&t->url, path) &&
              buf_add_byte(&t->url, 0) &&
              curl_easy_setopt(t->easy, CURLOPT_URL, t->url.p) == CURLE_OK;
    if (!ok)
        buf_reset(&t->url);
    return ok;
}

enum rc transfer_set(struct transfer *t, struct http_call *call, struct err *err)
{
    CURL *easy = t->easy;
    bool ok = true;
    if (!is_path(call->url_path))
        return err_set(err, RC_REJECT, "the request's URL path is not one");
    if (t->forbids)
        SET(CURLOPT_FORBID_REUSE, 0L);
    struct curl_slist *headers = chain_headers(t, call);
    ok = ok && headers;
    if (headers != t->headers)
        SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->request.n);
    SET(CURLOPT_POSTFIELDS, call->request.n ? call->request.p : ""); /* borrowed, not copied */
    if (!ok || !set_target(t, call->target) || !set_url(t, call)) {
        t->headers = NULL;
        return err_set(err, RC_NOMEM, "no memory for a request");
    }
    t->headers = headers;
    t->call = call;
    t->fd = CURL_SOCKET_BAD;
    t->reply_hint = 0;
    t->released = t->refused = t->oversized = t->no_fd = t->forbids = t->aborted = false;
    call->facts = (struct http_facts){0};
    buf_done(&call->reply);
    buf_init(&call->reply, call->reply_max_bytes);
    call->started_us = clock_mono_us();
    call->first_byte_us = call->done_us = 0;
    return RC_OK;
}

/* ---- what came of it ------------------------------------------------------------------------- */

static bool is_one_of(CURLcode code, const CURLcode *codes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (code == codes[i])
            return true;
    return false;
}

#define IS_ONE_OF(code, list) is_one_of((code), (list), sizeof(list) / sizeof((list)[0]))

/* Not a switch: the enum has a hundred values, and new ones come. */
static enum http_fault judge_unsent(const struct transfer *t, CURLcode code)
{
    static const CURLcode certificate[] = {
        CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CERTPROBLEM,
        CURLE_SSL_ISSUER_ERROR,         CURLE_SSL_CRL_BADFILE,    CURLE_SSL_INVALIDCERTSTATUS,
        CURLE_SSL_PINNEDPUBKEYNOTMATCH, CURLE_SSL_CLIENTCERT,
    };
    static const CURLcode local[] = {
        CURLE_OUT_OF_MEMORY, CURLE_FAILED_INIT,          CURLE_BAD_FUNCTION_ARGUMENT,
        CURLE_URL_MALFORMAT, CURLE_UNSUPPORTED_PROTOCOL,
    };
    if (t->no_fd || IS_ONE_OF(code, local))
        return HTTP_FAULT_LOCAL;
    return IS_ONE_OF(code, certificate) ? HTTP_FAULT_TLS_CONFIG : HTTP_FAULT_UNSENT;
}

static enum http_fault judge(const struct transfer *t, CURLcode code)
{
    if (t->aborted)
        return HTTP_FAULT_ABORTED;
    if (code == CURLE_OK)
        return HTTP_FAULT_NONE;
    if (t->oversized)
        return HTTP_FAULT_OVERSIZED;
    if (t->released)
        return code == CURLE_OPERATION_TIMEDOUT ? HTTP_FAULT_TIMEOUT : HTTP_FAULT_SENT;
    return t->refused ? HTTP_FAULT_GATE : judge_unsent(t, code);
}

void transfer_report(struct transfer *t, CURLcode code)
{
    struct http_call *call = t->call;
    FAILPOINT("reply.complete");
    call->facts.fault = judge(t, code);
    call->facts.curl_code = (int)code;
    call->facts.body = buf_span(&call->reply);
    call->done_us = clock_mono_us();
}
