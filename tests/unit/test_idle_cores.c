/* test_idle_cores.c - idle_cores.h: what the kernel's file says, and what a lane makes of it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "daemon/idle_cores.h"

static void parses(void **state)
{
	uint64_t idle_ns = 1;

	(void)state;
	assert_int_equal(idle_cores_parse("350735.47 234388.90\n", &idle_ns), 0);
	assert_int_equal(idle_ns, 234388900000000);
	assert_int_equal(idle_cores_parse("0.00 0.07\n", &idle_ns), 0);
	assert_int_equal(idle_ns, 70000000);
	for (const char *const *bad = (const char *const[]){"", "12.0", "12.0 x", "12 13", NULL};
	     *bad; bad++)
		assert_int_equal(idle_cores_parse(*bad, &idle_ns), -EBADMSG);
}

static void counts(void **state)
{
	struct idle_cores c;
	const uint64_t s = CLOCK_NS_PER_S;

	(void)state;
	idle_cores_open(&c, 2);
	assert_true(c.few);
	idle_cores_count(&c, 100 * s, 5 * s);
	assert_true(c.few); /* one look says nothing */
	idle_cores_count(&c, 101 * s, 7 * s);
	assert_false(c.few); /* two were idle all the time */
	idle_cores_count(&c, 102 * s, 7 * s + s * 196 / 100);
	assert_false(c.few); /* as far as the kernel counts */
	idle_cores_count(&c, 103 * s, 9 * s + s * 91 / 100);
	assert_true(c.few);
	idle_cores_count(&c, 105 * s, 14 * s);
	assert_false(c.few); /* over two seconds */
	idle_cores_count(&c, 106 * s, 14 * s);
	assert_true(c.few);
	idle_cores_count(&c, 107 * s, 17 * s);
	assert_false(c.few);
	idle_cores_count(&c, 108 * s, 16 * s);
	assert_true(c.few); /* cores were taken away */
	idle_cores_close(&c);
}

/* The real file: no more time passes than there are processors for. */
static void looks(void **state)
{
	struct idle_cores c;
	uint32_t processors = (uint32_t)sysconf(_SC_NPROCESSORS_CONF);

	(void)state;
	idle_cores_open(&c, 2 * processors);
	assert_true(c.fd >= 0);
	assert_true(idle_cores_few(&c, 10 * CLOCK_NS_PER_S));
	assert_true(c.begun);
	assert_true(c.free_ns > 0);
	/* Not again within a second. */
	c.free_ns = 1;
	assert_true(idle_cores_few(&c, 11 * CLOCK_NS_PER_S - 1));
	assert_int_equal(c.free_ns, 1);
	assert_false(idle_cores_few(&c, 11 * CLOCK_NS_PER_S)); /* since 1 ns: all of the uptime */
	assert_true(c.free_ns > 1);
	assert_true(idle_cores_few(&c, 1000 * CLOCK_NS_PER_S));
	idle_cores_close(&c);
}

static void without_file(void **state)
{
	struct idle_cores c;

	(void)state;
	idle_cores_open(&c, 1);
	(void)close(c.fd);
	c.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(idle_cores_few(&c, CLOCK_NS_PER_S));
	assert_int_equal(c.fd, -1);
	assert_true(idle_cores_few(&c, 9 * CLOCK_NS_PER_S));
	idle_cores_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses),
		cmocka_unit_test(counts),
		cmocka_unit_test(looks),
		cmocka_unit_test(without_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
