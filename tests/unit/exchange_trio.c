/* exchange_trio.c - see exchange_trio.h. */
#include "tests/unit/exchange_trio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

void trio_open(struct trio *t, uint32_t local, uint32_t count, uint32_t slots)
{
	memset(t, 0, sizeof(*t));
	t->count = count;
	owner_found(&t->owners, TRIO);
	for (uint16_t n = 0; n < TRIO; n++)
		t->ranks[n] = local;
	for (uint16_t n = 0; n < TRIO; n++) {
		struct exchange_plan plan = {
			.group = 1,
			.epoch = 1,
			.nodes = TRIO,
			.node = n,
			.lanes = 1,
			.ranks = TRIO * local,
			.ranks_of_node = t->ranks,
			.local_ranks = local,
			.owners = &t->owners,
			.schedule = 0,
			.flat_bytes_max = 0,
			.chunk_bytes_max = TRIO_CHUNK_BYTES,
			.chunk_bytes_usual = OP_CHUNK_BYTES_TCP,
			.slots = slots,
			.buffers = 2,
			.vec = vec_best(),
		};
		struct err err;

		assert_int_equal(exchange_new(&t->x[n], &plan, &err), 0);
		for (uint32_t r = 0; r < local; r++)
			for (uint32_t i = 0; i < count; i++)
				t->in[n][r][i] = (float)(i % 7 + n + r);
	}
}

void trio_close(struct trio *t)
{
	for (uint16_t n = 0; n < TRIO; n++) {
		assert_true(exchange_idle(t->x[n]));
		exchange_free(t->x[n]);
	}
}

void trio_post(struct trio *t, uint16_t node, uint64_t seq, const struct sched *sched)
{
	struct op_call call = {.count = t->count,
			       .op = WIRE_OP_ALLREDUCE,
			       .type = VEC_F32,
			       .reduce = VEC_SUM,
			       .schedule = sched->id};

	for (uint32_t r = 0; r < t->ranks[node]; r++)
		assert_int_equal(exchange_post(t->x[node], r, seq, &call,
					       &(struct exchange_rank){.in = t->in[node][r],
								       .out = t->out[node][r],
								       .work = seq}),
				 EXCHANGE_POSTED);
}

void trio_post_all(struct trio *t, uint64_t seq, const struct sched *sched)
{
	for (uint16_t n = 0; n < TRIO; n++)
		trio_post(t, n, seq, sched);
}

struct op_geometry trio_geometry(const struct trio *t)
{
	return op_geometry(t->count, VEC_F32, TRIO, OP_CHUNK_BYTES_TCP, TRIO_CHUNK_BYTES, NULL);
}

void *trio_place(struct trio *t, uint16_t from, uint16_t to, const struct wire_frame *f, void **at)
{
	void *slot = exchange_place(t->x[to], from, f);
	bool stays = t->at_once && exchange_may_stay(t->x[to], from, slot);

	assert_non_null(slot);
	*at = stays ? t->ring : slot;
	if (stays)
		*(f->kind == WIRE_FINAL ? &t->finals_stayed : &t->contributions_stayed) += 1;
	return slot;
}

void trio_arrive(struct trio *t, uint16_t from, uint16_t to, const struct exchange_send *send,
		 void *slot, void *at)
{
	memcpy(at, send->payload, send->frame.payload_bytes);
	exchange_arrived(t->x[to], from, &send->frame, slot, at);
	memset(t->ring, 0x55, sizeof(t->ring)); /* the next frame is there now */
}

bool trio_carry(struct trio *t, uint16_t from, uint16_t to)
{
	struct exchange_send send;
	void *slot, *at;

	if (!exchange_next(t->x[from], to, &send))
		return false;
	send.frame.payload_has_crc = t->crc;
	*(send.frame.kind == WIRE_FINAL ? &t->finals : &t->contributions) += 1;
	exchange_credit(t->x[to], from, send.frame.credit_contribution, send.frame.credit_final);
	slot = trio_place(t, from, to, &send.frame, &at);
	trio_arrive(t, from, to, &send, slot, at);
	exchange_released(t->x[from], send.buffer);
	return true;
}

uint32_t trio_finish(struct trio *t, int error)
{
	struct exchange_completion done;
	uint32_t count = 0;
	bool any = true;

	while (any) {
		any = false;
		for (uint16_t n = 0; n < TRIO; n++) {
			while (exchange_progress(t->x[n]))
				any = true;
			for (uint16_t to = 0; to < TRIO; to++) {
				struct wire_frame credit = {0};

				if (to == n)
					continue;
				any |= trio_carry(t, n, to);
				exchange_announce(t->x[n], to, &credit);
				exchange_credit(t->x[to], n, credit.credit_contribution,
						credit.credit_final);
			}
			for (; exchange_completion(t->x[n], &done); count++)
				assert_int_equal(done.error, error);
		}
	}
	return count;
}

void trio_expect_sums(const struct trio *t)
{
	for (uint16_t n = 0; n < TRIO; n++)
		for (uint32_t r = 0; r < t->ranks[n]; r++)
			for (uint32_t i = 0; i < t->count; i++) {
				float sum = 0;

				for (uint16_t m = 0; m < TRIO; m++)
					for (uint32_t q = 0; q < t->ranks[m]; q++)
						sum += (float)(i % 7 + m + q);
				assert_true(t->out[n][r][i] == sum);
			}
}
