/*
 * verbs_event.c - what the device says of itself, and what that does to paths.
 *
 * A port that goes down ends its paths; the queues of the lane when they fail, and the device when
 * it does, end all.  Once these are gone the device is closed and opened again, at once or when it
 * is there again: nothing has to be restarted.
 *
 * Paths that went to TCP because no queue pair could be made here are made anew when one can be;
 * the other end does so for its own reasons.  Where both could and nothing came through, one path
 * of each peer is tried now and then.
 */
#include "daemon/transport/verbs.h"

#include <errno.h>
#include <sys/epoll.h>

#include "daemon/clock.h"

/* It can be done again: so long until paths over TCP are made anew, which breaks them. */
#define AGAIN_NS CLOCK_NS_PER_S
/* Between two attempts to open a device that failed, doubling. */
#define RENEW_NS CLOCK_NS_PER_S
#define RENEW_MAX_NS (8 * RENEW_NS)
/* Where both ends can, and nothing comes through: until the next attempt, doubling. */
#define RETRY_NS (60 * CLOCK_NS_PER_S)
#define RETRY_MAX_NS (16 * RETRY_NS)

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
	t->could = false;
	all_end(t, error, why);
}

static void port_event(struct transport *t, const char *why)
{
	verbs_device_port(&t->device);
	if (why && !verbs_device_usable(&t->device))
		all_end(t, -ENETDOWN, why);
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
			port_event(t, why);
		return;
	case IBV_EVENT_GID_CHANGE:
	case IBV_EVENT_LID_CHANGE:
	case IBV_EVENT_PKEY_CHANGE: port_event(t, why); return;
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

void verbs_event_init(struct transport *t)
{
	t->again_at_ns = UINT64_MAX;
	t->retry_at_ns = UINT64_MAX;
	t->retry_ns = RETRY_NS;
}

/* --- paths over TCP ------------------------------------------------------------------------- */

void verbs_event_over_tcp(struct transport *t, uint16_t slot, enum verbs_tcp because)
{
	t->because[slot] = (uint8_t)because;
	if (because == VERBS_TCP_HERE)
		t->could = false; /* if it can meanwhile, that is news */
	if (because != VERBS_TCP_FAILED || t->retry_at_ns != UINT64_MAX)
		return;
	t->retry_at_ns = clock_now_ns() + t->retry_ns;
	t->retry_ns = t->retry_ns * 2 < RETRY_MAX_NS ? t->retry_ns * 2 : RETRY_MAX_NS;
}

void verbs_event_up(struct transport *t, uint16_t slot)
{
	if (t->because[slot] == VERBS_TCP_FAILED) { /* then others may come through, too */
		t->again_at_ns = clock_now_ns() + AGAIN_NS;
		t->retry_ns = RETRY_NS;
	}
	t->because[slot] = VERBS_TCP_STAYS;
}

static void make_anew(struct transport *t, uint32_t slot)
{
	transport_uring.detach(t->tcp, (uint16_t)(slot / TRANSPORT_PATHS_MAX),
			       (uint16_t)(slot % TRANSPORT_PATHS_MAX));
}

static void all_again(struct transport *t)
{
	t->again_at_ns = UINT64_MAX;
	t->retry_at_ns = UINT64_MAX;
	t->retry_ns = RETRY_NS;
	for (uint32_t i = 0; i < VERBS_SLOTS; i++)
		if (t->over_tcp[i] && t->because[i] != VERBS_TCP_STAYS)
			make_anew(t, i);
}

/* One path of each peer is enough to see, and costs the others nothing. */
static void retry(struct transport *t)
{
	t->retry_at_ns = UINT64_MAX;
	for (uint32_t peer = 0; peer < TRANSPORT_PEERS_MAX; peer++)
		for (uint32_t i = 0; i < TRANSPORT_PATHS_MAX; i++) {
			uint32_t slot = peer * TRANSPORT_PATHS_MAX + i;

			if (!t->over_tcp[slot] || t->because[slot] != VERBS_TCP_FAILED)
				continue;
			make_anew(t, slot);
			break;
		}
}

/* --- what is due ---------------------------------------------------------------------------- */

static void renew(struct transport *t, uint64_t now_ns)
{
	struct verbs_device *d = &t->device;

	d->renew_ns = d->renew_ns ? 2 * d->renew_ns : RENEW_NS;
	if (d->renew_ns > RENEW_MAX_NS)
		d->renew_ns = RENEW_MAX_NS;
	d->renew_at_ns = now_ns + d->renew_ns;
	if (verbs_device_renew(d)) {
		d->renew_ns = 0;
		(void)verbs_watch_device(t);
	}
}

void verbs_event_tick(struct transport *t, uint64_t now_ns)
{
	const struct verbs_device *d = &t->device;
	bool can;

	if ((d->fatal || d->broken) && !d->qps && now_ns >= d->renew_at_ns)
		renew(t, now_ns);
	can = !verbs_device_refuses(d);
	if (can && !t->could && t->tcp_paths)
		t->again_at_ns = now_ns + AGAIN_NS;
	t->could = can;
	if (can && now_ns >= t->again_at_ns)
		all_again(t);
	else if (now_ns >= t->again_at_ns)
		t->again_at_ns = UINT64_MAX;
	if (now_ns >= t->retry_at_ns)
		retry(t);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t verbs_event_due_ns(const struct transport *t)
{
	const struct verbs_device *d = &t->device;
	bool failed = (d->fatal || d->broken) && !d->qps;

	return sooner(failed ? d->renew_at_ns : UINT64_MAX, sooner(t->again_at_ns, t->retry_at_ns));
}
