/*
 * op.h - one op in flight on one lane: what was called, by whom, and how far it is.
 *
 * Plain state and arithmetic; the exchange (exchange.h) moves it on.
 *
 *   OP_FREE -> OP_OPEN (some local ranks posted) -> OP_RUNNING (all did)
 *           -> OP_DONE (results written) or OP_ENDED (failed: `error`)
 *           -> OP_FREE (all local ranks have their completion)
 *
 * A chunk of an op is `elements` = op_elements(chunk) long and starts at element
 * chunk * geometry.chunk_count; this lane has the chunks [first, last).
 */
#ifndef DAEMON_OP_H
#define DAEMON_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compress/vector.h"
#include "daemon/sched/owner.h"
#include "daemon/sched/sched.h"
#include "daemon/tensor.h"

enum { OP_CHUNKS_MAX = 65536 }; /* of one tensor */

/* What every rank must call alike. */
struct op_call {
	uint64_t key, count;
	uint8_t op, type, reduce;    /* enum wire_op, vec_type, vec_reduce     */
	uint16_t schedule;           /* 0 or a forced schedule's id            */
	uint16_t codec, feedback;    /* ids, of the tensor's coding            */
	const struct tensor *tensor; /* NULL: dense                         */
	float scale;                 /* with a tensor: unit of the input, new / old       */
	bool discard;                /* with a tensor: take back what the last op on it left */
};

bool op_call_same(const struct op_call *a, const struct op_call *b);

/*
 * What of a call's coding ranks must agree on, as a number; 0: dense.
 * @chosen: what it goes by, if that is not the call's own; NULL: dense
 * @turn: what was found in the state
 */
uint32_t op_call_coding(const struct op_call *call, const struct tensor *chosen,
			const struct tensor_turn *turn);

/* Cutting a tensor: a function of the op's call and what the group agreed on at creation only. */
struct op_geometry {
	uint64_t chunk_count; /* elements in each chunk but the last, >= 1               */
	uint32_t chunks;      /* >= 1, also for count 0; 0: more than OP_CHUNKS_MAX      */
	uint64_t count_max;   /* elements of the largest tensor that can be cut          */
};

/*
 * op_geometry() - all chunks but the last are equally long: whole multiples of OP_BLOCK
 * elements, OP_CHUNK_BYTES_MIN to chunk_bytes_usual in the type that sums are made in;
 * if that made more than OP_CHUNKS_MAX chunks, as long as need be, up to chunk_bytes_max
 * (>= OP_CHUNK_BYTES_MAX_LEAST; it is never exceeded).  About 4 a node where the tensor
 * allows; and if there are more chunks than nodes, nearly a multiple of the number of nodes:
 * no node gets more than the mean and one block for each of its chunks.
 * With a coding, which makes messages of them that are 4 to 100 times shorter: sums are of float32,
 * blocks those of the codec, too, and usual chunks OP_CHUNK_BYTES_CODED.
 * @chunk_bytes_usual: >= OP_CHUNK_BYTES_MAX_LEAST
 * @coding: NULL: dense; else coding_fits(coding, its block, chunk_bytes_max)
 */
enum {
	OP_BLOCK = 1024,
	OP_CHUNK_BYTES_MIN = 4096,
	OP_CHUNK_BYTES_TCP = 32 << 10,   /* of a group where a node has no RDMA; of rings */
	OP_CHUNK_BYTES_RDMA = 128 << 10, /* where all have it: each costs more there  */
	OP_CHUNK_BYTES_CODED = 256 << 10,
	OP_CHUNK_BYTES_MAX_LEAST = 8192,
};
struct op_geometry op_geometry(uint64_t count, enum vec_type type, uint32_t nodes,
			       uint32_t chunk_bytes_usual, uint32_t chunk_bytes_max,
			       const struct coding *coding);

/*
 * op_chunk_bytes_usual() - of an op: what the group agreed on, but OP_CHUNK_BYTES_TCP where the
 * order of a sum, and so its bits, depends on how the tensor is cut: those do not depend on the
 * transport.
 */
uint32_t op_chunk_bytes_usual(const struct sched *sched, uint32_t agreed);

enum op_state { OP_FREE = 0, OP_OPEN, OP_RUNNING, OP_DONE, OP_ENDED };

struct op_rank {
	const void *in; /* count elements in the trainer's arena    */
	void *out;
	uint64_t work; /* the trainer's name for the op            */
	float weight;  /* with a tensor; usually 1                 */
	bool posted;
	bool reported; /* its completion was taken                 */
};

struct op_chunk {
	uint16_t arrived; /* contributions in slots                      */
	uint16_t handed;  /* nodes to which our contribution was handed  */
	bool final_here;  /* its final has arrived                       */
	bool done;        /* its result is written                       */
};

struct op {
	enum op_state state;
	bool waiting;          /* for a lease: what follows from the call is not set yet */
	bool mismatched;       /* found once                                             */
	bool mismatch_pending; /* and not yet told                                       */
	uint64_t seq;
	struct op_call call; /* of the first local rank that posted; valid from OPEN */
	const struct sched *sched;
	struct op_geometry geometry;
	uint32_t lanes;              /* take part in it                                    */
	uint32_t first, last;        /* this lane's chunks                                 */
	uint32_t remaining;          /* of them, not done                                  */
	uint32_t digest;             /* wire_call_digest() of the call                     */
	uint8_t trouble;             /* enum exchange_trouble_kind: it cannot succeed; 0       */
	const struct tensor *tensor; /* of the call, or that which was chosen for it; NULL: dense */
	uint8_t alternative;         /* the call's tensor has some: which one              */
	bool coded;                  /* by tensor; else plain elements                     */
	bool entered;                /* the tensor's state: until op is over               */
	struct tensor_turn turn;     /* ... and what was found there                    */
	float weight;                /* coded: of this node, from OP_RUNNING on            */
	bool nonfinite;              /* of a contribution or a final seen here             */
	uint16_t culprit;            /* with it: as in struct wire_frame                   */
	uint32_t posted;             /* local ranks                                        */
	int error;
	uint64_t wire_bytes;     /* payload this lane sent                             */
	struct op_rank *ranks;   /* [local_ranks], the exchange's memory              */
	struct op_chunk *chunks; /* [OP_CHUNKS_MAX / lanes + 1], chunks[c - first]  */
};

/* The part of a tensor that belongs to chunk c. */
uint64_t op_offset(const struct op *op, uint32_t chunk);   /* first element */
uint64_t op_elements(const struct op *op, uint32_t chunk); /* how many      */

/* First chunk of `lane` of `lanes` (lane == lanes: the end). */
uint32_t op_lane_first(uint32_t chunks, uint32_t lane, uint32_t lanes);

static inline bool op_has(const struct op *op, uint32_t chunk)
{
	return chunk >= op->first && chunk < op->last;
}

static inline bool op_over(const struct op *op)
{
	return op->state == OP_DONE || op->state == OP_ENDED;
}

#endif
