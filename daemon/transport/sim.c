/*
 * sim.c - the transport over the simulated network of sim.h.
 *
 * An instance only keeps its ends and the order in which they got something to tell;
 * all else is in the ends, which sim_net.c changes as time passes.
 */
#include "daemon/transport/sim.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/transport/sim_net.h"

static struct sim_end **slot_of(struct transport *t, uint16_t peer, uint16_t path)
{
	assert(peer < TRANSPORT_PEERS_MAX && path < TRANSPORT_PATHS_MAX);
	return &t->ends[peer * TRANSPORT_PATHS_MAX + path];
}

/* --- telling -------------------------------------------------------------------------------- */

static struct sim_end *take_ready(struct transport *t)
{
	struct sim_end *end = t->ready[t->ready_first];

	t->ready_first = (t->ready_first + 1) % SIM_SLOTS;
	t->ready_count--;
	end->in_ready = false;
	return end;
}

/* Remove from the list, wherever it is. */
static void forget_ready(struct transport *t, struct sim_end *gone)
{
	for (uint32_t n = t->ready_count; n; n--) {
		struct sim_end *end = take_ready(t);

		if (end != gone)
			sim_want_report(end);
	}
}

static void release(struct transport *t, struct sim_end *end)
{
	forget_ready(t, end);
	t->ends[end->slot] = NULL;
	sim_finish_end(t->net, end);
}

/* The first frame is the caller's. */
static void consume(struct transport *t, struct sim_end *end)
{
	struct sim_frame *f = end->first;
	uint64_t bytes = WIRE_HEADER_BYTES + (uint64_t)f->header.payload_bytes;

	t->stats.frames_received++;
	t->stats.bytes_received += bytes;
	end->first = f->next;
	if (!end->first)
		end->last = NULL;
	end->progress = SIM_UNTOLD;
	end->dst = NULL;
	free(f);
	if (end->other->over)
		return;
	end->other->under_way -= bytes;
	sim_begin(t->net, end->other);
}

/* Return: whether the first frame had an event; its payload may have been broken. */
static bool frame_event(struct transport *t, struct sim_end *end, struct transport_event *event)
{
	struct sim_frame *f = end->first;
	enum wire_verdict verdict = WIRE_OK;

	if (!f || end->progress == SIM_TOLD)
		return false;
	event->frame = f->header;
	event->payload = end->dst;
	if (f->header.payload_bytes && f->header_here && end->progress == SIM_UNTOLD) {
		event->kind = TRANSPORT_HEADER;
		end->progress = SIM_TOLD;
		return true;
	}
	if (!f->whole_here)
		return false;
	if (end->dst) {
		memcpy(end->dst, f->payload, f->header.payload_bytes);
		verdict = wire_check_payload(&f->header, end->dst);
	}
	event->verdict = verdict;
	if (verdict != WIRE_OK && !(f->header.flags & WIRE_FLAG_ARENA)) {
		t->stats.bad_frames++;
		sim_break_end(end, -EBADMSG, verdict, true);
		sim_tell_other(t->net, end);
		return false;
	}
	event->kind = TRANSPORT_FRAME;
	consume(t, end);
	return true;
}

static bool next_event(struct transport *t, struct sim_end *end, struct transport_event *event)
{
	event->peer = (uint16_t)(end->slot / TRANSPORT_PATHS_MAX);
	event->path = (uint16_t)(end->slot % TRANSPORT_PATHS_MAX);
	if (end->head != end->sent) {
		event->kind = TRANSPORT_SENT;
		event->cookie = end->out[end->head++ % SIM_OUT_FRAMES].cookie;
		return true;
	}
	if (frame_event(t, end, event))
		return true;
	if (!end->error || end->first)
		return false;
	event->kind = TRANSPORT_DOWN;
	event->error = end->error;
	event->why = NULL;
	event->verdict = end->verdict;
	release(t, end);
	return true;
}

/* One event of each end in turn, so that they come in the order in which they happened. */
static size_t sim_poll(struct transport *t, struct transport_event *events, size_t max)
{
	size_t n = 0;

	while (n < max && t->ready_count) {
		struct sim_end *end = take_ready(t);

		if (!next_event(t, end, &events[n]))
			continue;
		if (events[n++].kind != TRANSPORT_DOWN)
			sim_want_report(end);
	}
	return n;
}

/* --- waiting -------------------------------------------------------------------------------- */

static bool take_wake(const struct transport *t)
{
	return t->options.lane_fd >= 0 && transport_take_wake(t->options.lane_fd);
}

/* Sleeping is moving the clock. */
static void sim_wait(struct transport *t, uint64_t timeout_ns)
{
	struct sim_net *net = t->net;
	uint64_t now_ns = sim_net_now(net);
	uint64_t end_ns = timeout_ns < UINT64_MAX - now_ns ? now_ns + timeout_ns : UINT64_MAX;

	if (take_wake(t) || t->ready_count)
		return;
	while (!t->ready_count && sim_net_next(net) <= end_ns && sim_net_next(net) != UINT64_MAX)
		sim_net_advance(net, sim_net_next(net));
	if (!t->ready_count && end_ns != UINT64_MAX)
		sim_net_advance(net, end_ns);
}

