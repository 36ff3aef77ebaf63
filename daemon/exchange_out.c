/*
 * exchange_out.c - what to send to a node next, and the credits; see exchange.h.
 */
#include "daemon/exchange_state.h"

#include <assert.h>
#include <string.h>

struct buffer *exchange_buffer_take(struct pool *pool)
{
	struct buffer *buffer = pool->free;

	if (!buffer)
		return NULL;
	pool->free = buffer->next;
	buffer->refs = 1;
	return buffer;
}

void exchange_buffer_drop(struct buffer *buffer)
{
	assert(buffer->refs);
	if (--buffer->refs)
		return;
	buffer->next = buffer->pool->free;
	buffer->pool->free = buffer;
}

struct buffer *exchange_shared_find(const struct exchange *x, uint64_t seq, uint32_t chunk)
{
	const struct pool *pool = &x->contribution_pool;

	for (uint32_t i = 0; i < x->plan.buffers; i++)
		if (pool->all[i].shared && pool->all[i].seq == seq && pool->all[i].chunk == chunk)
			return &pool->all[i];
	return NULL;
}

void exchange_shared_drop(struct buffer *buffer)
{
	buffer->shared = false;
	exchange_buffer_drop(buffer);
}

void exchange_shared_end(struct exchange *x, uint64_t seq)
{
	struct buffer *all = x->contribution_pool.all;

	for (uint32_t i = 0; i < x->plan.buffers; i++)
		if (all[i].shared && all[i].seq == seq)
			exchange_shared_drop(&all[i]);
}

/* Finals of as many chunks? */
static bool queue_takes(const struct exchange *x, uint32_t count)
{
	const struct buffer *free = x->final_pool.free;

	return free && (count == 1 || free->next) &&
	       x->queue_tail - x->queue_head + count <= x->plan.buffers;
}

bool exchange_queue_spare(const struct exchange *x)
{
	return queue_takes(x, 2);
}

bool exchange_queue_room(const struct exchange *x, const struct sched_role *role)
{
	bool made_here = !role->final_in;
	bool passed_on = role->final_out == SCHED_ONE;

	return queue_takes(x, made_here && passed_on ? 2 : 1);
}

struct exchange_message exchange_plain(const struct op *op, uint32_t chunk, enum vec_type payload,
				       uint32_t contributors)
{
	return (struct exchange_message){
		.bytes = (uint32_t)(op_elements(op, chunk) * vec_type_bytes(payload)),
		.payload_type = (uint8_t)payload,
		.weight = contributors,
	};
}

static uint8_t flags_of(const struct op *op, uint32_t chunk, const struct exchange_message *m)
{
	bool chosen = op->call.tensor && op->call.tensor->alternatives;

	return m->flags | (chunk + 1 == op->last ? WIRE_FLAG_LAST : 0) |
	       (chosen ? WIRE_FLAG_AUTO : 0);
}

/* What every data frame of an op says. */
static void fill_frame(const struct exchange *x, const struct op *op, uint32_t chunk, uint16_t kind,
		       uint32_t contributors, const struct exchange_message *m,
		       struct wire_frame *f)
{
	*f = (struct wire_frame){
		.kind = kind,
		.group = x->plan.group,
		.seq = op->seq,
		.key = op->call.key,
		.count = op->call.count,
		.epoch = x->plan.epoch,
		.chunk = chunk,
		.contributors = contributors,
		.call_digest = op->digest,
		.node = x->plan.node,
		.lane = x->plan.lane,
		.schedule = op->sched->id,
		.op = op->call.op,
		.type = op->call.type,
		.reduce = op->call.reduce,
		.codec = m->codec,
		.feedback = m->feedback,
		.payload_type = m->payload_type,
		.flags = flags_of(op, chunk, m),
		.culprit = m->culprit,
		.payload_bytes = m->bytes,
	};
	memcpy(&f->weight, &m->weight, sizeof(f->weight));
}

