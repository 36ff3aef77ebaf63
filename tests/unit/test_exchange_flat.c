/*
 * test_exchange_flat.c - what goes to all nodes is read from the trainer once.
 *
 * Three exchanges whose frames are carried by hand, so that an input can be changed
 * between two of its frames.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/exchange.h"

enum { NODES = 3, COUNT = 1500, LOCAL = 2 };

struct set {
	struct owner_table owners;
	uint32_t ranks[NODES];
	struct exchange *x[NODES];
	float in[NODES][LOCAL][COUNT], out[NODES][LOCAL][COUNT];
};

static void open_set(struct set *s, uint32_t local)
{
	memset(s, 0, sizeof(*s));
	owner_found(&s->owners, NODES);
	for (uint16_t n = 0; n < NODES; n++)
		s->ranks[n] = local;
	for (uint16_t n = 0; n < NODES; n++) {
		struct exchange_plan plan = {
			.group = 1,
			.epoch = 1,
			.nodes = NODES,
			.node = n,
			.lanes = 1,
			.ranks = NODES * local,
			.ranks_of_node = s->ranks,
			.local_ranks = local,
			.owners = &s->owners,
			.schedule = 0,
			.flat_bytes_max = 0,
			.chunk_bytes_max = 65536,
			.slots = 4,
			.buffers = 2,
			.vec = vec_best(),
		};
		struct err err;

		assert_int_equal(exchange_new(&s->x[n], &plan, &err), 0);
	}
}

static void close_set(struct set *s)
{
	for (uint16_t n = 0; n < NODES; n++) {
		assert_true(exchange_idle(s->x[n]));
		exchange_free(s->x[n]);
	}
}

static void post(struct set *s, uint16_t node, uint64_t seq, const struct sched *sched)
{
	struct op_call call = {.count = COUNT,
			       .op = WIRE_OP_ALLREDUCE,
			       .type = VEC_F32,
			       .reduce = VEC_SUM,
			       .schedule = sched->id};

	for (uint32_t r = 0; r < s->ranks[node]; r++)
		assert_int_equal(exchange_post(s->x[node], r, seq, &call,
					       &(struct exchange_rank){.in = s->in[node][r],
								       .out = s->out[node][r],
								       .work = seq}),
				 EXCHANGE_POSTED);
}

/* One frame of `from`, if it has any for `to`, arrives there and is acknowledged. */
static bool carry_frame(struct set *s, uint16_t from, uint16_t to)
{
	struct exchange_send send;
	void *slot;

	if (!exchange_next(s->x[from], to, &send))
		return false;
	exchange_credit(s->x[to], from, send.frame.credit_contribution, send.frame.credit_final);
	slot = exchange_place(s->x[to], from, &send.frame);
	assert_non_null(slot);
	memcpy(slot, send.payload, send.frame.payload_bytes);
	exchange_arrived(s->x[to], from, &send.frame, slot);
	exchange_released(s->x[from], send.buffer);
	return true;
}

static uint32_t completions(struct set *s, uint16_t node)
{
	struct exchange_completion done;
	uint32_t n = 0;

	while (exchange_completion(s->x[node], &done)) {
		assert_int_equal(done.error, 0);
		n++;
	}
	return n;
}

/* Until nothing moves.  Return: completions of ranks. */
static uint32_t finish(struct set *s)
{
	uint32_t done = 0;
	bool any = true;

	while (any) {
		any = false;
		for (uint16_t n = 0; n < NODES; n++) {
			while (exchange_progress(s->x[n]))
				any = true;
			for (uint16_t to = 0; to < NODES; to++) {
				struct wire_frame credit = {0};

				if (to == n)
					continue;
				any |= carry_frame(s, n, to);
				exchange_announce(s->x[n], to, &credit);
				exchange_credit(s->x[to], n, credit.credit_contribution,
						credit.credit_final);
			}
			done += completions(s, n);
		}
	}
	return done;
}

static void same_bits_whatever_the_trainer_does(uint32_t local)
{
	static struct set s;

	open_set(&s, local);
	for (uint16_t n = 0; n < NODES; n++)
		for (uint32_t r = 0; r < local; r++)
			for (uint32_t i = 0; i < COUNT; i++)
				s.in[n][r][i] = (float)(i % 7 + n + r);
	for (uint16_t n = 0; n < NODES; n++)
		post(&s, n, 1, &sched_flat);

	/* The first chunk: each node has sent it to one other when its trainers write into it. */
	for (uint16_t n = 0; n < NODES; n++) {
		assert_true(carry_frame(&s, n, (uint16_t)((n + 1) % NODES)));
		for (uint32_t r = 0; r < local; r++)
			for (uint32_t i = 0; i < 1024; i++)
				s.in[n][r][i] = -1000;
	}
	assert_int_equal(finish(&s), NODES * local);
	for (uint16_t n = 0; n < NODES; n++)
		for (uint32_t r = 0; r < local; r++)
			for (uint32_t i = 0; i < COUNT; i++) {
				float sum = 0;

				for (uint16_t m = 0; m < NODES; m++)
					for (uint32_t q = 0; q < local; q++)
						sum += (float)(i % 7 + m + q);
				assert_true(s.out[n][r][i] == sum);
			}
	close_set(&s);
}

static void one_trainer_a_node(void **state)
{
	(void)state;
	same_bits_whatever_the_trainer_does(1);
}

static void two_trainers_a_node(void **state)
{
	(void)state;
	same_bits_whatever_the_trainer_does(2);
}

static void ops_that_end_give_their_buffers_back(void **state)
{
	static struct set s;

	(void)state;
	open_set(&s, 1);
	for (uint64_t seq = 1; seq <= 10; seq++) {
		struct exchange_completion done;
		struct exchange_send send;

		post(&s, 0, seq, &sched_flat);
		assert_true(exchange_next(s.x[0], seq % 2 ? 1 : 2, &send));
		exchange_end(s.x[0], seq, seq, -5);
		exchange_released(s.x[0], send.buffer);
		exchange_credit(s.x[0], 1, (uint32_t)seq + 2, 2);
		exchange_credit(s.x[0], 2, (uint32_t)seq + 2, 2);
		assert_true(exchange_completion(s.x[0], &done));
		assert_int_equal(done.error, -5);
	}
	close_set(&s);
}

/*
 * Node 0 is ahead towards node 1: chunks of a flat op wait for node 2, which still has to be
 * sent a chunk of an op before.  That one finds a buffer.
 */
static void a_node_that_is_behind_finds_a_buffer(void **state)
{
	static struct set s;
	struct exchange_send send;

	(void)state;
	open_set(&s, 2);
	for (uint16_t n = 0; n < NODES; n++) {
		post(&s, n, 1, &sched_direct);
		post(&s, n, 2, &sched_flat);
	}
	/* Two chunks an op and room for all: whatever node 1 owns, then the flat op. */
	while (exchange_next(s.x[0], 1, &send)) {
		void *slot = exchange_place(s.x[1], 0, &send.frame);

		memcpy(slot, send.payload, send.frame.payload_bytes);
		exchange_arrived(s.x[1], 0, &send.frame, slot);
		exchange_released(s.x[0], send.buffer);
	}
	assert_int_equal(finish(&s), NODES * 2 * 2);
	close_set(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_trainer_a_node),
		cmocka_unit_test(two_trainers_a_node),
		cmocka_unit_test(ops_that_end_give_their_buffers_back),
		cmocka_unit_test(a_node_that_is_behind_finds_a_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
