#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* memmem */
#endif
#include "tests/modelsim/server.h"

/*
 * Purpose: from a request to its reply. Happy path: head -> witness and ledger; body -> ask ->
 * rules -> answer -> reply bytes -> schedule. Failure: every refusal is an answer in OpenAI's error
 * shape (or the shape that a rule asks for).
 */
#include "tests/modelsim/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *path;
    enum http_method method;
    enum endpoint endpoint;
} endpoints[] = {
    {"/v1/chat/completions", METHOD_POST, ENDPOINT_CHAT},
    {"/v1/completions", METHOD_POST, ENDPOINT_COMPLETIONS},
    {"/v1/embeddings", METHOD_POST, ENDPOINT_EMBEDDINGS},
    {"/v1/models", METHOD_GET, ENDPOINT_MODELS},
    {"/witness", METHOD_GET, ENDPOINT_CONTROL},
    {"/witness/reset", METHOD_POST, ENDPOINT_CONTROL},
    {"/control", METHOD_POST, ENDPOINT_CONTROL},
    {"/healthz", METHOD_GET, ENDPOINT_CONTROL},
};

/* A C string of at most size - 1 bytes of the span. */
static void copy_span(struct span span, char *ret_text, size_t size)
{
    size_t len = span.len < size ? span.len : size - 1;
    if (len > 0)
        memcpy(ret_text, span.at, len);
    ret_text[len] = '\0';
}

static void find_endpoint(const struct http_head *head, struct conn *conn)
{
    conn->endpoint = ENDPOINT_UNKNOWN;
    conn->request.path = "?";
    conn->method = head->method;
    for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++) {
        if (!span_is(head->path, endpoints[i].path))
            continue;
        bool control = endpoints[i].endpoint == ENDPOINT_CONTROL;
        if (control || endpoints[i].method == head->method)
            conn->endpoint = endpoints[i].endpoint;
        conn->request.path = endpoints[i].path;
    }
    copy_span(head->path, conn->target, sizeof conn->target);
    conn->append = span_is(head->query, "mode=append");
    conn->change = span_is(head->query, "mode=change");
}

static bool key_fits(const struct server *server, struct span authorization)
{
    if (server->require_key == NULL)
        return true;
    size_t len = strlen(server->require_key);
    return authorization.len == len + 7 && memcmp(authorization.at, "Bearer ", 7) == 0 &&
           memcmp(authorization.at + 7, server->require_key, len) == 0;
}

/* The key of an Authorization header; "": it has none. */
static const char *key_of(const char *authorization)
{
    return strncmp(authorization, "Bearer ", 7) == 0 ? authorization + 7 : "";
}

/* `x-inferq-call`: 0 .. 32767, else -1. */
static int32_t read_call(struct span text)
{
    int32_t number = 0;
    if (text.len == 0 || text.len > 5)
        return -1;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return -1;
        number = number * 10 + (text.at[i] - '0');
    }
    return number <= INT16_MAX ? number : -1;
}

/* The connection was declared dead by its last answer: this request meets what that said. */
static void meet_doom(struct server *server, struct conn *conn)
{
    conn->fault = conn->doom == FAULT_DIE_HANG    ? FAULT_HANG
                  : conn->doom == FAULT_DIE_RESET ? FAULT_RESET_BEFORE
                                                  : FAULT_CLOSE_BEFORE;
    conn->request.fault = fault_name(conn->doom);
    conn->stop_bytes = 0;
    conn->delay_over = true;
    conn->state = CONN_SERVING;
    if (conn->fault != FAULT_HANG)
        conn_ready(server, conn);
}

