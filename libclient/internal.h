/*
 * internal.h - what the modules of libcarry share: the handle, its groups and works.
 *
 *	open.c       attach, detach             work.c       wait, test, results
 *	guard.c      was there a fork()?        allreduce.c  staging, posting
 *	watch.c      completions, answers       memory.c     carry_alloc
 *	ask.c        requests to the daemon     extents.c    which pages of the arena are free
 *	group.c      create, destroy, abort     launcher.c   the environment; nodelist.c, root.c
 *	handle.c     struct carry's own         sentence.c   carry_last_error
 *	coding.c     codecs and feedback of ops
 *	replay.c     choices of codecs that were logged
 *
 * One mutex per handle, `lock`, guards everything in it, its groups and its works.  It is let go
 * for memcpy and for sleeping.  Functions below say "locked" if the caller holds it.
 *
 * The *watcher* is the one thread that consumes completion rings and socket (`watching`); it lets
 * the lock go while it spins and sleeps, and no other thread touches the rings meanwhile.  Threads
 * that wait for something else at that time sleep on `changed`; when the watcher has what it
 * wanted it leaves and wakes them, and one of them takes over.
 */
#ifndef LIBCLIENT_INTERNAL_H
#define LIBCLIENT_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "libclient/ask.h"
#include "libclient/carry.h"
#include "libclient/coding.h"
#include "libclient/extents.h"
#include "libclient/guard.h"
#include "libclient/sentence.h"
#include "proto/ctl.h"
#include "proto/shm.h"

#define NEVER_NS UINT64_MAX /* a deadline that does not come */

/*
 * Ops in flight on one handle: fewer than the entries of a ring, so that neither ring of a lane
 * can run full of them and an abort of each group always finds room.
 */
#define IN_FLIGHT_MAX (SHM_RING_ENTRIES - SHM_GROUPS_MAX)

enum work_state {
	WORK_FREE = 0, /* in the group's free list                          */
	WORK_POSTING,  /* taken, not yet in the rings                       */
	WORK_FLYING,   /* the daemon's                                      */
	WORK_LANDED,   /* complete; the result may have to be copied out    */
	WORK_COPYING,  /* a thread copies the result out, without the lock  */
	WORK_DONE,     /* the result is where the caller wants it           */
};

struct carry_work {
	struct carry_group *group;
	struct carry_work *next; /* in the free list                                        */
	enum work_state state;
	bool async;                /* the caller has it; else a blocking call does               */
	bool staged;               /* the result is in the arena at out_offset, copy it to `out` */
	uint32_t lanes_left;       /* bit l: the completion of lane l is still to come           */
	int status;                /* first failure of a lane, or 0                              */
	uint64_t seq;              /* from 1; valid when FLYING or later                         */
	uint64_t wire_bytes;       /* sum over the lanes                                         */
	uint64_t in_offset;        /* in the arena, element[count]                               */
	uint64_t out_offset;       /* in the arena, element[count]                               */
	size_t bytes;              /* of the tensor                                              */
	uint64_t key_state;        /* hash of the key whose state it changes; 0: none            */
	uint32_t flags;            /* of the completions: CARRY_NONFINITE                        */
	uint32_t culprit;          /* 1 + rank; 0: nobody's                                      */
	void *out;                 /* the caller's                                               */
	char text[SENTENCE_BYTES]; /* why it failed; valid if status != 0                   */
};

/* Works are allocated by the block and never move. */
#define WORKS_PER_BLOCK SHM_OPS_MAX
struct work_block {
	struct work_block *next;
	struct carry_work works[WORKS_PER_BLOCK];
};

struct carry_group {
	struct carry *c;
	uint32_t handle; /* the daemon's, < SHM_GROUPS_MAX; place in c->groups */
	uint32_t rank;
	uint32_t ranks;
	uint32_t node;
	uint32_t nodes;
	uint32_t lanes;    /* ops go to lanes 0..lanes-1                           */
	uint16_t schedule; /* forced, 0: automatic                                 */
	uint64_t timeout_ns;
	uint64_t seq;       /* of the last op posted                                */
	uint32_t in_flight; /* works FLYING                                         */
	uint32_t inside;    /* threads in a call on the group, destroy not counted  */
	bool calling;       /* a thread is in carry_allreduce()                     */
	bool aborted;
	struct carry_work *flying[SHM_OPS_MAX]; /* at seq % SHM_OPS_MAX             */
	struct carry_work *free;
	struct work_block *blocks; /* own them                                      */
	struct coding_default coding;
	struct coding_number *numbers;
	char name[CTL_NAME_BYTES];
};

struct carry {
	struct guard guard;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* on CLOCK_MONOTONIC; broadcast when a watcher leaves, a result
				 * was copied out, or a thread left a group         */
	bool watching;
	uint32_t waiters; /* threads that sleep on changed                                */

	int socket;  /* to the daemon, non-blocking                                */
	int wake_fd; /* datagram socket: the daemon wakes us                       */
	int doorbell_fd[SHM_LANES_MAX]; /* eventfds: we wake the lanes                */
	int event_fd;   /* epoll of wake_fd, ready_fd and socket; -1 until asked for  */
	int ready_fd;   /* eventfd, readable while ready > 0; -1 until asked for      */
	uint32_t ready; /* async works complete and not yet waited for                */

	void *base; /* the shared memory, layout.total_bytes                              */
	struct shm_layout layout;
	struct shm_header *header;
	struct shm_port submit[SHM_LANES_MAX];
	struct shm_port complete[SHM_LANES_MAX]; /* the watcher's                     */
	struct extents arena;

