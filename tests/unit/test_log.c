/*
 * test_log.c - lines as a reader of standard error sees them: both formats, escaping, cutting, the
 * limit per site, whole lines from many threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static char seen[1 << 20];
static int file, old_stderr;

static void capture(void)
{
    char name[] = "/tmp/inferq-test-log-XXXXXX";
    file = mkstemp(name);
    assert_true(file >= 0);
    unlink(name);
    old_stderr = dup(STDERR_FILENO);
    dup2(file, STDERR_FILENO);
}

/* Puts standard error back; what was written lies in `seen`. */
static size_t captured(void)
{
    dup2(old_stderr, STDERR_FILENO);
    close(old_stderr);
    ssize_t n = pread(file, seen, sizeof seen - 1, 0);
    close(file);
    assert_true(n >= 0);
    seen[n] = '\0';
    return (size_t)n;
}

static int count_lines(void)
{
    int n = 0;
    for (const char *p = seen; (p = strchr(p, '\n')); p++)
        n++;
    return n;
}

/* Checks the time that the line begins with, and returns what follows it. */
static const char *after_time(const char *prefix)
{
    size_t n = strlen(prefix);
    assert_memory_equal(seen, prefix, n);
    char text[25] = "";
    memcpy(text, seen + n, 24);
    int64_t at = clock_parse(text, 0);
    assert_true(llabs(at - clock_wall_ms()) < 60000);
    return seen + n + 24;
}

static void test_plain(void **state)
{
    (void)state;
    static const struct jobid id = {
        {1, 0x23, 0x45, 0x67, 0x89, 0xab, 0x7c, 0xde, 0x8f, 0, 1, 2, 3, 4, 5, 6}};
    log_setup("inferq-worker", LOG_INFO, LOG_KV);
    capture();
    log_event(LOG_WARN, "endpoint paused", LF_STR("endpoint", "a/b:c"), LF_INT("for_ms", -12),
              LF_ID("job", &id), LF_SPAN("part", SPAN_LIT("x")), LF_STR("none", NULL),
              LF_STR("word", "null"), LF_STR("empty", ""), LF_ID("no_job", NULL),
              LF_INT("least", INT64_MIN));
    captured();
    assert_string_equal(after_time("time="),
                        " level=warn program=inferq-worker msg=\"endpoint paused\" endpoint=a/b:c "
                        "for_ms=-12 job=01234567-89ab-7cde-8f00-010203040506 part=x none=null "
                        "word=\"null\" empty=\"\" no_job=null least=-9223372036854775808\n");
}

static void test_json(void **state)
{
    (void)state;
    static const struct jobid id = {{0}};
    log_setup("inferq", LOG_DEBUG, LOG_JSON);
    capture();
    log_event(LOG_DEBUG, "ready", LF_STR("a", "b\"c\\d\n"), LF_INT("n", 7), LF_ID("job", &id),
              LF_STR("none", NULL), LF_SPAN("nul", SPAN_LIT("x\0y")));
    captured();
    assert_string_equal(after_time("{\"time\":\""),
                        "\",\"level\":\"debug\",\"program\":\"inferq\",\"msg\":\"ready\","
                        "\"a\":\"b\\\"c\\\\d\\n\",\"n\":7,"
                        "\"job\":\"00000000-0000-0000-0000-000000000000\",\"none\":null,"
                        "\"nul\":\"x\\u0000y\"}\n");
}

