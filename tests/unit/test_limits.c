/*
 * test_limits.c - the stored codes of scopes and dimensions, written out a second time, and
 * amounts as people write them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/limits.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void test_scopes(void **state)
{
    (void)state;
    static const char *const names[] = {"unknown", "endpoint", "model", "app", "unknown"};
    for (int i = 0; i < (int)COUNT(names); i++) {
        assert_string_equal(limit_scope_name(i), names[i]);
        if (i > 0 && i < LIMIT_SCOPE_END)
            assert_int_equal(limit_scope_parse(span_of(names[i])), i);
    }
    assert_string_equal(limit_scope_name(-1), "unknown");
    assert_int_equal(limit_scope_parse(SPAN_LIT("unknown")), -1);
    assert_int_equal(limit_scope_parse(SPAN_LIT("app ")), -1);
    assert_int_equal(limit_scope_parse((struct span){NULL, 0}), -1);
}

static void test_dimensions(void **state)
{
    (void)state;
    static const struct {
        int code;
        const char *name;
        bool is_rate, is_tokens;
        int64_t max;
    } rows[] = {
        {1, "requests_per_minute", true, false, INT64_C(10000000000)},
        {2, "input_tokens_per_minute", true, true, INT64_C(10000000000)},
        {3, "output_tokens_per_minute", true, true, INT64_C(10000000000)},
        {4, "tokens_per_minute", true, true, INT64_C(10000000000)},
        {5, "tokens_per_day", false, true, INT64_C(14400000000000)},
        {6, "in_flight", false, false, INT64_C(1000000)},
    };
    assert_int_equal(COUNT(rows), LIMIT_DIMENSION_END - 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_string_equal(limit_dimension_name(rows[i].code), rows[i].name);
        assert_int_equal(limit_dimension_parse(span_of(rows[i].name)), rows[i].code);
        assert_int_equal(limit_is_rate((enum limit_dimension)rows[i].code), rows[i].is_rate);
        assert_int_equal(limit_is_tokens((enum limit_dimension)rows[i].code), rows[i].is_tokens);
        assert_int_equal(limit_amount_max((enum limit_dimension)rows[i].code), rows[i].max);
    }
    assert_string_equal(limit_dimension_name(0), "unknown");
    assert_string_equal(limit_dimension_name(7), "unknown");
    assert_string_equal(limit_dimension_name(-3), "unknown");
    assert_int_equal(limit_dimension_parse(SPAN_LIT("requests")), -1);
    assert_int_equal(limit_dimension_parse(SPAN_LIT("")), -1);
}

static void test_amounts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum limit_dimension dimension;
        int64_t amount; /* 0: refused */
    } rows[] = {
        {"1", LIMIT_REQUESTS_PER_MINUTE, 1},
        {"500", LIMIT_REQUESTS_PER_MINUTE, 500},
        {"000500", LIMIT_REQUESTS_PER_MINUTE, 500},
        {"200000", LIMIT_TOKENS_PER_MINUTE, 200000},
        {"200_000", LIMIT_TOKENS_PER_MINUTE, 200000},
        {"200,000", LIMIT_TOKENS_PER_MINUTE, 200000},
        {"1,200_000", LIMIT_TOKENS_PER_MINUTE, 1200000},
        {"200k", LIMIT_TOKENS_PER_MINUTE, 200000},
        {"200K", LIMIT_TOKENS_PER_MINUTE, 200000},
        {"2M", LIMIT_TOKENS_PER_MINUTE, 2000000},
        {"2m", LIMIT_TOKENS_PER_MINUTE, 2000000},
        {"1,000k", LIMIT_TOKENS_PER_MINUTE, 1000000},
        {"10000000000", LIMIT_TOKENS_PER_MINUTE, INT64_C(10000000000)},
        {"10,000M", LIMIT_TOKENS_PER_MINUTE, INT64_C(10000000000)},
        {"14400000000000", LIMIT_TOKENS_PER_DAY, INT64_C(14400000000000)},
        {"1M", LIMIT_IN_FLIGHT, 1000000},
        {"", LIMIT_IN_FLIGHT, 0},
        {"0", LIMIT_IN_FLIGHT, 0},
        {"0k", LIMIT_IN_FLIGHT, 0},
        {"k", LIMIT_IN_FLIGHT, 0},
        {"-1", LIMIT_IN_FLIGHT, 0},
        {"+1", LIMIT_IN_FLIGHT, 0},
        {" 1", LIMIT_IN_FLIGHT, 0},
        {"1 ", LIMIT_IN_FLIGHT, 0},
        {"1.5M", LIMIT_TOKENS_PER_MINUTE, 0},
        {"1e5", LIMIT_TOKENS_PER_MINUTE, 0},
        {"0x10", LIMIT_IN_FLIGHT, 0},
        {"10/s", LIMIT_REQUESTS_PER_MINUTE, 0},
        {"20,00", LIMIT_IN_FLIGHT, 0},
        {"2000,000", LIMIT_TOKENS_PER_MINUTE, 0},
        {"1,,000", LIMIT_IN_FLIGHT, 0},
        {",100", LIMIT_IN_FLIGHT, 0},
        {"100,", LIMIT_IN_FLIGHT, 0},
        {"1000,000,000", LIMIT_TOKENS_PER_MINUTE, 0},
        {"2kk", LIMIT_IN_FLIGHT, 0},
        {"10000000001", LIMIT_TOKENS_PER_MINUTE, 0},
        {"10,001M", LIMIT_TOKENS_PER_MINUTE, 0},
        {"14400000000001", LIMIT_TOKENS_PER_DAY, 0},
        {"1000001", LIMIT_IN_FLIGHT, 0},
        {"99999999999999999999999999", LIMIT_TOKENS_PER_DAY, 0},
        {"9223372036854775808k", LIMIT_TOKENS_PER_DAY, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t amount = -7;
        struct err err = {0};
        enum rc rc = limit_amount_parse(span_of(rows[i].text), rows[i].dimension, &amount, &err);
        if (rc != (rows[i].amount ? RC_OK : RC_REJECT))
            fail_msg("\"%s\": %s (%s)", rows[i].text, rc_name(rc), err.text);
        assert_int_equal(amount, rows[i].amount ? rows[i].amount : -7);
        assert_int_equal(err.text[0] != '\0', !rows[i].amount);
    }
}

/* What the operator reads names what was written, and what to do. */
static void test_amounts_that_are_refused_say_why(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"lots", "\"lots\" is no amount: write it as 500"},
        {"20000000000",
         "20000000000 is more than a limit of tokens_per_minute can be: 10000000000"},
        {"0", "inferq endpoint pause"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t amount;
        struct err err = {0};
        assert_int_equal(
            limit_amount_parse(span_of(rows[i].text), LIMIT_TOKENS_PER_MINUTE, &amount, &err),
            RC_REJECT);
        assert_non_null(strstr(err.text, rows[i].says));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_dimensions),
        cmocka_unit_test(test_amounts),
        cmocka_unit_test(test_amounts_that_are_refused_say_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
