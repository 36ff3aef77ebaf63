/*
 * test_codec_sign.c - sign: bytes of small cases, scales and losses against their formulas, sums
 * that overflow, hostile bytes.  What all codecs promise is in test_codec.c.
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

static float scale_at(const unsigned char *bytes)
{
	float scale;

	memcpy(&scale, bytes, sizeof(scale));
	return scale;
}

static void bytes_of_small_cases(void **state)
{
	/* Mean magnitude 2; mean square 7.4.  Zeros of both signs count as +. */
	static const float in[10] = {1, -1, 3, -3, 6, 0, -0.0f, -4, 1, -1};
	static const unsigned char bytes[] = {0, 0, 0, 0x40, 0x8a, 0x02};
	static const unsigned char two[] = {0,    0,    0x80, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff,
					    0xff, 0xff, 0xff, 0,    0,    0,    0x40, 0};
	float ones[65];
	struct codec_case c;

	(void)state;
	case_encode(&c, "sign", &(struct case_input){.in = in, .count = 10});
	assert_int_equal(c.result.bytes, sizeof(bytes));
	assert_memory_equal(c.bytes, bytes, sizeof(bytes));
	for (size_t i = 0; i < 10; i++) {
		float decoded = in[i] < 0 ? -2 : 2;

		assert_true(c.decoded[i] == decoded && c.residual[i] == in[i] - decoded);
	}
	case_drop(&c);

	case_encode(&c, "sign:scale=l2", &(struct case_input){.in = in, .count = 10});
	assert_true(scale_at(c.bytes) == (float)sqrt(7.4));
	assert_memory_equal(c.bytes + 4, bytes + 4, 2);
	case_drop(&c);

	for (size_t i = 0; i < 64; i++)
		ones[i] = -1;
	ones[64] = 2;
	case_encode(&c, "sign:block=64", &(struct case_input){.in = ones, .count = 65});
	assert_int_equal(c.result.bytes, sizeof(two));
	assert_memory_equal(c.bytes, two, sizeof(two));
	case_drop(&c);
}

/* Each block's scale is the fp64 mean of its p to a few units in the last place. */
static void scales(void **state)
{
	enum { COUNT = 5000, BLOCK = 1024 };
	float *in = draw_vector(DRAW_LAPLACE, COUNT, 1, 3);
	float *residual = draw_vector(DRAW_GAUSS, COUNT, 1, 4);

	(void)state;
	for (int squares = 0; squares < 2; squares++) {
		struct codec_case c;

		case_encode(&c, squares ? "sign:scale=l2" : "sign:scale=l1",
			    &(struct case_input){.in = in, .residual = residual, .count = COUNT});
		for (size_t first = 0, at = 0; first < COUNT; first += BLOCK) {
			size_t count = COUNT - first < BLOCK ? COUNT - first : BLOCK;
			double sum = 0, mean;

			for (size_t i = first; i < first + count; i++) {
				double p = fabs((double)(in[i] + residual[i]));

				sum += squares ? p * p : p;
			}
			mean = sum / (double)count;
			mean = squares ? sqrt(mean) : mean;
			assert_true(fabs((double)scale_at(c.bytes + at) - mean) < 3e-7 * mean);
			at += 4 + (count + 7) / 8;
		}
		case_drop(&c);
	}
	free(in);
	free(residual);
}

static void within(double value, double expected, double share)
{
	if (!(fabs(value - expected) <= share * expected))
		fail_msg("%g, not %g", value, expected);
}

static double loss(const char *spec, enum draw_law law)
{
	float *in = draw_vector(law, 1 << 20, 1, 1);
	double nmse = case_nmse(spec, in, 1 << 20, 65536);

	free(in);
	return nmse;
}

static void losses(void **state)
{
	(void)state;
	/* 1 - phi and 2 (1 - sqrt(phi)); phi = 2 / pi of Gauss, 1/2 of Laplace. */
	within(loss("sign:block=65536", DRAW_GAUSS), 0.363, 0.02);
	within(loss("sign:block=65536", DRAW_LAPLACE), 0.500, 0.05);
	within(loss("sign:scale=l2,block=65536", DRAW_GAUSS), 0.404, 0.02);
	within(loss("sign:scale=l2,block=65536", DRAW_LAPLACE), 0.587, 0.05);
	within(loss("sign", DRAW_GAUSS), 0.363, 0.02);
}

