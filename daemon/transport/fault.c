/*
 * fault.c - wraps another transport and lets things go wrong, by a seed.
 *
 *   cut      about every cut_every frames sent, the frame's path is ended in one of three
 *            ways: closed behind the frame, torn in the middle of it, or reset with all
 *            that is queued
 *   corrupt  about every corrupt_every frames, a bit of a sealed header is flipped on its
 *            way; the peer refuses it and the path ends
 *   delay    events are held back up to delay_us_max, each path on its own, so that
 *            those of different paths overtake one another
 *
 * "About every n" is a random distance of 1..2n-1 frames.  The draws depend on the seed
 * and on the order of the calls only; over the sim transport so does everything else.
 *
 * A torn or corrupted frame can't go through the inner transport, which seals what it
 * sends.  So its path is closed for more frames (room 0) until all before it are SENT,
 * then its bytes are written to a duplicate of the descriptor.  Neither that frame nor
 * the ones after it are reported as sent: the path's DOWN stands for them.
 */
#include "daemon/transport/transport.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/transport/chance.h"
#include "daemon/transport/sim.h"

enum {
	SLOTS = TRANSPORT_PEERS_MAX * TRANSPORT_PATHS_MAX,
	HELD_MAX = 512, /* events held back */
};

enum fault_kind {
	FAULT_NONE,
	FAULT_CLOSE,   /* the connection ends between two frames        */
	FAULT_RESET,   /* ... wherever it is                            */
	FAULT_TEAR,    /* ... in the middle of this frame               */
	FAULT_CORRUPT, /* this frame's header has a bit flipped         */
};

struct fault_path {
	bool attached;
	int fd;                  /* a duplicate, or the end of the simulated network   */
	uint32_t queued;         /* frames that the inner transport has not sent       */
	uint64_t due_ns;         /* of the last event that was held back               */
	bool cut;                /* DOWN of it is our doing                            */
	enum fault_kind next;    /* to be done when queued is 0                        */
	struct wire_frame frame; /* FAULT_TEAR, FAULT_CORRUPT: what to do it to     */
	const void *payload;
};

struct held {
	struct transport_event event;
	uint64_t due_ns;
};

struct transport {
	const struct transport_ops *ops;
	struct transport *inner;
	struct transport_options options;
	uint64_t random;
	uint32_t until_cut, until_corrupt; /* frames, UINT32_MAX: never */
	uint32_t pending;                  /* paths with a `next`       */
	struct fault_path paths[SLOTS];
	struct held held[HELD_MAX]; /* in the order they came    */
	size_t held_count;
	char text[512];
};

/* --- chance and time ------------------------------------------------------------------------ */

static uint32_t draw_distance(struct transport *t, uint32_t every)
{
	return every ? 1 + (uint32_t)chance_below(&t->random, 2 * (uint64_t)every - 1) : UINT32_MAX;
}

static uint64_t now_ns(const struct transport *t)
{
	return t->options.sim ? sim_net_now(t->options.sim) : clock_now_ns();
}

/* --- doing harm ----------------------------------------------------------------------------- */

static struct fault_path *path_of(struct transport *t, uint16_t peer, uint16_t path)
{
	assert(peer < TRANSPORT_PEERS_MAX && path < TRANSPORT_PATHS_MAX);
	return &t->paths[peer * TRANSPORT_PATHS_MAX + path];
}

/* What goes wrong with the frame that is about to be sent, if anything. */
static enum fault_kind choose(struct transport *t)
{
	enum fault_kind kind = FAULT_NONE;

	if (t->until_cut != UINT32_MAX && !--t->until_cut) {
		t->until_cut = draw_distance(t, t->options.cut_every);
		kind = FAULT_CLOSE + (enum fault_kind)chance_below(&t->random, 3);
	}
	if (t->until_corrupt != UINT32_MAX && !--t->until_corrupt) {
		t->until_corrupt = draw_distance(t, t->options.corrupt_every);
		kind = FAULT_CORRUPT;
	}
	return kind;
}

static void plan(struct transport *t, struct fault_path *p, enum fault_kind kind)
{
	p->next = kind;
	t->pending++;
}

static void unplan(struct transport *t, struct fault_path *p)
{
	if (p->next == FAULT_NONE)
		return;
	p->next = FAULT_NONE;
	t->pending--;
}

