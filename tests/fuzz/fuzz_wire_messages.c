/*
 * fuzz_wire_messages.c - payloads of frames.
 *
 * Input: a byte that names the kind, then the payload, which the check gets in memory of
 * just that size.  Properties: what passes keeps the promises of wire.h, stated here once
 * more by other means; the payload is only read; each check takes its own size only.
 */
#include "tests/fuzz/property.h"

#include <arpa/inet.h>

#include "proto/wire.h"
#include "tests/common/samples.h"

#define TEXT(t) PROPERTY(terminated((t), sizeof(t)))
#define NAME(t) PROPERTY(terminated((t), sizeof(t)) && (t)[0])

/* Numeric: the part before a %scope parses. */
static void address_holds(const char *address)
{
	char host[48];
	unsigned char parsed[16];

	PROPERTY(terminated(address, 48));
	memcpy(host, address, sizeof(host));
	host[strcspn(host, "%")] = 0;
	PROPERTY(inet_pton(AF_INET6, host, parsed) == 1 ||
		 (inet_pton(AF_INET, host, parsed) == 1 && !strchr(address, '%')));
}

static void hello_holds(const struct wire_hello *h)
{
	PROPERTY(h->instance && h->offers <= 7);
	PROPERTY(!(h->offers & WIRE_OFFER_NO_TCP) || h->offers == 3);
	PROPERTY(h->purpose == WIRE_CONTROL || h->purpose == WIRE_DATA);
	PROPERTY(h->lane < WIRE_LANES_MAX && h->path < WIRE_PATHS_MAX);
	if (h->purpose == WIRE_CONTROL)
		PROPERTY(!h->lane && !h->path && h->port);
	if (h->port)
		address_holds(h->address);
	else
		PROPERTY(!h->address[0]);
	TEXT(h->host);
}

static void chunk_bytes_holds(uint32_t bytes)
{
	PROPERTY((bytes & 4095) == 0 && bytes > 4096 && bytes <= 4u << 20);
}

static void offer_holds(uint32_t lanes, uint32_t paths, uint32_t flat_bytes)
{
	PROPERTY(lanes - 1 < WIRE_LANES_MAX && paths - 1 < WIRE_PATHS_MAX);
	PROPERTY(flat_bytes <= 1u << 30);
}

static void join_holds(const struct wire_join *j)
{
	NAME(j->name);
	TEXT(j->run);
	PROPERTY(j->rank < j->ranks && j->ranks <= WIRE_RANKS_MAX);
	PROPERTY(j->timeout_ms);
	offer_holds(j->lanes, j->paths, j->flat_bytes_max);
	chunk_bytes_holds(j->chunk_bytes_max);
	chunk_bytes_holds(j->chunk_bytes_usual);
}

static void refuse_holds(const struct wire_refuse *r)
{
	NAME(r->name);
	TEXT(r->run);
	NAME(r->text);
	PROPERTY(r->rank < WIRE_RANKS_MAX && r->error < 0 && r->error > -4096 && !r->reserved);
}

static void table_holds(const struct wire_table *t, size_t bytes)
{
	const struct wire_node *nodes = wire_table_nodes(t);
	const uint16_t *ranks = wire_table_ranks(t);
	uint32_t lowest[WIRE_NODES_MAX];

	NAME(t->name);
	TEXT(t->run);
	PROPERTY(t->group && t->epoch && !t->reserved);
	offer_holds(t->lanes, t->paths, t->flat_bytes_max);
	chunk_bytes_holds(t->chunk_bytes_max);
	chunk_bytes_holds(t->chunk_bytes_usual);
	PROPERTY(t->nodes >= 1 && t->nodes <= WIRE_NODES_MAX);
	PROPERTY(t->ranks >= t->nodes && t->ranks <= WIRE_RANKS_MAX);
	PROPERTY((const char *)(ranks + t->ranks) == (const char *)t + bytes);
	memset(lowest, 0xff, sizeof(lowest));
	for (uint32_t rank = t->ranks; rank-- > 0;) {
		PROPERTY(ranks[rank] < t->nodes);
		lowest[ranks[rank]] = rank;
	}
	for (uint32_t i = 0; i < t->nodes; i++) {
		PROPERTY(lowest[i] < t->ranks);
		PROPERTY(i == 0 || lowest[i] > lowest[i - 1]);
		PROPERTY(nodes[i].instance && nodes[i].port);
		PROPERTY(!nodes[i].reserved0 && !nodes[i].reserved1);
		address_holds(nodes[i].address);
		TEXT(nodes[i].host);
		for (uint32_t j = i + 1; j < t->nodes; j++)
			PROPERTY(nodes[i].instance != nodes[j].instance);
	}
}

