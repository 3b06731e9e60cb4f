#include "tests/modelsim/timers.h"

/*
 * Purpose: the deadline heap. Happy path: arm, pop when due. Failure: no memory ends the process.
 */
#include "tests/modelsim/base.h"

#include <stdlib.h>

static void put(struct timers *t, size_t at, struct timer *timer)
{
    t->heap[at] = timer;
    timer->slot = at + 1;
}

static void sift_up(struct timers *t, size_t at)
{
    struct timer *timer = t->heap[at];
    while (at > 0 && t->heap[(at - 1) / 2]->due_us > timer->due_us) {
        put(t, at, t->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(t, at, timer);
}

static void sift_down(struct timers *t, size_t at)
{
    struct timer *timer = t->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= t->count)
            break;
        if (child + 1 < t->count && t->heap[child + 1]->due_us < t->heap[child]->due_us)
            child++;
        if (t->heap[child]->due_us >= timer->due_us)
            break;
        put(t, at, t->heap[child]);
        at = child;
    }
    put(t, at, timer);
}

void timers_arm(struct timers *t, struct timer *timer, int64_t due_us)
{
    timers_drop(t, timer);
    if (t->count == t->cap) {
        size_t cap = t->cap == 0 ? 256 : t->cap * 2;
        struct timer **heap = base_realloc(t->heap, cap * sizeof *heap);
        t->heap = heap;
        t->cap = cap;
    }
    timer->due_us = due_us;
    put(t, t->count++, timer);
    sift_up(t, timer->slot - 1);
}

void timers_drop(struct timers *t, struct timer *timer)
{
    if (timer->slot == 0)
        return;
    size_t at = timer->slot - 1;
    timer->slot = 0;
    struct timer *last = t->heap[--t->count];
    if (at == t->count)
        return;
    put(t, at, last);
    sift_up(t, at);
    sift_down(t, last->slot - 1);
}

struct timer *timers_pop(struct timers *t, int64_t now_us)
{
    if (t->count == 0 || t->heap[0]->due_us > now_us)
        return NULL;
    struct timer *timer = t->heap[0];
    timers_drop(t, timer);
    return timer;
}

int64_t timers_next(const struct timers *t)
{
    return t->count == 0 ? INT64_MAX : t->heap[0]->due_us;
}

void timers_done(struct timers *t)
{
    free(t->heap);
    *t = (struct timers){0};
}
