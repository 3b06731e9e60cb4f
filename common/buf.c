/*
 * buf.c - a growable byte buffer that must be told its maximum.
 *
 * Happy path: buf_room makes room by doubling, the caller's bytes go there. Failure: the cap or
 * the memory is reached; the append is refused whole, `failed` is set, and every later append is
 * refused too, so that what the buffer holds is always a prefix of what was meant.
 *
 * One byte more than `cap` is allocated: vsnprintf ends its text with a NUL, and text that just
 * fits should not be refused for it.
 */
#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 64 };

void buf_init(struct buf *b, size_t max_bytes)
{
    /* PTRDIFF_MAX is malloc's own limit; below it, sums of two lengths cannot wrap. */
    size_t most = (size_t)PTRDIFF_MAX - 1;
    *b = (struct buf){.max_bytes = max_bytes < most ? max_bytes : most};
}

void buf_done(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.max_bytes = b->max_bytes};
}

void buf_reset(struct buf *b)
{
    b->n = 0;
    b->failed = false;
}

static char *refuse(struct buf *b)
{
    b->failed = true;
    return NULL;
}

char *buf_room(struct buf *b, size_t n)
{
    if (b->failed || n > b->max_bytes - b->n)
        return refuse(b);
    size_t need = b->n + n;
    if (b->p && need <= b->cap)
        return b->p + b->n;

    size_t cap = b->cap <= b->max_bytes / 2 ? b->cap * 2 : b->max_bytes;
    if (cap < FIRST_BYTES)
        cap = FIRST_BYTES;
    if (cap < need)
        cap = need;
    if (cap > b->max_bytes)
        cap = b->max_bytes;
    char *p = realloc(b->p, cap + 1);
    if (!p)
        return refuse(b);
    b->p = p;
    b->cap = cap;
    return p + b->n;
}

bool buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return !b->failed;
    char *to = buf_room(b, n);
    if (!to)
        return false;
    memcpy(to, p, n);
    b->n += n;
    return true;
}

bool buf_add_span(struct buf *b, struct span s)
{
    return buf_add(b, s.p, s.n);
}

bool buf_add_text(struct buf *b, const char *text)
{
    return buf_add(b, text, strlen(text));
}

bool buf_add_byte(struct buf *b, uint8_t byte)
{
    return buf_add(b, &byte, 1);
}

bool buf_add_u32be(struct buf *b, uint32_t v)
{
    uint8_t bytes[] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    return buf_add(b, bytes, sizeof bytes);
}

bool buf_add_u64be(struct buf *b, uint64_t v)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(v >> (56 - 8 * i));
    return buf_add(b, bytes, sizeof bytes);
}

bool buf_addf(struct buf *b, const char *fmt, ...)
{
    if (b->failed)
        return false;
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    /* Most texts fit the room there is: then they are formatted once. */
    size_t room = b->p ? b->cap - b->n + 1 : 0;
    int n = vsnprintf(b->p ? b->p + b->n : NULL, room, fmt, args);
    va_end(args);

    bool fits = n >= 0;
    if (fits && (size_t)n >= room) {
        char *to = buf_room(b, (size_t)n);
        fits = to && vsnprintf(to, (size_t)n + 1, fmt, again) == n;
    }
    va_end(again);
    if (!fits) {
        b->failed = true;
        return false;
    }
    b->n += (size_t)n;
    return true;
}

char *buf_take(struct buf *b, size_t *ret_n)
{
    *ret_n = b->n;
    if (b->n == 0)
        return NULL;
    char *p = b->p;
    *b = (struct buf){.max_bytes = b->max_bytes};
    return p;
}
