#include "tests/modelsim/hash.h"

/*
 * Purpose: stable hashes and the random stream. Pure arithmetic; nothing can fail.
 */

#include <endian.h>
#include <string.h>

#define FNV_PRIME 0x100000001b3u

uint64_t hash_bytes(uint64_t h, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, sizeof word);
        h = (h ^ le64toh(word)) * FNV_PRIME;
    }
    for (; i < len; i++)
        h = (h ^ p[i]) * FNV_PRIME;
    return h;
}

uint64_t hash_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t out = hash_mix(rng->state);
    rng->state += 0x9e3779b97f4a7c15u;
    return out;
}

double rng_unit(struct rng *rng)
{
    return ((double)(rng_next(rng) >> 12) + 0.5) * 0x1p-52;
}
