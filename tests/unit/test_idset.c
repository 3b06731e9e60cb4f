/*
 * test_idset.c - the set of seen ids: members, growth, the cap, its size for five million.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "producer/idset.h"

/* splitmix64: hashes that look random. */
static uint64_t nth(uint64_t i)
{
    uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void test_new_then_seen(void **state)
{
    (void)state;
    struct idset *s = idset_new(1 << 24);
    assert_non_null(s);
    for (uint64_t i = 0; i < 50000; i++)
        assert_int_equal(idset_add(s, nth(i)), IDSET_NEW);
    for (uint64_t i = 0; i < 50000; i++)
        assert_int_equal(idset_add(s, nth(i)), IDSET_SEEN);
    assert_int_equal(idset_add(s, nth(50000)), IDSET_NEW);
    idset_free(s);
}

static void test_clear_forgets(void **state)
{
    (void)state;
    struct idset *s = idset_new(1 << 20);
    assert_int_equal(idset_add(s, 7), IDSET_NEW);
    size_t bytes = idset_bytes(s);
    idset_clear(s);
    assert_int_equal(idset_bytes(s), bytes);
    assert_int_equal(idset_add(s, 7), IDSET_NEW);
    assert_int_equal(idset_add(s, 7), IDSET_SEEN);
    idset_free(s);
}

/* Zero marks a free slot inside: it must still be a member like others. */
static void test_zero(void **state)
{
    (void)state;
    struct idset *s = idset_new(1 << 20);
    assert_int_equal(idset_add(s, 0), IDSET_NEW);
    assert_int_equal(idset_add(s, 0), IDSET_SEEN);
    idset_free(s);
}

/* All in one table, with the same probe start. */
static void test_clashing(void **state)
{
    (void)state;
    struct idset *s = idset_new(1 << 20);
    for (uint64_t i = 1; i <= 1000; i++)
        assert_int_equal(idset_add(s, (i << 33) & 0x00ffffffffffffffu), IDSET_NEW);
    for (uint64_t i = 1; i <= 1000; i++)
        assert_int_equal(idset_add(s, (i << 33) & 0x00ffffffffffffffu), IDSET_SEEN);
    idset_free(s);
}

static void test_cap(void **state)
{
    (void)state;
    const size_t max = 200000;
    struct idset *s = idset_new(max);
    uint64_t taken = 0;
    while (idset_add(s, nth(taken)) == IDSET_NEW)
        taken++;
    assert_true(taken > max / 20);
    assert_true(idset_bytes(s) <= max);
    assert_int_equal(idset_add(s, nth(taken)), IDSET_FULL); /* still */
    assert_int_equal(idset_add(s, nth(0)), IDSET_SEEN);     /* and nothing was lost */
    idset_free(s);
}

static void test_five_million_in_60_mb(void **state)
{
    (void)state;
    struct idset *s = idset_new((size_t)60 * 1000 * 1000);
    for (uint64_t i = 0; i < 5000000; i++)
        assert_int_equal(idset_add(s, nth(i)), IDSET_NEW);
    idset_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_then_seen), cmocka_unit_test(test_clear_forgets),
        cmocka_unit_test(test_zero),          cmocka_unit_test(test_clashing),
        cmocka_unit_test(test_cap),           cmocka_unit_test(test_five_million_in_60_mb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
