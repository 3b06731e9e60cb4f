/*
 * estimate.h - what a dry run adds up, and what it may cost.
 */
#ifndef INFERQ_PRODUCER_ESTIMATE_H
#define INFERQ_PRODUCER_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"
#include "common/span.h"
#include "producer/batch_db.h"
#include "producer/prepare.h"

enum { ESTIMATE_MODELS_MAX = 64, ESTIMATE_SAMPLES = 3, ESTIMATE_SAMPLE_BYTES = 200 };

struct estimate;

struct estimate *estimate_new(void); /* returns owned; NULL: no memory */
void estimate_free(struct estimate *e);
void estimate_add(struct estimate *e, const struct draft *draft);

/* How a model's price is found: `model` absent asks for the default. RC_OK with *ret_found false:
 * no such model. Any failure: prices cannot be had, and why. */
typedef enum rc (*estimate_lookup)(void *arg, struct span model, bool *ret_found,
                                   struct batch_model *ret_model, struct err *err);

/* Writes the table: jobs, tokens, and cost at most, per model; then the first jobs. Costs that
 * cannot be known are said to be unknown, and why; they are never shown as 0. */
void estimate_print(const struct estimate *e, estimate_lookup lookup, void *arg, FILE *out);

/* The most that `jobs` calls may cost: nano-USD, -1 when it is not known or too large (pure). */
int64_t estimate_cost_nusd(const struct price *price, int64_t jobs, int64_t input_tokens,
                           int64_t output_tokens);

#endif
