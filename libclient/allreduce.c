/*
 * allreduce.c - carry_allreduce(): where the data is, then into the rings.
 *
 * The daemon reads and writes the arena only, at offsets aligned to the element, input and result
 * equal or disjoint.  So, by where they are (A: in the arena and aligned):
 *
 *	out A, in A     nothing to do; if they overlap: move in to out, reduce in place
 *	out A, in not   copy in to out, reduce in place
 *	out not, in A   the result goes to a staging extent, copied out when complete
 *	out not, in not copy in to a staging extent, reduce in place there, copy out
 */
#include "libclient/internal.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct call {
	enum carry_type type;
	enum carry_reduce reduce;
	size_t count;
	size_t bytes;
	size_t align;
	const void *in;
	void *out;
	const char *key_name;
	uint64_t key;
	uint16_t schedule;
	struct carry_op_options options;
	/* what comes of it */
	uint16_t coding;
	uint64_t key_state;
};

/* FNV-1a, 64 bits; 0 means "no key". */
static uint64_t key_hash(const char *key)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (const unsigned char *k = (const unsigned char *)key; *k; k++)
		hash = (hash ^ *k) * UINT64_C(0x100000001b3);
	return hash ? hash : 1;
}

/* 0 is 1. */
static int factor(const struct carry *c, const char *what, float *value)
{
	*value = *value == 0 ? 1 : *value;
	if (isnormal(*value) && *value > 0)
		return 0;
	return sentence_set(c, -EINVAL, "the %s of an op is %g: it must be positive and finite",
			    what, (double)*value);
}

static int call_check(struct call *call, const struct carry *c,
		      const struct carry_op_options *options)
{
	struct carry_op_options o;

	if (options_read(c, "carry_op_options", &o, sizeof(o), options) < 0)
		return -EINVAL;
	if (schedule_id(&call->schedule, c, o.schedule) < 0)
		return -EINVAL;
	call->key_name = o.key ? o.key : "";
	call->key = *call->key_name ? key_hash(call->key_name) : 0;
	call->options = o;
	if (o.flags & ~(uint32_t)CARRY_DISCARD)
		return sentence_set(c, -EINVAL, "carry_op_options has unknown flags: 0x%x",
				    o.flags);
	if (o.reserved)
		return sentence_set(c, -EINVAL, "a reserved field of carry_op_options is set");
	if (factor(c, "weight", &call->options.weight) < 0 ||
	    factor(c, "scale", &call->options.scale) < 0)
		return -EINVAL;
	if (o.result && answer_check(c, "carry_op_result", o.result) < 0)
		return -EINVAL;
	call->align = carry_type_bytes(call->type);
	if (!call->align)
		return sentence_set(c, -EINVAL, "element type %d does not exist", (int)call->type);
	if (call->reduce < CARRY_SUM || call->reduce > CARRY_PROD)
		return sentence_set(c, -EINVAL, "reduction %d does not exist", (int)call->reduce);
	if (__builtin_mul_overflow(call->count, call->align, &call->bytes) ||
	    call->bytes > PTRDIFF_MAX)
		return sentence_set(c, -EINVAL, "count %zu is more than memory can hold",
				    call->count);
	if (call->count && (!call->in || !call->out))
		return sentence_set(c, -EINVAL, "%s is NULL", call->in ? "out" : "in");
	return 0;
}

/* Is memory[call->bytes] within the arena, and aligned? */
static bool in_arena(const struct carry *c, const struct call *call, const void *memory,
		     uint64_t *offset)
{
	uintptr_t start = (uintptr_t)c->base + c->layout.arena_offset;
	uintptr_t at = (uintptr_t)memory;

	assert(call->align);
	if (at < start || at - start > c->layout.arena_bytes || at % call->align)
		return false;
	*offset = at - start;
	return call->bytes <= c->layout.arena_bytes - *offset;
}

static bool overlap(uint64_t a, uint64_t b, uint64_t bytes)
{
	return a < b + bytes && b < a + bytes;
}

/* A work of the handle in `state` that holds a staging extent, or NULL. */
static struct carry_work *find_staged(const struct carry *c, enum work_state state)
{
	for (uint32_t i = 0; i < SHM_GROUPS_MAX; i++) {
		if (!c->groups[i])
			continue;
		for (struct work_block *b = c->groups[i]->blocks; b; b = b->next)
			for (size_t k = 0; k < WORKS_PER_BLOCK; k++)
				if (b->works[k].staged && b->works[k].state == state)
					return &b->works[k];
	}
	return NULL;
}

