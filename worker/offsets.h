/*
 * offsets.h - the watermark of one partition: the offset below which everything is done (pure).
 *
 * It follows the order of fetching, not offset + 1, because control records and compaction leave
 * holes. Entries are added as records arrive and marked done in any order; the watermark moves over
 * the done ones at the head. Memory is one small entry per record from the oldest undone one on.
 */
#ifndef INFERQ_WORKER_OFFSETS_H
#define INFERQ_WORKER_OFFSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct offsets;

struct offsets *offsets_new(void); /* returns owned; NULL: no memory */
void offsets_free(struct offsets *o);

/* A record was fetched. Offsets rise strictly; a lower or equal one means that the partition was
 * rewound: RC_REJECT. *ret_ticket names the entry until the reset. */
enum rc offsets_add(struct offsets *o, int64_t offset, uint64_t *ret_ticket,
                    struct err *err) MUST_CHECK;
/* Marks it done; again is harmless. True: the watermark moved. */
bool offsets_finish(struct offsets *o, uint64_t ticket);
/* The next offset to read after everything below is done; -1: nothing is done yet. */
int64_t offsets_watermark(const struct offsets *o);
/* Records from the oldest undone one to the newest: what one slow job holds back. */
size_t offsets_span(const struct offsets *o);
/* The oldest undone ticket; false: all are done. */
bool offsets_oldest(const struct offsets *o, uint64_t *ret_ticket);
size_t offsets_undone(const struct offsets *o);

#endif
