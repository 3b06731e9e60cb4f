/*
 * out.h - standard output, and what to do when nobody reads it any more.
 *
 * SIGPIPE is ignored; a write that fails is remembered. `inferq results B | head` is no error: the
 * command stops early and exits 0. A full disk is one.
 */
#ifndef INFERQ_ADMIN_OUT_H
#define INFERQ_ADMIN_OUT_H

#include <stdbool.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/span.h"

void out_setup(void); /* once, at the start: signals, buffer, locale of the terminal */

/* RC_FULL: no reader or no room; stop, and let out_finish say what it means. */
enum rc out_write(struct span s, struct err *err) MUST_CHECK;
enum rc out_writef(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_CHECK;
enum rc out_flush(struct err *err) MUST_CHECK;

/* Flushes and judges: RC_OK also when the reader left (`rc` is then what out_write caused),
 * RC_REJECT when the output could not be written, else `rc`. */
enum rc out_finish(enum rc rc, struct err *err) MUST_CHECK;

bool out_is_terminal(void);

/* A sentence for the person, on standard error. */
void out_note(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
