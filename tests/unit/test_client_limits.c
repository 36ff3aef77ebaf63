/*
 * test_client_limits.c - as many ops as there may be in flight, as much as the arena holds, who
 * waits then and who is refused; a steady state that allocates nothing.
 */
#include "libclient/carry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/shm.h"
#include "tests/unit/fake_daemon.h"

#define LANES 2
#define RANKS 3
#define ARENA (1u << 20)

static _Thread_local int allocations;

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
	allocations++;
	return __real_calloc(count, bytes);
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
	allocations++;
	return __real_malloc(bytes);
}

static struct fake *fake;
static struct carry *c;
static struct carry_group *g;

static struct carry_group *join(void)
{
	struct carry_group_options o = {
		.size = sizeof(o), .root = "127.0.0.1", .ranks = RANKS, .timeout_ns = 20000000000};
	struct carry_group *joined = NULL;

	assert_int_equal(carry_group_create(&joined, c, &o), 0);
	return joined;
}

static int setup(void **state)
{
	struct carry_open_options o = {.size = sizeof(o), .arena_bytes = ARENA};

	(void)state;
	fake = fake_start(LANES);
	o.socket = fake_path(fake);
	c = NULL;
	if (carry_open_with(&c, &o))
		return -1;
	g = join();
	return 0;
}

/* Whatever a test did: nothing of the arena may be missing, but for what it still has. */
static int teardown(void **state)
{
	(void)state;
	carry_close(c);
	fake_stop(fake);
	return 0;
}

static uint64_t arena_free(void)
{
	struct carry_arena info = {.size = sizeof(info)};

	assert_int_equal(carry_arena_info(c, &info), 0);
	return info.free_bytes;
}

static void assert_sentence(const char *part)
{
	if (!strstr(carry_last_error(c), part))
		printf("\"%s\" is not in \"%s\"\n", part, carry_last_error(c));
	assert_non_null(strstr(carry_last_error(c), part));
}

struct poster {
	float *x;
	size_t count;
	struct carry_work *w;
	_Atomic bool returned;
	int r;
};

static void *post_thread(void *argument)
{
	struct poster *p = argument;

	p->r = carry_allreduce(g, p->x, p->x, p->count, CARRY_F32, CARRY_SUM, NULL, &p->w);
	p->returned = true;
	return NULL;
}

/* The 65th op of a group waits for the first. */
static void test_64_in_flight(void **state)
{
	struct carry_work *works[64];
	float x[65];
	struct poster poster = {.x = &x[64], .count = 1};
	pthread_t thread;

	(void)state;
	for (int i = 0; i < 65; i++)
		x[i] = (float)i;
	fake_set(fake, (struct fake_control){.hold = true});
	for (int i = 0; i < 64; i++)
		assert_int_equal(
			carry_allreduce(g, &x[i], &x[i], 1, CARRY_F32, CARRY_SUM, NULL, &works[i]),
			0);
	assert_int_equal(pthread_create(&thread, NULL, post_thread, &poster), 0);
	pass_ms(50);
	assert_false(poster.returned);
	fake_wait(fake, FAKE_HOLDING, 64);
	fake_set(fake, (struct fake_control){0});
	pthread_join(thread, NULL);
	assert_int_equal(poster.r, 0);
	assert_int_equal(carry_wait(poster.w, -1, NULL), 0);
	for (int i = 0; i < 64; i++)
		assert_int_equal(carry_wait(works[i], -1, NULL), 0);
	for (int i = 0; i < 65; i++)
		assert_true(x[i] == (float)(RANKS * i));
}

/* More than the rings hold: the group that has none in flight is told, the others go on. */
static void test_handle_full(void **state)
{
	static struct carry_work *works[15][64];
	struct carry_group *groups[16];
	static float x[15][64];
	struct carry_work *w = NULL;
	float y = 1;

	(void)state;
	fake_set(fake, (struct fake_control){.hold = true});
	groups[0] = g;
	for (int i = 1; i < 16; i++)
		groups[i] = join();
	for (int i = 0; i < 15; i++)
		for (int k = 0; k < 64; k++)
			assert_int_equal(carry_allreduce(groups[i], &x[i][k], &x[i][k], 0,
							 CARRY_F32, CARRY_SUM, NULL, &works[i][k]),
					 0);
	assert_int_equal(carry_allreduce(groups[15], &y, &y, 1, CARRY_F32, CARRY_SUM, NULL, &w),
			 -EAGAIN);
	assert_sentence("960 ops of other groups are in flight");
	/* An abort always finds room. */
	for (int i = 0; i < 16; i++)
		assert_int_equal(carry_group_abort(groups[i]), 0);
	for (int i = 0; i < 15; i++)
		for (int k = 0; k < 64; k++)
			assert_int_equal(carry_wait(works[i][k], -1, NULL), -ECANCELED);
	assert_int_equal(fake_look(fake).aborts, 16);
}

