/*
 * wants.h - what a worker wants of a limit, by lane and app, as it stands in limit_share.wants
 * (pure).
 *
 * Sixteen bytes each, big-endian: the app's hash (4), the lane (4), units (8).
 */
#ifndef INFERQ_WORKER_WANTS_H
#define INFERQ_WORKER_WANTS_H

#include <stddef.h>

#include "common/buf.h"
#include "common/span.h"
#include "worker/shares.h"

enum { WANTS_BYTES = 16 };

/* Appends them; what does not fit marks the buf as failed. Returns the units in all (INT64_MAX at
 * most): limit_share.want. */
int64_t wants_pack(const struct share_want *wants, size_t n, struct buf *out);

/* How many stand there; bytes of another length than whole ones hold none. */
size_t wants_count(struct span bytes);
/* The first `n`, which are there. Lanes and units below 0 count as 0. */
void wants_unpack(struct span bytes, struct share_want *ret, size_t n);

#endif
