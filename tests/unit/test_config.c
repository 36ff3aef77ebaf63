/*
 * test_config.c - the configuration: every row's default, range and round trip; every
 * kind of mistake with the sentence that it gets.
 * Wrapped: __wrap_malloc __wrap_calloc __wrap_realloc
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/config.h"
#include "daemon/config_table.h"
#include "daemon/exchange.h"
#include "daemon/sched/sched.h"
#include "daemon/transport/transport.h"
#include "tests/unit/fail_alloc.h"

static int parse(struct config *c, const char *text, struct err *err)
{
	return config_parse(c, text, strlen(text), "f.conf", err);
}

static void refused(const char *text, const char *sentence)
{
	struct config c;
	struct err err = {.code = 0};

	assert_true(parse(&c, text, &err) < 0);
	assert_string_equal(err.text, sentence);
}

static void defaults(void **state)
{
	struct config c;
	struct err err;

	(void)state;
	assert_int_equal(parse(&c, "", &err), 0);
	assert_string_equal(c.socket, "/run/carry/carryd.sock");
	assert_int_equal(c.socket_mode, 0660);
	assert_int_equal(c.log_level, 6);
	assert_int_equal(c.port, 7117);
	assert_int_equal(c.paths, 2);
	assert_int_equal(c.heartbeat_ms, 250);
	assert_int_equal(c.dead_ms, 4000);
	assert_int_equal(c.lanes, 2);
	assert_true(c.spin_us == 50);
	assert_int_equal(c.flat_bytes_max, 65536);
	assert_int_equal(c.arena_bytes_default, 1ull << 30);
	assert_int_equal(c.inflight_bytes, 256ull << 20);
	assert_int_equal(c.zerocopy, CONFIG_SWITCH_AUTO);
	assert_int_equal(c.payload_crc, 0);
	for (size_t row = 0; config_table[row].section; row++)
		assert_int_equal(c.line[row], 0);
}

static void every_kind_of_value(void **state)
{
	static const char text[] = "\xef\xbb\xbf# a comment, and a byte order mark before it\n"
				   "[daemon]\r\n"
				   "  socket = /tmp/x y.sock  \n"
				   "socket_mode=666\n"
				   "log_level : debug\n"
				   "\n"
				   "[network]\n"
				   "listen = fe80::1\n"
				   "\tport = 0\n"
				   "interfaces = ^=docker0,lo ; a remark\n"
				   "peers = 10.0.0.0/8, fd00::/8\n"
				   "[engine]\n"
				   "spin_us = 7\n"
				   "cpus = 3,5-6\n"
				   "[limits]\n"
				   "arena_bytes_default = 2m\n"
				   "inflight_bytes = 33554432\n"
				   "[uring]\n"
				   "zerocopy = off\n"
				   "sqpoll = on\n"
				   "[wire]\n"
				   "payload_crc = on";
	struct config c;
	struct err err;

	(void)state;
	assert_int_equal(parse(&c, text, &err), 0);
	assert_string_equal(c.socket, "/tmp/x y.sock");
	assert_int_equal(c.socket_mode, 0666);
	assert_int_equal(c.log_level, 7);
	assert_string_equal(c.listen, "fe80::1");
	assert_int_equal(c.port, 0);
	assert_string_equal(c.interfaces, "^=docker0,lo");
	assert_string_equal(c.peers, "10.0.0.0/8, fd00::/8");
	assert_int_equal(c.spin_us, 7);
	assert_int_equal(c.arena_bytes_default, 2 << 20);
	assert_int_equal(c.inflight_bytes, 32 << 20);
	assert_int_equal(c.zerocopy, CONFIG_SWITCH_OFF);
	assert_int_equal(c.sqpoll, CONFIG_SWITCH_ON);
	assert_int_equal(c.payload_crc, 1);
	assert_int_equal(c.line[0], 3);
	assert_string_equal(c.path, "f.conf");
}

static void mistakes(void **state)
{
	char text[512] = "[daemon]\nsocket = /";

	(void)state;
	refused("[daemon]\nsockets = /x\n",
		"f.conf:2: there is no key \"sockets\" in section [daemon]");
	refused("\n[demon]\n", "f.conf:2: there is no section \"[demon]\"");
	refused("[]\n", "f.conf:1: there is no section \"[]\"");
	refused("port = 1\n", "f.conf:1: \"port\" stands outside of any section");
	refused("[daemon]\n\nnonsense\n", "f.conf:3: neither [section] nor key = value");
	refused("[daemon\n", "f.conf:1: neither [section] nor key = value");
	refused("[network]\nport = 1\n# \n port = 2\n",
		"f.conf:4: [network] port was set in line 2 already");
	refused("[network]\nport = 65536\n",
		"f.conf:2: [network] port = 65536: must be 0 to 65535");
	refused("[network]\nport = 1x\n", "f.conf:2: [network] port = 1x: must be 0 to 65535");
	refused("[network]\nport = -1\n", "f.conf:2: [network] port = -1: must be 0 to 65535");
	refused("[network]\nport =\n", "f.conf:2: [network] port = : must be 0 to 65535");
	refused("[network]\nport = 99999999999999999999999\n",
		"f.conf:2: [network] port = 99999999999999999999999: must be 0 to 65535");
	refused("[network]\npaths = 0\n", "f.conf:2: [network] paths = 0: must be 1 to 8");
	refused("[limits]\ninflight_bytes = 3X\n",
		"f.conf:2: [limits] inflight_bytes = 3X: must be 32M to 64G bytes (with K, M, G or "
		"T)");
	refused("[limits]\ninflight_bytes = 20000000000T\n",
		"f.conf:2: [limits] inflight_bytes = 20000000000T: must be 32M to 64G bytes (with "
		"K, "
		"M, G or T)");
	refused("[daemon]\nsocket = carryd.sock\n",
		"f.conf:2: [daemon] socket = carryd.sock: must be "
		"an absolute path of at most 107 bytes");
	refused("[daemon]\nsocket_mode = 888\n",
		"f.conf:2: [daemon] socket_mode = 888: must be an octal number up to 0777");
	refused("[daemon]\nlog_level = 6\n", "f.conf:2: [daemon] log_level = 6: must be one of "
					     "error|warning|notice|info|debug");
	refused("[engine]\nspin_us = 1001\n",
		"f.conf:2: [engine] spin_us = 1001: must be 0 to 1000");
	refused("[engine]\ncpus = 1-\n", "f.conf:2: [engine] cpus = 1-: must be processors such as "
					 "0,2-5, up to 4095");
	refused("[schedule]\nforce = direc\n",
		"f.conf:2: [schedule] force = direc: must be one of auto|direct|flat|ring");
	refused("[network]\nlisten = localhost\n",
		"f.conf:2: [network] listen = localhost: must be a "
		"numeric IPv4 or IPv6 address, or empty");
	refused("[network]\npeers = 10.0.0.1/8\n",
		"f.conf:2: [network] peers = 10.0.0.1/8: \"10.0.0.1/8\" has bits set beyond its "
		"prefix");
	refused("[network]\ninterfaces = eth0,^lo\n",
		"f.conf:2: [network] interfaces = eth0,^lo: \"^lo\" is not an interface's name "
		"('^' "
		"and '=' stand once, in front of the whole list)");
	refused("[daemon]\nsocket = /a\x01\n",
		"f.conf:2: there is a control character in this line");
	memset(text + strlen(text), 'a', 300);
	refused(text, "f.conf:2: the line is too long; it begins with "
		      "\"socket = /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"");
	text[9 + 10 + 107] = 0; /* the path has 108 bytes */
	refused(text, "f.conf:2: [daemon] socket = "
		      "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: must be an "
		      "absolute path of at most 107 bytes");
}

