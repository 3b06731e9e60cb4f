/*
 * test_failpoints.c - failpoints: how they are set, counted and acted on; the worker's table
 * against its sources and the path's arrows; and that builds without them know nothing of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <glob.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "worker/failpoints.h"
#include "worker/path_internal.h"

#ifdef INFERQ_FAILPOINTS

static const struct failpoint_place two[] = {
    {"one.a>b", "here", false}, {"two", "there", true}, {0}};

static const struct span nobody = {NULL, 0};

static void setup(const char *spec, const char *log_path)
{
    struct err err = {0};
    if (failpoint_setup(two, spec, log_path, stderr, &err) != RC_OK)
        fail_msg("%s: %s", spec, err.text);
}

static int reset(void **state)
{
    (void)state;
    failpoint_reset();
    return 0;
}

static void test_unset_costs_a_branch_and_counts_nothing(void **state)
{
    (void)state;
    setup(NULL, NULL);
    assert_false(failpoint_armed);
    FAILPOINT("two");
    assert_false(FAILPOINT_FAILS("two", nobody));
    assert_int_equal(failpoint_hits("two"), 0);
    setup("", "");
    assert_false(failpoint_armed);
}

static void refused(const char *spec, const char *why)
{
    char *text = NULL;
    size_t n = 0;
    FILE *list = open_memstream(&text, &n);
    struct err err = {0};
    assert_non_null(list);
    assert_int_equal(failpoint_setup(two, spec, NULL, list, &err), RC_REJECT);
    assert_int_equal(fclose(list), 0);
    if (!strstr(err.text, why))
        fail_msg("%s: %s", spec, err.text);
    assert_non_null(strstr(text, "one.a>b"));
    assert_non_null(strstr(text, "there error"));
    assert_false(failpoint_armed);
    free(text);
}

static void test_what_is_not_understood_is_refused_with_all_places(void **state)
{
    (void)state;
    refused("list", "is not NAME");
    refused("three=kill", "no failpoint \"three\"");
    refused("two=explode", "no action \"explode\": kill, stop, abort, error");
    refused("two=", "no action");
    refused("two@0=kill", "is not NAME");
    refused("two@x=kill", "is not NAME");
    refused("two@=kill", "is not NAME");
    refused("two@12345678901=kill", "is not NAME");
    refused("two+=kill", "is not NAME");
    refused("two@1+1=kill", "is not NAME");
    refused("two=kill;;one.a>b=kill", "is not NAME");
    refused("one.a>b=error", "nothing can fail");
    refused("two@2=error;two", "is not NAME");
}

static void test_error_at_the_nth_hit_once(void **state)
{
    (void)state;
    setup("two@2=error", NULL);
    assert_false(FAILPOINT_FAILS("two", nobody));
    assert_true(FAILPOINT_FAILS("two", nobody));
    assert_false(FAILPOINT_FAILS("two", nobody));
    assert_int_equal(failpoint_hits("two"), 3);
    assert_int_equal(failpoint_hits("one.a>b"), 0);
    assert_int_equal(failpoint_hits("three"), -1);
}

static void test_error_from_the_nth_hit_on(void **state)
{
    (void)state;
    setup("two@2*=error", NULL);
    assert_false(FAILPOINT_FAILS("two", nobody));
    assert_true(FAILPOINT_FAILS("two", nobody));
    assert_true(FAILPOINT_FAILS("two", nobody));
}

static void test_only_hits_of_the_job_count(void **state)
{
    (void)state;
    setup("two?bad job@2=error", NULL);
    assert_false(FAILPOINT_FAILS("two", SPAN_LIT("bad job")));
    assert_false(FAILPOINT_FAILS("two", SPAN_LIT("good job")));
    assert_false(FAILPOINT_FAILS("two", nobody));
    assert_true(FAILPOINT_FAILS("two", SPAN_LIT("bad job")));
}

static void test_only_hits_under_load_count(void **state)
{
    (void)state;
    int calls = 49;
    setup("two+50@2=error", NULL);
    FAILPOINT_LOAD(&calls);
    assert_false(FAILPOINT_FAILS("two", nobody));
    calls = 50;
    assert_false(FAILPOINT_FAILS("two", nobody));
    calls = 49;
    assert_false(FAILPOINT_FAILS("two", nobody));
    calls = 51;
    assert_true(FAILPOINT_FAILS("two", nobody));
}

/* How a child ends that passes `two` and an arrow under this setting, in wait's terms. */
static int end_of_child(const char *spec, int options)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        setup(spec, NULL);
        (void)close(STDERR_FILENO);
        FAILPOINT("two");
        FAILPOINT_ARROW("one", "a", "b", nobody);
        _exit(7);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, options), child);
    if (WIFSTOPPED(status)) {
        int last = 0;
        assert_int_equal(kill(child, SIGCONT), 0);
        assert_int_equal(waitpid(child, &last, 0), child);
        assert_true(WIFEXITED(last) && WEXITSTATUS(last) == 7);
    }
    return status;
}

