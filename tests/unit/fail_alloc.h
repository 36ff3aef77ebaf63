/*
 * fail_alloc.h - lets the n-th allocation of the code under test fail.
 *
 * Included by one test program each, which must name what is wrapped, for the Makefile:
 *     __wrap_malloc __wrap_calloc __wrap_realloc
 * Calls from shared libraries are not wrapped.
 *
 *     for (fail_alloc_at(n = 1); x_new(&x) == -ENOMEM; fail_alloc_at(++n))
 *             ...nothing may leak, which the sanitizer build sees
 */
#ifndef TESTS_UNIT_FAIL_ALLOC_H
#define TESTS_UNIT_FAIL_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);

static long fail_alloc_left; /* 0: none fails; 1: the next one */

/* The n-th allocation from now on fails, once; 0: none. */
static inline void fail_alloc_at(long n)
{
	fail_alloc_left = n;
}

static bool fail_alloc_due(void)
{
	return fail_alloc_left > 0 && --fail_alloc_left == 0;
}

void *__wrap_malloc(size_t bytes)
{
	return fail_alloc_due() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return fail_alloc_due() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *block, size_t bytes)
{
	return fail_alloc_due() ? NULL : __real_realloc(block, bytes);
}

#endif
