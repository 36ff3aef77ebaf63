/*
 * test_ctl.c - packets of the Unix socket: each rule broken alone; and the way over a
 * real socket, with descriptors that arrive, are refused, or are too many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/ctl.h"
#include "proto/shm.h"
#include "proto/wire.h"
#include "tests/common/samples.h"

static enum ctl_verdict check(uint16_t kind, const void *packet, size_t bytes)
{
	return kind < CTL_OK ? ctl_request_check(packet, bytes) : ctl_answer_check(packet, bytes);
}

static enum ctl_verdict check_with(uint16_t kind, size_t offset, const void *value, size_t bytes)
{
	struct sample_payload packet;

	sample_ctl(kind, &packet);
	memcpy(packet.data + sizeof(struct ctl_header) + offset, value, bytes);
	return check(kind, packet.data, packet.bytes);
}

static enum ctl_verdict number(uint16_t kind, size_t offset, size_t bytes, uint64_t value)
{
	return check_with(kind, offset, &value, bytes);
}

#define AT(type, field) offsetof(struct type, field), sizeof(((struct type *)0)->field)
#define REFUSED(kind, type, field, value) \
	assert_int_equal(number(kind, AT(type, field), (uint64_t)(value)), CTL_BAD_FIELD)
#define TAKEN(kind, type, field, value) \
	assert_int_equal(number(kind, AT(type, field), (uint64_t)(value)), CTL_GOOD)

static void try_text(uint16_t kind, size_t offset, size_t bytes, bool may_be_empty)
{
	char text[CTL_TEXT_BYTES];

	memset(text, 'x', sizeof(text));
	assert_int_equal(check_with(kind, offset, text, bytes), CTL_BAD_FIELD);
	text[bytes - 1] = 0;
	assert_int_equal(check_with(kind, offset, text, bytes), CTL_GOOD);
	text[1] = '\n';
	assert_int_equal(check_with(kind, offset, text, bytes), CTL_BAD_FIELD);
	memset(text, 0, sizeof(text));
	assert_int_equal(check_with(kind, offset, text, bytes),
			 may_be_empty ? CTL_GOOD : CTL_BAD_FIELD);
}

#define TEXT(kind, type, field) try_text(kind, AT(type, field), true)
#define NAME(kind, type, field) try_text(kind, AT(type, field), false)

static const uint16_t *const all_kinds[] = {sample_ctl_requests, sample_ctl_answers};

static void samples_pass(void **state)
{
	struct sample_payload packet;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		for (const uint16_t *kind = all_kinds[i]; *kind; kind++) {
			sample_ctl(*kind, &packet);
			assert_int_equal(check(*kind, packet.data, packet.bytes), CTL_GOOD);
			/* A request is no answer, an answer no request. */
			assert_int_equal(*kind < CTL_OK
						 ? ctl_answer_check(packet.data, packet.bytes)
						 : ctl_request_check(packet.data, packet.bytes),
					 CTL_BAD_KIND);
		}
	}
}

static void header(void **state)
{
	struct sample_payload packet;
	struct ctl_header *h = (struct ctl_header *)packet.data;

	(void)state;
	sample_ctl(CTL_QUERY, &packet);
	assert_memory_equal(packet.data, "CCTL", 4);
	h->id = UINT32_MAX;
	assert_int_equal(ctl_request_check(packet.data, packet.bytes), CTL_GOOD);
	h->bytes++;
	assert_int_equal(ctl_request_check(packet.data, packet.bytes), CTL_BAD_LENGTH);
	h->kind = 0;
	assert_int_equal(ctl_request_check(packet.data, packet.bytes), CTL_BAD_KIND);
	h->kind = 6;
	assert_int_equal(ctl_request_check(packet.data, packet.bytes), CTL_BAD_KIND);
	h->kind = UINT16_MAX;
	assert_int_equal(ctl_request_check(packet.data, packet.bytes), CTL_BAD_KIND);
	h->version = 2;
	assert_int_equal(ctl_request_check(packet.data, packet.bytes), CTL_BAD_VERSION);
	h->magic = 0;
	assert_int_equal(ctl_request_check(packet.data, packet.bytes), CTL_BAD_MAGIC);
}

