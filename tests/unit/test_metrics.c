/*
 * test_metrics.c - the page as Prometheus reads it: numbers, escaping, histograms, the cap on
 * series.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <math.h>

#include "common/metrics.h"

enum { REQUESTS, DEPTH, SECONDS, PLAIN };

static const double buckets[] = {0.1, 1, 2.5, 0};
static const struct metric_def defs[] = {
    [REQUESTS] =
        {"t_requests_total", METRIC_COUNTER, {"lane", "class"}, NULL, "Requests \\ by\nlane"},
    [DEPTH] = {"t_depth", METRIC_GAUGE, {NULL}, NULL, "Depth of \"it\""},
    [SECONDS] = {"t_seconds", METRIC_HISTOGRAM, {"lane"}, buckets, "Times"},
    [PLAIN] = {"t_plain_seconds", METRIC_HISTOGRAM, {NULL}, buckets, "Times"},
    {0},
};

static char page[1 << 20];

static const char *render(const struct metrics *m)
{
    struct buf out;
    buf_init(&out, sizeof page - 1);
    assert_true(metrics_render(m, &out));
    memcpy(page, out.p, out.n);
    page[out.n] = '\0';
    buf_done(&out);
    return page;
}

static void test_page(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(defs);
    struct metric_series *s = metrics_series(m, REQUESTS, "high", "ok", NULL);
    metric_add(s, 1);
    metric_add(s, 2);
    metric_add(metrics_series(m, REQUESTS, "low", "a\"b\\c\nd", NULL), 0.5);
    metric_set(metrics_series(m, DEPTH, NULL, NULL, NULL), -3);
    struct metric_series *h = metrics_series(m, SECONDS, "high", NULL, NULL);
    static const double times[] = {0.05, 0.1, 0.100001, 2.5, 3};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        metric_observe(h, times[i]);
    assert_true(metric_value(s) == 3);
    assert_true(metric_value(h) == 5);
    static const char want[] = "# HELP t_requests_total Requests \\\\ by\\nlane\n"
                               "# TYPE t_requests_total counter\n"
                               "t_requests_total{lane=\"high\",class=\"ok\"} 3\n"
                               "t_requests_total{lane=\"low\",class=\"a\\\"b\\\\c\\nd\"} 0.5\n"
                               "# HELP t_depth Depth of \"it\"\n"
                               "# TYPE t_depth gauge\n"
                               "t_depth -3\n"
                               "# HELP t_seconds Times\n"
                               "# TYPE t_seconds histogram\n"
                               "t_seconds_bucket{lane=\"high\",le=\"0.1\"} 2\n"
                               "t_seconds_bucket{lane=\"high\",le=\"1\"} 3\n"
                               "t_seconds_bucket{lane=\"high\",le=\"2.5\"} 4\n"
                               "t_seconds_bucket{lane=\"high\",le=\"+Inf\"} 5\n"
                               "t_seconds_sum{lane=\"high\"} 5.750001\n"
                               "t_seconds_count{lane=\"high\"} 5\n"
                               "# HELP t_plain_seconds Times\n"
                               "# TYPE t_plain_seconds histogram\n"
                               "t_plain_seconds_bucket{le=\"0.1\"} 0\n"
                               "t_plain_seconds_bucket{le=\"1\"} 0\n"
                               "t_plain_seconds_bucket{le=\"2.5\"} 0\n"
                               "t_plain_seconds_bucket{le=\"+Inf\"} 0\n"
                               "t_plain_seconds_sum 0\n"
                               "t_plain_seconds_count 0\n";
    assert_string_equal(render(m), want);
    metrics_free(m);
    metrics_free(NULL);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } rows[] = {
        {0, "0"},
        {-0.0, "0"},
        {1, "1"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {1.0 / 3, "0.3333333333333333"},
        {9007199254740991.0, "9007199254740991"},
        {9007199254740992.0, "9.00719925474099e+15"},
        {1e300, "1e+300"},
        {5e-324, "4.94065645841247e-324"},
        {1e9, "1000000000"},
    };
    struct metrics *m = metrics_new(defs);
    struct metric_series *s = metrics_series(m, DEPTH, NULL, NULL, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char want[64];
        metric_set(s, rows[i].v);
        const char *line = strstr(render(m), "\nt_depth ");
        assert_non_null(line);
        assert_true(strtod(line + 9, NULL) == rows[i].v);
        if (i == 7) /* past 2^53 any exact spelling will do */
            continue;
        snprintf(want, sizeof want, "\nt_depth %s\n", rows[i].text);
        assert_memory_equal(line, want, strlen(want));
    }
    metric_set(s, (double)INFINITY);
    assert_non_null(strstr(render(m), "\nt_depth +Inf\n"));
    metric_set(s, -(double)INFINITY);
    assert_non_null(strstr(render(m), "\nt_depth -Inf\n"));
    metric_set(s, (double)NAN);
    assert_non_null(strstr(render(m), "\nt_depth NaN\n"));
    metric_observe(metrics_series(m, PLAIN, NULL, NULL, NULL), (double)NAN); /* above all buckets */
    assert_non_null(strstr(render(m), "le=\"2.5\"} 0\nt_plain_seconds_bucket{le=\"+Inf\"} 1\n"));
    metrics_free(m);
}

