/*
 * mailbox.h - a bounded queue of fixed-size messages from one thread to one other.
 *
 * Single producer, single consumer, no locks.  The main thread and each engine are
 * joined by two: commands one way, facts the other.  Whoever puts rings the other's
 * eventfd afterwards; the mailbox itself makes no system call.
 */
#ifndef DAEMON_MAILBOX_H
#define DAEMON_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mailbox {
	_Alignas(64) _Atomic uint64_t tail; /* written by the producer */
	_Alignas(64) _Atomic uint64_t head; /* written by the consumer */
	uint32_t entries;                   /* a power of two          */
	uint32_t entry_bytes;
	unsigned char *memory;
};

int mailbox_init(struct mailbox *box, uint32_t entries, uint32_t entry_bytes); /* 0 or -ENOMEM */
void mailbox_deinit(struct mailbox *box);

bool mailbox_put(struct mailbox *box, const void *message); /* false: full, nothing was put  */
bool mailbox_get(struct mailbox *box, void *message);       /* false: empty                  */
bool mailbox_empty(const struct mailbox *box);

#endif
