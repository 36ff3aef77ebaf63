/*
 * world_trainer.c - trainers: they post ops to each lane's ring and read completions; see world.h.
 *
 * A trainer posts to its lanes one after the other, at any moment, as the daemon would see
 * a libcarry that is interrupted between two lanes.
 */
#include "tests/sim/world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct world_trainer *world_trainer_of(struct world *w, const struct world_rank *rank)
{
	return &w->node[rank->node].trainers[rank->trainer];
}

static uint64_t out_offset(const struct world_group *g, uint32_t rank, uint64_t seq)
{
	const struct world_op *op = &g->op[seq];

	return (seq + rank) % 3 ? op->out_offset : op->in_offset; /* some in place */
}

unsigned char *world_in(struct world *w, const struct world_group *g, uint32_t rank, uint64_t seq)
{
	struct world_trainer *t = world_trainer_of(w, &g->rank[rank]);

	return t->base + t->layout.arena_offset + g->op[seq].in_offset;
}

unsigned char *world_out(struct world *w, const struct world_group *g, uint32_t rank, uint64_t seq)
{
	struct world_trainer *t = world_trainer_of(w, &g->rank[rank]);

	return t->base + t->layout.arena_offset + out_offset(g, rank, seq);
}

void world_attach(struct world *w, uint16_t node, uint32_t trainer)
{
	struct world_trainer *t = &w->node[node].trainers[trainer];
	void *base = MAP_FAILED;

	/* Shared, so that a child may play the trainer; unmapped as soon as it is removed. */
	if (!shm_layout(&t->layout, w->options.lanes, w->options.arena_bytes))
		base = mmap(NULL, t->layout.total_bytes, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		world_fail(w, "no arena");
	t->base = base;
	t->attached = true;
	for (uint16_t lane = 0; lane < w->options.lanes; lane++) {
		t->submit[lane].ring = shm_submit_ring(base, &t->layout, lane);
		t->complete[lane].ring = shm_complete_ring(base, &t->layout, lane);
		world_command(w, node, lane, 0,
			      &(struct engine_command){.kind = ENGINE_CLIENT_ADD,
						       .client = trainer,
						       .base = base,
						       .layout = t->layout,
						       .wake_fd = -1});
	}
}

void world_detach(struct world_trainer *t)
{
	if (t->base)
		(void)munmap(t->base, t->layout.total_bytes);
	t->base = NULL;
}

bool world_submit(struct world *w, struct world_trainer *t, uint16_t lane,
		  const struct shm_submission *s)
{
	struct shm_port *port = &t->submit[lane];

	if (shm_produce_room(port) < 0)
		world_fail(w, "a lane broke a submission ring");
	if (shm_produce_room(port) == 0)
		return false;
	shm_submissions(t->base, &t->layout, lane)[port->position % SHM_RING_ENTRIES] = *s;
	shm_produce(port);
	return true;
}

static uint32_t handle_of(const struct world *w, const struct world_group *g)
{
	for (uint32_t i = 0; i < w->groups; i++)
		if (w->group[i] == g)
			return WORLD_HANDLE + i;
	world_fail(w, "no such group");
}

bool world_rank_over(const struct world *w, const struct world_group *g,
		     const struct world_rank *rank, uint64_t seq)
{
	const struct op_call *call = seq == rank->odd_seq ? &rank->odd : &g->op[seq].call;

	uint64_t bytes = call->count * shm_type_bytes((uint8_t)call->type);

	return rank->done[seq] == (1u << shm_op_lanes(bytes, w->options.lanes)) - 1;
}

/* Post the next op of a group to one lane. */
static bool post(struct world *w, struct world_group *g, struct world_rank *rank, uint16_t lane)
{
	struct world_trainer *t = world_trainer_of(w, rank);
	uint64_t seq = rank->posted[lane] + 1;
	const struct world_op *op = &g->op[seq];
	const struct op_call *call = seq == rank->odd_seq ? &rank->odd : &op->call;

	if (rank->gone || t->hostile || seq > rank->most || seq > g->ops)
		return false;
	if (seq > SHM_OPS_MAX && !world_rank_over(w, g, rank, seq - SHM_OPS_MAX))
		return false;
	if (!world_submit(w, t, lane,
			  &(struct shm_submission){
				  .work = g->id << 32 | seq,
				  .seq = seq,
				  .key = call->key,
				  .count = call->count,
				  .in_offset = op->in_offset,
				  .out_offset = out_offset(g, (uint32_t)(rank - g->rank), seq),
				  .group = (uint8_t)handle_of(w, g),
				  .kind = SHM_ALLREDUCE,
				  .type = call->type,
				  .reduce = call->reduce,
				  .schedule = (uint8_t)call->schedule,
			  }))
		return false;
	rank->posted[lane] = seq;
	return true;
}

static void complete(struct world *w, uint16_t node, uint32_t trainer, uint16_t lane,
		     const struct shm_completion *c)
{
	uint32_t index = c->group - WORLD_HANDLE;
	struct world_group *g = index < w->groups ? w->group[index] : NULL;

	for (uint32_t r = 0; g && r < g->ranks; r++) {
		struct world_rank *rank = &g->rank[r];

		if (rank->node != node || rank->trainer != trainer)
			continue;
		if (c->work != (g->id << 32 | c->seq) || c->seq > rank->posted[lane] || !c->seq)
			world_fail(w, "a completion of what was never posted: op %llu",
				   (unsigned long long)c->seq);
		if (rank->done[c->seq] & 1u << lane)
			world_fail(w, "op %llu ended twice on lane %u", (unsigned long long)c->seq,
				   lane);
		rank->done[c->seq] |= (uint8_t)(1u << lane);
		if (!rank->status[c->seq])
			rank->status[c->seq] = c->status;
		return;
	}
	world_fail(w, "a completion for nobody: handle %u", c->group);
}

static bool read_completions(struct world *w, uint16_t node, uint32_t trainer, uint16_t lane)
{
	struct world_trainer *t = &w->node[node].trainers[trainer];
	struct shm_port *port = &t->complete[lane];
	bool any = false;
	int ready;

	while ((ready = shm_consume_ready(port)) == 1) {
		struct shm_completion c = shm_completions(t->base, &t->layout,
							  lane)[port->position % SHM_RING_ENTRIES];

		shm_consume(port);
		complete(w, node, trainer, lane, &c);
		any = true;
	}
	if (ready < 0)
		world_fail(w, "a lane broke a completion ring");
	return any;
}

bool world_trainers_turn(struct world *w)
{
	bool any = false;

	for (uint16_t n = 0; n < w->options.nodes; n++)
		for (uint32_t k = 0; k < w->options.local[n]; k++)
			for (uint16_t lane = 0; lane < w->options.lanes; lane++)
				if (w->node[n].trainers[k].attached &&
				    !w->node[n].trainers[k].dead && !w->node[n].trainers[k].hostile)
					any |= read_completions(w, n, k, lane);
	for (uint32_t i = 0; i < w->groups; i++) {
		struct world_group *g = w->group[i];

		for (uint32_t r = 0; r < g->ranks; r++)
			for (uint16_t lane = 0; lane < w->options.lanes; lane++)
				if (!w->node[g->rank[r].node].dead && world_roll(&w->dice, 3) == 0)
					any |= post(w, g, &g->rank[r], lane);
	}
	return any;
}

void world_abort(struct world *w, struct world_group *g, struct world_rank *rank)
{
	struct shm_submission s = {.kind = SHM_ABORT, .group = (uint8_t)handle_of(w, g)};

	(void)world_submit(w, world_trainer_of(w, rank), 0, &s);
}
