/*
 * open.c - attaching to the daemon, and leaving it.
 *
 * Nothing but the handle's own memory exists before the daemon has answered; each step has its
 * undoing in handle_release(), which takes a handle in any state.
 */
#include "libclient/internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libclient/launcher.h"

#define SOCKET_PATH "/run/carry/carryd.sock"
#define OPEN_NS UINT64_C(30000000000)
#define CONNECT_RETRY_MS 10

/*
 * How long a wait spins before it sleeps.  To wake a sleeper on another processor costs both sides
 * about 10 us, and 20 us where processors are virtual, so spinning for a few times that catches ops
 * of tens of us without losing more than it can save.
 */
#define SPIN_NS UINT64_C(50000)
#define SPIN_US_MAX 1000000u

static void handle_release(struct carry *c)
{
	bool child = c->guard.page && guard_forked(&c->guard);

	/* Memory only: what is in flight is the daemon's until it sees that we have gone, and in
	 * a child of fork() the descriptors are the parent's too. */
	for (uint32_t i = 0; i < SHM_GROUPS_MAX; i++)
		if (c->groups[i])
			joined_free(c->groups[i]);
	extents_deinit(&c->arena);
	/* In a child the arena is not mapped, and something else may be at its address. */
	if (c->base && !child)
		munmap(c->base, c->layout.total_bytes);
	for (uint32_t i = 0; i < SHM_LANES_MAX; i++)
		if (c->doorbell_fd[i] >= 0)
			close(c->doorbell_fd[i]);
	if (c->event_fd >= 0)
		close(c->event_fd);
	if (c->ready_fd >= 0)
		close(c->ready_fd);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	if (c->socket >= 0)
		close(c->socket);
	/* In a child a thread that is not there may hold the lock. */
	if (!child) {
		pthread_cond_destroy(&c->changed);
		pthread_mutex_destroy(&c->lock);
	}
	guard_close(&c->guard);
	free(c);
}

static int handle_new(struct carry **out)
{
	struct carry *c = calloc(1, sizeof(*c));
	pthread_condattr_t monotonic;
	int r;

	if (!c)
		return sentence_set(NULL, -ENOMEM, "no memory for a handle");
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	c->socket = -1;
	c->wake_fd = -1;
	c->event_fd = -1;
	c->ready_fd = -1;
	for (uint32_t i = 0; i < SHM_LANES_MAX; i++)
		c->doorbell_fd[i] = -1;
	r = guard_open(&c->guard);
	if (r < 0) {
		handle_release(c);
		return sentence_set(NULL, r, "make a page that fork() wipes: %s", strerror(-r));
	}
	*out = c;
	return 0;
}

static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

/* Options and environment into c and the request. */
static int settings(struct carry *c, struct ctl_attach *attach, const struct carry_open_options *o)
{
	const char *path = o->socket ? o->socket : environment("CARRY_SOCKET");
	const char *arena = environment("CARRY_ARENA_BYTES");
	const char *spin = environment("CARRY_SPIN_US");
	const char *debug = environment("CARRY_DEBUG");
	uint64_t bytes = o->arena_bytes;
	uint64_t spin_us;

	if (!path)
		path = SOCKET_PATH;
	if (strlen(path) >= sizeof(c->path))
		return sentence_set(NULL, -ENAMETOOLONG,
				    "socket path \"%s\" is longer than %zu bytes", path,
				    sizeof(c->path) - 1);
	assert(c);
	memcpy(c->path, path, strlen(path) + 1);

	if (!bytes && arena && launcher_size(&bytes, arena) < 0)
		return sentence_set(NULL, -EINVAL,
				    "CARRY_ARENA_BYTES=%s in the environment is not a size such as "
				    "268435456 or 256M",
				    arena);
	if (bytes > UINT64_C(1) << 43)
		return sentence_set(NULL, -EINVAL, "an arena of %" PRIu64 " bytes is too large",
				    bytes);
	if (bytes && bytes < SHM_ARENA_BYTES_MIN)
		bytes = SHM_ARENA_BYTES_MIN;
	attach->arena_bytes = (bytes + SHM_ARENA_ALIGN - 1) / SHM_ARENA_ALIGN * SHM_ARENA_ALIGN;
	snprintf(attach->name, sizeof(attach->name), "%s", program_invocation_short_name);

	c->spin_ns = SPIN_NS;
	if (spin) {
		if (launcher_number(&spin_us, spin, SPIN_US_MAX) < 0)
			return sentence_set(NULL, -EINVAL,
					    "CARRY_SPIN_US=%s in the environment is not a number "
					    "from 0 to %u",
					    spin, SPIN_US_MAX);
		c->spin_ns = spin_us * 1000u;
	}
	c->spinning_ns = c->spin_ns;
#ifdef CARRY_DEBUG
	c->debug = true;
#endif
	if (debug)
		c->debug = strcmp(debug, "0") != 0;
	return 0;
}

