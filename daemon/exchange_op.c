/*
 * exchange_op.c - ops as their ranks see them: posts, leases that they wait for, mismatches,
 * completions; see exchange.h.
 */
#include "daemon/exchange_state.h"

#include <assert.h>
#include <string.h>

#include "proto/shm.h"

static_assert(SHM_ALONE_BYTES / OP_BLOCK < OP_CHUNKS_MAX / WIRE_LANES_MAX,
	      "a lane has room for all chunks of what is one lane's alone");
static_assert(EXCHANGE_OPS_MAX <= 64 && EXCHANGE_LOCAL_MAX <= 64, "a bit each in a word");

struct tensor_op exchange_tensor_op(const struct op *op)
{
	return (struct tensor_op){
		.seq = op->seq,
		.tensor = op->tensor,
		.chunks = op->geometry.chunks,
		.lanes = op->lanes,
		.weight = op->weight,
		.discard = op->call.discard,
	};
}

bool exchange_open(const struct exchange *x, uint64_t seq)
{
	const struct op *op = exchange_op(x, seq);

	return op && op->state == OP_RUNNING;
}

/*
 * An op's place is free again once every rank that posted it has its completion and
 * done_through has passed it (ops may be over out of order).
 */
void exchange_op_retire(struct exchange *x, struct op *op)
{
	if (op->seq > x->done_through)
		return;
	for (uint32_t r = 0; r < x->plan.local_ranks; r++)
		if (op->ranks[r].posted && !op->ranks[r].reported)
			return;
	op->state = OP_FREE;
}

/* The op is over: its completions may be taken. */
static void op_finish(struct exchange *x, struct op *op, enum op_state state, int error)
{
	struct tensor_op tensor_op = exchange_tensor_op(op);

	if (op->entered)
		tensor_leave(&tensor_op, &op->turn, state == OP_DONE && !op->nonfinite);
	op->entered = false;
	op->state = state;
	op->error = error;
	x->finished |= 1ull << (op->seq % EXCHANGE_OPS_MAX);
	exchange_advance(x);
}

void exchange_op_check_over(struct exchange *x, struct op *op)
{
	if (op->state == OP_RUNNING && op->remaining == 0)
		op_finish(x, op, OP_DONE, 0);
}

void exchange_op_end(struct exchange *x, struct op *op, int error)
{
	if (op->mismatch_pending)
		x->mismatches_pending--;
	op->mismatch_pending = false;
	exchange_shared_end(x, op->seq);
	op_finish(x, op, OP_ENDED, error);
}

static void op_begin(struct exchange *x, struct op *op, uint64_t seq)
{
	struct op_rank *ranks = op->ranks;
	struct op_chunk *chunks = op->chunks;

	*op = (struct op){.state = OP_OPEN, .seq = seq, .ranks = ranks, .chunks = chunks};
	memset(ranks, 0, x->plan.local_ranks * sizeof(*ranks));
}

/* By what it goes, if its tensor leaves the choice to the group. */
static const struct tensor *chosen(struct exchange *x, struct op *op)
{
	const struct tensor *t = op->call.tensor;
	uint8_t size_class;

	if (!t || !t->alternatives)
		return t;
	size_class =
		choice_size_class(op->call.count * vec_type_bytes((enum vec_type)op->call.type));
	op->alternative = choices_at(&x->choices, t->digest, size_class, op->seq);
	if (op->alternative >= t->alternatives)
		op->alternative = 0; /* the chooser thinks of another list; all nodes do this */
	return t->alternative[op->alternative];
}

bool exchange_choice(const struct exchange *x, uint64_t seq, struct choice_sample *out)
{
	const struct op *op = exchange_op(x, seq);
	const struct tensor *t = op ? op->call.tensor : NULL;

	if (!t || !t->alternatives || x->plan.nodes == 1 || op->waiting || op->trouble ||
	    op->turn.once)
		return false;
	*out = (struct choice_sample){
		.seq = seq,
		.bytes = op->call.count * vec_type_bytes((enum vec_type)op->call.type),
		.list = t->digest,
		.alternative = op->alternative,
		.alternatives = t->alternatives,
	};
	out->size_class = choice_size_class(out->bytes);
	return true;
}

