/*
 * uring.c - TCP through io_uring: the ring, the paths' lives, poll and wait.
 *
 * The design is in uring.h.  One call of poll() is: make submissions of the work list,
 * enter the kernel if there are any (or if it asks for it), take all completions, tell
 * the caller.  With nothing to do that is three loads and no system call.
 */
#include "daemon/transport/uring.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/clock.h"

enum { SQES_PER_PATH = 4 }; /* the most that one visit by do_work() takes */

#define CLOSE_TIMEOUT_NS (5 * CLOCK_NS_PER_S)

static uint16_t slot_of(uint16_t peer, uint16_t path)
{
	assert(peer < TRANSPORT_PEERS_MAX && path < TRANSPORT_PATHS_MAX);
	return (uint16_t)(peer * TRANSPORT_PATHS_MAX + path);
}

/* --- lists ---------------------------------------------------------------------------------- */

static void list_put(struct uring_list *list, uint16_t slot)
{
	assert(list->count < URING_SLOTS);
	list->slots[(list->first + list->count++) % URING_SLOTS] = slot;
}

static uint16_t list_take(struct uring_list *list)
{
	uint16_t slot = list->slots[list->first];

	list->first = (list->first + 1) % URING_SLOTS;
	list->count--;
	return slot;
}

static void list_remove(struct uring_list *list, uint16_t slot)
{
	for (uint32_t n = list->count; n; n--) {
		uint16_t taken = list_take(list);

		if (taken != slot)
			list_put(list, taken);
	}
}

void uring_want_work(struct transport *t, struct uring_path *p)
{
	if (p->in_work)
		return;
	p->in_work = true;
	list_put(&t->work, p->slot);
}

void uring_want_report(struct transport *t, struct uring_path *p)
{
	if (p->in_ready)
		return;
	p->in_ready = true;
	list_put(&t->ready, p->slot);
}

/* --- submissions ---------------------------------------------------------------------------- */

struct io_uring_sqe *uring_sqe(struct transport *t)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring);

	assert(sqe); /* make_room() saw to it */
	return sqe;
}

void uring_name(struct io_uring_sqe *sqe, enum uring_op op, uint16_t slot, uint32_t detail)
{
	io_uring_sqe_set_data64(sqe, (uint64_t)op | (uint64_t)slot << 8 | (uint64_t)detail << 32);
}

/* With SQPOLL the kernel's thread takes submissions by itself unless it sleeps. */
static void count_submit(struct transport *t)
{
	if (!t->features.sqpoll || (IO_URING_READ_ONCE(*t->ring.sq.kflags) & IORING_SQ_NEED_WAKEUP))
		t->stats.syscalls++;
}

/* Return: whether `wanted` submissions can be made; if not, a later call may do better. */
static bool make_room(struct transport *t, uint32_t wanted)
{
	if (io_uring_sq_space_left(&t->ring) >= wanted)
		return true;
	count_submit(t);
	(void)io_uring_submit(&t->ring);
	return io_uring_sq_space_left(&t->ring) >= wanted;
}

/* End a connection: with a reset if something is cut off, so that the kernel lets go of it now. */
static void end_connection(const struct uring_path *p)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};

	if (!p->abort || connect(p->fd, &none, sizeof(none)) < 0)
		(void)shutdown(p->fd, SHUT_RDWR);
}

static void cancel_all(struct transport *t, struct uring_path *p)
{
	struct io_uring_sqe *sqe;

	if (p->cancelled || !p->inflight)
		return;
	p->cancelled = true;
	end_connection(p);
	sqe = uring_sqe(t);
	io_uring_prep_cancel_fd(sqe, p->fd, IORING_ASYNC_CANCEL_ALL);
	uring_name(sqe, URING_OP_CANCEL, p->slot, 0);
	p->inflight++;
}

