/*
 * test_exchange.c - an exchange by itself: account, sizing, credits, window, ends.
 *
 * What many of them do together is shown by tests/sim.  Wrapped, so that they can fail and be
 * measured: __wrap_malloc __wrap_calloc __wrap_realloc __wrap_mmap
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "daemon/exchange_state.h"
#include "tests/unit/fail_alloc.h"

static size_t mapped; /* by the last mmap() */
static bool mmap_fails;

void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	mapped = bytes;
	if (mmap_fails)
		return MAP_FAILED;
	return __real_mmap(at, bytes, protection, flags, fd, offset);
}

static const uint32_t ranks_of_node[256] = {2, 1, 1, 1, 1, 1, 1, 1};
static struct owner_table owners;

static struct exchange_plan plan_of(uint16_t nodes, uint32_t slots)
{
	owner_found(&owners, nodes);
	return (struct exchange_plan){
		.group = 7,
		.epoch = 1,
		.nodes = nodes,
		.lanes = 1,
		.ranks = nodes + 1u,
		.ranks_of_node = ranks_of_node,
		.local_ranks = 2,
		.owners = &owners,
		.flat_bytes_max = 4096,
		.chunk_bytes_max = 65536,
		.chunk_bytes_usual = OP_CHUNK_BYTES_TCP,
		.slots = slots,
		.gathers = true,
		.buffers = 4,
		.vec = vec_best(),
	};
}

static struct exchange *make(uint16_t nodes, uint32_t slots)
{
	struct exchange_plan plan = plan_of(nodes, slots);
	struct exchange *x = NULL;
	struct err err;

	assert_int_equal(exchange_new(&x, &plan, &err), 0);
	return x;
}

static const struct op_call sum100 = {
	.count = 100, .op = WIRE_OP_ALLREDUCE, .type = VEC_F32, .reduce = VEC_SUM};
static float tensor[100];

static enum exchange_posted post(struct exchange *x, uint32_t rank, uint64_t seq)
{
	return exchange_post(x, rank, seq, &sum100,
			     &(struct exchange_rank){
				     .in = tensor,
				     .out = tensor,
				     .work = seq * 10 + rank,
			     });
}

/* The next completion is that one. */
static void expect(struct exchange *x, uint32_t rank, uint64_t seq, int error)
{
	struct exchange_completion c;

	assert_true(exchange_completion(x, &c));
	assert_int_equal(c.local_rank, rank);
	assert_int_equal(c.seq, seq);
	assert_int_equal(c.work, seq * 10 + rank);
	assert_int_equal(c.error, error);
}

static void expect_none(struct exchange *x)
{
	struct exchange_completion c;

	assert_false(exchange_completion(x, &c));
}

/* A contribution of `node` to an op that nobody has posted here. */
static struct wire_frame early(uint16_t node, uint64_t seq)
{
	return (struct wire_frame){
		.kind = WIRE_CONTRIBUTION,
		.group = 7,
		.epoch = 1,
		.seq = seq,
		.count = 100,
		.contributors = 1,
		.call_digest = 1,
		.node = node,
		.schedule = 1,
		.op = WIRE_OP_ALLREDUCE,
		.type = VEC_F32,
		.reduce = VEC_SUM,
		.payload_type = VEC_F32,
		.payload_bytes = 400,
	};
}

static void arrive(struct exchange *x, uint16_t node, uint64_t seq)
{
	struct wire_frame f = early(node, seq);
	void *slot = exchange_place(x, node, &f);

	assert_non_null(slot);
	memset(slot, 0, f.payload_bytes);
	exchange_arrived(x, node, &f, slot, slot);
}

/* --- memory --------------------------------------------------------------------------------- */

static void the_account_is_what_is_mapped(void **state)
{
	(void)state;
	for (uint16_t nodes = 1; nodes <= 256; nodes = (uint16_t)(nodes * 3 / 2 + 1))
		for (uint16_t lanes = 1; lanes <= 16; lanes *= 4) {
			struct exchange_plan plan = plan_of(nodes, 3);
			struct exchange *x;
			struct err err;

			plan.lanes = lanes;
			assert_int_equal(exchange_new(&x, &plan, &err), 0);
			assert_int_equal(exchange_memory(&plan), mapped + sizeof(*x));
			assert_true(exchange_idle(x));
			exchange_free(x);
		}
	exchange_free(NULL);
}

