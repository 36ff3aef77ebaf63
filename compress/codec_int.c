/*
 * codec_int.c - int8, int4, int2: blocks of integers with one scale each.
 *
 * On the wire, block after block (little-endian): the scale, as codec_int_kernels.h says, then a
 * code for each element, low bits first.  The last block may be short: its codes end with its last
 * element, unused bits are zero.
 *
 *   int8  code c of 8 bits, two's complement, decodes to c * s; -127 to 127
 *   int4  4 bits, two's complement, c * s; -7 to 7
 *   int2  2 bits, (2 c - 3) * s: -3s, -s, s, 3s
 *
 * The codes -128 and -8 are never sent and count as -127 and -7.
 *
 * The scale of int8 and int4, and of int2 when rounding is stochastic, is the greatest magnitude
 * over 127, 7 or 3, rounded up in its format: stochastic rounding then is unbiased.  Where 3.38e38
 * and more doesn't fit the greatest scale, it saturates.
 *
 * Four levels without a zero were chosen for int2 by NMSE, and with rounding to nearest a scale of
 * least squares.  Blocks of 64 (Gauss / Laplace / Student-t3 / gradients of a transformer):
 * this .115 / .196 / .319 / .106; four levels over the range .255 / .588 / 1.51 / .23; -1, 0, 1
 * over the range .514 / .527 / .470 / .50, with a scale of least squares .189 / .261 / .307 / .17.
 * The price is that a block with few values that are not zero errs more than -1, 0, 1 would.
 */
#include "compress/codec_int_kernels.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>

#include "compress/codec_kernels.h"
#include "compress/codec_table.h"

static enum int_kind int_kind(const struct codec_setting *s)
{
	return s->id == CODEC_INT8 ? INT_8 : s->id == CODEC_INT4 ? INT_4 : INT_2;
}

static size_t int_bound(const struct codec_setting *s, size_t count)
{
	size_t blocks = count / s->block, rest = count % s->block;
	size_t scale = int_scale_bytes((enum int_scale)s->scale);
	size_t bytes = blocks * (scale + int_code_bytes(int_kind(s), s->block));

	return rest ? bytes + scale + int_code_bytes(int_kind(s), rest) : bytes;
}

static struct codec_result int_encode(const struct codec_setting *s, const struct codec_kernels *k,
				      const struct codec_input *input, void *out)
{
	uint32_t greatest = k->integer->encode[int_kind(s)][s->rounding](s, input, out);

	return (struct codec_result){.bytes = int_bound(s, input->count),
				     .nonfinite = greatest >= CODEC_NONFINITE_BITS};
}

/* The length, all scales, and the bits after the last code. */
static int int_check(const struct codec_setting *s, const unsigned char *bytes, size_t length,
		     size_t count)
{
	enum int_scale format = (enum int_scale)s->scale;
	enum int_kind kind = int_kind(s);
	size_t block = int_scale_bytes(format) + int_code_bytes(kind, s->block);
	size_t bits = count % s->block * int_bits(kind) % 8;

	if (length != int_bound(s, count))
		return -EBADMSG;
	for (size_t at = 0; at < length; at += block)
		if (!int_scale_fits(format, kind, bytes + at))
			return -EBADMSG;
	return bits && bytes[length - 1] >> bits ? -EBADMSG : 0;
}

static int int_decode(const struct codec_setting *s, const struct codec_kernels *k,
		      const struct codec_origin *origin, const void *bytes, size_t length,
		      float *out, size_t count)
{
	if (int_check(s, bytes, length, count))
		return -EBADMSG;
	k->integer->decode[int_kind(s)](s, bytes, out, count, origin->away);
	return 0;
}

static int int_decode_add(const struct codec_setting *s, const struct codec_kernels *k,
			  const struct codec_origin *origin, const void *bytes, size_t length,
			  float weight, float *sum, size_t count)
{
	(void)origin;
	if (int_check(s, bytes, length, count))
		return -EBADMSG;
	k->integer->decode_add[int_kind(s)](s, bytes, weight, sum, count);
	return 0;
}

