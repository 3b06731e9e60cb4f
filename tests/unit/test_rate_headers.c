/*
 * test_rate_headers.c - each maker's spelling of a rate limit, and what says nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "worker/rate_headers.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const int64_t NOW_MS = INT64_C(1795000000000); /* 2026-11-18T11:06:40Z */
enum { S = 1000 * 1000, MS = 1000 };
static const int64_t DAY = INT64_C(86400) * 1000 * 1000;

/* Header lines, parted by newlines, into `told`. Returns how many were of rate limits. */
static int hear(const char *lines, const char *date, struct rate_told *told)
{
    struct rate_heard heard = {0};
    int taken = 0;
    for (const char *p = lines; *p;) {
        const char *colon = strchr(p, ':');
        size_t n = strcspn(p, "\n");
        struct span name = {p, (size_t)(colon - p)};
        struct span value = {colon + 1, n - name.n - 1};
        taken += rate_headers_take(&heard, name, value);
        p += n + (p[n] == '\n');
    }
    rate_headers_read(&heard, date, NOW_MS, told);
    return taken;
}

struct row {
    const char *lines;
    enum rate_dimension dimension;
    int64_t limit, remaining, reset_us;
};

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct rate_told told;
        hear(rows[i].lines, "", &told);
        const struct rate_limit *of = &told.of[rows[i].dimension];
        if (of->limit != rows[i].limit || of->remaining != rows[i].remaining ||
            of->reset_us != rows[i].reset_us)
            fail_msg("row %zu, %s: limit %lld, remaining %lld, reset %lld us", i, rows[i].lines,
                     (long long)of->limit, (long long)of->remaining, (long long)of->reset_us);
    }
}

