/* test_client_group.c - groups: what is asked of the daemon, refusals, limits, abort, leaving. */
#include "libclient/carry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/fake_daemon.h"

#define SECOND INT64_C(1000000000)

static struct fake *fake;
static struct carry *c;

static int setup(void **state)
{
	(void)state;
	fake = fake_start(2);
	c = NULL;
	return carry_open(&c, fake_path(fake));
}

static int teardown(void **state)
{
	(void)state;
	carry_close(c);
	fake_stop(fake);
	return 0;
}

static struct carry_group_options options(uint32_t rank, uint32_t ranks)
{
	return (struct carry_group_options){.size = sizeof(struct carry_group_options),
					    .root = "127.0.0.1",
					    .rank = rank,
					    .ranks = ranks,
					    .timeout_ns = 10 * SECOND};
}

static struct carry_group *join(uint32_t rank, uint32_t ranks)
{
	struct carry_group_options o = options(rank, ranks);
	struct carry_group *g = NULL;

	assert_int_equal(carry_group_create(&g, c, &o), 0);
	return g;
}

static void assert_sentence(const char *part)
{
	if (!strstr(carry_last_error(c), part))
		printf("\"%s\" is not in \"%s\"\n", part, carry_last_error(c));
	assert_non_null(strstr(carry_last_error(c), part));
}

static void test_create(void **state)
{
	struct carry_group_options o = options(2, 5);
	struct carry_group *g = NULL;
	struct fake_seen seen;

	(void)state;
	o.name = "pipeline 3";
	o.run = "run-7";
	o.root = "192.0.2.9";
	o.root_port = 4242;
	o.timeout_ns = 1500000001;
	assert_int_equal(carry_group_create(&g, c, &o), 0);
	assert_int_equal(carry_group_rank(g), 2);
	assert_int_equal(carry_group_ranks(g), 5);
	assert_int_equal(carry_group_nodes(g), 5);
	assert_int_equal(carry_group_node(g), 2);
	seen = fake_look(fake);
	assert_string_equal(seen.name, "pipeline 3");
	assert_string_equal(seen.run, "run-7");
	assert_string_equal(seen.root, "192.0.2.9");
	assert_int_equal(seen.root_port, 4242);
	assert_int_equal(seen.timeout_ms, 1501);
	assert_int_equal(carry_group_destroy(g), 0);
	assert_int_equal(fake_look(fake).groups, 0);
	assert_int_equal(fake_look(fake).posted_through, 0);
}

static void test_create_from_environment(void **state)
{
	struct carry_group *g = NULL;

	(void)state;
	setenv("RANK", "1", 1);
	setenv("WORLD_SIZE", "3", 1);
	setenv("MASTER_ADDR", "127.0.0.1", 1);
	assert_int_equal(carry_group_create(&g, c, NULL), 0);
	assert_int_equal(carry_group_rank(g), 1);
	assert_int_equal(carry_group_ranks(g), 3);
	assert_string_equal(fake_look(fake).name, "world");
	assert_int_equal(fake_look(fake).root_port, 7117);
	assert_int_equal(fake_look(fake).timeout_ms, 300000);
	assert_int_equal(carry_group_destroy(g), 0);
	unsetenv("RANK");
	unsetenv("WORLD_SIZE");
	unsetenv("MASTER_ADDR");
}

static void test_bad_options(void **state)
{
	char text[80];
	struct carry_group_options good = options(0, 2);
	struct carry_group_options o = good;
	struct carry_group *g = NULL;

	(void)state;
	memset(text, 'n', 64);
	text[64] = 0;
	o.name = text;
	assert_int_equal(carry_group_create(&g, c, &o), -ENAMETOOLONG);
	assert_sentence("group's name is longer than 63");
	o.name = "";
	assert_int_equal(carry_group_create(&g, c, &o), -EINVAL);
	assert_sentence("group's name is empty");
	o.name = "a\nb";
	assert_int_equal(carry_group_create(&g, c, &o), -EINVAL);
	assert_sentence("control character: \"a b\"");
	o = good;
	o.run = text;
	assert_int_equal(carry_group_create(&g, c, &o), -ENAMETOOLONG);
	o = good;
	o.schedule = "bus";
	assert_int_equal(carry_group_create(&g, c, &o), -EINVAL);
	assert_sentence("schedule \"bus\" does not exist");
	o = good;
	o.reserved1 = 1;
	assert_int_equal(carry_group_create(&g, c, &o), -EINVAL);
	o = good;
	o.root = "no host";
	assert_int_equal(carry_group_create(&g, c, &o), -EHOSTUNREACH);
	o = good;
	o.size = 1;
	assert_int_equal(carry_group_create(&g, c, &o), -EINVAL);
	assert_null(g);
	assert_int_equal(fake_look(fake).groups, 0);
}

