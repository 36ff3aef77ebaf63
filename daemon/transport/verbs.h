/*
 * verbs.h - what the parts of the verbs transport share; private to verbs*.c.
 *
 *   verbs.c          open, close, attach, poll, wait: which path is whose
 *   verbs_ports.c    the ports that there are, and which of them the lane takes
 *   verbs_udp.c      UDP source ports of RoCE v2
 *   verbs_device.c   the device: opened, queues, registered memory
 *   verbs_meet.c     two ends agree over their socket on a queue pair, or on TCP
 *   verbs_words.c    what they say there, and what of it is refused
 *   verbs_send.c     a path's queue of frames -> RDMA WRITE WITH IMMEDIATE
 *   verbs_receive.c  what was written -> headers and placed payloads
 *   verbs_cq.c       the completion queue: taking, giving receives back, arming
 *   verbs_event.c    what the device says of itself, and what that does to paths
 *   verbs_status.c   statuses and events of the device, in words
 *
 * A path is a socket and a reliable queue pair.  Over the socket both ends meet: they tell each
 * other number, address and the key of a *ring*, memory that the receiver owns and the other may
 * write.  If no queue pair can be made the socket goes to the uring transport inside (`tcp`),
 * where that is allowed.  Later the socket only tells that the other end is gone.
 *
 * Frames that are queued together are one write: headers and payloads, gathered from where they
 * lie, to the next place in the peer's ring; its immediate says where.  In it each frame begins at
 * a multiple of 64 bytes.  The receiver copies a payload to the place that it is given, or has it
 * read where it is, and then counts the frame as *consumed*; the count goes back in the immediates,
 * and makes room.  So nothing is written where it was not granted, and the ring's key dies with the
 * queue pair, before its memory is used for anything else.
 *
 *   immediate:  31      30 ............ 12      11 ...... 0
 *               bare    place / 64 bytes        frames consumed, modulo 4096
 *   bare: there is no frame, only the count (or it is the probe of the meeting)
 *
 * A payload is no longer needed when the peer has consumed the frame or the write has completed,
 * whichever is heard of first.  Of SIGNAL_EVERY frames one write asks for a completion; where
 * neither comes for FLUSH_NS, an empty write asks.
 */
#ifndef DAEMON_TRANSPORT_VERBS_H
#define DAEMON_TRANSPORT_VERBS_H

#include <stdbool.h>
#include <stdint.h>

#include <infiniband/verbs.h>

#include "daemon/transport/transport.h"
#include "daemon/transport/verbs_udp.h"
#include "daemon/transport/verbs_words.h"

enum {
	VERBS_SLOTS = TRANSPORT_PEERS_MAX * TRANSPORT_PATHS_MAX,
	VERBS_FRAMES_MAX = 64, /* queued on a path                                         */
	VERBS_WINDOW = 128,    /* frames of a path that are written and not consumed       */
	VERBS_RING_FRAMES = 4, /* frames of the largest size that a ring holds             */
	VERBS_SIGNAL_EVERY = 16,
	VERBS_SEND_DEPTH = 256,   /* work requests of a path that have not completed          */
	VERBS_RECEIVES = 4096,    /* of the lane: work requests in its shared receive queue   */
	VERBS_REPOST = 64,        /* receives that are given back at once                     */
	VERBS_COMPLETIONS = 32,   /* taken at once                                            */
	VERBS_CQ_ENTRIES = 65536, /* for 240 paths */
	VERBS_INLINE_BYTES = 220,
	VERBS_REGIONS = 1024,         /* remembered pieces of memory                              */
	VERBS_EXTENT_BYTES = 4 << 20, /* registered at once                                 */
	VERBS_SGES = 16,              /* pieces of a write                                        */
	VERBS_SGES_LEAST = 4, /* header, and a payload over at most three extents             */
	/* Frames that are queued are one write up to here: long enough for what it costs not to
	 * matter, short enough that the peer, who sees all of it at its end, need not wait. */
	VERBS_WRITE_BYTES = 272 << 10,
	VERBS_QPN_BITS = 12,
	/* Of memory that may be registered: with less there is no use in beginning. */
	VERBS_MEMLOCK_LEAST = 32 << 20,
};

static_assert(VERBS_EXTENT_BYTES >= (int)WIRE_CHUNK_BYTES_MAX, "VERBS_SGES suffice");

#define VERBS_IMM_BARE (1u << 31)
#define VERBS_IMM_COUNT 0xfffu
#define VERBS_IMM_PLACE_SHIFT 12

