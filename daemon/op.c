/*
 * op.c - geometry of tensors and chunks; see op.h.
 */
#include "daemon/op.h"

#include <assert.h>

#include "proto/crc32c.h"

static_assert(OP_BLOCK % FEEDBACK_CELL == 0, "chunks begin at cells of logs");

bool op_call_same(const struct op_call *a, const struct op_call *b)
{
	static const struct tensor_turn any;

	return a->key == b->key && a->count == b->count && a->op == b->op && a->type == b->type &&
	       a->reduce == b->reduce && a->schedule == b->schedule && a->tensor == b->tensor &&
	       op_call_coding(a, NULL, &any) == op_call_coding(b, NULL, &any);
}

uint32_t op_call_coding(const struct op_call *call, const struct tensor *chosen,
			const struct tensor_turn *turn)
{
	const struct {
		uint32_t digest;
		float scale;
		uint32_t discard, chosen, dense, plain;
		uint64_t step;
	} all = {call->tensor ? call->tensor->digest : 0,
		 call->scale,
		 call->discard,
		 chosen ? chosen->digest : 0,
		 turn->dense,
		 turn->plain,
		 turn->step};
	uint32_t number = crc32c(0, &all, sizeof(all));

	if (!call->tensor)
		return 0;
	return number ? number : 1;
}

static uint64_t ceil_div(uint64_t a, uint64_t b)
{
	/* cppcheck-suppress zerodivcond */
	return a / b + (a % b != 0);
}

/* Units in which a tensor is cut, and how many make a chunk. */
struct cut {
	uint64_t block;       /* elements */
	uint64_t usual, most; /* blocks in a chunk */
};

static struct cut cut_dense(enum vec_type type, uint32_t chunk_bytes_usual,
			    uint32_t chunk_bytes_max)
{
	uint64_t type_bytes = vec_type_bytes(type);
	uint64_t sum_bytes = vec_type_bytes(vec_sum_type(type));
	uint64_t element_bytes = type_bytes > sum_bytes ? type_bytes : sum_bytes;
	struct cut cut = {.block = OP_BLOCK * element_bytes < OP_CHUNK_BYTES_MIN
					   ? OP_CHUNK_BYTES_MIN / element_bytes
					   : OP_BLOCK};

	cut.most = chunk_bytes_max / (cut.block * element_bytes);
	cut.usual = chunk_bytes_usual / (cut.block * element_bytes);
	return cut;
}

static struct cut cut_coded(const struct coding *coding, uint32_t chunk_bytes_max)
{
	uint32_t block = coding_block(coding);
	struct cut cut = {.block = block > OP_BLOCK ? block : OP_BLOCK};

	cut.usual = OP_CHUNK_BYTES_CODED / (cut.block * sizeof(float));
	cut.usual = cut.usual ? cut.usual : 1;
	cut.most = chunk_bytes_max / (cut.block * sizeof(float));
	/* Messages may be longer than what they stand for. */
	while (cut.most > 1 && !coding_fits(coding, cut.most * cut.block, chunk_bytes_max))
		cut.most -= ceil_div(cut.most, 8);
	return cut;
}

struct op_geometry op_geometry(uint64_t count, enum vec_type type, uint32_t nodes,
			       uint32_t chunk_bytes_usual, uint32_t chunk_bytes_max,
			       const struct coding *coding)
{
	struct cut cut = coding ? cut_coded(coding, chunk_bytes_max)
				: cut_dense(type, chunk_bytes_usual, chunk_bytes_max);
	uint64_t block = cut.block, most = cut.most;
	uint64_t blocks = count ? ceil_div(count, block) : 1;
	uint64_t chunks_max, wanted, chunks;

	assert(nodes >= 1 && most >= 1);
	chunks_max = OP_CHUNKS_MAX / nodes * nodes;
	wanted = ceil_div(blocks, 4 * (uint64_t)nodes);
	if (wanted > cut.usual)
		wanted = cut.usual;
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

uint32_t op_chunk_bytes_usual(const struct sched *sched, uint32_t agreed)
{
	return sched->order_by_owner ? OP_CHUNK_BYTES_TCP : agreed;
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
