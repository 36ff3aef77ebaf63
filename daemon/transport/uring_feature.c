/*
 * uring_feature.c - what this kernel's io_uring can do, and opening it.
 *
 * A feature is ON (open fails without it), OFF, or AUTO.  AUTO takes what the kernel
 * has and what was measured to pay (tests/bench/bench_transport.c):
 *   defer_taskrun  on: completions are made when we ask for them, not in interrupts
 *   sqpoll         off: a core for every lane is too much
 *   multishot      see MULTISHOT_PAYS
 *   zerocopy       on, until a path's notifications say that the kernel copies anyway
 *   fixed_buffers  see FIXED_PAYS
 *
 * Zero-copy is never on with SQPOLL: if the process is killed, the kernel's thread keeps
 * the sockets open until all notifications have come, and they come only when the peer has
 * acknowledged.  So a daemon whose peer does not read would not end (Linux 6.18: it spins).
 *
 * Trials are operations on descriptor -1: they fail with EBADF if the kernel knows
 * their flags and with EINVAL if it does not.
 */
#include "daemon/transport/uring.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>

enum {
	MULTISHOT_PAYS = 0,
	FIXED_PAYS = 0,
	SQPOLL_IDLE_MS = 20,
	TRIAL_TIMEOUT_S = 1,
};

/* --- why it can't be opened ----------------------------------------------------------------- */

static int read_number(const char *path, int otherwise)
{
	FILE *file = fopen(path, "re");
	int value = otherwise;

	if (!file)
		return otherwise;
	if (fscanf(file, "%d", &value) != 1)
		value = otherwise;
	(void)fclose(file);
	return value;
}

static int explain_eperm(struct err *err)
{
	int disabled = read_number("/proc/sys/kernel/io_uring_disabled", 0);
	int group = read_number("/proc/sys/kernel/io_uring_group", -1);

	if (disabled == 1 && group >= 0)
		return err_set(err, -EPERM,
			       "io_uring is not allowed: kernel.io_uring_disabled is 1; run as a "
			       "member of group %d (kernel.io_uring_group) or set it to 0",
			       group);
	if (disabled)
		return err_set(err, -EPERM,
			       "io_uring is not allowed: kernel.io_uring_disabled is %d; set it to "
			       "0%s",
			       disabled,
			       disabled == 1 ? ", or kernel.io_uring_group to a group of ours"
					     : "");
	return err_set(err, -EPERM,
		       "io_uring is not allowed by a seccomp filter or security module; a "
		       "container must allow io_uring_setup, io_uring_enter and io_uring_register");
}

static int explain(int error, struct err *err)
{
	struct rlimit lock = {0};
	struct utsname name = {0};

	(void)uname(&name);
	switch (error) {
	case -EPERM:
	case -EACCES: return explain_eperm(err);
	case -ENOMEM:
		(void)getrlimit(RLIMIT_MEMLOCK, &lock);
		return err_set(err, error,
			       "no memory for an io_uring: raise RLIMIT_MEMLOCK (now %llu KiB; "
			       "LimitMEMLOCK= in the unit, ulimit -l) or the cgroup's memory limit",
			       (unsigned long long)lock.rlim_cur >> 10);
	case -EMFILE:
	case -ENFILE: return err_set(err, error, "no file descriptor left for an io_uring");
	case -ENOSYS:
		return err_set(
			err, error,
			"Linux %s has no io_uring, or a seccomp filter hides it: 6.1 or newer "
			"is needed",
			name.release);
	case -EINVAL:
		return err_set(
			err, error,
			"Linux %s refuses the io_uring that is wanted: 6.1 or newer is needed",
			name.release);
	default: return err_set(err, error, "io_uring can't be set up: %s", strerror(-error));
	}
}

/* A forced feature that is not there. */
static int missing(struct err *err, const char *feature, const char *why)
{
	return err_set(err, -EOPNOTSUPP, "%s = on, but it can't be had: %s", feature, why);
}

/* --- the ring ------------------------------------------------------------------------------- */

static int queue_init(struct transport *t, unsigned flags)
{
	struct io_uring_params params = {
		.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL,
		.cq_entries = URING_CQ_ENTRIES,
		.sq_thread_idle = SQPOLL_IDLE_MS,
	};

	return io_uring_queue_init_params(URING_SQ_ENTRIES, &t->ring, &params);
}

static int open_ring(struct transport *t)
{
	const unsigned defer =
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	const unsigned cooperative = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	int result;

	if (t->options.sqpoll == TRANSPORT_ON) {
		t->features.sqpoll = true;
		return queue_init(t, IORING_SETUP_SQPOLL);
	}
	if (t->options.defer_taskrun != TRANSPORT_OFF) {
		result = queue_init(t, defer);
		t->features.defer_taskrun = !result;
		if (result != -EINVAL || t->options.defer_taskrun == TRANSPORT_ON)
			return result;
	}
	return queue_init(t, cooperative);
}

