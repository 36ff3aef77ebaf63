/*
 * test_perf_report.c - carry-perf's arithmetic, table and JSON.
 */
#include "tools/perf/report.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <cmocka.h>

static const struct perf_options options = {
	.min_bytes = 8,
	.max_bytes = 1000000,
	.factor = 2,
	.iterations = 20,
	.warmups = 5,
	.type = CARRY_F32,
	.reduce = CARRY_SUM,
	.check = true,
	.codec = "none",
	.feedback = "none",
};
static const struct perf_group group = {.ranks = 8, .nodes = 4};

/* 1 MB in 1 ms: 1 GB/s. */
static const struct perf_result result = {
	.bytes = 1000000,
	.count = 250000,
	.out_of_place = {.mean_us = 1000,
			 .median_us = 990,
			 .p99_us = 1500,
			 .min_us = 900,
			 .max_us = 1600,
			 .wire_bytes = 1500000,
			 .cpu_s = 0.5,
			 .wrong = 0},
	.in_place = {.mean_us = 2000, .wire_bytes = 1500000, .wrong = 3},
};

static bool near(double a, double b)
{
	return fabs(a - b) <= 1e-9 * fabs(b);
}

static void times(void **state)
{
	struct perf_side side;
	double odd[] = {5, 1, 3}, even[] = {4, 1, 3, 2}, one[] = {7}, many[200];

	(void)state;
	perf_times(&side, odd, 3);
	assert_true(side.mean_us == 3 && side.median_us == 3 && side.p99_us == 5);
	assert_true(side.min_us == 1);
	perf_times(&side, even, 4);
	assert_true(side.mean_us == 2.5 && side.median_us == 2.5 && side.p99_us == 4);
	perf_times(&side, one, 1);
	assert_true(side.median_us == 7 && side.p99_us == 7 && side.min_us == 7);
	for (int i = 0; i < 200; i++)
		many[i] = (i * 7) % 200 + 1; /* 1..200 in another order */
	perf_times(&side, many, 200);
	assert_true(side.median_us == 100.5);
	assert_true(side.p99_us == 198); /* the least that 99 of 100 do not exceed */
}

static void bandwidths(void **state)
{
	(void)state;
	assert_true(near(perf_algbw_gbs(1000000, 1000), 1));
	assert_true(near(perf_busbw_gbs(1000000, 1000, 8), 1.75));
	assert_true(near(perf_busbw_gbs(1000000, 1000, 2), 1));
	assert_true(perf_busbw_gbs(1000000, 1000, 1) == 0);
	assert_true(perf_algbw_gbs(8, 0) == 0);
	assert_true(near(perf_ratio(1000000, 4, 1500000), 1));
	assert_true(near(perf_ratio(1000000, 2, 250000), 4));
	assert_true(perf_ratio(1000000, 1, 0) == 0);
}

/* The n-th word of text. */
static const char *word(const char *text, int n, char *out, size_t out_bytes)
{
	for (;; n--) {
		text += strspn(text, " \n");
		size_t length = strcspn(text, " \n");
		if (n == 0) {
			snprintf(out, out_bytes, "%.*s", (int)length, text);
			return out;
		}
		text += length;
	}
}

static void table(void **state)
{
	static const char *const row[] = {"1000000", "250000", "f32",  "sum",  "-1",
					  "1000.0",  "1.00",   "1.75", "0",    "2000.0",
					  "0.50",    "0.88",   "3",    "1.00", "1500000"};
	size_t bytes;
	char *text = NULL, got[64];
	FILE *file = open_memstream(&text, &bytes);

	(void)state;
	assert_non_null(file);
	perf_print_result(file, &options, &group, &result);
	fclose(file);
	for (int i = 0; i < 15; i++)
		assert_string_equal(word(text, i, got, sizeof(got)), row[i]);
	free(text);

	/* Without --check there is no count, on one node no ratio. */
	struct perf_options unchecked = options;
	struct perf_result local = result;
	unchecked.check = false;
	local.out_of_place.wire_bytes = 0;
	file = open_memstream(&text, &bytes);
	assert_non_null(file);
	perf_print_result(file, &unchecked, &(struct perf_group){.ranks = 2, .nodes = 1}, &local);
	fclose(file);
	assert_string_equal(word(text, 8, got, sizeof(got)), "N/A");
	assert_string_equal(word(text, 13, got, sizeof(got)), "-");
	free(text);
}

