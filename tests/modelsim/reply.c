#include "tests/modelsim/reply.h"

/*
 * Purpose: answer + effect -> HTTP bytes. Happy path: body into a scratch buffer, head with its
 * length, body behind it. The effect may replace the content, the usage, the shape of an error, the
 * framing. Failure: none; what cannot be said is left out.
 */
#include "tests/modelsim/answer.h"
#include "tests/modelsim/http.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A body under construction: pad_at is where padding may go (inside a string). */
struct body {
    struct buf b;
    size_t pad_at;
};

static void answer_add(struct answer *answer, bool cut)
{
    if (answer->count == answer->cap) {
        size_t cap = answer->cap == 0 ? 16 : answer->cap * 2;
        answer->ends = base_realloc(answer->ends, cap * sizeof *answer->ends);
        answer->cut = base_realloc(answer->cut, cap * sizeof *answer->cut);
        answer->cap = cap;
    }
    answer->ends[answer->count] = answer->body.len;
    answer->cut[answer->count++] = cut;
}

enum rc reply_compute(const struct ask *ask, struct answer *answer, struct err *err)
{
    answer->body.len = 0;
    answer->count = 0;
    answer->completion_tokens = 0;
    answer->prompt_tokens = ask_prompt_tokens(ask);
    size_t texts = ask->kind == ASK_CHAT ? 1 : ask->kind == ASK_COMPLETION ? ask->part_count : 0;
    for (size_t i = 0; i < texts; i++) {
        size_t start = answer->body.len;
        if (answer_text(ask, i, &answer->body, err) != RC_OK)
            return RC_REJECT;
        bool cut;
        size_t len =
            answer_cut(answer->body.data + start, answer->body.len - start, ask->max_tokens, &cut);
        answer->body.len = start + len;
        answer->completion_tokens += answer_tokens(len);
        answer_add(answer, cut);
    }
    return RC_OK;
}

void reply_answer_done(struct answer *answer)
{
    buf_done(&answer->body);
    free(answer->ends);
    free(answer->cut);
    *answer = (struct answer){0};
}

/* ---- heads ---- */

