/*
 * json_schema.c - checks JSON values against a small, closed subset of JSON Schema.
 *
 * Happy path: json_schema_new parses the schema and walks it once, so that whatever is left in it
 * is known to have a right shape; json_schema_check parses the value and walks both trees together.
 *
 * Failure modes: a wrong schema and a wrong value are RC_REJECT with the place; only memory is
 * RC_NOMEM. Recursion is bounded twice: schemas by JSON_SCHEMA_DEPTH_MAX, texts by the scanner's
 * JSON_DEPTH_MAX before a tree is built. Numbers that jansson cannot hold never fail a value: see
 * `parse`.
 */
#include "common/json_schema.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/json_scan.h"

struct json_schema {
    json_t *root;
};

/* ---- places ------------------------------------------------------------------------------- */

/* Where the walk stands: a chain of stack frames, written out only when something is wrong. */
struct place {
    const struct place *up;
    const char *key; /* NULL: `index` counts */
    size_t index;
};

enum { PLACE_TEXT_BYTES = 160, NAME_SHOWN_BYTES = 64 };

static size_t place_append(char *out, size_t at, const char *piece, size_t n)
{
    size_t room = PLACE_TEXT_BYTES - 1 - at;
    n = n < room ? n : room;
    memcpy(out + at, piece, n);
    return at + n;
}

static size_t place_write(const struct place *place, char *out)
{
    if (!place)
        return 0;
    size_t at = place_append(out, place_write(place->up, out), "/", 1);
    if (!place->key) {
        char digits[24];
        int n = snprintf(digits, sizeof digits, "%zu", place->index);
        return place_append(out, at, digits, (size_t)n);
    }
    for (const char *p = place->key; *p; p++) {
        if (*p == '~' || *p == '/')
            at = place_append(out, at, *p == '~' ? "~0" : "~1", 2);
        else
            at = place_append(out, at, p, 1);
    }
    return at;
}

/* Says "<JSON pointer>: <text>"; the root is called "top level". */
static enum rc reject(struct err *err, const struct place *place, const char *text)
{
    char where[PLACE_TEXT_BYTES];
    where[place_write(place, where)] = '\0';
    return err_set(err, RC_REJECT, "%s: %s", place ? where : "top level", text);
}

static enum rc reject_name(struct err *err, const struct place *place, const char *before,
                           const char *name, const char *after)
{
    char text[ERR_TEXT_BYTES];
    snprintf(text, sizeof text, "%s'%.*s'%s", before, NAME_SHOWN_BYTES, name, after);
    return reject(err, place, text);
}

/* ---- parsing ------------------------------------------------------------------------------ */

/* Overwrites every number beyond a double's range by 1e308 and spaces, in its own place: as long as
 * types and listed values are all that is asked, the two answer alike. The text is checked JSON;
 * such a number has at least five characters ("9e308"). */
static void tame_numbers(char *text, size_t n)
{
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        if (in_string && text[i] == '\\') {
            i++;
        } else if (text[i] == '"') {
            in_string = !in_string;
        } else if (!in_string && text[i] >= '0' && text[i] <= '9') {
            size_t length = strspn(text + i, "0123456789.eE+-");
            if (isinf(strtod(text + i, NULL))) {
                memset(text + i, ' ', length);
                memcpy(text + i, "1e308", 5);
            }
            i += length - 1;
        }
    }
}

static json_t *parse_large_numbers(struct span text, json_error_t *error)
{
    char *copy = malloc(text.n + 1);
    if (!copy)
        return NULL; /* `error` still says overflow: `parse` knows what that means */
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    tame_numbers(copy, text.n);
    json_t *tree = json_loadb(
        copy, text.n,
        JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, error);
    free(copy);
    return tree;
}

/* jansson refuses integers beyond 64 bits and reals beyond a double, both of them good JSON: then
 * all numbers are read as reals, within its range. */
