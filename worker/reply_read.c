/*
 * reply_read.c - what a model's reply says (pure).
 *
 * Happy path: one pass checks the whole reply and finds its members; the first choice, its message
 * and the usage are then looked into where they stand, and the answer is copied out once.
 *
 * Failure modes: whatever is not the protocol's is CLASS_BAD_REPLY with a text that says why; usage
 * is read first, so that a bad answer still has its cost.
 */
#include "worker/reply.h"

#include "common/json_scan.h"
#include "common/utf8.h"
#include "worker/error_body.h"
#include "worker/json_walk.h"

static const struct span ABSENT = {NULL, 0};

static void end(struct outcome *o, enum class class, const char *what, struct span detail)
{
    o->class = class;
    outcome_explain(o, what, detail);
}

/* ---- usage ----------------------------------------------------------------------------------- */

/* A count, also one written as a string; -1: none. */
static int64_t count_of(const struct json_value *v)
{
    char scratch[24];
    int64_t count;
    struct span text = v->text;
    if (v->type == JSON_TYPE_STRING)
        text = json_unquote(v->text, scratch, sizeof scratch);
    else if (v->type != JSON_TYPE_NUMBER)
        return -1;
    return text.p && json_int64(text, &count) && count >= 0 ? count : -1;
}

/* A count within an object of details; 0 where the server gives none. */
static int64_t detail_of(const struct json_value *details, const char *key, int64_t whole)
{
    struct json_value v = {0};
    if (details->type == JSON_TYPE_OBJECT &&
        json_members(details->text, &key, 1, &v, NULL) != RC_OK)
        return 0;
    int64_t count = count_of(&v);
    count = count < 0 ? 0 : count;
    return whole >= 0 && count > whole ? whole : count;
}

static void read_usage(enum api api, const struct json_value *usage, struct usage *ret)
{
    enum { PROMPT, COMPLETION, TOTAL, PROMPT_DETAILS, COMPLETION_DETAILS, CACHE_HIT, COUNT };
    static const char *const keys[COUNT] = {
        "prompt_tokens",         "completion_tokens",         "total_tokens",
        "prompt_tokens_details", "completion_tokens_details", "prompt_cache_hit_tokens",
    };
    struct json_value v[COUNT];
    if (usage->type != JSON_TYPE_OBJECT || json_members(usage->text, keys, COUNT, v, NULL) != RC_OK)
        return;
    int64_t total = count_of(&v[TOTAL]);
    ret->input = count_of(&v[PROMPT]);
    ret->output = count_of(&v[COMPLETION]);
    if (api == API_EMBEDDINGS && ret->output < 0)
        ret->output = 0;
    if (ret->input < 0 && ret->output >= 0 && total >= ret->output)
        ret->input = total - ret->output;
    if (ret->output < 0 && ret->input >= 0 && total >= ret->input)
        ret->output = total - ret->input;
    if (ret->input == 0)
        ret->input = -1; /* a prompt has tokens: it was not counted */
    ret->cached = detail_of(&v[PROMPT_DETAILS], "cached_tokens", ret->input);
    int64_t hit = count_of(&v[CACHE_HIT]);
    if (ret->cached == 0 && hit > 0)
        ret->cached = ret->input >= 0 && hit > ret->input ? ret->input : hit;
    ret->reasoning = detail_of(&v[COMPLETION_DETAILS], "reasoning_tokens", ret->output);
}

/* ---- the answer ------------------------------------------------------------------------------ */

static bool add_string(const struct json_value *v, struct buf *answer)
{
    char *room = buf_room(answer, v->text.n); /* decoded it is shorter */
    if (!room)
        return false;
    struct span text = json_unquote(v->text, room, v->text.n);
    if (text.p != room && text.n)
        memcpy(room, text.p, text.n);
    answer->n += text.n;
    return true;
}

