/*
 * say.h - what inferq-submit tells people, on standard error.
 */
#ifndef INFERQ_PRODUCER_SAY_H
#define INFERQ_PRODUCER_SAY_H

#include "common/err.h"

/* "inferq-submit: ..." and a newline. Control bytes (file names and records may hold some) are
 * shown as '?', so that no input can drive a terminal. */
void say(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
