/*
 * world_main.c - the main threads of all nodes, played by one that knows everything; see world.h.
 *
 * What a real main thread tells its lanes, it tells each at its own time: world_command()
 * keeps the order of a lane's commands and nothing else.
 */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

enum { PEER_FIRST = 20 };

uint16_t world_peer(uint16_t node)
{
	return (uint16_t)(PEER_FIRST + node);
}

/* --- commands in their time ----------------------------------------------------------------- */

void world_command(struct world *w, uint16_t node, uint16_t lane, uint64_t in_ns,
		   const struct engine_command *command)
{
	uint64_t due_ns = w->now_ns + in_ns;
	uint64_t *last_ns = &w->last_due_ns[node][lane];

	if (w->timers_count == WORLD_TIMERS_MAX)
		world_fail(w, "too many commands under way");
	if (due_ns <= *last_ns && *last_ns > w->now_ns)
		due_ns = *last_ns + 1;
	*last_ns = due_ns;
	w->timers[w->timers_count++] = (struct world_timer){
		.due_ns = due_ns, .node = node, .lane = lane, .command = *command};
	if (due_ns == w->now_ns)
		(void)world_run_timers(w);
}

uint64_t world_next_timer(const struct world *w)
{
	uint64_t next = UINT64_MAX;

	for (uint32_t i = 0; i < w->timers_count; i++)
		if (w->timers[i].due_ns < next)
			next = w->timers[i].due_ns;
	return next;
}

/* A node that is played understands one command. */
static void raw_command(struct world *w, const struct world_timer *timer)
{
	struct transport *t = w->node[timer->node].raw[timer->lane];
	const struct engine_command *c = &timer->command;

	if (t && c->kind == ENGINE_PATH_ADD && transport_sim.attach(t, c->peer, c->path, c->fd, 0))
		world_fail(w, "a raw node can't attach");
}

bool world_run_timers(struct world *w)
{
	bool any = false;

	/* Earliest first, so that a lane's commands stay in order. */
	while (w->timers_count && world_next_timer(w) <= w->now_ns) {
		uint64_t next = world_next_timer(w);
		struct engine *e;
		uint32_t i = 0;

		while (w->timers[i].due_ns != next)
			i++;
		e = w->node[w->timers[i].node].lanes[w->timers[i].lane];
		raw_command(w, &w->timers[i]);
		if (e && !mailbox_put(engine_commands(e), &w->timers[i].command))
			world_fail(w, "a lane's mailbox is full");
		w->timers_count--;
		memmove(&w->timers[i], &w->timers[i + 1],
			(w->timers_count - i) * sizeof(w->timers[0]));
		any = true;
	}
	return any;
}

static uint64_t soon(struct world *w)
{
	return world_roll(&w->dice, 4) ? world_roll(&w->dice, 300000) : 0;
}

/* --- paths ---------------------------------------------------------------------------------- */

static void connect_path(struct world *w, uint16_t lane, uint16_t a, uint16_t b, uint16_t number)
{
	struct world_path *path = &w->path[lane][a][b][number];
	uint16_t node[2] = {a, b};

	if (sim_net_connect(w->net, a, b, path->ends))
		world_fail(w, "no memory");
	path->made++;
	for (int side = 0; side < 2; side++) {
		path->up[side] = true;
		world_command(w, node[side], lane, soon(w),
			      &(struct engine_command){
				      .kind = ENGINE_PATH_ADD,
				      .peer = world_peer(node[1 - side]),
				      .path = number,
				      .fd = path->ends[side],
				      .received = path->received[1 - side],
			      });
	}
}

void world_connect_all(struct world *w)
{
	for (uint16_t lane = 0; lane < w->options.lanes; lane++)
		for (uint16_t b = 1; b < w->options.nodes; b++)
			for (uint16_t a = 0; a < b; a++)
				for (uint16_t p = 0; p < w->options.paths; p++)
					connect_path(w, lane, a, b, p);
}

