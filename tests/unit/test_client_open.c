/*
 * test_client_open.c - attaching: what goes wrong is said; nothing leaks when the n-th allocation
 * or system call fails; fork(); errors per thread; the arena as carry_alloc() shows it.
 */
#include "libclient/carry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/fake_daemon.h"

/* The n-th of these calls of this thread fails, once; the daemon's thread is not touched. */
static _Thread_local int fail_in;

static bool fails(int error)
{
	if (fail_in <= 0 || --fail_in > 0)
		return false;
	errno = error;
	return true;
}

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
	return fails(ENOMEM) ? NULL : __real_calloc(count, bytes);
}

void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	return fails(ENOMEM) ? MAP_FAILED : __real_mmap(at, bytes, protection, flags, fd, offset);
}

int __real_madvise(void *at, size_t bytes, int advice);
int __wrap_madvise(void *at, size_t bytes, int advice);
int __wrap_madvise(void *at, size_t bytes, int advice)
{
	return fails(EINVAL) ? -1 : __real_madvise(at, bytes, advice);
}

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol)
{
	return fails(EMFILE) ? -1 : __real_socket(domain, type, protocol);
}

int __real_connect(int fd, const struct sockaddr *address, socklen_t bytes);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t bytes);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t bytes)
{
	return fails(EACCES) ? -1 : __real_connect(fd, address, bytes);
}

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	return fails(EPIPE) ? -1 : __real_sendmsg(fd, message, flags);
}

int __real_eventfd(unsigned int count, int flags);
int __wrap_eventfd(unsigned int count, int flags);
int __wrap_eventfd(unsigned int count, int flags)
{
	return fails(EMFILE) ? -1 : __real_eventfd(count, flags);
}

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_create1(int flags)
{
	return fails(EMFILE) ? -1 : __real_epoll_create1(flags);
}

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Mappings of arenas, the daemon's and ours. */
static int count_arenas(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int n = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		n += strstr(line, "memfd:fake") != NULL;
	fclose(maps);
	return n;
}

/* The daemon's thread closes its ends a moment after us. */
static void assert_fds(int fds)
{
	for (int i = 0; count_fds() != fds && i < 1000; i++)
		pass_ms(1);
	assert_int_equal(count_fds(), fds);
}

static struct fake *fake;

static int setup(void **state)
{
	(void)state;
	fake = fake_start(2);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_stop(fake);
	fake = NULL;
	return 0;
}

static void assert_sentence(const char *part)
{
	if (!strstr(carry_last_error(NULL), part))
		printf("\"%s\" is not in \"%s\"\n", part, carry_last_error(NULL));
	assert_non_null(strstr(carry_last_error(NULL), part));
}

static void test_open_close(void **state)
{
	struct carry_arena info = {.size = sizeof(info)};
	struct carry *c = NULL;

	(void)state;
	assert_int_equal(carry_open(&c, fake_path(fake)), 0);
	assert_string_equal(carry_daemon_version(c), "9.8.7");
	assert_string_equal(carry_last_error(c), "");
	assert_int_equal(carry_arena_info(c, &info), 0);
	assert_int_equal(info.total_bytes, FAKE_ARENA_BYTES);
	assert_int_equal(info.free_bytes, FAKE_ARENA_BYTES);
	assert_int_equal(info.largest_bytes, FAKE_ARENA_BYTES);
	assert_int_equal(fake_look(fake).clients, 1);
	assert_int_equal(count_arenas(), 2);
	carry_close(c);
	carry_close(NULL);
	fake_wait(fake, FAKE_CLIENTS, 0);
	assert_int_equal(count_arenas(), 0);
}

static void test_environment(void **state)
{
	struct carry_arena info = {.size = sizeof(info)};
	struct carry *c = NULL;

	(void)state;
	setenv("CARRY_SOCKET", fake_path(fake), 1);
	setenv("CARRY_ARENA_BYTES", "3M", 1);
	assert_int_equal(carry_open(&c, NULL), 0);
	assert_int_equal(carry_arena_info(c, &info), 0);
	assert_int_equal(info.total_bytes, 3 << 20);
	carry_close(c);
	setenv("CARRY_ARENA_BYTES", "5", 1);
	assert_int_equal(carry_open(&c, NULL), 0);
	assert_int_equal(carry_arena_info(c, &info), 0);
	assert_int_equal(info.total_bytes, 1 << 20);
	carry_close(c);

	setenv("CARRY_ARENA_BYTES", "lots", 1);
	assert_int_equal(carry_open(&c, NULL), -EINVAL);
	assert_sentence("CARRY_ARENA_BYTES=lots");
	setenv("CARRY_ARENA_BYTES", "8388609M", 1);
	assert_int_equal(carry_open(&c, NULL), -EINVAL);
	assert_sentence("too large");
	unsetenv("CARRY_ARENA_BYTES");
	setenv("CARRY_SPIN_US", "soon", 1);
	assert_int_equal(carry_open(&c, NULL), -EINVAL);
	assert_sentence("CARRY_SPIN_US=soon");
	unsetenv("CARRY_SPIN_US");
	unsetenv("CARRY_SOCKET");
}

