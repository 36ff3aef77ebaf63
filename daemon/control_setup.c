/*
 * control_setup.c - a TABLE came: exchanges, connections, READY, GO; see control.h.
 *
 *   SETUP --path 0 of every lane to every node is up--> READY --GO--> RUNNING
 *     |                                                   |
 *     +--- setup_fail(): the root is told, and refuses ---+--> setup_undo()
 *
 * Frames of the group are taken from SETUP on; trainers post from RUNNING on.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/control_state.h"

struct control_group *control_group_of(struct control *c, uint64_t id)
{
	struct control_group *g = c->groups;

	while (g && g->group->id != id)
		g = g->next;
	return g;
}

struct control_group *control_group_with(struct control *c, const struct exchange *x)
{
	for (struct control_group *g = c->groups; g; g = g->next)
		for (uint32_t lane = 0; lane < g->group->lanes; lane++)
			if (g->exchanges[lane] == x)
				return g;
	return NULL;
}

/* --- the end -------------------------------------------------------------------------------- */

/* No lane has it any more, or ever had. */
void setup_free(struct control *c, struct control_group *g, uint64_t now_ns)
{
	struct control_group **at = &c->groups;

	while (*at && *at != g)
		at = &(*at)->next;
	if (*at) {
		*at = g->next;
		c->group_count--;
	}
	for (uint32_t lane = 0; lane < g->group->lanes; lane++)
		exchange_free(g->exchanges[lane]);
	for (uint32_t n = 0; g->peers && n < g->group->nodes; n++)
		if (g->peers[n] != CONTROL_NOBODY)
			peers_drop(c->peers, g->peers[n], now_ns);
	tensors_free(g->tensors);
	chooser_free(g->chooser);
	op_clock_free(g->clock);
	group_free(g->group);
	free(g->owners);
	free(g->peers);
	free(g);
}

void setup_undo(struct control *c, struct control_group *g, uint64_t now_ns)
{
	struct engine_command end = {.kind = ENGINE_GROUP_END,
				     .first_seq = 1,
				     .last_seq = UINT64_MAX,
				     .error = GROUP_LEFT};
	struct engine_command remove = {.kind = ENGINE_GROUP_REMOVE};

	if (g->state == CONTROL_READY)
		end_give_up(c, g, now_ns);
	for (uint32_t i = 0; i < g->group->local_ranks; i++) {
		struct group_local *local = &g->group->local[i];

		if (g->seats[i].create && !g->seats[i].create->gone)
			client_handle_give(c->clients, local->client, local->handle);
		g->seats[i].create = NULL;
		local->state = GROUP_RANK_LEFT;
	}
	g->state = CONTROL_REMOVING;
	for (uint32_t lane = 0; lane < g->group->lanes; lane++) {
		end.exchange = remove.exchange = g->exchanges[lane];
		control_command(c, lane, &end);
		control_command(c, lane, &remove);
	}
}

void setup_fail(struct control *c, struct control_group *g, int error, const char *text,
		uint64_t now_ns)
{
	for (uint32_t i = 0; !g->failed && i < g->group->local_ranks; i++)
		if (g->seats[i].create) {
			g->failed = true;
			create_withdraw(c, g->seats[i].create, error, text, now_ns);
		}
}

/* --- TABLE ---------------------------------------------------------------------------------- */

static struct create *create_for(const struct control *c, uint16_t root,
				 const struct wire_table *table, uint32_t rank)
{
	for (struct create *create = c->creates; create; create = create->next)
		if (create->state == CREATE_JOINED && create->root == root &&
		    create->request.rank == rank && create->uid == table->uid &&
		    strcmp(create->request.name, table->name) == 0 &&
		    strcmp(create->request.run, table->run) == 0)
			return create;
	return NULL;
}

