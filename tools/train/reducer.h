/*
 * reducer.h - the sums that data-parallel training needs, over libcarry or over nobody.
 *
 * A bucket is one layer's gradient in the arena.  reducer_post() starts its sum and
 * returns; several are in flight until reducer_wait() takes them in.  A local reducer
 * has one rank and makes no connection: the same training in one process.
 *
 * All functions but open and close must be called by all ranks in the same order.
 * Functions that return int return 0 or negative errno with a sentence in r->why.
 */
#ifndef TOOLS_TRAIN_REDUCER_H
#define TOOLS_TRAIN_REDUCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libclient/carry.h"

#define REDUCER_BUCKETS_MAX 8
#define REDUCER_VALUES_MAX 8
#define REDUCER_WHY_BYTES 640

struct reducer {
	uint32_t rank;
	uint32_t ranks;
	uint32_t nodes;
	uint64_t wire_bytes; /* that this node sent for buckets so far */
	size_t buckets;
	float *bucket[REDUCER_BUCKETS_MAX]; /* float32[count[b]]; the caller fills it before post */
	size_t count[REDUCER_BUCKETS_MAX];
	char why[REDUCER_WHY_BYTES]; /* after a failure: one sentence                      */

	/* the module's own */
	uint64_t timeout_ns;
	struct carry *carry; /* NULL: local */
	struct carry_group *group;
	struct carry_work *work[REDUCER_BUCKETS_MAX];
	double *values; /* float64[REDUCER_VALUES_MAX], in the arena */
	void *memory;   /* buckets and values, if local              */
};

struct reducer_options {
	bool local;
	const char *codec, *feedback; /* of buckets of 16 KiB or more; NULL: none  */
	uint64_t timeout_ns;          /* for the ranks to come, and for every sum  */
};

/*
 * reducer_open() - @counts: elements of each bucket.  Rank, size and root come from the environment
 * (carry.h).  On failure nothing is left open but r->why may be read.
 */
int reducer_open(struct reducer *r, const struct reducer_options *options, const size_t *counts,
		 size_t buckets);

/* reducer_close() - after a failure too; other ranks' sums then fail. */
void reducer_close(struct reducer *r);

int reducer_post(struct reducer *r, size_t bucket);
int reducer_wait(struct reducer *r, size_t bucket);

/* reducer_sum() - values[count] over all ranks, count at most REDUCER_VALUES_MAX. */
int reducer_sum(struct reducer *r, double *values, size_t count);

/* reducer_same() - is value the same on all ranks? */
int reducer_same(struct reducer *r, uint64_t value, bool *same);

#endif