static void http_date(int64_t unix_us, char ret_text[40])
{
    time_t seconds = (time_t)(unix_us / 1000000);
    struct tm tm;
    (void)gmtime_r(&seconds, &tm);
    (void)strftime(ret_text, 40, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

/* The delay a throttled client is told, in the spelling the effect asks for. */
static void add_retry(const struct effect *effect, const struct reply_context *context,
                      struct buf *out)
{
    int64_t us = effect->retry_after_us;
    long long seconds = (us + 999999) / 1000000;
    char date[40];
    if (us == 0 && !effect_sets(effect, "retry-after"))
        return;
    switch (effect->retry_form) {
    case RETRY_SECONDS:
        buf_printf(out, "retry-after: %lld\r\n", seconds);
        break;
    case RETRY_DATE:
        http_date(context->unix_us + us + 999999, date);
        buf_printf(out, "retry-after: %s\r\n", date);
        break;
    case RETRY_MS:
        buf_printf(out, "retry-after-ms: %lld\r\n", (long long)((us + 999) / 1000));
        break;
    case RETRY_RESET:
        buf_printf(out,
                   "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: %lldms\r\n"
                   "x-ratelimit-reset-tokens: %llds\r\n",
                   (long long)((us + 999) / 1000), seconds);
        break;
    case RETRY_RESET_EPOCH:
        buf_printf(out, "x-ratelimit-reset: %lld\r\n",
                   (long long)((context->unix_us + us + 999999) / 1000000));
        break;
    case RETRY_RESET_DATE: {
        time_t at = (time_t)((context->unix_us + us + 999999) / 1000000);
        struct tm tm;
        (void)gmtime_r(&at, &tm);
        (void)strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S UTC", &tm);
        buf_printf(out, "x-ratelimit-reset-requests: %s\r\n", date);
        break;
    }
    case RETRY_PROVIDER:
        buf_printf(out, "llm_provider-retry-after: %lld\r\n", seconds);
        break;
    case RETRY_NONE:
        break;
    }
}

/* How the limit stands that let it pass, or did not. */
static void add_told(const struct effect *effect, const struct reply_context *context,
                     struct buf *out)
{
    static const char *const names[] = {"requests", "tokens", "input-tokens", "output-tokens"};
    /* OpenAI's tell of requests and tokens alone */
    int count = effect->tell == TELL_NOT ? 0 : effect->tell == TELL_OPENAI ? 2 : UNIT_COUNT;
    char date[32];
    for (int i = 0; i < count; i++) {
        long long limit = effect->told[i].limit, left = effect->told[i].left;
        int64_t reset_us = effect->told[i].reset_us;
        if (limit == 0)
            continue;
        if (effect->tell == TELL_OPENAI) {
            buf_printf(out, "x-ratelimit-limit-%s: %lld\r\nx-ratelimit-remaining-%s: %lld\r\n",
                       names[i], limit, names[i], left);
            buf_printf(out, "x-ratelimit-reset-%s: %lldms\r\n", names[i],
                       (long long)((reset_us + 999) / 1000));
            continue;
        }
        time_t at = (time_t)((context->unix_us + reset_us + 999999) / 1000000);
        struct tm tm;
        (void)gmtime_r(&at, &tm);
        (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm);
        buf_printf(out, "anthropic-ratelimit-%s-limit: %lld\r\n", names[i], limit);
        buf_printf(out, "anthropic-ratelimit-%s-remaining: %lld\r\n", names[i], left);
        buf_printf(out, "anthropic-ratelimit-%s-reset: %s\r\n", names[i], date);
    }
}

/* Puts head and body together; pads, chunks and lies about the length as the effect says. */
static void finish(int status, const char *type, struct body *body, const struct effect *effect,
                   const struct reply_context *context, struct reply *reply)
{
    struct buf *out = &reply->out;
    int64_t len = (int64_t)body->b.len;
    reply->status = status;
    reply->close = !context->keep_alive || effect->close;
    reply->fill_bytes = effect->size_bytes > len ? effect->size_bytes - len : 0;
    len += reply->fill_bytes;
    buf_add_text(out, "HTTP/1.1 ");
    buf_add_int(out, status);
    buf_add_char(out, ' ');
    buf_add_text(out, http_reason(status));
    buf_add_text(out, "\r\ncontent-type: ");
    buf_add_text(out, type);
    buf_add_text(out, "\r\nx-request-id: req-");
    buf_add_int(out, (int64_t)context->n);
    if (effect->chunked) {
        buf_add_text(out, "\r\ntransfer-encoding: chunked\r\n");
    } else {
        buf_add_text(out, "\r\ncontent-length: ");
        buf_add_int(out, len + effect->truncate_bytes);
        buf_add_text(out, "\r\n");
    }
    if (reply->close)
        buf_add_text(out, "connection: close\r\n");
    if (effect->header[0] != '\0')
        buf_printf(out, "%s\r\n", effect->header);
    add_retry(effect, context, out);
    add_told(effect, context, out);
    buf_add_text(out, "\r\n");
    reply->head_bytes = (int64_t)out->len;
    if (effect->chunked && len > 0)
        buf_printf(out, "%" PRIx64 "\r\n", len + effect->truncate_bytes);
    reply->fill_at = out->len + body->pad_at;
    buf_add(out, body->b.data, body->b.len);
    if (effect->chunked && effect->truncate_bytes == 0)
        buf_add_text(out, len > 0 ? "\r\n0\r\n\r\n" : "0\r\n\r\n");
}

/* ---- good answers ---- */

/* The content of choice i after the effect's spoiling; false: JSON null instead of a text. */
static bool choose_content(const struct answer *answer, size_t i, const struct effect *effect,
                           struct span *ret_text)
{
    static const char nul[] = "before\0after";
    size_t start = i == 0 ? 0 : answer->ends[i - 1];
    *ret_text = (struct span){answer->body.data + start, answer->ends[i] - start};
    if (effect->content[0] != '\0')
        *ret_text = (struct span){effect->content, strlen(effect->content)};
    if (effect->answer == ANSWER_EMPTY)
        ret_text->len = 0;
    else if (effect->answer == ANSWER_NUL)
        *ret_text = (struct span){nul, sizeof nul - 1};
    else if (effect->answer == ANSWER_BAD_LABEL)
        *ret_text = (struct span){"no-such-label", 13};
    else if (effect->answer == ANSWER_BAD_JSON)
        *ret_text = (struct span){"{\"broken\": ", 11};
    return effect->answer != ANSWER_NULL;
}

static const char *finish_reason(const struct answer *answer, size_t i, const struct effect *effect)
{
    if (effect->finish[0] != '\0')
        return effect->finish;
    if (effect->refusal == REFUSAL_FILTER)
        return "content_filter";
    return answer->cut[i] ? "length" : "stop";
}

static void add_content(const struct answer *answer, size_t i, const struct effect *effect,
                        struct body *body)
{
    struct span text;
    if (!choose_content(answer, i, effect, &text)) {
        buf_add_text(&body->b, "null");
        return;
    }
    buf_add_char(&body->b, '"');
    buf_add_json(&body->b, text.at, text.len);
    if (i == 0)
        body->pad_at = body->b.len;
    buf_add_char(&body->b, '"');
}

static void add_chat_choice(const struct answer *answer, const struct effect *effect,
                            struct body *body)
{
    struct buf *b = &body->b;
    buf_add_text(b, "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    if (effect->refusal == REFUSAL_MESSAGE) {
        buf_add_text(b, "null,\"refusal\":\"I cannot help with that.");
        body->pad_at = b->len;
        buf_add_text(b, "\"");
    } else if (effect->refusal == REFUSAL_FILTER) {
        buf_add_text(b, "\"");
        body->pad_at = b->len;
        buf_add_text(b, "\"");
    } else {
        add_content(answer, 0, effect, body);
    }
    buf_add_text(b, "},\"finish_reason\":\"");
    const char *reason = finish_reason(answer, 0, effect);
    buf_add_json(b, reason, strlen(reason));
    buf_add_text(b, "\"}");
}

static void add_text_choice(const struct answer *answer, size_t i, const struct effect *effect,
                            struct body *body)
{
    struct buf *b = &body->b;
    buf_add_text(b, i == 0 ? "{\"index\":" : ",{\"index\":");
    buf_add_int(b, (int64_t)i);
    buf_add_text(b, ",\"text\":");
    add_content(answer, i, effect, body);
    buf_add_text(b, ",\"logprobs\":null,\"finish_reason\":\"");
    const char *reason = finish_reason(answer, i, effect);
    buf_add_json(b, reason, strlen(reason));
    buf_add_text(b, "\"}");
}

static void add_base64(const unsigned char *p, size_t len, struct buf *b)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        unsigned int v = (unsigned int)p[i] << 16;
        if (left > 1)
            v |= (unsigned int)p[i + 1] << 8;
        if (left > 2)
            v |= p[i + 2];
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], digits[v >> 6 & 63], digits[v & 63]};
        if (left < 3)
            four[3] = '=';
        if (left < 2)
            four[2] = '=';
        buf_add(b, four, sizeof four);
    }
}

