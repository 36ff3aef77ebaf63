/*
 * codec_sparse_loops.h - the loops of codec_sparse_kernels.h for one CPU variant.  Each
 * codec_sparse_VARIANT.c includes it once; before it, it defines
 *
 *   VARIANT                                    its name; the table will be sparse_VARIANT
 *   uint64_t mask_of(const float *p, uint32_t least)   the mask of one group
 *   size_t collect_group(const float *p, uint64_t mask, uint32_t first, uint32_t *index,
 *                        float *value)                 what the mask says, and their number
 *   void stream_line(float *out, const float *p)       16 elements, out aligned to 64
 *   void stream_end(void)                              orders what was streamed
 *
 * The trip counts of the innermost loops are constant, so that compilers make them wide.
 */
#include "compress/inline.h"

enum { LINE = 16 }; /* elements of a cache line */

/*
 * What follows a tile is fetched while the tile is worked on: memory would be idle then.  Beyond
 * the end of a vector it is in vain, but does no harm.
 */
INLINE void ahead(const float *at)
{
	uintptr_t next = (uintptr_t)at + SPARSE_TILE * sizeof(*at);

	__builtin_prefetch((const void *)next, 0, 2);
}

INLINE uint32_t magnitude_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits & 0x7fffffffu;
}

/* One group of p; the greatest magnitudes are kept lane by lane. */
INLINE void source_group(const float *restrict in, const float *restrict residual, float scale,
			 float *restrict p, uint32_t *restrict greatest)
{
	for (size_t i = 0; i < SPARSE_GROUP; i += LINE) {
		ahead(in + i);
		if (residual)
			ahead(residual + i);
	}
	for (size_t i = 0; i < SPARSE_GROUP; i++)
		p[i] = residual ? in[i] + scale * residual[i] : in[i];
	for (size_t line = 0; line < SPARSE_GROUP; line += LINE)
		for (size_t i = 0; i < LINE; i++) {
			uint32_t magnitude = magnitude_of(p[line + i]);

			greatest[i] = magnitude > greatest[i] ? magnitude : greatest[i];
		}
}

static uint32_t source(const float *in, const float *residual, float scale, float *p, size_t count)
{
	float rest_in[SPARSE_GROUP] = {0}, rest_residual[SPARSE_GROUP] = {0};
	uint32_t greatest[LINE] = {0}, most = 0;
	size_t at = 0, left = count % SPARSE_GROUP;

	if (residual)
		for (; at + SPARSE_GROUP <= count; at += SPARSE_GROUP)
			source_group(in + at, residual + at, scale, p + at, greatest);
	else
		for (; at + SPARSE_GROUP <= count; at += SPARSE_GROUP)
			source_group(in + at, NULL, 0, p + at, greatest);
	if (left) {
		memcpy(rest_in, in + at, left * sizeof(*in));
		if (residual)
			memcpy(rest_residual, residual + at, left * sizeof(*in));
		source_group(rest_in, residual ? rest_residual : NULL, scale, p + at, greatest);
	}
	for (size_t i = 0; i < LINE; i++)
		most = greatest[i] > most ? greatest[i] : most;
	return most;
}

static size_t collect(const float *p, size_t count, uint32_t first, uint32_t least, uint32_t *index,
		      float *value)
{
	uint64_t masks[SPARSE_MASKS];
	size_t n = 0;

	for (size_t tile = 0; tile < count; tile += SPARSE_TILE) {
		size_t left = count - tile < SPARSE_TILE ? count - tile : SPARSE_TILE;
		size_t groups = (left + SPARSE_GROUP - 1) / SPARSE_GROUP;

		for (size_t g = 0; g < groups; g++)
			masks[g] = mask_of(p + tile + g * SPARSE_GROUP, least);
		if (left % SPARSE_GROUP) /* the zeros after p are none of it */
			masks[groups - 1] &= ((uint64_t)1 << left % SPARSE_GROUP) - 1;
		for (size_t g = 0; g < groups; g++) {
			size_t at = tile + g * SPARSE_GROUP;

			n += collect_group(p + at, masks[g], first + (uint32_t)at, index + n,
					   value + n);
		}
	}
	return n;
}

static size_t count_of(const float *p, size_t groups, uint32_t least)
{
	size_t n = 0;

	for (size_t g = 0; g < groups; g++)
		n += (size_t)__builtin_popcountll(mask_of(p + g * SPARSE_GROUP, least));
	return n;
}

static uint32_t descend(const float *p, size_t groups, size_t keep, uint32_t known,
			unsigned int bits, unsigned int stop)
{
	while (bits-- > stop) {
		uint32_t more = known | (uint32_t)1 << bits;

		known = count_of(p, groups, more) >= keep ? more : known;
	}
	return known;
}

static void put(float *out, const float *p, size_t count, bool away)
{
	if (away && ((uintptr_t)out & 63) == 0)
		for (; count >= LINE; count -= LINE, out += LINE, p += LINE)
			stream_line(out, p);
	memcpy(out, p, count * sizeof(*p));
}

static void pass(float *out, const float *p, size_t count, bool away)
{
	if (away && ((uintptr_t)out & 63) == 0) {
		for (; count >= LINE; count -= LINE, out += LINE, p += LINE) {
			ahead(p);
			stream_line(out, p);
		}
	} else {
		for (size_t i = 0; i < count; i += LINE)
			ahead(p + i);
	}
	memcpy(out, p, count * sizeof(*p));
}

#define JOIN(a, b) a##b
#define STRUCT_OF(variant) JOIN(sparse_, variant)

const struct sparse_kernels STRUCT_OF(VARIANT) = {
	.source = source,
	.collect = collect,
	.count = count_of,
	.descend = descend,
	.put = put,
	.pass = pass,
	.fence = stream_end,
};
