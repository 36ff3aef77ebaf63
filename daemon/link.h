/*
 * link.h - a lane's streams to one peer: numbering, acknowledgement, sending again.
 *
 * A link has up to WIRE_PATHS_MAX paths, each a connection that may break and be made
 * again.  Frames on a path are numbered 1, 2, 3...; the number goes on where it was when the
 * path is made again.  What was sent is kept in the path's log until the peer has
 * acknowledged it (path_ack of any frame of that path, or `received` when the path is made
 * again) *and* the transport no longer needs its payload, so that after a reconnect exactly what
 * did not arrive is sent again, in order, and nothing is ever taken twice.
 *
 * Pure: the engine moves the bytes.  Payload memory of a logged frame belongs to the
 * exchange named in the entry, until link_released() or link_drop() hands the entry back.
 */
#ifndef DAEMON_LINK_H
#define DAEMON_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/wire.h"

struct exchange;

enum { LINK_LOG = 128 }; /* frames of a path sent and not acknowledged */

struct link_entry {
	struct wire_frame
		frame; /* path_seq is set; credits and path_ack are those of the first sending */
	const void *payload;
	struct exchange *exchange;
	void *buffer; /* for exchange_released() */
};

struct link_path {
	bool up;
	uint32_t sent;          /* number of the newest logged frame                        */
	uint32_t told;          /* number up to which the peer has all, as it says          */
	uint32_t flushed;       /* number up to which the transport needs no payload        */
	uint32_t acked;         /* number up to which the log was handed back: least of both */
	uint32_t offered;       /* number up to which the transport was given the log       */
	uint32_t received;      /* number of the last frame that arrived whole              */
	uint32_t arriving;      /* number of the frame whose payload is on its way, 0: none */
	uint32_t announced;     /* `received` as last told to the peer                     */
	uint64_t arrived_bytes; /* since that was told                                 */
	struct link_entry *log; /* [LINK_LOG], number % LINK_LOG                       */
};

struct link {
	uint16_t paths; /* that were ever up: numbers below it may be used */
	struct link_path path[WIRE_PATHS_MAX];
	struct link_entry *memory;
};

int link_init(struct link *l, uint16_t paths); /* 0 or -ENOMEM */
void link_deinit(struct link *l);              /* the logs must be empty */

/* Is there room in the log of a path?  A path that is down has none. */
bool link_room(const struct link *l, uint16_t path);

/* Number a frame and log it; link_room() must hold.  Return: its entry, to be sent. */
struct link_entry *link_push(struct link *l, uint16_t path, const struct wire_frame *frame,
			     const void *payload, struct exchange *exchange, void *buffer);

/* The next logged frame that this connection has not been given yet, or NULL. */
struct link_entry *link_resend(struct link *l, uint16_t path);
void link_resent(struct link *l, uint16_t path); /* that one was given to the transport */

/*
 * A connection is up again; the peer has `received` of our frames, which is an acknowledgement.
 * Return: false if that is impossible (it has more than we sent, or less than it acknowledged).
 */
bool link_up(struct link *l, uint16_t path, uint32_t received);
/* It is down: a frame that was arriving has not arrived; the transport needs no payload. */
void link_down(struct link *l, uint16_t path);

enum link_verdict {
	LINK_TAKE = 0,
	LINK_NOT_NUMBERED, /* a frame without number: credits only        */
	LINK_WRONG_NUMBER, /* not the next one: the peer broke the rules  */
};
/* A header came. */
enum link_verdict link_arriving(struct link *l, uint16_t path, const struct wire_frame *frame);
/* Its payload is there. */
void link_arrived(struct link *l, uint16_t path, const struct wire_frame *frame);

/* The peer acknowledges all frames up to `ack`.  Return: false if it was not sent that many. */
bool link_ack(struct link *l, uint16_t path, uint32_t ack);
/* The transport needs no payload of frames up to `number` any more (its SENT). */
void link_flushed(struct link *l, uint16_t path, uint32_t number);
/* After these two, link_up() and link_down(): the entries that are free now, until NULL. */
struct link_entry *link_released(struct link *l, uint16_t path);

/* The peer is dead and all paths are down: take all entries of all paths, until NULL. */
struct link_entry *link_drop(struct link *l);

/* How much should be acknowledged: 0 nothing, 1 some, 2 soon (the peer's log may fill up). */
int link_owes_ack(const struct link *l, uint16_t path);
void link_announce(struct link *l, uint16_t path,
		   struct wire_frame *frame); /* fills in path, path_ack */

#endif
