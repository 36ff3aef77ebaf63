/*
 * test_shm.c - the layout, positions that cannot be, and the rings with two threads that
 * really sleep.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/shm.h"
#include "tests/common/samples.h"

static void layout_holds_everything(void **state)
{
	static _Alignas(4096) char base[4 << 20]; /* never touched */

	(void)state;
	for (uint32_t lanes = 1; lanes <= SHM_LANES_MAX; lanes++) {
		struct shm_layout l;
		uint64_t at;

		assert_int_equal(shm_layout(&l, lanes, SAMPLE_ARENA), 0);
		assert_int_equal(l.lanes, lanes);
		assert_int_equal(l.arena_bytes, SAMPLE_ARENA);
		assert_true(l.rings_offset >= sizeof(struct shm_header));
		at = l.rings_offset;
		for (uint32_t lane = 0; lane < lanes; lane++) {
			uint64_t parts[4] = {
				(uint64_t)((char *)shm_submit_ring(base, &l, lane) - base),
				(uint64_t)((char *)shm_submissions(base, &l, lane) - base),
				(uint64_t)((char *)shm_complete_ring(base, &l, lane) - base),
				(uint64_t)((char *)shm_completions(base, &l, lane) - base)};

			for (size_t i = 0; i < 4; i++) {
				assert_true(parts[i] >= at);
				assert_int_equal(parts[i] % 64, 0);
				at = parts[i] +
				     (i % 2 ? SHM_RING_ENTRIES * 64 : sizeof(struct shm_ring));
			}
		}
		assert_true(l.arena_offset >= at);
		assert_int_equal(l.rings_offset % SHM_ARENA_ALIGN, 0);
		assert_int_equal(l.arena_offset % SHM_ARENA_ALIGN, 0);
		assert_int_equal(l.total_bytes, l.arena_offset + l.arena_bytes);
		assert_true(l.total_bytes <= sizeof(base));
	}
}

static void layout_limits(void **state)
{
	struct shm_layout l = {.lanes = 99};

	(void)state;
	assert_int_equal(shm_layout(&l, 0, SAMPLE_ARENA), -EINVAL);
	assert_int_equal(shm_layout(&l, SHM_LANES_MAX + 1, SAMPLE_ARENA), -EINVAL);
	assert_int_equal(shm_layout(&l, UINT32_MAX, SAMPLE_ARENA), -EINVAL);
	assert_int_equal(shm_layout(&l, 1, SHM_ARENA_BYTES_MIN - SHM_ARENA_ALIGN), -EINVAL);
	assert_int_equal(shm_layout(&l, 1, SHM_ARENA_BYTES_MIN + 1), -EINVAL);
	assert_int_equal(shm_layout(&l, 1, (1ull << 46) + SHM_ARENA_ALIGN), -EINVAL);
	assert_int_equal(shm_layout(&l, 1, UINT64_MAX & ~4095ull), -EINVAL);
	assert_int_equal(l.lanes, 99); /* set on success only */
	assert_int_equal(shm_layout(&l, 1, SHM_ARENA_BYTES_MIN), 0);
	assert_int_equal(shm_layout(&l, 1, 1ull << 46), 0);
}

static struct shm_header good_header(void)
{
	struct shm_layout l;

	assert_int_equal(shm_layout(&l, 2, SAMPLE_ARENA), 0);
	return (struct shm_header){.magic = SHM_MAGIC,
				   .version = SHM_VERSION,
				   .lanes = 2,
				   .total_bytes = l.total_bytes,
				   .rings_offset = l.rings_offset,
				   .arena_offset = l.arena_offset,
				   .arena_bytes = l.arena_bytes};
}