static void what_two_keys_say(void **state)
{
	(void)state;
	refused("[network]\nheartbeat_ms = 1000\ndead_ms = 3999\n",
		"f.conf:3: [network] dead_ms = 3999: must be at least four times heartbeat_ms = "
		"1000");
	refused("[network]\nheartbeat_ms = 2000\n",
		"[network] dead_ms (default) = 4000: must be at least four times heartbeat_ms = "
		"2000");
	refused("[limits]\narena_bytes_max = 1M\n",
		"[limits] arena_bytes_default (default): is more "
		"than f.conf:2: [limits] arena_bytes_max");
	refused("[uring]\nsqpoll = on\ndefer_taskrun = on\n",
		"f.conf:2: [uring] sqpoll: sqpoll and defer_taskrun exclude each other");
}

/* The lowest and highest number of each row is taken, one beyond is not. */
static void every_range(void **state)
{
	(void)state;
	for (const struct config_row *row = config_table; row->section; row++) {
		char number[32];
		struct config c;
		struct err err;

		if (row->type != CONFIG_NUMBER && row->type != CONFIG_SIZE)
			continue;
		for (unsigned int beyond = 0; beyond < 2; beyond++) {
			snprintf(number, sizeof(number), "%ju", (uintmax_t)row->max + beyond);
			assert_int_equal(config_row_set(&c, row, number, &err), !beyond);
			snprintf(number, sizeof(number), "%ju", (uintmax_t)row->min - beyond);
			if (row->min || !beyond)
				assert_int_equal(config_row_set(&c, row, number, &err), !beyond);
		}
	}
}