/* --- paths ---------------------------------------------------------------------------------- */

static const char *sim_over(struct transport *t, uint16_t peer, uint16_t path, char *about)
{
	(void)t;
	(void)peer;
	(void)path;
	about[0] = 0;
	return "TCP";
}

/* TCP, as everybody. */
static uint32_t sim_offers(const struct transport *t)
{
	(void)t;
	return 0;
}

static int sim_attach(struct transport *t, uint16_t peer, uint16_t path, int fd, uint32_t offers)
{
	struct sim_end **slot = slot_of(t, peer, path);
	struct sim_end *end = sim_find_end(t->net, fd);

	(void)offers;
	assert(!*slot);
	if (!end || end->over || end->owner)
		return -EBADF;
	if (end->node != t->options.sim_node)
		return -EINVAL;
	end->owner = t;
	end->slot = (uint16_t)(slot - t->ends);
	*slot = end;
	sim_want_report(end);
	return 0;
}

static void sim_detach(struct transport *t, uint16_t peer, uint16_t path)
{
	struct sim_end *end = *slot_of(t, peer, path);

	if (!end)
		return;
	sim_break_end(end, -ECANCELED, WIRE_OK, true);
	sim_tell_other(t->net, end);
}

static uint32_t sim_room(struct transport *t, uint16_t peer, uint16_t path)
{
	const struct sim_end *end = *slot_of(t, peer, path);
	uint32_t queue, ring;

	if (!end || end->error)
		return 0;
	queue = t->options.queue_frames - (end->tail - end->sent);
	ring = SIM_OUT_FRAMES - (end->tail - end->head);
	return queue < ring ? queue : ring;
}

static void sim_send(struct transport *t, uint16_t peer, uint16_t path,
		     const struct wire_frame *frame, const void *payload, uint64_t cookie)
{
	struct sim_end *end = *slot_of(t, peer, path);
	bool with_crc = t->options.payload_crc && frame->payload_bytes;
	struct sim_out *out;

	assert(sim_room(t, peer, path));
	assert(payload || !frame->payload_bytes);
	out = &end->out[end->tail++ % SIM_OUT_FRAMES];
	out->header = *frame;
	wire_seal(&out->header, with_crc ? payload : NULL);
	out->payload = payload;
	out->cookie = cookie;
	sim_begin(t->net, end);
}

static void sim_place(struct transport *t, uint16_t peer, uint16_t path, void *dst)
{
	struct sim_end *end = *slot_of(t, peer, path);

	if (!end || end->at_once || !end->first)
		return; /* it has gone down since */
	assert(end->progress == SIM_TOLD);
	end->progress = SIM_PLACED;
	end->dst = dst;
	sim_want_report(end);
}

/* --- open and close ------------------------------------------------------------------------- */

static int sim_open(struct transport **out, const struct transport_options *options,
		    struct err *err)
{
	struct transport *t;

	if (!options->sim || options->sim_node >= options->sim->options.nodes)
		return err_set(err, -EINVAL, "the sim transport needs a network and a node of it");
	if (options->queue_frames < 1 || options->queue_frames > SIM_FRAMES_MAX)
		return err_set(err, -EINVAL, "queue_frames is %u, must be 1..%d",
			       options->queue_frames, SIM_FRAMES_MAX);
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(err, -ENOMEM, "no memory for a transport (%zu bytes)", sizeof(*t));
	t->options = *options;
	t->net = options->sim;
	*out = t;
	return 0;
}

static void sim_close(struct transport *t)
{
	if (!t)
		return;
	for (uint32_t slot = 0; slot < SIM_SLOTS; slot++) {
		struct sim_end *end = t->ends[slot];

		if (!end)
			continue;
		sim_break_end(end, -ECANCELED, WIRE_OK, true);
		sim_tell_other(t->net, end);
		release(t, end);
	}
	free(t);
}

static const char *sim_describe(struct transport *t)
{
	(void)t;
	return "sim: a network in this process";
}

static void sim_remember(struct transport *t, void *base, size_t bytes)
{
	(void)t;
	(void)base;
	(void)bytes;
}

static void sim_forget(struct transport *t, void *base)
{
	(void)t;
	(void)base;
}

static const struct transport_stats *sim_stats(struct transport *t)
{
	return &t->stats;
}

const struct transport_ops transport_sim = {
	.name = "sim",
	.open = sim_open,
	.close = sim_close,
	.describe = sim_describe,
	.over = sim_over,
	.offers = sim_offers,
	.attach = sim_attach,
	.detach = sim_detach,
	.room = sim_room,
	.send = sim_send,
	.place = sim_place,
	.poll = sim_poll,
	.wait = sim_wait,
	.remember = sim_remember,
	.forget = sim_forget,
	.stats = sim_stats,
};
