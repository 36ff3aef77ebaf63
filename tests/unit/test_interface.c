/*
 * test_interface.c - which address is told to others, which networks are believed, and
 * numeric addresses back and forth.
 */
#include "daemon/interface.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* "eth0 10.0.0.3/24" or, with a '-' in front, one that is down. */
static struct interface entry(const char *text)
{
	struct interface out = {.up = text[0] != '-'};
	char address[64];
	unsigned int prefix;

	assert_int_equal(sscanf(text + !out.up, "%15s %63[^/]/%u", out.name, address, &prefix), 3);
	out.prefix = prefix;
	if (strncmp(address, "fe80", 4) == 0)
		(void)snprintf(address + strlen(address), sizeof(address) - strlen(address), "%%1");
	assert_int_equal(interface_parse(address, 0, &out.address), 0);
	return out;
}

static size_t list_of(struct interface *list, const char *const *texts)
{
	size_t count = 0;

	for (; texts[count]; count++)
		list[count] = entry(texts[count]);
	return count;
}

/* What is chosen from the list, as text; "" for nothing. */
static const char *chosen(const char *const *texts, const char *words, char *text)
{
	struct interface list[16];
	int best = interface_choose(list, list_of(list, texts), words);

	text[0] = 0;
	if (best >= 0)
		interface_text((const struct sockaddr *)&list[best].address, text);
	return text;
}

static void test_choose(void **state)
{
	static const char *const all[] = {"lo 127.0.0.1/8",     "docker0 172.17.0.1/16",
					  "-eth9 10.9.0.1/24",  "eth1 fe80::1/64",
					  "eth1 fd00::1/64",    "eth0 10.0.0.3/24",
					  "eth1 10.1.0.3/24",   "ib0 10.2.0.3/24",
					  "eth10 10.10.0.3/24", NULL};
	static const char *const poor[] = {"lo ::1/128", "lo 127.0.0.1/8", "docker0 172.17.0.1/16",
					   "docker0 fd01::1/64", NULL};
	static const char *const poorest[] = {"lo ::1/128", "lo 127.0.0.1/8", NULL};
	static const char *const six[] = {"eth0 fe80::1/64", "eth0 fd00::1/64", NULL};
	static const char *const none[] = {NULL};
	char text[INTERFACE_ADDRESS_BYTES];

	(void)state;
	/* The first interface that fits, IPv4 first on it. */
	assert_string_equal(chosen(all, "", text), "10.1.0.3");
	assert_string_equal(chosen(all, "eth0,ib", text), "10.0.0.3");
	assert_string_equal(chosen(all, "eth", text), "10.1.0.3");
	assert_string_equal(chosen(all, "=eth1", text), "10.1.0.3");
	assert_string_equal(chosen(all, "=eth10", text), "10.10.0.3");
	assert_string_equal(chosen(all, "^eth", text), "172.17.0.1");
	assert_string_equal(chosen(all, "^eth,docker,ib", text), "127.0.0.1");
	assert_string_equal(chosen(all, "^eth,lo,docker", text), "10.2.0.3");
	assert_string_equal(chosen(all, "docker", text), "172.17.0.1");
	assert_string_equal(chosen(all, "=lo", text), "127.0.0.1");
	assert_string_equal(chosen(all, "eth9", text), ""); /* down */
	assert_string_equal(chosen(all, "=eth", text), "");
	assert_string_equal(chosen(six, "", text), "fd00::1");
	/* Container networks if there is nothing else, loopback last. */
	assert_string_equal(chosen(poor, "", text), "172.17.0.1");
	assert_string_equal(chosen(poorest, "", text), "127.0.0.1");
	assert_string_equal(chosen(none, "", text), "");
}

static bool believed(const char *const *texts, const char *words, const char *address)
{
	struct netlist_network networks[NETLIST_NETWORKS_MAX];
	struct sockaddr_storage there;
	struct interface list[16];
	size_t count = list_of(list, texts);

	assert_int_equal(interface_parse(address, 1, &there), 0);
	count = interface_networks(list, count, words, networks);
	return netlist_contains(networks, count, (const struct sockaddr *)&there);
}

