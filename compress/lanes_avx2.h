/*
 * lanes_avx2.h - sixteen lanes in two registers of AVX2.  What the functions do is said in
 * lanes_scalar.h.  To be included where these instructions are switched on.
 */
#ifndef COMPRESS_LANES_AVX2_H
#define COMPRESS_LANES_AVX2_H

#include "compress/lanes_bytes.h"

typedef struct {
	__m256 a, b;
} f32x16;
typedef struct {
	__m256i a, b;
} u32x16;

#define LANES_2(V, name, op)                            \
	LANE V name(V x, V y)                           \
	{                                               \
		return (V){op(x.a, y.a), op(x.b, y.b)}; \
	}

LANES_2(f32x16, f_add, _mm256_add_ps)
LANES_2(f32x16, f_sub, _mm256_sub_ps)
LANES_2(f32x16, f_mul, _mm256_mul_ps)
LANES_2(f32x16, f_min, _mm256_min_ps)
LANES_2(f32x16, f_max, _mm256_max_ps)
LANES_2(u32x16, u_add, _mm256_add_epi32)
LANES_2(u32x16, u_and, _mm256_and_si256)
LANES_2(u32x16, u_or, _mm256_or_si256)
LANES_2(u32x16, u_xor, _mm256_xor_si256)
LANES_2(u32x16, u_mul, _mm256_mullo_epi32)
LANES_2(u32x16, u_max, _mm256_max_epu32)

LANE f32x16 f_set(float value)
{
	__m256 half = _mm256_set1_ps(value);

	return (f32x16){half, half};
}

LANE u32x16 u_set(uint32_t value)
{
	__m256i half = _mm256_set1_epi32((int)value);

	return (u32x16){half, half};
}

LANE u32x16 u_lanes(void)
{
	return (u32x16){_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
			_mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}

LANE f32x16 f_load(const float *from)
{
	return (f32x16){_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}

LANE void f_store(float *to, f32x16 x)
{
	_mm256_storeu_ps(to, x.a);
	_mm256_storeu_ps(to + 8, x.b);
}

LANE void f_stream(float *to, f32x16 x)
{
	_mm256_stream_ps(to, x.a);
	_mm256_stream_ps(to + 8, x.b);
}

LANE void stream_end(void)
{
	_mm_sfence();
}

LANE f32x16 f_above(f32x16 x, f32x16 least, f32x16 y)
{
	return (f32x16){_mm256_and_ps(_mm256_cmp_ps(x.a, least.a, _CMP_GT_OQ), y.a),
			_mm256_and_ps(_mm256_cmp_ps(x.b, least.b, _CMP_GT_OQ), y.b)};
}

LANE float f_sum(f32x16 x)
{
	return sum_of_8(_mm256_add_ps(x.a, x.b));
}

LANE u32x16 u_right(u32x16 x, int bits)
{
	return (u32x16){_mm256_srli_epi32(x.a, bits), _mm256_srli_epi32(x.b, bits)};
}

LANE uint32_t u_most(u32x16 x)
{
	return most_of_8(_mm256_max_epu32(x.a, x.b));
}

LANE f32x16 f_of(u32x16 x)
{
	return (f32x16){_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}

LANE u32x16 u_of(f32x16 x)
{
	return (u32x16){_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}

LANE f32x16 f_from(u32x16 x)
{
	return (f32x16){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}

LANE u32x16 f_nearest(f32x16 x)
{
	return (u32x16){_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}

/* The packs work within 128-bit halves, the permutation puts the quarters in order. */
LANE __m128i low_bytes(u32x16 x)
{
	const __m256i low = _mm256_set1_epi32(255);
	__m256i words = _mm256_packus_epi32(_mm256_and_si256(x.a, low), _mm256_and_si256(x.b, low));

	words = _mm256_permute4x64_epi64(words, _MM_SHUFFLE(3, 1, 2, 0));
	return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

LANE void narrow8(unsigned char *to, u32x16 x)
{
	_mm_storeu_si128((__m128i *)(void *)to, low_bytes(x));
}

LANE void narrow4(unsigned char *to, u32x16 x)
{
	bytes_narrow4(to, low_bytes(x));
}

LANE void narrow2(unsigned char *to, u32x16 x)
{
	bytes_narrow2(to, low_bytes(x));
}

/* Of each 128-bit half: four bytes of x.a, of x.b, of y.a, of y.b. */
LANE __m256i low_bytes_32(u32x16 x, u32x16 y)
{
	return _mm256_packs_epi16(_mm256_packs_epi32(x.a, x.b), _mm256_packs_epi32(y.a, y.b));
}

LANE void narrow8_64(unsigned char *to, u32x16 a, u32x16 b, u32x16 c, u32x16 d)
{
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	__m256i first = _mm256_permutevar8x32_epi32(low_bytes_32(a, b), order);
	__m256i second = _mm256_permutevar8x32_epi32(low_bytes_32(c, d), order);

	_mm256_storeu_si256((__m256i *)(void *)to, first);
	_mm256_storeu_si256((__m256i *)(void *)(to + 32), second);
}

LANE __m256i low_pairs_32(u32x16 x, u32x16 y)
{
	__m256i low = _mm256_and_si256(low_bytes_32(x, y), _mm256_set1_epi8(15));

	return _mm256_maddubs_epi16(low, _mm256_set1_epi16(1 | 16 << 8));
}

/* Each half has two bytes of every register. */
LANE void narrow4_64(unsigned char *to, u32x16 a, u32x16 b, u32x16 c, u32x16 d)
{
	__m256i bytes = _mm256_packus_epi16(low_pairs_32(a, b), low_pairs_32(c, d));
	__m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);

	_mm_storeu_si128((__m128i *)(void *)to, _mm_unpacklo_epi16(low, high));
	_mm_storeu_si128((__m128i *)(void *)(to + 16), _mm_unpackhi_epi16(low, high));
}

LANE u32x16 from_bytes(__m128i bytes)
{
	return (u32x16){_mm256_cvtepi8_epi32(bytes),
			_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))};
}

LANE u32x16 widen8(const unsigned char *from)
{
	__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)from);

	return from_bytes(_mm_max_epi8(bytes, _mm_set1_epi8(-127)));
}

LANE u32x16 widen4(const unsigned char *from)
{
	return from_bytes(bytes_widen4(from));
}

LANE u32x16 widen2(const unsigned char *from)
{
	return from_bytes(bytes_widen2(from));
}

#undef LANES_2

#endif
