/*
 * experiment_a.c - three nodes whose largest gradient entries all point the wrong way.
 *
 * f_i = <a_i, x>^2 + |x|^2 / 4 with a = (-3 2 2), (2 -3 2), (2 2 -3), x0 = (1 1 1), top 1 of 3,
 * step 0.01: without feedback x grows by 1 + 11 * 0.01 / 6 in each step; with it, x vanishes.
 * Source: Beznosikov et al., "On Biased Compression for Distributed Learning", 2020.
 */
#include <math.h>

#include "tests/experiments/experiment.h"

enum { NODES = 3, DIM = 3 };

/* Return: |x| after `steps`. */
static double run(const char *feedback, const char *codec, int steps)
{
	static const double a[NODES][DIM] = {{-3, 2, 2}, {2, -3, 2}, {2, 2, -3}};
	double x[DIM] = {1, 1, 1}, norm = 0;
	struct experiment_inputs inputs;
	struct cluster c;

	cluster_init(&c, feedback, codec, "none", NODES, DIM, DIM);
	experiment_inputs_init(&inputs, NODES, DIM);
	c.average = true;
	for (int t = 0; t < steps; t++) {
		for (size_t n = 0; n < NODES; n++) {
			double along = a[n][0] * x[0] + a[n][1] * x[1] + a[n][2] * x[2];

			for (size_t i = 0; i < DIM; i++)
				inputs.data[n * DIM + i] = (float)(2 * along * a[n][i] + x[i] / 2);
		}
		experiment_op(&c, &inputs);
		for (size_t i = 0; i < DIM; i++)
			x[i] -= 0.01 * (double)inputs.result[i];
	}
	for (size_t i = 0; i < DIM; i++)
		norm += x[i] * x[i];
	experiment_inputs_deinit(&inputs);
	cluster_deinit(&c);
	return sqrt(norm);
}

void experiment_a(struct experiment *e)
{
	const char *top1 = "topk:density=0.3";

	e->words = "Three nodes whose gradients almost cancel: the largest entry of each "
		   "points the wrong way, and only the largest is sent. Without feedback every "
		   "step makes things worse, by a factor of 1 + 11/600, although each message "
		   "is the best approximation by one element that there is. With feedback of "
		   "any kind the entries that were held back arrive later, and x vanishes as "
		   "fast as without compression.";
	experiment_expect(e, pow(run("none", top1, 2000) / sqrt(3), 1 / 2000.), 1.01833, 1.01834,
			  "no feedback: growth in each step");
	experiment_expect(e, run("none", "none", 2000), 1.0e-10, 1.2e-10, "exact: |x|");
	experiment_expect(e, run("ef14", top1, 2000), 0, 2e-10, "ef14: |x|");
	experiment_expect(e, run("ef21", top1, 2000), 0, 1e-6, "ef21: |x|");
	experiment_expect(e, run("econtrol:eta=0.1", top1, 2000), 0, 1e-6, "econtrol: |x|");
}
