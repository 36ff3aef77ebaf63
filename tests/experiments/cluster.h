/*
 * cluster.h - nodes that reduce one tensor with error feedback, all in one process.
 *
 * It plays what daemons do (contributions, owners, finals, results, commit) with the project's own
 * codecs and feedback, and nothing else: no network, no time.  Each node has state of its own, also
 * of what is the same everywhere; that all results have the same bits is asserted in every op.
 */
#ifndef TESTS_EXPERIMENTS_CLUSTER_H
#define TESTS_EXPERIMENTS_CLUSTER_H

#include "compress/feedback.h"

enum { CLUSTER_NODES = 64 };

struct cluster_node {
	void *now[FEEDBACK_VECTORS], *next[FEEDBACK_VECTORS]; /* of the whole tensor */
	void *contribution;                                   /* of one chunk */
	size_t bytes;
	float *result;
	float weight, last_weight; /* ef21-w; 1 at first */
};

struct cluster {
	struct feedback_setting feedback;
	struct codec_setting up, down;
	const struct codec_kernels *kernels;
	struct cluster_node node[CLUSTER_NODES];
	uint32_t nodes;
	size_t count, chunk; /* elements; chunk k belongs to node k % nodes */
	uint64_t step, seed;
	float *sum;
	void *final, *work;
	size_t room; /* bytes of a contribution or final */

	/* Of the next ops, as long as they stand: */
	bool average;      /* else a sum */
	bool dense, abort; /* abort: all is done but the commit */
	float scale;       /* 1 at first */
	uint64_t left_out; /* bit of each node whose contribution is not taken */
};

/* cluster_specs() - what specs say; those that do not parse end the program. */
void cluster_specs(struct feedback_setting *feedback, const char *feedback_spec,
		   struct codec_setting *up, const char *up_spec, struct codec_setting *down,
		   const char *down_spec);

/* cluster_init() - specs that do not parse or do not go together end the program. */
void cluster_init(struct cluster *c, const char *feedback, const char *up, const char *down,
		  uint32_t nodes, size_t count, size_t chunk);
void cluster_deinit(struct cluster *c);

/* cluster_op() - in[node], result: float32[count].  Return: false: non-finite, not committed. */
__attribute__((warn_unused_result)) bool cluster_op(struct cluster *c, const float *const *in,
						    float *result);

/* A vector of floats of a node, to read or to harm. */
float *cluster_vector(struct cluster *c, uint32_t node, enum feedback_vector vector);

#endif
