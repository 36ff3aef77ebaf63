/*
 * verbs_send.c - from a path's queue of frames to the peer's ring.
 *
 *    head ...... done ...... posted ...... tail        frames, in a ring
 *     | SENT to    | with the  | queued: no room in
 *     | be told    | device    | the peer's ring
 *
 * One write a frame, gathered: the header from memory of the path, the payload from where it
 * lies.  Small frames go inline.  A place in the peer's ring is whole, so the end of the ring may
 * be skipped; what is skipped counts as taken by the frame behind it.
 */
#include "daemon/transport/verbs.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Kept for writes of counts, which must never wait for frames. */
enum { SEND_DEPTH_KEPT = 8 };

int verbs_send_init(struct transport *t, struct verbs_path *p)
{
	struct verbs_tx *tx = &p->tx;
	uint32_t capacity = 1;
	size_t bytes;

	while (capacity < 2 * t->options.queue_frames)
		capacity *= 2;
	bytes = capacity * sizeof(*tx->headers);
	tx->mask = capacity - 1;
	tx->ring = calloc(capacity, sizeof(*tx->ring));
	tx->headers = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
	if (!tx->ring || !tx->headers)
		return -ENOMEM;
	tx->headers_mr = verbs_register(t, tx->headers, bytes, 0);
	return tx->headers_mr ? 0 : -errno;
}

static void free_once(struct verbs_out *out)
{
	if (out->once)
		(void)ibv_dereg_mr(out->once);
	out->once = NULL;
}

void verbs_send_free(struct verbs_path *p)
{
	struct verbs_tx *tx = &p->tx;

	for (uint32_t i = 0; tx->ring && i <= tx->mask; i++)
		free_once(&tx->ring[i]);
	if (tx->headers_mr)
		(void)ibv_dereg_mr(tx->headers_mr);
	free(tx->headers);
	free(tx->ring);
	*tx = (struct verbs_tx){0};
}

uint32_t verbs_send_room(const struct transport *t, const struct verbs_path *p)
{
	const struct verbs_tx *tx = &p->tx;
	uint32_t queued = tx->tail - tx->posted, held = tx->tail - tx->head;
	uint32_t queue = t->options.queue_frames - queued;
	uint32_t ring = tx->mask + 1 - held;

	if (p->state != VERBS_UP || p->error)
		return 0;
	return queue < ring ? queue : ring;
}

void verbs_send_queue(struct transport *t, struct verbs_path *p, const struct wire_frame *frame,
		      const void *payload, uint64_t cookie)
{
	struct verbs_tx *tx = &p->tx;
	struct wire_frame *header = &tx->headers[tx->tail & tx->mask];
	bool with_crc = t->options.payload_crc && frame->payload_bytes;

	assert(verbs_send_room(t, p));
	*header = *frame;
	wire_seal(header, with_crc ? payload : NULL);
	tx->ring[tx->tail & tx->mask] = (struct verbs_out){
		.payload = payload,
		.bytes = frame->payload_bytes,
		.cookie = cookie,
	};
	tx->tail++;
}

bool verbs_send_unfinished(const struct verbs_path *p)
{
	return p->tx.done != p->tx.tail;
}

/* --- posting -------------------------------------------------------------------------------- */

/* Our count goes with every immediate. */
static uint32_t count_for_peer(struct verbs_path *p)
{
	p->rx.told = p->rx.consumed;
	p->rx.units = 0;
	return p->rx.consumed & VERBS_IMM_COUNT;
}

/* wr_id: frames posted before the next one (high), requests with this one (low). */
static int post(struct transport *t, struct verbs_path *p, struct ibv_send_wr *wr)
{
	struct verbs_tx *tx = &p->tx;
	struct ibv_send_wr *bad;
	int error;

	if (tx->unsignalled + 1 >= VERBS_SIGNAL_EVERY)
		wr->send_flags |= IBV_SEND_SIGNALED;
	wr->wr_id = (uint64_t)tx->posted << 32 | (tx->written + 1);
	error = ibv_post_send(p->qp, wr, &bad);
	if (error)
		return error < 0 ? error : -error;
	tx->written++;
	tx->unsignalled = wr->send_flags & IBV_SEND_SIGNALED ? 0 : tx->unsignalled + 1;
	t->stats.work_requests++;
	return 0;
}

int verbs_send_bare(struct transport *t, struct verbs_path *p)
{
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
		.imm_data = htonl(VERBS_IMM_BARE | count_for_peer(p)),
		.wr.rdma = {.remote_addr = p->theirs.ring, .rkey = p->theirs.rkey},
	};

	if (p->state == VERBS_PROBE)
		wr.send_flags = IBV_SEND_SIGNALED;
	return post(t, p, &wr);
}

/* The pieces of a frame.  Return: how many, or negative errno. */
static int gather(struct transport *t, struct verbs_path *p, struct verbs_out *out,
		  const struct wire_frame *header, struct ibv_sge *pieces)
{
	int n = 0;

	pieces[0] = (struct ibv_sge){(uintptr_t)header, WIRE_HEADER_BYTES, p->tx.headers_mr->lkey};
	if (!out->bytes)
		return 1;
	if (WIRE_HEADER_BYTES + out->bytes > p->inline_bytes)
		n = verbs_pieces(t, out->payload, out->bytes, &pieces[1]);
	if (n)
		return n < 0 ? n : n + 1;
	pieces[1] = (struct ibv_sge){(uintptr_t)out->payload, out->bytes, 0};
	if (WIRE_HEADER_BYTES + out->bytes <= p->inline_bytes)
		return 2;
	out->once = verbs_register(t, (void *)(uintptr_t)out->payload, out->bytes, 0);
	if (!out->once)
		return -errno;
	pieces[1].lkey = out->once->lkey;
	return 2;
}

