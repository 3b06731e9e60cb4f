/*
 * store.h - the Postgres edge of the path: claims, endings, parked jobs, leases.
 *
 * Jobs handed over are collected and sent in batches, one transaction of each kind in flight; a
 * batch starts when the previous one was answered, so batches grow with the load and no timer is
 * needed. When Postgres is away, jobs wait here (the path starts nothing new) and everything is
 * sent again on return: every statement is idempotent, and the ledger says what had happened.
 */
#ifndef INFERQ_WORKER_STORE_H
#define INFERQ_WORKER_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "worker/job.h"
#include "worker/path.h"
#include "worker/pulls.h"

struct admission;
struct uv_loop_s;
struct store;

struct store_letter {
    int64_t dead_id;
    struct jobid job_id;
    int class_code, attempts;
    struct span reason, app, task, custom_id, model_version, topic, payload;
    int32_t partition;
    int64_t offset, timestamp_ms, died_at_ms;
};

struct store_conf {
    const char *conninfo;
    const char *host, *build;  /* for the worker's row */
    const char *cluster;       /* names the Kafka cluster in sources of dead letters */
    const char *const *topics; /* per lane */
    const int *lane_codes;     /* per lane: what columns `priority` hold for it */
    int lane_count;
    int64_t lease_us;            /* 15 s */
    int64_t heartbeat_us;        /* 3 s */
    int64_t lease_margin_us;     /* 3 s: no first byte with less of the lease left */
    int64_t fence_after_us;      /* 5 s past its end */
    int64_t unbroken_us;         /* 20 s: only a connection that stood so long may fence */
    struct admission *admission; /* borrowed; NULL: no shared limits */
    const struct lane_conf
        *lanes;          /* with them: lane_count of these; as the keeper, who gets what */
    struct path *learns; /* borrowed: whose endpoints share what calls taught; NULL: none do */
    void *arg;
    void (*limits_moved)(void *arg); /* with them: shares or limits are others now */
    void (*claimed)(void *arg, struct job *job);
    void (*stored)(void *arg, struct job *job);
    /* Postgres refuses the row of this very job: its ending, or the one in `parked`. */
    void (*refused)(void *arg, struct job *job, const char *why);
    void (*park_refused)(void *arg, struct job *job, const char *why);
    /* It was claimed or stored, and its partition is no more: there is no place for either. */
    void (*gone)(void *arg, struct job *job);
    void (*parked)(void *arg, struct job *job);
    void (*buried)(void *arg, struct job *job);
    void (*paid)(void *arg, struct job *job);
    void (*pulled)(void *arg, const struct parked_row *row);
    /* Due rows of a key, of the lanes served, by app; lent for the call. */
    void (*due)(void *arg, int32_t wait_key, int lane, const struct pull_app *apps, int count);
    /* A batch that is cancelled, or a job that is skipped. False: to be told again. */
    bool (*cancelled)(void *arg, const struct jobid *id);
    /* All records that an operator leaves out; told again and again. */
    void (*skips)(void *arg, const struct skip *list, int count);
    /* All endpoints that an operator has paused, by id; told again and again. */
    void (*held)(void *arg, const int32_t *endpoint_ids, int count);
    void (*drain)(void *arg); /* this worker is to leave; told again and again */
    void (*oldest_live)(void *arg, int64_t oldest_live_ms);
    void (*parked_count)(void *arg, int32_t wait_key, int64_t rows);
    void (*others_wait)(void *arg, int lane);         /* what store_others_wait asked is so */
    void (*known)(void *arg, const struct jobid *id); /* so of store_ask_known */
    /* A dead letter to publish; the answer is store_published. */
    void (*publish)(void *arg, const struct store_letter *letter);
};

enum rc store_new(struct uv_loop_s *loop, const struct store_conf *conf, struct store **ret_store,
                  struct err *err) MUST_CHECK;
/* Marks the worker's row stopped when `clean`, closes. */
void store_free(struct store *s);

void store_claim(struct store *s, struct job *job);
void store_end(struct store *s, struct job *job);
void store_park(struct store *s, struct job *job);
void store_bury(struct store *s, struct job *job);
void store_pay(struct store *s, struct job *job); /* conf.paid tells: job->granted */
/* So many rows of each of these apps, each named once. What cannot be kept for the next flush is
 * forgotten: conf.due tells of it again. */
void store_pull(struct store *s, int32_t wait_key, int lane, const struct pull_app *apps,
                int count);
void store_published(struct store *s, int64_t dead_id, bool ok);
/* Rows parked for this endpoint because its credential was refused or its bill not paid are due
 * now: it has another credential. */
/* conf.held once more with what is known: the path has other endpoints. */
void store_tell_held(struct store *s);
void store_wake(struct store *s, int32_t wait_key);
/* A batch id was seen in a record: its row is made if nobody has. */
void store_batch_seen(struct store *s, const struct job_msg *msg, int lane);
/* Counts the rows that wait for this key, up to `most`; conf.parked_count tells. One at a time: a
 * question meanwhile is not heard. */
void store_count_parked(struct store *s, int32_t wait_key, int64_t most);
/* Do jobs of other apps stand in this lane's topic behind this one? One question at a time; more
 * are dropped. */
void store_others_wait(struct store *s, int lane, const struct job *job);
/* Which of these jobs (500 at most) have ended, or are parked? conf.known tells. One question at a
 * time; false: not now. */
bool store_ask_known(struct store *s, struct job *const *jobs, int n);

/* Asks for the records that are left out; conf.skips tells how they stand after this. */
void store_ask_skips(struct store *s);

/* Sends what was handed over: called after every turn of the loop. */
void store_flush(struct store *s);

bool store_may_claim(const struct store *s);
/* Before a first byte: more than the margin is left of the lease under which `worker_id` claimed,
 * and it has not been given back by store_stop. */
bool store_may_send(const struct store *s, int64_t worker_id);
bool store_is_up(const struct store *s);
int64_t store_worker_id(const struct store *s); /* 0: none yet */
int64_t store_lease_left_us(const struct store *s);
int64_t store_clock_offset_ms(const struct store *s); /* Postgres's clock minus ours */
int64_t store_parked_due(const struct store *s);
size_t store_queued(const struct store *s); /* jobs waiting for a statement here */

/* What the store edge has counted, for those who watch. */
struct store_figures {
    int64_t fenced; /* times this process was, since it started */
    int64_t lost;   /* calls of fenced workers that it marked as lost */
    /* Of the whole fleet, by the one worker that keeps house; 0 in the others. Letters are counted
     * up to STORE_LETTERS_COUNTED. */
    int64_t letters_open, letters_unpublished, batches_late;
};
enum { STORE_LETTERS_COUNTED = 10000 };
const struct store_figures *store_figures(const struct store *s);

/* Says good-bye: the lease is given back, and what this worker left open is for others to call from
 * then on. So no call may be in flight any more. Once `stopped` is called (at once, where Postgres
 * is away) store_free may follow. */
void store_stop(struct store *s, void (*stopped)(void *arg), void *arg);

#endif
