/*
 * fuzz_shm.c - what a hostile trainer, or daemon, may put into shared memory.
 *
 * Input: struct shm_submission, then the first 40 bytes of a struct shm_header, then a
 * script for a ring: nine bytes a step, what to do and a number.  Properties: a submission
 * that passes lies in the arena; a header that passes describes one layout that lies in the
 * mapping; a ring whose other side writes anything never shows more than it can hold, and
 * with an honest other side it is a queue.
 */
#include "tests/fuzz/property.h"

#include <math.h>
#include <errno.h>

#include "proto/shm.h"

/* One past the last byte; no overflow below 2^60. */
static uint64_t end_of(uint64_t offset, const struct shm_submission *s)
{
	return offset + s->count * shm_type_bytes(s->type);
}

static void submission_holds(struct input *in)
{
	static const uint64_t arenas[] = {SHM_ARENA_BYTES_MIN, 1ull << 28, 1ull << 46};
	struct shm_submission s;

	take(in, &s, sizeof(s));
	for (size_t i = 0; i < 3; i++) {
		enum shm_verdict verdict = shm_submission_check(&s, arenas[i]);

		PROPERTY(verdict <= SHM_OVERLAP);
		if (verdict != SHM_OK)
			continue;
		PROPERTY(s.group < SHM_GROUPS_MAX);
		if (s.coding)
			PROPERTY(!(s.flags & ~SHM_DISCARD) && s.weight > 0 && s.scale > 0 &&
				 isfinite(s.weight) && isfinite(s.scale));
		else
			PROPERTY(!s.flags && s.weight == 0 && s.scale == 0);
		if (s.kind == SHM_ABORT) {
			PROPERTY(!s.coding && !s.count && !s.in_offset && !s.out_offset &&
				 !s.type && !s.reduce);
			continue;
		}
		PROPERTY(s.kind == SHM_ALLREDUCE && s.seq && shm_type_bytes(s.type));
		PROPERTY(s.reduce >= SHM_SUM && s.reduce <= SHM_PROD);
		PROPERTY(s.count <= arenas[i] && s.in_offset <= arenas[i]);
		PROPERTY(s.out_offset <= arenas[i]);
		PROPERTY(end_of(s.in_offset, &s) <= arenas[i]);
		PROPERTY(end_of(s.out_offset, &s) <= arenas[i]);
		PROPERTY(s.in_offset == s.out_offset || end_of(s.in_offset, &s) <= s.out_offset ||
			 end_of(s.out_offset, &s) <= s.in_offset);
	}
}

static void header_holds(struct input *in)
{
	static struct shm_header h; /* large, and only its beginning is looked at */
	struct shm_layout l, again;

	take(in, &h, offsetof(struct shm_header, trainer_sleeps));
	if (shm_header_check(&h, h.total_bytes, &l) == 0) {
		PROPERTY(h.magic == SHM_MAGIC && h.version == SHM_VERSION);
		PROPERTY(l.lanes == h.lanes && l.lanes >= 1 && l.lanes <= SHM_LANES_MAX);
		PROPERTY(l.rings_offset >= sizeof(h) && l.arena_offset > l.rings_offset);
		PROPERTY(l.arena_offset + l.arena_bytes == h.total_bytes);
		PROPERTY(shm_header_check(&h, h.total_bytes + 1, &l) == -EPROTO);
	}
	/* The daemon's own numbers are what the trainer accepts. */
	if (shm_layout(&l, h.lanes, h.arena_bytes) == 0) {
		h.magic = SHM_MAGIC;
		h.version = SHM_VERSION;
		h.rings_offset = l.rings_offset;
		h.arena_offset = l.arena_offset;
		h.total_bytes = l.total_bytes;
		PROPERTY(shm_header_check(&h, l.total_bytes, &again) == 0);
		PROPERTY(again.total_bytes == l.total_bytes && again.lanes == l.lanes);
	}
}

static void hostile_ring_holds(struct shm_port *port, bool producer, uint64_t theirs)
{
	uint64_t mine = port->position;

	if (producer) {
		int room;

		atomic_store(&port->ring->head, theirs);
		room = shm_produce_room(port);
		PROPERTY((room == -EPROTO) == (mine - theirs > SHM_RING_ENTRIES));
		PROPERTY(room < 0 || room == (mine - theirs != SHM_RING_ENTRIES));
		if (room > 0) {
			shm_produce(port);
			PROPERTY(atomic_load(&port->ring->tail) == mine + 1);
		}
	} else {
		int ready;

		atomic_store(&port->ring->tail, theirs);
		ready = shm_consume_ready(port);
		PROPERTY((ready == -EPROTO) == (theirs - mine > SHM_RING_ENTRIES));
		PROPERTY(ready < 0 || ready == (theirs != mine));
		if (ready > 0) {
			shm_consume(port);
			PROPERTY(atomic_load(&port->ring->head) == mine + 1);
		}
	}
}

/* Both sides honest, in any order of bursts, from any start. */
static void honest_ring_holds(uint64_t start, struct input script)
{
	static uint64_t entries[SHM_RING_ENTRIES];
	struct shm_ring ring = {0};
	struct shm_port producer = {&ring, start}, consumer = {&ring, start};
	uint64_t written = 0, read = 0;

	atomic_store(&ring.head, start);
	atomic_store(&ring.tail, start);
	while (script.bytes) {
		uint8_t burst;

		take(&script, &burst, 1);
		for (unsigned i = 0; i < (burst >> 1) * 8u; i++) {
			if (burst & 1) {
				PROPERTY(shm_produce_room(&producer) ==
					 (written - read < SHM_RING_ENTRIES));
				if (written - read == SHM_RING_ENTRIES)
					break;
				entries[producer.position % SHM_RING_ENTRIES] = ++written;
				shm_produce(&producer);
			} else {
				PROPERTY(shm_consume_ready(&consumer) == (read < written));
				if (read == written)
					break;
				PROPERTY(entries[consumer.position % SHM_RING_ENTRIES] == ++read);
				shm_consume(&consumer);
			}
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = {data, bytes};
	struct shm_ring ring = {0};
	struct shm_port port = {.ring = &ring};

	submission_holds(&in);
	header_holds(&in);
	take(&in, &port.position, sizeof(port.position));
	if (in.bytes <= 256)
		honest_ring_holds(port.position, in);
	for (unsigned steps = 0; in.bytes && steps < 1000; steps++) {
		uint64_t number;
		uint8_t step;

		take(&in, &step, 1);
		take(&in, &number, sizeof(number));
		/* Near our own position it is interesting; as it is, it is hostile. */
		if (step & 2)
			number = port.position + number % (4 * SHM_RING_ENTRIES) -
				 2 * SHM_RING_ENTRIES;
		hostile_ring_holds(&port, step & 1, number);
	}
	return 0;
}
