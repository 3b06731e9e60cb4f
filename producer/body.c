/*
 * body.c - the checks and edits of request bodies.
 *
 * Happy path: one pass of json_members over the body finds the members that are looked at; each is
 * held against the types it may have (`rules`), then the one member without which no server behind
 * that url can answer is asked for (`needs`). Failure: RC_REJECT with the member and what it must
 * be; positions count from the body's first byte.
 */
#include "producer/body.h"

#include <string.h>

#include "common/job_msg.h"
#include "common/json_scan.h"
#include "common/utf8.h"

enum wanted { WANT_BOOL_NOT_TRUE, WANT_TEXT, WANT_COUNT, WANT_NUMBER, WANT_ANY };

/* The members that are looked at. null counts as absent, as servers take it, but for `model`. */
enum member {
    M_MODEL,
    M_CUSTOM_ID,
    M_STREAM,
    M_MAX_TOKENS,
    M_MAX_COMPLETION_TOKENS,
    M_MAX_OUTPUT_TOKENS,
    M_N,
    M_TEMPERATURE,
    M_MESSAGES,
    M_PROMPT,
    M_INPUT,
    MEMBERS,
};

static const char *const names[MEMBERS] = {
    [M_MODEL] = "model",
    [M_CUSTOM_ID] = "custom_id",
    [M_STREAM] = "stream",
    [M_MAX_TOKENS] = "max_tokens",
    [M_MAX_COMPLETION_TOKENS] = "max_completion_tokens",
    [M_MAX_OUTPUT_TOKENS] = "max_output_tokens",
    [M_N] = "n",
    [M_TEMPERATURE] = "temperature",
    [M_MESSAGES] = "messages",
    [M_PROMPT] = "prompt",
    [M_INPUT] = "input",
};

static const enum wanted rules[MEMBERS] = {
    [M_MODEL] = WANT_TEXT,
    [M_CUSTOM_ID] = WANT_TEXT,
    [M_STREAM] = WANT_BOOL_NOT_TRUE,
    [M_MAX_TOKENS] = WANT_COUNT,
    [M_MAX_COMPLETION_TOKENS] = WANT_COUNT,
    [M_MAX_OUTPUT_TOKENS] = WANT_COUNT,
    [M_N] = WANT_COUNT,
    [M_TEMPERATURE] = WANT_NUMBER,
    [M_MESSAGES] = WANT_ANY,
    [M_PROMPT] = WANT_ANY,
    [M_INPUT] = WANT_ANY,
};

/* By the end of the url; the first that fits. */
static const struct need {
    const char *url_end;
    enum member member;
} needs[] = {
    {"/chat/completions", M_MESSAGES},
    {"/completions", M_PROMPT},
    {"/embeddings", M_INPUT},
    {"/responses", M_INPUT},
};

static bool ends_with(struct span text, const char *end)
{
    size_t n = strlen(end);
    return text.n >= n && memcmp(text.p + text.n - n, end, n) == 0;
}

enum rc body_check_utf8(struct span text, struct err *err)
{
    size_t at = 0, n;
    if (utf8_valid(text))
        return RC_OK;
    while (at < text.n && (n = utf8_next(text.p + at, text.n - at, NULL)) > 0)
        at += n;
    return err_set(err, RC_REJECT,
                   "not UTF-8 at byte %zu (0x%02x): convert it first, for instance with iconv", at,
                   at < text.n ? (unsigned char)text.p[at] : 0u);
}

static enum rc check_count(const char *name, struct span text, struct err *err)
{
    int64_t count;
    if (json_int64(text, &count) && count >= 1)
        return RC_OK;
    return err_set(err, RC_REJECT, "\"%s\" must be a whole number, 1 or more", name);
}

