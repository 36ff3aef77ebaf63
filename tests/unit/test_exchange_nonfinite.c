/*
 * test_exchange_nonfinite.c - ops through codecs whose inputs are no numbers: who it was is told,
 * the result has NaN there on all ranks, and no state changes.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/coded_rig.h"

enum { COUNT = 200001 };

static float *at(void *memory)
{
	return memory;
}

/* A rank's input that is no number: told, with the rank; NaN there for all; no state changes. */
static void nonfinite(const char *codec, const char *feedback, float poison, uint32_t rank,
		      uint64_t place)
{
	struct coded_options o = {.nodes = 3,
				  .lanes = 2,
				  .local = 2,
				  .count = COUNT,
				  .codec = codec,
				  .feedback = feedback};
	struct coded_rig *r = coded_open(&o), *control = coded_open(&o);
	void *kept = NULL;

	coded_fill(r, 1);
	coded_op(r, 1);
	assert_false(r->nonfinite);
	if (*feedback)
		kept = coded_keep(r);
	coded_fill(r, 2);
	at(r->in[rank])[place] = poison;
	coded_op(r, 2);
	if (!r->nonfinite || r->culprit != rank + 1)
		fail_msg("%s with %s: culprit %u, not %u", codec, feedback, r->culprit, rank + 1);
	for (uint64_t i = 0; i < COUNT; i++)
		if (isnan(at(r->out[0])[i]) != (i == place))
			fail_msg("%s with %s: element %lu is %g", codec, feedback, i,
				 (double)at(r->out[0])[i]);
	if (*feedback)
		assert_true(coded_kept(r, kept));
	/* The next op is what it would have been; of codecs that draw nothing. */
	coded_fill(r, 3);
	coded_op(r, 3);
	coded_fill(control, 1);
	coded_op(control, 1);
	coded_fill(control, 3);
	coded_op(control, 3);
	assert_memory_equal(r->out[0], control->out[0], COUNT * sizeof(float));
	free(kept);
	coded_close(r);
	coded_close(control);
}

static void nonfinite_changes_no_state(void **state)
{
	(void)state;
	nonfinite("int8", "ef14", NAN, 0, 0);
	nonfinite("int4", "ef21", INFINITY, 5, COUNT - 1); /* the last chunk */
	nonfinite("sign", "twosided", -INFINITY, 2, COUNT / 2);
	nonfinite("topk:density=0.01", "ef21-sgdm", NAN, 3, COUNT / 3);
	nonfinite("topk:density=0.1", "ef21-bc", NAN, 1, COUNT / 3 * 2);
	nonfinite("topk:density=0.1", "econtrol:eta=0.1", NAN, 4, 17);
	nonfinite("int8", "loco", INFINITY, 0, COUNT - 2);
	nonfinite("int8", "ef21-w", NAN, 0, 199999);
	nonfinite("int8", "", NAN, 4, 5);
	nonfinite("bf16", "", INFINITY, 4, COUNT - 1);
}

/* Two ranks in different chunks: all nodes name the lower one. */
static void the_lowest_culprit(void **state)
{
	struct coded_options o = {.nodes = 3,
				  .lanes = 2,
				  .local = 2,
				  .count = COUNT,
				  .codec = "int8",
				  .feedback = ""};
	struct coded_rig *r = coded_open(&o);

	(void)state;
	for (uint64_t order = 0; order < 4; order++) {
		coded_fill(r, 1);
		at(r->in[5])[3] = NAN;
		at(r->in[2])[COUNT - 3] = INFINITY;
		at(r->in[4])[COUNT - 3] = NAN;
		coded_op(r, order);
		assert_true(r->nonfinite);
		assert_int_equal(r->culprit, 3);
	}
	coded_close(r);
}

/* Finite inputs whose sum is not: nobody's. */
static void a_sum_too_large(void **state)
{
	struct coded_options o = {.nodes = 2,
				  .lanes = 1,
				  .local = 1,
				  .count = 5000,
				  .codec = "bf16",
				  .feedback = "twosided"};
	struct coded_rig *r = coded_open(&o);
	void *kept = coded_keep(r);

	(void)state;
	coded_fill(r, 1);
	at(r->in[0])[4000] = at(r->in[1])[4000] = 3e38f;
	coded_op(r, 1);
	assert_true(r->nonfinite && r->culprit == 0);
	for (uint64_t i = 0; i < o.count; i++)
		assert_true(isnan(at(r->out[0])[i]) == (i == 4000));
	assert_true(coded_kept(r, kept));
	free(kept);
	coded_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nonfinite_changes_no_state),
		cmocka_unit_test(the_lowest_culprit),
		cmocka_unit_test(a_sum_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
