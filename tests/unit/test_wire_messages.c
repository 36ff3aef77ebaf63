/*
 * test_wire_messages.c - payloads of frames: every rule of every check is broken alone,
 * and every length but the right one is refused before a byte is read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire.h"
#include "tests/common/samples.h"

static enum wire_verdict check_with(uint16_t kind, size_t offset, const void *value, size_t bytes)
{
	struct sample_payload payload;
	struct wire_frame frame;

	sample_wire(kind, &frame, &payload);
	memcpy(payload.data + offset, value, bytes);
	return sample_wire_payload_check(kind, payload.data, payload.bytes);
}

static enum wire_verdict number(uint16_t kind, size_t offset, size_t bytes, uint64_t value)
{
	return check_with(kind, offset, &value, bytes);
}

#define AT(type, field) offsetof(struct type, field), sizeof(((struct type *)0)->field)
#define REFUSED(kind, type, field, value) \
	assert_int_equal(number(kind, AT(type, field), (uint64_t)(value)), WIRE_BAD_PAYLOAD)
#define TAKEN(kind, type, field, value) \
	assert_int_equal(number(kind, AT(type, field), (uint64_t)(value)), WIRE_OK)

/* Unterminated, a line break, an escape, a delete; UTF-8 passes. */
static void try_text(uint16_t kind, size_t offset, size_t bytes, bool may_be_empty, bool address)
{
	char text[WIRE_TEXT_BYTES];

	memset(text, 'x', sizeof(text));
	assert_int_equal(check_with(kind, offset, text, bytes), WIRE_BAD_PAYLOAD);
	for (size_t i = 0; i < 3; i++) {
		memset(text, 0, sizeof(text));
		text[0] = '1';
		text[1] = "\n\033\177"[i];
		assert_int_equal(check_with(kind, offset, text, bytes), WIRE_BAD_PAYLOAD);
	}
	memset(text, 0, sizeof(text));
	assert_int_equal(check_with(kind, offset, text, bytes),
			 may_be_empty ? WIRE_OK : WIRE_BAD_PAYLOAD);
	memcpy(text,
	       "gr\xc3\xb6\xc3\x9f"
	       "e",
	       8);
	assert_int_equal(check_with(kind, offset, text, bytes),
			 address ? WIRE_BAD_PAYLOAD : WIRE_OK);
	if (!address) {
		memset(text, 'x', sizeof(text));
		text[bytes - 1] = 0;
		assert_int_equal(check_with(kind, offset, text, bytes), WIRE_OK);
	}
}

#define TEXT(kind, type, field) try_text(kind, AT(type, field), true, false)
#define NAME(kind, type, field) try_text(kind, AT(type, field), false, false)

static void lengths(void **state)
{
	(void)state;
	for (const uint16_t *kind = sample_wire_kinds; *kind; kind++) {
		struct sample_payload payload;
		struct wire_frame frame;

		if (*kind <= WIRE_CALL && *kind != WIRE_HELLO)
			continue;
		sample_wire(*kind, &frame, &payload);
		if (!payload.bytes)
			continue;
		for (size_t bytes = 0; bytes <= payload.bytes + 40; bytes++) {
			/* A copy of just that size, so that a sanitizer sees a look beyond it. */
			unsigned char *copy = calloc(1, bytes ? bytes : 1);
			size_t common = bytes < payload.bytes ? bytes : payload.bytes;

			assert_non_null(copy);
			memcpy(copy, payload.data, common);
			assert_int_equal(sample_wire_payload_check(*kind, copy, bytes),
					 bytes == payload.bytes ? WIRE_OK : WIRE_BAD_LENGTH);
			free(copy);
		}
	}
}

