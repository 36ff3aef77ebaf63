/*
 * codec_qsgd.c - QSGD: levels of a block's norm, rounded at random (Alistarh et al., QSGD).
 *
 * On the wire, block after block: float32 step, little-endian, finite and not negative; then codes
 * of w = 1 + log2(levels + 1) bits, LSB first, one after another: the level, and above it the sign.
 * An element is level * step.  Every 1024 elements, and the block, start at a byte; the bits after
 * the last element are 0.
 *
 *   levels    1, 3, 7, .. 127: one less than a power of two, so that every code means something
 *   scale=l2  levels * step is the block's l2 norm, as in the paper
 *   scale=max ... its greatest magnitude: the same promises, and less variance
 *
 * The step is rounded up, so that no element is beyond the last level, and saturates at the
 * greatest float.  Unbiased, up to the rounding of one float division and where level * step
 * doesn't overflow; loses at most min(n / (4 levels^2), sqrt(n) / levels) ||p||^2 of a block of n
 * in the mean: an element's variance is at most a quarter of step^2, and |p| * step.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "compress/codec_dither.h"
#include "compress/codec_table.h"

enum qsgd_scale { QSGD_L2, QSGD_MAX };

static unsigned int qsgd_width(const struct codec_setting *s)
{
	unsigned int width = 1;

	for (uint32_t levels = s->levels; levels; levels /= 2)
		width++;
	return width;
}

static size_t qsgd_bytes(const struct codec_setting *s, size_t count)
{
	return (count * qsgd_width(s) + 7) / 8;
}

static bool qsgd_squares(const struct codec_setting *s)
{
	return s->scale == QSGD_L2;
}

static void qsgd_header(const struct codec_setting *s, struct dither_measure measure, size_t count,
			unsigned char *header)
{
	float greatest, step;
	double norm, exact;

	(void)count;
	memcpy(&greatest, &measure.greatest, sizeof(greatest));
	norm = s->scale == QSGD_L2 ? sqrt(measure.squares) : (double)greatest;
	exact = norm / s->levels;
	step = exact < (double)FLT_MAX ? (float)exact : FLT_MAX;
	if ((double)step < exact)
		step = fminf(nextafterf(step, INFINITY), FLT_MAX);
	memcpy(header, &step, sizeof(step));
}

/* --- codes of w bits ---------------------------------------------------------------------- */

/* 8 codes, a byte each, to 8 w bits: pairs, pairs of pairs, halves. */
static uint64_t qsgd_join(uint64_t x, unsigned int width)
{
	x = (x & 0x00ff00ff00ff00ff) | (x & 0xff00ff00ff00ff00) >> (8 - width);
	x = (x & 0x0000ffff0000ffff) | (x & 0xffff0000ffff0000) >> (16 - 2 * width);
	return (x & 0xffffffff) | x >> 32 << 4 * width;
}

static uint64_t qsgd_split(uint64_t x, unsigned int width)
{
	uint64_t four = ((uint64_t)1 << 4 * width) - 1;
	uint64_t two = (((uint64_t)1 << 2 * width) - 1) * 0x0000000100000001;
	uint64_t one = (((uint64_t)1 << width) - 1) * 0x0001000100010001;

	x = (x & four) | (x >> 4 * width & four) << 32;
	x = (x & two) | (x << (16 - 2 * width) & two << 16);
	return (x & one) | (x << (8 - width) & one << 8);
}

static void qsgd_pack(unsigned char *bytes, const unsigned char *codes, size_t length,
		      unsigned int width)
{
	unsigned char packed[DITHER_TILE + sizeof(uint64_t)];

	for (size_t i = 0; i * width < length; i++) {
		uint64_t x;

		memcpy(&x, codes + 8 * i, sizeof(x));
		x = qsgd_join(x, width);
		memcpy(packed + i * width, &x, sizeof(x));
	}
	memcpy(bytes, packed, length);
}

static void qsgd_unpack(unsigned char *codes, const unsigned char *bytes, size_t length,
			unsigned int width)
{
	unsigned char packed[DITHER_TILE + sizeof(uint64_t)];

	memcpy(packed, bytes, length);
	memset(packed + length, 0, sizeof(uint64_t));
	for (size_t i = 0; i * width < length; i++) {
		uint64_t x;

		memcpy(&x, packed + i * width, sizeof(x));
		x = qsgd_split(x, width);
		memcpy(codes + 8 * i, &x, sizeof(x));
	}
}