/*
 * Locked: a staging extent.  If there is none, results of complete ops are copied out first, then
 * the ops of this group are waited for.  Not those of others: these may wait, on another rank, for
 * the very op that is to be posted here.
 */
static int stage(struct carry_group *g, size_t bytes, uint64_t *offset)
{
	struct carry *c = g->c;

	for (;;) {
		struct carry_work *landed;
		int r = joined_check(g);

		if (r < 0)
			return r;
		if (extents_alloc(&c->arena, bytes, EXTENT_STAGE, offset) == 0)
			return 0;
		landed = find_staged(c, WORK_LANDED);
		if (bytes <= c->layout.arena_bytes && landed)
			work_deliver(landed);
		else if (bytes <= c->layout.arena_bytes && find_staged(c, WORK_COPYING))
			watch_changed(c, NEVER_NS);
		else if (bytes <= c->layout.arena_bytes && g->in_flight)
			watch_round(c, NEVER_NS);
		else
			return sentence_set(
				c, -ENOMEM,
				"the arena has no room for a copy of %zu bytes (%llu free, %llu in "
				"one piece, of %llu): use carry_alloc() memory, or a larger "
				"CARRY_ARENA_BYTES",
				bytes, (unsigned long long)c->arena.free_bytes,
				(unsigned long long)extents_largest(&c->arena),
				(unsigned long long)c->layout.arena_bytes);
	}
}

/* Locked, lets the lock go to copy: fill in where the daemon finds input and result. */
static int place(struct carry_work *w, const struct call *call)
{
	struct carry *c = w->group->c;
	char *arena = (char *)c->base + c->layout.arena_offset;
	bool in = in_arena(c, call, call->in, &w->in_offset);
	int r;

	w->bytes = call->bytes;
	w->out = call->out;
	if (call->bytes == 0) {
		w->in_offset = 0;
		w->out_offset = 0;
		return 0;
	}
	if (!in_arena(c, call, call->out, &w->out_offset)) {
		r = stage(w->group, call->bytes, &w->out_offset);
		if (r < 0)
			return r;
		w->staged = true;
	} else if (call->in == call->out) {
		return 0;
	} else if (in) {
		in = !overlap(w->in_offset, w->out_offset, call->bytes);
	}
	if (in)
		return 0;
	pthread_mutex_unlock(&c->lock);
	memmove(arena + w->out_offset, call->in, call->bytes);
	pthread_mutex_lock(&c->lock);
	w->in_offset = w->out_offset;
	return 0;
}

/* Return: 1: every lane of the group has room for a submission; 0; -EPROTO. */
static int rings_have_room(const struct carry_group *g)
{
	for (uint32_t lane = 0; lane < g->lanes; lane++) {
		int r = shm_produce_room(&g->c->submit[lane]);

		if (r <= 0)
			return r;
	}
	return 1;
}

/* Locked: until the next op of the group may be posted. */
static int wait_for_room(struct carry_group *g)
{
	struct carry *c = g->c;

	for (;;) {
		uint64_t deadline_ns = NEVER_NS;
		int r = joined_check(g);

		if (r < 0)
			return r;
		if (!g->flying[(g->seq + 1) % SHM_OPS_MAX] && c->in_flight < IN_FLIGHT_MAX) {
			r = rings_have_room(g);
			if (r < 0)
				handle_end(c, r, "carryd at %s broke a submission ring", c->path);
			if (r > 0)
				return 0;
			deadline_ns = now_ns() + 1000000u; /* entries are taken silently */
		} else if (!g->in_flight) {
			return sentence_set(c, -EAGAIN,
					    "%u ops of other groups are in flight, the most that "
					    "one handle may have",
					    c->in_flight);
		}
		watch_round(c, deadline_ns);
	}
}

