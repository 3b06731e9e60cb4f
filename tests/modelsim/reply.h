#ifndef MODELSIM_REPLY_H
#define MODELSIM_REPLY_H
/*
 * Purpose: the bytes of one answer, honest or spoilt as an effect says.
 */
#include "tests/modelsim/ask.h"
#include "tests/modelsim/base.h"
#include "tests/modelsim/buf.h"
#include "tests/modelsim/rule.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A reply is out.data with fill_bytes of padding inserted at fill_at. */
struct reply {
    struct buf out;
    size_t fill_at;
    int64_t fill_bytes;
    int64_t head_bytes;
    int status;
    bool close; /* the connection ends behind this reply */
    int64_t prompt_tokens;
    int64_t completion_tokens;
};

/* Everything beside the request and the effect that an answer shows. */
struct reply_context {
    uint64_t n;                /* the request's number: the answer's id */
    int64_t unix_us;           /* when it leaves */
    bool keep_alive;           /* false: say Connection: close */
    const char *authorization; /* what the client sent, for echo-key; "" */
};

/* Computes the honest answer: the tokens it costs and its body, kept in *body (reset first).
 * RC_REJECT: the request deserves a 400 with err's text. */
struct answer {
    struct buf body; /* the answer's texts, one behind the other */
    size_t *ends;    /* where each ends in body */
    bool *cut;       /* which were cut by max_tokens */
    size_t count;
    size_t cap;
    int64_t prompt_tokens;
    int64_t completion_tokens;
};
MUST_CHECK enum rc reply_compute(const struct ask *ask, struct answer *answer, struct err *err);
void reply_answer_done(struct answer *answer);

/* Writes a 200 with this answer, spoilt as the effect says. *reply must be empty (all zero but for
 * storage). */
void reply_answer(const struct ask *ask, const struct answer *answer, const struct effect *effect,
                  const struct reply_context *context, struct reply *reply);
/* Writes an error in the effect's shape; status and message from the effect unless given here
 * (status 0, message NULL: the effect's). code may be NULL. */
void reply_error(int status, const char *code, const char *message, const struct effect *effect,
                 const struct reply_context *context, struct reply *reply);
/* Writes a plain 200 or other status with this JSON (or text) body. */
void reply_plain(int status, const char *type, const char *body, size_t len, bool keep_alive,
                 struct reply *reply);
/* All bytes of the reply, padding included. */
int64_t reply_total(const struct reply *reply);

#endif
