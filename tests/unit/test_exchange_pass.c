/*
 * test_exchange_pass.c - ops that a lane has no part in, between ops that it has: they are over
 * when all ranks of the node have passed them, and nothing waits for them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/exchange_state.h"
#include "tests/unit/exchange_trio.h"

enum { COUNT = 1500, SLOTS = 4, LOCAL = 2 };

static struct trio t;

static void pass(struct exchange *x, uint64_t seq)
{
	for (uint32_t r = 0; r < LOCAL; r++)
		assert_true(exchange_pass(x, r, seq));
}

static void assert_no_completion(struct exchange *x)
{
	struct exchange_completion c;

	assert_false(exchange_completion(x, &c));
}

static void any_number_in_order(void **state)
{
	struct exchange *x;

	(void)state;
	trio_open(&t, LOCAL, COUNT, SLOTS);
	x = t.x[0];
	assert_false(exchange_pass(x, 0, 2));
	assert_false(exchange_pass(x, 0, 0));
	assert_true(exchange_pass(x, 0, 1));
	assert_false(exchange_pass(x, 0, 1));
	assert_int_equal(exchange_done_through(x), 0); /* rank 1 has not */
	assert_true(exchange_pass(x, 1, 1));
	assert_int_equal(exchange_done_through(x), 1);
	for (uint64_t seq = 2; seq <= 1000; seq++)
		assert_true(exchange_pass(x, 0, seq));
	assert_int_equal(exchange_done_through(x), 1);
	for (uint64_t seq = 2; seq <= 1000; seq++)
		assert_true(exchange_pass(x, 1, seq));
	assert_int_equal(exchange_done_through(x), 1000);
	assert_no_completion(x);
	trio_close(&t);
}

/* What is behind an op that was passed goes on while what is before it waits. */
static void others_go_around(void **state)
{
	struct exchange_send send;
	uint32_t sent[4] = {0};

	(void)state;
	trio_open(&t, LOCAL, COUNT, SLOTS);
	for (uint16_t n = 0; n < TRIO; n++) {
		trio_post(&t, n, 1, &sched_direct);
		pass(t.x[n], 2);
		trio_post(&t, n, 3, &sched_direct);
	}
	for (uint16_t to = 1; to < TRIO; to++)
		while (exchange_next(t.x[0], to, &send)) {
			sent[send.frame.seq]++;
			exchange_released(t.x[0], send.buffer);
		}
	assert_in_range(sent[1], 1, 2); /* a chunk or two of an op are not its own */
	assert_in_range(sent[3], 1, 2);
	for (uint16_t n = 0; n < TRIO; n++)
		exchange_free(t.x[n]);
	trio_open(&t, LOCAL, COUNT, SLOTS);
	for (uint64_t seq = 1; seq <= 200; seq++) {
		for (uint16_t n = 0; n < TRIO; n++)
			if (seq % 3 == 1)
				trio_post(&t, n, seq, &sched_direct);
			else
				pass(t.x[n], seq);
		if (seq % 3 == 1)
			assert_int_equal(trio_finish(&t, 0), TRIO * LOCAL);
		for (uint16_t n = 0; n < TRIO; n++)
			assert_int_equal(exchange_done_through(t.x[n]), seq);
	}
	trio_expect_sums(&t);
	trio_close(&t);
}

/* An end of ops some of which were passed ends the others, also those behind them. */
static void ends_find_what_runs(void **state)
{
	struct exchange_completion c;
	struct exchange *x;

	(void)state;
	trio_open(&t, LOCAL, COUNT, SLOTS);
	x = t.x[0];
	trio_post(&t, 0, 1, &sched_direct);
	pass(x, 2);
	trio_post(&t, 0, 3, &sched_direct);
	exchange_end(x, 1, 3, -5);
	for (uint32_t i = 0; i < 2 * LOCAL; i++) {
		assert_true(exchange_completion(x, &c));
		assert_int_equal(c.seq, i < LOCAL ? 1 : 3);
		assert_int_equal(c.error, -5);
	}
	assert_no_completion(x); /* of the one that was passed its own lane tells */
	assert_int_equal(exchange_done_through(x), 3);
	/* Ended before it is called: passed all the same. */
	exchange_end(x, 4, 6, -5);
	assert_int_equal(exchange_done_through(x), 6);
	for (uint64_t seq = 4; seq <= 7; seq++)
		pass(x, seq);
	assert_int_equal(exchange_done_through(x), 7);
	assert_no_completion(x);
	assert_int_equal(x->ends_count, 0);
	trio_close(&t);
}

/* A rank that has left holds up nobody. */
static void who_has_left_does_not_count(void **state)
{
	struct exchange *x;

	(void)state;
	trio_open(&t, LOCAL, COUNT, SLOTS);
	x = t.x[0];
	for (uint64_t seq = 1; seq <= 5; seq++)
		assert_true(exchange_pass(x, 0, seq));
	assert_true(exchange_pass(x, 1, 1));
	assert_int_equal(exchange_done_through(x), 1);
	assert_int_equal(exchange_rank_leave(x, 1), 1);
	assert_int_equal(exchange_done_through(x), 5);
	assert_true(exchange_pass(x, 0, 6));
	assert_int_equal(exchange_done_through(x), 6);
	assert_int_equal(exchange_rank_leave(x, 0), 6);
	assert_int_equal(exchange_done_through(x), 6);
	trio_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_number_in_order),
		cmocka_unit_test(others_go_around),
		cmocka_unit_test(ends_find_what_runs),
		cmocka_unit_test(who_has_left_does_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
