/*
 * test_buf.c - growth, the cap, refusals that stick, and the byte that vsnprintf needs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/buf.h"

/* So that the sanitizer lets the test of a refused allocation run. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void test_pieces(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(buf_span(&b).n, 0);
    assert_non_null(buf_span(&b).p);
    assert_true(buf_add(&b, NULL, 0));
    assert_null(b.p);
    assert_true(buf_add_text(&b, "ab"));
    assert_true(buf_add_span(&b, (struct span){"c\0d", 3}));
    assert_true(buf_add_span(&b, (struct span){0}));
    assert_true(buf_add_byte(&b, 0xff));
    assert_true(buf_add_u32be(&b, 0x01020304u));
    assert_true(buf_add_u64be(&b, 0x1112131415161718u));
    assert_true(buf_addf(&b, "%d-%s", 42, "x"));
    static const char want[] = "abc\0d\xff\1\2\3\4\x11\x12\x13\x14\x15\x16\x17\x18"
                               "42-x";
    assert_int_equal(b.n, sizeof want - 1);
    assert_memory_equal(b.p, want, b.n);
    assert_true(span_eq(buf_span(&b), SPAN_LIT(want)));
    buf_done(&b);
    assert_null(b.p);
    buf_done(&b);
}

/* Doubling, so few allocations; never more than the cap. */
static void test_growth(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10000);
    int grown = 0;
    for (size_t i = 0; i < 10000; i++) {
        size_t cap = b.cap;
        assert_true(buf_add_byte(&b, (uint8_t)i));
        grown += b.cap != cap;
        assert_true(b.cap <= 10000 && b.cap >= b.n);
    }
    assert_in_range(grown, 1, 9);
    for (size_t i = 0; i < 10000; i++)
        assert_int_equal((uint8_t)b.p[i], (uint8_t)i);
    assert_false(buf_add_byte(&b, 0));
    assert_int_equal(b.n, 10000);
    buf_done(&b);
}

static void test_refusal_sticks(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    assert_true(buf_add_text(&b, "abc"));
    assert_false(buf_add_text(&b, "def"));
    assert_true(b.failed);
    assert_int_equal(b.n, 3);
    assert_false(buf_add_text(&b, "d")); /* would fit, but would follow a hole */
    assert_false(buf_add(&b, "", 0));
    assert_false(buf_addf(&b, "d"));
    assert_null(buf_room(&b, 1));
    assert_memory_equal(b.p, "abc", 3);
    char *memory = b.p;
    buf_reset(&b);
    assert_false(b.failed);
    assert_int_equal(b.n, 0);
    assert_ptr_equal(b.p, memory);
    assert_true(buf_add_text(&b, "defgh"));
    buf_done(&b);
}

static void test_format_at_the_cap(void **state)
{
    (void)state;
    for (size_t before = 0; before <= 100; before++) {
        struct buf b;
        buf_init(&b, 100);
        for (size_t i = 0; i < before; i++)
            (void)buf_add_byte(&b, 'x');
        assert_true(buf_addf(&b, "%*s", (int)(100 - before), before < 100 ? "y" : ""));
        assert_int_equal(b.n, 100);
        assert_int_equal(b.p[99], before < 100 ? 'y' : 'x');
        assert_false(buf_addf(&b, "z"));
        assert_int_equal(b.n, 100);
        buf_done(&b);
    }
    struct buf b;
    buf_init(&b, 100);
    assert_false(buf_addf(&b, "%101s", ""));
    assert_int_equal(b.n, 0);
    buf_done(&b);
}

static void test_room_and_take(void **state)
{
    (void)state;
    struct buf b;
    size_t n = 99;
    buf_init(&b, 300);
    assert_null(buf_take(&b, &n));
    assert_int_equal(n, 0);
    char *p = buf_room(&b, 300);
    assert_non_null(p);
    assert_int_equal(b.n, 0);
    memset(p, 'a', 300);
    b.n += 300;
    assert_non_null(buf_room(&b, 0));
    assert_null(buf_room(&b, 1));
    char *taken = buf_take(&b, &n);
    assert_ptr_equal(taken, p);
    assert_int_equal(n, 300);
    assert_null(b.p);
    assert_int_equal(b.max_bytes, 300);
    assert_true(buf_add_text(&b, "again"));
    free(taken);
    buf_done(&b);
}

static void test_sizes_that_wrap(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    assert_true(b.max_bytes < SIZE_MAX);
    assert_true(buf_add_text(&b, "abc"));
    assert_null(buf_room(&b, SIZE_MAX));
    buf_reset(&b);
    assert_true(buf_add_text(&b, "abc"));
    assert_null(buf_room(&b, b.max_bytes - 3)); /* within the cap: the memory says no */
    assert_true(b.failed);
    assert_memory_equal(b.p, "abc", 3);
    buf_done(&b);
    buf_init(&b, 0);
    assert_true(buf_add_text(&b, ""));
    assert_false(buf_add_byte(&b, 1));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),         cmocka_unit_test(test_growth),
        cmocka_unit_test(test_refusal_sticks), cmocka_unit_test(test_format_at_the_cap),
        cmocka_unit_test(test_room_and_take),  cmocka_unit_test(test_sizes_that_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
