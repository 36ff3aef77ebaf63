/*
 * codec_dither_loops.h - the loops of dither_kernels for one CPU variant, in plain C that compilers
 * make wide: included once by each codec_dither_VARIANT.c, which defines VARIANT before it, and
 * WIDTH, the elements of a register.
 *
 * Every operation is one of IEEE 754 on one element, or of integers; so the width changes no bit.
 */
#include "compress/inline.h"

enum { LANES = 16 };

INLINE uint32_t bits_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

INLINE float float_of(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

INLINE float magnitude(float value)
{
	return float_of(bits_of(value) & 0x7fffffffu);
}

/* random_unit() of what random_at() takes; by a signed conversion, which all CPUs have. */
INLINE float unit(struct random_key key, uint32_t place)
{
	return (float)(int32_t)(random_at(key, place) >> 8) * 0x1p-24f;
}

static double sum_of_squares(const float *restrict p, size_t count)
{
	double sum[LANES] = {0};
	size_t whole = count - count % LANES;

	for (size_t i = 0; i < whole; i += LANES)
		for (size_t j = 0; j < LANES; j++)
			sum[j] += (double)p[i + j] * (double)p[i + j];
	for (size_t j = 0; j < count % LANES; j++)
		sum[j] += (double)p[whole + j] * (double)p[whole + j];
	for (size_t width = LANES / 2; width; width /= 2)
		for (size_t j = 0; j < width; j++)
			sum[j] += sum[j + width];
	return sum[0];
}

static struct dither_measure dither_source(float *restrict p, const float *restrict in,
					   const float *restrict residual, float residual_scale,
					   size_t count, bool squares)
{
	uint32_t greatest = 0;

	for (size_t i = 0; residual && i < count; i++)
		p[i] = in[i] + residual_scale * residual[i];
	if (!residual)
		memcpy(p, in, count * sizeof(*p));
	for (size_t i = 0; i < count; i++) {
		uint32_t bits = bits_of(p[i]) & 0x7fffffffu;

		greatest = bits > greatest ? bits : greatest;
	}
	return (struct dither_measure){greatest, squares ? sum_of_squares(p, count) : 0};
}

static void dither_subtract(float *out, const float *p, const float *restrict decoded, size_t count)
{
	for (size_t i = 0; i < count; i++)
		out[i] = p[i] - decoded[i];
}

static void dither_add(float *restrict sum, const float *restrict decoded, float weight,
		       size_t count)
{
	for (size_t i = 0; i < count; i++)
		sum[i] += weight * decoded[i];
}

/* --- natural ------------------------------------------------------------------------------ */

/* A carry out of the mantissa is the next power of two. */
static void natural_encode(unsigned char *restrict codes, const float *restrict p, float scale,
			   struct random_key key, uint32_t element, size_t count)
{
	uint32_t place = element * RANDOM_STEP;

	for (size_t i = 0; i < count; i++, place += RANDOM_STEP) {
		uint32_t bits = bits_of(p[i] * scale);
		uint32_t draw = random_at(key, place) >> 9;
		uint32_t rounded = ((bits & 0x7fffffffu) + draw) >> 23;

		codes[i] = (unsigned char)(rounded | (bits >> 24 & 0x80));
	}
}

/* scale = 2^127: twice of it is no number, and 2^128 saturates. */
static void natural_decode_huge(float *restrict out, const unsigned char *restrict codes,
				float scale, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t code = codes[i], exponent = code & 0x7f;
		float value = float_of(exponent ? (exponent + 1) << 23 : 0) * scale;
		float finite = value < 0x1.fffffep127f ? value : 0x1.fffffep127f;

		out[i] = float_of(bits_of(finite) | (code & 0x80) << 24);
	}
}

/*
 * A code is sign and exponent field of half of value / scale, zero's too: so its bits are moved
 * there, and that is multiplied by twice the scale.
 */
static void natural_decode(float *restrict out, const unsigned char *restrict codes, float scale,
			   size_t count)
{
	if (scale >= 0x1p127f) {
		natural_decode_huge(out, codes, scale, count);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		uint32_t code = (uint32_t)(int32_t)(signed char)codes[i];

		out[i] = float_of(code << 23 & 0xbf800000u) * (2 * scale);
	}
}

/* --- qsgd --------------------------------------------------------------------------------- */

static void qsgd_encode(unsigned char *restrict codes, const float *restrict p,
			struct dither_step step, struct random_key key, uint32_t element,
			size_t count)
{
	uint32_t place = element * RANDOM_STEP;

	for (size_t i = 0; i < count; i++, place += RANDOM_STEP) {
		float units = magnitude(p[i]) * step.shift * step.inverse;
		int32_t level = (int32_t)units;
		float rest = units - (float)level; /* exact */
		int32_t most = (int32_t)step.levels;

		level += unit(key, place) < rest;
		level = level > most ? most : level;
		codes[i] = (unsigned char)((uint32_t)level |
					   (bits_of(p[i]) >> 31) * (step.levels + 1));
	}
}

