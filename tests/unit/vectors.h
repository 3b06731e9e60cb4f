/*
 * vectors.h - the golden vectors of schemas/messages/vectors, for the tests that read them.
 * Whatever is wrong with a file fails the test that asked.
 */
#ifndef INFERQ_TESTS_UNIT_VECTORS_H
#define INFERQ_TESTS_UNIT_VECTORS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "common/span.h"

/* "job.json", ... returns owned (json_decref) */
json_t *vectors_load(const char *name);
/* A list of the file, never empty. */
json_t *vectors_list(json_t *file, const char *key);

/* The text of a member; absent when it is null. */
struct span vectors_text(const json_t *row, const char *key);
/* The bytes that the member holds as hex, in an allocation of just that size, so that the address
 * sanitizer sees a read past it. returns owned (free()) */
uint8_t *vectors_bytes(const json_t *row, const char *key, size_t *ret_n);
int64_t vectors_int(const json_t *row, const char *key, int64_t absent);

/* Both absent, or both there with the same bytes: an empty text is no absent one. */
bool same_span(struct span a, struct span b);

/* A copy of just that size. returns owned (free()) */
uint8_t *exact_copy(const void *p, size_t n);

#endif
