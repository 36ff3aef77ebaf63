/*
 * verbs_device.c - the lane's device: found, opened, and the memory it may send from.
 *
 * Which port the lane takes is verbs_ports.h's business.
 *
 * Remembered memory is registered in extents of VERBS_EXTENT_BYTES when something is first sent
 * from them: an arena takes real memory only as it is used, and registering takes it at once.
 */
#include "daemon/transport/verbs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "daemon/transport/verbs_ports.h"
#include "daemon/transport/verbs_there.h"

/* --- the port ------------------------------------------------------------------------------- */

static void choose_gid(struct verbs_device *d)
{
	struct ibv_gid_entry best;

	d->gid_index = -1;
	if (!verbs_port_gid(d->context, d->port, d->ethernet, &best))
		return;
	d->gid_index = (int)best.gid_index;
	d->gid = best.gid;
	d->version2 = best.gid_type == IBV_GID_TYPE_ROCE_V2;
}

void verbs_device_port(struct verbs_device *d)
{
	struct ibv_port_attr about;

	d->active = !ibv_query_port(d->context, d->port, &about) && about.state == IBV_PORT_ACTIVE;
	if (!d->active)
		return;
	d->ethernet = about.link_layer == IBV_LINK_LAYER_ETHERNET;
	d->lid = about.lid;
	d->mtu = about.active_mtu;
	choose_gid(d);
}

/* --- open and close ------------------------------------------------------------------------- */

/* What this process may register; UINT64_MAX: all that there is. */
static uint64_t memlock_bytes(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	if (!syscall(SYS_capget, &header, data) &&
	    (data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)))
		return UINT64_MAX;
	return limit.rlim_cur;
}

/* Return: 0, or what failed, in d->why_not. */
static int make_queues(struct verbs_device *d)
{
	struct ibv_srq_init_attr srq = {.attr = {.max_wr = VERBS_RECEIVES, .max_sge = 1}};
	int entries = VERBS_CQ_ENTRIES;
	struct ibv_device_attr attr;
	const char *what = "protection domain";

	d->sges = VERBS_SGES;
	if (!ibv_query_device(d->context, &attr)) {
		if ((uint32_t)attr.max_srq_wr < srq.attr.max_wr)
			srq.attr.max_wr = (uint32_t)attr.max_srq_wr;
		if (attr.max_cqe < entries)
			entries = attr.max_cqe;
		if (attr.max_sge < VERBS_SGES)
			d->sges = (uint32_t)attr.max_sge;
	}
	d->qps_max = entries > VERBS_SEND_DEPTH + (int)srq.attr.max_wr
			     ? ((uint32_t)entries - srq.attr.max_wr) / VERBS_SEND_DEPTH
			     : 1;
	d->pd = ibv_alloc_pd(d->context);
	if (d->pd) {
		what = "completion channel";
		d->channel = ibv_create_comp_channel(d->context);
	}
	if (d->channel) {
		what = "completion queue";
		d->cq = ibv_create_cq(d->context, entries, NULL, d->channel, 0);
	}
	if (d->cq) {
		what = "shared receive queue";
		d->srq = ibv_create_srq(d->pd, &srq);
	}
	if (!d->srq) {
		(void)snprintf(d->why_not, sizeof(d->why_not), "%s: no %s: %s", d->name, what,
			       strerror(errno));
		return -errno;
	}
	assert(d->channel); /* all or none */
	(void)fcntl(d->channel->fd, F_SETFL, O_NONBLOCK);
	(void)fcntl(d->context->async_fd, F_SETFL, O_NONBLOCK);
	d->receives_missing = srq.attr.max_wr;
	verbs_device_receives(d);
	return 0;
}

static void close_all(struct verbs_device *d)
{
	if (d->srq)
		(void)ibv_destroy_srq(d->srq);
	if (d->cq && d->unacknowledged)
		ibv_ack_cq_events(d->cq, d->unacknowledged);
	if (d->cq)
		(void)ibv_destroy_cq(d->cq);
	if (d->channel)
		(void)ibv_destroy_comp_channel(d->channel);
	if (d->pd)
		(void)ibv_dealloc_pd(d->pd);
	if (d->context)
		(void)ibv_close_device(d->context);
	verbs_udp_close(&d->udp);
	d->unacknowledged = 0;
	d->armed = false;
	d->fired = false;
	d->srq = NULL;
	d->cq = NULL;
	d->channel = NULL;
	d->pd = NULL;
	d->context = NULL;
}

