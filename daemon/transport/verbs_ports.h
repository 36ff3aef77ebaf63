/*
 * verbs_ports.h - the ports of this host's RDMA devices: which are wanted, which lane takes which,
 * and which GID; for the transport and for carryctl doctor.
 *
 * The wanted ports are numbered, and lanes take them by number; lane L of one host talks to lane L
 * of another, so equal hosts with equal settings use equal rails.
 *   "mlx5_0:1,mlx5_1"  these, in this order, whether they are up or even there: what is down when
 *                      the daemon starts keeps its number, and so does a device that is missing
 *                      or cannot be opened, as port 1 if no port was named
 *   "", "^mlx5_2"      all (others), by name and port, that are up; where none is, all: nobody
 *                      said which of them have a cable
 */
#ifndef DAEMON_TRANSPORT_VERBS_PORTS_H
#define DAEMON_TRANSPORT_VERBS_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#include <infiniband/verbs.h>

enum { VERBS_PORTS_MAX = 32, VERBS_GIDS_MAX = 256 };

struct verbs_port {
	struct ibv_device *device; /* of the list; NULL: there is none of that name */
	char name[IBV_SYSFS_NAME_MAX];
	uint8_t port;
	bool active;
	int numa_node; /* -1: not known */
};

/* Are devices named, "mlx5_0:1,mlx5_1"? */
bool verbs_ports_named(const char *devices);
/* May any port of this device be wanted, as far as is known without looking at it? */
bool verbs_device_wanted(const char *devices, const char *name);
bool verbs_port_wanted(const char *devices, const char *name, uint8_t port);

/*
 * verbs_ports_find() - the wanted ports in their order.
 * @list, @count: of ibv_get_device_list()
 * @devices: as configured; NULL: all
 * @out: [VERBS_PORTS_MAX]
 * Return: how many; 0 too if none that was named is there.  *error: why a device that may have some
 * was not opened, positive; else it is left alone.
 */
uint32_t verbs_ports_find(struct ibv_device **list, int count, const char *devices,
			  struct verbs_port *out, int *error);

/*
 * verbs_ports_share() - which of the ports a lane takes.
 *
 * No port gets more than its share of the lanes, rounded up.  First each lane that has a NUMA node
 * takes the port of that node with the fewest lanes, then every other lane the port with the fewest
 * of all; of equal ones the first.  Without NUMA that is lane modulo count.
 * @numa_nodes: [lanes], of the lanes; -1: none
 * Return: index below count, which is not 0.
 */
uint32_t verbs_ports_share(const struct verbs_port *ports, uint32_t count, const int *numa_nodes,
			   uint32_t lanes, uint32_t lane);

/*
 * verbs_port_gid() - the GID that a port is used with: of RoCE v2 before v1, of an IPv4 address
 * before IPv6 before a link-local one; on InfiniBand the first.
 * Return: whether there is one.
 */
bool verbs_port_gid(struct ibv_context *context, uint8_t port, bool ethernet,
		    struct ibv_gid_entry *out);
const char *verbs_gid_type_name(uint32_t type); /* "RoCE v2" */

#endif
