/*
 * test_codec_dither.c - natural, qsgd and terngrad: bytes of cases that leave nothing to chance,
 * losses against their formulas, extremes, hostile bytes.  The rest is in test_codec.c.
 */
#include "tests/unit/codec_case.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void exactly(const char *spec, const float *in, size_t count, const unsigned char *bytes,
		    size_t length)
{
	struct codec_case c;

	case_encode(&c, spec, &(struct case_input){.in = in, .count = count});
	assert_int_equal(c.result.bytes, length);
	assert_memory_equal(c.bytes, bytes, length);
	for (size_t i = 0; i < count; i++)
		assert_true(c.decoded[i] == in[i] && c.residual[i] == 0);
	case_drop(&c);
}

/* What lies on a level is never moved. */
static void bytes_of_small_cases(void **state)
{
	static const float powers[] = {4, -2, 0, 0x1p-120f, -0x1p-123f};
	static const unsigned char natural[] = {130, 126, 0x80 | 125, 0, 4, 0x80 | 1};
	static const float least[] = {0x1p-149f, -0x1p-127f, 0x1p-148f};
	static const unsigned char natural_least[] = {1, 104, 0xfe, 105};
	static const float levels[] = {7, -1, 3, 0, -7, 2, 5, -6, 4};
	/* Codes 7 9 3 0 f 2 5 e 4, the first in the low half. */
	static const unsigned char qsgd[] = {0, 0, 0x80, 0x3f, 0x97, 0x03, 0x2f, 0xe5, 0x04};
	static const float signs[] = {2, -2, 0, 0, 2, 2, -2};
	/* Bytes of elements 0 2 4 6 and 1 3 5. */
	static const unsigned char terngrad[] = {0, 0, 0, 0x40, 1 + 9 + 54, 2 + 9};

	(void)state;
	exactly("natural", powers, 5, natural, sizeof(natural));
	exactly("natural", least, 3, natural_least, sizeof(natural_least));
	exactly("qsgd:levels=7,scale=max", levels, 9, qsgd, sizeof(qsgd));
	exactly("terngrad:clip=0", signs, 7, terngrad, sizeof(terngrad));
}

static void within(const char *spec, enum draw_law law, double expected, double share)
{
	float *in = draw_vector(law, 1 << 20, 1, 1);
	double loss = case_nmse(spec, in, 1 << 20, 65536);

	free(in);
	if (!(fabs(loss - expected) <= share * expected))
		fail_msg("%s: %g, not %g", spec, loss, expected);
}

static void losses(void **state)
{
	(void)state;
	within("natural", DRAW_GAUSS, 0.0816, 0.02);
	within("natural", DRAW_LAPLACE, 0.0820, 0.05);
	within("qsgd", DRAW_GAUSS, 5.3e-3, 0.02);
	within("qsgd:levels=7", DRAW_GAUSS, 1.58, 0.02);
	within("qsgd:levels=7", DRAW_LAPLACE, 1.33, 0.05);
	within("qsgd:levels=1", DRAW_GAUSS, 17, 0.02);
	within("qsgd:levels=1", DRAW_LAPLACE, 15, 0.05);
	within("terngrad:block=65536", DRAW_GAUSS, 1.01, 0.02);
	within("terngrad:block=65536", DRAW_LAPLACE, 0.88, 0.05);
}

/* The expected loss, from the values, in double: magnitudes between levels lo and hi. */
static double variance(double magnitude, double lo, double hi)
{
	return (hi - magnitude) * (magnitude - lo);
}

