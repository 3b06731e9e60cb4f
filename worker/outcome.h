/*
 * outcome.h - what came of one call, and what the job does next (pure).
 *
 * The HTTP edge reports facts (`struct http_facts`), the adapter reads the reply,
 * `outcome_classify` names the class and the certainty of its cost, `outcome_decide` the action.
 * The table is in outcome_table.c, row by row; schemas/errors.md shows the same rows to people.
 */
#ifndef INFERQ_WORKER_OUTCOME_H
#define INFERQ_WORKER_OUTCOME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/catalogue.h"
#include "common/codes.h"
#include "common/price.h"
#include "common/span.h"
#include "worker/rate_headers.h"

/* How a transfer failed below HTTP. */
enum http_fault {
    HTTP_FAULT_NONE = 0,   /* a whole HTTP reply came */
    HTTP_FAULT_UNSENT,     /* resolve, connect or TLS handshake failed: no request byte left */
    HTTP_FAULT_TLS_CONFIG, /* the certificate or the CA file is wrong */
    HTTP_FAULT_GATE,       /* the lease check right before the first byte said no: unsent */
    HTTP_FAULT_SENT,       /* some byte may have left, then reset, empty, truncated, send failed */
    HTTP_FAULT_TIMEOUT,    /* the total time ran out after a byte may have left */
    HTTP_FAULT_OVERSIZED,  /* the reply passed the call's byte limit */
    HTTP_FAULT_ABORTED,    /* we gave it up */
    HTTP_FAULT_LOCAL,      /* our own trouble before sending: out of memory, descriptors */
};

enum { HTTP_HINT_BYTES = 64 };

struct http_facts {
    enum http_fault fault;
    int curl_code; /* CURLcode, for the ledger */
    int status;    /* 0 when no status line came */
    struct span body;
    /* headers, NUL-terminated, "" when absent, cut when longer */
    char retry_after_ms[HTTP_HINT_BYTES];
    char retry_after[HTTP_HINT_BYTES]; /* seconds or an HTTP date */
    char request_id[HTTP_HINT_BYTES];  /* x-request-id, request-id */
    char date[HTTP_HINT_BYTES];        /* the server's Date, for dates in retry-after */
    struct rate_heard rate;            /* what it says of its rate limits; zeroed: nothing */
};

enum { OUTCOME_NAME_BYTES = 96, OUTCOME_ERROR_BYTES = 2048 };

/* What the ledger will say of the call. */
struct outcome {
    enum class class;
    enum certainty certainty;
    int curl_code, http_status;
    struct usage usage;     /* -1 where absent */
    int64_t cost_nusd;      /* -1: NULL in the ledger */
    int64_t retry_after_us; /* the server's wish, -1 none; capped nowhere yet */
    bool ours;              /* no fault of the endpoint: our lease, memory or descriptors */
    bool late;              /* it, or a gateway for it, did not answer in time */
    char finish_reason[OUTCOME_NAME_BYTES];
    char model_reported[OUTCOME_NAME_BYTES];
    char request_id[OUTCOME_NAME_BYTES];
    char *error; /* owned, scrubbed, at most OUTCOME_ERROR_BYTES; NULL: none */
};

void outcome_init(struct outcome *o);
void outcome_done(struct outcome *o);

/* Copies text from outside as a string that Postgres takes: invalid UTF-8 and NULs become '?', what
 * does not fit is cut at a character boundary. An absent span gives "". */
void outcome_text(struct span from, char *out, size_t out_bytes);
/* Sets o->error to `what`, followed by ": " and `detail` unless that is absent or empty; cleaned
 * and cut like outcome_text. Without memory there is no text. */
void outcome_explain(struct outcome *o, const char *what, struct span detail);

/* From facts alone: faults, statuses, error bodies of all six shapes (status, then error code, then
 * type, then message patterns), retry hints (`wall_ms`: now, for dates). A 2xx with a body gives
 * CLASS_OK provisionally: the adapter then reads the reply (reply.h). */
void outcome_classify(const struct http_facts *facts, int64_t wall_ms, struct outcome *ret);

/* Sets certainty and cost: exact from usage and price; NONE classes cost 0; ambiguous and lost get
 * `estimated_nusd`; `price` may be NULL (unknown). */
void outcome_price(struct outcome *o, const struct price *price, int64_t estimated_nusd);

/* Does a call of this class count against max_attempts? Not when the job never had its chance:
 * unsent, overloaded, throttled, credential, billing, certificate, model gone, context too long,
 * given up by us. */
bool outcome_counts(enum class class);

enum action {
    ACTION_SUCCEED,
    ACTION_REASK, /* ask the model once more, saying what was wrong */
    ACTION_RETRY, /* call again not before `delay_us` from now */
    ACTION_DEAD,
    ACTION_EXPIRE, /* the retry would come after the deadline */
    ACTION_LARGER, /* call the version with the larger context, now */
};

/* A job is called so often at most, whatever its calls ended as: more than three days of an
 * endpoint that is looked at twice a minute. The ledger's number of a call has its end, too. */
enum { OUTCOME_CALLS_MAX = 10000 };

/* What the decision needs to know. */
struct job_facts {
    int calls;    /* so far, this one included */
    int attempts; /* counted calls so far, this one included if it counts */
    int max_attempts;
    int uncounted; /* consecutive calls that did not count (throttled, unsent ...), this included */
    int server_errors; /* CLASS_SERVER_ERROR so far, this included: 500 is tried twice */
    int reasks;
    const struct cat_retry *retry; /* of its route; borrowed */
    bool can_reask;                /* the protocol allows it */
    bool has_larger;               /* there is a version with a larger context */
    int64_t now_us, deadline_us;   /* monotonic; INT64_MAX: none */
    uint64_t seed;                 /* random, for the jitter */
};

struct decision {
    enum action action;
    enum class why;         /* of the ending, when it ends */
    int64_t delay_us;       /* ACTION_RETRY */
    int64_t pause_us;       /* > 0: the endpoint takes no new calls for at least so long */
    int64_t pause_model_us; /* > 0: so does this model version alone */
    bool ours;              /* the outcome says nothing of the endpoint */
    bool late;              /* it did not answer in time: it may have too much to do */
    bool answered;          /* the server itself says that it failed, or refuses */
    bool alert;             /* an operator must act: credential, billing, certificate, model gone */
};

struct decision outcome_decide(const struct outcome *o, const struct job_facts *f);

/* One row of the table, for people and for the test that holds schemas/errors.md against it; false
 * past the end. */
struct outcome_row {
    const char *signal;
    enum class class;
    bool counts;
    const char *action, *pause, *certainty;
};
bool outcome_row(int index, struct outcome_row *ret);

/* Full jitter: uniform in [0, min(cap, base * 2^n)); n from 0. Source: M. Brooker, "Exponential
 * backoff and jitter", 2015. */
int64_t backoff_us(int n, int64_t base_us, int64_t cap_us, uint64_t seed);

/* The server's wish in microseconds from header texts; -1: none usable. Negative or past dates give
 * 0; above 30 days gives 30 days. Pure; `wall_ms` is only used where `date` is absent. Rate limit
 * headers count only in a 429: servers send them with every answer. */
int64_t retry_hint_us(const struct http_facts *facts, int64_t wall_ms);

#endif
