/*
 * test_wire.c - headers of frames: each valid sample passes, and each rule that can be
 * broken is broken, alone, and gets its own verdict.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

#include "proto/crc32c.h"
#include "proto/wire.h"
#include "tests/common/samples.h"

/* A sealed frame is changed on purpose, so its checksum is made again. */
static enum wire_verdict check_resealed(struct wire_frame *frame)
{
	frame->header_crc = crc32c(0, frame, offsetof(struct wire_frame, header_crc));
	return wire_check(frame);
}

static enum wire_verdict check_with(uint16_t kind, size_t offset, size_t bytes, uint64_t value)
{
	struct sample_payload payload;
	struct wire_frame frame;

	sample_wire(kind, &frame, &payload);
	memcpy((char *)&frame + offset, &value, bytes);
	return check_resealed(&frame);
}

#define WITH(kind, field, value)                             \
	check_with(kind, offsetof(struct wire_frame, field), \
		   sizeof(((struct wire_frame *)0)->field), value)

static void samples_pass(void **state)
{
	(void)state;
	for (const uint16_t *kind = sample_wire_kinds; *kind; kind++) {
		struct sample_payload payload;
		struct wire_frame frame;

		sample_wire(*kind, &frame, &payload);
		assert_int_equal(frame.magic, WIRE_MAGIC);
		assert_memory_equal(&frame, "CAR1", 4);
		assert_int_equal(frame.version, WIRE_VERSION);
		assert_int_equal(wire_check(&frame), WIRE_OK);
		assert_int_equal(wire_check_payload(&frame, payload.data), WIRE_OK);
		assert_int_equal(sample_wire_payload_check(*kind, payload.data, payload.bytes),
				 WIRE_OK);
	}
}

static void every_flipped_bit_is_refused(void **state)
{
	(void)state;
	for (const uint16_t *kind = sample_wire_kinds; *kind; kind++) {
		struct sample_payload payload;
		struct wire_frame frame;

		sample_wire(*kind, &frame, &payload);
		for (size_t bit = 0; bit < 8 * sizeof(frame); bit++) {
			enum wire_verdict verdict, expected = WIRE_BAD_CRC;
			unsigned char *byte = (unsigned char *)&frame + bit / 8;

			if (bit < 32)
				expected = WIRE_BAD_MAGIC;
			else if (bit < 48)
				expected = WIRE_BAD_VERSION;
			*byte ^= (unsigned char)(1u << bit % 8);
			verdict = wire_check(&frame);
			*byte ^= (unsigned char)(1u << bit % 8);
			assert_int_equal(verdict, expected);
		}
	}
}

/* With the checksum right: the first rule counts, in the order of enum wire_verdict. */
static void order_of_checks(void **state)
{
	struct sample_payload payload;
	struct wire_frame frame;

	(void)state;
	sample_wire(WIRE_FINAL, &frame, &payload);
	frame.payload_bytes = WIRE_CHUNK_BYTES_MAX + 4;
	assert_int_equal(check_resealed(&frame), WIRE_BAD_LENGTH);
	frame.reserved1 = 1;
	assert_int_equal(check_resealed(&frame), WIRE_NOT_ZERO);
	frame.op = 2;
	assert_int_equal(check_resealed(&frame), WIRE_BAD_FIELD);
	frame.kind = 15;
	assert_int_equal(check_resealed(&frame), WIRE_BAD_KIND);
	frame.header_crc++;
	assert_int_equal(wire_check(&frame), WIRE_BAD_CRC);
	frame.version = 2;
	assert_int_equal(wire_check(&frame), WIRE_BAD_VERSION);
	frame.magic = 0;
	assert_int_equal(wire_check(&frame), WIRE_BAD_MAGIC);
}

static void unknown_kinds(void **state)
{
	(void)state;
	for (uint32_t kind = 0; kind <= UINT16_MAX; kind++) {
		struct wire_frame frame = {.kind = (uint16_t)kind};
		bool known = (kind >= WIRE_HELLO && kind <= WIRE_CALL) ||
			     (kind >= WIRE_JOIN && kind <= WIRE_LEASE);

		wire_seal(&frame, NULL);
		if (known)
			assert_int_not_equal(wire_check(&frame), WIRE_BAD_KIND);
		else
			assert_int_equal(wire_check(&frame), WIRE_BAD_KIND);
		assert_int_equal(!strcmp(wire_kind_name((uint16_t)kind), "unknown kind"), !known);
	}
}

