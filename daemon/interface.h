/*
 * interface.h - which of this host's addresses other daemons are told.
 *
 * The choice is pure: a list of addresses and the operator's words (netlist.h) come in,
 * an index comes out.  interface_list() asks the kernel for the list.
 *
 * The rule: of the interfaces that are up and match the words, the first in the kernel's
 * order; on it IPv4 before global IPv6 before link-local.  With no words: loopback and
 * container networks only if there is nothing else.  Loopback last of all, unless it is named.
 */
#ifndef DAEMON_INTERFACE_H
#define DAEMON_INTERFACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "daemon/err.h"
#include "daemon/netlist.h"

enum {
	INTERFACE_LIST_MAX = 256,
	INTERFACE_NAME_BYTES = 16,
	INTERFACE_ADDRESS_BYTES = 48, /* numeric, perhaps with %scope, zero-terminated */
};

/* One address of one interface. */
struct interface {
	char name[INTERFACE_NAME_BYTES];
	bool up;
	struct sockaddr_storage address; /* AF_INET or AF_INET6 */
	uint32_t prefix;                 /* bits of the network */
};

/* interface_list() - up to `max` addresses of this host.  Return: how many, negative errno. */
int interface_list(struct interface *out, size_t max);

/* interface_choose() - index of the address to tell others; -1: none matches. */
int interface_choose(const struct interface *list, size_t count, const char *words);

/*
 * interface_networks() - the networks of the interfaces that were chosen: where peers may
 * come from if the operator did not say.  Loopback's is always among them.
 * Return: how many, at most NETLIST_NETWORKS_MAX.
 */
size_t interface_networks(const struct interface *list, size_t count, const char *words,
			  struct netlist_network *out);

/* Is `address` (ports do not count) one of the list, or loopback? */
bool interface_is_own(const struct interface *list, size_t count, const struct sockaddr *address);
/* The entry that has exactly this address, or NULL. */
const struct interface *interface_find(const struct interface *list, size_t count,
				       const struct sockaddr *address);

/* --- numeric addresses ------------------------------------------------------------------------ */

/* interface_parse() - "10.0.0.1", "fe80::1%eth0" and a port.  Return: 0 or -EINVAL. */
int interface_parse(const char *text, uint16_t port, struct sockaddr_storage *out);
/* interface_text() - the address without port; IPv4-mapped IPv6 as IPv4. */
void interface_text(const struct sockaddr *address, char text[INTERFACE_ADDRESS_BYTES]);
uint16_t interface_port(const struct sockaddr *address);
socklen_t interface_bytes(const struct sockaddr_storage *address);
bool interface_link_local(const struct sockaddr *address);
bool interface_any(const struct sockaddr *address); /* 0.0.0.0 or :: */

#endif
