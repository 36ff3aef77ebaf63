/*
 * control.h - what the main thread decides: who is in which group, who is dead, what ends.
 *
 *   trainers' requests --->  control_request()  \
 *   lanes' facts ---------->  control_facts()     >-- pump --> commands to the lanes,
 *   daemons' connections -->  control_peer_ready() /            frames to daemons, answers
 *
 * It joins what knows nothing of each other: clients (Unix socket), peers (TCP), the
 * rendezvous (root's side, pure), groups (members, pure) and the lanes.  Nothing calls
 * back and nothing blocks; every entry ends with a pump that works off what it caused.
 *
 *   control.c         open, close, the entries, the pump
 *   control_create.c  a trainer asks for a group: JOIN to the root's daemon, its refusal
 *   control_setup.c   TABLE came: exchanges, connections, READY, GO
 *   control_end.c     how ops and groups end: deaths, leavers, aborts, mismatches
 *   control_choice.c  leases for ops whose codec is chosen as it goes
 *   control_frame.c   frames between daemons, those to ourselves included
 *   control_fact.c    what the lanes say; their mailboxes
 *   control_report.c  groups as JSON
 *
 * How ops end.  The group's node 0 decides: others send it PROPOSE (or LEAVE, for a rank of
 * theirs that died or destroyed the group); it sends END to all, in one order, itself
 * included.  If the daemon of node 0 dies, each survivor ends the group itself.  The errors are
 * in group.h.
 *
 * Limit: an END meets ops that are complete on one node and not yet on another; such an
 * op succeeds here and fails there.  That all nodes agree on the outcome, and go on without
 * the dead, comes with membership changes; epoch is in every message for it.
 *
 * Main thread only.
 */
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/client.h"
#include "daemon/config.h"
#include "daemon/engine_thread.h"
#include "daemon/err.h"
#include "daemon/log.h"
#include "daemon/loop.h"

struct control;

/*
 * control_open() - listen for other daemons; the pointers outlive the control.
 * @lanes: engine threads that have been started, one a lane; copied
 * Return: 0, or negative errno and *err (the port is taken, no such address...).
 */
int control_open(struct control **out, const struct config *config, struct loop *loop,
		 struct log *log, struct clients *clients, struct engine_thread *const *lanes,
		 uint32_t n, struct err *err);

/* After the lanes have ended (engine_thread_stop()): frees everything.  NULL is allowed. */
void control_close(struct control *c);

/* ATTACHED, CREATE, DESTROY, GONE.  It answers itself. */
void control_request(struct control *c, const struct client_request *request, uint64_t now_ns);

/* LOOP_FACTS: read what the lanes say until there is nothing left. */
void control_facts(struct control *c, uint64_t now_ns);

/* LOOP_PEERS */
void control_peer_ready(struct control *c, uint32_t index, uint32_t events, uint64_t now_ns);

void control_tick(struct control *c, uint64_t now_ns);
uint64_t control_deadline_ns(const struct control *c); /* when to tick; UINT64_MAX: any time */

/*
 * control_stop() - begin to end: every group is over, trainers that wait are told, peers
 * hear BYE.  Then go on with facts, peers and ticks until control_stopped(), or for a second.
 */
void control_stop(struct control *c, uint64_t now_ns);
bool control_stopped(const struct control *c); /* no lane has anything of ours any more */

/* Where other daemons reach this one, for logs: "10.0.0.3" and the port. */
const char *control_address(const struct control *c);
uint16_t control_port(const struct control *c);

/* Return: a new array, NULL: no memory. */
json_t *control_groups_json(const struct control *c);
/* State of error feedback, by group and key; reads much of it for the norms. */
json_t *control_state_json(const struct control *c);
/* Data connections: to whom, over what, and what they carried. */
json_t *control_paths_json(const struct control *c);
/* What the other daemons look like: instance, address, host, state, references. */
json_t *control_peers_json(const struct control *c);

#endif
