/*
 * owner.h - which node sums a chunk.
 *
 * Chunks are dealt to OWNER_BUCKETS buckets and buckets to nodes.  The table is part
 * of the membership: the founders share it evenly and interleaved; when a node leaves,
 * only its buckets move, each to the node that has fewest; when one comes, buckets
 * move only to it, from those that have most.  So every table is balanced to one
 * bucket, whatever came before, and it depends on the sequence of changes alone,
 * which all members know.
 */
#ifndef DAEMON_SCHED_OWNER_H
#define DAEMON_SCHED_OWNER_H

#include <stdint.h>

enum { OWNER_NODES_MAX = 256, OWNER_BUCKETS = 8192 };

#define OWNER_NOBODY UINT16_MAX

struct owner_table {
	uint16_t nodes;                /* indices below this may own; those that left own nothing */
	uint32_t period;               /* buckets in use: a multiple of the founders' number     */
	uint16_t owner[OWNER_BUCKETS]; /* node of each bucket; [period..] OWNER_NOBODY            */
};

void owner_found(struct owner_table *t,
		 uint16_t nodes); /* 1..OWNER_NODES_MAX founders              */
void owner_remove(struct owner_table *t,
		  uint16_t node);                     /* node owns something; it is not the last  */
void owner_add(struct owner_table *t, uint16_t node); /* node owns nothing; < OWNER_NODES_MAX     */

/* The node that sums `chunk` of the tensor with that key (ops without key: their seq). */
uint16_t owner_of(const struct owner_table *t, uint64_t key, uint32_t chunk);

#endif