/* How it goes over the wire.  Return: the state is in use by another op. */
static bool op_enter(struct exchange *x, struct op *op)
{
	struct tensor_op tensor_op;

	/* What goes to nobody else is not encoded. */
	op->tensor = x->plan.nodes > 1 ? chosen(x, op) : NULL;
	op->coded = op->tensor != NULL;
	if (!op->tensor || !op->tensor->state)
		return false;
	tensor_op = exchange_tensor_op(op);
	op->entered = tensor_enter(&tensor_op, &op->turn);
	op->coded = !op->turn.plain;
	return !op->entered;
}

/* The first call of an op decides how it is cut.  Return: 0, or why it cannot succeed. */
static enum exchange_trouble_kind op_set_call(struct exchange *x, struct op *op)
{
	const struct op_call *call = &op->call;
	const struct exchange_plan *plan = &x->plan;
	enum vec_type type = (enum vec_type)call->type;
	uint16_t forced = call->schedule ? call->schedule : plan->schedule;
	bool busy;

	op->lanes = shm_op_lanes(call->count * vec_type_bytes(type), plan->lanes);
	assert(plan->lane < op->lanes); /* else it is passed */
	busy = op_enter(x, op);
	op->sched =
		sched_choose(op->coded ? sched_direct.id : forced,
			     call->count * vec_type_bytes(type), plan->nodes, plan->flat_bytes_max);
	op->geometry = op_geometry(call->count, type, plan->nodes,
				   op_chunk_bytes_usual(op->sched, plan->chunk_bytes_usual),
				   plan->chunk_bytes_max, op->coded ? &op->tensor->coding : NULL);
	/* Nodes whose state is not of the same ops must not go on as if it were. */
	op->digest = wire_call_digest(call->op, call->type, call->reduce, call->count, call->key,
				      op_call_coding(call, op->tensor, &op->turn), op->sched->id);
	if (!op->geometry.chunks)
		return EXCHANGE_TOO_BIG;
	op->first = op_lane_first(op->geometry.chunks, plan->lane, op->lanes);
	op->last = op_lane_first(op->geometry.chunks, plan->lane + 1u, op->lanes);
	op->remaining = op->last - op->first;
	memset(op->chunks, 0, op->remaining * sizeof(*op->chunks));
	return busy ? EXCHANGE_BUSY : EXCHANGE_NO_TROUBLE;
}

/* Each op tells of its first mismatch only. */
static struct exchange_mismatch *new_mismatch(struct exchange *x, struct op *op)
{
	struct exchange_mismatch *m = &x->mismatches[op->seq % EXCHANGE_OPS_MAX];

	if (op->mismatched)
		return NULL;
	op->mismatched = op->mismatch_pending = true;
	x->mismatches_pending++;
	*m = (struct exchange_mismatch){.seq = op->seq, .ours = op->call};
	if (op->sched)
		m->ours.schedule = op->sched->id;
	return m;
}

void exchange_note_mismatch(struct exchange *x, struct op *op, const struct wire_frame *frame)
{
	struct exchange_mismatch *m = new_mismatch(x, op);

	if (!m)
		return;
	m->theirs = (struct op_call){.key = frame->key,
				     .count = frame->count,
				     .op = frame->op,
				     .type = frame->type,
				     .reduce = frame->reduce,
				     .schedule = frame->schedule,
				     .codec = frame->codec,
				     .feedback = frame->feedback};
	if (frame->flags & WIRE_FLAG_AUTO) {
		m->theirs.codec = WIRE_CODEC_AUTO; /* whatever they have just gone by */
		m->theirs.feedback = op->call.feedback;
	}
	m->their_node = frame->node;
}

static void note_local_mismatch(struct exchange *x, struct op *op, uint32_t local_rank,
				const struct op_call *call)
{
	struct exchange_mismatch *m = new_mismatch(x, op);

	if (!m)
		return;
	while (!op->ranks[m->our_rank].posted || m->our_rank == local_rank)
		m->our_rank++;
	m->ours.schedule = op->call.schedule;
	m->theirs = *call;
	m->local = true;
	m->their_rank = local_rank;
}

void exchange_note_trouble(struct exchange *x, const struct exchange_trouble *trouble)
{
	struct exchange_trouble *t = &x->troubles[trouble->seq % EXCHANGE_TROUBLES_MAX];

	if (t->seq)
		return; /* told in a moment */
	*t = *trouble;
	x->troubles_pending++;
}

