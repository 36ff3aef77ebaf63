/*
 * wire_messages.c - the checks of payloads: what a peer says in a HELLO, of a group,
 * of its members and of its own health.
 *
 * Each check is one function, one sentence of rules.  A payload of the wrong size is
 * WIRE_BAD_LENGTH, and nothing of it is read; anything else that is wrong is
 * WIRE_BAD_PAYLOAD.
 */
#include "proto/wire.h"

#include "proto/text.h"

#define ERRNO_MAX 4095 /* as in the kernel */

static bool failed(int32_t error)
{
	return error < 0 && error >= -ERRNO_MAX;
}

static enum wire_verdict verdict(bool good)
{
	return good ? WIRE_OK : WIRE_BAD_PAYLOAD;
}

/* Where somebody listens: both or neither. */
static bool endpoint_ok(const char address[48], uint16_t port)
{
	return port ? text_address_ok(address, 48) : text_ok(address, 48) && !address[0];
}

/* RDMA alone is only what was asked for. */
static bool offers_ok(uint32_t offers)
{
	return offers <= (WIRE_OFFER_VERBS | WIRE_OFFER_NO_TCP | WIRE_OFFER_AUTO) &&
	       (!(offers & WIRE_OFFER_NO_TCP) || offers == (WIRE_OFFER_VERBS | WIRE_OFFER_NO_TCP));
}

bool wire_offers_fit(uint32_t one, uint32_t other)
{
	return (one & other & WIRE_OFFER_VERBS) || !((one | other) & WIRE_OFFER_NO_TCP);
}

const char *wire_offers_text(uint32_t offers)
{
	if (offers & WIRE_OFFER_NO_TCP)
		return "RDMA alone (transport = verbs)";
	if (offers & WIRE_OFFER_VERBS)
		return "RDMA or TCP (transport = auto)";
	return offers & WIRE_OFFER_AUTO
		       ? "TCP alone (transport = auto, and no RDMA device that it may use)"
		       : "TCP alone (transport = uring)";
}

enum wire_verdict wire_hello_check(const struct wire_hello *hello, size_t bytes)
{
	bool place;

	if (bytes != sizeof(*hello))
		return WIRE_BAD_LENGTH;
	if (hello->purpose == WIRE_CONTROL)
		place = !hello->lane && !hello->path && hello->port;
	else if (hello->purpose == WIRE_DATA)
		place = hello->lane < WIRE_LANES_MAX && hello->path < WIRE_PATHS_MAX;
	else
		place = false;
	return verdict(place && hello->instance && offers_ok(hello->offers) &&
		       endpoint_ok(hello->address, hello->port) &&
		       text_ok(hello->host, sizeof(hello->host)));
}

static bool chunk_bytes_ok(uint32_t bytes)
{
	return bytes >= WIRE_CHUNK_BYTES_LEAST && bytes <= WIRE_CHUNK_BYTES_MAX &&
	       bytes % WIRE_CHUNK_BYTES_STEP == 0;
}

/* What the nodes of a group offer, or have agreed on. */
static bool offer_ok(uint32_t lanes, uint32_t paths, uint32_t flat_bytes_max)
{
	return lanes >= 1 && lanes <= WIRE_LANES_MAX && paths >= 1 && paths <= WIRE_PATHS_MAX &&
	       flat_bytes_max <= WIRE_FLAT_BYTES_MAX;
}

enum wire_verdict wire_join_check(const struct wire_join *join, size_t bytes)
{
	if (bytes != sizeof(*join))
		return WIRE_BAD_LENGTH;
	return verdict(text_named(join->name, sizeof(join->name)) &&
		       text_ok(join->run, sizeof(join->run)) && join->ranks >= 1 &&
		       join->ranks <= WIRE_RANKS_MAX && join->rank < join->ranks &&
		       join->timeout_ms >= 1 && chunk_bytes_ok(join->chunk_bytes_max) &&
		       chunk_bytes_ok(join->chunk_bytes_usual) &&
		       offer_ok(join->lanes, join->paths, join->flat_bytes_max));
}

enum wire_verdict wire_refuse_check(const struct wire_refuse *refuse, size_t bytes)
{
	if (bytes != sizeof(*refuse))
		return WIRE_BAD_LENGTH;
	return verdict(text_named(refuse->name, sizeof(refuse->name)) &&
		       text_ok(refuse->run, sizeof(refuse->run)) && refuse->rank < WIRE_RANKS_MAX &&
		       failed(refuse->error) && !refuse->reserved &&
		       text_named(refuse->text, sizeof(refuse->text)));
}

