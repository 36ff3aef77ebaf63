/* doctor.c - see doctor.h. */
#include "tools/ctl/doctor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <infiniband/verbs.h>

#include "tools/ctl/query.h"
#include "tools/ctl/table.h"

enum { GIDS_MAX = 256, GIDS_SHOWN = 8, TEXT_BYTES = 400 };

/* What the daemon registers soon: rings of a few peers, pieces of an arena. */
#define MEMLOCK_LEAST ((uint64_t)1 << 30)

__attribute__((format(printf, 5, 6))) static void found(json_t *report, const char *level,
							const char *about, const char *advice,
							const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)json_array_append_new(json_object_get(report, "findings"),
				    json_pack("{s:s, s:s, s:s, s:s}", "level", level, "about",
					      about, "text", text, "do", advice));
}

/* --- ports ---------------------------------------------------------------------------------- */

static double lane_gbit(uint8_t speed)
{
	static const struct {
		uint8_t speed;
		double gbit;
	} speeds[] = {{1, 2.5}, {2, 5}, {4, 10}, {8, 10}, {16, 14}, {32, 25}, {64, 50}, {128, 100}};

	for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++)
		if (speeds[i].speed == speed)
			return speeds[i].gbit;
	return 0;
}

static int lanes_of(uint8_t width)
{
	switch (width) {
	case 1: return 1;
	case 2: return 4;
	case 4: return 8;
	case 8: return 12;
	case 16: return 2;
	default: return 0;
	}
}

static const char *type_name(uint32_t type)
{
	if (type == IBV_GID_TYPE_ROCE_V2)
		return "RoCE v2";
	return type == IBV_GID_TYPE_ROCE_V1 ? "RoCE v1" : "InfiniBand";
}

/* Return: whether there is one of RoCE v2. */
static bool list_gids(struct ibv_context *context, uint8_t port, json_t *gids)
{
	bool version2 = false;

	for (uint32_t i = 0; i < GIDS_MAX; i++) {
		char text[INET6_ADDRSTRLEN];
		struct ibv_gid_entry entry;

		if (ibv_query_gid_ex(context, port, i, &entry, 0) ||
		    !inet_ntop(AF_INET6, entry.gid.raw, text, sizeof(text)))
			continue;
		version2 |= entry.gid_type == IBV_GID_TYPE_ROCE_V2;
		if (json_array_size(gids) < GIDS_SHOWN)
			(void)json_array_append_new(gids, json_pack("{s:i, s:s, s:s}", "index",
								    (int)i, "gid", text, "type",
								    type_name(entry.gid_type)));
	}
	return version2;
}

static void judge_port(json_t *report, const char *name, const struct ibv_port_attr *about,
		       bool version2, size_t gids)
{
	bool ethernet = about->link_layer == IBV_LINK_LAYER_ETHERNET;
	int mtu = 128 << about->active_mtu;

	if (about->state != IBV_PORT_ACTIVE && ethernet)
		found(report, "fault", name,
		      "set its network interface up (ip link), look at cable and switch",
		      "the port is %s", ibv_port_state_str(about->state));
	else if (about->state == IBV_PORT_INIT)
		found(report, "fault", name, "start one on the fabric: opensm, or the switch's",
		      "the port waits for a subnet manager");
	else if (about->state != IBV_PORT_ACTIVE)
		found(report, "fault", name, "look at cable and switch", "the port is %s",
		      ibv_port_state_str(about->state));
	else if (ethernet && !gids)
		found(report, "fault", name, "give its network interface an address",
		      "the port has no GID, so no queue pair can be made");
	else if (ethernet && !version2)
		found(report, "advice", name,
		      "RoCE v2 can be routed: see default_roce_mode of the driver",
		      "the port has GIDs of RoCE v1 only");
	else if (ethernet && about->active_mtu < IBV_MTU_4096)
		found(report, "advice", name,
		      "set the MTU of its interface and switch to 4200 or more",
		      "packets carry %d bytes, and could carry 4096", mtu);
	else
		found(report, "ok", name, "", "the port can be used");
}

