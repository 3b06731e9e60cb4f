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

/* A length of `length_bytes`, then that many bytes; an ext has its type byte in between. */
static enum mp_fault read_sized(struct mp_cursor *c, enum mp_type type, unsigned length_bytes,
                                struct mp_token *t)
{
    uint64_t n;
    if (!take_uint(c, length_bytes, &n) || (type == MP_EXT && !take(c, 1)))
        return MP_CUT;
    return read_payload(c, type, n, t);
}

static enum mp_fault read_fixext(struct mp_cursor *c, uint64_t n, struct mp_token *t)
{
    return take(c, 1) ? read_payload(c, MP_EXT, n, t) : MP_CUT;
}

static enum mp_fault read_unsigned(struct mp_cursor *c, unsigned bytes, struct mp_token *t)
{
    t->type = MP_UINT;
    return take_uint(c, bytes, &t->u) ? MP_OK : MP_CUT;
}

static enum mp_fault read_signed(struct mp_cursor *c, unsigned bytes, struct mp_token *t)
{
    uint64_t v;
    if (!take_uint(c, bytes, &v))
        return MP_CUT;
    const uint64_t sign = (uint64_t)1 << (bytes * 8 - 1);
    t->u = (v ^ sign) - sign; /* sign extension */
    t->type = v & sign ? MP_NEGATIVE : MP_UINT;
    return MP_OK;
}

static enum mp_fault read_float(struct mp_cursor *c, unsigned bytes, struct mp_token *t)
{
    t->type = MP_FLOAT;
    return take(c, bytes) ? MP_OK : MP_CUT;
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

static enum mp_fault read_container(struct mp_cursor *c, enum mp_type type, unsigned count_bytes,
                                    struct mp_token *t)
{
    uint64_t count;
    return take_uint(c, count_bytes, &count) ? read_count(c, type, count, t) : MP_CUT;
}

static enum mp_fault read_bool(bool v, struct mp_token *t)
{
    t->type = MP_BOOL;
    t->u = v;
    return MP_OK;
}

/* Heads 0xc0 .. 0xdf: the type is in the byte, sizes follow. */
static enum mp_fault read_long(struct mp_cursor *c, uint8_t head, struct mp_token *t)
{
    switch (head) {
    case 0xc0:
        t->type = MP_NIL;
        return MP_OK;
    case 0xc2:
        return read_bool(false, t);
    case 0xc3:
        return read_bool(true, t);
    case 0xc4:
        return read_sized(c, MP_BIN, 1, t);
    case 0xc5:
        return read_sized(c, MP_BIN, 2, t);
    case 0xc6:
        return read_sized(c, MP_BIN, 4, t);
    case 0xc7:
        return read_sized(c, MP_EXT, 1, t);
    case 0xc8:
        return read_sized(c, MP_EXT, 2, t);
    case 0xc9:
        return read_sized(c, MP_EXT, 4, t);
    case 0xca:
        return read_float(c, 4, t);
    case 0xcb:
        return read_float(c, 8, t);
    case 0xcc:
        return read_unsigned(c, 1, t);
    case 0xcd:
        return read_unsigned(c, 2, t);
    case 0xce:
        return read_unsigned(c, 4, t);
    case 0xcf:
        return read_unsigned(c, 8, t);
    case 0xd0:
        return read_signed(c, 1, t);
    case 0xd1:
        return read_signed(c, 2, t);
    case 0xd2:
        return read_signed(c, 4, t);
    case 0xd3:
        return read_signed(c, 8, t);
    case 0xd4:
        return read_fixext(c, 1, t);
    case 0xd5:
        return read_fixext(c, 2, t);
    case 0xd6:
        return read_fixext(c, 4, t);
    case 0xd7:
        return read_fixext(c, 8, t);
    case 0xd8:
        return read_fixext(c, 16, t);
    case 0xd9:
        return read_sized(c, MP_STR, 1, t);
    case 0xda:
        return read_sized(c, MP_STR, 2, t);
    case 0xdb:
        return read_sized(c, MP_STR, 4, t);
    case 0xdc:
        return read_container(c, MP_ARRAY, 2, t);
    case 0xdd:
        return read_container(c, MP_ARRAY, 4, t);
    case 0xde:
        return read_container(c, MP_MAP, 2, t);
    case 0xdf:
        return read_container(c, MP_MAP, 4, t);
    default:
        return MP_NOT_MSGPACK; /* 0xc1 */
    }
}

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
    return read_long(c, b, t);
}

enum mp_fault mp_next(struct mp_cursor *c, struct mp_token *ret)
{
    struct mp_cursor at = *c;
    struct mp_token token = {.type = MP_NIL};
    const enum mp_fault fault = read_token(&at, &token);
    if (fault == MP_OK) {
        *c = at;
        *ret = token;
    }
    return fault;
}

enum mp_fault mp_skip(struct mp_cursor *c)
{
    struct mp_cursor at = *c;
    uint64_t owed[MP_DEPTH_MAX + 1]; /* values still to come, per open level */
    owed[0] = 1;
    unsigned depth = 0;
    while (true) {
        struct mp_token token = {.type = MP_NIL};
        const enum mp_fault fault = read_token(&at, &token);
        if (fault != MP_OK)
            return fault;
        owed[depth]--;
        if (token.type == MP_ARRAY || token.type == MP_MAP) {
            if (depth == MP_DEPTH_MAX)
                return MP_DEEP;
            owed[++depth] = token.type == MP_MAP ? token.u * 2 : token.u;
        }
        while (owed[depth] == 0) {
            if (depth == 0) {
                *c = at;
                return MP_OK;
            }
            depth--;
        }
    }
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
