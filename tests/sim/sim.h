/*
 * sim.h - the simulated world: its clock, its queue of events, and who lives in it.
 *
 * One thread, one event at a time. The workers are the real path and the real Postgres edge
 * (worker/path*.c, worker/store*.c and all they use); replaced, at link time, are the clocks
 * (world.c), the connections to Postgres (sim_pg.c) and the housekeeping timer (sim_worker.c).
 * Kafka (kafka.c), Postgres (fake_pg.h) and the models (models.c) are played. check.c watches.
 */
#ifndef INFERQ_TESTS_SIM_SIM_H
#define INFERQ_TESTS_SIM_SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "common/catalogue.h"
#include "common/jobid.h"
#include "tests/sim/fake_pg.h"
#include "tests/sim/plan.h"
#include "worker/path.h"
#include "worker/store.h"

/* Unix time at the world's beginning: ten minutes before a midnight. */
#define SIM_WALL_US INT64_C(1790034600000000)

enum {
    SIM_MODELS = PLAN_ENDPOINTS + 1, /* the last is retired */
    SIM_VERSIONS = 2 * SIM_MODELS,
    SIM_ROUTES = PLAN_ENDPOINTS + 1 + SIM_VERSIONS, /* of models, of app2; then each version's */
};

struct sim;
struct sim_worker;
struct pg;

/* Something that happens; `arg` lives as long as the world. `w` is NULL for the world's own. */
typedef void (*sim_fn)(struct sim *s, struct sim_worker *w, void *arg);

struct sim_event {
    int64_t at_us;
    uint64_t seq;
    sim_fn fn;
    void *arg;
    int slot;      /* -1: the world's own */
    uint32_t life; /* of that worker: events of an earlier life are dropped */
};

/* ---- Kafka (kafka.c) -------------------------------------------------------------------- */

struct sim_record {
    int job;
    int64_t offset, timestamp_ms;
    struct span value;
};

struct sim_partition {
    struct sim_record *records; /* owned */
    int count, room;
    int64_t end;       /* offset of the next record */
    int64_t committed; /* by the group; 0 at first */
};

struct sim_held {
    int lane, partition;
    bool paused;
    int next;             /* index of the next record to deliver */
    int64_t done, stored; /* offsets: of the path, and with the client library; -1 none */
};

/* The consumer's side: what consumer.c and its library keep. */
struct sim_consumer {
    bool member, stopped, revoking, lost, delivering, told;
    int generation;
    uint32_t epoch;
    bool lane_paused[PLAN_LANES];
    struct sim_held *held;
    int held_count, turn;
    int64_t commit_seq;
};

/* The coordinator's side, per slot. */
struct sim_member {
    bool in, joined;
    uint32_t life;
    int64_t heard_us, commit_seq;
};

struct sim_kafka {
    struct sim_partition *of[PLAN_LANES]; /* the plan's number of partitions each */
    struct sim_member *members;           /* by slot */
    int generation;
    bool rebalancing;
    int64_t down_until_us;
};

/* ---- models (models.c) ------------------------------------------------------------------ */

enum reply_kind {
    REPLY_GOOD,
    REPLY_BAD_OUTPUT, /* whole, but not what was asked for; or empty */
    REPLY_REFUSED,
    REPLY_GARBLED,
    REPLY_OTHER_MODEL, /* good, of a model of another name */
    REPLY_400,
    REPLY_401,
    REPLY_403,
    REPLY_404,
    REPLY_429,
    REPLY_500,
    REPLY_503,
    REPLY_502,
    REPLY_CUT,
    REPLY_TIMEOUT,
    REPLY_OVERSIZED,
    REPLY_409,
    REPLY_TOO_LONG, /* 400: more than its context takes */
    REPLY_KINDS,
};

/* One request as the model saw it: written at its first byte. */
struct sim_seen {
    int job, number, slot;
    uint32_t life;
    int64_t worker_id, at_us;
    enum reply_kind kind;
    bool complains; /* it says what was wrong with an earlier answer */
    bool open;      /* its sender still waits for the reply */
    bool given;     /* it got the reply (or its end) as the model meant it */
    int earlier;    /* the job's one before, index + 1; 0: none */
};

struct sim_call;

/* ---- limits (limits.c) ------------------------------------------------------------------ */

/* One call as limits see it, from its first byte on. */
struct sim_load {
    struct sim_load *next; /* of those that have not ended at the model */
    int endpoint, version, app, lane;
    int64_t worker_id, left_us, way_us;
    int64_t input, output; /* what it is known to take, or is reckoned at */
    bool arrived, ended;
    unsigned let_go; /* bit k: of its kth limit; its worker counts as dead, and others go on */
};

