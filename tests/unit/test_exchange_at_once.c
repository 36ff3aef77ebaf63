/*
 * test_exchange_at_once.c - payloads that stay where they arrived: finals go from there into the
 * results, contributions into the sum that waited for them, all else into its slot; and which may
 * not stay.  What was there is something else as soon as exchange_arrived() returns.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/exchange_trio.h"

enum { COUNT = 50000, SLOTS = 4 };

static struct trio t;

/* --- whole ops ---------------------------------------------------------------------------- */

/* An op of that schedule. */
static void whole_op(uint32_t local, const struct sched *sched, bool crc)
{
	trio_open(&t, local, COUNT, SLOTS);
	t.at_once = true;
	t.crc = crc;
	trio_post_all(&t, 1, sched);
	assert_int_equal(trio_finish(&t, 0), TRIO * local);
	trio_expect_sums(&t);
	/* Each chunk to two nodes. */
	assert_true(trio_geometry(&t).chunks >= 4);
	assert_int_equal(t.finals, 2 * trio_geometry(&t).chunks);
	trio_close(&t);
}

static void everything_may_stay(void **state)
{
	static const struct sched *const scheds[] = {&sched_direct, &sched_ring, &sched_flat};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		whole_op(1, scheds[i], false);
		assert_int_equal(t.finals_stayed, t.finals);
		assert_int_equal(t.contributions_stayed, t.contributions);
	}
	trio_open(&t, 1, COUNT, SLOTS); /* without finals */
	t.at_once = true;
	trio_post_all(&t, 1, scheds[2]);
	assert_int_equal(trio_finish(&t, 0), TRIO);
	trio_expect_sums(&t);
	assert_int_equal(t.contributions_stayed, t.contributions);
	trio_close(&t);
}

/* It could be written to between the sum that is compared and the copy. */
static void not_with_a_checksum(void **state)
{
	(void)state;
	whole_op(1, &sched_direct, true);
	assert_int_equal(t.finals_stayed, 0);
	assert_int_equal(t.contributions_stayed, 0);
}

/* Or between the copies for one trainer and for the other. */
static void not_finals_for_two_trainers(void **state)
{
	(void)state;
	whole_op(2, &sched_direct, false);
	assert_int_equal(t.finals_stayed, 0);
	assert_int_equal(t.contributions_stayed, t.contributions);
}

/* Several ops, each into what the one before it left, in place. */
static void in_place(void **state)
{
	(void)state;
	trio_open(&t, 1, COUNT, SLOTS);
	t.at_once = true;
	for (uint64_t seq = 1; seq <= 3; seq++) {
		for (uint16_t n = 0; n < TRIO; n++) {
			struct op_call call = {.count = COUNT,
					       .op = WIRE_OP_ALLREDUCE,
					       .type = VEC_F32,
					       .reduce = VEC_SUM,
					       .schedule = sched_direct.id};
			struct exchange_rank rank = {.out = t.out[n][0], .work = seq};

			rank.in = seq == 1 ? t.in[n][0] : t.out[n][0];
			assert_int_equal(exchange_post(t.x[n], 0, seq, &call, &rank),
					 EXCHANGE_POSTED);
		}
		assert_int_equal(trio_finish(&t, 0), TRIO);
		if (seq == 1)
			trio_expect_sums(&t);
	}
	assert_int_equal(t.finals_stayed, t.finals);
	for (uint16_t n = 0; n < TRIO; n++)
		for (uint32_t i = 0; i < COUNT; i++)
			assert_true(t.out[n][0][i] == 9 * (3 * (float)(i % 7) + 3));
	trio_close(&t);
}

/* --- one final ---------------------------------------------------------------------------- */

/* A final of op 1, by its chunk's owner, for the next node. */
struct one {
	struct exchange_send send;
	uint16_t owner, to;
	void *slot, *at;
};

static struct one one_final(uint32_t slots)
{
	struct one f;

	trio_open(&t, 1, COUNT, slots);
	t.at_once = true;
	f.owner = owner_of(&t.owners, 1, 0);
	f.to = (uint16_t)((f.owner + 1) % TRIO);
	trio_post_all(&t, 1, &sched_direct);
	for (uint16_t n = 0; n < TRIO; n++)
		for (uint16_t m = 0; m < TRIO; m++)
			while (n != m && trio_carry(&t, n, m))
				;
	while (exchange_progress(t.x[f.owner]))
		;
	assert_true(exchange_next(t.x[f.owner], f.to, &f.send));
	assert_int_equal(f.send.frame.kind, WIRE_FINAL);
	f.slot = f.at = NULL;
	return f;
}

