/*
 * test_exchange_code.c - ops through codecs, between exchanges: sums are what codec and feedback
 * say, the same whatever the lanes, and state changes with whole ops only.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/common/draw.h"
#include "tests/unit/coded_rig.h"

enum { COUNT = 200001 };

static float *at(void *memory)
{
	return memory;
}

/* --- values ----------------------------------------------------------------------------------- */

static const struct codec_kernels *kernels(void)
{
	return codec_kernels_of(vec_best());
}

/* C(p), decoded, of a chunk; for codecs that draw nothing. */
static void there_and_back(const struct codec_setting *s, const float *in, float *out, size_t count,
			   uint64_t first)
{
	unsigned char *bytes = malloc(codec_bound(s, count));
	void *work = aligned_alloc(64, codec_work_bytes(s, count) / 64 * 64 + 64);
	struct codec_input input = {.in = in, .count = count, .first = first, .work = work};
	struct codec_origin origin = {.first = first, .work = work};
	struct codec_result made = codec_encode(s, kernels(), &input, bytes);

	assert_int_equal(codec_decode(s, kernels(), &origin, bytes, made.bytes, out, count), 0);
	free(bytes);
	free(work);
}

/* Each codec that draws nothing: D(sum of C(inputs)), chunk by chunk, computed apart. */
static void sums_are_the_codecs(void **state)
{
	static const char *const codecs[] = {"bf16",
					     "fp16",
					     "int8",
					     "int4:block=4096,scale=pow2",
					     "int2",
					     "sign",
					     "topk:density=0.05",
					     "mxfp8",
					     "mxfp4",
					     "topk:mode=block,density=0.1",
					     NULL};

	(void)state;
	for (const char *const *codec = codecs; *codec; codec++) {
		struct coded_options o = {.nodes = 3,
					  .lanes = 2,
					  .local = 1,
					  .count = COUNT,
					  .codec = *codec,
					  .feedback = ""};
		struct coded_rig *r = coded_open(&o);
		const struct coding *coding = &r->tensor[0]->coding;
		struct op_geometry g =
			op_geometry(COUNT, VEC_F32, 3, OP_CHUNK_BYTES_TCP, 1 << 20, coding);

		coded_fill(r, 1);
		coded_op(r, 1);
		assert_true(g.chunks > 4 && g.chunk_count * sizeof(float) <= 256 << 10);
		for (uint64_t first = 0; first < COUNT; first += g.chunk_count) {
			size_t count =
				COUNT - first < g.chunk_count ? COUNT - first : g.chunk_count;
			float *sum = calloc(count, sizeof(float));
			float *part = calloc(count, sizeof(float));

			for (uint32_t k = 0; k < r->ranks; k++) {
				there_and_back(&coding->up, at(r->in[k]) + first, part, count,
					       first);
				for (size_t i = 0; i < count; i++)
					sum[i] += part[i];
			}
			there_and_back(&coding->down, sum, part, count, first);
			assert_memory_equal(at(r->out[0]) + first, part, count * sizeof(float));
			free(sum);
			free(part);
		}
		coded_close(r);
	}
}

/* Lanes, order, chunk slots and CPU variants: the same bits, also of codecs that draw. */
static void the_same_bits(void **state)
{
	static const char *const words[][2] = {
		{"int4:rounding=stochastic", "ef14"},
		{"randk:density=0.1", "ef21"},
		{"eden:bits=2", ""},
		{"topk:density=0.02", "ef21-sgdm"},
		{"sign", "twosided"},
		{"qsgd", ""},
		{"topk:density=0.05", "ef21-bc"},
		{"int8", "loco"},
		{"topk:density=0.05", "econtrol"},
		{"topk:mode=threshold,scope=tensor", "ef14"},
	};

	(void)state;
	for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
		float *right = NULL;

		for (int variant = 0; variant < 3; variant++) {
			struct coded_options o = {.nodes = 4,
						  .lanes = (uint16_t)(1u << variant),
						  .local = 1,
						  .count = COUNT,
						  .reduce = VEC_AVG,
						  .vec = variant ? NULL : vec_variants[0],
						  .codec = words[w][0],
						  .feedback = words[w][1]};
			struct coded_rig *r = coded_open(&o);

			for (uint64_t step = 0; step < 3; step++) {
				coded_fill(r, step);
				coded_op(r, step + 10 * (uint64_t)variant);
			}
			if (!right) {
				right = malloc(COUNT * sizeof(float));
				memcpy(right, r->out[0], COUNT * sizeof(float));
			}
			if (memcmp(right, r->out[0], COUNT * sizeof(float)) != 0)
				fail_msg("%s with %s: other bits with %u lanes", words[w][0],
					 words[w][1], o.lanes);
			coded_close(r);
		}
		free(right);
	}
}

