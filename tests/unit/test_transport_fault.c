/*
 * test_transport_fault.c - the wrapper does the harm that it promises, and no other.
 *
 * Goal: who tests a link against `fault` must know that paths really were cut between
 * frames, in the middle of one, and refused; that what arrived is a prefix of what was
 * sent; and that a seed can be played again.  Over TCP and over the simulator.
 */
#include "daemon/transport/transport.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "tests/common/rig.h"

enum { FRAMES = 400, SEEDS = 12 };

static uint32_t sizes[FRAMES];

/* What the seeds did together. */
struct harm {
	uint32_t lines, downs[2];
	uint32_t closed, reset, refused; /* as the receiving side saw it        */
	uint32_t torn;                   /* between a frame's HEADER and its end */
	uint64_t received;
	uint64_t trace; /* hash of all that happened            */
};

static void mix(struct harm *harm, uint64_t value)
{
	harm->trace = (harm->trace ^ value) * 0x100000001b3u;
}

static void account(struct harm *harm, const struct rig_line *line)
{
	const struct rig_flow *flow = &line->flow[0];

	harm->lines++;
	harm->received += flow->received;
	harm->torn += !line->up[1] && flow->announced > flow->received;
	for (int s = 0; s < 2; s++) {
		harm->downs[s] += !line->up[s];
		mix(harm, (uint64_t)-line->error[s] << 32 | line->verdict[s]);
		assert_int_not_equal(line->error[s], -ECANCELED); /* nobody detached */
	}
	mix(harm, (uint64_t)flow->queued << 40 | (uint64_t)flow->sent << 20 | flow->received);
	harm->closed += line->error[1] == -EPIPE;
	harm->reset += line->error[1] == -ECONNRESET;
	harm->refused += line->error[1] == -EBADMSG;
}

/* Side 0 sends on four lines until all is done or down. */
static void run_seed(struct harm *harm, const struct rig_variant *base, uint64_t seed)
{
	struct rig_variant v = *base;
	struct rig rig;

	v.options.fault_seed = seed;
	rig_open_seed(&rig, &v, seed);
	for (uint16_t i = 0; i < 4; i++)
		rig_load(&rig, rig_join(&rig, i, 0, i, 0), 0, sizes, FRAMES);
	rig_finish(&rig);
	for (uint32_t i = 0; i < 4; i++) { /* both sides learn of each end */
		if (!rig.lines[i].up[0])
			rig_until_down(&rig, i, 1);
		if (!rig.lines[i].up[1])
			rig_until_down(&rig, i, 0);
		account(harm, &rig.lines[i]);
	}
	rig_close(&rig);
}

static struct harm run_seeds(const struct rig_variant *variant)
{
	struct harm harm = {.trace = 0xcbf29ce484222325u};

	for (uint32_t i = 0; i < FRAMES; i++)
		sizes[i] = i % 4 ? i * 7919 % 30000 : 0;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(&harm, variant, seed);
	return harm;
}

static const struct rig_variant over_uring = {
	"fault over uring", "fault", AF_INET, {.queue_frames = 8, .inner = "uring"}};
static const struct rig_variant over_sim = {
	"fault over sim", "fault", AF_UNSPEC, {.queue_frames = 8, .inner = "sim"}};

static void nothing_goes_wrong_by_itself(void **state)
{
	struct harm harm;

	(void)state;
	harm = run_seeds(&over_sim);
	assert_int_equal(harm.lines, 4 * SEEDS);
	assert_int_equal(harm.downs[0] + harm.downs[1], 0);
	assert_int_equal(harm.received, 4ull * SEEDS * FRAMES);
}

/* Each of its ways to cut happens; never by corruption. */
static void cuts(const struct rig_variant *base)
{
	struct rig_variant v = *base;
	struct harm harm;

	v.options.cut_every = 200; /* the four lines send 1600 between them */
	harm = run_seeds(&v);
	assert_int_equal(harm.downs[0], harm.downs[1]);
	assert_true(harm.downs[1] > harm.lines / 2); /* 48 lines, 3 cuts in 4 on average */
	assert_true(harm.received < 4ull * SEEDS * FRAMES);
	assert_true(harm.received > SEEDS * FRAMES / 4);
	assert_true(harm.reset > 0);
	assert_true(harm.torn > 0);
	assert_int_equal(harm.refused, 0);
	if (base == &over_uring)
		assert_true(harm.closed > 0);
}

