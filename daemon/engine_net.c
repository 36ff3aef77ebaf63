/*
 * engine_net.c - frames in and out; see engine.h, link.h, transport.h.
 *
 * A frame's way in: header (numbered? whose group? is there a slot?) -> placed -> whole
 * -> credits and acknowledgement -> exchange.  Its way out: exchange -> log of the link
 * -> transport.  A frame of a group that this lane does not know is counted and thrown
 * away; one that breaks its group's rules ends the connection and is reported.
 */
#include "daemon/engine_state.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
	EVENTS = 32,
	CALL_NS = 200000000, /* an op that stands still so long is told to the others */
	LAZY_NS = 1000000,   /* small debts wait that long for a frame to ride on */
};

/* Give back what the peer has and the transport no longer needs. */
static void release(struct engine *e, uint16_t peer, uint16_t path)
{
	struct link_entry *entry;

	while ((entry = link_released(&e->peers[peer].link, path)))
		exchange_released(entry->exchange, entry->buffer);
}

void engine_path_add(struct engine *e, const struct engine_command *c)
{
	struct engine_peer *peer = &e->peers[c->peer];
	struct engine_fact down = {.kind = ENGINE_PATH_DOWN, .peer = c->peer, .path = c->path};

	assert(c->peer < ENGINE_PEERS_MAX && c->path < e->options.paths && !peer->removing);
	if (!peer->used && link_init(&peer->link, (uint16_t)e->options.paths) == 0) {
		peer->used = true;
		if (c->peer >= e->peers_end)
			e->peers_end = c->peer + 1u;
	}
	down.error = peer->used ? 0 : -ENOMEM;
	if (!down.error && !link_up(&peer->link, c->path, c->received)) {
		(void)close(c->fd);
		engine_tell(e, &(struct engine_fact){
				       .kind = ENGINE_PEER_LIES, .peer = c->peer, .path = c->path});
		return;
	}
	if (!down.error) {
		release(e, c->peer, c->path);
		down.error = e->ops->attach(e->transport, c->peer, c->path, c->fd, c->offers);
		if (!down.error) {
			peer->attached++;
			return;
		}
		link_down(&peer->link, c->path);
		down.received = peer->link.path[c->path].received;
	}
	(void)close(c->fd);
	engine_tell(e, &down);
}

void engine_path_cut(struct engine *e, uint16_t peer, uint16_t path)
{
	if (e->peers[peer].used && e->peers[peer].link.path[path].up)
		e->ops->detach(e->transport, peer, path);
}

void engine_peer_remove(struct engine *e, uint16_t number)
{
	struct engine_peer *peer = &e->peers[number];

	peer->removing = true;
	if (number >= e->peers_end)
		e->peers_end = number + 1u;
	for (uint16_t p = 0; peer->used && p < peer->link.paths; p++)
		engine_path_cut(e, number, p);
	for (uint32_t g = 0; g < e->groups_end; g++) {
		struct engine_group *group = &e->groups[g];

		if (group->used && group->node_of_peer[number] != ENGINE_NOBODY)
			exchange_node_gone(group->exchange, group->node_of_peer[number]);
	}
}

static struct engine_path_stats *stats_of(struct engine *e, uint16_t peer, uint16_t path)
{
	return &e->path_stats[peer * WIRE_PATHS_MAX + path];
}

/* A figure that only this thread writes. */
static void add(_Atomic uint64_t *figure, uint64_t more)
{
	atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + more,
			      memory_order_relaxed);
}

bool engine_peer_finish_removal(struct engine *e, uint16_t number)
{
	struct engine_peer *peer = &e->peers[number];
	struct link_entry *entry;

	if (!peer->removing || peer->attached)
		return false;
	if (peer->used) {
		while ((entry = link_drop(&peer->link)))
			exchange_released(entry->exchange, entry->buffer);
		link_deinit(&peer->link);
	}
	memset(peer, 0, sizeof(*peer));
	memset(&e->path_stats[number * WIRE_PATHS_MAX], 0, WIRE_PATHS_MAX * sizeof(*e->path_stats));
	engine_tell(e, &(struct engine_fact){.kind = ENGINE_PEER_REMOVED, .peer = number});
	return true;
}

