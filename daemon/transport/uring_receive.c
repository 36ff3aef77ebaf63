/*
 * uring_receive.c - from a path's socket to headers and placed payloads.
 *
 *   HEADER --header checked--> ANNOUNCE --told--> PLACE --place()--> PAYLOAD
 *     ^  |                                                              |
 *     |  +------- no payload -----> FRAME <-----------all there---------+
 *     +------------- told ------------+
 *
 * What arrives comes to one of three places:
 *   staging     a few KiB of the path: headers, small payloads, whatever is behind them
 *   direct      the rest of a large payload, into placed memory, without a copy
 *   multishot   buffers of the lane, which the kernel fills as data comes; copied out
 * An operation is armed only when nothing of what came before is unread (a multishot
 * that is armed stays so), so the order is plain: there is one source at a time.
 *
 * Without multishot a path that waits for place() has nothing armed: TCP's window
 * pushes back.  With it, a path that holds its share of buffers is stopped; and one
 * that finds the lane's buffers used up receives into its staging meanwhile, so that no
 * path waits for another one.
 */
#include "daemon/transport/uring.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert(URING_BUFFERS <= UINT16_MAX, "numbers of buffers fit chunk_next");

/* --- what has arrived and is unread --------------------------------------------------------- */

static unsigned char *buffer_at(struct transport *t, uint16_t chunk)
{
	return t->buffers + (size_t)chunk * URING_BUFFER_BYTES;
}

static void give_buffer(struct transport *t, uint16_t chunk)
{
	io_uring_buf_ring_add(t->buffer_ring, buffer_at(t, chunk), URING_BUFFER_BYTES, chunk,
			      io_uring_buf_ring_mask(URING_BUFFERS), 0);
	io_uring_buf_ring_advance(t->buffer_ring, 1);
	t->buffers_free++;
}

static void chunk_put(struct transport *t, struct uring_rx *rx, uint16_t chunk, uint32_t bytes)
{
	t->chunk_bytes[chunk] = bytes;
	if (rx->chunks++)
		t->chunk_next[rx->chunk_last] = chunk;
	else
		rx->chunk_first = chunk;
	rx->chunk_last = chunk;
}

static void chunk_drop(struct transport *t, struct uring_rx *rx)
{
	uint16_t chunk = rx->chunk_first;

	rx->chunk_first = t->chunk_next[chunk];
	rx->chunk_from = 0;
	rx->chunks--;
	give_buffer(t, chunk);
}

static bool anything_unread(const struct uring_rx *rx)
{
	return rx->from != rx->to || rx->chunks;
}

/* Move at most `bytes` of what is unread to dst (NULL: nowhere).  Return: how many. */
static uint32_t take(struct transport *t, struct uring_rx *rx, unsigned char *dst, uint32_t bytes)
{
	uint32_t taken = 0;

	while (taken < bytes && anything_unread(rx)) {
		bool staged = rx->from != rx->to;
		const unsigned char *at = staged ? rx->staging + rx->from
						 : buffer_at(t, rx->chunk_first) + rx->chunk_from;
		uint32_t there = staged ? rx->to - rx->from
					: t->chunk_bytes[rx->chunk_first] - rx->chunk_from;
		uint32_t n = there < bytes - taken ? there : bytes - taken;

		if (dst)
			memcpy(dst + taken, at, n);
		taken += n;
		if (staged)
			rx->from += n;
		else if (n == there)
			chunk_drop(t, rx);
		else
			rx->chunk_from += n;
	}
	return taken;
}

/* --- going on ------------------------------------------------------------------------------- */

static void take_payload_bytes(struct uring_rx *rx, uint32_t bytes)
{
	rx->left -= bytes;
	if (rx->at)
		rx->at += bytes;
}

/* A header is complete. */
static void check_header(struct transport *t, struct uring_path *p)
{
	struct uring_rx *rx = &p->rx;
	enum wire_verdict verdict = wire_check(&rx->frame);

	if (verdict != WIRE_OK) {
		uring_fail(t, p, -EBADMSG, verdict);
		return;
	}
	rx->payload = NULL;
	rx->verdict = WIRE_OK;
	rx->state = rx->frame.payload_bytes ? URING_RX_ANNOUNCE : URING_RX_FRAME;
	uring_want_report(t, p);
}

