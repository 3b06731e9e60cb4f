/*
 * lines.h - reads a file or a stream line by line, in large blocks and bounded memory.
 */
#ifndef INFERQ_PRODUCER_LINES_H
#define INFERQ_PRODUCER_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/span.h"

struct lines;

enum lines_got {
    LINES_LINE,
    LINES_TOO_LONG, /* a line of more than line_max_bytes was passed over; *ret_line is absent */
    LINES_END,
    LINES_STOPPED, /* stop_fd became readable while there was nothing to read */
    LINES_FAILED,  /* reading failed; `err` says how */
};

/* returns owned; NULL: no memory */
struct lines *lines_new(size_t line_max_bytes);
void lines_free(struct lines *l);

/* Begins with a new file. `fd` and `stop_fd` are borrowed; stop_fd -1: none. */
void lines_start(struct lines *l, int fd, int stop_fd);

/* The next line without its end ("\n" or "\r\n"); a UTF-8 byte order mark at the start of the file
 * is dropped, and a last line needs no end. Blank lines are given too. *ret_line lives until the
 * next call. *ret_number counts from 1; both are set for LINE and TOO_LONG. */
enum lines_got lines_next(struct lines *l, struct span *ret_line, int64_t *ret_number,
                          struct err *err);

#endif
