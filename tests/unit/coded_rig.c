/* coded_rig.c - see coded_rig.h. */
#include "tests/unit/coded_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/common/draw.h"

static const struct tensor *tensor_of(const struct coded_rig *r, uint16_t node, const char *codec)
{
	const struct tensor_use use = {
		.name = "weights",
		.key = CODED_KEY,
		.count = r->o.count,
		.type = (uint8_t)r->o.type,
		.codec = codec,
		.feedback = r->o.feedback,
	};
	const struct tensor *tensor;
	struct err err;
	int number = tensors_add(r->tensors[node], &use, &err);

	if (number < 0)
		fail_msg("%s with %s: %s", codec, r->o.feedback, err.text);
	tensor = tensors_at(r->tensors[node], (uint32_t)number);
	assert_non_null(tensor);
	return tensor;
}

void coded_change(struct coded_rig *r, const char *codec)
{
	for (uint16_t n = 0; n < r->o.nodes; n++)
		r->tensor[n] = tensor_of(r, n, codec);
}

static void open_node(struct coded_rig *r, uint16_t node)
{
	const struct coded_options *o = &r->o;
	struct exchange_plan plan = {
		.group = 1,
		.epoch = 1,
		.nodes = o->nodes,
		.node = node,
		.lanes = o->lanes,
		.ranks = r->ranks,
		.ranks_of_node = r->ranks_of_node,
		.local_ranks = o->local,
		.local_rank = r->local_rank[node],
		.owners = &r->owners,
		.chunk_bytes_max = o->chunk_bytes_max,
		.chunk_bytes_usual = OP_CHUNK_BYTES_TCP,
		.slots = 2,
		.buffers = 2,
		.vec = o->vec,
	};
	const struct tensors_options tensors = {
		.chunk_bytes_max = o->chunk_bytes_max,
		.bytes_max = 1u << 30,
	};
	struct err err;

	for (plan.lane = 0; plan.lane < o->lanes; plan.lane++)
		assert_int_equal(exchange_new(&r->x[node][plan.lane], &plan, &err), 0);
	assert_int_equal(tensors_new(&r->tensors[node], &tensors), 0);
	r->tensor[node] = tensor_of(r, node, o->codec);
}

struct coded_rig *coded_open(const struct coded_options *options)
{
	struct coded_rig *r = calloc(1, sizeof(*r));

	r->o = *options;
	r->o.type = r->o.type ? r->o.type : VEC_F32;
	r->o.reduce = r->o.reduce ? r->o.reduce : VEC_SUM;
	r->o.vec = r->o.vec ? r->o.vec : vec_best();
	r->o.chunk_bytes_max = r->o.chunk_bytes_max ? r->o.chunk_bytes_max : 1 << 20;
	r->ranks = options->nodes * options->local;
	r->scale = 1;
	owner_found(&r->owners, options->nodes);
	for (uint16_t n = 0; n < options->nodes; n++) {
		r->ranks_of_node[n] = options->local;
		for (uint32_t l = 0; l < options->local; l++)
			r->local_rank[n][l] = n * options->local + l;
	}
	for (uint16_t n = 0; n < options->nodes; n++)
		open_node(r, n);
	for (uint32_t k = 0; k < r->ranks; k++) {
		r->in[k] = calloc(options->count + 1, vec_type_bytes(r->o.type));
		r->out[k] = calloc(options->count + 1, vec_type_bytes(r->o.type));
	}
	return r;
}

void coded_fill(struct coded_rig *r, uint64_t seed)
{
	for (uint32_t k = 0; k < r->ranks; k++) {
		float *values = calloc(r->o.count + 1, sizeof(*values));
		uint64_t state = seed * 100 + k;

		assert_non_null(values);
		draw_about_gauss(values, r->o.count, &state);
		if (r->o.type == VEC_F32) {
			memcpy(r->in[k], values, r->o.count * sizeof(float));
		} else { /* bf16: cut off */
			for (uint64_t i = 0; i < r->o.count; i++)
				memcpy((uint16_t *)r->in[k] + i, (char *)&values[i] + 2, 2);
		}
		free(values);
	}
}

