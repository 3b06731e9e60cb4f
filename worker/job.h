/*
 * job.h - a job in this process: one record on its way from FETCHED to SETTLED.
 *
 * Only path.c moves a job from state to state. Edges fill in the part that is theirs
 * (`call->http`, `claim_answer`, `stored`) and hand it back.
 */
#ifndef INFERQ_WORKER_JOB_H
#define INFERQ_WORKER_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/catalogue.h"
#include "common/codes.h"
#include "common/job_msg.h"
#include "worker/call_pool.h"
#include "worker/list.h"
#include "worker/reply.h"
#include "worker/waits.h"

enum job_state {
    JOB_FETCHED, /* bytes from Kafka or from `parked`; nothing believed yet */
    JOB_ADMIT,
    JOB_ROUTE,
    JOB_THROTTLE, /* in a lane, waiting for its endpoint */
    JOB_CLAIM,    /* its ledger row is on the way to Postgres */
    JOB_CALL,     /* its request is with the HTTP edge */
    JOB_PARSE,
    JOB_CHECK,
    JOB_RETRY, /* its outcome is stored; short wait in memory for the next call */
    JOB_PARK,  /* its payload is on the way to `parked` */
    JOB_STORE, /* its ending (or a call's outcome) is on the way to Postgres */
    JOB_WAIT,  /* live elsewhere, or a twin in this process holds it: waits to ask again */
    JOB_BURY,  /* no job: a dead letter without one is on the way */
    JOB_SETTLED,
    JOB_STATE_COUNT,
};

/* What CLAIM answers. */
enum claim_answer {
    CLAIM_NONE = 0,
    CLAIM_GRANTED,
    CLAIM_DONE,     /* a result stands */
    CLAIM_PARKED,   /* its payload is in `parked`, not taken by us */
    CLAIM_LIVE,     /* another live worker has an open call for it */
    CLAIM_SPENT,    /* max_attempts calls stand in the ledger */
    CLAIM_UNKNOWN,  /* what came of a call is not known, and its route wants no other then */
    CLAIM_LARGER,   /* its calls show that it needs a larger context than it was routed to */
    CLAIM_FREE,     /* (asked only) nothing stands in the way */
    CLAIM_NO_LEASE, /* our own lease is over: nothing may be claimed until it is back */
};

struct job {
    struct job *next, *prev;           /* in the list of its state */
    struct job *table_next;            /* jobtable's chain */
    struct job *store_next;            /* the store edge's queue of claims, endings or letters */
    struct job *park_next;             /* and of rows to park: a running job may be in both */
    struct flow *flow;                 /* while it waits in a lane: its app's jobs there ... */
    struct job *flow_next, *flow_prev; /* ... and its neighbours in it */
    enum job_state state;
    bool in_table;

    /* where it came from */
    int lane;
    int32_t partition; /* -1: from `parked` without Kafka coordinates */
    uint32_t epoch;
    uint64_t ticket; /* in its partition's offsets */
    bool has_ticket; /* the watermark waits for it */
    int64_t offset, timestamp_ms;
    bool from_parked; /* its payload stands in `parked`, taken by us */
    bool adopted;     /* that row was pulled while the job was being claimed */
    bool crossed;     /* it was parked while its ending was on the way: the row may be left over */
    bool parking;     /* its payload is being parked while it runs */

    /* what it is: `payload` lies behind the job, in its memory; msg's spans point into it */
    char *payload;
    size_t payload_bytes, reserved_bytes; /* of the global byte budget */
    struct span signature, traceparent;   /* header values, in the same memory behind the payload */
    struct job_msg msg;

    /* how it is served */
    enum api api;
    struct request_facts request;
    struct served *served; /* by what mv, retry and price are of; NULL before ROUTE */
    const struct cat_model_version *mv;
    const struct cat_retry *retry; /* how its route has it called again */
    struct retry_budget *budget;   /* of that */
    int max_attempts;              /* counted calls that it may have */
    const struct cat_price *price; /* NULL: none in force */
    int endpoint;                  /* index; -1 before ROUTE */
    int32_t endpoint_id;           /* its row */
    int gate; /* of its limits (admission.h); -1: not known, or there are none */

    /* its calls */
    enum call_kind kind;
    int number;    /* of the current or next call */
    int attempts;  /* calls that count against max_attempts */
    int uncounted; /* consecutive calls that do not */
    int server_errors;
    int larger; /* steps that it has gone to versions with larger contexts, as its calls showed */
    int reasks; /* that were answered: one that is still to be made is in no parked row, and whoever
                   pulls that may make it */
    int64_t claimed_by; /* worker_id of the open or last call's row; 0: none */
    bool claim_sent;    /* a claim of (job, number) left and its answer was lost */
    bool asked;         /* whether Postgres knows it already (path_limits.c), while it waits */
    bool ask_only;      /* CLAIM only asks how the job stands: a verdict without a call yielded */
    bool begun;         /* its endpoint counts it as in flight */
    bool counted;       /* its gate counts it as waiting */
    bool paid;          /* out of its route's retry budget, for the call that is to be made */
    bool owes;          /* nobody knows what came of its call: the next one is to be paid for, */
    bool granted;       /* the store edge's answer to that; */
    bool settled;       /* in this process it was, once: what the ledger says of it is known */
    int64_t owed_nusd;  /* what the call may have cost */
    enum claim_answer claim_answer;
    int64_t estimated_nusd, upper_nusd;        /* of the current call; -1 unknown */
    int64_t estimated_input, estimated_output; /* tokens of a call */
    int64_t spent_nusd;                        /* by ended calls; -1: not known */
    struct job_call *call; /* owned; only from CLAIM to STORE, of a job to be called */
    bool outcome_open;     /* call->outcome is known and not stored yet */
    struct buf answer;     /* the text to check */
    char *complaint;       /* owned: what the re-ask says was wrong */
    enum validation validation;

    /* how it ends (STATUS_NONE: only the call's outcome is stored, then RETRY or PARK) */
    enum status status;
    enum class class;
    int verdict_call; /* number of the call that gave the ending; 0: none */
    char *reason;     /* owned, for people: dead letters */
    bool stored;      /* STORE's answer: this very row was inserted */
    bool bare;        /* Postgres refused the row as it was: store it without the reply's texts */
    enum after_store {
        AFTER_NOTHING,
        AFTER_RETRY,
        AFTER_PARK,
        AFTER_REASK,
        AFTER_LARGER
    } after_store;

    /* when: monotonic us */
    int heap_index; /* deadlines.h */
    int64_t due_us;
    int64_t fetched_us, waiting_since_us, dispatched_us, outcome_us;
    int64_t retry_at_us; /* not before */
    int64_t queue_us, throttle_us, model_us;
    struct waits held;   /* of throttle_us: limits held it back */
    int64_t gate_was_us; /* its gate had been blocked for so long when it began to wait */
    struct admission_held gate_was; /* there, and so by each of its limits */
    int waits;                      /* times it heard "live elsewhere" */
    int32_t park_key; /* endpoint_id that a parked job waits for; 0: only for retry_at_us */
    enum class park_reason;
};

#endif