/* A payload is complete.  What was thrown away is not checked: nobody uses it. */
static void check_payload(struct transport *t, struct uring_path *p)
{
	struct uring_rx *rx = &p->rx;

	if (rx->payload)
		rx->verdict = wire_check_payload(&rx->frame, rx->payload);
	if (rx->verdict != WIRE_OK && !(rx->frame.flags & WIRE_FLAG_ARENA)) {
		uring_fail(t, p, -EBADMSG, rx->verdict);
		return;
	}
	rx->state = URING_RX_FRAME;
	uring_want_report(t, p);
}

/* There is nothing more to read: either some will come, or this is the end. */
static void starve(struct transport *t, struct uring_path *p)
{
	const struct uring_rx *rx = &p->rx;
	bool between = rx->state == URING_RX_HEADER && !rx->have;
	int error = rx->error == -EPIPE && !between ? -ECONNRESET : rx->error;

	if (rx->error)
		uring_fail(t, p, p->tx.error ? p->tx.error : error, WIRE_OK);
	else if (rx->armed == URING_RX_IDLE)
		uring_want_work(t, p);
}

/* Use what has arrived, as far as the state allows. */
static void go_on(struct transport *t, struct uring_path *p)
{
	struct uring_rx *rx = &p->rx;

	if (rx->state == URING_RX_HEADER) {
		rx->have += take(t, rx, (unsigned char *)&rx->frame + rx->have,
				 WIRE_HEADER_BYTES - rx->have);
		if (rx->have == WIRE_HEADER_BYTES)
			check_header(t, p);
		else
			starve(t, p);
	} else if (rx->state == URING_RX_PAYLOAD) {
		take_payload_bytes(rx, take(t, rx, rx->at, rx->left));
		if (!rx->left)
			check_payload(t, p);
		else
			starve(t, p);
	}
}

void uring_receive_place(struct transport *t, struct uring_path *p, void *dst)
{
	struct uring_rx *rx = &p->rx;

	assert(rx->state == URING_RX_PLACE);
	rx->state = URING_RX_PAYLOAD;
	rx->payload = dst;
	rx->at = dst;
	rx->left = rx->frame.payload_bytes;
	go_on(t, p);
}

bool uring_receive_event(struct transport *t, struct uring_path *p, struct transport_event *event)
{
	struct uring_rx *rx = &p->rx;

	if (rx->state != URING_RX_ANNOUNCE && rx->state != URING_RX_FRAME)
		return false;
	event->kind = rx->state == URING_RX_FRAME ? TRANSPORT_FRAME : TRANSPORT_HEADER;
	event->frame = rx->frame;
	event->payload = rx->payload;
	event->verdict = rx->verdict;
	if (rx->state == URING_RX_ANNOUNCE) {
		rx->state = URING_RX_PLACE;
		return true;
	}
	t->stats.frames_received++;
	t->stats.bytes_received += WIRE_HEADER_BYTES + rx->frame.payload_bytes;
	rx->state = URING_RX_HEADER;
	rx->have = 0;
	go_on(t, p);
	return true;
}

/* --- operations ----------------------------------------------------------------------------- */

