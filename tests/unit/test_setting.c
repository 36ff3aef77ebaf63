/*
 * test_setting.c - settings of codecs and feedback: what is parsed is what is checked, written and
 * parsed again, at the bounds of every option too.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"
#include "daemon/feedback_spec.h"

enum { SPEC_ROOM = 256 };

/* Of either table. */
struct entry {
	const char *name;
	const struct setting_option *options;
	const char *const *examples;
	/* Return: is the spec taken?  Then it comes back. */
	bool (*and_back)(const char *spec);
};

static bool codec_and_back(const char *spec)
{
	struct codec_setting s, t;
	char text[CODEC_SPEC_BYTES], again[CODEC_SPEC_BYTES];
	struct err err;

	if (codec_parse(&s, spec, &err))
		return false;
	if (codec_check(&s))
		fail_msg("%s: parsed, and then refused", spec);
	codec_format(&s, text);
	if (codec_parse(&t, text, &err))
		fail_msg("%s: written as %s: %s", spec, text, err.text);
	assert_memory_equal(&s, &t, sizeof(s));
	codec_format(&t, again);
	assert_string_equal(text, again);
	return true;
}

static bool feedback_and_back(const char *spec)
{
	struct feedback_setting s, t;
	char text[FEEDBACK_SPEC_BYTES], again[FEEDBACK_SPEC_BYTES];
	struct err err;

	if (feedback_parse(&s, spec, &err))
		return false;
	if (feedback_check(&s))
		fail_msg("%s: parsed, and then refused", spec);
	feedback_format(&s, text);
	if (feedback_parse(&t, text, &err))
		fail_msg("%s: written as %s: %s", spec, text, err.text);
	assert_memory_equal(&s, &t, sizeof(s));
	feedback_format(&t, again);
	assert_string_equal(text, again);
	return true;
}

/* With each example that takes it beside what else it says, of which there is one. */
static void one_value(const struct entry *e, const char *key, const char *value, int length)
{
	char spec[SPEC_ROOM];
	bool taken = false;

	for (const char *const *base = e->examples; *base; base++) {
		(void)snprintf(spec, sizeof(spec), "%s%c%s=%.*s", *base,
			       strchr(*base, ':') ? ',' : ':', key, length, value);
		taken |= e->and_back(spec);
	}
	if (!taken)
		fail_msg("%s: %s=%.*s goes with no example", e->name, key, length, value);
}

/* Each word; the least and the greatest number.  Return: how many. */
static size_t each_value(const struct entry *e)
{
	size_t values = 0;

	for (const struct setting_option *o = e->options; o && o->key; o++) {
		char number[2][32];

		for (const char *word = o->kind == SETTING_WORD ? o->words : ""; *word;) {
			size_t length = strcspn(word, "|");

			one_value(e, o->key, word, (int)length);
			word += length + (word[length] == '|');
			values++;
		}
		if (o->kind == SETTING_WORD)
			continue;
		(void)snprintf(number[0], sizeof(number[0]), "%.17g", o->min);
		(void)snprintf(number[1], sizeof(number[1]), "%.17g", o->max);
		for (size_t i = 0; i < 2; i++, values++)
			one_value(e, o->key, number[i], -1);
	}
	return values;
}

static void all_values_come_back(void **state)
{
	size_t values = 0;

	(void)state;
	for (const struct codec *const *c = codec_table; *c; c++)
		values += each_value(
			&(struct entry){(*c)->name, (*c)->options, (*c)->examples, codec_and_back});
	assert_true(values >= 50);
	values = 0;
	for (const struct feedback *const *f = feedback_table; *f; f++)
		values += each_value(&(struct entry){(*f)->name, (*f)->options, (*f)->examples,
						     feedback_and_back});
	assert_true(values >= 8);
}

static void minus_zero(void **state)
{
	struct codec_setting s, t;
	struct err err;

	(void)state;
	assert_int_equal(codec_parse(&s, "terngrad:clip=-0", &err), 0);
	assert_int_equal(codec_parse(&t, "terngrad:clip=0", &err), 0);
	assert_memory_equal(&s, &t, sizeof(s));
	assert_int_equal(codec_check(&s), 0);
	s.clip = -0.0f;
	assert_int_equal(codec_check(&s), -EINVAL);
}

