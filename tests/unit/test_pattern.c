/*
 * test_pattern.c - the generator behind carry-perf --check.
 *
 * What it expects is compared with sums made here another way: decoded inputs of all
 * the ranks, added in fp32 (f64) or in the type itself, in several orders.
 */
#include "tools/perf/pattern.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const enum carry_type types[] = {CARRY_F32, CARRY_F64, CARRY_F16, CARRY_BF16,
					CARRY_I8,  CARRY_U8,  CARRY_I32, CARRY_I64};
static const enum carry_reduce reduces[] = {CARRY_SUM, CARRY_AVG, CARRY_MIN, CARRY_MAX, CARRY_PROD};
static const uint32_t sizes[] = {1, 2, 3, 8, 19};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define RANKS_MAX 19
#define ELEMENTS 300

static bool is_float(enum carry_type type)
{
	return type == CARRY_F32 || type == CARRY_F64 || type == CARRY_F16 || type == CARRY_BF16;
}

/* Decode from the formats' definitions, by parts: the generator encodes by arithmetic on bits. */
static double decode_f16(uint16_t bits)
{
	int exponent = bits >> 10 & 31, fraction = bits & 1023;
	double magnitude =
		exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);

	return bits & 0x8000 ? -magnitude : magnitude;
}

static double load_float(enum carry_type type, const void *from, size_t index)
{
	if (type == CARRY_F64)
		return ((const double *)from)[index];
	if (type == CARRY_F32)
		return (double)((const float *)from)[index];
	uint16_t half = ((const uint16_t *)from)[index];
	if (type == CARRY_F16)
		return decode_f16(half);
	uint32_t bits = (uint32_t)half << 16;
	float value;
	memcpy(&value, &bits, sizeof(value));
	return (double)value;
}

/* The nearest bf16, ties to even, by looking at the bits cut off. */
static uint16_t round_bf16(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	uint32_t cut = bits & 0xffff, kept = bits >> 16;
	if (cut > 0x8000 || (cut == 0x8000 && (kept & 1)))
		kept++;
	return (uint16_t)kept;
}

/* The nearest f16, ties to even, by trying all of them. */
static uint16_t round_f16(float x)
{
	uint16_t best = 0;

	for (uint32_t bits = 0; bits < 0x7c00; bits++) {
		double here = fabs(decode_f16((uint16_t)bits) - fabs((double)x));
		double there = fabs(decode_f16(best) - fabs((double)x));

		if (here < there || (here == there && !(bits & 1)))
			best = (uint16_t)bits;
	}
	return (uint16_t)(best | (signbit(x) ? 0x8000 : 0));
}

static void store_float(enum carry_type type, void *to, double x)
{
	float narrow = (float)x;
	uint16_t half;

	if (type == CARRY_F64) {
		memcpy(to, &x, sizeof(x));
	} else if (type == CARRY_F32) {
		memcpy(to, &narrow, sizeof(narrow));
	} else {
		half = type == CARRY_F16 ? round_f16(narrow) : round_bf16(narrow);
		memcpy(to, &half, sizeof(half));
	}
}

static double combine_float(bool wide, enum carry_reduce reduce, double a, double b)
{
	switch (reduce) {
	case CARRY_SUM:
	case CARRY_AVG: return wide ? a + b : (double)((float)a + (float)b);
	case CARRY_MIN: return a < b ? a : b;
	case CARRY_MAX: return a > b ? a : b;
	case CARRY_PROD: return wide ? a * b : (double)((float)a * (float)b);
	}
	fail();
	return 0;
}

/* The result of element `index` over inputs[ranks], beginning with rank `from`, to out. */
static void reduce_float(enum carry_type type, enum carry_reduce reduce, uint32_t ranks,
			 void *const *inputs, size_t index, uint32_t from, void *out)
{
	double sum = load_float(type, inputs[from], index);

	for (uint32_t i = 1; i < ranks; i++)
		sum = combine_float(type == CARRY_F64, reduce, sum,
				    load_float(type, inputs[(from + i) % ranks], index));
	if (reduce == CARRY_AVG)
		sum = type == CARRY_F64 ? sum / ranks : (double)((float)sum / (float)ranks);
	store_float(type, out, sum);
}

