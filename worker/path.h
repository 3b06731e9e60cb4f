/*
 * path.h - the job's path: what happens to a job between two lines of path.c.
 *
 * The path decides; edges do. It is given events (a record came, a claim was answered, a call
 * ended), the time, and a table of edges; it reads no clock and no library, so that a simulation
 * runs it unchanged on a virtual clock with fake edges.
 */
#ifndef INFERQ_WORKER_PATH_H
#define INFERQ_WORKER_PATH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/catalogue.h"
#include "common/err.h"
#include "common/sign.h"
#include "worker/consumer.h"
#include "worker/job.h"
#include "worker/lanes.h"
#include "worker/learned.h"
#include "worker/pulls.h"
#include "worker/skips.h"

enum path_sight {
    SIGHT_FETCHED,
    SIGHT_BURIED,
    SIGHT_CALL_ENDED,  /* job->call->outcome */
    SIGHT_ENDED,       /* job->status, class: a result row was inserted */
    SIGHT_NOTHING_NEW, /* delivered again, already done or parked */
    SIGHT_PARKED,
    SIGHT_PAUSED,  /* job's endpoint was paused by its outcome */
    SIGHT_LIMITED, /* job's endpoint is paused: its rate limit is used up, as the reply says */
    SIGHT_ALERT,   /* an operator must act: for the class of the outcome, or for that of a row that
                      cannot be stored (job->bare) */
};

/* Edges answer later, from the loop, through the path_* events; never from within the call. */
struct path_edges {
    void *arg;
    void (*pause_lane)(void *arg, int lane, bool on);
    void (*store_offset)(void *arg, int lane, int32_t partition, uint32_t epoch, int64_t next);
    void (*release)(void *arg); /* the partitions may be given back now */

    bool (*may_claim)(void *arg);              /* Postgres answers and our lease stands */
    void (*claim)(void *arg, struct job *job); /* -> path_claimed */
    void (*store)(void *arg, struct job *job); /* -> path_stored or path_store_refused */
    void (*park)(void *arg, struct job *job);  /* -> path_parked or path_park_refused; also while
                                                  it runs (job->parking), it then stays ours */
    void (*bury)(void *arg, struct job *job);  /* -> path_buried */
    void (*pay)(void *arg, struct job *job);   /* job->owed_nusd of its route's -> path_paid */
    /* So many rows of each of these apps (lent for the call). -> path_pulled ... */
    void (*pull)(void *arg, int32_t wait_key, int lane, const struct pull_app *apps, int count);
    /* How many rows wait in `parked` for this key, counted up to `most`? -> path_parked_count */
    void (*count_parked)(void *arg, int32_t wait_key, int64_t most);
    /* Do other apps' jobs stand in this lane's topic behind this one? -> path_others_wait, if so */
    void (*others_wait)(void *arg, int lane, const struct job *job);
    /* Does Postgres know these already? -> path_known, of each that has ended or is parked; of the
     * others nothing is told. False: not now. `jobs` are borrowed for the call. */
    bool (*ask_known)(void *arg, struct job *const *jobs, int n);
    /* Which records are left out, as the table stands from now on? -> path_skips */
    void (*ask_skips)(void *arg);

    enum rc (*call)(void *arg, struct job *job, struct err *err); /* -> path_called */
    void (*abort)(void *arg, struct job *job);
    /* Blanks the endpoint's credential in text that is to be kept. */
    void (*scrub)(void *arg, int endpoint, char *text, size_t n);

    uint64_t (*random)(void *arg);
    int64_t (*mono_us)(void *arg);
    int64_t (*boot_us)(void *arg); /* runs on while the machine sleeps: leases of limits */
    int64_t (*wall_ms)(void *arg); /* Postgres's clock as far as it is known */

    /* No job refers any more to this catalogue, in whose place path_take put another. */
    void (*unused)(void *arg, struct catalogue *catalogue);

