/*
 * mp_read.c - the msgpack cursor (https://github.com/msgpack/msgpack/blob/master/spec.md).
 *
 * mp_next looks at one head byte and takes the bytes that belong to it, if they are there. mp_skip
 * counts what is still owed on each open level, on a small array, so depth is bounded by its length
 * and work by the bytes: each step consumes at least one.
 */
#include "common/mp_read.h"

#include <stddef.h>

static const uint8_t *take(struct mp_cursor *c, uint64_t n)
{
    if ((uint64_t)(c->end - c->p) < n)
        return NULL;
    const uint8_t *p = c->p;
    c->p += n;
    return p;
}

/* A big-endian unsigned integer of 1, 2, 4 or 8 bytes. */
static bool take_uint(struct mp_cursor *c, unsigned bytes, uint64_t *ret)
{
    const uint8_t *p = take(c, bytes);
    if (!p)
        return false;
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    *ret = v;
    return true;
}

static enum mp_fault read_payload(struct mp_cursor *c, enum mp_type type, uint64_t n,
                                  struct mp_token *t)
{
    const uint8_t *p = take(c, n);
    if (!p)
        return MP_CUT;
    t->type = type;
    t->bytes = (struct span){(const char *)p, (size_t)n};
    return MP_OK;
}

/* Every element takes a byte at least, so a count past what remains is a lie: found here, before
 * anybody makes room for it. */
static enum mp_fault read_count(const struct mp_cursor *c, enum mp_type type, uint64_t count,
                                struct mp_token *t)
{
    const uint64_t items = type == MP_MAP ? count * 2 : count;
    if (items > (uint64_t)(c->end - c->p))
        return MP_CUT;
    t->type = type;
    t->u = count;
    return MP_OK;
}

/* ---- heads 0xc0 .. 0xdf: the type is in the byte, `size` says what follows ---------------- */

typedef enum mp_fault (*head_reader)(struct mp_cursor *c, enum mp_type type, unsigned size,
                                     struct mp_token *t);

static enum mp_fault read_unused(struct mp_cursor *c, enum mp_type type, unsigned size,
                                 struct mp_token *t)
{
    (void)c, (void)type, (void)size, (void)t;
    return MP_NOT_MSGPACK;
}

/* `size` bytes whose value nobody asks for: nil, floats. */
static enum mp_fault read_opaque(struct mp_cursor *c, enum mp_type type, unsigned size,
                                 struct mp_token *t)
{
    t->type = type;
    return take(c, size) ? MP_OK : MP_CUT;
}

static enum mp_fault read_bool(struct mp_cursor *c, enum mp_type type, unsigned size,
                               struct mp_token *t)
{
    (void)c;
    t->type = type;
    t->u = size;
    return MP_OK;
}

static enum mp_fault read_unsigned(struct mp_cursor *c, enum mp_type type, unsigned size,
                                   struct mp_token *t)
{
    t->type = type;
    return take_uint(c, size, &t->u) ? MP_OK : MP_CUT;
}

static enum mp_fault read_signed(struct mp_cursor *c, enum mp_type type, unsigned size,
                                 struct mp_token *t)
{
    uint64_t v;
    if (!take_uint(c, size, &v))
        return MP_CUT;
    const uint64_t sign = (uint64_t)1 << (size * 8 - 1);
    t->type = v & sign ? MP_NEGATIVE : type;
    t->u = (v ^ sign) - sign; /* sign extension */
    return MP_OK;
}

/* A length of `size` bytes, then that many; an ext has its type byte in between. */
static enum mp_fault read_sized(struct mp_cursor *c, enum mp_type type, unsigned size,
                                struct mp_token *t)
{
    uint64_t n;
    if (!take_uint(c, size, &n) || (type == MP_EXT && !take(c, 1)))
        return MP_CUT;
    return read_payload(c, type, n, t);
}

static enum mp_fault read_fixext(struct mp_cursor *c, enum mp_type type, unsigned size,
                                 struct mp_token *t)
{
    return take(c, 1) ? read_payload(c, type, size, t) : MP_CUT;
}

static enum mp_fault read_container(struct mp_cursor *c, enum mp_type type, unsigned size,
                                    struct mp_token *t)
{
    uint64_t count;
    return take_uint(c, size, &count) ? read_count(c, type, count, t) : MP_CUT;
}

