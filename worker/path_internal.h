/*
 * path_internal.h - what path.c (the path of one job) and path_flow.c (records in, time,
 * partitions, lanes) share. Nobody else includes it.
 */
#ifndef INFERQ_WORKER_PATH_INTERNAL_H
#define INFERQ_WORKER_PATH_INTERNAL_H

#include "common/buf.h"
#include "worker/admission.h"
#include "worker/call_pool.h"
#include "worker/deadlines.h"
#include "worker/endpoint.h"
#include "worker/jobids.h"
#include "worker/jobtable.h"
#include "worker/learned.h"
#include "worker/partitions.h"
#include "worker/path.h"
#include "worker/retry_budget.h"
#include "worker/tokens.h"

enum { PARKING_MAX = 2000 /* jobs on their way to `parked` at once */ };

struct outspec;

/* The rows of `parked` that wait for one endpoint or limit. */
struct parking {
    int32_t key;     /* of a limit: its id negated */
    int64_t rows;    /* as last counted, and those sent by this worker that it may have missed */
    int64_t counted; /* what the last count said */
    int64_t missed;  /* sent since it was asked for, or on their way then */
    int64_t look_at_us;
    bool told_full; /* by the last count */
    bool moved_off; /* new jobs go elsewhere, and so do these: its pauses do not hold them back */
};

/* A catalogue that is in force, or was when a job was routed that is still here. */
struct served {
    struct catalogue *cat;
    struct retry_budget *budgets; /* of its routes, then of its model versions */
    size_t jobs;
    struct served *older;
};

struct path {
    struct path_conf conf;
    struct path_edges edges;
    struct job_list in_state[JOB_STATE_COUNT]; /* all but THROTTLE, whose jobs `lanes` holds */
    struct lanes *lanes;
    struct served *served;      /* by conf.catalogue; behind it those that jobs still refer to */
    struct served *next_served; /* made ready by path_prepare */
    int endpoint_room, version_room;
    struct endpoint *endpoints; /* one per endpoint of the catalogue */
    int64_t *model_paused;      /* per model version: no calls before; its endpoint has it not */
    struct parking *parking;    /* per endpoint */
    struct parking *limit_parking;
    int limit_parking_count;
    struct learned *learned; /* per endpoint */
    struct tokens *tokens;   /* per model version */
    struct partitions *partitions;
    struct deadlines *due;
    struct jobtable *table;
    struct call_pool calls;
    struct jobids cancelled; /* batches, and single jobs that are skipped */
    bool cancelled_anew;     /* some of it may wait in a lane */
    int64_t look_over_us;    /* the jobs of lanes that stand still, next */
    struct skips skips;
    uint32_t skips_epoch; /* the assignment for which they were asked for */
    bool skips_known;     /* since then they were told */
    struct buf spec_key;  /* the output spec compiled last: batches ask for the same one */
    struct outspec *spec;
    int64_t oldest_live_ms;
    int64_t memory_used;
    int64_t next_behind_check_us;
    int64_t release_at_us; /* while `revoking` */
    struct {
        bool paused;
        int64_t paused_us;      /* since when, if it is */
        int64_t ask_at_us;      /* whether others wait behind the app that fills it */
        int64_t crowd_until_us; /* they do */
    } lane[LANES_MAX];
    uint64_t pulls;           /* so far */
    bool limited;             /* there are limits: jobs have gates */
    uint32_t limits_seen;     /* generation of those that waiting jobs were held against */
    int64_t limits_ask_at_us; /* what limits hold back is worth asking again */
    int64_t known_until_us;   /* of the records that come some have been here before */
    bool draining, revoking;
    bool gave_up;     /* its calls in flight: no more are begun */
    bool not_in_heap; /* some waiting job has no place in `due` for want of memory */
};

/* A look at what may go. */
struct look {
    struct path *p;
    int64_t now_us;
};

/* The arrows of the path. */
bool path_may_move(enum job_state from, enum job_state to);
/* The one place where a job changes its state, and so its list. */
void path_move(struct path *p, struct job *job, enum job_state next);
/* Takes a job as far as it can go now. After it returns the job may be gone. */
void path_advance(struct path *p, struct job *job);
/* Ends a job here; `done`: the watermark may pass its record. */
void path_leave(struct path *p, struct job *job, bool done);
/* Frees a job that is SETTLED. */
void path_forget(struct path *p, struct job *job);
/* Sends a waiting job to `parked`, to be looked at again at `next_us` (monotonic). Always false. */
bool path_park(struct path *p, struct job *job, int32_t key, enum class reason, int64_t next_us);
/* Is there room in `parked` beside those that wait for its endpoint? Who has a row there has its
 * place. */
bool path_may_park(const struct path *p, const struct job *job);
/* Puts a job in RETRY or WAIT to sleep until `due_us`. */
void path_wait_until(struct path *p, struct job *job, int64_t due_us);
/* Ends a job that waits and is not to be called any more: its deadline is over, its batch
 * cancelled, its partition dropped. True: it is with the store edge. */
