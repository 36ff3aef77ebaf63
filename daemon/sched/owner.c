/*
 * owner.c - the table that deals chunks to nodes; see owner.h.
 */
#include "daemon/sched/owner.h"

#include <assert.h>

/* 64 to 64 bits, every output bit depends on every input bit (Stafford's mix 13 of splitmix64). */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static void count_buckets(const struct owner_table *t, uint32_t count[OWNER_NODES_MAX])
{
	for (uint32_t n = 0; n < OWNER_NODES_MAX; n++)
		count[n] = 0;
	for (uint32_t b = 0; b < t->period; b++)
		count[t->owner[b]]++;
}

void owner_found(struct owner_table *t, uint16_t nodes)
{
	assert(nodes >= 1 && nodes <= OWNER_NODES_MAX);

	t->nodes = nodes;
	t->period = (uint32_t)OWNER_BUCKETS / nodes * nodes;
	for (uint32_t b = 0; b < OWNER_BUCKETS; b++)
		t->owner[b] = b < t->period ? (uint16_t)(b % nodes) : OWNER_NOBODY;
}

void owner_remove(struct owner_table *t, uint16_t node)
{
	uint32_t count[OWNER_NODES_MAX];

	assert(node < t->nodes);
	count_buckets(t, count);
	assert(count[node] > 0 && count[node] < t->period);

	for (uint32_t b = 0; b < t->period; b++) {
		uint16_t least = OWNER_NOBODY;

		if (t->owner[b] != node)
			continue;
		for (uint16_t n = 0; n < t->nodes; n++)
			if (n != node && count[n] &&
			    (least == OWNER_NOBODY || count[n] < count[least]))
				least = n;
		t->owner[b] = least;
		count[least]++;
	}
}

void owner_add(struct owner_table *t, uint16_t node)
{
	uint32_t count[OWNER_NODES_MAX];
	uint32_t living = 1, share;
	uint32_t b;

	assert(node < OWNER_NODES_MAX);
	count_buckets(t, count);
	assert(count[node] == 0);

	for (uint16_t n = 0; n < t->nodes; n++)
		living += count[n] > 0;
	if (node >= t->nodes)
		t->nodes = (uint16_t)(node + 1);
	share = t->period / living;

	/* Take from whoever has most; a stride spreads the share over the table. */
	b = 0;
	while (count[node] < share) {
		uint16_t most = t->owner[b];

		for (uint16_t n = 0; n < t->nodes; n++)
			if (n != node && count[n] > count[most])
				most = n;
		while (t->owner[b] != most)
			b = (b + 1) % t->period;
		t->owner[b] = node;
		count[most]--;
		count[node]++;
		b = (b + living) % t->period;
	}
}

uint16_t owner_of(const struct owner_table *t, uint64_t key, uint32_t chunk)
{
	return t->owner[(mix(key) % t->period + chunk) % t->period];
}
