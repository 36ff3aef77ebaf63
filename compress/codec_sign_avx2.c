/* codec_sign_avx2.c - the loops of codec_sign.c in 256-bit registers; see vector_avx2.c. */
#include "compress/codec_sign_kernels.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "compress/inline.h"

#define VARIANT avx2

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,f16c")
#endif

typedef struct {
	__m256 low, high;
} v16;

typedef struct {
	__m256d a, b, c, d;
} sums16;

INLINE v16 load16(const float *from)
{
	return (v16){_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}

INLINE void store16(float *to, v16 v)
{
	_mm256_storeu_ps(to, v.low);
	_mm256_storeu_ps(to + 8, v.high);
}

INLINE void stream16(float *to, v16 v)
{
	_mm256_stream_ps(to, v.low);
	_mm256_stream_ps(to + 8, v.high);
}

INLINE v16 splat16(float x)
{
	return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

INLINE v16 add16(v16 a, v16 b)
{
	return (v16){_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}

INLINE v16 subtract16(v16 a, v16 b)
{
	return (v16){_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}

INLINE v16 multiply16(v16 a, v16 b)
{
	return (v16){_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}

INLINE __m256 below_zero8(__m256 v)
{
	return _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ);
}

INLINE unsigned int below_zero16(v16 v)
{
	return (unsigned int)_mm256_movemask_ps(below_zero8(v.low)) |
	       (unsigned int)_mm256_movemask_ps(below_zero8(v.high)) << 8;
}

INLINE v16 by_sign16(v16 v, v16 plus, v16 minus)
{
	return (v16){_mm256_blendv_ps(plus.low, minus.low, below_zero8(v.low)),
		     _mm256_blendv_ps(plus.high, minus.high, below_zero8(v.high))};
}

/* Only the top bit of each element of what selects counts: the bit is shifted there. */
INLINE v16 by_bits16(unsigned int bits, v16 plus, v16 minus)
{
	__m256i all = _mm256_set1_epi32((int)bits);
	__m256i low = _mm256_sllv_epi32(all, _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24));
	__m256i high = _mm256_sllv_epi32(all, _mm256_setr_epi32(23, 22, 21, 20, 19, 18, 17, 16));

	return (v16){_mm256_blendv_ps(plus.low, minus.low, _mm256_castsi256_ps(low)),
		     _mm256_blendv_ps(plus.high, minus.high, _mm256_castsi256_ps(high))};
}

INLINE sums16 sums_zero(void)
{
	__m256d zero = _mm256_setzero_pd();

	return (sums16){zero, zero, zero, zero};
}

INLINE __m256d low_doubles(__m256 v)
{
	return _mm256_cvtps_pd(_mm256_castps256_ps128(v));
}

INLINE __m256d high_doubles(__m256 v)
{
	return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
}

INLINE v16 magnitudes16(v16 v)
{
	__m256 sign = _mm256_set1_ps(-0.0f);

	return (v16){_mm256_andnot_ps(sign, v.low), _mm256_andnot_ps(sign, v.high)};
}

INLINE sums16 sums_add(sums16 s, v16 v)
{
	return (sums16){
		_mm256_add_pd(s.a, low_doubles(v.low)), _mm256_add_pd(s.b, high_doubles(v.low)),
		_mm256_add_pd(s.c, low_doubles(v.high)), _mm256_add_pd(s.d, high_doubles(v.high))};
}

INLINE __m256d add_square(__m256d s, __m256d v)
{
	return _mm256_add_pd(s, _mm256_mul_pd(v, v));
}

INLINE sums16 sums_squares(sums16 s, v16 v)
{
	return (sums16){add_square(s.a, low_doubles(v.low)), add_square(s.b, high_doubles(v.low)),
			add_square(s.c, low_doubles(v.high)),
			add_square(s.d, high_doubles(v.high))};
}

INLINE void sums_store(double *to, sums16 s)
{
	_mm256_storeu_pd(to, s.a);
	_mm256_storeu_pd(to + 4, s.b);
	_mm256_storeu_pd(to + 8, s.c);
	_mm256_storeu_pd(to + 12, s.d);
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
typedef int codec_sign_avx2_is_for_x86; /* ISO C forbids an empty file */
#endif
