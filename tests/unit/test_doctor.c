/*
 * test_doctor.c - what carryctl doctor makes of devices that are not there
 * (tests/common/fake_verbs.h), without a daemon; with one: tests/vm/single/test_doctor.
 */
#include "tools/ctl/doctor.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/common/fake_verbs.h"
#include "tools/ctl/process.h"

static int before(void **state)
{
	(void)state;
	fake_verbs_begin(2);
	return 0;
}

static int after(void **state)
{
	(void)state;
	fake_verbs_end();
	return 0;
}

/* "level: text" of the finding about that, to be freed with *report. */
static const char *finding(json_t **report, const char *about)
{
	static char text[600];
	const json_t *one;
	size_t i;

	*report = doctor_look("/nowhere/carryd.sock");
	assert_non_null(*report);
	json_array_foreach(json_object_get(*report, "findings"), i, one)
	{
		if (strcmp(json_string_value(json_object_get(one, "about")), about) != 0)
			continue;
		(void)snprintf(text, sizeof(text), "%s: %s",
			       json_string_value(json_object_get(one, "level")),
			       json_string_value(json_object_get(one, "text")));
		return text;
	}
	return NULL;
}

#define FINDS(about, want)                                          \
	do {                                                        \
		json_t *report;                                     \
		assert_string_equal(finding(&report, about), want); \
		json_decref(report);                                \
	} while (0)

static void ports(void **state)
{
	(void)state;
	FINDS("fake0:1", "advice: packets carry 1024 bytes, and could carry 4096");
	/* Without names, a port without a cable is none's fault, unless there is no other. */
	fake_verbs.device[1].active = false;
	FINDS("fake1:1", "advice: the port is down");
	fake_verbs.device[0].active = false;
	FINDS("fake1:1", "fault: the port is down");
	fake_verbs.device[1].active = true;
	fake_verbs.device[1].gids = 0;
	FINDS("fake1:1", "fault: the port has no GID, so no queue pair can be made");
	FINDS("fake0:1", "fault: the port is down");
	fake_verbs.device[1].gids = 1;
	FINDS("fake0:1", "advice: the port is down");
	fake_verbs.device[1].open_error = EIO;
	FINDS("fake1", "fault: the device cannot be opened: Input/output error");
}

static void the_chosen_gid(void **state)
{
	json_t *report, *gids;
	char *shown = NULL;
	size_t bytes;
	FILE *to;

	(void)state;
	fake_verbs.device[0].gids = 12; /* more than are shown */
	(void)finding(&report, "fake0:1");
	gids = json_object_get(json_array_get(json_object_get(report, "ports"), 0), "gids");
	assert_int_equal(json_array_size(gids), 8);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(json_is_true(json_object_get(json_array_get(gids, i), "chosen")),
				 i == 0);
	to = open_memstream(&shown, &bytes);
	assert_non_null(to);
	assert_int_equal(doctor_show(report, to), 0);
	(void)fclose(to);
	assert_non_null(strstr(shown, "    0  ::ffff:10.0.0.1  RoCE v2  yes\n"));
	assert_non_null(strstr(shown, "    1  ::ffff:10.0.0.2  RoCE v2\n"));
	free(shown);
	json_decref(report);
}

static void who_looked(void **state)
{
	char want[200];

	(void)state;
	(void)snprintf(
		want, sizeof(want),
		"ok: devices were looked at as uid %u; no carryd answers, so [verbs] devices "
		"is taken for empty",
		(unsigned)geteuid());
	FINDS("user", want);
}

/* Whoever has CAP_IPC_LOCK needs no limit. */
static void memory(void **state)
{
	struct rlimit limit, small;
	struct process_rights rights;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
	small = (struct rlimit){.rlim_cur = 64 << 10, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &small), 0);
	process_rights((int)getpid(), &rights);
	assert_true(rights.known && rights.memlock_known);
	assert_int_equal(rights.memlock_bytes, 64 << 10);
	assert_int_equal(rights.uid, geteuid());
	FINDS("memlock", rights.may_lock ? "ok: enough memory may be registered (this shell; no "
					   "carryd answers): CAP_IPC_LOCK, so no limit holds"
					 : "fault: only 64 KiB may be registered (this shell; no "
					   "carryd answers)");
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	process_rights(-1, &rights);
	assert_false(rights.known || rights.memlock_known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ports, before, after),
		cmocka_unit_test_setup_teardown(the_chosen_gid, before, after),
		cmocka_unit_test_setup_teardown(who_looked, before, after),
		cmocka_unit_test_setup_teardown(memory, before, after),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
