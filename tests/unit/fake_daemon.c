/* fake_daemon.c - see fake_daemon.h. */
#include "tests/unit/fake_daemon.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/ctl.h"
#include "proto/shm.h"

#define ABORTED "rank 0 aborted the group"

struct held {
	uint32_t lane;
	struct shm_submission s;
};

struct client {
	int fd; /* -1: none */
	bool attached;
	int wake_fd;
	int doorbell_fd[SHM_LANES_MAX];
	void *base;
	struct shm_layout layout;
	struct shm_port submit[SHM_LANES_MAX];
	struct shm_port complete[SHM_LANES_MAX];
	bool used[SHM_GROUPS_MAX];
	bool aborted[SHM_GROUPS_MAX];
	uint32_t ranks[SHM_GROUPS_MAX];
	struct held held[SHM_RING_ENTRIES * 2];
	size_t holding;
	bool late; /* a request waits for its answer */
	struct ctl_header late_header;
	char late_body[sizeof(struct ctl_create)];
};

struct fake {
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t taken;
	struct fake_control control;
	struct fake_seen seen;
	uint64_t asked;
	uint64_t done; /* fake_set() calls asked for and taken */
	bool stop;
	bool dead;
	int knock_fd;
	int listen_fd;
	uint32_t lanes;
	struct client clients[FAKE_CLIENTS_MAX];
	char directory[64];
	char path[96];
};

static void drain(int fd)
{
	uint64_t count;

	(void)!read(fd, &count, sizeof(count));
}

static void ring(int fd)
{
	uint64_t one = 1;
	ssize_t written = write(fd, &one, sizeof(one));

	assert(written == sizeof(one));
	(void)written;
}

static void answer(struct client *k, const struct ctl_header *to, uint16_t kind, const void *body,
		   uint32_t bytes)
{
	struct ctl_header header = {CTL_MAGIC, CTL_VERSION, kind, to->id, bytes};

	ctl_send(k->fd, &header, body, NULL, 0);
}

static void answer_error(struct client *k, const struct ctl_header *to, int error, const char *text)
{
	struct ctl_error body = {.error = error};

	snprintf(body.text, sizeof(body.text), "%s", text);
	answer(k, to, CTL_ERROR, &body, sizeof(body));
}

static void hang_up(struct fake *f, struct client *k)
{
	if (k->attached) {
		munmap(k->base, k->layout.total_bytes);
		close(k->wake_fd);
		for (uint32_t i = 0; i < f->lanes; i++)
			close(k->doorbell_fd[i]);
		f->seen.clients--;
	}
	for (uint32_t i = 0; i < SHM_GROUPS_MAX; i++)
		f->seen.groups -= k->used[i];
	f->seen.holding -= (uint32_t)k->holding;
	close(k->fd);
	memset(k, 0, sizeof(*k));
	k->fd = -1;
}

