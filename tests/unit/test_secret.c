/*
 * test_secret.c - references good and bad, and what scrubbing leaves of a text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/secret.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static char dir[] = "/tmp/inferq-test-secret-XXXXXX";
static char path[64], ref[80];

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/key", dir);
    snprintf(ref, sizeof ref, "file:%s", path);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void write_key(const char *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), (ssize_t)n);
    close(fd);
}

static void test_file(void **state)
{
    (void)state;
    static const struct {
        struct span file, value; /* value absent: refused */
    } rows[] = {
        {{"key-1", 5}, {"key-1", 5}},
        {{"key-1\n", 6}, {"key-1", 5}},
        {{"key-1\r\n", 7}, {"key-1", 5}},
        {{"key\n\n", 5}, {"key\n", 4}},
        {{" k ", 3}, {" k ", 3}},
        {{"a\0b\n", 4}, {"a\0b", 3}},
        {{"", 0}, {0}},
        {{"\n", 1}, {0}},
        {{"\r\n", 2}, {0}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct secret *s = NULL;
        struct err err = {0};
        write_key(rows[i].file.p, rows[i].file.n);
        enum rc rc = secret_load(ref, &s, &err);
        if (!rows[i].value.p) {
            assert_int_equal(rc, RC_REJECT);
            assert_null(s);
            assert_non_null(strstr(err.text, ref));
            assert_non_null(strstr(err.text, "empty"));
            continue;
        }
        assert_int_equal(rc, RC_OK);
        assert_true(span_eq(secret_value(s), rows[i].value));
        assert_int_equal(secret_value(s).p[rows[i].value.n], '\0');
        secret_free(s);
    }
}

static void test_longest(void **state)
{
    (void)state;
    static char bytes[SECRET_BYTES_MAX + 100];
    memset(bytes, 'k', sizeof bytes);
    static const struct {
        size_t n;
        const char *tail;
        enum rc rc;
    } rows[] = {
        {SECRET_BYTES_MAX, "", RC_OK},           {SECRET_BYTES_MAX, "\n", RC_OK},
        {SECRET_BYTES_MAX, "\r\n", RC_OK},       {SECRET_BYTES_MAX + 1, "", RC_REJECT},
        {SECRET_BYTES_MAX + 1, "\n", RC_REJECT}, {SECRET_BYTES_MAX + 90, "", RC_REJECT},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        static char all[SECRET_BYTES_MAX + 200];
        struct secret *s = NULL;
        struct err err = {0};
        int n = snprintf(all, sizeof all, "%.*s%s", (int)rows[i].n, bytes, rows[i].tail);
        write_key(all, (size_t)n);
        setenv("INFERQ_TEST_SECRET", all, 1);
        assert_int_equal(secret_load(ref, &s, &err), rows[i].rc);
        if (s)
            assert_int_equal(secret_value(s).n, SECRET_BYTES_MAX);
        secret_free(s);
        s = NULL;
        assert_int_equal(secret_load("env:INFERQ_TEST_SECRET", &s, &err), rows[i].rc);
        if (s)
            assert_int_equal(secret_value(s).n, SECRET_BYTES_MAX);
        assert_null(strstr(err.text, "kkkk"));
        secret_free(s);
    }
    unsetenv("INFERQ_TEST_SECRET");
}

static void test_env(void **state)
{
    (void)state;
    struct secret *s = NULL;
    struct err err = {0};
    setenv("INFERQ_TEST_SECRET", "value\n", 1);
    assert_int_equal(secret_load("env:INFERQ_TEST_SECRET", &s, &err), RC_OK);
    assert_true(span_is(secret_value(s), "value"));
    secret_free(s);
    setenv("INFERQ_TEST_SECRET", "", 1);
    assert_int_equal(secret_load("env:INFERQ_TEST_SECRET", &s, &err), RC_REJECT);
    assert_string_equal(err.text, "credential env:INFERQ_TEST_SECRET: it is empty");
    unsetenv("INFERQ_TEST_SECRET");
    assert_int_equal(secret_load("env:INFERQ_TEST_SECRET", &s, &err), RC_REJECT);
    assert_string_equal(err.text, "credential env:INFERQ_TEST_SECRET: the variable is not set");
}

/* What is no reference may be the key itself, given by mistake: it is not repeated. */
static void test_no_reference(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",          "sk-verysecretkey",
        "env:",      "env:sk-verysecretkey",
        "env:1A",    "env:A B",
        "env:A=B",   "file:",
        "ENV:HOME",  "file",
        " env:HOME", "vault:verysecretkey",
        "env:HOME ",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct secret *s = NULL;
        struct err err = {0};
        assert_int_equal(secret_load(bad[i], &s, &err), RC_REJECT);
        assert_null(s);
        assert_string_equal(err.text, "credential is not a reference: write env:NAME or file:PATH");
    }
}

