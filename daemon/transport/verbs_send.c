/*
 * verbs_send.c - from a path's queue of frames to the peer's ring.
 *
 *    head ...... done ...... posted ...... tail        frames, in a ring
 *     | SENT to    | with the  | queued
 *     | be told    | device    |
 *
 * A write is gathered: headers from memory of the path, payloads from where they lie.  Small
 * frames go inline.  A place in the peer's ring is whole, so the end of the ring may be skipped;
 * what is skipped counts as taken by the frame behind it.
 */
#include "daemon/transport/verbs.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/clock.h"

enum {
	SEND_DEPTH_KEPT = 8, /* for writes of counts, which must never wait for frames */
	HELD_POLLS_MAX = 4,
	LITTLE_BYTES = 4096,      /* under way: so much is no reason to let frames wait */
	SPREAD_FRAMES = 8,        /* under way: so many more, and the next ones take another path */
	SPREAD_BYTES = 256 << 10, /* or so much more */
};

/* The peer's count, which goes with its acknowledgements, comes before in an idle group, too. */
#define FLUSH_NS (3 * CLOCK_NS_PER_MS)

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
	memset(tx->headers, 0, bytes);
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
	uint32_t ring = tx->mask + 1 - held, steps = held / SPREAD_FRAMES, spread;
	uint64_t bytes = (uint64_t)tx->used * VERBS_UNIT_BYTES + tx->queued_bytes;

	if (p->state != VERBS_UP || p->error)
		return 0;
	/* Where much is under way there is less room: another path is worth a write of its own. */
	if (steps < bytes / SPREAD_BYTES)
		steps = (uint32_t)(bytes / SPREAD_BYTES);
	if (steps > tx->mask / SPREAD_FRAMES) /* some is left, as there may be no other path */
		steps = tx->mask / SPREAD_FRAMES;
	spread = (tx->mask + 1 - steps * SPREAD_FRAMES) / 2;
	queue = queue < spread ? queue : spread;
	return queue < ring ? queue : ring;
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

/*
 * wr_id: frames posted before the next one (high), requests with this one (low).
 * @frames: that it brings; what brings none weighs as much as one
 */
static int post(struct transport *t, struct verbs_path *p, struct ibv_send_wr *wr, uint32_t frames)
{
	struct verbs_tx *tx = &p->tx;
	uint32_t unsignalled = tx->unsignalled + (frames ? frames : 1);
	struct ibv_send_wr *bad;
	int error;

	if (unsignalled >= VERBS_SIGNAL_EVERY)
		wr->send_flags |= IBV_SEND_SIGNALED;
	wr->wr_id = (uint64_t)(tx->posted + frames) << 32 | (tx->written + 1);
	error = ibv_post_send(p->qp, wr, &bad);
	if (error)
		return error < 0 ? error : -error;
	tx->posted += frames;
	tx->written++;
	tx->unsignalled = wr->send_flags & IBV_SEND_SIGNALED ? 0 : unsignalled;
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
	return post(t, p, &wr, 0);
}

/* A write that is put together. */
struct batch {
	struct ibv_sge pieces[VERBS_SGES];
	uint32_t count; /* of them */
	uint32_t frames;
	uint32_t bytes;   /* from its place on                           */
	uint32_t at;      /* its place                                   */
	uint32_t skipped; /* at the ring's end, before it                */
	bool alone;       /* no other frame joins the one that is there */
};

static uint32_t units_of(uint32_t bytes)
{
	return (bytes + VERBS_UNIT_BYTES - 1) / VERBS_UNIT_BYTES;
}

/* Does a frame of so many bytes behind what is there still find its place in the peer's ring? */
static bool find_place(const struct verbs_tx *tx, struct batch *b, uint32_t bytes)
{
	uint32_t before = units_of(b->bytes), units = units_of(bytes);

	if (!b->frames) {
		bool wraps = tx->at + units > tx->units;

		b->at = wraps ? 0 : tx->at;
		b->skipped = wraps ? tx->units - tx->at : 0;
	}
	return b->at + before + units <= tx->units &&
	       tx->used + b->skipped + before + units <= tx->units;
}

/*
 * The pieces of a payload.  Return: how many; 0: it is not for this write; negative errno.  What
 * is in no memory that we know is registered for this once, and goes alone.
 */
static int gather(struct transport *t, struct verbs_path *p, struct verbs_out *out, struct batch *b,
		  struct ibv_sge *pieces)
{
	bool is_inline = WIRE_HEADER_BYTES + out->bytes <= p->inline_bytes;
	int n = is_inline ? 0 : verbs_pieces(t, out->payload, out->bytes, pieces);

