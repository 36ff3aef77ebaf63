/*
 * verbs_udp.h - UDP source ports of RoCE v2: by them switches and bonds choose among equal links,
 * so each path of a peer gets one of its own.
 *
 * A provider derives the port from the GRH's flow label, as the kernel does for all; Soft-RoCE from
 * the queue pair's number.  mlx5 can be told the port itself: its library is loaded when a device
 * of that driver is opened, nothing is linked with it.
 */
#ifndef DAEMON_TRANSPORT_VERBS_UDP_H
#define DAEMON_TRANSPORT_VERBS_UDP_H

#include <stdint.h>

#include <infiniband/verbs.h>

#define VERBS_UDP_LIBRARY "libmlx5.so.1"

enum { VERBS_UDP_PORT_MIN = 0xc000 }; /* and up to 0xffff: what RoCE v2 uses */

struct verbs_udp {
	void *library; /* NULL: flow labels only */
	int (*modify)(struct ibv_qp *qp, uint16_t port);
	char how[160]; /* for people: "by flow label" and why nothing better */
};

/*
 * verbs_udp_port() - Return: VERBS_UDP_PORT_MIN to 0xffff.  Of one peer no two (lane, path) have
 * the same.
 */
uint16_t verbs_udp_port(uint32_t peer, uint32_t lane, uint32_t path);

/* The flow label of which the kernel and the providers make that port.  Return: 20 bits, not 0. */
uint32_t verbs_udp_flow_label(uint16_t port);

/* What can be done for this device.  library: VERBS_UDP_LIBRARY, but for tests. */
void verbs_udp_open(struct verbs_udp *u, const struct ibv_device *device, const char *library);
void verbs_udp_close(struct verbs_udp *u); /* twice is fine */

/* Of a queue pair that is ready to send; where that cannot be, its flow label has to do. */
void verbs_udp_set(struct verbs_udp *u, struct ibv_qp *qp, uint16_t port);

#endif