/* Draws belong to elements of the tensor: other chunks, of whole blocks, give the same bits. */
static void whatever_the_cut(void **state)
{
	static const char *const codecs[] = {"int4:rounding=stochastic", "qsgd", "natural"};

	(void)state;
	for (size_t c = 0; c < sizeof(codecs) / sizeof(codecs[0]); c++) {
		struct coded_options o = {.nodes = 2,
					  .lanes = 1,
					  .local = 1,
					  .count = COUNT,
					  .codec = codecs[c],
					  .feedback = ""};
		struct coded_rig *r = coded_open(&o), *small;

		o.chunk_bytes_max = 16384;
		small = coded_open(&o);
		coded_fill(r, 1);
		coded_fill(small, 1);
		coded_op(r, 1);
		coded_op(small, 2);
		assert_memory_equal(r->out[0], small->out[0], COUNT * sizeof(float));
		coded_close(r);
		coded_close(small);
	}
}

/* What was turned by a node's own draws is turned back by the same: the sum is near. */
static void what_is_drawn_is_undone(void **state)
{
	struct coded_options o = {.nodes = 3,
				  .lanes = 2,
				  .local = 1,
				  .count = COUNT,
				  .codec = "eden:bits=4",
				  .feedback = ""};
	struct coded_rig *r = coded_open(&o);
	double off = 0, all = 0;

	(void)state;
	coded_fill(r, 1);
	coded_op(r, 1);
	for (uint64_t i = 0; i < COUNT; i++) {
		double sum = 0;

		for (uint32_t k = 0; k < r->ranks; k++)
			sum += (double)at(r->in[k])[i];
		off += (sum - (double)at(r->out[0])[i]) * (sum - (double)at(r->out[0])[i]);
		all += sum * sum;
	}
	/* 1 % of the energy is lost each way; with other draws it would be more than all of it. */
	assert_true(off < 0.05 * all && off > 0);
	coded_close(r);
}

/* Exact codecs change nothing, for all types that may be encoded, with local ranks, in place. */
static void exact_is_dense(void **state)
{
	static const enum vec_type types[] = {VEC_F32, VEC_BF16};

	(void)state;
	for (size_t t = 0; t < 2; t++)
		for (enum vec_reduce reduce = VEC_SUM; reduce <= VEC_AVG; reduce++) {
			struct coded_options o = {.nodes = 3,
						  .lanes = 2,
						  .local = 2,
						  .count = 70001,
						  .type = types[t],
						  .reduce = reduce,
						  .codec = "none",
						  .feedback = "ef14"};
			size_t bytes = o.count * vec_type_bytes(o.type);
			struct coded_rig *r = coded_open(&o), *dense = coded_open(&o);

			for (uint16_t n = 0; n < 3; n++)
				dense->tensor[n] = tensors_at(dense->tensors[n], 0);
			coded_fill(r, 4);
			coded_fill(dense, 4);
			for (uint32_t k = 0; k < r->ranks; k++)
				memcpy(r->out[k], r->in[k], bytes);
			coded_op(r, 3);
			/* the same without a tensor */
			dense->seq++;
			for (uint16_t n = 0; n < 3; n++)
				for (uint32_t l = 0; l < 2; l++)
					for (uint16_t lane = 0; lane < 2; lane++) {
						uint32_t k = dense->local_rank[n][l];
						struct op_call call = {.count = o.count,
								       .op = WIRE_OP_ALLREDUCE,
								       .type = (uint8_t)o.type,
								       .reduce = (uint8_t)reduce};
						struct exchange_rank rank = {dense->in[k],
									     dense->out[k], 1, 0};

						(void)exchange_post(dense->x[n][lane], l, 1, &call,
								    &rank);
					}
			assert_int_equal(coded_finish(dense, 3), 12);
			assert_memory_equal(r->out[0], dense->out[0], bytes);
			coded_close(r);
			coded_close(dense);
		}
}

