/*
 * test_transport_open.c - opening and attaching when something is not to be had.
 *
 * Goal: every error path of open() and attach() is run, says the right sentence and
 * leaks nothing.  Method: the n-th allocation fails, for every n until none does;
 * descriptors run out; in a child process a seccomp filter forbids io_uring, and (as
 * root) a file of ours stands where the kernel keeps its switch.  Also here: once paths
 * are attached, nothing is allocated any more.
 */
#include "daemon/transport/transport.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "tests/common/rig.h"

/* --- allocations ---------------------------------------------------------------------------- */

/* How many more succeed; negative: all.  Counted in any case. */
static int allocations_left = -1;
static int allocations;

static bool may_allocate(void)
{
	allocations++;
	if (allocations_left < 0)
		return true;
	return allocations_left-- > 0;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t bytes)
{
	return may_allocate() ? __real_malloc(bytes) : NULL;
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return may_allocate() ? __real_calloc(count, bytes) : NULL;
}

void *__wrap_realloc(void *old, size_t bytes)
{
	return may_allocate() ? __real_realloc(old, bytes) : NULL;
}

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	if (may_allocate())
		return __real_mmap(at, bytes, prot, flags, fd, offset);
	errno = ENOMEM;
	return MAP_FAILED;
}

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	(void)closedir(dir);
	return count;
}

/* Open, attach, close, with only `n` allocations to be had.  Return: whether they sufficed. */
static bool try_with(const struct rig_variant *v, int n)
{
	const struct transport_ops *ops = transport_by_name(v->transport);
	struct transport_options options = v->options;
	const struct sim_net_options net = {.nodes = 2};
	struct transport *t = NULL;
	struct err err = {0};
	int fds[2] = {-1, -1};
	int result;

	options.lane_fd = -1;
	if (v->family == AF_UNSPEC)
		assert_int_equal(sim_net_open(&options.sim, &net), 0);
	else
		assert_int_equal(rig_sockets(v->family, fds), 0);
	allocations_left = n;
	result = options.sim ? sim_net_connect(options.sim, 0, 1, fds) : 0;
	if (!result)
		result = ops->open(&t, &options, &err);
	if (!result)
		result = ops->attach(t, 1, 2, fds[0], 0);
	allocations_left = -1;
	assert_true(result == 0 || result == -ENOMEM || result == -EOPNOTSUPP);
	if (result == -EOPNOTSUPP)
		assert_non_null(strstr(err.text, "no memory"));
	if (result && !options.sim) { /* still ours */
		assert_true(fcntl(fds[0], F_GETFD) >= 0);
		(void)close(fds[0]);
	}
	ops->close(t);
	if (options.sim)
		sim_net_close(options.sim);
	else
		(void)close(fds[1]);
	return !result;
}

static void any_allocation_may_fail(void **state)
{
	(void)state;
	for (const struct rig_variant *v = rig_variants; v->name; v++) {
		int descriptors = count_descriptors();
		int n = 0;

		if (!rig_possible(v))
			continue;
		while (!try_with(v, n))
			assert_true(++n < 20);
		assert_true(n >= 2);
		assert_int_equal(count_descriptors(), descriptors);
	}
}

/* Frames pass through memory that was there before. */
static void traffic_allocates_nothing(void **state)
{
	enum { BYTES = 100000, FRAMES = 200 };
	static const char *const names[] = {"uring", "uring, all on", "uring, multishot"};
	static unsigned char source[BYTES], sink[BYTES];
	struct wire_frame frame = rig_frame(0, 0, 0, BYTES);

	(void)state;
	for (const struct rig_variant *v = rig_variants; v->name; v++) {
		bool wanted = false;
		uint32_t received = 0;
		struct rig rig;

		for (size_t i = 0; i < 3; i++)
			wanted |= !strcmp(v->name, names[i]);
		if (!wanted)
			continue;
		rig_open(&rig, v);
		rig_join(&rig, 0, 0, 0, 0);
		allocations = 0;
		for (int turns = 0; received < FRAMES && turns < 100000; turns++) {
			struct transport_event e;

			if (rig.ops->room(rig.side[0], 0, 0))
				rig.ops->send(rig.side[0], 0, 0, &frame, source, 0);
			(void)rig.ops->poll(rig.side[0], &e, 1);
			if (!rig.ops->poll(rig.side[1], &e, 1)) {
				rig.ops->wait(rig.side[1], CLOCK_NS_PER_MS / 10);
				continue;
			}
			if (e.kind == TRANSPORT_HEADER)
				rig.ops->place(rig.side[1], 0, 0, sink);
			received += e.kind == TRANSPORT_FRAME;
		}
		assert_int_equal(received, FRAMES);
		assert_int_equal(allocations, 0);
		rig_close(&rig);
	}
}

