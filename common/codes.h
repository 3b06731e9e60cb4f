/*
 * codes.h - the small integers that messages and tables hold. They are stored for years: a number,
 * once given, is never given another meaning. schemas/sql has the same lists in `inferq.code`, and
 * a test holds the two against each other.
 */
#ifndef INFERQ_COMMON_CODES_H
#define INFERQ_COMMON_CODES_H

#include <stdbool.h>

/* result.status: how a job ended. */
enum status {
    STATUS_NONE = 0, /* not ended */
    STATUS_SUCCEEDED = 1,
    STATUS_DEAD = 2,
    STATUS_CANCELLED = 3,
    STATUS_EXPIRED = 4,
};

/* result.class, call.class, dead_letter.class: why. */
enum class {
    CLASS_NONE = 0,
    CLASS_OK = 1,
    /* decided before any call */
    CLASS_MALFORMED = 10,   /* bytes that are no job: bad msgpack, unknown version */
    CLASS_INVALID_JOB = 11, /* a job whose fields break the schema */
    CLASS_FORGED_ID = 12,   /* id does not follow from the job, or its time is out of range */
    CLASS_BAD_SIGNATURE = 13,
    CLASS_NO_MODEL = 14, /* no such model in the catalogue, or no default for (app, task) */
    CLASS_EXPIRED = 15,
    CLASS_CANCELLED = 16,
    CLASS_ATTEMPTS_SPENT = 17,
    CLASS_OVER_COST = 18,      /* would cost more than the job's max_cost */
    CLASS_UNSTORABLE = 19,     /* Postgres refuses the row itself (SQLSTATE 22xxx, 23xxx) */
    CLASS_MODEL_NOT_LIVE = 20, /* the model version is retired or blocked */
    CLASS_OVER_LIMIT = 21,     /* one call would take more than a whole limit */
    /* decided by the job's route, because nobody knows what became of a call */
    CLASS_HELD = 24,     /* a person is to look before it is called again */
    CLASS_GIVEN_UP = 25, /* nobody needs to: its letter is discarded at once */
    CLASS_SKIPPED = 26,  /* an operator left it out */
    /* why a job waits in `parked`; none ends so */
    CLASS_RETRY_BUDGET = 27, /* its route's retries are used up for now */
    /* outcomes of a call */
    CLASS_UNSENT = 30,     /* resolve, connect, TLS handshake failed */
    CLASS_TLS_CONFIG = 31, /* certificate or CA wrong */
    CLASS_AMBIGUOUS = 32,  /* sent, then reset, empty, timed out, truncated, 502/504/524 */
    CLASS_INVALID = 33,    /* 400, 413, 422 */
    CLASS_CONTEXT_TOO_LONG = 34,
    CLASS_CREDENTIAL = 35,        /* 401, 403 */
    CLASS_NO_UPSTREAM_MODEL = 36, /* 404 model */
    CLASS_BILLING = 37,           /* 402, quota */
    CLASS_CONFLICT = 38,          /* 408, 409 */
    CLASS_THROTTLED = 39,         /* 429 */
    CLASS_SERVER_ERROR = 40,      /* 500 */
    CLASS_OVERLOADED = 41,        /* 503, 529 */
    CLASS_REFUSED = 42,           /* the model declined to answer */
    CLASS_BAD_OUTPUT = 43, /* 200, but empty, truncated, or not what the output spec asks for */
    CLASS_BAD_REPLY = 44,  /* 200, but not a reply of the protocol (broken JSON, oversized) */
    CLASS_UNKNOWN_STATUS = 45,
    CLASS_LOST = 46,    /* the worker died or was fenced with the call open */
    CLASS_ABORTED = 47, /* we gave the call up ourselves (second SIGTERM, cancel in flight) */
};

/* call.kind: why the call was made. */
enum call_kind {
    CALL_PRIMARY = 1,
    CALL_RETRY = 2,
    CALL_FALLBACK = 3,
    CALL_REASK = 4,
    CALL_SHADOW = 5,
    CALL_REPLAY = 6,
    CALL_EVAL = 7,
};

/* call.certainty: how well its cost is known. */
enum certainty {
    CERTAINTY_NONE = 0,      /* it cannot have cost anything */
    CERTAINTY_EXACT = 1,     /* from reported usage and a known price */
    CERTAINTY_ESTIMATED = 2, /* usage missing or outcome unknown: estimate and upper bound stand */
    CERTAINTY_UNKNOWN = 3,   /* no price, or nothing to estimate from: cost is NULL */
};

/* result.validation */
enum validation {
    VALIDATION_NONE = 0,    /* the job asked for plain text: nothing to check but emptiness */
    VALIDATION_PASSED = 1,  /* at the first answer */
    VALIDATION_REASKED = 2, /* at the re-ask */
    VALIDATION_FAILED = 3,
};

/* dead_letter.state */
enum dead_state {
    DEAD_OPEN = 1,
    DEAD_CLAIMED = 2,
    DEAD_REQUEUED = 3,
    DEAD_EDITED = 4,
    DEAD_ACCEPTED = 5,
    DEAD_DISCARDED = 6,
};

/* job.priority, batch.priority: also the order of the default lanes. */
enum priority { PRIORITY_HIGH = 0, PRIORITY_NORMAL = 1, PRIORITY_LOW = 2, PRIORITY_COUNT = 3 };

const char *status_name(int status); /* "succeeded"; "unknown" for a stranger */
const char *class_name(int code);    /* "throttled", ... */
const char *call_kind_name(int kind);
const char *certainty_name(int certainty);
const char *validation_name(int validation);
const char *dead_state_name(int state);
const char *priority_name(int priority); /* "high", "normal", "low" */
int priority_parse(const char *name);    /* -1: no such priority */
int class_parse(const char *name);       /* -1 */
int status_parse(const char *name);      /* -1 */

/* Walks a list for tests and for `inferq.code`: kind is "status", "class", "call_kind",
 * "certainty", "validation", "dead_state" or "priority"; false past the end. */
bool codes_entry(const char *kind, int index, int *ret_code, const char **ret_name);

#endif