static void test_makers(void **state)
{
    (void)state;
    static const char openai[] = "x-ratelimit-limit-requests: 5000\n"
                                 "x-ratelimit-limit-tokens: 160000\n"
                                 "x-ratelimit-remaining-requests: 4999\n"
                                 "x-ratelimit-remaining-tokens: 159976\n"
                                 "x-ratelimit-reset-requests: 12ms\n"
                                 "x-ratelimit-reset-tokens: 6m0s";
    static const char usage_based[] = "x-ratelimit-limit-tokens: 160000\n"
                                      "x-ratelimit-remaining-tokens: 159976\n"
                                      "x-ratelimit-reset-tokens: 9ms\n"
                                      "x-ratelimit-limit-tokens_usage_based: 150000\n"
                                      "x-ratelimit-remaining-tokens_usage_based: 12\n"
                                      "x-ratelimit-reset-tokens_usage_based: 7s";
    static const char anthropic[] = "anthropic-ratelimit-requests-limit: 1000\n"
                                    "anthropic-ratelimit-requests-remaining: 999\n"
                                    "anthropic-ratelimit-requests-reset: 2026-11-18T11:06:41Z\n"
                                    "anthropic-ratelimit-tokens-limit: 96000\n"
                                    "anthropic-ratelimit-tokens-remaining: 95000\n"
                                    "anthropic-ratelimit-tokens-reset: 2026-11-18T11:06:42Z\n"
                                    "anthropic-ratelimit-input-tokens-limit: 80000\n"
                                    "anthropic-ratelimit-input-tokens-remaining: 0\n"
                                    "anthropic-ratelimit-input-tokens-reset: 2026-11-18T11:07:40Z\n"
                                    "anthropic-ratelimit-output-tokens-limit: 16000\n"
                                    "anthropic-ratelimit-output-tokens-remaining: 16000\n"
                                    "anthropic-ratelimit-output-tokens-reset: 2026-11-18T11:06:39Z";
    static const char mistral[] = "x-ratelimit-limit-tokens-minute: 5000000\n"
                                  "x-ratelimit-remaining-tokens-minute: 4999911\n"
                                  "x-ratelimit-limit-tokens-month: 9000000\n"
                                  "x-ratelimit-remaining-tokens-month: 0\n"
                                  "x-ratelimit-tokens-query-cost: 52\n"
                                  "x-ratelimit-limit-req-minute: 720\n"
                                  "x-ratelimit-remaining-req-minute: 717";
    static const char cerebras[] = "x-ratelimit-limit-requests-day: 14400\n"
                                   "x-ratelimit-remaining-requests-day: 14399\n"
                                   "x-ratelimit-reset-requests-day: 33011.382867\n"
                                   "x-ratelimit-limit-tokens-minute: 60000\n"
                                   "x-ratelimit-remaining-tokens-minute: 59980\n"
                                   "x-ratelimit-reset-tokens-minute: 11.25";
    static const char openrouter[] = "X-RateLimit-Limit: 50\nX-RateLimit-Remaining: 0\n"
                                     "X-RateLimit-Reset: 1795000020000";
    static const char litellm[] = "x-ratelimit-remaining-requests: 90\n"
                                  "llm_provider-x-ratelimit-remaining-requests: 3\n"
                                  "llm_provider-x-ratelimit-reset-requests: 4s\n"
                                  "llm_provider-anthropic-ratelimit-tokens-remaining: 8";
    const struct row rows[] = {
        {openai, RATE_REQUESTS, 5000, 4999, 12 * MS},
        {openai, RATE_TOKENS, 160000, 159976, 360 * (int64_t)S},
        {openai, RATE_INPUT, -1, -1, -1},
        {usage_based, RATE_TOKENS, 150000, 12, 7 * S},
        {"x-ratelimit-remaining-project-tokens: 7", RATE_TOKENS, -1, 7, -1},
        /* Azure: whole seconds; -1 and 0 where it does not know; a spelling of its own in a 429 */
        {"x-ratelimit-remaining-requests: 79\nx-ratelimit-reset-requests: 10", RATE_REQUESTS, -1,
         79, 10 * S},
        {"x-ratelimit-limit-tokens: -1\nx-ratelimit-remaining-tokens: -1\n"
         "x-ratelimit-reset-tokens: 0",
         RATE_TOKENS, -1, -1, 0},
        {"x-rate-limit-reset-tokens: 55", RATE_TOKENS, -1, -1, 55 * S},
        /* Groq */
        {"x-ratelimit-limit-requests: 14400\nx-ratelimit-remaining-requests: 14370\n"
         "x-ratelimit-reset-requests: 2m59.56s",
         RATE_REQUESTS, 14400, 14370, 179560 * MS},
        {"x-ratelimit-reset-tokens: 7.66s", RATE_TOKENS, -1, -1, 7660 * MS},
        {anthropic, RATE_REQUESTS, 1000, 999, S},
        {anthropic, RATE_TOKENS, 96000, 95000, 2 * S},
        {anthropic, RATE_INPUT, 80000, 0, 60 * S},
        {anthropic, RATE_OUTPUT, 16000, 16000, 0},
        {mistral, RATE_REQUESTS, 720, 717, -1},
        {mistral, RATE_TOKENS, 9000000, 0, -1},
        {cerebras, RATE_REQUESTS, 14400, 14399, INT64_C(33011382867)},
        {cerebras, RATE_TOKENS, 60000, 59980, 11250 * MS},
        {"x-ratelimit-limit-tokens-per-day: 9\nx-ratelimit-remaining-tokens-per-day: 8\n"
         "x-ratelimit-reset-tokens-per-day: 1795000030",
         RATE_TOKENS, 9, 8, 30 * S},
        {"X-Ratelimit-Limit-Tokens-Prompt: 60000\nX-Ratelimit-Remaining-Tokens-Prompt: 59000",
         RATE_INPUT, 60000, 59000, -1},
        {"x-ratelimit-remaining-tokens-generated: 11", RATE_OUTPUT, -1, 11, -1},
        {"x-ratelimit-limit: 10\nx-ratelimit-remaining: 9\nx-ratelimit-reset: 1", RATE_REQUESTS, 10,
         9, S},
        {"x-tokenlimit-limit: 3000\nx-tokenlimit-remaining: 2900", RATE_TOKENS, 3000, 2900, -1},
        {openrouter, RATE_REQUESTS, 50, 0, 20 * S},
        {litellm, RATE_REQUESTS, -1, 3, 4 * S},
        {litellm, RATE_TOKENS, -1, 8, -1},
        {"X-AI-RateLimit-Limit-my-model: 300\nX-AI-RateLimit-Remaining-my-model: 0\n"
         "X-AI-RateLimit-Reset-my-model: 13",
         RATE_TOKENS, 300, 0, 13 * S},
        {"x-ratelimit-limit: 10, 10;w=60\nx-ratelimit-remaining: 4", RATE_REQUESTS, 10, 4, -1},
        {"RateLimit-Limit: 100, 100;w=60\nRateLimit-Remaining: 7\nRateLimit-Reset: 5",
         RATE_REQUESTS, 100, 7, 5 * S},
        {"X-RateLimit-Remaining-Minute: 0\nX-RateLimit-Remaining-Hour: 70", RATE_REQUESTS, -1, 0,
         -1},
        {"x-ratelimit-reset-after: 0.5", RATE_REQUESTS, -1, -1, 500 * MS},
        {"x-ratelimit-reset-ms: 1500", RATE_REQUESTS, -1, -1, 1500 * MS},
        {"x-rate-limit-remaining: 847\nx-rate-limit-reset: 1795000012", RATE_REQUESTS, -1, 847,
         12 * S},
        {"x-ratelimit-reset: Wed, 18 Nov 2026 11:06:50 GMT", RATE_REQUESTS, -1, -1, 10 * S},
    };
    check_rows(rows, COUNT(rows));
}

