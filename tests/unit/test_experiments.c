/* test_experiments.c - the experiments of tests/experiments, small. */
#include "tests/experiments/experiment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void judge(const struct experiment *e)
{
	size_t failed = 0;

	assert_true(e->rows > 0);
	for (size_t i = 0; i < e->rows; i++) {
		const struct experiment_row *row = &e->row[i];

		printf("  %-40s %12.6g   [%.6g, %.6g]\n", row->what, row->measured, row->low,
		       row->high);
		failed += !experiment_row_holds(row);
	}
	assert_int_equal(failed, 0);
}

static void run(void (*experiment)(struct experiment *e), const char *name, const char *title)
{
	struct experiment e = {.name = name, .title = title, .small = true};

	experiment(&e);
	judge(&e);
}

#define EXPERIMENT_TEST(letter, title)                    \
	static void run_##letter(void **state)            \
	{                                                 \
		(void)state;                              \
		run(experiment_##letter, #letter, title); \
	}
EXPERIMENTS(EXPERIMENT_TEST)

#define EXPERIMENT_LIST(letter, words) cmocka_unit_test(run_##letter),

int main(void)
{
	const struct CMUnitTest tests[] = {EXPERIMENTS(EXPERIMENT_LIST)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
