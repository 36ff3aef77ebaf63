/*
 * test_verbs_recover.c - devices, queues and ports that fail and come back: paths end, go over TCP
 * where that is allowed, and return, without anything being started anew.
 *
 * As test_verbs_path.c: devices that are not there (tests/common/fake_verbs.h).
 */
#include "daemon/transport/verbs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "tests/common/fake_verbs.h"
#include "tests/common/rig.h"

static const struct rig_variant strict = {
	"verbs", "verbs", AF_INET, {.queue_frames = 16, .payload_crc = true}};

/* Inline, in one extent, over two. */
static const uint32_t some[] = {0, 77, 5000, 1 << 20};

static int before(void **state)
{
	(void)state;
	fake_verbs_begin(1);
	return 0;
}

static int after(void **state)
{
	(void)state;
	fake_verbs_end();
	return 0;
}

/* --- devices that fail ---------------------------------------------------------------------- */

static void turn_until(struct rig *rig, bool (*done)(const struct rig *))
{
	uint64_t end_ns = clock_now_ns() + 20 * CLOCK_NS_PER_S;

	while (!done(rig)) {
		assert_true(clock_now_ns() < end_ns);
		for (int side = 0; side < 2; side++) {
			(void)rig_turn(rig, side);
			rig->ops->wait(rig->side[side], CLOCK_NS_PER_MS);
		}
	}
}

static bool sound(const struct rig *rig)
{
	for (int side = 0; side < 2; side++)
		if (verbs_device_refuses(&rig->side[side]->device))
			return false;
	return true;
}

static bool closed(const struct rig *rig)
{
	(void)rig;
	return fake_verbs.device[0].contexts == 0;
}

static void traffic(struct rig *rig)
{
	uint32_t line = rig_join(rig, 3, 0, 5, 1);

	for (int side = 0; side < 2; side++)
		rig_load(rig, line, side, some, 4);
	rig_finish_line(rig, line);
	assert_int_equal(rig->side[0]->tcp_paths, 0);
}

static void goes_down(struct rig *rig, uint32_t line, int error)
{
	for (int side = 0; side < 2; side++) {
		rig_until_down(rig, line, side);
		assert_int_equal(rig->lines[line].error[side], error);
	}
}

static void a_queue_pair_fails(void **state)
{
	struct rig rig;
	uint32_t line;

	(void)state;
	rig_open(&rig, &strict);
	(void)rig_join(&rig, 4, 0, 4, 0);
	line = rig_join(&rig, 3, 0, 5, 1);
	for (uint32_t i = 0; i < rig.side[1]->active_count; i++) {
		const struct verbs_path *p = rig.side[1]->paths[rig.side[1]->active[i]];

		if (p->slot == 5 * TRANSPORT_PATHS_MAX + 1)
			fake_verbs_event(0, IBV_EVENT_QP_FATAL, p->qp->qp_num);
	}
	rig_until_down(&rig, line, 1);
	assert_int_equal(rig.lines[line].error[1], -EIO);
	rig_until_down(&rig, line, 0);
	assert_true(rig.lines[0].up[0] && rig.lines[0].up[1]);
	traffic(&rig);
	rig_close(&rig);
}

static void queues_fail(void **state)
{
	static const enum ibv_event_type types[] = {IBV_EVENT_CQ_ERR, IBV_EVENT_SRQ_ERR};
	struct rig rig;

	(void)state;
	rig_open(&rig, &strict);
	for (int i = 0; i < 2; i++) {
		uint32_t line = rig_join(&rig, 3, 0, 5, 1);

		fake_verbs_event(0, types[i], 0);
		goes_down(&rig, line, -EIO);
		turn_until(&rig, sound);
		traffic(&rig);
		rig.ops->detach(rig.side[0], 3, 0);
		rig_until_down(&rig, line + 1, 1);
		rig_until_down(&rig, line + 1, 0);
	}
	rig_close(&rig);
}

