/* rendezvous_say.c - frames to be sent: REFUSE, TABLE, GO; see rendezvous_state.h. */
#include "daemon/rendezvous_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct message {
	struct message *next;
	struct rendezvous_out out;
	_Alignas(8) unsigned char payload[];
};

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

void say_refuse(struct rendezvous *r, uint64_t instance, const struct wire_join *join, int error,
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

void say_refuse_all(struct rendezvous *r, struct gathering *g, int error, const char *text)
{
	for (uint32_t i = 0; i < g->ranks; i++)
		if (g->entries[i])
			say_refuse(r, g->seat_list[g->entries[i]->seat].about.instance,
				   &g->entries[i]->join, error, text);
	gathering_forget(r, g);
}

/* What every node can do: the least of what each offers. */
static void agree(struct wire_table *table, const struct wire_join *join)
{
	if (join->lanes < table->lanes)
		table->lanes = join->lanes;
	if (join->paths < table->paths)
		table->paths = join->paths;
	if (join->chunk_bytes_max < table->chunk_bytes_max)
		table->chunk_bytes_max = join->chunk_bytes_max;
	if (join->chunk_bytes_usual < table->chunk_bytes_usual)
		table->chunk_bytes_usual = join->chunk_bytes_usual;
	if (join->flat_bytes_max < table->flat_bytes_max)
		table->flat_bytes_max = join->flat_bytes_max;
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
	table->epoch = RENDEZVOUS_EPOCH;
	table->nodes = g->seats;
	table->ranks = g->ranks;
	table->lanes = WIRE_LANES_MAX;
	table->paths = WIRE_PATHS_MAX;
	table->chunk_bytes_max = WIRE_CHUNK_BYTES_MAX;
	table->chunk_bytes_usual = WIRE_CHUNK_BYTES_MAX;
	table->flat_bytes_max = WIRE_FLAT_BYTES_MAX;
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
		agree(table, join);
	}
	for (uint32_t s = 0; s < g->seats; s++)
		g->seat_list[s].ready = false;
}

void say_table(struct rendezvous *r, struct gathering *g)
{
	struct wire_table *table;
	size_t bytes;

	gathering_drop_seats(g);
	bytes = wire_table_bytes(g->seats, g->ranks);
	table = calloc(1, bytes);
	if (!table) {
		say_refuse_all(r, g, -ENOMEM, "the root's daemon has no memory left");
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

void say_go(struct rendezvous *r, const struct gathering *g)
{
	for (uint32_t s = 0; s < g->seats; s++) {
		struct wire_ready *go =
			put(r, g->seat_list[s].about.instance, WIRE_GO, sizeof(*go));

		if (go)
			*go = (struct wire_ready){.group = g->group, .epoch = RENDEZVOUS_EPOCH};
	}
}
