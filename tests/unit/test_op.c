/*
 * test_op.c - the promises of op_geometry() and op_lane_first(), over many tensors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/op.h"

static const uint64_t counts[] = {
	0,    1,    2,     1023,  1024,   1025,   4095,    4096,    4097,    10000,
	8191, 8193, 65535, 65537, 100000, 262143, 1000003, 1048576, 7654321, 268435457,
};

static size_t wide_bytes(enum vec_type type)
{
	size_t own = vec_type_bytes(type), sum = vec_type_bytes(vec_sum_type(type));

	return own > sum ? own : sum;
}

/* Without a codec. */
static struct op_geometry cut(uint64_t count, enum vec_type type, uint32_t nodes, uint32_t usual,
			      uint32_t most)
{
	return op_geometry(count, type, nodes, usual, most, NULL);
}

static void check(uint64_t count, enum vec_type type, uint32_t nodes, uint32_t usual, uint32_t most)
{
	struct op op = {
		.call = {.count = count, .type = (uint8_t)type},
		.geometry = cut(count, type, nodes, usual, most),
	};
	const struct op_geometry *g = &op.geometry;
	uint64_t block = OP_CHUNK_BYTES_MIN / wide_bytes(type);
	uint64_t blocks, a_node;

	if (block < OP_BLOCK)
		block = OP_BLOCK;
	blocks = count ? (count + block - 1) / block : 1;
	if (!g->chunks) {
		assert_true(count > g->count_max);
		assert_true(count / (most / wide_bytes(type)) >= OP_CHUNKS_MAX / 2);
		return;
	}

	/* Exactly the tensor: all alike but the last, which is not empty. */
	assert_true((g->chunks - 1) * g->chunk_count <= count);
	assert_true(g->chunks * g->chunk_count >= count);
	assert_int_equal(op_offset(&op, g->chunks - 1) + op_elements(&op, g->chunks - 1), count);
	if (count)
		assert_true(op_elements(&op, g->chunks - 1) >= 1);
	if (g->chunks > 1)
		assert_int_equal(op_elements(&op, 0), g->chunk_count);

	assert_int_equal(g->chunk_count % OP_BLOCK, 0);
	assert_true(g->chunk_count * wide_bytes(type) >= OP_CHUNK_BYTES_MIN);
	assert_true(g->chunk_count * wide_bytes(type) <= most);
	assert_true(count <= g->count_max);
	if (g->chunk_count * wide_bytes(type) > usual)
		assert_true(count / (usual / wide_bytes(type)) >= OP_CHUNKS_MAX / nodes * nodes);

	/* About four a node where the tensor allows, and none has much more than its share. */
	if (blocks >= 8ull * nodes)
		assert_true(g->chunks >= 2 * nodes);
	a_node = (g->chunks + nodes - 1) / nodes;
	assert_true(a_node * (g->chunk_count / block) <= (blocks + nodes - 1) / nodes + a_node);
}

static void geometry_keeps_its_promises(void **state)
{
	static const struct {
		uint32_t usual, most;
	} bytes[] = {
		{OP_CHUNK_BYTES_TCP, 8192},     {OP_CHUNK_BYTES_TCP, 65536},
		{OP_CHUNK_BYTES_TCP, 100000},   {OP_CHUNK_BYTES_TCP, 512 << 10},
		{OP_CHUNK_BYTES_TCP, 4 << 20},  {OP_CHUNK_BYTES_RDMA, 65536},
		{OP_CHUNK_BYTES_RDMA, 1 << 20}, {OP_CHUNK_BYTES_MAX_LEAST, 1 << 20},
	};

	(void)state;
	for (enum vec_type type = VEC_F32; type <= VEC_I64; type++)
		for (uint32_t nodes = 1; nodes <= 256; nodes += 1 + nodes / 12)
			for (size_t b = 0; b < sizeof(bytes) / sizeof(bytes[0]); b++) {
				uint32_t usual = bytes[b].usual, most = bytes[b].most;

				for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
					check(counts[i], type, nodes, usual, most);
				for (uint64_t c = 1; c < 200000; c = c * 5 / 4 + 1)
					check(c, type, nodes, usual, most);
			}
}

static void what_has_too_many_chunks_is_said_to(void **state)
{
	const uint32_t usual = OP_CHUNK_BYTES_TCP;
	struct op_geometry most = cut(65536ull * 2048, VEC_F32, 2, usual, 8192);

	(void)state;
	assert_int_equal(most.chunks, OP_CHUNKS_MAX);
	assert_int_equal(cut(65536ull * 2048 + 1, VEC_F32, 2, usual, 8192).chunks, 0);
	assert_int_equal(cut(65536ull * 2048 + 1, VEC_F32, 2, usual, 8192).count_max,
			 65536ull * 2048);
	assert_int_equal(cut(1ull << 46, VEC_I8, 256, usual, 4 << 20).chunks, 0);
}

