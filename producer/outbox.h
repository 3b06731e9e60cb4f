/*
 * outbox.h - signs the messages of one batch, sends them, and counts what was really written.
 */
#ifndef INFERQ_PRODUCER_OUTBOX_H
#define INFERQ_PRODUCER_OUTBOX_H

#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/err.h"
#include "common/jobid.h"
#include "common/sign.h"
#include "common/span.h"

struct outbox;

struct outbox_conf {
    const struct config *config; /* kafka.*; librdkafka's queue gets small bounds where it says
                                    nothing */
    const struct sign_key *key;  /* borrowed */
    struct span app;             /* borrowed */
    const char *topic;           /* borrowed */
    size_t record_bytes_max;
};

/* RC_RETRY: no broker answers within 10 s. returns owned */
enum rc outbox_new(const struct outbox_conf *conf, struct outbox **ret_outbox,
                   struct err *err) MUST_CHECK;
/* Drops what was not delivered. */
void outbox_free(struct outbox *o);

/* The batch whose jobs follow: their trace is called after it. */
void outbox_begin(struct outbox *o, const struct jobid *batch_id);

/* Queues one message. RC_FULL: the queue is full: outbox_serve, then again. RC_REJECT or RC_RETRY:
 * it, or one before it, cannot be written; everything after that fails in the same way. */
enum rc outbox_send(struct outbox *o, const struct jobid *id, struct span value,
                    struct err *err) MUST_CHECK;

/* Takes delivery reports for up to wait_ms; tells the first failure, if there was one. */
enum rc outbox_serve(struct outbox *o, int wait_ms, struct err *err) MUST_CHECK;

int64_t outbox_written(const struct outbox *o); /* confirmed by the brokers */
int outbox_pending(const struct outbox *o);

#endif
