/*
 * test_experiments.c - what the experiments (tests/experiments) are made of: their command line,
 * figures, curves, lines, JSON and page.  The experiments themselves run in `make experiments`.
 */
#include "tests/experiments/experiment.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/experiments/options.h"
#include "tests/experiments/page.h"
#include "tests/experiments/plot.h"
#include "tests/experiments/report.h"
#include "tests/experiments/team.h"

/* --- command line ------------------------------------------------------------------------- */

static char refusal[OPTIONS_WHY_BYTES];

/* Words, up to a NULL, as a command line. */
static enum options_action parse(struct options *o, const char *first, const char *second)
{
	char program[] = "run";
	char *args[] = {program, (char *)(uintptr_t)first, (char *)(uintptr_t)second, NULL};
	int count = 1 + !!first + (first && second);

	refusal[0] = '\0';
	return options_parse(o, count, args, refusal, sizeof(refusal));
}

static void good_usage(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&o, NULL, NULL), OPTIONS_RUN);
	assert_in_range(o.threads, 1, OPTIONS_THREADS_MAX);
	assert_true(!o.json && !o.html && options_want(&o, "A") && options_want(&o, "Q"));
	assert_int_equal(parse(&o, "--only", "a,Q"), OPTIONS_RUN);
	assert_true(options_want(&o, "A") && options_want(&o, "Q") && !options_want(&o, "B"));
	assert_int_equal(parse(&o, "--json", "x"), OPTIONS_RUN);
	assert_string_equal(o.json, "x");
	assert_int_equal(parse(&o, "--html=y", "--threads=3"), OPTIONS_RUN);
	assert_string_equal(o.html, "y");
	assert_int_equal(o.threads, 3);
	assert_int_equal(parse(&o, "--help", "--nonsense"), OPTIONS_HELP);
}

static void bad_usage(void **state)
{
	static const char *const wrong[][3] = {
		{"--only", "AX", "--only: there is no experiment \"X\""},
		{"--only", "A B", "--only: there is no experiment \" \""},
		{"--only", ",", "--only: \",\" names no experiment"},
		{"--only", "", "--only: \"\" names no experiment"},
		{"--only", NULL, "option --only wants a value"},
		{"--threads", "0", "--threads: \"0\" is not a number from 1 to 64"},
		{"--threads", "65", "--threads: \"65\" is not a number from 1 to 64"},
		{"--quick", NULL, "option --quick is unknown or not unique"},
		{"A", NULL, "\"A\" is no option"},
	};
	struct options o;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		assert_int_equal(parse(&o, wrong[i][0], wrong[i][1]), OPTIONS_BAD);
		assert_string_equal(refusal, wrong[i][2]);
	}
}

/* --- figures ------------------------------------------------------------------------------ */

static void figures_hold_or_not(void **state)
{
	static const bool holds[] = {true, true, false, false, true, true, false, false, true};
	struct experiment e = {.letter = "T", .title = "a test"};

	(void)state;
	experiment_expect(&e, 1, 1, 2, "at the lower limit");
	experiment_expect(&e, 2, 1, 2, "at the upper limit");
	experiment_expect(&e, 2.0001, 1, 2, "above");
	experiment_expect(&e, (double)NAN, -INFINITY, INFINITY, "no number");
	experiment_near(&e, 101, 100, 0.01, "near");
	experiment_near(&e, -99, -100, 0.01, "near, negative");
	experiment_near(&e, 101.1, 100, 0.01, "not near");
	experiment_near(&e, (double)NAN, 100, 0.01, "no number %d", 7);
	experiment_near(&e, 3, 3, 0, "the same");
	assert_int_equal(e.rows, 9);
	for (size_t i = 0; i < e.rows; i++)
		assert_int_equal(experiment_row_holds(&e.row[i]), holds[i]);
	assert_int_equal(experiment_failed(&e), 4);
	assert_string_equal(e.row[7].what, "no number 7");
	experiment_deinit(&e);
}

/* What an op that is not committed leaves behind cannot pass for a result. */
static void uncommitted_is_no_number(void **state)
{
	struct experiment_inputs inputs;
	struct cluster c;

	(void)state;
	cluster_init(&c, "ef14", "int8", "none", 2, 4, 4);
	experiment_inputs_init(&inputs, 2, 4);
	experiment_op(&c, &inputs);
	assert_true(inputs.result[0] == 0 && inputs.result[3] == 0);
	inputs.data[5] = INFINITY;
	experiment_op(&c, &inputs);
	for (size_t i = 0; i < 4; i++)
		assert_true(isnan(inputs.result[i]));
	experiment_inputs_deinit(&inputs);
	cluster_deinit(&c);
}

