/*
 * test_transport.c - the rules of transport.h, over every transport in the table.
 *
 * Goal: what holds for one holds for all, with each feature on and off.  Method: two
 * instances joined by lines (tests/common/rig.h), which check order, contents, cookies
 * and lifetimes of all that passes; the tests here say what passes and what must have
 * come of it.  What only one transport does is tested in test_transport_*.c.
 */
#include "daemon/transport/transport.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "tests/common/rig.h"

#define KI 1024u
#define MI (1024u * 1024u)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const uint32_t all_sizes[] = {0,       1, 143,         0, 144, 145,    4 * KI, 64 * KI - 1,
				     64 * KI, 1, 64 * KI + 1, 0, MI,  4 * MI, 7};

/* Runs a test over all variants. */
static void each(void (*test)(const struct rig_variant *))
{
	for (const struct rig_variant *v = rig_variants; v->name; v++)
		if (rig_possible(v))
			test(v);
}

static void table_is_whole(void **state)
{
	static const char *const names[] = {
#define X(name) #name,
		TRANSPORTS(X)
#undef X
	};

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		bool tested = false;

		assert_string_equal(transport_table[i]->name, names[i]);
		assert_ptr_equal(transport_by_name(names[i]), transport_table[i]);
		for (const struct rig_variant *v = rig_variants; v->name; v++)
			tested |= !strcmp(v->transport, names[i]);
		assert_true(tested);
	}
	assert_null(transport_table[COUNT(names)]);
	assert_null(transport_by_name("carrier pigeon"));
	for (const struct transport_ops *const *it = transport_table; *it; it++)
		(*it)->close(NULL);
}

/* --- traffic -------------------------------------------------------------------------------- */

static uint64_t wire_bytes(const uint32_t *sizes, size_t count)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < count; i++)
		bytes += WIRE_HEADER_BYTES + sizes[i];
	return bytes;
}

static void all_sizes_both_ways(const struct rig_variant *v)
{
	struct rig rig;
	uint64_t bytes = 2 * wire_bytes(all_sizes, COUNT(all_sizes));

	rig_open(&rig, v);
	for (uint16_t i = 0; i < 2; i++) {
		uint32_t line = rig_join(&rig, 3, i, 5, (uint16_t)(7 - i));

		for (int from = 0; from < 2; from++)
			rig_load(&rig, line, from, all_sizes, COUNT(all_sizes));
	}
	rig_finish(&rig);
	for (int s = 0; s < 2; s++) {
		const struct transport_stats *stats = rig.ops->stats(rig.side[s]);

		assert_int_equal(rig.lines[0].flow[s].received, COUNT(all_sizes));
		assert_int_equal(stats->frames_sent, 2 * COUNT(all_sizes));
		assert_int_equal(stats->frames_received, 2 * COUNT(all_sizes));
		assert_int_equal(stats->bytes_sent, bytes);
		assert_int_equal(stats->bytes_received, bytes);
		assert_int_equal(stats->bad_frames, 0);
	}
	rig_close(&rig);
}

static void many_small_frames(const struct rig_variant *v)
{
	enum { FRAMES = 4000 };
	static uint32_t sizes[FRAMES];
	const struct transport_stats *stats;
	struct rig rig;
	uint32_t line;

	for (uint32_t i = 0; i < FRAMES; i++)
		sizes[i] = i * 7919 % 97;
	rig_open(&rig, v);
	line = rig_join(&rig, 0, 0, 0, 0);
	rig_load(&rig, line, 0, sizes, FRAMES);
	rig_finish(&rig);
	assert_int_equal(rig.lines[line].flow[0].received, FRAMES);
	stats = rig.ops->stats(rig.side[0]);
	assert_int_equal(stats->frames_sent, FRAMES);
	/* Frames that were queued together leave together. */
	if (!strcmp(v->transport, "uring") && v->options.queue_frames >= 16 &&
	    v->options.zerocopy != TRANSPORT_ON)
		assert_true(stats->syscalls < FRAMES / 2);
	rig_close(&rig);
}

