/*
 * exchange.h - one group on one lane: its ops in flight, slots, cursors and buffers.
 *
 * Pure: no I/O, no clock, no allocation after exchange_new().  The engine tells it
 * what happened (posted, arrived, acked, ended) and asks what to do (progress, next
 * frame for a node, next completion).  The simulator drives the same code.
 *
 * An op's life on a lane:
 *
 *   post (every local rank) -> contributions out, in ascending (seq, chunk) order per
 *   owner -> owned chunks close, in ascending order, when all contributions are in
 *   slots -> finals out / finals in -> results written -> completions
 *
 * A chunk whose last contribution stays where it arrived closes at once, whatever is open before
 * it, if its final is passed on by nobody and leaves a buffer for those in order.
 *
 * Why nothing locks up, with one slot a class too: contributions leave for each node
 * in ascending order and chunks close in ascending order, so the lowest open chunk
 * always finds its slots free; finals are consumed on arrival (forwarded ones, in a
 * ring, keep one buffer free: bubble flow control).
 *
 * Shapes: nodes and local ranks are indices; the tensor is count elements of a type,
 * cut into chunks of chunk_count elements, the last one shorter (op_geometry()).
 */
#ifndef DAEMON_EXCHANGE_H
#define DAEMON_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compress/vector.h"
#include "daemon/choice.h"
#include "daemon/err.h"
#include "daemon/op.h"
#include "daemon/sched/owner.h"
#include "daemon/sched/sched.h"
#include "proto/shm.h"
#include "proto/wire.h"

enum {
	EXCHANGE_OPS_MAX = SHM_OPS_MAX, /* in flight on a node, by seq % EXCHANGE_OPS_MAX  */
	EXCHANGE_LOCAL_MAX = 64,        /* ranks of a group on one node                     */
};

/* What is fixed when the group forms.  Pointers are the caller's and outlive the exchange. */
struct exchange_plan {
	uint64_t group;
	uint32_t epoch;
	uint16_t nodes, node; /* node: ours                                       */
	uint16_t lanes, lane;
	uint32_t ranks;
	const uint32_t *ranks_of_node; /* uint32[nodes]: how many ranks each node has      */
	uint32_t local_ranks;          /* ranks_of_node[node]                              */
	const uint32_t *local_rank;    /* uint32[local_ranks]: their numbers in the group  */
	const struct owner_table *owners;
	uint16_t schedule;          /* id, forced by the group; 0: by sched_choose()    */
	uint64_t flat_bytes_max;    /* agreed threshold for sched_choose()              */
	uint32_t chunk_bytes_max;   /* agreed; slot size                                */
	uint32_t chunk_bytes_usual; /* agreed, for op_geometry()                        */
	uint32_t slots;             /* per node and class, >= 1                         */
	bool gathers;               /* exchange_widen() may be called                   */
	uint32_t slots_more;        /* beside the others: of those that it names        */
	uint32_t buffers;           /* for contributions, and again for finals, >= 2    */
	const struct vec *vec;
};

/* exchange_memory() - bytes that exchange_new(plan) will map: for the account and the limit. */
uint64_t exchange_memory(const struct exchange_plan *plan);

/*
 * exchange_plan_size() - fill in slots, buffers and chunk_bytes_max; nodes, lanes, local_ranks
 * and gathers are set.  Slots and buffers depend on nodes alone, so all nodes agree on
 * the credits that they begin with; slots_more is 0 where it does not fit, or nothing gathers.
 * A chunk_bytes_max that is set (agreed, and checked with the table that says so) is kept, 0 is
 * replaced by the largest with which all lanes together map inflight_bytes at most.
 * Return: 0; -ENOMEM and *err with the number that would be needed.
 */
int exchange_plan_size(struct exchange_plan *plan, uint64_t inflight_bytes, struct err *err);

struct exchange;
int exchange_new(struct exchange **out, const struct exchange_plan *plan, struct err *err);
/* Where its memory is: frames are sent from it and land in it. */
void *exchange_span(const struct exchange *x, size_t *bytes);
void exchange_free(struct exchange *x); /* NULL is allowed */
const struct exchange_plan *exchange_plan(const struct exchange *x);

