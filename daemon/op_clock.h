/*
 * op_clock.h - how long ops take, on all lanes of a node together.
 *
 * A lane sees the end of its own share only, and shares do not end alike: an op of few chunks has
 * none for some lanes, a small one is lane 0's alone; lanes may have other links.  So every lane
 * that takes part writes down when its share was over, and lane 0, which saw the ops begin, reads
 * what the slowest took.
 *
 * An op is measured from when the one before it was over: ops that are under way together share the
 * time, and what an op leaves to its successor (a trainer to be woken up, a link that has to make
 * up for a burst) is its own.  What a trainer does between ops is not, so of the time until
 * it calls again OP_CLOCK_TURN_NS count at most.  (They count for who computes longer, too, so that
 * a moment's more work makes no op seem shorter.  Beside them differences of some us between short
 * ops are small; who computes so long does not feel these.)
 *
 * Threads: op_clock_over() on each lane, for itself; the others on lane 0 alone.
 */
#ifndef DAEMON_OP_CLOCK_H
#define DAEMON_OP_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* A trainer that does nothing else has woken up and called again in that time. */
#define OP_CLOCK_TURN_NS UINT64_C(100000)

struct op_clock;

struct op_time {
	uint64_t seq, ns; /* ns: 0 where it was over as soon as the one before it */
	bool good;        /* on all lanes that took part */
};

int op_clock_new(struct op_clock **out, uint16_t lanes); /* Return: 0 or -ENOMEM */
void op_clock_free(struct op_clock *c);                  /* NULL is allowed */

/*
 * op_clock_called() - a rank of this node called op `seq`; of several the last one counts.
 * @lanes: 0 to .. - 1 take part in it
 */
void op_clock_called(struct op_clock *c, uint64_t seq, uint32_t lanes, uint64_t now_ns);

/* op_clock_over() - the share of @lane in op `seq`, which was called before, has ended. */
void op_clock_over(struct op_clock *c, uint32_t lane, uint64_t seq, uint64_t now_ns, bool good);

/*
 * op_clock_next() - the next op, in order of seq, that is over on all lanes that take part.
 * Those that were not read before SHM_OPS_MAX more were over are left out; the next one's time is
 * not known then, and it counts as not good.
 * Return: false: there is none yet.
 */
bool op_clock_next(struct op_clock *c, struct op_time *out);

#endif
