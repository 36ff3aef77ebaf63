/*
 * exchange.c - life of an exchange and of its ops; see exchange.h.
 *
 * All memory is one lazily populated mapping, laid out by exchange_layout(), which also
 * gives exchange_memory(): the account cannot differ from what is mapped.
 */
#include "daemon/exchange.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/exchange_state.h"

enum {
	SLOTS_BUDGET = 64, /* slots a class, shared among the other nodes  */
	SLOTS_MIN = 2,
	SLOTS_MAX = 8,
	BUFFERS = 16,
	CHUNK_BYTES_LEAST = 64 << 10, /* of chunk_bytes_max, so that big tensors fit */
	CHUNK_BYTES_MOST = 512 << 10,
};

/* Takes pieces from a mapping one after the other; with base NULL it only counts. */
struct carver {
	unsigned char *base;
	size_t used;
};

static void *carve(struct carver *c, size_t count, size_t bytes, size_t align)
{
	size_t at = (c->used + align - 1) / align * align;

	c->used = at + count * bytes;
	return c->base ? c->base + at : NULL;
}

static void carve_pool(struct carver *c, struct pool *pool, const struct exchange_plan *plan)
{
	unsigned char *memory = carve(c, plan->buffers, plan->chunk_bytes_max, 4096);

	pool->all = carve(c, plan->buffers, sizeof(*pool->all), 64);
	pool->free = NULL;
	for (uint32_t i = 0; c->base && i < plan->buffers; i++) {
		struct buffer *buffer = &pool->all[i];

		buffer->pool = pool;
		buffer->memory = memory + (size_t)i * plan->chunk_bytes_max;
		buffer->next = pool->free;
		pool->free = buffer;
	}
}

static struct slot *carve_slots(struct carver *c, const struct exchange_plan *plan)
{
	unsigned char *memory = carve(c, plan->slots, plan->chunk_bytes_max, 4096);
	struct slot *slots = carve(c, plan->slots, sizeof(*slots), 64);

	for (uint32_t i = 0; c->base && i < plan->slots; i++)
		slots[i].memory = memory + (size_t)i * plan->chunk_bytes_max;
	return slots;
}

/* Lay x out in `base` (NULL: only count).  Return: bytes. */
static size_t exchange_layout(struct exchange *x, const struct exchange_plan *plan, void *base)
{
	struct carver c = { .base = base };
	size_t chunks = OP_CHUNKS_MAX / plan->lanes + 1u;
	struct op *ops = carve(&c, EXCHANGE_OPS_MAX, sizeof(*ops), 64);
	struct op_rank *ranks = carve(&c, (size_t)EXCHANGE_OPS_MAX * plan->local_ranks,
				      sizeof(*ranks), 64);
	struct op_chunk *states = carve(&c, EXCHANGE_OPS_MAX * chunks, sizeof(*states), 4096);

	x->ops = ops;
	for (size_t i = 0; base && i < EXCHANGE_OPS_MAX; i++) {
		ops[i].ranks = ranks + i * plan->local_ranks;
		ops[i].chunks = states + i * chunks;
	}
	x->nodes = carve(&c, plan->nodes, sizeof(*x->nodes), 64);
	x->queue = carve(&c, plan->buffers, sizeof(*x->queue), 64);
	x->inputs = carve(&c, plan->nodes + (size_t)EXCHANGE_LOCAL_MAX, sizeof(*x->inputs), 64);
	x->scratch = carve(&c, 1, plan->chunk_bytes_max, 4096);
	carve_pool(&c, &x->contribution_pool, plan);
	carve_pool(&c, &x->final_pool, plan);
	for (uint32_t n = 0; n < plan->nodes; n++) {
		struct slot *contributions, *finals;

		if (n == plan->node)
			continue;
		contributions = carve_slots(&c, plan);
		finals = carve_slots(&c, plan);
		if (!base)
			continue;
		x->nodes[n].contributions = contributions;
		x->nodes[n].finals = finals;
	}
	return (c.used + 4095) / 4096 * 4096;
}

uint64_t exchange_memory(const struct exchange_plan *plan)
{
	struct exchange x;

	return exchange_layout(&x, plan, NULL) + sizeof(x);
}