bool engine_arriving_in(const struct engine *e, const struct exchange *x)
{
	for (uint32_t p = 0; p < e->peers_end; p++)
		for (uint32_t i = 0; i < WIRE_PATHS_MAX; i++)
			if (e->peers[p].arriving[i].exchange == x)
				return true;
	return false;
}

/* The peer broke the protocol of the link itself. */
static void peer_lies(struct engine *e, uint16_t peer, uint16_t path)
{
	e->ops->detach(e->transport, peer, path);
	engine_tell(e, &(struct engine_fact){.kind = ENGINE_PEER_LIES, .peer = peer, .path = path});
}

static void bad_frame(struct engine *e, const struct transport_event *event,
		      const struct engine_group *group)
{
	uint64_t frames = e->peers[event->peer].taken[event->path];

	e->ops->detach(e->transport, event->peer, event->path);
	engine_tell(e, &(struct engine_fact){.kind = ENGINE_BAD_FRAME,
					     .exchange = group->exchange,
					     .node = group->node_of_peer[event->peer],
					     .peer = event->peer,
					     .path = event->path,
					     .frames = frames,
					     .seq = event->frame.seq});
}

/* What belongs on a data connection: contributions and finals are numbered, credits may be. */
static bool frame_fits_link(struct engine *e, const struct transport_event *event)
{
	const struct wire_frame *frame = &event->frame;

	switch (link_arriving(&e->peers[event->peer].link, event->path, frame)) {
	case LINK_TAKE:
		return frame->kind == WIRE_CONTRIBUTION || frame->kind == WIRE_FINAL ||
		       frame->kind == WIRE_CREDIT;
	case LINK_NOT_NUMBERED: return frame->kind == WIRE_CREDIT || frame->kind == WIRE_CALL;
	case LINK_WRONG_NUMBER: return false;
	}
	return false;
}

/* A frame of a group that we are in: find it a place.  Return: false: it breaks its rules. */
static bool frame_fits_group(struct engine *e, const struct engine_group *group, uint16_t path,
			     const struct wire_frame *frame, struct engine_arriving *arriving)
{
	if (frame->epoch != exchange_plan(group->exchange)->epoch ||
	    frame->node != arriving->node || frame->lane != e->options.lane || frame->path != path)
		return false;
	if (frame->kind == WIRE_CONTRIBUTION || frame->kind == WIRE_FINAL) {
		arriving->memory = exchange_place(group->exchange, arriving->node, frame);
		if (!arriving->memory)
			return false;
	}
	arriving->exchange = group->exchange;
	return true;
}

/*
 * Take the number of a frame and find it a place.
 * Return: false: the connection is being ended.
 */
static bool header_arrived(struct engine *e, const struct transport_event *event)
{
	struct engine_peer *peer = &e->peers[event->peer];
	struct engine_arriving arriving = {0};
	const struct wire_frame *frame = &event->frame;
	struct engine_group *group = frame->group ? engine_group_of(e, frame->group) : NULL;

	if (peer->removing || !peer->link.path[event->path].up)
		return false;
	if (group)
		arriving.node = group->node_of_peer[event->peer];
	if (!frame_fits_link(e, event) || (group && arriving.node == ENGINE_NOBODY)) {
		peer_lies(e, event->peer, event->path);
		return false;
	}
	if (frame->group && (!group || (group->removing && exchange_idle(group->exchange)) ||
			     exchange_stale(group->exchange, arriving.node, frame))) {
		engine_count(&e->stats.frames_stale, 1);
	} else if (group && !frame_fits_group(e, group, event->path, frame, &arriving)) {
		bad_frame(e, event, group);
		return false;
	}
	peer->arriving[event->path] = arriving;
	return true;
}

static void acknowledged(struct engine *e, uint16_t number, uint16_t path, uint32_t ack)
{
	if (!link_ack(&e->peers[number].link, path, ack)) {
		peer_lies(e, number, path);
		return;
	}
	release(e, number, path);
}

