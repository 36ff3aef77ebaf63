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
#include <unistd.h>

#include <infiniband/verbs.h>

#include "daemon/transport/verbs_ports.h"
#include "tools/ctl/process.h"
#include "tools/ctl/query.h"
#include "tools/ctl/table.h"

enum { GIDS_SHOWN = 8, TEXT_BYTES = 400 };

/* What the daemon registers soon: rings of a few peers, pieces of an arena. */
#define MEMLOCK_LEAST ((uint64_t)1 << 30)

/* Until it is known whether another port works. */
#define DOWN "down"

struct look {
	json_t *report;
	int pid;           /* of the daemon; 0: none answers */
	char devices[512]; /* [verbs] devices                */
	bool works;        /* a wanted port does             */
};

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

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

/* All that fit, and the chosen one in any case. */
static void list_gids(struct ibv_context *context, uint8_t port, int chosen, json_t *gids)
{
	for (int i = 0; i < VERBS_GIDS_MAX; i++) {
		char text[INET6_ADDRSTRLEN];
		struct ibv_gid_entry entry;

		if (i != chosen && json_array_size(gids) >= GIDS_SHOWN)
			continue;
		if (ibv_query_gid_ex(context, port, (uint32_t)i, &entry, 0) ||
		    !inet_ntop(AF_INET6, entry.gid.raw, text, sizeof(text)))
			continue;
		(void)json_array_append_new(gids, json_pack("{s:i, s:s, s:s, s:b}", "index", i,
							    "gid", text, "type",
							    verbs_gid_type_name(entry.gid_type),
							    "chosen", i == chosen));
	}
}

/* gid: that it is used with, NULL: there is none. */
static void judge_port(const struct look *look, const char *name, const struct ibv_port_attr *about,
		       const struct ibv_gid_entry *gid)
{
	bool ethernet = about->link_layer == IBV_LINK_LAYER_ETHERNET;
	int mtu = 128 << about->active_mtu;
	json_t *report = look->report;

	if (about->state != IBV_PORT_ACTIVE && ethernet)
		found(report, DOWN, name,
		      "set its network interface up (ip link), look at cable and switch",
		      "the port is %s", ibv_port_state_str(about->state));
	else if (about->state == IBV_PORT_INIT)
		found(report, DOWN, name, "start one on the fabric: opensm, or the switch's",
		      "the port waits for a subnet manager");
	else if (about->state != IBV_PORT_ACTIVE)
		found(report, DOWN, name, "look at cable and switch", "the port is %s",
		      ibv_port_state_str(about->state));
	else if (ethernet && !gid)
		found(report, "fault", name, "give its network interface an address",
		      "the port has no GID, so no queue pair can be made");
	else if (ethernet && gid->gid_type != IBV_GID_TYPE_ROCE_V2)
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

static void look_at_port(struct look *look, struct ibv_context *context, const char *device,
			 uint8_t port)
{
	bool wanted = verbs_port_wanted(look->devices, device, port), ethernet, has;
	struct ibv_gid_entry gid = {.gid_index = UINT32_MAX};
	struct ibv_port_attr about = {0};
	json_t *gids = json_array();
	char name[IBV_SYSFS_NAME_MAX + 8];

	(void)snprintf(name, sizeof(name), "%s:%u", device, (unsigned)port);
	if (!gids || ibv_query_port(context, port, &about)) {
		json_decref(gids);
		found(look->report, "fault", name, "see dmesg",
		      "the port does not say how it is: %s", strerror(errno));
		return;
	}
	ethernet = about.link_layer == IBV_LINK_LAYER_ETHERNET;
	has = verbs_port_gid(context, port, ethernet, &gid);
	list_gids(context, port, has ? (int)gid.gid_index : -1, gids);
	if (wanted)
		judge_port(look, name, &about, has ? &gid : NULL);
	else
		found(look->report, "ok", name, "", "the port is not among [verbs] devices = %s",
		      look->devices);
	look->works |= wanted && about.state == IBV_PORT_ACTIVE && (has || !ethernet);
	(void)json_array_append_new(
		json_object_get(look->report, "ports"),
		json_pack("{s:s, s:i, s:s, s:b, s:s, s:f, s:i, s:o}", "device", device, "port",
			  (int)port, "state", ibv_port_state_str(about.state), "wanted", wanted,
			  "link", ethernet ? "Ethernet" : "InfiniBand", "gbit_per_s",
			  lane_gbit(about.active_speed) * lanes_of(about.active_width), "mtu",
			  128 << about.active_mtu, "gids", gids));
}

static void look_at_device(struct look *look, struct ibv_device *device)
{
	const char *name = ibv_get_device_name(device);
	struct ibv_context *context = ibv_open_device(device);
	struct ibv_device_attr about;
	json_t *report = look->report;

	if (!context && !verbs_device_wanted(look->devices, name))
		found(report, "ok", name, "", "the device is not among [verbs] devices = %s",
		      look->devices);
	else if (!context && (errno == EACCES || errno == EPERM))
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
		for (uint32_t port = 1; port <= about.phys_port_cnt; port++)
			look_at_port(look, context, name, (uint8_t)port);
	if (context)
		(void)ibv_close_device(context);
}

/* Those that the configuration names. */
static void look_for_named(const struct look *look, struct ibv_device **list, int count)
{
	struct verbs_port ports[VERBS_PORTS_MAX];
	int error = 0;
	uint32_t n = verbs_ports_find(list, count, look->devices, ports, &error);

	for (uint32_t i = 0; i < n; i++)
		if (!ports[i].device)
			found(look->report, "fault", ports[i].name,
			      "load its driver, or take it out of [verbs] devices",
			      "there is no such device");
	if (!n && !error && count)
		found(look->report, "fault", "verbs.devices", "the ports are listed above",
		      "\"%s\" matches none of %d devices", look->devices, count);
}

/*
 * A port that is down is a fault if it was named; else only where no other works, for many adapters
 * have ports without a cable.
 */
static void judge_down(const struct look *look)
{
	bool named = verbs_ports_named(look->devices);
	const char *level = named || !look->works ? "fault" : "advice";
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(look->report, "findings"), i, one)
	{
		if (strcmp(json_string_value(json_object_get(one, "level")), DOWN) == 0)
			(void)json_object_set_new(one, "level", json_string(level));
	}
}

