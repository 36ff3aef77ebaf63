/*
 * vector_avx512.c - the kernels in 512-bit registers: AVX-512 F, BW, DQ and VL (Skylake-SP, Zen 4).
 *
 * AVX512_BF16's conversion is not used: it flushes denormals.
 * Only code after the pragma is compiled for these CPUs; vec_avx512_supported() runs on all.
 */
#include "compress/vector_variants.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <string.h>

#define VARIANT avx512

bool vec_avx512_supported(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#ifdef __clang__
#pragma clang attribute push(                                                    \
	__attribute__((target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), \
	apply_to = function)
#else
#pragma GCC target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")
#endif

typedef __m512 f32v;
typedef __m512d f64v;
typedef __m256i halfv;
typedef int8_t i8v __attribute__((vector_size(64)));
typedef uint8_t u8v __attribute__((vector_size(64)));
typedef int32_t i32v __attribute__((vector_size(64)));
typedef uint32_t u32v __attribute__((vector_size(64)));
typedef int64_t i64v __attribute__((vector_size(64)));
typedef uint64_t u64v __attribute__((vector_size(64)));

#define PICK(V, less, a, b) (((a) & (V)(less)) | ((b) & ~(V)(less)))

static inline f32v nan_where_f32v(f32v v, f32v a, f32v b)
{
	return _mm512_mask_mov_ps(v, _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q),
				  _mm512_set1_ps(__builtin_nanf("")));
}

static inline f64v nan_where_f64v(f64v v, f64v a, f64v b)
{
	return _mm512_mask_mov_pd(v, _mm512_cmp_pd_mask(a, b, _CMP_UNORD_Q),
				  _mm512_set1_pd(__builtin_nan("")));
}

static inline f32v canonical_f32v(f32v v)
{
	return nan_where_f32v(v, v, v);
}

static inline f64v canonical_f64v(f64v v)
{
	return nan_where_f64v(v, v, v);
}

/* Both orders, because the instructions return the second operand on a tie: see vector_avx2.c. */
static inline f32v smaller_f32v(f32v a, f32v b)
{
	return nan_where_f32v(_mm512_or_ps(_mm512_min_ps(a, b), _mm512_min_ps(b, a)), a, b);
}

static inline f32v larger_f32v(f32v a, f32v b)
{
	return nan_where_f32v(_mm512_and_ps(_mm512_max_ps(a, b), _mm512_max_ps(b, a)), a, b);
}

static inline f64v smaller_f64v(f64v a, f64v b)
{
	return nan_where_f64v(_mm512_or_pd(_mm512_min_pd(a, b), _mm512_min_pd(b, a)), a, b);
}

static inline f64v larger_f64v(f64v a, f64v b)
{
	return nan_where_f64v(_mm512_and_pd(_mm512_max_pd(a, b), _mm512_max_pd(b, a)), a, b);
}

static inline f32v widen_f16(halfv half)
{
	return _mm512_cvtph_ps(half);
}

/* The masked form of all lanes: without optimisation gcc 12's plain one is a macro that warns. */
static inline halfv narrow_f16(f32v v)
{
	return _mm512_maskz_cvtps_ph(0xffff, v, _MM_FROUND_TO_NEAREST_INT);
}

static inline f32v widen_bf16(halfv half)
{
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* As in vector_scalar.c. */
static inline halfv narrow_bf16(f32v v)
{
	u32v bits = (u32v)v;

	return _mm512_cvtepi32_epi16((__m512i)((bits + 0x7fff + (bits >> 16 & 1)) >> 16));
}

#include "compress/vector_loops.h"

#ifdef __clang__
#pragma clang attribute pop
#endif

#else
typedef int vector_avx512_is_for_x86; /* ISO C forbids an empty file */
#endif
