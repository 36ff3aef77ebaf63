/* verbs_ports.c - see verbs_ports.h. */
#include "daemon/transport/verbs_ports.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire.h"

/* --- which are wanted ----------------------------------------------------------------------- */

/* Is "name" or "name:port" in the list "a,b:1"? */
static bool listed(const char *list, const char *name, uint8_t port)
{
	char with_port[IBV_SYSFS_NAME_MAX + 8];

	(void)snprintf(with_port, sizeof(with_port), "%s:%u", name, (unsigned)port);
	while (*list) {
		size_t n = strcspn(list, ",");

		if ((n == strlen(name) && !memcmp(list, name, n)) ||
		    (n == strlen(with_port) && !memcmp(list, with_port, n)))
			return true;
		list += n + (list[n] == ',');
	}
	return false;
}

bool verbs_ports_named(const char *devices)
{
	return devices && *devices && *devices != '^';
}

bool verbs_port_wanted(const char *devices, const char *name, uint8_t port)
{
	if (!devices || !*devices)
		return true;
	return *devices == '^' ? !listed(devices + 1, name, port) : listed(devices, name, port);
}

bool verbs_device_wanted(const char *devices, const char *name)
{
	for (uint8_t port = 1; port < 255; port++)
		if (verbs_port_wanted(devices, name, port))
			return true;
	return false;
}

/* --- which there are ------------------------------------------------------------------------ */

struct finder {
	const char *devices;
	struct verbs_port *out;
	uint32_t found;
	int *error;
};

static int numa_node_of(const struct ibv_device *device)
{
	char path[IBV_SYSFS_PATH_MAX + 32];
	FILE *file;
	int node;

	(void)snprintf(path, sizeof(path), "%s/device/numa_node", device->ibdev_path);
	file = fopen(path, "re");
	if (!file)
		return -1;
	if (fscanf(file, "%d", &node) != 1) /* NOLINT(cert-err34-c): sysfs */
		node = -1;
	(void)fclose(file);
	return node;
}

static void add(struct finder *f, const struct verbs_port *port)
{
	for (uint32_t i = 0; i < f->found; i++)
		if (f->out[i].port == port->port && !strcmp(f->out[i].name, port->name))
			return;
	if (f->found < VERBS_PORTS_MAX)
		f->out[f->found++] = *port;
}

/* Its ports that are wanted; only: that one, 0: any.  Return: whether it says which it has. */
static bool add_device(struct finder *f, struct ibv_device *device, uint8_t only)
{
	struct verbs_port port = {.device = device, .numa_node = numa_node_of(device)};
	struct ibv_context *context = ibv_open_device(device);
	struct ibv_device_attr attr;
	bool says;

	(void)snprintf(port.name, sizeof(port.name), "%s", ibv_get_device_name(device));
	if (!context && verbs_device_wanted(f->devices, port.name))
		*f->error = errno;
	says = context && !ibv_query_device(context, &attr);
	if (!says)
		attr.phys_port_cnt = 0;
	for (uint32_t n = 1; n <= attr.phys_port_cnt; n++) {
		struct ibv_port_attr about;

		port.port = (uint8_t)n;
		if ((only && only != n) || !verbs_port_wanted(f->devices, port.name, port.port) ||
		    ibv_query_port(context, port.port, &about))
			continue;
		port.active = about.state == IBV_PORT_ACTIVE;
		add(f, &port);
	}
	if (context)
		(void)ibv_close_device(context);
	return says;
}

static struct ibv_device *by_name(struct ibv_device **list, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			return list[i];
	return NULL;
}

/* Return: 1 to 255; 255, which no device has, for what is no number. */
static uint8_t port_number(const char *text)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	return end > text && (*end == ',' || !*end) && port - 1 < 255 ? (uint8_t)port : 255;
}

/* "mlx5_0:1,mlx5_1", in that order.  Return: whether one of them is there. */
static bool find_named(struct finder *f, struct ibv_device **list, int count)
{
	bool any = false;

	for (const char *at = f->devices; *at;) {
		int bytes = (int)strcspn(at, ","), name = (int)strcspn(at, ",:");
		struct verbs_port silent = {.port = 1, .numa_node = -1};
		uint8_t only = name < bytes ? port_number(at + name + 1) : 0;
		struct ibv_device *device;

		(void)snprintf(silent.name, sizeof(silent.name), "%.*s", name, at);
		device = by_name(list, count, silent.name);
		any |= device != NULL;
		silent.device = device;
		if (only)
			silent.port = only;
		if (!device || !add_device(f, device, only))
			add(f, &silent);
		at += bytes + (at[bytes] == ',');
	}
	return any;
}

