/*
 * outcome_table.c - see outcome_table.h. The first row that fits decides: rows that know the body
 * stand before those that know the status alone.
 */
#include "worker/outcome_table.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

/* ---- signal -> class ------------------------------------------------------------------------- */

struct signal {
    const char *text; /* as schemas/errors.md has it */
    enum http_fault fault;
    int from, to; /* HTTP statuses; 0: the row is a fault's or the adapter's */
    enum body_sign sign;
    enum class class;
};

static const struct signal signals[] = {
    {"resolve, connect or TLS handshake failed", HTTP_FAULT_UNSENT, 0, 0, BODY_ANY, CLASS_UNSENT},
    {"lease check before the first byte said no", HTTP_FAULT_GATE, 0, 0, BODY_ANY, CLASS_UNSENT},
    {"no memory or descriptors of our own", HTTP_FAULT_LOCAL, 0, 0, BODY_ANY, CLASS_UNSENT},
    {"certificate or CA wrong", HTTP_FAULT_TLS_CONFIG, 0, 0, BODY_ANY, CLASS_TLS_CONFIG},
    {"sent, then reset, empty or cut off", HTTP_FAULT_SENT, 0, 0, BODY_ANY, CLASS_AMBIGUOUS},
    {"sent, then no whole reply in time", HTTP_FAULT_TIMEOUT, 0, 0, BODY_ANY, CLASS_AMBIGUOUS},
    {"reply larger than its bound", HTTP_FAULT_OVERSIZED, 0, 0, BODY_ANY, CLASS_BAD_REPLY},
    {"given up by the worker", HTTP_FAULT_ABORTED, 0, 0, BODY_ANY, CLASS_ABORTED},
    {"worker died with the call open", HTTP_FAULT_NONE, 0, 0, BODY_ADAPTER, CLASS_LOST},

    {"400-422, context too long", HTTP_FAULT_NONE, 400, 422, BODY_CONTEXT, CLASS_CONTEXT_TOO_LONG},
    {"400-429, quota or balance spent", HTTP_FAULT_NONE, 400, 429, BODY_QUOTA, CLASS_BILLING},
    {"400-422, no such model", HTTP_FAULT_NONE, 400, 422, BODY_NO_MODEL, CLASS_NO_UPSTREAM_MODEL},
    {"400-403, wrong key", HTTP_FAULT_NONE, 400, 403, BODY_KEY, CLASS_CREDENTIAL},
    {"400-403, content policy", HTTP_FAULT_NONE, 400, 403, BODY_FILTER, CLASS_REFUSED},
    {"500, context too long", HTTP_FAULT_NONE, 500, 500, BODY_CONTEXT, CLASS_CONTEXT_TOO_LONG},
    {"500, wrong key", HTTP_FAULT_NONE, 500, 500, BODY_KEY, CLASS_CREDENTIAL},

    {"400", HTTP_FAULT_NONE, 400, 400, BODY_ANY, CLASS_INVALID},
    {"401", HTTP_FAULT_NONE, 401, 401, BODY_ANY, CLASS_CREDENTIAL},
    {"402", HTTP_FAULT_NONE, 402, 402, BODY_ANY, CLASS_BILLING},
    {"403", HTTP_FAULT_NONE, 403, 403, BODY_ANY, CLASS_CREDENTIAL},
    {"404", HTTP_FAULT_NONE, 404, 404, BODY_ANY, CLASS_NO_UPSTREAM_MODEL},
    {"408, 409", HTTP_FAULT_NONE, 408, 409, BODY_ANY, CLASS_CONFLICT},
    {"413", HTTP_FAULT_NONE, 413, 413, BODY_ANY, CLASS_INVALID},
    {"422", HTTP_FAULT_NONE, 422, 422, BODY_ANY, CLASS_INVALID},
    {"429", HTTP_FAULT_NONE, 429, 429, BODY_ANY, CLASS_THROTTLED},
    {"500", HTTP_FAULT_NONE, 500, 500, BODY_ANY, CLASS_SERVER_ERROR},
    {"502", HTTP_FAULT_NONE, 502, 502, BODY_ANY, CLASS_AMBIGUOUS},
    {"503", HTTP_FAULT_NONE, 503, 503, BODY_ANY, CLASS_OVERLOADED},
    {"504", HTTP_FAULT_NONE, 504, 504, BODY_ANY, CLASS_AMBIGUOUS},
    {"520", HTTP_FAULT_NONE, 520, 520, BODY_ANY, CLASS_AMBIGUOUS},
    {"521-523", HTTP_FAULT_NONE, 521, 523, BODY_ANY, CLASS_OVERLOADED},
    {"524", HTTP_FAULT_NONE, 524, 524, BODY_ANY, CLASS_AMBIGUOUS},
    {"529", HTTP_FAULT_NONE, 529, 529, BODY_ANY, CLASS_OVERLOADED},

    {"2xx, an answer", HTTP_FAULT_NONE, 200, 299, BODY_ANY, CLASS_OK},
    {"2xx, the model refused", HTTP_FAULT_NONE, 0, 0, BODY_ADAPTER, CLASS_REFUSED},
    {"2xx, empty, cut or not what was asked for", HTTP_FAULT_NONE, 0, 0, BODY_ADAPTER,
     CLASS_BAD_OUTPUT},
    {"2xx, not a reply of the protocol", HTTP_FAULT_NONE, 0, 0, BODY_ADAPTER, CLASS_BAD_REPLY},

    {"any other status", HTTP_FAULT_NONE, 1, 999, BODY_ANY, CLASS_UNKNOWN_STATUS},
};