static void note_call(struct exchange *x, const struct op *op, uint32_t local_rank,
		      enum exchange_trouble_kind kind)
{
	exchange_note_trouble(x, &(struct exchange_trouble){
					 .kind = kind,
					 .seq = op->seq,
					 .call = op->call,
					 .local_rank = local_rank,
					 .count_max = op->geometry.count_max,
				 });
}

/* All local ranks are in: contributions may leave, and those that came early count. */
static void op_run(struct exchange *x, struct op *op)
{
	op->state = OP_RUNNING;
	op->weight = 0;
	for (uint32_t r = 0; r < x->plan.local_ranks; r++)
		op->weight += op->ranks[r].weight / (float)x->plan.local_ranks;
	exchange_count_early(x, op);
	exchange_op_check_over(x, op);
}

static void op_run_if_ready(struct exchange *x, struct op *op)
{
	if (op->posted == x->plan.local_ranks && !op->waiting && !op->mismatched && !op->trouble)
		op_run(x, op);
}

/* What follows from its call.  Return: false: it cannot succeed. */
static bool op_settle(struct exchange *x, struct op *op, uint32_t local_rank)
{
	enum exchange_trouble_kind trouble = op_set_call(x, op);

	op->trouble = (uint8_t)trouble;
	exchange_compare_early(x, op);
	if (trouble != EXCHANGE_NO_TROUBLE)
		note_call(x, op, local_rank, trouble);
	return trouble == EXCHANGE_NO_TROUBLE;
}

static bool needs_lease(const struct exchange *x, const struct op *op)
{
	const struct tensor *t = op->call.tensor;

	return t && t->alternatives && x->plan.nodes > 1 && op->seq > x->choices.through;
}

/* The rank comes to an op that has been ended: it only needs to hear of it. */
static enum exchange_posted post_ended(struct exchange *x, uint32_t local_rank, uint64_t seq,
				       uint64_t work, int error)
{
	uint64_t number = x->failed_tail[local_rank];

	if (number - x->failed_head[local_rank] == EXCHANGE_OPS_MAX)
		return EXCHANGE_POST_WINDOW;
	x->failed[local_rank * EXCHANGE_OPS_MAX + number % EXCHANGE_OPS_MAX] =
		(struct failed){.seq = seq, .work = work, .error = error};
	x->failed_tail[local_rank]++;
	x->failing |= 1ull << local_rank;
	exchange_note_posted(x, local_rank, seq);
	exchange_advance(x);
	return EXCHANGE_POSTED;
}

bool exchange_pass(struct exchange *x, uint32_t local_rank, uint64_t seq)
{
	if (seq != x->posted[local_rank] + 1)
		return false;
	exchange_note_posted(x, local_rank, seq);
	exchange_advance(x);
	return true;
}

enum exchange_posted exchange_post(struct exchange *x, uint32_t local_rank, uint64_t seq,
				   const struct op_call *call, const struct exchange_rank *rank)
{
	const struct ended *ended = exchange_ended(x, seq);
	struct op *op = &x->ops[seq % EXCHANGE_OPS_MAX];

	if (seq != x->posted[local_rank] + 1)
		return EXCHANGE_POST_ORDER;
	if (ended)
		return post_ended(x, local_rank, seq, rank->work, ended->error);
	if (op->state == OP_FREE)
		op_begin(x, op, seq);
	else if (op->seq != seq)
		return EXCHANGE_POST_WINDOW;

	op->ranks[local_rank] = (struct op_rank){.in = rank->in,
						 .out = rank->out,
						 .work = rank->work,
						 .weight = rank->weight,
						 .posted = true};
	exchange_note_posted(x, local_rank, seq);
	op->posted++;
	if (op->posted == 1) {
		op->call = *call;
		op->waiting = needs_lease(x, op);
		if (!op->waiting && !op_settle(x, op, local_rank))
			return EXCHANGE_POST_TROUBLE;
	}
	if (!op_call_same(&op->call, call)) {
		note_local_mismatch(x, op, local_rank, call);
		return EXCHANGE_POST_MISMATCH;
	}
	op_run_if_ready(x, op);
	return EXCHANGE_POSTED;
}

bool exchange_waits_for_lease(const struct exchange *x, uint64_t seq)
{
	const struct op *op = exchange_op(x, seq);

	return op && op->waiting && !op_over(op);
}

/* The first op that waits; NULL: none does.  It may be far beyond done_through: others passed. */
static struct op *waiting_op(struct exchange *x)
{
	struct op *first = NULL;

