/*
 * test_transport_sim.c - the simulated network: times to the nanosecond, and nothing else
 * than the seed decides.
 */
#include "daemon/transport/sim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/transport/transport.h"
#include "tests/common/rig.h"

enum { TRACE_MAX = 4000 };

static const struct transport_ops *const ops = &transport_sim;

/* What happened: one event. */
struct step {
	uint64_t ns;
	int node;
	struct transport_event event;
};

/* Two nodes with one instance each; everything that is announced is placed in `sink`. */
struct net {
	struct sim_net *sim;
	struct transport *node[2];
	unsigned char sink[1 << 20];
	bool hold;
	size_t steps;
	struct step trace[TRACE_MAX];
};

static struct net *net_open(const struct sim_net_options *options)
{
	struct net *net = calloc(1, sizeof(*net));
	struct transport_options o = {.lane_fd = -1, .queue_frames = 64};
	struct err err;

	assert_non_null(net);
	assert_int_equal(sim_net_open(&net->sim, options), 0);
	o.sim = net->sim;
	for (int n = 0; n < 2; n++) {
		o.sim_node = (uint32_t)n;
		assert_int_equal(ops->open(&net->node[n], &o, &err), 0);
	}
	return net;
}

static void net_close(struct net *net)
{
	for (int n = 0; n < 2; n++)
		ops->close(net->node[n]);
	sim_net_close(net->sim);
	free(net);
}

/* Path `path` between the nodes, each of which is peer 0 to the other.  Return: node 0's end. */
static int join(struct net *net, uint16_t path)
{
	int ends[2];

	assert_int_equal(sim_net_connect(net->sim, 0, 1, ends), 0);
	for (int n = 0; n < 2; n++)
		assert_int_equal(ops->attach(net->node[n], 0, path, ends[n], 0), 0);
	return ends[0];
}

static void send_frame(struct net *net, int from, uint16_t path, uint32_t number,
		       const unsigned char *payload, uint32_t bytes)
{
	struct wire_frame frame = rig_frame(path, from, number, bytes);

	ops->send(net->node[from], 0, path, &frame, payload, number);
}

static void poll_all(struct net *net)
{
	for (int n = 0; n < 2; n++) {
		struct step *step = &net->trace[net->steps];

		while (ops->poll(net->node[n], &step->event, 1)) {
			step->ns = sim_net_now(net->sim);
			step->node = n;
			if (step->event.kind == TRANSPORT_HEADER && !net->hold)
				ops->place(net->node[n], 0, step->event.path, net->sink);
			step = &net->trace[++net->steps];
			assert_true(net->steps < TRACE_MAX);
		}
	}
}

/* Until nothing is on its way. */
static void play(struct net *net)
{
	poll_all(net);
	while (sim_net_next(net->sim) != UINT64_MAX) {
		sim_net_advance(net->sim, sim_net_next(net->sim));
		poll_all(net);
	}
}

static void expect(const struct net *net, size_t i, uint64_t ns, int node,
		   enum transport_event_kind kind)
{
	assert_true(i < net->steps);
	assert_int_equal(net->trace[i].ns, ns);
	assert_int_equal(net->trace[i].node, node);
	assert_int_equal(net->trace[i].event.kind, kind);
}

/* --- time ----------------------------------------------------------------------------------- */

static const struct sim_net_options exact = {
	.nodes = 2,
	.seed = 5,
	.shape = {.latency_ns = 1000000, .bytes_per_s = 1000000000},
};

static void rate_and_latency_are_exact(void **state)
{
	enum { BYTES = 100000 - WIRE_HEADER_BYTES }; /* 100 us on the wire */
	static unsigned char payload[BYTES];
	struct net *net = net_open(&exact);

	(void)state;
	join(net, 0);
	assert_int_equal(sim_net_now(net->sim), 0);
	assert_true(sim_net_next(net->sim) == UINT64_MAX);
	send_frame(net, 0, 0, 0, payload, BYTES);
	send_frame(net, 0, 0, 1, payload, BYTES);
	send_frame(net, 1, 0, 0, NULL, 0); /* the other direction is free: 144 ns */
	play(net);
	assert_int_equal(net->steps, 8);
	expect(net, 0, 144, 1, TRANSPORT_SENT);
	expect(net, 1, 100000, 0, TRANSPORT_SENT);
	expect(net, 2, 200000, 0, TRANSPORT_SENT);
	expect(net, 3, 1000144, 0, TRANSPORT_FRAME);
	expect(net, 4, 1100000, 1, TRANSPORT_HEADER);
	expect(net, 5, 1100000, 1, TRANSPORT_FRAME);
	expect(net, 6, 1200000, 1, TRANSPORT_HEADER);
	expect(net, 7, 1200000, 1, TRANSPORT_FRAME);
	net_close(net);
}

