#ifndef MODELSIM_GAUGE_H
#define MODELSIM_GAUGE_H
/*
 * Purpose: the memory of one limit: what passed it, as a bucket that refills evenly or as the exact
 * sum of the last window, what is in flight, and how often it was met.
 */
#include "tests/modelsim/base.h"
#include "tests/modelsim/buf.h"
#include "tests/modelsim/rule.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What passed, and when. */
struct passed {
    int64_t at_us;
    int64_t units[UNIT_COUNT];
};

struct gauge {
    double left[UNIT_COUNT]; /* buckets: negative when in debt */
    int64_t filled_us;       /* when the buckets were last refilled */
    struct passed *ring;     /* exact: what passed within the last window, oldest first */
    size_t first, count, cap;
    int64_t within[UNIT_COUNT]; /* the ring's sums */
    int64_t in_flight;

    /* since the last witness reset */
    uint64_t passes;
    uint64_t refusals;
    uint64_t overs;           /* passed though it was over: the limit only watches */
    int64_t most[UNIT_COUNT]; /* exact: within any window */
    int64_t most_in_flight;
};

/* Full buckets, an empty window; places in flight and counters stay. */
void gauge_fill(struct gauge *gauge, const struct limit *limit, int64_t now_us);
/* The limit has become another: buckets hold no more than the new one allows; the window stays. */
void gauge_change(struct gauge *gauge, const struct limit *limit);
/* Frees what it holds, not itself. */
void gauge_done(struct gauge *gauge);
/* Microseconds until these units would pass, at least 1; 0: they pass now. now_us never falls. */
int64_t gauge_wait(struct gauge *gauge, const struct limit *limit, const int64_t units[UNIT_COUNT],
                   int64_t now_us);
/* They pass. Right after gauge_wait, with the same now_us. */
void gauge_take(struct gauge *gauge, const struct limit *limit, const int64_t units[UNIT_COUNT],
                int64_t now_us);
/* A request that passed has ended. */
void gauge_release(struct gauge *gauge);
/* How one unit stands, right after gauge_wait or gauge_take; limit 0: it is not limited. */
struct told gauge_told(const struct gauge *gauge, const struct limit *limit, enum unit unit,
                       int64_t now_us);
/* Counters to zero. */
void gauge_reset(struct gauge *gauge);
/* Appends the counters as a JSON object. */
void gauge_summary(const struct gauge *gauge, struct buf *out);

#endif
