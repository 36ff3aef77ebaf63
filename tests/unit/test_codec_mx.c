/*
 * test_codec_mx.c - mxfp8 and mxfp4: bytes of small cases, each value of the formats, and the error
 * against a reference in double precision that searches a list of all values.
 */
#include "compress/codec.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"
#include "tests/common/draw.h"
#include "tests/unit/codec_case.h"

enum { BLOCK = 32, SAMPLES = 1 << 20, CHUNK = 1 << 18 };

static const struct {
	const char *spec;
	int mantissa, bias, emax, codes; /* codes: of numbers without the sign */
	double greatest, least;
	double gauss, laplace; /* error that others measured: squared, over that of the input */
} formats[] = {
	{"mxfp8:format=e4m3", 3, 7, 8, 127, 448, 0x1p-9, 8.6e-4, 1.0e-3},
	{"mxfp8:format=e5m2", 2, 15, 15, 124, 57344, 0x1p-16, 2.9e-3, 3.0e-3},
	{"mxfp4", 1, 1, 2, 8, 6, 0.5, .0132, .0161},
};
#define FORMATS (sizeof(formats) / sizeof(*formats))

/* The value of a code, from the definition of the format. */
static double value_of(size_t format, int code)
{
	int mantissa = formats[format].mantissa, bias = formats[format].bias;
	int exponent = code >> mantissa, fraction = code & ((1 << mantissa) - 1);

	if (!exponent)
		return ldexp(fraction, 1 - bias - mantissa);
	return ldexp((1 << mantissa) + fraction, exponent - bias - mantissa);
}

static void setting_of(struct codec_setting *s, size_t format)
{
	struct err err;

	assert_int_equal(codec_parse(s, formats[format].spec, &err), 0);
	assert_int_equal(s->block, BLOCK);
}

static size_t encode(const struct codec_setting *s, const float *in, size_t count, float *left,
		     unsigned char *bytes)
{
	struct codec_input input = {.in = in, .residual_out = left, .count = count};
	struct codec_result result = codec_encode(s, case_best(), &input, bytes);

	assert_false(result.nonfinite);
	assert_int_equal(result.bytes, codec_bound(s, count));
	return result.bytes;
}

static int decode(const struct codec_setting *s, const unsigned char *bytes, size_t length,
		  float *out, size_t count)
{
	struct codec_origin origin = {.first = 0};

	return codec_decode(s, case_best(), &origin, bytes, length, out, count);
}

/* --- bytes -------------------------------------------------------------------------------- */

static void formats_are_as_defined(void **state)
{
	(void)state;
	for (size_t f = 0; f < FORMATS; f++) {
		assert_true(value_of(f, formats[f].codes - 1) == formats[f].greatest);
		assert_true(value_of(f, 1) == formats[f].least);
		assert_true(ilogb(formats[f].greatest) == formats[f].emax);
	}
}

static void sizes(void **state)
{
	struct codec_setting s;

	(void)state;
	setting_of(&s, 0);
	assert_int_equal(codec_bound(&s, 1), 33);
	assert_int_equal(codec_bound(&s, 32), 33);
	assert_int_equal(codec_bound(&s, 33), 66);
	setting_of(&s, 2);
	assert_int_equal(codec_bound(&s, 32), 17);
	assert_int_equal(codec_bound(&s, 1 << 18), (1 << 18) / 32 * 17);
}

static void bytes_of_e4m3(void **state)
{
	/* 256 = 2^8: the scale is 1.  Ties to even, a carry, subnormals, too small, saturation. */
	static const float in[] = {256,        -1,       17,        19,    31.5f,       0x1p-9f,
				   0x1.8p-10f, 0x1p-10f, 0x1.8p-9f, -0.0f, 0x1.01p-10f, -0x1.8p-6f};
	static const unsigned char bytes[] = {127, 0x78, 0xb8, 0x58, 0x5a, 0x60, 1,
					      1,   0,    2,    0x80, 1,    0x8c};
	static const float large[] = {511, 1, 449, -470};
	struct codec_setting s;
	unsigned char out[33], zeros[33] = {0};
	float left[32], back[32], tiny[32] = {0x1p-149f, 0x1p-136f, -0x1p-127f};

	(void)state;
	setting_of(&s, 0);
	encode(&s, in, 12, left, out);
	assert_memory_equal(out, bytes, sizeof(bytes));
	assert_memory_equal(out + sizeof(bytes), zeros, 33 - sizeof(bytes));
	assert_true(left[2] == 1 && left[3] == -1 && left[4] == -0.5f && left[7] == 0x1p-10f);

	encode(&s, large, 4, left, out); /* 511 / 2^(8 - 8) saturates */
	assert_memory_equal(out, ((unsigned char[]){127, 0x7e, 0x38, 0x7e, 0xfe}), 5);
	assert_true(left[0] == 63 && left[1] == 0 && left[2] == 1 && left[3] == -22);

	encode(&s, tiny, 32, left, out); /* the scale is clamped to 2^-127 */
	assert_memory_equal(out, ((unsigned char[]){0, 0, 1, 0xb8}), 4);
	assert_true(left[0] == 0x1p-149f && left[1] == 0 && left[2] == 0);
	assert_int_equal(decode(&s, out, 33, back, 32), 0);
	assert_true(back[0] == 0 && back[1] == 0x1p-136f && back[2] == -0x1p-127f);

	memset(tiny, 0, sizeof(tiny));
	encode(&s, tiny, 32, left, out);
	assert_memory_equal(out, zeros, 33);
	assert_int_equal(decode(&s, out, 33, back, 32), 0);
	assert_memory_equal(back, tiny, sizeof(back));
}

