/*
 * uring.h - what the stages of the io_uring transport share; private to uring*.c.
 *
 *   uring.c          open, close, attach, the ring itself, poll and wait
 *   uring_feature.c  what this kernel can do, and why it may not be used at all
 *   uring_send.c     a path's queue of frames -> SENDMSG, SENDMSG_ZC, SEND_ZC
 *   uring_receive.c  RECV, single or multishot -> headers and placed payloads
 *
 * All that happens is kept in the paths.  A completion changes its path and, if there
 * is something to tell, puts it on the list `ready`; uring_report() asks the paths on
 * it for events until the caller's array is full.  A path that wants a new operation
 * is put on the list `work`; poll() and wait() make submissions of that list, all in
 * one system call.  So completions never submit, and nothing is ever dropped.
 *
 * Lifetime: a path counts the completions that are still to come (`inflight`: every
 * operation, every zero-copy notification, every cancel).  A path that goes down stays
 * until that is zero; only then is DOWN reported and the path freed.  So the kernel
 * never holds memory of a path that is gone, and user_data can name the path by number.
 */
#ifndef DAEMON_TRANSPORT_URING_H
#define DAEMON_TRANSPORT_URING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <liburing.h>

#include "daemon/transport/transport.h"

enum {
	URING_SLOTS = TRANSPORT_PEERS_MAX * TRANSPORT_PATHS_MAX,
	URING_SQ_ENTRIES = 256,
	URING_CQ_ENTRIES = 4096,
	URING_FRAMES_MAX = 64,          /* queued on a path                                    */
	URING_GATHER_FRAMES = 16,       /* sent by one operation                               */
	URING_GATHER_BYTES = 1 << 20,   /* no more frames are added from here on              */
	URING_BATCHES = 64,             /* zero-copy operations of a path not yet notified     */
	URING_STAGING_BYTES = 16 << 10, /* of a path: headers and small payloads land here  */
	URING_STAGING_LESS_BYTES = 1 << 10, /* ... after a large payload */
	URING_DIRECT_BYTES = 4 << 10, /* rest of a payload from which on it is received in place */
	URING_SCRATCH_BYTES = 64 << 10, /* of the lane: payloads that nobody wants          */
	URING_BUFFERS = 128,            /* of the lane, for multishot receive; a power of two  */
	URING_BUFFER_BYTES = 32 << 10,
	URING_BUFFERS_PER_PATH = URING_BUFFERS / 4, /* held by one path before it is stopped */
	URING_REGIONS = 64, /* entries of the table of registered buffers          */
	URING_ZEROCOPY_BYTES_MIN = 32 << 10,
	URING_ZEROCOPY_TRIALS = 8, /* notifications after which AUTO judges               */
};

#define URING_REGION_BYTES ((size_t)1 << 30) /* the most that one registered buffer can be */

/* Newer than liburing 2.3; Linux 6.2. */
#define URING_SEND_ZC_REPORT_USAGE (1u << 3)
#define URING_NOTIF_USAGE_ZC_COPIED (1u << 31)

/* What a completion belongs to, in the low byte of user_data; the slot is above it. */
enum uring_op {
	URING_OP_NONE = 0,
	URING_OP_SEND,
	URING_OP_RECEIVE,
	URING_OP_CANCEL,
	URING_OP_WAKE,
};

/* A frame on its way out.  It leaves the queue when it is sent and nothing holds it. */
struct uring_out {
	struct wire_frame header;
	const void *payload;
	uint64_t cookie;
	uint32_t holds; /* batches that wait for their notification */
};

/* One zero-copy operation: it holds the frames first..first+count-1 (counted as in `tail`). */
struct uring_batch {
	uint32_t first;
	uint32_t count;
	bool used;
};

struct uring_tx {
	struct uring_out *ring; /* mask + 1 frames; indices below run on and are masked       */
	uint32_t mask;
	uint32_t head; /* first frame whose SENT was not reported                            */
	uint32_t sent; /* first frame that is not wholly with the kernel                     */
	uint32_t tail;
	uint32_t offset; /* bytes of frame `sent`, header included, that are                   */
	uint32_t busy;   /* operations whose result is to come: 0, 1, or 2 linked ones         */
	int error;       /* sending has failed; what has arrived is still delivered            */
	bool zerocopy;   /* large payloads go zero-copy on this path                           */
	bool copies;     /* AUTO found that the kernel copies on this path: zerocopy is off    */
	uint32_t notified, copied;
	uint32_t batches_used;
	struct msghdr message;
	struct iovec parts[2 * URING_GATHER_FRAMES];
	struct uring_batch batches[URING_BATCHES];
};

enum uring_rx_state {
	URING_RX_HEADER,   /* collecting a header                       */
	URING_RX_ANNOUNCE, /* HEADER to be reported                     */
	URING_RX_PLACE,    /* waiting for place()                       */
	URING_RX_PAYLOAD,  /* collecting the payload                    */
	URING_RX_FRAME,    /* FRAME to be reported                      */
};

/* How the operation that is armed receives. */
enum uring_rx_armed {
	URING_RX_IDLE,
	URING_RX_STAGING,
	URING_RX_DIRECT,
	URING_RX_MULTISHOT,
};