/* Where a frame goes in the peer's ring. */
struct place {
	uint32_t at, units;
	uint32_t skipped; /* at the ring's end, before it */
};

/* Return: whether there is room. */
static bool place_for(const struct verbs_tx *tx, uint32_t bytes, struct place *out)
{
	uint32_t units = (WIRE_HEADER_BYTES + bytes + VERBS_UNIT_BYTES - 1) / VERBS_UNIT_BYTES;
	bool wraps = tx->at + units > tx->units;

	*out = (struct place){.at = wraps ? 0 : tx->at,
			      .units = units,
			      .skipped = wraps ? tx->units - tx->at : 0};
	return tx->used + out->skipped + units <= tx->units;
}

static int post_frame(struct transport *t, struct verbs_path *p, const struct place *place)
{
	struct verbs_tx *tx = &p->tx;
	struct verbs_out *out = &tx->ring[tx->posted & tx->mask];
	struct ibv_sge pieces[VERBS_SGES];
	struct ibv_send_wr wr = {.opcode = IBV_WR_RDMA_WRITE_WITH_IMM, .sg_list = pieces};
	int n = gather(t, p, out, &tx->headers[tx->posted & tx->mask], pieces);
	int ret;

	if (n < 0)
		return n;
	wr.num_sge = n;
	wr.imm_data = htonl(place->at << VERBS_IMM_PLACE_SHIFT | count_for_peer(p));
	wr.wr.rdma.remote_addr = p->theirs.ring + (uint64_t)place->at * VERBS_UNIT_BYTES;
	wr.wr.rdma.rkey = p->theirs.rkey;
	if (WIRE_HEADER_BYTES + out->bytes <= p->inline_bytes)
		wr.send_flags = IBV_SEND_INLINE;
	tx->posted++;
	ret = post(t, p, &wr);
	if (ret) {
		tx->posted--;
		return ret;
	}
	tx->taken[tx->frames++ % VERBS_WINDOW] = place->skipped + place->units;
	tx->used += place->skipped + place->units;
	tx->at = place->at + place->units;
	t->stats.frames_sent++;
	t->stats.bytes_sent += WIRE_HEADER_BYTES + out->bytes;
	return 0;
}

/*
 * Is the peer to know what was consumed, although we have nothing else to say?  What it does
 * not know of is less than a quarter of the ring, so there is always room for its largest frame.
 */
static bool owes_count(const struct verbs_path *p)
{
	return p->rx.consumed - p->rx.told >= VERBS_WINDOW / 4 ||
	       p->rx.units >= p->rx.ring_bytes / VERBS_UNIT_BYTES / 4;
}

void verbs_send_start(struct transport *t, struct verbs_path *p)
{
	struct verbs_tx *tx = &p->tx;
	int ret = 0;

	while (!ret && tx->posted != tx->tail &&
	       tx->written - tx->retired < VERBS_SEND_DEPTH - SEND_DEPTH_KEPT &&
	       tx->frames - tx->consumed < VERBS_WINDOW) {
		uint32_t bytes = tx->ring[tx->posted & tx->mask].bytes;
		struct place place;
		bool room = place_for(tx, bytes, &place);

		if (place.units > tx->units / VERBS_RING_FRAMES)
			ret = -EMSGSIZE; /* there might never be room */
		else if (!room)
			break;
		else
			ret = post_frame(t, p, &place);
	}
	if (!ret && owes_count(p) && tx->written - tx->retired < VERBS_SEND_DEPTH)
		ret = verbs_send_bare(t, p);
	if (ret == -EMSGSIZE)
		verbs_end(t, p, ret, "the peer's ring is too small for our chunks");
	else if (ret && ret == t->device.no_memory)
		verbs_end(t, p, ret, verbs_device_refuses(&t->device));
	else if (ret)
		verbs_end(t, p, ret, "the device takes no work request");
}

void verbs_send_flush(struct transport *t, struct verbs_path *p)
{
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_RDMA_WRITE,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {.remote_addr = p->theirs.ring, .rkey = p->theirs.rkey},
	};

	if (p->state == VERBS_UP && !p->error && p->tx.done != p->tx.posted && p->tx.unsignalled &&
	    p->tx.written - p->tx.retired < VERBS_SEND_DEPTH)
		(void)post(t, p, &wr);
}

/* --- results -------------------------------------------------------------------------------- */

void verbs_send_done(struct verbs_path *p, uint64_t wr_id)
{
	struct verbs_tx *tx = &p->tx;
	uint32_t done = (uint32_t)(wr_id >> 32);

	tx->retired = (uint32_t)wr_id;
	for (; tx->done != done; tx->done++)
		free_once(&tx->ring[tx->done & tx->mask]);
}

void verbs_send_consumed(struct transport *t, struct verbs_path *p, uint32_t count)
{
	struct verbs_tx *tx = &p->tx;
	uint32_t more = (count - tx->consumed) & VERBS_IMM_COUNT;

	if (more > tx->frames - tx->consumed) {
		verbs_break(t, p, WIRE_BAD_FIELD);
		return;
	}
	for (; more; more--)
		tx->used -= tx->taken[tx->consumed++ % VERBS_WINDOW];
}

bool verbs_send_event(struct verbs_path *p, struct transport_event *event)
{
	struct verbs_tx *tx = &p->tx;

	if (tx->head == tx->done)
		return false;
	event->kind = TRANSPORT_SENT;
	event->cookie = tx->ring[tx->head++ & tx->mask].cookie;
	return true;
}