/* --- the device ----------------------------------------------------------------------------- */

/* Memory that is often sent from; its extents are registered when they are first needed. */
struct verbs_region {
	unsigned char *base; /* NULL: unused */
	size_t bytes;
	struct ibv_mr **extents; /* [bytes / VERBS_EXTENT_BYTES, rounded up] */
};

struct verbs_device {
	struct ibv_context *context; /* NULL: there is none, `why_not` says why */
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	struct ibv_srq *srq;
	char name[IBV_SYSFS_NAME_MAX];
	uint8_t port;
	bool active;           /* the port */
	bool fatal;            /* it is gone or never was there, until it can be opened */
	bool broken;           /* its queues have failed, until they are made anew */
	uint32_t qps, qps_max; /* queue pairs: so many never overrun the completion queue */
	/* Memory could not be registered once: no more queue pairs are made.  Negative errno. */
	int no_memory;
	uint64_t memlock_bytes; /* may be registered; UINT64_MAX: all */
	bool ethernet;          /* RoCE */
	bool version2;          /* the GID's type is RoCE v2 */
	uint16_t lid;
	enum ibv_mtu mtu;
	int gid_index;
	union ibv_gid gid;
	struct verbs_udp udp;
	uint32_t sges;             /* pieces of a write, VERBS_SGES_LEAST..VERBS_SGES */
	uint32_t receives_missing; /* in the shared queue */
	uint32_t unacknowledged;   /* events of the channel */
	bool armed;                /* a completion will be one, or was */
	bool fired;                /* it was: one waits in the channel */
	uint64_t renew_ns;         /* fatal, broken: between two attempts, 0: there was none */
	uint64_t renew_at_ns;      /* fatal, broken: when it is tried again */
	struct verbs_region regions[VERBS_REGIONS];
	uint32_t regions_end;
	char why_not[200];
};

/* --- a path --------------------------------------------------------------------------------- */

/* Why a path is one over TCP, that is, when it should be made anew. */
enum verbs_tcp {
	VERBS_TCP_STAYS = 0, /* the other end cannot or may not do verbs; or it is for it to say  */
	VERBS_TCP_HERE,      /* no queue pair could be made here: when it can                     */
	VERBS_TCP_FAILED,    /* both could, and nothing came through: now and then                */
};

struct verbs_out {
	const void *payload;
	uint32_t bytes; /* of it */
	uint64_t cookie;
	struct ibv_mr *once; /* registered for this frame alone, or NULL */
};

/* Zeros to fill up what is before it in a write. */
struct verbs_header {
	unsigned char gap[VERBS_UNIT_BYTES];
	struct wire_frame frame;
};

struct verbs_tx {
	struct verbs_header *headers; /* [mask + 1], registered */
	struct ibv_mr *headers_mr;
	struct verbs_out *ring; /* [mask + 1]; indices below run on and are masked */
	uint32_t mask;
	uint32_t head;   /* first frame whose SENT was not reported */
	uint32_t done;   /* first whose payload may be needed       */
	uint32_t posted; /* first that was not posted               */
	uint32_t tail;
	uint32_t completed;        /* first that has not, as far as we were told */
	uint32_t consumed;         /* first that the peer has not consumed       */
	uint64_t queued_bytes;     /* of frames from `posted` on                 */
	uint32_t held;             /* polls that these were held back            */
	uint32_t written, retired; /* work requests ever                         */
	uint32_t unsignalled;      /* the last so many frames asked for no completion */
	uint64_t flush_at_ns;      /* when `done` still is where it was: flush; 0: not set */
	uint32_t flush_done;
	uint32_t at, used, units;     /* the peer's ring: next place, units not consumed, size */
	uint32_t taken[VERBS_WINDOW]; /* units by frame % VERBS_WINDOW, with those skipped */
};

enum verbs_rx_state {
	VERBS_RX_IDLE,
	VERBS_RX_ANNOUNCE, /* HEADER to be reported */
	VERBS_RX_PLACE,    /* waiting for place()   */
	VERBS_RX_FRAME,    /* FRAME to be reported  */
};

