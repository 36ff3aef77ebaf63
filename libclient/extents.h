/*
 * extents.h - which parts of the arena are in use.
 *
 * Offsets only: the book is in private memory, never in the arena, where the daemon (or a wild
 * store) could write.  An *extent* is a run of pages of EXTENT_PAGE bytes, free or in use; free
 * neighbours are merged at once.  Free extents are in lists by the power of two below their
 * length, so finding one looks at one list and then takes the first of a longer one.  Pieces of up
 * to EXTENT_SMALL bytes share *split* pages of 64 units of 64 bytes.
 *
 * Allocates at init only.  Not thread-safe: the caller's lock guards it.
 */
#ifndef LIBCLIENT_EXTENTS_H
#define LIBCLIENT_EXTENTS_H

#include <stddef.h>
#include <stdint.h>

#define EXTENT_PAGE 4096u
#define EXTENT_UNIT 64u
#define EXTENT_SMALL 2048u /* bytes; more gets pages of its own */
#define EXTENT_LISTS 32

/* Who an extent belongs to; a piece is given back by the kind that took it. */
enum extent_use {
	EXTENT_USER = 1, /* carry_alloc()                        */
	EXTENT_STAGE,    /* a copy of a tensor; whole pages only */
};

struct extent_page {
	uint64_t used;   /* split page: bit u: unit u is in use                      */
	uint64_t starts; /* split page: bit u: a piece begins at unit u              */
	uint32_t pages;  /* first page, and last of a free extent: length            */
	uint32_t prev;   /* first page: neighbours in its list, EXTENT_NONE at ends  */
	uint32_t next;
	uint32_t state; /* enum page_state of extents.c                             */
};

struct extents {
	struct extent_page *page; /* [pages]; owned                                  */
	uint32_t pages;
	uint32_t free_list[EXTENT_LISTS]; /* [l]: extents of 2^l .. 2^(l+1)-1 pages  */
	uint32_t split_list;              /* split pages with a free unit            */
	uint64_t free_bytes;
};

/*
 * extents_init() - everything is free.
 * @bytes: of the arena, a multiple of EXTENT_PAGE, not 0
 * Return: 0, -ENOMEM, or -EINVAL if it is larger than 2^43 bytes.
 */
int extents_init(struct extents *e, uint64_t bytes);
void extents_deinit(struct extents *e);

/*
 * extents_alloc() - Return: 0 and *offset, or -ENOMEM.
 * @bytes: 0 counts as 1.  Up to EXTENT_SMALL (and not for EXTENT_STAGE) aligned to 64, else 4096.
 */
int extents_alloc(struct extents *e, uint64_t bytes, enum extent_use use, uint64_t *offset);

/* extents_free() - give back what extents_alloc() gave.  Return: 0, or -EINVAL: it is not that. */
int extents_free(struct extents *e, uint64_t offset, enum extent_use use);

/* extents_size() - bytes that the piece at offset has, rounded up; 0: no piece begins there. */
uint64_t extents_size(const struct extents *e, uint64_t offset, enum extent_use use);

/* extents_largest() - bytes of the largest piece that EXTENT_USER could get. */
uint64_t extents_largest(const struct extents *e);

#endif
