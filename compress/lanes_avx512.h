/*
 * lanes_avx512.h - sixteen lanes in one register: AVX-512 F, BW, DQ, VL.  What the functions do is
 * said in lanes_scalar.h.  To be included where these instructions are switched on.
 */
#ifndef COMPRESS_LANES_AVX512_H
#define COMPRESS_LANES_AVX512_H

#include "compress/lanes_bytes.h"

typedef __m512 f32x16;
typedef __m512i u32x16;
typedef uint32_t u32v __attribute__((vector_size(64)));

#define LANES_2(V, name, op)     \
	LANE V name(V x, V y)    \
	{                        \
		return op(x, y); \
	}

LANES_2(f32x16, f_add, _mm512_add_ps)
LANES_2(f32x16, f_sub, _mm512_sub_ps)
LANES_2(f32x16, f_mul, _mm512_mul_ps)
LANES_2(f32x16, f_min, _mm512_min_ps)
LANES_2(f32x16, f_max, _mm512_max_ps)
LANES_2(u32x16, u_add, _mm512_add_epi32)
LANES_2(u32x16, u_and, _mm512_and_si512)
LANES_2(u32x16, u_or, _mm512_or_si512)
LANES_2(u32x16, u_xor, _mm512_xor_si512)
LANES_2(u32x16, u_mul, _mm512_mullo_epi32)
LANES_2(u32x16, u_max, _mm512_max_epu32)

LANE f32x16 f_set(float value)
{
	return _mm512_set1_ps(value);
}

LANE u32x16 u_set(uint32_t value)
{
	return _mm512_set1_epi32((int)value);
}

LANE u32x16 u_lanes(void)
{
	return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

LANE f32x16 f_load(const float *from)
{
	return _mm512_loadu_ps(from);
}

LANE void f_store(float *to, f32x16 x)
{
	_mm512_storeu_ps(to, x);
}

LANE void f_stream(float *to, f32x16 x)
{
	_mm512_stream_ps(to, x);
}

LANE void stream_end(void)
{
	_mm_sfence();
}

LANE f32x16 f_above(f32x16 x, f32x16 least, f32x16 y)
{
	return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, least, _CMP_GT_OQ), y);
}

LANE float f_sum(f32x16 x)
{
	return sum_of_8(_mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1)));
}

LANE u32x16 u_right(u32x16 x, int bits)
{
	return (u32x16)((u32v)x >> bits); /* without optimisation, the intrinsic is a macro */
}

LANE uint32_t u_most(u32x16 x)
{
	return most_of_8(
		_mm256_max_epu32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1)));
}

LANE f32x16 f_of(u32x16 x)
{
	return _mm512_castsi512_ps(x);
}

LANE u32x16 u_of(f32x16 x)
{
	return _mm512_castps_si512(x);
}

LANE f32x16 f_from(u32x16 x)
{
	return _mm512_cvtepi32_ps(x);
}

LANE u32x16 f_nearest(f32x16 x)
{
	return _mm512_cvtps_epi32(x);
}

LANE void narrow8(unsigned char *to, u32x16 x)
{
	_mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8(x));
}

LANE void narrow4(unsigned char *to, u32x16 x)
{
	bytes_narrow4(to, _mm512_cvtepi32_epi8(x));
}

LANE void narrow2(unsigned char *to, u32x16 x)
{
	bytes_narrow2(to, _mm512_cvtepi32_epi8(x));
}

/* The packs work within 128-bit quarters: of each, four bytes of a, of b, of c, of d. */
LANE __m512i low_bytes_64(u32x16 a, u32x16 b, u32x16 c, u32x16 d)
{
	return _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
}

/* One store of 64 bytes would always be across two cache lines. */
LANE void narrow8_64(unsigned char *to, u32x16 a, u32x16 b, u32x16 c, u32x16 d)
{
	narrow8(to, a);
	narrow8(to + 16, b);
	narrow8(to + 32, c);
	narrow8(to + 48, d);
}

LANE void narrow4_64(unsigned char *to, u32x16 a, u32x16 b, u32x16 c, u32x16 d)
{
	const __m256i order =
		_mm256_setr_epi16(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	__m512i low = _mm512_and_si512(low_bytes_64(a, b, c, d), _mm512_set1_epi8(15));
	__m512i pairs = _mm512_maddubs_epi16(low, _mm512_set1_epi16(1 | 16 << 8));
	__m256i bytes = _mm512_cvtepi16_epi8(pairs);

	_mm256_storeu_si256((__m256i *)(void *)to, _mm256_permutexvar_epi16(order, bytes));
}

LANE u32x16 widen8(const unsigned char *from)
{
	__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)from);

	return _mm512_cvtepi8_epi32(_mm_max_epi8(bytes, _mm_set1_epi8(-127)));
}

LANE u32x16 widen4(const unsigned char *from)
{
	return _mm512_cvtepi8_epi32(bytes_widen4(from));
}

LANE u32x16 widen2(const unsigned char *from)
{
	return _mm512_cvtepi8_epi32(bytes_widen2(from));
}

#undef LANES_2

#endif