/* Every line of the header and every row end in the same column. */
static void columns_line_up(void **state)
{
	size_t bytes, width = 0, lines = 0;
	char *text = NULL;
	FILE *file = open_memstream(&text, &bytes);

	(void)state;
	assert_non_null(file);
	perf_print_header(file, &options, &group);
	perf_print_result(file, &options, &group, &result);
	fclose(file);
	char *line = strstr(text, "#       size");
	if (!line)
		fail_msg("no line of column names in\n%s", text);
	for (; *line; line += strcspn(line, "\n") + 1, lines++) {
		if (!width)
			width = strcspn(line, "\n");
		assert_int_equal(strcspn(line, "\n"), width);
	}
	assert_int_equal(lines, 3);
	free(text);
}

static void trailer(void **state)
{
	size_t bytes;
	char *text = NULL;
	struct perf_result good = result;
	FILE *file = open_memstream(&text, &bytes);

	(void)state;
	assert_non_null(file);
	perf_print_trailer(file, &options, &group, &result, 1);
	fclose(file);
	assert_string_equal(text, "# Out of bounds values : 3 FAILED\n"
				  "# Avg bus bandwidth    : 1.3125\n#\n");
	free(text);
	good.in_place.wrong = 0;
	file = open_memstream(&text, &bytes);
	assert_non_null(file);
	perf_print_trailer(file, &options, &group, &good, 1);
	fclose(file);
	assert_non_null(strstr(text, "# Out of bounds values : 0 OK\n"));
	free(text);
}

static double number(const json_t *json, const char *key)
{
	const json_t *value = json_object_get(json, key);

	if (!json_is_number(value))
		fail_msg("%s is no number", key);
	return json_number_value(value);
}

static void json(void **state)
{
	char *text = perf_json(&options, &group, &result, 1);

	(void)state;
	assert_non_null(text);
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "version")), CARRY_RELEASE);
	const json_t *list = json_object_get(root, "results");
	assert_int_equal(json_array_size(list), 1);
	const json_t *first = json_array_get(list, 0), *place = json_object_get(first, "in_place");
	assert_string_equal(json_string_value(json_object_get(first, "op")), "allreduce");
	assert_true(number(first, "bytes") == 1000000);
	assert_true(number(first, "nodes") == 4);
	assert_true(number(first, "ranks") == 8);
	assert_true(number(first, "time_us_median") == 990);
	assert_true(number(first, "time_us_p99") == 1500);
	assert_true(near(number(first, "algbw_gbs"), 1));
	assert_true(near(number(first, "busbw_gbs"), 1.75));
	assert_true(number(first, "wrong") == 0);
	assert_true(number(first, "wire_bytes") == 1500000);
	assert_true(near(number(first, "trainer_cpu_s_per_gb"), 25)); /* 0.5 s for 20 MB */
	assert_true(number(place, "wrong") == 3);
	assert_true(near(number(place, "algbw_gbs"), 0.5));
	assert_true(number(json_object_get(root, "config"), "iterations") == 20);
	json_decref(root);
	free(text);

	struct perf_options unchecked = options;
	unchecked.check = false;
	text = perf_json(&unchecked, &group, &result, 1);
	assert_non_null(text);
	assert_non_null(strstr(text, "\"wrong\": null"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times),   cmocka_unit_test(bandwidths),
		cmocka_unit_test(table),   cmocka_unit_test(columns_line_up),
		cmocka_unit_test(trailer), cmocka_unit_test(json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
