/*
 * vector_scalar.c - the kernels in plain C, one element at a time, for any CPU.
 *
 * The f16 conversions here define what the others get from hardware: IEEE 754 binary16, denormals
 * included, round to nearest even, overflow to infinity.
 */
#include "compress/vector_variants.h"

#include <string.h>

#define VARIANT scalar

typedef float f32v;
typedef double f64v;
typedef uint16_t halfv;
typedef int8_t i8v;
typedef uint8_t u8v;
typedef int32_t i32v;
typedef uint32_t u32v;
typedef int64_t i64v;
typedef uint64_t u64v;

#define PICK(V, less, a, b) ((less) ? (a) : (b))

static inline uint32_t bits_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static inline float float_of(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static inline f32v canonical_f32v(f32v v)
{
	return v != v ? __builtin_nanf("") : v;
}

static inline f64v canonical_f64v(f64v v)
{
	return v != v ? __builtin_nan("") : v;
}

/* Equal and not both zero means the same bits, so only the sign of zeros decides on a tie. */
static inline f32v smaller_f32v(f32v a, f32v b)
{
	f32v least = a < b || (a == b && __builtin_signbit(a)) ? a : b;

	return a != a || b != b ? __builtin_nanf("") : least;
}

static inline f32v larger_f32v(f32v a, f32v b)
{
	f32v most = a > b || (a == b && __builtin_signbit(b)) ? a : b;

	return a != a || b != b ? __builtin_nanf("") : most;
}

static inline f64v smaller_f64v(f64v a, f64v b)
{
	f64v least = a < b || (a == b && __builtin_signbit(a)) ? a : b;

	return a != a || b != b ? __builtin_nan("") : least;
}

static inline f64v larger_f64v(f64v a, f64v b)
{
	f64v most = a > b || (a == b && __builtin_signbit(b)) ? a : b;

	return a != a || b != b ? __builtin_nan("") : most;
}

static inline f32v widen_f16(halfv half)
{
	uint32_t sign = (uint32_t)(half & 0x8000) << 16;
	uint32_t magnitude = half & 0x7fff;

	if (magnitude >= 0x7c00) /* infinity, NaN */
		return float_of(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
	if (magnitude >= 0x0400) /* the exponent's bias goes from 15 to 127 */
		return float_of(sign | (magnitude + ((127 - 15) << 10)) << 13);

	float denormal = (float)magnitude * 0x1p-24f;

	return sign ? -denormal : denormal;
}

static inline halfv narrow_f16(f32v v)
{
	uint32_t bits = bits_of(v);
	uint32_t sign = bits >> 16 & 0x8000;
	uint32_t magnitude = bits & 0x7fffffff;
	uint32_t half;

	if (magnitude > 0x7f800000) /* NaN */
		half = 0x7e00;
	else if (magnitude >= 0x477ff000) /* 65520, half way from the largest to the next */
		half = 0x7c00;
	else if (magnitude >= 0x38800000) /* 2^-14, the smallest normal */
		half = (magnitude - ((127 - 15) << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
	else /* floats from 0.5 on are as far apart as f16's denormals: the sum rounds */
		half = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
	return (halfv)(sign | half);
}

static inline f32v widen_bf16(halfv half)
{
	return float_of((uint32_t)half << 16);
}

static inline halfv narrow_bf16(f32v v)
{
	uint32_t bits = bits_of(v);

	return (halfv)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#include "compress/vector_loops.h"
