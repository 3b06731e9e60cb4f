#ifndef MODELSIM_JSCAN_H
#define MODELSIM_JSCAN_H
/*
 * Purpose: a JSON pull scanner that checks a text and hands out spans of it without allocating, so
 * that a chat request costs one pass over its bytes. Strict RFC 8259, depth at most 64, UTF-8
 * checked. Every function returns false on malformed input and leaves p at the fault.
 */
#include "tests/modelsim/buf.h"

#include <stdbool.h>
#include <stddef.h>

struct jscan {
    const char *p;
    const char *end;
    int depth;
};

/* Bytes of the scanned text (borrowed from it). */
struct span {
    const char *at;
    size_t len;
};

/* Skips white space and returns the next byte without consuming it; '\0' at the end. */
char jscan_peek(struct jscan *s);
/* Consumes c, after white space; false if something else stands there. */
bool jscan_take(struct jscan *s, char c);
/* A string: *ret_raw is what stands between the quotes, escapes untouched. */
bool jscan_string(struct jscan *s, struct span *ret_raw);
/* Any value: *ret_value (may be NULL) is its text. */
bool jscan_value(struct jscan *s, struct span *ret_value);
/* Walks an object whose '{' has been taken: true and *ret_key when a member follows (its value is
 * next); false at the end or on malformed input, *ret_ok tells which. Start with *first = true. */
bool jscan_member(struct jscan *s, bool *first, struct span *ret_key, bool *ret_ok);
/* The same for an array whose '[' has been taken. */
bool jscan_element(struct jscan *s, bool *first, bool *ret_ok);
/* Nothing but white space is left. */
bool jscan_ended(struct jscan *s);
/* Appends the text of a raw string: escapes resolved, a lone surrogate as U+FFFD. */
void jscan_unescape(struct span raw, struct buf *out);
/* The span equals this text. */
bool span_is(struct span span, const char *text);

#endif
