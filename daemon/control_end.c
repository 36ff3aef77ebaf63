/* control_end.c - how ops and groups end; see control.h, and group.h for the errors. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/control_state.h"

/* --- the decision --------------------------------------------------------------------------- */

static void log_end(struct control *c, const struct control_group *g, uint64_t first, int error,
		    const char *text)
{
	enum log_level level = error == GROUP_LEFT ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING;
	enum log_id id = error == GROUP_MISMATCH  ? LOG_OP_MISMATCH
			 : error == GROUP_ABORTED ? LOG_OP_ABORTED
						  : LOG_GROUP_FAILED;

	log_put(c->log, level, id, "group \"%s\": %s group=%016" PRIx64 " first_op=%" PRIu64,
		g->group->name, text, g->group->id, first);
}

static void tell_lanes(struct control *c, struct control_group *g, uint64_t first, uint64_t last,
		       int error, const char *text)
{
	struct engine_command end = {
		.kind = ENGINE_GROUP_END, .first_seq = first, .last_seq = last, .error = error};
	char words[WIRE_TEXT_BYTES];

	group_end_words(g->group, text, words, sizeof(words));
	/* The words before any completion that needs them. */
	for (uint32_t i = 0; i < g->group->local_ranks; i++) {
		const struct group_local *local = &g->group->local[i];

		if (local->state == GROUP_RANK_HERE && !g->seats[i].create)
			client_why(c->clients, local->client, local->handle, words);
	}
	for (uint32_t lane = 0; lane < g->group->lanes; lane++) {
		end.exchange = g->exchanges[lane];
		control_command(c, lane, &end);
	}
	log_end(c, g, first, error, text);
}

void end_apply(struct control *c, struct control_group *g, uint64_t first, uint64_t last, int error,
	       const char *text)
{
	if (group_ending(g->group, first, last, error, text))
		tell_lanes(c, g, first, last, error, text);
}

static void fill_end(const struct control_group *g, struct wire_end *end, uint64_t first,
		     uint64_t last, int error, const char *text)
{
	*end = (struct wire_end){.group = g->group->id,
				 .first_seq = first,
				 .last_seq = last,
				 .epoch = g->group->epoch,
				 .error = error};
	(void)snprintf(end->text, sizeof(end->text), "%s", text);
}

void end_decide(struct control *c, struct control_group *g, uint64_t first, uint64_t last,
		int error, const char *text, uint64_t now_ns)
{
	struct wire_end end;

	if (!group_ending(g->group, first, last, error, text))
		return;
	fill_end(g, &end, first, last, error, text);
	for (uint16_t n = 1; n < g->group->nodes; n++)
		frame_to_node(c, g, n, WIRE_END, &end, sizeof(end), now_ns);
	tell_lanes(c, g, first, last, error, text);
}

void end_propose(struct control *c, struct control_group *g, uint64_t first, uint64_t last,
		 int error, const char *text, uint64_t now_ns)
{
	struct wire_end end;

	if (g->group->node == 0) {
		end_decide(c, g, first, last, error, text, now_ns);
	} else if (g->group->node_list[0].dead) {
		end_apply(c, g, first, last, error, text);
	} else if (first < g->group->ended_from) {
		fill_end(g, &end, first, last, error, text);
		frame_to_node(c, g, 0, WIRE_PROPOSE, &end, sizeof(end), now_ns);
	}
}

/* --- a rank leaves -------------------------------------------------------------------------- */

/* Tell the decider that the rank is in ops 1..posted and in no later one. */
static void tell_leave(struct control *c, struct control_group *g, const struct group_local *local,
		       uint64_t now_ns)
{
	struct wire_leave leave = {
		.group = g->group->id,
		.posted_through = local->posted,
		.epoch = g->group->epoch,
		.rank = local->rank,
		.error = local->error == GROUP_LEFT ? 0 : local->error,
	};
	char who[160];

	if (local->posted + 1 >= g->group->ended_from)
		return;
	group_local_text(g->group, local, who, sizeof(who));
	(void)snprintf(leave.text, sizeof(leave.text), "%s %.*s", who, 200, local->why);
	if (g->group->node == 0 || g->group->node_list[0].dead)
		end_propose(c, g, local->posted + 1, UINT64_MAX, local->error, leave.text, now_ns);
	else
		frame_to_node(c, g, 0, WIRE_LEAVE, &leave, sizeof(leave), now_ns);
}

void end_rank_left(struct control *c, struct control_group *g, uint32_t i, uint64_t now_ns)
{
	struct group_local *local = &g->group->local[i];
	struct seat *seat = &g->seats[i];

	if (seat->destroying) {
		seat->destroying = false;
		if (client_attached(c->clients, local->client)) {
			client_handle_give(c->clients, local->client, local->handle);
			client_answer_ok(c->clients, local->client, seat->destroy_id);
		}
	}
	tell_leave(c, g, local, now_ns);
}

void end_rank_posted(struct control *c, struct control_group *g, uint32_t i, uint64_t seq,
		     uint64_t now_ns)
{
	if (group_rank_posted(g->group, i, seq))
		end_rank_left(c, g, i, now_ns);
}

static void leave(struct control_group *g, uint32_t i, int error, const char *why)
{
	struct group_local *local = &g->group->local[i];

	local->state = GROUP_RANK_LEAVING;
	local->error = error;
	(void)snprintf(local->why, sizeof(local->why), "%s", why);
}

