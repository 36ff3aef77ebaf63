/*
 * wire.c - the header: what it may say, and sealing it.
 *
 * Two constant tables say everything that can be said field by field: `kinds` has what
 * payload each kind brings, `fields` has who uses a field, who may not leave it zero and
 * how large it may be.  A new kind is one line in `kinds`, a new field one in `fields`.
 * Only rules that join two fields are code: cross_check(), zero_check(), length_check().
 * Payloads are judged in wire_messages.c.
 */
#include "proto/wire.h"

#include <math.h>
#include <string.h>

#include "proto/crc32c.h"
#include "proto/shm.h"

/* Sorts of kinds that use the same fields; bits, so that a field can name several. */
#define CONTRIBUTION 0x01u
#define FINAL 0x02u
#define CREDIT 0x04u
#define MESSAGE 0x08u /* a control frame that must not get lost: numbered */
#define SIGNAL 0x10u  /* a control frame that is as good as the next one  */
#define BYE 0x20u
#define HELLO 0x40u
#define CALL 0x80u
#define DATA (CONTRIBUTION | FINAL)
#define ANY 0xffu

#define TABLE_BYTES(nodes, ranks)                                         \
	(sizeof(struct wire_table) + (nodes) * sizeof(struct wire_node) + \
	 (ranks) * sizeof(uint16_t))

#define LEASE_BYTES(choices) (sizeof(struct wire_lease) + (choices) * sizeof(struct wire_choice))

static_assert(TABLE_BYTES(WIRE_NODES_MAX, WIRE_RANKS_MAX) <= WIRE_MESSAGE_BYTES_MAX, "fits");

struct kind {
	const char *name;
	uint32_t sort;
	uint32_t payload_min;
	uint32_t payload_max;
};

#define FIXED(type) sizeof(type), sizeof(type)

static const struct kind kinds[] = {
	[WIRE_HELLO] = {"HELLO", HELLO, FIXED(struct wire_hello)},
	[WIRE_CONTRIBUTION] = {"CONTRIBUTION", CONTRIBUTION, 0, WIRE_CHUNK_BYTES_MAX},
	[WIRE_FINAL] = {"FINAL", FINAL, 0, WIRE_CHUNK_BYTES_MAX},
	[WIRE_CREDIT] = {"CREDIT", CREDIT, 0, 0},
	[WIRE_CALL] = {"CALL", CALL, 0, 0},
	[WIRE_JOIN] = {"JOIN", MESSAGE, FIXED(struct wire_join)},
	[WIRE_REFUSE] = {"REFUSE", MESSAGE, FIXED(struct wire_refuse)},
	[WIRE_TABLE] = {"TABLE", MESSAGE, TABLE_BYTES(1, 1),
			TABLE_BYTES(WIRE_NODES_MAX, WIRE_RANKS_MAX)},
	[WIRE_READY] = {"READY", MESSAGE, FIXED(struct wire_ready)},
	[WIRE_GO] = {"GO", MESSAGE, FIXED(struct wire_ready)},
	[WIRE_LEAVE] = {"LEAVE", MESSAGE, FIXED(struct wire_leave)},
	[WIRE_PROPOSE] = {"PROPOSE", MESSAGE, FIXED(struct wire_end)},
	[WIRE_END] = {"END", MESSAGE, FIXED(struct wire_end)},
	[WIRE_BEAT] = {"BEAT", SIGNAL, FIXED(struct wire_beat)},
	[WIRE_ACK] = {"ACK", SIGNAL, 0, 0},
	[WIRE_BYE] = {"BYE", BYE, 0, 0},
	[WIRE_CHOOSE] = {"CHOOSE", MESSAGE, FIXED(struct wire_choose)},
	[WIRE_LEASE] = {"LEASE", MESSAGE, LEASE_BYTES(0), LEASE_BYTES(WIRE_CHOICES_MAX)},
};

struct field {
	uint8_t offset;
	uint8_t bytes;
	uint8_t users;    /* sorts that may use it; in all others it is zero */
	uint8_t required; /* sorts of which it may not be zero               */
	uint64_t max;
};

#define FIELD(name) offsetof(struct wire_frame, name), sizeof(((struct wire_frame *)0)->name)

