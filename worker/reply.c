/*
 * reply.c - the adapter of the OpenAI protocol (pure). What a reply says is in reply_read.c.
 *
 * Happy path: one pass over the body finds the few members that matter; the body to send is the
 * same bytes with another "model", and for a re-ask with two messages more before the end of its
 * list.
 *
 * Failure modes: all RC_REJECT (this body will never do) but for the bound of `out` (RC_FULL).
 */
#include "worker/reply.h"

#include <assert.h>
#include <string.h>

#include "common/json_scan.h"
#include "worker/json_walk.h"

/* ---- which api ------------------------------------------------------------------------------ */

static const char *const urls[] = {
    [API_CHAT] = "/v1/chat/completions",
    [API_COMPLETIONS] = "/v1/completions",
    [API_EMBEDDINGS] = "/v1/embeddings",
};

enum rc api_of_url(struct span url, enum api *ret_api, struct err *err)
{
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        if (!span_is(url, urls[i]))
            continue;
        *ret_api = (enum api)i;
        return RC_OK;
    }
    int shown = url.n < 80 ? (int)url.n : 80;
    return err_set(err, RC_REJECT, "url \"%.*s\" is not served; served are %s, %s and %s", shown,
                   url.p ? url.p : "", urls[API_CHAT], urls[API_COMPLETIONS], urls[API_EMBEDDINGS]);
}

/* ---- what a request says -------------------------------------------------------------------- */

enum {
    KEY_MODEL,
    KEY_STREAM,
    KEY_N,
    KEY_BEST_OF,
    KEY_MAX_TOKENS,
    KEY_MAX_COMPLETION_TOKENS,
    KEY_LOGPROBS,
    KEY_TOP_LOGPROBS,
    KEY_PROMPT_LOGPROBS,
    KEY_ECHO,
    KEY_MESSAGES,
    KEY_PROMPT,
    KEY_COUNT
};

static const char *const keys[KEY_COUNT] = {
    [KEY_MODEL] = "model",
    [KEY_STREAM] = "stream",
    [KEY_N] = "n",
    [KEY_BEST_OF] = "best_of",
    [KEY_MAX_TOKENS] = "max_tokens",
    [KEY_MAX_COMPLETION_TOKENS] = "max_completion_tokens",
    [KEY_LOGPROBS] = "logprobs",
    [KEY_TOP_LOGPROBS] = "top_logprobs",
    [KEY_PROMPT_LOGPROBS] = "prompt_logprobs",
    [KEY_ECHO] = "echo",
    [KEY_MESSAGES] = "messages",
    [KEY_PROMPT] = "prompt",
};

static bool is_said(const struct json_value *v)
{
    return v->type != JSON_TYPE_ABSENT && v->type != JSON_TYPE_NULL;
}

/* On, or a number other than 0. */
static bool is_on(const struct json_value *v)
{
    return v->type == JSON_TYPE_TRUE || (v->type == JSON_TYPE_NUMBER && !span_is(v->text, "0"));
}

/* An integer within [least, INT32_MAX]; *ret stays as it is where nothing is said. */
static enum rc read_count(const struct json_value *values, int key, int64_t least, int64_t *ret,
                          struct err *err)
{
    const struct json_value *v = &values[key];
    int64_t count;
    if (!is_said(v))
        return RC_OK;
    if (v->type != JSON_TYPE_NUMBER || !json_int64(v->text, &count) || count < least ||
        count > INT32_MAX)
        return err_set(err, RC_REJECT, "\"%s\" in the body is not an integer from %d on", keys[key],
                       (int)least);
    *ret = count;
    return RC_OK;
}

static enum rc read_model(const struct json_value *v, struct request_facts *ret, struct err *err)
{
    char scratch[REQUEST_MODEL_BYTES];
    if (is_said(v) && v->type != JSON_TYPE_STRING)
        return err_set(err, RC_REJECT, "\"model\" in the body is not a string");
    ret->model_value = v->text;
    if (is_said(v) && !request_model(ret, scratch).p)
        return err_set(err, RC_REJECT, "\"model\" in the body is longer than %d bytes",
                       (int)REQUEST_MODEL_BYTES);
    return RC_OK;
}

struct span request_model(const struct request_facts *facts, char scratch[REQUEST_MODEL_BYTES])
{
    struct span value = facts->model_value;
    if (!value.p || *value.p != '"') /* null is as absent */
        return (struct span){NULL, 0};
    return json_unquote(value, scratch, REQUEST_MODEL_BYTES);
}

/* A completions body may hold a list of prompts, each of which is answered. */
static int64_t prompt_count(const struct json_value *prompt)
{
    struct json_value first;
    struct span rest = json_walk_begin(prompt);
    if (!json_walk_next(&rest, &first) || first.type == JSON_TYPE_NUMBER)
        return 1; /* one text, or one list of tokens */
    int64_t count = 1;
    while (json_walk_next(&rest, &first))
        count++;
    return count;
}

