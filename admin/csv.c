/*
 * csv.c - quotes what needs it.
 */
#include "admin/csv.h"

#include <stdbool.h>
#include <string.h>

void csv_add(struct buf *out, struct span value)
{
    if (!value.p)
        return;
    bool quoted = value.n == 0;
    for (size_t i = 0; i < value.n && !quoted; i++)
        quoted = value.p[i] == '"' || value.p[i] == ',' || value.p[i] == '\n' || value.p[i] == '\r';
    if (!quoted) {
        buf_add_span(out, value);
        return;
    }
    buf_add_byte(out, '"');
    for (size_t i = 0; i < value.n;) {
        const char *quote = memchr(value.p + i, '"', value.n - i);
        size_t n = quote ? (size_t)(quote - value.p) - i + 1 : value.n - i;
        buf_add(out, value.p + i, n);
        if (quote)
            buf_add_byte(out, '"');
        i += n;
    }
    buf_add_byte(out, '"');
}
