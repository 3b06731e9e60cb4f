/*
 * fleet_world.h - a fleet under shared limits, on a virtual clock: workers with their admission,
 * keepers with their rounds, and rows between them, all of it the code that runs; played are only
 * the wires, the table's three statements, and the model.
 *
 * What is judged is what arrives at the model: fleet_play fails the test at the first moment at
 * which 60 s have seen more than a limit, whatever is late, lost, said twice, paused or dead.
 *
 * One seed is one world. An exchange, a keeper's round, a call: each is a chain of events with
 * delays between them, so that anything may happen between any two.
 */
#ifndef INFERQ_TESTS_UNIT_FLEET_WORLD_H
#define INFERQ_TESTS_UNIT_FLEET_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/admission.h"
#include "worker/shares.h"

#define MS INT64_C(1000)
#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)

enum { LIMITS = 3, SOURCES = 3, WORKERS_MAX = 1040, HEADROOM = 20 };

/* ---- the world ------------------------------------------------------------------------------- */

struct table { /* limit_share's rows of one limit, by worker_id */
    struct row *rows;
    size_t count, cap;
};

struct source { /* jobs of one lane and app */
    int lane, app;
    int64_t units_min, units_max, every_us; /* every_us 0: more than can be done */
    int64_t next_units, waiting;
    int gate;
};

struct worker {
    struct admission *admission;
    bool dead;
    int64_t paused_until_us, wake_us, say_us;
    int64_t exchange; /* number of the one that waits for its answer; 0: none */
    struct source sources[SOURCES];
    int source_count, first;
    bool idle;     /* it has no work just now */
    bool stopping; /* it begins nothing any more, and is gone when its calls have ended */
    int calls;
};

struct arrival {
    int64_t at_us, units;
};

/* What the model sees of one limit. */
struct witness {
    struct arrival *list;
    size_t head, count, cap;
    int64_t sum; /* of the last 60 s */
    int64_t in_flight;
    int64_t allowed; /* the limit, or what it was until lately */
    int64_t amount, lowered_us;
};

struct limit {
    enum limit_dimension dimension;
    int64_t amount;
};

/* Whose jobs a worker has, if not a bit of everybody's. */
enum shape { MIXED, BY_LANE, BY_APP, HUNDRED_ONE_NONE };

/* What a world is, and how it goes wrong. */
struct plan {
    enum shape shape;
    int workers, limits, sources;
    struct limit limit[LIMITS];
    int64_t units_min, units_max, lasts_us, jitter_us, claim_us, minutes;
    int64_t mishap_every_us; /* 0: nothing happens; else so often in the first half */
    int lose_permille;       /* statements that run too late, or answers that are lost */
};

struct fleet {
    uint64_t seed, order, keeper_number;
    struct plan plan;
    int64_t now_us, end_us, mishaps_until_us, lossy_until_us,
        calm_us;        /* calm_us: the last time that something went wrong */
    struct event *heap; /* owned */
    size_t heap_count, heap_cap;
    struct worker workers[WORKERS_MAX];
    int worker_count;
    struct shares *keeper;
    struct table tables[LIMITS];
    struct witness witness[LIMITS];
    int64_t by_lane[8], by_app[8]; /* units, once calm */
};

struct fleet *fleet_begin(uint64_t seed, const struct plan *plan); /* returns owned */
/* Lets happen what happens until then. */
void fleet_play(struct fleet *w, int64_t until_us);
void fleet_end(struct fleet *w);

/* Units of the last `us`, in permille of what the limit allows. */
int64_t fleet_used(const struct fleet *w, int limit, int64_t us);
/* From now on this source of a worker has more jobs than can be done. */
void fleet_busy(struct fleet *w, int worker, struct source *s);
/* From now on its first source, which was busy, has a job so often. */
void fleet_seldom(struct fleet *w, int worker, int64_t every_us);
void fleet_wake(struct fleet *w, int worker, int64_t at_us);

/* The fleet's dice. */
uint64_t fleet_draw(struct fleet *w, int64_t below);
int64_t fleet_between(struct fleet *w, int64_t least, int64_t most);
bool fleet_chance(struct fleet *w, int permille);

#endif
