/*
 * shm.c - the layout of the shared memory, the check of a submission, the rings and
 * the sleeping protocol; see shm.h.
 *
 * On the fences: a ring's positions need only release and acquire, for data flows one
 * way.  Going to sleep is the store-then-load race of two sides (I set `sleeps` and
 * look at `tail`; you set `tail` and look at `sleeps`), which only a full fence on both
 * sides decides: at least one of the two sees the other.
 */
#include "proto/shm.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#define ARENA_BYTES_MAX (1ull << 46)

#define RING_BYTES (sizeof(struct shm_ring) + SHM_RING_ENTRIES * sizeof(struct shm_submission))

static_assert(sizeof(struct shm_submission) == sizeof(struct shm_completion), "one RING_BYTES");
static_assert((SHM_RING_ENTRIES & (SHM_RING_ENTRIES - 1)) == 0, "places survive a wrap");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "no hidden locks");

static uint64_t round_to_page(uint64_t bytes)
{
	return (bytes + SHM_ARENA_ALIGN - 1) & ~(uint64_t)(SHM_ARENA_ALIGN - 1);
}

/* Whole pages a lane, so that each can live on its lane's NUMA node. */
static uint64_t lane_bytes(void)
{
	return round_to_page(2 * RING_BYTES);
}

int shm_layout(struct shm_layout *out, uint32_t lanes, uint64_t arena_bytes)
{
	uint64_t rings = round_to_page(sizeof(struct shm_header));
	uint64_t arena = rings + lanes * lane_bytes();

	if (lanes < 1 || lanes > SHM_LANES_MAX)
		return -EINVAL;
	if (arena_bytes < SHM_ARENA_BYTES_MIN || arena_bytes > ARENA_BYTES_MAX ||
	    arena_bytes % SHM_ARENA_ALIGN)
		return -EINVAL;
	*out = (struct shm_layout){.lanes = lanes,
				   .rings_offset = rings,
				   .arena_offset = arena,
				   .arena_bytes = arena_bytes,
				   .total_bytes = arena + arena_bytes};
	return 0;
}

static char *lane_base(void *base, const struct shm_layout *l, uint32_t lane)
{
	assert(lane < l->lanes);
	return (char *)base + l->rings_offset + lane * lane_bytes();
}

struct shm_ring *shm_submit_ring(void *base, const struct shm_layout *l, uint32_t lane)
{
	return (struct shm_ring *)(void *)lane_base(base, l, lane);
}

struct shm_submission *shm_submissions(void *base, const struct shm_layout *l, uint32_t lane)
{
	return (struct shm_submission *)(shm_submit_ring(base, l, lane) + 1);
}

struct shm_ring *shm_complete_ring(void *base, const struct shm_layout *l, uint32_t lane)
{
	return (struct shm_ring *)(void *)(lane_base(base, l, lane) + RING_BYTES);
}

struct shm_completion *shm_completions(void *base, const struct shm_layout *l, uint32_t lane)
{
	return (struct shm_completion *)(shm_complete_ring(base, l, lane) + 1);
}

int shm_header_check(const struct shm_header *h, uint64_t mapped_bytes, struct shm_layout *out)
{
	struct shm_layout layout;

	if (mapped_bytes < sizeof(*h) || h->magic != SHM_MAGIC || h->version != SHM_VERSION)
		return -EPROTO;
	if (shm_layout(&layout, h->lanes, h->arena_bytes) < 0)
		return -EPROTO;
	if (h->rings_offset != layout.rings_offset || h->arena_offset != layout.arena_offset ||
	    h->total_bytes != layout.total_bytes || mapped_bytes != layout.total_bytes)
		return -EPROTO;
	*out = layout;
	return 0;
}

const char *shm_verdict_name(enum shm_verdict verdict)
{
	switch (verdict) {
	case SHM_OK: return "ok";
	case SHM_BAD_KIND: return "unknown kind";
	case SHM_BAD_TYPE: return "unknown element type";
	case SHM_BAD_REDUCE: return "unknown reduction";
	case SHM_NOT_ZERO: return "unused field not zero";
	case SHM_BAD_FACTOR: return "weight or scale not positive and finite";
	case SHM_BAD_GROUP: return "group handle out of range";
	case SHM_BAD_SEQ: return "sequence number 0";
	case SHM_BAD_RANGE: return "tensor not within the arena";
	case SHM_OVERLAP: return "input and result overlap";
	case SHM_NO_GROUP: return "group handle of no group";
	case SHM_BAD_SCHEDULE: return "unknown schedule";
	case SHM_BAD_CODING: return "unknown coding, or not for such an op";
	case SHM_BAD_ORDER: return "sequence number not the next of its group";
	case SHM_TOO_MANY: return "too many ops of a group in flight";
	case SHM_BAD_RING: return "impossible position of a ring";
	case SHM_RING_FULL: return "completions not taken, their ring is full";
	}
	return "unknown verdict";
}