static void shape_can_change(void **state)
{
	const struct sim_shape slow = {.latency_ns = 5, .bytes_per_s = 1000000};
	struct net *net = net_open(&exact);
	int end = join(net, 0);

	(void)state;
	sim_net_shape(net->sim, end, &slow);
	send_frame(net, 1, 0, 0, NULL, 0);
	play(net);
	expect(net, 0, 144000, 1, TRANSPORT_SENT);
	expect(net, 1, 144005, 0, TRANSPORT_FRAME);
	net_close(net);
}

static void the_clock_stops_where_it_is_told(void **state)
{
	struct net *net = net_open(&exact);

	(void)state;
	sim_net_wake_at(net->sim, 700);
	sim_net_wake_at(net->sim, 900);
	assert_int_equal(sim_net_next(net->sim), 700);
	sim_net_advance(net->sim, 650);
	assert_int_equal(sim_net_now(net->sim), 650);
	assert_int_equal(sim_net_next(net->sim), 700);
	sim_net_advance(net->sim, 700);
	assert_true(sim_net_next(net->sim) == UINT64_MAX);
	net_close(net);
}

/* Zero-copy, as it were: what leaves is what is there when it leaves. */
static void payloads_are_read_until_sent(void **state)
{
	unsigned char payload[1000];
	struct net *net = net_open(&exact);

	(void)state;
	join(net, 0);
	memset(payload, 1, sizeof(payload));
	send_frame(net, 0, 0, 0, payload, sizeof(payload));
	memset(payload, 2, sizeof(payload));
	sim_net_advance(net->sim, sim_net_next(net->sim));
	poll_all(net);
	expect(net, 0, 1144, 0, TRANSPORT_SENT);
	memset(payload, 3, sizeof(payload));
	play(net);
	expect(net, 2, 1001144, 1, TRANSPORT_FRAME);
	assert_int_equal(net->sink[0], 2);
	assert_int_equal(net->sink[999], 2);
	net_close(net);
}

/* --- chance --------------------------------------------------------------------------------- */

/* Three paths, both ways, random delays.  The caller frees. */
static struct net *random_run(uint64_t seed)
{
	static const struct sim_shape wild = {
		.latency_ns = 1000, .jitter_ns_max = 500000, .bytes_per_s = 1000000000};
	struct sim_net_options options = {.nodes = 2, .shape = wild};
	static unsigned char payload[5000];
	struct net *net;

	options.seed = seed;
	net = net_open(&options);
	for (uint16_t path = 0; path < 3; path++)
		join(net, path);
	for (uint32_t i = 0; i < 60; i++)
		for (uint16_t path = 0; path < 3; path++)
			send_frame(net, (int)i % 2, path, i, payload, i * 77 % 5000);
	play(net);
	return net;
}

static bool same_trace(const struct net *a, const struct net *b)
{
	if (a->steps != b->steps)
		return false;
	for (size_t i = 0; i < a->steps; i++) {
		const struct step *x = &a->trace[i], *y = &b->trace[i];

		if (x->ns != y->ns || x->node != y->node || x->event.kind != y->event.kind ||
		    x->event.path != y->event.path)
			return false;
		if (x->event.kind != TRANSPORT_SENT &&
		    memcmp(&x->event.frame, &y->event.frame, sizeof(x->event.frame)) != 0)
			return false;
	}
	return true;
}

static void the_seed_decides_everything(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 5; seed++) {
		struct net *one = random_run(seed);
		struct net *again = random_run(seed);
		struct net *other = random_run(seed + 100);

		assert_true(one->steps >= 3 * 60 * 2);
		assert_true(same_trace(one, again));
		assert_false(same_trace(one, other));
		net_close(one);
		net_close(again);
		net_close(other);
	}
}

/* Frames of one path never overtake each other, those of different paths do. */
static void order_holds_within_a_path_only(void **state)
{
	struct net *net = random_run(1);
	uint32_t last[2][3] = {{0}};
	uint32_t newest = 0, overtaken = 0;

	(void)state;
	for (size_t i = 0; i < net->steps; i++) {
		const struct step *s = &net->trace[i];
		uint32_t number = s->event.frame.path_seq;

		if (s->event.kind != TRANSPORT_FRAME || s->node != 1)
			continue;
		assert_true(number > last[1][s->event.path]);
		last[1][s->event.path] = number;
		overtaken += number < newest;
		newest = number > newest ? number : newest;
	}
	for (int path = 0; path < 3; path++)
		assert_int_equal(last[1][path], 59);
	assert_true(overtaken > 10);
	net_close(net);
}

/* --- limits and ends ------------------------------------------------------------------------ */