static void bytes_of_e5m2(void **state)
{
	static const float in[] = {-0x1.fffffep127f, 0x1p127f, 0x1.1p127f, 0x1.3p127f, 0x1p96f};
	/* The scale is 2^(127 - 15) = 2^112; 2^96 is the least subnormal. */
	static const unsigned char bytes[] = {239, 0xfb, 0x78, 0x78, 0x79, 1};
	struct codec_setting s;
	unsigned char out[33];
	float left[5], back[5];

	(void)state;
	setting_of(&s, 1);
	encode(&s, in, 5, left, out);
	/* 0x1.1p127 is nearer to 1, 0x1.3p127 nearer to 1.25. */
	assert_memory_equal(out, bytes, sizeof(bytes));
	assert_int_equal(decode(&s, out, 33, back, 5), 0);
	assert_true(back[0] == -0x1.cp127f && back[3] == 0x1.4p127f && back[4] == 0x1p96f);
	assert_true(left[0] == -0x1.fffffp124f && left[4] == 0);
}

static void bytes_of_e2m1(void **state)
{
	float in[32] = {6, -6, 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, 7.5f, -0.5f, -0.2f};
	static const unsigned char low[] = {7, 15, 0, 2, 2, 4, 4, 6, 6, 7, 9, 8};
	struct codec_setting s;
	unsigned char out[17];

	(void)state;
	in[16] = -3;
	in[31] = 1;
	setting_of(&s, 2);
	encode(&s, in, 32, NULL, out);
	assert_int_equal(out[0], 127); /* 7.5: floor(log2) = 2, less emax */
	for (size_t i = 0; i < 16; i++) {
		unsigned char high = i == 0 ? 13 : i == 15 ? 2 : 0;

		assert_int_equal(out[1 + i], (i < sizeof(low) ? low[i] : 0) | high << 4);
	}
}

/* Each code at each scale: decoded exactly, or refused, as a byte and when added. */
static void every_code_on(const struct codec_kernels *kernels, size_t f)
{
	struct codec_setting s;
	struct codec_origin origin = {.first = 0};
	bool small = formats[f].codes == 8;
	unsigned char bytes[33] = {0};

	setting_of(&s, f);
	for (int n = 0; n < 256 * 256; n++) {
		int scale = n >> 8, code = small ? n & 15 : n & 255;
		int top = small ? 8 : 128;
		bool sound =
			scale <= 254 - formats[f].emax && (code & (top - 1)) < formats[f].codes;
		double value = ldexp(value_of(f, code & (top - 1)), scale - 127);
		size_t length = codec_bound(&s, 32);
		float out[32], sum[32] = {0};
		int error;

		bytes[0] = (unsigned char)scale;
		bytes[small ? 14 : 30] = (unsigned char)(small ? code << 4 : code);
		bytes[1] = (unsigned char)(small ? 0xf0 | code : code);
		error = codec_decode(&s, kernels, &origin, bytes, length, out, 32);
		assert_int_equal(error, sound ? 0 : -EBADMSG);
		assert_int_equal(
			codec_decode_add(&s, kernels, &origin, bytes, length, -0.5f, sum, 32),
			error);
		if (error)
			continue;
		assert_true((double)out[29] == (code & top ? -value : value));
		assert_true(memcmp(&out[0], &out[29], sizeof(*out)) == 0);
		assert_true(sum[29] == -0.5f * out[29]);
		assert_true(out[28] == 0 && out[30] == 0);
	}
}

