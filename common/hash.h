/*
 * hash.h - SHA-256 and HMAC-SHA-256: libcrypto's edge. Neither can fail, and neither allocates or
 * keeps anything between calls, so pure modules may use them and so may any thread.
 */
#ifndef INFERQ_COMMON_HASH_H
#define INFERQ_COMMON_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

enum { HASH_BYTES = 32, HASH_STATE_BYTES = 112 };

/* SHA-256 of the parts, one after the other. */
void hash_sha256(const struct span *parts, size_t count, uint8_t out[HASH_BYTES]);

/* A key made ready: the states after its inner and outer pad, so that a message costs only its own
 * bytes. As secret as the key: hash_wipe it. Copying is fine. */
struct hash_hmac {
    _Alignas(8) uint8_t inner[HASH_STATE_BYTES];
    _Alignas(8) uint8_t outer[HASH_STATE_BYTES];
};

void hash_hmac_init(struct hash_hmac *ret, struct span key); /* any length (RFC 2104) */
void hash_hmac_sha256(const struct hash_hmac *hmac, struct span message, uint8_t out[HASH_BYTES]);

/* Compares in a time that does not depend on where they differ. */
bool hash_equal(const uint8_t *a, const uint8_t *b, size_t n);
/* Zeroes memory that held a secret; never optimised away. */
void hash_wipe(void *p, size_t n);

#endif
