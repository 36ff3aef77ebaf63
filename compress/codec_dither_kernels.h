/*
 * codec_dither_kernels.h - the inner loops of natural, qsgd and terngrad, which round at random;
 * one struct for each CPU variant.
 *
 * The draw of element i of an array is that of `element + i`, modulo 2^32.  Codes are a byte each.
 * Arrays are apart from each other, but for out = p in subtract.
 */
#ifndef COMPRESS_CODEC_DITHER_KERNELS_H
#define COMPRESS_CODEC_DITHER_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compress/random.h"

enum {
	DITHER_TILE = 1024,   /* elements, at most */
	DITHER_TERNARY = 640, /* elements of a group of terngrad, 5 in a byte */
};

struct dither_measure {
	uint32_t greatest; /* magnitude's bits */
	double squares;    /* their sum: 16 lanes of double, added as a tree; never overflows */
};

/* How qsgd divides: magnitude * shift * inverse is in units of the step. */
struct dither_step {
	float shift; /* a power of two: neither product nor inverse leaves the range of floats */
	float inverse;
	uint32_t levels; /* 2^k - 1; the sign is the bit above them */
};

struct dither_kernels {
	/* p = in + residual_scale * residual (NULL: in); squares is left 0 where not asked for. */
	struct dither_measure (*source)(float *p, const float *in, const float *residual,
					float residual_scale, size_t count, bool squares);
	void (*subtract)(float *out, const float *p, const float *decoded, size_t count);
	void (*add)(float *sum, const float *decoded, float weight, size_t count);

	/* codes = sign << 7 | exponent field of p * scale, which is below 1. */
	void (*natural_encode)(unsigned char *codes, const float *p, float scale,
			       struct random_key key, uint32_t element, size_t count);
	void (*natural_decode)(float *out, const unsigned char *codes, float scale, size_t count);

	void (*qsgd_encode)(unsigned char *codes, const float *p, struct dither_step step,
			    struct random_key key, uint32_t element, size_t count);
	void (*qsgd_decode)(float *out, const unsigned char *codes, float step, uint32_t levels,
			    size_t count);

	/* The greatest of bytes; 0 of none. */
	unsigned char (*greatest_byte)(const unsigned char *bytes, size_t count);

	/* Up to DITHER_TERNARY elements, (count + 4) / 5 bytes; shift as in dither_step. */
	void (*tern_encode)(unsigned char *bytes, const float *p, float scale, float shift,
			    struct random_key key, uint32_t element, size_t count);
	void (*tern_decode)(float *out, const unsigned char *bytes, float scale, size_t count);
};

extern const struct dither_kernels dither_scalar;
#ifdef __x86_64__
extern const struct dither_kernels dither_avx2, dither_avx512;
#endif

#endif