static void path_down(struct world *w, uint16_t node, uint16_t lane, const struct engine_fact *f)
{
	uint16_t other = (uint16_t)(f->peer - PEER_FIRST);
	uint16_t a = node < other ? node : other, b = node < other ? other : node;
	struct world_path *path = &w->path[lane][a][b][f->path];
	int side = node == a ? 0 : 1;

	if (!path->up[side])
		world_fail(w, "node %u: path %u to node %u is down twice", node, f->path, other);
	path->up[side] = false;
	path->received[side] = f->received;
	if (!path->up[0] && !path->up[1] && !path->closed)
		connect_path(w, lane, a, b, f->path);
}

/* `node` forgets `other`, at the times of its lanes. */
static void part(struct world *w, uint16_t node, uint16_t other)
{
	uint16_t a = node < other ? node : other, b = node < other ? other : node;

	for (uint16_t lane = 0; lane < w->options.lanes; lane++) {
		for (uint16_t p = 0; p < w->options.paths; p++)
			w->path[lane][a][b][p].closed = true;
		world_command(w, node, lane, soon(w),
			      &(struct engine_command){.kind = ENGINE_PEER_REMOVE,
						       .peer = world_peer(other)});
	}
}

void world_part_all(struct world *w)
{
	for (uint16_t n = 0; n < w->options.nodes; n++)
		for (uint16_t m = 0; m < w->options.nodes; m++)
			if (n != m && !w->node[n].dead && !w->node[m].dead)
				part(w, n, m);
}

/* --- ends ----------------------------------------------------------------------------------- */

void world_decide(struct world *w, struct world_group *g, uint64_t first, uint64_t last, int error)
{
	/* As group_ending(): what is over is over. */
	if (first >= g->over_from)
		return;
	if (last == UINT64_MAX)
		g->over_from = first;
	/* The first decision about an op stands. */
	for (uint64_t s = first; s <= last && s <= WORLD_OPS_MAX; s++)
		if (!g->ended[s])
			g->ended[s] = error;
	for (uint16_t n = 0; n < g->nodes; n++)
		for (uint16_t lane = 0; lane < w->options.lanes; lane++)
			if (!g->removed[n][lane])
				world_command(w, g->node_of[n], lane, soon(w),
					      &(struct engine_command){
						      .kind = ENGINE_GROUP_END,
						      .exchange = g->x[n][lane],
						      .first_seq = first,
						      .last_seq = last,
						      .error = error,
					      });
}

void world_leave(struct world *w, struct world_group *g, struct world_rank *rank, int why)
{
	rank->gone = true;
	rank->why = why;
	for (uint16_t lane = 0; lane < w->options.lanes; lane++)
		world_command(w, rank->node, lane, soon(w),
			      &(struct engine_command){
				      .kind = ENGINE_RANK_LEAVE,
				      .exchange = g->x[rank->group_node][lane],
				      .local_rank = rank->local,
			      });
}

void world_kill_trainer(struct world *w, uint16_t node, uint32_t trainer)
{
	w->node[node].trainers[trainer].dead = true;
	for (uint32_t i = 0; i < w->groups; i++)
		for (uint32_t r = 0; r < w->group[i]->ranks; r++) {
			struct world_rank *rank = &w->group[i]->rank[r];

			if (rank->node != node || rank->trainer != trainer || rank->gone)
				continue;
			rank->gone = true;
			rank->why = WORLD_DIED;
		}
	for (uint16_t lane = 0; lane < w->options.lanes; lane++)
		world_command(
			w, node, lane, soon(w),
			&(struct engine_command){.kind = ENGINE_CLIENT_REMOVE, .client = trainer});
}

static uint16_t index_in(const struct world_group *g, uint16_t node)
{
	uint16_t i = 0;

	while (i < g->nodes && g->node_of[i] != node)
		i++;
	return i;
}

