/*
 * rig.c - two joined transports and checked traffic; see rig.h.
 */
#include "tests/common/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "proto/shm.h"

enum {
	LIMIT_S = 30,
	IDLE_TURNS = 20,
	SOCKET_BYTES = 128 << 10, /* small, so that sockets fill up */
};

#define QUIET_NS (2 * CLOCK_NS_PER_MS)
#define MEET_NS (10 * CLOCK_NS_PER_S)

/* clang-format off: a table */
const struct rig_variant rig_variants[] = {
	{"uring", "uring", AF_INET, {.queue_frames = 16}},
	{"uring, IPv6", "uring", AF_INET6, {.queue_frames = 64}},
	{"uring, all off",
	 "uring",
	 AF_INET,
	 {.queue_frames = 5,
	  .multishot = TRANSPORT_OFF,
	  .defer_taskrun = TRANSPORT_OFF,
	  .zerocopy = TRANSPORT_OFF,
	  .fixed_buffers = TRANSPORT_OFF,
	  .sqpoll = TRANSPORT_OFF}},
	{"uring, all on",
	 "uring",
	 AF_INET,
	 {.queue_frames = 16,
	  .multishot = TRANSPORT_ON,
	  .defer_taskrun = TRANSPORT_ON,
	  .zerocopy = TRANSPORT_ON,
	  .fixed_buffers = TRANSPORT_ON,
	  .zerocopy_bytes_min = 1,
	  .payload_crc = true}},
	{"uring, multishot",
	 "uring",
	 AF_INET,
	 {.queue_frames = 16, .multishot = TRANSPORT_ON, .zerocopy = TRANSPORT_OFF}},
	{"uring, zero-copy",
	 "uring",
	 AF_INET,
	 {.queue_frames = 16,
	  .multishot = TRANSPORT_OFF,
	  .zerocopy = TRANSPORT_ON,
	  .fixed_buffers = TRANSPORT_OFF,
	  .zerocopy_bytes_min = 100}},
	{"uring, sqpoll",
	 "uring",
	 AF_INET,
	 {.queue_frames = 16, .sqpoll = TRANSPORT_ON, .multishot = TRANSPORT_ON}},
	{"verbs", "verbs", AF_INET, {.queue_frames = 16}},
	{"verbs, payload CRC", "verbs", AF_INET, {.queue_frames = 64, .payload_crc = true}},
	{"verbs, one frame", "verbs", AF_INET, {.queue_frames = 1}},
	{"verbs, or else TCP", "verbs", AF_INET, {.queue_frames = 16, .tcp_too = true}},
	{"sim", "sim", AF_UNSPEC, {.queue_frames = 16}},
	{"sim, payload CRC", "sim", AF_UNSPEC, {.queue_frames = 1, .payload_crc = true}},
	{"fault over uring",
	 "fault",
	 AF_INET,
	 {.queue_frames = 16, .inner = "uring", .fault_seed = 1, .delay_us_max = 300}},
	{"fault over sim",
	 "fault",
	 AF_UNSPEC,
	 {.queue_frames = 16, .inner = "sim", .fault_seed = 1, .delay_us_max = 300}},
	{0},
};
/* clang-format on */

/* --- connections ---------------------------------------------------------------------------- */

static int listen_on_loopback(int family, struct sockaddr_storage *address, socklen_t *bytes)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	*bytes = family == AF_INET ? sizeof(v4) : sizeof(v6);
	memcpy(address, family == AF_INET ? (void *)&v4 : (void *)&v6, *bytes);
	if (bind(fd, (struct sockaddr *)address, *bytes) < 0 || listen(fd, 1) < 0 ||
	    getsockname(fd, (struct sockaddr *)address, bytes) < 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

int rig_sockets(int family, int fds[2])
{
	const int socket_bytes = SOCKET_BYTES;
	struct sockaddr_storage address;
	socklen_t bytes;
	int listener = listen_on_loopback(family, &address, &bytes);

	if (listener < 0)
		return -1;
	fds[0] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fds[0] >= 0);
	assert_int_equal(connect(fds[0], (struct sockaddr *)&address, bytes), 0);
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(fds[1] >= 0);
	(void)close(listener);
	for (int s = 0; s < 2; s++) {
		(void)setsockopt(fds[s], SOL_SOCKET, SO_SNDBUF, &socket_bytes, sizeof(int));
		(void)setsockopt(fds[s], SOL_SOCKET, SO_RCVBUF, &socket_bytes, sizeof(int));
	}
	return 0;
}

