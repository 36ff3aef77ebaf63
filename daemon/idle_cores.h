/*
 * idle_cores.h - has the machine a core for each lane that wants to spin?
 *
 * The kernel's sum over all cores of the time that each was idle (proc(5), uptime) is read once a
 * second at most, by the lane itself while it works; what this process used counts as idle, too,
 * or a lane that spins would find that its core is not.  Where fewer cores were idle than there
 * are lanes, who spins takes time from somebody: a trainer, or the kernel's own work for the
 * network.  Not seen: cores that were idle and that the daemon may not use.
 */
#ifndef DAEMON_IDLE_CORES_H
#define DAEMON_IDLE_CORES_H

#include <stdbool.h>
#include <stdint.h>

struct idle_cores {
	int fd; /* /proc/uptime; -1: none, then few are idle for ever */
	uint32_t wanted;
	bool few;
	bool begun;       /* the two below are set */
	uint64_t at_ns;   /* of the last look             */
	uint64_t free_ns; /* idle, or ours, as it was then */
};

/* wanted: how many are enough.  Few are idle, until it is known better. */
void idle_cores_open(struct idle_cores *c, uint32_t wanted);
void idle_cores_close(struct idle_cores *c);

/* Are fewer idle than wanted?  Often called; looks once a second. */
bool idle_cores_few(struct idle_cores *c, uint64_t now_ns);

/*
 * Count a look: all cores together had been idle, or worked for us, for free_ns at now_ns.  A
 * fiftieth may be missing, for the kernel counts hundredths of seconds.
 */
void idle_cores_count(struct idle_cores *c, uint64_t now_ns, uint64_t free_ns);

/* The second number, seconds and hundredths, of such a file.  Return: 0 or -EBADMSG. */
int idle_cores_parse(const char *text, uint64_t *idle_ns);

#endif
