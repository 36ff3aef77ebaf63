/*
 * test_engine_wake.c - a lane on its thread (pthread_create() in engine_thread.c) and two
 * trainers with a group of one rank each: what one does to wake-ups, its own and the lane's, does
 * not hold up the other.
 * Wrapped: __wrap_io_uring_submit_and_wait_timeout
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "daemon/engine_thread.h"

enum { LIMIT_MS = 10000, OPS = 1000, STEALS = 20, TRAINERS = 2, COUNT = 256 };

int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
					    unsigned wait_nr, struct __kernel_timespec *ts,
					    sigset_t *signals);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
					    unsigned wait_nr, struct __kernel_timespec *ts,
					    sigset_t *signals);

static _Atomic uint64_t sleep_ns; /* how long the lane wants to sleep */

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
					    unsigned wait_nr, struct __kernel_timespec *ts,
					    sigset_t *signals)
{
	sleep_ns = (uint64_t)ts->tv_sec * CLOCK_NS_PER_S + (uint64_t)ts->tv_nsec;
	return __real_io_uring_submit_and_wait_timeout(ring, cqe, wait_nr, ts, signals);
}

static const uint32_t one_rank = 1;
static const uint16_t no_peer = UINT16_MAX;

struct trainer {
	struct shm_layout layout;
	void *base;
	struct shm_port submit, complete;
	int wake_fd, own_fd; /* the lane's end, the trainer's */
	struct exchange *exchange;
	uint64_t seq;
};

struct rig {
	struct engine_thread *thread;
	int facts_fd, doorbell;
	struct owner_table owners;
	struct trainer trainers[TRAINERS];
};

static void command(struct rig *r, const struct engine_command *c)
{
	assert_true(engine_thread_command(r->thread, c));
}