static int make_exchanges(struct control *c, struct control_group *g, struct err *err)
{
	struct group *group = g->group;
	struct exchange_plan plan = {
		.group = group->id,
		.epoch = group->epoch,
		.nodes = group->nodes,
		.node = group->node,
		.lanes = (uint16_t)group->lanes,
		.ranks = group->ranks,
		.ranks_of_node = group->ranks_of_node,
		.local_ranks = group->local_ranks,
		.local_rank = g->local_rank,
		.owners = g->owners,
		.schedule = group->schedule,
		.flat_bytes_max = group->flat_bytes_max,
		.chunk_bytes_max = group->chunk_bytes_max,
		/* What goes to no other node is only copied: as much as caches hold. */
		.chunk_bytes_usual =
			group->nodes > 1 ? group->chunk_bytes_usual : OP_CHUNK_BYTES_TCP,
		.gathers = control_has_verbs(c),
		.vec = c->vec,
	};
	struct tensors_options tensors = {
		.bytes_max = c->config->state_bytes,
	};
	int ret = exchange_plan_size(&plan, c->config->inflight_bytes, err);

	if (ret)
		return err_add(err, "host %s", c->host);
	tensors.chunk_bytes_max = plan.chunk_bytes_max;
	if (tensors_new(&g->tensors, &tensors))
		return err_set(err, -ENOMEM, "no memory for group \"%s\"", group->name);
	if (group->node == 0 && (chooser_new(&g->chooser) || op_clock_new(&g->clock, plan.lanes)))
		return err_set(err, -ENOMEM, "no memory for group \"%s\"", group->name);
	for (uint32_t i = 0; i < group->local_ranks; i++)
		g->local_rank[i] = group->local[i].rank;
	for (uint16_t lane = 0; !ret && lane < plan.lanes; lane++) {
		plan.lane = lane;
		ret = exchange_new(&g->exchanges[lane], &plan, err);
		if (!ret)
			g->memory_bytes += exchange_memory(&plan);
	}
	return ret;
}

/* The peers of the nodes, held by the group. */
static int find_peers(struct control *c, struct control_group *g, uint64_t now_ns, struct err *err)
{
	for (uint16_t n = 0; n < g->group->nodes; n++) {
		const struct wire_node *about = &g->group->node_list[n].about;
		struct peer_about known;
		int peer = n == g->group->node ? -1 : peers_know(c->peers, about, now_ns);

		if (n != g->group->node && peer < 0)
			return err_set(err, peer,
				       "carryd on host %s knows %d other daemons, and "
				       "has no room for host %s",
				       c->host, PEERS_MAX, about->host);
		if (peer < 0)
			continue;
		peers_about(c->peers, (uint16_t)peer, &known);
		if (known.state == PEER_STATE_DEAD)
			return err_set(err, GROUP_DIED, "host %s, seen from host %s, %s",
				       about->host, c->host, known.trouble);
		g->peers[n] = (uint16_t)peer;
		peers_hold(c->peers, g->peers[n], now_ns);
	}
	return 0;
}

static int take_seats(struct control *c, struct control_group *g, struct create *const *creates,
		      struct err *err)
{
	for (uint32_t i = 0; i < g->group->local_ranks; i++) {
		struct group_local *local = &g->group->local[i];
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): all were found */
		int handle = client_handle_take(c->clients, creates[i]->client);

		if (handle < 0) {
			(void)err_set(err, handle, "pid %u on host %s is in %u groups already",
				      creates[i]->pid, c->host, SHM_GROUPS_MAX);
			while (i--)
				client_handle_give(c->clients, g->group->local[i].client,
						   g->group->local[i].handle);
			return handle;
		}
		local->client = creates[i]->client;
		local->handle = (uint32_t)handle;
		local->pid = creates[i]->pid;
	}
	return 0;
}

/* Everything but the lanes.  Return: 0, or negative errno and *err. */
static int make_group(struct control *c, struct control_group *g, const struct wire_table *table,
		      struct create *const *creates, uint64_t now_ns, struct err *err)
{
	struct group *group = g->group;
	int ret;

	if (c->group_count >= c->config->groups)
		return err_set(err, -EUSERS,
			       "carryd on host %s has %u groups, as many as [limits] groups allows",
			       c->host, c->group_count);
	if (group->lanes > c->n)
		return err_set(err, -EPROTO, "group \"%s\" was given %u lanes, host %s has %u",
			       group->name, group->lanes, c->host, c->n);
	if (group->paths > c->config->paths)
		return err_set(
			err, -EPROTO,
			"group \"%s\" was given %u paths, [network] paths of host %s is %" PRIu64,
			group->name, group->paths, c->host, c->config->paths);
	g->owners = calloc(1, sizeof(*g->owners));
	g->peers = malloc(group->nodes * sizeof(*g->peers));
	if (!g->owners || !g->peers)
		return err_set(err, -ENOMEM, "no memory for group \"%s\"", table->name);
	memset(g->peers, 0xff, group->nodes * sizeof(*g->peers)); /* CONTROL_NOBODY */
	owner_found(g->owners, group->nodes);
	ret = make_exchanges(c, g, err);
	if (!ret)
		ret = find_peers(c, g, now_ns, err);
	if (!ret)
		ret = take_seats(c, g, creates, err);
	return ret;
}