static enum rc parse(struct span text, json_t **ret_tree, struct err *err)
{
    json_error_t error;
    json_t *tree = json_loadb(text.p, text.n,
                              JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (!tree && json_error_code(&error) == json_error_numeric_overflow)
        tree = parse_large_numbers(text, &error);
    if (tree) {
        *ret_tree = tree;
        return RC_OK;
    }
    switch ((int)json_error_code(&error)) {
    case json_error_out_of_memory:
    case json_error_numeric_overflow: /* only when there was no memory for the second way */
        return err_set(err, RC_NOMEM, "no memory for a JSON value of %zu bytes", text.n);
    case json_error_duplicate_key:
        return err_set(err, RC_REJECT, "not strict JSON: a member stands twice in one object");
    case json_error_null_byte_in_key:
        return err_set(err, RC_REJECT, "a member's name holds U+0000, which is not supported");
    case json_error_invalid_utf8:
        return err_set(err, RC_REJECT, "not JSON: it is not valid UTF-8 (byte %d)", error.position);
    default:
        return err_set(err, RC_REJECT, "not JSON (byte %d)", error.position);
    }
}

static enum rc parse_checked(struct span text, json_t **ret_tree, struct err *err)
{
    enum rc rc = json_check(text, NULL, err);
    if (rc != RC_OK)
        return err_prefix(err, rc, "not one JSON value");
    return parse(text, ret_tree, err);
}

/* ---- types -------------------------------------------------------------------------------- */

enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8,
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
};

static const struct {
    const char *name;
    unsigned bit;
} type_names[] = {
    {"null", TYPE_NULL},     {"boolean", TYPE_BOOLEAN}, {"integer", TYPE_INTEGER},
    {"number", TYPE_NUMBER}, {"string", TYPE_STRING},   {"array", TYPE_ARRAY},
    {"object", TYPE_OBJECT},
};
enum { TYPE_COUNT = sizeof type_names / sizeof *type_names };

static unsigned type_bit(const char *name)
{
    for (size_t i = 0; i < TYPE_COUNT; i++)
        if (strcmp(type_names[i].name, name) == 0)
            return type_names[i].bit;
    return 0;
}

/* Doubles of 2^53 and more have no fraction. */
static bool is_integral(double v)
{
    return v >= 0x1p53 || v <= -0x1p53 || v == (double)(int64_t)v;
}

/* All types that a value has: 1 and 1.0 are integers, and integers are numbers. */
static unsigned value_types(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_NULL:
        return TYPE_NULL;
    case JSON_TRUE:
    case JSON_FALSE:
        return TYPE_BOOLEAN;
    case JSON_INTEGER:
        return TYPE_INTEGER | TYPE_NUMBER;
    case JSON_REAL:
        return is_integral(json_real_value(value)) ? TYPE_INTEGER | TYPE_NUMBER : TYPE_NUMBER;
    case JSON_STRING:
        return TYPE_STRING;
    case JSON_ARRAY:
        return TYPE_ARRAY;
    case JSON_OBJECT:
        return TYPE_OBJECT;
    default:
        return 0;
    }
}

/* "string or null" */
static void types_text(unsigned types, char *out, size_t out_bytes)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < TYPE_COUNT && at < out_bytes; i++)
        if (types & type_names[i].bit)
            at += (size_t)snprintf(out + at, out_bytes - at, "%s%s", at ? " or " : "",
                                   type_names[i].name);
}

/* The types a checked schema asks for; 0: any. */
static unsigned wanted_types(const json_t *schema)
{
    const json_t *type = json_object_get(schema, "type");
    if (json_is_string(type))
        return type_bit(json_string_value(type));
    unsigned types = 0;
    for (size_t i = 0; i < json_array_size(type); i++)
        types |= type_bit(json_string_value(json_array_get(type, i)));
    return types;
}

/* ---- compiling: is the schema one that can be checked? -------------------------------------- */

static enum rc compile(json_t *schema, const struct place *place, int depth, struct err *err);

static enum rc compile_type(json_t *type, const struct place *place, struct err *err)
{
    bool list = json_is_array(type);
    size_t count = list ? json_array_size(type) : 1;
    unsigned seen = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(list ? json_array_get(type, i) : type);
        unsigned bit = name ? type_bit(name) : 0;
        if (!bit)
            return reject(err, place,
                          "must be null, boolean, integer, number, string, array or "
                          "object, or a list of these");
        if (seen & bit)
            return reject_name(err, place, "names ", name, " twice");
        seen |= bit;
    }
    return count ? RC_OK : reject(err, place, "an empty list allows nothing: name a type");
}