static void qsgd_decode(float *restrict out, const unsigned char *restrict codes, float step,
			uint32_t levels, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t code = codes[i];
		float value = (float)(int32_t)(code & levels) * step;
		float finite = value < 0x1.fffffep127f ? value : 0x1.fffffep127f;

		out[i] = float_of(bits_of(finite) | (code > levels ? 0x80000000u : 0));
	}
}

/* --- terngrad ----------------------------------------------------------------------------- */

static void tern_encode(unsigned char *restrict bytes, const float *restrict p, float scale,
			float shift, struct random_key key, uint32_t element, size_t count)
{
	unsigned char digits[DITHER_TERNARY + 5];
	size_t length = (count + 4) / 5;
	float most = scale * shift;
	uint32_t place = element * RANDOM_STEP;

	for (size_t i = 0; i < count; i++, place += RANDOM_STEP) {
		float value = magnitude(p[i]) * shift;
		float clipped = value < most ? value : most;
		float drawn = unit(key, place) * most;
		uint32_t digit = 1 + (bits_of(p[i]) >> 31);

		digits[i] = (unsigned char)(drawn < clipped ? digit : 0);
	}
	memset(digits + count, 0, 5 * length - count);
	for (size_t i = 0; i < length; i++) {
		const unsigned char *d = digits + i;

		bytes[i] = (unsigned char)(d[0] + 3 * d[length] + 9 * d[2 * length] +
					   27 * d[3 * length] + 81 * d[4 * length]);
	}
}

typedef uint32_t tern_v __attribute__((vector_size(4 * WIDTH)));
typedef tern_v tern_floats __attribute__((aligned(sizeof(float)), may_alias));

/*
 * Of WIDTH bytes all first digits as floats to `out`, all second ones to out + step, ..: in vectors
 * of the compiler's, as it makes many narrow ones of a loop.  A byte / 243 becomes a fraction of 30
 * bits: tripled it has its last digit in the two bits above, and what is left is a fraction again.
 * Bit 31, set where the digit is 2, is the sign.  243 * 4418691 is 2^30 + 89, so that rounding up
 * adds less than 0.0001 of the first digit, which is the last to be taken.
 */
INLINE void tern_line(float *out, size_t step, const unsigned char *restrict bytes, float scale)
{
	uint32_t wide[WIDTH];
	tern_v rest;

	for (size_t i = 0; i < WIDTH; i++)
		wide[i] = bytes[i];
	memcpy(&rest, wide, sizeof(rest));
	rest *= ((1u << 30) + 242) / 243;
	for (size_t plane = 5; plane-- > 0;) {
		tern_v tripled = rest + rest + rest, digit = tripled & 3u << 30;
		tern_v bits = ((tern_v)(digit != 0) & bits_of(scale)) | (tripled & 1u << 31);

		*(tern_floats *)(void *)(out + plane * step) = bits;
		rest = tripled ^ digit;
	}
}

/*
 * The last bytes of a group, in two lines that may begin before what is left; `missing` bytes have
 * a last digit that is no element's.
 */
INLINE void tern_last(float *restrict out, const unsigned char *restrict bytes, float scale,
		      size_t length, size_t missing)
{
	size_t at = length - WIDTH;
	float values[5 * WIDTH];

	tern_line(out + at - missing, length, bytes + at - missing, scale);
	tern_line(values, WIDTH, bytes + at, scale);
	for (size_t plane = 0; plane < 4; plane++)
		memcpy(out + plane * length + at, values + plane * WIDTH, WIDTH * sizeof(*values));
}

static void tern_decode(float *restrict out, const unsigned char *restrict bytes, float scale,
			size_t count)
{
	size_t length = (count + 4) / 5, missing = 5 * length - count, at = 0;

	for (; at + WIDTH + missing <= length; at += WIDTH)
		tern_line(out + at, length, bytes + at, scale);
	/* A whole line has fitted: so only last digits are missing, and it can begin earlier. */
	if (at > 0 && at < length) {
		tern_last(out, bytes, scale, length, missing);
		return;
	}
	for (; at < length; at += WIDTH) {
		size_t there = length - at < WIDTH ? length - at : WIDTH;
		unsigned char rest[WIDTH] = {0};
		float values[5 * WIDTH];

		for (size_t i = 0; i < there; i++)
			rest[i] = bytes[at + i];
		tern_line(values, WIDTH, rest, scale);
		for (size_t plane = 0; plane < 5; plane++)
			for (size_t i = 0; i < there && plane * length + at + i < count; i++)
				out[plane * length + at + i] = values[plane * WIDTH + i];
	}
}

static unsigned char greatest_byte(const unsigned char *bytes, size_t count)
{
	unsigned char greatest = 0;

	for (size_t i = 0; i < count; i++)
		greatest = bytes[i] > greatest ? bytes[i] : greatest;
	return greatest;
}

#define PASTE(a, b) a##b
#define NAMED(a, b) PASTE(a, b)

const struct dither_kernels NAMED(dither_, VARIANT) = {
	.source = dither_source,
	.subtract = dither_subtract,
	.add = dither_add,
	.natural_encode = natural_encode,
	.natural_decode = natural_decode,
	.qsgd_encode = qsgd_encode,
	.qsgd_decode = qsgd_decode,
	.greatest_byte = greatest_byte,
	.tern_encode = tern_encode,
	.tern_decode = tern_decode,
};
