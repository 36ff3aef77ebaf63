/*
 * test_verbs_path.c - paths of the verbs transport between two devices that are not there
 * (tests/common/fake_verbs.h): what passes, what is left behind, what happens when something fails.
 *
 * Two instances in one process, joined by sockets, as tests/common/rig.h does; what the device is
 * to do is set in `fake_verbs`.
 */
#include "daemon/transport/verbs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "tests/common/fake_verbs.h"
#include "tests/common/rig.h"

enum { FRAMES = 200 };

static const struct rig_variant strict = {
	"verbs", "verbs", AF_INET, {.queue_frames = 16, .payload_crc = true}};

/* Sizes that are inline, in one extent, over several. */
static const uint32_t *sizes(void)
{
	static uint32_t some[FRAMES];

	for (uint32_t i = 0; i < FRAMES; i++)
		some[i] = i % 5 == 4 ? i * 7919 % (1 << 20) : i * 31 % 300;
	return some;
}

static struct verbs_path *path_of(struct rig *rig, int side)
{
	struct transport *t = rig->side[side];

	assert_int_equal(t->active_count, 1);
	return t->paths[t->active[0]];
}

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

static void frames_pass(void **state)
{
	struct rig rig;
	uint32_t line;

	(void)state;
	rig_open(&rig, &strict);
	line = rig_join(&rig, 3, 0, 5, 1);
	for (int side = 0; side < 2; side++)
		rig_load(&rig, line, side, sizes(), FRAMES);
	rig_finish(&rig);
	assert_int_equal(path_of(&rig, 0)->state, VERBS_UP);
	assert_int_equal(fake_verbs.device[0].qps, 2);
	assert_true(fake_verbs.writes > FRAMES);
	rig_close(&rig);
}

/* A peer's device may send what its daemon never would: that is no frame. */
static void a_send_is_no_frame(void **state)
{
	struct rig rig;
	uint32_t line;

	(void)state;
	rig_open(&rig, &strict);
	line = rig_join(&rig, 3, 0, 5, 1);
	fake_verbs_send(path_of(&rig, 0)->qp->qp_num);
	rig_until_down(&rig, line, 1);
	assert_int_equal(rig.lines[line].error[1], -EBADMSG);
	assert_int_equal(rig.lines[line].verdict[1], WIRE_BAD_KIND);
	assert_int_equal(rig.ops->stats(rig.side[1])->bad_frames, 1);
	rig_close(&rig);
}

/* --- paths that break ----------------------------------------------------------------------- */

enum { PATHS = 8 };

static const uint32_t empty[VERBS_WINDOW];

static bool all_sent(const struct rig *rig)
{
	for (uint16_t i = 0; i < PATHS; i++)
		if (rig->lines[i].flow[0].sent != VERBS_WINDOW)
			return false;
	return true;
}

/* So much arrives at side 1, on so many paths, that it is not looked at in one go; nobody has. */
static void open_and_fill(struct rig *rig)
{
	static struct rig_variant deep;

	deep = strict;
	deep.options.queue_frames = VERBS_FRAMES_MAX;
	rig_open(rig, &deep);
	for (uint16_t i = 0; i < PATHS; i++)
		rig_load(rig, rig_join(rig, 3, i, 5, i), 0, empty, VERBS_WINDOW);
	for (int turn = 0; turn < 1000 && !all_sent(rig); turn++) {
		(void)rig_turn(rig, 0);
		rig->ops->wait(rig->side[0], CLOCK_NS_PER_MS);
	}
	assert_true(all_sent(rig));
}

/* Completions go with the queue pair that is destroyed, but no receive is lost with them. */
static void receives_are_not_lost(void **state)
{
	struct rig rig;

	(void)state;
	fake_verbs.device[0].max_srq_wr = 2048;
	open_and_fill(&rig);
	for (uint16_t i = 0; i < PATHS; i++)
		rig.ops->detach(rig.side[1], 5, i);
	for (uint16_t i = 0; i < PATHS; i++)
		rig_until_down(&rig, i, 1);
	for (int turn = 0; turn < 100; turn++)
		(void)rig_turn(&rig, 1);
	assert_in_range(fake_verbs.device[0].receives + rig.side[0]->device.receives_missing +
				rig.side[1]->device.receives_missing,
			2 * 2048, UINT32_MAX);
	rig_close(&rig);
}