/* It is let go, so that it can leave; the lane sleeps; when it is back it is used again. */
static void a_device_is_removed(void **state)
{
	struct epoll_event ready;
	struct rig rig;
	uint32_t line;

	(void)state;
	rig_open(&rig, &strict);
	line = rig_join(&rig, 3, 0, 5, 1);
	fake_verbs.device[0].gone = true;
	fake_verbs_event(0, IBV_EVENT_DEVICE_FATAL, 0);
	goes_down(&rig, line, -ENETDOWN);
	turn_until(&rig, closed);
	for (int side = 0; side < 2; side++) {
		assert_int_equal(epoll_wait(rig.side[side]->events, &ready, 1, 0), 0);
		assert_non_null(strstr(rig.ops->describe(rig.side[side]), "no verbs: the device "));
		assert_int_equal(rig.ops->offers(rig.side[side]),
				 TRANSPORT_OFFER_VERBS | TRANSPORT_OFFER_NO_TCP);
	}
	fake_verbs.device[0].gone = false;
	turn_until(&rig, sound);
	traffic(&rig);
	rig_close(&rig);
}

/* More paths than completions are for: the rest goes over TCP. */
static void the_completion_queue_is_small(void **state)
{
	struct rig_variant either = strict;
	struct rig rig;

	(void)state;
	either.options.tcp_too = true;
	fake_verbs.device[0].max_cqe = VERBS_RECEIVES + 2 * VERBS_SEND_DEPTH + 100;
	rig_open(&rig, &either);
	for (uint16_t i = 0; i < 3; i++)
		(void)rig_join(&rig, 3, i, 5, i);
	assert_int_equal(rig.side[0]->tcp_paths, 1);
	assert_non_null(strstr(rig.ops->describe(rig.side[1]),
			       "1 over TCP (here: its completion queue has no room for more "));
	rig_close(&rig);
}

/* --- from TCP back to RDMA ------------------------------------------------------------------ */

static bool all_down(const struct rig *rig)
{
	for (uint32_t i = 0; i < rig->lines_count; i++)
		if (rig->lines[i].up[0] || rig->lines[i].up[1])
			return false;
	return true;
}

static const struct rig_variant or_tcp = {"verbs, or else TCP",
					  "verbs",
					  AF_INET,
					  {.lane_fd = -1, .queue_frames = 16, .tcp_too = true}};

/* The port has no address for a while.  There is no PORT_ACTIVE when it has one again. */
static void an_address_comes_back(void **state)
{
	struct rig rig;

	(void)state;
	fake_verbs.device[0].gids = 0;
	rig_open(&rig, &or_tcp);
	(void)rig_join(&rig, 3, 0, 5, 1);
	assert_int_equal(rig.side[0]->tcp_paths, 1);
	fake_verbs.device[0].gids = 1;
	fake_verbs_event(0, IBV_EVENT_GID_CHANGE, 0);
	turn_until(&rig, all_down);
	traffic(&rig);
	rig_close(&rig);
}

/* The port is back while the two still agree that it is not. */
static void a_port_comes_back_in_the_meeting(void **state)
{
	struct rig rig;

	(void)state;
	fake_verbs.device[0].active = false;
	rig_open(&rig, &or_tcp);
	fake_verbs.device[0].active = true;
	fake_verbs_event(0, IBV_EVENT_PORT_ACTIVE, 0);
	(void)rig_join(&rig, 3, 0, 5, 1);
	assert_int_equal(rig.side[0]->tcp_paths, 1);
	turn_until(&rig, all_down);
	traffic(&rig);
	rig_close(&rig);
}

