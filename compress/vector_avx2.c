/*
 * vector_avx2.c - the kernels in 256-bit registers: AVX2, FMA and F16C (Intel from 2013, AMD from
 * 2015).
 *
 * Only code after the pragma is compiled for these CPUs; vec_avx2_supported() runs on all.
 */
#include "compress/vector_variants.h"

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#define VARIANT avx2

/* clang 14's __builtin_cpu_supports() doesn't know F16C. */
bool vec_avx2_supported(void)
{
	unsigned int a, b, c, d;

	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
	       __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,f16c")
#endif

typedef __m256 f32v;
typedef __m256d f64v;
typedef __m128i halfv;
typedef int8_t i8v __attribute__((vector_size(32)));
typedef uint8_t u8v __attribute__((vector_size(32)));
typedef int32_t i32v __attribute__((vector_size(32)));
typedef uint32_t u32v __attribute__((vector_size(32)));
typedef int64_t i64v __attribute__((vector_size(32)));
typedef uint64_t u64v __attribute__((vector_size(32)));

#define PICK(V, less, a, b) (((a) & (V)(less)) | ((b) & ~(V)(less)))

static inline f32v nan_where_f32v(f32v v, f32v a, f32v b)
{
	return _mm256_blendv_ps(v, _mm256_set1_ps(__builtin_nanf("")),
				_mm256_cmp_ps(a, b, _CMP_UNORD_Q));
}

static inline f64v nan_where_f64v(f64v v, f64v a, f64v b)
{
	return _mm256_blendv_pd(v, _mm256_set1_pd(__builtin_nan("")),
				_mm256_cmp_pd(a, b, _CMP_UNORD_Q));
}

static inline f32v canonical_f32v(f32v v)
{
	return nan_where_f32v(v, v, v);
}

static inline f64v canonical_f64v(f64v v)
{
	return nan_where_f64v(v, v, v);
}

/*
 * On a tie the instructions return the second operand.  Both orders together give both zeros,
 * whose OR is -0 and whose AND is +0; otherwise a tie has the same bits and so has the result.
 */
static inline f32v smaller_f32v(f32v a, f32v b)
{
	return nan_where_f32v(_mm256_or_ps(_mm256_min_ps(a, b), _mm256_min_ps(b, a)), a, b);
}

static inline f32v larger_f32v(f32v a, f32v b)
{
	return nan_where_f32v(_mm256_and_ps(_mm256_max_ps(a, b), _mm256_max_ps(b, a)), a, b);
}

static inline f64v smaller_f64v(f64v a, f64v b)
{
	return nan_where_f64v(_mm256_or_pd(_mm256_min_pd(a, b), _mm256_min_pd(b, a)), a, b);
}

static inline f64v larger_f64v(f64v a, f64v b)
{
	return nan_where_f64v(_mm256_and_pd(_mm256_max_pd(a, b), _mm256_max_pd(b, a)), a, b);
}

static inline f32v widen_f16(halfv half)
{
	return _mm256_cvtph_ps(half);
}

static inline halfv narrow_f16(f32v v)
{
	return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
}

static inline f32v widen_bf16(halfv half)
{
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* As in vector_scalar.c; the pack works within 128-bit halves, the permutation joins them. */
static inline halfv narrow_bf16(f32v v)
{
	u32v bits = (u32v)v;
	__m256i top = (__m256i)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
	__m256i packed = _mm256_packus_epi32(top, top);

	return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, _MM_SHUFFLE(3, 1, 2, 0)));
}

#include "compress/vector_loops.h"

#ifdef __clang__
#pragma clang attribute pop
#endif

#else
typedef int vector_avx2_is_for_x86; /* ISO C forbids an empty file */
#endif
