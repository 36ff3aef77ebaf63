/* config_value.c - values of the configuration: from text, to text; see config_table.h. */
#include "daemon/config_table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "daemon/netlist.h"

enum { CONFIG_CPU_MAX = 4095 };

static const char config_units[] = "KMGT";

static uint64_t *config_number_at(struct config *c, const struct config_row *row)
{
	return (uint64_t *)(void *)((char *)c + row->offset);
}

static char *config_text_at(struct config *c, const struct config_row *row)
{
	return (char *)c + row->offset;
}

/* --- values ---------------------------------------------------------------------------------- */

/* Digits of `base` up to the first other character.  Return: 0, -EINVAL without one, -ERANGE. */
static int config_digits(const char **text, unsigned int base, uint64_t *out)
{
	const char *at = *text;
	uint64_t number = 0;

	for (; *at >= '0' && (unsigned int)(*at - '0') < base; at++) {
		uint64_t digit = (uint64_t)(*at - '0');

		if (number > (UINT64_MAX - digit) / base)
			return -ERANGE;
		number = number * base + digit;
	}
	if (at == *text)
		return -EINVAL;
	*text = at;
	*out = number;
	return 0;
}

static int config_number(const char *text, const struct config_row *row, uint64_t *out)
{
	uint64_t number;
	int error = config_digits(&text, row->type == CONFIG_MODE ? 8 : 10, &number);

	if (error)
		return error;
	if (row->type == CONFIG_SIZE && *text) {
		const char *unit = strchr(config_units, *text & ~0x20);
		uint64_t factor;

		if (!unit)
			return -EINVAL;
		factor = 1ull << 10 * (unit - config_units + 1);
		if (number > UINT64_MAX / factor)
			return -ERANGE;
		number *= factor;
		text++;
	}
	if (*text)
		return -EINVAL;
	if (number < row->min || number > row->max)
		return -ERANGE;
	*out = number;
	return 0;
}

/* The index of a word in "a|b|c".  Return: -1 if it is not there. */
static int config_word(const char *words, const char *word)
{
	size_t length = strlen(word);

	for (int index = 0; length; index++) {
		const char *end = strchrnul(words, '|');

		if ((size_t)(end - words) == length && strncmp(words, word, length) == 0)
			return index;
		if (!*end)
			break;
		words = end + 1;
	}
	return -1;
}

/* The next of 0,2-5: a number or a range of them, up to max.  Return: 1; 0: the end; -EINVAL. */
static int config_range(const char **list, uint64_t max, uint64_t *first, uint64_t *last)
{
	if (!**list)
		return 0;
	if (config_digits(list, 10, first))
		return -EINVAL;
	*last = *first;
	if (**list == '-') {
		(*list)++;
		if (config_digits(list, 10, last))
			return -EINVAL;
	}
	if (*last < *first || *last > max || (**list && **list != ','))
		return -EINVAL;
	if (**list && !*++*list)
		return -EINVAL;
	return 1;
}

/* 0,2-5: how many processors that is, and which is the wanted-th.  Return: 0 or -EINVAL. */
static int config_cpus(const char *list, uint64_t wanted, uint64_t *count, uint64_t *cpu)
{
	uint64_t total = 0, first, last;
	int ret;

	while ((ret = config_range(&list, CONFIG_CPU_MAX, &first, &last)) > 0) {
		if (wanted >= total && wanted - total <= last - first)
			*cpu = first + (wanted - total);
		total += last - first + 1;
	}
	*count = total;
	return ret;
}

int config_cpu(const struct config *c, uint32_t lane)
{
	uint64_t count, cpu = 0;

	if (config_cpus(c->cpus, 0, &count, &cpu) || count == 0)
		return -1;
	(void)config_cpus(c->cpus, lane % count, &count, &cpu);
	return (int)cpu;
}

static bool config_ports_ok(const char *list)
{
	uint64_t first, last;
	int ret;

	while ((ret = config_range(&list, UINT16_MAX, &first, &last)) > 0)
		if (first == 0)
			return false;
	return ret == 0;
}

bool config_root_port(const struct config *c, uint16_t own, uint16_t port)
{
	const char *list = c->root_ports;
	uint64_t first, last;

	if (!*list)
		return port == own;
	while (config_range(&list, UINT16_MAX, &first, &last) > 0)
		if (port >= first && port <= last)
			return true;
	return false;
}

static bool config_address_ok(const char *text)
{
	struct in6_addr address;

	return !*text || inet_pton(AF_INET, text, &address) == 1 ||
	       inet_pton(AF_INET6, text, &address) == 1;
}

/* 65536 as 64K. */
static void config_size_text(uint64_t bytes, char *text, size_t text_bytes)
{
	size_t unit = 0;

	while (bytes && bytes % 1024 == 0 && config_units[unit]) {
		bytes /= 1024;
		unit++;
	}
	(void)snprintf(text, text_bytes, unit ? "%" PRIu64 "%c" : "%" PRIu64, bytes,
		       unit ? config_units[unit - 1] : 0);
}

