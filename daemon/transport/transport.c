/*
 * transport.c - the table of transports.
 */
#include "daemon/transport/transport.h"

#include <string.h>
#include <sys/epoll.h>

#include "daemon/transport/verbs_there.h"

/* If more were rung, lane_fd is readable still and the next wait() returns at once. */
enum { WAKES_AT_ONCE = 64 };

#define X(name) &transport_##name,
const struct transport_ops *const transport_table[] = {TRANSPORTS(X) NULL};
#undef X

const char *transport_auto(void)
{
	return verbs_device_there() ? "verbs" : "uring";
}

const struct transport_ops *transport_by_name(const char *name)
{
	for (const struct transport_ops *const *it = transport_table; *it; it++)
		if (!strcmp((*it)->name, name))
			return *it;
	return NULL;
}

bool transport_take_wake(int lane_fd)
{
	struct epoll_event rung[WAKES_AT_ONCE];

	return epoll_wait(lane_fd, rung, WAKES_AT_ONCE, 0) > 0;
}