/* Chunks are longer than usual where there would be too many, and only there. */
static void large_tensors_have_larger_chunks_than(uint32_t usual)
{
	const uint64_t count = usual / sizeof(float);
	const uint32_t most = 1 << 20;

	assert_int_equal(cut(65536 * count, VEC_F32, 4, usual, most).chunk_count, count);
	assert_int_equal(cut(65536 * count, VEC_F32, 4, usual, most).chunks, 65536);
	for (uint32_t nodes = 1; nodes <= 256; nodes++) {
		uint64_t chunks_max = OP_CHUNKS_MAX / nodes * nodes;
		uint64_t counts_max = chunks_max * (most / sizeof(float));

		for (uint64_t c = chunks_max * count; c < counts_max; c += c / 7 + 1) {
			struct op_geometry g = cut(c + 1, VEC_F32, nodes, usual, most);

			assert_true(g.chunks <= OP_CHUNKS_MAX && g.chunks > chunks_max / 2);
			assert_true(g.chunk_count > count);
			check(c + 1, VEC_BF16, nodes, usual, most);
		}
		check(counts_max, VEC_F32, nodes, usual, most);
		assert_true(cut(counts_max, VEC_F32, nodes, usual, most).chunks);
		assert_int_equal(cut(counts_max + 1, VEC_F32, nodes, usual, most).chunks, 0);
		assert_int_equal(cut(counts_max + 1, VEC_F32, nodes, usual, most).count_max,
				 counts_max);
	}
}

static void large_tensors_have_larger_chunks(void **state)
{
	(void)state;
	large_tensors_have_larger_chunks_than(OP_CHUNK_BYTES_TCP);
	large_tensors_have_larger_chunks_than(OP_CHUNK_BYTES_RDMA);
}

/* A coding has chunks of its own, whatever is agreed on for those without. */
static void coded_chunks_are_as_long_over_any_transport(void **state)
{
	struct coding coding;
	struct err err;

	(void)state;
	assert_int_equal(coding_parse(&coding, "int8", "none", 1 << 20, &err), 0);
	for (uint64_t c = 1; c < 100000000; c = c * 3 + 1) {
		struct op_geometry a =
			op_geometry(c, VEC_F32, 4, OP_CHUNK_BYTES_TCP, 1 << 20, &coding);
		struct op_geometry b =
			op_geometry(c, VEC_F32, 4, OP_CHUNK_BYTES_RDMA, 1 << 20, &coding);

		assert_int_equal(a.chunk_count, b.chunk_count);
		assert_int_equal(a.chunks, b.chunks);
		assert_int_equal(a.count_max, b.count_max);
	}
}

/* Sums whose order depends on who owns a chunk are cut alike everywhere. */
static void a_ring_is_cut_as_over_tcp(void **state)
{
	(void)state;
	assert_int_equal(op_chunk_bytes_usual(&sched_ring, OP_CHUNK_BYTES_RDMA),
			 OP_CHUNK_BYTES_TCP);
	assert_int_equal(op_chunk_bytes_usual(&sched_ring, OP_CHUNK_BYTES_TCP), OP_CHUNK_BYTES_TCP);
	assert_int_equal(op_chunk_bytes_usual(&sched_direct, OP_CHUNK_BYTES_RDMA),
			 OP_CHUNK_BYTES_RDMA);
	assert_int_equal(op_chunk_bytes_usual(&sched_flat, OP_CHUNK_BYTES_RDMA),
			 OP_CHUNK_BYTES_RDMA);
	assert_int_equal(op_chunk_bytes_usual(&sched_direct, 8192), 8192);
}

/* Lane of a chunk = floor(chunk * lanes / chunks). */
static void lanes_share_the_chunks(void **state)
{
	(void)state;
	for (uint32_t lanes = 1; lanes <= 16; lanes++)
		for (uint32_t chunks = 1; chunks <= OP_CHUNKS_MAX; chunks += 1 + chunks / 7) {
			uint32_t lane = 0;

			assert_int_equal(op_lane_first(chunks, 0, lanes), 0);
			assert_int_equal(op_lane_first(chunks, lanes, lanes), chunks);
			for (uint32_t c = 0; c < chunks; c += 1 + chunks / 1000) {
				while (c >= op_lane_first(chunks, lane + 1, lanes))
					lane++;
				assert_int_equal(lane, (uint64_t)c * lanes / chunks);
			}
			for (lane = 0; lane < lanes; lane++)
				assert_true(op_lane_first(chunks, lane + 1, lanes) -
						    op_lane_first(chunks, lane, lanes) <=
					    OP_CHUNKS_MAX / lanes + 1);
		}
}

static void calls_are_compared_in_every_part(void **state)
{
	const struct op_call call = {
		.key = 1, .count = 2, .op = 1, .type = 3, .reduce = 4, .schedule = 1};
	struct op_call other[6] = {call, call, call, call, call, call};

	(void)state;
	other[0].key++;
	other[1].count++;
	other[2].op++;
	other[3].type++;
	other[4].reduce++;
	other[5].schedule++;
	assert_true(op_call_same(&call, &call));
	for (int i = 0; i < 6; i++)
		assert_false(op_call_same(&call, &other[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(geometry_keeps_its_promises),
		cmocka_unit_test(what_has_too_many_chunks_is_said_to),
		cmocka_unit_test(large_tensors_have_larger_chunks),
		cmocka_unit_test(coded_chunks_are_as_long_over_any_transport),
		cmocka_unit_test(a_ring_is_cut_as_over_tcp),
		cmocka_unit_test(lanes_share_the_chunks),
		cmocka_unit_test(calls_are_compared_in_every_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