void config_row_range(const struct config_row *row, char *text, size_t bytes)
{
	char min[32], max[32];

	switch (row->type) {
	case CONFIG_NUMBER:
		(void)snprintf(text, bytes, "%" PRIu64 " to %" PRIu64, row->min, row->max);
		break;
	case CONFIG_SIZE:
		config_size_text(row->min, min, sizeof(min));
		config_size_text(row->max, max, sizeof(max));
		(void)snprintf(text, bytes, "%s to %s bytes (with K, M, G or T)", min, max);
		break;
	case CONFIG_MODE:
		(void)snprintf(text, bytes, "an octal number up to %04" PRIo64, row->max);
		break;
	case CONFIG_CHOICE:
	case CONFIG_WORD: (void)snprintf(text, bytes, "one of %s", row->words); break;
	case CONFIG_NAME: (void)snprintf(text, bytes, "the name of a group, or empty"); break;
	case CONFIG_SOCKET:
		(void)snprintf(text, bytes, "an absolute path of at most %" PRIu64 " bytes",
			       row->max);
		break;
	case CONFIG_ADDRESS:
		(void)snprintf(text, bytes, "a numeric IPv4 or IPv6 address, or empty");
		break;
	case CONFIG_INTERFACES:
		(void)snprintf(text, bytes, "names of interfaces with commas, behind ^ or = or ^=");
		break;
	case CONFIG_NETWORKS:
		(void)snprintf(text, bytes, "networks such as 10.0.0.0/8, with commas");
		break;
	case CONFIG_CPUS:
		(void)snprintf(text, bytes, "processors such as 0,2-5, up to %d", CONFIG_CPU_MAX);
		break;
	case CONFIG_PORTS:
		(void)snprintf(text, bytes, "ports such as 7117,7200-7299, from 1 to %u, or empty",
			       UINT16_MAX);
		break;
	case CONFIG_DEVICES:
		(void)snprintf(text, bytes,
			       "RDMA devices such as mlx5_0:1,mlx5_1, behind ^ those not to use");
		break;
	}
}

/* NAME or NAME:PORT, with commas between, perhaps ^ before all. */
static bool config_devices_ok(const char *value)
{
	const char *one = *value == '^' ? value + 1 : value;

	if (!*value)
		return true;
	for (;; one++) {
		size_t name = strcspn(one, ":,^ \t");
		bool port = one[name] == ':';
		size_t digits = port ? strspn(one + name + 1, "0123456789") : 0;
		char after = one[name + port + digits];

		if (!name || (port && (!digits || digits > 3)) || (after && after != ','))
			return false;
		one += name + port + digits;
		if (!*one)
			return true;
	}
}

/* Whether a text is a value of its row. */
static bool config_text_ok(const struct config_row *row, const char *value, struct err *err)
{
	struct netlist_network networks[NETLIST_NETWORKS_MAX];
	uint64_t cpu;
	size_t count;

	switch (row->type) {
	case CONFIG_WORD: return config_word(row->words, value) >= 0;
	case CONFIG_NAME: return true;
	case CONFIG_SOCKET: return value[0] == '/';
	case CONFIG_ADDRESS: return config_address_ok(value);
	case CONFIG_INTERFACES: return netlist_check_interfaces(value, err) == 0;
	case CONFIG_NETWORKS: return netlist_networks(value, networks, &count, err) == 0;
	case CONFIG_CPUS: return config_cpus(value, 0, &cpu, &cpu) == 0;
	case CONFIG_PORTS: return config_ports_ok(value);
	case CONFIG_DEVICES: return config_devices_ok(value);
	case CONFIG_NUMBER:
	case CONFIG_SIZE:
	case CONFIG_MODE:
	case CONFIG_CHOICE: break;
	}
	return false;
}

static bool config_is_text(const struct config_row *row)
{
	return row->type >= CONFIG_WORD;
}

bool config_row_set(struct config *c, const struct config_row *row, const char *value,
		    struct err *err)
{
	if (config_is_text(row)) {
		size_t length = strlen(value);

		/* Behind a blank, as --print-config writes it, ';' begins a remark. */
		if (length < row->min || length > row->max || *value == ';' ||
		    !config_text_ok(row, value, err))
			return false;
		memcpy(config_text_at(c, row), value, length + 1);
		return true;
	}
	if (row->type == CONFIG_CHOICE) {
		int index = config_word(row->words, value);

		if (index >= 0)
			*config_number_at(c, row) = row->min + (uint64_t)index;
		return index >= 0;
	}
	return config_number(value, row, config_number_at(c, row)) == 0;
}

const char *config_value(const struct config *c, size_t row, char *text, size_t bytes)
{
	const struct config_row *r = &config_table[row];
	const char *at = (const char *)c + r->offset;
	uint64_t number;

	if (config_is_text(r)) {
		(void)snprintf(text, bytes, "%s", at);
		return text;
	}
	memcpy(&number, at, sizeof(number));
	if (r->type == CONFIG_CHOICE) {
		const char *word = r->words;

		for (uint64_t i = r->min; i < number; i++)
			word = strchr(word, '|') + 1;
		(void)snprintf(text, bytes, "%.*s", (int)(strchrnul(word, '|') - word), word);
	} else if (r->type == CONFIG_SIZE) {
		config_size_text(number, text, bytes);
	} else if (r->type == CONFIG_MODE) {
		(void)snprintf(text, bytes, "%04" PRIo64, number);
	} else {
		(void)snprintf(text, bytes, "%" PRIu64, number);
	}
	return text;
}