/* The rings are full because nobody reads them: posting waits, and goes on. */
static void test_deaf_daemon(void **state)
{
	enum { COUNT = SHM_ALONE_BYTES + 1 };   /* lane 1 takes part, and has them last */
	signed char *x = carry_alloc(c, COUNT); /* there is no room for copies of all */
	struct carry_work *works[64];

	(void)state;
	fake_set(fake, (struct fake_control){.deaf = true});
	for (int i = 0; i < 64; i++)
		assert_int_equal(
			carry_allreduce(g, x, x, COUNT, CARRY_I8, CARRY_SUM, NULL, &works[i]), 0);
	assert_int_equal(carry_wait(works[0], 1000000, NULL), -ETIMEDOUT);
	assert_int_equal(carry_group_abort(g), 0);
	fake_set(fake, (struct fake_control){0});
	for (int i = 0; i < 64; i++)
		assert_int_equal(carry_wait(works[i], -1, NULL), -ECANCELED);
	assert_int_equal(fake_look(fake).aborts, 1);
}

/* A lane that takes no part in small ops hears of them in the end, and of nothing but that. */
static void test_small_ops_leave_lanes_asleep(void **state)
{
	enum { GROUPS = SHM_UNSEEN / SHM_OPS_MAX };
	static struct carry_work *works[GROUPS][SHM_OPS_MAX];
	struct carry_group *groups[GROUPS + 1];
	float x[1] = {1};
	uint64_t woken;

	(void)state;
	for (int i = 0; i < 200; i++)
		assert_int_equal(carry_allreduce(g, x, x, 1, CARRY_F32, CARRY_SUM, NULL, NULL), 0);
	assert_int_equal(fake_look(fake).ops, 200);
	assert_int_equal(fake_look(fake).woken, 0);
	for (int i = 0; i <= GROUPS; i++)
		groups[i] = join();
	fake_set(fake, (struct fake_control){.deaf = true});
	woken = fake_look(fake).woken;
	for (int i = 0; i < GROUPS; i++)
		for (int k = 0; k < (int)SHM_OPS_MAX; k++)
			assert_int_equal(carry_allreduce(groups[i], x, x, 0, CARRY_F32, CARRY_SUM,
							 NULL, &works[i][k]),
					 0);
	pass_ms(20);
	assert_int_equal(fake_look(fake).woken, woken);
	assert_int_equal(
		carry_allreduce(groups[GROUPS], x, x, 0, CARRY_F32, CARRY_SUM, NULL, &works[0][0]),
		0);
	pass_ms(20);
	assert_int_equal(fake_look(fake).woken, woken + 1);
	fake_set(fake, (struct fake_control){0});
	assert_int_equal(carry_wait(works[0][0], -1, NULL), 0);
}

