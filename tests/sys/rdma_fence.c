/*
 * rdma_fence.c - whom a path was taken from cannot write any more, though it has the key still
 * and the memory belongs to another by now.  Needs an RDMA device:
 * tests/vm/single/test_verbs_hostile runs it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tests/common/verbs_rig.h"

enum { EVICTED = 1, OTHER = 2, OWN = 0x5a, THEIRS = 0xee, WRITE_BYTES = 8192 };

static void take_away(struct verbs_rig *rig, uint16_t peer)
{
	struct transport_event event;

	transport_verbs.detach(rig->victim, peer, 0);
	event = verbs_rig_event(rig);
	assert_int_equal(event.kind, TRANSPORT_DOWN);
	assert_int_equal(event.peer, peer);
	assert_int_equal(event.error, -ECANCELED);
}

static void is_untouched(const unsigned char *memory, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(memory[i], OWN);
}

/* The memory of the ring is somebody else's: mapped anew, and perhaps a ring again. */
static unsigned char *lend(const struct verbs_greeting *ring)
{
	void *at = mmap((void *)(uintptr_t)ring->ring, ring->ring_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	assert_ptr_equal(at, (void *)(uintptr_t)ring->ring);
	memset(at, OWN, ring->ring_bytes);
	return at;
}

static void the_evicted_cannot_write(void **state)
{
	struct verbs_rig rig;
	struct verbs_path *evicted, *other;
	struct verbs_greeting ring;
	struct verbs_rig_write late;
	unsigned char *memory;
	struct ibv_mr *lent;

	(void)state;
	verbs_rig_open(&rig);
	evicted = verbs_rig_join(&rig, EVICTED);
	other = verbs_rig_join(&rig, OTHER);
	memset(rig.from, THEIRS, VERBS_RIG_BYTES);
	ring = evicted->theirs;
	late = (struct verbs_rig_write){.to = ring.ring, .key = ring.rkey, .bytes = WRITE_BYTES};
	/* Before: the write is good, and it is there. */
	assert_int_equal(verbs_rig_write(&rig, evicted, &late), IBV_WC_SUCCESS);
	assert_int_equal(*(volatile unsigned char *)(uintptr_t)ring.ring, THEIRS);

	take_away(&rig, EVICTED);
	memory = lend(&ring);
	lent = verbs_rig_register(rig.victim, memory, ring.ring_bytes,
				  IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	assert_int_not_equal(lent->rkey, ring.rkey);
	/* Its queue pair has nobody at the other end... */
	assert_int_equal(verbs_rig_write(&rig, evicted, &late), IBV_WC_RETRY_EXC_ERR);
	is_untouched(memory, ring.ring_bytes);
	/* ... and its key opens nothing, even by a queue pair that is in order. */
	assert_int_equal(verbs_rig_write(&rig, other, &late), IBV_WC_REM_ACCESS_ERR);
	is_untouched(memory, ring.ring_bytes);
	verbs_rig_unregister(lent);
	verbs_rig_close(&rig);
	is_untouched(memory, ring.ring_bytes);
	assert_int_equal(munmap(memory, ring.ring_bytes), 0);
}

/* All the rings that a new peer gets, one after the other, have keys of their own. */
static void no_key_comes_twice(void **state)
{
	enum { ROUNDS = 40 };
	struct verbs_rig rig;
	uint32_t keys[ROUNDS], numbers[ROUNDS];

	(void)state;
	verbs_rig_open(&rig);
	for (int i = 0; i < ROUNDS; i++) {
		const struct verbs_greeting *ring = &verbs_rig_join(&rig, EVICTED)->theirs;

		keys[i] = ring->rkey;
		numbers[i] = ring->qpn;
		for (int k = 0; k < i; k++) {
			assert_int_not_equal(keys[k], keys[i]);
			assert_int_not_equal(numbers[k], numbers[i]);
		}
		take_away(&rig, EVICTED);
		transport_verbs.detach(rig.attacker, EVICTED, 0);
		while (rig.attacker->paths[EVICTED * TRANSPORT_PATHS_MAX]) {
			struct transport_event event;

			(void)transport_verbs.poll(rig.attacker, &event, 1);
		}
	}
	verbs_rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_evicted_cannot_write),
		cmocka_unit_test(no_key_comes_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
