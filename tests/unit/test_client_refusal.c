/*
 * test_client_refusal.c - what the daemon cannot give: connections beyond the limits,
 * descriptors that are not there, memory that is not there.  Each is refused with a
 * sentence, and nothing is left behind.
 * Wrapped: __wrap_malloc __wrap_calloc __wrap_realloc
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/client.h"
#include "tests/unit/client_rig.h"
#include "tests/unit/fail_alloc.h"

enum { MIB = 1 << 20 };

/* --- system calls that fail ------------------------------------------------------------------ */

int __real_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags);
int __real_memfd_create(const char *name, unsigned int flags);
int __real_socketpair(int domain, int type, int protocol, int fds[2]);
int __real_eventfd(unsigned int value, int flags);
int __real_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __real_ftruncate(int fd, off_t bytes);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags);
int __wrap_memfd_create(const char *name, unsigned int flags);
int __wrap_socketpair(int domain, int type, int protocol, int fds[2]);
int __wrap_eventfd(unsigned int value, int flags);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_ftruncate(int fd, off_t bytes);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);

static int accept_failures; /* how many times accept4() says EMFILE */
static int memfd_error, socketpair_error, ftruncate_error, mmap_error;
static int eventfd_error, edge_error; /* of the second doorbell */

static int failed(int error)
{
	errno = error;
	return -1;
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags)
{
	if (accept_failures > 0) {
		accept_failures--;
		return failed(EMFILE);
	}
	return __real_accept4(fd, address, bytes, flags);
}

int __wrap_memfd_create(const char *name, unsigned int flags)
{
	return memfd_error ? failed(memfd_error) : __real_memfd_create(name, flags);
}

int __wrap_socketpair(int domain, int type, int protocol, int fds[2])
{
	return socketpair_error ? failed(socketpair_error)
				: __real_socketpair(domain, type, protocol, fds);
}

int __wrap_eventfd(unsigned int value, int flags)
{
	static unsigned int calls;

	return eventfd_error && ++calls % 2 == 0 ? failed(eventfd_error)
						 : __real_eventfd(value, flags);
}

int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	static unsigned int calls;
	bool edge = op == EPOLL_CTL_ADD && event->events & EPOLLET;

	return edge && edge_error && ++calls % 2 == 0 ? failed(edge_error)
						      : __real_epoll_ctl(epoll, op, fd, event);
}

int __wrap_ftruncate(int fd, off_t bytes)
{
	return ftruncate_error ? failed(ftruncate_error) : __real_ftruncate(fd, bytes);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	if (!mmap_error)
		return __real_mmap(at, bytes, protection, flags, fd, offset);
	errno = mmap_error;
	return MAP_FAILED;
}

/* --- tests ----------------------------------------------------------------------------------- */

static void too_many_clients(void **state)
{
	struct clients_account account;
	struct client_rig r;
	uint32_t client;
	int a, b, c, d;
	char expected[RIG_TEXT_BYTES];

	(void)state;
	client_rig_open(&r, "[limits]\nclients = 2\n");
	a = trainer_attach(&r, MIB, &client);
	b = trainer_connect(&r);
	c = trainer_connect(&r);
	client_rig_turn(&r);
	snprintf(expected, sizeof(expected),
		 "refuse process %d of user %u: all 2 connections are in use ([limits] clients)",
		 (int)getpid(), (unsigned int)getuid());
	assert_string_equal(r.refused, expected);
	trainer_nothing(c);
	trainer_query(c, 99, "status");
	client_rig_turn(&r);
	assert_int_equal(r.count, 0);
	trainer_refused(c, 99, -EUSERS, "all 2 connections are in use ([limits] clients)");
	clients_account(r.clients, &account);
	assert_int_equal(account.connections, 2);
	assert_int_equal(account.accepted, 2);
	assert_int_equal(account.refused, 1);
	/* A place is free again when the trainer is forgotten. */
	close(a);
	client_rig_one(&r, CLIENT_GONE);
	client_forget(r.clients, client);
	d = trainer_attach(&r, MIB, &client);
	close(b);
	close(c);
	close(d);
	client_rig_close(&r);
}

static void too_many_of_one_user(void **state)
{
	struct client_rig r;
	uint32_t client;
	int a, b;

	(void)state;
	client_rig_open(&r, "[limits]\nclients_per_uid = 1\n");
	a = trainer_attach(&r, MIB, &client);
	b = trainer_connect(&r);
	trainer_query(b, 5, "status");
	client_rig_turn(&r);
	assert_non_null(strstr(r.refused, "has 1 connections ([limits] clients_per_uid)"));
	assert_true(client_attached(r.clients, client));
	close(a);
	close(b);
	client_rig_close(&r);
}

/* More refused ones than waiting places: they are told at once and closed. */
static void many_refusals_at_once(void **state)
{
	enum { MANY = 20 };
	static struct answer answer;
	struct client_rig r;
	uint32_t client;
	int a, fds[MANY], at_once = 0;
	size_t before;

	(void)state;
	client_rig_open(&r, "[limits]\nclients = 1\n");
	a = trainer_attach(&r, MIB, &client);
	before = count_fds();
	for (int i = 0; i < MANY; i++)
		fds[i] = trainer_connect(&r);
	client_rig_turn(&r);
	for (int i = 0; i < MANY; i++) {
		char byte;

		if (recv(fds[i], &byte, 1, MSG_PEEK) == 1) {
			trainer_answer(fds[i], &answer);
			assert_int_equal(answer.header.kind, CTL_ERROR);
			assert_int_equal(answer.error.error, -EUSERS);
			trainer_answer(fds[i], &answer);
			assert_int_equal(answer.header.kind, 0);
			at_once++;
		}
		close(fds[i]);
	}
	assert_in_range(at_once, MANY / 2, MANY - 1);
	client_rig_turn(&r);
	assert_int_equal(count_fds(), before);
	assert_true(client_attached(r.clients, client));
	close(a);
	client_rig_close(&r);
}