static const struct field fields[] = {
	{FIELD(group), DATA | CREDIT | CALL, DATA | CALL, UINT64_MAX},
	{FIELD(seq), DATA | CALL, DATA | CALL, UINT64_MAX - 1},
	{FIELD(key), DATA | CALL, 0, UINT64_MAX},
	{FIELD(count), DATA | CALL, 0, WIRE_COUNT_MAX},
	{FIELD(done_through), DATA | CREDIT | CALL, 0, UINT64_MAX - 1},
	{FIELD(weight), DATA, 0, UINT64_MAX},
	{FIELD(epoch), DATA | CREDIT | CALL, DATA | CALL, UINT32_MAX},
	{FIELD(chunk), DATA, 0, UINT32_MAX},
	{FIELD(contributors), DATA, DATA, WIRE_RANKS_MAX},
	{FIELD(divisor), FINAL, FINAL, WIRE_RANKS_MAX},
	{FIELD(call_digest), DATA | CALL, DATA | CALL, UINT32_MAX},
	{FIELD(path_seq), DATA | CREDIT | MESSAGE | BYE, MESSAGE, UINT32_MAX},
	{FIELD(path_ack), DATA | CREDIT | MESSAGE | SIGNAL | BYE | CALL, 0, UINT32_MAX},
	{FIELD(credit_contribution), DATA | CREDIT | CALL, 0, UINT32_MAX},
	{FIELD(credit_final), DATA | CREDIT | CALL, 0, UINT32_MAX},
	{FIELD(credit_post_us), DATA, 0, UINT32_MAX},
	{FIELD(avail_post_us), DATA, 0, UINT32_MAX},
	{FIELD(turn_us), DATA | CREDIT, 0, UINT32_MAX},
	{FIELD(node), DATA | CREDIT | CALL, 0, WIRE_NODES_MAX - 1},
	{FIELD(lane), DATA | CREDIT | CALL, 0, WIRE_LANES_MAX - 1},
	{FIELD(path), DATA | CREDIT | CALL, 0, WIRE_PATHS_MAX - 1},
	{FIELD(codec), DATA | CALL, 0, UINT16_MAX},
	{FIELD(feedback), DATA | CALL, 0, UINT16_MAX},
	{FIELD(schedule), DATA | CALL, DATA | CALL, UINT16_MAX},
	{FIELD(op), DATA | CALL, DATA | CALL, WIRE_OP_ALLREDUCE},
	{FIELD(type), DATA | CALL, DATA | CALL, SHM_I64},
	{FIELD(reduce), DATA | CALL, DATA | CALL, SHM_PROD},
	{FIELD(payload_type), DATA, 0, SHM_I64},
	{FIELD(flags), DATA, 0, WIRE_FLAGS_KNOWN},
	{FIELD(reserved0), 0, 0, 0},
	{FIELD(culprit), DATA, 0, WIRE_RANKS_MAX},
	{FIELD(reserved1), 0, 0, 0},
	{FIELD(payload_crc), ANY, 0, UINT32_MAX},
	{FIELD(payload_has_crc), ANY, 0, 1},
};

#define FIELDS (sizeof(fields) / sizeof(fields[0]))

static const struct kind *find_kind(uint16_t kind)
{
	if (kind >= sizeof(kinds) / sizeof(kinds[0]) || !kinds[kind].name)
		return NULL;
	return &kinds[kind];
}

static uint64_t field_value(const struct wire_frame *frame, const struct field *field)
{
	uint64_t value = 0;

	memcpy(&value, (const char *)frame + field->offset, field->bytes); /* little-endian */
	return value;
}

/* A sum has a weight that is a number, not negative. */
static bool weight_ok(uint64_t bits)
{
	double weight;

	memcpy(&weight, &bits, sizeof(weight));
	return isfinite(weight) && !signbit(weight);
}

/* Values that are wrong only together. */
static bool cross_check(const struct wire_frame *f, uint32_t sort)
{
	if (sort & DATA) {
		/* The empty tensor has one chunk, which is empty. */
		if (f->chunk && f->chunk >= f->count)
			return false;
		if (!f->codec && !f->payload_type)
			return false;
		if ((sort & FINAL) && (f->flags & WIRE_FLAG_ARENA))
			return false;
		return weight_ok(f->weight);
	}
	/* A CREDIT is about a group and its epoch, or is an acknowledgement only. */
	if (sort & CREDIT)
		return !f->group || f->epoch;
	return true;
}

/* What is unused although the kind has a use for it. */
static bool zero_check(const struct wire_frame *f, uint32_t sort)
{
	if (!f->payload_has_crc && f->payload_crc)
		return false;
	if ((sort & DATA) && f->codec && f->payload_type)
		return false;
	if ((sort & DATA) && f->culprit && !(f->flags & WIRE_FLAG_NONFINITE))
		return false;
	if ((sort & CREDIT) && !f->group)
		return !f->epoch && !f->done_through && !f->credit_contribution &&
		       !f->credit_final && !f->turn_us && !f->node;
	return true;
}