static void qsgd_encode_tile(const struct codec_setting *s, const struct dither_kernels *k,
			     const unsigned char *header, const float *p, struct random_key key,
			     uint32_t element, size_t count, unsigned char *bytes)
{
	float scale = dither_scale(header), shift = dither_shift(scale);
	float inverse = scale > 0 ? 1 / (scale * shift) : 0;
	unsigned char codes[DITHER_TILE + sizeof(uint64_t)];

	k->qsgd_encode(codes, p, (struct dither_step){shift, inverse, s->levels}, key, element,
		       count);
	memset(codes + count, 0, sizeof(uint64_t));
	qsgd_pack(bytes, codes, qsgd_bytes(s, count), qsgd_width(s));
}

static void qsgd_decode_tile(const struct codec_setting *s, const struct dither_kernels *k,
			     const unsigned char *header, const unsigned char *bytes, float *out,
			     size_t count)
{
	unsigned char codes[DITHER_TILE + sizeof(uint64_t)];

	if (qsgd_width(s) == 8) { /* they are codes already */
		k->qsgd_decode(out, bytes, dither_scale(header), s->levels, count);
		return;
	}
	qsgd_unpack(codes, bytes, qsgd_bytes(s, count), qsgd_width(s));
	k->qsgd_decode(out, codes, dither_scale(header), s->levels, count);
}

static bool qsgd_good_tile(const struct codec_setting *s, const struct dither_kernels *k,
			   const unsigned char *bytes, size_t count)
{
	size_t bits = count * qsgd_width(s);

	(void)k;
	return bits % 8 == 0 || bytes[bits / 8] >> bits % 8 == 0;
}

const struct dither_format dither_qsgd = {
	.header_bytes = sizeof(float),
	.tile = DITHER_TILE,
	.bytes = qsgd_bytes,
	.squares = qsgd_squares,
	.header_of = qsgd_header,
	.encode = qsgd_encode_tile,
	.decode = qsgd_decode_tile,
	.good_header = dither_good_scale,
	.good_tile = qsgd_good_tile,
};

static double qsgd_delta(const struct codec_setting *s, size_t count)
{
	double n = count < s->block ? (double)count : s->block, levels = s->levels;
	double lost = fmin(n / (4 * levels * levels), sqrt(n) / levels);

	return lost < 1 ? 1 - lost : 0;
}

/*
 * With scale=max no element loses more than a step, so that feedback stays bounded: once a step is
 * as large as all inputs, p is within two of them, and the step does not grow.  With one level that
 * does not hold, and with scale=l2 and few levels more is lost than there was.
 */
static const char *qsgd_runs_away(const struct codec_setting *s, size_t count)
{
	if (s->scale == QSGD_MAX)
		return s->levels > 1 ? NULL : "needs more than one level: its noise grows";
	return qsgd_delta(s, count) > 0 ? NULL
					: "needs more levels than half the root of its block, or "
					  "scale=max: its noise grows";
}

static bool qsgd_unbiased(const struct codec_setting *s)
{
	(void)s;
	return true;
}

static const char *qsgd_refuse(const struct codec_setting *s)
{
	return s->levels & (s->levels + 1) ? "levels must be one less than a power of two" : NULL;
}

static const struct setting_option qsgd_options[] = {
	{.key = "levels",
	 .kind = SETTING_NUMBER,
	 .offset = offsetof(struct codec_setting, levels),
	 .min = 1,
	 .max = 127,
	 .value = 127},
	{.key = "block",
	 .kind = SETTING_POWER_OF_2,
	 .offset = offsetof(struct codec_setting, block),
	 .min = 64,
	 .max = CODEC_BLOCK_MAX,
	 .value = 512},
	{.key = "scale",
	 .kind = SETTING_WORD,
	 .offset = offsetof(struct codec_setting, scale),
	 .words = "l2|max",
	 .value = QSGD_L2},
	{.key = NULL},
};

static const char *const qsgd_examples[] = {"qsgd", "qsgd:levels=7", "qsgd:levels=1,block=64",
					    "qsgd:levels=31,block=65536,scale=max", NULL};

const struct codec codec_qsgd = {
	.name = "qsgd",
	.id = CODEC_QSGD,
	.options = qsgd_options,
	.refuse = qsgd_refuse,
	.examples = qsgd_examples,
	.bound = dither_bound,
	.work = dither_work,
	.encode = dither_encode,
	.decode = dither_decode,
	.decode_add = dither_decode_add,
	.delta = qsgd_delta,
	.runs_away = qsgd_runs_away,
	.unbiased = qsgd_unbiased,
};
