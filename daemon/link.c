/*
 * link.c - numbering and sending again; see link.h.
 */
#include "daemon/link.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	ACK_SOON_FRAMES = 8,
	ACK_SOON_BYTES = 1 << 20, /* buffers of so much may wait at the peer */
};

int link_init(struct link *l, uint16_t paths)
{
	assert(paths >= 1 && paths <= WIRE_PATHS_MAX);
	memset(l, 0, sizeof(*l));
	l->memory = calloc((size_t)paths * LINK_LOG, sizeof(*l->memory));
	if (!l->memory)
		return -ENOMEM;
	l->paths = paths;
	for (uint16_t p = 0; p < paths; p++)
		l->path[p].log = l->memory + (size_t)p * LINK_LOG;
	return 0;
}

void link_deinit(struct link *l)
{
	for (uint16_t p = 0; p < l->paths; p++)
		assert(l->path[p].sent == l->path[p].acked);
	free(l->memory);
	memset(l, 0, sizeof(*l));
}

bool link_room(const struct link *l, uint16_t path)
{
	const struct link_path *p = &l->path[path];

	/* One less than the log holds, since numbers skip 0 when they wrap around. */
	return p->up && p->sent - p->acked < LINK_LOG - 1 && p->offered == p->sent;
}

struct link_entry *link_push(struct link *l, uint16_t path, const struct wire_frame *frame,
			     const void *payload, struct exchange *exchange, void *buffer)
{
	struct link_path *p = &l->path[path];
	struct link_entry *entry;

	assert(link_room(l, path));
	p->sent = wire_path_seq_next(p->sent);
	p->offered = p->sent;
	entry = &p->log[p->sent % LINK_LOG];
	*entry = (struct link_entry){
		.frame = *frame,
		.payload = payload,
		.exchange = exchange,
		.buffer = buffer,
	};
	entry->frame.path_seq = p->sent;
	return entry;
}

struct link_entry *link_resend(struct link *l, uint16_t path)
{
	struct link_path *p = &l->path[path];

	if (!p->up || p->offered == p->sent)
		return NULL;
	return &p->log[wire_path_seq_next(p->offered) % LINK_LOG];
}

void link_resent(struct link *l, uint16_t path)
{
	assert(l->path[path].offered != l->path[path].sent);
	l->path[path].offered = wire_path_seq_next(l->path[path].offered);
}

bool link_up(struct link *l, uint16_t path, uint32_t received)
{
	struct link_path *p = &l->path[path];

	assert(!p->up);
	if (received - p->told > p->sent - p->told || (!received && p->told))
		return false;
	p->up = true;
	p->told = p->flushed = p->offered = received;
	p->announced = p->received;
	p->arrived_bytes = 0;
	return true;
}

void link_down(struct link *l, uint16_t path)
{
	struct link_path *p = &l->path[path];

	p->up = false;
	p->arriving = 0;
	p->flushed = p->sent;
}

enum link_verdict link_arriving(struct link *l, uint16_t path, const struct wire_frame *frame)
{
	struct link_path *p = &l->path[path];

	if (!frame->path_seq)
		return LINK_NOT_NUMBERED;
	if (frame->path_seq != wire_path_seq_next(p->received))
		return LINK_WRONG_NUMBER;
	p->arriving = frame->path_seq;
	return LINK_TAKE;
}

void link_arrived(struct link *l, uint16_t path, const struct wire_frame *frame)
{
	struct link_path *p = &l->path[path];

	assert(p->arriving == frame->path_seq);
	p->received = p->arriving;
	p->arriving = 0;
	p->arrived_bytes += frame->payload_bytes;
}

bool link_ack(struct link *l, uint16_t path, uint32_t ack)
{
	struct link_path *p = &l->path[path];

	/* An acknowledgement that another frame overtook says less than we know; 0 says nothing. */
	if (!ack || !wire_path_seq_after(ack, p->told))
		return true;
	if (ack - p->told > p->offered - p->told)
		return false;
	p->told = ack;
	return true;
}

void link_flushed(struct link *l, uint16_t path, uint32_t number)
{
	l->path[path].flushed = number;
}

struct link_entry *link_released(struct link *l, uint16_t path)
{
	struct link_path *p = &l->path[path];

	if (p->acked == p->told || p->acked == p->flushed)
		return NULL;
	p->acked = wire_path_seq_next(p->acked);
	return &p->log[p->acked % LINK_LOG];
}

struct link_entry *link_drop(struct link *l)
{
	for (uint16_t n = 0; n < l->paths; n++) {
		struct link_path *p = &l->path[n];
		struct link_entry *entry;

		p->told = p->flushed = p->offered = p->sent;
		entry = link_released(l, n);
		if (entry)
			return entry;
	}
	return NULL;
}

int link_owes_ack(const struct link *l, uint16_t path)
{
	const struct link_path *p = &l->path[path];
	uint32_t frames = p->received - p->announced;

	if (!frames)
		return 0;
	return frames >= ACK_SOON_FRAMES || p->arrived_bytes >= ACK_SOON_BYTES ? 2 : 1;
}

void link_announce(struct link *l, uint16_t path, struct wire_frame *frame)
{
	struct link_path *p = &l->path[path];

	frame->path = path;
	frame->path_ack = p->announced = p->received;
	p->arrived_bytes = 0;
}
