/*
 * fmt.c - numbers as text.
 */
#include "admin/fmt.h"

#include <inttypes.h>
#include <stdio.h>

/* `units` / 10^digits, without zeros at the end. */
static const char *decimal(int64_t units, int digits, char out[FMT_BYTES])
{
    uint64_t size = units < 0 ? 0 - (uint64_t)units : (uint64_t)units;
    uint64_t one = 1;
    for (int i = 0; i < digits; i++)
        one *= 10;
    uint64_t part = size % one;
    while (digits > 0 && part % 10 == 0) {
        part /= 10;
        digits--;
    }
    const char *sign = units < 0 ? "-" : "";
    if (digits == 0)
        (void)snprintf(out, FMT_BYTES, "%s%" PRIu64, sign, size / one);
    else
        (void)snprintf(out, FMT_BYTES, "%s%" PRIu64 ".%0*" PRIu64, sign, size / one, digits, part);
    return out;
}

const char *fmt_usd(int64_t nusd, char out[FMT_BYTES])
{
    return decimal(nusd, 9, out);
}

const char *fmt_usd_per_million(int64_t pusd, char out[FMT_BYTES])
{
    return decimal(pusd, 6, out); /* 10^12 pico-USD in one USD, less a million units */
}

static void two_units(char *out, const char *sign, int64_t seconds, int64_t big,
                      const char *big_name, int64_t small, const char *small_name)
{
    int64_t rest = seconds % big / small;
    if (rest)
        (void)snprintf(out, FMT_BYTES, "%s%" PRId64 " %s %" PRId64 " %s", sign, seconds / big,
                       big_name, rest, small_name);
    else
        (void)snprintf(out, FMT_BYTES, "%s%" PRId64 " %s", sign, seconds / big, big_name);
}

const char *fmt_duration(int64_t us, char out[FMT_BYTES])
{
    enum { MS = 1000, SECOND = 1000000, MINUTE = 60, HOUR = 3600, DAY = 86400 };
    const char *sign = us < 0 ? "-" : "";
    if (us < 0)
        us = us == INT64_MIN ? INT64_MAX : -us;
    int64_t seconds = us / SECOND;
    if (us == 0)
        (void)snprintf(out, FMT_BYTES, "0 s");
    else if (us < MS)
        (void)snprintf(out, FMT_BYTES, "%s%" PRId64 " us", sign, us);
    else if (us < SECOND)
        (void)snprintf(out, FMT_BYTES, "%s%" PRId64 " ms", sign, us / MS);
    else if (seconds < MINUTE)
        (void)snprintf(out, FMT_BYTES, "%s%s s", sign,
                       decimal(us / 10000, 2, (char[FMT_BYTES]){0}));
    else if (seconds < HOUR)
        two_units(out, sign, seconds, MINUTE, "min", 1, "s");
    else if (seconds < DAY)
        two_units(out, sign, seconds, HOUR, "h", MINUTE, "min");
    else
        two_units(out, sign, seconds, DAY, "d", HOUR, "h");
    return out;
}