static void do_work(struct transport *t)
{
	for (uint32_t n = t->work.count; n && make_room(t, SQES_PER_PATH); n--) {
		struct uring_path *p = t->paths[list_take(&t->work)];

		p->in_work = false;
		if (p->failing) {
			cancel_all(t, p);
		} else {
			uring_receive_start(t, p);
			uring_send_start(t, p);
		}
	}
}

void uring_fail(struct transport *t, struct uring_path *p, int error, enum wire_verdict verdict)
{
	if (p->failing)
		return;
	p->failing = true;
	p->error = error;
	p->verdict = verdict;
	p->abort = verdict != WIRE_OK || uring_send_unfinished(p);
	if (verdict != WIRE_OK)
		t->stats.bad_frames++;
	if (p->inflight)
		uring_want_work(t, p);
	else
		uring_want_report(t, p);
}

/* --- completions ---------------------------------------------------------------------------- */

static void complete(struct transport *t, const struct io_uring_cqe *cqe)
{
	uint64_t name = io_uring_cqe_get_data64(cqe);
	enum uring_op op = (enum uring_op)(name & 0xff);
	struct uring_path *p;

	if (op == URING_OP_WAKE) {
		t->wake_armed = false;
		t->woken = true;
		return;
	}
	p = t->paths[name >> 8 & 0xffff];
	assert(p && op != URING_OP_NONE);
	if (!(cqe->flags & IORING_CQE_F_MORE))
		p->inflight--;
	switch (op) {
	case URING_OP_SEND: uring_send_done(t, p, cqe, (uint32_t)(name >> 32)); break;
	case URING_OP_RECEIVE: uring_receive_done(t, p, cqe); break;
	case URING_OP_CANCEL: break;
	case URING_OP_NONE:
	case URING_OP_WAKE: break;
	}
	if (p->failing && !p->inflight)
		uring_want_report(t, p);
}

static void reap(struct transport *t)
{
	struct io_uring_cqe *cqe;
	unsigned head;
	unsigned count = 0;

	io_uring_for_each_cqe(&t->ring, head, cqe)
	{
		complete(t, cqe);
		count++;
	}
	io_uring_cq_advance(&t->ring, count);
}

/* Submit, and let the kernel do what it put off (DEFER_TASKRUN), but only if there is something. */
static void enter(struct transport *t)
{
	unsigned flags = IO_URING_READ_ONCE(*t->ring.sq.kflags);
	int result = 0;

	if (io_uring_sq_ready(&t->ring)) {
		count_submit(t);
		result = t->features.sqpoll ? io_uring_submit(&t->ring)
					    : io_uring_submit_and_get_events(&t->ring);
	} else if (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) {
		t->stats.syscalls++;
		result = io_uring_get_events(&t->ring);
	}
	assert(result != -EEXIST); /* another thread than the one that opened it */
}

/* --- telling -------------------------------------------------------------------------------- */

static void free_path(struct uring_path *p)
{
	if (!p)
		return;
	free(p->tx.ring);
	free(p->rx.staging);
	free(p);
}

/* Nothing of the path is with the kernel any more. */
static void release(struct transport *t, struct uring_path *p)
{
	assert(!p->inflight);
	uring_receive_close(t, p);
	if (p->in_work)
		list_remove(&t->work, p->slot);
	if (p->in_ready)
		list_remove(&t->ready, p->slot);
	if (p->abort)
		end_connection(p);
	(void)close(p->fd);
	t->paths[p->slot] = NULL;
	t->attached--;
	free_path(p);
}

static bool next_event(struct transport *t, struct uring_path *p, struct transport_event *event)
{
	event->peer = (uint16_t)(p->slot / TRANSPORT_PATHS_MAX);
	event->path = (uint16_t)(p->slot % TRANSPORT_PATHS_MAX);
	if (uring_send_event(p, event))
		return true;
	if (!p->failing)
		return uring_receive_event(t, p, event);
	if (p->inflight)
		return false;
	event->kind = TRANSPORT_DOWN;
	event->error = p->error;
	event->why = NULL;
	event->verdict = p->verdict;
	release(t, p);
	return true;
}

