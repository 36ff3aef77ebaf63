/* rendezvous.c - see rendezvous.h. */
#include "daemon/rendezvous.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/group.h"

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

struct message {
	struct message *next;
	struct rendezvous_out out;
	_Alignas(8) unsigned char payload[];
};

struct rendezvous {
	uint64_t instance, groups;
	uint32_t count;
	struct gathering *gatherings;
	struct message *first, **last, *taken;
};

int rendezvous_new(struct rendezvous **out, uint64_t instance)
{
	struct rendezvous *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->instance = instance;
	r->last = &r->first;
	*out = r;
	return 0;
}

static void gathering_free(struct gathering *g)
{
	for (uint32_t i = 0; g->entries && i < g->ranks; i++)
		free(g->entries[i]);
	free(g->entries);
	free(g->seat_list);
	free(g);
}

static void forget(struct rendezvous *r, struct gathering *g)
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

void rendezvous_free(struct rendezvous *r)
{
	struct rendezvous_out out;

	if (!r)
		return;
	while (r->gatherings)
		forget(r, r->gatherings);
	while (rendezvous_next(r, &out))
		continue;
	free(r);
}

uint32_t rendezvous_count(const struct rendezvous *r)
{
	return r->count;
}

/* --- what is to be sent ----------------------------------------------------------------------- */

/* Without memory for a message its receiver finds out by its own deadline. */
static void *put(struct rendezvous *r, uint64_t instance, enum wire_kind kind, size_t bytes)
{
	struct message *m = calloc(1, sizeof(*m) + bytes);

	if (!m)
		return NULL;
	m->out = (struct rendezvous_out){.instance = instance,
					 .kind = kind,
					 .payload = m->payload,
					 .bytes = (uint32_t)bytes};
	*r->last = m;
	r->last = &m->next;
	return m->payload;
}

bool rendezvous_next(struct rendezvous *r, struct rendezvous_out *out)
{
	free(r->taken);
	r->taken = r->first;
	if (!r->first)
		return false;
	r->first = r->taken->next;
	if (!r->first)
		r->last = &r->first;
	*out = r->taken->out;
	return true;
}

static void refuse(struct rendezvous *r, uint64_t instance, const struct wire_join *join, int error,
		   const char *text)
{
	struct wire_refuse *refusal = put(r, instance, WIRE_REFUSE, sizeof(*refusal));

	if (!refusal)
		return;
	memcpy(refusal->name, join->name, sizeof(refusal->name));
	memcpy(refusal->run, join->run, sizeof(refusal->run));
	refusal->uid = join->uid;
	refusal->rank = join->rank;
	refusal->error = error;
	(void)snprintf(refusal->text, sizeof(refusal->text), "%s", text);
}

/* Everybody who has come is told why there is no group. */
static void refuse_all(struct rendezvous *r, struct gathering *g, int error, const char *text)
{
	for (uint32_t i = 0; i < g->ranks; i++)
		if (g->entries[i])
			refuse(r, g->seat_list[g->entries[i]->seat].about.instance,
			       &g->entries[i]->join, error, text);
	forget(r, g);
}

/* --- who comes and goes ----------------------------------------------------------------------- */

static bool same_names(const struct gathering *g, const char *name, const char *run)
{
	return strcmp(g->name, name) == 0 && strcmp(g->run, run) == 0;
}

static struct gathering *find(const struct rendezvous *r, const struct wire_join *join)
{
	for (struct gathering *g = r->gatherings; g; g = g->next)
		if (!g->setup && g->uid == join->uid && same_names(g, join->name, join->run))
			return g;
	return NULL;
}

static struct gathering *begin(struct rendezvous *r, const struct wire_join *join)
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

/* The first whose time will be up; NULL: nobody is there. */
static const struct entry *earliest(const struct gathering *g)
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

