/*
 * test_verbs_ports.c - the numbers that ports have, and the lanes' shares of them; on devices that
 * are not there (tests/common/fake_verbs.h).
 */
#include "daemon/transport/verbs_ports.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/common/fake_verbs.h"

static int before(void **state)
{
	(void)state;
	fake_verbs_begin(3);
	return 0;
}

static int after(void **state)
{
	(void)state;
	fake_verbs_end();
	return 0;
}

/* Of these devices: "fake0:1 fake2:1(down)". */
static const char *ports_of(const char *devices)
{
	static char text[400];
	struct verbs_port ports[VERBS_PORTS_MAX];
	struct ibv_device **list;
	int count, error = 0;
	uint32_t found;
	size_t at = 0;

	list = ibv_get_device_list(&count);
	found = verbs_ports_find(list, count, devices, ports, &error);
	ibv_free_device_list(list);
	text[0] = 0;
	for (uint32_t i = 0; i < found; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s:%u%s", i ? " " : "",
				       ports[i].name, ports[i].port,
				       !ports[i].device  ? "(absent)"
				       : ports[i].active ? ""
							 : "(down)");
	if (error)
		(void)snprintf(text + at, sizeof(text) - at, "%serror %d", at ? " " : "", error);
	return text;
}

/* Nobody said which have a cable: those that are up, by name, whatever the library's order. */
static void all_that_are_up(void **state)
{
	(void)state;
	assert_string_equal(ports_of(NULL), "fake0:1 fake1:1 fake2:1");
	(void)snprintf(fake_verbs.device[0].device.name, 8, "fake10");
	assert_string_equal(ports_of(""), "fake1:1 fake2:1 fake10:1");
	fake_verbs.device[1].active = false;
	assert_string_equal(ports_of(""), "fake2:1 fake10:1");
	assert_string_equal(ports_of("^fake2"), "fake10:1");
	assert_string_equal(ports_of("^fake2:1,fake10"), "fake1:1(down)");
	fake_verbs.device[0].active = fake_verbs.device[2].active = false;
	assert_string_equal(ports_of(""), "fake1:1(down) fake2:1(down) fake10:1(down)");
}

/* Those that were named keep their numbers, come what may. */
static void named_ports_keep_their_numbers(void **state)
{
	(void)state;
	assert_string_equal(ports_of("fake2,fake0:1,fake2:1"), "fake2:1 fake0:1");
	fake_verbs.device[0].active = false;
	assert_string_equal(ports_of("fake0,fake1"), "fake0:1(down) fake1:1");
	fake_verbs.device[0].gone = true;
	assert_string_equal(ports_of("fake0:1,fake1"), "fake0:1(absent) fake1:1");
	assert_string_equal(ports_of("fake1:2"), "");
	assert_string_equal(ports_of("fake1:x,fake1:1x,fake1:0,fake1:-1,fake1:257,fake1:"), "");
	assert_string_equal(ports_of("no,none"), "");
}

static void devices_that_may_not_be_opened(void **state)
{
	(void)state;
	fake_verbs.device[1].open_error = EACCES;
	assert_string_equal(ports_of(""), "fake0:1 fake2:1 error 13");
	assert_string_equal(ports_of("^fake1"), "fake0:1 fake2:1");
	/* Named, it keeps its number. */
	assert_string_equal(ports_of("fake1"), "fake1:1(down) error 13");
	assert_string_equal(ports_of("fake1:2,fake0"), "fake1:2(down) fake0:1 error 13");
	assert_string_equal(ports_of("^fake1:1"), "fake0:1 fake2:1 error 13");
}

static void put_numa_node(int device, const char *text)
{
	const char *folder = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	struct ibv_device *d = &fake_verbs.device[device].device;
	char path[IBV_SYSFS_PATH_MAX + 32];
	FILE *file;

	(void)snprintf(d->ibdev_path, sizeof(d->ibdev_path), "%.100s/ports-%d-%d", folder,
		       (int)getpid(), device);
	(void)mkdir(d->ibdev_path, 0777);
	(void)snprintf(path, sizeof(path), "%s/device", d->ibdev_path);
	(void)mkdir(path, 0777);
	(void)snprintf(path, sizeof(path), "%s/device/numa_node", d->ibdev_path);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0 && !fclose(file));
}

