/* client.c - the table of clients: from accept to forget; see client.h. */
#include "daemon/client.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/client_state.h"

static_assert(sizeof(((struct client *)0)->why) == sizeof(((struct err *)0)->text),
	      "one copies the other");

#define CLIENTS_PAUSE_NS 100000000ull

/* --- open and close -------------------------------------------------------------------------- */

static void reserve_fill(struct clients *c)
{
	for (uint32_t i = 0; i < CLIENTS_WAITING; i++)
		if (c->reserve[i] < 0)
			c->reserve[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Return: whether there was one to give up. */
static bool reserve_spend(struct clients *c)
{
	for (uint32_t i = 0; i < CLIENTS_WAITING; i++)
		if (c->reserve[i] >= 0) {
			(void)close(c->reserve[i]);
			c->reserve[i] = -1;
			return true;
		}
	return false;
}

static void client_reset(struct client *one)
{
	memset(one, 0, sizeof(*one));
	one->fd = -1;
	one->pid_fd = -1;
	one->memory_fd = -1;
	one->wake_fd = one->trainer_fd = -1;
	for (uint32_t lane = 0; lane < SHM_LANES_MAX; lane++)
		one->doorbells[lane] = -1;
}

int clients_open(struct clients **out, const struct clients_options *options, struct err *err)
{
	const struct config *config = options->config;
	uint32_t slots = (uint32_t)config->clients + CLIENTS_WAITING;
	struct clients *c = calloc(1, sizeof(*c));

	assert(config->clients <= CLIENTS_MAX && config->lanes <= SHM_LANES_MAX);
	if (c)
		c->table = calloc(slots, sizeof(c->table[0]));
	if (!c || !c->table) {
		free(c);
		return err_set(err, -ENOMEM, "no memory for the table of %" PRIu64 " clients",
			       config->clients);
	}
	c->config = config;
	c->loop = options->loop;
	c->version = options->version;
	memset(c->lane_fds, -1, sizeof(c->lane_fds));
	memcpy(c->lane_fds, options->lane_fds, config->lanes * sizeof(c->lane_fds[0]));
	c->listen_fd = -1;
	c->slots = slots;
	for (uint32_t i = 0; i < slots; i++)
		client_reset(&c->table[i]);
	for (uint32_t i = 0; i < CLIENTS_WAITING; i++)
		c->reserve[i] = -1;
	reserve_fill(c);
	*out = c;
	return 0;
}

int clients_listen(struct clients *c, struct err *err)
{
	int error = client_socket_open(c, err);

	if (error)
		return error;
	error = loop_add(c->loop, c->listen_fd, EPOLLIN, LOOP_LISTEN_UNIX, 0);
	if (error) {
		client_socket_close(c);
		return err_set(err, error, "watch the Unix socket: %s", strerror(-error));
	}
	return 0;
}

void clients_unlisten(struct clients *c)
{
	client_socket_close(c);
	c->paused_until_ns = 0;
}

void clients_close(struct clients *c)
{
	if (!c)
		return;
	client_socket_close(c);
	for (uint32_t lane = 0; lane < SHM_LANES_MAX; lane++)
		c->lane_fds[lane] = -1;
	for (uint32_t i = 0; i < c->slots; i++) {
		if (c->table[i].fd >= 0)
			client_last_words(&c->table[i], 0, -ESHUTDOWN, "carryd is stopping");
		client_close(c, i, "carryd is stopping");
		client_unmap(&c->table[i]);
	}
	for (uint32_t i = 0; i < CLIENTS_WAITING; i++)
		if (c->reserve[i] >= 0)
			(void)close(c->reserve[i]);
	free(c->table);
	free(c);
}

/* --- the end of a client --------------------------------------------------------------------- */

void client_close(struct clients *c, uint32_t client, const char *why)
{
	struct client *one = &c->table[client];

	if (one->fd < 0)
		return;
	loop_remove(c->loop, one->fd);
	loop_remove(c->loop, one->pid_fd);
	(void)close(one->fd);
	if (one->pid_fd >= 0)
		(void)close(one->pid_fd);
	one->fd = -1;
	one->pid_fd = -1;
	client_doorbells_close(c, one);
	client_text_drop(one);
	reserve_fill(c);
	if (one->state != CLIENT_STATE_ATTACHED) {
		client_reset(one);
		return;
	}
	one->state = CLIENT_STATE_ENDED;
	(void)snprintf(one->why, sizeof(one->why), "%s", why);
	c->ended++;
}

void client_end(struct clients *c, uint32_t client, const char *format, ...)
{
	struct client *one = &c->table[client];
	char why[CTL_TEXT_BYTES];
	va_list args;

	if (one->fd < 0)
		return;
	va_start(args, format);
	(void)vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	client_last_words(one, 0, -EPROTO, why);
	client_close(c, client, why);
}

bool clients_gone(struct clients *c, struct client_request *out)
{
	if (!c->ended)
		return false;
	for (uint32_t i = 0; i < c->slots; i++) {
		struct client *one = &c->table[i];

		if (one->state != CLIENT_STATE_ENDED)
			continue;
		one->state = CLIENT_STATE_GONE;
		c->ended--;
		out->kind = CLIENT_GONE;
		out->client = i;
		out->id = 0;
		memcpy(out->why, one->why, sizeof(out->why));
		return true;
	}
	assert(false); /* c->ended counts them */
	return false;
}

void client_forget(struct clients *c, uint32_t client)
{
	struct client *one = &c->table[client];

	assert(one->state == CLIENT_STATE_GONE);
	client_unmap(one);
	client_reset(one);
	reserve_fill(c);
}

/* --- accept ---------------------------------------------------------------------------------- */

static uint32_t accept_slot(const struct clients *c, uint32_t from, uint32_t to)
{
	while (from < to && c->table[from].state != CLIENT_STATE_FREE)
		from++;
	return from;
}

static uint32_t accept_count_uid(const struct clients *c, uid_t uid)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < c->config->clients; i++)
		count += c->table[i].state != CLIENT_STATE_FREE && c->table[i].uid == uid;
	return count;
}

