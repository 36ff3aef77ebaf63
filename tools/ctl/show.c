/* show.c - see show.h. */
#include "tools/ctl/show.h"

#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "tools/ctl/table.h"

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static int64_t number_of(const json_t *object, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(object, key));
}

static void cell_number(struct table *t, const json_t *object, const char *key)
{
	table_cell(t, "%" PRId64, number_of(object, key));
}

static void cell_size(struct table *t, const json_t *object, const char *key)
{
	char text[16];
	int64_t bytes = number_of(object, key);

	table_cell(t, "%s", table_size(bytes > 0 ? (uint64_t)bytes : 0, text, sizeof(text)));
}

/* 93784 s as 1d 2:03:04. */
static const char *uptime_text(const json_t *status, char *text, size_t bytes)
{
	int64_t s = (int64_t)json_number_value(json_object_get(status, "uptime_s"));

	if (s >= 86400)
		(void)snprintf(text, bytes, "%" PRId64 "d %" PRId64 ":%02d:%02d", s / 86400,
			       s / 3600 % 24, (int)(s / 60 % 60), (int)(s % 60));
	else
		(void)snprintf(text, bytes, "%" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60),
			       (int)(s % 60));
	return text;
}

static int show_lanes(const json_t *lanes, FILE *to)
{
	struct table t;
	size_t index;
	json_t *lane;

	table_init(&t, ">lane|>ops|>failed|>sent|>received|>frames out|>frames in|>resent|>syscalls"
		       "|transport");
	json_array_foreach(lanes, index, lane)
	{
		cell_number(&t, lane, "lane");
		cell_number(&t, lane, "ops_done");
		cell_number(&t, lane, "ops_failed");
		cell_size(&t, lane, "wire_sent");
		cell_size(&t, lane, "wire_received");
		cell_number(&t, lane, "frames_sent");
		cell_number(&t, lane, "frames_received");
		cell_number(&t, lane, "frames_resent");
		cell_number(&t, lane, "syscalls");
		table_cell(&t, "%s", text_of(lane, "transport"));
	}
	return table_end(&t, to);
}

static int show_clients(const json_t *clients, FILE *to)
{
	struct table t;
	size_t index;
	json_t *client;

	if (json_array_size(clients) == 0) {
		(void)fprintf(to, "no trainers\n");
		return 0;
	}
	table_init(&t, ">trainer|>pid|>uid|>groups|>arena|>used|name");
	json_array_foreach(clients, index, client)
	{
		cell_number(&t, client, "client");
		cell_number(&t, client, "pid");
		cell_number(&t, client, "uid");
		cell_number(&t, client, "groups");
		cell_size(&t, client, "arena_bytes");
		cell_size(&t, client, "resident_bytes");
		table_cell(&t, "%s", text_of(client, "name"));
	}
	return table_end(&t, to);
}

static int show_daemons(const json_t *peers, FILE *to)
{
	struct table t;
	size_t index;
	json_t *peer;

	if (json_array_size(peers) == 0) {
		(void)fprintf(to, "no other daemons\n");
		return 0;
	}
	table_init(&t, "daemon|address|state|connected|trouble");
	json_array_foreach(peers, index, peer)
	{
		table_cell(&t, "%s", text_of(peer, "host"));
		table_cell(&t, "%s", text_of(peer, "address"));
		table_cell(&t, "%s", text_of(peer, "state"));
		table_cell(&t, "%s",
			   json_is_true(json_object_get(peer, "connected")) ? "yes" : "no");
		table_cell(&t, "%s", text_of(peer, "trouble"));
	}
	return table_end(&t, to);
}

static int show_memory(const json_t *memory, FILE *to)
{
	struct table t;

	table_init(&t, "memory|>in use|>limit|limited by");
	table_cell(&t, "shared with trainers");
	cell_size(&t, memory, "shared_bytes");
	cell_size(&t, memory, "shared_bytes_max");
	table_cell(&t, "[limits] arena_bytes");
	table_cell(&t, "groups");
	cell_size(&t, memory, "groups_bytes");
	cell_size(&t, memory, "inflight_bytes_per_group");
	table_cell(&t, "[limits] inflight_bytes, each group");
	return table_end(&t, to);
}

