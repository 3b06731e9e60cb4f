/*
 * skips.h - the records that an operator leaves out, by their place in Kafka (pure but for memory).
 */
#ifndef INFERQ_WORKER_SKIPS_H
#define INFERQ_WORKER_SKIPS_H

#include <stdint.h>

#include "common/err.h"
#include "common/span.h"

struct skip {
    int lane;
    int32_t partition;
    int64_t offset;
    struct span reason; /* for people: who, and why */
};

struct skips {
    struct skip *all; /* by lane, partition, offset; owned, texts included */
    int count;
};

/* Holds copies of these instead of what it held; RC_NOMEM: it holds what it held. */
enum rc skips_set(struct skips *s, const struct skip *list, int count, struct err *err) MUST_CHECK;
void skips_done(struct skips *s);
/* NULL: this record is not left out. */
const struct skip *skips_find(const struct skips *s, int lane, int32_t partition, int64_t offset);

#endif
