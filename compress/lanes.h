/*
 * lanes.h - registers of LANES floats, for loops that are written once for all CPU variants.
 *
 * A .c file of one variant defines LANES (1: plain C, 8: AVX2, 16: AVX-512),
 * includes this, then the loops, then lanes_end.h.  What lies between is compiled for that CPU.
 * Everything here is elementwise, so an element's bits do not depend on LANES.
 *
 *   types    f32v, u32v, i32v: one register; arithmetic operators work on them
 *   memory   load_f32v(), store_f32v(): any alignment; load_bytes(), store_bytes(): LANES bytes,
 *            each widened to, or taken from, 32 bits; load_signed(): the same with their signs
 *   lanes    swap_1 .. swap_8 (v): lane i gets lane i ^ 1 .. i ^ 8; only those below LANES
 *            lane_of(v, i): each lane gets that lane of v which its i says, modulo LANES; not
 *            with 1 lane
 *            lane_numbers(): 0, 1, ..; likewise
 *   order    larger(a, b), smaller(a, b): lane by lane, of i32v; greatest_lane(v)
 *   bits     gather_top(v): bit i is the top bit of lane i
 *            flip(v, word, first): -v in the lanes i where the word has bit first + i
 *            add_signed(v, minus, w): w + v, w - v in the lanes where minus is the sign bit
 *            subtract(v, w): v - w; 8 lanes: by what multiplies and adds, beside additions
 *            limit(v, most): what is beyond -most or most becomes that; v is no NaN
 *   tables   look_up(table, i): table[i] in each lane; the table has 16 places, of which 8
 *            lanes know the first 8, and regard the lowest 3 bits of i
 *   PICK(less, a, b): lane by lane less ? a : b, of u32v;  ONE_WHERE(less): 1 or 0
 */
#ifndef COMPRESS_LANES_H
#define COMPRESS_LANES_H

#include <stdint.h>
#include <string.h>

#include "compress/inline.h"

#if LANES > 1
#include <immintrin.h>
#endif

#if LANES == 8 && defined __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#elif LANES == 8
#pragma GCC target("avx2,fma")
#elif LANES == 16 && defined __clang__
#pragma clang attribute push(__attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl"))), \
			     apply_to = function)
#elif LANES == 16
#pragma GCC target("avx2,avx512f,avx512bw,avx512dq,avx512vl")
#endif

#if LANES == 1 /* there are many of them */
#undef UNROLL
#define UNROLL
#endif

#if LANES == 1

typedef float f32v;
typedef uint32_t u32v;
typedef int32_t i32v;

#define PICK(less, a, b) ((less) ? (a) : (b))
#define ONE_WHERE(less) ((u32v)(less))

INLINE u32v bits_of(f32v v)
{
	u32v bits;

	memcpy(&bits, &v, sizeof(bits));
	return bits;
}

INLINE f32v floats_of(u32v bits)
{
	f32v v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

INLINE f32v load_f32v(const float *from)
{
	return *from;
}

INLINE void store_f32v(float *to, f32v v)
{
	*to = v;
}

INLINE u32v load_bytes(const uint8_t *from)
{
	return *from;
}

INLINE u32v load_signed(const uint8_t *from)
{
	return (u32v)(int8_t)*from;
}

INLINE void store_bytes(uint8_t *to, u32v v)
{
	*to = (uint8_t)v;
}

INLINE uint32_t gather_top(u32v v)
{
	return v >> 31;
}

INLINE f32v flip(f32v v, uint32_t word, uint32_t first)
{
	return floats_of(bits_of(v) ^ word >> first << 31);
}

INLINE f32v subtract(f32v v, f32v w)
{
	return v - w;
}

INLINE f32v limit(f32v v, float most)
{
	return v > most ? most : v < -most ? -most : v;
}

INLINE i32v larger(i32v a, i32v b)
{
	return a > b ? a : b;
}

INLINE i32v smaller(i32v a, i32v b)
{
	return a < b ? a : b;
}

INLINE uint32_t greatest_lane(i32v v)
{
	return (uint32_t)v;
}

INLINE f32v look_up(const float *table, u32v i)
{
	return table[i];
}

#else

typedef float f32v __attribute__((vector_size(4 * LANES)));
typedef uint32_t u32v __attribute__((vector_size(4 * LANES)));
typedef int32_t i32v __attribute__((vector_size(4 * LANES)));
typedef uint8_t u8v __attribute__((vector_size(LANES)));

#define PICK(less, a, b) (((a) & (u32v)(less)) | ((b) & ~(u32v)(less)))
#define ONE_WHERE(less) (-(u32v)(less))

INLINE u32v bits_of(f32v v)
{
	return (u32v)v;
}

INLINE f32v floats_of(u32v bits)
{
	return (f32v)bits;
}

/* Packed structs, not memcpy(): clang 14 takes a fortified memcpy() through the stack. */
struct lanes_f32v {
	f32v v;
} __attribute__((packed, may_alias));

struct lanes_u8v {
	u8v v;
} __attribute__((packed, may_alias));

INLINE f32v load_f32v(const float *from)
{
	return ((const struct lanes_f32v *)(const void *)from)->v;
}

INLINE void store_f32v(float *to, f32v v)
{
	((struct lanes_f32v *)(void *)to)->v = v;
}

#if LANES == 8

#define SWAP(name, type, ...)                                      \
	INLINE type name(type v)                                   \
	{                                                          \
		return __builtin_shufflevector(v, v, __VA_ARGS__); \
	}

SWAP(swap_1, f32v, 1, 0, 3, 2, 5, 4, 7, 6)
SWAP(swap_2, f32v, 2, 3, 0, 1, 6, 7, 4, 5)
SWAP(swap_4, f32v, 4, 5, 6, 7, 0, 1, 2, 3)

INLINE u32v load_bytes(const uint8_t *from)
{
	return (u32v)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from));
}