static bool length_check(const struct wire_frame *f, const struct kind *kind)
{
	if (f->payload_bytes < kind->payload_min || f->payload_bytes > kind->payload_max)
		return false;
	/* Plain elements come whole, and no more of them than the tensor has. */
	if ((kind->sort & DATA) && !f->codec) {
		size_t element = shm_type_bytes(f->payload_type);

		return f->payload_bytes % element == 0 && f->payload_bytes / element <= f->count;
	}
	return true;
}

const char *wire_verdict_name(enum wire_verdict verdict)
{
	switch (verdict) {
	case WIRE_OK: return "ok";
	case WIRE_BAD_MAGIC: return "bad magic";
	case WIRE_BAD_VERSION: return "unknown version";
	case WIRE_BAD_CRC: return "bad header checksum";
	case WIRE_BAD_KIND: return "unknown kind";
	case WIRE_BAD_FIELD: return "field out of range";
	case WIRE_NOT_ZERO: return "unused field not zero";
	case WIRE_BAD_LENGTH: return "bad payload length";
	case WIRE_BAD_PAYLOAD: return "bad payload";
	}
	return "unknown verdict";
}

const char *wire_kind_name(uint16_t kind)
{
	const struct kind *found = find_kind(kind);

	return found ? found->name : "unknown kind";
}

enum wire_verdict wire_check(const struct wire_frame *frame)
{
	const struct kind *kind;

	if (frame->magic != WIRE_MAGIC)
		return WIRE_BAD_MAGIC;
	if (frame->version != WIRE_VERSION)
		return WIRE_BAD_VERSION;
	if (frame->header_crc != crc32c(0, frame, offsetof(struct wire_frame, header_crc)))
		return WIRE_BAD_CRC;
	kind = find_kind(frame->kind);
	if (!kind)
		return WIRE_BAD_KIND;
	for (size_t i = 0; i < FIELDS; i++) {
		uint64_t value = field_value(frame, &fields[i]);

		if ((fields[i].users & kind->sort) && value > fields[i].max)
			return WIRE_BAD_FIELD;
		if ((fields[i].required & kind->sort) && !value)
			return WIRE_BAD_FIELD;
	}
	if (!cross_check(frame, kind->sort))
		return WIRE_BAD_FIELD;
	for (size_t i = 0; i < FIELDS; i++)
		if (!(fields[i].users & kind->sort) && field_value(frame, &fields[i]))
			return WIRE_NOT_ZERO;
	if (!zero_check(frame, kind->sort))
		return WIRE_NOT_ZERO;
	return length_check(frame, kind) ? WIRE_OK : WIRE_BAD_LENGTH;
}

enum wire_verdict wire_check_payload(const struct wire_frame *frame, const void *payload)
{
	if (frame->payload_has_crc &&
	    frame->payload_crc != crc32c(0, payload, frame->payload_bytes))
		return WIRE_BAD_PAYLOAD;
	return WIRE_OK;
}

void wire_seal(struct wire_frame *frame, const void *payload)
{
	frame->magic = WIRE_MAGIC;
	frame->version = WIRE_VERSION;
	if (payload) {
		frame->payload_crc = crc32c(0, payload, frame->payload_bytes);
		frame->payload_has_crc = 1;
	}
	frame->header_crc = crc32c(0, frame, offsetof(struct wire_frame, header_crc));
}

size_t wire_table_bytes(uint32_t nodes, uint32_t ranks)
{
	return TABLE_BYTES((size_t)nodes, (size_t)ranks);
}

const struct wire_node *wire_table_nodes(const struct wire_table *table)
{
	return (const struct wire_node *)(table + 1);
}

const uint16_t *wire_table_ranks(const struct wire_table *table)
{
	return (const uint16_t *)(wire_table_nodes(table) + table->nodes);
}

size_t wire_lease_bytes(uint32_t choices)
{
	return LEASE_BYTES((size_t)choices);
}

const struct wire_choice *wire_lease_choices(const struct wire_lease *lease)
{
	return (const struct wire_choice *)(lease + 1);
}

uint32_t wire_call_digest(uint8_t op, uint8_t type, uint8_t reduce, uint64_t count, uint64_t key,
			  uint32_t coding, uint16_t schedule)
{
	const uint64_t call[] = {(uint64_t)op | (uint64_t)type << 8 | (uint64_t)reduce << 16 |
					 (uint64_t)coding << 32,
				 schedule, count, key};
	uint32_t digest = crc32c(0, call, sizeof(call));

	return digest ? digest : 1;
}
