/*
 * experiment_g.c - 1-bit Adam: momentum compressed to signs in both directions trains as well as
 * Adam, and does not if the residuals are thrown away.
 *
 * Logistic regression, 8 nodes with data of their own, Adam for the first 15 % of the steps; then
 * the second moment is frozen and each node's momentum goes through `twosided` signs, one scale a
 * chunk as in DeepSpeed.
 * Source: Tang et al., "1-bit Adam", 2021.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/experiments/experiment.h"

enum { NODES = 8, DIM = 64, ROWS = 64, STEPS = 2000, WARM = 300 };

struct problem {
	double row[NODES * ROWS][DIM], label[NODES * ROWS];
};

static void problem_draw(struct problem *p)
{
	struct experiment_random random;
	double truth[DIM];

	experiment_seed(&random, 1);
	for (size_t i = 0; i < DIM; i++)
		truth[i] = experiment_normal(&random);
	for (size_t r = 0; r < NODES * ROWS; r++) {
		double along = 0;

		for (size_t i = 0; i < DIM; i++) {
			p->row[r][i] = experiment_normal(&random) * (1 + (double)(i % 4));
			along += p->row[r][i] * truth[i];
		}
		p->label[r] = along + 4 * experiment_normal(&random) >= 0 ? 1 : -1;
	}
}

/* Mean loss of rows [first, first + rows) with |x|^2 / 200, and its gradient. */
static double loss(const struct problem *p, size_t first, size_t rows, const double *x, double *g)
{
	double sum = 0;

	for (size_t i = 0; i < DIM; i++) {
		sum += x[i] * x[i] / 200 * (double)rows;
		g[i] = x[i] / 100;
	}
	for (size_t r = first; r < first + rows; r++) {
		double along = 0, push;

		for (size_t i = 0; i < DIM; i++)
			along += p->row[r][i] * x[i];
		sum += log1p(exp(-p->label[r] * along));
		push = -p->label[r] / (1 + exp(p->label[r] * along)) / (double)rows;
		for (size_t i = 0; i < DIM; i++)
			g[i] += push * p->row[r][i];
	}
	return sum / (double)rows;
}

static void forget(struct cluster *c)
{
	for (uint32_t n = 0; n < NODES; n++) {
		memset(cluster_vector(c, n, FEEDBACK_RESIDUAL), 0, DIM * sizeof(float));
		memset(cluster_vector(c, n, FEEDBACK_OWNER_RESIDUAL), 0, DIM * sizeof(float));
	}
}

static double run(const struct problem *p, const char *codec, bool forgets)
{
	double x[DIM] = {0}, m[DIM] = {0}, v[DIM] = {0}, g[DIM];
	struct experiment_inputs inputs;
	struct cluster c;

	cluster_init(&c, "twosided", codec, codec, NODES, DIM, DIM);
	experiment_inputs_init(&inputs, NODES, DIM);
	c.average = true;
	for (size_t t = 0; t < STEPS; t++) {
		double rate = 0.01 / (1 + (double)t / 100);

		c.dense = t < WARM;
		for (size_t n = 0; n < NODES; n++) {
			loss(p, n * ROWS, ROWS, x, g);
			for (size_t i = 0; i < DIM; i++)
				inputs.data[n * DIM + i] = (float)(0.9 * m[i] + 0.1 * g[i]);
		}
		if (forgets)
			forget(&c);
		experiment_op(&c, &inputs);
		for (size_t i = 0; i < DIM; i++) {
			double mean = ((double)inputs.result[i] - 0.9 * m[i]) / 0.1;

			if (t < WARM)
				v[i] = 0.999 * v[i] + 0.001 * mean * mean;
			m[i] = (double)inputs.result[i];
			x[i] -= rate * m[i] / (sqrt(v[i]) + 1e-8);
		}
	}
	experiment_inputs_deinit(&inputs);
	cluster_deinit(&c);
	return loss(p, 0, NODES * ROWS, x, g);
}

void experiment_g(struct experiment *e)
{
	struct problem *p = malloc(sizeof(*p));
	double adam;

	e->words = "1-bit Adam sends the signs of the momentum in both directions, a thirty- "
		   "second of the bytes, after a first part of the training that is sent "
		   "exactly. The residuals on both sides make that as good as Adam. If they "
		   "are thrown away after each op, the training is ruined.";
	if (!p)
		abort();
	problem_draw(p);
	adam = run(p, "none", false);
	experiment_expect(e, run(p, "sign:block=64,scale=l2", false) / adam, 0.999, 1.001,
			  "1-bit Adam's loss / Adam's");
	experiment_expect(e, run(p, "sign:block=64,scale=l1", false) / adam, 0.999, 1.001,
			  "the same with l1 scales");
	experiment_expect(e, run(p, "sign:block=64,scale=l2", true) / adam, 1.01, INFINITY,
			  "residuals thrown away");
	free(p);
}