/* Beyond a bound by one float32. */
static void beyond_bounds(void **state)
{
	struct codec_setting s;
	struct err err;

	(void)state;
	assert_int_equal(codec_parse(&s, "topk", &err), 0);
	s.density = 1e-5f;
	assert_int_equal(codec_check(&s), 0);
	s.density = nextafterf(1e-5f, 0);
	assert_int_equal(codec_check(&s), -EINVAL);
	s.density = nextafterf(1, 2);
	assert_int_equal(codec_check(&s), -EINVAL);
	s.density = NAN;
	assert_int_equal(codec_check(&s), -EINVAL);
	assert_int_equal(codec_parse(&s, "topk:density=9.99e-6", &err), -EINVAL);
	assert_string_equal(err.text, "codec topk: density = 9.99e-6: must be 1e-05 to 1");
}

/* --- what is refused ---------------------------------------------------------------------- */

static void refused(const char *spec, const char *words)
{
	struct codec_setting s;
	struct err err;

	assert_int_equal(codec_parse(&s, spec, &err), -EINVAL);
	assert_string_equal(err.text, words);
}

/* What is long is judged, and named, whole; what is very long is cut in the sentence alone. */
static void long_values(void **state)
{
	struct feedback_setting s;
	char spec[1100];
	struct err err;

	(void)state;
	refused("int8:block=2560000000000000000000000000000000000",
		"codec int8: block = 2560000000000000000000000000000000000: must be a power of two "
		"from 32 to 4096");
	refused("int8:block=0000000000000000000000000000256000,rounding=nearest",
		"codec int8: block = 0000000000000000000000000000256000: must be a power of two "
		"from 32 to 4096");
	refused("int8:rounding=nearestandstochasticatthesametime",
		"codec int8: rounding = nearestandstochasticatthesametime: must be one of "
		"nearest|stochastic");
	assert_int_equal(feedback_parse(&s, "loco:reset=0000000000000000000000000000010.5", &err),
			 -EINVAL);
	assert_string_equal(err.text, "feedback loco: reset = 0000000000000000000000000000010.5: "
				      "must be a whole number from 0 to 1073741824");
	memset(spec, 'x', sizeof(spec));
	memcpy(spec, "int8:block=", strlen("int8:block="));
	spec[sizeof(spec) - 1] = 0;
	refused(spec, "codec int8: block = "
		      "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		      "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...: must be a power of two "
		      "from 32 to 4096");
}

static void grammar(void **state)
{
	struct codec_setting s, t;
	struct err err;

	(void)state;
	refused("int8:block", "codec int8: block = : must be a power of two from 32 to 4096");
	refused("int8:block=", "codec int8: block = : must be a power of two from 32 to 4096");
	refused("int8:block=,rounding=nearest",
		"codec int8: block = : must be a power of two from 32 to 4096");
	refused("int8:block=64x",
		"codec int8: block = 64x: must be a power of two from 32 to 4096");
	refused("int8:block=64=64",
		"codec int8: block = 64=64: must be a power of two from 32 to 4096");
	refused("int8:block=96", "codec int8: block = 96: must be a power of two from 32 to 4096");
	refused("int8:rounding=", "codec int8: rounding = : must be one of nearest|stochastic");
	refused("int8:block=64,", "codec int8 has no option \"\"");
	refused("int8:,block=64", "codec int8 has no option \"\"");
	refused("int8:bloc=64", "codec int8 has no option \"bloc\"");
	refused("int8:blocks", "codec int8 has no option \"blocks\"");
	refused("qsgd:levels=5.5",
		"codec qsgd: levels = 5.5: must be a whole number from 1 to 127");
	assert_int_equal(codec_parse(&s, "int8:block=32,rounding=stochastic,block=64", &err), 0);
	assert_int_equal(codec_parse(&t, "int8:rounding=stochastic,block=64", &err), 0);
	assert_memory_equal(&s, &t, sizeof(s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_values_come_back),
		cmocka_unit_test(minus_zero),
		cmocka_unit_test(beyond_bounds),
		cmocka_unit_test(long_values),
		cmocka_unit_test(grammar),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