static void a_small_array_of_events_loses_none(const struct rig_variant *v)
{
	static const uint32_t sizes[] = {0, 0, 5, 0, 70000, 0, 0, 0, 3, 0};
	struct rig rig;

	rig_open(&rig, v);
	rig.events_max = 1;
	for (uint16_t i = 0; i < 3; i++) {
		uint32_t line = rig_join(&rig, i, 0, i, 0);

		rig_load(&rig, line, 0, sizes, COUNT(sizes));
		rig_load(&rig, line, 1, sizes, COUNT(sizes));
	}
	rig_finish(&rig);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(rig.lines[i].flow[1].received, COUNT(sizes));
	rig_close(&rig);
}

static void unwanted_payloads_are_thrown_away(const struct rig_variant *v)
{
	struct rig rig;
	uint32_t line;

	rig_open(&rig, v);
	line = rig_join(&rig, 1, 1, 1, 1);
	rig.lines[line].discard_every = 2;
	rig_load(&rig, line, 0, all_sizes, COUNT(all_sizes));
	rig_finish(&rig);
	assert_int_equal(rig.lines[line].flow[0].received, COUNT(all_sizes));
	assert_true(rig.lines[line].flow[0].discarded >= 5);
	rig_close(&rig);
}

/* The next event of side 1; those of side 0 do not matter. */
static struct transport_event next_event(struct rig *rig)
{
	struct transport_event event;

	for (int i = 0; i < 10000; i++) {
		(void)rig->ops->poll(rig->side[0], &event, 1);
		if (rig->ops->poll(rig->side[1], &event, 1))
			return event;
		rig->ops->wait(rig->side[1], CLOCK_NS_PER_MS);
	}
	fail_msg("nothing came");
	return event;
}

/* Who says that payloads are at hand (verbs) places them at once, or leaves them where they are. */
static void what_is_at_hand_may_stay(const struct rig_variant *v)
{
	static unsigned char payload[300000], memory[sizeof(payload)];
	struct wire_frame frame = rig_frame(0, 0, 0, sizeof(payload));
	struct transport_event event;
	struct rig rig;
	bool at_hand;

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (unsigned char)(i * 7 + i / 251);
	memset(memory, 0, sizeof(memory));
	rig_open(&rig, v);
	(void)rig_join(&rig, 1, 1, 1, 1);
	rig.ops->send(rig.side[0], 1, 1, &frame, payload, 0);
	event = next_event(&rig);
	assert_int_equal(event.kind, TRANSPORT_HEADER);
	at_hand = rig.ops->at_hand && rig.ops->at_hand(rig.side[1], 1, 1);
	if (strcmp(v->transport, "verbs") != 0)
		assert_false(at_hand);
	else if (!v->options.tcp_too)
		assert_true(at_hand);
	rig.ops->place(rig.side[1], 1, 1, memory);
	if (at_hand) {
		assert_memory_equal(memory, payload, sizeof(payload));
		memset(memory, 0x55, sizeof(memory)); /* nothing is written there any more */
		memset(payload, 0x55, sizeof(payload));
	}
	event = next_event(&rig);
	assert_int_equal(event.kind, TRANSPORT_FRAME);
	assert_ptr_equal(event.payload, memory);
	assert_memory_equal(memory, payload, sizeof(payload));
	for (int i = 0; at_hand && i < 100; i++) {
		while (!rig.ops->room(rig.side[0], 1, 1)) {
			assert_int_equal(rig.ops->poll(rig.side[1], &event, 1), 0);
			(void)rig.ops->poll(rig.side[0], &event, 1);
			rig.ops->wait(rig.side[0], CLOCK_NS_PER_MS);
		}
		memset(payload, i, sizeof(payload));
		rig.ops->send(rig.side[0], 1, 1, &frame, payload, 0);
		event = next_event(&rig);
		assert_int_equal(event.kind, TRANSPORT_HEADER);
		rig.ops->place(rig.side[1], 1, 1, TRANSPORT_STAYS);
		event = next_event(&rig);
		assert_int_equal(event.kind, TRANSPORT_FRAME);
		assert_ptr_not_equal(event.payload, TRANSPORT_STAYS);
		assert_memory_equal(event.payload, payload, sizeof(payload));
	}
	rig_close(&rig);
}

