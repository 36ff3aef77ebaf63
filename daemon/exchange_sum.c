/*
 * exchange_sum.c - the arithmetic: closing chunks, writing results; see exchange.h.
 *
 * Order of a sum: local ranks in rank order give the node's contribution; nodes are
 * added in node order (in a ring: the partial sum first, then our own), in the sum type;
 * an average is divided once, by the owner, and rounded once, into the final.
 */
#include "daemon/exchange_state.h"

#include <assert.h>
#include <string.h>

#include "compress/copy.h"

enum { AWAY_BYTES = 4 << 20 }; /* a result of that size does not stay in a cache anyway */

static enum vec_type op_type(const struct op *op)
{
	return (enum vec_type)op->call.type;
}

static const unsigned char *chunk_in(const struct op *op, uint32_t local_rank, uint32_t chunk)
{
	return (const unsigned char *)op->ranks[local_rank].in +
	       op_offset(op, chunk) * vec_type_bytes(op_type(op));
}

unsigned char *exchange_result(const struct op *op, uint32_t local_rank, uint32_t chunk)
{
	return (unsigned char *)op->ranks[local_rank].out +
	       op_offset(op, chunk) * vec_type_bytes(op_type(op));
}

static void combine(const struct exchange *x, const struct op *op, uint32_t chunk,
		    const struct vec_input *inputs, size_t count, bool final, void *out)
{
	enum vec_type type = op_type(op);
	uint64_t divisor = final && op->call.reduce == VEC_AVG ? x->plan.ranks : 0;

	vec_combine(x->plan.vec, type, (enum vec_reduce)op->call.reduce, inputs, count, divisor,
		    out, final ? type : vec_sum_type(type), op_elements(op, chunk));
}

/* inputs[0..local_ranks) = the local ranks' chunks. */
static size_t local_inputs(const struct exchange *x, const struct op *op, uint32_t chunk,
			   struct vec_input *inputs)
{
	for (uint32_t r = 0; r < x->plan.local_ranks; r++)
		inputs[r] = (struct vec_input){chunk_in(op, r, chunk), op_type(op)};
	return x->plan.local_ranks;
}

struct vec_input exchange_own(struct exchange *x, struct op *op, uint32_t chunk,
			      unsigned char *room)
{
	struct vec_input *inputs = x->inputs + x->plan.nodes;

	if (x->plan.local_ranks == 1)
		return (struct vec_input){chunk_in(op, 0, chunk), op_type(op)};
	combine(x, op, chunk, inputs, local_inputs(x, op, chunk, inputs), false, room);
	return (struct vec_input){room, vec_sum_type(op_type(op))};
}

const float *exchange_own_floats(struct exchange *x, struct op *op, uint32_t chunk)
{
	struct vec_input own = exchange_own(x, op, chunk, x->scratch);

	if (own.type != VEC_F32) {
		vec_combine(x->plan.vec, op_type(op), VEC_SUM, &own, 1, 0, x->scratch, VEC_F32,
			    op_elements(op, chunk));
		own.data = x->scratch;
	}
	return own.data;
}

float *exchange_out_floats(const struct exchange *x, const struct op *op, uint32_t chunk)
{
	if (x->plan.local_ranks > 1 || op_type(op) != VEC_F32)
		return NULL;
	return (float *)(void *)exchange_result(op, 0, chunk);
}

void exchange_write_result(struct exchange *x, struct op *op, uint32_t chunk, const void *final)
{
	size_t bytes = op_elements(op, chunk) * vec_type_bytes(op_type(op));
	size_t tensor_bytes = op->call.count * vec_type_bytes(op_type(op));

	for (uint32_t r = 0; r < x->plan.local_ranks; r++) {
		unsigned char *out = exchange_result(op, r, chunk);

		if (!bytes || out == final)
			continue;
		if (tensor_bytes >= AWAY_BYTES)
			copy_away(out, final, bytes);
		else
			memcpy(out, final, bytes);
	}
}

static struct vec_input slot_input(struct exchange *x, uint16_t node, const struct op *op,
				   uint32_t chunk)
{
	const struct slot *slot = exchange_slot_of(x, node, op->seq, chunk);

	assert(slot);
	return (struct vec_input){slot->at, (enum vec_type)slot->frame.payload_type};
}

/* Everything that goes into the whole sum, in order.  sent: our contribution to all, or NULL. */
static size_t closing_inputs(struct exchange *x, struct op *op, uint32_t chunk,
			     const struct sched_role *role, const struct buffer *sent)
{
	struct vec_input own;
	size_t count = 0;

	if (role->inputs == SCHED_NONE || x->plan.nodes == 1)
		return local_inputs(x, op, chunk, x->inputs);

	/* What was sent to others is what we add ourselves. */
	own = sent ? (struct vec_input){sent->memory, sent->type}
		   : exchange_own(x, op, chunk, x->scratch);
	if (role->inputs == SCHED_ONE) {
		x->inputs[count++] = slot_input(x, role->input, op, chunk);
		x->inputs[count++] = own;
		return count;
	}
	for (uint16_t n = 0; n < x->plan.nodes; n++)
		x->inputs[count++] = n == x->plan.node ? own : slot_input(x, n, op, chunk);
	return count;
}