static void test_structured_fields(void **state)
{
    (void)state;
    static const char two[] = "RateLimit: \"burst\";r=5;t=1, \"daily\";r=2;t=3600\n"
                              "RateLimit-Policy: \"burst\";q=10;w=1, \"daily\";q=1000;w=86400";
    const struct row rows[] = {
        {"RateLimit: limit=100, remaining=50, reset=50", RATE_REQUESTS, 100, 50, 50 * S},
        {"ratelimit:limit=100,remaining=0,reset=9\nRateLimit-Policy: 100;w=60", RATE_REQUESTS, 100,
         0, 9 * S},
        {"RateLimit: \"default\";r=50;t=30", RATE_REQUESTS, -1, 50, 30 * S},
        {"RateLimit-Policy: \"default\";q=100;w=60\nRateLimit: \"default\";r=50;t=30",
         RATE_REQUESTS, 100, 50, 30 * S},
        {"RateLimit: default;r=50;t=30", RATE_REQUESTS, -1, 50, 30 * S},
        {two, RATE_REQUESTS, 1000, 2, INT64_C(3600) * S},
        {"RateLimit: \"input-tokens\";r=9;t=3", RATE_INPUT, -1, 9, 3 * S},
        {"RateLimit: \"output tokens, a day\";r=9;t=3, \"x\";r=1;t=1", RATE_OUTPUT, -1, 9, 3 * S},
        {"RateLimit: \"tokens;r=1\";r=9;t=3", RATE_TOKENS, -1, 9, 3 * S},
        {"RateLimit: \"d\";r=50;t=30;pk=:dGVzdA==:", RATE_REQUESTS, -1, 50, 30 * S},
        {"RateLimit-Policy: \"b\";q=65535;qu=\"content-bytes\";w=10", RATE_REQUESTS, -1, -1, -1},
        {"RateLimit-Policy: \"b\";q=6;qu=\"requests\";w=10", RATE_REQUESTS, 6, -1, -1},
        {"RateLimit: \"d\"", RATE_REQUESTS, -1, -1, -1},
        {"RateLimit: \"input and output\";r=9;t=3", RATE_INPUT, -1, -1, -1}, /* of which? */
        {"RateLimit: a;r=9, b;r=9, c;r=9, d;r=9, e;r=9, f;r=9, g;r=9, h;r=8, i;r=1", RATE_REQUESTS,
         -1, 8, -1}, /* more than there is room for */
        {"RateLimit: ;r=1", RATE_REQUESTS, -1, 1, -1},
        {"RateLimit: ,,;;==,\"", RATE_REQUESTS, -1, -1, -1},
        {"RateLimit: =5", RATE_REQUESTS, -1, -1, -1},
        {"RateLimit: remaining", RATE_REQUESTS, -1, -1, -1},
        {"RateLimit: remaining=", RATE_REQUESTS, -1, -1, -1},
        {"RateLimit:", RATE_REQUESTS, -1, -1, -1},
    };
    check_rows(rows, COUNT(rows));
}

