/*
 * rdma_hostile.c - whatever a peer writes into its ring, and whatever its immediates say, costs it
 * its path and nobody anything else.  Needs an RDMA device:
 * tests/vm/single/test_verbs_hostile runs it.
 *
 * Each row is a peer of its own, which breaks one rule; a second path, whose peer keeps the rules,
 * has to work before and afterwards.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/common/rig.h"
#include "tests/common/verbs_rig.h"

enum { GOOD = 1, BAD = 2, PAYLOAD = 1000 };

#define FRAME_BYTES (WIRE_HEADER_BYTES + PAYLOAD)
#define PLACE(n) ((uint32_t)(n) << VERBS_IMM_PLACE_SHIFT)

/* A frame in rig->from: sealed, with its payload's CRC.  Return: its bytes. */
static uint32_t frame(struct verbs_rig *rig, uint32_t number, uint32_t payload)
{
	struct wire_frame f = rig_frame(0, 1, number, payload);

	rig_fill(rig->from + WIRE_HEADER_BYTES, 0, 1, number, payload);
	wire_seal(&f, payload ? rig->from + WIRE_HEADER_BYTES : NULL);
	memcpy(rig->from, &f, sizeof(f));
	return WIRE_HEADER_BYTES + payload;
}

/* A write into the ring at that place; its immediate says so. */
static struct verbs_rig_write into(const struct verbs_path *path, uint32_t place, uint32_t bytes)
{
	return (struct verbs_rig_write){
		.opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
		.to = path->theirs.ring + (uint64_t)place * VERBS_UNIT_BYTES,
		.key = path->theirs.rkey,
		.bytes = bytes,
		.immediate = PLACE(place),
	};
}

static uint32_t units_of(const struct verbs_path *path)
{
	return path->theirs.ring_bytes / VERBS_UNIT_BYTES;
}

/* The victim takes a frame with payload from a peer; it is as it was sent. */
static void takes(struct verbs_rig *rig, uint16_t peer, uint32_t number)
{
	unsigned char got[PAYLOAD], want[PAYLOAD];
	struct transport_event event = verbs_rig_event(rig);

	assert_int_equal(event.kind, TRANSPORT_HEADER);
	assert_int_equal(event.peer, peer);
	assert_int_equal(event.frame.payload_bytes, PAYLOAD);
	transport_verbs.place(rig->victim, peer, 0, got);
	event = verbs_rig_event(rig);
	assert_int_equal(event.kind, TRANSPORT_FRAME);
	assert_ptr_equal(event.payload, got);
	rig_fill(want, 0, 1, number, PAYLOAD);
	assert_memory_equal(got, want, PAYLOAD);
}

/* bad: frames refused so far, with this */
static void breaks_with(struct verbs_rig *rig, enum wire_verdict verdict, uint64_t bad)
{
	struct transport_event event = verbs_rig_event(rig);

	assert_int_equal(event.kind, TRANSPORT_DOWN);
	assert_int_equal(event.peer, BAD);
	assert_int_equal(event.error, -EBADMSG);
	assert_string_equal(wire_verdict_name(event.verdict), wire_verdict_name(verdict));
	assert_int_equal(transport_verbs.stats(rig->victim)->bad_frames, bad);
}

/* --- one rule each -------------------------------------------------------------------------- */

static struct verbs_rig_write place_behind_the_ring(struct verbs_rig *rig, struct verbs_path *bad)
{
	struct verbs_rig_write w = into(bad, 0, frame(rig, 0, PAYLOAD));

	w.immediate = PLACE(units_of(bad));
	return w;
}

static struct verbs_rig_write place_as_large_as_can_be(struct verbs_rig *rig,
						       struct verbs_path *bad)
{
	struct verbs_rig_write w = into(bad, 0, frame(rig, 0, PAYLOAD));

	w.immediate = ~(VERBS_IMM_BARE | VERBS_IMM_COUNT);
	return w;
}

static struct verbs_rig_write over_the_end(struct verbs_rig *rig, struct verbs_path *bad)
{
	struct verbs_rig_write w = into(bad, 0, frame(rig, 0, PAYLOAD));

	w.immediate = PLACE(units_of(bad) - 2);
	return w;
}

static struct verbs_rig_write shorter_than_a_header(struct verbs_rig *rig, struct verbs_path *bad)
{
	(void)frame(rig, 0, 0);
	return into(bad, 0, WIRE_HEADER_BYTES - 1);
}