static void data_ranges(void **state)
{
	static const uint16_t data[] = {WIRE_CONTRIBUTION, WIRE_FINAL};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		uint16_t kind = data[i];

		assert_int_equal(WITH(kind, group, 0), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, group, UINT64_MAX), WIRE_OK);
		assert_int_equal(WITH(kind, seq, 0), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, seq, UINT64_MAX), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, key, 0), WIRE_OK);
		assert_int_equal(WITH(kind, count, WIRE_COUNT_MAX), WIRE_OK);
		assert_int_equal(WITH(kind, count, WIRE_COUNT_MAX + 1), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, done_through, UINT64_MAX), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, epoch, 0), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, chunk, 999), WIRE_OK);
		assert_int_equal(WITH(kind, chunk, 1000), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, contributors, 0), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, contributors, WIRE_RANKS_MAX + 1), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, call_digest, 0), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, path_seq, 0), WIRE_OK);
		assert_int_equal(WITH(kind, node, WIRE_NODES_MAX - 1), WIRE_OK);
		assert_int_equal(WITH(kind, node, WIRE_NODES_MAX), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, lane, WIRE_LANES_MAX), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, path, WIRE_PATHS_MAX), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, schedule, 0), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, op, 0), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, op, 2), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, type, 0), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, type, SHM_I64 + 1), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, reduce, 0), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, reduce, SHM_PROD + 1), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, payload_type, 0), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, payload_type, SHM_I64 + 1), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, flags, WIRE_FLAG_NONFINITE | WIRE_FLAG_LAST), WIRE_OK);
		assert_int_equal(WITH(kind, flags, WIRE_FLAGS_KNOWN + 1), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, payload_has_crc, 2), WIRE_BAD_FIELD);
		/* A codec's payload has no element type. */
		assert_int_equal(WITH(kind, codec, 1), WIRE_NOT_ZERO);
	}
	assert_int_equal(WITH(WIRE_CONTRIBUTION, flags, WIRE_FLAGS_KNOWN), WIRE_OK);
	assert_int_equal(WITH(WIRE_FINAL, flags, WIRE_FLAG_ARENA), WIRE_BAD_FIELD);
	assert_int_equal(WITH(WIRE_FINAL, divisor, 0), WIRE_BAD_FIELD);
	assert_int_equal(WITH(WIRE_FINAL, divisor, WIRE_RANKS_MAX + 1), WIRE_BAD_FIELD);
	assert_int_equal(WITH(WIRE_CONTRIBUTION, divisor, 1), WIRE_NOT_ZERO);
}

static void weights(void **state)
{
	static const struct {
		double weight;
		enum wire_verdict verdict;
	} cases[] = {
		{0.0, WIRE_OK},         {0.5, WIRE_OK},
		{-0.0, WIRE_BAD_FIELD}, {-1.0, WIRE_BAD_FIELD},
		{NAN, WIRE_BAD_FIELD},  {INFINITY, WIRE_BAD_FIELD},
		{4096.0, WIRE_OK},      {-INFINITY, WIRE_BAD_FIELD},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bits;

		memcpy(&bits, &cases[i].weight, sizeof(bits));
		assert_int_equal(WITH(WIRE_FINAL, weight, bits), cases[i].verdict);
	}
}

static void empty_tensor(void **state)
{
	struct sample_payload payload;
	struct wire_frame frame;

	(void)state;
	sample_wire(WIRE_FINAL, &frame, &payload);
	frame.count = 0;
	frame.chunk = 0;
	frame.payload_bytes = 0;
	assert_int_equal(check_resealed(&frame), WIRE_OK);
	frame.payload_bytes = 4;
	assert_int_equal(check_resealed(&frame), WIRE_BAD_LENGTH);
	frame.payload_bytes = 0;
	frame.chunk = 1;
	assert_int_equal(check_resealed(&frame), WIRE_BAD_FIELD);
}

static void plain_payload_lengths(void **state)
{
	struct sample_payload payload;
	struct wire_frame frame;

	(void)state;
	sample_wire(WIRE_CONTRIBUTION, &frame, &payload);
	frame.payload_bytes = 4 * 1000;
	assert_int_equal(check_resealed(&frame), WIRE_OK);
	frame.payload_bytes = 4 * 1001;
	assert_int_equal(check_resealed(&frame), WIRE_BAD_LENGTH);
	frame.payload_bytes = 15;
	assert_int_equal(check_resealed(&frame), WIRE_BAD_LENGTH);
	frame.payload_type = SHM_U8;
	assert_int_equal(check_resealed(&frame), WIRE_OK);
	/* What a codec makes is the codec's to judge, up to the largest frame. */
	frame.payload_type = 0;
	frame.codec = 9;
	frame.payload_bytes = WIRE_CHUNK_BYTES_MAX;
	assert_int_equal(check_resealed(&frame), WIRE_OK);
	frame.payload_bytes++;
	assert_int_equal(check_resealed(&frame), WIRE_BAD_LENGTH);
}