/* What cannot be meant: it says nothing, or as little as can be. */
static void test_values(void **state)
{
    (void)state;
#define REMAINING "x-ratelimit-remaining-requests: "
#define RESET "x-ratelimit-reset-requests: "
#define DIGITS60 "999999999999999999999999999999999999999999999999999999999999"
    const struct row rows[] = {
        {REMAINING "-1", RATE_REQUESTS, -1, -1, -1},
        {REMAINING "-0.5", RATE_REQUESTS, -1, -1, -1},
        {REMAINING "", RATE_REQUESTS, -1, -1, -1},
        {REMAINING "many", RATE_REQUESTS, -1, -1, -1},
        {REMAINING "1 per 5 seconds", RATE_REQUESTS, -1, -1, -1},
        {REMAINING "burst:100;rate:10", RATE_REQUESTS, -1, -1, -1},
        {REMAINING "0x10", RATE_REQUESTS, -1, -1, -1},
        {REMAINING "1e3", RATE_REQUESTS, -1, -1, -1},
        {REMAINING " 12 ", RATE_REQUESTS, -1, 12, -1},
        {REMAINING "12.9", RATE_REQUESTS, -1, 12, -1},
        {REMAINING "0012", RATE_REQUESTS, -1, 12, -1},
        {REMAINING DIGITS60 DIGITS60, RATE_REQUESTS, -1, INT64_C(999999999999999), -1},
        {REMAINING "7, 3", RATE_REQUESTS, -1, 7, -1},
        /* said twice: the stricter counts */
        {REMAINING "7\n" REMAINING "3\n" REMAINING "5", RATE_REQUESTS, -1, 3, -1},
        {RESET "7s\n" RESET "3s", RATE_REQUESTS, -1, -1, 7 * S},
        {RESET "3s\n" RESET "7s", RATE_REQUESTS, -1, -1, 7 * S},
        {"x-ratelimit-limit: 9\nx-ratelimit-limit: 90", RATE_REQUESTS, 9, -1, -1},
        {RESET "-1", RATE_REQUESTS, -1, -1, 0},
        {RESET "-3s", RATE_REQUESTS, -1, -1, -1},
        {RESET "Sun, 06 Nov 1994 08:49:37 GMT", RATE_REQUESTS, -1, -1, 0},
        {RESET "1994-11-06T08:49:37Z", RATE_REQUESTS, -1, -1, 0},
        {RESET "784111777000", RATE_REQUESTS, -1, -1, 0}, /* 1994 */
        {RESET "1794999999", RATE_REQUESTS, -1, -1, 0},
        {RESET "2000000000000", RATE_REQUESTS, -1, -1, 30 * DAY},
        {RESET "9999999999999999999999", RATE_REQUESTS, -1, -1, 30 * DAY},
        {RESET "Fri, 31 Dec 9999 23:59:59 GMT", RATE_REQUESTS, -1, -1, 30 * DAY},
        {RESET "99999d", RATE_REQUESTS, -1, -1, 30 * DAY},
        {RESET "6y", RATE_REQUESTS, -1, -1, -1},
        {RESET "soon", RATE_REQUESTS, -1, -1, -1},
        {RESET DIGITS60 DIGITS60, RATE_REQUESTS, -1, -1, -1}, /* overlong */
        {RESET "Tue Feb 16 2021 09:02:42 GMT+0100 (Central European Standard Time)", RATE_REQUESTS,
         -1, -1, -1},
    };
    check_rows(rows, COUNT(rows));
}

