/*
 * test_exchange_in_place.c - state that is changed in place: whatever becomes of ops in between,
 * ended anywhere, flagged, taken back, with codecs that write other copies, results and state are
 * those of the ops that count alone.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/common/draw.h"
#include "tests/unit/coded_rig.h"

enum { COUNT = 60001, OPS = 70 };

/* What becomes of an op. */
enum fate { COUNTS, TAKEN_BACK, ENDED, FLAGGED, FATES };

struct story {
	struct coded_rig *r, *control; /* the control sees the ops that count */
	const char *const *codecs;     /* three */
	uint64_t draws;
	uint32_t times[FATES];
	bool undo; /* the last op is to be taken back */
};

static void begin(struct coded_rig *r, const char *codec, uint64_t seed)
{
	coded_change(r, codec);
	coded_fill(r, seed);
}

/* Ended when some frames are there and others are not; nobody has all of them. */
static void ended(struct story *s, uint64_t seed)
{
	struct coded_rig *r = s->r;

	coded_post(r);
	(void)coded_moves(r, seed, (uint32_t)(draw_u64(&s->draws) % 60));
	coded_end(r, r->seq, -ECANCELED);
	r->error = 0;
	(void)coded_finish(r, seed);
	assert_int_equal(r->error, -ECANCELED);
}

static void flagged(struct story *s, uint64_t seed)
{
	struct coded_rig *r = s->r;
	uint32_t rank = (uint32_t)(draw_u64(&s->draws) % r->ranks);

	((float *)r->in[rank])[draw_u64(&s->draws) % COUNT] = NAN;
	coded_op(r, seed);
	assert_true(r->nonfinite);
}

/* The same op on both; they have the same bits. */
static void counts(struct story *s, const char *codec, uint64_t seed)
{
	struct coded_rig *r = s->r, *control = s->control;

	begin(control, codec, seed);
	control->scale = r->scale;
	coded_op(r, seed);
	coded_op(control, seed + 1);
	assert_false(r->nonfinite);
	assert_memory_equal(r->out[0], control->out[0], COUNT * sizeof(float));
}

static void next(struct story *s, uint64_t seed)
{
	const char *codec = s->codecs[draw_u64(&s->draws) % 3];
	enum fate fate = (enum fate)(draw_u64(&s->draws) % FATES);
	void *kept;

	if (fate == FLAGGED && strcmp(codec, "none") == 0)
		fate = COUNTS; /* what goes plain is not looked at */
	s->times[fate]++;
	begin(s->r, codec, seed);
	s->r->scale = draw_u64(&s->draws) % 4 ? 1 : 0.5f;
	s->r->discard = s->undo;
	s->undo = fate == TAKEN_BACK;
	switch (fate) {
	case COUNTS: counts(s, codec, seed); break;
	case TAKEN_BACK: coded_op(s->r, seed); return; /* for now it counts */
	case ENDED: ended(s, seed); break;
	case FLAGGED: flagged(s, seed); break;
	case FATES: fail();
	}
	kept = coded_keep(s->control);
	/* To look takes the chance to take back, and puts nothing back itself. */
	assert_true(coded_kept(s->r, kept));
	free(kept);
}

static void story(const char *feedback, const char *const codecs[3], uint64_t seed)
{
	struct coded_options o = {.nodes = 3,
				  .lanes = 3,
				  .local = 1,
				  .count = COUNT,
				  .reduce = seed % 2 ? VEC_AVG : VEC_SUM,
				  .codec = codecs[0],
				  .feedback = feedback};
	struct story s = {
		.r = coded_open(&o), .control = coded_open(&o), .codecs = codecs, .draws = seed};

	for (uint64_t i = 0; i < OPS; i++)
		next(&s, seed * 1000 + i);
	for (int f = 0; f < FATES; f++)
		assert_true(s.times[f] >= 4);
	coded_close(s.r);
	coded_close(s.control);
}

/* Cut into chunks of other sizes, and not few elements. */
static const char *const few[3] = {"topk:density=0.01", "topk:density=0.25",
				   "topk:mode=block,density=0.02"};
/* One of them writes the other copy whole. */
static const char *const mixed[3] = {"topk:density=0.01", "int8:block=4096",
				     "topk:mode=threshold,density=0.02"};

/* Dense ones: those that leave nothing, and plain ones, which estimates do not hear of. */
static const char *const dense[3] = {"topk:density=0.01", "none", "topk:density=0.02"};

static void only_what_counts_with_dense_ops(void **state)
{
	(void)state;
	story("ef21", dense, 7);
	story("ef21-bc", dense, 8);
	story("ef21-sgdm", dense, 9);
	story("econtrol:eta=0.01", dense, 10);
	story("ef14", dense, 11);
	story("twosided", dense, 12);
}

static void only_what_counts(void **state)
{
	(void)state;
	story("ef21", few, 1);
	story("ef21", mixed, 2);
	story("ef21-bc", few, 3);
}

static void only_what_counts_with_more_state(void **state)
{
	(void)state;
	story("ef21-sgdm", mixed, 4);
	story("ef21-w", mixed, 5);
	story("econtrol:eta=0.01", few, 6);
}

/* Ops in place do write in place: else nothing above would be about them. */
static void in_place(void **state)
{
	struct coded_options o = {.nodes = 2,
				  .lanes = 2,
				  .local = 1,
				  .count = COUNT,
				  .codec = few[0],
				  .feedback = "ef21-sgdm"};
	struct coded_rig *r = coded_open(&o);
	const float *v, *g, *sum;

	(void)state;
	v = coded_state(r, 0, FEEDBACK_MOMENTUM);
	g = coded_state(r, 0, FEEDBACK_ESTIMATE);
	sum = coded_state(r, 0, FEEDBACK_SUM);
	coded_fill(r, 1);
	coded_op(r, 1);
	assert_ptr_not_equal(coded_state(r, 0, FEEDBACK_MOMENTUM), v);
	assert_ptr_equal(coded_state(r, 0, FEEDBACK_ESTIMATE), g);
	assert_ptr_equal(coded_state(r, 0, FEEDBACK_SUM), sum);
	coded_change(r, "int8");
	coded_op(r, 1);
	assert_ptr_not_equal(coded_state(r, 0, FEEDBACK_ESTIMATE), g);
	assert_ptr_not_equal(coded_state(r, 0, FEEDBACK_SUM), sum);
	coded_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_counts),
		cmocka_unit_test(only_what_counts_with_more_state),
		cmocka_unit_test(only_what_counts_with_dense_ops),
		cmocka_unit_test(in_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
