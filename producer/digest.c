/*
 * digest.c - the chain of sums. It cannot fail.
 */
#include "producer/digest.h"

#include <assert.h>
#include <string.h>

void digest_init(struct digest *d)
{
    memset(d->sum, 0, sizeof d->sum);
}

void digest_add(struct digest *d, const struct span *fields, size_t count)
{
    uint8_t lengths[DIGEST_FIELDS_MAX][4];
    struct span parts[1 + 2 * DIGEST_FIELDS_MAX];
    size_t n = 0;
    assert(count <= DIGEST_FIELDS_MAX);
    parts[n++] = (struct span){(const char *)d->sum, sizeof d->sum};
    for (size_t i = 0; i < count; i++) {
        for (int b = 0; b < 4; b++)
            lengths[i][b] = (uint8_t)(fields[i].n >> (24 - 8 * b));
        parts[n++] = (struct span){(const char *)lengths[i], 4};
        if (fields[i].n > 0)
            parts[n++] = fields[i];
    }
    uint8_t sum[HASH_BYTES];
    hash_sha256(parts, n, sum);
    memcpy(d->sum, sum, sizeof sum);
}