int show_status(const json_t *status, FILE *to)
{
	const json_t *connections = json_object_get(status, "connections");
	char uptime[48];
	int error;

	(void)fprintf(to, "carryd %s, pid %" PRId64 ", up %s, socket %s\n",
		      text_of(status, "version"), number_of(status, "pid"),
		      uptime_text(status, uptime, sizeof(uptime)), text_of(status, "socket"));
	(void)fprintf(to,
		      "%" PRId64 " of %" PRId64 " groups, %" PRId64 " of %" PRId64
		      " connections, %" PRId64 " trainers, %" PRId64 " refused so far\n\n",
		      number_of(status, "groups"), number_of(status, "groups_max"),
		      number_of(connections, "open"), number_of(connections, "max"),
		      number_of(connections, "attached"), number_of(connections, "refused"));
	error = show_lanes(json_object_get(status, "lanes"), to);
	(void)fputc('\n', to);
	if (!error)
		error = show_clients(json_object_get(status, "clients"), to);
	(void)fputc('\n', to);
	if (!error)
		error = show_daemons(json_object_get(status, "peers"), to);
	(void)fputc('\n', to);
	if (!error)
		error = show_memory(json_object_get(status, "memory"), to);
	return error;
}

static int show_peers(const json_t *group, FILE *to)
{
	struct table t;
	size_t index;
	json_t *peer;

	table_init(&t, "   |>node|>ranks|host|address|state|over|why not RDMA");
	json_array_foreach(json_object_get(group, "peers"), index, peer)
	{
		table_cell(&t, "   ");
		cell_number(&t, peer, "node");
		cell_number(&t, peer, "ranks");
		table_cell(&t, "%s", text_of(peer, "host"));
		table_cell(&t, "%s", text_of(peer, "address"));
		table_cell(&t, "%s", text_of(peer, "state"));
		table_cell(&t, "%s",
			   strcmp(text_of(peer, "over"), "both") == 0 ? "RDMA and TCP"
								      : text_of(peer, "over"));
		table_cell(&t, "%s", text_of(peer, "why_not_rdma"));
	}
	return table_end(&t, to);
}

/* "none 7.36, int8 7.21, int4 2.20 ms/MiB": what was measured before the choice. */
static void cell_costs(struct table *t, const json_t *costs)
{
	char text[256] = "";
	size_t used = 0;
	const char *codec;
	json_t *cost;

	json_object_foreach((json_t *)(uintptr_t)costs, codec, cost)
	{
		if (!json_is_integer(cost) || used >= sizeof(text))
			continue;
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s %.2f",
					 used ? ", " : "", codec,
					 (double)json_integer_value(cost) / 1e6);
	}
	table_cell(t, "%s", text);
}

static int show_choices(const json_t *choices, FILE *to)
{
	struct table t;
	size_t index;
	json_t *choice;

	table_init(&t, "   |list|feedback|>from|>since op|codec||ms/MiB");
	json_array_foreach(choices, index, choice)
	{
		table_cell(&t, "   ");
		table_cell(&t, "%s", text_of(choice, "list"));
		table_cell(&t, "%s", text_of(choice, "feedback"));
		cell_size(&t, choice, "bytes_min");
		cell_number(&t, choice, "from_op");
		table_cell(&t, "%s", text_of(choice, "codec"));
		table_cell(&t, "%s",
			   json_is_true(json_object_get(choice, "settled")) ? "chosen" : "tried");
		cell_costs(&t, json_object_get(choice, "ns_per_mib"));
	}
	return table_end(&t, to);
}

enum { HISTORY_SHOWN = 8 };

/* The last changes, of all that are known: --json has more. */
static void show_history(const json_t *group, FILE *to)
{
	const json_t *history = json_object_get(group, "choice_history");
	size_t count = json_array_size(history);

	if (count)
		(void)fprintf(to, "    %" PRId64 " changes, the last of them:\n",
			      number_of(group, "choice_changes"));
	for (size_t i = count > HISTORY_SHOWN ? count - HISTORY_SHOWN : 0; i < count; i++) {
		const json_t *event = json_array_get(history, i);
		char bytes[16];

		(void)fprintf(
			to, "      from op %" PRId64 " on tensors from %s %s %s\n",
			number_of(event, "from_op"),
			table_size((uint64_t)number_of(event, "bytes_min"), bytes, sizeof(bytes)),
			json_is_true(json_object_get(event, "settled")) ? "go by" : "try",
			text_of(event, "codec"));
	}
}

