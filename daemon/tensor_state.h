/*
 * tensor_state.h - what the state of a tensor and a group's table are made of; for tensor*.c alone.
 *
 *   tensor.c        the state as ops see it: lanes enter and leave, copies change places
 *   tensor_table.c  making states, numbers, lists of codecs; what there is, for people
 */
#ifndef DAEMON_TENSOR_STATE_H
#define DAEMON_TENSOR_STATE_H

#include <stdatomic.h>

#include "daemon/tensor.h"

/*
 * Who is in, packed into one word so that all lanes see one state: the op, how many lanes are in
 * it, how many have left it well, which copy of each vector and which head holds the state, and
 * whether what was before the last op is still there.
 */
#define WORD_INSIDE (1ull << 32)
#define WORD_GOOD (1ull << 40)
#define WORD_VECTORS (1ull << 48) /* times a bit of each vector */
#define WORD_HEAD (WORD_VECTORS << FEEDBACK_VECTORS)
#define WORD_CURRENT (2 * WORD_HEAD - WORD_VECTORS) /* all of these bits */
#define WORD_UNDO (2 * WORD_HEAD)

/* What there are two copies of beside the vectors. */
struct tensor_head {
	float *thresholds[TENSOR_WAYS]; /* [chunks_max] */
	float mean[TENSOR_WAYS];        /* of them: for codecs with one threshold a tensor */
	uint32_t digest;                /* of the coding that made them */
	_Atomic uint64_t step;          /* also read by the main thread, for reports */
	_Atomic uint64_t seq;           /* of the op that made it; so is this        */
	float weight;
	bool carries; /* something was not sent yet                              */
	bool stale;   /* plain ops went by: estimates are not of the last op     */
};

struct tensor_state {
	struct tensor_state *next;
	char name[TENSOR_KEY_BYTES];
	uint64_t key, count;
	uint8_t type;
	struct feedback_setting feedback; /* its id */
	uint32_t chunks_max;
	uint64_t bytes; /* of both copies, as mapped */
	unsigned char *memory;
	unsigned char *vectors[2][FEEDBACK_VECTORS];
	uint64_t *marks[FEEDBACK_VECTORS]; /* of those that may be changed in place */
	struct tensor_head heads[2];
	uint64_t changed; /* bits of WORD_CURRENT: what the last op has changed */
	_Atomic uint64_t word;
};

enum { TENSORS_BLOCK = 64 };

struct tensors {
	struct tensors_options options;
	struct tensor_state *states;
	uint64_t bytes;
	_Atomic uint32_t count;
	/* [count] are there for the lanes; made as they are needed, and never moved */
	struct tensor *blocks[TENSORS_MAX / TENSORS_BLOCK];
};

static inline struct tensor *tensors_slot(const struct tensors *t, uint32_t number)
{
	return &t->blocks[number / TENSORS_BLOCK][number % TENSORS_BLOCK];
}

#endif
