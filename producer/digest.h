/*
 * digest.h - one SHA-256 over a sequence of records, of which only one is in memory at a time.
 *
 * A chain: sum' = SHA-256(sum, then each field's length as u32be and its bytes), from 32 zero
 * bytes. It differs whenever a field, a border between fields or records, or the order does. Pure.
 */
#ifndef INFERQ_PRODUCER_DIGEST_H
#define INFERQ_PRODUCER_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "common/hash.h"
#include "common/span.h"

enum { DIGEST_FIELDS_MAX = 8 };

struct digest {
    uint8_t sum[HASH_BYTES];
};

void digest_init(struct digest *d);
/* One record of at most DIGEST_FIELDS_MAX fields; an absent one counts as empty. */
void digest_add(struct digest *d, const struct span *fields, size_t count);

#endif
