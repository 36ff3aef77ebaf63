/*
 * test_exchange_at_once.c - finals whose payload is written at once go into the results, past the
 * slot; and where they must not.
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

/* An op of that schedule.  Return: how many payloads went into results. */
static uint32_t straight(uint32_t local, const struct sched *sched, bool crc)
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
	return t.straight;
}

static void finals_go_into_the_results(void **state)
{
	uint32_t got = straight(1, &sched_direct, false);

	(void)state;
	assert_int_equal(got, t.finals);
}

/* The trainer could write there between the copy and the sum that is compared. */
static void not_with_a_checksum(void **state)
{
	(void)state;
	assert_int_equal(straight(1, &sched_direct, true), 0);
}

static void not_for_two_trainers(void **state)
{
	(void)state;
	assert_int_equal(straight(2, &sched_direct, false), 0);
}

/* In a ring of three a final goes to one node, and from there to the last. */
static void not_what_is_passed_on(void **state)
{
	uint32_t got = straight(1, &sched_ring, false);

	(void)state;
	assert_int_equal(got, t.finals / 2);
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
	assert_int_equal(t.straight, t.finals);
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
	memcpy(f->at, f->send.payload, f->send.frame.payload_bytes);
	exchange_arrived(t.x[f->to], f->owner, &f->send.frame, f->slot);
}

static void end_op(void)
{
	for (uint16_t n = 0; n < TRIO; n++)
		exchange_end(t.x[n], 1, 1, -ECANCELED);
}

static bool owner_is_bad(const struct one *f)
{
	uint16_t node;
	uint64_t seq;

	if (!exchange_take_bad(t.x[f->to], &node, &seq))
		return false;
	assert_int_equal(node, f->owner);
	assert_int_equal(seq, 1);
	return true;
}

static void an_op_that_ends_meanwhile(void **state)
{
	struct one f = one_final(1);

	(void)state;
	place(&f, &f.send.frame);
	assert_int_equal(t.straight, 1);
	end_op();
	/* What is told only now finds no op, and gives its slot, the only one, back. */
	write_and_tell(&f);
	exchange_released(t.x[f.owner], f.send.buffer);
	assert_int_equal(trio_finish(&t, -ECANCELED), TRIO);
	/* And of an op that is over, nothing goes into the results. */
	place(&f, &f.send.frame);
	assert_int_equal(t.straight, 1);
	exchange_unplace(t.x[f.to], f.owner, f.slot);
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
	assert_int_equal(t.straight, 2);
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
		assert_int_equal(t.straight, 1);
		write_and_tell(&f);
		assert_int_equal(owner_is_bad(&f), time == 1);
	}
	exchange_released(t.x[f.owner], f.send.buffer);
	end_op();
	assert_int_equal(trio_finish(&t, -ECANCELED), TRIO);
	trio_close(&t);
}

/* What is no final of the op is refused when it is told, and has touched no result. */
static void what_does_not_fit(void **state)
{
	struct one f = one_final(SLOTS);
	struct wire_frame bad;

	(void)state;
	for (int what = 0; what < 6; what++) {
		bad = f.send.frame;
		switch (what) {
		case 0: bad.seq = 2; break;
		case 1: bad.chunk = trio_geometry(&t).chunks; break;
		case 2: bad.contributors--; break;
		case 3: bad.divisor = 3; break;
		case 4: bad.payload_bytes -= 4; break;
		default: bad.call_digest++; break;
		}
		place(&f, &bad);
		exchange_unplace(t.x[f.to], f.owner, f.slot);
	}
	assert_int_equal(t.straight, 0);
	place(&f, &bad);
	exchange_arrived(t.x[f.to], f.owner, &bad, f.slot);
	assert_true(owner_is_bad(&f));
	exchange_released(t.x[f.owner], f.send.buffer);
	end_op();
	assert_int_equal(trio_finish(&t, -ECANCELED), TRIO);
	trio_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finals_go_into_the_results),
		cmocka_unit_test(not_with_a_checksum),
		cmocka_unit_test(not_for_two_trainers),
		cmocka_unit_test(not_what_is_passed_on),
		cmocka_unit_test(in_place),
		cmocka_unit_test(an_op_that_ends_meanwhile),
		cmocka_unit_test(a_path_that_goes_down_meanwhile),
		cmocka_unit_test(a_final_that_comes_twice),
		cmocka_unit_test(what_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