static void test_escapes(void **state)
{
    (void)state;
    static const struct {
        const char *value, *kv, *json;
    } rows[] = {
        {"plain-1.5/x", "plain-1.5/x", "\"plain-1.5/x\""},
        {"two words", "\"two words\"", "\"two words\""},
        {"a=b", "\"a=b\"", "\"a=b\""},
        {"\"", "\"\\\"\"", "\"\\\"\""},
        {"\\", "\"\\\\\"", "\"\\\\\""},
        {"a\r\n\tb", "\"a\\r\\n\\tb\"", "\"a\\r\\n\\tb\""},
        {"\x1b[31m", "\"\\u001b[31m\"", "\"\\u001b[31m\""},
        {"\x7f", "\"\\u007f\"", "\"\\u007f\""},
        {"\xc2\x9b", "\"\\u009b\"", "\"\\u009b\""},     /* a control of 8-bit terminals */
        {"\xe2\x80\xa8", "\"\\u2028\"", "\"\\u2028\""}, /* line separator */
        {"\xe2\x80\xae", "\"\\u202e\"", "\"\\u202e\""}, /* turns the text around */
        {"\xc3\xa9t\xc3\xa9", "\"\xc3\xa9t\xc3\xa9\"", "\"\xc3\xa9t\xc3\xa9\""},
        {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\"", "\"\xf0\x9f\x98\x80\""},
        {"a\xff\xc3", "\"a\\xff\\xc3\"", "\"a\\\\xff\\\\xc3\""}, /* not UTF-8 */
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (int json = 0; json <= 1; json++) {
            log_setup("p", LOG_INFO, json ? LOG_JSON : LOG_KV);
            capture();
            const struct log_field field = LF_STR("v", rows[i].value);
            log_write(NULL, LOG_INFO, "m", &field, 1);
            captured();
            char want[128];
            snprintf(want, sizeof want, json ? ",\"v\":%s}\n" : " v=%s\n",
                     json ? rows[i].json : rows[i].kv);
            const char *at = strstr(seen, json ? ",\"v\":" : " v=");
            assert_non_null(at);
            assert_string_equal(at, want);
        }
    }
}

static int calls;
static const char *expensive(void)
{
    calls++;
    return "x";
}

static void test_levels(void **state)
{
    (void)state;
    log_setup("p", LOG_WARN, LOG_KV);
    assert_false(log_on(LOG_INFO));
    assert_true(log_on(LOG_WARN) && log_on(LOG_ERROR));
    capture();
    log_event(LOG_INFO, "not this", LF_STR("x", expensive()));
    log_event(LOG_ERROR, "this"); /* no field is fine */
    errno = ERANGE;
    log_event(LOG_WARN, "and this", LF_STR("x", expensive()));
    int kept = errno;
    captured();
    assert_int_equal(calls, 1);
    assert_int_equal(kept, ERANGE);
    assert_int_equal(count_lines(), 2);
    assert_non_null(strstr(seen, "level=error program=p msg=this\n"));
}

/* Cut anywhere, a line keeps its bound, its newline and its shape, and says that it was cut. */
static void test_cut(void **state)
{
    (void)state;
    static char value[2 * LOG_LINE_BYTES];
    for (int json = 0; json <= 1; json++) {
        for (int n = LOG_LINE_BYTES - 260; n < LOG_LINE_BYTES; n += 3) {
            log_setup("p", LOG_INFO, json ? LOG_JSON : LOG_KV);
            memset(value, 'v', (size_t)n);
            for (int i = 0; i + 1 < n; i += 64)
                memcpy(value + i, i % 128 ? "\"" : "\xc3\xa9", i % 128 ? 1 : 2);
            value[n] = '\0';
            const struct log_field fields[] = {LF_STR("v", value), LF_INT("after", INT64_MIN),
                                               LF_STR("last", "word")};
            struct log_site site = {.left_out = INT64_MAX};
            capture();
            log_write(&site, LOG_INFO, "m", fields, 3);
            size_t len = captured();
            assert_true(len <= LOG_LINE_BYTES);
            assert_int_equal(count_lines(), 1);
            assert_int_equal(seen[len - 1], '\n');
            assert_non_null(strstr(seen, "left_out"));
            int quotes = 0;
            for (const char *p = seen; *p; p++)
                quotes += *p == '"' && p[-1] != '\\';
            assert_int_equal(quotes % 2, 0);
            const char *end = json ? ",\"cut\":true}\n" : " cut=true\n";
            const char *whole = json ? ",\"last\":\"word\",\"left_out\":9223372036854775807}\n"
                                     : " last=word left_out=9223372036854775807\n";
            bool is_cut = strcmp(seen + len - strlen(end), end) == 0;
            assert_true(is_cut || strcmp(seen + len - strlen(whole), whole) == 0);
            if (json)
                assert_int_equal(seen[len - 2], '}');
        }
    }
    log_setup("p", LOG_INFO, LOG_JSON);
    memset(value, 'k', 300);
    value[300] = '\0';
    capture();
    log_write(NULL, LOG_INFO, "m", &LF_INT(value, 1), 1); /* an absurd key is left out whole */
    captured();
    assert_non_null(strstr(seen, "\"msg\":\"m\",\"cut\":true}\n"));
}

