/*
 * test_paths.c - spelling of paths, in tables.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "producer/paths.h"

static void test_absolute(void **state)
{
    static const struct {
        const char *cwd, *path, *wanted;
    } cases[] = {
        {"/w", "a", "/w/a"},
        {"/w", "./a/./b/", "/w/a/b"},
        {"/w", "/x//y", "/x/y"},
        {"/w/z", "../a", "/w/a"},
        {"/w", "../../..", "/"},
        {"/", "a", "/a"},
        {"/w", ".", "/w"},
        {"/w", "/", "/"},
        {"/w", "a/../../b", "/b"},
        {"/w", "...", "/w/..."},
        {"/w", "a b/\xc3\xa9", "/w/a b/\xc3\xa9"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *got = path_absolute(cases[i].cwd, cases[i].path);
        assert_string_equal(got, cases[i].wanted);
        free(got);
    }
}

static void test_common(void **state)
{
    static const struct {
        const char *a, *b, *wanted;
    } cases[] = {
        {"/x/a", "/x/b", "/x"},     {"/x/ab", "/x/ac", "/x"},
        {"/x/a", "/x/a", "/x/a"},   {"/x", "/x/a", "/x"},
        {"/x/a/b", "/x/a", "/x/a"}, {"/x", "/y", ""},
        {"/xy", "/x", ""},          {"", "/x", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = path_common(cases[i].a, strlen(cases[i].a), cases[i].b, strlen(cases[i].b));
        assert_int_equal(n, strlen(cases[i].wanted));
        assert_memory_equal(cases[i].a, cases[i].wanted, n);
    }
}

static void test_parent(void **state)
{
    (void)state;
    assert_int_equal(path_parent("/x/y"), 2);
    assert_int_equal(path_parent("/x"), 0);
    assert_int_equal(path_parent("/x/y/z"), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absolute),
        cmocka_unit_test(test_common),
        cmocka_unit_test(test_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