/* What ranks must say alike.  Return: whether they do; otherwise *text says who does not. */
static bool agrees(const struct gathering *g, const struct wire_node *from,
		   const struct wire_join *join, char text[WIRE_TEXT_BYTES])
{
	const struct entry *e = earliest(g);

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

/* Return: 0, or negative errno and *text: this rank alone is refused. */
static int admit(struct gathering *g, const struct wire_node *from, const struct wire_join *join,
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

static void fill_table(struct gathering *g, struct wire_table *table)
{
	struct wire_node *nodes = (struct wire_node *)(table + 1);
	uint16_t *ranks = (uint16_t *)(nodes + g->seats);
	uint16_t next = 0;

	memcpy(table->name, g->name, sizeof(table->name));
	memcpy(table->run, g->run, sizeof(table->run));
	table->group = g->group;
	table->uid = g->uid;
	table->epoch = 1;
	table->nodes = g->seats;
	table->ranks = g->ranks;
	table->lanes = UINT32_MAX;
	table->chunk_bytes_max = UINT32_MAX;
	for (uint32_t i = 0; i < g->ranks; i++) {
		const struct wire_join *join = &g->entries[i]->join;
		struct seat *seat = &g->seat_list[g->entries[i]->seat];

		if (!seat->ready) {
			seat->ready = true; /* here: has its number */
			seat->node = next;
			nodes[next++] = seat->about;
		}
		ranks[i] = seat->node;
		table->schedule = join->schedule;
		if (join->lanes < table->lanes)
			table->lanes = join->lanes;
		if (join->chunk_bytes_max < table->chunk_bytes_max)
			table->chunk_bytes_max = join->chunk_bytes_max;
	}
	for (uint32_t s = 0; s < g->seats; s++)
		g->seat_list[s].ready = false;
}

/* A daemon all of whose ranks were withdrawn has no place in the table. */
static void drop_empty_seats(struct gathering *g)
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

static void send_table(struct rendezvous *r, struct gathering *g)
{
	struct wire_table *table;
	size_t bytes;

	drop_empty_seats(g);
	bytes = wire_table_bytes(g->seats, g->ranks);
	table = calloc(1, bytes);
	if (!table) {
		refuse_all(r, g, -ENOMEM, "the root's daemon has no memory left");
		return;
	}
	g->setup = true;
	do
		g->group = r->instance + ++r->groups;
	while (!g->group);
	fill_table(g, table);
	for (uint32_t s = 0; s < g->seats; s++) {
		void *payload = put(r, g->seat_list[s].about.instance, WIRE_TABLE, bytes);

		if (payload)
			memcpy(payload, table, bytes);
	}
	free(table);
}

/* Also for one user alone: nobody keeps the others out. */
static bool is_full(const struct rendezvous *r, uint32_t uid, char text[WIRE_TEXT_BYTES])
{
	uint32_t own = 0;

	for (const struct gathering *g = r->gatherings; g; g = g->next)
		own += g->uid == uid;
	(void)snprintf(text, WIRE_TEXT_BYTES, "%u groups%s are being formed already",
		       own < RENDEZVOUS_UID_MAX ? r->count : own,
		       own < RENDEZVOUS_UID_MAX ? "" : " of this user");
	return own == RENDEZVOUS_UID_MAX || r->count == RENDEZVOUS_MAX;
}

void rendezvous_join(struct rendezvous *r, const struct wire_node *from,
		     const struct wire_join *join, uint64_t now_ns)
{
	struct gathering *g = find(r, join);
	char text[WIRE_TEXT_BYTES];
	int error;

	if (!g && is_full(r, join->uid, text)) {
		refuse(r, from->instance, join, -EUSERS, text);
		return;
	}
	if (!g)
		g = begin(r, join);
	if (!g) {
		refuse(r, from->instance, join, -ENOMEM, "the root's daemon has no memory left");
		return;
	}
	if (!agrees(g, from, join, text)) {
		refuse(r, from->instance, join, -EINVAL, text);
		refuse_all(r, g, -EINVAL, text);
		return;
	}
	error = admit(g, from, join, now_ns, text);
	if (error) {
		refuse(r, from->instance, join, error, text);
		if (!g->count)
			forget(r, g);
		return;
	}
	if (g->count == g->ranks)
		send_table(r, g);
}

static void take_out(struct gathering *g, uint32_t rank)
{
	struct entry *e = g->entries[rank];

	g->seat_list[e->seat].ranks--;
	g->entries[rank] = NULL;
	g->count--;
	free(e);
	drop_empty_seats(g);
}

void rendezvous_withdraw(struct rendezvous *r, uint64_t instance, const struct wire_refuse *refusal)
{
	struct gathering *g = r->gatherings;

	for (; g; g = g->next) {
		const struct entry *e;

		if (g->uid != refusal->uid || !same_names(g, refusal->name, refusal->run) ||
		    refusal->rank >= g->ranks)
			continue;
		e = g->entries[refusal->rank];
		if (e && g->seat_list[e->seat].about.instance == instance)
			break;
	}
	if (!g)
		return;
	if (g->setup) {
		refuse_all(r, g, refusal->error, refusal->text);
		return;
	}
	take_out(g, refusal->rank);
	if (!g->count)
		forget(r, g);
}

void rendezvous_ready(struct rendezvous *r, uint64_t instance, const struct wire_ready *ready)
{
	struct gathering *g = r->gatherings;
	uint32_t waiting = 0;

	while (g && (!g->setup || g->group != ready->group))
		g = g->next;
	if (!g)
		return;
	for (uint32_t s = 0; s < g->seats; s++) {
		struct seat *seat = &g->seat_list[s];

		if (seat->about.instance == instance && seat->node == ready->node)
			seat->ready = true;
		waiting += !seat->ready;
	}
	if (waiting)
		return;
	for (uint32_t s = 0; s < g->seats; s++) {
		struct wire_ready *go =
			put(r, g->seat_list[s].about.instance, WIRE_GO, sizeof(*go));

		if (go)
			*go = (struct wire_ready){.group = g->group, .epoch = 1};
	}
	forget(r, g);
}

static struct seat *seat_of(const struct gathering *g, uint64_t instance)
{
	for (uint32_t s = 0; s < g->seats; s++)
		if (g->seat_list[s].about.instance == instance)
			return &g->seat_list[s];
	return NULL;
}

void rendezvous_node_gone(struct rendezvous *r, uint64_t instance, const char *why)
{
	struct gathering *g, *next;

	for (g = r->gatherings; g; g = next) {
		const struct seat *seat = seat_of(g, instance);
		char text[WIRE_TEXT_BYTES];

		next = g->next;
		if (!seat)
			continue;
		if (g->setup) {
			(void)snprintf(text, sizeof(text),
				       "host %s %s while group \"%s\" was formed", seat->about.host,
				       why, g->name);
			refuse_all(r, g, -EHOSTDOWN, text);
			continue;
		}
		for (uint32_t i = 0; i < g->ranks; i++)
			if (g->entries[i] &&
			    g->seat_list[g->entries[i]->seat].about.instance == instance)
				take_out(g, i);
		if (!g->count)
			forget(r, g);
	}
}

void rendezvous_stop(struct rendezvous *r, const char *why)
{
	while (r->gatherings)
		refuse_all(r, r->gatherings, -ESHUTDOWN, why);
}

/* Ranks that came to another user's group of the same name: perhaps they are the missing ones. */
static void hint(const struct rendezvous *r, const struct gathering *g, char *text, size_t bytes)
{
	size_t used = strlen(text);

	for (const struct gathering *o = r->gatherings; o; o = o->next)
		if (o != g && same_names(o, g->name, g->run) && o->uid != g->uid) {
			(void)snprintf(
				text + used, bytes - used,
				"; user %u waits for a group of the same name with %u of %u ranks",
				o->uid, o->count, o->ranks);
			return;
		}
}

static void too_late(struct rendezvous *r, struct gathering *g, uint64_t now_ns)
{
	uint64_t tenths =
		(now_ns - earliest(g)->came_ns + 50 * CLOCK_NS_PER_MS) / (100 * CLOCK_NS_PER_MS);
	char text[WIRE_TEXT_BYTES], ranks[160];
	bool missing[WIRE_RANKS_MAX];

	for (uint32_t i = 0; i < g->ranks; i++)
		missing[i] = g->setup ? !g->seat_list[g->entries[i]->seat].ready : !g->entries[i];
	group_ranks_text(missing, g->ranks, ranks, sizeof(ranks));
	if (g->setup) {
		(void)snprintf(text, sizeof(text),
			       "group \"%s\": the daemons of %s were not ready within %" PRIu64
			       ".%" PRIu64 " s",
			       g->name, ranks, tenths / 10, tenths % 10);
	} else {
		(void)snprintf(text, sizeof(text),
			       "group \"%s\": %s did not come within %" PRIu64 ".%" PRIu64
			       " s, %u of %u ranks are there",
			       g->name, ranks, tenths / 10, tenths % 10, g->count, g->ranks);
		hint(r, g, text, sizeof(text));
	}
	refuse_all(r, g, -ETIMEDOUT, text);
}

void rendezvous_tick(struct rendezvous *r, uint64_t now_ns)
{
	struct gathering *g, *next;

	for (g = r->gatherings; g; g = next) {
		next = g->next;
		if (earliest(g)->deadline_ns <= now_ns)
			too_late(r, g, now_ns);
	}
}

uint64_t rendezvous_deadline_ns(const struct rendezvous *r)
{
	uint64_t first = UINT64_MAX;

	for (const struct gathering *g = r->gatherings; g; g = g->next)
		if (earliest(g)->deadline_ns < first)
			first = earliest(g)->deadline_ns;
	return first;
}

bool rendezvous_involves(const struct rendezvous *r, uint64_t instance)
{
	for (const struct gathering *g = r->gatherings; g; g = g->next)
		if (seat_of(g, instance))
			return true;
	return false;
}