struct verbs_rx {
	unsigned char *ring; /* registered, written by the peer */
	size_t ring_bytes;
	struct ibv_mr *ring_mr;
	struct {
		uint32_t place, bytes;
	} arrived[VERBS_WINDOW]; /* writes */
	uint32_t first, count;   /* of them */
	uint32_t offset;         /* of the frame that is worked on, in the first of them */
	enum verbs_rx_state state;
	struct wire_frame frame;
	void *payload;
	bool stays; /* it is in the ring, and the frame was not consumed            */
	bool lent;  /* ... and was told of in this poll(): it is being read          */
	enum wire_verdict verdict;
	uint32_t consumed, told; /* frames; as the peer knows */
	uint32_t units;          /* consumed since it was told */
};

struct verbs_path {
	uint16_t slot;
	int fd;
	enum verbs_state state;
	uint64_t deadline_ns; /* of the meeting */
	struct verbs_greeting mine, theirs;
	struct verbs_word word;
	uint32_t have;  /* bytes of what is being read from the socket */
	bool mine_good; /* our part of the step */
	bool refused;   /* the device could make no queue pair when we greeted */
	bool abort;     /* end with a reset: something was cut off */
	bool at_once;   /* it ends although something that arrived was not told */
	int error;      /* why it ends when all that arrived is told; 0: it does not */
	const char *why;
	enum wire_verdict verdict;
	struct ibv_qp *qp;
	uint32_t inline_bytes;
	struct verbs_tx tx;
	struct verbs_rx rx;
};

struct transport {
	struct transport_options options;
	struct verbs_device device;
	struct transport_stats stats, sum;
	struct transport *tcp; /* uring; NULL: never */
	uint32_t offers;       /* from the start on */
	uint32_t tcp_paths;
	int events;           /* epoll: sockets, channel, asynchronous events, lane_fd */
	uint64_t look_at_ns;  /* when sockets are looked at next, if nobody sleeps */
	uint64_t again_at_ns; /* when paths over TCP are made anew; UINT64_MAX */
	uint32_t meeting;     /* paths that are not up yet */
	uint32_t turn;
	uint16_t active[VERBS_SLOTS]; /* slots of our paths, in no order */
	uint32_t active_count;
	struct verbs_path *paths[VERBS_SLOTS];
	bool over_tcp[VERBS_SLOTS];
	uint8_t because[VERBS_SLOTS];   /* enum verbs_tcp; also of the meeting that follows */
	bool could;                     /* make queue pairs here, when that was looked at last */
	uint64_t retry_ns, retry_at_ns; /* of VERBS_TCP_FAILED; UINT64_MAX: there are none */
	struct verbs_path *by_qpn[1 << VERBS_QPN_BITS]; /* by its low bits; linear probing */
	/* Why not verbs, by slot; and of the path that settled so last, empty: none did. */
	char why_not[VERBS_SLOTS][TRANSPORT_ABOUT_BYTES];
	char why_tcp[TRANSPORT_ABOUT_BYTES];
	char text[384];
};

/* --- verbs.c --- */

enum { VERBS_TAG_CHANNEL = VERBS_SLOTS, VERBS_TAG_DEVICE, VERBS_TAG_LANE }; /* beside slots */

/* Have the device's two descriptors looked at.  Return: 0 or negative errno. */
int verbs_watch_device(struct transport *t);

/* The path ends, when all that has arrived was told; the first reason counts.  why: static. */
void verbs_end(struct transport *t, struct verbs_path *p, int error, const char *why);
/* It ends now, and with a reset: the peer broke a rule. */
void verbs_break(struct transport *t, struct verbs_path *p, enum wire_verdict verdict);

/* --- verbs_cq.c --- */

/* Return: whether there were any. */
bool verbs_cq_take(struct transport *t);
/* All that are there now: many can be, but the queue is only so long. */
void verbs_cq_take_all(struct transport *t);
/* Have the next completion wake us. */
void verbs_cq_arm(struct transport *t);

/* --- verbs_device.c --- */

/* Find and open the lane's device.  Return: 0, also if there is none (device.context is NULL then,
 * why_not says why), or negative errno and *err: what was asked for does not exist. */
int verbs_device_open(struct verbs_device *d, const struct transport_options *o, struct err *err);
void verbs_device_close(struct verbs_device *d);
/*
 * Close it and open it again; what is remembered stays so.  There are no queue pairs.
 * Return: whether it is there.
 */
