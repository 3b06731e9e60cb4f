/*
 * file.h - a file that a person names on the command line, whole.
 */
#ifndef INFERQ_ADMIN_FILE_H
#define INFERQ_ADMIN_FILE_H

#include "common/buf.h"
#include "common/err.h"

/* Appends the file's bytes; "-" is standard input. RC_REJECT: it cannot be read, with the reason,
 * or does not fit into `out`. */
enum rc file_read(const char *path, struct buf *out, struct err *err) MUST_CHECK;

#endif
