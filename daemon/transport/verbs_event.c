/*
 * verbs_event.c - what the device says of itself, and what that does to paths.
 */
#include "daemon/transport/verbs.h"

#include <errno.h>

#include "daemon/clock.h"

/* A port that came up again: so long until paths over TCP are made anew, which breaks them. */
#define AGAIN_NS CLOCK_NS_PER_S

static void all_end(struct transport *t, int error, const char *why)
{
	for (uint32_t i = 0; i < t->active_count; i++)
		verbs_end(t, t->paths[t->active[i]], error, why);
}

void verbs_event_take(struct transport *t)
{
	struct verbs_device *d = &t->device;
	struct ibv_async_event event;

	while (!ibv_get_async_event(d->context, &event)) {
		const char *why = verbs_event_text(event.event_type);
		bool ours =
			event.event_type != IBV_EVENT_PORT_ERR || event.element.port_num == d->port;
		bool back = event.event_type == IBV_EVENT_PORT_ACTIVE &&
			    event.element.port_num == d->port;

		ibv_ack_async_event(&event);
		if (event.event_type == IBV_EVENT_DEVICE_FATAL)
			d->fatal = true;
		if ((why && ours) || back)
			verbs_device_port(d);
		if (why && ours && !verbs_device_usable(d))
			all_end(t, -ENETDOWN, why);
		if (back && t->tcp_paths)
			t->again_at_ns = clock_now_ns() + AGAIN_NS;
	}
}