/* Events of one path.  Return: how many. */
static size_t report_path(struct transport *t, struct uring_path *p, struct transport_event *events,
			  size_t max)
{
	size_t n = 0;

	while (n < max && next_event(t, p, &events[n]))
		if (events[n++].kind == TRANSPORT_DOWN)
			return n;
	if (n == max)
		uring_want_report(t, p); /* perhaps there is more */
	return n;
}

static size_t report(struct transport *t, struct transport_event *events, size_t max)
{
	size_t n = 0;

	while (n < max && t->ready.count) {
		struct uring_path *p = t->paths[list_take(&t->ready)];

		p->in_ready = false;
		n += report_path(t, p, events + n, max - n);
	}
	return n;
}

static size_t uring_poll(struct transport *t, struct transport_event *events, size_t max)
{
	do_work(t);
	enter(t);
	reap(t);
	return t->ready.count ? report(t, events, max) : 0;
}

/* --- sleeping ------------------------------------------------------------------------------- */

static void arm_wake(struct transport *t)
{
	struct io_uring_sqe *sqe;

	if (t->wake_armed || t->options.lane_fd < 0 || !make_room(t, 1))
		return;
	sqe = uring_sqe(t);
	io_uring_prep_poll_add(sqe, t->options.lane_fd, POLLIN);
	uring_name(sqe, URING_OP_WAKE, 0, 0);
	t->wake_armed = true;
}

static bool take_wake(struct transport *t)
{
	if (!t->woken)
		return false;
	t->woken = false;
	t->stats.syscalls++;
	(void)transport_take_wake(t->options.lane_fd);
	return true;
}

static void sleep_in_ring(struct transport *t, uint64_t timeout_ns)
{
	struct __kernel_timespec ts = {
		.tv_sec = (long long)(timeout_ns / CLOCK_NS_PER_S),
		.tv_nsec = (long long)(timeout_ns % CLOCK_NS_PER_S),
	};
	struct io_uring_cqe *cqe;

	t->stats.syscalls++;
	(void)io_uring_submit_and_wait_timeout(&t->ring, &cqe, 1, &ts, NULL);
}

static void uring_wait(struct transport *t, uint64_t timeout_ns)
{
	reap(t);
	if (take_wake(t) || t->ready.count)
		return;
	do_work(t);
	arm_wake(t);
	sleep_in_ring(t, timeout_ns);
	reap(t);
	(void)take_wake(t);
}

/* --- paths ---------------------------------------------------------------------------------- */

static uint32_t queue_capacity(const struct transport *t)
{
	/* Twice: frames that are sent may be held until they are acknowledged. */
	uint32_t wanted = 2 * t->options.queue_frames;
	uint32_t capacity = 1;

	while (capacity < wanted)
		capacity *= 2;
	return capacity;
}

static const char *uring_over(struct transport *t, uint16_t peer, uint16_t path, char *about)
{
	(void)t;
	(void)peer;
	(void)path;
	about[0] = 0;
	return "TCP";
}

/* TCP, as everybody. */
static uint32_t uring_offers(const struct transport *t)
{
	(void)t;
	return 0;
}

static int uring_attach(struct transport *t, uint16_t peer, uint16_t path, int fd, uint32_t offers)
{
	uint16_t slot = slot_of(peer, path);
	uint32_t capacity = queue_capacity(t);
	struct uring_path *p;
	int one = 1;

	(void)offers;
	assert(!t->paths[slot]);
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		return -errno;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->tx.ring = calloc(capacity, sizeof(*p->tx.ring));
	p->rx.staging = malloc(URING_STAGING_BYTES);
	if (!p->tx.ring || !p->rx.staging) {
		free_path(p);
		return -ENOMEM;
	}
	p->slot = slot;
	p->fd = fd;
	p->tx.mask = capacity - 1;
	p->tx.zerocopy = t->features.zerocopy;
	t->paths[slot] = p;
	t->attached++;
	uring_want_work(t, p);
	return 0;
}

