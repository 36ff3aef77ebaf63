/* memory.c - carry_alloc() and its kin: the arena as the caller sees it. */
#include "libclient/internal.h"

#include <errno.h>

static char *arena(const struct carry *c)
{
	return (char *)c->base + c->layout.arena_offset;
}

void *carry_alloc(struct carry *c, size_t bytes)
{
	uint64_t offset;
	int r;

	if (handle_check(c) < 0)
		return NULL;
	pthread_mutex_lock(&c->lock);
	r = extents_alloc(&c->arena, bytes, EXTENT_USER, &offset);
	if (r < 0)
		sentence_set(
			c, r,
			"the arena has no room for %zu bytes (%llu free, %llu in one piece, of "
			"%llu): CARRY_ARENA_BYTES makes it larger",
			bytes, (unsigned long long)c->arena.free_bytes,
			(unsigned long long)extents_largest(&c->arena),
			(unsigned long long)c->layout.arena_bytes);
	pthread_mutex_unlock(&c->lock);
	return r < 0 ? NULL : arena(c) + offset;
}

/* Locked: does an op in flight read or write the arena at offset[bytes]? */
static bool in_flight(const struct carry *c, uint64_t offset, uint64_t bytes)
{
	for (uint32_t i = 0; i < SHM_GROUPS_MAX; i++) {
		const struct carry_group *g = c->groups[i];

		for (uint32_t k = 0; g && k < SHM_OPS_MAX; k++) {
			const struct carry_work *w = g->flying[k];

			if (!w || !w->bytes)
				continue;
			if (w->in_offset < offset + bytes && offset < w->in_offset + w->bytes)
				return true;
			if (w->out_offset < offset + bytes && offset < w->out_offset + w->bytes)
				return true;
		}
	}
	return false;
}

int carry_free(struct carry *c, void *memory)
{
	uint64_t offset;
	uint64_t bytes;
	int r = handle_check(c);

	if (r < 0 || !memory)
		return r;
	offset = (uintptr_t)memory - (uintptr_t)arena(c); /* below the arena: a huge number */
	pthread_mutex_lock(&c->lock);
	bytes = extents_size(&c->arena, offset, EXTENT_USER);
	if (bytes == 0)
		r = sentence_set(c, -EINVAL,
				 "%p is not memory of carry_alloc(), or is free already", memory);
	else if (in_flight(c, offset, bytes))
		r = sentence_set(c, -EBUSY, "an op in flight uses the memory at %p", memory);
	else
		r = extents_free(&c->arena, offset, EXTENT_USER);
	pthread_mutex_unlock(&c->lock);
	return r;
}

int carry_arena_info(struct carry *c, struct carry_arena *info)
{
	struct carry_arena ours = {0};
	int r = handle_check(c);

	if (r == 0)
		r = info ? answer_check(c, "carry_arena", info)
			 : sentence_set(c, -EINVAL, "info is NULL");
	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	ours.total_bytes = c->layout.arena_bytes;
	ours.free_bytes = c->arena.free_bytes;
	ours.largest_bytes = extents_largest(&c->arena);
	pthread_mutex_unlock(&c->lock);
	answer_write(info, &ours, sizeof(ours));
	return 0;
}