/* Nothing comes through: one path of each peer is tried later, and the others if it succeeds. */
static void the_fabric_comes_back(void **state)
{
	struct rig rig;

	(void)state;
	fake_verbs.cut = true;
	rig_open(&rig, &or_tcp);
	for (uint16_t i = 0; i < 3; i++)
		(void)rig_join(&rig, 3, i, 5, i);
	assert_int_equal(rig.side[0]->tcp_paths, 3);
	fake_verbs.cut = false;
	rig.side[0]->retry_at_ns = 0;
	rig_until_down(&rig, 0, 0);
	rig_until_down(&rig, 0, 1);
	assert_int_equal(rig.side[0]->tcp_paths, 2);
	(void)rig_join(&rig, 3, 0, 5, 0);
	assert_int_equal(rig.side[0]->tcp_paths, 2);
	rig_until_down(&rig, 1, 0);
	rig_until_down(&rig, 2, 0);
	assert_true(rig.lines[3].up[0] && rig.lines[3].up[1]);
	rig_close(&rig);
}

/*
 * Lane 1 of two, whose port is not up, whose device is not there, or may not be opened, when it
 * starts: it takes no other.
 */
static void a_named_port_comes_late(void **state)
{
	static const char *const why[] = {"here: its port is down",
					  "here: there is no device fake1",
					  "here: fake1: cannot be opened: Permission denied"};
	struct rig_variant late = or_tcp;
	struct rig rig;

	(void)state;
	late.options.lane = 1;
	late.options.verbs_devices = "fake0,fake1";
	for (int how = 0; how < 3; how++) {
		fake_verbs_begin(2);
		fake_verbs.device[1].active = how > 0;
		fake_verbs.device[1].gone = how == 1;
		fake_verbs.device[1].open_error = how == 2 ? EACCES : 0;
		rig_open(&rig, &late);
		assert_int_equal(rig.ops->offers(rig.side[0]), TRANSPORT_OFFER_VERBS);
		(void)rig_join(&rig, 3, 0, 5, 1);
		assert_int_equal(rig.side[0]->tcp_paths, 1);
		assert_non_null(strstr(rig.ops->describe(rig.side[0]), why[how]));
		assert_int_equal(fake_verbs.device[0].contexts, 0);
		fake_verbs.device[1].active = true;
		fake_verbs.device[1].gone = false;
		fake_verbs.device[1].open_error = 0;
		fake_verbs_event(1, IBV_EVENT_PORT_ACTIVE, 0);
		turn_until(&rig, all_down);
		traffic(&rig);
		assert_string_equal(rig.side[0]->device.name, "fake1");
		rig_close(&rig);
	}
}

/* A peer that is configured for TCP is left alone, whatever happens here. */
static void tcp_stays_where_it_is_wanted(void **state)
{
	struct transport_event event;
	struct transport *t;
	struct err err;
	int fds[2];

	(void)state;
	fake_verbs.device[0].active = false;
	assert_int_equal(transport_verbs.open(&t, &or_tcp.options, &err), 0);
	assert_int_equal(rig_sockets(AF_INET, fds), 0);
	assert_int_equal(transport_verbs.attach(t, 3, 1, fds[0], 0), 0);
	fake_verbs.device[0].active = true;
	fake_verbs_event(0, IBV_EVENT_PORT_ACTIVE, 0);
	for (int i = 0; i < 30; i++) {
		t->look_at_ns = 0;
		if (t->again_at_ns != UINT64_MAX)
			t->again_at_ns = 0;
		assert_int_equal(transport_verbs.poll(t, &event, 1), 0);
	}
	assert_true(t->could);
	assert_int_equal(t->tcp_paths, 1);
	(void)close(fds[1]);
	transport_verbs.close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_queue_pair_fails, before, after),
		cmocka_unit_test_setup_teardown(queues_fail, before, after),
		cmocka_unit_test_setup_teardown(a_device_is_removed, before, after),
		cmocka_unit_test_setup_teardown(the_completion_queue_is_small, before, after),
		cmocka_unit_test_setup_teardown(an_address_comes_back, before, after),
		cmocka_unit_test_setup_teardown(a_port_comes_back_in_the_meeting, before, after),
		cmocka_unit_test_setup_teardown(the_fabric_comes_back, before, after),
		cmocka_unit_test_setup_teardown(a_named_port_comes_late, before, after),
		cmocka_unit_test_setup_teardown(tcp_stays_where_it_is_wanted, before, after),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