	int ended; /* 0, or negative errno: the connection is over, `text` says why   */
	char text[SENTENCE_BYTES];
	uint32_t in_flight; /* works FLYING of all groups                             */
	struct carry_group *groups[SHM_GROUPS_MAX];
	struct ask *asks; /* requests that wait for their answer; on their callers' stacks */
	uint32_t last_ask;

	bool debug;                   /* refuse races on a group                        */
	uint64_t spin_ns;             /* before sleeping, at most                       */
	uint64_t spinning_ns;         /* ... and this time; the watcher's               */
	uint64_t waiting_since_ns;    /* for the next op to end; 0: nobody; the watcher's */
	uint64_t socket_looked_ns;    /* when the socket was last looked at             */
	char path[108];               /* of the socket                                  */
	char version[CTL_NAME_BYTES]; /* of the daemon                                */
};

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* deadline_after() - `timeout_ns` from now, NEVER_NS at most. */
static inline uint64_t deadline_after(uint64_t timeout_ns)
{
	uint64_t now = now_ns();

	return timeout_ns > NEVER_NS - now ? NEVER_NS : now + timeout_ns;
}

/*
 * handle_check() - may this process call into c?  Before anything else of it is touched.
 * Return: 0; -EINVAL for NULL, -EOWNERDEAD in a child of fork(), with a sentence.
 */
int handle_check(const struct carry *c);

/* handle_check_ended() - locked.  Return: 0, or c->ended with its sentence. */
int handle_check_ended(const struct carry *c);

/*
 * handle_end() - locked: the connection is over; every op in flight and request fails with it.
 * @code: negative errno
 */
__attribute__((format(printf, 3, 4))) void handle_end(struct carry *c, int code, const char *format,
						      ...);

/* handle_submit() - locked, there is room: an entry for a lane, and a wake-up if it sleeps. */
void handle_submit(struct carry *c, uint32_t lane, const struct shm_submission *s);

/* handle_mention() - the same of an op without that lane: it is woken up once in a while. */
void handle_mention(struct carry *c, uint32_t lane, const struct shm_submission *s);

/*
 * options_read() - the caller's struct, which may be shorter or longer than ours.
 * @what: its name, for the sentence
 * @to: ours, `bytes` long; what the caller's has not is zero
 * @from: the caller's, begins with its size_t size; NULL: all zero
 * Return: 0, or -EINVAL: size is not set, or a field that we don't know is not zero.
 */
int options_read(const struct carry *c, const char *what, void *to, size_t bytes, const void *from);

/*
 * answer_write() - the same the other way: fill in the caller's struct, but for its size.
 * answer_check() - before that: is its size set?  Return: 0, or -EINVAL.
 */
void answer_write(void *to, const void *from, size_t bytes);
int answer_check(const struct carry *c, const char *what, const void *to);

#define SCHEDULE_DIRECT 1

/* schedule_id() - of "auto" (or NULL), "direct", "flat", "ring".  Return: 0, or -EINVAL. */
int schedule_id(uint16_t *id, const struct carry *c, const char *name);

/* --- watch.c --------------------------------------------------------------------------------- */

/*
 * watch_round() - locked: take in what is there; if that is nothing let the lock go until
 * something may have changed, or deadline_ns (0: don't wait).
 * Return: 0: look again; -ETIMEDOUT: look again, it was the last time.
 */
int watch_round(struct carry *c, uint64_t deadline_ns);

/*
 * watch_changed() - locked: sleep until another *thread* changes something, or deadline_ns.
 * Return: 0, -ETIMEDOUT.
 */
int watch_changed(struct carry *c, uint64_t deadline_ns);

/*
 * watch_spin_next() - how long to spin next time, when spinning was in vain and a sleep was needed:
 * where an op's end was waited for but shortly, all of it pays; where not, ever less.
 */
uint64_t watch_spin_next(uint64_t spinning_ns, uint64_t most_ns, uint64_t waited_ns);

/* watch_tell() - locked: wake those who sleep in watch_changed(). */
void watch_tell(struct carry *c);

/* watch_rearm() - locked: whatever completes from now on makes carry_event_fd() readable. */
void watch_rearm(struct carry *c);

/* --- work.c ---------------------------------------------------------------------------------- */

/* work_take() - locked.  Return: a work in WORK_POSTING, or NULL: no memory. */
struct carry_work *work_take(struct carry_group *g);

/* work_release() - locked: give it back, whatever its state but FLYING and COPYING. */
void work_release(struct carry_work *w);

/* work_land() - locked: the op is complete (all lanes answered, or the daemon ended). */
void work_land(struct carry_work *w);

/* work_deliver() - locked, lets the lock go to copy: a LANDED work becomes DONE, another stays. */
void work_deliver(struct carry_work *w);

/* work_result() - locked: the facts of a DONE work into the caller's struct. */
void work_result(const struct carry_work *w, struct carry_op_result *result);

/* work_outcome() - locked: the status of a DONE work, with its sentence. */
int work_outcome(const struct carry_work *w);

/* --- group.c: what this process has joined ---------------------------------------------------- */

/* joined_hold(), joined_unhold() - locked: count the threads that destroy must wait for. */
void joined_hold(struct carry_group *g);
void joined_unhold(struct carry_group *g);

/* joined_check() - locked: may ops be posted?  Return: 0, or why not with a sentence. */
int joined_check(const struct carry_group *g);

/*
 * joined_forget() - locked: take it out of its handle, give back what its works hold, free it.
 * joined_free() - free its memory, nothing else.
 */
void joined_forget(struct carry_group *g);
void joined_free(struct carry_group *g);

#endif
