/*
 * wait.h - follows a batch to its end.
 */
#ifndef INFERQ_PRODUCER_WAIT_H
#define INFERQ_PRODUCER_WAIT_H

#include "common/err.h"
#include "common/jobid.h"
#include "common/pg.h"
#include "producer/batch_db.h"
#include "producer/progress.h"

struct wait_conf {
    const char *conninfo; /* borrowed; to connect anew when Postgres was away */
    int stop_fd;          /* stopper.h */
    struct progress *progress;
};

/* Until no job of the batch is pending. *conn may be replaced by a new connection. RC_RETRY:
 * Postgres was away for a minute, or a signal came (*ret_signal then says which, else 0). */
enum rc wait_batch(struct pgc **conn, const struct jobid *id, const struct wait_conf *conf,
                   struct batch_counts *ret_counts, int *ret_signal, struct err *err) MUST_CHECK;

#endif