/* Submit what is prepared.  Return: result of the first completion; all are consumed. */
static int try_operation(struct transport *t)
{
	struct __kernel_timespec ts = {.tv_sec = TRIAL_TIMEOUT_S};
	struct io_uring_cqe *cqe;
	int result = 0;
	bool more = true;

	for (bool first = true; more; first = false) {
		int failed = io_uring_submit_and_wait_timeout(&t->ring, &cqe, 1, &ts, NULL);

		if (failed < 0)
			return failed;
		if (first)
			result = cqe->res;
		more = cqe->flags & IORING_CQE_F_MORE;
		io_uring_cqe_seen(&t->ring, cqe);
	}
	return result;
}

static bool has_operation(struct transport *t, int operation)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(&t->ring);
	bool has = probe && io_uring_opcode_supported(probe, operation);

	io_uring_free_probe(probe);
	return has;
}

/* --- multishot receive ---------------------------------------------------------------------- */

static size_t buffer_ring_bytes(void)
{
	return URING_BUFFERS * sizeof(struct io_uring_buf);
}

static void close_buffers(struct transport *t)
{
	if (t->buffer_ring)
		(void)munmap(t->buffer_ring, buffer_ring_bytes());
	if (t->buffers)
		(void)munmap(t->buffers, (size_t)URING_BUFFERS * URING_BUFFER_BYTES);
	t->buffer_ring = NULL;
	t->buffers = NULL;
}