/* --- sentences ------------------------------------------------------------------------------ */

static void expect_refusal(const char *transport, const struct transport_options *options,
			   int error, const char *word)
{
	struct transport *t = NULL;
	struct err err = {0};

	assert_int_equal(transport_by_name(transport)->open(&t, options, &err), error);
	assert_null(t);
	assert_int_equal(err.code, error);
	if (!strstr(err.text, word))
		fail_msg("\"%s\" does not say \"%s\"", err.text, word);
}

static void bad_options_are_named(void **state)
{
	struct transport_options o = {.lane_fd = -1, .queue_frames = 0};

	(void)state;
	expect_refusal("uring", &o, -EINVAL, "queue_frames is 0");
	o.queue_frames = 65;
	expect_refusal("uring", &o, -EINVAL, "queue_frames is 65");
	o.queue_frames = 8;
	o.sqpoll = o.defer_taskrun = TRANSPORT_ON;
	expect_refusal("uring", &o, -EINVAL, "exclude each other");
	o.defer_taskrun = TRANSPORT_AUTO;
	o.zerocopy = TRANSPORT_ON;
	expect_refusal("uring", &o, -EINVAL, "exclude each other");
	o.sqpoll = o.zerocopy = TRANSPORT_AUTO;
	expect_refusal("sim", &o, -EINVAL, "network");
	o.inner = "fault";
	expect_refusal("fault", &o, -EINVAL, "\"fault\"");
	o.inner = "pigeon";
	expect_refusal("fault", &o, -EINVAL, "\"pigeon\"");
	o.inner = "sim";
	expect_refusal("fault", &o, -EINVAL, "network");
	o.zerocopy = TRANSPORT_OFF;
	o.fixed_buffers = TRANSPORT_ON;
	expect_refusal("uring", &o, -EOPNOTSUPP, "fixed_buffers = on");
}

static void features_are_described(void **state)
{
	struct transport_options o = {.lane_fd = -1, .queue_frames = 8};
	const struct transport_ops *ops = &transport_uring;
	struct transport *t;
	struct err err;

	(void)state;
	o.multishot = o.zerocopy = o.fixed_buffers = TRANSPORT_ON;
	assert_int_equal(ops->open(&t, &o, &err), 0);
	assert_string_equal(ops->describe(t), "io_uring: multishot on, zero-copy on, fixed buffers "
					      "on, defer-taskrun on, sqpoll off");
	ops->close(t);
	o.multishot = o.zerocopy = o.fixed_buffers = o.defer_taskrun = TRANSPORT_OFF;
	assert_int_equal(ops->open(&t, &o, &err), 0);
	assert_string_equal(ops->describe(t),
			    "io_uring: multishot off (configured), zero-copy off (configured), "
			    "fixed buffers off (configured), defer-taskrun off, sqpoll off");
	ops->close(t);
	o.sqpoll = TRANSPORT_ON;
	o.zerocopy = TRANSPORT_AUTO;
	assert_int_equal(ops->open(&t, &o, &err), 0);
	assert_non_null(strstr(ops->describe(t), "zero-copy off (not with sqpoll)"));
	assert_non_null(strstr(ops->describe(t), "defer-taskrun off, sqpoll on"));
	ops->close(t);
}

static void what_is_no_tcp_socket_is_refused(void **state)
{
	struct transport_options o = {.lane_fd = -1, .queue_frames = 8};
	const struct transport_ops *ops = &transport_uring;
	struct transport *t;
	struct err err;
	int fds[2];

	(void)state;
	assert_int_equal(ops->open(&t, &o, &err), 0);
	assert_int_equal(ops->attach(t, 0, 0, -1, 0), -EBADF);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(ops->attach(t, 0, 0, fds[0], 0), -ENOTSOCK);
	ops->close(t);
	assert_int_equal(close(fds[0]), 0);
	assert_int_equal(close(fds[1]), 0);
}

/* --- in a child, under rules that can't be taken back --------------------------------------- */

static void in_child(void (*test)(void))
{
	pid_t pid;
	int status;

	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		test(); /* a failed assertion ends in abort() here: there is no one to jump to */
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* In a child: print and die, since cmocka's own assertions belong to the parent. */
static void must_refuse(const struct transport_options *o, int error, const char *word)
{
	struct transport *t = NULL;
	struct err err = {0};
	int result = transport_uring.open(&t, o, &err);

	if (result == error && strstr(err.text, word))
		return;
	fprintf(stderr, "wanted %d and \"%s\", got %d: %s\n", error, word, result, err.text);
	_exit(1);
}

/* From now on a system call of this process fails. */
static void forbid(long call, int error)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 4, .filter = rules};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		_exit(2);
}

static const struct transport_options plain = {.lane_fd = -1, .queue_frames = 8};

