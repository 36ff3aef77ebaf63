/*
 * random.h - random numbers without a state: a draw is a function of what it is for.
 *
 * Stochastic rounding, random masks and rotations must not depend on threads, chunks, lanes or on
 * what is sent twice.  So nothing is drawn from a stream: the key says seed, step, tensor and rank,
 * the counter is the element's index in the tensor, and the same element gets the same draw on
 * every CPU variant.  What all ranks must draw alike (masks, rotations) leaves the rank out.
 *
 * Two rounds of multiply and shift on 32 bits, the second half of the key added in between: good
 * enough to round with, fast in vector registers (no 64-bit multiplications), not for secrets.
 */
#ifndef COMPRESS_RANDOM_H
#define COMPRESS_RANDOM_H

#include <stdint.h>

struct random_key {
	uint32_t low, high;
};

#define RANDOM_SHARED UINT32_MAX /* rank of draws that are the same on all ranks */

/* random_key() - seed of the job, step (op) number, tensor key, rank or RANDOM_SHARED. */
struct random_key random_key(uint64_t seed, uint64_t step, uint64_t tensor, uint32_t rank);

/* random_key_at() - the key for elements [2^32 i, 2^32 (i + 1)): counters are 32 bits wide. */
static inline struct random_key random_key_at(struct random_key key, uint64_t element)
{
	uint32_t i = (uint32_t)(element >> 32);

	return (struct random_key){key.low ^ i * 0x9e3779b9u, key.high + i * 0x85ebca6bu};
}

#define RANDOM_STEP 0x9e3779b1u

/*
 * random_at() - random_u32() of the element whose product with RANDOM_STEP, modulo 2^32, is
 * `place`: a loop adds RANDOM_STEP instead of multiplying.
 */
static inline uint32_t random_at(struct random_key key, uint32_t place)
{
	uint32_t x = place ^ key.low;

	x = (x ^ x >> 16) * 0x21f0aaadu;
	x += key.high;
	x = (x ^ x >> 15) * 0x735a2d97u;
	return x ^ x >> 15;
}

/* random_u32() - 32 random bits for an element; key from random_key_at(), element modulo 2^32. */
static inline uint32_t random_u32(struct random_key key, uint32_t element)
{
	return random_at(key, element * RANDOM_STEP);
}

/* random_unit() - uniform in [0, 1), a multiple of 2^-24; all values are exact float32. */
static inline float random_unit(struct random_key key, uint32_t element)
{
	return (float)(random_u32(key, element) >> 8) * 0x1p-24f;
}

#endif
