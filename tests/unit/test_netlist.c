/*
 * test_netlist.c - lists of interfaces and networks: what is taken, what matches, what
 * is refused with which words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/netlist.h"

static void interfaces(void **state)
{
	static const struct {
		const char *list, *name;
		bool matches;
	} cases[] = {
		{"", "eth0", true},
		{"", "ens3", true},
		{"", "lo", false},
		{"", "lowpan0", true},
		{"", "docker0", false},
		{"", "veth12ab", false},
		{"eth", "eth0", true},
		{"eth", "eth", true},
		{"eth", "ens3", false},
		{"eth,ib", "ib1", true},
		{"eth, ib", "ib1", true},
		{"=eth0", "eth0", true},
		{"=eth0", "eth01", false},
		{"=eth0,eth1", "eth1", true},
		{"=eth0", "eth", false},
		{"^docker", "docker0", false},
		{"^docker", "lo", true},
		{"^=docker0", "docker01", true},
		{"^=docker0", "docker0", false},
		{"^lo,docker", "docker5", false},
		{"^lo,docker", "eth0", true},
		{"lo", "lo", true},
	};
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(netlist_check_interfaces(cases[i].list, &err), 0);
		if (netlist_interface_matches(cases[i].list, cases[i].name) != cases[i].matches)
			fail_msg("\"%s\" and %s", cases[i].list, cases[i].name);
	}
}

static void bad_interfaces(void **state)
{
	static const char *const lists[] = {"^",     "=",      ",",        "eth0,",
					    "a b",   "=^eth0", "eth0,=lo", "abcdefghijklmnop",
					    "eth/0", "^^a"};
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (netlist_check_interfaces(lists[i], &err) != -EINVAL)
			fail_msg("\"%s\"", lists[i]);
		assert_true(strlen(err.text) > 10);
	}
	assert_string_equal(err.text,
			    "\"^a\" is not an interface's name ('^' and '=' stand once, in "
			    "front of the whole list)");
}

static bool in(const char *list, const char *address)
{
	struct netlist_network networks[NETLIST_NETWORKS_MAX];
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct err err;
	size_t count;

	assert_int_equal(netlist_networks(list, networks, &count, &err), 0);
	if (inet_pton(AF_INET, address, &in4.sin_addr) == 1)
		return netlist_contains(networks, count, (const struct sockaddr *)&in4);
	assert_int_equal(inet_pton(AF_INET6, address, &in6.sin6_addr), 1);
	return netlist_contains(networks, count, (const struct sockaddr *)&in6);
}

static void networks(void **state)
{
	const struct sockaddr other = {.sa_family = AF_UNIX};
	struct netlist_network any;
	struct err err;
	size_t count;

	(void)state;
	assert_false(in("", "10.0.0.1"));
	assert_true(in("10.0.0.0/8", "10.255.0.1"));
	assert_false(in("10.0.0.0/8", "11.0.0.1"));
	assert_true(in("10.96.0.0/11", "10.127.255.255"));
	assert_false(in("10.96.0.0/11", "10.128.0.0"));
	assert_true(in("10.0.0.7", "10.0.0.7"));
	assert_false(in("10.0.0.7", "10.0.0.6"));
	assert_true(in("0.0.0.0/0", "1.2.3.4"));
	assert_false(in("0.0.0.0/0", "::1"));
	assert_true(in("::/0", "::1"));
	assert_true(in("fd00::/8, 10.0.0.0/24", "fdff::1"));
	assert_true(in("fd00::/8, 10.0.0.0/24", "10.0.0.200"));
	assert_false(in("fd00::/8, 10.0.0.0/24", "fe00::1"));
	assert_true(in("10.0.0.0/8", "::ffff:10.1.2.3"));
	assert_false(in("::/0", "::ffff:10.1.2.3"));
	assert_true(in("2001:db8::8000/113", "2001:db8::ffff"));
	assert_false(in("2001:db8::8000/113", "2001:db8::7fff"));
	assert_int_equal(netlist_networks("0.0.0.0/0", &any, &count, &err), 0);
	assert_false(netlist_contains(&any, 1, &other));
}

static void bad_networks(void **state)
{
	static const char *const lists[] = {
		"10.0.0.0/33", "10.0.0.1/8",  "10.0.0/8",     "host",        "10.0.0.0/",
		"/8",          "10.0.0.0/8,", "::1/64",       "::/129",      "::/99999999999999999",
		"::/0x1",      ",",           "10.0.0.0/8 9", "10.0.0.0/-1", "fe80::1%eth0",
	};
	struct netlist_network out[NETLIST_NETWORKS_MAX];
	char many[NETLIST_NETWORKS_MAX * 8 + 8] = "1.1.1.1";
	struct err err;
	size_t count = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (netlist_networks(lists[i], out, &count, &err) != -EINVAL)
			fail_msg("\"%s\"", lists[i]);
		assert_int_equal(count, 77);
	}
	for (int i = 1; i < NETLIST_NETWORKS_MAX; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), ",1.1.1.1");
	assert_int_equal(netlist_networks(many, out, &count, &err), 0);
	assert_int_equal(count, NETLIST_NETWORKS_MAX);
	snprintf(many + strlen(many), sizeof(many) - strlen(many), ",1.1.1.1");
	assert_int_equal(netlist_networks(many, out, &count, &err), -E2BIG);
	assert_string_equal(err.text, "more than 32 networks");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(interfaces),
		cmocka_unit_test(bad_interfaces),
		cmocka_unit_test(networks),
		cmocka_unit_test(bad_networks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
