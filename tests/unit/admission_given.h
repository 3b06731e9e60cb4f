/*
 * admission_given.h - what the tests of a worker's own view of the limits begin with: model
 * versions, rules, and a fleet that grants what a test says.
 */
#ifndef INFERQ_TESTS_UNIT_ADMISSION_GIVEN_H
#define INFERQ_TESTS_UNIT_ADMISSION_GIVEN_H

#include <stddef.h>
#include <stdint.h>

#include "worker/admission.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)

#define RULE(id, scope, key, dimension, amount)                          \
    {                                                                    \
        id, scope, {key, sizeof(key) - 1}, dimension, INT64_C(amount), 0 \
    }

/* Two model versions of one endpoint, and one of another. */
enum { GIVEN_MODELS = 3 };
extern const struct admission_model given_models[GIVEN_MODELS];

/* What a call takes, where its size does not matter. */
static const struct admission_units one = {100, 50};

/* These rules are in force, with a headroom of 2 %. */
void given_rules(struct admission *a, const struct admission_rule *r, size_t n, int64_t now_us);
/* returns owned: knows the models, and these rules. */
struct admission *given_admission(const struct admission_rule *r, size_t n, int64_t now_us);
/* An exchange whose answer gives `share` of every limit at once. Returns how many were said. */
size_t given_exchange(struct admission *a, int64_t share, int64_t now_us);
/* Holds `share` for so long that a minute of it is gained; returns when that is. */
int64_t given_minute(struct admission *a, int gate, int64_t share, int64_t now_us);

#endif