struct buffer *exchange_queue_final(struct exchange *x, struct op *op, uint32_t chunk,
				    const struct sched_role *role,
				    const struct exchange_message *message)
{
	struct final *final = &x->queue[x->queue_tail % x->plan.buffers];
	uint32_t waiting = 0;

	for (uint16_t n = 0; n < x->plan.nodes; n++)
		waiting += n != x->plan.node && !x->nodes[n].gone &&
			   (role->final_out == SCHED_ALL || role->final_to == n);

	*final = (struct final){
		.whom = role->final_out,
		.to = role->final_to,
		.waiting = waiting,
		.buffer = exchange_buffer_take(&x->final_pool),
	};
	fill_frame(x, op, chunk, WIRE_FINAL, x->plan.ranks, message, &final->frame);
	final->frame.divisor = op->call.reduce == VEC_AVG ? x->plan.ranks : 1;
	op->wire_bytes += (uint64_t)waiting * final->frame.payload_bytes;
	x->queue_tail++;
	return final->buffer;
}

void exchange_queue_retire(struct exchange *x)
{
	while (x->queue_head < x->queue_tail) {
		struct final *final = &x->queue[x->queue_head % x->plan.buffers];

		if (final->waiting && !final->cancelled)
			return;
		exchange_buffer_drop(final->buffer);
		x->queue_head++;
	}
}

/* The next final in the queue that is for `node`, if it has credit for it. */
static bool next_final(struct exchange *x, uint16_t node, struct exchange_send *out)
{
	struct exchange_node *to = &x->nodes[node];

	if (to->final_next < x->queue_head)
		to->final_next = x->queue_head;
	for (; to->final_next < x->queue_tail; to->final_next++) {
		struct final *final = &x->queue[to->final_next % x->plan.buffers];

		if (final->cancelled || (final->whom == SCHED_ONE && final->to != node))
			continue;
		if (to->sent_final == to->credit_final)
			return false;
		out->frame = final->frame;
		out->payload = final->buffer->memory;
		out->buffer = final->buffer;
		final->buffer->refs++;
		final->waiting--;
		to->final_next++;
		to->sent_final++;
		exchange_queue_retire(x);
		return true;
	}
	return false;
}

/* Put the sum of the local ranks into the buffer: the only time that their data is read. */
static void copy_own(struct exchange *x, struct op *op, uint32_t chunk, struct buffer *buffer)
{
	struct vec_input own = exchange_own(x, op, chunk, buffer->memory);

	buffer->type = own.type;
	if (own.data != buffer->memory)
		memcpy(buffer->memory, own.data, op_elements(op, chunk) * vec_type_bytes(own.type));
}

/*
 * What goes to all nodes is made once, when the first of them is sent it, so that all get
 * the same bits whatever the trainer does meanwhile; we add from it, too, when the chunk is
 * closed.  A buffer is left for contributions to one node: a node whose turn comes later
 * may need it before these can leave.  (Of the chunks that go to all it lacks none: they
 * were made for the node that is ahead, and are kept.)
 */
static bool fill_shared(struct exchange *x, struct op *op, uint32_t chunk,
			struct exchange_send *out)
{
	struct buffer *buffer = exchange_shared_find(x, op->seq, chunk);
	struct exchange_message message;

	if (!buffer) {
		if (!x->contribution_pool.free || !x->contribution_pool.free->next)
			return false;
		buffer = exchange_buffer_take(&x->contribution_pool);
		buffer->shared = true;
		buffer->seq = op->seq;
		buffer->chunk = chunk;
		copy_own(x, op, chunk, buffer);
	}
	buffer->refs++;
	message = exchange_plain(op, chunk, buffer->type, x->plan.local_ranks);
	fill_frame(x, op, chunk, WIRE_CONTRIBUTION, x->plan.local_ranks, &message, &out->frame);
	out->payload = buffer->memory;
	out->buffer = buffer;
	return true;
}

