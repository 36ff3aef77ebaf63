/*
 * transport.h - moves frames between the lanes of two daemons; knows nothing of
 * what is in them.
 *
 * A transport is submit-and-poll.  No call blocks (but wait()), no call calls back:
 * what happened is read with poll(), in order.  One instance serves one lane and is
 * used by that lane's thread only.  It never resends and never reconnects: the main
 * thread makes connections and hands them over with attach(); link.h decides what is
 * sent again.
 *
 * A *path* is one connection to a peer, named (peer, path); both numbers are the
 * daemon's.  On a path frames are delivered once, in order, whole - or the path goes
 * down and says so once.
 *
 * Receiving takes two steps, so that a payload lands where it is needed without a
 * copy: TRANSPORT_HEADER brings a header that passed wire_check(); the caller answers
 * with place(); TRANSPORT_FRAME says that the payload is there.  Until place() the
 * path is not read any further.  A frame without payload comes as TRANSPORT_FRAME at once.
 * Headers that fail wire_check(), and payloads that fail wire_check_payload(), take
 * the path down with -EBADMSG and the verdict; but of a frame with WIRE_FLAG_ARENA the verdict
 * comes with its FRAME, for the path is not to blame.
 *
 * To add one: write daemon/transport/NAME.c, which defines transport_NAME, and add
 * X(NAME) to TRANSPORTS.  tests/unit/test_transport.c runs the rules over all.
 */
#ifndef DAEMON_TRANSPORT_TRANSPORT_H
#define DAEMON_TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/err.h"
#include "proto/wire.h"

struct transport; /* each implementation has its own */
struct sim_net;   /* transport/sim.h */

enum { TRANSPORT_PEERS_MAX = 256, TRANSPORT_PATHS_MAX = WIRE_PATHS_MAX };
enum { TRANSPORT_ABOUT_BYTES = 120 };

/* A feature that may be forced: the default asks the kernel (and, for zero-copy, measures). */
enum transport_switch { TRANSPORT_AUTO = 0, TRANSPORT_ON, TRANSPORT_OFF };

struct transport_options {
	int lane_fd;           /* epoll: wait() returns when it is readable, and takes it; -1     */
	uint32_t queue_frames; /* most frames queued unsent on a path, 1..64                      */
	bool payload_crc; /* compute CRCs of payloads sent; those received are always checked */
	/* uring */
	enum transport_switch multishot;     /* multishot receive into provided buffers          */
	enum transport_switch defer_taskrun; /* SINGLE_ISSUER + DEFER_TASKRUN                    */
	enum transport_switch zerocopy;      /* SENDMSG_ZC / SEND_ZC                              */
	enum transport_switch fixed_buffers; /* registered buffers for zero-copy sends           */
	enum transport_switch sqpoll;        /* AUTO: off; excludes defer_taskrun and zerocopy    */
	uint32_t zerocopy_bytes_min;         /* payloads from here on; 0: the measured default    */
	/* verbs */
	uint32_t lane;  /* which of several ports it takes                                   */
	uint32_t lanes; /* of the daemon; 0: not known, then the port is lane modulo ports */
	int lanes_numa[WIRE_LANES_MAX]; /* [lanes], NUMA nodes that they run on; -1: any         */
	const char *verbs_devices; /* "mlx5_0:1,mlx5_1", "^mlx5_2"; NULL, "": all             */
	uint32_t verbs_timeout;    /* 4.096 us * 2^this until a packet is sent again; 0: 14    */
	uint32_t verbs_retries;    /* 1..6; 0: 6                                              */
	uint32_t verbs_service_level, verbs_traffic_class;
	bool tcp_too; /* TCP where no queue pair can be made                                  */
	/* fault */
	const char *inner; /* name of the wrapped transport; NULL: uring                    */
	uint64_t fault_seed;
	uint32_t cut_every;     /* cut a path about every so many frames sent; 0 never           */
	uint32_t delay_us_max;  /* hold back received events up to that long                     */
	uint32_t corrupt_every; /* flip a bit of a header about every so many frames; 0 never    */
	/* sim */
	struct sim_net *sim;
	uint32_t sim_node;
};

/* What HELLOs offer; both ends must offer VERBS, for their ends to begin with words of its own. */
enum { TRANSPORT_OFFER_VERBS = WIRE_OFFER_VERBS, TRANSPORT_OFFER_NO_TCP = WIRE_OFFER_NO_TCP };

enum transport_event_kind {
	TRANSPORT_HEADER = 1, /* `frame` arrived: say where its payload goes                    */
	TRANSPORT_FRAME,      /* `frame` is complete; its payload is at `payload`               */
	TRANSPORT_SENT,       /* the transport no longer needs the payload with `cookie`; in the
			       * order of send()                                                */
	TRANSPORT_DOWN,       /* the path is gone, `error` says why; none of its memory is in use
			       * any more; cookies not reported by now never will be            */
};

/*
 * Errors of DOWN: -EPIPE: the peer closed between two frames; -ECONNRESET: in the middle of
 * one, or it was reset; -EBADMSG: the peer broke the protocol; -ECANCELED: detach(); else what
 * the kernel says.  Frames that had arrived whole are reported before, once placed.
 */
struct transport_event {
	enum transport_event_kind kind;
	uint16_t peer;
	uint16_t path;
	int error;                 /* DOWN: negative errno, see below                           */
	const char *why;           /* DOWN: static words for the error, or NULL: none better     */
	enum wire_verdict verdict; /* DOWN with -EBADMSG: which rule the peer broke; FRAME      */
	uint64_t cookie;           /* SENT: as given to send()                                  */
	struct wire_frame frame;   /* HEADER, FRAME                                             */
	void *payload;             /* FRAME: where it is, NULL: discarded or none               */
};

