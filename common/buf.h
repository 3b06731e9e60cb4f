/*
 * buf.h - a growable byte buffer that must be told its maximum.
 *
 * Growth doubles up to the cap; what does not fit is refused and leaves the buffer as it was, and
 * the buffer remembers that (`failed`), so a writer may append many pieces and check once.
 */
#ifndef INFERQ_COMMON_BUF_H
#define INFERQ_COMMON_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/span.h"

struct buf {
    char *p;
    size_t n;         /* bytes used */
    size_t cap;       /* bytes allocated */
    size_t max_bytes; /* never grows past this */
    bool failed;      /* an append was refused (cap or memory) since the last reset */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_done(struct buf *b);  /* frees; safe on a zeroed struct */
void buf_reset(struct buf *b); /* empties, keeps the memory, clears `failed` */

bool buf_add(struct buf *b, const void *p, size_t n); /* false: refused, and `failed` is set */
bool buf_add_span(struct buf *b, struct span s);
bool buf_add_text(struct buf *b, const char *text);
bool buf_add_byte(struct buf *b, uint8_t byte);
bool buf_add_u32be(struct buf *b, uint32_t v);
bool buf_add_u64be(struct buf *b, uint64_t v);
bool buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Makes room for `n` more bytes and returns where they go (NULL: refused); the caller writes there
 * and then adds to b->n what it wrote. */
char *buf_room(struct buf *b, size_t n);

/* Takes the memory out of the buffer: returns owned (free()), sets *ret_n; the buffer is empty
 * again. NULL when the buffer is empty. */
char *buf_take(struct buf *b, size_t *ret_n);

static inline struct span buf_span(const struct buf *b)
{
    return (struct span){b->p ? b->p : "", b->n};
}

#endif
