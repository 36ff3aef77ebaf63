/* rendezvous.c - life, who comes and goes, time; see rendezvous.h and rendezvous_state.h. */
#include "daemon/rendezvous.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/group.h"
#include "daemon/rendezvous_state.h"

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

void rendezvous_free(struct rendezvous *r)
{
	struct rendezvous_out out;

	if (!r)
		return;
	while (r->gatherings)
		gathering_forget(r, r->gatherings);
	while (rendezvous_next(r, &out))
		continue;
	free(r);
}

uint32_t rendezvous_count(const struct rendezvous *r)
{
	return r->count;
}

/* --- who comes and goes ----------------------------------------------------------------------- */

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
	struct gathering *g = gathering_find(r, join);
	char text[WIRE_TEXT_BYTES];
	int error;

	if (!g && is_full(r, join->uid, text)) {
		say_refuse(r, from->instance, join, -EUSERS, text);
		return;
	}
	if (!g)
		g = gathering_begin(r, join);
	if (!g) {
		say_refuse(r, from->instance, join, -ENOMEM,
			   "the root's daemon has no memory left");
		return;
	}
	if (!gathering_agrees(g, from, join, text)) {
		say_refuse(r, from->instance, join, -EINVAL, text);
		say_refuse_all(r, g, -EINVAL, text);
		return;
	}
	error = gathering_admit(g, from, join, now_ns, text);
	if (error) {
		say_refuse(r, from->instance, join, error, text);
		if (!g->count)
			gathering_forget(r, g);
		return;
	}
	if (g->count == g->ranks)
		say_table(r, g);
}

void rendezvous_withdraw(struct rendezvous *r, uint64_t instance, const struct wire_refuse *refusal)
{
	struct gathering *g = r->gatherings;

	for (; g; g = g->next) {
		const struct entry *e;

		if (g->uid != refusal->uid || !gathering_named(g, refusal->name, refusal->run) ||
		    refusal->rank >= g->ranks)
			continue;
		e = g->entries[refusal->rank];
		if (e && g->seat_list[e->seat].about.instance == instance)
			break;
	}
	if (!g)
		return;
	if (g->setup) {
		say_refuse_all(r, g, refusal->error, refusal->text);
		return;
	}
	gathering_take_out(g, refusal->rank);
	if (!g->count)
		gathering_forget(r, g);
}

void rendezvous_ready(struct rendezvous *r, uint64_t instance, const struct wire_ready *ready)
{
	struct gathering *g = r->gatherings;
	uint32_t waiting = 0;

	while (g && (!g->setup || g->group != ready->group))
		g = g->next;
	if (!g || ready->epoch != RENDEZVOUS_EPOCH)
		return;
	for (uint32_t s = 0; s < g->seats; s++) {
		struct seat *seat = &g->seat_list[s];

		if (seat->about.instance == instance && seat->node == ready->node)
			seat->ready = true;
		waiting += !seat->ready;
	}
	if (waiting)
		return;
	say_go(r, g);
	gathering_forget(r, g);
}

void rendezvous_node_gone(struct rendezvous *r, uint64_t instance, const char *why)
{
	struct gathering *g, *next;

	for (g = r->gatherings; g; g = next) {
		const struct seat *seat = gathering_seat(g, instance);
		char text[WIRE_TEXT_BYTES];

		next = g->next;
		if (!seat)
			continue;
		if (g->setup) {
			(void)snprintf(text, sizeof(text),
				       "host %s %s while group \"%s\" was formed", seat->about.host,
				       why, g->name);
			say_refuse_all(r, g, -EHOSTDOWN, text);
			continue;
		}
		for (uint32_t i = 0; i < g->ranks; i++)
			if (g->entries[i] &&
			    g->seat_list[g->entries[i]->seat].about.instance == instance)
				gathering_take_out(g, i);
		if (!g->count)
			gathering_forget(r, g);
	}
}

void rendezvous_stop(struct rendezvous *r, const char *why)
{
	while (r->gatherings)
		say_refuse_all(r, r->gatherings, -ESHUTDOWN, why);
}

/* --- time ------------------------------------------------------------------------------------- */

/* Ranks that came to another user's group of the same name: perhaps they are the missing ones. */
static void hint(const struct rendezvous *r, const struct gathering *g, char *text, size_t bytes)
{
	size_t used = strlen(text);

	for (const struct gathering *o = r->gatherings; o; o = o->next)
		if (o != g && gathering_named(o, g->name, g->run) && o->uid != g->uid) {
			(void)snprintf(
				text + used, bytes - used,
				"; user %u waits for a group of the same name with %u of %u ranks",
				o->uid, o->count, o->ranks);
			return;
		}
}

static void too_late(struct rendezvous *r, struct gathering *g, uint64_t now_ns)
{
	uint64_t tenths = (now_ns - gathering_earliest(g)->came_ns + 50 * CLOCK_NS_PER_MS) /
			  (100 * CLOCK_NS_PER_MS);
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
	say_refuse_all(r, g, -ETIMEDOUT, text);
}

void rendezvous_tick(struct rendezvous *r, uint64_t now_ns)
{
	struct gathering *g, *next;

	for (g = r->gatherings; g; g = next) {
		next = g->next;
		if (gathering_earliest(g)->deadline_ns <= now_ns)
			too_late(r, g, now_ns);
	}
}

uint64_t rendezvous_deadline_ns(const struct rendezvous *r)
{
	uint64_t first = UINT64_MAX;

	for (const struct gathering *g = r->gatherings; g; g = g->next)
		if (gathering_earliest(g)->deadline_ns < first)
			first = gathering_earliest(g)->deadline_ns;
	return first;
}

bool rendezvous_involves(const struct rendezvous *r, uint64_t instance)
{
	for (const struct gathering *g = r->gatherings; g; g = g->next)
		if (gathering_seat(g, instance))
			return true;
	return false;
}
