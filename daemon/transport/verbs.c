/*
 * verbs.c - RDMA through libibverbs: the paths' lives, poll and wait; the design is in verbs.h.
 *
 * One call of poll() takes the completions of the lane's queue, posts what is queued, and tells.
 * While a lane is busy that is no system call; every LOOK_NS the sockets are looked at, too.
 * wait() arms the completion queue, looks once more, and sleeps on one epoll descriptor: sockets,
 * the device's two descriptors and lane_fd.  If there are TCP paths the transport inside sleeps,
 * and that descriptor is its lane_fd.
 */
#include "daemon/transport/verbs.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/clock.h"

enum { EVENTS_AT_ONCE = 64 };

#define LOOK_NS (100 * CLOCK_NS_PER_MS)

static uint16_t slot_of(uint16_t peer, uint16_t path)
{
	assert(peer < TRANSPORT_PEERS_MAX && path < TRANSPORT_PATHS_MAX);
	return (uint16_t)(peer * TRANSPORT_PATHS_MAX + path);
}

/* --- ends ----------------------------------------------------------------------------------- */

void verbs_end(struct transport *t, struct verbs_path *p, int error, const char *why)
{
	(void)t;
	if (p->error)
		return;
	p->error = error;
	p->why = why;
	p->abort = p->state == VERBS_UP && verbs_send_unfinished(p);
}

void verbs_break(struct transport *t, struct verbs_path *p, enum wire_verdict verdict)
{
	if (!p->error)
		t->stats.bad_frames++;
	verbs_end(t, p, -EBADMSG, NULL);
	p->verdict = verdict;
	p->abort = true;
	p->at_once = true;
}

/* --- paths that are over -------------------------------------------------------------------- */

/* Everything but the socket.  The ring's key dies with its registration, the writer before. */
static void free_parts(struct transport *t, struct verbs_path *p)
{
	verbs_qp_free(t, p);
	verbs_send_free(p);
	verbs_receive_free(p);
}

static void take_off(struct transport *t, struct verbs_path *p)
{
	if (p->qp) {
		verbs_qp_stop(p);
		verbs_cq_take_all(t);
	}
	for (uint32_t i = 0; i < t->active_count; i++)
		if (t->active[i] == p->slot)
			t->active[i] = t->active[--t->active_count];
	t->paths[p->slot] = NULL;
	free_parts(t, p);
}

static void release(struct transport *t, struct verbs_path *p)
{
	const struct linger reset = {.l_onoff = 1};

	take_off(t, p);
	if (p->abort)
		(void)setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	(void)close(p->fd);
	free(p);
}

/* The socket is a TCP path from now on. */
static void to_tcp(struct transport *t, struct verbs_path *p)
{
	uint16_t peer = p->slot / TRANSPORT_PATHS_MAX, path = p->slot % TRANSPORT_PATHS_MAX;
	int ret;

	(void)epoll_ctl(t->events, EPOLL_CTL_DEL, p->fd, NULL);
	ret = transport_uring.attach(t->tcp, peer, path, p->fd, 0);
	if (ret) {
		verbs_end(t, p, ret, NULL);
		return;
	}
	t->over_tcp[p->slot] = true;
	t->tcp_paths++;
	take_off(t, p);
	free(p);
}

/* --- sockets and the device ----------------------------------------------------------------- */

/* The other end says nothing any more: what it has to say is that it ends. */
static void socket_ready(struct transport *t, struct verbs_path *p)
{
	char byte;
	ssize_t n = recv(p->fd, &byte, 1, MSG_DONTWAIT);
	int error = n > 0 ? -EPROTO : n == 0 ? -EPIPE : -errno;

	if (error == -EAGAIN || error == -EINTR)
		return;
	(void)epoll_ctl(t->events, EPOLL_CTL_DEL, p->fd, NULL);
	verbs_cq_take_all(t); /* what it wrote before is there */
	verbs_end(t, p, error, n > 0 ? "it speaks where nothing is to be said" : NULL);
}

