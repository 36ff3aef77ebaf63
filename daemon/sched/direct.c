/*
 * direct.c - owner-reduce: every contribution goes straight to the chunk's owner, who
 * sends the final to everybody.
 *
 * Each node sends and receives 2 (nodes-1)/nodes of the tensor, in two hops however
 * many nodes there are, and nothing is encoded more than twice.  Sums are in node
 * order.  The skeleton of 1-bit Adam's compressed allreduce and of ZeRO++'s qgZ.
 */
#include "daemon/sched/sched.h"

static struct sched_role direct_role(uint16_t nodes, uint16_t node, uint16_t owner)
{
	if (node == owner)
		return (struct sched_role){
			.inputs = SCHED_ALL,
			.closes = true,
			.final_out = nodes > 1 ? SCHED_ALL : SCHED_NONE,
		};

	return (struct sched_role){
		.contribute = SCHED_ONE,
		.contribute_to = owner,
		.final_in = true,
		.final_from = owner,
	};
}

const struct sched sched_direct = {
	.name = "direct",
	.id = 1,
	.role = direct_role,
};