static void look_at_devices(struct look *look)
{
	int count = 0;
	struct ibv_device **list = ibv_get_device_list(&count);

	for (int i = 0; i < count; i++)
		look_at_device(look, list[i]);
	if (list && *look->devices)
		look_for_named(look, list, count);
	judge_down(look);
	if (!count)
		found(look->report, "advice", "RDMA",
		      "if this host has an adapter, load its driver (mlx5_ib, irdma, "
		      "bnxt_re...); for trials: rdma link add rxe0 type rxe netdev eth0",
		      "no device was found: all data goes over TCP");
	if (list)
		ibv_free_device_list(list);
}

/* --- the daemon ----------------------------------------------------------------------------- */

static json_t *ask(const char *socket, const char *what)
{
	char sentence[QUERY_SENTENCE_BYTES];
	char *text = query_run(socket, what, sentence);
	json_t *answer = text ? json_loads(text, 0, NULL) : NULL;

	free(text);
	return answer;
}

/* Its process, 0: none answers; and what it was told of devices. */
static void look_at_daemon(struct look *look, const char *socket)
{
	json_t *status = ask(socket, "status"), *config = status ? ask(socket, "config") : NULL;
	const json_t *key;
	size_t i;

	look->pid = (int)json_integer_value(json_object_get(status, "pid"));
	json_array_foreach(config, i, key)
	{
		const char *value = json_string_value(json_object_get(key, "value"));

		if (value && strcmp(text_of(key, "section"), "verbs") == 0 &&
		    strcmp(text_of(key, "key"), "devices") == 0)
			(void)snprintf(look->devices, sizeof(look->devices), "%s", value);
	}
	json_decref(status);
	json_decref(config);
}

