/*
 * shm.h - the memory that a trainer and its daemon share.
 *
 * One memfd per trainer, made and sealed (SHRINK, GROW, SEAL) by the daemon and
 * passed over the Unix socket:
 *
 *   0            struct shm_header                       written by the daemon
 *   rings_offset lane 0: struct shm_ring, submissions,   written by the trainer
 *                        struct shm_ring, completions    written by the daemon
 *                lane 1: ...
 *   arena_offset arena_bytes of tensor data              written by both
 *
 * Everything in it is hostile to the daemon: it keeps its own copy of the layout
 * and of its own ring positions, reads each entry once and checks it there.
 * The layout is a function of (lanes, arena_bytes), see shm_layout().
 *
 * Rings are single-producer single-consumer: positions count up for ever, an
 * entry's place is position % SHM_RING_ENTRIES.  The producer writes the entry,
 * then releases `tail`; the consumer acquires `tail`, reads, then releases `head`.
 *
 * Sleeping: the consumer of a ring sets `sleeps` of its side to 1, issues a full fence,
 * looks at every ring it consumes once more, and only then sleeps on its descriptor.  The
 * producer, after releasing `tail`, issues a full fence and, if `sleeps` is set, exchanges it
 * with 0 and, if it was 1, writes to the descriptor.  A side that does not sleep costs its peer no
 * system call.  The daemon sleeps per lane and hears the trainer's eventfd for that lane, its
 * doorbell; the trainer sleeps as a whole, on its end of a datagram socket pair.
 * Nothing a trainer does to its descriptors makes a lane wait or keeps others from waking it.  The
 * daemon watches the doorbell (epoll, edge-triggered) and never reads or writes it: full, read
 * empty, blocking or closed, it is the trainer's own loss.  Its end of the socket pair is the
 * daemon's alone, and a full socket means that a wake-up is pending.
 */
#ifndef PROTO_SHM_H
#define PROTO_SHM_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHM_MAGIC 0x4d485343u /* "CSHM" */
#define SHM_VERSION 2
#define SHM_RING_ENTRIES 1024u /* of each ring; a power of two */
#define SHM_GROUPS_MAX 64u     /* groups of one trainer */
#define SHM_OPS_MAX 64u        /* ops of one group in flight; SHM_RING_ENTRIES bounds their sum */
#define SHM_LANES_MAX 16u
#define SHM_TEXT_BYTES 512u
#define SHM_ARENA_BYTES_MIN (1u << 20)
#define SHM_ARENA_ALIGN 4096u

/* Why ops of a group failed, in words; the daemon writes it before any completion that fails. */
struct shm_why {
	_Atomic uint64_t version; /* odd while the daemon is writing */
	char text[SHM_TEXT_BYTES - 8];
};
static_assert(sizeof(struct shm_why) == SHM_TEXT_BYTES, "no padding");

struct shm_header {
	uint32_t magic;   /* SHM_MAGIC, written last */
	uint16_t version; /* SHM_VERSION */
	uint16_t lanes;
	uint64_t total_bytes; /* of the memfd */
	uint64_t rings_offset;
	uint64_t arena_offset;
	uint64_t arena_bytes;
	_Alignas(64) _Atomic uint32_t trainer_sleeps; /* set by the trainer before it sleeps */
	uint8_t pad[60];
	struct shm_why why[SHM_GROUPS_MAX]; /* by group handle */
};
static_assert(sizeof(struct shm_header) == 128 + SHM_GROUPS_MAX * SHM_TEXT_BYTES, "no padding");

struct shm_ring {
	_Alignas(64) _Atomic uint64_t tail;   /* written by the producer */
	_Alignas(64) _Atomic uint64_t head;   /* written by the consumer */
	_Alignas(64) _Atomic uint32_t sleeps; /* submissions: the lane sleeps */
	uint8_t pad[60];
};
static_assert(sizeof(struct shm_ring) == 192, "three cache lines");

enum shm_kind {
	SHM_ALLREDUCE = 1,
	SHM_ABORT = 2, /* end every op of the group on every rank; lane 0 only; no completion */
};

#define SHM_DISCARD 0x01u /* with coding: take back what the last op left as state of the key */

/* All chunks of a tensor of at most so many bytes are lane 0's: waking up others takes longer. */
#define SHM_ALONE_BYTES (64u << 10)

/*
 * The trainer posts the same submission to every lane; each lane that takes part in the op,
 * shm_op_lanes(), answers with one completion.  The others take note of its seq when they next
 * look; as long as no more than SHM_UNSEEN entries wait in the ring, they need not be woken up.
 */
#define SHM_UNSEEN (SHM_RING_ENTRIES / 4)

struct shm_submission {
	uint64_t work;       /* the trainer's own name for it, returned */
	uint64_t seq;        /* 1, 2, 3... in each group */
	uint64_t key;        /* hash of the tensor key, 0 without one */
	uint64_t count;      /* elements */
	uint64_t in_offset;  /* of the input, from the start of the arena */
	uint64_t out_offset; /* of the result; may be in_offset; otherwise disjoint */
	uint8_t group;       /* handle from group create, < SHM_GROUPS_MAX */
	uint8_t schedule;    /* 0: by the group's rule; else id of a schedule */
	uint16_t coding;     /* 0: dense; else 1 + number from CTL_TENSOR */
	uint8_t kind;        /* enum shm_kind */
	uint8_t type;        /* enum shm_type */
	uint8_t reduce;      /* enum shm_reduce */
	uint8_t flags;       /* SHM_DISCARD or zero */
	float weight;        /* with coding, else 0: of the rank, finite and positive, usually 1 */
	float scale;         /* with coding, else 0: unit of the input, new / old, usually 1 */
};
static_assert(sizeof(struct shm_submission) == 64, "one cache line");

