/*
 * test_engine_thread.c - a lane on its thread (pthread_create() in engine_thread.c): start,
 * commands and facts, sleep, stop; and what cannot start.
 * Wrapped: __wrap_malloc __wrap_calloc __wrap_realloc __wrap_eventfd
 *          __wrap_uring_feature_describe
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "daemon/engine_thread.h"
#include "tests/unit/fail_alloc.h"

enum { LIMIT_MS = 10000 };

int __real_eventfd(unsigned int value, int flags);
int __wrap_eventfd(unsigned int value, int flags);

static int eventfd_error;

int __wrap_eventfd(unsigned int value, int flags)
{
	if (!eventfd_error)
		return __real_eventfd(value, flags);
	errno = eventfd_error;
	return -1;
}

struct transport;
const char *__wrap_uring_feature_describe(struct transport *t);

static _Atomic uint32_t described;  /* how often the transport was asked */
static _Atomic uint32_t asked_here; /* and how often by the main thread  */
static pthread_t main_thread;

/* A text that changes each time, all of it. */
const char *__wrap_uring_feature_describe(struct transport *t)
{
	static _Thread_local char text[200];

	(void)t;
	asked_here += pthread_equal(pthread_self(), main_thread) != 0;
	memset(text, 'a' + (int)(described++ % 26), sizeof(text) - 1);
	return text;
}

static struct engine_thread_options lane(int facts_fd)
{
	return (struct engine_thread_options){
		.engine = {.lane = 3,
			   .transport = "uring",
			   .transport_options = {.lane_fd = -1, .queue_frames = 8},
			   .main_eventfd = facts_fd,
			   .paths = 1},
		.numa_node = -1,
		.cpu = -1,
	};
}

/* io_uring may be forbidden here; then there is nothing to test, and the lane has said why. */
static struct engine_thread *start(const struct engine_thread_options *options)
{
	struct engine_thread *t = NULL;
	struct err err;

	if (engine_thread_start(&t, options, &err)) {
		print_message("%s\n", err.text);
		assert_true(err.code == -EPERM || err.code == -ENOSYS);
		skip();
	}
	return t;
}

static bool fact_within(struct engine_thread *t, int facts_fd, struct engine_fact *fact)
{
	struct pollfd readable = {.fd = facts_fd, .events = POLLIN};
	uint64_t count;

	while (!mailbox_get(engine_facts(engine_thread_engine(t)), fact)) {
		if (poll(&readable, 1, LIMIT_MS) != 1)
			return false;
		(void)!read(facts_fd, &count, sizeof(count));
	}
	return true;
}

/* The lane sleeps, hears the bell, answers, sleeps again. */
static void commands_and_facts(void **state)
{
	int facts_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct engine_thread_options options = lane(facts_fd);
	struct engine_thread *t = start(&options);
	struct engine_command command = {.kind = ENGINE_PEER_REMOVE};
	struct engine_fact fact;

	(void)state;
	for (uint16_t peer = 0; peer < 100; peer++) {
		command.peer = peer;
		if (peer % 10 == 0)
			(void)poll(NULL, 0, 2);
		assert_true(engine_thread_command(t, &command));
		assert_true(fact_within(t, facts_fd, &fact));
		assert_int_equal(fact.kind, ENGINE_PEER_REMOVED);
		assert_int_equal(fact.peer, peer);
	}
	assert_true(engine_stats(engine_thread_engine(t))->slept > 0);
	engine_thread_stop(t);
	close(facts_fd);
}

static void a_lane_that_sleeps_is_alive(void **state)
{
	int facts_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct engine_thread_options options = lane(facts_fd);
	struct engine_thread *t;
	uint64_t rounds;

	(void)state;
	options.spin_ns = 20 * CLOCK_NS_PER_US;
	t = start(&options);
	(void)poll(NULL, 0, 50);
	rounds = engine_stats(engine_thread_engine(t))->rounds;
	(void)poll(NULL, 0, 50);
	/* Asleep nearly all the time: spinning, it would have made thousands. */
	assert_true(engine_stats(engine_thread_engine(t))->rounds - rounds < 1000);
	assert_true(engine_thread_alive(t));
	assert_true(engine_thread_alive(t));
	engine_thread_stop(t);
	close(facts_fd);
}

