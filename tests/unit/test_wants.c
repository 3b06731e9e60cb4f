/*
 * test_wants.c - wants by lane and app, into bytes and back; the bytes themselves, which other
 * builds of a fleet read; and bytes that nobody should have written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "worker/wants.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void test_there_and_back(void **state)
{
    (void)state;
    static const struct share_want wants[] = {
        {.app = 0x01020304, .lane = 2, .units = 500},
        {.app = UINT32_MAX, .lane = 0, .units = INT64_C(10000000000)},
        {0},
    };
    struct share_want back[COUNT(wants)];
    struct buf b;
    buf_init(&b, 1024);
    assert_int_equal(wants_pack(wants, COUNT(wants), &b), INT64_C(10000000500));
    assert_int_equal(wants_count(buf_span(&b)), COUNT(wants));
    wants_unpack(buf_span(&b), back, COUNT(wants));
    for (size_t i = 0; i < COUNT(wants); i++) {
        assert_int_equal(back[i].app, wants[i].app);
        assert_int_equal(back[i].lane, wants[i].lane);
        assert_int_equal(back[i].units, wants[i].units);
    }
    assert_memory_equal(buf_span(&b).p, "\1\2\3\4\0\0\0\2\0\0\0\0\0\0\1\xf4", WANTS_BYTES);
    buf_done(&b);
}

static void test_none(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1024);
    assert_int_equal(wants_pack(NULL, 0, &b), 0);
    assert_int_equal(wants_count(buf_span(&b)), 0);
    assert_int_equal(wants_count((struct span){NULL, 0}), 0);
    buf_done(&b);
}

static void test_too_much(void **state)
{
    (void)state;
    static const struct share_want wants[] = {{.units = INT64_MAX}, {.units = 1}};
    struct buf b;
    buf_init(&b, 1024);
    assert_int_equal(wants_pack(wants, 2, &b), INT64_MAX);
    assert_false(b.failed);
    buf_done(&b);
    buf_init(&b, WANTS_BYTES);
    (void)wants_pack(wants, 2, &b);
    assert_true(b.failed);
    buf_done(&b);
}

static void test_strange_bytes(void **state)
{
    (void)state;
    static const char bytes[] = "\0\0\0\1\xff\xff\xff\xff\x80\0\0\0\0\0\0\0";
    struct share_want back;
    for (size_t n = 0; n < WANTS_BYTES; n++)
        assert_int_equal(wants_count((struct span){bytes, n}), 0);
    assert_int_equal(wants_count((struct span){bytes, WANTS_BYTES}), 1);
    wants_unpack((struct span){bytes, WANTS_BYTES}, &back, 1);
    assert_int_equal(back.app, 1);
    assert_int_equal(back.lane, 0);
    assert_int_equal(back.units, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_strange_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
