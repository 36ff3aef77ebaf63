/*
 * test_client_wait.c - waiting: time limits, carry_test(), the event descriptor, many threads on
 * one handle, signals.  No wake-up may be lost: a lost one is a test that does not end.
 */
#include "libclient/carry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "libclient/internal.h"
#include "tests/unit/fake_daemon.h"

#define LANES 4
#define RANKS 2
#define MILLISECOND INT64_C(1000000)

static struct fake *fake;
static _Atomic uint32_t yields;

int __real_sched_yield(void);
int __wrap_sched_yield(void);
int __wrap_sched_yield(void)
{
	atomic_fetch_add(&yields, 1);
	return __real_sched_yield();
}
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
	(void)state;
	fake = fake_start(LANES);
	c = NULL;
	if (carry_open(&c, fake_path(fake)))
		return -1;
	g = join();
	return 0;
}

static int setup_spinning(void **state)
{
	int r;

	setenv("CARRY_SPIN_US", "50", 1);
	r = setup(state);
	unsetenv("CARRY_SPIN_US");
	return r;
}

static int teardown(void **state)
{
	(void)state;
	carry_close(c);
	fake_stop(fake);
	return 0;
}

static void hold(bool held)
{
	fake_set(fake, (struct fake_control){.hold = held});
}

static struct carry_work *post(struct carry_group *group, int32_t *x)
{
	struct carry_work *w = NULL;

	assert_int_equal(carry_allreduce(group, x, x, 1, CARRY_I32, CARRY_SUM, NULL, &w), 0);
	return w;
}

static int64_t time_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool readable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1 && (p.revents & POLLIN);
}

static void test_timeouts(void **state)
{
	int32_t x = 4;
	int64_t start;
	struct carry_work *w;

	(void)state;
	hold(true);
	w = post(g, &x);
	start = time_ns();
	assert_int_equal(carry_wait(w, 0, NULL), -ETIMEDOUT);
	assert_int_equal(carry_wait(w, 30 * MILLISECOND, NULL), -ETIMEDOUT);
	assert_true(time_ns() - start >= 30 * MILLISECOND);
	assert_int_equal(carry_test(w), 0);
	hold(false);
	assert_int_equal(carry_wait(w, INT64_MAX, NULL), 0);
	assert_int_equal(x, 8);
}

static void test_test(void **state)
{
	int32_t x = 4;
	struct carry_work *w;

	(void)state;
	w = post(g, &x);
	while (carry_test(w) == 0)
		;
	assert_int_equal(x, 8); /* the result is there before carry_wait() */
	assert_int_equal(carry_test(w), 1);
	assert_int_equal(carry_wait(w, 0, NULL), 0);
}

/* A program that only ever tests learns of the daemon's end all the same. */
static void test_test_daemon_dies(void **state)
{
	int32_t x = 4;
	struct carry_work *w;

	(void)state;
	hold(true);
	w = post(g, &x);
	assert_int_equal(carry_test(w), 0);
	fake_set(fake, (struct fake_control){.die = true});
	while (carry_test(w) == 0)
		;
	assert_int_equal(carry_wait(w, 0, NULL), -ECONNRESET);
}

static void test_event_fd(void **state)
{
	int32_t x = 1, y = 1;
	struct carry_work *v, *w;
	int fd;

	(void)state;
	fd = carry_event_fd(c);
	assert_true(fd >= 0);
	assert_int_equal(carry_event_fd(c), fd);
	assert_false(readable(fd, 0));
	hold(true);
	v = post(g, &x);
	w = post(g, &y);
	assert_int_equal(carry_test(v), 0);
	assert_false(readable(fd, 20));
	hold(false);
	assert_true(readable(fd, 10000));
	while (carry_test(v) == 0)
		assert_true(readable(fd, 10000));
	/* Readable as long as one is complete and not waited for. */
	assert_true(readable(fd, 0));
	assert_true(readable(fd, 0));
	assert_int_equal(carry_wait(v, 0, NULL), 0);
	while (carry_test(w) == 0)
		assert_true(readable(fd, 10000));
	assert_true(readable(fd, 0));
	assert_int_equal(carry_wait(w, 0, NULL), 0);
	assert_false(readable(fd, 0));
	fake_set(fake, (struct fake_control){.die = true});
	assert_true(readable(fd, 10000));
	w = post(g, &x); /* nobody has looked yet; whoever does learns it */
	assert_int_equal(carry_test(w), 1);
	assert_int_equal(carry_wait(w, 0, NULL), -ECONNRESET);
	assert_true(readable(fd, 0));
}

