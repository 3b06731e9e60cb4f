#ifndef MODELSIM_ANSWER_H
#define MODELSIM_ANSWER_H
/*
 * Purpose: the answer as a pure function of the request. tests/modelsim/reference.py states the
 * same function in Python and a test holds the two together: change both or neither.
 */
#include "tests/modelsim/ask.h"
#include "tests/modelsim/base.h"
#include "tests/modelsim/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Appends the text that answers this request: for chat, which = 0; for completions, the prompt's
 * index. RC_REJECT: the schema asks for something that is not supported (an HTTP 400). */
MUST_CHECK enum rc answer_text(const struct ask *ask, size_t which, struct buf *out,
                               struct err *err);
/* ceil(bytes / 4). */
int64_t answer_tokens(size_t bytes);
/* Cuts a text of len bytes to max_tokens (-1: no limit) at a UTF-8 boundary; returns the new length
 * and says in *ret_cut whether anything was lost. */
size_t answer_cut(const char *text, size_t len, int64_t max_tokens, bool *ret_cut);
/* Writes the unit vector of a text, count components. */
void answer_vector(struct span text, double *ret_vector, size_t count);

#endif
