/*
 * work.c - an op in flight: waiting for it, its outcome, its memory.
 *
 *	FREE -> POSTING -> FLYING -> LANDED -> DONE -> FREE
 *	                                 `-> COPYING -'      when the result is staged
 */
#include "libclient/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static_assert(SENTENCE_BYTES == sizeof(((struct carry_work *)0)->text), "copied whole");

struct carry_work *work_take(struct carry_group *g)
{
	struct carry_work *w = g->free;

	if (!w) {
		struct work_block *block = calloc(1, sizeof(*block));

		if (!block)
			return NULL;
		block->next = g->blocks;
		g->blocks = block;
		for (size_t i = WORKS_PER_BLOCK; i-- > 0;) {
			w = &block->works[i];
			w->group = g;
			w->next = g->free;
			g->free = w;
		}
	}
	g->free = w->next;
	w->next = NULL;
	w->state = WORK_POSTING;
	w->async = false;
	w->staged = false;
	w->status = 0;
	w->seq = 0;
	w->wire_bytes = 0;
	w->key_state = 0;
	w->flags = 0;
	w->culprit = 0;
	return w;
}

/* The descriptor follows the count, so that it is readable exactly while there is something. */
static void ready_add(struct carry *c)
{
	uint64_t one = 1;

	if (c->ready++ == 0 && c->ready_fd >= 0)
		(void)!write(c->ready_fd, &one, sizeof(one));
}

static void ready_remove(struct carry *c)
{
	uint64_t count;

	assert(c->ready > 0);
	if (--c->ready == 0 && c->ready_fd >= 0)
		(void)!read(c->ready_fd, &count, sizeof(count));
}

static void unstage(struct carry_work *w)
{
	int r;

	if (!w->staged)
		return;
	r = extents_free(&w->group->c->arena, w->out_offset, EXTENT_STAGE);
	assert(r == 0);
	(void)r;
	w->staged = false;
}

void work_release(struct carry_work *w)
{
	assert(w->state != WORK_FLYING && w->state != WORK_COPYING);
	if (w->async && (w->state == WORK_LANDED || w->state == WORK_DONE))
		ready_remove(w->group->c);
	unstage(w);
	w->state = WORK_FREE;
	w->seq = 0;
	w->next = w->group->free;
	w->group->free = w;
}

void work_land(struct carry_work *w)
{
	struct carry_group *g = w->group;

	assert(w->state == WORK_FLYING && g->flying[w->seq % SHM_OPS_MAX] == w);
	g->flying[w->seq % SHM_OPS_MAX] = NULL;
	g->in_flight--;
	g->c->in_flight--;
	w->state = WORK_LANDED;
	if (w->async)
		ready_add(g->c);
}

void work_deliver(struct carry_work *w)
{
	struct carry_group *g = w->group;
	struct carry *c = g->c;

	if (w->state != WORK_LANDED)
		return;
	if (w->staged && w->status == 0 && w->bytes > 0) {
		w->state = WORK_COPYING;
		joined_hold(g);
		pthread_mutex_unlock(&c->lock);
		memcpy(w->out, (char *)c->base + c->layout.arena_offset + w->out_offset, w->bytes);
		pthread_mutex_lock(&c->lock);
		joined_unhold(g);
	}
	unstage(w);
	w->state = WORK_DONE;
	watch_tell(c);
}

void work_result(const struct carry_work *w, struct carry_op_result *result)
{
	struct carry_op_result ours = {
		.status = w->status,
		.flags = w->flags,
		.seq = w->seq,
		.wire_bytes = w->wire_bytes,
		.culprit = w->culprit ? (int32_t)w->culprit - 1 : -1,
	};

	answer_write(result, &ours, sizeof(ours));
}

int work_outcome(const struct carry_work *w)
{
	return w->status ? sentence_set(w->group->c, w->status, "%s", w->text) : 0;
}

