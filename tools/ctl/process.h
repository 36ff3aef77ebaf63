/*
 * process.h - what a running process may: who it is, and how much memory it may register.
 */
#ifndef TOOLS_CTL_PROCESS_H
#define TOOLS_CTL_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

struct process_rights {
	bool known; /* uid and may_lock: its status could be read */
	uint32_t uid;
	bool may_lock; /* CAP_IPC_LOCK: no limit holds for it */
	bool memlock_known;
	uint64_t memlock_bytes; /* UINT64_MAX: no limit */
};

void process_rights(int pid, struct process_rights *out);

#endif
