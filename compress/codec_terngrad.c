/*
 * codec_terngrad.c - TernGrad: -1, 0 or 1 times a block's scale, at random (Wen et al., TernGrad).
 *
 * On the wire, block after block: float32 scale, little-endian, finite and not negative; then
 * groups of 640 elements (the block's last has the rest, n), each (n + 4) / 5 bytes.  Byte i holds
 * elements i, i + m, .. i + 4 m, m being the group's bytes, as digits to base 3, the first the
 * lowest: 0 is 0, 1 is +scale, 2 is -scale.  Digits of elements beyond n are 0.
 *
 * |p| is clipped to clip * sqrt(mean p^2) of its block (0: not at all; the mean of gradients is
 * taken to be 0, so that a block of equal numbers is not clipped away) and the scale is the
 * greatest that is left.  p becomes its sign times the scale with probability |p| / scale.  Without
 * clipping that is unbiased, with it less is lost.  No contraction is promised: of a block of about
 * equal elements and a greater one, clip - 1 of the square is lost.  With feedback, blocks of 64 to
 * 65536 and a clip of up to 2, at most 1.5 times random input, new each time, was found to be left;
 * with 2.5 or none that grows with the block: 3, 11 and 100 times with 64, 1024 and 65536.
 */
#include <math.h>
#include <string.h>

#include "compress/codec_dither.h"
#include "compress/codec_table.h"

static size_t terngrad_bytes(const struct codec_setting *s, size_t count)
{
	(void)s;
	return (count + 4) / 5;
}

static bool terngrad_squares(const struct codec_setting *s)
{
	return s->clip > 0;
}

static void terngrad_header(const struct codec_setting *s, struct dither_measure measure,
			    size_t count, unsigned char *header)
{
	double sigma = sqrt(measure.squares / (double)count), most = (double)s->clip * sigma;
	float scale;

	memcpy(&scale, &measure.greatest, sizeof(scale));
	if (s->clip > 0 && most < (double)scale)
		scale = (float)most;
	memcpy(header, &scale, sizeof(scale));
}

static void terngrad_encode_tile(const struct codec_setting *s, const struct dither_kernels *k,
				 const unsigned char *header, const float *p, struct random_key key,
				 uint32_t element, size_t count, unsigned char *bytes)
{
	float scale = dither_scale(header);

	(void)s;
	k->tern_encode(bytes, p, scale, dither_shift(scale), key, element, count);
}

static void terngrad_decode_tile(const struct codec_setting *s, const struct dither_kernels *k,
				 const unsigned char *header, const unsigned char *bytes,
				 float *out, size_t count)
{
	(void)s;
	k->tern_decode(out, bytes, dither_scale(header), count);
}

/* The first bytes have one digit more than the last ones where count is no multiple of 5. */
static bool terngrad_good_tile(const struct codec_setting *s, const struct dither_kernels *k,
			       const unsigned char *bytes, size_t count)
{
	static const unsigned char end[] = {1, 3, 9, 27, 81, 243};
	size_t length = (count + 4) / 5, digits = count / length;
	size_t more = count - digits * length;

	(void)s;
	return (!more || k->greatest_byte(bytes, more) < end[digits + 1]) &&
	       k->greatest_byte(bytes + more, length - more) < end[digits];
}

const struct dither_format dither_terngrad = {
	.header_bytes = sizeof(float),
	.tile = DITHER_TERNARY,
	.scattered = true,
	.bytes = terngrad_bytes,
	.squares = terngrad_squares,
	.header_of = terngrad_header,
	.encode = terngrad_encode_tile,
	.decode = terngrad_decode_tile,
	.good_header = dither_good_scale,
	.good_tile = terngrad_good_tile,
};

static const char *terngrad_runs_away(const struct codec_setting *s, size_t count)
{
	(void)count;
	if (s->clip > 0 && s->clip <= 2)
		return NULL;
	return "needs a clip above 0 and of at most 2: its noise grows";
}

static bool terngrad_unbiased(const struct codec_setting *s)
{
	return !(s->clip > 0);
}

static const struct setting_option terngrad_options[] = {
	{.key = "clip",
	 .kind = SETTING_REAL,
	 .offset = offsetof(struct codec_setting, clip),
	 .min = 0,
	 .max = 1000,
	 .value = 2.5},
	{.key = "block",
	 .kind = SETTING_POWER_OF_2,
	 .offset = offsetof(struct codec_setting, block),
	 .min = 64,
	 .max = CODEC_BLOCK_MAX,
	 .value = 1024},
	{.key = NULL},
};

static const char *const terngrad_examples[] = {"terngrad", "terngrad:clip=0", "terngrad:block=64",
						"terngrad:block=65536", NULL};

const struct codec codec_terngrad = {
	.name = "terngrad",
	.id = CODEC_TERNGRAD,
	.options = terngrad_options,
	.examples = terngrad_examples,
	.bound = dither_bound,
	.work = dither_work,
	.encode = dither_encode,
	.decode = dither_decode,
	.decode_add = dither_decode_add,
	.runs_away = terngrad_runs_away,
	.unbiased = terngrad_unbiased,
};
