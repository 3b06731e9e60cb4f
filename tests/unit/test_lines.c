/*
 * test_lines.c - the line reader: ends of lines, long lines, blocks, pipes that wait.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/buf.h"
#include "producer/lines.h"

enum { MAX = 100 };

/* A file that holds the bytes, read from its beginning. */
static FILE *file_of(const char *p, size_t n)
{
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fflush(f), 0);
    assert_int_equal(lseek(fileno(f), 0, SEEK_SET), 0);
    return f;
}

/* What is read, as text: "1:a|2:b|3:TOO LONG|". */
static void check(const char *p, size_t n, const char *wanted)
{
    char got[4096] = "";
    size_t used = 0;
    struct err err = {""};
    struct span line;
    int64_t number;
    FILE *f = file_of(p, n);
    struct lines *l = lines_new(MAX);
    lines_start(l, fileno(f), -1);
    for (;;) {
        enum lines_got what = lines_next(l, &line, &number, &err);
        if (what == LINES_END)
            break;
        assert_true(what == LINES_LINE || what == LINES_TOO_LONG);
        used += (size_t)snprintf(got + used, sizeof got - used, "%d:", (int)number);
        if (what == LINES_TOO_LONG)
            line = SPAN_LIT("TOO LONG");
        memcpy(got + used, line.p, line.n);
        used += line.n;
        got[used++] = '|';
        got[used] = '\0';
    }
    assert_string_equal(got, wanted);
    lines_free(l);
    fclose(f);
}

static void test_ends(void **state)
{
    (void)state;
    check("", 0, "");
    check("a", 1, "1:a|");
    check("a\n", 2, "1:a|");
    check("a\nb", 3, "1:a|2:b|");
    check("\n\na\n", 4, "1:|2:|3:a|");
    check("a\r\nb\r\n", 6, "1:a|2:b|");
    check("\xef\xbb\xbf{}\n\xef\xbb\xbf", 9, "1:{}|2:\xef\xbb\xbf|");
}

static void test_too_long(void **state)
{
    char text[2 * MAX + 16];
    (void)state;
    memset(text, 'x', sizeof text);
    text[MAX] = '\n';
    char wanted[MAX + 32];
    snprintf(wanted, sizeof wanted, "1:%.*s|2:y|", MAX, text);
    text[MAX + 1] = 'y';
    check(text, MAX + 2, wanted);
    memset(text, 'x', sizeof text);
    text[MAX + 1] = '\n';
    text[MAX + 2] = 'y';
    check(text, MAX + 3, "1:TOO LONG|2:y|");
    memset(text, 'x', sizeof text);
    check(text, sizeof text, "1:TOO LONG|");
}

/* Longer than many blocks: passed over without being held, and the next line is right. */
static void test_huge_line(void **state)
{
    (void)state;
    const size_t huge = 3 << 20;
    char *text = malloc(huge + 3);
    assert_non_null(text);
    memset(text, 'x', huge);
    memcpy(text + huge, "\nz", 2);
    check(text, huge + 2, "1:TOO LONG|2:z|");
    free(text);
}

static void test_lines_across_blocks(void **state)
{
    (void)state;
    struct buf text;
    struct err err = {""};
    buf_init(&text, 4 << 20);
    for (int i = 1; i <= 30000; i++)
        buf_addf(&text, "line %d %.*s\n", i, i % 80,
                 "................................"
                 "................................................");
    assert_false(text.failed);
    FILE *f = file_of(text.p, text.n);
    struct lines *l = lines_new(MAX);
    lines_start(l, fileno(f), -1);
    for (int i = 1; i <= 30000; i++) {
        struct span line;
        int64_t number;
        char wanted[32];
        assert_int_equal(lines_next(l, &line, &number, &err), LINES_LINE);
        assert_int_equal(number, i);
        int n = snprintf(wanted, sizeof wanted, "line %d ", i);
        assert_int_equal(line.n, n + i % 80);
        assert_memory_equal(line.p, wanted, (size_t)n);
    }
    lines_free(l);
    fclose(f);
    buf_done(&text);
}

/* A pipe that stays open and silent: the stop descriptor ends the waiting, and not before the line
 * that is there was given. */
static void test_stopped_while_waiting(void **state)
{
    (void)state;
    int data[2], stop[2];
    struct span line;
    int64_t number;
    struct err err = {""};
    assert_int_equal(pipe(data), 0);
    assert_int_equal(pipe(stop), 0);
    assert_int_equal(write(data[1], "a\nb", 3), 3);
    struct lines *l = lines_new(MAX);
    lines_start(l, data[0], stop[0]);
    assert_int_equal(lines_next(l, &line, &number, &err), LINES_LINE);
    assert_true(span_is(line, "a"));
    assert_int_equal(write(stop[1], "x", 1), 1);
    assert_int_equal(lines_next(l, &line, &number, &err), LINES_STOPPED);
    lines_free(l);
    for (int i = 0; i < 2; i++) {
        close(data[i]);
        close(stop[i]);
    }
}

static void test_read_error(void **state)
{
    (void)state;
    struct span line;
    int64_t number;
    struct err err = {""};
    struct lines *l = lines_new(MAX);
    lines_start(l, -1, -1);
    assert_int_equal(lines_next(l, &line, &number, &err), LINES_FAILED);
    assert_non_null(strstr(err.text, "Bad file descriptor"));
    lines_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_huge_line),
        cmocka_unit_test(test_lines_across_blocks),
        cmocka_unit_test(test_stopped_while_waiting),
        cmocka_unit_test(test_read_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
