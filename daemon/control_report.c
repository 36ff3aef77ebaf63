/* control_report.c - groups and other daemons as JSON with stable keys; see control.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/control_state.h"
#include "daemon/report.h"

static const char *state_name(const struct control_group *g)
{
	switch (g->state) {
	case CONTROL_SETUP:
	case CONTROL_READY: return "forming";
	case CONTROL_RUNNING: return g->group->ended_from == UINT64_MAX ? "running" : "over";
	case CONTROL_REMOVING: return "ending";
	}
	return "unknown";
}

static const char *node_state(const struct control *c, const struct control_group *g, uint16_t n)
{
	struct peer_about about;

	if (n == g->group->node)
		return "here";
	if (g->group->node_list[n].dead)
		return "dead";
	peers_about(c->peers, g->peers[n], &about);
	return about.connected ? "alive" : "unconnected";
}

static json_t *ranks_of(const struct group *g, uint16_t node)
{
	json_t *ranks = json_array();

	for (uint32_t r = 0; r < g->ranks; r++)
		if (g->node_of_rank[r] == node)
			(void)json_array_append_new(ranks, json_integer(r));
	return ranks;
}

static json_t *nodes_json(const struct control *c, const struct control_group *g)
{
	json_t *nodes = json_array();

	for (uint16_t n = 0; n < g->group->nodes; n++) {
		const struct group_node *node = &g->group->node_list[n];
		char address[64];
		json_t *object;

		group_endpoint_text(node->about.address, node->about.port, address,
				    sizeof(address));
		object = json_pack("{s:i, s:i, s:o, s:o, s:s, s:s}", "node", n, "ranks",
				   (int)node->ranks, "rank_list", ranks_of(g->group, n), "host",
				   report_text(node->about.host), "address", address, "state",
				   node_state(c, g, n));
		if (object)
			links_add_node(object, c, g, n);
		(void)json_array_append_new(nodes, object);
	}
	return nodes;
}

static json_t *local_json(const struct control_group *g)
{
	static const char *const states[] = {[GROUP_RANK_HERE] = "here",
					     [GROUP_RANK_LEAVING] = "leaving",
					     [GROUP_RANK_LEFT] = "left"};
	json_t *ranks = json_array();

	for (uint32_t i = 0; i < g->group->local_ranks; i++) {
		const struct group_local *local = &g->group->local[i];

		(void)json_array_append_new(
			ranks, json_pack("{s:i, s:i, s:i, s:s}", "rank", (int)local->rank, "pid",
					 (int)local->pid, "client", (int)local->client, "state",
					 states[local->state]));
	}
	return ranks;
}

static uint64_t figure(const _Atomic uint64_t *of)
{
	return atomic_load_explicit(of, memory_order_relaxed);
}

void control_figures(const struct engine_group_stats *stats, uint16_t lanes,
		     struct control_figures *out)
{
	uint64_t heard = figure(&stats[0].ops_posted); /* of lane 0, which takes part in all ops */

	*out = (struct control_figures){.done = UINT64_MAX, .bytes = UINT64_MAX};
	for (uint16_t lane = 0; lane < lanes; lane++) {
		const struct engine_group_stats *s = &stats[lane];
		uint64_t posted = figure(&s->ops_posted), failed = figure(&s->ops_failed);
		uint64_t unheard = posted < heard ? heard - posted : 0;
		uint64_t done = figure(&s->ops_done) + unheard;
		uint64_t bytes = figure(&s->bytes_reduced);

		out->done = done < out->done ? done : out->done;
		if (!unheard)
			out->bytes = bytes < out->bytes ? bytes : out->bytes;
		out->failed = failed > out->failed ? failed : out->failed;
		out->payload += figure(&s->payload_sent);
	}
	/* Read last, so that it is never behind what is over. */
	for (uint16_t lane = 0; lane < lanes; lane++) {
		uint64_t posted = figure(&stats[lane].ops_posted);

		out->posted = posted > out->posted ? posted : out->posted;
	}
}

static void add_figures(json_t *object, const struct control_group *g)
{
	struct control_figures f;
	uint64_t over;

	control_figures(g->stats, (uint16_t)g->group->lanes, &f);
	over = f.done + f.failed;
	(void)json_object_set_new(object, "ops_coded",
				  json_integer((json_int_t)figure(&g->stats[0].ops_coded)));
	(void)json_object_set_new(object, "state_bytes",
				  json_integer((json_int_t)tensors_bytes(g->tensors)));
	(void)json_object_set_new(object, "ops_done", json_integer((json_int_t)f.done));
	(void)json_object_set_new(object, "ops_failed", json_integer((json_int_t)f.failed));
	(void)json_object_set_new(
		object, "ops_in_flight",
		json_integer(f.posted > over ? (json_int_t)(f.posted - over) : 0));
	(void)json_object_set_new(object, "bytes_reduced", json_integer((json_int_t)f.bytes));
	(void)json_object_set_new(object, "payload_sent", json_integer((json_int_t)f.payload));
}

static json_t *group_json(const struct control *c, const struct control_group *g)
{
	const struct group *group = g->group;
	const struct sched *sched = sched_by_id(group->schedule);
	char id[24];

	json_t *object;

	(void)snprintf(id, sizeof(id), "%016" PRIx64, group->id);
	object = json_pack(
		"{s:s, s:o, s:o, s:I, s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, "
		"s:I, s:o, s:o, s:o}",
		"id", id, "name", report_text(group->name), "run", report_text(group->run), "uid",
		(json_int_t)group->uid, "epoch", (int)group->epoch, "state", state_name(g), "ranks",
		(int)group->ranks, "nodes", (int)group->nodes, "node", (int)group->node, "lanes",
		(int)group->lanes, "paths", (int)group->paths, "chunk_bytes_max",
		(int)group->chunk_bytes_max, "chunk_bytes_usual", (int)group->chunk_bytes_usual,
		"flat_bytes_max", (int)group->flat_bytes_max, "schedule",
		sched ? sched->name : "auto", "memory_bytes", (json_int_t)g->memory_bytes, "ended",
		report_text(group->ended_text), "peers", nodes_json(c, g), "local", local_json(g));
	if (object) {
		add_figures(object, g);
		choice_add_json(object, g);
	}
	return object;
}

json_t *control_groups_json(const struct control *c)
{
	json_t *groups = json_array();

	for (const struct control_group *g = c->groups; g; g = g->next)
		(void)json_array_append_new(groups, group_json(c, g));
	return groups;
}

json_t *control_peers_json(const struct control *c)
{
	static const char *const states[] = {[PEER_STATE_FREE] = "free",
					     [PEER_STATE_KNOWN] = "known",
					     [PEER_STATE_DEAD] = "dead"};
	json_t *peers = json_array();

	for (uint16_t i = 0; i < peers_end(c->peers); i++) {
		struct peer_about about;
		char address[64], instance[24];

		peers_about(c->peers, i, &about);
		if (about.state == PEER_STATE_FREE)
			continue;
		group_endpoint_text(about.node.address, about.node.port, address, sizeof(address));
		(void)snprintf(instance, sizeof(instance), "%016" PRIx64, about.node.instance);
		(void)json_array_append_new(
			peers,
			json_pack("{s:s, s:o, s:s, s:s, s:b, s:i, s:i, s:o}", "instance", instance,
				  "host", report_text(about.node.host), "address", address, "state",
				  states[about.state], "connected", about.connected, "references",
				  (int)about.references, "queued_bytes", (int)about.queued,
				  "trouble", report_text(about.trouble)));
	}
	return peers;
}
