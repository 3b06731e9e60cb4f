/*
 * test_top.c - the screen of `inferq top`: what it says, and that it fits whatever the terminal's
 * size is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "admin/table.h"
#include "admin/top.h"
#include "common/codes.h"

static struct top_facts facts;

static void name(char *out, const char *text, int i)
{
    (void)snprintf(out, TOP_TEXT_BYTES, "%s-%d", text, i);
}

/* A fleet at work. */
static void fill(int endpoints, int workers, int batches)
{
    facts = (struct top_facts){.at_ms = 1700000000123,
                               .took_us = 12000,
                               .in_flight = 42,
                               .calls = 130,
                               .ended = 120,
                               .cost_nusd = 500000000,
                               .class_count = 2,
                               .classes = {{CLASS_OK, 120}, {CLASS_THROTTLED, 10}},
                               .endpoint_count = endpoints,
                               .worker_count = workers,
                               .batch_count = batches,
                               .lane_count = 3,
                               .lanes = {{.name = "high"}, {0}, {.name = "low", .lag = -1}}};
    facts.lanes[1] = (struct top_lane){
        .name = "normal", .lag = 4321, .waiting = TOP_COUNT_MAX, .due = 7, .ended = 120};
    for (int i = 0; i < endpoints; i++) {
        name(facts.endpoints[i].name, "endpoint", i);
        facts.endpoints[i].max_in_flight = 64;
    }
    for (int i = 0; i < workers; i++) {
        name(facts.workers[i].host, "host", i);
        (void)snprintf(facts.workers[i].state, sizeof facts.workers[i].state, "alive");
        facts.workers[i].id = i;
        facts.workers[i].lease_left_ms = 12300;
    }
    for (int i = 0; i < batches; i++) {
        name(facts.batches[i].name, "reports/june", i);
        facts.batches[i].accepted = 1000;
        facts.batches[i].ended = 500;
        facts.batches[i].pending = 500;
        facts.batches[i].recent = 50;
    }
}

static char *render(int width, int height)
{
    struct buf out;
    struct err err = {0};
    size_t n = 0;
    buf_init(&out, 1 << 20);
    if (top_render(&facts, width, height, &out, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_true(buf_add_byte(&out, 0));
    return buf_take(&out, &n);
}

static void assert_says(const char *text, const char *what)
{
    if (!strstr(text, what))
        fail_msg("no \"%s\" in:\n%s", what, text);
}

static void test_says(void **state)
{
    (void)state;
    static const char *const said[] = {"2023-11-14T22:13:20.123Z",
                                       "12 ms",
                                       "2 workers  42 calls in flight  12.0 jobs/s  13.0 calls/s",
                                       "3 USD/min", /* half a dollar in ten seconds */
                                       "ok 12.0/s  throttled 1.0/s",
                                       "4321       12.0     10000+          7",
                                       "low               -        0.0",
                                       "endpoint-0",
                                       "0/64",
                                       "paused by an operator",
                                       "host-1:0",
                                       "12.3 s",
                                       "########........",
                                       "500/1000",
                                       "1 min 40 s" /* 500 at 5 a second */};
    fill(2, 2, 2);
    (void)snprintf(facts.endpoints[1].paused_by, TOP_TEXT_BYTES, "an operator");
    char *text = render(200, 0);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        assert_says(text, said[i]);
    assert_null(strstr(text, "more"));
    assert_null(strstr(text, "unknown cost"));
    free(text);

    facts.unpriced = 1;
    facts.held = true;
    facts.batches[0].accepted = facts.batches[0].pending = -1;
    facts.batches[1].recent = 0;
    text = render(200, 0);
    assert_says(text, "unknown cost");
    assert_says(text, "HELD");
    assert_says(text, "500/? ");
    assert_null(strstr(text, "1 min 40 s")); /* nobody knows when they end */
    free(text);

    (void)snprintf(facts.away, sizeof facts.away, "connection refused");
    text = render(200, 0);
    assert_says(text, "Postgres does not answer: connection refused");
    free(text);
}

/* So many limits hold the fleet; the first is of a day. */
static void hold(int limits)
{
    for (int i = 0; i < limits; i++) {
        struct held *h = &facts.limits.all[facts.limits.count++];
        *h = (struct held){.dimension = i ? LIMIT_REQUESTS_PER_MINUTE : LIMIT_TOKENS_PER_DAY,
                           .amount = 500,
                           .used = 489,
                           .wanted = 1643,
                           .parked = HELD_COUNT_MAX,
                           .pending = i ? 0 : 20000,
                           .left_ms = 3601000};
        (void)snprintf(h->limit, sizeof h->limit, "app:\x1b[2J%d", i);
    }
}

static void test_limits(void **state)
{
    (void)state;
    fill(1, 1, 1);
    hold(2);
    char *text = render(200, 0);
    assert_says(text,
                "USD/min\n\nLIMIT  app:?[2J0 tokens_per_day 500: all taken, more at 00:00 UTC "
                "(1 h 1 min), up to 20000 jobs wait, 10000+ of them parked; "
                "inferq limit show\nLIMIT  app:?[2J1 requests_per_minute 500: 489 in the last "
                "minute of 1643 wanted, more within seconds, 10000+ jobs parked for it; "
                "inferq limit show\n\nLANE");
    free(text);
    hold(3);
    facts.limits.more = true;
    text = render(200, 0);
    assert_says(text, "\n  and 2+ more\n\nLANE");
    free(text);
}

static void test_nothing(void **state)
{
    (void)state;
    facts = (struct top_facts){0};
    char *text = render(80, 24);
    assert_says(text, "0 workers");
    assert_says(text, "none ended");
    free(text);
}

/* Names are others': what a terminal would obey does not reach it. */
static void test_escapes(void **state)
{
    (void)state;
    fill(1, 1, 1);
    (void)snprintf(facts.batches[0].name, TOP_TEXT_BYTES, "a\x1b[2J\nb\xff");
    char *text = render(120, 0);
    assert_null(strchr(text, '\x1b'));
    assert_null(strstr(text, "\nb"));
    assert_says(text, "a?[2J?b");
    free(text);
}

/* Every line within the width, as many as fit, and the lists say what they leave out. */
static void test_fits(void **state)
{
    (void)state;
    static const int counts[][3] = {{0, 0, 0}, {3, 3, 3}, {100, 200, 50}, {1, 200, 0}};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        fill(counts[c][0], counts[c][1], counts[c][2]);
        hold(c == 2 ? HELD_MAX : 0);
        for (int width = 1; width <= 130; width += 43) {
            for (int height = 1; height <= 70; height++) {
                char *text = render(width, height);
                int lines = 0;
                for (char *at = text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
                    assert_true(table_width((struct span){at, (size_t)(end - at)}) <= width);
                    lines++;
                }
                assert_in_range(lines, 1, height);
                free(text);
            }
        }
        char *text = render(120, 40);
        bool all = counts[c][0] + counts[c][1] + counts[c][2] < 20;
        assert_int_equal(strstr(text, " more\n") == NULL, all);
        assert_says(text, "BATCH"); /* the last section is there, whatever stands before it */
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_says),    cmocka_unit_test(test_limits),
        cmocka_unit_test(test_nothing), cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
