/*
 * test_rendezvous.c - the root's side of forming groups: who gets which table, who is refused
 * with which sentence, what a lost node or a deadline does; and what is forgotten when.
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

#include "daemon/clock.h"
#include "daemon/exchange.h"
#include "tests/unit/fail_alloc.h"

#define ROOT 1000u
#define MS CLOCK_NS_PER_MS

/* Instance 1 is host "a", 2 is "b"... */
static struct wire_node node_of(uint64_t instance)
{
	struct wire_node node = {.instance = instance, .port = 7117};

	(void)snprintf(node.address, sizeof(node.address), "10.0.%u.%u",
		       (unsigned int)instance / 200, (unsigned int)instance % 200 + 1);
	(void)snprintf(node.host, sizeof(node.host), "%c", (char)('a' + (instance - 1) % 26));
	return node;
}

static struct wire_join join_of(uint32_t rank, uint32_t ranks)
{
	struct wire_join join = {
		.name = "world",
		.run = "r1",
		.uid = 7,
		.rank = rank,
		.ranks = ranks,
		.pid = 100 + rank,
		.lanes = 4,
		.timeout_ms = 1000,
		.chunk_bytes_max = 65536,
		.chunk_bytes_usual = 32768,
		.flat_bytes_max = 10000,
		.paths = 3,
	};

	return join;
}

static void join(struct rendezvous *r, uint64_t instance, uint32_t rank, uint32_t ranks,
		 uint64_t now_ns)
{
	struct wire_node node = node_of(instance);
	struct wire_join frame = join_of(rank, ranks);

	assert_int_equal(wire_join_check(&frame, sizeof(frame)), WIRE_OK);
	rendezvous_join(r, &node, &frame, now_ns);
}

static struct rendezvous *make(void)
{
	struct rendezvous *r;

	assert_int_equal(rendezvous_new(&r, ROOT), 0);
	return r;
}

/* The next frame, which must be a refusal to that daemon of that rank. */
static void refused(struct rendezvous *r, uint64_t instance, uint32_t rank, int error,
		    const char *text)
{
	const struct wire_refuse *refusal;
	struct rendezvous_out out;

	assert_true(rendezvous_next(r, &out));
	assert_int_equal(out.kind, WIRE_REFUSE);
	assert_int_equal(out.instance, instance);
	assert_int_equal(out.bytes, sizeof(*refusal));
	assert_int_equal(wire_refuse_check(out.payload, out.bytes), WIRE_OK);
	refusal = out.payload;
	assert_int_equal(refusal->rank, rank);
	assert_int_equal(refusal->error, error);
	assert_string_equal(refusal->name, "world");
	assert_string_equal(refusal->text, text);
}

static void nothing_more(struct rendezvous *r)
{
	struct rendezvous_out out;

	assert_false(rendezvous_next(r, &out));
}

/* The next frame, a table for that daemon.  Return: it, valid until the next call. */
static const struct wire_table *table_for(struct rendezvous *r, uint64_t instance)
{
	struct rendezvous_out out;

	assert_true(rendezvous_next(r, &out));
	assert_int_equal(out.kind, WIRE_TABLE);
	assert_int_equal(out.instance, instance);
	assert_int_equal(wire_table_check(out.payload, out.bytes), WIRE_OK);
	return out.payload;
}

static void go_for(struct rendezvous *r, uint64_t instance, uint64_t group)
{
	struct rendezvous_out out;

	assert_true(rendezvous_next(r, &out));
	assert_int_equal(out.kind, WIRE_GO);
	assert_int_equal(out.instance, instance);
	assert_int_equal(wire_ready_check(out.payload, out.bytes), WIRE_OK);
	assert_int_equal(((const struct wire_ready *)out.payload)->group, group);
}

static void ready(struct rendezvous *r, uint64_t instance, uint64_t group, uint32_t node)
{
	const struct wire_ready frame = {.group = group, .epoch = 1, .node = node};

	rendezvous_ready(r, instance, &frame);
}

