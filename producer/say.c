/*
 * say.c - messages to people.
 *
 * Happy path: formatted, cleaned, written in one call. It cannot fail: a standard error that is
 * closed hears nothing.
 */
#include "producer/say.h"

#include <stdarg.h>
#include <stdio.h>

enum { SAY_BYTES = 2048 };

void say(const char *fmt, ...)
{
    char text[SAY_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    fprintf(stderr, "inferq-submit: %s\n", text);
}
