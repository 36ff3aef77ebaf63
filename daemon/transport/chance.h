/*
 * chance.h - random numbers that a seed repeats; for the simulator and for faults.
 *
 * splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
 */
#ifndef DAEMON_TRANSPORT_CHANCE_H
#define DAEMON_TRANSPORT_CHANCE_H

#include <stdint.h>

/* chance_below() - the next number in 0..below-1; `*state` starts as the seed.  below > 0. */
static inline uint64_t chance_below(uint64_t *state, uint64_t below)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (z ^ z >> 31) % below;
}

#endif