	if (n || b->frames)
		return n;
	b->alone = true;
	pieces[0] = (struct ibv_sge){(uintptr_t)out->payload, out->bytes, 0};
	if (is_inline)
		return 1;
	out->once = verbs_register(t, (void *)(uintptr_t)out->payload, out->bytes, 0);
	if (!out->once)
		return -errno;
	pieces[0].lkey = out->once->lkey;
	return 1;
}

/* Return: 1: the next frame is in the write; 0: it is not for this one; negative errno. */
static int join(struct transport *t, struct verbs_path *p, struct batch *b)
{
	struct verbs_tx *tx = &p->tx;
	uint32_t i = (tx->posted + b->frames) & tx->mask;
	struct verbs_out *out = &tx->ring[i];
	uint32_t bytes = WIRE_HEADER_BYTES + out->bytes;
	uint32_t gap = units_of(b->bytes) * VERBS_UNIT_BYTES - b->bytes;
	struct ibv_sge pieces[VERBS_SGES_LEAST];
	int n = 0;

	if (units_of(bytes) > tx->units / VERBS_RING_FRAMES)
		return -EMSGSIZE; /* there might never be room */
	if (b->alone || (b->frames && b->bytes + bytes > VERBS_WRITE_BYTES) ||
	    !find_place(tx, b, bytes))
		return 0;
	if (out->bytes)
		n = gather(t, p, out, b, pieces);
	if (n < 0 || (out->bytes && !n) || b->count + 1 + (uint32_t)n > t->device.sges)
		return n < 0 ? n : 0;
	b->pieces[b->count++] = (struct ibv_sge){
		.addr = (uintptr_t)&tx->headers[i].frame - gap,
		.length = gap + WIRE_HEADER_BYTES,
		.lkey = tx->headers_mr->lkey,
	};
	for (int k = 0; k < n; k++)
		b->pieces[b->count++] = pieces[k];
	b->frames++;
	b->bytes += gap + bytes;
	return 1;
}

/* As many frames as go into one write.  Return: 1; 0: there is no room; negative errno. */
static int collect(struct transport *t, struct verbs_path *p, struct batch *b)
{
	const struct verbs_tx *tx = &p->tx;
	int ret = 1;

	while (ret > 0 && tx->posted + b->frames != tx->tail &&
	       tx->posted + b->frames - tx->consumed < VERBS_WINDOW)
		ret = join(t, p, b);
	return b->frames ? 1 : ret < 0 ? ret : 0;
}

static int post_batch(struct transport *t, struct verbs_path *p, struct batch *b)
{
	struct verbs_tx *tx = &p->tx;
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
		.sg_list = b->pieces,
		.num_sge = (int)b->count,
		.imm_data = htonl(b->at << VERBS_IMM_PLACE_SHIFT | count_for_peer(p)),
		.wr.rdma = {.remote_addr = p->theirs.ring + (uint64_t)b->at * VERBS_UNIT_BYTES,
			    .rkey = p->theirs.rkey},
	};
	uint32_t first = tx->posted;
	int ret;

	if (b->bytes <= p->inline_bytes)
		wr.send_flags = IBV_SEND_INLINE;
	ret = post(t, p, &wr, b->frames);
	if (ret)
		return ret;
	tx->at = b->at + units_of(b->bytes);
	tx->used += b->skipped;
	for (uint32_t i = first; i != tx->posted; i++) {
		uint32_t bytes = WIRE_HEADER_BYTES + tx->ring[i & tx->mask].bytes;

		tx->taken[i % VERBS_WINDOW] = units_of(bytes) + (i == first ? b->skipped : 0);
		tx->used += units_of(bytes);
		tx->queued_bytes -= bytes;
		t->stats.bytes_sent += bytes;
		t->stats.frames_sent++;
	}
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

/* The peer has next to nothing to do, or it is about small frames only. */
static bool little_is_under_way(const struct verbs_tx *tx)
{
	return tx->used <= LITTLE_BYTES / VERBS_UNIT_BYTES;
}

