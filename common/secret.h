/*
 * secret.h - credentials by reference: `env:NAME` or `file:PATH`. The value lives in locked,
 * undumpable memory, and `secret_scrub` takes it out of any text that others may read.
 */
#ifndef INFERQ_COMMON_SECRET_H
#define INFERQ_COMMON_SECRET_H

#include <stddef.h>

#include "common/err.h"
#include "common/span.h"

enum { SECRET_BYTES_MAX = 16384 };

struct secret;

/* Resolves the reference. RC_REJECT: unknown form, unset variable, unreadable or empty file, too
 * long; the message names the reference, never the value (and what is no reference is not
 * repeated either: it may be a value given by mistake). RC_NOMEM. One trailing newline (LF or CRLF)
 * is dropped. A file must be a regular file. Locking is best effort: RLIMIT_MEMLOCK may be small.
 * An environment variable stays in the environment. returns owned */
enum rc secret_load(const char *ref, struct secret **ret_secret, struct err *err) MUST_CHECK;
void secret_free(struct secret *s);               /* wipes */
struct span secret_value(const struct secret *s); /* also NUL-terminated at [n] */

/* Replaces, in place, every occurrence of the secret (8 bytes or longer) in text by '*'s of the
 * same length, and its first 8 or more bytes where the text ends within it. An occurrence may have
 * bytes escaped as JSON does it ("\/", "\u002B"). `s` may be NULL: then nothing. */
void secret_blank(const struct secret *s, char *text, size_t n);
/* That, and what follows "Bearer " and common key shapes ("sk-..."), whosever keys they are: for
 * text that is nobody's result, such as an error's. `s` may be NULL: then only the shapes. */
void secret_scrub(const struct secret *s, char *text, size_t n);
/* Turns off core dumps and other users' view of the process (PR_SET_DUMPABLE 0, RLIMIT_CORE 0),
 * best effort. Also keeps debuggers of the same user out. */
void secret_harden_process(void);

#endif
