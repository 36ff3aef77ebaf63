/* links.c - see links.h. */
#include "tools/ctl/links.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ctl/table.h"

/* --- what devices have counted -------------------------------------------------------------- */

static bool is_entry(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static json_t *read_counters(const char *folder)
{
	json_t *counters = json_object();
	DIR *dir = opendir(folder);

	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		char path[768];
		unsigned long long value;
		FILE *file;

		/* How long the kernel may keep the others is no count. */
		if (!is_entry(entry) || strcmp(entry->d_name, "lifespan") == 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%.200s", folder, entry->d_name);
		file = fopen(path, "re");
		if (file && fscanf(file, "%llu", &value) == 1) /* NOLINT(cert-err34-c): sysfs */
			(void)json_object_set_new(counters, entry->d_name,
						  json_integer((json_int_t)value));
		if (file)
			(void)fclose(file);
	}
	if (dir)
		(void)closedir(dir);
	return counters;
}

static bool is_used(const json_t *report, const char *device, int port)
{
	char name[300];
	const json_t *path;
	size_t index;

	(void)snprintf(name, sizeof(name), "%s:%d", device, port);
	json_array_foreach(json_object_get(report, "paths"), index, path)
	{
		const char *by = json_string_value(json_object_get(path, "device"));

		if (by && strcmp(by, name) == 0)
			return true;
	}
	return false;
}

static void add_device(json_t *report, json_t *ports, const char *devices, const char *device)
{
	char folder[512];

	for (int port = 1; port < 256; port++) {
		DIR *there;

		(void)snprintf(folder, sizeof(folder), "%s/%.200s/ports/%d", devices, device, port);
		there = opendir(folder);
		if (!there)
			return;
		(void)closedir(there);
		(void)snprintf(folder, sizeof(folder), "%s/%.200s/ports/%d/hw_counters", devices,
			       device, port);
		(void)json_array_append_new(ports, json_pack("{s:s, s:i, s:b, s:o}", "device",
							     device, "port", port, "used",
							     is_used(report, device, port),
							     "counters", read_counters(folder)));
	}
}

void links_add_ports(json_t *report, const char *devices)
{
	json_t *ports = json_array();
	struct dirent **names = NULL;
	int count = scandir(devices, &names, NULL, alphasort);

	for (int i = 0; i < count; i++) {
		if (is_entry(names[i]))
			add_device(report, ports, devices, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	(void)json_object_set_new(report, "ports", ports);
}

void links_complete(json_t *report)
{
	links_add_ports(report, LINKS_DEVICES);
}

/* --- for people ----------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static void cell_number(struct table *t, const json_t *object, const char *key)
{
	table_cell(t, "%" PRId64, (int64_t)json_integer_value(json_object_get(object, key)));
}

static void cell_size(struct table *t, const json_t *object, const char *key)
{
	char text[16];
	json_int_t bytes = json_integer_value(json_object_get(object, key));

	table_cell(t, "%s", table_size(bytes > 0 ? (uint64_t)bytes : 0, text, sizeof(text)));
}

static int show_paths(const json_t *paths, FILE *to)
{
	struct table t;
	const json_t *path;
	size_t index;

	if (!json_array_size(paths)) {
		(void)fprintf(to, "no data connections\n");
		return 0;
	}
	table_init(&t, "host|address|>lane|>path|over|device|>frames out|>frames in|>sent|>received"
		       "|why not RDMA");
	json_array_foreach(paths, index, path)
	{
		const char *over = text_of(path, "over");

		table_cell(&t, "%s", text_of(path, "host"));
		table_cell(&t, "%s", text_of(path, "address"));
		cell_number(&t, path, "lane");
		cell_number(&t, path, "path");
		table_cell(&t, "%s", *over ? over : "(being made)");
		table_cell(&t, "%s", text_of(path, "device"));
		cell_number(&t, path, "frames_sent");
		cell_number(&t, path, "frames_received");
		cell_size(&t, path, "payload_sent");
		cell_size(&t, path, "payload_received");
		table_cell(&t, "%s", text_of(path, "why_not_rdma"));
	}
	return table_end(&t, to);
}

static int show_lanes(const json_t *lanes, FILE *to)
{
	struct table t;
	const json_t *lane;
	size_t index;

	table_init(&t, ">lane|>work requests|>completions|>registered|>in pieces|>retries exceeded"
		       "|>RNR exceeded|>other errors");
	json_array_foreach(lanes, index, lane)
	{
		cell_number(&t, lane, "lane");
		cell_number(&t, lane, "work_requests");
		cell_number(&t, lane, "completions");
		cell_size(&t, lane, "registered_bytes");
		cell_number(&t, lane, "registrations");
		cell_number(&t, lane, "retries_exceeded");
		cell_number(&t, lane, "rnr_exceeded");
		cell_number(&t, lane, "requests_failed");
	}
	return table_end(&t, to);
}

/* Only what is not zero: drivers have dozens. */
static int show_ports(const json_t *ports, FILE *to)
{
	struct table t;
	const json_t *port;
	size_t index;

	table_init(&t, "device|>port|used|counter|>value");
	json_array_foreach(ports, index, port)
	{
		json_t *counters = json_object_get(port, "counters"), *value;
		const char *used = json_is_true(json_object_get(port, "used")) ? "yes" : "no";
		const char *name;

		json_object_foreach(counters, name, value)
		{
			if (!json_integer_value(value))
				continue;
			table_cell(&t, "%s", text_of(port, "device"));
			cell_number(&t, port, "port");
			table_cell(&t, "%s", used);
			table_cell(&t, "%s", name);
			table_cell(&t, "%" PRId64, (int64_t)json_integer_value(value));
		}
	}
	return table_end(&t, to);
}

int links_show(const json_t *report, FILE *to)
{
	const json_t *ports = json_object_get(report, "ports");
	int error = show_paths(json_object_get(report, "paths"), to);
	const json_t *lane;
	size_t index;

	if (error || !json_array_size(ports))
		return error;
	(void)fputc('\n', to);
	error = show_lanes(json_object_get(report, "lanes"), to);
	if (error)
		return error;
	json_array_foreach(json_object_get(report, "lanes"), index, lane)
	{
		(void)fprintf(to, "lane %zu: %s\n", index, text_of(lane, "transport"));
	}
	(void)fputc('\n', to);
	return show_ports(ports, to);
}