static void command_leave(struct control *c, struct control_group *g, uint32_t i)
{
	for (uint32_t lane = 0; lane < g->group->lanes; lane++)
		control_command(c, lane,
				&(struct engine_command){.kind = ENGINE_RANK_LEAVE,
							 .exchange = g->exchanges[lane],
							 .local_rank = i});
}

/* Return: local rank, or -1. */
static int rank_of(const struct control_group *g, uint32_t client, uint32_t handle)
{
	for (uint32_t i = 0; i < g->group->local_ranks; i++) {
		const struct group_local *local = &g->group->local[i];

		if (local->client == client && local->handle == handle &&
		    local->state == GROUP_RANK_HERE && !g->seats[i].create)
			return (int)i;
	}
	return -1;
}

void end_destroy(struct control *c, const struct client_request *request)
{
	struct control_group *g = c->groups;
	int i = -1;

	while (g && (i = rank_of(g, request->client, request->destroy.handle)) < 0)
		g = g->next;
	if (!g) {
		client_answer_error(c->clients, request->client, request->id, -ENOENT,
				    "no group has this handle, or it is being destroyed already");
		return;
	}
	g->seats[i].destroying = true;
	g->seats[i].destroy_id = request->id;
	leave(g, (uint32_t)i, GROUP_LEFT, "destroyed the group");
	command_leave(c, g, (uint32_t)i);
}

void end_client_gone(struct control *c, uint32_t client, const char *why)
{
	char text[WIRE_TEXT_BYTES];

	(void)snprintf(text, sizeof(text), "died: %.*s", 200, why);
	/* The lanes answer for each of its ranks when they are told CLIENT_REMOVE. */
	for (struct control_group *g = c->groups; g; g = g->next)
		for (uint32_t i = 0; i < g->group->local_ranks; i++)
			if (g->group->local[i].client == client && !g->seats[i].create &&
			    g->group->local[i].state == GROUP_RANK_HERE)
				leave(g, i, GROUP_DIED, text);
}

/* --- a node dies ---------------------------------------------------------------------------- */

static void node_died(struct control *c, struct control_group *g, uint16_t n, const char *what,
		      uint64_t now_ns)
{
	char text[WIRE_TEXT_BYTES], node[160], us[160];

	g->group->node_list[n].dead = true;
	group_node_text(g->group, n, node, sizeof(node));
	(void)snprintf(text, sizeof(text), "%s %.*s", node, 200, what);
	if (g->state == CONTROL_SETUP || g->state == CONTROL_READY) {
		group_node_text(g->group, g->group->node, us, sizeof(us));
		(void)snprintf(text, sizeof(text), "%s cannot reach %s, which %.*s", us, node, 40,
			       what);
		setup_fail(c, g, GROUP_DIED, text, now_ns);
		return;
	}
	end_propose(c, g, 1, UINT64_MAX, GROUP_DIED, text, now_ns);
}

void end_peer_died(struct control *c, uint16_t peer, const char *what, uint64_t now_ns)
{
	for (struct control_group *g = c->groups; g; g = g->next)
		for (uint16_t n = 0; n < g->group->nodes; n++)
			if (g->peers[n] == peer && !g->group->node_list[n].dead)
				node_died(c, g, n, what, now_ns);
}

void end_if_dead(struct control *c, struct control_group *g, uint64_t now_ns)
{
	for (uint16_t n = 0; n < g->group->nodes; n++)
		if (g->group->node_list[n].dead)
			node_died(c, g, n, "died while the group was formed", now_ns);
}

void end_give_up(struct control *c, struct control_group *g, uint64_t now_ns)
{
	char text[WIRE_TEXT_BYTES], us[160];

	group_node_text(g->group, g->group->node, us, sizeof(us));
	(void)snprintf(text, sizeof(text), "%s gave up before the group was complete", us);
	end_propose(c, g, 1, UINT64_MAX, GROUP_DIED, text, now_ns);
}

/* --- the end of groups ---------------------------------------------------------------------- */

void end_all(struct control *c, const char *text, uint64_t now_ns)
{
	for (struct control_group *g = c->groups; g; g = g->next) {
		if (g->state == CONTROL_SETUP || g->state == CONTROL_READY) {
			setup_undo(c, g, now_ns);
			continue;
		}
		end_propose(c, g, 1, UINT64_MAX, GROUP_STOPPED, text, now_ns);
		end_apply(c, g, 1, UINT64_MAX, GROUP_STOPPED, text);
		for (uint32_t i = 0; i < g->group->local_ranks; i++)
			if (g->group->local[i].state == GROUP_RANK_HERE) {
				leave(g, i, GROUP_STOPPED, text);
				command_leave(c, g, i);
			}
	}
}

void end_remove(struct control *c)
{
	for (struct control_group *g = c->groups; g; g = g->next) {
		/* The decider's word first: it may concern ops that are still open. */
		if (g->state != CONTROL_RUNNING || !group_all_left(g->group) ||
		    g->group->ended_from == UINT64_MAX)
			continue;
		g->state = CONTROL_REMOVING;
		for (uint32_t lane = 0; lane < g->group->lanes; lane++)
			control_command(c, lane,
					&(struct engine_command){.kind = ENGINE_GROUP_REMOVE,
								 .exchange = g->exchanges[lane]});
	}
}
