/*
 * experiment_d.c - ef21 of noisy gradients does not converge however many nodes there are;
 * momentum before it does.
 *
 * f = |x|^2 / 2 in two dimensions, top 1, noise one of (2 0), (0 1), (-2 -1) times sqrt(0.3), step
 * 0.001: mean |gradient|^2 over the second half of 2e5 steps.
 * Source: Fatkhullin et al., "Momentum Provably Improves Error Feedback!", 2023, section 3.
 */
#include <math.h>

#include "tests/experiments/experiment.h"

enum { DIM = 2 };

static double run(const char *feedback, uint32_t nodes, size_t steps)
{
	static const double noise[3][DIM] = {{2, 0}, {0, 1}, {-2, -1}};
	double x[DIM] = {1, 1}, sum = 0;
	struct experiment_inputs inputs;
	struct experiment_random random;
	struct cluster c;

	cluster_init(&c, feedback, "topk:density=0.5", "none", nodes, DIM, DIM);
	experiment_inputs_init(&inputs, nodes, DIM);
	experiment_seed(&random, 1);
	c.average = true;
	for (size_t t = 0; t < steps; t++) {
		for (uint32_t n = 0; n < nodes; n++) {
			const double *drawn = noise[experiment_u64(&random) % 3];

			for (size_t i = 0; i < DIM; i++)
				inputs.data[n * DIM + i] = (float)(x[i] + drawn[i] * sqrt(0.3));
		}
		cluster_op(&c, inputs.in, inputs.result);
		if (t >= steps / 2)
			sum += x[0] * x[0] + x[1] * x[1];
		for (size_t i = 0; i < DIM; i++)
			x[i] -= 0.001 * (double)inputs.result[i];
	}
	experiment_inputs_deinit(&inputs);
	cluster_deinit(&c);
	return sum / (double)(steps - steps / 2);
}

void experiment_d(struct experiment *e)
{
	size_t steps = e->small ? 50000 : 200000;
	double slack = e->small ? 2 : 1.5;

	experiment_expect(e, run("ef21", 1, steps), 5.4e-3 / slack, 5.4e-3 * slack, "ef21, 1 node");
	experiment_expect(e, run("ef21", 8, steps), 1.1e-3 / slack, 1.1e-3 * slack,
			  "ef21, 8 nodes");
	experiment_expect(e, run("ef21-sgdm:eta=0.1", 1, steps), 8.5e-4 / slack, 8.5e-4 * slack,
			  "momentum 0.1, 1 node");
	experiment_expect(e, run("ef21-sgdm:eta=0.01", 8, steps), 7.4e-5 / slack, 7.4e-5 * slack,
			  "momentum 0.01, 8 nodes");
	if (e->small)
		return;
	experiment_expect(e, run("ef21", 64, steps), 1.0e-3 / slack, 1.0e-3 * slack,
			  "ef21, 64 nodes");
	experiment_expect(e, run("ef21-sgdm:eta=0.1", 8, steps), 4.9e-4 / slack, 4.9e-4 * slack,
			  "momentum 0.1, 8 nodes");
	experiment_expect(e, run("ef21-sgdm:eta=0.1", 64, steps), 4.2e-4 / slack, 4.2e-4 * slack,
			  "momentum 0.1, 64 nodes");
	experiment_expect(e, run("ef21-sgdm:eta=0.01", 1, steps), 4.6e-4 / slack, 4.6e-4 * slack,
			  "momentum 0.01, 1 node");
	experiment_expect(e, run("ef21-sgdm:eta=0.01", 64, steps), 1.3e-5 / slack, 1.3e-5 * slack,
			  "momentum 0.01, 64 nodes");
}
