/*
 * test_pairs.c - which codecs error feedback takes, each refusal with its sentence; and that it is
 * right to: with those that it takes, what is left stays in proportion to the input, with those
 * that it refuses for their noise it does not.
 */
#include "compress/feedback.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"
#include "daemon/feedback_spec.h"
#include "tests/unit/codec_case.h"

enum { COUNT = 4096 };

#define RANDK "needs scale=none, or a density above one half: its noise grows"
#define QSGD "needs more levels than half the root of its block, or scale=max: its noise grows"
#define QSGD_MAX "needs more than one level: its noise grows"
#define TERNGRAD "needs a clip above 0 and of at most 2: its noise grows"
#define NOT_EXACT "needs an exact codec down: none"
#define ETA "needs an eta of at most twice the share of elements that the codec keeps"

enum { LOSSY, EXACT };

static const struct {
	const char *spec;
	int exact;
	const char *refused; /* by all but none */
} codecs[] = {
	{"none", EXACT, NULL},
	{"bf16", LOSSY, NULL},
	{"fp16", LOSSY, NULL},
	{"int8", LOSSY, NULL},
	{"int8:rounding=stochastic", LOSSY, NULL},
	{"int8:rounding=stochastic,block=4096,scale=pow2", LOSSY, NULL},
	{"int4", LOSSY, NULL},
	{"int4:rounding=stochastic", LOSSY, NULL},
	{"int4:rounding=stochastic,block=4096,scale=pow2", LOSSY, NULL},
	{"int2", LOSSY, NULL},
	{"int2:rounding=stochastic", LOSSY, NULL},
	{"int2:rounding=stochastic,scale=pow2", LOSSY, NULL},
	{"sign", LOSSY, NULL},
	{"sign:scale=l2", LOSSY, NULL},
	{"topk", LOSSY, NULL},
	{"topk:density=1", EXACT, NULL},
	{"topk:mode=block", LOSSY, NULL},
	{"topk:mode=threshold,scope=tensor,values=bf16", LOSSY, NULL},
	{"randk:density=0.1", LOSSY, NULL},
	{"randk:density=0.25,scale=unbiased", LOSSY, RANDK},
	{"randk:density=0.5,scale=unbiased", LOSSY, RANDK},
	{"randk:density=0.75,scale=unbiased", LOSSY, NULL},
	{"qsgd", LOSSY, NULL},
	{"qsgd:levels=15,block=512", LOSSY, NULL},
	{"qsgd:levels=7", LOSSY, QSGD},
	{"qsgd:levels=1,block=64", LOSSY, QSGD},
	{"qsgd:levels=7,block=65536,scale=max", LOSSY, NULL},
	{"qsgd:levels=3,block=65536,scale=max", LOSSY, NULL},
	{"qsgd:levels=1,block=1024,scale=max", LOSSY, QSGD_MAX},
	{"natural", LOSSY, NULL},
	{"terngrad", LOSSY, TERNGRAD},
	{"terngrad:clip=0", LOSSY, TERNGRAD},
	{"terngrad:clip=2", LOSSY, NULL},
	{"terngrad:clip=2,block=65536", LOSSY, NULL},
	{"terngrad:clip=0.5", LOSSY, NULL},
	{"mxfp8", LOSSY, NULL},
	{"mxfp8:format=e5m2", LOSSY, NULL},
	{"mxfp4", LOSSY, NULL},
	{"eden", LOSSY, NULL},
	{"eden:bits=1", LOSSY, NULL},
	{"eden:bits=1,block=64", LOSSY, NULL},
	{"eden:bits=2,scale=mse", LOSSY, NULL},
};
#define CODECS (sizeof(codecs) / sizeof(*codecs))

static struct codec_setting codec_of(const char *spec)
{
	struct codec_setting s;
	struct err err;

	if (codec_parse(&s, spec, &err))
		fail_msg("%s", err.text);
	return s;
}

static void expect(const struct feedback_setting *s, const char *up, const char *down,
		   const char *words)
{
	const struct codec_setting above = codec_of(up), below = codec_of(down);
	const char *refused = feedback_refuse(s, &above, &below, COUNT);

	if (!words != !refused || (words && strcmp(words, refused) != 0))
		fail_msg("%s with %s up and %s down: %s, not %s", feedback_by_id(s->id)->name, up,
			 down, refused ? refused : "taken", words ? words : "taken");
}

static void each_pair(void **state)
{
	(void)state;
	for (const struct feedback *const *f = feedback_table; *f; f++) {
		struct feedback_setting s;
		struct err err;

		assert_int_equal(feedback_parse(&s, (*f)->name, &err), 0);
		if (s.id == FEEDBACK_ECONTROL)
			s.eta = 0.02f; /* for topk of 1 % */
		for (size_t i = 0; i < CODECS; i++) {
			const char *spec = codecs[i].spec, *up = codecs[i].refused, *down = up;

			if (!(*f)->lossy_down && !codecs[i].exact)
				down = NOT_EXACT;
			if (s.id == FEEDBACK_NONE)
				up = down = NULL;
			expect(&s, spec, "none", up);
			expect(&s, "int8", spec, down);
			expect(&s, spec, spec, up ? up : down);
		}
	}
	for (const struct codec *const *c = codec_table; *c; c++) {
		size_t listed = 0;

		for (size_t i = 0; i < CODECS; i++)
			listed += codec_of(codecs[i].spec).id == (*c)->id;
		assert_true(listed > 0);
	}
}