static void header(void **state)
{
	struct shm_header h = good_header();
	struct shm_layout out = {0}, expected;
	uint64_t bytes = h.total_bytes;

	(void)state;
	assert_int_equal(shm_layout(&expected, 2, SAMPLE_ARENA), 0);
	assert_int_equal(shm_header_check(&h, bytes, &out), 0);
	assert_int_equal(out.lanes, expected.lanes);
	assert_int_equal(out.rings_offset, expected.rings_offset);
	assert_int_equal(out.arena_offset, expected.arena_offset);
	assert_int_equal(out.arena_bytes, expected.arena_bytes);
	assert_int_equal(out.total_bytes, expected.total_bytes);
	assert_int_equal(shm_header_check(&h, bytes - 4096, &out), -EPROTO);
	assert_int_equal(shm_header_check(&h, bytes + 4096, &out), -EPROTO);
	assert_int_equal(shm_header_check(&h, sizeof(h) - 1, &out), -EPROTO);
#define BROKEN(field)                                                         \
	do {                                                                  \
		h = good_header();                                            \
		h.field++;                                                    \
		assert_int_equal(shm_header_check(&h, bytes, &out), -EPROTO); \
	} while (0)
	BROKEN(magic);
	BROKEN(version);
	BROKEN(lanes);
	BROKEN(total_bytes);
	BROKEN(rings_offset);
	BROKEN(arena_offset);
	BROKEN(arena_bytes);
	h = good_header();
	h.lanes = 0;
	assert_int_equal(shm_header_check(&h, bytes, &out), -EPROTO);
	h.lanes = UINT16_MAX;
	assert_int_equal(shm_header_check(&h, bytes, &out), -EPROTO);
}

/* Both ends of one ring, from `start`, through all fillings and across the wrap of the count. */
static void fill_and_drain(uint64_t start)
{
	struct shm_ring ring = {0};
	struct shm_port producer = {&ring, start}, consumer = {&ring, start};

	atomic_store(&ring.head, start);
	atomic_store(&ring.tail, start);
	assert_int_equal(shm_consume_ready(&consumer), 0);
	for (uint32_t i = 0; i < SHM_RING_ENTRIES; i++) {
		assert_int_equal(shm_produce_room(&producer), 1);
		shm_produce(&producer);
		assert_int_equal(atomic_load(&ring.tail), start + i + 1);
	}
	assert_int_equal(shm_produce_room(&producer), 0);
	for (uint32_t i = 0; i < SHM_RING_ENTRIES; i++) {
		assert_int_equal(shm_consume_ready(&consumer), 1);
		shm_consume(&consumer);
		assert_int_equal(atomic_load(&ring.head), start + i + 1);
		assert_int_equal(shm_produce_room(&producer), 1);
	}
	assert_int_equal(shm_consume_ready(&consumer), 0);
	assert_int_equal(producer.position, start + SHM_RING_ENTRIES);
	assert_int_equal(consumer.position, producer.position);
}

static void ring_positions(void **state)
{
	(void)state;
	fill_and_drain(0);
	fill_and_drain(12345);
	fill_and_drain(UINT64_MAX - 500); /* the count itself wraps */
}

static void ring_hostile_positions(void **state)
{
	static const uint64_t distances[] = {SHM_RING_ENTRIES + 1, 1ull << 32, 1ull << 63,
					     UINT64_MAX};
	struct shm_ring ring = {0};
	struct shm_port port = {&ring, 5000};

	(void)state;
	for (size_t i = 0; i < sizeof(distances) / sizeof(distances[0]); i++) {
		/* The producer claims more than the ring holds, or takes entries back. */
		atomic_store(&ring.tail, port.position + distances[i]);
		assert_int_equal(shm_consume_ready(&port), -EPROTO);
		/* The consumer claims to have read what was never written, or forgets. */
		atomic_store(&ring.head, port.position - distances[i]);
		assert_int_equal(shm_produce_room(&port), -EPROTO);
	}
	atomic_store(&ring.tail, port.position + SHM_RING_ENTRIES);
	assert_int_equal(shm_consume_ready(&port), 1);
	atomic_store(&ring.head, port.position - SHM_RING_ENTRIES);
	assert_int_equal(shm_produce_room(&port), 0);
	/* What the other side writes into our own word is not looked at. */
	atomic_store(&ring.head, port.position);
	atomic_store(&ring.tail, 1);
	assert_int_equal(shm_produce_room(&port), 1);
	shm_produce(&port);
	assert_int_equal(atomic_load(&ring.tail), 5001);
}