static void place(struct one *f, const struct wire_frame *frame)
{
	f->slot = trio_place(&t, f->owner, f->to, frame, &f->at);
}

static void write_and_tell(struct one *f)
{
	trio_arrive(&t, f->owner, f->to, &f->send, f->slot, f->at);
}

static void end_op(void)
{
	for (uint16_t n = 0; n < TRIO; n++)
		exchange_end(t.x[n], 1, 1, -ECANCELED);
}

/* Of which op the owner has broken the rules; 0: it has not. */
static uint64_t bad_seq(const struct one *f)
{
	uint16_t node;
	uint64_t seq;

	if (!exchange_take_bad(t.x[f->to], &node, &seq))
		return 0;
	assert_int_equal(node, f->owner);
	return seq;
}

static void an_op_that_ends_meanwhile(void **state)
{
	struct one f = one_final(1);

	(void)state;
	place(&f, &f.send.frame);
	assert_ptr_equal(f.at, t.ring);
	end_op();
	/* What is told only now finds no op, and gives its slot, the only one, back. */
	write_and_tell(&f);
	exchange_released(t.x[f.owner], f.send.buffer);
	assert_int_equal(trio_finish(&t, -ECANCELED), TRIO);
	trio_post_all(&t, 2, &sched_direct);
	assert_int_equal(trio_finish(&t, 0), TRIO);
	trio_expect_sums(&t);
	trio_close(&t);
}

/* A connection that goes down between both: the final comes again, into the results again. */
static void a_path_that_goes_down_meanwhile(void **state)
{
	struct one f = one_final(1);

	(void)state;
	place(&f, &f.send.frame);
	exchange_unplace(t.x[f.to], f.owner, f.slot);
	place(&f, &f.send.frame);
	assert_ptr_equal(f.at, t.ring);
	write_and_tell(&f);
	exchange_released(t.x[f.owner], f.send.buffer);
	assert_int_equal(trio_finish(&t, 0), TRIO);
	trio_expect_sums(&t);
	trio_close(&t);
}

/* The same final once more, while others are still to come. */
static void a_final_that_comes_twice(void **state)
{
	struct one f = one_final(SLOTS);

	(void)state;
	for (uint32_t time = 0; time < 2; time++) {
		place(&f, &f.send.frame);
		write_and_tell(&f);
		assert_int_equal(bad_seq(&f), time == 1);
	}
	exchange_released(t.x[f.owner], f.send.buffer);
	end_op();
	assert_int_equal(trio_finish(&t, -ECANCELED), TRIO);
	trio_close(&t);
}

/* What is no final of the op is refused when it is told, and has touched no result. */
static void what_does_not_fit(void **state)
{
	(void)state;
	for (int what = 0; what < 6; what++) {
		struct one f = one_final(SLOTS);
		const struct wire_frame good = f.send.frame;
		struct wire_frame *bad = &f.send.frame;

		switch (what) {
		case 0: bad->seq = 2; break;
		case 1: bad->chunk = trio_geometry(&t).chunks; break;
		case 2: bad->contributors--; break;
		case 3: bad->divisor = 3; break;
		case 4: bad->payload_bytes -= 4; break;
		default: bad->call_digest++; break;
		}
		memset(t.out[f.to], 0x33, sizeof(t.out[f.to]));
		place(&f, bad);
		assert_ptr_equal(f.at, t.ring);
		write_and_tell(&f);
		assert_true(bad_seq(&f) == bad->seq);
		for (size_t i = 0; i < COUNT * sizeof(float); i++)
			assert_int_equal(((unsigned char *)t.out[f.to][0])[i], 0x33);
		f.send.frame = good;
		exchange_released(t.x[f.owner], f.send.buffer);
		end_op();
		assert_int_equal(trio_finish(&t, -ECANCELED), TRIO);
		trio_close(&t);
	}
}

/* --- contributions ------------------------------------------------------------------------ */