static void add_vector(const double *vector, size_t count, bool base64, struct buf *b)
{
    if (!base64) {
        for (size_t i = 0; i < count; i++)
            buf_printf(b, "%s%.6f", i == 0 ? "[" : ",", vector[i]);
        buf_add_char(b, ']');
        return;
    }
    struct buf raw = {0};
    for (size_t i = 0; i < count; i++) {
        float f = (float)vector[i];
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        for (unsigned int k = 0; k < 32; k += 8)
            buf_add_char(&raw, (char)(bits >> k & 255));
    }
    buf_add_char(b, '"');
    add_base64((const unsigned char *)raw.data, raw.len, b);
    buf_add_char(b, '"');
    buf_done(&raw);
}

static void add_embeddings(const struct ask *ask, struct body *body)
{
    struct buf *b = &body->b;
    size_t count = (size_t)ask->dimensions;
    double *vector = base_calloc(count, sizeof *vector);
    for (size_t i = 0; i < ask->part_count; i++) {
        answer_vector(ask_text(ask, i), vector, count);
        buf_add_text(b, i == 0 ? "{\"object\":\"embedding\",\"index\":"
                               : ",{\"object\":\"embedding\",\"index\":");
        buf_add_int(b, (int64_t)i);
        buf_add_text(b, ",\"embedding\":");
        add_vector(vector, count, ask->base64, b);
        buf_add_char(b, '}');
    }
    free(vector);
}