static void test_options(void **state)
{
	struct {
		struct carry_open_options o;
		uint64_t newer;
	} big = {.o = {.size = sizeof(big), .socket = fake_path(fake), .arena_bytes = 5000000}};
	struct carry_arena info = {.size = sizeof(info)};
	struct carry *c = NULL;

	(void)state;
	assert_int_equal(carry_open_with(&c, &big.o), 0);
	assert_int_equal(carry_arena_info(c, &info), 0);
	assert_int_equal(info.total_bytes, 5001216); /* up to a page */
	info.size = 0;
	assert_int_equal(carry_arena_info(c, &info), -EINVAL);
	assert_sentence("struct carry_arena: size is not set");
	assert_int_equal(carry_arena_info(c, NULL), -EINVAL);
	info.size = offsetof(struct carry_arena, free_bytes);
	info.free_bytes = 77;
	assert_int_equal(carry_arena_info(c, &info), 0);
	assert_int_equal(info.free_bytes, 77); /* an older program's struct ends before it */
	carry_close(c);

	big.newer = 1;
	assert_int_equal(carry_open_with(&c, &big.o), -EINVAL);
	assert_sentence("carry_open_options has a field that libcarry");
	big.o.size = 0;
	assert_int_equal(carry_open_with(&c, &big.o), -EINVAL);
	assert_sentence("size is not set");
}

static void test_no_daemon(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct carry *c = NULL;
	char path[200];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s.not", fake_path(fake));
	assert_int_equal(carry_open(&c, path), -ENOENT);
	assert_sentence(path);
	assert_sentence("start carryd");
	assert_null(c);
	memset(path, 'x', 150);
	path[150] = 0;
	assert_int_equal(carry_open(&c, path), -ENAMETOOLONG);

	/* A socket that nobody listens on, one of another kind. */
	snprintf(path, sizeof(path), "%s.old", fake_path(fake));
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(carry_open(&c, path), -ECONNREFUSED);
	assert_sentence("nobody listens on ");
	close(fd);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(carry_open(&c, path), -EPROTOTYPE);
	assert_sentence("another program's socket");
	close(fd);
	unlink(path);
}

/* A backlog that nobody empties. */
static void test_full_backlog(void **state)
{
	struct carry_open_options o = {.size = sizeof(o), .timeout_ns = 50000000};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct carry *c = NULL;
	char path[200];
	int fds[3];

	(void)state;
	snprintf(path, sizeof(path), "%s.full", fake_path(fake));
	memcpy(address.sun_path, path, strlen(path) + 1);
	for (int i = 0; i < 3; i++)
		fds[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fds[0], (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fds[0], 0), 0);
	assert_int_equal(connect(fds[1], (const struct sockaddr *)&address, sizeof(address)), 0);
	o.socket = path;
	assert_int_equal(carry_open_with(&c, &o), -ETIMEDOUT);
	assert_sentence("accepts no connections");
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	unlink(path);
}

static void test_attach_errors(void **state)
{
	static const struct {
		enum fake_attach attach;
		int r;
		const char *sentence;
	} cases[] = {
		{FAKE_REFUSE, -EPERM, "refuses: " FAKE_REFUSAL},
		{FAKE_HANG_UP, -ECONNRESET, "closed the connection without an answer"},
		{FAKE_SILENT, -ETIMEDOUT, "does not answer"},
		{FAKE_VERSION, -EPROTO, "speaks another version of the protocol"},
		{FAKE_FEW_FDS, -EPROTO, "gave 3 descriptors for 2 lanes"},
		{FAKE_BAD_LAYOUT, -EPROTO, "another layout"},
		{FAKE_WRONG_SIZE, -EPROTO, "another size"},
		{FAKE_WRONG_KIND, -EPROTO, "answer of kind 32"},
	};
	struct carry_open_options o = {
		.size = sizeof(o), .socket = fake_path(fake), .timeout_ns = 100000000};
	int fds = count_fds();

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct carry *c = NULL;

		fake_set(fake, (struct fake_control){.attach = cases[i].attach});
		if (cases[i].attach != FAKE_SILENT)
			o.timeout_ns = 10000000000;
		else
			o.timeout_ns = 100000000;
		assert_int_equal(carry_open_with(&c, &o), cases[i].r);
		assert_null(c);
		assert_sentence(cases[i].sentence);
		assert_sentence(fake_path(fake));
	}
	fake_set(fake, (struct fake_control){0});
	assert_fds(fds);
}

