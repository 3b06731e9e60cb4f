/*
 * plan.h - what a seed stands for: settings, jobs, records and faults (pure).
 *
 * A plan is drawn from its seed before anything runs, so that a failing one can be made smaller: an
 * entry that is switched off leaves everything else as it was, because all chance at run time is
 * drawn per thing (sim_draw) and never from one common stream.
 */
#ifndef INFERQ_TESTS_SIM_PLAN_H
#define INFERQ_TESTS_SIM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PLAN_LANES = 5, /* at most */
    PLAN_ENDPOINTS = 3,
    PLAN_BATCHES = 3,
    PLAN_JOBS = 120, /* of a plan that is drawn */
    PLAN_RECORDS = 2 * PLAN_JOBS,
    PLAN_FAULTS = 48,
    PLAN_LIMITS = 6,
    PLAN_SAYS = 4, /* amounts of one limit, one after the other */
};

/* What a record holds. */
enum job_sort {
    SORT_TEXT,
    SORT_LABEL,
    SORT_EMBEDDING,
    SORT_BAD_URL,   /* dead without a call */
    SORT_NO_MODEL,  /* dead without a call */
    SORT_RETIRED,   /* dead without a call */
    SORT_POOR,      /* max_cost below any call: dead without a call */
    SORT_MALFORMED, /* no job */
    SORT_FORGED,    /* no job: the id does not follow */
    SORT_UNSIGNED,  /* no job, where signatures are asked for */
    SORT_COUNT,
};

/* How the model treats a job, besides what befalls any. */
enum job_temper {
    TEMPER_PLAIN,
    TEMPER_SLOW,    /* some seconds, up to past the timeout */
    TEMPER_CRASHES, /* 500 for ever */
    TEMPER_CUTS,    /* the connection always breaks within the reply */
    TEMPER_BAD,     /* 400 */
    TEMPER_REFUSES, /* a refusal, 200 */
    TEMPER_BABBLES, /* never what the output spec asks for */
    TEMPER_GARBLES, /* 200 with broken JSON */
    TEMPER_SNUBBED, /* 403 with no end in sight while faults last */
    TEMPER_COUNT,
};

/* Rows that Postgres refuses for their data. */
enum job_poison {
    POISON_NONE,
    POISON_TEXTS, /* until it is stored without the reply's texts */
    POISON_PARK,  /* in `parked` */
    POISON_ROW,   /* altogether, while faults last */
    POISON_COUNT,
};

struct plan_job {
    bool off;
    enum job_sort sort;
    enum job_temper temper;
    enum job_poison poison;
    int batch, endpoint;
    int max_attempts;    /* 0: the worker's */
    int too_long;        /* for so many models, from its own on; the next takes it */
    int64_t deadline_us; /* on the virtual clock; 0: none */
};

struct plan_record {
    bool off;
    int job, lane, partition;
    int64_t at_us;
};

enum fault_kind {
    FAULT_CRASH,       /* at a time */
    FAULT_CRASH_ARROW, /* right after a job took the arrow `from` > `to` for the nth time */
    FAULT_CRASH_SEND,  /* right after its nth statement was sent, before the next one */
    FAULT_FREEZE,      /* SIGSTOP, SIGCONT */
    FAULT_SLEEP,       /* the machine sleeps: CLOCK_MONOTONIC stands still */
    FAULT_CLOCK,       /* its wall clock jumps */
    FAULT_TERM,        /* SIGTERM; comes back later, or not */
    FAULT_TERM_TWICE,
    FAULT_DRAIN,        /* told to leave through Postgres; comes back later, or not */
    FAULT_RELOAD,       /* SIGHUP with other settings, another credential of an endpoint, and a
                           catalogue in which other versions may serve */
    FAULT_START,        /* one worker more */
    FAULT_PG_CUT,       /* one connection: the next transaction never arrives */
    FAULT_PG_CUT_REPLY, /* it commits, its reply is lost */
    FAULT_PG_SILENT,    /* packets between one worker and Postgres are lost for a while */
    FAULT_PG_STUCK,     /* one worker's backends hang one after the other: first for heartbeats */
    FAULT_PG_RESTART,
    FAULT_PG_SLOW,  /* commits take seconds */
    FAULT_PG_ERROR, /* statements fail with a passing SQLSTATE */
    FAULT_KAFKA_DOWN,
    FAULT_KAFKA_MOVE,    /* a rebalance for no reason */
    FAULT_COMMIT_LOST,   /* the next commit of offsets does not arrive */
    FAULT_CANCEL,        /* a batch */
    FAULT_ENDPOINT_DOWN, /* no connection */
    FAULT_ENDPOINT_BUSY, /* 503 */
    FAULT_ENDPOINT_THROTTLES,
    FAULT_ENDPOINT_KEY,   /* 401 */
    FAULT_ENDPOINT_MODEL, /* 404 */
    FAULT_ENDPOINT_HANGS,
    FAULT_ENDPOINT_CUTS,
    FAULT_ENDPOINT_HELD, /* an operator pauses it */
    FAULT_ENDPOINT_SLOW, /* it takes ten times as long */
    FAULT_KINDS,
};