/* A packet cut or stretched, with a header that agrees with its length. */
static void lengths(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		for (const uint16_t *kind = all_kinds[i]; *kind; kind++) {
			struct sample_payload packet;

			sample_ctl(*kind, &packet);
			for (size_t bytes = 0; bytes <= packet.bytes + 24; bytes++) {
				size_t common = bytes < packet.bytes ? bytes : packet.bytes;
				unsigned char *copy = calloc(1, bytes ? bytes : 1);
				uint32_t body = (uint32_t)(bytes - sizeof(struct ctl_header));
				enum ctl_verdict expected = CTL_BAD_LENGTH;

				assert_non_null(copy);
				memcpy(copy, packet.data, common);
				if (bytes < sizeof(struct ctl_header))
					expected = CTL_TOO_SHORT;
				else
					memcpy(copy + 12, &body, sizeof(body));
				if (bytes == packet.bytes ||
				    (*kind == CTL_OK && bytes >= sizeof(struct ctl_header)) ||
				    (*kind == CTL_MORE && bytes > sizeof(struct ctl_header)))
					expected = CTL_GOOD;
				assert_int_equal(check(*kind, copy, bytes), expected);
				free(copy);
			}
		}
	}
}

static void largest_packet(void **state)
{
	struct ctl_header *packet = calloc(1, CTL_PACKET_BYTES_MAX + 1);

	(void)state;
	assert_non_null(packet);
	*packet = (struct ctl_header){.magic = CTL_MAGIC,
				      .version = CTL_VERSION,
				      .kind = CTL_MORE,
				      .bytes = CTL_PACKET_BYTES_MAX - sizeof(*packet)};
	assert_int_equal(ctl_answer_check(packet, CTL_PACKET_BYTES_MAX), CTL_GOOD);
	packet->bytes++;
	assert_int_equal(ctl_answer_check(packet, CTL_PACKET_BYTES_MAX + 1), CTL_BAD_LENGTH);
	free(packet);
}

static void requests(void **state)
{
	(void)state;
	TAKEN(CTL_ATTACH, ctl_attach, arena_bytes, 0);
	TAKEN(CTL_ATTACH, ctl_attach, arena_bytes, 1ull << 46);
	REFUSED(CTL_ATTACH, ctl_attach, arena_bytes, (1ull << 46) + 1);
	TEXT(CTL_ATTACH, ctl_attach, name);

	NAME(CTL_CREATE, ctl_create, name);
	TEXT(CTL_CREATE, ctl_create, run);
	assert_int_equal(check_with(CTL_CREATE, offsetof(struct ctl_create, root), "10.0.0.1", 9),
			 CTL_GOOD);
	assert_int_equal(check_with(CTL_CREATE, offsetof(struct ctl_create, root), "node7", 6),
			 CTL_BAD_FIELD);
	REFUSED(CTL_CREATE, ctl_create, root[0], 0);
	REFUSED(CTL_CREATE, ctl_create, root_port, 0);
	TAKEN(CTL_CREATE, ctl_create, schedule, 3);
	REFUSED(CTL_CREATE, ctl_create, rank, SAMPLE_RANKS);
	REFUSED(CTL_CREATE, ctl_create, ranks, 0);
	TAKEN(CTL_CREATE, ctl_create, ranks, WIRE_RANKS_MAX);
	REFUSED(CTL_CREATE, ctl_create, ranks, WIRE_RANKS_MAX + 1);
	REFUSED(CTL_CREATE, ctl_create, timeout_ms, 0);
	REFUSED(CTL_CREATE, ctl_create, reserved[0], 1);
	REFUSED(CTL_CREATE, ctl_create, reserved[1], 1);

	REFUSED(CTL_DESTROY, ctl_destroy, handle, SHM_GROUPS_MAX);
	REFUSED(CTL_DESTROY, ctl_destroy, reserved, 1);

	NAME(CTL_QUERY, ctl_query, what);
}