/* Five ranks on three nodes, coming in any order: nodes are in the order of their lowest rank. */
static void test_forms_a_group(void **state)
{
	struct rendezvous *r = make();
	struct wire_join least = join_of(4, 5);
	struct wire_node node = node_of(2);
	const struct wire_table *table;
	uint64_t group;

	(void)state;
	join(r, 3, 3, 5, 0);
	join(r, 2, 2, 5, 0);
	join(r, 1, 1, 5, 0);
	join(r, 3, 0, 5, 0);
	nothing_more(r);
	assert_true(rendezvous_involves(r, 3));
	assert_false(rendezvous_involves(r, 4));
	least.lanes = 2;
	least.paths = 1;
	least.chunk_bytes_max = 8192;
	least.flat_bytes_max = 0;
	rendezvous_join(r, &node, &least, 0);

	/* In the order of coming: 3 first. */
	table = table_for(r, 3);
	group = table->group;
	assert_int_equal(group, ROOT + 1);
	assert_int_equal(table->epoch, 1);
	assert_int_equal(table->nodes, 3);
	assert_int_equal(table->ranks, 5);
	assert_int_equal(table->lanes, 2);
	assert_int_equal(table->paths, 1);
	assert_int_equal(table->chunk_bytes_max, 8192);
	assert_int_equal(table->flat_bytes_max, 0);
	assert_int_equal(table->uid, 7);
	assert_string_equal(table->run, "r1");
	assert_int_equal(wire_table_nodes(table)[0].instance, 3);
	assert_int_equal(wire_table_nodes(table)[1].instance, 1);
	assert_int_equal(wire_table_nodes(table)[2].instance, 2);
	assert_string_equal(wire_table_nodes(table)[2].host, "b");
	assert_memory_equal(wire_table_ranks(table), ((const uint16_t[]){0, 1, 2, 0, 2}),
			    5 * sizeof(uint16_t));
	(void)table_for(r, 2);
	(void)table_for(r, 1);
	nothing_more(r);

	ready(r, 3, group, 0);
	ready(r, 2, group, 2);
	ready(r, 2, group, 1);     /* not its number */
	ready(r, 9, group, 1);     /* nobody        */
	ready(r, 1, group + 1, 1); /* another group */
	for (uint32_t epoch = 0; epoch <= 2; epoch += 2)
		rendezvous_ready(r, 1,
				 &(struct wire_ready){.group = group, .epoch = epoch, .node = 1});
	nothing_more(r);
	assert_int_equal(rendezvous_count(r), 1);
	ready(r, 1, group, 1);
	go_for(r, 3, group);
	go_for(r, 2, group);
	go_for(r, 1, group);
	nothing_more(r);
	assert_int_equal(rendezvous_count(r), 0);
	assert_int_equal(rendezvous_deadline_ns(r), UINT64_MAX);
	assert_false(rendezvous_involves(r, 3));
	rendezvous_free(r);
}

/* Of each thing that configurations decide another node offers least; the table is no node's. */
static void test_least_of_all_offers(void **state)
{
	static const struct {
		uint32_t lanes, chunk_bytes_max, chunk_bytes_usual, flat_bytes_max;
		uint16_t paths;
	} offers[] = {{1, 1u << 20, 1u << 17, 1u << 30, 8},
		      {16, 1u << 15, 1u << 17, 1u << 30, 8},
		      {16, 1u << 20, 1u << 16, 77, 8},
		      {16, 1u << 20, 1u << 17, 1u << 30, 2}};
	struct rendezvous *r = make();
	const struct wire_table *table;

	(void)state;
	for (uint32_t i = 0; i < 4; i++) {
		struct wire_join frame = join_of(i, 4);
		struct wire_node node = node_of(i + 1);

		frame.lanes = offers[i].lanes;
		frame.paths = offers[i].paths;
		frame.chunk_bytes_max = offers[i].chunk_bytes_max;
		frame.chunk_bytes_usual = offers[i].chunk_bytes_usual;
		frame.flat_bytes_max = offers[i].flat_bytes_max;
		assert_int_equal(wire_join_check(&frame, sizeof(frame)), WIRE_OK);
		rendezvous_join(r, &node, &frame, 0);
	}
	for (uint32_t i = 0; i < 4; i++) {
		table = table_for(r, i + 1);
		assert_int_equal(table->lanes, 1);
		assert_int_equal(table->paths, 2);
		assert_int_equal(table->chunk_bytes_max, 1u << 15);
		assert_int_equal(table->chunk_bytes_usual, 1u << 16);
		assert_int_equal(table->flat_bytes_max, 77);
	}
	rendezvous_free(r);
}

static void test_one_rank_alone(void **state)
{
	struct rendezvous *r = make();
	uint64_t group;

	(void)state;
	join(r, ROOT, 0, 1, 0);
	group = table_for(r, ROOT)->group;
	ready(r, ROOT, group, 0);
	go_for(r, ROOT, group);
	/* The next one of that name is another group. */
	join(r, ROOT, 0, 1, 0);
	assert_int_equal(table_for(r, ROOT)->group, group + 1);
	rendezvous_free(r);
}