static void arm_multishot(struct transport *t, struct uring_path *p)
{
	struct io_uring_sqe *sqe = uring_sqe(t);

	io_uring_prep_recv_multishot(sqe, p->fd, NULL, 0, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
	sqe->buf_group = 0;
	uring_name(sqe, URING_OP_RECEIVE, p->slot, 0);
	p->rx.armed = URING_RX_MULTISHOT;
	p->inflight++;
}

/* The path has its share of buffers: no more until it has read them. */
static void stop_multishot(struct transport *t, struct uring_path *p)
{
	struct io_uring_sqe *sqe = uring_sqe(t);

	p->rx.stopping = true;
	io_uring_prep_cancel64(sqe, (uint64_t)URING_OP_RECEIVE | (uint64_t)p->slot << 8, 0);
	uring_name(sqe, URING_OP_CANCEL, p->slot, 0);
	p->inflight++;
}

/*
 * How much to take into staging.  Behind a large payload there is probably another one,
 * which had better be received where it belongs than be copied there.
 */
static uint32_t staging_bytes(const struct uring_rx *rx)
{
	bool large = !rx->have && rx->frame.payload_bytes > URING_STAGING_BYTES;

	return large ? URING_STAGING_LESS_BYTES : URING_STAGING_BYTES;
}

static void arm_single(struct transport *t, struct uring_path *p)
{
	struct io_uring_sqe *sqe = uring_sqe(t);
	struct uring_rx *rx = &p->rx;

	if (rx->state == URING_RX_PAYLOAD && rx->left >= URING_DIRECT_BYTES) {
		uint32_t bytes = rx->left;

		if (!rx->at && bytes > URING_SCRATCH_BYTES)
			bytes = URING_SCRATCH_BYTES;
		io_uring_prep_recv(sqe, p->fd, rx->at ? rx->at : t->scratch, bytes, MSG_WAITALL);
		rx->armed = URING_RX_DIRECT;
	} else {
		io_uring_prep_recv(sqe, p->fd, rx->staging, staging_bytes(rx), 0);
		rx->armed = URING_RX_STAGING;
	}
	uring_name(sqe, URING_OP_RECEIVE, p->slot, 0);
	p->inflight++;
}

void uring_receive_start(struct transport *t, struct uring_path *p)
{
	struct uring_rx *rx = &p->rx;

	if (rx->armed == URING_RX_MULTISHOT) {
		if (rx->chunks >= URING_BUFFERS_PER_PATH && !rx->stopping)
			stop_multishot(t, p);
		return;
	}
	if (rx->armed != URING_RX_IDLE || rx->error || anything_unread(rx))
		return;
	if (rx->state != URING_RX_HEADER && rx->state != URING_RX_PAYLOAD)
		return;
	if (rx->starved && t->buffers_free >= URING_BUFFERS / 2)
		rx->starved = false;
	if (t->features.multishot && !rx->starved)
		arm_multishot(t, p);
	else
		arm_single(t, p);
}

/* A completion of the multishot operation, the last one if there is no F_MORE. */
static void multishot_done(struct transport *t, struct uring_path *p,
			   const struct io_uring_cqe *cqe)
{
	struct uring_rx *rx = &p->rx;
	uint16_t chunk = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);

	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		rx->armed = URING_RX_IDLE;
		rx->stopping = false;
	}
	if (!(cqe->flags & IORING_CQE_F_BUFFER))
		return;
	t->buffers_free--;
	if (cqe->res > 0)
		chunk_put(t, rx, chunk, (uint32_t)cqe->res);
	else
		give_buffer(t, chunk);
	if (rx->chunks >= URING_BUFFERS_PER_PATH && rx->armed == URING_RX_MULTISHOT)
		uring_want_work(t, p);
}

static void single_done(struct uring_path *p, int bytes)
{
	struct uring_rx *rx = &p->rx;
	enum uring_rx_armed armed = rx->armed;

	rx->armed = URING_RX_IDLE;
	if (bytes <= 0)
		return;
	if (armed == URING_RX_DIRECT) {
		take_payload_bytes(rx, (uint32_t)bytes);
	} else {
		rx->from = 0;
		rx->to = (uint32_t)bytes;
	}
}

/* The stream has ended, or the operation ended for a reason that is no end. */
static void note_end(struct uring_path *p, int result)
{
	struct uring_rx *rx = &p->rx;

	switch (result) {
	case 0: rx->error = -EPIPE; break; /* closed by the peer */
	case -ENOBUFS: rx->starved = true; break;
	case -EINTR:
	case -EAGAIN:
	case -ECANCELED: break; /* armed again when there is need */
	default: rx->error = result;
	}
}

void uring_receive_done(struct transport *t, struct uring_path *p, const struct io_uring_cqe *cqe)
{
	if (p->rx.armed == URING_RX_MULTISHOT)
		multishot_done(t, p, cqe);
	else
		single_done(p, cqe->res);
	if (p->failing)
		return;
	if (cqe->res <= 0)
		note_end(p, cqe->res);
	go_on(t, p);
}

void uring_receive_close(struct transport *t, struct uring_path *p)
{
	while (p->rx.chunks)
		chunk_drop(t, &p->rx);
}
