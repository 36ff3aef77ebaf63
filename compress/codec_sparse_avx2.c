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

#include "compress/inline.h"

#define VARIANT avx2

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

	UNROLL for (int i = 0; i < SPARSE_GROUP / 8; i++)
	{
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

/* Of eight elements, how many before each a byte's bits name; 0x80 where it is not named. */
#define RANK(mask, i)                                                                       \
	((uint64_t)((mask) >> (i)&1 ? __builtin_popcount((mask) & ((1 << (i)) - 1)) : 0x80) \
	 << 8 * (i))
#define RANKS(mask)                                                                      \
	(RANK(mask, 0) | RANK(mask, 1) | RANK(mask, 2) | RANK(mask, 3) | RANK(mask, 4) | \
	 RANK(mask, 5) | RANK(mask, 6) | RANK(mask, 7))
#define RANKS_4(mask) RANKS(mask), RANKS(mask + 1), RANKS(mask + 2), RANKS(mask + 3)
#define RANKS_16(mask) RANKS_4(mask), RANKS_4(mask + 4), RANKS_4(mask + 8), RANKS_4(mask + 12)
#define RANKS_64(mask) RANKS_16(mask), RANKS_16(mask + 16), RANKS_16(mask + 32), RANKS_16(mask + 48)

static const uint64_t ranks_of[256] = {RANKS_64(0), RANKS_64(64), RANKS_64(128), RANKS_64(192)};

/* The next values to the lanes that `kept` names; *others has the sign bit in the others. */
static inline __m256 expand_8(const float *value, uint32_t kept, __m256 *others)
{
	__m256i ranks = _mm256_cvtepi8_epi32(_mm_cvtsi64_si128((int64_t)ranks_of[kept]));

	*others = _mm256_castsi256_ps(ranks);
	return _mm256_permutevar8x32_ps(_mm256_loadu_ps(value), ranks);
}

static inline size_t expand_line(const float *value, uint32_t kept, float *out)
{
	const float *next = value;

	for (int i = 0; i < 2; i++, kept >>= 8) {
		__m256 others, v = expand_8(next, kept & 255, &others);

		v = _mm256_blendv_ps(v, _mm256_setzero_ps(), others);
		_mm256_storeu_ps(out + 8 * i, v);
		next += __builtin_popcount(kept & 255);
	}
	return (size_t)(next - value);
}

static inline size_t expand_add_line(const float *value, uint32_t kept, float weight, float *sum)
{
	const float *next = value;

	for (int i = 0; i < 2; i++, kept >>= 8) {
		__m256 others, v = expand_8(next, kept & 255, &others);
		__m256 old = _mm256_loadu_ps(sum + 8 * i);

		v = _mm256_add_ps(old, _mm256_mul_ps(v, _mm256_set1_ps(weight)));
		_mm256_storeu_ps(sum + 8 * i, _mm256_blendv_ps(v, old, others));
		next += __builtin_popcount(kept & 255);
	}
	return (size_t)(next - value);
}

static inline size_t collect_group(const float *p, const uint32_t *from, uint64_t mask,
				   uint32_t first, uint32_t *index, float *value)
{
	size_t n = 0;

	if (__builtin_popcountll(mask) <= SPARSE_SOME)
		return sparse_some(p, from, mask, first, index, value);
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

static inline void copy_line(float *out, const unsigned char *bytes)
{
	const __m256i_u *from = (const void *)bytes;

	_mm256_storeu_ps(out, _mm256_castsi256_ps(_mm256_loadu_si256(from)));
	_mm256_storeu_ps(out + 8, _mm256_castsi256_ps(_mm256_loadu_si256(from + 1)));
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
