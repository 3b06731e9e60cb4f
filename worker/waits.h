/*
 * waits.h - for how long which limits have held a job back (pure).
 *
 * A few are kept by name, which are more than a job meets; what is beyond stands in its sum alone.
 */
#ifndef INFERQ_WORKER_WAITS_H
#define INFERQ_WORKER_WAITS_H

#include <stdint.h>

#include "common/buf.h"
#include "common/span.h"

enum { WAITS_MAX = 4, WAITS_BYTES_MAX = 64 * WAITS_MAX };

struct waits {
    int64_t us; /* all of it, also for limits that have no place here */
    struct wait {
        int32_t limit_id; /* 0: a free place, as are those behind it */
        int64_t us;
    } all[WAITS_MAX];
};

void waits_add(struct waits *w, int32_t limit_id, int64_t us);
/* The limit that it waited for longest; 0: for none. */
int32_t waits_most(const struct waits *w);

/* Appends {"7":1200000,"9":34000} where there are so many or more; else nothing. */
void waits_pack(const struct waits *w, int least, struct buf *out);
/* Of a row: its list, and its sum; the rest is what it waited for limit_id (0: nobody knows). What
 * is no such list counts as none. */
void waits_unpack(struct span list, int64_t us, int32_t limit_id, struct waits *ret);

#endif
