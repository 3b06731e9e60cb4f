/*
 * when.c - see when.h.
 *
 * Failure mode: a text that is none of these says nothing.
 */
#include "worker/when.h"

#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/clock.h"

#define US_PER_S 1e6
#define WHEN_MAX_S (30.0 * 86400)
#define UNIX_S_FROM 1e9           /* a number from here on is a date: no server means 31 years */
#define UNIX_MS_FROM 1e11         /* the year 5138 in seconds, 1973 in milliseconds */
#define UNIX_S_MAX 253402300799.0 /* the year 9999 */

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
    return (int64_t)((seconds < WHEN_MAX_S ? seconds : WHEN_MAX_S) * US_PER_S + 0.5);
}

/* ---- dates ----------------------------------------------------------------------------------- */

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

/* ---- durations ------------------------------------------------------------------------------- */

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

/* ---- any of them ----------------------------------------------------------------------------- */

static const struct when nothing = {0};

static struct when after(double seconds)
{
    return (struct when){WHEN_AFTER, clamp_us(seconds)};
}

static struct when at(double unix_s)
{
    return (struct when){WHEN_AT,
                         (int64_t)((unix_s < UNIX_S_MAX ? unix_s : UNIX_S_MAX) * US_PER_S + 0.5)};
}

/* A plain number, blanks around it; `ret` is negative where it has a minus. */
static bool plain_number(const char *text, double *ret)
{
    const char *p = skip_blanks(text);
    bool negative = *p == '-';
    p += negative;
    if (!take_number(&p, ret) || *p)
        return false;
    *ret = negative ? -*ret : *ret;
    return true;
}

struct when when_read(const char *text, int64_t near_ms)
{
    double number;
    int64_t date_s;
    text = skip_blanks(text);
    if (!*text)
        return nothing;
    if (plain_number(text, &number)) {
        if (number >= UNIX_MS_FROM)
            return at(number / 1000);
        return number >= UNIX_S_FROM ? at(number) : after(number);
    }
    if (http_date(text, near_ms, &date_s))
        return at((double)date_s);
    if (duration(text + (*text == '+'), &number))
        return after(number);
    int64_t at_ms = clock_parse(text, near_ms);
    return at_ms < 0 ? nothing : at((double)at_ms / 1000);
}

struct when when_read_ms(const char *text)
{
    double ms;
    return plain_number(text, &ms) ? after(ms / 1000) : nothing;
}

int64_t when_us(struct when w, int64_t server_ms)
{
    if (w.kind == WHEN_NOTHING)
        return -1;
    if (w.kind == WHEN_AFTER)
        return w.us;
    return clamp_us((double)(w.us - server_ms * 1000) / US_PER_S);
}

int64_t when_server_ms(const char *date, int64_t wall_ms)
{
    int64_t date_s;
    return http_date(skip_blanks(date), wall_ms, &date_s) ? date_s * 1000 : wall_ms;
}