static void leave_holds(const struct wire_leave *l)
{
	PROPERTY(l->group && l->epoch && l->rank < WIRE_RANKS_MAX && !l->reserved);
	PROPERTY(l->error <= 0 && l->error > -4096);
	TEXT(l->text);
}

static void end_holds(const struct wire_end *e)
{
	PROPERTY(e->group && e->epoch && e->first_seq && e->first_seq <= e->last_seq);
	PROPERTY(e->error < 0 && e->error > -4096);
	NAME(e->text);
}

static void lease_holds(const struct wire_lease *l, size_t bytes)
{
	PROPERTY(l->group && l->epoch && l->from && l->from <= l->through);
	PROPERTY(l->count <= WIRE_CHOICES_MAX && bytes == wire_lease_bytes(l->count));
	for (uint32_t i = 0; i < l->count; i++) {
		const struct wire_choice *c = &wire_lease_choices(l)[i];

		PROPERTY(c->list && c->size_class < 64 && c->alternative < c->alternatives);
		PROPERTY(c->alternatives <= WIRE_ALTERNATIVES_MAX && c->settled <= 1);
		for (uint8_t a = c->alternatives; a < WIRE_ALTERNATIVES_MAX; a++)
			PROPERTY(!c->cost[a]);
	}
}

static void message_holds(uint16_t kind, const void *payload, size_t bytes)
{
	const struct wire_ready *ready = payload;
	const struct wire_beat *beat = payload;
	const struct wire_choose *choose = payload;

	if (kind == WIRE_HELLO)
		hello_holds(payload);
	else if (kind == WIRE_JOIN)
		join_holds(payload);
	else if (kind == WIRE_REFUSE)
		refuse_holds(payload);
	else if (kind == WIRE_TABLE)
		table_holds(payload, bytes);
	else if (kind == WIRE_READY || kind == WIRE_GO)
		PROPERTY(ready->group && ready->epoch && ready->node < WIRE_NODES_MAX);
	else if (kind == WIRE_LEAVE)
		leave_holds(payload);
	else if (kind == WIRE_PROPOSE || kind == WIRE_END)
		end_holds(payload);
	else if (kind == WIRE_BEAT)
		PROPERTY(beat->instance);
	else if (kind == WIRE_CHOOSE)
		PROPERTY(choose->group && choose->seq && choose->epoch && !choose->reserved);
	else if (kind == WIRE_LEASE)
		lease_holds(payload, bytes);
}

/* What a payload check takes, a frame of that length passes too. */
static void frame_takes(uint16_t kind, size_t bytes)
{
	struct sample_payload unused;
	struct wire_frame frame;

	sample_wire(kind, &frame, &unused);
	frame.payload_bytes = (uint32_t)bytes;
	wire_seal(&frame, NULL);
	PROPERTY(wire_check(&frame) == WIRE_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = {data, bytes};
	enum wire_verdict verdict;
	uint8_t kind;
	void *payload;

	take(&in, &kind, 1);
	if (kind != WIRE_HELLO && (kind < WIRE_JOIN || kind > WIRE_BEAT) && kind != WIRE_CHOOSE &&
	    kind != WIRE_LEASE)
		return 0;
	payload = rest_of(&in);
	verdict = sample_wire_payload_check(kind, payload, in.bytes);
	PROPERTY(!in.bytes || !memcmp(payload, in.data, in.bytes));
	PROPERTY(verdict == WIRE_OK || verdict == WIRE_BAD_LENGTH || verdict == WIRE_BAD_PAYLOAD);
	if (verdict == WIRE_OK) {
		message_holds(kind, payload, in.bytes);
		frame_takes(kind, in.bytes);
	}
	free(payload);
	return 0;
}
