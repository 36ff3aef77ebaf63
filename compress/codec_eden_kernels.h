/* codec_eden_kernels.h - inner loops of eden, one struct for each CPU variant; see codec_eden.c. */
#ifndef COMPRESS_CODEC_EDEN_KERNELS_H
#define COMPRESS_CODEC_EDEN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "compress/random.h"

enum {
	EDEN_BLOCK_MIN = 64,
	EDEN_BITS_MAX = 4,
	EDEN_WORD = 32,      /* elements whose codes are kept together */
	EDEN_CENTROIDS = 8,  /* of one sign, at most */
	EDEN_GREATEST = 4096 /* no element of a transformed block is beyond it: codec_eden.c */
};

struct eden_table {
	/* 2^(bits - 1) ascending, then the same negative: by code.  Any register can be filled. */
	float centroid[2 * EDEN_CENTROIDS];
	float threshold[EDEN_CENTROIDS]; /* between centroid i and i + 1 */
};

struct eden_sums {
	float product; /* of values and centroids     */
	float squares; /* of centroids                */
};

/* n is a power of two, at least EDEN_BLOCK_MIN; any alignment. */
struct eden_kernels {
	/* p = in + scale * residual (NULL: p = in).  Return: the greatest magnitude's bits. */
	uint32_t (*source)(const float *in, const float *residual, float scale, size_t n, float *p);

	/* x = p * factor with random signs: the key's for elements `word` * EDEN_WORD and after.
	 * Return: the sum of squares. */
	float (*turn)(const float *p, float factor, struct random_key key, uint32_t word, size_t n,
		      float *x);

	/* x = H x, H the Hadamard matrix of n rows, not normalised: strides 1, 2, 4, .. n / 2. */
	void (*transform)(float *x, size_t n);

	/* By bits: x * inverse becomes its nearest centroid, whose code goes to codes. */
	struct eden_sums (*quantise[EDEN_BITS_MAX + 1])(float *x, float inverse,
							const struct eden_table *table, size_t n,
							uint8_t *codes);
	/* Codes to centroids; soon[n]: what will be written next, to be fetched. */
	void (*expand[EDEN_BITS_MAX + 1])(const uint8_t *codes, const struct eden_table *table,
					  size_t n, const float *soon, float *x);

	/* expand(), and then transform(). */
	void (*transformed[EDEN_BITS_MAX + 1])(const uint8_t *codes, const struct eden_table *table,
					       size_t n, const float *soon, float *x);

	/* v = x * scale with the signs that turn() gave; no infinities if no x is beyond
	 * EDEN_GREATEST.  out may be x. */
	void (*value)(const float *x, float scale, struct random_key key, uint32_t word, size_t n,
		      float *out); /* out = v */
	void (*left)(const float *x, float scale, struct random_key key, uint32_t word, size_t n,
		     const float *p, float *out); /* out = p - v */
	void (*add)(const float *x, float scale, struct random_key key, uint32_t word, size_t n,
		    float weight, float *sum); /* sum += weight * v */
};

extern const struct eden_kernels eden_scalar;
#ifdef __x86_64__
extern const struct eden_kernels eden_avx2, eden_avx512;
#endif

#endif
