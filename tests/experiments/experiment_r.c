/*
 * experiment_r.c - the codecs' table: what each loses of 2^20 random numbers, and how many bits an
 * element it takes.
 *
 * NMSE = ||C(v) - v||^2 / ||v||^2, the tensor being encoded in chunks of 65536; numbers are normal,
 * Laplace or Student's t with 3 degrees of freedom.  Expected: published figures (two or three
 * digits) where block, scale and rounding agree, within 2 % (normal) and 5 % (Laplace); and of
 * every codec and distribution what its definition says in float64 (codec_loss.h): within 0.3 %
 * where scales are rounded to 16 bits, 2 % or 5 % (Student) where something is drawn at random,
 * else 0.01 %.  int2 is compared with the best scale there is, which may lose 5 % less.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "tests/experiments/codec_loss.h"
#include "tests/experiments/experiment.h"

enum { SAMPLES = 1 << 20, CHUNK = 65536, SHAPES = 3, SPECS = 33 };
enum shape { NORMAL, LAPLACE, STUDENT };

static const char *const shapes[SHAPES] = {"normal", "Laplace", "Student t3"};

static const struct {
	const char *family; /* of the plot; NULL: not in it */
	const char *spec;
	size_t block;
	double (*loss)(const double *v, size_t n, double a, double b);
	double a, b;
	double published[2]; /* 0: none */
	double share;        /* within which the float64 figure must be */
} specs[SPECS] = {
	{"int", "int2", 64, loss_four_levels, 0, 0, {0}, 0},
	{"int", "int4", 128, loss_integer, 7, 0, {0.0138, 0.0259}, 0.003},
	{"int", "int8", 256, loss_integer, 127, 0, {4.9e-5, 1.0e-4}, 0.003},
	{NULL, "int4:block=32", 32, loss_integer, 7, 0, {0.0094, 0.0147}, 0.003},
	{NULL, "int4:block=2048", 2048, loss_integer, 7, 0, {0.0228, 0.0582}, 0.003},
	{NULL, "int4:rounding=stochastic", 128, loss_integer, 7, 1, {0}, 0.02},
	{NULL, "int8:block=32", 32, loss_integer, 127, 0, {2.9e-5, 4.5e-5}, 0.003},
	{NULL, "int8:block=2048", 2048, loss_integer, 127, 0, {6.9e-5, 1.8e-4}, 0.003},
	{NULL, "int8:rounding=stochastic", 256, loss_integer, 127, 1, {9.7e-5, 2.0e-4}, 0.02},
	{"eden, least error",
	 "eden:bits=1,scale=mse",
	 4096,
	 loss_rotated,
	 1,
	 1,
	 {0.363, 0.363},
	 0.02},
	{"eden, least error", "eden:bits=4,scale=mse", 4096, loss_rotated, 4, 1, {0}, 0.02},
	{"eden, unbiased", "eden:bits=1", 4096, loss_rotated, 1, 0, {0.570, 0.570}, 0.02},
	{"eden, unbiased", "eden:bits=2", 4096, loss_rotated, 2, 0, {0.133, 0.133}, 0.02},
	{"eden, unbiased", "eden:bits=3", 4096, loss_rotated, 3, 0, {0.0359, 0.0359}, 0.02},
	{"eden, unbiased", "eden:bits=4", 4096, loss_rotated, 4, 0, {0.0096, 0.0096}, 0.02},
	{"mxfp4, mxfp8", "mxfp4", 32, loss_float, LOSS_E2M1, 1, {0.0132, 0.0161}, 1e-4},
	{"mxfp4, mxfp8", "mxfp8", 32, loss_float, LOSS_E4M3, 1, {8.6e-4, 1.0e-3}, 1e-4},
	{NULL, "mxfp8:format=e5m2", 32, loss_float, LOSS_E5M2, 1, {2.9e-3, 3.0e-3}, 1e-4},
	{"bf16, fp16", "bf16", 1, loss_float, LOSS_BF16, 0, {0}, 1e-4},
	{"bf16, fp16", "fp16", 1, loss_float, LOSS_FP16, 0, {0}, 1e-4},
	{"topk", "topk:density=0.001", CHUNK, loss_top, 66, 0, {0.987, 0.967}, 1e-4},
	{"topk", "topk:density=0.01", CHUNK, loss_top, 656, 0, {0.915, 0.837}, 1e-4},
	{"topk", "topk:density=0.1", CHUNK, loss_top, 6554, 0, {0.561, 0.404}, 1e-4},
	{NULL, "topk:density=0.1,mode=block", 1024, loss_top, 103, 0, {0}, 1e-4},
	{NULL, "randk:density=0.25", CHUNK, loss_share, 0.25, 0, {0.75, 0.75}, 0.02},
	{"unbiased: qsgd, natural", "qsgd:levels=1", 512, loss_levels, 1, 0, {17, 15}, 0.02},
	{"unbiased: qsgd, natural", "qsgd:levels=7", 512, loss_levels, 7, 0, {1.58, 1.33}, 0.02},
	{"unbiased: qsgd, natural", "qsgd", 512, loss_levels, 127, 0, {5.3e-3, 0}, 0.02},
	{NULL, "natural", 1024, loss_power, 0, 0, {0.0816, 0.0820}, 0.02},
	{"sign", "sign:block=65536", 65536, loss_sign, 0, 0, {0.363, 0.500}, 1e-4},
	{NULL, "sign:block=65536,scale=l2", 65536, loss_sign, 1, 0, {0.404, 0.587}, 1e-4},
	{NULL, "terngrad:block=65536", 65536, loss_ternary, 2.5, 0, {1.01, 0.88}, 0.02},
	{NULL, "terngrad:clip=0", 1024, loss_ternary, 0, 0, {0}, 0.02},
};