int exchange_plan_size(struct exchange_plan *plan, uint64_t inflight_bytes, struct err *err)
{
	uint32_t others = plan->nodes > 1 ? plan->nodes - 1u : 1u;
	uint32_t slots = SLOTS_BUDGET / others;
	bool agreed = plan->chunk_bytes_max != 0;

	plan->slots = slots < SLOTS_MIN ? SLOTS_MIN : slots > SLOTS_MAX ? SLOTS_MAX : slots;
	plan->buffers = BUFFERS;
	if (!agreed)
		plan->chunk_bytes_max = CHUNK_BYTES_MOST;
	while (!agreed && plan->chunk_bytes_max > CHUNK_BYTES_LEAST &&
	       exchange_memory(plan) * plan->lanes > inflight_bytes)
		plan->chunk_bytes_max /= 2;

	if (exchange_memory(plan) * plan->lanes > inflight_bytes)
		return err_set(err, -ENOMEM,
			       "a group of %u nodes with %u lanes needs %llu bytes of slots and buffers, "
			       "limits.inflight_bytes allows %llu",
			       plan->nodes, plan->lanes,
			       (unsigned long long)exchange_memory(plan) * plan->lanes,
			       (unsigned long long)inflight_bytes);
	return 0;
}

int exchange_new(struct exchange **out, const struct exchange_plan *plan, struct err *err)
{
	struct exchange *x = calloc(1, sizeof(*x));
	size_t bytes;

	assert(plan->slots >= 1 && plan->buffers >= 2 && plan->local_ranks >= 1 &&
	       plan->local_ranks <= EXCHANGE_LOCAL_MAX && plan->node < plan->nodes);
	if (!x)
		return err_set(err, -ENOMEM, "no memory for a group's exchange");

	bytes = exchange_layout(x, plan, NULL);
	x->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (x->memory == MAP_FAILED) {
		free(x);
		return err_set(err, -ENOMEM, "cannot map %zu bytes of slots and buffers", bytes);
	}
	x->memory_bytes = bytes;
	(void)exchange_layout(x, plan, x->memory);
	x->plan = *plan;
	x->ended_from = UINT64_MAX;
	x->closing.seq = 1;
	for (uint32_t n = 0; n < plan->nodes; n++) {
		struct exchange_node *node = &x->nodes[n];

		node->contributed.seq = 1;
		node->granted_contribution = node->announced_contribution = plan->slots;
		node->granted_final = node->announced_final = plan->slots;
		node->credit_contribution = node->credit_final = plan->slots;
	}
	*out = x;
	return 0;
}

void exchange_free(struct exchange *x)
{
	if (!x)
		return;
	assert(exchange_idle(x));
	(void)munmap(x->memory, x->memory_bytes);
	free(x);
}

const struct exchange_plan *exchange_plan(const struct exchange *x)
{
	return &x->plan;
}

uint64_t exchange_done_through(const struct exchange *x)
{
	return x->done_through;
}

bool exchange_idle(const struct exchange *x)
{
	/* An op that a rank posted before it died goes on, for the others' sake. */
	for (uint32_t i = 0; i < EXCHANGE_OPS_MAX; i++)
		if (x->ops[i].state != OP_FREE && !op_over(&x->ops[i]))
			return false;
	return x->frames_out == 0 && x->queue_head == x->queue_tail;
}

bool exchange_seq_over(const struct exchange *x, uint64_t seq)
{
	const struct op *op = exchange_op(x, seq);

	if (seq <= x->done_through || seq >= x->ended_from)
		return true;
	return op && op_over(op);
}

bool exchange_open(const struct exchange *x, uint64_t seq)
{
	const struct op *op = exchange_op(x, seq);

	return op && op->state == OP_RUNNING;
}

/*
 * An op's place is free again once every rank that posted it has its completion, all
 * others left, and done_through has passed it (ops may end out of order).
 */
static void op_retire(struct exchange *x, struct op *op)
{
	if (op->seq > x->done_through)
		return;
	for (uint32_t r = 0; r < x->plan.local_ranks; r++) {
		const struct op_rank *rank = &op->ranks[r];

		if (rank->posted ? !rank->reported : !x->left[r])
			return;
	}
	op->state = OP_FREE;
}

