/*
 * test_policy.c - what routes say about calling again, row by row.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "worker/policy.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Every class that there is: those of which nobody knows end by the route, no other does. */
static void test_endings(void **state)
{
    static const struct {
        enum ambiguous says;
        enum class unknown; /* the ending where nobody knows */
    } rows[] = {
        {AMBIGUOUS_RETRY, CLASS_NONE},
        {AMBIGUOUS_HOLD, CLASS_HELD},
        {AMBIGUOUS_GIVE_UP, CLASS_GIVEN_UP},
    };
    const char *name;
    int code, unknown = 0;
    (void)state;
    for (int i = 0; codes_entry("class", i, &code, &name); i++) {
        bool is = !strcmp(name, "ambiguous") || !strcmp(name, "lost") || !strcmp(name, "aborted");
        unknown += is;
        assert_int_equal(policy_unknown((enum class)code), is);
        for (size_t k = 0; k < COUNT(rows); k++) {
            struct cat_retry retry = CATALOGUE_RETRY_DEFAULT;
            retry.ambiguous = rows[k].says;
            if (policy_ending(&retry, (enum class)code) != (is ? rows[k].unknown : CLASS_NONE))
                fail_msg("%s, route %zu", name, k);
        }
    }
    assert_int_equal(unknown, 3);
}

static void test_reasons(void **state)
{
    (void)state;
    assert_non_null(strstr(policy_reason(CLASS_HELD), "holds jobs for review"));
    assert_non_null(strstr(policy_reason(CLASS_GIVEN_UP), "gives jobs up"));
    assert_null(policy_reason(CLASS_AMBIGUOUS));
    assert_null(policy_reason(CLASS_NONE));
}

static void test_attempts(void **state)
{
    static const struct {
        int of_route, of_job, of_worker, allowed;
    } rows[] = {
        {0, 0, 5, 5},                                           /* nobody says */
        {0, 3, 5, 3}, {0, 9, 5, 9},                             /* the job does */
        {2, 0, 5, 2}, {9, 0, 5, 9},                             /* its route does */
        {2, 3, 5, 2}, {3, 2, 5, 2}, {9, 7, 5, 7}, {7, 9, 5, 7}, /* both: the fewer */
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cat_retry retry = CATALOGUE_RETRY_DEFAULT;
        retry.max_attempts = rows[i].of_route;
        if (policy_max_attempts(&retry, rows[i].of_job, rows[i].of_worker) != rows[i].allowed)
            fail_msg("row %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endings),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_attempts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
