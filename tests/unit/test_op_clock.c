/*
 * test_op_clock.c - how long ops take: the slowest lane counts, and who is late to call does not.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/op_clock.h"
#include "proto/shm.h"

#define US UINT64_C(1000)
#define TURN OP_CLOCK_TURN_NS

static struct op_clock *begin(uint16_t lanes)
{
	struct op_clock *c;

	assert_int_equal(op_clock_new(&c, lanes), 0);
	return c;
}

static void assert_next(struct op_clock *c, uint64_t seq, uint64_t ns)
{
	struct op_time time;

	assert_true(op_clock_next(c, &time));
	assert_int_equal(time.seq, seq);
	assert_int_equal(time.ns, ns);
	assert_true(time.good);
}

static void assert_none(struct op_clock *c)
{
	struct op_time time;

	assert_false(op_clock_next(c, &time));
}

static void the_slowest_lane_counts(void **state)
{
	struct op_clock *c = begin(3);

	(void)state;
	assert_none(c);
	op_clock_called(c, 1, 3, 1000 * US);
	assert_none(c);
	op_clock_over(c, 0, 1, 1010 * US, true);
	op_clock_over(c, 2, 1, 1005 * US, true);
	assert_none(c);
	op_clock_over(c, 1, 1, 1330 * US, true);
	assert_next(c, 1, 330 * US + TURN);
	assert_none(c);
	op_clock_free(c);
	op_clock_free(NULL);
}

/* A small op is lane 0's alone, and nobody waits for the others; for a large one all count. */
static void who_takes_no_part(void **state)
{
	struct op_clock *c = begin(3);

	(void)state;
	for (uint64_t seq = 1; seq <= 100; seq++) {
		op_clock_called(c, seq, 1, seq * TURN);
		op_clock_over(c, 0, seq, seq * TURN + 10 * US, true);
		assert_next(c, seq, seq == 1 ? 10 * US + TURN : TURN);
	}
	op_clock_called(c, 101, 3, 101 * TURN);
	op_clock_over(c, 0, 101, 101 * TURN + 10 * US, true);
	assert_none(c);
	op_clock_over(c, 2, 101, 101 * TURN + 10 * US, true);
	assert_none(c);
	op_clock_over(c, 1, 101, 101 * TURN + 30 * US, true);
	assert_next(c, 101, TURN + 20 * US);
	op_clock_free(c);
}

/* A trainer that calls at once: from end to end.  One that computes: from its call, and a bit. */
static void what_is_between_ops(void **state)
{
	struct op_clock *c = begin(1);

	(void)state;
	op_clock_called(c, 1, 1, 1000 * US);
	op_clock_over(c, 0, 1, 1050 * US, true);
	assert_next(c, 1, 50 * US + TURN);
	op_clock_called(c, 2, 1, 1090 * US);
	op_clock_over(c, 0, 2, 1200 * US, true);
	assert_next(c, 2, 150 * US);
	op_clock_called(c, 3, 1, 1200 * US + TURN);
	op_clock_over(c, 0, 3, 1210 * US + TURN, true);
	assert_next(c, 3, 10 * US + TURN);
	op_clock_called(c, 4, 1, 9000 * US); /* of two local ranks the last one counts */
	op_clock_called(c, 4, 1, 9500 * US);
	op_clock_over(c, 0, 4, 9530 * US, true);
	assert_next(c, 4, 30 * US + TURN);
	op_clock_free(c);
}

/* Ops that are under way together, over in whatever order. */
static void together(void **state)
{
	struct op_clock *c = begin(2);

	(void)state;
	for (uint64_t seq = 1; seq <= 4; seq++)
		op_clock_called(c, seq, 2, 1000 * US + seq);
	for (uint64_t seq = 4; seq > 1; seq--)
		op_clock_over(c, 0, seq, 1010 * US, true);
	op_clock_over(c, 1, 1, 1100 * US, true);
	op_clock_over(c, 1, 3, 1200 * US, true);
	op_clock_over(c, 1, 2, 1300 * US, true);
	assert_none(c);
	op_clock_over(c, 0, 1, 1040 * US, true);
	assert_next(c, 1, 100 * US + TURN - 1);
	assert_next(c, 2, 200 * US);
	assert_next(c, 3, 0); /* it was over before the second */
	assert_none(c);
	op_clock_over(c, 1, 4, 1310 * US, true);
	assert_next(c, 4, 10 * US);
	op_clock_free(c);
}

