/*
 * test_exchange_flat.c - what goes to all nodes is read from the trainer once: inputs are changed
 * between two frames that hold them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/exchange_trio.h"

enum { COUNT = 1500, SLOTS = 4 };

static struct trio t;

static void same_bits_whatever_the_trainer_does(uint32_t local)
{
	trio_open(&t, local, COUNT, SLOTS);
	trio_post_all(&t, 1, &sched_flat);

	/* The first chunk: each node has sent it to one other when its trainers write into it. */
	for (uint16_t n = 0; n < TRIO; n++) {
		assert_true(trio_carry(&t, n, (uint16_t)((n + 1) % TRIO)));
		for (uint32_t r = 0; r < local; r++)
			for (uint32_t i = 0; i < 1024; i++)
				t.in[n][r][i] = -1000;
	}
	assert_int_equal(trio_finish(&t, 0), TRIO * local);
	trio_expect_sums(&t);
	trio_close(&t);
}

static void one_trainer_a_node(void **state)
{
	(void)state;
	same_bits_whatever_the_trainer_does(1);
}

static void two_trainers_a_node(void **state)
{
	(void)state;
	same_bits_whatever_the_trainer_does(2);
}

static void ops_that_end_give_their_buffers_back(void **state)
{
	(void)state;
	trio_open(&t, 1, COUNT, SLOTS);
	for (uint64_t seq = 1; seq <= 10; seq++) {
		struct exchange_completion done;
		struct exchange_send send;

		trio_post(&t, 0, seq, &sched_flat);
		assert_true(exchange_next(t.x[0], seq % 2 ? 1 : 2, &send));
		exchange_end(t.x[0], seq, seq, -5);
		exchange_released(t.x[0], send.buffer);
		exchange_credit(t.x[0], 1, (uint32_t)seq + 2, 2);
		exchange_credit(t.x[0], 2, (uint32_t)seq + 2, 2);
		assert_true(exchange_completion(t.x[0], &done));
		assert_int_equal(done.error, -5);
	}
	trio_close(&t);
}

/*
 * Node 0 is ahead towards node 1: chunks of a flat op wait for node 2, which still has to be
 * sent a chunk of an op before.  That one finds a buffer.
 */
static void a_node_that_is_behind_finds_a_buffer(void **state)
{
	(void)state;
	trio_open(&t, 2, COUNT, SLOTS);
	trio_post_all(&t, 1, &sched_direct);
	trio_post_all(&t, 2, &sched_flat);
	/* Two chunks an op and room for all: whatever node 1 owns, then the flat op. */
	while (trio_carry(&t, 0, 1))
		;
	assert_int_equal(trio_finish(&t, 0), TRIO * 2 * 2);
	trio_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_trainer_a_node),
		cmocka_unit_test(two_trainers_a_node),
		cmocka_unit_test(ops_that_end_give_their_buffers_back),
		cmocka_unit_test(a_node_that_is_behind_finds_a_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
