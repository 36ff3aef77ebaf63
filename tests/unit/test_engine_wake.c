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
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "daemon/engine_thread.h"

enum { LIMIT_MS = 10000, OPS = 1000, ROUNDS = 20, TRAINERS = 2, COUNT = 256 };
enum { CALL_NS = 200000000 }; /* as in PROTOCOL.md 1.5 */

int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
					    unsigned wait_nr, struct __kernel_timespec *ts,
					    sigset_t *signals);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
					    unsigned wait_nr, struct __kernel_timespec *ts,
					    sigset_t *signals);

static _Atomic uint64_t sleep_ns; /* how long the lane wants to sleep      */
static _Atomic bool for_ever;     /* let it sleep until somebody wakes it  */
static uint16_t nodes = 1;        /* of each group, a rank each            */

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
					    unsigned wait_nr, struct __kernel_timespec *ts,
					    sigset_t *signals)
{
	sleep_ns = (uint64_t)ts->tv_sec * CLOCK_NS_PER_S + (uint64_t)ts->tv_nsec;
	if (for_ever)
		ts->tv_sec = LIMIT_MS;
	return __real_io_uring_submit_and_wait_timeout(ring, cqe, wait_nr, ts, signals);
}

static const uint32_t one_each[] = {1, 1};
static const uint16_t peers[] = {UINT16_MAX, 7}; /* the other node is not connected */

struct trainer {
	struct shm_layout layout;
	void *base;
	struct shm_port submit, complete;
	int wake_fd, own_fd; /* the lane's end, the trainer's */
	int doorbell;
	struct exchange *exchange;
	uint64_t seq;
};

struct rig {
	struct engine_thread *thread;
	int facts_fd;
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
		.nodes = nodes,
		.lanes = 1,
		.ranks = nodes,
		.ranks_of_node = one_each,
		.local_ranks = 1,
		.owners = &r->owners,
		.chunk_bytes_usual = OP_CHUNK_BYTES_TCP,
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
	t->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(epoll_ctl(engine_thread_lane_fd(r->thread), EPOLL_CTL_ADD, t->doorbell,
				   &(struct epoll_event){.events = EPOLLIN | EPOLLET}),
			 0);
	assert_int_equal(exchange_plan_size(&plan, 64 << 20, &err), 0);
	assert_int_equal(exchange_new(&t->exchange, &plan, &err), 0);
	command(r, &(struct engine_command){.kind = ENGINE_CLIENT_ADD,
					    .client = number,
					    .base = t->base,
					    .layout = t->layout,
					    .wake_fd = t->wake_fd});
	command(r, &(struct engine_command){
			   .kind = ENGINE_GROUP_ADD, .exchange = t->exchange, .peers = peers});
	command(r, &(struct engine_command){
			   .kind = ENGINE_RANK_ADD, .exchange = t->exchange, .client = number});
}

