/*
 * test_random.c - the generator of the tools: known values, shuffles.
 */
#include "tools/common/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void known_values(void **state)
{
	/* splitmix64 from the state 1234567, as published with the generator. */
	static const uint64_t known[] = {6457827717110365317u, 3203168211198807973u,
					 9817491932198370423u, 4593380528125082431u,
					 16408922859458223821u};
	uint64_t seed = 1234567;

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		assert_true(random_next(&seed) == known[i]);
	assert_true(random_seed(1, 0) != random_seed(1, 1));
	assert_true(random_seed(1, 0) != random_seed(0, 1));
}

static void units(void **state)
{
	uint64_t seed = 1;
	double sum = 0;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		double x = random_unit(&seed);

		assert_true(x >= 0 && x < 1);
		sum += x;
	}
	/* The mean's standard deviation is 0.0009. */
	assert_true(sum / 100000 > 0.495 && sum / 100000 < 0.505);
}

/* All 24 orders of four, each about 1000 times (standard deviation 31). */
static void shuffles_are_fair(void **state)
{
	unsigned seen[256] = {0}, orders = 0;
	uint64_t seed = 7;

	(void)state;
	for (int i = 0; i < 24000; i++) {
		uint32_t order[] = {0, 1, 2, 3};

		random_shuffle(&seed, order, 4);
		seen[order[0] << 6 | order[1] << 4 | order[2] << 2 | order[3]]++;
	}
	for (size_t i = 0; i < 256; i++) {
		if (!seen[i])
			continue;
		orders++;
		assert_in_range(seen[i], 800, 1200);
	}
	assert_int_equal(orders, 24);

	uint32_t one = 5;
	random_shuffle(&seed, &one, 1);
	random_shuffle(&seed, &one, 0);
	assert_int_equal(one, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values),
		cmocka_unit_test(units),
		cmocka_unit_test(shuffles_are_fair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
