#ifndef MODELSIM_DIST_H
#define MODELSIM_DIST_H
/*
 * Purpose: durations and latency distributions as the script writes them.
 *   0 | 50ms                 always the same
 *   uniform:10ms:90ms        between the two
 *   lognormal:50ms:0.5       median and sigma of the logarithm
 *   quantiles:50ms:400ms     the log-normal that has this median and this 99th percentile
 */
#include "tests/modelsim/base.h"
#include "tests/modelsim/hash.h"

#include <stdint.h>

enum dist_kind { DIST_FIXED, DIST_UNIFORM, DIST_LOGNORMAL };

struct dist {
    enum dist_kind kind;
    double a_us; /* fixed value, lower bound, or median */
    double b_us; /* upper bound (uniform) */
    double sigma;
};

/* Reads `150us`, `50ms`, `2s`, `1.5s`, `0` or a bare number of seconds into microseconds
 * (0 .. 30 days). */
MUST_CHECK enum rc dist_duration(const char *text, int64_t *ret_us, struct err *err);
/* Reads one distribution; *ret_dist is untouched on failure. */
MUST_CHECK enum rc dist_parse(const char *text, struct dist *ret_dist, struct err *err);
/* Draws a delay in microseconds, 0 .. one day. */
int64_t dist_sample(const struct dist *dist, struct rng *rng);

#endif
