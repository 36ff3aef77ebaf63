/*
 * experiment_f.c - the same one-hot vector of 1000 again and again, as signs.
 *
 * The residual's norm saturates at 500 with the l1 scale and at 30.8 with l2; after 1e5 ops the
 * mean of what arrived is 0.995 and 0.9997 of what was sent.
 */
#include <math.h>

#include "tests/experiments/experiment.h"

enum { DIM = 1000, STEPS = 100000, SCALES = 2 };

static const struct {
	const char *name, *codec;
	double norm_low, norm_high, arrived_low, arrived_high;
} scales[SCALES] = {
	{"l1", "sign:block=1024,scale=l1", 495, 505, 0.9945, 0.9955},
	{"l2", "sign:block=1024,scale=l2", 30.5, 31.1, 0.99965, 0.99975},
};

struct onehot {
	struct experiment_curve *norms[SCALES], *lacking[SCALES];
	double norm[SCALES], arrived[SCALES], balance[SCALES];
};

static double norm_of(const float *v)
{
	double sum = 0;

	for (size_t i = 0; i < DIM; i++)
		sum += (double)v[i] * (double)v[i];
	return sqrt(sum);
}

static void run(void *context, size_t s)
{
	struct onehot *o = context;
	struct experiment_inputs inputs;
	bool committed = true;
	const float *residual;
	struct cluster c;
	double sum = 0;

	cluster_init(&c, "ef14", scales[s].codec, "none", 1, DIM, DIM);
	experiment_inputs_init(&inputs, 1, DIM);
	inputs.data[3] = 1;
	for (size_t t = 1; t <= STEPS && committed; t++) {
		committed = cluster_op(&c, inputs.in, inputs.result);
		sum += (double)inputs.result[3];
		if (t > 100 && t % 100)
			continue;
		residual = cluster_vector(&c, 0, FEEDBACK_RESIDUAL);
		experiment_point(o->norms[s], (double)t, norm_of(residual));
		experiment_point(o->lacking[s], (double)t, 1 - sum / (double)t);
	}
	residual = cluster_vector(&c, 0, FEEDBACK_RESIDUAL);
	o->norm[s] = committed ? norm_of(residual) : (double)NAN;
	o->arrived[s] = sum / STEPS;
	o->balance[s] = (sum + (double)residual[3]) / STEPS;
	experiment_inputs_deinit(&inputs);
	cluster_deinit(&c);
}

void experiment_f(struct experiment *e)
{
	struct experiment_plot *norms = experiment_plot(e, "What is still to be sent", "ops",
							"|residual|", EXPERIMENT_LOG_BOTH);
	struct experiment_plot *lacking =
		experiment_plot(e, "Share of the input that has not arrived", "ops", "1 - share",
				EXPERIMENT_LOG_BOTH);
	struct onehot o;

	e->words =
		"The worst that can be asked of signs: one element of a thousand is 1, the "
		"others 0, in every op. The scale has to be shared by all thousand, so very "
		"little of the 1 gets through at first. With feedback the residual grows until as "
		"much arrives as is put in, and then stays: at 500 with the mean magnitude (l1) as "
		"the scale, at 30.8 with the root of the mean square (l2). Nothing is lost in the "
		"long run, but neither is fast: sparse tensors should be cut into small blocks.";
	for (size_t s = 0; s < SCALES; s++) {
		o.norms[s] = experiment_curve(norms, "%s scale", scales[s].name);
		o.lacking[s] = experiment_curve(lacking, "%s scale", scales[s].name);
	}
	experiment_each(e, SCALES, run, &o);
	for (size_t s = 0; s < SCALES; s++) {
		experiment_expect(e, o.norm[s], scales[s].norm_low, scales[s].norm_high,
				  "%s: |residual|", scales[s].name);
		experiment_expect(e, o.arrived[s], scales[s].arrived_low, scales[s].arrived_high,
				  "%s: share that arrived", scales[s].name);
		experiment_near(e, o.balance[s], 1, 1e-4, "%s: arrived and residual, of the input",
				scales[s].name);
	}
}
