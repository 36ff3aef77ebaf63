/*
 * test_rendezvous_limits.c - what one user, or a lack of memory, does to groups being formed.
 * Wrapped: __wrap_malloc __wrap_calloc __wrap_realloc
 */
#include "daemon/rendezvous.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fail_alloc.h"

static void join(struct rendezvous *r, uint64_t instance, uint32_t uid, const char *name,
		 uint32_t rank, uint32_t ranks)
{
	struct wire_node node = {
		.instance = instance, .port = 7117, .address = "10.0.0.1", .host = "h"};
	struct wire_join frame = {
		.uid = uid,
		.rank = rank,
		.ranks = ranks,
		.pid = 100 + rank,
		.lanes = 1,
		.timeout_ms = 1000,
		.chunk_bytes_max = 65536,
		.chunk_bytes_usual = 32768,
		.paths = 1,
	};

	(void)snprintf(frame.name, sizeof(frame.name), "%s", name);
	assert_int_equal(wire_join_check(&frame, sizeof(frame)), WIRE_OK);
	rendezvous_join(r, &node, &frame, 0);
}

/* The next frame refuses that rank. */
static void refused(struct rendezvous *r, uint32_t rank, int error, const char *text)
{
	const struct wire_refuse *refusal;
	struct rendezvous_out out;

	assert_true(rendezvous_next(r, &out));
	assert_int_equal(out.kind, WIRE_REFUSE);
	refusal = out.payload;
	assert_int_equal(refusal->rank, rank);
	assert_int_equal(refusal->error, error);
	assert_string_equal(refusal->text, text);
}

/* A daemon whose rank found no memory has no seat: there is room for as many as ranks. */
static void test_no_seat_without_rank(void **state)
{
	const struct wire_node *nodes;
	const struct wire_table *table;
	struct rendezvous_out out;
	struct rendezvous *r;

	(void)state;
	assert_int_equal(rendezvous_new(&r, 1000), 0);
	join(r, 1, 7, "world", 0, 2);
	fail_alloc_at(1);
	join(r, 2, 7, "world", 1, 2);
	fail_alloc_at(0);
	refused(r, 1, -ENOMEM, "the root's daemon has no memory left");
	assert_false(rendezvous_involves(r, 2));
	join(r, 3, 7, "world", 1, 2);
	for (uint64_t instance = 1; instance <= 3; instance += 2) {
		assert_true(rendezvous_next(r, &out));
		assert_int_equal(out.kind, WIRE_TABLE);
		assert_int_equal(out.instance, instance);
		table = out.payload;
		nodes = (const struct wire_node *)(table + 1);
		assert_int_equal(table->nodes, 2);
		assert_int_equal(nodes[0].instance, 1);
		assert_int_equal(nodes[1].instance, 3);
	}
	assert_false(rendezvous_next(r, &out));
	rendezvous_free(r);
}

/* One user forms as many groups as he may; another one is not kept out. */
static void test_share_of_a_user(void **state)
{
	struct rendezvous *r;
	char name[16];

	(void)state;
	assert_int_equal(rendezvous_new(&r, 1000), 0);
	for (int i = 0; i < RENDEZVOUS_UID_MAX; i++) {
		(void)snprintf(name, sizeof(name), "g%d", i);
		join(r, 1, 7, name, 0, 3);
	}
	join(r, 1, 7, "more", 0, 3);
	refused(r, 0, -EUSERS, "64 groups of this user are being formed already");
	join(r, 1, 7, "g0", 1, 3); /* no new group */
	join(r, 1, 8, "more", 0, 3);
	assert_false(rendezvous_next(r, &(struct rendezvous_out){.bytes = 0}));
	assert_int_equal(rendezvous_count(r), RENDEZVOUS_UID_MAX + 1);
	rendezvous_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_seat_without_rank),
		cmocka_unit_test(test_share_of_a_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