static void test_signals_to_itself(void **state)
{
    (void)state;
    int status = end_of_child("two=kill", 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = end_of_child("one.a>b=abort", 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = end_of_child("one.a>b=stop", WUNTRACED);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    status = end_of_child("two@2=kill", 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void test_hits_outlive_a_kill(void **state)
{
    (void)state;
    char path[] = "/tmp/inferq-failpoints-XXXXXX", text[256];
    int fd = mkstemp(path), status = 0;
    assert_true(fd >= 0);
    pid_t child = fork();
    if (child == 0) {
        setup("one.a>b=kill", path);
        (void)close(STDERR_FILENO);
        FAILPOINT("two");
        FAILPOINT("two");
        FAILPOINT_ARROW("one", "a", "b", nobody);
        _exit(7);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    unlink(path);
    assert_true(n > 0);
    text[n] = '\0';
    char expected[256];
    (void)snprintf(expected, sizeof expected, "%-40s %14d\n%-40s %14d\n", "one.a>b", 1, "two", 2);
    assert_string_equal(text, expected);
}

static void test_a_file_that_cannot_be_made_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(failpoint_setup(two, NULL, "/nowhere/at/all", stderr, &err), RC_FATAL);
    assert_non_null(strstr(err.text, "/nowhere/at/all"));
    assert_false(failpoint_armed);
}

/* ---- the worker's table ---------------------------------------------------------------------- */

static const struct failpoint_place *find(const char *name)
{
    for (const struct failpoint_place *p = worker_failpoints; p->name; p++)
        if (strcmp(p->name, name) == 0)
            return p;
    return NULL;
}

static int count_places(void)
{
    int n = 0;
    while (worker_failpoints[n].name)
        n++;
    return n;
}

static void test_arrows_of_the_table_are_those_of_the_path(void **state)
{
    (void)state;
    int arrows = 0, in_table = 0;
    for (int from = 0; from < JOB_STATE_COUNT; from++)
        for (int to = 0; to < JOB_STATE_COUNT; to++) {
            char name[FAILPOINT_NAME_BYTES];
            bool may = path_may_move((enum job_state)from, (enum job_state)to);
            (void)snprintf(name, sizeof name, "path.%s>%s", job_state_name((enum job_state)from),
                           job_state_name((enum job_state)to));
            if (may != (find(name) != NULL))
                fail_msg("%s: %s", name, may ? "not in the table" : "no arrow of the path");
            arrows += may;
        }
    for (const struct failpoint_place *p = worker_failpoints; p->name; p++)
        in_table += strncmp(p->name, "path.", 5) == 0;
    assert_int_equal(arrows, in_table); /* none twice */
    assert_true(arrows > 30);
}

static char *read_whole(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long n = ftell(file);
    rewind(file);
    char *text = malloc((size_t)n + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)n, file), n);
    text[n] = '\0';
    (void)fclose(file);
    return text;
}

/* Each place in a source stands in the table under that file. Returns how many there are. */
static int check_source(const char *path)
{
    static const char *const macros[] = {"FAILPOINT(\"", "FAILPOINT_OF(\"", "FAILPOINT_FAILS(\""};
    char *text = read_whole(path);
    int found = 0;
    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++)
        for (const char *at = text; (at = strstr(at, macros[i])) != NULL; found++) {
            at += strlen(macros[i]);
            char name[FAILPOINT_NAME_BYTES], quoted[FAILPOINT_NAME_BYTES + 2];
            size_t n = strcspn(at, "\"");
            assert_true(n < sizeof name);
            memcpy(name, at, n);
            name[n] = '\0';
            const struct failpoint_place *place = find(name);
            if (!place || strcmp(place->file, path) != 0)
                fail_msg("%s: \"%s\" is %s", path, name, place ? "another file's" : "unregistered");
            if (place && place->can_fail != (i == 2))
                fail_msg("%s: \"%s\" is marked wrong: can it fail?", path, name);
            (void)snprintf(quoted, sizeof quoted, "\"%s\"", name);
            if (strstr(at, quoted))
                fail_msg("%s: \"%s\" stands there twice", path, name);
        }
    free(text);
    return found;
}

static void test_arrows_stand_in_one_place(void **state)
{
    (void)state;
    for (const struct failpoint_place *p = worker_failpoints; p->name; p++) {
        if (strncmp(p->name, "path.", 5) != 0)
            continue;
        char *text = read_whole(p->file);
        char *at = strstr(text, "FAILPOINT_ARROW(\"path\"");
        assert_non_null(at);
        assert_null(strstr(at + 1, "FAILPOINT_ARROW("));
        free(text);
    }
}

static void test_each_place_of_the_table_stands_once_where_it_says(void **state)
{
    (void)state;
    glob_t sources;
    int found = 0, arrows = 0;
    assert_int_equal(glob("worker/*.c", 0, NULL, &sources), 0);
    for (size_t i = 0; i < sources.gl_pathc; i++)
        if (strcmp(sources.gl_pathv[i], "worker/failpoints.c") != 0)
            found += check_source(sources.gl_pathv[i]);
    globfree(&sources);
    for (const struct failpoint_place *p = worker_failpoints; p->name; p++)
        arrows += strncmp(p->name, "path.", 5) == 0;
    assert_int_equal(found, count_places() - arrows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_unset_costs_a_branch_and_counts_nothing, reset),
        cmocka_unit_test_teardown(test_what_is_not_understood_is_refused_with_all_places, reset),
        cmocka_unit_test_teardown(test_error_at_the_nth_hit_once, reset),
        cmocka_unit_test_teardown(test_error_from_the_nth_hit_on, reset),
        cmocka_unit_test_teardown(test_only_hits_of_the_job_count, reset),
        cmocka_unit_test_teardown(test_only_hits_under_load_count, reset),
        cmocka_unit_test_teardown(test_signals_to_itself, reset),
        cmocka_unit_test_teardown(test_hits_outlive_a_kill, reset),
        cmocka_unit_test_teardown(test_a_file_that_cannot_be_made_is_refused, reset),
        cmocka_unit_test(test_arrows_of_the_table_are_those_of_the_path),
        cmocka_unit_test(test_arrows_stand_in_one_place),
        cmocka_unit_test(test_each_place_of_the_table_stands_once_where_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* The names are not even evaluated: these are no places of any table. */
static void test_places_are_nothing(void **state)
{
    (void)state;
    FAILPOINT("no such place");
    FAILPOINT_OF("no such place", no_such_span);
    FAILPOINT_ARROW("no", "such", "arrow", no_such_span);
    FAILPOINT_LOAD(no_such_counter);
    assert_false(FAILPOINT_FAILS("no such place", no_such_span));
    assert_int_equal(failpoints_setup(&no_such_err), RC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_places_are_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