enum { SIGNAL_COUNT = sizeof signals / sizeof signals[0] };

static bool fits(const struct signal *s, enum http_fault fault, int status, enum body_sign sign)
{
    if (fault != HTTP_FAULT_NONE)
        return s->fault == fault;
    return status >= s->from && status <= s->to && (s->sign == BODY_ANY || s->sign == sign);
}

enum class outcome_class_of(enum http_fault fault, int status, enum body_sign sign) {
    if (fault == HTTP_FAULT_NONE && status <= 0)
        fault = HTTP_FAULT_SENT; /* nothing came, not even a status */
    for (int i = 0; i < SIGNAL_COUNT;
         i++) if (fits(&signals[i], fault, status, sign)) return signals[i]
        .class;
    return CLASS_UNKNOWN_STATUS;
}

/* ---- class -> what it means ------------------------------------------------------------------ */

enum { OPERATOR_PAUSE_US = 60 * 1000 * 1000 };

/* Classes that do not count are those where the job never had its chance. Overloaded is among them:
 * an endpoint that is down for an hour must park its jobs, not bury them. So is a context that is
 * too long: the version with the larger one is to have all attempts. */
static const struct outcome_rule rules[] = {
    /* class, counts, step, tries, sign, pause, alert, certainty */
    {CLASS_OK, true, STEP_SUCCEED, 0, SIGN_LIFE, 0, false, CERTAINTY_EXACT},
    {CLASS_UNSENT, false, STEP_RETRY, 0, SIGN_FAULT, 0, false, CERTAINTY_NONE},
    {CLASS_TLS_CONFIG, false, STEP_RETRY, 0, SIGN_FAULT, OPERATOR_PAUSE_US, true, CERTAINTY_NONE},
    {CLASS_AMBIGUOUS, true, STEP_RETRY, 0, SIGN_DOUBT, 0, false, CERTAINTY_ESTIMATED},
    {CLASS_INVALID, true, STEP_DEAD, 0, SIGN_LIFE, 0, false, CERTAINTY_NONE},
    {CLASS_CONTEXT_TOO_LONG, false, STEP_LARGER, 0, SIGN_LIFE, 0, false, CERTAINTY_NONE},
    {CLASS_CREDENTIAL, false, STEP_RETRY, 0, SIGN_FAULT, OPERATOR_PAUSE_US, true, CERTAINTY_NONE},
    {CLASS_NO_UPSTREAM_MODEL, false, STEP_RETRY, 0, SIGN_MODEL, OPERATOR_PAUSE_US, true,
     CERTAINTY_NONE},
    {CLASS_BILLING, false, STEP_RETRY, 0, SIGN_FAULT, OPERATOR_PAUSE_US, true, CERTAINTY_NONE},
    {CLASS_CONFLICT, true, STEP_RETRY, 0, SIGN_NOTHING, 0, false, CERTAINTY_ESTIMATED},
    {CLASS_THROTTLED, false, STEP_RETRY, 0, SIGN_FAULT, 0, false, CERTAINTY_NONE},
    {CLASS_SERVER_ERROR, true, STEP_RETRY, 2, SIGN_DOUBT, 0, false, CERTAINTY_UNKNOWN},
    {CLASS_OVERLOADED, false, STEP_RETRY, 0, SIGN_FAULT, 0, false, CERTAINTY_NONE},
    {CLASS_REFUSED, true, STEP_DEAD, 0, SIGN_LIFE, 0, false, CERTAINTY_EXACT},
    {CLASS_BAD_OUTPUT, true, STEP_REASK, 0, SIGN_LIFE, 0, false, CERTAINTY_EXACT},
    {CLASS_BAD_REPLY, true, STEP_REASK, 0, SIGN_DOUBT, 0, false, CERTAINTY_EXACT},
    {CLASS_UNKNOWN_STATUS, true, STEP_RETRY, 2, SIGN_DOUBT, 0, false, CERTAINTY_UNKNOWN},
    {CLASS_LOST, true, STEP_RETRY, 0, SIGN_NOTHING, 0, false, CERTAINTY_ESTIMATED},
    {CLASS_ABORTED, false, STEP_RETRY, 0, SIGN_NOTHING, 0, false, CERTAINTY_ESTIMATED},
};