static void rig_open(struct rig *r)
{
	struct engine_thread_options options = {
		.engine = {.transport = "uring",
			   .transport_options = {.lane_fd = -1, .queue_frames = 8},
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
	owner_found(&r->owners, nodes);
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
		close(t->doorbell);
	}
	close(r->facts_fd);
}

/* Post a sum of one rank and, as a trainer does, ring if the lane sleeps. */
static void post(struct trainer *t)
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
		shm_doorbell_ring(t->doorbell);
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
		post(hostile);
		assert_true(completed(hostile));
	}
	for (int i = 0; i < OPS; i++) {
		shm_sleep_prepare(&((struct shm_header *)hostile->base)->trainer_sleeps);
		post(hostile);
		post(good);
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
		post(hostile);
		post(&r.trainers[1]);
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
		post(t);
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

/* With trainers or without: nobody can take a wake-up from another. */
static void an_idle_lane_sleeps_long(void **state)
{
	struct rig r;

	(void)state;
	rig_open(&r);
	assert_sleeps(CLOCK_NS_PER_S);
	post(&r.trainers[1]);
	assert_true(completed(&r.trainers[1]));
	sleep_ns = 0;
	command(&r, &(struct engine_command){.kind = ENGINE_PEER_REMOVE, .peer = 1});
	assert_sleeps(CLOCK_NS_PER_S);
	rig_close(&r);
}

/* The other node does not answer: the lane has to tell it again and again what was called. */
static void a_lane_whose_op_stands_still(void **state)
{
	struct rig r;

	(void)state;
	nodes = 2;
	rig_open(&r);
	nodes = 1;
	assert_sleeps(CLOCK_NS_PER_S);
	post(&r.trainers[1]);
	for (int i = 0; sleep_ns > CALL_NS && i < LIMIT_MS; i++)
		(void)poll(NULL, 0, 1);
	assert_in_range(sleep_ns, 1, CALL_NS);
	rig_close(&r);
}

/* --- what a trainer may do to its doorbell ---------------------------------------------------- */

enum misuse { MISUSE_READ = 0, MISUSE_FILL, MISUSE_FLAGS, MISUSE_RING, MISUSE_CLOSE, MISUSES };

struct hostile {
	enum misuse how;
	int doorbell; /* its own descriptor of it */
	_Atomic uint64_t times;
	_Atomic bool stop, ended;
};

static void misuse(struct hostile *h)
{
	const uint64_t full = UINT64_MAX - 1, one = 1;
	uint64_t count;

	switch (h->how) {
	case MISUSE_READ: /* sleeps in it, and so is faster than the lane */
		if (read(h->doorbell, &count, sizeof(count)) == sizeof(count))
			h->times++;
		return;
	case MISUSE_FILL: /* for others who would write, and read */
		(void)fcntl(h->doorbell, F_SETFL, O_NONBLOCK);
		h->times += write(h->doorbell, &full, sizeof(full)) == sizeof(full);
		(void)fcntl(h->doorbell, F_SETFL, 0);
		break;
	case MISUSE_FLAGS:
		h->times += fcntl(h->doorbell, F_SETFL, h->times % 2 ? O_NONBLOCK : 0) == 0;
		break;
	case MISUSE_RING: h->times += write(h->doorbell, &one, sizeof(one)) == sizeof(one); break;
	case MISUSE_CLOSE:
		h->times += h->doorbell >= 0 && close(h->doorbell) == 0;
		h->doorbell = -1;
		break;
	case MISUSES: break;
	}
	(void)poll(NULL, 0, 1);
}

static void *misuse_often(void *argument)
{
	struct hostile *h = argument;

	while (!h->stop)
		misuse(h);
	h->ended = true;
	return NULL;
}

/* The main thread's wake-up, and another trainer's, while a hostile one does its worst. */
static void others_go_on(struct rig *r, const struct hostile *h)
{
	uint16_t peer = 0;

	for (int i = 0; i < ROUNDS || (!h->times && i < OPS); i++) {
		struct pollfd told = {.fd = r->facts_fd, .events = POLLIN};
		struct engine_fact fact;
		uint64_t count;

		post(&r->trainers[1]);
		assert_true(completed(&r->trainers[1]));
		if (h->how == MISUSE_READ)
			shm_doorbell_ring(r->trainers[0].doorbell);
		(void)poll(NULL, 0, 1); /* the lane sleeps again */
		command(r, &(struct engine_command){.kind = ENGINE_PEER_REMOVE, .peer = peer});
		while (!mailbox_get(engine_facts(engine_thread_engine(r->thread)), &fact)) {
			assert_int_equal(poll(&told, 1, LIMIT_MS), 1);
			(void)!read(r->facts_fd, &count, sizeof(count));
		}
		assert_int_equal(fact.kind, ENGINE_PEER_REMOVED);
		assert_int_equal(fact.peer, peer);
		peer = (uint16_t)((peer + 1) % ENGINE_PEERS_MAX);
		(void)poll(NULL, 0, 1);
	}
}

/* Nobody rings: the lane does not turn, whatever is in the doorbells.  Return: how often it did. */
static uint64_t turns_of_itself(const struct rig *r)
{
	const struct engine_stats *stats = engine_stats(engine_thread_engine(r->thread));
	uint64_t before;

	(void)poll(NULL, 0, 20);
	before = atomic_load(&stats->rounds);
	(void)poll(NULL, 0, 20);
	return atomic_load(&stats->rounds) - before;
}

static void a_hostile_doorbell(enum misuse how)
{
	struct hostile h = {.how = how};
	pthread_t thread;
	struct rig r;

	rig_open(&r);
	for_ever = true; /* a wake-up that is lost is lost */
	h.doorbell = dup(r.trainers[0].doorbell);
	assert_int_equal(fcntl(h.doorbell, F_SETFL, 0), 0);
	if (how != MISUSE_READ)
		assert_int_equal(fcntl(h.doorbell, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(pthread_create(&thread, NULL, misuse_often, &h), 0);
	others_go_on(&r, &h);
	assert_true(h.times > 0);
	h.stop = true;
	while (!h.ended) {
		if (how == MISUSE_READ)
			shm_doorbell_ring(r.trainers[0].doorbell);
		(void)poll(NULL, 0, 1);
	}
	pthread_join(thread, NULL);
	assert_in_range(turns_of_itself(&r), 0, 5);
	for_ever = false;
	if (h.doorbell >= 0)
		close(h.doorbell);
	rig_close(&r);
}

static void hostile_doorbells(void **state)
{
	(void)state;
	for (enum misuse how = MISUSE_READ; how < MISUSES; how++)
		a_hostile_doorbell(how);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_trainer_that_does_not_read),
		cmocka_unit_test(a_trainer_that_closed_its_end),
		cmocka_unit_test(a_trainer_that_sleeps),
		cmocka_unit_test(an_idle_lane_sleeps_long),
		cmocka_unit_test(a_lane_whose_op_stands_still),
		cmocka_unit_test(hostile_doorbells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