/* What we may open says nothing of what another user may. */
static void look_at_user(struct look *look, const struct process_rights *rights)
{
	unsigned own = (unsigned)geteuid();

	(void)json_object_set_new(look->report, "uid", json_integer((json_int_t)own));
	if (!look->pid)
		found(look->report, "ok", "user", "",
		      "devices were looked at as uid %u; no carryd answers, so [verbs] devices is "
		      "taken for empty",
		      own);
	else if (rights->known && rights->uid != own)
		found(look->report, "advice", "user", "run it as that user, too (setpriv --reuid)",
		      "devices were looked at as uid %u, and carryd runs as uid %u", own,
		      (unsigned)rights->uid);
	else
		found(look->report, "ok", "user", "",
		      "devices were looked at as uid %u, as which carryd runs", own);
}

static void look_at_memory(struct look *look, const struct process_rights *rights)
{
	const char *whose = look->pid ? "carryd" : "this shell; no carryd answers";
	bool unlimited = rights->memlock_bytes == UINT64_MAX;
	json_t *report = look->report;

	if (!rights->memlock_known) {
		found(report, "advice", "memlock", "run it as root",
		      "the limit of %s cannot be read", whose);
		return;
	}
	(void)json_object_set_new(
		report, "memlock",
		json_pack("{s:o, s:s, s:b}", "bytes",
			  unlimited ? json_null() : json_integer((json_int_t)rights->memlock_bytes),
			  "whose", whose, "capable", rights->may_lock));
	if (unlimited || rights->memlock_bytes >= MEMLOCK_LEAST)
		found(report, "ok", "memlock", "", "enough memory may be registered (%s)", whose);
	else if (rights->may_lock)
		found(report, "ok", "memlock", "",
		      "enough memory may be registered (%s): CAP_IPC_LOCK, so no limit holds",
		      whose);
	else
		found(report,
		      json_array_size(json_object_get(report, "ports")) ? "fault" : "advice",
		      "memlock",
		      "LimitMEMLOCK=infinity in the unit, ulimit -l unlimited in a shell",
		      "only %" PRIu64 " KiB may be registered (%s)", rights->memlock_bytes / 1024,
		      whose);
}

/* --- the report ----------------------------------------------------------------------------- */

json_t *doctor_look(const char *socket)
{
	struct look look = {.report = json_pack("{s:[], s:n, s:n, s:[]}", "ports", "memlock", "uid",
						"findings")};
	struct process_rights rights;

	if (!look.report)
		return NULL;
	look_at_daemon(&look, socket);
	process_rights(look.pid ? look.pid : (int)getpid(), &rights);
	look_at_devices(&look);
	look_at_user(&look, &rights);
	look_at_memory(&look, &rights);
	return look.report;
}

static int show_ports(const json_t *ports, FILE *to)
{
	struct table t;
	const json_t *port, *gid;
	size_t i, g;

	table_init(&t, "device|>port|state|link|>Gbit/s|>MTU|>GID|address|type|used");
	json_array_foreach(ports, i, port)
	{
		json_t *gids = json_object_get(port, "gids");

		table_cell(&t, "%s", text_of(port, "device"));
		table_cell(&t, "%d", (int)json_integer_value(json_object_get(port, "port")));
		table_cell(&t, "%s", text_of(port, "state"));
		table_cell(&t, "%s", text_of(port, "link"));
		table_cell(&t, "%g", json_number_value(json_object_get(port, "gbit_per_s")));
		table_cell(&t, "%d", (int)json_integer_value(json_object_get(port, "mtu")));
		for (int c = 0; c < 4 && !json_array_size(gids); c++)
			table_cell(&t, "%s", "");
		json_array_foreach(gids, g, gid)
		{
			for (int c = 0; c < 6 && g > 0; c++)
				table_cell(&t, "%s", "");
			table_cell(&t, "%d",
				   (int)json_integer_value(json_object_get(gid, "index")));
			table_cell(&t, "%s", text_of(gid, "gid"));
			table_cell(&t, "%s", text_of(gid, "type"));
			table_cell(&t, "%s",
				   json_is_true(json_object_get(gid, "chosen")) &&
						   json_is_true(json_object_get(port, "wanted"))
					   ? "yes"
					   : "");
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
