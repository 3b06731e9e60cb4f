/*
 * store_internal.h - what the files of the store edge share: store.c (making, leases, flushing),
 * store_claim.c (claims, parking, burying), store_end.c (endings), store_keep.c (housekeeping).
 */
#ifndef INFERQ_WORKER_STORE_INTERNAL_H
#define INFERQ_WORKER_STORE_INTERNAL_H

#include "common/pg.h"
#include "worker/store.h"
#include "worker/store_sql.h"

enum {
    STORE_ROWS_MAX = 500,       /* of one batch; more gains nothing */
    STORE_BYTES_MAX = 8 << 20,  /* of their payloads and replies, but for a single larger row: a
                                   statement is held twice, here and by libpq */
    STORE_UNCOUNTED_MAX = 64,   /* classes that do not count as attempts */
    STORE_PULLS_MAX = 32,       /* pulls waiting to be sent */
    STORE_SEEN_MAX = 256,       /* batches waiting to be registered */
    STORE_KNOWN_BATCHES = 1024, /* batch ids known to be registered, direct-mapped */
};

/* Jobs waiting for a statement, first in first out; linked through store_next or park_next. */
struct job_queue {
    struct job *head, *tail;
    size_t count;
    size_t link; /* offset of the link in struct job */
};

void job_queue_push(struct job_queue *q, struct job *job);
void job_queue_push_front(struct job_queue *q, struct job *job);
struct job *job_queue_pop(struct job_queue *q);

/* One kind of batched work: its queue, and the one batch that is under way. */
struct store_batch {
    struct job_queue waiting;
    struct job *rows[STORE_ROWS_MAX]; /* sorted by job id */
    int row_count;
    int limit; /* rows of the next batch: shrinks to find a guilty row, grows back */
    bool under_way;
    int64_t worker_id;     /* as whom it was sent: by its answer we may be somebody else */
    int64_t hold_until_us; /* after a refusal that is nobody's fault */
    struct store *store;
};

struct store_pull {
    int32_t wait_key;
    int lane, count;
    struct pull_app *apps; /* owned, in one piece with their names */
};

struct store_wake {
    int32_t wait_key;
    int lane;
};

struct store_seen {
    struct jobid batch_id;
    char app[JOB_NAME_BYTES_MAX + 1], name[JOB_TEXT_BYTES_MAX + 1];
    char task[JOB_NAME_BYTES_MAX + 1], team[JOB_NAME_BYTES_MAX + 1];
    int lane;
    int64_t created_ms;
};

struct uv_timer_s;

struct store {
    struct store_conf conf;
    struct pg *claim_conn, *store_conn, *keep_conn;
    struct pg_params *params, *more_params, *lose_params; /* reused for every statement */

    struct store_batch claims, slow, ends, parks, buries, pays;
    bool asking_known;
    int16_t uncounted[STORE_UNCOUNTED_MAX];
    int uncounted_count;
    int16_t unknown[STORE_UNCOUNTED_MAX]; /* those of calls of which nobody knows what came */
    int unknown_count;

    struct store_pull pulls[STORE_PULLS_MAX];
    int pull_count;
    int32_t counted_key; /* while count_busy */
    bool count_busy;
    int pulling;              /* pulls under way */
    struct store_wake *wakes; /* keys whose rows are to be woken; owned */
    int wake_count;
    bool pull_lost; /* the answer to one was: rows may be ours without our knowing */

    /* the lease */
    int64_t worker_id;       /* 0: not registered */
    int64_t lease_until_us;  /* CLOCK_BOOTTIME, counted from when the renewal was sent */
    int64_t renewal_sent_us; /* CLOCK_BOOTTIME of the one under way */
    bool renewing;
    int64_t clock_offset_ms;

    /* housekeeping */
    struct uv_timer_s *timer;
    int64_t next_heartbeat_us, next_second_us, next_slow_us;
    bool keeper; /* holds the advisory lock: partitions, roll-up, letters */
    int keeping; /* housekeeping transactions under way */
    bool second_busy, slow_busy, letters_busy, wishes_busy, seen_busy, free_busy, others_busy;
    bool wake_busy;
    bool wishes_again; /* somebody notified while the look was under way */
    int32_t *held;     /* ids of the endpoints that an operator has paused; owned */
    int held_count;
    int64_t
        cancelled_from_ms; /* Postgres's clock: what was cancelled before is known; 0: nothing */
    int others_lane;       /* where it is asked whether others wait */
    int letters_out;       /* handed over and not yet answered */
    int64_t published[STORE_ROWS_MAX];
    int published_count;
    int64_t parked_due;
    struct store_limits *limits;   /* owned; NULL: there are none */
    struct store_learned *learned; /* owned; NULL: it is not shared */
    struct store_figures figures;
    int64_t next_figures_us; /* as keeper */
    int64_t oldest_live_ms;  /* as last heard: older ids have no partition */
    struct store_seen *seen;
    int seen_count;
    struct jobid known[STORE_KNOWN_BATCHES];
    void (*stopped)(void *arg);
    void *stopped_arg;
    bool stopping;
    bool loses;             /* the batch of endings under way begins with SQL_STORE_LOSE */
    bool ends_with_results; /* the batch of endings under way inserts results */
    int result_step;        /* by this step of its transaction */
};

/* Takes up to `limit` rows from the queue into b->rows, sorted; false: nothing to do now. */
bool store_batch_take(struct store_batch *b, const struct pg *conn);
/* Puts the rows back in front of the queue, in order, and decides about the next try from the
 * answer: hold back after a refusal that is nobody's fault, fewer rows after one that is. */
void store_batch_again(struct store_batch *b, const struct pg_answer *answer, const char *what);
/* The batch was answered; rows stay readable until the next take. */
void store_batch_done(struct store_batch *b);

/* Sends what waits and may go. Called after every turn of the loop. */
void store_flush_claims(struct store *s);
void store_flush_slow(struct store *s);
void store_flush_parks(struct store *s);
void store_flush_buries(struct store *s);
void store_flush_pays(struct store *s);
void store_flush_pulls(struct store *s);
void store_drop_pulls(struct store *s); /* those not sent */
void store_flush_ends(struct store *s);

/* The answer to one claim. */
/* `worker_id`: who asked. */
void store_answer_claim(struct store *s, struct job *job, enum claim_answer answer,
                        int64_t worker_id);

/* Housekeeping: the connection came or went, the timer fired, a notification came. */
enum rc store_keep_start(struct store *s, struct uv_loop_s *loop, struct err *err) MUST_CHECK;
void store_keep_up(struct store *s);
void store_keep_down(struct store *s);
void store_keep_notify(struct store *s);
void store_keep_free(struct store *s);

/* Of the lane with this code among those that are served; -1: it is not. */
int store_lane_of(const struct store *s, int64_t code);

/* 32 bytes that name the source of a dead letter: the job where there is one, else the record. */
void store_source_of(const struct store *s, const struct job *job, unsigned char out[32]);
/* A job's column `headers`: borrowed from `scratch`, which is overwritten. */
struct buf;
struct span store_headers(const struct job *job, struct buf *scratch);
/* A column `limit_waits`: NULL of jobs that waited for fewer limits. */
void store_add_waits(struct pg_params *p, struct job *const *rows, int n, int least);

#endif