static void look_at_port(json_t *report, struct ibv_context *context, const char *device,
			 uint8_t port)
{
	json_t *gids = json_array();
	struct ibv_port_attr about;
	char name[IBV_SYSFS_NAME_MAX + 8];
	bool version2;

	(void)snprintf(name, sizeof(name), "%s:%u", device, (unsigned)port);
	if (!gids || ibv_query_port(context, port, &about)) {
		json_decref(gids);
		found(report, "fault", name, "see dmesg", "the port does not say how it is: %s",
		      strerror(errno));
		return;
	}
	version2 = list_gids(context, port, gids);
	judge_port(report, name, &about, version2, json_array_size(gids));
	(void)json_array_append_new(
		json_object_get(report, "ports"),
		json_pack("{s:s, s:i, s:s, s:s, s:f, s:i, s:o}", "device", device, "port",
			  (int)port, "state", ibv_port_state_str(about.state), "link",
			  about.link_layer == IBV_LINK_LAYER_ETHERNET ? "Ethernet" : "InfiniBand",
			  "gbit_per_s",
			  lane_gbit(about.active_speed) * lanes_of(about.active_width), "mtu",
			  128 << about.active_mtu, "gids", gids));
}

static void look_at_device(json_t *report, struct ibv_device *device)
{
	const char *name = ibv_get_device_name(device);
	struct ibv_context *context = ibv_open_device(device);
	struct ibv_device_attr about;

	if (!context && (errno == EACCES || errno == EPERM))
		found(report, "fault", name,
		      "rdma-core has the udev rule; a unit needs "
		      "DeviceAllow=char-infiniband_verbs rw",
		      "/dev/infiniband/%s may not be opened by uid %u", device->dev_name,
		      (unsigned)geteuid());
	else if (!context)
		found(report, "fault", name, "modprobe ib_uverbs; see dmesg",
		      "the device cannot be opened: %s", strerror(errno));
	else if (ibv_query_device(context, &about))
		found(report, "fault", name, "see dmesg", "the device does not say how it is: %s",
		      strerror(errno));
	else
		for (uint8_t port = 1; port <= about.phys_port_cnt; port++)
			look_at_port(report, context, name, port);
	if (context)
		(void)ibv_close_device(context);
}

static void look_at_devices(json_t *report)
{
	int count = 0;
	struct ibv_device **list = ibv_get_device_list(&count);

	for (int i = 0; i < count; i++)
		look_at_device(report, list[i]);
	if (!count)
		found(report, "advice", "RDMA",
		      "if this host has an adapter, load its driver (mlx5_ib, irdma, "
		      "bnxt_re...); for trials: rdma link add rxe0 type rxe netdev eth0",
		      "no device was found: all data goes over TCP");
	if (list)
		ibv_free_device_list(list);
}

/* --- memory --------------------------------------------------------------------------------- */

/* Of a running process.  Return: whether it could be read; *bytes: RLIM_INFINITY: no limit. */
static bool memlock_of(int pid, uint64_t *bytes)
{
	char path[64], line[256];
	bool known = false;
	FILE *limits;

	(void)snprintf(path, sizeof(path), "/proc/%d/limits", pid);
	limits = fopen(path, "re");
	while (limits && !known && fgets(line, sizeof(line), limits)) {
		const char *value = line + strlen("Max locked memory");
		char *end;

		if (strncmp(line, "Max locked memory", strlen("Max locked memory")) != 0)
			continue;
		value += strspn(value, " ");
		*bytes = strncmp(value, "unlimited", 9) != 0 ? strtoull(value, &end, 10)
							     : (uint64_t)RLIM_INFINITY;
		known = true;
	}
	if (limits)
		(void)fclose(limits);
	return known;
}

/* The daemon's process, or 0: none answers. */
static int daemon_pid(const char *socket)
{
	char sentence[QUERY_SENTENCE_BYTES];
	char *text = query_run(socket, "status", sentence);
	json_t *status = text ? json_loads(text, 0, NULL) : NULL;
	int pid = (int)json_integer_value(json_object_get(status, "pid"));

	json_decref(status);
	free(text);
	return pid;
}

