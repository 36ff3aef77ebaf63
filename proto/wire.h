/*
 * wire.h - the frames that two daemons exchange over TCP.
 *
 * Prose, pictures and version rules are in PROTOCOL.md; a change here without a
 * change there is wrong.
 *
 * Every frame is one fixed header of WIRE_HEADER_BYTES followed by payload_bytes
 * of payload.  Integers are little-endian, fields are naturally aligned and there
 * is no implicit padding, so the struct *is* the layout; the asserts below hold
 * us to it.  Nothing in a received header may be used before wire_check()
 * returned WIRE_OK for it, nothing in a payload before its own *_check().
 *
 * The same header serves every connection.  A *control* connection joins two main
 * threads and carries rendezvous, membership and heartbeats, one way only: each
 * side opens its own.  A *data* connection is one path of one lane and carries
 * chunks both ways.  The first frame each way on either is a HELLO.
 *
 * Version rule: a new meaning for an old bit bumps WIRE_VERSION; a new kind does
 * not (an unknown kind is refused).  Versions count from the first release: until
 * then all daemons of a cluster are of one build.  magic, version, kind and
 * header_crc keep their places in every version, so a daemon can always say what
 * it was sent.
 */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_MAGIC 0x31524143u /* "CAR1" when read as bytes */
#define WIRE_VERSION 1
#define WIRE_HEADER_BYTES 144

#define WIRE_NODES_MAX 256                  /* nodes in a group */
#define WIRE_RANKS_MAX 4096                 /* ranks in a group */
#define WIRE_LANES_MAX 16                   /* lanes of a daemon */
#define WIRE_PATHS_MAX 8                    /* paths of a lane to a peer */
#define WIRE_NAME_BYTES 64                  /* a name with its terminating zero */
#define WIRE_TEXT_BYTES 384                 /* a sentence with its terminating zero */
#define WIRE_COUNT_MAX (1ull << 46)         /* elements of a tensor */
#define WIRE_CHUNK_BYTES_MAX (4u << 20)     /* payload of a data frame */
#define WIRE_CHUNK_BYTES_LEAST (8u << 10)   /* of chunk_bytes_*, which are whole pages... */
#define WIRE_CHUNK_BYTES_STEP (4u << 10)    /* ...of this size */
#define WIRE_FLAT_BYTES_MAX (1u << 30)      /* of flat_bytes_max */
#define WIRE_MESSAGE_BYTES_MAX (128u << 10) /* payload of a control frame */

enum wire_kind {
	/* any connection */
	WIRE_HELLO = 1, /* payload: struct wire_hello; the first frame, both ways */
	/* data connections */
	WIRE_CONTRIBUTION = 2, /* a node's encoded chunk on its way to an owner */
	WIRE_FINAL = 3,        /* an owner's encoded sum on its way to everybody */
	WIRE_CREDIT = 4,       /* no payload: credits and acknowledgement only */
	WIRE_CALL = 5,         /* no payload: what was called, of an op that stands still */
	/* control connections */
	WIRE_JOIN = 16,    /* payload: struct wire_join; a rank registers with the root's daemon */
	WIRE_REFUSE = 17,  /* payload: struct wire_refuse; why a rank can't be in */
	WIRE_TABLE = 18,   /* payload: struct wire_table + nodes + ranks; the members */
	WIRE_READY = 19,   /* payload: struct wire_ready; this node can take frames of the group */
	WIRE_GO = 20,      /* payload: struct wire_ready; so can everybody */
	WIRE_LEAVE = 21,   /* payload: struct wire_leave; a rank left or died */
	WIRE_PROPOSE = 22, /* payload: struct wire_end; ask the group's lowest node to end ops */
	WIRE_END = 23,     /* payload: struct wire_end; its decision */
	WIRE_BEAT = 24,    /* payload: struct wire_beat; heartbeat, not numbered */
	WIRE_ACK = 25,     /* no payload; acknowledges control frames, not numbered */
	WIRE_BYE = 26,     /* no payload; this daemon ends on purpose */
	WIRE_CHOOSE = 27,  /* payload: struct wire_choose; ask the lowest node for a lease */
	WIRE_LEASE = 28,   /* payload: struct wire_lease + choices; its decision */
};

