/*
 * deadlines.c - a binary heap of due times (pure).
 *
 * Happy path: the heap is an array of (due time, job); each job knows its own place in it, so that
 * it can be moved or taken out. The due time is kept beside the pointer: sifting touches no job but
 * those that move (and those due at the same time). Failure mode: no memory to grow; the heap is
 * then as it was.
 */
#include "worker/deadlines.h"

#include <assert.h>
#include <stdlib.h>

#include "worker/job.h"

struct slot {
    int64_t due_us;
    struct job *job;
};

struct deadlines {
    struct slot *slots;
    size_t count, cap;
};

struct deadlines *deadlines_new(void)
{
    return calloc(1, sizeof(struct deadlines));
}

void deadlines_free(struct deadlines *d)
{
    if (!d)
        return;
    free(d->slots);
    free(d);
}

static void put(struct deadlines *d, size_t at, struct slot slot)
{
    d->slots[at] = slot;
    slot.job->heap_index = (int)at;
}

static bool before(struct slot a, struct slot b)
{
    return a.due_us < b.due_us ||
           (a.due_us == b.due_us && a.job->waiting_since_us < b.job->waiting_since_us);
}

/* Finds the place of `slot`, starting from the hole at `at`. */
static void sift(struct deadlines *d, size_t at, struct slot slot)
{
    while (at > 0 && before(slot, d->slots[(at - 1) / 2])) {
        put(d, at, d->slots[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= d->count)
            break;
        if (child + 1 < d->count && before(d->slots[child + 1], d->slots[child]))
            child++;
        if (!before(d->slots[child], slot))
            break;
        put(d, at, d->slots[child]);
        at = child;
    }
    put(d, at, slot);
}

static bool make_room(struct deadlines *d)
{
    if (d->count < d->cap)
        return true;
    size_t cap = d->cap ? d->cap * 2 : 256;
    if (cap > INT32_MAX) /* heap_index is an int */
        return false;
    struct slot *slots = realloc(d->slots, cap * sizeof *slots);
    if (!slots)
        return false;
    d->slots = slots;
    d->cap = cap;
    return true;
}

bool deadlines_set(struct deadlines *d, struct job *job, int64_t due_us)
{
    if (job->heap_index < 0) {
        if (!make_room(d))
            return false;
        job->heap_index = (int)d->count++;
    }
    job->due_us = due_us;
    sift(d, (size_t)job->heap_index, (struct slot){due_us, job});
    return true;
}

void deadlines_clear(struct deadlines *d, struct job *job)
{
    if (job->heap_index < 0)
        return;
    size_t at = (size_t)job->heap_index;
    assert(at < d->count && d->slots[at].job == job);
    job->heap_index = -1;
    struct slot last = d->slots[--d->count];
    if (at < d->count)
        sift(d, at, last);
}

int64_t deadlines_next(const struct deadlines *d)
{
    return d->count ? d->slots[0].due_us : INT64_MAX;
}

struct job *deadlines_first(const struct deadlines *d)
{
    return d->count ? d->slots[0].job : NULL;
}

struct job *deadlines_pop(struct deadlines *d, int64_t now_us)
{
    if (deadlines_next(d) > now_us || !d->count)
        return NULL;
    struct job *job = d->slots[0].job;
    deadlines_clear(d, job);
    return job;
}

size_t deadlines_count(const struct deadlines *d)
{
    return d->count;
}
