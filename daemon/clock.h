/*
 * clock.h - the only place of the daemon that reads a clock.
 *
 * Everything else gets the time passed in as now_ns, nanoseconds of CLOCK_MONOTONIC,
 * so that the simulator can run the same code under a clock of its own.
 */
#ifndef DAEMON_CLOCK_H
#define DAEMON_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_NS_PER_S 1000000000ull
#define CLOCK_NS_PER_MS 1000000ull
#define CLOCK_NS_PER_US 1000ull

static inline uint64_t clock_read_ns(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_now_ns(void)
{
	return clock_read_ns(CLOCK_MONOTONIC);
}

/* Processor time that all threads of this process have used. */
static inline uint64_t clock_ours_ns(void)
{
	return clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
}

#endif
