/*
 * idset.c - the set of seen ids: 256 open-addressing tables, chosen by the hash's top byte.
 *
 * Happy path: one probe sequence in one small table. The tables grow one at a time, by a quarter,
 * so growing never needs a second copy of the whole set: five million ids stay below 60 MB, where
 * one table that doubles would need 100 MB for a moment. Failure: the cap or memory is reached, the
 * hash is not taken, the set stays as it was.
 */
#include "producer/idset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { TABLES = 256, FIRST_SLOTS = 64, LOAD_PERCENT = 85 };

struct table {
    uint64_t *slots; /* 0: free */
    size_t slot_count, used;
};

struct idset {
    struct table tables[TABLES];
    size_t bytes, max_bytes;
};

struct idset *idset_new(size_t max_bytes)
{
    struct idset *s = calloc(1, sizeof *s);
    if (s) {
        s->max_bytes = max_bytes;
        s->bytes = sizeof *s;
    }
    return s;
}

void idset_free(struct idset *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < TABLES; i++)
        free(s->tables[i].slots);
    free(s);
}

void idset_clear(struct idset *s)
{
    for (size_t i = 0; i < TABLES; i++) {
        struct table *t = &s->tables[i];
        if (t->slots)
            memset(t->slots, 0, t->slot_count * sizeof *t->slots);
        t->used = 0;
    }
}

/* Where the hash is, or the free slot where it belongs. There always is a free slot. */
static uint64_t *find(uint64_t *slots, size_t slot_count, uint64_t hash)
{
    size_t i = (size_t)(((hash & 0xffffffffu) * (uint64_t)slot_count) >> 32);
    while (slots[i] != 0 && slots[i] != hash)
        i = i + 1 == slot_count ? 0 : i + 1;
    return &slots[i];
}

static int grow(struct idset *s, struct table *t)
{
    size_t slot_count = t->slot_count ? t->slot_count + t->slot_count / 4 : FIRST_SLOTS;
    size_t more = (slot_count - t->slot_count) * sizeof(uint64_t);
    if (slot_count > UINT32_MAX || s->bytes + more > s->max_bytes)
        return -1;
    uint64_t *slots = calloc(slot_count, sizeof *slots);
    if (!slots)
        return -1;
    for (size_t i = 0; t->slots && i < t->slot_count; i++)
        if (t->slots[i] != 0)
            *find(slots, slot_count, t->slots[i]) = t->slots[i];
    free(t->slots);
    t->slots = slots;
    t->slot_count = slot_count;
    s->bytes += more;
    return 0;
}

enum idset_got idset_add(struct idset *s, uint64_t hash)
{
    struct table *t = &s->tables[hash >> 56];
    if (hash == 0)
        hash = 1; /* 0 marks a free slot */
    uint64_t *slot = t->slots ? find(t->slots, t->slot_count, hash) : NULL;
    if (slot && *slot == hash)
        return IDSET_SEEN;
    if (!slot || (t->used + 1) * 100 > t->slot_count * LOAD_PERCENT) {
        if (grow(s, t) != 0)
            return IDSET_FULL;
        assert(t->slots);
        slot = find(t->slots, t->slot_count, hash);
    }
    *slot = hash;
    t->used++;
    return IDSET_NEW;
}

size_t idset_bytes(const struct idset *s)
{
    return s->bytes;
}
