/*
 * uring_send.c - from a path's queue of frames to its socket.
 *
 * One operation is in flight on a path; what is queued meanwhile goes out with the
 * next one, many small frames at once.  MSG_WAITALL makes the kernel go on by itself
 * when the socket is full, so that an operation usually ends with all of its bytes.
 *
 *    head ......... sent ............ tail        frames, in a ring
 *     | with kernel,  |  queued; the first `offset` bytes
 *     | maybe held    |  of frame `sent` are gone
 *
 * Zero-copy: an operation is a *batch* that holds its frames until its notification.
 * Frames are reported in order, the first when nothing holds it any more.  A payload
 * in a registered buffer goes as two linked operations, header and payload, because
 * SEND_ZC takes one buffer.
 */
#include "daemon/transport/uring.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>

uint32_t uring_send_room(const struct transport *t, const struct uring_path *p)
{
	const struct uring_tx *tx = &p->tx;
	uint32_t queue = t->options.queue_frames - (tx->tail - tx->sent);
	uint32_t ring = tx->mask + 1 - (tx->tail - tx->head);

	if (tx->error)
		return 0;
	return queue < ring ? queue : ring;
}

void uring_send_queue(struct transport *t, struct uring_path *p, const struct wire_frame *frame,
		      const void *payload, uint64_t cookie)
{
	struct uring_tx *tx = &p->tx;
	struct uring_out *out = &tx->ring[tx->tail & tx->mask];
	bool with_crc = t->options.payload_crc && frame->payload_bytes;

	assert(uring_send_room(t, p));
	assert(payload || !frame->payload_bytes);
	out->header = *frame;
	wire_seal(&out->header, with_crc ? payload : NULL);
	out->payload = payload;
	out->cookie = cookie;
	out->holds = 0;
	tx->tail++;
	uring_want_work(t, p);
}

bool uring_send_unfinished(const struct uring_path *p)
{
	return p->tx.sent != p->tx.tail || p->tx.batches_used;
}

/* --- starting ------------------------------------------------------------------------------- */

static bool wants_zerocopy(const struct transport *t, const struct uring_path *p,
			   const struct uring_out *out)
{
	return p->tx.zerocopy && out->header.payload_bytes >= t->options.zerocopy_bytes_min;
}

/* Add what is left of a piece after `skip` bytes, which are taken off. */
static size_t add_part(struct uring_tx *tx, void *at, size_t bytes, uint32_t *skip)
{
	if (*skip >= bytes) {
		*skip -= (uint32_t)bytes;
		return 0;
	}
	tx->parts[tx->message.msg_iovlen++] = (struct iovec){
		.iov_base = (unsigned char *)at + *skip,
		.iov_len = bytes - *skip,
	};
	bytes -= *skip;
	*skip = 0;
	return bytes;
}

/* Describe the next frames in tx->message.  Return: how many. */
static uint32_t gather(struct transport *t, struct uring_path *p, bool zerocopy)
{
	struct uring_tx *tx = &p->tx;
	uint32_t skip = tx->offset;
	size_t bytes = 0;
	uint32_t i = tx->sent;

	tx->message = (struct msghdr){.msg_iov = tx->parts};
	while (i != tx->tail && i - tx->sent < URING_GATHER_FRAMES && bytes < URING_GATHER_BYTES) {
		struct uring_out *out = &tx->ring[i & tx->mask];

		if (i != tx->sent && wants_zerocopy(t, p, out) != zerocopy)
			break;
		bytes += add_part(tx, &out->header, WIRE_HEADER_BYTES, &skip);
		bytes += add_part(tx, (void *)(uintptr_t)out->payload, out->header.payload_bytes,
				  &skip);
		i++;
	}
	return i - tx->sent;
}

/* Return: index of a free batch, or -1: send this one by copying. */
static int batch_find(const struct uring_tx *tx)
{
	for (int i = 0; tx->batches_used < URING_BATCHES && i < URING_BATCHES; i++)
		if (!tx->batches[i].used)
			return i;
	return -1;
}

static void batch_hold(struct uring_tx *tx, int index, uint32_t count)
{
	tx->batches[index] = (struct uring_batch){.first = tx->sent, .count = count, .used = true};
	tx->batches_used++;
	for (uint32_t i = 0; i < count; i++)
		tx->ring[(tx->sent + i) & tx->mask].holds++;
}

static void batch_release(struct uring_tx *tx, uint32_t index)
{
	struct uring_batch *batch = &tx->batches[index];

	assert(batch->used);
	batch->used = false;
	tx->batches_used--;
	for (uint32_t i = 0; i < batch->count; i++)
		tx->ring[(batch->first + i) & tx->mask].holds--;
}

static unsigned zerocopy_flags(const struct transport *t)
{
	return t->features.zerocopy_usage ? URING_SEND_ZC_REPORT_USAGE : 0;
}

/* The detail of a send's name is its batch, counted from 1; 0 is none. */
static void launch(struct uring_path *p, struct io_uring_sqe *sqe, int batch)
{
	uring_name(sqe, URING_OP_SEND, p->slot, (uint32_t)(batch + 1));
	p->inflight++;
	p->tx.busy++;
}

static void start_message(struct transport *t, struct uring_path *p, int batch)
{
	uint32_t count = gather(t, p, batch >= 0);
	struct io_uring_sqe *sqe = uring_sqe(t);
	unsigned flags = MSG_NOSIGNAL | MSG_WAITALL;

	if (batch >= 0) {
		io_uring_prep_sendmsg_zc(sqe, p->fd, &p->tx.message, flags);
		sqe->ioprio |= (uint16_t)zerocopy_flags(t);
		batch_hold(&p->tx, batch, count);
	} else {
		io_uring_prep_sendmsg(sqe, p->fd, &p->tx.message, flags);
	}
	launch(p, sqe, batch);
}

