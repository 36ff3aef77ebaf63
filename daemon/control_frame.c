/* control_frame.c - frames between daemons, those to ourselves included; see control.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/control_state.h"

void frame_own_node(const struct control *c, struct wire_node *out)
{
	*out = (struct wire_node){.instance = c->instance, .port = peers_port(c->peers)};
	(void)snprintf(out->address, sizeof(out->address), "%s", peers_address(c->peers));
	memcpy(out->host, c->host, sizeof(out->host));
}

/* --- out ------------------------------------------------------------------------------------ */

/* What we tell ourselves goes the same way, but for the socket. */
static void own_put(struct control *c, bool to_root, enum wire_kind kind, const void *payload,
		    uint32_t bytes)
{
	struct own_frame *frame = malloc(sizeof(*frame) + bytes);

	if (!frame)
		return; /* as if the root did not answer: a deadline ends the wait */
	*frame = (struct own_frame){.to_root = to_root, .kind = kind, .bytes = bytes};
	if (bytes)
		memcpy(frame->payload, payload, bytes);
	*c->own_last = frame;
	c->own_last = &frame->next;
}

static void put(struct control *c, bool to_root, uint16_t peer, enum wire_kind kind,
		const void *payload, uint32_t bytes, uint64_t now_ns)
{
	if (peer == CONTROL_NOBODY)
		own_put(c, to_root, kind, payload, bytes);
	else
		peers_send(c->peers, peer, kind, payload, bytes, now_ns);
}

void frame_to_root(struct control *c, uint16_t root, enum wire_kind kind, const void *payload,
		   uint32_t bytes, uint64_t now_ns)
{
	put(c, true, root, kind, payload, bytes, now_ns);
}

void frame_to_member(struct control *c, uint16_t member, enum wire_kind kind, const void *payload,
		     uint32_t bytes, uint64_t now_ns)
{
	put(c, false, member, kind, payload, bytes, now_ns);
}

void frame_to_node(struct control *c, const struct control_group *g, uint16_t node,
		   enum wire_kind kind, const void *payload, uint32_t bytes, uint64_t now_ns)
{
	if (!g->group->node_list[node].dead)
		frame_to_member(c, g->peers[node], kind, payload, bytes, now_ns);
}

bool frame_send_rendezvous(struct control *c, uint64_t now_ns)
{
	struct rendezvous_out out;
	bool any = false;

	while (rendezvous_next(c->rendezvous, &out)) {
		int peer = peers_find(c->peers, out.instance);

		any = true;
		if (out.instance == c->instance)
			frame_to_member(c, CONTROL_NOBODY, out.kind, out.payload, out.bytes,
					now_ns);
		else if (peer >= 0)
			frame_to_member(c, (uint16_t)peer, out.kind, out.payload, out.bytes,
					now_ns);
		if (out.kind == WIRE_REFUSE)
			log_put(c->log, LOG_LEVEL_INFO, LOG_RENDEZVOUS_FAILED,
				"refused rank %u: %s",
				((const struct wire_refuse *)out.payload)->rank,
				((const struct wire_refuse *)out.payload)->text);
	}
	return any;
}

/* --- in, as root ---------------------------------------------------------------------------- */

static void join_came(struct control *c, const struct wire_node *from, const struct wire_join *join,
		      uint64_t now_ns)
{
	struct wire_refuse refusal = {.uid = join->uid, .rank = join->rank, .error = -ESHUTDOWN};
	int peer = peers_find(c->peers, from->instance);

	if (!c->stopping) {
		rendezvous_join(c->rendezvous, from, join, now_ns);
		return;
	}
	memcpy(refusal.name, join->name, sizeof(refusal.name));
	memcpy(refusal.run, join->run, sizeof(refusal.run));
	(void)snprintf(refusal.text, sizeof(refusal.text), "carryd on host %s is being stopped",
		       c->host);
	frame_to_member(c, peer < 0 ? CONTROL_NOBODY : (uint16_t)peer, WIRE_REFUSE, &refusal,
			sizeof(refusal), now_ns);
}

/* --- in, as the decider --------------------------------------------------------------------- */

/* A group that our ranks have left already: whoever is still in it decides for himself. */
static void answer_end(struct control *c, uint16_t peer, const struct wire_end *end,
		       uint64_t now_ns)
{
	frame_to_member(c, peer, WIRE_END, end, sizeof(*end), now_ns);
}

/* The sender's node in the group, or -1: what it says of the group is logged, not obeyed. */
static int node_of(struct control *c, const struct control_group *g, uint16_t peer, uint32_t epoch,
		   const char *frame)
{
	struct peer_about about = {.node = {.host = ""}};
	int node = 0;

	while (node < g->group->nodes && g->peers[node] != peer)
		node++;
	if (node < g->group->nodes && epoch == g->group->epoch)
		return node;
	if (peer != CONTROL_NOBODY)
		peers_about(c->peers, peer, &about);
	log_put(c->log, LOG_LEVEL_WARNING, LOG_PEER_REFUSED,
		"ignored %s of group \"%s\" from host %s, which is %s", frame, g->group->name,
		peer == CONTROL_NOBODY ? c->host : about.node.host,
		node < g->group->nodes ? "in another epoch" : "not in it");
	return -1;
}