static int compare(const void *a, const void *b)
{
	struct ibv_device *const *x = a, *const *y = b;

	return strverscmp(ibv_get_device_name(*x), ibv_get_device_name(*y));
}

static void keep_active(struct finder *f)
{
	uint32_t active = 0;

	for (uint32_t i = 0; i < f->found; i++)
		if (f->out[i].active)
			f->out[active++] = f->out[i];
	if (active)
		f->found = active;
}

uint32_t verbs_ports_find(struct ibv_device **list, int count, const char *devices,
			  struct verbs_port *out, int *error)
{
	struct finder f = {.devices = devices, .out = out, .error = error};

	if (verbs_ports_named(devices))
		return find_named(&f, list, count) ? f.found : 0;
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): pointers are what is sorted */
	qsort(list, (size_t)count, sizeof(*list), compare);
	for (int i = 0; i < count; i++)
		add_device(&f, list[i], 0);
	keep_active(&f);
	return f.found;
}

/* --- whose they are ------------------------------------------------------------------------- */

/* The one with the fewest lanes, fewer than `most`, on that NUMA node (-1: any).  Return: or -1. */
static int fewest(const struct verbs_port *ports, uint32_t count, const uint32_t *load,
		  uint32_t most, int numa_node)
{
	int best = -1;

	for (uint32_t i = 0; i < count; i++)
		if (load[i] < most && (numa_node < 0 || ports[i].numa_node == numa_node) &&
		    (best < 0 || load[i] < load[best]))
			best = (int)i;
	return best;
}

uint32_t verbs_ports_share(const struct verbs_port *ports, uint32_t count, const int *numa_nodes,
			   uint32_t lanes, uint32_t lane)
{
	uint32_t load[VERBS_PORTS_MAX] = {0}, most = (lanes + count - 1) / count;
	int taken[WIRE_LANES_MAX];

	if (lane >= lanes || lanes > WIRE_LANES_MAX)
		return lane % count;
	for (uint32_t l = 0; l < lanes; l++) {
		taken[l] = numa_nodes[l] < 0 ? -1 : fewest(ports, count, load, most, numa_nodes[l]);
		if (taken[l] >= 0)
			load[taken[l]]++;
	}
	for (uint32_t l = 0; l < lanes; l++) {
		if (taken[l] >= 0)
			continue;
		taken[l] = fewest(ports, count, load, most, -1); /* there is room for all */
		load[taken[l]]++;
	}
	return (uint32_t)taken[lane];
}

/* --- GIDs ----------------------------------------------------------------------------------- */

/* Larger is better. */
static int gid_rank(const struct ibv_gid_entry *entry)
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
	bool link_local = entry->gid.raw[0] == 0xfe && (entry->gid.raw[1] & 0xc0) == 0x80;
	int rank = entry->gid_type == IBV_GID_TYPE_ROCE_V2 ? 8 : 0;

	if (!memcmp(entry->gid.raw, mapped, sizeof(mapped)))
		return rank + 3;
	return rank + (link_local ? 1 : 2);
}

bool verbs_port_gid(struct ibv_context *context, uint8_t port, bool ethernet,
		    struct ibv_gid_entry *out)
{
	int best = -1;

	for (uint32_t i = 0; i < VERBS_GIDS_MAX && (ethernet || best < 0); i++) {
		struct ibv_gid_entry entry;

		if (ibv_query_gid_ex(context, port, i, &entry, 0) || gid_rank(&entry) <= best)
			continue;
		best = gid_rank(&entry);
		*out = entry;
	}
	return best >= 0;
}

const char *verbs_gid_type_name(uint32_t type)
{
	if (type == IBV_GID_TYPE_ROCE_V2)
		return "RoCE v2";
	return type == IBV_GID_TYPE_ROCE_V1 ? "RoCE v1" : "InfiniBand";
}