static void every_allocation_may_fail(void **state)
{
	struct exchange_plan plan = plan_of(3, 1);
	struct exchange *x = NULL;
	struct err err;

	(void)state;
	fail_alloc_at(1);
	assert_int_equal(exchange_new(&x, &plan, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "no memory"));
	fail_alloc_at(0);
	mmap_fails = true;
	assert_int_equal(exchange_new(&x, &plan, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "slots and buffers"));
	mmap_fails = false;
	assert_null(x);
}

static void sizes_depend_on_what_all_nodes_know(void **state)
{
	(void)state;
	for (uint16_t nodes = 1; nodes <= 256; nodes++) {
		struct exchange_plan a = plan_of(nodes, 0), b = plan_of(nodes, 0);
		struct err err;

		a.chunk_bytes_max = 0;
		b.chunk_bytes_max = 65536;
		b.local_ranks = 1;
		b.lanes = 2;
		assert_int_equal(exchange_plan_size(&a, 1ull << 40, &err), 0);
		assert_int_equal(exchange_plan_size(&b, 1ull << 40, &err), 0);
		assert_int_equal(a.chunk_bytes_max, 1 << 20); /* the most: there is room */
		assert_int_equal(b.chunk_bytes_max, 65536);   /* agreed: kept */
		assert_int_equal(a.slots, b.slots);
		assert_int_equal(a.slots_more, b.slots_more);
		assert_in_range(a.slots + a.slots_more, a.slots, 16);
		assert_int_equal(a.buffers, b.buffers);
		assert_in_range(a.slots, 2, 8);
	}
}

static void more_slots_are_only_made_where_they_fit(void **state)
{
	struct exchange_plan plan = plan_of(2, 0);
	struct err err;
	uint64_t most;

	(void)state;
	plan.lanes = 2;
	assert_int_equal(exchange_plan_size(&plan, 1ull << 40, &err), 0);
	assert_int_equal(plan.slots, 8);
	assert_int_equal(plan.slots_more, 8);
	most = exchange_memory(&plan) * 2;
	assert_int_equal(exchange_plan_size(&plan, most, &err), 0);
	assert_int_equal(plan.slots_more, 8);
	assert_int_equal(exchange_plan_size(&plan, most - 1, &err), 0);
	assert_int_equal(plan.slots, 8);
	assert_int_equal(plan.slots_more, 0);
	plan.gathers = false; /* over TCP */
	assert_int_equal(exchange_plan_size(&plan, 1ull << 40, &err), 0);
	assert_int_equal(plan.slots, 8);
	assert_int_equal(plan.slots_more, 0);
}

static void what_does_not_fit_is_refused_with_the_number(void **state)
{
	struct exchange_plan plan = plan_of(100, 0);
	char number[32];
	struct err err;
	uint64_t most;

	(void)state;
	/* One byte less than the largest chunks take: smaller ones are chosen. */
	plan.chunk_bytes_max = 0;
	assert_int_equal(exchange_plan_size(&plan, 1ull << 40, &err), 0);
	most = exchange_memory(&plan);
	plan.chunk_bytes_max = 0;
	assert_int_equal(exchange_plan_size(&plan, most - 1, &err), 0);
	assert_int_equal(plan.chunk_bytes_max, 512 << 10);

	plan.lanes = 2;
	plan.chunk_bytes_max = 0;
	assert_int_equal(exchange_plan_size(&plan, 1 << 20, &err), -ENOMEM);
	assert_non_null(strstr(err.text, ", [limits] inflight_bytes allows 1048576"));
	(void)snprintf(number, sizeof(number), "%llu",
		       (unsigned long long)exchange_memory(&plan) * 2);
	assert_non_null(strstr(err.text, number));
	assert_non_null(strstr(err.text, "1048576"));
	assert_non_null(strstr(err.text, "100 nodes"));
}

/* --- credits -------------------------------------------------------------------------------- */

static void credits_fall_due(void **state)
{
	struct exchange *x = make(3, 8);
	struct wire_frame f = {0};

	(void)state;
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_NOTHING);
	for (uint64_t seq = 1; seq <= 4; seq++) {
		arrive(x, 1, seq);
		assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_NOTHING);
	}
	exchange_end(x, 1, 1, -EIO);
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_SOME);
	assert_int_equal(exchange_owes(x, 2), EXCHANGE_OWES_NOTHING);
	exchange_end(x, 2, 4, -EIO);
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_SOON); /* half of them */
	exchange_announce(x, 1, &f);
	assert_int_equal(f.credit_contribution, 12);
	assert_int_equal(f.credit_final, 8);
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_NOTHING);

	exchange_path_lost(x, 1); /* was it on that connection? */
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_SOON);
	exchange_announce(x, 1, &f);
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_NOTHING);
	exchange_path_lost(x, 1);
	exchange_node_gone(x, 1);
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_NOTHING); /* nobody to tell */
	exchange_free(x);
}