static void every_row_has_help(void **state)
{
	struct config_key key;
	size_t rows = 0;

	(void)state;
	for (; config_key(rows, &key); rows++) {
		size_t help = strlen(key.help);

		assert_true(help > 10 && key.help[help - 1] == '.');
		assert_true(strlen(key.range) > 3 && strlen(key.range) < sizeof(key.range) - 1);
	}
	assert_true(rows > 30 && rows <= CONFIG_KEYS_MAX);
}

/* The names in the configuration are those of the tables. */
static void names_are_those_of_the_tables(void **state)
{
	char words[128] = "auto";
	const struct config_row *row = config_table;

	(void)state;
	for (size_t i = 0; sched_table[i]; i++)
		snprintf(words + strlen(words), sizeof(words) - strlen(words), "|%s",
			 sched_table[i]->name);
	while (strcmp(row->key, "force") != 0)
		row++;
	assert_string_equal(row->words, words);
	assert_non_null(transport_by_name("uring"));
	assert_non_null(transport_by_name("fault"));
	assert_int_equal(CONFIG_SWITCH_AUTO, TRANSPORT_AUTO);
	assert_int_equal(CONFIG_SWITCH_ON, TRANSPORT_ON);
	assert_int_equal(CONFIG_SWITCH_OFF, TRANSPORT_OFF);
}

static char *printed(const struct config *c, size_t *bytes)
{
	char *text;
	FILE *file = open_memstream(&text, bytes);

	assert_non_null(file);
	config_print(c, file);
	fclose(file);
	return text;
}

static void print_can_be_read(void **state)
{
	struct config before, after;
	char one[CONFIG_TEXT_BYTES], two[CONFIG_TEXT_BYTES];
	struct err err;
	size_t bytes;
	char *text;

	(void)state;
	assert_int_equal(
		parse(&before,
		      "[daemon]\nlog_level=debug\nsocket_mode=0\n[network]\npeers = ::/0\n"
		      "[engine]\nspin_us=0\n[limits]\narena_bytes=1025K\n[uring]\nsqpoll=off\n",
		      &err),
		0);
	text = printed(&before, &bytes);
	assert_non_null(strstr(text, "# From f.conf:2.\nlog_level = debug\n"));
	assert_non_null(strstr(text, "# Not set.\nport = 7117\n"));
	assert_non_null(strstr(text, "Range: 0 to 65535. Default: 7117."));
	assert_int_equal(config_parse(&after, text, bytes, "printed", &err), 0);
	for (size_t row = 0; config_table[row].section; row++)
		assert_string_equal(config_value(&before, row, one, sizeof(one)),
				    config_value(&after, row, two, sizeof(two)));
	free(text);
}

