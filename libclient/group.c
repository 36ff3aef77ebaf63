/* group.c - groups: create, destroy, abort, facts; see carry.h. */
#include "libclient/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/launcher.h"
#include "libclient/root.h"

#define TIMEOUT_NS UINT64_C(300000000000) /* for the ranks to come                        */
#define ANSWER_NS UINT64_C(5000000000)    /* for the daemon, on top of what it may take   */
#define DESTROY_NS UINT64_C(10000000000)  /* for the daemon's answer to destroy           */
#define ABORT_NS UINT64_C(1000000000)     /* for room in the ring; it has some normally   */

void joined_hold(struct carry_group *g)
{
	g->inside++;
}

void joined_unhold(struct carry_group *g)
{
	assert(g->inside > 0);
	if (--g->inside == 0)
		watch_tell(g->c);
}

int joined_check(const struct carry_group *g)
{
	if (g->c->ended)
		return handle_check_ended(g->c);
	if (g->aborted)
		return sentence_set(g->c, -ECANCELED, "group \"%s\" was aborted", g->name);
	return 0;
}

void joined_free(struct carry_group *g)
{
	struct work_block *next;

	for (struct work_block *b = g->blocks; b; b = next) {
		next = b->next;
		free(b);
	}
	coding_free(g->numbers);
	coding_default_free(&g->coding);
	free(g);
}

void joined_forget(struct carry_group *g)
{
	struct carry *c = g->c;

	for (struct work_block *b = g->blocks; b; b = b->next)
		for (size_t i = 0; i < WORKS_PER_BLOCK; i++)
			if (b->works[i].state != WORK_FREE)
				work_release(&b->works[i]);
	c->groups[g->handle] = NULL;
	joined_free(g);
}

static int text_option(char *to, const struct carry *c, const char *what, const char *text)
{
	size_t bytes = strlen(text);

	if (bytes == 0)
		return sentence_set(c, -EINVAL, "the %s is empty", what);
	if (bytes >= CTL_NAME_BYTES)
		return sentence_set(c, -ENAMETOOLONG, "the %s is longer than %d bytes: \"%s\"",
				    what, CTL_NAME_BYTES - 1, text);
	for (const char *t = text; *t; t++)
		if ((unsigned char)*t < 0x20 || *t == 0x7f)
			return sentence_set(c, -EINVAL, "the %s has a control character: \"%s\"",
					    what, text);
	memcpy(to, text, bytes + 1);
	return 0;
}

/* Options, then the environment, into the request.  Not locked: may ask a name server. */
static int create_request(struct ctl_create *q, const struct carry *c,
			  const struct carry_group_options *o)
{
	struct launcher l;
	int r = launcher_read(&l, c, o);

	if (r < 0)
		return r;
	if (o->reserved0 || o->reserved1)
		return sentence_set(c, -EINVAL, "a reserved field of carry_group_options is set");
	memset(q, 0, sizeof(*q));
	r = text_option(q->name, c, "group's name", o->name ? o->name : "world");
	if (r == 0)
		r = text_option(q->run, c, "run id", l.run);
	if (r == 0)
		r = schedule_id(&q->schedule, c, o->schedule);
	if (r == 0)
		r = root_resolve(q->root, sizeof(q->root), c, l.root);
	if (r < 0)
		return r;
	q->root_port = l.root_port;
	q->rank = l.rank;
	q->ranks = l.ranks;
	return 0;
}