struct sim_arrival {
    int64_t at_us, units;
};

/* What the models see of a limit. */
struct sim_limit {
    int32_t limit_id;
    struct sim_arrival *arrivals; /* owned */
    size_t first, count, room;
    int64_t sum;       /* of the last 60 s */
    int64_t in_flight; /* at the models, of workers that are not taken for dead */
    int64_t day, day_sum;
    int64_t largest; /* units of a call */
    int64_t fullest; /* the most that was seen, by what was allowed then, in permille */
};

/* ---- workers (sim_worker.c) ------------------------------------------------------------- */

enum sim_phase { SIM_DOWN, SIM_RUNNING, SIM_DRAINING, SIM_ABORTING, SIM_STOPPING };

/* What one worker knows of one endpoint: it is paused for the fleet, or to be probed. */
struct sim_known {
    bool closed;
    int64_t since_us; /* on the worker's clock */
    int64_t alive_us; /* a call of its own showed last that it works */
};

/* Calls of one worker to one endpoint since that refused to serve. */
struct sim_ramp {
    bool down;
    int64_t since_us; /* on the worker's clock */
    int begun, ended;
};

/* What a worker has called by one route within the last minute or so; for its retry budget. */
struct sim_retries {
    struct sim_retry {
        int64_t at_us; /* on the worker's clock */
        enum sim_retry_kind { RETRY_FIRST, RETRY_CALL, RETRY_ANSWERED } kind;
    } log[512];
    int count;
    int64_t dropped_us; /* of the newest that had no place any more */
};

struct sim_worker {
    struct sim *sim;
    int slot;
    uint32_t life;
    enum sim_phase phase;
    struct path *path;
    const struct catalogue *catalogue; /* in force */
    struct store *store;
    struct admission *admission;
    struct sim_consumer consumer;
    struct sim_call *calls;
    struct pg *conns[3];
    int conn_count;
    bool lose_commit; /* of offsets: the next one does not arrive */
    bool stopped, in_turn;
    bool dying; /* killed within this very event: nothing leaves it any more */
    int64_t frozen_until_us;
    int64_t pg_silent_until_us;
    int64_t drain_until_us; /* its own monotonic clock */
    int64_t turn_us;        /* how long turns take at most */
    int64_t turn_at_us;     /* when the loop's turn ends, on the world's clock */
    int64_t came_us;
    int64_t told_held_us[PLAN_ENDPOINTS]; /* by its own clock: it knows them paused; 0: not */
    uint64_t draws;
    /* its clocks */
    int64_t clock_base_us, slept_us, wall_off_us;
    int ppm;
    struct sim_ramp ramp[PLAN_ENDPOINTS];
    struct sim_retries *retries[SIM_ROUTES]; /* made when needed */
    struct sim_known known[PLAN_ENDPOINTS];
    /* the store edge's timer */
    uv_timer_t *timer;
    uv_timer_cb timer_fn;
    int64_t timer_every_us;
    /* crashes that were planned for an arrow or a statement */
    struct plan_fault *watching[8];
    int watching_count;
    char name[16];
};

/* ---- the world (world.c) ---------------------------------------------------------------- */

struct sim_job {
    struct jobid id, batch_id;
    struct span value; /* the record's bytes */
    struct span signature;
    bool accepted;  /* its record is in Kafka, and it is a job */
    bool corrected; /* an owner that was fenced told of its call after all: it may be lost by then,
                       or others may have read that it will be */
    int calls;      /* seen by models */
    int seen;       /* the last of these, index + 1 */
    int asked_by;   /* slot of the worker that claimed for it last, + 1 */
    int asked_for;  /* that call's number, as it knew it */
};

struct sim_counts {
    int64_t seeds, jobs, calls, crashes, faults, extra, events, probes;
    int64_t fault[FAULT_KINDS];
    int64_t arrow[JOB_STATE_COUNT][JOB_STATE_COUNT];
    int64_t reply[REPLY_KINDS];
    int64_t over_limit;                       /* verdicts */
    int64_t crossed;                          /* rows parked beside their result's commit */
    int64_t refused;                          /* rows */
    int64_t lost, doubled, unrecorded, other; /* seeds that broke a guarantee, by the promise */
    int64_t ended[8];
};

/* What happened so far, for curves. */
struct sim_tally {
    int64_t begun, first; /* calls; of these each job's first */
    int64_t unsent, refused, overloaded, answered;
    int64_t at_models;                                          /* now, or on their way there */
    int64_t units[PLAN_LIMITS], by_app[2], by_lane[PLAN_LANES]; /* that arrived */
};

