/*
 * story.h - everything that Postgres knows about one job, read in one snapshot.
 */
#ifndef INFERQ_ADMIN_STORY_H
#define INFERQ_ADMIN_STORY_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/cmd.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/jobid.h"
#include "common/pg.h"
#include "common/span.h"

/* Columns, in the order of the statements in story.c. */
enum story_result {
    SR_STATUS,
    SR_CLASS,
    SR_FINISHED,
    SR_COST,
    SR_QUEUE_US,
    SR_THROTTLE_US,
    SR_MODEL_US,
    SR_STORE_US,
    SR_CALL,
    SR_HTTP,
    SR_VALIDATION,
    SR_FINISH_REASON,
    SR_MODEL,
    SR_REPORTED,
    SR_PROMPT,
    SR_CONTEXT,
    SR_TRACE,
    SR_CUSTOM_ID,
    SR_GENERATION,
    SR_BATCH_ID,
    SR_INPUT,
    SR_CACHED,
    SR_OUTPUT,
    SR_REASONING,
    SR_TASK,
    SR_TEAM,
    SR_URL,
    SR_LIMIT_US,
    SR_LIMIT
};
enum story_wait { SW_FOR, SW_US };
enum story_call {
    SC_NUMBER,
    SC_KIND,
    SC_WORKER,
    SC_HOST,
    SC_PID,
    SC_BUILD,
    SC_LEASE,
    SC_FENCED,
    SC_MODEL,
    SC_ENDPOINT,
    SC_ENDPOINT_VERSION,
    SC_URL,
    SC_CLAIMED,
    SC_DONE,
    SC_CLASS,
    SC_HTTP,
    SC_CURL,
    SC_INPUT,
    SC_CACHED,
    SC_OUTPUT,
    SC_REASONING,
    SC_COST,
    SC_ESTIMATED,
    SC_UPPER,
    SC_CERTAINTY,
    SC_ERROR,
    SC_REQUEST_ID,
    SC_REPORTED,
    SC_MODEL_US,
    SC_BATCH_ID,
    SC_PRICE_FROM,
    SC_PRICE_INPUT,
    SC_PRICE_OUTPUT,
    SC_PRICE_REQUEST
};
enum story_parked {
    SP_NEXT,
    SP_PARKED,
    SP_TAKEN_BY,
    SP_LEASE,
    SP_WAIT_KEY,
    SP_ENDPOINT,
    SP_NUMBER,
    SP_ATTEMPTS,
    SP_REASON,
    SP_WAITED_US,
    SP_MODEL_US,
    SP_BATCH_ID,
    SP_TOPIC,
    SP_PARTITION,
    SP_OFFSET,
    SP_PAYLOAD,
    SP_DEADLINE,
    SP_PAUSED_BY, /* an operator, its endpoint */
    SP_PAUSED_WHY,
    SP_LIMIT,     /* that it waits for */
    SP_LIMIT_US,  /* limits have held it back so long before it was parked, */
    SP_HELD_BY,   /* this one of them longest */
    SP_PARKED_US, /* since then; 0: a worker has it */
    SP_DUE        /* it could run, but for what it waits for */
};
enum story_letter {
    SL_ID,
    SL_DIED,
    SL_CLASS,
    SL_STATE,
    SL_REASON,
    SL_TOPIC,
    SL_PARTITION,
    SL_OFFSET,
    SL_BATCH_ID,
    SL_CUSTOM_ID,
    SL_GENERATION
};
enum story_batch {
    SB_APP,
    SB_NAME,
    SB_TASK,
    SB_TEAM,
    SB_CREATED_MS,
    SB_REGISTERED,
    SB_SEALED,
    SB_DEADLINE,
    SB_CANCEL
};
enum story_event { SE_AT, SE_ACTOR, SE_ACTION, SE_NEW_JOB, SE_DEAD_ID };

enum story_state {
    STORY_UNKNOWN, /* no trace of it */
    STORY_ENDED,
    STORY_CALLED, /* a call without an outcome */
    STORY_TAKEN,  /* parked, and held by a worker */
    STORY_PARKED,
    STORY_BETWEEN, /* calls have ended, it waits in a worker or will come again */
};

struct story {
    struct jobid job;
    enum story_state state;
    struct span custom_id; /* absent: not known; points into rows, or the command line */
    int64_t generation;    /* -1: not known */
    bool has_batch;
    struct jobid batch_id;   /* has_batch */
    struct pg_rows *result;  /* 0 or 1 row; all owned */
    struct pg_rows *calls;   /* by number */
    struct pg_rows *parked;  /* 0 or 1 */
    struct pg_rows *waits;   /* what has held it back up to now, as far as is known: limits, the
                                endpoint that it is parked for; the longest first */
    struct pg_rows *letters; /* 0 or 1, as a rule */
    struct pg_rows *events;  /* reviews of these letters, in order */
    struct pg_rows *batch;   /* 0 or 1; NULL when has_batch is false */
    struct jobid previous;   /* the generation before; generation > 0 and the batch is known */
    bool has_previous;
};

/* `batch_id` (NULL: not known) and `custom_id` (absent: so too) are believed when no row says them.
 * `ret` must be released. */
enum rc story_read(struct ctx *ctx, const struct jobid *job, const struct jobid *batch_id,
                   struct span custom_id, struct story *ret, struct err *err) MUST_CHECK;
void story_done(struct story *s);

/* Appends the sentence that says where the job is, or why it ended so. */
void story_sentence(const struct story *s, struct buf *out);

void story_text(const struct story *s, struct buf *out);
void story_json(const struct story *s, struct buf *out);

#endif