/* inputs + own, or a copy of own, in a buffer that is ours to keep until it is acknowledged. */
static bool fill_buffer(struct exchange *x, struct op *op, uint32_t chunk,
			const struct sched_role *role, struct exchange_send *out)
{
	enum vec_type type = (enum vec_type)op->call.type;
	bool partial = role->partial && role->inputs == SCHED_ONE;
	struct slot *slot = partial ? exchange_slot_of(x, role->input, op->seq, chunk) : NULL;
	struct buffer *buffer;
	struct exchange_message message;
	enum vec_type payload;
	uint32_t contributors = x->plan.local_ranks;

	if (partial && !slot)
		return false;
	buffer = exchange_buffer_take(&x->contribution_pool);
	if (!buffer)
		return false;

	if (partial) {
		struct vec_input inputs[2] = {
			{slot->memory, (enum vec_type)slot->frame.payload_type},
			exchange_own(x, op, chunk, x->scratch),
		};

		payload = vec_sum_type(type);
		contributors += slot->frame.contributors;
		vec_combine(x->plan.vec, type, (enum vec_reduce)op->call.reduce, inputs, 2, 0,
			    buffer->memory, payload, op_elements(op, chunk));
		exchange_slot_release(x, role->input, slot);
	} else {
		copy_own(x, op, chunk, buffer);
		payload = buffer->type;
	}
	message = exchange_plain(op, chunk, payload, contributors);
	fill_frame(x, op, chunk, WIRE_CONTRIBUTION, contributors, &message, &out->frame);
	out->payload = buffer->memory;
	out->buffer = buffer;
	return true;
}

/* Ours, encoded: once, for whatever is sent again is sent from the buffer. */
static bool fill_coded(struct exchange *x, struct op *op, uint32_t chunk, struct exchange_send *out)
{
	struct buffer *buffer = exchange_buffer_take(&x->contribution_pool);
	struct exchange_message message;

	if (!buffer)
		return false;
	message = exchange_encode_own(x, op, chunk, buffer->memory);
	fill_frame(x, op, chunk, WIRE_CONTRIBUTION, x->plan.local_ranks, &message, &out->frame);
	out->payload = buffer->memory;
	out->buffer = buffer;
	return true;
}

/* Our contribution of a chunk, for one node.  Return: false if it can't be made yet. */
static bool make_contribution(struct exchange *x, struct op *op, uint32_t chunk,
			      const struct sched_role *role, struct exchange_send *out)
{
	struct exchange_message message;
	struct vec_input own;

	if (op->coded)
		return fill_coded(x, op, chunk, out);
	if (role->contribute == SCHED_ALL)
		return fill_shared(x, op, chunk, out);
	/* What goes to one owner may be read from the trainer's memory until the final is there. */
	if (role->inputs != SCHED_NONE || x->plan.local_ranks > 1)
		return fill_buffer(x, op, chunk, role, out);

	own = exchange_own(x, op, chunk, NULL);
	message = exchange_plain(op, chunk, own.type, 1);
	fill_frame(x, op, chunk, WIRE_CONTRIBUTION, 1, &message, &out->frame);
	out->frame.flags |= WIRE_FLAG_ARENA;
	out->payload = own.data;
	out->buffer = NULL;
	x->arena_frames++;
	return true;
}

/* The chunk that the cursor of `node` stands at: move it to the next one that is for the node. */
static struct op *seek_contribution(struct exchange *x, uint16_t node, struct sched_role *role)
{
	struct cursor *at = &x->nodes[node].contributed;

	for (;; *at = (struct cursor){.seq = at->seq + 1}) {
		struct op *op = exchange_op_at(x, at);

		if (!op)
			return NULL;
		for (; at->chunk < op->last; at->chunk++) {
			*role = exchange_role(x, op, at->chunk);
			if (role->contribute == SCHED_ALL ||
			    (role->contribute == SCHED_ONE && role->contribute_to == node))
				return op;
		}
	}
}

static bool next_contribution(struct exchange *x, uint16_t node, struct exchange_send *out)
{
	struct exchange_node *to = &x->nodes[node];
	struct sched_role role;
	struct op *op = seek_contribution(x, node, &role);
	uint32_t chunk = to->contributed.chunk;

	if (!op || to->sent_contribution == to->credit_contribution)
		return false;
	if (!make_contribution(x, op, chunk, &role, out))
		return false;
	op->chunks[chunk - op->first].handed++;
	op->wire_bytes += out->frame.payload_bytes;
	to->sent_contribution++;
	to->contributed.chunk++;
	return true;
}