/* A path that goes down leaves the payload there for as long as it may be read. */
static void what_stays_outlives_its_path(const struct rig_variant *v)
{
	static unsigned char payload[100000];
	struct wire_frame frame = rig_frame(0, 0, 0, sizeof(payload));
	struct transport_event events[4];
	size_t n = 0;
	struct rig rig;

	memset(payload, 7, sizeof(payload));
	rig_open(&rig, v);
	(void)rig_join(&rig, 1, 1, 1, 1);
	rig.ops->send(rig.side[0], 1, 1, &frame, payload, 0);
	assert_int_equal(next_event(&rig).kind, TRANSPORT_HEADER);
	if (rig.ops->at_hand && rig.ops->at_hand(rig.side[1], 1, 1)) {
		rig.ops->place(rig.side[1], 1, 1, TRANSPORT_STAYS);
		rig.ops->detach(rig.side[0], 1, 1);
		/* Until side 1 has seen that the other end is gone, too. */
		for (int i = 0; i < 300; i++) {
			rig.ops->wait(rig.side[0], CLOCK_NS_PER_MS);
			(void)rig.ops->poll(rig.side[0], events, 4);
			assert_int_equal(rig.ops->poll(rig.side[1], events, 0), 0);
		}
		n = rig.ops->poll(rig.side[1], events, 4);
		/* It is told in a poll() of its own, though the path is over already. */
		assert_int_equal(n, 1);
		assert_int_equal(events[0].kind, TRANSPORT_FRAME);
		rig.ops->detach(rig.side[1], 1, 1);
		assert_memory_equal(events[0].payload, payload, sizeof(payload));
		assert_int_equal(next_event(&rig).kind, TRANSPORT_DOWN);
	}
	rig_close(&rig);
}

/* Of a trainer's memory the caller is told; of any other the path is to blame. */
static void a_wrong_checksum_is_told(const struct rig_variant *v)
{
	static const unsigned char payload[20000];
	static unsigned char memory[sizeof(payload)];

	for (int arena = 0; arena < 2 && !v->options.payload_crc; arena++) {
		struct wire_frame frame = rig_frame(0, 0, 0, sizeof(payload));
		struct transport_event event;
		struct rig rig;

		rig_open(&rig, v);
		(void)rig_join(&rig, 1, 1, 1, 1);
		frame.payload_has_crc = 1;
		frame.payload_crc = 4711;
		frame.flags = arena ? WIRE_FLAG_ARENA : 0;
		rig.ops->send(rig.side[0], 1, 1, &frame, payload, 0);
		event = next_event(&rig);
		assert_int_equal(event.kind, TRANSPORT_HEADER);
		rig.ops->place(rig.side[1], 1, 1, memory);
		event = next_event(&rig);
		assert_int_equal(event.kind, arena ? TRANSPORT_FRAME : TRANSPORT_DOWN);
		assert_int_equal(event.verdict, WIRE_BAD_PAYLOAD);
		assert_int_equal(rig.ops->room(rig.side[1], 1, 1) != 0, arena);
		rig_close(&rig);
	}
}

/* --- pushing back --------------------------------------------------------------------------- */

static void a_path_that_is_not_placed_stops_only_itself(const struct rig_variant *v)
{
	enum { FRAMES = 200, BYTES = 64 << 10 };
	static uint32_t sizes[FRAMES];
	struct rig_line *slow, *fast;
	struct rig rig;

	for (uint32_t i = 0; i < FRAMES; i++)
		sizes[i] = BYTES;
	rig_open(&rig, v);
	slow = &rig.lines[rig_join(&rig, 1, 0, 1, 0)];
	fast = &rig.lines[rig_join(&rig, 1, 1, 1, 1)];
	slow->hold = true;
	rig_load(&rig, 0, 0, sizes, FRAMES);
	rig_load(&rig, 1, 0, sizes, FRAMES);
	rig_load(&rig, 1, 1, sizes, FRAMES);
	rig_until_held(&rig, 0, 1);
	rig_finish_line(&rig, 1);
	for (int i = 0; rig.ops->room(rig.side[0], 1, 0) && i < 10000; i++)
		if (rig_turn(&rig, 0) + rig_turn(&rig, 1) == 0)
			rig.ops->wait(rig.side[0], CLOCK_NS_PER_MS);
	rig_settle(&rig);
	assert_int_equal(fast->flow[0].received, FRAMES);
	assert_int_equal(fast->flow[1].received, FRAMES);
	assert_int_equal(slow->flow[0].announced, 1);
	assert_int_equal(slow->flow[0].received, 0);
	assert_true(slow->flow[0].queued < FRAMES); /* 12 MiB are in no socket */
	assert_int_equal(rig.ops->room(rig.side[0], 1, 0), 0);
	slow->hold = false;
	rig_place(&rig, 0, 1);
	rig_finish(&rig);
	assert_int_equal(slow->flow[0].received, FRAMES);
	rig_close(&rig);
}

