/*
 * peer.h - the other daemons: who they are, connections to them, whether they live.
 *
 * Listens on the one TCP port and owns every connection until it is handed to a lane.
 * Each begins with a HELLO frame both ways.
 *
 *   control   one way: each daemon opens its own to each peer and sends numbered frames on
 *             it.  They are kept until the other side acknowledges them, and sent again
 *             after a reconnect, exactly those that did not arrive.  The acceptor returns
 *             ACK frames only.
 *   data      one a lane and path of a pair; the daemon with the lower instance connects.
 *             After the HELLOs the descriptor leaves by PEER_PATH; peers_path_down() says that it
 *             is to be made again.
 *
 * A *peer* is an instance of a daemon (a random number that it makes when it starts).  A
 * daemon that is started again is another peer.  Peers are known from a HELLO or a TABLE, and
 * those with references (of groups, of a rendezvous) get heartbeats.
 *
 * A peer is dead when
 *   - our control connection ended and a new one is refused by its kernel, or reaches
 *     another instance: at once;
 *   - nothing was heard of it for dead_ms (only if it has references);
 *   - it has forgotten us: it took us for dead (its HELLO does not know us any more);
 *   - it was silent for half of dead_ms when the last reference to it went (error 0): it may have
 *     given us up, and a group that came next would learn so in its midst;
 *   - it said BYE, or the caller condemns it (peers_condemn());
 *   - PEER_REFUSED_MAX connections of a stream in a row ended because of what it sent, and
 *     nothing good came between.  A frame that is refused ends its connection only: a new one
 *     is made and it comes again.
 * That is told once (PEER_DIED); its number is used again after peers_forget().
 *
 * A peer without references stays connected, for the next group; after a minute in which
 * neither side had a use for the other (it sent no heartbeat), it is let go as if it were
 * dead, with error 0: both forget it and meet anew.
 *
 * Strangers (garbage, another protocol or version, silent for 2 s, networks that are not
 * allowed) are refused, logged with address and reason, and harm nobody: what a connection
 * may cost before its HELLO is a few hundred bytes, and there are at most PEER_HALF_OPEN_MAX.
 *
 * Nothing blocks and nothing calls back: peers_ready() and peers_tick() work, peers_next()
 * says what happened.  Main thread only.
 */
#ifndef DAEMON_PEER_H
#define DAEMON_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/config.h"
#include "daemon/err.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "proto/wire.h"

enum {
	PEERS_MAX = 256,
	PEER_DIALS_MAX = 64,            /* addresses being dialled at once                     */
	PEER_HALF_OPEN_MAX = 128,       /* connections that have not said HELLO                */
	PEER_REFUSED_MAX = 8,           /* bad frames in a row, until it is taken for dead     */
	PEER_ABOUT_BYTES = 120,         /* of words about a path, with their end                */
	PEER_QUEUE_BYTES_MAX = 8 << 20, /* frames not acknowledged, of one peer                */
};

struct peers;

struct peers_options {
	const struct config *config; /* outlives the peers, as do loop and log               */
	struct loop *loop;
	struct log *log;
	uint64_t instance; /* ours; not 0 */
	const char *host;  /* our name, for sentences; copied */
	uint32_t offers;   /* of our HELLOs: WIRE_OFFER_*      */
};

/* Return: 0, or negative errno and *err: the port is taken... */
int peers_open(struct peers **out, const struct peers_options *options, struct err *err);
void peers_close(struct peers *p); /* NULL is allowed */

/* What others are told: our endpoint. */
const char *peers_address(const struct peers *p);
uint16_t peers_port(const struct peers *p);
bool peers_is_self(const struct peers *p, const char *address, uint16_t port);
/* Return: 0, or -EPERM / -EINVAL and *err: peers may not be there. */
int peers_check_network(const struct peers *p, const char *address, struct err *err);

/* --- events of the loop, time ----------------------------------------------------------------- */

void peers_ready(struct peers *p, uint32_t index, uint32_t events, uint64_t now_ns);
void peers_tick(struct peers *p, uint64_t now_ns);
uint64_t peers_deadline_ns(const struct peers *p);

/* --- what happened ---------------------------------------------------------------------------- */

enum peer_event_kind {
	PEER_MET = 1,     /* dial: `peer` is who answered; the dial is over                     */
	PEER_SELF,        /* dial: it is this daemon itself; the dial is over                   */
	PEER_UNREACHABLE, /* dial: error, text; the dial is over                                */
	PEER_FRAME,       /* peer, frame, payload, bytes: a numbered frame that passed its check */
	PEER_PATH,        /* peer, lane, path, fd, received: the caller's from now on           */
	PEER_CUT,         /* peer, lane, path: a newer connection waits: end the old one and say
			   * peers_path_down()                                                  */
	PEER_DIED,        /* peer, error, text: "its kernel refuses connections"                */
};

