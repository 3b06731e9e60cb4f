/*
 * test_utf8.c - the judgement of whole texts, and the reading of single characters, against each
 * other and against a table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/utf8.h"
#include "tests/unit/vectors.h"

struct row {
    const char *text;
    size_t n;
    bool valid;
};

#define ROW(s, v)               \
    {                           \
        (s), sizeof(s) - 1, (v) \
    }

static const struct row rows[] = {
    ROW("", true),
    ROW("a", true),
    ROW("\x7f", true),
    ROW("\xc2\x80", true),
    ROW("\xdf\xbf", true),
    ROW("\xe0\xa0\x80", true),
    ROW("\xed\x9f\xbf", true),
    ROW("\xee\x80\x80", true),
    ROW("\xef\xbf\xbf", true),
    ROW("\xf0\x90\x80\x80", true),
    ROW("\xf4\x8f\xbf\xbf", true),
    ROW("\x80", false), /* a tail without a head */
    ROW("\xbf", false),
    ROW("\xc0\x80", false), /* overlong */
    ROW("\xc1\xbf", false),
    ROW("\xe0\x9f\xbf", false),
    ROW("\xf0\x8f\xbf\xbf", false),
    ROW("\xed\xa0\x80", false), /* surrogates */
    ROW("\xed\xbf\xbf", false),
    ROW("\xf4\x90\x80\x80", false), /* past U+10FFFF */
    ROW("\xf5\x80\x80\x80", false),
    ROW("\xff", false),
    ROW("\xfe", false),
    ROW("\xc3", false), /* cut */
    ROW("\xe4\xb8", false),
    ROW("\xf0\x9f\x98", false),
    ROW("\xc3"
        "a",
        false),
    ROW("\xe4\xb8"
        "a",
        false),
    ROW("\xf0\x9f\x98"
        "a",
        false),
};

/* Each row behind 0 to 17 and before 0 to 17 ASCII bytes, so that it meets every place in a word,
 * in memory of just that size. */
static void test_table_at_every_alignment(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        for (size_t before = 0; before < 18; before++) {
            for (size_t after = 0; after < 18; after++) {
                char text[64];
                memset(text, 'x', sizeof text);
                memcpy(text + before, rows[r].text, rows[r].n);
                const size_t n = before + rows[r].n + after;
                char *copy = (char *)exact_copy(text, n);
                assert_int_equal(utf8_valid((struct span){copy, n}), rows[r].valid);
                assert_int_equal(utf8_text((struct span){copy, n}), rows[r].valid);
                free(copy);
            }
        }
    }
}

static void test_nul_is_valid_but_no_text(void **state)
{
    (void)state;
    for (size_t n = 1; n < 40; n++) {
        for (size_t at = 0; at < n; at++) {
            char text[40];
            memset(text, 0x01, sizeof text); /* the byte next to NUL */
            assert_true(utf8_text((struct span){text, n}));
            text[at] = '\0';
            assert_true(utf8_valid((struct span){text, n}));
            assert_false(utf8_text((struct span){text, n}));
        }
    }
    assert_true(utf8_text((struct span){NULL, 0}));
    assert_true(utf8_valid((struct span){NULL, 0}));
}

/* Written by the definition, to hold the table-driven reader to: every code point there is. */
static size_t write_char(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(heads[n] | c);
    return n;
}

static void test_every_code_point(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x110100; c++) {
        char text[4];
        const size_t n = write_char(c, text);
        const bool good = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
        uint32_t read = UINT32_MAX;
        if (utf8_valid((struct span){text, n}) != good ||
            utf8_next(text, n, &read) != (good ? n : 0) || (good && read != c))
            fail_msg("U+%04X is misjudged", (unsigned)c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_at_every_alignment),
        cmocka_unit_test(test_nul_is_valid_but_no_text),
        cmocka_unit_test(test_every_code_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