/* Two calls of op `seq` that differ. */
struct exchange_mismatch {
	uint64_t seq;
	struct op_call ours, theirs;
	bool local;          /* both are ranks of this node                                   */
	uint32_t our_rank;   /* local: local rank of `ours`                                   */
	uint32_t their_rank; /* local: local rank of `theirs`                                 */
	uint16_t their_node; /* otherwise                                                     */
};

/* Why op `seq` cannot succeed, whatever the others called: it waits for exchange_end(). */
enum exchange_trouble_kind {
	EXCHANGE_NO_TROUBLE = 0,
	EXCHANGE_TOO_BIG, /* call, local_rank, count_max: more than OP_CHUNKS_MAX chunks  */
	EXCHANGE_DAMAGED, /* node: what it sent from a trainer's memory has another CRC   */
	EXCHANGE_BUSY,    /* call, local_rank: an op on the key's state is in flight      */
};
struct exchange_trouble {
	enum exchange_trouble_kind kind;
	uint64_t seq;
	struct op_call call; /* as it was posted here first                                   */
	uint32_t local_rank; /* by this one                                                   */
	uint64_t count_max;  /* elements of the largest tensor of that type                   */
	uint16_t node;
};

enum exchange_posted {
	EXCHANGE_POSTED = 0,
	EXCHANGE_POST_MISMATCH, /* reported by exchange_take_mismatch()                        */
	EXCHANGE_POST_TROUBLE,  /* reported by exchange_take_trouble()                         */
	EXCHANGE_POST_ORDER,    /* not the rank's next: it broke the rules                     */
	EXCHANGE_POST_WINDOW,   /* too many in flight: it broke the rules                      */
};

/* What is this rank's own of an op. */
struct exchange_rank {
	const void *in; /* count elements, valid until its completion */
	void *out;
	uint64_t work;
	float weight; /* with a tensor: of its contribution, > 0, usually 1 */
};

/*
 * A rank passes op seq, its next: it called it, and no chunk of it is this lane's, by the size of
 * the tensor alone.  There is no completion.  Return: false: out of order.
 */
bool exchange_pass(struct exchange *x, uint32_t local_rank, uint64_t seq);

/*
 * Tensors that leave the choice of their codec to the group (choice.h).
 * exchange_waits_for_lease() - op seq was posted, and does not begin before a lease covers it.
 * exchange_lease() - one came; Return: false: too many lie in the future.
 * exchange_choice() - by what op seq goes, to be measured.  Return: false: nothing was chosen, or
 * it is not as its like will be the next time.
 */
bool exchange_waits_for_lease(const struct exchange *x, uint64_t seq);
bool exchange_lease(struct exchange *x, const struct choice_lease *lease);
bool exchange_choice(const struct exchange *x, uint64_t seq, struct choice_sample *out);

/* A rank posts op seq, its next. */
enum exchange_posted exchange_post(struct exchange *x, uint32_t local_rank, uint64_t seq,
				   const struct op_call *call, const struct exchange_rank *rank);

/* The rank has left (died or destroyed): Return: the last seq that it posted. */
uint64_t exchange_rank_leave(struct exchange *x, uint32_t local_rank);

/* Whether op memory of a rank that left is still in use (its arena must stay mapped). */
bool exchange_rank_busy(const struct exchange *x, uint32_t local_rank);

/* A frame from before the group's last change, or of a node that is gone, changes nothing. */
bool exchange_stale(const struct exchange *x, uint16_t node, const struct wire_frame *frame);

/*
 * Memory for the payload of a frame from `node`, whose header passed wire_check(), whose
 * group is ours and which is not stale.  NULL: the node broke the rules (no credit, wrong lane,
 * type...): the caller ends the path and says BAD_FRAME.
 */
void *exchange_place(struct exchange *x, uint16_t node, const struct wire_frame *frame);
void exchange_unplace(struct exchange *x, uint16_t node, void *slot); /* it will not arrive */

/*
 * May the payload that was given this slot stay where it arrived, although its sender could still
 * write there?  Then exchange_arrived() reads it once, into the results, a sum or the slot.
 */