static const struct {
    head_reader read;
    enum mp_type type;
    unsigned size;
} heads[32] = {
    /* 0xc0 */ {read_opaque, MP_NIL, 0},
    /* 0xc1 */ {read_unused, MP_NIL, 0},
    /* 0xc2 */ {read_bool, MP_BOOL, 0},
    /* 0xc3 */ {read_bool, MP_BOOL, 1},
    /* 0xc4 */ {read_sized, MP_BIN, 1},
    /* 0xc5 */ {read_sized, MP_BIN, 2},
    /* 0xc6 */ {read_sized, MP_BIN, 4},
    /* 0xc7 */ {read_sized, MP_EXT, 1},
    /* 0xc8 */ {read_sized, MP_EXT, 2},
    /* 0xc9 */ {read_sized, MP_EXT, 4},
    /* 0xca */ {read_opaque, MP_FLOAT, 4},
    /* 0xcb */ {read_opaque, MP_FLOAT, 8},
    /* 0xcc */ {read_unsigned, MP_UINT, 1},
    /* 0xcd */ {read_unsigned, MP_UINT, 2},
    /* 0xce */ {read_unsigned, MP_UINT, 4},
    /* 0xcf */ {read_unsigned, MP_UINT, 8},
    /* 0xd0 */ {read_signed, MP_UINT, 1},
    /* 0xd1 */ {read_signed, MP_UINT, 2},
    /* 0xd2 */ {read_signed, MP_UINT, 4},
    /* 0xd3 */ {read_signed, MP_UINT, 8},
    /* 0xd4 */ {read_fixext, MP_EXT, 1},
    /* 0xd5 */ {read_fixext, MP_EXT, 2},
    /* 0xd6 */ {read_fixext, MP_EXT, 4},
    /* 0xd7 */ {read_fixext, MP_EXT, 8},
    /* 0xd8 */ {read_fixext, MP_EXT, 16},
    /* 0xd9 */ {read_sized, MP_STR, 1},
    /* 0xda */ {read_sized, MP_STR, 2},
    /* 0xdb */ {read_sized, MP_STR, 4},
    /* 0xdc */ {read_container, MP_ARRAY, 2},
    /* 0xdd */ {read_container, MP_ARRAY, 4},
    /* 0xde */ {read_container, MP_MAP, 2},
    /* 0xdf */ {read_container, MP_MAP, 4},
};

static enum mp_fault read_token(struct mp_cursor *c, struct mp_token *t)
{
    const uint8_t *head = take(c, 1);
    if (!head)
        return MP_CUT;
    const uint8_t b = *head;
    if (b < 0x80 || b >= 0xe0) { /* positive and negative fixint */
        t->type = b < 0x80 ? MP_UINT : MP_NEGATIVE;
        t->u = b < 0x80 ? b : b | ~(uint64_t)0xff;
        return MP_OK;
    }
    if (b < 0x90)
        return read_count(c, MP_MAP, b & 0x0f, t);
    if (b < 0xa0)
        return read_count(c, MP_ARRAY, b & 0x0f, t);
    if (b < 0xc0)
        return read_payload(c, MP_STR, b & 0x1f, t);
    return heads[b & 0x1f].read(c, heads[b & 0x1f].type, heads[b & 0x1f].size, t);
}

/* Both work on the caller's cursor and token in place: to copy a struct just after its parts were
 * written stalls the processor, and that was most of a message's decoding time. */

enum mp_fault mp_next(struct mp_cursor *c, struct mp_token *ret)
{
    const uint8_t *start = c->p;
    ret->u = 0;
    ret->bytes = (struct span){NULL, 0};
    const enum mp_fault fault = read_token(c, ret);
    if (fault != MP_OK)
        c->p = start;
    return fault;
}

enum mp_fault mp_skip(struct mp_cursor *c)
{
    const uint8_t *start = c->p;
    uint64_t owed[MP_DEPTH_MAX + 1]; /* values still to come, per open level */
    owed[0] = 1;
    unsigned depth = 0;
    enum mp_fault fault;
    struct mp_token token; /* its type is always set, its count when it is a container */
    while ((fault = read_token(c, &token)) == MP_OK) {
        owed[depth]--;
        if (token.type == MP_ARRAY || token.type == MP_MAP) {
            if (depth == MP_DEPTH_MAX) {
                fault = MP_DEEP;
                break;
            }
            owed[++depth] = token.type == MP_MAP ? token.u * 2 : token.u;
        }
        while (owed[depth] == 0) {
            if (depth == 0)
                return MP_OK;
            depth--;
        }
    }
    c->p = start;
    return fault;
}

enum mp_fault mp_check(struct span bytes)
{
    struct mp_cursor at = mp_cursor_of(bytes);
    const enum mp_fault fault = mp_skip(&at);
    return fault == MP_OK && at.p != at.end ? MP_TRAILING : fault;
}

const char *mp_fault_text(enum mp_fault fault)
{
    switch (fault) {
    case MP_OK:
        return "well-formed";
    case MP_CUT:
        return "the bytes end inside a value";
    case MP_DEEP:
        return "maps and arrays nest deeper than 32 levels";
    case MP_NOT_MSGPACK:
        return "byte 0xc1, which msgpack does not use";
    case MP_TRAILING:
        return "bytes follow the value";
    }
    return "unknown";
}

const char *mp_type_name(enum mp_type type)
{
    switch (type) {
    case MP_NIL:
        return "nil";
    case MP_BOOL:
        return "bool";
    case MP_UINT:
        return "int";
    case MP_NEGATIVE:
        return "negative int";
    case MP_FLOAT:
        return "float";
    case MP_STR:
        return "str";
    case MP_BIN:
        return "bin";
    case MP_EXT:
        return "ext";
    case MP_ARRAY:
        return "array";
    case MP_MAP:
        return "map";
    }
    return "unknown";
}
