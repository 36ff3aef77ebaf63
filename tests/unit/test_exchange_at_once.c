/*
 * test_exchange_at_once.c - finals whose payload is written at once go into the results, past the
 * slot; and where they must not.
 *
 * Exchanges of three nodes whose frames are carried by hand.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/exchange.h"

enum { NODES = 3, COUNT = 50000, LOCAL = 2, CHUNK_BYTES = 65536 };

struct set {
	struct owner_table owners;
	uint32_t ranks[NODES];
	struct exchange *x[NODES];
	float in[NODES][LOCAL][COUNT], out[NODES][LOCAL][COUNT];
	bool crc;             /* frames say that they have one                 */
	uint32_t straight;    /* payloads that went into results               */
	uint32_t contributed; /* contributions carried                         */
	uint32_t finals;      /* ... finals                                    */
};

static void open_set(struct set *s, uint32_t local, uint32_t slots)
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
			.chunk_bytes_max = CHUNK_BYTES,
			.slots = slots,
			.buffers = 4,
			.vec = vec_best(),
		};
		struct err err;

		assert_int_equal(exchange_new(&s->x[n], &plan, &err), 0);
		for (uint32_t r = 0; r < local; r++)
			for (uint32_t i = 0; i < COUNT; i++)
				s->in[n][r][i] = (float)(i % 7 + n + r);
	}
}

static void close_set(struct set *s)
{
	for (uint16_t n = 0; n < NODES; n++) {
		assert_true(exchange_idle(s->x[n]));
		exchange_free(s->x[n]);
	}
}

static void post(struct set *s, uint64_t seq, const struct sched *sched)
{
	struct op_call call = {.count = COUNT,
			       .op = WIRE_OP_ALLREDUCE,
			       .type = VEC_F32,
			       .reduce = VEC_SUM,
			       .schedule = sched->id};

	for (uint16_t n = 0; n < NODES; n++)
		for (uint32_t r = 0; r < s->ranks[n]; r++)
			assert_int_equal(exchange_post(s->x[n], r, seq, &call,
						       &(struct exchange_rank){.in = s->in[n][r],
									       .out = s->out[n][r],
									       .work = seq}),
					 EXCHANGE_POSTED);
}

static struct op_geometry geometry(void)
{
	return op_geometry(COUNT, VEC_F32, NODES, CHUNK_BYTES, NULL);
}

/* In the results of the node's only rank, where the chunk belongs? */
static bool in_results(struct set *s, uint16_t node, const struct wire_frame *f, const void *at)
{
	return at == s->out[node][0] + (size_t)f->chunk * geometry().chunk_count;
}

/* A slot for the frame; *to: where its payload goes. */
static void *place(struct set *s, uint16_t from, uint16_t to_node, const struct wire_frame *f,
		   void **to)
{
	void *slot = exchange_place(s->x[to_node], from, f);

	assert_non_null(slot);
	*to = exchange_place_at_once(s->x[to_node], from, slot);
	if (*to != slot) {
		assert_int_equal(f->kind, WIRE_FINAL);
		assert_true(in_results(s, to_node, f, *to));
		s->straight++;
	}
	return slot;
}

/* One frame of `from`, if it has any for `to`, arrives there and is acknowledged. */
static bool carry_frame(struct set *s, uint16_t from, uint16_t to)
{
	struct exchange_send send;
	void *slot, *at;

	if (!exchange_next(s->x[from], to, &send))
		return false;
	send.frame.payload_has_crc = s->crc;
	*(send.frame.kind == WIRE_FINAL ? &s->finals : &s->contributed) += 1;
	exchange_credit(s->x[to], from, send.frame.credit_contribution, send.frame.credit_final);
	slot = place(s, from, to, &send.frame, &at);
	memcpy(at, send.payload, send.frame.payload_bytes);
	exchange_arrived(s->x[to], from, &send.frame, slot);
	exchange_released(s->x[from], send.buffer);
	return true;
}

/* Until nothing moves.  Return: completions of ranks, all with that error. */
static uint32_t finish(struct set *s, int error)
{
	struct exchange_completion done;
	uint32_t count = 0;
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
			for (; exchange_completion(s->x[n], &done); count++)
				assert_int_equal(done.error, error);
		}
	}
	return count;
}