static void no_descriptor_to_accept(void **state)
{
	struct client_rig r;
	size_t before;
	int a, b;

	(void)state;
	client_rig_open(&r, "");
	before = count_fds();
	a = trainer_connect(&r);
	trainer_query(a, 3, "status");
	accept_failures = 1;
	client_rig_turn(&r);
	assert_non_null(strstr(r.refused, ": carryd has no file descriptor left (ulimit -n)"));
	trainer_refused(a, 3, -EMFILE, "carryd has no file descriptor left (ulimit -n)");
	close(a);
	assert_int_equal(count_fds(), before); /* the reserve is there again */

	/* Not even with the reserve: no spinning, but later. */
	b = trainer_connect(&r);
	trainer_query(b, 4, "status");
	accept_failures = 2;
	client_rig_turn(&r);
	assert_string_equal(r.refused, "accept a client: Too many open files");
	assert_true(clients_deadline_ns(r.clients) == r.now_ns + 100000000);
	client_rig_turn(&r);
	assert_int_equal(r.count, 0);
	r.now_ns += 100000000;
	client_rig_one(&r, CLIENT_QUERY);
	assert_true(clients_deadline_ns(r.clients) == UINT64_MAX);
	close(b);
	client_rig_close(&r);
}

static void attach_that_fails(void **state)
{
	static const struct {
		int *call, error;
		const char *format; /* of the bytes, or of nothing */
	} fails[] = {
		{&memfd_error, EMFILE,
		 "carryd has no file descriptor left for the arena (ulimit -n)"},
		{&memfd_error, ENOMEM, "make the arena: Cannot allocate memory"},
		{&ftruncate_error, ENOSPC, "make an arena of # bytes: No space left on device"},
		{&mmap_error, ENOMEM, "map an arena of # bytes: Cannot allocate memory"},
		{&socketpair_error, EMFILE,
		 "carryd has no file descriptor left for the trainer's wake-up socket (ulimit -n)"},
		{&eventfd_error, EMFILE,
		 "carryd has no file descriptor left for the trainer's doorbell (ulimit -n)"},
		{&edge_error, ENOSPC,
		 "watch the trainer's doorbell on lane 1: No space left on device"},
	};
	struct ctl_attach attach = {.arena_bytes = MIB};
	struct shm_layout layout;
	struct client_rig r;
	size_t fds, arenas;
	int fd;

	(void)state;
	assert_int_equal(shm_layout(&layout, RIG_LANES, MIB), 0);
	client_rig_open(&r, "");
	fd = trainer_connect(&r);
	client_rig_turn(&r);
	fds = count_fds();
	arenas = count_arenas();
	for (uint32_t i = 0; i < sizeof(fails) / sizeof(fails[0]); i++) {
		const char *bytes = strchr(fails[i].format, '#');
		char expected[RIG_TEXT_BYTES];

		*fails[i].call = fails[i].error;
		trainer_send(fd, CTL_ATTACH, i, &attach, sizeof(attach));
		client_rig_turn(&r);
		*fails[i].call = 0;
		assert_int_equal(r.count, 0);
		if (bytes)
			snprintf(expected, sizeof(expected), "%.*s%ju%s",
				 (int)(bytes - fails[i].format), fails[i].format,
				 (uintmax_t)layout.total_bytes, bytes + 1);
		else
			snprintf(expected, sizeof(expected), "%s", fails[i].format);
		trainer_refused(fd, i, -fails[i].error, expected);
		assert_int_equal(count_fds(), fds);
		assert_int_equal(count_arenas(), arenas);
	}
	/* It may try again. */
	trainer_send(fd, CTL_ATTACH, 9, &attach, sizeof(attach));
	client_rig_one(&r, CLIENT_ATTACHED);
	close(fd);
	client_rig_close(&r);
}

static void no_memory_to_open(void **state)
{
	struct clients_options options;
	struct clients *clients = NULL;
	struct config config;
	struct err err;
	struct loop *loop;
	int lane_fds[SHM_LANES_MAX];
	long n = 1;

	(void)state;
	memset(lane_fds, -1, sizeof(lane_fds));
	assert_int_equal(config_parse(&config, "", 0, "", &err), 0);
	assert_int_equal(loop_open(&loop, &err), 0);
	options = (struct clients_options){
		.config = &config, .loop = loop, .lane_fds = lane_fds, .version = "1"};
	for (fail_alloc_at(n); clients_open(&clients, &options, &err); fail_alloc_at(++n)) {
		assert_int_equal(err.code, -ENOMEM);
		assert_string_equal(err.text, "no memory for the table of 256 clients");
		assert_null(clients);
	}
	assert_int_equal(n, 3); /* two allocations */
	fail_alloc_at(0);
	clients_close(clients);
	clients_close(NULL);
	loop_close(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(too_many_clients),      cmocka_unit_test(too_many_of_one_user),
		cmocka_unit_test(many_refusals_at_once), cmocka_unit_test(no_descriptor_to_accept),
		cmocka_unit_test(attach_that_fails),     cmocka_unit_test(no_memory_to_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