static uint32_t milliseconds(uint64_t ns)
{
	uint64_t ms = ns / 1000000u + (ns % 1000000u != 0);

	return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

/* Locked: take up what the daemon created. */
static int group_adopt(struct carry_group *g, const struct ctl_created *created)
{
	struct carry *c = g->c;

	if (c->groups[created->handle] || created->lanes > c->layout.lanes) {
		handle_end(
			c, -EPROTO,
			"carryd at %s created a group that cannot be (handle %u, %u lanes of %u)",
			c->path, created->handle, created->lanes, c->layout.lanes);
		return handle_check_ended(c);
	}
	g->handle = created->handle;
	g->node = created->node;
	g->nodes = created->nodes;
	g->lanes = created->lanes;
	c->groups[g->handle] = g;
	return 0;
}

int carry_group_create(struct carry_group **out, struct carry *c,
		       const struct carry_group_options *options)
{
	struct carry_group_options o;
	struct ctl_create request;
	struct carry_group *g;
	struct carry_work *w;
	struct ask ask;
	int r = handle_check(c);

	if (r == 0)
		r = options_read(c, "carry_group_options", &o, sizeof(o), options);
	if (r == 0)
		r = create_request(&request, c, &o);
	if (r < 0)
		return r;
	g = calloc(1, sizeof(*g));
	if (!g)
		return sentence_set(c, -ENOMEM, "no memory for a group");
	g->c = c;
	r = coding_default_read(&g->coding, c, request.name, &o);
	if (r < 0) {
		joined_free(g);
		return r;
	}
	/* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): create_request() returned 0 */
	g->rank = request.rank;
	g->ranks = request.ranks;
	g->timeout_ns = o.timeout_ns ? o.timeout_ns : TIMEOUT_NS;
	request.timeout_ms = milliseconds(g->timeout_ns);
	memcpy(g->name, request.name, sizeof(g->name));

	pthread_mutex_lock(&c->lock);
	w = work_take(g); /* makes the works, so that ops allocate none */
	if (w) {
		uint64_t wait_ns = deadline_after(g->timeout_ns);

		work_release(w);
		r = ask_run(c, &ask, CTL_CREATE, &request, sizeof(request),
			    wait_ns < NEVER_NS - ANSWER_NS ? wait_ns + ANSWER_NS : NEVER_NS);
		if (r == -ETIMEDOUT && !ask.done)
			sentence_set(c, r, "carryd at %s did not answer: is it stopped?", c->path);
		if (r == 0)
			r = group_adopt(g, &ask.created);
	} else {
		r = sentence_set(c, -ENOMEM, "no memory for the works of a group");
	}
	pthread_mutex_unlock(&c->lock);
	if (r < 0)
		joined_free(g);
	else
		*out = g;
	return r;
}

/* Locked: until no op is in flight and no other thread is in a call on the group. */
static int group_quiet(struct carry_group *g)
{
	uint64_t deadline_ns = deadline_after(g->timeout_ns);
	int r = 0;

	while ((g->in_flight || g->inside) && r == 0)
		r = g->in_flight ? watch_round(g->c, deadline_ns)
				 : watch_changed(g->c, deadline_ns);
	if (!g->in_flight && !g->inside)
		return 0;
	return sentence_set(g->c, -ETIMEDOUT,
			    "group \"%s\" still has %u ops in flight and %u threads in calls: "
			    "carry_group_abort() ends them",
			    g->name, g->in_flight, g->inside);
}

int carry_group_destroy(struct carry_group *g)
{
	struct ctl_destroy request = {0};
	struct ask ask;
	struct carry *c;
	int r;

	if (!g)
		return 0;
	c = g->c;
	r = handle_check(c);
	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	r = group_quiet(g);
	if (r < 0)
		goto unlock;
	request.handle = g->handle;
	r = ask_run(c, &ask, CTL_DESTROY, &request, sizeof(request), deadline_after(DESTROY_NS));
	/* Nothing of it is in flight, so there is nothing left to wait for on this side. */
	if (r == -ETIMEDOUT && !ask.done)
		r = sentence_set(c, -EIO, "carryd at %s did not answer: is it stopped?", c->path);
	joined_forget(g);
unlock:
	pthread_mutex_unlock(&c->lock);
	return r;
}

int carry_group_abort(struct carry_group *g)
{
	struct shm_submission s = {.kind = SHM_ABORT};
	uint64_t deadline_ns = deadline_after(ABORT_NS);
	struct carry *c;
	int r;

	if (!g)
		return sentence_set(NULL, -EINVAL, "the group is NULL");
	c = g->c;
	r = handle_check(c);
	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	joined_hold(g);
	while (!c->ended && !g->aborted) {
		int room = shm_produce_room(&c->submit[0]);

		if (room > 0) {
			s.group = (uint8_t)g->handle;
			g->aborted = true;
			handle_submit(c, 0, &s);
			watch_tell(c);
		} else if (room < 0) {
			handle_end(c, room, "carryd at %s broke a submission ring", c->path);
		} else if (now_ns() >= deadline_ns) {
			r = sentence_set(c, -EAGAIN, "carryd at %s takes nothing from its ring",
					 c->path);
			break;
		} else {
			watch_round(c, now_ns() + 1000000u);
		}
	}
	if (c->ended)
		r = handle_check_ended(c);
	joined_unhold(g);
	pthread_mutex_unlock(&c->lock);
	return r;
}

uint32_t carry_group_rank(const struct carry_group *g)
{
	return g->rank;
}

uint32_t carry_group_ranks(const struct carry_group *g)
{
	return g->ranks;
}

uint32_t carry_group_nodes(const struct carry_group *g)
{
	return g->nodes;
}

uint32_t carry_group_node(const struct carry_group *g)
{
	return g->node;
}
