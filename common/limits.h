/*
 * limits.h - the words of shared limits: what a limit is of (its scope), what it counts (its
 * dimension), their stored codes, and amounts as people write them.
 *
 * A limit is (scope, key, dimension) -> amount. Codes are stored for years (limit_rule): a number,
 * once given, is never given another meaning.
 */
#ifndef INFERQ_COMMON_LIMITS_H
#define INFERQ_COMMON_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/span.h"

/* limit_rule.scope, and what its key is then. */
enum limit_scope {
    LIMIT_ENDPOINT = 1, /* "name@version" of the endpoint */
    LIMIT_MODEL = 2,    /* "model@version", the version's label */
    LIMIT_APP = 3,      /* the app's name, over all endpoints */
    LIMIT_SCOPE_END,
};

/* limit_rule.dimension */
enum limit_dimension {
    LIMIT_REQUESTS_PER_MINUTE = 1,
    LIMIT_INPUT_TOKENS_PER_MINUTE = 2,
    LIMIT_OUTPUT_TOKENS_PER_MINUTE = 3,
    LIMIT_TOKENS_PER_MINUTE = 4, /* input and output together */
    LIMIT_TOKENS_PER_DAY = 5,    /* input and output together, from midnight to midnight UTC */
    LIMIT_IN_FLIGHT = 6,         /* calls at once */
    LIMIT_DIMENSION_END,
};

/* Amounts are 1 .. the maximum of their dimension. */
#define LIMIT_PER_MINUTE_MAX INT64_C(10000000000)
#define LIMIT_PER_DAY_MAX INT64_C(14400000000000)
#define LIMIT_IN_FLIGHT_MAX INT64_C(1000000)

const char *limit_scope_name(int scope);         /* "endpoint", "model", "app"; else "unknown" */
const char *limit_dimension_name(int dimension); /* "requests_per_minute", ...; else "unknown" */
int limit_scope_parse(struct span name);         /* -1: no such scope */
int limit_dimension_parse(struct span name);     /* -1: no such dimension */

/* Counted by the minute: shared as rates, and lowered by what providers' answers teach. */
bool limit_is_rate(enum limit_dimension dimension);
/* Counts tokens, of whatever kind and time. */
bool limit_is_tokens(enum limit_dimension dimension);
int64_t limit_amount_max(enum limit_dimension dimension);

/* "500", "200_000" or "200,000" (a separator before each group of three digits), "200k", "2M":
 * an amount of this dimension. RC_REJECT: it is none; the text says why, and what to do instead. */
enum rc limit_amount_parse(struct span text, enum limit_dimension dimension, int64_t *ret_amount,
                           struct err *err) MUST_CHECK;

#endif