void serve_head(struct server *server, struct conn *conn, const struct http_head *head)
{
    struct request *r = &conn->request;
    *r = (struct request){.fault = "", .usage_told = "", .call = -1};
    find_endpoint(head, conn);
    conn->keep_alive = head->keep_alive;
    conn->chunked = head->chunked;
    conn->length = head->length < 0 ? 0 : head->length;
    conn->chunks = (struct http_chunks){0};
    conn->body.len = 0;
    conn->delay_over = false;
    conn->sent_bytes = 0;
    conn->fault = FAULT_NONE;
    conn->drip_bytes = 0;
    conn->state = CONN_BODY;
    if (conn->endpoint == ENDPOINT_CONTROL)
        return;
    conn->key_ok = key_fits(server, head->authorization);
    copy_span(head->authorization, conn->authorization, sizeof conn->authorization);
    if (head->sim.len > 0)
        conn->sim = strndup(head->sim.at, head->sim.len);
    r->at_us = server->unix_us;
    r->bytes_in = (int64_t)head->len;
    r->has_job = jobs_parse_id(head->job.at, head->job.len, r->job);
    r->call = read_call(head->call);
    bool call = conn->endpoint <= ENDPOINT_EMBEDDINGS && server->ledger != NULL;
    bool attributed = r->has_job && r->call >= 0;
    r->verdict = !call ? VERDICT_OFF : attributed ? VERDICT_PENDING : VERDICT_UNATTRIBUTED;
    conn->begun = true;
    witness_begin(server->witness, r);
    if (r->verdict == VERDICT_PENDING)
        conn->lookup = ledger_ask(server->ledger, r->job, r->call, r->n, conn, server->now_us);
    if (conn->doom != FAULT_NONE)
        meet_doom(server, conn);
}

static bool model_known(const struct server *server, const char *model)
{
    if (server->models == NULL)
        return true;
    for (const char *const *m = server->models; *m != NULL; m++)
        if (strcmp(*m, model) == 0)
            return true;
    return false;
}

/* The body of GET /v1/models. */
static void list_models(const struct server *server, struct buf *out)
{
    static const char *const fallback[] = {"sim", NULL};
    const char *const *models = server->models == NULL ? fallback : server->models;
    buf_add_text(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; models[i] != NULL; i++) {
        buf_add_text(out, i == 0 ? "{\"id\":" : ",{\"id\":");
        buf_add_json_string(out, models[i], strlen(models[i]));
        buf_add_text(out, ",\"object\":\"model\",\"created\":0,\"owned_by\":\"modelsim\"}");
    }
    buf_add_text(out, "]}");
}

/* One request's own rule: from the header or a marker. */
static enum rc own_rule(struct server *server, struct span text, const struct subject *subject,
                        struct effect *effect, struct err *err)
{
    struct rule rule;
    struct err why;
    enum rc rc = rule_parse(text, &rule, &why);
    if (rc == RC_OK && rule.script_only) {
        rc = RC_REJECT;
        err_set(&why, "a word here is only for script files");
    }
    if (rc != RC_OK) {
        err_set(err, "sim control: %.200s", why.text);
        return rc;
    }
    script_apply_own(server->script, &rule, subject, &server->rng, effect);
    return RC_OK;
}

/* All [[sim: ...]] markers of the text, in order. */
static enum rc own_markers(struct server *server, const struct subject *subject,
                           struct effect *effect, struct err *err)
{
    const char *p = subject->text.at;
    const char *end = p + subject->text.len;
    while (p < end) {
        const char *open = memmem(p, (size_t)(end - p), "[[sim:", 6);
        if (open == NULL)
            break;
        open += 6;
        const char *close = memmem(open, (size_t)(end - open), "]]", 2);
        if (close == NULL)
            break;
        if (own_rule(server, (struct span){open, (size_t)(close - open)}, subject, effect, err) !=
            RC_OK)
            return RC_REJECT;
        p = close + 2;
    }
    return RC_OK;
}

static bool has_marker(struct span text)
{
    return text.len > 0 && memmem(text.at, text.len, "[[sim:", 6) != NULL;
}

