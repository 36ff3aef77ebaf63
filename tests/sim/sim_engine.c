/*
 * sim_engine.c - whole lanes under a virtual clock: right sums, same bits, no lock-ups.
 *
 * Goal: whatever the numbers of nodes, ranks, lanes, slots and paths, the sizes, types,
 * reductions and schedules, and whatever delays, reordering, cuts in the middle of payloads and
 * flipped bits there are, every rank ends every op once per lane, with the right sum;
 * and the bits are those of any other run of the same ops.  In the end every lane has
 * given everything back.  Method: tests/sim/world.h.
 *
 * A scenario (seed) fixes what may decide a result: nodes, ranks, calls, values, chunk
 * size, schedules.  Every third has values that do not add exactly and is run with 1,
 * 2 and 4 lanes, other slots, paths, delays: the results are compared.
 *
 * Usage: sim_engine [--seeds N] [--first SEED]   a failing seed is printed
 */
#include <string.h>

#include "tests/sim/world.h"

enum { BYTES_A_RUN = 12 << 20, VARIATIONS = 3 };

struct scenario {
	uint64_t seed;
	uint16_t nodes;
	uint32_t groups;
	uint32_t local[WORLD_NODES_MAX];
	bool noise;
	uint32_t hash[WORLD_GROUPS_MAX][WORLD_OPS_MAX + 1]; /* of the first run */
};

static uint64_t draw_count(struct world_dice *d, uint64_t most)
{
	uint64_t count;

	switch (world_roll(d, 8)) {
	case 0: count = world_roll(d, 3); break;
	case 1: count = 1024 * (1 + world_roll(d, 40)); break;
	case 2: count = world_roll(d, 300000); break;
	case 3: count = world_roll(d, 1200000); break;
	default: count = world_roll(d, 9000); break;
	}
	return count < most ? count : most;
}

/* What all runs of the scenario have alike. */
static void draw_ops(struct scenario *s, struct world *w)
{
	struct world_dice d = {s->seed * 7919 + 5};
	uint32_t ranks = 0;

	for (uint32_t i = 0; i < w->groups; i++)
		ranks += w->group[i]->ranks;
	for (uint32_t i = 0; i < w->groups; i++) {
		struct world_group *g = w->group[i];

		g->schedule = (uint16_t)(world_roll(&d, 3) ? 0 : world_roll(&d, 4));
		g->ops = 1 + world_roll(&d, world_roll(&d, 8) ? 12 : 150);
		for (uint64_t seq = 1; seq <= g->ops; seq++) {
			uint64_t most = BYTES_A_RUN / 8 / ranks / (1 + g->ops / 8);

			g->op[seq].noise = s->noise;
			g->op[seq].call = (struct op_call){
				.key = world_roll(&d, 3),
				.count = draw_count(&d, most),
				.op = WIRE_OP_ALLREDUCE,
				.type = (uint8_t)(1 + world_roll(&d, VEC_TYPES)),
				.reduce = (uint8_t)(1 + world_roll(&d, VEC_REDUCES)),
				.schedule = (uint16_t)world_roll(&d, 4),
			};
		}
	}
}

static void draw_options(const struct scenario *s, uint32_t variation, struct world_options *o)
{
	struct world_dice d = {s->seed * 104729 + variation * 31 + 7};
	uint32_t turn = (uint32_t)(s->seed + variation) % 3;

	*o = (struct world_options){
		.seed = s->seed * VARIATIONS + variation,
		.nodes = s->nodes,
		.lanes = turn == 0   ? 1
			 : turn == 1 ? 2
				     : 4,
		.paths = (uint16_t)(1 + world_roll(&d, WORLD_PATHS_MAX)),
		.arena_bytes = (2 * BYTES_A_RUN + (1u << 20)) & ~4095u,
		.queue_frames = 1 + world_roll(&d, 20),
		.payload_crc = world_roll(&d, 4) == 0,
		.harm = world_roll(&d, 2),
		.shape = {.latency_ns = world_roll(&d, 60000),
			  .jitter_ns_max = world_roll(&d, 2) ? world_roll(&d, 200000) : 0,
			  .bytes_per_s = world_roll(&d, 3) ? 100000000u << world_roll(&d, 6) : 0},
	};
	memcpy(o->local, s->local, sizeof(o->local));
}

static void add_groups(const struct scenario *s, struct world *w, uint32_t variation)
{
	struct world_dice d = {s->seed * 65537 + 3};
	struct world_dice free = {w->options.seed * 3 + 1};

	for (uint32_t i = 0; i < s->groups; i++) {
		uint16_t nodes[WORLD_NODES_MAX];
		uint16_t n = 0;
		struct world_group *g;

		/* The first has all nodes, the others any, in any order. */
		for (uint16_t k = 0; k < s->nodes; k++)
			if (!i || world_roll(&d, 3))
				nodes[n++] = (uint16_t)(i % 2 ? s->nodes - 1 - k : k);
		if (!n)
			nodes[n++] = 0;
		g = world_add_group(w, nodes, n);
		g->slots = 1 + world_roll(&free, 8);
		g->buffers = 2 + world_roll(&free, 15);
		if (variation == 1)
			g->slots = 1, g->buffers = 2;
	}
}

static void check(struct scenario *s, struct world *w, uint32_t variation)
{
	for (uint32_t i = 0; i < w->groups; i++) {
		struct world_group *g = w->group[i];

		for (uint64_t seq = 1; seq <= g->ops; seq++) {
			uint32_t hash = world_hash_op(w, g, seq);

			for (uint32_t r = 0; r < g->ranks; r++)
				if (g->rank[r].status[seq])
					world_fail(w, "op %llu of rank %u ended with %d",
						   (unsigned long long)seq, r,
						   g->rank[r].status[seq]);
			world_check_op(w, g, seq);
			if (variation && hash != s->hash[i][seq])
				world_fail(w,
					   "group %llu op %llu: other bits than in the first run",
					   (unsigned long long)g->id, (unsigned long long)seq);
			s->hash[i][seq] = hash;
		}
	}
}

static void run(struct scenario *s, uint32_t variation)
{
	struct world_options options;
	struct world *w;

	draw_options(s, variation, &options);
	w = world_open(&options);
	add_groups(s, w, variation);
	draw_ops(s, w);
	if (world_place_ops(w) > options.arena_bytes)
		world_fail(w, "the arena is too small for the ops");
	for (uint32_t i = 0; i < w->groups; i++)
		world_fill(w, w->group[i]);
	world_start(w);
	world_finish(w);
	check(s, w, variation);
	world_end(w);
	if (w->facts[ENGINE_MISMATCH] || w->facts[ENGINE_ABORT])
		world_fail(w, "a mismatch or an abort that nobody made");
	world_close(w);
}

static void run_seed(uint64_t seed)
{
	struct world_dice d = {seed * 2654435761u + 99};
	struct scenario s = {
		.seed = seed,
		.nodes = (uint16_t)(1 + world_roll(&d, WORLD_NODES_MAX)),
		.groups = 1 + world_roll(&d, 3),
		.noise = seed % 3 == 0,
	};

	for (uint16_t n = 0; n < s.nodes; n++)
		s.local[n] = 1 + world_roll(&d, WORLD_LOCAL_MAX);
	for (uint32_t v = 0; v < (s.noise ? VARIATIONS : 1); v++)
		run(&s, v);
}

int main(int argc, char **argv)
{
	return world_main(argc, argv, 20, run_seed, "right sums, same bits, all given back");
}