static void add_usage(const struct ask *ask, const struct answer *answer,
                      const struct effect *effect, struct buf *b)
{
    bool zero = effect->usage == USAGE_ZERO;
    int64_t prompt = zero ? 0 : answer->prompt_tokens;
    int64_t completion = zero ? 0 : answer->completion_tokens;
    if (effect->usage == USAGE_ABSENT)
        return;
    if (effect->usage == USAGE_NULL) {
        buf_add_text(b, ",\"usage\":null");
        return;
    }
    buf_add_text(b, ",\"usage\":{\"prompt_tokens\":");
    buf_add_int(b, prompt);
    if (effect->usage == USAGE_PARTIAL) {
        buf_add_char(b, '}');
        return;
    }
    if (ask->kind != ASK_EMBEDDING) {
        buf_add_text(b, ",\"completion_tokens\":");
        buf_add_int(b, completion);
    }
    buf_add_text(b, ",\"total_tokens\":");
    buf_add_int(b, prompt + completion);
    buf_add_char(b, '}');
}

static void honest_body(const struct ask *ask, const struct answer *answer,
                        const struct effect *effect, const struct reply_context *context,
                        struct body *body)
{
    struct buf *b = &body->b;
    const char *model = effect->model_name[0] != '\0' ? effect->model_name : ask->model;
    if (ask->kind == ASK_EMBEDDING) {
        buf_add_text(b, "{\"object\":\"list\",\"model\":\"");
    } else {
        bool chat = ask->kind == ASK_CHAT;
        buf_add_text(b, chat ? "{\"id\":\"chatcmpl-" : "{\"id\":\"cmpl-");
        buf_add_int(b, (int64_t)context->n);
        buf_add_text(b, chat ? "\",\"object\":\"chat.completion\",\"created\":"
                             : "\",\"object\":\"text_completion\",\"created\":");
        buf_add_int(b, context->unix_us / 1000000);
        buf_add_text(b, ",\"model\":\"");
    }
    buf_add_json(b, model, strlen(model));
    body->pad_at = b->len;
    buf_add_text(b, ask->kind == ASK_EMBEDDING ? "\",\"data\":[" : "\",\"choices\":[");
    if (ask->kind == ASK_EMBEDDING)
        add_embeddings(ask, body);
    else if (ask->kind == ASK_CHAT)
        add_chat_choice(answer, effect, body);
    for (size_t i = 0; ask->kind == ASK_COMPLETION && i < answer->count; i++)
        add_text_choice(answer, i, effect, body);
    buf_add_char(b, ']');
    add_usage(ask, answer, effect, b);
    buf_add_char(b, '}');
}

