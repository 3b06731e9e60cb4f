/*
 * test_retry_hint.c - every spelling of "come back later", and those that say nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "worker/outcome.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const int64_t NOW_MS = INT64_C(1795000000000); /* 2026-11-18T11:06:40Z, a Wednesday */
static const int64_t US = 1, MS = 1000, S = 1000 * 1000, DAY = INT64_C(86400) * 1000 * 1000;

static void check(const char *what, const struct http_facts *facts, int64_t want_us)
{
    int64_t us = retry_hint_us(facts, NOW_MS);
    if (us != want_us)
        fail_msg("%s: %lld us, wanted %lld", what, (long long)us, (long long)want_us);
}

static void copy(char out[HTTP_HINT_BYTES], const char *text)
{
    snprintf(out, HTTP_HINT_BYTES, "%s", text);
}

static void test_retry_after(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int64_t us;
    } rows[] = {
        {"", -1},
        {"0", 0},
        {"1", S},
        {"20", 20 * S},
        {" 20 ", 20 * S},
        {"0.5", 500 * MS},
        {"1.", S},
        {"2.250", 2250 * MS},
        {"-1", 0},
        {"-0.5", 0},
        {"20s", 20 * S},
        {"120ms", 120 * MS},
        {"1m30s", 90 * S},
        {"86400", DAY},
        {"2592000", 30 * DAY},
        {"2592001", 30 * DAY},
        {"99999999", 30 * DAY},
        {"999999999999999999999999999999999999999999999999999999999999", 30 * DAY},
        {"1795000007", 7 * S},    /* a Unix time */
        {"1795000007000", 7 * S}, /* in ms */
        {"1794999999", 0},
        {"1e3", -1},
        {"0x10", -1},
        {"nan", -1},
        {"inf", -1},
        {"soon", -1},
        {"1 2", -1},
        {".5", -1},
        {"--1", -1},
        /* the three forms of RFC 9110, 5.6.7 */
        {"Wed, 18 Nov 2026 11:06:50 GMT", 10 * S},
        {"Wednesday, 18-Nov-26 11:06:50 GMT", 10 * S},
        {"Wed Nov 18 11:06:50 2026", 10 * S},
        {"Sun Nov  6 08:49:37 1994", 0},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 0},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 0},
        {"wed, 18 nov 2026 11:06:50 GMT", 10 * S},
        {"Wed, 18 Nov 2026 11:06:40 GMT", 0},
        {"Thu, 19 Nov 2026 11:06:40 GMT", DAY},
        {"Fri, 31 Dec 9999 23:59:59 GMT", 30 * DAY},
        {"Wed, 18 Nov 2026 11:06:50 CET", -1},
        {"Wed, 18 Nov 2026 25:06:50 GMT", -1},
        {"Wed, 00 Nov 2026 11:06:50 GMT", -1},
        {"Wed, 18 Foo 2026 11:06:50 GMT", -1},
        {"Wed, 18 Nov 2026", -1},
        {"Wed, 18 Nov", -1},
        {"Wed, 18 Nov x", -1},
        {"Wed Nov 18", -1},
        {"Wed Nov 18 11:06:50", -1},
        {"Wed Nov 18 11:06:50 x", -1},
        {"Wed Nov x", -1},
        {"Wed,", -1},
        {",", -1},
        {"Wed ", -1},
        {"2026-11-18T11:06:50Z", 10 * S},
        {"2026-11-18T12:06:50+01:00", 10 * S},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct http_facts facts = {.status = 503};
        copy(facts.retry_after, rows[i].text);
        check(rows[i].text, &facts, rows[i].us);
    }
}

static void test_which_header(void **state)
{
    (void)state;
    const struct {
        const char *ms, *after, *reset;
        int status;
        int64_t us;
    } rows[] = {
        {"1500", "20", "6m0s", 429, 1500 * MS},
        {"0.5", "", "", 503, 500 * US},
        {"0", "20", "", 503, 0},
        {"-7", "20", "", 503, 0},
        {"x", "20", "", 503, 20 * S},
        {"99999999999999", "", "", 503, 30 * DAY},
        {"", "x", "1s", 429, S},
        {"", "", "6m0s", 429, 360 * S},
        {"", "", "120ms", 429, 120 * MS},
        {"", "", "1h2m3.5s", 429, 3723 * S + 500 * MS},
        {"", "", "1d", 429, DAY},
        {"", "", "17", 429, 17 * S},
        {"", "", "1795000030", 429, 30 * S},
        {"", "", "6m0", 429, -1},
        {"", "", "m", 429, -1},
        {"", "", "6y", 429, -1},
        {"", "", "6m0s", 503, -1}, /* it comes with every answer: only a 429 means it */
        {"", "", "", 429, -1},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct http_facts facts = {.status = rows[i].status};
        char what[32];
        copy(facts.retry_after_ms, rows[i].ms);
        copy(facts.retry_after, rows[i].after);
        assert_true(rate_headers_take(&facts.rate, SPAN_LIT("x-ratelimit-reset-tokens"),
                                      span_of(rows[i].reset)));
        snprintf(what, sizeof what, "row %zu", i);
        check(what, &facts, rows[i].us);
    }
}

/* Dates count from the server's own clock when it says what that is. */
static void test_server_date(void **state)
{
    (void)state;
    struct http_facts facts = {.status = 503};
    copy(facts.retry_after, "Sun, 06 Nov 1994 08:49:37 GMT");
    copy(facts.date, "Sun, 06 Nov 1994 08:49:07 GMT");
    check("an hour of its own", &facts, 30 * S);
    copy(facts.date, "Sun, 06 Nov 1994 08:50:07 GMT");
    check("past by its own clock", &facts, 0);
    copy(facts.date, "yesterday");
    check("no date", &facts, 0);
    copy(facts.retry_after, "5");
    check("seconds need no clock", &facts, 5 * S);
    /* two digits of a year: at most 50 years ahead */
    copy(facts.date, "");
    copy(facts.retry_after, "Monday, 18-Nov-75 11:06:50 GMT");
    check("2075", &facts, 30 * DAY);
    copy(facts.retry_after, "Friday, 18-Nov-77 11:06:50 GMT");
    check("1977", &facts, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_which_header),
        cmocka_unit_test(test_server_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
