/* loop.c - see loop.h. */
#include "daemon/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/clock.h"

enum { LOOP_BATCH = 64, LOOP_LIMIT_MS = 3600 * 1000 };

struct loop {
	int epoll_fd;
	struct epoll_event events[LOOP_BATCH];
};

int loop_open(struct loop **out, struct err *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return err_set(err, -ENOMEM, "no memory for the event loop");
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		int code = -errno;

		free(loop);
		return err_set(err, code, "create an epoll descriptor: %s", strerror(-code));
	}
	*out = loop;
	return 0;
}

void loop_close(struct loop *loop)
{
	if (!loop)
		return;
	(void)close(loop->epoll_fd);
	free(loop);
}

static int loop_control(struct loop *loop, int operation, int fd, uint32_t events,
			enum loop_tag tag, uint32_t index)
{
	struct epoll_event event = {.events = events, .data.u64 = (uint64_t)tag << 32 | index};

	return epoll_ctl(loop->epoll_fd, operation, fd, &event) ? -errno : 0;
}

int loop_add(struct loop *loop, int fd, uint32_t events, enum loop_tag tag, uint32_t index)
{
	return loop_control(loop, EPOLL_CTL_ADD, fd, events, tag, index);
}

int loop_change(struct loop *loop, int fd, uint32_t events, enum loop_tag tag, uint32_t index)
{
	return loop_control(loop, EPOLL_CTL_MOD, fd, events, tag, index);
}

void loop_remove(struct loop *loop, int fd)
{
	if (fd >= 0)
		(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

size_t loop_wait(struct loop *loop, struct loop_event *events, size_t max, uint64_t timeout_ns)
{
	int limit_ms = -1, count;

	assert(max);
	if (max > LOOP_BATCH)
		max = LOOP_BATCH;
	/* Rounded up: a deadline is never found not to have come yet, again and again. */
	if (timeout_ns < LOOP_LIMIT_MS * CLOCK_NS_PER_MS)
		limit_ms = (int)((timeout_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS);
	else if (timeout_ns != UINT64_MAX)
		limit_ms = LOOP_LIMIT_MS;
	count = epoll_wait(loop->epoll_fd, loop->events, (int)max, limit_ms);
	if (count < 0)
		return 0; /* a signal */
	for (int i = 0; i < count; i++) {
		events[i].tag = (enum loop_tag)(loop->events[i].data.u64 >> 32);
		events[i].index = (uint32_t)loop->events[i].data.u64;
		events[i].events = loop->events[i].events;
	}
	return (size_t)count;
}
