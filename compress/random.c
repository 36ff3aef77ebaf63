/* random.c - keys of random draws; see random.h. */
#include "compress/random.h"

/* A bijection of 64 bits in which each bit changes about half of all (Stafford's variant 13). */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

struct random_key random_key(uint64_t seed, uint64_t step, uint64_t tensor, uint32_t rank)
{
	uint64_t x = mix(seed + 0x9e3779b97f4a7c15u);

	x = mix(x ^ (step + 0xd1b54a32d192ed03u));
	x = mix(x ^ (tensor + 0x8cb92ba72f3d8dd7u));
	x = mix(x ^ (rank + 0xaef17502108ef2d9u));
	return (struct random_key){(uint32_t)x, (uint32_t)(x >> 32)};
}
