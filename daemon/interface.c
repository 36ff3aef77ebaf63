/* interface.c - see interface.h. */
#include "daemon/interface.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sockaddr_in *in4(const struct sockaddr *address)
{
	return (const struct sockaddr_in *)(const void *)address;
}

static const struct sockaddr_in6 *in6(const struct sockaddr *address)
{
	return (const struct sockaddr_in6 *)(const void *)address;
}

/* The bytes that name the host: 4 or 16 of them; IPv4-mapped IPv6 counts as IPv4. */
static const uint8_t *host_bytes(const struct sockaddr *address, size_t *bytes)
{
	const uint8_t *host;

	if (address->sa_family == AF_INET) {
		*bytes = 4;
		return (const uint8_t *)&in4(address)->sin_addr;
	}
	host = in6(address)->sin6_addr.s6_addr;
	*bytes = 16;
	if (IN6_IS_ADDR_V4MAPPED(&in6(address)->sin6_addr)) {
		*bytes = 4;
		host += 12;
	}
	return host;
}

static bool loopback(const struct sockaddr *address)
{
	size_t bytes;
	const uint8_t *host = host_bytes(address, &bytes);

	if (bytes == 4)
		return host[0] == 127;
	return IN6_IS_ADDR_LOOPBACK(&in6(address)->sin6_addr);
}

bool interface_link_local(const struct sockaddr *address)
{
	return address->sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&in6(address)->sin6_addr);
}

bool interface_any(const struct sockaddr *address)
{
	static const uint8_t zero[16];
	size_t bytes;
	const uint8_t *host = host_bytes(address, &bytes);

	return memcmp(host, zero, bytes) == 0;
}

/* --- the kernel's list ------------------------------------------------------------------------ */

static uint32_t mask_bits(const struct sockaddr *mask)
{
	size_t bytes;
	const uint8_t *host = host_bytes(mask, &bytes);
	uint32_t bits = 0;

	while (bits < bytes * 8 && host[bits / 8] & 0x80u >> bits % 8)
		bits++;
	return bits;
}

static bool list_entry(struct interface *out, const struct ifaddrs *from)
{
	size_t bytes;

	if (!from->ifa_addr ||
	    (from->ifa_addr->sa_family != AF_INET && from->ifa_addr->sa_family != AF_INET6))
		return false;
	bytes = from->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
						     : sizeof(struct sockaddr_in6);
	memset(out, 0, sizeof(*out));
	(void)snprintf(out->name, sizeof(out->name), "%s", from->ifa_name);
	out->up = (from->ifa_flags & IFF_UP) != 0;
	memcpy(&out->address, from->ifa_addr, bytes);
	out->prefix = from->ifa_addr->sa_family == AF_INET ? 32 : 128;
	if (from->ifa_netmask)
		out->prefix = mask_bits(from->ifa_netmask);
	return true;
}

int interface_list(struct interface *out, size_t max)
{
	struct ifaddrs *all;
	size_t count = 0;

	if (getifaddrs(&all))
		return -errno;
	for (const struct ifaddrs *i = all; i && count < max; i = i->ifa_next)
		count += list_entry(&out[count], i);
	freeifaddrs(all);
	return (int)count;
}

/* --- the choice ------------------------------------------------------------------------------- */

/* How much an interface is wanted: 0 not at all. */
static int wanted(const struct interface *one, const char *words)
{
	if (!one->up)
		return 0;
	if (!netlist_interface_matches(words, one->name))
		return *words ? 0 : loopback((const struct sockaddr *)&one->address) ? 1 : 2;
	/* Whoever excludes docker does not mean loopback instead. */
	return *words == '^' && loopback((const struct sockaddr *)&one->address) ? 1 : 3;
}

static int family_rank(const struct interface *one)
{
	if (one->address.ss_family == AF_INET)
		return 2;
	return interface_link_local((const struct sockaddr *)&one->address) ? 0 : 1;
}

static int most_wanted(const struct interface *list, size_t count, const char *words)
{
	int most = 0;

	for (size_t i = 0; i < count; i++)
		if (wanted(&list[i], words) > most)
			most = wanted(&list[i], words);
	return most;
}

int interface_choose(const struct interface *list, size_t count, const char *words)
{
	int most = most_wanted(list, count, words), best = -1;

	for (size_t i = 0; most && i < count; i++) {
		if (wanted(&list[i], words) != most)
			continue;
		if (best < 0 || (strcmp(list[i].name, list[best].name) == 0 &&
				 family_rank(&list[i]) > family_rank(&list[best])))
			best = (int)i;
	}
	return best;
}

