/*
 * test_codes.c - the stored numbers. They are written out here a second time on purpose: a number
 * that changes its meaning must fail a test.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/codes.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct row {
    const char *kind;
    int code;
    const char *name;
};

static const struct row rows[] = {
    {"status", 0, "none"},
    {"status", 1, "succeeded"},
    {"status", 2, "dead"},
    {"status", 3, "cancelled"},
    {"status", 4, "expired"},
    {"class", 0, "none"},
    {"class", 1, "ok"},
    {"class", 10, "malformed"},
    {"class", 11, "invalid_job"},
    {"class", 12, "forged_id"},
    {"class", 13, "bad_signature"},
    {"class", 14, "no_model"},
    {"class", 15, "expired"},
    {"class", 16, "cancelled"},
    {"class", 17, "attempts_spent"},
    {"class", 18, "over_cost"},
    {"class", 19, "unstorable"},
    {"class", 20, "model_not_live"},
    {"class", 21, "over_limit"},
    {"class", 24, "held"},
    {"class", 25, "given_up"},
    {"class", 26, "skipped"},
    {"class", 27, "retry_budget"},
    {"class", 30, "unsent"},
    {"class", 31, "tls_config"},
    {"class", 32, "ambiguous"},
    {"class", 33, "invalid"},
    {"class", 34, "context_too_long"},
    {"class", 35, "credential"},
    {"class", 36, "no_upstream_model"},
    {"class", 37, "billing"},
    {"class", 38, "conflict"},
    {"class", 39, "throttled"},
    {"class", 40, "server_error"},
    {"class", 41, "overloaded"},
    {"class", 42, "refused"},
    {"class", 43, "bad_output"},
    {"class", 44, "bad_reply"},
    {"class", 45, "unknown_status"},
    {"class", 46, "lost"},
    {"class", 47, "aborted"},
    {"call_kind", 1, "primary"},
    {"call_kind", 2, "retry"},
    {"call_kind", 3, "fallback"},
    {"call_kind", 4, "reask"},
    {"call_kind", 5, "shadow"},
    {"call_kind", 6, "replay"},
    {"call_kind", 7, "eval"},
    {"certainty", 0, "none"},
    {"certainty", 1, "exact"},
    {"certainty", 2, "estimated"},
    {"certainty", 3, "unknown"},
    {"validation", 0, "none"},
    {"validation", 1, "passed"},
    {"validation", 2, "reasked"},
    {"validation", 3, "failed"},
    {"dead_state", 1, "open"},
    {"dead_state", 2, "claimed"},
    {"dead_state", 3, "requeued"},
    {"dead_state", 4, "edited"},
    {"dead_state", 5, "accepted"},
    {"dead_state", 6, "discarded"},
    {"priority", 0, "high"},
    {"priority", 1, "normal"},
    {"priority", 2, "low"},
};

static const struct {
    const char *kind;
    const char *(*name)(int);
    int (*parse)(const char *);
} kinds[] = {
    {"status", status_name, status_parse},       {"class", class_name, class_parse},
    {"call_kind", call_kind_name, NULL},         {"certainty", certainty_name, NULL},
    {"validation", validation_name, NULL},       {"dead_state", dead_state_name, NULL},
    {"priority", priority_name, priority_parse},
};

static void test_entries(void **state)
{
    (void)state;
    size_t at = 0;
    for (size_t k = 0; k < COUNT(kinds); k++) {
        int code = -7;
        const char *name = NULL;
        int i = 0;
        for (; codes_entry(kinds[k].kind, i, &code, &name); i++, at++) {
            assert_true(at < COUNT(rows));
            assert_string_equal(rows[at].kind, kinds[k].kind);
            assert_int_equal(rows[at].code, code);
            assert_string_equal(rows[at].name, name);
        }
        code = -7;
        assert_false(codes_entry(kinds[k].kind, i + 1, &code, &name));
        assert_false(codes_entry(kinds[k].kind, -1, &code, &name));
        assert_int_equal(code, -7);
    }
    assert_int_equal(at, COUNT(rows));
    int code;
    const char *name;
    assert_false(codes_entry("colour", 0, &code, &name));
}

static void test_names(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(kinds); k++) {
        int known = 0, listed = 0;
        for (size_t i = 0; i < COUNT(rows); i++) {
            if (strcmp(rows[i].kind, kinds[k].kind) != 0)
                continue;
            listed++;
            assert_string_equal(kinds[k].name(rows[i].code), rows[i].name);
            if (kinds[k].parse)
                assert_int_equal(kinds[k].parse(rows[i].name), rows[i].code);
        }
        for (int code = -2; code < 300; code++) {
            /* "unknown" is also the honest name of one certainty. */
            const char *name = kinds[k].name(code);
            bool is_known = strcmp(name, "unknown") != 0 ||
                            (strcmp(kinds[k].kind, "certainty") == 0 && code == CERTAINTY_UNKNOWN);
            known += is_known;
        }
        assert_int_equal(known, listed);
        assert_string_equal(kinds[k].name(INT_MAX), "unknown");
        assert_string_equal(kinds[k].name(INT_MIN), "unknown");
    }
}

static void test_strangers(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "unknown", "HIGH", "high ", "hig", "highest", "Ok"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(status_parse(bad[i]), -1);
        assert_int_equal(class_parse(bad[i]), -1);
        assert_int_equal(priority_parse(bad[i]), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_strangers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
