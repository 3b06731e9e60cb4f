/*
 * no_memory.c - see no_memory.h. Linked with every cmocka program; where no test asks for it, every
 * allocation goes through.
 */
#include "tests/unit/no_memory.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The linker's names for what is wrapped and for what wraps it. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *text);

static int left = -1; /* allocations that go through before the one that fails; -1: none will */
static bool failed;

void no_memory_at(int nth)
{
    left = nth;
    failed = false;
}

bool no_memory_over(void)
{
    left = -1;
    return failed;
}

static bool fails(void)
{
    if (left < 0 || left-- > 0)
        return false;
    failed = true;
    return true;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t n)
{
    return fails() ? NULL : __real_calloc(count, n);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}
