/*
 * no_memory.h - allocations that fail when a test says so: malloc, calloc, realloc and strdup of
 * our own code (the Makefile wraps them for every cmocka program; libraries' are their own).
 *
 * A test runs a scenario again and again, each time with a later allocation that fails, until none
 * was left to fail:
 *
 *     for (int n = 0, failed = 1; failed; n++) {
 *         no_memory_at(n);
 *         ...
 *         failed = no_memory_over();
 *     }
 */
#ifndef INFERQ_TESTS_UNIT_NO_MEMORY_H
#define INFERQ_TESTS_UNIT_NO_MEMORY_H

#include <stdbool.h>

/* Of the allocations from now on, the nth (from 0) fails, once. */
void no_memory_at(int nth);
/* None fails any more. Whether one has. */
bool no_memory_over(void);

#endif
