/*
 * test_report.c - the JSON that carryctl gets: keys and values, names that are no UTF-8,
 * and every allocation failing once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "daemon/report.h"
#include "tests/unit/client_rig.h"

static long json_left; /* the how-maniest allocation of jansson fails; 0: none */

static void *json_malloc(size_t bytes)
{
	return json_left > 0 && --json_left == 0 ? NULL : malloc(bytes);
}

struct scene {
	struct client_rig rig;
	struct report report;
	struct report_lane lanes[2];
	int trainer;
	uint32_t client;
};

static void scene_open(struct scene *s)
{
	client_rig_open(&s->rig, "[limits]\narena_bytes = 1G\ngroups = 7\n");
	s->trainer = trainer_attach(&s->rig, 1 << 20, &s->client);
	(void)client_handle_take(s->rig.clients, s->client);
	memset(s->lanes, 0, sizeof(s->lanes));
	s->lanes[0].transport = "uring: multishot on";
	s->lanes[1].transport = "uring: multishot off";
	s->lanes[1].ops_done = 5;
	s->lanes[1].wire_sent = 1ull << 40;
	s->report = (struct report){
		.version = "1.2.3",
		.pid = 77,
		.uptime_ns = 2500000000,
		.config = &s->rig.config,
		.clients = s->rig.clients,
		.lanes = s->lanes,
		.lane_count = 2,
		.groups = json_pack("[{s:I}, {s:I}]", "memory_bytes", (json_int_t)100,
				    "memory_bytes", (json_int_t)11),
		.paths = json_pack("[{s:s}]", "over", "TCP"),
		.peers = json_pack("[{s:s}]", "address", "10.0.0.2"),
	};
}

static void scene_close(struct scene *s)
{
	json_decref(s->report.groups);
	json_decref(s->report.peers);
	json_decref(s->report.paths);
	close(s->trainer);
	client_rig_close(&s->rig);
}

static json_t *answer(const struct scene *s, const char *what)
{
	struct err err = {.text = ""};
	char *text = report_answer(&s->report, what, &err);
	json_t *json;

	if (!text)
		fail_msg("%s", err.text);
	json = json_loads(text, 0, NULL);
	assert_non_null(json);
	free(text);
	return json;
}

static json_int_t number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value))
		fail_msg("%s", key);
	return json_integer_value(value);
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	if (!value)
		fail_msg("%s", key);
	return value;
}

static void status(void **state)
{
	const struct shm_layout *layout;
	struct scene s;
	json_t *json, *part;

	(void)state;
	scene_open(&s);
	json = answer(&s, "status");
	layout = client_layout(s.rig.clients, s.client);
	assert_string_equal(text(json, "version"), "1.2.3");
	assert_int_equal(number(json, "pid"), 77);
	assert_true(json_real_value(json_object_get(json, "uptime_s")) == 2.5);
	assert_string_equal(text(json, "socket"), s.rig.path);
	assert_int_equal(number(json, "groups"), 2);
	assert_int_equal(number(json, "groups_max"), 7);
	part = json_array_get(json_object_get(json, "lanes"), 1);
	assert_int_equal(number(part, "lane"), 1);
	assert_int_equal(number(part, "ops_done"), 5);
	assert_int_equal(number(part, "wire_sent"), 1ll << 40);
	assert_int_equal(number(part, "zerocopy_copied"), 0);
	assert_string_equal(text(part, "transport"), "uring: multishot off");
	part = json_array_get(json_object_get(json, "clients"), 0);
	assert_int_equal(number(part, "client"), s.client);
	assert_int_equal(number(part, "pid"), getpid());
	assert_int_equal(number(part, "uid"), getuid());
	assert_string_equal(text(part, "name"), "trainer");
	assert_int_equal(number(part, "arena_bytes"), 1 << 20);
	assert_int_equal(number(part, "groups"), 1);
	assert_true(number(part, "resident_bytes") >= 4096);
	part = json_object_get(json, "memory");
	assert_int_equal(number(part, "shared_bytes"), (json_int_t)layout->total_bytes);
	assert_int_equal(number(part, "shared_bytes_max"), 1 << 30);
	assert_int_equal(number(part, "groups_bytes"), 111);
	part = json_object_get(json, "connections");
	assert_int_equal(number(part, "open"), 1);
	assert_int_equal(number(part, "accepted"), 1);
	part = json_array_get(json_object_get(json, "peers"), 0);
	assert_string_equal(text(part, "address"), "10.0.0.2");
	json_decref(json);
	scene_close(&s);
}