/* A 200 that is no answer. Returns its content type. */
static const char *wrong_body(const struct effect *effect, struct body *body)
{
    struct buf *b = &body->b;
    body->pad_at = 0;
    if (effect->body[0] != '\0') {
        buf_add_text(b, effect->body);
    } else if (effect->wrong == WRONG_CUT_JSON) {
        buf_add_text(b,
                     "{\"id\":\"chatcmpl-0\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"as");
        body->pad_at = b->len;
    } else if (effect->wrong == WRONG_HTML) {
        buf_add_text(b, "<html><body><h1>Welcome to the proxy</h1>");
        body->pad_at = b->len;
        buf_add_text(b, "</body></html>");
        return "text/html";
    } else if (effect->wrong == WRONG_OBJECT) {
        buf_add_text(b, "{}");
    } else if (effect->wrong == WRONG_NO_CHOICES) {
        buf_add_text(b, "{\"id\":\"chatcmpl-0\",\"object\":\"chat.completion\",\"choices\":[]}");
    }
    return "application/json";
}

void reply_answer(const struct ask *ask, const struct answer *answer, const struct effect *effect,
                  const struct reply_context *context, struct reply *reply)
{
    /* one buffer for all bodies would be quicker by a malloc; measured: not worth a global */
    struct body body = {0};
    const char *type = "application/json";
    if (effect->wrong != WRONG_NOT || effect->body[0] != '\0')
        type = wrong_body(effect, &body);
    else
        honest_body(ask, answer, effect, context, &body);
    reply->prompt_tokens = answer->prompt_tokens;
    reply->completion_tokens = answer->completion_tokens;
    finish(effect->status == 0 ? 200 : (int)effect->status, type, &body, effect, context, reply);
    buf_done(&body.b);
}

/* ---- errors ---- */

static const char *error_type(int status)
{
    return status == 401 || status == 403 ? "authentication_error"
           : status == 429                ? "rate_limit_error"
           : status >= 500                ? "server_error"
                                          : "invalid_request_error";
}

/* OpenAI's {"error":{...}}; some servers spell null and numbers as strings. */
static void openai_error(struct body *body, int status, const char *code, struct span message,
                         bool strings)
{
    struct buf *b = &body->b;
    buf_add_text(b, "{\"error\":{\"message\":\"");
    buf_add_json(b, message.at, message.len);
    body->pad_at = b->len;
    buf_printf(b, "\",\"type\":\"%s\",\"param\":%s,\"code\":", error_type(status),
               strings ? "\"None\"" : "null");
    if (code != NULL && code[0] != '\0')
        buf_add_json_string(b, code, strlen(code));
    else if (strings)
        buf_printf(b, "\"%d\"", status);
    else
        buf_add_text(b, "null");
    buf_add_text(b, "}}");
}

/* Anthropic's {"type":"error","error":{...}}; an overloaded server is a 529 there. */
static void anthropic_error(struct body *body, int status, struct span message)
{
    const char *type = status == 529   ? "overloaded_error"
                       : status >= 500 ? "api_error"
                                       : error_type(status);
    buf_printf(&body->b, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"", type);
    buf_add_json(&body->b, message.at, message.len);
    body->pad_at = body->b.len;
    buf_add_text(&body->b, "\"}}");
}

/* open + message + close. */
static void wrapped_error(struct body *body, const char *open, struct span message,
                          const char *close)
{
    buf_add_text(&body->b, open);
    buf_add_json(&body->b, message.at, message.len);
    body->pad_at = body->b.len;
    buf_add_text(&body->b, close);
}

static const char *error_body(enum error_shape shape, int status, const char *code,
                              struct span message, struct body *body)
{
    switch (shape) {
    case SHAPE_OPENAI:
    case SHAPE_OPENAI_STRINGS:
        openai_error(body, status, code, message, shape == SHAPE_OPENAI_STRINGS);
        break;
    case SHAPE_DETAIL:
        wrapped_error(body, "{\"detail\":\"", message, "\"}");
        break;
    case SHAPE_DETAIL_LIST:
        wrapped_error(body, "{\"detail\":[{\"type\":\"value_error\",\"loc\":[\"body\"],\"msg\":\"",
                      message, "\"}]}");
        break;
    case SHAPE_STRING:
        wrapped_error(body, "{\"error\":\"", message, "\"}");
        break;
    case SHAPE_ANTHROPIC:
        anthropic_error(body, status, message);
        break;
    case SHAPE_TEXT:
        buf_add(&body->b, message.at, message.len);
        body->pad_at = body->b.len;
        return "text/plain";
    }
    return "application/json";
}

void reply_error(int status, const char *code, const char *message, const struct effect *effect,
                 const struct reply_context *context, struct reply *reply)
{
    struct body body = {0};
    struct buf text = {0};
    const char *type = "text/plain";
    if (status == 0)
        status = (int)effect->status;
    if (message == NULL)
        message = effect->message[0] != '\0' ? effect->message : http_reason(status);
    if (code == NULL)
        code = effect->code;
    buf_add_text(&text, message);
    if (effect->echo_key)
        buf_printf(&text, " (you sent: %s)", context->authorization);
    if (effect->wrong != WRONG_NOT || effect->body[0] != '\0')
        type = wrong_body(effect, &body);
    else
        type = error_body(effect->error, status, code, (struct span){text.data, text.len}, &body);
    finish(status, type, &body, effect, context, reply);
    buf_done(&body.b);
    buf_done(&text);
}

void reply_plain(int status, const char *type, const char *body, size_t len, bool keep_alive,
                 struct reply *reply)
{
    reply->status = status;
    reply->close = !keep_alive;
    buf_printf(&reply->out, "HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %zu\r\n%s\r\n",
               status, http_reason(status), type, len, keep_alive ? "" : "connection: close\r\n");
    buf_add(&reply->out, body, len);
    reply->head_bytes = (int64_t)reply->out.len;
    reply->fill_at = reply->out.len;
}

int64_t reply_total(const struct reply *reply)
{
    return (int64_t)reply->out.len + reply->fill_bytes;
}