struct codec_table_figures {
	float *in[SHAPES];
	double nmse[SPECS][SHAPES], float64[SPECS][SHAPES], bits[SPECS][SHAPES];
};

static double drawn(struct experiment_random *r, enum shape shape)
{
	double a = experiment_normal(r), sum = 0;

	if (shape == NORMAL)
		return a;
	if (shape == LAPLACE)
		return copysign(log(1 - experiment_uniform(r)), a);
	for (int i = 0; i < 3; i++) {
		double b = experiment_normal(r);

		sum += b * b / 3;
	}
	return a / sqrt(sum);
}

static void *room(size_t bytes)
{
	void *p = aligned_alloc(64, bytes / 64 * 64 + 64);

	assert(p);
	return p;
}

static void fill(void *context, size_t shape)
{
	struct codec_table_figures *f = context;
	struct experiment_random random;

	experiment_seed(&random, shape + 1);
	f->in[shape] = room(SAMPLES * sizeof(float));
	for (size_t i = 0; i < SAMPLES; i++)
		f->in[shape][i] = (float)drawn(&random, (enum shape)shape);
}

/* What the codec loses, and its bits an element. */
static double own(const char *spec, const float *in, double *bits)
{
	struct feedback_setting none;
	struct codec_setting s, other;
	float *residual = room(CHUNK * sizeof(*residual));
	double lost = 0, all = 0, bytes = 0;
	void *out, *work;

	cluster_specs(&none, "none", &s, spec, &other, "none");
	out = room(codec_bound(&s, CHUNK));
	work = room(codec_work_bytes(&s, CHUNK));
	for (size_t first = 0; first < SAMPLES; first += CHUNK) {
		struct codec_input input = {.in = in + first,
					    .residual_out = residual,
					    .count = CHUNK,
					    .first = first,
					    .rank_key = random_key(1, 2, 3, 4),
					    .shared_key = random_key(1, 2, 3, RANDOM_SHARED),
					    .work = work};
		struct codec_result r = codec_encode(&s, codec_kernels_of(vec_best()), &input, out);

		if (r.nonfinite)
			lost = (double)NAN;
		bytes += (double)r.bytes;
		for (size_t i = 0; i < CHUNK; i++) {
			lost += (double)residual[i] * (double)residual[i];
			all += (double)in[first + i] * (double)in[first + i];
		}
	}
	free(residual);
	free(out);
	free(work);
	*bits = 8 * bytes / SAMPLES;
	return lost / all;
}