static void one_slot_is_announced_at_once(void **state)
{
	struct exchange *x = make(2, 1);
	struct wire_frame f = early(1, 2);

	(void)state;
	arrive(x, 1, 1);
	assert_null(exchange_place(x, 1, &f)); /* no credit */
	exchange_end(x, 1, 1, -EIO);
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_SOON);
	arrive(x, 1, 1); /* of an op that is over: its slot is free again at once */
	exchange_announce(x, 1, &f);
	assert_int_equal(f.credit_contribution, 3);
	exchange_free(x);
}

static void a_wide_node_is_granted_more(void **state)
{
	struct exchange_plan plan = plan_of(2, 2);
	struct wire_frame f = early(1, 2);
	struct exchange *x = NULL;
	struct err err;

	(void)state;
	plan.slots_more = 3;
	assert_int_equal(exchange_new(&x, &plan, &err), 0);
	exchange_announce(x, 1, &f);
	assert_int_equal(f.credit_contribution, 2);
	exchange_widen(x, 1);
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_SOON); /* 3 of 5 */
	exchange_announce(x, 1, &f);
	assert_int_equal(f.credit_contribution, 5);
	assert_int_equal(f.credit_final, 5);
	exchange_widen(x, 1); /* it has them */
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_NOTHING);
	for (uint64_t seq = 1; seq <= 5; seq++)
		arrive(x, 1, seq);
	assert_null(exchange_place(x, 1, &f));
	exchange_end(x, 1, 2, -EIO);
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_SOME); /* 2 of 5 */
	exchange_announce(x, 1, &f);
	assert_int_equal(f.credit_contribution, 7);
	exchange_free(x);
}

static void what_does_not_arrive_needs_no_credit(void **state)
{
	struct exchange *x = make(2, 1);
	struct wire_frame f = early(1, 1);
	void *slot = exchange_place(x, 1, &f);

	(void)state;
	exchange_unplace(x, 1, slot);
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_NOTHING);
	assert_ptr_equal(exchange_place(x, 1, &f), slot); /* it comes again */
	exchange_unplace(x, 1, slot);
	exchange_free(x);
}

/* --- posts ---------------------------------------------------------------------------------- */

static void ranks_post_in_order_and_not_too_many(void **state)
{
	struct exchange *x = make(2, 1);

	(void)state;
	assert_int_equal(post(x, 0, 2), EXCHANGE_POST_ORDER);
	assert_int_equal(post(x, 0, UINT64_MAX), EXCHANGE_POST_ORDER);
	assert_int_equal(post(x, 0, 0), EXCHANGE_POST_ORDER);
	/* What was refused takes no place from others: 63 has that of UINT64_MAX. */
	for (uint64_t seq = 1; seq <= EXCHANGE_OPS_MAX; seq++) {
		assert_int_equal(post(x, 1, seq), EXCHANGE_POSTED);
		assert_int_equal(post(x, 1, seq), EXCHANGE_POST_ORDER);
	}
	assert_int_equal(post(x, 1, EXCHANGE_OPS_MAX + 1), EXCHANGE_POST_WINDOW);
	assert_int_equal(post(x, 0, 1), EXCHANGE_POSTED);
	assert_int_equal(exchange_rank_leave(x, 0), 1);
	assert_int_equal(exchange_rank_leave(x, 1), EXCHANGE_OPS_MAX);
	expect_none(x);
	assert_false(exchange_idle(x));
	exchange_end(x, 1, UINT64_MAX, -EIO);
	assert_true(exchange_idle(x));
	exchange_free(x);
}

