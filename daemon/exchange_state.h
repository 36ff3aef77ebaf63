/*
 * exchange_state.h - what an exchange is made of; for exchange*.c alone.
 *
 *   exchange.c       memory, life
 *   exchange_op.c    ops: post, lease, mismatch, completions
 *   exchange_end.c   which ops have been ended, how far all are over
 *   exchange_in.c    slots: place, arrived, finals received
 *   exchange_out.c   what to send next, credits
 *   exchange_sum.c   closing of chunks, writing of results
 *   exchange_code.c  the same where a codec is between
 *
 * Cursors are positions (seq, chunk) that only go up.  `contributed` of a node says
 * which chunk is offered to it next; `closing` which owned chunk is closed next.
 * Finals wait for sending in a queue, in the order in which they were made.
 */
#ifndef DAEMON_EXCHANGE_STATE_H
#define DAEMON_EXCHANGE_STATE_H

#include "daemon/exchange.h"

/* What is held in a slot. */
enum slot_state { SLOT_FREE = 0, SLOT_FILLING, SLOT_HELD };

struct slot {
	enum slot_state state;
	bool counted; /* a contribution that is in op_chunk.arrived            */
	struct wire_frame frame;
	unsigned char *memory; /* [chunk_bytes_max]                            */
	unsigned char *at;     /* its payload: memory, or where it arrived: until that is read */
};

struct buffer {
	uint32_t refs; /* queue entry or chunk + frames not yet acknowledged */
	struct pool *pool;
	unsigned char *memory; /* [chunk_bytes_max]                            */
	struct buffer *next;   /* while free                                   */
	/* our contribution of a chunk that goes to all: one of its refs is the chunk's */
	bool shared;
	uint64_t seq;
	uint32_t chunk;
	enum vec_type type;
};

struct pool {
	struct buffer *free;
	struct buffer *all; /* [plan.buffers] */
};

struct cursor {
	uint64_t seq;
	uint32_t chunk;
};

/* Another node of the group, seen from this lane. */
struct exchange_node {
	bool gone;
	bool wide;        /* slots_more are granted, too                                      */
	bool bad;         /* broke a rule: to be told once                   */
	bool bad_pending; /* ... and it was not yet told                     */
	uint64_t bad_seq; /* by a frame of this op                           */
	struct slot *contributions;                   /* [exchange_slots()] */
	struct slot *finals;                          /* [exchange_slots()] */
	uint32_t granted_contribution, granted_final; /* ever, to it; wrap around      */
	uint32_t announced_contribution, announced_final;
	bool announce_again; /* a connection that announced them is gone        */
	uint32_t credit_contribution, credit_final; /* ever, to us                   */
	uint32_t sent_contribution, sent_final;
	struct cursor contributed;
	uint64_t final_next; /* number in the queue of finals                          */
};

/* What a data frame says of its payload. */
struct exchange_message {
	uint32_t bytes;
	uint16_t codec, feedback;
	uint8_t payload_type; /* enum vec_type of plain elements; 0: a codec's */
	uint8_t flags;
	uint16_t culprit;
	double weight;
};

/* A final on its way out. */
struct final {
	bool cancelled;          /* its op ended                           */
	struct wire_frame frame; /* all but credits; its op may be gone    */
	uint32_t waiting;        /* nodes to which it is still to be handed */
	enum sched_whom whom;
	uint16_t to;
	struct buffer *buffer;
};

/* Ops that were decided to fail, whether anybody here has posted them or not. */
struct ended {
	uint64_t first, last; /* last: UINT64_MAX: the group is over */
	int error;
};

/* A rank's op that had been ended before it posted it: nothing is left but to say so. */
struct failed {
	uint64_t seq, work;
	int error;
};

/* More holes between ends than ops in flight: those here, and as many that others are ahead. */
enum { EXCHANGE_ENDS_MAX = 4 * EXCHANGE_OPS_MAX };
enum { EXCHANGE_TROUBLES_MAX = 2 * EXCHANGE_OPS_MAX };

