/*
 * op.c - geometry of tensors and chunks; see op.h.
 */
#include "daemon/op.h"

#include <assert.h>

bool op_call_same(const struct op_call *a, const struct op_call *b)
{
	return a->key == b->key && a->count == b->count && a->op == b->op && a->type == b->type &&
	       a->reduce == b->reduce && a->schedule == b->schedule;
}

static uint64_t ceil_div(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

struct op_geometry op_geometry(uint64_t count, enum vec_type type, uint32_t nodes,
			       uint32_t chunk_bytes_max)
{
	uint64_t type_bytes = vec_type_bytes(type);
	uint64_t sum_bytes = vec_type_bytes(vec_sum_type(type));
	uint64_t element_bytes = type_bytes > sum_bytes ? type_bytes : sum_bytes;
	uint64_t most = chunk_bytes_max / element_bytes / OP_BLOCK * OP_BLOCK;
	uint64_t least = ceil_div(OP_CHUNK_BYTES_MIN, element_bytes);
	uint64_t wanted, chunks;

	assert(nodes >= 1 && most >= OP_BLOCK);

	wanted = ceil_div(count, 4 * (uint64_t)nodes);
	if (wanted < least)
		wanted = least;
	if (wanted > most)
		wanted = most;

	chunks = count ? ceil_div(count, wanted) : 1;
	if (chunks > nodes)
		chunks = ceil_div(chunks, nodes) * nodes;

	wanted = ceil_div(ceil_div(count, chunks), OP_BLOCK) * OP_BLOCK;
	if (!wanted)
		wanted = OP_BLOCK;
	chunks = count ? ceil_div(count, wanted) : 1;

	return (struct op_geometry){
		.chunk_count = wanted,
		.chunks = chunks <= OP_CHUNKS_MAX ? (uint32_t)chunks : 0,
	};
}

uint64_t op_offset(const struct op *op, uint32_t chunk)
{
	return chunk * op->geometry.chunk_count;
}

uint64_t op_elements(const struct op *op, uint32_t chunk)
{
	uint64_t left = op->call.count - op_offset(op, chunk);

	return left < op->geometry.chunk_count ? left : op->geometry.chunk_count;
}

uint32_t op_lane_first(uint32_t chunks, uint32_t lane, uint32_t lanes)
{
	return (uint32_t)ceil_div((uint64_t)lane * chunks, lanes);
}
