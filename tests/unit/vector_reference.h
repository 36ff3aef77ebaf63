/*
 * vector_reference.h - what vec_combine() must give, worked out one element at a time.
 *
 * It rounds to f16 and bf16 in integers and reads them by ldexp(), so that it shares nothing with
 * the kernels but the promises of compress/vector.h.
 */
#ifndef TESTS_UNIT_VECTOR_REFERENCE_H
#define TESTS_UNIT_VECTOR_REFERENCE_H

#include <string.h>

#include "compress/vector.h"

#define INPUTS_MAX 9

struct format { /* of a 16-bit float */
	int fraction_bits, exponent_bits;
};

struct call { /* the arguments of vec_combine() */
	enum vec_type type, out_type;
	enum vec_reduce reduce;
	struct vec_input in[INPUTS_MAX];
	size_t inputs, count;
	uint64_t divisor;
};

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

struct format reference_format(enum vec_type type); /* VEC_F16 or VEC_BF16 */
float reference_widen(uint16_t half, struct format f);
uint16_t reference_narrow(float value, struct format f);

/* reference_combine() - out_type[count]: the bits that every variant must give. */
void reference_combine(const struct call *c, unsigned char *out);

#endif
