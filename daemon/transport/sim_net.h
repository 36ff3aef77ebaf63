/*
 * sim_net.h - inside the simulated network: what sim_net.c (the network, its calendar,
 * frames under way) and sim.c (the transport that talks to it) share.  Private to them.
 *
 * Three things happen to a connection, each an entry of the calendar, which is a heap
 * ordered by (time, sequence number): a frame has LEFT its end (SENT is due, the next
 * one begins to leave), a header or the rest of a frame has ARRIVED at its end, the
 * other end has CLOSED.  An end has at most one entry of each kind, so the calendar
 * never has to grow but in sim_net_connect().
 */
#ifndef DAEMON_TRANSPORT_SIM_NET_H
#define DAEMON_TRANSPORT_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/transport/sim.h"
#include "daemon/transport/transport.h"

enum {
	SIM_SLOTS = TRANSPORT_PEERS_MAX * TRANSPORT_PATHS_MAX,
	SIM_FRAMES_MAX = 64,                 /* queued on a path                         */
	SIM_OUT_FRAMES = 2 * SIM_FRAMES_MAX, /* those whose SENT was not read included   */
	SIM_ENTRIES_PER_END = 3,
	SIM_WINDOW_BYTES = 4 << 20,
};

enum sim_entry_kind { SIM_LEFT, SIM_ARRIVED, SIM_CLOSED };

struct sim_entry {
	uint64_t ns;
	uint64_t sequence;
	enum sim_entry_kind kind;
	int end;
};

struct sim_out {
	struct wire_frame header;
	const void *payload;
	uint64_t cookie;
};

/* A frame that has left. */
struct sim_frame {
	struct sim_frame *next;
	uint64_t header_ns; /* arrives */
	uint64_t whole_ns;
	bool header_here, whole_here;
	struct wire_frame header;
	unsigned char payload[];
};

/* What the receiver has done about the first frame. */
enum sim_progress { SIM_UNTOLD, SIM_TOLD, SIM_PLACED };

struct sim_end {
	int number;
	uint32_t node;
	struct sim_end *other;
	struct transport *owner; /* NULL: not attached                     */
	uint16_t slot;
	bool in_ready;
	bool over;        /* DOWN was reported, or it was dropped   */
	bool closed_sent; /* the other end was told                 */
	int error;        /* DOWN is to come, with this             */
	enum wire_verdict verdict;
	bool at_once; /* ... before what has arrived            */
	struct sim_shape shape;
	/* sending; indices run on, as in uring_tx */
	struct sim_out out[SIM_OUT_FRAMES];
	uint32_t head, sent, tail;
	bool leaving; /* frame `sent` is on its way out         */
	bool corrupt;
	uint64_t arrival_ns; /* of the last frame that has left        */
	uint64_t under_way;  /* bytes that count against the window    */
	/* receiving: frames of the other end, in order */
	struct sim_frame *first, *last;
	struct sim_frame *arriving; /* the first that is not wholly here   */
	enum sim_progress progress;
	void *dst;
};

struct sim_link {
	struct sim_end ends[2];
};

struct sim_net {
	struct sim_net_options options;
	uint64_t now_ns;
	uint64_t wake_ns;
	uint64_t random;
	uint64_t sequence;
	struct sim_entry *calendar; /* heap of `entries`, room for `entries_max` */
	size_t entries, entries_max;
	struct sim_link **links; /* by number of the end / 2; NULL: is over */
	size_t links_count, links_max, links_living;
};

struct transport {
	struct sim_net *net;
	struct transport_options options;
	struct transport_stats stats;
	struct sim_end *ends[SIM_SLOTS];
	struct sim_end *
		ready[SIM_SLOTS]; /* ring: those with something to tell, in the order it happened */
	uint32_t ready_first, ready_count;
};

/* Return: the end, or NULL: its connection is over. */
struct sim_end *sim_find_end(struct sim_net *net, int number);

/* The end has something to tell its owner. */
void sim_want_report(struct sim_end *end);

/* Let the next frame leave, if it may. */
void sim_begin(struct sim_net *net, struct sim_end *end);

/* The end is broken: what has arrived is still told (but not `at_once`), then DOWN. */
void sim_break_end(struct sim_end *end, int error, enum wire_verdict verdict, bool at_once);

/* The other end learns that this one is closed, when all that has left has arrived. */
void sim_tell_other(struct sim_net *net, struct sim_end *end);

/* Nobody will ask for this end any more. */
void sim_finish_end(struct sim_net *net, struct sim_end *end);

#endif