/*
 * int8 and int4: s is the greatest, m, over 127 or 7, but for its rounding.
 *
 * To nearest, an element y loses at most (s / 2)^2 and, unless it is the greatest, at most y^2; the
 * worst block of n has all but the greatest at s / 2.  Stochastic, an element y s, y below 1,
 * loses y (1 - y) s^2 in the mean, others and the greatest at most s^2 / 4.  The worst block has
 * all but the greatest at one y: with k = (n - 1) s^2 / m^2, the share lost is at most
 * (sqrt(1 + k) - 1) / 2, and the greatest's s^2 / 4.  From k = 8 on that promises nothing.
 *
 * int2 to nearest, with few large elements among small: 5.9 / n of the square is kept, less 1/9 of
 * that where the scale is rounded to a power of two.  Stochastic, each 0 loses s^2: no promise.
 *
 * Feedback stays bounded with all of them.  No element loses more than s, 2 s of int2; so once s is
 * as large as all inputs, p is within 127 s, 7 s or 3 s again, and s does not grow.
 */
static double int_delta(const struct codec_setting *s, size_t count)
{
	double n = (double)(count < s->block ? count : s->block);
	double most = s->id == CODEC_INT8 ? 127 : 7, x, lost;

	if (s->id == CODEC_INT2)
		return s->rounding == CODEC_NEAREST ? 4 / (n + 8) : 0;
	most /= s->scale == INT_POW2 ? 2 : 1.01;
	x = 1 / (4 * most * most);
	if (s->rounding == CODEC_NEAREST)
		return (1 - x) / (1 + (n - 1) * x);
	lost = (sqrt(1 + (n - 1) * 4 * x) - 1) / 2 + x;
	return lost < 1 ? 1 - lost : 0;
}

static bool int_unbiased(const struct codec_setting *s)
{
	return s->rounding == CODEC_STOCHASTIC;
}

/* clang-format off */
#define INT_OPTIONS(block_default)                                                        \
	{                                                                                 \
		{"block", SETTING_POWER_OF_2, offsetof(struct codec_setting, block),      \
		 INT_BLOCK_MIN, INT_BLOCK_MAX, NULL, block_default},                      \
		{"rounding", SETTING_WORD, offsetof(struct codec_setting, rounding), 0, 0,\
		 "nearest|stochastic", CODEC_NEAREST},                                    \
		{"scale", SETTING_WORD, offsetof(struct codec_setting, scale), 0, 0,      \
		 "fp16|fp32|pow2", INT_FP16},                                             \
		{.key = NULL}                                                             \
	}
/* clang-format on */

static const struct setting_option int8_options[] = INT_OPTIONS(256);
static const struct setting_option int4_options[] = INT_OPTIONS(128);
static const struct setting_option int2_options[] = INT_OPTIONS(64);

#define INT_EXAMPLES(name)                                                                        \
	{                                                                                         \
		name, name ":block=32,scale=fp32", name ":block=4096,scale=pow2",                 \
			name ":rounding=stochastic", name ":rounding=stochastic,scale=pow2", NULL \
	}

static const char *const int8_examples[] = INT_EXAMPLES("int8");
static const char *const int4_examples[] = INT_EXAMPLES("int4");
static const char *const int2_examples[] = INT_EXAMPLES("int2");

#define INT_CODEC(codec_name, codec_id, codec_options, codec_examples)                  \
	{                                                                               \
		.name = codec_name, .id = codec_id, .options = codec_options,           \
		.examples = codec_examples, .bound = int_bound, .encode = int_encode,   \
		.decode = int_decode, .decode_add = int_decode_add, .delta = int_delta, \
		.unbiased = int_unbiased,                                               \
	}

const struct codec codec_int8 = INT_CODEC("int8", CODEC_INT8, int8_options, int8_examples);
const struct codec codec_int4 = INT_CODEC("int4", CODEC_INT4, int4_options, int4_examples);
const struct codec codec_int2 = INT_CODEC("int2", CODEC_INT2, int2_options, int2_examples);