static enum rc compile_properties(json_t *properties, const struct place *place, int depth,
                                  struct err *err)
{
    if (!json_is_object(properties))
        return reject(err, place, "must be an object of schemas");
    const char *name;
    json_t *schema;
    json_object_foreach(properties, name, schema)
    {
        struct place here = {place, name, 0};
        enum rc rc = compile(schema, &here, depth + 1, err);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc compile_required(json_t *required, const struct place *place, struct err *err)
{
    if (!json_is_array(required))
        return reject(err, place, "must be a list of property names");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const json_t *name = json_array_get(required, i);
        if (!json_is_string(name))
            return reject(err, place, "must be a list of property names");
        if (strlen(json_string_value(name)) != json_string_length(name))
            return reject(err, place, "a property name with U+0000 is not supported");
        for (size_t j = 0; j < i; j++)
            if (json_equal(name, json_array_get(required, j)))
                return reject_name(err, place, "names ", json_string_value(name), " twice");
    }
    return RC_OK;
}

static enum rc compile_keyword(const char *keyword, json_t *value, const struct place *place,
                               int depth, struct err *err)
{
    struct place here = {place, keyword, 0};
    static const char *const annotations[] = {"title", "description", "default", "examples",
                                              "$schema"};
    for (size_t i = 0; i < sizeof annotations / sizeof *annotations; i++)
        if (strcmp(keyword, annotations[i]) == 0)
            return RC_OK;
    if (strcmp(keyword, "type") == 0)
        return compile_type(value, &here, err);
    if (strcmp(keyword, "properties") == 0)
        return compile_properties(value, &here, depth, err);
    if (strcmp(keyword, "required") == 0)
        return compile_required(value, &here, err);
    if (strcmp(keyword, "items") == 0)
        return compile(value, &here, depth + 1, err);
    if (strcmp(keyword, "enum") == 0)
        return json_is_array(value) && json_array_size(value)
                   ? RC_OK
                   : reject(err, &here, "must be a list of at least one allowed value");
    if (strcmp(keyword, "additionalProperties") == 0)
        return json_is_boolean(value) ? RC_OK : reject(err, &here, "must be true or false");
    return reject_name(err, place, "keyword ", keyword,
                       " is not checked by inferq: remove it, or check it where the result is "
                       "read (checked: type, properties, required, items, enum, "
                       "additionalProperties)");
}

/* A required name that additionalProperties: false forbids: no value could ever pass. */
static enum rc compile_satisfiable(const json_t *schema, const struct place *place, struct err *err)
{
    if (!json_is_false(json_object_get(schema, "additionalProperties")))
        return RC_OK;
    const json_t *required = json_object_get(schema, "required");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (!json_object_get(json_object_get(schema, "properties"), name))
            return reject_name(err, place, "", name,
                               " is required, but not among 'properties', and "
                               "additionalProperties is false: nothing could satisfy that");
    }
    return RC_OK;
}

static enum rc compile(json_t *schema, const struct place *place, int depth, struct err *err)
{
    if (depth > JSON_SCHEMA_DEPTH_MAX)
        return reject(err, place, "schemas are nested too deeply (32 levels at most)");
    if (!json_is_object(schema))
        return reject(err, place, "a schema must be an object; {} allows anything");
    const char *keyword;
    json_t *value;
    json_object_foreach(schema, keyword, value)
    {
        enum rc rc = compile_keyword(keyword, value, place, depth, err);
        if (rc != RC_OK)
            return rc;
    }
    return compile_satisfiable(schema, place, err);
}

enum rc json_schema_new(struct span text, struct json_schema **ret_schema, struct err *err)
{
    if (text.n > JSON_SCHEMA_BYTES_MAX)
        return err_set(err, RC_REJECT, "the schema has %zu bytes; at most %d are allowed", text.n,
                       (int)JSON_SCHEMA_BYTES_MAX);
    struct json_schema *schema = calloc(1, sizeof *schema);
    if (!schema)
        return err_set(err, RC_NOMEM, "no memory for a schema");
    enum rc rc = parse_checked(text, &schema->root, err);
    if (rc == RC_OK)
        rc = compile(schema->root, NULL, 1, err);
    if (rc == RC_OK)
        *ret_schema = schema;
    else
        json_schema_free(schema);
    return rc;
}

void json_schema_free(struct json_schema *schema)
{
    if (!schema)
        return;
    json_decref(schema->root);
    free(schema);
}

/* ---- checking ------------------------------------------------------------------------------ */

