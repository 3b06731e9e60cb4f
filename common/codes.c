/*
 * codes.c - the names of the small integers.
 *
 * Happy path: one table per kind, indexed by the code, with holes where no code was given; every
 * function below reads these tables. Failure: a stranger is "unknown" one way and -1 the other.
 */
#include "common/codes.h"

#include <stddef.h>
#include <string.h>

static const char *const status_names[] = {
    [STATUS_NONE] = "none",           [STATUS_SUCCEEDED] = "succeeded", [STATUS_DEAD] = "dead",
    [STATUS_CANCELLED] = "cancelled", [STATUS_EXPIRED] = "expired",
};

static const char *const class_names[] = {
    [CLASS_NONE] = "none",
    [CLASS_OK] = "ok",
    [CLASS_MALFORMED] = "malformed",
    [CLASS_INVALID_JOB] = "invalid_job",
    [CLASS_FORGED_ID] = "forged_id",
    [CLASS_BAD_SIGNATURE] = "bad_signature",
    [CLASS_NO_MODEL] = "no_model",
    [CLASS_EXPIRED] = "expired",
    [CLASS_CANCELLED] = "cancelled",
    [CLASS_ATTEMPTS_SPENT] = "attempts_spent",
    [CLASS_OVER_COST] = "over_cost",
    [CLASS_UNSTORABLE] = "unstorable",
    [CLASS_MODEL_NOT_LIVE] = "model_not_live",
    [CLASS_HELD] = "held",
    [CLASS_GIVEN_UP] = "given_up",
    [CLASS_OVER_LIMIT] = "over_limit",
    [CLASS_SKIPPED] = "skipped",
    [CLASS_RETRY_BUDGET] = "retry_budget",
    [CLASS_UNSENT] = "unsent",
    [CLASS_TLS_CONFIG] = "tls_config",
    [CLASS_AMBIGUOUS] = "ambiguous",
    [CLASS_INVALID] = "invalid",
    [CLASS_CONTEXT_TOO_LONG] = "context_too_long",
    [CLASS_CREDENTIAL] = "credential",
    [CLASS_NO_UPSTREAM_MODEL] = "no_upstream_model",
    [CLASS_BILLING] = "billing",
    [CLASS_CONFLICT] = "conflict",
    [CLASS_THROTTLED] = "throttled",
    [CLASS_SERVER_ERROR] = "server_error",
    [CLASS_OVERLOADED] = "overloaded",
    [CLASS_REFUSED] = "refused",
    [CLASS_BAD_OUTPUT] = "bad_output",
    [CLASS_BAD_REPLY] = "bad_reply",
    [CLASS_UNKNOWN_STATUS] = "unknown_status",
    [CLASS_LOST] = "lost",
    [CLASS_ABORTED] = "aborted",
};

static const char *const call_kind_names[] = {
    [CALL_PRIMARY] = "primary", [CALL_RETRY] = "retry",   [CALL_FALLBACK] = "fallback",
    [CALL_REASK] = "reask",     [CALL_SHADOW] = "shadow", [CALL_REPLAY] = "replay",
    [CALL_EVAL] = "eval",
};

static const char *const certainty_names[] = {
    [CERTAINTY_NONE] = "none",
    [CERTAINTY_EXACT] = "exact",
    [CERTAINTY_ESTIMATED] = "estimated",
    [CERTAINTY_UNKNOWN] = "unknown",
};

static const char *const validation_names[] = {
    [VALIDATION_NONE] = "none",
    [VALIDATION_PASSED] = "passed",
    [VALIDATION_REASKED] = "reasked",
    [VALIDATION_FAILED] = "failed",
};

static const char *const dead_state_names[] = {
    [DEAD_OPEN] = "open",     [DEAD_CLAIMED] = "claimed",   [DEAD_REQUEUED] = "requeued",
    [DEAD_EDITED] = "edited", [DEAD_ACCEPTED] = "accepted", [DEAD_DISCARDED] = "discarded",
};

static const char *const priority_names[PRIORITY_COUNT] = {
    [PRIORITY_HIGH] = "high",
    [PRIORITY_NORMAL] = "normal",
    [PRIORITY_LOW] = "low",
};

struct kind {
    const char *name;
    const char *const *names;
    int count; /* highest code + 1 */
};

#define KIND(k)                                                      \
    {                                                                \
#k, k##_names, (int)(sizeof k##_names / sizeof k##_names[0]) \
    }

enum { K_STATUS, K_CLASS, K_CALL_KIND, K_CERTAINTY, K_VALIDATION, K_DEAD_STATE, K_PRIORITY };

static const struct kind kinds[] = {
    [K_STATUS] = KIND(status),         [K_CLASS] = KIND(class),
    [K_CALL_KIND] = KIND(call_kind),   [K_CERTAINTY] = KIND(certainty),
    [K_VALIDATION] = KIND(validation), [K_DEAD_STATE] = KIND(dead_state),
    [K_PRIORITY] = KIND(priority),
};

static const char *name_of(int kind, int code)
{
    const struct kind *k = &kinds[kind];
    const char *name = code >= 0 && code < k->count ? k->names[code] : NULL;
    return name ? name : "unknown";
}

static int parse(int kind, const char *name)
{
    const struct kind *k = &kinds[kind];
    for (int code = 0; code < k->count; code++)
        if (k->names[code] && strcmp(k->names[code], name) == 0)
            return code;
    return -1;
}

const char *status_name(int status)
{
    return name_of(K_STATUS, status);
}

const char *class_name(int code)
{
    return name_of(K_CLASS, code);
}

const char *call_kind_name(int kind)
{
    return name_of(K_CALL_KIND, kind);
}

const char *certainty_name(int certainty)
{
    return name_of(K_CERTAINTY, certainty);
}

const char *validation_name(int validation)
{
    return name_of(K_VALIDATION, validation);
}

const char *dead_state_name(int state)
{
    return name_of(K_DEAD_STATE, state);
}

const char *priority_name(int priority)
{
    return name_of(K_PRIORITY, priority);
}

int priority_parse(const char *name)
{
    return parse(K_PRIORITY, name);
}

int class_parse(const char *name)
{
    return parse(K_CLASS, name);
}

int status_parse(const char *name)
{
    return parse(K_STATUS, name);
}

bool codes_entry(const char *kind, int index, int *ret_code, const char **ret_name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, kind) != 0)
            continue;
        for (int code = 0, at = 0; code < kinds[i].count; code++) {
            if (!kinds[i].names[code] || at++ != index)
                continue;
            *ret_code = code;
            *ret_name = kinds[i].names[code];
            return true;
        }
    }
    return false;
}