/* Script, header and markers, laid over each other in this order. */
static enum rc gather_effect(struct server *server, struct conn *conn, struct subject *subject,
                             struct span body, struct effect *effect, struct err *err)
{
    const struct request *r = &conn->request;
    bool markers = has_marker(subject->text);
    if (script_empty(server->script) && conn->sim == NULL && !markers)
        return RC_OK;
    subject->job_hash =
        r->has_job ? hash_bytes(HASH_START, r->job, 16) : hash_bytes(HASH_START, body.at, body.len);
    script_apply(server->script, subject, server->now_us, &server->rng, effect);
    if (conn->sim != NULL) {
        struct span sim = {conn->sim, strlen(conn->sim)};
        if (own_rule(server, sim, subject, effect, err) != RC_OK)
            return RC_REJECT;
    }
    return markers ? own_markers(server, subject, effect, err) : RC_OK;
}

/* Everything is in order: admits and answers, or refuses by a limit. */
static void answer_or_limit(struct server *server, struct conn *conn, struct subject *subject,
                            struct effect *effect, struct reply_context *context)
{
    static const char *const told[] = {"full", "absent", "zero", "partial", "null"};
    struct request *r = &conn->request;
    subject->units[UNIT_REQUESTS] = 1;
    subject->units[UNIT_INPUT] = server->answer.prompt_tokens;
    subject->units[UNIT_OUTPUT] = server->answer.completion_tokens;
    subject->units[UNIT_TOKENS] = server->answer.prompt_tokens + server->answer.completion_tokens;
    const char *limit = NULL;
    if (!script_empty(server->script))
        limit = script_admit(server->script, subject, server->now_us, effect, &conn->slots);
    if (limit != NULL) {
        (void)snprintf(r->limited, sizeof r->limited, "%s", limit);
        context->unix_us = server->unix_us + dist_sample(&effect->latency, &server->rng);
        reply_error(0, "rate_limit_exceeded", NULL, effect, context, &conn->reply);
        return;
    }
    reply_answer(&server->ask, &server->answer, effect, context, &conn->reply);
    r->answered = true;
    r->usage_told = told[effect->usage];
    r->prompt_tokens = server->answer.prompt_tokens;
    r->completion_tokens = server->answer.completion_tokens;
    r->price_pusd = prices_of(&server->prices, r->model, r->prompt_tokens, r->completion_tokens);
}

/* A request for a model's work, or why not. parsed, err: what ask_parse and the rules said. */
static void answer_model(struct server *server, struct conn *conn, enum rc parsed, struct err *err,
                         struct subject *subject, struct effect *effect,
                         struct reply_context *context)
{
    struct reply *reply = &conn->reply;
    if (!conn->key_ok) {
        reply_error(401, "invalid_api_key", "Incorrect API key provided", effect, context, reply);
    } else if (effect->status >= 300) {
        reply_error(0, NULL, NULL, effect, context, reply);
    } else if (parsed != RC_OK) {
        reply_error(400, "invalid_request", err->text, effect, context, reply);
    } else if (!model_known(server, server->ask.model)) {
        reply_error(404, "model_not_found", "The model does not exist", effect, context, reply);
    } else if (reply_compute(&server->ask, &server->answer, err) != RC_OK) {
        reply_error(400, "invalid_request", err->text, effect, context, reply);
    } else {
        answer_or_limit(server, conn, subject, effect, context);
    }
}

/* Requests without a model: the list of models, or a path that is not served. */
static void answer_other(struct server *server, struct conn *conn, struct effect *effect,
                         const struct reply_context *context)
{
    struct reply *reply = &conn->reply;
    struct buf list = {0};
    if (!conn->key_ok) {
        reply_error(401, "invalid_api_key", "Incorrect API key provided", effect, context, reply);
    } else if (effect->status >= 300) {
        reply_error(0, NULL, NULL, effect, context, reply);
    } else if (conn->endpoint == ENDPOINT_MODELS) {
        list_models(server, &list);
        reply_plain(200, "application/json", list.data, list.len, conn->keep_alive, reply);
    } else {
        reply_error(404, "not_found", "Unknown request URL", effect, context, reply);
    }
    buf_done(&list);
}

