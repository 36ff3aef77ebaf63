/*
 * lanes.h - registers of LANES floats, for loops that are written once for all CPU variants.
 *
 * A .c file of one variant defines LANES (1: plain C, 8: AVX2, 16: AVX-512),
 * includes this, then the loops, then lanes_end.h.  What lies between is compiled for that CPU.
 * Everything here is elementwise, so an element's bits do not depend on LANES.
 *
 *   types    f32v, u32v, i32v: one register; arithmetic operators work on them
 *   memory   load_f32v(), store_f32v(): any alignment; load_bytes(), store_bytes(): LANES bytes,
 *            each widened to, or taken from, 32 bits
 *   lanes    swap_1 .. swap_8 (v): lane i gets lane i ^ 1 .. i ^ 8; only those below LANES
 *   bits     gather_top(v): bit i is the top bit of lane i
 *            spread(word): lane i is bit i of the word, 0 or 1
 *   tables   look_up(table, i): table[i] in each lane, i below 8; the table has 16 places
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
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#elif LANES == 8
#pragma GCC target("avx2")
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

INLINE void store_bytes(uint8_t *to, u32v v)
{
	*to = (uint8_t)v;
}

INLINE uint32_t gather_top(u32v v)
{
	return v >> 31;
}

INLINE u32v spread(uint32_t word)
{
	return word & 1;
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

INLINE f32v look_up(const float *table, u32v i)
{
	return (f32v)_mm256_permutevar8x32_ps((__m256)load_f32v(table), (__m256i)i);
}

INLINE u32v lane_numbers(void)
{
	return (u32v){0, 1, 2, 3, 4, 5, 6, 7};
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

INLINE void store_bytes(uint8_t *to, u32v v)
{
	_mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8((__m512i)v));
}

INLINE uint32_t gather_top(u32v v)
{
	return _mm512_movepi32_mask((__m512i)v);
}

INLINE f32v look_up(const float *table, u32v i)
{
	return (f32v)_mm512_permutexvar_ps((__m512i)i, (__m512)load_f32v(table));
}

INLINE u32v lane_numbers(void)
{
	return (u32v){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}

#endif
#undef SWAP

INLINE u32v spread(uint32_t word)
{
	return ((u32v){0} + word) >> lane_numbers() & 1;
}

INLINE i32v larger(i32v a, i32v b)
{
	return (i32v)PICK(a > b, (u32v)a, (u32v)b);
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