static void tensors(void **state)
{
	(void)state;
	TAKEN(CTL_TENSOR, ctl_tensor, handle, SHM_GROUPS_MAX - 1);
	REFUSED(CTL_TENSOR, ctl_tensor, handle, SHM_GROUPS_MAX);
	TAKEN(CTL_TENSOR, ctl_tensor, handle, CTL_NO_GROUP);
	TAKEN(CTL_TENSOR, ctl_tensor, count, 0);
	TAKEN(CTL_TENSOR, ctl_tensor, count, WIRE_COUNT_MAX);
	REFUSED(CTL_TENSOR, ctl_tensor, count, WIRE_COUNT_MAX + 1);
	REFUSED(CTL_TENSOR, ctl_tensor, key, 0); /* a key has a hash, a name and a type */
	REFUSED(CTL_TENSOR, ctl_tensor, type, 0);
	REFUSED(CTL_TENSOR, ctl_tensor, type, SHM_I64 + 1);
	REFUSED(CTL_TENSOR, ctl_tensor, key_name[0], 0);
	REFUSED(CTL_TENSOR, ctl_tensor, reserved[0], 1);
	REFUSED(CTL_TENSOR, ctl_tensor, reserved[2], 1);
	TEXT(CTL_TENSOR, ctl_tensor, codec);
	TEXT(CTL_TENSOR, ctl_tensor, feedback);
	REFUSED(CTL_NUMBER, ctl_number, number, UINT16_MAX);
	TAKEN(CTL_NUMBER, ctl_number, number, UINT16_MAX - 1);
	TAKEN(CTL_NUMBER, ctl_number, plain, 1);
	REFUSED(CTL_NUMBER, ctl_number, plain, 2);
}

static void answers(void **state)
{
	(void)state;
	REFUSED(CTL_ERROR, ctl_error, error, 0);
	REFUSED(CTL_ERROR, ctl_error, error, 1);
	REFUSED(CTL_ERROR, ctl_error, error, -4096);
	TAKEN(CTL_ERROR, ctl_error, error, -1);
	REFUSED(CTL_ERROR, ctl_error, reserved, 1);
	NAME(CTL_ERROR, ctl_error, text);

	REFUSED(CTL_ATTACHED, ctl_attached, total_bytes, 0);
	REFUSED(CTL_ATTACHED, ctl_attached, lanes, 0);
	REFUSED(CTL_ATTACHED, ctl_attached, lanes, SHM_LANES_MAX + 1);
	TEXT(CTL_ATTACHED, ctl_attached, version);

	REFUSED(CTL_CREATED, ctl_created, group, 0);
	REFUSED(CTL_CREATED, ctl_created, handle, SHM_GROUPS_MAX);
	REFUSED(CTL_CREATED, ctl_created, nodes, 0);
	REFUSED(CTL_CREATED, ctl_created, nodes, WIRE_NODES_MAX + 1);
	REFUSED(CTL_CREATED, ctl_created, node, SAMPLE_NODES);
	REFUSED(CTL_CREATED, ctl_created, lanes, 0);
	REFUSED(CTL_CREATED, ctl_created, lanes, SHM_LANES_MAX + 1);
}

static void verdict_names(void **state)
{
	(void)state;
	assert_string_equal(ctl_verdict_name(CTL_GOOD), "ok");
	for (int i = CTL_GOOD; i <= CTL_BAD_FIELD; i++)
		for (int j = CTL_GOOD; j < i; j++)
			assert_string_not_equal(ctl_verdict_name((enum ctl_verdict)i),
						ctl_verdict_name((enum ctl_verdict)j));
	assert_string_equal(ctl_verdict_name((enum ctl_verdict)99), "unknown verdict");
}

