#include "tests/modelsim/ask.h"

/*
 * Purpose: body -> struct ask. Happy path: one pass over the members, text unescaped into one
 * buffer. Failure: malformed JSON, a missing model or prompt, or a feature that the stand-in does
 * not serve (streams, several choices) is rejected by name: a silent default would hide a bug.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIMENSIONS_DEFAULT 8
#define DIMENSIONS_MAX 4096

static enum rc reject(struct err *err, const char *what)
{
    err_set(err, "%s", what);
    return RC_REJECT;
}

static enum rc malformed(struct err *err)
{
    return reject(err, "the body is not valid JSON");
}

static enum rc wrong_value(struct span key, struct err *err)
{
    int shown = key.len > 40 ? 40 : (int)key.len;
    err_set(err, "the body is not valid JSON, or the value of '%.*s' is wrong", shown, key.at);
    return RC_REJECT;
}

static struct ask_part *part_new(struct ask *ask)
{
    if (ask->part_count == ask->part_cap) {
        size_t cap = ask->part_cap == 0 ? 16 : ask->part_cap * 2;
        struct ask_part *parts = base_realloc(ask->parts, cap * sizeof *parts);
        ask->parts = parts;
        ask->part_cap = cap;
    }
    struct ask_part *part = &ask->parts[ask->part_count++];
    *part = (struct ask_part){.at = ask->text.len, .role = ROLE_USER};
    return part;
}

/* Appends the text of one content part ({"type":"text","text":...}; others carry no text). */
static bool content_part(struct jscan *s, struct ask *ask)
{
    bool first = true;
    bool ok;
    struct span key;
    if (!jscan_take(s, '{'))
        return false;
    while (jscan_member(s, &first, &key, &ok)) {
        struct span raw;
        bool text = span_is(key, "text") && jscan_peek(s) == '"';
        if (!(text ? jscan_string(s, &raw) : jscan_value(s, NULL)))
            return false;
        if (text)
            jscan_unescape(raw, &ask->text);
    }
    return ok;
}

/* A message's content: a string, null, or an array of parts. */
static bool content(struct jscan *s, struct ask *ask)
{
    char c = jscan_peek(s);
    struct span raw;
    if (c == '"') {
        if (!jscan_string(s, &raw))
            return false;
        jscan_unescape(raw, &ask->text);
        return true;
    }
    if (c != '[')
        return c == 'n' && jscan_value(s, NULL);
    bool first = true;
    bool ok = jscan_take(s, '[');
    while (ok && jscan_element(s, &first, &ok))
        ok = content_part(s, ask);
    return ok;
}

static enum ask_role role_of(struct span raw)
{
    if (span_is(raw, "user"))
        return ROLE_USER;
    if (span_is(raw, "system") || span_is(raw, "developer"))
        return ROLE_SYSTEM;
    return span_is(raw, "assistant") ? ROLE_ASSISTANT : ROLE_OTHER;
}

static bool message(struct jscan *s, struct ask *ask)
{
    struct ask_part *part = part_new(ask);
    bool first = true;
    bool ok;
    struct span key;
    struct span raw;
    if (!jscan_take(s, '{'))
        return false;
    while (jscan_member(s, &first, &key, &ok)) {
        if (span_is(key, "role")) {
            if (!jscan_string(s, &raw))
                return false;
            part->role = role_of(raw);
        } else if (!(span_is(key, "content") ? content(s, ask) : jscan_value(s, NULL))) {
            return false;
        }
    }
    part->len = ask->text.len - part->at;
    ask->reask = ask->reask || part->role == ROLE_ASSISTANT;
    return ok;
}

/* A prompt or input: one string, or an array of strings. */
static bool texts(struct jscan *s, struct ask *ask)
{
    bool many = jscan_peek(s) == '[';
    bool first = true;
    bool ok = true;
    if (many)
        s->p++;
    while (!many || jscan_element(s, &first, &ok)) {
        struct span raw;
        if (!jscan_string(s, &raw))
            return false;
        struct ask_part *part = part_new(ask);
        jscan_unescape(raw, &ask->text);
        part->len = ask->text.len - part->at;
        if (!many)
            return true;
    }
    return ok;
}

static bool messages(struct jscan *s, struct ask *ask)
{
    bool first = true;
    bool ok = jscan_take(s, '[');
    while (ok && jscan_element(s, &first, &ok))
        ok = message(s, ask);
    return ok;
}

static bool whole_number(struct jscan *s, int64_t *ret_value)
{
    struct span value;
    if (!jscan_value(s, &value) || value.len > 15)
        return false;
    if (span_is(value, "null"))
        return true;
    char digits[16];
    memcpy(digits, value.at, value.len);
    digits[value.len] = '\0';
    char *end;
    long long number = strtoll(digits, &end, 10);
    if (end == digits || *end != '\0')
        return false;
    *ret_value = number;
    return true;
}

static bool json_schema(struct jscan *s, struct ask *ask)
{
    bool first = true;
    bool ok;
    struct span key;
    if (!jscan_take(s, '{'))
        return jscan_value(s, NULL);
    while (jscan_member(s, &first, &key, &ok))
        if (!jscan_value(s, span_is(key, "schema") ? &ask->schema : NULL))
            return false;
    return ok;
}

