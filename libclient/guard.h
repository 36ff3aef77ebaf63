/*
 * guard.h - is this still the process that made it?
 *
 * A page that the kernel clears in a child of fork() (MADV_WIPEONFORK, Linux 4.14): one load
 * tells, without a system call and whatever way the child was made.
 */
#ifndef LIBCLIENT_GUARD_H
#define LIBCLIENT_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>

struct guard {
	_Atomic unsigned int *page; /* owned; nonzero in the process that made it */
};

/* guard_open() - Return: 0, or negative errno. */
int guard_open(struct guard *g);
void guard_close(struct guard *g);

/* guard_forked() - is this a child of the process that called guard_open()?  Any thread. */
bool guard_forked(const struct guard *g);

#endif