bool rig_possible(const struct rig_variant *variant)
{
	const char *only = getenv("CARRY_TEST_TRANSPORT"); /* tests/vm has no time for others */
	int fds[2];

	if (only && strcmp(only, variant->transport) != 0)
		return false;
	if (variant->family == AF_UNSPEC)
		return true;
	if (!strcmp(variant->transport, "verbs") && !variant->options.tcp_too &&
	    strcmp(transport_auto(), "verbs")) {
		print_message("%s: not here: there is no RDMA device\n", variant->name);
		return false;
	}
	if (rig_sockets(variant->family, fds) < 0) {
		print_message("%s: not here: no loopback address of that family\n", variant->name);
		return false;
	}
	(void)close(fds[0]);
	(void)close(fds[1]);
	return true;
}

void rig_open_seed(struct rig *rig, const struct rig_variant *variant, uint64_t seed)
{
	const struct sim_net_options net = {
		.nodes = 2,
		.seed = seed,
		.shape = {.latency_ns = 20000, .jitter_ns_max = 50000, .bytes_per_s = 4000000000u},
	};

	*rig = (struct rig){.variant = variant, .events_max = RIG_EVENTS_MAX};
	rig->ops = transport_by_name(variant->transport);
	assert_non_null(rig->ops);
	if (variant->family == AF_UNSPEC)
		assert_int_equal(sim_net_open(&rig->net, &net), 0);
	for (int s = 0; s < 2; s++) {
		struct transport_options options = variant->options;
		struct epoll_event edge = {.events = EPOLLIN | EPOLLET};
		struct err err = {0};

		rig->wake[s] = epoll_create1(EPOLL_CLOEXEC);
		rig->bell[s] = eventfd(0, EFD_CLOEXEC);
		assert_int_equal(epoll_ctl(rig->wake[s], EPOLL_CTL_ADD, rig->bell[s], &edge), 0);
		options.lane_fd = rig->wake[s];
		options.sim = rig->net;
		options.sim_node = (uint32_t)s;
		if (rig->ops->open(&rig->side[s], &options, &err) < 0)
			fail_msg("%s: %s", variant->name, err.text);
	}
}

void rig_open(struct rig *rig, const struct rig_variant *variant)
{
	rig_open_seed(rig, variant, 1);
}

/* Some have to agree on things before there is room; what has happened elsewhere waits. */
static void rig_meet(struct rig *rig, const struct rig_line *line)
{
	uint64_t end_ns = clock_now_ns() + MEET_NS;
	struct transport_event none;

	while (!rig->ops->room(rig->side[0], line->peer[0], line->path[0]) ||
	       !rig->ops->room(rig->side[1], line->peer[1], line->path[1])) {
		assert_true(clock_now_ns() < end_ns);
		for (int s = 0; s < 2; s++)
			(void)rig->ops->poll(rig->side[s], &none, 0);
	}
}

uint32_t rig_join(struct rig *rig, uint16_t peer0, uint16_t path0, uint16_t peer1, uint16_t path1)
{
	struct rig_line *line = &rig->lines[rig->lines_count];

	assert_true(rig->lines_count < RIG_LINES_MAX);
	*line = (struct rig_line){.peer = {peer0, peer1}, .path = {path0, path1}};
	if (rig->net)
		assert_int_equal(sim_net_connect(rig->net, 0, 1, line->fd), 0);
	else
		assert_int_equal(rig_sockets(rig->variant->family, line->fd), 0);
	for (int s = 0; s < 2; s++) {
		line->up[s] = true;
		assert_int_equal(rig->ops->attach(rig->side[s], line->peer[s], line->path[s],
						  line->fd[s], rig->ops->offers(rig->side[s])),
				 0);
	}
	rig_meet(rig, line);
	return rig->lines_count++;
}