static void test_refused(void **state)
{
	struct carry_group_options o = options(0, 2);
	struct carry_group *g = NULL;

	(void)state;
	fake_set(fake, (struct fake_control){.ask = FAKE_ASK_ERROR});
	assert_int_equal(carry_group_create(&g, c, &o), -EEXIST);
	assert_string_equal(carry_last_error(c), "rank 0 is given twice");
	assert_null(g);
	fake_set(fake, (struct fake_control){0});
	assert_int_equal(carry_group_create(&g, c, &o), 0);
	fake_set(fake, (struct fake_control){.ask = FAKE_ASK_ERROR});
	assert_int_equal(carry_group_destroy(g), -EEXIST);
}

static void test_nonsense(void **state)
{
	static const struct {
		enum fake_ask ask;
		const char *sentence;
	} cases[] = {
		{FAKE_ASK_WRONG, "an answer of the wrong kind"},
		{FAKE_ASK_GARBLED, "is not a carryd"},
		{FAKE_ASK_LANES, "a group that cannot be (handle 0, 3 lanes of 2)"},
	};
	struct carry_group_options o = options(0, 2);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct carry_group *g = NULL;

		fake_set(fake, (struct fake_control){.ask = cases[i].ask});
		assert_int_equal(carry_group_create(&g, c, &o), -EPROTO);
		assert_sentence(cases[i].sentence);
		assert_null(g);
		/* The handle is of no more use. */
		assert_int_equal(carry_group_create(&g, c, &o), -EPROTO);
		assert_sentence(cases[i].sentence);
		carry_close(c);
		assert_int_equal(carry_open(&c, fake_path(fake)), 0);
	}
}

static void test_64_groups(void **state)
{
	struct carry_group *groups[64];
	struct carry_group_options o = options(0, 1);
	struct carry_group *g = NULL;

	(void)state;
	for (int i = 0; i < 64; i++)
		groups[i] = join(0, 1);
	assert_int_equal(carry_group_create(&g, c, &o), -ENOSPC);
	assert_int_equal(carry_group_destroy(groups[40]), 0);
	groups[40] = join(0, 1);
	for (int i = 0; i < 64; i++)
		assert_int_equal(carry_group_destroy(groups[i]), 0);
	assert_int_equal(fake_look(fake).groups, 0);
	assert_int_equal(fake_look(fake).destroys, 65);
}

struct creation {
	struct carry_group *g;
	int r;
};

static void *create_thread(void *argument)
{
	struct creation *creation = argument;
	struct carry_group_options o = options(0, 4);

	o.timeout_ns = 20 * SECOND;
	creation->r = carry_group_create(&creation->g, c, &o);
	return NULL;
}

/* While one thread waits for its group, another works, and waits. */
static void test_create_while_others_work(void **state)
{
	struct carry_group *g = join(0, 2);
	struct creation creation = {.r = 1};
	int32_t x = 21;
	pthread_t thread;

	(void)state;
	fake_set(fake, (struct fake_control){.ask = FAKE_NO_ANSWER});
	assert_int_equal(pthread_create(&thread, NULL, create_thread, &creation), 0);
	for (int i = 0; i < 100; i++) {
		x = i;
		assert_int_equal(carry_allreduce(g, &x, &x, 1, CARRY_I32, CARRY_SUM, NULL, NULL),
				 0);
		assert_int_equal(x, 2 * i);
	}
	fake_set(fake, (struct fake_control){0});
	pthread_join(thread, NULL);
	assert_int_equal(creation.r, 0);
	assert_int_equal(carry_group_ranks(creation.g), 4);
	assert_int_equal(carry_group_destroy(creation.g), 0);
	assert_int_equal(carry_group_destroy(g), 0);
}