static void show_group(const json_t *group, FILE *to)
{
	const char *run = text_of(group, "run"), *ended = text_of(group, "ended");
	char memory[16], bytes[16], sent[16];

	(void)fprintf(to, "group %s%s%s (%s): %s, epoch %" PRId64 "\n", text_of(group, "name"),
		      *run ? " of run " : "", run, text_of(group, "id"), text_of(group, "state"),
		      number_of(group, "epoch"));
	(void)fprintf(
		to,
		"    %" PRId64 " ranks on %" PRId64 " nodes, %" PRId64
		" lanes, schedule %s, memory %s\n",
		number_of(group, "ranks"), number_of(group, "nodes"), number_of(group, "lanes"),
		text_of(group, "schedule"),
		table_size((uint64_t)number_of(group, "memory_bytes"), memory, sizeof(memory)));
	(void)fprintf(to,
		      "    %" PRId64 " ops done, %" PRId64 " failed, %" PRId64
		      " in flight, %" PRId64 " of all with a codec; %s reduced, %s sent\n",
		      number_of(group, "ops_done"), number_of(group, "ops_failed"),
		      number_of(group, "ops_in_flight"), number_of(group, "ops_coded"),
		      table_size((uint64_t)number_of(group, "bytes_reduced"), bytes, sizeof(bytes)),
		      table_size((uint64_t)number_of(group, "payload_sent"), sent, sizeof(sent)));
	if (*ended)
		(void)fprintf(to, "    ended: %s\n", ended);
}

int show_groups(const json_t *groups, FILE *to)
{
	size_t index;
	json_t *group;
	int error = 0;

	if (json_array_size(groups) == 0)
		(void)fprintf(to, "no groups\n");
	json_array_foreach(groups, index, group)
	{
		(void)fprintf(to, "%s", index ? "\n" : "");
		show_group(group, to);
		if (json_array_size(json_object_get(group, "peers")) && !error)
			error = show_peers(group, to);
		if (json_array_size(json_object_get(group, "choices")) && !error)
			error = show_choices(json_object_get(group, "choices"), to);
		show_history(group, to);
	}
	return error;
}

static int show_keys(const json_t *keys, FILE *to)
{
	struct table t;
	size_t index;
	json_t *key;

	table_init(&t, "key|>elements|type|feedback|>state|>steps|>norm");
	json_array_foreach(keys, index, key)
	{
		const json_t *norm = json_object_get(key, "norm");

		table_cell(&t, "%s", text_of(key, "key"));
		cell_number(&t, key, "count");
		table_cell(&t, "%s", text_of(key, "type"));
		table_cell(&t, "%s", text_of(key, "feedback"));
		cell_size(&t, key, "bytes");
		cell_number(&t, key, "steps");
		if (json_is_number(norm))
			table_cell(&t, "%.4g", json_number_value(norm));
		else
			table_cell(&t, "-");
	}
	return table_end(&t, to);
}

int show_state(const json_t *groups, FILE *to)
{
	size_t index;
	json_t *group;
	int error = 0;

	if (json_array_size(groups) == 0)
		(void)fprintf(to, "no groups\n");
	json_array_foreach(groups, index, group)
	{
		const json_t *keys = json_object_get(group, "keys");
		char used[16], most[16];

		(void)fprintf(
			to, "%sgroup %s (%s): %zu keys with state, %s of %s\n", index ? "\n" : "",
			text_of(group, "name"), text_of(group, "id"), json_array_size(keys),
			table_size((uint64_t)number_of(group, "state_bytes"), used, sizeof(used)),
			table_size((uint64_t)number_of(group, "state_bytes_max"), most,
				   sizeof(most)));
		if (json_array_size(keys) && !error)
			error = show_keys(keys, to);
	}
	return error;
}

int show_config(const json_t *config, FILE *to)
{
	struct table t;
	size_t index;
	json_t *key;

	table_init(&t, "section|key|value|default|origin");
	json_array_foreach(config, index, key)
	{
		table_cell(&t, "[%s]", text_of(key, "section"));
		table_cell(&t, "%s", text_of(key, "key"));
		table_cell(&t, "%s", text_of(key, "value"));
		table_cell(&t, "%s", text_of(key, "default"));
		table_cell(&t, "%s", text_of(key, "origin"));
	}
	return table_end(&t, to);
}
