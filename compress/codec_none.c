/*
 * codec_none.c - no compression: float32[count], little-endian, as it is.
 *
 * With feedback it sends input and residual and leaves a residual of zero.
 */
#include <errno.h>
#include <string.h>

#include "compress/codec_kernels.h"
#include "compress/codec_source.h"
#include "compress/codec_table.h"

static size_t none_bound(const struct codec_setting *s, size_t count)
{
	(void)s;
	return count * sizeof(float);
}

static struct codec_result none_encode(const struct codec_setting *s, const struct codec_kernels *k,
				       const struct codec_input *input, void *out)
{
	size_t bytes = input->count * sizeof(float);
	float p[CODEC_SOURCE_TILE];
	uint32_t greatest = 0;

	(void)s;
	(void)k;
	for (size_t first = 0; first < input->count; first += CODEC_SOURCE_TILE) {
		size_t count = codec_source_tile(input, first);
		uint32_t tile = codec_source(input, first, count, p);

		greatest = tile > greatest ? tile : greatest;
		memcpy((char *)out + first * sizeof(float), p, count * sizeof(float));
	}
	if (input->residual_out)
		memset(input->residual_out, 0, bytes);
	return (struct codec_result){.bytes = bytes, .nonfinite = codec_source_nonfinite(greatest)};
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
	(void)s;
	(void)k;
	(void)origin;
	if (length != count * sizeof(float))
		return -EBADMSG;
	for (size_t i = 0; i < count; i++) {
		float value;

		memcpy(&value, (const char *)bytes + i * sizeof(value), sizeof(value));
		sum[i] += weight * value;
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