static void expect_sums(struct set *s)
{
	for (uint16_t n = 0; n < NODES; n++)
		for (uint32_t r = 0; r < s->ranks[n]; r++)
			for (uint32_t i = 0; i < COUNT; i++) {
				float sum = 0;

				for (uint16_t m = 0; m < NODES; m++)
					for (uint32_t q = 0; q < s->ranks[m]; q++)
						sum += (float)(i % 7 + m + q);
				assert_true(s->out[n][r][i] == sum);
			}
}

static struct set s;

static void finals_go_into_the_results(void **state)
{
	(void)state;
	open_set(&s, 1, 4);
	for (uint64_t seq = 1; seq <= 3; seq++) {
		memset(s.out, 0, sizeof(s.out));
		post(&s, seq, &sched_direct);
		assert_int_equal(finish(&s, 0), NODES);
		expect_sums(&s);
	}
	/* Each chunk to two nodes; as many contributions, to its owner. */
	assert_true(geometry().chunks >= 4);
	assert_int_equal(s.finals, 3 * geometry().chunks * 2);
	assert_int_equal(s.contributed, s.finals);
	assert_int_equal(s.straight, s.finals);
	close_set(&s);
}

/* The trainer could write there between the copy and the sum that is compared. */
static void not_with_a_checksum(void **state)
{
	(void)state;
	open_set(&s, 1, 4);
	s.crc = true;
	post(&s, 1, &sched_direct);
	assert_int_equal(finish(&s, 0), NODES);
	expect_sums(&s);
	assert_int_equal(s.straight, 0);
	close_set(&s);
}

static void not_for_two_trainers(void **state)
{
	(void)state;
	open_set(&s, 2, 4);
	post(&s, 1, &sched_direct);
	assert_int_equal(finish(&s, 0), NODES * 2);
	expect_sums(&s);
	assert_int_equal(s.straight, 0);
	close_set(&s);
}

/* In a ring of three a final goes to one node, and from there to the last. */
static void not_what_is_passed_on(void **state)
{
	(void)state;
	open_set(&s, 1, 4);
	post(&s, 1, &sched_ring);
	assert_int_equal(finish(&s, 0), NODES);
	expect_sums(&s);
	assert_int_equal(s.finals, geometry().chunks * 2);
	assert_int_equal(s.straight, geometry().chunks);
	close_set(&s);
}

/* A final of `owner` for `to`, when all contributions are in. */
static void first_final(uint16_t owner, uint16_t to, struct exchange_send *send)
{
	for (uint16_t n = 0; n < NODES; n++)
		for (uint16_t m = 0; m < NODES; m++)
			while (n != m && carry_frame(&s, n, m))
				;
	while (exchange_progress(s.x[owner]))
		;
	assert_true(exchange_next(s.x[owner], to, send));
	assert_int_equal(send->frame.kind, WIRE_FINAL);
}

static uint16_t owner_of_first(void)
{
	return owner_of(&s.owners, 1, 0);
}

static void an_op_that_ends_meanwhile(void **state)
{
	struct exchange_send send;
	uint16_t owner, to;
	void *slot, *at;

	(void)state;
	open_set(&s, 1, 1);
	owner = owner_of_first();
	to = (uint16_t)((owner + 1) % NODES);
	post(&s, 1, &sched_direct);
	first_final(owner, to, &send);
	slot = place(&s, owner, to, &send.frame, &at);
	assert_int_equal(s.straight, 1);
	memcpy(at, send.payload, send.frame.payload_bytes);
	for (uint16_t n = 0; n < NODES; n++)
		exchange_end(s.x[n], 1, 1, -ECANCELED);
	/* What is told only now finds no op; its slot is free again, and the next op has it. */
	exchange_arrived(s.x[to], owner, &send.frame, slot);
	exchange_released(s.x[owner], send.buffer);
	assert_int_equal(finish(&s, -ECANCELED), NODES);
	/* And of an op that is over, nothing goes into the results. */
	slot = place(&s, owner, to, &send.frame, &at);
	assert_ptr_equal(at, slot);
	exchange_unplace(s.x[to], owner, slot);
	post(&s, 2, &sched_direct);
	assert_int_equal(finish(&s, 0), NODES);
	expect_sums(&s);
	close_set(&s);
}

