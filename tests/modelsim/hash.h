#ifndef MODELSIM_HASH_H
#define MODELSIM_HASH_H
/*
 * Purpose: stable hashes (the answers depend on them, see reference.py) and a seeded random stream
 * (only delays and probabilities depend on it).
 */
#include <stddef.h>
#include <stdint.h>

/* FNV-1a, 64 bits, continued from h; start with HASH_START. It takes whole words of eight bytes
 * (little-endian) while it can, then single bytes: eight times quicker, as good for our use. */
#define HASH_START 0xcbf29ce484222325u
uint64_t hash_bytes(uint64_t h, const void *bytes, size_t len);
/* The SplitMix64 finaliser (Steele, Lea, Flood 2014): spreads x over 64 bits. */
uint64_t hash_mix(uint64_t x);

/* A SplitMix64 stream. Any seed is fine. */
struct rng {
    uint64_t state;
};
/* The next 64 random bits. */
uint64_t rng_next(struct rng *rng);
/* Uniform in (0, 1): never 0, never 1, so that logarithms are safe. */
double rng_unit(struct rng *rng);

#endif