static void hello(void **state)
{
	struct wire_hello control = {
		.instance = 1, .purpose = WIRE_CONTROL, .port = 7117, .address = "::1"};

	(void)state;
	REFUSED(WIRE_HELLO, wire_hello, instance, 0);
	TAKEN(WIRE_HELLO, wire_hello, peer_instance, 0);
	REFUSED(WIRE_HELLO, wire_hello, purpose, 0);
	REFUSED(WIRE_HELLO, wire_hello, purpose, 3);
	REFUSED(WIRE_HELLO, wire_hello, purpose, WIRE_CONTROL); /* with a lane */
	REFUSED(WIRE_HELLO, wire_hello, lane, WIRE_LANES_MAX);
	REFUSED(WIRE_HELLO, wire_hello, path, WIRE_PATHS_MAX);
	REFUSED(WIRE_HELLO, wire_hello, port, 0); /* with an address */
	TAKEN(WIRE_HELLO, wire_hello, offers, WIRE_OFFER_VERBS);
	TAKEN(WIRE_HELLO, wire_hello, offers, WIRE_OFFER_VERBS | WIRE_OFFER_NO_TCP);
	TAKEN(WIRE_HELLO, wire_hello, offers, WIRE_OFFER_AUTO);
	TAKEN(WIRE_HELLO, wire_hello, offers, WIRE_OFFER_AUTO | WIRE_OFFER_VERBS);
	REFUSED(WIRE_HELLO, wire_hello, offers, WIRE_OFFER_NO_TCP); /* how then? */
	REFUSED(WIRE_HELLO, wire_hello, offers, 7);
	REFUSED(WIRE_HELLO, wire_hello, offers, 8);
	TEXT(WIRE_HELLO, wire_hello, host);
	try_text(WIRE_HELLO, AT(wire_hello, address), false, true);

	assert_int_equal(wire_hello_check(&control, sizeof(control)), WIRE_OK);
	control.path = 1;
	assert_int_equal(wire_hello_check(&control, sizeof(control)), WIRE_BAD_PAYLOAD);
	control.path = 0;
	control.port = 0;
	control.address[0] = 0; /* who controls must be reachable, who carries data need not be */
	assert_int_equal(wire_hello_check(&control, sizeof(control)), WIRE_BAD_PAYLOAD);
	control.purpose = WIRE_DATA;
	assert_int_equal(wire_hello_check(&control, sizeof(control)), WIRE_OK);
}

static void addresses(void **state)
{
	static const struct {
		const char *text;
		enum wire_verdict verdict;
	} cases[] = {
		{"10.0.0.1", WIRE_OK},
		{"255.255.255.255", WIRE_OK},
		{"::", WIRE_OK},
		{"2001:db8::7", WIRE_OK},
		{"fe80::1%eth0", WIRE_OK},
		{"fe80::1%2", WIRE_OK},
		{"::ffff:10.0.0.1", WIRE_OK},
		{"2001:0db8:1111:2222:3333:4444:5555:6666", WIRE_OK},
		{"fe80::1%", WIRE_BAD_PAYLOAD},
		{"10.0.0.1%eth0", WIRE_BAD_PAYLOAD},
		{"%eth0", WIRE_BAD_PAYLOAD},
		{"10.0.0", WIRE_BAD_PAYLOAD},
		{"10.0.0.256", WIRE_BAD_PAYLOAD},
		{"node7", WIRE_BAD_PAYLOAD},
		{"2001:0db8:1111:2222:3333:4444:5555:6666:7777", WIRE_BAD_PAYLOAD},
		{"00000000000000000000000000000000000000000000001", WIRE_BAD_PAYLOAD},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[48] = "";

		memcpy(text, cases[i].text, strlen(cases[i].text));
		assert_int_equal(check_with(WIRE_HELLO, offsetof(struct wire_hello, address), text,
					    sizeof(text)),
				 cases[i].verdict);
	}
}

