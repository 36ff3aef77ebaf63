/*
 * ctl.c - checking and moving the packets of the Unix socket; see ctl.h.
 *
 * A packet is judged in three steps: the header, the length against the table of kinds,
 * the fields of the body.
 */
#include "proto/ctl.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/shm.h"
#include "proto/text.h"
#include "proto/wire.h"

#define ARENA_BYTES_MAX (1ull << 46)
#define ERRNO_MAX 4095

static_assert(sizeof(struct ctl_header) % 8 == 0, "a body is aligned as its packet");

struct body {
	uint16_t kind; /* enum ctl_kind */
	bool request;
	uint32_t min;
	uint32_t max;
};

#define FIXED(type) sizeof(type), sizeof(type)
#define PART_BYTES_MAX (CTL_PACKET_BYTES_MAX - sizeof(struct ctl_header))

static const struct body bodies[] = {
	{CTL_ATTACH, true, FIXED(struct ctl_attach)},
	{CTL_CREATE, true, FIXED(struct ctl_create)},
	{CTL_DESTROY, true, FIXED(struct ctl_destroy)},
	{CTL_QUERY, true, FIXED(struct ctl_query)},
	{CTL_TENSOR, true, FIXED(struct ctl_tensor)},
	{CTL_OK, false, 0, PART_BYTES_MAX},
	{CTL_ERROR, false, FIXED(struct ctl_error)},
	{CTL_ATTACHED, false, FIXED(struct ctl_attached)},
	{CTL_CREATED, false, FIXED(struct ctl_created)},
	{CTL_MORE, false, 1, PART_BYTES_MAX},
	{CTL_NUMBER, false, FIXED(struct ctl_number)},
};

static const struct body *find_body(uint16_t kind, bool request)
{
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		if (bodies[i].kind == kind && bodies[i].request == request)
			return &bodies[i];
	return NULL;
}

static bool attach_ok(const struct ctl_attach *attach)
{
	return attach->arena_bytes <= ARENA_BYTES_MAX &&
	       text_ok(attach->name, sizeof(attach->name));
}

static bool create_ok(const struct ctl_create *create)
{
	return text_named(create->name, sizeof(create->name)) &&
	       text_ok(create->run, sizeof(create->run)) &&
	       text_address_ok(create->root, sizeof(create->root)) && create->root_port &&
	       create->ranks >= 1 && create->ranks <= WIRE_RANKS_MAX &&
	       create->rank < create->ranks && create->timeout_ms && !create->reserved[0] &&
	       !create->reserved[1];
}

static bool destroy_ok(const struct ctl_destroy *destroy)
{
	return destroy->handle < SHM_GROUPS_MAX && !destroy->reserved;
}

/* With a key: its name, its hash and its tensor; without one none of them. */
static bool tensor_ok(const struct ctl_tensor *t)
{
	bool named = t->key_name[0];

	if ((t->handle >= SHM_GROUPS_MAX && t->handle != CTL_NO_GROUP) || t->reserved[0] ||
	    t->reserved[1] || t->reserved[2])
		return false;
	if (!text_ok(t->key_name, sizeof(t->key_name)) || !text_ok(t->codec, sizeof(t->codec)) ||
	    !text_ok(t->feedback, sizeof(t->feedback)))
		return false;
	if (named != (t->key != 0) || named != (t->type != 0) || (!named && t->count))
		return false;
	return t->count <= WIRE_COUNT_MAX && (!named || shm_type_bytes(t->type));
}

static bool number_ok(const struct ctl_number *n)
{
	return n->number < UINT16_MAX && n->plain <= 1;
}

static bool error_ok(const struct ctl_error *error)
{
	return error->error < 0 && error->error >= -ERRNO_MAX && !error->reserved &&
	       text_named(error->text, sizeof(error->text));
}

static bool attached_ok(const struct ctl_attached *attached)
{
	return attached->total_bytes && attached->lanes >= 1 && attached->lanes <= SHM_LANES_MAX &&
	       text_ok(attached->version, sizeof(attached->version));
}