static void losses_from_values(void **state)
{
	enum { COUNT = 1024, DRAWS = 400 };
	static const char *const specs[] = {"natural", "qsgd:block=1024,levels=15,scale=max",
					    "qsgd:block=1024,levels=15", "terngrad:clip=0"};
	float *in = draw_vector(DRAW_LAPLACE, COUNT, 1, 9);

	(void)state;
	for (int n = 0; n < 4; n++) {
		double expected = 0, lost = 0, greatest = 0, squares = 0;

		for (size_t i = 0; i < COUNT; i++) {
			greatest = fmax(greatest, fabs((double)in[i]));
			squares += (double)in[i] * (double)in[i];
		}
		for (size_t i = 0; i < COUNT; i++) {
			double x = fabs((double)in[i]), step = greatest;

			if (n == 0)
				step = exp2(floor(log2(x)));
			else if (n < 3)
				step = (n == 1 ? greatest : sqrt(squares)) / 15;
			expected += variance(x, floor(x / step) * step, floor(x / step + 1) * step);
		}
		for (uint64_t step = 0; step < DRAWS; step++) {
			struct codec_case c;

			case_encode(&c, specs[n],
				    &(struct case_input){.in = in, .count = COUNT, .step = step});
			for (size_t i = 0; i < COUNT; i++)
				lost += (double)c.residual[i] * (double)c.residual[i] / DRAWS;
			case_drop(&c);
		}
		if (fabs(lost - expected) > 0.02 * expected)
			fail_msg("%s: %g, not %g", specs[n], lost, expected);
	}
	free(in);
}

/* The greatest floats and the least: finite, and within a level of what they were. */
static void extremes(void **state)
{
	static const char *const specs[] = {
		"natural",        "qsgd",     "qsgd:levels=1,block=65536",
		"qsgd:scale=max", "terngrad", "terngrad:clip=0"};
	static const float size[] = {FLT_MAX, 0x1p127f, 1, 0x1p-126f, 0x1p-149f};
	float *in = malloc(65536 * sizeof(*in));

	(void)state;
	for (size_t n = 0; n < sizeof(size) / sizeof(*size); n++)
		for (size_t k = 0; k < sizeof(specs) / sizeof(*specs); k++) {
			struct codec_case c;

			for (size_t i = 0; i < 65536; i++)
				in[i] = i % 2 ? size[n] : -size[n];
			case_encode(&c, specs[k], &(struct case_input){.in = in, .count = 65536});
			assert_false(c.result.nonfinite);
			for (size_t i = 0; i < 65536; i++) {
				assert_true(isfinite(c.decoded[i]));
				assert_true(c.decoded[i] == 0 ||
					    signbit(c.decoded[i]) == signbit(in[i]));
				/* All equal: the scale itself, or within a step of it. */
				if (k >= 4)
					assert_true(c.residual[i] == 0);
				if (k == 3)
					assert_true(fabsf(c.residual[i]) <= size[n] / 64);
				if (k == 0)
					assert_true(fabsf(c.residual[i]) <= size[n] / 2);
			}
			case_drop(&c);
		}
	free(in);
}

/* A draw belongs to an element of a tensor: where a tensor is cut doesn't change its bytes. */
static void cut_anywhere(void **state)
{
	static const char *const specs[] = {"natural:block=64", "qsgd:block=64",
					    "terngrad:block=64"};
	uint64_t first = ((uint64_t)1 << 32) - 640;
	float *in = draw_vector(DRAW_GAUSS, 1280, 1, 1);

	(void)state;
	for (size_t n = 0; n < 3; n++) {
		struct codec_case whole, half;

		case_encode(&whole, specs[n],
			    &(struct case_input){.in = in, .count = 1280, .first = first});
		case_encode(&half, specs[n],
			    &(struct case_input){.in = in, .count = 640, .first = first});
		assert_memory_equal(half.bytes, whole.bytes, half.result.bytes);
		case_drop(&half);
		case_encode(
			&half, specs[n],
			&(struct case_input){.in = in + 640, .count = 640, .first = first + 640});
		assert_memory_equal(half.bytes, whole.bytes + half.result.bytes, half.result.bytes);
		case_drop(&half);
		case_drop(&whole);
	}
	free(in);
}