#define CHUNK_BYTES(kind, type, field)                                                      \
	do {                                                                                \
		REFUSED(kind, type, field, 0);                                              \
		REFUSED(kind, type, field, WIRE_CHUNK_BYTES_LEAST - WIRE_CHUNK_BYTES_STEP); \
		REFUSED(kind, type, field, WIRE_CHUNK_BYTES_LEAST + 1);                     \
		REFUSED(kind, type, field, WIRE_CHUNK_BYTES_MAX + WIRE_CHUNK_BYTES_STEP);   \
		TAKEN(kind, type, field, WIRE_CHUNK_BYTES_LEAST);                           \
		TAKEN(kind, type, field, WIRE_CHUNK_BYTES_MAX);                             \
	} while (0)

static void join(void **state)
{
	(void)state;
	NAME(WIRE_JOIN, wire_join, name);
	TEXT(WIRE_JOIN, wire_join, run);
	REFUSED(WIRE_JOIN, wire_join, rank, SAMPLE_RANKS);
	TAKEN(WIRE_JOIN, wire_join, rank, SAMPLE_RANKS - 1);
	REFUSED(WIRE_JOIN, wire_join, ranks, 0);
	REFUSED(WIRE_JOIN, wire_join, ranks, WIRE_RANKS_MAX + 1);
	TAKEN(WIRE_JOIN, wire_join, ranks, WIRE_RANKS_MAX);
	REFUSED(WIRE_JOIN, wire_join, lanes, 0);
	REFUSED(WIRE_JOIN, wire_join, lanes, WIRE_LANES_MAX + 1);
	REFUSED(WIRE_JOIN, wire_join, timeout_ms, 0);
	CHUNK_BYTES(WIRE_JOIN, wire_join, chunk_bytes_max);
	CHUNK_BYTES(WIRE_JOIN, wire_join, chunk_bytes_usual);
	REFUSED(WIRE_JOIN, wire_join, flat_bytes_max, WIRE_FLAT_BYTES_MAX + 1);
	TAKEN(WIRE_JOIN, wire_join, flat_bytes_max, WIRE_FLAT_BYTES_MAX);
	TAKEN(WIRE_JOIN, wire_join, flat_bytes_max, 0);
	REFUSED(WIRE_JOIN, wire_join, paths, 0);
	REFUSED(WIRE_JOIN, wire_join, paths, WIRE_PATHS_MAX + 1);
	TAKEN(WIRE_JOIN, wire_join, paths, WIRE_PATHS_MAX);
}

static void refuse(void **state)
{
	(void)state;
	NAME(WIRE_REFUSE, wire_refuse, name);
	TEXT(WIRE_REFUSE, wire_refuse, run);
	NAME(WIRE_REFUSE, wire_refuse, text);
	REFUSED(WIRE_REFUSE, wire_refuse, rank, WIRE_RANKS_MAX);
	REFUSED(WIRE_REFUSE, wire_refuse, error, 0);
	REFUSED(WIRE_REFUSE, wire_refuse, error, 1);
	REFUSED(WIRE_REFUSE, wire_refuse, error, -4096);
	TAKEN(WIRE_REFUSE, wire_refuse, error, -4095);
	REFUSED(WIRE_REFUSE, wire_refuse, reserved, 1);
}

