/*
 * world.c - life of a world, and its time; see world.h.
 */
#include "tests/sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCKED_UP_NS 500000000ull
#define TURN_NS 100000ull /* lanes that owe small debts look at the clock that often */

enum { TURNS_MAX = 3000000 };

uint32_t world_roll(struct world_dice *d, uint32_t sides)
{
	d->state = d->state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(d->state >> 33) % sides;
}

void world_fail(const struct world *w, const char *format, ...)
{
	va_list args;

	fprintf(stderr,
		"seed %llu (%u nodes, %u lanes, %.3f ms): ", (unsigned long long)w->options.seed,
		w->options.nodes, w->options.lanes, (double)w->now_ns / 1e6);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

int world_main(int argc, char **argv, uint64_t seeds, void (*run)(uint64_t seed), const char *done)
{
	const char *repeat = getenv("CARRY_REPEAT");
	uint64_t first = 1 + (repeat ? strtoull(repeat, NULL, 10) : 0) * seeds;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--seeds") == 0)
			seeds = strtoull(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--first") == 0)
			first = strtoull(argv[i + 1], NULL, 10);
		else
			return 2;
	}
	for (uint64_t s = first; s < first + seeds; s++)
		run(s);
	printf("%llu seeds from %llu: %s\n", (unsigned long long)seeds, (unsigned long long)first,
	       done);
	return 0;
}

static void open_lane(struct world *w, uint16_t node, uint16_t lane)
{
	const struct world_options *o = &w->options;
	struct engine_options options = {.lane = lane,
					 .transport = o->harm ? "fault" : "sim",
					 .lane_fd = -1,
					 .main_eventfd = -1,
					 .paths = o->paths,
					 .transport_options = {
						 .lane_fd = -1,
						 .queue_frames = o->queue_frames,
						 .payload_crc = o->payload_crc,
						 .inner = "sim",
						 .sim = w->net,
						 .sim_node = node,
						 .fault_seed = o->seed * 64 + node * 4u + lane,
						 .cut_every = 150,
						 .corrupt_every = 700,
						 .delay_us_max = 40,
					 }};
	struct err err;

	if (engine_open(&w->node[node].lanes[lane], &options, &err))
		world_fail(w, "%s", err.text);
}

struct world *world_open(const struct world_options *options)
{
	struct world *w = calloc(1, sizeof(*w));
	struct sim_net_options net = {
		.nodes = options->nodes,
		.seed = options->seed,
		.shape = options->shape,
	};

	w->options = *options;
	w->dice.state = options->seed * 2654435761u + 12345;
	w->vec = vec_best();
	w->timers = calloc(WORLD_TIMERS_MAX, sizeof(*w->timers));
	if (sim_net_open(&w->net, &net))
		world_fail(w, "no memory");
	for (uint16_t n = 0; n < options->nodes; n++) {
		for (uint16_t lane = 0; lane < options->lanes; lane++)
			open_lane(w, n, lane);
		for (uint32_t k = 0; k < options->local[n]; k++)
			world_attach(w, n, k);
	}
	return w;
}

struct world_group *world_add_group(struct world *w, const uint16_t *nodes, uint16_t n)
{
	struct world_group *g = calloc(1, sizeof(*g));

	w->group[w->groups++] = g;
	g->id = 70 + w->groups;
	g->epoch = 3;
	g->over_from = UINT64_MAX;
	g->nodes = n;
	g->slots = 4;
	g->buffers = 8;
	g->chunk_bytes_max = (world_roll(&w->dice, 2) ? 64u : 256u) << 10;
	g->chunk_bytes_usual = world_roll(&w->dice, 2) ? OP_CHUNK_BYTES_TCP : OP_CHUNK_BYTES_RDMA;
	g->flat_bytes_max = 4096;
	for (uint16_t i = 0; i < n; i++) {
		uint32_t local = w->options.local[nodes[i]];

		g->node_of[i] = nodes[i];
		g->ranks_of_node[i] = local;
		for (uint32_t k = 0; k < local; k++)
			g->rank[g->ranks++] = (struct world_rank){
				.node = nodes[i],
				.trainer = k,
				.group_node = i,
				.local = k,
				.most = UINT64_MAX,
			};
		for (uint16_t j = 0; j < n; j++)
			g->peers[i][j] = i == j ? UINT16_MAX : world_peer(nodes[j]);
	}
	owner_found(&g->owners, n);
	return g;
}

void world_without(struct world_group *g, uint16_t node, uint32_t trainer)
{
	uint32_t kept = 0;

	for (uint32_t r = 0; r < g->ranks; r++) {
		if (g->rank[r].node == node && g->rank[r].trainer == trainer) {
			g->ranks_of_node[g->rank[r].group_node]--;
			continue;
		}
		g->rank[kept] = g->rank[r];
		if (g->rank[r].node == node && g->rank[r].trainer > trainer)
			g->rank[kept].local--;
		kept++;
	}
	g->ranks = kept;
}

void world_make_raw(struct world *w, uint16_t node)
{
	w->node[node].hostile = true;
	/* A lane closes the descriptor of a liar: ends of the network should not look like ours. */
	for (int burnt = 0; burnt < 1024; burnt += 2) {
		int ends[2];

		if (sim_net_connect(w->net, 0, 0, ends))
			world_fail(w, "no memory");
		sim_net_drop(w->net, ends[0]);
		sim_net_drop(w->net, ends[1]);
	}
	for (uint16_t lane = 0; lane < w->options.lanes; lane++) {
		struct transport_options options = {
			.lane_fd = -1, .queue_frames = 32, .sim = w->net, .sim_node = node};
		struct err err;

		engine_close(w->node[node].lanes[lane]);
		w->node[node].lanes[lane] = NULL;
		if (transport_sim.open(&w->node[node].raw[lane], &options, &err))
			world_fail(w, "%s", err.text);
	}
}

uint64_t world_place_ops(struct world *w)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < w->groups; i++)
		for (uint64_t s = 1; s <= w->group[i]->ops; s++) {
			struct world_op *op = &w->group[i]->op[s];
			size_t size = vec_type_bytes((enum vec_type)op->call.type);

			/* Aligned as the type wants it, in one of two places. */
			at = (at + 15) / 16 * 16 + 8 * (s % 2);
			op->in_offset = at;
			at += op->call.count * size;
			op->out_offset = at = (at + 7) / 8 * 8;
			at += op->call.count * size;
		}
	return at;
}