struct exchange {
	struct exchange_plan plan;
	void *memory; /* one mapping for everything below    */
	size_t memory_bytes;
	struct op *ops;              /* [EXCHANGE_OPS_MAX], by seq % EXCHANGE_OPS_MAX */
	struct exchange_node *nodes; /* [plan.nodes]; our own is unused              */
	struct pool contribution_pool, final_pool;
	unsigned char *scratch; /* [chunk_bytes_max]: sum of the local ranks    */
	unsigned char *result;  /* [chunk_bytes_max]: a closed chunk of several ranks */
	/* coded ops: our own message or a final; what it stands for; and to compute in */
	unsigned char *message;   /* [chunk_bytes_max]       */
	float *values;            /* [chunk_bytes_max] bytes */
	unsigned char *work;      /* [coding_work_bytes()]   */
	struct vec_input *inputs; /* [nodes + EXCHANGE_LOCAL_MAX]                 */

	struct cursor closing;
	struct final *queue; /* [plan.buffers], number % plan.buffers */
	uint64_t queue_head, queue_tail;
	uint32_t finals_held; /* finals in slots that could not be passed on yet */

	uint64_t done_through;
	struct ended
		*ends; /* [EXCHANGE_ENDS_MAX], ascending; those that all have posted are gone */
	uint32_t ends_count;

	struct choices choices;
	uint64_t posted[EXCHANGE_LOCAL_MAX]; /* last seq of each local rank, passed ones, too */
	uint64_t posted_by_any;
	uint64_t posted_by_all; /* ranks that have not left; if all have, as posted_by_any */
	bool left[EXCHANGE_LOCAL_MAX];
	struct failed *failed; /* [local_ranks][EXCHANGE_OPS_MAX], number % EXCHANGE_OPS_MAX */
	uint64_t failed_head[EXCHANGE_LOCAL_MAX], failed_tail[EXCHANGE_LOCAL_MAX];
	uint64_t failing;      /* bit per local rank: has such                             */
	uint64_t finished;     /* bit per place: is over, completions are not all taken    */
	uint32_t frames_out;   /* handed out by exchange_next(), not released  */
	uint32_t arena_frames; /* of them, with memory of a trainer            */
	uint32_t mismatches_pending;
	struct exchange_mismatch mismatches[EXCHANGE_OPS_MAX]; /* of op seq % EXCHANGE_OPS_MAX */
	/* seq 0: none; others may be ahead of us by all ops that can be in flight */
	struct exchange_trouble troubles[EXCHANGE_TROUBLES_MAX]; /* of op seq % ..._MAX */
	uint32_t troubles_pending;
	uint32_t bad_pending; /* nodes of which a frame contradicted its op */
};

/* Of a node and class; not all need be granted. */
static inline uint32_t exchange_slots(const struct exchange_plan *plan)
{
	return plan->slots + plan->slots_more;
}

/* The op of that seq, NULL if it has none (over long ago, or not yet heard of). */
static inline struct op *exchange_op(const struct exchange *x, uint64_t seq)
{
	struct op *op = &x->ops[seq % EXCHANGE_OPS_MAX];

	return op->state != OP_FREE && op->seq == seq ? op : NULL;
}

static inline struct sched_role exchange_role(const struct exchange *x, const struct op *op,
					      uint32_t chunk)
{
	uint64_t key = op->call.key ? op->call.key : op->seq;

	return op->sched->role(x->plan.nodes, x->plan.node, owner_of(x->plan.owners, key, chunk));
}

/* How many nodes `whom` names. */
static inline uint32_t exchange_whom_count(const struct exchange *x, enum sched_whom whom)
{
	return whom == SCHED_ALL ? x->plan.nodes - 1u : whom == SCHED_ONE ? 1u : 0u;
}

/* exchange_op.c */
void exchange_op_check_over(struct exchange *x, struct op *op); /* all chunks done: DONE          */
void exchange_op_end(struct exchange *x, struct op *op, int error);
void exchange_op_retire(struct exchange *x, struct op *op); /* free its place if it may be    */
void exchange_note_trouble(struct exchange *x, const struct exchange_trouble *trouble);
void exchange_note_mismatch(struct exchange *x, struct op *op, const struct wire_frame *frame);
/* The op as its tensor sees it. */
struct tensor_op exchange_tensor_op(const struct op *op);

