/*
 * test_draws.c - what is drawn: the codecs' draws (compress/random.h) against known answers, made
 * by a program of big integers from the definition, how even they are, and that encoders take an
 * element's own; the laws of the tests' own numbers (tests/common/draw.h).
 */
#include "compress/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/common/draw.h"
#include "tests/unit/codec_case.h"

static void keys(void **state)
{
	static const struct {
		uint64_t seed, step, tensor;
		uint32_t rank, low, high;
	} rows[] = {
		{0, 0, 0, 0, 0x3efee8bd, 0x15bf0eee},
		{1, 2, 3, 4, 0x5e7e6ab0, 0x39d7fb92},
		{7, 1000000, 0xfedcba9876543210, RANDOM_SHARED, 0xf4a1ea72, 0x6881626d},
		{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT32_MAX, 0x5dbc4e9c, 0x86c1b072},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct random_key key =
			random_key(rows[i].seed, rows[i].step, rows[i].tensor, rows[i].rank);

		assert_int_equal(key.low, rows[i].low);
		assert_int_equal(key.high, rows[i].high);
	}
}

/* Each 2^32 elements have a key of their own. */
static void keys_of_far_elements(void **state)
{
	static const struct {
		uint64_t element;
		struct random_key right;
	} rows[] = {
		{0, {0x5e7e6ab0, 0x39d7fb92}},           {0xffffffff, {0x5e7e6ab0, 0x39d7fb92}},
		{0x100000000, {0xc0491309, 0xbfc3c5fd}}, {0x100000005, {0xc0491309, 0xbfc3c5fd}},
		{0x300000007, {0x84d8079b, 0xcb9b5ad3}}, {UINT64_MAX, {0x3fb6ecf7, 0xb3ec3127}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct random_key key =
			random_key_at((struct random_key){0x5e7e6ab0, 0x39d7fb92}, rows[i].element);

		assert_int_equal(key.low, rows[i].right.low);
		assert_int_equal(key.high, rows[i].right.high);
	}
}

static void numbers(void **state)
{
	static const struct {
		struct random_key key;
		uint32_t element, right;
		float unit;
	} rows[] = {
		{{0, 0}, 0, 0, 0},
		{{0x5e7e6ab0, 0x39d7fb92}, 0, 0x80a42afe, 0x1.014854p-1f},
		{{0x5e7e6ab0, 0x39d7fb92}, 1, 0xc4e00cec, 0x1.89c018p-1f},
		{{0x5e7e6ab0, 0x39d7fb92}, UINT32_MAX, 0x14a1cbb4, 0x1.4a1cbp-4f},
		{{0xc0491309, 0xbfc3c5fd}, 0, 0x6015f471, 0x1.8057dp-2f},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(random_u32(rows[i].key, rows[i].element), rows[i].right);
		assert_true(random_unit(rows[i].key, rows[i].element) == rows[i].unit);
	}
}

/* Counts of n draws that should be alike, within 5 deviations of chi-squared. */
static void even(const char *what, const unsigned *times, size_t kinds, double n)
{
	double chi2 = 0, expected = n / (double)kinds, freedom = (double)(kinds - 1);

	for (size_t i = 0; i < kinds; i++)
		chi2 += (times[i] - expected) * (times[i] - expected) / expected;
	if (fabs(chi2 - freedom) > 5 * sqrt(2 * freedom))
		fail_msg("%s: chi-squared is %.1f, not about %.0f", what, chi2, freedom);
}

/* In the counter, in the step and in the rank; each alone, and one draw beside the next. */
static void draws_are_even(void **state)
{
	enum { N = 1 << 20 };
	static const char *const names[] = {"element", "step", "rank"};

	(void)state;
	for (size_t by = 0; by < 3; by++) {
		unsigned high[256] = {0}, low[256] = {0}, pairs[256] = {0};
		struct random_key key = random_key(1, 2, 3, 4);
		uint32_t last = 0;

		for (uint32_t i = 0; i < N; i++) {
			uint32_t x;

			if (by > 0)
				key = random_key(1, by == 1 ? i : 0, 3, by == 2 ? i : 0);
			x = random_u32(key, by ? 77 : i);
			high[x >> 24]++;
			low[x & 255]++;
			pairs[(x >> 28) << 4 | last >> 28]++;
			last = x;
		}
		even(names[by], high, 256, N);
		even(names[by], low, 256, N);
		even(names[by], pairs, 256, N);
	}
}

static void within(const char *what, enum draw_law law, double found, double right,
		   double deviation)
{
	if (!(fabs(found - right) <= 5 * deviation))
		fail_msg("law %d: %s is %.5f, not %.5f within 5 * %.5f", (int)law, what, found,
			 right, deviation);
}

static void laws(void **state)
{
	enum { N = 1 << 20 };
	static const struct {
		enum draw_law law;
		double variance, of_square; /* variance of x^2; 0: there is none */
		double magnitude, share;    /* E|x|; of those within 1 */
	} rows[] = {
		{DRAW_GAUSS, 1, 2, 0.797885, 0.682689},
		{DRAW_LAPLACE, 2, 20, 1, 0.632121},
		{DRAW_STUDENT, 3, 0, 1.102658, 0.608998},
		/* Steps of 0.5: P(|z| <= 1.25), E and variance of the rounded ones. */
		{DRAW_COARSE, 1.020833, 2.083681, 0.789511, 0.788700},
	};

	(void)state;
	for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++) {
		double sum = 0, squares = 0, magnitude = 0, variance = rows[r].variance;
		uint64_t seed = 5;
		size_t share = 0;

		for (size_t i = 0; i < N; i++) {
			double x = draw_of(rows[r].law, &seed);

			sum += x;
			squares += x * x;
			magnitude += fabs(x);
			share += fabs(x) <= 1;
		}
		within("the mean", rows[r].law, sum / N, 0, sqrt(variance / N));
		if (rows[r].of_square > 0)
			within("the variance", rows[r].law, squares / N, variance,
			       sqrt(rows[r].of_square / N));
		within("the magnitude", rows[r].law, magnitude / N, rows[r].magnitude,
		       sqrt((variance - rows[r].magnitude * rows[r].magnitude) / N));
		within("the share within 1", rows[r].law, (double)share / N, rows[r].share,
		       sqrt(rows[r].share * (1 - rows[r].share) / N));
	}
}

