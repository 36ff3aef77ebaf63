/*
 * sched.h - what each node does with a chunk.
 *
 * A schedule is arithmetic: it maps (nodes, node, owner of the chunk) to a role: whose
 * contributions the node waits for, where its own goes, who sends it the final and to
 * whom it sends the final on.  It holds no state, touches no buffer and knows no
 * transport, so a test can prove it for every number of nodes.  exchange.c plays any
 * role; a new schedule needs no code there.
 *
 *                 contributions          final
 *   direct   all -> owner            owner -> all
 *   flat     all -> all              (everybody closes the chunk himself)
 *   ring     along the ring, summed  along the ring, passed on
 *            on the way, to the owner
 *
 * To add one: write daemon/sched/NAME.c, which defines sched_NAME, and add X(NAME) to
 * SCHEDS below.  tests/unit/test_sched.c proves every entry.
 */
#ifndef DAEMON_SCHED_SCHED_H
#define DAEMON_SCHED_SCHED_H

#include <stdbool.h>
#include <stdint.h>

/* Nodes that a role names. */
enum sched_whom {
	SCHED_NONE = 0,
	SCHED_ALL, /* every node but this one */
	SCHED_ONE, /* the node in the field beside it */
};

struct sched_role {
	enum sched_whom inputs; /* contributions this node receives for the chunk          */
	uint16_t input;
	bool closes;                /* inputs + own is the whole sum                           */
	enum sched_whom contribute; /* where this node's contribution goes                 */
	uint16_t contribute_to;
	bool partial;  /* the contribution is inputs + own, not own alone         */
	bool final_in; /* the final comes from final_from                         */
	uint16_t final_from;
	enum sched_whom final_out; /* where this node sends the final, closed or received  */
	uint16_t final_to;
};

struct sched {
	const char *name; /* as in the configuration                        */
	uint16_t id;      /* on the wire; never reused, never 0             */
	/* Some contributions are added on their way, so the order of a sum depends on the chunk's
	 * owner, and bits on how the tensor is cut; else sums are in node order. */
	bool order_by_owner;
	/* node, owner < nodes; nodes >= 1 */
	struct sched_role (*role)(uint16_t nodes, uint16_t node, uint16_t owner);
};

#define SCHEDS(X) \
	X(direct) \
	X(flat)   \
	X(ring)

#define X(name) extern const struct sched sched_##name;
SCHEDS(X)
#undef X

extern const struct sched *const sched_table[]; /* the same, ended by NULL */

const struct sched *sched_by_name(const char *name); /* NULL: there is none */
const struct sched *sched_by_id(uint16_t id);

/*
 * sched_choose() - the schedule of an op; the same on every node.
 * @forced:         id that the call or the group forces, 0: by the rule
 * @bytes:          of the whole tensor
 * @flat_bytes_max: agreed when the group forms
 *
 * The rule: flat up to flat_bytes_max / (nodes - 1) bytes, since it costs one hop
 * instead of two but every node sends the tensor to every other; direct above.
 */
const struct sched *sched_choose(uint16_t forced, uint64_t bytes, uint16_t nodes,
				 uint64_t flat_bytes_max);

#endif