static void test_networks(void **state)
{
	static const char *const all[] = {"lo 127.0.0.1/8",
					  "docker0 172.17.0.1/16",
					  "eth0 10.0.0.3/23",
					  "eth1 192.168.7.77/28",
					  "eth1 fd00:1::9/32",
					  "-eth2 10.2.0.1/24",
					  NULL};

	(void)state;
	assert_true(believed(all, "", "10.0.1.255"));
	assert_false(believed(all, "", "10.0.2.0"));
	assert_true(believed(all, "", "192.168.7.64"));
	assert_true(believed(all, "", "::ffff:192.168.7.79"));
	assert_false(believed(all, "", "192.168.7.80"));
	assert_true(believed(all, "", "fd00:1:ffff::"));
	assert_false(believed(all, "", "fd00:2::1"));
	assert_false(believed(all, "", "172.17.0.2"));
	assert_false(believed(all, "", "10.2.0.2"));
	assert_true(believed(all, "", "127.9.9.9"));
	assert_true(believed(all, "", "::1"));
	assert_false(believed(all, "eth1", "10.0.0.4"));
	assert_true(believed(all, "eth1", "192.168.7.65"));
	assert_true(believed(all, "docker", "172.17.0.2"));
}

static void test_own(void **state)
{
	static const char *const all[] = {"lo 127.0.0.1/8", "eth0 10.0.0.3/24", "eth0 fd00::3/64",
					  NULL};
	static const struct {
		const char *address;
		bool own;
	} rows[] = {{"10.0.0.3", true}, {"10.0.0.4", false}, {"127.0.0.77", true},
		    {"fd00::3", true},  {"fd00::4", false},  {"::ffff:10.0.0.3", true},
		    {"::1", true},      {"0.0.0.0", false}};
	struct interface list[16];
	size_t count = list_of(list, all);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sockaddr_storage there;

		assert_int_equal(interface_parse(rows[i].address, 7117, &there), 0);
		assert_int_equal(interface_is_own(list, count, (struct sockaddr *)&there),
				 rows[i].own);
	}
}

static void test_text(void **state)
{
	static const char *const good[] = {"10.0.0.3", "0.0.0.0", "fd00::3", "::", "fe80::1%lo"};
	static const char *const bad[] = {"",
					  "10.0.0",
					  "10.0.0.3%lo",
					  "host",
					  "fd00::3%nothere",
					  "fe80::1%",
					  "10.0.0.3:7117",
					  "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb"};
	struct sockaddr_storage address;
	char text[INTERFACE_ADDRESS_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(interface_parse(good[i], 7117, &address), 0);
		assert_int_equal(interface_port((struct sockaddr *)&address), 7117);
		interface_text((struct sockaddr *)&address, text);
		assert_string_equal(text, good[i]);
		assert_int_equal(interface_link_local((struct sockaddr *)&address), i == 4);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(interface_parse(bad[i], 7117, &address), -EINVAL);
	assert_int_equal(interface_parse("::ffff:10.0.0.3", 1, &address), 0);
	interface_text((struct sockaddr *)&address, text);
	assert_string_equal(text, "10.0.0.3");
}

/* This host has a loopback interface, and it is up where tests run. */
static void test_list(void **state)
{
	static struct interface list[INTERFACE_LIST_MAX];
	int count = interface_list(list, INTERFACE_LIST_MAX);
	struct sockaddr_storage own;
	const struct interface *found;

	(void)state;
	assert_true(count > 0);
	assert_int_equal(interface_parse("127.0.0.1", 0, &own), 0);
	found = interface_find(list, (size_t)count, (struct sockaddr *)&own);
	assert_non_null(found);
	assert_string_equal(found->name, "lo");
	assert_int_equal(found->prefix, 8);
	assert_true(found->up);
	assert_int_equal(interface_list(list, 1), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choose), cmocka_unit_test(test_networks),
		cmocka_unit_test(test_own),    cmocka_unit_test(test_text),
		cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