/* The sender is gone: all that had arrived is told. */
static void all_that_arrived_is_told(void **state)
{
	struct rig rig;

	(void)state;
	open_and_fill(&rig);
	fake_verbs.held = true; /* what the receiver writes to nobody fails at once otherwise */
	for (uint16_t i = 0; i < PATHS; i++) {
		rig.ops->detach(rig.side[0], 3, i);
		while (rig.lines[i].up[0])
			(void)rig_turn(&rig, 0);
	}
	rig.side[1]->look_at_ns = 0; /* the first thing that it sees is that they are gone */
	for (uint16_t i = 0; i < PATHS; i++) {
		rig_until_down(&rig, i, 1);
		assert_int_equal(rig.lines[i].error[1], -EPIPE);
		assert_int_equal(rig.lines[i].flow[0].received, VERBS_WINDOW);
	}
	rig_close(&rig);
}

/* --- meetings that fail --------------------------------------------------------------------- */

static void each_side_says_what_failed(void **state)
{
	struct rig_variant either = strict;
	struct rig rig;

	(void)state;
	either.options.tcp_too = true;
	fake_verbs.device[0].connect_error = ENETUNREACH;
	rig_open(&rig, &either);
	(void)rig_join(&rig, 3, 0, 5, 1);
	for (int side = 0; side < 2; side++)
		assert_non_null(strstr(rig.ops->describe(rig.side[side]),
				       "1 over TCP (here: Network is unreachable)"));
	rig_close(&rig);
	fake_verbs.device[0].connect_error = 0;
	fake_verbs.cut = true;
	rig_open(&rig, &either);
	(void)rig_join(&rig, 3, 0, 5, 1);
	for (int side = 0; side < 2; side++)
		assert_non_null(strstr(rig.ops->describe(rig.side[side]),
				       "1 over TCP (here: the peer's device does not answer"));
	rig_close(&rig);
}

/* The other end of a meeting is a plain socket, which says what the test wants. */
static void say(int fd, const void *message, size_t bytes)
{
	assert_int_equal(send(fd, message, bytes, MSG_NOSIGNAL), bytes);
}

static struct verbs_greeting greeting(void)
{
	return (struct verbs_greeting){.magic = 0x53425256,
				       .version = VERBS_VERSION,
				       .usable = 1,
				       .link = VERBS_ROCE_V2,
				       .mtu = IBV_MTU_1024,
				       .ring_bytes = 1 << 22,
				       .ring = 1 << 20,
				       .gid = {1},
				       .qpn = 77};
}

/* It has said all that it will say, we are not done, and it goes: we need not wait for more. */
static void the_other_end_goes_early(void **state)
{
	struct transport_options options = {.lane_fd = -1, .queue_frames = 4};
	const struct verbs_greeting hello = greeting();
	struct verbs_word word = {.magic = hello.magic, .state = VERBS_CONNECT, .good = 1};
	struct transport_event event = {0};
	struct transport *t;
	struct err err;
	int fds[2];

	(void)state;
	fake_verbs.held = true;
	assert_int_equal(transport_verbs.open(&t, &options, &err), 0);
	assert_int_equal(rig_sockets(AF_INET, fds), 0);
	assert_int_equal(transport_verbs.attach(t, 3, 1, fds[0], TRANSPORT_OFFER_VERBS), 0);
	say(fds[1], &hello, sizeof(hello));
	say(fds[1], &word, sizeof(word));
	word.state = VERBS_JUDGE;
	say(fds[1], &word, sizeof(word));
	for (int i = 0; i < 100 && t->paths[t->active[0]]->state != VERBS_PROBE; i++) {
		assert_int_equal(transport_verbs.poll(t, &event, 1), 0);
		transport_verbs.wait(t, CLOCK_NS_PER_MS);
	}
	assert_int_equal(t->paths[t->active[0]]->state, VERBS_PROBE);
	(void)shutdown(fds[1], SHUT_WR);
	while (!transport_verbs.poll(t, &event, 1))
		transport_verbs.wait(t, CLOCK_NS_PER_MS);
	assert_int_equal(event.kind, TRANSPORT_DOWN);
	assert_int_equal(event.error, -EPIPE); /* it would be -ETIMEDOUT in the end */
	(void)close(fds[1]);
	transport_verbs.close(t);
}