static void table_fields(void **state)
{
	(void)state;
	REFUSED(WIRE_TABLE, wire_table, group, 0);
	NAME(WIRE_TABLE, wire_table, name);
	TEXT(WIRE_TABLE, wire_table, run);
	REFUSED(WIRE_TABLE, wire_table, epoch, 0);
	REFUSED(WIRE_TABLE, wire_table, nodes, 0);
	REFUSED(WIRE_TABLE, wire_table, nodes, WIRE_NODES_MAX + 1);
	REFUSED(WIRE_TABLE, wire_table, nodes, SAMPLE_RANKS + 1); /* more nodes than ranks */
	REFUSED(WIRE_TABLE, wire_table, ranks, WIRE_RANKS_MAX + 1);
	assert_int_equal(number(WIRE_TABLE, AT(wire_table, nodes), SAMPLE_NODES + 1),
			 WIRE_BAD_LENGTH);
	assert_int_equal(number(WIRE_TABLE, AT(wire_table, ranks), SAMPLE_RANKS + 1),
			 WIRE_BAD_LENGTH);
	REFUSED(WIRE_TABLE, wire_table, lanes, 0);
	REFUSED(WIRE_TABLE, wire_table, lanes, WIRE_LANES_MAX + 1);
	CHUNK_BYTES(WIRE_TABLE, wire_table, chunk_bytes_max);
	CHUNK_BYTES(WIRE_TABLE, wire_table, chunk_bytes_usual);
	REFUSED(WIRE_TABLE, wire_table, flat_bytes_max, WIRE_FLAT_BYTES_MAX + 1);
	TAKEN(WIRE_TABLE, wire_table, flat_bytes_max, WIRE_FLAT_BYTES_MAX);
	TAKEN(WIRE_TABLE, wire_table, flat_bytes_max, 0);
	REFUSED(WIRE_TABLE, wire_table, paths, 0);
	REFUSED(WIRE_TABLE, wire_table, paths, WIRE_PATHS_MAX + 1);
	TAKEN(WIRE_TABLE, wire_table, paths, WIRE_PATHS_MAX);
	REFUSED(WIRE_TABLE, wire_table, reserved, 1);
}

/* Of the last node of the sample. */
#define NODE(field)                                                                 \
	sizeof(struct wire_table) + (SAMPLE_NODES - 1) * sizeof(struct wire_node) + \
		offsetof(struct wire_node, field),                                  \
		sizeof(((struct wire_node *)0)->field)

static void table_nodes(void **state)
{
	(void)state;
	assert_int_equal(number(WIRE_TABLE, NODE(instance), 0), WIRE_BAD_PAYLOAD);
	assert_int_equal(number(WIRE_TABLE, NODE(instance), 100), WIRE_BAD_PAYLOAD); /* twice */
	assert_int_equal(number(WIRE_TABLE, NODE(instance), 7), WIRE_OK);
	assert_int_equal(number(WIRE_TABLE, NODE(port), 0), WIRE_BAD_PAYLOAD);
	assert_int_equal(number(WIRE_TABLE, NODE(reserved0), 1), WIRE_BAD_PAYLOAD);
	assert_int_equal(number(WIRE_TABLE, NODE(reserved1), 1), WIRE_BAD_PAYLOAD);
	try_text(WIRE_TABLE, NODE(address), false, true);
	try_text(WIRE_TABLE, NODE(host), true, false);
}

static void table_ranks(void **state)
{
	static const struct {
		uint16_t ranks[SAMPLE_RANKS];
		enum wire_verdict verdict;
	} cases[] = {
		{{0, 1, 2, 0, 0}, WIRE_OK},
		{{0, 1, 2, 2, 1}, WIRE_OK},
		{{0, 0, 0, 1, 2}, WIRE_OK},
		{{0, 0, 0, 1, 1}, WIRE_BAD_PAYLOAD}, /* node 2 has no rank     */
		{{1, 0, 2, 0, 0}, WIRE_BAD_PAYLOAD}, /* nodes 0 and 1 swapped  */
		{{0, 2, 1, 0, 0}, WIRE_BAD_PAYLOAD},
		{{0, 1, 2, 3, 0}, WIRE_BAD_PAYLOAD}, /* there is no node 3     */
		{{0, 1, 2, 0, 65535}, WIRE_BAD_PAYLOAD},
	};
	const size_t offset = sizeof(struct wire_table) + SAMPLE_NODES * sizeof(struct wire_node);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(
			check_with(WIRE_TABLE, offset, cases[i].ranks, sizeof(cases[i].ranks)),
			cases[i].verdict);
}

