/*
 * retry_hint.c - when a server wants to be asked again (pure).
 *
 * Happy path: retry-after-ms, else retry-after (seconds, a date, or a duration such as "20s"), else
 * the rate limit's reset. Servers differ in what they write: numbers may have fractions, a large
 * number is a Unix time (seconds or ms), dates come in the three forms of RFC 9110 (5.6.7) and in
 * RFC 3339's. Dates are taken relative to the server's own Date, so that clocks need not agree.
 *
 * Failure mode: a text that is none of these is no hint; the next header is asked.
 */
#include "worker/outcome.h"

#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/clock.h"

#define US_PER_S 1e6
#define HINT_MAX_S (30.0 * 86400)
#define UNIX_S_FROM 1e9 /* a number from here on is a date: no server means 31 years */
#define UNIX_MS_FROM 1e12

static const char *skip_blanks(const char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

/* digits [. digits]; p ends up behind them and the blanks that follow. */
static bool take_number(const char **p, double *ret)
{
    const char *at = *p;
    double v = 0, scale = 1;
    if (*at < '0' || *at > '9')
        return false;
    for (; *at >= '0' && *at <= '9'; at++)
        v = v * 10 + (*at - '0');
    if (*at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++)
            v += (*at - '0') * (scale /= 10);
    *p = skip_blanks(at);
    *ret = v;
    return true;
}

static int64_t clamp_us(double seconds)
{
    if (!(seconds > 0))
        return 0;
    return (int64_t)((seconds < HINT_MAX_S ? seconds : HINT_MAX_S) * US_PER_S);
}

/* ---- dates --------------------------------------------------------------------------------------
 */

/* 1 to `digits_max` digits. */
static bool take_int(const char **p, int digits_max, int *ret)
{
    int v = 0, n = 0;
    for (; n < digits_max && **p >= '0' && **p <= '9'; n++, (*p)++)
        v = v * 10 + (**p - '0');
    *ret = v;
    return n > 0;
}

static bool take_char(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

static bool take_month(const char **p, int *ret)
{
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    for (int i = 0; i < 12; i++) {
        if (strncasecmp(*p, months[i], 3) != 0)
            continue;
        *p += 3;
        *ret = i;
        return true;
    }
    return false;
}

static bool take_time(const char **p, struct tm *tm)
{
    *p = skip_blanks(*p);
    return take_int(p, 2, &tm->tm_hour) && take_char(p, ':') && take_int(p, 2, &tm->tm_min) &&
           take_char(p, ':') && take_int(p, 2, &tm->tm_sec) && tm->tm_hour < 24 &&
           tm->tm_min < 60 && tm->tm_sec <= 60;
}

/* "06 Nov 1994 08:49:37 GMT", "06-Nov-94 08:49:37 GMT": behind the name of the day. */
static bool take_day_first(const char *p, int year_now, struct tm *tm)
{
    if (!take_int(&p, 2, &tm->tm_mday))
        return false;
    char between = *p;
    if ((between != ' ' && between != '-') || !take_char(&p, between) ||
        !take_month(&p, &tm->tm_mon) || !take_char(&p, between))
        return false;
    const char *year = p;
    if (!take_int(&p, 4, &tm->tm_year))
        return false;
    if (p - year == 2) { /* two digits: never more than 50 years ahead (RFC 9110, 5.6.7) */
        tm->tm_year += year_now / 100 * 100;
        tm->tm_year -= tm->tm_year > year_now + 50 ? 100 : 0;
    }
    return take_time(&p, tm) && !strcmp(skip_blanks(p), "GMT");
}

/* "Nov  6 08:49:37 1994": asctime, behind the name of the day. */
static bool take_month_first(const char *p, struct tm *tm)
{
    if (!take_month(&p, &tm->tm_mon) || !take_char(&p, ' '))
        return false;
    p = skip_blanks(p);
    if (!take_int(&p, 2, &tm->tm_mday) || !take_char(&p, ' ') || !take_time(&p, tm) ||
        !take_char(&p, ' '))
        return false;
    return take_int(&p, 4, &tm->tm_year) && !*skip_blanks(p);
}

/* Unix seconds of an HTTP date; false: it is none. */
static bool http_date(const char *text, int64_t wall_ms, int64_t *ret_s)
{
    struct tm tm = {0}, now = {0};
    time_t wall_s = (time_t)(wall_ms / 1000);
    gmtime_r(&wall_s, &now);
    const char *p = text + strcspn(text, ", ");
    bool ok = *p == ',' ? take_day_first(skip_blanks(p + 1), now.tm_year + 1900, &tm)
                        : *p == ' ' && take_month_first(p + 1, &tm);
    if (!ok || tm.tm_mday < 1 || tm.tm_mday > 31)
        return false;
    tm.tm_year -= 1900;
    *ret_s = (int64_t)timegm(&tm);
    return true;
}

/* ---- one header
 * ----------------------------------------------------------------------------------- */

/* "6m0s", "1h2m3.5s", "120ms" */
static bool duration(const char *p, double *ret_s)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ms", 1e-3}, {"us", 1e-6}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    double sum = 0, number;
    while (*p) {
        size_t i = 0;
        if (!take_number(&p, &number))
            return false;
        while (i < sizeof units / sizeof units[0] &&
               strncasecmp(p, units[i].unit, strlen(units[i].unit)) != 0)
            i++;
        if (i == sizeof units / sizeof units[0])
            return false;
        sum += number * units[i].seconds;
        p = skip_blanks(p + strlen(units[i].unit));
    }
    *ret_s = sum;
    return true;
}

static double seconds_of_number(double number, double now_s)
{
    if (number >= UNIX_MS_FROM)
        return number / 1000 - now_s;
    return number >= UNIX_S_FROM ? number - now_s : number;
}

/* Seconds from now; -1: the text says nothing. Past times give 0. */
static int64_t hint_us(const char *text, int64_t server_ms)
{
    double number, now_s = (double)server_ms / 1000;
    int64_t date_s;
    text = skip_blanks(text);
    const char *p = text + (*text == '-');
    if (!*text)
        return -1;
    if (take_number(&p, &number) && !*p)
        return *text == '-' ? 0 : clamp_us(seconds_of_number(number, now_s));
    if (http_date(text, server_ms, &date_s))
        return clamp_us((double)date_s - now_s);
    if (duration(text, &number))
        return clamp_us(number);
    int64_t at_ms = clock_parse(text, server_ms);
    return at_ms < 0 ? -1 : clamp_us((double)(at_ms - server_ms) / 1000);
}

int64_t retry_hint_us(const struct http_facts *facts, int64_t wall_ms)
{
    int64_t date_s, server_ms = wall_ms;
    double ms;
    if (http_date(skip_blanks(facts->date), wall_ms, &date_s))
        server_ms = date_s * 1000;
    const char *p = skip_blanks(facts->retry_after_ms);
    bool negative = *p == '-';
    p += negative;
    if (take_number(&p, &ms) && !*p)
        return negative ? 0 : clamp_us(ms / 1000);
    int64_t us = hint_us(facts->retry_after, server_ms);
    return us < 0 && facts->status == 429 ? hint_us(facts->ratelimit_reset, server_ms) : us;
}