/* enum wire_flag, a bit set in wire_frame.flags */
/*
 * An input had a NaN or an infinity: the payload is plain float32, with NaN in those places, and
 * the op changes no state of error feedback.
 */
#define WIRE_FLAG_NONFINITE 0x01u
#define WIRE_FLAG_LAST 0x02u /* last chunk of its op on its lane; reserved: not read yet */
/*
 * CONTRIBUTION: the payload was sent from a trainer's memory, which it may write into at any
 * time: a payload that does not match its CRC says nothing about the link.
 */
#define WIRE_FLAG_ARENA 0x04u
/* data: the codec was the group's choice (auto); says nothing of the payload. */
#define WIRE_FLAG_AUTO 0x08u
#define WIRE_FLAGS_KNOWN 0x0fu

/*
 * Fields that a kind does not use are zero, and refused if they are not.
 * "data" below means CONTRIBUTION and FINAL.
 */
struct wire_frame {
	uint32_t magic;   /* WIRE_MAGIC */
	uint16_t version; /* WIRE_VERSION */
	uint16_t kind;    /* enum wire_kind */

	uint64_t group;        /* data, CREDIT: id of the group */
	uint64_t seq;          /* data: the op, counted from 1 */
	uint64_t key;          /* data: hash of the tensor key, 0 without one */
	uint64_t count;        /* data: elements of the whole tensor */
	uint64_t done_through; /* data, CREDIT: all ops up to it are complete at the sender */
	uint64_t weight;       /* data: total weight of the contributors, bits of an f64 */

	uint32_t epoch;        /* data, CREDIT: membership version of the group */
	uint32_t chunk;        /* data: 0-based, over the whole tensor */
	uint32_t contributors; /* data: ranks whose data is in the payload */
	uint32_t divisor;      /* FINAL: what the sum was divided by, 1 if it was not */
	uint32_t call_digest;  /* data: wire_call_digest() of the sender's call */

	uint32_t path_seq; /* number of this frame on its stream, from 1; 0: not counted */
	uint32_t path_ack; /* all frames up to this number of the other way have arrived */

	uint32_t credit_contribution; /* data, CREDIT: contributions ever allowed to the */
	uint32_t credit_final;        /* receiver of this frame in this group; finals alike */

	uint32_t credit_post_us; /* fault-detection stamps: credit seen to posted */
	uint32_t avail_post_us;  /* payload ready to posted */
	uint32_t turn_us;        /* receiver's turnaround: consumed to credit granted */

	uint16_t node;     /* data, CREDIT: the sender's index in the group */
	uint16_t lane;     /* data, CREDIT: the lane that sent it */
	uint16_t path;     /* data, CREDIT: the path it was sent on */
	uint16_t codec;    /* data: id of the codec of the payload; 0: plain elements; CALL: up */
	uint16_t feedback; /* data, CALL: id of the error feedback; 0: none */
	uint16_t schedule; /* data: id of the schedule */
	uint8_t op;        /* data: enum wire_op */
	uint8_t type;      /* data: element type of the tensor */
	uint8_t reduce;    /* data: reduction */
	uint8_t payload_type; /* data: element type of a plain payload */

	uint8_t flags;      /* WIRE_FLAG_* */
	uint8_t reserved0;  /* zero */
	uint16_t culprit;   /* data, NONFINITE: 1 + rank whose input it was; 0: nobody's, the sum */
	uint32_t reserved1; /* zero */

	uint32_t payload_bytes;   /* bytes that follow this header */
	uint32_t payload_crc;     /* CRC-32C of those bytes, 0 if not computed */
	uint32_t payload_has_crc; /* 1: payload_crc counts; 0 */
	uint32_t header_crc;      /* CRC-32C of the bytes before this field */
};