static void test_unreadable(void **state)
{
    (void)state;
    struct secret *s = NULL;
    struct err err = {0};
    unlink(path);
    assert_int_equal(secret_load(ref, &s, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "No such file"));
    char dir_ref[80];
    snprintf(dir_ref, sizeof dir_ref, "file:%s", dir);
    assert_int_equal(secret_load(dir_ref, &s, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(secret_load(ref, &s, &err), RC_REJECT); /* and does not hang */
    assert_non_null(strstr(err.text, "not a regular file"));
    unlink(path);
    assert_null(s);
    assert_null(secret_value(NULL).p);
    secret_free(NULL);
}

static void test_scrub(void **state)
{
    (void)state;
    static const struct {
        const char *secret, *text, *want;
    } rows[] = {
        {"topsecret", "a topsecret b topsecret", "a ********* b *********"},
        {"topsecret", "topsecretopsecret", "*****************"}, /* occurrences overlap */
        {"topsecret", "topsecre", "********"},                   /* the text was cut within it */
        {"topsecret", "topsecr", "topsecr"},                     /* too little to tell */
        {"topsecret", "Topsecret topsecre t", "Topsecret topsecre t"},
        {"abababab", "xabababababy", "x**********y"},
        {"short", "a short b", "a short b"},
        {"topsecret", "", ""},
        {NULL, "Authorization: Bearer abc.def-1_2~3+/=", "Authorization: Bearer ****************"},
        {NULL, "{\"a\":\"bearer  xyz\",\"b\":1}", "{\"a\":\"bearer  ***\",\"b\":1}"},
        {NULL, "Bearer", "Bearer"},
        {NULL, "Bearer ", "Bearer "},
        {NULL, "forbearer abc", "forbearer abc"},
        {NULL, "key sk-abcdefghijkl, bad", "key sk-************, bad"},
        {NULL, "key:sk-proj-AbC_123456789", "key:sk-********************"},
        {NULL, "(hf_abcdefghijklmnop)", "(hf_****************)"},
        {NULL, "sk-short", "sk-short"},
        {NULL, "task-management-system", "task-management-system"},
        {NULL, "AIzaabcdefghijklmnop", "AIza****************"},
        {NULL, "Bearer sk-abcdefghijkl Bearer x", "Bearer *************** Bearer *"},
        {"topsecret", "Bearer topsecret", "Bearer *********"},
        /* escaped, by one writer of JSON or another */
        {"a\"b/c+d\\e", "x a\\\"b/c+d\\\\e y", "x *********** y"},
        {"a\"b/c+d\\e", "x a\"b/c+d\\e y", "x ********* y"},
        {"a\"b/c+d\\e", "a\\u0022b\\/c\\u002Bd\\u005Ce", "**************************"},
        {"topsecret", "\\u0074opsecret", "**************"},
        {"topsecret", "tops\\u0065cret", "**************"},
        {"topsecret", "tops\\u0065cre", "*************"}, /* cut */
        {"topsecret", "topsecre\\u00", "************"},   /* cut within an escape */
        {"topsecret", "topsecre\\u00zz", "topsecre\\u00zz"},
        {"topsecret", "tops\\u0066cret \\topsecret", "tops\\u0066cret \\*********"},
        {"topsecret", "tops\\ecret", "tops\\ecret"},
        {"\\\\\\\\\\\\\\\\", "\\\\\\\\\\\\\\\\", "********"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct secret *s = NULL;
        if (rows[i].secret) {
            write_key(rows[i].secret, strlen(rows[i].secret));
            assert_int_equal(secret_load(ref, &s, NULL), RC_OK);
        }
        /* Of exact size, so that the sanitizer sees any step past the end. */
        size_t n = strlen(rows[i].text);
        char *text = malloc(n + 1);
        memcpy(text, rows[i].text, n);
        text[n] = '!';
        secret_scrub(s, text, n);
        if (memcmp(text, rows[i].want, n) != 0)
            fail_msg("'%s' became '%.*s'", rows[i].text, (int)n, text);
        assert_int_equal(text[n], '!');
        free(text);
        text = malloc(n ? n : 1);
        memcpy(text, rows[i].text, n);
        secret_scrub(s, text, n);
        assert_memory_equal(text, rows[i].want, n);
        free(text);
        secret_free(s);
    }
}

/* A result is the customer's: only the secret itself is taken out of it. */
static void test_blank(void **state)
{
    (void)state;
    struct secret *s = NULL;
    char text[] = "Bearer abcdefgh topsecret sk-abcdefghijklmnop topsecre";
    write_key("topsecret", 9);
    assert_int_equal(secret_load(ref, &s, NULL), RC_OK);
    secret_blank(s, text, sizeof text - 1);
    assert_string_equal(text, "Bearer abcdefgh ********* sk-abcdefghijklmnop ********");
    secret_blank(s, NULL, 0);
    secret_free(s);
    secret_blank(NULL, text, sizeof text - 1);
    assert_string_equal(text, "Bearer abcdefgh ********* sk-abcdefghijklmnop ********");
}

static void test_scrub_binary(void **state)
{
    (void)state;
    struct secret *s = NULL;
    char text[] = "x\0\1\2\3\4\5\6\7\0y";
    write_key("\0\1\2\3\4\5\6\7\0", 9);
    assert_int_equal(secret_load(ref, &s, NULL), RC_OK);
    secret_scrub(s, text, sizeof text - 1);
    assert_memory_equal(text, "x*********y", sizeof text);
    secret_free(s);
}

static void test_harden(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit limit = {1, 1};
        secret_harden_process();
        getrlimit(RLIMIT_CORE, &limit);
        _exit(prctl(PR_GET_DUMPABLE) == 0 && limit.rlim_cur == 0 && limit.rlim_max == 0 ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),       cmocka_unit_test(test_longest),
        cmocka_unit_test(test_env),        cmocka_unit_test(test_no_reference),
        cmocka_unit_test(test_unreadable), cmocka_unit_test(test_scrub),
        cmocka_unit_test(test_blank),      cmocka_unit_test(test_scrub_binary),
        cmocka_unit_test(test_harden),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
