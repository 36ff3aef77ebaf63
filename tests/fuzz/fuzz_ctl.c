/*
 * fuzz_ctl.c - packets of the Unix socket.
 *
 * Input: a packet, which the checks get in memory of just that size.  Properties: what
 * passes keeps the promises of ctl.h, stated here once more; nothing is both a request and
 * an answer; the packet is only read.
 */
#include "tests/fuzz/property.h"

#include <arpa/inet.h>

#include "proto/ctl.h"
#include "proto/shm.h"
#include "proto/wire.h"

#define TEXT(t) PROPERTY(terminated((t), sizeof(t)))
#define NAME(t) PROPERTY(terminated((t), sizeof(t)) && (t)[0])

static void create_holds(const struct ctl_create *c)
{
	char host[CTL_NAME_BYTES];
	unsigned char parsed[16];

	NAME(c->name);
	TEXT(c->run);
	NAME(c->root);
	memcpy(host, c->root, sizeof(host));
	host[strcspn(host, "%")] = 0;
	PROPERTY(inet_pton(AF_INET, host, parsed) == 1 || inet_pton(AF_INET6, host, parsed) == 1);
	PROPERTY(c->root_port && c->timeout_ms && !c->reserved[0] && !c->reserved[1]);
	PROPERTY(c->rank < c->ranks && c->ranks <= WIRE_RANKS_MAX);
}

static void tensor_holds(const struct ctl_tensor *t)
{
	TEXT(t->key_name);
	TEXT(t->codec);
	TEXT(t->feedback);
	PROPERTY(t->handle < SHM_GROUPS_MAX || t->handle == CTL_NO_GROUP);
	PROPERTY(!t->key == !t->key_name[0] && !t->type == !t->key_name[0]);
	PROPERTY(t->count <= WIRE_COUNT_MAX && (t->key || !t->count));
}

static void request_holds(const struct ctl_header *header)
{
	const struct ctl_attach *attach = (const struct ctl_attach *)(header + 1);
	const struct ctl_destroy *destroy = (const struct ctl_destroy *)(header + 1);
	const struct ctl_query *query = (const struct ctl_query *)(header + 1);

	PROPERTY(header->kind >= CTL_ATTACH && header->kind <= CTL_TENSOR);
	if (header->kind == CTL_ATTACH) {
		PROPERTY(attach->arena_bytes <= 1ull << 46);
		TEXT(attach->name);
	} else if (header->kind == CTL_CREATE) {
		create_holds((const struct ctl_create *)(header + 1));
	} else if (header->kind == CTL_DESTROY) {
		PROPERTY(destroy->handle < SHM_GROUPS_MAX && !destroy->reserved);
	} else if (header->kind == CTL_TENSOR) {
		tensor_holds((const struct ctl_tensor *)(header + 1));
	} else {
		NAME(query->what);
	}
}

static void answer_holds(const struct ctl_header *header)
{
	const struct ctl_error *error = (const struct ctl_error *)(header + 1);
	const struct ctl_attached *attached = (const struct ctl_attached *)(header + 1);
	const struct ctl_created *created = (const struct ctl_created *)(header + 1);

	PROPERTY(header->kind >= CTL_OK && header->kind <= CTL_NUMBER);
	if (header->kind == CTL_ERROR) {
		PROPERTY(error->error < 0 && error->error > -4096 && !error->reserved);
		NAME(error->text);
	} else if (header->kind == CTL_ATTACHED) {
		PROPERTY(attached->total_bytes && attached->lanes - 1 < SHM_LANES_MAX);
		TEXT(attached->version);
	} else if (header->kind == CTL_CREATED) {
		PROPERTY(created->group && created->handle < SHM_GROUPS_MAX);
		PROPERTY(created->node < created->nodes && created->nodes <= WIRE_NODES_MAX);
		PROPERTY(created->lanes - 1 < SHM_LANES_MAX);
	} else if (header->kind == CTL_NUMBER) {
		PROPERTY(((const struct ctl_number *)(header + 1))->number < UINT16_MAX);
	} else if (header->kind == CTL_MORE) {
		PROPERTY(header->bytes);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = {data, bytes};
	const struct ctl_header *header = rest_of(&in);
	enum ctl_verdict request = ctl_request_check(header, bytes);
	enum ctl_verdict answer = ctl_answer_check(header, bytes);

	PROPERTY(request != CTL_GOOD || answer != CTL_GOOD);
	PROPERTY((request == CTL_TOO_SHORT) == (bytes < sizeof(*header)));
	PROPERTY(!bytes || !memcmp(header, data, bytes));
	if (request == CTL_GOOD || answer == CTL_GOOD) {
		PROPERTY(header->magic == CTL_MAGIC && header->version == CTL_VERSION);
		PROPERTY(header->bytes == bytes - sizeof(*header));
		PROPERTY(bytes <= CTL_PACKET_BYTES_MAX);
	}
	if (request == CTL_GOOD)
		request_holds(header);
	if (answer == CTL_GOOD)
		answer_holds(header);
	free((void *)header);
	return 0;
}
