/*
 * exchange.c - life of an exchange, and its memory; see exchange.h.
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
	WIDE_BUDGET = 32, /* the same, with slots_more: at least what there is without */
	WIDE_MAX = 16,
	BUFFERS = 16,
	CHUNK_BYTES_LEAST = 64 << 10, /* of chunk_bytes_max, so that big tensors fit */
	CHUNK_BYTES_MOST = 1 << 20,   /* usual ones have chunk_bytes_usual              */
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
	uint32_t count = exchange_slots(plan);
	unsigned char *memory = carve(c, count, plan->chunk_bytes_max, 4096);
	struct slot *slots = carve(c, count, sizeof(*slots), 64);

	for (uint32_t i = 0; c->base && i < count; i++)
		slots[i].memory = memory + (size_t)i * plan->chunk_bytes_max;
	return slots;
}

/* Lay x out in `base` (NULL: only count).  Return: bytes. */
static size_t exchange_layout(struct exchange *x, const struct exchange_plan *plan, void *base)
{
	struct carver c = {.base = base};
	size_t chunks = OP_CHUNKS_MAX / plan->lanes + 1u;
	struct op *ops = carve(&c, EXCHANGE_OPS_MAX, sizeof(*ops), 64);
	struct op_rank *ranks =
		carve(&c, (size_t)EXCHANGE_OPS_MAX * plan->local_ranks, sizeof(*ranks), 64);
	struct op_chunk *states = carve(&c, EXCHANGE_OPS_MAX * chunks, sizeof(*states), 4096);

	x->ops = ops;
	for (size_t i = 0; base && i < EXCHANGE_OPS_MAX; i++) {
		ops[i].ranks = ranks + i * plan->local_ranks;
		ops[i].chunks = states + i * chunks;
	}
	x->ends = carve(&c, EXCHANGE_ENDS_MAX, sizeof(*x->ends), 64);
	x->failed = carve(&c, (size_t)EXCHANGE_OPS_MAX * plan->local_ranks, sizeof(*x->failed), 64);
	x->nodes = carve(&c, plan->nodes, sizeof(*x->nodes), 64);
	x->queue = carve(&c, plan->buffers, sizeof(*x->queue), 64);
	x->inputs = carve(&c, plan->nodes + (size_t)EXCHANGE_LOCAL_MAX, sizeof(*x->inputs), 64);
	x->scratch = carve(&c, 1, plan->chunk_bytes_max, 4096);
	x->result = carve(&c, 1, plan->chunk_bytes_max, 4096);
	if (plan->nodes > 1) {
		x->message = carve(&c, 1, plan->chunk_bytes_max, 4096);
		x->values = carve(&c, 1, plan->chunk_bytes_max, 4096);
		x->work = carve(&c, 1, coding_work_bytes(plan->chunk_bytes_max), 4096);
	}
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
	uint32_t slots = SLOTS_BUDGET / others, wide = WIDE_BUDGET / others;
	bool agreed = plan->chunk_bytes_max != 0;

	assert(!agreed || plan->chunk_bytes_max >= OP_CHUNK_BYTES_MAX_LEAST);
	plan->slots = slots < SLOTS_MIN ? SLOTS_MIN : slots > SLOTS_MAX ? SLOTS_MAX : slots;
	plan->slots_more = 0;
	plan->buffers = BUFFERS;
	if (!agreed)
		plan->chunk_bytes_max = CHUNK_BYTES_MOST;
	while (!agreed && plan->chunk_bytes_max > CHUNK_BYTES_LEAST &&
	       exchange_memory(plan) * plan->lanes > inflight_bytes)
		plan->chunk_bytes_max /= 2;

	if (exchange_memory(plan) * plan->lanes > inflight_bytes)
		return err_set(
			err, -ENOMEM,
			"a group of %u nodes with %u lanes needs %llu bytes of slots and buffers, "
			"[limits] inflight_bytes allows %llu",
			plan->nodes, plan->lanes,
			(unsigned long long)exchange_memory(plan) * plan->lanes,
			(unsigned long long)inflight_bytes);
	wide = wide > WIDE_MAX ? WIDE_MAX : wide;
	plan->slots_more = plan->gathers && wide > plan->slots ? wide - plan->slots : 0;
	if (exchange_memory(plan) * plan->lanes > inflight_bytes)
		plan->slots_more = 0; /* no other node counts on them */
	return 0;
}

int exchange_new(struct exchange **out, const struct exchange_plan *plan, struct err *err)
{
	struct exchange *x = calloc(1, sizeof(*x));
	size_t bytes;

	assert(plan->slots >= 1 && plan->buffers >= 2 && plan->local_ranks >= 1 &&
	       plan->local_ranks <= EXCHANGE_LOCAL_MAX && plan->node < plan->nodes &&
	       plan->chunk_bytes_usual >= OP_CHUNK_BYTES_MAX_LEAST);
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

void *exchange_span(const struct exchange *x, size_t *bytes)
{
	*bytes = x->memory_bytes;
	return x->memory;
}

void exchange_free(struct exchange *x)
{
	if (!x)
		return;
	assert(x->frames_out == 0);
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
