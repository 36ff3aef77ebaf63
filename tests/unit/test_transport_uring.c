/*
 * test_transport_uring.c - the io_uring transport against a bare socket.
 *
 * Goal: what the bytes on the wire do.  The peer is a plain socket in the same thread,
 * which sends what no transport would: garbled headers, halves of frames, one byte at a
 * time.  Everything runs with single-shot and with multishot receive.
 */
#include "daemon/transport/transport.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "tests/common/rig.h"

enum { PEER = 11, PATH = 3, PAYLOAD_MAX = 300000, TURNS_MAX = 20000 };

static const struct transport_ops *const ops = &transport_uring;

/* An instance with one path, whose other end is `peer`. */
struct bare {
	struct transport *t;
	int peer;
	unsigned char payload[PAYLOAD_MAX]; /* of the last frame */
	bool discard;
};

static const struct transport_options modes[] = {
	{.lane_fd = -1, .queue_frames = 8, .multishot = TRANSPORT_OFF},
	{.lane_fd = -1, .queue_frames = 8, .multishot = TRANSPORT_ON},
	{.lane_fd = -1, .queue_frames = 8, .sqpoll = TRANSPORT_ON, .zerocopy = TRANSPORT_OFF},
};

enum { MODES = sizeof(modes) / sizeof(modes[0]) };

/* --- helpers -------------------------------------------------------------------------------- */

static void bare_open(struct bare *b, const struct transport_options *options)
{
	struct err err;

	memset(b, 0, sizeof(*b));
	b->peer = -1;
	if (ops->open(&b->t, options, &err) < 0)
		fail_msg("%s", err.text);
}

static void bare_join(struct bare *b)
{
	int fds[2];

	assert_int_equal(b->peer, -1);
	assert_int_equal(rig_sockets(AF_INET, fds), 0);
	assert_int_equal(ops->attach(b->t, PEER, PATH, fds[1], 0), 0); /* O_NONBLOCK */
	b->peer = fds[0];
}

static void hang_up(struct bare *b)
{
	if (b->peer >= 0)
		assert_int_equal(close(b->peer), 0);
	b->peer = -1;
}

static void bare_close(struct bare *b)
{
	ops->close(b->t);
	hang_up(b);
}

/* The next event, headers answered; fails if there is none within a second or so. */
static struct transport_event next_event(struct bare *b)
{
	struct transport_event event;

	for (int i = 0; i < 2000; i++) {
		if (!ops->poll(b->t, &event, 1)) {
			ops->wait(b->t, CLOCK_NS_PER_MS);
			continue;
		}
		assert_int_equal(event.peer, PEER);
		assert_int_equal(event.path, PATH);
		if (event.kind == TRANSPORT_HEADER) {
			assert_true(event.frame.payload_bytes <= PAYLOAD_MAX);
			ops->place(b->t, PEER, PATH, b->discard ? NULL : b->payload);
			continue;
		}
		return event;
	}
	fail_msg("no event came");
	return (struct transport_event){0};
}

static void expect_down(struct bare *b, int error, enum wire_verdict verdict)
{
	struct transport_event event = next_event(b);

	assert_int_equal(event.kind, TRANSPORT_DOWN);
	assert_int_equal(event.error, error);
	assert_int_equal(event.verdict, verdict);
	assert_int_equal(ops->poll(b->t, &event, 1), 0);
}

static void put(struct bare *b, const void *data, size_t bytes)
{
	assert_int_equal(send(b->peer, data, bytes, MSG_NOSIGNAL), bytes);
}

static struct wire_frame sealed(uint32_t number, uint32_t bytes)
{
	struct wire_frame frame = rig_frame(0, 0, number, bytes);

	wire_seal(&frame, NULL);
	return frame;
}

/* --- broken headers ------------------------------------------------------------------------- */

