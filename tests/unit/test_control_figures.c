/*
 * test_control_figures.c - figures of a group from those of its lanes, some of which have not heard
 * of the last ops yet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/control_state.h"

static struct control_figures figures(struct engine_group_stats a, struct engine_group_stats b)
{
	const struct engine_group_stats stats[2] = {a, b};
	struct control_figures f;

	control_figures(stats, 2, &f);
	return f;
}

static void expect(struct control_figures f, uint64_t posted, uint64_t done, uint64_t failed,
		   uint64_t bytes)
{
	assert_int_equal(f.posted, posted);
	assert_int_equal(f.done, done);
	assert_int_equal(f.failed, failed);
	assert_int_equal(f.bytes, bytes);
}

#define LANE(posted, done, failed, bytes)                                           \
	(struct engine_group_stats)                                                 \
	{                                                                           \
		.ops_posted = (posted), .ops_done = (done), .ops_failed = (failed), \
		.bytes_reduced = (bytes), .payload_sent = 7                         \
	}

static void lanes_agree(void **state)
{
	struct control_figures f = figures(LANE(9, 9, 0, 900), LANE(9, 9, 0, 900));

	(void)state;
	expect(f, 9, 9, 0, 900);
	assert_int_equal(f.payload, 14);
}

/* Done where both are done; in flight as long as one is not. */
static void the_slower_lane_counts(void **state)
{
	(void)state;
	expect(figures(LANE(9, 9, 0, 900), LANE(9, 7, 0, 700)), 9, 7, 0, 700);
	expect(figures(LANE(9, 6, 0, 600), LANE(9, 7, 0, 700)), 9, 6, 0, 600);
}

/* A lane that small ops leave asleep holds up no figure. */
static void who_has_not_heard(void **state)
{
	(void)state;
	expect(figures(LANE(109, 109, 0, 1000), LANE(9, 9, 0, 900)), 109, 109, 0, 1000);
	expect(figures(LANE(109, 108, 0, 999), LANE(9, 9, 0, 900)), 109, 108, 0, 999);
	/* A large op is still open there. */
	expect(figures(LANE(109, 109, 0, 1000), LANE(9, 8, 0, 900)), 109, 108, 0, 1000);
}

/* An op that was complete on one lane and ended on the other has failed, and is not done, too. */
static void done_here_and_failed_there(void **state)
{
	(void)state;
	expect(figures(LANE(1, 1, 0, 100), LANE(1, 0, 1, 0)), 1, 0, 1, 0);
	expect(figures(LANE(1, 0, 1, 0), LANE(1, 1, 0, 100)), 1, 0, 1, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lanes_agree),
		cmocka_unit_test(the_slower_lane_counts),
		cmocka_unit_test(who_has_not_heard),
		cmocka_unit_test(done_here_and_failed_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