/* Both kinds of team, the same ops: plain, changed in unit, dense, as a sum. */
static void own_code_is_the_rules(void **state)
{
	static const char *const kinds[][3] = {
		{"none", "topk:density=0.1", "none"},
		{"ef14", "topk:density=0.1", "none"},
		{"ef14", "sign:block=64", "none"},
		{"twosided", "sign:block=64", "sign:block=64,scale=l2"},
		{"ef21", "topk:density=0.1", "none"},
		{"ef21-w", "topk:density=0.1", "none"},
		{"ef21-sgdm:eta=0.1", "topk:density=0.1", "none"},
		{"econtrol:eta=0.1", "topk:density=0.1", "none"},
	};
	enum { NODES = 3, COUNT = 100 };

	(void)state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		struct experiment_random random;
		struct team own, exact;

		experiment_seed(&random, k);
		team_init(&own, TEAM_OWN, kinds[k][0], kinds[k][1], kinds[k][2], NODES, COUNT);
		team_init(&exact, TEAM_FLOAT64, kinds[k][0], kinds[k][1], kinds[k][2], NODES,
			  COUNT);
		team_weigh(&own, 1, 1.5);
		team_weigh(&exact, 1, k == 5 ? 1.5 : 1); /* the others have no weights */
		for (int op = 0; op < 8; op++) {
			own.scale = exact.scale = op == 3 ? 0.5 : 1;
			own.dense = exact.dense = op == 5;
			own.average = exact.average = op < 6;
			for (size_t i = 0; i < NODES * COUNT; i++)
				own.in[i] = exact.in[i] = (double)(float)experiment_normal(&random);
			team_op(&own);
			team_op(&exact);
			for (size_t i = 0; i < COUNT; i++)
				if (!(fabs(own.out[i] - exact.out[i]) < 1e-5))
					fail_msg("%s %d %zu: %g, not %g", kinds[k][0], op, i,
						 own.out[i], exact.out[i]);
		}
		team_deinit(&own);
		team_deinit(&exact);
	}
}

struct visits {
	int each[100];
};

static void visit(void *context, size_t i)
{
	((struct visits *)context)->each[i]++;
}

static void every_case_once(void **state)
{
	(void)state;
	for (unsigned threads = 1; threads <= 4; threads++) {
		struct experiment e = {.threads = threads};
		struct visits v = {{0}};

		experiment_each(&e, 0, visit, &v);
		experiment_each(&e, 99, visit, &v);
		for (size_t i = 0; i < 99; i++)
			assert_int_equal(v.each[i], 1);
		assert_int_equal(v.each[99], 0);
	}
}

/* --- lines, JSON, page -------------------------------------------------------------------- */

static void fill(struct experiment *e)
{
	struct experiment_plot *p;
	struct experiment_curve *c;

	*e = (struct experiment){
		.letter = "T", .title = "a < b", .words = "Some words & more.", .threads = 1};
	experiment_near(e, 1.01, 1, 0.02, "good");
	experiment_expect(e, 3, 0, 2, "bad");
	experiment_expect(e, (double)NAN, 1, INFINITY, "none");
	p = experiment_plot(e, "plot > title", "ops", "error", EXPERIMENT_LOG_BOTH);
	c = experiment_curve(p, "falls");
	experiment_point(c, 0, 1); /* has no place on a logarithmic axis */
	experiment_point(c, 1, 1);
	experiment_point(c, 10, 1e-3);
	experiment_point(c, 100, (double)NAN);
	experiment_point(c, 1000, 1e-6);
}

/* What `write` writes, to free(). */
static char *written(void (*write)(FILE *out, const struct experiment *e),
		     const struct experiment *e)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	assert_non_null(out);
	write(out, e);
	assert_int_equal(fclose(out), 0);
	return text;
}

static size_t occurrences(const char *text, const char *what)
{
	size_t count = 0;

	for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
		count++;
	return count;
}

