/*
 * codec_sparse_kernels.h - inner loops of the codecs that keep a few elements (topk, randk).
 *
 * They work on tiles in the cache, in groups of 64 elements, so that a 64-bit mask says which
 * elements of a group are kept.  A magnitude is a float's bits without the sign: magnitudes
 * of numbers are in order as integers.
 */
#ifndef COMPRESS_CODEC_SPARSE_KERNELS_H
#define COMPRESS_CODEC_SPARSE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SPARSE_GROUP = 64,  /* elements of a mask                */
	SPARSE_TILE = 1024, /* elements of a tile: 4 KiB of stack */
	SPARSE_MASKS = SPARSE_TILE / SPARSE_GROUP,
};

struct sparse_kernels {
	/*
	 * source() - p = in + scale * residual (NULL: in), zeros after it up to a whole group
	 * Return: the greatest magnitude.
	 */
	uint32_t (*source)(const float *in, const float *residual, float scale, float *p,
			   size_t count);

	/*
	 * collect() - which of p[count] have at least that magnitude, zeros after p up to a whole
	 * group: their indices, p[0] being `first`, and values.
	 * Return: how many; nothing is written behind them.
	 */
	size_t (*collect)(const float *p, size_t count, uint32_t first, uint32_t least,
			  uint32_t *index, float *value);

	/* count() - how many of p[64 * groups] have at least that magnitude. */
	size_t (*count)(const float *p, size_t groups, uint32_t least);

	/*
	 * descend() - the greatest magnitude that at least `keep` of p[64 * groups] reach, bit by
	 * bit: `known` has those from `bits` on, those below `stop` are left zero.  Zeros after p
	 * don't count: what is asked for is never zero.
	 */
	uint32_t (*descend)(const float *p, size_t groups, size_t keep, uint32_t known,
			    unsigned int bits, unsigned int stop);

	/* put() - copy p; away: around the caches, to be followed by fence() before encode ends. */
	void (*put)(float *out, const float *p, size_t count, bool away);
	/* pass() - the same where p comes from memory: what follows it is fetched ahead. */
	void (*pass)(float *out, const float *p, size_t count, bool away);
	void (*fence)(void);
};

/* Where few of a group are kept: one after the other.  Return: how many. */
static inline size_t sparse_one_by_one(const float *p, uint64_t mask, uint32_t first,
				       uint32_t *index, float *value)
{
	size_t n = 0;

	for (; mask; mask &= mask - 1, n++) {
		size_t i = (size_t)__builtin_ctzll(mask);

		index[n] = first + (uint32_t)i;
		value[n] = p[i];
	}
	return n;
}

extern const struct sparse_kernels sparse_scalar;
#ifdef __x86_64__
extern const struct sparse_kernels sparse_avx2;
extern const struct sparse_kernels sparse_avx512;
#endif

#endif