void world_kill_node(struct world *w, uint16_t node)
{
	struct world_node *dead = &w->node[node];

	dead->dead = true;
	for (uint16_t lane = 0; lane < w->options.lanes; lane++) {
		engine_close(dead->lanes[lane]);
		transport_sim.close(dead->raw[lane]);
		dead->lanes[lane] = NULL;
		dead->raw[lane] = NULL;
	}
	for (uint16_t n = 0; n < w->options.nodes; n++)
		if (n != node && !w->node[n].dead)
			part(w, n, node);
	for (uint32_t i = 0; i < w->groups; i++) {
		struct world_group *g = w->group[i];
		uint16_t at = index_in(g, node);

		if (at == g->nodes)
			continue;
		for (uint16_t lane = 0; lane < w->options.lanes; lane++) {
			if (!g->removed[at][lane])
				exchange_free(g->x[at][lane]);
			g->x[at][lane] = NULL;
			g->removed[at][lane] = true;
		}
		for (uint32_t r = 0; r < g->ranks; r++)
			if (g->rank[r].node == node)
				g->rank[r].gone = true;
		world_decide(w, g, 1, UINT64_MAX, WORLD_DIED);
	}
}

/* --- facts ---------------------------------------------------------------------------------- */

/* All lanes have said how far the rank posted: in what is behind that it is not. */
static void rank_posted(struct world *w, uint16_t node, uint16_t lane, const struct engine_fact *f)
{
	struct world_group *g = w->group[0];
	bool all_left = true;
	uint16_t at;

	for (uint32_t i = 0; i < w->groups; i++)
		if (w->group[i]->x[index_in(w->group[i], node)][lane] == f->exchange)
			g = w->group[i];
	at = index_in(g, node);
	for (uint32_t r = 0; r < g->ranks; r++) {
		struct world_rank *rank = &g->rank[r];

		if (rank->node != node)
			continue;
		if (rank->local == f->local_rank) {
			if (f->seq > rank->posted[lane] && !world_trainer_of(w, rank)->hostile)
				world_fail(w, "node %u: rank %u posted op %llu, so it says", node,
					   r, (unsigned long long)f->seq);
			if (!rank->posted_facts++ || f->seq < rank->posted_least)
				rank->posted_least = f->seq;
			if (rank->posted_facts == w->options.lanes && rank->why)
				world_decide(w, g, rank->posted_least + 1, UINT64_MAX, rank->why);
		}
		all_left = all_left && rank->posted_facts == w->options.lanes;
	}
	for (uint16_t l = 0; all_left && l < w->options.lanes; l++)
		world_command(w, node, l, soon(w),
			      &(struct engine_command){.kind = ENGINE_GROUP_REMOVE,
						       .exchange = g->x[at][l]});
}

static void group_removed(struct world *w, uint16_t node, uint16_t lane,
			  const struct engine_fact *f)
{
	for (uint32_t i = 0; i < w->groups; i++) {
		struct world_group *g = w->group[i];
		uint16_t at = index_in(g, node);

		if (at == g->nodes || g->x[at][lane] != f->exchange)
			continue;
		if (!exchange_idle(f->exchange))
			world_fail(w, "node %u: a group was given back that is not idle", node);
		exchange_free(f->exchange);
		g->x[at][lane] = NULL;
		g->removed[at][lane] = true;
		return;
	}
	world_fail(w, "node %u: a group was removed twice", node);
}

static void client_removed(struct world *w, uint16_t node, uint32_t client)
{
	struct world_trainer *t = &w->node[node].trainers[client];

	if (!t->dead || ++t->removed > w->options.lanes)
		world_fail(w, "node %u: a trainer was removed twice", node);
	if (t->removed < w->options.lanes)
		return;
	world_detach(t); /* nobody may touch it from now on */
}

static void mismatch(struct world *w, const struct engine_fact *f)
{
	uint64_t seq = f->mismatch.seq;

	w->mismatch = f->mismatch;
	for (uint32_t i = 0; i < w->groups; i++)
		for (uint16_t n = 0; n < w->group[i]->nodes; n++)
			for (uint16_t l = 0; l < w->options.lanes; l++)
				if (w->group[i]->x[n][l] == f->exchange)
					world_decide(w, w->group[i], seq,
						     w->mismatch_over ? UINT64_MAX : seq,
						     WORLD_MISMATCH);
}