static void make_exchange(struct world *w, struct world_group *g, uint16_t i, uint16_t lane)
{
	struct exchange_plan plan = {
		.group = g->id,
		.epoch = g->epoch,
		.nodes = g->nodes,
		.node = i,
		.lanes = w->options.lanes,
		.lane = lane,
		.ranks = g->ranks,
		.ranks_of_node = g->ranks_of_node,
		.local_ranks = g->ranks_of_node[i],
		.owners = &g->owners,
		.schedule = g->schedule,
		.flat_bytes_max = g->flat_bytes_max,
		.chunk_bytes_max = g->chunk_bytes_max,
		.chunk_bytes_usual = g->chunk_bytes_usual,
		.slots = g->slots,
		.buffers = g->buffers,
		.vec = w->vec,
	};
	struct err err;

	if (exchange_new(&g->x[i][lane], &plan, &err))
		world_fail(w, "%s", err.text);
	world_command(w, g->node_of[i], lane, 0,
		      &(struct engine_command){.kind = ENGINE_GROUP_ADD,
					       .exchange = g->x[i][lane],
					       .peers = g->peers[i],
					       .stats = &g->stats[i][lane]});
}

static void seat_ranks(struct world *w, uint32_t index, uint16_t lane)
{
	struct world_group *g = w->group[index];

	for (uint32_t r = 0; r < g->ranks; r++)
		world_command(w, g->rank[r].node, lane, 0,
			      &(struct engine_command){
				      .kind = ENGINE_RANK_ADD,
				      .exchange = g->x[g->rank[r].group_node][lane],
				      .local_rank = g->rank[r].local,
				      .client = g->rank[r].trainer,
				      .handle = WORLD_HANDLE + index,
			      });
}

void world_start(struct world *w)
{
	for (uint32_t i = 0; i < w->groups; i++)
		for (uint16_t lane = 0; lane < w->options.lanes; lane++) {
			for (uint16_t n = 0; n < w->group[i]->nodes; n++)
				make_exchange(w, w->group[i], n, lane);
			seat_ranks(w, i, lane);
		}
	for (uint16_t n = 0; n < w->options.nodes; n++)
		for (uint16_t lane = 0; lane < w->options.lanes; lane++)
			if (w->node[n].lanes[lane])
				(void)engine_round(w->node[n].lanes[lane], w->now_ns);
	world_connect_all(w);
}

static void pass_time(struct world *w)
{
	uint64_t next = sim_net_next(w->net);

	if (world_next_timer(w) < next)
		next = world_next_timer(w);
	if (next > w->now_ns + TURN_NS)
		next = w->now_ns + TURN_NS;
	if (next <= w->now_ns)
		next = w->now_ns + 1;
	w->idle_ns += next - w->now_ns;
	sim_net_advance(w->net, next);
	w->now_ns = next;
}