static void test_limit(void **state)
{
    (void)state;
    log_setup("p", LOG_INFO, LOG_KV);
    struct log_site site = {0}, neighbour = {0};
    capture();
    for (int i = 0; i < 100; i++)
        log_write(&site, LOG_INFO, "storm", NULL, 0);
    log_write(&neighbour, LOG_INFO, "calm", NULL, 0);
    captured();
    assert_int_equal(count_lines(), 21);
    assert_null(strstr(seen, "left_out"));
    assert_int_equal(site.left_out, 80);

    site.window_us -= 3000000; /* three seconds later: three more, the first of which tells */
    capture();
    for (int i = 0; i < 10; i++)
        log_write(&site, LOG_INFO, "storm", NULL, 0);
    captured();
    assert_int_equal(count_lines(), 3);
    assert_non_null(strstr(seen, " msg=storm left_out=80\n"));
    assert_int_equal(site.left_out, 7);

    site.window_us -= INT64_C(3600) * 1000000; /* after an hour: the whole burst, not 3600 */
    capture();
    for (int i = 0; i < 100; i++)
        log_write(&site, LOG_INFO, "storm", NULL, 0);
    captured();
    assert_int_equal(count_lines(), 20);
}

/* One site of log_event is one bucket. */
static void test_limit_of_macro(void **state)
{
    (void)state;
    log_setup("p", LOG_INFO, LOG_JSON);
    capture();
    for (int i = 0; i < 50; i++)
        log_event(LOG_INFO, "storm", LF_INT("i", i));
    captured();
    assert_in_range(count_lines(), 20, 21);
}

enum { THREADS = 4, LINES_EACH = 200 };

static void *write_lines(void *arg)
{
    char value[512];
    memset(value, *(const char *)arg, sizeof value - 1);
    value[sizeof value - 1] = '\0';
    const struct log_field field = LF_STR("v", value);
    for (int i = 0; i < LINES_EACH; i++)
        log_write(NULL, LOG_INFO, "m", &field, 1);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    static const char letters[THREADS + 1] = "abcd";
    log_setup("p", LOG_INFO, LOG_KV);
    pthread_t thread[THREADS];
    capture();
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(
            pthread_create(&thread[i], NULL, write_lines, (void *)(uintptr_t)&letters[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    captured();
    assert_int_equal(count_lines(), THREADS * LINES_EACH);
    for (const char *line = seen; *line; line = strchr(line, '\n') + 1) {
        const char *v = strstr(line, " v=");
        assert_non_null(v);
        assert_int_equal(strspn(v + 3, (const char[]){v[3], '\0'}), 511);
        assert_int_equal(v[3 + 511], '\n');
    }
}

static void test_no_reader(void **state)
{
    (void)state;
    log_setup("p", LOG_INFO, LOG_KV);
    int keep = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    log_event(LOG_INFO, "into the void"); /* must return */
    dup2(keep, STDERR_FILENO);
    close(keep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),     cmocka_unit_test(test_json),
        cmocka_unit_test(test_escapes),   cmocka_unit_test(test_levels),
        cmocka_unit_test(test_cut),       cmocka_unit_test(test_limit),
        cmocka_unit_test(test_threads),   cmocka_unit_test(test_limit_of_macro),
        cmocka_unit_test(test_no_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
