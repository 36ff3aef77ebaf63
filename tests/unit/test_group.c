/*
 * test_group.c - members from a table, ranks on their way out, what has been ended, and
 * the words about all that.
 * Wrapped: __wrap_malloc __wrap_calloc __wrap_realloc
 */
#include "daemon/group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compress/vector.h"
#include "tests/unit/fail_alloc.h"

enum { NODES = 3, RANKS = 7 };

/* Node 0: ranks 0, 1; node 1 (instance 22): 2, 5, 6; node 2: 3, 4. */
struct table {
	struct wire_table head;
	struct wire_node nodes[NODES];
	uint16_t ranks[RANKS];
};

static const struct table sample = {
	.head = {.group = 0xabc,
		 .name = "world",
		 .run = "r",
		 .uid = 7,
		 .epoch = 1,
		 .nodes = NODES,
		 .ranks = RANKS,
		 .lanes = 2,
		 .chunk_bytes_max = 8192,
		 .chunk_bytes_usual = 16384,
		 .flat_bytes_max = 5000,
		 .schedule = 3,
		 .paths = 2},
	.nodes = {{.instance = 11, .port = 7117, .address = "10.0.0.1", .host = "a"},
		  {.instance = 22, .port = 7118, .address = "fd00::2", .host = "b"},
		  {.instance = 33, .port = 7117, .address = "10.0.0.3", .host = "c"}},
	.ranks = {0, 0, 1, 2, 2, 1, 1},
};

static struct group *make(void)
{
	struct group *g;
	struct err err;

	assert_int_equal(group_new(&g, &sample.head, 22, &err), 0);
	return g;
}

static void test_members(void **state)
{
	struct group *g = make();

	(void)state;
	assert_int_equal(g->id, 0xabc);
	assert_int_equal(g->node, 1);
	assert_int_equal(g->nodes, 3);
	assert_int_equal(g->ranks, 7);
	assert_int_equal(g->lanes, 2);
	assert_int_equal(g->paths, 2);
	assert_int_equal(g->chunk_bytes_max, 8192);
	assert_int_equal(g->chunk_bytes_usual, 16384);
	assert_int_equal(g->flat_bytes_max, 5000);
	assert_int_equal(g->schedule, 3);
	assert_int_equal(g->uid, 7);
	assert_string_equal(g->name, "world");
	assert_memory_equal(g->ranks_of_node, ((const uint32_t[]){2, 3, 2}), 12);
	assert_int_equal(g->local_ranks, 3);
	assert_int_equal(g->local[0].rank, 2);
	assert_int_equal(g->local[1].rank, 5);
	assert_int_equal(g->local[2].rank, 6);
	assert_int_equal(group_node_of(g, 33), 2);
	assert_int_equal(group_node_of(g, 44), -1);
	assert_false(group_all_left(g));
	group_free(g);
	group_free(NULL);
}

static void test_not_a_member(void **state)
{
	struct group *g = NULL;
	struct err err;

	(void)state;
	assert_int_equal(group_new(&g, &sample.head, 44, &err), -EPROTO);
	assert_string_equal(err.text, "group \"world\" was formed without this node");
	assert_null(g);
}

static void test_no_memory(void **state)
{
	struct group *g = NULL;
	struct err err;
	int n, ret;

	(void)state;
	for (n = 1;; n++) {
		fail_alloc_at(n);
		ret = group_new(&g, &sample.head, 22, &err);
		fail_alloc_at(0);
		if (!ret)
			break;
		assert_int_equal(ret, -ENOMEM);
		assert_string_equal(err.text, "no memory for group \"world\" of 3 nodes");
		assert_null(g);
	}
	assert_int_equal(n, 5);
	group_free(g);
}