static void serve(struct transport *t, const struct epoll_event *ready, int n, uint64_t now_ns)
{
	t->look_at_ns = now_ns + LOOK_NS;
	/* What the device says comes first: it may be why sockets end. */
	for (int i = 0; i < n; i++)
		if (ready[i].data.u32 == VERBS_TAG_DEVICE)
			verbs_event_take(t);
	for (int i = 0; i < n; i++) {
		uint32_t tag = ready[i].data.u32;

		if (tag == VERBS_TAG_CHANNEL)
			t->device.fired = true;
		else if (tag == VERBS_TAG_LANE)
			(void)transport_take_wake(t->options.lane_fd);
		else if (tag != VERBS_TAG_DEVICE && t->paths[tag] &&
			 t->paths[tag]->state == VERBS_UP)
			socket_ready(t, t->paths[tag]);
	}
	verbs_event_tick(t, now_ns);
}

static void look(struct transport *t, uint64_t now_ns)
{
	struct epoll_event ready[EVENTS_AT_ONCE];
	int n = epoll_wait(t->events, ready, EVENTS_AT_ONCE, 0);

	t->stats.syscalls++;
	serve(t, ready, n, now_ns);
}

/* Paths that are being made. */
static void meet(struct transport *t, uint64_t now_ns)
{
	t->meeting = 0;
	for (uint32_t i = t->active_count; i-- > 0;) {
		struct verbs_path *p = t->paths[t->active[i]];

		if (p->state == VERBS_UP || p->error)
			continue;
		verbs_meet_go_on(t, p, now_ns);
		t->meeting += p->state != VERBS_UP && !p->error;
		if (p->state == VERBS_TO_TCP && !p->error)
			to_tcp(t, p);
	}
}

/* --- telling -------------------------------------------------------------------------------- */

static bool something_arrived(const struct verbs_path *p)
{
	return p->rx.count || p->rx.state != VERBS_RX_IDLE;
}

static bool next_event(struct transport *t, struct verbs_path *p, struct transport_event *event)
{
	event->peer = (uint16_t)(p->slot / TRANSPORT_PATHS_MAX);
	event->path = (uint16_t)(p->slot % TRANSPORT_PATHS_MAX);
	if (p->state == VERBS_UP && verbs_send_event(p, event))
		return true;
	if (p->state == VERBS_UP && !p->at_once && verbs_receive_event(t, p, event))
		return true;
	if (!p->error || p->rx.lent || (!p->at_once && something_arrived(p)))
		return false;
	event->kind = TRANSPORT_DOWN;
	event->error = p->error;
	event->why = p->why;
	event->verdict = p->verdict;
	release(t, p);
	return true;
}

static bool has_event(const struct verbs_path *p)
{
	if (p->state == VERBS_UP &&
	    (p->tx.head != p->tx.done || (p->rx.count && p->rx.state == VERBS_RX_IDLE) ||
	     p->rx.state == VERBS_RX_ANNOUNCE || p->rx.state == VERBS_RX_FRAME))
		return true;
	return p->error && (p->at_once || !something_arrived(p));
}

/* Return: whether there is nothing to do. */
static bool may_sleep(struct transport *t)
{
	for (uint32_t i = 0; i < t->active_count; i++)
		if (has_event(t->paths[t->active[i]]))
			return false;
	return true;
}

static size_t report(struct transport *t, struct transport_event *events, size_t max)
{
	uint32_t count = t->active_count;
	size_t n = 0;

	for (uint32_t i = 0; i < count; i++)
		t->paths[t->active[i]]->rx.lent = false;
	/* From the end: a path that goes down takes the last one to its place. */
	t->turn++;
	for (uint32_t i = count; n < max && i-- > 0;) {
		struct verbs_path *p = t->paths[t->active[(i + t->turn) % count]];

		while (n < max && next_event(t, p, &events[n]))
			if (events[n++].kind == TRANSPORT_DOWN)
				return n;
	}
	return n;
}