static void a_device_that_we_may_not_open(void **state)
{
	struct transport_options options = {.lane_fd = -1, .queue_frames = 4};
	struct transport *t;
	struct err err;

	(void)state;
	fake_verbs.device[0].open_error = EACCES;
	assert_int_equal(transport_verbs.open(&t, &options, &err), -ENODEV);
	assert_non_null(strstr(err.text, "its devices cannot be opened (Permission denied): may "
					 "this user write to /dev/infiniband/uverbs*?"));
	options.verbs_devices = "fake7";
	assert_int_equal(transport_verbs.open(&t, &options, &err), -ENODEV);
	assert_non_null(strstr(err.text, "\"fake7\" matches none of 1 devices"));
}

/* --- memory that cannot be registered ------------------------------------------------------- */

/* The rings fit, what is sent does not: the path ends once, and goes on over TCP. */
static void memory_runs_out_later(void **state)
{
	static const uint32_t large[] = {1 << 20};
	struct rig_variant either = strict;
	struct rig rig;
	uint32_t line;

	(void)state;
	either.options.tcp_too = true;
	rig_open(&rig, &either);
	line = rig_join(&rig, 3, 0, 5, 1);
	fake_verbs.lock_bytes = fake_verbs.locked + 4096;
	rig_load(&rig, line, 0, large, 1);
	rig_until_down(&rig, line, 0);
	assert_int_equal(rig.lines[line].error[0], -ENOMEM);
	rig_until_down(&rig, line, 1);
	fake_verbs.lock_bytes = 0; /* there may be room for rings again, when others have ended */
	line = rig_join(&rig, 3, 0, 5, 1);
	rig_load(&rig, line, 0, large, 1);
	rig_finish_line(&rig, line);
	assert_int_equal(rig.side[0]->tcp_paths, 1);
	assert_non_null(strstr(rig.ops->describe(rig.side[0]),
			       "; no more of them: memory cannot be registered: raise "
			       "LimitMEMLOCK= (ulimit -l); 1 over TCP (here: memory cannot"));
	assert_non_null(strstr(rig.ops->describe(rig.side[1]), "1 over TCP (there: memory cannot "
							       "be registered: raise LimitMEMLOCK= "
							       "(ulimit -l))"));
	rig_close(&rig);
}

static void no_ring_fits(void **state)
{
	struct rig_variant either = strict;
	struct rig rig;

	(void)state;
	either.options.tcp_too = true;
	fake_verbs.lock_bytes = 1 << 20;
	rig_open(&rig, &either);
	(void)rig_join(&rig, 3, 0, 5, 1);
	assert_int_equal(rig.side[0]->tcp_paths, 1);
	assert_int_equal(rig.side[0]->device.no_memory, -ENOMEM);
	rig_close(&rig);
}

static void may_lock_more(bool may)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	uint32_t *now = &data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective;
	uint32_t ever, one = CAP_TO_MASK(CAP_IPC_LOCK);

	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	ever = data[CAP_TO_INDEX(CAP_IPC_LOCK)].permitted;
	*now = may ? *now | (ever & one) : *now & ~one;
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