static void test_too_many_here(void **state)
{
	uint32_t ranks = EXCHANGE_LOCAL_MAX + 1;
	struct wire_table *table = calloc(1, wire_table_bytes(1, ranks));
	struct group *g = NULL;
	struct err err;

	(void)state;
	assert_non_null(table);
	*table = sample.head;
	table->nodes = 1;
	table->ranks = ranks;
	memcpy(table + 1, sample.nodes, sizeof(sample.nodes[0]));
	assert_int_equal(wire_table_check(table, wire_table_bytes(1, ranks)), WIRE_OK);
	assert_int_equal(group_new(&g, table, 11, &err), -E2BIG);
	assert_string_equal(err.text, "group \"world\" has more than 64 ranks on one node");
	table->ranks--;
	assert_int_equal(group_new(&g, table, 11, &err), 0);
	assert_int_equal(g->local_ranks, EXCHANGE_LOCAL_MAX);
	group_free(g);
	free(table);
}

/* First come, first served; what is ended stays ended; the end only moves down. */
static void test_ending(void **state)
{
	struct group *g = make();

	(void)state;
	assert_int_equal(g->ended_from, UINT64_MAX);
	assert_true(group_ending(g, 5, 5, GROUP_MISMATCH, "one op"));
	assert_int_equal(g->ended_from, UINT64_MAX);
	assert_string_equal(g->ended_text, "");
	assert_false(group_ending(g, 5, 5, GROUP_MISMATCH, "the other side says so too"));
	assert_true(group_ending(g, 6, 6, GROUP_MISMATCH, "another op"));
	assert_true(group_ending(g, 10, UINT64_MAX, GROUP_LEFT, "left"));
	assert_int_equal(g->ended_from, 10);
	assert_int_equal(g->ended_error, GROUP_LEFT);
	assert_string_equal(g->ended_text, "left");
	assert_false(group_ending(g, 10, UINT64_MAX, GROUP_DIED, "died"));
	assert_false(group_ending(g, 11, 11, GROUP_MISMATCH, "too late"));
	assert_string_equal(g->ended_text, "left");
	assert_true(group_ending(g, 9, 9, GROUP_MISMATCH, "still open"));
	assert_true(group_ending(g, 1, UINT64_MAX, GROUP_DIED, "died"));
	assert_int_equal(g->ended_from, 1);
	assert_string_equal(g->ended_text, "died");
	group_free(g);
}

static void test_rank_posted(void **state)
{
	struct group *g = make();

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		assert_false(group_all_left(g));
		g->local[i].state = GROUP_RANK_LEAVING;
		assert_false(group_rank_posted(g, i, 10 + i));
		assert_int_equal(g->local[i].state, GROUP_RANK_LEAVING);
		assert_true(group_rank_posted(g, i, i == 1 ? 7 : 20));
		assert_int_equal(g->local[i].state, GROUP_RANK_LEFT);
	}
	/* A rank is in the ops that all lanes have. */
	assert_int_equal(g->local[0].posted, 10);
	assert_int_equal(g->local[1].posted, 7);
	assert_int_equal(g->local[2].posted, 12);
	assert_true(group_all_left(g));
	group_free(g);
}

static void ranks_text(const char *set, size_t bytes, const char *want)
{
	bool has[64] = {false};
	char text[256];

	for (size_t i = 0; set[i]; i++)
		has[i] = set[i] == 'x';
	group_ranks_text(has, (uint32_t)strlen(set), text, bytes);
	assert_string_equal(text, want);
}

static void test_ranks_text(void **state)
{
	(void)state;
	ranks_text("x", 64, "rank 0");
	ranks_text("..x..", 64, "rank 2");
	ranks_text("..xx.", 64, "ranks 2-3");
	ranks_text("xx.x.xxxx", 64, "ranks 0-1, 3, 5-8");
	ranks_text("x.x.x.x.x.x.x", 24, "ranks 0, 2, 4, 6, 8...");
	ranks_text("x.x.x.x.x.x.x", 40, "ranks 0, 2, 4, 6, 8, 10, 12");
}

