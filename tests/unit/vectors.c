/*
 * vectors.c - reads the golden vectors with jansson.
 */
#include "tests/unit/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/hex.h"

json_t *vectors_load(const char *name)
{
    char path[512];
    const int n = snprintf(path, sizeof path, "%s/messages/vectors/%s", INFERQ_DATADIR, name);
    assert_in_range(n, 1, sizeof path - 1);
    json_error_t error;
    json_t *file = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!file)
        fail_msg("%s:%d: %s", path, error.line, error.text);
    return file;
}

json_t *vectors_list(json_t *file, const char *key)
{
    json_t *list = json_object_get(file, key);
    assert_true(json_is_array(list));
    assert_true(json_array_size(list) > 0);
    return list;
}

struct span vectors_text(const json_t *row, const char *key)
{
    const json_t *value = json_object_get(row, key);
    if (!value || json_is_null(value))
        return (struct span){NULL, 0};
    assert_true(json_is_string(value));
    return (struct span){json_string_value(value), json_string_length(value)};
}

bool same_span(struct span a, struct span b)
{
    if (!a.p || !b.p)
        return a.p == b.p;
    return span_eq(a, b);
}

uint8_t *exact_copy(const void *p, size_t n)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    assert_non_null(copy);
    if (n > 0)
        memcpy(copy, p, n);
    return copy;
}

uint8_t *vectors_bytes(const json_t *row, const char *key, size_t *ret_n)
{
    const struct span hex = vectors_text(row, key);
    assert_non_null(hex.p);
    *ret_n = hex.n / 2;
    uint8_t *bytes = malloc(hex.n > 1 ? hex.n / 2 : 1);
    assert_non_null(bytes);
    assert_true(hex_decode(hex, bytes));
    return bytes;
}

int64_t vectors_int(const json_t *row, const char *key, int64_t absent)
{
    const json_t *value = json_object_get(row, key);
    if (!value || json_is_null(value))
        return absent;
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}