/* Return: 0, or what failed, in d->why_not. */
static int open_one(struct verbs_device *d, struct ibv_device *device, uint8_t port)
{
	d->context = ibv_open_device(device);
	d->port = port;
	(void)snprintf(d->name, sizeof(d->name), "%s", ibv_get_device_name(device));
	if (!d->context) {
		(void)snprintf(d->why_not, sizeof(d->why_not), "%s: cannot be opened: %s", d->name,
			       strerror(errno));
		return -errno;
	}
	if (make_queues(d)) {
		close_all(d);
		return -EIO;
	}
	verbs_udp_open(&d->udp, device, VERBS_UDP_LIBRARY);
	d->memlock_bytes = memlock_bytes();
	if (d->memlock_bytes < VERBS_MEMLOCK_LEAST)
		d->no_memory = -ENOMEM;
	verbs_device_port(d);
	return 0;
}

/* One that is not there, or cannot be opened, is tried again now and then. */
static void open_port(struct verbs_device *d, const struct verbs_port *port)
{
	if (port->device) {
		d->fatal = open_one(d, port->device, port->port) != 0;
		return;
	}
	memcpy(d->name, port->name, sizeof(d->name));
	d->port = port->port;
	d->fatal = true;
	(void)snprintf(d->why_not, sizeof(d->why_not), "there is no device %s", d->name);
}

int verbs_device_open(struct verbs_device *d, const struct transport_options *o, struct err *err)
{
	struct verbs_port ports[VERBS_PORTS_MAX];
	struct ibv_device **list;
	uint32_t found;
	int count = 0, error = 0;

	list = ibv_get_device_list(&count);
	found = list ? verbs_ports_find(list, count, o->verbs_devices, ports, &error) : 0;
	if (found)
		open_port(
			d,
			&ports[verbs_ports_share(ports, found, o->lanes_numa, o->lanes, o->lane)]);
	else if (error)
		(void)snprintf(d->why_not, sizeof(d->why_not),
			       "its devices cannot be opened (%s): may this user write to "
			       "/dev/infiniband/uverbs*?",
			       strerror(error));
	else if (count > 0)
		(void)snprintf(d->why_not, sizeof(d->why_not), "\"%s\" matches none of %d devices",
			       o->verbs_devices ? o->verbs_devices : "", count);
	else
		(void)snprintf(d->why_not, sizeof(d->why_not), "there is no RDMA device");
	if (list)
		ibv_free_device_list(list);
	if (o->tcp_too || (d->context && !d->no_memory))
		return 0;
	if (d->context)
		return err_set(err, -ENOMEM,
			       "transport verbs cannot be used: only %" PRIu64
			       " KiB of memory can be registered, %d are the least: raise "
			       "LimitMEMLOCK= of the unit (ulimit -l)",
			       d->memlock_bytes >> 10, VERBS_MEMLOCK_LEAST >> 10);
	return err_set(err, -ENODEV,
		       "transport verbs cannot be used: %s; see ibv_devinfo, or set "
		       "transport = auto",
		       d->why_not);
}

static size_t extents_of(const struct verbs_region *r)
{
	return (r->bytes + VERBS_EXTENT_BYTES - 1) / VERBS_EXTENT_BYTES;
}

void verbs_device_close(struct verbs_device *d)
{
	for (uint32_t i = 0; i < d->regions_end; i++)
		if (d->regions[i].base)
			verbs_forget(d, d->regions[i].base);
	close_all(d);
}

bool verbs_device_renew(struct verbs_device *d)
{
	struct ibv_device **list;
	int count = 0;

	assert(!d->qps);
	for (uint32_t i = 0; i < d->regions_end; i++)
		for (size_t e = 0; d->regions[i].base && e < extents_of(&d->regions[i]); e++)
			if (d->regions[i].extents[e]) {
				(void)ibv_dereg_mr(d->regions[i].extents[e]);
				d->regions[i].extents[e] = NULL;
			}
	close_all(d);
	list = ibv_get_device_list(&count);
	for (int i = 0; list && i < count && !d->context; i++)
		if (!strcmp(ibv_get_device_name(list[i]), d->name))
			(void)open_one(d, list[i], d->port);
	if (list)
		ibv_free_device_list(list);
	if (d->context) {
		d->fatal = d->broken = false;
		d->why_not[0] = 0;
	}
	return d->context;
}

bool verbs_device_there(void)
{
	int count = 0;
	struct ibv_device **list = ibv_get_device_list(&count);

	if (list)
		ibv_free_device_list(list);
	return count > 0;
}

