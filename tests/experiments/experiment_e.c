/*
 * experiment_e.c - signs alone never move along x1 + x2; with feedback they do.
 *
 * f = |x1 + x2| / 4 + |x1 - x2| from (2, 1), step 0.01 / sqrt(1 + t), 4000 steps: x1 + x2 stays 3
 * without feedback and is 2.375 with it.  The residual is in gradient units, so each smaller step
 * makes it count for more (the op's scale).
 * Source: Karimireddy et al., "Error Feedback Fixes SignSGD", 2019, section 3.
 */
#include <math.h>

#include "tests/experiments/experiment.h"

static double run(const char *feedback)
{
	double x[2] = {2, 1}, last = 0.01;
	struct experiment_inputs inputs;
	struct cluster c;

	cluster_init(&c, feedback, "sign", "none", 1, 2, 2);
	experiment_inputs_init(&inputs, 1, 2);
	for (size_t t = 0; t < 4000; t++) {
		double step = 0.01 / sqrt(1 + (double)t);
		double sum = x[0] + x[1] >= 0 ? 0.25 : -0.25, difference = x[0] >= x[1] ? 1 : -1;

		inputs.data[0] = (float)(sum + difference);
		inputs.data[1] = (float)(sum - difference);
		c.scale = (float)(last / step);
		last = step;
		experiment_op(&c, &inputs);
		for (size_t i = 0; i < 2; i++)
			x[i] -= step * (double)inputs.result[i];
	}
	experiment_inputs_deinit(&inputs);
	cluster_deinit(&c);
	return x[0] + x[1];
}

void experiment_e(struct experiment *e)
{
	e->words = "A sign tells the direction of each element but not how much it matters. "
		   "Along a narrow valley the signs of the two gradient entries always "
		   "balance, and x1 + x2 stays where it was for ever. With feedback the part "
		   "that the signs got wrong builds up until it wins.";
	experiment_expect(e, run("none"), 2.9999, 3.0001, "no feedback: x1 + x2");
	experiment_expect(e, run("ef14"), 2.365, 2.385, "ef14: x1 + x2");
}
