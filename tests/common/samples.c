/* samples.c - see samples.h. */
#include "tests/common/samples.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

const uint16_t sample_wire_kinds[] = {
	WIRE_HELLO, WIRE_CONTRIBUTION, WIRE_FINAL, WIRE_CREDIT, WIRE_CALL,
	WIRE_JOIN,  WIRE_REFUSE,       WIRE_TABLE, WIRE_READY,  WIRE_GO,
	WIRE_LEAVE, WIRE_PROPOSE,      WIRE_END,   WIRE_BEAT,   WIRE_ACK,
	WIRE_BYE,   WIRE_CHOOSE,       WIRE_LEASE, 0,
};
const uint16_t sample_ctl_requests[] = {CTL_ATTACH, CTL_CREATE, CTL_DESTROY,
					CTL_QUERY,  CTL_TENSOR, 0};
const uint16_t sample_ctl_answers[] = {CTL_OK,     CTL_ERROR, CTL_ATTACHED, CTL_CREATED, CTL_MORE,
				       CTL_NUMBER, 0};

#define GROUP 0x1122334455667788ull
#define EPOCH 1

static void put(struct sample_payload *payload, const void *data, size_t bytes)
{
	assert(payload->bytes + bytes <= sizeof(payload->data));
	memcpy(payload->data + payload->bytes, data, bytes);
	payload->bytes += bytes;
}

static void put_hello(struct sample_payload *payload)
{
	struct wire_hello hello = {.instance = 0x0123456789abcdefull,
				   .peer_instance = 0xfedcba9876543210ull,
				   .purpose = WIRE_DATA,
				   .lane = 3,
				   .path = 1,
				   .port = 7117,
				   .received = 41,
				   .address = "10.0.0.7",
				   .host = "node7"};
	put(payload, &hello, sizeof(hello));
}

static void put_join(struct sample_payload *payload)
{
	struct wire_join join = {.name = "world",
				 .run = "job-17",
				 .uid = 1000,
				 .rank = 4,
				 .ranks = SAMPLE_RANKS,
				 .pid = 4711,
				 .lanes = 2,
				 .timeout_ms = 300000,
				 .chunk_bytes_max = 1u << 20,
				 .chunk_bytes_usual = 32768,
				 .flat_bytes_max = 1u << 16,
				 .schedule = 0,
				 .paths = 2};
	put(payload, &join, sizeof(join));
}

static void put_refuse(struct sample_payload *payload)
{
	struct wire_refuse refuse = {.name = "world",
				     .run = "job-17",
				     .uid = 1000,
				     .rank = 4,
				     .error = -EEXIST,
				     .text = "rank 4 of group \"world\" is taken by pid 4711"};
	put(payload, &refuse, sizeof(refuse));
}

static void put_table(struct sample_payload *payload)
{
	static const uint16_t ranks[SAMPLE_RANKS] = {0, 0, 1, 0, 2};
	struct wire_table table = {.group = GROUP,
				   .name = "world",
				   .run = "job-17",
				   .uid = 1000,
				   .epoch = EPOCH,
				   .nodes = SAMPLE_NODES,
				   .ranks = SAMPLE_RANKS,
				   .lanes = 2,
				   .chunk_bytes_max = 1u << 20,
				   .chunk_bytes_usual = 32768,
				   .flat_bytes_max = 1u << 16,
				   .paths = 2};

	put(payload, &table, sizeof(table));
	for (unsigned i = 0; i < SAMPLE_NODES; i++) {
		struct wire_node node = {.instance = 100 + i, .port = 7117};

		snprintf(node.address, sizeof(node.address), "fe80::%x%%eth0", i + 1);
		snprintf(node.host, sizeof(node.host), "node%u", i);
		put(payload, &node, sizeof(node));
	}
	put(payload, ranks, sizeof(ranks));
}

static void put_ready(struct sample_payload *payload, uint32_t node)
{
	struct wire_ready ready = {.group = GROUP, .epoch = EPOCH, .node = node};

	put(payload, &ready, sizeof(ready));
}

static void put_leave(struct sample_payload *payload)
{
	struct wire_leave leave = {.group = GROUP,
				   .posted_through = 12,
				   .epoch = EPOCH,
				   .rank = 2,
				   .error = -EOWNERDEAD,
				   .text = "trainer of rank 2 (pid 4711) died"};
	put(payload, &leave, sizeof(leave));
}

static void put_end(struct sample_payload *payload)
{
	struct wire_end end = {.group = GROUP,
			       .first_seq = 13,
			       .last_seq = UINT64_MAX,
			       .epoch = EPOCH,
			       .error = -EOWNERDEAD,
			       .text = "trainer of rank 2 (pid 4711) died"};
	put(payload, &end, sizeof(end));
}

static void put_beat(struct sample_payload *payload)
{
	struct wire_beat beat = {
		.instance = 100, .sent_ns = 1000000, .echo_ns = 900000, .progress = {7, 8}};
	put(payload, &beat, sizeof(beat));
}

