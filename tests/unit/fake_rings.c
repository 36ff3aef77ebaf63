/* fake_rings.c - the fake daemon's ops: submissions in, completions out; see fake_state.h. */
#include "tests/unit/fake_state.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ABORTED "rank 0 aborted the group"

void fake_ring(int fd)
{
	uint64_t one = 1;
	ssize_t written = write(fd, &one, sizeof(one));

	assert(written == sizeof(one));
	(void)written;
}

/* One lane's share of the op, as fake_daemon.h says. */
static void compute(const struct fake *f, const struct client *k, uint32_t lane,
		    const struct shm_submission *s)
{
	size_t element = shm_type_bytes(s->type);
	uint32_t lanes = shm_op_lanes(s->count * element, f->lanes);
	size_t from = (size_t)s->count * lane / lanes;
	size_t to = (size_t)s->count * (lane + 1) / lanes;
	char *arena = (char *)k->base + k->layout.arena_offset;
	void *out = arena + s->out_offset + from * element;
	int32_t ranks = (int32_t)k->ranks[s->group];

	if (s->in_offset != s->out_offset)
		memcpy(out, arena + s->in_offset + from * element, (to - from) * element);
	if (s->reduce != SHM_SUM)
		return;
	for (size_t i = 0; i < to - from; i++) {
		if (s->type == SHM_F32)
			((float *)out)[i] *= (float)ranks;
		else if (s->type == SHM_F64)
			((double *)out)[i] *= ranks;
		else if (s->type == SHM_I32)
			((int32_t *)out)[i] *= ranks;
		else if (s->type == SHM_I64)
			((int64_t *)out)[i] *= ranks;
	}
}

static void publish(struct client *k, uint32_t lane, const struct shm_completion *e)
{
	struct shm_port *port = &k->complete[lane];
	struct shm_header *h = k->base;

	assert(shm_produce_room(port) == 1);
	shm_completions(k->base, &k->layout, lane)[port->position % SHM_RING_ENTRIES] = *e;
	shm_produce(port);
	if (shm_wake_needed(&h->trainer_sleeps))
		(void)send(k->wake_fd, h, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void why(struct client *k, uint32_t group, const char *text)
{
	struct shm_why *w = &((struct shm_header *)k->base)->why[group];

	atomic_fetch_add(&w->version, 1);
	snprintf(w->text, sizeof(w->text), "%s", text);
	atomic_fetch_add(&w->version, 1);
}

static void complete(struct fake *f, struct client *k, uint32_t lane,
		     const struct shm_submission *s, int status, const char *text)
{
	struct shm_completion e = {.work = s->work,
				   .seq = s->seq,
				   .status = status,
				   .group = s->group,
				   .wire_bytes = s->count + lane};
	enum fake_garbage garbage = f->control.garbage;

	f->control.garbage = FAKE_NO_GARBAGE;
	if (status == 0)
		compute(f, k, lane, s);
	else
		why(k, s->group, text ? text : "");
	if (garbage == FAKE_BAD_SEQ)
		e.seq += SHM_OPS_MAX;
	if (garbage == FAKE_BAD_GROUP)
		e.group = SHM_GROUPS_MAX + 3;
	if (garbage == FAKE_BAD_STATUS)
		e.status = 17;
	publish(k, lane, &e);
	if (garbage == FAKE_TWICE)
		publish(k, lane, &e);
	if (garbage == FAKE_BAD_RING)
		atomic_store(&k->complete[lane].ring->tail, UINT64_C(1) << 40);
}

void fake_release(struct fake *f, struct client *k, uint32_t group, int status, const char *text)
{
	size_t kept = 0;

	for (size_t i = 0; i < k->holding; i++) {
		if (group != SHM_GROUPS_MAX && k->held[i].s.group != group)
			k->held[kept++] = k->held[i];
		else
			complete(f, k, k->held[i].lane, &k->held[i].s, status, text);
	}
	f->seen.holding -= (uint32_t)(k->holding - kept);
	k->holding = kept;
}

static void submission(struct fake *f, struct client *k, uint32_t lane,
		       const struct shm_submission *s)
{
	enum shm_verdict verdict = shm_submission_check(s, k->layout.arena_bytes);

	if (verdict != SHM_OK)
		fprintf(stderr, "fake daemon: submission refused: %s\n", shm_verdict_name(verdict));
	assert(verdict == SHM_OK);
	if (s->kind == SHM_ALLREDUCE &&
	    lane >= shm_op_lanes(s->count * shm_type_bytes(s->type), f->lanes)) {
		f->seen.passed++; /* the group may be destroyed by now */
		return;
	}
	assert(k->used[s->group]);
	if (s->kind == SHM_ABORT) {
		assert(lane == 0);
		f->seen.aborts++;
		k->aborted[s->group] = true;
		fake_release(f, k, s->group, -ECANCELED, ABORTED);
		return;
	}
	/* What the daemon need not take, and libcarry copies. */
	assert(s->in_offset % shm_type_bytes(s->type) == 0);
	assert(s->out_offset % shm_type_bytes(s->type) == 0);
	f->seen.ops += lane == 0;
	f->seen.key = s->key;
	k->posted[s->group] = s->seq;
	f->seen.schedule = s->schedule;
	if (k->aborted[s->group]) {
		complete(f, k, lane, s, -ECANCELED, ABORTED); /* posted before, on a slower lane */
	} else if (f->control.hold) {
		k->held[k->holding++] = (struct held){lane, *s};
		f->seen.holding++;
	} else {
		complete(f, k, lane, s, f->control.status, f->control.why);
	}
}

bool fake_read_rings(struct fake *f, struct client *k)
{
	bool any = false;

	for (uint32_t lane = 0; k->attached && !f->control.deaf && lane < f->lanes; lane++) {
		struct shm_port *port = &k->submit[lane];

		while (shm_consume_ready(port) == 1) {
			struct shm_submission s = shm_submissions(
				k->base, &k->layout, lane)[port->position % SHM_RING_ENTRIES];

			shm_consume(port);
			submission(f, k, lane, &s);
			any = true;
		}
	}
	return any;
}
