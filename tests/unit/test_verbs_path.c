/*
 * test_verbs_path.c - paths of the verbs transport between two devices that are not there
 * (tests/common/fake_verbs.h): what passes, what is left behind, what happens when something fails.
 *
 * Two instances in one process, joined by sockets, as tests/common/rig.h does; what the device is
 * to do is set in `fake_verbs`.
 */
#include "daemon/transport/verbs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "tests/common/fake_verbs.h"
#include "tests/common/rig.h"

enum { FRAMES = 200 };

static const struct rig_variant strict = {
	"verbs", "verbs", AF_INET, {.queue_frames = 16, .payload_crc = true}};

/* Sizes that are inline, in one extent, over several. */
static const uint32_t *sizes(void)
{
	static uint32_t some[FRAMES];

	for (uint32_t i = 0; i < FRAMES; i++)
		some[i] = i % 5 == 4 ? i * 7919 % (1 << 20) : i * 31 % 300;
	return some;
}

static struct verbs_path *path_of(struct rig *rig, int side)
{
	struct transport *t = rig->side[side];

	assert_int_equal(t->active_count, 1);
	return t->paths[t->active[0]];
}

static int before(void **state)
{
	(void)state;
	fake_verbs_begin(1);
	return 0;
}

static int after(void **state)
{
	(void)state;
	fake_verbs_end();
	return 0;
}

static void frames_pass(void **state)
{
	struct rig rig;
	uint32_t line;

	(void)state;
	rig_open(&rig, &strict);
	line = rig_join(&rig, 3, 0, 5, 1);
	for (int side = 0; side < 2; side++)
		rig_load(&rig, line, side, sizes(), FRAMES);
	rig_finish(&rig);
	assert_int_equal(path_of(&rig, 0)->state, VERBS_UP);
	assert_int_equal(fake_verbs.device[0].qps, 2);
	assert_true(fake_verbs.writes > FRAMES);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(frames_pass, before, after),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
