/* op_clock.c - see op_clock.h. */
#include "daemon/op_clock.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proto/shm.h"
#include "proto/wire.h"

/* An op's share in a lane.  Who sees the same `seq` before and after has seen what is its own. */
struct share {
	_Atomic uint64_t seq; /* of the last op here that is over; 0: none, or being written */
	_Atomic uint64_t over_ns;
	_Atomic bool good;
};

struct lane {
	struct share share[SHM_OPS_MAX]; /* by seq % SHM_OPS_MAX */
};

struct op_clock {
	uint16_t lanes;
	uint64_t read;                   /* ops up to this one were read      */
	uint64_t over_ns;                /* when the last of them was over    */
	uint64_t called_ns[SHM_OPS_MAX]; /* by seq % SHM_OPS_MAX              */
	uint32_t of_lanes[SHM_OPS_MAX];  /* ... and how many take part        */
	struct lane lane[WIRE_LANES_MAX];
};

int op_clock_new(struct op_clock **out, uint16_t lanes)
{
	assert(lanes >= 1 && lanes <= WIRE_LANES_MAX);
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	(*out)->lanes = lanes;
	return 0;
}

void op_clock_free(struct op_clock *c)
{
	free(c);
}

void op_clock_called(struct op_clock *c, uint64_t seq, uint32_t lanes, uint64_t now_ns)
{
	assert(lanes >= 1 && lanes <= c->lanes);
	c->of_lanes[seq % SHM_OPS_MAX] = lanes;
	c->called_ns[seq % SHM_OPS_MAX] = now_ns;
}

void op_clock_over(struct op_clock *c, uint32_t lane, uint64_t seq, uint64_t now_ns, bool good)
{
	struct share *share = &c->lane[lane].share[seq % SHM_OPS_MAX];

	assert(lane < c->lanes);
	atomic_store_explicit(&share->seq, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&share->over_ns, now_ns, memory_order_relaxed);
	atomic_store_explicit(&share->good, good, memory_order_relaxed);
	atomic_store_explicit(&share->seq, seq, memory_order_release);
}

/* Of op `seq`, or, where a later one has taken its place, in *out, of that. */
static bool over_on_all(struct op_clock *c, uint64_t seq, struct op_time *out, uint64_t *over_ns)
{
	*out = (struct op_time){.seq = seq, .good = true};
	*over_ns = 0;
	/* If a later op has that place, lane 0 is over with it, and the others will be. */
	for (uint32_t lane = 0; lane < c->of_lanes[seq % SHM_OPS_MAX] || lane == 0; lane++) {
		struct share *share = &c->lane[lane].share[seq % SHM_OPS_MAX];
		uint64_t last = atomic_load_explicit(&share->seq, memory_order_acquire);
		uint64_t ns = atomic_load_explicit(&share->over_ns, memory_order_relaxed);

		if (last < seq)
			return false;
		out->good &= atomic_load_explicit(&share->good, memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
		last = atomic_load_explicit(&share->seq, memory_order_relaxed);
		if (last < seq)
			return false;
		if (last > out->seq)
			out->seq = last;
		if (ns > *over_ns)
			*over_ns = ns;
	}
	return true;
}

bool op_clock_next(struct op_clock *c, struct op_time *out)
{
	uint64_t called_ns, begun_ns, over_ns;
	bool all = true;

	for (;; all = false) {
		if (!over_on_all(c, c->read + 1, out, &over_ns))
			return false;
		if (out->seq == ++c->read)
			break;
	}
	out->good &= all;
	called_ns = c->called_ns[c->read % SHM_OPS_MAX];
	begun_ns = c->over_ns;
	if (called_ns > begun_ns && called_ns - begun_ns > OP_CLOCK_TURN_NS)
		begun_ns = called_ns - OP_CLOCK_TURN_NS;
	out->ns = over_ns > begun_ns ? over_ns - begun_ns : 0;
	if (over_ns > c->over_ns)
		c->over_ns = over_ns;
	return true;
}