/* Before the lock: the work's memory is the group's, and lives as long as that. */
static int work_check(const struct carry_work *w)
{
	return w ? handle_check(w->group->c) : sentence_set(NULL, -EINVAL, "the work is NULL");
}

static int released(const struct carry *c)
{
	return sentence_set(c, -EINVAL, "the work was released by an earlier carry_wait()");
}

/* Not so if another thread released it meanwhile, against the rule. */
static bool in_progress(const struct carry_work *w)
{
	return w->state == WORK_FLYING || w->state == WORK_LANDED || w->state == WORK_COPYING;
}

int carry_wait(struct carry_work *w, int64_t timeout_ns, struct carry_op_result *result)
{
	struct carry_group *g;
	struct carry *c;
	uint64_t deadline_ns = NEVER_NS;
	uint64_t seq;
	int r = work_check(w);

	if (r < 0)
		return r;
	g = w->group;
	c = g->c;
	if (result && answer_check(c, "carry_op_result", result) < 0)
		return -EINVAL;
	if (timeout_ns >= 0)
		deadline_ns = timeout_ns ? deadline_after((uint64_t)timeout_ns) : 0;

	pthread_mutex_lock(&c->lock);
	if (w->state == WORK_FREE) {
		pthread_mutex_unlock(&c->lock);
		return released(c);
	}
	joined_hold(g);
	seq = w->seq;
	while (r == 0 && w->seq == seq && in_progress(w)) {
		if (w->state == WORK_FLYING)
			r = watch_round(c, deadline_ns);
		else if (w->state == WORK_COPYING)
			r = watch_changed(c, deadline_ns);
		work_deliver(w);
	}
	if (w->seq != seq || w->state == WORK_FREE) {
		r = released(c);
	} else if (w->state == WORK_DONE) {
		if (result) {
			work_result(w, result);
		}
		r = work_outcome(w);
		work_release(w);
	} else {
		r = sentence_set(c, -ETIMEDOUT, "op %llu of group \"%s\" is not complete yet",
				 (unsigned long long)w->seq, g->name);
	}
	joined_unhold(g);
	pthread_mutex_unlock(&c->lock);
	return r;
}

int carry_test(struct carry_work *w)
{
	struct carry_group *g;
	struct carry *c;
	int r = work_check(w);

	if (r < 0)
		return r;
	g = w->group;
	c = g->c;
	pthread_mutex_lock(&c->lock);
	if (w->state == WORK_FREE) {
		pthread_mutex_unlock(&c->lock);
		return released(c);
	}
	joined_hold(g);
	if (w->state == WORK_FLYING)
		watch_round(c, 0);
	work_deliver(w);
	r = w->state == WORK_DONE;
	joined_unhold(g);
	pthread_mutex_unlock(&c->lock);
	return r;
}

static int event_fd_add(int epoll, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static int event_fd_open(struct carry *c)
{
	int ready = eventfd(c->ready > 0, EFD_CLOEXEC | EFD_NONBLOCK);
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int r = ready < 0 || epoll < 0 ? -errno : 0;

	if (r == 0)
		r = event_fd_add(epoll, ready, EPOLLIN);
	if (r == 0)
		r = event_fd_add(epoll, c->wake_fd, EPOLLIN);
	/* Not EPOLLIN: an answer is another thread's matter.  Its end is everybody's. */
	if (r == 0)
		r = event_fd_add(epoll, c->socket, EPOLLRDHUP);
	if (r < 0) {
		if (ready >= 0)
			close(ready);
		if (epoll >= 0)
			close(epoll);
		return sentence_set(c, r, "make an event descriptor: %s", strerror(-r));
	}
	c->ready_fd = ready;
	c->event_fd = epoll;
	watch_rearm(c);
	return 0;
}

int carry_event_fd(struct carry *c)
{
	int r = handle_check(c);

	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	if (c->event_fd < 0)
		r = event_fd_open(c);
	if (r == 0)
		r = c->event_fd;
	pthread_mutex_unlock(&c->lock);
	return r;
}
