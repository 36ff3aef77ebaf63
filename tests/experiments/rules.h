/*
 * rules.h - error feedback in float64, written from the papers' update rules: what the project's
 * own code (cluster.h) is compared with.
 *
 * One tensor, one owner, all nodes take part.  Rules: none, ef14, twosided, ef21, ef21-w,
 * ef21-sgdm, econtrol; codecs: none, topk (mode exact), sign.  Only the specs are read by the
 * project's code; no arithmetic is shared.
 */
#ifndef TESTS_EXPERIMENTS_RULES_H
#define TESTS_EXPERIMENTS_RULES_H

#include <stddef.h>

#include "tests/experiments/cluster.h"

struct rules {
	struct feedback_setting feedback;
	struct codec_setting up, down;
	uint32_t nodes;
	size_t count;
	double *state[CLUSTER_NODES][FEEDBACK_VECTORS]; /* owner's and everybody's: node 0's */
	double weight[CLUSTER_NODES];                   /* ef21-w; 1 at first */
	double *sum, *wanted, *sent;
	size_t *best;
	uint64_t ops; /* done so far */

	/* Of the next ops, as long as they stand: */
	bool average, dense;
	double scale; /* 1 at first */
};

/* rules_init() - specs that are not known here end the program. */
void rules_init(struct rules *r, const char *feedback, const char *up, const char *down,
		uint32_t nodes, size_t count);
void rules_deinit(struct rules *r);

/* rules_op() - in: float64[nodes][count], result: float64[count]. */
void rules_op(struct rules *r, const double *in, double *result);

#endif