static void make_memory(struct fake *f, struct client *k, uint64_t arena_bytes, int memory)
{
	struct shm_header *h;
	int r = shm_layout(&k->layout, f->lanes, arena_bytes ? arena_bytes : FAKE_ARENA_BYTES);

	assert(r == 0);
	r = ftruncate(memory, (off_t)k->layout.total_bytes);
	assert(r == 0);
	k->base = mmap(NULL, k->layout.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	assert(k->base != MAP_FAILED);
	h = k->base;
	h->version = SHM_VERSION;
	h->lanes = (uint16_t)f->lanes;
	h->total_bytes = k->layout.total_bytes;
	h->rings_offset = k->layout.rings_offset;
	h->arena_offset = k->layout.arena_offset;
	h->arena_bytes = k->layout.arena_bytes + (f->control.attach == FAKE_BAD_LAYOUT ? 4096 : 0);
	h->magic = SHM_MAGIC;
	for (uint32_t i = 0; i < f->lanes; i++) {
		k->submit[i].ring = shm_submit_ring(k->base, &k->layout, i);
		k->complete[i].ring = shm_complete_ring(k->base, &k->layout, i);
	}
}

static void attach(struct fake *f, struct client *k, const struct ctl_header *to,
		   const struct ctl_attach *want)
{
	struct ctl_header header = {CTL_MAGIC, CTL_VERSION, CTL_ATTACHED, to->id,
				    sizeof(struct ctl_attached)};
	struct ctl_attached body = {.lanes = f->lanes, .client = 7, .version = "9.8.7"};
	int fds[CTL_FDS_MAX];

	fds[0] = memfd_create("fake", MFD_CLOEXEC);
	make_memory(f, k, want->arena_bytes, fds[0]);
	fds[1] = k->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (uint32_t i = 0; i < f->lanes; i++)
		fds[2 + i] = k->doorbell_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	k->attached = true;
	f->seen.clients++;
	body.total_bytes =
		k->layout.total_bytes + (f->control.attach == FAKE_WRONG_SIZE ? 4096 : 0);
	if (f->control.attach == FAKE_VERSION)
		header.version++;
	ctl_send(k->fd, &header, &body, fds, 2 + f->lanes - (f->control.attach == FAKE_FEW_FDS));
	close(fds[0]);
}

static void want_attach(struct fake *f, struct client *k, const struct ctl_header *to,
			const struct ctl_attach *want)
{
	switch (f->control.attach) {
	case FAKE_ATTACH:
	case FAKE_VERSION:
	case FAKE_FEW_FDS:
	case FAKE_BAD_LAYOUT:
	case FAKE_WRONG_SIZE: attach(f, k, to, want); break;
	case FAKE_REFUSE: answer_error(k, to, -EPERM, FAKE_REFUSAL); break;
	case FAKE_HANG_UP: hang_up(f, k); break;
	case FAKE_SILENT: break;
	case FAKE_WRONG_KIND: answer(k, to, CTL_OK, NULL, 0); break;
	}
}

static void create(struct fake *f, struct client *k, const struct ctl_header *to,
		   const struct ctl_create *want)
{
	struct ctl_created body = {.group = 4711, .nodes = want->ranks, .node = want->rank};

	while (body.handle < SHM_GROUPS_MAX && k->used[body.handle])
		body.handle++;
	if (body.handle == SHM_GROUPS_MAX) {
		answer_error(k, to, -ENOSPC, "this trainer has 64 groups, the most there can be");
		return;
	}
	body.lanes = f->lanes + (f->control.ask == FAKE_ASK_LANES);
	k->used[body.handle] = true;
	k->aborted[body.handle] = false;
	k->ranks[body.handle] = want->ranks;
	f->seen.groups++;
	memcpy(f->seen.name, want->name, sizeof(want->name));
	memcpy(f->seen.run, want->run, sizeof(want->run));
	memcpy(f->seen.root, want->root, sizeof(want->root));
	f->seen.root_port = want->root_port;
	f->seen.timeout_ms = want->timeout_ms;
	answer(k, to, CTL_CREATED, &body, sizeof(body));
}

static void destroy(struct fake *f, struct client *k, const struct ctl_header *to,
		    const struct ctl_destroy *want)
{
	if (!k->used[want->handle]) {
		answer_error(k, to, -ENOENT, "there is no such group");
		return;
	}
	k->used[want->handle] = false;
	f->seen.groups--;
	f->seen.destroys++;
	f->seen.posted_through = want->posted_through;
	answer(k, to, CTL_OK, NULL, 0);
}

static void request(struct fake *f, struct client *k, const struct ctl_header *h, const void *body)
{
	static const struct ctl_created created = {.group = 1, .nodes = 1, .lanes = 1};

	switch (f->control.ask) {
	case FAKE_ANSWER:
	case FAKE_ASK_LANES: break;
	case FAKE_NO_ANSWER:
		assert(!k->late);
		k->late = true;
		k->late_header = *h;
		memcpy(k->late_body, body, h->bytes);
		return;
	case FAKE_ASK_ERROR: answer_error(k, h, -EEXIST, "rank 0 is given twice"); return;
	case FAKE_ASK_WRONG:
		if (h->kind == CTL_CREATE)
			answer(k, h, CTL_OK, NULL, 0);
		else
			answer(k, h, CTL_CREATED, &created, sizeof(created));
		return;
	case FAKE_ASK_GARBLED: {
		struct ctl_header bad = {CTL_MAGIC + 1, CTL_VERSION, CTL_OK, h->id, 0};

		ctl_send(k->fd, &bad, NULL, NULL, 0);
		return;
	}
	}
	if (h->kind == CTL_CREATE)
		create(f, k, h, body);
	else if (h->kind == CTL_DESTROY)
		destroy(f, k, h, body);
}

static void read_requests(struct fake *f, struct client *k)
{
	_Alignas(8) char packet[1024];
	const struct ctl_header *h = (const void *)packet;

	while (k->fd >= 0) {
		long bytes = ctl_receive(k->fd, packet, sizeof(packet), NULL, NULL);

		if (bytes == -EAGAIN)
			return;
		if (bytes <= 0) {
			hang_up(f, k);
			return;
		}
		assert(ctl_request_check(packet, (size_t)bytes) == CTL_GOOD);
		if (h->kind == CTL_ATTACH)
			want_attach(f, k, h, (const void *)(h + 1));
		else
			request(f, k, h, h + 1);
	}
}

/* One lane's share of the op, as fake_daemon.h says. */
static void compute(const struct fake *f, const struct client *k, uint32_t lane,
		    const struct shm_submission *s)
{
	size_t element = shm_type_bytes(s->type);
	size_t from = (size_t)s->count * lane / f->lanes;
	size_t to = (size_t)s->count * (lane + 1) / f->lanes;
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
		ring(k->wake_fd);
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

/* Complete what is held of a group (or of all: SHM_GROUPS_MAX), in order. */
static void release(struct fake *f, struct client *k, uint32_t group, int status, const char *text)
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
	assert(k->used[s->group]);
	if (s->kind == SHM_ABORT) {
		assert(lane == 0);
		f->seen.aborts++;
		k->aborted[s->group] = true;
		release(f, k, s->group, -ECANCELED, ABORTED);
		return;
	}
	f->seen.ops += lane == 0;
	f->seen.key = s->key;
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

/* Return: whether there was anything. */
static bool read_rings(struct fake *f, struct client *k)
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

static void prepare_sleep(struct fake *f)
{
	for (size_t i = 0; i < FAKE_CLIENTS_MAX; i++)
		for (uint32_t lane = 0; f->clients[i].attached && lane < f->lanes; lane++) {
			drain(f->clients[i].doorbell_fd[lane]);
			shm_sleep_prepare(&f->clients[i].submit[lane].ring->sleeps);
		}
}

static void die(struct fake *f)
{
	for (size_t i = 0; i < FAKE_CLIENTS_MAX; i++)
		if (f->clients[i].fd >= 0)
			hang_up(f, &f->clients[i]);
	if (f->listen_fd >= 0)
		close(f->listen_fd);
	f->listen_fd = -1;
	f->dead = true;
}

static void obey(struct fake *f)
{
	if (f->control.die && !f->dead)
		die(f);
	for (size_t i = 0; i < FAKE_CLIENTS_MAX; i++) {
		struct client *k = &f->clients[i];

		if (k->fd >= 0 && k->late && f->control.ask != FAKE_NO_ANSWER) {
			k->late = false;
			request(f, k, &k->late_header, k->late_body);
		}
		if (k->attached && !f->control.hold)
			release(f, k, SHM_GROUPS_MAX, f->control.status, f->control.why);
	}
	f->done = f->asked;
	pthread_cond_broadcast(&f->taken);
}

static void accept_client(struct fake *f)
{
	int fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	for (size_t i = 0; fd >= 0 && i < FAKE_CLIENTS_MAX; i++)
		if (f->clients[i].fd < 0) {
			f->clients[i].fd = fd;
			return;
		}
	if (fd >= 0)
		close(fd);
}

static nfds_t poll_set(const struct fake *f, struct pollfd *fds)
{
	nfds_t n = 0;

	fds[n++] = (struct pollfd){.fd = f->knock_fd, .events = POLLIN};
	fds[n++] = (struct pollfd){.fd = f->listen_fd, .events = POLLIN};
	for (size_t i = 0; i < FAKE_CLIENTS_MAX; i++) {
		const struct client *k = &f->clients[i];

		if (k->fd < 0)
			continue;
		fds[n++] = (struct pollfd){.fd = k->fd, .events = POLLIN};
		for (uint32_t lane = 0; k->attached && lane < f->lanes; lane++)
			fds[n++] = (struct pollfd){.fd = k->doorbell_fd[lane], .events = POLLIN};
	}
	return n;
}

static void *run(void *argument)
{
	struct fake *f = argument;
	struct pollfd fds[2 + FAKE_CLIENTS_MAX * (1 + SHM_LANES_MAX)];

	pthread_mutex_lock(&f->lock);
	while (!f->stop) {
		bool any = false;
		nfds_t n;

		drain(f->knock_fd);
		obey(f);
		if (!f->dead)
			accept_client(f);
		prepare_sleep(f);
		for (size_t i = 0; i < FAKE_CLIENTS_MAX; i++) {
			struct client *k = &f->clients[i];

			if (k->fd >= 0)
				read_requests(f, k);
			any = (k->fd >= 0 && read_rings(f, k)) || any;
		}
		if (any)
			continue;
		n = poll_set(f, fds);
		pthread_mutex_unlock(&f->lock);
		poll(fds, n, 1000);
		pthread_mutex_lock(&f->lock);
	}
	die(f);
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

struct fake *fake_start(uint32_t lanes)
{
	const char *tmp = getenv("TMPDIR");
	struct fake *f = calloc(1, sizeof(*f));
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int r;

	assert(f);
	f->lanes = lanes;
	for (size_t i = 0; i < FAKE_CLIENTS_MAX; i++)
		f->clients[i].fd = -1;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->taken, NULL);
	f->knock_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	snprintf(f->directory, sizeof(f->directory), "%s/fakeXXXXXX",
		 tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	if (!mkdtemp(f->directory))
		abort();
	snprintf(f->path, sizeof(f->path), "%s/carryd.sock", f->directory);
	memcpy(address.sun_path, f->path, strlen(f->path) + 1);
	f->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = bind(f->listen_fd, (const struct sockaddr *)&address, sizeof(address));
	assert(r == 0);
	r = listen(f->listen_fd, FAKE_CLIENTS_MAX);
	assert(r == 0);
	r = pthread_create(&f->thread, NULL, run, f);
	assert(r == 0);
	(void)r;
	return f;
}

void fake_stop(struct fake *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_mutex_unlock(&f->lock);
	ring(f->knock_fd);
	pthread_join(f->thread, NULL);
	close(f->knock_fd);
	unlink(f->path);
	rmdir(f->directory);
	pthread_cond_destroy(&f->taken);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

const char *fake_path(const struct fake *f)
{
	return f->path;
}

void fake_set(struct fake *f, struct fake_control control)
{
	uint64_t mine;

	pthread_mutex_lock(&f->lock);
	f->control = control;
	mine = ++f->asked;
	ring(f->knock_fd);
	while (f->done < mine)
		pthread_cond_wait(&f->taken, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

struct fake_seen fake_look(struct fake *f)
{
	struct fake_seen seen;

	pthread_mutex_lock(&f->lock);
	seen = f->seen;
	pthread_mutex_unlock(&f->lock);
	return seen;
}
