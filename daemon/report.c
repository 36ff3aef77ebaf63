/* report.c - see report.h. */
#include "daemon/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

json_t *report_text(const char *text)
{
	json_t *string = json_string(text);
	char ascii[CONFIG_TEXT_BYTES];
	size_t length = strnlen(text, sizeof(ascii) - 1);

	if (string)
		return string;
	for (size_t i = 0; i < length; i++)
		ascii[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
	ascii[length] = 0;
	return json_string(ascii);
}

/* Append to an array; NULL in, or no memory: the array is given up.  Return: array or NULL. */
static json_t *report_append(json_t *array, json_t *value)
{
	if (array && json_array_append_new(array, value) == 0)
		return array;
	if (!array)
		json_decref(value);
	json_decref(array);
	return NULL;
}

static json_t *report_lane(uint32_t lane, const struct report_lane *l)
{
	json_t *object = json_pack("{s:I, s:o}", "lane", (json_int_t)lane, "transport",
				   report_text(l->transport));
	int failed = 0;

#define X(counter) \
	failed |= json_object_set_new(object, #counter, json_integer((json_int_t)l->counter));
	REPORT_COUNTERS(X)
#undef X
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *report_lanes(const struct report *r)
{
	json_t *array = json_array();

	for (uint32_t i = 0; array && i < r->lane_count; i++)
		array = report_append(array, report_lane(i, &r->lanes[i]));
	return array;
}

static json_t *report_client(const struct clients *c, uint32_t client)
{
	const struct shm_layout *layout = client_layout(c, client);

	return json_pack(
		"{s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I}", "client", (json_int_t)client, "pid",
		(json_int_t)client_pid(c, client), "uid", (json_int_t)client_uid(c, client), "name",
		report_text(client_name(c, client)), "arena_bytes", (json_int_t)layout->arena_bytes,
		"shared_bytes", (json_int_t)layout->total_bytes, "resident_bytes",
		(json_int_t)client_resident_bytes(c, client), "groups",
		(json_int_t)client_groups(c, client));
}

static json_t *report_clients(const struct clients *c)
{
	json_t *array = json_array();

	for (uint32_t i = 0; array && i < clients_max(c); i++)
		if (client_attached(c, i))
			array = report_append(array, report_client(c, i));
	return array;
}

/* Bytes that groups have mapped: the sum of their memory_bytes. */
static json_int_t report_group_bytes(const json_t *groups)
{
	json_int_t bytes = 0;
	json_t *group;
	size_t index;

	json_array_foreach(groups, index, group) bytes +=
		json_integer_value(json_object_get(group, "memory_bytes"));
	return bytes;
}

static json_t *report_memory(const struct report *r, const struct clients_account *account)
{
	const struct config *c = r->config;

	return json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "shared_bytes",
		(json_int_t)account->shared_bytes, "shared_bytes_max", (json_int_t)c->arena_bytes,
		"shared_bytes_max_per_uid", (json_int_t)c->arena_bytes_per_uid,
		"arena_bytes_default", (json_int_t)c->arena_bytes_default, "arena_bytes_max",
		(json_int_t)c->arena_bytes_max, "groups_bytes", report_group_bytes(r->groups),
		"inflight_bytes_per_group", (json_int_t)c->inflight_bytes);
}

static json_t *report_connections(const struct report *r, const struct clients_account *account)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "open", (json_int_t)account->connections,
			 "attached", (json_int_t)account->attached, "leaving",
			 (json_int_t)account->gone, "max", (json_int_t)r->config->clients,
			 "accepted", (json_int_t)account->accepted, "refused",
			 (json_int_t)account->refused);
}

static json_t *report_status(const struct report *r)
{
	struct clients_account account;

	clients_account(r->clients, &account);
	return json_pack("{s:s, s:I, s:f, s:o, s:o, s:o, s:o, s:o, s:O, s:I, s:I}", "version",
			 r->version, "pid", (json_int_t)r->pid, "uptime_s",
			 (double)r->uptime_ns / 1e9, "socket", report_text(r->config->socket),
			 "lanes", report_lanes(r), "connections", report_connections(r, &account),
			 "clients", report_clients(r->clients), "memory",
			 report_memory(r, &account), "peers", r->peers, "groups",
			 (json_int_t)json_array_size(r->groups), "groups_max",
			 (json_int_t)r->config->groups);
}

static json_t *report_key(const struct config *c, size_t row, const struct config_key *key)
{
	char value[CONFIG_TEXT_BYTES], origin[CONFIG_PATH_BYTES + 16] = "default";

	if (c->line[row])
		(void)snprintf(origin, sizeof(origin), "%s:%u", c->path, c->line[row]);
	(void)config_value(c, row, value, sizeof(value));
	return json_pack("{s:s, s:s, s:o, s:s, s:s, s:o, s:s}", "section", key->section, "key",
			 key->key, "value", report_text(value), "default", key->value, "range",
			 key->range, "origin", report_text(origin), "help", key->help);
}

static json_t *report_config(const struct config *c)
{
	json_t *array = json_array();
	struct config_key key;

	for (size_t row = 0; array && config_key(row, &key); row++)
		array = report_append(array, report_key(c, row, &key));
	return array;
}

char *report_answer(const struct report *r, const char *what, struct err *err)
{
	json_t *answer;
	char *text;

	if (strcmp(what, "status") == 0) {
		answer = report_status(r);
	} else if (strcmp(what, "groups") == 0) {
		answer = json_incref(r->groups);
	} else if (strcmp(what, "links") == 0) {
		answer = json_pack("{s:O, s:o}", "paths", r->paths, "lanes", report_lanes(r));
	} else if (strcmp(what, "state") == 0) {
		answer = json_incref(r->state);
	} else if (strcmp(what, "config") == 0) {
		answer = report_config(r->config);
	} else {
		(void)err_set(err, -ENOENT,
			      "there is no report \"%.64s\"; there are status, groups, links, "
			      "state, config",
			      what);
		return NULL;
	}
	text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	json_decref(answer);
	if (!text)
		(void)err_set(err, -ENOMEM, "no memory for the report \"%s\"", what);
	return text;
}