/* --- state ------------------------------------------------------------------------------------ */

/* Inputs so far = results so far + residuals, but for rounding. */
static void ef14_loses_nothing(void **state)
{
	struct coded_options o = {.nodes = 3,
				  .lanes = 2,
				  .local = 2,
				  .count = 20000,
				  .codec = "topk:density=0.05",
				  .feedback = "ef14"};
	struct coded_rig *r = coded_open(&o);
	double *inputs = calloc(o.count, sizeof(double)),
	       *results = calloc(o.count, sizeof(double));
	double greatest = 0;

	(void)state;
	for (uint64_t step = 0; step < 30; step++) {
		coded_fill(r, step);
		coded_op(r, step);
		for (uint64_t i = 0; i < o.count; i++) {
			for (uint32_t k = 0; k < r->ranks; k++)
				inputs[i] += (double)at(r->in[k])[i];
			results[i] += (double)at(r->out[0])[i];
		}
	}
	for (uint64_t i = 0; i < o.count; i++) {
		double off = inputs[i] - results[i];

		for (uint16_t n = 0; n < o.nodes; n++)
			off -= (double)coded_state(r, n, FEEDBACK_RESIDUAL)[i];
		greatest = fabs(off) > greatest ? fabs(off) : greatest;
	}
	/* 30 steps of sums below 64, each rounded to 2^-19 a few times */
	assert_true(greatest < 30 * 6 * 0x1p-19 && greatest > 0);
	free(inputs);
	free(results);
	coded_close(r);
}

/* G = sum of w g, the same bits on all nodes; and the result is it. */
static void ef21_sums_its_estimates(void **state)
{
	static const char *const feedback[] = {"ef21", "ef21-w", "ef21-sgdm:eta=0.5", NULL};

	(void)state;
	for (const char *const *f = feedback; *f; f++) {
		struct coded_options o = {.nodes = 3,
					  .lanes = 2,
					  .local = 1,
					  .count = 20000,
					  .codec = "topk:density=0.1",
					  .feedback = *f,
					  .weight = {0.5f, 1, 1.5f}};
		struct coded_rig *r = coded_open(&o);
		double weight[3] = {1, 1, 1};
		double greatest = 0;

		if (strcmp(*f, "ef21-w") == 0)
			for (int n = 0; n < 3; n++)
				weight[n] = (double)o.weight[n];
		for (uint64_t step = 0; step < 20; step++) {
			coded_fill(r, 7); /* what is constant is learned */
			coded_op(r, step);
		}
		for (uint64_t i = 0; i < o.count; i++) {
			double sum = 0;

			for (uint16_t n = 0; n < 3; n++)
				sum += weight[n] * (double)coded_state(r, n, FEEDBACK_ESTIMATE)[i];
			sum -= (double)coded_state(r, 1, FEEDBACK_SUM)[i];
			greatest = fabs(sum) > greatest ? fabs(sum) : greatest;
		}
		assert_true(greatest < 1e-5);
		assert_memory_equal(coded_state(r, 0, FEEDBACK_SUM), r->out[0], o.count * 4);
		assert_memory_equal(coded_state(r, 2, FEEDBACK_SUM), r->out[0], o.count * 4);
		coded_close(r);
	}
}

/* A tensor of nothing is an op like any other. */
static void nothing(void **state)
{
	static const char *const words[][2] = {
		{"int8", ""}, {"sign", "twosided"}, {"topk", "ef21"}, {"bf16", "ef14"}};

	(void)state;
	for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
		struct coded_options o = {.nodes = 3,
					  .lanes = 2,
					  .local = 2,
					  .codec = words[w][0],
					  .feedback = words[w][1]};
		struct coded_rig *r = coded_open(&o);
		uint16_t node;
		uint64_t seq;

		for (int i = 0; i < 3; i++)
			coded_op(r, w);
		assert_false(r->nonfinite);
		for (uint16_t n = 0; n < o.nodes; n++)
			assert_false(exchange_take_bad(r->x[n][0], &node, &seq));
		coded_close(r);
	}
}

