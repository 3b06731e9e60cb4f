/*
 * outcome.c - what came of one call, and what the job does next (pure). The table that it reads is
 * in outcome_table.c, the servers' delays in retry_hint.c.
 *
 * Happy path: facts give a class, a class gives a rule, the rule and what the job has behind it
 * give the action. Failure modes: an outcome that nobody foresaw is retried once and then kept for
 * review.
 */
#include "worker/outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "worker/outcome_table.h"
#include "worker/policy.h"

enum {
    UNCOUNTED_BASE_US = 1000 * 1000, /* of calls that do not count: nothing of the job's route */
};

/* Servers' wishes are hints: no job waits longer than this before it is tried again, and an
 * operator hears of a server that asks for more. */
#define WISH_CAP_US (INT64_C(600) * 1000 * 1000)

/* ---- texts ----------------------------------------------------------------------------------- */

void outcome_text(struct span from, char *out, size_t out_bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < from.n;) {
        size_t bytes = utf8_next(from.p + i, from.n - i, NULL);
        bool good = bytes > 0 && from.p[i] != '\0';
        bytes = bytes ? bytes : 1;
        if (bytes >= out_bytes - n)
            break;
        if (good)
            memcpy(out + n, from.p + i, bytes);
        else
            out[n] = '?';
        i += bytes;
        n += bytes;
    }
    out[n] = '\0';
}

void outcome_explain(struct outcome *o, const char *what, struct span detail)
{
    char text[OUTCOME_ERROR_BYTES];
    outcome_text(span_of(what), text, sizeof text);
    size_t n = strlen(text);
    if (detail.n && n + 3 < sizeof text) {
        memcpy(text + n, ": ", 2);
        outcome_text(detail, text + n + 2, sizeof text - n - 2);
    }
    free(o->error);
    o->error = strdup(text);
}

/* ---- classify -------------------------------------------------------------------------------- */

void outcome_init(struct outcome *o)
{
    *o = (struct outcome){
        .usage = {.input = -1, .cached = -1, .output = -1, .reasoning = -1},
        .cost_nusd = -1,
        .retry_after_us = -1,
    };
}

void outcome_done(struct outcome *o)
{
    free(o->error);
    o->error = NULL;
}

static void explain_fault(struct outcome *o, enum http_fault fault)
{
    static const char *const texts[] = {
        [HTTP_FAULT_NONE] = "no reply came",
        [HTTP_FAULT_UNSENT] = "no connection could be made",
        [HTTP_FAULT_TLS_CONFIG] = "the server's certificate or the CA file is wrong",
        [HTTP_FAULT_GATE] = "the worker's lease was too short to send, or it was stopping",
        [HTTP_FAULT_SENT] = "the connection ended before a whole reply came",
        [HTTP_FAULT_TIMEOUT] = "no whole reply came in time",
        [HTTP_FAULT_OVERSIZED] = "the reply is larger than its bound",
        [HTTP_FAULT_ABORTED] = "the worker gave the call up",
        [HTTP_FAULT_LOCAL] = "the worker had no memory or descriptor for the call",
    };
    char code[32];
    int n = snprintf(code, sizeof code, "curl code %d", o->curl_code);
    outcome_explain(o, texts[fault], (struct span){code, o->curl_code ? (size_t)n : 0});
}

/* "HTTP 400 context_length_exceeded: This model's ..." */
static void classify_status(const struct http_facts *facts, struct outcome *o)
{
    struct error_body body;
    char what[128];
    error_body_read(facts->body, &body);
    o->class = outcome_class_of(HTTP_FAULT_NONE, facts->status, outcome_body_sign(&body));
    const char *name = body.code[0] ? body.code : body.type;
    snprintf(what, sizeof what, "HTTP %d%s%s", facts->status, name[0] ? " " : "", name);
    outcome_explain(o, what, span_of(body.message));
}

void outcome_classify(const struct http_facts *facts, int64_t wall_ms, struct outcome *ret)
{
    enum http_fault fault = facts->fault;
    struct outcome o;
    outcome_init(&o);
    o.curl_code = facts->curl_code;
    o.http_status = facts->status;
    o.ours = fault == HTTP_FAULT_GATE || fault == HTTP_FAULT_LOCAL;
    o.late = fault == HTTP_FAULT_TIMEOUT ||
             (fault == HTTP_FAULT_NONE && (facts->status == 504 || facts->status == 524));
    outcome_text(span_of(facts->request_id), o.request_id, sizeof o.request_id);
    if (fault != HTTP_FAULT_NONE || facts->status <= 0) {
        o.class = outcome_class_of(fault, facts->status, BODY_ANY);
        explain_fault(&o, fault);
    } else if (facts->status >= 200 && facts->status <= 299) {
        o.class = CLASS_OK;
    } else {
        classify_status(facts, &o);
        o.retry_after_us = retry_hint_us(facts, wall_ms);
    }
    outcome_done(ret);
    *ret = o;
}

/* ---- price ----------------------------------------------------------------------------------- */

static void estimate(struct outcome *o, int64_t estimated_nusd)
{
    o->certainty = estimated_nusd >= 0 ? CERTAINTY_ESTIMATED : CERTAINTY_UNKNOWN;
    o->cost_nusd = estimated_nusd >= 0 ? estimated_nusd : -1;
}

