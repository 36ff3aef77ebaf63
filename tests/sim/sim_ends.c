/*
 * sim_ends.c - whatever ends an op: it ends everywhere, once a lane, with the decided code.
 *
 * Each seed plays a cluster with two or three groups and, at random moments, one or more of:
 * a trainer dies; a rank leaves early; a daemon dies; a rank aborts; ranks call
 * different ops; single ops are ended before, while and after they are posted; the group
 * ends from some op on.  Checked: every op that a living rank posts gets exactly one
 * completion a lane; its status is 0 or the decided one; ops that nothing ended have the
 * right sum, those of groups that nobody touched all of them; whatever was begun is
 * finished: RANK_POSTED, GROUP_REMOVED, CLIENT_REMOVED, PEER_REMOVED.
 *
 * Usage: sim_ends [--seeds N] [--first SEED]   a failing seed is printed
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

enum { OPS = 150, ARENA_BYTES = 64 << 20, BLOWS_MAX = 4 };

enum blow {
	BLOW_TRAINER, /* dies                                            */
	BLOW_NODE,    /* its daemon dies                                 */
	BLOW_LEAVE,   /* a rank posts fewer ops than the others, leaves  */
	BLOW_ABORT,
	BLOW_SINGLES, /* single ops and ranges are ended                 */
	BLOW_OVER,    /* the group is over from some op on               */
	BLOWS,
};

static void add_ops(struct world_group *g, struct world_dice *d)
{
	g->ops = 1 + world_roll(d, world_roll(d, 3) ? 20 : OPS);
	for (uint64_t s = 1; s <= g->ops; s++)
		g->op[s].call = (struct op_call){
			.count = world_roll(d, 4) ? world_roll(d, 2500) : world_roll(d, 40000),
			.op = WIRE_OP_ALLREDUCE,
			.type = (uint8_t)(1 + world_roll(d, VEC_TYPES)),
			.reduce = (uint8_t)(1 + world_roll(d, VEC_REDUCES)),
			.schedule = (uint16_t)world_roll(d, 4),
		};
}

static struct world *make_world(uint64_t seed, struct world_dice *d)
{
	struct world_options o = {
		.seed = seed,
		.nodes = (uint16_t)(1 + world_roll(d, 6)),
		.lanes = (uint16_t)(1u << world_roll(d, 3)),
		.paths = (uint16_t)(1 + world_roll(d, 2)),
		.arena_bytes = ARENA_BYTES,
		.queue_frames = 1 + world_roll(d, 16),
		.harm = world_roll(d, 3) == 0,
		.shape = {.latency_ns = world_roll(d, 50000), .jitter_ns_max = 100000},
	};
	uint32_t groups = 2 + world_roll(d, 2);
	struct world *w;

	for (uint16_t n = 0; n < o.nodes; n++)
		o.local[n] = 1 + world_roll(d, WORLD_LOCAL_MAX);
	w = world_open(&o);
	for (uint32_t i = 0; i < groups; i++) {
		uint16_t nodes[WORLD_NODES_MAX];
		uint16_t n = 0;
		struct world_group *g;

		for (uint16_t k = 0; k < o.nodes; k++)
			if (!i || world_roll(d, 3))
				nodes[n++] = k;
		if (!n)
			nodes[n++] = 0;
		g = world_add_group(w, nodes, n);
		g->slots = 1 + world_roll(d, 4);
		g->buffers = 2 + world_roll(d, 6);
		add_ops(g, d);
	}
	if (world_place_ops(w) > ARENA_BYTES)
		world_fail(w, "the arena is too small for the ops");
	for (uint32_t i = 0; i < w->groups; i++)
		world_fill(w, w->group[i]);
	w->mismatch_over = world_roll(d, 2);
	return w;
}

static struct world_group *any_group(struct world *w, struct world_dice *d)
{
	return w->group[world_roll(d, w->groups)];
}

/* A rank that calls an op otherwise than the others; before anything is posted. */
static void make_odd(struct world *w, struct world_dice *d)
{
	struct world_group *g = any_group(w, d);
	struct world_rank *rank = &g->rank[world_roll(d, g->ranks)];

	for (uint32_t r = 0; r < g->ranks; r++)
		if (g->ranks < 2 || g->rank[r].odd_seq)
			return; /* two that are odd alike would agree */
	rank->odd_seq = 1 + world_roll(d, (uint32_t)g->ops);
	rank->odd = g->op[rank->odd_seq].call;
	switch (world_roll(d, 5)) {
	case 0: rank->odd.count /= 2; break;
	case 1: rank->odd.key = 1 + world_roll(d, 1000); break;
	case 2:
		if (rank->odd.schedule) /* what is forced, not what the rule may choose too */
			rank->odd.schedule = (uint16_t)(rank->odd.schedule % 3 + 1);
		break;
	case 3: rank->odd.reduce = (uint8_t)(rank->odd.reduce % VEC_REDUCES + 1); break;
	default: rank->odd.type = rank->odd.type == VEC_I8 ? VEC_U8 : VEC_I8; break;
	}
	if (op_call_same(&rank->odd, &g->op[rank->odd_seq].call))
		rank->odd_seq = 0;
}

