/*
 * experiment_p.c - G is kept by adding up differences in float32: how far is it from the sum of
 * the estimates?  Relative 2.4e-7 after 1e3 ops, 3.3e-6 after 2e5; at most 5e-6 is expected.
 */
#include <math.h>

#include "tests/experiments/experiment.h"

enum { NODES = 5, DIM = 200 };

static double run(size_t steps)
{
	struct experiment_inputs inputs;
	struct experiment_random random;
	double off = 0, size = 0;
	struct cluster c;

	cluster_init(&c, "ef21", "topk:density=0.1", "none", NODES, DIM, DIM);
	experiment_inputs_init(&inputs, NODES, DIM);
	experiment_seed(&random, 1);
	for (size_t t = 0; t < steps; t++) {
		for (size_t i = 0; i < NODES * DIM; i++)
			inputs.data[i] = (float)(experiment_uniform(&random) * 2 - 1);
		cluster_op(&c, inputs.in, inputs.result);
	}
	for (size_t i = 0; i < DIM; i++) {
		double sum = 0, all = (double)cluster_vector(&c, 0, FEEDBACK_SUM)[i];

		for (uint32_t n = 0; n < NODES; n++)
			sum += (double)cluster_vector(&c, n, FEEDBACK_ESTIMATE)[i];
		off += (all - sum) * (all - sum);
		size += sum * sum;
	}
	experiment_inputs_deinit(&inputs);
	cluster_deinit(&c);
	return sqrt(off / size);
}

void experiment_p(struct experiment *e)
{
	experiment_expect(e, run(1000), 0, 1e-6, "after 1000 ops");
	experiment_expect(e, run(e->small ? 20000 : 200000), 0, 5e-6,
			  e->small ? "after 2e4 ops" : "after 2e5 ops");
}