static void start_lanes(struct control *c, struct control_group *g, uint64_t now_ns)
{
	for (uint16_t lane = 0; lane < g->group->lanes; lane++)
		control_command(c, lane,
				&(struct engine_command){.kind = ENGINE_GROUP_ADD,
							 .exchange = g->exchanges[lane],
							 .peers = g->peers,
							 .tensors = g->tensors,
							 .stats = &g->stats[lane],
							 .clock = g->clock,
							 .chooser = lane ? NULL : g->chooser});
	for (uint16_t n = 0; n < g->group->nodes; n++)
		for (uint16_t lane = 0; lane < g->group->lanes; lane++)
			for (uint16_t path = 0; path < g->group->paths; path++)
				if (g->peers[n] != CONTROL_NOBODY)
					peers_want_path(c->peers, g->peers[n], lane, path, now_ns);
}

/* The wishes of all our ranks in the table.  Return: whether they are all still there. */
static bool find_creates(struct control *c, uint16_t root, const struct wire_table *table,
			 const struct group *group, struct create **creates)
{
	bool all = true;

	for (uint32_t i = 0; i < group->local_ranks; i++) {
		creates[i] = create_for(c, root, table, group->local[i].rank);
		all &= creates[i] != NULL;
	}
	return all;
}

static void refuse_table(struct control *c, uint16_t root, const struct wire_table *table,
			 uint32_t rank, const struct err *err, uint64_t now_ns)
{
	struct wire_refuse refusal = {.uid = table->uid, .rank = rank, .error = err->code};

	memcpy(refusal.name, table->name, sizeof(refusal.name));
	memcpy(refusal.run, table->run, sizeof(refusal.run));
	(void)snprintf(refusal.text, sizeof(refusal.text), "%.*s", (int)sizeof(refusal.text) - 1,
		       err->text);
	frame_to_root(c, root, WIRE_REFUSE, &refusal, sizeof(refusal), now_ns);
}

void setup_begin(struct control *c, uint16_t root, const struct wire_table *table, uint64_t now_ns)
{
	struct control_group *g = calloc(1, sizeof(*g));
	struct create *creates[EXCHANGE_LOCAL_MAX] = {0};
	struct group *group = NULL;
	struct err err;
	int ret = g ? group_new(&group, table, c->instance, &err) : -ENOMEM;

	if (ret) {
		/* Not in the table, or no memory for it: we have no rank by which to refuse. */
		log_put(c->log, LOG_LEVEL_ERROR, LOG_GROUP_FAILED, "%s",
			g ? err.text : "no memory for a group");
		free(g);
		return;
	}
	g->group = group;
	g->root = root;
	if (control_group_of(c, group->id))
		ret = err_set(&err, -EPROTO, "group \"%s\" has the number of another", table->name);
	else if (!find_creates(c, root, table, group, creates))
		ret = err_set(&err, GROUP_DIED, "a rank of group \"%s\" on host %s is gone",
			      table->name, c->host);
	else if (c->group_count >= c->config->groups)
		ret = err_set(&err, -EUSERS,
			      "carryd on host %s has %u groups, as many as [limits] groups allows",
			      c->host, c->group_count);
	else
		ret = make_group(c, g, table, creates, now_ns, &err);
	if (ret) {
		refuse_table(c, root, table, group->local[0].rank, &err, now_ns);
		setup_free(c, g, now_ns);
		return;
	}
	for (uint32_t i = 0; i < group->local_ranks; i++) {
		g->seats[i].create = creates[i];
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): all were found */
		creates[i]->state = CREATE_SETUP;
		create_settled(c, creates[i]);
	}
	g->next = c->groups;
	c->groups = g;
	c->group_count++;
	start_lanes(c, g, now_ns);
}

/* --- READY ---------------------------------------------------------------------------------- */

/* The first node to which a lane has no path, or -1. */
static int unconnected(const struct control *c, const struct control_group *g)
{
	for (uint16_t n = 0; n < g->group->nodes; n++)
		for (uint16_t lane = 0; lane < g->group->lanes; lane++)
			if (g->peers[n] != CONTROL_NOBODY &&
			    !peers_path_is_up(c->peers, g->peers[n], lane, 0))
				return n;
	return -1;
}

void setup_trouble(const struct control *c, const struct control_group *g, char *text, size_t bytes)
{
	int other = unconnected(c, g);
	char us[160], them[160];
	struct peer_about about;

	group_node_text(g->group, g->group->node, us, sizeof(us));
	if (other < 0) {
		(void)snprintf(text, bytes, "%s became ready too late", us);
		return;
	}
	group_node_text(g->group, (uint16_t)other, them, sizeof(them));
	peers_about(c->peers, g->peers[other], &about);
	(void)snprintf(text, bytes, "%s has no connection to %s%s%.*s", us, them,
		       about.trouble[0] ? ", which " : "", 100, about.trouble);
}