void outcome_price(struct outcome *o, const struct price *price, int64_t estimated_nusd)
{
    enum certainty certainty = outcome_rule(o->class)->certainty;
    bool answered = o->http_status >= 200 && o->http_status <= 299;
    if (certainty == CERTAINTY_NONE || (certainty == CERTAINTY_EXACT && o->http_status >= 400)) {
        o->certainty = CERTAINTY_NONE; /* a refusal by status: nothing was generated */
        o->cost_nusd = 0;
        return;
    }
    if (certainty == CERTAINTY_UNKNOWN) {
        o->certainty = CERTAINTY_UNKNOWN;
        o->cost_nusd = -1;
        return;
    }
    int64_t cost =
        price && answered && certainty == CERTAINTY_EXACT ? price_cost_nusd(price, &o->usage) : -1;
    if (cost < 0) {
        estimate(o, price ? estimated_nusd : -1);
        return;
    }
    o->certainty = CERTAINTY_EXACT;
    o->cost_nusd = cost;
}

/* ---- decide ---------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64: seeds may be poor */
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

int64_t backoff_us(int n, int64_t base_us, int64_t cap_us, uint64_t seed)
{
    int64_t limit = base_us < cap_us ? base_us : cap_us;
    for (; n > 0 && limit > 0 && limit < cap_us; n--)
        limit = limit > cap_us / 2 ? cap_us : limit * 2;
    if (limit <= 0)
        return 0;
    __extension__ typedef unsigned __int128 u128;
    return (int64_t)((u128)mix(seed) * (u128)limit >> 64);
}

static int64_t delay_us(const struct outcome *o, const struct outcome_rule *rule,
                        const struct job_facts *f)
{
    int64_t base = rule->counts ? f->retry->backoff_base_us : UNCOUNTED_BASE_US;
    int64_t cap = f->retry->backoff_cap_us;
    int before = (rule->counts ? f->attempts : f->uncounted) - 1;
    if (rule->pause_us)
        return rule->pause_us;
    if (o->retry_after_us < 0)
        return backoff_us(before, base, cap, f->seed);
    /* The server's delay first, and a little jitter: not all at the same instant. */
    int64_t wish = o->retry_after_us < WISH_CAP_US ? o->retry_after_us : WISH_CAP_US;
    return wish + backoff_us(0, base, cap, f->seed);
}

static void retry(const struct outcome *o, const struct outcome_rule *rule,
                  const struct job_facts *f, struct decision *d)
{
    int tried = o->class == CLASS_SERVER_ERROR ? f->server_errors : f->attempts;
    bool spent = f->attempts >= f->max_attempts || (rule->tries && tried >= rule->tries);
    enum class ending = policy_ending(f->retry, o->class);
    if (ending != CLASS_NONE) {
        d->action = ACTION_DEAD;
        d->why = ending;
        return;
    }
    if ((rule->counts && spent) || f->calls >= OUTCOME_CALLS_MAX) {
        d->action = ACTION_DEAD;
        return;
    }
    d->action = ACTION_RETRY;
    d->delay_us = delay_us(o, rule, f);
    if (f->deadline_us != INT64_MAX && f->deadline_us - f->now_us <= d->delay_us) {
        d->action = ACTION_EXPIRE;
        d->why = CLASS_EXPIRED;
        d->delay_us = 0;
    }
}

/* Once more: with the complaint where the protocol has a dialogue, else the same question again. */
static void reask(const struct outcome *o, const struct outcome_rule *rule,
                  const struct job_facts *f, struct decision *d)
{
    bool spent = f->attempts >= f->max_attempts;
    if (f->can_reask)
        d->action = f->reasks == 0 && !spent ? ACTION_REASK : ACTION_DEAD;
    else if (f->attempts < 2)
        retry(o, rule, f, d);
    else
        d->action = ACTION_DEAD;
}

struct decision outcome_decide(const struct outcome *o, const struct job_facts *f)
{
    const struct outcome_rule *rule = outcome_rule(o->class);
    struct decision d = {.action = ACTION_DEAD,
                         .why = o->class,
                         .ours = o->ours,
                         .late = o->late,
                         .answered = o->http_status >= 400};
    if (!o->ours && rule->sign == SIGN_FAULT) {
        int64_t wish = o->retry_after_us < WISH_CAP_US ? o->retry_after_us : WISH_CAP_US;
        d.pause_us = wish > rule->pause_us ? wish : rule->pause_us;
        d.alert = rule->alert || o->retry_after_us > WISH_CAP_US;
    } else if (!o->ours && rule->sign == SIGN_MODEL) {
        d.pause_model_us = rule->pause_us;
        d.alert = rule->alert;
    }
    switch (rule->step) {
    case STEP_SUCCEED:
        d.action = ACTION_SUCCEED;
        break;
    case STEP_DEAD:
        break;
    case STEP_RETRY:
        retry(o, rule, f, &d);
        break;
    case STEP_REASK:
        reask(o, rule, f, &d);
        break;
    case STEP_LARGER:
        if (f->has_larger && f->calls < OUTCOME_CALLS_MAX)
            d.action = ACTION_LARGER;
        break;
    }
    return d;
}