static void refuse(struct bare *b, const struct wire_frame *frame)
{
	uint64_t bad = ops->stats(b->t)->bad_frames;
	char byte;

	bare_join(b);
	put(b, frame, sizeof(*frame));
	expect_down(b, -EBADMSG, wire_check(frame));
	/* The peer is told by a reset, which no orderly end can be taken for. */
	assert_int_equal(recv(b->peer, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	hang_up(b);
	assert_int_equal(ops->stats(b->t)->bad_frames, bad + 1);
}

static void every_flipped_bit_is_refused(void **state)
{
	struct bare b;

	(void)state;
	for (int m = 0; m < MODES - 1; m++) {
		bare_open(&b, &modes[m]);
		for (size_t bit = (size_t)m; bit < 8 * WIRE_HEADER_BYTES; bit += 5) {
			struct wire_frame frame = sealed(0, 1000);

			((unsigned char *)&frame)[bit / 8] ^= (unsigned char)(1u << bit % 8);
			assert_int_not_equal(wire_check(&frame), WIRE_OK);
			refuse(&b, &frame);
		}
		bare_close(&b);
	}
}

static void sealed_nonsense_is_refused(void **state)
{
	struct wire_frame frame;
	struct bare b;

	(void)state;
	for (int m = 0; m < MODES; m++) {
		bare_open(&b, &modes[m]);
		frame = sealed(0, 1000);
		frame.magic = 0x20544547; /* "GET " */
		assert_int_equal(wire_check(&frame), WIRE_BAD_MAGIC);
		refuse(&b, &frame);
		frame = sealed(0, 1000);
		frame.version = WIRE_VERSION + 1;
		assert_int_equal(wire_check(&frame), WIRE_BAD_VERSION);
		refuse(&b, &frame);
		frame = rig_frame(0, 0, 0, WIRE_CHUNK_BYTES_MAX + 1);
		wire_seal(&frame, NULL);
		assert_int_equal(wire_check(&frame), WIRE_BAD_LENGTH);
		refuse(&b, &frame);
		frame = rig_frame(0, 0, 0, 0);
		frame.kind = 999;
		wire_seal(&frame, NULL);
		assert_int_equal(wire_check(&frame), WIRE_BAD_KIND);
		refuse(&b, &frame);
		bare_close(&b);
	}
}

/* A header that passes, and a payload that is not what it promises. */
static void payload_checksums_are_checked(void **state)
{
	static unsigned char payload[100000];
	struct transport_event event;
	struct wire_frame frame;
	struct bare b;

	(void)state;
	for (int m = 0; m < MODES; m++) {
		bare_open(&b, &modes[m]);
		for (int discard = 0; discard < 2; discard++) {
			b.discard = discard;
			rig_fill(payload, 0, 0, 0, sizeof(payload));
			frame = rig_frame(0, 0, 0, sizeof(payload));
			wire_seal(&frame, payload);
			bare_join(&b);
			put(&b, &frame, sizeof(frame));
			put(&b, payload, sizeof(payload));
			event = next_event(&b);
			assert_int_equal(event.kind, TRANSPORT_FRAME);
			assert_ptr_equal(event.payload, discard ? NULL : b.payload);
			payload[77777] ^= 0x10;
			put(&b, &frame, sizeof(frame));
			put(&b, payload, sizeof(payload));
			if (!discard) {
				expect_down(&b, -EBADMSG, WIRE_BAD_PAYLOAD);
				hang_up(&b);
				continue;
			}
			assert_int_equal(next_event(&b).kind, TRANSPORT_FRAME); /* nobody looks */
			hang_up(&b);
			expect_down(&b, -EPIPE, WIRE_OK);
		}
		bare_close(&b);
	}
}

/* --- where the end comes -------------------------------------------------------------------- */

static void end_with_reset(int fd)
{
	const struct linger now = {.l_onoff = 1};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

/* After `cut` bytes of two frames the peer closes or resets. */
static void cut_after(struct bare *b, const unsigned char *stream, size_t cut, size_t first,
		      size_t all, bool reset)
{
	struct transport_event event;
	bool between = cut == 0 || cut == first || cut == all;

	bare_join(b);
	put(b, stream, cut);
	if (reset) { /* what the peer's kernel has not yet sent on would be lost */
		end_with_reset(b->peer);
		for (int i = 0; i < 3; i++)
			ops->wait(b->t, CLOCK_NS_PER_MS);
	}
	hang_up(b);
	for (size_t whole = first; whole <= cut; whole += all - first) {
		event = next_event(b);
		if (reset && event.kind == TRANSPORT_DOWN) { /* ... but for what we had read */
			assert_int_equal(event.error, -ECONNRESET);
			return;
		}
		assert_int_equal(event.kind, TRANSPORT_FRAME);
	}
	expect_down(b, between && !reset ? -EPIPE : -ECONNRESET, WIRE_OK);
}

static void an_end_is_told_from_a_cut(void **state)
{
	enum { FIRST = WIRE_HEADER_BYTES + 20000, ALL = FIRST + WIRE_HEADER_BYTES + 30 };
	static const size_t cuts[] = {0,         1,     143,       144,         145,     5000,
				      FIRST - 1, FIRST, FIRST + 1, FIRST + 144, ALL - 1, ALL};
	static unsigned char stream[ALL];
	struct wire_frame frame = sealed(0, 20000);
	struct bare b;

	(void)state;
	memcpy(stream, &frame, sizeof(frame));
	frame = sealed(1, 30);
	memcpy(stream + FIRST, &frame, sizeof(frame));
	for (int m = 0; m < MODES; m++) {
		bare_open(&b, &modes[m]);
		for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++)
			for (int reset = 0; reset < 2; reset++)
				cut_after(&b, stream, cuts[i], FIRST, ALL, reset);
		bare_close(&b);
	}
}

/* What came before the rubbish counts. */
static void good_frames_before_a_bad_one_arrive(void **state)
{
	unsigned char stream[4 * WIRE_HEADER_BYTES];
	struct wire_frame frame;
	struct bare b;

	(void)state;
	for (int m = 0; m < MODES; m++) {
		for (uint32_t i = 0; i < 4; i++) {
			frame = sealed(i, 0);
			memcpy(stream + i * sizeof(frame), &frame, sizeof(frame));
		}
		stream[3 * WIRE_HEADER_BYTES + 50] ^= 1;
		bare_open(&b, &modes[m]);
		bare_join(&b);
		put(&b, stream, sizeof(stream));
		for (uint32_t i = 0; i < 3; i++) {
			struct transport_event event = next_event(&b);

			assert_int_equal(event.kind, TRANSPORT_FRAME);
			assert_int_equal(event.frame.path_seq, i + 1);
			assert_null(event.payload);
		}
		expect_down(&b, -EBADMSG, WIRE_BAD_CRC);
		bare_close(&b);
	}
}

static void a_trickle_of_bytes_makes_frames(void **state)
{
	enum { BYTES = 300, FRAME = WIRE_HEADER_BYTES + BYTES };
	unsigned char stream[2 * FRAME];
	struct transport_event event;
	struct bare b;

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		struct wire_frame frame = sealed(i, BYTES);

		memcpy(stream + i * FRAME, &frame, sizeof(frame));
		rig_fill(stream + i * FRAME + sizeof(frame), 0, 0, i, BYTES);
	}
	for (int m = 0; m < MODES; m++) {
		uint32_t frames = 0;

		bare_open(&b, &modes[m]);
		bare_join(&b);
		for (size_t i = 0; i < sizeof(stream); i++) {
			put(&b, stream + i, 1);
			if (i % 7 == 0)
				ops->wait(b.t, CLOCK_NS_PER_MS);
			while (ops->poll(b.t, &event, 1)) {
				if (event.kind == TRANSPORT_HEADER)
					ops->place(b.t, PEER, PATH, b.payload);
				else
					assert_memory_equal(b.payload,
							    stream + frames++ * FRAME +
								    WIRE_HEADER_BYTES,
							    BYTES);
			}
		}
		while (frames < 2) {
			event = next_event(&b);
			assert_int_equal(event.kind, TRANSPORT_FRAME);
			assert_memory_equal(b.payload,
					    stream + frames++ * FRAME + WIRE_HEADER_BYTES, BYTES);
		}
		bare_close(&b);
	}
}

/* --- sending -------------------------------------------------------------------------------- */

static void what_is_sent_is_header_and_payload(void **state)
{
	enum { BYTES = 50000, FRAMES = 6 };
	static const struct transport_options ways[] = {
		{.lane_fd = -1, .queue_frames = 8, .zerocopy = TRANSPORT_OFF},
		{.lane_fd = -1,
		 .queue_frames = 8,
		 .zerocopy = TRANSPORT_ON,
		 .zerocopy_bytes_min = 9,
		 .fixed_buffers = TRANSPORT_OFF},
		{.lane_fd = -1,
		 .queue_frames = 8,
		 .zerocopy = TRANSPORT_ON,
		 .zerocopy_bytes_min = 9,
		 .fixed_buffers = TRANSPORT_ON},
	};
	static unsigned char payload[BYTES], wanted[WIRE_HEADER_BYTES + BYTES], got[sizeof(wanted)];
	struct bare b;

	(void)state;
	rig_fill(payload, 0, 0, 0, BYTES);
	for (size_t way = 0; way < 3; way++) {
		bare_open(&b, &ways[way]);
		ops->remember(b.t, payload, sizeof(payload));
		bare_join(&b);
		for (uint32_t i = 0; i < FRAMES; i++) {
			struct wire_frame frame = sealed(i, i % 3 ? BYTES - i : 0);

			ops->send(b.t, PEER, PATH, &frame, payload, i);
		}
		for (uint32_t i = 0; i < FRAMES; i++) {
			struct wire_frame frame = sealed(i, i % 3 ? BYTES - i : 0);
			size_t bytes = sizeof(frame) + frame.payload_bytes;
			size_t have = 0;

			memcpy(wanted, &frame, sizeof(frame));
			memcpy(wanted + sizeof(frame), payload, frame.payload_bytes);
			for (int turn = 0; have < bytes && turn < TURNS_MAX; turn++) {
				struct transport_event event;
				ssize_t n;

				(void)ops->poll(b.t, &event, 0);
				n = recv(b.peer, got + have, bytes - have, MSG_DONTWAIT);
				have += n > 0 ? (size_t)n : 0;
				if (n < 0)
					ops->wait(b.t, CLOCK_NS_PER_MS / 10);
			}
			assert_int_equal(have, bytes);
			assert_int_equal(memcmp(got, wanted, bytes), 0);
		}
		for (uint32_t i = 0; i < FRAMES; i++)
			assert_int_equal(next_event(&b).cookie, i);
		assert_int_equal(ops->stats(b.t)->zerocopy_sends > 0, way > 0);
		ops->forget(b.t, payload);
		bare_close(&b);
	}
}

/* The peer has gone, but what it said before is delivered, even if we talk on. */
static void a_failed_send_does_not_lose_what_was_received(void **state)
{
	static unsigned char payload[1000];
	struct wire_frame frame = sealed(0, 0);
	struct transport_event event;
	uint32_t frames = 0;
	struct bare b;

	(void)state;
	for (int m = 0; m < MODES; m++) {
		bare_open(&b, &modes[m]);
		bare_join(&b);
		for (uint32_t i = 0; i < 5; i++)
			put(&b, &frame, sizeof(frame));
		(void)shutdown(b.peer, SHUT_RD);
		hang_up(&b);
		frame = sealed(0, sizeof(payload));
		for (uint32_t i = 0; i < 4; i++)
			if (ops->room(b.t, PEER, PATH))
				ops->send(b.t, PEER, PATH, &frame, payload, i);
		frame = sealed(0, 0);
		frames = 0;
		do {
			event = next_event(&b);
			frames += event.kind == TRANSPORT_FRAME;
		} while (event.kind != TRANSPORT_DOWN);
		assert_int_equal(frames, 5);
		assert_true(event.error == -EPIPE || event.error == -ECONNRESET);
		bare_close(&b);
	}
}

static void a_payload_that_is_not_there_ends_the_path(void **state)
{
	struct wire_frame frame = sealed(0, 1000);
	struct bare b;

	(void)state;
	bare_open(&b, &modes[0]);
	bare_join(&b);
	ops->send(b.t, PEER, PATH, &frame, (const void *)16, 1);
	expect_down(&b, -EFAULT, WIRE_OK);
	bare_close(&b);
}

/* --- cost ----------------------------------------------------------------------------------- */

static void idle_polls_cost_no_system_call(void **state)
{
	struct transport_event event;
	uint64_t syscalls;
	struct bare b;

	(void)state;
	for (int m = 0; m < 2; m++) {
		bare_open(&b, &modes[m]);
		bare_join(&b);
		for (int i = 0; i < 5; i++)
			(void)ops->poll(b.t, &event, 1);
		syscalls = ops->stats(b.t)->syscalls;
		for (int i = 0; i < 1000; i++)
			assert_int_equal(ops->poll(b.t, &event, 1), 0);
		assert_int_equal(ops->stats(b.t)->syscalls, syscalls);
		bare_close(&b);
	}
}

/* The loopback interface copies: AUTO notices, says so and stops. */
static void auto_stops_zerocopy_that_copies(void **state)
{
	enum { FRAMES = 60, BYTES = 20000 };
	const struct rig_variant variant = {"auto zero-copy",
					    "uring",
					    AF_INET,
					    {.queue_frames = 4, .zerocopy_bytes_min = 10000}};
	static uint32_t sizes[FRAMES];
	const struct transport_stats *stats;
	struct rig rig;

	(void)state;
	for (uint32_t i = 0; i < FRAMES; i++)
		sizes[i] = BYTES;
	rig_open(&rig, &variant);
	if (strstr(ops->describe(rig.side[0]), "zero-copy off")) {
		print_message("not tried: %s\n", ops->describe(rig.side[0]));
		rig_close(&rig);
		return;
	}
	rig_load(&rig, rig_join(&rig, 0, 0, 0, 0), 0, sizes, FRAMES);
	rig_finish(&rig);
	stats = ops->stats(rig.side[0]);
	assert_true(stats->zerocopy_copied >= 8);
	assert_true(stats->zerocopy_sends < FRAMES / 2);
	assert_non_null(strstr(ops->describe(rig.side[0]), "zero-copy off (the kernel copies)"));
	rig_close(&rig);
}

/* All of the lane's buffers are with paths that wait: the others go on. */
static void nobody_waits_for_buffers(void **state)
{
	enum { HELD = 8, FRAMES = 100, BYTES = 30000 };
	const struct rig_variant variant = {
		"starved", "uring", AF_INET, {.queue_frames = 8, .multishot = TRANSPORT_ON}};
	static uint32_t sizes[FRAMES];
	struct rig rig;

	(void)state;
	for (uint32_t i = 0; i < FRAMES; i++)
		sizes[i] = BYTES;
	rig_open(&rig, &variant);
	for (uint16_t i = 0; i <= HELD; i++) {
		uint32_t line = rig_join(&rig, i, 0, i, 0);

		rig.lines[line].hold = i < HELD;
		if (i < HELD)
			rig_load(&rig, line, 0, sizes, FRAMES);
	}
	for (uint32_t i = 0; i < HELD; i++)
		rig_until_held(&rig, i, 1);
	rig_settle(&rig); /* now they have them all */
	rig_load(&rig, HELD, 0, sizes, FRAMES);
	rig_finish_line(&rig, HELD);
	assert_int_equal(rig.lines[HELD].flow[0].received, FRAMES);
	for (uint32_t i = 0; i < HELD; i++) {
		assert_int_equal(rig.lines[i].flow[0].announced, 1);
		rig.lines[i].hold = false;
		rig_place(&rig, i, 1);
	}
	rig_finish(&rig);
	for (uint32_t i = 0; i < HELD; i++)
		assert_int_equal(rig.lines[i].flow[0].received, FRAMES);
	rig_close(&rig);
}

/* One that waits for place() does not take the lane's buffers from the others. */
static void a_path_holds_no_more_than_its_share(void **state)
{
	enum { FRAMES = 150, BYTES = 30000 }; /* 4.5 MB; the buffers are 4 MiB, a share is 1 MiB */
	const struct rig_variant variant = {
		"greedy", "uring", AF_INET, {.queue_frames = 1, .multishot = TRANSPORT_ON}};
	static uint32_t sizes[FRAMES];
	struct rig rig;

	(void)state;
	for (uint32_t i = 0; i < FRAMES; i++)
		sizes[i] = BYTES;
	rig_open(&rig, &variant);
	rig_load(&rig, rig_join(&rig, 0, 0, 0, 0), 0, sizes, FRAMES);
	rig.lines[0].hold = true;
	rig_until_held(&rig, 0, 1);
	rig_settle(&rig);
	assert_int_equal(rig.lines[0].flow[0].announced, 1);
	assert_true(rig.lines[0].flow[0].sent < 2500000 / BYTES);
	rig.lines[0].hold = false;
	rig_place(&rig, 0, 1);
	rig_finish(&rig);
	assert_int_equal(rig.lines[0].flow[0].received, FRAMES);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_flipped_bit_is_refused),
		cmocka_unit_test(sealed_nonsense_is_refused),
		cmocka_unit_test(payload_checksums_are_checked),
		cmocka_unit_test(an_end_is_told_from_a_cut),
		cmocka_unit_test(good_frames_before_a_bad_one_arrive),
		cmocka_unit_test(a_trickle_of_bytes_makes_frames),
		cmocka_unit_test(what_is_sent_is_header_and_payload),
		cmocka_unit_test(a_failed_send_does_not_lose_what_was_received),
		cmocka_unit_test(a_payload_that_is_not_there_ends_the_path),
		cmocka_unit_test(idle_polls_cost_no_system_call),
		cmocka_unit_test(auto_stops_zerocopy_that_copies),
		cmocka_unit_test(nobody_waits_for_buffers),
		cmocka_unit_test(a_path_holds_no_more_than_its_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
