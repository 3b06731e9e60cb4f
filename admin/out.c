/*
 * out.c - standard output with a memory for its failure.
 */
#include "admin/out.h"

#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/streams.h"

void out_setup(void)
{
    streams_fill();
    (void)signal(SIGPIPE, SIG_IGN);
    if (!setlocale(LC_CTYPE, "C.UTF-8")) /* only for wcwidth; the formats stay plain */
        (void)setlocale(LC_CTYPE, "");
}

/* stdio itself remembers that a write failed, which keeps this file free of state. */
static enum rc judge(bool written, struct err *err)
{
    if (written && !ferror(stdout))
        return RC_OK;
    return err_set(err, RC_FULL, "standard output: %s", strerror(errno ? errno : EIO));
}

/* A pipe or socket whose other end was closed. */
static bool reader_left(void)
{
    struct pollfd fd = {.fd = STDOUT_FILENO};
    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR);
}

enum rc out_write(struct span s, struct err *err)
{
    return judge(s.n == 0 || fwrite(s.p, 1, s.n, stdout) == s.n, err);
}

enum rc out_writef(struct err *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    bool written = vfprintf(stdout, fmt, args) >= 0;
    va_end(args);
    return judge(written, err);
}

enum rc out_flush(struct err *err)
{
    return judge(fflush(stdout) == 0, err);
}

enum rc out_finish(enum rc rc, struct err *err)
{
    struct err why;
    if (out_flush(&why) == RC_OK || (rc != RC_OK && rc != RC_FULL))
        return rc;
    if (reader_left())
        return RC_OK;
    return rc == RC_FULL ? RC_REJECT : err_set(err, RC_REJECT, "%s", why.text);
}

bool out_is_terminal(void)
{
    return isatty(STDOUT_FILENO) == 1;
}

void out_note(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)fflush(stdout); /* so that the two streams mix in order on a terminal */
    (void)fputs("inferq: ", stderr);
    (void)vfprintf(stderr, fmt, args);
    (void)fputc('\n', stderr);
    va_end(args);
}
