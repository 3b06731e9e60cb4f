#include "tests/modelsim/gauge.h"

/*
 * Purpose: limits as providers enforce them. Happy path: gauge_wait 0, gauge_take, gauge_release.
 * An exact limit keeps each arrival that passed for one window: a window is half open, so what came
 * exactly one window ago counts no longer. Failure: none; exhausted memory ends the process.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PLACE_US 1000000 /* nobody knows when a place frees; servers guess as well */

static double bucket_size(const struct limit *limit, enum unit unit)
{
    return (double)(limit->burst > 0 ? limit->burst : limit->amount[unit]);
}

void gauge_fill(struct gauge *gauge, const struct limit *limit, int64_t now_us)
{
    for (enum unit u = 0; u < UNIT_COUNT; u++)
        gauge->left[u] = bucket_size(limit, u);
    gauge->filled_us = now_us;
    gauge->count = 0;
    memset(gauge->within, 0, sizeof gauge->within);
}

void gauge_change(struct gauge *gauge, const struct limit *limit)
{
    for (enum unit u = 0; u < UNIT_COUNT; u++)
        gauge->left[u] = fmin(gauge->left[u], bucket_size(limit, u));
}

void gauge_done(struct gauge *gauge)
{
    free(gauge->ring);
    gauge->ring = NULL;
    gauge->count = gauge->cap = 0;
}

static void refill(struct gauge *gauge, const struct limit *limit, int64_t now_us)
{
    double part = (double)(now_us - gauge->filled_us) / (double)limit->window_us;
    gauge->filled_us = now_us;
    for (enum unit u = 0; u < UNIT_COUNT; u++)
        gauge->left[u] =
            fmin(gauge->left[u] + (double)limit->amount[u] * part, bucket_size(limit, u));
}

/* A want beyond the bucket's size passes when the bucket is full (it then goes into debt), or it
 * could never pass. */
static int64_t bucket_wait(const struct gauge *gauge, const struct limit *limit, enum unit unit,
                           int64_t want)
{
    double need = fmin((double)want, bucket_size(limit, unit)) - gauge->left[unit];
    if (need <= 0)
        return 0;
    return (int64_t)ceil(need * (double)limit->window_us / (double)limit->amount[unit]);
}

static const struct passed *ring_at(const struct gauge *gauge, size_t i)
{
    return &gauge->ring[(gauge->first + i) % gauge->cap];
}

/* Forgets what has left the window. */
static void slide(struct gauge *gauge, const struct limit *limit, int64_t now_us)
{
    while (gauge->count > 0 && ring_at(gauge, 0)->at_us <= now_us - limit->window_us) {
        for (enum unit u = 0; u < UNIT_COUNT; u++)
            gauge->within[u] -= ring_at(gauge, 0)->units[u];
        gauge->first = (gauge->first + 1) % gauge->cap;
        gauge->count--;
    }
}

/* Until so much has left the window that the want fits; a want beyond the limit never does, and is
 * told the time at which the window is empty. */
static int64_t window_wait(const struct gauge *gauge, const struct limit *limit, enum unit unit,
                           int64_t want, int64_t now_us)
{
    int64_t over = gauge->within[unit] + want - limit->amount[unit];
    size_t i = 0;
    if (over <= 0)
        return 0;
    for (; i < gauge->count && over > 0; i++)
        over -= ring_at(gauge, i)->units[unit];
    return i == 0 ? limit->window_us : ring_at(gauge, i - 1)->at_us + limit->window_us - now_us;
}

