/*
 * test_json_walk.c - where the elements of a list end, above all when quotes, escapes and brackets
 * stand inside strings; each text is walked where its last byte is the memory's last.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/json_walk.h"

struct row {
    const char *list;
    const char *elements[4]; /* NULL: no more */
};

static const struct row rows[] = {
    {"[]", {NULL}},
    {"[ \t\r\n]", {NULL}},
    {"[1, -2.5e3 ,true]", {"1", "-2.5e3", "true"}},
    {"[\"\",\"a\"]", {"\"\"", "\"a\""}},
    {"[\"a\\\"b\",\"c\"]", {"\"a\\\"b\"", "\"c\""}},
    {"[\"\\\\\",\"c\"]", {"\"\\\\\"", "\"c\""}},
    {"[\"\\\\\\\"\",null]", {"\"\\\\\\\"\"", "null"}},
    {"[\"\\\"\\\"\\\"\",7]", {"\"\\\"\\\"\\\"\"", "7"}},
    {"[\"],[\",{\"a\":\"}\\\"]\"},[[\"[\"],{}]]",
     {"\"],[\"", "{\"a\":\"}\\\"]\"}", "[[\"[\"],{}]"}},
};

static void test_elements(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = strlen(rows[i].list);
        char *text = malloc(n);
        assert_non_null(text);
        memcpy(text, rows[i].list, n);
        struct json_value list = {{text, n}, JSON_TYPE_ARRAY}, element;
        struct span rest = json_walk_begin(&list);
        for (int k = 0; rows[i].elements[k]; k++) {
            assert_true(json_walk_next(&rest, &element));
            assert_int_equal(element.text.n, strlen(rows[i].elements[k]));
            assert_memory_equal(element.text.p, rows[i].elements[k], element.text.n);
        }
        assert_false(json_walk_next(&rest, &element));
        free(text);
    }
}

/* A wrong caller's text, cut anywhere, is left at its end at the latest. */
static void test_cut(void **state)
{
    static const char whole[] = "[\"a\\\"b\",{\"c\":[\"d\\\\\"]}]";
    (void)state;
    for (size_t n = 2; n < sizeof whole; n++) {
        char *text = malloc(n);
        assert_non_null(text);
        memcpy(text, whole, n);
        struct json_value list = {{text, n}, JSON_TYPE_ARRAY}, element;
        struct span rest = json_walk_begin(&list);
        while (json_walk_next(&rest, &element)) {
            assert_true(element.text.n > 0);
            assert_true(element.text.p + element.text.n <= text + n);
        }
        free(text);
    }
}

static void test_no_list(void **state)
{
    struct json_value value = {SPAN_LIT("\"[1]\""), JSON_TYPE_STRING}, element;
    (void)state;
    struct span rest = json_walk_begin(&value);
    assert_false(json_walk_next(&rest, &element));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elements),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_no_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