static bool created_ok(const struct ctl_created *created)
{
	return created->group && created->handle < SHM_GROUPS_MAX && created->nodes >= 1 &&
	       created->nodes <= WIRE_NODES_MAX && created->node < created->nodes &&
	       created->lanes >= 1 && created->lanes <= SHM_LANES_MAX;
}

static bool body_ok(enum ctl_kind kind, const void *body)
{
	switch (kind) {
	case CTL_ATTACH: return attach_ok(body);
	case CTL_CREATE: return create_ok(body);
	case CTL_DESTROY: return destroy_ok(body);
	case CTL_QUERY: return text_named(((const struct ctl_query *)body)->what, CTL_NAME_BYTES);
	case CTL_ERROR: return error_ok(body);
	case CTL_ATTACHED: return attached_ok(body);
	case CTL_CREATED: return created_ok(body);
	case CTL_TENSOR: return tensor_ok(body);
	case CTL_NUMBER: return number_ok(body);
	case CTL_OK:
	case CTL_MORE: return true;
	}
	return false;
}

static enum ctl_verdict check(const void *packet, size_t bytes, bool request)
{
	const struct ctl_header *header = packet;
	const struct body *body;

	if (bytes < sizeof(*header))
		return CTL_TOO_SHORT;
	if (header->magic != CTL_MAGIC)
		return CTL_BAD_MAGIC;
	if (header->version != CTL_VERSION)
		return CTL_BAD_VERSION;
	body = find_body(header->kind, request);
	if (!body)
		return CTL_BAD_KIND;
	if (header->bytes != bytes - sizeof(*header) || header->bytes < body->min ||
	    header->bytes > body->max)
		return CTL_BAD_LENGTH;
	return body_ok((enum ctl_kind)header->kind, header + 1) ? CTL_GOOD : CTL_BAD_FIELD;
}

const char *ctl_verdict_name(enum ctl_verdict verdict)
{
	switch (verdict) {
	case CTL_GOOD: return "ok";
	case CTL_TOO_SHORT: return "shorter than a header";
	case CTL_BAD_MAGIC: return "bad magic";
	case CTL_BAD_VERSION: return "unknown version";
	case CTL_BAD_KIND: return "unknown kind";
	case CTL_BAD_LENGTH: return "bad length";
	case CTL_BAD_FIELD: return "field out of range";
	}
	return "unknown verdict";
}

enum ctl_verdict ctl_request_check(const void *packet, size_t bytes)
{
	return check(packet, bytes, true);
}

enum ctl_verdict ctl_answer_check(const void *packet, size_t bytes)
{
	return check(packet, bytes, false);
}

/* Room for the descriptors' control message, aligned as the kernel wants it. */
union fds_message {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(CTL_FDS_MAX * sizeof(int))];
};

long ctl_send(int fd, const struct ctl_header *header, const void *body, const int *fds,
	      size_t nfds)
{
	struct iovec parts[2] = {{(void *)header, sizeof(*header)}, {(void *)body, header->bytes}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = header->bytes ? 2 : 1};
	union fds_message control = {0};
	ssize_t sent;

	assert(nfds <= CTL_FDS_MAX);
	if (nfds) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, nfds * sizeof(int));
	}
	do
		sent = sendmsg(fd, &message, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

/* Take the descriptors that came with a message: up to `room` into fds, the others are closed. */
static size_t take_fds(struct msghdr *message, int *fds, size_t room)
{
	size_t taken = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int received;

			memcpy(&received, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (taken < room)
				fds[taken++] = received;
			else
				close(received);
		}
	}
	return taken;
}

long ctl_receive(int fd, void *packet, size_t bytes, int *fds, size_t *nfds)
{
	struct iovec part = {packet, bytes};
	union fds_message control;
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	size_t room = fds ? CTL_FDS_MAX : 0;
	ssize_t received;

	do
		received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	while (received < 0 && errno == EINTR);
	if (nfds)
		*nfds = 0;
	if (received < 0)
		return -errno;
	if (message.msg_flags & MSG_TRUNC) {
		take_fds(&message, NULL, 0);
		return -EMSGSIZE;
	}
	room = take_fds(&message, fds, room);
	if (nfds)
		*nfds = room;
	return received;
}
