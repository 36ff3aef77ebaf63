/*
 * test_transport_verbs.c - what only the verbs transport does and needs no device for: it says why
 * it has none, meets peers that cannot or will not, and finds words for what devices report.
 *
 * The other end of a meeting is a plain socket that says what the test wants.  What needs a
 * device runs in a virtual machine: test_transport there, tests/vm.
 */
#include "daemon/transport/verbs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "tests/common/rig.h"

enum { PEER = 3, PATH = 1, TURNS = 20000 };

static const struct transport_ops *const ops = &transport_verbs;

static const struct verbs_greeting cannot = {.magic = VERBS_MAGIC,
					     .version = VERBS_VERSION,
					     .tcp_too = 1,
					     .why_not = "its port is down"};

/* One end is the transport; the other a socket, which has heard the transport's greeting. */
struct meeting {
	struct transport *t;
	int peer;
	struct verbs_greeting heard;
};

static struct meeting begin(bool tcp_too)
{
	/* No device has such a name: here is as little as on a machine without any. */
	struct transport_options options = {
		.lane_fd = -1, .queue_frames = 4, .verbs_devices = "none", .tcp_too = true};
	struct meeting m = {.peer = -1};
	struct err err;
	int fds[2];

	assert_int_equal(ops->open(&m.t, &options, &err), 0);
	m.t->options.tcp_too = tcp_too;
	assert_int_equal(rig_sockets(AF_INET, fds), 0);
	m.peer = fds[0];
	assert_int_equal(ops->attach(m.t, PEER, PATH, fds[1], TRANSPORT_OFFER_VERBS), 0);
	assert_int_equal(ops->room(m.t, PEER, PATH), 0);
	for (size_t have = 0; have < sizeof(m.heard);) {
		ssize_t n = recv(m.peer, (char *)&m.heard + have, sizeof(m.heard) - have, 0);

		if (n < 0 && errno == EAGAIN)
			continue;
		assert_true(n > 0);
		have += (size_t)n;
	}
	return m;
}

static void end(struct meeting *m)
{
	(void)close(m->peer);
	ops->close(m->t);
}

static void say(struct meeting *m, const void *message, size_t bytes)
{
	assert_int_equal(send(m->peer, message, bytes, 0), bytes);
}

static void goes_down(struct meeting *m, int error, const char *why)
{
	struct transport_event event = {0};
	size_t n = 0;

	for (int i = 0; i < TURNS && !n; i++) {
		n = ops->poll(m->t, &event, 1);
		ops->wait(m->t, n ? 0 : CLOCK_NS_PER_MS);
	}
	assert_int_equal(n, 1);
	assert_int_equal(event.kind, TRANSPORT_DOWN);
	assert_int_equal(event.peer, PEER);
	assert_int_equal(event.path, PATH);
	assert_int_equal(event.error, error);
	if (why)
		assert_string_equal(event.why, why);
	else
		assert_null(event.why);
}

static void there_is_no_device(void **state)
{
	struct transport_options options = {
		.lane_fd = -1, .queue_frames = 4, .verbs_devices = "none"};
	struct transport *t;
	struct err err;

	(void)state;
	assert_int_equal(ops->open(&t, &options, &err), -ENODEV);
	assert_non_null(strstr(err.text, "transport verbs cannot be used: "));
	assert_non_null(strstr(err.text, "set transport = auto"));
	options.verbs_retries = 7;
	assert_int_equal(ops->open(&t, &options, &err), -EINVAL);
	assert_non_null(strstr(err.text, "retries is 7, must be at most 6"));
	options.queue_frames = VERBS_FRAMES_MAX + 1;
	assert_int_equal(ops->open(&t, &options, &err), -EINVAL);
	assert_string_equal(err.text, "queue_frames is 65, must be 1..64");
}

/* Neither can: the socket becomes a TCP path, and the first frame is where it should be. */
static void both_settle_for_tcp(void **state)
{
	struct wire_frame frame = {.kind = WIRE_CREDIT, .group = 1, .epoch = 1};
	struct transport_event event = {0};
	struct meeting m = begin(true);
	size_t n = 0;

	(void)state;
	assert_int_equal(m.heard.magic, VERBS_MAGIC);
	assert_int_equal(m.heard.usable, 0);
	assert_int_equal(m.heard.tcp_too, 1);
	assert_true(strlen(m.heard.why_not) > 0);
	wire_seal(&frame, NULL);
	say(&m, &cannot, 50);
	assert_int_equal(ops->poll(m.t, &event, 1), 0);
	say(&m, (const char *)&cannot + 50, sizeof(cannot) - 50);
	say(&m, &frame, sizeof(frame));
	for (int i = 0; i < TURNS && !n; i++) {
		n = ops->poll(m.t, &event, 1);
		if (!n)
			ops->wait(m.t, CLOCK_NS_PER_MS);
	}
	assert_int_equal(n, 1);
	assert_int_equal(event.kind, TRANSPORT_FRAME);
	assert_int_equal(event.peer, PEER);
	assert_memory_equal(&event.frame, &frame, sizeof(frame));
	assert_int_equal(ops->room(m.t, PEER, PATH), 4);
	assert_non_null(strstr(ops->describe(m.t), "1 over TCP (here: "));
	assert_int_equal(ops->stats(m.t)->frames_received, 1);
	end(&m);
}

