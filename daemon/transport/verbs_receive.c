/*
 * verbs_receive.c - from completions to headers and placed payloads.
 *
 *   IDLE --arrived, header checked--> ANNOUNCE --told--> PLACE --place()--> FRAME --told--> IDLE
 *                                 `------------------ no payload ------------^
 *
 * What stays in the ring is consumed when the path is looked at next, after its FRAME was told.
 * Writes that arrived wait in the path's ring, in order; `arrived` says where.  The first is
 * worked on, frame by frame.  The ring is the peer's to write: what is there may change under our
 * hands, so a header is copied before it is looked at, and a payload is checked where it was
 * copied to; one that stays is not checked.
 */
#include "daemon/transport/verbs.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Whole pages. */
#define RING_BYTES \
	((VERBS_RING_FRAMES * (WIRE_CHUNK_BYTES_MAX + 2 * WIRE_HEADER_BYTES) + 4095u) / 4096 * 4096)
static_assert(RING_BYTES < VERBS_RING_BYTES_MAX, "an immediate can name every place");

int verbs_receive_init(struct transport *t, struct verbs_path *p)
{
	struct verbs_rx *rx = &p->rx;
	size_t bytes = RING_BYTES;
	void *ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ring == MAP_FAILED)
		return -errno;
	rx->ring = ring;
	rx->ring_bytes = bytes;
	rx->ring_mr =
		verbs_register(t, ring, bytes, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	return rx->ring_mr ? 0 : -errno;
}

void verbs_receive_free(struct verbs_path *p)
{
	struct verbs_rx *rx = &p->rx;

	if (rx->ring_mr)
		(void)ibv_dereg_mr(rx->ring_mr);
	if (rx->ring)
		(void)munmap(rx->ring, rx->ring_bytes);
	*rx = (struct verbs_rx){0};
}

void verbs_receive_arrived(struct transport *t, struct verbs_path *p, uint32_t imm, uint32_t bytes)
{
	uint32_t place = (imm & ~VERBS_IMM_BARE) >> VERBS_IMM_PLACE_SHIFT;
	struct verbs_rx *rx = &p->rx;

	if (!(imm & VERBS_IMM_BARE)) {
		if (bytes < WIRE_HEADER_BYTES || rx->count == VERBS_WINDOW ||
		    (size_t)place * VERBS_UNIT_BYTES + bytes > rx->ring_bytes) {
			verbs_break(t, p, WIRE_BAD_LENGTH);
			return;
		}
		rx->arrived[(rx->first + rx->count++) % VERBS_WINDOW].place = place;
		rx->arrived[(rx->first + rx->count - 1) % VERBS_WINDOW].bytes = bytes;
	}
	verbs_send_consumed(t, p, imm & VERBS_IMM_COUNT);
}

/* The frame that is worked on. */
static unsigned char *here(const struct verbs_rx *rx)
{
	return rx->ring + (size_t)rx->arrived[rx->first].place * VERBS_UNIT_BYTES + rx->offset;
}

/* It is not needed in the ring any more. */
static void consume(struct transport *t, struct verbs_rx *rx)
{
	uint32_t bytes = WIRE_HEADER_BYTES + rx->frame.payload_bytes;
	uint32_t units = (bytes + VERBS_UNIT_BYTES - 1) / VERBS_UNIT_BYTES;

	t->stats.bytes_received += bytes;
	rx->units += units;
	rx->consumed++;
	rx->offset += units * VERBS_UNIT_BYTES;
	if (rx->offset < rx->arrived[rx->first].bytes)
		return;
	rx->offset = 0;
	rx->first = (rx->first + 1) % VERBS_WINDOW;
	rx->count--;
}

/* Its reader has had its time: nothing of the ring is given back but with what is posted next. */
static void take_back(struct transport *t, struct verbs_rx *rx)
{
	rx->stays = false;
	consume(t, rx);
}

/* Does the frame end where the write ends, or where there is room for another header? */
static bool length_fits(const struct verbs_rx *rx)
{
	uint32_t left = rx->arrived[rx->first].bytes - rx->offset;
	uint32_t bytes = WIRE_HEADER_BYTES + rx->frame.payload_bytes;
	uint32_t next = (bytes + VERBS_UNIT_BYTES - 1) / VERBS_UNIT_BYTES * VERBS_UNIT_BYTES;

	return bytes == left || (next < left && left - next >= WIRE_HEADER_BYTES);
}

static void begin(struct transport *t, struct verbs_path *p)
{
	struct verbs_rx *rx = &p->rx;
	enum wire_verdict verdict;

	memcpy(&rx->frame, here(rx), sizeof(rx->frame));
	verdict = wire_check(&rx->frame);
	if (verdict == WIRE_OK && !length_fits(rx))
		verdict = WIRE_BAD_LENGTH;
	if (verdict != WIRE_OK) {
		verbs_break(t, p, verdict);
		return;
	}
	rx->payload = NULL;
	rx->verdict = WIRE_OK;
	rx->state = rx->frame.payload_bytes ? VERBS_RX_ANNOUNCE : VERBS_RX_FRAME;
	if (rx->state == VERBS_RX_FRAME)
		consume(t, rx);
}

void verbs_receive_place(struct transport *t, struct verbs_path *p, void *dst)
{
	struct verbs_rx *rx = &p->rx;

	assert(rx->state == VERBS_RX_PLACE);
	if (dst == TRANSPORT_STAYS) {
		rx->payload = here(rx) + WIRE_HEADER_BYTES;
		rx->stays = true;
		rx->state = VERBS_RX_FRAME;
		return;
	}
	if (dst) {
		memcpy(dst, here(rx) + WIRE_HEADER_BYTES, rx->frame.payload_bytes);
		rx->verdict = wire_check_payload(&rx->frame, dst);
	}
	consume(t, rx);
	if (rx->verdict != WIRE_OK && !(rx->frame.flags & WIRE_FLAG_ARENA)) {
		verbs_break(t, p, rx->verdict);
		return;
	}
	rx->payload = dst;
	rx->state = VERBS_RX_FRAME;
}

bool verbs_receive_event(struct transport *t, struct verbs_path *p, struct transport_event *event)
{
	struct verbs_rx *rx = &p->rx;

	if (rx->state == VERBS_RX_IDLE && rx->stays)
		take_back(t, rx);
	if (rx->state == VERBS_RX_IDLE && rx->count)
		begin(t, p);
	if (rx->state != VERBS_RX_ANNOUNCE && rx->state != VERBS_RX_FRAME)
		return false;
	event->kind = rx->state == VERBS_RX_FRAME ? TRANSPORT_FRAME : TRANSPORT_HEADER;
	event->frame = rx->frame;
	event->payload = rx->payload;
	event->verdict = rx->verdict;
	if (rx->state == VERBS_RX_FRAME)
		t->stats.frames_received++;
	rx->lent |= rx->state == VERBS_RX_FRAME && rx->stays;
	rx->state = rx->state == VERBS_RX_FRAME ? VERBS_RX_IDLE : VERBS_RX_PLACE;
	return true;
}