/* What the lane finds out later is shown, whole; only the lane asks its transport. */
static void what_a_lane_says_of_itself(void **state)
{
	int facts_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct engine_thread_options options = lane(facts_fd);
	struct engine_thread *t;
	const struct engine *engine;
	char text[ENGINE_TEXT_BYTES] = "", first;
	uint64_t deadline_ns = clock_now_ns() + LIMIT_MS * CLOCK_NS_PER_MS;
	uint32_t changes = 0;

	(void)state;
	main_thread = pthread_self();
	described = asked_here = 0;
	t = start(&options);
	engine = engine_thread_engine(t);
	assert_true(engine_describe(engine, text));
	assert_int_equal(text[0], 'a');
	for (first = 'a'; changes < 2 && clock_now_ns() < deadline_ns; first = text[0]) {
		(void)engine_describe(engine, text);
		assert_int_equal(strlen(text), 199);
		for (size_t i = 0; i < 199; i++)
			if (text[i] != text[0])
				fail_msg("torn: %s", text);
		changes += text[0] != first;
	}
	assert_int_equal(changes, 2);
	assert_in_range(described, 3, 2 + LIMIT_MS / 1000);
	assert_int_equal(asked_here, 0);
	engine_thread_stop(t);
	close(facts_fd);
}

/* More facts than the mailbox holds, and nobody reads them: stop() ends all the same. */
static void stop_with_unread_facts(void **state)
{
	int facts_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct engine_thread_options options = lane(facts_fd);
	struct engine_thread *t = start(&options);
	struct engine_command command = {.kind = ENGINE_PEER_REMOVE};
	uint64_t deadline_ns = clock_now_ns() + LIMIT_MS * CLOCK_NS_PER_MS;
	int sent = 0;

	(void)state;
	while (sent < ENGINE_MAIL + 200 && clock_now_ns() < deadline_ns)
		if (engine_thread_command(t, &command))
			sent++;
		else
			(void)poll(NULL, 0, 1);
	assert_int_equal(sent, ENGINE_MAIL + 200);
	engine_thread_stop(t);
	close(facts_fd);
}

static void stop_at_once(void **state)
{
	int facts_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct engine_thread_options options = lane(facts_fd);

	(void)state;
	options.cpu = 0;
	for (int i = 0; i < 20; i++)
		engine_thread_stop(start(&options));
	engine_thread_stop(NULL);
	assert_int_equal(options.cpu, 0);
	close(facts_fd);
}

static void what_cannot_start(void **state)
{
	struct engine_thread_options options = lane(-1);
	struct engine_thread *t = NULL;
	struct err err;

	(void)state;
	options.engine.transport = "pigeon";
	assert_int_equal(engine_thread_start(&t, &options, &err), -EINVAL);
	assert_string_equal(err.text, "there is no transport \"pigeon\"");
	options = lane(-1);
	options.cpu = 4095;
	assert_int_equal(engine_thread_start(&t, &options, &err), -EINVAL);
	assert_string_equal(err.text, "bind lane 3 to processor 4095: Invalid argument");
	options = lane(-1);
	eventfd_error = EMFILE;
	assert_int_equal(engine_thread_start(&t, &options, &err), -EMFILE);
	assert_string_equal(err.text, "make the doorbell of lane 3: Too many open files");
	eventfd_error = 0;
	fail_alloc_at(1);
	assert_int_equal(engine_thread_start(&t, &options, &err), -ENOMEM);
	assert_string_equal(err.text, "no memory for lane 3");
	assert_null(t);
}

/* Each allocation of the thread object, the engine and the transport fails once. */
static void no_memory(void **state)
{
	int facts_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct engine_thread_options options = lane(facts_fd);
	struct engine_thread *t = start(&options);
	struct err err;
	long n = 1;

	(void)state;
	engine_thread_stop(t);
	t = NULL;
	for (fail_alloc_at(n); engine_thread_start(&t, &options, &err); fail_alloc_at(++n)) {
		assert_int_equal(err.code, -ENOMEM);
		assert_null(t);
		assert_true(n < 100);
	}
	fail_alloc_at(0);
	assert_true(n > 5);
	engine_thread_stop(t);
	close(facts_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_and_facts),
		cmocka_unit_test(a_lane_that_sleeps_is_alive),
		cmocka_unit_test(what_a_lane_says_of_itself),
		cmocka_unit_test(stop_with_unread_facts),
		cmocka_unit_test(stop_at_once),
		cmocka_unit_test(what_cannot_start),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