static_assert(sizeof(struct wire_frame) == WIRE_HEADER_BYTES, "header size is fixed");
static_assert(offsetof(struct wire_frame, group) == 8, "aligned");
static_assert(offsetof(struct wire_frame, epoch) == 56, "no padding");
static_assert(offsetof(struct wire_frame, node) == 104, "no padding");
static_assert(offsetof(struct wire_frame, flags) == 120, "no padding");
static_assert(offsetof(struct wire_frame, payload_bytes) == 128, "no padding");
#ifdef __BYTE_ORDER__
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "port me: add swaps");
#endif

/* What kind of collective a data frame belongs to. */
enum wire_op {
	WIRE_OP_ALLREDUCE = 1,
};

/* How the sender of a HELLO can move data; nothing of it: over TCP. */
enum {
	WIRE_OFFER_VERBS = 1,  /* by RDMA too; both must offer it, for their ends to speak of it */
	WIRE_OFFER_NO_TCP = 2, /* with VERBS: by RDMA alone                                    */
	WIRE_OFFER_AUTO = 4,   /* for sentences: its configuration leaves it open              */
};

/* What a connection is for; in the HELLO. */
enum wire_purpose {
	WIRE_CONTROL = 1,
	WIRE_DATA = 2,
};

/*
 * The first frame on a connection, from both sides.  `received` makes reconnecting
 * exact: it is the path_seq of the last frame that the sender of this HELLO has
 * received on the stream that this connection continues, so the other side
 * forgets what came through and sends the rest again.
 */
struct wire_hello {
	uint64_t instance;          /* random, made at each start of a daemon: its identity */
	uint64_t peer_instance;     /* whom the sender believes to talk to; 0: does not know */
	uint16_t purpose;           /* enum wire_purpose */
	uint16_t lane;              /* data: which lane */
	uint16_t path;              /* data: which path */
	uint16_t port;              /* where the sender listens */
	uint32_t received;          /* frames received on this stream before */
	uint32_t offers;            /* data: WIRE_OFFER_* */
	char address[48];           /* where the sender listens, numeric, zero-terminated */
	char host[WIRE_NAME_BYTES]; /* its host name, for sentences */
};
static_assert(sizeof(struct wire_hello) == 32 + 48 + WIRE_NAME_BYTES, "no padding");

/* A rank asks to be in a group. */
struct wire_join {
	char name[WIRE_NAME_BYTES]; /* identity of the group: name, run and uid */
	char run[WIRE_NAME_BYTES];
	uint32_t uid;
	uint32_t rank;
	uint32_t ranks;
	uint32_t pid;               /* of the trainer, for sentences */
	uint32_t lanes;             /* that the node offers */
	uint32_t timeout_ms;        /* how long the rank is willing to wait */
	uint32_t chunk_bytes_max;   /* largest payload that the node offers */
	uint32_t flat_bytes_max;    /* up to which the node would choose the schedule flat */
	uint16_t schedule;          /* forced schedule of the caller, 0: automatic */
	uint16_t paths;             /* of a lane to a peer, that the node offers */
	uint32_t chunk_bytes_usual; /* up to which chunks without a codec grow */
};
static_assert(sizeof(struct wire_join) == 2 * WIRE_NAME_BYTES + 40, "no padding");

struct wire_refuse {
	char name[WIRE_NAME_BYTES];
	char run[WIRE_NAME_BYTES];
	uint32_t uid;
	uint32_t rank; /* whose claim is refused */
	int32_t error; /* negative errno */
	uint32_t reserved;
	char text[WIRE_TEXT_BYTES]; /* the sentence */
};
static_assert(sizeof(struct wire_refuse) == 2 * WIRE_NAME_BYTES + 16 + WIRE_TEXT_BYTES,
	      "no padding");

struct wire_node {
	uint64_t instance;
	uint16_t port;
	uint16_t reserved0;
	uint32_t reserved1;
	char address[48];
	char host[WIRE_NAME_BYTES];
};
static_assert(sizeof(struct wire_node) == 16 + 48 + WIRE_NAME_BYTES, "no padding");

/*
 * The members of a group, from the root's daemon to all.  Behind it come `nodes` times
 * struct wire_node, then `ranks` times uint16_t: the node of each rank.
 */
