/* extents.c - see extents.h. */
#include "libclient/extents.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define EXTENT_NONE UINT32_MAX
#define UNITS 64u
static_assert(EXTENT_PAGE / EXTENT_UNIT == UNITS, "one bit a unit");

/* Of a page.  Only first pages, and the last of a free extent, are ever other than INNER. */
enum page_state {
	PAGE_INNER = 0,
	PAGE_FREE,
	PAGE_USER,
	PAGE_STAGE,
	PAGE_SPLIT,
};

static uint32_t list_of(uint32_t pages)
{
	return 31u - (uint32_t)__builtin_clz(pages);
}

static void list_add(struct extents *e, uint32_t *head, uint32_t at)
{
	e->page[at].prev = EXTENT_NONE;
	e->page[at].next = *head;
	if (*head != EXTENT_NONE)
		e->page[*head].prev = at;
	*head = at;
}

static void list_remove(struct extents *e, uint32_t *head, uint32_t at)
{
	const struct extent_page *p = &e->page[at];

	if (p->prev == EXTENT_NONE)
		*head = p->next;
	else
		e->page[p->prev].next = p->next;
	if (p->next != EXTENT_NONE)
		e->page[p->next].prev = p->prev;
}

/* Neither neighbour is free. */
static void free_add(struct extents *e, uint32_t at, uint32_t pages)
{
	e->page[at + pages - 1].state = PAGE_FREE;
	e->page[at + pages - 1].pages = pages;
	e->page[at].state = PAGE_FREE;
	e->page[at].pages = pages;
	list_add(e, &e->free_list[list_of(pages)], at);
}

static void free_remove(struct extents *e, uint32_t at)
{
	uint32_t pages = e->page[at].pages;

	list_remove(e, &e->free_list[list_of(pages)], at);
	e->page[at].state = PAGE_INNER;
	e->page[at + pages - 1].state = PAGE_INNER;
}

/* The first page of a free extent of at least `pages`, or EXTENT_NONE. */
static uint32_t free_find(const struct extents *e, uint32_t pages)
{
	uint32_t list = list_of(pages);

	for (uint32_t at = e->free_list[list]; at != EXTENT_NONE; at = e->page[at].next)
		if (e->page[at].pages >= pages)
			return at;
	for (list++; list < EXTENT_LISTS; list++)
		if (e->free_list[list] != EXTENT_NONE)
			return e->free_list[list];
	return EXTENT_NONE;
}

static uint32_t pages_take(struct extents *e, uint32_t pages, enum page_state state)
{
	uint32_t at = free_find(e, pages);
	uint32_t had;

	if (at == EXTENT_NONE)
		return EXTENT_NONE;
	had = e->page[at].pages;
	free_remove(e, at);
	if (had > pages)
		free_add(e, at + pages, had - pages);
	e->page[at].state = state;
	e->page[at].pages = pages;
	return at;
}

static void pages_give(struct extents *e, uint32_t at)
{
	uint32_t pages = e->page[at].pages;

	e->page[at].state = PAGE_INNER;
	if (at + pages < e->pages && e->page[at + pages].state == PAGE_FREE) {
		uint32_t after = e->page[at + pages].pages;

		free_remove(e, at + pages);
		pages += after;
	}
	if (at > 0 && e->page[at - 1].state == PAGE_FREE) {
		uint32_t before = e->page[at - 1].pages;

		free_remove(e, at - before);
		at -= before;
		pages += before;
	}
	free_add(e, at, pages);
}

/* Bit u: units u..u+units-1 are all free. */
static uint64_t runs(uint64_t used, uint32_t units)
{
	uint64_t run = ~used;

	for (uint32_t i = 1; i < units; i++)
		run &= run >> 1;
	return run;
}

static int small_alloc(struct extents *e, uint32_t units, uint64_t *offset)
{
	uint64_t mask = (UINT64_C(1) << units) - 1; /* units <= 32 */
	uint64_t run = 0;
	uint32_t at;
	uint32_t unit;

	for (at = e->split_list; at != EXTENT_NONE; at = e->page[at].next) {
		run = runs(e->page[at].used, units);
		if (run)
			break;
	}
	if (at == EXTENT_NONE) {
		at = pages_take(e, 1, PAGE_SPLIT);
		if (at == EXTENT_NONE)
			return -ENOMEM;
		e->page[at].used = 0;
		e->page[at].starts = 0;
		list_add(e, &e->split_list, at);
		run = ~UINT64_C(0);
	}
	unit = (uint32_t)__builtin_ctzll(run);
	e->page[at].used |= mask << unit;
	e->page[at].starts |= UINT64_C(1) << unit;
	if (e->page[at].used == ~UINT64_C(0))
		list_remove(e, &e->split_list, at);
	e->free_bytes -= (uint64_t)units * EXTENT_UNIT;
	*offset = (uint64_t)at * EXTENT_PAGE + unit * EXTENT_UNIT;
	return 0;
}

