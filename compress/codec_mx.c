/*
 * codec_mx.c - mxfp8 and mxfp4: blocks of 32 small floats with a power of two as their scale, as
 * in the OCP Microscaling Formats (MX) specification 1.0.
 *
 * On the wire: the blocks one after the other, the last filled up with zeros.  A block is
 *
 *   uint8      scale E8M0: 2^(scale - 127); a block of zeros has 0
 *   mxfp8      uint8[32]: e4m3 (sign, 4 bits of exponent, 3 of mantissa) or e5m2
 *   mxfp4      uint8[16]: e2m1, element i in the low half of byte i, 16 + i in the high half
 *
 * The scale is 2^(floor(log2(greatest)) - emax), emax being the exponent of the format's greatest
 * number, but at least 2^-127.  Elements are rounded to nearest even and saturate, so that vectors
 * shrink a little: to be used with feedback.  Subnormal elements are kept.  A scale so large that
 * the greatest element would be no float32, and elements that are no numbers, are never encoded,
 * and refused by decode.
 *
 * No delta is promised: of a block below 2^-118 or so nothing may be left.
 */
#include <errno.h>
#include <string.h>

#include "compress/codec_kernels.h"
#include "compress/codec_mx_kernels.h"
#include "compress/codec_table.h"
#include "compress/copy.h"

enum { MX_TILE_BLOCKS = 32 }; /* 4 KiB of stack */

static enum mx_format mx_format(const struct codec_setting *s)
{
	if (s->id == CODEC_MXFP4)
		return MX_E2M1;
	return s->format ? MX_E5M2 : MX_E4M3;
}

static size_t mx_bound(const struct codec_setting *s, size_t count)
{
	return (count + MX_BLOCK - 1) / MX_BLOCK * mx_block_bytes(mx_format(s));
}

/* Whole blocks; with `away` by way of the stack. */
static uint32_t mx_encode_blocks(const struct codec_input *input, const struct mx_kernels *k,
				 enum mx_format format, size_t blocks, uint8_t *out)
{
	bool away = input->away && input->residual_out;
	size_t step = away ? MX_TILE_BLOCKS : blocks;
	float tile[MX_TILE_BLOCKS * MX_BLOCK];
	uint32_t greatest = 0;

	for (size_t block = 0; block < blocks; block += step) {
		size_t now = blocks - block < step ? blocks - block : step;
		size_t at = block * MX_BLOCK;
		float *left = input->residual_out ? input->residual_out + at : NULL;
		uint32_t most = k->encode[format](
			input->in + at, input->residual ? input->residual + at : NULL,
			input->residual_scale, now, out + block * mx_block_bytes(format),
			away ? tile : left);

		if (away)
			copy_away(left, tile, now * MX_BLOCK * sizeof(float));
		greatest = most > greatest ? most : greatest;
	}
	return greatest;
}

static struct codec_result mx_encode(const struct codec_setting *s, const struct codec_kernels *k,
				     const struct codec_input *input, void *out)
{
	enum mx_format format = mx_format(s);
	size_t blocks = input->count / MX_BLOCK, at = blocks * MX_BLOCK;
	size_t rest = (input->count - at) * sizeof(float);
	uint32_t greatest = mx_encode_blocks(input, k->mx, format, blocks, out), most;
	float in[MX_BLOCK] = {0}, residual[MX_BLOCK] = {0};

	if (rest) {
		memcpy(in, input->in + at, rest);
		if (input->residual)
			memcpy(residual, input->residual + at, rest);
		most = k->mx->encode[format](
			in, input->residual ? residual : NULL, input->residual_scale, 1,
			(uint8_t *)out + blocks * mx_block_bytes(format), residual);
		greatest = most > greatest ? most : greatest;
		if (input->residual_out)
			memcpy(input->residual_out + at, residual, rest);
	}
	return (struct codec_result){.bytes = mx_bound(s, input->count),
				     .nonfinite = greatest >= CODEC_NONFINITE_BITS};
}

