/*
 * test_verbs_udp.c - UDP source ports of RoCE v2: which, and how a device is told; with a libmlx5
 * that is not one (tests/sys/preload_mlx5.c).
 */
#include "daemon/transport/verbs_udp.h"

#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/transport/transport.h"
#include "tests/common/fake_verbs.h"
#include "tests/common/rig.h"

/* As in preload_mlx5.c. */
struct fake_mlx5 {
	int refuse;
	uint32_t count;
	struct ibv_qp *qp;
	uint16_t port;
};

/* include/rdma/ib_verbs.h, said once more. */
static uint32_t port_of_label(uint32_t label)
{
	return 0xc000 | ((label & 0x3fff) ^ (label >> 14));
}

static void no_two_paths_have_the_same(void **state)
{
	static const uint32_t peers[] = {0, 1, 77, TRANSPORT_PEERS_MAX - 1};

	(void)state;
	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		bool seen[65536] = {false};

		for (uint32_t lane = 0; lane < WIRE_LANES_MAX; lane++)
			for (uint32_t path = 0; path < WIRE_PATHS_MAX; path++) {
				uint16_t port = verbs_udp_port(peers[i], lane, path);
				uint32_t label = verbs_udp_flow_label(port);

				assert_true(port >= VERBS_UDP_PORT_MIN);
				assert_false(seen[port]);
				seen[port] = true;
				assert_true(label > 0 && label <= 0xfffff);
				assert_int_equal(port_of_label(label), port);
			}
	}
}

static void every_port_has_a_label(void **state)
{
	(void)state;
	for (uint32_t port = VERBS_UDP_PORT_MIN; port <= 0xffff; port++) {
		uint32_t label = verbs_udp_flow_label((uint16_t)port);

		assert_true(label > 0 && label <= 0xfffff);
		assert_int_equal(port_of_label(label), port);
	}
}

/* A device of that driver. */
static struct ibv_device device_of(const char *driver)
{
	const char *folder = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	struct ibv_device d = {.name = "fake0"};
	char path[IBV_SYSFS_PATH_MAX + 32], target[64];

	(void)snprintf(d.ibdev_path, sizeof(d.ibdev_path), "%.100s/udp-%s-%d", folder, driver,
		       (int)getpid());
	(void)mkdir(d.ibdev_path, 0777);
	(void)snprintf(path, sizeof(path), "%s/device", d.ibdev_path);
	(void)mkdir(path, 0777);
	(void)snprintf(path, sizeof(path), "%s/device/driver", d.ibdev_path);
	(void)snprintf(target, sizeof(target), "../../../bus/pci/drivers/%s", driver);
	(void)unlink(path);
	assert_int_equal(symlink(target, path), 0);
	return d;
}

static const char *library(void)
{
	static char path[512];
	const char *build = getenv("BUILD");

	(void)snprintf(path, sizeof(path), "%s/tests/sys/preload_mlx5.so", build ? build : "build");
	return path;
}

static void mlx5_is_told_the_port(void **state)
{
	const struct ibv_device device = device_of("mlx5_core");
	struct ibv_qp qp = {.qp_num = 5};
	struct fake_mlx5 *fake;
	struct verbs_udp u;
	void *same;

	(void)state;
	verbs_udp_open(&u, &device, library());
	assert_string_equal(u.how, "by mlx5");
	same = dlopen(library(), RTLD_NOW);
	assert_non_null(same);
	fake = dlsym(same, "fake_mlx5");
	assert_non_null(fake);
	verbs_udp_set(&u, &qp, 0xc123);
	assert_int_equal(fake->count, 1);
	assert_ptr_equal(fake->qp, &qp);
	assert_int_equal(fake->port, 0xc123);
	/* Old firmware: said, and never tried again. */
	fake->refuse = EOPNOTSUPP;
	verbs_udp_set(&u, &qp, 0xc124);
	verbs_udp_set(&u, &qp, 0xc125);
	assert_int_equal(fake->count, 2);
	assert_string_equal(u.how, "by flow label (mlx5 takes no port: Operation not supported)");
	verbs_udp_close(&u);
	verbs_udp_close(&u);
	(void)dlclose(same);
}

static void others_go_by_flow_label(void **state)
{
	struct ibv_device device = device_of("mlx5_core");
	struct verbs_udp u;

	(void)state;
	verbs_udp_open(&u, &device, "libthatisnot.so.1");
	assert_null(u.library);
	assert_string_equal(u.how, "by flow label (mlx5's library cannot be loaded: libmlx5.so.1 "
				   "is in ibverbs-providers)");
	verbs_udp_set(&u, NULL, 0xc000);
	verbs_udp_open(&u, &device, "libm.so.6");
	assert_null(u.library);
	assert_non_null(strstr(u.how, "too old: it has no mlx5dv_modify_qp_udp_sport"));
	device = device_of("irdma");
	verbs_udp_open(&u, &device, library());
	assert_null(u.library);
	assert_string_equal(u.how, "by flow label");
	device.ibdev_path[0] = 0; /* Soft-RoCE has no driver there */
	verbs_udp_open(&u, &device, library());
	assert_string_equal(u.how, "by flow label");
	verbs_udp_close(&u);
}

/* What reaches the queue pairs: each side chooses for its own peer and lane. */
static void each_queue_pair_has_its_own(void **state)
{
	struct rig_variant v = {"verbs", "verbs", AF_INET, {.queue_frames = 16, .lane = 3}};
	struct rig rig;

	(void)state;
	fake_verbs_begin(1);
	rig_open(&rig, &v);
	for (uint16_t path = 0; path < WIRE_PATHS_MAX; path++)
		(void)rig_join(&rig, 4, path, 9, path);
	assert_int_equal(fake_verbs.labels_count, 2 * WIRE_PATHS_MAX);
	for (uint32_t i = 0; i < fake_verbs.labels_count; i++) {
		uint32_t found = 0;

		for (uint32_t path = 0; path < WIRE_PATHS_MAX; path++)
			for (uint32_t peer = 4; peer <= 9; peer += 5)
				found += fake_verbs.labels[i] ==
					 verbs_udp_flow_label(verbs_udp_port(peer, 3, path));
		assert_int_equal(found, 1);
		for (uint32_t j = 0; j < i; j++)
			assert_int_not_equal(fake_verbs.labels[i], fake_verbs.labels[j]);
	}
	assert_non_null(strstr(rig.ops->describe(rig.side[0]), "8 paths; UDP ports by flow label"));
	rig_close(&rig);
	fake_verbs_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_two_paths_have_the_same),
		cmocka_unit_test(every_port_has_a_label),
		cmocka_unit_test(mlx5_is_told_the_port),
		cmocka_unit_test(others_go_by_flow_label),
		cmocka_unit_test(each_queue_pair_has_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