/* --- contents ------------------------------------------------------------------------------- */

struct wire_frame rig_frame(uint32_t line, int from, uint32_t number, uint32_t bytes)
{
	struct wire_frame f = {
		.kind = bytes ? WIRE_CONTRIBUTION : WIRE_CREDIT,
		.group = 1 + line,
		.epoch = 1,
		.path_seq = number + 1,
		.credit_final = number * 3 + (uint32_t)from,
		.payload_bytes = bytes,
	};

	if (!bytes)
		return f;
	f.seq = number + 1;
	f.count = bytes;
	f.contributors = 1;
	f.call_digest = 77;
	f.schedule = 1;
	f.op = WIRE_OP_ALLREDUCE;
	f.type = f.payload_type = SHM_U8;
	f.reduce = SHM_SUM;
	return f;
}

void rig_fill(unsigned char *payload, uint32_t line, int from, uint32_t number, uint32_t bytes)
{
	uint64_t x = ((uint64_t)line << 33 | (uint64_t)number << 1 | (uint64_t)from) + 1;

	for (uint32_t i = 0; i < bytes; i += 8) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		memcpy(payload + i, &x, bytes - i < 8 ? bytes - i : 8);
	}
}

/* Sealed, as it must arrive. */
static void check_frame(const struct rig *rig, uint32_t line, int from, uint32_t number,
			const struct wire_frame *frame)
{
	const struct rig_flow *flow = &rig->lines[line].flow[from];
	struct wire_frame wanted;
	unsigned char *payload = NULL;
	uint32_t bytes;

	assert_true(number < flow->count);
	bytes = flow->sizes[number];
	wanted = rig_frame(line, from, number, bytes);
	if (bytes && rig->variant->options.payload_crc) {
		payload = malloc(bytes);
		assert_non_null(payload);
		rig_fill(payload, line, from, number, bytes);
	}
	wire_seal(&wanted, payload);
	free(payload);
	assert_memory_equal(frame, &wanted, sizeof(wanted));
}

static void check_payload(uint32_t line, int from, uint32_t number, uint32_t bytes,
			  const void *payload)
{
	unsigned char *wanted = malloc(bytes);

	assert_non_null(wanted);
	rig_fill(wanted, line, from, number, bytes);
	if (memcmp(payload, wanted, bytes)) /* assert_memory_equal() would print megabytes */
		fail_msg("line %u: payload %u of side %d is not what was sent", line, number, from);
	free(wanted);
}

static void give_back(struct rig_flow *flow, uint32_t number)
{
	assert_non_null(flow->payloads[number]);
	if (flow->sizes[number])
		memset(flow->payloads[number], 0xee, flow->sizes[number]);
	free(flow->payloads[number]);
	flow->payloads[number] = NULL;
}

/* --- sending -------------------------------------------------------------------------------- */

void rig_load(struct rig *rig, uint32_t line, int from, const uint32_t *sizes, uint32_t count)
{
	struct rig_flow *flow = &rig->lines[line].flow[from];

	assert_null(flow->payloads); /* once */
	flow->sizes = sizes;
	flow->count = count;
	flow->payloads = calloc(count, sizeof(void *));
	assert_non_null(flow->payloads);
}

static void send_next(struct rig *rig, uint32_t line, int from)
{
	struct rig_line *l = &rig->lines[line];
	struct rig_flow *flow = &l->flow[from];
	uint32_t number = flow->queued++;
	uint32_t bytes = flow->sizes[number];
	struct wire_frame frame = rig_frame(line, from, number, bytes);
	unsigned char *payload = malloc(bytes + 1);

	assert_non_null(payload);
	rig_fill(payload, line, from, number, bytes);
	flow->payloads[number] = payload;
	rig->ops->send(rig->side[from], l->peer[from], l->path[from], &frame,
		       bytes ? payload : NULL, (uint64_t)line << 32 | number);
}

static void send_all(struct rig *rig, int side)
{
	for (uint32_t i = 0; i < rig->lines_count; i++) {
		struct rig_line *l = &rig->lines[i];

		while (l->flow[side].queued < l->flow[side].count && l->up[side] &&
		       rig->ops->room(rig->side[side], l->peer[side], l->path[side]))
			send_next(rig, i, side);
	}
}

