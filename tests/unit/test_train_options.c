/*
 * test_train_options.c - the command line of carry-train: defaults, values, refusals.
 */
#include "tools/train/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ARGS_MAX 16

/* Words, separated by single spaces, as a command line. */
static enum train_action parse(struct train_options *o, const char *words, char *why)
{
	static char text[256]; /* options point into it */
	char *args[ARGS_MAX + 1] = {text};
	int count = 0;

	assert_true(strlen(words) < sizeof(text));
	memcpy(text, words, strlen(words) + 1);
	for (char *next = text; next; count++) {
		assert_true(count < ARGS_MAX);
		args[count] = next;
		next = strchr(next, ' ');
		if (next)
			*next++ = '\0';
	}
	return train_options_parse(o, count, args, why, TRAIN_WHY_BYTES);
}

static void defaults(void **state)
{
	struct train_options o;
	char why[TRAIN_WHY_BYTES];

	(void)state;
	assert_int_equal(parse(&o, "carry-train", why), TRAIN_RUN);
	assert_int_equal(o.seed, 1);
	assert_int_equal(o.epochs, 40);
	assert_int_equal(o.batch, 64);
	assert_int_equal(o.shape.layers, 3);
	assert_int_equal(o.shape.widths[1], 256);
	assert_int_equal(o.shape.widths[3], 10);
	assert_false(o.local);
	assert_null(o.json);
}

static void values(void **state)
{
	struct train_options o;
	char why[TRAIN_WHY_BYTES];

	(void)state;
	assert_int_equal(parse(&o, "t --seed 7 --epochs=3 --local --lr 0.5 --hidden 32", why),
			 TRAIN_RUN);
	assert_int_equal(o.seed, 7);
	assert_int_equal(o.epochs, 3);
	assert_true(o.local);
	assert_true(o.rate == 0.5f);
	assert_int_equal(o.shape.layers, 2);
	assert_int_equal(o.shape.widths[0], 64);
	assert_int_equal(o.shape.widths[1], 32);
	assert_int_equal(o.shape.widths[2], 10);
	assert_int_equal(parse(&o, "t --data a --json - --hidden 1,2,3,4", why), TRAIN_RUN);
	assert_string_equal(o.data, "a");
	assert_string_equal(o.json, "-");
	assert_int_equal(o.shape.layers, 5);
	assert_int_equal(o.shape.widths[4], 4);
	assert_true(o.momentum == 0.9f);
	assert_string_equal(o.codec, "none");
	assert_string_equal(o.feedback, "none");
	assert_int_equal(parse(&o, "t --codec sign --feedback twosided --momentum 0", why),
			 TRAIN_RUN);
	assert_string_equal(o.codec, "sign");
	assert_string_equal(o.feedback, "twosided");
	assert_true(o.momentum == 0);
	assert_int_equal(parse(&o, "t --help", why), TRAIN_HELP);
	assert_int_equal(parse(&o, "t --version", why), TRAIN_VERSION);
}

static void refusals(void **state)
{
	static const struct {
		const char *words, *why;
	} cases[] = {
		{"t --epochs 0", "--epochs: \"0\" is out of range"},
		{"t --epochs many", "--epochs: \"many\" is not a number"},
		{"t --seed -1", "--seed: \"-1\" is not a number"},
		{"t --lr inf", "--lr: \"inf\" is not a number"},
		{"t --momentum 1", "--momentum: \"1\" is out of range"},
		{"t --hidden 3,,4", "--hidden: \"3,,4\" is not a number"},
		{"t --hidden 3,", "--hidden: \"3,\" is not a number"},
		{"t --hidden 2000", "--hidden: \"2000\" is out of range"},
		{"t --hidden 1,2,3,4,5", "--hidden: \"1,2,3,4,5\" is out of range"},
		{"t --batch", "option --batch wants a value"},
		{"t --frobnicate", "option --frobnicate is unknown or not unique"},
		{"t -x", "option -x is unknown"},
		{"t --quiet=1", "\"--quiet=1\": this option takes no value"},
		{"t digits.csv", "\"digits.csv\" is no option"},
	};
	struct train_options o;
	char why[TRAIN_WHY_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(&o, cases[i].words, why), TRAIN_BAD);
		assert_string_equal(why, cases[i].why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(values),
		cmocka_unit_test(refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