/* Open, join, make the event descriptor, all under "the n-th call fails". */
static int all_of_it(void)
{
	struct carry_group_options o = {
		.size = sizeof(o), .ranks = 2, .root = "127.0.0.1", .timeout_ns = 5000000000};
	struct carry_group *g = NULL;
	struct carry *c = NULL;
	int r = carry_open(&c, fake_path(fake));

	if (r < 0) {
		assert_null(c);
		assert_string_not_equal(carry_last_error(NULL), "");
		return r;
	}
	r = carry_event_fd(c);
	if (r >= 0)
		r = carry_group_create(&g, c, &o);
	if (r < 0)
		assert_string_not_equal(carry_last_error(c), "");
	else
		r = carry_group_destroy(g);
	fail_in = 0;
	carry_close(c);
	return r;
}

static void test_every_failure(void **state)
{
	int fds = count_fds();
	int n = 0;
	int r;

	(void)state;
	do {
		fail_in = ++n;
		r = all_of_it();
		fail_in = 0;
		assert_fds(fds);
		fake_wait(fake, FAKE_CLIENTS, 0);
		fake_wait(fake, FAKE_GROUPS, 0);
		assert_int_equal(count_arenas(), 0);
	} while (r < 0 && n < 100);
	assert_int_equal(r, 0);
	assert_in_range(n, 14, 40); /* so many calls can fail */
}

static void test_alloc(void **state)
{
	struct carry *c = NULL;
	char *a, *b;

	(void)state;
	assert_int_equal(carry_open(&c, fake_path(fake)), 0);
	a = carry_alloc(c, 3u << 20);
	assert_non_null(a);
	assert_int_equal((uintptr_t)a % 4096, 0);
	memset(a, 1, 3u << 20);
	b = carry_alloc(c, 100);
	assert_non_null(b);
	assert_int_equal((uintptr_t)b % 64, 0);
	assert_null(carry_alloc(c, 2u << 20));
	assert_sentence(
		"no room for 2097152 bytes (1048448 free, 1044480 in one piece, of 4194304)");
	assert_int_equal(carry_free(c, a + 4096), -EINVAL);
	assert_int_equal(carry_free(c, &a), -EINVAL);
	assert_sentence("not memory of carry_alloc()");
	assert_int_equal(carry_free(c, NULL), 0);
	assert_int_equal(carry_free(c, b), 0);
	assert_int_equal(carry_free(c, a), 0);
	assert_int_equal(carry_free(c, a), -EINVAL);
	assert_non_null(carry_alloc(c, 4u << 20));
	carry_close(c);
}

static void *fail_elsewhere(void *argument)
{
	struct carry *c = argument;

	assert_string_equal(carry_last_error(c), "");
	assert_int_equal(carry_free(c, argument), -EINVAL);
	return NULL;
}

static void test_last_error(void **state)
{
	struct carry *c = NULL;
	struct carry *d = NULL;
	pthread_t thread;
	char kept[600];

	(void)state;
	assert_int_equal(carry_open(&c, fake_path(fake)), 0);
	assert_int_equal(carry_open(&d, fake_path(fake)), 0);
	assert_null(carry_alloc(c, SIZE_MAX));
	snprintf(kept, sizeof(kept), "%s", carry_last_error(c));
	assert_non_null(strstr(kept, "18446744073709551615"));
	assert_string_equal(carry_last_error(NULL), kept);
	assert_string_equal(carry_last_error(d), "");
	assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, c), 0);
	pthread_join(thread, NULL);
	assert_string_equal(carry_last_error(c), kept);
	carry_close(c);
	assert_string_equal(carry_last_error(NULL), kept);
	carry_close(d);

	assert_string_equal(carry_error_name(0), "OK");
	assert_string_equal(carry_error_name(-ETIMEDOUT), "ETIMEDOUT");
	assert_string_equal(carry_error_name(EINVAL), "EINVAL");
	assert_string_equal(carry_error_name(-99999), "unknown error");
	assert_string_not_equal(carry_version(), "");
}

