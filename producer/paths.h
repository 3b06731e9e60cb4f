/*
 * paths.h - names of files, taken apart and put together without asking the file system (pure).
 */
#ifndef INFERQ_PRODUCER_PATHS_H
#define INFERQ_PRODUCER_PATHS_H

#include <stddef.h>

/* `path` as an absolute one, below `cwd` unless it is absolute already; ".", ".." and repeated
 * slashes are resolved by their spelling, symbolic links are not followed. returns owned; NULL: no
 * memory */
char *path_absolute(const char *cwd, const char *path);

/* How many bytes of absolute paths `a` and `b` name the same directories: "/x/ab" and "/x/ac" share
 * "/x". Neither may end in a slash, but for the root, which is "/". The result has no slash at its
 * end (0 for the root). */
size_t path_common(const char *a, size_t a_bytes, const char *b, size_t b_bytes);

/* The directory part's length: 2 for "/x/y", 0 for "/x". */
size_t path_parent(const char *path);

#endif