static void credits(void **state)
{
	struct sample_payload payload;
	struct wire_frame frame;

	(void)state;
	assert_int_equal(WITH(WIRE_CREDIT, epoch, 0), WIRE_BAD_FIELD);
	assert_int_equal(WITH(WIRE_CREDIT, path_seq, 0), WIRE_OK);
	assert_int_equal(WITH(WIRE_CREDIT, group, 0), WIRE_NOT_ZERO);
	assert_int_equal(WITH(WIRE_CREDIT, node, WIRE_NODES_MAX), WIRE_BAD_FIELD);
	sample_wire(WIRE_CREDIT, &frame, &payload);
	frame.group = 0;
	frame.epoch = 0;
	frame.done_through = 0;
	frame.credit_contribution = 0;
	frame.credit_final = 0;
	frame.turn_us = 0;
	frame.node = 0;
	assert_int_equal(check_resealed(&frame), WIRE_OK); /* an acknowledgement only */
	frame.credit_final = 1;
	assert_int_equal(check_resealed(&frame), WIRE_NOT_ZERO);
}

/* Which bytes between kind and payload_bytes may be other than zero, written down once more. */
static bool used_by(uint16_t kind, size_t byte)
{
	struct range {
		size_t from, to;
	};
	static const struct range credit[] = {{8, 16}, {40, 48}, {56, 60}, {76, 92}, {100, 110}};
	/* group..done_through, epoch, call_digest, ack and credits, node..reduce */
	static const struct range call[] = {{8, 48}, {56, 60}, {72, 76}, {80, 92}, {104, 119}};
	bool data = kind == WIRE_CONTRIBUTION || kind == WIRE_FINAL;

	if (kind == WIRE_HELLO)
		return false;
	if (kind == WIRE_BEAT || kind == WIRE_ACK)
		return byte >= 80 && byte < 84;
	if (kind == WIRE_CREDIT) {
		for (size_t i = 0; i < sizeof(credit) / sizeof(credit[0]); i++)
			if (byte >= credit[i].from && byte < credit[i].to)
				return true;
		return false;
	}
	if (kind == WIRE_CALL) {
		for (size_t i = 0; i < sizeof(call) / sizeof(call[0]); i++)
			if (byte >= call[i].from && byte < call[i].to)
				return true;
		return false;
	}
	if (data && (byte == 122 || byte == 123)) /* culprit, with a flag: its own test */
		return true;
	if (data)
		return byte < 121 && (kind == WIRE_FINAL || byte < 68 || byte >= 72);
	return byte >= 76 && byte < 84;
}

static void culprits(void **state)
{
	struct sample_payload payload;
	struct wire_frame frame;

	(void)state;
	for (uint16_t kind = WIRE_CONTRIBUTION; kind <= WIRE_FINAL; kind++) {
		sample_wire(kind, &frame, &payload);
		frame.culprit = 1;
		assert_int_equal(check_resealed(&frame), WIRE_NOT_ZERO);
		frame.flags |= WIRE_FLAG_NONFINITE;
		assert_int_equal(check_resealed(&frame), WIRE_OK);
		frame.culprit = WIRE_RANKS_MAX;
		assert_int_equal(check_resealed(&frame), WIRE_OK);
		frame.culprit++;
		assert_int_equal(check_resealed(&frame), WIRE_BAD_FIELD);
		frame.culprit = 0;
		assert_int_equal(check_resealed(&frame), WIRE_OK);
	}
}

static void unused_fields_are_zero(void **state)
{
	(void)state;
	for (const uint16_t *kind = sample_wire_kinds; *kind; kind++)
		for (size_t byte = 8; byte < 128; byte++)
			if (!used_by(*kind, byte))
				for (unsigned bit = 0; bit < 8; bit++)
					assert_int_equal(check_with(*kind, byte, 1, 1u << bit),
							 WIRE_NOT_ZERO);
}