static void network_of(const struct interface *one, struct netlist_network *out)
{
	size_t bytes;
	const uint8_t *host = host_bytes((const struct sockaddr *)&one->address, &bytes);

	memset(out, 0, sizeof(*out));
	out->family = bytes == 4 ? AF_INET : AF_INET6;
	out->prefix = one->prefix;
	for (uint32_t bit = 0; bit < one->prefix && bit < bytes * 8; bit++)
		out->address[bit / 8] |= (uint8_t)(host[bit / 8] & 0x80u >> bit % 8);
}

static size_t network_add(struct netlist_network *out, size_t count,
			  const struct netlist_network *one)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(&out[i], one, sizeof(*one)) == 0)
			return count;
	if (count < NETLIST_NETWORKS_MAX)
		out[count++] = *one;
	return count;
}

size_t interface_networks(const struct interface *list, size_t count, const char *words,
			  struct netlist_network *out)
{
	const struct netlist_network own4 = {.family = AF_INET, .prefix = 8, .address = {127}};
	const struct netlist_network own6 = {
		.family = AF_INET6, .prefix = 128, .address = {[15] = 1}};
	int most = most_wanted(list, count, words);
	size_t networks = network_add(out, network_add(out, 0, &own4), &own6);

	for (size_t i = 0; most && i < count; i++) {
		struct netlist_network one;

		if (wanted(&list[i], words) != most)
			continue;
		network_of(&list[i], &one);
		networks = network_add(out, networks, &one);
	}
	return networks;
}

static bool same_host(const struct sockaddr *a, const struct sockaddr *b)
{
	size_t a_bytes, b_bytes;
	const uint8_t *a_host = host_bytes(a, &a_bytes), *b_host = host_bytes(b, &b_bytes);

	return a_bytes == b_bytes && memcmp(a_host, b_host, a_bytes) == 0;
}

const struct interface *interface_find(const struct interface *list, size_t count,
				       const struct sockaddr *address)
{
	for (size_t i = 0; i < count; i++)
		if (same_host((const struct sockaddr *)&list[i].address, address))
			return &list[i];
	return NULL;
}

bool interface_is_own(const struct interface *list, size_t count, const struct sockaddr *address)
{
	return loopback(address) || interface_find(list, count, address);
}

/* --- numeric addresses ------------------------------------------------------------------------ */

static uint32_t scope_number(const char *scope)
{
	uint32_t number = if_nametoindex(scope);
	unsigned long value;
	char *end;

	if (number)
		return number;
	value = strtoul(scope, &end, 10);
	return *end || !*scope || value > UINT32_MAX ? 0 : (uint32_t)value;
}

int interface_parse(const char *text, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	char host[INTERFACE_ADDRESS_BYTES];
	const char *scope = strchr(text, '%');
	size_t length = scope ? (size_t)(scope - text) : strlen(text);

	if (length >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, length);
	host[length] = 0;
	memset(out, 0, sizeof(*out));
	if (!scope && inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
		memcpy(out, &v4, sizeof(v4));
		return 0;
	}
	if (inet_pton(AF_INET6, host, &v6.sin6_addr) != 1)
		return -EINVAL;
	if (scope && !(v6.sin6_scope_id = scope_number(scope + 1)))
		return -EINVAL;
	memcpy(out, &v6, sizeof(v6));
	return 0;
}

void interface_text(const struct sockaddr *address, char text[INTERFACE_ADDRESS_BYTES])
{
	size_t bytes, used;
	const uint8_t *host = host_bytes(address, &bytes);
	char name[IF_NAMESIZE];

	if (!inet_ntop(bytes == 4 ? AF_INET : AF_INET6, host, text, INTERFACE_ADDRESS_BYTES))
		text[0] = 0;
	if (!interface_link_local(address) || !in6(address)->sin6_scope_id)
		return;
	used = strlen(text);
	if (if_indextoname(in6(address)->sin6_scope_id, name) &&
	    used + 1 + strlen(name) < INTERFACE_ADDRESS_BYTES)
		(void)snprintf(text + used, INTERFACE_ADDRESS_BYTES - used, "%%%s", name);
}

uint16_t interface_port(const struct sockaddr *address)
{
	return ntohs(address->sa_family == AF_INET ? in4(address)->sin_port
						   : in6(address)->sin6_port);
}

socklen_t interface_bytes(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET ? sizeof(struct sockaddr_in)
					     : sizeof(struct sockaddr_in6);
}