void exchange_advance(struct exchange *x)
{
	for (;;) {
		uint64_t seq = x->done_through + 1;
		struct op *op = exchange_op(x, seq);

		if (!op || !op_over(op))
			return;
		x->done_through = seq;
		op_retire(x, op);
	}
}

/* The op is over: its completions may be taken. */
static void op_finish(struct exchange *x, struct op *op, enum op_state state, int error)
{
	op->state = state;
	op->error = error;
	x->completions++;
	exchange_advance(x);
}

void exchange_op_check_over(struct exchange *x, struct op *op)
{
	if (op->state == OP_RUNNING && op->remaining == 0)
		op_finish(x, op, OP_DONE, 0);
}

static void op_begin(struct exchange *x, struct op *op, uint64_t seq)
{
	struct op_rank *ranks = op->ranks;
	struct op_chunk *chunks = op->chunks;

	*op = (struct op){ .state = OP_OPEN, .seq = seq, .ranks = ranks, .chunks = chunks };
	memset(ranks, 0, x->plan.local_ranks * sizeof(*ranks));
}

/* The first call of an op decides how it is cut.  Return: false if it has too many chunks. */
static bool op_set_call(struct exchange *x, struct op *op, const struct op_call *call)
{
	const struct exchange_plan *plan = &x->plan;
	enum vec_type type = (enum vec_type)call->type;
	uint16_t forced = call->schedule ? call->schedule : plan->schedule;

	op->call = *call;
	op->sched = sched_choose(forced, call->count * vec_type_bytes(type), plan->nodes,
				 plan->flat_bytes_max);
	op->geometry = op_geometry(call->count, type, plan->nodes, plan->chunk_bytes_max);
	op->digest = wire_call_digest(call->op, call->type, call->reduce, call->count, call->key,
				      0, 0, op->sched->id);
	if (!op->geometry.chunks)
		return false;
	op->first = op_lane_first(op->geometry.chunks, plan->lane, plan->lanes);
	op->last = op_lane_first(op->geometry.chunks, plan->lane + 1u, plan->lanes);
	op->remaining = op->last - op->first;
	memset(op->chunks, 0, op->remaining * sizeof(*op->chunks));
	return true;
}

/* Each op tells of its first mismatch only. */
static struct exchange_mismatch *new_mismatch(struct exchange *x, struct op *op)
{
	struct exchange_mismatch *m = &x->mismatches[op->seq % EXCHANGE_OPS_MAX];

	if (op->mismatched)
		return NULL;
	op->mismatched = op->mismatch_pending = true;
	x->mismatches_pending++;
	*m = (struct exchange_mismatch){ .seq = op->seq, .ours = op->call };
	m->ours.schedule = op->sched->id;
	return m;
}

void exchange_note_mismatch(struct exchange *x, struct op *op, const struct wire_frame *frame)
{
	struct exchange_mismatch *m = new_mismatch(x, op);

	if (!m)
		return;
	m->theirs = (struct op_call){ .key = frame->key,
				      .count = frame->count,
				      .op = frame->op,
				      .type = frame->type,
				      .reduce = frame->reduce,
				      .schedule = frame->schedule };
	m->their_node = frame->node;
}

static void note_local_mismatch(struct exchange *x, struct op *op, uint32_t local_rank,
				const struct op_call *call)
{
	struct exchange_mismatch *m = new_mismatch(x, op);

	if (!m)
		return;
	while (!op->ranks[m->our_rank].posted)
		m->our_rank++;
	m->ours.schedule = op->call.schedule;
	m->theirs = *call;
	m->local = true;
	m->their_rank = local_rank;
}

/* All local ranks are in: contributions may leave, and those that came early count. */
static void op_run(struct exchange *x, struct op *op)
{
	op->state = OP_RUNNING;
	exchange_count_early(x, op);
	exchange_op_check_over(x, op);
}

/* The place for seq, begun if it is new; NULL if it is out of the window. */
static struct op *op_place(struct exchange *x, uint64_t seq)
{
	struct op *op = &x->ops[seq % EXCHANGE_OPS_MAX];