static void trainer_open(struct rig *r, uint32_t number)
{
	struct trainer *t = &r->trainers[number];
	struct exchange_plan plan = {
		.group = number + 1,
		.epoch = 1,
		.nodes = 1,
		.lanes = 1,
		.ranks = 1,
		.ranks_of_node = &one_rank,
		.local_ranks = 1,
		.owners = &r->owners,
		.vec = vec_best(),
	};
	struct err err;
	int fds[2];

	assert_int_equal(shm_layout(&t->layout, 1, SHM_ARENA_BYTES_MIN), 0);
	t->base = mmap(NULL, t->layout.total_bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(t->base, MAP_FAILED);
	t->submit.ring = shm_submit_ring(t->base, &t->layout, 0);
	t->complete.ring = shm_complete_ring(t->base, &t->layout, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
	t->wake_fd = fds[0];
	t->own_fd = fds[1];
	assert_int_equal(exchange_plan_size(&plan, 64 << 20, &err), 0);
	assert_int_equal(exchange_new(&t->exchange, &plan, &err), 0);
	command(r, &(struct engine_command){.kind = ENGINE_CLIENT_ADD,
					    .client = number,
					    .base = t->base,
					    .layout = t->layout,
					    .wake_fd = t->wake_fd});
	command(r, &(struct engine_command){
			   .kind = ENGINE_GROUP_ADD, .exchange = t->exchange, .peers = &no_peer});
	command(r, &(struct engine_command){
			   .kind = ENGINE_RANK_ADD, .exchange = t->exchange, .client = number});
}

static void rig_open(struct rig *r)
{
	struct engine_thread_options options = {
		.engine = {.transport = "uring",
			   .transport_options = {.wake_fd = -1, .queue_frames = 8},
			   .paths = 1},
		.numa_node = -1,
		.cpu = -1,
	};
	struct err err;

	memset(r, 0, sizeof(*r));
	r->facts_fd = options.engine.main_eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (engine_thread_start(&r->thread, &options, &err)) {
		print_message("%s\n", err.text);
		assert_true(err.code == -EPERM || err.code == -ENOSYS);
		skip();
	}
	r->doorbell = engine_thread_doorbell(r->thread);
	owner_found(&r->owners, 1);
	for (uint32_t i = 0; i < TRAINERS; i++)
		trainer_open(r, i);
}

static void rig_close(struct rig *r)
{
	engine_thread_stop(r->thread);
	for (uint32_t i = 0; i < TRAINERS; i++) {
		struct trainer *t = &r->trainers[i];

		exchange_free(t->exchange);
		munmap(t->base, t->layout.total_bytes);
		close(t->wake_fd);
		close(t->own_fd);
	}
	close(r->facts_fd);
}

/* Post a sum of one rank and, as a trainer does, ring if the lane sleeps. */
static void post(struct rig *r, struct trainer *t)
{
	assert_int_equal(shm_produce_room(&t->submit), 1);
	shm_submissions(t->base, &t->layout, 0)[t->submit.position % SHM_RING_ENTRIES] =
		(struct shm_submission){.work = 7,
					.seq = ++t->seq,
					.count = COUNT,
					.out_offset = COUNT * sizeof(float),
					.kind = SHM_ALLREDUCE,
					.type = SHM_F32,
					.reduce = SHM_SUM};
	shm_produce(&t->submit);
	if (shm_wake_needed(&t->submit.ring->sleeps))
		shm_doorbell_ring(r->doorbell);
}

/* Return: whether the op's completion came in time. */
static bool completed(struct trainer *t)
{
	uint64_t deadline_ns = clock_now_ns() + LIMIT_MS * CLOCK_NS_PER_MS;
	const struct shm_completion *c;

	while (shm_consume_ready(&t->complete) == 0)
		if (clock_now_ns() > deadline_ns)
			return false;
	assert_int_equal(shm_consume_ready(&t->complete), 1);
	c = &shm_completions(t->base, &t->layout, 0)[t->complete.position % SHM_RING_ENTRIES];
	assert_int_equal(c->status, 0);
	assert_int_equal(c->seq, t->seq);
	shm_consume(&t->complete);
	return true;
}

static uint32_t unread(const struct trainer *t)
{
	uint32_t count = 0;
	char any;

	while (recv(t->own_fd, &any, sizeof(any), MSG_DONTWAIT) == 1)
		count++;
	return count;
}

/* It says that it sleeps whenever it is looked at, never reads, and made its end blocking. */
static void a_trainer_that_does_not_read(void **state)
{
	struct trainer *hostile, *good;
	struct rig r;

	(void)state;
	rig_open(&r);
	hostile = &r.trainers[0];
	good = &r.trainers[1];
	assert_int_equal(fcntl(hostile->own_fd, F_SETFL, 0), 0);
	for (int i = 0; i < OPS; i++) {
		shm_sleep_prepare(&((struct shm_header *)hostile->base)->trainer_sleeps);
		post(&r, hostile);
		assert_true(completed(hostile));
	}
	for (int i = 0; i < OPS; i++) {
		shm_sleep_prepare(&((struct shm_header *)hostile->base)->trainer_sleeps);
		post(&r, hostile);
		post(&r, good);
		assert_true(completed(hostile));
		assert_true(completed(good));
	}
	/* Its socket was full; the good one, which never slept, cost no system call. */
	assert_in_range(unread(hostile), 1, OPS - 1);
	assert_int_equal(unread(good), 0);
	rig_close(&r);
}

/* Its end is gone: no SIGPIPE, no wait. */
static void a_trainer_that_closed_its_end(void **state)
{
	struct trainer *hostile;
	struct rig r;

	(void)state;
	rig_open(&r);
	hostile = &r.trainers[0];
	close(hostile->own_fd);
	hostile->own_fd = -1;
	for (int i = 0; i < 3; i++) {
		shm_sleep_prepare(&((struct shm_header *)hostile->base)->trainer_sleeps);
		post(&r, hostile);
		post(&r, &r.trainers[1]);
		assert_true(completed(hostile));
		assert_true(completed(&r.trainers[1]));
	}
	rig_close(&r);
}

/* A trainer that sleeps is woken, once for each sleep. */
static void a_trainer_that_sleeps(void **state)
{
	struct trainer *t;
	struct rig r;

	(void)state;
	rig_open(&r);
	t = &r.trainers[1];
	for (int i = 0; i < 10; i++) {
		struct pollfd woken = {.fd = t->own_fd, .events = POLLIN};

		shm_sleep_prepare(&((struct shm_header *)t->base)->trainer_sleeps);
		post(&r, t);
		assert_int_equal(poll(&woken, 1, LIMIT_MS), 1);
		assert_int_equal(unread(t), 1);
		assert_true(completed(t));
	}
	rig_close(&r);
}

static void assert_sleeps(uint64_t ns)
{
	for (int i = 0; sleep_ns != ns && i < LIMIT_MS; i++)
		(void)poll(NULL, 0, 1);
	assert_int_equal(sleep_ns, ns);
}

/* Wake-ups may be stolen only where there is a trainer. */
static void sleep_is_bounded(void **state)
{
	struct rig r;

	(void)state;
	rig_open(&r);
	assert_sleeps(SHM_SLEEP_NS_MAX);
	for (uint32_t i = 0; i < TRAINERS; i++) {
		assert_sleeps(SHM_SLEEP_NS_MAX);
		command(&r, &(struct engine_command){.kind = ENGINE_CLIENT_REMOVE, .client = i});
	}
	assert_sleeps(CLOCK_NS_PER_S);
	rig_close(&r);
}

struct thief {
	int doorbell;
	_Atomic uint32_t stolen;
	_Atomic bool stop, ended;
};

static void *steal(void *argument)
{
	struct thief *thief = argument;
	uint64_t count;

	while (!thief->stop)
		if (read(thief->doorbell, &count, sizeof(count)) == sizeof(count))
			thief->stolen++;
	thief->ended = true;
	return NULL;
}

/* It sleeps in read() on the doorbell, made blocking, and so often is faster than the lane. */
static void a_trainer_that_steals_wake_ups(void **state)
{
	struct thief thief = {.stop = false};
	pthread_t thread;
	struct rig r;

	(void)state;
	rig_open(&r);
	thief.doorbell = r.doorbell;
	assert_int_equal(fcntl(r.doorbell, F_SETFL, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, steal, &thief), 0);
	for (int i = 0; i < STEALS || (!thief.stolen && i < OPS); i++) {
		post(&r, &r.trainers[1]);
		assert_true(completed(&r.trainers[1]));
		(void)poll(NULL, 0, 1);
	}
	assert_true(thief.stolen > 0);
	thief.stop = true;
	while (!thief.ended) { /* now the lane is often faster */
		shm_doorbell_ring(r.doorbell);
		(void)poll(NULL, 0, 1);
	}
	pthread_join(thread, NULL);
	rig_close(&r);
}

/* The doorbell is as full as it can be, and blocking: the lane hears it; so it does main's. */
static void a_trainer_that_fills_the_doorbell(void **state)
{
	const uint64_t full = UINT64_MAX - 1;
	struct engine_fact fact;
	struct rig r;

	(void)state;
	rig_open(&r);
	for (uint16_t peer = 0; peer < STEALS; peer++) {
		struct pollfd told = {.fd = r.facts_fd, .events = POLLIN};
		uint64_t count;

		assert_int_equal(fcntl(r.doorbell, F_SETFL, O_NONBLOCK), 0);
		(void)!write(r.doorbell, &full, sizeof(full));
		assert_int_equal(fcntl(r.doorbell, F_SETFL, 0), 0);
		command(&r, &(struct engine_command){.kind = ENGINE_PEER_REMOVE, .peer = peer});
		while (!mailbox_get(engine_facts(engine_thread_engine(r.thread)), &fact)) {
			assert_int_equal(poll(&told, 1, LIMIT_MS), 1);
			(void)!read(r.facts_fd, &count, sizeof(count));
		}
		assert_int_equal(fact.kind, ENGINE_PEER_REMOVED);
		assert_int_equal(fact.peer, peer);
		post(&r, &r.trainers[1]);
		assert_true(completed(&r.trainers[1]));
	}
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_trainer_that_does_not_read),
		cmocka_unit_test(a_trainer_that_closed_its_end),
		cmocka_unit_test(a_trainer_that_sleeps),
		cmocka_unit_test(sleep_is_bounded),
		cmocka_unit_test(a_trainer_that_steals_wake_ups),
		cmocka_unit_test(a_trainer_that_fills_the_doorbell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
