/*
 * kept_headers.h - the record headers that are kept with a payload in Postgres: the column
 * `headers` of `parked` and `dead_letter` (pure).
 *
 * The column is two lines, "SIGNATURE\n" "TRACEPARENT\n"; an empty line is a header that was
 * absent. Neither header can hold a newline or be long, so a value that is either is none: it is
 * left out.
 */
#ifndef INFERQ_COMMON_KEPT_HEADERS_H
#define INFERQ_COMMON_KEPT_HEADERS_H

#include "common/buf.h"
#include "common/span.h"

enum {
    KEPT_HEADER_BYTES_MAX = 1024, /* of one value */
    KEPT_HEADERS_BYTES_MAX = 2 * (KEPT_HEADER_BYTES_MAX + 1),
};

struct kept_headers {
    struct span signature;   /* inferq-signature; absent: there was none */
    struct span traceparent; /* traceparent; absent: there was none */
};

/* Appends at most KEPT_HEADERS_BYTES_MAX bytes; out->failed says whether they found room. */
void kept_headers_pack(struct kept_headers headers, struct buf *out);

/* Borrows from `column`, which may be absent. A line that does not end is not there; what follows
 * the second line is ignored. */
struct kept_headers kept_headers_unpack(struct span column);

#endif
