/*
 * jobids.h - a set of ids, such as those of the batches that are cancelled (pure but for memory).
 */
#ifndef INFERQ_WORKER_JOBIDS_H
#define INFERQ_WORKER_JOBIDS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/jobid.h"

/* Zeroed: empty. */
struct jobids {
    struct jobid *slots; /* owned; open addressing, an id of zeroes is a free slot */
    size_t slot_count;   /* a power of two, or 0 */
    size_t count;
};

/* True: it is in the set now. False: no memory. The id must not be all zeroes (no id is). */
bool jobids_add(struct jobids *s, const struct jobid *id);
bool jobids_has(const struct jobids *s, const struct jobid *id);
void jobids_done(struct jobids *s);

#endif
