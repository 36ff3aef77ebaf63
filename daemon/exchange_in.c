/*
 * exchange_in.c - slots: what arrives, and whether it fits its op; see exchange.h.
 *
 * A contribution stays in its slot until its chunk is closed, however early it came.
 * A final is written into the results on arrival and leaves its slot at once, unless
 * it must be passed on and there is no buffer for that.  A payload that may stay where it arrived
 * goes from there into the results, or into a sum that waited for nothing else; else to its slot.
 */
#include "daemon/exchange_state.h"

#include <assert.h>
#include <string.h>

static struct slot *slots_of(struct exchange *x, uint16_t node, uint16_t kind)
{
	return kind == WIRE_FINAL ? x->nodes[node].finals : x->nodes[node].contributions;
}

void exchange_slot_release(struct exchange *x, uint16_t node, struct slot *slot)
{
	if (slot->frame.kind == WIRE_FINAL)
		x->nodes[node].granted_final++;
	else
		x->nodes[node].granted_contribution++;
	slot->state = SLOT_FREE;
	slot->counted = false;
}

struct slot *exchange_slot_of(struct exchange *x, uint16_t node, uint64_t seq, uint32_t chunk)
{
	struct slot *slots = x->nodes[node].contributions;

	for (uint32_t i = 0; i < exchange_slots(&x->plan); i++)
		if (slots[i].counted && slots[i].frame.seq == seq && slots[i].frame.chunk == chunk)
			return &slots[i];
	return NULL;
}

bool exchange_stale(const struct exchange *x, uint16_t node, const struct wire_frame *frame)
{
	return frame->epoch < x->plan.epoch || x->nodes[node].gone;
}

/* wire_check() has seen to it that it says either what elements or which codec. */
static bool payload_known(const struct wire_frame *f)
{
	return f->codec <= UINT8_MAX && codec_by_id((uint8_t)f->codec) &&
	       f->feedback <= UINT8_MAX && feedback_by_id((uint8_t)f->feedback) &&
	       (f->codec || (f->payload_type >= VEC_F32 && f->payload_type <= VEC_I64));
}

/* The rules that need no op. */
static bool frame_fits_group(const struct exchange *x, uint16_t node, const struct wire_frame *f)
{
	const struct exchange_plan *plan = &x->plan;

	return f->epoch == plan->epoch && f->node == node && f->lane == plan->lane &&
	       f->op == WIRE_OP_ALLREDUCE && f->type >= VEC_F32 && f->type <= VEC_I64 &&
	       f->reduce >= VEC_SUM && f->reduce <= VEC_PROD && payload_known(f) &&
	       sched_by_id(f->schedule) && f->payload_bytes <= plan->chunk_bytes_max;
}

void *exchange_place(struct exchange *x, uint16_t node, const struct wire_frame *frame)
{
	struct slot *slots = slots_of(x, node, frame->kind);

	if (!frame_fits_group(x, node, frame))
		return NULL;
	for (uint32_t i = 0; i < exchange_slots(&x->plan); i++) {
		if (slots[i].state != SLOT_FREE)
			continue;
		slots[i].state = SLOT_FILLING;
		slots[i].frame = *frame;
		return slots[i].memory;
	}
	return NULL;
}

static struct slot *slot_at(struct exchange *x, uint16_t node, uint16_t kind, const void *memory)
{
	struct slot *slots = slots_of(x, node, kind);
	/* They lie one behind the other. */
	size_t from = (uintptr_t)memory - (uintptr_t)slots->memory;
	size_t i = from / x->plan.chunk_bytes_max;

	return i < exchange_slots(&x->plan) && slots[i].memory == memory ? &slots[i] : NULL;
}

void exchange_unplace(struct exchange *x, uint16_t node, void *memory)
{
	struct slot *slot = slot_at(x, node, WIRE_CONTRIBUTION, memory);

	if (!slot)
		slot = slot_at(x, node, WIRE_FINAL, memory);
	/* It will come again with the same credit, so none is granted for it. */
	slot->state = SLOT_FREE;
}

void exchange_note_bad(struct exchange *x, uint16_t node, uint64_t seq)
{
	struct exchange_node *n = &x->nodes[node];

	if (n->bad)
		return;
	n->bad = n->bad_pending = true;
	n->bad_seq = seq;
	x->bad_pending++;
}

static bool role_expects(const struct sched_role *role, uint16_t node)
{
	return role->inputs == SCHED_ALL || (role->inputs == SCHED_ONE && role->input == node);
}

/* Ranks that a contribution from `node` must hold: the node's own, or all on its way round. */
static uint32_t expected_contributors(const struct exchange *x, const struct op *op, uint16_t node,
				      uint32_t chunk)
{
	const struct exchange_plan *plan = &x->plan;
	uint64_t key = op->call.key ? op->call.key : op->seq;
	uint16_t owner = owner_of(plan->owners, key, chunk);
	uint32_t ranks = plan->ranks_of_node[node];

	for (;;) {
		struct sched_role role = op->sched->role(plan->nodes, node, owner);

		if (!role.partial || role.inputs != SCHED_ONE)
			return ranks;
		node = role.input;
		ranks += plan->ranks_of_node[node];
	}
}

