/*
 * lanes_bytes.h - for lanes_avx2.h and lanes_avx512.h: sixteen bytes to and from 4 and 2 bits
 * each, low bits first, and the last part of a sum.  Needs no more than AVX2.
 */
#ifndef COMPRESS_LANES_BYTES_H
#define COMPRESS_LANES_BYTES_H

#include "compress/inline.h"

#define LANE INLINE

LANE void bytes_narrow4(unsigned char *to, __m128i bytes)
{
	__m128i low = _mm_and_si128(bytes, _mm_set1_epi8(15));
	__m128i pairs = _mm_maddubs_epi16(low, _mm_set1_epi16(1 | 16 << 8));

	_mm_storel_epi64((__m128i *)(void *)to, _mm_packus_epi16(pairs, pairs));
}

LANE void bytes_narrow2(unsigned char *to, __m128i bytes)
{
	__m128i low = _mm_and_si128(bytes, _mm_set1_epi8(3));
	__m128i pairs = _mm_maddubs_epi16(low, _mm_set1_epi16(1 | 4 << 8));
	__m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(1 | 16 << 16));
	__m128i words = _mm_packus_epi32(fours, fours);
	int four = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));

	memcpy(to, &four, sizeof(four));
}

LANE __m128i bytes_widen4(const unsigned char *from)
{
	const __m128i value = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -7, -7, -6, -5, -4, -3, -2, -1);
	__m128i both = _mm_loadl_epi64((const __m128i *)(const void *)from);
	__m128i low = _mm_and_si128(both, _mm_set1_epi8(15));
	__m128i high = _mm_and_si128(_mm_srli_epi16(both, 4), _mm_set1_epi8(15));

	return _mm_shuffle_epi8(value, _mm_unpacklo_epi8(low, high));
}

LANE __m128i bytes_widen2(const unsigned char *from)
{
	const __m128i first = _mm_setr_epi8(-3, -1, 1, 3, -3, -1, 1, 3, -3, -1, 1, 3, -3, -1, 1, 3);
	const __m128i second =
		_mm_setr_epi8(-3, -3, -3, -3, -1, -1, -1, -1, 1, 1, 1, 1, 3, 3, 3, 3);
	__m128i fours, low, high, pairs;
	int four;

	memcpy(&four, from, sizeof(four));
	fours = _mm_cvtsi32_si128(four);
	low = _mm_and_si128(fours, _mm_set1_epi8(15));
	high = _mm_and_si128(_mm_srli_epi16(fours, 4), _mm_set1_epi8(15));
	pairs = _mm_unpacklo_epi8(low, high);
	return _mm_unpacklo_epi8(_mm_shuffle_epi8(first, pairs), _mm_shuffle_epi8(second, pairs));
}

LANE float sum_of_8(__m256 x)
{
	__m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
	__m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

LANE uint32_t most_of_8(__m256i x)
{
	__m128i four = _mm_max_epu32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
	__m128i two = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));

	return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(two, _mm_shuffle_epi32(two, 0xb1)));
}

#endif
