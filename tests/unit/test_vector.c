/*
 * test_vector.c - every CPU variant must give the bits of vector_reference.c, so all give the same.
 *
 * Variants that this CPU lacks are named and left out.  Vectors are heap blocks of exactly their
 * size, so that AddressSanitizer sees a read or write beyond them.
 */
#include "compress/vector.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/vector_reference.h"

#define OFFSET_MAX 8 /* bytes off alignment, and guards on both sides of an output */

#define EACH_VARIANT(v)                                                       \
	for (const struct vec *const *it = vec_variants, *v; (v = *it); it++) \
		if (vec_supported(v))

/* --- data --------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state) /* splitmix64 */
{
	uint64_t x = *state += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static size_t pick(uint64_t *state, size_t choices)
{
	return next_random(state) % choices;
}

#define SPECIALS 24

/* Zeros, denormals, ones, largest, infinities; NaNs quiet, signalling and with payloads; ties. */
static uint64_t special(enum vec_type type, size_t i)
{
	static const uint64_t f64[SPECIALS / 2] = {
		0,
		1,
		0x000fffffffffffff,
		0x0010000000000000,
		0x3ff0000000000000,
		0x3ff0000000000001,
		0x7fefffffffffffff,
		0x7ff0000000000000,
		0x7ff0000000000001,
		0x7ff8000000000000,
		0x7ff8000000001234,
		0x7fffffffffffffff,
	};
	static const uint64_t f32[SPECIALS / 2] = {
		0,          1,          0x007fffff, 0x00800000, 0x3f800000, 0x477ff000,
		0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fc01234, 0x7fffffff,
	};
	static const uint64_t f16[SPECIALS / 2] = {0,      1,      0x03ff, 0x0400, 0x3c00, 0x3c01,
						   0x7bff, 0x7c00, 0x7c01, 0x7e00, 0x7e12, 0x7fff};
	static const uint64_t bf16[SPECIALS / 2] = {0,      1,      0x007f, 0x0080, 0x3f80, 0x3f81,
						    0x7f7f, 0x7f80, 0x7f81, 0x7fc0, 0x7fd2, 0x7fff};
	size_t top = 8 * vec_type_bytes(type) - 1, half = i / 2;
	uint64_t sign = (uint64_t)(i & 1) << top;

	switch (type) {
	case VEC_F64: return f64[half] | sign;
	case VEC_F32: return f32[half] | sign;
	case VEC_F16: return f16[half] | sign;
	case VEC_BF16: return bf16[half] | sign;
	case VEC_I8:
	case VEC_U8:
	case VEC_I32:
	case VEC_I64: break;
	}
	return (half < 6 ? half : ((uint64_t)1 << top) - 9 + half) ^ (0 - (uint64_t)(i & 1));
}

/* A third specials, a third any bits, a third small numbers, whose sums are exact or nearly. */
static void fill(enum vec_type type, unsigned char *data, size_t count, uint64_t *state)
{
	size_t bytes = vec_type_bytes(type);

	for (size_t i = 0; i < count; i++, data += bytes) {
		double small = (double)pick(state, 4001) / 8 - 250;
		float single = (float)small;
		uint64_t bits = next_random(state);
		size_t kind = pick(state, 3);

		if (kind == 0)
			bits = special(type, pick(state, SPECIALS));
		else if (kind == 1 && type == VEC_F64)
			memcpy(&bits, &small, sizeof(small));
		else if (kind == 1 && type == VEC_F32)
			memcpy(&bits, &single, sizeof(single));
		else if (kind == 1 && vec_sum_type(type) == VEC_F32)
			bits = reference_narrow(single, reference_format(type));
		else if (kind == 1)
			bits %= 100;
		memcpy(data, &bits, bytes);
	}
}

/* --- calls -------------------------------------------------------------------------------- */

static unsigned char *block(size_t bytes)
{
	unsigned char *p = malloc(bytes ? bytes : 1);

	assert_non_null(p);
	return p;
}

static void describe(const struct call *c, const char *variant, size_t at)
{
	print_error("%s: %s %s of %zu inputs to %s, %zu elements, divisor %llu: element %zu\n",
		    variant, vec_reduce_name(c->reduce), vec_type_name(c->type), c->inputs,
		    vec_type_name(c->out_type), c->count, (unsigned long long)c->divisor, at);
}

static void same_bits(const struct call *c, const char *variant, const void *got, const void *want)
{
	size_t bytes = vec_type_bytes(c->out_type);
	const unsigned char *g = got, *w = want;

	for (size_t i = 0; i < c->count; i++) {
		if (memcmp(g + i * bytes, w + i * bytes, bytes)) {
			describe(c, variant, i);
			assert_memory_equal(g + i * bytes, w + i * bytes, bytes);
		}
	}
}

/* Run into a fresh output whose guards must survive, at every variant's own random alignment. */
static void check_apart(const struct vec *v, const struct call *c, const unsigned char *want,
			uint64_t *state)
{
	size_t bytes = c->count * vec_type_bytes(c->out_type), offset = pick(state, OFFSET_MAX);
	unsigned char *got = block(offset + bytes + OFFSET_MAX);

	memset(got, 0xa5, offset + bytes + OFFSET_MAX);
	vec_combine(v, c->type, c->reduce, c->in, c->inputs, c->divisor, got + offset, c->out_type,
		    c->count);
	same_bits(c, v->name, got + offset, want);
	for (size_t i = 0; i < offset; i++)
		assert_int_equal(got[i], 0xa5);
	for (size_t i = 0; i < OFFSET_MAX; i++)
		assert_int_equal(got[offset + bytes + i], 0xa5);
	free(got);
}

/* The same with the k-th input as the output, where sizes allow. */
static void check_in_place(const struct vec *v, const struct call *c, const unsigned char *want,
			   size_t k, uint64_t *state)
{
	struct call mine = *c;
	size_t bytes = c->count * vec_type_bytes(c->in[k].type), offset = pick(state, OFFSET_MAX);

	if (vec_type_bytes(c->in[k].type) != vec_type_bytes(c->out_type))
		return;

	unsigned char *both = block(offset + bytes);

	memcpy(both + offset, c->in[k].data, bytes);
	mine.in[k].data = both + offset;
	vec_combine(v, c->type, c->reduce, mine.in, c->inputs, c->divisor, both + offset,
		    c->out_type, c->count);
	same_bits(c, v->name, both + offset, want);
	free(both);
}

static void check_call(const struct call *c, uint64_t *state)
{
	unsigned char *want = block(c->count * vec_type_bytes(c->out_type));

	reference_combine(c, want);
	EACH_VARIANT(v)
	{
		check_apart(v, c, want, state);
		check_in_place(v, c, want, pick(state, c->inputs), state);
	}
	free(want);
}

/* Random inputs at random alignments; types all narrow, all of the sum type, or mixed. */
static void random_call(enum vec_type type, enum vec_reduce reduce, size_t inputs, size_t count,
			uint64_t *state)
{
	static const uint64_t divisors[] = {
		0, 0, 1, 2, 3, 7, 8, 1000003, 1 << 30, 0xfffffffb, (uint64_t)1 << 63, UINT64_MAX};
	struct call c = {.type = type, .reduce = reduce, .inputs = inputs, .count = count};
	unsigned char *blocks[INPUTS_MAX];
	size_t mix = pick(state, 4);

	c.out_type = pick(state, 2) ? type : vec_sum_type(type);
	if (reduce == VEC_SUM || reduce == VEC_AVG)
		c.divisor = divisors[pick(state, sizeof(divisors) / sizeof(*divisors))];
	for (size_t k = 0; k < inputs; k++) {
		bool wide = mix == 0 || (mix == 1 && pick(state, 2)) || (mix == 2 && k == 0);
		size_t offset = pick(state, OFFSET_MAX);

		c.in[k].type = wide ? vec_sum_type(type) : type;
		blocks[k] = block(offset + count * vec_type_bytes(c.in[k].type));
		fill(c.in[k].type, blocks[k] + offset, count, state);
		c.in[k].data = blocks[k] + offset;
	}
	check_call(&c, state);
	for (size_t k = 0; k < inputs; k++)
		free(blocks[k]);
}

/* --- tests -------------------------------------------------------------------------------- */

static void small_vectors_have_the_references_bits(void **unused)
{
	uint64_t state = 1;

	(void)unused;
	for (int t = 1; t <= VEC_TYPES; t++)
		for (int r = 1; r <= VEC_REDUCES; r++)
			for (size_t inputs = 1; inputs <= INPUTS_MAX; inputs++)
				for (size_t count = 0; count <= 70; count++)
					random_call((enum vec_type)t, (enum vec_reduce)r, inputs,
						    count, &state);
}

static void large_vectors_have_the_references_bits(void **unused)
{
	static const size_t counts[] = {255, 1023, 1024, 1025, 2048, 10007};
	uint64_t state = 2;

	(void)unused;
	for (int t = 1; t <= VEC_TYPES; t++)
		for (int r = 1; r <= VEC_REDUCES; r++)
			for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
				for (size_t inputs = 1; inputs <= INPUTS_MAX; inputs += 2)
					random_call((enum vec_type)t, (enum vec_reduce)r,
						    inputs + i % 2 * (inputs < INPUTS_MAX),
						    counts[i], &state);
}

/* Each special value meets each other, in both orders, with a third behind. */
static void special_values_meet_each_other(void **unused)
{
	enum { COUNT = SPECIALS * SPECIALS };
	unsigned char data[3][COUNT * 8];
	uint64_t state = 3;

	(void)unused;
	for (int t = 1; t <= VEC_TYPES; t++) {
		size_t bytes = vec_type_bytes((enum vec_type)t);

		for (size_t i = 0; i < COUNT; i++) {
			uint64_t x[3] = {special((enum vec_type)t, i / SPECIALS),
					 special((enum vec_type)t, i % SPECIALS),
					 special((enum vec_type)t, (i + i / SPECIALS) % SPECIALS)};

			for (size_t k = 0; k < 3; k++)
				memcpy(data[k] + i * bytes, &x[k], bytes);
		}
		for (int r = 1; r <= VEC_REDUCES; r++) {
			struct call c = {.type = (enum vec_type)t,
					 .out_type = (enum vec_type)t,
					 .reduce = (enum vec_reduce)r,
					 .count = COUNT};

			for (size_t k = 0; k < 3; k++)
				c.in[k] = (struct vec_input){data[k], c.type};
			for (c.inputs = 1; c.inputs <= 3; c.inputs++)
				check_call(&c, &state);
		}
	}
}

/* All 65536 of them to f32 and back: the same bits, but for NaNs, which become the quiet one. */
static void narrow_types_go_to_f32_and_back(void **unused)
{
	enum { COUNT = 65536 };
	uint16_t *half = (uint16_t *)block(COUNT * 2), *back = (uint16_t *)block(COUNT * 2);
	float *wide = (float *)block(COUNT * 4);

	(void)unused;
	for (size_t i = 0; i < COUNT; i++)
		half[i] = (uint16_t)i;
	for (enum vec_type type = VEC_F16; type <= VEC_BF16; type++) {
		struct format f = reference_format(type);
		unsigned int quiet = type == VEC_F16 ? 0x7e00 : 0x7fc0;

		EACH_VARIANT(v)
		{
			vec_combine(v, type, VEC_SUM, &(struct vec_input){half, type}, 1, 0, wide,
				    VEC_F32, COUNT);
			vec_combine(v, type, VEC_SUM, &(struct vec_input){wide, VEC_F32}, 1, 0,
				    back, type, COUNT);
			for (size_t i = 0; i < COUNT; i++) {
				float value = reference_widen(half[i], f);

				assert_int_equal(bits_of(wide[i]),
						 isnan(value) ? 0x7fc00000 : bits_of(value));
				assert_int_equal(back[i], isnan(value) ? quiet : i);
			}
		}
	}
	free(half);
	free(back);
	free(wide);
}

/* Between each two neighbours: the middle, which goes to the even one, and the floats beside it. */
static void rounding_is_to_nearest_even(void **unused)
{
	enum { COUNT = 3 * 65536 };
	float *wide = (float *)block(COUNT * 4);
	uint16_t *half = (uint16_t *)block(COUNT * 2);

	(void)unused;
	for (enum vec_type type = VEC_F16; type <= VEC_BF16; type++) {
		struct format f = reference_format(type);
		float infinity = type == VEC_F16 ? 65536.0f : INFINITY;

		for (size_t i = 0; i < COUNT / 3; i++) {
			double a = reference_widen((uint16_t)i, f),
			       b = reference_widen((uint16_t)(i + 1), f);
			double next = isinf(b) ? copysign(infinity, b) : b;
			uint32_t middle = bits_of((float)((a + next) / 2));

			if (type == VEC_BF16)
				middle = (uint32_t)i << 16 | 0x8000;
			for (uint32_t j = 0; j < 3; j++)
				wide[3 * i + j] = float_of(middle + j - 1);
		}
		EACH_VARIANT(v)
		{
			vec_combine(v, type, VEC_SUM, &(struct vec_input){wide, VEC_F32}, 1, 0,
				    half, type, COUNT);
			for (size_t i = 0; i < COUNT; i++)
				assert_int_equal(half[i], reference_narrow(wide[i], f));
		}
	}
	free(wide);
	free(half);
}

/* one() - combine vectors of one element, given and returned as bits. */
static uint64_t one(const struct vec *v, enum vec_type type, enum vec_reduce reduce,
		    uint64_t divisor, size_t inputs, const uint64_t *bits)
{
	struct vec_input in[INPUTS_MAX];
	uint64_t out = 0;

	for (size_t k = 0; k < inputs; k++)
		in[k] = (struct vec_input){&bits[k], type};
	vec_combine(v, type, reduce, in, inputs, divisor, &out, type, 1);
	return out;
}

#define BITS(...)                                           \
	sizeof((uint64_t[]){__VA_ARGS__}) / 8, (uint64_t[]) \
	{                                                   \
		__VA_ARGS__                                 \
	}
#define ONE(want, type, reduce, divisor, ...) \
	assert_true(one(v, VEC_##type, VEC_##reduce, divisor, BITS(__VA_ARGS__)) == (want))

static void integers_wrap_and_averages_truncate(void **unused)
{
	const uint64_t least = (uint64_t)1 << 63;

	(void)unused;
	EACH_VARIANT(v)
	{
		ONE(0x80, I8, SUM, 0, 127, 1);               /* 127 + 1 = -128 */
		ONE(0, I8, PROD, 0, 16, 16);                 /* 256 */
		ONE(0x80, I8, PROD, 0, 0x80, 0xff);          /* -128 * -1 = -128 */
		ONE(0xe4, I8, AVG, 2, 100, 100);             /* 200 wraps to -56, / 2 = -28 */
		ONE(0xfd, I8, AVG, 2, 0xf9, 0);              /* -7 / 2 = -3 */
		ONE(0x80, I8, MIN, 0, 0x80, 127);            /* signed */
		ONE(0x7f, U8, MIN, 0, 0x80, 127);            /* unsigned */
		ONE(14, U8, AVG, 3, 200, 100);               /* 300 wraps to 44 */
		ONE(0, U8, AVG, 256, 255);                   /* a divisor beyond the type */
		ONE(0x80000000, I32, SUM, 0, 0x7fffffff, 1); /* INT32_MAX + 1 */
		ONE(0x80000000, I32, PROD, 0, 0x80000000, 0xffffffff);
		ONE(0x80000000, I32, AVG, 1, 0x80000000, 0);
		ONE(0xffffffff, I32, AVG, 0x80000000, 0x80000000, 0); /* -2^31 / 2^31 = -1 */
		ONE(0xfffffffe, I32, AVG, 3, 0xfffffff8);             /* -8 / 3 = -2 */
		ONE(least, I64, SUM, 0, least - 1, 1);                /* INT64_MAX + 1 */
		ONE(least, I64, PROD, 0, least, UINT64_MAX);          /* INT64_MIN * -1 */
		ONE(least, I64, AVG, 1, least);
		ONE(UINT64_MAX, I64, AVG, least, least); /* -2^63 / 2^63 = -1 */
		ONE(0, I64, AVG, UINT64_MAX, least);
		ONE(0 - (uint64_t)3, I64, AVG, 3, 0 - (uint64_t)11, 0);
	}
}

static void floats_round_once_and_in_order(void **unused)
{
	(void)unused;
	EACH_VARIANT(v)
	{
		/* 2048 + 1 + 1: rounding after each addition would stay at 2048. */
		ONE(0x6801, F16, SUM, 0, 0x6800, 0x3c00, 0x3c00);
		/* The largest f16 twice, halved: the sum is no f16, the average is. */
		ONE(0x7bff, F16, AVG, 2, 0x7bff, 0x7bff);
		ONE(0x7c00, F16, SUM, 0, 0x7bff, 0x7bff);
		/* 1e8 + 1 - 1e8 = 0 in this order, 1 in that. */
		ONE(0, F32, SUM, 0, 0x4cbebc20, 0x3f800000, 0xccbebc20);
		ONE(0x3f800000, F32, SUM, 0, 0x4cbebc20, 0xccbebc20, 0x3f800000);
		/* -0 < +0; both zeros add to +0. */
		ONE(0x80000000, F32, MIN, 0, 0, 0x80000000);
		ONE(0x80000000, F32, MIN, 0, 0x80000000, 0);
		ONE(0, F32, MAX, 0, 0, 0x80000000);
		ONE(0, F32, MAX, 0, 0x80000000, 0);
		ONE(0, F32, SUM, 0, 0x80000000, 0);
		ONE(0x80000000, F32, SUM, 0, 0x80000000, 0x80000000);
		/* NaN wins, as the quiet one; a copy keeps its payload. */
		ONE(0x7fc00000, F32, MIN, 0, 0xff800001, 0xff800000);
		ONE(0x7fc00000, F32, MAX, 0, 0x7f800000, 0x7fc01234);
		ONE(0x7e00, F16, MAX, 0, 0x3c00, 0xfd01);
		ONE(0x7fc0, BF16, SUM, 0, 0x7f80, 0xff80); /* inf - inf */
		ONE(0x7ff8000000000000, F64, PROD, 0, 0, 0xfff0000000000000);
		ONE(0xff800001, F32, SUM, 0, 0xff800001);
		/* Denormals: the smallest twice; half of the smallest normal. */
		ONE(2, F32, SUM, 0, 1, 1);
		ONE(0x0200, F16, AVG, 2, 0x0400, 0);
		ONE(0x00400000, F32, AVG, 2, 0x00800000);
	}
}

static void types_and_reductions_have_names_and_sizes(void **unused)
{
	static const char *const types[] = {"f32", "f64", "f16", "bf16", "i8", "u8", "i32", "i64"};
	static const size_t bytes[] = {4, 8, 2, 2, 1, 1, 4, 8};
	static const char *const reduces[] = {"sum", "avg", "min", "max", "prod"};

	(void)unused;
	for (size_t i = 0; i < VEC_TYPES; i++) {
		assert_string_equal(vec_type_name((enum vec_type)(i + 1)), types[i]);
		assert_int_equal(vec_type_bytes((enum vec_type)(i + 1)), bytes[i]);
	}
	for (size_t i = 0; i < VEC_REDUCES; i++)
		assert_string_equal(vec_reduce_name((enum vec_reduce)(i + 1)), reduces[i]);
	assert_null(vec_type_name((enum vec_type)0));
	assert_null(vec_type_name((enum vec_type)(VEC_TYPES + 1)));
	assert_int_equal(vec_type_bytes((enum vec_type)0), 0);
	assert_int_equal(vec_type_bytes((enum vec_type)(VEC_TYPES + 1)), 0);
	assert_null(vec_reduce_name((enum vec_reduce)0));
	assert_null(vec_reduce_name((enum vec_reduce)(VEC_REDUCES + 1)));
	assert_true(vec_supported(vec_best()));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(types_and_reductions_have_names_and_sizes),
		cmocka_unit_test(integers_wrap_and_averages_truncate),
		cmocka_unit_test(floats_round_once_and_in_order),
		cmocka_unit_test(special_values_meet_each_other),
		cmocka_unit_test(narrow_types_go_to_f32_and_back),
		cmocka_unit_test(rounding_is_to_nearest_even),
		cmocka_unit_test(small_vectors_have_the_references_bits),
		cmocka_unit_test(large_vectors_have_the_references_bits),
	};

	for (const struct vec *const *v = vec_variants; *v; v++)
		printf("%s: %s\n", (*v)->name,
		       vec_supported(*v) ? "tested" : "skipped, this CPU lacks it");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
