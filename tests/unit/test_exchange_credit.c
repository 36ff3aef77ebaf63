/*
 * test_exchange_credit.c - credits are neither lost nor made, whatever becomes of an op.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/exchange.h"

enum { COUNT = 1024 };

static struct exchange *make(const struct owner_table *owners, const uint32_t *ranks, uint16_t node)
{
	struct exchange_plan plan = {
		.group = 1,
		.epoch = 1,
		.nodes = 2,
		.node = node,
		.lanes = 1,
		.ranks = 2,
		.ranks_of_node = ranks,
		.local_ranks = 1,
		.owners = owners,
		.schedule = sched_direct.id,
		.chunk_bytes_max = 65536,
		.chunk_bytes_usual = OP_CHUNK_BYTES_TCP,
		.slots = 1,
		.buffers = 2,
		.vec = vec_best(),
	};
	struct exchange *x;
	struct err err;

	assert_int_equal(exchange_new(&x, &plan, &err), 0);
	return x;
}

static void post(struct exchange *x, uint64_t seq, uint64_t key, float *data)
{
	struct op_call call = {
		.key = key,
		.count = COUNT,
		.op = WIRE_OP_ALLREDUCE,
		.type = VEC_F32,
		.reduce = VEC_SUM,
	};

	assert_int_equal(
		exchange_post(x, 0, seq, &call, &(struct exchange_rank){data, data, seq, 0}),
		EXCHANGE_POSTED);
}

/* A key whose only chunk the other node owns. */
static uint64_t key_owned_by(const struct owner_table *owners, uint16_t node)
{
	uint64_t key = 1;

	while (owner_of(owners, key, 0) != node)
		key++;
	return key;
}

static void what_is_not_sent_after_all_costs_no_credit(void **state)
{
	const uint32_t ranks[2] = {1, 1};
	struct exchange_completion done;
	struct exchange_send send;
	struct owner_table owners;
	struct exchange *x;
	static float data[COUNT];
	uint64_t key;

	(void)state;
	owner_found(&owners, 2);
	key = key_owned_by(&owners, 1);
	x = make(&owners, ranks, 0);
	post(x, 1, key, data);
	assert_true(exchange_next(x, 1, &send));
	assert_int_equal(send.frame.seq, 1);

	/* The connection broke, the op was ended, its frame goes again without payload. */
	exchange_end(x, 1, 1, -5);
	assert_true(exchange_completion(x, &done));
	assert_int_equal(done.error, -5);
	assert_false(exchange_completion(x, &done));
	exchange_unsent(x, 1);
	exchange_released(x, send.buffer);

	post(x, 2, key, data);
	assert_true(exchange_next(x, 1, &send));
	assert_int_equal(send.frame.seq, 2);
	exchange_released(x, send.buffer);
	exchange_free(x);
}

static void one_slot_allows_one_frame(void **state)
{
	const uint32_t ranks[2] = {1, 1};
	struct exchange_send send;
	struct owner_table owners;
	struct exchange *x;
	static float data[COUNT];
	uint64_t key;

	(void)state;
	owner_found(&owners, 2);
	key = key_owned_by(&owners, 1);
	x = make(&owners, ranks, 0);
	post(x, 1, key, data);
	post(x, 2, key, data);
	assert_true(exchange_next(x, 1, &send));
	assert_false(exchange_next(x, 1, &send));
	exchange_credit(x, 1, 1, 1); /* as it began: nothing new */
	assert_false(exchange_next(x, 1, &send));
	exchange_credit(x, 1, 2, 1);
	assert_true(exchange_next(x, 1, &send));
	assert_int_equal(send.frame.seq, 2);
	exchange_released(x, NULL);
	exchange_released(x, NULL);
	exchange_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_sent_after_all_costs_no_credit),
		cmocka_unit_test(one_slot_allows_one_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
