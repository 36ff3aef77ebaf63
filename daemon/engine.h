/*
 * engine.h - one lane: the place where rings, ops and the transport meet.
 *
 * A lane moves its share of every op's chunks.  engine_round() is its duty cycle:
 * commands from the main thread, submissions of trainers, events of the transport,
 * arithmetic, frames to send, completions.  It never blocks and is given the time,
 * so the simulator runs it as it is; engine_thread.h puts it on a thread that spins
 * a little and then sleeps.
 *
 *      main thread --commands--> [ engine ] --facts--> main thread
 *   trainers' rings ----------->    |   ^
 *                                   v   |
 *                         exchange (per group), link (per peer), transport
 *
 * Nothing is decided here: a lane that sees a mismatch, an abort or a broken rule says
 * so in a fact, and the main thread answers with ENGINE_GROUP_END.
 *
 * Ownership: what a command hands over (exchange, descriptor) is the lane's until the
 * matching fact gives it back.  A client's mapping must stay until CLIENT_REMOVED of
 * every lane.
 */
#ifndef DAEMON_ENGINE_H
#define DAEMON_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/chooser.h"
#include "daemon/err.h"
#include "daemon/exchange.h"
#include "daemon/mailbox.h"
#include "daemon/op_clock.h"
#include "daemon/transport/transport.h"
#include "proto/shm.h"
#include "proto/wire.h"

enum {
	ENGINE_CLIENTS_MAX = 1024,
	ENGINE_GROUPS_MAX = 256,
	ENGINE_PEERS_MAX = TRANSPORT_PEERS_MAX,
	ENGINE_MAIL = 4096,      /* commands or facts in flight; the main thread keeps below it */
	ENGINE_TEXT_BYTES = 256, /* a multiple of 8 */
};

/*
 * What a group did on a lane.  Written by the lane, read by the main thread: relaxed, monotone.
 * An op counts once, however many local ranks call it; it is done or failed with the first
 * completion given to one of them.  One that has no part of this lane is posted and done when the
 * lane hears of it.
 */
struct engine_group_stats {
	_Atomic uint64_t ops_posted;    /* of which a local rank has called               */
	_Atomic uint64_t ops_coded;     /* of them, with codec or feedback                */
	_Atomic uint64_t ops_done;      /* of those posted                                */
	_Atomic uint64_t ops_failed;    /* of them                                        */
	_Atomic uint64_t bytes_reduced; /* tensors of ops done, whole                     */
	_Atomic uint64_t payload_sent;  /* bytes of contributions and finals of those over */
};

enum engine_command_kind {
	/* client, base, layout, wake_fd: begin to read the trainer's ring */
	ENGINE_CLIENT_ADD = 1,
	/*
	 * client: the trainer is gone: take what it has posted, then let go; answered by
	 * RANK_POSTED for each of its ranks, later by CLIENT_REMOVED.
	 */
	ENGINE_CLIENT_REMOVE,
	/* exchange, peers, stats: frames of this group are taken from now on */
	ENGINE_GROUP_ADD,
	/* exchange, local_rank, client, handle: the trainer posts to it */
	ENGINE_RANK_ADD,
	/* exchange, local_rank: its trainer destroyed it, all ops done; answer: RANK_POSTED */
	ENGINE_RANK_LEAVE,
	/* exchange, first_seq, last_seq, error: these ops end with it */
	ENGINE_GROUP_END,
	/* exchange, lease: the next one */
	ENGINE_LEASE,
	/* exchange, first_seq: a member needs a lease for this op; to the lane with the chooser */
	ENGINE_CHOOSE,
	/* exchange: all its ranks have left; GROUP_REMOVED follows when its open ops are over */
	ENGINE_GROUP_REMOVE,
	/*
	 * peer, path, fd, received, offers: a connection whose HELLOs are done; received: path_seq
	 * that the peer has of our stream.  A peer that was removed begins anew with 0.
	 */
	ENGINE_PATH_ADD,
	/* peer, path: end the connection; PATH_DOWN follows if it was up */
	ENGINE_PATH_CUT,
	/* peer: dead or unused: forget its paths and what was unsent; answer: PEER_REMOVED */
	ENGINE_PEER_REMOVE,
	ENGINE_STOP, /* leave the loop */
};

struct engine_command {
	enum engine_command_kind kind;
	uint32_t client; /* the daemon's number, < ENGINE_CLIENTS_MAX              */
	void *base;      /* CLIENT_ADD: the mapping                                */
	union {
		struct shm_layout layout;  /* CLIENT_ADD */
		struct choice_lease lease; /* LEASE      */
	};
	int wake_fd; /* CLIENT_ADD: socket; a datagram wakes the trainer       */
	struct exchange *exchange;
	const uint16_t *peers; /* GROUP_ADD: uint16[nodes]: the peer of each node; own: UINT16_MAX;
				  * stays the main thread's, valid until GROUP_REMOVED      */
	const struct tensors *tensors;    /* GROUP_ADD: NULL or the main thread's, as long */
	struct engine_group_stats *stats; /* GROUP_ADD: NULL or the main thread's, as long */
	struct op_clock *clock;           /* GROUP_ADD: of all lanes, as long; or NULL          */
	struct chooser *chooser;          /* GROUP_ADD: the lane's until GROUP_REMOVED; or NULL;
					     with a clock */
	uint32_t local_rank;
	uint32_t handle; /* RANK_ADD: as in the trainer's submissions              */
	uint64_t first_seq, last_seq;
	int error;
	uint16_t peer, path;
	int fd;
	uint32_t received;
	uint32_t offers; /* TRANSPORT_OFFER_* of both HELLOs */
};