static void a_tensor_of_too_many_chunks_fails_on_all_ranks(void **state)
{
	const struct op_call huge = {
		.count = 1ull << 40, .op = WIRE_OP_ALLREDUCE, .type = VEC_I8, .reduce = VEC_SUM};
	struct exchange_trouble t;
	struct exchange *x = make(2, 1);

	(void)state;
	assert_int_equal(exchange_post(x, 1, 1, &huge, &(struct exchange_rank){.work = 11}),
			 EXCHANGE_POST_TROUBLE);
	expect_none(x); /* that is for all members to decide */
	assert_true(exchange_take_trouble(x, &t));
	assert_int_equal(t.kind, EXCHANGE_TOO_BIG);
	assert_int_equal(t.seq, 1);
	assert_int_equal(t.local_rank, 1);
	assert_int_equal(t.call.count, huge.count);
	assert_int_equal(t.count_max, 65536ull * 65536);
	assert_false(exchange_take_trouble(x, &t));
	assert_int_equal(exchange_post(x, 0, 1, &huge, &(struct exchange_rank){.work = 10}),
			 EXCHANGE_POSTED);
	assert_false(exchange_take_trouble(x, &t));
	assert_false(exchange_open(x, 1));
	exchange_end(x, 1, 1, -EFBIG);
	expect(x, 0, 1, -EFBIG);
	expect(x, 1, 1, -EFBIG);
	assert_int_equal(exchange_done_through(x), 1);
	assert_int_equal(x->ends_count, 0); /* nobody will ask any more */
	exchange_free(x);
}

static void a_mismatch_names_both_ranks(void **state)
{
	struct op_call other = sum100;
	struct exchange_mismatch m;
	struct exchange *x = make(2, 1);

	(void)state;
	other.reduce = VEC_MAX;
	assert_int_equal(post(x, 1, 1), EXCHANGE_POSTED);
	assert_int_equal(
		exchange_post(x, 0, 1, &other, &(struct exchange_rank){tensor, tensor, 10, 0}),
		EXCHANGE_POST_MISMATCH);
	assert_true(exchange_take_mismatch(x, &m));
	assert_true(m.local);
	assert_int_equal(m.seq, 1);
	assert_int_equal(m.our_rank, 1);
	assert_int_equal(m.ours.reduce, VEC_SUM);
	assert_int_equal(m.their_rank, 0);
	assert_int_equal(m.theirs.reduce, VEC_MAX);
	assert_false(exchange_take_mismatch(x, &m));
	exchange_end(x, 1, 1, -EBADMSG);
	expect(x, 0, 1, -EBADMSG);
	expect(x, 1, 1, -EBADMSG);
	expect_none(x);
	exchange_free(x);
}

/* Two nodes contradict an op in one round: both are told, the lower one first. */
static void all_who_contradict_are_told(void **state)
{
	struct exchange *x = make(4, 2);
	uint64_t seq;
	uint16_t node;

	(void)state;
	for (uint16_t n = 3; n >= 2; n--)
		for (int twice = 0; twice < 2; twice++) {
			struct wire_frame f = early(n, 1);
			void *slot;

			f.kind = WIRE_FINAL; /* of an op that nobody has posted here */
			slot = exchange_place(x, n, &f);
			assert_non_null(slot);
			exchange_arrived(x, n, &f, slot, slot);
		}
	for (uint16_t n = 2; n <= 3; n++) {
		assert_true(exchange_take_bad(x, &node, &seq));
		assert_int_equal(node, n);
		assert_int_equal(seq, 1);
	}
	assert_false(exchange_take_bad(x, &node, &seq));
	exchange_free(x);
}

static void early_frames_are_compared_with_the_first_post(void **state)
{
	struct exchange_mismatch m;
	struct exchange *x = make(2, 1);

	(void)state;
	arrive(x, 1, 1); /* its digest is of another call */
	assert_false(exchange_take_mismatch(x, &m));
	assert_int_equal(post(x, 0, 1), EXCHANGE_POSTED);
	assert_true(exchange_take_mismatch(x, &m));
	assert_false(m.local);
	assert_int_equal(m.their_node, 1);
	assert_int_equal(m.theirs.count, 100);
	exchange_end(x, 1, 1, -EBADMSG);
	expect(x, 0, 1, -EBADMSG);
	assert_int_equal(post(x, 1, 1), EXCHANGE_POSTED);
	expect(x, 1, 1, -EBADMSG);
	assert_int_equal(exchange_owes(x, 1), EXCHANGE_OWES_SOON); /* its slot is free */
	exchange_free(x);
}

/* --- ends ----------------------------------------------------------------------------------- */

