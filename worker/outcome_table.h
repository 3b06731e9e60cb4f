/*
 * outcome_table.h - the table behind outcome.h: which signal is which class, and what a class means
 * for the job, for its endpoint and for the bill (pure). schemas/errors.md shows the same rows, and
 * a test holds the two against each other.
 */
#ifndef INFERQ_WORKER_OUTCOME_TABLE_H
#define INFERQ_WORKER_OUTCOME_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/error_body.h"
#include "worker/outcome.h"

/* What an error body is about, whatever its status says. */
enum body_sign {
    BODY_ANY = 0, /* nothing that is known */
    BODY_CONTEXT, /* more tokens than the model takes */
    BODY_QUOTA,
    BODY_NO_MODEL,
    BODY_KEY,
    BODY_FILTER,  /* the provider's content policy */
    BODY_ADAPTER, /* not told by status and error body: the adapter, or the worker, says so */
};

/* What the end of a call says of its endpoint. */
enum endpoint_sign {
    SIGN_NOTHING,
    SIGN_LIFE,  /* it works */
    SIGN_DOUBT, /* perhaps the job's own trouble: several in a row are a fault */
    SIGN_FAULT, /* it cannot or will not serve now */
    SIGN_MODEL, /* it works, but has not this model: the model version pauses, not the endpoint */
};

enum outcome_step {
    STEP_SUCCEED,
    STEP_DEAD,
    STEP_RETRY,
    STEP_REASK,
    STEP_LARGER, /* at the version that takes more, if there is one */
};

struct outcome_rule {
    enum class class;
    bool counts; /* against max_attempts */
    enum outcome_step step;
    int tries; /* STEP_RETRY: calls of this class before the job is dead; 0: until max_attempts */
    enum endpoint_sign sign;
    int64_t pause_us; /* least pause of the endpoint; 0: backoff, or the server's wish */
    bool alert;
    enum certainty certainty; /* of the cost; EXACT: as reported */
};

/* The rule of a class. A class that no call ends with has the rule of CLASS_UNKNOWN_STATUS. */
const struct outcome_rule *outcome_rule(enum class class);

/* The class of an HTTP answer (facts->fault NONE), or of a fault (then `sign` is not looked at). */
enum class outcome_class_of(enum http_fault fault, int status, enum body_sign sign);

/* By code, then type, then patterns in the message. */
enum body_sign outcome_body_sign(const struct error_body *body);

#endif