static void messages_are_numbered(void **state)
{
	(void)state;
	for (uint16_t kind = WIRE_JOIN; kind <= WIRE_END; kind++) {
		assert_int_equal(WITH(kind, path_seq, 0), WIRE_BAD_FIELD);
		assert_int_equal(WITH(kind, path_seq, UINT32_MAX), WIRE_OK);
	}
	assert_int_equal(WITH(WIRE_HELLO, path_seq, 1), WIRE_NOT_ZERO);
	assert_int_equal(WITH(WIRE_BEAT, path_seq, 1), WIRE_NOT_ZERO);
	assert_int_equal(WITH(WIRE_ACK, path_seq, 1), WIRE_NOT_ZERO);
	assert_int_equal(WITH(WIRE_BYE, path_seq, 0), WIRE_OK);
}

static void control_lengths(void **state)
{
	(void)state;
	for (const uint16_t *kind = sample_wire_kinds; *kind; kind++) {
		struct sample_payload payload;
		struct wire_frame frame;
		uint32_t bytes;

		if (*kind == WIRE_CONTRIBUTION || *kind == WIRE_FINAL)
			continue;
		sample_wire(*kind, &frame, &payload);
		bytes = (uint32_t)payload.bytes;
		assert_true(WITH(*kind, payload_bytes, UINT32_MAX) == WIRE_BAD_LENGTH);
		if (*kind == WIRE_TABLE) {
			bytes = (uint32_t)wire_table_bytes(WIRE_NODES_MAX, WIRE_RANKS_MAX);
			assert_int_equal(WITH(*kind, payload_bytes, bytes), WIRE_OK);
		}
		if (*kind == WIRE_LEASE) {
			bytes = (uint32_t)wire_lease_bytes(WIRE_CHOICES_MAX);
			assert_int_equal(WITH(*kind, payload_bytes, bytes), WIRE_OK);
		}
		assert_int_equal(WITH(*kind, payload_bytes, bytes + 1), WIRE_BAD_LENGTH);
		if (*kind == WIRE_TABLE) {
			bytes = (uint32_t)wire_table_bytes(1, 1);
			assert_int_equal(WITH(*kind, payload_bytes, bytes), WIRE_OK);
		}
		if (*kind == WIRE_LEASE) {
			bytes = (uint32_t)wire_lease_bytes(0);
			assert_int_equal(WITH(*kind, payload_bytes, bytes), WIRE_OK);
		}
		if (bytes)
			assert_int_equal(WITH(*kind, payload_bytes, bytes - 1), WIRE_BAD_LENGTH);
	}
}