    /* What people watch; each is one line in ops.c or nothing in a simulation. */
    void (*seen)(void *arg, enum path_sight what, const struct job *job);
};

struct admission;

struct path_conf {
    struct lane_conf lanes[LANES_MAX];
    int lane_count;
    struct catalogue *catalogue;  /* borrowed until edges.unused names it; the last for good */
    const struct sign_ring *ring; /* NULL: signatures are not checked */
    int max_in_flight;            /* calls at once in this process */
    int max_attempts;             /* where the job does not say */
    int64_t memory_bytes;         /* the global byte budget */
    int64_t reply_max_bytes;      /* one reply at most */
    int64_t short_wait_us;        /* waits up to this stay in memory */
    int64_t takeover_us;          /* a job that is live elsewhere is looked at again after: when its
                                     owner, if dead, can be fenced */
    int64_t parked_max;           /* jobs that wait in `parked` for one endpoint, roughly */
    struct admission *admission;  /* borrowed; NULL: no limits are shared */
    int64_t offset_span;          /* records a job may hold back: at half of it a running job's
                                     payload is parked */
    int64_t fleet_lease_us;       /* a worker's lease; 0: what endpoints learn is not shared */
};

struct path;

enum rc path_new(const struct path_conf *conf, const struct path_edges *edges,
                 struct path **ret_path, struct err *err) MUST_CHECK;
void path_free(struct path *p);

/* Other settings, all or none: lanes, ring, and the numbers of `conf`; its catalogue and
 * takeover_us, fleet_lease_us are not looked at. They hold from the next decision on; nothing that
 * is under way is touched, so a lower bound is reached as calls end. The ring that was is not used
 * any more when it returns. RC_REJECT: lanes_configure's. */
enum rc path_configure(struct path *p, const struct path_conf *conf, struct err *err) MUST_CHECK;
/* What path_configure would answer. */
enum rc path_may_configure(const struct path *p, const struct path_conf *conf,
                           struct err *err) MUST_CHECK;
/* Room for what a catalogue that was merged with the one in force has more. Changes nothing that
 * can be seen, and may be repeated; RC_NOMEM: so too. */
enum rc path_prepare(struct path *p, const struct catalogue *next, struct err *err) MUST_CHECK;
/* Puts it in force; path_prepare has made room for it. Jobs that wait are routed anew by it, as a
 * restart would; what is claimed, called or being stored stays with the entries that it has, and
 * the catalogue that was stays until edges.unused names it. What waits in `parked` for an endpoint
 * that new jobs have moved off is pulled whether that is paused or not, until a job goes there all
 * the same. */
void path_take(struct path *p, struct catalogue *next);
/* An endpoint has another credential: a pause that the old one brought ends, and a probe goes. */
void path_renewed(struct path *p, int endpoint);

/* Events. */
void path_record(struct path *p, const struct record *record);
void path_assigned(struct path *p, int lane, int32_t partition, uint32_t epoch);
void path_revoke(struct path *p, bool lost);
void path_claimed(struct path *p, struct job *job); /* job->claim_answer */
void path_called(struct path *p, struct job *job);  /* job->call->http.facts */
void path_stored(struct path *p, struct job *job);  /* job->stored */
void path_store_refused(struct path *p, struct job *job, const char *why);
void path_gone(struct path *p, struct job *job); /* claimed or stored: its partition is dropped */
void path_parked(struct path *p, struct job *job);
void path_park_refused(struct path *p, struct job *job, const char *why);
void path_buried(struct path *p, struct job *job);
void path_paid(struct path *p, struct job *job); /* job->granted */
/* One parked row, now taken by us; the path copies what it keeps. */
struct parked_row;
void path_pulled(struct path *p, const struct parked_row *row);
/* So many rows of this key and lane are due, by app: the path pulls what it has room for, in equal
 * parts. A key is an endpoint's id, or a limit's negated, or 0. */
