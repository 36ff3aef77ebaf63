/*
 * world_values.c - what ranks put into tensors, and what must come out; see world.h.
 *
 * Exact values are small integers that repeat every PERIOD elements, shifted from
 * block to block, so that a chunk in the wrong place is seen; every order of adding
 * gives the same sum.  Noise is for comparing runs: its sums depend on their order.
 */
#include "tests/sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/crc32c.h"

enum { PERIOD = 251 };

static uint32_t phase(uint64_t element)
{
	return (uint32_t)((element + 13 * (element >> 10)) % PERIOD);
}

/* 0..3, for products 1..2. */
static int value_of(const struct op_call *call, uint32_t rank, uint64_t seq, uint32_t at)
{
	uint32_t v = (uint32_t)((rank * 7 + seq * 13 + at * 3 + at / 97) % 4);

	return call->reduce == VEC_PROD ? (v == 1 && rank < 5 ? 2 : 1) : (int)v;
}

static void store(const struct vec *vec, unsigned char *at, enum vec_type type, int value)
{
	float f = (float)value;
	struct vec_input input = {&f, VEC_F32};

	switch (type) {
	case VEC_F16:
	case VEC_BF16: vec_combine(vec, type, VEC_SUM, &input, 1, 0, at, type, 1); return;
	case VEC_F32: memcpy(at, &f, 4); return;
	case VEC_F64: memcpy(at, &(double){value}, 8); return;
	case VEC_I8:
	case VEC_U8: at[0] = (unsigned char)value; return;
	case VEC_I32: memcpy(at, &(int32_t){value}, 4); return;
	case VEC_I64: memcpy(at, &(int64_t){value}, 8); return;
	}
}

/* Any bits for integers; for floats, numbers of different size, none of them infinite. */
static void store_noise(const struct vec *vec, unsigned char *at, enum vec_type type,
			struct world_dice *dice)
{
	uint32_t bits = world_roll(dice, UINT32_MAX);
	float f = (float)((int32_t)bits) / (float)(1u << (bits % 31));
	struct vec_input input = {&f, VEC_F32};

	f /= 65536.0f;
	switch (type) {
	case VEC_F16:
	case VEC_BF16: vec_combine(vec, type, VEC_SUM, &input, 1, 0, at, type, 1); return;
	case VEC_F32: memcpy(at, &f, 4); return;
	case VEC_F64: memcpy(at, &(double){(double)f * 1.1}, 8); return;
	case VEC_I8:
	case VEC_U8: at[0] = (unsigned char)bits; return;
	case VEC_I32: memcpy(at, &bits, 4); return;
	case VEC_I64: memcpy(at, &(uint64_t){bits * 0x9e3779b97f4a7c15u}, 8); return;
	}
}

static void fill(struct world *w, const struct world_group *g, uint32_t rank, uint64_t seq)
{
	const struct world_op *op = &g->op[seq];
	enum vec_type type = (enum vec_type)op->call.type;
	size_t size = vec_type_bytes(type);
	unsigned char *in = world_in(w, g, rank, seq);
	struct world_dice dice = {seq * 1000 + rank * 7 + op->call.count + 1};
	unsigned char table[PERIOD][8];

	for (uint32_t i = 0; i < PERIOD; i++)
		store(w->vec, table[i], type, value_of(&op->call, rank, seq, i));
	for (uint64_t i = 0; i < op->call.count; i++)
		if (op->noise)
			store_noise(w->vec, in + i * size, type, &dice);
		else
			memcpy(in + i * size, table[phase(i)], size);
}

void world_fill(struct world *w, const struct world_group *g)
{
	for (uint32_t r = 0; r < g->ranks; r++)
		for (uint64_t s = 1; s <= g->ops; s++)
			fill(w, g, r, s);
}

static int expected(const struct world_group *g, uint64_t seq, uint32_t at)
{
	const struct op_call *call = &g->op[seq].call;
	int result = value_of(call, 0, seq, at);

	for (uint32_t r = 1; r < g->ranks; r++) {
		int v = value_of(call, r, seq, at);

		switch ((enum vec_reduce)call->reduce) {
		case VEC_SUM:
		case VEC_AVG: result += v; break;
		case VEC_MIN: result = v < result ? v : result; break;
		case VEC_MAX: result = v > result ? v : result; break;
		case VEC_PROD: result *= v; break;
		}
	}
	return result;
}

static void check_values(struct world *w, const struct world_group *g, uint64_t seq,
			 const unsigned char *out)
{
	const struct op_call *call = &g->op[seq].call;
	enum vec_type type = (enum vec_type)call->type;
	size_t size = vec_type_bytes(type);
	unsigned char table[PERIOD][8];
	bool known[PERIOD];

	for (uint32_t i = 0; i < PERIOD; i++) {
		int value = expected(g, seq, i);
		bool average = call->reduce == VEC_AVG;

		/* An average of floats is known where it is exact; integers truncate. */
		known[i] = !average || type >= VEC_I8 || value % (int)g->ranks == 0;
		store(w->vec, table[i], type, average ? value / (int)g->ranks : value);
	}
	for (uint64_t i = 0; i < call->count; i++)
		if (known[phase(i)] && memcmp(out + i * size, table[phase(i)], size))
			world_fail(
				w, "group %llu op %llu (%s %s x %llu, schedule %u): element %llu",
				(unsigned long long)g->id, (unsigned long long)seq,
				vec_type_name(type), vec_reduce_name((enum vec_reduce)call->reduce),
				(unsigned long long)call->count, call->schedule,
				(unsigned long long)i);
}

void world_check_op(struct world *w, const struct world_group *g, uint64_t seq)
{
	const struct op_call *call = &g->op[seq].call;
	size_t bytes = call->count * vec_type_bytes((enum vec_type)call->type);
	const unsigned char *first = NULL;

	for (uint32_t r = 0; r < g->ranks; r++) {
		const struct world_rank *rank = &g->rank[r];
		const unsigned char *out;

		/* Of a trainer that died nothing is left to look at. */
		if (rank->gone || !world_rank_over(w, g, rank, seq) || rank->status[seq])
			continue;
		out = world_out(w, g, r, seq);
		if (first && memcmp(out, first, bytes))
			world_fail(w, "group %llu op %llu: rank %u has other bits",
				   (unsigned long long)g->id, (unsigned long long)seq, r);
		if (!first && !g->op[seq].noise)
			check_values(w, g, seq, out);
		first = first ? first : out;
	}
}

uint32_t world_hash_op(struct world *w, const struct world_group *g, uint64_t seq)
{
	const struct op_call *call = &g->op[seq].call;

	return crc32c(0, world_out(w, g, 0, seq),
		      call->count * vec_type_bytes((enum vec_type)call->type));
}