struct wire_table {
	uint64_t group; /* its id from now on */
	char name[WIRE_NAME_BYTES];
	char run[WIRE_NAME_BYTES];
	uint32_t uid;
	uint32_t epoch;
	uint32_t nodes;
	uint32_t ranks;
	uint32_t lanes;             /* agreed: the least that a node offers */
	uint32_t chunk_bytes_max;   /* agreed alike */
	uint32_t flat_bytes_max;    /* agreed alike */
	uint16_t schedule;          /* forced, 0: automatic */
	uint16_t paths;             /* agreed: the least that a node offers */
	uint32_t chunk_bytes_usual; /* agreed alike */
	uint32_t reserved;
};
static_assert(sizeof(struct wire_table) == 8 + 2 * WIRE_NAME_BYTES + 40, "no padding");

struct wire_ready {
	uint64_t group;
	uint32_t epoch;
	uint32_t node; /* READY: the sender's index; GO: 0 */
};
static_assert(sizeof(struct wire_ready) == 16, "no padding");

struct wire_leave {
	uint64_t group;
	uint64_t posted_through; /* the last op that the rank posted: it is still in those */
	uint32_t epoch;
	uint32_t rank;
	int32_t error; /* 0: it destroyed the group; else negative errno: it died */
	uint32_t reserved;
	char text[WIRE_TEXT_BYTES];
};
static_assert(sizeof(struct wire_leave) == 32 + WIRE_TEXT_BYTES, "no padding");

/* The end of the ops first_seq..last_seq of a group: a proposal, or the decision. */
struct wire_end {
	uint64_t group;
	uint64_t first_seq;
	uint64_t last_seq; /* UINT64_MAX: the group is over */
	uint32_t epoch;
	int32_t error; /* negative errno that the ops return */
	char text[WIRE_TEXT_BYTES];
};
static_assert(sizeof(struct wire_end) == 32 + WIRE_TEXT_BYTES, "no padding");

/* Tensors whose codec is chosen as it goes (daemon/choice.h): a node has no lease for op seq. */
struct wire_choose {
	uint64_t group;
	uint64_t seq;
	uint32_t epoch;
	uint32_t reserved; /* zero */
};
static_assert(sizeof(struct wire_choose) == 24, "no padding");

#define WIRE_CODEC_AUTO UINT16_MAX /* in CALL: none of its own */
#define WIRE_ALTERNATIVES_MAX 5
#define WIRE_CHOICES_MAX 6 /* of a lease */

/* By which of its alternatives a list of them goes, for tensors of one class of sizes. */
struct wire_choice {
	uint32_t list;                        /* digest of the alternatives */
	uint8_t size_class;                   /* floor(log2(bytes)) */
	uint8_t alternative;                  /* < alternatives */
	uint8_t alternatives;                 /* 1 to WIRE_ALTERNATIVES_MAX */
	uint8_t settled;                      /* 1: until something changes; 0: it is tried */
	uint32_t cost[WIRE_ALTERNATIVES_MAX]; /* ns for a MiB, as measured; 0: not yet */
};
static_assert(sizeof(struct wire_choice) == 8 + 4 * WIRE_ALTERNATIVES_MAX, "no padding");

/* Ops from..through go by these changes; behind it come `count` times struct wire_choice. */
struct wire_lease {
	uint64_t group;
	uint64_t from; /* one after the last lease's through; 1 */
	uint64_t through;
	uint32_t epoch;
	uint32_t count; /* at most WIRE_CHOICES_MAX */
};
static_assert(sizeof(struct wire_lease) == 32, "no padding");

struct wire_beat {
	uint64_t instance;
	uint64_t sent_ns;                  /* sender's clock, returned in echo_ns */
	uint64_t echo_ns;                  /* the last sent_ns heard from the receiver */
	uint64_t progress[WIRE_LANES_MAX]; /* rounds of each lane's loop */
};
static_assert(sizeof(struct wire_beat) == 24 + 8 * WIRE_LANES_MAX, "no padding");