/* Not even a negative zero. */
static bool all_zero(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof(bits));
	return bits == 0;
}

static bool factor_ok(float f)
{
	return isnormal(f) && f > 0;
}

static enum shm_verdict coding_check(const struct shm_submission *s)
{
	if (!s->coding)
		return s->flags || !all_zero(s->weight) || !all_zero(s->scale) ? SHM_NOT_ZERO
									       : SHM_OK;
	if (s->flags & ~SHM_DISCARD)
		return SHM_NOT_ZERO;
	if (!factor_ok(s->weight) || !factor_ok(s->scale))
		return SHM_BAD_FACTOR;
	return SHM_OK;
}

/* An abort names its group and nothing else; work and seq are the trainer's own notes. */
static enum shm_verdict abort_check(const struct shm_submission *s)
{
	if (s->type)
		return SHM_BAD_TYPE;
	if (s->reduce)
		return SHM_BAD_REDUCE;
	if (s->key || s->count || s->in_offset || s->out_offset || s->flags || s->schedule ||
	    s->coding || !all_zero(s->weight) || !all_zero(s->scale))
		return SHM_NOT_ZERO;
	return s->group < SHM_GROUPS_MAX ? SHM_OK : SHM_BAD_GROUP;
}

enum shm_verdict shm_submission_check(const struct shm_submission *s, uint64_t arena_bytes)
{
	uint64_t bytes;

	if (s->kind == SHM_ABORT)
		return abort_check(s);
	if (s->kind != SHM_ALLREDUCE)
		return SHM_BAD_KIND;
	if (!shm_type_bytes(s->type))
		return SHM_BAD_TYPE;
	if (s->reduce < SHM_SUM || s->reduce > SHM_PROD)
		return SHM_BAD_REDUCE;
	if (coding_check(s) != SHM_OK)
		return coding_check(s);
	if (s->group >= SHM_GROUPS_MAX)
		return SHM_BAD_GROUP;
	if (!s->seq)
		return SHM_BAD_SEQ;
	if (s->count > arena_bytes / shm_type_bytes(s->type))
		return SHM_BAD_RANGE;
	bytes = s->count * shm_type_bytes(s->type);
	if (s->in_offset > arena_bytes - bytes || s->out_offset > arena_bytes - bytes)
		return SHM_BAD_RANGE;
	if (s->in_offset != s->out_offset && s->in_offset < s->out_offset + bytes &&
	    s->out_offset < s->in_offset + bytes)
		return SHM_OVERLAP;
	return SHM_OK;
}

size_t shm_type_bytes(uint8_t type)
{
	static const uint8_t bytes[] = {
		[SHM_F32] = 4, [SHM_F64] = 8, [SHM_F16] = 2, [SHM_BF16] = 2,
		[SHM_I8] = 1,  [SHM_U8] = 1,  [SHM_I32] = 4, [SHM_I64] = 8,
	};

	return type < sizeof(bytes) ? bytes[type] : 0;
}

int shm_produce_room(const struct shm_port *p)
{
	uint64_t head = atomic_load_explicit(&p->ring->head, memory_order_acquire);
	uint64_t used = p->position - head;

	if (used > SHM_RING_ENTRIES)
		return -EPROTO;
	return used < SHM_RING_ENTRIES;
}

uint64_t shm_produce_unseen(const struct shm_port *p)
{
	return p->position - atomic_load_explicit(&p->ring->head, memory_order_relaxed);
}

void shm_produce(struct shm_port *p)
{
	p->position++;
	atomic_store_explicit(&p->ring->tail, p->position, memory_order_release);
}

int shm_consume_ready(const struct shm_port *p)
{
	uint64_t tail = atomic_load_explicit(&p->ring->tail, memory_order_acquire);
	uint64_t there = tail - p->position;

	if (there > SHM_RING_ENTRIES)
		return -EPROTO;
	return there > 0;
}

void shm_consume(struct shm_port *p)
{
	p->position++;
	atomic_store_explicit(&p->ring->head, p->position, memory_order_release);
}

void shm_sleep_prepare(_Atomic uint32_t *sleeps)
{
	atomic_store_explicit(sleeps, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

void shm_sleep_cancel(_Atomic uint32_t *sleeps)
{
	atomic_store_explicit(sleeps, 0, memory_order_relaxed);
}

bool shm_wake_needed(_Atomic uint32_t *sleeps)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(sleeps, memory_order_relaxed))
		return false;
	return atomic_exchange_explicit(sleeps, 0, memory_order_acq_rel) != 0;
}

void shm_doorbell_ring(int fd)
{
	const uint64_t one = 1;

	(void)!write(fd, &one, sizeof(one));
}