struct peer_event {
	enum peer_event_kind kind;
	uint32_t dial;
	uint16_t peer;
	uint16_t lane, path;
	int fd;
	uint32_t received;   /* PATH: frames that the peer has of our stream                   */
	uint32_t offers;     /* PATH: of the peer's HELLO, VERBS only if ours has it, too       */
	uint16_t frame;      /* FRAME: enum wire_kind                                          */
	const void *payload; /* FRAME: aligned to 8, valid until the next peers_next()         */
	uint32_t bytes;
	int error;
	char text[WIRE_TEXT_BYTES];
};
bool peers_next(struct peers *p, struct peer_event *out, uint64_t now_ns);

/* --- dialling: an address, before it is known who is there ------------------------------------ */

/*
 * peers_dial() - who is at that endpoint?  Tries until patience_ns have passed; what cannot
 * get better (not Carry, another version) and a refusal that lasts for 2 s ends it at once.
 * Return: a number for events, or negative errno and *err: -EPERM: roots may not be there.
 */
int peers_dial(struct peers *p, const char *address, uint16_t port, uint64_t patience_ns,
	       uint64_t now_ns, struct err *err);
void peers_hang_up(struct peers *p, uint32_t dial);
/* Why it has not succeeded yet: "does not answer". */
void peers_dial_trouble(const struct peers *p, uint32_t dial, char *text, size_t bytes);

/* --- peers ------------------------------------------------------------------------------------ */

/* peers_know() - the peer that a table names.  Return: its number, -ENOSPC: there are too many. */
int peers_know(struct peers *p, const struct wire_node *node, uint64_t now_ns);
int peers_find(const struct peers *p, uint64_t instance); /* -1: not known */
uint16_t peers_end(const struct peers *p);                /* all numbers in use are below */

/* References: while there are any we connect, and heartbeats matter. */
void peers_hold(struct peers *p, uint16_t peer, uint64_t now_ns);
void peers_drop(struct peers *p, uint16_t peer, uint64_t now_ns);

/* Queue a frame for the peer; nothing happens if it is dead.  The payload is copied. */
void peers_send(struct peers *p, uint16_t peer, enum wire_kind kind, const void *payload,
		uint32_t bytes, uint64_t now_ns);

/* This data connection should exist.  Harmless if it does. */
void peers_want_path(struct peers *p, uint16_t peer, uint16_t lane, uint16_t path, uint64_t now_ns);
/* The lane has lost it, and has received so many frames on its stream. */
void peers_path_down(struct peers *p, uint16_t peer, uint16_t lane, uint16_t path,
		     uint32_t received, uint64_t now_ns);
bool peers_path_is_up(const struct peers *p, uint16_t peer, uint16_t lane, uint16_t path);

/* The lane says what the path runs over ("RDMA", "TCP"; static), and words about that. */
void peers_path_over(struct peers *p, uint16_t peer, uint16_t lane, uint16_t path, const char *over,
		     const char *about);

enum peer_path_state { PEER_PATH_UNWANTED = 0, PEER_PATH_WANTED, PEER_PATH_UP };
struct peer_path_about {
	enum peer_path_state state;
	const char *over;  /* UP: "RDMA", "TCP", "": not decided yet; else ""              */
	const char *about; /* RDMA: the device; TCP: why not RDMA, or ""                   */
};
void peers_path_about(const struct peers *p, uint16_t peer, uint16_t lane, uint16_t path,
		      struct peer_path_about *out);

/*
 * peers_refused() - a data connection was ended because of what the peer sent: `why`.  Before
 * peers_path_down().  @taken: how many frames, of any kind, the lane ever took on this path
 */
void peers_refused(struct peers *p, uint16_t peer, uint16_t lane, uint16_t path, uint64_t taken,
		   const char *why, uint64_t now_ns);
/* It broke the rules: treat it as dead. */
void peers_condemn(struct peers *p, uint16_t peer, int error, const char *text);
/* After PEER_DIED, when no lane and nobody else uses the number any more. */
void peers_forget(struct peers *p, uint16_t peer);

/* Progress of our lanes, for the next heartbeats. */
void peers_progress(struct peers *p, const uint64_t *rounds, uint32_t lanes);

/* Tell BYE to every peer that we have a connection or frames for, listen no more. */
void peers_bye(struct peers *p, uint64_t now_ns);
bool peers_quiet(const struct peers *p); /* everything sent to living peers is acknowledged */

enum peer_state { PEER_STATE_FREE = 0, PEER_STATE_KNOWN, PEER_STATE_DEAD };
struct peer_about {
	enum peer_state state;
	struct wire_node node; /* instance, endpoint, host                                   */
	uint32_t references;
	bool connected;  /* our control connection is up                              */
	uint32_t queued; /* bytes that wait for acknowledgement                       */
	uint64_t heard_ns;
	bool unlike;     /* no data connection is possible: it and we offer what does not fit */
	uint32_t offers; /* unlike: its WIRE_OFFER_*                                          */
	char trouble[WIRE_TEXT_BYTES]; /* why it is not connected, "" otherwise              */
};
void peers_about(const struct peers *p, uint16_t peer, struct peer_about *out);
uint32_t peers_offers(const struct peers *p); /* ours */

#endif
