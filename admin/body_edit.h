/*
 * body_edit.h - changes to a job's body, a JSON object that is otherwise kept byte for byte (pure).
 */
#ifndef INFERQ_ADMIN_BODY_EDIT_H
#define INFERQ_ADMIN_BODY_EDIT_H

#include <stdbool.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/span.h"

/* RC_REJECT: no UTF-8 text, no JSON, or no object. */
enum rc body_edit_check(struct span body, struct err *err) MUST_CHECK;

/* Appends `body`, which body_edit_check found good, with the top-level member of `assignment` set:
 * "KEY=VALUE", the value as JSON where it is JSON ('3', 'null', '"3"'), else as a string. A member
 * that is absent is put first. RC_REJECT: it is no assignment, or the key stands there twice. */
enum rc body_edit_set(struct span body, const char *assignment, struct buf *out,
                      struct err *err) MUST_CHECK;

/* Appends it with one member or element a line, indented by two: only white space differs. */
void body_edit_pretty(struct span body, struct buf *out);

/* What was asked of the model differs: `messages`, `prompt` or `input`. Both are good bodies. */
bool body_edit_asks_otherwise(struct span a, struct span b);

#endif