struct uring_rx {
	enum uring_rx_state state;
	enum uring_rx_armed armed;
	int error; /* the stream has ended; comes after what was received before */
	struct wire_frame frame;
	uint32_t have;             /* bytes of frame                                             */
	uint32_t left;             /* bytes of the payload to come                               */
	unsigned char *at;         /* where they go, NULL: nowhere                               */
	void *payload;             /* as placed                                                  */
	enum wire_verdict verdict; /* of the payload, where that goes with the FRAME           */
	unsigned char *staging;    /* URING_STAGING_BYTES; [from, to) is unread                  */
	uint32_t from, to;
	/* multishot: provided buffers that are unread, in order, linked by transport.chunk_next */
	uint16_t chunk_first, chunk_last, chunks;
	uint32_t chunk_from; /* in the first one                                           */
	bool starved;        /* there were no buffers left: receive into staging meanwhile */
	bool stopping;       /* its multishot was cancelled                                */
};

struct uring_path {
	uint16_t slot;
	int fd;
	uint32_t inflight;
	bool in_work, in_ready;
	bool failing;   /* DOWN is to come                                            */
	bool cancelled; /* the cancel of all operations was submitted                 */
	bool abort;     /* end with a reset: something was cut off                    */
	int error;
	enum wire_verdict verdict;
	struct uring_tx tx;
	struct uring_rx rx;
};

/* Slots in the order they were put; a path's flag keeps it from being put twice. */
struct uring_list {
	uint16_t slots[URING_SLOTS];
	uint32_t first;
	uint32_t count;
};

struct uring_region {
	unsigned char *base; /* NULL: unused */
	size_t bytes;
	void *owner; /* base of the remember() that it is part of */
};

struct uring_features {
	bool defer_taskrun;
	bool sqpoll;
	bool multishot;
	bool zerocopy;
	bool zerocopy_usage; /* notifications say whether the kernel copied */
	bool fixed_buffers;
	const char *why_not_multishot, *why_not_zerocopy, *why_not_fixed;
};

struct transport {
	struct io_uring ring;
	struct transport_options options;
	struct uring_features features;
	struct transport_stats stats;
	struct uring_list work;
	struct uring_list ready;
	uint32_t attached;
	bool wake_armed;
	bool woken;
	/* multishot: a ring of buffers given to the kernel, and where each received buffer ends */
	struct io_uring_buf_ring *buffer_ring; /* NULL: off */
	unsigned char *buffers;                /* URING_BUFFERS * URING_BUFFER_BYTES */
	uint32_t buffers_free;
	uint16_t chunk_next[URING_BUFFERS];
	uint32_t chunk_bytes[URING_BUFFERS];
	struct uring_region regions[URING_REGIONS];
	char text[384];
	unsigned char scratch[URING_SCRATCH_BYTES];
	struct uring_path *paths[URING_SLOTS];
};

/* --- uring.c --- */

/* A submission that is sure to be there, named (op, slot, detail). */
struct io_uring_sqe *uring_sqe(struct transport *t);
void uring_name(struct io_uring_sqe *sqe, enum uring_op op, uint16_t slot, uint32_t detail);

/* The path wants its *_start() functions to look at it; has something to tell. */
void uring_want_work(struct transport *t, struct uring_path *p);
void uring_want_report(struct transport *t, struct uring_path *p);

/* The path goes down; the first reason counts. */
void uring_fail(struct transport *t, struct uring_path *p, int error, enum wire_verdict verdict);

/* --- uring_feature.c --- */

/* Open the ring with the features wanted and there.  Return: 0 or negative errno and *err. */
int uring_feature_open(struct transport *t, struct err *err);
void uring_feature_close(struct transport *t);
const char *uring_feature_describe(struct transport *t);
void uring_feature_remember(struct transport *t, void *base, size_t bytes);
void uring_feature_forget(struct transport *t, void *base);
/* Index of the registered buffer that holds all of [at, at + bytes), or -1. */
int uring_feature_region(const struct transport *t, const void *at, size_t bytes);

/* --- uring_send.c --- */

uint32_t uring_send_room(const struct transport *t, const struct uring_path *p);
void uring_send_queue(struct transport *t, struct uring_path *p, const struct wire_frame *frame,
		      const void *payload, uint64_t cookie);
bool uring_send_unfinished(const struct uring_path *p); /* the kernel may still need our memory */
void uring_send_start(struct transport *t, struct uring_path *p);
void uring_send_done(struct transport *t, struct uring_path *p, const struct io_uring_cqe *cqe,
		     uint32_t batch);
bool uring_send_event(struct uring_path *p, struct transport_event *event);

/* --- uring_receive.c --- */

void uring_receive_start(struct transport *t, struct uring_path *p);
void uring_receive_done(struct transport *t, struct uring_path *p, const struct io_uring_cqe *cqe);
bool uring_receive_event(struct transport *t, struct uring_path *p, struct transport_event *event);
void uring_receive_place(struct transport *t, struct uring_path *p, void *dst);
void uring_receive_close(struct transport *t, struct uring_path *p); /* gives its buffers back */

#endif
