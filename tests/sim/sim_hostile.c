/*
 * sim_hostile.c - trainers and daemons that break every rule; nobody else notices.
 *
 * Each seed plays a cluster in which one trainer, or one daemon, is hostile from the
 * start or from some moment on.
 *
 *   trainer  writes submissions that are garbage, or nearly right; moves positions to
 *            where they cannot be; another process scribbles over its rings and tensors
 *            while the lane reads them
 *   daemon   sends frames that pass wire_check() and are wrong in one or more fields,
 *            frames of other groups, and acknowledges what was never sent
 *
 * Checked: nothing crashes (AddressSanitizer); only the hostile one is called bad; groups
 * that it is not in end every op well; those that it is in end every op, once; all that
 * was begun is finished.
 *
 * Usage: sim_hostile [--seeds N] [--first SEED]   a failing seed is printed
 */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/world.h"

enum { OPS = 60, ARENA_BYTES = 32 << 20, PEER_ATTACKS = 60 };

static uint64_t roll64(struct world_dice *d)
{
	return (uint64_t)world_roll(d, UINT32_MAX) << 32 | world_roll(d, UINT32_MAX);
}

/* Group 0 has everybody, group 1 all but the hostile one. */
static struct world *make_world(uint64_t seed, struct world_dice *d, uint16_t nodes,
				uint16_t hostile, bool whole_node)
{
	struct world_options o = {
		.seed = seed,
		.nodes = nodes,
		.lanes = (uint16_t)(1u << world_roll(d, 2)),
		.paths = (uint16_t)(1 + world_roll(d, 2)),
		.arena_bytes = ARENA_BYTES,
		.queue_frames = 8,
		.shape = {.latency_ns = world_roll(d, 20000), .jitter_ns_max = 30000},
	};
	struct world *w;

	for (uint16_t n = 0; n < nodes; n++)
		o.local[n] = 2;
	w = world_open(&o);
	for (uint32_t i = 0; i < 2; i++) {
		uint16_t list[WORLD_NODES_MAX];
		uint16_t n = 0;
		struct world_group *g;

		for (uint16_t k = 0; k < nodes; k++)
			if (!i || !whole_node || k != hostile)
				list[n++] = k;
		g = world_add_group(w, list, n);
		if (i && !whole_node)
			world_without(g, hostile, 0);
		g->ops = OPS;
		for (uint64_t s = 1; s <= OPS; s++)
			g->op[s].call = (struct op_call){
				.count = world_roll(d, 3) ? world_roll(d, 6000)
							  : world_roll(d, 40000),
				.op = WIRE_OP_ALLREDUCE,
				.type = (uint8_t)(1 + world_roll(d, VEC_TYPES)),
				.reduce = (uint8_t)(1 + world_roll(d, VEC_REDUCES)),
				.schedule = (uint16_t)world_roll(d, 4),
			};
	}
	(void)world_place_ops(w);
	for (uint32_t i = 0; i < w->groups; i++)
		world_fill(w, w->group[i]);
	return w;
}

static void check_others(struct world *w)
{
	const struct world_group *g = w->group[1];

	for (uint64_t s = 1; s <= OPS; s++) {
		for (uint32_t r = 0; r < g->ranks; r++)
			if (g->rank[r].status[s])
				world_fail(w,
					   "op %llu of rank %u, who has nothing to do with it: "
					   "%d",
					   (unsigned long long)s, r, g->rank[r].status[s]);
		world_check_op(w, g, s);
	}
}

/* --- a trainer ------------------------------------------------------------------------------ */

static struct shm_submission draw_submission(struct world_dice *d, const struct world_rank *rank)
{
	struct shm_submission s = {
		.work = 1,
		.seq = rank->posted[0] + 1,
		.count = world_roll(d, 1000),
		.in_offset = world_roll(d, 1 << 20),
		.out_offset = (2u << 20) + world_roll(d, 1 << 20),
		.group = WORLD_HANDLE,
		.kind = world_roll(d, 6) ? SHM_ALLREDUCE : SHM_ABORT,
		.type = (uint8_t)(1 + world_roll(d, VEC_TYPES)),
		.reduce = (uint8_t)(1 + world_roll(d, VEC_REDUCES)),
	};
	uint64_t *words = (uint64_t *)(void *)&s;

	switch (world_roll(d, 10)) {
	case 0: s.seq += 1 + world_roll(d, 3); break;
	case 1: s.seq = roll64(d); break;
	case 2: s.count = roll64(d) >> world_roll(d, 64); break;
	case 3: s.in_offset = ARENA_BYTES - world_roll(d, 5000); break;
	case 4: s.out_offset = s.in_offset + 1; break;
	case 5: s.group = (uint8_t)world_roll(d, 80); break;
	case 6: s.schedule = (uint8_t)world_roll(d, 9); break;
	case 7: words[world_roll(d, 8)] = roll64(d); break;
	case 8: s.key = roll64(d); break;
	default: break;
	}
	return s;
}

