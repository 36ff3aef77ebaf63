/*
 * test_copy.c - copy_away() copies what it should and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compress/copy.h"

enum { ROOM = 1024 };

static void every_length_at_every_alignment(void **state)
{
	unsigned char in[ROOM], out[ROOM], want[ROOM];

	(void)state;
	for (size_t i = 0; i < ROOM; i++)
		in[i] = (unsigned char)(i * 7 + i / 256);
	for (size_t to = 0; to < 66; to++)
		for (size_t bytes = 0; bytes < 300; bytes++) {
			size_t from = (to * 5 + bytes) % 67;

			memset(out, 0xee, sizeof(out));
			memset(want, 0xee, sizeof(want));
			memcpy(want + to, in + from, bytes);
			copy_away(out + to, in + from, bytes);
			assert_memory_equal(out, want, sizeof(out));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_at_every_alignment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