/* The limit is looked at before there is anything to register, unless it does not concern us. */
static void the_limit_is_found_at_start(void **state)
{
	struct transport_options options = {.lane_fd = -1, .queue_frames = 4};
	struct rlimit was, low;
	struct transport *t;
	struct err err;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &was), 0);
	low = was;
	low.rlim_cur = 8 << 20;
	may_lock_more(false);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &low), 0);
	assert_int_equal(transport_verbs.open(&t, &options, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "only 8192 KiB of memory can be registered, 32768 are "
					 "the least: raise LimitMEMLOCK= of the unit"));
	options.tcp_too = true;
	assert_int_equal(transport_verbs.open(&t, &options, &err), 0);
	assert_non_null(strstr(transport_verbs.describe(t), "memory cannot be registered"));
	transport_verbs.close(t);
	low.rlim_cur = VERBS_MEMLOCK_LEAST;
	options.tcp_too = false;
	if (low.rlim_cur <= low.rlim_max) {
		assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &low), 0);
		assert_int_equal(transport_verbs.open(&t, &options, &err), 0);
		assert_non_null(strstr(transport_verbs.describe(t),
				       "; only 32 MiB can be registered: raise LimitMEMLOCK="));
		transport_verbs.close(t);
	}
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &was), 0);
	may_lock_more(true);
}

/* --- what a frame costs --------------------------------------------------------------------- */

enum { BATCH = 16, BATCHES = 8, BYTES = 32 << 10 };

/* What side 0 is told until it has been told all of a batch that is SENT; side 1 takes it. */
static void pass_batch(struct rig *rig, unsigned char *room)
{
	uint32_t sent = 0;

	while (sent < BATCH) {
		struct transport_event event;

		if (transport_verbs.poll(rig->side[0], &event, 1)) {
			assert_int_equal(event.kind, TRANSPORT_SENT);
			sent++;
		} else {
			transport_verbs.wait(rig->side[0], CLOCK_NS_PER_MS);
		}
		if (transport_verbs.poll(rig->side[1], &event, 1) && event.kind == TRANSPORT_HEADER)
			transport_verbs.place(rig->side[1], event.peer, event.path, room);
	}
}

/* One path, whose side 0 knows the memory. */
static void open_with(struct rig *rig, unsigned char *memory)
{
	assert_non_null(memory);
	memset(memory, 5, (size_t)BATCH * BYTES);
	rig_open(rig, &strict);
	(void)rig_join(rig, 3, 0, 5, 1);
	transport_verbs.remember(rig->side[0], memory, (size_t)BATCH * BYTES);
}

/*
 * Frames that are sent together, from memory that is known, are few writes; no more than one in
 * SIGNAL_EVERY frames asks for a completion; nothing is copied or registered for one of them.
 */
static void few_requests_and_completions(void **state)
{
	unsigned char *memory = aligned_alloc(4096, (size_t)BATCH * BYTES), room[BYTES];
	const struct transport_stats *ours, *theirs;
	struct transport_stats before, there;
	struct rig rig;

	(void)state;
	open_with(&rig, memory);
	ours = transport_verbs.stats(rig.side[0]);
	theirs = transport_verbs.stats(rig.side[1]);
	before = *ours;
	there = *theirs;
	for (uint32_t batch = 0; batch < BATCHES; batch++) {
		for (uint32_t i = 0; i < BATCH; i++) {
			struct wire_frame frame = rig_frame(0, 0, i, BYTES);

			transport_verbs.send(rig.side[0], 3, 0, &frame, memory + i * BYTES, i + 1);
		}
		pass_batch(&rig, room);
	}
	ours = transport_verbs.stats(rig.side[0]);
	theirs = transport_verbs.stats(rig.side[1]);
	assert_int_equal(ours->frames_sent - before.frames_sent, BATCH * BATCHES);
	/* Eight to a write, and where the ring ends one more; and what asks for the last ones. */
	assert_in_range(ours->work_requests - before.work_requests, 2 * BATCHES, 3 * BATCHES);
	assert_in_range(ours->completions - before.completions, 1,
			BATCHES + theirs->work_requests - there.work_requests);
	assert_in_range(ours->registrations - before.registrations, 1, 2);
	transport_verbs.forget(rig.side[0], memory);
	rig_close(&rig);
	free(memory);
}

