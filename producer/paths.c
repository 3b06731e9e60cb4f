/*
 * paths.c - spelling of paths.
 *
 * Happy path: components are copied one by one; ".." takes the last one back. The only failure is
 * memory.
 */
#include "producer/paths.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Appends one component, or takes one back. Returns the new length. */
static size_t put(char *out, size_t n, const char *name, size_t name_bytes)
{
    if (name_bytes == 0 || (name_bytes == 1 && name[0] == '.'))
        return n;
    if (name_bytes == 2 && name[0] == '.' && name[1] == '.') {
        while (n > 0 && out[--n] != '/')
            continue;
        return n;
    }
    out[n++] = '/';
    memcpy(out + n, name, name_bytes);
    return n + name_bytes;
}

static size_t put_all(char *out, size_t n, const char *path)
{
    while (*path) {
        size_t name_bytes = strcspn(path, "/");
        n = put(out, n, path, name_bytes);
        path += name_bytes;
        path += *path == '/';
    }
    return n;
}

char *path_absolute(const char *cwd, const char *path)
{
    char *out = malloc(strlen(cwd) + strlen(path) + 4);
    if (!out)
        return NULL;
    size_t n = path[0] == '/' ? 0 : put_all(out, 0, cwd);
    n = put_all(out, n, path);
    if (n == 0)
        out[n++] = '/';
    out[n] = '\0';
    return out;
}

size_t path_common(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    size_t same = 0, i = 0;
    for (;; i++) {
        bool a_ends = i >= a_bytes || a[i] == '/', b_ends = i >= b_bytes || b[i] == '/';
        if (a_ends && b_ends)
            same = i;
        if (i >= a_bytes || i >= b_bytes || a[i] != b[i])
            return same;
    }
}

size_t path_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}