/* Locked, there is room: the same submission to every lane. */
static void post(struct carry_work *w, const struct call *call)
{
	struct carry_group *g = w->group;
	uint32_t lanes = shm_op_lanes(call->bytes, g->lanes);
	struct carry *c = g->c;
	struct shm_submission s = {
		.work = (uintptr_t)w,
		.seq = g->seq + 1,
		.key = call->key,
		.count = call->count,
		.in_offset = w->in_offset,
		.out_offset = w->out_offset,
		.group = (uint8_t)g->handle,
		.schedule = (uint8_t)call->schedule,
		.coding = call->coding,
		.kind = SHM_ALLREDUCE,
		.type = (uint8_t)call->type,
		.reduce = (uint8_t)call->reduce,
	};

	if (call->coding) {
		s.weight = call->options.weight;
		s.scale = call->options.scale;
		s.flags = call->options.flags & CARRY_DISCARD ? SHM_DISCARD : 0;
	}

	w->seq = ++g->seq;
	w->state = WORK_FLYING;
	w->lanes_left = (1u << lanes) - 1;
	g->flying[w->seq % SHM_OPS_MAX] = w;
	g->in_flight++;
	c->in_flight++;
	for (uint32_t lane = 0; lane < lanes; lane++)
		handle_submit(c, lane, &s);
	for (uint32_t lane = lanes; lane < g->lanes; lane++)
		handle_mention(c, lane, &s);
}

/* Locked: with which codec and feedback. */
static int choose_coding(struct carry_group *g, struct call *call)
{
	const struct coding_call about = {
		.key = call->key_name,
		.key_hash = call->key,
		.count = call->count,
		.bytes = call->bytes,
		.type = call->type,
		.reduce = call->reduce,
		.seq = g->seq + 1,
		.other_schedule = call->schedule > SCHEDULE_DIRECT,
	};
	int r = coding_of(&call->coding, &call->key_state, g, &about, &call->options);

	if (r == 0 && !call->key_state && call->options.flags & CARRY_DISCARD)
		return sentence_set(g->c, -EINVAL,
				    "CARRY_DISCARD: the op has no feedback, so there is nothing to "
				    "take back");
	return r;
}

/* Locked. */
static int launch(struct carry_group *g, struct call *call, bool async, struct carry_work **out)
{
	struct carry_work *w;
	int r = joined_check(g);

	if (r == 0)
		r = choose_coding(g, call);
	if (r < 0)
		return r;
	w = work_take(g);
	if (!w)
		return sentence_set(g->c, -ENOMEM, "no memory for one more op in flight");
	w->async = async;
	w->key_state = call->key_state;
	r = place(w, call);
	if (r == 0)
		r = wait_for_room(g);
	if (r < 0) {
		work_release(w);
		watch_tell(g->c);
		return r;
	}
	post(w, call);
	*out = w;
	return 0;
}

/* Locked: a blocking call's wait. */
static int finish(struct carry_work *w, struct carry_op_result *result)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): post() has set it */
	struct carry *c = w->group->c;
	int r;

	while (w->state != WORK_DONE) {
		if (w->state == WORK_FLYING)
			watch_round(c, NEVER_NS);
		else if (w->state == WORK_COPYING)
			watch_changed(c, NEVER_NS);
		work_deliver(w);
	}
	if (result)
		work_result(w, result);
	r = work_outcome(w);
	work_release(w);
	return r;
}

int carry_allreduce(struct carry_group *g, const void *in, void *out, size_t count,
		    enum carry_type type, enum carry_reduce reduce,
		    const struct carry_op_options *options, struct carry_work **work)
{
	struct call call = {.type = type, .reduce = reduce, .count = count, .in = in, .out = out};
	struct carry_work *w = NULL;
	struct carry *c;
	bool first;
	int r;

	static_assert((int)CARRY_SUM == SHM_SUM && (int)CARRY_AVG == SHM_AVG, "one numbering");
	static_assert((int)CARRY_MIN == SHM_MIN && (int)CARRY_MAX == SHM_MAX, "one numbering");
	static_assert((int)CARRY_PROD == SHM_PROD, "one numbering");
	if (!g)
		return sentence_set(NULL, -EINVAL, "the group is NULL");
	c = g->c;
	r = handle_check(c);
	if (r == 0)
		r = call_check(&call, c, options);
	if (r < 0)
		return r;

	pthread_mutex_lock(&c->lock);
	joined_hold(g);
	first = !g->calling;
	g->calling = true;
	if (!first && c->debug)
		r = sentence_set(
			c, -EBUSY,
			"another thread is in carry_allreduce() on group \"%s\": the order "
			"of the ops would be left to chance",
			g->name);
	else
		r = launch(g, &call, work != NULL, &w);
	if (r == 0 && work)
		*work = w;
	else if (r == 0)
		r = finish(w, call.options.result);
	if (first)
		g->calling = false;
	joined_unhold(g);
	pthread_mutex_unlock(&c->lock);
	return r;
}
