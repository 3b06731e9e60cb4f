#include "tests/modelsim/schema.h"

/*
 * Purpose: walk a schema and write a value for it. Happy path: objects get every property in the
 * schema's order, arrays two items, strings the text's first words, numbers a hash of text and
 * path. Failure: an unknown restricting keyword is rejected, so that no answer only seems to
 * satisfy it.
 */
#include "tests/modelsim/hash.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 16
#define OUTPUT_MAX (1u << 20)
#define STRING_WORDS 3

struct walk {
    struct span text;
    uint64_t seed;
    struct buf path; /* JSON pointer, unescaped names */
    struct buf *out;
    struct err *err;
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

void schema_words(struct span text, int count, struct buf *out)
{
    size_t start = out->len;
    size_t i = 0;
    while (count-- > 0) {
        while (i < text.len && is_space(text.at[i]))
            i++;
        size_t from = i;
        while (i < text.len && !is_space(text.at[i]))
            i++;
        if (i == from)
            break;
        if (out->len > start)
            buf_add_char(out, ' ');
        buf_add(out, text.at + from, i - from);
    }
    if (out->len == start)
        buf_add_text(out, "(empty)");
}

static enum rc write_value(struct walk *w, json_t *schema, int depth);

static uint64_t draw(const struct walk *w)
{
    return hash_mix(hash_bytes(w->seed, w->path.data, w->path.len));
}

static enum rc check_keywords(const struct walk *w, json_t *schema)
{
    static const char *const known[] = {"type",  "properties", "required", "items",       "enum",
                                        "const", "title",      "strict",   "description", "$schema",
                                        "$id",   "default",    "examples", "$comment"};
    const char *key;
    json_t *value;
    json_object_foreach(schema, key, value)
    {
        bool ok = strcmp(key, "additionalProperties") == 0 && json_is_boolean(value);
        for (size_t i = 0; !ok && i < sizeof known / sizeof known[0]; i++)
            ok = strcmp(key, known[i]) == 0;
        if (!ok) {
            err_set(w->err, "schema keyword '%.60s' is not supported", key);
            return RC_REJECT;
        }
    }
    return RC_OK;
}

/* Writes the value of one property or item under its own path. */
static enum rc write_child(struct walk *w, const char *name, json_t *schema, int depth)
{
    size_t len = w->path.len;
    buf_add_char(&w->path, '/');
    buf_add_text(&w->path, name);
    enum rc rc = write_value(w, schema, depth + 1);
    w->path.len = len;
    return rc;
}

static enum rc write_member(struct walk *w, const char *name, json_t *schema, bool *first,
                            int depth)
{
    if (!*first)
        buf_add_char(w->out, ',');
    *first = false;
    buf_add_json_string(w->out, name, strlen(name));
    buf_add_char(w->out, ':');
    return write_child(w, name, schema, depth);
}

static enum rc write_object(struct walk *w, json_t *schema, int depth)
{
    json_t *properties = json_object_get(schema, "properties");
    const char *name;
    json_t *value;
    bool first = true;
    buf_add_char(w->out, '{');
    json_object_foreach(properties, name, value)
    {
        if (write_member(w, name, value, &first, depth) != RC_OK)
            return RC_REJECT;
    }
    size_t i;
    json_array_foreach(json_object_get(schema, "required"), i, value)
    {
        name = json_string_value(value);
        if (name != NULL && json_object_get(properties, name) == NULL &&
            write_member(w, name, NULL, &first, depth) != RC_OK)
            return RC_REJECT;
    }
    buf_add_char(w->out, '}');
    return RC_OK;
}

static enum rc write_array(struct walk *w, json_t *schema, int depth)
{
    json_t *items = json_object_get(schema, "items");
    buf_add_char(w->out, '[');
    if (write_child(w, "0", items, depth) != RC_OK)
        return RC_REJECT;
    buf_add_char(w->out, ',');
    if (write_child(w, "1", items, depth) != RC_OK)
        return RC_REJECT;
    buf_add_char(w->out, ']');
    return RC_OK;
}

static void write_json(struct walk *w, const json_t *value)
{
    if (json_is_string(value)) {
        buf_add_json_string(w->out, json_string_value(value), json_string_length(value));
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (text == NULL)
        base_die("no memory");
    buf_add_text(w->out, text);
    free(text);
}

/* The type to write: the first that is not null of a list; guessed from the keywords if absent. */
static const char *type_of(json_t *schema)
{
    const json_t *type = json_object_get(schema, "type");
    if (json_is_string(type))
        return json_string_value(type);
    for (size_t i = 0; i < json_array_size(type); i++) {
        const char *name = json_string_value(json_array_get(type, i));
        if (name != NULL && strcmp(name, "null") != 0)
            return name;
    }
    if (json_is_array(type))
        return "null";
    return json_object_get(schema, "properties") != NULL || json_object_get(schema, "required")
               ? "object"
           : json_object_get(schema, "items") != NULL ? "array"
                                                      : "string";
}

static enum rc write_scalar(struct walk *w, const char *type)
{
    uint64_t h = draw(w);
    if (strcmp(type, "string") == 0) {
        struct buf words = {0};
        schema_words(w->text, STRING_WORDS, &words);
        buf_add_json_string(w->out, words.data, words.len);
        buf_done(&words);
    } else if (strcmp(type, "integer") == 0) {
        buf_add_int(w->out, (int64_t)(h % 100));
    } else if (strcmp(type, "number") == 0) {
        /* quarters, so that every language prints the same digits */
        buf_printf(w->out, "%d.%02d", (int)(h % 400 / 4), (int)(h % 4) * 25);
    } else if (strcmp(type, "boolean") == 0) {
        buf_add_text(w->out, (h & 1) != 0 ? "true" : "false");
    } else if (strcmp(type, "null") == 0) {
        buf_add_text(w->out, "null");
    } else {
        err_set(w->err, "schema type '%.40s' is unknown", type);
        return RC_REJECT;
    }
    return RC_OK;
}

static enum rc write_value(struct walk *w, json_t *schema, int depth)
{
    if (depth > DEPTH_MAX || w->out->len > OUTPUT_MAX) {
        err_set(w->err, "the schema is too deep or too big");
        return RC_REJECT;
    }
    if (schema != NULL && !json_is_object(schema)) {
        err_set(w->err, "a schema must be an object");
        return RC_REJECT;
    }
    if (check_keywords(w, schema) != RC_OK)
        return RC_REJECT;
    json_t *options = json_object_get(schema, "enum");
    json_t *constant = json_object_get(schema, "const");
    if (constant != NULL)
        write_json(w, constant);
    else if (json_array_size(options) > 0)
        write_json(w, json_array_get(options, draw(w) % json_array_size(options)));
    else if (strcmp(type_of(schema), "object") == 0)
        return write_object(w, schema, depth);
    else if (strcmp(type_of(schema), "array") == 0)
        return write_array(w, schema, depth);
    else
        return write_scalar(w, type_of(schema));
    return RC_OK;
}

enum rc schema_answer(struct span schema, struct span text, struct buf *out, struct err *err)
{
    json_error_t error;
    json_t *root = json_loadb(schema.at, schema.len, JSON_ALLOW_NUL, &error);
    if (root == NULL) {
        err_set(err, "the schema is not valid JSON: %.120s", error.text);
        return RC_REJECT;
    }
    struct walk w = {
        .text = text,
        .seed = hash_bytes(HASH_START, text.at, text.len),
        .out = out,
        .err = err,
    };
    enum rc rc = write_value(&w, root, 0);
    buf_done(&w.path);
    json_decref(root);
    return rc;
}