static void test_daemon_dies_in_create(void **state)
{
	struct creation creation = {.r = 1};
	pthread_t thread;

	(void)state;
	fake_set(fake, (struct fake_control){.ask = FAKE_NO_ANSWER});
	assert_int_equal(pthread_create(&thread, NULL, create_thread, &creation), 0);
	pass_ms(20);
	fake_set(fake, (struct fake_control){.die = true});
	pthread_join(thread, NULL);
	assert_int_equal(creation.r, -ECONNRESET);
	assert_int_equal(carry_group_create(&creation.g, c, NULL), -EINVAL); /* no rank */
}

static void test_destroy_waits(void **state)
{
	struct carry_group_options o = options(0, 2);
	struct carry_group *g = NULL;
	struct carry_work *w = NULL;
	int32_t x = 3;

	(void)state;
	o.timeout_ns = SECOND / 20;
	assert_int_equal(carry_group_create(&g, c, &o), 0);
	fake_set(fake, (struct fake_control){.hold = true});
	assert_int_equal(carry_allreduce(g, &x, &x, 1, CARRY_I32, CARRY_SUM, NULL, &w), 0);
	assert_int_equal(carry_group_destroy(g), -ETIMEDOUT);
	assert_sentence("1 ops in flight");
	assert_int_equal(fake_look(fake).groups, 1);
	/* Nothing was destroyed: the op still goes on. */
	assert_int_equal(carry_test(w), 0);
	assert_int_equal(carry_group_abort(g), 0);
	assert_int_equal(carry_group_destroy(g), 0);
	assert_int_equal(fake_look(fake).groups, 0);
	assert_int_equal(fake_look(fake).aborts, 1);
	assert_int_equal(fake_look(fake).posted_through, 1);
}

struct waiter {
	struct carry_work *work;
	_Atomic pid_t thread; /* 0 until it is about to wait */
};

static void *wait_thread(void *argument)
{
	struct waiter *waiter = argument;

	waiter->thread = gettid();
	return (void *)(intptr_t)carry_wait(waiter->work, -1, NULL);
}

/* The thread sleeps, and carry_wait() is the only place where it may. */
static void until_it_waits(struct waiter *waiter)
{
	char path[64], line[256], *state;
	bool sleeps = false;

	for (int i = 0; i < 10000 && !sleeps; i++) {
		FILE *f;

		pass_ms(1);
		if (!waiter->thread)
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)waiter->thread);
		f = fopen(path, "r");
		assert_non_null(f);
		assert_non_null(fgets(line, sizeof(line), f));
		fclose(f);
		state = strrchr(line, ')');
		sleeps = state && state[2] == 'S';
	}
	assert_true(sleeps);
}

static void *abort_thread(void *argument)
{
	fake_wait(fake, FAKE_HOLDING, 1);
	return (void *)(intptr_t)carry_group_abort(argument);
}

/* A watchdog ends what another thread waits for. */
static void test_abort(void **state)
{
	struct carry_group *g = join(0, 2);
	pthread_t thread;
	int32_t x = 3;
	void *r;

	(void)state;
	fake_set(fake, (struct fake_control){.hold = true});
	assert_int_equal(pthread_create(&thread, NULL, abort_thread, g), 0);
	assert_int_equal(carry_allreduce(g, &x, &x, 1, CARRY_I32, CARRY_SUM, NULL, NULL),
			 -ECANCELED);
	assert_string_equal(carry_last_error(c), "rank 0 aborted the group");
	assert_int_equal(x, 3);
	pthread_join(thread, &r);
	assert_null(r);
	assert_int_equal(carry_allreduce(g, &x, &x, 1, CARRY_I32, CARRY_SUM, NULL, NULL),
			 -ECANCELED);
	assert_sentence("group \"world\" was aborted");
	assert_int_equal(carry_group_abort(g), 0);
	assert_int_equal(fake_look(fake).aborts, 1);
	assert_int_equal(carry_group_destroy(g), 0);
}