static void frame_arrived(struct engine *e, const struct transport_event *event)
{
	struct engine_peer *peer = &e->peers[event->peer];
	struct engine_arriving arriving = peer->arriving[event->path];
	struct engine_path_stats *stats = stats_of(e, event->peer, event->path);
	const struct wire_frame *frame = &event->frame;

	peer->arriving[event->path] = (struct engine_arriving){0};
	if (frame->path_seq)
		link_arrived(&peer->link, event->path, frame);
	peer->taken[event->path]++;
	engine_count(&e->stats.frames_received, 1);
	engine_count(&e->stats.payload_received, frame->payload_bytes);
	add(&stats->frames_received, 1);
	add(&stats->payload_received, frame->payload_bytes);
	acknowledged(e, event->peer, event->path, frame->path_ack);
	if (arriving.exchange)
		exchange_credit(arriving.exchange, arriving.node, frame->credit_contribution,
				frame->credit_final);
	if (arriving.exchange && frame->kind == WIRE_CALL)
		exchange_called(arriving.exchange, frame);
	if (arriving.memory && event->verdict != WIRE_OK)
		exchange_damaged(arriving.exchange, arriving.node, frame, arriving.memory);
	else if (arriving.memory)
		exchange_arrived(arriving.exchange, arriving.node, frame, arriving.memory,
				 frame->payload_bytes ? event->payload : arriving.memory);
}

static void path_down(struct engine *e, const struct transport_event *event)
{
	struct engine_peer *peer = &e->peers[event->peer];
	struct engine_arriving *arriving = &peer->arriving[event->path];

	assert(peer->attached);
	peer->attached--;
	if (arriving->memory)
		exchange_unplace(arriving->exchange, arriving->node, arriving->memory);
	*arriving = (struct engine_arriving){0};
	link_down(&peer->link, event->path);
	peer->over[event->path] = NULL;
	release(e, event->peer, event->path);
	for (uint32_t g = 0; g < e->groups_end; g++) {
		const struct engine_group *group = &e->groups[g];

		if (group->used && group->node_of_peer[event->peer] != ENGINE_NOBODY)
			exchange_path_lost(group->exchange, group->node_of_peer[event->peer]);
	}
	engine_tell(e, &(struct engine_fact){.kind = ENGINE_PATH_DOWN,
					     .peer = event->peer,
					     .path = event->path,
					     .error = event->error,
					     .why = event->why,
					     .verdict = event->verdict,
					     .received = peer->link.path[event->path].received,
					     .frames = peer->taken[event->path]});
}

/* Where the payload of a frame that has been given a slot, or none, goes. */
static void *place_of(const struct engine *e, const struct transport_event *event,
		      const struct engine_arriving *arriving)
{
	if (!arriving->memory || !e->ops->at_hand ||
	    !e->ops->at_hand(e->transport, event->peer, event->path))
		return arriving->memory;
	return exchange_may_stay(arriving->exchange, arriving->node, arriving->memory)
		       ? TRANSPORT_STAYS
		       : arriving->memory;
}

static void handle(struct engine *e, const struct transport_event *event)
{
	struct engine_peer *peer = &e->peers[event->peer];

	switch (event->kind) {
	case TRANSPORT_HEADER:
		if (header_arrived(e, event))
			e->ops->place(e->transport, event->peer, event->path,
				      place_of(e, event, &peer->arriving[event->path]));
		return;
	case TRANSPORT_FRAME:
		/* Without payload there was no HEADER before. */
		if (event->frame.payload_bytes || header_arrived(e, event))
			frame_arrived(e, event);
		return;
	case TRANSPORT_SENT:
		if (!event->cookie)
			return; /* it had no payload and is in no log */
		link_flushed(&peer->link, event->path, (uint32_t)event->cookie);
		release(e, event->peer, event->path);
		return;
	case TRANSPORT_DOWN: path_down(e, event); return;
	}
}

bool engine_take_events(struct engine *e)
{
	struct transport_event events[EVENTS];
	size_t n = e->ops->poll(e->transport, events, EVENTS);

	for (size_t i = 0; i < n; i++)
		handle(e, &events[i]);
	return n > 0;
}

/* Give a logged frame to the transport, with today's acknowledgement. */
static void transmit(struct engine *e, uint16_t number, uint16_t path, struct link_entry *entry)
{
	struct link *link = &e->peers[number].link;
	struct engine_path_stats *stats = stats_of(e, number, path);
	struct wire_frame frame = entry->frame;

	link_announce(link, path, &frame);
	e->ops->send(e->transport, number, path, &frame, entry->payload, frame.path_seq);
	engine_count(&e->stats.frames_sent, 1);
	engine_count(&e->stats.payload_sent, frame.payload_bytes);
	add(&stats->frames_sent, 1);
	add(&stats->payload_sent, frame.payload_bytes);
}