static void numa_nodes_are_read(void **state)
{
	struct verbs_port ports[VERBS_PORTS_MAX];
	struct ibv_device **list;
	int count, error = 0;

	(void)state;
	put_numa_node(0, "1\n");
	put_numa_node(1, "-1\n");
	list = ibv_get_device_list(&count);
	assert_int_equal(verbs_ports_find(list, count, "", ports, &error), 3);
	ibv_free_device_list(list);
	assert_int_equal(ports[0].numa_node, 1);
	assert_int_equal(ports[1].numa_node, -1);
	assert_int_equal(ports[2].numa_node, -1); /* there is no such file */
}

/* Each lane's port, "0120", for ports on these NUMA nodes and lanes on those; '-': none. */
static const char *shares(const char *ports_on, const char *lanes_on)
{
	static char text[17];
	struct verbs_port ports[VERBS_PORTS_MAX] = {{0}};
	uint32_t count = (uint32_t)strlen(ports_on), lanes = (uint32_t)strlen(lanes_on);
	int nodes[16];

	for (uint32_t i = 0; i < count; i++)
		ports[i].numa_node = ports_on[i] == '-' ? -1 : ports_on[i] - '0';
	for (uint32_t i = 0; i < lanes; i++)
		nodes[i] = lanes_on[i] == '-' ? -1 : lanes_on[i] - '0';
	for (uint32_t i = 0; i < lanes; i++)
		text[i] = (char)('0' + verbs_ports_share(ports, count, nodes, lanes, i));
	text[lanes] = 0;
	return text;
}

static void lanes_take_near_ports(void **state)
{
	struct verbs_port three[3] = {{0}};

	(void)state;
	assert_string_equal(shares("0", "----"), "0000");
	assert_string_equal(shares("---", "-----"), "01201");
	assert_string_equal(shares("01", "01"), "01");
	assert_string_equal(shares("10", "01"), "10");
	assert_string_equal(shares("0011", "1100"), "2301");
	assert_string_equal(shares("01", "0011"), "0011");
	assert_string_equal(shares("01", "0101"), "0101");
	/* All lanes on one node: the other port has its share all the same. */
	assert_string_equal(shares("01", "0000"), "0011");
	assert_string_equal(shares("10", "00"), "10");
	/* No port is near, or nothing is known of it. */
	assert_string_equal(shares("22", "0101"), "0101");
	assert_string_equal(shares("--", "01"), "01");
	/* Those without a node take what is left. */
	assert_string_equal(shares("01", "-0"), "10");
	/* A lane that knows nothing of the others. */
	assert_int_equal(verbs_ports_share(three, 3, NULL, 0, 7), 1);
}

static void every_port_has_its_share(void **state)
{
	static const char *const lanes[] = {"0",    "01",      "000",
					    "0110", "1111111", "0123012301230123"};
	static const char *const ports[] = {"0", "01", "10", "0--", "1111", "00112"};

	(void)state;
	for (size_t l = 0; l < 6; l++)
		for (size_t p = 0; p < 6; p++) {
			uint32_t load[8] = {0}, n = (uint32_t)strlen(lanes[l]);
			uint32_t count = (uint32_t)strlen(ports[p]);

			for (const char *at = shares(ports[p], lanes[l]); *at; at++)
				load[*at - '0']++;
			for (uint32_t i = 0; i < count; i++)
				assert_true(load[i] <= (n + count - 1) / count);
		}
}

static void the_best_gid(void **state)
{
	struct ibv_device **list;
	struct ibv_context *context;
	struct ibv_gid_entry best;
	int count;

	(void)state;
	list = ibv_get_device_list(&count);
	context = ibv_open_device(list[1]);
	assert_true(verbs_port_gid(context, 1, true, &best));
	assert_int_equal(best.gid_index, 0);
	fake_verbs.device[1].gids = 0;
	assert_false(verbs_port_gid(context, 1, true, &best));
	(void)ibv_close_device(context);
	ibv_free_device_list(list);
	assert_string_equal(verbs_gid_type_name(IBV_GID_TYPE_ROCE_V2), "RoCE v2");
	assert_string_equal(verbs_gid_type_name(IBV_GID_TYPE_ROCE_V1), "RoCE v1");
	assert_string_equal(verbs_gid_type_name(IBV_GID_TYPE_IB), "InfiniBand");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_that_are_up, before, after),
		cmocka_unit_test_setup_teardown(named_ports_keep_their_numbers, before, after),
		cmocka_unit_test_setup_teardown(devices_that_may_not_be_opened, before, after),
		cmocka_unit_test_setup_teardown(numa_nodes_are_read, before, after),
		cmocka_unit_test(lanes_take_near_ports),
		cmocka_unit_test(every_port_has_its_share),
		cmocka_unit_test_setup_teardown(the_best_gid, before, after),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