/* An op that is ended in its middle, wherever that is, has changed nothing. */
static void an_ended_op_changes_no_state(void **state)
{
	struct coded_options o = {.nodes = 3,
				  .lanes = 2,
				  .local = 1,
				  .count = COUNT,
				  .codec = "int4",
				  .feedback = "ef14"};
	struct coded_rig *r = coded_open(&o);

	(void)state;
	coded_fill(r, 1);
	coded_op(r, 1);
	for (uint64_t steps = 0; steps < 40; steps += 3) {
		void *kept = coded_keep(r);

		coded_fill(r, 2 + steps);
		coded_post(r);
		for (uint64_t s = 0; s < steps; s++)
			(void)exchange_progress(r->x[s % 3][s / 3 % 2]);
		for (uint64_t s = 0; s < steps; s++) {
			struct exchange_send send;
			uint16_t from = (uint16_t)(s % 3), to = (uint16_t)((s + 1) % 3);
			uint16_t lane = (uint16_t)(s / 3 % 2);

			if (!exchange_next(r->x[from][lane], to, &send))
				continue;
			exchange_released(r->x[from][lane], send.buffer); /* lost with its op */
			exchange_unsent(r->x[from][lane], to);
		}
		coded_end(r, r->seq, -ECANCELED);
		(void)coded_finish(r, steps);
		assert_int_equal(r->error, -ECANCELED);
		assert_true(coded_kept(r, kept));
		free(kept);
	}
	coded_close(r);
}

/* Taken back: as if the op had not been. */
static void discard(void **state)
{
	struct coded_options o = {.nodes = 2,
				  .lanes = 2,
				  .local = 1,
				  .count = 50000,
				  .codec = "int4",
				  .feedback = "ef14"};
	struct coded_rig *r = coded_open(&o), *control = coded_open(&o);

	(void)state;
	coded_fill(r, 1);
	coded_op(r, 1);
	coded_fill(r, 2);
	coded_op(r, 2);
	r->discard = true;
	coded_fill(r, 3);
	coded_op(r, 3);
	coded_fill(control, 1);
	coded_op(control, 1);
	coded_fill(control, 3);
	coded_op(control, 3);
	assert_memory_equal(r->out[0], control->out[0], o.count * sizeof(float));
	/* What was taken back is gone: there is one step to take back again, the last. */
	coded_fill(r, 4);
	coded_op(r, 4);
	control->discard = true;
	coded_fill(control, 4);
	coded_op(control, 4);
	assert_memory_equal(r->out[0], control->out[0], o.count * sizeof(float));
	coded_close(r);
	coded_close(control);
}

/* A node that took an op back alone: its calls differ from now on, no sum goes wrong silently. */
static void states_of_other_ops(void **state)
{
	struct coded_options o = {.nodes = 2,
				  .lanes = 1,
				  .local = 1,
				  .count = 5000,
				  .codec = "int4",
				  .feedback = "ef21"};
	struct coded_rig *r = coded_open(&o);
	struct tensor_op op = {.seq = 100, .weight = 1, .discard = true};
	struct exchange_mismatch m;
	struct tensor_turn turn;

	(void)state;
	coded_fill(r, 1);
	coded_op(r, 1);
	coded_op(r, 2);
	op.tensor = r->tensor[1];
	assert_true(tensor_enter(&op, &turn));
	tensor_leave(&op, &turn, false);
	coded_post(r);
	(void)coded_finish(r, 3);
	assert_true(exchange_take_mismatch(r->x[0][0], &m) ||
		    exchange_take_mismatch(r->x[1][0], &m));
	assert_int_equal(m.seq, 3);
	coded_end(r, 3, -EBADMSG);
	(void)coded_finish(r, 3);
	coded_close(r);
}

