#include "tests/modelsim/http.h"

/*
 * Purpose: request heads and chunks. Happy path: a complete head in one read, one pass over it.
 * Failure: ambiguous framing (two lengths, length and chunks) is refused, as RFC 9112 demands: a
 * witness that read a request in two ways would count wrongly.
 */
#include <string.h>
#include <strings.h>

static bool name_is(struct span name, const char *text)
{
    return name.len == strlen(text) && strncasecmp(name.at, text, name.len) == 0;
}

static bool has_token(struct span value, const char *token)
{
    size_t len = strlen(token);
    for (size_t i = 0; i + len <= value.len; i++)
        if (strncasecmp(value.at + i, token, len) == 0)
            return true;
    return false;
}

static bool read_length(struct span value, int64_t *length)
{
    int64_t number = 0;
    if (value.len == 0 || value.len > 15)
        return false;
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            return false;
        number = number * 10 + (value.at[i] - '0');
    }
    if (*length >= 0 && *length != number)
        return false;
    *length = number;
    return true;
}

/* One header line. Returns 0, or the status that refuses it. */
static int read_header(struct span name, struct span value, struct http_head *head)
{
    if (name_is(name, "content-length"))
        return read_length(value, &head->length) ? 0 : 400;
    if (name_is(name, "transfer-encoding")) {
        head->chunked = name_is(value, "chunked");
        return head->chunked ? 0 : 501;
    }
    if (name_is(name, "connection")) {
        if (has_token(value, "close"))
            head->keep_alive = false;
        else if (has_token(value, "keep-alive"))
            head->keep_alive = true;
    } else if (name_is(name, "authorization")) {
        head->authorization = value;
    } else if (name_is(name, "x-inferq-job")) {
        head->job = value;
    } else if (name_is(name, "x-inferq-call")) {
        head->call = value;
    } else if (name_is(name, "x-sim")) {
        head->sim = value;
    }
    return 0;
}

static int read_request_line(struct span line, struct http_head *head)
{
    const char *first = memchr(line.at, ' ', line.len);
    if (first == NULL)
        return 400;
    struct span method = {line.at, (size_t)(first - line.at)};
    struct span target = {first + 1, line.len - method.len - 1};
    const char *second = memchr(target.at, ' ', target.len);
    if (second == NULL || target.at[0] != '/')
        return 400;
    struct span version = {second + 1, target.len - (size_t)(second - target.at) - 1};
    target.len = (size_t)(second - target.at);
    head->method = span_is(method, "GET")    ? METHOD_GET
                   : span_is(method, "POST") ? METHOD_POST
                                             : METHOD_OTHER;
    const char *question = memchr(target.at, '?', target.len);
    head->path = target;
    if (question != NULL) {
        head->path.len = (size_t)(question - target.at);
        head->query = (struct span){question + 1, target.len - head->path.len - 1};
    }
    head->keep_alive = span_is(version, "HTTP/1.1");
    if (head->keep_alive || span_is(version, "HTTP/1.0"))
        return 0;
    return version.len > 5 && memcmp(version.at, "HTTP/", 5) == 0 ? 505 : 400;
}

static int read_header_line(struct span line, struct http_head *head)
{
    const char *colon = memchr(line.at, ':', line.len);
    if (colon == NULL || colon == line.at || line.at[0] == ' ' || line.at[0] == '\t')
        return 400;
    struct span name = {line.at, (size_t)(colon - line.at)};
    struct span value = {colon + 1, line.len - name.len - 1};
    while (value.len > 0 && (value.at[0] == ' ' || value.at[0] == '\t'))
        value = (struct span){value.at + 1, value.len - 1};
    while (value.len > 0 && (value.at[value.len - 1] == ' ' || value.at[value.len - 1] == '\t'))
        value.len--;
    return read_header(name, value, head);
}

enum http_step http_head_parse(const char *data, size_t len, struct http_head *ret_head,
                               int *ret_status)
{
    struct http_head head = {.length = -1};
    size_t at = 0;
    *ret_status = 0;
    for (bool first = true;; first = false) {
        const char *newline = at < len ? memchr(data + at, '\n', len - at) : NULL;
        if (newline == NULL) {
            *ret_status = len > HTTP_HEAD_MAX ? 431 : 0;
            return len > HTTP_HEAD_MAX ? HTTP_BAD : HTTP_MORE;
        }
        struct span line = {data + at, (size_t)(newline - data) - at};
        at += line.len + 1;
        if (line.len > 0 && line.at[line.len - 1] == '\r')
            line.len--;
        if (line.len == 0 && !first)
            break;
        if (memchr(line.at, '\0', line.len) != NULL)
            *ret_status = 400;
        else
            *ret_status = first ? read_request_line(line, &head) : read_header_line(line, &head);
        if (*ret_status != 0)
            return HTTP_BAD;
    }
    head.len = at;
    if (at > HTTP_HEAD_MAX || (head.chunked && head.length >= 0)) {
        *ret_status = at > HTTP_HEAD_MAX ? 431 : 400;
        return HTTP_BAD;
    }
    *ret_head = head;
    return HTTP_DONE;
}

/* A chunk-size line, extensions ignored. */
static bool read_chunk_size(struct span line, uint64_t *ret_size)
{
    uint64_t size = 0;
    size_t i = 0;
    for (; i < line.len && i < 15; i++) {
        char c = line.at[i];
        unsigned int digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned int)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (unsigned int)((c | 0x20) - 'a') + 10;
        else
            break;
        size = size * 16 + digit;
    }
    *ret_size = size;
    return i > 0 && (i == line.len || line.at[i] == ';' || line.at[i] == ' ');
}

/* One line of the framing. */
static enum http_step chunk_line(struct http_chunks *chunks, struct span line, size_t room)
{
    if (line.len > 0 && line.at[line.len - 1] == '\r')
        line.len--;
    if (chunks->state == CHUNK_TRAILER)
        return line.len == 0 ? HTTP_DONE : HTTP_MORE;
    if (chunks->state == CHUNK_END) {
        chunks->state = CHUNK_SIZE;
        return line.len == 0 ? HTTP_MORE : HTTP_BAD;
    }
    if (!read_chunk_size(line, &chunks->left) || chunks->left > room)
        return HTTP_BAD;
    chunks->state = chunks->left == 0 ? CHUNK_TRAILER : CHUNK_DATA;
    return HTTP_MORE;
}

enum http_step http_chunks_decode(struct http_chunks *chunks, const char *data, size_t len,
                                  size_t max_bytes, struct buf *body, size_t *ret_used)
{
    size_t at = 0;
    enum http_step step = HTTP_MORE;
    while (step == HTTP_MORE && at < len) {
        if (chunks->state == CHUNK_DATA) {
            size_t take = len - at < chunks->left ? len - at : (size_t)chunks->left;
            buf_add(body, data + at, take);
            at += take;
            chunks->left -= take;
            if (chunks->left == 0)
                chunks->state = CHUNK_END;
            continue;
        }
        const char *newline = memchr(data + at, '\n', len - at);
        if (newline == NULL) {
            step = len - at > 4096 ? HTTP_BAD : HTTP_MORE;
            break;
        }
        struct span line = {data + at, (size_t)(newline - data) - at};
        at += line.len + 1;
        step = chunk_line(chunks, line, max_bytes - body->len);
    }
    *ret_used = at;
    return step;
}

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } known[] = {{200, "OK"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {402, "Payment Required"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {413, "Content Too Large"},
                 {422, "Unprocessable Content"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"},
                 {529, "Overloaded"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].status == status)
            return known[i].reason;
    return "Unknown";
}