/* Why a frame was refused.  The order is the order of the checks. */
enum wire_verdict {
	WIRE_OK = 0,
	WIRE_BAD_MAGIC,
	WIRE_BAD_VERSION,
	WIRE_BAD_CRC,
	WIRE_BAD_KIND,
	WIRE_BAD_FIELD,   /* a value out of its range */
	WIRE_NOT_ZERO,    /* a field that the kind does not use is not zero */
	WIRE_BAD_LENGTH,  /* payload too long or too short for the kind */
	WIRE_BAD_PAYLOAD, /* payload CRC, or what a payload check refused */
};

/* A few words for the log, such as "bad magic". */
const char *wire_verdict_name(enum wire_verdict verdict);
const char *wire_kind_name(uint16_t kind);

/*
 * wire_check() - may this header be trusted?
 * @frame: header as it came from the network, all bytes hostile, aligned to 8
 *
 * Checks magic, version, CRC, kind, ranges, unused fields, and payload_bytes
 * against the kind's own bounds.  Return: WIRE_OK or the first rule it broke.
 */
enum wire_verdict wire_check(const struct wire_frame *frame);

/*
 * Arithmetic of path_seq, which wraps: after UINT32_MAX comes 1, for 0 is never a number.
 * wire_path_seq_after(): was a sent after b?  Right while fewer than 2^31 frames lie between.
 */
static inline uint32_t wire_path_seq_next(uint32_t seq)
{
	return seq == UINT32_MAX ? 1 : seq + 1;
}

static inline bool wire_path_seq_after(uint32_t a, uint32_t b)
{
	return a != b && a - b < 1u << 31;
}

/* wire_check_payload() - does the payload match its CRC, if it has one? */
enum wire_verdict wire_check_payload(const struct wire_frame *frame, const void *payload);

/*
 * wire_seal() - fill in magic, version and header_crc, the last thing before sending.
 * @payload: the payload_bytes of payload to compute payload_crc over; NULL leaves
 * payload_crc and payload_has_crc as they are, so that a header that is sent again with
 * a new path_ack keeps the checksum of its payload
 */
void wire_seal(struct wire_frame *frame, const void *payload);

/*
 * Checks of payloads.  @bytes: how long the payload is (frame.payload_bytes); the
 * payload is aligned to 8.  Names are zero-terminated, counts are in range, unused
 * fields are zero, and in a table every rank's node exists and every node has a rank,
 * nodes are in the order of their lowest rank, instances differ.
 */
enum wire_verdict wire_hello_check(const struct wire_hello *hello, size_t bytes);
/* Can two that offer this move data between them? */
bool wire_offers_fit(uint32_t one, uint32_t other);
/* What a configuration must be that offers this: "RDMA alone (transport = verbs)". */
const char *wire_offers_text(uint32_t offers);
enum wire_verdict wire_join_check(const struct wire_join *join, size_t bytes);
enum wire_verdict wire_refuse_check(const struct wire_refuse *refuse, size_t bytes);
enum wire_verdict wire_table_check(const struct wire_table *table, size_t bytes);
enum wire_verdict wire_ready_check(const struct wire_ready *ready, size_t bytes);
enum wire_verdict wire_leave_check(const struct wire_leave *leave, size_t bytes);
enum wire_verdict wire_end_check(const struct wire_end *end, size_t bytes);
enum wire_verdict wire_beat_check(const struct wire_beat *beat, size_t bytes);
enum wire_verdict wire_choose_check(const struct wire_choose *choose, size_t bytes);
enum wire_verdict wire_lease_check(const struct wire_lease *lease, size_t bytes);

/* What is behind a lease that passed its check, and its whole size. */
const struct wire_choice *wire_lease_choices(const struct wire_lease *lease);
size_t wire_lease_bytes(uint32_t choices);

/* The two arrays behind a table that passed its check, and its whole size. */
const struct wire_node *wire_table_nodes(const struct wire_table *table);
const uint16_t *wire_table_ranks(const struct wire_table *table);
size_t wire_table_bytes(uint32_t nodes, uint32_t ranks);

/*
 * wire_call_digest() - CRC-32C over what all ranks must have called alike; never 0.
 * @coding: such a number of codec, feedback and all their options; 0: none
 */
uint32_t wire_call_digest(uint8_t op, uint8_t type, uint8_t reduce, uint64_t count, uint64_t key,
			  uint32_t coding, uint16_t schedule);

#endif