/* Does a block's scale and does each element stand for a number? */
static bool mx_sound(const uint8_t *bytes, size_t blocks, enum mx_format format)
{
	struct mx_shape f = mx_shape(format);
	uint64_t beyond = 0;

	for (; blocks; blocks--, bytes += mx_block_bytes(format)) {
		if (*bytes > 254 - f.emax)
			return false;
		if (format == MX_E2M1)
			continue; /* all codes are numbers */
		/* Eight at a time: what is greater than `most` carries into the top bit. */
		for (size_t i = 0; i < MX_BLOCK; i += sizeof(uint64_t)) {
			uint64_t eight;

			memcpy(&eight, bytes + 1 + i, sizeof(eight));
			beyond |=
				(eight & 0x7f7f7f7f7f7f7f7f) + (0x7f - f.most) * 0x0101010101010101;
		}
	}
	return !(beyond & 0x8080808080808080);
}

static int mx_decode(const struct codec_setting *s, const struct codec_kernels *k,
		     const struct codec_origin *origin, const void *bytes, size_t length,
		     float *out, size_t count)
{
	enum mx_format format = mx_format(s);
	size_t blocks = count / MX_BLOCK, rest = count % MX_BLOCK;
	const uint8_t *last = (const uint8_t *)bytes + blocks * mx_block_bytes(format);
	float block[MX_BLOCK];

	(void)origin;
	if (length != mx_bound(s, count) || !mx_sound(bytes, blocks + (rest > 0), format))
		return -EBADMSG;
	k->mx->decode[format](bytes, blocks, out);
	if (rest) {
		k->mx->decode[format](last, 1, block);
		memcpy(out + blocks * MX_BLOCK, block, rest * sizeof(float));
	}
	return 0;
}

static int mx_decode_add(const struct codec_setting *s, const struct codec_kernels *k,
			 const struct codec_origin *origin, const void *bytes, size_t length,
			 float weight, float *sum, size_t count)
{
	enum mx_format format = mx_format(s);
	size_t blocks = count / MX_BLOCK, rest = count % MX_BLOCK;
	const uint8_t *last = (const uint8_t *)bytes + blocks * mx_block_bytes(format);
	float block[MX_BLOCK] = {0};

	(void)origin;
	if (length != mx_bound(s, count) || !mx_sound(bytes, blocks + (rest > 0), format))
		return -EBADMSG;
	k->mx->decode_add[format](bytes, blocks, weight, sum);
	if (rest) {
		memcpy(block, sum + blocks * MX_BLOCK, rest * sizeof(float));
		k->mx->decode_add[format](last, 1, weight, block);
		memcpy(sum + blocks * MX_BLOCK, block, rest * sizeof(float));
	}
	return 0;
}

/* The block is the format's. */
static void mx_derive(struct codec_setting *s)
{
	s->block = MX_BLOCK;
}

static const struct setting_option mxfp8_options[] = {
	{.key = "format",
	 .kind = SETTING_WORD,
	 .offset = offsetof(struct codec_setting, format),
	 .words = "e4m3|e5m2"},
	{.key = NULL},
};

static const char *const mxfp8_examples[] = {"mxfp8", "mxfp8:format=e5m2", NULL};
static const char *const mxfp4_examples[] = {"mxfp4", NULL};

const struct codec codec_mxfp8 = {
	.name = "mxfp8",
	.id = CODEC_MXFP8,
	.options = mxfp8_options,
	.derive = mx_derive,
	.examples = mxfp8_examples,
	.bound = mx_bound,
	.encode = mx_encode,
	.decode = mx_decode,
	.decode_add = mx_decode_add,
};

const struct codec codec_mxfp4 = {
	.name = "mxfp4",
	.id = CODEC_MXFP4,
	.derive = mx_derive,
	.examples = mxfp4_examples,
	.bound = mx_bound,
	.encode = mx_encode,
	.decode = mx_decode,
	.decode_add = mx_decode_add,
};
