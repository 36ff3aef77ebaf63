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
#include <string.h>

#include "compress/inline.h"

enum {
	SPARSE_GROUP = 64,  /* elements of a mask                */
	SPARSE_TILE = 1024, /* elements of a tile: 4 KiB of stack */
	SPARSE_MASKS = SPARSE_TILE / SPARSE_GROUP,
};

/* What is made of a tile; [count] of each vector, but for the lists. */
struct sparse_tile {
	const float *in, *residual; /* p = in + scale * residual (NULL: in)             */
	float scale;
	size_t count;
	uint32_t first; /* index of the first element                       */
	uint32_t least; /* magnitude that is kept                           */
	bool narrow;    /* values are sent as bfloat16: what they lose stays */
	bool away;      /* `left` goes around the caches if aligned to 64   */
	float *left;    /* p without what is sent                           */
	uint32_t *index;
	float *value; /* what is kept, as it is in p                      */
};

struct sparse_reach {
	uint32_t magnitude;
	size_t count; /* that have at least it */
};

struct sparse_kernels {
	/*
	 * source() - p = in + scale * residual (NULL: in), zeros after it up to a whole group
	 * Return: the greatest magnitude.
	 */
	uint32_t (*source)(const float *in, const float *residual, float scale, float *p,
			   size_t count);

	/*
	 * put_source() - put(left, before, .., true) of a whole tile and source() of the next in
	 * one loop, so that memory reads and writes at once.  `left` is aligned to 64.
	 */
	uint32_t (*put_source)(float *left, const float *before, const float *in,
			       const float *residual, float scale, float *p);

	/*
	 * collect() - which of p[count] have at least that magnitude, zeros after p up to a whole
	 * group: their indices, p[0] being `first`, and values.  The lists have room for as many as
	 * p has with its zeros; there may be anything behind what is kept.
	 * Return: how many.
	 */
	size_t (*collect)(const float *p, size_t count, uint32_t first, uint32_t least,
			  uint32_t *index, float *value);

	/* filter() - only what has that magnitude stays in a list; otherwise as collect(). */
	size_t (*filter)(uint32_t *index, float *value, size_t count, uint32_t least);

	/*
	 * reach() - source() and collect() of a tile in one pass
	 * @greatest: raised to the tile's greatest magnitude
	 * Return: how many are kept.  Fence() is needed if away.
	 */
	size_t (*reach)(const struct sparse_tile *tile, uint32_t *greatest);

	/*
	 * split() - of a tile of whole groups, whose `in` is p, what reaches `least`, if that is
	 * `keep` elements: a bit each in the bitmap, and the others, or what is lost, to left
	 * (NULL: nowhere)
	 * Return: is it as many?  If not, nothing was written.  Fence() is needed if away.
	 */
	bool (*split)(const struct sparse_tile *tile, size_t keep, unsigned char *bitmap);

	/*
	 * between() - a magnitude that exactly `keep` of p[64 * groups] reach, if one is met; else
	 * one that more do, at most `apart` below one that fewer do.  With apart = 1 that is
	 * the greatest.
	 * @low: is reached by at least keep
	 * @high: is reached by fewer
	 * Zeros after p don't count: what is asked for is above low.
	 */
	uint32_t (*between)(const float *p, size_t groups, size_t keep, struct sparse_reach low,
			    uint32_t high, uint32_t apart);

	/* narrow() - finite values to bfloat16: to nearest even, saturating. */
	void (*narrow)(const float *value, size_t count, unsigned char *out);

	/*
	 * read() - values as narrow() wrote them, or float32; any bytes
	 * Return: the greatest magnitude.
	 */
	uint32_t (*read)(const unsigned char *bytes, bool narrowed, size_t count, float *value);

	/* ones() - the bits of ceil(count / 8) bytes, those beyond `count` being zero. */
	size_t (*ones)(const unsigned char *bitmap, size_t count);

	/*
	 * expand() - where the bitmap has a bit, the next value; elsewhere zero
	 * expand_add() - where it has a bit, weight * the next value is added
	 * @value: as many as there are bits, and 16 more that can be read
	 */
	void (*expand)(const unsigned char *bitmap, const float *value, size_t count, float *out);
	void (*expand_add)(const unsigned char *bitmap, const float *value, float weight,
			   size_t count, float *sum);

	/* put() - copy p; away: around the caches, to be followed by fence() before encode ends. */
	void (*put)(float *out, const float *p, size_t count, bool away);
	/* pass() - the same where p comes from memory: what follows it is fetched ahead. */
	void (*pass)(float *out, const float *p, size_t count, bool away);
	void (*fence)(void);
};

/*
 * Where few of a group are kept: one after the other.  Those of p are at `first` and on, or where
 * `from` says.  Return: how many.
 */
static inline size_t sparse_one_by_one(const float *p, const uint32_t *from, uint64_t mask,
				       uint32_t first, uint32_t *index, float *value)
{
	size_t n = 0;

	for (; mask; mask &= mask - 1, n++) {
		size_t i = (size_t)__builtin_ctzll(mask);

		index[n] = from ? from[i] : first + (uint32_t)i;
		value[n] = p[i];
	}
	return n;
}

enum { SPARSE_SOME = 4 };

/*
 * The same of at most SPARSE_SOME, and quicker: how many there are is as good as random, so as many
 * are written in any case.  What is read was so before anything of this group is overwritten.
 */
static inline size_t sparse_some(const float *p, const uint32_t *from, uint64_t mask,
				 uint32_t first, uint32_t *index, float *value)
{
	const uint64_t last = (uint64_t)1 << (SPARSE_GROUP - 1);
	size_t kept = (size_t)__builtin_popcountll(mask);

	UNROLL for (size_t n = 0; n < SPARSE_SOME; n++, mask &= mask - 1)
	{
		size_t i = (size_t)__builtin_ctzll(mask | last);

		index[n] = from ? from[i] : first + (uint32_t)i;
		value[n] = p[i];
	}
	return kept;
}

/* Finite to bfloat16, to nearest even; what is too large becomes the greatest number. */
static inline uint16_t sparse_narrow(float value)
{
	uint32_t bits;
	int32_t top; /* signed: registers compare only such */

	memcpy(&bits, &value, sizeof(bits));
	top = (int32_t)(((bits & 0x7fffffffu) + 0x7fff + (bits >> 16 & 1)) >> 16);
	top = top < 0x7f7f ? top : 0x7f7f;
	return (uint16_t)((bits >> 16 & 0x8000) | (uint32_t)top);
}

static inline float sparse_widen(uint16_t narrow)
{
	uint32_t bits = (uint32_t)narrow << 16;
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

extern const struct sparse_kernels sparse_scalar;
#ifdef __x86_64__
extern const struct sparse_kernels sparse_avx2;
extern const struct sparse_kernels sparse_avx512;
#endif

#endif