static void look_at_memory(json_t *report, const char *socket)
{
	int pid = daemon_pid(socket);
	const char *whose = pid ? "carryd" : "this shell; no carryd answers";
	uint64_t bytes = 0;
	bool unlimited;

	if (!memlock_of(pid ? pid : (int)getpid(), &bytes)) {
		found(report, "advice", "memlock", "run it as root",
		      "the limit of %s cannot be read", whose);
		return;
	}
	unlimited = bytes == (uint64_t)RLIM_INFINITY;
	(void)json_object_set_new(
		report, "memlock",
		json_pack("{s:o, s:s}", "bytes",
			  unlimited ? json_null() : json_integer((json_int_t)bytes), "whose",
			  whose));
	if (unlimited || bytes >= MEMLOCK_LEAST)
		found(report, "ok", "memlock", "", "enough memory may be registered (%s)", whose);
	else
		found(report,
		      json_array_size(json_object_get(report, "ports")) ? "fault" : "advice",
		      "memlock",
		      "LimitMEMLOCK=infinity in the unit, ulimit -l unlimited in a shell",
		      "only %" PRIu64 " KiB may be registered (%s); root needs no limit",
		      bytes / 1024, whose);
}

/* --- the report ----------------------------------------------------------------------------- */

json_t *doctor_look(const char *socket)
{
	json_t *report = json_pack("{s:[], s:n, s:[]}", "ports", "memlock", "findings");

	if (!report)
		return NULL;
	look_at_devices(report);
	look_at_memory(report, socket);
	return report;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static int show_ports(const json_t *ports, FILE *to)
{
	struct table t;
	const json_t *port, *gid;
	size_t i, g;

	table_init(&t, "device|>port|state|link|>Gbit/s|>MTU|>GID|address|type");
	json_array_foreach(ports, i, port)
	{
		json_t *gids = json_object_get(port, "gids");

		table_cell(&t, "%s", text_of(port, "device"));
		table_cell(&t, "%d", (int)json_integer_value(json_object_get(port, "port")));
		table_cell(&t, "%s", text_of(port, "state"));
		table_cell(&t, "%s", text_of(port, "link"));
		table_cell(&t, "%g", json_number_value(json_object_get(port, "gbit_per_s")));
		table_cell(&t, "%d", (int)json_integer_value(json_object_get(port, "mtu")));
		for (int c = 0; c < 3 && !json_array_size(gids); c++)
			table_cell(&t, "%s", "");
		json_array_foreach(gids, g, gid)
		{
			for (int c = 0; c < 6 && g > 0; c++)
				table_cell(&t, "%s", "");
			table_cell(&t, "%d",
				   (int)json_integer_value(json_object_get(gid, "index")));
			table_cell(&t, "%s", text_of(gid, "gid"));
			table_cell(&t, "%s", text_of(gid, "type"));
		}
	}
	return table_end(&t, to);
}

int doctor_show(const json_t *report, FILE *to)
{
	const json_t *ports = json_object_get(report, "ports");
	const json_t *findings = json_object_get(report, "findings"), *one;
	int failed = json_array_size(ports) ? show_ports(ports, to) : 0;
	size_t i;

	if (failed)
		return failed;
	if (json_array_size(ports))
		(void)fputc('\n', to);
	json_array_foreach(findings, i, one)
	{
		const char *advice = text_of(one, "do");

		(void)fprintf(to, "%-6s  %s: %s\n", text_of(one, "level"), text_of(one, "about"),
			      text_of(one, "text"));
		if (*advice)
			(void)fprintf(to, "        -> %s\n", advice);
	}
	return 0;
}

bool doctor_is_bad(const json_t *report)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(report, "findings"), i, one)
	{
		if (strcmp(text_of(one, "level"), "fault") == 0)
			return true;
	}
	return false;
}
