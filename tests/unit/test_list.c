/*
 * test_list.c - job lists: order, and removal from every place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "worker/job.h"
#include "worker/list.h"

static void test_fifo(void **state)
{
    (void)state;
    struct job jobs[3] = {0};
    struct job_list l = {0};
    assert_null(job_list_pop(&l));
    for (int i = 0; i < 3; i++)
        job_list_push(&l, &jobs[i]);
    assert_int_equal(l.count, 3);
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(job_list_pop(&l), &jobs[i]);
    assert_null(job_list_pop(&l));
    assert_int_equal(l.count, 0);
}

static void test_remove(void **state)
{
    (void)state;
    for (int out = 0; out < 3; out++) { /* head, middle, tail */
        struct job jobs[3] = {0};
        struct job_list l = {0};
        for (int i = 0; i < 3; i++)
            job_list_push(&l, &jobs[i]);
        job_list_remove(&l, &jobs[out]);
        assert_null(jobs[out].next);
        assert_null(jobs[out].prev);
        assert_int_equal(l.count, 2);
        job_list_push(&l, &jobs[out]); /* a removed job may be put on a list again: at the end */
        assert_ptr_equal(l.tail, &jobs[out]);
        struct job *last = NULL;
        size_t seen = 0;
        for (struct job *job = l.head; job; job = job->next, seen++) {
            assert_ptr_equal(job->prev, last);
            last = job;
        }
        assert_int_equal(seen, 3);
        assert_ptr_equal(last, &jobs[out]);
    }
}

static void test_only_one(void **state)
{
    (void)state;
    struct job job = {0};
    struct job_list l = {0};
    job_list_push(&l, &job);
    job_list_remove(&l, &job);
    assert_null(l.head);
    assert_null(l.tail);
    assert_int_equal(l.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fifo),
        cmocka_unit_test(test_remove),
        cmocka_unit_test(test_only_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
