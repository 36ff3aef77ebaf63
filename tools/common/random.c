/*
 * random.c - see random.h.
 */
#include "tools/common/random.h"

uint64_t random_seed(uint64_t seed, uint64_t stream)
{
	uint64_t state = seed, first = random_next(&state);

	state = first ^ stream;
	return random_next(&state);
}

double random_unit(uint64_t *state)
{
	return (double)(random_next(state) >> 11) * 0x1p-53;
}

/* Below `bound`: the words that would favour small numbers are thrown away. */
static uint64_t below(uint64_t *state, uint64_t bound)
{
	uint64_t surplus = -bound % bound; /* 2^64 mod bound */
	uint64_t x;

	do
		x = random_next(state);
	while (x < surplus);
	return x % bound;
}

void random_shuffle(uint64_t *state, uint32_t *order, size_t count)
{
	for (size_t left = count; left > 1; left--) {
		size_t pick = below(state, left);
		uint32_t last = order[left - 1];

		order[left - 1] = order[pick];
		order[pick] = last;
	}
}
