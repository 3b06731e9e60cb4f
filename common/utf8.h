/*
 * utf8.h - UTF-8: one character at a time, or a whole text judged (RFC 3629: no overlong forms, no
 * surrogates, nothing past U+10FFFF). Pure.
 */
#ifndef INFERQ_COMMON_UTF8_H
#define INFERQ_COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

/* Length in bytes (1..4) of the well-formed character that starts at p; 0 when n is 0 or what
 * stands there is not well-formed (then one byte is to be skipped). `ret_char` may be NULL. */
size_t utf8_next(const char *p, size_t n, uint32_t *ret_char);

/* The longest prefix of p[0..n) that does not end within a character. Text that is not UTF-8 is
 * not judged: at most three bytes are taken off. */
size_t utf8_trim(const char *p, size_t n);

/* The whole text is UTF-8; NUL is a character like others. Empty and absent: true. */
bool utf8_valid(struct span s);

/* The same, and no NUL: what Postgres takes as text. */
bool utf8_text(struct span s);

#endif
