/* netlist.c - see netlist.h. */
#include "daemon/netlist.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

/* Software networks of one machine, which no other node reaches. */
static const char *const netlist_unwanted[] = {"docker", "veth", "virbr",  "br-",
					       "cni",    "cali", "flannel"};

/* The next item of a list, without blanks around it; *list moves on.  Return: false at the end. */
static bool netlist_item(const char **list, const char **item, size_t *length)
{
	const char *from = *list, *end;

	if (!from)
		return false;
	end = strchrnul(from, ',');
	*list = *end ? end + 1 : NULL;
	while (*from == ' ' || *from == '\t')
		from++;
	while (end > from && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*item = from;
	*length = (size_t)(end - from);
	return true;
}

struct netlist_mode {
	bool exclude, exact;
	const char *names;
};

static struct netlist_mode netlist_mode(const char *list)
{
	struct netlist_mode mode = {.names = list};

	mode.exclude = *mode.names == '^';
	mode.names += mode.exclude;
	mode.exact = *mode.names == '=';
	mode.names += mode.exact;
	return mode;
}

int netlist_check_interfaces(const char *list, struct err *err)
{
	const char *names = netlist_mode(list).names, *item;
	size_t length;

	if (!*list)
		return 0;
	while (netlist_item(&names, &item, &length)) {
		if (length == 0)
			return err_set(err, -EINVAL, "a name is missing");
		if (length >= IFNAMSIZ)
			return err_set(
				err, -EINVAL,
				"\"%.*s\" is longer than the %d bytes of an interface's name",
				(int)length, item, IFNAMSIZ - 1);
		for (size_t i = 0; i < length; i++)
			if (strchr("^=/ \t", item[i]))
				return err_set(err, -EINVAL,
					       "\"%.*s\" is not an interface's name ('^' and '=' "
					       "stand once, in front of the whole list)",
					       (int)length, item);
	}
	return 0;
}

static bool netlist_wanted(const char *name)
{
	if (strcmp(name, "lo") == 0)
		return false;
	for (size_t i = 0; i < sizeof(netlist_unwanted) / sizeof(netlist_unwanted[0]); i++)
		if (strncmp(name, netlist_unwanted[i], strlen(netlist_unwanted[i])) == 0)
			return false;
	return true;
}

bool netlist_interface_matches(const char *list, const char *name)
{
	struct netlist_mode mode = netlist_mode(list);
	const char *item;
	size_t length;

	if (!*list)
		return netlist_wanted(name);
	while (netlist_item(&mode.names, &item, &length))
		if (strncmp(name, item, length) == 0 && (!mode.exact || !name[length]))
			return !mode.exclude;
	return mode.exclude;
}

static bool netlist_host_bits_zero(const struct netlist_network *network)
{
	uint32_t bits = network->family == AF_INET ? 32 : 128;

	for (uint32_t i = network->prefix; i < bits; i++)
		if (network->address[i / 8] & 0x80u >> i % 8)
			return false;
	return true;
}

static int netlist_parse(const char *item, size_t length, struct netlist_network *out,
			 struct err *err)
{
	const char *slash = memchr(item, '/', length);
	size_t address_length = slash ? (size_t)(slash - item) : length;
	char address[INET6_ADDRSTRLEN];
	struct netlist_network network = {.family = AF_INET, .prefix = 0};
	uint32_t bits = 32;
	int shown = (int)length;

	if (address_length == 0 || address_length >= sizeof(address))
		return err_set(err, -EINVAL, "\"%.*s\" is not a network", shown, item);
	memcpy(address, item, address_length);
	address[address_length] = 0;
	if (inet_pton(AF_INET, address, network.address) != 1) {
		if (inet_pton(AF_INET6, address, network.address) != 1)
			return err_set(err, -EINVAL, "\"%.*s\" is not a numeric address or network",
				       shown, item);
		network.family = AF_INET6;
		bits = 128;
	}
	network.prefix = bits;
	if (slash) {
		size_t digits = length - address_length - 1;

		network.prefix = 0;
		for (size_t i = 0; i < digits && network.prefix <= bits; i++) {
			if (slash[1 + i] < '0' || slash[1 + i] > '9')
				digits = 0;
			else
				network.prefix =
					network.prefix * 10 + (uint32_t)(slash[1 + i] - '0');
		}
		if (digits == 0 || network.prefix > bits)
			return err_set(err, -EINVAL, "\"%.*s\": the prefix must be 0 to %u", shown,
				       item, bits);
	}
	if (!netlist_host_bits_zero(&network))
		return err_set(err, -EINVAL, "\"%.*s\" has bits set beyond its prefix", shown,
			       item);
	*out = network;
	return 0;
}

int netlist_networks(const char *list, struct netlist_network *out, size_t *count, struct err *err)
{
	const char *item;
	size_t length, used = 0;

	if (*list)
		while (netlist_item(&list, &item, &length)) {
			int error;

			if (used == NETLIST_NETWORKS_MAX)
				return err_set(err, -E2BIG, "more than %d networks",
					       NETLIST_NETWORKS_MAX);
			error = netlist_parse(item, length, &out[used], err);
			if (error)
				return error;
			used++;
		}
	*count = used;
	return 0;
}

static bool netlist_in(const struct netlist_network *network, int family, const uint8_t *address)
{
	uint32_t bytes = network->prefix / 8, bits = network->prefix % 8;

	if (network->family != family || memcmp(network->address, address, bytes) != 0)
		return false;
	return !bits || (network->address[bytes] ^ address[bytes]) >> (8 - bits) == 0;
}

bool netlist_contains(const struct netlist_network *networks, size_t count,
		      const struct sockaddr *address)
{
	const uint8_t *bytes;
	int family = address->sa_family;

	if (family == AF_INET) {
		bytes = (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)
				->sin_addr;
	} else if (family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)address;

		bytes = in6->sin6_addr.s6_addr;
		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
			family = AF_INET;
			bytes += 12;
		}
	} else {
		return false;
	}
	for (size_t i = 0; i < count; i++)
		if (netlist_in(&networks[i], family, bytes))
			return true;
	return false;
}