/* Is there a node to which there can be no data connection?  Then `text` says why. */
static bool unlike(const struct control *c, const struct control_group *g, char *text, size_t bytes)
{
	char us[96], them[96];
	struct peer_about about;

	for (uint16_t n = 0; n < g->group->nodes; n++) {
		if (g->peers[n] == CONTROL_NOBODY)
			continue;
		peers_about(c->peers, g->peers[n], &about);
		if (about.state != PEER_STATE_KNOWN || !about.unlike)
			continue;
		group_node_text(g->group, g->group->node, us, sizeof(us));
		group_node_text(g->group, n, them, sizeof(them));
		(void)snprintf(text, bytes,
			       "%s moves data over %s, %s over %s; set [engine] transport to one "
			       "word, or to auto, on both",
			       us, wire_offers_text(peers_offers(c->peers)), them,
			       wire_offers_text(about.offers));
		return true;
	}
	return false;
}

bool setup_check(struct control *c, uint64_t now_ns)
{
	bool any = false;

	for (struct control_group *g = c->groups; g; g = g->next) {
		struct wire_ready ready = {
			.group = g->group->id, .epoch = g->group->epoch, .node = g->group->node};
		char text[WIRE_TEXT_BYTES];

		if (g->state != CONTROL_SETUP || g->failed)
			continue;
		if (unlike(c, g, text, sizeof(text))) {
			setup_fail(c, g, -EPROTO, text, now_ns);
			any = true;
			continue;
		}
		if (unconnected(c, g) >= 0)
			continue;
		g->state = CONTROL_READY;
		for (uint32_t i = 0; i < g->group->local_ranks; i++)
			g->seats[i].create->state = CREATE_READY;
		frame_to_root(c, g->root, WIRE_READY, &ready, sizeof(ready), now_ns);
		any = true;
	}
	return any;
}

/* --- GO ------------------------------------------------------------------------------------- */

static void answer_created(struct control *c, struct control_group *g, uint32_t i, uint64_t now_ns)
{
	struct group_local *local = &g->group->local[i];
	struct create *create = g->seats[i].create;
	struct ctl_created created = {.group = g->group->id,
				      .handle = local->handle,
				      .nodes = g->group->nodes,
				      .node = g->group->node,
				      .lanes = g->group->lanes};
	struct engine_command add = {.kind = ENGINE_RANK_ADD,
				     .local_rank = i,
				     .client = local->client,
				     .handle = local->handle};

	g->seats[i].create = NULL;
	if (create->gone) {
		local->state = GROUP_RANK_LEFT;
		local->error = GROUP_DIED;
		(void)snprintf(local->why, sizeof(local->why), "died while the group was formed");
		create_free(c, create, now_ns);
		end_rank_left(c, g, i, now_ns);
		return;
	}
	for (uint32_t lane = 0; lane < g->group->lanes; lane++) {
		add.exchange = g->exchanges[lane];
		control_command(c, lane, &add);
	}
	client_why(c->clients, local->client, local->handle, g->group->ended_text);
	client_answer_created(c->clients, create->client, create->id, &created);
	create_free(c, create, now_ns);
}

void setup_go(struct control *c, uint16_t root, const struct wire_ready *go, uint64_t now_ns)
{
	struct control_group *g = control_group_of(c, go->group);

	if (!g || g->state != CONTROL_READY || g->root != root || go->epoch != g->group->epoch)
		return;
	g->state = CONTROL_RUNNING;
	log_put(c->log, LOG_LEVEL_INFO, LOG_GROUP_FORMED,
		"group \"%s\" has %u ranks on %u nodes, %u of them here group=%016" PRIx64
		" node=%u lanes=%u paths=%u chunk_bytes_max=%u chunk_bytes_usual=%u"
		" flat_bytes_max=%u bytes=%" PRIu64,
		g->group->name, g->group->ranks, g->group->nodes, g->group->local_ranks,
		g->group->id, g->group->node, g->group->lanes, g->group->paths,
		g->group->chunk_bytes_max, g->group->chunk_bytes_usual, g->group->flat_bytes_max,
		g->memory_bytes);
	for (uint32_t i = 0; i < g->group->local_ranks; i++)
		answer_created(c, g, i, now_ns);
	end_if_dead(c, g, now_ns);
}
