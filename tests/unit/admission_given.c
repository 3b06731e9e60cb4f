/*
 * admission_given.c - what the tests of a worker's own view of the limits begin with.
 */
#include "tests/unit/admission_given.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <cmocka.h>

const struct admission_model given_models[GIVEN_MODELS] = {
    {"e@1", "m@1"}, {"e@1", "n@1"}, {"other@1", "o@1"}};

void given_rules(struct admission *a, const struct admission_rule *r, size_t n, int64_t now_us)
{
    struct err err = {0};
    assert_int_equal(admission_rules(a, r, n, 20, now_us, &err), RC_OK);
}

struct admission *given_admission(const struct admission_rule *r, size_t n, int64_t now_us)
{
    struct admission *a = admission_new(given_models, GIVEN_MODELS);
    assert_non_null(a);
    given_rules(a, r, n, now_us);
    return a;
}

size_t given_exchange(struct admission *a, int64_t share, int64_t now_us)
{
    const struct admission_say *says;
    size_t n;
    int64_t number;
    struct err err = {0};
    assert_int_equal(admission_exchange(a, now_us, &says, &n, &number, &err), RC_OK);
    for (size_t i = 0; i < n; i++)
        admission_answer(a, number, says[i].limit_id, share, now_us);
    return n;
}

int64_t given_minute(struct admission *a, int gate, int64_t share, int64_t now_us)
{
    for (int s = 0; s < 70; s++, now_us += SECOND) {
        admission_waits(a, gate, 0, &one, 1);
        given_exchange(a, share, now_us);
        admission_waits(a, gate, 0, &one, -1);
    }
    return now_us;
}