/* content as a list: [{"type":"text","text":"..."}, ...]; parts of other types say nothing here. */
static bool add_parts(const struct json_value *parts, struct buf *answer)
{
    static const char *const key = "text";
    struct json_value part, text;
    struct span rest = json_walk_begin(parts);
    while (json_walk_next(&rest, &part)) {
        if (part.type != JSON_TYPE_OBJECT || json_members(part.text, &key, 1, &text, NULL) != RC_OK)
            return false;
        if (text.type == JSON_TYPE_STRING && !add_string(&text, answer))
            return false;
    }
    return true;
}

/* false: it is neither text nor the absence of text. */
static bool add_content(const struct json_value *content, struct buf *answer)
{
    switch (content->type) {
    case JSON_TYPE_STRING:
        return add_string(content, answer);
    case JSON_TYPE_ARRAY:
        return add_parts(content, answer);
    case JSON_TYPE_ABSENT:
    case JSON_TYPE_NULL:
        return true;
    case JSON_TYPE_FALSE:
    case JSON_TYPE_TRUE:
    case JSON_TYPE_NUMBER:
    case JSON_TYPE_OBJECT:
        break;
    }
    return false;
}

/* White space and NULs alone are no answer. */
static bool is_blank(const struct buf *answer, size_t from)
{
    for (size_t i = from; i < answer->n; i++)
        if (!memchr(" \t\r\n\v\f", answer->p[i], 7)) /* with its NUL */
            return false;
    return true;
}

static void copy_name(const struct json_value *v, char out[OUTCOME_NAME_BYTES])
{
    char scratch[4 * OUTCOME_NAME_BYTES];
    if (v->type != JSON_TYPE_STRING)
        return;
    outcome_text(json_walk_text(v, scratch, sizeof scratch), out, OUTCOME_NAME_BYTES);
}

/* What the first choice says besides its text. */
struct choice {
    struct json_value content, refusal, tool_calls, function_call;
};

static bool has_calls(const struct choice *c)
{
    struct json_value call;
    struct span calls = json_walk_begin(&c->tool_calls);
    return json_walk_next(&calls, &call) || c->function_call.type == JSON_TYPE_OBJECT;
}

/* The class of an answer of the protocol's shape; `from`: where its text starts in `answer`. */
static void judge(const struct choice *c, bool whole_output_wanted, size_t from, struct outcome *o,
                  const struct buf *answer)
{
    bool filtered = !strcmp(o->finish_reason, "content_filter");
    bool blank = is_blank(answer, from);
    if (c->refusal.type == JSON_TYPE_STRING && c->refusal.text.n > 2) {
        char scratch[OUTCOME_ERROR_BYTES];
        end(o, CLASS_REFUSED, "the model refused",
            json_walk_text(&c->refusal, scratch, sizeof scratch));
    } else if (blank && filtered) {
        end(o, CLASS_REFUSED, "the provider's content filter withheld the answer", ABSENT);
    } else if (blank && !has_calls(c)) {
        end(o, CLASS_BAD_OUTPUT, "the answer is empty", span_of(o->finish_reason));
    } else if (whole_output_wanted && !strcmp(o->finish_reason, "length")) {
        end(o, CLASS_BAD_OUTPUT, "the answer was cut at the token limit", ABSENT);
    } else if (whole_output_wanted && filtered) {
        end(o, CLASS_BAD_OUTPUT, "the answer was cut by the provider's content filter", ABSENT);
    } else {
        o->class = CLASS_OK;
        if (o->usage.output == 0)
            o->usage.output = -1; /* it answered, so it was not counted */
    }
}