void coded_close(struct coded_rig *r)
{
	for (uint16_t n = 0; n < r->o.nodes; n++) {
		for (uint16_t l = 0; l < r->o.lanes; l++) {
			assert_true(exchange_idle(r->x[n][l]));
			exchange_free(r->x[n][l]);
		}
		tensors_free(r->tensors[n]);
	}
	for (uint32_t k = 0; k < r->ranks; k++) {
		free(r->in[k]);
		free(r->out[k]);
	}
	free(r);
}

static uint32_t lanes_of(const struct coded_rig *r)
{
	return shm_op_lanes(r->o.count * vec_type_bytes(r->o.type), r->o.lanes);
}

void coded_post_one(struct coded_rig *r, uint16_t n, uint16_t lane, uint32_t local)
{
	const struct tensor *tensor = r->tensor[n];
	const struct op_call call = {
		.key = CODED_KEY,
		.count = r->o.count,
		.op = WIRE_OP_ALLREDUCE,
		.type = (uint8_t)r->o.type,
		.reduce = (uint8_t)r->o.reduce,
		.scale = r->scale,
		.discard = r->discard,
		.tensor = tensor,
		.codec = tensor->coding.up.id,
		.feedback = tensor->coding.feedback.id,
	};
	uint32_t k = r->local_rank[n][local];
	float weight = r->o.weight[k] > 0 ? r->o.weight[k] : 1;
	const struct exchange_rank rank = {r->in[k], r->out[k], r->seq, weight};

	if (lane < lanes_of(r))
		(void)exchange_post(r->x[n][lane], local, r->seq, &call, &rank);
	else
		assert_true(exchange_pass(r->x[n][lane], local, r->seq));
}

void coded_post(struct coded_rig *r)
{
	r->seq++;
	for (uint16_t n = 0; n < r->o.nodes; n++)
		for (uint32_t l = 0; l < r->o.local; l++)
			for (uint16_t lane = 0; lane < r->o.lanes; lane++)
				coded_post_one(r, n, lane, l);
}

/* One frame of `from`, if it has any for `to`, arrives there and is acknowledged. */
static bool carry_frame(struct coded_rig *r, uint16_t from, uint16_t to, uint16_t lane)
{
	struct exchange_send send;
	struct wire_frame credit = {0};
	void *slot, *payload;

	if (!exchange_next(r->x[from][lane], to, &send)) {
		exchange_announce(r->x[from][lane], to, &credit);
		exchange_credit(r->x[to][lane], from, credit.credit_contribution,
				credit.credit_final);
		return false;
	}
	exchange_credit(r->x[to][lane], from, send.frame.credit_contribution,
			send.frame.credit_final);
	payload = malloc(send.frame.payload_bytes + 1);
	memcpy(payload, send.payload, send.frame.payload_bytes);
	if (r->spoil)
		r->spoil = r->spoil(&send.frame, payload) ? NULL : r->spoil;
	slot = exchange_place(r->x[to][lane], from, &send.frame);
	assert_non_null(slot);
	/* What has a codec must go to the slot whoever asks; a frame that says none may stay. */
	if (!exchange_may_stay(r->x[to][lane], from, slot)) {
		memcpy(slot, payload, send.frame.payload_bytes);
		exchange_arrived(r->x[to][lane], from, &send.frame, slot, slot);
	} else {
		assert_int_equal(send.frame.codec, 0);
		exchange_arrived(r->x[to][lane], from, &send.frame, slot, payload);
	}
	free(payload);
	exchange_released(r->x[from][lane], send.buffer);
	return true;
}

static uint32_t completions(struct coded_rig *r, uint16_t node, uint16_t lane)
{
	struct exchange_completion c;
	uint32_t n = 0;

	while (exchange_completion(r->x[node][lane], &c)) {
		n++;
		r->error = c.error ? c.error : r->error;
		r->nonfinite |= c.nonfinite;
		if (c.culprit && (!r->culprit || c.culprit < r->culprit))
			r->culprit = c.culprit; /* as libcarry does it */
		r->wire_bytes += c.local_rank == 0 ? c.wire_bytes : 0;
	}
	return n;
}

