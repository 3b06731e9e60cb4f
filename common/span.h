/*
 * span.h - a borrowed run of bytes. It owns nothing, is not NUL-terminated and may hold NULs; it
 * lives as long as the buffer it points into.
 */
#ifndef INFERQ_COMMON_SPAN_H
#define INFERQ_COMMON_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
    const char *p; /* NULL: absent, which is not the same as empty */
    size_t n;
};

#define SPAN_LIT(s) ((struct span){(s), sizeof(s) - 1})

static inline struct span span_of(const char *text)
{
    return (struct span){text, text ? strlen(text) : 0};
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || (a.p && b.p && memcmp(a.p, b.p, a.n) == 0));
}

static inline bool span_is(struct span a, const char *text)
{
    return span_eq(a, span_of(text));
}

/* As text with its NUL; what has no room in `out_bytes` (1 ..) is left out. */
static inline void span_copy(struct span text, char *out, size_t out_bytes)
{
    size_t n = text.n < out_bytes - 1 ? text.n : out_bytes - 1;
    if (n)
        memcpy(out, text.p, n);
    out[n] = '\0';
}

#endif