static bool numbers_equal(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b))
        return json_integer_value(a) == json_integer_value(b);
    if (json_is_real(a) && json_is_real(b))
        return json_real_value(a) == json_real_value(b);
    const json_t *integer = json_is_integer(a) ? a : b;
    double real = json_real_value(json_is_integer(a) ? b : a);
    /* Compared as integers: turning the integer into a double could round it. */
    return is_integral(real) && real >= -0x1p63 && real < 0x1p63 &&
           (json_int_t)real == json_integer_value(integer);
}

static bool values_equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return numbers_equal(a, b);
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a)) {
        bool equal = json_array_size(a) == json_array_size(b);
        for (size_t i = 0; equal && i < json_array_size(a); i++)
            equal = values_equal(json_array_get(a, i), json_array_get(b, i));
        return equal;
    }
    if (!json_is_object(a))
        return json_equal(a, b);
    if (json_object_size(a) != json_object_size(b))
        return false;
    void *walk = NULL; /* jansson's iterators take objects that are not const */
    for (walk = json_object_iter((json_t *)(uintptr_t)a); walk;
         walk = json_object_iter_next((json_t *)(uintptr_t)a, walk)) {
        const json_t *other = json_object_get(b, json_object_iter_key(walk));
        if (!other || !values_equal(json_object_iter_value(walk), other))
            return false;
    }
    return true;
}

static enum rc check(const json_t *schema, json_t *value, const struct place *place,
                     struct err *err);

static enum rc check_type(const json_t *schema, const json_t *value, const struct place *place,
                          struct err *err)
{
    unsigned wanted = wanted_types(schema), have = value_types(value);
    if (!wanted || (wanted & have))
        return RC_OK;
    char wanted_text[80], have_text[32], text[160];
    types_text(wanted, wanted_text, sizeof wanted_text);
    types_text(have & TYPE_INTEGER ? TYPE_INTEGER : have, have_text, sizeof have_text);
    snprintf(text, sizeof text, "must be %s, but is %s", wanted_text, have_text);
    return reject(err, place, text);
}

static enum rc check_enum(const json_t *schema, const json_t *value, const struct place *place,
                          struct err *err)
{
    const json_t *allowed = json_object_get(schema, "enum");
    if (!allowed)
        return RC_OK;
    for (size_t i = 0; i < json_array_size(allowed); i++)
        if (values_equal(json_array_get(allowed, i), value))
            return RC_OK;
    return reject(err, place, "is none of the values that 'enum' allows");
}

static enum rc check_object(const json_t *schema, json_t *value, const struct place *place,
                            struct err *err)
{
    const json_t *required = json_object_get(schema, "required");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (!json_object_get(value, name))
            return reject_name(err, place, "the required property ", name, " is missing");
    }
    const json_t *properties = json_object_get(schema, "properties");
    bool closed = json_is_false(json_object_get(schema, "additionalProperties"));
    const char *name;
    json_t *member;
    json_object_foreach(value, name, member)
    {
        const json_t *inner = json_object_get(properties, name);
        struct place here = {place, name, 0};
        if (!inner && closed)
            return reject_name(err, place, "the property ", name, " is not allowed");
        enum rc rc = inner ? check(inner, member, &here, err) : RC_OK;
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc check_items(const json_t *schema, const json_t *value, const struct place *place,
                           struct err *err)
{
    const json_t *items = json_object_get(schema, "items");
    if (!items)
        return RC_OK;
    for (size_t i = 0; i < json_array_size(value); i++) {
        struct place here = {place, NULL, i};
        enum rc rc = check(items, json_array_get(value, i), &here, err);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc check(const json_t *schema, json_t *value, const struct place *place,
                     struct err *err)
{
    enum rc rc = check_type(schema, value, place, err);
    if (rc == RC_OK)
        rc = check_enum(schema, value, place, err);
    if (rc == RC_OK && json_is_object(value))
        rc = check_object(schema, value, place, err);
    if (rc == RC_OK && json_is_array(value))
        rc = check_items(schema, value, place, err);
    return rc;
}

enum rc json_schema_check(const struct json_schema *schema, struct span text, struct err *err)
{
    if (text.n > JSON_SCHEMA_VALUE_BYTES_MAX)
        return err_set(err, RC_REJECT,
                       "the answer is too large to be checked (%zu bytes; at most "
                       "%d)",
                       text.n, (int)JSON_SCHEMA_VALUE_BYTES_MAX);
    json_t *value;
    enum rc rc = parse_checked(text, &value, err);
    if (rc != RC_OK)
        return rc;
    rc = check(schema->root, value, NULL, err);
    json_decref(value);
    return rc;
}