static void test_rank_given_twice(void **state)
{
	struct rendezvous *r = make();

	(void)state;
	join(r, 1, 0, 3, 0);
	join(r, 2, 1, 3, 0);
	join(r, 3, 1, 3, 0);
	refused(r, 3, 1, -EEXIST,
		"rank 1 of group \"world\" is given twice: pid 101 on host b has it, pid 101 on "
		"host c wants it");
	nothing_more(r);
	join(r, 3, 2, 3, 0); /* the others did not suffer */
	assert_int_equal(table_for(r, 1)->nodes, 3);
	rendezvous_free(r);
}

static void test_ranks_disagree(void **state)
{
	const char *size = "group \"world\": rank 1 (pid 101 on host b) says 4 ranks, rank 0 (pid "
			   "100 on host a) said 2";
	const char *how = "group \"world\": rank 1 (pid 101 on host b) wants schedule ring, rank 0 "
			  "(pid 100 on host a) wanted auto";
	struct rendezvous *r = make();
	struct wire_join other = join_of(1, 2);
	struct wire_node node = node_of(2);

	(void)state;
	join(r, 1, 0, 2, 0);
	join(r, 2, 1, 4, 0);
	refused(r, 2, 1, -EINVAL, size);
	refused(r, 1, 0, -EINVAL, size);
	nothing_more(r);
	assert_int_equal(rendezvous_count(r), 0);

	join(r, 1, 0, 2, 0);
	other.schedule = sched_by_name("ring")->id;
	rendezvous_join(r, &node, &other, 0);
	refused(r, 2, 1, -EINVAL, how);
	refused(r, 1, 0, -EINVAL, how);
	nothing_more(r);
	rendezvous_free(r);
}

/* Groups differ by name, run and user; a forced schedule is everybody's. */
static void test_identity(void **state)
{
	struct rendezvous *r = make();
	struct wire_node node = node_of(1);
	struct wire_join frames[4] = {join_of(0, 2), join_of(0, 2), join_of(0, 2), join_of(0, 2)};

	(void)state;
	frames[1].uid = 8;
	frames[2].run[0] = 'x';
	frames[3].name[0] = 'x';
	for (int i = 0; i < 4; i++) {
		frames[i].schedule = sched_by_name("flat")->id;
		rendezvous_join(r, &node, &frames[i], 0);
	}
	nothing_more(r);
	assert_int_equal(rendezvous_count(r), 4);
	for (int i = 0; i < 4; i++) {
		const struct wire_table *table;

		frames[i].rank = 1;
		rendezvous_join(r, &node, &frames[i], 0);
		table = table_for(r, 1);
		assert_int_equal(table->uid, frames[i].uid);
		assert_int_equal(table->schedule, sched_by_name("flat")->id);
		assert_int_equal(table->nodes, 1);
		assert_string_equal(table->name, frames[i].name);
		assert_string_equal(table->run, frames[i].run);
		nothing_more(r);
	}
	rendezvous_free(r);
}

static void test_too_late(void **state)
{
	const char *text =
		"group \"world\": ranks 0, 3-4, 6 did not come within 1.0 s, 4 of 8 ranks "
		"are there; user 8 waits for a group of the same name with 1 of 8 ranks";
	struct wire_join other = join_of(0, 8), patient = join_of(5, 8);
	struct wire_node node = node_of(4);
	struct rendezvous *r = make();

	(void)state;
	patient.timeout_ms = 9000;
	rendezvous_join(r, &node, &patient, 0);
	join(r, 1, 1, 8, 100 * MS);
	join(r, 2, 2, 8, 200 * MS);
	join(r, 2, 7, 8, 1050 * MS);
	other.uid = 8;
	other.timeout_ms = 5000;
	rendezvous_join(r, &node, &other, 200 * MS);
	assert_int_equal(rendezvous_deadline_ns(r), 1100 * MS);
	rendezvous_tick(r, 1100 * MS - 1);
	nothing_more(r);
	rendezvous_tick(r, 1100 * MS);
	refused(r, 1, 1, -ETIMEDOUT, text);
	refused(r, 2, 2, -ETIMEDOUT, text);
	refused(r, 4, 5, -ETIMEDOUT, text);
	refused(r, 2, 7, -ETIMEDOUT, text);
	nothing_more(r);
	assert_int_equal(rendezvous_deadline_ns(r), 5200 * MS);
	rendezvous_tick(r, 5200 * MS);
	refused(r, 4, 0, -ETIMEDOUT,
		"group \"world\": ranks 1-7 did not come within 5.0 s, 1 of 8 ranks are there");
	assert_int_equal(rendezvous_count(r), 0);
	rendezvous_free(r);
}