/* The members of choices[0], and of its message where the api has one. */
static const char *read_choice(enum api api, const struct json_value *choices, struct outcome *o,
                               struct choice *ret)
{
    enum { FINISH, MESSAGE, TEXT, COUNT };
    static const char *const keys[COUNT] = {"finish_reason", "message", "text"};
    enum { CONTENT, REFUSAL, TOOL_CALLS, FUNCTION_CALL, MESSAGE_COUNT };
    static const char *const message_keys[MESSAGE_COUNT] = {"content", "refusal", "tool_calls",
                                                            "function_call"};
    struct json_value first, v[COUNT], m[MESSAGE_COUNT] = {0};
    struct span rest = json_walk_begin(choices);
    if (!json_walk_next(&rest, &first))
        return "the reply has no choices";
    if (first.type != JSON_TYPE_OBJECT || json_members(first.text, keys, COUNT, v, NULL) != RC_OK)
        return "the reply's first choice is not an object of the protocol";
    copy_name(&v[FINISH], o->finish_reason);
    if (api == API_COMPLETIONS) {
        *ret = (struct choice){.content = v[TEXT]};
        return v[TEXT].type == JSON_TYPE_ABSENT ? "the reply's first choice has no text" : NULL;
    }
    if (v[MESSAGE].type != JSON_TYPE_OBJECT ||
        json_members(v[MESSAGE].text, message_keys, MESSAGE_COUNT, m, NULL) != RC_OK)
        return "the reply's first choice has no message";
    *ret = (struct choice){m[CONTENT], m[REFUSAL], m[TOOL_CALLS], m[FUNCTION_CALL]};
    return NULL;
}

static void read_answer(enum api api, const struct json_value *choices, bool whole_output_wanted,
                        struct outcome *o, struct buf *answer)
{
    struct choice choice;
    size_t from = answer->n;
    const char *wrong = read_choice(api, choices, o, &choice);
    if (!wrong && !add_content(&choice.content, answer))
        wrong = "the reply's content is not text, or longer than its bound";
    if (wrong) {
        answer->n = from;
        end(o, CLASS_BAD_REPLY, wrong, ABSENT);
        return;
    }
    judge(&choice, whole_output_wanted, from, o, answer);
}

/* An object with a vector, or its base64, that is not empty. */
static bool is_embedding(const struct json_value *item)
{
    static const char *const key = "embedding";
    struct json_value vector, number;
    if (item->type != JSON_TYPE_OBJECT || json_members(item->text, &key, 1, &vector, NULL) != RC_OK)
        return false;
    if (vector.type == JSON_TYPE_STRING)
        return vector.text.n > 2;
    struct span numbers = json_walk_begin(&vector);
    return json_walk_next(&numbers, &number) && number.type == JSON_TYPE_NUMBER;
}

static void read_embeddings(const struct json_value *data, struct outcome *o)
{
    struct json_value item;
    struct span rest = json_walk_begin(data);
    bool ok = json_walk_next(&rest, &item) && is_embedding(&item);
    while (ok && json_walk_next(&rest, &item))
        ok = is_embedding(&item);
    if (ok)
        o->class = CLASS_OK;
    else
        end(o, CLASS_BAD_REPLY, "the reply's data is not a list of embeddings", ABSENT);
}

/* A 200 that carries an error instead of an answer. */
static void read_error(struct span body, struct outcome *o)
{
    struct error_body error;
    error_body_read(body, &error);
    end(o, CLASS_BAD_REPLY, "the reply is an error", span_of(error.message));
}

void reply_read(enum api api, struct span body, bool whole_output_wanted, struct outcome *o,
                struct buf *answer)
{
    enum { CHOICES, DATA, USAGE, MODEL, ERROR, COUNT };
    static const char *const keys[COUNT] = {"choices", "data", "usage", "model", "error"};
    struct json_value v[COUNT];
    struct err err = {0};
    if (!utf8_valid(body)) {
        end(o, CLASS_BAD_REPLY, "the reply is not UTF-8", ABSENT);
        return;
    }
    if (json_members(body, keys, COUNT, v, &err) != RC_OK) {
        end(o, CLASS_BAD_REPLY, "the reply is not a JSON object", span_of(err.text));
        return;
    }
    read_usage(api, &v[USAGE], &o->usage);
    copy_name(&v[MODEL], o->model_reported);
    const struct json_value *content = api == API_EMBEDDINGS ? &v[DATA] : &v[CHOICES];
    if (content->type != JSON_TYPE_ARRAY && v[ERROR].type != JSON_TYPE_ABSENT &&
        v[ERROR].type != JSON_TYPE_NULL)
        read_error(body, o);
    else if (api == API_EMBEDDINGS)
        read_embeddings(content, o);
    else
        read_answer(api, content, whole_output_wanted, o, answer);
}