bool verbs_device_renew(struct verbs_device *d);
bool verbs_device_usable(const struct verbs_device *d); /* its port */
/* Why no queue pair can be made.  Return: NULL: one can; else words that live as long as *d. */
const char *verbs_device_refuses(const struct verbs_device *d);
void verbs_device_receives(struct verbs_device *d); /* give back what was taken */
void verbs_device_port(struct verbs_device *d);     /* look at the port again */
void verbs_remember(struct verbs_device *d, void *base, size_t bytes);
void verbs_forget(struct verbs_device *d, void *base);
/* Return: NULL with errno, and no queue pair will be made any more. */
struct ibv_mr *verbs_register(struct transport *t, void *at, size_t bytes, unsigned int access);
/*
 * The pieces of [at, at + bytes) with their keys.  Return: how many, < VERBS_SGES_LEAST; 0:
 * it is not remembered; negative errno: it cannot be registered.
 */
int verbs_pieces(struct transport *t, const void *at, size_t bytes, struct ibv_sge *out);

/* --- verbs_meet.c --- */

/* Say our greeting.  Return: 0 or negative errno. */
int verbs_meet(struct transport *t, struct verbs_path *p);
/* Go on as far as the socket and the device allow. */
void verbs_meet_go_on(struct transport *t, struct verbs_path *p, uint64_t now_ns);
void verbs_meet_probed(struct transport *t, struct verbs_path *p, const char *why_not);
void verbs_qp_stop(struct verbs_path *p); /* it takes and brings nothing any more */
void verbs_qp_free(struct transport *t, struct verbs_path *p);
struct verbs_path *verbs_by_qpn(struct transport *t, uint32_t qpn);

/* --- verbs_event.c --- */

void verbs_event_init(struct transport *t);
void verbs_event_take(struct transport *t); /* all asynchronous events that are there */
/* What is due: failed devices are opened again, paths over TCP made anew.  Often called. */
void verbs_event_tick(struct transport *t, uint64_t now_ns);
uint64_t verbs_event_due_ns(const struct transport *t); /* UINT64_MAX: nothing */

/* This slot becomes a path over TCP. */
void verbs_event_over_tcp(struct transport *t, uint16_t slot, enum verbs_tcp because);
void verbs_event_up(struct transport *t, uint16_t slot); /* ... or of verbs */

/* --- verbs_send.c --- */

int verbs_send_init(struct transport *t, struct verbs_path *p);
void verbs_send_free(struct verbs_path *p);
uint32_t verbs_send_room(const struct transport *t, const struct verbs_path *p);
void verbs_send_queue(struct transport *t, struct verbs_path *p, const struct wire_frame *frame,
		      const void *payload, uint64_t cookie);
/* Post what is queued.  more: there may soon be more, so a little of it may wait for that. */
void verbs_send_start(struct transport *t, struct verbs_path *p, bool more);
/* Write nothing but the count.  Return: 0 or negative errno. */
int verbs_send_bare(struct transport *t, struct verbs_path *p);
/*
 * Before the lane sleeps: see to it that payloads which nobody mentions are given back.
 * Return: when to be called again, UINT64_MAX: there is nothing to wait for.
 */
uint64_t verbs_send_flush(struct transport *t, struct verbs_path *p, uint64_t now_ns);
void verbs_send_done(struct verbs_path *p, uint64_t wr_id);
void verbs_send_consumed(struct transport *t, struct verbs_path *p, uint32_t count);
bool verbs_send_unfinished(const struct verbs_path *p);
bool verbs_send_event(struct verbs_path *p, struct transport_event *event);

/* --- verbs_receive.c --- */

int verbs_receive_init(struct transport *t, struct verbs_path *p);
void verbs_receive_free(struct verbs_path *p);
void verbs_receive_arrived(struct transport *t, struct verbs_path *p, uint32_t imm, uint32_t bytes);
bool verbs_receive_event(struct transport *t, struct verbs_path *p, struct transport_event *event);
void verbs_receive_place(struct transport *t, struct verbs_path *p, void *dst);

/* --- verbs_status.c --- */

const char *verbs_status_text(enum ibv_wc_status status); /* static */
int verbs_status_errno(enum ibv_wc_status status);
void verbs_status_count(struct transport_stats *stats, enum ibv_wc_status status); /* not success */
/* "device rxe0", as an error of the port or of all; NULL: it changes nothing for us. */
const char *verbs_event_text(enum ibv_event_type type);
/* This slot is to be a path over TCP; `who`: here, there, both. */
void verbs_status_tcp(struct transport *t, uint16_t slot, const char *who, const char *why);
const char *verbs_status_over(struct transport *t, uint16_t peer, uint16_t path, char *about);
const char *verbs_status_describe(struct transport *t); /* device, and what runs over TCP and why */

#endif
