/*
 * idset.h - which ids were seen already, in about 12 bytes each.
 *
 * It holds 64-bit hashes, not the ids. Two different ids of one batch share a hash with a
 * probability of n^2 / 2^65: for five million ids one batch in a million would be refused wrongly
 * (and never accepted wrongly), which the message for a duplicate does not hide: renaming helps.
 */
#ifndef INFERQ_PRODUCER_IDSET_H
#define INFERQ_PRODUCER_IDSET_H

#include <stddef.h>
#include <stdint.h>

struct idset;

enum idset_got { IDSET_NEW, IDSET_SEEN, IDSET_FULL };

/* Grows as needed up to max_bytes. returns owned; NULL: no memory */
struct idset *idset_new(size_t max_bytes);
void idset_free(struct idset *s);
void idset_clear(struct idset *s); /* keeps the memory */

/* IDSET_FULL: max_bytes (or memory) is reached and the hash was not taken. */
enum idset_got idset_add(struct idset *s, uint64_t hash);
size_t idset_bytes(const struct idset *s);

#endif
