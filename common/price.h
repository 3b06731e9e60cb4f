/*
 * price.h - what a call costs (pure). Prices are pico-USD per unit, costs nano-USD, both int64;
 * the sum is made in 128 bits and rounded once, half up. Absent is not zero: -1 is "not known".
 */
#ifndef INFERQ_COMMON_PRICE_H
#define INFERQ_COMMON_PRICE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct price {
    int64_t input_pusd;     /* per input token, -1 unknown */
    int64_t cached_pusd;    /* per cached input token; -1: as input */
    int64_t output_pusd;    /* per output token, -1 unknown (embeddings: 0) */
    int64_t reasoning_pusd; /* per reasoning token; -1: as output */
    int64_t request_pusd;   /* per request, 0 when none */
};

struct usage {
    int64_t input;     /* all input tokens, cached ones included; -1 absent */
    int64_t cached;    /* of these, read from a cache; -1 absent */
    int64_t output;    /* all output tokens, reasoning included; -1 absent */
    int64_t reasoning; /* of these; -1 absent */
};

/* nano-USD, or -1 when a needed price or count is not known, when the counts contradict each other
 * (more cached than input, more reasoning than output), or when it would overflow. Needed is what
 * can change the sum: no count where the price is 0, no price where the count is 0, and no count of
 * cached or reasoning tokens where they cost what the others cost. */
int64_t price_cost_nusd(const struct price *p, const struct usage *u);

/* "2.50", "0.000003", "1.35e-05" USD, exactly -> pico-USD per unit. `scale_per` is how many units
 * the amount buys: 1 or 1000000 ("USD per million tokens"); up to 1000000000. RC_REJECT: not a
 * decimal number, negative, finer than a pico-USD, or too large. */
enum rc price_parse_pusd(const char *text, int64_t scale_per, int64_t *ret_pusd,
                         struct err *err) MUST_CHECK;

/* "0.012345" USD text for people: exact, at least two decimals, no idle zeros behind them. Returns
 * `out`, at least 32 bytes. Negative gives "unknown". */
const char *price_usd_text(int64_t nusd, char *out, int out_bytes);

/* A rough count of tokens in `bytes` of text before a call: 4 bytes a token, rounded up.
 * 0 for a negative count. */
int64_t price_estimate_tokens(int64_t bytes);

#endif
