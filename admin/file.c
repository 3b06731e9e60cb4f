/*
 * file.c - reads a file that a person named.
 */
#include "admin/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { PIECE_BYTES = 16 << 10 };

static enum rc read_all(FILE *file, const char *path, struct buf *out, struct err *err)
{
    char piece[PIECE_BYTES];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, file)) > 0)
        if (!buf_add(out, piece, n))
            return err_set(err, RC_REJECT, "%s: more than %zu bytes", path, out->max_bytes);
    if (ferror(file))
        return err_set(err, RC_REJECT, "%s: %s", path, strerror(errno));
    return RC_OK;
}

enum rc file_read(const char *path, struct buf *out, struct err *err)
{
    if (strcmp(path, "-") == 0)
        return read_all(stdin, "standard input", out, err);
    FILE *file = fopen(path, "re");
    if (!file)
        return err_set(err, RC_REJECT, "%s: %s", path, strerror(errno));
    enum rc rc = read_all(file, path, out, err);
    (void)fclose(file);
    return rc;
}
