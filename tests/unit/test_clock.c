/*
 * test_clock.c - time as text, both ways, against tables and against the C library's calendar.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <time.h>

#include "common/clock.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void test_clocks(void **state)
{
    (void)state;
    int64_t before = (int64_t)time(NULL);
    int64_t mono = clock_mono_us(), boot = clock_boot_us(), wall = clock_wall_ms();
    assert_true(mono > 0 && boot > 0);
    assert_true(clock_mono_us() >= mono && clock_boot_us() >= boot);
    /* time() is a coarser clock, and may be a tick late. */
    assert_true(wall / 1000 >= before && wall / 1000 <= (int64_t)time(NULL) + 1);
}

static void test_format(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {INT64_C(1795257780123), "2026-11-21T10:43:00.123Z"},
        {INT64_C(951782400000), "2000-02-29T00:00:00.000Z"},
        {INT64_C(951868799999), "2000-02-29T23:59:59.999Z"},
        {INT64_C(951868800000), "2000-03-01T00:00:00.000Z"},
        {INT64_C(-2203891200000), "1900-03-01T00:00:00.000Z"},
        {INT64_C(-2203891200001), "1900-02-28T23:59:59.999Z"},
        {INT64_C(4107542399999), "2100-02-28T23:59:59.999Z"},
        {INT64_C(4107542400000), "2100-03-01T00:00:00.000Z"},
        {INT64_C(-62167219200000), "0000-01-01T00:00:00.000Z"},
        {INT64_C(-62162035200001), "0000-02-29T23:59:59.999Z"},
        {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
        {INT64_C(253402300800000), "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {INT64_MIN, "0000-01-01T00:00:00.000Z"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[CLOCK_RFC3339_BYTES];
        clock_rfc3339(rows[i].ms, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
}

/* Every day from year 0 to 9999 in steps that meet each year's ends, against gmtime. */
static void test_calendar(void **state)
{
    (void)state;
    for (int64_t s = INT64_C(-62167219200); s <= INT64_C(253402300799); s += 13 * 86400 + 7) {
        char text[CLOCK_RFC3339_BYTES], want[64];
        time_t t = (time_t)s;
        struct tm tm;
        assert_non_null(gmtime_r(&t, &tm));
        snprintf(want, sizeof want, "%04d-%02d-%02dT%02d:%02d:%02d.000Z", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        clock_rfc3339(s * 1000, text, sizeof text);
        assert_string_equal(text, want);
        if (s >= 0)
            assert_int_equal(clock_parse(text, 0), s * 1000);
    }
}

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-21T10:43:00Z", INT64_C(1795257780000)},
        {"2026-11-21t10:43:00z", INT64_C(1795257780000)},
        {"2026-11-21 10:43:00Z", INT64_C(1795257780000)},
        {"2026-11-21T10:43:00.1Z", INT64_C(1795257780100)},
        {"2026-11-21T10:43:00.12Z", INT64_C(1795257780120)},
        {"2026-11-21T10:43:00.123Z", INT64_C(1795257780123)},
        {"2026-11-21T10:43:00.1239999999999999Z", INT64_C(1795257780123)},
        {"2026-11-21T12:43:00+02:00", INT64_C(1795257780000)},
        {"2026-11-21T05:13:00-05:30", INT64_C(1795257780000)},
        {"2026-11-21T10:43:00-00:00", INT64_C(1795257780000)},
        {"1970-01-01T01:00:00+01:00", 0},
        {"2024-02-29T00:00:00Z", INT64_C(1709164800000)},
        {"2000-02-29T00:00:00Z", INT64_C(951782400000)},
        {"2016-12-31T23:59:60Z", INT64_C(1483228800000)},
        {"2017-01-01T00:59:60+01:00", INT64_C(1483228800000)},
        {"9999-12-31T23:59:59.999Z", INT64_C(253402300799999)},
        {"+90s", 1000000 + 90000},
        {"+30m", 1000000 + 1800000},
        {"+24h", 1000000 + 86400000},
        {"+7d", 1000000 + 604800000},
        {"+0s", 1000000},
        {"+007d", 1000000 + 604800000},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(clock_parse(rows[i].text, 1000000), rows[i].ms);
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "now",
        "2026",
        "2026-11-21",
        "2026-11-21T10:43Z",
        "2026-11-21T10:43:00",
        "2026-11-21T10:43:00Z ",
        " 2026-11-21T10:43:00Z",
        "2026-11-21T10:43:00ZZ",
        "2026-11-21T10:43:00.Z",
        "2026-11-21T10:43:00,5Z",
        "2026-1-21T10:43:00Z",
        "26-11-21T10:43:00Z",
        "2026-11-21X10:43:00Z",
        "2026/11/21T10:43:00Z",
        "2026-00-21T10:43:00Z",
        "2026-13-21T10:43:00Z",
        "2026-11-00T10:43:00Z",
        "2026-11-31T10:43:00Z",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T10:60:00Z",
        "2026-11-21T10:43:61Z",
        "2026-11-21T10:43:60Z",
        "2016-12-31T23:59:60+01:00",
        "2026-11-21T10:43:00+2:00",
        "2026-11-21T10:43:00+0200",
        "2026-11-21T10:43:00+24:00",
        "2026-11-21T10:43:00+01:60",
        "2026-11-21T10:43:00+02",
        "-026-11-21T10:43:00Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:60Z",
        "9999-12-31T23:59:59-00:01",
        "+",
        "+s",
        "+90",
        "+90x",
        "+90ms",
        "+90 s",
        "+ 90s",
        "+-90s",
        "+1.5h",
        "+90sx",
        "-90s",
        "90s",
        "+9223372036854775807s",
        "+9223372036854775808s",
        "+99999999999999999999d",
        "+106751991167301d",
        "+4000000000d",
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        if (clock_parse(bad[i], 1000000) != -1)
            fail_msg("taken: '%s'", bad[i]);
    assert_int_equal(clock_parse("+1s", INT64_MAX), -1);
    assert_int_equal(clock_parse("+1s", INT64_C(253402300799999)), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clocks),        cmocka_unit_test(test_format),
        cmocka_unit_test(test_calendar),      cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
