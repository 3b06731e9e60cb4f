/*
 * jobid.h - ids of jobs and batches (DESIGN 7).
 *
 * A job id is bytes 0-5: the batch's creation, Unix ms, big-endian; then the first 10 bytes of
 * SHA-256("inferq-id-1", u32be length and bytes of app, batch and custom_id, u32be generation);
 * with RFC 9562 version 7 and variant bits set. So the same job always has the same id.
 */
#ifndef INFERQ_COMMON_JOBID_H
#define INFERQ_COMMON_JOBID_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/span.h"

enum { ID_BYTES = 16, ID_TEXT_BYTES = 37 /* with NUL */ };

struct jobid {
    uint8_t b[ID_BYTES];
};

/* created_ms: 0 .. 2^48-1. Pure. */
struct jobid jobid_make(int64_t created_ms, struct span app, struct span batch,
                        struct span custom_id, uint32_t generation);
/* The batch's own id: the same rule over "inferq-batch-1", app and batch. */
struct jobid batchid_make(int64_t created_ms, struct span app, struct span batch);

int64_t jobid_ms(const struct jobid *id);
bool jobid_eq(const struct jobid *a, const struct jobid *b);
int jobid_cmp(const struct jobid *a, const struct jobid *b);
uint64_t jobid_hash(const struct jobid *id); /* of the random-looking tail */

void jobid_text(const struct jobid *id, char out[ID_TEXT_BYTES]); /* lower-case UUID text */
/* A batch as commands take it, and as a shell takes it without quotes: APP/NAME, or its id where
 * these need quotes or do not fit. Returns `out`. */
enum { BATCH_SHOWN_BYTES = 256 };
const char *batchid_shown(const struct jobid *id, struct span app, struct span name,
                          char out[BATCH_SHOWN_BYTES]);
bool jobid_parse(const char *text, struct jobid *ret_id); /* 36 characters, any case */

#endif