static bool payload_fits(const struct exchange *x, const struct op *op, const struct wire_frame *f,
			 bool sum_type_too)
{
	enum vec_type type = (enum vec_type)op->call.type;
	enum vec_type payload = (enum vec_type)f->payload_type;

	if (op->coded)
		return exchange_coded_fits(x, op, f);
	return !f->codec && !f->feedback && !(f->flags & WIRE_FLAG_NONFINITE) &&
	       (payload == type || (sum_type_too && payload == vec_sum_type(type))) &&
	       f->payload_bytes == op_elements(op, f->chunk) * vec_type_bytes(payload);
}

/* A contribution to a running op: count it, or say what is wrong with it. */
static void count_contribution(struct exchange *x, struct op *op, uint16_t node, struct slot *slot)
{
	const struct wire_frame *f = &slot->frame;
	struct sched_role role;

	if (!op_has(op, f->chunk)) {
		exchange_note_bad(x, node, f->seq);
		return;
	}
	role = exchange_role(x, op, f->chunk);
	if (!role_expects(&role, node) || !payload_fits(x, op, f, true) ||
	    f->contributors != expected_contributors(x, op, node, f->chunk) ||
	    op->chunks[f->chunk - op->first].arrived >= exchange_whom_count(x, role.inputs) ||
	    exchange_slot_of(x, node, f->seq, f->chunk)) {
		exchange_note_bad(x, node, f->seq);
		return;
	}
	slot->counted = true;
	op->chunks[f->chunk - op->first].arrived++;
}

static bool call_differs(const struct op *op, const struct wire_frame *f)
{
	return f->call_digest != op->digest || f->count != op->call.count ||
	       f->type != op->call.type || f->reduce != op->call.reduce || f->key != op->call.key ||
	       f->schedule != op->sched->id;
}

void exchange_called(struct exchange *x, const struct wire_frame *frame)
{
	struct op *op = exchange_op(x, frame->seq);

	if (op && op->posted && !op->waiting && !op_over(op) && call_differs(op, frame))
		exchange_note_mismatch(x, op, frame);
}

void exchange_compare_early(struct exchange *x, struct op *op)
{
	for (uint16_t n = 0; n < x->plan.nodes; n++) {
		struct slot *slots = x->nodes[n].contributions;

		for (uint32_t i = 0; n != x->plan.node && i < exchange_slots(&x->plan); i++)
			if (slots[i].state == SLOT_HELD && slots[i].frame.seq == op->seq &&
			    call_differs(op, &slots[i].frame))
				exchange_note_mismatch(x, op, &slots[i].frame);
	}
}

void exchange_count_early(struct exchange *x, struct op *op)
{
	for (uint16_t n = 0; n < x->plan.nodes; n++) {
		struct slot *slots = x->nodes[n].contributions;

		for (uint32_t i = 0; n != x->plan.node && i < exchange_slots(&x->plan); i++)
			if (slots[i].state == SLOT_HELD && slots[i].frame.seq == op->seq)
				count_contribution(x, op, n, &slots[i]);
	}
}

/* The chunk's result is written. */
static void final_taken(struct exchange *x, struct op *op, uint16_t node, struct slot *slot)
{
	uint32_t chunk = slot->frame.chunk;

	exchange_slot_release(x, node, slot);
	op->chunks[chunk - op->first].done = true;
	op->remaining--;
	exchange_op_check_over(x, op);
}

/* A final of an op with a codec goes to everybody at once: there is nobody to pass it on to. */
static void take_coded(struct exchange *x, struct op *op, uint16_t node, struct slot *slot)
{
	const struct wire_frame *f = &slot->frame;
	const struct exchange_message message = {
		.bytes = f->payload_bytes, .flags = f->flags, .culprit = f->culprit};

	if (exchange_decode_final(x, op, f->chunk, &message, slot->memory)) {
		final_taken(x, op, node, slot);
		return;
	}
	exchange_note_bad(x, node, f->seq);
	exchange_slot_release(x, node, slot);
}

/* Write a final into the results, and queue it for the next node if the role says so. */
static bool take_final(struct exchange *x, struct op *op, uint16_t node, struct slot *slot)
{
	uint32_t chunk = slot->frame.chunk;
	struct sched_role role = exchange_role(x, op, chunk);
	const unsigned char *final = slot->at;

	if (role.final_out != SCHED_NONE) {
		struct exchange_message message =
			exchange_plain(op, chunk, (enum vec_type)op->call.type, x->plan.ranks);
		struct buffer *buffer;

		if (!exchange_queue_room(x, &role))
			return false;
		buffer = exchange_queue_final(x, op, chunk, &role, &message);
		memcpy(buffer->memory, slot->at, slot->frame.payload_bytes);
		final = buffer->memory; /* what others get, too, is read once */
	}
	exchange_write_result(x, op, chunk, final);
	final_taken(x, op, node, slot);
	return true;
}