bool exchange_may_stay(struct exchange *x, uint16_t node, const void *slot);

/* @payload: the slot, or, if it may stay, where it is; not needed there any more afterwards. */
void exchange_arrived(struct exchange *x, uint16_t node, const struct wire_frame *frame, void *slot,
		      unsigned char *payload);
/* It is, but is not what its sender read from its trainer's memory: the op cannot succeed. */
void exchange_damaged(struct exchange *x, uint16_t node, const struct wire_frame *frame,
		      void *slot);

/* Credits that came with any frame of this group from `node`. */
void exchange_credit(struct exchange *x, uint16_t node, uint32_t contribution, uint32_t final);

/* A frame to send: header fields of the op and the group are filled in. */
struct exchange_send {
	struct wire_frame frame;
	const void *payload;
	void *buffer; /* for exchange_released(); NULL: memory of the trainer   */
};

/* The next frame for `node`, if there is one and credit for it. */
bool exchange_next(struct exchange *x, uint16_t node, struct exchange_send *out);

/* The peer has acknowledged (or is dead): exactly once for each exchange_next(). */
void exchange_released(struct exchange *x, void *buffer);

/* A contribution from a trainer's memory will after all not reach `node`: its op has ended. */
void exchange_unsent(struct exchange *x, uint16_t node);

/* The op that this node waits to end next, if all its ranks have posted it; 0: there is none. */
uint64_t exchange_waits_for(const struct exchange *x);
/*
 * exchange_call() - a CALL frame for `node`: what was called as the op that is waited for.
 * exchange_called() - one came: a call that differs from ours is a mismatch.
 * Where the calls differ so that each side waits for the other, no other frame would show it.
 */
void exchange_call(struct exchange *x, uint16_t node, struct wire_frame *frame);
void exchange_called(struct exchange *x, const struct wire_frame *frame);

/* Fill in the credit fields of any frame to `node`; clears exchange_owes(). */
void exchange_announce(struct exchange *x, uint16_t node, struct wire_frame *frame);

/*
 * Grant `node` the other slots, too, if it does not have them: where frames that are sent together
 * cost less than each alone, more of them should be under way.
 */
void exchange_widen(struct exchange *x, uint16_t node);

/* A connection to `node` broke: credits that were announced on it may not have arrived. */
void exchange_path_lost(struct exchange *x, uint16_t node);

enum exchange_owing { EXCHANGE_OWES_NOTHING = 0, EXCHANGE_OWES_SOME, EXCHANGE_OWES_SOON };
/* Credits granted and not yet announced to `node`: SOON if it may be waiting for them. */
enum exchange_owing exchange_owes(const struct exchange *x, uint16_t node);

/* May the payload of an earlier frame of op `seq` still be read for sending again? */
bool exchange_open(const struct exchange *x, uint64_t seq);

/* Do one piece of arithmetic (close a chunk, write a result).  Return: whether there was one. */
bool exchange_progress(struct exchange *x);

struct exchange_completion {
	uint32_t local_rank;
	uint64_t work, seq;
	int error; /* 0 or negative errno */
	uint64_t wire_bytes;
	bool nonfinite;
	uint16_t culprit; /* with it: 1 + rank whose input it was; 0: nobody's, the sum */
};
bool exchange_completion(struct exchange *x, struct exchange_completion *out);
bool exchange_take_mismatch(struct exchange *x, struct exchange_mismatch *out);
bool exchange_take_trouble(struct exchange *x, struct exchange_trouble *out);

/* A frame of `node` contradicted op `seq` (wrong length, owner...): told once a node. */
bool exchange_take_bad(struct exchange *x, uint16_t *node, uint64_t *seq);

/* Decided by the members: ops first..last end with `error` unless they are complete here. */
void exchange_end(struct exchange *x, uint64_t first_seq, uint64_t last_seq, int error);

/* The node is dead or has left: nothing is sent to it any more. */
void exchange_node_gone(struct exchange *x, uint16_t node);

uint64_t exchange_done_through(const struct exchange *x);
/* No op is open, nothing is unsent or unacknowledged: it may be freed. */
bool exchange_idle(const struct exchange *x);

#endif