/* The next contribution of `from` to op 1.  Return: its slot, filled with something else. */
static unsigned char *contribution(uint16_t from, uint16_t owner, struct exchange_send *send,
				   void **at)
{
	unsigned char *slot;

	assert_true(exchange_next(t.x[from], owner, send));
	assert_int_equal(send->frame.kind, WIRE_CONTRIBUTION);
	slot = trio_place(&t, from, owner, &send->frame, at);
	memset(slot, 0x77, send->frame.payload_bytes);
	return slot;
}

static bool untouched(const unsigned char *slot, const struct exchange_send *send)
{
	for (uint32_t i = 0; i < send->frame.payload_bytes; i++)
		if (slot[i] != 0x77)
			return false;
	return true;
}

/* The first of two waits for the other in its slot; the other goes into the sum from the ring. */
static void the_last_one_is_not_copied(void **state)
{
	uint16_t owner, from[2];
	struct exchange_send send[2];
	unsigned char *slot;
	void *at;

	(void)state;
	trio_open(&t, 1, COUNT, SLOTS);
	t.at_once = true;
	owner = owner_of(&t.owners, 1, 0);
	trio_post_all(&t, 1, &sched_direct);
	for (uint16_t i = 0; i < 2; i++) {
		from[i] = (uint16_t)((owner + 1 + i) % TRIO);
		slot = contribution(from[i], owner, &send[i], &at);
		trio_arrive(&t, from[i], owner, &send[i], slot, at);
		if (i == 0)
			assert_memory_equal(slot, send[i].payload, send[i].frame.payload_bytes);
		else
			assert_true(untouched(slot, &send[i]));
		exchange_released(t.x[from[i]], send[i].buffer);
	}
	assert_int_equal(trio_finish(&t, 0), TRIO);
	trio_expect_sums(&t);
	trio_close(&t);
}

/* Of two buffers of finals one is left for what closes in order: the second chunk waits. */
static void a_buffer_is_left(void **state)
{
	uint16_t owner;

	(void)state;
	trio_open(&t, 1, COUNT, SLOTS);
	t.at_once = true;
	owner = owner_of(&t.owners, 1, 0);
	trio_post_all(&t, 1, &sched_direct);
	for (uint32_t i = 0; i < 4; i++) {
		uint16_t from = (uint16_t)((owner + 1 + i % 2) % TRIO);
		struct exchange_send send;
		unsigned char *slot;
		void *at;

		slot = contribution(from, owner, &send, &at);
		trio_arrive(&t, from, owner, &send, slot, at);
		if (i == 1)
			assert_true(untouched(slot, &send));
		else
			assert_memory_equal(slot, send.payload, send.frame.payload_bytes);
		exchange_released(t.x[from], send.buffer);
	}
	assert_int_equal(trio_finish(&t, 0), TRIO);
	trio_expect_sums(&t);
	trio_close(&t);
}

/* An op that nobody has called here yet: both wait in their slots. */
static void early_ones_wait_in_their_slots(void **state)
{
	uint16_t owner;

	(void)state;
	trio_open(&t, 1, COUNT, SLOTS);
	t.at_once = true;
	owner = owner_of(&t.owners, 1, 0);
	for (uint16_t i = 1; i < TRIO; i++) {
		uint16_t from = (uint16_t)((owner + i) % TRIO);
		struct exchange_send send;
		unsigned char *slot;
		void *at;

		trio_post(&t, from, 1, &sched_direct);
		slot = contribution(from, owner, &send, &at);
		trio_arrive(&t, from, owner, &send, slot, at);
		assert_memory_equal(slot, send.payload, send.frame.payload_bytes);
		exchange_released(t.x[from], send.buffer);
	}
	trio_post(&t, owner, 1, &sched_direct);
	assert_int_equal(trio_finish(&t, 0), TRIO);
	trio_expect_sums(&t);
	trio_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_may_stay),
		cmocka_unit_test(not_with_a_checksum),
		cmocka_unit_test(not_finals_for_two_trainers),
		cmocka_unit_test(in_place),
		cmocka_unit_test(an_op_that_ends_meanwhile),
		cmocka_unit_test(a_path_that_goes_down_meanwhile),
		cmocka_unit_test(a_final_that_comes_twice),
		cmocka_unit_test(what_does_not_fit),
		cmocka_unit_test(the_last_one_is_not_copied),
		cmocka_unit_test(a_buffer_is_left),
		cmocka_unit_test(early_ones_wait_in_their_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