/* The least that is allowed is enough for a group, and what is not says what would be. */
static void memory_of_a_group(void **state)
{
	struct exchange_plan plan = {.nodes = 1, .lanes = 16, .local_ranks = EXCHANGE_LOCAL_MAX};
	char text[128], sentence[256];
	struct config c;
	struct err err;
	uint64_t needed;

	(void)state;
	assert_int_equal(parse(&c, "[limits]\ninflight_bytes = 32M\n[engine]\nlanes = 2\n", &err),
			 0);
	assert_int_equal(exchange_plan_size(&plan, 33554432, &err), -ENOMEM);
	needed = exchange_memory(&plan) * 16;
	(void)snprintf(text, sizeof(text),
		       "[engine]\nlanes = 16\n[limits]\ninflight_bytes = %" PRIu64 "\n",
		       needed - 1);
	(void)snprintf(sentence, sizeof(sentence),
		       "f.conf:4: [limits] inflight_bytes = %" PRIu64
		       ": a group on one node needs %" PRIu64 " with [engine] lanes = 16",
		       needed - 1, needed);
	refused(text, sentence);
	(void)snprintf(text, sizeof(text),
		       "[engine]\nlanes = 16\n[limits]\ninflight_bytes = %" PRIu64 "\n", needed);
	assert_int_equal(parse(&c, text, &err), 0);
	plan.chunk_bytes_max = 0;
	plan.local_ranks = 1;
	assert_int_equal(exchange_plan_size(&plan, c.inflight_bytes, &err), 0);
}

static void ports_of_roots(void **state)
{
	static const char *const wrong[] = {"0", "0-7117",      "7117,", "7117,,1", "65536", "7-6",
					    "x", "7117 , 7118", "-1",    "1-65536", "7117-", ","};
	struct config c;
	struct err err;

	(void)state;
	assert_int_equal(parse(&c, "", &err), 0);
	assert_true(config_root_port(&c, 7117, 7117));
	assert_false(config_root_port(&c, 7117, 7118));
	assert_int_equal(parse(&c, "[network]\nroot_ports = 7200-7210,1,65535\n", &err), 0);
	assert_true(config_root_port(&c, 7117, 7200));
	assert_true(config_root_port(&c, 7117, 7205));
	assert_true(config_root_port(&c, 7117, 7210));
	assert_true(config_root_port(&c, 7117, 1));
	assert_true(config_root_port(&c, 7117, 65535));
	assert_false(config_root_port(&c, 7117, 7117)); /* only where it is listed */
	assert_false(config_root_port(&c, 7117, 7199));
	assert_false(config_root_port(&c, 7117, 7211));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char text[64], sentence[160];

		(void)snprintf(text, sizeof(text), "[network]\nroot_ports = %s\n", wrong[i]);
		(void)snprintf(sentence, sizeof(sentence),
			       "f.conf:2: [network] root_ports = %s: must be ports such as "
			       "7117,7200-7299, from 1 to 65535, or empty",
			       wrong[i]);
		refused(text, sentence);
	}
}

static void rdma_devices(void **state)
{
	static const char *const right[] = {"", "mlx5_0", "mlx5_0:1", "a,b:2,c", "^a", "^a:1,b"};
	static const char *const wrong[] = {
		"^", ",", "a,", ",a", "a,,b", "a:", "a:x", "a:1:2", "a:1234", "a b", "a,^b"};
	struct config c;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "[verbs]\ndevices = %s\n", right[i]);
		assert_int_equal(parse(&c, text, &err), 0);
		assert_string_equal(c.devices, right[i]);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char text[64], sentence[160];

		(void)snprintf(text, sizeof(text), "[verbs]\ndevices = %s\n", wrong[i]);
		(void)snprintf(sentence, sizeof(sentence),
			       "f.conf:2: [verbs] devices = %s: must be RDMA devices such as "
			       "mlx5_0:1,mlx5_1, behind ^ those not to use",
			       wrong[i]);
		refused(text, sentence);
	}
	refused("[verbs]\nretries = 7\n", "f.conf:2: [verbs] retries = 7: must be 1 to 6");
}

