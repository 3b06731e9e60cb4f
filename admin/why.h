/*
 * why.h - why a job ended as it did, in a sentence (pure).
 */
#ifndef INFERQ_ADMIN_WHY_H
#define INFERQ_ADMIN_WHY_H

#include "common/buf.h"
#include "common/span.h"

/* What a class means, as half a sentence: "the server asked to slow down (429)". Never NULL. */
const char *why_class(int class_code);

struct why {
    int status, class_code, validation;
    int call_number;    /* 0: decided without a call */
    int call_count;     /* rows in the ledger */
    struct span reason; /* the dead letter's; absent allowed */
};
/* Appends the sentence. */
void why_sentence(const struct why *w, struct buf *out);

#endif
