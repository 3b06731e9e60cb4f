/*
 * test_jobtable.c - jobs are found by id while they are in the table, through growth and
 * collisions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/no_memory.h"
#include "worker/job.h"
#include "worker/jobtable.h"

static struct jobid id_of(uint32_t n, bool same_tail)
{
    struct jobid id = {{0}};
    uint64_t tail = same_tail ? 0 : n * UINT64_C(0x9e3779b97f4a7c15);
    memcpy(id.b, &n, sizeof n);
    memcpy(id.b + 8, &tail, sizeof tail);
    return id;
}

static void run(uint32_t count, bool same_tail)
{
    struct job *jobs = calloc(count, sizeof *jobs);
    struct jobtable *t = jobtable_new();
    for (uint32_t i = 0; i < count; i++) {
        jobs[i].msg.job_id = id_of(i, same_tail);
        assert_null(jobtable_find(t, &jobs[i].msg.job_id));
        assert_true(jobtable_add(t, &jobs[i]));
    }
    assert_int_equal(jobtable_count(t), count);
    for (uint32_t i = 0; i < count; i += 3)
        jobtable_remove(t, &jobs[i]);
    for (uint32_t i = 0; i < count; i++) {
        struct jobid id = id_of(i, same_tail); /* by value, not by address */
        assert_ptr_equal(jobtable_find(t, &id), i % 3 ? &jobs[i] : NULL);
    }
    for (uint32_t i = 0; i < count; i++)
        if (i % 3)
            jobtable_remove(t, &jobs[i]);
    assert_int_equal(jobtable_count(t), 0);
    assert_true(jobtable_add(t, &jobs[0])); /* may come again */
    assert_ptr_equal(jobtable_find(t, &jobs[0].msg.job_id), &jobs[0]);
    jobtable_free(t);
    free(jobs);
}

static void test_growth(void **state)
{
    (void)state;
    run(5000, false);
}

static void test_collisions(void **state)
{
    (void)state;
    run(200, true);
}

/* Without memory it does not grow, and is slower; without any it is not made. */
static void test_memory_runs_out(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct job *jobs = calloc(COUNT, sizeof *jobs);
    int n = 0;
    for (bool failed = true; failed; n++) {
        no_memory_at(n);
        struct jobtable *t = jobtable_new();
        for (uint32_t i = 0; t && i < COUNT; i++) {
            jobs[i].msg.job_id = id_of(i, false);
            assert_true(jobtable_add(t, &jobs[i]));
        }
        failed = no_memory_over();
        for (uint32_t i = 0; t && i < COUNT; i++)
            assert_ptr_equal(jobtable_find(t, &jobs[i].msg.job_id), &jobs[i]);
        jobtable_free(t);
    }
    assert_true(n > 3);
    free(jobs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_collisions),
        cmocka_unit_test(test_memory_runs_out),
    };
    jobtable_free(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
