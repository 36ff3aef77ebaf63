/* client_attach.c - the memory shared with a trainer: its price, its making; see client.h. */
#include "daemon/client_state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Mapped for one user, or with uid (uid_t)-1 for all; clients that are gone included. */
static uint64_t attach_charged(const struct clients *c, uid_t uid)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < c->slots; i++)
		if (c->table[i].base && (uid == (uid_t)-1 || c->table[i].uid == uid))
			bytes += c->table[i].layout.total_bytes;
	return bytes;
}

static int attach_limit(uint64_t needed, uint64_t charged, uint64_t limit, const char *key,
			struct err *err)
{
	uint64_t left = charged < limit ? limit - charged : 0;

	if (needed <= left)
		return 0;
	return err_set(err, -ENOMEM,
		       "shared memory of %" PRIu64 " bytes is needed, and %" PRIu64
		       " of [limits] %s = %" PRIu64 " are left",
		       needed, left, key, limit);
}

static int attach_size(const struct clients *c, uid_t uid, uint64_t wanted,
		       struct shm_layout *layout, struct err *err)
{
	const struct config *config = c->config;
	uint64_t bytes = wanted ? wanted : config->arena_bytes_default;
	int error;

	if (bytes < SHM_ARENA_BYTES_MIN)
		bytes = SHM_ARENA_BYTES_MIN;
	bytes = (bytes + SHM_ARENA_ALIGN - 1) / SHM_ARENA_ALIGN * SHM_ARENA_ALIGN;
	if (bytes > config->arena_bytes_max)
		return err_set(err, -ENOMEM,
			       "an arena of %" PRIu64
			       " bytes is more than [limits] arena_bytes_max = %" PRIu64,
			       bytes, config->arena_bytes_max);
	if (shm_layout(layout, (uint32_t)config->lanes, bytes))
		return err_set(err, -EINVAL, "an arena of %" PRIu64 " bytes cannot be laid out",
			       bytes);
	error = attach_limit(layout->total_bytes, attach_charged(c, uid),
			     config->arena_bytes_per_uid, "arena_bytes_per_uid", err);
	if (error)
		return error;
	return attach_limit(layout->total_bytes, attach_charged(c, (uid_t)-1), config->arena_bytes,
			    "arena_bytes", err);
}

static int attach_descriptor_error(int code, const char *what, struct err *err)
{
	if (code == -EMFILE || code == -ENFILE)
		return err_set(err, code, "carryd has no file descriptor left for %s (ulimit -n)",
			       what);
	return err_set(err, code, "make %s: %s", what, strerror(-code));
}

static int attach_memory(struct client *one, const struct shm_layout *layout, struct err *err)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	int fd = memfd_create("carry-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *base;

	if (fd < 0)
		return attach_descriptor_error(-errno, "the arena", err);
	if (ftruncate(fd, (off_t)layout->total_bytes) || fcntl(fd, F_ADD_SEALS, seals)) {
		int code = -errno;

		(void)close(fd);
		return err_set(err, code, "make an arena of %" PRIu64 " bytes: %s",
			       layout->total_bytes, strerror(-code));
	}
	base = mmap(NULL, layout->total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		    fd, 0);
	if (base == MAP_FAILED) {
		int code = -errno;

		(void)close(fd);
		return err_set(err, code, "map an arena of %" PRIu64 " bytes: %s",
			       layout->total_bytes, strerror(-code));
	}
	one->memory_fd = fd;
	one->base = base;
	one->layout = *layout;
	return 0;
}

static void attach_header(const struct client *one)
{
	struct shm_header *header = one->base;

	header->version = SHM_VERSION;
	header->lanes = (uint16_t)one->layout.lanes;
	header->total_bytes = one->layout.total_bytes;
	header->rings_offset = one->layout.rings_offset;
	header->arena_offset = one->layout.arena_offset;
	header->arena_bytes = one->layout.arena_bytes;
	header->magic = SHM_MAGIC;
}

/*
 * Not an eventfd: that would be one open file, ours too, and the trainer could make it block.
 * One wake-up in it is enough; the least that the kernel allows is a few.
 */
static int attach_wake(struct client *one, struct err *err)
{
	const int least = 1;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds))
		return attach_descriptor_error(-errno, "the trainer's wake-up socket", err);
	one->wake_fd = fds[0];
	one->trainer_fd = fds[1];
	(void)setsockopt(one->wake_fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
	(void)shutdown(one->wake_fd, SHUT_RD); /* it has nothing to tell us */
	return 0;
}

/*
 * The trainer's end of a doorbell is the open file that we watch, so we neither read nor write
 * it: whatever the trainer does to it, we hear an edge or none.
 */
static int attach_doorbells(const struct clients *c, struct client *one, struct err *err)
{
	struct epoll_event edge = {.events = EPOLLIN | EPOLLET};

	for (uint32_t lane = 0; lane < one->layout.lanes; lane++) {
		one->doorbells[lane] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (one->doorbells[lane] < 0)
			return attach_descriptor_error(-errno, "the trainer's doorbell", err);
		if (epoll_ctl(c->lane_fds[lane], EPOLL_CTL_ADD, one->doorbells[lane], &edge))
			return err_set(err, -errno, "watch the trainer's doorbell on lane %u: %s",
				       lane, strerror(errno));
	}
	return 0;
}

