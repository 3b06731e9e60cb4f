#include "tests/modelsim/base.h"

/*
 * Purpose: error text and the way out.
 * Happy path: err_set formats and cuts to size. Failure: base_die aborts the stand-in loudly.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void err_set(struct err *err, const char *format, ...)
{
    if (err == NULL)
        return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
}

_Noreturn void base_die(const char *what)
{
    (void)fprintf(stderr, "modelsim: %s: %s\n", what, strerror(errno));
    exit(3);
}

void *base_realloc(void *old, size_t size)
{
    void *data = realloc(old, size);
    if (data == NULL)
        base_die("no memory");
    return data;
}

void *base_calloc(size_t count, size_t size)
{
    void *data = calloc(count, size);
    if (data == NULL)
        base_die("no memory");
    return data;
}