void verbs_send_start(struct transport *t, struct verbs_path *p, bool more)
{
	struct verbs_tx *tx = &p->tx;
	int ret = 1;

	/* Few large writes cost less than many: but nothing waits while there is nothing to do. */
	more = more && tx->posted != tx->tail && tx->queued_bytes < VERBS_WRITE_BYTES &&
	       tx->held < HELD_POLLS_MAX && !little_is_under_way(tx);
	tx->held = more ? tx->held + 1 : 0;
	while (!more && ret > 0 && tx->posted != tx->tail &&
	       tx->written - tx->retired < VERBS_SEND_DEPTH - SEND_DEPTH_KEPT) {
		struct batch batch = {.count = 0};

		ret = collect(t, p, &batch);
		if (ret > 0)
			ret = post_batch(t, p, &batch);
		ret = ret ? ret : batch.frames > 0;
	}
	if (ret >= 0 && owes_count(p) && tx->written - tx->retired < VERBS_SEND_DEPTH)
		ret = verbs_send_bare(t, p);
	if (ret == -EMSGSIZE)
		verbs_end(t, p, ret, "the peer's ring is too small for our chunks");
	else if (ret && ret == t->device.no_memory)
		verbs_end(t, p, ret, verbs_device_refuses(&t->device));
	else if (ret < 0)
		verbs_end(t, p, ret, "the device takes no work request");
}

void verbs_send_queue(struct transport *t, struct verbs_path *p, const struct wire_frame *frame,
		      const void *payload, uint64_t cookie)
{
	struct verbs_tx *tx = &p->tx;
	struct wire_frame *header = &tx->headers[tx->tail & tx->mask].frame;
	bool with_crc = t->options.payload_crc && frame->payload_bytes;

	assert(verbs_send_room(t, p));
	*header = *frame;
	wire_seal(header, with_crc ? payload : NULL);
	tx->ring[tx->tail & tx->mask] = (struct verbs_out){
		.payload = payload,
		.bytes = frame->payload_bytes,
		.cookie = cookie,
	};
	tx->queued_bytes += WIRE_HEADER_BYTES + frame->payload_bytes;
	tx->tail++;
	/* There is nothing to gather it with, and little to do for the peer: at once. */
	if (tx->tail - tx->posted == 1 && little_is_under_way(tx))
		verbs_send_start(t, p, false);
}

uint64_t verbs_send_flush(struct transport *t, struct verbs_path *p, uint64_t now_ns)
{
	struct verbs_tx *tx = &p->tx;
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_RDMA_WRITE,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {.remote_addr = p->theirs.ring, .rkey = p->theirs.rkey},
	};

	if (p->state != VERBS_UP || p->error || tx->done == tx->posted || !tx->unsignalled) {
		tx->flush_at_ns = 0;
		return UINT64_MAX;
	}
	if (!tx->flush_at_ns || tx->flush_done != tx->done) {
		tx->flush_at_ns = now_ns + FLUSH_NS;
		tx->flush_done = tx->done;
	}
	if (now_ns < tx->flush_at_ns)
		return tx->flush_at_ns;
	tx->flush_at_ns = 0;
	if (tx->written - tx->retired < VERBS_SEND_DEPTH)
		(void)post(t, p, &wr, 0);
	return UINT64_MAX;
}

/* --- results -------------------------------------------------------------------------------- */

/* Is `a` before `b`, in numbers that run on? */
static bool before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/*
 * What is no longer needed.  A frame that was consumed has been executed: should it be sent again,
 * because its acknowledgement was lost, the peer's device throws it away, whatever is in it.  But
 * it is read, so what was registered for it stays until it has completed.
 */
static void settle(struct verbs_tx *tx)
{
	for (; tx->done != tx->posted; tx->done++) {
		struct verbs_out *out = &tx->ring[tx->done & tx->mask];
		bool completed = before(tx->done, tx->completed);

		if (!completed && (out->once || !before(tx->done, tx->consumed)))
			return;
		free_once(out);
	}
}

void verbs_send_done(struct verbs_path *p, uint64_t wr_id)
{
	struct verbs_tx *tx = &p->tx;

	tx->retired = (uint32_t)wr_id;
	tx->completed = (uint32_t)(wr_id >> 32);
	settle(tx);
}

void verbs_send_consumed(struct transport *t, struct verbs_path *p, uint32_t count)
{
	struct verbs_tx *tx = &p->tx;
	uint32_t more = (count - tx->consumed) & VERBS_IMM_COUNT;

	if (!more)
		return;
	if (more > tx->posted - tx->consumed) {
		verbs_break(t, p, WIRE_BAD_FIELD);
		return;
	}
	for (; more; more--)
		tx->used -= tx->taken[tx->consumed++ % VERBS_WINDOW];
	settle(tx);
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