/* Translates the effect into how far the reply is sent and what then happens. */
static void apply_fault(struct conn *conn, const struct effect *effect)
{
    int64_t total = reply_total(&conn->reply);
    int64_t half = conn->reply.head_bytes + (total - conn->reply.head_bytes) / 2;
    conn->fault = effect->fault;
    conn->stop_bytes = total;
    if (effect->fault == FAULT_RESET_BEFORE || effect->fault == FAULT_CLOSE_BEFORE ||
        effect->fault == FAULT_HANG)
        conn->stop_bytes = 0;
    else if (effect->fault == FAULT_RESET_WITHIN || effect->fault == FAULT_CLOSE_WITHIN ||
             effect->fault == FAULT_HANG_WITHIN)
        conn->stop_bytes = half;
    else if (effect->truncate_bytes > 0 && effect->fault == FAULT_NONE)
        conn->fault = FAULT_CLOSE_WITHIN;
    conn->drip_bytes = effect->drip_bytes;
    conn->drip_us = effect->drip_us;
    conn->request.fault = effect->fault == FAULT_NONE && effect->truncate_bytes > 0
                              ? "truncate"
                              : fault_name(effect->fault);
    conn->request.status = conn->stop_bytes == 0 ? 0 : conn->reply.status;
}

static void serve_api(struct server *server, struct conn *conn, const char *body, size_t len)
{
    struct effect effect = {.latency = server->latency};
    struct subject subject = {
        .path = conn->request.path, .model = "", .key = key_of(conn->authorization)};
    struct err err = {""};
    enum rc rc = RC_OK;
    bool model = conn->endpoint <= ENDPOINT_EMBEDDINGS;
    conn->request.bytes_in += (int64_t)len;
    conn->request.asked_us = server->unix_us;
    if (model) {
        enum ask_kind kind = conn->endpoint == ENDPOINT_CHAT          ? ASK_CHAT
                             : conn->endpoint == ENDPOINT_COMPLETIONS ? ASK_COMPLETION
                                                                      : ASK_EMBEDDING;
        rc = ask_parse(kind, body, len, &server->ask, &err);
        memcpy(conn->request.model, server->ask.model, sizeof conn->request.model);
        subject.model = server->ask.model;
        subject.text = (struct span){server->ask.text.data, server->ask.text.len};
        subject.reask = server->ask.reask;
    }
    struct err own;
    if (gather_effect(server, conn, &subject, (struct span){body, len}, &effect, &own) != RC_OK) {
        rc = RC_REJECT;
        err = own;
        effect = (struct effect){0};
    }
    struct reply_context context = {
        .n = conn->request.n,
        .unix_us = server->unix_us + dist_sample(&effect.latency, &server->rng),
        .keep_alive = conn->keep_alive,
        .authorization = conn->authorization,
    };
    if (model)
        answer_model(server, conn, rc, &err, &subject, &effect, &context);
    else
        answer_other(server, conn, &effect, &context);
    apply_fault(conn, &effect);
    conn_schedule(server, conn, context.unix_us - server->unix_us);
}

void serve_body(struct server *server, struct conn *conn, const char *body, size_t len)
{
    if (conn->endpoint == ENDPOINT_CONTROL) {
        control_answer(server, conn, body, len);
        conn->stop_bytes = reply_total(&conn->reply);
        conn_schedule(server, conn, 0);
    } else {
        serve_api(server, conn, body, len);
    }
}

void serve_bad(struct server *server, struct conn *conn, int status)
{
    static const struct effect plain;
    struct reply_context context = {.unix_us = server->unix_us, .authorization = ""};
    reply_error(status, "bad_request", http_reason(status), &plain, &context, &conn->reply);
    conn->request.status = status;
    conn->fault = FAULT_NONE;
    conn->drip_bytes = 0;
    conn->sent_bytes = 0;
    conn->stop_bytes = reply_total(&conn->reply);
    conn_schedule(server, conn, 0);
}