static void room_is_the_queue(const struct rig_variant *v)
{
	enum { BYTES = 1000 };
	static unsigned char payload[BYTES];
	struct wire_frame frame = rig_frame(0, 0, 0, BYTES);
	struct transport_event event;
	uint32_t queued = 0, sent = 0, turns = 0, room;
	struct rig rig;

	rig_open(&rig, v);
	rig_join(&rig, 9, 2, 9, 2);
	/* A transport may send at once: then there is room for more than the queue holds. */
	while ((room = rig.ops->room(rig.side[0], 9, 2)) != 0) {
		assert_in_range(room, 1, v->options.queue_frames);
		assert_true(queued || room == v->options.queue_frames);
		assert_in_range(queued, 0, 2 * v->options.queue_frames);
		rig.ops->send(rig.side[0], 9, 2, &frame, payload, ++queued);
		assert_true(rig.ops->room(rig.side[0], 9, 2) >= room - 1);
	}
	assert_true(queued >= v->options.queue_frames);
	assert_int_equal(rig.ops->room(rig.side[0], 9, 2), 0);
	assert_int_equal(rig.ops->room(rig.side[1], 9, 2), v->options.queue_frames);
	while (sent < queued && turns++ < 10000) {
		if (!rig.ops->poll(rig.side[0], &event, 1)) {
			rig.ops->wait(rig.side[0], CLOCK_NS_PER_MS);
			continue;
		}
		assert_int_equal(event.kind, TRANSPORT_SENT);
		assert_int_equal(event.cookie, ++sent);
	}
	assert_int_equal(rig.ops->room(rig.side[0], 9, 2), v->options.queue_frames);
	rig_close(&rig);
}

/* --- ends of paths -------------------------------------------------------------------------- */

static void detach_in_full_flight(const struct rig_variant *v)
{
	enum { FRAMES = 20, BYTES = 512 << 10 };
	static uint32_t sizes[FRAMES];
	struct rig_line *cut, *other;
	struct rig rig;

	for (uint32_t i = 0; i < FRAMES; i++)
		sizes[i] = BYTES;
	rig_open(&rig, v);
	cut = &rig.lines[rig_join(&rig, 200, 7, 0, 0)];
	other = &rig.lines[rig_join(&rig, 200, 6, 0, 1)];
	for (uint32_t line = 0; line < 2; line++) {
		rig_load(&rig, line, 0, sizes, FRAMES);
		rig_load(&rig, line, 1, sizes, FRAMES);
	}
	for (int i = 0; i < 20; i++) {
		(void)rig_turn(&rig, 0);
		(void)rig_turn(&rig, 1);
		if (rig.net)
			sim_net_advance(rig.net, sim_net_now(rig.net) + 100000);
	}
	assert_true(cut->flow[0].sent < FRAMES);
	rig.ops->detach(rig.side[0], 200, 7);
	rig.ops->detach(rig.side[0], 200, 7); /* says so once all the same */
	assert_int_equal(rig.ops->room(rig.side[0], 200, 7), 0);
	rig_until_down(&rig, 0, 0);
	assert_int_equal(cut->error[0], -ECANCELED);
	rig_until_down(&rig, 0, 1);
	assert_true(cut->error[1] == -ECONNRESET || cut->error[1] == -EPIPE);
	rig_finish(&rig);
	assert_int_equal(other->flow[0].received, FRAMES);
	assert_int_equal(other->flow[1].received, FRAMES);
	rig_close(&rig);
}