struct sim {
    const struct plan *plan;
    struct sim_counts *counts;
    bool telling; /* a story is written to stdout */
    int64_t now_us;
    uint64_t seq, hash;
    struct sim_event *heap;
    size_t heap_count, heap_cap;
    struct sim_worker *running; /* whose code runs: its clocks hold */
    void *arena;

    struct sim_kafka kafka;
    struct fake_pg *db;
    int64_t sessions; /* given so far */
    void *late;       /* transactions that run though nobody waits for them any more */
    int64_t pg_down_until_us, pg_slow_until_us, pg_error_until_us;
    struct sim_worker *workers;            /* by slot */
    struct plan_fault faults[PLAN_FAULTS]; /* the plan's, with what is left of them */

    struct catalogue catalogue;
    struct catalogue moved; /* the same entries; other versions serve, at the next endpoint */
    struct sign_ring *ring; /* NULL: signatures are not asked for */
    struct sim_job *jobs;
    int32_t *by_id; /* open addressing by job id: index + 1 */
    size_t by_id_mask;
    struct sim_seen *seen;
    size_t seen_count, seen_cap;
    struct sim_limit limits[PLAN_LIMITS], all; /* all: every call */
    struct sim_load *loads;
    struct sim_tally tally;
    int64_t endpoint_until_us[PLAN_ENDPOINTS];
    int64_t held_until_us[PLAN_ENDPOINTS]; /* by an operator */
    enum fault_kind endpoint_fault[PLAN_ENDPOINTS];
    bool calm; /* faults are over */
    struct sim_paid {
        int64_t day, of_day_nusd, nusd;
    } paid[PLAN_ENDPOINTS + 1]; /* by route: what calls again after unknown ones cost, at most */
    bool crossed;               /* a row was parked beside its result's commit */
    int64_t results, letters, buried, by_status[8]; /* as check.c counted them */

    /* what broke first */
    char broken[8];
    char why[512];
    int64_t broken_us;
    jmp_buf back; /* where an assertion that fails leads */
    bool in_play;
};

/* The world that runs: clocks and connections have no argument to find it by. */
extern struct sim *sim_here;

void *sim_alloc(struct sim *s, size_t n); /* zeroed; lives as long as the world */
void sim_after(struct sim *s, int64_t in_us, sim_fn fn, void *arg);
void sim_after_for(struct sim_worker *w, int64_t in_us, sim_fn fn, void *arg);
/* Runs until nothing is left, something broke, or `until_us`. */
void sim_run(struct sim *s, int64_t until_us);
void sim_world_done(struct sim *s);

uint64_t sim_draw(struct sim_worker *w); /* the worker's own chance */
int64_t sim_range(uint64_t draw, int64_t least, int64_t most);

