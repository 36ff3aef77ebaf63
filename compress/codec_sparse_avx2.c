/*
 * codec_sparse_avx2.c - the loops of sparse codecs in 256-bit registers.
 *
 * Only code after the pragma is compiled for these CPUs, those of vec_avx2_supported(): every one
 * that has AVX2 has POPCNT.
 */
#include "compress/codec_sparse_kernels.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <string.h>

#define VARIANT avx2

enum { FEW = 4 }; /* elements of a group: below, one by one is quicker */

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,f16c,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,f16c,popcnt")
#endif

/* Magnitudes have no sign bit, so that the signed comparison orders them. */
static inline uint64_t mask_of(const float *p, uint32_t least)
{
	const __m256i below = _mm256_set1_epi32((int)least - 1);
	const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
	uint64_t bits = 0;

	for (int i = 0; i < SPARSE_GROUP / 8; i++) {
		__m256i v = _mm256_castps_si256(_mm256_loadu_ps(p + 8 * i));
		__m256i at_least = _mm256_cmpgt_epi32(_mm256_and_si256(v, magnitude), below);
		int byte = _mm256_movemask_ps(_mm256_castsi256_ps(at_least));

		bits |= (uint64_t)(unsigned int)byte << 8 * i;
	}
	return bits;
}

/* Of eight elements, the places of those that a byte's bits name, a byte each. */
#define PLACE(mask, i) \
	((mask) >> (i)&1 ? (uint64_t)(i) << 8 * __builtin_popcount((mask) & ((1 << (i)) - 1)) : 0)
#define PLACES(mask)                                                                          \
	(PLACE(mask, 0) | PLACE(mask, 1) | PLACE(mask, 2) | PLACE(mask, 3) | PLACE(mask, 4) | \
	 PLACE(mask, 5) | PLACE(mask, 6) | PLACE(mask, 7))
#define PLACES_4(mask) PLACES(mask), PLACES(mask + 1), PLACES(mask + 2), PLACES(mask + 3)
#define PLACES_16(mask) PLACES_4(mask), PLACES_4(mask + 4), PLACES_4(mask + 8), PLACES_4(mask + 12)
#define PLACES_64(mask) \
	PLACES_16(mask), PLACES_16(mask + 16), PLACES_16(mask + 32), PLACES_16(mask + 48)

static const uint64_t places_of[256] = {PLACES_64(0), PLACES_64(64), PLACES_64(128),
					PLACES_64(192)};

static inline size_t collect_group(const float *p, const uint32_t *from, uint64_t mask,
				   uint32_t first, uint32_t *index, float *value)
{
	size_t n = 0;

	if (__builtin_popcountll(mask) < FEW)
		return sparse_one_by_one(p, from, mask, first, index, value);
	for (uint32_t i = 0; i < SPARSE_GROUP; i += 8) {
		unsigned int kept = mask >> i & 255;
		__m256i places = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)places_of[kept]));
		__m256 v = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p + i), places);
		__m256i at = _mm256_add_epi32(places, _mm256_set1_epi32((int)(first + i)));

		if (from)
			at = _mm256_permutevar8x32_epi32(
				_mm256_loadu_si256((const __m256i *)(const void *)(from + i)),
				places);
		_mm256_storeu_si256((__m256i *)(void *)(index + n), at);
		_mm256_storeu_ps(value + n, v);
		n += (size_t)__builtin_popcount(kept);
	}
	return n;
}

static inline void stream_line(float *out, const float *p)
{
	_mm256_stream_ps(out, _mm256_loadu_ps(p));
	_mm256_stream_ps(out + 8, _mm256_loadu_ps(p + 8));
}

static void stream_end(void)
{
	_mm_sfence();
}

#include "compress/codec_sparse_loops.h"

#ifdef __clang__
#pragma clang attribute pop
#endif

#else
typedef int codec_sparse_avx2_is_for_x86; /* ISO C forbids an empty file */
#endif