/* The table was sent, but a node does not become ready. */
static void test_not_ready_in_time(void **state)
{
	const char *text = "group \"world\": the daemons of ranks 1-2 were not ready within 1.0 s";
	struct rendezvous *r = make();
	uint64_t group;

	(void)state;
	join(r, 1, 0, 3, 0);
	join(r, 2, 1, 3, 0);
	join(r, 2, 2, 3, 0);
	group = table_for(r, 1)->group;
	(void)table_for(r, 2);
	ready(r, 1, group, 0);
	rendezvous_tick(r, 1000 * MS);
	refused(r, 1, 0, -ETIMEDOUT, text);
	refused(r, 2, 1, -ETIMEDOUT, text);
	refused(r, 2, 2, -ETIMEDOUT, text);
	nothing_more(r);
	ready(r, 2, group, 1); /* too late */
	nothing_more(r);
	rendezvous_free(r);
}

static void withdraw(struct rendezvous *r, uint64_t instance, uint32_t rank)
{
	const struct wire_refuse refusal = {.name = "world",
					    .run = "r1",
					    .uid = 7,
					    .rank = rank,
					    .error = -EHOSTDOWN,
					    .text = "it died"};

	rendezvous_withdraw(r, instance, &refusal);
}

static void test_withdraw(void **state)
{
	struct rendezvous *r = make();
	const struct wire_table *table;

	(void)state;
	join(r, 1, 0, 3, 0);
	join(r, 2, 1, 3, 0);
	withdraw(r, 1, 1); /* not its rank */
	withdraw(r, 1, 2); /* nobody's     */
	join(r, 3, 1, 3, 0);
	refused(r, 3, 1, -EEXIST,
		"rank 1 of group \"world\" is given twice: pid 101 on host b has it, pid 101 on "
		"host c wants it");
	/* The rank may come again, from elsewhere; the first daemon has no place any more. */
	withdraw(r, 2, 1);
	assert_false(rendezvous_involves(r, 2));
	join(r, 3, 1, 3, 0);
	join(r, 1, 2, 3, 0);
	table = table_for(r, 1);
	assert_int_equal(table->nodes, 2);
	assert_int_equal(wire_table_nodes(table)[1].instance, 3);
	assert_memory_equal(wire_table_ranks(table), ((const uint16_t[]){0, 1, 0}),
			    3 * sizeof(uint16_t));
	(void)table_for(r, 3);
	/* After the table nobody may miss. */
	withdraw(r, 3, 1);
	refused(r, 1, 0, -EHOSTDOWN, "it died");
	refused(r, 3, 1, -EHOSTDOWN, "it died");
	refused(r, 1, 2, -EHOSTDOWN, "it died");
	nothing_more(r);
	/* The last one takes the gathering along. */
	join(r, 1, 0, 3, 0);
	withdraw(r, 1, 0);
	assert_int_equal(rendezvous_count(r), 0);
	rendezvous_free(r);
}

static void test_node_gone(void **state)
{
	const char *text = "host b died: its kernel refuses connections while group \"world\" was "
			   "formed";
	struct rendezvous *r = make();

	(void)state;
	join(r, 1, 0, 4, 0);
	join(r, 2, 1, 4, 0);
	join(r, 2, 2, 4, 0);
	rendezvous_node_gone(r, 2, "died: its kernel refuses connections");
	nothing_more(r);
	assert_false(rendezvous_involves(r, 2));
	assert_int_equal(rendezvous_count(r), 1);
	join(r, 2, 1, 4, 0);
	join(r, 2, 2, 4, 0);
	join(r, 2, 3, 4, 0);
	(void)table_for(r, 1);
	(void)table_for(r, 2);
	rendezvous_node_gone(r, 2, "died: its kernel refuses connections");
	refused(r, 1, 0, -EHOSTDOWN, text);
	refused(r, 2, 1, -EHOSTDOWN, text);
	refused(r, 2, 2, -EHOSTDOWN, text);
	refused(r, 2, 3, -EHOSTDOWN, text);
	join(r, 2, 1, 4, 0);
	rendezvous_node_gone(r, 2, "died");
	assert_int_equal(rendezvous_count(r), 0);
	rendezvous_free(r);
}

