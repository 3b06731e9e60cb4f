/*
 * err.h - what a fallible function says.
 *
 * `enum rc` tells the caller what must happen next; `struct err` says, for a person, what went
 * wrong, where, and how to mend it. It never holds payloads, keys or connection strings.
 */
#ifndef INFERQ_COMMON_ERR_H
#define INFERQ_COMMON_ERR_H

#include <stdarg.h>
#include <stddef.h>

enum rc {
    RC_OK = 0,
    RC_RETRY,  /* the world is busy or away: the same thing may work later */
    RC_REJECT, /* the input is bad: it will never work as it stands */
    RC_FULL,   /* a configured bound is reached: nothing was taken */
    RC_NOMEM,  /* memory: reject or pause, do not exit */
    RC_FATAL,  /* our own state or set-up is broken: stop */
};

enum { ERR_TEXT_BYTES = 512 };

struct err {
    char text[ERR_TEXT_BYTES]; /* NUL-terminated, possibly cut; empty when nothing was said */
};

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Sets the text and returns `rc`, so that a failure is one line: `return err_set(err, RC_REJECT,
 * "...")`. `err` may be NULL. Text past ERR_TEXT_BYTES is cut at a character boundary. */
enum rc err_set(struct err *err, enum rc rc, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "<prefix>: " before the text that stands, and returns `rc`. */
enum rc err_prefix(struct err *err, enum rc rc, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* "ok", "retry", ...: for logs. Never NULL. */
const char *rc_name(enum rc rc);

#endif
