#include "tests/modelsim/dist.h"

/*
 * Purpose: parse and draw delays. Failure: a text that is no duration is rejected with its words.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_US 86400e6
/* The 99th percentile of the standard normal distribution. */
#define Z99 2.3263478740408408

enum rc dist_duration(const char *text, int64_t *ret_us, struct err *err)
{
    char *end;
    double value = strtod(text, &end);
    double unit = strcmp(end, "us") == 0                  ? 1
                  : strcmp(end, "ms") == 0                ? 1e3
                  : *end == '\0' || strcmp(end, "s") == 0 ? 1e6
                                                          : -1;
    if (end == text || unit < 0 || !(value >= 0 && value * unit <= 30 * DAY_US)) {
        err_set(err, "'%.60s' is no duration (150us, 50ms, 2s)", text);
        return RC_REJECT;
    }
    *ret_us = (int64_t)(value * unit + 0.5);
    return RC_OK;
}

/* Splits off the part before the next ':' into part; returns what follows, or NULL at the end. */
static const char *cut_part(const char *text, char part[40])
{
    size_t len = strcspn(text, ":");
    (void)snprintf(part, 40, "%.*s", (int)(len > 39 ? 39 : len), text);
    return text[len] == ':' ? text + len + 1 : NULL;
}

static enum rc parse_pair(const char *name, const char *first, const char *second,
                          struct dist *ret_dist, struct err *err)
{
    int64_t a_us;
    int64_t b_us;
    if (dist_duration(first, &a_us, err) != RC_OK)
        return RC_REJECT;
    if (strcmp(name, "lognormal") == 0) {
        char *end;
        double sigma = strtod(second, &end);
        if (end == second || *end != '\0' || !(sigma >= 0 && sigma <= 5)) {
            err_set(err, "sigma '%.40s' is not in 0 .. 5", second);
            return RC_REJECT;
        }
        *ret_dist = (struct dist){.kind = DIST_LOGNORMAL, .a_us = (double)a_us, .sigma = sigma};
        return RC_OK;
    }
    if (dist_duration(second, &b_us, err) != RC_OK)
        return RC_REJECT;
    if (b_us < a_us || (a_us == 0 && strcmp(name, "quantiles") == 0)) {
        err_set(err, "%s wants two rising durations", name);
        return RC_REJECT;
    }
    if (strcmp(name, "uniform") == 0) {
        *ret_dist = (struct dist){.kind = DIST_UNIFORM, .a_us = (double)a_us, .b_us = (double)b_us};
        return RC_OK;
    }
    double sigma = log((double)b_us / (double)a_us) / Z99;
    *ret_dist = (struct dist){.kind = DIST_LOGNORMAL, .a_us = (double)a_us, .sigma = sigma};
    return RC_OK;
}

enum rc dist_parse(const char *text, struct dist *ret_dist, struct err *err)
{
    char name[40];
    char first[40];
    char second[40];
    const char *rest = cut_part(text, name);
    if (rest == NULL || strcmp(name, "fixed") == 0) {
        int64_t us;
        if (dist_duration(rest == NULL ? text : rest, &us, err) != RC_OK)
            return RC_REJECT;
        *ret_dist = (struct dist){.kind = DIST_FIXED, .a_us = (double)us};
        return RC_OK;
    }
    rest = cut_part(rest, first);
    bool known = strcmp(name, "uniform") == 0 || strcmp(name, "lognormal") == 0 ||
                 strcmp(name, "quantiles") == 0;
    if (!known || rest == NULL || cut_part(rest, second) != NULL) {
        err_set(err,
                "'%.60s' is no latency (50ms, uniform:A:B, lognormal:MEDIAN:SIGMA, "
                "quantiles:P50:P99)",
                text);
        return RC_REJECT;
    }
    return parse_pair(name, first, second, ret_dist, err);
}

int64_t dist_sample(const struct dist *dist, struct rng *rng)
{
    double us = dist->a_us;
    if (dist->kind == DIST_UNIFORM) {
        us += (dist->b_us - dist->a_us) * rng_unit(rng);
    } else if (dist->kind == DIST_LOGNORMAL) {
        /* Box-Muller; the second variate is not worth keeping. */
        double radius = sqrt(-2 * log(rng_unit(rng)));
        us *= exp(dist->sigma * radius * cos(2 * 3.14159265358979323846 * rng_unit(rng)));
    }
    return (int64_t)(us < DAY_US ? us : DAY_US);
}
