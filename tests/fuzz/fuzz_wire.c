/*
 * fuzz_wire.c - headers of frames.
 *
 * Input: WIRE_HEADER_BYTES of header, then payload.  Properties:
 * - what passes wire_check() keeps the ranges of wire.h, stated here once more;
 * - wire_seal() makes magic, version and both checksums right, so only the fields are left
 *   to be refused (this is how the fuzzer gets past the checksum);
 * - after a bit has been flipped, no header passes, and no payload matches.
 */
#include "tests/fuzz/property.h"

#include <math.h>

#include "proto/shm.h"
#include "proto/wire.h"

static int all_zero(const void *data, size_t from, size_t to)
{
	const uint8_t *bytes = data;

	for (size_t i = from; i < to; i++)
		if (bytes[i])
			return 0;
	return 1;
}

#define END_OF(field) (offsetof(struct wire_frame, field) + sizeof(((struct wire_frame *)0)->field))

static void data_holds(const struct wire_frame *f)
{
	double weight;

	memcpy(&weight, &f->weight, sizeof(weight));
	PROPERTY(f->group && f->seq && f->epoch && f->call_digest && f->schedule);
	PROPERTY(f->seq < UINT64_MAX && f->done_through < UINT64_MAX);
	PROPERTY(f->count <= WIRE_COUNT_MAX);
	PROPERTY(f->count ? f->chunk < f->count : f->chunk == 0);
	PROPERTY(weight >= 0 && weight < INFINITY);
	PROPERTY(f->contributors >= 1 && f->contributors <= WIRE_RANKS_MAX);
	PROPERTY(f->kind == WIRE_FINAL ? f->divisor >= 1 && f->divisor <= WIRE_RANKS_MAX
				       : f->divisor == 0);
	PROPERTY(f->node < WIRE_NODES_MAX && f->lane < WIRE_LANES_MAX && f->path < WIRE_PATHS_MAX);
	PROPERTY(f->op == WIRE_OP_ALLREDUCE && shm_type_bytes(f->type));
	PROPERTY(f->reduce >= SHM_SUM && f->reduce <= SHM_PROD);
	PROPERTY(!(f->flags & ~WIRE_FLAGS_KNOWN));
	PROPERTY(!(f->flags & WIRE_FLAG_ARENA) || f->kind == WIRE_CONTRIBUTION);
	PROPERTY(f->payload_bytes <= WIRE_CHUNK_BYTES_MAX);
	if (f->codec) {
		PROPERTY(!f->payload_type);
	} else {
		PROPERTY(shm_type_bytes(f->payload_type));
		PROPERTY(f->payload_bytes % shm_type_bytes(f->payload_type) == 0);
		PROPERTY(f->payload_bytes / shm_type_bytes(f->payload_type) <= f->count);
	}
}

static void control_holds(const struct wire_frame *f)
{
	size_t seq = offsetof(struct wire_frame, path_seq);

	PROPERTY(all_zero(f, offsetof(struct wire_frame, group), seq));
	PROPERTY(all_zero(f, END_OF(path_ack), END_OF(reserved1)));
	if (f->kind == WIRE_HELLO)
		PROPERTY(!f->path_seq && !f->path_ack);
	else if (f->kind == WIRE_BEAT || f->kind == WIRE_ACK)
		PROPERTY(!f->path_seq);
	else if (f->kind != WIRE_BYE)
		PROPERTY(f->path_seq);
	PROPERTY(f->payload_bytes <= WIRE_MESSAGE_BYTES_MAX);
}

static void credit_holds(const struct wire_frame *f)
{
	PROPERTY(!f->group == !f->epoch);
	PROPERTY(f->group || (!f->credit_contribution && !f->credit_final && !f->node));
	PROPERTY(!f->seq && !f->key && !f->count && !f->weight && !f->chunk && !f->contributors);
	PROPERTY(!f->divisor && !f->call_digest && !f->credit_post_us && !f->avail_post_us);
	PROPERTY(f->node < WIRE_NODES_MAX && f->lane < WIRE_LANES_MAX && f->path < WIRE_PATHS_MAX);
	PROPERTY(all_zero(f, offsetof(struct wire_frame, codec), END_OF(reserved1)));
	PROPERTY(!f->payload_bytes);
}

static void call_holds(const struct wire_frame *f)
{
	PROPERTY(f->group && f->seq && f->epoch && f->call_digest && f->schedule);
	PROPERTY(f->count <= WIRE_COUNT_MAX && !f->weight && !f->chunk && !f->contributors);
	PROPERTY(!f->divisor && !f->path_seq && !f->credit_post_us && !f->avail_post_us);
	PROPERTY(f->node < WIRE_NODES_MAX && f->lane < WIRE_LANES_MAX && f->path < WIRE_PATHS_MAX);
	PROPERTY(f->op == WIRE_OP_ALLREDUCE && shm_type_bytes(f->type));
	PROPERTY(f->reduce >= SHM_SUM && f->reduce <= SHM_PROD);
	PROPERTY(!f->payload_type && !f->flags && !f->culprit && !f->payload_bytes);
}

static void good_frame_holds(const struct wire_frame *f)
{
	PROPERTY(f->magic == WIRE_MAGIC && f->version == WIRE_VERSION);
	PROPERTY(strcmp(wire_kind_name(f->kind), "unknown kind"));
	PROPERTY(!f->reserved0 && !f->reserved1);
	PROPERTY(!f->culprit || f->flags & WIRE_FLAG_NONFINITE);
	PROPERTY(f->payload_has_crc <= 1 && (f->payload_has_crc || !f->payload_crc));
	if (f->kind == WIRE_CONTRIBUTION || f->kind == WIRE_FINAL)
		data_holds(f);
	else if (f->kind == WIRE_CREDIT)
		credit_holds(f);
	else if (f->kind == WIRE_CALL)
		call_holds(f);
	else
		control_holds(f);
}

static void payload_holds(struct wire_frame *frame, const struct input *in)
{
	uint8_t *payload = rest_of(in);

	if (in->bytes) {
		size_t bit = frame->key % (8 * in->bytes);

		PROPERTY(wire_check_payload(frame, payload) == WIRE_OK);
		payload[bit / 8] ^= (uint8_t)(1u << bit % 8);
		PROPERTY(wire_check_payload(frame, payload) == WIRE_BAD_PAYLOAD);
	}
	free(payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = {data, bytes};
	struct wire_frame frame;
	enum wire_verdict verdict;
	uint8_t *raw = (uint8_t *)&frame;

	take(&in, &frame, sizeof(frame));
	if (wire_check(&frame) == WIRE_OK)
		good_frame_holds(&frame);

	wire_seal(&frame, NULL);
	verdict = wire_check(&frame);
	PROPERTY(verdict == WIRE_OK || verdict >= WIRE_BAD_KIND);
	PROPERTY(verdict < WIRE_BAD_PAYLOAD);
	PROPERTY(verdict != WIRE_BAD_KIND || !strcmp(wire_kind_name(frame.kind), "unknown kind"));
	if (verdict == WIRE_OK)
		good_frame_holds(&frame);

	for (size_t bit = in.bytes % 7; bit < 8 * sizeof(frame); bit += 7) {
		raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
		PROPERTY(wire_check(&frame) != WIRE_OK);
		raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	PROPERTY(wire_check(&frame) == verdict);

	frame.payload_bytes = (uint32_t)in.bytes;
	wire_seal(&frame, in.data);
	payload_holds(&frame, &in);
	return 0;
}
