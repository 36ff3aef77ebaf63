/* engine_thread.c - see engine_thread.h. */
#include "daemon/engine_thread.h"

#include <errno.h>
#include <numa.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/idle_cores.h"

/* As long as spinning takes a core from somebody. */
#define THREAD_FEW_SPIN_NS (20 * CLOCK_NS_PER_US)

/* Whoever has work for a lane wakes it. */
#define THREAD_SLEEP_NS CLOCK_NS_PER_S

struct engine_thread {
	struct engine_thread_options options;
	int lane_fd;  /* epoll: what wakes the lane                                  */
	int doorbell; /* eventfd in it: the main thread's                             */
	pthread_t thread;
	sem_t turn;  /* posted by the thread: engine or error is set; later: it ends */
	sem_t close; /* posted by stop(), when it has read its last fact */
	struct engine *engine;
	struct idle_cores cores;
	int error;
	struct err *err; /* of the caller of start(), until start() returns */
	_Atomic bool sleeps;
	uint64_t rounds_seen; /* of engine_thread_alive()                                   */
};

/* --- on the lane's thread ------------------------------------------------------------------ */

static int thread_bind(const struct engine_thread_options *o, struct err *err)
{
	int node = o->numa_node;
	cpu_set_t cpus;

	if (o->cpu >= 0) {
		CPU_ZERO(&cpus);
		if (o->cpu < CPU_SETSIZE)
			CPU_SET((size_t)o->cpu, &cpus);
		if (sched_setaffinity(0, sizeof(cpus), &cpus))
			return err_set(err, -errno, "bind lane %u to processor %d: %s",
				       o->engine.lane, o->cpu, strerror(errno));
		if (node < 0 && numa_available() >= 0)
			node = numa_node_of_cpu(o->cpu);
	} else if (node >= 0 && numa_run_on_node(node)) {
		return err_set(err, -errno, "bind lane %u to NUMA node %d: %s", o->engine.lane,
			       node, strerror(errno));
	}
	if (node >= 0)
		numa_set_preferred(node);
	return 0;
}

static void sem_wait_whole(sem_t *semaphore)
{
	while (sem_wait(semaphore) && errno == EINTR)
		;
}

/*
 * How long to spin next time, when spinning was in vain and then a sleep was needed.  Spinning pays
 * where what we wait for comes soon, as it does in a row of small ops; on a slow link every
 * packet comes later, and it would burn a processor for nothing.
 */
static uint64_t thread_spin_next(const struct engine_thread *t, uint64_t spin_ns, uint64_t slept_ns)
{
	return slept_ns < 2 * t->options.spin_ns ? t->options.spin_ns : spin_ns / 2;
}

/*
 * Is it too early to sleep?  A lane whose transport polls memory makes no system call while it
 * spins, where there are cores enough.  Where there are not it lets others run, and not for long:
 * what it waits for may have to be computed here, by the kernel's own work for the network at that.
 * Other transports enter the kernel to poll, and what comes is worked on there.
 */
static bool thread_spins(struct engine_thread *t, uint64_t now_ns, uint64_t spun_ns,
			 uint64_t spin_ns)
{
	bool memory = engine_polls_memory(t->engine);
	bool few = !memory || idle_cores_few(&t->cores, now_ns);

	if (memory && few && spin_ns > THREAD_FEW_SPIN_NS)
		spin_ns = THREAD_FEW_SPIN_NS;
	if (spun_ns >= spin_ns)
		return false;
	if (few)
		(void)sched_yield();
	return true;
}

static void thread_run(struct engine_thread *t)
{
	uint64_t worked_ns = clock_now_ns();
	uint64_t spin_ns = t->options.spin_ns;

	for (;;) {
		uint64_t now_ns = clock_now_ns();
		int worked = engine_round(t->engine, now_ns);

		if (worked < 0)
			return;
		if (worked) {
			worked_ns = now_ns;
		} else if (!thread_spins(t, now_ns, now_ns - worked_ns, spin_ns)) {
			atomic_store_explicit(&t->sleeps, true, memory_order_relaxed);
			engine_sleep(t->engine, now_ns, THREAD_SLEEP_NS);
			atomic_store_explicit(&t->sleeps, false, memory_order_relaxed);
			worked_ns = clock_now_ns();
			spin_ns = thread_spin_next(t, spin_ns, worked_ns - now_ns);
		}
	}
}

