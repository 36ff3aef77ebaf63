/*
 * codec_sparse_avx512.c - the loops of sparse codecs in 512-bit registers.
 *
 * Only code after the pragma is compiled for these CPUs, those of vec_avx512_supported().
 */
#include "compress/codec_sparse_kernels.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <string.h>

#include "compress/inline.h"

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

	UNROLL for (int i = 0; i < SPARSE_GROUP / 16; i++)
	{
		__m512i v = _mm512_and_si512(_mm512_loadu_si512(p + 16 * i), magnitude);

		bits |= (uint64_t)_mm512_cmp_epu32_mask(v, bound, _MM_CMPINT_NLT) << 16 * i;
	}
	return bits;
}

static inline size_t collect_group(const float *p, const uint32_t *from, uint64_t mask,
				   uint32_t first, uint32_t *index, float *value)
{
	const __m512i places =
		_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	size_t n = 0;

	if (__builtin_popcountll(mask) <= SPARSE_SOME)
		return sparse_some(p, from, mask, first, index, value);
	for (uint32_t i = 0; i < SPARSE_GROUP; i += 16) {
		__mmask16 kept = (__mmask16)(mask >> i);
		__m512i at = from ? _mm512_loadu_si512(from + i)
				  : _mm512_add_epi32(_mm512_set1_epi32((int)(first + i)), places);
		__m512 v = _mm512_loadu_ps(p + i);

		_mm512_storeu_si512(index + n, _mm512_maskz_compress_epi32(kept, at));
		_mm512_storeu_ps(value + n, _mm512_maskz_compress_ps(kept, v));
		n += (size_t)__builtin_popcount(kept);
	}
	return n;
}

static inline size_t expand_line(const float *value, uint32_t kept, float *out)
{
	__m512 v = _mm512_maskz_expand_ps((__mmask16)kept, _mm512_loadu_ps(value));

	_mm512_storeu_ps(out, v);
	return (size_t)__builtin_popcount(kept);
}

static inline size_t expand_add_line(const float *value, uint32_t kept, float weight, float *sum)
{
	__m512 v = _mm512_maskz_expand_ps((__mmask16)kept, _mm512_loadu_ps(value));
	__m512 old = _mm512_loadu_ps(sum), more = _mm512_mul_ps(v, _mm512_set1_ps(weight));

	_mm512_storeu_ps(sum, _mm512_mask_add_ps(old, (__mmask16)kept, old, more));
	return (size_t)__builtin_popcount(kept);
}

static inline void copy_line(float *out, const unsigned char *bytes)
{
	_mm512_storeu_ps(out, _mm512_loadu_ps(bytes));
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