struct plan_fault {
    bool off;
    enum fault_kind kind;
    int slot; /* of a worker, or the endpoint, or the batch */
    int64_t at_us, for_us;
    int from, to, nth; /* CRASH_ARROW; CRASH_SEND: nth */
};

/* A shared limit (common/limits.h), from the first of its times on. */
struct plan_limit {
    bool off;
    int scope, dimension; /* enum limit_scope, enum limit_dimension */
    int of;               /* which endpoint, model version (both by index) or app (0, 1) */
    int says_count;
    struct plan_says {
        int64_t at_us, amount; /* 0: none from then on */
    } says[PLAN_SAYS];
};

/* What a route says; `is` false: there is no such route. */
struct plan_route {
    bool is;
    enum plan_unknown { UNKNOWN_RETRY, UNKNOWN_HOLD, UNKNOWN_GIVE_UP } unknown;
    int max_attempts; /* 0: not said */
    int budget_permille;
    int64_t nusd_per_day; /* for calls again after an unknown outcome; -1: not bounded */
};

/* What a scenario (scenario.h) has its models be like; nothing else goes wrong there than what its
 * plan says. */
struct plan_scene {
    int64_t least_us, most_us; /* a reply takes */
    int bears;                 /* calls at once; above, 503. 0: any number */
    int64_t per_minute;        /* calls; above, 429. 0: any number */
};

struct plan {
    uint64_t seed;
    const struct plan_scene *scene; /* NULL: the plan is drawn */
    int workers, slots;             /* slots: with those for workers that start later */
    int partitions, endpoints, batches;
    int64_t calm_us; /* faults are over; then everything must come to rest */
    /* settings of the workers */
    int max_in_flight, endpoint_in_flight, max_attempts, lane_jobs;
    int lanes, lane_codes[PLAN_LANES], lane_weights[PLAN_LANES];
    int64_t lease_us, heartbeat_us, short_wait_us, offset_span, drain_us, timeout_us;
    int64_t reply_max_bytes, memory_bytes, parked_max;
    bool signatures;                                     /* are asked for */
    struct plan_route of_model[PLAN_ENDPOINTS], of_app2; /* the app's goes before the model's */
    int limit_count;
    struct plan_limit limits[PLAN_LIMITS];
    bool larger[PLAN_ENDPOINTS]; /* the model names the next one for what is too long */
    /* Endpoints answer 409 meanwhile: no pause keeps retries from storming them. */
    int64_t conflict_from_us, conflict_until_us;
    int trouble_permille; /* calls that go wrong for no planned reason, while faults last */
    int job_count, record_count, fault_count;
    struct plan_job *jobs;       /* own_jobs; of a scenario the caller's */
    struct plan_record *records; /* likewise */
    struct plan_job own_jobs[PLAN_JOBS];
    struct plan_record own_records[PLAN_RECORDS];
    struct plan_fault faults[PLAN_FAULTS];
};

/* `jobs`: so many; 0: drawn as well. */
void plan_draw(struct plan *p, uint64_t seed, int jobs);
void plan_copy(struct plan *to, const struct plan *from);
/* What the limit allows at that time; 0: there is none. */
int64_t plan_amount(const struct plan_limit *l, int64_t at_us);
int plan_jobs_on(const struct plan *p);
int plan_faults_on(const struct plan *p);

extern const char *const plan_lane_names[PLAN_LANES], *const plan_lane_topics[PLAN_LANES];

const char *fault_name(enum fault_kind kind);
const char *sort_name(enum job_sort sort);
const char *temper_name(enum job_temper temper);

/* Chance without a state: the same words give the same number, and nothing else has a part in it.
 */
uint64_t draw_mix(uint64_t a, uint64_t b, uint64_t c, uint64_t d);

#endif
