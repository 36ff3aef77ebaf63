/*
 * rendezvous.h - the root's side of forming groups: a pure state machine.
 *
 * Any daemon can be root: it is the one whose address the trainers name.  Ranks register
 * by JOIN; those of one (uid, name, run) make a gathering:
 *
 *   GATHERING --all ranks are there--> SETUP --READY of every node--> GO, forgotten
 *       |  TABLE to every node               |
 *       +--- deadline, contradiction --------+--> REFUSE to every rank, forgotten
 *
 * The members: nodes in the order of their lowest rank, epoch 1, one forced schedule, and of
 * what the daemons' configurations decide (lanes, paths, chunk_bytes_*, flat_bytes_max) the
 * least that anybody offers.  A group's id is the root's instance plus a counter.
 *
 * Frames and time come in, frames go out (rendezvous_next()); nothing is sent here.  Two
 * users may use one name at once: they make two gatherings, and if one of them lacks ranks
 * its refusal mentions the other.
 *
 * Everything is limited: RENDEZVOUS_MAX gatherings, RENDEZVOUS_UID_MAX of one user,
 * WIRE_RANKS_MAX ranks, WIRE_NODES_MAX nodes, EXCHANGE_LOCAL_MAX ranks a node.  Whoever
 * does not fit is refused, with the reason.
 */
#ifndef DAEMON_RENDEZVOUS_H
#define DAEMON_RENDEZVOUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire.h"

enum { RENDEZVOUS_MAX = 256, RENDEZVOUS_UID_MAX = 64 };

struct rendezvous;

int rendezvous_new(struct rendezvous **out, uint64_t instance); /* 0 or -ENOMEM */
void rendezvous_free(struct rendezvous *r);                     /* NULL is allowed */

/* --- what came, checked by wire_*_check() ----------------------------------------------------- */

/* A rank asks to be in.  @from: the node that says so. */
void rendezvous_join(struct rendezvous *r, const struct wire_node *from,
		     const struct wire_join *join, uint64_t now_ns);
/* A node takes its rank back (its trainer died), or cannot set up the group: then all fail. */
void rendezvous_withdraw(struct rendezvous *r, uint64_t instance, const struct wire_refuse *refuse);
void rendezvous_ready(struct rendezvous *r, uint64_t instance, const struct wire_ready *ready);
/* The daemon of that instance is dead: its ranks leave.  @why: "died: its kernel refuses..." */
void rendezvous_node_gone(struct rendezvous *r, uint64_t instance, const char *why);
/* This daemon is being stopped: everybody is refused. */
void rendezvous_stop(struct rendezvous *r, const char *why);

void rendezvous_tick(struct rendezvous *r, uint64_t now_ns);
uint64_t rendezvous_deadline_ns(const struct rendezvous *r); /* UINT64_MAX: none */

/* --- what is to be sent ----------------------------------------------------------------------- */

struct rendezvous_out {
	uint64_t instance;   /* to this daemon                                            */
	enum wire_kind kind; /* WIRE_REFUSE, WIRE_TABLE, WIRE_GO                          */
	const void *payload; /* valid until the next call                                 */
	uint32_t bytes;
};
bool rendezvous_next(struct rendezvous *r, struct rendezvous_out *out);

/* Does anything depend on this daemon?  Then its heartbeat matters. */
bool rendezvous_involves(const struct rendezvous *r, uint64_t instance);
uint32_t rendezvous_count(const struct rendezvous *r); /* gatherings */

#endif