/*
 * What was sent again may have been overtaken: an op that ended, or whose final proves
 * that its owner has it, may have its memory used for something else.  Its number is
 * then sent without payload.
 */
static void transmit_again(struct engine *e, uint16_t number, uint16_t path,
			   struct link_entry *entry)
{
	const struct wire_frame *f = &entry->frame;

	engine_count(&e->stats.frames_resent, 1);
	if (!entry->buffer && entry->payload && !exchange_open(entry->exchange, f->seq)) {
		const struct engine_group *group = engine_group_with(e, entry->exchange);

		/* The peer will not take a slot for it, so it will not grant one back. */
		exchange_unsent(entry->exchange, group->node_of_peer[number]);
		entry->frame = (struct wire_frame){
			.kind = WIRE_CREDIT,
			.group = f->group,
			.epoch = f->epoch,
			.node = f->node,
			.lane = f->lane,
			.path_seq = f->path_seq,
			.credit_contribution = f->credit_contribution,
			.credit_final = f->credit_final,
		};
		entry->payload = NULL;
	}
	transmit(e, number, path, entry);
}

static bool send_again(struct engine *e)
{
	bool any = false;

	for (uint16_t n = 0; n < e->peers_end; n++) {
		struct engine_peer *peer = &e->peers[n];

		for (uint16_t p = 0; peer->used && !peer->removing && p < peer->link.paths; p++) {
			struct link_entry *entry;

			while ((entry = link_resend(&peer->link, p)) &&
			       e->ops->room(e->transport, n, p)) {
				transmit_again(e, n, p, entry);
				link_resent(&peer->link, p);
				any = true;
			}
		}
	}
	return any;
}

/* The path of a peer with most room, or one where frames wait for another to go with; or -1. */
static int best_path(struct engine *e, uint16_t number)
{
	struct engine_peer *peer = &e->peers[number];
	uint32_t best_room = 0;
	int best = -1;

	if (!peer->used || peer->removing)
		return -1;
	for (uint16_t p = 0; p < peer->link.paths; p++) {
		uint32_t room, waiting = 0;

		if (!link_room(&peer->link, p))
			continue;
		room = e->ops->room(e->transport, number, p);
		if (room && engine_gathers(e, number, p, &waiting) && waiting)
			return p;
		if (room > best_room) {
			best_room = room;
			best = p;
		}
	}
	return best;
}

/* One frame of a group for each other node, beginning behind our own. */
static bool send_of_group(struct engine *e, struct engine_group *group)
{
	const struct exchange_plan *plan = exchange_plan(group->exchange);
	struct exchange_send send;
	bool any = false;

	for (uint32_t i = 1; i < plan->nodes; i++) {
		uint16_t node = (uint16_t)((plan->node + i) % plan->nodes);
		uint16_t peer = group->peers[node];
		int path = best_path(e, peer);
		struct link_entry *entry;

		if (path < 0 || !exchange_next(group->exchange, node, &send))
			continue;
		entry = link_push(&e->peers[peer].link, (uint16_t)path, &send.frame, send.payload,
				  group->exchange, send.buffer);
		transmit(e, peer, (uint16_t)path, entry);
		any = true;
	}
	return any;
}

bool engine_send_frames(struct engine *e)
{
	bool any = send_again(e);
	bool more;

	do {
		more = false;
		for (uint32_t i = 0; i < e->groups_end; i++) {
			struct engine_group *group = &e->groups[(e->turn + i) % e->groups_end];

			if (group->used)
				more |= send_of_group(e, group);
		}
		any |= more;
	} while (more);
	e->turn++;
	return any;
}

static void send_small(struct engine *e, uint16_t number, uint16_t path, struct wire_frame *frame)
{
	link_announce(&e->peers[number].link, path, frame);
	e->ops->send(e->transport, number, path, frame, NULL, 0);
	engine_count(&e->stats.frames_sent, 1);
	add(&stats_of(e, number, path)->frames_sent, 1);
}