static void trouble(struct world *w, const struct engine_fact *f)
{
	uint64_t seq = f->trouble.seq;

	for (uint32_t i = 0; i < w->groups; i++)
		for (uint16_t n = 0; n < w->group[i]->nodes; n++)
			for (uint16_t lane = 0; lane < w->options.lanes; lane++)
				if (w->group[i]->x[n][lane] == f->exchange)
					world_decide(w, w->group[i], seq, seq,
						     f->trouble.kind == EXCHANGE_TOO_BIG
							     ? WORLD_TOO_BIG
							     : WORLD_DAMAGED);
}

static void aborted(struct world *w, const struct engine_fact *f)
{
	for (uint32_t i = 0; i < w->groups; i++)
		for (uint16_t n = 0; n < w->group[i]->nodes; n++)
			if (w->group[i]->x[n][0] == f->exchange)
				world_decide(w, w->group[i], 1, UINT64_MAX, WORLD_ABORTED);
}

static void take_fact(struct world *w, uint16_t node, uint16_t lane, const struct engine_fact *f)
{
	w->facts[f->kind]++;
	w->last = *f;
	switch (f->kind) {
	case ENGINE_CLIENT_BAD:
		if (!w->node[node].trainers[f->client].hostile)
			world_fail(w, "node %u: trainer %u is bad: %s", node, f->client,
				   shm_verdict_name(f->shm));
		if (!w->node[node].trainers[f->client].dead)
			world_kill_trainer(w, node, f->client);
		return;
	case ENGINE_CLIENT_REMOVED: client_removed(w, node, f->client); return;
	case ENGINE_RANK_POSTED: rank_posted(w, node, lane, f); return;
	case ENGINE_GROUP_REMOVED: group_removed(w, node, lane, f); return;
	case ENGINE_ABORT: aborted(w, f); return;
	case ENGINE_MISMATCH: mismatch(w, f); return;
	case ENGINE_TROUBLE: trouble(w, f); return;
	case ENGINE_PATH_OVER: return;
	case ENGINE_LEASED:
	case ENGINE_NEEDS_LEASE:
		world_fail(w, "node %u: a lease, and no trainer uses codecs", node);
		return;
	case ENGINE_BAD_FRAME:
	case ENGINE_PEER_LIES:
		if (!w->node[f->peer - PEER_FIRST].hostile)
			world_fail(w, "node %u: node %u broke a rule, op %llu", node,
				   f->peer - PEER_FIRST, (unsigned long long)f->seq);
		return;
	case ENGINE_PATH_DOWN: path_down(w, node, lane, f); return;
	case ENGINE_PEER_REMOVED:
		w->node[node].peer_removed[f->peer - PEER_FIRST][lane] = true;
		return;
	}
}

const struct world_path *world_raw_path(const struct world *w, uint16_t node, uint16_t lane,
					uint16_t other, uint16_t path)
{
	uint16_t a = node < other ? node : other, b = node < other ? other : node;
	const struct world_path *p = &w->path[lane][a][b][path];

	return p->up[node == a ? 0 : 1] ? p : NULL;
}

bool world_raw_turn(struct world *w, uint16_t node)
{
	bool any = false;

	for (uint16_t lane = 0; lane < w->options.lanes; lane++) {
		struct transport *t = w->node[node].raw[lane];
		struct transport_event event;

		while (t && transport_sim.poll(t, &event, 1)) {
			any = true;
			if (event.kind == TRANSPORT_HEADER)
				transport_sim.place(t, event.peer, event.path, NULL);
			if (event.kind == TRANSPORT_DOWN)
				path_down(w, node, lane,
					  &(struct engine_fact){.peer = event.peer,
								.path = event.path});
		}
	}
	return any;
}

bool world_take_facts(struct world *w)
{
	bool any = false;

	for (uint16_t n = 0; n < w->options.nodes; n++)
		for (uint16_t lane = 0; lane < w->options.lanes; lane++) {
			struct engine_fact fact;

			while (w->node[n].lanes[lane] &&
			       mailbox_get(engine_facts(w->node[n].lanes[lane]), &fact)) {
				take_fact(w, n, lane, &fact);
				any = true;
			}
		}
	return any;
}
