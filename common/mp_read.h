/*
 * mp_read.h - reads msgpack in place: a cursor over bytes that nobody vouches for.
 *
 * Why not msgpack-c's unpacker: it builds a tree in a zone of its own (an allocation and a copy of
 * every header per message, for values that are read once, in order), and it believes a count
 * before it has seen the elements: five bytes, dd 04000000, make it reserve 2 GB. A worker has
 * about 3 us for decoding, the id check and the signature together, so messages are walked where
 * they lie. Nothing here allocates, recurses or reads past the end; strings point into the input.
 */
#ifndef INFERQ_COMMON_MP_READ_H
#define INFERQ_COMMON_MP_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "common/span.h"

/* Maps and arrays inside one another; an empty one counts as a level too. */
enum { MP_DEPTH_MAX = 32 };

enum mp_fault {
    MP_OK = 0,
    MP_CUT,         /* the bytes end inside a value, or a count promises more than can follow */
    MP_DEEP,        /* more than MP_DEPTH_MAX levels */
    MP_NOT_MSGPACK, /* 0xc1, the one byte that msgpack never uses */
    MP_TRAILING,    /* bytes follow the value (mp_check only) */
};

enum mp_type {
    MP_NIL,
    MP_BOOL,
    MP_UINT,     /* any integer >= 0, however it was written */
    MP_NEGATIVE, /* any integer < 0 */
    MP_FLOAT,
    MP_STR,
    MP_BIN,
    MP_EXT,
    MP_ARRAY,
    MP_MAP,
};

/* A scalar whole; of an array or a map the head, its elements follow in the cursor. */
struct mp_token {
    enum mp_type type;
    uint64_t u;        /* UINT: the value. BOOL: 0, 1. NEGATIVE: two's complement.
                          ARRAY: elements. MAP: pairs. Others: 0 */
    struct span bytes; /* STR, BIN, EXT: the payload (EXT without its type byte); p never NULL */
};

struct mp_cursor {
    const uint8_t *p, *end;
};

static inline struct mp_cursor mp_cursor_of(struct span s)
{
    const uint8_t *p = (const uint8_t *)(s.p ? s.p : "");
    return (struct mp_cursor){p, p + s.n};
}

/* Reads one token and moves past it. On a fault the cursor stays, and *ret means nothing. */
enum mp_fault mp_next(struct mp_cursor *c, struct mp_token *ret);

/* Moves past one whole value, whatever it holds. On a fault the cursor stays. */
enum mp_fault mp_skip(struct mp_cursor *c);

/* Whether the bytes are exactly one well-formed value. After MP_OK, walking them with mp_next and
 * mp_skip as its counts say cannot fail. */
enum mp_fault mp_check(struct span bytes);

const char *mp_fault_text(enum mp_fault fault); /* "the bytes end inside a value", ... */
const char *mp_type_name(enum mp_type type);    /* "str", "bin", "negative int", ... */

#endif