enum engine_fact_kind {
	ENGINE_CLIENT_BAD = 1, /* client broke a rule (`shm`): the main thread ends it          */
	ENGINE_CLIENT_REMOVED, /* client's mapping is not used any more by this lane            */
	ENGINE_RANK_POSTED,    /* exchange, local_rank, seq: it has left and is in ops 1..seq   */
	ENGINE_GROUP_REMOVED,  /* exchange is the main thread's again                           */
	ENGINE_ABORT,          /* exchange, local_rank: its trainer called abort                */
	ENGINE_MISMATCH,       /* exchange, mismatch: two calls of an op differ                 */
	ENGINE_TROUBLE,        /* exchange, trouble: an op cannot succeed                       */
	ENGINE_LEASED,         /* exchange, decision: the chooser's, for all members, us too     */
	ENGINE_NEEDS_LEASE,    /* exchange, seq: of lane 0: an op waits for one                 */
	/*
	 * exchange, node, peer, seq: a frame broke the group's rules.  `taken`: it contradicts its
	 * op; else it was refused: its path ends, and it will come again (path, frames)
	 */
	ENGINE_BAD_FRAME,
	ENGINE_PATH_DOWN,    /* peer, path, error, verdict, frames, received                  */
	ENGINE_PEER_REMOVED, /* peer's number may be used again                               */
	ENGINE_PATH_OVER,    /* peer, path, over, about: what the path runs over now          */
	/* peer, path: no sound daemon sends such numbers (PROTOCOL.md 1.2): treat as dead */
	ENGINE_PEER_LIES,
};

struct engine_fact {
	enum engine_fact_kind kind;
	uint32_t client;
	enum shm_verdict shm;
	struct exchange *exchange;
	uint32_t local_rank;
	uint64_t seq;
	union {
		struct exchange_mismatch mismatch;
		struct exchange_trouble trouble;
		struct choice_decision decision;   /* LEASED */
		char about[TRANSPORT_ABOUT_BYTES]; /* PATH_OVER */
	};
	uint16_t node;
	uint16_t peer, path;
	bool taken;
	int error;
	const char *why;  /* PATH_DOWN: static words, or NULL */
	const char *over; /* PATH_OVER: static */
	enum wire_verdict verdict;
	uint32_t received; /* path_seq that we have of the peer's stream              */
	uint64_t frames;   /* of the path, numbered or not, that were ever taken      */
};

/* Written by the lane, read by the main thread: relaxed, monotone. */
struct engine_stats {
	_Atomic uint64_t rounds; /* of the loop: the heartbeat's progress counter    */
	_Atomic uint64_t ops_done, ops_failed; /* of all groups, but for ops without this lane */
	_Atomic uint64_t payload_sent, payload_received; /* bytes of contributions and finals */
	_Atomic uint64_t wire_sent, wire_received;       /* bytes on sockets, headers included */
	_Atomic uint64_t frames_sent, frames_received, frames_stale, frames_resent;
	_Atomic uint64_t syscalls;
	_Atomic uint64_t slept; /* times the lane went to sleep                     */
	_Atomic uint64_t zerocopy_sends, zerocopy_copied;
	/* RDMA, as transport_stats has them */
	_Atomic uint64_t work_requests, completions, registrations, registered_bytes;
	_Atomic uint64_t retries_exceeded, rnr_exceeded, requests_failed;
};

/* Of one path to a peer, since the peer is known. */
struct engine_path_stats {
	_Atomic uint64_t frames_sent, frames_received, payload_sent, payload_received;
};

struct engine; /* one lane */

struct engine_options {
	uint32_t lane;
	const char *transport; /* name in the table                                       */
	struct transport_options transport_options; /* lane_fd is filled in                 */
	int lane_fd;      /* epoll: readable when a doorbell was rung, trainers' or main's; or -1 */
	int main_eventfd; /* written after a fact was put                              */
	uint32_t paths;   /* per peer                                                  */
};

/*
 * engine_open() - Return: 0 or negative errno and *err.  On the lane's own thread.
 * engine_close() - tolerates NULL.
 */
int engine_open(struct engine **out, const struct engine_options *options, struct err *err);
void engine_close(struct engine *e);

/* The two mailboxes: the main thread puts engine_command, gets engine_fact. */
struct mailbox *engine_commands(struct engine *e);
struct mailbox *engine_facts(struct engine *e);
const struct engine_stats *engine_stats(const struct engine *e);

const struct engine_path_stats *engine_path_stats(const struct engine *e, uint16_t peer,
						  uint16_t path);

/* What HELLOs of this daemon may offer: TRANSPORT_OFFER_*.  Any thread. */
uint32_t engine_offers(const struct engine *e);

/*
 * engine_describe() - features of the transport and what became of them, for people, as the
 * lane saw them at most two seconds ago, unless it is stuck.  On any thread; never waits.
 * @text: ENGINE_TEXT_BYTES
 * Return: false if the lane is just writing (not in its first second): `text` is as it was.
 */
bool engine_describe(const struct engine *e, char *text);

/* Does its transport poll memory, without system calls, as things are? */
bool engine_polls_memory(const struct engine *e);

/* One turn of the duty cycle.  Return: whether anything happened, -ESHUTDOWN after ENGINE_STOP. */
int engine_round(struct engine *e, uint64_t now_ns);

/* Nothing happened for a while: prepare to sleep (flags, fence, one more look), sleep, wake. */
void engine_sleep(struct engine *e, uint64_t now_ns, uint64_t timeout_ns);

#endif
