/*
 * pass.h - one walk over the input: every record is prepared, checked, counted; and sent, if this
 * is the walk that sends.
 */
#ifndef INFERQ_PRODUCER_PASS_H
#define INFERQ_PRODUCER_PASS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/hash.h"
#include "producer/digest.h"
#include "producer/encode.h"
#include "producer/estimate.h"
#include "producer/idset.h"
#include "producer/input.h"
#include "producer/outbox.h"
#include "producer/prepare.h"
#include "producer/progress.h"

/* All borrowed. */
struct pass {
    struct input *input;
    struct preparer *preparer;
    struct encoder *encoder;
    struct idset *ids;
    struct digest digest; /* of the walk */
    struct progress *progress;
    struct outbox *outbox;     /* NULL: nothing is sent */
    struct estimate *estimate; /* NULL: nothing is added up */
    bool skips;                /* a bad record is left out; else it ends the pass */
    bool quiet;                /* bad records were named before */
    int stop_fd;               /* stopper.h */
    int64_t total;             /* for the progress line; -1: not known */
};

struct pass_result {
    int64_t accepted, left_out;
    uint8_t sum[HASH_BYTES]; /* over the accepted records, in order, and what jobs share */
    int signal;              /* what stopped it; 0: nothing did */
};

/* From wherever the input stands to its end. *ret_result is filled in any case. RC_REJECT: a bad
 * record ("FILE:LINE: why"); RC_FULL: too many custom_ids; RC_RETRY: Kafka, or a signal. With an
 * outbox, RC_OK means that the last record was queued, not that it was written. */
enum rc pass_run(struct pass *p, struct pass_result *ret_result, struct err *err) MUST_CHECK;

#endif
