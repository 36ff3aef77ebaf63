/*
 * watch.c - completions and answers come in here; see "watcher" in internal.h.
 *
 * A round: consume the rings; if that gave nothing, spin for c->spinning_ns, then set the sleep
 * flag, look again and sleep on wake_fd and socket; consume.  Who spins lets everybody else on
 * the processor go first, so that it delays nobody: least of all the lane that it waits for.
 * It still costs a processor, so where ops take long it is given up, until one is short again.
 *
 * Once carry_event_fd() was called somebody may sleep on the descriptors without being in
 * libcarry.  So whoever stops watching leaves wake_fd empty, the flag set and the rings looked at
 * after that (watch_rearm): what completes later makes wake_fd readable, what completed before is
 * counted in c->ready.
 */
#include "libclient/internal.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define SOCKET_LOOK_NS 1000000u /* a program that only ever calls carry_test() pays this seldom */
#define WHY_TRIES 1000

/* The daemon may be writing the next reason while we copy this one. */
static void copy_why(char *to, struct shm_why *why)
{
	static_assert(SENTENCE_BYTES >= sizeof(why->text), "room");

	for (int i = 0; i < WHY_TRIES; i++) {
		uint64_t before = atomic_load_explicit(&why->version, memory_order_acquire);
		uint64_t after;

		memcpy(to, why->text, sizeof(why->text));
		atomic_thread_fence(memory_order_acquire);
		after = atomic_load_explicit(&why->version, memory_order_relaxed);
		to[sizeof(why->text) - 1] = 0;
		if (before == after && before % 2 == 0)
			return;
	}
	to[0] = 0;
}

/*
 * A daemon ends no op with -ETIMEDOUT today; should one do so, carry_wait() must not say it: there
 * it means that the op still runs.
 */
static int op_status(int status)
{
	return status == -ETIMEDOUT ? -ETIME : status;
}

static void take_completion(struct carry *c, uint32_t lane, const struct shm_completion *e)
{
	struct carry_group *g = e->group < SHM_GROUPS_MAX ? c->groups[e->group] : NULL;
	struct carry_work *w = g ? g->flying[e->seq % SHM_OPS_MAX] : NULL;

	if (!w || e->work != (uintptr_t)w || e->seq != w->seq || !(w->lanes_left >> lane & 1) ||
	    e->status > 0 || e->status < -4095 || e->flags & ~SHM_NONFINITE ||
	    e->culprit > g->ranks) {
		handle_end(c, -EPROTO,
			   "carryd at %s completed an op that was not in flight "
			   "(lane %u, group %u, op %llu, status %d)",
			   c->path, lane, e->group, (unsigned long long)e->seq, e->status);
		return;
	}
	w->lanes_left &= ~(1u << lane);
	w->wire_bytes += e->wire_bytes;
	if (e->flags & SHM_NONFINITE) {
		w->flags |= CARRY_NONFINITE;
		if (e->culprit && (!w->culprit || e->culprit < w->culprit))
			w->culprit = e->culprit; /* the lowest rank, whichever lane found it */
	}
	if (e->status && !w->status) {
		w->status = op_status(e->status);
		copy_why(w->text, &c->header->why[g->handle]);
		if (!w->text[0])
			snprintf(w->text, sizeof(w->text), "op %llu of group \"%s\" failed: %s",
				 (unsigned long long)w->seq, g->name, strerror(-w->status));
	}
	if (!w->lanes_left) {
		c->waiting_since_ns = 0;
		work_land(w);
	}
}

/* Locked, watcher.  Return: whether there was anything. */
static bool reap(struct carry *c)
{
	bool any = false;

	for (uint32_t lane = 0; lane < c->layout.lanes; lane++) {
		const struct shm_completion *ring = shm_completions(c->base, &c->layout, lane);
		struct shm_port *port = &c->complete[lane];

		while (!c->ended) {
			struct shm_completion entry;
			int r = shm_consume_ready(port);

			if (r == 0)
				break;
			any = true;
			if (r < 0) {
				handle_end(c, r, "carryd at %s broke a completion ring", c->path);
				break;
			}
			entry = ring[port->position % SHM_RING_ENTRIES];
			shm_consume(port);
			take_completion(c, lane, &entry);
		}
	}
	return any;
}

/* Watcher, no lock needed: is there a completion? */
static bool completions_there(const struct carry *c)
{
	for (uint32_t lane = 0; lane < c->layout.lanes; lane++)
		if (shm_consume_ready(&c->complete[lane]) != 0)
			return true;
	return false;
}

