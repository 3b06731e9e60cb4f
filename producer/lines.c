/*
 * lines.c - the block-wise line reader.
 *
 * Happy path: memchr finds the next newline in the block that is there; what is left of a line at
 * the block's end moves to the front before the next read. A line that is too long is passed over
 * to its end without being held, so the caller can name it and go on. Signals do not interrupt a
 * read: where a read may wait (pipes, terminals), it is waited for together with stop_fd.
 */
#include "producer/lines.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

enum { BLOCK_BYTES = 256 << 10 };

struct lines {
    char *p;
    size_t cap, max_bytes;
    size_t start, scan, end; /* the unfinished line, how far it was searched, the block's end */
    int64_t number;
    int fd, stop_fd;
    bool eof, skipping, may_wait;
};

struct lines *lines_new(size_t line_max_bytes)
{
    struct lines *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->max_bytes = line_max_bytes;
    l->cap = line_max_bytes + 2 + BLOCK_BYTES;
    l->p = malloc(l->cap);
    if (!l->p) {
        free(l);
        return NULL;
    }
    return l;
}

void lines_free(struct lines *l)
{
    if (!l)
        return;
    free(l->p);
    free(l);
}

void lines_start(struct lines *l, int fd, int stop_fd)
{
    struct stat st;
    l->start = l->scan = l->end = 0;
    l->number = 0;
    l->fd = fd;
    l->stop_fd = stop_fd;
    l->eof = l->skipping = false;
    l->may_wait = stop_fd >= 0 && !(fstat(fd, &st) == 0 && S_ISREG(st.st_mode));
}

/* Waits until there is something to read. false: stopped. */
static bool wait_readable(const struct lines *l)
{
    struct pollfd fds[2] = {{.fd = l->fd, .events = POLLIN}, {.fd = l->stop_fd, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        continue;
    return (fds[1].revents & POLLIN) == 0;
}

static enum lines_got fill(struct lines *l, struct err *err)
{
    if (l->start > 0) {
        memmove(l->p, l->p + l->start, l->end - l->start);
        l->end -= l->start;
        l->scan -= l->start;
        l->start = 0;
    }
    if (l->may_wait && !wait_readable(l))
        return LINES_STOPPED;
    ssize_t n;
    do
        n = read(l->fd, l->p + l->end, l->cap - l->end);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        (void)err_set(err, RC_RETRY, "reading failed: %s", strerror(errno));
        return LINES_FAILED;
    }
    l->eof = n == 0;
    l->end += (size_t)n;
    return LINES_LINE;
}

/* The line [start, stop); the next one begins at `next`. */
static enum lines_got give(struct lines *l, size_t stop, size_t next, struct span *ret_line)
{
    struct span line = {l->p + l->start, stop - l->start};
    l->start = l->scan = next;
    l->number++;
    if (l->number == 1 && line.n >= 3 && memcmp(line.p, "\xef\xbb\xbf", 3) == 0)
        line = (struct span){line.p + 3, line.n - 3};
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    bool too_long = l->skipping || line.n > l->max_bytes;
    l->skipping = false;
    *ret_line = too_long ? (struct span){NULL, 0} : line;
    return too_long ? LINES_TOO_LONG : LINES_LINE;
}

enum lines_got lines_next(struct lines *l, struct span *ret_line, int64_t *ret_number,
                          struct err *err)
{
    for (;;) {
        const char *newline =
            l->end > l->scan ? memchr(l->p + l->scan, '\n', l->end - l->scan) : NULL;
        if (newline || (l->eof && (l->end > l->start || l->skipping))) {
            size_t stop = newline ? (size_t)(newline - l->p) : l->end;
            enum lines_got got = give(l, stop, newline ? stop + 1 : stop, ret_line);
            *ret_number = l->number;
            return got;
        }
        if (l->eof)
            return LINES_END;
        l->scan = l->end;
        if (l->skipping || l->end - l->start > l->max_bytes + 1) {
            l->skipping = true;
            l->start = l->scan = l->end = 0;
        }
        enum lines_got got = fill(l, err);
        if (got != LINES_LINE)
            return got;
    }
}