static bool response_format(struct jscan *s, struct ask *ask)
{
    bool first = true;
    bool ok;
    struct span key;
    struct span raw;
    if (!jscan_take(s, '{'))
        return jscan_value(s, NULL);
    while (jscan_member(s, &first, &key, &ok)) {
        if (span_is(key, "type")) {
            if (!jscan_string(s, &raw))
                return false;
            ask->format = span_is(raw, "json_schema")   ? FORMAT_JSON_SCHEMA
                          : span_is(raw, "json_object") ? FORMAT_JSON_OBJECT
                                                        : FORMAT_TEXT;
        } else if (!(span_is(key, "json_schema") ? json_schema(s, ask) : jscan_value(s, NULL))) {
            return false;
        }
    }
    return ok;
}

static bool model_name(struct jscan *s, struct ask *ask)
{
    struct span raw;
    if (!jscan_string(s, &raw) || raw.len > ASK_MODEL_MAX)
        return false;
    struct buf name = {0};
    jscan_unescape(raw, &name);
    (void)snprintf(ask->model, sizeof ask->model, "%.*s", (int)name.len, name.data);
    buf_done(&name);
    return true;
}

/* What only switches: stream and n are refused, encoding_format is kept. */
static bool option(struct jscan *s, struct ask *ask, struct span key, const char **ret_refused)
{
    struct span value;
    if (!jscan_value(s, &value))
        return false;
    if (span_is(key, "encoding_format"))
        ask->base64 = span_is(value, "\"base64\"");
    else if (span_is(key, "stream") && span_is(value, "true"))
        *ret_refused = "stream: this server does not stream";
    else if (span_is(key, "n") && !span_is(value, "1") && !span_is(value, "null"))
        *ret_refused = "n: this server gives one choice";
    return true;
}

static bool member(struct jscan *s, struct ask *ask, struct span key, const char **ret_refused)
{
    if (span_is(key, "model"))
        return model_name(s, ask);
    if (ask->kind == ASK_CHAT && span_is(key, "messages"))
        return messages(s, ask);
    if (ask->kind == ASK_COMPLETION && span_is(key, "prompt"))
        return texts(s, ask);
    if (ask->kind == ASK_EMBEDDING && span_is(key, "input"))
        return texts(s, ask);
    if (span_is(key, "max_tokens") || span_is(key, "max_completion_tokens"))
        return whole_number(s, &ask->max_tokens);
    if (span_is(key, "dimensions"))
        return whole_number(s, &ask->dimensions);
    if (span_is(key, "response_format"))
        return response_format(s, ask);
    return option(s, ask, key, ret_refused);
}

static enum rc check(const struct ask *ask, const char *refused, struct err *err)
{
    if (refused != NULL)
        return reject(err, refused);
    if (ask->model[0] == '\0')
        return reject(err, "you must provide a model parameter");
    if (ask->part_count == 0)
        return reject(err, ask->kind == ASK_CHAT         ? "messages must not be empty"
                           : ask->kind == ASK_COMPLETION ? "prompt must be a text or texts"
                                                         : "input must be a text or texts");
    if (ask->max_tokens == 0 || ask->max_tokens < -1)
        return reject(err, "max_tokens must be at least 1");
    if (ask->dimensions < 1 || ask->dimensions > DIMENSIONS_MAX)
        return reject(err, "dimensions must be in 1 .. 4096");
    if (ask->format == FORMAT_JSON_SCHEMA && ask->schema.at == NULL)
        return reject(err, "response_format: json_schema.schema is missing");
    return RC_OK;
}

enum rc ask_parse(enum ask_kind kind, const char *body, size_t len, struct ask *ask,
                  struct err *err)
{
    ask->kind = kind;
    ask->model[0] = '\0';
    ask->text.len = 0;
    ask->part_count = 0;
    ask->max_tokens = -1;
    ask->dimensions = DIMENSIONS_DEFAULT;
    ask->base64 = false;
    ask->reask = false;
    ask->format = FORMAT_TEXT;
    ask->schema = (struct span){0};
    struct jscan s = {.p = body, .end = body + len};
    const char *refused = NULL;
    bool first = true;
    bool ok;
    struct span key;
    if (!jscan_take(&s, '{'))
        return malformed(err);
    while (jscan_member(&s, &first, &key, &ok))
        if (!member(&s, ask, key, &refused))
            return wrong_value(key, err);
    if (!ok || !jscan_ended(&s))
        return malformed(err);
    return check(ask, refused, err);
}

struct span ask_text(const struct ask *ask, size_t i)
{
    const char *base = ask->text.data == NULL ? "" : ask->text.data;
    return (struct span){base + ask->parts[i].at, ask->parts[i].len};
}

int64_t ask_prompt_tokens(const struct ask *ask)
{
    return (int64_t)((ask->text.len + 3) / 4);
}

void ask_done(struct ask *ask)
{
    buf_done(&ask->text);
    free(ask->parts);
    *ask = (struct ask){0};
}