/* Asked for late: what was complete before counts; also after carry_group_destroy() of another. */
static void test_event_fd_late(void **state)
{
	struct carry_group *other = join();
	int32_t x = 1, y = 1;
	struct carry_work *w = post(g, &x);
	int fd;

	(void)state;
	while (carry_test(w) == 0)
		;
	fd = carry_event_fd(c);
	assert_true(readable(fd, 0));
	assert_int_equal(carry_wait(w, 0, NULL), 0);
	assert_false(readable(fd, 0));

	w = post(other, &y);
	while (carry_test(w) == 0)
		assert_true(readable(fd, 10000));
	assert_true(readable(fd, 0));
	assert_int_equal(carry_group_destroy(other), 0);
	assert_false(readable(fd, 0));
	/* Blocking ops leave nothing behind. */
	assert_int_equal(carry_allreduce(g, &x, &x, 1, CARRY_I32, CARRY_SUM, NULL, NULL), 0);
	for (int i = 0; readable(fd, 0) && i < 1000; i++) {
		w = post(g, &y);
		assert_int_equal(carry_wait(w, -1, NULL), 0);
	}
	assert_false(readable(fd, 0));
}

/* 2,000 times around the loop of carry.h, in an epoll of the caller's. */
static void test_event_loop(void **state)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = {.events = EPOLLIN};
	int32_t x = 0;

	(void)state;
	assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, carry_event_fd(c), &e), 0);
	for (int i = 0; i < 2000; i++) {
		struct carry_work *w;

		x = i;
		w = post(g, &x);
		while (carry_test(w) == 0)
			assert_int_equal(epoll_wait(epoll, &e, 1, 10000), 1);
		assert_int_equal(carry_wait(w, 0, NULL), 0);
		assert_int_equal(x, RANKS * i);
	}
	close(epoll);
}

struct worker {
	struct carry_group *group;
	int kind;
	int rounds;
};

/* Kind 0: blocking; 1: post several, wait backwards; 2: event descriptor; 3: short waits. */
static void *work(void *argument)
{
	const struct worker *worker = argument;
	int fd = worker->kind == 2 ? carry_event_fd(c) : -1;
	struct carry_work *works[5];
	int32_t x[5];

	for (int round = 0; round < worker->rounds; round++) {
		for (int i = 0; i < 5; i++)
			x[i] = 10 * round + i;
		if (worker->kind == 0) {
			for (int i = 0; i < 5; i++)
				assert_int_equal(carry_allreduce(worker->group, &x[i], &x[i], 1,
								 CARRY_I32, CARRY_SUM, NULL, NULL),
						 0);
		} else {
			for (int i = 0; i < 5; i++)
				works[i] = post(worker->group, &x[i]);
			for (int i = 5; i-- > 0;) {
				while (worker->kind == 2 && carry_test(works[i]) == 0)
					assert_true(readable(fd, 10000));
				while (worker->kind == 3 &&
				       carry_wait(works[i], 1000, NULL) == -ETIMEDOUT)
					;
				if (worker->kind != 3)
					assert_int_equal(carry_wait(works[i], -1, NULL), 0);
			}
		}
		for (int i = 0; i < 5; i++)
			assert_int_equal(x[i], RANKS * (10 * round + i));
	}
	return NULL;
}

/* All kinds of waiting at once on one handle, each thread with a group of its own. */
static void run_workers(int kinds[4])
{
	struct worker workers[4];
	pthread_t threads[4];

	for (int i = 0; i < 4; i++) {
		workers[i] = (struct worker){.group = join(), .kind = kinds[i], .rounds = 150};
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 4; i++)
		assert_int_equal(carry_group_destroy(workers[i].group), 0);
}

static void test_threads(void **state)
{
	(void)state;
	run_workers((int[]){0, 1, 3, 0});
}

static void test_threads_and_pollers(void **state)
{
	(void)state;
	run_workers((int[]){0, 2, 2, 3});
}

struct waiter {
	struct carry_work *w;
	int64_t timeout_ns;
	atomic_int r; /* 1: still waiting */
};

static void *wait_for(void *argument)
{
	struct waiter *waiter = argument;

	waiter->r = carry_wait(waiter->w, waiter->timeout_ns, NULL);
	return NULL;
}

