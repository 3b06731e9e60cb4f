/*
 * test_deadlines.c - due times come out in order, whatever is set, moved and cleared between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "worker/deadlines.h"
#include "worker/job.h"

static void test_basics(void **state)
{
    (void)state;
    struct deadlines *d = deadlines_new();
    struct job a = {.heap_index = -1}, b = {.heap_index = -1};
    assert_true(deadlines_next(d) == INT64_MAX);
    assert_null(deadlines_pop(d, INT64_MAX));
    deadlines_clear(d, &a); /* absent: harmless */
    assert_true(deadlines_set(d, &a, 20));
    assert_true(deadlines_set(d, &b, 10));
    assert_int_equal(a.due_us, 20);
    assert_int_equal(deadlines_next(d), 10);
    assert_null(deadlines_pop(d, 9));
    assert_true(deadlines_set(d, &b, 30)); /* moved, not doubled */
    assert_int_equal(deadlines_count(d), 2);
    assert_ptr_equal(deadlines_pop(d, 20), &a);
    assert_int_equal(a.heap_index, -1);
    assert_null(deadlines_pop(d, 20));
    deadlines_clear(d, &b);
    deadlines_clear(d, &b);
    assert_int_equal(deadlines_count(d), 0);
    deadlines_free(d);
    deadlines_free(NULL);
}

static void test_never(void **state)
{
    (void)state;
    struct deadlines *d = deadlines_new();
    struct job job = {.heap_index = -1};
    assert_true(deadlines_set(d, &job, INT64_MAX));
    assert_null(deadlines_pop(d, INT64_MAX - 1));
    assert_ptr_equal(deadlines_pop(d, INT64_MAX), &job);
    deadlines_free(d);
}

static void test_random(void **state)
{
    (void)state;
    enum { JOBS = 1000, STEPS = 50000 };
    struct job *jobs = calloc(JOBS, sizeof *jobs);
    struct deadlines *d = deadlines_new();
    size_t in = 0;
    for (int i = 0; i < JOBS; i++)
        jobs[i].heap_index = -1;
    srand(2);
    for (int step = 0; step < STEPS; step++) {
        struct job *job = &jobs[rand() % JOBS];
        bool was = job->heap_index >= 0;
        int what = rand() % 10;
        if (what < 6) {
            assert_true(deadlines_set(d, job, rand() % 5000));
            in += !was;
        } else if (what < 8) {
            deadlines_clear(d, job);
            in -= was;
        } else {
            int64_t least = INT64_MAX;
            for (int i = 0; i < JOBS; i++)
                if (jobs[i].heap_index >= 0 && jobs[i].due_us < least)
                    least = jobs[i].due_us;
            assert_true(deadlines_next(d) == least);
            struct job *popped = deadlines_pop(d, 5000);
            assert_true(!popped == !in);
            assert_true(!popped || (popped->due_us == least && popped->heap_index < 0));
            in -= popped != NULL;
        }
        assert_int_equal(deadlines_count(d), in);
    }
    int64_t last = 0;
    for (struct job *job; (job = deadlines_pop(d, INT64_MAX)); in--) {
        assert_true(job->due_us >= last);
        last = job->due_us;
    }
    assert_int_equal(in, 0);
    deadlines_free(d);
    free(jobs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_basics),
        cmocka_unit_test(test_never),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