static enum rc check_member(enum member m, const struct json_value *v, struct err *err)
{
    if (v->type == JSON_TYPE_ABSENT || (v->type == JSON_TYPE_NULL && m != M_MODEL))
        return RC_OK;
    switch (rules[m]) {
    case WANT_TEXT:
        if (v->type != JSON_TYPE_STRING || v->text.n <= 2)
            return err_set(err, RC_REJECT, "\"%s\" must be text, and not empty", names[m]);
        return RC_OK;
    case WANT_COUNT:
        if (v->type != JSON_TYPE_NUMBER)
            return err_set(err, RC_REJECT, "\"%s\" must be a whole number, 1 or more", names[m]);
        return check_count(names[m], v->text, err);
    case WANT_NUMBER:
        if (v->type != JSON_TYPE_NUMBER)
            return err_set(err, RC_REJECT, "\"%s\" must be a number", names[m]);
        return RC_OK;
    case WANT_BOOL_NOT_TRUE:
        if (v->type == JSON_TYPE_TRUE)
            return err_set(err, RC_REJECT,
                           "\"stream\" is true: batch jobs are not streamed, take it out");
        if (v->type != JSON_TYPE_FALSE)
            return err_set(err, RC_REJECT, "\"%s\" must be true or false", names[m]);
        return RC_OK;
    case WANT_ANY:
        return RC_OK;
    }
    return RC_OK;
}

static bool empty_array(struct span text)
{
    for (size_t i = 1; i < text.n; i++)
        if (!strchr(" \t\r\n", text.p[i]))
            return text.p[i] == ']';
    return false;
}

static enum rc check_need(const struct json_value values[MEMBERS], struct span url, struct err *err)
{
    for (size_t i = 0; i < sizeof needs / sizeof needs[0]; i++) {
        if (!ends_with(url, needs[i].url_end))
            continue;
        const struct json_value *v = &values[needs[i].member];
        const char *name = names[needs[i].member];
        if (v->type == JSON_TYPE_ABSENT || v->type == JSON_TYPE_NULL)
            return err_set(err, RC_REJECT, "%.*s needs \"%s\", and it is not there", (int)url.n,
                           url.p, name);
        if (needs[i].member == M_MESSAGES && v->type != JSON_TYPE_ARRAY)
            return err_set(err, RC_REJECT, "\"messages\" must be an array of messages");
        if (needs[i].member != M_MESSAGES && v->type != JSON_TYPE_STRING &&
            v->type != JSON_TYPE_ARRAY)
            return err_set(err, RC_REJECT, "\"%s\" must be text or an array", name);
        if (v->type == JSON_TYPE_ARRAY && empty_array(v->text))
            return err_set(err, RC_REJECT, "\"%s\" is empty", name);
        return RC_OK;
    }
    return RC_OK;
}

static void note_facts(const struct json_value values[MEMBERS], struct body_facts *facts)
{
    *facts = (struct body_facts){.max_output_tokens = -1};
    if (values[M_MODEL].type == JSON_TYPE_STRING)
        facts->model = values[M_MODEL].text;
    if (values[M_CUSTOM_ID].type != JSON_TYPE_ABSENT)
        facts->custom_id = values[M_CUSTOM_ID].text;
    for (enum member m = M_MAX_TOKENS; m <= M_MAX_OUTPUT_TOKENS; m++) {
        int64_t count;
        facts->limits_output |= values[m].type != JSON_TYPE_ABSENT;
        if (values[m].type == JSON_TYPE_NUMBER && json_int64(values[m].text, &count))
            facts->max_output_tokens = count;
    }
}

enum rc body_check(struct span body, struct span url, struct body_facts *ret_facts, struct err *err)
{
    struct json_value values[MEMBERS];
    enum rc rc = body_check_utf8(body, err);
    if (rc == RC_OK)
        rc = json_members(body, names, MEMBERS, values, err);
    for (enum member m = 0; rc == RC_OK && m < MEMBERS; m++)
        rc = check_member(m, &values[m], err);
    if (rc == RC_OK && values[M_CUSTOM_ID].type == JSON_TYPE_NULL)
        rc = err_set(err, RC_REJECT, "\"custom_id\" must be text, and not empty");
    if (rc == RC_OK)
        rc = check_need(values, url, err);
    if (rc == RC_OK)
        note_facts(values, ret_facts);
    return rc;
}