/* An op that failed on a lane has taken its time, and is said to have failed. */
static void failures(void **state)
{
	struct op_clock *c = begin(2);
	struct op_time time;

	(void)state;
	op_clock_called(c, 1, 2, 1000 * US);
	op_clock_over(c, 0, 1, 1010 * US, true);
	op_clock_over(c, 1, 1, 1020 * US, false);
	assert_true(op_clock_next(c, &time));
	assert_int_equal(time.seq, 1);
	assert_false(time.good);
	op_clock_called(c, 2, 2, 1020 * US);
	op_clock_over(c, 0, 2, 1030 * US, true);
	op_clock_over(c, 1, 2, 1025 * US, true);
	assert_next(c, 2, 10 * US);
	op_clock_free(c);
}

/* Nobody read for long: the last SHM_OPS_MAX are there, and all but the first have their times. */
static void read_late(void **state)
{
	struct op_clock *c = begin(2);
	struct op_time time;
	uint64_t now_ns = 1000 * US, first = 2 * SHM_OPS_MAX + 1, last = 3 * SHM_OPS_MAX;

	(void)state;
	for (uint64_t seq = 1; seq <= last; seq++) {
		op_clock_called(c, seq, 2, now_ns);
		op_clock_over(c, 0, seq, now_ns + seq * US, true);
		op_clock_over(c, 1, seq, now_ns + seq, true);
		now_ns += seq * US;
	}
	assert_true(op_clock_next(c, &time));
	assert_int_equal(time.seq, first);
	assert_false(time.good);
	for (uint64_t seq = first + 1; seq <= last; seq++)
		assert_next(c, seq, seq * US);
	assert_none(c);
	op_clock_free(c);
}

/* Lanes are threads: whoever sees that an op is over sees when. */
struct lane {
	struct op_clock *clock;
	uint32_t number;
};

enum { OPS = SHM_OPS_MAX };

static void *lane_main(void *argument)
{
	struct lane *lane = argument;

	for (uint64_t seq = 1; seq <= OPS; seq++)
		op_clock_over(lane->clock, lane->number, seq, seq * TURN + lane->number, true);
	return NULL;
}

static void lanes_are_threads(void **state)
{
	(void)state;
	for (int turn = 0; turn < 50; turn++) {
		struct op_clock *c = begin(3);
		struct lane lane[3];
		pthread_t thread[3];
		struct op_time time;

		for (uint64_t seq = 1; seq <= OPS; seq++)
			op_clock_called(c, seq, 3, seq * TURN - 10);
		for (uint32_t i = 0; i < 3; i++) {
			lane[i] = (struct lane){.clock = c, .number = i};
			assert_int_equal(pthread_create(&thread[i], NULL, lane_main, &lane[i]), 0);
		}
		for (uint64_t seq = 1; seq <= OPS; seq++) {
			while (!op_clock_next(c, &time))
				(void)sched_yield();
			assert_int_equal(time.seq, seq);
			assert_int_equal(time.ns, seq == 1 ? TURN + 2 : TURN);
		}
		for (uint32_t i = 0; i < 3; i++)
			assert_int_equal(pthread_join(thread[i], NULL), 0);
		op_clock_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_slowest_lane_counts),
		cmocka_unit_test(who_takes_no_part),
		cmocka_unit_test(what_is_between_ops),
		cmocka_unit_test(together),
		cmocka_unit_test(failures),
		cmocka_unit_test(read_late),
		cmocka_unit_test(lanes_are_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