int64_t gauge_wait(struct gauge *gauge, const struct limit *limit, const int64_t units[UNIT_COUNT],
                   int64_t now_us)
{
    int64_t most_us = 0;
    if (limit->exact)
        slide(gauge, limit, now_us);
    else
        refill(gauge, limit, now_us);
    for (enum unit u = 0; u < UNIT_COUNT; u++) {
        if (limit->amount[u] == 0)
            continue;
        int64_t wait_us = limit->exact ? window_wait(gauge, limit, u, units[u], now_us)
                                       : bucket_wait(gauge, limit, u, units[u]);
        if (wait_us > most_us)
            most_us = wait_us;
    }
    if (most_us == 0 && limit->concurrency > 0 && gauge->in_flight >= limit->concurrency)
        most_us = PLACE_US;
    return most_us;
}

/* Appends to the ring, which grows as it must. */
static void remember(struct gauge *gauge, const int64_t units[UNIT_COUNT], int64_t now_us)
{
    if (gauge->count == gauge->cap) {
        size_t cap = gauge->cap == 0 ? 64 : gauge->cap * 2;
        struct passed *ring = base_calloc(cap, sizeof *ring);
        for (size_t i = 0; i < gauge->count; i++)
            ring[i] = *ring_at(gauge, i);
        free(gauge->ring);
        gauge->ring = ring;
        gauge->first = 0;
        gauge->cap = cap;
    }
    struct passed *last = &gauge->ring[(gauge->first + gauge->count++) % gauge->cap];
    last->at_us = now_us;
    memcpy(last->units, units, sizeof last->units);
}

void gauge_take(struct gauge *gauge, const struct limit *limit, const int64_t units[UNIT_COUNT],
                int64_t now_us)
{
    if (limit->exact)
        remember(gauge, units, now_us);
    for (enum unit u = 0; u < UNIT_COUNT; u++) {
        gauge->left[u] -= (double)units[u];
        gauge->within[u] += limit->exact ? units[u] : 0;
        if (gauge->within[u] > gauge->most[u])
            gauge->most[u] = gauge->within[u];
    }
    gauge->passes++;
    if (++gauge->in_flight > gauge->most_in_flight)
        gauge->most_in_flight = gauge->in_flight;
}

void gauge_release(struct gauge *gauge)
{
    gauge->in_flight--;
}

struct told gauge_told(const struct gauge *gauge, const struct limit *limit, enum unit unit,
                       int64_t now_us)
{
    struct told told = {0};
    if (limit->amount[unit] == 0)
        return told;
    if (limit->exact) {
        told.limit = limit->amount[unit];
        told.left = told.limit - gauge->within[unit];
        if (gauge->count > 0)
            told.reset_us = ring_at(gauge, gauge->count - 1)->at_us + limit->window_us - now_us;
    } else {
        double missing = bucket_size(limit, unit) - gauge->left[unit];
        told.limit = (int64_t)bucket_size(limit, unit);
        told.left = (int64_t)floor(gauge->left[unit]);
        told.reset_us =
            (int64_t)ceil(missing * (double)limit->window_us / (double)limit->amount[unit]);
    }
    told.left = told.left > 0 ? told.left : 0;
    return told;
}

void gauge_reset(struct gauge *gauge)
{
    gauge->passes = gauge->refusals = gauge->overs = 0;
    memcpy(gauge->most, gauge->within, sizeof gauge->most);
    gauge->most_in_flight = gauge->in_flight;
}

void gauge_summary(const struct gauge *gauge, struct buf *out)
{
    buf_printf(out, "{\"passed\":%llu,\"refused\":%llu,\"over\":%llu,\"in_flight\":%lld",
               (unsigned long long)gauge->passes, (unsigned long long)gauge->refusals,
               (unsigned long long)gauge->overs, (long long)gauge->in_flight);
    buf_printf(out, ",\"most\":{\"requests\":%lld,\"tokens\":%lld",
               (long long)gauge->most[UNIT_REQUESTS], (long long)gauge->most[UNIT_TOKENS]);
    buf_printf(out, ",\"input\":%lld,\"output\":%lld,\"in_flight\":%lld}}",
               (long long)gauge->most[UNIT_INPUT], (long long)gauge->most[UNIT_OUTPUT],
               (long long)gauge->most_in_flight);
}
