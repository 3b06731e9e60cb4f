/*
 * jobids.c - a set of ids (pure but for memory).
 *
 * Open addressing with linear probing; at most half of the slots are taken, and nothing ever
 * leaves, so a free slot ends a search. The hash is the id's tail, which is a digest already.
 */
#include "worker/jobids.h"

#include <assert.h>
#include <stdlib.h>

enum { FIRST_SLOTS = 64 };

static const struct jobid free_slot;

/* Where the id is, or would be. */
static struct jobid *slot_of(struct jobid *slots, size_t slot_count, const struct jobid *id)
{
    size_t i = (size_t)jobid_hash(id) & (slot_count - 1);
    while (!jobid_eq(&slots[i], &free_slot) && !jobid_eq(&slots[i], id))
        i = (i + 1) & (slot_count - 1);
    return &slots[i];
}

static bool grow(struct jobids *s)
{
    size_t slot_count = s->slot_count ? 2 * s->slot_count : FIRST_SLOTS;
    struct jobid *slots = calloc(slot_count, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < s->slot_count; i++)
        if (!jobid_eq(&s->slots[i], &free_slot))
            *slot_of(slots, slot_count, &s->slots[i]) = s->slots[i];
    free(s->slots);
    s->slots = slots;
    s->slot_count = slot_count;
    return true;
}

bool jobids_add(struct jobids *s, const struct jobid *id)
{
    assert(!jobid_eq(id, &free_slot));
    if (jobids_has(s, id))
        return true;
    if (2 * (s->count + 1) > s->slot_count && !grow(s))
        return false;
    *slot_of(s->slots, s->slot_count, id) = *id;
    s->count++;
    return true;
}

bool jobids_has(const struct jobids *s, const struct jobid *id)
{
    return s->count && !jobid_eq(slot_of(s->slots, s->slot_count, id), &free_slot);
}

void jobids_done(struct jobids *s)
{
    free(s->slots);
    *s = (struct jobids){0};
}