/* Return: the lane must call it bad for that. */
static bool attack(struct world *w, struct world_dice *d, struct world_rank *rank)
{
	struct world_trainer *t = world_trainer_of(w, rank);
	uint16_t lane = (uint16_t)world_roll(d, w->options.lanes);
	struct shm_submission s = draw_submission(d, rank);
	struct shm_ring *ring = world_roll(d, 2) ? t->submit[lane].ring : t->complete[lane].ring;

	switch (world_roll(d, 8)) {
	case 0: ring->tail = roll64(d) >> world_roll(d, 64); return false;
	case 1: ring->head = roll64(d) >> world_roll(d, 64); return false;
	case 2: ring->sleeps = world_roll(d, UINT32_MAX); return false;
	case 3: t->submit[lane].ring->tail = 1u << 20; return true;
	default: break;
	}
	if (shm_produce_room(&t->submit[lane]) != 1)
		return false;
	(void)world_submit(w, t, lane, &s);
	return s.seq != rank->posted[0] + 1 && s.kind == SHM_ALLREDUCE && s.group == WORLD_HANDLE;
}

/* Another process writes into rings and tensors until it is killed. */
static pid_t start_scribbler(struct world *w, const struct world_trainer *t, struct world_dice *d)
{
	pid_t child = fork();

	if (child < 0)
		world_fail(w, "can't fork");
	if (child)
		return child;
	for (;;) {
		uint16_t lane = (uint16_t)world_roll(d, w->options.lanes);
		volatile uint64_t *entry = (volatile uint64_t *)(volatile void *)&shm_submissions(
			t->base, &t->layout, lane)[world_roll(d, 16)];
		volatile unsigned char *arena = t->base + t->layout.arena_offset;

		if (getppid() == 1)
			_exit(0);
		for (uint32_t i = 0; i < 1000; i++) {
			entry[world_roll(d, 8)] ^= 1ull << world_roll(d, 64);
			arena[world_roll(d, ARENA_BYTES)]++;
		}
	}
}

static void run_trainer(uint64_t seed, struct world_dice *d)
{
	uint16_t nodes = (uint16_t)(1 + world_roll(d, 3));
	struct world *w = make_world(seed, d, nodes, 0, false);
	struct world_rank *rank = &w->group[0]->rank[0];
	struct world_trainer *t = world_trainer_of(w, rank);
	bool scribbles = world_roll(d, 2);
	pid_t child = 0;
	bool must = false;

	world_start(w);
	world_turns(w, world_roll(d, 200));
	t->hostile = true;
	if (scribbles)
		child = start_scribbler(w, t, d);
	for (uint32_t i = 0; i < 100 && !t->dead; i++) {
		must |= attack(w, d, rank);
		world_turns(w, 1 + world_roll(d, 4));
	}
	if (child) {
		(void)kill(child, SIGKILL);
		(void)waitpid(child, NULL, 0);
	}
	if (must && !t->dead)
		world_turns(w, 200);
	if (must && !t->dead)
		world_fail(w, "a trainer that breaks rules was not found out");
	if (!t->dead)
		world_kill_trainer(w, 0, 0);
	world_finish(w);
	check_others(w);
	world_end(w);
	world_close(w);
}

/* --- a daemon ------------------------------------------------------------------------------- */

/* A frame to `to` that is right in all that the hostile node can know. */
static struct wire_frame draw_frame(struct world *w, struct world_dice *d, uint16_t hostile,
				    uint16_t lane)
{
	const struct world_group *g = w->group[world_roll(d, 8) == 0];
	uint64_t seq = 1 + world_roll(d, OPS);
	const struct op_call *call = &g->op[seq].call;
	enum vec_type type = (enum vec_type)call->type;
	const struct sched *sched = sched_choose(call->schedule, call->count * vec_type_bytes(type),
						 g->nodes, g->flat_bytes_max);
	struct op_geometry geometry = op_geometry(call->count, type, g->nodes,
						  op_chunk_bytes_usual(sched, g->chunk_bytes_usual),
						  g->chunk_bytes_max, NULL);
	uint32_t chunk = world_roll(d, geometry.chunks);
	struct op op = {.call = *call, .geometry = geometry};
	bool final = world_roll(d, 2);
	double weight = 2;
	struct wire_frame f = {
		.kind = final ? WIRE_FINAL : WIRE_CONTRIBUTION,
		.group = g->id,
		.seq = seq,
		.count = call->count,
		.epoch = g->epoch,
		.chunk = chunk,
		.contributors = final ? g->ranks : 2,
		.divisor = !final                    ? 0
			   : call->reduce == VEC_AVG ? g->ranks
						     : 1,
		.call_digest = wire_call_digest(call->op, call->type, call->reduce, call->count, 0,
						0, sched->id),
		.credit_contribution = world_roll(d, 40),
		.credit_final = world_roll(d, 40),
		.node = hostile,
		.lane = lane,
		.schedule = sched->id,
		.op = call->op,
		.type = call->type,
		.reduce = call->reduce,
		.payload_type = call->type,
		.payload_bytes = (uint32_t)(op_elements(&op, chunk) * vec_type_bytes(type)),
	};

	memcpy(&f.weight, &weight, sizeof(f.weight));
	if (world_roll(d, 4) == 0)
		f = (struct wire_frame){
			.kind = WIRE_CREDIT,
			.group = g->id,
			.epoch = g->epoch,
			.node = hostile,
			.lane = lane,
			.credit_contribution = (uint32_t)roll64(d),
			.credit_final = (uint32_t)roll64(d),
		};
	return f;
}