static int connect_error(const struct carry *c, int error)
{
	switch (error) {
	case ENOENT:
		return sentence_set(NULL, -error,
				    "there is no socket %s: start carryd, or set CARRY_SOCKET to "
				    "where it listens",
				    c->path);
	case ECONNREFUSED:
		return sentence_set(NULL, -error, "nobody listens on %s: start carryd", c->path);
	case EACCES:
		return sentence_set(
			NULL, -error,
			"no permission to use %s: join the group that owns it (see ls -l)",
			c->path);
	case EAGAIN:
		return sentence_set(NULL, -ETIMEDOUT,
				    "carryd at %s accepts no connections: is it stopped?", c->path);
	case EPROTOTYPE:
		return sentence_set(NULL, -error, "%s is another program's socket, not carryd's",
				    c->path);
	default: return sentence_set(NULL, -error, "connect to %s: %s", c->path, strerror(error));
	}
}

static int connect_socket(struct carry *c, uint64_t deadline_ns)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int error;

	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): a member array */
	memcpy(address.sun_path, c->path, strlen(c->path) + 1);
	c->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->socket < 0)
		return sentence_set(NULL, -errno, "make a socket: %s", strerror(errno));
	for (;;) {
		if (connect(c->socket, (const struct sockaddr *)&address, sizeof(address)) == 0)
			return 0;
		error = errno;
		/* EAGAIN: the daemon's backlog is full; poll() does not tell when it is not. */
		if (error != EINTR && (error != EAGAIN || now_ns() >= deadline_ns))
			return connect_error(c, error);
		if (error == EAGAIN)
			poll(NULL, 0, CONNECT_RETRY_MS);
	}
}

/* The daemon's answer with its descriptors; those are the caller's, also on failure. */
static int receive_answer(const struct carry *c, struct ctl_attached *attached, int *fds,
			  size_t *nfds, uint64_t deadline_ns)
{
	_Alignas(8) char packet[1024];
	const struct ctl_header *header = (const void *)packet;
	struct pollfd readable = {.fd = c->socket, .events = POLLIN};
	enum ctl_verdict verdict;
	long bytes;

	while ((bytes = ctl_receive(c->socket, packet, sizeof(packet), fds, nfds)) == -EAGAIN) {
		uint64_t now = now_ns();

		if (now >= deadline_ns)
			return sentence_set(NULL, -ETIMEDOUT,
					    "carryd at %s does not answer: is it stopped?",
					    c->path);
		poll(&readable, 1, deadline_ns - now > 1000000000u ? 1000 : 10);
	}
	if (bytes == 0 || bytes == -ECONNRESET)
		return sentence_set(NULL, -ECONNRESET,
				    "carryd at %s closed the connection without an answer",
				    c->path);
	if (bytes < 0)
		return sentence_set(NULL, (int)bytes, "read from carryd at %s: %s", c->path,
				    strerror((int)-bytes));
	verdict = ctl_answer_check(packet, (size_t)bytes);
	if (verdict != CTL_GOOD)
		return sentence_set(NULL, -EPROTO, "carryd at %s %s", c->path,
				    ask_verdict(verdict));
	if (header->kind == CTL_ERROR) {
		const struct ctl_error *error = (const void *)(header + 1);

		return sentence_set(NULL, error->error, "carryd at %s refuses: %s", c->path,
				    error->text);
	}
	if (header->kind != CTL_ATTACHED)
		return sentence_set(NULL, -EPROTO, "carryd at %s sent an answer of kind %u",
				    c->path, header->kind);
	memcpy(attached, header + 1, sizeof(*attached));
	return 0;
}

