/*
 * test_digest.c - the chained digest: what must change it, and its definition.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "producer/digest.h"

static struct digest of(const char *a, const char *b, const char *c)
{
    struct digest d;
    digest_init(&d);
    const struct span first[] = {span_of(a), span_of(b)};
    const struct span second = span_of(c);
    digest_add(&d, first, b ? 2 : 1);
    if (c)
        digest_add(&d, &second, 1);
    return d;
}

static void differ(struct digest a, struct digest b)
{
    assert_memory_not_equal(a.sum, b.sum, HASH_BYTES);
}

static void test_borders_count(void **state)
{
    (void)state;
    differ(of("ab", "c", NULL), of("a", "bc", NULL));
    differ(of("a", "b", NULL), of("a", NULL, "b"));
    differ(of("a", "", NULL), of("a", NULL, NULL));
    differ(of("a", "b", "c"), of("c", "b", "a"));
    struct digest same = of("a", "b", "c"), again = of("a", "b", "c");
    assert_memory_equal(same.sum, again.sum, HASH_BYTES);
}

/* SHA-256(32 zero bytes, 00 00 00 01, "a"), so that the digest can be made by others too. */
static void test_definition(void **state)
{
    (void)state;
    const struct span parts[] = {
        {(const char *)(const uint8_t[32]){0}, 32}, {"\0\0\0\1", 4}, SPAN_LIT("a")};
    uint8_t wanted[HASH_BYTES];
    hash_sha256(parts, 3, wanted);
    struct digest d = of("a", NULL, NULL);
    assert_memory_equal(d.sum, wanted, HASH_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_borders_count),
        cmocka_unit_test(test_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
