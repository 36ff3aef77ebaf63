/*
 * codec_plain_kernels.h - inner loops of codecs whose elements are apart: none, bf16, fp16; randk
 * adds by it.
 */
#ifndef COMPRESS_CODEC_PLAIN_KERNELS_H
#define COMPRESS_CODEC_PLAIN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

struct plain_kernels {
	/* p = in + scale * residual (NULL: p = in).  Return: the greatest magnitude's bits. */
	uint32_t (*source)(const float *in, const float *residual, float scale, size_t count,
			   float *p);
	/* out = p, but at most `most` from zero. */
	void (*clamp)(const float *p, float most, size_t count, float *out);
	/* left = p - decoded. */
	void (*left)(const float *p, const float *decoded, size_t count, float *left);
	/* sum += weight * v, rounded twice. */
	void (*add)(const float *v, float weight, size_t count, float *sum);
};

extern const struct plain_kernels plain_scalar;
#ifdef __x86_64__
extern const struct plain_kernels plain_avx2, plain_avx512;
#endif

#endif