static struct verbs_rig_write nothing_at_all(struct verbs_rig *rig, struct verbs_path *bad)
{
	(void)rig;
	return into(bad, 0, 0);
}

static struct verbs_rig_write a_place_never_written(struct verbs_rig *rig, struct verbs_path *bad)
{
	struct verbs_rig_write w = into(bad, 0, frame(rig, 0, PAYLOAD));

	w.immediate = PLACE(1000);
	return w;
}

static struct verbs_rig_write garbage(struct verbs_rig *rig, struct verbs_path *bad)
{
	memset(rig->from, 0xa5, FRAME_BYTES);
	return into(bad, 0, FRAME_BYTES);
}

static struct verbs_rig_write a_flipped_bit(struct verbs_rig *rig, struct verbs_path *bad)
{
	uint32_t bytes = frame(rig, 0, PAYLOAD);

	rig->from[40] ^= 4;
	return into(bad, 0, bytes);
}

static struct verbs_rig_write more_payload_than_written(struct verbs_rig *rig,
							struct verbs_path *bad)
{
	return into(bad, 0, frame(rig, 0, PAYLOAD) - 1);
}

static struct verbs_rig_write less_payload_than_written(struct verbs_rig *rig,
							struct verbs_path *bad)
{
	return into(bad, 0, frame(rig, 0, PAYLOAD) + 64);
}

static struct verbs_rig_write takes_what_was_not_sent(struct verbs_rig *rig, struct verbs_path *bad)
{
	struct verbs_rig_write w = into(bad, 0, frame(rig, 0, 0));

	w.immediate |= 1;
	return w;
}

static struct verbs_rig_write bare_and_takes_a_lot(struct verbs_rig *rig, struct verbs_path *bad)
{
	struct verbs_rig_write w = into(bad, 0, 0);

	(void)rig;
	w.immediate = VERBS_IMM_BARE | VERBS_IMM_COUNT;
	return w;
}

static struct verbs_rig_write a_message_instead(struct verbs_rig *rig, struct verbs_path *bad)
{
	struct verbs_rig_write w = into(bad, 0, 0);

	(void)rig;
	w.opcode = IBV_WR_SEND;
	return w;
}

static void rules_of_single_writes(void **state)
{
	static const struct {
		struct verbs_rig_write (*make)(struct verbs_rig *rig, struct verbs_path *bad);
		enum wire_verdict verdict;
	} rows[] = {
		{place_behind_the_ring, WIRE_BAD_LENGTH},
		{place_as_large_as_can_be, WIRE_BAD_LENGTH},
		{over_the_end, WIRE_BAD_LENGTH},
		{shorter_than_a_header, WIRE_BAD_LENGTH},
		{nothing_at_all, WIRE_BAD_LENGTH},
		{a_place_never_written, WIRE_BAD_MAGIC},
		{garbage, WIRE_BAD_MAGIC},
		{a_flipped_bit, WIRE_BAD_CRC},
		{more_payload_than_written, WIRE_BAD_LENGTH},
		{less_payload_than_written, WIRE_BAD_LENGTH},
		{takes_what_was_not_sent, WIRE_BAD_FIELD},
		{bare_and_takes_a_lot, WIRE_BAD_FIELD},
		{a_message_instead, WIRE_BAD_KIND},
	};
	struct verbs_rig rig;
	struct verbs_path *good;
	struct verbs_rig_write w;
	uint32_t at = 0;

	(void)state;
	verbs_rig_open(&rig);
	good = verbs_rig_join(&rig, GOOD);
	for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct verbs_path *bad = verbs_rig_join(&rig, BAD);

		w = rows[i].make(&rig, bad);
		assert_int_equal(verbs_rig_write(&rig, bad, &w), IBV_WC_SUCCESS);
		breaks_with(&rig, rows[i].verdict, i + 1);
		transport_verbs.detach(rig.attacker, BAD, 0);
		while (rig.attacker->paths[BAD * TRANSPORT_PATHS_MAX]) {
			struct transport_event event;

			(void)transport_verbs.poll(rig.attacker, &event, 1);
		}
		/* The other peer's path has not noticed. */
		w = into(good, at, frame(&rig, i, PAYLOAD));
		at += (w.bytes + VERBS_UNIT_BYTES - 1) / VERBS_UNIT_BYTES;
		assert_int_equal(verbs_rig_write(&rig, good, &w), IBV_WC_SUCCESS);
		takes(&rig, GOOD, i);
	}
	verbs_rig_close(&rig);
}

/* --- more than one write -------------------------------------------------------------------- */