static void econtrol_and_density(void **state)
{
	struct feedback_setting s = {.id = FEEDBACK_ECONTROL, .eta = 0.1f};

	(void)state;
	expect(&s, "topk:density=0.01", "none", ETA);
	expect(&s, "topk:density=0.05", "none", NULL);
	expect(&s, "randk:density=0.01", "none", ETA);
	expect(&s, "int8", "none", NULL);
	s.eta = 0.02f;
	expect(&s, "topk:density=0.01", "none", NULL);
}

/* --- what is left ------------------------------------------------------------------------- */

enum { POOL = 1 << 18 };

static float *normals(void)
{
	const struct random_key key = random_key(5, 0, 1, 1);
	float *pool = malloc(POOL * sizeof(*pool));

	for (uint32_t i = 0; i < POOL; i++) {
		double u = ((double)random_u32(key, 2 * i) + 0.5) * 0x1p-32;
		double v = (double)random_u32(key, 2 * i + 1) * 0x1p-32;

		pool[i] = (float)(sqrt(-2 * log(u)) * cos(2 * M_PI * v));
	}
	return pool;
}

enum shape { GAUSS, FIXED, SPARSE, ONE_HOT, NEARLY_EQUAL, SHAPES };

/* Of a mean square of about 1. */
static void input_of(enum shape shape, uint64_t step, const float *pool, float *in)
{
	uint32_t draw = random_u32(random_key(6, step, 1, 1), 0);

	pool += shape == FIXED ? 0 : draw % (POOL - COUNT);
	for (uint32_t i = 0; i < COUNT; i++) {
		switch (shape) {
		case GAUSS:
		case FIXED: in[i] = pool[i]; break;
		case SPARSE: in[i] = (i * 2654435761u ^ draw) % 64 ? 0 : 8 * pool[i]; break;
		case ONE_HOT: in[i] = i == 77 ? 64 : 0; break;
		case NEARLY_EQUAL: in[i] = i == 5 ? 3 : 1; break;
		case SHAPES: break;
		}
	}
}

static double norm(const float *x)
{
	double squares = 0;

	for (size_t i = 0; i < COUNT; i++)
		squares += (double)x[i] * (double)x[i];
	return sqrt(squares);
}

/* The greatest norm of what is left after each of `steps` ops of ef14, in norms of an input. */
static double greatest(const struct codec_setting *s, enum shape shape, uint64_t steps,
		       const float *pool)
{
	static const float unit = 64; /* sqrt(COUNT) */
	float *in = malloc(COUNT * sizeof(*in)), *left = calloc(COUNT, sizeof(*left));
	void *out = malloc(codec_bound(s, COUNT));
	void *work = aligned_alloc(64, codec_work_bytes(s, COUNT) / 64 * 64 + 64);
	float threshold = 0;
	double most = 0;

	for (uint64_t step = 0; step < steps && most < 1e9; step++) {
		const struct codec_input input = {
			.in = in,
			.residual = left,
			.residual_scale = 1,
			.residual_out = left,
			.count = COUNT,
			.rank_key = random_key(1, step, 2, 3),
			.shared_key = random_key(1, step, 2, RANDOM_SHARED),
			.threshold = threshold,
			.work = work,
		};
		struct codec_result r;

		input_of(shape, step, pool, in);
		r = codec_encode(s, case_best(), &input, out);
		assert_false(r.nonfinite);
		threshold = r.threshold;
		most = fmax(most, norm(left) / (double)unit);
	}
	free(work);
	free(out);
	free(left);
	free(in);
	return most;
}

/*
 * Random input that is new each time makes the difference between a codec that loses and one that
 * adds; other shapes find what a single block can come to.
 */
static void what_is_left(void **state)
{
	float *pool = normals();

	(void)state;
	for (size_t i = 0; i < CODECS; i++) {
		const struct codec_setting s = codec_of(codecs[i].spec);
		double noise = greatest(&s, GAUSS, 300, pool);

		if (codecs[i].refused ? noise < 8 : noise > 5 * !codecs[i].exact)
			fail_msg("%s: %g times the input is left", codecs[i].spec, noise);
		for (enum shape shape = FIXED; !codecs[i].refused && shape < SHAPES; shape++) {
			double most = greatest(&s, shape, 200, pool);

			if (!(most <= 400 * !codecs[i].exact))
				fail_msg("%s, shape %d: %g times the input is left", codecs[i].spec,
					 shape, most);
		}
	}
	free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_pair),
		cmocka_unit_test(econtrol_and_density),
		cmocka_unit_test(what_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