/* exchange_end.c */
const struct ended *exchange_ended(const struct exchange *x, uint64_t seq); /* NULL: it was not */
void exchange_note_end(struct exchange *x, uint64_t first, uint64_t last, int error);
/* The rank has posted or passed all up to seq, or has left: exchange_advance() may be due. */
void exchange_note_posted(struct exchange *x, uint32_t local_rank, uint64_t seq);
void exchange_advance(struct exchange *x); /* move done_through on           */
bool exchange_seq_over(const struct exchange *x, uint64_t seq);
/* Move a cursor behind ops that are over.  Return: the op it stands at, if that is running. */
struct op *exchange_op_at(const struct exchange *x, struct cursor *at);

/* exchange_in.c */
void exchange_note_bad(struct exchange *x, uint16_t node, uint64_t seq);
void exchange_slot_release(struct exchange *x, uint16_t node, struct slot *slot);
struct slot *exchange_slot_of(struct exchange *x, uint16_t node, uint64_t seq, uint32_t chunk);
void exchange_compare_early(struct exchange *x,
			    struct op *op);                   /* calls of those that came first  */
void exchange_count_early(struct exchange *x, struct op *op); /* contributions that came first   */
void exchange_drop_slots(struct exchange *x);                 /* of ops that are over         */
bool exchange_retry_finals(struct exchange *x);

/* exchange_sum.c */
/* The sum of the local ranks' chunk: memory of the trainer if there is one rank, else in `room`. */
struct vec_input exchange_own(struct exchange *x, struct op *op, uint32_t chunk,
			      unsigned char *room);
void exchange_write_result(struct exchange *x, struct op *op, uint32_t chunk, const void *final);
/* Where that rank wants the chunk. */
unsigned char *exchange_result(const struct op *op, uint32_t local_rank, uint32_t chunk);
/* The local ranks' chunk, summed in rank order as float32; the trainer's memory if that is all. */
const float *exchange_own_floats(struct exchange *x, struct op *op, uint32_t chunk);
/* Where the only local rank wants a chunk of float32; NULL: there are more, or it is no float32. */
float *exchange_out_floats(const struct exchange *x, const struct op *op, uint32_t chunk);
/* Close the lowest chunk that is not closed yet; or a certain one.  Return: false: not now. */
bool exchange_close_next(struct exchange *x);
bool exchange_close(struct exchange *x, struct op *op, uint32_t chunk);

/* exchange_code.c */
/* Does the payload fit the op's coding?  Its inside is judged when it is decoded. */
bool exchange_coded_fits(const struct exchange *x, const struct op *op,
			 const struct wire_frame *frame);
/* Our contribution, into `out`[chunk_bytes_max].  Changes nothing but the next state. */
struct exchange_message exchange_encode_own(struct exchange *x, struct op *op, uint32_t chunk,
					    unsigned char *out);
/* All contributions are here: the final, into x->message.  Return: false: one is no message. */
bool exchange_encode_final(struct exchange *x, struct op *op, uint32_t chunk,
			   struct exchange_message *out);
/* A final to the results.  Return: false: it is no message. */
bool exchange_decode_final(struct exchange *x, struct op *op, uint32_t chunk,
			   const struct exchange_message *message, const void *bytes);

/* exchange_out.c */
/* Room for one more final?  One that is made here leaves a buffer for those passed on. */
bool exchange_queue_room(const struct exchange *x, const struct sched_role *role);
bool exchange_queue_spare(const struct exchange *x); /* ... and for another */
void exchange_queue_retire(struct exchange *x);      /* forget what everybody was handed */
struct buffer *exchange_queue_final(struct exchange *x, struct op *op, uint32_t chunk,
				    const struct sched_role *role,
				    const struct exchange_message *message);
struct exchange_message exchange_plain(const struct op *op, uint32_t chunk, enum vec_type payload,
				       uint32_t contributors);
struct buffer *exchange_buffer_take(struct pool *pool); /* refs = 1, or NULL */
void exchange_buffer_drop(struct buffer *buffer);
/* Our contribution of a chunk that goes to all, or NULL: it is not made yet. */
struct buffer *exchange_shared_find(const struct exchange *x, uint64_t seq, uint32_t chunk);
void exchange_shared_drop(struct buffer *buffer);           /* the chunk is closed     */
void exchange_shared_end(struct exchange *x, uint64_t seq); /* the op has ended */

#endif
