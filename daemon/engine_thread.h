/*
 * engine_thread.h - an engine on a thread of its own: start, idle strategy, stop.
 *
 * The thread opens its engine itself (io_uring's single issuer), spins for at most spin_ns
 * after the last work, then sleeps.  After a sleep of 2 spin_ns or more it spins half as long
 * as the last time, after a shorter one for all of spin_ns again.
 *
 * While it spins:            the transport enters the kernel     polls memory
 *   cores for all lanes      yields every round                  does not yield
 *   fewer (idle_cores.h)     yields every round                  yields, for 20 us at most
 * It yields because what it waits for is often computed on its own processor.  The main thread
 * talks to it through the mailboxes and rings its doorbell.
 */
#ifndef DAEMON_ENGINE_THREAD_H
#define DAEMON_ENGINE_THREAD_H

#include "daemon/engine.h"

struct engine_thread; /* owns the thread, the engine, the doorbells' epoll */

struct engine_thread_options {
	struct engine_options engine; /* lane_fd is made and filled in by the thread object */
	uint64_t spin_ns;             /* the longest spin */
	int numa_node;                /* -1: anywhere */
	int cpu;                      /* -1: anywhere */
};

/* Start and wait until the engine is open.  Return: 0 or negative errno and *err. */
int engine_thread_start(struct engine_thread **out, const struct engine_thread_options *options,
			struct err *err);
/* Send ENGINE_STOP, join, close.  Facts not read are dropped.  Tolerates NULL. */
void engine_thread_stop(struct engine_thread *t);

struct engine *engine_thread_engine(struct engine_thread *t);
/* The epoll descriptor that the lane sleeps on: for trainers' doorbells, edge-triggered. */
int engine_thread_lane_fd(const struct engine_thread *t);

/*
 * engine_thread_alive() - has the lane made a round since the last call, or does it sleep?
 * For the watchdog: asked less often than once a second, a false means that it is stuck.
 */
bool engine_thread_alive(struct engine_thread *t);

/* Put a command and ring.  Return: false if the mailbox is full. */
bool engine_thread_command(struct engine_thread *t, const struct engine_command *command);

#endif
