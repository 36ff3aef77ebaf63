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
#include <time.h>
#include <unistd.h>

#include "tests/unit/fake_state.h"

/* Return: had it been rung? */
static bool drain(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) > 0;
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
	int wake[2];
	int r = socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, wake);

	assert(r == 0);
	(void)r;
	fds[0] = memfd_create("fake", MFD_CLOEXEC);
	make_memory(f, k, want->arena_bytes, fds[0]);
	k->wake_fd = wake[0];
	fds[1] = wake[1];
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
	close(fds[1]);
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
	k->posted[body.handle] = 0;
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
	f->seen.posted_through = k->posted[want->handle];
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

static void prepare_sleep(struct fake *f)
{
	for (size_t i = 0; i < FAKE_CLIENTS_MAX; i++)
		for (uint32_t lane = 0; f->clients[i].attached && lane < f->lanes; lane++) {
			bool rung = drain(f->clients[i].doorbell_fd[lane]);

			f->seen.woken += rung && lane > 0;
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
			fake_release(f, k, SHM_GROUPS_MAX, f->control.status, f->control.why);
	}
	f->done = f->asked;
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
			any = (k->fd >= 0 && fake_read_rings(f, k)) || any;
		}
		pthread_cond_broadcast(&f->taken);
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
	fake_ring(f->knock_fd);
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
	fake_ring(f->knock_fd);
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

static uint32_t counted(const struct fake_seen *seen, enum fake_count what)
{
	switch (what) {
	case FAKE_CLIENTS: return seen->clients;
	case FAKE_GROUPS: return seen->groups;
	case FAKE_HOLDING: return seen->holding;
	}
	abort();
}

void fake_wait(struct fake *f, enum fake_count what, uint32_t n)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	pthread_mutex_lock(&f->lock);
	while (counted(&f->seen, what) != n && r == 0)
		r = pthread_cond_timedwait(&f->taken, &f->lock, &until);
	assert(counted(&f->seen, what) == n);
	pthread_mutex_unlock(&f->lock);
}

void pass_ms(unsigned int ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) != 0)
		;
}
