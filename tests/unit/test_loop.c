/*
 * test_loop.c - the main thread's epoll: tags and indices come back, levels, limits.
 * Wrapped: __wrap_malloc __wrap_calloc __wrap_realloc __wrap_epoll_create1
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "daemon/loop.h"
#include "tests/unit/fail_alloc.h"

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);

static int epoll_create_error;

int __wrap_epoll_create1(int flags)
{
	if (!epoll_create_error)
		return __real_epoll_create1(flags);
	errno = epoll_create_error;
	return -1;
}

static struct loop *open_loop(void)
{
	struct loop *loop;
	struct err err;

	assert_int_equal(loop_open(&loop, &err), 0);
	return loop;
}

static void tags_and_indices(void **state)
{
	struct loop *loop = open_loop();
	struct loop_event events[4];
	uint64_t one = 1;
	int a = eventfd(0, EFD_NONBLOCK), b = eventfd(0, EFD_NONBLOCK);

	(void)state;
	assert_int_equal(loop_add(loop, a, EPOLLIN, LOOP_PEERS, UINT32_MAX), 0);
	assert_int_equal(loop_add(loop, b, EPOLLIN, LOOP_CLIENT, 7), 0);
	assert_int_equal(loop_add(loop, b, EPOLLIN, LOOP_CLIENT, 8), -EEXIST);
	assert_int_equal(loop_wait(loop, events, 4, 0), 0);
	assert_int_equal(write(a, &one, 8), 8);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(loop_wait(loop, events, 4, UINT64_MAX), 1);
		assert_int_equal(events[0].tag, LOOP_PEERS);
		assert_true(events[0].index == UINT32_MAX);
		assert_int_equal(events[0].events, EPOLLIN);
	}
	assert_int_equal(write(b, &one, 8), 8);
	assert_int_equal(loop_wait(loop, events, 4, UINT64_MAX), 2);
	assert_int_equal(loop_wait(loop, events, 1, UINT64_MAX), 1);
	loop_remove(loop, a);
	loop_remove(loop, a);
	loop_remove(loop, -1);
	assert_int_equal(loop_wait(loop, events, 4, 0), 1);
	assert_int_equal(events[0].tag, LOOP_CLIENT);
	assert_int_equal(events[0].index, 7);
	assert_int_equal(loop_change(loop, b, EPOLLOUT, LOOP_FACTS, 9), 0);
	assert_int_equal(loop_wait(loop, events, 4, 0), 1);
	assert_int_equal(events[0].tag, LOOP_FACTS);
	assert_int_equal(events[0].index, 9);
	assert_int_equal(events[0].events, EPOLLOUT);
	close(a);
	close(b);
	loop_close(loop);
}

static void end_of_a_connection(void **state)
{
	struct loop *loop = open_loop();
	struct loop_event event;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(loop_add(loop, pair[0], EPOLLIN, LOOP_CLIENT, 1), 0);
	close(pair[1]);
	assert_int_equal(loop_wait(loop, &event, 1, UINT64_MAX), 1);
	assert_int_equal(event.events, EPOLLIN | EPOLLHUP);
	close(pair[0]);
	loop_close(loop);
}

/* A wait never ends before its time: 100 ns are a millisecond here. */
static void time_passes(void **state)
{
	struct loop *loop = open_loop();
	struct loop_event event;
	uint64_t before_ns = clock_now_ns();

	(void)state;
	assert_int_equal(loop_wait(loop, &event, 1, 20 * CLOCK_NS_PER_MS + 100), 0);
	assert_true(clock_now_ns() - before_ns >= 20 * CLOCK_NS_PER_MS + 100);
	loop_close(loop);
}

static void failures(void **state)
{
	struct loop *loop = NULL;
	struct err err;

	(void)state;
	fail_alloc_at(1);
	assert_int_equal(loop_open(&loop, &err), -ENOMEM);
	epoll_create_error = EMFILE;
	assert_int_equal(loop_open(&loop, &err), -EMFILE);
	assert_string_equal(err.text, "create an epoll descriptor: Too many open files");
	epoll_create_error = 0;
	assert_null(loop);
	loop_close(NULL);
	loop = open_loop();
	assert_int_equal(loop_add(loop, 99, EPOLLIN, LOOP_CLIENT, 1), -EBADF);
	assert_int_equal(loop_change(loop, 99, EPOLLIN, LOOP_CLIENT, 1), -EBADF);
	loop_close(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tags_and_indices),
		cmocka_unit_test(end_of_a_connection),
		cmocka_unit_test(time_passes),
		cmocka_unit_test(failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