const struct outcome_rule *outcome_rule(enum class class)
{
    const struct outcome_rule *unknown = NULL;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (rules[i].class == class)
            return &rules[i];
        if (rules[i].class == CLASS_UNKNOWN_STATUS)
            unknown = &rules[i];
    }
    assert(unknown);
    return unknown;
}

bool outcome_counts(enum class class)
{
    return outcome_rule(class)->counts;
}

/* ---- what an error body is about ------------------------------------------------------------- */

enum where { IN_CODE, IN_TYPE, IN_MESSAGE, IN_HEAD, WHERE_COUNT };

/* Messages may repeat what the job said. A wrong guess at "context too long" costs one job; a wrong
 * guess at a quota, a key or a model stops an endpoint and repeats a poison job: these are believed
 * only at the head of a message, and never in a list of field errors, which quotes the request. */
enum { HEAD_BYTES = 160 };

struct pattern {
    enum where where; /* code and type: the whole text; message: a part of it; without case */
    enum body_sign sign;
    const char *text;
};

static const struct pattern patterns[] = {
    {IN_CODE, BODY_CONTEXT, "context_length_exceeded"},
    {IN_CODE, BODY_CONTEXT, "context_window_exceeded"},
    {IN_CODE, BODY_CONTEXT, "string_above_max_length"},
    {IN_CODE, BODY_QUOTA, "insufficient_quota"},
    {IN_CODE, BODY_QUOTA, "insufficient_balance"},
    {IN_CODE, BODY_QUOTA, "billing_hard_limit_reached"},
    {IN_CODE, BODY_QUOTA, "billing_not_active"},
    {IN_CODE, BODY_NO_MODEL, "model_not_found"},
    {IN_CODE, BODY_NO_MODEL, "model_not_available"},
    {IN_CODE, BODY_NO_MODEL, "model_decommissioned"},
    {IN_CODE, BODY_NO_MODEL, "invalid_model"},
    {IN_CODE, BODY_NO_MODEL, "unknown_model"},
    {IN_CODE, BODY_NO_MODEL, "DeploymentNotFound"},
    {IN_CODE, BODY_KEY, "invalid_api_key"},
    {IN_CODE, BODY_KEY, "api_key_invalid"},
    {IN_CODE, BODY_KEY, "account_deactivated"},
    {IN_CODE, BODY_FILTER, "content_filter"},
    {IN_CODE, BODY_FILTER, "content_policy_violation"},
    {IN_CODE, BODY_FILTER, "data_inspection_failed"},
    {IN_TYPE, BODY_CONTEXT, "exceed_context_size_error"},
    {IN_TYPE, BODY_QUOTA, "insufficient_quota"},
    {IN_TYPE, BODY_QUOTA, "billing_error"},
    {IN_TYPE, BODY_NO_MODEL, "model_not_found"},
    {IN_TYPE, BODY_KEY, "authentication_error"},
    {IN_TYPE, BODY_KEY, "invalid_api_key"},
    {IN_MESSAGE, BODY_CONTEXT, "maximum context length"},
    {IN_MESSAGE, BODY_CONTEXT, "maximum model length"},
    {IN_MESSAGE, BODY_CONTEXT, "maximum number of tokens"},
    {IN_MESSAGE, BODY_CONTEXT, "context window"},
    {IN_MESSAGE, BODY_CONTEXT, "context length"},
    {IN_MESSAGE, BODY_CONTEXT, "available context size"},
    {IN_MESSAGE, BODY_CONTEXT, "too many tokens"},
    {IN_MESSAGE, BODY_CONTEXT, "prompt is too long"},
    {IN_MESSAGE, BODY_CONTEXT, "`max_new_tokens` must be <="},
    {IN_HEAD, BODY_QUOTA, "insufficient_quota"},
    {IN_HEAD, BODY_QUOTA, "credit balance is too low"},
    {IN_HEAD, BODY_QUOTA, "insufficient balance"},
    {IN_HEAD, BODY_QUOTA, "insufficient credits"},
    {IN_HEAD, BODY_QUOTA, "billing hard limit"},
    {IN_HEAD, BODY_NO_MODEL, "model not found"},
    {IN_HEAD, BODY_NO_MODEL, "model does not exist"},
    {IN_HEAD, BODY_NO_MODEL, "does not exist or you do not have access to it"},
    {IN_HEAD, BODY_NO_MODEL, "is not a valid model"},
    {IN_HEAD, BODY_NO_MODEL, "unknown model"},
    {IN_HEAD, BODY_NO_MODEL, "no such model"},
    {IN_HEAD, BODY_NO_MODEL, "has been decommissioned"},
    {IN_HEAD, BODY_KEY, "invalid api key"},
    {IN_HEAD, BODY_KEY, "incorrect api key"},
    {IN_HEAD, BODY_KEY, "api key not valid"},
};