void path_due(struct path *p, int32_t wait_key, int lane, const struct pull_app *apps, int count);
/* A batch that is cancelled, or a job that is skipped. False: no memory; tell it again. */
bool path_cancelled(struct path *p, const struct jobid *id);
/* The records that an operator leaves out: they are not decoded, and become dead letters of their
 * bytes. Records of partitions that were just assigned wait for it. */
void path_skips(struct path *p, const struct skip *list, int count);
/* All endpoints that an operator has paused, by id: they get no calls, their jobs wait in Postgres.
 */
void path_held(struct path *p, const int32_t *endpoint_ids, int count);
void path_oldest_live(struct path *p, int64_t oldest_live_ms);
/* The limits in force, or this worker's shares of them, are others now. */
void path_limits_moved(struct path *p);
/* Right before the first byte of a job's call: do its limits' leases still hold? false: it may not
 * leave. */
bool path_may_leave(struct path *p, struct job *job);
/* What the fleet is to know of endpoints: up to `most`; returns how many. Asking changes nothing.
 */
int path_learned_says(struct path *p, struct learned_say *ret, int most);
/* These were sent, in an exchange whose answer is all that the fleet knows: */
void path_learned_sent(struct path *p, const struct learned_say *list, int n);
/* the rows of all endpoints; sent_us: by edges.mono_us. */
void path_learned_heard(struct path *p, const struct learned_row *rows, int n, int64_t sent_us);
void path_learned_lost(struct path *p); /* no answer comes */
/* A probe that was this worker's to send is not any more. */
void path_learned_forget_probe(struct path *p);
/* So many rows wait for this key. True: with that its endpoint's parking has become full, or has
 * room again. */
bool path_parked_count(struct path *p, int32_t wait_key, int64_t rows);
/* This job has ended, or is parked, as Postgres said after it was asked for. */
void path_known(struct path *p, const struct jobid *id);
/* Behind the app that fills this lane there wait others' jobs. */
void path_others_wait(struct path *p, int lane);

/* Time has passed: moves what is due, dispatches. Returns when it wants to be called next
 * (monotonic us, INT64_MAX: only after an event). */
int64_t path_tick(struct path *p);

/* Nothing new starts; what waits is let go (its offsets stand still). path_idle then says when
 * nothing is left that must end here. */
void path_drain(struct path *p);
/* Gives up calls in flight, for good: what is claimed from here on is not sent. The outcomes are
 * stored. */
void path_abort_calls(struct path *p);
bool path_idle(const struct path *p);

/* For gauges. */
const char *job_state_name(enum job_state state); /* "throttle" */
size_t path_jobs(const struct path *p, enum job_state state);
size_t path_lane_jobs(const struct path *p, int lane);
bool path_lane_paused(const struct path *p, int lane);
int path_in_flight(const struct path *p);
int path_endpoint_in_flight(const struct path *p, int endpoint);
int path_endpoint_bears(const struct path *p, int endpoint); /* calls at once; 0: paused */
bool path_parking_full(const struct path *p, int32_t wait_key);
/* In force; at the same place, however they are configured. */
const struct lane_conf *path_lanes(const struct path *p);
int64_t path_endpoint_paused_us(const struct path *p, int endpoint); /* left; 0: not paused */
int64_t path_memory_used(const struct path *p);
/* Since its batch was made, of the job that has waited longest in this lane; 0: none waits. */
int64_t path_lane_oldest_us(const struct path *p, int lane);
int path_partitions_frozen(const struct path *p); /* their watermarks stand still: no memory */

struct parked_row {
    struct jobid job_id;
    int number, attempts, reasks, larger;
    int64_t spent_nusd; /* -1: not known */
    int64_t waited_us, limit_us, model_us;
    int32_t limit_id;
    struct span limit_waits; /* waits.h */
    struct span topic;
    int32_t partition;
    int64_t offset, timestamp_ms;
    struct span payload, signature, traceparent;
    int lane;
};

#endif
