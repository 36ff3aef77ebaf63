/*
 * pattern.h - inputs of an allreduce whose result is known exactly.
 *
 * Every element belongs to one of PATTERN_CLASSES classes, picked by a hash of its
 * index.  A rank's value depends on (class, rank, salt) alone, so the result for a
 * class is worked out once, by a plain loop over the ranks, and filling or checking
 * an element is one look-up, whatever the type, the reduction and the ranks.
 *
 * The result is exact in any order of summation, so one bit off is an error:
 *
 *   integers     any value; sums and products wrap (products of odd values,
 *                which never vanish); an average is the wrapped sum divided
 *                by the ranks, toward zero
 *   f32, f64     sum avg min max: integers so small that no partial sum rounds;
 *   f16, bf16    the 16-bit types sum in fp32 and are rounded once, to even
 *                prod: signs, at most PATTERN_FACTORS powers of two, one 3, one 5
 *
 * No value is zero in a product, NaN or -0, so equal means equal bits.
 */
#ifndef TOOLS_PERF_PATTERN_H
#define TOOLS_PERF_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#include "libclient/carry.h"

#define PATTERN_CLASSES 4096u
#define PATTERN_FACTORS 8u

/* Values are bit patterns, in the low bytes. */
struct pattern {
	size_t type_bytes;
	uint64_t salt;
	uint64_t input[PATTERN_CLASSES];    /* of this rank  */
	uint64_t expected[PATTERN_CLASSES]; /* of everybody  */
};

/* What a check found. */
struct pattern_wrong {
	uint64_t count;
	uint64_t first; /* index of the first one; the rest is valid if count > 0 */
	uint64_t got;
	uint64_t expected;
};

/* pattern_type_bytes() - bytes of an element. */
size_t pattern_type_bytes(enum carry_type type);

/* pattern_make() - @salt: another one gives another pattern.  rank < ranks <= 65536. */
void pattern_make(struct pattern *p, enum carry_type type, enum carry_reduce reduce, uint32_t ranks,
		  uint32_t rank, uint64_t salt);

/* pattern_fill() - write this rank's input to out[count]. */
void pattern_fill(const struct pattern *p, void *out, size_t count);

/* pattern_spoil() - write to out[count] what is wrong in every element. */
void pattern_spoil(const struct pattern *p, void *out, size_t count);

/* How far a result is from the exact one; of f32, f16 and bf16. */
struct pattern_error {
	double relative; /* l2 norm of the error / l2 norm of the exact result; 0 if that is 0 */
	double greatest; /* of an element, absolute                                            */
};
struct pattern_error pattern_error(const struct pattern *p, enum carry_type type, const void *got,
				   size_t count);

/* pattern_check() - compare got[count] with the expected result, bit by bit. */
struct pattern_wrong pattern_check(const struct pattern *p, const void *got, size_t count);

#endif