/* --- over a socket --------------------------------------------------------------------------- */

static size_t open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static int pair(void **state)
{
	static int sockets[2];

	*state = sockets;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets);
}

static int unpair(void **state)
{
	int *sockets = *state;

	if (sockets[0] >= 0)
		close(sockets[0]);
	close(sockets[1]);
	return 0;
}

static long send_sample(int fd, uint16_t kind, const int *fds, size_t nfds)
{
	struct sample_payload packet;

	sample_ctl(kind, &packet);
	return ctl_send(fd, (struct ctl_header *)packet.data,
			packet.data + sizeof(struct ctl_header), fds, nfds);
}

static void packets_travel(void **state)
{
	int *sockets = *state, fds[CTL_FDS_MAX];
	_Alignas(8) char packet[SAMPLE_PAYLOAD_MAX];
	size_t nfds = 99;

	assert_int_equal(ctl_receive(sockets[1], packet, sizeof(packet), fds, &nfds), -EAGAIN);
	assert_int_equal(nfds, 0);
	for (size_t i = 0; i < 2; i++) {
		for (const uint16_t *kind = all_kinds[i]; *kind; kind++) {
			struct sample_payload sample;

			sample_ctl(*kind, &sample);
			nfds = 99;
			assert_int_equal(send_sample(sockets[0], *kind, NULL, 0), sample.bytes);
			assert_int_equal(
				ctl_receive(sockets[1], packet, sizeof(packet), fds, &nfds),
				sample.bytes);
			assert_int_equal(nfds, 0);
			assert_memory_equal(packet, sample.data, sample.bytes);
		}
	}
}

static void packet_without_body(void **state)
{
	const struct ctl_header ok = {.magic = CTL_MAGIC, .version = CTL_VERSION, .kind = CTL_OK};
	int *sockets = *state;
	_Alignas(8) char packet[64];

	assert_int_equal(ctl_send(sockets[0], &ok, NULL, NULL, 0), sizeof(ok));
	assert_int_equal(ctl_receive(sockets[1], packet, sizeof(packet), NULL, NULL), sizeof(ok));
	assert_memory_equal(packet, &ok, sizeof(ok));
}

static void descriptors_travel(void **state)
{
	int *sockets = *state, sent[CTL_FDS_MAX], fds[CTL_FDS_MAX];
	_Alignas(8) char packet[SAMPLE_PAYLOAD_MAX];
	size_t before = open_descriptors(), nfds = 0;

	for (size_t i = 0; i < CTL_FDS_MAX; i++) {
		sent[i] = eventfd((unsigned)i + 1, EFD_NONBLOCK);
		assert_true(sent[i] >= 0);
	}
	assert_true(send_sample(sockets[0], CTL_ATTACHED, sent, CTL_FDS_MAX) > 0);
	for (size_t i = 0; i < CTL_FDS_MAX; i++)
		close(sent[i]);
	assert_true(ctl_receive(sockets[1], packet, sizeof(packet), fds, &nfds) > 0);
	assert_int_equal(nfds, CTL_FDS_MAX);
	for (size_t i = 0; i < CTL_FDS_MAX; i++) { /* in order, and not inherited */
		uint64_t count;

		assert_int_equal(read(fds[i], &count, sizeof(count)), sizeof(count));
		assert_int_equal(count, i + 1);
		assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		close(fds[i]);
	}
	assert_int_equal(open_descriptors(), before);
}