bool exchange_next(struct exchange *x, uint16_t node, struct exchange_send *out)
{
	exchange_queue_retire(x);
	if (x->nodes[node].gone)
		return false;
	if (!next_final(x, node, out) && !next_contribution(x, node, out))
		return false;

	out->frame.done_through = x->done_through;
	exchange_announce(x, node, &out->frame);
	x->frames_out++;
	return true;
}

void exchange_released(struct exchange *x, void *buffer)
{
	assert(x->frames_out);
	x->frames_out--;
	if (buffer) {
		exchange_buffer_drop(buffer);
		return;
	}
	assert(x->arena_frames);
	x->arena_frames--;
}

uint64_t exchange_waits_for(const struct exchange *x)
{
	const struct op *op = exchange_op(x, x->done_through + 1);

	return op && op->state == OP_RUNNING ? op->seq : 0;
}

void exchange_call(struct exchange *x, uint16_t node, struct wire_frame *frame)
{
	const struct op *op = exchange_op(x, x->done_through + 1);

	*frame = (struct wire_frame){
		.kind = WIRE_CALL,
		.group = x->plan.group,
		.seq = op->seq,
		.key = op->call.key,
		.count = op->call.count,
		.done_through = x->done_through,
		.epoch = x->plan.epoch,
		.call_digest = op->digest,
		.node = x->plan.node,
		.lane = x->plan.lane,
		.schedule = op->sched->id,
		.op = op->call.op,
		.type = op->call.type,
		.reduce = op->call.reduce,
		.codec = op->call.codec,
		.feedback = op->call.feedback,
	};
	exchange_announce(x, node, frame);
}

void exchange_unsent(struct exchange *x, uint16_t node)
{
	x->nodes[node].sent_contribution--;
}

void exchange_credit(struct exchange *x, uint16_t node, uint32_t contribution, uint32_t final)
{
	struct exchange_node *n = &x->nodes[node];

	/* Counts that wrap around, and frames of two paths that overtake each other. */
	if ((int32_t)(contribution - n->credit_contribution) > 0)
		n->credit_contribution = contribution;
	if ((int32_t)(final - n->credit_final) > 0)
		n->credit_final = final;
}

void exchange_announce(struct exchange *x, uint16_t node, struct wire_frame *frame)
{
	struct exchange_node *n = &x->nodes[node];

	n->announce_again = false;
	frame->credit_contribution = n->announced_contribution = n->granted_contribution;
	frame->credit_final = n->announced_final = n->granted_final;
}

void exchange_path_lost(struct exchange *x, uint16_t node)
{
	x->nodes[node].announce_again = true;
}

enum exchange_owing exchange_owes(const struct exchange *x, uint16_t node)
{
	const struct exchange_node *n = &x->nodes[node];
	uint32_t contribution = n->granted_contribution - n->announced_contribution;
	uint32_t final = n->granted_final - n->announced_final;
	uint32_t most = contribution > final ? contribution : final;

	if (n->gone)
		return EXCHANGE_OWES_NOTHING;
	if (n->announce_again)
		return EXCHANGE_OWES_SOON;
	if (!most)
		return EXCHANGE_OWES_NOTHING;
	return 2 * most >= (n->wide ? exchange_slots(&x->plan) : x->plan.slots)
		       ? EXCHANGE_OWES_SOON
		       : EXCHANGE_OWES_SOME;
}

void exchange_widen(struct exchange *x, uint16_t node)
{
	struct exchange_node *n = &x->nodes[node];

	if (n->wide)
		return;
	n->wide = true;
	n->granted_contribution += x->plan.slots_more;
	n->granted_final += x->plan.slots_more;
}

void exchange_node_gone(struct exchange *x, uint16_t node)
{
	struct exchange_node *gone = &x->nodes[node];

	if (gone->gone)
		return;
	gone->gone = true;
	for (uint64_t n = gone->final_next > x->queue_head ? gone->final_next : x->queue_head;
	     n < x->queue_tail; n++) {
		struct final *final = &x->queue[n % x->plan.buffers];

		if (final->whom == SCHED_ALL || final->to == node)
			final->waiting--;
	}
	exchange_queue_retire(x);
}