static size_t tcp_report(struct transport *t, struct transport_event *events, size_t max)
{
	size_t n = transport_uring.poll(t->tcp, events, max);

	for (size_t i = 0; i < n; i++)
		if (events[i].kind == TRANSPORT_DOWN) {
			t->over_tcp[slot_of(events[i].peer, events[i].path)] = false;
			t->tcp_paths--;
		}
	return n;
}

/* Post what is queued.  more: there may soon be more. */
static void start_all(struct transport *t, bool more)
{
	for (uint32_t i = 0; i < t->active_count; i++) {
		struct verbs_path *p = t->paths[t->active[i]];

		if (p->state == VERBS_UP && !p->error)
			verbs_send_start(t, p, more);
	}
}

static size_t verbs_poll(struct transport *t, struct transport_event *events, size_t max)
{
	uint64_t now_ns = clock_now_ns();
	size_t n;

	if (t->meeting || now_ns >= t->look_at_ns || now_ns >= verbs_event_due_ns(t))
		look(t, now_ns);
	(void)verbs_cq_take(t);
	if (t->meeting)
		meet(t, now_ns);
	start_all(t, !may_sleep(t));
	n = t->active_count ? report(t, events, max) : 0;
	if (t->tcp_paths && n < max)
		n += tcp_report(t, events + n, max - n);
	return n;
}

/* --- sleeping ------------------------------------------------------------------------------- */

/* At least a millisecond: what is due is done by poll(), and may not be possible yet. */
static uint64_t until(uint64_t due_ns, uint64_t now_ns)
{
	return due_ns > now_ns + CLOCK_NS_PER_MS ? due_ns - now_ns : CLOCK_NS_PER_MS;
}

/* Return: how long to sleep, at most; 0: not at all. */
static uint64_t prepare_sleep(struct transport *t, uint64_t now_ns, uint64_t timeout_ns)
{
	uint64_t due_ns = verbs_event_due_ns(t);

	start_all(t, false);
	for (uint32_t i = 0; i < t->active_count; i++) {
		uint64_t again_ns = verbs_send_flush(t, t->paths[t->active[i]], now_ns);

		if (again_ns - now_ns < timeout_ns)
			timeout_ns = again_ns - now_ns;
	}
	if (t->device.cq && (t->active_count || t->device.fired))
		verbs_cq_arm(t);
	if (verbs_cq_take(t) || !may_sleep(t))
		return 0;
	if (t->meeting && timeout_ns > LOOK_NS)
		timeout_ns = LOOK_NS;
	if (due_ns != UINT64_MAX && timeout_ns > until(due_ns, now_ns))
		timeout_ns = until(due_ns, now_ns);
	return timeout_ns;
}

static void verbs_wait(struct transport *t, uint64_t timeout_ns)
{
	uint64_t now_ns = clock_now_ns();
	struct epoll_event ready[EVENTS_AT_ONCE];
	struct timespec at_most;

	timeout_ns = prepare_sleep(t, now_ns, timeout_ns);
	if (!timeout_ns)
		return;
	t->stats.syscalls++;
	if (t->tcp_paths) {
		transport_uring.wait(t->tcp, timeout_ns);
		look(t, now_ns);
		return;
	}
	at_most = (struct timespec){.tv_sec = (time_t)(timeout_ns / CLOCK_NS_PER_S),
				    .tv_nsec = (long)(timeout_ns % CLOCK_NS_PER_S)};
	serve(t, ready, epoll_pwait2(t->events, ready, EVENTS_AT_ONCE, &at_most, NULL), now_ns);
}

/* --- paths ---------------------------------------------------------------------------------- */