	for (uint32_t i = 0; i < EXCHANGE_OPS_MAX; i++) {
		struct op *op = &x->ops[i];

		if (op->state != OP_FREE && op->waiting && !op_over(op) &&
		    (!first || op->seq < first->seq))
			first = op;
	}
	return first;
}

bool exchange_lease(struct exchange *x, const struct choice_lease *lease)
{
	struct op *op = waiting_op(x);

	if (!choices_add(&x->choices, lease, op ? op->seq : x->posted_by_any + 1))
		return false;
	for (; op && op->seq <= lease->through; op = waiting_op(x)) {
		uint32_t first = 0;

		while (!op->ranks[first].posted)
			first++;
		op->waiting = false;
		if (op_settle(x, op, first))
			op_run_if_ready(x, op);
	}
	return true;
}

uint64_t exchange_rank_leave(struct exchange *x, uint32_t local_rank)
{
	x->left[local_rank] = true;
	exchange_note_posted(x, local_rank, x->posted[local_rank]);
	exchange_advance(x);
	return x->posted[local_rank];
}

bool exchange_rank_busy(const struct exchange *x, uint32_t local_rank)
{
	if (x->arena_frames)
		return true;
	for (uint32_t i = 0; i < EXCHANGE_OPS_MAX; i++) {
		const struct op *op = &x->ops[i];

		if (op->state != OP_FREE && op->ranks[local_rank].posted &&
		    !op->ranks[local_rank].reported)
			return true;
	}
	return false;
}

static bool take_finished(struct exchange *x, struct exchange_completion *out)
{
	for (; x->finished; x->finished &= x->finished - 1) {
		struct op *op = &x->ops[__builtin_ctzll(x->finished)];

		for (uint32_t r = 0; op_over(op) && r < x->plan.local_ranks; r++) {
			struct op_rank *rank = &op->ranks[r];

			if (!rank->posted || rank->reported)
				continue;
			rank->reported = true;
			*out = (struct exchange_completion){
				.local_rank = r,
				.work = rank->work,
				.seq = op->seq,
				.error = op->error,
				.wire_bytes = op->wire_bytes,
				.nonfinite = op->nonfinite,
				.culprit = op->culprit,
			};
			exchange_op_retire(x, op);
			return true;
		}
	}
	return false;
}

static bool take_failed(struct exchange *x, struct exchange_completion *out)
{
	for (; x->failing; x->failing &= x->failing - 1) {
		uint32_t r = (uint32_t)__builtin_ctzll(x->failing);
		uint64_t number = x->failed_head[r];
		const struct failed *failed =
			&x->failed[r * EXCHANGE_OPS_MAX + number % EXCHANGE_OPS_MAX];

		if (number == x->failed_tail[r])
			continue;
		x->failed_head[r]++;
		*out = (struct exchange_completion){
			.local_rank = r,
			.work = failed->work,
			.seq = failed->seq,
			.error = failed->error,
		};
		return true;
	}
	return false;
}

bool exchange_completion(struct exchange *x, struct exchange_completion *out)
{
	return take_finished(x, out) || take_failed(x, out);
}

bool exchange_take_mismatch(struct exchange *x, struct exchange_mismatch *out)
{
	for (uint32_t i = 0; x->mismatches_pending && i < EXCHANGE_OPS_MAX; i++) {
		if (!x->ops[i].mismatch_pending)
			continue;
		x->ops[i].mismatch_pending = false;
		x->mismatches_pending--;
		*out = x->mismatches[i];
		return true;
	}
	return false;
}

bool exchange_take_trouble(struct exchange *x, struct exchange_trouble *out)
{
	for (uint32_t i = 0; x->troubles_pending && i < EXCHANGE_TROUBLES_MAX; i++) {
		if (!x->troubles[i].seq)
			continue;
		*out = x->troubles[i];
		x->troubles[i].seq = 0;
		x->troubles_pending--;
		return true;
	}
	return false;
}

bool exchange_take_bad(struct exchange *x, uint16_t *node, uint64_t *seq)
{
	for (uint16_t n = 0; x->bad_pending && n < x->plan.nodes; n++) {
		if (!x->nodes[n].bad_pending)
			continue;
		x->nodes[n].bad_pending = false;
		x->bad_pending--;
		*node = n;
		*seq = x->nodes[n].bad_seq;
		return true;
	}
	return false;
}