static void spoil(struct world_dice *d, struct wire_frame *f)
{
	bool data = f->kind != WIRE_CREDIT;

	switch (world_roll(d, 16)) {
	case 0: f->group = data || world_roll(d, 2) ? 1 + world_roll(d, 100) : f->group; break;
	case 1: f->epoch = world_roll(d, 6); break;
	case 2: f->node = (uint16_t)world_roll(d, 8); break;
	case 3: f->lane = (uint16_t)world_roll(d, 4); break;
	case 4: f->path = (uint16_t)world_roll(d, 8); break;
	case 5: f->seq = data ? roll64(d) >> world_roll(d, 64) : 0; break;
	case 6: f->chunk = data ? world_roll(d, 70000) : 0; break;
	case 7: f->contributors = data ? world_roll(d, 9) : 0; break;
	case 8: f->divisor = f->kind == WIRE_FINAL ? world_roll(d, 9) : 0; break;
	case 9: f->payload_bytes = data ? 8 * world_roll(d, 9000) : 0; break;
	case 10: f->count = data ? roll64(d) >> (20 + world_roll(d, 44)) : 0; break;
	case 11: f->call_digest = data ? world_roll(d, 9) : 0; break;
	case 12: f->schedule = data ? (uint16_t)world_roll(d, 5) : 0; break;
	case 13: f->payload_type = data ? (uint8_t)world_roll(d, 9) : 0; break;
	case 14: f->path_ack = (uint32_t)roll64(d) >> world_roll(d, 32); break;
	default: f->path_seq += world_roll(d, 3); break;
	}
}

/* How far the streams of the hostile daemon are. */
struct streams {
	struct {
		uint32_t made, sent;
	} path[WORLD_LANES_MAX][WORLD_NODES_MAX][WORLD_PATHS_MAX];
};

/* The next number: where the other side was when the path was made again. */
static uint32_t next_number(struct streams *s, const struct world_path *p, uint16_t lane,
			    uint16_t to, uint16_t path, bool first)
{
	if (s->path[lane][to][path].made != p->made)
		s->path[lane][to][path].sent = p->received[first ? 0 : 1];
	s->path[lane][to][path].made = p->made;
	return ++s->path[lane][to][path].sent;
}

static void send_frame(struct world *w, struct world_dice *d, uint16_t hostile,
		       struct streams *streams)
{
	static const unsigned char zeros[1 << 17];
	uint16_t lane = (uint16_t)world_roll(d, w->options.lanes);
	uint16_t to = (uint16_t)world_roll(d, w->options.nodes);
	uint16_t path = (uint16_t)world_roll(d, w->options.paths);
	struct transport *t = w->node[hostile].raw[lane];
	const struct world_path *p;
	struct wire_frame f;

	if (to == hostile || !t)
		return;
	p = world_raw_path(w, hostile, lane, to, path);
	if (!p || !transport_sim.room(t, world_peer(to), path))
		return;
	f = draw_frame(w, d, hostile, lane);
	f.path = path;
	if (f.kind != WIRE_CREDIT || world_roll(d, 4) == 0)
		f.path_seq = next_number(streams, p, lane, to, path, to < hostile);
	if (world_roll(d, 3) == 0)
		spoil(d, &f);
	if (f.payload_bytes <= sizeof(zeros))
		transport_sim.send(t, world_peer(to), path, &f, zeros, 0);
}

static void run_daemon(uint64_t seed, struct world_dice *d)
{
	uint16_t nodes = (uint16_t)(2 + world_roll(d, 3));
	uint16_t hostile = (uint16_t)world_roll(d, nodes);
	struct world *w = make_world(seed, d, nodes, hostile, true);
	struct streams streams = {0};

	world_make_raw(w, hostile);
	world_start(w);
	for (uint32_t i = 0; i < PEER_ATTACKS; i++) {
		for (uint32_t k = world_roll(d, 8); k; k--)
			send_frame(w, d, hostile, &streams);
		world_turns(w, world_roll(d, 12));
	}
	world_kill_node(w, hostile);
	world_finish(w);
	check_others(w);
	world_end(w);
	world_close(w);
}

static void run(uint64_t seed)
{
	struct world_dice d = {seed * 2654435761u + 1234};

	if (seed % 2)
		run_trainer(seed, &d);
	else
		run_daemon(seed, &d);
}

int main(int argc, char **argv)
{
	return world_main(argc, argv, 100, run, "nobody else noticed");
}