static void sleeping_alone(void **state)
{
	_Atomic uint32_t sleeps = 0;

	(void)state;
	assert_false(shm_wake_needed(&sleeps));
	shm_sleep_prepare(&sleeps);
	assert_int_equal(atomic_load(&sleeps), 1);
	assert_true(shm_wake_needed(&sleeps));
	assert_false(shm_wake_needed(&sleeps)); /* one wake-up for one sleep */
	shm_sleep_prepare(&sleeps);
	shm_sleep_cancel(&sleeps);
	assert_false(shm_wake_needed(&sleeps));
}

static void a_doorbell(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint64_t count;

	(void)state;
	assert_true(fd >= 0);
	shm_doorbell_ring(fd);
	shm_doorbell_ring(fd);
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 2);
	close(fd);
}

/* --- the race of going to sleep, alone: at least one side sees the other ------------------- */

enum { RACES = 50000 };

struct race {
	struct shm_ring ring;
	_Alignas(64) _Atomic uint32_t started; /* rounds that the consumer has begun      */
	_Alignas(64) _Atomic uint32_t ended;   /* rounds that the producer has ended      */
	_Atomic bool woken;                    /* in the round that ended last            */
};

/* Wait for the other thread: close to it on two processors, politely on one. */
static void await(const _Atomic uint32_t *counter, uint32_t value)
{
	for (uint32_t spins = 0; atomic_load(counter) != value; spins++)
		if (spins >= 300)
			sched_yield();
}

static void *race_producer(void *argument)
{
	struct race *race = argument;
	struct shm_port port = {&race->ring, 0};

	for (uint32_t i = 1; i <= RACES; i++) {
		await(&race->started, i);
		shm_produce(&port);
		atomic_store(&race->woken, shm_wake_needed(&race->ring.sleeps));
		atomic_store(&race->ended, i);
	}
	return NULL;
}

static void nobody_oversleeps(void **state)
{
	static struct race race;
	struct shm_port port = {&race.ring, 0};
	uint32_t seen = 0, woken = 0, lost = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, race_producer, &race), 0);
	for (uint32_t i = 1; i <= RACES; i++) {
		bool there, wake;

		atomic_store(&race.started, i);
		for (volatile uint32_t delay = 0; delay < i % 64; delay++)
			; /* meet the producer at each point of its way */
		shm_sleep_prepare(&race.ring.sleeps);
		there = shm_consume_ready(&port) == 1;
		await(&race.ended, i);
		wake = atomic_load(&race.woken);
		seen += there;
		woken += wake;
		lost += !there && !wake;
		shm_sleep_cancel(&race.ring.sleeps);
		shm_consume(&port);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	print_message("%u saw the entry, %u were woken\n", seen, woken);
	assert_int_equal(lost, 0);
}

/* --- two threads: submissions go one way, completions the other, both sleep ---- */

enum { ROUNDS = 60000, WAIT_MS = 30000 };

struct side {
	struct shm_port submit, complete;
	struct shm_submission *submissions;
	struct shm_completion *completions;
	_Atomic uint32_t *my_sleeps, *peer_sleeps;
	int my_eventfd, peer_eventfd;
	uint64_t slept;
	bool lost; /* a wake-up: waited in vain */
};

static void tell_peer(struct side *s)
{
	const uint64_t one = 1;

	if (shm_wake_needed(s->peer_sleeps))
		assert(write(s->peer_eventfd, &one, sizeof(one)) == sizeof(one));
}

/* Sleep unless the port has something after all. */
static void wait_for_entry(struct side *s, const struct shm_port *port)
{
	struct pollfd event = {.fd = s->my_eventfd, .events = POLLIN};
	uint64_t count;

	shm_sleep_prepare(s->my_sleeps);
	if (shm_consume_ready(port)) {
		shm_sleep_cancel(s->my_sleeps);
		return;
	}
	s->slept++;
	if (poll(&event, 1, WAIT_MS) != 1)
		s->lost = true;
	else
		assert(read(s->my_eventfd, &count, sizeof(count)) == sizeof(count));
	shm_sleep_cancel(s->my_sleeps);
}

