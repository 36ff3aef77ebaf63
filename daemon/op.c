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
	/* cppcheck-suppress zerodivcond */
	return a / b + (a % b != 0);
}

struct op_geometry op_geometry(uint64_t count, enum vec_type type, uint32_t nodes,
			       uint32_t chunk_bytes_max)
{
	uint64_t type_bytes = vec_type_bytes(type);
	uint64_t sum_bytes = vec_type_bytes(vec_sum_type(type));
	uint64_t element_bytes = type_bytes > sum_bytes ? type_bytes : sum_bytes;
	uint64_t block = OP_BLOCK * element_bytes < OP_CHUNK_BYTES_MIN
				 ? OP_CHUNK_BYTES_MIN / element_bytes
				 : OP_BLOCK;
	uint64_t most = chunk_bytes_max / (block * element_bytes); /* blocks in a chunk */
	uint64_t usual = OP_CHUNK_BYTES_USUAL / (block * element_bytes);
	uint64_t blocks = count ? ceil_div(count, block) : 1;
	uint64_t chunks_max, wanted, chunks;

	assert(nodes >= 1 && most >= 1);
	chunks_max = OP_CHUNKS_MAX / nodes * nodes;
	wanted = ceil_div(blocks, 4 * (uint64_t)nodes);
	if (wanted > usual)
		wanted = usual;
	if (wanted > most)
		wanted = most;
	chunks = ceil_div(blocks, wanted);
	if (chunks > chunks_max)
		chunks = ceil_div(blocks, most) <= chunks_max ? chunks_max : 0;
	if (!chunks)
		return (struct op_geometry){.count_max = chunks_max * most * block};
	if (chunks > nodes)
		chunks = ceil_div(chunks, nodes) * nodes;
	wanted = ceil_div(blocks, chunks);
	chunks = ceil_div(blocks, wanted);

	return (struct op_geometry){
		.chunk_count = wanted * block,
		.chunks = (uint32_t)chunks,
		.count_max = chunks_max * most * block,
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