/* Locked, watcher. */
static void read_socket(struct carry *c)
{
	c->socket_looked_ns = now_ns();
	while (!c->ended) {
		_Alignas(8) char packet[1024]; /* more than any answer to what we ask */
		long bytes = ctl_receive(c->socket, packet, sizeof(packet), NULL, NULL);

		if (bytes == -EAGAIN)
			return;
		if (bytes > 0) {
			ask_answer(c, packet, (size_t)bytes);
		} else if (bytes == -EMSGSIZE) {
			handle_end(c, -EPROTO, "carryd at %s sent an answer that is too long",
				   c->path);
		} else {
			reap(c); /* what it finished before it ended is finished */
			handle_end(c, -ECONNRESET, "carryd at %s has ended", c->path);
		}
	}
}

/*
 * One wake-up a lane and sleep, as a rule; if others are left, the next sleep is a short one.
 * Another thread may have been faster: don't wait.
 */
static bool take_wake(const struct carry *c)
{
	char any[8];

	return recv(c->wake_fd, any, sizeof(any), MSG_DONTWAIT) > 0;
}

/* Watcher, unlocked.  Return: whether the socket wants to be read. */
static bool sleep_until(struct carry *c, uint64_t deadline_ns)
{
	struct pollfd fds[2] = {{.fd = c->wake_fd, .events = POLLIN},
				{.fd = c->socket, .events = POLLIN | POLLRDHUP}};
	struct timespec left = {0};
	uint64_t now = now_ns();

	if (deadline_ns > now) {
		left.tv_sec = (time_t)((deadline_ns - now) / 1000000000u);
		left.tv_nsec = (long)((deadline_ns - now) % 1000000000u);
	}
	if (ppoll(fds, 2, deadline_ns == NEVER_NS ? NULL : &left, NULL) <= 0)
		return false;
	if (fds[0].revents & POLLIN)
		(void)take_wake(c);
	return fds[1].revents != 0;
}

/* As lanes do, daemon/engine_thread.c. */
uint64_t watch_spin_next(uint64_t spinning_ns, uint64_t most_ns, uint64_t waited_ns)
{
	return waited_ns < 2 * most_ns ? most_ns : spinning_ns / 2;
}

/* Watcher, unlocked: wait for a completion.  Return: whether the socket wants to be read. */
static bool idle(struct carry *c, uint64_t deadline_ns)
{
	uint64_t now = now_ns(), spin_until = now + c->spinning_ns;
	bool answers = false;

	if (!c->waiting_since_ns)
		c->waiting_since_ns = now;
	while (now < spin_until && now < deadline_ns) {
		if (completions_there(c))
			return false;
		(void)sched_yield();
		now = now_ns();
	}
	shm_sleep_prepare(&c->header->trainer_sleeps);
	if (!completions_there(c)) {
		answers = sleep_until(c, deadline_ns);
		c->spinning_ns =
			watch_spin_next(c->spinning_ns, c->spin_ns, now_ns() - c->waiting_since_ns);
	}
	shm_sleep_cancel(&c->header->trainer_sleeps);
	return answers;
}

void watch_rearm(struct carry *c)
{
	if (c->event_fd < 0 || c->ended || c->watching)
		return;
	while (take_wake(c))
		;
	shm_sleep_prepare(&c->header->trainer_sleeps);
	reap(c);
}

void watch_tell(struct carry *c)
{
	if (c->waiters)
		pthread_cond_broadcast(&c->changed);
}

int watch_changed(struct carry *c, uint64_t deadline_ns)
{
	struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
				 .tv_nsec = (long)(deadline_ns % 1000000000u)};
	int error;

	c->waiters++;
	if (deadline_ns == NEVER_NS)
		error = pthread_cond_wait(&c->changed, &c->lock);
	else
		error = pthread_cond_timedwait(&c->changed, &c->lock, &until);
	c->waiters--;
	return error == ETIMEDOUT ? -ETIMEDOUT : 0;
}

int watch_round(struct carry *c, uint64_t deadline_ns)
{
	bool late;

	if (c->ended)
		return 0;
	if (c->watching)
		return watch_changed(c, deadline_ns);
	late = now_ns() >= deadline_ns;
	c->watching = true;
	/* We look ourselves: a wake-up would come after we have taken them, and be left behind. */
	shm_sleep_cancel(&c->header->trainer_sleeps);
	if (!reap(c)) {
		bool answers = late && (c->event_fd >= 0 ||
					now_ns() - c->socket_looked_ns > SOCKET_LOOK_NS);

		if (!late) {
			pthread_mutex_unlock(&c->lock);
			answers = idle(c, deadline_ns);
			pthread_mutex_lock(&c->lock);
			reap(c);
		}
		if (answers)
			read_socket(c);
	}
	c->watching = false;
	watch_rearm(c);
	watch_tell(c);
	return late ? -ETIMEDOUT : 0;
}