/* Another unit: the state is of the new one. */
static void scale(void **state)
{
	struct coded_options o = {.nodes = 2,
				  .lanes = 1,
				  .local = 1,
				  .count = 5000,
				  .codec = "int4:scale=pow2",
				  .feedback = "ef14"};
	struct coded_rig *r = coded_open(&o), *control = coded_open(&o);

	(void)state;
	coded_fill(r, 1);
	coded_op(r, 1);
	coded_fill(control, 1);
	coded_op(control, 1);
	coded_fill(r, 2);
	coded_fill(control, 2);
	for (uint32_t k = 0; k < 2; k++)
		for (uint64_t i = 0; i < o.count; i++)
			at(r->in[k])[i] *= 8;
	r->scale = 8;
	coded_op(r, 2);
	coded_op(control, 2);
	for (uint64_t i = 0; i < o.count; i++)
		assert_true(at(r->out[0])[i] == 8 * at(control->out[0])[i]);
	coded_close(r);
	coded_close(control);
}

/* Two ops at once on one state: the second one cannot succeed. */
static void two_at_once(void **state)
{
	struct coded_options o = {.nodes = 2,
				  .lanes = 1,
				  .local = 1,
				  .count = 5000,
				  .codec = "int4",
				  .feedback = "ef14"};
	struct coded_rig *r = coded_open(&o);
	struct exchange_trouble t;

	(void)state;
	coded_fill(r, 1);
	coded_post(r);
	coded_post(r);
	assert_true(exchange_take_trouble(r->x[0][0], &t));
	assert_int_equal(t.kind, EXCHANGE_BUSY);
	assert_int_equal(t.seq, 2);
	assert_string_equal(tensor_name(t.call.tensor), "weights");
	coded_end(r, 2, -EBUSY);
	assert_int_equal(coded_finish(r, 1), 4);
	assert_int_equal(r->error, -EBUSY);
	/* The first one counted; the next one finds it. */
	coded_op(r, 2);
	coded_close(r);
}

/* A message that is none of its codec is told of its node; nothing is read beyond it. */
static bool cut_short(struct wire_frame *frame, void *payload)
{
	(void)payload;
	if (frame->kind != WIRE_CONTRIBUTION || frame->chunk == 0)
		return false;
	frame->payload_bytes--;
	return true;
}

static bool bad_scale(struct wire_frame *frame, void *payload)
{
	if (frame->kind != WIRE_FINAL)
		return false;
	memset(payload, 0xff, frame->payload_bytes);
	return true;
}

static void hostile_messages(void **state)
{
	bool (*const spoils[])(struct wire_frame *, void *) = {cut_short, bad_scale};

	(void)state;
	for (size_t s = 0; s < 2; s++) {
		struct coded_options o = {.nodes = 3,
					  .lanes = 1,
					  .local = 1,
					  .count = COUNT,
					  .codec = "int8",
					  .feedback = ""};
		struct coded_rig *r = coded_open(&o);
		uint32_t told = 0;
		uint16_t node;
		uint64_t seq;

		coded_fill(r, 1);
		r->spoil = spoils[s];
		coded_post(r);
		assert_true(coded_finish(r, s) < 3);
		assert_null(r->spoil);
		for (uint16_t n = 0; n < 3; n++)
			told += exchange_take_bad(r->x[n][0], &node, &seq);
		assert_int_equal(told, 1);
		coded_end(r, 1, -EHOSTDOWN);
		(void)coded_finish(r, 1);
		assert_int_equal(r->error, -EHOSTDOWN);
		coded_close(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_are_the_codecs),
		cmocka_unit_test(the_same_bits),
		cmocka_unit_test(whatever_the_cut),
		cmocka_unit_test(what_is_drawn_is_undone),
		cmocka_unit_test(exact_is_dense),
		cmocka_unit_test(ef14_loses_nothing),
		cmocka_unit_test(ef21_sums_its_estimates),
		cmocka_unit_test(nothing),
		cmocka_unit_test(an_ended_op_changes_no_state),
		cmocka_unit_test(discard),
		cmocka_unit_test(states_of_other_ops),
		cmocka_unit_test(scale),
		cmocka_unit_test(two_at_once),
		cmocka_unit_test(hostile_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
