/*
 * verbs_event.c - what the device says of itself, and what that does to paths.
 *
 * A port that goes down ends its paths; the queues of the lane when they fail, and the device when
 * it does, end all.  Once these are gone the device is closed and opened again, at once or when it
 * is there again: nothing has to be restarted.
 */
#include "daemon/transport/verbs.h"

#include <errno.h>
#include <sys/epoll.h>

#include "daemon/clock.h"

/* A port that came up again: so long until paths over TCP are made anew, which breaks them. */
#define AGAIN_NS CLOCK_NS_PER_S
/* Between two attempts to open a device that failed. */
#define RENEW_NS CLOCK_NS_PER_S

static void all_end(struct transport *t, int error, const char *why)
{
	for (uint32_t i = 0; i < t->active_count; i++)
		verbs_end(t, t->paths[t->active[i]], error, why);
}

/* Of a queue pair: it is of no use any more. */
static void one_ends(struct transport *t, const struct ibv_qp *qp, const char *why)
{
	for (uint32_t i = 0; i < t->active_count; i++)
		if (t->paths[t->active[i]]->qp == qp)
			verbs_end(t, t->paths[t->active[i]], -EIO, why);
}

/* Nothing of the device is of use any more.  Its descriptors may be readable for ever now. */
static void device_ends(struct transport *t, int error, const char *why)
{
	struct verbs_device *d = &t->device;

	(void)epoll_ctl(t->events, EPOLL_CTL_DEL, d->channel->fd, NULL);
	(void)epoll_ctl(t->events, EPOLL_CTL_DEL, d->context->async_fd, NULL);
	d->renew_at_ns = 0;
	all_end(t, error, why);
}

static void port_event(struct transport *t, enum ibv_event_type type, const char *why)
{
	verbs_device_port(&t->device);
	if (why && !verbs_device_usable(&t->device))
		all_end(t, -ENETDOWN, why);
	if (type == IBV_EVENT_PORT_ACTIVE && t->tcp_paths)
		t->again_at_ns = clock_now_ns() + AGAIN_NS;
}

static void happened(struct transport *t, const struct ibv_async_event *event)
{
	const char *why = verbs_event_text(event->event_type);
	struct verbs_device *d = &t->device;

	switch ((int)event->event_type) { /* others change nothing for us */
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR: one_ends(t, event->element.qp, why); return;
	case IBV_EVENT_CQ_ERR:
	case IBV_EVENT_SRQ_ERR:
		d->broken = true;
		device_ends(t, -EIO, why);
		return;
	case IBV_EVENT_DEVICE_FATAL:
		d->fatal = true;
		device_ends(t, -ENETDOWN, why);
		return;
	case IBV_EVENT_PORT_ACTIVE:
	case IBV_EVENT_PORT_ERR:
		if (event->element.port_num == d->port)
			port_event(t, event->event_type, why);
		return;
	case IBV_EVENT_GID_CHANGE:
	case IBV_EVENT_LID_CHANGE:
	case IBV_EVENT_PKEY_CHANGE: port_event(t, event->event_type, why); return;
	}
}

void verbs_event_take(struct transport *t)
{
	struct ibv_async_event event;

	while (!t->device.fatal && !ibv_get_async_event(t->device.context, &event)) {
		happened(t, &event);
		ibv_ack_async_event(&event);
	}
}

/* --- what is due ---------------------------------------------------------------------------- */

static void renew(struct transport *t, uint64_t now_ns)
{
	t->device.renew_at_ns = now_ns + RENEW_NS;
	if (!verbs_device_renew(&t->device))
		return;
	(void)verbs_watch_device(t);
	if (t->tcp_paths)
		t->again_at_ns = now_ns + AGAIN_NS;
}

static void make_anew(struct transport *t)
{
	for (uint32_t i = 0; i < VERBS_SLOTS; i++)
		if (t->over_tcp[i])
			transport_uring.detach(t->tcp, (uint16_t)(i / TRANSPORT_PATHS_MAX),
					       (uint16_t)(i % TRANSPORT_PATHS_MAX));
	t->again_at_ns = UINT64_MAX;
}

void verbs_event_tick(struct transport *t, uint64_t now_ns)
{
	const struct verbs_device *d = &t->device;

	if ((d->fatal || d->broken) && !d->qps && now_ns >= d->renew_at_ns)
		renew(t, now_ns);
	if (now_ns >= t->again_at_ns)
		make_anew(t);
}

uint64_t verbs_event_due_ns(const struct transport *t)
{
	const struct verbs_device *d = &t->device;

	if ((d->fatal || d->broken) && !d->qps && d->renew_at_ns < t->again_at_ns)
		return d->renew_at_ns;
	return t->again_at_ns;
}