static void paths_are_cut(void **state)
{
	(void)state;
	cuts(&over_uring);
	cuts(&over_sim);
}

static void corrupts(const struct rig_variant *base)
{
	struct rig_variant v = *base;
	struct harm harm;

	v.options.corrupt_every = 300;
	harm = run_seeds(&v);
	assert_true(harm.refused > SEEDS);
	assert_int_equal(harm.refused, harm.downs[1]);
	assert_int_equal(harm.downs[0], harm.downs[1]);
	assert_int_equal(harm.torn, 0);
}

static void headers_are_corrupted(void **state)
{
	(void)state;
	corrupts(&over_uring);
	corrupts(&over_sim);
}

static void a_seed_can_be_played_again(void **state)
{
	struct rig_variant v = over_sim;
	struct harm one, again;

	(void)state;
	v.options.cut_every = 150;
	v.options.corrupt_every = 400;
	v.options.delay_us_max = 200;
	one = run_seeds(&v);
	again = run_seeds(&v);
	assert_true(one.trace == again.trace);
	assert_true(one.refused > 0 && one.reset > 0);
	v.options.cut_every = 151;
	assert_true(run_seeds(&v).trace != one.trace);
}

/* Events of one path stay in order (the rig looks), those of two paths do not. */
static void delays_reorder_paths(void **state)
{
	enum { COUNT = 50 };
	struct rig_variant v = over_sim;
	uint32_t changes = 0, last = 0;
	struct rig rig;

	(void)state;
	memset(sizes, 0, sizeof(sizes));
	v.options.delay_us_max = 1000;
	rig_open(&rig, &v);
	rig.events_max = 1;
	for (uint16_t i = 0; i < 3; i++)
		rig_load(&rig, rig_join(&rig, i, 0, i, 0), 0, sizes, COUNT);
	for (int turns = 0; turns < 100000; turns++) {
		uint32_t before[3];

		for (uint32_t i = 0; i < 3; i++)
			before[i] = rig.lines[i].flow[0].received;
		if (rig_turn(&rig, 0) + rig_turn(&rig, 1) == 0)
			rig.ops->wait(rig.side[1], 10 * CLOCK_NS_PER_US);
		for (uint32_t i = 0; i < 3; i++)
			if (rig.lines[i].flow[0].received != before[i]) {
				changes += i != (last + 1) % 3;
				last = i;
			}
	}
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(rig.lines[i].flow[0].received, COUNT);
	assert_true(changes > COUNT / 2);
	rig_close(&rig);
}

static void delays_take_time(void **state)
{
	struct rig_variant v = over_uring;
	uint64_t start_ns;
	struct rig rig;

	(void)state;
	memset(sizes, 0, sizeof(sizes));
	v.options.delay_us_max = 5000;
	v.options.fault_seed = 3;
	rig_open(&rig, &v);
	rig_load(&rig, rig_join(&rig, 0, 0, 0, 0), 0, sizes, FRAMES);
	start_ns = clock_now_ns();
	rig_finish(&rig);
	/* The last of 400 draws that may not decrease is near 5 ms; 1 ms is certain enough. */
	assert_true(clock_now_ns() - start_ns > CLOCK_NS_PER_MS);
	assert_non_null(strstr(rig.ops->describe(rig.side[0]), "seed 3"));
	assert_non_null(strstr(rig.ops->describe(rig.side[0]), "delay 5000 us; over io_uring"));
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_goes_wrong_by_itself),
		cmocka_unit_test(paths_are_cut),
		cmocka_unit_test(headers_are_corrupted),
		cmocka_unit_test(a_seed_can_be_played_again),
		cmocka_unit_test(delays_reorder_paths),
		cmocka_unit_test(delays_take_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
