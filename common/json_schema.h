/*
 * json_schema.h - the closed subset of JSON Schema (2020-12) that inferq checks (pure).
 *
 * Keywords: type, properties, required, items, enum, additionalProperties (true or false). The
 * annotations title, description, default, examples and $schema are read over. Everything else is
 * refused when the schema is compiled. Numbers are compared by value: 1.0 is an integer, and equal
 * to 1. jansson stays behind this header.
 */
#ifndef INFERQ_COMMON_JSON_SCHEMA_H
#define INFERQ_COMMON_JSON_SCHEMA_H

#include "common/err.h"
#include "common/span.h"

enum {
    JSON_SCHEMA_BYTES_MAX = 64 << 10,
    JSON_SCHEMA_DEPTH_MAX = 32,           /* schemas within schemas */
    JSON_SCHEMA_VALUE_BYTES_MAX = 4 << 20 /* a tree takes some 20 times its text */
};

struct json_schema;

/* RC_REJECT: "/properties/age: keyword 'minimum' is not checked by inferq: ...". returns owned */
enum rc json_schema_new(struct span text, struct json_schema **ret_schema,
                        struct err *err) MUST_CHECK;
void json_schema_free(struct json_schema *schema);

/* One JSON value, strictly: no member twice, nothing behind it, at most JSON_DEPTH_MAX levels.
 * RC_OK, or RC_REJECT with the place (a JSON pointer) and the reason. The reason never quotes a
 * value. */
enum rc json_schema_check(const struct json_schema *schema, struct span text,
                          struct err *err) MUST_CHECK;

#endif
