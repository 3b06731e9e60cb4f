/*
 * test_progress.c - the progress line's text, and silence where there is no terminal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "producer/progress.h"

static void test_numbers(void **state)
{
    static const struct {
        int64_t n;
        const char *wanted;
    } cases[] = {{0, "0"},          {999, "999"},   {1000, "1,000"},    {1234567, "1,234,567"},
                 {-1000, "-1,000"}, {-100, "-100"}, {100000, "100,000"}};
    char out[32];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(progress_number(cases[i].n, out, sizeof out), cases[i].wanted);
}

static void test_text(void **state)
{
    char out[160];
    (void)state;
    progress_text(out, sizeof out, "sent", 1200, 5000, 3, 2000000);
    assert_string_equal(out, "sent 1,200 of 5,000 (24%), 600/s, 6 s left, 3 left out");
    progress_text(out, sizeof out, "checked", 7, -1, 0, 1000000);
    assert_string_equal(out, "checked 7, 7/s");
    progress_text(out, sizeof out, "sent", 0, 10, 0, 0);
    assert_string_equal(out, "sent 0 of 10 (0%), 0/s");
    progress_text(out, sizeof out, "sent", 10, 10, 0, 1000000);
    assert_string_equal(out, "sent 10 of 10 (100%), 10/s");
    char small[12];
    progress_text(small, sizeof small, "sent", 1234567, -1, 1, 1000000);
    assert_string_equal(small, "sent 1,234,");
}

static void test_quiet_without_terminal(void **state)
{
    (void)state;
    struct progress p;
    FILE *f = tmpfile();
    progress_init(&p, f);
    progress_begin(&p, 0);
    progress_show(&p, 10000000, "sent", 5, 10, 0);
    progress_clear(&p);
    assert_int_equal(ftell(f), 0);
    fclose(f);
}

/* With a "terminal": at most one line in 200 ms, and the line is taken off. */
static void test_shows(void **state)
{
    char text[256] = "";
    (void)state;
    FILE *f = tmpfile();
    struct progress p = {.out = f, .on = true};
    progress_begin(&p, 0);
    progress_show(&p, 100000, "sent", 1, 10, 0);
    assert_int_equal(ftell(f), 0);
    progress_show(&p, 1000000, "sent", 5, 10, 0);
    progress_show(&p, 1100000, "sent", 6, 10, 0);
    progress_clear(&p);
    progress_clear(&p);
    rewind(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    assert_string_equal(text, "\rsent 5 of 10 (50%), 5/s, 1 s left"
                              "\r                                 \r");
    fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_quiet_without_terminal),
        cmocka_unit_test(test_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
