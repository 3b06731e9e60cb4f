/*
 * jobid.c - ids that follow from what they name (pure).
 *
 * The time in front keeps Postgres' partitions and indexes in order; the digest behind it makes the
 * same job the same id wherever it is computed. Field lengths are hashed with the fields, so that
 * no two different triples read alike.
 */
#include "common/jobid.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/hash.h"
#include "common/hex.h"

enum { TIME_BYTES = 6, TAIL_BYTES = ID_BYTES - TIME_BYTES };

static const int64_t TIME_MAX_MS = ((int64_t)1 << 48) - 1;

static struct span put_u32(uint8_t out[4], uint32_t v)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> (24 - 8 * i));
    return (struct span){(const char *)out, 4};
}

/* Time, digest, then the version and variant bits of RFC 9562, 5.7, over the digest's. */
static struct jobid assemble(int64_t created_ms, const struct span *parts, size_t count)
{
    assert(created_ms >= 0 && created_ms <= TIME_MAX_MS);
    uint8_t digest[HASH_BYTES];
    hash_sha256(parts, count, digest);
    struct jobid id;
    for (int i = 0; i < TIME_BYTES; i++)
        id.b[i] = (uint8_t)(created_ms >> (40 - 8 * i));
    memcpy(id.b + TIME_BYTES, digest, TAIL_BYTES);
    id.b[6] = (uint8_t)((id.b[6] & 0x0f) | 0x70);
    id.b[8] = (uint8_t)((id.b[8] & 0x3f) | 0x80);
    return id;
}

struct jobid jobid_make(int64_t created_ms, struct span app, struct span batch,
                        struct span custom_id, uint32_t generation)
{
    uint8_t lengths[3][4], number[4];
    const struct span parts[] = {
        SPAN_LIT("inferq-id-1"),
        put_u32(lengths[0], (uint32_t)app.n),
        app,
        put_u32(lengths[1], (uint32_t)batch.n),
        batch,
        put_u32(lengths[2], (uint32_t)custom_id.n),
        custom_id,
        put_u32(number, generation),
    };
    return assemble(created_ms, parts, sizeof parts / sizeof parts[0]);
}

struct jobid batchid_make(int64_t created_ms, struct span app, struct span batch)
{
    uint8_t lengths[2][4];
    const struct span parts[] = {
        SPAN_LIT("inferq-batch-1"),
        put_u32(lengths[0], (uint32_t)app.n),
        app,
        put_u32(lengths[1], (uint32_t)batch.n),
        batch,
    };
    return assemble(created_ms, parts, sizeof parts / sizeof parts[0]);
}

static uint64_t load(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

int64_t jobid_ms(const struct jobid *id)
{
    return (int64_t)load(id->b, TIME_BYTES);
}

bool jobid_eq(const struct jobid *a, const struct jobid *b)
{
    return memcmp(a->b, b->b, ID_BYTES) == 0;
}

int jobid_cmp(const struct jobid *a, const struct jobid *b)
{
    return memcmp(a->b, b->b, ID_BYTES);
}

/* Bytes 8-15, whose two top bits are fixed: twelve random bits of bytes 6 and 7 go over them. */
uint64_t jobid_hash(const struct jobid *id)
{
    return load(id->b + 8, 8) ^ load(id->b + 6, 2) << 52;
}

/* The bytes of each group of the text form. */
static const size_t GROUPS[] = {4, 2, 2, 2, 6};
enum { GROUP_COUNT = sizeof GROUPS / sizeof GROUPS[0] };

void jobid_text(const struct jobid *id, char out[ID_TEXT_BYTES])
{
    const uint8_t *from = id->b;
    for (size_t i = 0; i < GROUP_COUNT; i++) {
        out = hex_encode(from, GROUPS[i], out);
        from += GROUPS[i];
        *out++ = i + 1 < GROUP_COUNT ? '-' : '\0';
    }
}

bool jobid_parse(const char *text, struct jobid *ret_id)
{
    if (strnlen(text, ID_TEXT_BYTES) != ID_TEXT_BYTES - 1)
        return false;
    struct jobid id;
    uint8_t *to = id.b;
    for (size_t i = 0; i < GROUP_COUNT; i++) {
        const struct span group = {text, 2 * GROUPS[i]};
        const char after = text[group.n];
        if (!hex_decode(group, to) || after != (i + 1 < GROUP_COUNT ? '-' : '\0'))
            return false;
        to += GROUPS[i];
        text += group.n + 1;
    }
    *ret_id = id;
    return true;
}

static bool is_plain(struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c && strchr("._-", c))))
            return false;
    }
    return true;
}

const char *batchid_shown(const struct jobid *id, struct span app, struct span name,
                          char out[BATCH_SHOWN_BYTES])
{
    if (is_plain(app) && is_plain(name) && app.n + name.n + 2 <= BATCH_SHOWN_BYTES)
        (void)snprintf(out, BATCH_SHOWN_BYTES, "%.*s/%.*s", (int)app.n, app.p, (int)name.n, name.p);
    else
        jobid_text(id, out);
    return out;
}
