/* test_crc32c.c - published vectors, and the instruction against the tables and a bit loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/crc32c.h"

enum { BYTES = 9 * 1024 + 64 }; /* two rounds of three stripes, and a rest */

static void fill(unsigned char *data, size_t bytes)
{
	uint32_t state = 12345;

	for (size_t i = 0; i < bytes; i++) {
		state = state * 1664525u + 1013904223u;
		data[i] = (unsigned char)(state >> 24);
	}
}

/* The definition, a bit at a time. */
static uint32_t bit_by_bit(uint32_t crc, const unsigned char *data, size_t bytes)
{
	crc = ~crc;
	for (size_t i = 0; i < bytes; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

static void expect(const void *data, size_t bytes, uint32_t crc)
{
	assert_int_equal(crc32c(0, data, bytes), crc);
	assert_int_equal(crc32c_portable(0, data, bytes), crc);
}

/* RFC 3720, appendix B.4; the RFC prints the bytes of the number in wire order. */
static void rfc_3720(void **state)
{
	static const unsigned char read_command[48] = {
		0x01, 0xc0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
		0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
		0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};
	unsigned char data[32];

	(void)state;
	expect("123456789", 9, 0xe3069283);
	memset(data, 0, sizeof(data));
	expect(data, sizeof(data), 0x8a9136aa);
	memset(data, 0xff, sizeof(data));
	expect(data, sizeof(data), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)i;
	expect(data, sizeof(data), 0x46dd794e);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(31 - i);
	expect(data, sizeof(data), 0x113fdb5c);
	expect(read_command, sizeof(read_command), 0xd9963a56);
	expect("", 0, 0);
}

/* Every length up to past the first three stripes, at every alignment around a word. */
static void every_length_and_alignment(void **state)
{
	static unsigned char data[BYTES];

	(void)state;
	fill(data, BYTES);
	for (size_t offset = 0; offset < 9; offset++) {
		for (size_t bytes = 0; bytes <= 3 * 1024 + 40; bytes++)
			if (crc32c(7, data + offset, bytes) !=
			    crc32c_portable(7, data + offset, bytes))
				fail_msg("offset %zu, %zu bytes", offset, bytes);
		for (size_t bytes = 6 * 1024 - 20; bytes <= 6 * 1024 + 20; bytes++)
			if (crc32c(7, data + offset, bytes) !=
			    crc32c_portable(7, data + offset, bytes))
				fail_msg("offset %zu, %zu bytes", offset, bytes);
	}
}

static void as_defined(void **state)
{
	static unsigned char data[BYTES];
	uint32_t crc = 0;

	(void)state;
	fill(data, BYTES);
	for (size_t bytes = 0; bytes < 300; bytes++) {
		crc = bit_by_bit(crc, data, bytes);
		assert_int_equal(crc32c_portable(0, data, bytes), bit_by_bit(0, data, bytes));
	}
	assert_int_equal(crc32c_portable(crc, data, BYTES), bit_by_bit(crc, data, BYTES));
	assert_int_equal(crc32c(crc, data, BYTES), bit_by_bit(crc, data, BYTES));
}

static void in_parts(void **state)
{
	static unsigned char data[BYTES];
	uint32_t whole;

	(void)state;
	fill(data, BYTES);
	whole = crc32c(0, data, BYTES);
	for (size_t cut = 0; cut <= BYTES; cut += 37) {
		uint32_t first = crc32c(0, data, cut);

		assert_int_equal(crc32c(first, data + cut, BYTES - cut), whole);
		assert_int_equal(crc32c_portable(first, data + cut, BYTES - cut), whole);
	}
}

static void every_flipped_bit_is_seen(void **state)
{
	unsigned char data[140];
	uint32_t crc;

	(void)state;
	fill(data, sizeof(data));
	crc = crc32c(0, data, sizeof(data));
	for (size_t bit = 0; bit < 8 * sizeof(data); bit++) {
		data[bit / 8] ^= (unsigned char)(1u << bit % 8);
		assert_int_not_equal(crc32c(0, data, sizeof(data)), crc);
		data[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	assert_int_equal(crc32c(0, data, sizeof(data)), crc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc_3720),
		cmocka_unit_test(every_length_and_alignment),
		cmocka_unit_test(as_defined),
		cmocka_unit_test(in_parts),
		cmocka_unit_test(every_flipped_bit_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
