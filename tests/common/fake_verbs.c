/*
 * fake_verbs.c - devices, events and memory of fake_verbs.h.
 *
 * Keys are 1 + the place in one table of all registrations.
 */
#include "tests/common/fake_verbs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/common/fake_verbs_state.h"

/* The headers make these macros or inline functions of the same names. */
#undef ibv_query_port
#undef ibv_reg_mr

enum { MRS_MAX = 4096, EVENTS_MAX = 64 };

struct fake_mr {
	struct ibv_mr mr;
	int access;
};

struct fake_context {
	struct ibv_context context;
	struct ibv_async_event events[EVENTS_MAX];
	uint32_t count;
	struct fake_context *next;
};

struct fake_verbs fake_verbs;
static struct fake_mr *mrs[MRS_MAX];
static struct fake_context *contexts;

void fake_ring(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* --- devices -------------------------------------------------------------------------------- */

void fake_verbs_begin(uint32_t devices)
{
	fake_verbs = (struct fake_verbs){.count = devices};
	for (uint32_t i = 0; i < devices; i++) {
		struct fake_device *d = &fake_verbs.device[i];

		*d = (struct fake_device){
			.active = true, .gids = 1, .max_cqe = 1 << 20, .max_srq_wr = 1 << 14};
		(void)snprintf(d->device.name, sizeof(d->device.name), "fake%u", i);
	}
}

void fake_verbs_end(void)
{
	for (uint32_t i = 0; i < fake_verbs.count; i++) {
		const struct fake_device *d = &fake_verbs.device[i];

		assert_int_equal(d->mrs, 0);
		assert_int_equal(d->qps, 0);
		assert_int_equal(d->qps_broken, 0);
		assert_int_equal(d->srqs + d->cqs + d->channels + d->pds, 0);
		assert_int_equal(d->contexts, 0);
	}
	assert_int_equal(fake_verbs.locked, 0);
}

struct ibv_device **ibv_get_device_list(int *count)
{
	struct ibv_device **list = calloc(FAKE_DEVICES_MAX + 1, sizeof(*list));

	assert_non_null(list);
	*count = 0;
	for (uint32_t i = 0; i < fake_verbs.count; i++)
		if (!fake_verbs.device[i].gone)
			list[(*count)++] = &fake_verbs.device[i].device;
	return list;
}

void ibv_free_device_list(struct ibv_device **list)
{
	free(list);
}

const char *ibv_get_device_name(struct ibv_device *device)
{
	return device->name;
}

struct ibv_context *ibv_open_device(struct ibv_device *device)
{
	struct fake_device *d = (struct fake_device *)device;
	struct fake_context *c;

	if (d->open_error || d->gone) {
		errno = d->open_error ? d->open_error : ENODEV;
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	assert_non_null(c);
	c->context.device = device;
	c->context.ops = fake_ops;
	c->context.async_fd = eventfd(0, EFD_SEMAPHORE);
	c->next = contexts;
	contexts = c;
	d->contexts++;
	return &c->context;
}

int ibv_close_device(struct ibv_context *context)
{
	for (struct fake_context **at = &contexts; *at; at = &(*at)->next)
		if (&(*at)->context == context) {
			*at = (*at)->next;
			break;
		}
	(void)close(context->async_fd);
	fake_about(context)->contexts--;
	free(context);
	return 0;
}

int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
	*attr = (struct ibv_device_attr){.phys_port_cnt = 1,
					 .max_cqe = fake_about(context)->max_cqe,
					 .max_srq_wr = fake_about(context)->max_srq_wr,
					 .max_sge = FAKE_SGES_MAX};
	return fake_about(context)->gone ? EIO : 0;
}

int ibv_query_port(struct ibv_context *context, uint8_t port, struct _compat_ibv_port_attr *out)
{
	struct ibv_port_attr *attr = (struct ibv_port_attr *)out;
	const struct fake_device *d = fake_about(context);

	assert_int_equal(port, 1);
	attr->state = d->active ? IBV_PORT_ACTIVE : IBV_PORT_DOWN;
	attr->active_mtu = IBV_MTU_1024;
	attr->lid = 7;
	attr->link_layer = d->infiniband ? IBV_LINK_LAYER_INFINIBAND : IBV_LINK_LAYER_ETHERNET;
	return d->gone ? EIO : 0;
}

int _ibv_query_gid_ex(struct ibv_context *context, uint32_t port, uint32_t index,
		      struct ibv_gid_entry *entry, uint32_t flags, size_t bytes)
{
	const struct fake_device *d = fake_about(context);

	(void)flags;
	assert_int_equal(bytes, sizeof(*entry));
	if (d->gone || index >= d->gids)
		return ENODATA;
	*entry = (struct ibv_gid_entry){.gid_index = index,
					.port_num = port,
					.gid_type = d->infiniband ? IBV_GID_TYPE_IB
								  : IBV_GID_TYPE_ROCE_V2};
	entry->gid.raw[10] = entry->gid.raw[11] = 0xff;
	entry->gid.raw[12] = 10;
	entry->gid.raw[14] = (uint8_t)(d - fake_verbs.device);
	entry->gid.raw[15] = (uint8_t)(index + 1);
	return 0;
}

/* --- events --------------------------------------------------------------------------------- */

static void put_event(struct fake_context *c, enum ibv_event_type type, struct ibv_qp *qp)
{
	struct ibv_async_event event = {.event_type = type};

	assert_true(c->count < EVENTS_MAX);
	if (qp)
		event.element.qp = qp;
	else
		event.element.port_num = 1;
	c->events[c->count++] = event;
	fake_ring(c->context.async_fd);
}

void fake_event(struct ibv_context *context, enum ibv_event_type type, struct ibv_qp *qp)
{
	put_event((struct fake_context *)context, type, qp);
}

void fake_verbs_event(uint32_t device, enum ibv_event_type type, uint32_t qpn)
{
	struct ibv_qp *qp = fake_qp_by_number(qpn);

	for (struct fake_context *c = contexts; c; c = c->next)
		if (fake_about(&c->context) == &fake_verbs.device[device] &&
		    (!qp || qp->context == &c->context))
			put_event(c, type, qp);
}

int ibv_get_async_event(struct ibv_context *context, struct ibv_async_event *event)
{
	struct fake_context *c = (struct fake_context *)context;
	uint64_t one;

	if (read(context->async_fd, &one, sizeof(one)) < 0)
		return -1;
	*event = c->events[0];
	memmove(c->events, c->events + 1, --c->count * sizeof(*c->events));
	return 0;
}

void ibv_ack_async_event(struct ibv_async_event *event)
{
	(void)event;
}

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context)
{
	struct ibv_comp_channel *channel = calloc(1, sizeof(*channel));

	assert_non_null(channel);
	channel->context = context;
	channel->fd = eventfd(0, EFD_SEMAPHORE);
	fake_about(context)->channels++;
	return channel;
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *channel)
{
	(void)close(channel->fd);
	fake_about(channel->context)->channels--;
	free(channel);
	return 0;
}

