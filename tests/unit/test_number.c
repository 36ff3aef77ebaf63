/*
 * test_number.c - numbers after options: what is taken, what is refused, and as what.
 */
#include "tools/common/number.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void counts(void **state)
{
	uint64_t n = 77;

	(void)state;
	assert_int_equal(number_count("0", 0, 10, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(number_count("18446744073709551615", 0, UINT64_MAX, &n), 0);
	assert_true(n == UINT64_MAX);

	static const char *const bad[] = {"", " 1", "1 ", "-1", "+1", "0x10", "1e3", "1k", "one"};
	n = 77;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(number_count(bad[i], 0, UINT64_MAX, &n), -EINVAL);
	assert_int_equal(number_count("18446744073709551616", 0, UINT64_MAX, &n), -ERANGE);
	assert_int_equal(number_count("4", 5, 10, &n), -ERANGE);
	assert_int_equal(number_count("11", 5, 10, &n), -ERANGE);
	assert_int_equal(n, 77);
}

static void bytes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"8", 8},           {"1K", 1024},       {"64M", 64u << 20},
		{"64m", 64u << 20}, {"3G", 3ull << 30}, {"0G", 0},
	};
	static const char *const bad[] = {"", "M", "-1M", "1MB", "1T", "1.5M", "1 M", "64Mi"};
	uint64_t n = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(number_bytes(good[i].text, 0, UINT64_MAX, &n), 0);
		assert_true(n == good[i].bytes);
	}
	n = 77;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(number_bytes(bad[i], 0, UINT64_MAX, &n), -EINVAL);
	assert_int_equal(number_bytes("17179869184G", 0, UINT64_MAX, &n), -ERANGE);
	assert_int_equal(number_bytes("2K", 0, 2047, &n), -ERANGE);
	assert_int_equal(n, 77);
}

static void reals(void **state)
{
	static const char *const bad[] = {"",     "inf", "nan", "0x1p3", "1,5",
					  "1.5s", " 1",  "1-",  "."};
	double x = 77;

	(void)state;
	assert_int_equal(number_real("0.05", 0, 1, &x), 0);
	assert_true(x == 0.05);
	assert_int_equal(number_real("1e-4", 0, 1, &x), 0);
	assert_true(x == 1e-4);
	x = 77;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(number_real(bad[i], -1e9, 1e9, &x), -EINVAL);
	assert_int_equal(number_real("1e999", 0, 1e308, &x), -ERANGE);
	assert_int_equal(number_real("-0.1", 0, 1, &x), -ERANGE);
	assert_true(x == 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts),
		cmocka_unit_test(bytes),
		cmocka_unit_test(reals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