#define REDUCE_INTEGER(TYPE)                                               \
	do {                                                               \
		TYPE sum = ((const TYPE *)inputs[0])[index];               \
		for (uint32_t i = 1; i < ranks; i++) {                     \
			TYPE x = ((const TYPE *)inputs[i])[index];         \
			if (reduce == CARRY_SUM || reduce == CARRY_AVG)    \
				sum = (TYPE)((uint64_t)sum + (uint64_t)x); \
			else if (reduce == CARRY_PROD)                     \
				sum = (TYPE)((uint64_t)sum * (uint64_t)x); \
			else if (reduce == CARRY_MIN ? x < sum : x > sum)  \
				sum = x;                                   \
		}                                                          \
		if (reduce == CARRY_AVG)                                   \
			sum = (TYPE)(sum / (TYPE)ranks);                   \
		memcpy(out, &sum, sizeof(sum));                            \
	} while (0)

static void reduce_integer(enum carry_type type, enum carry_reduce reduce, uint32_t ranks,
			   void *const *inputs, size_t index, void *out)
{
	if (type == CARRY_I8)
		REDUCE_INTEGER(int8_t);
	else if (type == CARRY_U8)
		REDUCE_INTEGER(uint8_t);
	else if (type == CARRY_I32)
		REDUCE_INTEGER(int32_t);
	else
		REDUCE_INTEGER(int64_t);
}

/* f16's rounding by search is slow: fewer elements do. */
static void check_one(enum carry_type type, enum carry_reduce reduce, uint32_t ranks)
{
	size_t bytes = pattern_type_bytes(type), count = type == CARRY_F16 ? 20 : ELEMENTS;
	void *inputs[RANKS_MAX];
	struct pattern *p = malloc(sizeof(*p));
	unsigned char *result = calloc(count, bytes);

	assert_non_null(p);
	assert_non_null(result);
	for (uint32_t rank = 0; rank < ranks; rank++) {
		inputs[rank] = calloc(count, bytes);
		assert_non_null(inputs[rank]);
		pattern_make(p, type, reduce, ranks, rank, 7);
		pattern_fill(p, inputs[rank], count);
	}
	for (uint32_t from = 0; from < ranks; from += 1 + ranks / 3) {
		for (size_t i = 0; i < count; i++) {
			if (is_float(type))
				reduce_float(type, reduce, ranks, inputs, i, from,
					     result + i * bytes);
			else
				reduce_integer(type, reduce, ranks, inputs, i, result + i * bytes);
		}
		struct pattern_wrong wrong = pattern_check(p, result, count);
		if (wrong.count)
			fail_msg("type %d reduce %d ranks %u: %llu wrong, [%llu] 0x%llx not 0x%llx",
				 (int)type, (int)reduce, ranks, (unsigned long long)wrong.count,
				 (unsigned long long)wrong.first, (unsigned long long)wrong.got,
				 (unsigned long long)wrong.expected);
	}
	for (uint32_t rank = 0; rank < ranks; rank++)
		free(inputs[rank]);
	free(result);
	free(p);
}

static void every_type_and_reduction(void **state)
{
	(void)state;
	for (size_t t = 0; t < COUNT(types); t++)
		for (size_t r = 0; r < COUNT(reduces); r++)
			for (size_t n = 0; n < COUNT(sizes); n++)
				check_one(types[t], reduces[r], sizes[n]);
}

