/*
 * verbs_udp.c - see verbs_udp.h.
 *
 * From a flow label, port = 0xc000 | (its low 14 bits ^ its high 6 bits): Linux,
 * include/rdma/ib_verbs.h, rdma_flow_label_to_udp_sport().
 */
#include "daemon/transport/verbs_udp.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/wire.h"

enum { PORT_BITS = 14, SPREAD = 0x1e35 }; /* odd, so that no two numbers get the same port */

uint16_t verbs_udp_port(uint32_t peer, uint32_t lane, uint32_t path)
{
	uint32_t number = (peer * WIRE_LANES_MAX + lane) * WIRE_PATHS_MAX + path;

	return (uint16_t)(VERBS_UDP_PORT_MIN | (number * SPREAD & ((1u << PORT_BITS) - 1)));
}

uint32_t verbs_udp_flow_label(uint16_t port)
{
	uint32_t low = port & ((1u << PORT_BITS) - 1);

	/* A label of 0 is none: then something else would be made the port. */
	return low ? low : 1u << PORT_BITS | 1;
}

/* Does the kernel's driver of that name have it? */
static bool is_mlx5(const struct ibv_device *device)
{
	char path[IBV_SYSFS_PATH_MAX + 32], target[512];
	const char *name;
	ssize_t bytes;

	(void)snprintf(path, sizeof(path), "%s/device/driver", device->ibdev_path);
	bytes = readlink(path, target, sizeof(target) - 1);
	if (bytes < 0)
		return false;
	target[bytes] = 0;
	name = strrchr(target, '/');
	return strncmp(name ? name + 1 : target, "mlx5", 4) == 0;
}

static void give_up(struct verbs_udp *u, const char *why)
{
	(void)snprintf(u->how, sizeof(u->how), "by flow label (%s)", why);
	verbs_udp_close(u);
}

void verbs_udp_open(struct verbs_udp *u, const struct ibv_device *device, const char *library)
{
	void *function;

	*u = (struct verbs_udp){.how = "by flow label"};
	if (!is_mlx5(device))
		return;
	u->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!u->library) {
		give_up(u, "mlx5's library cannot be loaded: " VERBS_UDP_LIBRARY
			   " is in ibverbs-providers");
		return;
	}
	function = dlsym(u->library, "mlx5dv_modify_qp_udp_sport");
	if (!function) {
		give_up(u, "mlx5's library is too old: it has no mlx5dv_modify_qp_udp_sport");
		return;
	}
	memcpy(&u->modify, &function, sizeof(u->modify));
	(void)snprintf(u->how, sizeof(u->how), "by mlx5");
}

void verbs_udp_close(struct verbs_udp *u)
{
	if (u->library)
		(void)dlclose(u->library);
	u->library = NULL;
	u->modify = NULL;
}

void verbs_udp_set(struct verbs_udp *u, struct ibv_qp *qp, uint16_t port)
{
	char why[80];
	int error = u->modify ? u->modify(qp, port) : 0;

	if (!error)
		return;
	(void)snprintf(why, sizeof(why), "mlx5 takes no port: %s",
		       strerror(error < 0 ? -error : error));
	give_up(u, why);
}
