/* codec_sign_avx512.c - the loops of codec_sign.c in 512-bit registers; see vector_avx512.c. */
#include "compress/codec_sign_kernels.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "compress/inline.h"

#define VARIANT avx512

#ifdef __clang__
#pragma clang attribute push(                                                    \
	__attribute__((target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), \
	apply_to = function)
#else
#pragma GCC target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")
#endif

typedef __m512 v16;

typedef struct {
	__m512d low, high;
} sums16;

INLINE v16 load16(const float *from)
{
	return _mm512_loadu_ps(from);
}

INLINE void store16(float *to, v16 v)
{
	_mm512_storeu_ps(to, v);
}

INLINE void stream16(float *to, v16 v)
{
	_mm512_stream_ps(to, v);
}

INLINE v16 splat16(float x)
{
	return _mm512_set1_ps(x);
}

INLINE v16 add16(v16 a, v16 b)
{
	return _mm512_add_ps(a, b);
}

INLINE v16 subtract16(v16 a, v16 b)
{
	return _mm512_sub_ps(a, b);
}

INLINE v16 multiply16(v16 a, v16 b)
{
	return _mm512_mul_ps(a, b);
}

INLINE unsigned int below_zero16(v16 v)
{
	return _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ);
}

INLINE v16 by_bits16(unsigned int bits, v16 plus, v16 minus)
{
	return _mm512_mask_blend_ps((__mmask16)bits, plus, minus);
}

INLINE v16 by_sign16(v16 v, v16 plus, v16 minus)
{
	return by_bits16(below_zero16(v), plus, minus);
}

INLINE sums16 sums_zero(void)
{
	return (sums16){_mm512_setzero_pd(), _mm512_setzero_pd()};
}

INLINE __m512d low_doubles(__m512 v)
{
	return _mm512_cvtps_pd(_mm512_castps512_ps256(v));
}

INLINE __m512d high_doubles(__m512 v)
{
	return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
}

INLINE v16 magnitudes16(v16 v)
{
	return _mm512_abs_ps(v);
}

INLINE sums16 sums_add(sums16 s, v16 v)
{
	return (sums16){_mm512_add_pd(s.low, low_doubles(v)),
			_mm512_add_pd(s.high, high_doubles(v))};
}

INLINE __m512d add_square(__m512d s, __m512d v)
{
	return _mm512_add_pd(s, _mm512_mul_pd(v, v));
}

INLINE sums16 sums_squares(sums16 s, v16 v)
{
	return (sums16){add_square(s.low, low_doubles(v)), add_square(s.high, high_doubles(v))};
}

INLINE void sums_store(double *to, sums16 s)
{
	_mm512_storeu_pd(to, s.low);
	_mm512_storeu_pd(to + 8, s.high);
}

static void fence(void)
{
	_mm_sfence();
}

#include "compress/codec_sign_loops.h"

#ifdef __clang__
#pragma clang attribute pop
#endif

#else
typedef int codec_sign_avx512_is_for_x86; /* ISO C forbids an empty file */
#endif