/* Sums that overflow float, squares that overflow and underflow it; the sum alone is not finite. */
static void extremes(void **state)
{
	static const float size[] = {FLT_MAX, 0x1p100f, 0x1p-100f, 0x1p-149f, 0};
	float *in = malloc(65536 * sizeof(*in)), *residual = malloc(65536 * sizeof(*in));
	struct codec_case c;

	(void)state;
	for (size_t n = 0; n < sizeof(size) / sizeof(*size); n++) {
		for (size_t i = 0; i < 65536; i++)
			in[i] = i % 3 ? size[n] : -size[n];
		for (int squares = 0; squares < 2; squares++) {
			case_encode(&c, squares ? "sign:block=65536,scale=l2" : "sign:block=65536",
				    &(struct case_input){.in = in, .count = 65536});
			assert_false(c.result.nonfinite);
			assert_true(scale_at(c.bytes) == size[n]);
			assert_memory_equal(c.decoded, in, n < 4 ? 65536 * sizeof(*in) : 0);
			for (size_t i = 0; i < 65536; i++)
				assert_true(c.residual[i] == 0);
			case_drop(&c);
		}
	}
	for (size_t i = 0; i < 65536; i++)
		in[i] = residual[i] = 0;
	in[65535] = residual[65535] = FLT_MAX;
	case_encode(&c, "sign",
		    &(struct case_input){.in = in, .residual = residual, .count = 65536});
	assert_true(c.result.nonfinite);
	case_drop(&c);
	free(in);
	free(residual);
}

/*
 * Past the caches a block's residual is made with the signs of the next one: the same bytes and
 * residual on every CPU, also where a block is the last, or too long for that.
 */
static void blocks_two_at_a_time(void **state)
{
	static const char *const specs[] = {"sign",          "sign:scale=l2",   "sign:block=256",
					    "sign:block=64", "sign:block=8192", "sign:block=16384"};
	static const size_t counts[] = {1024, 2047, 2048, 5 * 1024 + 300, 3 * 16384 + 77};
	enum { MOST = 3 * 16384 + 77 };
	float *in = case_vector(CASE_GAUSS, MOST, 3), *residual = case_vector(CASE_GAUSS, MOST, 4);
	struct codec_case away;

	(void)state;
	for (size_t n = 0; n < sizeof(specs) / sizeof(specs[0]) * 5; n++) {
		struct case_input input = {.in = in, .count = counts[n % 5], .residual = residual};

		for (const struct vec *const *on = vec_variants; *on; on++) {
			if (!vec_supported(*on))
				continue;
			input.on = *on;
			case_encode_away(&away, specs[n / 5], &input);
			for (size_t i = 0; i < input.count; i++)
				assert_true(away.residual[i] ==
					    in[i] + residual[i] - away.decoded[i]);
			case_drop(&away);
		}
	}
	free(in);
	free(residual);
}

static void hostile_bytes(void **state)
{
	static const float scales_refused[] = {INFINITY, -INFINITY, NAN, -1, -0.0f};
	float in[70] = {1};
	struct codec_case c;
	unsigned char *bytes;

	(void)state;
	case_encode(&c, "sign:block=64", &(struct case_input){.in = in, .count = 70});
	bytes = malloc(c.result.bytes);
	memcpy(bytes, c.bytes, c.result.bytes);
	assert_int_equal(c.result.bytes, 12 + 5);
	for (size_t at = 0; at < 17; at += 12) {
		for (size_t i = 0; i < sizeof(scales_refused) / sizeof(float); i++) {
			memcpy(bytes + at, &scales_refused[i], sizeof(float));
			assert_int_equal(case_decode(&c, bytes, 17), -EBADMSG);
		}
		memcpy(bytes, c.bytes, 17);
	}
	bytes[16] = 0x40; /* the sign of element 70, which isn't there */
	assert_int_equal(case_decode(&c, bytes, 17), -EBADMSG);
	bytes[16] = 0x20;
	assert_int_equal(case_decode(&c, bytes, 17), 0);
	assert_int_equal(case_decode(&c, bytes, 16), -EBADMSG);
	assert_int_equal(case_decode(&c, bytes, 0), -EBADMSG);
	free(bytes);
	case_drop(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_of_small_cases),
		cmocka_unit_test(scales),
		cmocka_unit_test(losses),
		cmocka_unit_test(extremes),
		cmocka_unit_test(blocks_two_at_a_time),
		cmocka_unit_test(hostile_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