/* The thread that sleeps in poll() leaves early: another takes over. */
static void test_hand_over(void **state)
{
	struct waiter waiters[5];
	pthread_t threads[5];
	int32_t x[5] = {1, 2, 3, 4, 5};

	(void)state;
	hold(true);
	for (int i = 0; i < 5; i++) {
		waiters[i].w = post(g, &x[i]);
		waiters[i].timeout_ns = i < 2 ? (i + 1) * 20 * MILLISECOND : -1;
		waiters[i].r = 1;
		assert_int_equal(pthread_create(&threads[i], NULL, wait_for, &waiters[i]), 0);
		pass_ms(2); /* the first is the one that polls */
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(waiters[i].r, -ETIMEDOUT);
	}
	for (int i = 2; i < 5; i++)
		assert_int_equal(waiters[i].r, 1);
	hold(false);
	for (int i = 2; i < 5; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(waiters[i].r, 0);
		assert_int_equal(x[i], RANKS * (i + 1));
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(carry_wait(waiters[i].w, -1, NULL), 0);
}

static void test_daemon_dies_all_wake(void **state)
{
	struct waiter waiters[4];
	pthread_t threads[4];
	int32_t x[4] = {0};

	(void)state;
	hold(true);
	for (int i = 0; i < 4; i++) {
		waiters[i].w = post(g, &x[i]);
		waiters[i].timeout_ns = -1;
		assert_int_equal(pthread_create(&threads[i], NULL, wait_for, &waiters[i]), 0);
	}
	pass_ms(10);
	fake_set(fake, (struct fake_control){.die = true});
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(waiters[i].r, -ECONNRESET);
	}
}

static atomic_int signals;

static void on_signal(int number)
{
	(void)number;
	signals++;
}

/* Signals end no wait, and shorten none. */
static void test_signals(void **state)
{
	struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */
	struct waiter waiter = {.timeout_ns = 60 * MILLISECOND};
	int64_t start = time_ns();
	int32_t x = 1;
	pthread_t thread;

	(void)state;
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	hold(true);
	waiter.w = post(g, &x);
	waiter.r = 1;
	assert_int_equal(pthread_create(&thread, NULL, wait_for, &waiter), 0);
	while (waiter.r == 1) {
		pthread_kill(thread, SIGUSR1);
		pass_ms(1);
	}
	pthread_join(thread, NULL);
	assert_int_equal(waiter.r, -ETIMEDOUT);
	assert_true(time_ns() - start >= 60 * MILLISECOND);
	assert_true(signals > 5);
	hold(false);
	assert_int_equal(carry_wait(waiter.w, -1, NULL), 0);
}

/* A daemon that dies under a writer must not kill it: SIGPIPE stays at its default here. */
static void test_no_sigpipe(void **state)
{
	struct carry_group_options o = {.size = sizeof(o), .root = "127.0.0.1", .ranks = 2};
	struct carry_group *joined = NULL;

	(void)state;
	fake_set(fake, (struct fake_control){.die = true});
	assert_int_equal(carry_group_create(&joined, c, &o), -ECONNRESET);
	assert_non_null(strstr(carry_last_error(c), "has ended"));
	assert_int_equal(carry_group_create(&joined, c, &o), -ECONNRESET);
}

static void test_spin_next(void **state)
{
	(void)state;
	assert_int_equal(watch_spin_next(50000, 50000, 100000), 25000);
	assert_int_equal(watch_spin_next(25000, 50000, 3000000), 12500);
	assert_int_equal(watch_spin_next(1, 50000, 3000000), 0);
	assert_int_equal(watch_spin_next(0, 50000, 99999), 50000);
	assert_int_equal(watch_spin_next(0, 0, 5), 0);
}

/* Where ops take long nobody spins any more. */
static void test_spins_less(void **state)
{
	struct carry_work *w;
	uint32_t before;
	int32_t x = 4;

	(void)state;
	hold(true);
	w = post(g, &x);
	before = atomic_load(&yields);
	assert_int_equal(carry_wait(w, MILLISECOND, NULL), -ETIMEDOUT);
	assert_true(atomic_load(&yields) > before);
	for (int i = 0; i < 17; i++) /* 2^16 > 50,000 ns */
		assert_int_equal(carry_wait(w, MILLISECOND, NULL), -ETIMEDOUT);
	before = atomic_load(&yields);
	assert_int_equal(carry_wait(w, MILLISECOND, NULL), -ETIMEDOUT);
	for (int i = 0; i < 20; i++) /* nor because it has no time to wait */
		assert_int_equal(carry_wait(w, 20000, NULL), -ETIMEDOUT);
	assert_int_equal(atomic_load(&yields), before);
	assert_int_not_equal(c->waiting_since_ns, 0);
	hold(false);
	assert_int_equal(carry_wait(w, -1, NULL), 0);
	assert_int_equal(c->waiting_since_ns, 0); /* the next op's wait is its own */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define SPIN(name) cmocka_unit_test_setup_teardown(name, setup_spinning, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_timeouts),
		cmocka_unit_test(test_spin_next),
		SPIN(test_spins_less),
		TEST(test_test),
		TEST(test_test_daemon_dies),
		TEST(test_event_fd),
		TEST(test_event_fd_late),
		TEST(test_event_loop),
		TEST(test_threads),
		SPIN(test_threads),
		TEST(test_threads_and_pollers),
		SPIN(test_threads_and_pollers),
		TEST(test_hand_over),
		TEST(test_daemon_dies_all_wake),
		TEST(test_signals),
		TEST(test_no_sigpipe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
