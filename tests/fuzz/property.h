/*
 * property.h - what all fuzz harnesses share: an assertion that says what broke, and the
 * input as a stream of numbers.
 */
#ifndef TESTS_FUZZ_PROPERTY_H
#define TESTS_FUZZ_PROPERTY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROPERTY(condition)                                                                     \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                \
		}                                                                               \
	} while (0)

struct input {
	const uint8_t *data;
	size_t bytes;
};

/* take() - the next bytes of the input into `out`, zeros when it has ended. */
static inline void take(struct input *in, void *out, size_t bytes)
{
	size_t there = bytes < in->bytes ? bytes : in->bytes;

	memset(out, 0, bytes);
	if (there)
		memcpy(out, in->data, there);
	in->data += there;
	in->bytes -= there;
}

/* rest_of() - what is left, in memory of just that size (aligned to 8, to be freed). */
static inline void *rest_of(const struct input *in)
{
	void *copy = calloc(1, in->bytes ? in->bytes : 1);

	PROPERTY(copy);
	if (in->bytes)
		memcpy(copy, in->data, in->bytes);
	return copy;
}

/* terminated() - does the text end within its field, without control characters? */
static inline int terminated(const char *text, size_t bytes)
{
	const char *end = memchr(text, 0, bytes);

	if (!end)
		return 0;
	for (; text < end; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return 0;
	return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#endif