/* Beside the ring, before and behind: the device does not let it. */
static void outside_of_the_ring(void **state)
{
	struct verbs_rig rig;

	(void)state;
	verbs_rig_open(&rig);
	for (int i = 0; i < 3; i++) {
		struct verbs_path *bad = verbs_rig_join(&rig, (uint16_t)(BAD + i));
		struct verbs_rig_write w = into(bad, 0, frame(&rig, 0, PAYLOAD));

		w.to = i == 0   ? bad->theirs.ring - 64
		       : i == 1 ? bad->theirs.ring + bad->theirs.ring_bytes - PAYLOAD
				: (uintptr_t)rig.from;
		assert_int_equal(verbs_rig_write(&rig, bad, &w), IBV_WC_REM_ACCESS_ERR);
	}
	verbs_rig_close(&rig);
}

/* More frames than may be under way, none of them taken yet. */
static void more_frames_than_the_window(void **state)
{
	struct verbs_rig rig;
	struct verbs_path *bad;

	(void)state;
	verbs_rig_open(&rig);
	bad = verbs_rig_join(&rig, BAD);
	for (uint32_t i = 0; i < VERBS_WINDOW + 1; i++) {
		struct verbs_rig_write w = into(bad, 4 * i, frame(&rig, i, 0));

		assert_int_equal(verbs_rig_write(&rig, bad, &w), IBV_WC_SUCCESS);
	}
	for (int i = 0; i < VERBS_WINDOW + 1; i++) {
		struct transport_event event = verbs_rig_event(&rig);

		if (event.kind == TRANSPORT_FRAME)
			continue;
		assert_int_equal(event.kind, TRANSPORT_DOWN);
		assert_int_equal(event.error, -EBADMSG);
		assert_int_equal(event.verdict, WIRE_BAD_LENGTH);
		verbs_rig_close(&rig);
		return;
	}
	fail_msg("all were taken");
}

/* What is in the ring changes after it was looked at: lengths are those that were checked. */
static void under_our_hands(void **state)
{
	const uint32_t guard = 4096;
	unsigned char *memory = malloc(PAYLOAD + guard);
	struct verbs_rig rig;
	struct verbs_path *bad;
	struct verbs_rig_write w;
	struct transport_event event;

	(void)state;
	assert_non_null(memory);
	memset(memory, 0x77, PAYLOAD + guard);
	verbs_rig_open(&rig);
	bad = verbs_rig_join(&rig, BAD);
	w = into(bad, 0, frame(&rig, 0, PAYLOAD));
	assert_int_equal(verbs_rig_write(&rig, bad, &w), IBV_WC_SUCCESS);
	event = verbs_rig_event(&rig);
	assert_int_equal(event.kind, TRANSPORT_HEADER);
	assert_int_equal(event.frame.payload_bytes, PAYLOAD);
	/* A sealed header again, of a longer frame, and another payload. */
	w = into(bad, 0, frame(&rig, 1, 3 * PAYLOAD));
	w.opcode = IBV_WR_RDMA_WRITE;
	assert_int_equal(verbs_rig_write(&rig, bad, &w), IBV_WC_SUCCESS);
	transport_verbs.place(rig.victim, BAD, 0, memory);
	for (uint32_t i = PAYLOAD; i < PAYLOAD + guard; i++)
		assert_int_equal(memory[i], 0x77);
	breaks_with(&rig, WIRE_BAD_PAYLOAD, 1);
	verbs_rig_close(&rig);
	free(memory);
}

/* A message with contents finds no memory that would take it. */
static void a_message_with_contents(void **state)
{
	struct verbs_rig rig;
	struct verbs_path *bad;
	struct verbs_rig_write w;
	struct transport_event event;

	(void)state;
	verbs_rig_open(&rig);
	bad = verbs_rig_join(&rig, BAD);
	w = into(bad, 0, frame(&rig, 0, PAYLOAD));
	w.opcode = IBV_WR_SEND;
	assert_int_not_equal(verbs_rig_write(&rig, bad, &w), IBV_WC_SUCCESS);
	event = verbs_rig_event(&rig);
	assert_int_equal(event.kind, TRANSPORT_DOWN);
	assert_non_null(event.why); /* which error it is, devices see differently */
	assert_true(event.error < 0 && event.error != -EBADMSG);
	verbs_rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_of_single_writes),
		cmocka_unit_test(outside_of_the_ring),
		cmocka_unit_test(more_frames_than_the_window),
		cmocka_unit_test(under_our_hands),
		cmocka_unit_test(a_message_with_contents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
