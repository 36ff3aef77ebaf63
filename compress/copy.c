/*
 * copy.c - non-temporal copy; see copy.h.  SSE2 is part of every x86-64; other CPUs
 * have their own ways in memcpy().
 */
#include "compress/copy.h"

#include <stdint.h>
#include <string.h>

#ifdef __x86_64__

#include <emmintrin.h>

enum { LINE_BYTES = 64 };

void copy_away(void *out, const void *in, size_t bytes)
{
	unsigned char *to = out;
	const unsigned char *from = in;
	size_t head = (size_t)(-(uintptr_t)to % LINE_BYTES);

	if (head > bytes)
		head = bytes;
	memcpy(to, from, head);
	to += head;
	from += head;
	bytes -= head;

	/* Whole lines, so that each leaves the write-combining buffer in one piece. */
	for (; bytes >= LINE_BYTES; bytes -= LINE_BYTES, to += LINE_BYTES, from += LINE_BYTES) {
		__m128i *line = (__m128i *)(void *)to;

		for (int i = 0; i < LINE_BYTES / 16; i++)
			_mm_stream_si128(
				line + i,
				_mm_loadu_si128((const __m128i *)(const void *)(from + 16 * i)));
	}
	_mm_sfence();
	memcpy(to, from, bytes);
}

#else

void copy_away(void *out, const void *in, size_t bytes)
{
	memcpy(out, in, bytes);
}

#endif