static void release_inputs(struct exchange *x, const struct op *op, uint32_t chunk,
			   const struct sched_role *role)
{
	for (uint16_t n = 0; n < x->plan.nodes; n++) {
		struct slot *slot;

		if (n == x->plan.node || role->inputs == SCHED_NONE ||
		    (role->inputs == SCHED_ONE && role->input != n))
			continue;
		slot = exchange_slot_of(x, n, op->seq, chunk);
		exchange_slot_release(x, n, slot);
	}
}

static void chunk_done(struct exchange *x, struct op *op, uint32_t chunk)
{
	op->chunks[chunk - op->first].done = true;
	op->remaining--;
	exchange_op_check_over(x, op);
}

/* The same with a codec between.  Return: false: a contribution is no message of it. */
static bool close_coded(struct exchange *x, struct op *op, uint32_t chunk,
			const struct sched_role *role)
{
	struct exchange_message message;
	struct buffer *buffer;
	bool decoded;

	if (!exchange_encode_final(x, op, chunk, &message))
		return false;
	buffer = exchange_queue_final(x, op, chunk, role, &message);
	memcpy(buffer->memory, x->message, message.bytes);
	release_inputs(x, op, chunk, role);
	decoded = exchange_decode_final(x, op, chunk, &message, buffer->memory);
	assert(decoded); /* we made it */
	chunk_done(x, op, chunk);
	return true;
}

/* Return: false: a contribution is no message, and its node is told of. */
static bool close_chunk(struct exchange *x, struct op *op, uint32_t chunk,
			const struct sched_role *role)
{
	/* What several trainers get is never read from the memory of one of them. */
	unsigned char *out = x->plan.local_ranks > 1 ? x->result : exchange_result(op, 0, chunk);
	bool shares = role->contribute == SCHED_ALL && x->plan.nodes > 1;
	struct buffer *sent = shares ? exchange_shared_find(x, op->seq, chunk) : NULL;
	size_t count;

	if (op->coded)
		return close_coded(x, op, chunk, role);
	count = closing_inputs(x, op, chunk, role, sent);

	assert(sent || !shares); /* may_close(): it was handed to all */
	if (role->final_out != SCHED_NONE) {
		struct exchange_message message =
			exchange_plain(op, chunk, op_type(op), x->plan.ranks);

		out = exchange_queue_final(x, op, chunk, role, &message)->memory;
	}
	combine(x, op, chunk, x->inputs, count, true, out);
	release_inputs(x, op, chunk, role);
	if (sent)
		exchange_shared_drop(sent);
	exchange_write_result(x, op, chunk, out);
	chunk_done(x, op, chunk);
	return true;
}

static bool may_close(const struct exchange *x, const struct op *op, uint32_t chunk,
		      const struct sched_role *role)
{
	const struct op_chunk *state = &op->chunks[chunk - op->first];

	if (state->arrived < exchange_whom_count(x, role->inputs))
		return false;
	/* The result may overwrite the input: our contribution must have been taken from it. */
	if (state->handed < exchange_whom_count(x, role->contribute))
		return false;
	return role->final_out == SCHED_NONE || exchange_queue_room(x, role);
}

bool exchange_close(struct exchange *x, struct op *op, uint32_t chunk)
{
	struct sched_role role = exchange_role(x, op, chunk);

	/* Where finals are passed on what is lowest must come first, and find a buffer. */
	return role.closes && role.final_out != SCHED_ONE &&
	       (role.final_out == SCHED_NONE || exchange_queue_spare(x)) &&
	       may_close(x, op, chunk, &role) && close_chunk(x, op, chunk, &role);
}

bool exchange_close_next(struct exchange *x)
{
	struct cursor *at = &x->closing;

	for (;; *at = (struct cursor){.seq = at->seq + 1}) {
		struct op *op = exchange_op_at(x, at);

		if (!op)
			return false;
		for (; at->chunk < op->last; at->chunk++) {
			uint32_t chunk = at->chunk;
			struct sched_role role = exchange_role(x, op, chunk);

			if (!role.closes || op->chunks[chunk - op->first].done)
				continue;
			if (!may_close(x, op, chunk, &role))
				return false;
			at->chunk++;
			if (close_chunk(x, op, chunk, &role))
				return true;
			at->chunk = chunk;
			return false;
		}
	}
}

bool exchange_progress(struct exchange *x)
{
	exchange_queue_retire(x);
	return exchange_retry_finals(x) || exchange_close_next(x);
}