/* The promise "no zero in a product, no NaN, no infinity, no -0", at the largest group too. */
static void values_are_plain(void **state)
{
	static const uint32_t many[] = {1, 4, 4096};
	struct pattern *p = malloc(sizeof(*p));
	double out[1];

	(void)state;
	assert_non_null(p);
	for (size_t n = 0; n < COUNT(many); n++)
		for (size_t r = 0; r < COUNT(reduces); r++)
			for (size_t t = 0; t < 4; t++) {
				/* 4096 ranks are slow: the narrowest range will do. */
				if (many[n] == 4096 &&
				    (types[t] != CARRY_F16 || reduces[r] != CARRY_SUM))
					continue;
				pattern_make(p, types[t], reduces[r], many[n], 0, 3);
				for (size_t c = 0; c < 2 * PATTERN_CLASSES; c++) {
					uint64_t bits = c < PATTERN_CLASSES
								? p->input[c]
								: p->expected[c - PATTERN_CLASSES];
					memcpy(out, &bits, sizeof(bits));
					double x = load_float(types[t], out, 0);
					assert_true(isfinite(x));
					assert_false(x == 0 && signbit(x));
					assert_true(fabs(x) <= 9007199254740992.0);
					if (types[t] == CARRY_F16)
						assert_true(fabs(x) <= 65504);
					if (reduces[r] == CARRY_PROD)
						assert_true(x != 0);
				}
			}
	free(p);
}

/* What a broken allreduce would do must be seen: count the elements that don't notice. */
static void mistakes_are_seen(void **state)
{
	enum { MANY = 20000 };
	struct pattern *mine = malloc(sizeof(*mine)), *other = malloc(sizeof(*other));
	float *x = calloc(MANY, sizeof(*x)), *y = calloc(MANY, sizeof(*y));

	(void)state;
	assert_non_null(mine);
	assert_non_null(other);
	assert_non_null(x);
	assert_non_null(y);
	pattern_make(mine, CARRY_F32, CARRY_SUM, 2, 0, 1);
	pattern_make(other, CARRY_F32, CARRY_SUM, 2, 1, 1);
	pattern_fill(mine, x, MANY);
	pattern_fill(other, y, MANY);
	for (int i = 0; i < MANY; i++)
		x[i] += y[i];
	assert_int_equal(pattern_check(mine, x, MANY).count, 0);

	/* One bit of one element. */
	uint32_t bits;
	memcpy(&bits, &x[12345], sizeof(bits));
	bits ^= 1;
	memcpy(&x[12345], &bits, sizeof(bits));
	struct pattern_wrong wrong = pattern_check(mine, x, MANY);
	assert_int_equal(wrong.count, 1);
	assert_int_equal(wrong.first, 12345);
	assert_int_equal(wrong.got, bits);
	assert_int_equal(wrong.expected, bits ^ 1);

	/* Shifted by a chunk, a rank twice, nothing done, the pattern before: nearly all differ. */
	for (int shift = 1; shift <= 16384; shift *= 2)
		assert_true(
			pattern_check(mine, (char *)x + 4 * shift, (size_t)(MANY - shift)).count >
			(size_t)(MANY - shift) * 99 / 100);
	assert_true(pattern_check(mine, y, MANY).count > MANY * 99 / 100);
	for (int i = 0; i < MANY; i++)
		y[i] += y[i];
	assert_true(pattern_check(mine, y, MANY).count > MANY * 99 / 100);
	pattern_make(mine, CARRY_F32, CARRY_SUM, 2, 0, 2);
	assert_true(pattern_check(mine, x, MANY).count > MANY * 99 / 100);
	pattern_spoil(mine, x, MANY);
	assert_int_equal(pattern_check(mine, x, MANY).count, MANY);
	free(y);
	free(x);
	free(other);
	free(mine);
}

/* Integers are there to wrap: with two ranks half of the sums should. */
static void integers_wrap(void **state)
{
	struct pattern *a = malloc(sizeof(*a)), *b = malloc(sizeof(*b));
	int wrapped = 0;

	(void)state;
	assert_non_null(a);
	assert_non_null(b);
	pattern_make(a, CARRY_U8, CARRY_SUM, 2, 0, 1);
	pattern_make(b, CARRY_U8, CARRY_SUM, 2, 1, 1);
	for (size_t c = 0; c < PATTERN_CLASSES; c++)
		wrapped += a->input[c] + b->input[c] > 255;
	assert_in_range(wrapped, PATTERN_CLASSES * 2 / 5, PATTERN_CLASSES * 3 / 5);
	free(b);
	free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_and_reduction),
		cmocka_unit_test(values_are_plain),
		cmocka_unit_test(mistakes_are_seen),
		cmocka_unit_test(integers_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