static bool node_ok(const struct wire_node *node)
{
	return node->instance && node->port && !node->reserved0 && !node->reserved1 &&
	       text_address_ok(node->address, sizeof(node->address)) &&
	       text_ok(node->host, sizeof(node->host));
}

static bool nodes_ok(const struct wire_node *nodes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!node_ok(&nodes[i]))
			return false;
		for (uint32_t j = 0; j < i; j++)
			if (nodes[i].instance == nodes[j].instance)
				return false;
	}
	return true;
}

/* Nodes are numbered as they first appear: so all of them exist, are used, and are in order. */
static bool ranks_ok(const uint16_t *ranks, uint32_t count, uint32_t nodes)
{
	uint32_t seen = 0;

	for (uint32_t i = 0; i < count; i++) {
		if (ranks[i] > seen)
			return false;
		if (ranks[i] == seen)
			seen++;
	}
	return seen == nodes;
}

enum wire_verdict wire_table_check(const struct wire_table *table, size_t bytes)
{
	if (bytes < sizeof(*table))
		return WIRE_BAD_LENGTH;
	if (table->nodes < 1 || table->nodes > WIRE_NODES_MAX || table->ranks < table->nodes ||
	    table->ranks > WIRE_RANKS_MAX)
		return WIRE_BAD_PAYLOAD;
	if (bytes != wire_table_bytes(table->nodes, table->ranks))
		return WIRE_BAD_LENGTH;
	return verdict(table->group && text_named(table->name, sizeof(table->name)) &&
		       text_ok(table->run, sizeof(table->run)) && table->epoch &&
		       chunk_bytes_ok(table->chunk_bytes_max) &&
		       chunk_bytes_ok(table->chunk_bytes_usual) && !table->reserved &&
		       offer_ok(table->lanes, table->paths, table->flat_bytes_max) &&
		       nodes_ok(wire_table_nodes(table), table->nodes) &&
		       ranks_ok(wire_table_ranks(table), table->ranks, table->nodes));
}

enum wire_verdict wire_ready_check(const struct wire_ready *ready, size_t bytes)
{
	if (bytes != sizeof(*ready))
		return WIRE_BAD_LENGTH;
	return verdict(ready->group && ready->epoch && ready->node < WIRE_NODES_MAX);
}

enum wire_verdict wire_leave_check(const struct wire_leave *leave, size_t bytes)
{
	if (bytes != sizeof(*leave))
		return WIRE_BAD_LENGTH;
	return verdict(leave->group && leave->epoch && leave->rank < WIRE_RANKS_MAX &&
		       (!leave->error || failed(leave->error)) && !leave->reserved &&
		       text_ok(leave->text, sizeof(leave->text)));
}

enum wire_verdict wire_end_check(const struct wire_end *end, size_t bytes)
{
	if (bytes != sizeof(*end))
		return WIRE_BAD_LENGTH;
	return verdict(end->group && end->epoch && end->first_seq &&
		       end->first_seq <= end->last_seq && failed(end->error) &&
		       text_named(end->text, sizeof(end->text)));
}

enum wire_verdict wire_beat_check(const struct wire_beat *beat, size_t bytes)
{
	if (bytes != sizeof(*beat))
		return WIRE_BAD_LENGTH;
	return verdict(beat->instance != 0);
}

enum wire_verdict wire_choose_check(const struct wire_choose *choose, size_t bytes)
{
	if (bytes != sizeof(*choose))
		return WIRE_BAD_LENGTH;
	return verdict(choose->group && choose->epoch && choose->seq && !choose->reserved);
}

static bool choice_ok(const struct wire_choice *c)
{
	bool unused = true;

	if (c->alternatives < 1 || c->alternatives > WIRE_ALTERNATIVES_MAX)
		return false;
	for (uint8_t a = c->alternatives; a < WIRE_ALTERNATIVES_MAX; a++)
		unused &= !c->cost[a];
	return unused && c->list && c->size_class < 64 && c->alternative < c->alternatives &&
	       c->settled <= 1;
}

enum wire_verdict wire_lease_check(const struct wire_lease *lease, size_t bytes)
{
	bool good = true;

	if (bytes < sizeof(*lease))
		return WIRE_BAD_LENGTH;
	if (lease->count > WIRE_CHOICES_MAX)
		return WIRE_BAD_PAYLOAD;
	if (bytes != wire_lease_bytes(lease->count))
		return WIRE_BAD_LENGTH;
	for (uint32_t i = 0; i < lease->count; i++)
		good &= choice_ok(&wire_lease_choices(lease)[i]);
	return verdict(good && lease->group && lease->epoch && lease->from &&
		       lease->from <= lease->through);
}
