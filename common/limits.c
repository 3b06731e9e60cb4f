/*
 * limits.c - the words of shared limits.
 *
 * Happy path: one table of scopes and one of dimensions, indexed by their codes; every function
 * reads these. Failure: a stranger is "unknown" one way and -1 the other; an amount that is none
 * is refused with a text for the operator who wrote it.
 */
#include "common/limits.h"

#include <inttypes.h>

static const char *const scopes[LIMIT_SCOPE_END] = {
    [LIMIT_ENDPOINT] = "endpoint",
    [LIMIT_MODEL] = "model",
    [LIMIT_APP] = "app",
};

static const struct {
    const char *name;
    bool is_rate, is_tokens;
    int64_t max;
} dimensions[LIMIT_DIMENSION_END] = {
    [LIMIT_REQUESTS_PER_MINUTE] = {"requests_per_minute", true, false, LIMIT_PER_MINUTE_MAX},
    [LIMIT_INPUT_TOKENS_PER_MINUTE] = {"input_tokens_per_minute", true, true, LIMIT_PER_MINUTE_MAX},
    [LIMIT_OUTPUT_TOKENS_PER_MINUTE] = {"output_tokens_per_minute", true, true,
                                        LIMIT_PER_MINUTE_MAX},
    [LIMIT_TOKENS_PER_MINUTE] = {"tokens_per_minute", true, true, LIMIT_PER_MINUTE_MAX},
    [LIMIT_TOKENS_PER_DAY] = {"tokens_per_day", false, true, LIMIT_PER_DAY_MAX},
    [LIMIT_IN_FLIGHT] = {"in_flight", false, false, LIMIT_IN_FLIGHT_MAX},
};

const char *limit_scope_name(int scope)
{
    return scope > 0 && scope < LIMIT_SCOPE_END ? scopes[scope] : "unknown";
}

const char *limit_dimension_name(int dimension)
{
    return dimension > 0 && dimension < LIMIT_DIMENSION_END ? dimensions[dimension].name
                                                            : "unknown";
}

int limit_scope_parse(struct span name)
{
    for (int i = 1; i < LIMIT_SCOPE_END; i++)
        if (span_is(name, scopes[i]))
            return i;
    return -1;
}

int limit_dimension_parse(struct span name)
{
    for (int i = 1; i < LIMIT_DIMENSION_END; i++)
        if (span_is(name, dimensions[i].name))
            return i;
    return -1;
}

bool limit_is_rate(enum limit_dimension dimension)
{
    return dimensions[dimension].is_rate;
}

bool limit_is_tokens(enum limit_dimension dimension)
{
    return dimensions[dimension].is_tokens;
}

int64_t limit_amount_max(enum limit_dimension dimension)
{
    return dimensions[dimension].max;
}

/* ---- amounts as text ------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* 'k' and 'M' stand for thousands and millions at the end; 0: no such letter. */
static int64_t multiplier(char c)
{
    if (c == 'k' || c == 'K')
        return 1000;
    return c == 'm' || c == 'M' ? 1000 * 1000 : 0;
}

/* Separators stand where people put them: before each group of three digits, all or none. */
static bool well_grouped(struct span digits)
{
    size_t run = 0;
    bool grouped = false;
    for (size_t i = 0; i < digits.n; i++) {
        if (is_digit(digits.p[i])) {
            run++;
            continue;
        }
        if ((digits.p[i] != '_' && digits.p[i] != ',') || run < 1 || run > 3 ||
            (grouped && run != 3))
            return false;
        grouped = true;
        run = 0;
    }
    return run > 0 && (!grouped || run == 3);
}

enum rc limit_amount_parse(struct span text, enum limit_dimension dimension, int64_t *ret_amount,
                           struct err *err)
{
    int64_t max = limit_amount_max(dimension), amount = 0;
    int64_t letter = text.n > 1 ? multiplier(text.p[text.n - 1]) : 0, times = letter ? letter : 1;
    struct span digits = {text.p, letter ? text.n - 1 : text.n};
    if (!well_grouped(digits))
        return err_set(err, RC_REJECT, "\"%.*s\" is no amount: write it as 500, 200000, 200k or 2M",
                       (int)(text.n < 64 ? text.n : 64), text.p ? text.p : "");
    for (size_t i = 0; i < digits.n; i++) {
        if (!is_digit(digits.p[i]))
            continue;
        amount = amount * 10 + (digits.p[i] - '0');
        if (amount > max / times)
            return err_set(err, RC_REJECT, "%.*s is more than a limit of %s can be: %" PRId64,
                           (int)(text.n < 64 ? text.n : 64), text.p,
                           limit_dimension_name((int)dimension), max);
    }
    if (amount == 0)
        return err_set(err, RC_REJECT,
                       "a limit of 0 would let nothing through: to stop calls, pause the endpoint "
                       "(inferq endpoint pause) or cancel an app's batches (inferq batch cancel)");
    *ret_amount = amount * times;
    return RC_OK;
}