static void test_words(void **state)
{
	struct group *g = make();
	char text[WIRE_TEXT_BYTES];

	(void)state;
	group_node_text(g, 2, text, sizeof(text));
	assert_string_equal(text, "node 2 (host c, 10.0.0.3:7117, ranks 3-4)");
	group_node_text(g, 1, text, sizeof(text));
	assert_string_equal(text, "node 1 (host b, [fd00::2]:7118, ranks 2, 5-6)");
	group_node_ranks_text(g, 0, text, sizeof(text));
	assert_string_equal(text, "ranks 0-1 on host a");
	g->local[1].pid = 17;
	group_local_text(g, &g->local[1], text, sizeof(text));
	assert_string_equal(text, "rank 5 (pid 17 on host b)");
	group_free(g);
}

static void test_mismatch_text(void **state)
{
	struct group *g = make();
	struct exchange_mismatch m = {
		.seq = 12,
		.ours = {.count = 1024, .type = VEC_F32, .reduce = VEC_SUM, .schedule = 1},
		.theirs = {.count = 2048, .type = VEC_F32, .reduce = VEC_SUM, .schedule = 1},
		.their_node = 2,
	};
	char text[WIRE_TEXT_BYTES];

	(void)state;
	group_mismatch_text(g, &m, text, sizeof(text));
	assert_string_equal(text,
			    "op 12: ranks 3-4 on host c called allreduce f32 x 2048 sum, ranks "
			    "2, 5-6 on host b called allreduce f32 x 1024 sum");
	m.theirs.schedule = 2;
	m.theirs.count = 1024;
	m.theirs.key = 0xbeef;
	group_mismatch_text(g, &m, text, sizeof(text));
	assert_string_equal(
		text, "op 12: ranks 3-4 on host c called allreduce f32 x 1024 sum key "
		      "000000000000beef schedule flat, ranks 2, 5-6 on host b called allreduce "
		      "f32 x 1024 sum key 0000000000000000 schedule direct");
	m.theirs = m.ours;
	m.theirs.type = VEC_I64;
	m.theirs.reduce = VEC_MAX;
	m.local = true;
	m.our_rank = 0;
	m.their_rank = 2;
	g->local[0].pid = 5;
	g->local[2].pid = 6;
	group_mismatch_text(g, &m, text, sizeof(text));
	assert_string_equal(text,
			    "op 12: rank 6 (pid 6 on host b) called allreduce i64 x 1024 max, "
			    "rank 2 (pid 5 on host b) called allreduce f32 x 1024 sum");
	group_free(g);
}

static void test_trouble_text(void **state)
{
	struct group *g = make();
	struct exchange_trouble t = {
		.kind = EXCHANGE_TOO_BIG,
		.seq = 3,
		.call = {.count = 1ull << 40, .type = VEC_F32, .reduce = VEC_SUM},
		.local_rank = 1,
		.count_max = 17179869184,
	};
	char text[WIRE_TEXT_BYTES];

	(void)state;
	g->local[1].pid = 17;
	assert_int_equal(group_trouble_text(g, &t, text, sizeof(text)), GROUP_TOO_BIG);
	assert_string_equal(text, "op 3: rank 5 (pid 17 on host b) called allreduce f32 x "
				  "1099511627776 sum, but 17179869184 elements is the most that "
				  "fits into 65536 chunks of 8192 bytes, the largest of this "
				  "group: call it for parts of the tensor");
	t = (struct exchange_trouble){.kind = EXCHANGE_DAMAGED, .seq = 4, .node = 2};
	assert_int_equal(group_trouble_text(g, &t, text, sizeof(text)), GROUP_DAMAGED);
	assert_string_equal(text, "op 4: the input of ranks 3-4 on host c came to ranks 2, 5-6 on "
				  "host b with a payload CRC that does not match: it was changed "
				  "during the op, or damaged on its way");
	group_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_members),       cmocka_unit_test(test_not_a_member),
		cmocka_unit_test(test_no_memory),     cmocka_unit_test(test_too_many_here),
		cmocka_unit_test(test_ending),        cmocka_unit_test(test_rank_posted),
		cmocka_unit_test(test_ranks_text),    cmocka_unit_test(test_words),
		cmocka_unit_test(test_mismatch_text), cmocka_unit_test(test_trouble_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