/* Two copies fit into the arena: the third op waits for the first, the results all arrive. */
static void test_staging_waits(void **state)
{
	enum { COUNT = 100000 };
	static float x[3][COUNT];
	struct carry_work *works[2];
	struct poster poster = {.x = x[2], .count = COUNT};
	pthread_t thread;

	(void)state;
	for (int i = 0; i < 3; i++)
		for (int k = 0; k < COUNT; k++)
			x[i][k] = (float)(i + k);
	fake_set(fake, (struct fake_control){.hold = true});
	for (int i = 0; i < 2; i++)
		assert_int_equal(carry_allreduce(g, x[i], x[i], COUNT, CARRY_F32, CARRY_SUM, NULL,
						 &works[i]),
				 0);
	assert_true(arena_free() < COUNT * sizeof(float));
	assert_int_equal(pthread_create(&thread, NULL, post_thread, &poster), 0);
	pass_ms(50);
	assert_false(poster.returned);
	fake_set(fake, (struct fake_control){0});
	pthread_join(thread, NULL);
	assert_int_equal(poster.r, 0);
	assert_int_equal(carry_wait(poster.w, -1, NULL), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(carry_wait(works[i], -1, NULL), 0);
	for (int i = 0; i < 3; i++)
		for (int k = 0; k < COUNT; k++)
			assert_true(x[i][k] == (float)(RANKS * (i + k)));
	assert_int_equal(arena_free(), ARENA);
}

static void test_arena_full(void **state)
{
	static float x[ARENA / 4 + 1];
	struct carry_group *other = join();
	struct carry_work *w = NULL;
	void *all;

	(void)state;
	assert_int_equal(carry_allreduce(g, x, x, ARENA / 4 + 1, CARRY_F32, CARRY_SUM, NULL, NULL),
			 -ENOMEM);
	assert_sentence("copy of 1048580 bytes (1048576 free, 1048576 in one piece, of 1048576)");
	/* All of it just fits. */
	x[0] = 1;
	assert_int_equal(carry_allreduce(g, x, x, ARENA / 4, CARRY_F32, CARRY_SUM, NULL, NULL), 0);
	assert_true(x[0] == RANKS);
	/* The caller has it: no waiting would help. */
	all = carry_alloc(c, ARENA);
	assert_non_null(all);
	assert_int_equal(carry_allreduce(g, x, x, 1, CARRY_F32, CARRY_SUM, NULL, &w), -ENOMEM);
	assert_sentence("use carry_alloc() memory, or a larger CARRY_ARENA_BYTES");
	assert_int_equal(carry_free(c, all), 0);
	/* Another group's op has it: its end may need this very op on another rank. */
	fake_set(fake, (struct fake_control){.hold = true});
	assert_int_equal(carry_allreduce(other, x, x, ARENA / 4, CARRY_F32, CARRY_SUM, NULL, &w),
			 0);
	assert_int_equal(carry_allreduce(g, x, x, 1, CARRY_F32, CARRY_SUM, NULL, NULL), -ENOMEM);
	/* Complete but not waited for: its result is copied out to make room. */
	fake_set(fake, (struct fake_control){0});
	while (carry_test(w) == 0)
		pass_ms(1);
	assert_int_equal(carry_allreduce(g, &x[1], &x[1], 1, CARRY_F32, CARRY_SUM, NULL, NULL), 0);
	assert_int_equal(carry_wait(w, -1, NULL), 0);
	assert_true(x[0] == RANKS * RANKS);
}

static void test_free_in_flight(void **state)
{
	struct carry_work *w = NULL;
	float *in = carry_alloc(c, 8000);
	float *out = carry_alloc(c, 8000);
	float *other = carry_alloc(c, 8000);

	(void)state;
	fake_set(fake, (struct fake_control){.hold = true});
	memset(in, 0, 8000);
	assert_int_equal(
		carry_allreduce(g, in + 1000, out + 1000, 1000, CARRY_F32, CARRY_SUM, NULL, &w), 0);
	assert_int_equal(carry_wait(w, 1000000, NULL), -ETIMEDOUT);
	assert_sentence("op 1 of group \"world\" is not complete yet");
	assert_int_equal(carry_free(c, in), -EBUSY);
	assert_int_equal(carry_free(c, out), -EBUSY);
	assert_sentence("an op in flight uses the memory");
	assert_int_equal(carry_free(c, other), 0);
	fake_set(fake, (struct fake_control){0});
	assert_int_equal(carry_wait(w, -1, NULL), 0);
	assert_int_equal(carry_free(c, in), 0);
	assert_int_equal(carry_free(c, out), 0);
}

static void test_no_allocation(void **state)
{
	struct carry_work *works[64];
	static float x[64][100];

	(void)state;
	allocations = 0;
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 64; i++)
			assert_int_equal(carry_allreduce(g, x[i], x[i], 100, CARRY_F32, CARRY_SUM,
							 NULL, &works[i]),
					 0);
		for (int i = 0; i < 64; i++)
			assert_int_equal(carry_wait(works[i], -1, NULL), 0);
		assert_int_equal(
			carry_allreduce(g, x[0], x[0], 100, CARRY_F32, CARRY_SUM, NULL, NULL), 0);
	}
	assert_int_equal(allocations, 0);
}

static void *blocking_thread(void *argument)
{
	struct poster *p = argument;

	p->r = carry_allreduce(g, p->x, p->x, p->count, CARRY_F32, CARRY_SUM, NULL, NULL);
	return NULL;
}

static void test_race_in_debug(void **state)
{
	float x[2] = {1, 1};
	struct poster poster = {.x = &x[0], .count = 1};
	struct carry_group *other;
	pthread_t thread;

	setenv("CARRY_DEBUG", "1", 1);
	teardown(state);
	setup(state);
	unsetenv("CARRY_DEBUG");
	other = join();
	fake_set(fake, (struct fake_control){.hold = true});
	assert_int_equal(pthread_create(&thread, NULL, blocking_thread, &poster), 0);
	fake_wait(fake, FAKE_HOLDING, 1);
	assert_int_equal(carry_allreduce(g, &x[1], &x[1], 1, CARRY_F32, CARRY_SUM, NULL, NULL),
			 -EBUSY);
	assert_sentence("another thread is in carry_allreduce() on group \"world\"");
	fake_set(fake, (struct fake_control){0});
	assert_int_equal(carry_allreduce(other, &x[1], &x[1], 1, CARRY_F32, CARRY_SUM, NULL, NULL),
			 0);
	pthread_join(thread, NULL);
	assert_int_equal(poster.r, 0);
	assert_true(x[0] == RANKS && x[1] == RANKS);
	assert_int_equal(carry_allreduce(g, &x[1], &x[1], 1, CARRY_F32, CARRY_SUM, NULL, NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_64_in_flight),
		TEST(test_handle_full),
		TEST(test_deaf_daemon),
		TEST(test_staging_waits),
		TEST(test_arena_full),
		TEST(test_free_in_flight),
		TEST(test_no_allocation),
		TEST(test_race_in_debug),
		TEST(test_small_ops_leave_lanes_asleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
