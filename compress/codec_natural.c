/*
 * codec_natural.c - natural compression: sign and power of two, rounded at random.
 *
 * |p| between 2^k and 2^(k+1) becomes one of the two, so that the mean is |p|: unbiased, and the
 * mean of what is lost is at most ||p||^2 / 8 (Horvath et al., Natural Compression for
 * Distributed Deep Learning).
 *
 * On the wire, block after block: a byte e, then a byte an element, sign << 7 | c.  c = 0 is 0,
 * else the magnitude is 2^(c - 126) * 2^(e - 128); e = 0: all are 0.  e - 128 is the exponent of
 * the block's greatest magnitude, or -127 if that is a denormal.  What lies further than 2^125
 * below it becomes 0 or the least power, at random too.
 * 2^128, to which the greatest floats are rounded, is decoded as the greatest float.
 */
#include <math.h>

#include "compress/codec_dither.h"
#include "compress/codec_table.h"

static size_t natural_bytes(const struct codec_setting *s, size_t count)
{
	(void)s;
	return count;
}

static bool natural_squares(const struct codec_setting *s)
{
	(void)s;
	return false;
}

static void natural_header(const struct codec_setting *s, struct dither_measure measure,
			   size_t count, unsigned char *header)
{
	(void)s;
	(void)count;
	*header = (unsigned char)(measure.greatest ? (measure.greatest >> 23) + 1 : 0);
}

/* The greatest magnitude is below 2^(e - 127): the scale brings it below 1. */
static void natural_encode_tile(const struct codec_setting *s, const struct dither_kernels *k,
				const unsigned char *header, const float *p, struct random_key key,
				uint32_t element, size_t count, unsigned char *bytes)
{
	float scale = *header ? ldexpf(1, 127 - *header) : 0;

	(void)s;
	k->natural_encode(bytes, p, scale, key, element, count);
}

static void natural_decode_tile(const struct codec_setting *s, const struct dither_kernels *k,
				const unsigned char *header, const unsigned char *bytes, float *out,
				size_t count)
{
	(void)s;
	k->natural_decode(out, bytes, *header ? ldexpf(1, *header - 128) : 0, count);
}

static bool natural_good_header(const unsigned char *header)
{
	(void)header;
	return true;
}

static bool natural_good_tile(const struct codec_setting *s, const struct dither_kernels *k,
			      const unsigned char *bytes, size_t count)
{
	(void)s;
	(void)k;
	(void)bytes;
	(void)count;
	return true;
}

const struct dither_format dither_natural = {
	.header_bytes = 1,
	.tile = DITHER_TILE,
	.bytes = natural_bytes,
	.squares = natural_squares,
	.header_of = natural_header,
	.encode = natural_encode_tile,
	.decode = natural_decode_tile,
	.good_header = natural_good_header,
	.good_tile = natural_good_tile,
};

static double natural_delta(const struct codec_setting *s, size_t count)
{
	(void)s;
	(void)count;
	return 7.0 / 8;
}

static bool natural_unbiased(const struct codec_setting *s)
{
	(void)s;
	return true;
}

static const struct setting_option natural_options[] = {
	{.key = "block",
	 .kind = SETTING_POWER_OF_2,
	 .offset = offsetof(struct codec_setting, block),
	 .min = 64,
	 .max = CODEC_BLOCK_MAX,
	 .value = 1024},
	{.key = NULL},
};

static const char *const natural_examples[] = {"natural", "natural:block=64", "natural:block=65536",
					       NULL};

const struct codec codec_natural = {
	.name = "natural",
	.id = CODEC_NATURAL,
	.options = natural_options,
	.examples = natural_examples,
	.bound = dither_bound,
	.work = dither_work,
	.encode = dither_encode,
	.decode = dither_decode,
	.decode_add = dither_decode_add,
	.delta = natural_delta,
	.unbiased = natural_unbiased,
};