/* Units of the piece that starts at `unit` of a split page. */
static uint32_t small_units(const struct extent_page *p, uint32_t unit)
{
	uint32_t units = 1;

	while (unit + units < UNITS && (p->used >> (unit + units) & 1) &&
	       !(p->starts >> (unit + units) & 1))
		units++;
	return units;
}

static void small_free(struct extents *e, uint32_t at, uint32_t unit)
{
	struct extent_page *p = &e->page[at];
	uint32_t units = small_units(p, unit);

	if (p->used == ~UINT64_C(0))
		list_add(e, &e->split_list, at);
	p->used &= ~(((UINT64_C(1) << units) - 1) << unit);
	p->starts &= ~(UINT64_C(1) << unit);
	e->free_bytes += (uint64_t)units * EXTENT_UNIT;
	if (p->used == 0) {
		list_remove(e, &e->split_list, at);
		pages_give(e, at);
	}
}

static enum page_state state_of(enum extent_use use)
{
	return use == EXTENT_USER ? PAGE_USER : PAGE_STAGE;
}

int extents_init(struct extents *e, uint64_t bytes)
{
	assert(bytes > 0 && bytes % EXTENT_PAGE == 0);
	if (bytes > UINT64_C(1) << 43) /* lengths fit free_list */
		return -EINVAL;
	e->pages = (uint32_t)(bytes / EXTENT_PAGE);
	e->page = calloc(e->pages, sizeof(*e->page));
	if (!e->page)
		return -ENOMEM;
	for (uint32_t l = 0; l < EXTENT_LISTS; l++)
		e->free_list[l] = EXTENT_NONE;
	e->split_list = EXTENT_NONE;
	e->free_bytes = bytes;
	free_add(e, 0, e->pages);
	return 0;
}

void extents_deinit(struct extents *e)
{
	free(e->page);
	e->page = NULL;
}

int extents_alloc(struct extents *e, uint64_t bytes, enum extent_use use, uint64_t *offset)
{
	uint64_t pages = bytes / EXTENT_PAGE + (bytes % EXTENT_PAGE != 0);
	uint32_t at;

	if (bytes <= EXTENT_SMALL && use == EXTENT_USER)
		return small_alloc(e, bytes ? ((uint32_t)bytes + EXTENT_UNIT - 1) / EXTENT_UNIT : 1,
				   offset);
	if (pages > e->pages)
		return -ENOMEM;
	at = pages_take(e, pages ? (uint32_t)pages : 1, state_of(use));
	if (at == EXTENT_NONE)
		return -ENOMEM;
	e->free_bytes -= (uint64_t)e->page[at].pages * EXTENT_PAGE;
	*offset = (uint64_t)at * EXTENT_PAGE;
	return 0;
}

uint64_t extents_size(const struct extents *e, uint64_t offset, enum extent_use use)
{
	uint32_t unit = (uint32_t)(offset % EXTENT_PAGE / EXTENT_UNIT);
	const struct extent_page *p;

	if (offset >= (uint64_t)e->pages * EXTENT_PAGE || offset % EXTENT_UNIT != 0)
		return 0;
	p = &e->page[offset / EXTENT_PAGE];
	if (p->state == PAGE_SPLIT && use == EXTENT_USER && (p->starts >> unit & 1))
		return (uint64_t)small_units(p, unit) * EXTENT_UNIT;
	if (p->state == state_of(use) && unit == 0)
		return (uint64_t)p->pages * EXTENT_PAGE;
	return 0;
}

int extents_free(struct extents *e, uint64_t offset, enum extent_use use)
{
	uint64_t bytes = extents_size(e, offset, use);
	uint32_t at = (uint32_t)(offset / EXTENT_PAGE);

	if (bytes == 0)
		return -EINVAL;
	if (e->page[at].state == PAGE_SPLIT) {
		small_free(e, at, (uint32_t)(offset % EXTENT_PAGE / EXTENT_UNIT));
		return 0;
	}
	e->free_bytes += bytes;
	pages_give(e, at);
	return 0;
}

uint64_t extents_largest(const struct extents *e)
{
	uint32_t best = 0;

	for (uint32_t l = EXTENT_LISTS; l-- > 0 && best == 0;)
		for (uint32_t at = e->free_list[l]; at != EXTENT_NONE; at = e->page[at].next)
			if (e->page[at].pages > best)
				best = e->page[at].pages;
	if (best)
		return (uint64_t)best * EXTENT_PAGE;
	for (uint32_t at = e->split_list; at != EXTENT_NONE; at = e->page[at].next)
		while (best < EXTENT_SMALL / EXTENT_UNIT && runs(e->page[at].used, best + 1))
			best++;
	return (uint64_t)best * EXTENT_UNIT;
}