static void a_peer_that_offers_nothing_gets_tcp(void **state)
{
	struct transport_options options = {
		.lane_fd = -1, .queue_frames = 4, .verbs_devices = "none", .tcp_too = true};
	struct transport *t;
	struct err err;
	int fds[2];

	(void)state;
	assert_int_equal(ops->open(&t, &options, &err), 0);
	assert_int_equal(rig_sockets(AF_INET, fds), 0);
	assert_int_equal(ops->attach(t, PEER, PATH, fds[0], 0), 0);
	assert_int_equal(ops->room(t, PEER, PATH), 4);
	assert_non_null(strstr(ops->describe(t), "configured for TCP"));
	(void)close(fds[1]);
	ops->close(t);
}

static void tcp_is_not_allowed(void **state)
{
	struct verbs_greeting no_tcp = cannot;
	struct meeting m;

	(void)state;
	no_tcp.tcp_too = 0;
	m = begin(true);
	say(&m, &no_tcp, sizeof(no_tcp));
	goes_down(&m, -EOPNOTSUPP, "no queue pair could be made, and TCP is not allowed");
	end(&m);
	m = begin(false);
	assert_int_equal(m.heard.tcp_too, 0);
	say(&m, &cannot, sizeof(cannot));
	goes_down(&m, -EOPNOTSUPP, "no queue pair could be made, and TCP is not allowed");
	end(&m);
}

static void the_other_end_breaks_off(void **state)
{
	struct verbs_greeting bad = cannot;
	struct meeting m;

	(void)state;
	bad.magic++;
	m = begin(true);
	say(&m, &bad, sizeof(bad));
	goes_down(&m, -EPROTO, "it does not begin as a meeting of verbs");
	end(&m);
	bad = cannot; /* test_verbs_words.c has all of them */
	bad.why_not[3] = '\033';
	m = begin(true);
	say(&m, &bad, sizeof(bad));
	goes_down(&m, -EPROTO, "its greeting has a bad text");
	end(&m);
	m = begin(true);
	(void)shutdown(m.peer, SHUT_WR);
	goes_down(&m, -EPIPE, NULL);
	end(&m);
	m = begin(true);
	say(&m, &cannot, 100);
	(void)shutdown(m.peer, SHUT_WR);
	goes_down(&m, -ECONNRESET, NULL);
	end(&m);
	m = begin(true);
	ops->detach(m.t, PEER, PATH);
	goes_down(&m, -ECANCELED, NULL);
	assert_int_equal(ops->room(m.t, PEER, PATH), 0);
	end(&m);
}

/* It says nothing: the path does not wait for ever. */
static void the_other_end_is_silent(void **state)
{
	struct meeting m = begin(true);

	(void)state;
	m.t->paths[m.t->active[0]]->deadline_ns = clock_now_ns() + 50 * CLOCK_NS_PER_MS;
	goes_down(&m, -ETIMEDOUT, "the other end did not finish making a queue pair");
	end(&m);
}

static void words_for_all_that_devices_report(void **state)
{
	(void)state;
	assert_int_equal(verbs_status_errno(IBV_WC_SUCCESS), 0);
	for (int s = IBV_WC_LOC_LEN_ERR; s <= IBV_WC_GENERAL_ERR; s++) {
		assert_true(verbs_status_errno((enum ibv_wc_status)s) < 0);
		assert_true(strlen(verbs_status_text((enum ibv_wc_status)s)) > 0);
	}
	assert_int_equal(verbs_status_errno(IBV_WC_RETRY_EXC_ERR), -ETIMEDOUT);
	assert_int_equal(verbs_status_errno(IBV_WC_REM_ACCESS_ERR), -EACCES);
	assert_int_equal(verbs_status_errno(IBV_WC_RNR_RETRY_EXC_ERR), -EBUSY);
	assert_string_equal(verbs_status_text(IBV_WC_RETRY_EXC_ERR),
			    "the peer's device does not answer (retries used up)");
	assert_string_equal(verbs_event_text(IBV_EVENT_PORT_ERR), "its port went down");
	assert_string_equal(verbs_event_text(IBV_EVENT_DEVICE_FATAL),
			    "the device has failed or was removed");
	assert_null(verbs_event_text(IBV_EVENT_COMM_EST));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_is_no_device),
		cmocka_unit_test(both_settle_for_tcp),
		cmocka_unit_test(a_peer_that_offers_nothing_gets_tcp),
		cmocka_unit_test(tcp_is_not_allowed),
		cmocka_unit_test(the_other_end_breaks_off),
		cmocka_unit_test(the_other_end_is_silent),
		cmocka_unit_test(words_for_all_that_devices_report),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