static void the_window_stops_the_sender(void **state)
{
	enum { BYTES = 1000 - WIRE_HEADER_BYTES };
	struct sim_net_options options = exact;
	static unsigned char payload[BYTES];
	struct net *net;

	(void)state;
	options.window_bytes = 2500;
	net = net_open(&options);
	net->hold = true;
	join(net, 0);
	for (uint32_t i = 0; i < 5; i++)
		send_frame(net, 0, 0, i, payload, BYTES);
	play(net);
	assert_int_equal(net->steps, 3); /* two SENT, one HEADER */
	assert_int_equal(ops->room(net->node[0], 0, 0), 64 - 3);
	net->hold = false;
	ops->place(net->node[1], 0, 0, net->sink);
	play(net);
	assert_int_equal(net->steps, 5 + 5 + 5);
	net_close(net);
}

static void a_cut_loses_what_is_under_way(void **state)
{
	struct net *net = net_open(&exact);
	int end = join(net, 0);

	(void)state;
	send_frame(net, 0, 0, 0, NULL, 0);
	sim_net_advance(net->sim, 1000000); /* left at 144, arrives at 1000144 */
	send_frame(net, 0, 0, 1, NULL, 0);  /* leaves at 1000144 */
	sim_net_advance(net->sim, 1000144);
	sim_net_cut(net->sim, end);
	play(net);
	assert_int_equal(net->steps, 5);
	expect(net, 0, 1000144, 0, TRANSPORT_SENT);
	expect(net, 1, 1000144, 0, TRANSPORT_SENT);
	expect(net, 2, 1000144, 0, TRANSPORT_DOWN);
	expect(net, 3, 1000144, 1, TRANSPORT_FRAME);
	expect(net, 4, 1000144, 1, TRANSPORT_DOWN);
	assert_int_equal(net->trace[2].event.error, -ECONNRESET);
	assert_int_equal(net->trace[4].event.error, -ECONNRESET);
	sim_net_cut(net->sim, end); /* over: nothing */
	sim_net_corrupt(net->sim, end);
	sim_net_drop(net->sim, end);
	play(net);
	assert_int_equal(net->steps, 5);
	net_close(net);
}

static void a_flipped_bit_is_refused(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct sim_net_options options = exact;
		struct net *net;
		int end;

		options.seed = seed;
		net = net_open(&options);
		end = join(net, 0);
		send_frame(net, 0, 0, 0, NULL, 0);
		play(net);
		sim_net_corrupt(net->sim, end);
		send_frame(net, 0, 0, 1, NULL, 0);
		send_frame(net, 0, 0, 2, NULL, 0);
		play(net);
		for (int n = 0; n < 2; n++) {
			const struct step *s = &net->trace[net->steps - 2 + (size_t)n];

			assert_int_equal(s->event.kind, TRANSPORT_DOWN);
			assert_int_equal(s->node, 1 - n); /* who refuses knows first */
			assert_int_equal(s->event.error, n ? -EPIPE : -EBADMSG);
			assert_int_equal(s->event.verdict != WIRE_OK, !n);
		}
		assert_int_equal(ops->stats(net->node[1])->bad_frames, 1);
		assert_int_equal(ops->stats(net->node[1])->frames_received, 1);
		net_close(net);
	}
}

static void ends_have_one_owner_of_their_node(void **state)
{
	struct net *net = net_open(&exact);
	int ends[2], loop[2];

	(void)state;
	assert_int_equal(sim_net_connect(net->sim, 0, 1, ends), 0);
	assert_int_equal(ops->attach(net->node[0], 0, 0, ends[1], 0), -EINVAL);
	assert_int_equal(ops->attach(net->node[0], 0, 0, ends[0], 0), 0);
	assert_int_equal(ops->attach(net->node[0], 0, 1, ends[0], 0), -EBADF);
	sim_net_drop(net->sim, ends[1]); /* nobody wanted it */
	play(net);
	assert_int_equal(net->steps, 1);
	expect(net, 0, 1000000, 0, TRANSPORT_DOWN);
	assert_int_equal(net->trace[0].event.error, -EPIPE);
	assert_int_equal(ops->attach(net->node[1], 0, 0, ends[1], 0), -EBADF);

	assert_int_equal(sim_net_connect(net->sim, 1, 1, loop), 0);
	assert_int_equal(ops->attach(net->node[1], 1, 0, loop[0], 0), 0);
	assert_int_equal(ops->attach(net->node[1], 1, 1, loop[1], 0), 0);
	net_close(net);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rate_and_latency_are_exact),
		cmocka_unit_test(shape_can_change),
		cmocka_unit_test(the_clock_stops_where_it_is_told),
		cmocka_unit_test(payloads_are_read_until_sent),
		cmocka_unit_test(the_seed_decides_everything),
		cmocka_unit_test(order_holds_within_a_path_only),
		cmocka_unit_test(the_window_stops_the_sender),
		cmocka_unit_test(a_cut_loses_what_is_under_way),
		cmocka_unit_test(a_flipped_bit_is_refused),
		cmocka_unit_test(ends_have_one_owner_of_their_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