static void without_permission(void)
{
	forbid(SYS_io_uring_setup, EPERM);
	must_refuse(&plain, -EPERM, "seccomp");
}

static void without_io_uring(void)
{
	forbid(SYS_io_uring_setup, ENOSYS);
	must_refuse(&plain, -ENOSYS, "6.1");
}

static void without_its_flags(void)
{
	forbid(SYS_io_uring_setup, EINVAL);
	must_refuse(&plain, -EINVAL, "6.1");
}

static void without_memory(void)
{
	forbid(SYS_io_uring_setup, ENOMEM);
	must_refuse(&plain, -ENOMEM, "RLIMIT_MEMLOCK");
}

static void without_registration(void)
{
	struct transport_options o = plain;
	struct transport *t = NULL;
	struct err err = {0};

	forbid(SYS_io_uring_register, EPERM);
	if (transport_uring.open(&t, &o, &err) < 0) {
		fprintf(stderr, "it must do without: %s\n", err.text);
		_exit(1);
	}
	transport_uring.close(t);
	o.multishot = TRANSPORT_ON;
	must_refuse(&o, -EOPNOTSUPP, "multishot = on");
	o = plain;
	o.zerocopy = TRANSPORT_ON;
	must_refuse(&o, -EOPNOTSUPP, "zerocopy = on");
}

static void without_descriptors(void)
{
	struct rlimit limit = {.rlim_cur = 3, .rlim_max = 3};

	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		_exit(2);
	must_refuse(&plain, -EMFILE, "descriptor");
}

static void forbidden_ways_are_named(void **state)
{
	(void)state;
	in_child(without_permission);
	in_child(without_io_uring);
	in_child(without_its_flags);
	in_child(without_memory);
	in_child(without_registration);
	in_child(without_descriptors);
}

/* What the kernel would say with another value of its switch. */
static void pretend(const char *sysctl, const char *value)
{
	char path[64] = "/tmp/test_transport_open.XXXXXX";
	int fd = mkstemp(path);

	(void)umount2(sysctl, MNT_DETACH); /* the value before */
	if (fd < 0 || write(fd, value, strlen(value)) < 0 || close(fd) < 0 ||
	    mount(path, sysctl, NULL, MS_BIND, NULL) < 0) {
		perror(sysctl);
		_exit(2);
	}
	(void)unlink(path);
}

static void under_the_switch(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		_exit(2);
	pretend("/proc/sys/kernel/io_uring_disabled", "2\n");
	forbid(SYS_io_uring_setup, EPERM);
	must_refuse(&plain, -EPERM, "kernel.io_uring_disabled is 2; set it to 0");
	pretend("/proc/sys/kernel/io_uring_disabled", "1\n");
	pretend("/proc/sys/kernel/io_uring_group", "4711\n");
	must_refuse(&plain, -EPERM, "member of group 4711");
	pretend("/proc/sys/kernel/io_uring_group", "-1\n");
	must_refuse(&plain, -EPERM, "kernel.io_uring_group to a group of ours");
}

static void the_switch_is_named(void **state)
{
	(void)state;
	if (geteuid()) {
		print_message("not tried: mounting over /proc/sys needs root\n");
		return;
	}
	if (access("/proc/sys/kernel/io_uring_disabled", R_OK) < 0) {
		print_message("not tried: this kernel has no kernel.io_uring_disabled\n");
		return;
	}
	in_child(under_the_switch);
}

/* --- leaks ---------------------------------------------------------------------------------- */

static void no_descriptor_is_left(void **state)
{
	static const uint32_t sizes[] = {0, 1000, 200000};
	int descriptors = count_descriptors();

	(void)state;
	for (const struct rig_variant *v = rig_variants; v->name; v++) {
		struct rig rig;

		if (!rig_possible(v))
			continue;
		rig_open(&rig, v);
		for (uint16_t i = 0; i < 6; i++) {
			uint32_t line = rig_join(&rig, i, i, i, i);

			rig_load(&rig, line, 0, sizes, 3);
			rig_load(&rig, line, 1, sizes, 3);
		}
		rig_finish(&rig);
		rig.ops->detach(rig.side[0], 2, 2);
		rig_until_down(&rig, 2, 0);
		rig_until_down(&rig, 2, 1);
		rig.ops->detach(rig.side[1], 4, 4); /* and close without waiting for its DOWN */
		rig_close(&rig);
		assert_int_equal(count_descriptors(), descriptors);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_allocation_may_fail),
		cmocka_unit_test(traffic_allocates_nothing),
		cmocka_unit_test(bad_options_are_named),
		cmocka_unit_test(features_are_described),
		cmocka_unit_test(what_is_no_tcp_socket_is_refused),
		cmocka_unit_test(forbidden_ways_are_named),
		cmocka_unit_test(the_switch_is_named),
		cmocka_unit_test(no_descriptor_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