/* --- events --------------------------------------------------------------------------------- */

static uint32_t find_line(const struct rig *rig, int side, uint16_t peer, uint16_t path)
{
	for (uint32_t i = 0; i < rig->lines_count; i++)
		if (rig->lines[i].up[side] && rig->lines[i].peer[side] == peer &&
		    rig->lines[i].path[side] == path)
			return i;
	fail_msg("an event of path (%u, %u), which is not up", peer, path);
	return 0;
}

void rig_place(struct rig *rig, uint32_t line, int to)
{
	struct rig_line *l = &rig->lines[line];
	struct rig_flow *flow = &l->flow[1 - to];
	uint32_t bytes = flow->sizes[flow->announced - 1];

	assert_true(flow->waiting);
	flow->waiting = false;
	if (l->discard_every && flow->received % l->discard_every == 0) {
		flow->discarded++;
	} else {
		flow->placed = malloc(bytes);
		assert_non_null(flow->placed);
	}
	rig->ops->place(rig->side[to], l->peer[to], l->path[to], flow->placed);
}

static void on_header(struct rig *rig, uint32_t line, int side, const struct transport_event *event)
{
	struct rig_flow *flow = &rig->lines[line].flow[1 - side];

	assert_int_equal(flow->announced, flow->received);
	assert_int_not_equal(event->frame.payload_bytes, 0);
	check_frame(rig, line, 1 - side, flow->announced++, &event->frame);
	flow->waiting = true;
	if (!rig->lines[line].hold)
		rig_place(rig, line, side);
}

static void on_frame(struct rig *rig, uint32_t line, int side, const struct transport_event *event)
{
	struct rig_flow *flow = &rig->lines[line].flow[1 - side];
	uint32_t number = flow->received++;

	if (!event->frame.payload_bytes)
		flow->announced++;
	assert_int_equal(flow->announced, flow->received);
	assert_false(flow->waiting);
	check_frame(rig, line, 1 - side, number, &event->frame);
	assert_ptr_equal(event->payload, flow->placed);
	assert_int_equal(event->verdict, WIRE_OK);
	if (event->payload)
		check_payload(line, 1 - side, number, flow->sizes[number], event->payload);
	free(flow->placed);
	flow->placed = NULL;
}

static void on_sent(struct rig *rig, uint32_t line, int side, uint64_t cookie)
{
	struct rig_flow *flow = &rig->lines[line].flow[side];

	assert_int_equal(cookie >> 32, line);
	assert_int_equal((uint32_t)cookie, flow->sent); /* in order, each once */
	assert_true(flow->sent < flow->queued);
	give_back(flow, flow->sent++);
}

static void on_down(struct rig *rig, uint32_t line, int side, const struct transport_event *event)
{
	struct rig_line *l = &rig->lines[line];
	struct rig_flow *in = &l->flow[1 - side];

	assert_true(!event->why || strlen(event->why) > 0);
	assert_true(event->error < 0);
	assert_int_equal(event->error == -EBADMSG, event->verdict != WIRE_OK);
	assert_int_equal(rig->ops->room(rig->side[side], l->peer[side], l->path[side]), 0);
	l->up[side] = false;
	l->error[side] = event->error;
	l->verdict[side] = event->verdict;
	for (uint32_t i = l->flow[side].sent; i < l->flow[side].queued; i++)
		give_back(&l->flow[side], i);
	free(in->placed);
	in->placed = NULL;
	in->waiting = false;
}

size_t rig_turn(struct rig *rig, int side)
{
	struct transport_event events[RIG_EVENTS_MAX];
	size_t n;

	send_all(rig, side);
	memset(events, 0xa5, sizeof(events)); /* a field that is not filled in shows */
	n = rig->ops->poll(rig->side[side], events, rig->events_max);
	assert_true(n <= rig->events_max);
	for (size_t i = 0; i < n; i++) {
		const struct transport_event *e = &events[i];
		uint32_t line = find_line(rig, side, e->peer, e->path);

		switch (e->kind) {
		case TRANSPORT_HEADER: on_header(rig, line, side, e); break;
		case TRANSPORT_FRAME: on_frame(rig, line, side, e); break;
		case TRANSPORT_SENT: on_sent(rig, line, side, e->cookie); break;
		case TRANSPORT_DOWN: on_down(rig, line, side, e); break;
		}
	}
	return n;
}