static void *thread_main(void *argument)
{
	struct engine_thread *t = argument;
	struct engine *engine = NULL;
	char name[16];
	int error;

	(void)snprintf(name, sizeof(name), "carry-lane-%u", t->options.engine.lane % 100);
	(void)pthread_setname_np(pthread_self(), name);
	idle_cores_open(&t->cores, t->options.engine.transport_options.lanes);
	error = thread_bind(&t->options, t->err);
	if (!error)
		error = engine_open(&engine, &t->options.engine, t->err);
	t->error = error;
	t->engine = engine;
	if (error)
		idle_cores_close(&t->cores);
	(void)sem_post(&t->turn);
	if (error)
		return NULL;
	thread_run(t);
	(void)sem_post(&t->turn);
	sem_wait_whole(&t->close);
	engine_close(engine);
	idle_cores_close(&t->cores);
	return NULL;
}

/* --- on the main thread -------------------------------------------------------------------- */

/* Signals are the main thread's. */
static int thread_create(struct engine_thread *t)
{
	sigset_t all, before;
	int error;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&t->thread, NULL, thread_main, t);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

static void thread_free(struct engine_thread *t)
{
	(void)sem_destroy(&t->close);
	(void)sem_destroy(&t->turn);
	if (t->doorbell >= 0)
		(void)close(t->doorbell);
	if (t->lane_fd >= 0)
		(void)close(t->lane_fd);
	free(t);
}

static int thread_open_wake(struct engine_thread *t)
{
	struct epoll_event edge = {.events = EPOLLIN | EPOLLET};

	t->lane_fd = epoll_create1(EPOLL_CLOEXEC);
	t->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (t->lane_fd < 0 || t->doorbell < 0)
		return -errno;
	return epoll_ctl(t->lane_fd, EPOLL_CTL_ADD, t->doorbell, &edge) ? -errno : 0;
}

int engine_thread_start(struct engine_thread **out, const struct engine_thread_options *options,
			struct err *err)
{
	uint32_t lane = options->engine.lane;
	struct engine_thread *t = calloc(1, sizeof(*t));
	int error;

	if (!t)
		return err_set(err, -ENOMEM, "no memory for lane %u", lane);
	t->options = *options;
	t->err = err;
	(void)sem_init(&t->turn, 0, 0);
	(void)sem_init(&t->close, 0, 0);
	error = thread_open_wake(t);
	if (error) {
		thread_free(t);
		return err_set(err, error, "make the doorbell of lane %u: %s", lane,
			       strerror(-error));
	}
	t->options.engine.lane_fd = t->lane_fd;
	error = thread_create(t);
	if (error) {
		thread_free(t);
		return err_set(err, error, "start the thread of lane %u: %s", lane,
			       strerror(-error));
	}
	sem_wait_whole(&t->turn);
	t->err = NULL;
	if (t->error) {
		error = t->error;
		(void)pthread_join(t->thread, NULL);
		thread_free(t);
		return error;
	}
	*out = t;
	return 0;
}

void engine_thread_stop(struct engine_thread *t)
{
	struct engine_command stop = {.kind = ENGINE_STOP};
	struct engine_fact fact;

	if (!t)
		return;
	while (!engine_thread_command(t, &stop))
		(void)poll(NULL, 0, 1); /* the lane is about to take what fills the mailbox */
	/* A lane that has more to tell than there is room for would wait for ever. */
	while (sem_trywait(&t->turn)) {
		while (mailbox_get(engine_facts(t->engine), &fact))
			;
		(void)poll(NULL, 0, 1);
	}
	(void)sem_post(&t->close);
	(void)pthread_join(t->thread, NULL);
	thread_free(t);
}

struct engine *engine_thread_engine(struct engine_thread *t)
{
	return t->engine;
}

int engine_thread_lane_fd(const struct engine_thread *t)
{
	return t->lane_fd;
}

bool engine_thread_alive(struct engine_thread *t)
{
	uint64_t rounds =
		atomic_load_explicit(&engine_stats(t->engine)->rounds, memory_order_relaxed);
	bool alive =
		rounds != t->rounds_seen || atomic_load_explicit(&t->sleeps, memory_order_relaxed);

	t->rounds_seen = rounds;
	return alive;
}

bool engine_thread_command(struct engine_thread *t, const struct engine_command *command)
{
	if (!mailbox_put(engine_commands(t->engine), command))
		return false;
	shm_doorbell_ring(t->doorbell);
	return true;
}
