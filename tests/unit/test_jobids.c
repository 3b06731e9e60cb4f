/* A set of ids: what was added is in it and nothing else, however many, and without memory it stays
 * as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/no_memory.h"
#include "worker/jobids.h"

/* Neighbours share the tail that is hashed: they fall into one slot. */
static struct jobid id_of(uint32_t n)
{
    struct jobid id = {{0}};
    uint32_t tail = n / 8;
    id.b[0] = (unsigned char)(1 + n % 8);
    memcpy(id.b + sizeof id.b - sizeof tail, &tail, sizeof tail);
    return id;
}

static void test_empty(void **state)
{
    struct jobids s = {0};
    struct jobid id = id_of(1);
    (void)state;
    assert_false(jobids_has(&s, &id));
    jobids_done(&s);
}

static void test_what_was_added_and_nothing_else(void **state)
{
    enum { IDS = 20000 };
    struct jobids s = {0};
    (void)state;
    for (int round = 0; round < 2; round++) /* told again, it is the same set */
        for (uint32_t n = 0; n < IDS; n += 2) {
            struct jobid id = id_of(n);
            assert_true(jobids_add(&s, &id));
        }
    assert_int_equal(s.count, IDS / 2);
    for (uint32_t n = 0; n < IDS; n++) {
        struct jobid id = id_of(n);
        assert_int_equal(jobids_has(&s, &id), n % 2 == 0);
    }
    jobids_done(&s);
}

static void test_without_memory_it_stays_as_it_was(void **state)
{
    struct jobids s = {0};
    struct jobid id = id_of(7), other = id_of(8);
    (void)state;
    no_memory_at(0);
    assert_false(jobids_add(&s, &id));
    assert_true(no_memory_over());
    assert_false(jobids_has(&s, &id));
    assert_true(jobids_add(&s, &id));
    assert_true(jobids_has(&s, &id) && !jobids_has(&s, &other));
    jobids_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_what_was_added_and_nothing_else),
        cmocka_unit_test(test_without_memory_it_stays_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
