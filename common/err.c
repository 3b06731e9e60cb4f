/*
 * err.c - fills in `struct err`.
 *
 * Happy path: the text is formatted aside and copied in, so the arguments may point into the very
 * text they replace. Failure: text that does not fit is cut at a character boundary; a format that
 * cannot be printed leaves an empty text. Neither ever fails the caller: the code is returned as
 * it came.
 */
#include "common/err.h"

#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

/* Returns the length of the text, which is cut to fit `out`. */
static size_t format_cut(char out[ERR_TEXT_BYTES], const char *fmt, va_list args)
{
    int n = vsnprintf(out, ERR_TEXT_BYTES, fmt, args);
    if (n < 0)
        n = 0;
    size_t len = (size_t)n;
    if (len >= ERR_TEXT_BYTES)
        len = utf8_trim(out, ERR_TEXT_BYTES - 1);
    out[len] = '\0';
    return len;
}

enum rc err_set(struct err *err, enum rc rc, const char *fmt, ...)
{
    if (!err)
        return rc;
    char text[ERR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    size_t n = format_cut(text, fmt, args);
    va_end(args);
    memcpy(err->text, text, n + 1);
    return rc;
}

enum rc err_prefix(struct err *err, enum rc rc, const char *fmt, ...)
{
    if (!err)
        return rc;
    char text[ERR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    size_t n = format_cut(text, fmt, args);
    va_end(args);

    size_t room = ERR_TEXT_BYTES - 1 - n;
    size_t old = strnlen(err->text, ERR_TEXT_BYTES - 1);
    if (old > 0 && room > 2) {
        memcpy(text + n, ": ", 2);
        n += 2;
        room -= 2;
        size_t take = old <= room ? old : utf8_trim(err->text, room);
        memcpy(text + n, err->text, take);
        n += take;
    }
    text[n] = '\0';
    memcpy(err->text, text, n + 1);
    return rc;
}

const char *rc_name(enum rc rc)
{
    switch (rc) {
    case RC_OK:
        return "ok";
    case RC_RETRY:
        return "retry";
    case RC_REJECT:
        return "reject";
    case RC_FULL:
        return "full";
    case RC_NOMEM:
        return "nomem";
    case RC_FATAL:
        return "fatal";
    }
    return "unknown";
}