/* A small frame is written when it is given; those behind many bytes wait for one another. */
static void a_small_frame_does_not_wait(void **state)
{
	unsigned char *memory = aligned_alloc(4096, (size_t)BATCH * BYTES);
	const struct wire_frame small = rig_frame(0, 0, 0, 8);
	struct rig rig;
	uint64_t before;

	(void)state;
	open_with(&rig, memory);
	before = transport_verbs.stats(rig.side[0])->work_requests;
	for (uint32_t i = 0; i < 3; i++)
		transport_verbs.send(rig.side[0], 3, 0, &small, memory, i + 1);
	assert_int_equal(transport_verbs.stats(rig.side[0])->work_requests, before + 3);
	for (uint32_t i = 0; i < 3; i++) {
		const struct wire_frame large = rig_frame(0, 0, 3 + i, BYTES);

		transport_verbs.send(rig.side[0], 3, 0, &large, memory, 4 + i);
	}
	/* The first large one goes, too, and the others when the lane has nothing else to do. */
	assert_int_equal(transport_verbs.stats(rig.side[0])->work_requests, before + 4);
	transport_verbs.wait(rig.side[0], 0);
	assert_in_range(transport_verbs.stats(rig.side[0])->work_requests, before + 5, before + 6);
	assert_int_equal(path_of(&rig, 0)->tx.posted, path_of(&rig, 0)->tx.tail);
	transport_verbs.forget(rig.side[0], memory);
	rig_close(&rig);
	free(memory);
}

/* Room is what is left before another path is the better one: long frames take as much as many. */
static void many_bytes_under_way_leave_little_room(void **state)
{
	unsigned char *memory = aligned_alloc(4096, (size_t)BATCH * BYTES);
	static const struct {
		uint32_t bytes, room;
	} sends[] = {{BYTES, 16}, {7 * BYTES, 12}, {8 * BYTES, 8}};
	struct rig rig;

	(void)state;
	open_with(&rig, memory);
	assert_int_equal(transport_verbs.room(rig.side[0], 3, 0), 16);
	for (uint32_t i = 0; i < sizeof(sends) / sizeof(sends[0]); i++) {
		const struct wire_frame frame = rig_frame(0, 0, i, sends[i].bytes);

		transport_verbs.send(rig.side[0], 3, 0, &frame, memory, i + 1);
		transport_verbs.wait(rig.side[0], 0); /* does not hold it back */
		assert_int_equal(transport_verbs.room(rig.side[0], 3, 0), sends[i].room);
	}
	transport_verbs.forget(rig.side[0], memory);
	rig_close(&rig);
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(frames_pass, before, after),
		cmocka_unit_test_setup_teardown(a_send_is_no_frame, before, after),
		cmocka_unit_test_setup_teardown(receives_are_not_lost, before, after),
		cmocka_unit_test_setup_teardown(all_that_arrived_is_told, before, after),
		cmocka_unit_test_setup_teardown(each_side_says_what_failed, before, after),
		cmocka_unit_test_setup_teardown(the_other_end_goes_early, before, after),
		cmocka_unit_test_setup_teardown(a_device_that_we_may_not_open, before, after),
		cmocka_unit_test_setup_teardown(memory_runs_out_later, before, after),
		cmocka_unit_test_setup_teardown(no_ring_fits, before, after),
		cmocka_unit_test_setup_teardown(the_limit_is_found_at_start, before, after),
		cmocka_unit_test_setup_teardown(few_requests_and_completions, before, after),
		cmocka_unit_test_setup_teardown(a_small_frame_does_not_wait, before, after),
		cmocka_unit_test_setup_teardown(many_bytes_under_way_leave_little_room, before,
						after),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