static void uring_detach(struct transport *t, uint16_t peer, uint16_t path)
{
	struct uring_path *p = t->paths[slot_of(peer, path)];

	if (p)
		uring_fail(t, p, -ECANCELED, WIRE_OK);
}

static uint32_t uring_room(struct transport *t, uint16_t peer, uint16_t path)
{
	struct uring_path *p = t->paths[slot_of(peer, path)];

	return p && !p->failing ? uring_send_room(t, p) : 0;
}

static void uring_send(struct transport *t, uint16_t peer, uint16_t path,
		       const struct wire_frame *frame, const void *payload, uint64_t cookie)
{
	struct uring_path *p = t->paths[slot_of(peer, path)];

	assert(p && !p->failing);
	uring_send_queue(t, p, frame, payload, cookie);
}

/* The path may have gone down since its HEADER was reported; its DOWN comes, or has come. */
static void uring_place(struct transport *t, uint16_t peer, uint16_t path, void *dst)
{
	struct uring_path *p = t->paths[slot_of(peer, path)];

	if (p && !p->failing)
		uring_receive_place(t, p, dst);
}

/* --- open and close ------------------------------------------------------------------------- */

static int check_options(const struct transport_options *o, struct err *err)
{
	if (o->queue_frames < 1 || o->queue_frames > URING_FRAMES_MAX)
		return err_set(err, -EINVAL, "queue_frames is %u, must be 1..%d", o->queue_frames,
			       URING_FRAMES_MAX);
	if (o->sqpoll == TRANSPORT_ON && o->defer_taskrun == TRANSPORT_ON)
		return err_set(err, -EINVAL,
			       "sqpoll and defer_taskrun exclude each other: switch one off");
	if (o->sqpoll == TRANSPORT_ON && o->zerocopy == TRANSPORT_ON)
		return err_set(err, -EINVAL,
			       "sqpoll and zerocopy exclude each other: switch one off");
	return 0;
}

static int uring_open(struct transport **out, const struct transport_options *options,
		      struct err *err)
{
	struct transport *t;
	int result = check_options(options, err);

	if (result < 0)
		return result;
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(err, -ENOMEM, "no memory for a transport (%zu bytes)", sizeof(*t));
	t->options = *options;
	result = uring_feature_open(t, err);
	if (result < 0) {
		free(t);
		return result;
	}
	*out = t;
	return 0;
}

/* Return: how many paths still wait for the kernel; the others are freed. */
static uint32_t release_idle(struct transport *t)
{
	for (uint32_t slot = 0; slot < URING_SLOTS && t->attached; slot++)
		if (t->paths[slot] && !t->paths[slot]->inflight)
			release(t, t->paths[slot]);
	return t->attached;
}

static void uring_close(struct transport *t)
{
	uint64_t end_ns = clock_now_ns() + CLOSE_TIMEOUT_NS;

	if (!t)
		return;
	for (uint32_t slot = 0; slot < URING_SLOTS; slot++)
		if (t->paths[slot])
			uring_fail(t, t->paths[slot], -ECANCELED, WIRE_OK);
	while (release_idle(t) && clock_now_ns() < end_ns) {
		do_work(t);
		sleep_in_ring(t, CLOCK_NS_PER_S / 10);
		reap(t);
	}
	uring_feature_close(t);
	/* Memory that the kernel did not give back is better lost than used twice. */
	if (!t->attached)
		free(t);
}

static const struct transport_stats *uring_stats(struct transport *t)
{
	return &t->stats;
}

const struct transport_ops transport_uring = {
	.name = "uring",
	.open = uring_open,
	.close = uring_close,
	.describe = uring_feature_describe,
	.over = uring_over,
	.offers = uring_offers,
	.attach = uring_attach,
	.detach = uring_detach,
	.room = uring_room,
	.send = uring_send,
	.place = uring_place,
	.poll = uring_poll,
	.wait = uring_wait,
	.remember = uring_feature_remember,
	.forget = uring_feature_forget,
	.stats = uring_stats,
};
