/*
 * codec_none.c - no compression: float32[count], little-endian, as it is.
 *
 * With feedback it sends input and residual and leaves a residual of zero.
 */
#include <errno.h>
#include <string.h>

#include "compress/codec_kernels.h"
#include "compress/codec_plain_kernels.h"
#include "compress/codec_table.h"

enum { NONE_TILE = 1024 }; /* elements: 4 KiB of stack */

static size_t none_bound(const struct codec_setting *s, size_t count)
{
	(void)s;
	return count * sizeof(float);
}

static struct codec_result none_encode(const struct codec_setting *s, const struct codec_kernels *k,
				       const struct codec_input *input, void *out)
{
	float p[NONE_TILE];
	uint32_t greatest = 0;

	(void)s;
	for (size_t first = 0; first < input->count; first += NONE_TILE) {
		size_t left = input->count - first, count = left < NONE_TILE ? left : NONE_TILE;
		const float *residual = input->residual ? input->residual + first : NULL;
		uint32_t tile = k->plain->source(input->in + first, residual, input->residual_scale,
						 count, p);

		greatest = tile > greatest ? tile : greatest;
		memcpy((char *)out + first * sizeof(float), p, count * sizeof(float));
		if (input->residual_out)
			memset(input->residual_out + first, 0, count * sizeof(float));
	}
	return (struct codec_result){
		.bytes = input->count * sizeof(float),
		.nonfinite = greatest >= CODEC_NONFINITE_BITS,
	};
}

static int none_decode(const struct codec_setting *s, const struct codec_kernels *k,
		       const struct codec_origin *origin, const void *bytes, size_t length,
		       float *out, size_t count)
{
	(void)s;
	(void)k;
	(void)origin;
	if (length != count * sizeof(float))
		return -EBADMSG;
	memcpy(out, bytes, length);
	return 0;
}

static int none_decode_add(const struct codec_setting *s, const struct codec_kernels *k,
			   const struct codec_origin *origin, const void *bytes, size_t length,
			   float weight, float *sum, size_t count)
{
	float values[NONE_TILE];

	(void)s;
	(void)origin;
	if (length != count * sizeof(float))
		return -EBADMSG;
	/* The bytes may be anywhere; most of the time they can be added where they are. */
	if ((uintptr_t)bytes % _Alignof(float) == 0) {
		k->plain->add(bytes, weight, count, sum);
		return 0;
	}
	for (size_t first = 0; first < count; first += NONE_TILE) {
		size_t left = count - first, tile = left < NONE_TILE ? left : NONE_TILE;

		memcpy(values, (const char *)bytes + first * sizeof(float), tile * sizeof(float));
		k->plain->add(values, weight, tile, sum + first);
	}
	return 0;
}

static double none_delta(const struct codec_setting *s, size_t count)
{
	(void)s;
	(void)count;
	return 1;
}

static bool none_unbiased(const struct codec_setting *s)
{
	(void)s;
	return true;
}

static const char *const none_examples[] = {"none", NULL};

const struct codec codec_none = {
	.name = "none",
	.id = CODEC_NONE,
	.examples = none_examples,
	.bound = none_bound,
	.encode = none_encode,
	.decode = none_decode,
	.decode_add = none_decode_add,
	.delta = none_delta,
	.unbiased = none_unbiased,
};
