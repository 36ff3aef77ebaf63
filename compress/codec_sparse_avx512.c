/*
 * codec_sparse_avx512.c - the loops of sparse codecs in 512-bit registers.
 *
 * Only code after the pragma is compiled for these CPUs, those of vec_avx512_supported().
 */
#include "compress/codec_sparse_kernels.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <string.h>

#define VARIANT avx512

#ifdef __clang__
#pragma clang attribute push(                                                           \
	__attribute__((target("avx2,f16c,popcnt,avx512f,avx512bw,avx512dq,avx512vl"))), \
	apply_to = function)
#else
#pragma GCC target("avx2,f16c,popcnt,avx512f,avx512bw,avx512dq,avx512vl")
#endif

static inline uint64_t mask_of(const float *p, uint32_t least)
{
	const __m512i bound = _mm512_set1_epi32((int)least);
	const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
	uint64_t bits = 0;

	for (int i = 0; i < SPARSE_GROUP / 16; i++) {
		__m512i v = _mm512_and_si512(_mm512_loadu_si512(p + 16 * i), magnitude);

		bits |= (uint64_t)_mm512_cmp_epu32_mask(v, bound, _MM_CMPINT_NLT) << 16 * i;
	}
	return bits;
}

static inline void stream_line(float *out, const float *p)
{
	_mm512_stream_ps(out, _mm512_loadu_ps(p));
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
typedef int codec_sparse_avx512_is_for_x86; /* ISO C forbids an empty file */
#endif
