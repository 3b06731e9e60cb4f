/*
 * partitions.h - the partitions this worker holds, and their watermarks (pure).
 *
 * A job's ticket counts only in the epoch that gave it: after a revoke the same offsets come again
 * under another epoch, and a late completion of the old one moves nothing.
 */
#ifndef INFERQ_WORKER_PARTITIONS_H
#define INFERQ_WORKER_PARTITIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct job;
struct partitions;

struct partitions *partitions_new(void); /* returns owned; NULL: no memory */
void partitions_free(struct partitions *ps);

/* RC_NOMEM. An assignment that stands is replaced. */
enum rc partitions_assign(struct partitions *ps, int lane, int32_t partition, uint32_t epoch,
                          struct err *err) MUST_CHECK;
void partitions_revoke_all(struct partitions *ps);

/* Gives the job its ticket (job->lane, partition, epoch, offset). RC_REJECT: the partition is not
 * held in this epoch, or the offset was seen: the record is to be dropped. RC_NOMEM: so it is, and
 * the partition's watermark stands still until it is assigned anew. */
enum rc partitions_track(struct partitions *ps, struct job *job, struct err *err) MUST_CHECK;
/* The job is done with its record. The new watermark, or -1 when it did not move. */
int64_t partitions_finish(struct partitions *ps, struct job *job);
/* How many records after this job's have been fetched while it holds the watermark back or would;
 * 0 when it has no ticket that counts. */
int64_t partitions_behind(const struct partitions *ps, const struct job *job);
/* Held partitions whose watermark stands still, because there was no memory for their offsets: what
 * is fetched from them is dropped until they are assigned anew. */
int partitions_frozen(const struct partitions *ps);
/* The longest span of any partition, in records. */
int64_t partitions_span(const struct partitions *ps);

#endif