INLINE u32v load_signed(const uint8_t *from)
{
	return (u32v)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from));
}

/* The packs work within 128-bit halves, whose first four bytes are then put together. */
INLINE void store_bytes(uint8_t *to, u32v v)
{
	__m256i words = _mm256_packus_epi32((__m256i)v, (__m256i)v);
	__m256i bytes = _mm256_packus_epi16(words, words);
	__m128i all = _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes),
					 _mm256_extracti128_si256(bytes, 1));

	_mm_storel_epi64((__m128i *)(void *)to, all);
}

INLINE uint32_t gather_top(u32v v)
{
	return (uint32_t)_mm256_movemask_ps((__m256)v);
}

INLINE f32v lane_of(f32v v, u32v i)
{
	return (f32v)_mm256_permutevar8x32_ps((__m256)v, (__m256i)i);
}

INLINE i32v larger(i32v a, i32v b)
{
	return (i32v)_mm256_max_epi32((__m256i)a, (__m256i)b);
}

INLINE i32v smaller(i32v a, i32v b)
{
	return (i32v)_mm256_min_epi32((__m256i)a, (__m256i)b);
}

INLINE u32v lane_numbers(void)
{
	return (u32v){0, 1, 2, 3, 4, 5, 6, 7};
}

INLINE f32v flip(f32v v, uint32_t word, uint32_t first)
{
	u32v signs = ((u32v){0} + word) << (31 - first - lane_numbers()) & 0x80000000;

	return floats_of(bits_of(v) ^ signs);
}

/* A product with 1 or -1 is exact, so this rounds as often as an addition. */
INLINE f32v add_signed(f32v v, u32v minus, f32v w)
{
	__m256 one = (__m256)(minus | bits_of((f32v){0} + 1));

	return (f32v)_mm256_fmadd_ps((__m256)v, one, (__m256)w);
}

/* The bits of v - w, likewise: some CPUs have units that only add beside those that do both. */
INLINE f32v subtract(f32v v, f32v w)
{
	return (f32v)_mm256_fnmadd_ps((__m256)w, _mm256_set1_ps(1), (__m256)v);
}

INLINE f32v limit(f32v v, float most)
{
	__m256 below = _mm256_min_ps((__m256)v, _mm256_set1_ps(most));

	return (f32v)_mm256_max_ps(below, _mm256_set1_ps(-most));
}

#else

#define SWAP(name, type, ...)                                      \
	INLINE type name(type v)                                   \
	{                                                          \
		return __builtin_shufflevector(v, v, __VA_ARGS__); \
	}

SWAP(swap_1, f32v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
SWAP(swap_2, f32v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
SWAP(swap_4, f32v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)
SWAP(swap_8, f32v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)

INLINE u32v load_bytes(const uint8_t *from)
{
	return (u32v)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)from));
}

INLINE u32v load_signed(const uint8_t *from)
{
	return (u32v)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)from));
}

INLINE void store_bytes(uint8_t *to, u32v v)
{
	_mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8((__m512i)v));
}

INLINE uint32_t gather_top(u32v v)
{
	return _mm512_movepi32_mask((__m512i)v);
}

INLINE f32v lane_of(f32v v, u32v i)
{
	return (f32v)_mm512_permutexvar_ps((__m512i)i, (__m512)v);
}

INLINE i32v larger(i32v a, i32v b)
{
	return (i32v)_mm512_max_epi32((__m512i)a, (__m512i)b);
}

INLINE i32v smaller(i32v a, i32v b)
{
	return (i32v)_mm512_min_epi32((__m512i)a, (__m512i)b);
}

INLINE u32v lane_numbers(void)
{
	return (u32v){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}

INLINE f32v flip(f32v v, uint32_t word, uint32_t first)
{
	return (f32v)_mm512_mask_xor_ps((__m512)v, (__mmask16)(word >> first), (__m512)v,
					_mm512_set1_ps(-0.0f));
}

INLINE f32v add_signed(f32v v, u32v minus, f32v w) /* as with 8 lanes */
{
	__m512 one = (__m512)(minus | bits_of((f32v){0} + 1));

	return (f32v)_mm512_fmadd_ps((__m512)v, one, (__m512)w);
}

INLINE f32v subtract(f32v v, f32v w)
{
	return v - w;
}

INLINE f32v limit(f32v v, float most)
{
	enum { LEAST_MAGNITUDE = 2 }; /* with the sign of the first */

	return (f32v)_mm512_range_ps((__m512)v, _mm512_set1_ps(most), LEAST_MAGNITUDE);
}

#endif
#undef SWAP

INLINE f32v look_up(const float *table, u32v i)
{
	return lane_of(load_f32v(table), i);
}

INLINE uint32_t greatest_lane(i32v v)
{
	v = larger(v, (i32v)swap_1((f32v)v));
	v = larger(v, (i32v)swap_2((f32v)v));
	v = larger(v, (i32v)swap_4((f32v)v));
#if LANES == 16
	v = larger(v, (i32v)swap_8((f32v)v));
#endif
	return (uint32_t)v[0];
}

#endif

#endif