	if (op->state != OP_FREE)
		return op->seq == seq ? op : NULL;
	op_begin(x, op, seq);
	return op;
}

enum exchange_posted exchange_post(struct exchange *x, uint32_t local_rank, uint64_t seq,
				   const struct op_call *call, const void *in, void *out,
				   uint64_t work)
{
	struct op *op = op_place(x, seq);
	struct op_rank *rank;

	if (!op)
		return EXCHANGE_POST_WINDOW;
	rank = &op->ranks[local_rank];
	if (seq != x->posted[local_rank] + 1 || rank->posted)
		return EXCHANGE_POST_WINDOW;

	*rank = (struct op_rank){ .in = in, .out = out, .work = work, .posted = true };
	x->posted[local_rank] = seq;
	op->posted++;
	if (op_over(op)) {
		x->completions++;
		return EXCHANGE_POSTED;
	}
	if (seq >= x->ended_from) {
		op_finish(x, op, OP_ENDED, x->ended_error);
		return EXCHANGE_POSTED;
	}
	if (op->posted == 1) {
		if (!op_set_call(x, op, call)) {
			op_finish(x, op, OP_ENDED, -EFBIG);
			return EXCHANGE_POST_TOO_BIG;
		}
		exchange_compare_early(x, op);
	}
	if (!op_call_same(&op->call, call)) {
		note_local_mismatch(x, op, local_rank, call);
		return EXCHANGE_POST_MISMATCH;
	}
	if (op->posted == x->plan.local_ranks && !op->mismatched)
		op_run(x, op);
	return EXCHANGE_POSTED;
}

uint64_t exchange_rank_leave(struct exchange *x, uint32_t local_rank)
{
	x->left[local_rank] = true;
	for (uint32_t i = 0; i < EXCHANGE_OPS_MAX; i++)
		if (op_over(&x->ops[i]))
			op_retire(x, &x->ops[i]);
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

bool exchange_completion(struct exchange *x, struct exchange_completion *out)
{
	if (!x->completions)
		return false;

	for (uint32_t i = 0; i < EXCHANGE_OPS_MAX; i++) {
		struct op *op = &x->ops[i];

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
			};
			op_retire(x, op);
			return true;
		}
	}
	x->completions = 0;
	return false;
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

bool exchange_take_bad(struct exchange *x, uint16_t *node, uint64_t *seq)
{
	if (!x->bad_set)
		return false;
	x->bad_set = false;
	*node = x->bad_node;
	*seq = x->bad_seq;
	return true;
}

/*
 * Finals of ops that ended are not sent any more, also of those that are complete here:
 * whoever lacks them has ended them.
 */
static void cancel_finals(struct exchange *x, uint64_t first, uint64_t last)
{
	for (uint64_t n = x->queue_head; n < x->queue_tail; n++) {
		struct final *final = &x->queue[n % x->plan.buffers];

		if (final->frame.seq >= first && final->frame.seq <= last)
			final->cancelled = true;
	}
}

void exchange_end(struct exchange *x, uint64_t first_seq, uint64_t last_seq, int error)
{
	if (last_seq == UINT64_MAX && first_seq < x->ended_from) {
		x->ended_from = first_seq;
		x->ended_error = error;
	} else if (last_seq - first_seq < EXCHANGE_OPS_MAX) {
		/* Ops that nobody here has posted yet must fail too when somebody does. */
		for (uint64_t seq = first_seq; seq <= last_seq; seq++)
			if (seq > x->done_through && seq <= x->done_through + EXCHANGE_OPS_MAX)
				(void)op_place(x, seq);
	}

	for (uint32_t i = 0; i < EXCHANGE_OPS_MAX; i++) {
		struct op *op = &x->ops[i];

		if (op->state == OP_FREE || op_over(op) || op->seq < first_seq ||
		    op->seq > last_seq)
			continue;
		if (op->mismatch_pending)
			x->mismatches_pending--;
		op->mismatch_pending = false;
		op_finish(x, op, OP_ENDED, error);
	}
	exchange_drop_slots(x, first_seq, last_seq);
	cancel_finals(x, first_seq, last_seq);
}