/* Destroy while a thread waits for an op: the wait returns first, with the op's outcome. */
static void test_destroy_with_a_waiter(void **state)
{
	struct carry_group *other = join(0, 2);
	int32_t x[2] = {3, 4};

	(void)state;
	for (int i = 0; i < 30; i++) {
		struct carry_group *g = join(0, 2);
		struct waiter waiter = {NULL, 0};
		pthread_t thread;
		void *r;

		fake_set(fake, (struct fake_control){.hold = true});
		assert_int_equal(
			carry_allreduce(g, x, x, 2, CARRY_I32, CARRY_SUM, NULL, &waiter.work), 0);
		assert_int_equal(pthread_create(&thread, NULL, wait_thread, &waiter), 0);
		until_it_waits(&waiter);
		assert_int_equal(carry_group_abort(g), 0);
		assert_int_equal(carry_group_destroy(g), 0);
		pthread_join(thread, &r);
		assert_int_equal((intptr_t)r, -ECANCELED);
	}
	fake_set(fake, (struct fake_control){0});
	assert_int_equal(carry_allreduce(other, x, x, 2, CARRY_I32, CARRY_SUM, NULL, NULL), 0);
	assert_int_equal(x[1], 8);
	assert_int_equal(carry_group_destroy(other), 0);
}

/* Works that nobody waits for give everything back. */
static void test_destroy_abandoned(void **state)
{
	struct carry_arena before = {.size = sizeof(before)};
	struct carry_arena after = before;
	struct carry_group *g = join(0, 2);
	static int32_t x[50][1000];

	(void)state;
	assert_int_equal(carry_arena_info(c, &before), 0);
	for (int i = 0; i < 50; i++) {
		struct carry_work *w = NULL;

		assert_int_equal(
			carry_allreduce(g, x[i], x[i], 1000, CARRY_I32, CARRY_SUM, NULL, &w), 0);
		if (i % 2)
			carry_test(w);
	}
	assert_int_equal(carry_group_destroy(g), 0);
	assert_int_equal(carry_arena_info(c, &after), 0);
	assert_int_equal(after.free_bytes, before.free_bytes);
	assert_int_equal(after.largest_bytes, before.largest_bytes);
}

static void test_close_without_destroy(void **state)
{
	struct carry_group *g = join(0, 2);
	struct carry_work *w = NULL;
	int32_t x = 1;

	(void)state;
	fake_set(fake, (struct fake_control){.hold = true});
	for (int i = 0; i < 3; i++)
		assert_int_equal(carry_allreduce(g, &x, &x, 1, CARRY_I32, CARRY_SUM, NULL, &w), 0);
	fake_wait(fake, FAKE_HOLDING, 3);
	carry_close(c);
	c = NULL;
	fake_wait(fake, FAKE_CLIENTS, 0);
	assert_int_equal(fake_look(fake).groups, 0);
}

/* The answer that comes after the caller has gone: the group is left again. */
static void test_late_answer(void **state)
{
	struct carry_group_options o = options(0, 2);
	struct carry_group *g = NULL;
	struct timespec start, end;

	(void)state;
	fake_set(fake, (struct fake_control){.ask = FAKE_NO_ANSWER});
	o.timeout_ns = 1;
	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(carry_group_create(&g, c, &o), -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_sentence("did not answer: is it stopped?");
	assert_true(end.tv_sec - start.tv_sec >= 4); /* its five seconds to answer */
	fake_set(fake, (struct fake_control){0});
	assert_int_equal(fake_look(fake).groups, 1);
	g = join(0, 3);
	fake_wait(fake, FAKE_GROUPS, 1);
	assert_int_equal(fake_look(fake).destroys, 1);
	assert_int_equal(carry_group_destroy(g), 0);
}

static void test_daemon_dead_at_destroy(void **state)
{
	struct carry_group *g = join(0, 2);

	(void)state;
	fake_set(fake, (struct fake_control){.die = true});
	assert_int_equal(carry_group_destroy(g), -ECONNRESET);
	assert_sentence("has ended");
	assert_sentence(fake_path(fake));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_create),
		TEST(test_create_from_environment),
		TEST(test_bad_options),
		TEST(test_refused),
		TEST(test_nonsense),
		TEST(test_64_groups),
		TEST(test_create_while_others_work),
		TEST(test_daemon_dies_in_create),
		TEST(test_destroy_waits),
		TEST(test_abort),
		TEST(test_destroy_with_a_waiter),
		TEST(test_destroy_abandoned),
		TEST(test_close_without_destroy),
		TEST(test_late_answer),
		TEST(test_daemon_dead_at_destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