void world_turn(struct world *w)
{
	uint32_t lanes = (uint32_t)w->options.nodes * w->options.lanes;
	uint32_t first = world_roll(&w->dice, lanes);
	bool any = world_run_timers(w);

	for (uint32_t i = 0; i < lanes; i++) {
		uint32_t at = (first + i) % lanes;
		struct engine *e = w->node[at / w->options.lanes].lanes[at % w->options.lanes];

		if (e && world_roll(&w->dice, 5) && engine_round(e, w->now_ns) > 0)
			any = true;
	}
	any |= world_trainers_turn(w);
	for (uint16_t n = 0; n < w->options.nodes; n++)
		any |= world_raw_turn(w, n);
	any |= world_take_facts(w);
	if (any)
		w->idle_ns = 0;
	if (!any || world_roll(&w->dice, 4) == 0)
		pass_time(w);
	if (w->idle_ns > LOCKED_UP_NS)
		world_fail(w, "locked up");
}

void world_turns(struct world *w, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		world_turn(w);
}

bool world_rank_finished(const struct world *w, const struct world_group *g,
			 const struct world_rank *rank)
{
	uint64_t last = rank->most < g->ops ? rank->most : g->ops;

	if (rank->gone || w->node[rank->node].dead)
		return true;
	for (uint64_t s = last; s >= 1; s--)
		if (!world_rank_over(w, g, rank, s))
			return false;
	return true;
}

bool world_finished(const struct world *w)
{
	for (uint32_t i = 0; i < w->groups; i++)
		for (uint32_t r = 0; r < w->group[i]->ranks; r++)
			if (!world_rank_finished(w, w->group[i], &w->group[i]->rank[r]))
				return false;
	return true;
}

void world_finish(struct world *w)
{
	for (uint32_t turns = 0; !world_finished(w); turns++) {
		if (turns > TURNS_MAX)
			world_fail(w, "goes on for ever");
		world_turn(w);
	}
}

static bool all_removed(const struct world *w)
{
	for (uint32_t i = 0; i < w->groups; i++)
		for (uint16_t n = 0; n < w->group[i]->nodes; n++)
			for (uint16_t lane = 0; lane < w->options.lanes; lane++)
				if (!w->group[i]->removed[n][lane])
					return false;
	return true;
}

static bool all_detached(const struct world *w)
{
	for (uint16_t n = 0; n < w->options.nodes; n++)
		for (uint32_t k = 0; k < w->options.local[n]; k++)
			if (!w->node[n].dead && w->node[n].trainers[k].base)
				return false;
	return true;
}

static bool all_parted(const struct world *w)
{
	for (uint16_t n = 0; n < w->options.nodes; n++)
		for (uint16_t m = 0; m < w->options.nodes; m++)
			for (uint16_t lane = 0; lane < w->options.lanes; lane++)
				if (n != m && !w->node[n].dead && !w->node[n].peer_removed[m][lane])
					return false;
	return true;
}

static void turn_until(struct world *w, bool (*done)(const struct world *w), const char *what)
{
	for (uint32_t turns = 0; !done(w); turns++) {
		if (turns > TURNS_MAX)
			world_fail(w, "not all %s", what);
		world_turn(w);
	}
}

void world_end(struct world *w)
{
	for (uint32_t i = 0; i < w->groups; i++)
		for (uint32_t r = 0; r < w->group[i]->ranks; r++)
			if (!w->group[i]->rank[r].gone)
				world_leave(w, w->group[i], &w->group[i]->rank[r], WORLD_LEFT);
	turn_until(w, all_removed, "groups are removed");
	for (uint16_t n = 0; n < w->options.nodes; n++)
		for (uint32_t k = 0; k < w->options.local[n]; k++)
			if (!w->node[n].dead && !w->node[n].trainers[k].dead)
				world_kill_trainer(w, n, k);
	turn_until(w, all_detached, "trainers are detached");
	world_part_all(w);
	turn_until(w, all_parted, "peers are removed");
}

void world_close(struct world *w)
{
	for (uint16_t n = 0; n < w->options.nodes; n++) {
		for (uint16_t lane = 0; lane < w->options.lanes; lane++) {
			engine_close(w->node[n].lanes[lane]);
			transport_sim.close(w->node[n].raw[lane]);
		}
		for (uint32_t k = 0; k < w->options.local[n]; k++)
			world_detach(&w->node[n].trainers[k]);
	}
	sim_net_close(w->net);
	for (uint32_t i = 0; i < w->groups; i++) {
		for (uint16_t n = 0; n < w->group[i]->nodes; n++)
			for (uint16_t lane = 0; lane < w->options.lanes; lane++)
				exchange_free(w->group[i]->x[n][lane]);
		free(w->group[i]);
	}
	free(w->timers);
	free(w);
}