int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **context)
{
	uint64_t one;

	*cq = NULL;
	*context = NULL;
	return read(channel->fd, &one, sizeof(one)) < 0 ? -1 : 0;
}

void ibv_ack_cq_events(struct ibv_cq *cq, unsigned int count)
{
	(void)cq;
	(void)count;
}

/* --- memory --------------------------------------------------------------------------------- */

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
	struct ibv_pd *pd = calloc(1, sizeof(*pd));

	assert_non_null(pd);
	pd->context = context;
	fake_about(context)->pds++;
	return pd;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
	fake_about(pd->context)->pds--;
	free(pd);
	return 0;
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *at, size_t bytes, int access)
{
	struct fake_mr *mr;
	uint32_t i = 0;

	if (fake_about(pd->context)->gone ||
	    (fake_verbs.lock_bytes && fake_verbs.locked + bytes > fake_verbs.lock_bytes)) {
		errno = fake_about(pd->context)->gone ? EIO : ENOMEM;
		return NULL;
	}
	while (mrs[i])
		i++;
	assert_true(i < MRS_MAX - 1);
	mr = calloc(1, sizeof(*mr));
	assert_non_null(mr);
	mr->mr = (struct ibv_mr){.context = pd->context, .pd = pd, .addr = at, .length = bytes};
	mr->mr.lkey = mr->mr.rkey = i + 1;
	mr->access = access;
	mrs[i] = mr;
	fake_about(pd->context)->mrs++;
	fake_verbs.locked += bytes;
	return &mr->mr;
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *at, size_t bytes, uint64_t iova,
				unsigned int access)
{
	(void)iova;
	return ibv_reg_mr(pd, at, bytes, (int)access);
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	mrs[mr->lkey - 1] = NULL;
	fake_verbs.locked -= mr->length;
	fake_about(mr->context)->mrs--;
	free(mr);
	return 0;
}

bool fake_may(uint32_t key, uint64_t at, size_t bytes, int access, const struct ibv_pd *pd)
{
	const struct fake_mr *mr = key && key <= MRS_MAX ? mrs[key - 1] : NULL;

	return mr && mr->mr.pd == pd && at >= (uintptr_t)mr->mr.addr &&
	       at + bytes <= (uintptr_t)mr->mr.addr + mr->mr.length &&
	       (mr->access & access) == access;
}