/* The frame's header, if it is not gone yet, and its payload out of registered memory. */
static void start_fixed(struct transport *t, struct uring_path *p, int batch, int region)
{
	struct uring_tx *tx = &p->tx;
	struct uring_out *out = &tx->ring[tx->sent & tx->mask];
	uint32_t skip = tx->offset > WIRE_HEADER_BYTES ? tx->offset - WIRE_HEADER_BYTES : 0;
	struct io_uring_sqe *sqe;

	if (tx->offset < WIRE_HEADER_BYTES) {
		sqe = uring_sqe(t);
		io_uring_prep_send(sqe, p->fd, (unsigned char *)&out->header + tx->offset,
				   WIRE_HEADER_BYTES - tx->offset,
				   MSG_NOSIGNAL | MSG_WAITALL | MSG_MORE);
		io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
		launch(p, sqe, -1);
	}
	sqe = uring_sqe(t);
	io_uring_prep_send_zc_fixed(sqe, p->fd, (const unsigned char *)out->payload + skip,
				    out->header.payload_bytes - skip, MSG_NOSIGNAL | MSG_WAITALL,
				    zerocopy_flags(t), (unsigned)region);
	batch_hold(tx, batch, 1);
	launch(p, sqe, batch);
}

void uring_send_start(struct transport *t, struct uring_path *p)
{
	struct uring_tx *tx = &p->tx;
	const struct uring_out *out;
	int batch = -1;
	int region = -1;

	if (tx->busy || tx->error || tx->sent == tx->tail)
		return;
	out = &tx->ring[tx->sent & tx->mask];
	if (wants_zerocopy(t, p, out))
		batch = batch_find(tx);
	if (batch >= 0)
		region = uring_feature_region(t, out->payload, out->header.payload_bytes);
	if (region >= 0)
		start_fixed(t, p, batch, region);
	else
		start_message(t, p, batch);
}

/* --- results -------------------------------------------------------------------------------- */

static void advance(struct transport *t, struct uring_path *p, uint32_t bytes)
{
	struct uring_tx *tx = &p->tx;

	t->stats.bytes_sent += bytes;
	tx->offset += bytes;
	while (tx->sent != tx->tail) {
		uint32_t whole =
			WIRE_HEADER_BYTES + tx->ring[tx->sent & tx->mask].header.payload_bytes;

		if (tx->offset < whole)
			break;
		tx->offset -= whole;
		tx->sent++;
		t->stats.frames_sent++;
	}
	assert(tx->sent != tx->tail || !tx->offset);
}

/* AUTO: zero-copy that copies costs more than copying. */
static void judge_zerocopy(struct transport *t, struct uring_tx *tx, bool copied)
{
	t->stats.zerocopy_sends++;
	tx->notified++;
	if (copied) {
		t->stats.zerocopy_copied++;
		tx->copied++;
	}
	if (t->options.zerocopy == TRANSPORT_AUTO && tx->zerocopy &&
	    tx->notified >= URING_ZEROCOPY_TRIALS && 2 * tx->copied > tx->notified) {
		tx->zerocopy = false;
		tx->copies = true;
	}
}

/* Errors that a plain send of the same bytes does not have: nothing to pin, no such feature. */
static bool only_zerocopy_failed(int error)
{
	return error == -ENOMEM || error == -ENOBUFS || error == -EOPNOTSUPP || error == -EINVAL;
}

/*
 * Sending is over, but what the peer sent before may still lie in the socket: make the
 * receiving side come to the end of it, and the path goes down there.
 */
static void send_failed(struct uring_path *p, int error)
{
	p->tx.error = error;
	(void)shutdown(p->fd, SHUT_RDWR);
}

void uring_send_done(struct transport *t, struct uring_path *p, const struct io_uring_cqe *cqe,
		     uint32_t batch)
{
	struct uring_tx *tx = &p->tx;

	if (cqe->flags & IORING_CQE_F_NOTIF) {
		judge_zerocopy(t, tx, (uint32_t)cqe->res & URING_NOTIF_USAGE_ZC_COPIED);
		batch_release(tx, batch - 1);
		uring_want_report(t, p);
		return;
	}
	if (batch && !(cqe->flags & IORING_CQE_F_MORE))
		batch_release(tx, batch - 1);
	tx->busy--;
	if (cqe->res > 0)
		advance(t, p, (uint32_t)cqe->res);
	else if (batch && only_zerocopy_failed(cqe->res))
		tx->zerocopy = false;
	else if (cqe->res != -EINTR && cqe->res != -EAGAIN && cqe->res != -ECANCELED &&
		 !tx->error && !p->failing)
		send_failed(p, cqe->res ? cqe->res : -EPIPE);
	if (!tx->busy && tx->sent != tx->tail && !p->failing)
		uring_want_work(t, p);
	uring_want_report(t, p);
}

bool uring_send_event(struct uring_path *p, struct transport_event *event)
{
	struct uring_tx *tx = &p->tx;
	const struct uring_out *out = &tx->ring[tx->head & tx->mask];

	if (tx->head == tx->sent || out->holds)
		return false;
	tx->head++;
	event->kind = TRANSPORT_SENT;
	event->cookie = out->cookie;
	return true;
}
