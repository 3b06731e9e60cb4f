/*
 * by_line.c - linked with every cmocka program: its output goes out line by line, into a pipe too,
 * so that of a program that hangs it can be told in which test.
 */
#include <stdio.h>

__attribute__((constructor)) static void write_by_line(void)
{
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
}
