/*
 * test_client_daemon.c - the daemon's side of the Unix socket: attach, requests, answers,
 * every way to end.  The test is the trainer, the lanes and control at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/client.h"
#include "daemon/transport/transport.h"
#include "tests/unit/client_rig.h"

enum { MIB = 1 << 20 };

/* Twice, so that it does not matter that nobody reads it. */
static void rings(const struct client_rig *r, const struct answer *answer)
{
	const uint64_t one = 1;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(write(answer->fds[3], &one, 8), 8);
		assert_false(transport_take_wake(r->lane_fds[0]));
		assert_true(transport_take_wake(r->lane_fds[1]));
		assert_false(transport_take_wake(r->lane_fds[1]));
	}
}

static void attach(void **state)
{
	static struct answer answer;
	struct ctl_attach request = {.arena_bytes = 2 * MIB + 1, .name = "bert"};
	struct shm_layout layout;
	struct client_rig r;
	uint64_t one = 1;
	uint32_t client, wakes = 0;
	char *base;
	int fd;

	(void)state;
	client_rig_open(&r, "");
	fd = trainer_connect(&r);
	trainer_send(fd, CTL_ATTACH, 7, &request, sizeof(request));
	client = client_rig_one(&r, CLIENT_ATTACHED)->client;
	trainer_answer(fd, &answer);
	assert_int_equal(answer.header.kind, CTL_ATTACHED);
	assert_int_equal(answer.header.id, 7);
	assert_int_equal(answer.attached.client, client);
	assert_true(client_attached(r.clients, client));
	assert_int_equal(answer.attached.lanes, RIG_LANES);
	assert_string_equal(answer.attached.version, "9.9.9");
	assert_int_equal(answer.nfds, 2 + RIG_LANES);
	assert_int_equal(fcntl(answer.fds[0], F_GET_SEALS),
			 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);

	base = mmap(NULL, answer.attached.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		    answer.fds[0], 0);
	assert_ptr_not_equal(base, MAP_FAILED);
	assert_int_equal(shm_header_check((void *)base, answer.attached.total_bytes, &layout), 0);
	assert_int_equal(layout.arena_bytes, 2 * MIB + SHM_ARENA_ALIGN);
	assert_int_equal(layout.total_bytes, client_layout(r.clients, client)->total_bytes);
	assert_int_equal(layout.arena_offset, client_layout(r.clients, client)->arena_offset);
	memcpy(base + layout.arena_offset, "gradient", 9);
	assert_string_equal((char *)client_base(r.clients, client) + layout.arena_offset,
			    "gradient");
	assert_int_equal(client_resident_bytes(r.clients, client), 2 * 4096);

	/* A doorbell wakes its lane, whatever is in it; once a ring. */
	rings(&r, &answer);

	/* Wake-ups: what the trainer does to its end does not make ours block. */
	assert_int_equal(fcntl(answer.fds[1], F_SETFL, 0), 0);
	while (send(client_wake_fd(r.clients, client), "", 1, MSG_NOSIGNAL) == 1)
		assert_true(++wakes < 100);
	assert_int_equal(errno, EAGAIN);
	assert_true(wakes > 0);
	while (recv(answer.fds[1], &one, 8, MSG_DONTWAIT) == 1)
		wakes--;
	assert_int_equal(wakes, 0);
	assert_int_equal(send(client_wake_fd(r.clients, client), "", 1, MSG_NOSIGNAL), 1);
	assert_int_equal(shutdown(answer.fds[1], SHUT_RDWR), 0);
	assert_int_equal(send(client_wake_fd(r.clients, client), "", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);

	assert_int_equal(client_uid(r.clients, client), getuid());
	assert_int_equal(client_pid(r.clients, client), getpid());
	assert_string_equal(client_name(r.clients, client), "bert");
	trainer_send(fd, CTL_ATTACH, 8, &request, sizeof(request));
	client_rig_turn(&r);
	trainer_refused(fd, 8, -EALREADY, "this connection is attached already");
	munmap(base, answer.attached.total_bytes);
	for (size_t i = 0; i < answer.nfds; i++)
		close(answer.fds[i]);
	close(fd);
	client_rig_close(&r);
}

/* A trainer that is gone wakes no lane, though a child of it may still hold its doorbells. */
static void doorbell_of_the_dead(void **state)
{
	static struct answer answer;
	struct ctl_attach request = {.arena_bytes = MIB};
	struct client_rig r;
	uint64_t one = 1;
	int fd;

	(void)state;
	client_rig_open(&r, "");
	fd = trainer_connect(&r);
	trainer_send(fd, CTL_ATTACH, 1, &request, sizeof(request));
	(void)client_rig_one(&r, CLIENT_ATTACHED);
	trainer_answer(fd, &answer);
	assert_int_equal(answer.header.kind, CTL_ATTACHED);
	close(fd);
	(void)client_rig_one(&r, CLIENT_GONE);
	for (size_t lane = 0; lane < RIG_LANES; lane++) {
		assert_int_equal(write(answer.fds[2 + lane], &one, 8), 8);
		assert_false(transport_take_wake(r.lane_fds[lane]));
	}
	for (size_t i = 0; i < answer.nfds; i++)
		close(answer.fds[i]);
	client_rig_close(&r);
}

static void memory_has_limits(void **state)
{
	struct ctl_attach request = {.arena_bytes = 0};
	struct clients_account account;
	struct client_rig r;
	char text[RIG_TEXT_BYTES];
	uint32_t one, two;
	int a, b, c;

	(void)state;
	client_rig_open(&r, "[limits]\narena_bytes_default = 1M\narena_bytes_max = 8M\n"
			    "arena_bytes_per_uid = 6M\n");
	a = trainer_attach(&r, 0, &one);
	assert_int_equal(client_layout(r.clients, one)->arena_bytes, MIB);
	b = trainer_attach(&r, 4 * MIB, &two);
	assert_int_equal(client_layout(r.clients, two)->arena_bytes, 4 * MIB);
	clients_account(r.clients, &account);
	assert_int_equal(account.attached, 2);
	assert_int_equal(account.shared_bytes, client_layout(r.clients, one)->total_bytes +
						       client_layout(r.clients, two)->total_bytes);

	c = trainer_connect(&r);
	request.arena_bytes = 8 * MIB + 4096;
	trainer_send(c, CTL_ATTACH, 1, &request, sizeof(request));
	client_rig_turn(&r);
	trainer_refused(
		c, 1, -ENOMEM,
		"an arena of 8392704 bytes is more than [limits] arena_bytes_max = 8388608");
	request.arena_bytes = 0;
	trainer_send(c, CTL_ATTACH, 2, &request, sizeof(request));
	client_rig_turn(&r);
	snprintf(text, sizeof(text),
		 "shared memory of %ju bytes is needed, and %ju of [limits] arena_bytes_per_uid = "
		 "6291456 are left",
		 (uintmax_t)client_layout(r.clients, one)->total_bytes,
		 (uintmax_t)(6 * MIB - account.shared_bytes));
	trainer_refused(c, 2, -ENOMEM, text);

	/* What has gone is charged until it is forgotten; then the same connection succeeds. */
	close(a);
	assert_int_equal(client_rig_one(&r, CLIENT_GONE)->client, one);
	trainer_send(c, CTL_ATTACH, 3, &request, sizeof(request));
	client_rig_turn(&r);
	trainer_refused(c, 3, -ENOMEM, text);
	client_forget(r.clients, one);
	trainer_send(c, CTL_ATTACH, 4, &request, sizeof(request));
	client_rig_one(&r, CLIENT_ATTACHED);
	close(b);
	close(c);
	client_rig_close(&r);
}

static void requests(void **state)
{
	struct ctl_create create = {
		.name = "g", .root = "127.0.0.1", .root_port = 7117, .ranks = 1, .timeout_ms = 1};
	struct ctl_created created = {.group = 77, .handle = 0, .nodes = 1, .lanes = 1};
	struct ctl_destroy destroy = {.handle = 0};
	static struct answer answer;
	const struct client_request *request;
	struct client_rig r;
	uint32_t client;
	int fd;

	(void)state;
	client_rig_open(&r, "");
	fd = trainer_connect(&r);
	trainer_send(fd, CTL_CREATE, 1, &create, sizeof(create));
	trainer_send(fd, CTL_DESTROY, 2, &destroy, sizeof(destroy));
	client_rig_turn(&r);
	assert_int_equal(r.count, 0);
	trainer_refused(fd, 1, -ENOTCONN, "this connection is not attached");
	trainer_refused(fd, 2, -ENOTCONN, "this connection is not attached");
	close(fd);

	fd = trainer_attach(&r, MIB, &client);
	trainer_send(fd, CTL_CREATE, 3, &create, sizeof(create));
	request = client_rig_one(&r, CLIENT_CREATE);
	assert_int_equal(request->client, client);
	assert_int_equal(request->id, 3);
	assert_memory_equal(&request->create, &create, sizeof(create));
	trainer_send(fd, CTL_DESTROY, 4, &destroy, sizeof(destroy));
	client_rig_turn(&r);
	trainer_refused(fd, 4, -EBADF, "there is no group with handle 0");
	assert_int_equal(client_handle_take(r.clients, client), 0);
	client_answer_created(r.clients, client, 3, &created);
	trainer_answer(fd, &answer);
	assert_int_equal(answer.header.kind, CTL_CREATED);
	assert_int_equal(answer.header.id, 3);
	assert_memory_equal(&answer.created, &created, sizeof(created));
	trainer_send(fd, CTL_DESTROY, 5, &destroy, sizeof(destroy));
	request = client_rig_one(&r, CLIENT_DESTROY);
	assert_memory_equal(&request->destroy, &destroy, sizeof(destroy));
	client_answer_ok(r.clients, client, 5);
	trainer_answer(fd, &answer);
	assert_int_equal(answer.header.kind, CTL_OK);
	assert_int_equal(answer.header.id, 5);
	client_answer_error(r.clients, client, 6, -EFBIG, "too big");
	trainer_refused(fd, 6, -EFBIG, "too big");
	close(fd);
	client_rig_close(&r);
}

static void handles(void **state)
{
	struct client_rig r;
	uint32_t client;
	int fd;

	(void)state;
	client_rig_open(&r, "");
	fd = trainer_attach(&r, MIB, &client);
	for (int i = 0; i < (int)SHM_GROUPS_MAX; i++)
		assert_int_equal(client_handle_take(r.clients, client), i);
	assert_int_equal(client_groups(r.clients, client), SHM_GROUPS_MAX);
	assert_int_equal(client_handle_take(r.clients, client), -ENOSPC);
	client_handle_give(r.clients, client, 63);
	client_handle_give(r.clients, client, 5);
	assert_int_equal(client_handle_take(r.clients, client), 5);
	assert_int_equal(client_handle_take(r.clients, client), 63);
	close(fd);
	client_rig_close(&r);
}

static void why(void **state)
{
	char text[2 * SHM_TEXT_BYTES];
	struct shm_header *header;
	struct client_rig r;
	uint32_t client;
	int fd;

	(void)state;
	client_rig_open(&r, "");
	fd = trainer_attach(&r, MIB, &client);
	header = client_base(r.clients, client);
	client_why(r.clients, client, 3, "node 1 (10.0.0.2) is dead");
	assert_string_equal(header->why[3].text, "node 1 (10.0.0.2) is dead");
	assert_int_equal(header->why[3].version, 2);
	assert_int_equal(header->why[2].version, 0);
	header->why[3].version = 12345; /* the trainer's mischief changes nothing for us */
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	client_why(r.clients, client, 3, text);
	assert_int_equal(strlen(header->why[3].text), sizeof(header->why[3].text) - 1);
	assert_int_equal(header->why[3].version, 4);
	client_why(r.clients, client, 3, "");
	assert_string_equal(header->why[3].text, "");
	close(fd);
	client_rig_one(&r, CLIENT_GONE);
	client_why(r.clients, client, 3, "nobody reads this");
	assert_string_equal(header->why[3].text, "");
	client_forget(r.clients, client);
	client_rig_close(&r);
}

/* An answer of 1 MB does not fit the socket: it goes on as the reader reads. */
static void long_answers(void **state)
{
	enum { BYTES = 1000000 };
	static struct answer answer;
	static char got[BYTES];
	size_t bytes = 0, packets = 0, second = 0;
	struct client_rig r;
	char *text = malloc(BYTES);
	int fd;

	(void)state;
	client_rig_open(&r, "");
	fd = trainer_connect(&r);
	for (int i = 0; i < BYTES; i++)
		text[i] = (char)('a' + i % 23);
	trainer_query(fd, 1, "long");
	assert_string_equal(client_rig_one(&r, CLIENT_QUERY)->query.what, "long");
	client_answer_text(r.clients, r.requests[0].client, 1, text, BYTES);
	trainer_query(fd, 2, "short");
	do {
		trainer_answer(fd, &answer);
		packets++;
		assert_int_equal(answer.header.id, 1);
		assert_true(bytes + answer.header.bytes <= BYTES);
		memcpy(got + bytes, answer.text, answer.header.bytes);
		bytes += answer.header.bytes;
		client_rig_turn(&r);
		second += r.count;
		assert_true(bytes > BYTES / 2 || second == 0); /* it waits for the first one */
	} while (answer.header.kind != CTL_OK);
	assert_int_equal(bytes, BYTES);
	assert_true(packets > BYTES / CTL_PACKET_BYTES_MAX);
	for (int i = 0; i < BYTES; i++)
		assert_true(got[i] == (char)('a' + i % 23));
	assert_int_equal(second, 1);
	trainer_nothing(fd);
	close(fd);
	client_rig_close(&r);
}

static void short_answers(void **state)
{
	static struct answer answer;
	struct client_rig r;
	int fd;

	(void)state;
	client_rig_open(&r, "");
	fd = trainer_connect(&r);
	trainer_query(fd, 1, "short");
	client_rig_one(&r, CLIENT_QUERY);
	client_answer_text(r.clients, r.requests[0].client, 1, strdup("{}"), 2);
	trainer_answer(fd, &answer);
	assert_int_equal(answer.header.kind, CTL_OK);
	assert_int_equal(answer.header.bytes, 2);
	assert_memory_equal(answer.text, "{}", 2);
	/* Gone in the middle of a long one. */
	client_answer_text(r.clients, r.requests[0].client, 1, calloc(1, 1000000), 1000000);
	close(fd);
	client_rig_turn(&r);
	assert_int_equal(r.count, 0);
	/* To nobody. */
	client_answer_text(r.clients, r.requests[0].client, 1, strdup("{}"), 2);
	client_answer_ok(r.clients, r.requests[0].client, 1);
	client_rig_close(&r);
}

static void end_of_file(void **state)
{
	struct clients_account account;
	struct client_rig r;
	uint32_t one, two;
	int a, b;

	(void)state;
	client_rig_open(&r, "");
	a = trainer_attach(&r, MIB, &one);
	close(a);
	assert_int_equal(client_rig_one(&r, CLIENT_GONE)->client, one);
	assert_string_equal(r.requests[0].why, "it closed its connection");
	assert_false(client_attached(r.clients, one));
	/* Until it is forgotten: memory, wake-up socket and number stay. */
	assert_int_equal(*(uint32_t *)client_base(r.clients, one), SHM_MAGIC);
	assert_true(fcntl(client_wake_fd(r.clients, one), F_GETFD) >= 0);
	b = trainer_attach(&r, MIB, &two);
	assert_int_not_equal(one, two);
	clients_account(r.clients, &account);
	assert_int_equal(account.attached, 1);
	assert_int_equal(account.gone, 1);
	assert_int_equal(count_arenas(), 2);
	client_forget(r.clients, one);
	assert_int_equal(count_arenas(), 1);
	a = trainer_attach(&r, MIB, &two);
	assert_int_equal(one, two);
	close(a);
	close(b);
	client_rig_close(&r);
}

/* The trainer's child keeps the socket open; the trainer's death is noticed all the same. */
static void death_with_a_child(void **state)
{
	struct ctl_attach request = {.arena_bytes = MIB};
	struct client_rig r;
	int ready[2], hold[2], status;
	char byte, expected[64];
	pid_t trainer;

	(void)state;
	client_rig_open(&r, "");
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(hold), 0);
	trainer = fork();
	if (trainer == 0) {
		trainer_send(trainer_connect(&r), CTL_ATTACH, 1, &request, sizeof(request));
		if (fork() == 0) {
			close(hold[1]);
			(void)!read(hold[0], &byte, 1); /* until the test lets go */
			_exit(0);
		}
		(void)!write(ready[1], "x", 1);
		close(hold[1]);
		(void)!read(hold[0], &byte, 1);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	client_rig_one(&r, CLIENT_ATTACHED);
	assert_int_equal(client_pid(r.clients, r.requests[0].client), trainer);
	assert_int_equal(kill(trainer, SIGKILL), 0);
	assert_int_equal(waitpid(trainer, &status, 0), trainer);
	client_rig_one(&r, CLIENT_GONE);
	snprintf(expected, sizeof(expected), "its process %d has ended", (int)trainer);
	assert_string_equal(r.requests[0].why, expected);
	close(hold[0]);
	close(hold[1]);
	close(ready[0]);
	close(ready[1]);
	client_rig_close(&r);
}

static void ended_by_us(void **state)
{
	static struct answer answer;
	struct client_rig r;
	uint32_t client;
	int fd;

	(void)state;
	client_rig_open(&r, "");
	fd = trainer_attach(&r, MIB, &client);
	client_end(r.clients, client, "submission %d is bad", 5);
	assert_false(client_attached(r.clients, client));
	client_end(r.clients, client, "twice");
	client_answer_ok(r.clients, client, 9);
	trainer_refused(fd, 0, -EPROTO, "submission 5 is bad");
	trainer_answer(fd, &answer);
	assert_int_equal(answer.header.kind, 0);
	assert_string_equal(client_rig_one(&r, CLIENT_GONE)->why, "submission 5 is bad");
	close(fd);
	client_rig_close(&r);
}

static void broken_protocol(void **state)
{
	_Alignas(8) static char packet[CTL_PACKET_BYTES_MAX + 1];
	struct ctl_header header = {.magic = CTL_MAGIC, .version = CTL_VERSION, .kind = CTL_OK};
	static const char *const sentences[] = {
		"it sent a request that breaks the protocol, version 1: ",
		"it sent a request that breaks the protocol, version 1: ",
		"it sent a request that breaks the protocol, version 1: ",
		"it sent a packet of more than 32768 bytes",
	};
	struct client_rig r;
	uint32_t client;

	(void)state;
	client_rig_open(&r, "");
	for (size_t i = 0; i < 4; i++) {
		int fd = trainer_attach(&r, MIB, &client);

		memcpy(packet, &header, sizeof(header)); /* 0: an answer is no request */
		if (i == 1)
			memset(packet, 0, sizeof(header));
		assert_true(send(fd, packet,
				 i == 2   ? 3
				 : i == 3 ? sizeof(packet)
					  : sizeof(header),
				 0) > 0);
		client_rig_one(&r, CLIENT_GONE);
		assert_memory_equal(r.requests[0].why, sentences[i], strlen(sentences[i]));
		trainer_refused(fd, 0, -EPROTO, r.requests[0].why);
		client_forget(r.clients, client);
		close(fd);
		/* Somebody who is not attached is closed without further notice. */
		fd = trainer_connect(&r);
		assert_int_equal(send(fd, packet, 3, 0), 3);
		client_rig_turn(&r);
		assert_int_equal(r.count, 0);
		close(fd);
	}
	client_rig_close(&r);
}

static void answers_that_nobody_reads(void **state)
{
	struct client_rig r;
	uint32_t client;
	int fd, sent = 0;

	(void)state;
	client_rig_open(&r, "");
	fd = trainer_attach(&r, MIB, &client);
	while (client_attached(r.clients, client) && sent++ < 100000)
		client_answer_error(r.clients, client, 1, -EINVAL, "again");
	assert_in_range(sent, 10, 99999);
	assert_string_equal(client_rig_one(&r, CLIENT_GONE)->why, "it does not read its answers");
	close(fd);
	client_rig_close(&r);
}

/* Attached and killed, over and over: descriptors and mappings are as before. */
static void nothing_leaks(void **state)
{
	struct client_rig r;
	size_t fds;

	(void)state;
	client_rig_open(&r, "");
	fds = count_fds();
	for (int i = 0; i < 1000; i++) {
		uint32_t client;
		int fd = trainer_attach(&r, MIB, &client);

		(void)client_handle_take(r.clients, client);
		close(fd);
		client_rig_one(&r, CLIENT_GONE);
		client_forget(r.clients, client);
	}
	assert_int_equal(count_fds(), fds);
	assert_int_equal(count_arenas(), 0);
	client_rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attach),
		cmocka_unit_test(doorbell_of_the_dead),
		cmocka_unit_test(memory_has_limits),
		cmocka_unit_test(requests),
		cmocka_unit_test(handles),
		cmocka_unit_test(why),
		cmocka_unit_test(long_answers),
		cmocka_unit_test(short_answers),
		cmocka_unit_test(end_of_file),
		cmocka_unit_test(death_with_a_child),
		cmocka_unit_test(ended_by_us),
		cmocka_unit_test(broken_protocol),
		cmocka_unit_test(answers_that_nobody_reads),
		cmocka_unit_test(nothing_leaks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