static void test_limits(void **state)
{
	struct rendezvous *r = make();
	struct wire_node node = node_of(1);
	char text[WIRE_TEXT_BYTES];

	(void)state;
	for (uint32_t i = 0; i <= EXCHANGE_LOCAL_MAX; i++)
		join(r, 1, i, 4096, 0);
	refused(r, 1, EXCHANGE_LOCAL_MAX, -E2BIG,
		"group \"world\" has more than 64 ranks on host a");
	for (uint32_t i = 2; i <= WIRE_NODES_MAX + 1; i++)
		join(r, i, 100 + i, 4096, 0);
	refused(r, WIRE_NODES_MAX + 1, 100 + WIRE_NODES_MAX + 1, -E2BIG,
		"group \"world\" has more than 256 nodes");
	nothing_more(r);
	for (uint32_t i = 1; i < RENDEZVOUS_MAX + 1; i++) {
		struct wire_join frame = join_of(0, 2);

		if (i < RENDEZVOUS_MAX)
			frame.uid = 1000 + i;
		frame.run[0] = 'y';
		rendezvous_join(r, &node, &frame, 0);
	}
	assert_int_equal(rendezvous_count(r), RENDEZVOUS_MAX);
	(void)snprintf(text, sizeof(text), "%d groups are being formed already", RENDEZVOUS_MAX);
	refused(r, 1, 0, -EUSERS, text);
	nothing_more(r);
	rendezvous_stop(r, "carryd on host a is being stopped");
	for (uint32_t i = 1; i < RENDEZVOUS_MAX; i++)
		refused(r, 1, 0, -ESHUTDOWN, "carryd on host a is being stopped");
	assert_int_equal(rendezvous_count(r), 0);
	rendezvous_free(r); /* with messages that nobody took */
}

/* Whichever allocation fails: a rank is refused or hears nothing, and the rest goes on. */
static void test_no_memory(void **state)
{
	static const unsigned int refusals_want[] = {1, 1, 1, 1, 1, 2, 0, 0, 0};
	static const unsigned int tables_want[] = {0, 0, 0, 0, 0, 0, 1, 1, 2};
	struct rendezvous *r = NULL;
	struct rendezvous_out out;

	(void)state;
	fail_alloc_at(1);
	assert_int_equal(rendezvous_new(&r, ROOT), -ENOMEM);
	for (int n = 1; n <= 9; n++) {
		unsigned int refusals = 0, tables = 0;

		r = make();
		fail_alloc_at(n);
		join(r, 1, 0, 2, 0);
		join(r, 2, 1, 2, 0);
		fail_alloc_at(0);
		while (rendezvous_next(r, &out)) {
			refusals += out.kind == WIRE_REFUSE;
			tables += out.kind == WIRE_TABLE;
		}
		/* 1-3: a gathering, 4: a rank; 5: the other; 6: the table; 7, 8: its copies */
		assert_int_equal(refusals, refusals_want[n - 1]);
		assert_int_equal(tables, tables_want[n - 1]);
		assert_int_equal(rendezvous_count(r), n != 6);
		if (n != 6)
			rendezvous_tick(r, 1000 * MS);
		assert_int_equal(rendezvous_count(r), 0);
		rendezvous_free(r);
	}
}

/* 4096 ranks on 64 nodes: the largest table. */
static void test_largest(void **state)
{
	struct rendezvous *r = make();
	const struct wire_table *table;

	(void)state;
	for (uint32_t i = 0; i < WIRE_RANKS_MAX; i++)
		join(r, 1 + (i + 5) % 64, WIRE_RANKS_MAX - 1 - i, WIRE_RANKS_MAX, i);
	table = table_for(r, 6); /* whoever came first */
	assert_int_equal(table->nodes, 64);
	assert_true(wire_table_bytes(table->nodes, table->ranks) <= WIRE_MESSAGE_BYTES_MAX);
	for (uint32_t i = 0; i < WIRE_RANKS_MAX; i++)
		assert_int_equal(wire_table_ranks(table)[i], i % 64);
	rendezvous_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms_a_group),  cmocka_unit_test(test_least_of_all_offers),
		cmocka_unit_test(test_one_rank_alone), cmocka_unit_test(test_rank_given_twice),
		cmocka_unit_test(test_ranks_disagree), cmocka_unit_test(test_identity),
		cmocka_unit_test(test_too_late),       cmocka_unit_test(test_not_ready_in_time),
		cmocka_unit_test(test_withdraw),       cmocka_unit_test(test_node_gone),
		cmocka_unit_test(test_limits),         cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_largest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