static void test_names_that_are_none(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "content-type: 1",
        "x-ratelimit: 1",
        "x-ratelimit-: 1",
        "x-ratelimit-used: 1",
        "x-ratelimit-resource: core",
        "x-ratelimit-requests: 1",
        "x-ratelimit-limit-remaining: 1",
        "x-ratelimit-limit--requests: 1",
        "x-ratelimit-limit-dynamic: 1",
        "x-ratelimit-over-limit: no",
        "anthropic-ratelimit-unified-5h-reset: 1795000000",
        "anthropic-priority-input-tokens-limit: 10",
        "anthropic-organization-id: 7",
        "x-ratelimit-remaining-images: 0",
        "xratelimit-remaining: 0",
        "ratelimits: 0",
        "llm_provider-: 0",
        "llm_provider-date: 0",
        ": 0",
    };
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct rate_told told;
        if (hear(lines[i], "", &told) != 0)
            fail_msg("%s was heard", lines[i]);
        for (int d = 0; d < RATE_DIMENSIONS; d++)
            assert_true(told.of[d].limit == -1 && told.of[d].remaining == -1 &&
                        told.of[d].reset_us == -1);
    }
    struct rate_told told; /* of two kinds at once: one of these, and yet nothing can be done */
    assert_int_equal(hear("x-ratelimit-remaining-input-output: 0", "", &told), 1);
    assert_int_equal(told.of[RATE_INPUT].remaining, -1);
}

/* More limits than there are slots: the first ones are kept, and nothing breaks. */
static void test_too_many(void **state)
{
    (void)state;
    char lines[4096] = "";
    size_t n = 0;
    for (int i = 0; i < 40; i++)
        n += (size_t)snprintf(lines + n, sizeof lines - n, "x-ai-ratelimit-remaining-i%d: %d\n", i,
                              100 - i);
    struct rate_told told;
    assert_int_equal(hear(lines, "", &told), 40);
    assert_int_equal(told.of[RATE_TOKENS].remaining, 100 - (RATE_SLOTS - 1));
}

/* Dates count from the server's own clock when it says what that is. */
static void test_server_date(void **state)
{
    (void)state;
    static const char line[] = "x-ratelimit-reset: 1795000100";
    struct rate_told told;
    hear(line, "Wed, 18 Nov 2026 11:07:40 GMT", &told);
    assert_int_equal(told.of[RATE_REQUESTS].reset_us, 40 * S);
    hear(line, "yesterday", &told);
    assert_int_equal(told.of[RATE_REQUESTS].reset_us, 100 * S);
    hear("x-ratelimit-reset: 7", "Sun, 06 Nov 1994 08:49:37 GMT", &told);
    assert_int_equal(told.of[RATE_REQUESTS].reset_us, 7 * S);
}

static void test_wait(void **state)
{
    (void)state;
#define RESETS "x-ratelimit-reset-requests: 1s\nx-ratelimit-reset-tokens: 6m0s\n"
    static const struct {
        const char *lines;
        int64_t us;
    } rows[] = {
        {"", -1},
        {RESETS, 360 * (int64_t)S},
        {RESETS "x-ratelimit-remaining-requests: 0", S},
        {RESETS "x-ratelimit-remaining-tokens: 0", 360 * (int64_t)S},
        {RESETS "x-ratelimit-remaining-requests: 5\nx-ratelimit-remaining-tokens: 9",
         360 * (int64_t)S},
        {RESETS "x-ratelimit-remaining-requests: 0\nx-ratelimit-remaining-tokens: 0",
         360 * (int64_t)S},
        {"x-ratelimit-reset-requests: 1s", S},
        {"x-ratelimit-remaining-requests: 0\nx-ratelimit-reset-tokens: 6m0s", 360 * (int64_t)S},
        {"x-rate-limit-reset-tokens: 55", 55 * S},
        {"x-ratelimit-remaining-requests: 0", -1},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct rate_told told;
        hear(rows[i].lines, "", &told);
        if (rate_headers_wait_us(&told) != rows[i].us)
            fail_msg("row %zu: %lld us", i, (long long)rate_headers_wait_us(&told));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_makers),   cmocka_unit_test(test_structured_fields),
        cmocka_unit_test(test_values),   cmocka_unit_test(test_names_that_are_none),
        cmocka_unit_test(test_too_many), cmocka_unit_test(test_server_date),
        cmocka_unit_test(test_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