#define SHM_NONFINITE 0x01u /* an input had a NaN or an infinity; no state was changed */

struct shm_completion {
	uint64_t work;
	uint64_t seq;
	int32_t status; /* 0, or negative errno: shm_header.why[group] says why */
	uint32_t group;
	uint64_t wire_bytes; /* payload that this lane of the node sent for the op */
	uint32_t flags;      /* SHM_NONFINITE or zero */
	uint32_t culprit;    /* with it: 1 + rank whose input it was; 0: nobody's, the sum */
	uint64_t reserved[3];
};
static_assert(sizeof(struct shm_completion) == 64, "one cache line");

/* Numbers of carry.h and compress/vector.h alike; asserted where they meet. */
enum shm_type { SHM_F32 = 1, SHM_F64, SHM_F16, SHM_BF16, SHM_I8, SHM_U8, SHM_I32, SHM_I64 };
enum shm_reduce { SHM_SUM = 1, SHM_AVG, SHM_MIN, SHM_MAX, SHM_PROD };

/* Where everything is in the memfd. */
struct shm_layout {
	uint32_t lanes;
	uint64_t rings_offset;
	uint64_t arena_offset;
	uint64_t arena_bytes;
	uint64_t total_bytes;
};

/*
 * shm_layout() - the layout for `lanes` lanes and an arena of arena_bytes.
 * lanes 1..SHM_LANES_MAX; arena_bytes SHM_ARENA_BYTES_MIN..2^46, multiple of SHM_ARENA_ALIGN.
 * Return: 0, or -EINVAL.
 */
int shm_layout(struct shm_layout *out, uint32_t lanes, uint64_t arena_bytes);

/* The parts of a mapping at `base`. */
struct shm_ring *shm_submit_ring(void *base, const struct shm_layout *l, uint32_t lane);
struct shm_submission *shm_submissions(void *base, const struct shm_layout *l, uint32_t lane);
struct shm_ring *shm_complete_ring(void *base, const struct shm_layout *l, uint32_t lane);
struct shm_completion *shm_completions(void *base, const struct shm_layout *l, uint32_t lane);

/* shm_header_check() - the trainer's look at what the daemon made.  Return: 0 or -EPROTO. */
int shm_header_check(const struct shm_header *h, uint64_t mapped_bytes, struct shm_layout *out);

/* What rule of the rings a trainer broke. */
enum shm_verdict {
	SHM_OK = 0,
	/* of a submission alone, in the order of the checks */
	SHM_BAD_KIND,
	SHM_BAD_TYPE,
	SHM_BAD_REDUCE,
	SHM_NOT_ZERO, /* an unused field */
	SHM_BAD_FACTOR,
	SHM_BAD_GROUP,
	SHM_BAD_SEQ,
	SHM_BAD_RANGE, /* input or result not within the arena */
	SHM_OVERLAP,   /* input and result overlap without being the same */
	/* of what the lane knows beside it */
	SHM_NO_GROUP, /* the trainer has no group with this handle */
	SHM_BAD_SCHEDULE,
	SHM_BAD_CODING, /* unknown, or not for this tensor, type, reduction or schedule */
	SHM_BAD_ORDER,  /* seq is not the next of its group */
	SHM_TOO_MANY,   /* more than SHM_OPS_MAX ops of the group in flight */
	SHM_BAD_RING,   /* a position that cannot be */
	SHM_RING_FULL,  /* it does not take its completions */
};
const char *shm_verdict_name(enum shm_verdict verdict);

/* shm_submission_check() - @s: the daemon's own copy of an entry.  Pure. */
enum shm_verdict shm_submission_check(const struct shm_submission *s, uint64_t arena_bytes);

/*
 * shm_op_lanes() - of the `lanes` of a group, how many take part in an op: 0 to .. - 1.
 * @bytes: of the tensor
 */
static inline uint32_t shm_op_lanes(uint64_t bytes, uint32_t lanes)
{
	return bytes <= SHM_ALONE_BYTES ? 1 : lanes;
}

/* shm_type_bytes() - bytes of an element; 0 for an unknown type. */
size_t shm_type_bytes(uint8_t type);

/*
 * One side's hold on a ring.  `position` is this side's own count, never read back
 * from shared memory.
 */
struct shm_port {
	struct shm_ring *ring;
	uint64_t position;
};

/*
 * shm_produce_room() - may an entry be written at position % SHM_RING_ENTRIES?
 * Return: 1, 0 if the ring is full, -EPROTO if the other side's position is impossible.
 */
int shm_produce_room(const struct shm_port *p);
/* shm_produce_unseen() - entries that the other side has not taken; anything if it is hostile. */
uint64_t shm_produce_unseen(const struct shm_port *p);
void shm_produce(struct shm_port *p); /* publish the entry at position, advance */

/*
 * shm_consume_ready() - is there an entry at position % SHM_RING_ENTRIES?
 * Return: 1, 0 if not, -EPROTO if the other side's position is impossible.
 */
int shm_consume_ready(const struct shm_port *p);
void shm_consume(struct shm_port *p); /* give the entry back, advance */

/* The sleeping protocol above, on `sleeps` of a ring or trainer_sleeps of the header. */
void shm_sleep_prepare(_Atomic uint32_t *sleeps); /* set and fence: now look again */
void shm_sleep_cancel(_Atomic uint32_t *sleeps);
bool shm_wake_needed(_Atomic uint32_t *sleeps); /* fence, take the flag: true = wake it up */

/* shm_doorbell_ring() - wake a lane: one system call.  Nobody reads it, and 2^64 are enough. */
void shm_doorbell_ring(int fd);

#endif
