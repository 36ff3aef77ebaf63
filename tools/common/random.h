/*
 * random.h - pseudo-random numbers that are the same everywhere for the same seed.
 *
 * splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
 * OOPSLA 2014): one 64-bit word of state, any start is good.
 */
#ifndef TOOLS_COMMON_RANDOM_H
#define TOOLS_COMMON_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* random_seed() - a state of its own for every (seed, stream). */
uint64_t random_seed(uint64_t seed, uint64_t stream);

/* random_next() - 64 random bits.  Here, because tests draw by the hundred million. */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* random_unit() - in [0, 1), a multiple of 2^-53. */
double random_unit(uint64_t *state);

/* random_shuffle() - put order[count] into random order, each order equally likely. */
void random_shuffle(uint64_t *state, uint32_t *order, size_t count);

#endif