/* The trainer's copies live on, and would keep them in the epoll. */
void client_doorbells_close(const struct clients *c, struct client *one)
{
	for (uint32_t lane = 0; lane < SHM_LANES_MAX; lane++) {
		if (one->doorbells[lane] < 0)
			continue;
		(void)epoll_ctl(c->lane_fds[lane], EPOLL_CTL_DEL, one->doorbells[lane], NULL);
		(void)close(one->doorbells[lane]);
		one->doorbells[lane] = -1;
	}
}

/*
 * The death of a process that we cannot see (another pid namespace: pid 0) is noticed by
 * its socket alone.
 */
static int attach_pid(struct clients *c, uint32_t client, struct err *err)
{
	struct client *one = &c->table[client];
	int error;

	if (one->pid <= 0)
		return 0;
	one->pid_fd = (int)syscall(SYS_pidfd_open, one->pid, 0);
	if (one->pid_fd < 0 && errno == ESRCH)
		return err_set(err, -ESRCH, "process %d is gone", (int)one->pid);
	if (one->pid_fd < 0)
		return attach_descriptor_error(-errno, "the trainer's pidfd", err);
	error = loop_add(c->loop, one->pid_fd, EPOLLIN, LOOP_CLIENT_PID, client);
	if (error)
		return err_set(err, error, "watch process %d: %s", (int)one->pid, strerror(-error));
	return 0;
}

static void attach_sent(struct client *one)
{
	if (one->trainer_fd >= 0)
		(void)close(one->trainer_fd);
	one->trainer_fd = -1;
}

void client_unmap(struct client *one)
{
	if (one->base)
		(void)munmap(one->base, one->layout.total_bytes);
	one->base = NULL;
	if (one->memory_fd >= 0)
		(void)close(one->memory_fd);
	one->memory_fd = -1;
	if (one->wake_fd >= 0)
		(void)close(one->wake_fd);
	one->wake_fd = -1;
	attach_sent(one);
}

/* Back to CONNECTED: it may try again. */
static void attach_undo(struct clients *c, struct client *one)
{
	loop_remove(c->loop, one->pid_fd);
	if (one->pid_fd >= 0)
		(void)close(one->pid_fd);
	one->pid_fd = -1;
	client_doorbells_close(c, one);
	client_unmap(one);
	one->state = CLIENT_STATE_CONNECTED;
}

static int attach_all(struct clients *c, uint32_t client, const struct ctl_attach *attach,
		      struct err *err)
{
	struct client *one = &c->table[client];
	struct shm_layout layout = {.lanes = 0};
	int error = attach_size(c, one->uid, attach->arena_bytes, &layout, err);

	if (error)
		return error;
	error = attach_memory(one, &layout, err);
	if (error)
		return error;
	attach_header(one);
	error = attach_wake(one, err);
	if (!error)
		error = attach_doorbells(c, one, err);
	if (error)
		return error;
	return attach_pid(c, client, err);
}

/* Return: 0 or negative errno. */
static int attach_answer(const struct clients *c, uint32_t client, uint32_t id)
{
	const struct client *one = &c->table[client];
	struct ctl_attached body = {.total_bytes = one->layout.total_bytes,
				    .lanes = one->layout.lanes,
				    .client = client};
	struct ctl_header header = {.magic = CTL_MAGIC,
				    .version = CTL_VERSION,
				    .kind = CTL_ATTACHED,
				    .id = id,
				    .bytes = sizeof(body)};
	int fds[CTL_FDS_MAX] = {one->memory_fd, one->trainer_fd};
	long sent;

	(void)snprintf(body.version, sizeof(body.version), "%s", c->version);
	memcpy(&fds[2], one->doorbells, one->layout.lanes * sizeof(fds[0]));
	sent = ctl_send(one->fd, &header, &body, fds, 2 + one->layout.lanes);
	return sent < 0 ? (int)sent : 0;
}

bool client_attach(struct clients *c, uint32_t client, uint32_t id, const struct ctl_attach *attach)
{
	struct client *one = &c->table[client];
	struct err err;
	int error = attach_all(c, client, attach, &err);

	if (error) {
		attach_undo(c, one);
		client_answer_error(c, client, id, error, err.text);
		return false;
	}
	memcpy(one->name, attach->name, sizeof(one->name));
	one->handles = 0;
	memset(one->why_version, 0, sizeof(one->why_version));
	error = attach_answer(c, client, id);
	if (error == -ETOOMANYREFS) {
		attach_undo(c, one);
		client_answer_error(
			c, client, id, error,
			"too many file descriptors of carryd are on their way (ulimit -n)");
		return false;
	}
	if (error) {
		attach_undo(c, one);
		client_close(c, client, "it does not read its answers");
		return false;
	}
	attach_sent(one);
	one->state = CLIENT_STATE_ATTACHED;
	return true;
}