static void put_choose(struct sample_payload *payload)
{
	struct wire_choose choose = {.group = GROUP, .seq = 101, .epoch = EPOCH};

	put(payload, &choose, sizeof(choose));
}

static void put_lease(struct sample_payload *payload)
{
	struct wire_lease lease = {
		.group = GROUP, .from = 101, .through = 200, .epoch = EPOCH, .count = 2};
	struct wire_choice choices[2] = {
		{.list = 7, .size_class = 14, .alternative = 1, .alternatives = 3, .cost = {900}},
		{.list = 7, .size_class = 24, .alternatives = 1, .settled = 1}};

	put(payload, &lease, sizeof(lease));
	put(payload, choices, sizeof(choices));
}

static void put_payload(uint16_t kind, struct sample_payload *payload)
{
	static const float elements[4] = {1.0f, 2.0f, -3.0f, 4.5f};

	switch ((enum wire_kind)kind) {
	case WIRE_HELLO: put_hello(payload); break;
	case WIRE_CONTRIBUTION:
	case WIRE_FINAL: put(payload, elements, sizeof(elements)); break;
	case WIRE_JOIN: put_join(payload); break;
	case WIRE_REFUSE: put_refuse(payload); break;
	case WIRE_TABLE: put_table(payload); break;
	case WIRE_READY: put_ready(payload, 1); break;
	case WIRE_GO: put_ready(payload, 0); break;
	case WIRE_LEAVE: put_leave(payload); break;
	case WIRE_PROPOSE:
	case WIRE_END: put_end(payload); break;
	case WIRE_BEAT: put_beat(payload); break;
	case WIRE_CHOOSE: put_choose(payload); break;
	case WIRE_LEASE: put_lease(payload); break;
	case WIRE_CREDIT:
	case WIRE_CALL:
	case WIRE_ACK:
	case WIRE_BYE: break;
	}
}

/* What CONTRIBUTION, FINAL and CREDIT share. */
static void fill_group_fields(struct wire_frame *frame)
{
	frame->group = GROUP;
	frame->done_through = 11;
	frame->epoch = EPOCH;
	frame->credit_contribution = 21;
	frame->credit_final = 22;
	frame->turn_us = 33;
	frame->node = 2;
	frame->lane = 1;
	frame->path = 1;
}

static void fill_data_fields(struct wire_frame *frame)
{
	const double weight = 2.0;

	fill_group_fields(frame);
	frame->seq = 12;
	frame->key = 0x5eedull;
	frame->count = 1000;
	memcpy(&frame->weight, &weight, sizeof(weight));
	frame->chunk = 5;
	frame->contributors = 2;
	frame->credit_post_us = 31;
	frame->avail_post_us = 32;
	frame->feedback = 3;
	frame->schedule = 1;
	frame->op = WIRE_OP_ALLREDUCE;
	frame->type = SHM_F32;
	frame->reduce = SHM_AVG;
	frame->payload_type = SHM_F32;
	frame->flags = WIRE_FLAG_LAST;
	frame->call_digest = wire_call_digest(frame->op, frame->type, frame->reduce, frame->count,
					      frame->key, frame->feedback, frame->schedule);
}

static void fill_call_fields(struct wire_frame *frame)
{
	fill_group_fields(frame);
	frame->turn_us = 0;
	frame->seq = 12;
	frame->key = 0x5eedull;
	frame->count = 1000;
	frame->codec = 4;
	frame->feedback = 3;
	frame->schedule = 1;
	frame->op = WIRE_OP_ALLREDUCE;
	frame->type = SHM_F32;
	frame->reduce = SHM_AVG;
	frame->call_digest = wire_call_digest(frame->op, frame->type, frame->reduce, frame->count,
					      frame->key, frame->feedback, frame->schedule);
}

void sample_wire(uint16_t kind, struct wire_frame *frame, struct sample_payload *payload)
{
	*frame = (struct wire_frame){.kind = kind};
	*payload = (struct sample_payload){0};
	put_payload(kind, payload);
	if (kind == WIRE_CONTRIBUTION || kind == WIRE_FINAL)
		fill_data_fields(frame);
	if (kind == WIRE_FINAL)
		frame->divisor = 2;
	if (kind == WIRE_CREDIT)
		fill_group_fields(frame);
	if (kind == WIRE_CALL)
		fill_call_fields(frame);
	if (kind != WIRE_HELLO) {
		frame->path_ack = 40;
		if (kind != WIRE_BEAT && kind != WIRE_ACK && kind != WIRE_CALL)
			frame->path_seq = 42;
	}
	frame->payload_bytes = (uint32_t)payload->bytes;
	wire_seal(frame, payload->bytes ? payload->data : NULL);
}