static void end_singles(struct world *w, struct world_dice *d)
{
	struct world_group *g = any_group(w, d);
	uint64_t first = 1 + world_roll(d, (uint32_t)g->ops);

	for (uint32_t i = 0; i < 40 && first <= g->ops; i++) {
		uint64_t last = first + (world_roll(d, 4) ? 0 : world_roll(d, 20));

		world_decide(w, g, first, last, -1000 - (int)world_roll(d, 2));
		first = last + 1 + (world_roll(d, 2) ? world_roll(d, 3) : 0);
	}
}

static void strike(struct world *w, struct world_dice *d)
{
	struct world_group *g = any_group(w, d);
	struct world_rank *rank = &g->rank[world_roll(d, g->ranks)];
	uint16_t living = 0;

	for (uint16_t n = 0; n < w->options.nodes; n++)
		living += !w->node[n].dead;
	switch ((enum blow)world_roll(d, BLOWS)) {
	case BLOW_TRAINER:
		if (!w->node[rank->node].dead && !world_trainer_of(w, rank)->dead)
			world_kill_trainer(w, rank->node, rank->trainer);
		return;
	case BLOW_NODE:
		if (living > 1 && !w->node[rank->node].dead)
			world_kill_node(w, rank->node);
		return;
	case BLOW_LEAVE:
		rank->most = rank->posted[0];
		for (uint16_t lane = 1; lane < w->options.lanes; lane++)
			if (rank->posted[lane] > rank->most)
				rank->most = rank->posted[lane];
		return;
	case BLOW_ABORT:
		if (!rank->gone && !w->node[rank->node].dead)
			world_abort(w, g, rank);
		return;
	case BLOW_SINGLES: end_singles(w, d); return;
	case BLOW_OVER:
		world_decide(w, g, 1 + world_roll(d, (uint32_t)g->ops), UINT64_MAX, -1100);
		return;
	case BLOWS: return;
	}
}

/* Those that post no more and have all their completions destroy the group. */
static void let_leave(struct world *w)
{
	for (uint32_t i = 0; i < w->groups; i++)
		for (uint32_t r = 0; r < w->group[i]->ranks; r++) {
			struct world_rank *rank = &w->group[i]->rank[r];

			if (rank->most != UINT64_MAX && !rank->gone && !w->node[rank->node].dead &&
			    world_rank_finished(w, w->group[i], rank))
				world_leave(w, w->group[i], rank, WORLD_LEFT);
		}
}

static void check(struct world *w)
{
	for (uint32_t i = 0; i < w->groups; i++) {
		struct world_group *g = w->group[i];

		for (uint64_t s = 1; s <= g->ops; s++) {
			bool odd = false;

			for (uint32_t r = 0; r < g->ranks; r++) {
				int status = g->rank[r].status[s];

				if (status && status != g->ended[s])
					world_fail(w, "op %llu of rank %u ended with %d, not %d",
						   (unsigned long long)s, r, status, g->ended[s]);
				odd = odd || g->rank[r].odd_seq == s;
			}
			for (uint32_t r = 0; odd && r < g->ranks; r++)
				if (!g->rank[r].gone && g->rank[r].done[s] && !g->rank[r].status[s])
					world_fail(w, "op %llu went well, though ranks differ",
						   (unsigned long long)s);
			if (!odd)
				world_check_op(w, g, s);
		}
	}
}

static void run(uint64_t seed)
{
	struct world_dice d = {seed * 2654435761u + 4711};
	struct world *w = make_world(seed, &d);
	uint32_t blows = 1 + world_roll(&d, BLOWS_MAX);

	while (world_roll(&d, 3) == 0)
		make_odd(w, &d);
	world_start(w);
	while (blows--) {
		for (uint32_t t = world_roll(&d, 2) ? world_roll(&d, 400) : 5; t; t--) {
			world_turn(w);
			let_leave(w);
		}
		strike(w, &d);
	}
	while (!world_finished(w)) {
		world_turn(w);
		let_leave(w);
	}
	check(w);
	world_end(w);
	world_close(w);
}

int main(int argc, char **argv)
{
	return world_main(argc, argv, 120, run, "every op ends once, with the decided code");
}