static void table_accessors(void **state)
{
	struct sample_payload payload;
	const struct wire_table *table = (const struct wire_table *)payload.data;
	struct wire_frame frame;

	(void)state;
	sample_wire(WIRE_TABLE, &frame, &payload);
	assert_int_equal(payload.bytes, wire_table_bytes(SAMPLE_NODES, SAMPLE_RANKS));
	assert_int_equal(payload.bytes, 176 + 3 * 128 + 5 * 2);
	assert_string_equal(wire_table_nodes(table)[2].host, "node2");
	assert_int_equal(wire_table_ranks(table)[4], 2);
	assert_int_equal(wire_table_bytes(WIRE_NODES_MAX, WIRE_RANKS_MAX),
			 176 + 256 * 128 + 4096 * 2);
}

static void largest_table(void **state)
{
	const size_t bytes = wire_table_bytes(WIRE_NODES_MAX, WIRE_RANKS_MAX);
	struct wire_table *table = calloc(1, bytes);
	struct wire_node *nodes;
	uint16_t *ranks;

	(void)state;
	assert_non_null(table);
	table->group = 1;
	memcpy(table->name, "world", 6);
	table->epoch = 1;
	table->nodes = WIRE_NODES_MAX;
	table->ranks = WIRE_RANKS_MAX;
	table->lanes = WIRE_LANES_MAX;
	table->chunk_bytes_max = WIRE_CHUNK_BYTES_MAX;
	table->chunk_bytes_usual = WIRE_CHUNK_BYTES_MAX;
	table->paths = WIRE_PATHS_MAX;
	nodes = (struct wire_node *)(table + 1);
	ranks = (uint16_t *)(nodes + WIRE_NODES_MAX);
	for (unsigned i = 0; i < WIRE_NODES_MAX; i++) {
		nodes[i].instance = i + 1;
		nodes[i].port = 7117;
		memcpy(nodes[i].address, "::1", 4);
	}
	for (unsigned i = 0; i < WIRE_RANKS_MAX; i++)
		ranks[i] = (uint16_t)(i % WIRE_NODES_MAX);
	assert_ptr_equal(wire_table_nodes(table), nodes);
	assert_ptr_equal(wire_table_ranks(table), ranks);
	assert_int_equal(wire_table_check(table, bytes), WIRE_OK);
	nodes[WIRE_NODES_MAX - 1].instance = 1;
	assert_int_equal(wire_table_check(table, bytes), WIRE_BAD_PAYLOAD);
	free(table);
}

static void ready(void **state)
{
	(void)state;
	for (uint16_t kind = WIRE_READY; kind <= WIRE_GO; kind++) {
		REFUSED(kind, wire_ready, group, 0);
		REFUSED(kind, wire_ready, epoch, 0);
		REFUSED(kind, wire_ready, node, WIRE_NODES_MAX);
		TAKEN(kind, wire_ready, node, WIRE_NODES_MAX - 1);
	}
}

static void leave(void **state)
{
	(void)state;
	REFUSED(WIRE_LEAVE, wire_leave, group, 0);
	REFUSED(WIRE_LEAVE, wire_leave, epoch, 0);
	REFUSED(WIRE_LEAVE, wire_leave, rank, WIRE_RANKS_MAX);
	TAKEN(WIRE_LEAVE, wire_leave, posted_through, 0);
	TAKEN(WIRE_LEAVE, wire_leave, error, 0);
	REFUSED(WIRE_LEAVE, wire_leave, error, 5);
	REFUSED(WIRE_LEAVE, wire_leave, error, INT32_MIN);
	REFUSED(WIRE_LEAVE, wire_leave, reserved, 1);
	TEXT(WIRE_LEAVE, wire_leave, text);
}

static void end(void **state)
{
	(void)state;
	for (uint16_t kind = WIRE_PROPOSE; kind <= WIRE_END; kind++) {
		REFUSED(kind, wire_end, group, 0);
		REFUSED(kind, wire_end, epoch, 0);
		REFUSED(kind, wire_end, first_seq, 0);
		TAKEN(kind, wire_end, first_seq, UINT64_MAX);
		TAKEN(kind, wire_end, last_seq, 13);
		REFUSED(kind, wire_end, last_seq, 12);
		REFUSED(kind, wire_end, error, 0);
		REFUSED(kind, wire_end, error, 1);
		NAME(kind, wire_end, text);
	}
}