/* A place at random: does anything move?  *done += completions there. */
static bool move(struct coded_rig *r, uint64_t *order, uint32_t *done)
{
	uint64_t draw = draw_u64(order);
	uint16_t from = (uint16_t)(draw % r->o.nodes);
	uint16_t to = (uint16_t)(draw >> 16) % r->o.nodes;
	uint16_t lane = (uint16_t)(draw >> 32) % r->o.lanes;
	bool any = exchange_progress(r->x[from][lane]);

	if (to != from)
		any |= carry_frame(r, from, to, lane);
	*done += completions(r, from, lane);
	return any;
}

uint32_t coded_moves(struct coded_rig *r, uint64_t order, uint32_t moves)
{
	uint32_t done = 0;

	while (moves--)
		(void)move(r, &order, &done);
	return done;
}

uint32_t coded_finish(struct coded_rig *r, uint64_t order)
{
	uint32_t done = 0, idle = 0;
	uint32_t places = (uint32_t)r->o.nodes * r->o.nodes * r->o.lanes;

	/* All are idle if none of many tries found anything. */
	while (idle < 20 * places)
		idle = move(r, &order, &done) ? 0 : idle + 1;
	return done;
}

void coded_end(struct coded_rig *r, uint64_t seq, int error)
{
	for (uint16_t n = 0; n < r->o.nodes; n++)
		for (uint16_t lane = 0; lane < r->o.lanes; lane++)
			exchange_end(r->x[n][lane], seq, seq, error);
}

void coded_op(struct coded_rig *r, uint64_t order)
{
	size_t bytes = r->o.count * vec_type_bytes(r->o.type);

	r->error = 0;
	r->nonfinite = false;
	r->culprit = 0;
	r->wire_bytes = 0;
	coded_post(r);
	assert_int_equal(coded_finish(r, order), r->ranks * lanes_of(r));
	assert_int_equal(r->error, 0);
	for (uint32_t k = 1; k < r->ranks; k++)
		assert_memory_equal(r->out[k], r->out[0], bytes);
}

/* --- state ------------------------------------------------------------------------------------ */

/* What the next op would read. */
static bool look(const struct coded_rig *r, uint16_t node, struct feedback_state *state)
{
	struct tensor_op op = {.seq = r->seq + 1000, .tensor = r->tensor[node], .weight = 1};
	struct tensor_turn turn;

	if (!op.tensor->state)
		return false;
	/* It leaves without success, which changes nothing but that a discard is not possible. */
	assert_true(tensor_enter(&op, &turn));
	tensor_leave(&op, &turn, false);
	tensor_slices(&op, &turn, 0, state);
	return true;
}

const float *coded_state(const struct coded_rig *r, uint16_t node, enum feedback_vector vector)
{
	struct feedback_state state;

	if (!look(r, node, &state))
		return NULL;
	if (state.log[vector].marks)
		feedback_log_undo(&state.log[vector], r->o.count);
	return state.now[vector];
}

static size_t vector_bytes(const struct coded_rig *r, enum feedback_vector v)
{
	return feedback_vector_bytes(&r->tensor[0]->coding.feedback, v, r->o.count);
}

static size_t node_bytes(const struct coded_rig *r)
{
	size_t bytes = 0;

	for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++)
		bytes += vector_bytes(r, v);
	return bytes;
}

static void copy_state(const struct coded_rig *r, uint16_t node, unsigned char *to)
{
	struct feedback_state state;

	assert_true(look(r, node, &state));
	for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++) {
		if (state.log[v].marks) /* and leave it to the next op to put things back */
			assert_true(feedback_log_before(&state.log[v], r->o.count,
							(float *)(void *)to));
		else
			memcpy(to, state.now[v] ? state.now[v] : to, vector_bytes(r, v));
		to += vector_bytes(r, v);
	}
}

void *coded_keep(const struct coded_rig *r)
{
	unsigned char *kept = calloc(r->o.nodes, node_bytes(r) + 1);

	for (uint16_t n = 0; n < r->o.nodes; n++)
		copy_state(r, n, kept + n * node_bytes(r));
	return kept;
}

bool coded_kept(const struct coded_rig *r, const void *kept)
{
	void *now = coded_keep(r);
	bool same = memcmp(now, kept, r->o.nodes * node_bytes(r)) == 0;

	free(now);
	return same;
}
