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

/* base, with the option added; the last of each counts. */
static void with_option(char spec[SPEC_ROOM], const char *base, const char *key, const char *value,
			int length)
{
	(void)snprintf(spec, SPEC_ROOM, "%s%c%s=%.*s", base, strchr(base, ':') ? ',' : ':', key,
		       length, value);
}

/* --- codecs ------------------------------------------------------------------------------- */

/* Return: does the codec take it beside what else the base says?  Then it comes back. */
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

/* One of the examples goes with each value. */
static void codec_value(const struct codec *c, const char *key, const char *value, int length)
{
	char spec[SPEC_ROOM];
	bool taken = false;

	for (const char *const *base = c->examples; *base; base++) {
		with_option(spec, *base, key, value, length);
		taken |= codec_and_back(spec);
	}
	if (!taken)
		fail_msg("codec %s: %s=%.*s goes with no example", c->name, key, length, value);
}

static void codec_bounds(void **state)
{
	size_t values = 0;

	(void)state;
	for (const struct codec *const *c = codec_table; *c; c++) {
		for (const struct codec_option *o = (*c)->options; o && o->key; o++) {
			char text[2][32];

			for (const char *word = o->kind == CODEC_WORD ? o->words : ""; *word;) {
				size_t length = strcspn(word, "|");

				codec_value(*c, o->key, word, (int)length);
				word += length + (word[length] == '|');
				values++;
			}
			if (o->kind == CODEC_WORD)
				continue;
			(void)snprintf(text[0], sizeof(text[0]), "%.17g", o->min);
			(void)snprintf(text[1], sizeof(text[1]), "%.17g", o->max);
			for (size_t i = 0; i < 2; i++, values++)
				codec_value(*c, o->key, text[i], -1);
		}
	}
	assert_true(values >= 50);
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

/* --- feedback ----------------------------------------------------------------------------- */

static void feedback_bounds(void **state)
{
	size_t values = 0;

	(void)state;
	for (const struct feedback *const *f = feedback_table; *f; f++) {
		for (const struct feedback_option *o = (*f)->options; o && o->key; o++) {
			for (int i = 0; i < 2; i++, values++) {
				char value[32], spec[SPEC_ROOM], text[FEEDBACK_SPEC_BYTES];
				struct feedback_setting s, t;
				struct err err;

				(void)snprintf(value, sizeof(value), "%.17g", i ? o->max : o->min);
				with_option(spec, (*f)->name, o->key, value, -1);
				if (feedback_parse(&s, spec, &err))
					fail_msg("%s: %s", spec, err.text);
				assert_int_equal(feedback_check(&s), 0);
				feedback_format(&s, text);
				assert_int_equal(feedback_parse(&t, text, &err), 0);
				assert_memory_equal(&s, &t, sizeof(s));
			}
		}
	}
	assert_true(values >= 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codec_bounds),
		cmocka_unit_test(minus_zero),
		cmocka_unit_test(beyond_bounds),
		cmocka_unit_test(feedback_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
