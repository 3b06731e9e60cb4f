/*
 * clock.c - the clocks, and time as text.
 *
 * Happy path: clock_gettime, and the proleptic Gregorian calendar counted in days from 1970-01-01
 * (no time zones, no locale, no locks). Failure: clock_gettime cannot fail for these clocks on
 * Linux; text that is no time gives -1; times outside years 0..9999 are shown as the nearest end.
 */
#include "common/clock.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { DAYS_PER_400_YEARS = 146097, DAY_MS = 86400000 };

/* 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z */
static const int64_t first_ms = INT64_C(-62167219200000);
static const int64_t last_ms = INT64_C(253402300799999);

static int64_t read_us(clockid_t id)
{
    struct timespec ts;
    int r = clock_gettime(id, &ts);
    assert(r == 0);
    (void)r;
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

int64_t clock_boot_us(void)
{
    return read_us(CLOCK_BOOTTIME);
}

int64_t clock_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int month_days(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Days from 0000-01-01 to the first day of `year` (0..9999). */
static int64_t days_before_year(int64_t year)
{
    int64_t y = year - 1; /* the last whole year; year 0 is itself a leap year */
    return year == 0 ? 0 : year * 365 + y / 4 - y / 100 + y / 400 + 1;
}

static const int64_t days_before_1970 = 719528;

static int64_t days_of(int year, int month, int day)
{
    int64_t days = days_before_year(year) - days_before_1970 + day - 1;
    for (int m = 1; m < month; m++)
        days += month_days(year, m);
    return days;
}

void clock_rfc3339(int64_t unix_ms, char *out, size_t out_bytes)
{
    int64_t t = unix_ms < first_ms ? first_ms : unix_ms > last_ms ? last_ms : unix_ms;
    t -= first_ms; /* from here on nothing is negative */
    int64_t day = t / DAY_MS;
    int ms = (int)(t % DAY_MS);

    int year = (int)(day * 400 / DAYS_PER_400_YEARS); /* right, or one off */
    while (days_before_year(year) > day)
        year--;
    while (days_before_year(year + 1) <= day)
        year++;
    day -= days_before_year(year);
    int month = 1;
    for (; day >= month_days(year, month); month++)
        day -= month_days(year, month);
    snprintf(out, out_bytes, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", year, month, (int)day + 1,
             ms / 3600000, ms / 60000 % 60, ms / 1000 % 60, ms % 1000);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Takes `digits` decimal digits off *p. -1: they are not there. */
static int take_number(const char **p, int digits)
{
    int v = 0;
    for (int i = 0; i < digits; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return -1;
        v = v * 10 + (**p - '0');
    }
    return v;
}

static bool take_char(const char **p, const char *any_of)
{
    if (**p == '\0' || !strchr(any_of, **p))
        return false;
    (*p)++;
    return true;
}

/* ".123456" -> 123; no fraction -> 0; a lone dot -> -1. Digits past the millisecond are cut. */
static int take_fraction_ms(const char **p)
{
    if (!take_char(p, "."))
        return 0;
    int ms = 0, digits = 0;
    for (; **p >= '0' && **p <= '9'; (*p)++) {
        if (digits < 3)
            ms = ms * 10 + (**p - '0');
        if (digits < 4)
            digits++;
    }
    if (digits == 0)
        return -1;
    for (; digits < 3; digits++)
        ms *= 10;
    return ms;
}

/* "Z", "+02:00" -> minutes east of UTC */
static bool take_offset(const char **p, int *ret_minutes)
{
    *ret_minutes = 0;
    if (take_char(p, "Zz"))
        return true;
    int sign = **p == '-' ? -1 : 1;
    if (!take_char(p, "+-"))
        return false;
    int hours = take_number(p, 2);
    if (hours < 0 || hours > 23 || !take_char(p, ":"))
        return false;
    int minutes = take_number(p, 2);
    if (minutes < 0 || minutes > 59)
        return false;
    *ret_minutes = sign * (hours * 60 + minutes);
    return true;
}

static bool take_date(const char **p, int64_t *ret_days)
{
    int year = take_number(p, 4);
    if (year < 0 || !take_char(p, "-"))
        return false;
    int month = take_number(p, 2);
    if (month < 1 || month > 12 || !take_char(p, "-"))
        return false;
    int day = take_number(p, 2);
    if (day < 1 || day > month_days(year, month))
        return false;
    *ret_days = days_of(year, month, day);
    return true;
}

static int64_t parse_rfc3339(const char *p)
{
    int64_t days = 0;
    if (!take_date(&p, &days) || !take_char(&p, "Tt ")) /* RFC 3339, 5.6: a space is allowed */
        return -1;
    int hour = take_number(&p, 2);
    if (hour < 0 || hour > 23 || !take_char(&p, ":"))
        return -1;
    int minute = take_number(&p, 2);
    if (minute < 0 || minute > 59 || !take_char(&p, ":"))
        return -1;
    int second = take_number(&p, 2);
    int offset = 0;
    if (second < 0 || second > 60)
        return -1;
    int ms = take_fraction_ms(&p);
    if (ms < 0 || !take_offset(&p, &offset) || *p != '\0')
        return -1;

    int64_t whole =
        days * DAY_MS + (hour * INT64_C(60) + minute - offset) * 60000 + second * INT64_C(1000);
    if (second == 60 && whole % DAY_MS != 0) /* leap seconds end a UTC day and nothing else */
        return -1;
    return whole < 0 || whole + ms > last_ms ? -1 : whole + ms;
}

static int64_t parse_relative(const char *p, int64_t now_ms)
{
    int64_t v = 0;
    int digits = 0;
    for (; *p >= '0' && *p <= '9'; p++, digits++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v))
            return -1;
    int64_t unit_ms = *p == 's' ? 1000 : *p == 'm' ? 60000 : *p == 'h' ? 3600000 : DAY_MS;
    if (digits == 0 || !take_char(&p, "smhd") || *p != '\0')
        return -1;
    int64_t at;
    if (__builtin_mul_overflow(v, unit_ms, &v) || __builtin_add_overflow(now_ms, v, &at))
        return -1;
    return at < 0 || at > last_ms ? -1 : at;
}

int64_t clock_parse(const char *text, int64_t now_ms)
{
    return text[0] == '+' ? parse_relative(text + 1, now_ms) : parse_rfc3339(text);
}
