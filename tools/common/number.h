/*
 * number.h - numbers as people type them after an option.
 *
 * The whole text must be the number: no leading or trailing space, no sign on a
 * count, nothing after the suffix.
 */
#ifndef TOOLS_COMMON_NUMBER_H
#define TOOLS_COMMON_NUMBER_H

#include <stdint.h>

/* number_count() - decimal.  Return: 0, -EINVAL if it isn't one, -ERANGE if not in min..max. */
int number_count(const char *text, uint64_t min, uint64_t max, uint64_t *out);

/* number_bytes() - as number_count(), with an optional K, M or G (powers of 1024). */
int number_bytes(const char *text, uint64_t min, uint64_t max, uint64_t *out);

/* number_real() - a finite decimal fraction.  Return: as number_count(). */
int number_real(const char *text, double min, double max, double *out);

#endif