/* All counts of a group, and all bytes: digits as terngrad's format says, one by one. */
static void digits_of_bytes(void **state)
{
	enum { GROUP = 640 };
	static const float worth[] = {0, 1.5f, -1.5f};
	struct codec_setting s = case_setting("terngrad:block=1024");
	struct codec_origin origin = {.first = 0};
	float in[GROUP] = {1.5f}, out[GROUP];
	uint64_t seed = 1;

	(void)state;
	for (size_t count = 1; count <= GROUP; count++)
		for (size_t v = 0; vec_variants[v]; v++) {
			size_t length = (count + 4) / 5;
			struct codec_case c;

			if (!vec_supported(vec_variants[v]))
				continue;
			case_encode(&c, "terngrad:block=1024,clip=0",
				    &(struct case_input){.in = in, .count = count});
			for (size_t i = 0; i < length; i++) {
				static const unsigned end[] = {1, 3, 9, 27, 81, 243};
				size_t digits = 1 + (count - 1 - i) / length;

				c.bytes[4 + i] = (unsigned char)(draw_u64(&seed) % end[digits]);
			}
			memset(out, 0x55, sizeof(out));
			assert_int_equal(codec_decode(&s, codec_kernels_of(vec_variants[v]),
						      &origin, c.bytes, c.result.bytes, out, count),
					 0);
			for (size_t i = 0; i < count; i++) {
				unsigned rest = c.bytes[4 + i % length];

				for (size_t plane = i / length; plane; plane--)
					rest /= 3;
				if (memcmp(&out[i], &worth[rest % 3], sizeof(*out)) != 0)
					fail_msg("%s: element %zu of %zu is %g, not %g",
						 vec_variants[v]->name, i, count, (double)out[i],
						 (double)worth[rest % 3]);
			}
			case_drop(&c);
		}
}

static void hostile(const char *spec, size_t count, size_t at, const void *bytes, size_t length,
		    int error)
{
	float *in = calloc(count, sizeof(*in));
	struct codec_case c;

	case_encode(&c, spec, &(struct case_input){.in = in, .count = count});
	assert_true(at + length <= c.result.bytes);
	memcpy(c.bytes + at, bytes, length);
	assert_int_equal(case_decode(&c, c.bytes, c.result.bytes), error);
	assert_int_equal(case_decode(&c, c.bytes, c.result.bytes - 1), -EBADMSG);
	assert_int_equal(case_decode(&c, c.bytes, 0), -EBADMSG);
	for (size_t i = 0; !error && i < count; i++)
		assert_true(isfinite(c.decoded[i]));
	case_drop(&c);
	free(in);
}

static void hostile_bytes(void **state)
{
	static const float refused[] = {INFINITY, -INFINITY, NAN, -1, -0.0f}, greatest = FLT_MAX;
	static const unsigned char full[] = {255, 127, 255};

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		hostile("qsgd", 520, 0, &refused[i], 4, -EBADMSG);
		hostile("qsgd", 520, 516, &refused[i], 4, -EBADMSG);
		hostile("terngrad", 70, 0, &refused[i], 4, -EBADMSG);
	}
	hostile("natural", 2, 0, full, 3, 0); /* 2^128 is the greatest float */
	hostile("qsgd", 2, 2, "\x7f\x7f\x7f\xff", 4, 0);
	hostile("qsgd", 2, 0, &greatest, 4, 0);
	hostile("qsgd:levels=7", 3, 5, "\x0f", 1, 0);
	hostile("qsgd:levels=7", 3, 5, "\x10", 1, -EBADMSG); /* element 3 of 3 */
	hostile("terngrad", 7, 4, "\x50", 1, 0);             /* 4 digits, */
	hostile("terngrad", 7, 4, "\x51", 1, -EBADMSG);
	hostile("terngrad", 7, 5, "\x1a", 1, 0); /* and 3 */
	hostile("terngrad", 7, 5, "\x1b", 1, -EBADMSG);
	hostile("terngrad", 10, 5, "\xf2", 1, 0);
	hostile("terngrad", 10, 5, "\xf3", 1, -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_of_small_cases), cmocka_unit_test(losses),
		cmocka_unit_test(losses_from_values),   cmocka_unit_test(extremes),
		cmocka_unit_test(cut_anywhere),         cmocka_unit_test(digits_of_bytes),
		cmocka_unit_test(hostile_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
