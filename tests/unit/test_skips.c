/* Records left out, by place: found whatever their order, replaced as a whole, kept as copies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/no_memory.h"
#include "worker/skips.h"

static void test_empty(void **state)
{
    struct skips s = {0};
    struct err err = {0};
    (void)state;
    assert_null(skips_find(&s, 0, 0, 0));
    assert_int_equal(skips_set(&s, NULL, 0, &err), RC_OK);
    assert_null(skips_find(&s, 0, 0, 0));
    skips_done(&s);
}

/* Every place of a small cube but the odd ones; texts of the caller's are gone when it is asked. */
static void test_found_by_all_three(void **state)
{
    enum { SIDE = 4, COUNT = SIDE * SIDE * SIDE / 2 };
    struct skip list[COUNT];
    char texts[COUNT][16];
    struct skips s = {0};
    struct err err = {0};
    int n = 0;
    (void)state;
    for (int at = SIDE * SIDE * SIDE - 2; at >= 0; at -= 2, n++) {
        (void)snprintf(texts[n], sizeof texts[n], "%d", at);
        list[n] = (struct skip){at / SIDE % SIDE, at / SIDE / SIDE, at % SIDE, span_of(texts[n])};
    }
    assert_int_equal(skips_set(&s, list, n, &err), RC_OK);
    memset(texts, 'x', sizeof texts);
    for (int at = 0; at < SIDE * SIDE * SIDE; at++) {
        const struct skip *found = skips_find(&s, at / SIDE % SIDE, at / SIDE / SIDE, at % SIDE);
        char text[16];
        (void)snprintf(text, sizeof text, "%d", at);
        assert_int_equal(found != NULL, at % 2 == 0);
        assert_true(!found || span_is(found->reason, text));
    }
    assert_null(skips_find(&s, 0, 0, INT64_C(1) << 40));
    assert_int_equal(skips_set(&s, list, 1, &err), RC_OK);
    assert_int_equal(s.count, 1);
    skips_done(&s);
}

static void test_no_memory_keeps_what_was(void **state)
{
    struct skip one = {.lane = 1, .offset = 5, .reason = SPAN_LIT("why")}, other = {.offset = 6};
    struct skips s = {0};
    struct err err = {0};
    (void)state;
    assert_int_equal(skips_set(&s, &one, 1, &err), RC_OK);
    no_memory_at(0);
    assert_int_equal(skips_set(&s, &other, 1, &err), RC_NOMEM);
    assert_true(no_memory_over());
    assert_non_null(skips_find(&s, 1, 0, 5));
    assert_null(skips_find(&s, 0, 0, 6));
    skips_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_found_by_all_three),
        cmocka_unit_test(test_no_memory_keeps_what_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