static void *map(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* Return: NULL, or why there can't be buffers. */
static const char *open_buffers(struct transport *t)
{
	struct io_uring_buf_reg reg = {.ring_entries = URING_BUFFERS, .bgid = 0};

	t->buffer_ring = map(buffer_ring_bytes());
	t->buffers = map((size_t)URING_BUFFERS * URING_BUFFER_BYTES);
	if (!t->buffer_ring || !t->buffers) {
		close_buffers(t);
		return "no memory for its buffers";
	}
	reg.ring_addr = (uint64_t)(uintptr_t)t->buffer_ring;
	if (io_uring_register_buf_ring(&t->ring, &reg, 0) < 0) {
		close_buffers(t);
		return "the kernel takes no ring of buffers";
	}
	io_uring_buf_ring_init(t->buffer_ring);
	for (int i = 0; i < URING_BUFFERS; i++)
		io_uring_buf_ring_add(t->buffer_ring, t->buffers + (size_t)i * URING_BUFFER_BYTES,
				      URING_BUFFER_BYTES, (uint16_t)i,
				      io_uring_buf_ring_mask(URING_BUFFERS), i);
	io_uring_buf_ring_advance(t->buffer_ring, URING_BUFFERS);
	t->buffers_free = URING_BUFFERS;
	return NULL;
}

static const char *open_multishot(struct transport *t)
{
	struct io_uring_sqe *sqe;

	if (t->options.multishot == TRANSPORT_OFF)
		return "configured";
	if (t->options.multishot == TRANSPORT_AUTO && !MULTISHOT_PAYS)
		return "receiving in place is faster";
	sqe = uring_sqe(t);
	io_uring_prep_recv_multishot(sqe, -1, NULL, 0, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
	if (try_operation(t) != -EBADF)
		return "the kernel does not know it";
	return open_buffers(t);
}

/* --- zero-copy ------------------------------------------------------------------------------ */

static bool reports_usage(struct transport *t)
{
	struct io_uring_sqe *sqe = uring_sqe(t);

	io_uring_prep_send_zc(sqe, -1, t->scratch, 1, 0, URING_SEND_ZC_REPORT_USAGE);
	return try_operation(t) == -EBADF;
}

static const char *open_zerocopy(struct transport *t)
{
	if (t->options.zerocopy == TRANSPORT_OFF)
		return "configured";
	if (t->features.sqpoll)
		return "not with sqpoll";
	if (!has_operation(t, IORING_OP_SEND_ZC) || !has_operation(t, IORING_OP_SENDMSG_ZC))
		return "the kernel does not know it";
	t->features.zerocopy_usage = reports_usage(t);
	if (!t->features.zerocopy_usage && t->options.zerocopy == TRANSPORT_AUTO)
		return "the kernel does not say whether it copies";
	return NULL;
}

static const char *open_fixed(struct transport *t)
{
	if (t->options.fixed_buffers == TRANSPORT_OFF)
		return "configured";
	if (!t->features.zerocopy)
		return "zero-copy is off";
	if (t->options.fixed_buffers == TRANSPORT_AUTO && !FIXED_PAYS)
		return "not faster";
	if (io_uring_register_buffers_sparse(&t->ring, URING_REGIONS) < 0)
		return "the kernel takes no table of buffers";
	return NULL;
}

/* --- all together --------------------------------------------------------------------------- */

static int open_features(struct transport *t, struct err *err)
{
	struct uring_features *f = &t->features;

	f->why_not_multishot = open_multishot(t);
	f->multishot = !f->why_not_multishot;
	if (!f->multishot && t->options.multishot == TRANSPORT_ON)
		return missing(err, "multishot", f->why_not_multishot);
	f->why_not_zerocopy = open_zerocopy(t);
	f->zerocopy = !f->why_not_zerocopy;
	if (!f->zerocopy && t->options.zerocopy == TRANSPORT_ON)
		return missing(err, "zerocopy", f->why_not_zerocopy);
	f->why_not_fixed = open_fixed(t);
	f->fixed_buffers = !f->why_not_fixed;
	if (!f->fixed_buffers && t->options.fixed_buffers == TRANSPORT_ON)
		return missing(err, "fixed_buffers", f->why_not_fixed);
	return 0;
}

int uring_feature_open(struct transport *t, struct err *err)
{
	int result;

	if (!t->options.zerocopy_bytes_min)
		t->options.zerocopy_bytes_min = URING_ZEROCOPY_BYTES_MIN;
	result = open_ring(t);
	if (result < 0)
		return explain(result, err);
	/* A file less to look up in each call; without it all works the same. */
	(void)io_uring_register_ring_fd(&t->ring);
	result = open_features(t, err);
	if (result < 0)
		uring_feature_close(t);
	return result;
}

void uring_feature_close(struct transport *t)
{
	io_uring_queue_exit(&t->ring);
	close_buffers(t);
}

/* "on", or "off (why)". */
static const char *state(char *text, size_t bytes, const char *why_not)
{
	if (!why_not)
		return "on";
	(void)snprintf(text, bytes, "off (%s)", why_not);
	return text;
}

const char *uring_feature_describe(struct transport *t)
{
	const struct uring_features *f = &t->features;
	char multishot[64], zerocopy[64], fixed[64];
	uint32_t copying = 0;

	for (uint32_t slot = 0; slot < URING_SLOTS; slot++)
		if (t->paths[slot] && t->paths[slot]->tx.copies)
			copying++;
	(void)state(zerocopy, sizeof(zerocopy), f->why_not_zerocopy);
	if (f->zerocopy)
		(void)snprintf(zerocopy, sizeof(zerocopy), "on");
	if (copying && copying == t->attached)
		(void)snprintf(zerocopy, sizeof(zerocopy), "off (the kernel copies)");
	else if (copying)
		(void)snprintf(zerocopy, sizeof(zerocopy),
			       "on (off on %u of %u paths: the kernel copies)", copying,
			       t->attached);
	(void)snprintf(t->text, sizeof(t->text),
		       "io_uring: multishot %s, zero-copy %s, fixed buffers %s, defer-taskrun %s, "
		       "sqpoll %s",
		       state(multishot, sizeof(multishot), f->why_not_multishot), zerocopy,
		       state(fixed, sizeof(fixed), f->why_not_fixed),
		       f->defer_taskrun ? "on" : "off", f->sqpoll ? "on" : "off");
	return t->text;
}

/* --- registered buffers --------------------------------------------------------------------- */

static bool update_region(struct transport *t, unsigned index, void *base, size_t bytes)
{
	const struct iovec part = {.iov_base = base, .iov_len = bytes};

	return io_uring_register_buffers_update_tag(&t->ring, index, &part, NULL, 1) == 1;
}

static unsigned free_region(const struct transport *t)
{
	unsigned i = 0;

	while (i < URING_REGIONS && t->regions[i].base)
		i++;
	return i;
}

/* It is a hint: what can't be registered (memory lock limit, full table) is sent as it is. */
void uring_feature_remember(struct transport *t, void *base, size_t bytes)
{
	for (size_t at = 0; t->features.fixed_buffers && at < bytes; at += URING_REGION_BYTES) {
		size_t part = bytes - at < URING_REGION_BYTES ? bytes - at : URING_REGION_BYTES;
		unsigned index = free_region(t);

		if (index == URING_REGIONS)
			return;
		if (update_region(t, index, (unsigned char *)base + at, part))
			t->regions[index] = (struct uring_region){
				.base = (unsigned char *)base + at, .bytes = part, .owner = base};
	}
}

/* Operations in flight keep the pages until they are done; the table lets go of them now. */
void uring_feature_forget(struct transport *t, void *base)
{
	for (unsigned i = 0; i < URING_REGIONS; i++) {
		if (!t->regions[i].base || t->regions[i].owner != base)
			continue;
		(void)update_region(t, i, NULL, 0);
		t->regions[i] = (struct uring_region){0};
	}
}

int uring_feature_region(const struct transport *t, const void *at, size_t bytes)
{
	const unsigned char *first = at;

	for (int i = 0; t->features.fixed_buffers && i < URING_REGIONS; i++) {
		const struct uring_region *r = &t->regions[i];

		if (r->base && first >= r->base && first + bytes <= r->base + r->bytes)
			return i;
	}
	return -1;
}