static void processors_of_lanes(void **state)
{
	static const int expected[] = {3, 5, 6, 7, 1, 3, 5};
	struct config c;
	struct err err;

	(void)state;
	assert_int_equal(parse(&c, "[engine]\ncpus = 3,5-7,1\n", &err), 0);
	for (uint32_t lane = 0; lane < 7; lane++)
		assert_int_equal(config_cpu(&c, lane), expected[lane]);
	assert_int_equal(parse(&c, "", &err), 0);
	assert_int_equal(config_cpu(&c, 0), -1);
	assert_int_equal(parse(&c, "[engine]\ncpus = 4095\n", &err), 0);
	refused("[engine]\ncpus = 4096\n",
		"f.conf:2: [engine] cpus = 4096: must be processors such as 0,2-5, up to 4095");
	refused("[engine]\ncpus = 3-2\n",
		"f.conf:2: [engine] cpus = 3-2: must be processors such as "
		"0,2-5, up to 4095");
	refused("[engine]\ncpus = 1,,2\n",
		"f.conf:2: [engine] cpus = 1,,2: must be processors such "
		"as 0,2-5, up to 4095");
}

static void files(void **state)
{
	char path[] = "/tmp/test_config.XXXXXX";
	int fd = mkstemp(path);
	struct config c;
	struct err err;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "[network]\nport = 1\n", 19), 19);
	assert_int_equal(config_load(&c, path, &err), 0);
	assert_int_equal(c.port, 1);
	assert_string_equal(c.path, path);
	fail_alloc_at(1);
	assert_int_equal(config_load(&c, path, &err), -ENOMEM);
	assert_int_equal(ftruncate(fd, CONFIG_FILE_BYTES_MAX + 1), 0);
	assert_int_equal(config_load(&c, path, &err), -EFBIG);
	close(fd);
	unlink(path);
	assert_int_equal(config_load(&c, path, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(config_load(&c, "/tmp", &err), -EISDIR);
	assert_string_equal(err.text, "read /tmp: Is a directory");
	if (access(CONFIG_DEFAULT_PATH, F_OK)) {
		assert_int_equal(config_load(&c, NULL, &err), 0);
		assert_string_equal(c.path, "");
	}
}

/* A seed that is refused by mistake teaches a fuzzer nothing: only those named so are refused. */
static void seeds_of_the_fuzzer(void **state)
{
	static const char folder[] = "tests/fuzz/corpus/config";
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	uint32_t taken = 0, not_taken = 0;

	(void)state;
	if (!dir)
		fail_msg("%s: %s; to be run from the top of the tree", folder, strerror(errno));
	while ((entry = readdir(dir))) {
		bool bad = strncmp(entry->d_name, "refused-", 8) == 0;
		char path[sizeof(folder) + sizeof(entry->d_name)];
		struct err err = {.code = 0};
		struct config c;

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if ((config_load(&c, path, &err) != 0) != bad)
			fail_msg("%s: %s", path, bad ? "was not refused" : err.text);
		taken += !bad;
		not_taken += bad;
	}
	(void)closedir(dir);
	assert_true(taken >= 6 && not_taken >= 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(every_kind_of_value),
		cmocka_unit_test(mistakes),
		cmocka_unit_test(what_two_keys_say),
		cmocka_unit_test(every_range),
		cmocka_unit_test(every_row_has_help),
		cmocka_unit_test(names_are_those_of_the_tables),
		cmocka_unit_test(print_can_be_read),
		cmocka_unit_test(memory_of_a_group),
		cmocka_unit_test(ports_of_roots),
		cmocka_unit_test(rdma_devices),
		cmocka_unit_test(processors_of_lanes),
		cmocka_unit_test(files),
		cmocka_unit_test(seeds_of_the_fuzzer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
