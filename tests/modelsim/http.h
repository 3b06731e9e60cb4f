#ifndef MODELSIM_HTTP_H
#define MODELSIM_HTTP_H
/*
 * Purpose: the server's side of HTTP/1.1 as far as a model server needs it: request heads and
 * chunked bodies, incrementally.
 */
#include "tests/modelsim/buf.h"
#include "tests/modelsim/jscan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX 65536

enum http_method { METHOD_GET, METHOD_POST, METHOD_OTHER };

/* One request head; the spans point into the parsed bytes. */
struct http_head {
    size_t len; /* bytes up to the body */
    enum http_method method;
    struct span path;
    struct span query;
    bool keep_alive;
    bool chunked;
    int64_t length; /* Content-Length; -1: none */
    struct span authorization;
    struct span job;
    struct span call;
    struct span sim;
};

enum http_step { HTTP_MORE, HTTP_DONE, HTTP_BAD };

/* Reads a head. HTTP_MORE: not complete yet. HTTP_BAD: *ret_status is the answer it deserves (400,
 * 431, 501, 505), after which the connection must be closed. */
enum http_step http_head_parse(const char *data, size_t len, struct http_head *ret_head,
                               int *ret_status);

/* Where a chunked body stands; all zero at its start. */
struct http_chunks {
    enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER } state;
    uint64_t left;
};

/* Decodes what is there, appends it to body, says in *ret_used how many bytes were consumed.
 * HTTP_DONE: the body is complete. HTTP_BAD: malformed or more than max_bytes. */
enum http_step http_chunks_decode(struct http_chunks *chunks, const char *data, size_t len,
                                  size_t max_bytes, struct buf *body, size_t *ret_used);

/* The standard phrase of a status, or "Unknown". */
const char *http_reason(int status);

#endif