static void test_null_arguments(void **state)
{
	struct carry_group *g = NULL;

	(void)state;
	assert_int_equal(carry_group_create(&g, NULL, NULL), -EINVAL);
	assert_int_equal(carry_event_fd(NULL), -EINVAL);
	assert_int_equal(carry_free(NULL, NULL), -EINVAL);
	assert_null(carry_alloc(NULL, 1));
	assert_int_equal(carry_wait(NULL, 0, NULL), -EINVAL);
	assert_int_equal(carry_test(NULL), -EINVAL);
	assert_int_equal(carry_group_abort(NULL), -EINVAL);
	assert_int_equal(carry_group_destroy(NULL), 0);
	assert_int_equal(carry_allreduce(NULL, NULL, NULL, 0, CARRY_F32, CARRY_SUM, NULL, NULL),
			 -EINVAL);
	assert_string_equal(carry_daemon_version(NULL), "");
}

/* What the child of fork() does; exits 0 if every call refused. */
static void child_calls(struct carry *c, struct carry_group *g, struct carry_work *w, void *memory)
{
	struct carry_group_options o = {.size = sizeof(o), .ranks = 3, .root = "127.0.0.1"};
	int32_t x = 1;
	int bad = 0;

	bad += carry_allreduce(g, &x, &x, 1, CARRY_I32, CARRY_SUM, NULL, NULL) != -EOWNERDEAD;
	bad += !strstr(carry_last_error(c), "after fork()");
	bad += carry_wait(w, -1, NULL) != -EOWNERDEAD;
	bad += carry_test(w) != -EOWNERDEAD;
	bad += carry_group_abort(g) != -EOWNERDEAD;
	bad += carry_group_destroy(g) != -EOWNERDEAD;
	bad += carry_group_create(&g, c, NULL) != -EOWNERDEAD;
	bad += carry_event_fd(c) != -EOWNERDEAD;
	bad += carry_alloc(c, 1) != NULL;
	bad += carry_free(c, memory) != -EOWNERDEAD;
	bad += msync((void *)((uintptr_t)memory & ~(uintptr_t)4095), 4096, MS_ASYNC) == 0;
	carry_close(c);

	/* Handles of its own are as good as anybody's. */
	c = NULL;
	g = NULL;
	bad += carry_open(&c, fake_path(fake)) != 0;
	bad += carry_group_create(&g, c, &o) != 0;
	bad += carry_allreduce(g, &x, &x, 1, CARRY_I32, CARRY_AVG, NULL, NULL) != 0;
	bad += carry_group_destroy(g) != 0;
	carry_close(c);
	_exit(bad);
}

static void test_fork(void **state)
{
	struct carry_group_options o = {.size = sizeof(o), .ranks = 3, .root = "127.0.0.1"};
	struct carry_group *g = NULL;
	struct carry_work *w = NULL;
	struct carry *c = NULL;
	int32_t *x;
	pid_t child;
	int status;

	(void)state;
	assert_int_equal(carry_open(&c, fake_path(fake)), 0);
	assert_int_equal(carry_group_create(&g, c, &o), 0);
	assert_true(carry_event_fd(c) >= 0);
	x = carry_alloc(c, 64);
	*x = 5;
	assert_int_equal(carry_allreduce(g, x, x, 1, CARRY_I32, CARRY_SUM, NULL, &w), 0);
	child = fork();
	if (child == 0)
		child_calls(c, g, w, x);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);

	/* The parent did not notice. */
	fake_wait(fake, FAKE_CLIENTS, 1);
	assert_int_equal(carry_wait(w, 10000000000, NULL), 0);
	assert_int_equal(*x, 15);
	assert_int_equal(carry_group_destroy(g), 0);
	assert_int_equal(fake_look(fake).posted_through, 1);
	carry_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open_close, setup, teardown),
		cmocka_unit_test_setup_teardown(test_environment, setup, teardown),
		cmocka_unit_test_setup_teardown(test_options, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_daemon, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_backlog, setup, teardown),
		cmocka_unit_test_setup_teardown(test_attach_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_failure, setup, teardown),
		cmocka_unit_test_setup_teardown(test_alloc, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_error, setup, teardown),
		cmocka_unit_test(test_null_arguments),
		cmocka_unit_test_setup_teardown(test_fork, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
