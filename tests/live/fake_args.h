/*
 * fake_args.h - random parameters for the statements of worker/store_sql.c: few jobs, workers and
 * keys, so that they meet; values mostly good, some NULL, some bad.
 *
 * Everything follows from the seed and from the fake's rows.
 */
#ifndef INFERQ_TESTS_LIVE_FAKE_ARGS_H
#define INFERQ_TESTS_LIVE_FAKE_ARGS_H

#include <stdint.h>

#include "tests/sim/fake_pg.h"

enum { ARGS_JOBS = 11, ARGS_BATCHES = 3, ARGS_ROWS_MAX = 6 };

struct args {
    uint64_t random;
    const struct fake_pg *db;
    int64_t now_us;
    struct jobid job[ARGS_JOBS]; /* the last has no partition */
    struct jobid batch[ARGS_BATCHES];
    int64_t batch_ms[ARGS_BATCHES];
};

/* `start_us`: when the history begins; ids are of that week. */
void args_init(struct args *a, uint64_t seed, const struct fake_pg *db, int64_t start_us);
/* 0 .. n - 1 */
int64_t args_below(struct args *a, int64_t n);
bool args_chance(struct args *a, int percent);
/* Fills in the parameters of a statement, by name. */
void args_fill(struct args *a, const char *statement, struct pg_params *p);

#endif