static void test_same_series(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(defs);
    struct metric_series *s = metrics_series(m, REQUESTS, "a", "b", NULL);
    assert_ptr_equal(metrics_series(m, REQUESTS, "a", "b", "unused"), s);
    assert_ptr_not_equal(metrics_series(m, REQUESTS, "b", "a", NULL), s);
    assert_ptr_not_equal(metrics_series(m, REQUESTS, "ab", "", NULL), s);
    assert_ptr_equal(metrics_series(m, REQUESTS, "ab", "", NULL),
                     metrics_series(m, REQUESTS, "ab", NULL, NULL));
    assert_ptr_equal(metrics_series(m, DEPTH, "x", NULL, NULL),
                     metrics_series(m, DEPTH, NULL, NULL, NULL));
    metrics_free(m);
}

/* Never more series than the cap; what comes later is counted as "other", and nothing is lost. */
static void test_cap(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(defs);
    assert_null(strstr(render(m), "other"));
    struct metric_series *first = metrics_series(m, REQUESTS, "v0", "c", NULL);
    for (int i = 0; i < 1000; i++) {
        char value[16];
        snprintf(value, sizeof value, "v%d", i);
        metric_add(metrics_series(m, REQUESTS, value, "c", NULL), 1);
    }
    assert_ptr_equal(metrics_series(m, REQUESTS, "v0", "c", NULL), first);
    struct metric_series *other = metrics_series(m, REQUESTS, "v999", "c", NULL);
    assert_ptr_equal(metrics_series(m, REQUESTS, "other", "other", NULL), other);
    assert_true(metric_value(other) == 1000 - (METRICS_SERIES_MAX - 1));
    int lines = 0;
    for (const char *p = render(m); (p = strstr(p, "\nt_requests_total{")); p++)
        lines++;
    assert_int_equal(lines, METRICS_SERIES_MAX);
    assert_non_null(strstr(page, "{lane=\"other\",class=\"other\"} 745\n"));
    metrics_free(m);
}

static void test_label_values(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(defs);
    metric_add(metrics_series(m, REQUESTS, "bad\xff\xc3!", "\xc3\xa9", NULL), 1);
    assert_non_null(strstr(render(m), "{lane=\"bad?\?!\",class=\"\xc3\xa9\"} 1\n"));
    char longest[400];
    memset(longest, 'x', sizeof longest);
    memcpy(longest + METRIC_VALUE_BYTES - 2, "\xc3\xa9", 3); /* across the bound: cut before it */
    metric_add(metrics_series(m, REQUESTS, longest, "l", NULL), 1);
    const char *at = strstr(render(m), "{lane=\"xxx");
    assert_non_null(at);
    assert_int_equal(strspn(at + 7, "x"), METRIC_VALUE_BYTES - 2);
    assert_memory_equal(at + 7 + METRIC_VALUE_BYTES - 2, "\",class=\"l\"} 1\n", 15);
    metrics_free(m);
}

static void test_render_that_does_not_fit(void **state)
{
    (void)state;
    struct metrics *m = metrics_new(defs);
    size_t need = strlen(render(m));
    for (size_t cap = 4; cap < need + 4; cap += 7) {
        struct buf out;
        buf_init(&out, cap);
        assert_true(buf_add_text(&out, "head"));
        assert_false(metrics_render(m, &out));
        assert_int_equal(out.n, 4);
        buf_done(&out);
    }
    struct buf out;
    buf_init(&out, need);
    assert_true(metrics_render(m, &out));
    buf_done(&out);
    metrics_free(m);
}

static void test_seconds_buckets(void **state)
{
    (void)state;
    int n = 0;
    for (; metric_seconds_buckets[n] != 0; n++)
        assert_true(n == 0 || metric_seconds_buckets[n] > metric_seconds_buckets[n - 1]);
    assert_in_range(n, 10, METRIC_BUCKETS_MAX);
    assert_true(metric_seconds_buckets[0] == 0.0001);
    assert_true(metric_seconds_buckets[n - 1] == 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_same_series),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_label_values),
        cmocka_unit_test(test_render_that_does_not_fit),
        cmocka_unit_test(test_seconds_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