static void uniforms(void **state)
{
	enum { N = 1 << 20 };
	unsigned times[256] = {0}, bytes[256] = {0};
	unsigned char *random = malloc(N + 5);
	uint64_t seed = 3, again = 3;

	(void)state;
	for (size_t i = 0; i < N; i++) {
		double u = draw_uniform(&seed);

		assert_true(u > 0 && u < 1 && u != 0.5);
		times[(int)(u * 256)]++;
	}
	even("uniform", times, 256, N);
	memset(random, 0xaa, N + 5);
	draw_bytes(random, N - 3, &seed);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(random[N - 3 + i], 0xaa);
	for (size_t i = 0; i < N - 3; i++)
		bytes[random[i]]++;
	even("bytes", bytes, 256, N - 3);
	free(random);

	/* The same seed, the same numbers; another seed, others. */
	seed = 3;
	assert_true(draw_u64(&seed) == draw_u64(&again) && seed == again);
	again = 4;
	assert_true(draw_u64(&seed) != draw_u64(&again));
}

static void vectors(void **state)
{
	float *v = draw_vector(DRAW_LAPLACE, 100, 0x1p-100, 9),
	      *z = draw_vector(DRAW_ZERO, 3, 1, 9);
	uint64_t seed = 9;

	(void)state;
	for (size_t i = 0; i < 100; i++)
		assert_true(v[i] == (float)(draw_laplace(&seed) * 0x1p-100));
	assert_true(z[0] == 0 && z[1] == 0 && z[2] == 0);
	free(v);
	free(z);
}

/* What lies halfway between two levels goes by the top bit of its element's draw. */
static void halves(void **state)
{
	enum { COUNT = 4096 };
	static const struct {
		const char *spec;
		float greatest, half;
		uint32_t up; /* the top bit of what is rounded up */
	} rows[] = {
		{"natural:block=4096", 4, 1.5F, 1},
		{"qsgd:block=4096,levels=7,scale=max", 7, .5F, 0},
		{"terngrad:block=4096,clip=0", 2, 1, 0},
		{"int8:block=4096,rounding=stochastic", 127, .5F, 1},
		{"int4:block=4096,rounding=stochastic", 7, .5F, 1},
		{"int2:block=4096,rounding=stochastic", 3, 2, 1},
	};
	uint64_t first = ((uint64_t)5 << 32) - COUNT;
	float in[COUNT];

	(void)state;
	for (size_t row = 0; row < sizeof(rows) / sizeof(*rows); row++) {
		struct random_key key = random_key_at(random_key(1, 6, 2, 3), first);
		struct codec_case c;

		for (size_t i = 0; i < COUNT; i++)
			in[i] = i ? rows[row].half : rows[row].greatest;
		case_encode(
			&c, rows[row].spec,
			&(struct case_input){
				.in = in, .count = COUNT, .first = first, .step = 6, .rank = 3});
		assert_true(c.residual[0] == 0);
		for (size_t i = 1; i < COUNT; i++) {
			uint32_t bit = random_u32(key, (uint32_t)(first + i)) >> 31;

			assert_true(c.residual[i] != 0);
			if ((c.residual[i] < 0) != (bit == rows[row].up))
				fail_msg("%s: element %zu", rows[row].spec, i);
		}
		case_drop(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys),     cmocka_unit_test(keys_of_far_elements),
		cmocka_unit_test(numbers),  cmocka_unit_test(draws_are_even),
		cmocka_unit_test(uniforms), cmocka_unit_test(laws),
		cmocka_unit_test(vectors),  cmocka_unit_test(halves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