static void every_code(void **state)
{
	(void)state;
	for (size_t v = 0; vec_variants[v]; v++)
		for (size_t f = 0; vec_supported(vec_variants[v]) && f < FORMATS; f++)
			every_code_on(codec_kernels_of(vec_variants[v]), f);
}

/* --- errors ------------------------------------------------------------------------------- */

/* The nearest of all values; of two as near the even code; beyond them the greatest. */
static double nearest(size_t f, const double *values, double v)
{
	int low = 0, high = formats[f].codes - 1;

	if (v >= values[high])
		return values[high];
	while (high - low > 1) {
		int middle = (low + high) / 2;

		*(v < values[middle] ? &high : &low) = middle;
	}
	if (v - values[low] == values[high] - v)
		return values[low % 2 ? high : low];
	return v - values[low] < values[high] - v ? values[low] : values[high];
}

/* A block by the definition; both are exact, so they have to agree to the last bit. */
static void compare(size_t f, const double *values, const float *in, const float *decoded)
{
	double greatest = 0, scale = 1;

	for (size_t i = 0; i < BLOCK; i++)
		greatest = fmax(greatest, fabs((double)in[i]));
	if (greatest > 0)
		scale = ldexp(1, (int)fmax(ilogb(greatest) - formats[f].emax, -127));
	for (size_t i = 0; i < BLOCK; i++) {
		double right = nearest(f, values, fabs((double)in[i]) / scale) * scale;

		if ((double)decoded[i] != copysign(right, (double)in[i]))
			fail_msg("%s: %a became %a, not %a", formats[f].spec, (double)in[i],
				 (double)decoded[i], right);
	}
}

static double error_of(size_t f, const float *in)
{
	float *decoded = malloc(CHUNK * sizeof(float)), *left = malloc(CHUNK * sizeof(float));
	double values[128], lost = 0, all = 0;
	struct codec_setting s;
	unsigned char *bytes;
	size_t wrong = 0;

	setting_of(&s, f);
	for (int code = 0; code < formats[f].codes; code++)
		values[code] = value_of(f, code);
	bytes = malloc(codec_bound(&s, CHUNK));
	for (size_t at = 0; at < SAMPLES; at += CHUNK) {
		size_t length = encode(&s, in + at, CHUNK, left, bytes);

		assert_int_equal(decode(&s, bytes, length, decoded, CHUNK), 0);
		for (size_t i = 0; i < CHUNK; i += 4 * BLOCK)
			compare(f, values, in + at + i, decoded + i);
		for (size_t i = 0; i < CHUNK; i++) {
			double d = (double)in[at + i] - (double)decoded[i];

			wrong += left[i] != in[at + i] - decoded[i];
			lost += d * d;
			all += (double)in[at + i] * (double)in[at + i];
		}
	}
	assert_int_equal(wrong, 0);
	free(bytes);
	free(decoded);
	free(left);
	return lost / all;
}

static void errors(void **state)
{
	float *in = malloc(SAMPLES * sizeof(float));
	uint64_t seed = 1;

	(void)state;
	for (enum draw_law law = DRAW_GAUSS; law <= DRAW_STUDENT; law++) {
		for (size_t i = 0; i < SAMPLES; i++)
			in[i] = (float)draw_of(law, &seed);
		for (size_t f = 0; f < FORMATS; f++) {
			double error = error_of(f, in);
			double right = law == DRAW_GAUSS ? formats[f].gauss : formats[f].laplace;
			double limit = law == DRAW_GAUSS ? 0.02 : 0.05;

			print_message("%s, law %d: %.3g\n", formats[f].spec, (int)law, error);
			if (law != DRAW_STUDENT && fabs(error / right - 1) > limit)
				fail_msg("%s: %g, not %g", formats[f].spec, error, right);
		}
	}
	/* Everything between the least and the greatest float. */
	for (size_t i = 0; i < SAMPLES; i++) {
		double exponent = draw_uniform(&seed) * 276 - 149;

		exponent = i / BLOCK % 2 ? exponent : -140 + draw_uniform(&seed) * 20;
		in[i] = (float)(exp2(fmin(exponent, 127.99)) *
				(draw_uniform(&seed) < 0.5 ? -1 : 1));
	}
	for (size_t f = 0; f < FORMATS; f++)
		assert_true(error_of(f, in) < 0.1);
	free(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_are_as_defined),
		cmocka_unit_test(sizes),
		cmocka_unit_test(bytes_of_e4m3),
		cmocka_unit_test(bytes_of_e5m2),
		cmocka_unit_test(bytes_of_e2m1),
		cmocka_unit_test(every_code),
		cmocka_unit_test(errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
