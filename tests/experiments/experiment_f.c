/*
 * experiment_f.c - the same one-hot vector of 1000 again and again, as signs.
 *
 * The residual's norm saturates at 500 with the l1 scale and at 30.8 with l2; after 1e5 ops the
 * mean of what arrived is 0.995 and 0.9997 of what was sent.
 */
#include <math.h>

#include "tests/experiments/experiment.h"

enum { DIM = 1000 };

static void run(const char *codec, size_t steps, double *norm, double *arrived)
{
	struct experiment_inputs inputs;
	const float *residual;
	struct cluster c;
	double sum = 0;

	cluster_init(&c, "ef14", codec, "none", 1, DIM, DIM);
	experiment_inputs_init(&inputs, 1, DIM);
	inputs.data[3] = 1;
	for (size_t t = 0; t < steps; t++) {
		cluster_op(&c, inputs.in, inputs.result);
		sum += (double)inputs.result[3];
	}
	*arrived = sum / (double)steps;
	residual = cluster_vector(&c, 0, FEEDBACK_RESIDUAL);
	*norm = 0;
	for (size_t i = 0; i < DIM; i++)
		*norm += (double)residual[i] * (double)residual[i];
	*norm = sqrt(*norm);
	experiment_inputs_deinit(&inputs);
	cluster_deinit(&c);
}

void experiment_f(struct experiment *e)
{
	size_t steps = e->small ? 20000 : 100000;
	double norm, arrived, lag = e->small ? 5 : 1;

	run("sign:block=1024,scale=l1", steps, &norm, &arrived);
	experiment_expect(e, norm, 480, 520, "l1: |residual|");
	experiment_expect(e, arrived, 1 - 0.0055 * lag, 1 - 0.0045 * lag, "l1: share that arrived");
	run("sign:block=1024,scale=l2", steps, &norm, &arrived);
	experiment_expect(e, norm, 29, 33, "l2: |residual|");
	experiment_expect(e, arrived, 1 - 0.0004 * lag, 1 - 0.0002 * lag, "l2: share that arrived");
}