static double float64(size_t spec, const float *in)
{
	size_t block = specs[spec].block;
	double *v = room(block * sizeof(*v)), lost = 0, all = 0;

	for (size_t first = 0; first < SAMPLES; first += block) {
		for (size_t i = 0; i < block; i++) {
			v[i] = (double)in[first + i];
			all += v[i] * v[i];
		}
		lost += specs[spec].loss(v, block, specs[spec].a, specs[spec].b);
	}
	free(v);
	return lost / all;
}

static void run(void *context, size_t i)
{
	struct codec_table_figures *f = context;
	size_t spec = i / SHAPES, shape = i % SHAPES;

	f->nmse[spec][shape] = own(specs[spec].spec, f->in[shape], &f->bits[spec][shape]);
	f->float64[spec][shape] = float64(spec, f->in[shape]);
}

static void figures(struct experiment *e, const struct codec_table_figures *f, size_t spec)
{
	for (size_t shape = 0; shape < SHAPES; shape++) {
		bool random = specs[spec].share == 0.02;

		if (specs[spec].loss == loss_four_levels) {
			experiment_expect(e, f->nmse[spec][shape] / f->float64[spec][shape], 0.999,
					  1.05, "%s, %s: of what the best scale loses",
					  specs[spec].spec, shapes[shape]);
			continue;
		}
		experiment_near(e, f->nmse[spec][shape], f->float64[spec][shape],
				shape == STUDENT && random ? 0.05 : specs[spec].share, "%s, %s",
				specs[spec].spec, shapes[shape]);
	}
	for (size_t shape = 0; shape < STUDENT; shape++)
		if (specs[spec].published[shape] > 0)
			experiment_near(e, f->nmse[spec][shape], specs[spec].published[shape],
					shape == NORMAL ? 0.02 : 0.05, "%s, %s, published",
					specs[spec].spec, shapes[shape]);
}

static void draw(struct experiment *e, const struct codec_table_figures *f, enum shape shape)
{
	static const char *const titles[SHAPES] = {"Loss and size, normal numbers",
						   "Loss and size, Laplace numbers",
						   "Loss and size, Student t3 numbers"};
	struct experiment_plot *p =
		experiment_plot(e, titles[shape], "bits an element", "NMSE", EXPERIMENT_LOG_BOTH);
	struct experiment_curve *curve = NULL;

	for (size_t s = 0; s < SPECS; s++) {
		if (!specs[s].family)
			continue;
		if (!s || specs[s].family != specs[s - 1].family)
			curve = experiment_curve(p, "%s", specs[s].family);
		experiment_point(curve, f->bits[s][shape], f->nmse[s][shape]);
	}
}

void experiment_r(struct experiment *e)
{
	struct codec_table_figures *f = calloc(1, sizeof(*f));

	assert(f);
	e->words =
		"What each codec loses of a million random numbers in one go, as a share of "
		"their square sum (NMSE), without feedback. The lower left is best. Rounding to "
		"integers with a scale for each block loses least for its bits from 4 bits on; "
		"below 2 bits there are signs, eden and the largest elements (topk). Unbiased "
		"codecs, which are right in the mean over their random draws, pay for it: with "
		"few bits they lose more than there is (NMSE above 1), and are for averages over "
		"many nodes. Laplace and Student numbers have more outliers, which cost blocks "
		"with one scale dearly, and make topk better.";
	experiment_each(e, SHAPES, fill, f);
	experiment_each(e, (size_t)SPECS * SHAPES, run, f);
	draw(e, f, NORMAL);
	draw(e, f, STUDENT);
	for (size_t s = 0; s < SPECS; s++)
		figures(e, f, s);
	for (size_t shape = 0; shape < SHAPES; shape++)
		free(f->in[shape]);
	free(f);
}
