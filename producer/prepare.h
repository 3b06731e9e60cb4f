/*
 * prepare.h - from a record of the input to what its job will say: name, url, body (pure).
 */
#ifndef INFERQ_PRODUCER_PREPARE_H
#define INFERQ_PRODUCER_PREPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/span.h"
#include "producer/input.h"

struct prepare_conf {
    struct span prompt;        /* absent: the document alone */
    struct span model;         /* for bodies that name none; absent: they stay without */
    int64_t max_output_tokens; /* for bodies that set none; 0: they stay without */
    struct span url;           /* for records that bring none */
    size_t body_bytes_max;
    bool renders; /* there will be documents: the prompt and the url must be fit for it */
};

struct draft {
    struct span custom_id, url, body;
    struct span model;         /* what the body names, unquoted; absent: none */
    int64_t max_output_tokens; /* -1: not said */
};

struct preparer;

/* RC_REJECT: a bad prompt, url or model. `conf`'s spans are borrowed. returns owned */
enum rc preparer_new(const struct prepare_conf *conf, struct preparer **ret_preparer,
                     struct err *err) MUST_CHECK;
void preparer_free(struct preparer *p);

/* RC_REJECT: the record cannot be a job, and why. The draft borrows from the record and the
 * preparer; it lives until either is used again. */
enum rc prepare(struct preparer *p, const struct record *record, struct draft *ret_draft,
                struct err *err) MUST_CHECK;

#endif
