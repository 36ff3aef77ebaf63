/*
 * test_feedback_spec.c - feedback's specs and settings, which codecs it goes with, sizes of state.
 */
#include "compress/feedback.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"
#include "daemon/feedback_spec.h"
#include "tests/unit/feedback_pairs.h"

static void refused(const char *spec, const char *words)
{
	struct feedback_setting s;
	struct err err;

	assert_int_equal(feedback_parse(&s, spec, &err), -EINVAL);
	assert_string_equal(err.text, words);
}

static void specs_and_back(void **state)
{
	(void)state;
	for (const struct feedback *const *f = feedback_table; *f; f++) {
		assert_int_equal((*f)->id, f - feedback_table);
		for (const char *const *spec = (*f)->examples; *spec; spec++) {
			char text[FEEDBACK_SPEC_BYTES], again[FEEDBACK_SPEC_BYTES];
			struct feedback_setting s, t;
			struct err err;

			assert_int_equal(feedback_parse(&s, *spec, &err), 0);
			assert_int_equal(s.id, (*f)->id);
			assert_int_equal(feedback_check(&s), 0);
			feedback_format(&s, text);
			assert_int_equal(feedback_parse(&t, text, &err), 0);
			assert_memory_equal(&s, &t, sizeof(s));
			feedback_format(&t, again);
			assert_string_equal(text, again);
		}
	}
}

static void spec_values(void **state)
{
	struct feedback_setting s;
	char text[FEEDBACK_SPEC_BYTES];
	struct err err;

	(void)state;
	assert_int_equal(feedback_parse(&s, "loco:beta=0.5", &err), 0);
	assert_true(s.beta == 0.5f && s.reset == 1024 && s.eta == 0);
	feedback_format(&s, text);
	assert_string_equal(text, "loco:beta=0.5,reset=1024");
	assert_int_equal(feedback_parse(&s, "econtrol", &err), 0);
	assert_true(s.eta == 0.1f && s.beta == 0 && s.reset == 0);
	assert_int_equal(feedback_parse(&s, "econtrol:eta=-0", &err), 0);
	assert_false(signbit(s.eta));
}

static void bad_specs(void **state)
{
	struct feedback_setting s = {.id = FEEDBACK_EF14, .eta = 0.1f};

	(void)state;
	refused("", "there is no feedback \"\"");
	refused("ef", "there is no feedback \"ef\"");
	refused("ef14:", "feedback ef14 has no option \"\"");
	refused("ef14:eta=1", "feedback ef14 has no option \"eta\"");
	refused("econtrol:eta", "feedback econtrol: eta = : must be 0 to 1");
	refused("econtrol:eta=1.5", "feedback econtrol: eta = 1.5: must be 0 to 1");
	refused("econtrol:eta=nan", "feedback econtrol: eta = nan: must be 0 to 1");
	refused("loco:reset=1.5",
		"feedback loco: reset = 1.5: must be a whole number from 0 to 1073741824");
	assert_int_equal(feedback_check(&s), -EINVAL);
	s = (struct feedback_setting){.id = FEEDBACK_IDS};
	assert_int_equal(feedback_check(&s), -EINVAL);
	s = (struct feedback_setting){.id = FEEDBACK_ECONTROL, .eta = NAN};
	assert_int_equal(feedback_check(&s), -EINVAL);
	s = (struct feedback_setting){.id = FEEDBACK_ECONTROL, .eta = 0.1f, .zero = {0, 1}};
	assert_int_equal(feedback_check(&s), -EINVAL);
}

static void codecs_that_do_not_fit(void **state)
{
	const struct codec_setting none = {.id = CODEC_NONE}, bf16 = {.id = CODEC_BF16};
	const struct codec_setting topk = {.id = CODEC_TOPK, .density = 0.01f};
	struct feedback_setting gentle = {.id = FEEDBACK_ECONTROL, .eta = 0.1f};

	(void)state;
	assert_string_equal(
		feedback_refuse(&gentle, &topk, &none, 1024),
		"needs an eta of at most twice the share of elements that the codec keeps");
	gentle.eta = 0.02f;
	assert_null(feedback_refuse(&gentle, &topk, &none, 1024));
	for (const struct feedback *const *f = feedback_table; *f; f++) {
		const struct feedback_setting s = {.id = (uint8_t)(*f)->id};
		const char *words = feedback_refuse(&s, &bf16, &bf16, 1024);

		assert_null(feedback_refuse(&s, &bf16, &none, 1024));
		if (s.id == FEEDBACK_NONE || s.id == FEEDBACK_TWOSIDED || s.id == FEEDBACK_EF21_BC)
			assert_null(words);
		else
			assert_string_equal(words, "needs an exact codec down: none");
	}
}

/* Each pair of examples is refused or not as the list in feedback_pairs.c says. */
static void pairs(void **state)
{
	static const size_t counts[] = {1000, 65536};

	(void)state;
	for (const struct feedback *const *f = feedback_table; *f; f++)
		for (const char *const *spec = (*f)->examples; *spec; spec++)
			for (const struct codec *const *c = codec_table; *c; c++)
				for (const char *const *codec = (*c)->examples; *codec; codec++)
					for (size_t n = 0; n < 2; n++)
						(void)pair_goes(*spec, *codec, counts[n]);
}

static void sizes(void **state)
{
	const struct feedback_setting ef14 = {.id = FEEDBACK_EF14}, loco = {.id = FEEDBACK_LOCO};

	(void)state;
	assert_int_equal(feedback_vector_bytes(&ef14, FEEDBACK_RESIDUAL, 257), 1028);
	assert_int_equal(feedback_vector_bytes(&ef14, FEEDBACK_SUM, 257), 0);
	assert_int_equal(feedback_vector_bytes(&loco, FEEDBACK_RESIDUAL, 0), 0);
	assert_int_equal(feedback_vector_bytes(&loco, FEEDBACK_RESIDUAL, 256), 260);
	assert_int_equal(feedback_vector_bytes(&loco, FEEDBACK_RESIDUAL, 257), 265);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(specs_and_back), cmocka_unit_test(spec_values),
		cmocka_unit_test(bad_specs),      cmocka_unit_test(codecs_that_do_not_fit),
		cmocka_unit_test(pairs),          cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
