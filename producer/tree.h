/*
 * tree.h - walks a directory, in an order that is the same every time.
 *
 * Entries are visited by the bytes of their names, directories where their name stands. Names that
 * begin with a dot are left out; symbolic links to files count as files, links to directories are
 * not entered; what is neither file nor directory is left out.
 */
#ifndef INFERQ_PRODUCER_TREE_H
#define INFERQ_PRODUCER_TREE_H

#include <stddef.h>

#include "common/err.h"

enum { TREE_DEPTH_MAX = 64, TREE_NAMES_BYTES_MAX = 64 << 20 /* in one directory */ };

struct tree;

enum tree_got {
    TREE_FILE,
    TREE_BAD, /* a directory that cannot be read, or too deep: path and err say which and why */
    TREE_END,
};

/* `glob` (borrowed; NULL: all) selects files by their own name. returns owned; NULL: no memory */
struct tree *tree_new(const char *glob);
void tree_free(struct tree *t);

/* Begins at `root`, a directory. Its own failure to open is told by the first tree_next. */
void tree_start(struct tree *t, const char *root);

/* *ret_path: root and the names under it, joined by '/'; *ret_relative: the part below the root.
 * Both live until the next call. */
enum tree_got tree_next(struct tree *t, const char **ret_path, const char **ret_relative,
                        struct err *err);

#endif
