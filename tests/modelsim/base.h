#ifndef MODELSIM_BASE_H
#define MODELSIM_BASE_H
/*
 * Purpose: the few words that every module of the stand-in shares: result codes and error text.
 * The stand-in borrows nothing from the programs that it watches, so it has its own.
 */

#include <stddef.h>

/* What must happen next: RC_OK go on; RC_REJECT the input is wrong, say so to its author;
 * RC_FATAL the process cannot go on. */
enum rc { RC_OK, RC_REJECT, RC_FATAL };

#define MUST_CHECK __attribute__((warn_unused_result))

struct err {
    char text[240];
};

/* Writes a printf-style text into err (borrows; may be NULL). */
void err_set(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the process with a message: for exhausted memory and for a witness file that refuses lines.
 * A witness that lost a line would lie, so it stops instead. */
_Noreturn void base_die(const char *what);

/* realloc and calloc that never return NULL: they end the process instead. Sizes are at least 1;
 * the result is owned by the caller and given back with free. */
void *base_realloc(void *old, size_t size) __attribute__((returns_nonnull));
void *base_calloc(size_t count, size_t size) __attribute__((returns_nonnull));

#endif
