/*
 * ring.c - partial sums go round to the owner, finals go round from it.
 *
 * Everything flows to the next higher node.  A chunk sets out at the node behind its
 * owner and visits all, each adding its own; the owner, who comes last, closes it, and
 * the final goes the same way round:
 *
 *   4 nodes, owner 1:   contribution 2 -> 3 -> 0 -> 1,   final 1 -> 2 -> 3 -> 0
 *
 * Each node sends 2 (nodes-1)/nodes of the tensor to one neighbour only.  The order of
 * the sum depends on the owner, so the bits are the ring's own; they are the same on
 * every node and in every run.
 *
 * Source: Patarasu and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
 * workstations", JPDC 69(2), 2009.
 */
#include "daemon/sched/sched.h"

static struct sched_role ring_role(uint16_t nodes, uint16_t node, uint16_t owner)
{
	uint16_t next = (uint16_t)((node + 1u) % nodes);
	uint16_t behind = (uint16_t)((node + nodes - 1u) % nodes);
	bool first = behind == owner; /* the contribution sets out here */
	struct sched_role role = {0};

	if (nodes == 1) {
		role.closes = true;
		return role;
	}
	if (!first) {
		role.inputs = SCHED_ONE;
		role.input = behind;
	}
	if (node == owner) {
		role.closes = true;
	} else {
		role.contribute = SCHED_ONE;
		role.contribute_to = next;
		role.partial = true;
		role.final_in = true;
		role.final_from = behind;
	}
	if (next != owner) {
		role.final_out = SCHED_ONE;
		role.final_to = next;
	}
	return role;
}

const struct sched sched_ring = {
	.name = "ring",
	.id = 3,
	.order_by_owner = true,
	.role = ring_role,
};
