/*
 * path_world.h - the world around a path under test: a virtual clock, two endpoints with a model
 * each, and edges that keep what they are given until the test, or a turn, answers it.
 */
#ifndef INFERQ_TESTS_UNIT_PATH_WORLD_H
#define INFERQ_TESTS_UNIT_PATH_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/job_msg.h"
#include "worker/path.h"

enum {
    ENDPOINTS = 2,
    AT_ONCE = 2,
    TURN_US = 10 * 1000,
    SECOND_US = 1000 * 1000,
    SHORT_WAIT_US = 5 * SECOND_US,
    LANE_JOBS = 200,
    JOBS_MAX = 400,
    PARKED_JOBS = 300, /* for one endpoint */
};
#define WALL_MS INT64_C(1763726400000)

struct world {
    struct path *path;
    struct admission *admission;
    struct catalogue catalogue;
    struct cat_endpoint endpoints[ENDPOINTS];
    struct cat_model_version versions[ENDPOINTS];
    struct cat_model models[ENDPOINTS];
    struct catalogue *unused; /* the last that was given back */
    int64_t now_us, call_us;  /* how long a call takes; 0: for ever */
    struct job *claims[JOBS_MAX], *stores[JOBS_MAX], *parks[JOBS_MAX], *buries[JOBS_MAX];
    struct job *calls[AT_ONCE * ENDPOINTS];
    int64_t ends_at_us[AT_ONCE * ENDPOINTS];
    int claim_count, store_count, park_count, bury_count, call_count;
    struct job *pays[1]; /* for the test to answer */
    int pay_count;
    int ended, parked, buried, pulled_rows, offset;
    int pulled_of_others;         /* of pulled_rows, those of other apps than "app" */
    bool is_over[JOBS_MAX];       /* by offset: a result, a parked row or a letter stands */
    int64_t watermark;            /* offsets below it will not be delivered again */
    struct parked_row row;        /* what the first record's job had counted when it was parked */
    enum validation validation;   /* of the last to end */
    enum class class;             /* so */
    char reason[128];             /* so; cut */
    int refused;                  /* calls that their gate did not let go */
    int32_t park_key, pull_key;   /* of the last */
    int counts_asked;             /* how often rows of `parked` were to be counted */
    int32_t count_key;            /* the last time for this key */
    struct jobid asked[JOBS_MAX]; /* does Postgres know these already? ... */
    int asked_offsets[JOBS_MAX];
    int asked_count, times_asked;
    bool no_asks;     /* ... not to be asked now */
    int skips_asked;  /* which records are left out: for the test to answer */
    int others_asked; /* whether other apps' jobs wait behind the lane's */
    bool others_wait; /* the answer, at once */
    bool cut_off;     /* from Postgres: nothing may be claimed */
};

/* Around a test; its state is the world, with a path that holds partition 0 of the one lane. */
int world_setup(void **state);
int world_teardown(void **state);

struct world *world_new(void);    /* without a path; world_free is for the caller */
void world_free(struct world *w); /* its path must be gone */
enum rc world_make_path(struct world *w, struct err *err);

/* The record of job `number` for this endpoint, into `value` (owned by the caller); with labels (a
 * msgpack array of two) its answer must be one of them. */
void world_make_record(int number, int endpoint, struct span labels, struct buf *value);
void world_deliver(struct world *w, int64_t offset, uint32_t epoch, struct span value);
/* The next job and record. */
void world_add_job(struct world *w, int endpoint, struct span labels);
void world_add_record(struct world *w, int endpoint);

/* So many rows of "app" are due. */
void world_due(struct world *w, int32_t wait_key, int64_t rows);

/* The i-th call that is out is answered with this text. */
void world_end_call(struct world *w, int i, int status, const char *content);
/* Of what was asked for, what is over is told. */
void world_tell_known(struct world *w);
/* One turn of the loop: every edge answers what it was given before. */
void world_turn(struct world *w);
/* A turn of a worker whose partitions never run dry. */
void world_busy_turn(struct world *w);
void world_run_for(struct world *w, int64_t us);
void world_fill_lane(struct world *w);
/* Until so many calls are out. */
void world_turn_until_called(struct world *w, int calls);

#endif
