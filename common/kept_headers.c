/*
 * kept_headers.c - two lines, written and read.
 *
 * Nothing here fails: a column that is cut or odd gives fewer headers, and a job without them runs;
 * where signatures are required, it is refused like any that came without one.
 */
#include "common/kept_headers.h"

#include <string.h>

static void add_line(struct span value, struct buf *out)
{
    if (value.n > 0 && value.n <= KEPT_HEADER_BYTES_MAX && !memchr(value.p, '\n', value.n))
        buf_add_span(out, value);
    buf_add_byte(out, '\n');
}

void kept_headers_pack(struct kept_headers headers, struct buf *out)
{
    add_line(headers.signature, out);
    add_line(headers.traceparent, out);
}

/* Takes the first line off `rest`. */
static struct span take_line(struct span *rest)
{
    const char *end = rest->n > 0 ? memchr(rest->p, '\n', rest->n) : NULL;
    if (!end)
        return (struct span){0};
    struct span line = {rest->p, (size_t)(end - rest->p)};
    rest->p += line.n + 1;
    rest->n -= line.n + 1;
    return line.n > 0 ? line : (struct span){0};
}

struct kept_headers kept_headers_unpack(struct span column)
{
    struct kept_headers headers;
    headers.signature = take_line(&column);
    headers.traceparent = take_line(&column);
    return headers;
}