bool path_ended_by_time_or_hand(struct path *p, struct job *job);
/* A job in RETRY or WAIT is due. True: path_advance is to follow; false: an edge has it now. */
bool path_due_job(struct path *p, struct job *job);
/* The catalogue in force has this job's entries from now on; those it had may go. */
void path_serve(struct path *p, struct job *job);
/* The job gives up its catalogue's entries. */
void path_unserve(struct path *p, struct job *job);
/* A job in THROTTLE was routed by a catalogue that is not in force any more: ROUTE decides anew.
 * After it returns the job may be gone. */
void path_reroute(struct path *p, struct job *job);
/* path_route.c: who serves the job by the catalogue in force: its version, endpoint, retry policy,
 * price, and estimates of one call. False: nobody, and how it ends. */
bool path_choose(struct path *p, struct job *job, int *ret_class, struct err *why);
/* The most output tokens of one call; -1: not bounded. */
int64_t path_worst_output_tokens(const struct job *job);
/* The most bytes of one reply. */
size_t path_reply_cap(const struct path *p, const struct job *job);
/* May one more call cost more than max_cost leaves? It bounds all calls of the job, and an unknown
 * cost is not zero. */
bool path_over_cost(const struct job *job);
extern const char path_over_cost_reason[];
/* Ends a job that is not to be called any more: dead. */
void path_end_dead(struct path *p, struct job *job, enum class class, const char *why);
/* path_retry.c: the budgets of a catalogue's routes; false: no memory. */
bool path_make_budgets(struct served *served, const struct catalogue *cat);
/* What the routes of `from` have, those of `to` that are the same go on with. */
void path_take_budgets(struct served *to, const struct served *from);
/* Of a job that was routed. */
struct retry_budget *path_budget_of(const struct job *job);
/* Is the job's next call none that its route's budget is for, or is it paid for? */
bool path_may_call(struct path *p, struct job *job);
/* It is not: the job goes to `parked`, and asks again when its turn may have come. False: too many
 * are on their way there. */
bool path_hold_retry(struct path *p, struct job *job);
/* The call that was paid for is not made. */
void path_unpay(struct path *p, struct job *job);
/* A call of the job has begun, or could not; it was answered, by what its outcome says. */
void path_count_call(struct path *p, struct job *job, bool begun);
void path_count_answer(struct path *p, struct job *job);
/* Has its route money for calls after one of which nobody knows what came, and is it to be asked?
 */
bool path_owes(const struct job *job, enum class class);
/* Asks, where it is: path_paid goes on, or ends the job. Always false. */
bool path_pay(struct path *p, struct job *job);
/* path_output.c: an outcome that is OK becomes bad_output where the output is not what the job
 * asked for; job->validation and job->complaint say more. */
void path_check_output(struct path *p, struct job *job);
/* path_limits.c: into its lane and out of it, beside the gate of its limits. */
void path_enter_lane(struct path *p, struct job *job);
void path_leave_lane(struct path *p, struct job *job);
/* struct flow_ask's question; arg: struct look. */
int64_t path_limits_free_at(void *arg, struct job *job);
/* The limit that no call of the job can be within; the reason says more. */
bool path_over_limit(struct path *p, struct job *job, struct err *why);
/* Its call takes its units of all its limits; it ends, with what it used, or has never left. */
void path_limits_take(struct path *p, struct job *job);
void path_limits_settle(struct path *p, struct job *job);
void path_limits_give_back(struct path *p, struct job *job);
/* What waits for endpoints that are closed is not wanted of their limits. */
void path_limits_close(struct path *p, int64_t now_us);
/* Before its lanes are emptied for a rebalance, and once that has dealt partitions. */
void path_limits_expect_back(struct path *p);
void path_limits_dealt(struct path *p);
/* Rows of an app are due in `parked`. */
void path_limits_due(struct path *p, int lane, struct span app, int64_t rows);
/* Room for the gates of this catalogue's model versions. */
enum rc path_limits_prepare(struct path *p, const struct catalogue *next,
                            struct err *err) MUST_CHECK;
/* A record came that Postgres knows already, or that may be so: there are more like it. */
void path_expect_known(struct path *p);
/* Those of them that limits hold back are asked for, so that they leave without taking turns. */
void path_ask_known(struct path *p, int64_t now);
/* path_learned.c: calls wait for the reset of a rate limit that is used up, as a reply says,
 * instead of running into 429s. True: the endpoint was paused just now. */
bool path_heed_rate_limits(struct path *p, const struct job *job, int64_t now);
/* path_parking.c: a job is on its way to `parked`. */
void path_parking_sent(struct path *p, const struct job *job);
/* Jobs of paused endpoints leave for `parked`; so do those that hold back others, or offsets. */
void path_park_paused(struct path *p, int64_t now);
void path_park_behind(struct path *p, int64_t now);
/* Counts the rows of keys for which that is due. */
void path_count_parked(struct path *p, int64_t now);
/* Claims what can run now. */
void path_dispatch(struct path *p);
/* What a job takes of the byte budget while no call is made for it. */
size_t path_record_bytes(const struct job *job);
void path_reserve(struct path *p, struct job *job, size_t bytes);
/* Gives a job's call back to the pool; path_move does that where a job goes to wait. */
void path_end_call(struct path *p, struct job *job);
void path_job_free(struct path *p, struct job *job);

#endif
