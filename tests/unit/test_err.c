/*
 * test_err.c - error texts: cut at a character, prefixed, safe when they quote themselves; and the
 * UTF-8 decoder they are cut with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/err.h"
#include "common/utf8.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void test_set(void **state)
{
    (void)state;
    struct err err = {"old"};
    assert_int_equal(err_set(&err, RC_REJECT, "line %d: %s", 7, "bad"), RC_REJECT);
    assert_string_equal(err.text, "line 7: bad");
    assert_int_equal(err_set(NULL, RC_FULL, "nobody listens: %d", 1), RC_FULL);
    assert_int_equal(err_set(&err, RC_RETRY, "again: %s", err.text), RC_RETRY);
    assert_string_equal(err.text, "again: line 7: bad");
}

static void test_prefix(void **state)
{
    (void)state;
    struct err err = {"reason"};
    assert_int_equal(err_prefix(&err, RC_FATAL, "file %s", "x"), RC_FATAL);
    assert_string_equal(err.text, "file x: reason");
    assert_int_equal(err_prefix(NULL, RC_NOMEM, "file %s", "x"), RC_NOMEM);
    err.text[0] = '\0';
    (void)err_prefix(&err, RC_FATAL, "alone");
    assert_string_equal(err.text, "alone");
}

/* However long the text and wherever its characters fall, the result is whole characters. */
static void test_cut(void **state)
{
    (void)state;
    for (int shift = 0; shift < 4; shift++) {
        char text[4 * ERR_TEXT_BYTES] = "abcd";
        size_t n = (size_t)shift;
        for (; n + 4 < sizeof text; n += 4)
            memcpy(text + n, "\xf0\x9f\x98\x80", 5);
        struct err err;
        (void)err_set(&err, RC_REJECT, "%s", text);
        size_t len = strlen(err.text);
        assert_int_equal(len, shift + (ERR_TEXT_BYTES - 1 - shift) / 4 * 4);
        assert_memory_equal(err.text, text, len);
        (void)err_prefix(&err, RC_REJECT, "ab");
        len = strlen(err.text);
        assert_true(len < ERR_TEXT_BYTES && len > ERR_TEXT_BYTES - 5);
        assert_int_equal((len - 4 - (size_t)shift) % 4, 0);
    }
    char full[2 * ERR_TEXT_BYTES];
    memset(full, 'p', sizeof full);
    full[sizeof full - 1] = '\0';
    struct err err = {"old"};
    (void)err_prefix(&err, RC_REJECT, "%s", full);
    assert_int_equal(strlen(err.text), ERR_TEXT_BYTES - 1);
    assert_int_equal(err.text[ERR_TEXT_BYTES - 2], 'p');
}

static void test_names(void **state)
{
    (void)state;
    static const char *const names[] = {"ok", "retry", "reject", "full", "nomem", "fatal"};
    for (size_t i = 0; i < COUNT(names); i++)
        assert_string_equal(rc_name((enum rc)i), names[i]);
    assert_string_equal(rc_name((enum rc)99), "unknown");
}

static void test_utf8_next(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n, len;
        uint32_t c;
    } rows[] = {
        {"a", 1, 1, 'a'},
        {"\0", 1, 1, 0},
        {"\x7f", 1, 1, 0x7f},
        {"\xc2\x80", 2, 2, 0x80},
        {"\xdf\xbf", 2, 2, 0x7ff},
        {"\xe0\xa0\x80", 3, 3, 0x800},
        {"\xed\x9f\xbf", 3, 3, 0xd7ff},
        {"\xee\x80\x80", 3, 3, 0xe000},
        {"\xf0\x90\x80\x80", 4, 4, 0x10000},
        {"\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff},
        {"", 0, 0, 0},
        {"\x80", 1, 0, 0},
        {"\xc0\xaf", 2, 0, 0},         /* overlong */
        {"\xc1\xbf", 2, 0, 0},         /* overlong */
        {"\xe0\x9f\xbf", 3, 0, 0},     /* overlong */
        {"\xf0\x8f\xbf\xbf", 4, 0, 0}, /* overlong */
        {"\xed\xa0\x80", 3, 0, 0},     /* surrogate */
        {"\xf4\x90\x80\x80", 4, 0, 0}, /* past the end */
        {"\xf5\x80\x80\x80", 4, 0, 0},
        {"\xff", 1, 0, 0},
        {"\xe2\x82", 2, 0, 0}, /* cut */
        {"\xe2(\xa1", 3, 0, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint32_t c = 0;
        assert_int_equal(utf8_next(rows[i].text, rows[i].n, &c), rows[i].len);
        assert_int_equal(c, rows[i].c);
        assert_int_equal(utf8_next(rows[i].text, rows[i].n, NULL), rows[i].len);
    }
}

static void test_utf8_trim(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n, left;
    } rows[] = {
        {"", 0, 0},
        {"abc", 3, 3},
        {"ab\xc3", 3, 2},
        {"ab\xc3\xa9", 4, 4},
        {"a\xe2\x82", 3, 1},
        {"a\xe2\x82\xac", 4, 4},
        {"\xf0\x9f\x98", 3, 0},
        {"\xf0\x9f\x98\x80", 4, 4},
        {"a\x80\x80\x80\x80", 5, 5}, /* no text: not judged */
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(utf8_trim(rows[i].text, rows[i].n), rows[i].left);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),       cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_cut),       cmocka_unit_test(test_names),
        cmocka_unit_test(test_utf8_next), cmocka_unit_test(test_utf8_trim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