static void beat(void **state)
{
	(void)state;
	REFUSED(WIRE_BEAT, wire_beat, instance, 0);
	TAKEN(WIRE_BEAT, wire_beat, sent_ns, UINT64_MAX);
	TAKEN(WIRE_BEAT, wire_beat, echo_ns, 0);
}

static void choose(void **state)
{
	(void)state;
	REFUSED(WIRE_CHOOSE, wire_choose, group, 0);
	REFUSED(WIRE_CHOOSE, wire_choose, seq, 0);
	REFUSED(WIRE_CHOOSE, wire_choose, epoch, 0);
	REFUSED(WIRE_CHOOSE, wire_choose, reserved, 1);
	TAKEN(WIRE_CHOOSE, wire_choose, seq, UINT64_MAX);
}

/* Of choice number i of the sample, which has two. */
#define CHOICE_IS(i, field, value, verdict)                                                   \
	assert_int_equal(number(WIRE_LEASE,                                                   \
				wire_lease_bytes(i) + offsetof(struct wire_choice, field),    \
				sizeof(((struct wire_choice *)0)->field), (uint64_t)(value)), \
			 verdict)

static void lease(void **state)
{
	(void)state;
	REFUSED(WIRE_LEASE, wire_lease, group, 0);
	REFUSED(WIRE_LEASE, wire_lease, epoch, 0);
	REFUSED(WIRE_LEASE, wire_lease, from, 0);
	REFUSED(WIRE_LEASE, wire_lease, from, 201);
	TAKEN(WIRE_LEASE, wire_lease, from, 200);
	TAKEN(WIRE_LEASE, wire_lease, through, UINT64_MAX);
	REFUSED(WIRE_LEASE, wire_lease, count, WIRE_CHOICES_MAX + 1);
	assert_int_equal(number(WIRE_LEASE, AT(wire_lease, count), 1), WIRE_BAD_LENGTH);
	for (uint32_t i = 0; i < 2; i++) {
		CHOICE_IS(i, list, 0, WIRE_BAD_PAYLOAD);
		CHOICE_IS(i, size_class, 63, WIRE_OK);
		CHOICE_IS(i, size_class, 64, WIRE_BAD_PAYLOAD);
		CHOICE_IS(i, alternative, i ? 1 : 3, WIRE_BAD_PAYLOAD);
		CHOICE_IS(i, alternatives, 0, WIRE_BAD_PAYLOAD);
		CHOICE_IS(i, alternatives, WIRE_ALTERNATIVES_MAX, WIRE_OK);
		CHOICE_IS(i, alternatives, WIRE_ALTERNATIVES_MAX + 1, WIRE_BAD_PAYLOAD);
		CHOICE_IS(i, settled, 2, WIRE_BAD_PAYLOAD);
		CHOICE_IS(i, cost[0], UINT32_MAX, WIRE_OK);
		CHOICE_IS(i, cost[2], 1, i ? WIRE_BAD_PAYLOAD : WIRE_OK);
		CHOICE_IS(i, cost[3], 1, WIRE_BAD_PAYLOAD);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths),
		cmocka_unit_test(hello),
		cmocka_unit_test(addresses),
		cmocka_unit_test(join),
		cmocka_unit_test(refuse),
		cmocka_unit_test(table_fields),
		cmocka_unit_test(table_nodes),
		cmocka_unit_test(table_ranks),
		cmocka_unit_test(table_accessors),
		cmocka_unit_test(largest_table),
		cmocka_unit_test(ready),
		cmocka_unit_test(leave),
		cmocka_unit_test(end),
		cmocka_unit_test(beat),
		cmocka_unit_test(choose),
		cmocka_unit_test(lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