/* What does not fit now is torn off earlier, no matter. */
static void write_raw(int fd, const void *data, size_t bytes)
{
	(void)!send(fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void flip_bit(struct transport *t, struct wire_frame *frame)
{
	uint64_t bit = chance_below(&t->random, 8 * WIRE_HEADER_BYTES);

	((unsigned char *)frame)[bit / 8] ^= (unsigned char)(1u << (bit % 8));
}

static void harm_socket(struct transport *t, struct fault_path *p)
{
	size_t part = p->frame.payload_bytes / 2;

	switch (p->next) {
	case FAULT_NONE:
	case FAULT_RESET: break;
	case FAULT_CLOSE: (void)shutdown(p->fd, SHUT_RDWR); break;
	case FAULT_TEAR:
		write_raw(p->fd, &p->frame, part ? WIRE_HEADER_BYTES : WIRE_HEADER_BYTES / 2);
		write_raw(p->fd, p->payload, part);
		(void)shutdown(p->fd, SHUT_RDWR);
		break;
	case FAULT_CORRUPT:
		flip_bit(t, &p->frame);
		write_raw(p->fd, &p->frame, WIRE_HEADER_BYTES);
		/* The peer must get to read it, so we do not reset what it sends meanwhile. */
		(void)shutdown(p->fd, SHUT_WR);
		break;
	}
}

static void harm_sim(struct transport *t, struct fault_path *p, uint16_t peer, uint16_t path)
{
	switch (p->next) {
	case FAULT_NONE:
	case FAULT_RESET: break;
	case FAULT_CLOSE:
	case FAULT_TEAR: sim_net_cut(t->options.sim, p->fd); break;
	case FAULT_CORRUPT:
		sim_net_corrupt(t->options.sim, p->fd);
		t->ops->send(t->inner, peer, path, &p->frame, p->payload, 0);
		break;
	}
}

/* Everything before it has been sent: now. */
static void harm(struct transport *t, uint32_t slot)
{
	struct fault_path *p = &t->paths[slot];
	uint16_t peer = (uint16_t)(slot / TRANSPORT_PATHS_MAX);
	uint16_t path = (uint16_t)(slot % TRANSPORT_PATHS_MAX);

	if (t->options.sim)
		harm_sim(t, p, peer, path);
	else
		harm_socket(t, p);
	p->cut = true;
	unplan(t, p);
}

static void harm_those_due(struct transport *t)
{
	for (uint32_t slot = 0; t->pending && slot < SLOTS; slot++)
		if (t->paths[slot].next != FAULT_NONE && !t->paths[slot].queued)
			harm(t, slot);
}

/* --- events --------------------------------------------------------------------------------- */

/* Keep our books; the inner transport's word for what we did is not the caller's. */
static bool note(struct transport *t, struct fault_path *p, struct transport_event *event)
{
	if (event->kind == TRANSPORT_SENT) {
		if (p->cut)
			return false; /* of the frame that was harmed, or behind it */
		p->queued--;
	}
	if (event->kind != TRANSPORT_DOWN)
		return true;
	if (p->cut && event->error == -ECANCELED)
		event->error = -ECONNRESET;
	unplan(t, p);
	if (!t->options.sim)
		(void)close(p->fd);
	p->attached = false;
	return true;
}

/* Only what comes from the peer is late; the rest stays behind it. */
static void hold(struct transport *t, struct fault_path *p, const struct transport_event *event)
{
	uint64_t due_ns = now_ns(t);

	if (event->kind != TRANSPORT_SENT && t->options.delay_us_max)
		due_ns += chance_below(&t->random,
				       (t->options.delay_us_max + 1ull) * CLOCK_NS_PER_US);
	if (due_ns < p->due_ns)
		due_ns = p->due_ns;
	p->due_ns = due_ns;
	t->held[t->held_count++] = (struct held){.event = *event, .due_ns = due_ns};
	if (t->options.sim && due_ns > now_ns(t))
		sim_net_wake_at(t->options.sim, due_ns);
}

static void fetch(struct transport *t)
{
	struct transport_event events[64];
	size_t max = HELD_MAX - t->held_count;
	size_t n = t->ops->poll(t->inner, events, max < 64 ? max : 64);

	for (size_t i = 0; i < n; i++) {
		struct fault_path *p = path_of(t, events[i].peer, events[i].path);

		if (note(t, p, &events[i]))
			hold(t, p, &events[i]);
	}
}

/* Those that are due, in order; dues of a path never decrease, so each path stays in order. */
static size_t let_go(struct transport *t, struct transport_event *events, size_t max)
{
	uint64_t now = now_ns(t);
	size_t n = 0, kept = 0;

	for (size_t i = 0; i < t->held_count; i++) {
		if (n < max && t->held[i].due_ns <= now)
			events[n++] = t->held[i].event;
		else
			t->held[kept++] = t->held[i];
	}
	t->held_count = kept;
	return n;
}

static size_t fault_poll(struct transport *t, struct transport_event *events, size_t max)
{
	harm_those_due(t);
	fetch(t);
	return t->held_count ? let_go(t, events, max) : 0;
}

static void fault_wait(struct transport *t, uint64_t timeout_ns)
{
	uint64_t now = now_ns(t);

	for (size_t i = 0; i < t->held_count; i++) {
		uint64_t due_ns = t->held[i].due_ns;
		uint64_t rest_ns = due_ns > now ? due_ns - now : 0;

		if (rest_ns < timeout_ns)
			timeout_ns = rest_ns;
	}
	t->ops->wait(t->inner, timeout_ns);
}

/* --- paths ---------------------------------------------------------------------------------- */

static const char *fault_over(struct transport *t, uint16_t peer, uint16_t path, char *about)
{
	return t->ops->over(t->inner, peer, path, about);
}

static uint32_t fault_offers(const struct transport *t)
{
	return t->ops->offers(t->inner);
}

static int fault_attach(struct transport *t, uint16_t peer, uint16_t path, int fd, uint32_t offers)
{
	struct fault_path *p = path_of(t, peer, path);
	int own = fd;
	int result;

	assert(!p->attached);
	if (!t->options.sim) {
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (own < 0)
			return -errno;
	}
	result = t->ops->attach(t->inner, peer, path, fd, offers);
	if (result < 0) {
		if (!t->options.sim)
			(void)close(own);
		return result;
	}
	*p = (struct fault_path){.attached = true, .fd = own, .due_ns = p->due_ns};
	return 0;
}

static void fault_detach(struct transport *t, uint16_t peer, uint16_t path)
{
	t->ops->detach(t->inner, peer, path);
}

static uint32_t fault_room(struct transport *t, uint16_t peer, uint16_t path)
{
	const struct fault_path *p = path_of(t, peer, path);

	if (p->cut || p->next != FAULT_NONE)
		return 0;
	return t->ops->room(t->inner, peer, path);
}

static void fault_send(struct transport *t, uint16_t peer, uint16_t path,
		       const struct wire_frame *frame, const void *payload, uint64_t cookie)
{
	struct fault_path *p = path_of(t, peer, path);
	bool with_crc = t->options.payload_crc && frame->payload_bytes;
	enum fault_kind kind = choose(t);

	assert(fault_room(t, peer, path));
	if (kind == FAULT_TEAR || kind == FAULT_CORRUPT) {
		p->frame = *frame;
		wire_seal(&p->frame, with_crc ? payload : NULL);
		p->payload = payload;
		plan(t, p, kind);
		return;
	}
	t->ops->send(t->inner, peer, path, frame, payload, cookie);
	p->queued++;
	if (kind == FAULT_CLOSE)
		plan(t, p, kind);
	if (kind == FAULT_RESET) {
		p->cut = true;
		t->ops->detach(t->inner, peer, path);
	}
}

static void fault_place(struct transport *t, uint16_t peer, uint16_t path, void *dst)
{
	t->ops->place(t->inner, peer, path, dst);
}

/* --- the rest ------------------------------------------------------------------------------- */

static int fault_open(struct transport **out, const struct transport_options *options,
		      struct err *err)
{
	const char *name = options->inner ? options->inner : "uring";
	const struct transport_ops *ops = transport_by_name(name);
	struct transport *t;
	int result;

	if (!ops || ops == &transport_fault)
		return err_set(err, -EINVAL, "the fault transport can't wrap \"%s\"", name);
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(err, -ENOMEM, "no memory for a transport (%zu bytes)", sizeof(*t));
	t->ops = ops;
	t->options = *options;
	if (ops != &transport_sim)
		t->options.sim = NULL;
	t->random = options->fault_seed;
	t->until_cut = draw_distance(t, options->cut_every);
	t->until_corrupt = draw_distance(t, options->corrupt_every);
	result = ops->open(&t->inner, options, err);
	if (result < 0) {
		free(t);
		return result;
	}
	*out = t;
	return 0;
}

static void fault_close(struct transport *t)
{
	if (!t)
		return;
	t->ops->close(t->inner);
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		if (t->paths[slot].attached && !t->options.sim)
			(void)close(t->paths[slot].fd);
	free(t);
}

static const char *fault_describe(struct transport *t)
{
	(void)snprintf(t->text, sizeof(t->text),
		       "fault: seed %llu, cut every %u, corrupt every %u, delay %u us; over %s",
		       (unsigned long long)t->options.fault_seed, t->options.cut_every,
		       t->options.corrupt_every, t->options.delay_us_max,
		       t->ops->describe(t->inner));
	return t->text;
}

static bool fault_gathers(const struct transport *t, uint16_t peer, uint16_t path,
			  uint32_t *waiting)
{
	return t->ops->gathers && t->ops->gathers(t->inner, peer, path, waiting);
}

static void fault_remember(struct transport *t, void *base, size_t bytes)
{
	t->ops->remember(t->inner, base, bytes);
}

static void fault_forget(struct transport *t, void *base)
{
	t->ops->forget(t->inner, base);
}

static const struct transport_stats *fault_stats(struct transport *t)
{
	return t->ops->stats(t->inner);
}

const struct transport_ops transport_fault = {
	.name = "fault",
	.gathers = fault_gathers,
	.open = fault_open,
	.close = fault_close,
	.describe = fault_describe,
	.over = fault_over,
	.offers = fault_offers,
	.attach = fault_attach,
	.detach = fault_detach,
	.room = fault_room,
	.send = fault_send,
	.place = fault_place,
	.poll = fault_poll,
	.wait = fault_wait,
	.remember = fault_remember,
	.forget = fault_forget,
	.stats = fault_stats,
};
