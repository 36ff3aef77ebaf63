/*
 * rendezvous_state.h - what the rendezvous is made of; for rendezvous*.c alone.
 *
 *   rendezvous.c            life, who comes and goes, time
 *   rendezvous_gathering.c  one gathering: who has which rank, who contradicts whom
 *   rendezvous_say.c        frames to be sent: REFUSE, TABLE, GO
 */
#ifndef DAEMON_RENDEZVOUS_STATE_H
#define DAEMON_RENDEZVOUS_STATE_H

#include "daemon/rendezvous.h"

enum { RENDEZVOUS_EPOCH = 1 }; /* of a group that forms */

/* A daemon with ranks in a gathering, numbered as they came. */
struct seat {
	struct wire_node about;
	uint32_t ranks;
	uint16_t node; /* SETUP: its index in the group */
	bool ready;
};

struct entry {
	struct wire_join join;
	uint32_t seat;
	uint64_t came_ns, deadline_ns;
};

struct gathering {
	char name[WIRE_NAME_BYTES], run[WIRE_NAME_BYTES];
	uint32_t uid, ranks;
	bool setup;     /* TABLE was sent                          */
	uint64_t group; /* SETUP: its id                           */
	uint32_t count, seats;
	struct entry **entries; /* [ranks]; NULL: has not come     */
	struct seat *seat_list; /* [min(ranks, WIRE_NODES_MAX)]    */
	struct gathering *next;
};

struct message; /* a frame to be sent; rendezvous_say.c */

struct rendezvous {
	uint64_t instance, groups;
	uint32_t count;
	struct gathering *gatherings;
	struct message *first, **last, *taken;
};

/* --- rendezvous_gathering.c ------------------------------------------------------------------- */

bool gathering_named(const struct gathering *g, const char *name, const char *run);
/* That which the rank wants to be in and which is not full yet; NULL: there is none. */
struct gathering *gathering_find(const struct rendezvous *r, const struct wire_join *join);
/* A new one without ranks; NULL: no memory. */
struct gathering *gathering_begin(struct rendezvous *r, const struct wire_join *join);
void gathering_forget(struct rendezvous *r, struct gathering *g);
/* The first whose time will be up; NULL: nobody is there. */
const struct entry *gathering_earliest(const struct gathering *g);
/* What ranks must say alike.  Return: whether they do; otherwise *text says who does not. */
bool gathering_agrees(const struct gathering *g, const struct wire_node *from,
		      const struct wire_join *join, char text[WIRE_TEXT_BYTES]);
/* Return: 0, or negative errno and *text: this rank alone is refused. */
int gathering_admit(struct gathering *g, const struct wire_node *from, const struct wire_join *join,
		    uint64_t now_ns, char text[WIRE_TEXT_BYTES]);
void gathering_take_out(struct gathering *g, uint32_t rank);
/* A daemon all of whose ranks were withdrawn has no place in the table. */
void gathering_drop_seats(struct gathering *g);
struct seat *gathering_seat(const struct gathering *g, uint64_t instance); /* NULL: none */

/* --- rendezvous_say.c ------------------------------------------------------------------------- */

void say_refuse(struct rendezvous *r, uint64_t instance, const struct wire_join *join, int error,
		const char *text);
/* Everybody who has come is told why there is no group. */
void say_refuse_all(struct rendezvous *r, struct gathering *g, int error, const char *text);
/* All are there: the members, to each of them. */
void say_table(struct rendezvous *r, struct gathering *g);
void say_go(struct rendezvous *r, const struct gathering *g);

#endif
