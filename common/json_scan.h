/*
 * json_scan.h - a strict, allocation-free scanner over JSON text (pure).
 *
 * It answers three questions about a body without building a tree: is it JSON, what do a few of its
 * top-level members say, and what is it with one of them replaced. Strict means RFC 8259's grammar,
 * one value, at most JSON_DEPTH_MAX levels, and no unpaired surrogate escapes (RFC 7493). The text
 * must be valid UTF-8 already: bytes above 0x7f are passed over unread. Numbers have no limit of
 * size here. About 1 ns a byte, less inside long strings.
 */
#ifndef INFERQ_COMMON_JSON_SCAN_H
#define INFERQ_COMMON_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/span.h"

enum { JSON_DEPTH_MAX = 128, JSON_KEY_BYTES_MAX = 64, JSON_KEYS_MAX = 32 };

enum json_type {
    JSON_TYPE_ABSENT = 0,
    JSON_TYPE_NULL,
    JSON_TYPE_FALSE,
    JSON_TYPE_TRUE,
    JSON_TYPE_NUMBER,
    JSON_TYPE_STRING,
    JSON_TYPE_ARRAY,
    JSON_TYPE_OBJECT,
};

struct json_value {
    struct span text; /* the value's own bytes, a string's quotes included; absent: p NULL */
    enum json_type type;
};

/* The type of a value by its first byte, in text that json_check found good. */
enum json_type json_type_of(char first);

/* The whole text is one JSON value. RC_REJECT: "byte 17: ...". `ret_type` may be NULL. */
enum rc json_check(struct span text, enum json_type *ret_type, struct err *err) MUST_CHECK;

/* Checks the whole text, which must be an object, and finds the top-level members named by `keys`
 * (at most JSON_KEYS_MAX, each 1..JSON_KEY_BYTES_MAX bytes; names written with escapes are
 * recognised) in one pass. ret_values[i] borrows from `object`. RC_REJECT: not JSON, not an object,
 * or one of `keys` stands there twice: which one a server would believe is not known. */
enum rc json_members(struct span object, const char *const *keys, size_t key_count,
                     struct json_value *ret_values, struct err *err) MUST_CHECK;

/* The same for one key. An absent member is RC_OK, with JSON_TYPE_ABSENT and an absent span. */
enum rc json_member(struct span object, const char *key, struct span *ret_value,
                    enum json_type *ret_type) MUST_CHECK;

/* Appends `object` with the value of top-level member `key` replaced by the string `value` (UTF-8,
 * not quoted), or with that member put first when it is absent; every other byte is kept.
 * RC_REJECT as json_members; RC_FULL: `out` refused. `out` is as before on failure. */
enum rc json_splice_string(struct span object, const char *key, struct span value, struct buf *out,
                           struct err *err) MUST_CHECK;

/* Appends `value` as a JSON string, quotes included. false: `out` refused, and is as before. */
bool json_add_string(struct buf *out, struct span value);

/* What a checked string value says. Without escapes it borrows from `string`; else it is decoded
 * into `scratch`. Absent: it does not fit there. */
struct span json_unquote(struct span string, char *scratch, size_t scratch_bytes);

/* A checked number, when it is written as an integer (no fraction, no exponent) of 64 bits. */
bool json_int64(struct span number, int64_t *ret);

#endif
