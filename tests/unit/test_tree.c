/*
 * test_tree.c - the directory walk on a real directory: order, what is left out, what is reported.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "producer/tree.h"

enum { PATH_BYTES = 512 };
static const char *const files[] = {"b.txt",   "a.txt",     "B.md",       ".hidden",
                                    "d/x.txt", "d/e/y.txt", ".git/config"};
static const char *const dirs[] = {"d", "d/e", ".git", "empty"};

static void at(char *out, const char *root, const char *name)
{
    snprintf(out, PATH_BYTES, "%s/%s", root, name);
}

static int setup(void **state)
{
    char path[PATH_BYTES], target[PATH_BYTES];
    static char root[] = "/tmp/inferq-tree-XXXXXX";
    if (!mkdtemp(root))
        return -1;
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        at(path, root, dirs[i]);
        if (mkdir(path, 0700) != 0)
            return -1;
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        at(path, root, files[i]);
        FILE *f = fopen(path, "w");
        if (!f || fclose(f) != 0)
            return -1;
    }
    at(path, root, "c.txt"); /* a link to a file: counts as one */
    if (symlink("a.txt", path) != 0)
        return -1;
    at(path, root, "loop"); /* a link to a directory: not entered */
    if (symlink(".", path) != 0)
        return -1;
    at(path, root, "dangling");
    at(target, root, "nowhere");
    if (symlink(target, path) != 0)
        return -1;
    at(path, root, "fifo");
    if (mkfifo(path, 0600) != 0)
        return -1;
    *state = root;
    return 0;
}

static int teardown(void **state)
{
    static const char *const rest[] = {"c.txt", "loop", "dangling", "fifo"};
    char path[PATH_BYTES], *root = *state;
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        at(path, root, rest[i]);
        (void)unlink(path);
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        at(path, root, files[i]);
        (void)unlink(path);
    }
    for (size_t i = sizeof dirs / sizeof dirs[0]; i-- > 0;) {
        at(path, root, dirs[i]);
        (void)rmdir(path);
    }
    return rmdir(root);
}

/* The relative paths of all files, each followed by a blank. */
static void walk(struct tree *t, const char *root, const char *wanted)
{
    char got[2048] = "";
    const char *path, *relative;
    struct err err = {""};
    tree_start(t, root);
    while (tree_next(t, &path, &relative, &err) == TREE_FILE) {
        size_t used = strlen(got);
        snprintf(got + used, sizeof got - used, "%s ", relative);
        assert_int_equal(access(path, F_OK), 0);
        assert_memory_equal(path, root, strlen(root));
    }
    assert_string_equal(got, wanted);
}

static void test_order(void **state)
{
    char slashed[PATH_BYTES];
    struct tree *t = tree_new(NULL);
    walk(t, *state, "B.md a.txt b.txt c.txt d/e/y.txt d/x.txt ");
    walk(t, *state, "B.md a.txt b.txt c.txt d/e/y.txt d/x.txt "); /* again, and the same */
    snprintf(slashed, sizeof slashed, "%s/d/", (const char *)*state);
    const char *path, *relative;
    struct err err = {""};
    tree_start(t, slashed);
    assert_int_equal(tree_next(t, &path, &relative, &err), TREE_FILE);
    assert_string_equal(relative, "e/y.txt");
    tree_free(t); /* in the middle of a walk */
}

static void test_glob(void **state)
{
    struct tree *t = tree_new("*.txt");
    walk(t, *state, "a.txt b.txt c.txt d/e/y.txt d/x.txt ");
    tree_free(t);
    t = tree_new("nothing");
    walk(t, *state, "");
    tree_free(t);
}

static void test_bad_root(void **state)
{
    (void)state;
    const char *path, *relative;
    struct err err = {""};
    struct tree *t = tree_new(NULL);
    tree_start(t, "/nonexistent/x");
    assert_int_equal(tree_next(t, &path, &relative, &err), TREE_BAD);
    assert_string_equal(path, "/nonexistent/x");
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(tree_next(t, &path, &relative, &err), TREE_END);
    tree_free(t);
}

/* One level too many is reported, and the walk goes on with what stands beside it. */
static void test_too_deep(void **state)
{
    (void)state;
    char root[] = "/tmp/inferq-deep-XXXXXX", path[1024];
    assert_non_null(mkdtemp(root));
    size_t n = (size_t)snprintf(path, sizeof path, "%s", root);
    for (int i = 0; i < TREE_DEPTH_MAX; i++) {
        n += (size_t)snprintf(path + n, sizeof path - n, "/d");
        assert_int_equal(mkdir(path, 0700), 0);
    }
    const char *got_path, *relative;
    struct err err = {""};
    struct tree *t = tree_new(NULL);
    tree_start(t, root);
    assert_int_equal(tree_next(t, &got_path, &relative, &err), TREE_BAD);
    assert_string_equal(got_path, path);
    assert_non_null(strstr(err.text, "deeper than 64"));
    assert_int_equal(tree_next(t, &got_path, &relative, &err), TREE_END);
    tree_free(t);
    for (int i = 0; i < TREE_DEPTH_MAX; i++, path[n -= 2] = '\0')
        assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(root), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_glob),
        cmocka_unit_test(test_bad_root),
        cmocka_unit_test(test_too_deep),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