static void lines(void **state)
{
	struct experiment e;
	char *text;

	(void)state;
	fill(&e);
	text = written(report_lines, &e);
	assert_int_equal(occurrences(text, "\n"), 3);
	assert_int_equal(occurrences(text, "DIFFERS\n"), 2);
	assert_non_null(strstr(text, "+- 2 %"));
	assert_non_null(strstr(text, "at most 2 "));
	assert_non_null(strstr(text, "at least 1 "));
	free(text);
	experiment_deinit(&e);
}

static void json(void **state)
{
	struct experiment e;
	json_t *document, *figures;
	char *text;

	(void)state;
	fill(&e);
	text = report_json(&e, 1);
	document = json_loads(text, 0, NULL);
	assert_non_null(document);
	assert_int_equal(json_integer_value(json_object_get(document, "passed")), 1);
	assert_int_equal(json_integer_value(json_object_get(document, "failed")), 2);
	figures = json_object_get(json_array_get(json_object_get(document, "experiments"), 0),
				  "figures");
	assert_int_equal(json_array_size(figures), 3);
	assert_true(json_is_true(json_object_get(json_array_get(figures, 0), "ok")));
	assert_true(json_is_false(json_object_get(json_array_get(figures, 1), "ok")));
	assert_true(json_is_null(json_object_get(json_array_get(figures, 2), "measured")));
	json_decref(document);
	free(text);
	experiment_deinit(&e);
}

static void one_page(FILE *out, const struct experiment *e)
{
	page_html(out, e, 1);
}

static void page(void **state)
{
	static const char *const pairs[][2] = {
		{"<table>", "</table>"}, {"<svg ", "</svg>"}, {"<text ", "</text>"},
		{"<td", "</td>"},        {"<p>", "</p>"},     {"<tr>", "</tr>"},
		{"<h2 ", "</h2>"},
	};
	struct experiment e;
	char *text;

	(void)state;
	fill(&e);
	text = written(one_page, &e);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		assert_true(occurrences(text, pairs[i][0]) > 0);
		assert_int_equal(occurrences(text, pairs[i][0]), occurrences(text, pairs[i][1]));
	}
	assert_non_null(strstr(text, "T: a &lt; b"));
	assert_non_null(strstr(text, "Some words &amp; more."));
	assert_non_null(strstr(text, "plot &gt; title"));
	assert_non_null(strstr(text, "2 DIFFER<"));
	/* Two ends of a curve that is broken by what has no place, and its three marks. */
	assert_int_equal(occurrences(text, "<circle "), 3);
	assert_null(strstr(text, "<script"));
	assert_null(strstr(text, "nan\""));
	assert_null(strstr(text, "inf"));
	free(text);
	experiment_deinit(&e);
}

/* Nothing, one point, and equal points still make a picture. */
static void plots_of_little(void **state)
{
	struct experiment e = {.letter = "T", .title = "little", .threads = 1};
	char *text;

	(void)state;
	for (int axes = EXPERIMENT_LINEAR; axes <= EXPERIMENT_LOG_BOTH; axes++) {
		struct experiment_plot *p =
			experiment_plot(&e, "p", "x", "y", (enum experiment_axes)axes);

		experiment_curve(p, "nothing");
		experiment_point(experiment_curve(p, "one"), 5, axes % 2 ? 3 : 0);
	}
	text = written(one_page, &e);
	assert_int_equal(occurrences(text, "</svg>"), 4);
	assert_null(strstr(text, "\"nan"));
	assert_null(strstr(text, "\"-nan"));
	free(text);
	experiment_deinit(&e);
}

/* The table in order, and one that takes no time, from end to end. */
static void a_short_one(void **state)
{
	struct experiment e = {.threads = 2};
	const char *last = "";
	size_t i = 0;

	(void)state;
	for (; experiment_table[i].letter; i++) {
		assert_true(strcmp(last, experiment_table[i].letter) < 0);
		last = experiment_table[i].letter;
	}
	assert_int_equal(i, 11);
	experiment_a(&e);
	assert_true(e.rows >= 10 && e.words && e.plots);
	assert_int_equal(experiment_failed(&e), 0);
	experiment_deinit(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_usage),
		cmocka_unit_test(bad_usage),
		cmocka_unit_test(figures_hold_or_not),
		cmocka_unit_test(uncommitted_is_no_number),
		cmocka_unit_test(own_code_is_the_rules),
		cmocka_unit_test(every_case_once),
		cmocka_unit_test(lines),
		cmocka_unit_test(json),
		cmocka_unit_test(page),
		cmocka_unit_test(plots_of_little),
		cmocka_unit_test(a_short_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