/* The larger of both names' limits, for each of the answers asked for. */
static enum rc read_output_limit(enum api api, const struct json_value *values,
                                 struct request_facts *ret, struct err *err)
{
    int64_t limit = -1, other = -1, n = 1, best_of = 1;
    enum rc rc = read_count(values, KEY_MAX_TOKENS, 0, &limit, err);
    if (rc == RC_OK)
        rc = read_count(values, KEY_MAX_COMPLETION_TOKENS, 0, &other, err);
    if (rc == RC_OK)
        rc = read_count(values, KEY_N, 1, &n, err);
    if (rc == RC_OK)
        rc = read_count(values, KEY_BEST_OF, 1, &best_of, err);
    if (rc != RC_OK)
        return rc;
    limit = limit > other ? limit : other;
    n = n > best_of ? n : best_of;
    if (api == API_COMPLETIONS)
        n *= prompt_count(&values[KEY_PROMPT]); /* below 2^31 * 2^23 */
    if (limit < 0)
        ret->max_output_tokens = -1;
    else if (__builtin_mul_overflow(limit, n, &ret->max_output_tokens))
        return err_set(err, RC_REJECT, "the body asks for more output than can be counted");
    return RC_OK;
}

enum rc request_read(enum api api, struct span body, struct request_facts *ret, struct err *err)
{
    struct json_value values[KEY_COUNT];
    enum rc rc = json_members(body, keys, KEY_COUNT, values, err);
    if (rc != RC_OK)
        return err_prefix(err, rc, "the body");
    if (values[KEY_STREAM].type == JSON_TYPE_TRUE)
        return err_set(err, RC_REJECT, "\"stream\": true cannot be served from a queue: remove it");
    if (is_said(&values[KEY_STREAM]) && values[KEY_STREAM].type != JSON_TYPE_FALSE)
        return err_set(err, RC_REJECT, "\"stream\" in the body is neither true nor false");
    struct json_value message;
    struct span messages = json_walk_begin(&values[KEY_MESSAGES]);
    if (api == API_CHAT && !json_walk_next(&messages, &message))
        return err_set(err, RC_REJECT, "\"messages\" in the body is not a list with messages");
    rc = read_output_limit(api, values, ret, err);
    if (rc != RC_OK)
        return rc;
    ret->open_ended = is_on(&values[KEY_LOGPROBS]) || is_on(&values[KEY_TOP_LOGPROBS]) ||
                      is_on(&values[KEY_PROMPT_LOGPROBS]) || is_on(&values[KEY_ECHO]);
    return read_model(&values[KEY_MODEL], ret, err);
}

/* ---- what is sent --------------------------------------------------------------------------- */

/* The common case: the server's own name stands there, plainly written. */
static bool says(struct span value, const char *name)
{
    size_t n = strlen(name);
    return value.n == n + 2 && value.p[0] == '"' && memcmp(value.p + 1, name, n) == 0 &&
           !memchr(name, '\\', n);
}

enum rc request_write(struct span body, const struct request_facts *facts,
                      const char *upstream_model, struct buf *out, struct span *ret_request,
                      struct err *err)
{
    struct span old = facts->model_value, name = span_of(upstream_model);
    size_t before = out->n;
    if (old.p && says(old, upstream_model)) {
        *ret_request = body;
        return RC_OK;
    }
    if (old.p) {
        const char *rest = old.p + old.n, *end = body.p + body.n;
        (void)buf_room(out, body.n - old.n + name.n + 2); /* at once; no room: refused below */
        if (!buf_add(out, body.p, (size_t)(old.p - body.p)) || !json_add_string(out, name) ||
            !buf_add(out, rest, (size_t)(end - rest))) {
            out->n = before;
            return err_set(err, RC_FULL, "the request body is larger than its bound");
        }
    } else {
        enum rc rc = json_splice_string(body, keys[KEY_MODEL], name, out, err);
        if (rc != RC_OK)
            return rc;
    }
    *ret_request = (struct span){out->p + before, out->n - before};
    return RC_OK;
}

static bool add_message(struct buf *out, const char *role, struct span content, bool *first)
{
    bool ok = (*first || buf_add_byte(out, ',')) && buf_add_text(out, "{\"role\":\"") &&
              buf_add_text(out, role) && buf_add_text(out, "\",\"content\":") &&
              json_add_string(out, content) && buf_add_byte(out, '}');
    *first = false;
    return ok;
}

/* Puts `piece` into `out` at `at`, before what stands there. */
static bool insert(struct buf *out, size_t at, struct span piece)
{
    if (!buf_room(out, piece.n))
        return false;
    memmove(out->p + at + piece.n, out->p + at, out->n - at);
    memcpy(out->p + at, piece.p, piece.n);
    out->n += piece.n;
    return true;
}

enum rc request_write_reask(struct span body, const char *upstream_model, struct span answer,
                            const char *complaint, struct buf *out, struct err *err)
{
    size_t before = out->n;
    struct buf more;
    buf_init(&more, out->max_bytes);
    enum rc rc = json_splice_string(body, keys[KEY_MODEL], span_of(upstream_model), out, err);
    if (rc != RC_OK)
        goto out;
    struct span written = {out->p + before, out->n - before};
    struct json_value messages, message;
    rc = json_members(written, &keys[KEY_MESSAGES], 1, &messages, err);
    if (rc != RC_OK)
        goto out;
    if (messages.type != JSON_TYPE_ARRAY) {
        rc = err_set(err, RC_REJECT, "the body has no messages to add to");
        goto out;
    }
    size_t at = (size_t)(messages.text.p + messages.text.n - 1 - out->p); /* its ']' */
    struct span rest = json_walk_begin(&messages);
    bool first = !json_walk_next(&rest, &message);
    bool ok = (!answer.n || add_message(&more, "assistant", answer, &first)) &&
              add_message(&more, "user", span_of(complaint), &first) &&
              insert(out, at, buf_span(&more));
    if (!ok)
        rc = err_set(err, RC_FULL, "the body of the re-ask is larger than its bound");
out:
    if (rc != RC_OK)
        out->n = before;
    buf_done(&more);
    return rc;
}