/* Counters, monotone, written by the lane's thread. */
struct transport_stats {
	uint64_t frames_sent, frames_received;
	uint64_t bytes_sent, bytes_received; /* headers included                             */
	uint64_t syscalls;
	uint64_t zerocopy_sends;  /* notifications                          */
	uint64_t zerocopy_copied; /* those where the kernel copied anyway   */
	uint64_t bad_frames;
	/* verbs */
	uint64_t work_requests, completions;      /* completions of both directions      */
	uint64_t registrations, registered_bytes; /* pieces of memory, ever          */
	/* work requests that failed, by what the device said; those behind it, that were flushed,
	 * are not counted */
	uint64_t retries_exceeded, rnr_exceeded, requests_failed;
};

/* For place(): leave it where it is. */
#define TRANSPORT_STAYS ((void *)(uintptr_t)1)

struct transport_ops {
	const char *name; /* as in the configuration */

	/* Does poll() look at memory only, most of the time, as things are?  NULL: never. */
	bool (*polls_memory)(const struct transport *t);

	/*
	 * Are frames that are queued on this path sent as one?  Then the next one costs least where
	 * others wait.  *waiting: how many do.  NULL: never.
	 */
	bool (*gathers)(const struct transport *t, uint16_t peer, uint16_t path, uint32_t *waiting);

	/*
	 * Are payloads of this path here when their HEADER is told?  Then place() may be given
	 * TRANSPORT_STAYS.  NULL: never.
	 */
	bool (*at_hand)(const struct transport *t, uint16_t peer, uint16_t path);

	/*
	 * Open an instance, on the thread that will use it.
	 * Return: 0, or negative errno and *err says what to do (which sysctl forbids io_uring...).
	 */
	int (*open)(struct transport **out, const struct transport_options *options,
		    struct err *err);
	void (*close)(struct transport *t); /* NULL is allowed; closes all paths */

	/* What is on and off, and why, for people: "multishot on, zero-copy off (configured)". */
	const char *(*describe)(struct transport *t);

	/*
	 * What an attached path runs over: "RDMA" (about: its device, "rxe0:1"), "TCP" (about: why
	 * not RDMA, or empty: that is all there is here), or NULL: that is not decided yet.  about:
	 * char[TRANSPORT_ABOUT_BYTES].
	 */
	const char *(*over)(struct transport *t, uint16_t peer, uint16_t path, char *about);

	/* TRANSPORT_OFFER_*: what its HELLOs say; never changes, any thread. */
	uint32_t (*offers)(const struct transport *t);

	/*
	 * Take over a connected socket whose HELLOs are done, as (peer, path), which must not be
	 * attached.  Nothing behind the HELLO may have been read from it.  offers: of the peer's
	 * HELLO, if ours says the same.
	 * Return: 0 or negative errno; the descriptor is the transport's only if 0.
	 */
	int (*attach)(struct transport *t, uint16_t peer, uint16_t path, int fd, uint32_t offers);

	/*
	 * End a path; its DOWN comes through poll() with error -ECANCELED, if it is attached and
	 * was not going down already.  Frames reported as sent still arrive, unless more was
	 * queued behind them: then the connection is reset at once.
	 */
	void (*detach)(struct transport *t, uint16_t peer, uint16_t path);

	/* How many more frames send() would take on this path now; 0 if it is down. */
	uint32_t (*room)(struct transport *t, uint16_t peer, uint16_t path);

	/*
	 * Queue a frame, or submit it at once; room() must not be 0.  The header is copied and
	 * sealed here.  The payload (not looked at if payload_bytes is 0) stays the transport's
	 * until SENT with this cookie or DOWN of the path.
	 */
	void (*send)(struct transport *t, uint16_t peer, uint16_t path,
		     const struct wire_frame *frame, const void *payload, uint64_t cookie);

	/*
	 * Answer to HEADER: the payload goes to dst (frame.payload_bytes of room); NULL: throw it
	 * away (it is not checked then).  TRANSPORT_STAYS: FRAME says where it is, not checked;
	 * it may be read until the next poll(), wait() or send(), and a peer that breaks the rules
	 * could write there meanwhile.  If the path has gone down since, nothing happens.
	 */
	void (*place)(struct transport *t, uint16_t peer, uint16_t path, void *dst);

	/* Submit what is queued, fill in at most `max` events.  Return: how many there are. */
	size_t (*poll)(struct transport *t, struct transport_event *events, size_t max);

	/*
	 * Submit what is queued; sleep until poll() has something, lane_fd is readable, or
	 * timeout_ns passed.
	 */
	void (*wait)(struct transport *t, uint64_t timeout_ns);

	/*
	 * [base, base+bytes) will often be sent from, until forget(); a hint, may do nothing.
	 */
	void (*remember)(struct transport *t, void *base, size_t bytes);
	void (*forget)(struct transport *t, void *base);

	const struct transport_stats *(*stats)(struct transport *t);
};

#define TRANSPORTS(X) \
	X(uring)      \
	X(verbs)      \
	X(fault)      \
	X(sim)

#define X(name) extern const struct transport_ops transport_##name;
TRANSPORTS(X)
#undef X

extern const struct transport_ops *const transport_table[]; /* the same, ended by NULL */

/* transport_auto() - Return: "verbs" if this host has an RDMA device, else "uring". */
const char *transport_auto(void);

/* transport_by_name() - Return: the entry, or NULL. */
const struct transport_ops *transport_by_name(const char *name);

/*
 * transport_take_wake() - for implementations: take what made lane_fd readable, edge-triggered.
 * What was rung itself is not touched: its other holders may do with it what they like.
 * Return: whether there was anything.
 */
bool transport_take_wake(int lane_fd);

#endif
