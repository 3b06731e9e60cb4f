/*
 * tokens.h - how many tokens will a call of this model version take? (pure)
 *
 * Input tokens are estimated from the request's bytes, by a factor that is learned from what
 * replies report; output tokens are reckoned at the 95th percentile of those reported of late. Both
 * start at constants. No clock and no chance: the same reports give the same estimates.
 */
#ifndef INFERQ_WORKER_TOKENS_H
#define INFERQ_WORKER_TOKENS_H

#include <stdint.h>

enum {
    TOKENS_BINS = 96,          /* four to the octave: 24 octaves */
    TOKENS_OUTPUT_UNSAID = 512 /* output where nothing is known and nothing limits it */
};

struct tokens {
    int64_t per_million_bytes; /* of a request: 250,000 at first, four bytes a token */
    int64_t output_p95;        /* TOKENS_OUTPUT_UNSAID until enough was reported */
    uint16_t bins[TOKENS_BINS];
    uint16_t reports; /* sum of the bins */
};

void tokens_init(struct tokens *t);
/* Of a request of so many bytes; rounded up, 0 for none. */
int64_t tokens_input(const struct tokens *t, int64_t bytes);
/* At most `most`, the job's own bound; -1: it has none. */
int64_t tokens_output(const struct tokens *t, int64_t most);
/* A whole reply came; what it reports, -1 where it says nothing. Less than one token for a request
 * that has bytes is no report. */
void tokens_learn(struct tokens *t, int64_t bytes, int64_t input, int64_t output);

#endif