static bool contains(const char *text, const char *part, size_t head_bytes)
{
    const char *at = strcasestr(text, part);
    return at && (size_t)(at - text) < head_bytes;
}

static bool shows(const struct error_body *body, const struct pattern *p)
{
    switch (p->where) {
    case IN_CODE:
        return !strcasecmp(body->code, p->text);
    case IN_TYPE:
        return !strcasecmp(body->type, p->text);
    case IN_MESSAGE:
        return contains(body->message, p->text, sizeof body->message);
    case IN_HEAD:
        return !body->is_list && contains(body->message, p->text, HEAD_BYTES);
    case WHERE_COUNT:
        break;
    }
    return false;
}

enum body_sign outcome_body_sign(const struct error_body *body)
{
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        if (shows(body, &patterns[i]))
            return patterns[i].sign;
    return BODY_ANY;
}

/* ---- for people
 * ----------------------------------------------------------------------------------- */

static const char *action_text(const struct outcome_rule *r)
{
    switch (r->step) {
    case STEP_SUCCEED:
        return "succeed";
    case STEP_DEAD:
        return "dead";
    case STEP_REASK:
        return "ask once more, then dead";
    case STEP_LARGER:
        return "another version, else dead";
    case STEP_RETRY:
        break;
    }
    return r->tries ? "retry once, then dead" : "retry";
}

static const char *pause_text(const struct signal *s, const struct outcome_rule *r)
{
    bool ours = s->fault == HTTP_FAULT_GATE || s->fault == HTTP_FAULT_LOCAL;
    if (ours || r->sign == SIGN_NOTHING || r->sign == SIGN_LIFE)
        return "none";
    if (r->sign == SIGN_DOUBT)
        return "after 8 in a row";
    if (r->sign == SIGN_MODEL)
        return "its model 60 s, alert";
    return r->pause_us ? "60 s, alert" : "backoff";
}

static const char *certainty_text(const struct signal *s, const struct outcome_rule *r)
{
    if (s->from == 400 || r->certainty == CERTAINTY_NONE)
        return "none";
    if (s->fault == HTTP_FAULT_OVERSIZED)
        return "estimated";
    return r->certainty == CERTAINTY_EXACT ? "exact" : certainty_name(r->certainty);
}

bool outcome_row(int index, struct outcome_row *ret)
{
    if (index < 0 || index >= SIGNAL_COUNT)
        return false;
    const struct signal *s = &signals[index];
    const struct outcome_rule *r = outcome_rule(s->class);
    *ret = (struct outcome_row){
        .signal = s->text,
        .class = s->class,
        .counts = r->counts,
        .action = action_text(r),
        .pause = pause_text(s, r),
        .certainty = certainty_text(s, r),
    };
    return true;
}
