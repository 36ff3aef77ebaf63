/*
 * codec_sign_kernels.h - the inner loops of codec_sign.c, for one CPU.
 *
 * Bits are LSB first: element i is bit i % 8 of byte i / 8, 1 where it is below zero.  Arrays have
 * any alignment; p may equal neither in nor residual.
 */
#ifndef COMPRESS_CODEC_SIGN_KERNELS_H
#define COMPRESS_CODEC_SIGN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

enum { SIGN_GROUP = 256 };

/* A block whose scale is known, and whose second pass, residual() below, is still to be made. */
struct sign_pending {
	float *out; /* aligned to 64 */
	const float *p;
	float scale;
};

struct sign_kernels {
	/*
	 * p = in + residual_scale * residual (NULL: in) to p[count], its signs to bits.
	 * Return: the sum of |p|, or of p^2; the same bits on every CPU.
	 *
	 * Element i belongs to lane i % 16.  Magnitudes are added as floats within a group of 256
	 * elements, even and odd sixteens apart, then as doubles; squares as doubles throughout.
	 * Lanes are added as a tree.  A sum of magnitudes may overflow within a group although all
	 * of p is finite; a sum of squares is finite exactly if all of p is.
	 * away: in and residual are not in the caches.
	 * pending: NULL; or the block before, which has `count` elements, too, a multiple of
	 * SIGN_GROUP: its residual is written past the caches meanwhile, so that memory is read and
	 * written at once.
	 */
	double (*pack)(unsigned char *bits, float *p, const float *in, const float *residual,
		       float residual_scale, size_t count, bool squares, bool away,
		       const struct sign_pending *pending);
	/* out = p - (p < 0 ? -scale : scale); out may be p.  away: past the caches if aligned. */
	void (*residual)(float *out, const float *p, float scale, size_t count, bool away);
	/* out = bit ? -scale : scale, or added to sum.  away: past the caches if aligned. */
	void (*unpack)(float *out, const unsigned char *bits, float scale, size_t count, bool away);
	void (*unpack_add)(float *sum, const unsigned char *bits, float scale, size_t count);
	void (*fence)(void); /* after the last of what goes past the caches */
};

extern const struct sign_kernels sign_scalar;
#ifdef __x86_64__
extern const struct sign_kernels sign_avx2, sign_avx512;
#endif

#endif