enum wire_verdict sample_wire_payload_check(uint16_t kind, const void *payload, size_t bytes)
{
	switch ((enum wire_kind)kind) {
	case WIRE_HELLO: return wire_hello_check(payload, bytes);
	case WIRE_JOIN: return wire_join_check(payload, bytes);
	case WIRE_REFUSE: return wire_refuse_check(payload, bytes);
	case WIRE_TABLE: return wire_table_check(payload, bytes);
	case WIRE_READY:
	case WIRE_GO: return wire_ready_check(payload, bytes);
	case WIRE_LEAVE: return wire_leave_check(payload, bytes);
	case WIRE_PROPOSE:
	case WIRE_END: return wire_end_check(payload, bytes);
	case WIRE_BEAT: return wire_beat_check(payload, bytes);
	case WIRE_CHOOSE: return wire_choose_check(payload, bytes);
	case WIRE_LEASE: return wire_lease_check(payload, bytes);
	case WIRE_CONTRIBUTION:
	case WIRE_FINAL:
	case WIRE_CREDIT:
	case WIRE_CALL:
	case WIRE_ACK:
	case WIRE_BYE: return WIRE_OK;
	}
	return WIRE_BAD_KIND;
}

static void put_ctl_request(enum ctl_kind kind, struct sample_payload *packet)
{
	const struct ctl_attach attach = {.arena_bytes = 1u << 28, .name = "train.py"};
	const struct ctl_create create = {.name = "world",
					  .run = "job-17",
					  .root = "fe80::1%eth0",
					  .root_port = 7117,
					  .rank = 4,
					  .ranks = SAMPLE_RANKS,
					  .timeout_ms = 300000};
	const struct ctl_destroy destroy = {.handle = 3};
	const struct ctl_query query = {.what = "status"};
	const struct ctl_tensor tensor = {.key = 0x5eed,
					  .count = 1000,
					  .handle = 3,
					  .type = SHM_F32,
					  .key_name = "layer.0.weight",
					  .codec = "int4:block=64",
					  .feedback = "ef14"};

	if (kind == CTL_ATTACH)
		put(packet, &attach, sizeof(attach));
	else if (kind == CTL_CREATE)
		put(packet, &create, sizeof(create));
	else if (kind == CTL_DESTROY)
		put(packet, &destroy, sizeof(destroy));
	else if (kind == CTL_QUERY)
		put(packet, &query, sizeof(query));
	else if (kind == CTL_TENSOR)
		put(packet, &tensor, sizeof(tensor));
}

static void put_ctl_answer(enum ctl_kind kind, struct sample_payload *packet)
{
	const struct ctl_error error = {.error = -ETIMEDOUT,
					.text = "ranks 2 and 3 of group \"world\" did not come"};
	const struct ctl_attached attached = {
		.total_bytes = 1u << 28, .lanes = 2, .client = 7, .version = "0.1.0"};
	const struct ctl_created created = {
		.group = GROUP, .handle = 3, .nodes = SAMPLE_NODES, .node = 2, .lanes = 2};
	const struct ctl_number number = {.number = 7};
	const char json[] = "{\"nodes\": []}";

	if (kind == CTL_ERROR)
		put(packet, &error, sizeof(error));
	else if (kind == CTL_ATTACHED)
		put(packet, &attached, sizeof(attached));
	else if (kind == CTL_CREATED)
		put(packet, &created, sizeof(created));
	else if (kind == CTL_NUMBER)
		put(packet, &number, sizeof(number));
	else if (kind == CTL_MORE || kind == CTL_OK)
		put(packet, json, sizeof(json) - 1);
}

void sample_ctl(uint16_t kind, struct sample_payload *packet)
{
	struct ctl_header header = {
		.magic = CTL_MAGIC, .version = CTL_VERSION, .kind = kind, .id = 9};

	*packet = (struct sample_payload){0};
	put(packet, &header, sizeof(header));
	put_ctl_request((enum ctl_kind)kind, packet);
	put_ctl_answer((enum ctl_kind)kind, packet);
	header.bytes = (uint32_t)(packet->bytes - sizeof(header));
	memcpy(packet->data, &header, sizeof(header));
}

struct shm_submission sample_submission(void)
{
	return (struct shm_submission){.work = 77,
				       .seq = 12,
				       .key = 0x5eed,
				       .count = 1000,
				       .in_offset = 4096,
				       .out_offset = 65536,
				       .group = 3,
				       .kind = SHM_ALLREDUCE,
				       .type = SHM_F32,
				       .reduce = SHM_SUM};
}

struct verbs_greeting sample_greeting(void)
{
	return (struct verbs_greeting){.magic = VERBS_MAGIC,
				       .version = VERBS_VERSION,
				       .usable = 1,
				       .tcp_too = 1,
				       .qpn = 17,
				       .psn = 0xabcdef,
				       .rkey = 0x1234,
				       .ring_bytes = 16 << 20,
				       .ring = 0x7f0011220000,
				       .gid = {[10] = 0xff, [11] = 0xff, 10, 78, 0, 1},
				       .link = VERBS_ROCE_V2,
				       .mtu = 5};
}

struct verbs_greeting sample_greeting_cannot(void)
{
	return (struct verbs_greeting){.magic = VERBS_MAGIC,
				       .version = VERBS_VERSION,
				       .tcp_too = 1,
				       .why_not = "its port is down"};
}

struct verbs_word sample_word(void)
{
	return (struct verbs_word){.magic = VERBS_MAGIC, .state = VERBS_CONNECT, .good = 1};
}