static int watch(struct transport *t, int fd, uint32_t tag)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = tag};

	return epoll_ctl(t->events, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int verbs_watch_device(struct transport *t)
{
	int ret = watch(t, t->device.channel->fd, VERBS_TAG_CHANNEL);

	return ret ? ret : watch(t, t->device.context->async_fd, VERBS_TAG_DEVICE);
}

static int tcp_attach(struct transport *t, uint16_t peer, uint16_t path, int fd)
{
	int ret = transport_uring.attach(t->tcp, peer, path, fd, 0);

	if (ret)
		return ret;
	t->over_tcp[slot_of(peer, path)] = true;
	t->because[slot_of(peer, path)] = VERBS_TCP_STAYS;
	t->tcp_paths++;
	return 0;
}

static uint32_t verbs_offers(const struct transport *t)
{
	return t->offers;
}

static int verbs_attach(struct transport *t, uint16_t peer, uint16_t path, int fd, uint32_t offers)
{
	uint16_t slot = slot_of(peer, path);
	struct verbs_path *p;
	int ret;

	assert(!t->paths[slot] && !t->over_tcp[slot]);
	if (!(offers & TRANSPORT_OFFER_VERBS)) {
		verbs_status_tcp(t, slot, "there",
				 offers & WIRE_OFFER_AUTO ? "no RDMA device that it may use"
							  : "configured for TCP");
		return t->tcp ? tcp_attach(t, peer, path, fd) : -EOPNOTSUPP;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->slot = slot;
	p->fd = fd;
	t->paths[slot] = p;
	t->active[t->active_count++] = slot;
	ret = watch(t, fd, slot);
	if (!ret)
		ret = verbs_meet(t, p);
	if (ret) {
		(void)epoll_ctl(t->events, EPOLL_CTL_DEL, fd, NULL);
		take_off(t, p);
		free(p);
		return ret;
	}
	t->meeting++;
	return 0;
}

static void verbs_detach(struct transport *t, uint16_t peer, uint16_t path)
{
	uint16_t slot = slot_of(peer, path);

	if (t->over_tcp[slot])
		transport_uring.detach(t->tcp, peer, path);
	if (!t->paths[slot])
		return;
	verbs_end(t, t->paths[slot], -ECANCELED, NULL);
	t->paths[slot]->at_once = true;
}

static uint32_t verbs_room(struct transport *t, uint16_t peer, uint16_t path)
{
	uint16_t slot = slot_of(peer, path);

	if (t->over_tcp[slot])
		return transport_uring.room(t->tcp, peer, path);
	return t->paths[slot] ? verbs_send_room(t, t->paths[slot]) : 0;
}

static void verbs_send(struct transport *t, uint16_t peer, uint16_t path,
		       const struct wire_frame *frame, const void *payload, uint64_t cookie)
{
	uint16_t slot = slot_of(peer, path);

	if (t->over_tcp[slot])
		transport_uring.send(t->tcp, peer, path, frame, payload, cookie);
	else
		verbs_send_queue(t, t->paths[slot], frame, payload, cookie);
}

static void verbs_place(struct transport *t, uint16_t peer, uint16_t path, void *dst)
{
	struct verbs_path *p = t->paths[slot_of(peer, path)];

	if (t->over_tcp[slot_of(peer, path)])
		transport_uring.place(t->tcp, peer, path, dst);
	else if (p && p->rx.state == VERBS_RX_PLACE && !p->at_once)
		verbs_receive_place(t, p, dst);
}

/* --- memory, counters ---------------------------------------------------------------------- */

static void remember(struct transport *t, void *base, size_t bytes)
{
	verbs_remember(&t->device, base, bytes);
	if (t->tcp)
		transport_uring.remember(t->tcp, base, bytes);
}

static void forget(struct transport *t, void *base)
{
	verbs_forget(&t->device, base);
	if (t->tcp)
		transport_uring.forget(t->tcp, base);
}

/* Those over TCP enter the kernel. */
static bool polls_memory(const struct transport *t)
{
	return !t->tcp_paths;
}

static bool gathers(const struct transport *t, uint16_t peer, uint16_t path, uint32_t *waiting)
{
	const struct verbs_path *p = t->paths[slot_of(peer, path)];

	if (!p || p->state != VERBS_UP)
		return false;
	*waiting = p->tx.tail - p->tx.posted;
	return true;
}

/* What was written is in the ring when it is told. */
static bool at_hand(const struct transport *t, uint16_t peer, uint16_t path)
{
	return t->paths[slot_of(peer, path)] != NULL;
}

static const struct transport_stats *verbs_stats(struct transport *t)
{
	t->sum = t->stats;
	if (t->tcp) {
		const struct transport_stats *tcp = transport_uring.stats(t->tcp);

		t->sum.frames_sent += tcp->frames_sent;
		t->sum.frames_received += tcp->frames_received;
		t->sum.bytes_sent += tcp->bytes_sent;
		t->sum.bytes_received += tcp->bytes_received;
		t->sum.syscalls += tcp->syscalls;
		t->sum.zerocopy_sends += tcp->zerocopy_sends;
		t->sum.zerocopy_copied += tcp->zerocopy_copied;
		t->sum.bad_frames += tcp->bad_frames;
	}
	return &t->sum;
}

/* --- open and close ------------------------------------------------------------------------- */

static int open_tcp(struct transport *t, struct err *err)
{
	struct transport_options options = t->options;

	options.lane_fd = t->events;
	return t->options.tcp_too ? transport_uring.open(&t->tcp, &options, err) : 0;
}

static void verbs_close(struct transport *t)
{
	if (!t)
		return;
	while (t->active_count)
		release(t, t->paths[t->active[0]]);
	transport_uring.close(t->tcp);
	verbs_device_close(&t->device);
	(void)close(t->events);
	free(t);
}

static int verbs_open(struct transport **out, const struct transport_options *options,
		      struct err *err)
{
	struct transport *t;
	int ret;

	if (options->queue_frames < 1 || options->queue_frames > VERBS_FRAMES_MAX)
		return err_set(err, -EINVAL, "queue_frames is %u, must be 1..%d",
			       options->queue_frames, VERBS_FRAMES_MAX);
	if (options->verbs_retries > 6)
		return err_set(err, -EINVAL,
			       "verbs retries is %u, must be at most 6: Soft-RoCE "
			       "takes 7 for \"for ever\", and a dead peer would not be noticed",
			       options->verbs_retries);
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(err, -ENOMEM, "no memory for a transport (%zu bytes)", sizeof(*t));
	t->options = *options;
	verbs_event_init(t);
	t->events = epoll_create1(EPOLL_CLOEXEC);
	ret = t->events < 0 ? err_set(err, -errno, "epoll: %s", strerror(errno)) : 0;
	if (!ret && options->lane_fd >= 0 && watch(t, options->lane_fd, VERBS_TAG_LANE))
		ret = err_set(err, -errno, "epoll: %s", strerror(errno));
	if (!ret)
		ret = verbs_device_open(&t->device, options, err);
	if (!ret && t->device.context && verbs_watch_device(t))
		ret = err_set(err, -errno, "epoll: %s", strerror(errno));
	if (!ret)
		ret = open_tcp(t, err);
	t->offers = (t->device.context || t->device.fatal ? TRANSPORT_OFFER_VERBS : 0u) |
		    (t->tcp ? 0u : TRANSPORT_OFFER_NO_TCP);
	if (ret) {
		verbs_close(t);
		return ret;
	}
	*out = t;
	return 0;
}

const struct transport_ops transport_verbs = {
	.name = "verbs",
	.polls_memory = polls_memory,
	.gathers = gathers,
	.at_hand = at_hand,
	.open = verbs_open,
	.close = verbs_close,
	.describe = verbs_status_describe,
	.over = verbs_status_over,
	.offers = verbs_offers,
	.attach = verbs_attach,
	.detach = verbs_detach,
	.room = verbs_room,
	.send = verbs_send,
	.place = verbs_place,
	.poll = verbs_poll,
	.wait = verbs_wait,
	.remember = remember,
	.forget = forget,
	.stats = verbs_stats,
};