static void propose_came(struct control *c, uint16_t peer, const struct wire_end *end,
			 uint64_t now_ns)
{
	struct control_group *g = control_group_of(c, end->group);

	if (!g)
		answer_end(c, peer, end, now_ns);
	else if (g->group->node == 0 && node_of(c, g, peer, end->epoch, "PROPOSE") >= 0)
		end_decide(c, g, end->first_seq, end->last_seq, end->error, end->text, now_ns);
}

static void leave_came(struct control *c, uint16_t peer, const struct wire_leave *leave,
		       uint64_t now_ns)
{
	struct wire_end end = {
		.group = leave->group,
		.first_seq = leave->posted_through + 1,
		.last_seq = UINT64_MAX,
		.epoch = leave->epoch,
		.error = leave->error ? leave->error : GROUP_LEFT,
	};

	struct control_group *g = control_group_of(c, leave->group);

	/* A node speaks for its own ranks. */
	if (!end.first_seq ||
	    (g && (leave->rank >= g->group->ranks || node_of(c, g, peer, leave->epoch, "LEAVE") !=
							     g->group->node_of_rank[leave->rank])))
		return;
	(void)snprintf(end.text, sizeof(end.text), "%s",
		       leave->text[0] ? leave->text : "a rank left the group");
	propose_came(c, peer, &end, now_ns);
}

static void choose_came(struct control *c, uint16_t peer, const struct wire_choose *choose)
{
	struct control_group *g = control_group_of(c, choose->group);

	if (g && g->group->node == 0 && node_of(c, g, peer, choose->epoch, "CHOOSE") >= 0)
		choice_asked(c, g, choose);
}

/* --- in, as a member ------------------------------------------------------------------------ */

static void end_came(struct control *c, uint16_t peer, const struct wire_end *end)
{
	struct control_group *g = control_group_of(c, end->group);

	/* Only the decider's word counts. */
	if (g && g->state != CONTROL_SETUP && node_of(c, g, peer, end->epoch, "END") == 0)
		end_apply(c, g, end->first_seq, end->last_seq, end->error, end->text);
}

static void lease_came(struct control *c, uint16_t peer, const struct wire_lease *lease,
		       uint64_t now_ns)
{
	struct control_group *g = control_group_of(c, lease->group);

	if (g && g->state != CONTROL_SETUP && node_of(c, g, peer, lease->epoch, "LEASE") == 0)
		choice_came(c, g, peer, lease, now_ns);
}

static bool is_ours(const struct control *c, uint16_t root, const struct wire_refuse *refusal)
{
	for (const struct create *create = c->creates; create; create = create->next)
		if (create->state != CREATE_DIALLING && create->root == root &&
		    create->request.rank == refusal->rank && create->uid == refusal->uid &&
		    strcmp(create->request.name, refusal->name) == 0 &&
		    strcmp(create->request.run, refusal->run) == 0)
			return true;
	return false;
}

static void take(struct control *c, uint16_t peer, const struct wire_node *from, bool to_root,
		 enum wire_kind kind, const void *payload, uint64_t now_ns)
{
	switch (kind) {
	case WIRE_JOIN: join_came(c, from, payload, now_ns); return;
	case WIRE_REFUSE:
		/* A root says it to a member, a member to the root. */
		if (!to_root && is_ours(c, peer, payload))
			create_refused(c, peer, payload, now_ns);
		else
			rendezvous_withdraw(c->rendezvous, from->instance, payload);
		return;
	case WIRE_TABLE: setup_begin(c, peer, payload, now_ns); return;
	case WIRE_READY: rendezvous_ready(c->rendezvous, from->instance, payload); return;
	case WIRE_GO: setup_go(c, peer, payload, now_ns); return;
	case WIRE_LEAVE: leave_came(c, peer, payload, now_ns); return;
	case WIRE_PROPOSE: propose_came(c, peer, payload, now_ns); return;
	case WIRE_END: end_came(c, peer, payload); return;
	case WIRE_CHOOSE: choose_came(c, peer, payload); return;
	case WIRE_LEASE: lease_came(c, peer, payload, now_ns); return;
	case WIRE_HELLO:
	case WIRE_CONTRIBUTION:
	case WIRE_FINAL:
	case WIRE_CREDIT:
	case WIRE_CALL:
	case WIRE_BEAT:
	case WIRE_ACK:
	case WIRE_BYE: return; /* peer.c keeps these */
	}
}

void frame_take(struct control *c, const struct peer_event *event, uint64_t now_ns)
{
	struct peer_about about;

	peers_about(c->peers, event->peer, &about);
	take(c, event->peer, &about.node, false, (enum wire_kind)event->frame, event->payload,
	     now_ns);
}

bool frame_take_own(struct control *c, uint64_t now_ns)
{
	struct own_frame *frame = c->own_first;
	struct wire_node node;

	if (!frame)
		return false;
	c->own_first = frame->next;
	if (!c->own_first)
		c->own_last = &c->own_first;
	frame_own_node(c, &node);
	take(c, CONTROL_NOBODY, &node, frame->to_root, frame->kind, frame->payload, now_ns);
	free(frame);
	return true;
}
