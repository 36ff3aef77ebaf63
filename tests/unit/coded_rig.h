/*
 * coded_rig.h - nodes whose ops go through codecs: exchanges and tables of tensors, frames carried
 * by hand.
 *
 * All nodes, lanes and local ranks are in one process and one thread.  Inputs belong to the caller,
 * by rank; results are beside them.
 */
#ifndef TESTS_UNIT_CODED_RIG_H
#define TESTS_UNIT_CODED_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/exchange.h"
#include "daemon/tensor.h"

enum { CODED_NODES = 4, CODED_LANES = 4, CODED_LOCAL = 2, CODED_RANKS = 8, CODED_KEY = 77 };

struct coded_options {
	uint16_t nodes, lanes;
	uint32_t local;
	uint64_t count;
	enum vec_type type;     /* 0: f32 */
	enum vec_reduce reduce; /* 0: sum */
	const char *codec, *feedback;
	const struct vec *vec;     /* NULL: the best */
	uint32_t chunk_bytes_max;  /* 0: 1 MiB */
	float weight[CODED_RANKS]; /* 0: 1 */
};

struct coded_rig {
	struct coded_options o;
	struct owner_table owners;
	uint32_t ranks_of_node[CODED_NODES], local_rank[CODED_NODES][CODED_LOCAL];
	uint32_t ranks;
	struct exchange *x[CODED_NODES][CODED_LANES];
	struct tensors *tensors[CODED_NODES];
	const struct tensor *tensor[CODED_NODES];
	void *in[CODED_RANKS], *out[CODED_RANKS]; /* element[count] */
	uint64_t seq;
	float scale; /* of the next op */
	bool discard;
	/* of the last op */
	int error;
	bool nonfinite;
	uint16_t culprit;
	uint64_t wire_bytes;
	bool (*spoil)(struct wire_frame *frame, void *payload); /* NULL; a frame on its way */
};

struct coded_rig *coded_open(const struct coded_options *options);
void coded_close(struct coded_rig *r);

/* Another codec from the next op on, with the same feedback. */
void coded_change(struct coded_rig *r, const char *codec);

/* Inputs of all ranks: Gauss, other ones for another seed.  f32 or bf16. */
void coded_fill(struct coded_rig *r, uint64_t seed);

/* Every rank posts the next op. */
void coded_post(struct coded_rig *r);
/* coded_post_one() - of that, a local rank's call on a lane, for r->seq as it is. */
void coded_post_one(struct coded_rig *r, uint16_t node, uint16_t lane, uint32_t local);
/* Until nothing moves; `order` picks who is next.  Return: completions of ranks of all lanes. */
uint32_t coded_finish(struct coded_rig *r, uint64_t order);
/* So many tries, also if the op is not over then.  Return: completions. */
uint32_t coded_moves(struct coded_rig *r, uint64_t order, uint32_t moves);
/* All nodes end the op that is open. */
void coded_end(struct coded_rig *r, uint64_t seq, int error);
/* Post, finish; all ranks have the same bits; the result is in out[0]. */
void coded_op(struct coded_rig *r, uint64_t order);

/* The slices that hold the state now, of a whole vector; NULL: the feedback has none. */
const float *coded_state(const struct coded_rig *r, uint16_t node, enum feedback_vector vector);
/* All vectors of all nodes: a copy of the state, and whether it is that. */
void *coded_keep(const struct coded_rig *r);
bool coded_kept(const struct coded_rig *r, const void *kept);

#endif
