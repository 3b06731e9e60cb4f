/* test_call_pool.c - calls are taken as good as new, and no more than `keep` stay. */
#include "worker/call_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEEP = 2, CALLS = 5 };

static void use(struct job_call *call)
{
    buf_init(&call->http.reply, 100);
    assert_true(buf_add_text(&call->http.reply, "a reply"));
    assert_true(buf_add_text(&call->written, "a request"));
    call->http.facts.status = 500;
    call->http.transfer = call;
    call->outcome.class = CLASS_SERVER_ERROR;
    call->outcome.error = strdup("an error");
    call->outcome.usage.input = 7;
}

static void assert_new(const struct job_call *call)
{
    assert_null(call->http.transfer);
    assert_null(call->http.reply.p);
    assert_int_equal(call->http.facts.status, 0);
    assert_int_equal(call->written.n, 0);
    assert_true(call->written.max_bytes > 0);
    assert_int_equal(call->outcome.class, CLASS_NONE);
    assert_null(call->outcome.error);
    assert_int_equal(call->outcome.usage.input, -1);
    assert_int_equal(call->outcome.cost_nusd, -1);
}

static void test_taken_and_given_back(void **state)
{
    (void)state;
    struct call_pool pool;
    struct job_call *calls[CALLS];
    call_pool_init(&pool, KEEP);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CALLS; i++) {
            calls[i] = call_pool_take(&pool);
            assert_new(calls[i]);
            use(calls[i]);
        }
        assert_int_equal(pool.idle_count, 0);
        for (int i = 0; i < CALLS; i++)
            call_pool_give(&pool, calls[i]);
        assert_int_equal(pool.idle_count, KEEP);
    }
    call_pool_give(&pool, NULL);
    assert_int_equal(pool.idle_count, KEEP);
    call_pool_done(&pool);
    assert_null(pool.idle);
}

static void test_keeps_none(void **state)
{
    (void)state;
    struct call_pool pool;
    call_pool_init(&pool, 0);
    struct job_call *call = call_pool_take(&pool);
    assert_new(call);
    call_pool_give(&pool, call);
    assert_null(pool.idle);
    call_pool_done(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken_and_given_back),
        cmocka_unit_test(test_keeps_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
