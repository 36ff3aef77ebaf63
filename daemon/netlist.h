/*
 * netlist.h - lists of interfaces and networks, as the configuration writes them.
 *
 * Interfaces, in the grammar that NCCL's users know, separated by commas:
 *     eth,ib     names that begin so        =eth0       exactly this name
 *     ^docker    all but those              ^=docker0   all but this
 * '^' and '=' stand once, in front, and hold for the whole list.  An empty list means
 * any interface but loopback and what container software makes (docker, veth, ...).
 *
 * Networks, separated by commas: 10.0.0.0/8,fd00::/8,192.168.1.7
 *
 * Pure: the text comes in, an answer comes out.
 */
#ifndef DAEMON_NETLIST_H
#define DAEMON_NETLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "daemon/err.h"

enum { NETLIST_NETWORKS_MAX = 32 };

struct netlist_network {
	int family;          /* AF_INET or AF_INET6             */
	uint32_t prefix;     /* bits, 0..32 or 0..128           */
	uint8_t address[16]; /* 4 or 16 bytes, network order    */
};

/* Return: 0, or -EINVAL and *err names the item. */
int netlist_check_interfaces(const char *list, struct err *err);
bool netlist_interface_matches(const char *list, const char *name);

/*
 * netlist_networks() - parse; out has room for NETLIST_NETWORKS_MAX.  Bits of the address
 * beyond the prefix must be zero.
 * Return: 0, or -EINVAL / -E2BIG and *err names the item.
 */
int netlist_networks(const char *list, struct netlist_network *out, size_t *count, struct err *err);

/* netlist_contains() - is the address in one of them?  IPv4-mapped IPv6 counts as IPv4. */
bool netlist_contains(const struct netlist_network *networks, size_t count,
		      const struct sockaddr *address);

#endif