enum rc body_check_url(struct span url, struct err *err)
{
    if (url.n == 0 || url.p[0] != '/' || (url.n > 1 && url.p[1] == '/'))
        return err_set(err, RC_REJECT,
                       "the url must be a path such as /v1/chat/completions; which server it goes "
                       "to is the catalogue's to say");
    if (url.n > JOB_TEXT_BYTES_MAX)
        return err_set(err, RC_REJECT, "the url has %zu bytes; at most %d are taken", url.n,
                       JOB_TEXT_BYTES_MAX);
    for (size_t i = 0; i < url.n; i++) {
        unsigned char c = (unsigned char)url.p[i];
        if (c <= ' ' || c >= 0x7f || strchr("#\\\"<>", c))
            return err_set(err, RC_REJECT, "the url holds 0x%02x at byte %zu: give a plain path", c,
                           i);
    }
    return RC_OK;
}

static const char *const line_keys[] = {"custom_id", "method", "url", "body"};

enum rc body_split_openai(struct span line, struct openai_line *ret_line, struct err *err)
{
    struct json_value v[4];
    enum rc rc = body_check_utf8(line, err);
    if (rc == RC_OK)
        rc = json_members(line, line_keys, 4, v, err);
    if (rc != RC_OK)
        return rc;
    if (v[0].type != JSON_TYPE_STRING || v[0].text.n <= 2)
        return err_set(err, RC_REJECT, "\"custom_id\" must be there, as text, and not empty");
    if (v[1].type != JSON_TYPE_ABSENT && !span_is(v[1].text, "\"POST\""))
        return err_set(err, RC_REJECT, "\"method\" must be \"POST\"");
    if (v[2].type != JSON_TYPE_ABSENT && v[2].type != JSON_TYPE_STRING)
        return err_set(err, RC_REJECT, "\"url\" must be text");
    if (v[3].type != JSON_TYPE_OBJECT)
        return err_set(err, RC_REJECT, "\"body\" must be there, as an object");
    *ret_line = (struct openai_line){.custom_id = v[0].text, .url = v[2].text, .body = v[3].text};
    return RC_OK;
}

bool body_is_openai(struct span line)
{
    struct json_value v[4];
    return json_members(line, line_keys, 4, v, NULL) == RC_OK && v[3].type == JSON_TYPE_OBJECT;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool body_cut(struct span object, struct span value, struct buf *out)
{
    const char *first = value.p, *last = value.p + value.n;
    const char *begin = object.p, *end = object.p + object.n;
    /* Back over the colon and the name. A quote inside a name is escaped, and no name that is cut
     * has one, so the next quote to the left of the closing one opens it. */
    while (*--first != '"')
        continue;
    while (*--first != '"')
        continue;
    while (last < end && blank(*last))
        last++;
    if (*last == ',') {
        last++; /* others follow: their comma goes */
    } else {
        const char *before = first;
        while (before > begin && blank(before[-1]))
            before--;
        if (before > begin && before[-1] == ',')
            first = before - 1; /* the last of several: the comma before it goes */
    }
    return buf_add(out, begin, (size_t)(first - begin)) && buf_add(out, last, (size_t)(end - last));
}

bool body_put_first(struct span object, struct span members, struct buf *out)
{
    const char *brace = memchr(object.p, '{', object.n); /* blanks may stand before it */
    size_t head = (size_t)(brace - object.p) + 1, next = head;
    while (next < object.n && blank(object.p[next]))
        next++;
    bool alone = next < object.n && object.p[next] == '}';
    return buf_add(out, object.p, head) && buf_add_span(out, members) &&
           (alone || buf_add_byte(out, ',')) && buf_add(out, object.p + head, object.n - head);
}