/* --- running -------------------------------------------------------------------------------- */

/* What run() runs for. */
enum aim { FINISHED, LINE_FINISHED, LINE_HELD, LINE_DOWN };

static bool line_finished(const struct rig_line *l)
{
	for (int s = 0; s < 2; s++) {
		const struct rig_flow *flow = &l->flow[s];

		if ((l->up[s] && flow->sent < flow->count) ||
		    (l->up[1 - s] && l->up[s] && flow->received < flow->count))
			return false;
	}
	return true;
}

static bool reached(const struct rig *rig, enum aim aim, uint32_t line, int side)
{
	const struct rig_line *l = &rig->lines[line];

	switch (aim) {
	case LINE_FINISHED: return line_finished(l);
	case LINE_HELD: return l->flow[1 - side].waiting;
	case LINE_DOWN: return !l->up[side];
	case FINISHED: break;
	}
	for (uint32_t i = 0; i < rig->lines_count; i++)
		if (!line_finished(&rig->lines[i]))
			return false;
	return true;
}

static void print_state(const struct rig *rig)
{
	for (uint32_t i = 0; i < rig->lines_count; i++)
		for (int s = 0; s < 2; s++) {
			const struct rig_line *l = &rig->lines[i];
			const struct rig_flow *f = &l->flow[s];

			print_message("line %u side %d: up %d error %d; of %u: queued %u sent %u "
				      "announced %u received %u\n",
				      i, s, l->up[s], l->error[s], f->count, f->queued, f->sent,
				      f->announced, f->received);
		}
}

static void run(struct rig *rig, enum aim aim, uint32_t line, int side)
{
	uint64_t end_ns = clock_now_ns() + LIMIT_S * CLOCK_NS_PER_S;
	int sleeper = side;

	while (!reached(rig, aim, line, side)) {
		size_t n = rig_turn(rig, 0) + rig_turn(rig, 1);

		if (!n) /* both may wait for the other one: not long */
			rig->ops->wait(rig->side[sleeper], 50 * CLOCK_NS_PER_US);
		if (aim != LINE_DOWN)
			sleeper = 1 - sleeper;
		if (clock_now_ns() > end_ns) {
			print_state(rig);
			fail_msg("%s: not finished after %d s", rig->variant->name, LIMIT_S);
		}
	}
}

void rig_finish(struct rig *rig)
{
	run(rig, FINISHED, 0, 0);
}

void rig_until_down(struct rig *rig, uint32_t line, int side)
{
	run(rig, LINE_DOWN, line, side);
}

void rig_finish_line(struct rig *rig, uint32_t line)
{
	run(rig, LINE_FINISHED, line, 0);
}

void rig_until_held(struct rig *rig, uint32_t line, int to)
{
	run(rig, LINE_HELD, line, to);
}

void rig_settle(struct rig *rig)
{
	for (int idle = 0; idle < IDLE_TURNS; idle++) {
		if (rig_turn(rig, 0) + rig_turn(rig, 1))
			idle = 0;
		rig->ops->wait(rig->side[idle % 2], QUIET_NS / 2);
	}
}

void rig_close(struct rig *rig)
{
	for (int s = 0; s < 2; s++) {
		rig->ops->close(rig->side[s]);
		(void)close(rig->wake[s]);
		(void)close(rig->bell[s]);
	}
	sim_net_close(rig->net);
	for (uint32_t i = 0; i < rig->lines_count; i++)
		for (int s = 0; s < 2; s++) {
			struct rig_flow *flow = &rig->lines[i].flow[s];

			for (uint32_t k = 0; flow->payloads && k < flow->count; k++)
				free(flow->payloads[k]);
			free(flow->payloads);
			free(flow->placed);
		}
	*rig = (struct rig){0};
}