/* For want of descriptors: accept() again when some may be free, and do not spin until then. */
static int accept_pause(struct clients *c, int code, uint64_t now_ns, struct err *err)
{
	loop_remove(c->loop, c->listen_fd);
	c->paused_until_ns = now_ns + CLIENTS_PAUSE_NS;
	return err_set(err, code, "accept a client: %s", strerror(-code));
}

/* Where a new connection goes.  Return: slot, with *err set if it is to be refused. */
static uint32_t accept_place(const struct clients *c, bool reserve, const struct ucred *peer,
			     struct err *err)
{
	uint32_t max = (uint32_t)c->config->clients, slot = accept_slot(c, 0, max);

	if (reserve)
		(void)err_set(err, -EMFILE, "carryd has no file descriptor left (ulimit -n)");
	else if (slot == max)
		(void)err_set(err, -EUSERS, "all %u connections are in use ([limits] clients)",
			      max);
	else if (accept_count_uid(c, peer->uid) >= c->config->clients_per_uid)
		(void)err_set(err, -EUSERS,
			      "user %u has %" PRIu64 " connections ([limits] clients_per_uid)",
			      (unsigned int)peer->uid, c->config->clients_per_uid);
	else
		return slot;
	return accept_slot(c, max, c->slots);
}

static int accept_fd(struct clients *c, bool *reserve)
{
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	*reserve = false;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE) && reserve_spend(c)) {
		*reserve = true;
		fd = accept4(c->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

/* There is no slot for it, not even to wait in: say it now and close. */
static void accept_dismiss(struct clients *c, int fd, const struct err *err)
{
	const struct client nobody = {.fd = fd};

	client_last_words(&nobody, 0, err->code, err->text);
	(void)close(fd);
	reserve_fill(c);
}

static void accept_enter(struct client *one, int fd, const struct ucred *peer,
			 const struct err *err)
{
	one->state = err->code ? CLIENT_STATE_REFUSED : CLIENT_STATE_CONNECTED;
	one->fd = fd;
	one->uid = peer->uid;
	one->pid = peer->pid;
	one->why_code = err->code;
	if (err->code)
		memcpy(one->why, err->text, sizeof(one->why));
}

int clients_accept(struct clients *c, uint64_t now_ns, struct err *err)
{
	struct ucred peer = {.pid = 0, .uid = (uid_t)-1};
	socklen_t peer_bytes = sizeof(peer);
	uint32_t slot;
	bool reserve;
	int fd = accept_fd(c, &reserve), error;

	if (fd == -EAGAIN || fd == -EINTR || fd == -ECONNABORTED)
		return 0;
	if (fd < 0)
		return accept_pause(c, fd, now_ns, err);
	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes);
	err->code = 0;
	slot = accept_place(c, reserve, &peer, err);
	error = slot < c->slots ? loop_add(c->loop, fd, EPOLLIN, LOOP_CLIENT, slot) : 0;
	if (error) {
		(void)err_set(err, error, "watch a connection: %s", strerror(-error));
		slot = c->slots;
	}
	if (slot == c->slots)
		accept_dismiss(c, fd, err);
	else
		accept_enter(&c->table[slot], fd, &peer, err);
	if (!err->code) {
		c->accepted++;
		return 0;
	}
	c->refused++;
	return err_add(err, "refuse process %d of user %u", (int)peer.pid, (unsigned int)peer.uid);
}

void clients_tick(struct clients *c, uint64_t now_ns)
{
	if (!c->paused_until_ns || now_ns < c->paused_until_ns)
		return;
	reserve_fill(c);
	if (loop_add(c->loop, c->listen_fd, EPOLLIN, LOOP_LISTEN_UNIX, 0))
		c->paused_until_ns = now_ns + CLIENTS_PAUSE_NS;
	else
		c->paused_until_ns = 0;
}

uint64_t clients_deadline_ns(const struct clients *c)
{
	return c->paused_until_ns ? c->paused_until_ns : UINT64_MAX;
}

/* --- requests -------------------------------------------------------------------------------- */

/* Return: bytes of a request in c->packet, 0: none (and perhaps the client has ended). */
static size_t request_receive(struct clients *c, uint32_t client)
{
	long bytes = ctl_receive(c->table[client].fd, c->packet, sizeof(c->packet), NULL, NULL);
	enum ctl_verdict verdict;

	if (bytes == -EAGAIN)
		return 0;
	if (bytes == 0 || bytes == -ECONNRESET) {
		client_close(c, client, "it closed its connection");
		return 0;
	}
	if (bytes == -EMSGSIZE) {
		client_end(c, client, "it sent a packet of more than %u bytes",
			   CTL_PACKET_BYTES_MAX);
		return 0;
	}
	if (bytes < 0) {
		client_end(c, client, "its connection failed: %s", strerror((int)-bytes));
		return 0;
	}
	verdict = ctl_request_check(c->packet, (size_t)bytes);
	if (verdict == CTL_GOOD)
		return (size_t)bytes;
	client_end(c, client, "it sent a request that breaks the protocol, version %d: %s",
		   CTL_VERSION, ctl_verdict_name(verdict));
	return 0;
}

static bool request_attach(struct clients *c, uint32_t client, uint32_t id, const void *body)
{
	struct ctl_attach attach;

	if (c->table[client].state == CLIENT_STATE_ATTACHED) {
		client_answer_error(c, client, id, -EALREADY,
				    "this connection is attached already");
		return false;
	}
	memcpy(&attach, body, sizeof(attach));
	return client_attach(c, client, id, &attach);
}

/* Return: whether it may go on. */
static bool request_attached(struct clients *c, uint32_t client, uint32_t id)
{
	if (c->table[client].state == CLIENT_STATE_ATTACHED)
		return true;
	client_answer_error(c, client, id, -ENOTCONN, "this connection is not attached");
	return false;
}

static bool request_of_group(struct clients *c, uint32_t client, uint32_t id, uint32_t handle)
{
	char text[64];

	if (!request_attached(c, client, id))
		return false;
	if (c->table[client].handles >> handle & 1)
		return true;
	(void)snprintf(text, sizeof(text), "there is no group with handle %u", handle);
	client_answer_error(c, client, id, -EBADF, text);
	return false;
}

/* c->packet has been checked. */
static bool request_take(struct clients *c, uint32_t client, struct client_request *out)
{
	struct ctl_header header;
	const unsigned char *body = c->packet + sizeof(header);

	memcpy(&header, c->packet, sizeof(header));
	out->client = client;
	out->id = header.id;
	switch ((enum ctl_kind)header.kind) {
	case CTL_ATTACH:
		out->kind = CLIENT_ATTACHED;
		return request_attach(c, client, header.id, body);
	case CTL_CREATE:
		out->kind = CLIENT_CREATE;
		memcpy(&out->create, body, sizeof(out->create));
		return request_attached(c, client, header.id);
	case CTL_DESTROY:
		out->kind = CLIENT_DESTROY;
		memcpy(&out->destroy, body, sizeof(out->destroy));
		return request_of_group(c, client, header.id, out->destroy.handle);
	case CTL_TENSOR:
		out->kind = CLIENT_TENSOR;
		memcpy(&out->tensor, body, sizeof(out->tensor));
		if (out->tensor.handle == CTL_NO_GROUP)
			return request_attached(c, client, header.id);
		return request_of_group(c, client, header.id, out->tensor.handle);
	case CTL_QUERY:
		out->kind = CLIENT_QUERY;
		memcpy(&out->query, body, sizeof(out->query));
		return true;
	case CTL_OK:
	case CTL_ERROR:
	case CTL_ATTACHED:
	case CTL_CREATED:
	case CTL_NUMBER:
	case CTL_MORE: break;
	}
	assert(false); /* ctl_request_check() lets requests through only */
	return false;
}

bool clients_ready(struct clients *c, uint32_t client, uint32_t events, struct client_request *out)
{
	struct client *one = &c->table[client];
	struct ctl_header header;

	if (one->fd < 0)
		return false;
	if (events & EPOLLOUT)
		client_text_more(c, client);
	if (one->answer.text && events & (EPOLLHUP | EPOLLERR))
		client_close(c, client, "it closed its connection");
	if (one->fd < 0 || one->answer.text || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return false;
	if (!request_receive(c, client))
		return false;
	if (one->state != CLIENT_STATE_REFUSED)
		return request_take(c, client, out);
	memcpy(&header, c->packet, sizeof(header));
	client_last_words(one, header.id, one->why_code, one->why);
	client_close(c, client, "");
	return false;
}

void clients_pid_ready(struct clients *c, uint32_t client)
{
	struct client *one = &c->table[client];
	struct pollfd ended = {.fd = one->pid_fd, .events = POLLIN};
	char why[64];

	if (one->pid_fd < 0 || poll(&ended, 1, 0) != 1)
		return;
	(void)snprintf(why, sizeof(why), "its process %d has ended", (int)one->pid);
	client_close(c, client, why);
}

/* --- one client ------------------------------------------------------------------------------ */

uint32_t clients_max(const struct clients *c)
{
	return (uint32_t)c->config->clients;
}

bool client_attached(const struct clients *c, uint32_t client)
{
	return c->table[client].state == CLIENT_STATE_ATTACHED;
}

uid_t client_uid(const struct clients *c, uint32_t client)
{
	return c->table[client].uid;
}

pid_t client_pid(const struct clients *c, uint32_t client)
{
	return c->table[client].pid;
}

const char *client_name(const struct clients *c, uint32_t client)
{
	return c->table[client].name;
}

void *client_base(const struct clients *c, uint32_t client)
{
	return c->table[client].base;
}

const struct shm_layout *client_layout(const struct clients *c, uint32_t client)
{
	return &c->table[client].layout;
}

int client_wake_fd(const struct clients *c, uint32_t client)
{
	return c->table[client].wake_fd;
}

int client_handle_take(struct clients *c, uint32_t client)
{
	struct client *one = &c->table[client];

	for (int handle = 0; handle < (int)SHM_GROUPS_MAX; handle++)
		if (!(one->handles >> handle & 1)) {
			one->handles |= 1ull << handle;
			return handle;
		}
	return -ENOSPC;
}

void client_handle_give(struct clients *c, uint32_t client, uint32_t handle)
{
	assert(handle < SHM_GROUPS_MAX && c->table[client].handles >> handle & 1);
	c->table[client].handles &= ~(1ull << handle);
}

/* --- reports --------------------------------------------------------------------------------- */

void clients_account(const struct clients *c, struct clients_account *out)
{
	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < c->slots; i++) {
		const struct client *one = &c->table[i];

		out->connections += one->fd >= 0;
		out->attached += one->state == CLIENT_STATE_ATTACHED;
		out->gone += one->state == CLIENT_STATE_ENDED || one->state == CLIENT_STATE_GONE;
		if (one->base)
			out->shared_bytes += one->layout.total_bytes;
	}
	out->accepted = c->accepted;
	out->refused = c->refused;
}

uint64_t client_resident_bytes(const struct clients *c, uint32_t client)
{
	struct stat about;

	if (c->table[client].memory_fd < 0 || fstat(c->table[client].memory_fd, &about))
		return 0;
	return (uint64_t)about.st_blocks * 512;
}

uint32_t client_groups(const struct clients *c, uint32_t client)
{
	return (uint32_t)__builtin_popcountll(c->table[client].handles);
}