static void unwanted_descriptors_are_closed(void **state)
{
	int *sockets = *state, fds[CTL_FDS_MAX];
	_Alignas(8) char packet[SAMPLE_PAYLOAD_MAX];
	size_t before = open_descriptors(), nfds = 99;
	int sent[3] = {sockets[0], sockets[0], sockets[1]};

	assert_true(send_sample(sockets[0], CTL_ATTACH, sent, 3) > 0);
	assert_true(ctl_receive(sockets[1], packet, sizeof(packet), NULL, NULL) > 0);
	assert_int_equal(open_descriptors(), before);
	/* With a packet that is too long nothing arrives at all. */
	assert_true(send_sample(sockets[0], CTL_ATTACH, sent, 3) > 0);
	assert_int_equal(ctl_receive(sockets[1], packet, 40, fds, &nfds), -EMSGSIZE);
	assert_int_equal(nfds, 0);
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(ctl_receive(sockets[1], packet, sizeof(packet), fds, &nfds), -EAGAIN);
}

/* A hostile sender passes more than anybody asks for. */
static void too_many_descriptors(void **state)
{
	enum { MANY = CTL_FDS_MAX + 20 };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(MANY * sizeof(int))];
	} control = {0};
	int *sockets = *state, many[MANY], fds[CTL_FDS_MAX];
	_Alignas(8) char packet[64] = {0};
	struct iovec part = {packet, sizeof(packet)};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	size_t before = open_descriptors(), nfds = 0;

	for (size_t i = 0; i < MANY; i++)
		many[i] = sockets[0];
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(many));
	memcpy(CMSG_DATA(&control.header), many, sizeof(many));
	assert_int_equal(sendmsg(sockets[0], &message, MSG_NOSIGNAL), sizeof(packet));
	assert_int_equal(ctl_receive(sockets[1], packet, sizeof(packet), fds, &nfds),
			 sizeof(packet));
	assert_int_equal(nfds, CTL_FDS_MAX);
	assert_int_equal(open_descriptors(), before + CTL_FDS_MAX);
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	assert_int_equal(open_descriptors(), before);
}

/* The peer has gone: an errno, not a SIGPIPE; and the end of the file, once all is read. */
static void peer_has_gone(void **state)
{
	int *sockets = *state;
	_Alignas(8) char packet[SAMPLE_PAYLOAD_MAX];

	assert_true(send_sample(sockets[0], CTL_QUERY, NULL, 0) > 0);
	close(sockets[0]);
	sockets[0] = -1;
	assert_int_equal(send_sample(sockets[1], CTL_OK, NULL, 0), -EPIPE);
	assert_int_equal(ctl_receive(sockets[1], packet, sizeof(packet), NULL, NULL),
			 sizeof(struct ctl_header) + sizeof(struct ctl_query));
	assert_int_equal(ctl_receive(sockets[1], packet, sizeof(packet), NULL, NULL), 0);
	assert_int_equal(send_sample(-1, CTL_OK, NULL, 0), -EBADF);
	assert_int_equal(ctl_receive(-1, packet, sizeof(packet), NULL, NULL), -EBADF);
}

static void full_socket(void **state)
{
	int *sockets = *state;
	long sent = 0;

	for (unsigned i = 0; i < 100000 && sent >= 0; i++)
		sent = send_sample(sockets[0], CTL_ERROR, NULL, 0);
	assert_int_equal(sent, -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_pass),
		cmocka_unit_test(header),
		cmocka_unit_test(lengths),
		cmocka_unit_test(largest_packet),
		cmocka_unit_test(requests),
		cmocka_unit_test(answers),
		cmocka_unit_test(tensors),
		cmocka_unit_test(verdict_names),
		cmocka_unit_test_setup_teardown(packets_travel, pair, unpair),
		cmocka_unit_test_setup_teardown(packet_without_body, pair, unpair),
		cmocka_unit_test_setup_teardown(descriptors_travel, pair, unpair),
		cmocka_unit_test_setup_teardown(unwanted_descriptors_are_closed, pair, unpair),
		cmocka_unit_test_setup_teardown(too_many_descriptors, pair, unpair),
		cmocka_unit_test_setup_teardown(peer_has_gone, pair, unpair),
		cmocka_unit_test_setup_teardown(full_socket, pair, unpair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
