/*
 * offsets.c - the watermark of one partition (pure).
 *
 * Happy path: a ring of offsets in the order of fetching, from the oldest undone one on. A ticket
 * is the count of entries before it since the start, so tickets are consecutive and the difference
 * of two is the number of records between them. A done entry is kept as its complement (offsets are
 * never negative), which makes an entry 8 bytes; done entries at the head leave the ring and take
 * the watermark with them.
 *
 * Failure modes: a rewound partition (RC_REJECT) and no memory to grow (RC_NOMEM); both change
 * nothing. A ticket of a finished or unknown record is passed over.
 */
#include "worker/offsets.h"

#include <inttypes.h>
#include <stdlib.h>

enum { FIRST_CAP = 64 };

struct offsets {
    int64_t *ring; /* ring[ticket & (cap - 1)]: offset, or ~offset when done */
    size_t cap;    /* a power of two */
    uint64_t head; /* the oldest undone ticket */
    uint64_t next; /* the ticket given next */
    size_t undone;
    int64_t newest;    /* offset added last; -1: none */
    int64_t watermark; /* -1: nothing is done */
};

struct offsets *offsets_new(void)
{
    struct offsets *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->ring = calloc(FIRST_CAP, sizeof *o->ring);
    if (!o->ring) {
        free(o);
        return NULL;
    }
    o->cap = FIRST_CAP;
    o->newest = o->watermark = -1;
    return o;
}

void offsets_free(struct offsets *o)
{
    if (!o)
        return;
    free(o->ring);
    free(o);
}

static int64_t *entry(const struct offsets *o, uint64_t ticket)
{
    return &o->ring[ticket & (o->cap - 1)];
}

static bool grow(struct offsets *o)
{
    if (o->cap > SIZE_MAX / 2 / sizeof *o->ring)
        return false;
    size_t cap = o->cap * 2;
    int64_t *ring = calloc(cap, sizeof *ring);
    if (!ring)
        return false;
    for (uint64_t t = o->head; t != o->next; t++)
        ring[t & (cap - 1)] = *entry(o, t);
    free(o->ring);
    o->ring = ring;
    o->cap = cap;
    return true;
}

enum rc offsets_add(struct offsets *o, int64_t offset, uint64_t *ret_ticket, struct err *err)
{
    if (offset < 0 || offset <= o->newest)
        return err_set(err, RC_REJECT, "offset %" PRId64 " comes after %" PRId64, offset,
                       o->newest);
    if (offsets_span(o) == o->cap && !grow(o))
        return err_set(err, RC_NOMEM, "no memory for more than %zu open offsets", o->cap);
    *entry(o, o->next) = offset;
    o->newest = offset;
    o->undone++;
    *ret_ticket = o->next++;
    return RC_OK;
}

bool offsets_finish(struct offsets *o, uint64_t ticket)
{
    if (ticket - o->head >= o->next - o->head)
        return false; /* below the watermark, or never given */
    int64_t *at = entry(o, ticket);
    if (*at < 0)
        return false;
    *at = ~*at;
    o->undone--;
    if (ticket != o->head)
        return false;
    for (; o->head != o->next && *entry(o, o->head) < 0; o->head++)
        o->watermark = ~*entry(o, o->head) + 1;
    return true;
}

int64_t offsets_watermark(const struct offsets *o)
{
    return o->watermark;
}

size_t offsets_span(const struct offsets *o)
{
    return (size_t)(o->next - o->head);
}

bool offsets_oldest(const struct offsets *o, uint64_t *ret_ticket)
{
    if (o->head == o->next)
        return false;
    *ret_ticket = o->head;
    return true;
}

size_t offsets_undone(const struct offsets *o)
{
    return o->undone;
}
