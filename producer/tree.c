/*
 * tree.c - the directory walk: a stack of sorted name lists.
 *
 * Happy path: tree_next takes the next name of the deepest list, descends into directories and
 * gives files. Only the names of the directories on the way are held. Failures (no permission, too
 * deep, too many names in one directory, no memory) concern one directory: it is reported and left
 * out, and the walk can go on.
 */
#include "producer/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include "common/buf.h"

struct level {
    char **names; /* sorted; each points into `text` */
    char *text;
    size_t count, next;
    size_t path_bytes; /* of the directory's own path */
};

struct tree {
    struct level levels[TREE_DEPTH_MAX];
    int depth; /* levels in use */
    const char *glob;
    struct buf path; /* NUL-terminated behind n */
    size_t root_bytes;
    bool fresh; /* the root was not opened yet */
};

enum { PATH_BYTES_MAX = 64 << 10 };

struct tree *tree_new(const char *glob)
{
    struct tree *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->glob = glob;
    buf_init(&t->path, PATH_BYTES_MAX);
    return t;
}

static void leave(struct tree *t)
{
    struct level *level = &t->levels[--t->depth];
    free(level->names);
    free(level->text);
    *level = (struct level){0};
}

void tree_free(struct tree *t)
{
    if (!t)
        return;
    while (t->depth > 0)
        leave(t);
    buf_done(&t->path);
    free(t);
}

void tree_start(struct tree *t, const char *root)
{
    while (t->depth > 0)
        leave(t);
    size_t n = strlen(root);
    while (n > 1 && root[n - 1] == '/')
        n--;
    buf_reset(&t->path);
    buf_add(&t->path, root, n);
    t->root_bytes = n;
    t->fresh = true;
}

/* path = its first `n` bytes, and "/name" when there is a name; NUL-terminated. */
static bool set_path(struct tree *t, size_t n, const char *name)
{
    t->path.n = n;
    if (name) {
        if (n == 0 || t->path.p[n - 1] != '/')
            buf_add_byte(&t->path, '/');
        buf_add_text(&t->path, name);
    }
    if (!buf_add_byte(&t->path, 0)) {
        t->path.failed = false;
        return false;
    }
    t->path.n--;
    return true;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts the NUL-separated names of `text` into level->names. */
static enum rc sort_names(struct level *level, struct buf *text, size_t count, struct err *err)
{
    size_t bytes;
    level->count = count;
    if (count == 0)
        return RC_OK;
    level->names = calloc(count, sizeof *level->names);
    if (!level->names)
        return err_set(err, RC_NOMEM, "no memory for the names of %zu entries", count);
    level->text = buf_take(text, &bytes);
    char *p = level->text;
    for (size_t i = 0; i < count; i++) {
        level->names[i] = p;
        p += strlen(p) + 1;
    }
    qsort(level->names, count, sizeof *level->names, by_bytes);
    return RC_OK;
}

static enum rc read_names(DIR *dir, struct level *level, struct err *err)
{
    struct buf text;
    size_t count = 0;
    enum rc rc = RC_OK;
    buf_init(&text, TREE_NAMES_BYTES_MAX);
    for (;;) {
        errno = 0;
        /* glibc's readdir is safe for one stream in one thread; readdir_r is deprecated. */
        /* cppcheck-suppress readdirCalled */
        const struct dirent *entry = readdir(dir);
        if (!entry)
            break;
        if (entry->d_name[0] == '.')
            continue;
        if (!buf_add(&text, entry->d_name, strlen(entry->d_name) + 1))
            break;
        count++;
    }
    if (text.failed)
        rc = err_set(err, RC_FULL,
                     "more than %d MiB of names in one directory: spread the files over "
                     "directories, or give them as JSONL",
                     TREE_NAMES_BYTES_MAX >> 20);
    else if (errno != 0)
        rc = err_set(err, RC_REJECT, "cannot list the directory: %s", strerror(errno));
    else
        rc = sort_names(level, &text, count, err);
    buf_done(&text);
    return rc;
}

/* Puts the directory at t->path on the stack. */
static enum rc enter(struct tree *t, struct err *err)
{
    if (t->depth == TREE_DEPTH_MAX)
        return err_set(err, RC_FULL, "directories are nested deeper than %d", TREE_DEPTH_MAX);
    DIR *dir = opendir(t->path.p);
    if (!dir)
        return err_set(err, RC_REJECT, "cannot open the directory: %s", strerror(errno));
    struct level level = {.path_bytes = t->path.n};
    enum rc rc = read_names(dir, &level, err);
    closedir(dir);
    if (rc != RC_OK) {
        free(level.names);
        return rc;
    }
    t->levels[t->depth++] = level;
    return RC_OK;
}

enum kind { KIND_FILE, KIND_DIRECTORY, KIND_OTHER };

static enum kind kind_of(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return KIND_OTHER; /* gone since it was listed */
    if (S_ISDIR(st.st_mode))
        return KIND_DIRECTORY;
    if (S_ISLNK(st.st_mode) && stat(path, &st) != 0)
        return KIND_OTHER; /* a dangling link */
    return S_ISREG(st.st_mode) ? KIND_FILE : KIND_OTHER;
}

static void give(const struct tree *t, const char **ret_path, const char **ret_relative)
{
    const char *below = t->path.p + t->root_bytes;
    *ret_path = t->path.p;
    *ret_relative = *below == '/' ? below + 1 : below;
}

enum tree_got tree_next(struct tree *t, const char **ret_path, const char **ret_relative,
                        struct err *err)
{
    if (t->fresh) {
        t->fresh = false;
        if (!set_path(t, t->root_bytes, NULL) || enter(t, err) != RC_OK) {
            give(t, ret_path, ret_relative);
            return TREE_BAD;
        }
    }
    while (t->depth > 0) {
        struct level *level = &t->levels[t->depth - 1];
        if (level->next == level->count) {
            leave(t);
            continue;
        }
        const char *name = level->names[level->next++];
        bool fits = set_path(t, level->path_bytes, name);
        enum kind kind = fits ? kind_of(t->path.p) : KIND_OTHER;
        give(t, ret_path, ret_relative);
        if (kind == KIND_FILE && (!t->glob || fnmatch(t->glob, name, 0) == 0))
            return TREE_FILE;
        if (kind == KIND_DIRECTORY && enter(t, err) != RC_OK)
            return TREE_BAD;
    }
    return TREE_END;
}
