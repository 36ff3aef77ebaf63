/* least_squares.c - see least_squares.h. */
#include "tests/experiments/least_squares.h"

#include <math.h>

/* A_i^2 of node n. */
static double curvature(size_t n)
{
	return (double)((n + 1) * (n + 1)) / SQUARES_NODES;
}

void least_squares_init(struct least_squares *s, const char *feedback, const char *codec,
			double spread, double noise, double rate)
{
	double curvatures = 0;

	*s = (struct least_squares){.noise = noise / sqrt(SQUARES_DIM), .step = rate / 2.2};
	cluster_init(&s->c, feedback, codec, "none", SQUARES_NODES, SQUARES_DIM, SQUARES_DIM);
	s->c.average = true;
	experiment_inputs_init(&s->inputs, SQUARES_NODES, SQUARES_DIM);
	experiment_seed(&s->random, 1);
	for (size_t n = 0; n < SQUARES_NODES; n++) {
		curvatures += curvature(n);
		for (size_t i = 0; i < SQUARES_DIM; i++) {
			double b = experiment_normal(&s->random) * spread / (double)(n + 1);

			s->pull[n][i] = sqrt(curvature(n)) * b;
			s->best[i] += s->pull[n][i];
		}
	}
	for (size_t i = 0; i < SQUARES_DIM; i++) {
		s->best[i] /= curvatures;
		s->x[i] = s->best[i] + 1;
	}
}

void least_squares_deinit(struct least_squares *s)
{
	cluster_deinit(&s->c);
	experiment_inputs_deinit(&s->inputs);
}

void least_squares_run(struct least_squares *s, size_t steps)
{
	for (size_t t = 0; t < steps; t++) {
		for (size_t n = 0; n < SQUARES_NODES; n++)
			for (size_t i = 0; i < SQUARES_DIM; i++) {
				double g = curvature(n) * s->x[i] - s->pull[n][i];

				if (s->noise > 0)
					g += s->noise * experiment_normal(&s->random);
				s->inputs.data[n * SQUARES_DIM + i] = (float)g;
			}
		experiment_op(&s->c, &s->inputs);
		for (size_t i = 0; i < SQUARES_DIM; i++)
			s->x[i] -= s->step * (double)s->inputs.result[i];
	}
}

double least_squares_error(struct least_squares *s, size_t steps)
{
	double sum = 0;

	for (size_t t = 0; t < steps; t++) {
		least_squares_run(s, 1);
		for (size_t i = 0; i < SQUARES_DIM; i++)
			sum += (s->x[i] - s->best[i]) * (s->x[i] - s->best[i]);
	}
	return sum / (double)steps;
}