/* What was sent before the end arrives before the end. */
static void the_end_comes_last(const struct rig_variant *v)
{
	static const uint32_t sizes[] = {100, 0, 3000, 0, 50000};
	struct rig_line *line;
	struct rig rig;

	rig_open(&rig, v);
	line = &rig.lines[rig_join(&rig, 0, 0, 1, 0)];
	rig_load(&rig, 0, 0, sizes, COUNT(sizes));
	for (int i = 0; line->flow[0].sent < COUNT(sizes) && i < 10000; i++)
		if (!rig_turn(&rig, 0))
			rig.ops->wait(rig.side[0], CLOCK_NS_PER_MS);
	assert_int_equal(line->flow[0].sent, COUNT(sizes));
	rig.ops->detach(rig.side[0], 0, 0);
	rig_until_down(&rig, 0, 0);
	rig_until_down(&rig, 0, 1);
	assert_int_equal(line->flow[0].received, COUNT(sizes));
	assert_int_equal(line->error[1], -EPIPE);
	rig_close(&rig);
}

static void a_name_can_be_used_again(const struct rig_variant *v)
{
	static const uint32_t sizes[] = {10, 0, 100000};
	struct rig rig;

	rig_open(&rig, v);
	for (uint32_t i = 0; i < 8; i++) {
		uint32_t line = rig_join(&rig, 255, 7, 0, 3);

		rig_load(&rig, line, 0, sizes, COUNT(sizes));
		rig_load(&rig, line, 1, sizes, COUNT(sizes));
		rig_finish(&rig);
		assert_int_equal(rig.lines[line].flow[1].received, COUNT(sizes));
		rig.ops->detach(rig.side[i % 2], i % 2 ? 0 : 255, i % 2 ? 3 : 7);
		rig_until_down(&rig, line, 0);
		rig_until_down(&rig, line, 1);
		assert_int_equal(rig.lines[line].error[i % 2], -ECANCELED);
		assert_int_equal(rig.lines[line].error[1 - i % 2], -EPIPE);
	}
	rig_close(&rig);
}

/* The end may overtake an answer: none of these is a mistake of the caller. */
static void nobody_there(const struct rig_variant *v)
{
	struct transport_event event;
	struct rig rig;

	rig_open(&rig, v);
	assert_int_equal(rig.ops->room(rig.side[0], 4, 4), 0);
	rig.ops->place(rig.side[0], 4, 4, NULL);
	rig.ops->detach(rig.side[0], 4, 4);
	assert_int_equal(rig.ops->poll(rig.side[0], &event, 1), 0);
	assert_true(strlen(rig.ops->describe(rig.side[0])) > 10);
	rig.ops->remember(rig.side[0], &event, sizeof(event));
	rig.ops->forget(rig.side[0], &event);
	rig_close(&rig);
}

static void close_in_full_flight(const struct rig_variant *v)
{
	static const uint32_t sizes[] = {MI, MI, MI, MI, 4 * MI, MI, MI, MI};
	struct rig rig;

	rig_open(&rig, v);
	for (uint16_t i = 0; i < 4; i++) {
		uint32_t line = rig_join(&rig, i, 0, i, 0);

		rig_load(&rig, line, 0, sizes, COUNT(sizes));
		rig_load(&rig, line, 1, sizes, COUNT(sizes));
	}
	for (int i = 0; i < 5; i++) {
		(void)rig_turn(&rig, 0);
		(void)rig_turn(&rig, 1);
	}
	rig_close(&rig);
}

/* --- waiting -------------------------------------------------------------------------------- */

static uint64_t now(const struct rig *rig)
{
	return rig->net ? sim_net_now(rig->net) : clock_now_ns();
}