/* Tell every other node what is called as the op that stands still. */
static void call_out(struct engine *e, struct engine_group *group)
{
	uint16_t nodes = exchange_plan(group->exchange)->nodes;

	for (uint16_t n = 0; n < nodes; n++) {
		int path = group->peers[n] == ENGINE_NOBODY ? -1 : best_path(e, group->peers[n]);
		struct wire_frame frame;

		if (path < 0)
			continue;
		exchange_call(group->exchange, n, &frame);
		send_small(e, group->peers[n], (uint16_t)path, &frame);
	}
}

void engine_call_out(struct engine *e)
{
	if (e->now_ns < e->call_at_ns)
		return;
	e->call_at_ns = e->now_ns + CALL_NS;
	for (uint32_t g = 0; g < e->groups_end; g++) {
		struct engine_group *group = &e->groups[g];
		uint64_t seq = group->used ? exchange_waits_for(group->exchange) : 0;

		if (seq && seq == group->waited_for)
			call_out(e, group);
		group->waited_for = seq;
	}
}

/* A peer none of whose paths is up is told when one is; nothing has to be looked at before. */
static bool reachable(const struct engine *e, uint16_t number)
{
	const struct engine_peer *peer = &e->peers[number];

	for (uint16_t p = 0; peer->used && !peer->removing && p < peer->link.paths; p++)
		if (peer->link.path[p].up)
			return true;
	return false;
}

static void send_credit(struct engine *e, struct engine_group *group, uint16_t number,
			uint16_t path)
{
	struct wire_frame frame = {.kind = WIRE_CREDIT, .lane = (uint16_t)e->options.lane};

	if (group) {
		const struct exchange_plan *plan = exchange_plan(group->exchange);

		frame.group = plan->group;
		frame.epoch = plan->epoch;
		frame.node = plan->node;
		frame.done_through = exchange_done_through(group->exchange);
		exchange_announce(group->exchange, group->node_of_peer[number], &frame);
	}
	send_small(e, number, path, &frame);
}

/* Pay credits of at least `urgency`.  Sets *left if smaller ones remain. */
static bool pay_credits(struct engine *e, enum exchange_owing urgency, bool *left)
{
	bool any = false;

	for (uint32_t g = 0; g < e->groups_end; g++) {
		struct engine_group *group = &e->groups[g];
		uint16_t nodes = group->used ? exchange_plan(group->exchange)->nodes : 0;

		for (uint16_t n = 0; n < nodes; n++) {
			enum exchange_owing owes;
			int path;

			if (group->peers[n] == ENGINE_NOBODY || !reachable(e, group->peers[n]))
				continue;
			owes = exchange_owes(group->exchange, n);
			if (owes == EXCHANGE_OWES_NOTHING)
				continue;
			path = owes >= urgency ? best_path(e, group->peers[n]) : -1;
			if (path < 0) {
				*left = true;
				continue;
			}
			send_credit(e, group, group->peers[n], (uint16_t)path);
			any = true;
		}
	}
	return any;
}

static bool pay_acks(struct engine *e, int urgency, bool *left)
{
	bool any = false;

	for (uint16_t n = 0; n < e->peers_end; n++) {
		struct engine_peer *peer = &e->peers[n];

		for (uint16_t p = 0; peer->used && !peer->removing && p < peer->link.paths; p++) {
			int owes = peer->link.path[p].up ? link_owes_ack(&peer->link, p) : 0;

			if (!owes)
				continue;
			if (owes < urgency || !e->ops->room(e->transport, n, p)) {
				*left = true;
				continue;
			}
			send_credit(e, NULL, n, p);
			any = true;
		}
	}
	return any;
}

bool engine_pay_debts(struct engine *e)
{
	bool due = e->lazy_at_ns && e->now_ns >= e->lazy_at_ns;
	bool left = false;
	bool any;

	any = pay_credits(e, due ? EXCHANGE_OWES_SOME : EXCHANGE_OWES_SOON, &left);
	any |= pay_acks(e, due ? 1 : 2, &left);
	if (!left)
		e->lazy_at_ns = 0;
	else if (due || !e->lazy_at_ns)
		e->lazy_at_ns = e->now_ns + LAZY_NS;
	return any;
}