static void config(void **state)
{
	struct config_key key;
	struct scene s;
	json_t *json, *row;
	size_t rows = 0, index;

	(void)state;
	scene_open(&s);
	json = answer(&s, "config");
	while (config_key(rows, &key))
		rows++;
	assert_int_equal(json_array_size(json), rows);
	json_array_foreach(json, index, row)
	{
		assert_true(config_key(index, &key));
		assert_string_equal(text(row, "key"), key.key);
		assert_string_equal(text(row, "range"), key.range);
		if (strcmp(key.key, "arena_bytes") == 0) {
			assert_string_equal(text(row, "value"), "1G");
			assert_string_equal(text(row, "default"), "64G");
			assert_string_equal(text(row, "origin"), "rig:6");
		}
		if (strcmp(key.key, "port") == 0)
			assert_string_equal(text(row, "origin"), "default");
	}
	json_decref(json);
	scene_close(&s);
}

static void groups_and_unknown(void **state)
{
	struct scene s;
	struct err err;
	json_t *json;

	(void)state;
	scene_open(&s);
	json = answer(&s, "groups");
	assert_true(json_equal(json, s.report.groups));
	json_decref(json);
	json = answer(&s, "links");
	assert_true(json_equal(json_object_get(json, "paths"), s.report.paths));
	assert_int_equal(json_array_size(json_object_get(json, "lanes")), 2);
	json_decref(json);
	s.report.state = json_pack("[{s:s}]", "name", "world");
	json = answer(&s, "state");
	assert_true(json_equal(json, s.report.state));
	json_decref(json);
	json_decref(s.report.state);
	assert_null(report_answer(&s.report, "stats", &err));
	assert_int_equal(err.code, -ENOENT);
	assert_string_equal(err.text,
			    "there is no report \"stats\"; there are status, groups, links, "
			    "state, config");
	json_decref(s.report.groups);
	s.report.groups = NULL; /* control had no memory for them */
	assert_null(report_answer(&s.report, "groups", &err));
	assert_int_equal(err.code, -ENOMEM);
	assert_string_equal(err.text, "no memory for the report \"groups\"");
	scene_close(&s);
}

static void names_that_are_no_utf8(void **state)
{
	static const char *const names[][2] = {
		{"plain", "plain"}, {"\xc3\xa4", "\xc3\xa4"}, {"a\xff\xc3z", "a??z"}, {"", ""}};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		json_t *json = report_text(names[i][0]);

		assert_string_equal(json_string_value(json), names[i][1]);
		json_decref(json);
	}
}

/* Whatever fails, the answer is -ENOMEM and nothing stays behind (the sanitizer looks). */
static void no_memory(void **state)
{
	static const char *const reports[] = {"status", "config", "groups", "links"};
	struct scene s;
	struct err err;

	(void)state;
	scene_open(&s);
	for (size_t i = 0; i < sizeof(reports) / sizeof(reports[0]); i++) {
		char *json = NULL;
		long n = 0;

		while (!json) {
			json_left = ++n;
			err.code = 0;
			json = report_answer(&s.report, reports[i], &err);
			assert_int_equal(err.code, json ? 0 : -ENOMEM);
			assert_true(n < 10000);
		}
		json_left = 0;
		assert_true(n > 1);
		free(json);
	}
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status),
		cmocka_unit_test(config),
		cmocka_unit_test(groups_and_unknown),
		cmocka_unit_test(names_that_are_no_utf8),
		cmocka_unit_test(no_memory),
	};

	json_set_alloc_funcs(json_malloc, free);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
