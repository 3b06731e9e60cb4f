/*
 * batch_ref.h - batches as people name them: by id or as APP/NAME.
 */
#ifndef INFERQ_ADMIN_BATCH_REF_H
#define INFERQ_ADMIN_BATCH_REF_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/cmd.h"
#include "common/err.h"
#include "common/jobid.h"
#include "common/pg.h"
#include "common/span.h"

struct batch_ref {
    bool by_id;
    struct jobid id;       /* by_id */
    struct span app, name; /* else; borrowed from the text */
};

/* RC_REJECT: neither a UUID nor APP/NAME (the first slash ends the app). Pure. */
enum rc batch_ref_parse(const char *text, struct batch_ref *ret, struct err *err) MUST_CHECK;

struct batch {
    struct jobid id;
    struct span app, name, task, team; /* task, team: absent allowed; live as long as `rows` */
    struct span lane;                  /* absent: not said */
    int64_t created_ms, registered_ms;
    int64_t deadline_ms, sealed_ms, cancel_ms; /* 0: none */
    int64_t total;                             /* jobs put in; -1: not sealed */
    struct jobid first, past;                  /* its jobs' ids: first <= id < past */
    struct pg_rows *rows;                      /* owned */
};

/* RC_REJECT: none such, with the nearest remedy; *ret_found (may be NULL) then says whether it was
 * only that. `ret` must be released with batch_done. */
enum rc batch_find(struct ctx *ctx, const char *text, struct batch *ret, bool *ret_found,
                   struct err *err) MUST_CHECK;
void batch_done(struct batch *b);

/* How to name it in a command that is suggested: APP/NAME, or its id where a shell would want
 * quotes. Gives `out`. Pure. */
const char *batch_shown(const struct batch *b, char out[BATCH_SHOWN_BYTES]);

/* The range of ids that a batch of that time can have. Pure. */
void batch_range(int64_t created_ms, struct jobid *ret_first, struct jobid *ret_past);

/* $n, $n+1, $n+2: batch id, first, past: what BATCH_RANGE(n) in a statement wants. */
void batch_params(struct pg_params *p, const struct batch *b);

/* Where the jobs of a batch stand, as the view batch_progress has them. */
struct progress {
    int64_t accepted, pending; /* -1: not known, the batch is not sealed */
    int64_t requeued;          /* of the accepted */
    int64_t dead_accepted;     /* of the dead: a reviewer took their answer */
    int64_t ended, succeeded, dead, cancelled, expired;
    int64_t cost_nusd; /* -1: nothing known */
    int64_t unpriced;  /* results whose cost is not known */
    int64_t last_ms;   /* of the latest result; 0: none */
    int64_t cancel_ms;
};
enum rc batch_progress(struct ctx *ctx, const struct batch *b, struct progress *ret,
                       struct err *err) MUST_CHECK;
/* From columns succeeded, dead, cancelled, expired, accepted, pending, cost_nusd, unpriced,
 * last_at, cancel_requested_at, requeued, dead_accepted that begin at `col`. */
#define PROGRESS_COLUMNS                                                                     \
    "succeeded, dead, cancelled, expired, accepted, pending, cost_nusd, unpriced, last_at, " \
    "cancel_requested_at, requeued, dead_accepted"
struct progress progress_read(const struct pg_rows *rows, int row, int col);

#endif