/* Map the memory, find everything in it.  @memory: the memfd, the caller's */
static int map_memory(struct carry *c, const struct ctl_attached *attached, int memory)
{
	struct stat s;
	void *base;
	int r;

	if (fstat(memory, &s) < 0 || s.st_size < 0 || (uint64_t)s.st_size != attached->total_bytes)
		return sentence_set(NULL, -EPROTO,
				    "carryd at %s gave memory of another size than it said",
				    c->path);
	base = mmap(NULL, attached->total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (base == MAP_FAILED)
		return sentence_set(NULL, -errno, "map the arena, %" PRIu64 " bytes: %s",
				    attached->total_bytes, strerror(errno));
	c->base = base;
	c->layout.total_bytes = attached->total_bytes;
	c->header = base;
	if (madvise(base, attached->total_bytes, MADV_DONTFORK) < 0)
		return sentence_set(NULL, -errno, "keep the arena from children: %s",
				    strerror(errno));
	if (shm_header_check(c->header, attached->total_bytes, &c->layout) < 0 ||
	    c->layout.lanes != attached->lanes) {
		c->layout.total_bytes = attached->total_bytes;
		return sentence_set(
			NULL, -EPROTO,
			"carryd at %s made an arena of another layout: update carryd or "
			"libcarry",
			c->path);
	}
	for (uint32_t i = 0; i < c->layout.lanes; i++) {
		c->submit[i].ring = shm_submit_ring(base, &c->layout, i);
		c->complete[i].ring = shm_complete_ring(base, &c->layout, i);
	}
	r = extents_init(&c->arena, c->layout.arena_bytes);
	if (r < 0)
		return sentence_set(NULL, r,
				    "no memory for the books of an arena of %" PRIu64 " bytes",
				    c->layout.arena_bytes);
	return 0;
}

static int attach(struct carry *c, const struct ctl_attach *request, uint64_t deadline_ns)
{
	struct ctl_header header = {.magic = CTL_MAGIC,
				    .version = CTL_VERSION,
				    .kind = CTL_ATTACH,
				    .id = ++c->last_ask,
				    .bytes = sizeof(*request)};
	struct ctl_attached attached = {0};
	int fds[CTL_FDS_MAX];
	size_t nfds = 0;
	long sent = ctl_send(c->socket, &header, request, NULL, 0);
	int r;

	if (sent < 0)
		return sentence_set(NULL, (int)sent, "write to carryd at %s: %s", c->path,
				    strerror((int)-sent));
	r = receive_answer(c, &attached, fds, &nfds, deadline_ns);
	if (r == 0 && nfds != 2 + attached.lanes)
		r = sentence_set(
			NULL, -EPROTO,
			"carryd at %s gave %zu descriptors for %u lanes: are too many files "
			"open (ulimit -n)?",
			c->path, nfds, attached.lanes);
	if (r == 0)
		r = map_memory(c, &attached, fds[0]);
	if (r < 0) {
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		return r;
	}
	close(fds[0]);
	c->wake_fd = fds[1];
	for (uint32_t i = 0; i < attached.lanes; i++)
		c->doorbell_fd[i] = fds[2 + i];
	memcpy(c->version, attached.version, sizeof(c->version));
	return 0;
}

int carry_open_with(struct carry **out, const struct carry_open_options *options)
{
	struct carry_open_options o;
	struct ctl_attach request = {0};
	uint64_t deadline_ns;
	struct carry *c = NULL;
	int r = options_read(NULL, "carry_open_options", &o, sizeof(o), options);

	if (r == 0)
		r = handle_new(&c);
	if (r < 0)
		return r;
	deadline_ns = deadline_after(o.timeout_ns ? o.timeout_ns : OPEN_NS);
	r = settings(c, &request, &o);
	if (r == 0)
		r = connect_socket(c, deadline_ns);
	if (r == 0)
		r = attach(c, &request, deadline_ns);
	if (r < 0) {
		handle_release(c);
		return r;
	}
	*out = c;
	return 0;
}

int carry_open(struct carry **out, const char *socket)
{
	struct carry_open_options options = {.size = sizeof(options), .socket = socket};

	return carry_open_with(out, &options);
}

void carry_close(struct carry *c)
{
	if (!c)
		return;
	sentence_forget(c);
	handle_release(c);
}
