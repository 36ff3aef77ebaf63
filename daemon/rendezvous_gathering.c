/* rendezvous_gathering.c - one gathering: its ranks, their seats; see rendezvous_state.h. */
#include "daemon/rendezvous_state.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/exchange.h"

static void gathering_free(struct gathering *g)
{
	for (uint32_t i = 0; g->entries && i < g->ranks; i++)
		free(g->entries[i]);
	free(g->entries);
	free(g->seat_list);
	free(g);
}

bool gathering_named(const struct gathering *g, const char *name, const char *run)
{
	return strcmp(g->name, name) == 0 && strcmp(g->run, run) == 0;
}

struct gathering *gathering_find(const struct rendezvous *r, const struct wire_join *join)
{
	for (struct gathering *g = r->gatherings; g; g = g->next)
		if (!g->setup && g->uid == join->uid && gathering_named(g, join->name, join->run))
			return g;
	return NULL;
}

struct gathering *gathering_begin(struct rendezvous *r, const struct wire_join *join)
{
	uint32_t seats = join->ranks < WIRE_NODES_MAX ? join->ranks : WIRE_NODES_MAX;
	struct gathering *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->ranks = join->ranks;
	g->entries = calloc(join->ranks, sizeof(struct entry *));
	g->seat_list = calloc(seats, sizeof(*g->seat_list));
	if (!g->entries || !g->seat_list) {
		gathering_free(g);
		return NULL;
	}
	memcpy(g->name, join->name, sizeof(g->name));
	memcpy(g->run, join->run, sizeof(g->run));
	g->uid = join->uid;
	g->next = r->gatherings;
	r->gatherings = g;
	r->count++;
	return g;
}

void gathering_forget(struct rendezvous *r, struct gathering *g)
{
	struct gathering **at = &r->gatherings;

	while (*at != g) {
		assert(*at);
		at = &(*at)->next;
	}
	*at = g->next;
	r->count--;
	gathering_free(g);
}

/* --- ranks ------------------------------------------------------------------------------------ */

const struct entry *gathering_earliest(const struct gathering *g)
{
	const struct entry *first = NULL;

	for (uint32_t i = 0; i < g->ranks; i++)
		if (g->entries[i] && (!first || g->entries[i]->deadline_ns < first->deadline_ns))
			first = g->entries[i];
	return first;
}

static const char *host_of(const struct gathering *g, const struct entry *e)
{
	return g->seat_list[e->seat].about.host;
}

bool gathering_agrees(const struct gathering *g, const struct wire_node *from,
		      const struct wire_join *join, char text[WIRE_TEXT_BYTES])
{
	const struct entry *e = gathering_earliest(g);

	if (!e)
		return true;
	if (join->ranks != e->join.ranks) {
		(void)snprintf(text, WIRE_TEXT_BYTES,
			       "group \"%s\": rank %u (pid %u on host %s) says %u ranks, rank %u "
			       "(pid %u on host %s) said %u",
			       g->name, join->rank, join->pid, from->host, join->ranks,
			       e->join.rank, e->join.pid, host_of(g, e), e->join.ranks);
		return false;
	}
	if (join->schedule != e->join.schedule) {
		const struct sched *a = sched_by_id(join->schedule);
		const struct sched *b = sched_by_id(e->join.schedule);

		(void)snprintf(
			text, WIRE_TEXT_BYTES,
			"group \"%s\": rank %u (pid %u on host %s) wants schedule %s, rank %u "
			"(pid %u on host %s) wanted %s",
			g->name, join->rank, join->pid, from->host, a ? a->name : "auto",
			e->join.rank, e->join.pid, host_of(g, e), b ? b->name : "auto");
		return false;
	}
	return true;
}

/* The seat of a daemon, taken if it has none yet.  Return: its number, or -E2BIG and *text. */
static int take_seat(struct gathering *g, const struct wire_node *from, char text[WIRE_TEXT_BYTES])
{
	uint32_t s = 0;

	while (s < g->seats && g->seat_list[s].about.instance != from->instance)
		s++;
	if (s == WIRE_NODES_MAX) {
		(void)snprintf(text, WIRE_TEXT_BYTES, "group \"%s\" has more than %d nodes",
			       g->name, WIRE_NODES_MAX);
		return -E2BIG;
	}
	if (s == g->seats)
		g->seat_list[g->seats++] = (struct seat){.about = *from};
	if (g->seat_list[s].ranks == EXCHANGE_LOCAL_MAX) {
		(void)snprintf(text, WIRE_TEXT_BYTES,
			       "group \"%s\" has more than %d ranks on host %s", g->name,
			       EXCHANGE_LOCAL_MAX, from->host);
		return -E2BIG;
	}
	return (int)s;
}

int gathering_admit(struct gathering *g, const struct wire_node *from, const struct wire_join *join,
		    uint64_t now_ns, char text[WIRE_TEXT_BYTES])
{
	const struct entry *other = g->entries[join->rank];
	struct entry *e;
	int s;

	if (other) {
		(void)snprintf(text, WIRE_TEXT_BYTES,
			       "rank %u of group \"%s\" is given twice: pid %u on host %s has it, "
			       "pid %u on host %s wants it",
			       join->rank, g->name, other->join.pid, host_of(g, other), join->pid,
			       from->host);
		return -EEXIST;
	}
	e = calloc(1, sizeof(*e)); /* first: no seat may stay without a rank */
	if (!e) {
		(void)snprintf(text, WIRE_TEXT_BYTES, "the root's daemon has no memory left");
		return -ENOMEM;
	}
	s = take_seat(g, from, text);
	if (s < 0) {
		free(e);
		return s;
	}
	e->join = *join;
	e->seat = (uint32_t)s;
	e->came_ns = now_ns;
	e->deadline_ns = now_ns + join->timeout_ms * CLOCK_NS_PER_MS;
	g->entries[join->rank] = e;
	g->seat_list[s].ranks++;
	g->count++;
	return 0;
}

void gathering_drop_seats(struct gathering *g)
{
	for (uint32_t s = 0; s < g->seats;) {
		if (g->seat_list[s].ranks) {
			s++;
			continue;
		}
		g->seat_list[s] = g->seat_list[--g->seats];
		for (uint32_t i = 0; i < g->ranks; i++)
			if (g->entries[i] && g->entries[i]->seat == g->seats)
				g->entries[i]->seat = s;
	}
}

void gathering_take_out(struct gathering *g, uint32_t rank)
{
	struct entry *e = g->entries[rank];

	g->seat_list[e->seat].ranks--;
	g->entries[rank] = NULL;
	g->count--;
	free(e);
	gathering_drop_seats(g);
}

struct seat *gathering_seat(const struct gathering *g, uint64_t instance)
{
	for (uint32_t s = 0; s < g->seats; s++)
		if (g->seat_list[s].about.instance == instance)
			return &g->seat_list[s];
	return NULL;
}