static void ends_are_kept_until_all_have_passed(void **state)
{
	struct exchange *x = make(2, 1);

	(void)state;
	/* Far ahead of anything posted here; and twice, where the first decision stands. */
	exchange_end(x, 100, 105, -1);
	exchange_end(x, 90, 130, -2);
	exchange_end(x, 1, 89, -3);
	exchange_end(x, 120, UINT64_MAX, -4);
	for (uint64_t seq = 1; seq <= 200; seq++) { /* while rank 1 has not even begun */
		int error = seq < 90 ? -3 : seq < 100 ? -2 : seq < 106 ? -1 : seq < 131 ? -2 : -4;

		assert_int_equal(post(x, 0, seq), EXCHANGE_POSTED);
		expect(x, 0, seq, error);
	}
	assert_int_equal(exchange_done_through(x), 130);
	for (uint64_t seq = 1; seq <= 140; seq++) {
		int error = seq < 90 ? -3 : seq < 100 ? -2 : seq < 106 ? -1 : seq < 131 ? -2 : -4;

		assert_int_equal(post(x, 1, seq), EXCHANGE_POSTED);
		expect(x, 1, seq, error);
	}
	assert_int_equal(x->ends_count, 1); /* the one without end */
	expect_none(x);
	assert_true(exchange_idle(x));
	exchange_free(x);
}

static void who_reads_no_completions_posts_no_more(void **state)
{
	struct exchange *x = make(2, 1);

	(void)state;
	exchange_end(x, 1, UINT64_MAX, -EIO);
	for (uint64_t seq = 1; seq <= EXCHANGE_OPS_MAX; seq++)
		assert_int_equal(post(x, 0, seq), EXCHANGE_POSTED);
	assert_int_equal(post(x, 0, EXCHANGE_OPS_MAX + 1), EXCHANGE_POST_WINDOW);
	for (uint64_t seq = 1; seq <= EXCHANGE_OPS_MAX; seq++)
		expect(x, 0, seq, -EIO);
	assert_int_equal(post(x, 0, EXCHANGE_OPS_MAX + 1), EXCHANGE_POSTED);
	exchange_free(x);
}

static void too_many_holes_end_the_group(void **state)
{
	struct exchange *x = make(2, 1);

	(void)state;
	for (uint64_t i = 0; i < 2 * EXCHANGE_ENDS_MAX; i++)
		exchange_end(x, 2 + 2 * i, 2 + 2 * i, -EIO);
	assert_int_equal(x->ends_count, 1);
	assert_null(exchange_ended(x, 1));
	assert_non_null(exchange_ended(x, 3));
	assert_non_null(exchange_ended(x, UINT64_MAX));
	exchange_free(x);

	/* A range that a decider should not send costs no time either. */
	x = make(2, 1);
	exchange_end(x, 1, UINT64_MAX - 1, -EIO);
	assert_int_equal(exchange_done_through(x), UINT64_MAX - 1);
	assert_int_equal(post(x, 0, 1), EXCHANGE_POSTED);
	expect(x, 0, 1, -EIO);
	exchange_free(x);
}

static void an_end_leaves_other_ops_alone(void **state)
{
	struct exchange *x = make(1, 1);

	(void)state;
	exchange_end(x, 2, 2, -EIO);
	for (uint64_t seq = 1; seq <= 3; seq++)
		for (uint32_t r = 0; r < 2; r++)
			assert_int_equal(post(x, r, seq), EXCHANGE_POSTED);
	while (exchange_progress(x))
		;
	expect(x, 0, 1, 0);
	expect(x, 1, 1, 0);
	expect(x, 0, 3, 0);
	expect(x, 1, 3, 0);
	expect(x, 0, 2, -EIO);
	expect(x, 1, 2, -EIO);
	expect_none(x);
	assert_int_equal(exchange_done_through(x), 3);
	exchange_end(x, 1, 3, -EIO); /* too late */
	expect_none(x);
	exchange_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_account_is_what_is_mapped),
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(sizes_depend_on_what_all_nodes_know),
		cmocka_unit_test(more_slots_are_only_made_where_they_fit),
		cmocka_unit_test(what_does_not_fit_is_refused_with_the_number),
		cmocka_unit_test(credits_fall_due),
		cmocka_unit_test(one_slot_is_announced_at_once),
		cmocka_unit_test(a_wide_node_is_granted_more),
		cmocka_unit_test(what_does_not_arrive_needs_no_credit),
		cmocka_unit_test(ranks_post_in_order_and_not_too_many),
		cmocka_unit_test(a_tensor_of_too_many_chunks_fails_on_all_ranks),
		cmocka_unit_test(a_mismatch_names_both_ranks),
		cmocka_unit_test(all_who_contradict_are_told),
		cmocka_unit_test(early_frames_are_compared_with_the_first_post),
		cmocka_unit_test(ends_are_kept_until_all_have_passed),
		cmocka_unit_test(who_reads_no_completions_posts_no_more),
		cmocka_unit_test(too_many_holes_end_the_group),
		cmocka_unit_test(an_end_leaves_other_ops_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
