/* vector_reference.c - plain and slow: see vector_reference.h. */
#include "tests/unit/vector_reference.h"

#include <math.h>
#include <string.h>

struct format reference_format(enum vec_type type)
{
	return type == VEC_F16 ? (struct format){10, 5} : (struct format){7, 8};
}

float reference_widen(uint16_t half, struct format f)
{
	int exponent = half >> f.fraction_bits & ((1 << f.exponent_bits) - 1);
	int fraction = half & ((1 << f.fraction_bits) - 1);
	int bias = (1 << (f.exponent_bits - 1)) - 1;
	float magnitude;

	if (exponent == (1 << f.exponent_bits) - 1)
		magnitude = fraction ? NAN : INFINITY;
	else if (exponent)
		magnitude = ldexpf((float)(fraction + (1 << f.fraction_bits)),
				   exponent - bias - f.fraction_bits);
	else
		magnitude = ldexpf((float)fraction, 1 - bias - f.fraction_bits);
	return half & 0x8000 && !isnan(magnitude) ? -magnitude : magnitude;
}

/* The float is mantissa * 2^scale; the result counts steps between f16s, ties going to even. */
uint16_t reference_narrow(float value, struct format f)
{
	uint32_t bits = bits_of(value);
	int infinity = ((1 << f.exponent_bits) - 1) << f.fraction_bits;
	int least = 2 - (1 << (f.exponent_bits - 1)); /* exponent of the smallest normal */
	int sign = (int)(bits >> 16 & 0x8000);

	if (isnan(value))
		return (uint16_t)(infinity | 1 << (f.fraction_bits - 1));
	if (isinf(value))
		return (uint16_t)(sign | infinity);
	if (value == 0)
		return (uint16_t)sign;

	uint64_t mantissa = bits & 0x7fffff;
	int scale = (int)(bits >> 23 & 0xff);

	if (scale)
		mantissa |= 0x800000;
	else
		scale = 1;
	scale -= 127 + 23;

	int exponent = scale + 63 - __builtin_clzll(mantissa);

	if (exponent < least)
		exponent = least;

	int shift = exponent - f.fraction_bits - scale;

	if (shift > 40)
		return (uint16_t)sign;

	uint64_t units = mantissa >> shift;
	uint64_t rest = mantissa - (units << shift), half = (uint64_t)1 << (shift - 1);

	if (rest > half || (rest == half && units & 1))
		units++;

	int64_t result = (int64_t)units + ((int64_t)(exponent - least) << f.fraction_bits);

	return (uint16_t)(sign | (result < infinity ? (int)result : infinity));
}

#define REFERENCE_FLOAT(T)                                                            \
	static T fold_##T(enum vec_reduce reduce, T a, T b)                           \
	{                                                                             \
		bool a_first = a < b || (a == b && signbit(a));                       \
		switch (reduce) {                                                     \
		case VEC_SUM:                                                         \
		case VEC_AVG: return a + b;                                           \
		case VEC_PROD: return a * b;                                          \
		case VEC_MIN: return isnan(a) || isnan(b) ? (T)NAN : a_first ? a : b; \
		case VEC_MAX: return isnan(a) || isnan(b) ? (T)NAN : a_first ? b : a; \
		}                                                                     \
		return 0;                                                             \
	}

REFERENCE_FLOAT(float)
REFERENCE_FLOAT(double)

static const unsigned char *element(const struct vec_input *in, size_t i)
{
	return (const unsigned char *)in->data + i * vec_type_bytes(in->type);
}

static float float_at(const struct vec_input *in, size_t i)
{
	uint16_t half;
	float value;

	if (in->type == VEC_F32) {
		memcpy(&value, element(in, i), sizeof(value));
		return value;
	}
	memcpy(&half, element(in, i), sizeof(half));
	return reference_widen(half, reference_format(in->type));
}

static double double_at(const struct vec_input *in, size_t i)
{
	double value;

	memcpy(&value, element(in, i), sizeof(value));
	return value;
}

/* The low bits of an integer type's element as that type's value. */
static int64_t as_integer(enum vec_type type, uint64_t bits)
{
	if (type == VEC_I8)
		return (int8_t)(uint8_t)bits;
	if (type == VEC_U8)
		return (uint8_t)bits;
	if (type == VEC_I32)
		return (int32_t)(uint32_t)bits;
	return (int64_t)bits;
}

static int64_t integer_at(const struct vec_input *in, size_t i)
{
	uint64_t bits = 0; /* little-endian */

	memcpy(&bits, element(in, i), vec_type_bytes(in->type));
	return as_integer(in->type, bits);
}

static int64_t fold_integer(enum vec_type type, enum vec_reduce reduce, int64_t a, int64_t b)
{
	switch (reduce) {
	case VEC_SUM:
	case VEC_AVG: return as_integer(type, (uint64_t)a + (uint64_t)b);
	case VEC_PROD: return as_integer(type, (uint64_t)a * (uint64_t)b);
	case VEC_MIN: return a < b ? a : b;
	case VEC_MAX: return a < b ? b : a;
	}
	return 0;
}

static int64_t quotient(int64_t value, uint64_t divisor)
{
	if (divisor <= INT64_MAX)
		return value / (int64_t)divisor;
	return value == INT64_MIN && divisor == (uint64_t)1 << 63 ? -1 : 0;
}

static void reference_float(const struct call *c, size_t i, unsigned char *out)
{
	float value = float_at(&c->in[0], i);

	for (size_t k = 1; k < c->inputs; k++)
		value = fold_float(c->reduce, value, float_at(&c->in[k], i));
	if (c->divisor)
		value /= (float)c->divisor;
	if (isnan(value))
		value = float_of(0x7fc00000);

	uint16_t half = reference_narrow(value, reference_format(c->out_type));

	if (c->out_type == VEC_F32)
		memcpy(out, &value, sizeof(value));
	else
		memcpy(out, &half, sizeof(half));
}

static void reference_double(const struct call *c, size_t i, unsigned char *out)
{
	double value = double_at(&c->in[0], i);
	uint64_t quiet = 0x7ff8000000000000;

	for (size_t k = 1; k < c->inputs; k++)
		value = fold_double(c->reduce, value, double_at(&c->in[k], i));
	if (c->divisor)
		value /= (double)c->divisor;
	memcpy(out, isnan(value) ? (void *)&quiet : (void *)&value, sizeof(value));
}

static void reference_integer(const struct call *c, size_t i, unsigned char *out)
{
	int64_t value = integer_at(&c->in[0], i);

	for (size_t k = 1; k < c->inputs; k++)
		value = fold_integer(c->type, c->reduce, value, integer_at(&c->in[k], i));
	if (c->divisor)
		value = quotient(value, c->divisor);
	memcpy(out, &value, vec_type_bytes(c->type));
}

void reference_combine(const struct call *c, unsigned char *out)
{
	size_t bytes = vec_type_bytes(c->out_type);

	for (size_t i = 0; i < c->count; i++, out += bytes) {
		if (c->inputs == 1 && !c->divisor && c->in[0].type == c->out_type)
			memcpy(out, element(&c->in[0], i), bytes);
		else if (vec_sum_type(c->type) == VEC_F32)
			reference_float(c, i, out);
		else if (c->type == VEC_F64)
			reference_double(c, i, out);
		else
			reference_integer(c, i, out);
	}
}