/* A connection that goes down between both: the final comes again, into the results again. */
static void a_path_that_goes_down_meanwhile(void **state)
{
	struct exchange_send send;
	uint16_t owner, to;
	void *slot, *at;

	(void)state;
	open_set(&s, 1, 4);
	owner = owner_of_first();
	to = (uint16_t)((owner + 1) % NODES);
	post(&s, 1, &sched_direct);
	first_final(owner, to, &send);
	slot = place(&s, owner, to, &send.frame, &at);
	exchange_unplace(s.x[to], owner, slot);
	slot = place(&s, owner, to, &send.frame, &at);
	assert_int_equal(s.straight, 2);
	memcpy(at, send.payload, send.frame.payload_bytes);
	exchange_arrived(s.x[to], owner, &send.frame, slot);
	exchange_released(s.x[owner], send.buffer);
	assert_int_equal(finish(&s, 0), NODES);
	expect_sums(&s);
	close_set(&s);
}

/* The same final once more, while others are still to come. */
static void a_final_that_comes_twice(void **state)
{
	struct exchange_send send;
	uint16_t owner, to, node;
	uint64_t seq;
	void *slot, *at;

	(void)state;
	open_set(&s, 1, 4);
	owner = owner_of_first();
	to = (uint16_t)((owner + 1) % NODES);
	post(&s, 1, &sched_direct);
	first_final(owner, to, &send);
	for (int time = 0; time < 2; time++) {
		slot = place(&s, owner, to, &send.frame, &at);
		assert_int_equal(at != slot, time == 0);
		memcpy(at, send.payload, send.frame.payload_bytes);
		exchange_arrived(s.x[to], owner, &send.frame, slot);
		assert_int_equal(exchange_take_bad(s.x[to], &node, &seq), time == 1);
	}
	assert_int_equal(node, owner);
	exchange_released(s.x[owner], send.buffer);
	for (uint16_t n = 0; n < NODES; n++)
		exchange_end(s.x[n], 1, 1, -ECANCELED);
	assert_int_equal(finish(&s, -ECANCELED), NODES);
	close_set(&s);
}

/* What is no final of the op is refused when it is told, and has touched no result. */
static void what_does_not_fit(void **state)
{
	struct exchange_send send;
	struct wire_frame bad;
	uint16_t owner, to, node;
	uint64_t seq;
	void *slot, *at;

	(void)state;
	open_set(&s, 1, 4);
	owner = owner_of_first();
	to = (uint16_t)((owner + 1) % NODES);
	post(&s, 1, &sched_direct);
	first_final(owner, to, &send);
	for (int what = 0; what < 6; what++) {
		bad = send.frame;
		switch (what) {
		case 0: bad.seq = 2; break;
		case 1: bad.chunk = geometry().chunks; break;
		case 2: bad.contributors--; break;
		case 3: bad.divisor = 3; break;
		case 4: bad.payload_bytes -= 4; break;
		default: bad.call_digest++; break;
		}
		slot = place(&s, owner, to, &bad, &at);
		assert_ptr_equal(at, slot);
		exchange_unplace(s.x[to], owner, slot);
	}
	slot = place(&s, owner, to, &bad, &at);
	exchange_arrived(s.x[to], owner, &bad, slot);
	assert_true(exchange_take_bad(s.x[to], &node, &seq));
	assert_int_equal(node, owner);
	exchange_released(s.x[owner], send.buffer);
	for (uint16_t n = 0; n < NODES; n++)
		exchange_end(s.x[n], 1, 1, -ECANCELED);
	assert_int_equal(finish(&s, -ECANCELED), NODES);
	close_set(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finals_go_into_the_results),
		cmocka_unit_test(not_with_a_checksum),
		cmocka_unit_test(not_for_two_trainers),
		cmocka_unit_test(not_what_is_passed_on),
		cmocka_unit_test(an_op_that_ends_meanwhile),
		cmocka_unit_test(a_path_that_goes_down_meanwhile),
		cmocka_unit_test(a_final_that_comes_twice),
		cmocka_unit_test(what_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