bool verbs_device_usable(const struct verbs_device *d)
{
	return d->context && d->active && !d->fatal && !d->broken &&
	       (!d->ethernet || d->gid_index >= 0);
}

const char *verbs_device_refuses(const struct verbs_device *d)
{
	if (d->fatal)
		return *d->why_not ? d->why_not : "the device has failed or was removed";
	if (d->broken)
		return "its queues have failed and are being made anew";
	if (!d->context)
		return d->why_not;
	if (d->no_memory)
		return d->no_memory == -ENOMEM
			       ? "memory cannot be registered: raise LimitMEMLOCK= (ulimit -l)"
			       : "memory cannot be registered";
	if (d->qps >= d->qps_max)
		return "its completion queue has no room for more paths";
	if (!d->active)
		return "its port is down";
	return verbs_device_usable(d) ? NULL : "its port has no GID";
}

void verbs_device_receives(struct verbs_device *d)
{
	struct ibv_recv_wr requests[VERBS_REPOST] = {{0}}, *bad;

	for (uint32_t i = 0; i + 1 < VERBS_REPOST; i++)
		requests[i].next = &requests[i + 1];
	while (d->receives_missing >= VERBS_REPOST) {
		int error = ibv_post_srq_recv(d->srq, requests, &bad);

		if (error == ENOMEM)
			d->receives_missing =
				0; /* it is full: fewer were missing than we thought */
		if (error)
			return;
		d->receives_missing -= VERBS_REPOST;
	}
}

/* --- memory --------------------------------------------------------------------------------- */

void verbs_remember(struct verbs_device *d, void *base, size_t bytes)
{
	uint32_t i = 0;

	if (!*d->name) /* it may be gone, and come back */
		return;
	while (i < d->regions_end && d->regions[i].base)
		i++;
	if (i == VERBS_REGIONS)
		return;
	d->regions[i] = (struct verbs_region){.base = base, .bytes = bytes};
	d->regions[i].extents = calloc(extents_of(&d->regions[i]), sizeof(struct ibv_mr *));
	if (!d->regions[i].extents)
		d->regions[i].base = NULL;
	else if (i >= d->regions_end)
		d->regions_end = i + 1;
}

void verbs_forget(struct verbs_device *d, void *base)
{
	for (uint32_t i = 0; i < d->regions_end; i++) {
		struct verbs_region *r = &d->regions[i];

		if (r->base != base)
			continue;
		for (size_t e = 0; e < extents_of(r); e++)
			if (r->extents[e])
				(void)ibv_dereg_mr(r->extents[e]);
		free(r->extents);
		*r = (struct verbs_region){0};
	}
	while (d->regions_end && !d->regions[d->regions_end - 1].base)
		d->regions_end--;
}

struct ibv_mr *verbs_register(struct transport *t, void *at, size_t bytes, unsigned int access)
{
	struct ibv_mr *mr = ibv_reg_mr(t->device.pd, at, bytes, access);

	t->stats.registrations++;
	if (mr)
		t->stats.registered_bytes += bytes;
	if (!mr)
		t->device.no_memory = -errno;
	return mr;
}

/* Return: NULL with errno. */
static struct ibv_mr *extent(struct transport *t, struct verbs_region *r, size_t number)
{
	size_t from = number * VERBS_EXTENT_BYTES, left = r->bytes - from;

	if (!r->extents[number])
		r->extents[number] =
			verbs_register(t, r->base + from,
				       left < VERBS_EXTENT_BYTES ? left : VERBS_EXTENT_BYTES, 0);
	return r->extents[number];
}

int verbs_pieces(struct transport *t, const void *at, size_t bytes, struct ibv_sge *out)
{
	const unsigned char *from = at;

	for (uint32_t i = 0; i < t->device.regions_end; i++) {
		struct verbs_region *r = &t->device.regions[i];
		int n = 0;

		if (!r->base || from < r->base || from + bytes > r->base + r->bytes)
			continue;
		while (bytes) {
			size_t offset = (size_t)(from - r->base);
			size_t number = offset / VERBS_EXTENT_BYTES;
			size_t there = (number + 1) * VERBS_EXTENT_BYTES - offset;
			struct ibv_mr *mr = extent(t, r, number);
			size_t piece = there < bytes ? there : bytes;

			if (!mr)
				return -errno;
			assert(n < VERBS_SGES_LEAST - 1);
			out[n++] = (struct ibv_sge){(uintptr_t)from, (uint32_t)piece, mr->lkey};
			from += piece;
			bytes -= piece;
		}
		return n;
	}
	return 0;
}