/* The daemon's part: answer each submission; there is room, for the trainer counts. */
static void *answer(void *argument)
{
	struct side *s = argument;

	for (uint64_t i = 0; i < ROUNDS && !s->lost;) {
		struct shm_submission got;
		struct shm_completion *c;

		if (!shm_consume_ready(&s->submit)) {
			wait_for_entry(s, &s->submit);
			continue;
		}
		got = s->submissions[s->submit.position % SHM_RING_ENTRIES];
		shm_consume(&s->submit);
		assert(shm_produce_room(&s->complete) == 1);
		c = &s->completions[s->complete.position % SHM_RING_ENTRIES];
		*c = (struct shm_completion){
			.work = got.work, .seq = got.seq, .wire_bytes = got.count * 3};
		shm_produce(&s->complete);
		tell_peer(s);
		i++;
	}
	return NULL;
}

/* The trainer's part: bursts of changing length, so that both sides are seen asleep and awake. */
static uint64_t ask(struct side *s)
{
	uint64_t posted = 0, done = 0, burst = 1, wrong = 0;

	while (done < ROUNDS && !s->lost) {
		while (posted < ROUNDS && posted - done < burst &&
		       shm_produce_room(&s->submit) == 1) {
			posted++;
			s->submissions[s->submit.position % SHM_RING_ENTRIES] =
				(struct shm_submission){
					.work = ~posted, .seq = posted, .count = posted * 7};
			shm_produce(&s->submit);
			tell_peer(s);
		}
		if (shm_consume_ready(&s->complete)) {
			const struct shm_completion *c =
				&s->completions[s->complete.position % SHM_RING_ENTRIES];

			done++;
			wrong += c->seq != done || c->work != ~done || c->wire_bytes != done * 21;
			shm_consume(&s->complete);
		} else {
			wait_for_entry(s, &s->complete);
		}
		burst = done % 4096 < 2048 ? 1 : 900;
	}
	return wrong;
}

static void two_threads(void **state)
{
	struct shm_layout l;
	struct shm_header *header;
	struct side daemon, trainer;
	pthread_t thread;
	void *base;

	(void)state;
	assert_int_equal(shm_layout(&l, 1, SHM_ARENA_BYTES_MIN), 0);
	base = aligned_alloc(SHM_ARENA_ALIGN, l.arena_offset);
	assert_non_null(base);
	memset(base, 0, l.arena_offset);
	header = base;
	trainer = (struct side){.submit = {shm_submit_ring(base, &l, 0), 0},
				.complete = {shm_complete_ring(base, &l, 0), 0},
				.submissions = shm_submissions(base, &l, 0),
				.completions = shm_completions(base, &l, 0),
				.my_sleeps = &header->trainer_sleeps,
				.peer_sleeps = &shm_submit_ring(base, &l, 0)->sleeps,
				.my_eventfd = eventfd(0, EFD_CLOEXEC),
				.peer_eventfd = eventfd(0, EFD_CLOEXEC)};
	assert_true(trainer.my_eventfd >= 0 && trainer.peer_eventfd >= 0);
	daemon = trainer;
	daemon.my_sleeps = trainer.peer_sleeps;
	daemon.peer_sleeps = trainer.my_sleeps;
	daemon.my_eventfd = trainer.peer_eventfd;
	daemon.peer_eventfd = trainer.my_eventfd;

	assert_int_equal(pthread_create(&thread, NULL, answer, &daemon), 0);
	assert_int_equal(ask(&trainer), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(trainer.lost || daemon.lost);
	assert_int_equal(trainer.submit.position, ROUNDS);
	assert_int_equal(trainer.complete.position, ROUNDS);
	assert_int_equal(daemon.submit.position, ROUNDS);
	assert_true(trainer.slept > 0 && daemon.slept > 0);
	print_message("trainer slept %lu times, daemon %lu times\n", (unsigned long)trainer.slept,
		      (unsigned long)daemon.slept);
	close(trainer.my_eventfd);
	close(trainer.peer_eventfd);
	free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_holds_everything),
		cmocka_unit_test(layout_limits),
		cmocka_unit_test(header),
		cmocka_unit_test(ring_positions),
		cmocka_unit_test(ring_hostile_positions),
		cmocka_unit_test(sleeping_alone),
		cmocka_unit_test(a_doorbell),
		cmocka_unit_test(nobody_oversleeps),
		cmocka_unit_test(two_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