static void wait_ends(const struct rig_variant *v)
{
	const uint64_t one = 1;
	uint64_t count, start;
	struct rig rig;

	rig_open(&rig, v);
	rig_join(&rig, 0, 0, 0, 0);
	assert_int_equal(rig_turn(&rig, 0), 0);
	start = now(&rig);
	rig.ops->wait(rig.side[0], 20 * CLOCK_NS_PER_MS);
	assert_true(now(&rig) - start >= 19 * CLOCK_NS_PER_MS);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(write(rig.bell[0], &one, sizeof(one)), sizeof(one));
		start = now(&rig);
		rig.ops->wait(rig.side[0], 20 * CLOCK_NS_PER_S);
		assert_true(now(&rig) - start < 10 * CLOCK_NS_PER_S);
	}
	/* It was taken: the next one sleeps. */
	start = now(&rig);
	rig.ops->wait(rig.side[0], 20 * CLOCK_NS_PER_MS);
	assert_true(now(&rig) - start >= 19 * CLOCK_NS_PER_MS);
	/* What was rung is as it was: nothing was read. */
	assert_int_equal(read(rig.bell[0], &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 3);
	rig_close(&rig);
}

static void wait_ends_when_something_comes(const struct rig_variant *v)
{
	static const uint32_t sizes[] = {0};
	uint64_t start;
	struct rig rig;
	int turns = 0;

	rig_open(&rig, v);
	rig_join(&rig, 0, 0, 0, 0);
	(void)rig_turn(&rig, 1);
	rig_load(&rig, 0, 0, sizes, 1);
	for (int i = 0; !rig.lines[0].flow[0].sent && i < 1000; i++)
		if (!rig_turn(&rig, 0))
			rig.ops->wait(rig.side[0], CLOCK_NS_PER_MS);
	start = now(&rig);
	while (!rig.lines[0].flow[0].received && turns++ < 100)
		if (!rig_turn(&rig, 1))
			rig.ops->wait(rig.side[1], 20 * CLOCK_NS_PER_S);
	assert_int_equal(rig.lines[0].flow[0].received, 1);
	assert_true(now(&rig) - start < 10 * CLOCK_NS_PER_S);
	rig_close(&rig);
}

/* --- over all ------------------------------------------------------------------------------- */

#define OVER_ALL(test)                        \
	static void each_##test(void **state) \
	{                                     \
		(void)state;                  \
		each(test);                   \
	}

OVER_ALL(all_sizes_both_ways)
OVER_ALL(many_small_frames)
OVER_ALL(a_small_array_of_events_loses_none)
OVER_ALL(unwanted_payloads_are_thrown_away)
OVER_ALL(what_is_at_hand_may_stay)
OVER_ALL(what_stays_outlives_its_path)
OVER_ALL(a_wrong_checksum_is_told)
OVER_ALL(a_path_that_is_not_placed_stops_only_itself)
OVER_ALL(room_is_the_queue)
OVER_ALL(detach_in_full_flight)
OVER_ALL(the_end_comes_last)
OVER_ALL(a_name_can_be_used_again)
OVER_ALL(nobody_there)
OVER_ALL(close_in_full_flight)
OVER_ALL(wait_ends)
OVER_ALL(wait_ends_when_something_comes)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_is_whole),
		cmocka_unit_test(each_all_sizes_both_ways),
		cmocka_unit_test(each_many_small_frames),
		cmocka_unit_test(each_a_small_array_of_events_loses_none),
		cmocka_unit_test(each_unwanted_payloads_are_thrown_away),
		cmocka_unit_test(each_what_is_at_hand_may_stay),
		cmocka_unit_test(each_what_stays_outlives_its_path),
		cmocka_unit_test(each_a_wrong_checksum_is_told),
		cmocka_unit_test(each_a_path_that_is_not_placed_stops_only_itself),
		cmocka_unit_test(each_room_is_the_queue),
		cmocka_unit_test(each_detach_in_full_flight),
		cmocka_unit_test(each_the_end_comes_last),
		cmocka_unit_test(each_a_name_can_be_used_again),
		cmocka_unit_test(each_nobody_there),
		cmocka_unit_test(each_close_in_full_flight),
		cmocka_unit_test(each_wait_ends),
		cmocka_unit_test(each_wait_ends_when_something_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