/* The first guarantee to break is kept; the run ends there. */
void sim_break(struct sim *s, const char *guarantee, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Part of what a seed replays: goes into its hash. */
void sim_note(struct sim *s, uint64_t what, uint64_t a, uint64_t b);
/* A line of the story. */
void sim_tell(struct sim *s, const struct sim_worker *w, const char *fmt, ...) PRINTF_LIKE(3, 4);
#define TELL(s, w, ...)                      \
    do {                                     \
        if ((s)->telling)                    \
            sim_tell((s), (w), __VA_ARGS__); \
    } while (0)

static inline int64_t sim_wall_us(const struct sim *s)
{
    return SIM_WALL_US + s->now_us;
}

/* ---- who does what ---------------------------------------------------------------------- */

int sim_job_of(const struct sim *s, const struct jobid *id); /* -1: none of ours */
bool sim_is_job(const struct sim *s, int job); /* its record makes a job, and no mere letter */

void sim_jobs_make(struct sim *s);
void sim_catalogue_make(struct sim *s);
struct span sim_endpoint_key(int endpoint); /* in limit_learned */

void kafka_begin(struct sim *s);
void kafka_join(struct sim_worker *w);
void kafka_pause(struct sim_worker *w, int lane, bool on);
void kafka_store(struct sim_worker *w, int lane, int32_t partition, uint32_t epoch, int64_t next);
void kafka_release(struct sim_worker *w);
void kafka_stop(struct sim_worker *w);
void kafka_leave(struct sim_worker *w); /* cleanly */
void kafka_move(struct sim *s);         /* a rebalance */
bool kafka_settled(const struct sim *s);
void kafka_done(struct sim *s);

enum rc models_call(struct sim_worker *w, struct job *job, struct err *err);
void models_abort(struct sim_worker *w, struct job *job);
void models_forget(struct sim_worker *w); /* it died: its connections are closed */
/* A job whose call a living process waits for, as this worker id; -1: none. */
int models_waited_for(const struct sim *s, int64_t worker_id);

/* What the model reports that a call took, and it is so. */
void sim_usage(const struct sim *s, int job, int64_t *ret_input, int64_t *ret_output);

void limits_begin(struct sim *s);
void limits_done(struct sim *s);
/* A first byte leaves: it arrives a little later, and is accepted or turned away. */
struct sim_load *limits_leave(struct sim_worker *w, const struct job *job, int index,
                              bool accepted);
int64_t limits_calls(const struct sim *s); /* of the last 60 s that were accepted, at all models */
int64_t limits_minute(const struct sim *s, int limit); /* its units of the last 60 s */
/* The model has ended it, or its sender hung up; again: nothing. */
void limits_end(struct sim *s, struct sim_load *load);
/* This worker's row of the limit was deleted. */
void limits_let_go(struct sim *s, int64_t limit_id, int64_t worker_id);
struct fake_share_row;
/* A share moves; NULL: there was, or is, no row. */
void limits_share(struct sim *s, const struct fake_share_row *row,
                  const struct fake_share_row *before);
/* Who holds what, for the story. */
void limits_tell(struct sim *s);
/* A job of this worker ends as over_limit; one that runs is claimed. */
void limits_refused(struct sim_worker *w, const struct job *job);
void limits_asked(struct sim_worker *w, const struct job *job);
/* How long all calls of this world may take within the limits, roughly and at most. */
int64_t limits_longest_us(const struct sim *s);

void sim_pg_begin(struct sim *s);
void sim_pg_done(struct sim *s);
void sim_pg_cut(struct sim_worker *w, int conn, bool reply);
/* Its heartbeats hang for `for_us`; claims from `later_us` on, until the same moment. */
void sim_pg_stick(struct sim_worker *w, int64_t for_us, int64_t later_us);
/* Its heartbeats hang for `for_us`; what its claims are answered meanwhile it hears after that. */
void sim_pg_answer_late(struct sim_worker *w, int64_t for_us);
void sim_pg_restart(struct sim *s, int64_t down_us);
void sim_pg_freeze(struct sim_worker *w); /* it died: nobody waits for answers */
/* What a cancelled batch tells everybody that listens. */
void sim_pg_notify(struct sim *s);
/* One transaction from outside. */
void sim_pg_run(struct sim *s, const char *statement);

void sim_worker_start(struct sim_worker *w);
void sim_worker_crash(struct sim_worker *w);
void sim_worker_term(struct sim_worker *w);
/* Settings that `draw` says are put in force, and an endpoint has another credential. */
void sim_worker_reload(struct sim_worker *w, uint64_t draw);
void sim_worker_again(struct sim *s, int slot, int64_t in_us);
int64_t sim_worker_mono(const struct sim_worker *w);
int64_t sim_worker_boot(const struct sim_worker *w);
void sim_worker_turn(struct sim_worker *w);

void faults_begin(struct sim *s);
void faults_arrow(struct sim_worker *w, enum job_state from, enum job_state to);
void faults_sent(struct sim_worker *w);

void check_txn(struct sim *s, struct sim_worker *w);
void check_committed(struct sim *s, int lane, int partition, int64_t from, int64_t to);
void check_first_byte(struct sim *s, struct sim_worker *w, const struct job *job, int index);
/* A call leaves for the HTTP edge; what came of it. */
/* It hears from Postgres whether the fleet has closed the endpoint; it asked at `sent_us`. */
void check_learned(struct sim_worker *w, int endpoint, bool closed, int64_t sent_us);
void check_lives(struct sim_worker *w, int endpoint, const struct http_facts *facts);
void check_dispatched(struct sim *s, struct sim_worker *w, const struct job *job);
void check_call_begun(struct sim *s, struct sim_worker *w, int endpoint, const struct job *job);
void check_call_ended(struct sim *s, struct sim_worker *w, const struct job *job,
                      const struct http_facts *facts);
/* A claim leaves for the store edge; a call for the HTTP edge; what the model said (-1: nothing).
 */
void check_claimed(struct sim *s, struct sim_worker *w, const struct job *job);
void check_retry_begun(struct sim *s, struct sim_worker *w, const struct job *job);
void check_retry_ended(struct sim *s, struct sim_worker *w, const struct job *job, int kind);
/* The model that a version is of, by its row: its number; the retired one has none of ours. */
int sim_model_of(const struct sim *s, int64_t model_version_id);
void check_worker(struct sim *s, const struct sim_worker *w);
bool check_at_rest(struct sim *s);
void check_end(struct sim *s);

/* Runs a plan. True: every guarantee held; else `s->broken` and `s->why` say which did not. The
 * caller gives the world (zeroed or used before) and clears it with sim_world_done. */
bool sim_play(struct sim *s, const struct plan *plan, struct sim_counts *counts, bool telling);

#endif
