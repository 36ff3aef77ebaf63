/*
 * mailbox.c - single-producer single-consumer queue; see mailbox.h.
 */
#include "daemon/mailbox.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int mailbox_init(struct mailbox *box, uint32_t entries, uint32_t entry_bytes)
{
	assert(entries && (entries & (entries - 1)) == 0);
	memset(box, 0, sizeof(*box));
	box->memory = calloc(entries, entry_bytes);
	if (!box->memory)
		return -ENOMEM;
	box->entries = entries;
	box->entry_bytes = entry_bytes;
	return 0;
}

void mailbox_deinit(struct mailbox *box)
{
	free(box->memory);
	memset(box, 0, sizeof(*box));
}

static unsigned char *mailbox_place(const struct mailbox *box, uint64_t position)
{
	return box->memory + (size_t)(position & (box->entries - 1)) * box->entry_bytes;
}

bool mailbox_put(struct mailbox *box, const void *message)
{
	uint64_t tail = atomic_load_explicit(&box->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&box->head, memory_order_acquire);

	if (tail - head == box->entries)
		return false;
	memcpy(mailbox_place(box, tail), message, box->entry_bytes);
	atomic_store_explicit(&box->tail, tail + 1, memory_order_release);
	return true;
}

bool mailbox_get(struct mailbox *box, void *message)
{
	uint64_t head = atomic_load_explicit(&box->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&box->tail, memory_order_acquire);

	if (head == tail)
		return false;
	memcpy(message, mailbox_place(box, head), box->entry_bytes);
	atomic_store_explicit(&box->head, head + 1, memory_order_release);
	return true;
}

bool mailbox_empty(const struct mailbox *box)
{
	return atomic_load_explicit(&box->head, memory_order_acquire) ==
	       atomic_load_explicit(&box->tail, memory_order_acquire);
}
