/*
 * codec_narrow.c - bf16 and fp16: each element rounded to 16 bits, to nearest even.
 *
 * On the wire: uint16[count], little-endian.  What is too large for the format becomes its largest
 * number, so that decoding gives finite numbers; feedback carries the rest.
 */
#include <errno.h>
#include <string.h>

#include "compress/codec_kernels.h"
#include "compress/codec_plain_kernels.h"
#include "compress/codec_table.h"

#define BF16_MAX 0x1.fep127f
#define FP16_MAX 65504.0f

enum { NARROW_TILE = 1024 }; /* elements: 4 KiB of stack, twice */

static enum vec_type narrow_type(const struct codec_setting *s)
{
	return s->id == CODEC_BF16 ? VEC_BF16 : VEC_F16;
}

static size_t narrow_bound(const struct codec_setting *s, size_t count)
{
	(void)s;
	return count * sizeof(uint16_t);
}

static struct codec_result narrow_encode(const struct codec_setting *s,
					 const struct codec_kernels *k,
					 const struct codec_input *input, void *out)
{
	enum vec_type type = narrow_type(s);
	float most = type == VEC_BF16 ? BF16_MAX : FP16_MAX;
	float p[NARROW_TILE], decoded[NARROW_TILE];
	uint32_t greatest = 0;

	for (size_t first = 0; first < input->count; first += NARROW_TILE) {
		size_t left = input->count - first, count = left < NARROW_TILE ? left : NARROW_TILE;
		const float *residual = input->residual ? input->residual + first : NULL;
		char *bytes = (char *)out + first * sizeof(uint16_t);
		uint32_t tile = k->plain->source(input->in + first, residual, input->residual_scale,
						 count, p);

		greatest = tile > greatest ? tile : greatest;
		k->plain->clamp(p, most, count, decoded);
		k->vec->narrow[type](bytes, decoded, count);
		if (!input->residual_out)
			continue;
		k->vec->widen[type](decoded, bytes, count);
		k->plain->left(p, decoded, count, input->residual_out + first);
	}
	return (struct codec_result){
		.bytes = narrow_bound(s, input->count),
		.nonfinite = greatest >= CODEC_NONFINITE_BITS,
	};
}

static int narrow_decode(const struct codec_setting *s, const struct codec_kernels *k,
			 const struct codec_origin *origin, const void *bytes, size_t length,
			 float *out, size_t count)
{
	(void)origin;
	if (length != narrow_bound(s, count))
		return -EBADMSG;
	k->vec->widen[narrow_type(s)](out, bytes, count);
	return 0;
}

static int narrow_decode_add(const struct codec_setting *s, const struct codec_kernels *k,
			     const struct codec_origin *origin, const void *bytes, size_t length,
			     float weight, float *sum, size_t count)
{
	float decoded[NARROW_TILE];

	(void)origin;
	if (length != narrow_bound(s, count))
		return -EBADMSG;
	for (size_t first = 0; first < count; first += NARROW_TILE) {
		size_t tile = count - first < NARROW_TILE ? count - first : NARROW_TILE;

		k->vec->widen[narrow_type(s)](decoded,
					      (const char *)bytes + first * sizeof(uint16_t), tile);
		k->plain->add(decoded, weight, tile, sum + first);
	}
	return 0;
}

static const char *const bf16_examples[] = {"bf16", NULL};
static const char *const fp16_examples[] = {"fp16", NULL};

/* No delta is promised: what is below the least or above the greatest number is lost. */
const struct codec codec_bf16 = {
	.name = "bf16",
	.id = CODEC_BF16,
	.examples = bf16_examples,
	.bound = narrow_bound,
	.encode = narrow_encode,
	.decode = narrow_decode,
	.decode_add = narrow_decode_add,
};

const struct codec codec_fp16 = {
	.name = "fp16",
	.id = CODEC_FP16,
	.examples = fp16_examples,
	.bound = narrow_bound,
	.encode = narrow_encode,
	.decode = narrow_decode,
	.decode_add = narrow_decode_add,
};
