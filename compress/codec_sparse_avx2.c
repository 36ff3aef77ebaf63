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

#define collect_group sparse_one_by_one

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