/* Is it the final that this op waits for?  op: NULL: not posted. */
static bool final_fits(const struct exchange *x, const struct op *op, uint16_t node,
		       const struct wire_frame *f)
{
	bool average = op && op->call.reduce == VEC_AVG;
	struct sched_role role;

	if (!op || op->state != OP_RUNNING || call_differs(op, f) || !op_has(op, f->chunk))
		return false;
	role = exchange_role(x, op, f->chunk);
	return role.final_in && role.final_from == node && payload_fits(x, op, f, false) &&
	       f->contributors == x->plan.ranks && f->divisor == (average ? x->plan.ranks : 1) &&
	       !op->chunks[f->chunk - op->first].final_here;
}

/*
 * A codec reads a message twice, a CRC is another time, and several trainers that get a final must
 * get the same.
 */
bool exchange_may_stay(struct exchange *x, uint16_t node, const void *memory)
{
	const struct slot *slot = slot_at(x, node, WIRE_FINAL, memory);

	if (!slot)
		slot = slot_at(x, node, WIRE_CONTRIBUTION, memory);
	return !slot->frame.codec && !slot->frame.payload_has_crc &&
	       (slot->frame.kind == WIRE_CONTRIBUTION || x->plan.local_ranks == 1);
}

static void to_slot(struct slot *slot)
{
	memcpy(slot->memory, slot->at, slot->frame.payload_bytes);
	slot->at = slot->memory;
}

/* What stayed where it arrived is read: by a sum, if that can be made now. */
static void read_at_once(struct exchange *x, struct slot *slot)
{
	const struct wire_frame *f = &slot->frame;

	if (slot->state != SLOT_HELD || slot->at == slot->memory)
		return;
	if (!slot->counted || !exchange_close(x, exchange_op(x, f->seq), f->chunk))
		to_slot(slot);
}

static void final_arrived(struct exchange *x, struct op *op, uint16_t node, struct slot *slot)
{
	const struct wire_frame *f = &slot->frame;

	if (!final_fits(x, op, node, f)) {
		exchange_note_bad(x, node, f->seq);
		exchange_slot_release(x, node, slot);
		return;
	}
	op->chunks[f->chunk - op->first].final_here = true;
	if (op->coded)
		take_coded(x, op, node, slot);
	else if (!take_final(x, op, node, slot))
		x->finals_held++;
}

static void take(struct exchange *x, uint16_t node, struct slot *slot)
{
	const struct wire_frame *frame = &slot->frame;
	struct op *op = exchange_op(x, frame->seq);

	if (exchange_seq_over(x, frame->seq)) {
		exchange_slot_release(x, node, slot);
		return;
	}
	if (frame->kind == WIRE_FINAL) {
		final_arrived(x, op, node, slot);
		return;
	}
	if (!op || !op->posted || op->waiting)
		return;
	if (call_differs(op, frame))
		exchange_note_mismatch(x, op, frame);
	else if (op->state == OP_RUNNING)
		count_contribution(x, op, node, slot);
}

void exchange_arrived(struct exchange *x, uint16_t node, const struct wire_frame *frame,
		      void *memory, unsigned char *payload)
{
	struct slot *slot = slot_at(x, node, frame->kind, memory);
	const struct op *op = exchange_op(x, frame->seq);

	assert(payload);
	slot->state = SLOT_HELD;
	slot->at = payload;
	if (op && op->coded && slot->at != slot->memory)
		to_slot(slot);
	take(x, node, slot);
	read_at_once(x, slot);
}

void exchange_damaged(struct exchange *x, uint16_t node, const struct wire_frame *frame,
		      void *memory)
{
	exchange_slot_release(x, node, slot_at(x, node, frame->kind, memory));
	if (!exchange_seq_over(x, frame->seq))
		exchange_note_trouble(x, &(struct exchange_trouble){.kind = EXCHANGE_DAMAGED,
								    .seq = frame->seq,
								    .node = node});
}

bool exchange_retry_finals(struct exchange *x)
{
	bool done = false;

	for (uint16_t n = 0; x->finals_held && n < x->plan.nodes; n++) {
		struct slot *slots = x->nodes[n].finals;

		for (uint32_t i = 0; n != x->plan.node && i < exchange_slots(&x->plan); i++) {
			struct slot *slot = &slots[i];

			if (slot->state != SLOT_HELD ||
			    !take_final(x, exchange_op(x, slot->frame.seq), n, slot))
				continue;
			x->finals_held--;
			done = true;
		}
	}
	return done;
}

static void drop_slots(struct exchange *x, uint16_t node, struct slot *slots)
{
	for (uint32_t i = 0; i < exchange_slots(&x->plan); i++) {
		struct slot *slot = &slots[i];

		if (slot->state != SLOT_HELD || !exchange_seq_over(x, slot->frame.seq))
			continue;
		if (slot->frame.kind == WIRE_FINAL)
			x->finals_held--;
		exchange_slot_release(x, node, slot);
	}
}

void exchange_drop_slots(struct exchange *x)
{
	for (uint16_t n = 0; n < x->plan.nodes; n++) {
		if (n == x->plan.node)
			continue;
		drop_slots(x, n, x->nodes[n].contributions);
		drop_slots(x, n, x->nodes[n].finals);
	}
}
