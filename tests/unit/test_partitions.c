/*
 * test_partitions.c - watermarks of several partitions, and tickets of epochs that are over.
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
#include "worker/partitions.h"

static struct job job_at(int lane, int32_t partition, uint32_t epoch, int64_t offset)
{
    return (struct job){.lane = lane, .partition = partition, .epoch = epoch, .offset = offset};
}

static void assign(struct partitions *ps, int lane, int32_t partition, uint32_t epoch)
{
    assert_int_equal(partitions_assign(ps, lane, partition, epoch, NULL), RC_OK);
}

static struct job track(struct partitions *ps, int lane, int32_t partition, uint32_t epoch,
                        int64_t offset)
{
    struct job job = job_at(lane, partition, epoch, offset);
    struct err err = {0};
    if (partitions_track(ps, &job, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_true(job.has_ticket);
    return job;
}

static void test_watermarks(void **state)
{
    (void)state;
    struct partitions *ps = partitions_new();
    assign(ps, 0, 3, 1);
    assign(ps, 0, 0, 1);
    assign(ps, 2, 3, 1);
    struct job a = track(ps, 0, 3, 1, 100), b = track(ps, 0, 3, 1, 105);
    struct job c = track(ps, 2, 3, 1, 7), d = track(ps, 0, 0, 1, 0);
    assert_int_equal(partitions_span(ps), 2);
    assert_int_equal(partitions_behind(ps, &a), 1);
    assert_int_equal(partitions_behind(ps, &b), 0);
    assert_int_equal(partitions_finish(ps, &b), -1);
    assert_false(b.has_ticket);
    assert_int_equal(partitions_behind(ps, &b), 0);
    assert_int_equal(partitions_finish(ps, &c), 8);
    assert_int_equal(partitions_finish(ps, &d), 1);
    assert_int_equal(partitions_finish(ps, &a), 106);
    assert_int_equal(partitions_finish(ps, &a), -1); /* again */
    assert_int_equal(partitions_span(ps), 0);
    partitions_free(ps);
    partitions_free(NULL);
}

/* Whatever allocation fails: the partition does not move, is counted, and a new assignment mends
 * it. */
static void test_frozen(void **state)
{
    (void)state;
    bool failed = true;
    for (int n = 0; failed; n++) {
        struct partitions *ps = partitions_new();
        struct job job = job_at(0, 2, 1, 5);
        assert_non_null(ps);
        no_memory_at(n);
        bool assigned = partitions_assign(ps, 0, 2, 1, NULL) == RC_OK;
        bool tracked = assigned && partitions_track(ps, &job, NULL) == RC_OK;
        failed = no_memory_over();
        assert_int_equal(tracked, !failed);
        assert_int_equal(partitions_frozen(ps), failed);
        struct job later = job_at(0, 2, 1, 6);
        if (failed)
            assert_int_not_equal(partitions_track(ps, &later, NULL), RC_OK);
        partitions_revoke_all(ps);
        assert_int_equal(partitions_frozen(ps), 0);
        assign(ps, 0, 2, 2);
        assert_int_equal(partitions_frozen(ps), 0);
        job = track(ps, 0, 2, 2, 5);
        assert_int_equal(partitions_finish(ps, &job), 6);
        partitions_free(ps);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    struct partitions *ps = partitions_new();
    assign(ps, 1, 2, 5);
    struct job seen = track(ps, 1, 2, 5, 10);
    const struct job bad[] = {
        job_at(1, 2, 4, 11),  job_at(1, 2, 6, 11),    job_at(1, 1, 5, 11), job_at(0, 2, 5, 11),
        job_at(1, -1, 5, 11), job_at(1, 1000, 5, 11), job_at(1, 2, 5, 10), job_at(1, 2, 5, 9),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct job job = bad[i];
        assert_int_equal(partitions_track(ps, &job, NULL), RC_REJECT);
        assert_false(job.has_ticket);
        assert_int_equal(partitions_finish(ps, &job), -1);
    }
    assert_int_equal(partitions_finish(ps, &seen), 11);
    partitions_free(ps);
}

/* After a revoke the same offsets come again: a late completion of the old epoch moves nothing. */
static void test_epochs(void **state)
{
    (void)state;
    struct partitions *ps = partitions_new();
    assign(ps, 0, 0, 1);
    struct job old = track(ps, 0, 0, 1, 50);
    struct job late = track(ps, 0, 0, 1, 51);
    partitions_revoke_all(ps);
    assert_int_equal(partitions_finish(ps, &old), -1);
    assign(ps, 0, 0, 2);
    struct job again = track(ps, 0, 0, 2, 50), next = track(ps, 0, 0, 2, 51);
    assert_int_equal(partitions_behind(ps, &late), 0);
    assert_int_equal(partitions_finish(ps, &late), -1);
    assert_int_equal(partitions_finish(ps, &again), 51);
    assign(ps, 0, 0, 3); /* replaced without a revoke between */
    assert_int_equal(partitions_finish(ps, &next), -1);
    assert_int_equal(partitions_span(ps), 0);
    partitions_free(ps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_watermarks),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_epochs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