static void payload_checksum(void **state)
{
	struct sample_payload payload;
	struct wire_frame frame;
	uint32_t crc;

	(void)state;
	sample_wire(WIRE_FINAL, &frame, &payload);
	assert_int_equal(frame.payload_has_crc, 1);
	crc = frame.payload_crc;
	assert_int_equal(crc, crc32c(0, payload.data, payload.bytes));
	for (size_t bit = 0; bit < 8 * payload.bytes; bit++) {
		payload.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
		assert_int_equal(wire_check_payload(&frame, payload.data), WIRE_BAD_PAYLOAD);
		payload.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	/* Sent again with a newer acknowledgement: the payload's checksum stays. */
	frame.path_ack++;
	wire_seal(&frame, NULL);
	assert_int_equal(frame.payload_crc, crc);
	assert_int_equal(wire_check(&frame), WIRE_OK);
	assert_int_equal(wire_check_payload(&frame, payload.data), WIRE_OK);
	/* No checksum: nothing to compare, and none may be there. */
	frame.payload_has_crc = 0;
	assert_int_equal(check_resealed(&frame), WIRE_NOT_ZERO);
	frame.payload_crc = 0;
	assert_int_equal(check_resealed(&frame), WIRE_OK);
	payload.data[0] ^= 1;
	assert_int_equal(wire_check_payload(&frame, payload.data), WIRE_OK);
}

static void path_seq_wraps(void **state)
{
	(void)state;
	assert_int_equal(wire_path_seq_next(0), 1);
	assert_int_equal(wire_path_seq_next(41), 42);
	assert_int_equal(wire_path_seq_next(UINT32_MAX), 1);
	assert_true(wire_path_seq_after(2, 1));
	assert_false(wire_path_seq_after(1, 2));
	assert_false(wire_path_seq_after(7, 7));
	assert_true(wire_path_seq_after(1, UINT32_MAX));
	assert_false(wire_path_seq_after(UINT32_MAX, 1));
	assert_true(wire_path_seq_after(0x7fffffff, 0));
	assert_false(wire_path_seq_after(0x80000000u, 0));
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(wire_verdict_name(WIRE_OK), "ok");
	assert_string_equal(wire_verdict_name(WIRE_BAD_CRC), "bad header checksum");
	for (int i = WIRE_OK; i <= WIRE_BAD_PAYLOAD; i++)
		for (int j = WIRE_OK; j < i; j++)
			assert_string_not_equal(wire_verdict_name((enum wire_verdict)i),
						wire_verdict_name((enum wire_verdict)j));
	assert_string_equal(wire_verdict_name((enum wire_verdict)99), "unknown verdict");
	assert_string_equal(wire_kind_name(WIRE_PROPOSE), "PROPOSE");
	assert_string_equal(wire_kind_name(0), "unknown kind");
}

/*
 * A key for which the CRC of the call is 0: the CRC is affine in the upper half of the
 * key, and as good as invertible there, so the key is found by elimination.
 */
static uint64_t key_of_crc_zero(void)
{
	uint64_t call[4] = {1u | 1u << 8 | 1u << 16, 1, 10, 0}; /* as wire_call_digest() packs it */
	uint32_t value[32], base = crc32c(0, call, sizeof(call)), target = base, key = 0;
	uint32_t which[32];

	for (unsigned i = 0; i < 32; i++) {
		call[3] = 1ull << (32 + i);
		value[i] = crc32c(0, call, sizeof(call)) ^ base;
		which[i] = 1u << i;
	}
	for (unsigned bit = 0; bit < 32; bit++) {
		unsigned row = bit;

		while (row < 32 && !(value[row] >> bit & 1))
			row++;
		assert_true(row < 32);
		for (unsigned i = 0; i < 32; i++) {
			if (i == row || !(value[i] >> bit & 1))
				continue;
			value[i] ^= value[row];
			which[i] ^= which[row];
		}
		if (target >> bit & 1) {
			target ^= value[row];
			key ^= which[row];
		}
		uint32_t v = value[row], w = which[row];
		value[row] = value[bit];
		which[row] = which[bit];
		value[bit] = v;
		which[bit] = w;
	}
	return (uint64_t)key << 32;
}

static void call_digest(void **state)
{
	uint32_t digest = wire_call_digest(1, 1, 1, 10, 0, 0, 1);
	uint64_t zero = key_of_crc_zero();
	const uint64_t call[4] = {1u | 1u << 8 | 1u << 16, 1, 10, zero};

	(void)state;
	assert_int_equal(wire_call_digest(1, 1, 1, 10, 0, 0, 1), digest);
	assert_int_not_equal(wire_call_digest(2, 1, 1, 10, 0, 0, 1), digest);
	assert_int_not_equal(wire_call_digest(1, 2, 1, 10, 0, 0, 1), digest);
	assert_int_not_equal(wire_call_digest(1, 1, 2, 10, 0, 0, 1), digest);
	assert_int_not_equal(wire_call_digest(1, 1, 1, 11, 0, 0, 1), digest);
	assert_int_not_equal(wire_call_digest(1, 1, 1, 10, 1, 0, 1), digest);
	assert_int_not_equal(wire_call_digest(1, 1, 1, 10, 0, 1, 1), digest);
	assert_int_not_equal(wire_call_digest(1, 1, 1, 10, 0, 1u << 31, 1), digest);
	assert_int_not_equal(wire_call_digest(1, 1, 1, 10, 0, 0, 2), digest);
	assert_int_equal(crc32c(0, call, sizeof(call)), 0);
	assert_int_equal(wire_call_digest(1, 1, 1, 10, zero, 0, 1), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_pass),
		cmocka_unit_test(every_flipped_bit_is_refused),
		cmocka_unit_test(order_of_checks),
		cmocka_unit_test(unknown_kinds),
		cmocka_unit_test(data_ranges),
		cmocka_unit_test(weights),
		cmocka_unit_test(empty_tensor),
		cmocka_unit_test(plain_payload_lengths),
		cmocka_unit_test(credits),
		cmocka_unit_test(culprits),
		cmocka_unit_test(unused_fields_are_zero),
		cmocka_unit_test(messages_are_numbered),
		cmocka_unit_test(control_lengths),
		cmocka_unit_test(payload_checksum),
		cmocka_unit_test(path_seq_wraps),
		cmocka_unit_test(names),
		cmocka_unit_test(call_digest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
